import { isDeepStrictEqual } from 'node:util'

import type { Account, Details, EndpointHealth, EndpointReport, Page, Query, Selection } from './delivery/account.ts'
import type { EngineStatistics } from './delivery/statistics.ts'
import type { Connect, Connection } from './delivery/attempt.ts'
import { describeOutcome } from './delivery/delivery.ts'
import type { Attempt, Delivery, DiscardReason, Endpoint } from './delivery/delivery.ts'
import { Dispatcher } from './delivery/dispatcher.ts'
import type { DispatcherEvent } from './delivery/options.ts'
import type { HealthChange } from './delivery/health.ts'
import { Journal } from './delivery/journal.ts'
import type { ProxyReport } from './delivery/proxies.ts'
import type { Legacy } from './delivery/restart.ts'
import type { Tally } from './delivery/tally.ts'
import { parseAddressRules } from './transport/address-guard.ts'
import { Names } from './transport/names.ts'
import type { ProxySettings } from './transport/proxy.ts'
import { connectTo } from './transport/transport.ts'
import { formats, judged } from './formats/index.ts'
import type { Instance } from './formats/index.ts'
import { deliveryOf, idOf, Texts } from './handing.ts'
import type { Handing, PlainHook, Remains } from './handing.ts'
import { RecentEvents } from './recent-events.ts'
import type { RecentEvent, Rehearsal } from './recent-events.ts'
import { filterOf, Subscriptions } from './subscriptions.ts'

export interface PlainSettings {
  readonly hooks: readonly PlainHook[]
  readonly proxy: ProxySettings
  readonly instance?: Instance
}

/** Lists of xo-server's `[plugins.web-hooks]`, as they stand there: where requests may go, and where not. */
export interface Addresses {
  readonly allowed?: unknown
  readonly denied?: unknown
}

/** What the first attempt for a hook came to. */
export interface Answer {
  readonly hook: string
  /** Absent: the hook's filter does not want the event, so that none was made. */
  readonly attempt?: Attempt
}

export interface EngineHealth extends Tally {
  /** By endpoint id. */
  readonly endpoints: ReadonlyMap<string, EndpointHealth>
  /** Events whose filter could not be decided in time, by hook. */
  readonly undecided: ReadonlyMap<string, number>
  /** Why the journal is not in use. */
  readonly journal?: string
}

/** What happened, for whoever logs it. */
export type CourierEvent =
  | {
      readonly type: 'dead'
      readonly id: string
      readonly owner: string
      readonly origin: string
      readonly attempts: number
      readonly lastError: string
    }
  /** `id`: of one of them. */
  | { readonly type: 'discarded'; readonly reason: DiscardReason; readonly count: number; readonly id: string }
  | { readonly type: 'health'; readonly change: HealthChange; readonly report: EndpointReport }
  | { readonly type: 'proxy'; readonly report: ProxyReport }
  /** `problem`: why everything stays in memory; absent: the journal is in use. `lost`: what it should have held. */
  | { readonly type: 'journal'; readonly problem?: string; readonly recovered: number; readonly lost: number }
  /** A filter took too long for an event, which was sent; the hook is switched off after the third time. */
  | { readonly type: 'undecided'; readonly hook: string; readonly isSwitchedOff: boolean }
  /** A format threw: its hook's event is lost, and counted as discarded. */
  | { readonly type: 'unformatted'; readonly hook: string; readonly method: string; readonly error: string }

export interface CourierOptions {
  readonly addresses?: Addresses
  /** The journal's folder; it may never come. Without, everything stays in memory. */
  readonly openDirectory?: () => Promise<string>
  /** The journal there is ours, and nothing of it has been sent. Never rejects; `isAlive` is called if it takes long. */
  readonly onLocked?: (directory: string, isAlive: () => void) => Promise<void>
  /** What the courier has left whose place this one takes. */
  readonly legacy?: Legacy
  /** This delivery has ended, is on disk, or is not wanted: whoever handed it over may forget it. */
  readonly onSafe?: (id: string) => void
  /** Opens the sockets of an endpoint. @default by the proxy of the settings and the addresses */
  readonly connect?: Connect
  /** So many deliveries are kept. @default 100,000 */
  readonly maxPending?: number
}

/**
 * The delivery side's facade: takes an event and its hooks, and makes deliveries of them. Filters and formats run here,
 * within the call of {@link hand}; the rest is the dispatcher's.
 *
 * It has the methods of `Engine` in engine/engine.ts, which stands above it.
 */
export class Courier {
  readonly #dispatcher: Dispatcher
  readonly #onSafe: (id: string) => void
  readonly #listeners = new Set<(event: CourierEvent) => void>()
  readonly #names = new Names()
  readonly #configured: Promise<void>
  #setConfigured: () => void = () => {}
  readonly #subscriptions = new Subscriptions((hook, isSwitchedOff) =>
    this.#emit({ type: 'undecided', hook, isSwitchedOff })
  )
  readonly #recent = new RecentEvents()
  #proxy: ProxySettings = {}
  #instance: Instance = {}
  /** Why the journal is not in use. */
  #journalProblem: string | undefined

  constructor({
    addresses = {},
    openDirectory,
    onLocked = async () => {},
    legacy,
    onSafe = () => {},
    connect,
    maxPending,
  }: CourierOptions = {}) {
    this.#onSafe = onSafe
    this.#configured = new Promise(resolve => {
      this.#setConfigured = resolve
    })
    const { rules } = parseAddressRules(addresses.allowed, addresses.denied)
    const open = connect ?? (endpoint => connectTo(endpoint, this.#proxy, rules, this.#names))
    this.#dispatcher = new Dispatcher({
      connect: endpoint => understood(open(endpoint), endpoint),
      onEvent: event => this.#report(event),
      ...(maxPending !== undefined && { maxPending }),
      ...(legacy && { legacy }),
      ...(openDirectory && {
        openJournal: async isAlive => {
          const directory = await openDirectory()
          await this.#configured // what belongs to a hook that is not known yet would be discarded
          const opened = await Journal.open(directory, isAlive)
          await onLocked(directory, isAlive)
          return opened
        },
      }),
    })
  }

  get ready(): Promise<void> {
    return this.#dispatcher.ready
  }

  configure({ hooks, proxy, instance = {} }: PlainSettings): void {
    const isProxyNew = !isDeepStrictEqual(proxy, this.#proxy)
    this.#proxy = proxy
    this.#instance = instance
    this.#subscriptions.set(hooks)
    if (isProxyNew) {
      this.#dispatcher.reconnect()
    }
    this.#dispatcher.reconfigure(new Map(hooks.map(({ id, route }) => [id, route])))
    this.#setConfigured()
  }

  hand(handing: Handing): void {
    for (const { delivery } of this.#deliveriesOf(handing)) {
      this.#dispatcher.submit(delivery)
    }
  }

  async ask(handing: Handing): Promise<readonly Answer[]> {
    const unwanted: Answer[] = []
    const made = this.#deliveriesOf(handing, hook => unwanted.push({ hook }))
    const answers = await Promise.all(made.map(each => this.#submitAndWait(each)))
    return [...unwanted, ...answers.flat()]
  }

  #submitAndWait({ delivery, hook }: Made): Promise<readonly Answer[]> {
    return new Promise(resolve => {
      const finish = (attempt?: Attempt): void => {
        clearTimeout(timer)
        resolve(attempt === undefined ? [] : [{ hook: hook.id, attempt }])
      }
      const timer = setTimeout(finish, hook.route.timeoutMs).unref()
      this.#dispatcher.submit(delivery, finish)
    })
  }

  /** Filters have no say: whoever tests a hook wants to see a request. */
  async probe(handing: Handing): Promise<readonly Answer[]> {
    const texts = new Texts(handing, this.#instance)
    const answers = await Promise.all(
      handing.hooks.map(async (id, index) => {
        const hook = this.#subscriptions.get(id)?.hook
        return hook === undefined ? [] : [{ hook: id, attempt: await this.#test(handing, index, hook, texts) }]
      })
    )
    return answers.flat()
  }

  async #test(handing: Handing, index: number, hook: PlainHook, texts: Texts): Promise<Attempt> {
    const payload = texts.payloadFor(hook, index)
    if (!('problem' in payload)) {
      return this.#dispatcher.controls.test(deliveryOf(handing, index, hook, payload, texts), hook.route)
    }
    const reason = `the event cannot be written in this format: ${payload.problem}`
    const outcome = { kind: 'unreachable', code: 'UNFORMATTED', reason } as const
    return { number: 1, trigger: 'test', startedAt: Date.now(), durationMs: 0, outcome }
  }

  async list(query: Query): Promise<Page<Account>> {
    await this.#dispatcher.controls.recall()
    return this.#dispatcher.controls.list(query)
  }

  async get(id: string): Promise<Details | undefined> {
    await this.#dispatcher.controls.recall()
    return this.#dispatcher.controls.details(id)
  }

  /** Of this run and, as far as the delivery log reaches, of earlier ones. */
  async statistics(): Promise<EngineStatistics> {
    await this.#dispatcher.controls.recall()
    return this.#dispatcher.controls.statistics()
  }

  async recentEvents(): Promise<readonly RecentEvent[]> {
    return this.#recent.list()
  }

  async rehearse(hook: PlainHook, events: readonly string[]): Promise<readonly Rehearsal[]> {
    return this.#recent.rehearse(hook, filterOf(hook), events, this.#instance)
  }

  async replay(which: Selection): Promise<number> {
    return this.#dispatcher.controls.replay(which)
  }

  async cancel(which: Selection): Promise<number> {
    return this.#dispatcher.controls.cancel(which)
  }

  async pause(endpoint: string): Promise<boolean> {
    return this.#dispatcher.controls.pause(endpoint)
  }

  async resume(endpoint: string): Promise<boolean> {
    return this.#dispatcher.controls.resume(endpoint)
  }

  async health(): Promise<EngineHealth> {
    return {
      ...this.#dispatcher.stats(),
      undecided: this.#subscriptions.undecided,
      ...(this.#journalProblem !== undefined && { journal: this.#journalProblem }),
    }
  }

  /** For a courier that takes the place of this one, if it dies. */
  get legacy(): Legacy {
    return this.#dispatcher.legacy()
  }

  /** Counts deliveries that were handed over, but will not be sent. */
  discard(remains: Remains, reason: DiscardReason): void {
    remains.hooks.forEach((owner, index) => {
      if (owner !== '') {
        this.#discard({ id: idOf(remains, index), owner, label: remains.label }, reason)
      }
    })
  }

  /** Counts deliveries of one hook of which nothing is known but how many. @param id - of one of them */
  lose(owner: string, id: string, count: number): void {
    this.#dispatcher.discard({ id, owner, label: '' }, 'lost', count)
  }

  listen(listener: (event: CourierEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async close(graceMs: number): Promise<void> {
    await this.#dispatcher.close(graceMs) // which ends all waiting for first attempts
    this.#names.close()
  }

  /** What is to be sent; what is not is counted on the way, unless a filter does not want it. */
  #deliveriesOf(handing: Handing, onUnwanted: (hook: string) => void = () => {}): Made[] {
    const texts = new Texts(handing, this.#instance)
    this.#recent.add(handing)
    const made: Made[] = []
    handing.hooks.forEach((owner, index) => {
      if (owner === '') {
        return
      }
      const id = idOf(handing, index)
      const delivery = { id, owner, label: texts.label }
      const subscription = this.#subscriptions.get(owner)
      if (subscription === undefined) {
        this.#discard(delivery, 'hook removed')
        return
      }
      const { hook } = subscription
      switch (this.#subscriptions.verdict(subscription, () => texts.searchable)) {
        case 'unwanted':
          onUnwanted(owner)
          this.#onSafe(id)
          return
        case 'switched off':
          this.#discard(delivery, 'filter too slow')
          return
        case 'wanted':
      }
      const payload = texts.payloadFor(hook, index)
      if ('problem' in payload) {
        this.#discard(delivery, 'unformatted')
        this.#emit({ type: 'unformatted', hook: owner, method: handing.event.method, error: payload.problem })
        return
      }
      made.push({ hook, delivery: deliveryOf(handing, index, hook, payload, texts) })
    })
    return made
  }

  #discard(delivery: Pick<Delivery, 'id' | 'owner' | 'label'>, reason: DiscardReason): void {
    this.#dispatcher.discard(delivery, reason)
    this.#onSafe(delivery.id)
  }

  #report(event: DispatcherEvent): void {
    switch (event.type) {
      case 'attempted':
        return
      case 'safe':
        this.#onSafe(event.id)
        return
      case 'dead': {
        const { kept, endpoint, attempt } = event
        const lastError = describeOutcome(attempt.outcome)
        const { origin } = new URL(endpoint.url)
        this.#emit({ type: 'dead', id: kept.id, owner: kept.owner, origin, attempts: attempt.number, lastError })
        return
      }
      case 'discarded':
        this.#emit({ type: 'discarded', reason: event.reason, count: event.count, id: event.id })
        return
      case 'health':
      case 'proxy':
        this.#emit(event)
        return
      case 'journal':
        this.#journalProblem = event.problem
        this.#emit(event)
        return
      default:
        event satisfies never
    }
  }

  #emit(event: CourierEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch {
        // a listener that throws must not keep the others from hearing, nor deliveries from going
      }
    }
  }
}

interface Made {
  readonly hook: PlainHook
  readonly delivery: Delivery
}

/** A connection whose answers are read by the rules of the endpoint's service, and of questions. */
function understood(connection: Connection, { service }: Endpoint): Connection {
  const format = (service === undefined ? undefined : formats.get(service)) ?? {}
  return {
    ...(connection.proxy !== undefined && { proxy: connection.proxy }),
    send: async request => judged(format, await connection.send(request), request.isQuestion),
    close: () => connection.close(),
    destroy: () => connection.destroy(),
  }
}
