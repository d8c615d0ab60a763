import { describe, expect, it } from 'vitest'

import { routeTo, startEngine } from '../helpers/engine.ts'
import type { Engine } from '../helpers/engine.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const PRE = { phase: 'pre', lifetimeMs: 5 * MINUTE } as const

/** Two endpoints and a path at the origin of `x`, and another origin. */
const ROUTES = { a: 'x#1', b: 'x#2', c: 'x/path', d: 'y' }

/** `a` was answered with these, and nothing else has happened. */
async function answeredWith(status: number, retryAfterMs: number): Promise<Engine> {
  const engine = startEngine()
  engine.route(ROUTES)
  engine.network.script = () => refused(status, retryAfterMs)
  engine.submit({ owner: 'a' })
  await engine.pass(1)
  engine.network.script = () => accepted()
  return engine
}

describe('Retry-After', () => {
  it('holds back every endpoint of its origin, and no other', async () => {
    const engine = await answeredWith(429, MINUTE)
    for (const owner of ['a', 'b', 'c', 'd']) {
      engine.submit({ owner })
    }
    await engine.pass(MINUTE - 1)
    expect(engine.network.sent.map(({ endpoint }) => endpoint.id)).toEqual(['x#1', 'y'])
    const { endpoints } = engine.dispatcher.stats()
    const isHeld = [...endpoints].map(([id, { pausedUntil }]) => [id, pausedUntil !== undefined])
    expect(isHeld).toEqual([
      ['x#1', true],
      ['x#2', true],
      ['x/path', true],
      ['y', false],
    ])
    await engine.pass(2)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 5, pending: 0 })
    await engine.close()
  })

  it.each([403, 404, 422, 301])('of a %i is waited for, and what is answered then decides', async status => {
    // by itself any failure would be the last one
    const engine = startEngine({ schedule: [] })
    engine.route(ROUTES)
    engine.network.script = ({ number }) => (number === 1 ? refused(status, 2 * HOUR) : accepted())
    engine.submit({ owner: 'a' })
    await engine.pass(2 * HOUR)
    expect(engine.network.sent).toHaveLength(1)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 1, dead: 0 })
    await engine.pass(2)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1 })

    engine.network.script = ({ number }) => (number === 1 ? refused(status, 2 * HOUR) : refused(status))
    engine.submit({ owner: 'd' })
    await engine.pass(2 * HOUR + 2)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, dead: 1 })
    await engine.close()
  })

  it('is not shortened by a later, shorter one; nor by a success that was under way', async () => {
    const engine = startEngine()
    engine.route(ROUTES)
    engine.network.script = () => undefined
    for (const owner of ['a', 'b', 'c']) {
      engine.submit({ owner })
    }
    await engine.pass(0)
    await engine.end(engine.network.sent[0], refused(503, HOUR))
    await engine.end(engine.network.sent[1], refused(503, MINUTE))
    await engine.end(engine.network.sent[2], accepted())
    engine.network.script = () => accepted()
    await engine.pass(HOUR - 1)
    expect(engine.network.sent).toHaveLength(3)
    await engine.pass(2)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 3 })
    await engine.close()
  })

  it('is made longer by a later, longer one', async () => {
    const engine = startEngine()
    engine.route(ROUTES)
    engine.network.script = () => undefined
    engine.submit({ owner: 'a' })
    engine.submit({ owner: 'b' })
    await engine.pass(0)
    await engine.end(engine.network.sent[0], refused(503, MINUTE))
    await engine.end(engine.network.sent[1], refused(503, HOUR))
    await engine.pass(HOUR - 1)
    expect(engine.network.sent).toHaveLength(2)
    await engine.pass(1)
    expect(engine.network.sent).toHaveLength(4)
    await engine.close()
  })

  it.each([
    ['a save', (engine: Engine) => engine.route(ROUTES)],
    ['a resume', (engine: Engine) => void engine.dispatcher.controls.resume('x#1')],
    ['a resume of another endpoint there', (engine: Engine) => void engine.dispatcher.controls.resume('x/path')],
  ])('is over with %s, for the whole origin, and for who was told so', async (_, clear) => {
    const engine = await answeredWith(503, DAY)
    for (const owner of ['a', 'b', 'c']) {
      engine.submit({ owner })
    }
    await engine.pass(MINUTE)
    expect(engine.network.sent).toHaveLength(1)
    clear(engine)
    await engine.pass(10)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 4, pending: 0 })
    await engine.close()
  })

  it('is over with a save or a resume though the endpoint has answered others well since', async () => {
    for (const clear of [
      (engine: Engine) => engine.route(ROUTES),
      (engine: Engine) => void engine.dispatcher.controls.resume('x#1'),
    ]) {
      const engine = startEngine()
      engine.route(ROUTES)
      engine.network.script = () => undefined
      engine.submitMany(2, { owner: 'a' })
      await engine.pass(0)
      await engine.end(engine.network.sent[0], refused(429, DAY))
      await engine.end(engine.network.sent[1], accepted())
      clear(engine)
      await engine.pass(0)
      expect(engine.network.sent.at(-1)).toMatchObject({ id: 'd1', number: 2 })
      await engine.close()
    }
  })

  it('is no matter to a hook that has moved to another origin', async () => {
    const engine = await answeredWith(429, DAY)
    engine.route({ a: 'z' })
    await engine.pass(1)
    expect(engine.network.sent.at(-1)).toMatchObject({ id: 'd1', number: 2, endpoint: { id: 'z' } })
    await engine.close()
  })
})

describe('a hook that is disabled', () => {
  const isPaused = true

  it('is sent nothing; what waits goes once it is enabled, with its attempts', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', b: 'x' })
    engine.network.script = () => refused(503)
    const waiting = engine.submit({ owner: 'a' })
    await engine.pass(1)
    engine.network.script = () => accepted()
    engine.route({ a: routeTo('x', { isPaused }), b: 'x' })
    const fresh = engine.submitMany(3, { owner: 'a' })
    const others = engine.submitMany(3, { owner: 'b' })
    await engine.pass(3 * DAY)
    expect(engine.idsSent().slice(1)).toEqual(others)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 4, delivered: 3, discarded: {} })

    engine.route({ a: 'x', b: 'x' })
    await engine.pass(5)
    expect(engine.idsSent().slice(4).sort()).toEqual([waiting, ...fresh].sort())
    expect(engine.network.sent.filter(({ id }) => id === waiting).map(({ number }) => number)).toEqual([1, 2])
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 7, pending: 0 })
    await engine.close()
  })

  it('loses what waits only when its time is over', async () => {
    const engine = startEngine()
    engine.route({ a: routeTo('x', { isPaused }) })
    const pre = engine.submit({ owner: 'a', ...PRE })
    const post = engine.submit({ owner: 'a' })
    await engine.pass(5 * MINUTE - 1)
    expect(engine.discarded()).toEqual([])
    await engine.pass(1)
    expect(engine.discarded()).toEqual([`${pre}: expired`])
    await engine.pass(30 * DAY - 5 * MINUTE - 1)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 1 })
    await engine.pass(1)
    expect(engine.discarded()).toEqual([`${pre}: expired`, `${post}: expired`])
    expect(engine.network.sent).toEqual([])
    await engine.close()
  })

  it('lets what is under way end: a success is one, a failure waits for the hook', async () => {
    const engine = startEngine()
    engine.route({ a: 'x' })
    engine.network.script = () => undefined
    const [fails, succeeds] = engine.submitMany(2, { owner: 'a' })
    await engine.pass(0)
    engine.route({ a: routeTo('x', { isPaused }) })
    await engine.end(engine.network.sent[0], refused(503))
    await engine.end(engine.network.sent[1], accepted())
    await engine.pass(DAY)
    expect(engine.idsSent()).toEqual([fails, succeeds])
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, pending: 1 })
    engine.route({ a: 'x' })
    await engine.pass(0)
    expect(engine.network.sent.at(-1)).toMatchObject({ id: fails, number: 2 })
    await engine.close()
  })

  it('is sent nothing by a replay, an urgent call, or a resume of its endpoint', async () => {
    const engine = startEngine({ schedule: [] })
    engine.route({ a: 'x' })
    engine.network.script = () => refused(404)
    engine.submit({ owner: 'a' })
    await engine.pass(1)
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 1 })
    engine.route({ a: routeTo('x', { isPaused }) })
    const calls: unknown[] = []
    engine.submit({ owner: 'a', ...PRE }, attempt => calls.push(attempt))
    expect(calls).toEqual([undefined])
    engine.dispatcher.controls.replay({ owner: 'a' })
    engine.dispatcher.controls.resume('x')
    await engine.pass(MINUTE)
    expect(engine.network.sent).toHaveLength(1)
    engine.network.script = () => accepted()
    engine.route({ a: 'x' })
    await engine.pass(5)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 2, pending: 0, dead: 0 })
    await engine.close()
  })

  it('may move meanwhile: what waits is sent to where it is enabled', async () => {
    const engine = startEngine()
    engine.route({ a: routeTo('x', { isPaused }) })
    const id = engine.submit({ owner: 'a' })
    await engine.pass(MINUTE)
    engine.route({ a: routeTo('y', { isPaused }) })
    await engine.pass(MINUTE)
    expect(engine.network.sent).toEqual([])
    engine.route({ a: 'z' })
    await engine.pass(0)
    expect(engine.network.sent).toMatchObject([{ id, endpoint: { id: 'z' } }])
    await engine.close()
  })
})

describe('an endpoint that is paused by an operator', () => {
  it('is sent nothing until it is resumed, whatever is saved meanwhile', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    expect(engine.dispatcher.controls.pause('x#1')).toBe(true)
    expect(engine.dispatcher.controls.pause('nobody')).toBe(false)
    const ids = engine.submitMany(3, { owner: 'a' })
    const other = engine.submit({ owner: 'b' })
    engine.route({ a: 'x#1', b: 'x#2' })
    await engine.pass(3 * DAY)
    expect(engine.idsSent()).toEqual([other])
    expect(engine.dispatcher.controls.resume('x#1')).toBe(true)
    expect(engine.dispatcher.controls.resume('nobody')).toBe(false)
    await engine.pass(2)
    expect(engine.idsSent().slice(1)).toEqual(ids)
    await engine.close()
  })
})

describe('an endpoint that is disabled by itself', () => {
  async function disabled(): Promise<Engine> {
    const engine = startEngine()
    engine.route({ a: 'x' })
    engine.network.script = () => refused(410)
    engine.submit({ owner: 'a' })
    await engine.pass(1)
    expect(engine.dispatcher.stats().endpoints.get('x')?.health.disabled?.reason).toBe('it answered 410 Gone')
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 1, dead: 0 })
    engine.network.script = () => accepted()
    return engine
  }

  it.each([
    ['a save', (engine: Engine) => engine.route({ a: 'x' })],
    ['a resume', (engine: Engine) => void engine.dispatcher.controls.resume('x')],
  ])('keeps what comes meanwhile, and is sent it with %s, oldest first', async (_, enable) => {
    const engine = await disabled()
    const late: string[] = []
    for (let count = 0; count < 20; ++count) {
      late.push(engine.submit({ owner: 'a' }))
      await engine.pass(HOUR)
    }
    expect(engine.network.sent).toHaveLength(1)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 21, dead: 0 })
    enable(engine)
    await engine.pass(20)
    // what met the 410 has its share of the turns, as every retry
    expect(
      engine
        .idsSent()
        .slice(1)
        .filter(id => id !== 'd1')
    ).toEqual(late)
    expect(engine.idsSent().filter(id => id === 'd1')).toHaveLength(2)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 21, dead: 0, pending: 0 })
    expect(engine.events.flatMap(event => (event.type === 'health' ? [event.change] : []))).toEqual([
      'disabled',
      'recovered',
    ])
    await engine.close()
  })

  it('lets all that waits there expire on time, though nothing is sent', async () => {
    const engine = await disabled()
    await engine.pass(DAY)
    const pre = engine.submit({ owner: 'a', ...PRE })
    const post = engine.submit({ owner: 'a' })
    await engine.pass(5 * MINUTE)
    expect(engine.discarded()).toEqual([`${pre}: expired`])
    await engine.pass(29 * DAY - 5 * MINUTE)
    expect(engine.discarded()).toEqual([`${pre}: expired`, 'd1: expired'])
    await engine.pass(DAY - 1)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 1, dead: 0 })
    await engine.pass(1)
    expect(engine.discarded().at(-1)).toBe(`${post}: expired`)
    await engine.close()
  })

  it('does not send what has expired before it was enabled', async () => {
    const engine = await disabled()
    engine.submit({ owner: 'a', ...PRE })
    const post = engine.submit({ owner: 'a' })
    await engine.pass(HOUR)
    engine.dispatcher.controls.resume('x')
    await engine.pass(10)
    expect(engine.idsSent()).toEqual(['d1', 'd1', post])
    await engine.close()
  })

  it('answers whoever waits for a first attempt at once', async () => {
    const engine = await disabled()
    const calls: unknown[] = []
    engine.submit({ owner: 'a', ...PRE }, attempt => calls.push(attempt))
    expect(calls).toEqual([undefined])
    await engine.close()
  })
})
