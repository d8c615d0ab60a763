import { randomUUID } from 'node:crypto'

import { namedBy, snapshotOf } from '../event/object.ts'
import type { LookUp } from '../event/object.ts'
import { isRecord } from '../values.ts'
import type { Signal } from '../xo.ts'
import { guarded } from './source.ts'
import type { Accept } from './source.ts'
import type { Change, Fields, State } from './state.ts'

/** A change that was not seen: it happened between these two, epoch ms. */
export interface Missed {
  readonly lostAt: number
  readonly backAt: number
}

/** How long events may be told in one go. */
const SLICE_MS = 2

/** How long a change may turn out not to have been one: see `isTentative`. */
const TENTATIVE_MS = 3_000

/** Fields that hold an id: it is told with the name. */
const REFERENCES = ['host', 'master', 'snapshot_of', 'pool', 'sr', 'vm', 'network', 'affinityHost']

interface Held {
  readonly release: () => void
  readonly timer: NodeJS.Timeout
}

/** Makes events of changes, and tells them: not all at once, where everything changes in one flush of the host. */
export class Telling {
  readonly #tellChange: (change: Change, told: Told) => Promise<void> | undefined
  readonly #wants: (method: string) => boolean
  readonly #known: LookUp
  /** What this flush has removed, by id: the last that was known. A VM may be gone together with its pool and its VIFs. */
  #gone = new Map<string, unknown>()
  /** What is still to be told, in turn. */
  #late: { readonly change: Change; readonly told: Told }[] = []
  #telling: NodeJS.Immediate | undefined
  /** By id of the object. */
  readonly #held = new Map<string, Held>()

  constructor(accept: Accept, wants: (method: string) => boolean, known: LookUp) {
    this.#tellChange = guarded('a change of state', (change: Change, told: Told) =>
      accept('state', 'post', signalOf(change, told), () => snapshotOf(told.object, told.lookUp))
    )
    this.#wants = wants
    this.#known = known
  }

  /** An object is gone, in the flush that is under way. */
  goes(id: string, last: unknown): void {
    this.#gone.set(id, last)
  }

  /** All of what a flush has removed has been told. */
  flushEnds(): void {
    this.#gone = new Map()
  }

  tell(id: string, state: State, changes: readonly Change[], missed?: Missed): void {
    let shared: Told | undefined
    for (const change of changes) {
      if (change.isTentative !== true && !this.#wants(change.method)) {
        this.#release(id)
        continue
      }
      const told =
        change.about === undefined
          ? (shared ??= this.#toldNow(id, state, change, missed))
          : this.#toldNow(id, state, change, missed)
      const isOfOther = 'ofVm' in change && typeOf(change.ofVm && told.lookUp(change.ofVm)) !== 'VM'
      if (isOfOther) {
        continue
      }
      if (change.isTentative === true && missed === undefined) {
        this.#hold(id, () => this.#add(change, this.#toldNow(id, state, change, missed, told.timestamp)))
      } else {
        this.#release(id)
        this.#add(change, told)
      }
    }
  }

  /** What was held of this object never was. */
  drop(id: string): boolean {
    clearTimeout(this.#held.get(id)?.timer)
    return this.#held.delete(id)
  }

  /** Tells for `SLICE_MS`; what is left, in the next turns of the loop. */
  go(): void {
    if (this.#telling === undefined) {
      this.#tellSome()
    }
  }

  /** Tells all that there is. */
  end(): void {
    clearImmediate(this.#telling)
    this.#held.forEach(({ release }) => release())
    const late = this.#late
    this.#late = []
    late.forEach(({ change, told }) => void this.#tellChange(change, told))
  }

  #add(change: Change, told: Told): void {
    if (this.#wants(change.method)) {
      this.#late.push({ change, told })
    }
  }

  #toldNow(id: string, state: State, change: Change, missed?: Missed, timestamp = Date.now()): Told {
    const about = change.about ?? id
    const gone = this.#gone
    const lookUp: LookUp = other =>
      this.#known(other) ?? gone.get(other) ?? (other === id ? lastOf(id, state) : undefined)
    return { id, about, state, object: lookUp(about), lookUp, timestamp, missed }
  }

  #hold(id: string, tellLater: () => void): void {
    const release = (): void => {
      if (this.drop(id)) {
        tellLater()
      }
    }
    const timer = setTimeout(() => {
      release()
      this.go()
    }, TENTATIVE_MS).unref()
    this.#held.set(id, { release, timer })
  }

  #release(id: string): void {
    if (this.#held.size > 0) {
      this.#held.get(id)?.release()
    }
  }

  #tellSome(): void {
    const end = performance.now() + SLICE_MS
    const late = this.#late
    this.#telling = undefined
    let count = 0
    for (const { change, told } of late) {
      if (performance.now() >= end) {
        this.#telling = setImmediate(() => this.#tellSome())
        break
      }
      ++count
      void this.#tellChange(change, told)
    }
    late.splice(0, count)
  }
}

/** What an event is made of, beside its change. */
interface Told {
  /** Of the object that has changed. */
  readonly id: string
  /** Of the object that the event is about. */
  readonly about: string
  readonly state: State
  readonly object: unknown
  readonly lookUp: LookUp
  readonly timestamp: number
  readonly missed: Missed | undefined
}

/** @returns the beginning of an event of this source. There is no call: each has an id of its own */
export function header(method: string, timestamp = Date.now()): Signal {
  return { callId: randomUUID(), method, timestamp }
}

/** Of one that has gone while nobody looked, its state is all that is known. */
function lastOf(id: string, { type, name, pool }: State): Fields {
  return { id, type, name_label: name, $pool: pool }
}

function signalOf(change: Change, { id, about, state, lookUp, timestamp, missed }: Told): Signal {
  const { method, before, after, params } = change
  const named = namedBy(about, lookUp)
  return {
    ...header(method, timestamp),
    params: {
      id: about,
      name_label: about === id ? state.name : named?.name_label,
      pool: namedBy(state.pool, lookUp),
      ...withNames(params, lookUp),
      ...(state.type === 'message' && { message: id }),
    },
    ...(before !== undefined && { before: withNames(before, lookUp) }),
    ...(after !== undefined && { after: withNames(after, lookUp) }),
    ...(missed !== undefined && { missed: true, between: [missed.lostAt, missed.backAt] }),
  }
}

function withNames(fields: Fields | undefined, lookUp: LookUp): Fields | undefined {
  return (
    fields &&
    Object.fromEntries(
      Object.entries(fields).map(([key, value]) => [
        key,
        REFERENCES.includes(key) ? (namedBy(value, lookUp) ?? value) : value,
      ])
    )
  )
}

function typeOf(object: unknown): unknown {
  return isRecord(object) ? object['type'] : undefined
}
