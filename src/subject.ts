import { createdIdOf, idIn, snapshotOf } from './event/object.ts'
import type { ObjectSnapshot } from './event/object.ts'
import type { Outcome } from './event/event.ts'
import type { ObjectSource } from './sources/objects.ts'
import type { Signal } from './xo.ts'

/** How long a `post` waits for what XO's objects say to be what is after the call. */
const PATIENCE_MS = 2_000

/** Calls under way whose object is kept until their end. What has more is not in order: the oldest is forgotten. */
const MAX_CALLS = 1_000

interface Before {
  readonly method: string
  readonly object: ObjectSnapshot
}

/**
 * The object that an event is about: of a `pre` as it is before the call, of a `post` as it is after it. The host's objects
 * lag behind its calls, so a `post` asks for more than a look:
 *
 * - `vm.start`: the VM is still on its way when the call ends. So its event waits until XO has caught up
 *   ({@link awaitedId}, {@link whenSettled}); the call itself does not.
 * - `vm.create`: XO gets to know the VM a little after the call's end: the same.
 * - `vm.delete`: at its end the VM is gone. So the object is kept from the call's `pre` ({@link remember}) to its `post`.
 */
export class Subject {
  readonly #objects: ObjectSource | undefined
  /** By call id: the object as it was when the call began. An entry leaves at the call's end, whoever wants its `post`. */
  readonly #before = new Map<string, Before>()
  /** Of events that wait for an object, what makes them go at once. */
  readonly #waiting = new Set<() => void>()

  /** @param objects - without, events have no object but the one that their source knows */
  constructor(objects: ObjectSource | undefined) {
    this.#objects = objects
  }

  /** At the beginning of a call, if somebody asks for the object at its end. */
  remember(signal: Signal): void {
    const object = this.#objectIn(signal)
    if (object === undefined) {
      return
    }
    for (const [oldest] of this.#before) {
      if (this.#before.size < MAX_CALLS) {
        break
      }
      this.#before.delete(oldest)
    }
    this.#before.set(signal.callId, { method: signal.method, object })
  }

  /** At the end of each call, wanted or not. */
  forget(callId: string): void {
    if (this.#before.size > 0) {
      this.#before.delete(callId)
    }
  }

  /** Keeps only the calls of methods that are still asked for: the `post` of others is not heard any more. */
  retain(isAskedFor: (method: string) => boolean): void {
    for (const [callId, { method }] of this.#before) {
      if (!isAskedFor(method)) {
        this.#before.delete(callId)
      }
    }
  }

  /** The id of what a call that has succeeded may have changed: what it has created, else what its parameters name. */
  awaitedId(outcome: Outcome, signal: Signal): string | undefined {
    const get = this.#objects?.get
    return outcome === 'success' && get !== undefined ? (createdIdOf(signal) ?? idIn(signal, get)) : undefined
  }

  /** What has been created, else what the parameters name: as it is, or, if it is gone, as it was when the call began. */
  of(outcome: Outcome, signal: Signal): ObjectSnapshot | undefined {
    const createdId = outcome === 'success' ? createdIdOf(signal) : undefined
    return (
      (createdId === undefined ? undefined : this.#snapshotOf(createdId)) ??
      this.#objectIn(signal) ??
      this.#before.get(signal.callId)?.object
    )
  }

  /**
   * Calls back once: as soon as XO has caught up with the object, or after a while. If XO does not know it then, with what
   * it was before, or with what the call's parameters name.
   *
   * @param signal - read at once: the host may change it later
   */
  whenSettled(
    id: string,
    outcome: Outcome,
    signal: Signal,
    callback: (object: ObjectSnapshot | undefined) => void
  ): void {
    const fallback = this.of(outcome, signal)
    let goNow: (() => void) | undefined
    let isOver = false
    goNow = this.#objects?.whenSettled(id, PATIENCE_MS, () => {
      isOver = true
      if (goNow !== undefined) {
        this.#waiting.delete(goNow)
      }
      callback(this.#snapshotOf(id) ?? fallback)
    })
    if (goNow !== undefined && !isOver) {
      this.#waiting.add(goNow)
    }
  }

  /** Nothing waits any more: each event that waits for its object goes at once. */
  close(): void {
    this.#before.clear()
    this.#waiting.forEach(goNow => goNow())
  }

  #objectIn(signal: Signal): ObjectSnapshot | undefined {
    const id = this.#objects && idIn(signal, this.#objects.get)
    return id === undefined ? undefined : this.#snapshotOf(id)
  }

  #snapshotOf(id: string): ObjectSnapshot | undefined {
    const get = this.#objects?.get
    return get && snapshotOf(get(id), get)
  }
}
