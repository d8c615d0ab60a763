import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

import { configure } from '@xen-orchestra/log/configure'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { Phase, Source } from '../../src/event/event.ts'
import { listenToRestChanges, restChangeEvents } from '../../src/sources/rest-changes.ts'
import { ROUTES } from '../../src/sources/rest-routes.ts'
import type { Accept } from '../../src/sources/source.ts'
import type { Signal, Xo } from '../../src/xo.ts'

// what is lost to a bug is logged, and here it is meant to be
configure(() => {})

const ALICE = { id: 'a1', email: 'alice@example.org', permission: 'admin', password: 'x' }

/** What Express and the REST API make of a request. */
interface Handled {
  readonly route?: unknown
  readonly user?: unknown
  readonly body?: unknown
  readonly query?: unknown
  readonly status?: number
  readonly location?: string
  readonly authType?: string | undefined
}

interface Doubles {
  readonly wants?: (method: string) => boolean
  readonly xo?: Partial<Xo>
  readonly onAccept?: () => void
}

/** A server with a REST API, of which each request is handled as its path's entry says. */
async function listening(handle: Handled, { wants = () => true, xo = {}, onAccept = () => {} }: Doubles = {}) {
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const { status = 204, location, authType = 'token', ...more } = handle
    Object.assign(request, { originalUrl: request.url, ip: '192.0.2.1', ...more, url: '/lost' })
    Object.assign(response, { locals: 'authType' in handle && handle.authType === undefined ? {} : { authType } })
    if (location !== undefined) {
      response.setHeader('Location', location)
    }
    // the body of an upload is read by whoever it is for
    request.resume().on('end', () => response.writeHead(status).end())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const signals: Signal[] = []
  const accept: Accept = Object.assign(
    (source: Source, phase: Phase, signal: Signal) => {
      expect([source, phase]).toEqual(['rest', 'post'])
      signals.push(structuredClone(signal))
      return onAccept() as undefined
    },
    { wants, waits: () => false }
  )
  const undo = listenToRestChanges(xo as Xo, accept)
  onTestFinished(() => {
    undo()
    server.closeAllConnections()
    server.close()
  })
  return {
    signals,
    undo,
    /** As it stands, which is not what `fetch` sends. */
    async askRaw(method: string, path: string) {
      const { port } = server.address() as AddressInfo
      const [response] = (await once(httpRequest({ port, method, path }).end(), 'response')) as [IncomingMessage]
      response.resume()
    },
    async ask(method: string, path: string, init: RequestInit = {}) {
      const { port } = server.address() as AddressInfo
      const { status } = await fetch(`http://127.0.0.1:${port}/rest/v0${path}`, { ...init, method, redirect: 'manual' })
      return status
    },
  }
}

const routeTo = (path: string): Handled => ({ route: { path: `/rest/v0${path}` }, user: ALICE })

describe('what the answer says was made', () => {
  const xo: Partial<Xo> = {
    getUserByName: name => Promise.resolve(name === 'bob' ? { id: 'u2', email: 'bob' } : null),
    getAllXenServers: () =>
      Promise.resolve([
        { id: 's1', host: 'other' },
        { id: 's2', host: '192.0.2.9' },
      ]),
  }

  it.each<[path: string, body: object, status: number, doubles: Partial<Xo>, result: unknown]>([
    ['/users', { name: 'bob', password: 'x' }, 201, xo, 'u2'],
    ['/servers', { host: '192.0.2.9' }, 201, xo, 's2'],
    ['/users', { name: 'nobody' }, 201, xo, true],
    ['/users', { name: 'bob' }, 201, {}, true],
    ['/users', { name: 'bob' }, 201, { getUserByName: () => Promise.reject(new Error('no')) }, true],
    ['/users', { name: 'bob' }, 403, xo, undefined],
  ])('is looked up: POST %s of %j (%i)', async (path, body, status, doubles, result) => {
    const { ask, signals } = await listening({ ...routeTo(path), body, status }, { xo: doubles })
    await ask('POST', path)
    await vi.waitFor(() => expect(signals).toHaveLength(1))
    expect(signals[0]!['result']).toBe(result)
  })
})

describe('a change by the REST API', () => {
  it('is announced as the API method that does the same, when it is over', async () => {
    const { ask, signals } = await listening({
      ...routeTo('/vms/:id/tags/:tag'),
      ...{ query: { why: 'query' }, body: { id: 'of the body', more: 1 } },
    })
    await ask('PUT', '/vms/vm-1/tags/a%20tag?why=query', { headers: { 'x-xo-client': 'mcp' } })

    expect(signals).toEqual([
      {
        callId: expect.any(String) as string,
        ...{ userId: 'a1', userName: 'alice@example.org', userIp: '192.0.2.1', method: 'tag.add' },
        params: { id: 'vm-1', tag: 'a tag', why: 'query', more: 1 },
        timestamp: expect.any(Number) as number,
        duration: expect.any(Number) as number,
        ...{ result: true, source: 'rest', client: 'mcp' },
      },
    ])
    expect(signals[0]!['duration']).toBeGreaterThanOrEqual(0)
  })

  it.each([
    ['PATCH', '/vms/:id', '/vms/1', 'vm.set', { id: '1' }],
    ['PUT', '/vdis/:id.:format', '/vdis/1.vhd', 'disk.importContent', { id: '1', format: 'vhd' }],
    ['DELETE', '/things/:id', '/things/%zz', 'rest.delete.things', { id: '%zz' }],
    ['POST', '/users', '/users', 'user.create', {}],
  ])('%s %s is announced with what its path names', async (verb, pattern, path, method, params) => {
    const { ask, signals } = await listening(routeTo(pattern))
    await ask(verb, path)
    expect(signals).toMatchObject([{ method, params }])
  })

  it.each(['/REST/v0/VMS/Vm-1', 'http://xo.example.org/rest/v0/vms/Vm-1'])(
    'is not hidden by a way of writing its path that Express understands: %s',
    async path => {
      const { askRaw, signals } = await listening(routeTo('/vms/:id'))
      await askRaw('DELETE', path)
      expect(signals).toMatchObject([{ method: 'vm.delete', params: { id: 'Vm-1' } }])
    }
  )

  it('by a route of a plugin is announced under its path, with the user of its context', async () => {
    const xo = { apiContext: { user: ALICE } }
    const { ask, signals } = await listening({ route: { path: '/plugins/some/things/:id' } }, { xo })
    await ask('POST', '/plugins/some/things/1', { headers: { 'sec-fetch-site': 'same-origin' } })
    expect(signals).toMatchObject([
      { method: 'rest.post.plugins.some.things', params: { id: '1' }, userName: 'alice@example.org', client: 'web' },
    ])
  })

  it('that fails is announced with its status', async () => {
    const { ask, signals } = await listening({ ...routeTo('/vms/:id'), status: 409 })
    await ask('DELETE', '/vms/1')
    expect(signals).toMatchObject([{ error: { code: 409, message: '409 Conflict' } }])
    expect(signals[0]).not.toHaveProperty('result')
  })

  it('with a body that is not parsed is announced without it', async () => {
    const { ask, signals } = await listening({ ...routeTo('/pools/:id/vms'), body: Buffer.alloc(1024) })
    await ask('POST', '/pools/p/vms', { body: 'x'.repeat(1e6) })
    expect(signals).toMatchObject([{ method: 'vm.import', params: { id: 'p' } }])
    expect(Object.keys(signals[0]!.params as object)).toEqual(['id'])
  })

  it.each<[string, Handled, string?, string?]>([
    ['nobody', { ...routeTo('/vms/:id'), user: undefined }],
    ['somebody whom xo-server has not let in', { ...routeTo('/vms/:id'), authType: undefined }],
    ['no route', { user: ALICE, status: 404 }],
    ['an action', routeTo('/vms/:id/actions/start'), 'POST', '/vms/1/actions/start'],
    [
      'an action of a plugin',
      { route: { path: '/plugins/some/act' }, user: ALICE, status: 202, location: '/rest/v0/tasks/1' },
      ...(['POST', '/plugins/some/act'] as const),
    ],
    ['a subscription of XO 6', routeTo('/events/:id/subscriptions'), 'POST', '/events/1/subscriptions'],
    ['a question', routeTo('/vms/:id'), 'GET', '/vms/1'],
    ['something else than the REST API', routeTo('/vms/:id'), 'DELETE', '/../../api/vms/1'],
  ])('is none if it is one of %s', async (_, handle, verb = 'DELETE', path = '/vms/1') => {
    const { ask, signals } = await listening(handle)
    await ask(verb, path)
    expect(signals).toEqual([])
  })

  it('harms nobody by a bug, and none is heard once its listener is gone', async () => {
    const { ask, signals, undo } = await listening(routeTo('/vms/:id'), {
      onAccept: () => {
        throw new Error('a bug')
      },
    })
    expect(await ask('DELETE', '/vms/1')).toBe(204)
    expect(signals).toHaveLength(1)
    undo()
    expect(await ask('DELETE', '/vms/1')).toBe(204)
    expect(signals).toHaveLength(1)
  })

  it('is not read if no hook wants it', async () => {
    const route = { path: '/rest/v0/vms/:id' }
    const handle = Object.defineProperty({ route }, 'user', { enumerable: true, get: () => ALICE })
    const asked: unknown[] = []
    const wants = (...names: unknown[]) => asked.push(...names) === 0
    const { ask, signals } = await listening(handle, { wants })
    await ask('DELETE', '/vms/1')
    expect([signals, asked]).toEqual([[], ['vm.delete']])
  })
})

it('each method of the table is an event that can be hooked', () => {
  const names = restChangeEvents.map(({ name }) => name)
  expect([...names].sort()).toEqual([...new Set([...ROUTES.values()].filter(name => name !== null))].sort())
  expect(restChangeEvents.find(({ name }) => name === 'vm.set')).toEqual({
    ...{ name: 'vm.set', phases: ['post'] },
    sentence: 'The REST API (XO 6, MCP) was asked to: PATCH /vms/:id.',
  })
})
