import { describe, expect, it } from 'vitest'

import { endpointOf, routeTo, startEngine } from '../helpers/engine.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const PRE = { phase: 'pre', key: 'call', lifetimeMs: 5 * MINUTE } as const
const POST = { phase: 'post', key: 'call' } as const

// `x#1` and `x#2` are other endpoints (other tokens) at the URL of `x`; see `endpointOf`

describe('the order of a call at one URL', () => {
  it.each([
    ['limits', routeTo('x', { timeoutMs: 5_000, disableAfter: 3 }), routeTo('x')],
    ['credentials', routeTo('x#1'), routeTo('x#2')],
    ['secrets', routeTo('x'), routeTo('x#1', { endpoint: { ...endpointOf('x#1'), secrets: 'secret' } })],
    [
      'TLS settings',
      routeTo('x'),
      routeTo('x#1', { endpoint: { ...endpointOf('x#1'), tls: { acceptAnyCertificate: true } } }),
    ],
  ])('is kept between hooks with other %s', async (_, first, second) => {
    const engine = startEngine()
    engine.route({ a: first, b: second })
    engine.network.script = () => undefined
    const pre = engine.submit({ ...PRE, owner: 'a' })
    const post = engine.submit({ ...POST, owner: 'b' })
    const other = engine.submit({ owner: 'b' })
    await engine.pass(0)
    expect(engine.idsSent().sort()).toEqual([pre, other])
    await engine.end(engine.network.sent[0], accepted())
    expect(engine.idsSent().at(-1)).toBe(post)
    await engine.close()
  })

  it('is kept while the pre is tried again, whatever the breaker of the other hook says', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = ({ number }) => (number < 4 ? refused(503) : accepted())
    const pre = engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(1)
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(MINUTE)
    expect(engine.idsSent().slice(0, 5)).toEqual([pre, pre, pre, pre, post])
    await engine.close()
  })

  it('is none at another path of the same origin', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', b: 'x/path' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, owner: 'a' })
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(0)
    expect(engine.idsSent()).toContain(post)
    await engine.close()
  })

  it('lets two leaders of one call go side by side, and post after both', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, owner: 'a' })
    engine.submit({ ...PRE, owner: 'b' })
    const posts = [engine.submit({ ...POST, owner: 'a' }), engine.submit({ ...POST, owner: 'b' })]
    await engine.pass(0)
    expect(engine.idsSent()).toEqual(['d1', 'd2'])
    await engine.end(engine.network.sent[1], accepted())
    expect(engine.idsSent()).toEqual(['d1', 'd2'])
    await engine.end(engine.network.sent[0], accepted())
    expect(engine.idsSent().slice(2).sort()).toEqual(posts)
    await engine.close()
  })

  it('is kept though the post is urgent', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, owner: 'a' })
    const post = engine.submit({ ...POST, owner: 'b' }, () => {})
    await engine.pass(0)
    expect(engine.idsSent()).not.toContain(post)
    await engine.end(engine.network.sent[0], accepted())
    expect(engine.idsSent()).toContain(post)
    await engine.close()
  })

  it('holds a post for as long as its pre may live, and not longer', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'x#1' ? refused(503, 4 * MINUTE) : accepted())
    engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(1)
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(4 * MINUTE - 1)
    expect(engine.idsSent()).not.toContain(post)
    await engine.pass(MINUTE + SECOND)
    expect(engine.discarded()).toEqual(['d1: expired'])
    // the second refusal of the pre holds the origin
    await engine.pass(4 * MINUTE)
    expect(engine.idsSent()).toContain(post)
    await engine.close()
  })
})

describe('a leader that leaves a URL', () => {
  it('because its hook moves away releases those who wait there', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'x#1' ? refused(503) : undefined)
    engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(1)
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual(['d1'])
    engine.route({ a: 'y', b: 'x#2' })
    await engine.pass(0)
    expect(engine.network.underWay.map(({ id, endpoint }) => `${id} ${endpoint.id}`).sort()).toEqual([
      'd1 y',
      `${post} x#2`,
    ])
    await engine.close()
  })

  it('because its hook is removed releases them', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'x#1' ? refused(503) : accepted())
    engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(1)
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(0)
    engine.route({ b: 'x#2' })
    await engine.pass(0)
    expect(engine.discarded()).toEqual(['d1: hook removed'])
    expect(engine.idsSent()).toEqual(['d1', post])
    await engine.close()
  })

  it('because its hook is disabled releases them; a post of its own waits for the hook', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'x#1' ? refused(503) : accepted())
    const pre = engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(1)
    const post = engine.submit({ ...POST, owner: 'b' })
    const own = engine.submit({ ...POST, owner: 'a' })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual([pre])
    engine.route({ a: routeTo('x#1', { isPaused: true }), b: 'x#2' })
    await engine.pass(1)
    expect(engine.idsSent()).toEqual([pre, post])
    engine.network.script = () => accepted()
    engine.route({ a: 'x#1', b: 'x#2' })
    await engine.pass(10)
    expect(engine.idsSent()).toEqual([pre, post, pre, own])
    await engine.close()
  })

  it('does not, as long as it is under way there: not when it moves, is removed or is disabled', async () => {
    for (const routes of [
      { a: 'y', b: 'x#2' },
      { b: 'x#2' },
      { a: routeTo('x#1', { isPaused: true }), b: 'x#2' },
    ] as const) {
      const engine = startEngine()
      engine.route({ a: 'x#1', b: 'x#2' })
      engine.network.script = () => undefined
      engine.submit({ ...PRE, owner: 'a' })
      await engine.pass(0)
      const post = engine.submit({ ...POST, owner: 'b' })
      engine.route(routes)
      await engine.pass(MINUTE)
      expect(engine.idsSent()).toEqual(['d1'])
      await engine.end(engine.network.sent[0], refused(503))
      expect(engine.idsSent()).toContain(post)
      await engine.close()
    }
  })

  it('by a cancellation releases them', async () => {
    const engine = startEngine()
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'x#1' ? refused(503) : accepted())
    const pre = engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(1)
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(0)
    engine.dispatcher.controls.cancel({ id: pre })
    await engine.pass(0)
    expect(engine.idsSent()).toEqual([pre, post])
    await engine.close()
  })
})

describe('a leader under way to x while its hook moves to y', () => {
  it('holds followers at both: at x until its attempt is over, at y until it has settled', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', atX: 'x#1', atY: 'y#1' })
    engine.network.script = () => undefined
    const pre = engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(0)
    engine.route({ a: 'y', atX: 'x#1', atY: 'y#1' })
    const atX = engine.submit({ ...POST, owner: 'atX' })
    const atY = engine.submit({ ...POST, owner: 'atY' })
    await engine.pass(MINUTE)
    expect(engine.idsSent()).toEqual([pre])
    await engine.end(engine.network.sent[0], refused(503))
    expect(
      engine.network.sent
        .slice(1)
        .map(({ id, endpoint }) => `${id} ${endpoint.id}`)
        .sort()
    ).toEqual([`${pre} y`, `${atX} x#1`])
    await engine.end(
      engine.network.underWay.find(({ id }) => id === pre),
      accepted()
    )
    expect(engine.idsSent().at(-1)).toBe(atY)
    await engine.close()
  })

  it('holds nobody any more once it was delivered to x', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', atX: 'x#1', atY: 'y#1' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, owner: 'a' })
    await engine.pass(0)
    engine.route({ a: 'y', atX: 'x#1', atY: 'y#1' })
    const posts = [engine.submit({ ...POST, owner: 'atX' }), engine.submit({ ...POST, owner: 'atY' })]
    await engine.end(engine.network.sent[0], accepted())
    expect(engine.idsSent().slice(1).sort()).toEqual(posts)
    await engine.close()
  })
})

describe('a follower', () => {
  it('that moves to the URL of its leader is held there', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', b: 'y' })
    engine.network.script = ({ endpoint }) => (endpoint.id === 'y' ? refused(503) : undefined)
    engine.submit({ ...PRE, owner: 'a' })
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(1)
    expect(engine.idsSent()).toEqual(['d1', post])
    engine.route({ a: 'x', b: 'x#1' })
    await engine.pass(MINUTE)
    expect(engine.idsSent()).toEqual(['d1', post])
    await engine.end(engine.network.underWay[0], accepted())
    expect(engine.network.sent.at(-1)).toMatchObject({ id: post, number: 2, endpoint: { id: 'x#1' } })
    await engine.close()
  })

  it('that moves away from it goes at once', async () => {
    const engine = startEngine()
    engine.route({ a: 'x', b: 'x#1' })
    engine.network.script = () => undefined
    engine.submit({ ...PRE, owner: 'a' })
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(0)
    expect(engine.idsSent()).not.toContain(post)
    engine.route({ a: 'x', b: 'y' })
    await engine.pass(0)
    expect(engine.network.sent.at(-1)).toMatchObject({ id: post, endpoint: { id: 'y' } })
    await engine.close()
  })

  it('waits for a leader that is replayed after days for one attempt, and no longer', async () => {
    const engine = startEngine()
    engine.network.script = () => refused(404)
    const pre = engine.submit({ phase: 'pre', key: 'call', lifetimeMs: 2 * HOUR })
    await engine.pass(2 * HOUR - 1)
    expect(engine.dispatcher.controls.get(pre)).toMatchObject({ status: 'dead' })
    const post = engine.submit({ key: 'call' })
    engine.network.script = ({ id }) => (id === pre ? refused(503) : accepted())
    await engine.pass(DAY)
    expect(engine.idsSent()).toContain(post)
    engine.dispatcher.controls.replay({ id: pre })
    const late = engine.submit({ key: 'call' })
    await engine.pass(10)
    expect(engine.idsSent().slice(-2)).toEqual([pre, late])
    expect(engine.dispatcher.controls.get(pre)).toMatchObject({ status: 'waiting' })
    await engine.close()
  })

  it('that is replayed waits for a leader that is replayed with it', async () => {
    const engine = startEngine({ schedule: [] })
    engine.route({ a: 'x#1', b: 'x#2' })
    engine.network.script = () => refused(403)
    const pre = engine.submit({ ...PRE, owner: 'a' })
    const post = engine.submit({ ...POST, owner: 'b' })
    await engine.pass(10)
    expect(engine.dispatcher.stats()).toMatchObject({ dead: 2 })
    engine.network.script = ({ id }) => (id === pre ? undefined : accepted())
    engine.dispatcher.controls.replay({ since: 0 })
    await engine.pass(MINUTE)
    expect(engine.idsSent()).toEqual([pre, post, pre])
    await engine.end(engine.network.underWay[0], accepted())
    expect(engine.idsSent().at(-1)).toBe(post)
    await engine.close()
  })
})
