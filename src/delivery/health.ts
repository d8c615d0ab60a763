import type { AttemptOutcome } from './delivery.ts'
import { describeOutcome } from './delivery.ts'

/** Failed attempts in a row that open the circuit, and of which the administrator is told. */
const TROUBLE_AFTER = 5

/** An endpoint to which attempts were made for this long, and all failed, is disabled. */
const DISABLE_AFTER_MS = 120 * 60 * 60_000
/** Between two attempts that are further apart nothing was tried: that time is silence. A little above the longest wait of the schedule. */
const SILENCE_MS = 25 * 60 * 60_000

/** How long an open circuit stays so: doubling from the first to the longest. */
export interface Pauses {
  readonly firstMs: number
  readonly longestMs: number
}

export const PAUSES: Pauses = { firstMs: 5_000, longestMs: 5 * 60_000 }

/**
 * The circuit breaker of one endpoint. Each state carries only what it needs.
 *
 * - `closed`: requests flow. `TROUBLE_AFTER` failures in a row → `open`.
 * - `open`: nothing is sent until `until`. Then → `half-open`.
 * - `half-open`: one request at a time. A success → `closed`; a failure → `open`, for twice as long.
 */
export type Circuit =
  | { readonly name: 'closed'; readonly failures: number }
  | { readonly name: 'open'; readonly until: number; readonly pauseMs: number }
  | { readonly name: 'half-open'; readonly pauseMs: number }

export const CLOSED: Circuit = { name: 'closed', failures: 0 }

/**
 * How an endpoint is doing: plain data, replaced as a whole. Instants are of the engine's clock, unless they say epoch.
 *
 * Attempts count for the circuit and the first alert; *deliveries* count for the administrator's own limit, so that the
 * retries of one event that a receiver will never take do not disable it; *time* counts for the rest, and only time in
 * which attempts were made: neither silence, nor a switched-off host, nor a clock that jumps.
 */
export interface Health {
  readonly circuit: Circuit
  /** Attempts. */
  readonly failuresInRow: number
  /** Deliveries that have failed since the last success, each once. */
  readonly deliveriesInRow: number
  /** Raised with each success: a delivery that has failed in this streak is counted already. */
  readonly streak: number
  /** How long attempts were made that all failed, ms. */
  readonly failingMs: number
  /** Of the last failure, if it was in this run. */
  readonly failedAt?: number
  /** Of the first failure in the row, epoch ms. */
  readonly failingSince?: number
  readonly lastError?: string
  /** The administrator has been told that it fails, and is told when it is back. */
  readonly isTold: boolean
  /** Nothing is sent until it is enabled again. `since`: epoch ms. */
  readonly disabled?: { readonly since: number; readonly reason: string }
  /** Nothing is sent until someone resumes it. */
  readonly isPaused?: boolean
}

/** What an administrator is told about an endpoint; each once. */
export type HealthChange = 'failing' | 'disabled' | 'recovered'

export const HEALTHY: Health = {
  circuit: CLOSED,
  failuresInRow: 0,
  deliveriesInRow: 0,
  streak: 0,
  failingMs: 0,
  isTold: false,
}

/** The circuit as time has made it: an open one whose pause is over is half-open. */
export function circuitAt(circuit: Circuit, now: number): Circuit {
  return circuit.name === 'open' && now >= circuit.until ? { name: 'half-open', pauseMs: circuit.pauseMs } : circuit
}

/** What an attempt meant for its endpoint. */
export interface Observation {
  readonly outcome: AttemptOutcome
  /** The delivery has not failed in this streak before. */
  readonly isFirstFailure: boolean
  readonly now: number
  readonly epochMs: number
  /** The administrator's own limit of deliveries that fail in a row. */
  readonly disableAfter?: number | undefined
}

export function afterAttempt(
  health: Health,
  seen: Observation,
  pauses: Pauses = PAUSES
): { readonly health: Health; readonly change?: HealthChange } {
  return seen.outcome.kind === 'answered' && seen.outcome.ok ? afterSuccess(health) : afterFailure(health, seen, pauses)
}

function afterSuccess(health: Health): { health: Health; change?: HealthChange } {
  const { disabled, isPaused, isTold, failuresInRow, circuit, streak } = health
  if (failuresInRow === 0 && !isTold && circuit === CLOSED) {
    return { health }
  }
  const recovered: Health = {
    ...HEALTHY,
    streak: streak + 1,
    isTold: isTold && disabled !== undefined,
    ...(disabled && { disabled }),
    ...(isPaused === true && { isPaused }),
  }
  return isTold && disabled === undefined ? { health: recovered, change: 'recovered' } : { health: recovered }
}

function afterFailure(
  health: Health,
  { outcome, isFirstFailure, now, epochMs, disableAfter }: Observation,
  pauses: Pauses
): { health: Health; change?: HealthChange } {
  const sinceLastMs = health.failedAt === undefined ? 0 : now - health.failedAt
  const failed: Health = {
    ...health,
    circuit: afterFailureOf(health.circuit, now, pauses),
    failuresInRow: health.failuresInRow + 1,
    deliveriesInRow: health.deliveriesInRow + (isFirstFailure ? 1 : 0),
    failingMs: health.failingMs + (sinceLastMs <= SILENCE_MS ? sinceLastMs : 0),
    failedAt: now,
    failingSince: health.failingSince ?? epochMs,
    lastError: describeOutcome(outcome),
  }
  if (health.disabled !== undefined) {
    return { health: failed }
  }
  const reason = reasonToDisable(failed, outcome, disableAfter)
  if (reason !== undefined) {
    return { health: { ...failed, isTold: true, disabled: { since: epochMs, reason } }, change: 'disabled' }
  }
  if (failed.failuresInRow >= TROUBLE_AFTER && !failed.isTold) {
    return { health: { ...failed, isTold: true }, change: 'failing' }
  }
  return { health: failed }
}

function reasonToDisable(
  { deliveriesInRow, failingMs }: Health,
  outcome: AttemptOutcome,
  disableAfter = Number.POSITIVE_INFINITY
): string | undefined {
  if (outcome.kind === 'answered' && outcome.status === 410) {
    return 'it answered 410 Gone'
  }
  if (outcome.kind === 'answered' && outcome.ruling === 'gone') {
    return `it ${describeOutcome(outcome)}`
  }
  if (deliveriesInRow >= disableAfter) {
    const count = deliveriesInRow === 1 ? 'a delivery has failed' : `${deliveriesInRow} deliveries in a row have failed`
    return `${count}, the limit set for it`
  }
  return failingMs >= DISABLE_AFTER_MS ? 'nothing but failures for 5 days' : undefined
}

function afterFailureOf(circuit: Circuit, now: number, { firstMs, longestMs }: Pauses): Circuit {
  switch (circuit.name) {
    case 'closed': {
      const failures = circuit.failures + 1
      return failures < TROUBLE_AFTER ? { name: 'closed', failures } : open(firstMs, now)
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

/** Someone has looked at it: it gets a new chance. Whether it is paused, and what was told of it, stays. */
export function renewed({ isTold, isPaused, streak }: Health): Health {
  return { ...HEALTHY, streak: streak + 1, isTold, ...(isPaused === true && { isPaused }) }
}

/** Whether it has failed, and nobody has seen it answer since. */
export function isInTrouble({ failuresInRow, disabled, circuit }: Health): boolean {
  return failuresInRow > 0 || disabled !== undefined || circuit.name !== 'closed'
}
