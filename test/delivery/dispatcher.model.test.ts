import fc from 'fast-check'
import { expect, it } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { endOf, startEngine } from '../helpers/engine.ts'
import type { Engine, Sent } from '../helpers/engine.ts'
import { accepted, refused, timedOut, unreachable } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const OWNERS = ['a', 'b', 'c']
const MAX_PENDING = 30

/** What may happen next. */
type Step =
  | { readonly kind: 'submit'; readonly owner: string; readonly call: number; readonly phase: 'pre' | 'post' }
  | { readonly kind: 'urgent'; readonly owner: string; readonly call: number }
  | { readonly kind: 'flood'; readonly owner: string; readonly count: number }
  | { readonly kind: 'end'; readonly which: number; readonly outcome: AttemptOutcome }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'route'; readonly endpoints: readonly (string | undefined)[] }
  | { readonly kind: 'reconnect' }

const owner = fc.constantFrom(...OWNERS)
const outcome = fc.oneof(
  { weight: 4, arbitrary: fc.constant(accepted()) },
  fc.constantFrom(refused(503), refused(404), unreachable(), timedOut()),
  fc.integer({ min: 1, max: 10 * MINUTE }).map(retryAfterMs => refused(429, retryAfterMs))
)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('submit' as const),
      owner,
      call: fc.nat(5),
      phase: fc.constantFrom('pre' as const, 'post' as const),
    }),
  },
  fc.record({ kind: fc.constant('urgent' as const), owner, call: fc.nat(5) }),
  fc.record({ kind: fc.constant('flood' as const), owner, count: fc.integer({ min: 1, max: 20 }) }),
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(20), outcome }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(0, 1, 500, 5 * SECOND, MINUTE, 10 * MINUTE),
    }),
  },
  fc.record({
    kind: fc.constant('route' as const),
    endpoints: fc.tuple(...OWNERS.map(() => fc.constantFrom('x', 'y', 'z', undefined))),
  }),
  fc.constant<Step>({ kind: 'reconnect' })
)

/** What is known of a delivery that leads its call. */
interface Leader {
  readonly id: string
  readonly owner: string
  readonly call: string
}

/** The engine beside what must be true of it. */
class Model {
  readonly engine: Engine = startEngine({ maxPending: MAX_PENDING, concurrency: 12 })
  #routes: Readonly<Record<string, string>> = { a: 'x', b: 'y', c: 'x' }
  readonly #leaders: Leader[] = []
  readonly #ends = new Set<string>()
  /** How often each urgent delivery has been called back. */
  readonly #calledBack: number[] = []
  #seen = 0

  constructor() {
    this.engine.network.script = sent => {
      this.#checkOrder(sent)
      return undefined
    }
    this.engine.route(this.#routes)
  }

  async run(next: Step): Promise<void> {
    const { engine } = this
    switch (next.kind) {
      case 'submit':
        this.#submit(next.owner, next.call, next.phase)
        break
      case 'urgent': {
        const index = this.#calledBack.push(0) - 1
        this.#submit(next.owner, next.call, 'pre', () => {
          ++this.#calledBack[index]!
        })
        break
      }
      case 'flood':
        if (this.#routes[next.owner] !== undefined) {
          engine.submitMany(next.count, { owner: next.owner })
        }
        break
      case 'end': {
        const { underWay } = engine.network
        if (underWay.length > 0) {
          await engine.end(underWay[next.which % underWay.length], next.outcome)
        }
        break
      }
      case 'pass':
        await engine.pass(next.ms)
        break
      case 'route': {
        const routes = OWNERS.flatMap((name, index) => {
          const id = next.endpoints[index]
          return id === undefined ? [] : [[name, id] as const]
        })
        this.#routes = Object.fromEntries(routes)
        // the order of calls that move while they are pending is another test's
        this.#leaders.length = 0
        engine.route(this.#routes)
        break
      }
      case 'reconnect':
        // what is under way on the old sockets is another test's
        while (engine.network.underWay.length > 0) {
          await engine.end(engine.network.underWay[0], accepted())
        }
        engine.dispatcher.reconnect()
        break
      default:
        next satisfies never
    }
    this.#noteEnds()
    this.#checkBounds()
  }

  /** All goes well from now on, and all the time in the world passes: nothing may be stuck. */
  async settle(): Promise<void> {
    const { engine } = this
    engine.network.script = sent => {
      this.#checkOrder(sent)
      return accepted()
    }
    for (const sent of engine.network.underWay) {
      await engine.end(sent, accepted())
    }
    await engine.pass(30 * MINUTE)
    await engine.pass(24 * 60 * MINUTE)
    const { accepted: all, delivered, dead, pending } = engine.dispatcher.stats()
    expect({ pending, all }).toEqual({ pending: 0, all: delivered + dead + engine.discarded().length })
  }

  async close(): Promise<void> {
    await this.engine.close()
    expect(this.#calledBack.filter(count => count !== 1)).toEqual([])
  }

  #submit(owner: string, call: number, phase: 'pre' | 'post', onFirstAttempt?: () => void): void {
    const to = this.#routes[owner]
    if (to === undefined) {
      onFirstAttempt?.()
      return
    }
    const key = `call ${call}`
    const lifetimeMs = phase === 'pre' ? { lifetimeMs: 5 * MINUTE } : {}
    const id = `d${this.engine.submitted.size + 1}`
    if (phase === 'pre') {
      this.#leaders.push({ id, owner, call: key })
    }
    this.engine.submit({ owner, key, phase, ...lifetimeMs }, onFirstAttempt)
  }

  /** No leader of the same call that was accepted earlier is pending at the same endpoint. */
  #checkOrder(sent: Sent): void {
    this.#noteEnds()
    const delivery = this.engine.submitted.get(sent.id)
    if (delivery === undefined || delivery.order.leads) {
      return
    }
    const earlier = Number(sent.id.slice(1))
    const inTheWay = this.#leaders.filter(
      ({ id, owner, call }) =>
        call === delivery.order.key &&
        this.#routes[owner] === sent.endpoint.id &&
        Number(id.slice(1)) < earlier &&
        !this.#ends.has(id)
    )
    // a request that fails to be in order is thrown out of `send`, where nobody would hear of it
    this.#violations.push(...inTheWay.map(({ id }) => `${sent.id} was sent before ${id} had settled`))
  }

  readonly #violations: string[] = []

  #noteEnds(): void {
    for (const event of this.engine.events.slice(this.#seen)) {
      const id = event.type === 'dead' ? event.delivery.id : endOf(event)
      if (id !== undefined) {
        this.#ends.add(id)
      }
    }
    this.#seen = this.engine.events.length
  }

  #checkBounds(): void {
    expect(this.#violations).toEqual([])
    const { underWay } = this.engine.network
    const { pending } = this.engine.dispatcher.stats()
    expect(pending).toBeLessThanOrEqual(MAX_PENDING)
    const urgent = this.#calledBack.length
    expect(underWay.length).toBeLessThanOrEqual(12 + urgent)
    for (const id of ['x', 'y', 'z']) {
      expect(underWay.filter(({ endpoint }) => endpoint.id === id).length).toBeLessThanOrEqual(urgent === 0 ? 8 : 16)
    }
    expect(new Set(underWay.map(sent => sent.id)).size).toBe(underWay.length)
  }
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
    { numRuns: 600 }
  )
}, 30_000)
