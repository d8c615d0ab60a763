import { isComplete } from '../event/object.ts'
import type { LookUp } from '../event/object.ts'
import type { Xo } from '../xo.ts'

/** What is known of the objects of the pools, and what will be in a moment. */
export interface ObjectSource {
  readonly get: LookUp
  /**
   * Calls back once: when the object is known with what belongs to it, or after `ms`. Returns what makes it call back
   * at once.
   */
  whenKnown(id: string, ms: number, callback: () => void): () => void
}

/** More are not waited for: the callback comes at once. */
const MAX_WAITING = 1_000

export function objectsOf({ objects }: Xo): ObjectSource {
  const get: LookUp = id => (Object.hasOwn(objects.all, id) ? objects.all[id] : undefined)
  /** What to do next, and the id of the object that it waits for. */
  const waiting = new Map<() => void, string>()

  const look = (): void => {
    for (const [done, id] of waiting) {
      if (isComplete(get(id), get)) {
        done()
      }
    }
  }

  return {
    get,
    whenKnown(id, ms, callback) {
      if (waiting.size >= MAX_WAITING || isComplete(get(id), get)) {
        callback()
        return () => {}
      }
      const timer = setTimeout(() => done(), ms)
      const done = (): void => {
        if (waiting.delete(done)) {
          clearTimeout(timer)
          if (waiting.size === 0) {
            objects.removeListener('finish', look)
          }
          callback()
        }
      }
      if (waiting.size === 0) {
        objects.on('finish', look)
      }
      waiting.set(done, id)
      return done
    },
  }
}
