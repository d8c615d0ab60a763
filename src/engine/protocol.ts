import type { Addresses, CourierEvent, EngineHealth, PlainSettings } from '../courier.ts'
import type { Account, Details, Page, Query, Selection } from '../delivery/account.ts'
import type { DiscardReason } from '../delivery/delivery.ts'
import { sharedTexts } from '../delivery/texts.ts'
import type { Answer } from '../courier.ts'
import type { Outcome, Phase, Source } from '../event/event.ts'
import type { EngineStatistics } from '../delivery/statistics.ts'
import type { Handing, PlainHook, Remains } from '../handing.ts'
import type { RecentEvent, Rehearsal } from '../recent-events.ts'

/** What the delivery side is started with. */
export interface Beginning {
  readonly addresses: Addresses
  /** It asks for the journal's folder; else everything stays in memory. */
  readonly hasJournal: boolean
  /** What the one that it replaces has left, in JSON. */
  readonly legacy: string | undefined
  /** Of the host end: the same for one that it replaces, and for no other. Part of names of files. */
  readonly run: string
  /** What the ones that it replaces have come to with what an earlier run has left in files. */
  readonly leftovers: Leftovers
  /** Where a thread shows that it turns; absent where nobody watches. */
  readonly pulse?: { readonly shared: Int32Array; readonly beatMs: number }
}

/** Handings that an earlier run has left in files, by their numbers, which are below 0. */
export interface Leftovers {
  /** `<number>-<place>` of each delivery that need not be handed over again. */
  readonly safe: readonly string[]
  /** Those that have brought down too many threads. */
  readonly guilty: readonly number[]
}

/** Place in the memory that a thread shares with its host: counts up as long as the thread turns. */
export const BEAT = 0
/** Another place: number of the handing that it is working on, 0: none. Tells after its death who was to blame. */
export const MARK = 1
/** Another place: number of the last batch that was worked off; 0: none yet. */
export const TAKEN = 2
export const SHARED_LENGTH = 3

/** What the host end says, worked off in their order. */
export interface Batch {
  /** From 1. */
  readonly number: number
  readonly orders: readonly Order[]
}

export type Order =
  /** A handing. */
  | Packed
  | { readonly type: 'configure'; readonly settings: PlainSettings }
  /** Deliveries that nobody will see, each to be counted. */
  | { readonly type: 'discard'; readonly number: number; readonly remains: Remains; readonly reason: DiscardReason }
  /** As many of one hook, of which nothing is known but how many. `id`: of one of them. */
  | { readonly type: 'lost'; readonly owner: string; readonly id: string; readonly count: number }
  | { readonly type: 'question'; readonly number: number; readonly question: Question }
  /** Where the journal is, or why that is not known. */
  | { readonly type: 'directory'; readonly path: string }
  | { readonly type: 'no directory'; readonly problem: string }
  | { readonly type: 'close'; readonly graceMs: number }

export type Question =
  | { readonly name: 'ask' | 'probe'; readonly handing: Packed }
  | { readonly name: 'list'; readonly query: Query }
  | { readonly name: 'get'; readonly id: string }
  | { readonly name: 'replay' | 'cancel'; readonly which: Selection }
  | { readonly name: 'pause' | 'resume'; readonly endpoint: string }
  | { readonly name: 'health' | 'statistics' | 'recent events' }
  | { readonly name: 'rehearse'; readonly hook: PlainHook; readonly events: readonly string[] }

/** What each question is answered with. */
export interface Answers {
  readonly ask: readonly Answer[]
  readonly probe: readonly Answer[]
  readonly list: Page<Account>
  readonly get: Details | undefined
  readonly replay: number
  readonly cancel: number
  readonly pause: boolean
  readonly resume: boolean
  readonly health: EngineHealth
  readonly statistics: EngineStatistics
  readonly 'recent events': readonly RecentEvent[]
  readonly rehearse: readonly Rehearsal[]
}

export type Reply =
  | { readonly number: number; readonly value: Answers[Question['name']] }
  | { readonly number: number; readonly problem: string }

/** What the delivery side says: all since the last report. */
export interface Report {
  /** The number of the last batch that was worked off; 0: none yet. The first report comes before any batch. */
  readonly taken: number
  /** Of each delivery that need not be handed over again, one after the other: the number of its handing, and its place. */
  readonly safe: readonly number[]
  /** Ids of such deliveries that it has from the journal, where they were put by the one that it replaces. */
  readonly others: readonly string[]
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

/**
 * A handing with its number as one text: what is kept until it is safe, and what crosses to another thread. A message is
 * copied value by value, and the garbage collector looks at each of what is kept: a text is one value.
 *
 * `Intake` writes it to disk, where a later version may find it: another make of text needs files of another name there.
 */
export type Packed = string

/** Kinds of handings that are no plain one. */
const TEST = 'test'
const QUESTION = 'question'

/** Follows each part. Stands in no JSON text. */
const END = '\0'

// written with `+` alone: that costs 0.5 µs, to join a list or to ask for JSON 1 to 3
export function packed(number: number, { id, party, hooks, event, isTest, isQuestion, object }: Handing): Packed {
  const { source, phase, outcome, method, callId, timestamp, fields, omitted } = event
  let text = number + END + id + END + nameOf(party) + END + source + END + phase + END + outcome + END
  text += nameOf(method) + END + nameOf(callId) + END + timestamp + END
  text += (isTest === true ? TEST : isQuestion === true ? QUESTION : '') + END
  text += (object === undefined ? '' : (object ?? 'null')) + END
  for (const names of [hooks, omitted]) {
    text += names.length + END
    for (const name of names) {
      text += nameOf(name) + END
    }
  }
  for (const [key, value] of fields) {
    text += nameOf(key) + END + value + END
  }
  return text
}

/** Its number. */
export function numberIn(text: Packed): number {
  return Number(text.slice(0, text.indexOf(END)))
}

/** That of its handing. */
export function idIn(text: Packed): string {
  const start = text.indexOf(END) + 1
  return text.slice(start, text.indexOf(END, start))
}

export function renumbered(number: number, text: Packed): Packed {
  return number + text.slice(text.indexOf(END))
}

export function unpacked(text: Packed): { readonly number: number; readonly handing: Handing } {
  const parts = text.split(END)
  let at = 0
  const next = (): string => parts[at++]!
  const some = (): string[] => {
    const names: string[] = []
    for (let left = Number(next()); left > 0; --left) {
      names.push(next())
    }
    return names
  }
  const number = Number(next())
  const id = next()
  const party = shared(next())
  const source = next() as Source
  const phase = next() as Phase
  const outcome = next() as Outcome
  const method = shared(next())
  const callId = apart(next())
  const timestamp = Number(next())
  const kind = next()
  const object = next()
  const hooks = some()
  const omitted = some()
  const fields = new Map<string, string>()
  // behind the last END there is an empty part
  while (at < parts.length - 1) {
    const key = next()
    fields.set(key, next())
  }
  const handing: Handing = {
    id,
    event: { source, phase, outcome, method, callId, timestamp, fields, omitted },
    hooks,
    party,
    ...(object !== '' && { object: object === 'null' ? null : object }),
    ...(kind === TEST && { isTest: true }),
    ...(kind === QUESTION && { isQuestion: true }),
  }
  return { number, handing }
}

/** A name of the host's or of the administrator's may be any text. */
function nameOf(text: string): string {
  return text.includes(END) ? text.replaceAll(END, '\ufffd') : text
}

/** A part of a text keeps all of it in memory. What deliveries are known by outlives the text by days. */
function apart(part: string): string {
  return Buffer.from(part).toString()
}

/** As {@link apart}, of what many handings have in common. */
const shared = sharedTexts(apart)
