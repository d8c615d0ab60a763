import { rm, writeFile } from 'node:fs/promises'
import { describe, expect, it, vi } from 'vitest'
import { FAILING, FENCE, hookTo, ID, openDownReceiver, openReceiver, setUpRealHost } from './setup.ts'

const xo = setUpRealHost()

const PATIENCE = { timeout: 60_000, interval: 50 }

/** The longest round trip of a call that does nothing, in ms, as long as `work` lasts. */
async function slowestAnswer(work: Promise<unknown>): Promise<number> {
  let isOver = false
  const over = work.finally(() => (isOver = true))
  let slowest = 0
  while (!isOver) {
    const begun = performance.now()
    await xo.admin.call(FENCE)
    slowest = Math.max(slowest, performance.now() - begun)
  }
  await over
  return slowest
}

describe('in a real xo-server, deliveries', () => {
  it.skipIf(process.platform !== 'linux')(
    'have a thread of their own, none once the plugin is unloaded, and one again after each load',
    async () => {
      const counts = new Set<number>()
      for (let cycle = 0; cycle < 5; ++cycle) {
        const loaded = (await xo.host.threads()).length
        await xo.admin.call('plugin.unload', { id: ID })
        await vi.waitFor(async () => expect((await xo.host.threads()).length).toBeLessThan(loaded), PATIENCE)
        counts.add((await xo.host.threads()).length)
        await xo.admin.call('plugin.load', { id: ID })
      }
      // the host may start one of its own
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThan(3)
    }
  )

  it('leave its API quick: with a filter that never ends, and with a receiver that is mute', async () => {
    const [receiver, mute] = [await openReceiver(), await openReceiver(() => new Promise(() => {}))]
    const toReceiver = hookTo(receiver, FAILING, 'post')
    await xo.configureAnew(
      { ...toReceiver, name: 'Endless', content: { filter: 'params:id:/(a+)+$/' } },
      { ...toReceiver, name: 'Healthy' },
      hookTo(mute, FAILING, 'post')
    )
    const work = async () => {
      for (let count = 0; count < 20; ++count) {
        await xo.fail(`${'a'.repeat(40)}!`)
      }
      const healthy = () => receiver.requests.filter(({ headers }) => headers['x-xo-hook'] === 'Healthy')
      await vi.waitFor(() => expect(healthy()).toHaveLength(20), PATIENCE)
    }
    // in its own thread that filter would take hours
    expect(await slowestAnswer(work())).toBeLessThan(5_000)
    expect(xo.host.log.join('\n')).toContain('its filter took too long three times')
    expect(mute.requests.length).toBeGreaterThan(0)
  }, 120_000)

  it('wait over SIGTERM and kill -9, and come under the same ids', async () => {
    const { receiver, delivered, up } = await openDownReceiver()
    await xo.configureAnew(hookTo(receiver, FAILING, 'post'))
    for (let count = 0; count < 3; ++count) {
      await xo.fail(String(count))
    }
    const attempts = () => receiver.requests.map(({ headers }) => headers['x-xo-attempt'])
    await receiver.next(3)
    await xo.restart('stop')
    // a first retry is long after the journal has been written
    await vi.waitFor(() => expect(attempts()).toContain('2'), PATIENCE)
    await xo.restart('kill')
    up()
    await xo.configure(hookTo(receiver, FAILING, 'post'))
    await vi.waitFor(() => expect(delivered).toHaveLength(3), PATIENCE)
    const idsOf = (requests: typeof receiver.requests) =>
      new Set(requests.map(({ headers, body }) => `${String(headers['x-xo-delivery'])} ${body}`))
    expect(idsOf(delivered)).toEqual(idsOf(receiver.requests))
  }, 240_000)

  it('wait over an unload, and what happens meanwhile is not sent', async () => {
    const { receiver, delivered, up } = await openDownReceiver()
    await xo.configureAnew(hookTo(receiver, FAILING, 'post'))
    await xo.fail('1')
    const [first] = await receiver.next(1)
    await xo.admin.call('plugin.unload', { id: ID })
    await xo.fail('2')
    up()
    await xo.admin.call('plugin.load', { id: ID })
    await vi.waitFor(() => expect(delivered).toHaveLength(1), PATIENCE)
    expect(delivered[0]!.headers['x-xo-delivery']).toBe(first!.headers['x-xo-delivery'])
    await xo.fail('3')
    await vi.waitFor(() => expect(delivered).toHaveLength(2), PATIENCE)
    expect(delivered[1]!.body).toContain('"3"')
  }, 120_000)

  it('go on in memory without a data directory, and it is said once', async () => {
    const receiver = await openReceiver()
    await xo.configureAnew(hookTo(receiver, FAILING, 'post'))
    await xo.restart('stop', async () => {
      await rm(xo.host.pluginData, { recursive: true })
      await writeFile(xo.host.pluginData, 'no directory')
    })
    await xo.fail('1')
    await receiver.next(1)
    expect(xo.host.log.filter(line => line.includes('deliveries are kept in memory only'))).toHaveLength(1)
    await xo.restart('stop', () => rm(xo.host.pluginData))
    expect(xo.host.log.join('\n')).toContain('the journal is in use')
  }, 180_000)
})
