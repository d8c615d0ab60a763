import { EventEmitter } from 'node:events'

import { configure, type LogEntry } from '@xen-orchestra/log/configure'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import { HEALTHY } from '../src/delivery/health.ts'
import type { EngineEvent, EngineHealth } from '../src/engine/engine.ts'
import { WebHooksPlugin } from '../src/plugin.ts'
import type { EngineOptions } from '../src/plugin.ts'
import type { PluginContext, Xo, XoConfig } from '../src/xo.ts'
import { RecordingEngine } from './helpers/recording-engine.ts'

// the plugin between a bare host and a delivery side that only records: what it does when either of them does nothing

const logged: LogEntry[] = []
configure(entry => {
  logged.push(entry)
})
const said = (): string[] => logged.map(({ message }) => String(message))

class BareHost extends EventEmitter {
  readonly apiMethods = { 'vm.start': {} }
  readonly hooks = new EventEmitter()
  readonly objects = Object.assign(new EventEmitter(), {
    all: {},
    allIndexes: { type: { getEventEmitterByType: () => new EventEmitter() } },
  })
  readonly tasks = new EventEmitter()
  readonly runningJobs = {}
  readonly mails: { subject: string; markdown: string }[] = []
  /** What the watch of the configuration calls back with at once; `null`: it does not. */
  initial: XoConfig | undefined | null = {}
  watch: ((config: XoConfig) => void) | undefined

  // not of the type that is promised: some hosts are like that
  get xo(): Xo {
    return Object.assign(this, {
      config: {
        watch: (callback: (config: XoConfig | undefined) => void) => {
          this.watch = callback
          if (this.initial !== null) {
            callback(this.initial)
          }
          return () => {
            this.watch = undefined
          }
        },
      },
      sendEmail: (mail: BareHost['mails'][number]) => Promise.resolve(this.mails.push(mail)),
    }) as unknown as Xo
  }

  call(method: string): unknown[] {
    const signal = { callId: 'c', userId: 'u', method, timestamp: Date.now() }
    const answers = this.listeners('xo:preCall').map(listener => Reflect.apply(listener, this, [signal]) as unknown)
    this.emit('xo:postCall', { ...signal, result: true })
    return answers
  }

  listening(): number {
    const of = (emitter: EventEmitter): number =>
      emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0)
    return of(this) + of(this.hooks) + of(this.objects) + of(this.tasks)
  }
}

const HOOK = { name: 'Inventory', method: 'vm.start', type: 'post', url: 'https://a.example/s3cret', format: 'json' }

interface Started {
  readonly plugin: WebHooksPlugin
  readonly host: BareHost
  readonly engines: RecordingEngine[]
  readonly options: EngineOptions[]
}

interface StartOptions {
  readonly getDataDir?: () => Promise<string>
  readonly staticConfig?: object
  readonly prepare?: (engine: RecordingEngine) => void
}

function start({ getDataDir = never, staticConfig = {}, prepare }: StartOptions = {}): Started {
  vi.useFakeTimers()
  const host = new BareHost()
  const engines: RecordingEngine[] = []
  const options: EngineOptions[] = []
  const context = { xo: host.xo, staticConfig, getDataDir } as PluginContext
  const plugin = new WebHooksPlugin(context, {
    newEngine: given => {
      const engine = new RecordingEngine()
      prepare?.(engine)
      engines.push(engine)
      options.push(given)
      return engine
    },
  })
  onTestFinished(async () => {
    // what goes on in the background would come into the next test
    const unloaded = plugin.unload()
    vi.isFakeTimers() && (await vi.advanceTimersByTimeAsync(60_000))
    await unloaded.catch(() => {})
    vi.useRealTimers()
  })
  return { plugin, host, engines, options }
}

const never = <T>(): Promise<T> => new Promise(() => {})

/** Whether it has settled by then. */
async function settles(promise: Promise<unknown>, withinMs: number): Promise<boolean> {
  let isSettled = false
  const settled = (): void => {
    isSettled = true
  }
  promise.then(settled, settled)
  await vi.advanceTimersByTimeAsync(withinMs)
  return isSettled
}

beforeEach(() => {
  logged.length = 0
})

describe('a load', () => {
  it('waits three seconds at most for a data directory that never comes, and hears events from then on', async () => {
    const { plugin, host, engines } = start({
      prepare: engine => {
        engine.ready = never()
      },
    })
    void plugin.configure({ hooks: [HOOK] })
    const loaded = plugin.load()
    expect(await settles(loaded, 1_400)).toBe(false)
    expect(await settles(loaded, 1_600)).toBe(true)
    expect(host.call('vm.start')).toEqual([undefined])
    expect(engines[0]!.handed).toHaveLength(1)
    expect(engines[0]!.settings[0]!.hooks).toHaveLength(1)
  })

  it('is over as soon as deliveries are sent', async () => {
    const { plugin } = start({ getDataDir: () => Promise.resolve('/dev/null/nowhere') })
    void plugin.configure({ hooks: [HOOK] })
    vi.useRealTimers()
    await plugin.load()
    await plugin.unload()
  })

  it('has the delivery side wait for the data directory no less than the hooks do', async () => {
    let find = (_: string): void => {}
    const { plugin, options } = start({
      getDataDir: () =>
        new Promise(resolve => {
          find = resolve
        }),
    })
    void plugin.configure({ hooks: [HOOK] })
    void plugin.load()
    await vi.advanceTimersByTimeAsync(10_000)
    const opened = options[0]!.openDirectory()
    expect(await settles(opened, 60_000)).toBe(false)
    find('/dev/null/nowhere')
    await expect(opened).resolves.toBe('/dev/null/nowhere')
  })

  it('that fails leaves nothing behind, and can be tried again', async () => {
    const { plugin, host, engines } = start()
    void plugin.configure({ hooks: [HOOK] })
    vi.spyOn(host.hooks, 'on').mockImplementationOnce(() => {
      throw new Error('not today')
    })
    const refused = expect(plugin.load()).rejects.toThrow('not today')
    await vi.advanceTimersByTimeAsync(10_000)
    await refused
    expect([host.listening(), host.watch, engines[0]!.graces, engines[0]!.listeners]).toEqual([0, undefined, [0], 0])

    void plugin.load()
    await vi.advanceTimersByTimeAsync(10_000)
    host.call('vm.start')
    expect(engines[1]!.handed).toHaveLength(1)
  })

  it('that is overtaken by an unload does nothing more', async () => {
    const { plugin, host, engines } = start()
    void plugin.configure({ hooks: [HOOK] })
    const loaded = plugin.load()
    await vi.advanceTimersByTimeAsync(100)
    void plugin.unload()
    expect(await settles(loaded, 10_000)).toBe(true)
    expect([host.listening(), engines.map(({ graces }) => graces)]).toEqual([0, [[0]]])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('after an unload that has not ended waits for that: two delivery sides have one journal', async () => {
    let isClosed = (): void => {}
    const { plugin, engines } = start({
      prepare: engine => {
        engine.onClose = () =>
          new Promise(resolve => {
            isClosed = resolve
          })
      },
    })
    void plugin.configure({ hooks: [HOOK] })
    void plugin.load()
    await vi.advanceTimersByTimeAsync(3_000)
    void plugin.unload()
    const loaded = plugin.load()
    await vi.advanceTimersByTimeAsync(2_000)
    expect(engines).toHaveLength(1)
    isClosed()
    expect(await settles(loaded, 3_000)).toBe(true)
    expect(engines).toHaveLength(2)
  })
})

async function load(options: StartOptions = {}, more: object = {}): Promise<Started & { engine: RecordingEngine }> {
  const started = start(options)
  void started.plugin.configure({ hooks: [HOOK], ...more })
  void started.plugin.load()
  await vi.advanceTimersByTimeAsync(3_000)
  return { ...started, engine: started.engines[0]! }
}

describe('an unload', () => {
  it.each([
    [{}, 5_000],
    [{ grace: 0 }, 0],
    [{ grace: 2.5 }, 2_500],
    [{ grace: -1 }, 5_000],
    [{ grace: '3' }, 5_000],
  ])('gives what is under way its time: %j', async (staticConfig, graceMs) => {
    const { plugin, host, engine } = await load({ staticConfig })
    await plugin.unload()
    expect(engine.graces).toEqual([graceMs])
    expect([host.listening(), host.watch, engine.listeners]).toEqual([0, undefined, 0])
    expect(said().some(text => text.includes('grace: expected'))).toBe(graceMs === 5_000 && 'grace' in staticConfig)
  })

  it('says what was still waiting', async () => {
    const { plugin, engine } = await load()
    const health: EngineHealth = { ...(await engine.health()), pending: 3, discarded: { stopped: 2, expired: 1 } }
    engine.onHealth = () => Promise.resolve(health)
    await plugin.unload()
    expect(logged.at(-1)).toMatchObject({
      ...{ level: 40, message: 'stopped with deliveries that were still waiting', data: { kept: 3, discarded: 2 } },
    })
  })

  it('ends although the delivery side does not, and says so', async () => {
    const { plugin, host, engine } = await load()
    engine.onClose = never
    engine.onHealth = never
    const unloaded = plugin.unload()
    expect(host.listening()).toBe(0)
    expect(await settles(unloaded, 5_000)).toBe(false)
    expect(await settles(unloaded, 6_000)).toBe(true)
    expect(said().at(-1)).toContain('without an answer from the delivery side')
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is what a stop of the host does', async () => {
    const { host, engine } = await load({ staticConfig: { grace: 1 } })
    await Promise.all(host.hooks.listeners('stop').map(listener => Reflect.apply(listener, host.hooks, []) as unknown))
    expect(engine.graces).toEqual([1_000])
  })
})

describe('the proxy', () => {
  it.each<[string, XoConfig | undefined | null]>([
    ['says nothing', {}],
    ['calls back with nothing', undefined],
    ['does not call back', null],
  ])('of a host that %s is that of the environment', async (_, config) => {
    vi.stubEnv('http_proxy', 'http://plain.example')
    vi.stubEnv('https_proxy', 'http://env.example')
    vi.stubEnv('no_proxy', 'localhost')
    onTestFinished(() => {
      vi.unstubAllEnvs()
    })
    const { plugin, host, engines } = start()
    host.initial = config
    void plugin.configure({ hooks: [HOOK] })
    void plugin.load()
    await vi.advanceTimersByTimeAsync(3_000)
    expect(engines[0]!.settings.map(({ proxy }) => proxy)).toEqual([
      { httpProxy: 'http://plain.example', httpsProxy: 'http://env.example', noProxy: 'localhost' },
    ])
  })

  it('that changes is told to the delivery side, with the same hooks, and nothing else is', async () => {
    const { host, engine } = await load()
    host.watch!({ httpProxy: 'http://proxy.example' })
    host.watch!({ httpProxy: 'http://proxy.example' })
    expect(engine.settings.map(({ proxy: { httpProxy }, hooks }) => [httpProxy, hooks.length])).toEqual([
      [undefined, 1],
      ['http://proxy.example', 1],
    ])
  })
})

describe('what happens on the delivery side', () => {
  const failing = (engine: RecordingEngine): EngineEvent => ({
    ...{ type: 'health', change: 'failing' },
    report: {
      endpoint: engine.settings[0]!.hooks[0]!.route.endpoint.id,
      origin: 'https://a.example',
      owners: engine.settings[0]!.hooks.map(({ id }) => id),
      health: { ...HEALTHY, failuresInRow: 5, lastError: 'answered 503' },
      ...{ pending: 1, dead: 0 },
    },
  })

  it('is in the log of the host, and is mailed, until the end of an unload and not after it', async () => {
    const { plugin, host, engine } = await load({}, { notify: ['admin@example.org'] })
    engine.tell(failing(engine))
    await vi.advanceTimersByTimeAsync(0)
    expect(logged.at(-1)).toMatchObject({
      ...{ namespace: 'xo:xo-server-web-hooks', level: 40, message: 'an endpoint keeps failing' },
      data: { hooks: ['Inventory'], origin: 'https://a.example' },
    })
    expect(host.mails).toEqual([
      { to: ['admin@example.org'], subject: expect.stringContaining('keeps failing'), markdown: expect.anything() },
    ])
    engine.onClose = () => {
      engine.tell({ type: 'discarded', reason: 'stopped', count: 2, id: 'd' })
      return Promise.resolve()
    }
    await plugin.unload()
    expect(said()).toContain('2 deliveries were discarded: stopped')
    engine.tell(failing(engine))
    await vi.advanceTimersByTimeAsync(60 * 60_000)
    expect(said().filter(text => text.includes('keeps failing'))).toHaveLength(1)
    expect(JSON.stringify([host.mails, logged])).not.toContain('s3cret')
  })

  it('is looked at again before a mail that was put off', async () => {
    const { host, engine } = await load({}, { notify: ['admin@example.org'] })
    Object.assign(host, { sendEmail: undefined })
    const event = failing(engine)
    engine.tell(event)
    await vi.advanceTimersByTimeAsync(1_000)
    const mails: { markdown: string }[] = []
    Object.assign(host, { sendEmail: (mail: { markdown: string }) => Promise.resolve(mails.push(mail)) })
    const { report } = event as Extract<EngineEvent, { type: 'health' }>
    const tally = { accepted: 9, delivered: 0, pending: 777, dead: 0, discarded: {} }
    const endpoints = new Map([[report.endpoint, { ...tally, health: report.health }]])
    const health = { ...(await engine.health()), endpoints }
    engine.onHealth = () => Promise.resolve(health)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(mails.map(({ markdown }) => markdown)).toEqual([expect.stringContaining('Waiting to be sent: 777')])
  })

  it('is mailed late without a look, if the delivery side does not answer', async () => {
    const { host, engine } = await load({}, { notify: ['admin@example.org'] })
    Object.assign(host, { sendEmail: () => Promise.reject(new Error('no SMTP')) })
    engine.onHealth = never
    engine.tell(failing(engine))
    await vi.advanceTimersByTimeAsync(1_000)
    const send = vi.fn(() => Promise.resolve())
    Object.assign(host, { sendEmail: send })
    await vi.advanceTimersByTimeAsync(63_000)
    expect(send).toHaveBeenCalledOnce()
  })
})

describe('a host that does not wait', () => {
  it('may configure and load in one breath, and go on configuring', async () => {
    const { plugin, engines } = start()
    void plugin.configure({ hooks: [HOOK] })
    void plugin.load()
    void plugin.configure({ hooks: [HOOK, { ...HOOK, name: 'two' }] })
    await vi.advanceTimersByTimeAsync(3_000)
    void plugin.configure({ hooks: [] })
    expect(engines[0]!.settings.map(({ hooks }) => hooks.length)).toEqual([2, 0])
  })

  it('may test and unload what is not loaded', async () => {
    const { plugin } = start()
    await plugin.test()
    await plugin.unload()
  })
})
