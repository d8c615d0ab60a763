import type { EventInfo } from '../event/event.ts'

/** What is kept of an XO object, to compare the next one with: of each type what events come of. Plain data, as JSON has it. */
export type State =
  | VmState
  | TemplateState
  | SnapshotState
  | VifState
  | VdiState
  | HostState
  | PoolState
  | SrState
  | PbdState
  | MessageState

export interface StateOf<Type extends string> {
  /** XO's name for what it is. */
  readonly type: Type
  readonly pool: string
  readonly name: string
}

export interface VmState extends StateOf<'VM'> {
  /** `Halted`, `Paused`, `Running` or `Suspended`. */
  readonly power: string
  /** Where it is; a halted VM may be nowhere. */
  readonly host: string | undefined
  /** Of its last boot, seconds. */
  readonly startTime: number | undefined
  readonly operations: readonly string[]
  readonly tags: readonly string[]
  /** The last that were known: a VM that is down has none. */
  readonly addresses: readonly string[]
  readonly mainAddress: string | undefined
  readonly cpus: number | undefined
  readonly cpusMax: number | undefined
  /** Bytes, as configured. */
  readonly memory: number | undefined
  /** Of its other settings the values, in the order of the table of `vm-rules.ts`. */
  readonly settings: readonly unknown[]
}

export type TemplateState = StateOf<'VM-template'>

export interface SnapshotState extends StateOf<'VM-snapshot'> {
  readonly of: string | undefined
}

export interface VifState extends StateOf<'VIF'> {
  readonly vm: string | undefined
  readonly network: string | undefined
  readonly mac: string | undefined
}

export interface VdiState extends StateOf<'VDI'> {
  readonly sr: string | undefined
  readonly size: number
}

export interface HostState extends StateOf<'host'> {
  /** `Running`, `Halted`, or `Unknown` until XO has the metrics of the host. */
  readonly power: string
  readonly isEnabled: boolean
  /** Of its last boot, seconds. */
  readonly startTime: number | undefined
  readonly version: string | undefined
  readonly build: string | undefined
  /** How many are installed, and when the last packages were, seconds: which of them tells depends on the product. */
  readonly patches: number
  readonly patchedAt: number | undefined
  readonly tags: readonly string[]
}

export interface PoolState extends StateOf<'pool'> {
  readonly master: string | undefined
}

export interface SrState extends StateOf<'SR'> {
  readonly size: number
  readonly used: number
  /** From where it is full; `null` for what cannot be filled. */
  readonly limit: number | null
  readonly isFull: boolean
  readonly tags: readonly string[]
}

/** What connects an SR to a host. */
export interface PbdState extends StateOf<'PBD'> {
  readonly sr: string | undefined
  readonly host: string | undefined
  readonly isAttached: boolean
}

/** A message of the pool, of those that are events here. Its name says what it is of: `ALARM`. */
export interface MessageState extends StateOf<'message'> {
  readonly isAlarm: boolean
  /** The object that it is about. */
  readonly about: string | undefined
  readonly body: string
  /** Seconds. */
  readonly time: number | undefined
}

/** Fields of an object, by their names in XO. */
export type Fields = Readonly<Record<string, unknown>>

/** One event. */
export interface Change {
  readonly method: string
  /** The object it is about, if that is not the one that changed. */
  readonly about?: string | undefined
  readonly before?: Fields
  readonly after?: Fields
  /** More of what it is about. */
  readonly params?: Fields
  /**
   * It may turn out never to have been, within a moment (`TENTATIVE_MS`): if the object goes by then, neither that nor its end
   * is told.
   */
  readonly isTentative?: true
  /** It counts only if this object is a VM, and no snapshot or template of one. */
  readonly ofVm?: string | undefined
}

/** Two states of one object: what has happened between them, and the state to compare the next one with. */
export interface Step<S extends State = State> {
  readonly state: S
  readonly changes: readonly Change[]
}

/** What is watched of the XO objects of one type: everything that depends on the type stands in its rule. */
export interface Rule<S extends State> {
  /** What may be told, each in a sentence. `of`: it comes of another type, as `vm.crashed` of a `message` of the pool. */
  readonly events: readonly (readonly [name: string, sentence: string, of?: State['type']])[]
  /** Another type that has to be watched for these events: a new VM is a template first. */
  readonly besides?: State['type']
  /**
   * `undefined` for an object that is no matter of events.
   *
   * @param base - what the states of all types have: begins its own
   */
  read(object: Fields, base: StateOf<S['type']>, fullRatio: number): S | undefined
  /** What is told of one that is new or gone. */
  fields(state: S): Fields
  /** The event of one that is new in a pool that was there before it. */
  added?(state: S, after: Fields): Change | undefined
  /** The event of one that is gone from a pool that is still there. */
  removed?(state: S, before: Fields): Change | undefined
  step?(before: S, after: S): Step<S>
}

/** An event with the types of XO objects that it needs to see. */
export interface StateEvent extends EventInfo {
  readonly types: readonly string[]
}

/** The event with the fields that differ; none, if none does. */
export function compared(method: string, before: Fields, after: Fields): Change[] {
  const keys = Object.keys(before).filter(key => before[key] !== after[key])
  const only = (fields: Fields): Fields => Object.fromEntries(keys.map(key => [key, fields[key]]))
  return keys.length === 0 ? [] : [{ method, before: only(before), after: only(after) }]
}

/** `<noun>.tagged` and `<noun>.untagged`, with the tags that have come or gone as `params.tags`. */
export function retagged(noun: string, before: readonly string[], after: readonly string[]): Change[] {
  if (sameList(before, after)) {
    return []
  }
  const came = after.filter(tag => !before.includes(tag))
  const gone = before.filter(tag => !after.includes(tag))
  const fields = { before: { tags: before }, after: { tags: after } }
  return [
    ...(came.length === 0 ? [] : [{ method: `${noun}.tagged`, params: { tags: came }, ...fields }]),
    ...(gone.length === 0 ? [] : [{ method: `${noun}.untagged`, params: { tags: gone }, ...fields }]),
  ]
}

/** The events of tags of a type. */
export function tagEvents(noun: string, name: string): readonly (readonly [name: string, sentence: string])[] {
  return [
    [`${noun}.tagged`, `${name} has more tags: \`params.tags\``],
    [`${noun}.untagged`, `${name} has fewer tags: \`params.tags\` are those that are gone`],
  ]
}

export function sameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a === b || (a.length === b.length && a.every((item, index) => item === b[index]))
}

/** One list for all objects that have none, which are most of some thousands. */
const NONE: readonly string[] = []

/** No object of a pool comes near. */
const MAX_TEXTS = 100

/** The texts of a list: itself, if that is all that it holds. */
export function textsOf(values: unknown): readonly string[] {
  if (!Array.isArray(values) || values.length === 0) {
    return NONE
  }
  const isPlain = values.length <= MAX_TEXTS && values.every(value => typeof value === 'string')
  return isPlain ? values : values.filter(value => typeof value === 'string').slice(0, MAX_TEXTS)
}
