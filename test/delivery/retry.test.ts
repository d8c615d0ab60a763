import { describe, expect, it } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { decideRetry, MAX_AGE_MS, MAX_RETRY_AFTER_MS, RETRY_SCHEDULE_MS } from '../../src/delivery/retry.ts'
import { refused, timedOut, unreachable } from '../helpers/outcomes.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** The instants of all attempts of a delivery that always fails the same way; the first is 0. */
function attemptsOf(outcome: AttemptOutcome, random: () => number): { at: number[]; reason: string } {
  const at = [0]
  let age = 0
  let failures = 0
  while (at.length < 1_000) {
    const decision = decideRetry(outcome, failures + 1, age, random)
    if (!decision.retry) {
      return { at, reason: decision.reason }
    }
    failures += decision.asked ? 0 : 1
    age += decision.delayMs
    at.push(age)
  }
  throw new Error('tried without end')
}

/** What is waited after the failure of this number, the lowest and the (excluded) highest. */
function rangeOf(failures: number): [number, number] {
  const delayOf = (random: number): number => {
    const decision = decideRetry(unreachable(), failures, 0, () => random)
    return decision.retry ? decision.delayMs : Number.NaN
  }
  return [delayOf(0), delayOf(1)]
}

describe('the schedule', () => {
  it('is the published one', () => {
    const minutes = RETRY_SCHEDULE_MS.map(delayMs => delayMs / MINUTE)
    expect(minutes).toEqual([1 / 60, 5 / 60, 0.5, 2, 10, 30, 120, 300, 600, 840, 1200, 1200])
  })

  it('makes 13 attempts in about 72 hours', () => {
    const { at, reason } = attemptsOf(unreachable(), () => 0.5)
    expect(at).toHaveLength(13)
    expect(at.at(-1)! / HOUR).toBeCloseTo(71.71, 1)
    expect(reason).toBe('exhausted')
  })

  it.each([0, 0.999_999])('makes 13 attempts within 60 to 96 hours, however the dice fall (%d)', random => {
    const { at } = attemptsOf(refused(503), () => random)
    expect(at).toHaveLength(13)
    expect(at.at(-1)).toBeGreaterThan(57 * HOUR)
    expect(at.at(-1)).toBeLessThan(96 * HOUR)
  })

  it('waits any time up to the whole for steps up to 5 s', () => {
    expect(rangeOf(1)).toEqual([0, 1 * SECOND])
    expect(rangeOf(2)).toEqual([0, 5 * SECOND])
  })

  it('waits within 20 % of longer steps', () => {
    for (const [index, delayMs] of RETRY_SCHEDULE_MS.entries()) {
      if (index >= 2) {
        const [low, high] = rangeOf(index + 1)
        expect(low).toBeCloseTo(0.8 * delayMs, 3)
        expect(high).toBeCloseTo(1.2 * delayMs, 3)
      }
    }
  })

  it('draws once for each wait, and from Math.random unless told otherwise', () => {
    let draws = 0
    decideRetry(unreachable(), 3, 0, () => {
      ++draws
      return 0.25
    })
    expect(draws).toBe(1)
    const drawn = new Set(
      Array.from({ length: 20 }, () => {
        const decision = decideRetry(unreachable(), 3, 0)
        return decision.retry ? decision.delayMs : undefined
      })
    )
    expect(drawn.size).toBeGreaterThan(10)
    for (const delayMs of drawn) {
      expect(delayMs).toBeGreaterThanOrEqual(24 * SECOND)
      expect(delayMs).toBeLessThan(36 * SECOND)
    }
  })
})

describe('what is tried again', () => {
  const transient: [string, AttemptOutcome][] = [
    ['unreachable', unreachable()],
    ['timed out', timedOut()],
    ...[408, 425, 429, 500, 501, 502, 503, 504, 507, 511, 599].map((status): [string, AttemptOutcome] => [
      String(status),
      refused(status),
    ]),
  ]
  const refusals = [
    300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 409, 411, 413, 415, 418,
  ].concat([421, 422, 424, 426, 428, 431, 451, 499])

  it.each(transient)('%s: for the whole schedule', (_name, outcome) => {
    expect(attemptsOf(outcome, () => 0.5)).toMatchObject({ at: { length: 13 }, reason: 'exhausted' })
  })

  it.each(refusals)('%d: for at most an hour', status => {
    for (const random of [0, 0.5, 0.999_999]) {
      const { at, reason } = attemptsOf(refused(status), () => random)
      expect(at).toHaveLength(7)
      expect(at.at(-1)).toBeLessThanOrEqual(HOUR)
      expect(reason).toBe('refused')
    }
  })

  it('a refusal for good, as the service means it: not again, whatever else the answer says', () => {
    const outcome = { ...refused(400, 5_000), ruling: 'refused' } as const
    expect(decideRetry(outcome, 1, 0)).toEqual({ retry: false, reason: 'refused' })
  })

  it('a 200 that means no: the whole schedule, as something behind it has failed', () => {
    expect(decideRetry({ ...refused(200), reason: 'made up' }, 8, 3 * HOUR)).toMatchObject({ retry: true })
  })

  it('410: as any refusal; its endpoint is disabled meanwhile, and what was sent is there when it is enabled', () => {
    expect(decideRetry(refused(410), 1, 0)).toMatchObject({ retry: true, asked: false })
    expect(decideRetry(refused(410), 8, 3 * HOUR)).toEqual({ retry: false, reason: 'refused' })
  })

  it('a refusal after hours of another failure: not any more', () => {
    expect(decideRetry(refused(404), 8, 3 * HOUR)).toEqual({ retry: false, reason: 'refused' })
    expect(decideRetry(refused(503), 8, 3 * HOUR)).toMatchObject({ retry: true })
  })
})

describe('a delay that the receiver asks for', () => {
  it.each([1, 1_500, 90 * SECOND, MAX_RETRY_AFTER_MS])('of %d ms is taken as it is, whatever the dice say', asked => {
    for (const random of [0, 0.5, 0.999]) {
      for (const failures of [1, 2, 5, 12, 13, 40]) {
        expect(decideRetry(refused(503, asked), failures, 0, () => random)).toEqual({
          retry: true,
          delayMs: asked,
          asked: true,
        })
      }
    }
  })

  it('is told apart from one of the schedule', () => {
    expect(decideRetry(refused(503), 3, 0, () => 0.5)).toEqual({ retry: true, delayMs: 30 * SECOND, asked: false })
  })

  it.each([301, 400, 403, 404, 422])('is waited for first, and judged afterwards, with a %d', status => {
    const asked = { retry: true, delayMs: 2 * HOUR, asked: true }
    expect(decideRetry(refused(status, 2 * HOUR), 1, 0)).toEqual(asked)
    expect(decideRetry(refused(status, 2 * HOUR), 1, 90 * HOUR)).toEqual(asked)
    // after it: by what is answered then
    expect(decideRetry(refused(status), 1, 2 * HOUR)).toEqual({ retry: false, reason: 'refused' })
    expect(decideRetry(refused(503), 1, 2 * HOUR)).toMatchObject({ retry: true, asked: false })
  })

  it.each([403, 429, 503])('ends with the 96 hours, be it with a %d', status => {
    expect(decideRetry(refused(status, HOUR), 1, MAX_AGE_MS - HOUR)).toMatchObject({ retry: true })
    expect(decideRetry(refused(status, HOUR + 1), 1, MAX_AGE_MS - HOUR)).toEqual({ retry: false, reason: 'exhausted' })
  })

  it.each([403, 429])('ends after 96 hours when it is asked for every time, with a %d', status => {
    const { at, reason } = attemptsOf(refused(status, 2 * HOUR), () => 0.5)
    expect(at).toHaveLength(49)
    expect(at.at(-1)).toBe(MAX_AGE_MS)
    expect(MAX_AGE_MS).toBe(96 * HOUR)
    expect(reason).toBe('exhausted')
  })
})
