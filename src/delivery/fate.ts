import { isOfProxy } from './delivery.ts'
import type { AttemptOutcome, DiscardReason } from './delivery.ts'
import type { Progress, State } from './kept.ts'
import { decideRetry } from './retry.ts'

/** After a failure of the proxy; when it goes in fact is for the proxy's circuit breaker to say. */
const PROXY_STEP_MS = 1_000

/** What becomes of a delivery after an attempt. */
export interface Fate {
  readonly state: Exclude<State, { name: 'sending' | 'held' }>
  readonly progress: Progress
}

export interface Facts {
  readonly now: number
  /** A hook still wants it. */
  readonly isRouted: boolean
  readonly isCancelled: boolean
  /** Nobody waits for another answer. */
  readonly isQuestion?: boolean
  /** It is bound for another endpoint by now: how long this one would have it wait does not matter there. */
  readonly hasMoved: boolean
  /** Of its endpoint's health, as the attempt began. */
  readonly streak: number
  /** A dead letter is kept for this long. */
  readonly maxDeadMs: number
  readonly random: () => number
  /** Waits between attempts, ms. */
  readonly schedule?: readonly number[] | undefined
}

/**
 * Decides in this order: delivered; not wanted any more; a question that has found no answer (`expired`); not come to the
 * receiver, through the fault of a proxy; given up for good (dead); too late to be tried again (`expired`); else it
 * waits.
 *
 * @param before - the progress as the attempt began
 */
export function fateOf(before: Progress, outcome: AttemptOutcome, facts: Facts): Fate {
  const { now, isRouted, isCancelled, isQuestion = false, hasMoved, streak, maxDeadMs, random, schedule } = facts
  const tried: Progress = {
    ...before,
    attempts: before.attempts + 1,
    firstTriedAt: before.firstTriedAt ?? now,
    trigger: 'retry',
    failedIn: hasMoved ? before.failedIn : streak,
    isAhead: false,
  }
  if (outcome.kind === 'answered' && outcome.ok) {
    return ended('delivered', tried)
  }
  if (isCancelled || !isRouted) {
    return ended(isCancelled ? 'cancelled' : 'hook removed', tried)
  }
  if (isQuestion) {
    return ended('expired', tried)
  }
  if (isOfProxy(outcome)) {
    // no failure of the receiver's, whose time has not begun: it goes again as soon as the proxy lets it
    const progress: Progress = { ...before, attempts: tried.attempts, trigger: 'retry' }
    return waitingFor(hasMoved ? 0 : random() * PROXY_STEP_MS, progress, now)
  }
  const age = now - (tried.firstTriedAt ?? now)
  const failures = before.isAhead ? Math.max(before.failures, 1) : before.failures + 1
  const decision = decideRetry(outcome, failures, age, random, schedule)
  if (!decision.retry) {
    return {
      state: { name: 'dead' },
      progress: { ...tried, failures, expiresAt: now + maxDeadMs },
    }
  }
  const progress = decision.asked ? tried : { ...tried, failures }
  return waitingFor(hasMoved ? 0 : decision.delayMs, progress, now)
}

function waitingFor(stepMs: number, progress: Progress, now: number): Fate {
  const dueAt = now + stepMs
  return dueAt >= progress.expiresAt
    ? ended('expired', progress)
    : { state: { name: 'waiting', dueAt, stepMs }, progress }
}

function ended(how: 'delivered' | DiscardReason, progress: Progress): Fate {
  return { state: { name: 'ended', how }, progress }
}

/** For how long the receiver asks not to be sent anything, whatever becomes of the delivery; 0: it does not. */
export function pauseAskedFor(outcome: AttemptOutcome): number {
  return outcome.kind === 'answered' && !outcome.ok ? (outcome.retryAfterMs ?? 0) : 0
}

/** A delivery that is tried again because someone asks for it: with a new budget, if it was dead. */
export function replayed(progress: Progress, isDead: boolean, now: number, maxLifetimeMs: number): Progress {
  return isDead
    ? {
        ...progress,
        failures: 0,
        firstTriedAt: undefined,
        expiresAt: now + maxLifetimeMs,
        trigger: 'replay',
      }
    : { ...progress, trigger: 'replay' }
}
