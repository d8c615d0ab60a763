import { expect, it, onTestFinished, vi } from 'vitest'
import { operations } from '../../src/admin/faces.ts'
import type { Params } from '../sandbox/config.ts'
import { hookTo, openDownReceiver, setUpRealHost } from './setup.ts'

const xo = setUpRealHost()
const BASE = 'plugins/web-hooks'
const USER = { email: 'someone@example.org', password: 'someone' }

/** A method that anyone may call, and of which nothing else is made. */
const CALLED = 'system.getServerVersion'

it('a delivery that has failed is found, explained, and sent again once its receiver is mended', async () => {
  const { receiver, delivered, up } = await openDownReceiver()
  await xo.configureAnew({ ...hookTo(receiver, CALLED, 'post'), name: 'Walk' })
  await xo.admin.call(CALLED)
  await receiver.next()
  const { items } = (await xo.host.rest('GET', `${BASE}/deliveries?answer=5xx&method=system.*`)).body as {
    items: Params[]
  }
  expect(items).toMatchObject([{ hookName: 'Walk', method: CALLED, lastAttempt: { answer: '503' } }])
  const id = String(items[0]!['id'])
  up()
  const answer = await xo.host.rest('POST', `${BASE}/deliveries/${id}/actions/replay`, { body: {} })
  // on a busy machine it may have been tried again by itself
  expect([202, 409]).toContain(answer.status)
  await vi.waitFor(() => expect(delivered.map(({ headers }) => headers['webhook-id'])).toEqual([id]), 30_000)
})

it('a hook is created, changed, tried and deleted, as the form would have done it, and hints come of what it sends', async () => {
  const { receiver, up } = await openDownReceiver()
  up()
  const authentication = { authorization: 'bearer', token: 's3cret-t0ken-of-the-hook' }
  const fields = { ...hookTo(receiver, CALLED, 'post'), name: 'By API', authentication }
  const made = (await xo.host.rest('POST', `${BASE}/hooks`, { body: fields })) as { status: number; body: Params }
  expect(made).toMatchObject({ status: 201, body: { name: 'By API', isUsable: true } })
  const id = String(made.body['id'])
  expect(await xo.savedHooks()).toContainEqual(expect.objectContaining({ id, authentication }))

  const { latest } = (await xo.admin.call('webHooks.getDeliveries', { limit: 1 })) as Params
  await xo.admin.call(CALLED)
  await receiver.next()
  expect(receiver.requests.at(-1)!.headers['authorization']).toBe(`Bearer ${authentication.token}`)
  const { items } = (await vi.waitFor(async () => {
    const page = (await xo.admin.call('webHooks.getDeliveries', { since: latest, hook: id })) as { items: Params[] }
    expect(page.items).toMatchObject([{ status: 'delivered' }])
    return page
  }, 30_000)) as { items: Params[] }
  expect(await xo.host.rest('GET', `${BASE}/calls/${String(items[0]!['call'])}`)).toMatchObject({ status: 200 })

  const headers = { 'if-match': '"old"' }
  expect(await xo.host.rest('PATCH', `${BASE}/hooks/${id}`, { body: { name: 'x' }, headers })).toMatchObject({
    status: 412,
  })
  const patched = await xo.host.rest('PATCH', `${BASE}/hooks/${id}`, { body: { name: 'Renamed' } })
  expect(patched).toMatchObject({ status: 200, body: { id, name: 'Renamed' } })
  expect(await xo.savedHooks()).toContainEqual(expect.objectContaining({ id, name: 'Renamed', authentication }))
  const refused = await xo.host.rest('PATCH', `${BASE}/hooks/${id}`, { body: { method: 'no.such' } })
  expect(refused).toMatchObject({ status: 422, body: { data: { errors: [{ path: 'method' }] } } })
  const tried = await xo.admin.call('webHooks.tryHook', { id, limit: 1 })
  expect(tried).toMatchObject({ items: [{ verdict: 'sent', event: { method: CALLED } }] })
  expect(JSON.stringify([made, patched, refused, tried, items])).not.toContain(authentication.token)
  await xo.admin.call('webHooks.deleteHook', { id })
  expect((await xo.savedHooks()).filter(hook => hook.id === id)).toEqual([])
})

it('is open to administrators only, and refuses what it does not understand, as the stand-in host has it', async () => {
  const user = (await xo.admin.call('user.create', { ...USER, permission: 'none' })) as string
  onTestFinished(async () => void (await xo.host.rest('DELETE', `users/${user}`)))
  const someone = await xo.host.connect(USER)
  onTestFinished(() => someone.close())
  const nobody = await xo.host.connect(null)
  onTestFinished(() => nobody.close())
  const named = operations.filter(({ name }) => name !== undefined)
  for (const { name, rest } of operations) {
    const [verb, template] = rest
    const path = `${BASE}/${template.replace('{id}', 'any')}`
    const ask = async (options: Parameters<typeof xo.host.rest>[2], query = '') =>
      (await xo.host.rest(verb.toUpperCase(), path + query, options)).status
    const hasBody = verb === 'post' || verb === 'patch'
    const body = hasBody ? { body: {} } : {}
    expect([path, await ask({ ...body, credentials: null })]).toEqual([path, 401])
    expect([path, await ask({ ...body, credentials: USER })]).toEqual([path, 403])
    expect([path, await ask(body, '?stauts=dead')]).toEqual([path, 422])
    if (hasBody) {
      expect([path, await ask({ headers: { 'content-type': 'text/plain' } })]).toEqual([path, 415])
    }
    if (name !== undefined) {
      const params = template.includes('{id}') ? { id: 'any' } : {}
      await expect(someone.call(`webHooks.${name}`, params), name).rejects.toMatchObject({ code: 2 })
      await expect(nobody.call(`webHooks.${name}`, params), name).rejects.toMatchObject({ code: 2 })
    }
  }
  for (const [credentials, status] of [
    [null, 401],
    [USER, 403],
  ] as const) {
    expect(await xo.host.rest('GET', `${BASE}/stream`, { credentials })).toMatchObject({ status })
  }
  const { body: swagger } = await xo.host.rest('GET', 'docs/swagger.json', { credentials: null })
  const { paths } = swagger as { paths: Record<string, Params> }
  for (const { rest } of operations) {
    expect(paths[`/${BASE}/${rest[1]}`]?.[rest[0]], rest.join(' ')).toHaveProperty('description')
  }
  const info = (await xo.admin.call('system.getMethodsInfo')) as Record<string, Params>
  expect(Object.keys(info).filter(name => name.startsWith('webHooks.'))).toHaveLength(named.length)
  const limited = await xo.host.rest('GET', `${BASE}/deliveries?limit=1&status=delivered,dead`)
  expect(limited).toMatchObject({ status: 200, body: { total: expect.any(Number) as number } })
  expect(await xo.host.rest('GET', `${BASE}/deliveries/any`)).toMatchObject({ status: 404 })
  await expect(xo.admin.call('webHooks.getDelivery', { id: 'any' })).rejects.toMatchObject({ code: 1 })
  expect(await xo.admin.call('webHooks.replayDeliveries', { filter: {}, dryRun: true })).toMatchObject({ replayed: 0 })
  expect(await xo.admin.call('webHooks.getHealth')).toHaveProperty('accepted')
})

it('ends all streams as xo-server stops, which would wait for them', async () => {
  const asked = Array.from({ length: 21 }, () =>
    // an answer that is no JSON: the stream's, at its end
    xo.host.rest('GET', `${BASE}/stream`).then(
      ({ status }) => status,
      () => 'ended'
    )
  )
  // one is too many, so that all others are open
  expect(await Promise.race(asked)).toBe(503)
  await xo.restart('stop')
  expect((await Promise.all(asked)).filter(each => each === 'ended')).toHaveLength(20)
})
