import type { Secrecy } from './careful-json.ts'
import { boundedJson, fits } from './json.ts'
import { HIDDEN } from './names.ts'
import type { ObjectSnapshot } from './object.ts'
import { masksOf } from './redaction.ts'
import { Echoes } from '../echo.ts'
import type { Signal } from '../xo.ts'

/** Where an event was heard: an API call, a run of a backup job, an action of the REST API, or a state that has changed. */
export type Source = 'api' | 'backup' | 'rest' | 'state'

/** `pre`: about to happen; `post`: has happened. The wire calls it `type`. */
export type Phase = 'pre' | 'post'

/** An event that a source can announce, for those who choose what to hook. */
export interface EventInfo {
  readonly name: string
  readonly phases: readonly Phase[]
  /** When it comes, for an administrator. */
  readonly sentence: string
  /** Its `post` never says `failure`. */
  readonly alwaysSucceeds?: boolean
}

/** All that an event may have, whatever its source; `type`, `status` and `object` as filters see them. */
export const EVENT_FIELDS: ReadonlySet<string> = new Set([
  ...['callId', 'userId', 'userName', 'userIp', 'method', 'params', 'timestamp', 'duration', 'result', 'error'],
  ...['run', 'before', 'after', 'missed', 'between', 'backup', 'source', 'client', 'omitted', 'test'],
  ...['type', 'status', 'object', 'instance'],
])

/** How it stands: `started` for a `pre`; `success` or `failure` for a `post`. */
export type Outcome = 'started' | 'success' | 'failure'

/** One thing that happened, frozen and redacted when it was heard: nothing the host does later shows in it. */
export interface Event {
  readonly source: Source
  readonly phase: Phase
  readonly outcome: Outcome
  readonly method: string
  /** Pairs the `pre` and the `post` of one call; its JSON, if the host's is no text. */
  readonly callId: string
  /** When it began (`pre`) or ended (`post`), epoch ms; `NaN` if the host's is no number. */
  readonly timestamp: number
  /** The host's properties in its order, each as JSON text. What JSON leaves out (`undefined`) is left out. */
  readonly fields: ReadonlyMap<string, string>
  /** Properties that were left out because the event would have been too large. */
  readonly omitted: readonly string[]
}

/** The largest event that is carried whole, in bytes of JSON. */
export const MAX_EVENT_BYTES = 1024 * 1024

/** Room for the braces, `type` and `omitted` of a body. */
const ENVELOPE_BYTES = 128

/** The first to go when an event is too large stands last. Everything else in an event is small. */
const LARGE_FIELDS = ['error', 'params', 'result']
const LAST_FIELD = 'result'

/** A configuration has some secrets, and a call some tokens. */
const MAX_HIDDEN = 64
/** A shorter one could be a word that stands elsewhere anyway. */
const MIN_HIDDEN_LENGTH = 6

export function outcomeOf(phase: Phase, signal: Signal): Outcome {
  if (phase === 'pre') {
    return 'started'
  }
  return signal.error === undefined ? 'success' : 'failure'
}

/**
 * Freezes, redacts and serialises a signal. Costs one serialisation, bounded by `maxBytes` however large the signal is;
 * never throws.
 */
export function freezeEvent(source: Source, phase: Phase, signal: Signal, maxBytes = MAX_EVENT_BYTES): Event {
  const fields = new Map<string, string>()
  const omitted: string[] = []
  const named: unknown = signal.method
  const masks = masksOf(typeof named === 'string' ? named : '')
  let left = maxBytes - ENVELOPE_BYTES
  const textIn = (key: string, secrecy?: Secrecy): string | undefined =>
    boundedJson(signal[key], left - key.length, {
      mask: Object.hasOwn(masks, key) ? masks[key] : undefined,
      ...secrecy,
    })
  const keep = (key: string, text: string | undefined): void => {
    if (text === undefined) {
      fields.delete(key)
      omitted.push(key)
    } else {
      fields.set(key, text)
      left -= key === LAST_FIELD ? 0 : Buffer.byteLength(text) + key.length + 4
    }
  }
  for (const key of Object.keys(signal)) {
    if (signal[key] === undefined) {
      continue
    }
    if (LARGE_FIELDS.includes(key)) {
      fields.set(key, '') // it keeps its place, and is written when it is known how much room there is
    } else {
      keep(key, textIn(key))
    }
  }
  // what is hidden of `params` is hidden wherever else it stands, so they are written first; an error comes before them
  const hidden = new Set<string>()
  const params = fields.has('params')
    ? textIn('params', { onHidden: text => hidden.size < MAX_HIDDEN && hidden.add(text) })
    : undefined
  const secrets = [...hidden].filter(text => text.length >= MIN_HIDDEN_LENGTH)
  const echoes = secrets.length === 0 ? undefined : new Echoes(secrets, { sign: HIDDEN, wordLength: HIDDEN.length })
  for (const key of LARGE_FIELDS) {
    if (fields.has(key)) {
      const isWritten = key === 'params' && echoes === undefined && fits(params ?? '', left - key.length)
      keep(key, isWritten ? params : textIn(key, { echoes }))
    }
  }
  // another plugin's signal may hold anything
  const textOf = (key: string): string => {
    const value: unknown = signal[key]
    return typeof value === 'string' ? value : (fields.get(key) ?? '')
  }
  return {
    source,
    phase,
    outcome: outcomeOf(phase, signal),
    method: textOf('method'),
    callId: textOf('callId'),
    timestamp: typeof signal.timestamp === 'number' ? signal.timestamp : Number.NaN,
    fields,
    omitted,
  }
}

/**
 * What a live value of the host says now: a redacted copy that keeps still, however its original goes on changing. A value
 * that is larger than an event may be is returned as it is: the event will leave it out.
 */
export function copyOf(value: unknown): unknown {
  const text = boundedJson(value, MAX_EVENT_BYTES)
  return text === undefined ? value : JSON.parse(text)
}

/** The largest snapshot of an object that is carried, in bytes of JSON. */
const MAX_OBJECT_BYTES = 256 * 1024

/** The object that an event is about, as it travels beside the event: JSON, or `null` for one that is too large. */
export function objectText(object: ObjectSnapshot): string | null {
  return boundedJson(object, MAX_OBJECT_BYTES) ?? null
}

/**
 * The same event with the object that it is about, after all other properties.
 *
 * @param text - of {@link objectText}; `null`: the event says that its object was left out; `undefined`: there is none
 */
export function withObject(event: Event, text: string | null | undefined): Event {
  if (text === undefined) {
    return event
  }
  return text === null
    ? { ...event, omitted: [...event.omitted, 'object'] }
    : { ...event, fields: new Map([...event.fields, ['object', text]]) }
}
