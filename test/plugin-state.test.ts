import { readFileSync } from 'node:fs'

import { describe, expect, it } from 'vitest'

import { listedEvents } from '../src/sources/index.ts'
import { ids } from './sandbox/made-up-pool.ts'
import type { Receiver } from './sandbox/receiver.ts'
import { ADMIN, type Sandbox } from './sandbox/sandbox.ts'
import {
  allSent,
  bodyOf,
  call,
  fence,
  openReceiver,
  phaseAndMethod,
  PLUGIN_ID,
  startPlugin,
} from './helpers/running-plugin.ts'

/** A plugin with hooks to one receiver. */
async function startWith(...hooks: object[]): Promise<{ sandbox: Sandbox; receiver: Receiver }> {
  const sandbox = await startPlugin()
  const receiver = await openReceiver()
  const all = hooks.map(hook => ({ type: 'post', url: receiver.url, format: 'json', ...hook }))
  await sandbox.configure({ hooks: [...all, fence(receiver.url)] })
  return { sandbox, receiver }
}

/** The host tells of objects that have changed in the next tick. */
function flushed(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

describe('a state that changes', () => {
  it('is told after the call that changed it began, whoever called', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.start vm.started vm.halted', type: 'pre/post' })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await flushed()
    // nobody called: high availability, or `xe`
    sandbox.host.changeObject(ids.haltedVm, { power_state: 'Halted', $container: ids.pool })

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(phaseAndMethod).sort()).toEqual([
      'post vm.halted',
      'post vm.start',
      'post vm.started',
      'pre vm.start',
    ])
    const started = sent.find(({ method }) => method === 'vm.started')
    expect(started).toEqual({
      callId: expect.stringMatching(/^[\w-]{36}$/) as string,
      method: 'vm.started',
      params: { id: ids.haltedVm, name_label: 'web-1', pool: { id: ids.pool, name_label: 'made-up pool' } },
      timestamp: expect.any(Number) as number,
      before: { power_state: 'Halted' },
      after: { power_state: 'Running', host: { id: ids.host, name_label: 'made-up host' } },
      type: 'post',
    })
    const { headers } = receiver.requests.find(request => bodyOf(request)['method'] === 'vm.started')!
    expect(headers).toMatchObject({
      'x-xo-event': 'vm.started',
      'x-xo-event-type': 'post',
      'x-xo-event-status': 'success',
    })
  })

  it('is heard by a pattern, and not by the name of an API method', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.*ed' }, { method: 'vm.start', type: 'pre' })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await call(sandbox, 'vm.set', { id: ids.haltedVm, name_label: 'x' })

    const sent = await allSent(sandbox, receiver, 4)
    const events = ['post vm.changed', 'post vm.renamed', 'post vm.started', 'pre vm.start']
    expect(sent.map(phaseAndMethod).sort()).toEqual(events)
  })

  it('of a pool that goes and comes back is what has changed, without the password of its server', async () => {
    const { sandbox, receiver } = await startWith({ method: '* !test.*', type: 'pre/post' })
    const objects = sandbox.host.disconnectPool(ids.pool)
    await flushed()
    sandbox.host.connectPool(
      objects.map(each => (each.id === ids.runningVm ? { ...each, power_state: 'Paused' } : each))
    )
    await flushed()

    const sent = await allSent(sandbox, receiver, 1)
    expect(sent).toMatchObject([{ type: 'post', method: 'vm.paused', missed: true, params: { id: ids.runningVm } }])
    expect(JSON.stringify(sent)).not.toContain('s3cret')
  })

  it('is told of sign-ins that failed, of consoles and of jobs', async () => {
    const { sandbox, receiver } = await startWith({ method: 'user.* console.* job.finished' })
    await call(sandbox, 'session.signIn', { ...ADMIN, password: 'guess' }, 'anonymous').catch(() => {})
    sandbox.host.emit('xo:audit', 'consoleOpened', { userName: 'bob', vmUuid: ids.haltedVm, vmName: 'web-1' })
    await sandbox.host.runSchedule(ids.schedule)

    const sent = await allSent(sandbox, receiver, 3)
    expect(sent).toMatchObject([
      { method: 'user.signInFailed', userName: ADMIN.email, userIp: '127.0.0.1' },
      { method: 'console.opened', userName: 'bob', params: { id: ids.haltedVm, name_label: 'web-1' } },
      { method: 'job.finished', params: { id: ids.job, name: 'nightly', type: 'backup', status: 'success' } },
    ])
    expect(JSON.stringify(sent)).not.toContain('guess')
  })

  it('is heard by a hook that is configured later, from then on', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.set' })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    const hook = { method: 'vm.started vm.halted', type: 'post', url: receiver.url, format: 'json' }
    await sandbox.configure({ hooks: [hook, fence(receiver.url)] })
    await call(sandbox, 'vm.stop', { id: ids.haltedVm })

    expect((await allSent(sandbox, receiver, 1)).map(phaseAndMethod)).toEqual(['post vm.halted'])
  })
})

describe('a hook that includes the object', () => {
  const content = { includeObject: true }
  const objectIn = (body: object | undefined) => (body as { object?: Record<string, unknown> } | undefined)?.object

  it('gets it before and after, and one that does not is sent what it always was', async () => {
    const { sandbox, receiver } = await startWith(
      { name: 'with', method: 'vm.stop', type: 'pre/post', content },
      { name: 'without', method: 'vm.stop', type: 'pre/post' }
    )
    await call(sandbox, 'vm.stop', { id: ids.runningVm })

    const sent = await allSent(sandbox, receiver, 4)
    for (const request of receiver.requests.filter(({ body }) => body.includes('"vm.stop"'))) {
      const body = bodyOf(request)
      if (request.headers['x-xo-hook'] === 'without') {
        expect(body).not.toHaveProperty('object')
      } else {
        expect(objectIn(body)).toMatchObject({
          id: ids.runningVm,
          name_label: 'database',
          tags: ['production'],
          power_state: body['type'] === 'pre' ? 'Running' : 'Halted',
          VIFs: [{ MAC: '02:00:00:00:00:04', network: { name_label: 'LAN' } }],
        })
      }
    }
    expect(JSON.stringify(sent)).not.toContain('s3cret')
  })

  it('gets what a call has deleted, as it was before', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.delete vm.removed', content })
    await call(sandbox, 'vm.delete', { id: ids.runningVm })

    const sent = await allSent(sandbox, receiver, 2)
    expect(sent.map(({ method }) => method).sort()).toEqual(['vm.delete', 'vm.removed'])
    for (const body of sent) {
      expect(objectIn(body)).toMatchObject({ name_label: 'database', VIFs: [{ MAC: '02:00:00:00:00:04' }] })
    }
  })

  it('gets what a call has created, once XO knows it: neither the call nor other hooks wait', async () => {
    const { sandbox, receiver } = await startWith(
      { name: 'with', method: 'vm.create', content },
      { name: 'without', method: 'vm.create' }
    )
    const id = (await call(sandbox, 'vm.create', {
      template: ids.template,
      name_label: 'new',
      pending: true,
    })) as string
    const [first] = await receiver.next()
    expect(first!.headers['x-xo-hook']).toBe('without')
    const vif = { id: 'vif-new', type: 'VIF', name_label: '', MAC: '02:00:00:00:00:99', $network: ids.network }
    sandbox.host.setObjects({ ...sandbox.host.getObject(ids.haltedVm), id, name_label: 'new', VIFs: ['vif-new'] })
    await flushed()
    expect(receiver.requests).toHaveLength(1)
    const known = performance.now()
    sandbox.host.setObjects(vif)

    const [second] = await receiver.next()
    expect(performance.now() - known, 'ms: as soon as it is known, not when time is up').toBeLessThan(1_000)
    expect(second!.headers['x-xo-hook']).toBe('with')
    expect(bodyOf(second!)).toMatchObject({
      method: 'vm.create',
      result: id,
      object: { id, name_label: 'new', VIFs: [{ MAC: '02:00:00:00:00:99', network: { name_label: 'LAN' } }] },
    })
  })

  it('loses no event of a new object that XO does not know yet when the plugin is unloaded', async () => {
    const { sandbox, receiver } = await startWith({ method: 'vm.create', content })
    await call(sandbox, 'vm.create', { template: ids.template, name_label: 'new', pending: true })
    await sandbox.plugins.unload(PLUGIN_ID)
    await sandbox.plugins.load(PLUGIN_ID)

    const [request] = await receiver.next()
    expect(bodyOf(request!)).toMatchObject({ method: 'vm.create' })
    expect(bodyOf(request!)).not.toHaveProperty('object')
  })

  it('is not sent what waits for an object once it is gone; another one is', async () => {
    const gone = { name: 'gone', method: 'vm.create', content }
    const kept = { name: 'kept', method: 'vm.create', content }
    const { sandbox, receiver } = await startWith(gone, kept)
    await call(sandbox, 'vm.create', { template: ids.template, name_label: 'new', pending: true })
    const base = { type: 'post', url: receiver.url, format: 'json' }
    await sandbox.configure({ hooks: [{ ...base, ...kept }, fence(receiver.url)] })
    await sandbox.plugins.unload(PLUGIN_ID)
    await sandbox.plugins.load(PLUGIN_ID)

    await allSent(sandbox, receiver, 1)
    expect(receiver.requests.map(({ headers }) => headers['x-xo-hook'])).toContain('kept')
  })

  it('gets nothing for what is about no object', async () => {
    const { sandbox, receiver } = await startWith({ method: 'token.create', content })
    await call(sandbox, 'token.create')

    expect((await allSent(sandbox, receiver, 1))[0]).not.toHaveProperty('object')
  })
})

describe('a filter', () => {
  it('lets pass what it finds, of the event and of its object', async () => {
    const { sandbox, receiver } = await startWith(
      { name: 'production', method: 'vm.set', content: { filter: 'object:tags:production' } },
      { name: 'web', method: 'vm.set', content: { filter: 'object:name_label:web', includeObject: true } },
      { name: 'bob', method: 'vm.set', content: { filter: 'userName:bob' } },
      { name: 'admin', method: 'vm.set', content: { filter: 'userName:/@admin.net$/ params:id:' + ids.runningVm } }
    )
    await call(sandbox, 'vm.set', { id: ids.haltedVm, name_description: 'x' })
    await call(sandbox, 'vm.set', { id: ids.runningVm, name_description: 'y' })

    await allSent(sandbox, receiver, 3)
    const got = receiver.requests
      .filter(({ body }) => body.includes('"vm.set"'))
      .map(request => [request.headers['x-xo-hook'], 'object' in bodyOf(request)])
    expect(got.sort()).toEqual([
      ['admin', false],
      ['production', false],
      ['web', true],
    ])
  })

  it('that is wrong is refused with the place, and disables its hook at boot', async () => {
    const sandbox = await startPlugin()
    const hook = { method: 'vm.start', type: 'post', url: 'http://127.0.0.1:9', format: 'json' }
    const hooks = [{ ...hook, content: { filter: 'object:tags:(production' } }]
    await expect(sandbox.configure({ hooks })).rejects.toMatchObject({
      code: 10,
      data: {
        errors: [
          {
            path: 'hooks[0].content.filter',
            expected: expect.stringContaining('character 12') as string,
            got: '":(production"',
          },
        ],
      },
    })
    const boot = await startPlugin({ saved: { hooks } })
    expect(boot.registrationError).toBeUndefined()
    expect(boot.plugins.get(PLUGIN_ID).loaded).toBe(true)
  })
})

it('the README lists every event that can be hooked, with its sentence', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const [, table = ''] = /<!-- events -->\n(.*)<!-- \/events -->/s.exec(readme) ?? []
  const rows = [...table.matchAll(/^\| `([^`]+)` +\| (.+?) +\|$/gm)].map(([, name, sentence]) => `${name}: ${sentence}`)
  expect(rows).toEqual(listedEvents.map(({ name, sentence }) => `${name}: ${sentence}`))
})
