import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { Params } from '../sandbox/config.ts'
import { startReceiver, type Answering, type Receiver } from '../sandbox/receiver.ts'
import type { Client } from '../sandbox/sandbox.ts'
import { startRealHost, type RealHost } from './real-host.ts'

const ID = 'web-hooks'

let host: RealHost
let admin: Client

beforeAll(async () => {
  host = await startRealHost()
}, 120_000)

afterAll(async () => {
  await host?.close()
}, 60_000)

beforeEach(async () => {
  admin = await host.connect()
  onTestFinished(() => admin.close())
})

async function openReceiver(answer?: Answering): Promise<Receiver> {
  const receiver = await startReceiver(answer)
  onTestFinished(() => receiver.close())
  return receiver
}

const hookTo = ({ url }: Receiver, method: string, type = 'pre/post') => ({ method, type, url, format: 'json' })

async function configure(...hooks: object[]): Promise<void> {
  await admin.call('plugin.configure', { id: ID, configuration: { hooks } })
}

async function pluginInfo(): Promise<Params> {
  const plugins = (await admin.call('plugin.get')) as Params[]
  const plugin = plugins.find(({ id }) => id === ID)
  expect(plugin).toBeDefined()
  return plugin!
}

/** A method that anyone may call, and that changes nothing: what comes before it has been sent when it arrives. */
const FENCE = 'system.getServerVersion'

/** All bodies that the receiver got before that of a call of {@link FENCE}, which its hook has to fire for. */
async function allSent(receiver: Receiver, count: number): Promise<Params[]> {
  await admin.call(FENCE)
  const bodies = (await receiver.next(count + 1)).map(({ body }) => JSON.parse(body) as Params)
  const sent = bodies.filter(({ method }) => method !== FENCE)
  expect(sent, 'requests').toHaveLength(count)
  return sent
}

const fence = (receiver: Receiver) => hookTo(receiver, FENCE, 'post')

const outline = ({ type, method, userName, error, result }: Params) => ({
  event: `${String(type)} ${String(method)}`,
  userName,
  ...(error !== undefined && { error: (error as Error).message }),
  ...(result !== undefined && { result }),
})

const ADMIN_NAME = 'admin@admin.net'

describe('a real xo-server', () => {
  it('loads the plugin from its package, without a configuration', async () => {
    expect(host.log.join('\n')).toContain('successfully register web-hooks')
    expect(host.log.filter(line => line.includes('no hooks are configured yet'))).toHaveLength(1)
    expect(host.log.filter(line => line.includes('strict mode'))).toEqual([])
    expect(await pluginInfo()).toMatchObject({
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

  it('sends calls that succeed and calls that fail', async () => {
    const receiver = await openReceiver()
    await configure(hookTo(receiver, 'user.create'), fence(receiver))
    const bob = { email: 'bob', password: 'x', permission: 'none' }
    const id = await admin.call('user.create', bob)
    await expect(admin.call('user.create', bob)).rejects.toThrow('already')

    const sent = await allSent(receiver, 4)
    const event = 'post user.create'
    expect(sent.map(outline)).toEqual(
      expect.arrayContaining([
        { event: 'pre user.create', userName: ADMIN_NAME },
        { event, userName: ADMIN_NAME, result: id },
        { event, userName: ADMIN_NAME, error: expect.stringContaining('already') as string },
      ])
    )
    for (const body of sent) {
      expect(body['params']).toMatchObject({ email: 'bob', password: '* obfuscated *' })
    }
  })

  it('knows a method by its other name', async () => {
    const receiver = await openReceiver()
    await configure(hookTo(receiver, 'host.restartAgent'), fence(receiver))
    await expect(admin.call('host.restart_agent', { id: 'none' })).rejects.toThrow('no such host')

    const sent = await allSent(receiver, 2)
    expect(sent.map(outline)).toEqual([
      { event: 'pre host.restart_agent', userName: ADMIN_NAME },
      { event: 'post host.restart_agent', userName: ADMIN_NAME, error: 'no such host none' },
    ])
  })

  it('announces what strangers call only where they are welcome', async () => {
    const receiver = await openReceiver()
    await configure(hookTo(receiver, 'plugin.get session.signIn'), fence(receiver))
    const stranger = await host.connect(null)
    onTestFinished(() => stranger.close())
    await expect(stranger.call('plugin.get')).rejects.toThrow('not enough permissions')
    await stranger.call('session.signIn', { email: ADMIN_NAME, password: 'admin' })

    const sent = await allSent(receiver, 3)
    expect(sent.map(body => outline(body).event).sort()).toEqual([
      'post plugin.get',
      'post session.signIn',
      'pre session.signIn',
    ])
  })

  it('announces each run of a backup once, and one that is refused with its error alone', async () => {
    const receiver = await openReceiver()
    await configure(hookTo(receiver, 'backupNg.runJob'), fence(receiver))
    const id = await admin.call('backupNg.createJob', {
      name: 'empty',
      mode: 'full',
      remotes: { id: { __or: [] } },
      schedules: { new: { cron: '0 0 1 1 *', enabled: false, name: 'never' } },
      settings: { '': {}, new: { exportRetention: 1 } },
      vms: { id: { __or: [] } },
    })
    const schedules = (await admin.call('schedule.getAll')) as Params[]
    const job = { id, schedule: schedules.find(({ jobId }) => jobId === id)!['id'] }
    expect(await admin.call('backupNg.runJob', job)).toBe(true)
    await expect(admin.call('backupNg.runJob', { ...job, id: 'none' })).rejects.toThrow('no such job')
    const stranger = await host.connect(null)
    onTestFinished(() => stranger.close())
    await expect(stranger.call('backupNg.runJob', job)).rejects.toThrow('not enough permissions')

    // without the call of a backup, and for a job without an owner: it is of who runs the sequence
    await admin.call('schedule.runSequence', { schedules: [job.schedule] })

    const sent = await allSent(receiver, 6)
    expect(sent.slice(0, 2).map(({ callId }) => callId)).toEqual(Array(2).fill(sent[0]!['callId']))
    const event = 'post backupNg.runJob'
    expect(sent.map(outline)).toEqual([
      { event: 'pre backupNg.runJob', userName: ADMIN_NAME },
      { event, userName: ADMIN_NAME, result: true },
      { event, userName: ADMIN_NAME, error: 'no such job none' },
      { event, userName: '(unknown user)', error: 'not enough permissions' },
      { event: 'pre backupNg.runJob', userName: ADMIN_NAME },
      { event, userName: ADMIN_NAME, result: true },
    ])
  })

  describe('runs backups, and', () => {
    const RUNS = 'backupNg.runJob metadataBackup.runJob mirrorBackup.runJob'
    const never = { new: { cron: '0 0 1 1 *', enabled: false, name: 'never' } }

    interface Job {
      readonly id: string
      readonly schedule: string
      readonly method: string
      /** The beginning of the error of its run. */
      readonly error?: string
    }

    /** A job of each type that comes to an end without a hypervisor, well or not. */
    async function createJobs(): Promise<Record<'vm' | 'failingVm' | 'metadata' | 'failingMetadata' | 'mirror', Job>> {
      const { id: remote } = (await admin.call('remote.create', {
        name: 'repository',
        url: `file://${host.repository}`,
      })) as { id: string }
      const create = async (api: string, job: object, error?: string): Promise<Job> => {
        const created = (await admin.call(`${api}.createJob`, { schedules: never, ...job })) as string | { id: string }
        const id = typeof created === 'string' ? created : created.id
        const schedules = (await admin.call('schedule.getAll')) as { id: string; jobId: string }[]
        const schedule = schedules.find(({ jobId }) => jobId === id)!.id
        return { id, schedule, method: `${api}.runJob`, ...(error !== undefined && { error }) }
      }
      const vmJob = { mode: 'full', settings: { '': {}, new: { exportRetention: 1 } } }
      const metadataJob = { xoMetadata: true, settings: { new: { retentionXoMetadata: 1, retentionPoolMetadata: 0 } } }
      return {
        vm: await create('backupNg', {
          ...{ ...vmJob, name: 'vm' },
          ...{ remotes: { id: { __or: [] } }, vms: { id: { __or: [] } } },
        }),
        failingVm: await create(
          'backupNg',
          { ...vmJob, name: 'failing vm', remotes: { id: remote }, vms: { id: 'none' } },
          'VM none: no XAPI associated to none'
        ),
        metadata: await create('metadataBackup', { ...metadataJob, name: 'metadata', remotes: { id: remote } }),
        failingMetadata: await create(
          'metadataBackup',
          { ...metadataJob, name: 'failing metadata', remotes: { id: 'none' } },
          'remote none: no such remote none'
        ),
        mirror: await create(
          'mirrorBackup',
          {
            ...{ name: 'mirror', mode: 'full', sourceRemote: 'none', remotes: { id: remote } },
            settings: { '': {}, new: {} },
          },
          "couldn't instantiate source remote"
        ),
      }
    }

    const STARTS = {
      'by hand': (job: Job) => admin.call(job.method, { id: job.id, schedule: job.schedule }),
      'by REST': (job: Job) => host.act(`schedules/${job.schedule}/actions/run`),
      'in a sequence': (job: Job) => admin.call('schedule.runSequence', { schedules: [job.schedule] }),
    }

    it.each(Object.entries(STARTS))(
      'announces each %s once, with its user and its true outcome',
      async (_, start) => {
        const receiver = await openReceiver()
        await configure(hookTo(receiver, RUNS))
        const jobs = await createJobs()
        for (const job of Object.values(jobs)) {
          await Promise.resolve(start(job)).catch(() => {})
          const [pre, post] = (await receiver.next(2)).map(({ body }) => JSON.parse(body) as Params)
          const common = { callId: pre!['callId'], method: job.method, userName: ADMIN_NAME, params: { id: job.id } }
          const run = { jobId: job.id, jobName: expect.any(String) as string, scheduleId: job.schedule }
          expect(pre).toMatchObject({ type: 'pre', ...common, run })
          expect(post).toMatchObject({
            ...{ type: 'post', ...common, duration: expect.any(Number) as number },
            ...(job.error === undefined ? { result: true } : { error: { message: job.error } }),
            run: { ...run, id: expect.any(String) as string, status: job.error === undefined ? 'success' : 'failure' },
          })
        }
        expect(receiver.requests).toHaveLength(2 * Object.keys(jobs).length)
      },
      60_000
    )

    it('announces each on schedule once, with the owner of its job', async () => {
      const receiver = await openReceiver()
      const jobs = Object.values(await createJobs())
      await configure(hookTo(receiver, RUNS))
      for (const { schedule: id } of jobs) {
        await admin.call('schedule.set', { id, cron: '* * * * *', enabled: true })
      }
      // within a minute
      const sent = (await receiver.next(2 * jobs.length, 90_000)).map(({ body }) => JSON.parse(body) as Params)
      for (const { schedule: id } of jobs) {
        await admin.call('schedule.set', { id, enabled: false })
      }
      for (const job of jobs) {
        const [pre, post] = sent.filter(({ params }) => (params as { id: unknown }).id === job.id)
        // the host gives an owner to jobs of metadata only
        const userName = job.method === 'metadataBackup.runJob' ? ADMIN_NAME : '(unknown user)'
        expect(pre).toMatchObject({ type: 'pre', method: job.method, userName })
        expect(post).toMatchObject({
          ...{ type: 'post', callId: pre!['callId'], userName },
          run: { status: job.error === undefined ? 'success' : 'failure' },
        })
      }
    }, 120_000)

    it('announces one that was interrupted, once it is up again', async () => {
      const receiver = await openReceiver(({ body }) => (body.includes('"type":"pre"') ? new Promise(() => {}) : {}))
      const { vm } = await createJobs()
      const hook = { ...hookTo(receiver, 'backupNg.runJob'), waitForResponse: true, limits: { timeout: 60 } }
      await configure(hook)
      // it is held before it begins to work, and that is how far it gets
      admin.call(vm.method, { id: vm.id, schedule: vm.schedule }).catch(() => {})
      const [pre] = await receiver.next(1)
      await host.kill()
      await host.start()
      admin = await host.connect()
      onTestFinished(() => admin.close())

      const { run } = JSON.parse(pre!.body) as { run: { id: string } }
      const post = (await receiver.next(1, 20_000)).map(({ body }) => JSON.parse(body) as Params)[0]!
      expect(post).toMatchObject({
        ...{ type: 'post', callId: run.id, method: vm.method, params: { id: vm.id, schedule: vm.schedule } },
        error: { message: 'xo-server has stopped while the run was under way' },
        run: { ...run, status: 'interrupted' },
      })
    }, 60_000)
  })

  it('announces actions of the REST API as API methods, each once', async () => {
    const receiver = await openReceiver()
    const id = (await admin.call('server.add', {
      ...{ host: '127.0.0.1:9', label: 'none', username: 'x', password: 'y', autoConnect: false },
    })) as string
    const { id: remote } = (await admin.call('remote.create', {
      name: 'r',
      url: `file://${host.repository}`,
    })) as Params
    await configure(hookTo(receiver, 'server.* remote.* task.*'))
    const next = async (count: number) =>
      (await receiver.next(count)).map(({ body }) => outline(JSON.parse(body) as Params))
    const error = expect.stringContaining('ECONNREFUSED') as string

    expect(await host.act(`servers/${id}/actions/connect`)).toMatchObject({ status: 500 })
    expect(await next(2)).toEqual([
      { event: 'pre server.enable', userName: ADMIN_NAME },
      { event: 'post server.enable', userName: ADMIN_NAME, error },
    ])
    expect(await host.act(`backup-repositories/${String(remote)}/actions/benchmark`)).toMatchObject({ status: 200 })
    expect(await next(2)).toMatchObject([
      { event: 'pre remote.test', userName: ADMIN_NAME },
      { event: 'post remote.test', result: { success: true } },
    ])
    // a task that is over
    const { callId } = JSON.parse(receiver.requests[0]!.body) as { callId: string }
    expect(await host.act(`tasks/${callId}/actions/abort`)).toMatchObject({ status: 404 })
    await expect(admin.call('server.enable', { id })).rejects.toThrow('ECONNREFUSED')
    const sent = (await next(4)).sort((a, b) => (a.event < b.event ? -1 : 1)).map(({ event }) => event)
    expect(sent).toEqual(['post server.enable', 'post task.abort', 'pre server.enable', 'pre task.abort'])
    expect(receiver.requests).toHaveLength(8)
  })

  it('holds a call until the receiver has answered', async () => {
    let answer = (): void => {}
    const answered = new Promise<object>(resolve => {
      answer = () => resolve({})
    })
    const receiver = await openReceiver(() => answered)
    await configure({ ...hookTo(receiver, 'user.create', 'pre'), waitForResponse: true })
    const created = admin.call('user.create', { email: 'carol', password: 'x' })
    await receiver.next()
    const emails = async () => ((await admin.call('user.getAll')) as Params[]).map(({ email }) => email)
    expect(await emails()).not.toContain('carol')
    answer()
    await created

    expect(await emails()).toContain('carol')
  })

  it('refuses what is wrong in a configuration, and keeps the old one', async () => {
    const receiver = await openReceiver()
    await configure(fence(receiver))
    await expect(
      configure(fence(receiver), { ...fence(receiver), name: 'Wrong', format: 'yaml' })
    ).rejects.toMatchObject({ code: 10, data: { errors: [{ path: 'hooks[1].format', hook: 'Wrong', got: '"yaml"' }] } })

    expect((await pluginInfo())['configuration']).toEqual({ hooks: [fence(receiver)] })
    await allSent(receiver, 0)
  })

  it('tells what the Test button has found', async () => {
    const receiver = await openReceiver()
    await configure(fence(receiver))
    expect(await admin.call('plugin.test', { id: ID })).toBe(true)
    const [request] = await receiver.next()
    expect(request!.headers['x-xo-test']).toBe('true')
    expect(JSON.parse(request!.body)).toMatchObject({ test: true, method: FENCE })

    await configure(fence(receiver), { ...fence(receiver), url: 'http://127.0.0.1:9/' })
    await expect(admin.call('plugin.test', { id: ID })).rejects.toMatchObject({
      code: 10,
      message: '1 of 2 test requests failed',
      data: {
        errors: [
          { ok: true, status: 200 },
          { ok: false, outcome: expect.stringContaining('refused') as string },
        ],
      },
    })
  })

  it('unloads it, loads it again, and purges it', async () => {
    const receiver = await openReceiver()
    await configure(fence(receiver))
    await admin.call('plugin.unload', { id: ID })
    await admin.call(FENCE)
    expect((await pluginInfo())['loaded']).toBe(false)
    await admin.call('plugin.load', { id: ID })
    await allSent(receiver, 0)
    await admin.call('plugin.purgeConfiguration', { id: ID })
    await admin.call(FENCE)
    expect(await pluginInfo()).not.toHaveProperty('configuration')
    await admin.call('plugin.load', { id: ID })
    await allSent(receiver, 0)

    expect(receiver.requests).toHaveLength(2)
  })

  it('has the configuration after a restart, and all that can be used of it once it is spoilt', async () => {
    const receiver = await openReceiver()
    await configure(fence(receiver), { ...fence(receiver), name: 'Spoilt', format: 'office365' })
    expect(await host.stop()).toMatchObject({ code: 0 })
    await host.start()
    admin = await host.connect()
    await admin.call(FENCE)
    await receiver.next(2)
    await admin.close()

    await host.stop()
    await host.editSaved('office365', 'no-such-format')
    await host.editSaved(FENCE, `${FENCE} method.of.another.time`)
    await host.start()
    admin = await host.connect()
    onTestFinished(() => admin.close())
    expect(host.log.filter(line => line.includes('hook disabled: hooks[1].format ("Spoilt")'))).toHaveLength(1)
    expect(host.log.filter(line => line.includes('method.of.another.time'))).toHaveLength(1)
    expect(await pluginInfo()).toMatchObject({ loaded: true })
    await allSent(receiver, 0)
    expect(receiver.requests).toHaveLength(3)
  }, 60_000)

  it('stops within seconds of SIGTERM, though a receiver is silent', async () => {
    const silent = await openReceiver(() => new Promise(() => {}))
    await configure({ ...hookTo(silent, 'user.getAll'), limits: { timeout: 60 } })
    for (let n = 0; n < 20; ++n) {
      await admin.call('user.getAll')
    }
    await silent.next(8)
    const { code, durationMs } = await host.stop()

    expect(code).toBe(0)
    expect(durationMs).toBeGreaterThan(4_900)
    expect(durationMs).toBeLessThan(8_000)
    const log = host.log.join('\n')
    expect(log).toMatch(/stopped with deliveries that were still waiting/)
    expect(log).not.toContain('unhandled')
  }, 30_000)
})
