import type { Connect } from './attempt.ts'
import type { DiscardReason } from './delivery.ts'
import type { Pauses } from './health.ts'
import type { Journal, Recovered } from './journal.ts'
import type { Legacy } from './restart.ts'
import type { SenderEvent } from './sender.ts'
import type { Patience } from './turns.ts'

/** What happened, for whoever logs it. A listener that throws harms nobody. */
export type DispatcherEvent =
  | SenderEvent
  /** `id`: of one of them, if they are many of which no more is known. */
  | {
      readonly type: 'discarded'
      readonly id: string
      readonly owner: string
      readonly reason: DiscardReason
      readonly count: number
    }
  /** It has ended, or is on disk: it survives the end of this process. */
  | { readonly type: 'safe'; readonly id: string }
  /** `problem`: why everything stays in memory; absent: the journal is in use. `lost`: what it should have held. */
  | { readonly type: 'journal'; readonly problem?: string; readonly recovered: number; readonly lost: number }

export interface DispatcherOptions {
  readonly connect: Connect
  /** Without, everything stays in memory. */
  readonly openJournal?: (isAlive: () => void) => Promise<{ journal: Journal; recovered: Recovered }>
  readonly onEvent?: (event: DispatcherEvent) => void
  /** What an engine of this process has left whose place this one takes. */
  readonly legacy?: Legacy
  /** Deliveries that may be kept in all, pending and dead. @default 100000 */
  readonly maxPending?: number
  /** Bytes of bodies in memory in all. @default 67108864 */
  readonly maxBytes?: number
  /** Bytes in the journal of what is pending or dead. @default 1073741824 */
  readonly maxJournalBytes?: number
  /** Settled deliveries in the delivery log. @default 10000 */
  readonly maxLogged?: number
  /** Age of what is in the delivery log, and of anything that is kept. @default 30 days */
  readonly maxLoggedMs?: number
  /** Requests at once in all, beside the one that each endpoint always may have. @default 64 */
  readonly concurrency?: number
  /** Waits between attempts, ms. @default {@link RETRY_SCHEDULE_MS} */
  readonly schedule?: readonly number[]
  /** Of a circuit that is open. @default from 5 s, doubling, to 5 min */
  readonly pauses?: Pauses
  /** What became due while nothing ran comes spread over this, ms. @default 60000 */
  readonly spreadMs?: number
  /** With the disk of the journal. */
  readonly patience?: Patience
  readonly random?: () => number
}
