import { boundedJson } from './bounded-json.ts'
import type { Signal } from './xo.ts'

/** Where an event was heard: an API call, a run of a backup job, or an action of the REST API. */
export type Source = 'api' | 'backup' | 'rest'

/** `pre`: about to happen; `post`: has happened. The wire calls it `type`. */
export type Phase = 'pre' | 'post'

/** An event that a source can announce, for those who choose what to hook. */
export interface EventInfo {
  readonly name: string
  readonly phases: readonly Phase[]
  /** When it comes, for an administrator. */
  readonly sentence: string
}

/** How it stands: `started` for a `pre`; `success` or `failure` for a `post`. */
export type Outcome = 'started' | 'success' | 'failure'

/** One thing that happened, frozen when it was heard: nothing the host does later shows in it. */
export interface Event {
  readonly source: Source
  readonly phase: Phase
  readonly outcome: Outcome
  readonly method: string
  /** Pairs the `pre` and the `post` of one call. */
  readonly callId: string
  /** When it began (`pre`) or ended (`post`), epoch ms. */
  readonly timestamp: number
  /** The host's properties in its order, each as JSON text. What JSON leaves out (`undefined`) is left out. */
  readonly fields: ReadonlyMap<string, string>
  /** Properties that were left out because the event would have been too large. */
  readonly omitted: readonly string[]
}

/** The largest event that is carried whole, in bytes of JSON. */
export const MAX_EVENT_BYTES = 1024 * 1024

/** The first to go when an event is too large stands last. Everything else in an event is small. */
const LARGE_FIELDS = ['error', 'params', 'result']

export function outcomeOf(phase: Phase, signal: Signal): Outcome {
  if (phase === 'pre') {
    return 'started'
  }
  return signal.error === undefined ? 'success' : 'failure'
}

/**
 * Freezes and serialises a signal. Costs one serialisation, bounded by `maxBytes` however large the signal is; never
 * throws.
 */
export function freezeEvent(source: Source, phase: Phase, signal: Signal, maxBytes = MAX_EVENT_BYTES): Event {
  // each keeps its place, in whatever order they are written
  const fields = new Map<string, string>()
  for (const key of Object.keys(signal)) {
    if (signal[key] !== undefined) {
      fields.set(key, '')
    }
  }
  const omitted: string[] = []
  let left = maxBytes - ENVELOPE_BYTES
  for (const key of inOrderOfWeight([...fields.keys()])) {
    const text = boundedJson(signal[key], left - key.length)
    if (text === undefined) {
      fields.delete(key)
      omitted.push(key)
    } else {
      fields.set(key, text)
      left -= Buffer.byteLength(text) + key.length + 4
    }
  }
  const { callId, method, timestamp } = signal
  return { source, phase, outcome: outcomeOf(phase, signal), method, callId, timestamp, fields, omitted }
}

/** Room for the braces, `type` and `omitted` of a body. */
const ENVELOPE_BYTES = 128

function inOrderOfWeight(keys: readonly string[]): string[] {
  return [...keys.filter(key => !LARGE_FIELDS.includes(key)), ...LARGE_FIELDS.filter(key => keys.includes(key))]
}
