import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { Engine, EngineEvent, EngineHealth } from '../../src/engine/engine.ts'
import { startReceiver } from '../sandbox/receiver.ts'
import type { Answering, Receiver } from '../sandbox/receiver.ts'
import { handingOf, hookTo, settingsOf } from './fixtures.ts'

/** A busy machine is no fault. */
export const PATIENCE = { timeout: 20_000, interval: 10 }

export type NewEngine = (options?: { readonly openDirectory?: () => Promise<string> }) => Engine

/** What every engine has to do, wherever its delivery side runs. */
export function runEngineCases(name: string, newEngine: NewEngine): void {
  function start(options?: Parameters<NewEngine>[0]): { engine: Engine; events: EngineEvent[] } {
    const engine = newEngine(options)
    const events: EngineEvent[] = []
    engine.listen(event => events.push(event))
    onTestFinished(() => engine.close(0))
    return { engine, events }
  }

  vi.setConfig({ testTimeout: 60_000 })

  describe(name, () => {
    it('delivers an event to its hooks, under ids that are made from the handing', async () => {
      const receiver = await receive()
      const { engine } = start()
      const b = hookTo(`${receiver.url}/b`, { id: 'b', name: 'Büro', format: 'office365' })
      engine.configure(settingsOf(hookTo(`${receiver.url}/a`), b))
      await engine.ready

      const handing = handingOf({ hooks: ['b', 'a'] })
      engine.hand(handing)

      const requests = await receiver.next(2, PATIENCE.timeout)
      const [toA, toB] = requests.sort((one, other) => one.url.localeCompare(other.url))
      expect(toA).toMatchObject({
        method: 'POST',
        url: '/a',
        headers: {
          'content-type': 'application/json',
          'webhook-id': `${handing.id}-1`,
          'x-xo-delivery': `${handing.id}-1`,
          'x-xo-attempt': '1',
          'x-xo-hook': 'Inventory',
          'x-xo-event': 'vm.start',
          'x-xo-event-type': 'post',
          'x-xo-event-status': 'success',
          'x-xo-created': '2026-01-02T03:04:05.000Z',
        },
        body: `{"callId":"call-${handing.id}","method":"vm.start","params":{"id":"vm-1"},"type":"post"}`,
      })
      expect(toA?.headers['x-xo-test']).toBeUndefined()
      expect(toB).toMatchObject({ url: '/b', headers: { 'webhook-id': `${handing.id}-0`, 'x-xo-hook': 'B%C3%BCro' } })
      expect(JSON.parse(toB?.body ?? '')).toMatchObject({ '@type': 'MessageCard' })
      await expectHealth(engine, { accepted: 2, delivered: 2, pending: 0 })
    })

    it('delivers what was handed over before it was ready', async () => {
      const receiver = await receive()
      const { engine } = start()
      engine.configure(settingsOf(hookTo(receiver.url)))
      const handings = Array.from({ length: 3 }, () => handingOf())
      handings.forEach(handing => engine.hand(handing))

      const requests = await receiver.next(3, PATIENCE.timeout)
      expect(new Set(requests.map(({ headers }) => headers['webhook-id']))).toEqual(
        new Set(handings.map(({ id }) => `${id}-0`))
      )
    })

    it('knows a handing again that it keeps', async () => {
      const { engine } = start()
      engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
      const handing = handingOf()
      engine.hand(handing)
      engine.hand(handing)
      engine.hand(handingOf({ hooks: ['unknown'] }))
      await expectHealth(engine, { accepted: 2, pending: 1, discarded: { 'hook removed': 1 } })
    })

    it('an empty place among the hooks is a delivery that is done with', async () => {
      const receiver = await receive()
      const { engine } = start()
      engine.configure(settingsOf(hookTo(receiver.url)))
      const handing = handingOf({ hooks: ['', 'a'] })
      engine.hand(handing)
      const [request] = await receiver.next(1, PATIENCE.timeout)
      expect(request?.headers['webhook-id']).toBe(`${handing.id}-1`)
      await expectHealth(engine, { accepted: 1, delivered: 1 })
    })

    it('tells of the object where a hook wants it, and that it was too large', async () => {
      const receiver = await receive()
      const { engine } = start()
      const b = hookTo(`${receiver.url}/with`, { id: 'b', includeObject: true })
      engine.configure(settingsOf(hookTo(`${receiver.url}/without`), b))
      engine.hand(handingOf({ hooks: ['a', 'b'], object: '{"name":"db"}' }))
      const requests = await receiver.next(2, PATIENCE.timeout)
      const bodies = new Map(requests.map(({ url, body }) => [url, JSON.parse(body)]))
      expect(bodies.get('/with')).toMatchObject({ object: { name: 'db' }, type: 'post' })
      expect(bodies.get('/without')).not.toHaveProperty('object')

      engine.hand(handingOf({ hooks: ['b'], object: null }))
      const [request] = await receiver.next(1, PATIENCE.timeout)
      expect(JSON.parse(request?.body ?? '')).toMatchObject({ omitted: ['object'] })
    })

    it('answers with the first attempts, whatever they come to', async () => {
      const receiver = await receive(({ url }) => (url === '/no' ? { status: 403, body: 'not now' } : { status: 204 }))
      const { engine } = start()
      engine.configure(settingsOf(hookTo(`${receiver.url}/no`), hookTo(`${receiver.url}/yes`, { id: 'b' })))
      await engine.ready
      const handing = handingOf({ hooks: ['a', 'b', 'unknown'], event: { phase: 'pre', outcome: 'started' } })

      const answers = await engine.ask(handing)

      expect(answers.map(({ hook }) => hook)).toEqual(['a', 'b'])
      expect(answers[0]?.attempt).toMatchObject({ number: 1, outcome: { kind: 'answered', ok: false, status: 403 } })
      expect(answers[1]?.attempt!.outcome).toMatchObject({ ok: true, status: 204 })
      const outcome = answers[0]?.attempt!.outcome
      expect(outcome?.kind === 'answered' && outcome.excerpt).toEqual(Buffer.from('not now'))
      await expectHealth(engine, { accepted: 3, delivered: 1, pending: 1, discarded: { 'hook removed': 1 } })
    })

    it('a question is put once: who refuses has answered, who does not answer is asked no more, nor who cannot be', async () => {
      const receiver = await receive(({ url }) => ({ status: Number(url.slice(1)) }))
      const { engine } = start()
      const hooks = ['403', '204', '503'].map(status => hookTo(`${receiver.url}/${status}`, { id: status }))
      const paused = hookTo(`${receiver.url}/200`, { id: 'paused', route: { isPaused: true } })
      engine.configure(settingsOf(...hooks, paused, hookTo(NOWHERE, { id: 'filtered', filter: 'method:nothing' })))
      await engine.ready
      const pre = { phase: 'pre', outcome: 'started' } as const
      const ids = [...hooks.map(({ id }) => id), 'paused', 'filtered']
      const answers = await engine.ask(handingOf({ hooks: ids, isQuestion: true, event: pre }))

      const outcomes = new Map(answers.map(({ hook, attempt }) => [hook, attempt?.outcome]))
      expect([...outcomes.keys()].sort()).toEqual(['204', '403', '503', 'filtered'])
      expect(outcomes.get('403')).toMatchObject({ ok: true, status: 403 })
      expect(outcomes.get('503')).toMatchObject({ ok: false, status: 503 })
      expect(outcomes.get('filtered')).toBeUndefined()
      await expectHealth(engine, { accepted: 4, delivered: 2, pending: 0, dead: 0, discarded: { expired: 2 } })
      expect(receiver.requests.map(({ headers }) => headers['x-xo-may-refuse'])).toEqual(['true', 'true', 'true'])
      // what nobody waits for, as after a death of the delivery side, is not asked at all
      engine.hand(handingOf({ hooks: ['204'], isQuestion: true, event: pre }))
      await expectHealth(engine, { accepted: 5, delivered: 2, pending: 0, discarded: { expired: 3 } })
      expect(receiver.requests).toHaveLength(3)
    })

    it('an answer that does not come is not waited for longer than the timeout', async () => {
      const receiver = await receive(() => new Promise(() => {}))
      const { engine } = start()
      engine.configure(settingsOf(hookTo(receiver.url, { route: { timeoutMs: 100 } })))
      await engine.ready
      const answers = await engine.ask(handingOf())
      expect(answers.filter(({ attempt }) => attempt!.outcome.kind !== 'timed-out')).toEqual([])
      expect(receiver.requests.length).toBeLessThanOrEqual(1)
    })

    it('a test is one attempt, apart from what is counted and filtered', async () => {
      const receiver = await receive(() => ({ status: 500 }))
      const { engine } = start()
      engine.configure(settingsOf(hookTo(receiver.url, { filter: 'method:nothing' })))
      const handing = handingOf({ isTest: true })

      const answers = await engine.probe(handing)

      expect(answers).toMatchObject([{ hook: 'a', attempt: { trigger: 'test', outcome: { status: 500 } } }])
      const [request] = await receiver.next(1, PATIENCE.timeout)
      expect(request?.headers).toMatchObject({ 'x-xo-test': 'true', 'webhook-id': `${handing.id}-0` })
      await expectHealth(engine, { accepted: 0 })
      expect(await engine.probe(handingOf({ hooks: ['unknown'] }))).toEqual([])
    })

    it('a test says, too, what cannot be written', async () => {
      const { engine } = start()
      engine.configure(settingsOf(hookTo(NOWHERE, { format: 'none such' })))
      const [answer] = await engine.probe(handingOf())
      expect(answer?.attempt!.outcome).toMatchObject({ kind: 'unreachable', code: 'UNFORMATTED' })
    })

    it('a format that throws takes only its own hook’s event', async () => {
      const receiver = await receive()
      const { engine, events } = start()
      engine.configure(
        settingsOf(
          hookTo(receiver.url, { format: 'office365' }),
          hookTo(receiver.url, { id: 'b' }),
          hookTo(receiver.url, { id: 'c', format: 'none such' })
        )
      )
      engine.hand(handingOf({ hooks: ['a', 'b', 'c'], event: { fields: new Map([['params', '"torn']]) } }))

      await expectHealth(engine, { accepted: 3, delivered: 1, discarded: { unformatted: 2 } })
      await vi.waitFor(() => {
        expect(events.filter(({ type }) => type === 'unformatted')).toEqual([
          { type: 'unformatted', hook: 'a', method: 'vm.start', error: expect.any(String) },
          { type: 'unformatted', hook: 'c', method: 'vm.start', error: 'there is no such format' },
        ])
        expect(countOf(events, 'unformatted')).toBe(2)
      }, PATIENCE)
      expect(receiver.requests).toHaveLength(1)
    })

    it('a filter decides, by what is in the event and in its object', async () => {
      const receiver = await receive()
      const { engine } = start()
      engine.configure(settingsOf(hookTo(receiver.url, { filter: 'status:success object:name:db' })))
      engine.hand(handingOf({ object: '{"name":"web"}' }))
      engine.hand(handingOf())
      const wanted = handingOf({ object: '{"name":"db"}' })
      engine.hand(wanted)

      const [request] = await receiver.next(1, PATIENCE.timeout)
      expect(request?.headers['webhook-id']).toBe(`${wanted.id}-0`)
      expect(request?.body).not.toContain('db')
      await expectHealth(engine, { accepted: 1, delivered: 1 })
    })

    it('a filter that takes too long is passed over, and its hook switched off after the third time', async () => {
      const receiver = await receive()
      const { engine, events } = start()
      const slow = hookTo(receiver.url, { filter: 'params:text:/^(a+)+$/' })
      engine.configure(settingsOf(slow, hookTo(receiver.url, { id: 'b' })))
      const fields = new Map([['params', JSON.stringify({ text: `${'a'.repeat(60)}!` })]])
      for (let n = 0; n < 5; ++n) {
        engine.hand(handingOf({ hooks: ['a', 'b'], event: { fields } }))
      }
      await expectHealth(engine, { accepted: 10, delivered: 8, discarded: { 'filter too slow': 2 } })
      expect((await engine.health()).undecided).toEqual(new Map([['a', 3]]))
      await vi.waitFor(() => {
        expect(events.filter(({ type }) => type === 'undecided')).toEqual([
          { type: 'undecided', hook: 'a', isSwitchedOff: false },
          { type: 'undecided', hook: 'a', isSwitchedOff: false },
          { type: 'undecided', hook: 'a', isSwitchedOff: true },
        ])
        expect(countOf(events, 'filter too slow')).toBe(2)
      }, PATIENCE)

      engine.configure(settingsOf(slow))
      engine.hand(handingOf({ event: { fields: new Map([['params', '{"text":"aaa"}']]) } }))
      await expectHealth(engine, { accepted: 11, delivered: 9 })
    })

    it('what waits follows its hook to where it goes now, or is discarded with it', async () => {
      const receiver = await receive()
      const { engine, events } = start()
      const pausedB = hookTo(NOWHERE, { id: 'b', route: { isPaused: true } })
      engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } }), pausedB))
      const handing = handingOf({ hooks: ['a', 'b'] })
      engine.hand(handing)
      await expectHealth(engine, { pending: 2 })

      engine.configure(settingsOf(hookTo(receiver.url)))

      const [request] = await receiver.next(1, PATIENCE.timeout)
      expect(request?.headers['webhook-id']).toBe(`${handing.id}-0`)
      await expectHealth(engine, { accepted: 2, delivered: 1, discarded: { 'hook removed': 1 } })
      await vi.waitFor(() => {
        expect(events).toContainEqual({ type: 'discarded', reason: 'hook removed', count: 1, id: `${handing.id}-1` })
      }, PATIENCE)
    })

    it('what is kept can be listed, looked up, replayed and cancelled', async () => {
      let status = 500
      const receiver = await receive(() => ({ status }))
      const { engine } = start()
      const hook = hookTo(receiver.url)
      engine.configure(settingsOf(hook))
      const [first, second] = [handingOf(), handingOf()]
      engine.hand(first)
      engine.hand(second)
      await vi.waitFor(async () => {
        const { items } = await engine.list({ owner: 'a' })
        expect(items.map(({ id }) => id)).toEqual([`${second.id}-0`, `${first.id}-0`])
        expect(items.every(({ attempts }) => attempts > 0)).toBe(true)
      }, PATIENCE)
      expect(await engine.get(`${first.id}-0`)).toMatchObject({
        owner: 'a',
        endpoint: hook.route.endpoint.id,
        label: 'vm.start success vm-1',
      })
      expect(await engine.get('nothing')).toBeUndefined()

      await engine.cancel({ id: `${first.id}-0` })
      status = 200
      await engine.replay({ owner: 'a' })
      await expectHealth(engine, { accepted: 2, delivered: 1, discarded: { cancelled: 1 } })
    })

    it('an endpoint can be paused and resumed', async () => {
      const receiver = await receive()
      const { engine } = start()
      const hook = hookTo(receiver.url)
      engine.configure(settingsOf(hook))
      expect(await engine.pause(hook.route.endpoint.id)).toBe(true)
      expect(await engine.pause('no such')).toBe(false)
      engine.hand(handingOf())
      await expectHealth(engine, { accepted: 1, pending: 1 })
      expect(receiver.requests).toHaveLength(0)

      expect(await engine.resume(hook.route.endpoint.id)).toBe(true)
      await expectHealth(engine, { delivered: 1 })
    })

    it('a listener that throws harms nobody, and one that is gone hears nothing', async () => {
      const receiver = await receive()
      const engine = newEngine()
      onTestFinished(() => engine.close(0))
      engine.listen(() => {
        throw new Error('bug')
      })
      const heard: EngineEvent[] = []
      const undo = engine.listen(event => heard.push(event))
      engine.configure(settingsOf(hookTo(receiver.url)))
      engine.hand(handingOf({ hooks: ['unknown'] }))
      await vi.waitFor(() => expect(countOf(heard, 'hook removed')).toBe(1), PATIENCE)
      undo()
      engine.hand(handingOf({ hooks: ['a', 'unknown'] }))
      await expectHealth(engine, { accepted: 3, delivered: 1 })
      expect(countOf(heard, 'hook removed')).toBe(1)
    })

    it('what waits at the end without a journal is discarded, as is what comes after it', async () => {
      const { engine, events } = start()
      engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
      engine.hand(handingOf())
      await expectHealth(engine, { pending: 1 })
      engine.hand(handingOf({ hooks: ['a', 'unknown'] }))

      await Promise.all([engine.close(0), engine.close(0)])
      engine.hand(handingOf())
      expect(await engine.ask(handingOf())).toEqual([])

      const discarded = { 'hook removed': 1, stopped: 4 }
      await expectHealth(engine, { accepted: 5, pending: 0, discarded })
      expect(countOf(events, 'stopped')).toBe(4)
    })

    it('the end does not wait for first attempts', async () => {
      const receiver = await receive(() => new Promise(() => {}))
      const { engine } = start()
      engine.configure(settingsOf(hookTo(receiver.url, { route: { timeoutMs: 10 * 60_000 } })))
      await engine.ready
      const answers = engine.ask(handingOf())
      await receiver.next(1, PATIENCE.timeout)
      await engine.close(0)
      for (const { attempt } of await answers) {
        expect(attempt!.outcome).toMatchObject({ kind: 'unreachable' })
      }
      await expectHealth(engine, { accepted: 1, pending: 0, discarded: { stopped: 1 } })
    })

    it('can be closed before it has started', async () => {
      const { engine } = start({ openDirectory: () => new Promise(() => {}) })
      engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
      engine.hand(handingOf())
      await engine.close(0)
      await engine.ready
      await expectHealth(engine, { accepted: 1, pending: 0, discarded: { stopped: 1 } })
    })

    it('what waits at the end goes on after a restart, if there is a journal', async () => {
      const receiver = await receive()
      const directory = await newDirectory()
      const openDirectory = (): Promise<string> => Promise.resolve(directory)
      const first = start({ openDirectory }).engine
      const hook = hookTo(receiver.url)
      first.configure(settingsOf(hookTo(receiver.url, { route: { isPaused: true } })))
      await first.ready
      const handing = handingOf()
      first.hand(handing)
      first.hand(handingOf({ hooks: ['unknown'] }))
      await expectHealth(first, { accepted: 2, pending: 1 })
      await first.close(0)

      const second = start({ openDirectory }).engine
      // long enough for a journal to be read, which is not before it is known whose deliveries are wanted
      await Promise.race([second.ready, new Promise(resolve => setTimeout(resolve, 500))])
      second.configure(settingsOf(hook))
      const [request] = await receiver.next(1, PATIENCE.timeout)
      expect(request?.headers).toMatchObject({ 'webhook-id': `${handing.id}-0`, 'x-xo-attempt': '1' })
      await expectHealth(second, { accepted: 2, delivered: 1, discarded: { 'hook removed': 1 } })
    })

    it('a folder that cannot be had keeps nothing from being sent', async () => {
      const receiver = await receive()
      const { engine, events } = start({ openDirectory: () => Promise.reject(new Error('no disk')) })
      engine.configure(settingsOf(hookTo(receiver.url)))
      engine.hand(handingOf())
      await receiver.next(1, PATIENCE.timeout)
      await engine.ready
      await vi.waitFor(() => {
        expect(events).toContainEqual({ type: 'journal', problem: 'no disk', recovered: 0, lost: 0 })
      }, PATIENCE)
      expect((await engine.health()).journal).toBe('no disk')
    })
  })
}

/** Of hooks that are paused. */
export const NOWHERE = 'http://127.0.0.1:9/'

/** A receiver for this test. */
export async function receive(answer?: Answering): Promise<Receiver> {
  const receiver = await startReceiver(answer)
  onTestFinished(() => receiver.close())
  return receiver
}

/** A folder for this test. */
export async function newDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'web-hooks-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** Waits until it is so; the books are right all the time. */
export async function expectHealth(engine: Engine, health: Partial<EngineHealth>): Promise<void> {
  await vi.waitFor(async () => {
    const current = await engine.health()
    const { accepted, delivered, pending, dead, discarded } = current
    expect(accepted).toBe(delivered + pending + dead + Object.values(discarded).reduce((sum, count) => sum + count, 0))
    expect(current).toMatchObject(health)
  }, PATIENCE)
}

/** How many were discarded for this reason. */
export function countOf(events: readonly EngineEvent[], reason: string): number {
  return events.reduce(
    (sum, event) => sum + (event.type === 'discarded' && event.reason === reason ? event.count : 0),
    0
  )
}
