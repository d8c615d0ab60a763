import { Readable } from 'node:stream'
import { expect, it, describe } from 'vitest'
import { ids } from './sandbox/made-up-pool.ts'
import type { Sandbox } from './sandbox/sandbox.ts'
import { allSent, call, fence, openReceiver, startPlugin, userOf, wholeLog } from './helpers/running-plugin.ts'

/** A plugin with a hook on `method`, which is a method of the host that does what `run` does. */
async function startWithMethod(method: string, run: () => unknown, type = 'post') {
  const sandbox = await startPlugin()
  sandbox.host.addApiMethod(method, run)
  const receiver = await openReceiver()
  const hook = { method, type, url: receiver.url, format: 'json' }
  await sandbox.configure({ hooks: [hook, fence(receiver.url)] })
  return { sandbox, receiver }
}

function countPosts(sandbox: Sandbox): () => number {
  let count = 0
  sandbox.host.on('xo:postCall', () => {
    ++count
  })
  return () => count
}

const cycle: { name: string; self?: unknown } = { name: 'ring' }
cycle.self = cycle

class Hostile {
  get size(): number {
    throw new Error('no size')
  }
  toJSON(): unknown {
    throw new Error('no JSON')
  }
}

const unreadable = new Proxy(
  {},
  {
    ownKeys() {
      throw new Error('no keys')
    },
  }
)

let deep: unknown = 'bottom'
for (let level = 0; level < 100_000; ++level) {
  deep = { deep }
}

describe('a result that JSON cannot carry leaves the call alone and is readable in the body:', () => {
  const cases: [what: string, result: unknown, shown: unknown][] = [
    ['a BigInt', { size: 12n }, { size: '12' }],
    ['a bare BigInt', 12n, '12'],
    ['a cycle', cycle, { name: 'ring', self: '[Circular]' }],
    [
      'a getter that throws',
      {
        ok: 1,
        get bad() {
          throw new Error('why')
        },
      },
      { ok: 1, bad: '[Unreadable: why]' },
    ],
    ['a toJSON that throws', { it: new Hostile() }, { it: '[Unreadable: no JSON]' }],
    ['a proxy that throws', { it: unreadable }, { it: expect.stringContaining('Unreadable') }],
    ['a function', { run: function go() {} }, { run: '[Function: go]' }],
    ['a bare function', function go() {}, '[Function: go]'],
    ['a symbol', { it: Symbol('s') }, { it: 'Symbol(s)' }],
    ['a stream', { out: Readable.from([]) }, { out: '[Stream]' }],
    ['a web stream', { out: new ReadableStream() }, { out: '[Stream]' }],
    ['a Buffer', { bytes: Buffer.from('abc') }, { bytes: '[Buffer: 3 bytes]' }],
    ['a promise', { it: Promise.resolve(1) }, { it: '[Promise]' }],
    ['a Map and a Set', { map: new Map([['a', 1]]), set: new Set([1]) }, { map: { a: 1 }, set: [1] }],
    ['an invalid date', { at: new Date(Number.NaN), n: 1n }, { at: null, n: '1' }],
    ['a lone surrogate', 'a\ud800b', 'a\ud800b'],
  ]
  it.each(cases)('%s', async (_, result, shown) => {
    const { sandbox, receiver } = await startWithMethod('test.odd', () => result)
    const posts = countPosts(sandbox)
    expect(await call(sandbox, 'test.odd')).toBe(result)
    expect(posts()).toBe(1)

    const [body] = await allSent(sandbox, receiver, 1)
    expect(body).toMatchObject({ method: 'test.odd', type: 'post' })
    expect(body!['result']).toEqual(shown)
  })

  it('something very deep', async () => {
    const { sandbox, receiver } = await startWithMethod('test.odd', () => deep)
    const posts = countPosts(sandbox)
    await call(sandbox, 'test.odd')
    expect(posts()).toBe(1)

    await allSent(sandbox, receiver, 1)
    expect(receiver.requests[0]!.body).toContain('[Too deep]')
  })

  it('something very large, which the body says it leaves out', async () => {
    const { sandbox, receiver } = await startWithMethod('test.odd', () => 'x'.repeat(20 * 1024 * 1024))
    await call(sandbox, 'test.odd')

    const [body] = await allSent(sandbox, receiver, 1)
    expect(body).toMatchObject({ method: 'test.odd', omitted: ['result'] })
    expect(body).not.toHaveProperty('result')
  })

  it('an error with such things in it', async () => {
    const { sandbox, receiver } = await startWithMethod('test.odd', () => {
      throw Object.assign(new Error('oops'), { data: { size: 12n, cycle, request: Readable.from([]) }, code: 'ODD' })
    })
    const posts = countPosts(sandbox)
    await expect(call(sandbox, 'test.odd')).rejects.toThrow('oops')
    expect(posts()).toBe(1)

    const [body] = await allSent(sandbox, receiver, 1)
    expect(body!['error']).toMatchObject({ message: 'oops', code: 'ODD', data: { size: '12', request: '[Stream]' } })
  })

  it('params that come from a program in the host', async () => {
    const { sandbox, receiver } = await startWithMethod('test.odd', () => {}, 'pre/post')
    await call(sandbox, 'test.odd', { size: 12n, run: () => {} })

    const sent = await allSent(sandbox, receiver, 2)
    expect(sent.map(body => body['params'])).toEqual(Array(2).fill({ size: '12', run: '[Function: run]' }))
    expect(wholeLog().filter(line => line.includes('listener failure'))).toEqual([])
  })
})

describe('an event is frozen when it is heard:', () => {
  it('a result that changes later', async () => {
    const live = { state: 'then', list: [{ state: 'then' }] }
    const { sandbox, receiver } = await startWithMethod('test.live', () => live)
    await call(sandbox, 'test.live')
    live.state = 'now'
    live.list[0]!.state = 'now'

    const [body] = await allSent(sandbox, receiver, 1)
    expect(body!['result']).toEqual({ state: 'then', list: [{ state: 'then' }] })
  })

  it("the host's own index of objects", async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const hook = { method: 'xo.getAllObjects', type: 'post', url: receiver.url, format: 'json' }
    await sandbox.configure({ hooks: [hook, fence(receiver.url)] })
    await call(sandbox, 'xo.getAllObjects')
    sandbox.host.changeObject(ids.haltedVm, { name_label: 'changed' })

    const [body] = await allSent(sandbox, receiver, 1)
    expect(body!['result']).toMatchObject({ [ids.haltedVm]: { name_label: 'web-1' } })
  })

  it('the data of a pre, which a later listener changes', async () => {
    const { sandbox, receiver } = await startWithMethod('test.live', () => {}, 'pre')
    sandbox.host.on('xo:preCall', (data: { params: { id: string }; userName: string }) => {
      data.params.id = 'changed'
      data.userName = 'changed'
    })
    await call(sandbox, 'test.live', { id: 'first' })

    const [body] = await allSent(sandbox, receiver, 1)
    expect(body).toMatchObject({ params: { id: 'first' }, userName: userOf(sandbox).email })
  })

  it('the one object that a backup run is announced with twice', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const hook = { method: 'backupNg.runJob', type: 'pre/post', url: receiver.url, format: 'json' }
    await sandbox.configure({ hooks: [hook, fence(receiver.url)] })
    sandbox.host.on('backup:preCall', ({ params }: { params: { settings: Record<string, unknown> } }) => {
      params.settings['added'] = true
    })
    await sandbox.host.runSchedule(ids.schedule)

    const [pre, post] = await allSent(sandbox, receiver, 2)
    expect(pre).not.toHaveProperty('duration')
    expect((pre!['params'] as { settings: object }).settings).toEqual({ '': { reportWhen: 'failure' } })
    expect((post!['params'] as { settings: object }).settings).toHaveProperty('added')
  })
})

describe('a body of the format json', () => {
  it('has the keys of the host in their order, then its type', async () => {
    const { sandbox, receiver } = await startWithMethod('test.plain', () => 7, 'pre/post')
    await call(sandbox, 'test.plain', { b: 1, a: 2 })

    const [pre, post] = await allSent(sandbox, receiver, 2)
    const common = ['callId', 'userId', 'userName', 'userIp', 'method', 'params', 'timestamp']
    expect(Object.keys(pre!)).toEqual([...common, 'type'])
    expect(Object.keys(post!)).toEqual([...common, 'duration', 'result', 'type'])
    expect(Object.keys(post!['params'] as object)).toEqual(['b', 'a'])
    expect(post).toMatchObject({ result: 7, type: 'post', userName: userOf(sandbox).email, userIp: '127.0.0.1' })
  })

  it('comes with the headers which say what it is', async () => {
    const { sandbox, receiver } = await startWithMethod('test.plain', () => 7)
    await call(sandbox, 'test.plain')
    const [body] = await allSent(sandbox, receiver, 1)
    const { headers, method } = receiver.requests.find(request => request.body.includes('"test.plain"'))!

    expect(method).toBe('POST')
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      accept: 'application/json, */*;q=0.5',
      'user-agent': expect.stringMatching(/^Xen-Orchestra-Web-Hooks\/\d+\.\d+\.\d+/) as string,
      'x-xo-hook': 'test.plain',
      'x-xo-event': 'test.plain',
      'x-xo-event-type': 'post',
      'x-xo-event-status': 'success',
      'x-xo-attempt': '1',
      'x-xo-created': new Date(body!['timestamp'] as number).toISOString(),
      'webhook-id': headers['x-xo-delivery'],
      'webhook-timestamp': expect.stringMatching(/^\d{10}$/) as string,
    })
    expect(headers).not.toHaveProperty('x-xo-test')
    expect(headers).not.toHaveProperty('authorization')
  })
})
