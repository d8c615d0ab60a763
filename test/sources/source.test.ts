import { EventEmitter } from 'node:events'

import { configure } from '@xen-orchestra/log/configure'
import type { LogEntry } from '@xen-orchestra/log/configure'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { guarded, listen } from '../../src/sources/source.ts'

let logged: LogEntry[] = []
configure(entry => {
  logged.push(entry)
})

beforeEach(() => {
  logged = []
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

function fail(..._: unknown[]): never {
  throw new Error('a bug')
}

const thenThatThrows: object = { then: fail }
const noThen: object = {
  get then(): never {
    return fail()
  },
}
const hostileProxy: object = new Proxy({}, { get: fail, getPrototypeOf: fail, ownKeys: fail, has: fail })

type Bug = readonly [name: string, inside: () => unknown]

/** What may go wrong inside of a listener. */
const BUGS: readonly Bug[] = [
  ['throws', fail],
  [
    'throws undefined',
    () => {
      throw undefined
    },
  ],
  [
    'throws what cannot be read',
    () => {
      throw hostileProxy
    },
  ],
  ['rejects', () => Promise.reject(new Error('a bug'))],
  ['returns a thenable that throws', () => thenThatThrows],
  ['returns a thenable that cannot be read', () => noThen],
  ['returns a proxy that cannot be read', () => hostileProxy],
]

/** What one listener has answered to `event`. */
function heardBy(event: string, hear: (...args: unknown[]) => unknown, ...args: unknown[]): unknown {
  const emitter = new EventEmitter()
  listen<unknown[]>(emitter, event, hear)
  return (emitter.listeners(event)[0] as (...args: unknown[]) => unknown)(...args)
}

describe.each(['xo:preCall', 'backup:preCall'])('a listener of %s, which the host waits for', event => {
  it('keeps it waiting for what is to be waited for', async () => {
    let end = (): void => {}
    let isOver = false
    const answer = heardBy(event, () => new Promise<void>(resolve => (end = resolve))) as Promise<unknown>
    void answer.then(() => (isOver = true))
    await vi.advanceTimersByTimeAsync(60_000)
    expect(isOver).toBe(false)
    end()
    await answer
    expect(vi.getTimerCount()).toBe(0)
  })

  it('returns nothing where there is nothing to wait for', () => {
    expect(heardBy(event, () => undefined)).toBeUndefined()
  })

  it.each(BUGS)('neither throws nor rejects if its inside %s', async (_, bug) => {
    await expect(Promise.resolve(heardBy(event, bug))).resolves.toBeUndefined()
    expect(logged).toHaveLength(1)
  })

  it('does not keep it waiting for what never ends', async () => {
    const answer = heardBy(event, () => new Promise(() => {}))
    await vi.advanceTimersByTimeAsync(70_000)
    await expect(answer).resolves.toBeUndefined()
  })
})

describe.each(['xo:postCall', 'backup:postCall', 'update', 'add', 'job:terminated'])('a listener of %s', event => {
  const others: readonly Bug[] = [
    ['never ends', () => new Promise(() => {})],
    ['returns something', () => 1],
  ]
  it.each([...BUGS, ...others])('returns nothing if its inside %s', (_, inside) => {
    expect(heardBy(event, inside)).toBeUndefined()
    expect(vi.getTimerCount()).toBe(0)
  })
})

it('hears until its undo', () => {
  const emitter = new EventEmitter()
  const hear = vi.fn()
  const undo = listen<[string, number]>(emitter, 'add', hear)
  emitter.emit('add', 'a', 1)
  undo()
  emitter.emit('add', 'b', 2)
  expect(hear.mock.calls).toEqual([['a', 1]])
  expect(emitter.listenerCount('add')).toBe(0)
})

describe('the log', () => {
  const data = () => logged.map(entry => entry.data as object)

  it('says what was lost, and why', () => {
    void guarded('a call', fail)({ method: 'vm.start' })
    expect(logged).toMatchObject([{ message: 'events were lost to a bug' }])
    expect(data()).toEqual([{ heard: 'a call', method: 'vm.start', error: 'a bug', lost: 1 }])
  })

  it('says so once a minute, and how many it were', () => {
    const run = guarded('a call', fail)
    void run({ method: 'first' })
    void run({ method: 'second' })
    vi.advanceTimersByTime(59_999)
    void run({ method: 'third' })
    expect(logged).toHaveLength(1)
    vi.advanceTimersByTime(1)
    void run({ method: 'fourth' })
    expect(data().slice(1)).toEqual([{ heard: 'a call', method: 'fourth', error: 'a bug', lost: 3 }])
  })

  it('says so of each kind for itself', () => {
    void guarded('a call', fail)({})
    void guarded('a task', fail)({})
    expect(data()).toMatchObject([{ heard: 'a call' }, { heard: 'a task' }])
  })

  it.each([[hostileProxy], [null], [undefined], [7], [{ method: 7 }]])(
    'has no method where none can be read: %#',
    arg => {
      void guarded('a call', fail)(arg)
      expect(data()).toEqual([{ heard: 'a call', method: undefined, error: 'a bug', lost: 1 }])
    }
  )

  it('finds the method wherever the signal stands', () => {
    void guarded('a call', fail)('api', 'pre', { method: 'vm.start' })
    expect(data()).toMatchObject([{ method: 'vm.start' }])
  })
})
