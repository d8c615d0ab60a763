/** Failures in a row that open the circuit. */
const OPENS_AFTER = 5

/** How long an open circuit stays so: doubling from the first to the longest. */
export interface Pauses {
  readonly firstMs: number
  readonly longestMs: number
}

export const PAUSES: Pauses = { firstMs: 5_000, longestMs: 5 * 60_000 }

/**
 * The state of one endpoint, plain data. Each state carries only what it needs.
 *
 * - `closed`: requests flow. `OPENS_AFTER` failures in a row → `open`.
 * - `open`: nothing is sent until `until`. Then → `half-open`.
 * - `half-open`: one request at a time. A success → `closed`; a failure → `open`, for twice as long.
 */
export type Circuit =
  | { readonly name: 'closed'; readonly failures: number }
  | { readonly name: 'open'; readonly until: number; readonly pauseMs: number }
  | { readonly name: 'half-open'; readonly pauseMs: number }

export const CLOSED: Circuit = { name: 'closed', failures: 0 }

/** The circuit as time has made it: an open one whose pause is over is half-open. */
export function circuitAt(circuit: Circuit, now: number): Circuit {
  return circuit.name === 'open' && now >= circuit.until ? { name: 'half-open', pauseMs: circuit.pauseMs } : circuit
}

export function afterSuccess(circuit: Circuit): Circuit {
  return circuit.name === 'closed' && circuit.failures === 0 ? circuit : CLOSED
}

export function afterFailure(circuit: Circuit, now: number, { firstMs, longestMs } = PAUSES): Circuit {
  switch (circuit.name) {
    case 'closed': {
      const failures = circuit.failures + 1
      return failures < OPENS_AFTER ? { name: 'closed', failures } : open(firstMs, now)
    }
    case 'half-open':
      return open(Math.min(circuit.pauseMs * 2, longestMs), now)
    case 'open':
      // a request that was under way when it opened: nothing new
      return circuit
    default:
      return circuit satisfies never
  }
}

function open(pauseMs: number, now: number): Circuit {
  return { name: 'open', until: now + pauseMs, pauseMs }
}
