import { AsyncLocalStorage } from 'node:async_hooks'

import { describe, expect, it } from 'vitest'
import type { Answering, Receiver } from './sandbox/receiver.ts'
import { ids } from './sandbox/made-up-pool.ts'
import {
  allSent,
  bodyOf,
  call,
  clientOf,
  eventually,
  fence,
  gate,
  openReceiver,
  phaseAndMethod,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  userOf,
} from './helpers/running-plugin.ts'
import type { Params } from './sandbox/config.ts'
import type { Sandbox } from './sandbox/sandbox.ts'

const FORBIDDEN = { code: 5 }

const no = (reason: string) => ({ status: 200, body: JSON.stringify({ allow: false, reason }) })

const guard = (url: string, more: object = {}): Params => ({
  ...{ name: 'Guard', method: 'vm.start', type: 'pre/post', url: `${url}/guard`, format: 'json', mayRefuse: true },
  ...more,
})

const listener = (url: string, method = 'vm.start') => ({
  ...{ name: 'Listener', method, type: 'pre/post', url: `${url}/listener`, format: 'json' },
})

/** By hook, what it was sent. */
const told = (receiver: Receiver, path: string) =>
  receiver.requests.filter(({ url }) => url === path).map(request => phaseAndMethod(bodyOf(request)))

const powerOf = (sandbox: Sandbox, id: string = ids.haltedVm) => sandbox.host.getObject(id)['power_state']

async function startWith(answer: Answering, hooks: (url: string) => object[]) {
  const sandbox = await startPlugin()
  const receiver = await openReceiver(answer)
  await sandbox.configure({ hooks: [...hooks(receiver.url), fence(receiver.url)] })
  return { sandbox, receiver }
}

describe('an API call', () => {
  it('that is refused does not happen: its caller, the post and the log are told by whom and why', async () => {
    const { sandbox, receiver } = await startWith(
      ({ url, headers }) => (url === '/guard' && headers['x-xo-event-type'] === 'pre' ? no('it is protected') : {}),
      url => [guard(url), listener(url)]
    )
    const client = await clientOf(sandbox)
    await expect(client.call('vm.start', { id: ids.haltedVm })).rejects.toMatchObject({
      ...FORBIDDEN,
      message: 'forbidden operation: vm.start (refused by the hook "Guard": it is protected)',
    })
    expect(powerOf(sandbox)).toBe('Halted')
    const sent = await allSent(sandbox, receiver, 4)
    expect(told(receiver, '/guard')).toEqual(['pre vm.start', 'post vm.start'])
    expect(told(receiver, '/listener')).toEqual(['pre vm.start', 'post vm.start'])
    expect(new Set(sent.map(({ callId }) => callId)).size).toBe(1)
    for (const { error } of sent.filter(({ type }) => type === 'post')) {
      expect(error).toMatchObject({ ...FORBIDDEN, data: { reason: 'it is protected' } })
    }
    const question = receiver.requests.find(({ headers }) => headers['x-xo-may-refuse'] !== undefined)!
    expect([question.url, question.headers['x-xo-may-refuse']]).toEqual(['/guard', 'true'])
    expect(pluginLog('info').filter(line => line.includes('refused by a hook'))).toHaveLength(1)
  })

  it('that nobody refuses happens after the answer, with its result', async () => {
    const answer = gate()
    const { sandbox, receiver } = await startWith(
      ({ headers }) => (headers['x-xo-may-refuse'] === undefined ? {} : answer.opened),
      url => [guard(url)]
    )
    const started = call(sandbox, 'vm.start', { id: ids.haltedVm })
    await eventually(() => expect(receiver.requests).toHaveLength(1))
    expect(powerOf(sandbox)).toBe('Halted')
    answer.open()
    expect(await started).toBe(true)
    expect((await allSent(sandbox, receiver, 2)).map(phaseAndMethod)).toEqual(['pre vm.start', 'post vm.start'])
  })

  it.each<[string, Answering, string]>([
    ['503', () => ({ status: 503 }), 'answered 503'],
    ['nothing, and hangs up', () => undefined, 'closed before an answer'],
    ['nothing in time', () => new Promise(() => {}), 'no answer'],
  ])(
    'happens if a hook answers %s, unless that means no; and the question is never put again',
    async (_, answer, why) => {
      const { sandbox, receiver } = await startWith(
        request => (request.headers['x-xo-may-refuse'] === undefined ? {} : answer(request)),
        url => [
          guard(url, { type: 'pre', limits: { timeout: 1 } }),
          guard(url, { type: 'pre', method: 'vm.stop', refuseWhenSilent: true, limits: { timeout: 1 } }),
        ]
      )
      expect(await call(sandbox, 'vm.start', { id: ids.haltedVm })).toBe(true)
      await expect(call(sandbox, 'vm.stop', { id: ids.haltedVm })).rejects.toMatchObject({
        ...FORBIDDEN,
        message: expect.stringContaining(why) as string,
      })
      expect(powerOf(sandbox)).toBe('Running')
      await eventually(() => expect(pluginLog('warn').join('\n')).toContain('discarded: expired'))
      await allSent(sandbox, receiver, 2)
    }
  )

  it('is refused by a 403, which is an answer and no failure: the endpoint stays in use', async () => {
    const { sandbox, receiver } = await startWith(
      ({ headers }) => (headers['x-xo-may-refuse'] === undefined ? {} : { status: 403, body: 'not today' }),
      url => [guard(url, { type: 'pre' })]
    )
    // a breaker would open after the fifth
    for (let n = 0; n < 8; ++n) {
      await expect(call(sandbox, 'vm.start', { id: ids.haltedVm })).rejects.toThrow('"Guard": not today')
    }
    await allSent(sandbox, receiver, 8)
    expect(pluginLog('warn')).toEqual([])
  })

  it('is not asked about if it is not permitted, not valid, or not what the filter finds', async () => {
    const { sandbox, receiver } = await startWith(
      () => no('never'),
      url => [guard(url, { type: 'pre', refuseWhenSilent: true, content: { filter: 'object:tags:protected' } })]
    )
    await call(sandbox, 'user.create', { email: 'bob', password: 'x' })
    await expect(call(sandbox, 'vm.start', { id: ids.haltedVm }, userOf(sandbox, 'bob'))).rejects.toThrow()
    await expect(call(sandbox, 'vm.start', { id: ids.haltedVm }, 'anonymous')).rejects.toThrow()
    await expect(call(sandbox, 'vm.start', {})).rejects.toThrow()
    expect(await call(sandbox, 'vm.start', { id: ids.haltedVm })).toBe(true)
    await call(sandbox, 'vm.stop', { id: ids.haltedVm })
    sandbox.host.changeObject(ids.haltedVm, { tags: ['protected'] })
    await expect(call(sandbox, 'vm.start', { id: ids.haltedVm })).rejects.toThrow('never')
    await allSent(sandbox, receiver, 1)
  })

  it('is refused by the first of several that does, and waits for no other', async () => {
    const { sandbox } = await startWith(
      ({ url }) => (url === '/slow' ? new Promise(() => {}) : no('fast')),
      url => [
        guard(url, { name: 'Slow', type: 'pre', url: `${url}/slow`, limits: { timeout: 60 } }),
        guard(url, { name: 'Fast', type: 'pre', limits: { timeout: 60 } }),
      ]
    )
    await expect(call(sandbox, 'vm.start', { id: ids.haltedVm })).rejects.toThrow('"Fast": fast')
  })

  it('by another name is refused too, and none that signs in or mends a hook is', async () => {
    const { sandbox, receiver } = await startWith(
      () => no('everything'),
      url => [guard(url, { type: 'pre', method: '* !test.*', refuseWhenSilent: true })]
    )
    const client = await clientOf(sandbox) // which signs in
    await expect(client.call('host.restart_agent', { id: ids.host })).rejects.toThrow('everything')
    await expect(client.call('host.restartAgent', { id: ids.host })).rejects.toThrow('everything')
    await client.call('plugin.get')
    await client.call('plugin.configure', { id: PLUGIN_ID, configuration: { hooks: [] } })
    expect(await call(sandbox, 'vm.start', { id: ids.haltedVm })).toBe(true)
    expect(told(receiver, '/guard')).toContain('pre host.restart_agent')
  })

  it('of a plugin that is loaded later is held from its first call on, and what is put back is only what is still ours', async () => {
    const { sandbox, receiver } = await startWith(
      () => no('new'),
      url => [guard(url, { type: 'pre', method: '*' })]
    )
    const { host } = sandbox
    const methods = host.apiMethods
    const remove = host.addApiMethod('late.thing', () => 'done')
    await expect(call(sandbox, 'late.thing')).rejects.toThrow('new')
    const wrapped = methods['vm.stop']!
    const foreign = Object.assign(() => 'foreign', { permission: null })
    methods['vm.stop'] = foreign
    remove()
    expect(methods).not.toHaveProperty(['late.thing'])
    await sandbox.configure({ hooks: [fence(receiver.url)] })
    expect(methods).not.toHaveProperty(['late.thing'])
    expect(methods['vm.stop']).toBe(foreign)
    // one that somebody holds on to lets everything through
    methods['vm.stop'] = wrapped
    await expect(call(sandbox, 'vm.stop', { id: ids.haltedVm })).rejects.toThrow('VM state is Halted')
    expect(host.addApiMethod('late.thing', () => 'done')).toBeTypeOf('function')
  })

  it('that no hook may refuse is called as it is, while the plugin is loaded and after', async () => {
    const sandbox = await startPlugin()
    const { apiMethods } = sandbox.host
    // the plugin's own come and go with it
    const ofHost = (): typeof apiMethods =>
      Object.fromEntries(Object.entries(apiMethods).filter(([name]) => !name.startsWith('webHooks.')))
    const before = ofHost()
    const receiver = await openReceiver()
    await sandbox.configure({ hooks: [guard(receiver.url)] })
    const changed = Object.keys(before).filter(name => apiMethods[name] !== before[name])
    expect(changed).toEqual(['vm.start'])
    const { permission, params, resolve } = apiMethods['vm.start']!
    expect({ permission, params, resolve }).toEqual({
      permission: before['vm.start']!.permission,
      params: before['vm.start']!.params,
      resolve: before['vm.start']!.resolve,
    })
    const { addApiMethod } = sandbox.host
    await sandbox.plugins.unload(PLUGIN_ID)
    expect(Object.keys(apiMethods)).toEqual(Object.keys(before))
    expect(sandbox.host.addApiMethod).not.toBe(addApiMethod)
    expect({ ...apiMethods }).toEqual(before)
    expect(Object.keys(before).filter(name => apiMethods[name] !== before[name])).toEqual([])
  })
})

const KINDS = [
  { name: 'VM', method: 'backupNg.runJob', job: ids.job, schedule: ids.schedule },
  { name: 'metadata', method: 'metadataBackup.runJob', job: ids.metadataJob, schedule: ids.metadataSchedule },
  { name: 'mirror', method: 'mirrorBackup.runJob', job: ids.mirrorJob, schedule: ids.mirrorSchedule },
] as const

describe.each(KINDS)('a $name backup', ({ method, job, schedule }) => {
  const WAYS: [string, (sandbox: Sandbox) => Promise<unknown>, boolean][] = [
    ['by hand', sandbox => call(sandbox, method, { id: job, schedule }), true],
    ['on schedule', sandbox => sandbox.host.runSchedule(schedule), false],
    ['by REST', sandbox => sandbox.host.runScheduleByRest(userOf(sandbox), schedule), true],
    ['in a sequence', sandbox => call(sandbox, 'schedule.runSequence', { schedules: [schedule] }), true],
  ]

  it.each(WAYS)(
    '%s is refused: it does not begin, and is in the log of jobs with the reason',
    async (_, run, isTold) => {
      const { sandbox, receiver } = await startWith(
        ({ headers }) => (headers['x-xo-may-refuse'] === undefined ? {} : no('office hours')),
        url => [guard(url, { method }), listener(url, method)]
      )
      const terminated: string[] = []
      sandbox.host.on('job:terminated', (id: string) => terminated.push(id))
      const begun: unknown[] = []
      sandbox.host.on('backup:preCall', data => begun.push(data))
      if (isTold) {
        await expect(run(sandbox)).rejects.toMatchObject(FORBIDDEN)
      } else {
        await run(sandbox)
      }
      const told = () => receiver.requests.filter(({ url }) => url === '/guard' || url === '/listener')
      await eventually(() => expect(told().filter(r => r.headers['x-xo-event-type'] === 'post')).toHaveLength(2))
      const bodies = told().map(bodyOf)
      const [question, ...more] = told().filter(({ headers }) => headers['x-xo-may-refuse'] === 'true')
      expect(more).toEqual([])
      const asked = bodyOf(question!)
      expect(asked).toMatchObject({ type: 'pre', method, run: { jobId: job, scheduleId: schedule } })
      for (const body of bodies.filter(({ type }) => type === 'post')) {
        expect(body).toMatchObject({ callId: asked['callId'], method, error: FORBIDDEN })
      }
      expect(begun).toEqual([])
      expect(Object.keys(sandbox.host.runningJobs)).toEqual([])
      expect(terminated).toHaveLength(1)
      const logs = await sandbox.host.getStore('logs')
      expect(await logs.get(terminated[0]!)).toMatchObject({ data: { event: 'job.start', jobId: job } })
      const records = []
      for await (const { value } of logs.createReadStream({})) {
        records.push(value.data)
      }
      expect(records.at(-1)).toMatchObject({ event: 'job.end', runJobId: terminated[0], error: FORBIDDEN })
    }
  )

  it.each(WAYS)('%s is asked about once, and then has one pre and one post for each hook', async (_, run) => {
    const { sandbox, receiver } = await startWith(
      () => ({}),
      url => [guard(url, { method }), listener(url, method)]
    )
    await run(sandbox)
    const sent = await allSent(sandbox, receiver, 4)
    expect(new Set(sent.map(({ callId }) => callId)).size).toBe(1)
    for (const path of ['/guard', '/listener']) {
      expect(told(receiver, path)).toEqual([`pre ${method}`, `post ${method}`])
    }
    expect(receiver.requests.filter(({ headers }) => headers['x-xo-may-refuse'] === 'true')).toHaveLength(1)
    for (const body of sent.filter(({ type }) => type === 'post')) {
      expect(body).toMatchObject({ result: true, run: { id: expect.any(String) as string, status: 'success' } })
    }
  })
})

describe('the ways by which runs begin', () => {
  it('are replaced as long as a hook may refuse runs, and put back if they are still ours', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const { host } = sandbox
    const { runJob, runJobSequence } = host
    await sandbox.configure({ hooks: [guard(receiver.url)] })
    expect([host.runJob, host.runJobSequence]).toEqual([runJob, runJobSequence])
    await sandbox.configure({ hooks: [guard(receiver.url, { method: 'backupNg.runJob' })] })
    expect(host.runJob).not.toBe(runJob)
    expect(host.runJobSequence).not.toBe(runJobSequence)
    const foreign = async (): Promise<void> => {}
    host.runJob = foreign
    await sandbox.plugins.unload(PLUGIN_ID)
    expect(host.runJob).toBe(foreign)
    expect(host.runJobSequence).toBe(runJobSequence)
  })

  it('are asked about again for a run that begins in what an earlier one has left behind', async () => {
    const { sandbox, receiver } = await startWith(
      () => ({}),
      url => [guard(url, { method: 'backupNg.runJob', type: 'pre' })]
    )
    let inItsContext = (run: () => Promise<unknown>): Promise<unknown> => run()
    sandbox.host.once('backup:preCall', () => (inItsContext = AsyncLocalStorage.snapshot()))
    await sandbox.host.runSchedule(ids.schedule)
    await inItsContext(() => sandbox.host.runSchedule(ids.schedule))
    const sent = await allSent(sandbox, receiver, 2)
    expect(new Set(sent.map(({ callId }) => callId)).size).toBe(2)
  })

  it('refuse a second run of a job that runs already as before, with the question paired', async () => {
    const secondIsOver = gate()
    const { sandbox, receiver } = await startWith(
      ({ url }) => (url === '/holding' ? secondIsOver.opened : {}),
      url => [
        guard(url, { method: 'backupNg.runJob' }),
        { ...listener(url, 'backupNg.runJob'), type: 'pre', url: `${url}/holding`, waitForResponse: true },
      ]
    )
    const { host } = sandbox
    const first = host.runSchedule(ids.schedule)
    await eventually(() => expect(told(receiver, '/holding')).toHaveLength(1))
    await host.runSchedule(ids.schedule)
    secondIsOver.open()
    await first
    const sent = (await allSent(sandbox, receiver, 5)).filter((_, index) => receiver.requests[index]!.url === '/guard')
    const outcomes = sent.filter(({ type }) => type === 'post')
    expect(outcomes.map(({ error }) => error !== undefined).sort()).toEqual([false, true])
    const questions = sent.filter(({ type }) => type === 'pre').map(({ callId }) => callId)
    expect(new Set(questions).size).toBe(2)
    expect(outcomes.map(({ callId }) => callId).sort()).toEqual([...questions].sort())
  })
})
