import type { Answer, CourierEvent, EngineHealth, PlainSettings } from '../courier.ts'
import type { Account, Details, Page, Query, Selection } from '../delivery/account.ts'
import type { EngineStatistics } from '../delivery/statistics.ts'
import type { Handing, PlainHook } from '../handing.ts'
import type { RecentEvent, Rehearsal } from '../recent-events.ts'

// the host side imports what crosses the seam from here, and nothing from below
export type { Addresses, Answer, CourierEvent, EngineHealth, PlainSettings } from '../courier.ts'
export type { Instance } from '../formats/index.ts'
export type { Handing, PlainHook } from '../handing.ts'
export type {
  Account,
  AccountStatus,
  Details,
  EndpointHealth,
  EndpointReport,
  LastAttempt,
  Page,
  PastAttempt,
  Query,
  Selection,
} from '../delivery/account.ts'
export type { EndpointStatistics, EngineStatistics } from '../delivery/statistics.ts'
export { DURATION_BOUNDS_MS } from '../delivery/statistics.ts'
export type { RecentEvent, Rehearsal } from '../recent-events.ts'
export { ACCOUNT_STATUSES } from '../delivery/account.ts'
export type { ProxyReport } from '../delivery/proxies.ts'
export type { ProxySettings } from '../transport/proxy.ts'

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
   * Called before anything is handed over; until then the journal is not read.
   */
  configure(settings: PlainSettings): void
  /** One event for its hooks. Never throws; costs a hand-over. */
  hand(handing: Handing): void
  /**
   * As {@link hand}, ahead of any backlog. Settles once the first attempt of each is over, or cannot be made now, or its
   * hook's timeout has passed; never rejects. The answers are those that came, and what filters did not let pass.
   */
  ask(handing: Handing): Promise<readonly Answer[]>
  /** One attempt for each hook, apart from the queues: the Test button. Never rejects. */
  probe(handing: Handing): Promise<readonly Answer[]>
  /** What is kept and what is over, the newest first. */
  list(query: Query): Promise<Page<Account>>
  get(id: string): Promise<Details | undefined>
  /** Tries again now, each as the same delivery: a dead one anew, a waiting one ahead of its time. @returns how many */
  replay(which: Selection): Promise<number>
  /** Discards what is kept; what is under way, once its attempt is over, if that fails. @returns how many */
  cancel(which: Selection): Promise<number>
  /** Nothing is sent to an endpoint until it is resumed. @returns whether there is such an endpoint */
  pause(endpoint: string): Promise<boolean>
  /** An endpoint that is paused, disabled, failing or held back by `Retry-After` gets a new chance. */
  resume(endpoint: string): Promise<boolean>
  health(): Promise<EngineHealth>
  statistics(): Promise<EngineStatistics>
  /** Events that were handed over lately, the latest first. */
  recentEvents(): Promise<readonly RecentEvent[]>
  /** What a hook would have sent of recent events. @param events - their ids */
  rehearse(hook: PlainHook, events: readonly string[]): Promise<readonly Rehearsal[]>
  /** @returns its undo. A listener that throws harms nobody. */
  listen(listener: (event: EngineEvent) => void): () => void
  /** Requests under way may end within `graceMs`. Leaves no thread, timer, socket or file; settles soon after `graceMs`. */
  close(graceMs: number): Promise<void>
}

/** What happened, for whoever logs it. */
export type EngineEvent =
  | CourierEvent
  /** The delivery side died or hung, and has been replaced. */
  | { readonly type: 'replaced'; readonly reason: string }
  /** An event that brought the delivery side down three times is not handed over again. */
  | { readonly type: 'set aside'; readonly method: string; readonly callId: string }
  /** No thread can be started: the delivery side runs in this one. */
  | { readonly type: 'no thread'; readonly reason: string }
