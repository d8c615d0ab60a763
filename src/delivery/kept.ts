import type { Delivery, DiscardReason, Order, Payload, Trigger } from './delivery.ts'

/**
 * A delivery that is kept: one object from its acceptance (or its return from the journal) to its end, never copied.
 *
 * Who writes what: `endpoint`, `state`, `progress` and `ticket` the ledger, `content` the bodies, `stored` the recorder.
 * Everybody else reads. Instants are of the engine's clock (`performance.now()`) unless they say epoch.
 */
export interface Kept {
  /** Order of acceptance, and its key in the journal; grows over restarts. */
  readonly number: number
  /** The `webhook-id` header. */
  readonly id: string
  /** The hook's id. */
  readonly owner: string
  readonly party: string
  readonly label: string
  readonly order: Order
  /** See {@link Delivery}. */
  readonly isQuestion: boolean
  /** Of its body. */
  readonly bytes: number
  /** Epoch ms. */
  readonly acceptedAt: number
  /** When it expires in its first life. One that is replayed after its end expires later, and then leads no more. */
  readonly leadsUntil: number
  /** Id of the endpoint that it is bound for: its owner's, as of the last reconfiguration. */
  endpoint: string
  state: State
  progress: Progress
  /** Raised at each transition: what a queue holds of it from before is void. */
  ticket: number
  /** What is sent; `undefined` while it is in the journal only. */
  content: Content | undefined
  /** Bytes that it takes up in the journal; 0 while it is not on disk. */
  stored: number
}

/**
 * The states of a delivery. Only `Ledger.enter` leads from one to another:
 *
 *     queued ──▶ sending ──▶ ended            delivered, or discarded
 *       │ ▲         │ ▲
 *       ▼ │         ▼ │ due, hastened
 *      held      waiting ──▶ dead ──▶ waiting (a replay)
 *
 * Any state but `sending` leads to `ended` when the delivery is discarded.
 */
export type State =
  /** Fresh: it goes as soon as its lane lets it. */
  | { readonly name: 'queued' }
  /** In no queue: it waits for a leader of its call to settle, or for its hook to be enabled. */
  | { readonly name: 'held' }
  /** Failed, put back or replayed: it goes from `dueAt` on. `stepMs`: how long it was meant to wait. */
  | { readonly name: 'waiting'; readonly dueAt: number; readonly stepMs: number }
  /** An attempt is under way to `endpoint`, which may not be the one that it is bound for any more. */
  | { readonly name: 'sending'; readonly endpoint: string; readonly isCancelled: boolean }
  /** Not tried again by itself. */
  | { readonly name: 'dead' }
  | { readonly name: 'ended'; readonly how: Ending }

export type Ending = 'delivered' | DiscardReason

/**
 * How far a delivery has come. Replaced as a whole, never changed in place. Every one has all properties, in this order:
 * those of one shape are copied several times as fast.
 */
export interface Progress {
  readonly attempts: number
  /** Failed attempts, but those after which the receiver named the delay itself. */
  readonly failures: number
  readonly firstTriedAt: number | undefined
  readonly expiresAt: number
  /** Of the next attempt. */
  readonly trigger: Trigger
  /** The streak of its endpoint's health in which it failed last; of this run only. */
  readonly failedIn: number | undefined
  /** When its endpoint answered again last, so that it was made due; of this run only. */
  readonly hastenedAt: number | undefined
  /** Its next attempt comes ahead of its time, for that reason: a failure is not charged. */
  readonly isAhead: boolean
}

/** Of what has not been tried, but for when it expires. */
export const UNTRIED: Progress = {
  attempts: 0,
  failures: 0,
  firstTriedAt: undefined,
  expiresAt: Number.POSITIVE_INFINITY,
  trigger: 'event',
  failedIn: undefined,
  hastenedAt: undefined,
  isAhead: false,
}

/** What a request is made of. Deliveries of one event may share the payload, and the bytes in it. */
export interface Content {
  readonly payload: Payload
  /** Names and values in turn. */
  readonly headers: readonly string[]
}

/** Pending: it will be tried, or is being tried. */
export function isPending({ state }: Kept): boolean {
  return state.name !== 'dead' && state.name !== 'ended'
}

const MAX_AGE_MS = 60 * 60_000

/** As it is accepted at `now`. @param maxLifetimeMs - how long any delivery is kept */
export function newKept(
  number: number,
  { id, owner, party = '', label, order, isQuestion = false, payload, headers, acceptedAt, lifetimeMs }: Delivery,
  endpoint: string,
  now: number,
  maxLifetimeMs: number
): Kept {
  const lifeMs = Math.min(lifetimeMs ?? maxLifetimeMs, maxLifetimeMs)
  // what is handed over again was heard a while ago, if the wall clock is right: it is not believed for long
  const ageMs = Math.min(Math.max(Date.now() - acceptedAt, 0), lifeMs, MAX_AGE_MS)
  const expiresAt = now + lifeMs - ageMs
  return {
    number,
    id,
    owner,
    party,
    label,
    order,
    isQuestion,
    bytes: payload.body.length,
    acceptedAt,
    leadsUntil: expiresAt,
    endpoint,
    state: { name: 'queued' },
    progress: { ...UNTRIED, expiresAt },
    ticket: 0,
    content: { payload, headers },
    stored: 0,
  }
}
