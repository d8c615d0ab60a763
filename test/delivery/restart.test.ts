import { describe, expect, it, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { Journal } from '../../src/delivery/journal.ts'
import { DurableRun, failing, fakeClocks, ok, refusedFor, underWay } from '../helpers/durable-run.ts'
import type { DurableOptions } from '../helpers/durable-run.ts'
import { copyOfStore, temporaryDirectory } from '../helpers/journal-files.ts'

// the clocks are the tests' own, but files take the time they take
vi.setConfig({ testTimeout: 60_000 })

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** Waits between attempts in these tests. */
const SCHEDULE = [10 * MINUTE, 2 * HOUR, 2 * HOUR]

async function started(options: Partial<DurableOptions> = {}): Promise<DurableRun & { directory: string }> {
  const directory = options.directory ?? (await temporaryDirectory())
  const run = new DurableRun({ schedule: SCHEDULE, ...options, directory })
  await run.opened()
  return Object.assign(run, { directory })
}

/** The wall clock alone: the engine's goes on as before. */
function jump(ms: number): void {
  vi.setSystemTime(Date.now() + ms)
}

/** Nothing runs meanwhile. */
async function downFor(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms)
}

describe('after a restart', () => {
  it('first attempts are made in the order in which deliveries were accepted', async () => {
    fakeClocks()
    const first = await started({ answering: () => underWay })
    const ids: string[] = []
    for (let n = 0; n < 50; ++n) {
      ids.push(first.submit())
      await vi.advanceTimersByTimeAsync(7)
    }
    await first.stop()

    const run = await started({ directory: first.directory })
    await run.until(() => run.total.delivered === 50)
    expect(run.sentIds).toEqual(ids)
    expect(run.sent.every(({ number }) => number === 1)).toBe(true)
  })

  it('attempts, failures and the time of the next attempt are those of before', async () => {
    fakeClocks()
    const first = await started({ answering: () => failing })
    const id = first.submit()
    await first.until(() => first.sent.length === 1)
    const dueAt = performance.now() + SCHEDULE[0]!
    await first.stop()

    await downFor(2 * MINUTE)
    const run = await started({ directory: first.directory, answering: () => failing })
    await run.pass(dueAt - performance.now() - 5 * SECOND)
    expect(run.sent).toEqual([])
    await run.later(6 * SECOND, () => run.sent.length === 1)
    expect(run.sent[0]).toMatchObject({ id, number: 2 })
    // 10 minutes, 2 hours, 2 hours: the fourth failure is the last
    await run.later(HOUR, () => run.total.dead === 1)
    expect(run.sent.map(({ number }) => number)).toEqual([2, 3, 4])
  })

  it('what was under way is sent again under the same id', async () => {
    fakeClocks()
    const first = await started({ answering: () => underWay })
    const id = first.submit()
    await first.until(() => first.sent.length === 1)
    await first.pass(2 * SECOND, 10)
    const crashed = await copyOfStore(first.directory)
    await first.stop()

    for (const directory of [crashed, first.directory]) {
      const run = await started({ directory })
      await run.until(() => run.total.delivered === 1)
      expect(run.sentIds).toEqual([id])
      expect(run.sent[0]!.body).toEqual(first.sent[0]!.body)
    }
  })

  it('what was cancelled while it was under way is not sent again, whatever the run came to', async () => {
    fakeClocks()
    const first = await started({ answering: ({ number }) => (number === 1 ? failing : underWay) })
    const [retried] = first.submitMany(1)
    await first.later(SCHEDULE[0]!, () => first.sent.length === 2)
    const fresh = first.submit() // not on disk yet
    await first.later(100, () => first.sent.length === 3)
    const kept = first.submit()
    for (const id of [retried, fresh]) {
      expect(first.dispatcher.controls.cancel({ id: id! })).toBe(1)
    }
    await first.pass(2 * SECOND, 10)
    const killed = await copyOfStore(first.directory)
    await first.stop()

    for (const directory of [killed, first.directory]) {
      const run = await started({ directory })
      await run.until(() => run.total.pending === 0)
      expect(run.sentIds).toEqual([kept])
      expect(run.total).toMatchObject({ accepted: 3, delivered: 1, discarded: { cancelled: 2 } })
      await run.stop()
      expect((await started({ directory })).total).toMatchObject({ accepted: 3, pending: 0 })
    }
  })

  it('retries that became due meanwhile come spread over a minute, and not as a burst', async () => {
    fakeClocks()
    // one each: what waits at an endpoint goes at once when that has answered
    const owners = Array.from({ length: 12 }, (_, n) => `h${n}`)
    const routes = Object.fromEntries(owners.map(owner => [owner, owner]))
    const first = await started({ answering: () => failing, routes })
    const ids = owners.map(owner => first.submit({ owner }))
    await first.until(() => first.total.pending === 12 && first.sent.length === 12)
    await first.stop()

    await downFor(HOUR)
    let turn = 0
    const run = await started({ directory: first.directory, routes, random: () => (turn++ % 12) / 12 })
    const { items } = run.dispatcher.controls.list({})
    expect(items.length).toBeGreaterThanOrEqual(11) // the first goes at once
    for (const { id, dueAt = Date.now() } of items) {
      expect(Math.abs(dueAt - Date.now() - ids.indexOf(id) * 5 * SECOND)).toBeLessThan(SECOND)
    }
    await run.later(5 * SECOND, () => run.total.delivered === 12)
  })

  it('an open circuit is still open, and closes after one probe, one more at a time', async () => {
    fakeClocks()
    const first = await started({ answering: () => failing })
    first.submitMany(5)
    await first.until(() => first.sent.length === 5)
    const waiting = first.submitMany(20)
    await first.pass(2 * SECOND, 10)
    expect(first.sent).toHaveLength(5)
    await first.stop()

    const answers: ((outcome: AttemptOutcome) => void)[] = []
    const run = await started({
      directory: first.directory,
      answering: () => new Promise(resolve => answers.push(resolve)),
    })
    await run.pass(SECOND)
    expect(run.dispatcher.stats().endpoints.get('a')?.health.circuit).toMatchObject({ name: 'open', pauseMs: 5000 })
    expect(run.sent).toEqual([])
    await run.later(SECOND, () => run.sent.length === 1)
    await run.pass(10 * SECOND)
    expect(run.sentIds).toEqual(waiting.slice(0, 1))
    answers.shift()?.(ok)
    await run.until(() => run.sent.length === 2)
    answers.shift()?.(ok)
    await run.until(() => run.sent.length === 4)
    await run.pass(100)
    expect(run.sent).toHaveLength(4)
  })

  it('a Retry-After still holds', async () => {
    fakeClocks()
    const first = await started({ answering: () => refusedFor(30 * MINUTE) })
    const id = first.submit()
    await first.until(() => first.sent.length === 1)
    const until = performance.now() + 30 * MINUTE
    await first.stop()

    await downFor(10 * MINUTE)
    const run = await started({ directory: first.directory })
    const fresh = run.submit()
    await run.pass(19 * MINUTE)
    expect(run.sent).toEqual([])
    await run.later(30 * SECOND, () => run.total.delivered === 2)
    expect(run.sentIds.toSorted()).toEqual([id, fresh].toSorted())
    expect(run.sent[0]!.at).toBeGreaterThan(until - SECOND)
  })

  it('dead letters are dead, and can be replayed', async () => {
    fakeClocks()
    const first = await started({ answering: () => failing, schedule: [] })
    const id = first.submit()
    await first.until(() => first.total.dead === 1)
    await first.stop()

    const run = await started({ directory: first.directory })
    await run.pass(HOUR)
    expect(run.sent).toEqual([])
    expect(run.total).toMatchObject({ accepted: 1, dead: 1, pending: 0 })
    expect(run.dispatcher.controls.replay({ id })).toBe(1)
    await run.until(() => run.total.delivered === 1)
    expect(run.sent).toMatchObject([{ id, number: 2 }])
  })

  it('a replay is one still, even of a pre whose time is long over', async () => {
    fakeClocks()
    const first = await started({ answering: () => failing, schedule: [] })
    const id = first.submit({ phase: 'pre', lifetimeMs: 5 * MINUTE })
    await first.until(() => first.total.dead === 1)
    first.answering = () => underWay
    first.dispatcher.controls.replay({ id })
    await first.until(() => first.sent.length === 2)
    await first.stop()

    await downFor(HOUR)
    const run = await started({ directory: first.directory })
    await run.later(SECOND, () => run.total.delivered === 1)
    expect(run.discarded).toEqual([])
    expect(run.sentIds).toEqual([id])
  })

  it('a pre whose time was over meanwhile expires, and its post goes', async () => {
    fakeClocks()
    const first = await started({ answering: () => underWay })
    const pre = first.submit({ phase: 'pre', key: 'call', lifetimeMs: 5 * MINUTE })
    const post = first.submit({ key: 'call' })
    await first.until(() => first.sent.length === 1)
    await first.stop()

    await downFor(6 * MINUTE)
    const run = await started({ directory: first.directory })
    await run.until(() => run.total.pending === 0)
    expect(run.discarded).toEqual([`${pre}: expired`])
    expect(run.sentIds).toEqual([post])
    expect(run.total).toMatchObject({ accepted: 2, delivered: 1, discarded: { expired: 1 } })
  })

  it('a pre expires in time even if others came before the journal was read', async () => {
    fakeClocks()
    const first = await started({ answering: () => refusedFor(HOUR) })
    first.submit()
    await first.until(() => first.sent.length === 1)
    const pre = first.submit({ phase: 'pre', lifetimeMs: 5 * MINUTE })
    await first.pass(2 * SECOND, 10)
    await first.stop()

    await downFor(4.5 * MINUTE)
    const run = new DurableRun({ directory: first.directory, answering: () => underWay, schedule: SCHEDULE })
    const young = run.submit({ phase: 'pre', lifetimeMs: 5 * MINUTE })
    await run.opened()
    await run.later(31 * SECOND, () => run.discarded.length > 0)
    expect(run.discarded).toEqual([`${pre}: expired`])
    expect(run.sentIds).not.toContain(pre)
    expect(young).not.toBe(pre)
  })

  it('what comes while the journal cannot be opened takes no place of what that holds', async () => {
    fakeClocks()
    const first = await started({ answering: () => underWay })
    const kept = first.submitMany(3)
    await first.until(() => first.sent.length === 3)
    await first.stop()

    let tries = 0
    const run = new DurableRun({
      directory: first.directory,
      openJournal: isAlive =>
        ++tries === 1 ? Promise.reject(new Error('no disk yet')) : Journal.open(first.directory, isAlive),
    })
    await run.until(() => run.journalEvents.length === 1)
    run.answering = () => underWay
    const fresh = run.submitMany(3)
    await run.until(() => run.sent.length === 3)
    run.answering = () => ok
    await run.later(SECOND, () => run.total.delivered === 3)
    expect(run.discarded).toEqual([])
    expect(run.sentIds.toSorted()).toEqual([...kept, ...fresh].toSorted())
  })

  it('what is paused before the journal is open stays paused', async () => {
    fakeClocks()
    const first = await started({ answering: () => failing })
    first.submit()
    await first.until(() => first.sent.length === 1 && first.total.pending === 1)
    await first.stop()

    const run = new DurableRun({ directory: first.directory, schedule: SCHEDULE })
    expect(run.dispatcher.controls.pause('a')).toBe(true)
    run.submit()
    await run.opened()
    await run.pass(3 * HOUR)
    expect(run.sent).toEqual([])
    run.dispatcher.controls.resume('a')
    await run.until(() => run.total.delivered === 2)
  })

  it('an engine that was left alone with its disk takes nothing from the one that came after it', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const opened: Journal[] = []
    let release: (() => void) | undefined
    const first = new DurableRun({
      directory,
      answering: () => underWay,
      openJournal: async isAlive => {
        if (opened.length > 0) {
          await new Promise<void>(resolve => (release = resolve))
        }
        const found = await Journal.open(directory, isAlive)
        opened.push(found.journal)
        return found
      },
    })
    await first.opened()
    opened[0]!.write = () => Promise.reject(new Error('a bad sector'))
    first.submit()
    await first.until(() => first.journalEvents.length === 2)
    // the disk is opened again, and does not answer
    await first.later(SECOND, () => release !== undefined)
    const closing = first.stop()
    await first.pass(10 * SECOND)
    await closing
    expect(first.discarded).toHaveLength(1)

    const second = await started({ directory, answering: () => underWay })
    second.submitMany(3)
    await second.pass(2 * SECOND)
    await second.stop()
    release?.()
    await first.until(() => opened.length === 2)
    await first.pass(2 * SECOND)

    const third = await started({ directory })
    await third.until(() => third.total.delivered === 3)
  })

  it('deliveries of a hook that is gone are discarded, logged and counted', async () => {
    fakeClocks()
    const first = await started({ answering: () => underWay, routes: { a: 'a', b: 'b' } })
    const [stays, goes] = [first.submit({ owner: 'a' }), first.submit({ owner: 'b' })]
    await first.until(() => first.sent.length === 2)
    await first.stop()

    const run = await started({ directory: first.directory })
    await run.until(() => run.total.delivered === 1)
    expect(run.discarded).toEqual([`${goes}: hook removed`])
    expect(run.total).toMatchObject({ accepted: 2, delivered: 1, discarded: { 'hook removed': 1 } })
    expect(await run.log()).toEqual(
      expect.arrayContaining([expect.objectContaining({ id: goes, settled: 'hook removed' })])
    )
    await run.stop()

    const third = await started({ directory: first.directory })
    expect(third.total).toMatchObject({
      ...{ accepted: 2, delivered: 1, pending: 0, dead: 0, discarded: { 'hook removed': 1 } },
    })
    expect(third.sentIds).not.toContain(stays)
  })

  it('deliveries of a hook go where it leads now', async () => {
    fakeClocks()
    const first = await started({ answering: () => underWay })
    const id = first.submit()
    await first.until(() => first.sent.length === 1)
    await first.stop()

    const run = await started({ directory: first.directory, routes: { a: 'elsewhere' } })
    await run.until(() => run.total.delivered === 1)
    expect(run.sent).toMatchObject([{ id, to: 'elsewhere' }])
  })

  it('counts go on, before it has anything to do; those of an endpoint are since the start', async () => {
    fakeClocks()
    const first = await started({
      routes: { a: 'a', b: 'b' },
      schedule: [],
      answering: ({ to }) => (to === 'a' ? ok : failing),
    })
    first.submitMany(3, { owner: 'a' })
    first.submitMany(2, { owner: 'b' })
    await first.until(() => first.total.delivered === 3 && first.total.dead === 2)
    first.dispatcher.controls.cancel({ id: first.sentIds.find((_, index) => first.sent[index]!.to === 'b')! })
    await first.stop()

    const run = await started({ directory: first.directory, routes: { a: 'a', b: 'b' } })
    const stats = run.dispatcher.stats()
    expect(stats).toMatchObject({ accepted: 5, delivered: 3, dead: 1, pending: 0, discarded: { cancelled: 1 } })
    expect(stats.endpoints.get('a')).toMatchObject({ accepted: 0, delivered: 0, dead: 0, pending: 0 })
    expect(stats.endpoints.get('b')).toMatchObject({ accepted: 1, dead: 1, discarded: {} })
    run.submit({ owner: 'a' })
    await run.until(() => run.total.delivered === 4)
    expect(run.dispatcher.stats().endpoints.get('a')).toMatchObject({ accepted: 1, delivered: 1 })
    await run.stop()

    const third = await started({ directory: first.directory, routes: { a: 'a', b: 'b' } })
    expect(third.total).toMatchObject({ accepted: 6, delivered: 4, dead: 1, discarded: { cancelled: 1 } })
  })

  it('the log goes on', async () => {
    fakeClocks()
    const first = await started()
    const one = first.submit()
    await first.until(() => first.total.delivered === 1)
    await first.stop()
    const run = await started({ directory: first.directory })
    const two = run.submit()
    await run.until(() => run.total.delivered === 2)
    expect((await run.log()).map(({ id, settled }) => [id, settled])).toEqual([
      [two, 'delivered'],
      [one, 'delivered'],
    ])
  })
})

describe('the wall clock', () => {
  it.each([
    ['a day forward', DAY],
    ['an hour back', -HOUR],
  ])('may jump %s: nothing is sent early, late or twice', async (_, ms) => {
    fakeClocks()
    const outcomes: AttemptOutcome[] = [failing, failing, ok]
    const run = await started({ answering: () => outcomes.shift() ?? ok })
    const id = run.submit()
    const pre = run.submit({ phase: 'pre', lifetimeMs: 30 * MINUTE })
    await run.until(() => run.sent.length === 2)
    jump(ms)
    await run.pass(9 * MINUTE)
    expect(run.sent).toHaveLength(2)
    await run.later(1.5 * MINUTE, () => run.sent.length === 4)
    expect(run.sentIds.toSorted()).toEqual([id, id, pre, pre].toSorted())
    expect(run.total).toMatchObject({ delivered: 2, pending: 0, discarded: {} })
    await run.pass(2 * DAY)
    expect(run.sent).toHaveLength(4)
  })

  it.each([
    ['a day forward', DAY],
    ['an hour back', -HOUR],
    ['a day back', -DAY],
  ])('may have jumped %s in between: each is sent once, and soon', async (_, ms) => {
    fakeClocks()
    const first = await started({ answering: () => failing })
    const tried = first.submitMany(5)
    await first.until(() => first.sent.length === 5)
    const fresh = first.submit()
    const pre = first.submit({ phase: 'pre', lifetimeMs: 5 * MINUTE })
    await first.pass(2 * SECOND, 10)
    await first.stop()

    jump(ms)
    const run = await started({ directory: first.directory })
    // what is fresh waits for the circuit only, which pauses for 5 s
    await run.later(SECOND, () => run.sentIds.includes(fresh) && (ms > 0 || run.sentIds.includes(pre)))
    await run.later(HOUR, () => run.total.pending === 0)
    expect(run.sentIds.filter(id => id !== pre).toSorted()).toEqual([...tried, fresh].toSorted())
    expect(run.sentIds.includes(pre)).toBe(ms < 0)
    await run.pass(2 * DAY)
    expect(new Set(run.sentIds).size).toBe(run.sent.length)
  })

  it('may have been set back: a Retry-After holds for as long as it asked for, at most', async () => {
    fakeClocks()
    const first = await started({ answering: () => refusedFor(30 * MINUTE) })
    first.submit()
    await first.until(() => first.sent.length === 1)
    await first.stop()
    jump(-30 * DAY)
    const run = await started({ directory: first.directory })
    run.submit()
    await run.later(HOUR, () => performance.now() > DAY + HOUR)
    expect(run.total).toMatchObject({ delivered: 2 })
  })

  it('may jump while much is going on', async () => {
    fakeClocks()
    let turn = 0
    const first = await started({
      answering: () => (++turn % 3 === 0 ? failing : ok),
      schedule: Array.from({ length: 12 }, () => SECOND),
    })
    const ids: string[] = []
    for (let n = 0; n < 60; ++n) {
      const key = `call ${n}`
      ids.push(first.submit({ key, phase: 'pre' }), first.submit({ key }))
      await vi.advanceTimersByTimeAsync(100)
      if (n % 10 === 9) {
        jump(n % 20 === 9 ? DAY : -HOUR)
      }
    }
    await first.stop()
    jump(-2 * HOUR)
    const run = await started({ directory: first.directory, answering: () => ok })
    await run.later(HOUR, () => run.total.pending === 0)
    expect(run.dispatcher.stats()).toMatchObject({ accepted: 120, delivered: 120 })
    // a post after the last attempt of its pre
    const all = [...first.sentIds, ...run.sentIds]
    for (let n = 0; n < 120; n += 2) {
      expect(all.indexOf(ids[n + 1]!)).toBeGreaterThan(all.lastIndexOf(ids[n]!))
    }
  })
})
