import type { Addresses, CourierEvent, EngineHealth, PlainSettings } from '../courier.ts'
import type { Account, Page, Query, Selection } from '../delivery/account.ts'
import type { DiscardReason } from '../delivery/delivery.ts'
import type { Answer } from '../courier.ts'
import type { Handing, Remains } from '../handing.ts'

/** What the delivery side is started with. */
export interface Beginning {
  readonly addresses: Addresses
  /** It asks for the journal's folder; else everything stays in memory. */
  readonly hasJournal: boolean
  /** What the one that it replaces has left, in JSON. */
  readonly legacy: string | undefined
  /** Where a thread shows that it turns; absent where nobody watches. */
  readonly pulse?: { readonly shared: Int32Array; readonly beatMs: number }
}

/** Place in the memory that a thread shares with its host: counts up as long as the thread turns. */
export const BEAT = 0
/** Another place: number of the handing that it is working on, 0: none. Tells after its death who was to blame. */
export const MARK = 1
export const SHARED_LENGTH = 2

/** What the host end says, worked off in their order. */
export interface Batch {
  /** From 1. */
  readonly number: number
  readonly orders: readonly Order[]
}

export type Order =
  | { readonly type: 'configure'; readonly settings: PlainSettings }
  | { readonly type: 'hand'; readonly number: number; readonly handing: Handing }
  /** Deliveries that nobody will see, each to be counted. */
  | { readonly type: 'discard'; readonly remains: Remains; readonly reason: DiscardReason }
  /** As many of one hook, of which nothing is known but how many. `id`: of one of them. */
  | { readonly type: 'lost'; readonly owner: string; readonly id: string; readonly count: number }
  | { readonly type: 'question'; readonly number: number; readonly question: Question }
  /** Where the journal is, or why that is not known. */
  | { readonly type: 'directory'; readonly path: string }
  | { readonly type: 'no directory'; readonly problem: string }
  | { readonly type: 'close'; readonly graceMs: number }

export type Question =
  /** `mark`: the number of its handing. */
  | { readonly name: 'ask'; readonly handing: Handing; readonly mark: number }
  | { readonly name: 'probe'; readonly handing: Handing }
  | { readonly name: 'list'; readonly query: Query }
  | { readonly name: 'get'; readonly id: string }
  | { readonly name: 'replay' | 'cancel'; readonly which: Selection }
  | { readonly name: 'pause' | 'resume'; readonly endpoint: string }
  | { readonly name: 'health' }

/** What each question is answered with. */
export interface Answers {
  readonly ask: readonly Answer[]
  readonly probe: readonly Answer[]
  readonly list: Page<Account>
  readonly get: Account | undefined
  readonly replay: number
  readonly cancel: number
  readonly pause: boolean
  readonly resume: boolean
  readonly health: EngineHealth
}

export type Reply =
  | { readonly number: number; readonly value: Answers[Question['name']] }
  | { readonly number: number; readonly problem: string }

/** What the delivery side says: all since the last report. */
export interface Report {
  /** The number of the last batch that was worked off; 0: none yet. The first report comes before any batch. */
  readonly taken: number
  /** Ids of deliveries that need not be handed over again. */
  readonly safe: readonly string[]
  /** What it leaves if it dies now, in JSON: the host end looks into it only then. */
  readonly legacy: string
  readonly events: readonly CourierEvent[]
  readonly replies: readonly Reply[]
  /** Deliveries are sent. */
  readonly isReady: boolean
  /** The journal's folder is asked for. */
  readonly asksForDirectory: boolean
  /** It has closed, and this is how it ended. Nothing comes after it. */
  readonly closed?: EngineHealth
}
