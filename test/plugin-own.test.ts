import { describe, expect, it } from 'vitest'
import { call, bodyOf, openReceiver, PLUGIN_ID, startPlugin } from './helpers/running-plugin.ts'
import { ids } from './sandbox/made-up-pool.ts'
import type { Receiver } from './sandbox/receiver.ts'
import type { Sandbox } from './sandbox/sandbox.ts'

const hookTo = (url: string, method: string, name: string): object => ({
  ...{ method, name, type: 'post', url, format: 'json' },
})

const nextOf = async (receiver: Receiver) => bodyOf((await receiver.next(1, 30_000))[0]!)

/** What `xo-server` does on SIGTERM, as far as the plugin hears of it. */
function stop({ host: { hooks } }: Sandbox): Promise<unknown> {
  return Promise.all(hooks.listeners('stop').map(listener => listener.call(hooks) as unknown))
}

describe('what becomes of the plugin itself and its host', () => {
  it('is told: that a URL fails, is disabled and works again, to all hooks but those that go there', async () => {
    const sandbox = await startPlugin()
    let status = 500
    const failing = await openReceiver(() => ({ status }))
    const watching = await openReceiver()
    const hooks = [
      hookTo(`${failing.url}/s3cret`, 'vm.start web-hooks.*', 'Inventory'),
      hookTo(watching.url, 'web-hooks.*', 'Watcher'),
    ]
    await sandbox.configure({ hooks })
    for (let count = 0; count < 5; ++count) {
      await call(sandbox, 'vm.start', { id: ids.haltedVm }).catch(() => {})
    }
    const of = { name: 'Inventory', hooks: ['Inventory'], origin: failing.url }
    const told = await nextOf(watching)
    expect(told).toMatchObject({
      ...{ type: 'post', method: 'web-hooks.endpointFailing' },
      params: { ...of, id: expect.any(String) as string, lastError: expect.stringContaining('500') as string },
    })
    const { id } = told['params'] as { id: string }

    status = 410
    await sandbox.configure({ hooks }) // it gets a new chance
    expect(await nextOf(watching)).toMatchObject({
      method: 'web-hooks.endpointDisabled',
      params: { ...of, id, reason: expect.stringContaining('410') as string },
    })
    status = 200
    await sandbox.configure({ hooks })
    expect(await nextOf(watching)).toMatchObject({ method: 'web-hooks.endpointRecovered', params: { ...of, id } })

    const methods = failing.requests.map(request => bodyOf(request)['method'])
    expect(new Set(methods)).toEqual(new Set(['vm.start']))
    expect(JSON.stringify(watching.requests)).not.toContain('s3cret')
  })

  it.each([true, false])('is told: that the host has started, and that it stops (with a thread: %s)', async thread => {
    const receiver = await openReceiver()
    const saved = { hooks: [hookTo(receiver.url, 'xo.*', 'Watcher')] }
    const sandbox = await startPlugin({ thread, saved })
    expect(await nextOf(receiver)).toMatchObject({ type: 'post', method: 'xo.started', params: {} })
    // someone loads the plugin anew: that is no start of the host
    await sandbox.plugins.unload(PLUGIN_ID)
    await sandbox.plugins.load(PLUGIN_ID)
    await stop(sandbox)
    expect(receiver.requests).toHaveLength(2)
    expect(await nextOf(receiver)).toMatchObject({ type: 'post', method: 'xo.stopping', params: {} })
  })
})
