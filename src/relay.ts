import { randomUUID } from 'node:crypto'

import type { Hook, Settings } from './config/parse.ts'
import { describeOutcome } from './delivery/delivery.ts'
import type { Attempt, Delivery, Endpoint, Payload } from './delivery/delivery.ts'
import type { Connect } from './delivery/attempt.ts'
import { Dispatcher } from './delivery/dispatcher.ts'
import type { DispatcherEvent, EndpointReport } from './delivery/dispatcher.ts'
import type { HealthChange } from './delivery/health.ts'
import { Journal } from './delivery/journal.ts'
import { messageOf } from './problem.ts'
import { freezeEvent, outcomeOf, withObject } from './event/event.ts'
import type { Event, Phase, Source } from './event/event.ts'
import { searchableOf } from './filter.ts'
import type { Searchable } from './filter.ts'
import type { Format } from './formats/index.ts'
import { Matcher } from './matcher.ts'
import { createdIdOf, idIn, isComplete, sampleObject, snapshotOf } from './event/object.ts'
import type { ObjectSnapshot } from './event/object.ts'
import type { ObjectSource } from './sources/objects.ts'
import type { Signal } from './xo.ts'

/** A `pre` that comes later than this says nothing any more. */
const PRE_LIFETIME_MS = 5 * 60_000

/** Messages of one kind are logged at most this often. */
const LOG_PERIOD_MS = 60_000

/** How long the `post` of what has just been created waits for XO to know the object. */
const OBJECT_PATIENCE_MS = 2_000

/** Calls under way whose object is kept until they end; the oldest is forgotten first. */
const MAX_REMEMBERED = 10_000

export interface Log {
  info(message: string, data?: object): void
  warn(message: string, data?: object): void
}

export interface RelayOptions {
  readonly connect: Connect
  /** All names of an API method that has aliases, the given one included. */
  readonly namesOf: (method: string) => readonly string[]
  /** The objects that events are about. Without, events have none. */
  readonly objects?: ObjectSource
  readonly log: Log
  /** Once for each change of an endpoint's health. */
  readonly notify: (alert: Alert) => void
  /** The journal's folder. Without, everything stays in memory. */
  readonly openDirectory?: () => Promise<string>
}

/** What an administrator is told of an endpoint. Holds nothing secret. */
export interface Alert {
  readonly change: HealthChange
  readonly hooks: readonly string[]
  readonly origin: string
  /** Waiting to be sent. */
  readonly pending: number
  /** Kept, to be replayed. */
  readonly dead: number
  /** Of the first failure, ISO 8601. */
  readonly since?: string
  /** In words. */
  readonly lastError?: string
  /** Why it is disabled. */
  readonly reason?: string
}

/** What became of one test request. */
export interface TestReport {
  readonly hook: string
  readonly type: Phase
  /** Where it went; the rest of a URL is secret. */
  readonly origin: string
  readonly ok: boolean
  /** In words. */
  readonly outcome: string
  readonly status?: number
  readonly durationMs: number
}

/** Events in, deliveries out: where events, hooks and the dispatcher meet. */
export class Relay {
  readonly #dispatcher: Dispatcher
  readonly #namesOf: RelayOptions['namesOf']
  readonly #log: Log
  readonly #notify: (alert: Alert) => void
  #hooks: readonly Hook[] = []
  #matcher: Matcher<Hook>
  /** So that nobody else pays for it. */
  #anyAsksForObject: boolean
  readonly #objects: ObjectSource | undefined
  /** By call id: the object as it was when the call began. It may be gone at its end. */
  readonly #objectsBefore = new Map<string, ObjectSnapshot>()
  /** Of deliveries that wait for an object, what makes them go at once. */
  readonly #waiting = new Set<() => void>()
  readonly #listeners = new Set<() => void>()
  readonly #lastLogged = new Map<string, { at: number; unsaid: number }>()

  constructor({ hooks }: Settings, { connect, namesOf, objects, log, notify, openDirectory }: RelayOptions) {
    this.#namesOf = namesOf
    this.#objects = objects
    this.#log = log
    this.#notify = notify
    this.#hooks = hooks
    this.#matcher = new Matcher(hooks, namesOf)
    this.#anyAsksForObject = hooks.some(asksForObject)
    this.#dispatcher = new Dispatcher({
      connect,
      onEvent: event => this.#report(event),
      ...(openDirectory && {
        openJournal: async progressOf => Journal.open(await openDirectory(), progressOf),
      }),
    })
    this.#dispatcher.reconfigure(routesOf(hooks))
  }

  /** Settles once deliveries are sent: the journal has been read, or given up. */
  get ready(): Promise<void> {
    return this.#dispatcher.ready
  }

  /**
   * What is pending stays, at the endpoints that its hooks now have; what belongs to a hook that is gone is discarded.
   * Endpoints that were disabled or failing get a new chance: someone has looked at them.
   */
  reconfigure({ hooks }: Settings): void {
    this.#hooks = hooks
    this.#matcher = new Matcher(hooks, this.#namesOf)
    this.#anyAsksForObject = hooks.some(asksForObject)
    this.#dispatcher.reconfigure(routesOf(hooks))
    for (const { endpoint } of hooks) {
      this.#dispatcher.enable(endpoint.id)
    }
    this.#listeners.forEach(listener => listener())
  }

  /** Whether any hook is about events of this name. Costs one look-up. */
  wants(method: string): boolean {
    return this.#matcher.match(method) !== undefined
  }

  /** Whether a hook wants the host to wait for a `pre` of this name. */
  waits(method: string): boolean {
    return this.#matcher.match(method)?.started.some(hook => hook.waitForResponse) ?? false
  }

  /** Calls back when other events may be wanted; returns its undo. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Opens the sockets anew, for connection settings that have changed. */
  reconnect(): void {
    this.#dispatcher.reconnect()
  }

  /**
   * Takes what the host says. Costs one look-up if no hook wants it, else one serialisation and an enqueue for each
   * hook.
   *
   * @returns for a `pre` that a hook wants answered first: settles after the first attempt, within the hook's timeout;
   *   never rejects
   */
  accept(
    source: Source,
    phase: Phase,
    signal: Signal,
    about?: () => ObjectSnapshot | undefined
  ): Promise<unknown> | undefined {
    const matches = this.#matcher.match(signal.method)
    if (matches === undefined) {
      return undefined
    }
    if (this.#anyAsksForObject && phase === 'pre' && [...matches.success, ...matches.failure].some(asksForObject)) {
      this.#rememberObject(signal)
    }
    const hooks = matches[outcomeOf(phase, signal)]
    if (hooks.length === 0) {
      return undefined
    }

    const event = freezeEvent(source, phase, signal)
    if (!this.#anyAsksForObject || !hooks.some(asksForObject)) {
      return this.#send(event, hooks, undefined)
    }
    const createdId = about === undefined && event.outcome === 'success' ? createdIdOf(signal) : undefined
    if (createdId === undefined || this.#isKnown(createdId)) {
      return this.#send(event, hooks, about === undefined ? this.#objectOf(event, signal, createdId) : about())
    }
    this.#sendWhenKnown(createdId, event, hooks.filter(asksForObject), signal)
    return this.#send(
      event,
      hooks.filter(hook => !asksForObject(hook)),
      undefined
    )
  }

  #isKnown(id: string): boolean {
    return this.#objects === undefined || isComplete(this.#objects.get(id), this.#objects.get)
  }

  #rememberObject(signal: Signal): void {
    const object = this.#objectIn(signal)
    if (object !== undefined) {
      for (const [oldest] of this.#objectsBefore) {
        if (this.#objectsBefore.size < MAX_REMEMBERED) {
          break
        }
        this.#objectsBefore.delete(oldest)
      }
      this.#objectsBefore.set(signal.callId, object)
    }
  }

  #objectIn(signal: Signal): ObjectSnapshot | undefined {
    const id = this.#objects && idIn(signal, this.#objects.get)
    return id === undefined ? undefined : this.#snapshotOf(id)
  }

  /** What has been created, else what the parameters name: as it is, or, if it is gone, as it was. */
  #objectOf({ phase, callId }: Event, signal: Signal, createdId?: string): ObjectSnapshot | undefined {
    const before = this.#objectsBefore.get(callId)
    if (phase === 'post') {
      this.#objectsBefore.delete(callId)
    }
    return (createdId === undefined ? undefined : this.#snapshotOf(createdId)) ?? this.#objectIn(signal) ?? before
  }

  #snapshotOf(id: string): ObjectSnapshot | undefined {
    const get = this.#objects?.get
    return get && snapshotOf(get(id), get)
  }

  /** Sends for these hooks a little later, once the object is known. */
  #sendWhenKnown(id: string, event: Event, hooks: readonly Hook[], signal: Signal): void {
    // the signal may be another one by then
    const fallback = this.#objectOf(event, signal)
    const ids = new Set(hooks.map(hook => hook.id))
    let goNow: (() => void) | undefined
    let isSent = false
    const send = (): void => {
      isSent = true
      if (goNow !== undefined) {
        this.#waiting.delete(goNow)
      }
      try {
        // as they are configured by now; the dispatcher knows no others
        const current = this.#hooks.filter(hook => ids.has(hook.id))
        void this.#send(event, current, this.#snapshotOf(id) ?? fallback)
      } catch (error) {
        this.#log.warn('an event was lost to a bug', { method: event.method, error: messageOf(error) })
      }
    }
    goNow = this.#objects?.whenKnown(id, OBJECT_PATIENCE_MS, send)
    if (goNow !== undefined && !isSent) {
      this.#waiting.add(goNow)
    }
  }

  /** Makes the payloads, one for each format and with or without the object, and submits the deliveries. */
  #send(event: Event, hooks: readonly Hook[], object: ObjectSnapshot | undefined): Promise<unknown> | undefined {
    const eventHeaders = headersOf(event)
    const whole = this.#anyAsksForObject && hooks.some(asksForObject) ? withObject(event, object) : event
    let searchable: Searchable | undefined
    const party = partyOf(event)
    const payloads = { without: new Map<Format, Payload>(), with: new Map<Format, Payload>() }
    const answers: Promise<void>[] = []
    for (const hook of hooks) {
      if (hook.filter !== undefined) {
        searchable ??= searchableOf(whole)
        if (!hook.filter(searchable)) {
          continue
        }
      }
      const shared = hook.includeObject ? payloads.with : payloads.without
      let payload = shared.get(hook.format)
      if (payload === undefined) {
        payload = hook.format.build(hook.includeObject ? whole : event)
        shared.set(hook.format, payload)
      }
      const delivery = { ...deliveryOf(event, eventHeaders, hook, payload), party }
      if (event.phase === 'pre' && hook.waitForResponse) {
        answers.push(this.#submitAndWait(delivery, hook.endpoint.timeoutMs))
      } else {
        this.#dispatcher.submit(delivery)
      }
    }
    return answers.length === 0 ? undefined : Promise.all(answers)
  }

  /** Sends a sample event of each phase of each hook, all at once, without retry. */
  test(sampleOf: (hook: Hook, phase: Phase) => Signal): Promise<TestReport[]> {
    const tests = this.#hooks.flatMap(hook => hook.phases.map(phase => ({ hook, phase })))
    return Promise.all(
      tests.map(async ({ hook, phase }) => {
        const sample = freezeEvent('api', phase, sampleOf(hook, phase))
        const event = hook.includeObject ? withObject(sample, sampleObject) : sample
        const headers = [...headersOf(event), 'X-XO-Test', 'true']
        const delivery = deliveryOf(event, headers, hook, hook.format.build(event))
        return reportOf(hook, phase, await this.#dispatcher.test(delivery, hook.endpoint))
      })
    )
  }

  stats(): ReturnType<Dispatcher['stats']> {
    return this.#dispatcher.stats()
  }

  /** Requests in flight may end within `graceMs`; the rest is discarded as `stopped`, as is all that comes later. */
  async close(graceMs: number): Promise<void> {
    this.#waiting.forEach(goNow => goNow())
    await this.#dispatcher.close(graceMs)
    this.#lastLogged.clear()
  }

  #submitAndWait(delivery: Delivery, timeoutMs: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#dispatcher.submit(delivery, () => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #report(event: DispatcherEvent): void {
    switch (event.type) {
      case 'attempted':
        return
      case 'dead':
        this.#logAtMost(`dead ${event.endpoint.id}`, 'a delivery has failed for good', {
          endpoint: event.endpoint.url.origin,
          delivery: event.delivery.id,
          attempts: event.attempt.number,
          lastError: describeOutcome(event.attempt.outcome),
        })
        return
      case 'discarded':
        this.#logAtMost(`discarded ${event.reason}`, `a delivery was discarded: ${event.reason}`, {
          delivery: event.id,
        })
        return
      case 'health':
        this.#reportHealth(event.change, event.report)
        return
      case 'journal':
        if (event.problem !== undefined) {
          this.#logAtMost('journal', 'the journal cannot be used: deliveries are kept in memory only', {
            problem: event.problem,
          })
        } else if (event.damaged > 0) {
          this.#log.warn('the journal is in use, but was damaged: some deliveries are lost', {
            recovered: event.recovered,
            damagedPages: event.damaged,
          })
        } else {
          this.#log.info('the journal is in use', { recovered: event.recovered, damaged: 0 })
        }
        return
      default:
        event satisfies never
    }
  }

  #reportHealth(change: HealthChange, report: EndpointReport): void {
    const { endpoint, health, pending, dead } = report
    const alert: Alert = {
      change,
      hooks: this.#hooks.filter(hook => hook.endpoint.id === endpoint.id).map(({ name }) => name),
      origin: endpoint.url.origin,
      pending,
      dead,
      ...(health.failingSince !== undefined && { since: new Date(health.failingSince).toISOString() }),
      ...(health.lastError !== undefined && { lastError: health.lastError }),
      ...(health.disabled !== undefined && { reason: health.disabled.reason }),
    }
    const { change: _, ...data } = alert
    if (change === 'recovered') {
      this.#log.info('an endpoint answers again', data)
    } else {
      this.#log.warn(change === 'failing' ? 'an endpoint keeps failing' : 'an endpoint is disabled', data)
    }
    this.#notify(alert)
  }

  /** A warning, of each kind at most one a minute; the next one says how many were not logged. */
  #logAtMost(kind: string, message: string, data: object): void {
    const now = performance.now()
    const last = this.#lastLogged.get(kind)
    if (last !== undefined && now - last.at < LOG_PERIOD_MS) {
      ++last.unsaid
      return
    }
    this.#log.warn(message, last === undefined || last.unsaid === 0 ? data : { ...data, notLogged: last.unsaid })
    this.#lastLogged.set(kind, { at: now, unsaid: 0 })
  }
}

/** A filter may look at the object. */
function asksForObject({ includeObject, filter }: Hook): boolean {
  return includeObject || filter !== undefined
}

function routesOf(hooks: readonly Hook[]): ReadonlyMap<string, Endpoint> {
  return new Map(hooks.map(hook => [hook.id, hook.endpoint]))
}

/** Whoever has not signed in is one party, however many they are: anyone can open a WebSocket. */
function partyOf({ source, fields }: Event): string {
  const userId = fields.get('userId')
  return source !== 'api' ? source : userId === undefined ? 'not signed in' : String(JSON.parse(userId))
}

function deliveryOf(event: Event, headers: readonly string[], hook: Hook, payload: Payload): Delivery {
  return {
    id: randomUUID(),
    owner: hook.id,
    label: `${event.method} ${event.outcome}`,
    payload,
    headers: [...headers, 'X-XO-Hook', headerText(hook.name)],
    order: { key: event.callId, leads: event.phase === 'pre' },
    acceptedAt: Date.now(),
    ...(event.phase === 'pre' && { lifetimeMs: PRE_LIFETIME_MS }),
  }
}

function headersOf({ method, phase, outcome, timestamp }: Event): string[] {
  return [
    'X-XO-Event',
    headerText(method),
    'X-XO-Event-Type',
    phase,
    'X-XO-Event-Status',
    outcome,
    'X-XO-Created',
    isoDate(timestamp),
  ]
}

/** A signal without a usable time is of now: another plugin may have made it. */
function isoDate(timestamp: number): string {
  const date = new Date(timestamp)
  return (Number.isNaN(date.getTime()) ? new Date() : date).toISOString()
}

/** What a header cannot carry is percent-encoded as UTF-8: a name may be in any script. */
function headerText(text: string): string {
  return text
    .toWellFormed()
    .slice(0, 200)
    .toWellFormed()
    .replace(/[^\x20-\x7e]/gu, encodeURIComponent)
}

function reportOf(hook: Hook, type: Phase, { outcome, durationMs }: Attempt): TestReport {
  return {
    hook: hook.name,
    type,
    origin: hook.endpoint.url.origin,
    ok: outcome.kind === 'answered' && outcome.ok,
    outcome: describeOutcome(outcome),
    ...('status' in outcome && { status: outcome.status }),
    durationMs: Math.round(durationMs),
  }
}
