import type { Outcome } from './event/event.ts'
import type { Filter } from './filter.ts'
import type { Instance } from './formats/index.ts'
import { objectIdOf, Texts } from './handing.ts'
import type { Handing, PlainHook } from './handing.ts'

const MAX_EVENTS = 1_000
const MAX_BYTES = 8 * 1024 * 1024

/** Deliveries wait for as long. */
const REHEARSAL_MS = 200

/** Of a body that is shown, in characters. */
const MAX_SHOWN = 64 * 1024

/** An event that was handed over lately. */
export interface RecentEvent {
  /** Of its handing. */
  readonly id: string
  readonly source: string
  readonly phase: string
  readonly outcome: Outcome
  readonly method: string
  readonly callId: string
  /** Epoch ms. */
  readonly at: number
  /** Of the object that it is about. */
  readonly object?: string
}

/** What a hook would have sent of an event. */
export interface Rehearsal {
  readonly event: RecentEvent
  /** `undecided`: its filter takes too long, and it is sent. */
  readonly verdict: 'sent' | 'filtered out' | 'undecided' | 'unformatted'
  readonly contentType?: string
  /** Its beginning, if it is long. Absent: it is not text. */
  readonly body?: string
  /** Why its format cannot write it. */
  readonly problem?: string
}

interface Remembered {
  readonly handing: Handing
  readonly bytes: number
}

/**
 * The events that came last, within bounds: by them a hook can be tried before anything is sent. Only what a hook has wanted
 * comes here, whole and without its secrets, as it was frozen when it was heard.
 */
export class RecentEvents {
  /** The oldest first. */
  readonly #byKey = new Map<string, Remembered>()
  #bytes = 0

  /** One event may come twice: for hooks that ask for its object, and for those that do not. The one that has it stays. */
  add(handing: Handing): void {
    const { event, object } = handing
    if (handing.isTest === true) {
      return
    }
    const key = `${event.phase} ${event.callId} ${event.method}`
    const before = this.#byKey.get(key)
    if (before !== undefined) {
      if (object === undefined) {
        return
      }
      this.#remove(key, before)
    }
    const bytes = bytesOf(handing)
    this.#byKey.set(key, { handing, bytes })
    this.#bytes += bytes
    for (const [oldest, remembered] of this.#byKey) {
      if (this.#byKey.size <= MAX_EVENTS && this.#bytes <= MAX_BYTES) {
        break
      }
      this.#remove(oldest, remembered)
    }
  }

  #remove(key: string, { bytes }: Remembered): void {
    this.#byKey.delete(key)
    this.#bytes -= bytes
  }

  /** The latest first. */
  list(): RecentEvent[] {
    return [...this.#byKey.values()].map(({ handing }) => recentOf(handing)).reverse()
  }

  /**
   * What a hook would have sent of some of them.
   *
   * @param ids - of events; those that are not remembered any more are left out, and the oldest if it takes long
   */
  rehearse(hook: PlainHook, filter: Filter | undefined, ids: readonly string[], instance: Instance): Rehearsal[] {
    const wanted = new Set(ids)
    const until = performance.now() + REHEARSAL_MS
    const done: Rehearsal[] = []
    for (const { handing } of [...this.#byKey.values()].reverse()) {
      if (wanted.has(handing.id)) {
        done.push(rehearsalOf(handing, hook, filter, instance))
        if (performance.now() > until) {
          break
        }
      }
    }
    return done
  }
}

function rehearsalOf(handing: Handing, hook: PlainHook, filter: Filter | undefined, instance: Instance): Rehearsal {
  const event = recentOf(handing)
  const texts = new Texts(handing, instance)
  const isWanted = filter === undefined ? true : filter(texts.searchable)
  if (isWanted === false) {
    return { event, verdict: 'filtered out' }
  }
  const payload = texts.payloadFor(hook, 0)
  if ('problem' in payload) {
    return { event, verdict: 'unformatted', problem: payload.problem }
  }
  return {
    event,
    verdict: isWanted === undefined ? 'undecided' : 'sent',
    contentType: payload.contentType,
    body: payload.body.toString().slice(0, MAX_SHOWN),
  }
}

function recentOf(handing: Handing): RecentEvent {
  const { id, event } = handing
  const { source, phase, outcome, method, callId, timestamp } = event
  const object = objectIdOf(handing)
  return {
    ...{ id, source, phase, outcome, method, callId, at: timestamp },
    ...(object !== undefined && { object }),
  }
}

function bytesOf({ event, object }: Handing): number {
  let bytes = 200 + (object?.length ?? 0)
  for (const text of event.fields.values()) {
    bytes += text.length
  }
  return bytes
}
