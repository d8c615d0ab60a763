import { describe, expect, it } from 'vitest'
import { ids } from './sandbox/made-up-pool.ts'
import type { Receiver } from './sandbox/receiver.ts'
import { ADMIN, type Sandbox } from './sandbox/sandbox.ts'
import {
  allSent,
  bodyOf,
  call,
  fence,
  gate,
  openReceiver,
  phaseAndMethod,
  startPlugin,
  userOf,
  eventually,
} from './helpers/running-plugin.ts'

/** A plugin with hooks to one receiver. */
async function startWith(...hooks: object[]): Promise<{ sandbox: Sandbox; receiver: Receiver }> {
  const sandbox = await startPlugin()
  const receiver = await openReceiver()
  const all = hooks.map(hook => ({ type: 'post', url: receiver.url, format: 'json', ...hook }))
  await sandbox.configure({ hooks: [...all, fence(receiver.url)] })
  return { sandbox, receiver }
}

/** Starts and stops a VM, renames it, and starts one that runs already, which fails. */
async function useVms(sandbox: Sandbox): Promise<void> {
  for (const [method, params] of [
    ['vm.start', {}],
    ['vm.set', { name_label: 'web-2' }],
    ['vm.stop', {}],
  ] as const) {
    await call(sandbox, method, { id: ids.haltedVm, ...params })
    // the host tells of objects that have changed in the next tick
    await new Promise(resolve => setImmediate(resolve))
  }
  await expect(call(sandbox, 'vm.start', { id: ids.runningVm })).rejects.toThrow('should be Halted')
}

describe('a hook on', () => {
  it.each([
    ['a name', 'vm.start', ['vm.start', 'vm.start']],
    ['several names', 'vm.set, vm.stop', ['vm.set', 'vm.stop']],
    ['names on lines', 'vm.set\n\tvm.stop', ['vm.set', 'vm.stop']],
    [
      'a namespace',
      'vm.*',
      ['vm.start', 'vm.started', 'vm.set', 'vm.renamed', 'vm.changed', 'vm.stop', 'vm.halted', 'vm.start'],
    ],
    ['the end of names', '*.st*p', ['vm.stop']],
    [
      'everything but a name',
      '* !vm.start',
      ['vm.started', 'vm.set', 'vm.renamed', 'vm.changed', 'vm.stop', 'vm.halted'],
    ],
    ['a namespace but a pattern', 'vm.*,!vm.st*', ['vm.set', 'vm.renamed', 'vm.changed', 'vm.halted']],
  ])('%s is sent the calls of these methods, and of no other', async (_, method, expected) => {
    // the fence has a hook of its own
    const { sandbox, receiver } = await startWith({ method: `${method} !test.*` })
    await useVms(sandbox)

    const sent = await allSent(sandbox, receiver, expected.length)
    expect(sent.map(body => body['method']).sort()).toEqual([...expected].sort())
  })

  it.each([
    ['host.restart_agent', 'host.restartAgent', { id: ids.host }],
    ['host.restartAgent', 'host.restart_agent', { id: ids.host }],
    ['vm.convert', 'vm.convertToTemplate', { id: ids.haltedVm }],
  ])('%s is sent calls of its other name %s too', async (method, called, params) => {
    const { sandbox, receiver } = await startWith({ method })
    await call(sandbox, called, params)

    expect((await allSent(sandbox, receiver, 1)).map(phaseAndMethod)).toEqual([`post ${called}`])
  })

  it('both names of a method is sent a call once', async () => {
    const { sandbox, receiver } = await startWith({ method: 'host.restartAgent host.restart_agent host.*' })
    await call(sandbox, 'host.restart_agent', { id: ids.host })

    await allSent(sandbox, receiver, 1)
  })

  it('everything but one name of a method is not sent calls of its other name', async () => {
    const { sandbox, receiver } = await startWith({ method: 'host.* vm.set !host.restart_agent' })
    await call(sandbox, 'host.restartAgent', { id: ids.host })

    await allSent(sandbox, receiver, 0)
  })

  it.each([
    ['pre', ['pre vm.start', 'pre vm.start']],
    ['post', ['post vm.start', 'post vm.start']],
    ['pre/post', ['post vm.start', 'post vm.start', 'pre vm.start', 'pre vm.start']],
  ])('type %s is sent that', async (type, expected) => {
    const { sandbox, receiver } = await startWith({ method: 'vm.start', type })
    await useVms(sandbox)

    expect((await allSent(sandbox, receiver, expected.length)).map(phaseAndMethod).sort()).toEqual(expected)
  })

  it.each([
    ['any', ['failure', 'success']],
    ['success', ['success']],
    ['failure', ['failure']],
  ])('status %s is sent a post for that', async (status, expected) => {
    const { sandbox, receiver } = await startWith({ method: 'vm.start', status })
    await useVms(sandbox)

    await allSent(sandbox, receiver, expected.length)
    const statuses = receiver.requests
      .filter(request => bodyOf(request)['method'] === 'vm.start')
      .map(request => request.headers['x-xo-event-status'])
    expect(statuses.sort()).toEqual(expected)
  })

  it('failures is sent every pre: nobody knows then how it will end', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.start', type: 'pre/post', status: 'failure' })
    await useVms(sandbox)

    const sent = await allSent(sandbox, receiver, 3)
    expect(sent.map(phaseAndMethod).sort()).toEqual(['post vm.start', 'pre vm.start', 'pre vm.start'])
  })

  it('anything sends nothing while it is disabled', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.*', disabled: true })
    await useVms(sandbox)

    await allSent(sandbox, receiver, 0)
  })
})

describe('a call', () => {
  it('is one event: the same pre and post for every hook that wants it, under one call id', async () => {
    const { sandbox, receiver } = await startWith(
      { method: 'vm.start', type: 'pre/post', name: 'one' },
      { method: 'vm.st*t', type: 'pre/post', name: 'two' }
    )
    await call(sandbox, 'vm.start', { id: ids.haltedVm })

    const sent = await allSent(sandbox, receiver, 4)
    expect(new Set(sent.map(body => body['callId'])).size).toBe(1)
    const requests = receiver.requests.filter(({ body }) => body.includes('"vm.start"'))
    const hooks = requests.map(({ headers }) => `${String(headers['x-xo-hook'])} ${String(headers['x-xo-event-type'])}`)
    expect(hooks.sort()).toEqual(['one post', 'one pre', 'two post', 'two pre'])
    for (const type of ['pre', 'post']) {
      expect(new Set(requests.map(({ body }) => body).filter(body => body.includes(`"type":"${type}"`))).size).toBe(1)
    }
    expect(new Set(requests.map(({ headers }) => headers['x-xo-delivery'])).size).toBe(4)
  })

  it('is announced with its post after its pre, even when the pre is answered late', async () => {
    const answer = gate()
    const sandbox = await startPlugin()
    const receiver = await openReceiver(({ headers }) => (headers['x-xo-event-type'] === 'pre' ? answer.opened : {}))
    await sandbox.configure({
      hooks: [{ method: 'vm.start', type: 'pre/post', url: receiver.url, format: 'json' }, fence(receiver.url)],
    })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await call(sandbox, 'test.fence')

    const [first, second] = await receiver.next(2)
    expect([first, second].map(request => phaseAndMethod(bodyOf(request!)))).toEqual([
      'pre vm.start',
      'post test.fence',
    ])
    answer.open()
    const [third] = await receiver.next(1)
    expect(phaseAndMethod(bodyOf(third!))).toBe('post vm.start')
  })

  it('of someone who has not signed in has a pre only where such callers are welcome', async () => {
    const { sandbox, receiver } = await startWith({ method: 'session.signIn plugin.get vm.start', type: 'pre/post' })
    await expect(call(sandbox, 'plugin.get', {}, 'anonymous')).rejects.toThrow('not enough permissions')
    await expect(call(sandbox, 'vm.start', { id: ids.haltedVm }, 'anonymous')).rejects.toThrow('not enough permissions')
    await call(sandbox, 'session.signIn', { ...ADMIN }, 'anonymous')

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(phaseAndMethod).sort()).toEqual([
      'post plugin.get',
      'post session.signIn',
      'post vm.start',
      'pre session.signIn',
    ])
    expect(sent.find(body => body['method'] === 'plugin.get')).toMatchObject({
      userName: '(unknown user)',
      error: { message: 'not enough permissions' },
    })
    expect(sent.find(body => phaseAndMethod(body) === 'post session.signIn')).toMatchObject({
      userId: userOf(sandbox).id,
      userName: ADMIN.email,
      params: { password: '* obfuscated *' },
    })
  })

  it('costs no event when nothing wants it', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.set' })
    await useVms(sandbox)

    expect((await allSent(sandbox, receiver, 1)).map(phaseAndMethod)).toEqual(['post vm.set'])
  })
})

describe('a backup job', () => {
  const job = { id: ids.job, schedule: ids.schedule }

  it('that someone runs is announced once, with that person', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    await call(sandbox, 'backupNg.runJob', job)

    const sent = await allSent(sandbox, receiver, 2)
    expect(sent.map(phaseAndMethod)).toEqual(['pre backupNg.runJob', 'post backupNg.runJob'])
    const { id } = userOf(sandbox)
    const common = { callId: sent[0]!['callId'], userId: id, userName: ADMIN.email, userIp: '127.0.0.1', params: job }
    expect(sent[0]).toMatchObject(common)
    expect(sent[1]).toMatchObject({ ...common, result: true, duration: expect.any(Number) as number })
  })

  it('that runs on schedule is announced once, with nobody, since it has no owner', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    await sandbox.host.runSchedule(ids.schedule)

    const sent = await allSent(sandbox, receiver, 2)
    expect(sent.map(phaseAndMethod)).toEqual(['pre backupNg.runJob', 'post backupNg.runJob'])
    for (const body of sent) {
      expect(body).toMatchObject({ userName: '(unknown user)', params: { ...job, vms: expect.anything() as object } })
      expect(body).not.toHaveProperty('userId')
    }
    expect(sent[0]!['callId']).toBe(sent[1]!['callId'])
    expect(sent[0]).not.toHaveProperty('result')
    expect(sent[1]).toMatchObject({ result: true })
  })

  it('that runs on schedule is announced with its owner, if it has one', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    await call(sandbox, 'user.create', { email: 'bob', password: 'x' })
    const { id: userId } = userOf(sandbox, 'bob')
    const owned = { ...sandbox.host.getJob(ids.job), id: 'owned', userId }
    sandbox.host.createJob(owned)
    sandbox.host.createSchedule({ id: 'often', jobId: 'owned', name: 'often' })
    await sandbox.host.runSchedule('often')

    for (const body of await allSent(sandbox, receiver, 2)) {
      expect(body).toMatchObject({ userId, userName: 'bob' })
    }
  })

  it('that fails is announced with its error', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    const empty = { ...sandbox.host.getJob(ids.job), id: 'empty', vms: { id: 'gone' } }
    sandbox.host.createJob(empty)
    await expect(call(sandbox, 'backupNg.runJob', { ...job, id: 'empty' })).rejects.toThrow('no VM')
    const sent = await allSent(sandbox, receiver, 2)

    expect(sent.map(phaseAndMethod)).toEqual(['pre backupNg.runJob', 'post backupNg.runJob'])
    expect(sent[1]).toMatchObject({ error: { code: 27 }, userName: ADMIN.email })
  })

  it('that is refused has a post with the error, and no pre', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    await call(sandbox, 'user.create', { email: 'bob', password: 'x' })
    const bob = userOf(sandbox, 'bob')
    await expect(call(sandbox, 'backupNg.runJob', job, bob)).rejects.toThrow('not enough permissions')
    await expect(call(sandbox, 'backupNg.runJob', { ...job, id: 'unknown' })).rejects.toThrow('no such job')
    await expect(call(sandbox, 'backupNg.runJob', { id: ids.job })).rejects.toThrow('invalid parameters')

    const sent = await allSent(sandbox, receiver, 3)
    expect(sent.map(phaseAndMethod)).toEqual(Array<string>(3).fill('post backupNg.runJob'))
    expect(sent.map(body => (body['error'] as Error).message).sort()).toEqual([
      'invalid parameters',
      'no such job unknown',
      'not enough permissions',
    ])
    expect(sent.find(body => body['userName'] === 'bob')).toMatchObject({ userId: bob.id })
  })

  it('that is run by hand while it runs on schedule has one pre, and a post for each', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    const run = gate()
    sandbox.host.on('backup:preCall', () => run.opened)
    const scheduled = sandbox.host.runSchedule(ids.schedule)
    await eventually(() => expect(sandbox.host.runningJobs).toHaveProperty(ids.job))
    await expect(call(sandbox, 'backupNg.runJob', job)).rejects.toThrow('already running')
    run.open()
    await scheduled

    const sent = await allSent(sandbox, receiver, 3)
    expect(sent.map(phaseAndMethod).sort()).toEqual([
      'post backupNg.runJob',
      'post backupNg.runJob',
      'pre backupNg.runJob',
    ])
    const byHand = sent.filter(body => body['userName'] === ADMIN.email)
    expect(byHand).toMatchObject([{ type: 'post', error: { message: `the job (${ids.job}) is already running` } }])
    const [pre, post] = sent.filter(body => body['userName'] === '(unknown user)')
    expect(pre!['callId']).toBe(post!['callId'])
    expect(post).toMatchObject({ result: true })
  })

  it('that is started by another, which someone runs, is a run of its own', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    sandbox.host.createJob({ ...sandbox.host.getJob(ids.job), id: 'inner' })
    sandbox.host.on('backup:preCall', ({ params }) =>
      params.id === ids.job ? sandbox.host.runJobSequence(['inner']) : undefined
    )
    await call(sandbox, 'backupNg.runJob', job)

    const sent = await allSent(sandbox, receiver, 4)
    const runs = sent.map(
      body => `${phaseAndMethod(body)} ${(body['params'] as { id: string }).id} ${body['userName']}`
    )
    expect(runs.sort()).toEqual(
      [
        `pre backupNg.runJob ${ids.job} ${ADMIN.email}`,
        `post backupNg.runJob ${ids.job} ${ADMIN.email}`,
        'pre backupNg.runJob inner (unknown user)',
        'post backupNg.runJob inner (unknown user)',
      ].sort()
    )
  })

  it('that runs on schedule after someone has run it is a run of its own, though it has the context of that call', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    let scheduled: Promise<void> | undefined
    // a timer that is set during a call keeps its context, as that of a schedule does on the host
    sandbox.host.once('job:terminated', () => {
      setImmediate(() => {
        scheduled = sandbox.host.runSchedule(ids.schedule)
      })
    })
    await call(sandbox, 'backupNg.runJob', job)
    await eventually(() => expect(scheduled).toBeDefined())
    await scheduled

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(body => `${phaseAndMethod(body)} ${String(body['userName'])}`).sort()).toEqual(
      ['(unknown user)', ADMIN.email]
        .flatMap(user => [`post backupNg.runJob ${user}`, `pre backupNg.runJob ${user}`])
        .sort()
    )
  })

  it('that begins on schedule while someone is about to run it keeps its own events', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    const listener = gate()
    sandbox.host.on('xo:preCall', ({ method }) => (method === 'backupNg.runJob' ? listener.opened : undefined))
    const byHand = call(sandbox, 'backupNg.runJob', job)
    await sandbox.host.runSchedule(ids.schedule)
    listener.open()
    await byHand

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(body => `${phaseAndMethod(body)} ${String(body['userName'])}`).sort()).toEqual(
      ['(unknown user)', ADMIN.email]
        .flatMap(user => [`post backupNg.runJob ${user}`, `pre backupNg.runJob ${user}`])
        .sort()
    )
  })

  it('that runs on schedule while another is run by hand keeps its own events', async () => {
    const { sandbox, receiver } = await startWith({ method: 'backupNg.runJob', type: 'pre/post' })
    const other = { ...sandbox.host.getJob(ids.job), id: 'other' }
    sandbox.host.createJob(other)
    const run = gate()
    sandbox.host.on('backup:preCall', ({ params }) => (params.id === 'other' ? run.opened : undefined))
    const byHand = call(sandbox, 'backupNg.runJob', { ...job, id: 'other' })
    await eventually(() => expect(sandbox.host.runningJobs).toHaveProperty('other'))
    await sandbox.host.runSchedule(ids.schedule)
    run.open()
    await byHand

    const sent = await allSent(sandbox, receiver, 4)
    const runs = sent.map(
      body => `${phaseAndMethod(body)} ${(body['params'] as { id: string }).id} ${body['userName']}`
    )
    expect(runs.sort()).toEqual(
      [
        `pre backupNg.runJob other ${ADMIN.email}`,
        `post backupNg.runJob other ${ADMIN.email}`,
        `pre backupNg.runJob ${ids.job} (unknown user)`,
        `post backupNg.runJob ${ids.job} (unknown user)`,
      ].sort()
    )
  })
})
