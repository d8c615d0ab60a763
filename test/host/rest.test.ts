import { describe, expect, it } from 'vitest'
import { ROUTES } from '../../src/sources/rest-routes.ts'
import type { Params } from '../sandbox/config.ts'
import { ADMIN_NAME, fence, hookTo, openReceiver, setUpRealHost } from './setup.ts'

const xo = setUpRealHost()

const CAROL = { email: 'carol', password: 'a long secret' }

describe('a change by the REST API of a real xo-server', () => {
  it('has its API method in the table, whatever it is', async () => {
    const { body } = await xo.host.rest('GET', 'docs/swagger.json')
    const { paths } = body as { paths: Record<string, Record<string, unknown>> }
    const routes = Object.entries(paths).flatMap(([path, verbs]) =>
      Object.keys(verbs)
        .filter(verb => verb !== 'get' && !path.includes('/actions/'))
        .map(verb => `${verb.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`)
    )
    expect(routes.length).toBeGreaterThan(50)
    expect([...ROUTES.keys()].sort()).toEqual(routes.sort())
  })

  it('is announced once, as that method, with who made it, from where, what and its outcome', async () => {
    const receiver = await openReceiver()
    await xo.configure(hookTo(receiver, 'user.* group.* rest.*'), fence(receiver))
    const { status, body } = await xo.host.rest('POST', 'users', {
      body: { name: 'carol', password: CAROL.password },
      headers: { 'x-xo-client': 'mcp' },
    })
    expect(status).toBe(201)
    const { id } = body as { id: string }
    expect(await xo.host.rest('PATCH', `users/${id}`, { body: { permission: 'none' } })).toMatchObject({ status: 204 })
    expect(await xo.host.rest('PUT', `groups/none/users/${id}`)).toMatchObject({ status: 404 })
    expect(await xo.host.rest('GET', `users/${id}`)).toMatchObject({ status: 200 })
    expect(await xo.host.rest('DELETE', `users/${id}`)).toMatchObject({ status: 204 })

    const sent = await xo.allSent(receiver, 4)
    const common = {
      type: 'post',
      callId: expect.any(String) as string,
      userId: expect.any(String) as string,
      userName: ADMIN_NAME,
      userIp: expect.stringContaining('127.0.0.1') as string,
      duration: expect.any(Number) as number,
      source: 'rest',
    }
    expect(sent).toMatchObject([
      {
        ...{ ...common, method: 'user.create', result: true, client: 'mcp' },
        params: { name: 'carol', password: '* obfuscated *' },
      },
      { ...common, method: 'user.set', params: { id, permission: 'none' }, result: true },
      {
        ...{ ...common, method: 'group.addUser', params: { id: 'none', userId: id } },
        error: { code: 404, message: '404 Not Found' },
      },
      { ...common, method: 'user.delete', params: { id }, result: true },
    ])
  })

  it('that its user may not make is a failure, and that of a stranger is nothing', async () => {
    const receiver = await openReceiver()
    await xo.admin.call('user.create', { ...CAROL, permission: 'none' })
    await xo.configure(hookTo(receiver, '*', 'post'))
    const body = { name: 'dave', password: 'x' }
    expect(await xo.host.rest('POST', 'users', { body, credentials: null })).toMatchObject({ status: 401 })
    const wrong = { email: 'nobody', password: 'wrong' }
    expect(await xo.host.rest('POST', 'users', { body, credentials: wrong })).toMatchObject({ status: 401 })
    expect(await xo.host.rest('POST', 'users', { body, credentials: CAROL })).toMatchObject({ status: 403 })

    const methodsOf = (sent: { body: string }[]) => sent.map(each => JSON.parse(each.body) as Params)
    const events = methodsOf(await receiver.next(3)).filter(({ source }) => source === 'rest')
    expect(events).toMatchObject([{ method: 'user.create', userName: 'carol', error: { code: 403 } }])
  })
})
