import { describe, expect, it } from 'vitest'
import { FENCE, fence, hookTo, ID, openReceiver, setUpRealHost } from './setup.ts'

const xo = setUpRealHost()

describe('a real xo-server', () => {
  it('loads the plugin from its package, without a configuration', async () => {
    expect(xo.host.log.join('\n')).toContain('successfully register web-hooks')
    expect(xo.host.log.filter(line => line.includes('no hooks are configured yet'))).toHaveLength(1)
    expect(xo.host.log.filter(line => line.includes('strict mode'))).toEqual([])
    expect(await xo.pluginInfo()).toMatchObject({
      loaded: true,
      autoload: true,
      testable: true,
      unloadable: true,
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      configurationSchema: {
        properties: {
          hooks: {
            items: {
              properties: { method: { defaults: expect.arrayContaining(['vm.*', 'vm.start']) as string[] } },
            },
          },
        },
      },
    })
  })

  it('refuses what is wrong in a configuration, and keeps the old one', async () => {
    const receiver = await openReceiver()
    await xo.configure(fence(receiver))
    await expect(
      xo.configure(fence(receiver), { ...fence(receiver), name: 'Wrong', format: 'yaml' })
    ).rejects.toMatchObject({ code: 10, data: { errors: [{ path: 'hooks[1].format', hook: 'Wrong', got: '"yaml"' }] } })

    expect((await xo.pluginInfo())['configuration']).toEqual({ hooks: [fence(receiver)] })
    await xo.allSent(receiver, 0)
  })

  it('tells what the Test button has found', async () => {
    const receiver = await openReceiver()
    await xo.configure(fence(receiver))
    expect(await xo.admin.call('plugin.test', { id: ID })).toBe(true)
    const [request] = await receiver.next()
    expect(request!.headers['x-xo-test']).toBe('true')
    expect(JSON.parse(request!.body)).toMatchObject({ test: true, method: FENCE })

    await xo.configure(fence(receiver), { ...fence(receiver), url: 'http://127.0.0.1:9/' })
    await expect(xo.admin.call('plugin.test', { id: ID })).rejects.toMatchObject({
      code: 10,
      message: expect.stringContaining('1 of 2 test requests failed: ') as string,
      data: {
        errors: [
          // in lines that fit XO's dialog
          { ok: false, outcome: ['the connection was refused: nothing listens there', '(ECONNREFUSED)'] },
          { ok: true, outcome: 'answered 200' },
        ],
      },
    })
  })

  it('unloads it, loads it again, and purges it', async () => {
    const receiver = await openReceiver()
    await xo.configure(fence(receiver))
    await xo.admin.call('plugin.unload', { id: ID })
    await xo.admin.call(FENCE)
    expect((await xo.pluginInfo())['loaded']).toBe(false)
    await xo.admin.call('plugin.load', { id: ID })
    await xo.allSent(receiver, 0)
    await xo.admin.call('plugin.purgeConfiguration', { id: ID })
    await xo.admin.call(FENCE)
    expect(await xo.pluginInfo()).not.toHaveProperty('configuration')
    await xo.admin.call('plugin.load', { id: ID })
    await xo.allSent(receiver, 0)

    expect(receiver.requests).toHaveLength(2)
  })

  it('has the configuration after a restart, and all that can be used of it once it is spoilt', async () => {
    const receiver = await openReceiver()
    await xo.configure(fence(receiver), { ...fence(receiver), name: 'Spoilt', format: 'office365' })
    await xo.restart('stop')
    await xo.admin.call(FENCE)
    await receiver.next(2)

    await xo.restart('stop', async () => {
      await xo.host.editSaved('office365', 'no-such-format')
      await xo.host.editSaved(FENCE, `${FENCE} method.of.another.time`)
    })
    expect(xo.host.log.filter(line => line.includes('hook disabled: hooks[1].format (hook 2 "Spoilt")'))).toHaveLength(
      1
    )
    expect(xo.host.log.filter(line => line.includes('method.of.another.time'))).toHaveLength(1)
    expect(await xo.pluginInfo()).toMatchObject({ loaded: true })
    await xo.allSent(receiver, 0)
    expect(receiver.requests).toHaveLength(3)
  }, 60_000)

  it('stops within seconds of SIGTERM, though a receiver is silent', async () => {
    const silent = await openReceiver(() => new Promise(() => {}))
    await xo.configure({ ...hookTo(silent, 'user.getAll'), limits: { timeout: 60 } })
    for (let n = 0; n < 20; ++n) {
      await xo.admin.call('user.getAll')
    }
    await silent.next(8)
    const { code, durationMs } = await xo.host.stop()

    expect(code).toBe(0)
    // what is under way has 5 s
    expect(durationMs).toBeGreaterThan(4_900)
    expect(durationMs).toBeLessThan(20_000)
    const log = xo.host.log.join('\n')
    expect(log).toMatch(/stopped with deliveries that were still waiting/)
    expect(log).not.toContain('unhandled')
  }, 30_000)
})
