import type { Health } from './health.ts'
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
