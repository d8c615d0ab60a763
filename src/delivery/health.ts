import { afterFailure, afterSuccess, CLOSED } from './circuit-breaker.ts'
import type { Circuit, Pauses } from './circuit-breaker.ts'
import { describeOutcome } from './delivery.ts'
import type { AttemptOutcome } from './delivery.ts'

/** Failures in a row after which the administrator is told. */
const TELL_AFTER = 5

/** An endpoint that has done nothing but fail for this long is disabled. */
const DISABLE_AFTER_MS = 120 * 60 * 60_000

/** How an endpoint is doing: plain data. Instants are epoch ms, but for `circuit` and `blockedUntil`: the engine's clock. */
export interface Health {
  readonly circuit: Circuit
  /** Nothing is sent before: the receiver has asked for it. */
  readonly blockedUntil: number
  readonly failuresInRow: number
  /** Of the first of those failures. */
  readonly failingSince?: number
  readonly lastError?: string
  /** The administrator has been told that it fails, and is told when it is back. */
  readonly isTold: boolean
  /** Nothing is sent until it is enabled again. */
  readonly disabled?: { readonly since: number; readonly reason: string }
}

/** What an administrator is told about an endpoint; each once. */
export type HealthChange = 'failing' | 'disabled' | 'recovered'

export const HEALTHY: Health = { circuit: CLOSED, blockedUntil: 0, failuresInRow: 0, isTold: false }

/**
 * What an attempt makes of it.
 *
 * @param disableAfter - the administrator's own limit of failures in a row
 */
export function afterAttempt(
  health: Health,
  outcome: AttemptOutcome,
  now: number,
  epochMs: number,
  disableAfter = Number.POSITIVE_INFINITY,
  pauses?: Pauses
): { health: Health; change?: HealthChange } {
  if (outcome.kind === 'answered' && outcome.ok) {
    if (health.failuresInRow === 0 && !health.isTold) {
      return { health }
    }
    const { blockedUntil, disabled } = health
    const recovered: Health = {
      circuit: afterSuccess(health.circuit),
      blockedUntil,
      failuresInRow: 0,
      isTold: disabled !== undefined,
      ...(disabled && { disabled }),
    }
    return health.isTold && disabled === undefined ? { health: recovered, change: 'recovered' } : { health: recovered }
  }

  const failed: Health = {
    ...health,
    circuit: afterFailure(health.circuit, now, pauses),
    failuresInRow: health.failuresInRow + 1,
    failingSince: health.failingSince ?? epochMs,
    lastError: describeOutcome(outcome),
  }
  if (health.disabled !== undefined) {
    return { health: failed }
  }
  const reason = reasonToDisable(failed, outcome, epochMs, disableAfter)
  if (reason !== undefined) {
    return { health: { ...failed, isTold: true, disabled: { since: epochMs, reason } }, change: 'disabled' }
  }
  if (failed.failuresInRow >= TELL_AFTER && !failed.isTold) {
    return { health: { ...failed, isTold: true }, change: 'failing' }
  }
  return { health: failed }
}

function reasonToDisable(
  { failuresInRow, failingSince }: Health,
  outcome: AttemptOutcome,
  epochMs: number,
  disableAfter: number
): string | undefined {
  if (outcome.kind === 'answered' && outcome.status === 410) {
    return 'it answered 410 Gone'
  }
  if (failuresInRow >= disableAfter) {
    return `${failuresInRow} failures in a row, the limit set for it`
  }
  if (failingSince !== undefined && epochMs - failingSince >= DISABLE_AFTER_MS) {
    return 'nothing but failures for 5 days'
  }
  return undefined
}
