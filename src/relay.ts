import { randomUUID } from 'node:crypto'

import type { Hook, Settings } from './config.ts'
import { describeOutcome } from './delivery/delivery.ts'
import type { Attempt, Delivery, Endpoint, Payload } from './delivery/delivery.ts'
import { Dispatcher } from './delivery/dispatcher.ts'
import type { Connect, DispatcherEvent, EndpointReport } from './delivery/dispatcher.ts'
import type { HealthChange } from './delivery/health.ts'
import { Journal } from './delivery/journal.ts'
import { freezeEvent, outcomeOf } from './event.ts'
import type { Event, Phase, Source } from './event.ts'
import type { Format } from './formats/index.ts'
import { Matcher } from './matcher.ts'
import type { Signal } from './xo.ts'

/** A `pre` that comes later than this says nothing any more. */
const PRE_LIFETIME_MS = 5 * 60_000

/** Messages of one kind are logged at most this often. */
const LOG_PERIOD_MS = 60_000

export interface Log {
  info(message: string, data?: object): void
  warn(message: string, data?: object): void
}

export interface RelayOptions {
  readonly connect: Connect
  /** All names of an API method that has aliases, the given one included. */
  readonly namesOf: (method: string) => readonly string[]
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
  readonly #lastLogged = new Map<string, { at: number; unsaid: number }>()

  constructor({ hooks }: Settings, { connect, namesOf, log, notify, openDirectory }: RelayOptions) {
    this.#namesOf = namesOf
    this.#log = log
    this.#notify = notify
    this.#hooks = hooks
    this.#matcher = new Matcher(hooks, namesOf)
    this.#dispatcher = new Dispatcher({
      connect,
      onEvent: event => this.#report(event),
      ...(openDirectory && {
        openJournal: async progressOf => Journal.open(await openDirectory(), progressOf),
      }),
    })
    this.#dispatcher.reconfigure(routesOf(hooks))
  }

  /**
   * What is pending stays, at the endpoints that its hooks now have; what belongs to a hook that is gone is discarded.
   * Endpoints that were disabled or failing get a new chance: someone has looked at them.
   */
  reconfigure({ hooks }: Settings): void {
    this.#hooks = hooks
    this.#matcher = new Matcher(hooks, this.#namesOf)
    this.#dispatcher.reconfigure(routesOf(hooks))
    for (const { endpoint } of hooks) {
      this.#dispatcher.enable(endpoint.id)
    }
  }

  /** Opens the sockets anew, for connection settings that have changed. */
  reconnect(): void {
    this.#dispatcher.reconnect()
  }

  /** Whether any hook is about events of this name. Costs one look-up. */
  wants(method: string): boolean {
    return this.#matcher.match(method) !== undefined
  }

  /**
   * Takes what the host says. Costs one look-up if no hook wants it, else one serialisation and an enqueue for each
   * hook.
   *
   * @returns for a `pre` that a hook wants answered first: settles after the first attempt, within the hook's timeout;
   *   never rejects
   */
  accept(source: Source, phase: Phase, signal: Signal): Promise<unknown> | undefined {
    const matches = this.#matcher.match(signal.method)
    if (matches === undefined) {
      return undefined
    }
    const hooks = matches[outcomeOf(phase, signal)]
    if (hooks.length === 0) {
      return undefined
    }

    const event = freezeEvent(source, phase, signal)
    const eventHeaders = headersOf(event)
    const payloads = new Map<Format, Payload>()
    const answers: Promise<void>[] = []
    for (const hook of hooks) {
      let payload = payloads.get(hook.format)
      if (payload === undefined) {
        payload = hook.format.build(event)
        payloads.set(hook.format, payload)
      }
      const delivery = deliveryOf(event, eventHeaders, hook, payload)
      if (phase === 'pre' && hook.waitForResponse) {
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
        const event = freezeEvent('api', phase, sampleOf(hook, phase))
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
        } else {
          this.#log.info('the journal is in use', { recovered: event.recovered, damaged: event.damaged })
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
    const now = Date.now()
    const last = this.#lastLogged.get(kind)
    if (last !== undefined && now - last.at < LOG_PERIOD_MS) {
      ++last.unsaid
      return
    }
    this.#log.warn(message, last === undefined || last.unsaid === 0 ? data : { ...data, notLogged: last.unsaid })
    this.#lastLogged.set(kind, { at: now, unsaid: 0 })
  }
}

function routesOf(hooks: readonly Hook[]): ReadonlyMap<string, Endpoint> {
  return new Map(hooks.map(hook => [hook.id, hook.endpoint]))
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
    ok: outcome.kind === 'accepted',
    outcome: describeOutcome(outcome),
    ...('status' in outcome && { status: outcome.status }),
    durationMs: Math.round(durationMs),
  }
}
