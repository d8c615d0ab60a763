import fc from 'fast-check'
import { expect, it } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { endOf, endpointOf, routeTo, startEngine } from '../helpers/engine.ts'
import type { Engine, Sent } from '../helpers/engine.ts'
import { accepted, refused, timedOut, unreachable } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** For thousands of runs: `MODEL_RUNS=5000`, and `MODEL_SEED=…` for others than these or a given one. */
const RUNS = Number(process.env['MODEL_RUNS'] ?? 150)
const SEED = Number(process.env['MODEL_SEED'] ?? 20_260_801)

const OWNERS = ['a', 'b', 'c', 'd']
/** Three URLs at two origins; at the first, with three credentials. */
const ENDPOINTS = ['x', 'x#1', 'x#2', 'x/path', 'y']
const MAX_PENDING = 40
const CONCURRENCY = 6

interface Destination {
  readonly endpoint: string
  readonly isPaused: boolean
}

/** Which deliveries are replayed or cancelled: one of those that were submitted, of an owner, or bound for an endpoint. */
type Which =
  | { readonly by: 'index'; readonly index: number }
  | { readonly by: 'owner'; readonly owner: string }
  | { readonly by: 'endpoint'; readonly endpoint: string }

/** What may happen next. */
type Step =
  | { readonly kind: 'submit'; readonly owner: string; readonly call: number; readonly phase: 'pre' | 'post' }
  | { readonly kind: 'call'; readonly call: number }
  | { readonly kind: 'urgent'; readonly owner: string; readonly call: number }
  | { readonly kind: 'flood'; readonly owner: string; readonly count: number }
  | { readonly kind: 'end'; readonly which: number; readonly outcome: AttemptOutcome }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'move'; readonly owner: string; readonly to: Destination | undefined }
  | { readonly kind: 'route'; readonly to: readonly (Destination | undefined)[] }
  | { readonly kind: 'replay' | 'cancel'; readonly which: Which }
  | { readonly kind: 'pause' | 'resume'; readonly endpoint: string }
  | { readonly kind: 'reconnect' }

const owner = fc.constantFrom(...OWNERS)
const endpoint = fc.constantFrom(...ENDPOINTS)
const call = fc.nat(3)
const outcome = fc.oneof(
  { weight: 6, arbitrary: fc.constant(accepted()) },
  { weight: 3, arbitrary: fc.constantFrom(refused(503), refused(404), unreachable(), timedOut()) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 10 * MINUTE }).map(retryAfterMs => refused(429, retryAfterMs)) },
  { weight: 1, arbitrary: fc.constantFrom(refused(410), refused(403, 2 * HOUR)) }
)
const destination: fc.Arbitrary<Destination | undefined> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ endpoint, isPaused: fc.constantFrom(false, false, false, true) }),
  },
  { weight: 1, arbitrary: fc.constant(undefined) }
)
const which: fc.Arbitrary<Which> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ by: fc.constant('index' as const), index: fc.nat(60) }) },
  { weight: 1, arbitrary: fc.record({ by: fc.constant('owner' as const), owner }) },
  { weight: 1, arbitrary: fc.record({ by: fc.constant('endpoint' as const), endpoint }) }
)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('submit' as const),
      owner,
      call,
      phase: fc.constantFrom('pre' as const, 'post' as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('call' as const), call }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('urgent' as const), owner, call }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('flood' as const), owner, count: fc.integer({ min: 1, max: 20 }) }),
  },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(20), outcome }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(0, 1, 500, 5 * SECOND, MINUTE, 6 * MINUTE, HOUR),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('move' as const), owner, to: destination }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('route' as const), to: fc.tuple(...OWNERS.map(() => destination)) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('replay' as const, 'cancel' as const), which }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const), endpoint }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'reconnect' }) }
)

/** The engine beside what must be true of it. */
class Model {
  readonly engine: Engine = startEngine({ maxPending: MAX_PENDING, concurrency: CONCURRENCY })
  #routes = new Map<string, Destination>()
  /** Ids of what is not pending any more. */
  readonly #over = new Set<string>()
  readonly #dead = new Set<string>()
  readonly #cancelled = new Set<string>()
  /** By origin, until when its receiver has asked not to be sent anything. */
  readonly #holds = new Map<string, number>()
  /** Endpoints that were disabled or paused, and nobody has seen to it since. */
  readonly #closed = new Set<string>()
  /** How often each urgent delivery has been called back. */
  readonly #calledBack: number[] = []
  /** What must not be, and was: an error thrown out of `send` would reach nobody. */
  readonly #violations: string[] = []
  #seen = 0

  constructor() {
    this.engine.network.script = sent => {
      this.#check(sent)
      return undefined
    }
    this.#route(new Map(OWNERS.map((name, index) => [name, { endpoint: ENDPOINTS[index]!, isPaused: false }])))
  }

  async run(next: Step): Promise<void> {
    const { engine } = this
    switch (next.kind) {
      case 'submit':
        this.#submit(next.owner, next.call, next.phase)
        break
      case 'call':
        for (const phase of ['pre', 'post'] as const) {
          OWNERS.forEach(name => this.#submit(name, next.call, phase))
        }
        break
      case 'urgent': {
        const index = this.#calledBack.push(0) - 1
        this.#submit(next.owner, next.call, 'pre', () => {
          ++this.#calledBack[index]!
        })
        break
      }
      case 'flood':
        engine.submitMany(next.count, { owner: next.owner })
        break
      case 'end': {
        const { underWay } = engine.network
        const sent = underWay[next.which % Math.max(1, underWay.length)]
        if (sent !== undefined) {
          this.#noteOutcome(sent, next.outcome)
          await engine.end(sent, next.outcome)
        }
        break
      }
      case 'pass':
        await engine.pass(next.ms)
        break
      case 'move':
        this.#route(withOwner(this.#routes, next.owner, next.to))
        break
      case 'route':
        this.#route(next.to.reduce((routes, to, index) => withOwner(routes, OWNERS[index]!, to), this.#routes))
        break
      case 'replay':
        this.#meant(next.which).forEach(id => {
          if (this.#dead.delete(id)) {
            this.#over.delete(id)
          }
        })
        engine.dispatcher.controls.replay(selectionOf(next.which))
        break
      case 'cancel':
        this.#meant(next.which).forEach(id => this.#cancelled.add(id))
        engine.dispatcher.controls.cancel(selectionOf(next.which))
        break
      case 'pause':
        if (engine.dispatcher.controls.pause(next.endpoint)) {
          this.#closed.add(next.endpoint)
        }
        break
      case 'resume':
        if (engine.dispatcher.controls.resume(next.endpoint)) {
          this.#closed.delete(next.endpoint)
          this.#holds.delete(originOf(next.endpoint))
        }
        break
      case 'reconnect':
        engine.dispatcher.reconnect()
        break
      default:
        next satisfies never
    }
    this.#noteEvents()
    this.#checkState()
  }

  /** All goes well from now on, and all the time in the world passes: nothing may be stuck. */
  async settle(): Promise<void> {
    const { engine } = this
    const routes = [...this.#routes].map(([name, { endpoint }]) => [name, { endpoint, isPaused: false }] as const)
    this.#route(new Map(routes))
    for (const id of ENDPOINTS) {
      await this.run({ kind: 'resume', endpoint: id })
    }
    engine.network.script = sent => {
      this.#check(sent)
      return accepted()
    }
    for (const sent of engine.network.underWay) {
      await engine.end(sent, accepted())
    }
    // what is there is sent at once: no circuit is open, and all that waits was told so
    await engine.pass(SECOND)
    this.#noteEvents()
    this.#checkState()
    const { accepted: all, delivered, dead, pending } = engine.dispatcher.stats()
    expect({ pending, all }).toEqual({ pending: 0, all: delivered + dead + engine.discarded().length })
  }

  async close(): Promise<void> {
    await this.engine.close()
    expect(this.#calledBack.filter(count => count !== 1)).toEqual([])
  }

  #submit(name: string, number: number, phase: 'pre' | 'post', onFirstAttempt?: () => void): void {
    const lifetimeMs = phase === 'pre' ? { lifetimeMs: 5 * MINUTE } : {}
    this.engine.submit({ owner: name, key: `call ${number}`, phase, ...lifetimeMs }, onFirstAttempt)
  }

  #route(routes: ReadonlyMap<string, Destination>): void {
    this.#routes = new Map(routes)
    this.#holds.clear()
    const used = new Set([...routes.values()].map(to => to.endpoint))
    for (const id of this.#closed) {
      // a save enables; who is paused stays so, unless nobody is left there
      if (!used.has(id) || this.engine.dispatcher.stats().endpoints.get(id)?.health.isPaused !== true) {
        this.#closed.delete(id)
      }
    }
    this.engine.route(
      Object.fromEntries([...routes].map(([name, to]) => [name, routeTo(to.endpoint, { isPaused: to.isPaused })]))
    )
  }

  #meant(meant: Which): string[] {
    this.#noteEvents()
    return [...this.engine.submitted.values()]
      .filter(
        delivery =>
          (meant.by === 'index' && delivery.id === `d${meant.index}`) ||
          (meant.by === 'owner' && delivery.owner === meant.owner) ||
          (meant.by === 'endpoint' && this.#routes.get(delivery.owner)?.endpoint === meant.endpoint)
      )
      .map(({ id }) => id)
  }

  #noteOutcome({ endpoint: { id } }: Sent, result: AttemptOutcome): void {
    if (result.kind === 'answered' && result.retryAfterMs !== undefined) {
      const until = performance.now() + result.retryAfterMs
      this.#holds.set(originOf(id), Math.max(until, this.#holds.get(originOf(id)) ?? 0))
    }
    if (result.kind === 'answered' && result.status === 410) {
      this.#closed.add(id)
    }
  }

  /** What must be true of each request when it is made. */
  #check(sent: Sent): void {
    this.#noteEvents()
    const { id, endpoint: to } = sent
    const delivery = this.engine.submitted.get(id)!
    const route = this.#routes.get(delivery.owner)
    const wrong = (what: string): void => void this.#violations.push(`${id} was sent to ${to.id} ${what}`)
    if (route === undefined || route.endpoint !== to.id || route.isPaused) {
      wrong('though its hook does not want it')
    }
    if (this.#over.has(id) || this.#cancelled.has(id)) {
      wrong('though it was over or cancelled')
    }
    if (this.#closed.has(to.id)) {
      wrong('while that was disabled or paused')
    }
    if ((this.#holds.get(originOf(to.id)) ?? 0) > performance.now()) {
      wrong('while its origin was held back')
    }
    if (!delivery.order.leads) {
      for (const leader of this.engine.submitted.values()) {
        if (leader.order.leads && leader.order.key === delivery.order.key && this.#isInTheWay(leader.id, to.url)) {
          wrong(`before ${leader.id} had settled`)
        }
      }
    }
  }

  /** The leader is bound for this URL and its hook is enabled, or it is being sent there, whatever its hook says now. */
  #isInTheWay(leader: string, url: string): boolean {
    if (this.#over.has(leader)) {
      return false
    }
    const route = this.#routes.get(this.engine.submitted.get(leader)!.owner)
    const isBound = route !== undefined && !route.isPaused && endpointOf(route.endpoint).url === url
    return isBound || this.engine.network.underWay.some(sent => sent.id === leader && sent.endpoint.url === url)
  }

  #noteEvents(): void {
    for (const event of this.engine.events.slice(this.#seen)) {
      const id = event.type === 'dead' ? event.kept.id : endOf(event)
      if (id !== undefined) {
        this.#over.add(id)
      }
      if (event.type === 'dead') {
        this.#dead.add(event.kept.id)
      }
    }
    this.#seen = this.engine.events.length
  }

  #checkState(): void {
    expect(this.#violations).toEqual([])
    const { underWay } = this.engine.network
    const { pending, dead } = this.engine.dispatcher.stats()
    // what is under way is not discarded, and one is accepted before another gives way
    expect(pending + dead).toBeLessThanOrEqual(Math.max(MAX_PENDING, underWay.length) + 1)
    const urgent = this.#calledBack.length
    const lanes = new Set(underWay.map(sent => sent.endpoint.id)).size
    expect(underWay.length).toBeLessThanOrEqual(CONCURRENCY + lanes + urgent)
    expect(new Set(underWay.map(sent => sent.id)).size).toBe(underWay.length)
  }
}

function originOf(id: string): string {
  return new URL(endpointOf(id).url).origin
}

function selectionOf(meant: Which): { id?: string; owner?: string; endpoint?: string } {
  switch (meant.by) {
    case 'index':
      return { id: `d${meant.index}` }
    case 'owner':
      return { owner: meant.owner }
    case 'endpoint':
      return { endpoint: meant.endpoint }
    default:
      return meant satisfies never
  }
}

function withOwner(
  routes: ReadonlyMap<string, Destination>,
  name: string,
  to: Destination | undefined
): Map<string, Destination> {
  const changed = new Map(routes)
  if (to === undefined) {
    changed.delete(name)
  } else {
    changed.set(name, to)
  }
  return changed
}

it('whatever happens in whatever order, the books are right, calls are in order, and nothing is stuck', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), fc.boolean(), async (steps, isSettled) => {
      const model = new Model()
      for (const next of steps) {
        await model.run(next)
      }
      if (isSettled) {
        await model.settle()
      }
      await model.close()
    }),
    { numRuns: RUNS, seed: SEED }
  )
}, 600_000)
