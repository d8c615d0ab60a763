import { describe, expect, it } from 'vitest'

import { routeTo, startEngine } from '../helpers/engine.ts'
import type { Engine } from '../helpers/engine.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const PRE = { phase: 'pre', lifetimeMs: 5 * MINUTE } as const

/** One of each kind, the kind and the id of which are the same, of hook `a` at endpoint `a`. */
async function oneOfEach(): Promise<{ engine: Engine; ids: Record<string, string> }> {
  const engine = startEngine({ schedule: [9 * HOUR] })
  engine.network.script = () => refused(410)
  const ids: Record<string, string> = {}
  ids['dead'] = engine.submit()
  await engine.pass(1)
  engine.dispatcher.controls.resume('a')
  engine.network.script = () => accepted()
  engine.submit()
  await engine.pass(1)
  engine.network.script = ({ id }) => (id === ids['waiting'] ? refused(503) : undefined)
  ids['waiting'] = engine.submit()
  await engine.pass(1)
  ids['sending'] = engine.submit({ ...PRE, key: 'call' })
  ids['held'] = engine.submit({ key: 'call' })
  await engine.pass(1)
  engine.dispatcher.controls.pause('a')
  ids['queued'] = engine.submit()
  return { engine, ids }
}

describe('looking', () => {
  it('at one tells how it is doing', async () => {
    const { engine, ids } = await oneOfEach()
    const { controls } = engine.dispatcher
    for (const [status, id] of Object.entries(ids)) {
      expect(controls.get(id)).toMatchObject({
        id,
        status,
        owner: 'a',
        endpoint: 'a',
        label: 'vm.start success',
        bytes: 10,
      })
    }
    expect(controls.get(ids['waiting']!)).toMatchObject({ attempts: 1, dueAt: Date.now() - 1 + 9 * HOUR })
    expect(controls.get(ids['dead']!)).not.toHaveProperty('dueAt')
    expect(controls.get('nobody')).toBeUndefined()
    await engine.close()
  })

  it('at many tells of the newest first, page by page; what comes in between is told neither twice nor left out', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', b: 'y' })
    engine.network.script = () => undefined
    engine.submitMany(5, { owner: 'a' })
    engine.submitMany(5, { owner: 'b' })
    const { controls } = engine.dispatcher
    const first = controls.list({ limit: 4 })
    expect(first.items.map(({ id }) => id)).toEqual(['d10', 'd9', 'd8', 'd7'])
    engine.submit({ owner: 'a' })
    controls.cancel({ id: 'd6' })
    const second = controls.list({ limit: 4, cursor: first.cursor! })
    expect(second.items.map(({ id, status, reason }) => [id, status, reason])).toEqual([
      ['d6', 'discarded', 'cancelled'],
      ...['d5', 'd4', 'd3'].map(id => [id, 'queued', undefined]),
    ])
    const third = controls.list({ limit: 4, cursor: second.cursor! })
    expect(third.items.map(({ id }) => id)).toEqual(['d2', 'd1'])
    expect(third.cursor).toBeUndefined()
    await engine.close()
  })

  it('at many can be about an owner, an endpoint, a time, a status, and all of that', async () => {
    const engine = startEngine({ schedule: [] })
    engine.route({ a: 'x', b: 'x', c: 'y' })
    engine.network.script = ({ id }) => (id === 'd1' ? refused(404) : undefined)
    engine.submit({ owner: 'a' })
    await engine.pass(MINUTE)
    const since = Date.now()
    engine.submit({ owner: 'a' })
    engine.submit({ owner: 'b' })
    engine.submit({ owner: 'c' })
    await engine.pass(0)
    const { controls } = engine.dispatcher
    const ids = (query: Parameters<typeof controls.list>[0]): string[] => controls.list(query).items.map(({ id }) => id)
    expect(ids({ owner: 'a' })).toEqual(['d2', 'd1'])
    expect(ids({ endpoint: 'x' })).toEqual(['d3', 'd2', 'd1'])
    expect(ids({ since })).toEqual(['d4', 'd3', 'd2'])
    expect(ids({ status: ['dead'] })).toEqual(['d1'])
    expect(ids({ status: ['sending'], owner: 'a', endpoint: 'x', since })).toEqual(['d2'])
    expect(ids({ id: 'd4' })).toEqual(['d4'])
    expect(ids({ owner: 'nobody' })).toEqual([])
    await engine.close()
  })
})

describe('a replay', () => {
  it('of a dead letter is the same delivery, with the next number and a new budget', async () => {
    const engine = startEngine({ schedule: [SECOND] })
    engine.network.script = () => refused(503)
    const id = engine.submit()
    await engine.pass(10 * SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 1 })
    expect(engine.dispatcher.controls.replay({ id })).toBe(1)
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 0, pending: 1, accepted: 1 })
    await engine.pass(10 * SECOND)
    expect(engine.network.sent.map(sent => [sent.id, sent.number])).toEqual([1, 2, 3, 4].map(number => [id, number]))
    const triggers = engine.events.flatMap(event => (event.type === 'attempted' ? [event.attempt.trigger] : []))
    expect(triggers).toEqual(['event', 'retry', 'replay', 'retry'])
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 1, pending: 0, accepted: 1 })
    await engine.close()
  })

  it('of a dead letter gives it another 30 days, and lets it die again in them', async () => {
    const engine = startEngine({ schedule: [] })
    engine.network.script = () => refused(503)
    const id = engine.submit({ ...PRE })
    await engine.pass(29 * DAY)
    engine.dispatcher.controls.replay({ id })
    await engine.pass(29 * DAY)
    expect(engine.network.sent).toHaveLength(2)
    expect(engine.discarded()).toEqual([])
    await engine.pass(2 * DAY)
    expect(engine.discarded()).toEqual([`${id}: expired`])
    expect(engine.dispatcher.controls.replay({ id })).toBe(0)
    await engine.close()
  })

  it('of one that waits sends it now, and once', async () => {
    const engine = startEngine({ schedule: [HOUR, HOUR] })
    engine.network.script = ({ number }) => (number === 1 ? refused(503) : accepted())
    const id = engine.submit()
    await engine.pass(MINUTE)
    expect(engine.dispatcher.controls.replay({ id })).toBe(1)
    expect(engine.dispatcher.controls.replay({ id })).toBe(1)
    await engine.pass(3 * HOUR)
    expect(engine.network.sent.map(({ number }) => number)).toEqual([1, 2])
    await engine.close()
  })

  it('of one that waits leaves it its time: a pre that is late stays late', async () => {
    const engine = startEngine({ schedule: [MINUTE, HOUR] })
    engine.network.script = () => refused(503)
    const id = engine.submit(PRE)
    await engine.pass(10)
    engine.dispatcher.controls.replay({ id })
    await engine.pass(10)
    expect(engine.network.sent).toHaveLength(2)
    expect(engine.discarded()).toEqual([`${id}: expired`])
    await engine.close()
  })

  it('leaves what is queued, held or under way alone', async () => {
    const { engine, ids } = await oneOfEach()
    const before = engine.network.sent.length
    for (const status of ['queued', 'held', 'sending']) {
      expect(engine.dispatcher.controls.replay({ id: ids[status]! })).toBe(1)
      expect(engine.dispatcher.controls.get(ids[status]!)).toMatchObject({ status })
    }
    await engine.pass(MINUTE)
    expect(engine.network.sent).toHaveLength(before)
    await engine.close()
  })

  it.each([
    ['an owner', { owner: 'a' }, ['d1', 'd3']],
    ['an endpoint', { endpoint: 'x' }, ['d1', 'd2', 'd3']],
    ['a time', { since: 60_000 }, ['d3', 'd4']],
    ['an owner at an endpoint since a time', { owner: 'a', endpoint: 'x', since: 60_000 }, ['d3']],
    ['a hook that is elsewhere', { owner: 'c', endpoint: 'x' }, []],
  ])('of %s takes all of that, and nothing else', async (_, which, expected) => {
    const engine = startEngine({ schedule: [] })
    engine.route({ a: 'x', b: 'x', c: 'y' })
    engine.network.script = () => refused(404)
    const start = Date.now()
    engine.submit({ owner: 'a' })
    engine.submit({ owner: 'b' })
    await engine.pass(MINUTE)
    engine.submit({ owner: 'a' })
    engine.submit({ owner: 'c' })
    await engine.pass(MINUTE)
    const since = 'since' in which ? { since: start + MINUTE } : {}
    expect(engine.dispatcher.controls.replay({ ...which, ...since })).toBe(expected.length)
    await engine.pass(MINUTE)
    expect(engine.idsSent().slice(4).sort()).toEqual(expected)
    await engine.close()
  })

  it('goes where the hook leads now, also of one that died on its way elsewhere', async () => {
    const engine = startEngine({ schedule: [] })
    engine.network.script = () => undefined
    const id = engine.submit()
    await engine.pass(0)
    engine.route({ a: 'elsewhere' })
    await engine.end(engine.network.sent[0], refused(404))
    expect(engine.dispatcher.stats().endpoints.get('elsewhere')).toMatchObject({ dead: 1 })
    engine.dispatcher.controls.replay({ id })
    await engine.pass(0)
    expect(engine.network.sent.at(-1)).toMatchObject({ id, number: 2, endpoint: { id: 'elsewhere' } })
    await engine.close()
  })

  it('of many does not hold up what is new', async () => {
    const engine = startEngine({ schedule: [] })
    engine.network.script = () => refused(404)
    engine.submitMany(100)
    await engine.pass(10 * MINUTE)
    engine.dispatcher.controls.resume('a')
    engine.network.script = () => accepted()
    engine.submit()
    await engine.pass(HOUR)
    engine.dispatcher.controls.replay({ endpoint: 'a' })
    const before = engine.network.sent.length
    const fresh = engine.submit()
    await engine.pass(HOUR)
    expect(engine.idsSent().slice(before).indexOf(fresh)).toBeLessThan(15)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 0, dead: 0 })
    await engine.close()
  })
})

describe('a cancellation', () => {
  it('discards at once what is queued, held, waiting or dead', async () => {
    const { engine, ids } = await oneOfEach()
    for (const status of ['queued', 'held', 'waiting', 'dead']) {
      expect(engine.dispatcher.controls.cancel({ id: ids[status]! })).toBe(1)
      expect(engine.dispatcher.controls.cancel({ id: ids[status]! })).toBe(0)
      expect(engine.discarded().at(-1)).toBe(`${ids[status]}: cancelled`)
      engine.check()
    }
    engine.dispatcher.controls.resume('a')
    engine.dispatcher.controls.replay({ since: 0 })
    await engine.end(engine.network.underWay[0], accepted())
    await engine.pass(DAY)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 2, pending: 0, dead: 0, discarded: { cancelled: 4 } })
    await engine.close()
  })

  it('of what is under way discards it if that fails, and delivers it if it does not', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    const [fails, gone, asked, succeeds] = engine.submitMany(4)
    await engine.pass(0)
    expect(engine.dispatcher.controls.cancel({ owner: 'a' })).toBe(4)
    expect(engine.dispatcher.stats()).toMatchObject({ pending: 4 })
    const outcomes = [refused(503), refused(410), refused(429, HOUR), accepted()]
    for (const [index, outcome] of outcomes.entries()) {
      await engine.end(engine.network.sent[index], outcome)
    }
    expect(engine.discarded()).toEqual([fails, gone, asked].map(id => `${id}: cancelled`))
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 1, discarded: { cancelled: 3 }, pending: 0, dead: 0 })
    expect(engine.network.sent.at(-1)?.id).toBe(succeeds)
    await engine.close()
  })

  it('lets those go that waited behind it, though it was under way', async () => {
    const engine = startEngine()
    engine.network.script = () => undefined
    const pre = engine.submit({ ...PRE, key: 'call' })
    const post = engine.submit({ key: 'call' })
    await engine.pass(0)
    engine.dispatcher.controls.cancel({ id: pre })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual([pre])
    await engine.end(engine.network.sent[0], refused(503))
    expect(engine.idsSent()).toEqual([pre, post])
    await engine.close()
  })

  it('of an owner leaves those of another at its endpoint alone', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', b: 'x' })
    engine.network.script = () => undefined
    engine.submitMany(20, { owner: 'a' })
    const others = engine.submitMany(2, { owner: 'b' })
    expect(engine.dispatcher.controls.cancel({ owner: 'a', endpoint: 'x' })).toBe(20)
    await engine.pass(0)
    expect(engine.idsSent()).toEqual(others)
    await engine.close()
  })
})

describe('a hook that is enabled', () => {
  it('has what waited sent at once, however far its next attempt was, though nothing is wrong with its endpoint', async () => {
    const engine = startEngine({ schedule: [9 * HOUR] })
    engine.network.script = () => refused(503)
    const waiting = engine.submit()
    await engine.pass(1)
    engine.network.script = () => accepted()
    const delivered = engine.submit()
    await engine.pass(1)
    engine.route({ a: routeTo('a', { isPaused: true }) })
    const parked = engine.submit()
    await engine.pass(MINUTE)
    engine.route({ a: routeTo('a', { isPaused: true }) })
    await engine.pass(MINUTE)
    expect(engine.idsSent()).toEqual([waiting, delivered])
    engine.route({ a: 'a' })
    await engine.pass(1)
    expect(engine.idsSent().slice(2).sort()).toEqual([waiting, parked])
    await engine.close()
  })
})
