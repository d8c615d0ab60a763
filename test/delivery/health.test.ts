import { describe, expect, it } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { afterAttempt, circuitAt, CLOSED, HEALTHY, isInTrouble, PAUSES, renewed } from '../../src/delivery/health.ts'
import type { Circuit, Health, HealthChange } from '../../src/delivery/health.ts'
import { accepted, refused, timedOut, unreachable } from '../helpers/outcomes.ts'

const SECOND = 1_000
const HOUR = 60 * 60 * SECOND
const DAY = 24 * HOUR

interface Story {
  readonly health?: Health
  readonly disableAfter?: number
  /** When each attempt ends; @default an hour after the one before */
  readonly at?: (index: number) => number
  /** The wall clock then; @default the same */
  readonly wallAt?: (index: number) => number
  /** Each is another delivery's. @default true */
  readonly areFirst?: boolean
}

/** Health after these attempts, and what was told at each. */
function after(
  outcomes: readonly AttemptOutcome[],
  { health = HEALTHY, disableAfter, at = index => index * HOUR, wallAt = at, areFirst = true }: Story = {}
): { health: Health; told: (HealthChange | undefined)[] } {
  const told: (HealthChange | undefined)[] = []
  for (const [index, outcome] of outcomes.entries()) {
    const seen = { outcome, isFirstFailure: areFirst, now: at(index), epochMs: wallAt(index), disableAfter }
    const step = afterAttempt(health, seen)
    health = step.health
    told.push(step.change)
  }
  return { health, told }
}

const ok = accepted()
const failing = refused(503)
const gone = refused(410)

const times = (count: number, outcome: AttemptOutcome): AttemptOutcome[] => Array.from({ length: count }, () => outcome)

/** Only changes, and at which attempt (from 0). */
function changes(told: readonly (HealthChange | undefined)[]): [number, HealthChange][] {
  return told.flatMap((change, index): [number, HealthChange][] => (change === undefined ? [] : [[index, change]]))
}

/** The circuit after so many failures in a row, all of which end at `now`. */
function failed(count: number, now = 0): Circuit {
  return after(times(count, failing), { at: () => now }).health.circuit
}

/** The circuit after one more attempt. */
function next(circuit: Circuit, outcome: AttemptOutcome, now: number): Circuit {
  return after([outcome], { health: { ...HEALTHY, failuresInRow: 1, circuit }, at: () => now }).health.circuit
}

describe('a closed circuit', () => {
  it('stays closed for 4 failures in a row', () => {
    expect(failed(4)).toEqual({ name: 'closed', failures: 4 })
  })

  it('opens at the 5th, for 5 s', () => {
    expect(failed(5, 1_000)).toEqual({ name: 'open', until: 6_000, pauseMs: 5_000 })
  })

  it('counts anew after a success', () => {
    expect(next(failed(4), ok, 0)).toBe(CLOSED)
    expect(next(next(failed(4), ok, 0), failing, 0)).toEqual({ name: 'closed', failures: 1 })
  })

  it('counts whatever is no 2xx', () => {
    const { circuit } = after([timedOut(), unreachable(), refused(301), refused(404), refused(500)]).health
    expect(circuit.name).toBe('open')
  })

  it('is not changed by time', () => {
    const circuit = failed(3)
    expect(circuitAt(circuit, Number.MAX_SAFE_INTEGER)).toBe(circuit)
  })
})

describe('an open circuit', () => {
  it('is half-open as soon as its pause is over, not before', () => {
    const circuit = failed(5, 1_000)
    expect(circuitAt(circuit, 5_999.9)).toBe(circuit)
    expect(circuitAt(circuit, 6_000)).toEqual({ name: 'half-open', pauseMs: 5_000 })
  })

  it('does not stay open longer for requests that were under way', () => {
    const circuit = failed(5, 1_000)
    expect(next(circuit, failing, 3_000)).toEqual(circuit)
    // late ones, too: the pause is over, but nothing has been probed yet
    expect(next(circuit, failing, 60_000)).toEqual(circuit)
    expect(failed(100, 1_000)).toEqual(circuit)
  })

  it('closes when one of those succeeds', () => {
    expect(next(failed(5), ok, 0)).toBe(CLOSED)
  })
})

describe('a half-open circuit', () => {
  it('closes with a success', () => {
    expect(next(circuitAt(failed(5), 5_000), ok, 5_000)).toBe(CLOSED)
  })

  it('opens with a failure, each time for twice as long, up to 5 min', () => {
    const pauses: number[] = []
    let circuit = failed(5)
    let now = 0
    while (circuit.name === 'open' && pauses.length < 10) {
      pauses.push(circuit.pauseMs)
      expect(circuit.until).toBe(now + circuit.pauseMs)
      now = circuit.until
      circuit = next(circuitAt(circuit, now), failing, now)
    }
    expect(pauses.map(pauseMs => pauseMs / SECOND)).toEqual([5, 10, 20, 40, 80, 160, 300, 300, 300, 300])
  })

  it('begins at 5 s again once it was closed', () => {
    let circuit = circuitAt(next(circuitAt(failed(5), 5_000), failing, 5_000), 15_000)
    expect(circuit).toEqual({ name: 'half-open', pauseMs: 2 * PAUSES.firstMs })
    circuit = next(circuit, ok, 15_000)
    for (let count = 0; count < 5; ++count) {
      circuit = next(circuit, failing, 20_000)
    }
    expect(circuit).toEqual({ name: 'open', until: 25_000, pauseMs: 5_000 })
  })
})

describe('the health of an endpoint', () => {
  it('is told at 5 failures in a row, once, and when it is back, once', () => {
    const { told, health } = after([...times(4, failing), ok, ...times(7, failing), ok, ok, ...times(5, failing)])
    expect(changes(told)).toEqual([
      [9, 'failing'],
      [12, 'recovered'],
      [18, 'failing'],
    ])
    expect(health).toMatchObject({ failuresInRow: 5, isTold: true, lastError: 'answered 503', failingSince: 14 * HOUR })
  })

  it('is perfect again after a success, and another streak has begun', () => {
    expect(after([...times(5, failing), ok]).health).toEqual({ ...HEALTHY, streak: 1 })
    expect(after([failing, ok, failing, ok]).health).toEqual({ ...HEALTHY, streak: 2 })
    expect(after([ok, ok]).health).toBe(HEALTHY)
  })

  it('is bad enough to disable it with one answer that means the same to its service', () => {
    const outcome = { ...refused(404), ruling: 'gone', reason: 'the webhook was removed' } as const
    const { health, change } = afterAttempt(HEALTHY, { outcome, isFirstFailure: true, now: 0, epochMs: 0 })
    expect(change).toBe('disabled')
    expect(health.disabled).toEqual({ since: 0, reason: 'it answered 404: the webhook was removed' })
  })

  it('is bad enough to disable it with one 410', () => {
    const { told, health } = after([gone])
    expect(told).toEqual(['disabled'])
    expect(health.disabled).toEqual({ since: 0, reason: 'it answered 410 Gone' })
  })

  it('does not change any more once it is disabled, whatever was under way then', () => {
    const { health } = after([gone])
    const { told, health: later } = after([failing, gone, ok, ...times(9, failing), ok], { health })
    expect(changes(told)).toEqual([])
    expect(later.disabled).toEqual(health.disabled)
    // so that it is told once it is back
    expect(later.isTold).toBe(true)
  })

  it('keeps what an operator has set, whatever happens', () => {
    const paused = { ...HEALTHY, isPaused: true }
    expect(after([failing, ok], { health: paused }).health.isPaused).toBe(true)
    expect(after([gone], { health: paused }).health.isPaused).toBe(true)
  })
})

describe('the limit of deliveries that fail in a row', () => {
  it.each([
    [1, 'a delivery has failed, the limit set for it'],
    [3, '3 deliveries in a row have failed, the limit set for it'],
    [7, '7 deliveries in a row have failed, the limit set for it'],
  ])('of %i disables the endpoint when it is reached', (limit, reason) => {
    const outcomes = [...times(limit - 1, failing), ok, ...times(limit, failing)]
    const { told, health } = after(outcomes, { disableAfter: limit })
    expect(told.filter(change => change === 'disabled')).toHaveLength(1)
    expect(told.at(-1)).toBe('disabled')
    expect(health.disabled?.reason).toBe(reason)
  })

  it('counts each delivery once, however often it is tried', () => {
    const first = after([failing], { disableAfter: 3 }).health
    const { told, health } = after(times(12, failing), { health: first, disableAfter: 3, areFirst: false })
    expect(health).toMatchObject({ deliveriesInRow: 1, failuresInRow: 13 })
    expect(told).not.toContain('disabled')
  })
})

describe('nothing but failures', () => {
  it('for 5 days in which attempts were made disable an endpoint, and not a moment before', () => {
    const { told } = after(times(121, failing))
    expect(changes(told)).toEqual([
      [4, 'failing'],
      [120, 'disabled'],
    ])
    expect(after([...times(120, failing), ok, ...times(120, failing)]).told).not.toContain('disabled')
  })

  it('do so at the pace of the longest waits, too', () => {
    expect(changes(after(times(6, failing), { at: index => index * DAY }).told)).toEqual([
      [4, 'failing'],
      [5, 'disabled'],
    ])
  })

  it.each([
    ['once a week', 7 * DAY],
    ['once in 26 hours', 26 * HOUR],
  ])('%s do not, as the time in between is silence', (_, every) => {
    const { told, health } = after(times(52, failing), { at: index => index * every })
    expect(told).not.toContain('disabled')
    expect(health.failingMs).toBe(0)
  })

  it('do not where only the wall clock says that it has been long', () => {
    const { told, health } = after(times(8, failing), {
      at: index => index * SECOND,
      wallAt: index => index * 6 * DAY,
    })
    expect(told).not.toContain('disabled')
    expect(health.failingMs).toBe(7 * SECOND)
    expect(health.failingSince).toBe(0)
  })

  it('do so though the wall clock stands still, or goes back', () => {
    expect(after(times(121, failing), { wallAt: index => -index * HOUR }).told.at(-1)).toBe('disabled')
  })
})

describe('a new chance', () => {
  it('forgets all but what was told, what an operator has set, and the streak', () => {
    const { health } = after(times(6, failing), { health: { ...HEALTHY, isPaused: true, streak: 3 } })
    expect(renewed(health)).toEqual({ ...HEALTHY, isTold: true, isPaused: true, streak: 4 })
    expect(renewed(after([gone]).health)).toEqual({ ...HEALTHY, isTold: true, streak: 1 })
  })

  it('is told of, once it succeeds, and its failure is not told twice', () => {
    const health = renewed(after(times(6, failing)).health)
    expect(changes(after([...times(9, failing), ok], { health }).told)).toEqual([[9, 'recovered']])
  })
})

describe('an endpoint is in trouble', () => {
  it('from its first failure until it succeeds', () => {
    expect(isInTrouble(HEALTHY)).toBe(false)
    expect(isInTrouble(after([ok]).health)).toBe(false)
    expect(isInTrouble(after([failing]).health)).toBe(true)
    expect(isInTrouble(after([failing, ok]).health)).toBe(false)
  })

  it('while it is disabled, or its circuit is not closed', () => {
    expect(isInTrouble(after([gone, ok]).health)).toBe(true)
    expect(isInTrouble({ ...HEALTHY, circuit: { name: 'half-open', pauseMs: 5 } })).toBe(true)
  })
})
