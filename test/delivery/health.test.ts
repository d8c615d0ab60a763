import { describe, expect, it, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { afterAttempt, HEALTHY } from '../../src/delivery/health.ts'
import type { Health, HealthChange } from '../../src/delivery/health.ts'
import { Journal } from '../../src/delivery/journal.ts'
import { DurableRun, failing, fakeClocks, gone, notAllowed, ok, triggersOf, underWay } from '../helpers/durable-run.ts'
import type { DurableOptions } from '../helpers/durable-run.ts'
import { temporaryDirectory } from '../helpers/journal-files.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Health after these, and what was told; an hour apart. */
function after(
  outcomes: readonly AttemptOutcome[],
  { health = HEALTHY, disableAfter }: { health?: Health; disableAfter?: number } = {}
): { health: Health; told: (HealthChange | undefined)[] } {
  const told: (HealthChange | undefined)[] = []
  for (const [index, outcome] of outcomes.entries()) {
    const step = afterAttempt(health, outcome, index * HOUR, index * HOUR, disableAfter)
    health = step.health
    told.push(step.change)
  }
  return { health, told }
}

const times = (count: number, outcome: AttemptOutcome): AttemptOutcome[] => Array.from({ length: count }, () => outcome)

describe('the health of an endpoint', () => {
  it('is told at 5 failures in a row, once, and when it is back, once', () => {
    const { told, health } = after([...times(4, failing), ok, ...times(7, failing), ok, ok, ...times(5, failing)])
    expect(told.map((change, index) => [index, change]).filter(([, change]) => change !== undefined)).toEqual([
      [9, 'failing'],
      [12, 'recovered'],
      [18, 'failing'],
    ])
    expect(health).toMatchObject({ failuresInRow: 5, isTold: true, lastError: 'answered 503', failingSince: 14 * HOUR })
  })

  it('is perfect again after a success', () => {
    expect(after([...times(5, failing), ok]).health).toEqual(HEALTHY)
    expect(after([failing, ok]).health).toEqual(HEALTHY)
    expect(after([ok]).health).toBe(HEALTHY)
  })

  it('is bad enough to disable it with one 410', () => {
    const { told, health } = after([gone])
    expect(told).toEqual(['disabled'])
    expect(health.disabled).toEqual({ since: 0, reason: 'it answered 410 Gone' })
  })

  it.each([1, 3, 7])('is bad enough to disable it after %i failures in a row where that is the limit', limit => {
    const { told, health } = after([...times(limit - 1, failing), ok, ...times(limit, failing)], {
      disableAfter: limit,
    })
    expect(told.at(-1)).toBe('disabled')
    expect(told.filter(change => change === 'disabled')).toHaveLength(1)
    expect(health.disabled?.reason).toBe(`${limit} failures in a row, the limit set for it`)
  })

  it('is bad enough to disable it after 5 days of nothing but failures, and not before', () => {
    const { told } = after(times(121, failing))
    expect(told.slice(0, 120)).not.toContain('disabled')
    expect(told[120]).toBe('disabled')
    expect(after([...times(120, failing), ok, ...times(120, failing)]).told).not.toContain('disabled')
  })

  it('does not change any more once it is disabled, whatever was under way then', () => {
    const { health } = after([gone])
    const { told, health: later } = after([failing, gone, ok, ...times(9, failing), ok], { health })
    expect(told.every(change => change === undefined)).toBe(true)
    expect(later.disabled).toEqual(health.disabled)
    // so that it is told once it is back
    expect(after([ok], { health: later }).health.isTold).toBe(true)
  })
})

async function started(options: Partial<DurableOptions> = {}): Promise<DurableRun & { directory: string }> {
  fakeClocks()
  const directory = options.directory ?? (await temporaryDirectory())
  const run = new DurableRun({ schedule: [HOUR], ...options, directory })
  await run.opened()
  return Object.assign(run, { directory })
}

describe('an endpoint that is disabled', () => {
  it('is sent nothing, keeps what waits, and takes what is new as dead letters', async () => {
    const run = await started({ answering: () => failing, disableAfter: 2 })
    const waiting = run.submitMany(2)
    await run.until(() => run.changes.length === 1)
    expect(run.changes).toEqual(['disabled'])
    const late: string[] = []
    for (let n = 0; n < 9; ++n) {
      late.push(run.submit())
      await run.pass(1)
    }
    await run.pass(2 * DAY, 3)
    expect(run.sentIds).toEqual(waiting)
    expect(run.total).toMatchObject({ accepted: 11, pending: 2, dead: 9 })

    run.answering = () => ok
    expect(run.dispatcher.enable('a')).toBe(true)
    await run.until(() => run.total.delivered === 2)
    await run.pass(DAY, 3)
    expect(run.total).toMatchObject({ delivered: 2, dead: 9 })
    expect(run.changes).toEqual(['disabled', 'recovered'])

    expect(run.dispatcher.replaySince('a', 0)).toBe(9)
    await run.until(() => run.total.delivered === 11)
    expect(run.sentIds.slice(-9)).toEqual(late)
  })

  it('answers whoever waits for a first attempt at once', async () => {
    const run = await started({ answering: () => gone })
    run.submit()
    await run.until(() => run.changes.length === 1)
    const answered = vi.fn<() => void>()
    run.submit({ phase: 'pre' }, answered)
    expect(answered).toHaveBeenCalledTimes(1)
  })

  it('stays so after a restart, even for what comes before the journal is open', async () => {
    const first = await started({ answering: () => gone })
    first.submit()
    await first.until(() => first.changes.length === 1)
    await first.stop()

    const run = new DurableRun({ directory: first.directory, answering: () => failing })
    run.submit()
    await run.opened()
    const late = run.submit()
    await run.pass(DAY, 3)
    expect(run.sentIds).toEqual([])
    expect(run.total).toMatchObject({ accepted: 3, pending: 0, dead: 3 })
    expect(run.dispatcher.stats().endpoints.get('a')?.health.disabled).toBeDefined()

    run.answering = () => ok
    run.dispatcher.enable('a')
    run.dispatcher.replay(late)
    await run.until(() => run.total.delivered === 1)
    // it was told that it is disabled, and is told that it is back
    expect(run.changes).toEqual(['recovered'])
  })

  it('stays so even if the journal can be opened only after something has been sent', async () => {
    const first = await started({ answering: () => gone })
    first.submit()
    await first.until(() => first.changes.length === 1)
    await first.stop()

    let attempts = 0
    const run = new DurableRun({
      ...{ directory: first.directory, answering: () => failing, schedule: [HOUR] },
      openJournal: progressOf =>
        ++attempts === 1 ? Promise.reject(new Error('busy')) : Journal.open(first.directory, progressOf),
    })
    const early = run.submit()
    await run.until(() => run.sentIds.includes(early))
    await run.later(10 * SECOND, () => run.journalEvents.includes(undefined))
    run.submit()
    await run.pass(DAY, 3)
    expect(run.sentIds).toEqual([early])
    expect(run.total).toMatchObject({ accepted: 3, pending: 1, dead: 2 })
  })

  it('is known as such after a restart before anything is sent to it, and can be enabled', async () => {
    const first = await started({ answering: () => gone })
    first.submit()
    await first.until(() => first.changes.length === 1)
    await first.stop()
    const run = await started({ directory: first.directory })
    expect(run.dispatcher.stats().endpoints.get('a')?.health.disabled?.reason).toBe('it answered 410 Gone')
    expect(run.dispatcher.enable('a')).toBe(true)
    run.submit()
    await run.until(() => run.total.delivered === 1)
    await run.stop()
    const third = await started({ directory: first.directory })
    expect(third.dispatcher.stats().endpoints.get('a')?.health).toMatchObject({ failuresInRow: 0 })
  })

  it('is told that it fails once, over a restart', async () => {
    const first = await started({ answering: () => failing, schedule: [SECOND, SECOND, SECOND, SECOND, SECOND] })
    first.submitMany(5)
    await first.until(() => first.changes.length === 1)
    await first.stop()
    const run = await started({ directory: first.directory, answering: () => failing, schedule: [SECOND, SECOND] })
    run.submitMany(5)
    await run.later(HOUR, () => run.total.pending === 0)
    expect(run.changes).toEqual([])
    run.answering = () => ok
    run.submit()
    await run.later(HOUR, () => run.changes.length > 0)
    expect(run.changes).toEqual(['recovered'])
  })

  it('that nobody knows cannot be enabled', async () => {
    const run = await started()
    expect(run.dispatcher.enable('who?')).toBe(false)
  })
})

describe('a replay', () => {
  it('of a dead letter is the same delivery, with the next number and a new budget', async () => {
    const run = await started({ answering: () => failing, schedule: [SECOND] })
    const id = run.submit()
    await run.later(SECOND, () => run.total.dead === 1)
    await run.pass(MINUTE, 3)
    expect(run.dispatcher.replay(id)).toBe(true)
    await run.later(SECOND, () => run.total.dead === 1 && run.sent.length === 4)
    expect(run.sent.map(({ id, number }) => [id, number])).toEqual([1, 2, 3, 4].map(number => [id, number]))
    expect(run.sent.every(({ body }) => body.equals(run.sent[0]!.body))).toBe(true)
    expect(triggersOf(await run.log(), id)).toEqual(['event', 'retry', 'replay', 'retry'])
    expect(run.total).toMatchObject({ accepted: 1, dead: 1 })
  })

  it('of what waits sends it at once, and once', async () => {
    const run = await started({ answering: () => failing })
    const id = run.submit()
    await run.until(() => run.sent.length === 1)
    run.answering = () => ok
    await run.pass(HOUR - MINUTE)
    expect(run.dispatcher.replay(id)).toBe(true)
    expect(run.dispatcher.replay(id)).toBe(true)
    await run.until(() => run.total.delivered === 1)
    await run.pass(2 * HOUR, 4)
    expect(run.sent).toHaveLength(2)
    expect(triggersOf(await run.log(), id)).toEqual(['event', 'replay'])
  })

  it('that races the scheduled retry sends it once', async () => {
    const run = await started({ answering: () => failing, schedule: [SECOND] })
    const id = run.submit()
    await run.until(() => run.sent.length === 1)
    const answers: ((outcome: AttemptOutcome) => void)[] = []
    run.answering = () => new Promise(resolve => answers.push(resolve))
    // the tick on which the retry is due
    vi.advanceTimersByTime(SECOND)
    expect(run.dispatcher.replay(id)).toBe(true)
    await run.until(() => run.sent.length === 2)
    expect(run.dispatcher.replay(id)).toBe(true)
    await run.pass(MINUTE, 3)
    answers[0]?.(ok)
    await run.until(() => run.total.delivered === 1)
    await run.pass(HOUR, 3)
    expect(run.sent).toHaveLength(2)
  })

  it('of one that is queued, held or under way leaves it alone, and of one that is gone finds nothing', async () => {
    const run = await started({ answering: () => underWay })
    const pre = run.submit({ phase: 'pre', key: 'call' })
    const post = run.submit({ key: 'call' })
    await run.until(() => run.sent.length === 1)
    expect([run.dispatcher.replay(pre), run.dispatcher.replay(post), run.dispatcher.replay('gone')]).toEqual([
      true,
      true,
      false,
    ])
    await run.pass(MINUTE, 3)
    expect(run.sentIds).toEqual([pre])
    expect(run.total).toMatchObject({ accepted: 2, pending: 2 })
  })

  it('of all since a time takes those of that endpoint, accepted then or later', async () => {
    const run = await started({ answering: () => notAllowed, schedule: [], routes: { a: 'a', b: 'b' } })
    run.submit()
    await run.pass(MINUTE)
    const since = Date.now()
    const ids = [run.submit(), run.submit()]
    run.submit({ owner: 'b' })
    await run.until(() => run.total.dead === 4)
    run.answering = () => ok
    expect(run.dispatcher.replaySince('a', since)).toBe(2)
    expect(run.dispatcher.replaySince('who?', since)).toBe(0)
    await run.until(() => run.total.delivered === 2)
    await run.pass(MINUTE, 3)
    expect(run.sentIds.slice(4)).toEqual(ids)
    expect(run.total).toMatchObject({ accepted: 4, delivered: 2, dead: 2 })
  })

  it('does not hold up what is new, even of those that were never tried', async () => {
    const run = await started({ answering: () => gone })
    run.submit()
    await run.until(() => run.changes.length === 1)
    run.submitMany(100)
    run.answering = () => ok
    run.dispatcher.enable('a')
    run.submit({ id: 'first' })
    await run.until(() => run.total.delivered === 1)
    run.dispatcher.replaySince('a', 0)
    const fresh = run.submit({ id: 'fresh' })
    await run.until(() => run.total.delivered === 103)
    expect(run.sentIds.indexOf(fresh)).toBeLessThan(15)
  })

  it('of a pre has its post wait for it again', async () => {
    const run = await started({ answering: () => notAllowed, schedule: [] })
    const pre = run.submit({ phase: 'pre', key: 'call', lifetimeMs: MINUTE })
    const post = run.submit({ key: 'call' })
    await run.until(() => run.total.dead === 2)
    await run.pass(HOUR)
    run.answering = ({ id }) => (id === pre ? underWay : ok)
    run.dispatcher.replaySince('a', 0)
    await run.pass(MINUTE, 3)
    expect(run.sentIds).toEqual([pre, post, pre])
    // it may be late now: someone asked for it
    expect(run.discarded).toEqual([])
  })

  it('goes where the hook leads now, also of one that died on its way elsewhere', async () => {
    const answers: ((outcome: AttemptOutcome) => void)[] = []
    const run = await started({ answering: () => new Promise(resolve => answers.push(resolve)), schedule: [] })
    const id = run.submit()
    await run.until(() => run.sent.length === 1)
    run.route({ a: 'elsewhere' })
    answers[0]?.(failing)
    await run.until(() => run.total.dead === 1)
    run.answering = () => ok
    run.dispatcher.replay(id)
    await run.until(() => run.total.delivered === 1)
    expect(run.sent.map(({ to }) => to)).toEqual(['a', 'elsewhere'])
    expect([...run.dispatcher.stats().endpoints.keys()]).toEqual(['elsewhere'])
  })
})

describe('a delivery that is cancelled', () => {
  it('while it waits, is held or is dead, is discarded at once', async () => {
    const run = await started({ answering: ({ id }) => (id === 'pre' ? underWay : failing), schedule: [HOUR] })
    run.submit({ id: 'waits' })
    await run.until(() => run.sent.length === 1)
    run.submit({ id: 'pre', phase: 'pre', key: 'call' })
    run.submit({ id: 'held', key: 'call' })
    await run.until(() => run.sent.length === 2)
    expect(run.dispatcher.cancel('waits')).toBe(true)
    expect(run.dispatcher.cancel('held')).toBe(true)
    expect(run.dispatcher.cancel('held')).toBe(false)
    expect(run.discarded).toEqual(['waits: cancelled', 'held: cancelled'])
    await run.pass(3 * HOUR, 3)
    expect(run.sentIds).toEqual(['waits', 'pre'])
    expect(run.total).toMatchObject({ accepted: 3, pending: 1, discarded: { cancelled: 2 } })
  })

  it('while it is under way, is discarded if that fails, and delivered if it does not', async () => {
    const answers: ((outcome: AttemptOutcome) => void)[] = []
    const run = await started({ answering: () => new Promise(resolve => answers.push(resolve)) })
    const [fails, succeeds] = [run.submit(), run.submit()]
    await run.until(() => run.sent.length === 2)
    expect([run.dispatcher.cancel(fails), run.dispatcher.cancel(succeeds)]).toEqual([true, true])
    answers[0]?.(failing)
    answers[1]?.(ok)
    await run.until(() => run.total.pending === 0)
    expect(run.discarded).toEqual([`${fails}: cancelled`])
    expect(run.total).toMatchObject({ accepted: 2, delivered: 1, discarded: { cancelled: 1 } })
  })

  it('lets those go that waited behind it', async () => {
    const run = await started({ answering: ({ id }) => (id === 'pre' ? failing : ok), schedule: [HOUR] })
    run.submit({ id: 'pre', phase: 'pre', key: 'call' })
    run.submit({ id: 'held', key: 'call' })
    await run.until(() => run.sent.length === 1)
    run.dispatcher.cancel('pre')
    await run.until(() => run.total.delivered === 1)
    expect(run.sentIds).toEqual(['pre', 'held'])
  })

  it('is not there after a restart', async () => {
    const first = await started({ answering: () => failing })
    const id = first.submit()
    await first.until(() => first.sent.length === 1)
    await first.pass(100, 5)
    first.dispatcher.cancel(id)
    await first.stop()
    const run = await started({ directory: first.directory })
    expect(run.total).toMatchObject({ accepted: 0, pending: 0, life: { accepted: 1, discarded: { cancelled: 1 } } })
  })
})

describe('a dead letter', () => {
  it('is kept as long as the log, and then discarded', async () => {
    const run = await started({ answering: () => failing, schedule: [], maxLoggedMs: 3 * DAY })
    const id = run.submit()
    await run.until(() => run.total.dead === 1)
    await run.pass(2.9 * DAY)
    const late = run.submit()
    await run.until(() => run.total.dead === 2)
    expect(run.discarded).toEqual([])
    await run.pass(0.2 * DAY)
    run.submit()
    await run.until(() => run.discarded.length > 0)
    expect(run.discarded).toEqual([`${id}: expired`])
    expect(run.dispatcher.replay(id)).toBe(false)
    expect(run.dispatcher.replay(late)).toBe(true)
  })
})
