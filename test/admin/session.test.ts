import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import type { Admin } from '../../src/admin/admin.ts'
import { Streams } from '../../src/admin/stream.ts'
import type { Page, Account } from '../../src/engine/engine.ts'
import type { RestRequest, RestResponse, Xo } from '../../src/xo.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A response of Express, as far as streams use it. */
class Response implements RestResponse {
  readonly written: string[] = []
  readonly #onClose: (() => void)[] = []
  isEnded = false
  code = 200

  status(code: number): this {
    this.code = code
    return this
  }
  type = (): this => this
  json = (): void => this.end()
  send = (): void => this.end()
  set = (): void => {}
  write = (text: string): void => void this.written.push(text)
  on = (_: 'close', listener: () => void): void => void this.#onClose.push(listener)

  end(): void {
    if (!this.isEnded) {
      this.isEnded = true
      this.#onClose.forEach(listener => listener())
    }
  }
}

function start() {
  let page: Page<Account> = { items: [], total: 0, latest: 'a.0' }
  const asked: unknown[] = []
  const questions = { list: (query: unknown) => (asked.push(query), Promise.resolve(page)) }
  const admin = { ask: (question: (each: typeof questions) => unknown) => Promise.resolve(question(questions)) }
  const sessions = new Map([['t0ken', { id: 'u', email: 'u', permission: 'admin' }]])
  const users = new Map([['u', { id: 'u', email: 'u', permission: 'admin' }]])
  const xo = {
    apiContext: { user: { id: 'u', email: 'u' } },
    getUser: (id: string) => Promise.resolve(users.get(id)),
    authenticateUser: ({ token }: { token: string }) => {
      const user = sessions.get(token)
      return user === undefined ? Promise.reject(new Error('invalid credentials')) : Promise.resolve({ user })
    },
  }
  const streams = new Streams(xo as unknown as Xo, admin as unknown as Admin)
  const open = async (cookies: RestRequest['cookies'] = {}): Promise<Response> => {
    const res = new Response()
    await streams.route.callback({ req: { params: {}, query: {}, headers: {}, cookies, is: () => false }, res })
    return res
  }
  return { streams, open, sessions, users, asked, turnTo: (next: typeof page) => (page = next) }
}

it('a stream ends within a minute when its session does, or its user is no administrator any more', async () => {
  const { open, sessions, users } = start()
  const [byToken, byPassword] = [await open({ authenticationToken: 't0ken' }), await open()]
  await vi.advanceTimersByTimeAsync(61_000)
  expect([byToken.isEnded, byPassword.isEnded]).toEqual([false, false])
  sessions.clear()
  await vi.advanceTimersByTimeAsync(60_000)
  expect([byToken.isEnded, byPassword.isEnded]).toEqual([true, false])
  users.set('u', { id: 'u', email: 'u', permission: 'none' })
  await vi.advanceTimersByTimeAsync(60_000)
  expect(byPassword.isEnded).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

it('a stream says something every now and then, at most four times a second, and nobody asks when there is none', async () => {
  const { open, asked, turnTo } = start()
  const stream = await open()
  expect(stream.written.at(-1)).toBe('id: a.0\ndata: {"latest":"a.0"}\n\n')
  const account = { id: 'd', owner: 'h', endpoint: 'e', label: '', status: 'dead', acceptedAt: 0, attempts: 0 } as const
  turnTo({ items: [account, account], total: 2, latest: 'a.2' })
  await vi.advanceTimersByTimeAsync(1_000)
  expect(stream.written.at(-1)).toBe('id: a.2\ndata: {"latest":"a.2","endpoints":["e"]}\n\n')
  // so much that it concerns everything
  turnTo({ items: [account], total: 1, latest: 'a.3', hasMore: true })
  await vi.advanceTimersByTimeAsync(1_000)
  expect(stream.written.at(-1)).toBe('id: a.3\ndata: {"latest":"a.3"}\n\n')
  await vi.advanceTimersByTimeAsync(16_000)
  expect(stream.written.at(-1)).toBe(':\n\n')
  const before = asked.length
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked.length - before).toBeLessThanOrEqual(41)
  stream.end()
  const after = asked.length
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked.length).toBe(after)
  expect(vi.getTimerCount()).toBe(0)
})

it('a stream that is opened once all were ended is refused', async () => {
  const { streams, open } = start()
  const stream = await open()
  streams.close()
  expect(stream.isEnded).toBe(true)
  expect((await open()).code).toBe(503)
})
