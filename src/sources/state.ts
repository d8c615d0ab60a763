/** What is kept of an XO object, to compare the next one with: of each type what events come of. */
export type State = VmState | TemplateState | SnapshotState | HostState | PoolState | SrState | PbdState | MessageState

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
}

type TemplateState = StateOf<'VM-template'>

interface SnapshotState extends StateOf<'VM-snapshot'> {
  readonly of: string | undefined
}

export interface HostState extends StateOf<'host'> {
  /** `Running`, `Halted`, or `Unknown` until XO has the metrics of the host. */
  readonly power: string
  readonly isEnabled: boolean
}

interface PoolState extends StateOf<'pool'> {
  readonly master: string | undefined
}

interface SrState extends StateOf<'SR'> {
  readonly size: number
  readonly used: number
  /** From where it is full; infinite for what cannot be filled. */
  readonly limit: number
  readonly isFull: boolean
}

/** What connects an SR to a host. */
export interface PbdState extends StateOf<'PBD'> {
  readonly sr: string | undefined
  readonly host: string | undefined
  readonly isAttached: boolean
}

/** A message of the pool, of those that are events here. Its name says what it is of: `ALARM`. */
interface MessageState extends StateOf<'message'> {
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
}

/** Two states of one object: what has happened between them, and the state to compare the next one with. */
export interface Step {
  readonly state: State
  readonly changes: readonly Change[]
}

/** The event with the fields that differ; none, if none does. */
export function compared(method: string, before: Fields, after: Fields): Change[] {
  const keys = Object.keys(before).filter(key => before[key] !== after[key])
  const only = (fields: Fields): Fields => Object.fromEntries(keys.map(key => [key, fields[key]]))
  return keys.length === 0 ? [] : [{ method, before: only(before), after: only(after) }]
}
