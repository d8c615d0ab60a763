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
  destroyed = false
  writableLength = 0
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

  destroy(): void {
    this.destroyed = true
    this.end()
  }

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
  /** Of the answers to come, ms. */
  const delays: number[] = []
  const questions = {
    list: async (query: unknown): Promise<Page<Account>> => {
      asked.push(query)
      const delayMs = delays.shift()
      if (delayMs !== undefined) {
        await new Promise(resolve => setTimeout(resolve, delayMs))
      }
      return page
    },
  }
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
  const open = async (cookies: RestRequest['cookies'] = {}, res = new Response()): Promise<Response> => {
    await streams.route.callback({ req: { params: {}, query: {}, headers: {}, cookies, is: () => false }, res })
    return res
  }
  return { streams, open, sessions, users, asked, delays, turnTo: (next: typeof page) => (page = next) }
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

it('changes are looked for in one place only, also when streams have come and gone before an answer', async () => {
  const { open, asked, delays } = start()
  const first = await open()
  delays.push(400)
  await vi.advanceTimersByTimeAsync(300)
  first.end()
  const second = await open()
  await vi.advanceTimersByTimeAsync(1_000)
  const before = asked.length
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked.length - before).toBeGreaterThan(30)
  expect(asked.length - before).toBeLessThanOrEqual(41)
  second.end()
  await vi.advanceTimersByTimeAsync(1_000)
  expect(vi.getTimerCount()).toBe(0)
})

it('who takes nothing in any more, or has gone before it is known who that is, holds no place', async () => {
  const { open, turnTo } = start()
  const gone = new Response()
  gone.destroyed = true
  await open({}, gone)
  expect([gone.written, vi.getTimerCount()]).toEqual([[], 0])

  const [asleep, awake] = [await open(), await open()]
  asleep.writableLength = 1_000_000
  turnTo({ items: [], total: 0, latest: 'a.1' })
  await vi.advanceTimersByTimeAsync(1_000)
  expect([asleep.destroyed, awake.isEnded]).toEqual([true, false])
  const others = await Promise.all(Array.from({ length: 20 }, () => open()))
  expect(others.map(({ code }) => code)).toEqual([...others.slice(1).map(() => 200), 503])
})
