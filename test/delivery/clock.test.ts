import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { DiskClock, keptOf, progressOf, storedOf } from '../../src/delivery/clock.ts'
import type { RecoveredDelivery, StoredProgress } from '../../src/delivery/journal.ts'
import { newKept, UNTRIED } from '../../src/delivery/kept.ts'
import type { Kept } from '../../src/delivery/kept.ts'

const HOUR = 60 * 60_000
const DAY = 24 * HOUR
const EPOCH = 1_800_000_000_000

/** The wall clock stands at `EPOCH`; that of the memory somewhere else. */
function fakeClocks(): void {
  onTestFinished(() => void vi.useRealTimers())
  vi.useFakeTimers({ now: EPOCH, toFake: ['Date', 'performance', 'setTimeout', 'clearTimeout'] })
}

function keptWith(changes: Partial<Kept> = {}): Kept {
  const payload = { contentType: 'application/json', body: Buffer.from('body') }
  const kept = newKept(
    5,
    {
      ...{ id: 'id', owner: 'hook', party: 'somebody', label: 'vm.start', payload, headers: ['a', 'b'] },
      ...{ order: { key: 'call', leads: true }, acceptedAt: EPOCH },
    },
    'endpoint',
    performance.now(),
    HOUR
  )
  return Object.assign(kept, changes)
}

/** What a later run makes of it, `absentMs` later by a wall clock that may have been set. */
function restored(kept: Kept, absentMs: number, spreadMs = 777): Kept {
  const clock = new DiskClock()
  const recovered: RecoveredDelivery = {
    ...{ delivery: storedOf(kept, clock), progress: progressOf(kept, clock), bytes: kept.bytes, stored: 321 },
  }
  const stamp = clock.stamp()
  vi.setSystemTime(Date.now() + absentMs)
  const later = new DiskClock()
  later.continue(stamp)
  return keptOf(recovered, later, 'another endpoint', performance.now(), spreadMs)
}

describe('the clock of the disk', () => {
  it('begins as the wall clock, and goes on whatever happens to that', () => {
    fakeClocks()
    const clock = new DiskClock()
    clock.continue(undefined)
    const now = performance.now()
    expect(clock.stamp()).toEqual({ clock: EPOCH, epoch: EPOCH })
    vi.setSystemTime(EPOCH + 100 * DAY)
    expect(clock.toDisk(now + 5)).toBe(EPOCH + 5)
    expect(clock.fromDisk(EPOCH + 5)).toBeCloseTo(now + 5)
    vi.advanceTimersByTime(1_000)
    expect(clock.stamp()).toEqual({ clock: EPOCH + 1_000, epoch: EPOCH + 100 * DAY + 1_000 })
  })

  it.each([
    ['an hour', HOUR, HOUR],
    ['no time, by a clock that was set back', -5 * DAY, 0],
    ['at most a week, by a clock that was set forward', 1000 * DAY, 7 * DAY],
  ])('goes on after a restart: %s has passed', (_, passedMs, countedMs) => {
    fakeClocks()
    const clock = new DiskClock()
    clock.continue({ clock: 1_000_000, epoch: EPOCH - passedMs })
    expect(clock.toDisk(performance.now())).toBe(1_000_000 + countedMs)
    expect(clock.fromDisk(1_000_000 + countedMs)).toBeCloseTo(performance.now())
  })
})

describe('what is written of a delivery', () => {
  it('is all but its body, its endpoint and how far it has come', () => {
    fakeClocks()
    const clock = new DiskClock()
    expect(storedOf(keptWith(), clock)).toEqual({
      ...{ number: 5, id: 'id', owner: 'hook', party: 'somebody', label: 'vm.start', headers: ['a', 'b'] },
      ...{ order: { key: 'call', leads: true }, acceptedAt: EPOCH, contentType: 'application/json' },
      ...{ expiresAt: EPOCH + HOUR, leftMs: HOUR },
    })
    expect(() => storedOf(keptWith({ content: undefined }), clock)).toThrow('in memory')
  })

  it.each<Kept['state']>([
    { name: 'queued' },
    { name: 'held' },
    { name: 'sending', endpoint: 'endpoint', isCancelled: false },
  ])('is nothing of how far it has come while it is as it was accepted: %o', state => {
    fakeClocks()
    expect(progressOf(keptWith({ state }), new DiskClock())).toBeUndefined()
  })

  it('is how far it has come, from then on', () => {
    fakeClocks()
    const clock = new DiskClock()
    const now = performance.now()
    const progress: Kept['progress'] = {
      ...UNTRIED,
      ...{ attempts: 2, failures: 1, firstTriedAt: now - 50, expiresAt: now + HOUR, trigger: 'retry' },
    }
    const written: Partial<StoredProgress> = {
      ...{
        attempts: 2,
        failures: 1,
        firstTriedAt: EPOCH - 50,
        expiresAt: EPOCH + HOUR,
        leftMs: HOUR,
        trigger: 'retry',
      },
    }
    const of = (state: Kept['state']): unknown => progressOf(keptWith({ state, progress }), clock)
    expect(of({ name: 'waiting', dueAt: now + 30, stepMs: 40 })).toEqual({
      ...{ ...written, state: 'waiting', dueAt: EPOCH + 30, stepMs: 40 },
    })
    expect(of({ name: 'dead' })).toEqual({ ...written, state: 'dead' })
    for (const [isCancelled, state] of [
      [false, 'queued'],
      [true, 'cancelled'],
    ] as const) {
      expect(of({ name: 'sending', endpoint: 'e', isCancelled })).toEqual({ ...written, state })
    }
    expect(of({ name: 'held' })).toEqual({ ...written, state: 'queued' })
  })
})

describe('a delivery of an earlier run', () => {
  const tried: Kept['progress'] = { ...UNTRIED, attempts: 2, failures: 1, trigger: 'retry' }
  function triedWith(state: Kept['state'], changes: Partial<Kept['progress']> = {}): Kept {
    const now = performance.now()
    const progress = { ...tried, firstTriedAt: now - 1_000, expiresAt: now + HOUR, ...changes }
    return keptWith({ state, progress })
  }

  it('is what it was, on disk only, and bound for where its owner goes now', () => {
    fakeClocks()
    const { content: _, ...rest } = keptWith()
    expect(restored(keptWith(), 0)).toEqual({ ...rest, content: undefined, stored: 321, endpoint: 'another endpoint' })
  })

  it('stays dead', () => {
    fakeClocks()
    const kept = triedWith({ name: 'dead' })
    expect(restored(kept, HOUR / 2)).toMatchObject({ state: { name: 'dead' }, progress: { attempts: 2, failures: 1 } })
  })

  it.each([
    ['the rest of its step', 20_000, 40_000],
    ['the rest of its step, of which nothing has passed by a clock that was set back', -DAY, 60_000],
    ['as long as the dice say if it is overdue', 2 * 60_000, 777],
    ['as long as the dice say if the clock was set forward', 365 * DAY, 777],
  ])('waits %s', (_, absentMs, restMs) => {
    fakeClocks()
    const kept = triedWith({ name: 'waiting', dueAt: performance.now() + 60_000, stepMs: 60_000 })
    const { state } = restored(kept, absentMs)
    expect(state).toMatchObject({ name: 'waiting', stepMs: 60_000 })
    expect(state.name === 'waiting' && state.dueAt - performance.now()).toBeCloseTo(restMs)
  })

  it('waits no longer than its step was meant to last, whatever is on disk', () => {
    fakeClocks()
    const kept = triedWith({ name: 'waiting', dueAt: performance.now() + 50 * HOUR, stepMs: 5_000 })
    const { state } = restored(kept, 0)
    expect(state.name === 'waiting' && state.dueAt - performance.now()).toBeCloseTo(5_000)
  })

  it('that was under way again after a failure goes when the dice say', () => {
    fakeClocks()
    const { state } = restored(triedWith({ name: 'sending', endpoint: 'e', isCancelled: false }), 0)
    expect(state.name === 'waiting' && state.dueAt - performance.now()).toBeCloseTo(777)
  })

  it('that is replayed still is, at once', () => {
    fakeClocks()
    const kept = triedWith({ name: 'waiting', dueAt: performance.now() + 500, stepMs: 500 }, { trigger: 'replay' })
    expect(restored(kept, 0)).toMatchObject({
      ...{ state: { name: 'waiting', dueAt: performance.now() }, progress: { trigger: 'replay' } },
    })
  })

  it.each([
    ['what was left of its life', 20_000, HOUR - 20_000],
    ['all of that, by a clock that was set back', -DAY, HOUR],
    ['nothing, if that has passed', 2 * HOUR, -HOUR],
  ])('has %s', (_, absentMs, leftMs) => {
    fakeClocks()
    for (const kept of [keptWith(), triedWith({ name: 'dead' })]) {
      vi.setSystemTime(EPOCH)
      expect(restored(kept, absentMs).progress.expiresAt - performance.now()).toBeCloseTo(leftMs)
    }
  })

  it('has no more than was left of its life, even if the disk no longer knows its clock', () => {
    fakeClocks()
    const clock = new DiskClock()
    const recovered = { delivery: storedOf(keptWith(), clock), progress: undefined, bytes: 4, stored: 321 }
    vi.setSystemTime(EPOCH - DAY)
    const later = new DiskClock()
    later.continue(undefined)
    const { progress } = keptOf(recovered, later, 'endpoint', performance.now(), 0)
    expect(progress.expiresAt - performance.now()).toBeCloseTo(HOUR)
  })

  it('was not tried in the future', () => {
    fakeClocks()
    const kept = triedWith({ name: 'dead' }, { firstTriedAt: performance.now() + DAY })
    expect(restored(kept, 0).progress.firstTriedAt).toBeCloseTo(performance.now())
  })
})
