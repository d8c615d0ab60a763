import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import type { DispatcherEvent } from '../../src/delivery/options.ts'
import { RETRY_SCHEDULE_MS } from '../../src/delivery/retry.ts'
import { headerOf, routeTo, startEngine } from '../helpers/engine.ts'
import { accepted, refused, timedOut, unreachable } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const PRE = { phase: 'pre', lifetimeMs: 5 * MINUTE } as const

/** What is waited after each failure with the dice of the tests, which show one half. */
const WAITS = RETRY_SCHEDULE_MS.map(delayMs => (delayMs <= 5 * SECOND ? delayMs / 2 : delayMs))

describe('a delivery', () => {
  it('is sent on the next turn of the loop, not on the tick of whoever submits it', async () => {
    const engine = startEngine()
    const id = engine.submit()
    expect(engine.network.sent).toEqual([])
    expect(engine.dispatcher.stats()).toMatchObject({ accepted: 1, pending: 1 })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual([id])
    await engine.pass(1)
    const tally = { accepted: 1, delivered: 1, pending: 0, dead: 0, discarded: {} }
    const { endpoints, ...total } = engine.dispatcher.stats()
    expect(total).toEqual(tally)
    expect([...endpoints]).toMatchObject([['a', { ...tally, health: { circuit: { name: 'closed' } } }]])
    await engine.close()
  })

  it('is tried again when the schedule says so, 13 times, and then is dead', async () => {
    const engine = startEngine()
    engine.network.script = () => unreachable()
    const id = engine.submit()
    await engine.pass(100 * HOUR)

    const expected = [0]
    for (const waitMs of WAITS) {
      expected.push(expected.at(-1)! + 1 + waitMs)
    }
    const start = engine.network.sent[0]!.at
    expect(engine.network.sent.map(sent => sent.at - start)).toEqual(expected)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 0, dead: 1 })
    expect(engine.events.filter(({ type }) => type === 'dead')).toMatchObject([
      { kept: { id }, endpoint: { id: 'a' }, attempt: { number: 13, trigger: 'retry' } },
    ])
    await engine.close()
  })

  it('is the same on every attempt, but for the number and the time of the attempt', async () => {
    const engine = startEngine()
    vi.setSystemTime(1_700_000_000_500)
    engine.network.script = ({ number }) => (number < 4 ? timedOut() : accepted())
    const id = engine.submit()
    await engine.pass(MINUTE)

    const requests = engine.network.sent.map(({ request }) => request)
    expect(requests.map(request => headerOf(request, 'X-XO-Attempt'))).toEqual(['1', '2', '3', '4'])
    expect(requests.map(request => Number(headerOf(request, 'webhook-timestamp')) - 1_700_000_000)).toEqual([
      0, 1, 3, 33,
    ])
    for (const request of requests) {
      expect(headerOf(request, 'webhook-id')).toBe(id)
      expect(headerOf(request, 'X-XO-Delivery')).toBe(id)
      expect(headerOf(request, 'X-XO-Hook')).toBe('a')
      expect(request.headers).toHaveLength(10)
      expect(request.contentType).toBe('application/json')
      expect(request.body.toString()).toBe('d1d1d1d1d1')
    }
    await engine.close()
  })

  it('tells of each attempt', async () => {
    const engine = startEngine()
    vi.setSystemTime(5_000)
    engine.network.script = ({ number }) => (number < 2 ? refused(503) : accepted(204))
    engine.submit()
    await engine.pass(SECOND)
    expect(engine.events.filter(({ type }) => type !== 'safe')).toMatchObject([
      {
        type: 'attempted',
        kept: { id: 'd1' },
        endpoint: { id: 'a' },
        attempt: { number: 1, trigger: 'event', startedAt: 5_000, durationMs: 1, outcome: { status: 503 } },
      },
      { type: 'attempted', attempt: { number: 2, trigger: 'retry', startedAt: 5_501, outcome: { status: 204 } } },
    ])
    await engine.close()
  })

  it('for a hook that is gone is accepted, and discarded', async () => {
    const engine = startEngine()
    const onFirstAttempt = vi.fn()
    engine.submit({ owner: 'nobody' }, onFirstAttempt)
    expect(onFirstAttempt).toHaveBeenCalledExactlyOnceWith(undefined)
    expect(engine.discarded()).toEqual(['d1: hook removed'])
    expect(engine.dispatcher.stats()).toMatchObject({ accepted: 1, discarded: { 'hook removed': 1 } })
    await engine.close()
  })

  it('that is handed over again while it is kept is the same one', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    const id = engine.submit()
    engine.dispatcher.submit(engine.submitted.get(id)!)
    await engine.pass(0)
    engine.dispatcher.submit(engine.submitted.get(id)!)
    await engine.pass(0)
    expect(engine.idsSent()).toEqual([id])
    await engine.close()
  })

  it('is not disturbed by jumps of the wall clock', async () => {
    const engine = startEngine()
    engine.network.script = ({ number }) => (number < 5 ? unreachable() : accepted())
    engine.submit({ ...PRE })
    for (const jump of [10 * HOUR, -300 * HOUR, 5_000 * HOUR, 0]) {
      vi.setSystemTime(1_700_000_000_000 + jump)
      await engine.pass(SECOND)
    }
    await engine.pass(3 * MINUTE)
    const start = engine.network.sent[0]!.at
    expect(engine.network.sent.map(sent => sent.at - start)).toEqual([0, 501, 3_002, 33_003, 153_004])
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, discarded: {} })
    await engine.close()
  })

  it('that is tested goes apart from all others, once, and is not counted', async () => {
    const engine = startEngine()
    await engine.openCircuit()
    engine.network.script = () => refused(500)
    const tested = engine.dispatcher.controls.test(deliveryLike, routeTo('a'))
    await engine.pass(1)
    expect(await tested).toMatchObject({
      number: 1,
      trigger: 'test',
      outcome: { kind: 'answered', ok: false, status: 500 },
    })
    expect(engine.network.open).toBe(1)
    await engine.close()
  })
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
const realSetImmediate = setImmediate
/** What a WeakRef refers to is held until the turn of the loop is over. */
const untilReleased = (): Promise<void> => new Promise(resolve => realSetImmediate(resolve))

const deliveryLike = {
  id: 'test',
  owner: 'a',
  label: 'vm.start success',
  payload: { contentType: 'text/plain', body: Buffer.from('x') },
  headers: [],
  order: { key: 'test', leads: false },
  get acceptedAt() {
    return Date.now()
  },
}

describe('Retry-After', () => {
  it('holds the whole lane, and no other', async () => {
    const engine = startEngine()
    engine.route({ a: 'a', b: 'b' })
    engine.network.script = ({ id }) => (id === 'd1' ? refused(429, MINUTE) : accepted())
    engine.submit()
    await engine.pass(1)
    engine.network.script = () => accepted()
    engine.submitMany(3)
    engine.submit({ owner: 'b' })
    await engine.pass(MINUTE - 1)
    expect(engine.idsSent()).toEqual(['d1', 'd5'])
    await engine.pass(1)
    expect(engine.idsSent().sort()).toEqual(['d1', 'd1', 'd2', 'd3', 'd4', 'd5'])
    await engine.close()
  })

  it('is held until the last one that was asked for', async () => {
    const engine = startEngine()
    const asked = [30 * SECOND, 60 * SECOND, 10 * SECOND]
    engine.network.script = ({ number, id }) =>
      number === 1 ? refused(503, asked[Number(id.slice(1)) - 1]) : accepted()
    engine.submitMany(3)
    await engine.pass(MINUTE)
    expect(engine.network.sent).toHaveLength(3)
    await engine.pass(2)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 3 })
    await engine.close()
  })

  it('is not charged: all 13 attempts of the schedule are left', async () => {
    const engine = startEngine()
    engine.network.script = ({ number }) => (number <= 4 ? refused(503, MINUTE) : refused(503))
    engine.submit()
    await engine.pass(100 * HOUR)
    expect(engine.network.sent).toHaveLength(4 + 13)
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 1, pending: 0 })
    await engine.close()
  })

  it('ends a delivery after 96 hours', async () => {
    const engine = startEngine()
    engine.network.script = () => refused(429, HOUR)
    engine.submit()
    await engine.pass(95 * HOUR)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 1 })
    await engine.pass(HOUR)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 0, dead: 1 })
    await engine.close()
  })

  it('does not keep a delivery that expires meanwhile', async () => {
    const engine = startEngine()
    engine.network.script = () => refused(503, HOUR)
    engine.submit(PRE)
    await engine.pass(5 * MINUTE)
    expect(engine.discarded()).toEqual(['d1: expired'])
    expect(engine.network.sent).toHaveLength(1)
    await engine.close()
  })
})

describe('the order of a call', () => {
  it('is kept at an endpoint: post waits until pre has settled', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submit({ ...PRE, key: 'call' })
    engine.submit({ key: 'call' })
    engine.submit({ key: 'another' })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual(['d1', 'd3'])
    await engine.end(engine.network.sent[0], refused(503))
    await engine.pass(499)
    expect(engine.idsSent()).toEqual(['d1', 'd3'])
    await engine.pass(1)
    expect(engine.idsSent()).toEqual(['d1', 'd3', 'd1'])
    await engine.end(engine.network.sent[2], accepted())
    expect(engine.idsSent()).toEqual(['d1', 'd3', 'd1', 'd2'])
    await engine.close()
  })

  it('is kept across two hooks: post waits until the pre of both have settled', async () => {
    const engine = startEngine()
    engine.route({ a: 'shared', b: 'shared' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, key: 'call', owner: 'a' })
    engine.submit({ ...PRE, key: 'call', owner: 'b' })
    engine.submit({ key: 'call', owner: 'b' })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual(['d1', 'd2'])
    await engine.end(engine.network.sent[1], accepted())
    expect(engine.idsSent()).toEqual(['d1', 'd2'])
    await engine.end(engine.network.sent[0], accepted())
    expect(engine.idsSent()).toEqual(['d1', 'd2', 'd3'])
    await engine.close()
  })

  it('is none between endpoints', async () => {
    const engine = startEngine()
    engine.route({ a: 'a', b: 'b' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, key: 'call', owner: 'a' })
    engine.submit({ key: 'call', owner: 'b' })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual(['d1', 'd2'])
    await engine.close()
  })

  it('does not outlive the pre: it expires, or is dead, and post goes', async () => {
    const engine = startEngine()
    engine.network.script = ({ id }) => (id === 'd1' ? unreachable() : accepted())
    engine.submit({ ...PRE, key: 'call' })
    engine.submit({ key: 'call' })
    await engine.pass(153_003)
    expect(engine.idsSent()).toEqual(['d1', 'd1', 'd1', 'd1', 'd1'].slice(0, engine.network.sent.length))
    expect(engine.discarded()).toEqual([])
    // the next try would come too late
    await engine.pass(2)
    expect(engine.discarded()).toEqual(['d1: expired'])
    await engine.pass(5 * SECOND)
    expect(engine.idsSent()).toEqual(['d1', 'd1', 'd1', 'd1', 'd1', 'd2'])

    engine.network.script = ({ id }) => (id === 'd3' ? refused(404) : accepted())
    engine.submit({ phase: 'pre', key: 'other' })
    engine.submit({ key: 'other' })
    await engine.pass(42 * MINUTE)
    expect(engine.idsSent()).not.toContain('d4')
    await engine.pass(2 * MINUTE)
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 1, pending: 0, delivered: 2 })
    await engine.close()
  })

  it('lets a pre expire that was never sent, at the minute, though its circuit is open', async () => {
    const engine = startEngine()
    engine.network.script = () => unreachable()
    engine.submitMany(5)
    await engine.pass(2)
    expect(engine.circuit()).toBe('open')
    engine.submit({ phase: 'pre', lifetimeMs: 3_000, key: 'call' })
    await engine.pass(2_999)
    expect(engine.discarded()).toEqual([])
    await engine.pass(1)
    expect(engine.discarded()).toEqual(['d6: expired'])
    await engine.close()
  })

  it('holds for what waits, not for what comes: a retry of post is not held by a later call', async () => {
    const engine = startEngine()
    engine.network.script = ({ id, number }) => (id === 'd1' && number === 1 ? refused(503) : accepted())
    engine.submit({ key: 'call' })
    await engine.pass(600)
    expect(engine.idsSent()).toEqual(['d1', 'd1'])
    await engine.close()
  })
})

describe('requests at once', () => {
  it('are at most 8 to an endpoint', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(20)
    await engine.pass(MINUTE)
    expect(engine.network.underWay).toHaveLength(8)
    await engine.end(engine.network.underWay[3], accepted())
    expect(engine.network.underWay).toHaveLength(8)
    expect(engine.network.sent).toHaveLength(9)
    await engine.close()
  })

  it('are at most 64 over all beside the first of each endpoint, and the endpoints take turns', async () => {
    const engine = startEngine()
    const owners = Array.from({ length: 12 }, (_, index) => `o${index}`)
    engine.route(Object.fromEntries(owners.map(owner => [owner, owner])))
    engine.network.script = () => undefined
    for (const owner of owners) {
      engine.submitMany(20, { owner })
    }
    await engine.pass(0)
    expect(engine.network.underWay).toHaveLength(64 + 12)
    const perEndpoint = owners.map(id => engine.network.underWay.filter(sent => sent.endpoint.id === id).length)
    expect(Math.min(...perEndpoint)).toBe(6)
    expect(Math.max(...perEndpoint)).toBe(7)

    for (let i = 0; i < 48; ++i) {
      await engine.end(engine.network.underWay[0], accepted())
      expect(engine.network.underWay).toHaveLength(64 + 12)
    }
    const sentTo = owners.map(id => engine.network.sent.filter(sent => sent.endpoint.id === id).length)
    expect(Math.max(...sentTo) - Math.min(...sentTo)).toBeLessThanOrEqual(1)
    await engine.close()
  })

  it('are as many as was said, beside the one that each endpoint has of its own', async () => {
    const engine = startEngine({ concurrency: 3 })
    engine.route({ a: 'a', b: 'b', c: 'c' })
    engine.network.script = () => undefined
    engine.submitMany(10)
    await engine.pass(0)
    expect(engine.network.underWay).toHaveLength(1 + 3)
    engine.submitMany(5, { owner: 'b' })
    engine.submitMany(5, { owner: 'c' })
    await engine.pass(0)
    expect(engine.network.underWay.map(({ endpoint }) => endpoint.id).join('')).toBe('aaaabc')
    await engine.end(engine.network.underWay[0], accepted())
    expect(engine.network.underWay).toHaveLength(6)
    await engine.close()
  })

  it('that take all common places leave each endpoint its own: a slow receiver delays no healthy one', async () => {
    const engine = startEngine()
    const slow = Array.from({ length: 10 }, (_, index) => `slow${index}`)
    engine.route({ ...Object.fromEntries(slow.map(id => [id, id])), b: 'b' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'b' ? accepted() : undefined)
    for (const owner of slow) {
      engine.submitMany(100, { owner })
    }
    await engine.pass(10)
    expect(engine.network.underWay).toHaveLength(64 + 10)
    const at = performance.now()
    engine.submitMany(20, { owner: 'b' })
    await engine.pass(100)
    const sent = engine.network.sent.filter(({ endpoint }) => endpoint.id === 'b')
    expect(sent).toHaveLength(20)
    expect(sent.at(-1)!.at - at).toBeLessThanOrEqual(20)
    await engine.close()
  })

  it('to a silent endpoint do not delay another', async () => {
    const engine = startEngine()
    engine.route({ a: 'silent', b: 'b' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'silent' ? undefined : accepted())
    engine.submitMany(1_000, { owner: 'a' })
    const submittedAt = performance.now()
    const ids = engine.submitMany(50, { owner: 'b' })
    await engine.pass(20)
    const sent = engine.network.sent.filter(({ id }) => ids.includes(id))
    expect(sent).toHaveLength(50)
    expect(Math.max(...sent.map(({ at }) => at))).toBeLessThanOrEqual(submittedAt + 10)
    await engine.close()
  })
})

describe('an urgent delivery', () => {
  it('goes at once, ahead of a backlog and though all places are taken', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(50)
    await engine.pass(0)
    const onFirstAttempt = vi.fn()
    const id = engine.submit(PRE, onFirstAttempt)
    expect(engine.idsSent().at(-1)).toBe(id)
    expect(onFirstAttempt).not.toHaveBeenCalled()
    await engine.end(engine.network.sent.at(-1), accepted())
    expect(onFirstAttempt).toHaveBeenCalledTimes(1)
    await engine.close()
  })

  it('is called back once, after its first attempt, whatever that comes to', async () => {
    const engine = startEngine()
    engine.network.script = ({ number }) => (number === 1 ? unreachable() : accepted())
    const onFirstAttempt = vi.fn()
    engine.submit(PRE, onFirstAttempt)
    await engine.pass(0)
    expect(onFirstAttempt).not.toHaveBeenCalled()
    await engine.pass(1)
    expect(onFirstAttempt).toHaveBeenCalledTimes(1)
    await engine.pass(MINUTE)
    expect(engine.network.sent).toHaveLength(2)
    expect(onFirstAttempt).toHaveBeenCalledTimes(1)
    await engine.close()
  })

  it('doubles the requests at once, at most; then it waits, ahead of the others', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(20)
    await engine.pass(0)
    const urgent = Array.from({ length: 10 }, () => engine.submit(PRE, () => {}))
    await engine.pass(0)
    expect(engine.network.underWay).toHaveLength(16)
    expect(engine.idsSent().slice(8)).toEqual(urgent.slice(0, 8))
    for (const sent of engine.network.underWay.slice(0, 9)) {
      await engine.end(sent, accepted())
    }
    expect(engine.idsSent().slice(16)).toEqual(urgent.slice(8, 9))
    await engine.end(engine.network.underWay[0], accepted())
    expect(engine.idsSent().slice(16)).toEqual(urgent.slice(8))
    await engine.close()
  })

  it('is called back at once where the circuit is open, and goes when it is its turn', async () => {
    const engine = startEngine()
    await engine.openCircuit()
    const onFirstAttempt = vi.fn()
    const id = engine.submit(PRE, onFirstAttempt)
    expect(onFirstAttempt).toHaveBeenCalledTimes(1)
    expect(engine.idsSent()).not.toContain(id)
    await engine.pass(MINUTE)
    expect(engine.idsSent()).toContain(id)
    expect(onFirstAttempt).toHaveBeenCalledTimes(1)
    await engine.close()
  })

  it('is called back at once where the receiver has asked to wait', async () => {
    const engine = startEngine()
    engine.network.script = ({ number }) => (number === 1 ? refused(503, MINUTE) : accepted())
    engine.submit()
    await engine.pass(1)
    const onFirstAttempt = vi.fn()
    engine.submit(PRE, onFirstAttempt)
    expect(onFirstAttempt).toHaveBeenCalledTimes(1)
    expect(engine.network.sent).toHaveLength(1)
    await engine.close()
  })

  it('is called back when it is discarded', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    const calls: string[] = []
    for (let i = 0; i < 18; ++i) {
      engine.submit(PRE, () => calls.push(`d${i + 1}`))
    }
    engine.route({})
    expect(calls).toEqual(['d17', 'd18'])
    await engine.close()
    expect(calls).toHaveLength(18)
    expect(new Set(calls).size).toBe(18)
  })

  it('is called back at once where there is no room for it, and after the end', async () => {
    const engine = startEngine({ maxBytes: 100 })
    const onFirstAttempt = vi.fn()
    engine.submit({ bytes: 101 }, onFirstAttempt)
    expect(onFirstAttempt).toHaveBeenCalledTimes(1)
    expect(engine.discarded()).toEqual(['d1: queue full'])
    await engine.close()
    engine.submit({}, onFirstAttempt)
    expect(onFirstAttempt).toHaveBeenCalledTimes(2)
  })
})

describe('the bounds', () => {
  it('in number discard the newest of the endpoint that takes most', async () => {
    const engine = startEngine({ maxPending: 10 })
    engine.route({ big: 'big', small: 'small' })
    engine.submitMany(2, { owner: 'small' })
    engine.submitMany(8, { owner: 'big' })
    expect(engine.discarded()).toEqual([])
    engine.submit({ owner: 'small' })
    expect(engine.discarded()).toEqual(['d10: queue full'])
    engine.submit({ owner: 'big' })
    expect(engine.discarded()).toEqual(['d10: queue full', 'd12: queue full'])
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 10, discarded: { 'queue full': 2 } })
    expect(engine.dispatcher.stats().endpoints.get('small')).toMatchObject({ pending: 3, discarded: {} })
    await engine.close()
  })

  it('in bytes do, too', async () => {
    const engine = startEngine({ maxBytes: 1_000 })
    engine.route({ big: 'big', small: 'small' })
    engine.submitMany(20, { owner: 'small', bytes: 10 })
    engine.submitMany(2, { owner: 'big', bytes: 400 })
    expect(engine.discarded()).toEqual([])
    engine.submit({ owner: 'small', bytes: 10 })
    expect(engine.discarded()).toEqual(['d22: queue full'])
    engine.submit({ owner: 'big', bytes: 900 })
    expect(engine.discarded()).toEqual(['d22: queue full', 'd24: queue full'])
    await engine.close()
  })

  it('take as many as it needs', async () => {
    const engine = startEngine({ maxBytes: 1_000 })
    engine.route({ a: 'a', b: 'b' })
    engine.submitMany(20, { owner: 'a', bytes: 45 })
    engine.submit({ owner: 'b', bytes: 400 })
    // one on the tick of whoever submits, the rest a moment later
    expect(engine.discarded()).toEqual(['d20: queue full'])
    engine.network.script = () => undefined
    await engine.pass(0)
    const numbers = [20, 19, 18, 17, 16, 15, 14]
    expect(engine.discarded()).toEqual(numbers.map(number => `d${number}: queue full`))
    await engine.close()
  })

  it('give back the room of what is settled', async () => {
    const engine = startEngine({ maxPending: 10, maxBytes: 100 })
    for (let i = 0; i < 20; ++i) {
      engine.submitMany(10)
      await engine.pass(5)
    }
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 200, discarded: {} })
    await engine.close()
  })

  it('never discard what is under way', async () => {
    const engine = startEngine({ maxPending: 8 })
    engine.network.script = () => undefined
    engine.submitMany(8)
    await engine.pass(0)
    engine.submit()
    expect(engine.discarded()).toEqual(['d9: queue full'])
    expect(engine.network.underWay).toHaveLength(8)
    await engine.close()
  })

  it('spare a small endpoint that fails as well as one that is well', async () => {
    const engine = startEngine({ maxPending: 100 })
    engine.route({ flood: 'flood', small: 'small' })
    engine.network.script = () => undefined
    for (let i = 0; i < 40; ++i) {
      engine.submitMany(10, { owner: 'flood' })
      engine.submit({ owner: 'small' })
      await engine.pass(0)
    }
    expect(engine.dispatcher.stats().endpoints.get('small')?.discarded).toEqual({})
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 100 })
    await engine.close()
  })

  it('release the post of a pre that is discarded', async () => {
    const engine = startEngine({ maxPending: 2 })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, key: 'call' })
    engine.submit({ key: 'call' })
    engine.submit()
    await engine.pass(0)
    expect(engine.dispatcher.stats().pending).toBe(2)
    await engine.close()
  })

  it('are kept, though the endpoint that takes most has nothing left to discard', async () => {
    const engine = startEngine({ maxPending: 8 })
    engine.route({ busy: 'busy', a: 'a', b: 'b' })
    engine.network.script = () => undefined
    engine.submitMany(5, { owner: 'busy' })
    await engine.pass(0)
    engine.submitMany(2, { owner: 'a' })
    engine.submitMany(2, { owner: 'b' })
    expect(engine.discarded()).toHaveLength(1)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 8 })
    await engine.close()
  })
})

describe('the circuit breaker', () => {
  const circuits = (events: readonly DispatcherEvent[]): string[] =>
    events.flatMap(event => (event.type === 'health' ? event.change : []))

  it('parks what is pending, which spends no attempt, and probes with one', async () => {
    const engine = startEngine()
    await engine.openCircuit()
    engine.network.script = () => undefined
    const ids = engine.submitMany(20)
    await engine.pass(4_999)
    expect(engine.network.sent).toHaveLength(5)
    await engine.pass(1)
    expect(engine.network.underWay).toHaveLength(1)
    expect(ids).toContain(engine.network.underWay[0]?.id)
    expect(engine.circuit()).toBe('half-open')
    expect(circuits(engine.events)).toEqual(['failing'])
    await engine.close()
  })

  it('closes with the probe, and then lets one more go with each success, up to 8', async () => {
    const engine = startEngine()
    await engine.openCircuit()
    engine.network.script = () => undefined
    engine.submitMany(60)
    await engine.pass(5 * SECOND)
    const atOnce: number[] = []
    for (let i = 0; i < 12; ++i) {
      atOnce.push(engine.network.underWay.length)
      await engine.end(engine.network.underWay[0], accepted())
    }
    expect(atOnce).toEqual([1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8])
    expect(circuits(engine.events)).toEqual(['failing', 'recovered'])
    await engine.close()
  })

  it('waits twice as long each time the probe fails, up to 5 min', async () => {
    const engine = startEngine()
    engine.network.script = () => refused(503)
    engine.submitMany(300)
    await engine.pass(30 * MINUTE)
    const probes = engine.network.sent.filter(({ at }) => at > engine.network.sent[0]!.at + SECOND).map(({ at }) => at)
    const waits = probes.slice(1).map((at, index) => Math.round((at - probes[index]!) / SECOND))
    expect(waits.slice(0, 8)).toEqual([10, 20, 40, 80, 160, 300, 300, 300])
    await engine.close()
  })

  it('is not opened longer by those under way when it opened, and waits for them before it probes', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(8)
    await engine.pass(0)
    for (const sent of engine.network.underWay.slice(0, 5)) {
      await engine.end(sent, refused(500))
    }
    engine.submit()
    expect(engine.circuit()).toBe('open')
    await engine.pass(4_000)
    await engine.end(engine.network.underWay[0], refused(500))
    await engine.end(engine.network.underWay[0], refused(500))
    await engine.pass(1_000)
    expect(engine.circuit()).toBe('half-open')
    expect(engine.network.sent).toHaveLength(8)
    await engine.end(engine.network.underWay[0], refused(500))
    expect(engine.network.sent).toHaveLength(9)
    expect(engine.network.underWay).toHaveLength(1)
    await engine.close()
  })

  it('is of one endpoint', async () => {
    const engine = startEngine()
    engine.route({ a: 'a', b: 'b' })
    await engine.openCircuit()
    const id = engine.submit({ owner: 'b' })
    await engine.pass(0)
    expect(engine.idsSent()).toContain(id)
    await engine.close()
  })

  it('is shared by two hooks of one endpoint', async () => {
    const engine = startEngine()
    engine.route({ a: 'a', b: 'a' })
    await engine.openCircuit()
    const id = engine.submit({ owner: 'b' })
    await engine.pass(4_999)
    expect(engine.idsSent()).not.toContain(id)
    await engine.close()
  })

  it('lets fresh deliveries go ahead of old retries, but gives those every fourth turn', async () => {
    const engine = startEngine({ concurrency: 0 })
    engine.network.script = ({ number }) => (number === 1 ? refused(503) : accepted())
    engine.submitMany(4)
    await engine.pass(4)
    engine.network.script = () => undefined
    engine.submit()
    await engine.pass(MINUTE)
    await engine.end(engine.network.underWay[0], accepted())
    const fresh = engine.submitMany(40)
    for (let i = 0; i < 20; ++i) {
      await engine.end(engine.network.underWay[0], accepted())
    }
    const order = engine.idsSent().slice(6, 21)
    expect(order.map(id => (fresh.includes(id) ? 'f' : 'r')).join('')).toBe('fffrfffrfffrfff')
    expect(order.filter(id => fresh.includes(id))).toEqual(fresh.slice(0, 12))
    await engine.close()
  })
})

describe('reconfiguring', () => {
  it('keeps what is queued', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(20)
    await engine.pass(0)
    engine.route({ a: 'a', b: 'b' })
    expect(engine.network.opened.filter(({ id }) => id === 'a')).toHaveLength(1)
    engine.network.script = () => accepted()
    for (const sent of engine.network.underWay) {
      await engine.end(sent, accepted())
    }
    await engine.pass(10)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 20, pending: 0, discarded: {} })
    expect(engine.network.sent).toHaveLength(20)
    await engine.close()
  })

  it('moves what is queued, waiting or held to the new endpoint, in order, with its attempts; none waits for the old one', async () => {
    const engine = startEngine()
    engine.network.script = ({ id }) => (id === 'd1' || id === 'd2' ? refused(503) : undefined)
    engine.submit()
    engine.submit({ ...PRE, key: 'call' })
    engine.submit({ key: 'call' })
    await engine.pass(10)
    engine.network.script = () => accepted()
    engine.route({ a: 'new' })
    expect(engine.network.open).toBe(1)
    expect([...engine.dispatcher.stats().endpoints]).toMatchObject([['new', { accepted: 3, pending: 3 }]])
    await engine.pass(2)
    const moved = engine.network.sent.slice(2).map(({ id, number, endpoint }) => `${id} ${number} ${endpoint.id}`)
    expect([...moved].sort()).toEqual(['d1 2 new', 'd2 2 new', 'd3 1 new'])
    expect(moved[2]).toBe('d3 1 new')
    await engine.close()
  })

  it('discards what has no owner any more, at once where it is idle', async () => {
    const engine = startEngine()
    engine.route({ a: 'shared', b: 'shared' })
    engine.network.script = () => undefined
    engine.submitMany(8, { owner: 'a' })
    await engine.pass(0)
    engine.submitMany(2, { owner: 'a' })
    engine.submitMany(2, { owner: 'b' })
    engine.route({ b: 'shared' })
    expect(engine.discarded()).toEqual(['d9: hook removed', 'd10: hook removed'])
    await engine.end(engine.network.sent[0], accepted())
    await engine.end(engine.network.sent[1], refused(503))
    expect(engine.discarded()).toEqual(['d9: hook removed', 'd10: hook removed', 'd2: hook removed'])
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, discarded: { 'hook removed': 3 } })
    await engine.close()
  })

  it('discards what is held, and does not bring it back with the end of what held it', async () => {
    const engine = startEngine()
    engine.route({ a: 'shared', b: 'shared' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, key: 'call', owner: 'a' })
    engine.submit({ key: 'call', owner: 'b' })
    await engine.pass(0)
    engine.route({ a: 'shared' })
    expect(engine.discarded()).toEqual(['d2: hook removed'])
    await engine.end(engine.network.sent[0], accepted())
    expect(engine.idsSent()).toEqual(['d1'])
    await engine.close()
  })

  it('closes the sockets of an endpoint that nobody uses once nothing is under way there', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submit()
    await engine.pass(0)
    engine.route({})
    expect(engine.network.open).toBe(1)
    await engine.end(engine.network.sent[0], accepted())
    expect(engine.network.open).toBe(0)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, endpoints: new Map() })
    await engine.close()
  })

  it('there and back again loses and doubles nothing', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(12)
    await engine.pass(0)
    for (let i = 0; i < 5; ++i) {
      engine.route({ a: 'b' })
      engine.route({ a: 'a' })
    }
    await engine.pass(0)
    expect(engine.network.underWay).toHaveLength(8)
    engine.network.script = () => accepted()
    for (const sent of engine.network.underWay) {
      await engine.end(sent, accepted())
    }
    await engine.pass(10)
    expect(engine.dispatcher.stats()).toMatchObject({ accepted: 12, delivered: 12 })
    expect(engine.network.sent).toHaveLength(12)
    await engine.close()
  })

  it('sends what fails under way to the new endpoint, at once: it is not that one that failed', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submit()
    await engine.pass(0)
    engine.route({ a: 'new' })
    await engine.end(engine.network.sent[0], refused(503, HOUR))
    expect(engine.network.open).toBe(1)
    await engine.pass(0)
    expect(engine.network.sent[1]).toMatchObject({ id: 'd1', number: 2, endpoint: { id: 'new' } })
    await engine.close()
  })

  it('has room for what it moves', async () => {
    const engine = startEngine({ maxPending: 10 })
    engine.network.script = () => undefined
    engine.submitMany(10)
    engine.route({ a: 'new' })
    expect(engine.discarded()).toEqual([])
    engine.submit()
    expect(engine.discarded()).toHaveLength(1)
    await engine.close()
  })

  it('keeps the order of a call whatever the wall clock has done', async () => {
    const engine = startEngine()
    engine.network.script = ({ id, number }) => (id === 'd1' && number === 1 ? refused(503) : accepted())
    engine.submit({ ...PRE, key: 'call' })
    await engine.pass(1)
    vi.setSystemTime(Date.now() - HOUR)
    engine.submit({ key: 'call' })
    engine.route({ a: 'new' })
    await engine.pass(SECOND)
    expect(engine.idsSent()).toEqual(['d1', 'd1', 'd2'])
    await engine.close()
  })

  it('keeps the order of a call where two endpoints become one', async () => {
    const engine = startEngine()
    engine.route({ a: 'a', b: 'b' })
    engine.submit({ owner: 'b' })
    engine.network.script = () => undefined
    const pre = engine.submit({ ...PRE, key: 'call', owner: 'a' })
    const post = engine.submit({ key: 'call', owner: 'b' })
    engine.route({ a: 'new', b: 'new' })
    await engine.pass(0)
    expect(engine.idsSent()).toContain(pre)
    expect(engine.idsSent()).not.toContain(post)
    await engine.close()
  })

  it('lets what it moves expire in time', async () => {
    const engine = startEngine()
    engine.route({ a: 'a', b: 'b' })
    await engine.openCircuit('a')
    await engine.openCircuit('b')
    engine.network.script = () => undefined
    engine.submit({ owner: 'a', phase: 'pre', lifetimeMs: 2_000 })
    await engine.pass(1_000)
    engine.submit({ owner: 'b', phase: 'pre', lifetimeMs: 2_000 })
    engine.route({ a: 'b', b: 'b' })
    await engine.pass(1_000)
    expect(engine.discarded().filter(text => text.endsWith('expired'))).toHaveLength(1)
    await engine.close()
  })
})

describe('reconnecting', () => {
  it('sends what follows through new sockets, and lets the old ones end', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submit()
    await engine.pass(0)
    engine.dispatcher.reconnect()
    expect(engine.network.open).toBe(1)
    engine.submit()
    await engine.pass(0)
    expect(engine.network.sent.map(({ connection }) => connection)).toEqual([1, 2])
    await engine.end(engine.network.sent[0], accepted())
    await engine.end(engine.network.sent[1], accepted())
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 2 })
    await engine.close()
  })

  it('does not keep requests on the old ones out of reach of the end', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submit()
    await engine.pass(0)
    engine.dispatcher.reconnect()
    const closed = vi.fn()
    void engine.dispatcher.close(SECOND).then(closed)
    await engine.pass(SECOND)
    expect(closed).toHaveBeenCalledTimes(1)
  })
})

describe('the end', () => {
  it('lets requests under way end within the grace, and stops the rest at once', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(12)
    engine.submit({ ...PRE, key: 'call' })
    engine.submit({ key: 'call' })
    await engine.pass(0)
    const closed = vi.fn()
    void engine.dispatcher.close(5 * SECOND).then(closed)
    engine.check()
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 8, discarded: { stopped: 6 } })
    await engine.end(engine.network.sent[0], accepted())
    await engine.end(engine.network.sent[1], refused(503))
    await engine.pass(4_999)
    expect(closed).not.toHaveBeenCalled()
    expect(engine.network.underWay).toHaveLength(6)
    await engine.pass(1)
    expect(closed).toHaveBeenCalledTimes(1)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 0, delivered: 1, discarded: { stopped: 13 } })
    expect(engine.network.sent).toHaveLength(8)
    expect(engine.network.open).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('comes as soon as nothing is under way', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submit()
    await engine.pass(0)
    const closed = vi.fn()
    void engine.dispatcher.close(HOUR).then(closed)
    await engine.end(engine.network.sent[0], accepted())
    expect(closed).toHaveBeenCalledTimes(1)
    expect(vi.getTimerCount()).toBe(0)
    await startEngine().close()
  })

  it('leaves no timer, whatever was waited for', async () => {
    const engine = startEngine()
    engine.route({ a: 'a', b: 'b', c: 'c' })
    await engine.openCircuit()
    engine.network.script = ({ endpoint }) => (endpoint.id === 'b' ? refused(503, HOUR) : refused(503))
    engine.submitMany(3, { owner: 'b' })
    engine.submitMany(3, { owner: 'c', ...PRE })
    await engine.pass(1)
    expect(vi.getTimerCount()).toBeGreaterThan(2)
    await engine.close()
  })

  it('counts what comes later, and does not send it', async () => {
    const engine = startEngine()
    await engine.close()
    engine.submitMany(3)
    expect(engine.dispatcher.stats()).toMatchObject({ accepted: 3, discarded: { stopped: 3 } })
    await engine.pass(MINUTE)
    expect(engine.network.sent).toEqual([])
    expect(engine.network.open).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('may be asked for twice', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submit()
    await engine.pass(0)
    const closed = vi.fn()
    void engine.dispatcher.close(SECOND).then(closed)
    void engine.dispatcher.close(SECOND).then(closed)
    await engine.pass(SECOND)
    expect(closed).toHaveBeenCalledTimes(2)
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('memory', () => {
  /** Deliveries whose bodies nobody else holds; tells how many of the bodies are still somewhere. */
  function submitLost(dispatcher: Dispatcher, name: string, count: number, lifetimeMs?: number): () => number {
    const held = Array.from({ length: count }, (_, index) => {
      const id = `${name} ${index}`
      const body = Buffer.alloc(1_000)
      const payload = { contentType: 'text/plain', body }
      const order = { key: id, leads: lifetimeMs !== undefined }
      dispatcher.submit({ ...deliveryLike, id, payload, order, ...(lifetimeMs !== undefined && { lifetimeMs }) })
      return new WeakRef(body)
    })
    return () => {
      collectGarbage()
      return held.filter(body => body.deref() !== undefined).length
    }
  }

  const start = (send: () => Promise<AttemptOutcome>): Dispatcher => {
    vi.useFakeTimers()
    onTestFinished(() => {
      vi.useRealTimers()
    })
    const dispatcher = new Dispatcher({ connect: () => ({ send, close() {}, destroy() {} }) })
    dispatcher.reconfigure(new Map([['a', routeTo('a')]]))
    return dispatcher
  }

  it('is not held by what has been delivered, though an earlier one is not yet', async () => {
    const outcomes = [new Promise<AttemptOutcome>(() => {})]
    const dispatcher = start(() => outcomes.shift() ?? Promise.resolve(accepted()))
    submitLost(dispatcher, 'stuck', 1, MINUTE)
    const heldCount = submitLost(dispatcher, 'delivered', 200, MINUTE)
    expect(heldCount()).toBe(200)
    await vi.advanceTimersByTimeAsync(0)
    await untilReleased()
    expect(dispatcher.stats()).toMatchObject({ delivered: 200, pending: 1 })
    expect(heldCount()).toBeLessThan(50)
  })

  it('is not held by what has expired, though an earlier one is still queued', async () => {
    const dispatcher = start(() => Promise.resolve(refused(503, HOUR)))
    submitLost(dispatcher, 'asked to wait', 1)
    await vi.advanceTimersByTimeAsync(0)
    submitLost(dispatcher, 'queued', 1)
    const heldCount = submitLost(dispatcher, 'expires', 200, MINUTE)
    submitLost(dispatcher, 'queued, too', 1)
    await vi.advanceTimersByTimeAsync(2 * MINUTE)
    await untilReleased()
    expect(dispatcher.stats()).toMatchObject({ pending: 3, discarded: { expired: 200 } })
    expect(heldCount()).toBeLessThan(50)
  })

  it('is not held by retries that have been discarded', async () => {
    let count = 0
    const dispatcher = start(() => Promise.resolve(++count % 2 === 0 ? accepted() : refused(404)))
    const routes = new Map([
      ['a', routeTo('a')],
      ['b', routeTo('a')],
    ])
    dispatcher.reconfigure(routes)
    const heldCount = submitLost(dispatcher, 'retried', 400)
    await vi.advanceTimersByTimeAsync(0)
    const { pending } = dispatcher.stats()
    expect(pending).toBe(200)
    dispatcher.reconfigure(new Map([['b', routeTo('a')]]))
    await untilReleased()
    expect(dispatcher.stats()).toMatchObject({ pending: 0, discarded: { 'hook removed': 200 } })
    expect(heldCount()).toBeLessThan(50)
  })
})

describe('mistakes of others', () => {
  it('a listener that throws harms nobody', async () => {
    const onEvent = vi.fn(() => {
      throw new Error('listener')
    })
    const engine = startEngine({ onEvent })
    engine.network.script = ({ number }) => (number === 1 ? refused(503) : accepted())
    engine.dispatcher.submit(deliveryLike)
    await vi.advanceTimersByTimeAsync(SECOND)
    expect(onEvent.mock.calls.length).toBeGreaterThanOrEqual(2)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, pending: 0 })
    await engine.dispatcher.close(0)
  })

  it.each(['throws', 'rejects'])('a connection that %s counts as a failure', async how => {
    const engine = startEngine({
      connect: () => ({
        send() {
          if (how === 'throws') {
            throw new Error('bug')
          }
          return Promise.reject(new Error('bug'))
        },
        close() {},
        destroy() {},
      }),
    })
    engine.submit({ phase: 'pre', lifetimeMs: MINUTE })
    await engine.pass(MINUTE)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 0, discarded: { expired: 1 } })
    await engine.close(0)
  })

  it('a callback that throws harms nobody', async () => {
    const engine = startEngine()
    engine.submit(PRE, () => {
      throw new Error('callback')
    })
    await engine.pass(1)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, pending: 0 })
    await engine.close()
  })
})
