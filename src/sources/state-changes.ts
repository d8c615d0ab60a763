import { randomUUID } from 'node:crypto'

import { namedBy, snapshotOf } from '../event/object.ts'
import type { LookUp } from '../event/object.ts'
import { isRecord, textOf } from '../values.ts'
import type { Signal, Xo } from '../xo.ts'
import { guarded, listen } from './source.ts'
import type { Accept } from './source.ts'
import type { Change, Fields, State } from './state.ts'
import { changesOfGone, changesOfNew, stateEvents, stateOf, stepOf } from './state-rules.ts'

/** Which events some hook wants at the moment. For others nothing is watched. */
export interface Demand {
  wants(method: string): boolean
  /** Calls back when that may have changed; returns its undo. */
  onChange(listener: () => void): () => void
}

export interface StateOptions {
  /** From where an SR is full. @default 0.9 */
  readonly fullRatio?: number
}

const FULL_RATIO = 0.9

/** More objects than this are not watched, whatever a pool is made of. */
const MAX_STATES = 200_000

/**
 * For how long after a pool has come into sight what appears in it counts as having been there before: objects that XO
 * could not read at its first attempt come later than their pool (host: xen-servers.mjs, `toRetry`).
 */
const SETTLE_MS = 10_000

/** Types whose objects are remembered when they go, as they were last: the snapshot of a VM that is gone has its VIFs. */
const TOLD_WHEN_GONE = ['VM', 'VM-snapshot', 'VIF', 'host', 'pool', 'SR', 'message']

/** How long events may be told in one go. */
const SLICE_MS = 10

/** Fields that hold an id: it is told with the name. */
const REFERENCES = ['host', 'master', 'snapshot_of', 'pool']

/**
 * Hears what becomes of the objects of the pools, whoever made it happen, and of users, consoles and jobs: `post` events
 * with names in the past tense.
 *
 * Of each object a small state is kept, since the host says that an object has changed and not what of it. A pool is
 * there as long as its own object is: when XO loses sight of a pool, by any way, all of its objects go in one flush, and
 * `server:disconnected` is not always emitted (host: xen-servers.mjs, `eventFetchingError`).
 *
 * @returns its undo
 */
export function listenToStateChanges(
  xo: Xo,
  accept: Accept,
  demand: Demand,
  { fullRatio = FULL_RATIO }: StateOptions = {}
): () => void {
  const { objects } = xo
  const states = new Map<string, State>()
  /** The pools in sight, and from when on what appears in them counts as new, epoch ms. */
  const pools = new Map<string, number>()
  /** What this flush has removed, by id: the last that was known. A VM may be gone together with its pool and its VIFs. */
  let gone = new Map<string, unknown>()
  /** What is still to be told. In a flush in which everything changes, telling it all at once would hold the host up. */
  const late = new Set<() => void>()
  let telling: NodeJS.Immediate | undefined
  /** Types of objects that some wanted event needs. */
  let types: ReadonlySet<string> = new Set()
  let wanted: ReadonlySet<string> = new Set()

  const lookUpBeside =
    (removed: ReadonlyMap<string, unknown>): LookUp =>
    id =>
      Object.hasOwn(objects.all, id) ? objects.all[id] : removed.get(id)

  const remember = (id: string, state: State): void => {
    if (states.has(id) || states.size < MAX_STATES) {
      states.set(id, state)
    }
  }

  /**
   * The state of an object of a type that is watched. An object whose getters throw has none, so that the others of its
   * flush are still read.
   */
  const read = (object: unknown): State | undefined => {
    try {
      const type = isRecord(object) ? textOf(object['type']) : undefined
      return type !== undefined && types.has(type) ? stateOf(object, fullRatio) : undefined
    } catch {
      return undefined
    }
  }

  const tellChange = guarded(
    'a change of state',
    (change: Change, about: string, id: string, state: State, lookUp: LookUp, object: unknown, timestamp: number) => {
      const signal = { ...signalOf(change, about, id, state, lookUp), timestamp }
      return accept('state', 'post', signal, () => snapshotOf(object, lookUp))
    }
  )

  const tell = (id: string, state: State, changes: readonly Change[]): void => {
    for (const change of changes) {
      if (wanted.has(change.method)) {
        const about = change.about ?? id
        const lookUp = lookUpBeside(gone)
        const object = lookUp(about)
        const timestamp = Date.now()
        late.add(() => tellChange(change, about, id, state, lookUp, object, timestamp))
      }
    }
  }

  /** Tells for `SLICE_MS`; what is left, in the next turns of the loop. */
  const tellSome = (): void => {
    const end = performance.now() + SLICE_MS
    telling = undefined
    for (const tellOne of late) {
      if (performance.now() >= end) {
        telling = setImmediate(tellSome)
        return
      }
      late.delete(tellOne)
      tellOne()
    }
  }

  const thenTell =
    (listener: (items: Fields) => void) =>
    (items: Fields): void => {
      try {
        listener(items)
      } finally {
        if (telling === undefined) {
          tellSome()
        }
      }
    }

  const onAdd = (items: Fields): void => {
    const now = Date.now()
    for (const id in items) {
      const state = read(items[id])
      if (state?.type === 'pool' && !pools.has(id)) {
        pools.set(id, now + SETTLE_MS)
        tell(id, state, changesOfNew(state))
      }
    }
    for (const id in items) {
      const state = read(items[id])
      if (state === undefined) {
        continue
      }
      if (states.has(id)) {
        step(id, state)
        continue
      }
      remember(id, state)
      if (state.type !== 'pool' && now >= (pools.get(state.pool) ?? Number.POSITIVE_INFINITY)) {
        tell(id, state, changesOfNew(state))
      }
    }
  }

  const step = (id: string, after: State): void => {
    const before = states.get(id)
    if (before === undefined) {
      remember(id, after)
      return
    }
    const { state, changes } = stepOf(before, after)
    states.set(id, state)
    if (changes.length > 0) {
      tell(id, state, changes)
    }
  }

  const onUpdate = (items: Fields): void => {
    for (const id in items) {
      const state = read(items[id])
      if (state !== undefined) {
        step(id, state)
      }
    }
  }

  const onRemove = (items: Fields): void => {
    const gonePools: [string, State][] = []
    for (const id in items) {
      const state = states.get(id)
      if (pools.delete(id) && state !== undefined) {
        gonePools.push([id, state])
      }
    }
    for (const id in items) {
      const state = states.get(id)
      if (state !== undefined) {
        states.delete(id)
        if (pools.has(state.pool)) {
          tell(id, state, changesOfGone(state))
        }
      }
    }
    for (const [id, state] of gonePools) {
      tell(id, state, changesOfGone(state))
    }
    gone = new Map()
  }

  const onGone = (_: undefined, last: unknown): void => {
    const id = isRecord(last) ? textOf(last['id']) : undefined
    if (id !== undefined) {
      gone.set(id, last)
    }
  }

  const onAudit = (name: string, data: unknown): Promise<unknown> | undefined => {
    const signal = auditSignal(name, isRecord(data) ? data : {})
    return signal !== undefined && wanted.has(signal.method) ? accept('state', 'post', signal) : undefined
  }

  const onJobEnd = (runId: string, run: { readonly type: string }): Promise<unknown> | undefined => {
    if (!wanted.has('job.finished')) {
      return undefined
    }
    // the job of a run that a restart has interrupted does not run any more: which one it was stands nowhere
    const id = Object.keys(xo.runningJobs).find(jobId => xo.runningJobs[jobId] === runId)
    const params = { id, type: run.type, run: runId }
    return accept('state', 'post', { ...header('job.finished'), params })
  }

  const listenToObjects = (): (() => void) => {
    const undo = [
      listen<[Fields]>(objects, 'add', thenTell(onAdd)),
      listen<[Fields]>(objects, 'update', thenTell(onUpdate)),
      listen<[Fields]>(objects, 'remove', thenTell(onRemove)),
      ...TOLD_WHEN_GONE.map(type =>
        listen<[undefined, unknown]>(objects.allIndexes.type.getEventEmitterByType(type), 'remove', onGone)
      ),
    ]
    return () => undo.forEach(each => each())
  }

  let stopListening: (() => void) | undefined

  /** Takes what is there for granted: of a type that was not watched before, only what changes from now on is told. */
  const refresh = (): void => {
    const before = types
    const events = stateEvents.filter(({ name }) => demand.wants(name))
    wanted = new Set(events.map(({ name }) => name))
    types = new Set(events.flatMap(event => event.types))
    if (types.size > 0) {
      types = new Set([...types, 'pool'])
    }

    for (const [id, { type }] of states) {
      if (!types.has(type)) {
        states.delete(id)
      }
    }
    if (types.size === 0) {
      pools.clear()
    } else if ([...types].some(type => !before.has(type))) {
      for (const id in objects.all) {
        const state = read(objects.all[id])
        if (state !== undefined && !before.has(state.type)) {
          remember(id, state)
          if (state.type === 'pool') {
            pools.set(id, 0)
          }
        }
      }
    }
    if (types.size > 0) {
      stopListening ??= listenToObjects()
    } else {
      stopListening?.()
      stopListening = undefined
    }
  }

  refresh()
  const undo = [
    demand.onChange(guarded('a change of what is wanted', refresh)),
    listen<[string, unknown]>(xo, 'xo:audit', onAudit),
    listen<[string, { readonly type: string }]>(xo, 'job:terminated', onJobEnd),
  ]
  return () => {
    undo.forEach(each => each())
    stopListening?.()
    clearImmediate(telling)
    late.forEach(tellOne => tellOne())
    late.clear()
    states.clear()
  }
}

function header(method: string): Signal {
  return { callId: randomUUID(), method, timestamp: Date.now() }
}

function signalOf(change: Change, about: string, id: string, state: State, lookUp: LookUp): Signal {
  const { method, before, after, params } = change
  const named = namedBy(about, lookUp)
  return {
    ...header(method),
    params: {
      id: about,
      name_label: about === id ? state.name : named?.name_label,
      pool: namedBy(state.pool, lookUp),
      ...withNames(params, lookUp),
      ...(state.type === 'message' && { message: id }),
    },
    ...(before !== undefined && { before: withNames(before, lookUp) }),
    ...(after !== undefined && { after: withNames(after, lookUp) }),
  }
}

function withNames(fields: Fields | undefined, lookUp: LookUp): Fields | undefined {
  return (
    fields &&
    Object.fromEntries(
      Object.entries(fields).map(([key, value]) => [key, REFERENCES.includes(key) ? namedBy(value, lookUp) : value])
    )
  )
}

/** Sources: `setUpConsoleProxy` in packages/xo-server/src/index.mjs; …/xo-mixins/authentication.mjs. */
function auditSignal(name: string, data: Fields): Signal | undefined {
  const method = AUDIT.get(name)
  if (method === undefined) {
    return undefined
  }
  const { callId, timestamp } = header(method)
  const user = {
    userId: textOf(data['userId']),
    userName: textOf(data['userName']),
    userIp: data['userIp'],
  }
  const id = data['vmUuid'] ?? data['hostUuid']
  const params = id === undefined ? {} : { id, name_label: data['vmName'] ?? data['hostName'] }
  return { callId, ...user, method, params, timestamp }
}

const AUDIT: ReadonlyMap<string, string> = new Map([
  ['signInFailed', 'user.signInFailed'],
  ['consoleOpened', 'console.opened'],
  ['consoleClosed', 'console.closed'],
])
