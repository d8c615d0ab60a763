import { describe, expect, it, vi } from 'vitest'

import { startEngine } from '../helpers/engine.ts'
import type { Engine, Sent } from '../helpers/engine.ts'
import { accepted, refused, unreachable } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** All have failed, and are hours from their next attempt; the circuit lets one go at any time. */
async function waiting(count: number): Promise<{ engine: Engine; ids: string[] }> {
  const engine = startEngine({ schedule: [9 * HOUR, 9 * HOUR], pauses: { firstMs: 1, longestMs: 1 } })
  engine.network.script = () => unreachable()
  const ids = engine.submitMany(count)
  await engine.pass(3 * HOUR)
  expect(engine.network.sent).toHaveLength(count)
  expect(engine.dispatcher.stats()).toMatchObject({ pending: count, dead: 0 })
  return { engine, ids }
}

/** Ends what is under way one by one; tells how many were under way each time. */
async function answerAll(engine: Engine): Promise<number[]> {
  const atOnce: number[] = []
  while (engine.network.underWay.length > 0) {
    atOnce.push(engine.network.underWay.length)
    await engine.end(engine.network.underWay[0], accepted())
  }
  return atOnce
}

describe('when an endpoint answers again', () => {
  it('all that waits there goes at once, oldest first, with one more under way after each success', async () => {
    const { engine, ids } = await waiting(50)
    engine.network.script = () => undefined
    const fresh = engine.submit()
    await engine.pass(1)
    const atOnce = await answerAll(engine)
    expect(atOnce.slice(0, 9)).toEqual([1, 1, 2, 3, 4, 5, 6, 7, 8])
    expect(engine.idsSent().slice(50)).toEqual([fresh, ...ids])
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 51, pending: 0 })
    await engine.close()
  })

  it('what was parked meanwhile goes in its order among those that have failed', async () => {
    const engine = startEngine()
    engine.network.script = () => unreachable()
    const ids: string[] = []
    for (let count = 0; count < 30; ++count) {
      ids.push(engine.submit())
      await engine.pass(MINUTE)
    }
    const before = engine.network.sent.length
    engine.network.script = () => undefined
    await engine.pass(5 * MINUTE)
    expect(engine.network.underWay).toHaveLength(1)
    const probe = engine.network.underWay[0]!
    await engine.end(probe, accepted())
    const late = engine.submit()
    await answerAll(engine)
    const sent = engine.idsSent().slice(before + 1)
    expect(sent.filter(id => id !== late)).toEqual(ids.filter(id => id !== probe.id))
    expect(sent).toContain(late)
    await engine.close()
  })

  it('each goes with one attempt only', async () => {
    const { engine } = await waiting(20)
    const before = engine.network.sent.length
    engine.network.script = () => accepted()
    engine.submit()
    await engine.pass(SECOND)
    expect(engine.network.sent.length - before).toBe(21)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 21, pending: 0 })
    await engine.close()
  })

  it('and fails again at once, the others spend no attempt', async () => {
    const { engine } = await waiting(50)
    const before = engine.network.sent.length
    let answers = 3
    engine.network.script = () => (answers-- > 0 ? accepted() : unreachable())
    engine.submit()
    await engine.pass(3)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 3, pending: 48 })
    expect(engine.network.sent.length - before).toBeLessThanOrEqual(3 + 8)
    await engine.close()
  })

  it('a few that failed before the circuit opened go, too', async () => {
    const engine = startEngine()
    engine.network.script = () => unreachable()
    engine.submitMany(2)
    await engine.pass(1)
    engine.network.script = ({ number }) => (number === 1 ? accepted() : undefined)
    engine.submit()
    await engine.pass(1)
    expect(engine.idsSent()).toEqual(['d1', 'd2', 'd3', 'd1', 'd2'])
    await engine.close()
  })

  it('nothing of another endpoint is hastened', async () => {
    const engine = startEngine({ schedule: [9 * HOUR] })
    engine.route({ a: 'a', b: 'a#1' })
    engine.network.script = () => unreachable()
    engine.submitMany(3, { owner: 'a' })
    engine.submitMany(3, { owner: 'b' })
    await engine.pass(3 * HOUR)
    engine.network.script = ({ endpoint }) => (endpoint.id === 'a' ? accepted() : unreachable())
    engine.submit({ owner: 'a' })
    await engine.pass(MINUTE)
    expect(engine.dispatcher.stats().endpoints.get('a')).toMatchObject({ pending: 0, delivered: 4 })
    expect(engine.dispatcher.stats().endpoints.get('a#1')).toMatchObject({ pending: 3, delivered: 0 })
    expect(engine.network.sent.filter(({ endpoint }) => endpoint.id === 'a#1')).toHaveLength(3)
    await engine.close()
  })
})

describe('a save or a resume of an endpoint that fails', () => {
  it.each([
    ['a save', (engine: Engine) => engine.route({ a: 'a' })],
    ['a resume', (engine: Engine) => void engine.dispatcher.controls.resume('a')],
  ])('by %s sends what waits, one at first', async (_, clear) => {
    const { engine, ids } = await waiting(20)
    const before = engine.network.sent.length
    engine.network.script = () => undefined
    clear(engine)
    await engine.pass(0)
    const atOnce = await answerAll(engine)
    expect(atOnce.slice(0, 4)).toEqual([1, 2, 3, 4])
    expect(engine.idsSent().slice(before)).toEqual(ids)
    await engine.close()
  })
})

describe('events that are refused for ever', () => {
  /** A good event every minute for some hours, among which these are never taken. @returns when each of the bad was tried */
  async function among(
    good: number,
    bad: number,
    outcome = refused(500)
  ): Promise<{ engine: Engine; tries: number[][] }> {
    const engine = startEngine()
    const ids = new Set<string>()
    engine.network.script = ({ id }) => (ids.has(id) ? outcome : accepted())
    for (let count = 0; count < bad; ++count) {
      ids.add(engine.submit())
    }
    for (let count = 0; count < good; ++count) {
      await engine.pass(MINUTE)
      engine.submit()
    }
    await engine.pass(1)
    return { engine, tries: [...ids].map(id => triesOf(engine.network.sent, id)) }
  }

  const triesOf = (sent: readonly Sent[], which: string): number[] =>
    sent.filter(({ id }) => id === which).map(({ at }) => at - sent[0]!.at)

  it.each([
    ['one with 422', 1, refused(422)],
    ['one with 500', 1, refused(500)],
    ['two with 422', 2, refused(422)],
    ['two with 500', 2, refused(500)],
    ['three with 500', 3, refused(500)],
    ['nine with 500, more than open the circuit', 9, refused(500)],
  ])('%s: are tried as the schedule says, whatever else the endpoint takes', async (_, bad, outcome) => {
    const { engine, tries } = await among(40, bad, outcome)
    const alone = startEngine()
    alone.network.script = () => outcome
    alone.submit()
    await alone.pass(40 * MINUTE + 1)
    const expected = triesOf(alone.network.sent, 'd1').length
    await alone.close()
    // where several fail in a row that is the endpoint's fault, as far as one can tell: they are hastened, every ten minutes
    expect(Math.max(...tries.map(({ length }) => length))).toBeLessThanOrEqual(bad > 1 ? 2 * expected : expected)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 40 })
    await engine.close()
  })

  it('do not keep the endpoint from taking others, nor disable it', async () => {
    const { engine } = await among(300, 3, refused(400))
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 300, dead: 3 })
    expect(engine.dispatcher.stats().endpoints.get('a')?.health).toMatchObject({ failuresInRow: 0 })
    await engine.close()
  })

  it('live as long as any that fails: for 72 hours', async () => {
    const { engine } = await among(2 * 24 * 60, 2, refused(500))
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 0, pending: 2 })
    await engine.close()
  })
})

it('a second trouble is over at once, too, ten minutes after the first', async () => {
  const engine = startEngine()
  engine.network.script = () => refused(503)
  engine.submitMany(20)
  await engine.pass(10 * HOUR)
  const first = engine.submit()
  engine.network.script = ({ id }) => (id === first ? accepted() : refused(503))
  await engine.pass(20 * MINUTE)
  expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, pending: 20 })
  const second = engine.submit()
  engine.network.script = () => accepted()
  await engine.pass(6 * MINUTE)
  expect(engine.idsSent()).toContain(second)
  expect(engine.dispatcher.stats()).toMatchObject({ delivered: 22, pending: 0 })
  await engine.close()
})

it('time that is set on the wall clock hastens nothing, and delays nothing', async () => {
  const { engine } = await waiting(3)
  const before = engine.network.sent.length
  vi.setSystemTime(Date.now() + 5 * DAY)
  await engine.pass(MINUTE)
  vi.setSystemTime(Date.now() - 50 * DAY)
  await engine.pass(MINUTE)
  expect(engine.network.sent).toHaveLength(before)
  await engine.pass(6 * HOUR)
  expect(engine.network.sent).toHaveLength(2 * before)
  await engine.close()
})
