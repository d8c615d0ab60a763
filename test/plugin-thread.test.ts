import { subscribe } from 'node:diagnostics_channel'
import type { Worker } from 'node:worker_threads'

import { describe, expect, it, vi } from 'vitest'

import { expectNothingMoreThan, leftoversAtRest } from './helpers/leftovers.ts'
import {
  bodyOf,
  call,
  gate,
  openReceiver,
  openSilentReceiver,
  phaseAndMethod,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  eventually,
} from './helpers/running-plugin.ts'
import { ids } from './sandbox/made-up-pool.ts'
import type { Sandbox } from './sandbox/sandbox.ts'

// the built plugin, with its delivery side in a worker thread, as it is installed

/** Starting threads takes its time on a busy machine. */
vi.setConfig({ testTimeout: 120_000 })

/** Threads that have been started since, and have not ended. */
const threads = new Set<Worker>()
subscribe('worker_threads', message => {
  const { worker } = message as { worker: Worker }
  threads.add(worker)
  worker.once('exit', () => threads.delete(worker))
})

const startVm = (sandbox: Sandbox): Promise<unknown> => call(sandbox, 'vm.start', { id: ids.haltedVm })
const hookTo = (url: string, more: object = {}): object => ({
  ...{ method: 'vm.start', type: 'post', url, format: 'json', ...more },
})

/** What `xo-server` does on SIGTERM, as far as the plugin hears of it. */
function stop({ host: { hooks } }: Sandbox): Promise<unknown> {
  return Promise.all(hooks.listeners('stop').map(listener => listener.call(hooks) as unknown))
}

describe('with a thread of its own, the plugin', () => {
  it('sends what a call causes, over and over again, and leaves no thread, timer, socket or listener', async () => {
    const sandbox = await startPlugin({ autoload: false, thread: true, grace: 1 })
    const receiver = await openReceiver()
    await sandbox.plugins.configure(PLUGIN_ID, { hooks: [hookTo(receiver.url, { type: 'pre/post' })] })
    const before = await leftoversAtRest(sandbox)
    for (let cycle = 0; cycle < 6; ++cycle) {
      await sandbox.plugins.load(PLUGIN_ID)
      expect(threads.size).toBe(1)
      await startVm(sandbox)
      await call(sandbox, 'vm.stop', { id: ids.haltedVm })
      const received = await receiver.next(2)
      expect(received.map(bodyOf).map(phaseAndMethod)).toEqual(['pre vm.start', 'post vm.start'])
      await (cycle % 2 === 0 ? sandbox.plugins.unload(PLUGIN_ID) : stopAndUnload(sandbox))
      await vi.waitFor(() => expect(threads.size, `threads after cycle ${cycle}: ${pluginLog().join('\n')}`).toBe(0), {
        timeout: 60_000,
      })
    }
    await expectNothingMoreThan(before, sandbox)
    expect(pluginLog('warn')).toEqual([])
  })

  it('holds a call until the receiver has answered', async () => {
    const sandbox = await startPlugin({ thread: true, grace: 1 })
    const answer = gate()
    const receiver = await openReceiver(() => answer.opened)
    const limits = { timeout: 60 }
    await sandbox.configure({ hooks: [hookTo(receiver.url, { type: 'pre', waitForResponse: true, limits })] })
    const started = startVm(sandbox)
    await receiver.next()
    expect(sandbox.host.getObject(ids.haltedVm).power_state).toBe('Halted')
    answer.open()
    expect(await started).toBe(true)
  })

  it('says in the log of the host what happens there', async () => {
    const sandbox = await startPlugin({ thread: true, grace: 1 })
    const gone = await openReceiver(() => ({ status: 410 }))
    await sandbox.configure({ hooks: [hookTo(`${gone.url}/s3cret`, { name: 'Inventory' })] })
    await eventually(() => expect(pluginLog('info').join('\n')).toContain('the journal is in use'))
    await startVm(sandbox)
    await eventually(() => expect(pluginLog('warn').join('\n')).toContain('an endpoint is disabled'))
    const [warning] = pluginLog('warn').filter(line => line.includes('is disabled'))
    expect(warning).toContain("hooks: [ 'Inventory' ]")
    expect(warning).toContain(`origin: '${gone.url}'`)
    expect(pluginLog().join('\n')).not.toContain('s3cret')
  })

  it('answers the Test button', async () => {
    const sandbox = await startPlugin({ thread: true, grace: 1 })
    const receiver = await openReceiver()
    const hooks = [hookTo(receiver.url, { name: 'fine' }), hookTo('http://127.0.0.1:9', { name: 'broken' })]
    await sandbox.configure({ hooks })
    await expect(sandbox.plugins.test(PLUGIN_ID)).rejects.toMatchObject({
      message: expect.stringContaining('1 of 2 test requests failed: "broken" (post): ') as string,
      data: {
        errors: [
          { hook: 'broken', ok: false, outcome: [expect.stringContaining('refused'), '(ECONNREFUSED)'] as string[] },
          { hook: 'fine', ok: true, status: 200 },
        ],
      },
    })
  })

  it('stops in time, and says what was still waiting', async () => {
    const sandbox = await startPlugin({ thread: true, grace: 0.2 })
    const silent = await openSilentReceiver()
    await sandbox.configure({ hooks: [hookTo(silent.url, { limits: { timeout: 60 } })] })
    await startVm(sandbox)
    await silent.next()
    await stop(sandbox)
    expect(pluginLog('warn').at(-1)).toMatch(/stopped with .*kept: 1, discarded: 0/)
  })
})

/** The host stops, and then unloads what has stopped: a program may. */
async function stopAndUnload(sandbox: Sandbox): Promise<void> {
  await stop(sandbox)
  await sandbox.plugins.unload(PLUGIN_ID)
}
