import type { AttemptOutcome } from './delivery.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** Waits between attempts, ms: 13 attempts in about 72 h. */
export const RETRY_SCHEDULE_MS: readonly number[] = [
  1 * SECOND,
  5 * SECOND,
  30 * SECOND,
  2 * MINUTE,
  10 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  20 * HOUR,
]

/** Waits up to this are fully random, so that what failed together does not come back together. */
const FULL_JITTER_UP_TO_MS = 5 * SECOND
const JITTER = 0.2

/** Answers that speak against the request itself are tried again for this long: a receiver may be mid-deployment. */
const REFUSAL_PATIENCE_MS = 1 * HOUR
const TRANSIENT_STATUSES = new Set([408, 425, 429])

export const MAX_RETRY_AFTER_MS = 24 * HOUR

/** From the first attempt. A receiver that always says `Retry-After` spends no failures: this ends it all the same. */
export const MAX_AGE_MS = 96 * HOUR

export type RetryDecision =
  | {
      readonly retry: true
      readonly delayMs: number
      /** The receiver named the delay itself: it holds for its whole lane, and no failure is charged. */
      readonly asked: boolean
    }
  | { readonly retry: false; readonly reason: 'exhausted' | 'refused' }

/**
 * Whether and when to try again after a failed attempt. A delay that the receiver names is waited for whatever else its
 * answer says: a 403 with `Retry-After: 7200` is tried again after two hours, and judged by what it answers then.
 *
 * @param outcome - no 2xx
 * @param failures - charged to this delivery so far, this attempt included
 * @param ageMs - since its first attempt
 * @param random - from 0 to 1, 1 excluded
 */
export function decideRetry(
  outcome: AttemptOutcome,
  failures: number,
  ageMs: number,
  random: () => number = Math.random,
  schedule: readonly number[] = RETRY_SCHEDULE_MS
): RetryDecision {
  if (outcome.kind === 'answered' && outcome.ruling === 'refused') {
    return { retry: false, reason: 'refused' }
  }
  if (outcome.kind === 'answered' && outcome.retryAfterMs !== undefined) {
    const delayMs = outcome.retryAfterMs
    return ageMs + delayMs > MAX_AGE_MS ? { retry: false, reason: 'exhausted' } : { retry: true, delayMs, asked: true }
  }
  const scheduledMs = schedule[failures - 1]
  if (scheduledMs === undefined) {
    return { retry: false, reason: 'exhausted' }
  }
  const delayMs = withJitter(scheduledMs, random)
  if (isTransient(outcome)) {
    return ageMs + delayMs > MAX_AGE_MS ? { retry: false, reason: 'exhausted' } : { retry: true, delayMs, asked: false }
  }
  return ageMs + delayMs > REFUSAL_PATIENCE_MS
    ? { retry: false, reason: 'refused' }
    : { retry: true, delayMs, asked: false }
}

/** A 2xx that is none to its service says that something behind it has failed. */
function isTransient(outcome: AttemptOutcome): boolean {
  return (
    outcome.kind !== 'answered' ||
    outcome.status < 300 ||
    outcome.status >= 500 ||
    TRANSIENT_STATUSES.has(outcome.status)
  )
}

function withJitter(delayMs: number, random: () => number): number {
  return delayMs <= FULL_JITTER_UP_TO_MS ? random() * delayMs : delayMs * (1 - JITTER + 2 * JITTER * random())
}
