import type { Health } from './health.ts'
import type { Progress, RecoveredDelivery } from './journal.ts'
import type { Entry } from './lane.ts'
import { MAX_RETRY_AFTER_MS } from './retry.ts'
import type { Ended } from './tally.ts'

// The engine runs on the monotonic clock, which begins anew with the process: what is written is in epoch ms.

/** What is written of the engine itself. Instants in epoch ms. */
export interface EngineState {
  readonly ended: Ended
  readonly endpoints: Readonly<Record<string, { readonly ended: Ended; readonly health: Health }>>
}

/** How far an entry has come, in the journal's clock. */
export function progressOf(entry: Entry): Progress {
  const toEpoch = Date.now() - performance.now()
  return {
    attempts: entry.attempts,
    failures: entry.failures,
    isDead: entry.state === 'dead',
    ...(entry.trigger === 'replay' && { isReplay: true }),
    ...(entry.leads && entry.expiresAt === Number.POSITIVE_INFINITY && { isImmortal: true }),
    ...(entry.firstTriedAt !== undefined && { firstTriedAt: entry.firstTriedAt + toEpoch }),
    ...(entry.state === 'waiting' && { dueAt: entry.dueAt + toEpoch }),
  }
}

/** In the journal's clock. */
export function writtenHealth(health: Health): Health {
  const now = performance.now()
  const toEpoch = Date.now() - now
  const { circuit, blockedUntil } = health
  return {
    ...health,
    circuit: circuit.name === 'open' ? { ...circuit, until: circuit.until + toEpoch } : circuit,
    blockedUntil: blockedUntil > now ? blockedUntil + toEpoch : 0,
  }
}

/** As it is after a restart. However the wall clock was changed in between, no pause is longer than it was meant to be. */
export function restoredHealth(health: Health): Health {
  const now = performance.now()
  const fromEpoch = now - Date.now()
  const { circuit, blockedUntil } = health
  return {
    ...health,
    circuit:
      circuit.name === 'open'
        ? { ...circuit, until: Math.min(circuit.until + fromEpoch, now + circuit.pauseMs) }
        : circuit,
    blockedUntil: Math.min(blockedUntil + fromEpoch, now + MAX_RETRY_AFTER_MS),
  }
}

/**
 * A delivery of an earlier run, as it was. A clock that was changed in between delays nothing for long.
 *
 * @param spreadMs - when it goes if it became due while nothing ran: not all of them at once
 */
export function restoredEntry({ stored, progress, place }: RecoveredDelivery, spreadMs: number): Entry {
  const now = performance.now()
  const fromEpoch = now - Date.now()
  const { attempts, failures, isDead, isReplay = false, isImmortal = false, firstTriedAt, dueAt } = progress
  const lifetimeMs = isImmortal ? Number.POSITIVE_INFINITY : (stored.lifetimeMs ?? Number.POSITIVE_INFINITY)
  const leftMs = dueAt === undefined ? 0 : dueAt + fromEpoch - now
  return {
    id: stored.id,
    owner: stored.owner,
    party: stored.party ?? '',
    orderKey: stored.order.key,
    leads: stored.order.leads,
    bytes: stored.length,
    acceptedAt: stored.acceptedAt,
    takenAt: now,
    delivery: undefined,
    place,
    isUnsaved: false,
    state: isDead ? 'dead' : 'queued',
    expiresAt: Math.min(stored.acceptedAt + fromEpoch, now) + lifetimeMs,
    trigger: isReplay ? 'replay' : attempts === 0 ? 'event' : 'retry',
    attempts,
    failures,
    firstTriedAt: firstTriedAt === undefined ? undefined : firstTriedAt + fromEpoch,
    dueAt: now + (leftMs > 0 ? Math.min(leftMs, MAX_RETRY_AFTER_MS) : spreadMs),
    onFirstAttempt: undefined,
    isCancelled: false,
  }
}
