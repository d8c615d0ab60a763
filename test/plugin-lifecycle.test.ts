import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ids } from './sandbox/made-up-pool.ts'
import type { Received } from './sandbox/receiver.ts'
import { expectNothingMoreThan, leftovers, leftoversAtRest } from './helpers/leftovers.ts'
import {
  allSent,
  bodyOf,
  call,
  clientOf,
  fence,
  gate,
  openReceiver,
  openSilentReceiver,
  phaseAndMethod,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  eventually,
} from './helpers/running-plugin.ts'

const plugin = { id: PLUGIN_ID }

describe('the plugin', () => {
  it('is what its folder says, and is registered without a word about its schema', async () => {
    const sandbox = await startPlugin()

    expect(sandbox.registrationError).toBeUndefined()
    expect(sandbox.plugins.schemaWarnings).toEqual([])
    expect(sandbox.plugins.get(PLUGIN_ID)).toMatchObject({
      id: PLUGIN_ID,
      loaded: true,
      testable: true,
      unloadable: true,
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      configurationPresets: expect.any(Object) as object,
      configurationSchema: { type: 'object' },
    })
  })

  it('has all that it needs in its package: an administrator only unpacks it', () => {
    const { bundleDependencies, dependencies } = JSON.parse(
      readFileSync(new URL('../package.json', import.meta.url), 'utf8')
    ) as { bundleDependencies: true | string[]; dependencies: object }
    const needed = Object.keys(dependencies)

    // npm turns `true` into a list when it saves, which new dependencies are not added to
    expect(bundleDependencies === true ? needed : bundleDependencies.sort()).toEqual(needed.sort())
  })

  it('loads without a saved configuration, with no hooks, and says so once', async () => {
    const sandbox = await startPlugin()
    await call(sandbox, 'vm.start', { id: ids.haltedVm })

    const said = pluginLog().filter(line => line.includes('no hooks'))
    expect(said).toEqual(['xo:xo-server-web-hooks no hooks are configured yet'])
  })

  it('adds nothing to the host but its API methods, and hears it with one listener a signal', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const before = await leftoversAtRest(sandbox)
    await sandbox.plugins.configure(PLUGIN_ID, {})
    await sandbox.plugins.load(PLUGIN_ID)

    // timers come and go: the journal is being written
    const { apiMethods, ...after } = leftovers(sandbox)
    const { apiMethods: methodsBefore, ...rest } = before
    const isOwn = (name: string): boolean => name.startsWith('webHooks.')
    expect(apiMethods.filter(name => !isOwn(name))).toEqual(methodsBefore)
    expect(apiMethods.some(isOwn)).toBe(true)
    expect({ ...after, timers: [] }).toEqual({
      ...rest,
      timers: [],
      hooks: { stop: 1, stopped: 1 },
      listeners: {
        'xo:preCall': 1,
        'xo:postCall': 1,
        'backup:preCall': 1,
        'backup:postCall': 1,
        'job:terminated': 2,
        'plugins:registered': 2,
        'xo:audit': 1,
      },
      // one for the runs of backups, one for the actions of the REST API
      taskListeners: { update: 3 },
      watchers: 2,
    })
  })
})

describe('nothing is left behind', () => {
  it('by a plugin that is configured and not loaded', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const before = await leftoversAtRest(sandbox)
    await sandbox.plugins.configure(PLUGIN_ID, {
      hooks: [{ method: 'vm.start vm.set vm.stop', url: 'http://127.0.0.1:9' }],
    })

    expect(leftovers(sandbox)).toEqual(before)
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    expect(leftovers(sandbox)).toEqual(before)
  })

  it('after load, deliveries, unload, load again, unload', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const receiver = await openReceiver()
    const before = await leftoversAtRest(sandbox)
    const hook = {
      method: 'vm.start vm.set vm.stop',
      type: 'pre/post',
      url: receiver.url,
      format: 'json',
      waitForResponse: true,
    }
    await sandbox.plugins.configure(PLUGIN_ID, { hooks: [hook] })

    for (const method of ['vm.start', 'vm.stop', 'vm.start']) {
      await sandbox.plugins.load(PLUGIN_ID)
      await call(sandbox, method, { id: ids.haltedVm })
      const received = await receiver.next(2)
      expect(received.map(bodyOf).map(phaseAndMethod)).toEqual([`pre ${method}`, `post ${method}`])
      expect(leftovers(sandbox)).not.toEqual(before)
      await sandbox.plugins.unload(PLUGIN_ID)
      await expectNothingMoreThan(before, sandbox)
    }
    await call(sandbox, 'vm.stop', { id: ids.haltedVm })
    expect(receiver.requests).toHaveLength(6)
  })

  it('of retries that wait, and of requests that nobody answers', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const before = await leftoversAtRest(sandbox)
    const failing = await openReceiver(() => ({ status: 503, headers: { 'Retry-After': '3600' } }))
    const silent = await openSilentReceiver()
    const hooks = [failing, silent].map(({ url }) => ({
      method: 'vm.start vm.set vm.stop',
      type: 'post',
      url,
      format: 'json',
    }))
    await sandbox.plugins.configure(PLUGIN_ID, { hooks })
    await sandbox.plugins.load(PLUGIN_ID)
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await failing.next()
    await silent.next()
    const unloaded = sandbox.plugins.unload(PLUGIN_ID)
    await silent.close()
    await unloaded
    await failing.close()

    await expectNothingMoreThan(before, sandbox)
  })

  it('by hooks that a new configuration no longer has', async () => {
    const sandbox = await startPlugin()
    const failing = await openReceiver(() => ({ status: 503 }))
    await sandbox.configure({ hooks: [] })
    const before = await leftoversAtRest(sandbox)
    await sandbox.configure({
      hooks: [{ method: 'vm.start vm.set vm.stop', type: 'post', url: failing.url, format: 'json' }],
    })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await failing.next()
    await sandbox.configure({ hooks: [] })

    // but for timers, of which the plugin has some while it is loaded
    await eventually(() => expect({ ...leftovers(sandbox), timers: [] }).toEqual(before))
    expect(pluginLog('warn').join()).toContain('a delivery was discarded: hook removed')
  })

  it('by a load that fails, after which it can be loaded', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const receiver = await openReceiver()
    await sandbox.plugins.configure(PLUGIN_ID, {
      hooks: [{ method: 'vm.start', type: 'post', url: receiver.url, format: 'json' }, fence(receiver.url)],
    })
    const before = await leftoversAtRest(sandbox)
    const { hooks } = sandbox.host
    const on = hooks.on.bind(hooks)
    hooks.on = () => {
      throw new Error('not today')
    }
    await expect(sandbox.plugins.load(PLUGIN_ID)).rejects.toThrow('not today')
    await expect(sandbox.plugins.load(PLUGIN_ID)).rejects.toThrow('not today')
    hooks.on = on
    await expectNothingMoreThan(before, sandbox)

    await sandbox.plugins.load(PLUGIN_ID)
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await allSent(sandbox, receiver, 1)
    await expectNothingMoreThan(before, sandbox)
  })

  it('by a purge; loaded again it has the configuration which it was given last', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const receiver = await openReceiver()
    const before = await leftoversAtRest(sandbox)
    await sandbox.configure({
      hooks: [{ method: 'vm.start', type: 'post', url: receiver.url, format: 'json' }, fence(receiver.url)],
    })
    await call(sandbox, 'plugin.purgeConfiguration', plugin)
    await expectNothingMoreThan(before, sandbox)
    expect(sandbox.plugins.get(PLUGIN_ID)['configuration']).toBeUndefined()

    await call(sandbox, 'plugin.load', plugin)
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await allSent(sandbox, receiver, 1)
  })

  it('when the host stops', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const receiver = await openReceiver()
    const before = await leftoversAtRest(sandbox)
    await sandbox.configure({
      hooks: [{ method: 'vm.start vm.set vm.stop', type: 'pre/post', url: receiver.url, format: 'json' }],
    })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await receiver.next(2)
    // all but the end, after which the host tidies itself
    await Promise.all(
      sandbox.host.hooks.listeners('stop').map(listener => listener.call(sandbox.host.hooks) as unknown)
    )

    await expectNothingMoreThan(before, sandbox)
  })
})

describe('a configuration that is saved while the plugin is loaded', () => {
  it('counts from the next call on', async () => {
    const sandbox = await startPlugin()
    const [old, fresh] = [await openReceiver(), await openReceiver()]
    const client = await clientOf(sandbox)
    const configure = (url: string) => {
      const hook = { name: 'VMs', method: 'vm.start vm.set vm.stop', type: 'post', url, format: 'json' }
      return client.call('plugin.configure', { ...plugin, configuration: { hooks: [hook, fence(url)] } })
    }
    await configure(old.url)
    await client.call('vm.start', { id: ids.haltedVm })
    await old.next()
    await configure(fresh.url)
    await client.call('vm.stop', { id: ids.haltedVm })

    expect((await allSent(sandbox, fresh, 1)).map(phaseAndMethod)).toEqual(['post vm.stop'])
    expect(old.requests).toHaveLength(1)
  })

  it('sends what waits of a hook to its new URL, as the same delivery', async () => {
    const sandbox = await startPlugin()
    const answer = gate()
    const [old, fresh] = [
      await openReceiver(async () => {
        await answer.opened
        return { status: 503 }
      }),
      await openReceiver(),
    ]
    const hook = { name: 'VMs', method: 'vm.start vm.set vm.stop', type: 'post', format: 'json' }
    await sandbox.configure({ hooks: [{ ...hook, url: old.url }] })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    const [first] = await old.next()
    await sandbox.configure({ hooks: [{ ...hook, url: fresh.url }] })
    answer.open()
    const [second] = await fresh.next()

    expectSecondAttempt(first!, second!)
    expect(old.requests).toHaveLength(1)
  })

  it('keeps what waits for a hook that has not changed', async () => {
    const sandbox = await startPlugin()
    const answer = gate()
    const receiver = await openReceiver(async ({ headers }) => {
      await answer.opened
      return { status: headers['x-xo-attempt'] === '1' ? 503 : 200 }
    })
    const hook = { method: 'vm.start vm.set vm.stop', type: 'post', url: receiver.url, format: 'json' }
    await sandbox.configure({ hooks: [hook] })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    const [first] = await receiver.next()
    await sandbox.configure({ hooks: [{ method: 'vm.set', type: 'post', url: receiver.url, format: 'json' }, hook] })
    answer.open()
    const [second] = await receiver.next()

    expectSecondAttempt(first!, second!)
  })
})

function expectSecondAttempt(first: Received, second: Received): void {
  const id = first.headers['x-xo-delivery']
  expect(first.headers).toMatchObject({ 'webhook-id': id, 'x-xo-attempt': '1' })
  expect(second.headers).toMatchObject({ 'x-xo-delivery': id, 'webhook-id': id, 'x-xo-attempt': '2' })
  expect(second.body).toBe(first.body)
}
