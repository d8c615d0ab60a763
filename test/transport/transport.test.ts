import tls from 'node:tls'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { describeOutcome } from '../../src/delivery/delivery.ts'
import type { Connection } from '../../src/delivery/attempt.ts'
import { connectTo } from '../../src/transport/transport.ts'
import type { ProxySettings } from '../../src/transport/proxy.ts'
import { makeCertificate } from '../helpers/certificate.ts'
import type { Certificate } from '../helpers/certificate.ts'
import { elsewhere, openConnectProxy } from '../helpers/connect-proxy.ts'
import { answer, startRawReceiver, unusedPort } from '../helpers/raw-receiver.ts'
import type { RawRequest } from '../helpers/raw-receiver.ts'
import { isSettled, stopTime, until } from '../helpers/stopped-time.ts'

/** Everything in a URL that must not be told. */
const SECRETS = ['sEcReTpAtH', 'sEcReTqUeRy', 'sEcReTuSeR']
const SECRET_PATH = '/sEcReTpAtH?token=sEcReTqUeRy'
const AUTHORIZATION = ['Authorization', 'Basic sEcReTuSeR']

vi.setConfig({ testTimeout: 60_000 })

/** Far longer than any test. */
const NEVER_MS = 600_000

function connectionTo(origin: string, proxy: ProxySettings = {}): Connection {
  const connection = connectTo({ id: 'e', url: origin + SECRET_PATH, headers: AUTHORIZATION }, proxy)
  onTestFinished(() => connection.destroy())
  return connection
}

async function send(connection: Connection, body = '{"a":1}', timeoutMs = NEVER_MS): Promise<AttemptOutcome> {
  const headers = ['X-XO-Attempt', '1']
  const outcome = await connection.send({
    contentType: 'application/json',
    body: Buffer.from(body),
    headers,
    timeoutMs,
  })
  // the connection is free for the next request a moment later
  await setImmediate()
  const told = describeOutcome(outcome) + JSON.stringify(outcome)
  for (const secret of SECRETS) {
    expect(told.toLowerCase()).not.toContain(secret.toLowerCase())
  }
  return outcome
}

/** What one request comes to at a receiver that does this. */
async function outcomeAt(onRequest: (request: RawRequest) => void): Promise<AttemptOutcome> {
  const receiver = await startRawReceiver({ onRequest })
  return send(connectionTo(receiver.origin))
}

/** Behaviour that is a fixed answer. */
function saying(bytes: string): (request: RawRequest) => void {
  return ({ socket }) => {
    socket.write(bytes, 'latin1')
  }
}

/** Writes every few milliseconds, until the socket is gone. */
function drip(socket: Socket, bytes: string): void {
  const timer = setInterval(() => socket.write(bytes), 2)
  socket.on('close', () => clearInterval(timer))
}

describe('an answer', () => {
  it('of 2xx is accepted, with its beginning', async () => {
    const outcome = await outcomeAt(saying(answer(200, 'thanks')))
    expect(outcome).toEqual({ kind: 'answered', ok: true, status: 200, excerpt: Buffer.from('thanks') })
  })

  it.each([201, 202, 206, 299])('of %d is accepted', async status => {
    expect(await outcomeAt(saying(answer(status)))).toMatchObject({ kind: 'answered', ok: true, status })
  })

  it('of 204 without a body is accepted', async () => {
    const outcome = await outcomeAt(saying('HTTP/1.1 204 No Content\r\n\r\n'))
    expect(outcome).toEqual({ kind: 'answered', ok: true, status: 204, excerpt: Buffer.alloc(0) })
  })

  it('may come in chunks', async () => {
    const outcome = await outcomeAt(
      saying('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n')
    )
    expect(outcome).toMatchObject({ kind: 'answered', ok: true, excerpt: Buffer.from('abcde') })
  })

  it('may end with the connection', async () => {
    const outcome = await outcomeAt(({ socket }) => socket.end('HTTP/1.1 200 OK\r\n\r\nbye'))
    expect(outcome).toMatchObject({ kind: 'answered', ok: true, excerpt: Buffer.from('bye') })
  })

  it('is kept to 2 KiB, whatever its status', async () => {
    for (const status of [200, 404, 500]) {
      const body = 'é'.repeat(5_000)
      const outcome = await outcomeAt(saying(Buffer.from(answer(status, body)).toString('latin1')))
      expect(outcome).toMatchObject({ status, excerpt: Buffer.from(body).subarray(0, 2_048) })
    }
  })

  it('does not keep the memory it was read into', async () => {
    const outcome = await outcomeAt(saying(answer(500, 'x'.repeat(60_000))))
    expect('excerpt' in outcome && outcome.excerpt.buffer.byteLength).toBe(2_048)
  })

  it('without a body costs none', async () => {
    const [one, other] = [await outcomeAt(saying(answer(200))), await outcomeAt(saying(answer(503)))]
    expect('excerpt' in one && 'excerpt' in other && one.excerpt === other.excerpt).toBe(true)
  })

  it.each([300, 301, 302, 303, 307, 308])('of %d is refused, and not followed', async status => {
    const elsewhere = await startRawReceiver({ onRequest: saying(answer(200)) })
    const receiver = await startRawReceiver({
      onRequest: saying(answer(status, '', [`Location: ${elsewhere.origin}/`])),
    })
    expect(await send(connectionTo(receiver.origin))).toMatchObject({ kind: 'answered', ok: false, status })
    expect(receiver.requests).toHaveLength(1)
    expect(elsewhere.connections).toBe(0)
  })

  it.each([400, 401, 404, 410, 429, 500, 503, 599])('of %d is refused, with its beginning', async status => {
    const outcome = await outcomeAt(saying(answer(status, 'no')))
    expect(outcome).toEqual({ kind: 'answered', ok: false, status, excerpt: Buffer.from('no') })
  })

  it('tells its Retry-After in seconds, or as a date', async () => {
    const seconds = await outcomeAt(saying(answer(503, '', ['retry-AFTER: 7'])))
    expect(seconds).toMatchObject({ kind: 'answered', ok: false, retryAfterMs: 7_000 })
    stopTime()
    vi.setSystemTime('2030-01-01T00:00:00Z')
    const until = await outcomeAt(saying(answer(429, '', ['Retry-After: Tue, 01 Jan 2030 00:01:00 GMT'])))
    expect(until).toMatchObject({ kind: 'answered', ok: false, retryAfterMs: 60_000 })
  })

  it.each([
    ['soon', 'its Retry-After is not obeyed: it cannot be read'],
    ['-1', 'its Retry-After is not obeyed: it is negative'],
    ['0', undefined],
    ['', undefined],
  ])('with a Retry-After of %j tells none, and why', async (value, note) => {
    const outcome = await outcomeAt(saying(answer(503, '', [`Retry-After: ${value}`])))
    expect(outcome).not.toHaveProperty('retryAfterMs')
    expect('note' in outcome ? outcome.note : undefined).toBe(note)
    expect(describeOutcome(outcome)).toBe(note === undefined ? 'answered 503' : `answered 503; ${note}`)
  })

  it("counts a Retry-After from the answer's own Date", async () => {
    const headers = ['Date: Tue, 01 Jan 2030 00:00:00 GMT', 'Retry-After: Tue, 01 Jan 2030 00:01:00 GMT']
    expect(await outcomeAt(saying(answer(503, '', headers)))).toMatchObject({ retryAfterMs: 60_000 })
  })

  it('of 2xx tells none, whatever it says', async () => {
    expect(await outcomeAt(saying(answer(202, '', ['Retry-After: 7'])))).not.toHaveProperty('retryAfterMs')
  })

  it('with two of them tells the longer one', async () => {
    const outcome = await outcomeAt(saying(answer(503, '', ['Retry-After: 5', 'Retry-After: 9'])))
    expect(outcome).toMatchObject({ retryAfterMs: 9_000 })
  })

  it('may come after early hints', async () => {
    const hints = 'HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\nLink: </a>\r\n\r\n'
    expect(await outcomeAt(saying(hints + hints + answer(503, 'no')))).toEqual({
      kind: 'answered',
      ok: false,
      status: 503,
      excerpt: Buffer.from('no'),
    })
    expect(await outcomeAt(saying(hints + answer(200)))).toMatchObject({ kind: 'answered', ok: true, status: 200 })
  })

  it('that switches protocols is none', async () => {
    const outcome = await outcomeAt(
      saying('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
    )
    expect(outcome).toMatchObject({ kind: 'unreachable' })
  })

  it('that is given before the body was read counts', async () => {
    const receiver = await startRawReceiver({
      onConnection: socket => {
        socket.once('data', () => socket.write(answer(413, 'too large', ['Connection: close'])))
      },
    })
    expect(await send(connectionTo(receiver.origin), 'x'.repeat(4_000_000))).toMatchObject({ status: 413 })
  })
})

describe('a body', () => {
  it.each([
    [200, 4_700],
    [200, 300],
    [503, 700],
  ])('of %d that drips is waited for no longer than the request may take: %d ms more', async (status, leftMs) => {
    stopTime()
    const receiver = await startRawReceiver({})
    const outcome = send(connectionTo(receiver.origin), 'x', 5_000)
    await until(() => receiver.requests.length === 1)
    vi.advanceTimersByTime(5_000 - leftMs)
    const { socket } = receiver.requests[0]!
    socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: 1000000\r\n\r\n`)
    drip(socket, 'x')
    await until(() => socket.bytesWritten > 100)
    vi.advanceTimersByTime(leftMs - 1)
    expect(await isSettled(outcome)).toBe(false)
    vi.advanceTimersByTime(1)
    expect(await outcome).toMatchObject({ kind: 'answered', ok: status < 300, status })
  })

  it.each([
    ['reset', (socket: Socket) => socket.resetAndDestroy()],
    ['ended', (socket: Socket) => socket.end()],
  ])('that is %s in the middle leaves its status', async (_how, cut) => {
    for (const status of [200, 503]) {
      const outcome = await outcomeAt(({ socket }) => {
        socket.write(`HTTP/1.1 ${status} X\r\nRetry-After: 3\r\nContent-Length: 100\r\n\r\nhalf`, () => {
          setTimeout(cut, 30, socket)
        })
      })
      expect(outcome).toEqual(
        status === 200
          ? { kind: 'answered', ok: true, status, excerpt: Buffer.from('half') }
          : { kind: 'answered', ok: false, status, excerpt: Buffer.from('half'), retryAfterMs: 3_000 }
      )
    }
  })

  it('that is malformed leaves its status', async () => {
    const outcome = await outcomeAt(saying('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n'))
    expect(outcome).toMatchObject({ kind: 'answered', ok: true, status: 200 })
  })
})

describe('no answer', () => {
  it('where nothing listens', async () => {
    expect(await send(connectionTo(`http://127.0.0.1:${await unusedPort()}`))).toEqual({
      kind: 'unreachable',
      layer: 'connection',
      code: 'ECONNREFUSED',
      reason: 'the connection was refused: nothing listens there',
    })
  })

  it('from a name that is not known', async () => {
    expect(await send(connectionTo('http://receiver.invalid'))).toMatchObject({
      kind: 'unreachable',
      layer: 'name',
      code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/),
      reason: expect.stringContaining('(DNS)'),
    })
  })

  it('when the connection is reset before it, or amid its first line: tried once only', async () => {
    for (const beginning of ['', 'HTTP/1.1 200 OK']) {
      for (const cut of ['end', 'resetAndDestroy'] as const) {
        const receiver = await startRawReceiver({
          onRequest: ({ socket }) => {
            socket.write(beginning, () => setTimeout(() => socket[cut](), 20))
          },
        })
        expect(await send(connectionTo(receiver.origin))).toEqual({
          kind: 'unreachable',
          layer: 'answer',
          code: expect.stringMatching(/^(UND_ERR_SOCKET|ECONNRESET)$/),
          reason: 'the connection was closed before an answer',
        })
        expect(receiver.requests).toHaveLength(1)
      }
    }
  })

  it('when the connection is reset as soon as it is made', async () => {
    const receiver = await startRawReceiver({ onConnection: socket => socket.resetAndDestroy() })
    expect(await send(connectionTo(receiver.origin))).toMatchObject({
      kind: 'unreachable',
      reason: 'the connection was closed before an answer',
    })
    expect(receiver.connections).toBe(1)
  })

  const silences: [string, (request: RawRequest) => void][] = [
    ['silence', () => {}],
    [
      'a first line that drips',
      ({ socket }) => {
        socket.write('HTTP/1.1 200 O')
        drip(socket, 'OOO')
      },
    ],
    ['early hints without end', ({ socket }) => drip(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n')],
  ]
  it.each(silences)('in time: %s', async (what, onRequest) => {
    stopTime()
    const receiver = await startRawReceiver({ onRequest })
    const outcome = send(connectionTo(receiver.origin), 'x', 3_000)
    await until(() => receiver.requests.length === 1)
    const { socket } = receiver.requests[0]!
    for (let second = 1; second <= 3; ++second) {
      if (what !== 'silence') {
        await until(() => socket.bytesWritten > second * 100)
      }
      vi.advanceTimersByTime(second < 3 ? 1_000 : 999)
      expect(await isSettled(outcome)).toBe(false)
    }
    vi.advanceTimersByTime(1)
    expect(await outcome).toEqual({ kind: 'timed-out', layer: 'answer', reason: 'no answer in time' })
    // the connection is not kept
    await until(() => socket.destroyed === true)
  })
})

describe('the request', () => {
  it('has exactly these headers, each once', async () => {
    const receiver = await startRawReceiver({ onRequest: saying(answer(200)) })
    await send(connectionTo(receiver.origin), '{"é":1}')
    const [{ line, headers, body }] = receiver.requests as [RawRequest]
    expect(line).toBe(`POST ${SECRET_PATH} HTTP/1.1`)
    expect(body.toString()).toBe('{"é":1}')
    expect(Object.fromEntries(headers)).toEqual({
      host: `127.0.0.1:${receiver.port}`,
      connection: 'keep-alive',
      'Content-Type': 'application/json',
      Accept: 'application/json, */*;q=0.5',
      'User-Agent': expect.stringMatching(/^Xen-Orchestra-Web-Hooks\/\d+\.\d+\.\d+/),
      'X-XO-Attempt': '1',
      Authorization: 'Basic sEcReTuSeR',
      'content-length': '8',
    })
    expect(headers).toHaveLength(8)
  })

  it('has a length of 0 without a body', async () => {
    const receiver = await startRawReceiver({ onRequest: saying(answer(200)) })
    await send(connectionTo(receiver.origin), '')
    const names = receiver.requests[0]?.headers.map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    expect(names).toContain('content-length: 0')
  })

  it('carries the bytes it was given, however many', async () => {
    const receiver = await startRawReceiver({ onRequest: saying(answer(200)) })
    const body = 'aé€😀'.repeat(100_000)
    await send(connectionTo(receiver.origin), body)
    expect(receiver.requests[0]?.body.equals(Buffer.from(body))).toBe(true)
  })
})

describe('a kept-alive connection', () => {
  it('is used for the next request', async () => {
    const receiver = await startRawReceiver({ onRequest: saying(answer(200, 'ok')) })
    const connection = connectionTo(receiver.origin)
    for (let i = 0; i < 5; ++i) {
      expect(await send(connection)).toMatchObject({ kind: 'answered', ok: true })
    }
    expect(receiver.requests.map(request => request.number)).toEqual([1, 2, 3, 4, 5])
    expect(receiver.connections).toBe(1)
  })

  it('is used for one request at a time', async () => {
    const waiting: Socket[] = []
    const answerAll = (): void => {
      for (const socket of waiting.splice(0)) {
        socket.write(answer(200))
      }
    }
    const receiver = await startRawReceiver({ onRequest: ({ socket }) => waiting.push(socket) })
    const connection = connectionTo(receiver.origin)
    for (let round = 1; round <= 2; ++round) {
      const outcomes = Array.from({ length: 20 }, () => send(connection))
      await until(() => waiting.length === 20)
      answerAll()
      await Promise.all(outcomes)
      expect(receiver.requests).toHaveLength(round * 20)
      expect(receiver.connections).toBe(20)
    }
  })

  // the receiver may have done what was asked: another try is another attempt, and for the schedule to make
  it.each(['resetAndDestroy', 'end'] as const)('that is lost (%s) as a request comes fails it', async cut => {
    const receiver = await startRawReceiver({
      onRequest: ({ connection, number, socket }) => {
        if (connection === 1 && number === 2) {
          socket[cut]()
        } else {
          socket.write(answer(200))
        }
      },
    })
    const connection = connectionTo(receiver.origin)
    await send(connection)
    expect(await send(connection, 'second')).toEqual({
      kind: 'unreachable',
      layer: 'answer',
      code: expect.stringMatching(/^(UND_ERR_SOCKET|ECONNRESET|EPIPE)$/),
      reason: 'the connection was closed before an answer',
    })
    expect(await send(connection, 'third')).toMatchObject({ kind: 'answered', ok: true })
    expect(receiver.requests.map(request => [request.connection, request.number, String(request.body)])).toEqual([
      [1, 1, '{"a":1}'],
      [1, 2, 'second'],
      [2, 1, 'third'],
    ])
  })

  it.each([
    ['of which the receiver says nothing', '', 4_000],
    ['which the receiver keeps for 5 s', 'timeout=5', 3_000],
    ['which the receiver keeps for an hour', 'timeout=3600', 60_000],
  ])('%s is closed before the receiver does it', async (_what, keepAlive, idleMs) => {
    const headers = keepAlive === '' ? [] : [`Keep-Alive: ${keepAlive}`]
    const receiver = await startRawReceiver({ onRequest: saying(answer(200, '', headers)) })
    stopTime()
    await send(connectionTo(receiver.origin))
    vi.advanceTimersByTime(idleMs - 1)
    await isSettled(Promise.resolve())
    expect(receiver.sockets.size).toBe(1)
    vi.advanceTimersByTime(1)
    await until(() => receiver.sockets.size === 0)
  })

  it('that is silent or answers nonsense is not tried anew', async () => {
    for (const [nonsense, timeoutMs, kind] of [
      ['', 100, 'timed-out'],
      ['nonsense\r\n', 30_000, 'unreachable'],
    ] as const) {
      const receiver = await startRawReceiver({
        onRequest: ({ number, socket }) => {
          socket.write(number === 1 ? answer(200) : nonsense)
        },
      })
      const connection = connectionTo(receiver.origin)
      await send(connection)
      expect((await send(connection, 'x', timeoutMs)).kind).toBe(kind)
      await until(() => receiver.requests.length >= 2)
      expect(receiver.requests).toHaveLength(2)
    }
  })

  it('that was closed while idle is replaced without a failure', async () => {
    const receiver = await startRawReceiver({ onRequest: ({ socket }) => socket.end(answer(200)) })
    const connection = connectionTo(receiver.origin)
    for (let i = 0; i < 5; ++i) {
      expect(await send(connection)).toMatchObject({ kind: 'answered', ok: true })
      await until(() => receiver.sockets.size === 0)
    }
    expect(receiver.requests).toHaveLength(5)
  })
})

describe('TLS', () => {
  const authority = makeCertificate('the authority', { isAuthority: true })
  const good = makeCertificate('127.0.0.1', { issuer: authority })

  /** As the certificates that the process trusts, of which there is no way to add one while it runs on all its versions. */
  function trust({ cert }: Certificate): void {
    const { connect } = tls
    vi.spyOn(tls, 'connect').mockImplementation(((options: tls.ConnectionOptions) =>
      connect({ ...options, ca: cert })) as typeof tls.connect)
  }

  afterEach(() => {
    vi.restoreAllMocks()
  })

  async function outcomeWith({ cert, keyPem }: Certificate, chain = ''): Promise<AttemptOutcome> {
    const receiver = await startRawReceiver({
      tls: { cert: cert + chain, key: keyPem },
      onRequest: saying(answer(200)),
    })
    const outcome = await send(connectionTo(receiver.origin))
    expect(receiver.requests).toHaveLength(outcome.kind === 'answered' && outcome.ok ? 1 : 0)
    return outcome
  }

  it('with a certificate of a known authority is fine', async () => {
    trust(authority)
    expect(await outcomeWith(good)).toMatchObject({ kind: 'answered', ok: true })
  })
})

describe('a proxy', () => {
  it('of the environment is none', async () => {
    vi.stubEnv('http_proxy', `http://127.0.0.1:${await unusedPort()}`)
    onTestFinished(() => {
      vi.unstubAllEnvs()
    })
    const receiver = await startRawReceiver({ onRequest: saying(answer(200)) })
    expect(await send(connectionTo(receiver.origin))).toMatchObject({ kind: 'answered', ok: true })
  })

  it.each(['nonsense sEcReTuSeR', 'http://', 'ftp://sEcReTuSeR@proxy'])(
    'setting of %j is a failure, not an exception, and not gone around',
    async httpProxy => {
      const connection = connectionTo('http://receiver.test', { httpProxy })
      expect(await send(connection)).toEqual({
        kind: 'unreachable',
        code: 'ERR_INVALID_PROXY',
        layer: 'proxy',
        reason: "xo-server's proxy setting (httpProxy) cannot be used, see its log",
      })
      connection.close()
    }
  )
})

describe('the end', () => {
  it('by close lets requests under way end, and then closes the sockets', async () => {
    const receiver = await startRawReceiver({})
    const connection = connectionTo(receiver.origin)
    const outcome = send(connection)
    await until(() => receiver.requests.length === 1)
    connection.close()
    expect(await isSettled(outcome)).toBe(false)
    receiver.requests[0]!.socket.write(answer(200))
    expect(await outcome).toMatchObject({ kind: 'answered', ok: true })
    await until(() => receiver.sockets.size === 0)
  })

  const ways: [string, () => Promise<ProxySettings>][] = [
    ['directly', async () => ({})],
    ['past a proxy', async () => ({ httpProxy: `http://127.0.0.1:${await unusedPort()}`, noProxy: '*' })],
    ['through a proxy', async () => ({ httpProxy: (await openConnectProxy()).url })],
  ]
  it.each(ways)('by destroy fails them at once, closed before or not: %s', async (way, proxy) => {
    stopTime() // no time has to pass for that
    for (const isClosed of [false, true]) {
      const receiver = await startRawReceiver({})
      const origin = way === 'through a proxy' ? elsewhere(receiver.origin) : receiver.origin
      const connection = connectionTo(origin, await proxy())
      const outcomes = [send(connection), send(connection)]
      await until(() => receiver.requests.length === 2)
      if (isClosed) {
        connection.close()
      }
      connection.destroy()
      for (const outcome of outcomes) {
        expect(await outcome).toMatchObject({ kind: 'unreachable', reason: 'stopped' })
      }
      await until(() => receiver.sockets.size === 0)
    }
  })

  it('comes to nothing for a request that was not out yet, whatever its socket has heard before', async () => {
    const receiver = await startRawReceiver({ onRequest: saying(answer(200)) })
    const connection = connectionTo(receiver.origin)
    expect(await send(connection)).toMatchObject({ kind: 'answered', ok: true })
    const cut = send(connection)
    connection.destroy()
    expect(await cut).toMatchObject({ kind: 'unreachable', reason: 'stopped' })
  })

  it('may come twice, in any order, and what is sent after it fails', async () => {
    const rejections: unknown[] = []
    const note = (reason: unknown): void => {
      rejections.push(reason)
    }
    process.on('unhandledRejection', note)
    onTestFinished(() => {
      process.off('unhandledRejection', note)
    })
    for (const ends of [
      ['close', 'close'],
      ['close', 'destroy'],
      ['destroy', 'close'],
      ['destroy', 'destroy'],
    ] as const) {
      for (const proxy of [{}, { httpProxy: `http://127.0.0.1:${await unusedPort()}` }]) {
        const receiver = await startRawReceiver({})
        const connection = connectionTo(receiver.origin, proxy)
        for (const end of ends) {
          connection[end]()
        }
        expect(await send(connection)).toMatchObject({ kind: 'unreachable', reason: 'stopped' })
      }
    }
    // rejections are told after the microtasks
    await setImmediate()
    expect(rejections).toEqual([])
  })

  it('leaves no timer that keeps the process alive', async () => {
    const receiver = await startRawReceiver({ onRequest: saying(answer(200)) })
    const connection = connectionTo(receiver.origin)
    await send(connection)
    connection.close()
    await until(() => !process.getActiveResourcesInfo().includes('Timeout'))
  })
})
