import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Params } from './sandbox/config.ts'
import { ids } from './sandbox/made-up-pool.ts'
import { OBFUSCATED_VALUE } from './sandbox/plugins.ts'
import { startReceiver } from './sandbox/receiver.ts'
import { ADMIN, startSandbox, type Client, type Sandbox, type SandboxOptions } from './sandbox/sandbox.ts'

/** What the throwaway plugin notes down, in the `staticConfig` it is given: the test's own object. */
interface Notes {
  calls: unknown[][]
  refuses?: boolean
  xo?: unknown
}

// A schema with `toJSON`, a default, a list with secrets, and no configuration without `hooks`.
const PLUGIN = `
const factory = ({ staticConfig: notes, xo, getDataDir }) => {
  notes.xo = xo
  return {
    async configure(configuration, { loaded }) {
      notes.calls.push(['configure', configuration, loaded])
      if (notes.refuses) throw new Error('refused')
    },
    async load() { notes.calls.push(['load', await getDataDir()]) },
    unload() { notes.calls.push(['unload']) },
    test() { throw Object.assign(new Error('tested'), { data: 'report' }) },
  }
}
factory.configurationSchema = ({ xo }) => ({
  type: 'object',
  properties: {
    color: { type: 'string', default: 'red' },
    hooks: { type: 'array', items: { type: 'object' } },
  },
  required: ['hooks'],
  toJSON: () => ({ methods: Object.keys(xo.apiMethods).length }),
})
export default factory
export const testSchema = { type: 'object' }
`

let directory: string
let notes: Notes

async function sandboxOf(options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
  const config = { plugins: { throwaway: notes }, ...options.config }
  const sandbox = await startSandbox({ plugin: directory, ...options, config })
  onTestFinished(() => sandbox.close())
  return sandbox
}

async function clientOf(sandbox: Sandbox, credentials = ADMIN): Promise<Client> {
  const client = await sandbox.connect(credentials)
  onTestFinished(() => client.close())
  return client
}

/** The names of what the host emits, each with what `pick` makes of its data. */
function record(sandbox: Sandbox, pick: (data: Params) => unknown = () => undefined): unknown[][] {
  const seen: unknown[][] = []
  for (const event of ['xo:preCall', 'xo:postCall', 'backup:preCall', 'backup:postCall', 'job:terminated']) {
    sandbox.host.on(event, data => {
      seen.push([event, pick(data)])
    })
  }
  return seen
}

const isRunning = (sandbox: Sandbox): boolean => sandbox.host.getObject(ids.haltedVm).power_state === 'Running'

beforeEach(async () => {
  // The host says on the console which calls have failed.
  vi.spyOn(console, 'warn').mockReturnValue()
  notes = { calls: [] }
  directory = join(await mkdtemp(join(tmpdir(), 'sandbox-test-')), 'xo-server-throwaway')
  await mkdir(directory)
  await writeFile(join(directory, 'index.js'), PLUGIN)
  await writeFile(
    join(directory, 'package.json'),
    '{ "name": "xo-server-throwaway", "version": "1.2.3", "type": "module", "main": "index.js" }'
  )
})

afterEach(async () => {
  vi.restoreAllMocks()
  await rm(dirname(directory), { recursive: true })
})

describe('a call', () => {
  it('waits for the listeners of pre, then does its work, then emits post', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const order: string[] = []
    sandbox.host.on('xo:preCall', async () => {
      await new Promise(setImmediate)
      order.push(`pre, running: ${isRunning(sandbox)}`)
    })
    sandbox.host.on('xo:postCall', () => order.push(`post, running: ${isRunning(sandbox)}`))

    expect(await client.call('vm.start', { id: ids.haltedVm })).toBe(true)
    expect(order).toEqual(['pre, running: false', 'post, running: true'])
  })

  it('emits pre before it checks permission and parameters, and post for a call that does not pass', async () => {
    const sandbox = await sandboxOf()
    const anonymous = await sandbox.connect()
    onTestFinished(() => anonymous.close())
    const seen = record(sandbox, ({ error, method, userId, userName }) => ({ error, method, userId, userName }))

    const data = { method: 'plugin.get', userId: undefined, userName: '(unknown user)' }
    await expect(anonymous.call('plugin.get')).rejects.toMatchObject({ code: 2, message: 'not enough permissions' })
    expect(seen).toMatchObject([
      ['xo:preCall', data],
      ['xo:postCall', { ...data, error: { code: 2, message: 'not enough permissions', stack: expect.any(String) } }],
    ])
    const client = await clientOf(sandbox)
    await expect(client.call('vm.start', { id: '' })).rejects.toMatchObject({ code: 10 })
    await expect(client.call('vm.start', { id: ids.haltedVm, other: 1 })).rejects.toMatchObject({ code: 10 })
    expect(isRunning(sandbox)).toBe(false)
  })

  it('of an unknown method emits nothing', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const seen = record(sandbox)

    await expect(client.call('vm.fly')).rejects.toMatchObject({ code: -32601 })
    expect(seen).toEqual([])
  })

  it('goes on when a listener of pre throws', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    sandbox.host.once('xo:preCall', () => {
      throw new Error('no veto')
    })

    expect(await client.call('vm.start', { id: ids.haltedVm })).toBe(true)
  })

  it('fails, and emits post twice, when a listener of post throws, though its work is done', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const seen = record(sandbox, ({ error, result }) => (error as Error | undefined)?.message ?? result)
    sandbox.host.once('xo:postCall', () => {
      throw new Error('oops')
    })

    await expect(client.call('vm.start', { id: ids.haltedVm })).rejects.toThrow('oops')
    expect(seen.map(([event, outcome]) => `${event} ${outcome}`)).toEqual([
      'xo:preCall undefined',
      'xo:postCall true',
      'xo:postCall oops',
    ])
    expect(isRunning(sandbox)).toBe(true)
  })

  it("shows the pool's own error in the event and XO's to the client", async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const seen = record(sandbox, ({ error }) => error)

    await expect(client.call('vm.start', { id: ids.runningVm })).rejects.toMatchObject({
      code: 13,
      data: { objectId: ids.runningVm, expected: 'Halted', actual: 'Running' },
    })
    expect(seen[1]?.[1]).toMatchObject({ code: 'VM_BAD_POWER_STATE', name: 'XapiError' })
  })

  it('keeps the name of an alias, with secrets hidden and the user of the connection', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const seen = record(sandbox, ({ method, params, userIp, userName }) => ({ method, params, userIp, userName }))

    await client.call('host.restart_agent', { id: ids.host })
    await client.call('user.create', { email: 'bob', password: 'x' })
    const user = { userIp: '127.0.0.1', userName: ADMIN.email }
    const restart = { method: 'host.restart_agent', params: { id: ids.host }, ...user }
    const create = { method: 'user.create', params: { email: 'bob', password: '* obfuscated *' }, ...user }
    expect(seen.map(([, data]) => data)).toEqual([restart, restart, create, create])
    expect(Object.getOwnPropertyDescriptor(sandbox.host.apiMethods, 'vm.convert')).toMatchObject({
      enumerable: true,
      get: expect.any(Function),
    })
  })

  it('of session.signIn knows its user in post only', async () => {
    const sandbox = await sandboxOf()
    const seen = record(sandbox, ({ userName }) => userName)

    await clientOf(sandbox)
    expect(seen.map(([, userName]) => userName)).toEqual(['(unknown user)', ADMIN.email])
  })

  it('has a context of its own wherever it leads, and none outside', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const contexts: unknown[] = []
    for (const event of ['xo:preCall', 'xo:postCall']) {
      sandbox.host.on(event, () => contexts.push(sandbox.host.apiContext))
    }

    await client.call('session.getUser')
    await client.call('session.getUser')
    expect(contexts[0]).toBe(contexts[1])
    expect(contexts[1]).not.toBe(contexts[2])
    expect(sandbox.host.apiContext).toBeUndefined()
  })
})

describe('a plugin', () => {
  it('is not configured by an empty configuration that its schema refuses, and is loaded on demand after one that fits', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    expect(sandbox.registrationError).toBeUndefined()
    expect(notes.calls).toEqual([])
    await expect(client.call('plugin.load', { id: 'throwaway' })).rejects.toThrow('plugin not configured')

    await client.call('plugin.configure', { id: 'throwaway', configuration: { hooks: [] } })
    await client.call('plugin.load', { id: 'throwaway' })
    expect(notes.calls).toEqual([
      ['configure', { color: 'red', hooks: [] }, undefined],
      ['load', expect.stringMatching(/throwaway$/)],
    ])
    expect(notes.xo).toBe(sandbox.host)
  })

  it('shows what was saved without the defaults, and its schema as JSON', async () => {
    const sandbox = await sandboxOf()
    await sandbox.configure({ hooks: [{ token: 'secret' }] })
    const client = await clientOf(sandbox)

    expect(await client.call('plugin.get')).toMatchObject([
      {
        id: 'throwaway',
        autoload: true,
        configuration: { hooks: [{ token: OBFUSCATED_VALUE }] },
        configurationSchema: { methods: Object.keys(sandbox.host.apiMethods).length },
        loaded: true,
        testable: true,
        unloadable: true,
        version: '1.2.3',
      },
    ])
  })

  it('gets secrets back by index, so that of a shortened list each has its neighbour’s', async () => {
    const sandbox = await sandboxOf()
    await sandbox.configure({ hooks: [{ password: 'first' }, { url: '/second', password: 'second' }] })
    await sandbox.configure({ hooks: [{ url: '/second', password: OBFUSCATED_VALUE }] })

    expect(notes.calls.at(-1)).toEqual([
      'configure',
      { color: 'red', hooks: [{ url: '/second', password: 'first' }] },
      true,
    ])
  })

  it('that refuses a configuration keeps the saved one', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    await sandbox.configure({ hooks: [] })

    notes.refuses = true
    const refused = client.call('plugin.configure', { id: 'throwaway', configuration: { hooks: [{}] } })
    await expect(refused).rejects.toThrow('refused')
    const invalid = client.call('plugin.configure', { id: 'throwaway', configuration: { hooks: 'none' } })
    await expect(invalid).rejects.toMatchObject({ code: 10 })
    expect(sandbox.plugins.get('throwaway').configuration).toEqual({ hooks: [] })
  })

  it('is loaded at start with the configuration of an earlier run, unless that is switched off', async () => {
    const configuration = { hooks: [] }
    await sandboxOf({ saved: { autoload: false, configuration } })
    await sandboxOf({ saved: { autoload: true, configuration } })

    expect(notes.calls.map(([name]) => name)).toEqual(['configure', 'configure', 'load'])
  })

  it('whose saved configuration no longer fits is left out, and the host goes on', async () => {
    const sandbox = await sandboxOf({ saved: { autoload: true, configuration: { hooks: 'none' } } })

    expect(sandbox.registrationError).toMatchObject({ message: 'invalid parameters' })
    expect(sandbox.plugins.get('throwaway').loaded).toBeUndefined()
    await clientOf(sandbox)
  })

  it('tells an administrator what its test has to say, by an error', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    await expect(client.call('plugin.test', { id: 'throwaway' })).rejects.toThrow('plugin not loaded')

    await sandbox.configure({ hooks: [] })
    await expect(client.call('plugin.test', { id: 'throwaway' })).rejects.toMatchObject({
      message: 'tested',
      data: { data: 'report' },
    })
  })

  it('is unloaded by a purge, which forgets what was saved but not what is configured', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    await sandbox.configure({ hooks: [] })

    await client.call('plugin.purgeConfiguration', { id: 'throwaway' })
    expect(sandbox.plugins.get('throwaway')).toMatchObject({ configuration: undefined, loaded: false })
    await client.call('plugin.load', { id: 'throwaway' })
    expect(notes.calls.map(([name]) => name)).toEqual(['configure', 'load', 'unload', 'load'])
  })

  it('is not unloaded when the host stops, which waits for the listeners of stop', async () => {
    const sandbox = await startSandbox({ plugin: directory, config: { plugins: { throwaway: notes } } })
    await sandbox.configure({ hooks: [] })
    const client = await sandbox.connect(ADMIN)
    sandbox.host.hooks.on('stop', async () => {
      await client.call('session.getUser')
      notes.calls.push(['stopped'])
    })

    await sandbox.close()
    expect(notes.calls.map(([name]) => name)).toEqual(['configure', 'load', 'stopped'])
  })
})

describe('a backup', () => {
  it('on schedule emits one object twice, and no call', async () => {
    const sandbox = await sandboxOf()
    const seen = record(sandbox, data => data)

    await sandbox.host.runSchedule(ids.schedule)
    expect(seen.map(([event]) => event)).toEqual(['backup:preCall', 'backup:postCall', 'job:terminated'])
    expect(seen[0]?.[1]).toBe(seen[1]?.[1])
    expect(seen[0]?.[1]).toMatchObject({
      duration: expect.any(Number),
      method: 'backupNg.runJob',
      params: { id: ids.job, schedule: ids.schedule },
      result: true,
    })
  })

  it('by hand emits a call around it, with another id', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const seen = record(sandbox, ({ callId }) => callId)

    await client.call('backupNg.runJob', { id: ids.job, schedule: ids.schedule })
    expect(seen.map(([event]) => event)).toEqual([
      'xo:preCall',
      'backup:preCall',
      'backup:postCall',
      'job:terminated',
      'xo:postCall',
    ])
    expect(seen[0]?.[1]).not.toBe(seen[1]?.[1])
  })

  it('that finds none of its VMs fails, and one that is running is not run again', async () => {
    const sandbox = await sandboxOf()
    const client = await clientOf(sandbox)
    const id = await client.call('backupNg.createJob', { mode: 'full', vms: { id: 'gone' } })
    await expect(client.call('backupNg.runJob', { id, schedule: ids.schedule })).rejects.toMatchObject({ code: 27 })

    const first = sandbox.host.runSchedule(ids.schedule)
    await expect(sandbox.host.runJobSequence([ids.job])).rejects.toThrow('already running')
    await first
    expect(sandbox.host.runningJobs).toEqual({})
  })
})

describe('the configuration file', () => {
  it('tells who watches at once and on every change, and shares its proxy until the host stops', async () => {
    const before = process.env.http_proxy
    const sandbox = await startSandbox({ plugin: directory, config: { plugins: { throwaway: notes } } })
    const seen: unknown[] = []
    sandbox.host.config.watch('httpProxy', value => seen.push(value))

    sandbox.host.config.change({ httpProxy: 'http://proxy.example:3128', noProxy: '.example' })
    sandbox.host.config.change({ other: 1 })
    expect(process.env).toMatchObject({ https_proxy: 'http://proxy.example:3128', NO_PROXY: '.example' })
    sandbox.host.config.change({ httpProxy: null })
    expect(process.env.https_proxy).toBeUndefined()
    expect(seen).toEqual([undefined, 'http://proxy.example:3128', null])
    await sandbox.close()
    expect(process.env.http_proxy).toBe(before)
  })
})

describe('the receiver', () => {
  it('hands out what came in, in turn, and says how many it still misses', async () => {
    const receiver = await startReceiver(({ body }) => ({ status: body === 'two' ? 503 : 200 }))
    onTestFinished(() => receiver.close())
    const first = receiver.next()
    const statuses: number[] = []
    for (const body of ['one', 'two']) {
      statuses.push((await fetch(receiver.url + '/hook?x', { method: 'POST', body })).status)
    }

    expect(statuses).toEqual([200, 503])
    expect(await first).toMatchObject([{ body: 'one', method: 'POST', url: '/hook?x' }])
    expect(await receiver.next()).toMatchObject([{ body: 'two' }])
    await expect(receiver.next(2, 1)).rejects.toThrow('2 did not come')
    const last = expect(receiver.next()).rejects.toThrow('closed')
    await receiver.close()
    await last
  })

  it('cuts the connection when it is given no answer', async () => {
    const receiver = await startReceiver(() => undefined)
    onTestFinished(() => receiver.close())

    await expect(fetch(receiver.url, { method: 'POST', body: '' })).rejects.toThrow('fetch failed')
  })
})
