import { configure } from '@xen-orchestra/log/configure'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { listenToApiCalls } from '../../src/sources/api-calls.ts'
import { BackupRuns } from '../../src/sources/backup-runs.ts'
import type { Accept } from '../../src/sources/source.ts'
import type { Signal, Xo } from '../../src/xo.ts'
import { Host } from '../sandbox/host.ts'
import type { User } from '../sandbox/host.ts'
import { ids, populate } from '../sandbox/made-up-pool.ts'

// the host says what has failed, and here it is meant to
configure(() => {})

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** However busy the machine is. */
const PATIENCE = { timeout: 4_000 }

const NOBODY = '(unknown user)'
const METHODS = ['backupNg.runJob', 'metadataBackup.runJob', 'mirrorBackup.runJob']

/** @param more - what the plugin sees in the place of the host's own */
function listening({ waits = false, ...more }: { waits?: boolean; getJob?: Xo['getJob'] } = {}) {
  const host = new Host({})
  populate(host)
  for (const method of METHODS) {
    host.addApiMethod(method, ({ id, schedule }: { id: string; schedule: string }) =>
      host.runJobSequence([id], host.getSchedule(schedule))
    )
  }
  const told: (Signal & { source: string; phase: string })[] = []
  const accept: Accept = Object.assign(
    (source: string, phase: string, signal: Signal) => {
      // as the event would be frozen now
      told.push({ ...structuredClone(signal), source, phase })
      return undefined
    },
    { wants: () => true, waits: () => waits }
  )
  const xo = new Proxy(host, {
    get: (_, key) => Reflect.get(key in more ? more : host, key) as unknown,
  }) as unknown as Xo
  const runs = new BackupRuns(xo, accept)
  const undo = [runs.listen(), listenToApiCalls(xo, accept, runs.takerOf)]
  const user = host.users.values().next().value as User
  return {
    host,
    told,
    user,
    undo,
    call(method: string, params: object) {
      const connection = host.createApiConnection()
      connection.set('user_id', user.id)
      return host.callApiMethod(connection, method, { ...params })
    },
    /** What was told, once it is this much; the names are looked up, and what comes too much has had its time. */
    async outline(count: number) {
      await vi.waitFor(() => expect(told.length).toBeGreaterThanOrEqual(count), PATIENCE)
      await vi.advanceTimersByTimeAsync(10_000)
      await new Promise(setImmediate)
      return told.map(({ source, phase, userName }) => `${source} ${phase} ${userName}`)
    },
  }
}

/** More than a run takes that nothing holds. */
async function turns() {
  for (let turn = 0; turn < 50; ++turn) {
    await new Promise(setImmediate)
  }
}

describe.each([
  ['VM', 'backupNg.runJob', ids.job, ids.schedule],
  ['metadata', 'metadataBackup.runJob', ids.metadataJob, ids.metadataSchedule],
  ['mirror', 'mirrorBackup.runJob', ids.mirrorJob, ids.mirrorSchedule],
])('a run of a %s backup', (_, method, job, schedule) => {
  it('by hand is that of its call', async () => {
    const { call, outline, told, user } = listening()
    await call(method, { id: job, schedule })
    expect(await outline(2)).toEqual([`api pre ${user.email}`, `api post ${user.email}`])
    expect(told).toMatchObject([
      { method, run: { jobId: job, scheduleId: schedule } },
      { method, result: true, run: { id: expect.stringMatching(/./) as string, jobId: job, status: 'success' } },
    ])
  })

  it('on schedule is announced for itself', async () => {
    const { host, outline, told } = listening()
    await host.runSchedule(schedule)
    expect(await outline(2)).toEqual([`backup pre ${NOBODY}`, `backup post ${NOBODY}`])
    expect(told[0]!.callId).toBe(told[1]!.callId)
  })

  it('on schedule, while a call of the same job is about to start, is told at its end', async () => {
    const { host, call, outline, user } = listening()
    let goOn = (): void => {}
    const held = new Promise<void>(resolve => (goOn = resolve))
    host.on('xo:preCall', () => held)
    const byHand = call(method, { id: job, schedule })
    await host.runSchedule(schedule)
    goOn()
    await byHand
    const outlines = await outline(4)
    expect(outlines.filter(each => each.endsWith(NOBODY))).toEqual([`backup pre ${NOBODY}`, `backup post ${NOBODY}`])
    expect(outlines.filter(each => each.endsWith(user.email))).toEqual([
      `api pre ${user.email}`,
      `api post ${user.email}`,
    ])
  })

  it('that is refused has a post and no pre', async () => {
    const { host, outline, told } = listening()
    host.runningJobs[job] = 'another run'
    await host.runSchedule(schedule)
    expect(await outline(1)).toEqual([`backup post ${NOBODY}`])
    expect(told).toMatchObject([
      { error: { message: `the job (${job}) is already running` }, run: { status: 'failure' } },
    ])
  })

  it('that a restart has interrupted has a post and no pre', async () => {
    const { host, outline, told } = listening()
    host.announceInterrupted(host.interruptRun(host.getJob(job), host.getSchedule(schedule)), host.getJob(job).type)
    expect(await outline(1)).toEqual([`backup post ${NOBODY}`])
    expect(told).toMatchObject([{ run: { jobId: job, status: 'interrupted' } }])
  })

  it('of which the host says nothing is told once it has ended, with that', async () => {
    const { host, outline, told } = listening()
    host.runningJobs[job] = 'run-1'
    host.emit('job:terminated', 'run-1', { type: host.getJob(job).type })
    host.emit('job:terminated', 'run-1', { type: host.getJob(job).type })
    expect(await outline(2)).toEqual([`backup pre ${NOBODY}`, `backup post ${NOBODY}`])
    expect(told[1]).toMatchObject({ callId: 'run-1', run: { id: 'run-1', jobId: job, status: 'unknown' } })
  })

  it('keeps the host waiting only if a hook wants it to', async () => {
    for (const waits of [true, false]) {
      // the look-up of a name, which is given up after a second
      const { call } = listening({ waits, getJob: () => new Promise(() => {}) })
      let isOver = false
      const called = call(method, { id: job, schedule })
      void called.then(() => (isOver = true))
      await turns()
      expect(isOver).toBe(!waits)
      await vi.advanceTimersByTimeAsync(1_000)
      await called
    }
  })
})

describe('a call by hand', () => {
  it('of nobody who has signed in is told when it has failed, and not before', async () => {
    const { host, outline } = listening()
    const called = host.callApiMethod(host.createApiConnection(), 'metadataBackup.runJob', { id: ids.metadataJob })
    await expect(called).rejects.toThrow()
    expect(await outline(1)).toEqual([`api post ${NOBODY}`])
  })

  it('that has started nothing ends without a run', async () => {
    const { call, outline, told } = listening()
    await call('metadataBackup.runJob', { id: 'no such job', schedule: ids.metadataSchedule }).catch(() => {})
    expect(await outline(2)).toEqual(['api pre admin@admin.net', 'api post admin@admin.net'])
    expect(told[1]).toMatchObject({ error: { message: expect.stringContaining('no such job') as string } })
    expect(told[1]).not.toHaveProperty('run')
  })

  it('that has begun before this listens has the run alone', async () => {
    const { host, user, outline } = listening()
    const { jobId } = host.getSchedule(ids.metadataSchedule)
    await host.runWithApiContext(user, () => host.runJob(host.getJob(jobId), host.getSchedule(ids.metadataSchedule)))
    host.emit('xo:postCall', { callId: 'c', method: 'metadataBackup.runJob', timestamp: 1, params: { id: jobId } })
    expect(await outline(2)).toEqual([`backup pre ${NOBODY}`, `backup post ${NOBODY}`])
  })
})

describe('the task of a run', () => {
  /** Holds back the updates of the tasks of runs, until they are let go. */
  function holdTasks(host: Host) {
    const { emit } = host.tasks
    const held: unknown[][] = []
    host.tasks.emit = (event, ...args) =>
      event === 'update' ? held.push(args) > 0 : emit.call(host.tasks, event, ...args)
    return () => held.splice(0).forEach(args => emit.call(host.tasks, 'update', ...args))
  }

  it.each([
    ['on schedule', ({ host }: ReturnType<typeof listening>) => host.runSchedule(ids.schedule)],
    [
      'by hand',
      ({ call }: ReturnType<typeof listening>) => call('backupNg.runJob', { id: ids.job, schedule: ids.schedule }),
    ],
  ])('that is heard of after its end, %s, tells the outcome', async (_, run) => {
    const started = listening()
    started.host.changeObject(ids.runningVm, { backupError: 'no' })
    const letGo = holdTasks(started.host)
    started.host.on('job:terminated', () => setImmediate(letGo))
    await run(started)
    await started.outline(2)
    expect(started.told[1]).toMatchObject({ error: { message: 'VM database: no' }, run: { status: 'failure' } })
  })

  it('that is heard of never is not waited for longer than a second', async () => {
    const { host, told } = listening()
    holdTasks(host)
    await host.runSchedule(ids.schedule)
    await turns()
    expect(told.map(({ phase }) => phase)).toEqual(['pre'])
    await vi.advanceTimersByTimeAsync(1_000)
    await vi.waitFor(() => expect(told.map(({ phase }) => phase)).toEqual(['pre', 'post']), PATIENCE)
  })

  it('that is updated after the end does not begin it anew', async () => {
    const { host, told, outline } = listening()
    let last: unknown
    host.tasks.on('update', task => (last = task))
    await host.runSchedule(ids.metadataSchedule)
    await outline(2)
    host.tasks.emit('update', last)
    await outline(2)
    expect(told).toHaveLength(2)
  })
})

it('nothing is heard after the undo', async () => {
  const { host, undo, told } = listening()
  undo.forEach(each => each())
  await host.runSchedule(ids.schedule)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(told).toEqual([])
  expect(
    ['backup:preCall', 'backup:postCall', 'job:terminated', 'xo:preCall'].map(name => host.listenerCount(name))
  ).toEqual([0, 0, 0, 0])
})
