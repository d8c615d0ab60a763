import { describe, expect, it } from 'vitest'
import {
  allSent,
  call,
  fence,
  gate,
  openReceiver,
  phaseAndMethod,
  startPlugin,
  userOf,
  eventually,
} from './helpers/running-plugin.ts'
import type { Body } from './helpers/running-plugin.ts'
import { ids } from './sandbox/made-up-pool.ts'
import type { Receiver } from './sandbox/receiver.ts'
import { ADMIN, type Sandbox } from './sandbox/sandbox.ts'
import type { TaskLog } from './sandbox/tasks.ts'

const RUNS = 'backupNg.runJob metadataBackup.runJob mirrorBackup.runJob'
const NOBODY = '(unknown user)'

async function startWith(method: string): Promise<{ sandbox: Sandbox; receiver: Receiver }> {
  const sandbox = await startPlugin()
  const receiver = await openReceiver()
  const hook = { method, type: 'pre/post', url: receiver.url, format: 'json' }
  await sandbox.configure({ hooks: [hook, fence(receiver.url)] })
  return { sandbox, receiver }
}

async function bob(sandbox: Sandbox) {
  await call(sandbox, 'user.create', { email: 'bob', password: 'x', permission: 'admin' })
  return userOf(sandbox, 'bob')
}

/** What tells runs apart. */
const outline = (body: Body) => `${phaseAndMethod(body)} ${String(body['userName'])}`

const KINDS = [
  { name: 'VM', method: 'backupNg.runJob', job: ids.job, schedule: ids.schedule, jobName: 'nightly' },
  {
    name: 'metadata',
    method: 'metadataBackup.runJob',
    job: ids.metadataJob,
    schedule: ids.metadataSchedule,
    jobName: 'metadata',
  },
  {
    name: 'mirror',
    method: 'mirrorBackup.runJob',
    job: ids.mirrorJob,
    schedule: ids.mirrorSchedule,
    jobName: 'mirror',
  },
] as const

it('a run of which a name cannot be looked up in time is told without it', async () => {
  const { sandbox, receiver } = await startWith(RUNS)
  const { host } = sandbox
  // the host looks first, then the plugin
  let looks = 0
  const getJob = host.getJob.bind(host)
  Object.assign(host, { getJob: (id: string) => (++looks === 1 ? getJob(id) : new Promise(() => {})) })
  await host.runSchedule(ids.schedule)
  await eventually(() => expect(receiver.requests).toHaveLength(2))

  const sent = await allSent(sandbox, receiver, 2)
  expect(sent.map(outline)).toEqual(['pre backupNg.runJob (unknown user)', 'post backupNg.runJob (unknown user)'])
})

describe.each(KINDS)('a $name backup', ({ method, job, schedule, jobName }) => {
  it('by hand has one pre and one post, of who has called, with its job and its run', async () => {
    const { sandbox, receiver } = await startWith(RUNS)
    await call(sandbox, method, { id: job, schedule })

    const [pre, post] = await allSent(sandbox, receiver, 2)
    const common = {
      callId: pre!['callId'],
      userId: userOf(sandbox).id,
      userName: ADMIN.email,
      userIp: '127.0.0.1',
      method,
      params: { id: job, schedule },
    }
    expect(pre).toMatchObject({ ...common, type: 'pre', run: { jobId: job, jobName, scheduleId: schedule } })
    expect(post).toMatchObject({
      ...common,
      type: 'post',
      result: true,
      duration: expect.any(Number) as number,
      run: { id: expect.any(String) as string, jobId: job, jobName, scheduleId: schedule, status: 'success' },
    })
  })

  it.each([
    ['on schedule', (sandbox: Sandbox) => sandbox.host.runSchedule(schedule), NOBODY],
    ['by REST', (sandbox: Sandbox) => sandbox.host.runScheduleByRest(userOf(sandbox), schedule), ADMIN.email],
    [
      'in a sequence',
      (sandbox: Sandbox) => call(sandbox, 'schedule.runSequence', { schedules: [schedule] }),
      ADMIN.email,
    ],
  ])('%s has one pre and one post, of who has started it, if anyone has', async (_, start, userName) => {
    const { sandbox, receiver } = await startWith(RUNS)
    await start(sandbox)

    const [pre, post] = await allSent(sandbox, receiver, 2)
    const run = { id: pre!['callId'], jobId: job, jobName, scheduleId: schedule }
    const common = { callId: pre!['callId'], userName, method, params: { id: job, schedule } }
    expect(pre).toMatchObject({ ...common, type: 'pre', run })
    expect(post).toMatchObject({ ...common, type: 'post', result: true, run: { ...run, status: 'success' } })
    expect([pre!['userId'], post!['userId']]).toEqual(
      Array(2).fill(userName === NOBODY ? undefined : userOf(sandbox).id)
    )
    expect((pre!['timestamp'] as number) + (post!['duration'] as number)).toBe(post!['timestamp'])
  })

  it('on schedule is of the owner of its job, whoever has set the schedule', async () => {
    const { sandbox, receiver } = await startWith(RUNS)
    const owner = await bob(sandbox)
    sandbox.host.createJob({ ...sandbox.host.getJob(job), userId: owner.id })
    await sandbox.host.runWithApiContext(userOf(sandbox), () => sandbox.host.runSchedule(schedule))

    const sent = await allSent(sandbox, receiver, 2)
    expect(sent.map(outline)).toEqual([`pre ${method} bob`, `post ${method} bob`])
    expect(sent[0]).toMatchObject({ userId: owner.id })
  })

  it('that is refused, on schedule, has a post with the error, and no pre; the other one goes on', async () => {
    const { sandbox, receiver } = await startWith(RUNS)
    const end = gate()
    sandbox.host.tasks.on('update', () => end.open())
    sandbox.host.runningJobs[job] = 'another run'
    await sandbox.host.runSchedule(schedule)

    const [post] = await allSent(sandbox, receiver, 1)
    expect(post).toMatchObject({
      type: 'post',
      method,
      userName: NOBODY,
      error: { message: `the job (${job}) is already running` },
      run: { jobId: job, jobName, scheduleId: schedule, status: 'failure' },
    })
  })

  it('that is refused, by hand, is the failure of the call alone', async () => {
    const { sandbox, receiver } = await startWith(RUNS)
    sandbox.host.runningJobs[job] = 'another run'
    await expect(call(sandbox, method, { id: job, schedule })).rejects.toThrow('already running')

    // the pre of a VM backup says that it begins
    const count = method === 'backupNg.runJob' ? 1 : 2
    const sent = await allSent(sandbox, receiver, count)
    expect(sent.at(-1)).toMatchObject({
      type: 'post',
      userName: ADMIN.email,
      error: { message: expect.anything() as string },
    })
  })

  it('that a restart has interrupted has its post when xo-server is up again', async () => {
    const { sandbox, receiver } = await startWith(RUNS)
    const { host } = sandbox
    const owner = await bob(sandbox)
    const interrupted = { ...host.getJob(job), userId: owner.id }
    const id = host.interruptRun(interrupted, host.getSchedule(schedule))
    host.announceInterrupted(id, interrupted.type)
    await eventually(() => expect(receiver.requests).toHaveLength(1))

    const [post] = await allSent(sandbox, receiver, 1)
    expect(post).toMatchObject({
      type: 'post',
      callId: id,
      method,
      userId: owner.id,
      userName: 'bob',
      params: { id: job, schedule },
      error: { message: 'xo-server has stopped while the run was under way' },
      run: { id, jobId: job, jobName, scheduleId: schedule, status: 'interrupted' },
    })
  })

  it('that begins on schedule while someone is about to run it keeps its own events', async () => {
    const { sandbox, receiver } = await startWith(RUNS)
    const listener = gate()
    sandbox.host.on('xo:preCall', data => (data.method === method ? listener.opened : undefined))
    const byHand = call(sandbox, method, { id: job, schedule })
    await sandbox.host.runSchedule(schedule)
    listener.open()
    await byHand

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(outline).sort()).toEqual(
      [NOBODY, ADMIN.email].flatMap(user => [`post ${method} ${user}`, `pre ${method} ${user}`]).sort()
    )
    const [theirs, ours] = [NOBODY, ADMIN.email].map(user => sent.filter(body => body['userName'] === user))
    expect(new Set(theirs!.map(({ callId }) => callId)).size).toBe(1)
    expect(new Set(ours!.map(({ callId }) => callId)).size).toBe(1)
    // the runs are numbered
    const numberOf = (body: Body | undefined) => Number((body!['run'] as { id: string }).id.split(':')[1])
    expect(numberOf(theirs!.at(-1))).toBeLessThan(numberOf(ours!.at(-1)))
  })
})

describe('a backup that fails', () => {
  it.each([
    ['on schedule', (sandbox: Sandbox) => sandbox.host.runSchedule(ids.schedule)],
    ['by hand', (sandbox: Sandbox) => call(sandbox, 'backupNg.runJob', { id: ids.job, schedule: ids.schedule })],
  ])('for one of its VMs, %s, is a failure, though the host says that all is well', async (_, start) => {
    const { sandbox, receiver } = await startWith(RUNS)
    sandbox.host.changeObject(ids.runningVm, { backupError: 'no space left on device' })
    await start(sandbox)

    const [, post] = await allSent(sandbox, receiver, 2)
    expect(post).toMatchObject({
      type: 'post',
      error: {
        message: 'VM database: no space left on device',
        failures: [
          { type: 'VM', id: ids.runningVm, name: 'database', step: 'backup VM', message: 'no space left on device' },
        ],
      },
      run: { status: 'failure' },
    })
    expect(post).not.toHaveProperty('result')
    expect((post!['error'] as { failures: object[] }).failures).toHaveLength(1)
  })

  it.each([
    ['on schedule', (sandbox: Sandbox) => sandbox.host.runSchedule(ids.schedule)],
    ['by hand', (sandbox: Sandbox) => call(sandbox, 'backupNg.runJob', { id: ids.job, schedule: ids.schedule })],
  ])('for one of its VMs, %s, is a failure even if its task is heard of only when it is over', async (_, start) => {
    const { sandbox, receiver } = await startWith(RUNS)
    const { host } = sandbox
    host.changeObject(ids.runningVm, { backupError: 'no' })
    const { emit } = host.tasks
    const late: unknown[][] = []
    host.tasks.emit = (event, ...args) => {
      const isRun = event === 'update' && (args as [TaskLog])[0].properties['name'] === 'backup run'
      return isRun ? late.push(args) > 0 : emit.call(host.tasks, event, ...args)
    }
    host.once('job:terminated', () => {
      setImmediate(() => late.forEach(args => emit.call(host.tasks, 'update', ...args)))
    })
    await start(sandbox)
    await eventually(() => expect(receiver.requests).toHaveLength(2))

    const [, post] = await allSent(sandbox, receiver, 2)
    expect(post).toMatchObject({ error: { message: 'VM database: no' }, run: { status: 'failure' } })
  })

  it('is what a hook on failures is sent', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const hook = { method: 'backupNg.runJob', type: 'post', status: 'failure', url: receiver.url, format: 'json' }
    await sandbox.configure({ hooks: [hook, fence(receiver.url)] })
    await sandbox.host.runSchedule(ids.schedule)
    sandbox.host.changeObject(ids.runningVm, { backupError: 'no' })
    await sandbox.host.runSchedule(ids.schedule)

    expect(await allSent(sandbox, receiver, 1)).toMatchObject([{ run: { status: 'failure' } }])
  })

  it.each([
    ['on schedule', (sandbox: Sandbox) => sandbox.host.runSchedule(ids.metadataSchedule)],
    [
      'by hand',
      (sandbox: Sandbox) =>
        expect(
          call(sandbox, 'metadataBackup.runJob', { id: ids.metadataJob, schedule: ids.metadataSchedule })
        ).rejects.toThrow('undefined error'),
    ],
  ])('for the metadata of a pool, %s, says what the host does not', async (_, start) => {
    const { sandbox, receiver } = await startWith(RUNS)
    sandbox.host.createJob({ ...sandbox.host.getJob(ids.metadataJob), pools: [ids.pool, 'gone', 'lost'] })
    await start(sandbox)

    const [, post] = await allSent(sandbox, receiver, 2)
    expect(post).toMatchObject({
      error: { message: 'pool gone: no such pool gone, and 1 more', failures: [{ id: 'gone' }, { id: 'lost' }] },
      run: { status: 'failure' },
    })
  })

  it.each([
    ['on schedule', (sandbox: Sandbox) => sandbox.host.runSchedule(ids.mirrorSchedule), NOBODY],
    [
      'by REST',
      (sandbox: Sandbox) =>
        expect(sandbox.host.runScheduleByRest(userOf(sandbox), ids.mirrorSchedule)).rejects.toThrow('source remote'),
      ADMIN.email,
    ],
    [
      'by hand',
      (sandbox: Sandbox) =>
        expect(
          call(sandbox, 'mirrorBackup.runJob', { id: ids.mirrorJob, schedule: ids.mirrorSchedule })
        ).rejects.toThrow('source remote'),
      ADMIN.email,
    ],
  ])('before it has a task, %s, has both events, and the error', async (_, start, userName) => {
    const { sandbox, receiver } = await startWith(RUNS)
    sandbox.host.createJob({ ...sandbox.host.getJob(ids.mirrorJob), sourceRemote: undefined })
    await start(sandbox)
    await eventually(() => expect(receiver.requests).toHaveLength(2))

    const sent = await allSent(sandbox, receiver, 2)
    expect(sent.map(outline)).toEqual([`pre mirrorBackup.runJob ${userName}`, `post mirrorBackup.runJob ${userName}`])
    expect(sent[1]).toMatchObject({
      error: { message: "couldn't instantiate source remote" },
      run: { id: expect.any(String) as string, jobName: 'mirror', status: 'failure' },
    })
  })
})

describe('an action of the REST API', () => {
  it('is announced as the API method, and once', async () => {
    const { sandbox, receiver } = await startWith('vm.start vm.stop')
    const { host } = sandbox
    const vm = { objectId: ids.haltedVm, objectType: 'VM', args: { hostId: ids.host } }
    await host.runRestAction(userOf(sandbox), 'start VM', vm, () => {
      host.changeObject(ids.haltedVm, { power_state: 'Running' })
    })
    await call(sandbox, 'vm.stop', { id: ids.haltedVm })

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(outline).sort()).toEqual(
      ['post vm.start', 'post vm.stop', 'pre vm.start', 'pre vm.stop'].map(event => `${event} ${ADMIN.email}`)
    )
    const [pre, post] = sent.filter(body => body['method'] === 'vm.start')
    expect(pre).toMatchObject({ type: 'pre', params: { id: ids.haltedVm, hostId: ids.host } })
    expect(post).toMatchObject({ type: 'post', callId: pre!['callId'], result: true })
  })

  it('that runs a schedule is announced beside the run', async () => {
    const { sandbox, receiver } = await startWith(`schedule.run ${RUNS}`)
    await sandbox.host.runScheduleByRest(userOf(sandbox), ids.metadataSchedule)

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(outline).sort()).toEqual(
      ['post metadataBackup.runJob', 'post schedule.run', 'pre metadataBackup.runJob', 'pre schedule.run'].map(
        event => `${event} ${ADMIN.email}`
      )
    )
  })

  it('that is under way does not make a run that is refused that of its user', async () => {
    const { sandbox, receiver } = await startWith(RUNS)
    const running = gate()
    sandbox.host.on('backup:preCall', () => running.opened)
    const byRest = sandbox.host.runScheduleByRest(userOf(sandbox), ids.schedule)
    await eventually(() => expect(sandbox.host.runningJobs).toHaveProperty(ids.job))
    // as cron does, in the context of whom has set the schedule
    await sandbox.host.runWithApiContext(userOf(sandbox), () => sandbox.host.runSchedule(ids.schedule))
    running.open()
    await byRest

    const sent = await allSent(sandbox, receiver, 3)
    const refused = sent.filter(body => body['userName'] === NOBODY)
    expect(refused.map(phaseAndMethod)).toEqual(['post backupNg.runJob'])
  })

  it('does no harm where the plugin is confused: tasks go on', async () => {
    const { sandbox, receiver } = await startWith('vm.*')
    const { host } = sandbox
    host.tasks.emit('update', { id: 'odd' })
    await host.runRestAction(userOf(sandbox), 'start VM', { objectId: ids.haltedVm }, () => {})

    await allSent(sandbox, receiver, 2)
  })
})

it('hooks on names that no API method has can be saved, and misspelt ones cannot', async () => {
  const { sandbox, receiver } = await startWith('schedule.run vm.unpause task.abort')
  const hook = { type: 'post', url: receiver.url, format: 'json' }
  await expect(sandbox.configure({ hooks: [{ ...hook, method: 'schedule.rum' }] })).rejects.toThrow('schedule.rum')

  await allSent(sandbox, receiver, 0)
})
