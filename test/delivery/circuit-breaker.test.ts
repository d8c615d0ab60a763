import { describe, expect, it } from 'vitest'

import { afterFailure, afterSuccess, circuitAt, CLOSED } from '../../src/delivery/circuit-breaker.ts'
import type { Circuit } from '../../src/delivery/circuit-breaker.ts'

/** As after so many failures in a row at `now`. */
function failed(times: number, now = 0): Circuit {
  let circuit = CLOSED
  for (let i = 0; i < times; ++i) {
    circuit = afterFailure(circuit, now)
  }
  return circuit
}

describe('a closed circuit', () => {
  it('stays closed for 4 failures in a row', () => {
    expect(CLOSED).toEqual({ name: 'closed', failures: 0 })
    expect(failed(4)).toEqual({ name: 'closed', failures: 4 })
  })

  it('opens at the 5th, for 5 s', () => {
    expect(failed(5, 1_000)).toEqual({ name: 'open', until: 6_000, pauseMs: 5_000 })
  })

  it('counts anew after a success', () => {
    expect(afterSuccess(failed(4))).toBe(CLOSED)
    expect(afterFailure(afterSuccess(failed(4)), 0)).toEqual({ name: 'closed', failures: 1 })
    expect(afterSuccess(CLOSED)).toBe(CLOSED)
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
    expect(afterFailure(circuit, 3_000)).toEqual(circuit)
    // late ones, too: the pause is over, but nothing has been probed yet
    expect(afterFailure(circuit, 60_000)).toEqual(circuit)
    expect(failed(100, 1_000)).toEqual(circuit)
  })

  it('closes when one of those succeeds', () => {
    expect(afterSuccess(failed(5))).toBe(CLOSED)
  })
})

describe('a half-open circuit', () => {
  it('closes with a success', () => {
    expect(afterSuccess(circuitAt(failed(5), 5_000))).toBe(CLOSED)
  })

  it('opens with a failure, each time for twice as long, up to 5 min', () => {
    const pauses: number[] = []
    let circuit = failed(5)
    let now = 0
    while (circuit.name === 'open' && pauses.length < 10) {
      pauses.push(circuit.pauseMs)
      expect(circuit.until).toBe(now + circuit.pauseMs)
      now = circuit.until
      circuit = afterFailure(circuitAt(circuit, now), now)
    }
    expect(pauses.map(pauseMs => pauseMs / 1_000)).toEqual([5, 10, 20, 40, 80, 160, 300, 300, 300, 300])
  })

  it('begins at 5 s again once it was closed', () => {
    let circuit = circuitAt(failed(5), 5_000)
    circuit = circuitAt(afterFailure(circuit, 5_000), 15_000)
    circuit = afterSuccess(circuit)
    for (let i = 0; i < 5; ++i) {
      circuit = afterFailure(circuit, 20_000)
    }
    expect(circuit).toEqual({ name: 'open', until: 25_000, pauseMs: 5_000 })
  })
})
