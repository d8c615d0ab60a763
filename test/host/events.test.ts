import { describe, expect, it, onTestFinished } from 'vitest'
import type { Params } from '../sandbox/config.ts'
import { ADMIN } from '../sandbox/sandbox.ts'
import { ADMIN_NAME, fence, hookTo, openReceiver, setUpRealHost } from './setup.ts'

const xo = setUpRealHost()

const outline = ({ type, method, userName, error, result }: Params) => ({
  event: `${String(type)} ${String(method)}`,
  userName,
  ...(error !== undefined && { error: (error as Error).message }),
  ...(result !== undefined && { result }),
})

describe('a real xo-server', () => {
  it('sends calls that succeed and calls that fail', async () => {
    const receiver = await openReceiver()
    await xo.configure(hookTo(receiver, 'user.create'), fence(receiver))
    const bob = { email: 'bob', password: 'x', permission: 'none' }
    const id = await xo.admin.call('user.create', bob)
    await expect(xo.admin.call('user.create', bob)).rejects.toThrow('already')

    const sent = await xo.allSent(receiver, 4)
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
    await xo.configure(hookTo(receiver, 'host.restartAgent'), fence(receiver))
    await expect(xo.admin.call('host.restart_agent', { id: 'none' })).rejects.toThrow('no such host')

    const sent = await xo.allSent(receiver, 2)
    expect(sent.map(outline)).toEqual([
      { event: 'pre host.restart_agent', userName: ADMIN_NAME },
      { event: 'post host.restart_agent', userName: ADMIN_NAME, error: 'no such host none' },
    ])
  })

  it('tells once who has signed in at its page', async () => {
    const receiver = await openReceiver()
    await xo.configure(hookTo(receiver, 'user.signedIn', 'post'), fence(receiver))
    const { email: username, password } = ADMIN
    const answer = await fetch(`${xo.host.url}/signin/local`, {
      method: 'POST',
      body: new URLSearchParams({ username, password }),
      redirect: 'manual',
    })
    const [, token = ''] = /(?:^|\n)token=([^;]+)/.exec(answer.headers.getSetCookie().join('\n')) ?? []
    expect(token).not.toBe('')
    const { body } = (await receiver.next(1))[0]!
    expect(JSON.parse(body)).toMatchObject({
      ...{ method: 'user.signedIn', userName: ADMIN_NAME, client: 'web', params: { provider: 'local' } },
    })
    expect(body).not.toContain(token)
    // as the pages of XO 5 do then
    const pages = await xo.host.connect(null)
    onTestFinished(() => pages.close())
    await pages.call('session.signIn', { token })
    expect(await xo.allSent(receiver, 0)).toEqual([])
  })

  it('announces what strangers call only where they are welcome', async () => {
    const receiver = await openReceiver()
    await xo.configure(hookTo(receiver, 'plugin.get session.signIn'), fence(receiver))
    const stranger = await xo.host.connect(null)
    onTestFinished(() => stranger.close())
    await expect(stranger.call('plugin.get')).rejects.toThrow('not enough permissions')
    await stranger.call('session.signIn', { email: ADMIN_NAME, password: 'admin' })

    const sent = await xo.allSent(receiver, 3)
    expect(sent.map(body => outline(body).event).sort()).toEqual([
      'post plugin.get',
      'post session.signIn',
      'pre session.signIn',
    ])
  })

  it('announces each run of a backup once, and one that is refused with its error alone', async () => {
    const receiver = await openReceiver()
    await xo.configure(hookTo(receiver, 'backupNg.runJob'), fence(receiver))
    const id = await xo.admin.call('backupNg.createJob', {
      name: 'empty',
      mode: 'full',
      remotes: { id: { __or: [] } },
      schedules: { new: { cron: '0 0 1 1 *', enabled: false, name: 'never' } },
      settings: { '': {}, new: { exportRetention: 1 } },
      vms: { id: { __or: [] } },
    })
    const schedules = (await xo.admin.call('schedule.getAll')) as Params[]
    const job = { id, schedule: schedules.find(({ jobId }) => jobId === id)!['id'] }
    expect(await xo.admin.call('backupNg.runJob', job)).toBe(true)
    await expect(xo.admin.call('backupNg.runJob', { ...job, id: 'none' })).rejects.toThrow('no such job')
    const stranger = await xo.host.connect(null)
    onTestFinished(() => stranger.close())
    await expect(stranger.call('backupNg.runJob', job)).rejects.toThrow('not enough permissions')

    // without the call of a backup, and for a job without an owner: it is of who runs the sequence
    await xo.admin.call('schedule.runSequence', { schedules: [job.schedule] })

    const sent = await xo.allSent(receiver, 6)
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
      const { id: remote } = (await xo.admin.call('remote.create', {
        name: 'repository',
        url: `file://${xo.host.repository}`,
      })) as { id: string }
      const create = async (api: string, job: object, error?: string): Promise<Job> => {
        const created = (await xo.admin.call(`${api}.createJob`, { schedules: never, ...job })) as
          string | { id: string }
        const id = typeof created === 'string' ? created : created.id
        const schedules = (await xo.admin.call('schedule.getAll')) as { id: string; jobId: string }[]
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
      'by hand': (job: Job) => xo.admin.call(job.method, { id: job.id, schedule: job.schedule }),
      'by REST': (job: Job) => xo.host.act(`schedules/${job.schedule}/actions/run`),
      'in a sequence': (job: Job) => xo.admin.call('schedule.runSequence', { schedules: [job.schedule] }),
    }

    it.each(Object.entries(STARTS))(
      'announces each %s once, with its user and its true outcome',
      async (_, start) => {
        const receiver = await openReceiver()
        await xo.configure(hookTo(receiver, RUNS))
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
      await xo.configure(hookTo(receiver, RUNS))
      for (const { schedule: id } of jobs) {
        await xo.admin.call('schedule.set', { id, cron: '* * * * *', enabled: true })
      }
      // within a minute
      const sent = (await receiver.next(2 * jobs.length, 90_000)).map(({ body }) => JSON.parse(body) as Params)
      for (const { schedule: id } of jobs) {
        await xo.admin.call('schedule.set', { id, enabled: false })
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
      await xo.configure(hook)
      // it is held before it begins to work, and that is how far it gets
      xo.admin.call(vm.method, { id: vm.id, schedule: vm.schedule }).catch(() => {})
      const [pre] = await receiver.next(1)
      await xo.restart('kill')

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
    const id = (await xo.admin.call('server.add', {
      ...{ host: '127.0.0.1:9', label: 'none', username: 'x', password: 'y', autoConnect: false },
    })) as string
    const { id: remote } = (await xo.admin.call('remote.create', {
      name: 'r',
      url: `file://${xo.host.repository}`,
    })) as Params
    await xo.configure(hookTo(receiver, 'server.* remote.* task.*'))
    const next = async (count: number) =>
      (await receiver.next(count)).map(({ body }) => outline(JSON.parse(body) as Params))
    const error = expect.stringContaining('ECONNREFUSED') as string

    expect(await xo.host.act(`servers/${id}/actions/connect`)).toMatchObject({ status: 500 })
    expect(await next(2)).toEqual([
      { event: 'pre server.enable', userName: ADMIN_NAME },
      { event: 'post server.enable', userName: ADMIN_NAME, error },
    ])
    expect(await xo.host.act(`backup-repositories/${String(remote)}/actions/benchmark`)).toMatchObject({ status: 200 })
    expect(await next(2)).toMatchObject([
      { event: 'pre remote.test', userName: ADMIN_NAME },
      { event: 'post remote.test', result: { success: true } },
    ])
    // a task that is over
    const { callId } = JSON.parse(receiver.requests[0]!.body) as { callId: string }
    expect(await xo.host.act(`tasks/${callId}/actions/abort`)).toMatchObject({ status: 404 })
    await expect(xo.admin.call('server.enable', { id })).rejects.toThrow('ECONNREFUSED')
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
    await xo.configure({ ...hookTo(receiver, 'user.create', 'pre'), waitForResponse: true })
    const created = xo.admin.call('user.create', { email: 'carol', password: 'x' })
    await receiver.next()
    const emails = async () => ((await xo.admin.call('user.getAll')) as Params[]).map(({ email }) => email)
    expect(await emails()).not.toContain('carol')
    answer()
    await created

    expect(await emails()).toContain('carol')
  })
})
