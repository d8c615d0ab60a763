import { describe, expect, it } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { fateOf, pauseAskedFor, replayed } from '../../src/delivery/fate.ts'
import type { Facts, Fate } from '../../src/delivery/fate.ts'
import { UNTRIED } from '../../src/delivery/kept.ts'
import type { Progress } from '../../src/delivery/kept.ts'
import { accepted, proxyFailed, refused, timedOut, unreachable } from '../helpers/outcomes.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const NOW = 1_000_000

const FRESH: Progress = { ...UNTRIED, expiresAt: NOW + 30 * DAY }

function fate(outcome: AttemptOutcome, progress: Partial<Progress> = {}, facts: Partial<Facts> = {}): Fate {
  return fateOf({ ...FRESH, ...progress }, outcome, {
    ...{ now: NOW, isRouted: true, isCancelled: false, hasMoved: false, streak: 0, maxDeadMs: 30 * DAY },
    ...{ random: () => 0.5, schedule: [MINUTE, HOUR] },
    ...facts,
  })
}

/** The state in a word or two. */
function nameOf({ state }: Fate): string {
  return state.name === 'ended' ? state.how : state.name === 'waiting' ? `waits ${state.dueAt - NOW}` : state.name
}

describe('what becomes of a delivery', () => {
  it.each<[string, AttemptOutcome, Partial<Progress>, Partial<Facts>]>([
    ['delivered', accepted(), {}, {}],
    ['delivered', accepted(204), {}, { isCancelled: true, isRouted: false }],
    ['delivered', accepted(), { expiresAt: NOW - 1 }, {}],
    ['cancelled', refused(503), {}, { isCancelled: true }],
    ['cancelled', refused(410), {}, { isCancelled: true, isRouted: false }],
    ['hook removed', refused(503, HOUR), {}, { isRouted: false }],
    [`waits ${MINUTE}`, refused(503), {}, {}],
    [`waits ${MINUTE}`, unreachable(), {}, {}],
    [`waits ${MINUTE}`, refused(404), {}, {}],
    [`waits ${HOUR}`, timedOut(), { attempts: 1, failures: 1, firstTriedAt: NOW - MINUTE }, {}],
    ['dead', timedOut(), { attempts: 2, failures: 2, firstTriedAt: NOW - HOUR }, {}],
    ['dead', refused(404), { attempts: 1, failures: 1, firstTriedAt: NOW - MINUTE }, {}],
    [`waits ${2 * HOUR}`, refused(403, 2 * HOUR), {}, {}],
    ['expired', refused(503), { expiresAt: NOW + MINUTE }, {}],
    [`waits ${MINUTE}`, refused(503), { expiresAt: NOW + MINUTE + 1 }, {}],
    ['expired', refused(503), {}, { isQuestion: true }],
    ['expired', unreachable(), {}, { isQuestion: true, hasMoved: true }],
    ['delivered', accepted(), {}, { isQuestion: true }],
    ['waits 0', refused(503, HOUR), {}, { hasMoved: true }],
    ['waits 0', refused(503), { expiresAt: NOW + 1 }, { hasMoved: true }],
  ])('is %s', (expected, outcome, progress, facts) => {
    expect(nameOf(fate(outcome, progress, facts))).toBe(expected)
  })

  it('counts each attempt, and each failure but those after which the receiver named the delay', () => {
    expect(fate(accepted()).progress).toMatchObject({ attempts: 1, failures: 0, firstTriedAt: NOW })
    expect(fate(refused(503)).progress).toMatchObject({ attempts: 1, failures: 1, trigger: 'retry' })
    expect(fate(refused(503, HOUR)).progress).toMatchObject({ attempts: 1, failures: 0, trigger: 'retry' })
    const again = fate(refused(503), { attempts: 3, failures: 1, firstTriedAt: NOW - 5, trigger: 'replay' })
    expect(again.progress).toMatchObject({ attempts: 4, failures: 2, firstTriedAt: NOW - 5, trigger: 'retry' })
  })

  it('is that it waits a moment, as if it had not been tried, where the proxy has failed', () => {
    for (const outcome of [proxyFailed(), proxyFailed(true), { ...timedOut(), layer: 'proxy' } as const]) {
      const before: Partial<Progress> = { attempts: 3, failures: 2, failedIn: 1, isAhead: true }
      const { state, progress } = fate(outcome, before, { schedule: [] })
      expect(state).toEqual({ name: 'waiting', dueAt: NOW + 500, stepMs: 500 })
      expect(progress).toEqual({ ...FRESH, ...before, attempts: 4, trigger: 'retry' })
      expect(nameOf(fate(outcome, { expiresAt: NOW + 500 }))).toBe('expired')
      expect(nameOf(fate(outcome, {}, { isCancelled: true }))).toBe('cancelled')
      expect(nameOf(fate(outcome, {}, { isRouted: false }))).toBe('hook removed')
    }
  })

  it('does not charge an attempt that came ahead of its time', () => {
    const ahead = { attempts: 3, failures: 1, firstTriedAt: NOW - 5, isAhead: true }
    expect(fate(refused(503), ahead).progress).toMatchObject({ attempts: 4, failures: 1, isAhead: false })
    expect(nameOf(fate(refused(503), ahead))).toBe(`waits ${MINUTE}`)
  })

  it('gives a dead letter its own time', () => {
    expect(fate(refused(503), { expiresAt: NOW + MINUTE }, { schedule: [], maxDeadMs: DAY }).progress).toMatchObject({
      failures: 1,
      expiresAt: NOW + DAY,
    })
  })

  it('says how long the wait was meant to be', () => {
    expect(fate(refused(503)).state).toEqual({ name: 'waiting', dueAt: NOW + MINUTE, stepMs: MINUTE })
    expect(fate(refused(503, 7)).state).toEqual({ name: 'waiting', dueAt: NOW + 7, stepMs: 7 })
  })
})

describe('a pause', () => {
  it('is what a failed answer asks for', () => {
    expect(pauseAskedFor(refused(429, 50))).toBe(50)
    expect(pauseAskedFor(refused(403, 50))).toBe(50)
    expect(pauseAskedFor({ ...accepted(), retryAfterMs: 50 })).toBe(0)
    expect([refused(429), timedOut(), unreachable()].map(pauseAskedFor)).toEqual([0, 0, 0])
  })
})

describe('a replay', () => {
  const tried: Progress = {
    ...UNTRIED,
    attempts: 4,
    failures: 3,
    firstTriedAt: 5,
    expiresAt: NOW + 1,
    trigger: 'retry',
  }

  it('of a dead one has a new budget, and a new time; its attempts go on', () => {
    expect(replayed(tried, true, NOW, DAY)).toEqual({
      ...UNTRIED,
      attempts: 4,
      expiresAt: NOW + DAY,
      trigger: 'replay',
    })
  })

  it('of one that waits changes nothing but its reason', () => {
    expect(replayed(tried, false, NOW, DAY)).toEqual({ ...tried, trigger: 'replay' })
  })
})
