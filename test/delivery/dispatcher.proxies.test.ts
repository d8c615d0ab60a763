import { describe, expect, it } from 'vitest'

import type { Attempt, AttemptOutcome } from '../../src/delivery/delivery.ts'
import type { ProxyReport } from '../../src/delivery/proxies.ts'
import { DurableRun, fakeClocks } from '../helpers/durable-run.ts'
import { routeTo, startEngine } from '../helpers/engine.ts'
import type { Engine } from '../helpers/engine.ts'
import { temporaryDirectory } from '../helpers/journal-files.ts'
import { accepted, proxyFailed, refused, timedOut } from '../helpers/outcomes.ts'

const SECOND = 1_000
const HOUR = 60 * 60 * SECOND

const PROXY = 'http://proxy.test:3128'
const HUNG: AttemptOutcome = { ...timedOut(), layer: 'proxy', isOnlyHere: true }

/** Endpoints behind a proxy; `direct` is reached without it. */
function startBehindProxy(endpoints: readonly string[], disableAfter?: number): Engine {
  const engine = startEngine({ schedule: [] }) // whatever is charged is dead
  engine.network.proxyOf = ({ id }) => (id === 'direct' ? undefined : PROXY)
  const limits = disableAfter === undefined ? {} : { disableAfter }
  engine.route(Object.fromEntries([...endpoints, 'direct'].map(id => [id, routeTo(id, limits)])))
  // the first route of an engine is to `a`, without a proxy
  engine.dispatcher.reconnect()
  return engine
}

function told({ events }: Engine): ProxyReport[] {
  return events.flatMap(event => (event.type === 'proxy' ? [event.report] : []))
}

function sentSince(engine: Engine, count: number): string[] {
  return engine.network.sent.slice(count).map(({ endpoint }) => endpoint.id)
}

describe('a proxy that fails', () => {
  it('is probed by one request in 5 s, whatever waits, and all goes once it is well', async () => {
    const endpoints = Array.from({ length: 20 }, (_, index) => `e${index}`)
    const engine = startBehindProxy(endpoints)
    engine.network.script = () => proxyFailed()
    for (const owner of endpoints) {
      engine.submitMany(20, { owner })
    }
    await engine.pass(2 * SECOND)
    const first = engine.network.sent.length
    expect(first).toBeLessThan(100)
    await engine.pass(50 * SECOND)
    expect(sentSince(engine, first)).toHaveLength(10)

    const before = engine.network.sent.length
    engine.network.script = () => accepted()
    await engine.pass(5 * SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 400, pending: 0 })
    expect(sentSince(engine, before)).toHaveLength(400)
    await engine.close()
  })

  it.each([
    ['that refuses', proxyFailed()],
    ['that does not get through', proxyFailed(true)],
    ['that hangs', HUNG],
  ])('for hours is held against no delivery and no endpoint (%s)', async (_what, outcome) => {
    const engine = startBehindProxy(['a', 'b'], 1)
    engine.network.script = ({ endpoint }) => (endpoint.id === 'direct' ? accepted() : outcome)
    engine.submitMany(3)
    engine.submit({ owner: 'b', lifetimeMs: HOUR / 4 })
    await engine.pass(HOUR / 2)
    const { endpoints, ...stats } = engine.dispatcher.stats()
    expect(stats).toMatchObject({ pending: 3, dead: 0, discarded: { expired: 1 } })
    expect([endpoints.get('a')?.health, engine.circuit('b')]).toMatchObject([
      { failuresInRow: 0, failingMs: 0 },
      'closed',
    ])
    expect(endpoints.get('a')?.health).not.toHaveProperty('disabled')

    engine.network.script = () => accepted()
    await engine.pass(5 * SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 3, pending: 0 })
    await engine.close()
  })

  it('keeps nothing from going that does not need it', async () => {
    const engine = startBehindProxy(['a'])
    engine.network.script = ({ endpoint }) => (endpoint.id === 'direct' ? accepted() : proxyFailed())
    engine.submitMany(100)
    await engine.pass(10 * SECOND)
    engine.submitMany(100, { owner: 'direct' })
    await engine.pass(SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 100, pending: 100 })
    await engine.close()
  })

  it('now and then delays what has met it, and nothing else', async () => {
    const engine = startBehindProxy(['a'])
    engine.network.script = ({ id, number }) => (number <= 2 && id === 'd1' ? proxyFailed() : accepted())
    engine.submitMany(100)
    await engine.pass(2 * SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 100 })
    expect(told(engine)).toEqual([])
    await engine.close()
  })

  it('has those that wait for an answer not wait', async () => {
    const engine = startBehindProxy(['a'])
    engine.network.script = () => proxyFailed()
    engine.submitMany(5)
    const answers: (Attempt | undefined)[] = []
    await engine.pass(4 * SECOND)
    engine.submit({}, attempt => answers.push(attempt))
    expect(answers).toEqual([undefined])
    engine.network.script = () => undefined // a probe is under way, or due
    await engine.pass(10 * SECOND)
    engine.submit({}, attempt => answers.push(attempt))
    expect(answers).toHaveLength(2)
    await engine.close()
  })

  it('has a new chance when someone has looked, and is another after a change of the settings', async () => {
    const engine = startBehindProxy(['a'])
    for (const look of [
      () => engine.route({ a: routeTo('a'), direct: routeTo('direct') }),
      () => engine.dispatcher.reconnect(),
    ]) {
      engine.network.script = () => proxyFailed()
      engine.submitMany(5)
      await engine.pass(4 * SECOND)
      engine.network.script = () => accepted()
      const before = engine.network.sent.length
      await engine.pass(SECOND / 2)
      expect(sentSince(engine, before)).toEqual([])
      look()
      engine.submit()
      await engine.pass(2)
      expect(engine.dispatcher.stats().pending).toBe(0)
    }
    await engine.close()
  })

  it('says nothing of the one that is in its place by now', async () => {
    const engine = startBehindProxy(['a'])
    engine.network.script = () => undefined
    engine.submitMany(8)
    await engine.pass(0)
    const old = engine.network.underWay
    engine.dispatcher.reconnect()
    old.forEach(sent => sent.end(proxyFailed()))
    engine.network.script = () => accepted()
    await engine.pass(SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 8 })
    expect(told(engine)).toEqual([])
    await engine.close()
  })
})

describe('probes of a proxy that is down', () => {
  it('do not fill the delivery log: what stands there is how it came down', async () => {
    fakeClocks()
    let requests = 0
    const connection = {
      proxy: PROXY,
      send: () => {
        ++requests
        return Promise.resolve(proxyFailed())
      },
      close() {},
      destroy() {},
    }
    const run = new DurableRun({ directory: await temporaryDirectory(), connect: () => connection })
    await run.opened()
    run.submit()
    await run.later(SECOND, () => requests >= 20)
    expect(await run.log()).toHaveLength(5)
  })
})

describe('a proxy that hangs', () => {
  it('is found well within 5 s, although probes of it are under way', async () => {
    const engine = startBehindProxy(['a'])
    engine.network.script = sent => {
      setTimeout(() => sent.end(HUNG), 10 * SECOND)
      return undefined
    }
    engine.submitMany(20)
    await engine.pass(60 * SECOND)
    const probes = engine.network.sent.filter(({ at }) => at > engine.network.sent[0]!.at + 11 * SECOND)
    expect(probes.length).toBeGreaterThan(8)
    expect(probes.every(({ at }, index) => index === 0 || at - probes[index - 1]!.at >= 5 * SECOND)).toBe(true)
    expect(engine.network.underWay.length).toBeLessThanOrEqual(2)

    engine.network.script = () => accepted()
    await engine.pass(5 * SECOND + 20)
    expect(engine.dispatcher.stats().delivered).toBeGreaterThanOrEqual(18)
    await engine.pass(10 * SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 20 })
    await engine.close()
  })
})

describe('a proxy that does not get through to one receiver', () => {
  it('is used for the others, and the one is probed', async () => {
    const engine = startBehindProxy(['gone', 'well'])
    engine.network.script = ({ endpoint }) => (endpoint.id === 'gone' ? proxyFailed(true) : accepted())
    engine.submitMany(10, { owner: 'gone' })
    await engine.pass(4 * SECOND)
    engine.submitMany(300, { owner: 'well' })
    await engine.pass(3 * SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 300, pending: 10 })
    const before = engine.network.sent.length
    await engine.pass(60 * SECOND)
    expect(sentSince(engine, before)).toEqual(Array(12).fill('gone'))

    engine.network.script = () => accepted()
    await engine.pass(5 * SECOND)
    expect(engine.dispatcher.stats()).toMatchObject({ delivered: 310 })
    await engine.close()
  })
})

describe('an administrator', () => {
  const failing = (receiver?: string): ProxyReport => ({
    ...{ proxy: PROXY, change: 'failing', lastError: 'made up (407)' },
    ...(receiver !== undefined && { receiver }),
  })
  const recovered: ProxyReport = { proxy: PROXY, change: 'recovered' }

  it.each([
    ['fails', proxyFailed(), failing()],
    ['gets through to none', proxyFailed(true), failing('http://e0.example')],
  ])('is told once of a proxy that %s, and once that it works', async (_what, outcome, report) => {
    const endpoints = Array.from({ length: 10 }, (_, index) => `e${index}`)
    const engine = startBehindProxy(endpoints)
    engine.network.script = () => outcome
    endpoints.forEach(owner => engine.submitMany(10, { owner }))
    await engine.pass(HOUR / 10)
    expect(told(engine)).toEqual([report])
    engine.network.script = () => accepted()
    await engine.pass(6 * SECOND)
    expect(told(engine)).toEqual([report, recovered])
    expect(engine.events.filter(({ type }) => type === 'health')).toEqual([])
    await engine.close()
  })

  it('is told of each receiver that goes while others are reached', async () => {
    const engine = startBehindProxy(['a', 'b', 'well'])
    const gone = new Set(['a'])
    engine.network.script = ({ endpoint }) => (gone.has(endpoint.id) ? proxyFailed(true) : accepted())
    const turn = async (): Promise<void> => {
      for (const owner of ['a', 'b', 'well']) {
        engine.submitMany(5, { owner })
      }
      await engine.pass(20 * SECOND)
    }
    await turn()
    gone.add('b')
    await turn()
    await turn()
    expect(told(engine)).toEqual([failing('http://a.example'), failing('http://b.example')])
    gone.clear()
    await turn()
    expect(told(engine).slice(2)).toEqual([recovered])
    await engine.close()
  })

  it('is told again, of the endpoint, where the receiver itself fails behind it', async () => {
    const engine = startBehindProxy(['a'])
    engine.network.script = () => proxyFailed()
    engine.submitMany(5)
    await engine.pass(SECOND * 4)
    engine.network.script = () => refused(500)
    await engine.pass(SECOND * 30)
    expect(told(engine)).toEqual([failing(), recovered])
    expect(engine.events.filter(({ type }) => type === 'health')).toHaveLength(1)
    await engine.close()
  })
})
