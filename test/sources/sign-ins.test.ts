import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { Accept } from '../../src/sources/source.ts'
import { withConsequences } from '../../src/sources/notices.ts'
import { SignIns } from '../../src/sources/sign-ins.ts'
import type { Signal, Xo } from '../../src/xo.ts'

const COOKIES = ['clientId=x; Path=/', 'token=t0k3n; Path=/']

interface Answer {
  readonly status?: number
  readonly cookies?: readonly string[]
  readonly body?: unknown
}

/** A server that answers as XO's sign-in page does. */
async function listening(answer: Answer = {}, xo: Partial<Xo> = {}, wants = true) {
  const server = createServer((request, response) => {
    const { status = 303, cookies = COOKIES, body } = answer
    Object.assign(request, { originalUrl: request.url, ip: '192.0.2.1', body })
    response.setHeader('Set-Cookie', cookies).writeHead(status, { Location: '/' }).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const signals: Signal[] = []
  const asked: string[] = []
  const accept: Accept = Object.assign(
    (_: string, __: string, signal: Signal) => {
      signals.push(signal)
      return undefined
    },
    { wants: () => wants, waits: () => false }
  )
  const host: Partial<Xo> = {
    getAuthenticationToken: id => {
      asked.push(id)
      return Promise.resolve({ user_id: 'u1' })
    },
    getUser: id => Promise.resolve({ id, email: 'alice@example.org' }),
    ...xo,
  }
  const signIns = new SignIns(host as Xo, accept)
  const undo = signIns.listen()
  onTestFinished(() => {
    undo()
    server.closeAllConnections()
    server.close()
  })
  return {
    signals,
    asked,
    undo,
    accept: withConsequences(accept, signal => signIns.isTold(signal)),
    async ask(path: string, method = 'POST') {
      const { port } = server.address() as AddressInfo
      const answered = await fetch(`http://127.0.0.1:${port}${path}`, { method, redirect: 'manual' })
      await answered.text()
    },
  }
}

describe('a sign-in at the page of XO', () => {
  it.each([
    ['/signin/local', 'POST', {}, 'local'],
    ['/signin/oidc/callback?code=x', 'GET', {}, 'oidc'],
    ['/signin/dispatch', 'POST', { provider: 'ldap' }, 'ldap'],
    ['/signin-otp', 'POST', { otp: '123456' }, undefined],
  ])('is told: %s', async (path, method, body, provider) => {
    const { ask, signals } = await listening({ body })
    await ask(path, method)
    await vi.waitFor(() => expect(signals).toHaveLength(1))
    expect(signals[0]).toMatchObject({
      ...{ method: 'user.signedIn', userId: 'u1', userName: 'alice@example.org', userIp: '192.0.2.1', client: 'web' },
      params: { id: 'u1', ...(provider && { provider }) },
    })
    expect(JSON.stringify(signals)).not.toContain('t0k3n')
  })

  it.each<[what: string, path: string, answer: Answer, xo: Partial<Xo>]>([
    ['a wrong password', '/signin/local', { cookies: ['clientId=x'] }, {}],
    ['a page', '/signin/local', { status: 200 }, {}],
    ['another redirection', '/other', {}, {}],
    [
      'a token that nobody knows',
      '/signin/local',
      {},
      { getAuthenticationToken: () => Promise.reject(new Error('no')) },
    ],
    ['a bare host', '/signin/local', {}, { getAuthenticationToken: undefined }],
  ])('is none: %s', async (_, path, answer, xo) => {
    const silent = await listening(answer, xo)
    await silent.ask(path)
    // every one hears the requests of all servers of this process
    silent.undo()
    const other = await listening()
    await other.ask('/signin/local')
    await vi.waitFor(() => expect(other.signals).toHaveLength(1))
    expect(silent.signals).toEqual([])
  })

  it('asks nothing that nobody wants to know', async () => {
    const silent = await listening({}, {}, false)
    await silent.ask('/signin/local')
    const other = await listening()
    await other.ask('/signin/local')
    await vi.waitFor(() => expect(other.signals).toHaveLength(1))
    expect(silent.asked).toEqual([])
  })

  it('is told once, though XO 5 then signs in by a call with the token', async () => {
    const { ask, signals, accept } = await listening()
    const call = { callId: 'c', method: 'session.signIn', timestamp: 1, result: {} }
    const told = () => signals.filter(({ method }) => method === 'user.signedIn').map(({ userId }) => userId)
    await ask('/signin/local')
    await vi.waitFor(() => expect(told()).toEqual(['u1']))
    void accept('api', 'post', { ...call, userId: 'u1', params: { token: '' } })
    expect(told()).toEqual(['u1'])
    void accept('api', 'post', { ...call, userId: 'u1', params: { email: 'alice', password: '' } })
    void accept('api', 'post', { ...call, userId: 'u2', params: { token: '' } })
    expect(told()).toEqual(['u1', 'u1', 'u2'])
  })
})
