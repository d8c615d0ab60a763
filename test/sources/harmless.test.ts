import { configure } from '@xen-orchestra/log/configure'
import type { LogEntry } from '@xen-orchestra/log/configure'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { listenToApiCalls } from '../../src/sources/api-calls.ts'
import { BackupRuns } from '../../src/sources/backup-runs.ts'
import { objectsOf } from '../../src/sources/objects.ts'
import { listenToJobEnds } from '../../src/sources/job-ends.ts'
import { listenToAudit } from '../../src/sources/notices.ts'
import { listenToRestActions } from '../../src/sources/rest-actions.ts'
import type { Accept } from '../../src/sources/source.ts'
import { listenToStateChanges } from '../../src/sources/state-changes.ts'
import type { Xo } from '../../src/xo.ts'
import { Host } from '../sandbox/host.ts'
import type { User } from '../sandbox/host.ts'
import { ids, populate } from '../sandbox/made-up-pool.ts'

/** What the process logs: the host says here that a listener has failed. */
let logged: LogEntry[] = []
configure(entry => {
  logged.push(entry)
})
const listenerFailures = () => logged.filter(({ message }) => message.includes('listener failure'))
const bugs = () => logged.filter(({ message }) => message === 'events were lost to a bug')

beforeEach(() => {
  logged = []
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** However busy the machine is. */
const PATIENCE = { timeout: 4_000 }

function fail(): never {
  throw new Error('a bug')
}

/** What may go wrong where signals go to. Each but the last is seen. */
const BUGS: readonly (readonly [string, () => unknown])[] = [
  ['throws', fail],
  ['rejects', () => Promise.reject(new Error('a bug'))],
  ['returns a thenable that throws', () => ({ then: fail })],
  ['never settles', () => new Promise(() => {})],
]

/** A host with all sources, which hand over to something that fails. */
function start(bug: () => unknown, waits = true) {
  const host = new Host({})
  populate(host)
  host.addApiMethod('test.add', ({ a, b }: { a: number; b: number }) => a + b)
  host.addApiMethod('backupNg.runJob', ({ id, schedule }: { id: string; schedule: string }) =>
    host.runJobSequence([id], host.getSchedule(schedule))
  )
  host.addApiMethod('schedule.runSequence', ({ schedules }: { schedules: string[] }) =>
    host.runJobSequence(
      schedules.map(id => host.getSchedule(id).jobId),
      host.getSchedule(schedules[0]!)
    )
  )
  const heard: string[] = []
  const accept: Accept = Object.assign(
    (source: string, phase: string, { method }: { method: string }) => {
      heard.push(`${source} ${phase} ${method}`)
      return bug() as Promise<unknown>
    },
    { wants: () => true, waits: () => waits }
  )
  const xo = host as unknown as Xo
  const runs = new BackupRuns(xo, accept)
  runs.listen()
  listenToApiCalls(xo, accept, runs.takerOf)
  listenToRestActions(xo, accept)
  listenToAudit(xo, accept)
  listenToJobEnds(xo, accept)
  listenToStateChanges(xo, accept, { wants: () => true, onChange: () => () => {} })
  const user = host.users.values().next().value as User
  const connection = host.createApiConnection()
  connection.set('user_id', user.id)
  /** What this comes to, once all time that anything may wait for has passed. */
  const settled = async <T>(promise: Promise<T>): Promise<T> => {
    let isOver = false
    const end = () => {
      isOver = true
    }
    promise.then(end, end)
    while (!isOver) {
      await new Promise(setImmediate)
      await vi.advanceTimersByTimeAsync(1_000)
    }
    return promise
  }
  return {
    host,
    xo,
    heard,
    user,
    settled,
    call: (method: string, params: object) => settled(host.callApiMethod(connection, method, { ...params })),
  }
}

/** One task of the host and then another: had a listener thrown, there would be no more of them. */
async function tasksGoOn({ host, user, settled }: ReturnType<typeof start>) {
  const updates = vi.fn()
  host.tasks.on('update', updates)
  await settled(host.runRestAction(user, 'some other action', {}, () => {}))
  await vi.waitFor(() => expect(updates).toHaveBeenCalled(), PATIENCE)
}

describe.each(BUGS)('where signals go to something that %s', (kind, bug) => {
  const isSeen = kind !== 'never settles'

  it('a call of the API goes on, and ends as it would', async () => {
    const { host, call, heard } = start(bug)
    const ends = vi.fn()
    host.on('xo:postCall', ends)
    await expect(call('test.add', { a: 1, b: 2 })).resolves.toBe(3)
    expect(heard).toEqual(['api pre test.add', 'api post test.add'])
    // a listener that throws fails the call, which then ends a second time
    expect(ends).toHaveBeenCalledTimes(1)
    expect(listenerFailures()).toEqual([])
    expect(bugs()).toHaveLength(isSeen ? 2 : 0)
  })

  it.each([
    [
      'by hand',
      ({ call }: ReturnType<typeof start>) => call('backupNg.runJob', { id: ids.job, schedule: ids.schedule }),
    ],
    [
      'in a sequence',
      ({ call }: ReturnType<typeof start>) => call('schedule.runSequence', { schedules: [ids.metadataSchedule] }),
    ],
    [
      'on schedule',
      ({ host, settled }: ReturnType<typeof start>) =>
        settled(host.runJob(host.getJob(ids.job), host.getSchedule(ids.schedule))),
    ],
    [
      'by REST',
      ({ host, user, settled }: ReturnType<typeof start>) => settled(host.runScheduleByRest(user, ids.mirrorSchedule)),
    ],
  ])('a backup %s goes on, whether a hook wants the host to wait or not, and the tasks of the host', async (_, run) => {
    for (const waits of [true, false]) {
      const started = start(bug, waits)
      const ends = vi.fn()
      started.host.on('job:terminated', ends)
      await run(started)
      await vi.waitFor(() => expect(started.heard.join()).toMatch(/(?:post .*runJob)/), PATIENCE)
      expect(ends).toHaveBeenCalledTimes(1)
      expect(listenerFailures()).toEqual([])
      expect(bugs().length).toBeGreaterThanOrEqual(isSeen ? 1 : 0)
      await tasksGoOn(started)
    }
  })

  it('an action of the REST API goes on, and the tasks of the host', async () => {
    const started = start(bug)
    const { host, user, settled, heard } = started
    await settled(host.runRestAction(user, 'start VM', { objectId: ids.haltedVm }, () => {}))
    await vi.waitFor(() => expect(heard).toEqual(['rest pre vm.start', 'rest post vm.start']), PATIENCE)
    expect(bugs()).toHaveLength(isSeen ? 1 : 0)
    await tasksGoOn(started)
  })

  it('a flush of objects goes on, and all of it is told', async () => {
    const { host, heard } = start(bug)
    await new Promise(setImmediate)
    heard.length = 0
    const finished = vi.fn()
    host.objects.on('finish', finished)
    const running = { power_state: 'Running', $container: ids.host }
    host.changeObject(ids.haltedVm, { ...running, name_label: 'new name' })
    host.changeObject(ids.otherHost, { enabled: false })
    await vi.waitFor(() => expect(heard).toHaveLength(4), PATIENCE)
    const events = ['host.disabled', 'vm.changed', 'vm.renamed', 'vm.started']
    expect(heard.sort()).toEqual(events.map(name => `state post ${name}`))
    expect(finished).toHaveBeenCalledTimes(1)
    expect(bugs()).toHaveLength(isSeen ? 1 : 0)
  })

  it.each([
    ['xo:audit', 'signInFailed', {}],
    ['xo:audit', 'signInFailed', null],
    ['job:terminated', 'run-1', { type: 'call' }],
  ])('%s is emitted to the end', async (event, ...args) => {
    const { host, heard } = start(bug)
    const last = vi.fn()
    host.on(event, last)
    expect(() => host.emit(event, ...args)).not.toThrow()
    expect(last).toHaveBeenCalledTimes(1)
    await vi.waitFor(() => expect(heard).toHaveLength(1), PATIENCE)
  })
})

describe('a hostile signal', () => {
  const hostile = new Proxy({}, { get: fail, has: fail, ownKeys: fail, getOwnPropertyDescriptor: fail })
  const withoutMethod = {
    callId: '1',
    get method() {
      return fail()
    },
  }

  it.each(['xo:preCall', 'xo:postCall', 'backup:preCall', 'backup:postCall', 'job:terminated', 'xo:audit'])(
    'of %s is emitted to the end',
    async event => {
      const { host } = start(() => undefined)
      for (const signal of [hostile, withoutMethod, undefined, null, 7]) {
        for (const listener of host.listeners(event)) {
          const args = event === 'xo:audit' ? ['signInFailed', signal] : [signal, signal]
          await expect(Promise.resolve(listener(...args))).resolves.toBeUndefined()
        }
      }
      expect(bugs().length).toBeGreaterThan(0)
    }
  )

  it('among tasks and objects is emitted to the end, and the next one is heard', async () => {
    const { objects } = new Host({})
    const started = start(() => undefined)
    const { host, heard } = started
    await new Promise(setImmediate)
    for (const signal of [hostile, withoutMethod, undefined, null, 7]) {
      expect(() => host.tasks.emit('update', signal)).not.toThrow()
      for (const event of ['add', 'update', 'remove'] as const) {
        // those of the collection's own index come first, and read what is not theirs
        for (const listener of host.objects.listeners(event).slice(objects.listenerCount(event))) {
          expect(() => listener({ odd: signal }) as unknown).not.toThrow()
          expect(() => listener(signal) as unknown).not.toThrow()
        }
      }
    }
    host.changeObject(ids.otherHost, { enabled: false })
    await vi.waitFor(() => expect(heard).toContain('state post host.disabled'), PATIENCE)
    await tasksGoOn(started)
  })
})

describe('waiting for an object to settle', () => {
  const later = { id: 'vm-2', type: 'VM', name_label: 'later' }

  it('does not suffer from what is then called, nor do others who wait', async () => {
    const { host, xo } = start(() => undefined)
    const { whenSettled } = objectsOf(xo)
    const finished = vi.fn()
    const other = vi.fn()
    whenSettled('vm-2', 1_000, fail)
    whenSettled('vm-2', 1_000, other)
    host.objects.on('finish', finished)
    host.setObjects(later)
    await vi.waitFor(() => expect(finished).toHaveBeenCalledTimes(1), PATIENCE)
    await vi.waitFor(() => expect(other).toHaveBeenCalledTimes(1), PATIENCE)
    expect(bugs()).toHaveLength(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('that does not change, or is not in time, or is not waited for any more, does not throw', () => {
    const { whenSettled } = objectsOf(start(() => undefined).xo)
    whenSettled(ids.haltedVm, 1_000, fail)
    whenSettled('vm-2', 1_000, fail)
    expect(() => vi.advanceTimersByTime(1_000)).not.toThrow()
    expect(whenSettled('vm-2', 1_000, fail)).not.toThrow()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('does not suffer from another one that cannot be read', async () => {
    const { host, xo } = start(() => undefined)
    const { whenSettled } = objectsOf(xo)
    const [unreadable, other] = [vi.fn(), vi.fn()]
    whenSettled('odd', 1_000, unreadable)
    whenSettled('vm-2', 1_000, other)
    const odd = {
      id: 'odd',
      type: 'VM',
      name_label: '',
      get VIFs() {
        return fail()
      },
    }
    host.objects.set('odd', odd)
    host.setObjects(later)
    await vi.waitFor(() => expect(other).toHaveBeenCalledTimes(1), PATIENCE)
    expect(unreadable).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1_000)
    expect(unreadable).toHaveBeenCalledTimes(1)
  })
})
