import type { Kept, Progress, State } from './kept.ts'
import type { RecoveredDelivery } from './journal.ts'
import { MAX_RETRY_AFTER_MS } from './retry.ts'
import type { Stamp, StoredDelivery, StoredProgress } from './stored.ts'

export type { Stamp } from './stored.ts'

/** More than this cannot have passed while nothing ran: so says a wall clock that was set. */
const MAX_ABSENCE_MS = 7 * 24 * 60 * 60_000

/**
 * Instants in memory are of `performance.now()`, which begins anew with each thread. On disk they are of a clock that
 * goes on over restarts: it begins as the wall clock, and what happens to the wall clock afterwards while the engine runs
 * does not touch it. Only how long nothing ran has to be asked of the wall clock, and is not believed without bounds.
 */
export class DiskClock {
  /** From an instant in memory to the disk's. */
  #offset = Date.now() - performance.now()

  /** Goes on from what an earlier run has written; without, it begins as the wall clock. */
  continue(saved: Stamp | undefined): void {
    const epoch = Date.now()
    const clock = saved === undefined ? epoch : saved.clock + clamp(epoch - saved.epoch, 0, MAX_ABSENCE_MS)
    this.#offset = clock - performance.now()
  }

  /** Whole ms, so that the same instant is always the same on disk. */
  toDisk(instant: number): number {
    return Math.round(instant + this.#offset)
  }

  fromDisk(instant: number): number {
    return instant - this.#offset
  }

  /** Written with each batch. */
  stamp(): Stamp {
    return { clock: this.toDisk(performance.now()), epoch: Date.now() }
  }
}

/** What is written of a delivery that is in memory. */
export function storedOf(kept: Kept, clock: DiskClock): StoredDelivery {
  const { number, id, owner, party, label, order, acceptedAt, content } = kept
  if (content === undefined) {
    throw new Error('only what is in memory can be written')
  }
  const { payload, headers } = content
  const { contentType, fills } = payload
  const { expiresAt, leftMs } = lifetimeOf(kept.progress, clock)
  return {
    ...{ number, id, owner, party, label, order, acceptedAt, contentType, headers, expiresAt, leftMs },
    ...(fills && { fills }),
  }
}

/** How far a delivery has come; `undefined` while it is as it was accepted. */
export function progressOf({ state, progress }: Kept, clock: DiskClock): StoredProgress | undefined {
  const { attempts, failures, trigger, firstTriedAt } = progress
  const name = storedName(state)
  if (name === 'queued' && attempts === 0 && trigger === 'event') {
    return undefined
  }
  return {
    ...{ state: name, attempts, failures, trigger },
    ...lifetimeOf(progress, clock),
    ...(firstTriedAt !== undefined && { firstTriedAt: clock.toDisk(firstTriedAt) }),
    ...(state.name === 'waiting' && { dueAt: clock.toDisk(state.dueAt), stepMs: Math.round(state.stepMs) }),
  }
}

function storedName(state: State): StoredProgress['state'] {
  switch (state.name) {
    case 'waiting':
    case 'dead':
      return state.name
    case 'sending':
      return state.isCancelled ? 'cancelled' : 'queued'
    default:
      return 'queued'
  }
}

/** Whether two say the same: what was left of the lifetime depends on when they were made. */
export function isSameProgress(a: StoredProgress | undefined, b: StoredProgress | undefined): boolean {
  return JSON.stringify(a && comparable(a)) === JSON.stringify(b && comparable(b))
}

function comparable({ state, attempts, failures, trigger, firstTriedAt, expiresAt, dueAt }: StoredProgress): unknown {
  return [state, attempts, failures, trigger, firstTriedAt, expiresAt, dueAt]
}

function lifetimeOf({ expiresAt }: Progress, clock: DiskClock): { expiresAt: number; leftMs: number } {
  return { expiresAt: clock.toDisk(expiresAt), leftMs: Math.max(0, Math.round(expiresAt - performance.now())) }
}

/**
 * A delivery of an earlier run, as it was. However the clocks were changed in between, it waits no longer than the step it
 * was in was meant to last, and lives no longer than it was meant to.
 *
 * @param endpoint - id of the one that it is bound for
 * @param now - instant in memory
 * @param spreadMs - after how long it goes if it became due while nothing ran: the caller's dice, so that not all go at once
 */
export function keptOf(
  { delivery, progress, bytes, stored }: RecoveredDelivery,
  clock: DiskClock,
  endpoint: string,
  now: number,
  spreadMs: number
): Kept {
  const { number, id, owner, party, label, order, acceptedAt } = delivery
  const { expiresAt, leftMs } = progress ?? delivery
  const firstTriedAt = progress?.firstTriedAt
  return {
    number,
    id,
    owner,
    party,
    label,
    order,
    isQuestion: false,
    bytes,
    acceptedAt,
    leadsUntil: Math.min(clock.fromDisk(delivery.expiresAt), now + delivery.leftMs),
    endpoint,
    state: progress === undefined ? { name: 'queued' } : stateOf(progress, clock, now, spreadMs),
    progress: {
      attempts: progress?.attempts ?? 0,
      failures: progress?.failures ?? 0,
      firstTriedAt: firstTriedAt === undefined ? undefined : Math.min(clock.fromDisk(firstTriedAt), now),
      expiresAt: Math.min(clock.fromDisk(expiresAt), now + leftMs),
      trigger: progress?.trigger ?? 'event',
      failedIn: undefined,
      hastenedAt: undefined,
      isAhead: false,
    },
    ticket: 0,
    content: undefined,
    stored,
  }
}

function stateOf(
  { state, attempts, trigger, dueAt, stepMs }: StoredProgress,
  clock: DiskClock,
  now: number,
  spreadMs: number
): State {
  if (state === 'dead') {
    return { name: 'dead' }
  }
  if (trigger === 'replay') {
    return { name: 'waiting', dueAt: now, stepMs: 0 }
  }
  if (state === 'queued' && attempts === 0) {
    return { name: 'queued' }
  }
  const step = stepMs ?? MAX_RETRY_AFTER_MS
  const restMs = dueAt === undefined ? 0 : clock.fromDisk(dueAt) - now
  return { name: 'waiting', dueAt: now + Math.min(restMs > 0 ? restMs : spreadMs, step), stepMs: step }
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most)
}
