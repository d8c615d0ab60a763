import { createLogger } from '@xen-orchestra/log'

import { boundedJson } from '../event/json.ts'
import { messageOf } from '../problem.ts'
import { MAX_EVENT_BYTES } from '../event/event.ts'
import type { Phase, Source } from '../event/event.ts'
import type { ObjectSnapshot } from '../event/object.ts'
import type { Signal, Xo } from '../xo.ts'

const log = createLogger('xo:xo-server-web-hooks')

/** Where signals go: answers with a promise if the host is to wait. Never throws nor rejects. */
export interface Accept {
  /**
   * @param about - the snapshot of the object it is about, if the source knows better than the signal's `params`; asked
   *   at once, and only if a hook wants it
   */
  (source: Source, phase: Phase, signal: Signal, about?: () => ObjectSnapshot | undefined): Promise<unknown> | undefined
  /** Whether any hook wants events of this name: one look-up, to be asked before anything is copied or looked up. */
  wants(method: string): boolean
  /** Whether a hook wants the host to wait for the `pre` of events of this name: else nothing holds it. */
  waits(method: string): boolean
}

/** What a source listens to. */
export interface Emitter<Args extends unknown[]> {
  on(event: string, listener: (...args: Args) => unknown): unknown
  removeListener(event: string, listener: (...args: Args) => unknown): unknown
}

/** Who it was that the host does not say. */
export const UNKNOWN_USER = '(unknown user)'

/** How long an event waits for a name that the host has to look up. */
const LOOK_UP_MS = 1_000

/**
 * Listens with something that cannot throw: an error would fail the job that is heard, or stop the tasks of the whole
 * host (`#handleOnProgressBuffer` in @xen-orchestra/mixins/Tasks.mjs). Only the first one is logged: what fails once
 * fails at each signal.
 *
 * @returns its undo
 */
export function listen<Args extends unknown[]>(
  emitter: Emitter<Args>,
  event: string,
  hear: (...args: Args) => unknown
): () => void {
  let failed = false
  const listener = (...args: Args): unknown => {
    try {
      return hear(...args)
    } catch (error) {
      if (!failed) {
        failed = true
        log.warn('events were lost to a bug', { heard: event, error: messageOf(error) })
      }
      return undefined
    }
  }
  emitter.on(event, listener)
  return () => {
    emitter.removeListener(event, listener)
  }
}

/** Sets an entry as the youngest one, and forgets the oldest of more than `max`. */
export function remember<K, V>(map: Map<K, V>, key: K, value: V, max: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > max) {
    for (const oldest of map.keys()) {
      map.delete(oldest)
      break
    }
  }
}

/**
 * What a live value of the host says now. One that is larger than an event may be is returned as it is: the event will
 * leave it out.
 */
export function copyOf(value: unknown): unknown {
  const text = boundedJson(value, MAX_EVENT_BYTES)
  return text === undefined ? value : JSON.parse(text)
}

/** `fallback` if `promise` rejects, or takes longer than an event can wait. Never rejects. */
export async function settledSoon<T, F>(promise: Promise<T>, fallback: F, withinMs = LOOK_UP_MS): Promise<T | F> {
  let timer: NodeJS.Timeout | undefined
  try {
    const late = new Promise<F>(resolve => {
      timer = setTimeout(resolve, withinMs, fallback).unref()
    })
    return await Promise.race([promise, late])
  } catch {
    return fallback
  } finally {
    clearTimeout(timer)
  }
}

/** As the host names who calls its API: by e-mail or login. Never rejects. */
export async function nameOfUser(xo: Xo, id: string | undefined): Promise<string> {
  if (id === undefined) {
    return UNKNOWN_USER
  }
  // the host may throw as well as reject
  const look = async (): Promise<string> => (await xo.getUser(id)).email
  return settledSoon(look(), UNKNOWN_USER)
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
