import { setImmediate as turn } from 'node:timers/promises'

import { describe, expect, it, vi } from 'vitest'

import type { Phase, Source } from '../../src/event/event.ts'
import { jobEvents, listenToJobEnds } from '../../src/sources/job-ends.ts'
import { listenToAudit, noticeEvents, withConsequences } from '../../src/sources/notices.ts'
import type { Accept } from '../../src/sources/source.ts'
import type { Signal, Xo } from '../../src/xo.ts'
import { Host } from '../sandbox/host.ts'
import { ids, populate } from '../sandbox/made-up-pool.ts'

function start(wants: (method: string) => boolean = () => true) {
  const host = new Host({})
  populate(host)
  const told: (Signal & { source: Source; phase: Phase })[] = []
  const accept = Object.assign(
    (source: Source, phase: Phase, signal: Signal) => {
      told.push({ source, phase, ...signal })
      return undefined
    },
    { wants, waits: () => false }
  ) satisfies Accept
  const xo = host as unknown as Xo
  const undo = [listenToAudit(xo, accept), listenToJobEnds(xo, accept)]
  return { host, told, accept: withConsequences(accept), stop: () => undo.forEach(each => each()) }
}

describe('what the audit hears', () => {
  it.each([
    [
      'signInFailed',
      { userId: 'u1', userName: 'bob', userIp: '192.0.2.1' },
      { method: 'user.signInFailed', userName: 'bob', userIp: '192.0.2.1', userId: 'u1', params: {} },
    ],
    [
      'consoleOpened',
      { timestamp: 1, userName: 'bob', vmUuid: 'vm-1', vmName: 'web', vmDescription: '' },
      { method: 'console.opened', userName: 'bob', params: { id: 'vm-1', name_label: 'web' } },
    ],
    [
      'consoleClosed',
      { timestamp: 1, userName: 'bob', hostUuid: 'host-1', hostName: 'h' },
      { method: 'console.closed', userName: 'bob', params: { id: 'host-1', name_label: 'h' } },
    ],
  ])('is told: %s', (name, data, expected) => {
    const { host, told } = start()
    host.emit('xo:audit', name, data)
    host.emit('xo:audit', 'somethingElse', {})
    host.emit('xo:audit', name)
    expect(told).toHaveLength(2)
    expect(told[0]).toMatchObject({ ...expected, source: 'state', phase: 'post' })
  })
})

describe('what a call leads to', () => {
  const user = { userId: 'u1', userName: 'alice', userIp: '192.0.2.1' }
  const call = { callId: 'c1', timestamp: 1, ...user }

  it.each<[string, object, unknown, string, object]>([
    ['server.add', { host: 'h', password: 'x', label: 'l' }, 's1', 'server.added', { id: 's1', host: 'h', label: 'l' }],
    ['server.remove', { id: 's1' }, true, 'server.removed', { id: 's1' }],
    ['user.create', { email: 'bob', password: 'x' }, 'u2', 'user.created', { id: 'u2', email: 'bob' }],
    ['user.create', { name: 'bob', password: 'x' }, true, 'user.created', { id: undefined, name: 'bob' }],
    ['user.delete', { id: 'u2' }, true, 'user.removed', { id: 'u2' }],
    ['session.signIn', { email: 'alice', password: 'x' }, {}, 'user.signedIn', { id: 'u1', email: 'alice' }],
    ['plugin.load', { id: 'p' }, true, 'plugin.loaded', { id: 'p' }],
  ])('is told after it: %s', (method, params, result, consequence, expected) => {
    const { accept, told } = start()
    void accept('api', 'pre', { ...call, method, params })
    void accept('api', 'post', { ...call, method, params, result })
    expect(told.map(({ source, phase, method: name }) => [source, phase, name])).toEqual([
      ['api', 'pre', method],
      ['api', 'post', method],
      ['state', 'post', consequence],
    ])
    expect(told[2]).toMatchObject(user)
    expect(told[2]!.params).toEqual(expected)
    expect(told[2]!.callId).not.toBe('c1')
  })

  it('is nothing if it fails, or is not wanted', () => {
    const { accept, told } = start(method => method === 'server.added')
    void accept('api', 'post', { ...call, method: 'server.add', error: {} })
    void accept('api', 'post', { ...call, method: 'user.create', result: 'u2' })
    expect(told.map(({ method }) => method)).toEqual(['server.add', 'user.create'])
    expect(['server.add', 'user.create'].map(accept.wants)).toEqual([true, false])
  })
})

describe('the end of a run of a job', () => {
  const finished = (told: readonly Signal[]) =>
    vi.waitFor(() => {
      expect(told).toHaveLength(1)
      return told[0]!
    })

  it.each([
    ['backup', ids.job, ids.schedule, 'nightly'],
    ['metadataBackup', ids.metadataJob, ids.metadataSchedule, 'metadata'],
    ['mirrorBackup', ids.mirrorJob, ids.mirrorSchedule, 'mirror'],
  ])('of a %s has its name and its status', async (type, job, schedule, name) => {
    const { host, told } = start(method => method === 'job.finished')
    await host.runJob(host.getJob(job), host.getSchedule(schedule))
    const signal = await finished(told)
    expect(signal).toMatchObject({ source: 'state', phase: 'post', method: 'job.finished' })
    expect(signal.params).toEqual({ id: job, name, type, run: expect.any(String) as string, status: 'success' })
    expect(signal).not.toHaveProperty('error')
  })

  it('in which a VM has failed is a failure, though the host calls it a success', async () => {
    const { host, told } = start()
    host.changeObject(ids.haltedVm, { backupError: 'no space' })
    await turn()
    await host.runJob(host.getJob(ids.job), host.getSchedule(ids.schedule))
    expect(await finished(told)).toMatchObject({
      params: { name: 'nightly', status: 'failure' },
      error: { message: expect.stringContaining('no space') as string },
    })
  })

  it('that a restart has interrupted says so', async () => {
    const { host, told } = start()
    host.getStore = async () => ({
      get: async () => ({ namespace: 'jobs', time: 1, data: { jobId: ids.job, jobName: 'nightly' } }) as never,
      async *createReadStream() {},
    })
    host.emit('job:terminated', 'run-1', { type: 'backup' })
    expect(await finished(told)).toMatchObject({
      params: { id: ids.job, name: 'nightly', type: 'backup', run: 'run-1', status: 'interrupted' },
      error: { message: expect.stringContaining('stopped') as string },
    })
  })

  it('in which a call has failed is a failure', async () => {
    const { host, told } = start()
    host.runningJobs['job-1'] = 'run-1'
    const data = { event: 'jobCall.end', runJobId: 'run-1', error: { message: 'VM is locked' } }
    const end = { event: 'job.end', runJobId: 'run-1' }
    host.getStore = async () => ({
      get: async () => ({ namespace: 'jobs', time: 1, data: { jobId: 'job-1', jobName: 'stop all' } }) as never,
      async *createReadStream() {
        yield { value: { namespace: 'jobs', time: 2, data: end } } as never
        yield { value: { namespace: 'jobs', time: 2, data } } as never
      },
    })
    host.emit('job:terminated', 'run-1', { type: 'call' })
    expect(await finished(told)).toMatchObject({
      params: { id: 'job-1', name: 'stop all', status: 'failure' },
      error: { message: 'VM is locked' },
    })
  })

  it('is not heard any more after the undo', () => {
    const { host, stop } = start()
    stop()
    expect(['xo:audit', 'job:terminated'].map(event => host.listenerCount(event))).toEqual([0, 0])
    expect(host.tasks.listenerCount('update')).toBe(0)
  })
})

it('every notice has a name in the past tense, and one sentence', () => {
  for (const { name, phases, sentence } of [...noticeEvents, ...jobEvents]) {
    expect(name).toMatch(/^[a-z]+\.([a-z]+ed|signInFailed|signedIn)$/)
    expect(phases).toEqual(['post'])
    expect(sentence).toMatch(/^[A-Z].*[^.]$/)
  }
})
