import { isSettled } from '../event/object.ts'
import type { LookUp } from '../event/object.ts'
import type { Xo } from '../xo.ts'
import { guarded, listen } from './source.ts'

/** What is known of the objects of the pools, and what will be in a moment. */
export interface ObjectSource {
  readonly get: LookUp
  /**
   * Calls back once: when XO has caught up with the object (it is known with what belongs to it, since a new VM comes a
   * little before its VIFs; nothing is being done to it; and no change of it has come for a moment), when it has gone, or
   * after `ms`. Where the callback throws, that is logged and nothing else happens.
   *
   * @returns what makes it call back at once
   */
  whenSettled(id: string, ms: number, callback: () => void): () => void
}

/**
 * How long after a change of an object no other one comes that belongs to it. XO's objects lag behind the end of a call by
 * some 50 ms, and XAPI collects events for as long.
 */
const QUIET_MS = 250

/** More are not waited for: the callback comes at once. */
const MAX_WAITING = 1_000

/** An object that is waited for. */
interface Waiting {
  readonly id: string
  /** As it was when it was looked at last: a change is another object. */
  last: unknown
  quiet: NodeJS.Timeout
}

export function objectsOf({ objects }: Xo): ObjectSource {
  const get: LookUp = id => (Object.hasOwn(objects.all, id) ? objects.all[id] : undefined)
  /** By what to do next. */
  const waiting = new Map<() => void, Waiting>()
  let stopLooking = (): void => {}
  const call = guarded('an object that is known now', (callback: () => void) => callback())

  /** An object that cannot be read never is, and keeps none of the others from being found. */
  const isReady = (object: unknown): boolean => {
    try {
      return isSettled(object, get)
    } catch {
      return false
    }
  }

  const look = (): void => {
    for (const each of waiting.values()) {
      const object = get(each.id)
      if (object !== each.last || !isReady(object)) {
        each.last = object
        each.quiet.refresh()
      }
    }
  }

  return {
    get,
    whenSettled(id, ms, callback) {
      if (waiting.size >= MAX_WAITING) {
        void call(callback)
        return () => {}
      }
      const first = get(id)
      const deadline = setTimeout(() => done(), ms)
      const quiet = setTimeout(() => {
        const object = get(id)
        if (isReady(object) || (object === undefined && first !== undefined)) {
          done()
        } else {
          quiet.refresh()
        }
      }, QUIET_MS)
      const done = (): void => {
        if (waiting.delete(done)) {
          clearTimeout(deadline)
          clearTimeout(quiet)
          if (waiting.size === 0) {
            stopLooking()
          }
          void call(callback)
        }
      }
      if (waiting.size === 0) {
        stopLooking = listen(objects, 'finish', look)
      }
      waiting.set(done, { id, last: first, quiet })
      return done
    },
  }
}
