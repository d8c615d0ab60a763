import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ids } from './sandbox/made-up-pool.ts'
import type { Sandbox } from './sandbox/sandbox.ts'
import { elsewhere, openConnectProxy } from './helpers/connect-proxy.ts'
import {
  allSent,
  bodyOf,
  call,
  fence,
  gate,
  openReceiver,
  openSilentReceiver,
  phaseAndMethod,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  wholeLog,
  eventually,
} from './helpers/running-plugin.ts'

/** Nothing listens there. */
const DEAD_URL = 'http://127.0.0.1:9'

const startVm = (sandbox: Sandbox) => call(sandbox, 'vm.start', { id: ids.haltedVm })
const powerState = (sandbox: Sandbox) => sandbox.host.getObject(ids.haltedVm).power_state

/** Many matched calls. */
async function rename(sandbox: Sandbox, times: number): Promise<void> {
  for (let n = 0; n < times; ++n) {
    await call(sandbox, 'vm.set', { id: ids.haltedVm, name_label: `name ${n}` })
  }
}

/** What `xo-server` does on SIGTERM, as far as the plugin hears of it. */
function stop({ host: { hooks } }: Sandbox): Promise<unknown> {
  return Promise.all(hooks.listeners('stop').map(listener => listener.call(hooks) as unknown))
}

describe('an API call', () => {
  it.each(['pre', 'post', 'pre/post'])('does not wait for a %s', async type => {
    const sandbox = await startPlugin()
    const silent = await openSilentReceiver()
    const hooks = [silent.url, DEAD_URL].map(url => ({ method: 'vm.start vm.set vm.stop', type, url, format: 'json' }))
    await sandbox.configure({ hooks })
    await startVm(sandbox)
    await rename(sandbox, 50)

    expect(powerState(sandbox)).toBe('Running')
    await silent.next()
  })

  it('never waits for a post, not even of a hook that waits for the answer', async () => {
    const silent = await openSilentReceiver()
    // as the stock plugin has saved it: on a save it is refused, as it does nothing
    const saved = {
      hooks: [
        { method: 'vm.start vm.set vm.stop', type: 'post', url: silent.url, format: 'json', waitForResponse: true },
      ],
    }
    const sandbox = await startPlugin({ saved })
    await startVm(sandbox)

    const [request] = await silent.next()
    expect(phaseAndMethod(bodyOf(request!))).toBe('post vm.start')
  })
})

describe('a hook that waits for the answer', () => {
  const waiting = (url: string) => ({ method: 'vm.start', type: 'pre', url, format: 'json', waitForResponse: true })

  it('holds the call until the receiver has answered', async () => {
    const sandbox = await startPlugin()
    const answer = gate()
    const receiver = await openReceiver(() => answer.opened)
    await sandbox.configure({ hooks: [waiting(receiver.url)] })
    const started = startVm(sandbox)
    await receiver.next()
    // an answer that is not there yet: others are served meanwhile
    await rename(sandbox, 3)
    expect(powerState(sandbox)).toBe('Halted')
    answer.open()

    expect(await started).toBe(true)
    expect(powerState(sandbox)).toBe('Running')
  })

  it('holds the call no longer than its timeout', async () => {
    const sandbox = await startPlugin()
    const silent = await openSilentReceiver()
    await sandbox.configure({ hooks: [{ ...waiting(silent.url), limits: { timeout: 0.3 } }] })
    const begun = performance.now()
    await startVm(sandbox)

    expect(performance.now() - begun).toBeGreaterThan(280)
  })

  it.each([
    ['a refusal', 403],
    ['an error', 500],
    ['a redirect', 302],
  ])('lets the call go on after %s, and does not wait for the retry', async (_, status) => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver(({ headers }) =>
      headers['x-xo-attempt'] === '1' ? { status } : new Promise(() => {})
    )
    await sandbox.configure({ hooks: [waiting(receiver.url)] })
    await startVm(sandbox)

    expect(powerState(sandbox)).toBe('Running')
    expect(receiver.requests[0]!.headers['x-xo-attempt']).toBe('1')
  })

  it.each([
    ['nothing listens', DEAD_URL],
    ['the name is unknown', 'http://no-such-host.invalid'],
  ])('lets the call go on when %s', async (_, url) => {
    const sandbox = await startPlugin()
    await sandbox.configure({ hooks: [waiting(url)] })
    await startVm(sandbox)

    expect(powerState(sandbox)).toBe('Running')
  })

  it('goes ahead of a backlog, and of the requests that are under way', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver(({ headers }) =>
      headers['x-xo-event'] === 'vm.start' ? {} : new Promise(() => {})
    )
    const backlog = { method: 'vm.set', type: 'post', url: receiver.url, format: 'json' }
    await sandbox.configure({ hooks: [backlog, waiting(receiver.url)] })
    await rename(sandbox, 50)
    const underWay = await receiver.next(8)
    await startVm(sandbox)

    expect(powerState(sandbox)).toBe('Running')
    expect(underWay.map(bodyOf).map(phaseAndMethod)).toEqual(Array(8).fill('post vm.set'))
    expect(phaseAndMethod(bodyOf(receiver.requests[8]!))).toBe('pre vm.start')
    expect(receiver.requests).toHaveLength(9)
  })

  it('waits beside others like it, not after them', async () => {
    const sandbox = await startPlugin()
    const everyone = gate()
    let count = 0
    const answer = () => {
      if (++count === 3) {
        everyone.open()
      }
      return everyone.opened
    }
    const receivers = [await openReceiver(answer), await openReceiver(answer)]
    const [first, second] = receivers.map(({ url }) => waiting(url))
    // the third goes to the same endpoint as the first
    await sandbox.configure({ hooks: [first, second, { ...first, name: 'another' }] })

    expect(await startVm(sandbox)).toBe(true)
    expect(count).toBe(3)
  })

  it('is not waited for while its endpoint keeps failing', async () => {
    const sandbox = await startPlugin()
    let isSilent = false
    const receiver = await openReceiver(() => (isSilent ? new Promise(() => {}) : { status: 500 }))
    // each wait would take longer than this test may
    const hook = { ...waiting(receiver.url), method: 'vm.set', limits: { timeout: 60 } }
    await sandbox.configure({ hooks: [hook] })
    await rename(sandbox, 5)
    await eventually(() => expect(pluginLog('warn').join()).toContain('keeps failing'))
    isSilent = true

    await rename(sandbox, 5)
    expect(receiver.requests.length).toBeGreaterThanOrEqual(5)
  })

  it('holds a backup that starts on schedule as well', async () => {
    const sandbox = await startPlugin()
    const answer = gate()
    const receiver = await openReceiver(() => answer.opened)
    await sandbox.configure({ hooks: [{ ...waiting(receiver.url), method: 'backupNg.runJob' }] })
    let isDone = false
    sandbox.host.once('backup:postCall', () => {
      isDone = true
    })
    const run = sandbox.host.runSchedule(ids.schedule)
    await receiver.next()
    await rename(sandbox, 3)
    expect(isDone).toBe(false)
    answer.open()
    await run

    expect(isDone).toBe(true)
  })
})

describe('when the host stops', () => {
  it('what is in flight may end, what waits is discarded, counted and logged, and what comes is not heard', async () => {
    const sandbox = await startPlugin()
    const answer = gate()
    const receiver = await openReceiver(() => answer.opened)
    await sandbox.configure({
      hooks: [{ method: 'vm.start vm.set vm.stop', type: 'post', url: receiver.url, format: 'json' }],
    })
    await rename(sandbox, 12)
    await receiver.next(8)
    const stopped = stop(sandbox)
    await startVm(sandbox)
    expect(pluginLog('warn').filter(line => line.includes('stopped with'))).toEqual([])
    answer.open()
    await stopped

    expect(receiver.requests.map(bodyOf).map(phaseAndMethod)).toEqual(Array(8).fill('post vm.set'))
    expect(pluginLog('warn').filter(line => line.includes('stopped with'))).toEqual([
      expect.stringMatching(/(kept|discarded): 4\b/),
    ])
  })

  it('with nothing under way it stops at once, and has nothing to say', async () => {
    const sandbox = await startPlugin({ grace: 60 })
    const receiver = await openReceiver()
    await sandbox.configure({
      hooks: [{ method: 'vm.start vm.set vm.stop', type: 'post', url: receiver.url, format: 'json' }],
    })
    await startVm(sandbox)
    await receiver.next()
    await stop(sandbox)

    expect(pluginLog('warn')).toEqual([])
  })

  it.each([
    ['a receiver that does not answer', () => {}],
    [
      'one that does not answer since before the proxy has changed',
      (sandbox: Sandbox) => sandbox.host.config.change({ httpProxy: null, noProxy: 'x' }),
    ],
  ])('%s is given its time', async (_, change) => {
    const proxy = await openConnectProxy()
    const sandbox = await startPlugin({ config: { httpProxy: proxy.url }, grace: 0.3 })
    const silent = await openSilentReceiver()
    const url = elsewhere(silent.url)
    await sandbox.configure({
      hooks: [{ method: 'vm.start vm.set vm.stop', type: 'post', url, format: 'json', limits: { timeout: 60 } }],
    })
    await rename(sandbox, 3)
    await silent.next(3)
    change(sandbox)
    const begun = performance.now()
    await stop(sandbox)

    expect(performance.now() - begun).toBeGreaterThan(290)
    expect(pluginLog('warn').at(-1)).toMatch(/stopped with .*(kept|discarded): 3\b/)
  })
})

describe('the proxy of xo-server', () => {
  it('is used for every endpoint, with its credentials', async () => {
    const proxy = await openConnectProxy()
    const sandbox = await startPlugin({ config: { httpProxy: proxy.url.replace('//', '//user:pass@') } })
    const receiver = await openReceiver()
    const url = elsewhere(receiver.url)
    await sandbox.configure({ hooks: [{ method: 'vm.start', type: 'post', url, format: 'json' }] })
    await startVm(sandbox)
    await receiver.next()

    expect(proxy.targets).toEqual([new URL(url).host])
    expect(proxy.credentials).toEqual([`Basic ${Buffer.from('user:pass').toString('base64')}`])
    expect(receiver.requests[0]!.headers).not.toHaveProperty('proxy-authorization')
  })

  it('is not used for this machine', async () => {
    const proxy = await openConnectProxy()
    const sandbox = await startPlugin({ config: { httpProxy: proxy.url } })
    const receiver = await openReceiver()
    await sandbox.configure({ hooks: [{ method: 'vm.start', type: 'post', url: receiver.url, format: 'json' }] })
    await startVm(sandbox)
    await receiver.next()

    expect(proxy.targets).toEqual([])
  })

  it('is followed when it changes while xo-server runs', async () => {
    const proxies = [await openConnectProxy(), await openConnectProxy()] as const
    const sandbox = await startPlugin({ config: { httpProxy: proxies[0].url } })
    const receiver = await openReceiver()
    const url = elsewhere(receiver.url)
    await sandbox.configure({ hooks: [{ method: 'vm.set', type: 'post', url, format: 'json' }] })
    const used = async (): Promise<number[]> => {
      await rename(sandbox, 1)
      await receiver.next()
      return proxies.map(({ targets }) => targets.length)
    }

    expect(await used()).toEqual([1, 0])
    sandbox.host.config.change({ httpProxy: proxies[1].url })
    expect(await used()).toEqual([1, 1])
    sandbox.host.config.change({ noProxy: 'other.test' })
    expect(await used()).toEqual([1, 2])
  })

  it('that cannot be used is said once and not gone around: what needs it waits until it is mended', async () => {
    const sandbox = await startPlugin({ config: { httpProxy: 'proxy s3cret', noProxy: 'http://x' } })
    const [here, there] = [await openReceiver(), await openReceiver()]
    const urls = [here.url, elsewhere(there.url)]
    await sandbox.configure({ hooks: urls.map(url => ({ method: 'vm.start', type: 'post', url, format: 'json' })) })
    await startVm(sandbox)
    await here.next()

    expect(pluginLog('warn').filter(line => line.includes('roxy:') || line.includes('cannot be used'))).toEqual([
      expect.stringContaining('the proxy cannot be used'),
      expect.stringContaining('noProxy: no host is like "http://x"'),
    ])
    expect(there.requests).toHaveLength(0)
    sandbox.host.config.change({ httpProxy: (await openConnectProxy()).url, noProxy: '' })
    await there.next()
    expect(wholeLog().join()).not.toContain('s3cret')
  })

  it('that drops everything is told once, and once when it works again; no hook is blamed', async () => {
    let isWell = false
    const proxy = await openConnectProxy()
    const door = createServer(client => {
      const onward = isWell ? connect(proxy.port, '127.0.0.1') : undefined
      client.on('error', () => {}).on('close', () => onward?.destroy())
      if (onward === undefined) {
        client.destroy()
      } else {
        onward.on('error', () => {}).on('close', () => client.destroy())
        client.pipe(onward).pipe(client)
      }
    })
    await once(door.listen(0, '127.0.0.1'), 'listening')
    onTestFinished(() => void door.close())
    const { port } = door.address() as AddressInfo
    const sandbox = await startPlugin({ config: { httpProxy: `127.0.0.1:${port}` } })
    const receiver = await openReceiver()
    const limits = { disableAfter: 1 }
    const hooks = ['a', 'b'].map(path => {
      const url = `${elsewhere(receiver.url)}/${path}`
      return { method: 'vm.set', type: 'post', url, format: 'json', limits }
    })
    await sandbox.configure({ hooks })
    await rename(sandbox, 10)
    const told = `the proxy fails: what is to go through it waits`
    await eventually(() => expect(pluginLog('warn')).toEqual([expect.stringContaining(told)]))
    isWell = true
    await receiver.next(20)
    await eventually(() => expect(pluginLog().filter(line => line.includes('the proxy works again'))).toHaveLength(1))
    expect(pluginLog('warn')).toHaveLength(1)
  })
})

describe('the log', () => {
  it('names endpoints by their origin: no path, query or user-info', async () => {
    const sandbox = await startPlugin()
    const body = 'the answer has a s3cret too'
    const gone = await openReceiver(() => ({ status: 410, body }))
    const failing = await openReceiver(() => ({ status: 500, body }))
    const urls = [gone, failing, { url: DEAD_URL }].map(
      ({ url }) => `${url.replace('//', '//us3cret:ps3cret@')}/s3cret/path?token=s3cret#s3cret`
    )
    const hooks = urls.flatMap(url =>
      ['vm.set', 'vm.stop'].map(method => ({ method, type: 'post', url, format: 'json' }))
    )
    await sandbox.configure({ hooks })
    await rename(sandbox, 10)
    await eventually(() => {
      const warnings = pluginLog('warn').join('\n')
      for (const url of [gone.url, failing.url, DEAD_URL]) {
        expect(warnings).toContain(`'${url}'`)
      }
      expect(warnings).toContain('keeps failing')
    })
    await expect(sandbox.plugins.test(PLUGIN_ID)).rejects.toThrow('test requests failed')
    await sandbox.configure({ hooks: hooks.slice(0, -2) })
    await expect(sandbox.configure({ hooks: [{ ...hooks[0], format: 'yaml' }] })).rejects.toThrow('yaml')
    await sandbox.plugins.unload(PLUGIN_ID)

    const log = wholeLog().join('\n')
    expect(log).toContain('hook removed')
    expect(log).toContain('stopped with deliveries')
    expect(log).not.toContain('s3cret')
  })

  it.each(['user:pass', 'user:', 'us%40er:p%3Ass'])(
    'has the receiver get %s of the URL all the same',
    async userInfo => {
      const sandbox = await startPlugin()
      const receiver = await openReceiver()
      const url = `${receiver.url.replace('//', `//${userInfo}@`)}/some/path?token=abc#part`
      await sandbox.configure({ hooks: [{ method: 'vm.start', type: 'post', url, format: 'json' }, fence(url)] })
      await startVm(sandbox)

      await allSent(sandbox, receiver, 1)
      expect(receiver.requests[0]).toMatchObject({
        url: '/some/path?token=abc',
        headers: { authorization: `Basic ${Buffer.from(decodeURIComponent(userInfo)).toString('base64')}` },
      })
    }
  )
})
