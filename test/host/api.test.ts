import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { idIn } from '../../src/event/object.ts'
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
        // those of plugins, as this one, are named after their paths
        .filter(verb => verb !== 'get' && !path.includes('/actions/') && !path.startsWith('/plugins/'))
        .map(verb => `${verb.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`)
    )
    expect(routes.length).toBeGreaterThan(50)
    expect([...ROUTES.keys()].sort()).toEqual(routes.sort())
  })

  it('is announced once, as that method, with who made it, from where, what and its outcome', async () => {
    const receiver = await openReceiver()
    await xo.configure(hookTo(receiver, 'user.* group.* rest.* !user.created !user.removed'), fence(receiver))
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
        ...{ ...common, method: 'user.create', result: id, client: 'mcp' },
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

/** All API methods: the parameters of each, and of which of them the host makes an object. */
async function readMethods(): Promise<Record<string, { params: string[]; objects: string[] }>> {
  const index = join(process.env['XO_SERVER_DIR']!, 'dist', 'api', 'index.mjs')
  const script = `
    const methods = {}
    const read = (path, value) => {
      if (typeof value === 'function') {
        const { params = {}, resolve = {} } = value
        methods[path] = { params: Object.keys(params), objects: Object.values(resolve).map(([name]) => name) }
      } else if (typeof value === 'object' && value !== null) {
        Object.keys(value).forEach(name => read(path === '' ? name : path + '.' + name, value[name]))
      }
    }
    read('', { ...(await import(process.argv[1])) })
    process.stdout.write(JSON.stringify(methods), () => process.exit())
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, index])
  return JSON.parse(stdout.slice(stdout.lastIndexOf('\n') + 1)) as Awaited<ReturnType<typeof readMethods>>
}

it('finds the object of every API method of a real xo-server, whatever its parameter is called', async () => {
  const lookUp = (id: string) =>
    id.startsWith('object: ') ? { id, type: 'VM', $snapshot_of: 'object: VM' } : undefined
  const methods = Object.entries(await readMethods()).filter(([, { objects }]) => objects.length > 0)
  expect(methods.length).toBeGreaterThan(150)
  const found = methods.map(([method, { params, objects }]) => {
    const values = params.map(name => [name, objects.includes(name) ? `object: ${name}` : `text of ${name}`])
    return [method, idIn({ callId: '', timestamp: 0, method, params: Object.fromEntries(values) as object }, lookUp)]
  })
  // that of `vm.create` is what it creates
  expect(found.filter(([, id]) => id === undefined)).toEqual([['vm.create', undefined]])
})
