import { expect, it } from 'vitest'

import { die, openMetricsProblems, rest, startOperated, USER } from '../helpers/operated-plugin.ts'
import { bodyOf, call, clientOf, eventually, PLUGIN_ID, pluginLog, userOf } from '../helpers/running-plugin.ts'
import { operations } from '../../src/admin/faces.ts'
import type { Params } from '../sandbox/config.ts'
import { ADMIN } from '../sandbox/sandbox.ts'

it('tells of a delivery what came of it, and sends it again once the receiver is mended', async () => {
  const { sandbox, receiver, mend } = await startOperated()
  const [item] = await die(sandbox, 1)
  expect(item).toMatchObject({
    ...{ hookName: 'Inventory', method: 'vm.inspect', outcome: 'success' },
    lastAttempt: { answer: '404', outcome: expect.stringContaining('answered 404') as string },
  })
  const id = String(item!['id'])
  const details = await rest(sandbox, 'GET', `deliveries/${id}`)
  expect(details.body).toMatchObject({
    ...{ id, bytes: expect.any(Number) as number },
    request: {
      headers: { 'webhook-id': id, 'X-XO-Event': 'vm.inspect' },
      body: expect.stringContaining('as it is') as string,
    },
  })

  mend()
  const replayed = await rest(sandbox, 'POST', `deliveries/${id}/actions/replay`)
  // where the machine is slow, the time of its own retry may have come first
  const isFirst = replayed.status !== 409
  expect(replayed).toMatchObject(isFirst ? { status: 202, body: { id } } : { body: { data: { actual: 'delivered' } } })
  const over = await eventually(async () => {
    const { body } = await rest(sandbox, 'GET', `deliveries/${id}`)
    expect(body).toMatchObject({ status: 'delivered', lastAttempt: { answer: '200' } })
    return body
  })
  expect(over).not.toHaveProperty('request')
  expect(receiver.requests.length).toBeGreaterThan(1)
  expect(new Set(receiver.requests.map(request => bodyOf(request)['method']))).toEqual(new Set(['vm.inspect']))
  for (const [verb, path] of [
    ['POST', `deliveries/${id}/actions/replay`],
    ['DELETE', `deliveries/${id}`],
  ] as const) {
    expect(await rest(sandbox, verb, path)).toMatchObject({ status: 409, body: { data: { actual: 'delivered' } } })
  }
  const said = pluginLog('info').filter(line => line.includes(`replayDelivery by ${ADMIN.email}`))
  expect(said).toHaveLength(isFirst ? 1 : 0)
})

it('lists by any filter, page by page, the newest first; cancels one', async () => {
  const { sandbox } = await startOperated()
  const all = (await die(sandbox, 5)).map(({ id }) => id)
  const listed = async (query: string) => {
    const { status, body } = await rest(sandbox, 'GET', `deliveries?${query}`)
    expect(status).toBe(200)
    return { ids: (body['items'] as Params[]).map(({ id }) => id), next: body['next'], total: body['total'] }
  }
  const first = await listed('limit=2')
  expect(first).toMatchObject({ ids: all.slice(0, 2), total: 5 })
  const second = await listed(`limit=2&cursor=${String(first.next)}`)
  expect(second).toMatchObject({ ids: all.slice(2, 4), total: 5 })
  expect(await listed(`limit=2&cursor=${String(second.next)}`)).toEqual({
    ids: all.slice(4),
    next: undefined,
    total: 5,
  })

  expect((await rest(sandbox, 'DELETE', `deliveries/${String(all[0])}`)).status).toBe(204)
  const { hook, endpoint, call: callId } = (await rest(sandbox, 'GET', `deliveries/${String(all[1])}`)).body
  const from = new Date(Date.now() - 60_000).toISOString()
  for (const [query, expected] of [
    ['status=discarded', all.slice(0, 1)],
    ['status=waiting,sending,queued,held,dead', all.slice(1)],
    [`hook=${String(hook)}&endpoint=${String(endpoint)}`, all],
    ['hook=nobody', []],
    ['method=vm.*', all],
    ['method=host.*', []],
    [`call=${String(callId)}`, all.slice(1, 2)],
    ['answer=4xx', all],
    ['answer=404&status=discarded', all.slice(0, 1)],
    ['answer=timed-out', []],
    [`from=${from}`, all],
    [`to=${from}`, []],
  ] as const) {
    expect([query, (await listed(query)).ids]).toEqual([query, expected])
  }
  expect(await rest(sandbox, 'GET', `deliveries/${String(all[0])}`)).toMatchObject({
    body: { status: 'discarded', reason: 'cancelled' },
  })
})

it('pauses an endpoint and resumes it', async () => {
  const { sandbox, receiver, mend } = await startOperated()
  mend()
  const endpoints = async () => ((await call(sandbox, 'webHooks.getEndpoints')) as { items: Params[] }).items
  const [before] = await endpoints()
  const id = String(before!['id'])
  expect(before).toEqual({
    ...{ id, origin: new URL(receiver.url).origin, state: 'working', waiting: 0, dead: 0, delivered: 0, discarded: 0 },
    hooks: [{ id: expect.any(String) as string, name: 'Inventory' }],
    failuresInRow: 0,
  })
  expect((await rest(sandbox, 'POST', `endpoints/${id}/actions/pause`)).status).toBe(204)
  await call(sandbox, 'vm.inspect')
  await eventually(async () => expect(await endpoints()).toMatchObject([{ state: 'paused', waiting: 1 }]))
  expect(receiver.requests).toEqual([])
  expect(await call(sandbox, 'webHooks.resumeEndpoint', { id })).toBe(true)
  await expect(call(sandbox, 'webHooks.resumeEndpoint', { id })).rejects.toMatchObject({ code: 25 })
  await eventually(async () => expect(await endpoints()).toMatchObject([{ state: 'working', delivered: 1 }]))
})

it('shows hooks, tests them, and tells of events, health and metrics', async () => {
  const { sandbox, receiver } = await startOperated()
  const { items } = (await call(sandbox, 'webHooks.getHooks')) as { items: Params[] }
  const set = { set: true, fingerprint: expect.stringMatching(/^[0-9a-f]{6}$/) as string }
  const { origin } = new URL(receiver.url)
  expect(items).toEqual([
    {
      ...{ id: expect.any(String) as string, name: 'Inventory', isUsable: true },
      ...{ endpoint: expect.any(String) as string, etag: expect.any(String) as string },
      fields: {
        ...{ name: 'Inventory', method: 'vm.*', type: 'post', format: 'json', url: { ...set, origin } },
        authentication: { headers: set, passphrase: set },
      },
    },
  ])
  const id = String(items[0]!['id'])
  expect((await rest(sandbox, 'GET', `hooks/${id}`)).body).toEqual(items[0])
  expect(await rest(sandbox, 'POST', `hooks/${id}/actions/test`)).toMatchObject({
    status: 200,
    body: { items: [{ hook: 'Inventory', type: 'post', origin, ok: false, status: 404 }] },
  })
  const events = (await call(sandbox, 'webHooks.getEvents')) as { items: Params[] }
  const names = events.items.map(({ name }) => name)
  expect(names).toEqual(expect.arrayContaining(['vm.inspect', 'vm.started', 'webHooks.getEvents']))
  expect(new Set(names).size).toBe(names.length)
  expect(await call(sandbox, 'webHooks.getHealth')).toEqual({
    ...{ accepted: 0, delivered: 0, pending: 0, dead: 0, discarded: {}, undecided: {} },
    endpoints: { working: 1 },
    attempts: { ok: 0, refused: 0, unreachable: 0, 'timed-out': 0 },
    lastHour: { delivered: 0, failed: 0 },
  })
  await die(sandbox, 1)
  const { type, text } = await rest(sandbox, 'GET', 'metrics')
  expect(type).toContain('application/openmetrics-text')
  expect(text).toContain(`origin="${origin}"} 1\n`)
  expect(openMetricsProblems(text)).toEqual([])
  expect(text.endsWith('\n# EOF\n')).toBe(true)
})

it('is open to administrators only, by each method and route', async () => {
  const { sandbox } = await startOperated()
  sandbox.host.users.set('user', { id: 'user', ...USER, name: USER.email, permission: 'none' })
  const someone = await clientOf(sandbox, USER)
  for (const { name, rest: way } of operations) {
    const [verb, path] = way
    for (const [as, status] of [
      [null, 401],
      [USER, 403],
    ] as const) {
      const answer = await rest(sandbox, verb.toUpperCase(), path.replace('{id}', 'any'), { as })
      expect([path, answer.status]).toEqual([path, status])
    }
    if (name !== undefined) {
      await expect(someone.call(`webHooks.${name}`, { id: 'any' }), name).rejects.toMatchObject({ code: 2 })
      await expect(call(sandbox, `webHooks.${name}`, {}, 'anonymous'), name).rejects.toMatchObject({ code: 2 })
    }
  }
})

it('refuses what it does not understand, the same by both faces', async () => {
  const { sandbox } = await startOperated()
  for (const { rest: way } of operations) {
    const [verb, path] = way
    const at = path.replace('{id}', 'any')
    expect([path, (await rest(sandbox, verb.toUpperCase(), `${at}?stauts=dead`)).status]).toEqual([path, 422])
    if (verb === 'post' || verb === 'patch') {
      const type = 'application/x-www-form-urlencoded'
      const as = verb.toUpperCase()
      expect([path, (await rest(sandbox, as, at, { type })).status]).toEqual([path, 415])
      expect([path, (await rest(sandbox, as, at, { body: { stauts: 'dead' } })).status]).toEqual([path, 422])
    }
  }
  for (const [query, path] of [
    ['status=undead', 'status'],
    ['limit=0', 'limit'],
    ['limit=201', 'limit'],
    ['limit=1&limit=2', 'limit'],
    ['cursor=!', 'cursor'],
    ['answer=bad', 'answer'],
    ['from=yesterday', 'from'],
    ['method=', 'method'],
  ] as const) {
    const answer = await rest(sandbox, 'GET', `deliveries?${query}`)
    expect([query, answer]).toMatchObject([query, { status: 422, body: { data: { errors: [{ path }] } } }])
  }
  for (const [method, params, verb, path] of [
    ['getDelivery', { id: 'any' }, 'GET', 'deliveries/any'],
    ['replayDelivery', { id: 'any' }, 'POST', 'deliveries/any/actions/replay'],
    ['cancelDelivery', { id: 'any' }, 'DELETE', 'deliveries/any'],
    ['pauseEndpoint', { id: 'any' }, 'POST', 'endpoints/any/actions/pause'],
    ['getHook', { id: 'any' }, 'GET', 'hooks/any'],
    ['testHook', { id: 'any' }, 'POST', 'hooks/any/actions/test'],
  ] as const) {
    await expect(call(sandbox, `webHooks.${method}`, params), method).rejects.toMatchObject({ code: 1 })
    expect(await rest(sandbox, verb, path)).toMatchObject({ status: 404, body: { data: { id: 'any' } } })
  }
})

it('never tells a secret, of a URL its origin only', async () => {
  const { sandbox } = await startOperated()
  const [item] = await die(sandbox, 1)
  const ids = { deliveries: item!['id'], endpoints: item!['endpoint'], hooks: item!['hook'] }
  for (const { rest: way } of operations) {
    const [verb, path] = way
    const id = ids[path.split('/')[0] as keyof typeof ids]
    const { text } = await rest(sandbox, verb.toUpperCase(), path.replace('{id}', String(id)), { body: {} })
    expect([path, text]).toEqual([path, expect.not.stringMatching(/s3cret/) as string])
  }
})

it('is closed with the plugin, and not missed on a host that has neither face', async () => {
  const { sandbox } = await startOperated()
  await sandbox.plugins.unload(PLUGIN_ID)
  await expect(call(sandbox, 'webHooks.getHealth')).rejects.toThrow('method not found')
  expect((await rest(sandbox, 'GET', 'health')).status).toBe(404)
  Object.assign(sandbox.host, { addApiMethods: undefined, registerRestRoutes: undefined })
  await sandbox.plugins.load(PLUGIN_ID)
  expect(sandbox.plugins.get(PLUGIN_ID).loaded).toBe(true)
  expect(userOf(sandbox).permission).toBe('admin')
  expect(pluginLog('warn')).toEqual([])
})
