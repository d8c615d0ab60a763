import { describe, expect, it, vi } from 'vitest'

import { routeTo, startEngine } from '../helpers/engine.ts'
import type { Engine } from '../helpers/engine.ts'
import { accepted, refused, timedOut, unreachable } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

function changes(engine: Engine): string[] {
  return engine.events.flatMap(event => (event.type === 'health' ? [`${event.report.endpoint} ${event.change}`] : []))
}

function disabledWhy(engine: Engine, endpoint = 'a'): string | undefined {
  return engine.dispatcher.stats().endpoints.get(endpoint)?.health.disabled?.reason
}

describe('the limit of failing deliveries', () => {
  it.each([
    ['422', refused(422)],
    ['500', refused(500)],
    ['403', refused(403)],
    ['no answer', timedOut()],
  ])('is not reached by one that is tried 12 times (%s)', async (_, outcome) => {
    const engine = startEngine({ schedule: Array.from({ length: 11 }, () => MINUTE) })
    engine.route({ a: routeTo('a', { disableAfter: 3 }) })
    engine.network.script = ({ id }) => (id === 'd1' ? outcome : accepted())
    engine.submit()
    await engine.pass(2 * HOUR)
    expect(engine.network.sent).toHaveLength(12)
    expect(disabledWhy(engine)).toBeUndefined()
    engine.submit()
    await engine.pass(1)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, dead: 1 })
    await engine.close()
  })

  it('is reached by as many that fail in a row, whenever they come', async () => {
    const engine = startEngine({ schedule: [DAY] })
    engine.route({ a: routeTo('a', { disableAfter: 3 }) })
    engine.network.script = () => refused(500)
    for (const _ of [1, 2, 3]) {
      expect(disabledWhy(engine)).toBeUndefined()
      engine.submit()
      await engine.pass(MINUTE)
    }
    expect(disabledWhy(engine)).toBe('3 deliveries in a row have failed, the limit set for it')
    expect(changes(engine)).toEqual(['a disabled'])
    await engine.close()
  })

  it('counts anew after a success: what failed before is counted again if it fails again', async () => {
    const engine = startEngine({ schedule: [HOUR, HOUR] })
    engine.route({ a: routeTo('a', { disableAfter: 3 }) })
    engine.network.script = () => undefined
    engine.submitMany(3)
    await engine.pass(0)
    await engine.end(engine.network.sent[0], refused(500))
    await engine.end(engine.network.sent[1], refused(500))
    engine.network.script = () => refused(500)
    await engine.end(engine.network.sent[2], accepted())
    await engine.pass(MINUTE)
    expect(engine.network.sent.slice(3).map(({ id }) => id)).toEqual(['d1', 'd2'])
    expect(disabledWhy(engine)).toBeUndefined()
    engine.submit()
    await engine.pass(1)
    expect(disabledWhy(engine)).toBe('3 deliveries in a row have failed, the limit set for it')
    await engine.close()
  })

  it('counts what failed elsewhere before its hook moved', async () => {
    const engine = startEngine()
    const limits = { disableAfter: 1 }
    engine.route({ a: 'a' })
    engine.network.script = () => refused(500)
    engine.submit()
    await engine.pass(1)
    engine.route({ a: routeTo('b', limits) })
    await engine.pass(1)
    expect(disabledWhy(engine, 'b')).toBe('a delivery has failed, the limit set for it')
    await engine.close()
  })

  it('is the one of the hook whose delivery fails; that of another hook at the endpoint does not count', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', b: routeTo('x', { disableAfter: 2 }) })
    engine.network.script = () => refused(500)
    engine.submitMany(4, { owner: 'a' })
    await engine.pass(1)
    expect(disabledWhy(engine, 'x')).toBeUndefined()
    engine.submit({ owner: 'b' })
    await engine.pass(1)
    expect(disabledWhy(engine, 'x')).toBe('5 deliveries in a row have failed, the limit set for it')
    await engine.close()
  })
})

describe('5 days of nothing but failures', () => {
  it('disable the endpoint, and it is told', async () => {
    const engine = startEngine()
    engine.network.script = () => unreachable()
    engine.submit()
    await engine.pass(70 * HOUR)
    // by itself the first one would have been given up after three days
    engine.submit()
    await engine.pass(49 * HOUR)
    expect(disabledWhy(engine)).toBeUndefined()
    await engine.pass(24 * HOUR)
    expect(disabledWhy(engine)).toBe('nothing but failures for 5 days')
    expect(changes(engine)).toEqual(['a failing', 'a disabled'])
    await engine.close()
  })

  it('are not made of two failures of a weekly hook', async () => {
    const engine = startEngine({ schedule: [] })
    engine.network.script = () => unreachable()
    for (let week = 0; week < 20; ++week) {
      engine.submit()
      await engine.pass(7 * DAY)
    }
    expect(disabledWhy(engine)).toBeUndefined()
    expect(engine.network.sent).toHaveLength(20)
    await engine.close()
  })

  it.each([6 * DAY, -6 * DAY, 400 * DAY])('are not made by a wall clock that jumps %i ms', async jump => {
    const engine = startEngine()
    engine.network.script = () => undefined
    engine.submitMany(2)
    await engine.pass(0)
    await engine.end(engine.network.sent[0], unreachable())
    vi.setSystemTime(Date.now() + jump)
    await engine.end(engine.network.sent[1], unreachable())
    engine.network.script = () => unreachable()
    await engine.pass(HOUR)
    expect(disabledWhy(engine)).toBeUndefined()
    expect(engine.dispatcher.stats().endpoints.get('a')?.health.failingMs).toBeLessThanOrEqual(HOUR)
    await engine.close()
  })

  it('are not made of time in which nothing was sent, as it was paused', async () => {
    const engine = startEngine()
    engine.network.script = () => unreachable()
    engine.submit()
    await engine.pass(HOUR)
    engine.dispatcher.controls.pause('a')
    await engine.pass(6 * DAY)
    engine.dispatcher.controls.resume('a')
    await engine.pass(HOUR)
    expect(disabledWhy(engine)).toBeUndefined()
    await engine.close()
  })
})

describe('an administrator is told', () => {
  it('after 5 failed attempts in a row that it fails, then once more that it is back', async () => {
    const engine = startEngine()
    engine.network.script = ({ number }) => (number <= 4 ? refused(503) : undefined)
    engine.submit()
    await engine.pass(3 * MINUTE)
    expect(engine.network.underWay).toHaveLength(1)
    expect(changes(engine)).toEqual([])
    await engine.end(engine.network.underWay[0], refused(503))
    expect(changes(engine)).toEqual(['a failing'])
    engine.network.script = ({ number }) => (number <= 8 ? refused(503) : accepted())
    await engine.pass(20 * HOUR)
    expect(changes(engine)).toEqual(['a failing', 'a recovered'])
    await engine.close()
  })

  it('with what waits there, and whose it is', async () => {
    const engine = startEngine({ schedule: [HOUR] })
    engine.route({ a: 'x', b: 'x', c: 'y' })
    engine.network.script = () => refused(503)
    engine.submitMany(3, { owner: 'a' })
    engine.submitMany(4, { owner: 'b' })
    await engine.pass(1)
    const told = engine.events.filter(event => event.type === 'health')
    expect(told).toMatchObject([
      {
        change: 'failing',
        report: {
          endpoint: 'x',
          origin: 'http://x.example',
          owners: ['a', 'b'],
          health: { failuresInRow: 5, lastError: 'answered 503' },
          pending: 7,
          dead: 0,
        },
      },
    ])
    await engine.close()
  })

  it('of each endpoint for itself', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'x#1' ? refused(503) : accepted())
    engine.submitMany(5, { owner: 'a' })
    engine.submitMany(5, { owner: 'b' })
    await engine.pass(1)
    expect(changes(engine)).toEqual(['x#1 failing'])
    await engine.close()
  })

  it('not twice that it fails, if someone saves meanwhile', async () => {
    const engine = startEngine()
    await engine.openCircuit()
    engine.network.script = () => refused(503)
    engine.route({ a: 'a' })
    await engine.pass(10 * MINUTE)
    expect(changes(engine)).toEqual(['a failing'])
    await engine.close()
  })
})
