import { isRecord, textOf } from '../values.ts'
import type { Xo } from '../xo.ts'
import { Absences, missedOf } from './absences.ts'
import type { Absence } from './absences.ts'
import { guarded, listen } from './source.ts'
import type { Accept } from './source.ts'
import { StateFile } from './state-file.ts'
import type { Remembered, Snapshot } from './state-file.ts'
import { changesOfGone, changesOfNew, stateEvents, stateOf, stepOf } from './state-rules.ts'
import type { Fields, State } from './state.ts'
import { Telling } from './telling.ts'

/** Which events some hook wants at the moment. For others nothing is watched. */
export interface Demand {
  wants(method: string): boolean
  /** Calls back when that may have changed; returns its undo. */
  onChange(listener: () => void): () => void
}

export interface StateOptions {
  /** From where an SR is full. @default 0.9 */
  readonly fullRatio?: number
  /** A pool that is away for so long is told to be. @default 15 s */
  readonly awayMs?: number
  /** Where what is known is kept over restarts; it may never answer. Without, it is kept in memory only. */
  readonly openDirectory?: () => Promise<string>
}

const FULL_RATIO = 0.9
const AWAY_MS = 15_000

/** More objects than this are not watched, whatever a pool is made of. */
const MAX_STATES = 200_000

/** What is remembered of a pool for longer than this says nothing any more. */
const MAX_ABSENCE_MS = 7 * 86_400_000

/**
 * For how long after a pool has come into sight what appears in it counts as having been there before: objects that XO
 * could not read at its first attempt come later than their pool (host: xen-servers.mjs, `toRetry`).
 */
const SETTLE_MS = 10_000

/** Types whose objects are remembered when they go, as they were last: the snapshot of a VM that is gone has its VIFs. */
const TOLD_WHEN_GONE = ['VM', 'VM-snapshot', 'VIF', 'VDI', 'host', 'pool', 'SR', 'message']

/**
 * Hears what becomes of the objects of the pools, whoever made it happen: `post` events with names in the past tense.
 *
 * @returns its undo, which settles once what is known is on disk, if the disk answers
 */
export function listenToStateChanges(
  xo: Xo,
  accept: Accept,
  demand: Demand,
  options: StateOptions = {}
): () => Promise<void> {
  const watch = new Watch(xo, accept, demand, options)
  const undo = demand.onChange(guarded('a change of what is wanted', () => watch.refresh()))
  return () => {
    undo()
    return watch.end()
  }
}

/**
 * Of each object a small state is kept, since the host says that an object has changed and not what of it. A pool is
 * there as long as its own object is: when XO loses sight of a pool, by any way, all of its objects go in one flush, and
 * `server:disconnected` is not always emitted (host: xen-servers.mjs, `eventFetchingError`). The states of a pool that is
 * away are kept: when it is back, they tell what has become of its objects meanwhile.
 */
class Watch {
  readonly #objects: Xo['objects']
  readonly #demand: Demand
  readonly #fullRatio: number
  readonly #telling: Telling
  readonly #absences: Absences
  readonly #file: StateFile | undefined
  readonly #states = new Map<string, State>()
  /** The pools in sight, and from when on what appears in them counts as new, epoch ms. */
  readonly #pools = new Map<string, number>()
  /** Types of objects that some wanted event needs. */
  #types: ReadonlySet<string> = new Set()
  #wanted: ReadonlySet<string> = new Set()
  #stopListening: (() => void) | undefined
  #hasEnded = false

  constructor({ objects }: Xo, accept: Accept, demand: Demand, options: StateOptions) {
    const { fullRatio = FULL_RATIO, awayMs = AWAY_MS, openDirectory } = options
    this.#objects = objects
    this.#demand = demand
    this.#fullRatio = fullRatio
    this.#telling = new Telling(
      accept,
      method => this.#wanted.has(method),
      id => (Object.hasOwn(objects.all, id) ? objects.all[id] : undefined)
    )
    this.#absences = new Absences({
      ...{ longMs: awayMs, settleMs: SETTLE_MS },
      onLong: (pool, absence) => this.#awayForLong(pool, absence),
      onSettled: (_, absence) => this.#settled(absence),
    })
    this.refresh()
    if (openDirectory !== undefined) {
      const file = new StateFile(openDirectory, () => this.#snapshot())
      this.#file = file
      void file.read().then(guarded('what was known before', remembered => this.#recall(remembered)))
    }
  }

  /** Takes what is there for granted: of a type that was not watched before, only what changes from now on is told. */
  refresh(): void {
    const before = this.#types
    const events = stateEvents.filter(({ name }) => this.#demand.wants(name))
    const types = new Set(events.flatMap(event => event.types))
    if (types.size > 0) {
      types.add('pool')
    }
    this.#wanted = new Set(events.map(({ name }) => name))
    this.#types = types

    for (const [id, { type }] of this.#states) {
      if (!types.has(type)) {
        this.#states.delete(id)
      }
    }
    this.#absences.retain(type => types.has(type))
    if (types.size === 0) {
      this.#pools.clear()
      this.#absences.clear()
    } else if ([...types].some(type => !before.has(type))) {
      this.#takeForGranted(before)
    }
    if (before.size !== types.size || [...types].some(type => !before.has(type))) {
      this.#file?.rewrite()
    }
    if (types.size > 0) {
      this.#stopListening ??= this.#listen()
    } else {
      this.#stopListening?.()
      this.#stopListening = undefined
    }
  }

  async end(): Promise<void> {
    this.#hasEnded = true
    this.#stopListening?.()
    this.#telling.end()
    this.#absences.clear()
    this.#states.clear()
    await this.#file?.close()
  }

  #takeForGranted(watched: ReadonlySet<string>): void {
    const { all } = this.#objects
    for (const id in all) {
      const state = this.#read(all[id])
      if (state !== undefined && !watched.has(state.type)) {
        this.#remember(id, state)
        if (state.type === 'pool') {
          this.#pools.set(id, 0)
        }
      }
    }
  }

  #listen(): () => void {
    const objects = this.#objects
    const hear = (event: 'add' | 'update' | 'remove', listener: (items: Fields) => void): (() => void) =>
      listen<[Fields]>(objects, event, items => {
        try {
          listener(items)
        } finally {
          this.#telling.go()
        }
      })
    const undo = [
      hear('add', items => this.#added(items)),
      hear('update', items => this.#updated(items)),
      hear('remove', items => this.#removed(items)),
      ...TOLD_WHEN_GONE.map(type =>
        listen<[undefined, unknown]>(objects.allIndexes.type.getEventEmitterByType(type), 'remove', (_, last) => {
          const id = isRecord(last) ? textOf(last['id']) : undefined
          if (id !== undefined) {
            this.#telling.goes(id, last)
          }
        })
      ),
    ]
    return () => undo.forEach(each => each())
  }

  /**
   * The state of an object of a type that is watched. An object whose getters throw has none, so that the others of its
   * flush are still read.
   */
  #read(object: unknown): State | undefined {
    try {
      const type = isRecord(object) ? textOf(object['type']) : undefined
      return type !== undefined && this.#types.has(type) ? stateOf(object, this.#fullRatio) : undefined
    } catch {
      return undefined
    }
  }

  #remember(id: string, state: State): void {
    if (this.#states.has(id) || this.#states.size < MAX_STATES) {
      this.#states.set(id, state)
      this.#file?.note(id, state)
    }
  }

  #added(items: Fields): void {
    const now = Date.now()
    const seen: [string, State][] = []
    for (const id in items) {
      const state = this.#read(items[id])
      if (state !== undefined) {
        seen.push([id, state])
        if (state.type === 'pool' && !this.#pools.has(id)) {
          this.#pools.set(id, now + SETTLE_MS)
          const absence = this.#absences.back(id, now)
          if (absence === undefined || absence.isTold) {
            this.#telling.tell(id, state, changesOfNew(state))
          }
        }
      }
    }
    for (const [id, state] of seen) {
      if (this.#states.has(id)) {
        this.#step(id, state)
      } else {
        this.#appeared(id, state, now)
      }
    }
  }

  #appeared(id: string, state: State, now: number): void {
    const pool = poolOf(id, state)
    const absence = this.#absences.get(pool)
    const before = absence?.states.get(id)
    if (absence !== undefined && before !== undefined) {
      this.#seenAgain(id, before, state, absence)
      return
    }
    this.#remember(id, state)
    const isNew = absence === undefined ? now >= (this.#pools.get(pool) ?? Infinity) : absence.types.has(state.type)
    if (isNew && state.type !== 'pool') {
      this.#telling.tell(id, state, changesOfNew(state), absence && missedOf(absence))
    }
  }

  /** An object of a pool that was away. */
  #seenAgain(id: string, before: State, after: State, absence: Absence): void {
    absence.states.delete(id)
    const { state, changes } = stepOf(before, after)
    this.#remember(id, state)
    this.#telling.tell(id, state, changes, missedOf(absence))
  }

  #step(id: string, after: State): void {
    const before = this.#states.get(id)
    if (before === undefined) {
      this.#remember(id, after)
      return
    }
    const { state, changes } = stepOf(before, after)
    this.#states.set(id, state)
    if (changes.length > 0) {
      this.#file?.note(id, state)
      this.#telling.tell(id, state, changes)
    }
  }

  #updated(items: Fields): void {
    for (const id in items) {
      const state = this.#read(items[id])
      if (state !== undefined) {
        this.#step(id, state)
      }
    }
  }

  #removed(items: Fields): void {
    const lost = new Set<string>()
    for (const id in items) {
      if (this.#pools.delete(id)) {
        lost.add(id)
      }
    }
    if (lost.size > 0) {
      this.#lose(lost)
    }
    for (const id in items) {
      const state = this.#states.get(id)
      if (state !== undefined) {
        this.#states.delete(id)
        this.#file?.note(id, undefined)
        // neither the beginning nor the end of what never was is told
        if (!this.#telling.drop(id) && this.#pools.has(state.pool)) {
          this.#telling.tell(id, state, changesOfGone(state))
        }
      }
    }
    this.#telling.flushEnds()
  }

  #lose(lost: ReadonlySet<string>): void {
    const states = new Map([...lost].map(pool => [pool, new Map<string, State>()]))
    for (const [id, state] of this.#states) {
      const away = states.get(poolOf(id, state))
      if (away !== undefined) {
        away.set(id, state)
        this.#states.delete(id)
      }
    }
    const now = Date.now()
    for (const [pool, away] of states) {
      this.#absences.lose(pool, { lostAt: now, states: away, types: this.#types, isTold: false })
    }
  }

  #awayForLong(id: string, { lostAt, states }: Absence): void {
    const state = states.get(id)
    if (state !== undefined) {
      const changes = changesOfGone(state).map(change => ({ ...change, params: { lostAt } }))
      this.#telling.tell(id, state, changes)
      this.#telling.go()
      this.#file?.noteAway(id, lostAt)
    }
  }

  /** What has not come back with its pool is gone. */
  #settled(absence: Absence): void {
    for (const [id, state] of absence.states) {
      this.#file?.note(id, undefined)
      this.#telling.tell(id, state, changesOfGone(state), missedOf(absence))
    }
    this.#telling.go()
  }

  /** What was known when xo-server ran last: its pools are away until they are seen. */
  #recall(remembered: Remembered | undefined): void {
    const now = Date.now()
    const pools = new Map<string, Map<string, State>>()
    for (const [id, state] of remembered?.states ?? []) {
      if (this.#types.has(state.type) && !this.#hasEnded) {
        const pool = poolOf(id, state)
        pools.set(pool, (pools.get(pool) ?? new Map<string, State>()).set(id, state))
      }
    }
    for (const [pool, states] of pools) {
      const since = remembered!.away.get(pool)
      const lostAt = since ?? remembered!.at
      if (states.has(pool) && now - lostAt < MAX_ABSENCE_MS) {
        this.#absences.lose(pool, { lostAt, states, types: remembered!.types, isTold: since !== undefined })
        this.#compareWithPresent(pool, now)
      }
    }
    this.#file?.rewrite()
    this.#telling.go()
  }

  /** Of a pool that is in sight already. */
  #compareWithPresent(pool: string, now: number): void {
    const absence = this.#pools.has(pool) ? this.#absences.back(pool, now) : undefined
    if (absence === undefined) {
      return
    }
    for (const [id, state] of this.#states) {
      if (poolOf(id, state) === pool) {
        const before = absence.states.get(id)
        if (id === pool && absence.isTold) {
          this.#telling.tell(id, state, changesOfNew(state))
        }
        if (before !== undefined) {
          this.#seenAgain(id, before, state, absence)
        } else if (absence.types.has(state.type)) {
          this.#telling.tell(id, state, changesOfNew(state), missedOf(absence))
        }
      }
    }
  }

  #snapshot(): Snapshot {
    const absences = [...this.#absences.all]
    return {
      types: this.#types,
      states: [...this.#states, ...absences.flatMap(([, { states }]) => [...states])],
      away: new Map(absences.filter(([, { isTold }]) => isTold).map(([pool, { lostAt }]) => [pool, lostAt])),
    }
  }
}

/** A pool is of itself. */
function poolOf(id: string, state: State): string {
  return state.type === 'pool' ? id : state.pool
}
