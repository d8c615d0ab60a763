import { randomUUID } from 'node:crypto'

import { isActive } from './config/hook.ts'
import type { Hook, Settings } from './config/hook.ts'
import type { Engine, EngineHealth, Handing, PlainHook, ProxySettings } from './engine/engine.ts'
import { formats } from './formats/index.ts'
import { freezeEvent, objectText, outcomeOf } from './event/event.ts'
import type { Event, Phase, Source } from './event/event.ts'
import type { ObjectSnapshot } from './event/object.ts'
import { Matcher } from './matcher.ts'
import type { ObjectSource } from './sources/objects.ts'
import type { Refusal } from './sources/source.ts'
import { Subject } from './subject.ts'
import { reportOf } from './test-report.ts'
import type { TestReport } from './test-report.ts'
import { refusalBy } from './verdict.ts'
import type { Signal } from './xo.ts'

/** The delivery side may take this much longer than a hook's timeout to say what came of a test. */
const TEST_SLACK_MS = 5_000

/** The delivery side may take this much longer to close than it is given: it has a journal to close. */
const CLOSE_SLACK_MS = 4_000

/** It knows at once how deliveries stand. */
const LAST_WORD_MS = 1_000

export interface RelayOptions {
  /** The delivery side. The relay closes it. */
  readonly engine: Engine
  /** All names of an API method that has aliases, the given one included. */
  readonly namesOf: (method: string) => readonly string[]
  /** The objects that events are about. Without, events have none. */
  readonly objects?: ObjectSource
}

/** What one can ask of the delivery side. */
export type Questions = Pick<
  Engine,
  'list' | 'get' | 'replay' | 'cancel' | 'pause' | 'resume' | 'health' | 'statistics' | 'recentEvents' | 'rehearse'
>

/** What a test sends: an event that the hook would be sent, and the object that it is about. */
export interface Sample {
  readonly signal: Signal
  readonly object: ObjectSnapshot
}

/**
 * The facade of the host side: signals in, events with the ids of their hooks out to the delivery side. Holds no queue:
 * what has been heard is handed over at once, except a `post` for a hook that asks for its object, which waits for XO to
 * catch up with the object (see `Subject`).
 */
export class Relay {
  readonly #engine: Engine
  readonly #namesOf: RelayOptions['namesOf']
  readonly #subject: Subject
  #settings: Settings = { hooks: [], others: [], notify: [] }
  #proxy: ProxySettings = {}
  #matcher: Matcher<Hook>
  /** While no hook asks for objects, none is looked for. */
  #isAnyAsking = false
  #isAnyRefusing = false
  readonly #listeners = new Set<() => void>()
  /** Before the last reconfiguration. */
  #heardBefore: ReadonlyMap<string, number> = new Map()
  readonly #wanted = new Map<Source, number>()
  /** Ends the waiting for each answer of the delivery side. */
  readonly #waiting = new Set<() => void>()

  constructor(settings: Settings, proxy: ProxySettings, { engine, namesOf, objects }: RelayOptions) {
    this.#engine = engine
    this.#namesOf = namesOf
    this.#subject = new Subject(objects)
    this.#matcher = new Matcher([], namesOf)
    this.reconfigure(settings, proxy)
  }

  /** Settles once deliveries are sent: the journal has been read, or given up. Never rejects. */
  get ready(): Promise<void> {
    return this.#engine.ready
  }

  get questions(): Questions {
    return this.#engine
  }

  /**
   * From now on these are the hooks, and this is XO's proxy. What waits for a hook follows it to its new endpoint, what
   * waits for one that is gone is discarded. A hook that is paused stays a hook, and is sent no event.
   *
   * Endpoints that were disabled or failing get a new chance: someone has looked at them.
   */
  reconfigure(settings: Settings = this.#settings, proxy: ProxySettings = this.#proxy): void {
    this.#settings = settings
    this.#proxy = proxy
    const active = settings.hooks.filter(isActive)
    this.#heardBefore = this.heardAt
    this.#matcher = new Matcher(active, this.#namesOf)
    this.#isAnyAsking = active.some(asksForObject)
    this.#isAnyRefusing = active.some(hook => hook.mayRefuse)
    this.#subject.retain(method => this.#asksAtEnd(method))
    const { hooks, others, instance } = settings
    this.#engine.configure({ hooks: [...hooks, ...others].map(plainOf), proxy, ...(instance && { instance }) })
    this.#listeners.forEach(listener => listener())
  }

  /** When events came last, by name, epoch ms; of those that no hook wants, only API calls are heard. */
  get heardAt(): ReadonlyMap<string, number> {
    return new Map([...this.#heardBefore, ...this.#matcher.heard()])
  }

  /** How many events hooks have wanted, since the start. */
  get wanted(): ReadonlyMap<Source, number> {
    return this.#wanted
  }

  /** The hooks that are about events of this name. */
  listenersOf(method: string): readonly Hook[] {
    const { started = [], success = [], failure = [] } = this.#matcher.match(method) ?? {}
    return [...new Set([...started, ...success, ...failure])]
  }

  /** Whether any hook is about events of this name. Costs one look-up. */
  wants(method: string): boolean {
    return this.#matcher.match(method) !== undefined
  }

  /** Whether a hook wants the host to wait for a `pre` of this name. */
  waits(method: string): boolean {
    return this.#matcher.match(method)?.started.some(hook => hook.waitForResponse) ?? false
  }

  /** Whether there is a hook that may refuse anything. */
  get isAny(): boolean {
    return this.#isAnyRefusing
  }

  /** Whether a hook may refuse what a `pre` of this name announces. */
  mayRefuse(method: string): boolean {
    return this.#isAnyRefusing && this.#refusing(method).length > 0
  }

  #refusing(method: string): readonly Hook[] {
    return this.#matcher.match(method)?.started.filter(hook => hook.mayRefuse) ?? []
  }

  /** Calls back when other events may be wanted; returns its undo. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Takes what the host says. Costs one look-up if no hook wants the event, else one serialisation and one hand-over,
   * however many hooks there are; a second hand-over where some of the hooks wait for the answer, or for the object.
   *
   * @param about - the object, where the source knows it better than the signal's `params` tell
   * @param isAsked - hooks that may refuse what a `pre` announces are asked, and not told
   * @returns for a `pre` that a hook wants answered first: settles after the first attempts, within the longest timeout of
   *   these hooks, whatever the delivery side does; never rejects
   */
  accept(
    source: Source,
    phase: Phase,
    signal: Signal,
    about?: () => ObjectSnapshot | undefined,
    isAsked = false
  ): Promise<void> | undefined {
    try {
      return this.#accept(source, phase, signal, about, isAsked)
    } finally {
      if (phase === 'post') {
        this.#subject.forget(signal.callId)
      }
    }
  }

  /** Takes what has become of an endpoint, for hooks with other endpoints: one that fails would fail with that, too. */
  acceptOfEndpoint(endpoint: string, signal: Signal): void {
    const hooks = this.#matcher.match(signal.method)?.success.filter(({ route }) => route.endpoint.id !== endpoint)
    if (hooks !== undefined && hooks.length > 0) {
      void this.#hand(freezeEvent('state', 'post', signal), hooks)
    }
  }

  /** Takes the last event there is. Settles once the first attempts are over, or their time is; never rejects. */
  async acceptLast(signal: Signal): Promise<void> {
    const hooks = this.#matcher.match(signal.method)?.success ?? []
    if (hooks.length > 0) {
      await this.#ask(handingOf(freezeEvent('state', 'post', signal), hooks), hooks)
    }
  }

  #accept(
    source: Source,
    phase: Phase,
    signal: Signal,
    about: (() => ObjectSnapshot | undefined) | undefined,
    isAsked: boolean
  ): Promise<void> | undefined {
    const matches = this.#matcher.match(signal.method, signal.timestamp)
    if (matches === undefined) {
      return undefined
    }
    if (phase === 'pre' && this.#asksAtEnd(signal.method)) {
      this.#subject.remember(signal)
    }
    const wanting = matches[outcomeOf(phase, signal)]
    const hooks = isAsked ? wanting.filter(hook => !hook.mayRefuse) : wanting
    if (hooks.length === 0) {
      return undefined
    }
    this.#wanted.set(source, (this.#wanted.get(source) ?? 0) + 1)
    const event = freezeEvent(source, phase, signal)
    const asking = this.#isAnyAsking ? hooks.filter(asksForObject) : []
    if (asking.length === 0) {
      return this.#hand(event, hooks)
    }
    const { outcome } = event
    const awaitedId = about === undefined ? this.#subject.awaitedId(outcome, signal) : undefined
    if (awaitedId === undefined) {
      return this.#hand(event, hooks, about === undefined ? this.#subject.of(outcome, signal) : about())
    }
    const ids = new Set(asking.map(({ id }) => id))
    this.#subject.whenSettled(awaitedId, outcome, signal, object => {
      // the hooks as they are configured by then
      void this.#hand(
        event,
        this.#settings.hooks.filter(({ id }) => ids.has(id)),
        object
      )
    })
    return this.#hand(
      event,
      hooks.filter(({ id }) => !ids.has(id))
    )
  }

  /** Whether a hook that may want the `post` of this method asks for its object, which may be gone by then. */
  #asksAtEnd(method: string): boolean {
    const matches = this.#isAnyAsking ? this.#matcher.match(method) : undefined
    return matches !== undefined && (matches.success.some(asksForObject) || matches.failure.some(asksForObject))
  }

  #hand(event: Event, hooks: readonly Hook[], object?: ObjectSnapshot): Promise<void> | undefined {
    const waiting = event.phase === 'pre' ? hooks.filter(hook => hook.waitForResponse) : []
    const others = waiting.length === 0 ? hooks : hooks.filter(hook => !hook.waitForResponse)
    const text = object && objectText(object)
    if (others.length > 0) {
      this.#engine.hand(handingOf(event, others, text))
    }
    return waiting.length === 0 ? undefined : this.#ask(handingOf(event, waiting, text), waiting)
  }

  /**
   * Asks the hooks that may refuse what a `pre` announces, each with its own timeout, all at once.
   *
   * @returns the first refusal; `undefined`: it may happen. Never rejects
   */
  ask(source: Source, signal: Signal): Promise<Refusal | undefined> {
    const hooks = this.#isAnyRefusing ? this.#refusing(signal.method) : []
    if (hooks.length === 0) {
      return Promise.resolve(undefined)
    }
    const event = freezeEvent(source, 'pre', signal)
    const object = hooks.some(asksForObject) ? this.#subject.of('started', signal) : undefined
    const shared = { event, party: partyOf(event), isQuestion: true, ...(object && { object: objectText(object) }) }
    return firstOf(
      hooks.map(async hook => {
        const answers = this.#engine.ask({ ...shared, id: randomUUID(), hooks: [hook.id] })
        return refusalBy(hook, await this.#within(hook.route.timeoutMs, answers))
      })
    )
  }

  async #ask(handing: Handing, hooks: readonly Hook[]): Promise<void> {
    const longestMs = Math.max(...hooks.map(({ route }) => route.timeoutMs))
    await this.#within(longestMs, this.#engine.ask(handing))
  }

  /**
   * Sends a sample event of each phase of each hook, all at once, without retry.
   *
   * @param id - of one hook, which may be disabled
   */
  test(sampleOf: (hook: Hook, phase: Phase) => Sample, id?: string): Promise<TestReport[]> {
    const meant = this.#settings.hooks.filter(hook => (id === undefined ? isActive(hook) : hook.id === id))
    const tests = meant.flatMap(hook => hook.phases.map(phase => ({ hook, phase })))
    return Promise.all(
      tests.map(async ({ hook, phase }) => {
        const { signal, object } = sampleOf(hook, phase)
        const event = freezeEvent('api', phase, signal)
        const answers = this.#engine.probe({
          ...{ id: randomUUID(), event, hooks: [hook.id], party: partyOf(event), isTest: true },
          ...(asksForObject(hook) && { object: objectText(object) }),
        })
        return reportOf(hook, phase, (await this.#within(hook.route.timeoutMs + TEST_SLACK_MS, answers))?.[0]?.attempt)
      })
    )
  }

  /**
   * Ends all: requests under way may end within `graceMs`, and nothing waits for the delivery side for long after that.
   *
   * @returns how deliveries stand then, if the delivery side says so
   */
  async close(graceMs: number): Promise<EngineHealth | undefined> {
    this.#subject.close()
    await this.#within(graceMs + CLOSE_SLACK_MS, this.#engine.close(graceMs))
    const health = await this.#within(LAST_WORD_MS, this.#engine.health())
    this.#waiting.forEach(finish => finish())
    return health
  }

  /** What a promise comes to; `undefined` if it takes longer than `ms`, or rejects. */
  #within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
    return new Promise(resolve => {
      const finish = (value?: T): void => {
        clearTimeout(timer)
        this.#waiting.delete(finish)
        resolve(value)
      }
      const timer = setTimeout(finish, ms)
      this.#waiting.add(finish)
      promise.then(finish, () => finish())
    })
  }
}

/** What the first of them comes to that comes to anything. None of them rejects. */
function firstOf<T>(promises: readonly Promise<T | undefined>[]): Promise<T | undefined> {
  return new Promise(resolve => {
    const settled = promises.map(async promise => {
      const value = await promise
      if (value !== undefined) {
        resolve(value)
      }
    })
    void Promise.all(settled).then(() => resolve(undefined))
  })
}

/** A filter may look at the object, and a format may tell of it. */
function asksForObject({ includeObject, filter, format }: Hook): boolean {
  return includeObject || filter !== undefined || formats.get(format)?.tellsObject === true
}

/** @param object - the text of what it is about */
function handingOf(event: Event, hooks: readonly Hook[], object?: Handing['object']): Handing {
  const handing = { id: randomUUID(), event, hooks: hooks.map(({ id }) => id), party: partyOf(event) }
  return object === undefined ? handing : { ...handing, object }
}

/** What crosses to the delivery side, and nothing else of a hook. */
export function plainOf({
  id,
  name,
  format,
  includeObject,
  filter,
  target,
  template,
  places,
  route,
}: PlainHook): PlainHook {
  return {
    ...{ id, name, format, includeObject, route },
    ...(filter !== undefined && { filter }),
    ...(target !== undefined && { target }),
    ...(template !== undefined && { template }),
    ...(places !== undefined && { places }),
  }
}

/** Whoever has not signed in is one party, however many they are: anyone can open a WebSocket. */
function partyOf({ source, fields }: Event): string {
  const userId = fields.get('userId')
  return source !== 'api' ? source : userId === undefined ? 'not signed in' : String(JSON.parse(userId))
}
