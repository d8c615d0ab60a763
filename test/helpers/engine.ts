import { expect, onTestFinished, vi } from 'vitest'

import type { Attempt, AttemptOutcome, Delivery, Endpoint, Route } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import type { Connection, OutgoingRequest } from '../../src/delivery/attempt.ts'
import type { DispatcherEvent, DispatcherOptions } from '../../src/delivery/options.ts'
import type { Tally } from '../../src/delivery/tally.ts'
import { accepted, refused, unreachable } from './outcomes.ts'

/** One request that the engine has made of a connection. */
export interface Sent {
  /** The delivery's. */
  readonly id: string
  readonly number: number
  readonly endpoint: Endpoint
  readonly request: OutgoingRequest
  /** The number of the connection, from 1. */
  readonly connection: number
  /** On the engine's clock. */
  readonly at: number
  /** On the engine's clock; as long as it is under way: undefined. */
  endedAt: number | undefined
  /** Ends it, unless it has ended. */
  end(outcome: AttemptOutcome): void
}

/** What a request comes to; undefined: it stays under way until someone ends it. */
export type Script = (sent: Sent) => AttemptOutcome | undefined

/** Connections that play a script. Written for fake timers: an answer takes a millisecond. */
export class ScriptedNetwork {
  /** All requests, the oldest first. */
  readonly sent: Sent[] = []
  readonly opened: Endpoint[] = []
  script: Script = () => accepted()
  /** What connections go through. */
  proxyOf: (endpoint: Endpoint) => string | undefined = () => undefined
  #open = 0

  /** Connections that are open. */
  get open(): number {
    return this.#open
  }

  get underWay(): Sent[] {
    return this.sent.filter(sent => sent.endedAt === undefined)
  }

  connect = (endpoint: Endpoint): Connection => {
    const connection = this.opened.push(endpoint)
    const underWay = new Set<Sent>()
    let isOpen = true
    ++this.#open
    const close = (): void => {
      if (isOpen) {
        isOpen = false
        --this.#open
      }
    }
    const proxy = this.proxyOf(endpoint)
    return {
      ...(proxy !== undefined && { proxy }),
      send: request =>
        new Promise(resolve => {
          if (!isOpen) {
            resolve(unreachable('UND_ERR_CLOSED'))
            return
          }
          const sent: Sent = {
            id: headerOf(request, 'webhook-id'),
            number: Number(headerOf(request, 'X-XO-Attempt')),
            endpoint,
            request,
            connection,
            at: performance.now(),
            endedAt: undefined,
            end(outcome) {
              if (sent.endedAt === undefined) {
                sent.endedAt = performance.now()
                underWay.delete(sent)
                resolve(outcome)
              }
            },
          }
          this.sent.push(sent)
          underWay.add(sent)
          const outcome = this.script(sent)
          if (outcome !== undefined) {
            setTimeout(() => sent.end(outcome), 1)
          }
        }),
      close,
      destroy() {
        close()
        for (const sent of underWay) {
          sent.end(unreachable('UND_ERR_DESTROYED'))
        }
      },
    }
  }
}

export function headerOf({ headers }: OutgoingRequest, name: string): string {
  const values = headers.filter((_, index) => index % 2 === 1 && headers[index - 1] === name)
  expect(values).toHaveLength(1)
  return values[0]!
}

/**
 * `x`, `x/path`: a URL, of which the first part decides the origin. `x#1`, `x#2`: other endpoints at the URL of `x`, as with
 * other credentials.
 */
export function endpointOf(id: string): Endpoint {
  const [place = ''] = id.split('#')
  const [host = '', path = ''] = place.split('/')
  return { id, url: `http://${host}.example/${path}`, headers: [] }
}

export function routeTo(id: string, limits: Partial<Route> = {}): Route {
  return { endpoint: endpointOf(id), timeoutMs: 10_000, ...limits }
}

export function isDelivered(outcome: AttemptOutcome): boolean {
  return outcome.kind === 'answered' && outcome.ok
}

export interface Offer {
  /** @default 'a' */
  readonly owner?: string
  /** The call; @default one of its own */
  readonly key?: string
  readonly phase?: 'pre' | 'post'
  readonly bytes?: number
  readonly lifetimeMs?: number
}

/** The dispatcher on fake timers, with its network, its events, and its books checked at every step. */
export class Engine {
  readonly network = new ScriptedNetwork()
  readonly dispatcher: Dispatcher
  readonly events: DispatcherEvent[] = []
  /** What has been submitted, by id. */
  readonly submitted = new Map<string, Delivery>()
  #isClosed = false
  readonly #settled = new Set<string>()
  #eventsChecked = 0
  readonly #lastSent = new Map<string, Sent>()
  #sentChecked = 0

  constructor(options: Partial<DispatcherOptions> = {}) {
    this.dispatcher = new Dispatcher({
      connect: this.network.connect,
      onEvent: event => this.events.push(event),
      random: () => 0.5,
      ...options,
    })
    this.route({ a: 'a' })
  }

  /** Owners and the ids of their endpoints, or their routes. */
  route(routes: Readonly<Record<string, string | Route>>): void {
    const entries = Object.entries(routes).map(
      ([owner, to]) => [owner, typeof to === 'string' ? routeTo(to) : to] as const
    )
    this.dispatcher.reconfigure(new Map(entries))
    this.check()
    this.#checkIds()
  }

  /** The state of the circuit of an endpoint. */
  circuit(endpoint = 'a'): string | undefined {
    return this.dispatcher.stats().endpoints.get(endpoint)?.health.circuit.name
  }

  /** @returns the delivery's id */
  submit(
    { owner = 'a', key, phase = 'post', bytes = 10, lifetimeMs }: Offer = {},
    onFirstAttempt?: (attempt: Attempt | undefined) => void
  ): string {
    const id = `d${this.submitted.size + 1}`
    const delivery: Delivery = {
      id,
      owner,
      label: 'vm.start success',
      payload: { contentType: 'application/json', body: Buffer.alloc(bytes, id) },
      headers: ['X-XO-Hook', owner],
      order: { key: key ?? id, leads: phase === 'pre' },
      acceptedAt: Date.now(),
      ...(lifetimeMs !== undefined && { lifetimeMs }),
    }
    this.submitted.set(id, delivery)
    this.dispatcher.submit(delivery, onFirstAttempt)
    this.check()
    return id
  }

  submitMany(count: number, offer: Offer = {}): string[] {
    return Array.from({ length: count }, () => this.submit(offer))
  }

  /** Time goes by. */
  async pass(ms: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(ms)
    this.check()
    this.#checkIds()
  }

  /** Ends a request under way. */
  async end(sent: Sent | undefined, outcome: AttemptOutcome): Promise<void> {
    expect(sent).toBeDefined()
    sent?.end(outcome)
    await this.pass(0)
  }

  async close(graceMs = 1_000): Promise<void> {
    this.#isClosed = true
    let isDone = false
    void this.dispatcher.close(graceMs).then(() => {
      isDone = true
    })
    this.check()
    await vi.advanceTimersByTimeAsync(graceMs)
    expect(isDone).toBe(true)
    this.check()
    expect(this.network.open).toBe(0)
    expect(this.network.underWay).toEqual([])
    expect(this.dispatcher.stats()).toMatchObject({ pending: 0 })
    await vi.advanceTimersByTimeAsync(0)
    expect(vi.getTimerCount()).toBe(0)
  }

  /** Opens the circuit of `a`: the five go to a network that fails, and are not left in the way. */
  async openCircuit(owner = 'a'): Promise<void> {
    const { script } = this.network
    this.network.script = () => refused(500)
    this.submitMany(5, { owner })
    await this.pass(1)
    expect(this.circuit(owner)).toBe('open')
    this.network.script = script
  }

  idsSent(): string[] {
    return this.network.sent.map(({ id }) => id)
  }

  discarded(): string[] {
    return this.events.flatMap(event => (event.type === 'discarded' ? `${event.id}: ${event.reason}` : []))
  }

  /** The books, in all, of each endpoint, and by id; and what holds of requests at any time. */
  check(): void {
    const stats = this.dispatcher.stats()
    expect(stats.accepted).toBe(this.submitted.size)
    expect(stats.accepted).toBe(sum(stats))
    let pending = 0
    for (const [id, tally] of stats.endpoints) {
      expect([id, tally.accepted]).toEqual([id, sum(tally)])
      expect(tally.pending).toBeGreaterThanOrEqual(0)
      pending += tally.pending
    }
    expect(pending).toBe(stats.pending)

    for (const event of this.events.slice(this.#eventsChecked)) {
      const id = endOf(event)
      if (id !== undefined) {
        expect(this.#settled).not.toContain(id)
        this.#settled.add(id)
      }
    }
    this.#eventsChecked = this.events.length
    // those that came after the end are counted, but not told one by one
    const settledCount = stats.accepted - stats.pending - stats.dead
    if (this.#isClosed ? this.#settled.size > settledCount : this.#settled.size !== settledCount) {
      expect.fail(`${settledCount} are settled, but ${this.#settled.size} were said to be`)
    }

    for (const sent of this.network.sent.slice(this.#sentChecked)) {
      const before = this.#lastSent.get(sent.id)
      if (
        sent.number !== (before?.number ?? 0) + 1 ||
        (before !== undefined && !((before.endedAt ?? Infinity) <= sent.at))
      ) {
        expect.fail(`attempt ${sent.number} of ${sent.id} came after ${before?.number}`)
      }
      const delivery = this.submitted.get(sent.id)
      if (delivery !== undefined && sent.request.body !== delivery.payload.body) {
        expect.fail(`attempt ${sent.number} of ${sent.id} had another body`)
      }
      this.#lastSent.set(sent.id, sent)
    }
    this.#sentChecked = this.network.sent.length
  }

  /** Whatever was submitted is either kept or settled. */
  #checkIds(): void {
    const { controls } = this.dispatcher
    for (const id of this.submitted.keys()) {
      if ((controls.get(id) === undefined) !== this.#settled.has(id)) {
        expect.fail(
          `${id} is ${controls.get(id)?.status}, and ${this.#settled.has(id) ? '' : 'not '}said to be settled`
        )
      }
    }
  }
}

/** The id of the delivery that an event says has come to its end; a dead letter has not, as it is kept. */
export function endOf(event: DispatcherEvent): string | undefined {
  if (event.type === 'discarded') {
    return event.id
  }
  return event.type === 'attempted' && isDelivered(event.attempt.outcome) ? event.kept.id : undefined
}

function sum({ delivered, pending, dead, discarded }: Tally): number {
  return delivered + pending + dead + Object.values(discarded).reduce((total, count) => total + count, 0)
}

/** Without `close`, which tests do that are about it: nothing is left running for the next one. */
export function startEngine(options?: Partial<DispatcherOptions>): Engine {
  vi.useFakeTimers()
  onTestFinished(() => {
    vi.useRealTimers()
  })
  return new Engine(options)
}
