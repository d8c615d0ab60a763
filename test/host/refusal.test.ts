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

/** A metadata backup that fails without a hypervisor, and its schedule. */
async function createJob(cron: string, enabled: boolean): Promise<{ id: string; schedule: string }> {
  const { id: remote } = (await xo.admin.call('remote.create', {
    name: 'repository',
    url: `file://${xo.host.repository}`,
  })) as { id: string }
  const id = (await xo.admin.call('metadataBackup.createJob', {
    name: 'guarded',
    remotes: { id: remote },
    schedules: { new: { cron, enabled, name: 'when' } },
    settings: { new: { retentionXoMetadata: 1 } },
    xoMetadata: true,
  })) as string | { id: string }
  const job = typeof id === 'string' ? id : id.id
  const schedules = (await xo.admin.call('schedule.getAll')) as Params[]
  return { id: job, schedule: schedules.find(({ jobId }) => jobId === job)!['id'] as string }
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
    const { id, schedule } = await createJob('0 0 1 1 *', false)
    const run = { id, schedule }
    const logged = async () =>
      Object.values((await xo.admin.call('backupNg.getAllLogs', {})) as Record<string, Params>).filter(
        log => log['jobId'] === id
      )
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
})
