import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { Hook, Settings } from '../src/config/hook.ts'
import type { Answer } from '../src/engine/engine.ts'
import type { ObjectSnapshot } from '../src/event/object.ts'
import { parsePatterns } from '../src/matcher.ts'
import { Relay } from '../src/relay.ts'
import type { ObjectSource } from '../src/sources/objects.ts'
import type { Signal } from '../src/xo.ts'
import { RecordingEngine } from './helpers/recording-engine.ts'

type HookOptions = Partial<Omit<Hook, 'methods' | 'route'>> & {
  readonly method?: string
  readonly timeoutMs?: number
  readonly isPaused?: boolean
}

function hookOf(
  id: string,
  { method = 'vm.*', timeoutMs = 10_000, isPaused = false, ...more }: HookOptions = {}
): Hook {
  const endpoint = { id: `to ${id}`, url: `http://${id}.example/s3cret`, headers: ['Authorization', 's3cret'] }
  return {
    ...{ id, name: `hook ${id}`, phases: ['pre', 'post'], status: 'any', format: 'json' },
    ...{ includeObject: false, waitForResponse: false, mayRefuse: false, refuseWhenSilent: false, ...more },
    methods: parsePatterns(method),
    route: { endpoint, timeoutMs, isPaused },
  }
}

const settingsOf = (...hooks: Hook[]): Settings => ({ hooks, others: [], notify: [] })

let calls = 0

function signalOf(method: string, more: object = {}): Signal {
  return { callId: `call ${++calls}`, userId: 'u1', method, params: { id: 'vm-1' }, timestamp: Date.now(), ...more }
}

interface Started {
  readonly relay: Relay
  readonly engine: RecordingEngine
}

function start(hooks: Hook[], objects?: ObjectSource): Started {
  const engine = new RecordingEngine()
  const relay = new Relay(settingsOf(...hooks), {}, { engine, namesOf: name => [name], ...(objects && { objects }) })
  return { relay, engine }
}

function fakeTime(): void {
  vi.useFakeTimers()
  onTestFinished(() => {
    vi.useRealTimers()
  })
}

describe('an event', () => {
  it('that no hook wants is not even read', () => {
    const { relay, engine } = start([hookOf('a', { method: 'vm.stop' })])
    const signal = signalOf('vm.start')
    Object.defineProperty(signal, 'params', {
      get: () => {
        throw new Error('read')
      },
    })
    expect(relay.accept('api', 'post', signal)).toBeUndefined()
    expect(engine.handed).toEqual([])
  })

  it('is handed over once for all hooks that want it, as text', () => {
    const { relay, engine } = start([
      hookOf('a'),
      hookOf('b', { method: '*' }),
      hookOf('c', { method: 'host.*' }),
      hookOf('d', { status: 'failure' }),
      hookOf('e', { phases: ['pre'] }),
    ])
    const toJSON = vi.fn(() => 'once')
    expect(relay.accept('api', 'post', signalOf('vm.start', { result: { toJSON } }))).toBeUndefined()
    expect(engine.handed).toHaveLength(1)
    expect(engine.handed[0]).toMatchObject({
      id: expect.stringMatching(/^[\w-]{36}$/),
      hooks: ['a', 'b'],
      party: 'u1',
      event: { source: 'api', phase: 'post', outcome: 'success', method: 'vm.start', callId: `call ${calls}` },
    })
    expect(engine.handed[0]).not.toHaveProperty('object')
    expect(engine.handed[0]!.event.fields.get('result')).toBe('"once"')
    expect(toJSON).toHaveBeenCalledOnce()
  })

  it('has an id of its own each time', () => {
    const { relay, engine } = start([hookOf('a')])
    const signal = signalOf('vm.start')
    void relay.accept('api', 'pre', signal)
    void relay.accept('api', 'post', signal)
    expect(new Set(engine.handed.map(({ id }) => id)).size).toBe(2)
  })

  it.each([
    ['the user', 'api', { userId: 'alice' }, 'alice'],
    ['everybody who has not signed in', 'api', { userId: undefined }, 'not signed in'],
    ['the source', 'backup', { userId: 'alice' }, 'backup'],
  ] as const)('is caused by %s', (_, source, more, party) => {
    const { relay, engine } = start([hookOf('a')])
    void relay.accept(source, 'post', signalOf('vm.start', more))
    expect(engine.handed[0]).toMatchObject({ party })
  })

  it('is not for a hook that is paused, which stays known to the delivery side', () => {
    const { relay, engine } = start([hookOf('a', { isPaused: true }), hookOf('b', { method: 'host.*' })])
    expect([relay.wants('vm.start'), relay.waits('vm.start')]).toEqual([false, false])
    void relay.accept('api', 'post', signalOf('vm.start'))
    expect(engine.handed).toEqual([])
    expect(engine.settings[0]!.hooks.map(({ id }) => id)).toEqual(['a', 'b'])
    relay.reconfigure(settingsOf(hookOf('a')))
    void relay.accept('api', 'post', signalOf('vm.start'))
    expect(engine.handed).toHaveLength(1)
  })
})

describe('what crosses to the delivery side', () => {
  it('are the hooks that cannot be used too, so that what waits for them is kept', () => {
    const engine = new RecordingEngine()
    const other = { ...hookOf('b'), phases: undefined }
    const settings = { ...settingsOf(hookOf('a')), others: [other] }
    const relay = new Relay(settings, {}, { engine, namesOf: name => [name] })
    expect(engine.settings[0]!.hooks.map(({ id }) => id)).toEqual(['a', 'b'])
    void relay.accept('api', 'post', signalOf('vm.start'))
    expect(engine.handed[0]!.hooks).toEqual(['a'])
  })

  it('is of each hook what is needed there, as plain data', () => {
    const { engine } = start([hookOf('a', { includeObject: true, filter: 'userName:bob', waitForResponse: true })])
    expect(engine.settings).toEqual([
      {
        hooks: [
          {
            ...{ id: 'a', name: 'hook a', format: 'json', includeObject: true, filter: 'userName:bob' },
            route: hookOf('a').route,
          },
        ],
        proxy: {},
      },
    ])
  })

  it('is the proxy too, which changes without the hooks, and they without it', () => {
    const { relay, engine } = start([hookOf('a')])
    const proxy = { httpProxy: 'http://proxy.example' }
    relay.reconfigure(undefined, proxy)
    relay.reconfigure(settingsOf(hookOf('b')))
    expect(engine.settings.map(({ hooks, ...rest }) => [hooks[0]!.id, rest.proxy])).toEqual([
      ['a', {}],
      ['a', proxy],
      ['b', proxy],
    ])
  })

  it('is said before anybody who looks for events of the new hooks', () => {
    const { relay, engine } = start([])
    const seen: unknown[] = []
    const undo = relay.onChange(() => seen.push([relay.wants('vm.start'), engine.settings.length]))
    relay.reconfigure(settingsOf(hookOf('a')))
    undo()
    relay.reconfigure(settingsOf())
    expect(seen).toEqual([[true, 2]])
  })
})

describe('a pre that hooks want answered first', () => {
  const waiting = (id: string, timeoutMs?: number): Hook =>
    hookOf(id, { waitForResponse: true, ...(timeoutMs !== undefined && { timeoutMs }) })

  it('is asked for these hooks, and handed over for the others', async () => {
    const { relay, engine } = start([waiting('a'), hookOf('b'), waiting('c')])
    let answer = (_: readonly Answer[]): void => {}
    engine.onAsk = () =>
      new Promise(resolve => {
        answer = resolve
      })
    const accepted = relay.accept('api', 'pre', signalOf('vm.start'))
    expect(engine.asked.map(({ hooks }) => hooks)).toEqual([['a', 'c']])
    expect(engine.handed.map(({ hooks }) => hooks)).toEqual([['b']])
    expect(engine.asked[0]!.id).not.toBe(engine.handed[0]!.id)
    const settled = vi.fn()
    void accepted!.then(settled)
    await Promise.resolve()
    expect(settled).not.toHaveBeenCalled()
    answer([])
    await expect(accepted).resolves.toBeUndefined()
  })

  it('holds nobody at its post', () => {
    const { relay, engine } = start([waiting('a')])
    expect(relay.waits('vm.start')).toBe(true)
    expect(relay.accept('api', 'post', signalOf('vm.start'))).toBeUndefined()
    expect([engine.asked, engine.handed.length]).toEqual([[], 1])
  })

  it('waits no longer than the longest timeout of these hooks, if the delivery side never answers', async () => {
    fakeTime()
    const { relay } = start([waiting('a', 1_000), waiting('b', 3_000), hookOf('c', { timeoutMs: 9_000 })])
    const settled = vi.fn()
    void relay.accept('api', 'pre', signalOf('vm.start'))!.then(settled)
    await vi.advanceTimersByTimeAsync(2_999)
    expect(settled).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(1)
    expect(settled).toHaveBeenCalledWith(undefined)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('goes on if the delivery side fails, or is closed', async () => {
    fakeTime()
    const { relay, engine } = start([waiting('a')])
    engine.onAsk = () => Promise.reject(new Error('a bug'))
    await expect(relay.accept('api', 'pre', signalOf('vm.start'))).resolves.toBeUndefined()
    engine.onAsk = () => new Promise(() => {})
    const held = relay.accept('api', 'pre', signalOf('vm.start'))
    await relay.close(0)
    await expect(held).resolves.toBeUndefined()
    expect(vi.getTimerCount()).toBe(0)
  })
})

/** Objects that the test makes known. Whoever waits for one to settle is told by `finish`. */
class Objects implements ObjectSource {
  readonly known = new Map<string, object>()
  readonly waiting = new Set<() => void>()
  looks = 0

  get = (id: string): unknown => {
    ++this.looks
    return this.known.get(id)
  }

  whenSettled(_: string, ms: number, callback: () => void): () => void {
    const timer = setTimeout(() => done(), ms)
    const done = (): void => {
      if (this.waiting.delete(done)) {
        clearTimeout(timer)
        callback()
      }
    }
    this.waiting.add(done)
    return done
  }

  add(id: string, name_label: string): void {
    this.known.set(id, { id, type: 'VM', name_label })
  }

  finish(): void {
    this.waiting.forEach(done => done())
  }
}

const UUID = '67aac198-0174-11ea-8d71-362b9e155667'

describe('the object that an event is about', () => {
  const nameIn = ({ object }: { object?: string | null }): unknown =>
    object === undefined || object === null ? object : (JSON.parse(object) as ObjectSnapshot).name_label

  it('goes along for hooks that include it, or filter; without such a hook it is not even looked for', () => {
    const objects = new Objects()
    objects.add('vm-1', 'web-1')
    const plain = start([hookOf('a')], objects)
    void plain.relay.accept('api', 'pre', signalOf('vm.start'))
    void plain.relay.accept('api', 'post', signalOf('vm.start'))
    expect([objects.looks, plain.engine.handed.map(nameIn)]).toEqual([0, [undefined, undefined]])

    for (const more of [{ includeObject: true }, { filter: 'object:web' }]) {
      const { relay, engine } = start([hookOf('a'), hookOf('b', more)], objects)
      void relay.accept('api', 'pre', signalOf('vm.start'))
      void relay.accept('api', 'post', signalOf('vm.start', { error: {} }))
      expect(engine.handed.map(nameIn)).toEqual(['web-1', 'web-1'])
      expect(engine.handed.map(({ hooks }) => hooks)).toEqual([
        ['a', 'b'],
        ['a', 'b'],
      ])
    }
  })

  it('is as it is after the call, once it has settled, for the hooks that ask for it', () => {
    fakeTime()
    const objects = new Objects()
    objects.add('vm-1', 'old')
    const { relay, engine } = start([hookOf('a'), hookOf('b', { includeObject: true })], objects)
    void relay.accept('api', 'post', signalOf('vm.set', { result: true }))
    expect(engine.handed.map(({ hooks, ...rest }) => [hooks, nameIn(rest)])).toEqual([[['a'], undefined]])
    objects.add('vm-1', 'new')
    objects.finish()
    expect(engine.handed.slice(1).map(({ hooks, ...rest }) => [hooks, nameIn(rest)])).toEqual([[['b'], 'new']])
  })

  it('that a call has removed a little after its end is as it was before', () => {
    fakeTime()
    const objects = new Objects()
    objects.add('vm-1', 'web-1')
    const { relay, engine } = start([hookOf('a', { includeObject: true })], objects)
    void relay.accept('api', 'post', signalOf('vm.delete', { result: true }))
    objects.known.clear()
    objects.finish()
    expect(engine.handed.map(nameIn)).toEqual(['web-1'])
  })

  it('is as it was when the call began, if it is gone at its end, which ends the keeping', () => {
    const objects = new Objects()
    objects.add('vm-1', 'web-1')
    const { relay, engine } = start([hookOf('a', { includeObject: true, phases: ['post'] })], objects)
    const signal = signalOf('vm.delete')
    void relay.accept('api', 'pre', signal)
    objects.known.clear()
    void relay.accept('api', 'post', signal)
    void relay.accept('api', 'post', signal)
    expect(engine.handed.map(nameIn)).toEqual(['web-1', undefined])
  })

  it.each([
    ['its post is not for the hook that asks', (relay: Relay, post: Signal) => void relay.accept('api', 'post', post)],
    [
      'its post is not for any hook by then',
      (relay: Relay, post: Signal) => {
        relay.reconfigure(settingsOf(hookOf('b', { method: 'host.*', includeObject: true })))
        void relay.accept('api', 'post', post)
        relay.reconfigure(settingsOf(hookOf('a', { includeObject: true })))
      },
    ],
    [
      'its post is not even heard',
      (relay: Relay) => {
        relay.reconfigure(settingsOf(hookOf('b', { method: 'host.*', includeObject: true })))
        relay.reconfigure(settingsOf(hookOf('a', { includeObject: true })))
      },
    ],
    [
      'its post cannot be read',
      (relay: Relay, post: Signal) => {
        const unreadable = new Proxy(post, {
          ownKeys: () => {
            throw new Error('hostile')
          },
        })
        relay.reconfigure(settingsOf(hookOf('a', { includeObject: true })))
        expect(() => void relay.accept('api', 'post', unreadable)).toThrow('hostile')
      },
    ],
  ])('is not kept once the call is over and %s', (_, end) => {
    const objects = new Objects()
    objects.add('vm-1', 'web-1')
    const { relay, engine } = start([hookOf('a', { includeObject: true, status: 'failure' })], objects)
    const signal = signalOf('vm.delete')
    void relay.accept('api', 'pre', signal)
    objects.known.clear()
    engine.handed.length = 0
    end(relay, { ...signal, result: true })
    expect(engine.handed).toEqual([])
    void relay.accept('api', 'post', { ...signal, error: {} })
    expect(engine.handed.map(nameIn)).toEqual([undefined])
  })

  it('is kept over a save that leaves its hook as it is', () => {
    const objects = new Objects()
    objects.add('vm-1', 'web-1')
    const hook = hookOf('a', { includeObject: true, phases: ['post'] })
    const { relay, engine } = start([hook], objects)
    const signal = signalOf('vm.delete')
    void relay.accept('api', 'pre', signal)
    objects.known.clear()
    relay.reconfigure(settingsOf(hook))
    void relay.accept('api', 'post', signal)
    expect(engine.handed.map(nameIn)).toEqual(['web-1'])
  })

  it('is kept of so many calls at once, and no more', () => {
    const objects = new Objects()
    objects.add('vm-1', 'web-1')
    const { relay, engine } = start([hookOf('a', { includeObject: true, phases: ['post'] })], objects)
    const signals = Array.from({ length: 1_001 }, () => signalOf('vm.delete'))
    signals.forEach(signal => void relay.accept('api', 'pre', signal))
    objects.known.clear()
    signals.slice(0, 2).forEach(signal => void relay.accept('api', 'post', signal))
    expect(engine.handed.map(nameIn)).toEqual([undefined, 'web-1'])
  })

  it('that the source knows is taken as it is', () => {
    const objects = new Objects()
    objects.add('vm-1', 'web-1')
    const { relay, engine } = start([hookOf('a', { includeObject: true })], objects)
    void relay.accept('state', 'post', signalOf('vm.started', { result: UUID }), () => ({
      id: 'x',
      type: 'VM',
      name_label: 'y',
    }))
    expect(engine.handed.map(nameIn)).toEqual(['y'])
  })

  it('that is being created is waited for, by the hooks that ask for it', () => {
    fakeTime()
    const objects = new Objects()
    const { relay, engine } = start([hookOf('a'), hookOf('b', { includeObject: true })], objects)
    void relay.accept('api', 'post', signalOf('vm.create', { result: UUID }))
    expect(engine.handed.map(({ hooks, ...rest }) => [hooks, nameIn(rest)])).toEqual([[['a'], undefined]])
    objects.add(UUID, 'new')
    objects.finish()
    expect(engine.handed.slice(1).map(({ hooks, ...rest }) => [hooks, nameIn(rest)])).toEqual([[['b'], 'new']])
    expect(engine.handed[1]!.event).toEqual(engine.handed[0]!.event)
    expect(engine.handed[1]!.id).not.toBe(engine.handed[0]!.id)
  })

  it('that does not come is done without after a while, by the hooks that are left by then', async () => {
    fakeTime()
    const objects = new Objects()
    objects.add('vm-1', 'template')
    const asking = [hookOf('a', { includeObject: true }), hookOf('b', { includeObject: true })]
    const { relay, engine } = start(asking, objects)
    void relay.accept('api', 'post', signalOf('vm.create', { result: UUID }))
    expect(engine.handed).toEqual([])
    relay.reconfigure(settingsOf(asking[1]!))
    await vi.advanceTimersByTimeAsync(60_000)
    expect(engine.handed.map(({ hooks, ...rest }) => [hooks, nameIn(rest)])).toEqual([[['b'], 'template']])
  })

  it('is waited for no longer when everything ends', async () => {
    fakeTime()
    const objects = new Objects()
    const { relay, engine } = start([hookOf('a', { includeObject: true })], objects)
    void relay.accept('api', 'post', signalOf('vm.create', { result: UUID }))
    await relay.close(5)
    expect(engine.handed).toHaveLength(1)
    expect(engine.graces).toEqual([5])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('of a hook that is gone by then is handed to nobody', () => {
    fakeTime()
    const objects = new Objects()
    const { relay, engine } = start([hookOf('a', { includeObject: true })], objects)
    void relay.accept('api', 'post', signalOf('vm.create', { result: UUID }))
    relay.reconfigure(settingsOf())
    objects.finish()
    expect(engine.handed).toEqual([])
  })
})

describe('the test', () => {
  const sample = (hook: Hook, phase: string): { signal: Signal; object: ObjectSnapshot } => ({
    signal: signalOf('vm.start', { test: `${hook.id} ${phase}` }),
    object: { id: 'x', type: 'VM' },
  })

  it('asks for each phase of each hook that is not paused, and says what came of it', async () => {
    const { relay, engine } = start([
      hookOf('a', { includeObject: true }),
      hookOf('b', { phases: ['post'] }),
      hookOf('c', { isPaused: true }),
    ])
    engine.onProbe = ({ hooks: [hook = ''] }) =>
      Promise.resolve([
        {
          hook,
          attempt: {
            ...{ number: 1, trigger: 'test', startedAt: 0, durationMs: 12.4 },
            outcome: { kind: 'answered', ok: hook === 'a', status: hook === 'a' ? 200 : 503, excerpt: Buffer.alloc(0) },
          },
        },
      ])
    expect(await relay.test(sample)).toEqual([
      {
        hook: 'hook a',
        type: 'pre',
        origin: 'http://a.example',
        ok: true,
        outcome: 'answered 200',
        status: 200,
        durationMs: 12,
      },
      {
        hook: 'hook a',
        type: 'post',
        origin: 'http://a.example',
        ok: true,
        outcome: 'answered 200',
        status: 200,
        durationMs: 12,
      },
      {
        hook: 'hook b',
        type: 'post',
        origin: 'http://b.example',
        ok: false,
        outcome: 'answered 503',
        status: 503,
        durationMs: 12,
      },
    ])
    expect(engine.probed.map(({ isTest, object, event }) => [isTest, object, event.fields.get('test')])).toEqual([
      [true, '{"id":"x","type":"VM"}', '"a pre"'],
      [true, '{"id":"x","type":"VM"}', '"a post"'],
      [true, undefined, '"b post"'],
    ])
  })

  it('of a hook whose URL is that of another format says so, if it fails', async () => {
    const hook = hookOf('a', { phases: ['post'] })
    const endpoint = { ...hook.route.endpoint, url: 'https://hooks.slack.com/services/s3cret' }
    const { relay, engine } = start([{ ...hook, route: { ...hook.route, endpoint } }])
    for (const ok of [false, true]) {
      const outcome = { kind: 'answered', ok, status: 400, excerpt: Buffer.alloc(0) } as const
      const attempt = { number: 1, trigger: 'test', startedAt: 0, durationMs: 1, outcome } as const
      engine.onProbe = () => Promise.resolve([{ hook: 'a', attempt }])
      const [report] = await relay.test(sample)
      expect(report?.hint).toBe(ok ? undefined : 'its URL is one of Slack: choose that format')
    }
  })

  it('has the object for a format that tells of it', async () => {
    const { relay, engine } = start([
      hookOf('a', { phases: ['post'], format: 'slack' }),
      hookOf('b', { phases: ['post'] }),
    ])
    engine.onProbe = () => Promise.resolve([])
    await relay.test(sample)
    expect(engine.probed.map(({ hooks, object }) => [hooks, object])).toEqual([
      [['a'], '{"id":"x","type":"VM"}'],
      [['b'], undefined],
    ])
  })

  it('ends although the delivery side never answers', async () => {
    fakeTime()
    const { relay } = start([hookOf('a', { phases: ['post'], timeoutMs: 1_000 })])
    const reports = relay.test(sample)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await reports).toMatchObject([{ ok: false, outcome: expect.stringContaining('does not answer') }])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('the end', () => {
  it('comes although the delivery side never closes, nor says how it stands', async () => {
    fakeTime()
    const { relay, engine } = start([hookOf('a')])
    engine.onClose = () => new Promise(() => {})
    engine.onHealth = () => new Promise(() => {})
    const closed = vi.fn()
    void relay.close(500).then(closed)
    await vi.advanceTimersByTimeAsync(499)
    expect(closed).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(6_000)
    expect(closed).toHaveBeenCalledWith(undefined)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('says how deliveries stand', async () => {
    const { relay, engine } = start([hookOf('a')])
    const health = { ...(await engine.health()), pending: 3 }
    engine.onHealth = () => Promise.resolve(health)
    expect(await relay.close(0)).toEqual(health)
  })
})
