import { describe, expect, it, vi } from 'vitest'
import type { Params } from '../sandbox/config.ts'
import { ADMIN_NAME, hookTo, openReceiver, setUpRealHost } from './setup.ts'

const xo = setUpRealHost()

const PATIENCE = { timeout: 100_000, interval: 100 }

const REASON = 'office hours'
const MESSAGE = `refused by the hook "Guard": ${REASON}`

/** A receiver that refuses each question until it is told otherwise, and a hook that asks it. */
async function guarding(method: string) {
  let isOpen = false
  const receiver = await openReceiver(({ headers }) =>
    headers['x-xo-may-refuse'] === undefined || isOpen
      ? {}
      : { status: 200, body: JSON.stringify({ allow: false, reason: REASON }) }
  )
  await xo.configureAnew({ ...hookTo(receiver, method), name: 'Guard', mayRefuse: true, refuseWhenSilent: true })
  const bodies = () => receiver.requests.map(({ body }) => JSON.parse(body) as Params)
  return { bodies, allow: () => void (isOpen = true) }
}

/** What makes a job of a kind. Without a hypervisor, its runs would fail. */
const KINDS = {
  metadataBackup: (remote: string) => ({
    remotes: { id: remote },
    settings: { new: { retentionXoMetadata: 1 } },
    xoMetadata: true,
  }),
  backupNg: (remote: string) => ({
    mode: 'full',
    remotes: { id: remote },
    settings: { new: { exportRetention: 1 } },
    vms: { id: '67aac198-0174-11ea-8d71-362b9e155667' },
  }),
}

/** A job that no schedule runs, and its schedule. */
async function createJob(kind: keyof typeof KINDS): Promise<{ id: string; schedule: string }> {
  const { id: remote } = (await xo.admin.call('remote.create', {
    name: `repository of ${kind}`,
    url: `file://${xo.host.repository}`,
  })) as { id: string }
  const id = (await xo.admin.call(`${kind}.createJob`, {
    name: 'guarded',
    schedules: { new: { cron: '0 0 1 1 *', enabled: false, name: 'when' } },
    ...KINDS[kind](remote),
  })) as string | { id: string }
  const job = typeof id === 'string' ? id : id.id
  const schedules = (await xo.admin.call('schedule.getAll')) as Params[]
  return { id: job, schedule: schedules.find(({ jobId }) => jobId === job)!['id'] as string }
}

/** What XO's backup log has of the runs of a job. */
async function logsOf(job: string): Promise<Params[]> {
  const logs = (await xo.admin.call('backupNg.getAllLogs', {})) as Record<string, Params>
  return Object.values(logs).filter(({ jobId }) => jobId === job)
}

describe('in a real xo-server, a hook that may refuse', () => {
  it('keeps a call from happening, and the caller is told', async () => {
    const { bodies, allow } = await guarding('user.create')
    const eve = { email: `eve-${Date.now()}`, password: 'x', permission: 'none' }
    await expect(xo.admin.call('user.create', eve)).rejects.toMatchObject({
      code: 5,
      message: expect.stringContaining(MESSAGE) as string,
    })
    const users = (await xo.admin.call('user.getAll')) as Params[]
    expect(users.map(({ email }) => email)).not.toContain(eve.email)
    await vi.waitFor(() => expect(bodies()).toHaveLength(2), PATIENCE)
    const [pre, post] = bodies()
    expect(pre).toMatchObject({ type: 'pre', userName: ADMIN_NAME, callId: post!['callId'] })
    expect(post).toMatchObject({ type: 'post', error: { code: 5 } })
    allow()
    expect(await xo.admin.call('user.create', eve)).toEqual(expect.any(String))
  })

  it('keeps runs of a backup from beginning, by call, by REST and by its schedule, and they are in its log', async () => {
    const { bodies, allow } = await guarding('metadataBackup.runJob')
    const { id, schedule } = await createJob('metadataBackup')
    const run = { id, schedule }
    const logged = () => logsOf(id)
    await expect(xo.admin.call('metadataBackup.runJob', run)).rejects.toThrow(MESSAGE)
    const { status, body } = await xo.host.act(`schedules/${schedule}/actions/run`)
    expect([status, (body as Params)['error']]).toEqual([403, expect.stringContaining(MESSAGE)])
    // it fires at the next whole minute
    await xo.admin.call('schedule.set', { id: schedule, cron: '* * * * *', enabled: true })
    await vi.waitFor(() => expect(bodies().filter(({ type }) => type === 'post').length).toBeGreaterThan(2), PATIENCE)
    await xo.admin.call('schedule.set', { id: schedule, enabled: false })
    for (const post of bodies().filter(({ type }) => type === 'post')) {
      expect(post).toMatchObject({
        method: 'metadataBackup.runJob',
        error: { message: expect.stringContaining(MESSAGE) as string },
      })
      expect(bodies().filter(({ type, callId }) => type === 'pre' && callId === post['callId'])).toHaveLength(1)
    }
    await vi.waitFor(async () => expect((await logged()).length).toBeGreaterThan(2), PATIENCE)
    for (const log of await logged()) {
      expect(log).toMatchObject({
        status: 'failure',
        jobName: 'guarded',
        result: { message: expect.stringContaining(MESSAGE) as string },
      })
    }
    allow()
    expect(await xo.admin.call('metadataBackup.runJob', run)).toBe(true)
  }, 240_000)

  it('keeps a backup of a VM from beginning, however it is started, and each run is in its log', async () => {
    const { bodies } = await guarding('backupNg.runJob')
    const { id, schedule } = await createJob('backupNg')
    await expect(xo.admin.call('backupNg.runJob', { id, schedule })).rejects.toThrow(MESSAGE)
    expect((await xo.host.act(`schedules/${schedule}/actions/run`)).status).toBe(403)
    await expect(xo.admin.call('schedule.runSequence', { schedules: [schedule] })).rejects.toThrow(MESSAGE)
    const posts = () => bodies().filter(({ type }) => type === 'post')
    await vi.waitFor(() => expect(posts()).toHaveLength(3), PATIENCE)
    expect(posts().map(({ error }) => (error as Error).message)).toEqual(
      Array.from({ length: 3 }, () => expect.stringContaining(MESSAGE) as string)
    )
    await vi.waitFor(async () => expect(await logsOf(id)).toHaveLength(3), PATIENCE)
    for (const log of await logsOf(id)) {
      expect(log).toMatchObject({
        ...{ status: 'failure', jobName: 'guarded' },
        result: { message: expect.stringContaining(MESSAGE) as string },
      })
    }
  }, 240_000)
})
