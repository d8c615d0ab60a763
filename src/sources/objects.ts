import { isComplete } from '../event/object.ts'
import type { LookUp } from '../event/object.ts'
import type { Xo } from '../xo.ts'
import { guarded, listen } from './source.ts'

/** What is known of the objects of the pools, and what will be in a moment. */
export interface ObjectSource {
  readonly get: LookUp
  /**
   * Calls back once: when the object is known with what belongs to it (a new VM comes a little before its VIFs), or after
   * `ms`. Where the callback throws, that is logged and nothing else happens.
   *
   * @returns what makes it call back at once
   */
  whenKnown(id: string, ms: number, callback: () => void): () => void
}

/** More are not waited for: the callback comes at once. */
const MAX_WAITING = 1_000

export function objectsOf({ objects }: Xo): ObjectSource {
  const get: LookUp = id => (Object.hasOwn(objects.all, id) ? objects.all[id] : undefined)
  /** What to do next, and the id of the object that it waits for. */
  const waiting = new Map<() => void, string>()
  let stopLooking = (): void => {}
  const call = guarded('an object that is known now', (callback: () => void) => callback())

  /** An object that cannot be read never is, and keeps none of the others from being found. */
  const isKnown = (id: string): boolean => {
    try {
      return isComplete(get(id), get)
    } catch {
      return false
    }
  }

  const look = (): void => {
    for (const [done, id] of waiting) {
      if (isKnown(id)) {
        done()
      }
    }
  }

  return {
    get,
    whenKnown(id, ms, callback) {
      if (waiting.size >= MAX_WAITING || isKnown(id)) {
        void call(callback)
        return () => {}
      }
      const timer = setTimeout(() => done(), ms)
      const done = (): void => {
        if (waiting.delete(done)) {
          clearTimeout(timer)
          if (waiting.size === 0) {
            stopLooking()
          }
          void call(callback)
        }
      }
      if (waiting.size === 0) {
        stopLooking = listen(objects, 'finish', look)
      }
      waiting.set(done, id)
      return done
    },
  }
}
