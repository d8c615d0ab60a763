import { describe, expect, it } from 'vitest'

import { rest, SECRET, startOperated } from '../helpers/operated-plugin.ts'
import {
  call,
  eventually,
  openReceiver,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  wholeLog,
} from '../helpers/running-plugin.ts'
import type { Params } from '../sandbox/config.ts'
import type { Sandbox } from '../sandbox/sandbox.ts'

interface Saved {
  readonly hooks: readonly Params[]
}

const savedHooks = (sandbox: Sandbox): readonly Params[] => (sandbox.plugins.saved(PLUGIN_ID) as Saved).hooks

const hookOf = (name: string, more: Params = {}): Params => ({
  ...{ name, method: 'vm.set', type: 'post', format: 'json', url: `http://127.0.0.1:9/${name}`, ...more },
})

const withToken = (name: string, token: string): Params =>
  hookOf(name, { authentication: { authorization: 'bearer', token } })

/** By name. */
const tokens = (sandbox: Sandbox): Params =>
  Object.fromEntries(
    savedHooks(sandbox).map(({ name, authentication }) => [name, (authentication as Params | undefined)?.['token']])
  )

async function ids(sandbox: Sandbox): Promise<string[]> {
  const { items } = (await call(sandbox, 'webHooks.getHooks')) as { items: Params[] }
  return items.map(({ id }) => String(id))
}

describe('a hook', () => {
  it('is created, changed and deleted by both faces, as the form would have saved it', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const made = await rest(sandbox, 'POST', 'hooks', {
      body: { ...hookOf('one', { url: receiver.url }), authentication: { authorization: 'bearer', token: SECRET } },
    })
    expect(made).toMatchObject({ status: 201, body: { name: 'one', isUsable: true } })
    const id = String(made.body['id'])
    expect(id).toMatch(/^[0-9a-f]{8}$/)
    expect(made.headers.get('location')).toBe(`/rest/v0/plugins/web-hooks/hooks/${id}`)
    expect(made.headers.get('etag')).toBe(`"${String(made.body['etag'])}"`)
    expect(savedHooks(sandbox)).toMatchObject([{ id, name: 'one', authentication: { token: SECRET } }])

    const own = (await call(sandbox, 'webHooks.createHook', { hook: { ...hookOf('two'), id: 'two' } })) as Params
    expect(own).toMatchObject({ id: 'two' })
    const again = rest(sandbox, 'POST', 'hooks', { body: { ...hookOf('two'), id: 'two' } })
    expect(await again).toMatchObject({ status: 409, body: { data: { objectId: 'two' } } })

    const patch = { name: 'renamed', type: 'pre/post', limits: { timeout: 3 }, status: null }
    const changed = await rest(sandbox, 'PATCH', `hooks/${id}`, { body: patch })
    expect(changed).toMatchObject({ status: 200, body: { id, name: 'renamed', fields: { limits: { timeout: 3 } } } })
    expect(changed.body['etag']).not.toBe(made.body['etag'])
    expect(savedHooks(sandbox)[0]).toMatchObject({ id, authentication: { authorization: 'bearer', token: SECRET } })
    await call(sandbox, 'vm.set', { id: 'any' }).catch(() => {})
    await receiver.next()
    expect(receiver.requests[0]!.headers['authorization']).toBe(`Bearer ${SECRET}`)

    expect((await rest(sandbox, 'DELETE', `hooks/${id}`)).status).toBe(204)
    expect(await rest(sandbox, 'DELETE', `hooks/${id}`)).toMatchObject({ status: 404 })
    expect(savedHooks(sandbox).map(hook => hook['name'])).toEqual(['two'])
    const said = pluginLog('info').join('\n')
    expect(said).toMatch(/createHook by .*\n.*createHook by .*\n.*updateHook by .*timeout|updateHook by/)
    expect(said).not.toContain(SECRET)
  })

  it('is refused with where, what was expected and what came, and nothing changes', async () => {
    const sandbox = await startPlugin({ saved: { hooks: [withToken('one', 'first-token')] } })
    const [id] = await ids(sandbox)
    const before = JSON.stringify(savedHooks(sandbox))
    for (const [body, path] of [
      [{ url: 'nowhere' }, 'url'],
      [{ method: 'no.such' }, 'method'],
      [{ methud: 'vm.set' }, 'methud'],
      [{ authentication: { tokn: 'x' } }, 'authentication.tokn'],
      [{ id: 'other' }, 'id'],
      [{ limits: { timeout: 0 } }, 'limits.timeout'],
      // a secret goes only where it was saved for
      [{ url: 'http://elsewhere.example/' }, 'authentication.token'],
    ] as const) {
      const answer = await rest(sandbox, 'PATCH', `hooks/${id}`, { body })
      expect([body, answer]).toMatchObject([body, { status: 422, body: { data: { errors: [{ path }] } } }])
      await expect(call(sandbox, 'webHooks.updateHook', { id, hook: body })).rejects.toMatchObject({ code: 10 })
    }
    for (const body of [{}, { ...hookOf('x'), url: 5 }, { ...hookOf('x'), id: 'not an id' }]) {
      expect([body, (await rest(sandbox, 'POST', 'hooks', { body })).status]).toEqual([body, 422])
    }
    expect(JSON.stringify(savedHooks(sandbox))).toBe(before)
    const typed = { url: 'http://elsewhere.example/', authentication: { token: 'another-token' } }
    expect(await rest(sandbox, 'PATCH', `hooks/${id}`, { body: typed })).toMatchObject({ status: 200 })
    expect(tokens(sandbox)).toEqual({ one: 'another-token' })
    // so do headers
    const headers = 'X-Key: a-key'
    await rest(sandbox, 'PATCH', `hooks/${id}`, { body: { authentication: { headers } } })
    const away = { url: 'http://third.example/', authentication: { token: 'a-third-token' } }
    expect(await rest(sandbox, 'PATCH', `hooks/${id}`, { body: away })).toMatchObject({
      ...{ status: 422, body: { data: { errors: [{ path: 'authentication.headers' }] } } },
    })
    const withHeaders = { ...away, authentication: { ...away.authentication, headers } }
    expect(await rest(sandbox, 'PATCH', `hooks/${id}`, { body: withHeaders })).toMatchObject({ status: 200 })
  })

  it('is not changed over a change that was not seen', async () => {
    const sandbox = await startPlugin({ saved: { hooks: [hookOf('one')] } })
    const [id] = await ids(sandbox)
    const etag = (await rest(sandbox, 'GET', `hooks/${id}`)).headers.get('etag')!
    const patch = (name: string, ifMatch: string) =>
      rest(sandbox, 'PATCH', `hooks/${id}`, { body: { name }, headers: { 'if-match': ifMatch } })
    expect((await patch('first', etag)).status).toBe(200)
    expect(await patch('second', etag)).toMatchObject({ status: 412, body: { data: { property: 'etag' } } })
    expect((await patch('third', '*')).status).toBe(200)
    const stale = call(sandbox, 'webHooks.updateHook', { id, hook: { name: 'fourth' }, ifMatch: 'old' })
    await expect(stale).rejects.toMatchObject({ code: 25 })
    expect(savedHooks(sandbox)).toMatchObject([{ name: 'third' }])
  })

  it('keeps each of two hundred changes at once; live is what is saved, also after a restart', async () => {
    const names = Array.from({ length: 20 }, (_, n) => `h${n}`)
    const sandbox = await startPlugin({ saved: { hooks: names.map(name => hookOf(name)) } })
    const all = await ids(sandbox)
    const fields: readonly Params[] = [
      ...[{ name: 'another' }, { method: 'vm.start' }, { format: 'event' }, { status: 'success' }, { disabled: true }],
      ...[{ limits: { timeout: 3 } }, { limits: { disableAfter: 4 } }, { content: { includeObject: true } }],
      ...[
        { authentication: { headers: 'X-A: b' } },
        { authentication: { passphrase: 'a-passphrase-of-32-characters-xx' } },
      ],
    ]
    await Promise.all(fields.flatMap(hook => all.map(id => call(sandbox, 'webHooks.updateHook', { id, hook }))))
    const expected = {
      ...{ name: 'another', method: 'vm.start', format: 'event', status: 'success', disabled: true, type: 'post' },
      limits: { timeout: 3, disableAfter: 4 },
      content: { includeObject: true },
      authentication: { headers: 'X-A: b', passphrase: 'a-passphrase-of-32-characters-xx' },
    }
    expect(savedHooks(sandbox)).toMatchObject(all.map(id => ({ id, ...expected })))
    const live = async () => ((await call(sandbox, 'webHooks.getHooks')) as { items: Params[] }).items
    const before = await live()
    expect(before).toMatchObject(all.map(id => ({ id, fields: { name: 'another', limits: expected.limits } })))
    await sandbox.plugins.unload(PLUGIN_ID)
    await sandbox.plugins.load(PLUGIN_ID)
    expect(await live()).toEqual(before)
  })

  it('does not undo a save of the form between two changes, nor is undone by one that was saved at the same time', async () => {
    const sandbox = await startPlugin({ saved: { hooks: [hookOf('one'), withToken('two', 'second-token')] } })
    const create = (name: string) => call(sandbox, 'webHooks.createHook', { hook: { ...hookOf(name), id: name } })
    await create('first')
    await sandbox.configure({ hooks: savedHooks(sandbox).slice(1), instanceName: 'by the form' })
    await create('second')
    expect(savedHooks(sandbox).map(({ name }) => name)).toEqual(['two', 'first', 'second'])
    expect(sandbox.plugins.saved(PLUGIN_ID)).toMatchObject({ instanceName: 'by the form' })

    const form = { hooks: savedHooks(sandbox), instanceName: 'again' }
    const names = Array.from({ length: 10 }, (_, n) => `n${n}`)
    await Promise.all([...names.slice(0, 5).map(create), sandbox.configure(form), ...names.slice(5).map(create)])
    const live = async () => ((await call(sandbox, 'webHooks.getHooks')) as { items: Params[] }).items
    await eventually(async () =>
      expect((await live()).map(({ name }) => name)).toEqual(savedHooks(sandbox).map(({ name }) => name))
    )
    // the form was filled in before: it has its say about what there was when it was saved
    const saved = savedHooks(sandbox).map(({ name }) => name)
    expect([...names.slice(0, 4), ...saved]).toEqual(
      expect.arrayContaining(['two', 'first', 'second', ...names.slice(5)])
    )
    expect(sandbox.plugins.saved(PLUGIN_ID)).toMatchObject({ instanceName: 'again' })
    expect(tokens(sandbox)['two']).toBe('second-token')
  })

  it('that was changed is saved later, if the database did not take it', async () => {
    const sandbox = await startPlugin({ saved: { hooks: [hookOf('one')] } })
    const [id] = await ids(sandbox)
    sandbox.plugins.failsNext = true
    await expect(call(sandbox, 'webHooks.updateHook', { id, hook: { name: 'two' } })).rejects.toThrow()
    const { items } = (await call(sandbox, 'webHooks.getHooks')) as { items: Params[] }
    expect(items).toMatchObject([{ id, name: 'two' }])
    await eventually(() => expect(savedHooks(sandbox)).toMatchObject([{ id, name: 'two' }]))
    await call(sandbox, 'webHooks.updateHook', { id, hook: { method: 'vm.start' } })
    expect(savedHooks(sandbox)).toMatchObject([{ id, name: 'two', method: 'vm.start' }])
  })

  it('that is deleted takes no other one’s secret along', async () => {
    const saved = { hooks: [withToken('a', 'token-of-a'), withToken('b', 'token-of-b'), withToken('c', 'token-of-c')] }
    for (const remove of [
      (sandbox: Sandbox, id: string) => rest(sandbox, 'DELETE', `hooks/${id}`),
      (sandbox: Sandbox, id: string) => call(sandbox, 'webHooks.deleteHook', { id }),
    ]) {
      const sandbox = await startPlugin({ saved })
      const [first, second] = await ids(sandbox)
      await remove(sandbox, first!)
      expect(tokens(sandbox)).toEqual({ b: 'token-of-b', c: 'token-of-c' })
      expect((await ids(sandbox))[0]).toBe(second)
      // the same secret as one that has stood at its place is what somebody wants
      await call(sandbox, 'webHooks.updateHook', { id: second, hook: { authentication: { token: 'token-of-a' } } })
      expect(tokens(sandbox)).toEqual({ b: 'token-of-a', c: 'token-of-c' })
    }
  })

  it('keeps what waits for it when it is renamed, and tells no hook and no log of its secrets', async () => {
    const { sandbox, receiver } = await startOperated()
    await call(sandbox, 'webHooks.createHook', {
      hook: hookOf('everything', { method: '*', type: 'pre/post', url: receiver.url.replace(/\/?$/, '/all') }),
    })
    const { items } = (await call(sandbox, 'webHooks.getHooks')) as { items: Params[] }
    const { id, endpoint } = items[0]!
    await call(sandbox, 'webHooks.pauseEndpoint', { id: endpoint })
    await call(sandbox, 'vm.inspect')
    const hook = { name: 'other', authentication: { passphrase: 'n3w-s3cret-of-thirty-two-characters' } }
    await call(sandbox, 'webHooks.updateHook', { id, hook })
    await rest(sandbox, 'PATCH', `hooks/${String(id)}`, { body: hook })
    const listed = (await call(sandbox, 'webHooks.getDeliveries', { hook: id })) as { items: Params[] }
    expect(listed.items.filter(({ method }) => method === 'vm.inspect')).toMatchObject([{ hookName: 'other' }])
    await call(sandbox, 'vm.inspect')
    await eventually(() =>
      expect(receiver.requests.some(({ body }) => body.includes('webHooks.updateHook'))).toBe(true)
    )
    const told = receiver.requests.filter(({ url }) => url.endsWith('/all')).map(({ body }) => body)
    expect(told.filter(body => body.includes('s3cret'))).toEqual([])
    expect(wholeLog().filter(line => line.includes('n3w-s3cret'))).toEqual([])
  })

  it('is tried without anything being sent: saved, changed or not yet there', async () => {
    const { sandbox, receiver } = await startOperated()
    await call(sandbox, 'vm.inspect')
    await receiver.next()
    const sent = receiver.requests.length
    const [id] = await ids(sandbox)
    const tried = async (params: Params) => {
      const answer = await rest(sandbox, 'POST', 'hooks/actions/try', { body: params })
      expect(answer).toMatchObject({ status: 200 })
      return answer.body
    }
    const event = { method: 'vm.inspect', phase: 'post', outcome: 'success' }
    expect(await tried({ id })).toMatchObject({
      ...{ heard: 1, matched: 1 },
      items: [
        {
          event,
          verdict: 'sent',
          contentType: 'application/json',
          body: expect.stringContaining('as it is') as string,
        },
      ],
    })
    expect(await tried({ id, hook: { method: 'host.*' } })).toMatchObject({ heard: 1, matched: 0, items: [] })
    const template = hookOf('new', {
      method: 'vm.*',
      format: 'template',
      content: { template: '{"what": "{{method}}"}' },
    })
    expect(await tried({ hook: template })).toMatchObject({
      matched: 1,
      items: [{ verdict: 'sent', body: '{"what":"vm.inspect"}' }],
    })
    const filtered = hookOf('new', { method: 'vm.*', content: { filter: 'method:vm.start' } })
    expect(await tried({ hook: filtered })).toMatchObject({ items: [{ verdict: 'filtered out' }] })
    const wrong = await rest(sandbox, 'POST', 'hooks/actions/try', { body: { hook: { method: 'vm.*' } } })
    expect(wrong).toMatchObject({ status: 422, body: { data: { errors: [{ path: 'url' }] } } })
    expect(await call(sandbox, 'webHooks.getRecentEvents')).toMatchObject({ items: [event] })
    const events = (await call(sandbox, 'webHooks.getEvents')) as { items: Params[] }
    expect(events.items.find(({ name }) => name === 'vm.inspect')).toMatchObject({
      hooks: [{ id, name: 'Inventory' }],
      heardAt: expect.any(Number) as number,
    })
    expect(receiver.requests.filter(({ body }) => body.includes('vm.inspect')).length).toBeGreaterThanOrEqual(sent)
    expect(savedHooks(sandbox)).toHaveLength(1)
  })
})
