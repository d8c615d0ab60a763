import type { Health } from './health.ts'
import type { Kept } from './kept.ts'
import type { Tally } from './tally.ts'

/** Which deliveries; all conditions that are given hold. */
export interface Selection {
  readonly id?: string
  readonly endpoint?: string
  readonly owner?: string
  /** Accepted at or after, epoch ms. */
  readonly since?: number
}

export interface Query extends Selection {
  readonly status?: AccountStatus
  /** Of an earlier page: what comes after it. */
  readonly cursor?: string
  /** @default 100 */
  readonly limit?: number
}

export interface Page<T> {
  readonly items: readonly T[]
  /** Absent: there is no more. */
  readonly cursor?: string
}

export type AccountStatus = 'queued' | 'held' | 'waiting' | 'sending' | 'dead' | 'ended'

/** What is known of one delivery. Holds no body, no header and no URL. */
export interface Account {
  readonly id: string
  readonly owner: string
  readonly endpoint: string
  readonly label: string
  readonly status: AccountStatus
  /** Epoch ms. */
  readonly acceptedAt: number
  readonly bytes: number
  readonly attempts: number
  /** Of the next attempt, epoch ms, while `waiting`. */
  readonly dueAt?: number
}

export interface EndpointHealth extends Tally {
  readonly health: Health
  /** Nothing is sent before, epoch ms. */
  readonly pausedUntil?: number
}

/** How an endpoint is doing, and what waits there. */
export interface EndpointReport {
  readonly endpoint: string
  readonly origin: string
  /** Ids of the hooks that go there. */
  readonly owners: readonly string[]
  readonly health: Health
  readonly pending: number
  readonly dead: number
}

/** @param toEpoch - turns an instant of the engine's clock into epoch ms */
export function accountOf(kept: Kept, toEpoch: (instant: number) => number): Account {
  const { id, owner, endpoint, label, state, acceptedAt, bytes, progress } = kept
  return {
    id,
    owner,
    endpoint,
    label,
    status: state.name,
    acceptedAt,
    bytes,
    attempts: progress.attempts,
    ...(state.name === 'waiting' && { dueAt: Math.round(toEpoch(state.dueAt)) }),
  }
}

/** Whether a delivery is meant. */
export function isSelected({ id, endpoint, owner, acceptedAt }: Kept, which: Selection): boolean {
  return (
    (which.id === undefined || which.id === id) &&
    (which.endpoint === undefined || which.endpoint === endpoint) &&
    (which.owner === undefined || which.owner === owner) &&
    (which.since === undefined || acceptedAt >= which.since)
  )
}

const PAGE_LENGTH = 100

/**
 * One page of what is meant, the newest first. A cursor is the number of the last delivery of the page before: what comes
 * in between the two questions is not missed, and nothing is told twice.
 *
 * @param kept - in the order in which they came
 */
export function pageOf(
  kept: Iterable<Kept>,
  { status, cursor, limit = PAGE_LENGTH, ...which }: Query,
  toEpoch: (instant: number) => number
): Page<Account> {
  const before = cursor === undefined ? Number.POSITIVE_INFINITY : Number(cursor)
  const meant = [...kept]
    .filter(
      each => each.number < before && (status === undefined || each.state.name === status) && isSelected(each, which)
    )
    .sort((a, b) => b.number - a.number)
  const items = meant.slice(0, limit)
  return {
    items: items.map(each => accountOf(each, toEpoch)),
    ...(meant.length > limit && { cursor: String(items.at(-1)?.number ?? 0) }),
  }
}
