import type { Event } from '../event/event.ts'
import type { Attempt, DiscardReason, Route } from '../delivery/delivery.ts'
import type { HealthChange, Health } from '../delivery/health.ts'
import type { Tally } from '../delivery/tally.ts'
import type { ProxySettings } from '../delivery/transport.ts'

/**
 * The seam between the two halves: the host side hands events over, the delivery side does the rest. All that crosses is
 * plain data (`structuredClone` copies it without loss), so that the delivery side can run in this thread, in a worker
 * thread, or elsewhere.
 */
export interface Engine {
  /** Settles once deliveries are sent: the journal has been read, or given up. Never rejects. */
  readonly ready: Promise<void>
  /**
   * From now on these are the hooks. What waits for one goes to its endpoint here; what waits for a hook that is not among
   * them is discarded as `hook removed`. Endpoints that are disabled, failing or held back by `Retry-After` get a new chance.
   */
  configure(settings: PlainSettings): void
  /** One event for its hooks. Never throws; costs a hand-over. */
  hand(handing: Handing): void
  /**
   * As {@link hand}, ahead of any backlog. Settles once the first attempt of each is over, or cannot be made now, or its
   * hook's timeout has passed; never rejects. The answers are those that came.
   */
  ask(handing: Handing): Promise<readonly Answer[]>
  /** One attempt for each hook, apart from the queues: the Test button. Never rejects. */
  probe(handing: Handing): Promise<readonly Answer[]>
  /** What is kept, the newest first. */
  list(query: Query): Promise<Page<Account>>
  get(id: string): Promise<Account | undefined>
  /** Tries again now, each as the same delivery: a dead one anew, a waiting one ahead of its time. @returns how many */
  replay(which: Selection): Promise<number>
  /** Discards what is kept; what is under way, once its attempt is over, if that fails. @returns how many */
  cancel(which: Selection): Promise<number>
  /** Nothing is sent to an endpoint until it is resumed. @returns whether there is such an endpoint */
  pause(endpoint: string): Promise<boolean>
  /** An endpoint that is paused, disabled, failing or held back by `Retry-After` gets a new chance. */
  resume(endpoint: string): Promise<boolean>
  health(): Promise<EngineHealth>
  /** @returns its undo. A listener that throws harms nobody. */
  listen(listener: (event: EngineEvent) => void): () => void
  /** Requests under way may end within `graceMs`. Leaves no thread, timer, socket or file; settles soon after `graceMs`. */
  close(graceMs: number): Promise<void>
}

/** One hook, as the delivery side needs it. */
export interface PlainHook {
  readonly id: string
  readonly name: string
  /** Name of a format, see `formats/index.ts`. */
  readonly format: string
  /** Its bodies tell of the object that the event is about. */
  readonly includeObject: boolean
  /** Which of its events are sent, in the syntax of XO's searches; without, all. */
  readonly filter?: string
  readonly route: Route
}

export interface PlainSettings {
  readonly hooks: readonly PlainHook[]
  readonly proxy: ProxySettings
}

/** One event for some hooks. */
export interface Handing {
  /** Unique. The ids of its deliveries are made from it: the same, however often it is handed over. */
  readonly id: string
  readonly event: Event
  /** JSON of the object that the event is about; `null`: it was too large. */
  readonly object?: string | null
  /** Ids of hooks, each once. */
  readonly hooks: readonly string[]
  /** Who caused it: where there is no room, whoever causes most loses first. */
  readonly party: string
  /** Marked as a test (`X-XO-Test`). */
  readonly isTest?: boolean
}

/** What the first attempt for a hook came to. */
export interface Answer {
  readonly hook: string
  readonly attempt: Attempt
}

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

export interface EngineHealth extends Tally {
  /** By endpoint id. */
  readonly endpoints: ReadonlyMap<string, EndpointHealth>
  /** Events whose filter could not be decided in time, by hook. */
  readonly undecided: ReadonlyMap<string, number>
  /** Why the journal is not in use. */
  readonly journal?: string
}

export interface EndpointHealth extends Tally {
  readonly health: Health
  /** Nothing is sent before, epoch ms. */
  readonly pausedUntil?: number
}

/** What happened, for whoever logs it. */
export type EngineEvent =
  | {
      readonly type: 'dead'
      readonly id: string
      readonly owner: string
      readonly origin: string
      readonly attempts: number
      readonly lastError: string
    }
  /** `id`: of one of them. */
  | { readonly type: 'discarded'; readonly reason: DiscardReason; readonly count: number; readonly id: string }
  | { readonly type: 'health'; readonly change: HealthChange; readonly report: EndpointReport }
  /** `problem`: why everything stays in memory; absent: the journal is in use. `lost`: what it should have held. */
  | { readonly type: 'journal'; readonly problem?: string; readonly recovered: number; readonly lost: number }
  /** A filter took too long for an event, which was sent; the hook is switched off after the third time. */
  | { readonly type: 'undecided'; readonly hook: string; readonly isSwitchedOff: boolean }
  /** A format threw: its hook's event is lost, and counted as discarded. */
  | { readonly type: 'unformatted'; readonly hook: string; readonly method: string; readonly error: string }
  /** The delivery side died or hung, and has been replaced. */
  | { readonly type: 'replaced'; readonly reason: string }
  /** An event that brought the delivery side down three times is not handed over again. */
  | { readonly type: 'set aside'; readonly method: string; readonly callId: string }
  /** No thread can be started: the delivery side runs in this one. */
  | { readonly type: 'no thread'; readonly reason: string }

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
