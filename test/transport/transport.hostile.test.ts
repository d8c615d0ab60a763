import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { answer, startRawReceiver } from '../helpers/raw-receiver.ts'
import { stopTime, until } from '../helpers/stopped-time.ts'

vi.setConfig({ testTimeout: 60_000 })

interface SendOptions {
  readonly headers?: readonly string[]
  readonly body?: Buffer
  readonly timeoutMs?: number
}

async function send(origin: string, options: SendOptions = {}): Promise<AttemptOutcome> {
  const { headers = [], body = Buffer.from('x'), timeoutMs = 600_000 } = options
  const connection = connectTo({ id: 'e', url: origin, headers }, {})
  onTestFinished(() => connection.destroy())
  return connection.send({ contentType: 'text/plain', body, headers: [], timeoutMs })
}

/** What a receiver with this answer comes to. */
async function outcomeOf(bytes: string | Buffer): Promise<AttemptOutcome> {
  const receiver = await startRawReceiver({ onRequest: ({ socket }) => socket.write(bytes) })
  return send(receiver.origin)
}

/** Writes as fast as it is read. */
function flood(socket: Socket, bytes: string): void {
  const write = (): void => {
    while (!socket.destroyed && socket.write(bytes)) {
      // until its buffer is full
    }
  }
  socket.on('drain', write)
  write()
}

describe('a hostile receiver', () => {
  it.each([
    ['one long header', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(1_000_000)}`],
    ['many headers', `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(100_000)}`],
  ])('with %s is cut off', async (_what, bytes) => {
    const outcome = await outcomeOf(bytes)
    expect(outcome).toMatchObject({ kind: 'answered', ok: true, status: 200, excerpt: Buffer.alloc(0) })
  })

  it.each([
    ['its status line', 'HTTP/1.1 200 ', 'O'.repeat(10_000)],
    ['headers', 'HTTP/1.1 200 OK\r\n', 'X-A: b\r\n'.repeat(100)],
    ['early hints', '', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100)],
    ['a body', 'HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(10_000)],
    [
      'an error of chunks',
      'HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n',
      `2710\r\n${'x'.repeat(10_000)}\r\n`,
    ],
    ['tiny chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '1\r\nx\r\n'.repeat(1_000)],
    ['trailers', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n', 'X-A: b\r\n'.repeat(100)],
  ])('that floods with %s costs neither time nor memory', async (_what, beginning, more) => {
    const receiver = await startRawReceiver({
      onRequest: ({ socket }) => {
        socket.write(beginning)
        flood(socket, more)
      },
    })
    const before = process.memoryUsage().arrayBuffers
    const outcome = await send(receiver.origin, { timeoutMs: 500 })
    expect('excerpt' in outcome ? outcome.excerpt.length : 0).toBeLessThanOrEqual(2_048)
    await until(() => receiver.requests[0]?.socket.destroyed === true)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
  })

  it('with a compressed body is read as it is: nothing is unpacked', async () => {
    const bomb = gzipSync(Buffer.alloc(20_000_000, 'x'))
    const head = `HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`
    const outcome = await outcomeOf(Buffer.concat([Buffer.from(head), bomb]))
    expect(outcome).toMatchObject({ kind: 'answered', ok: false, status: 500, excerpt: bomb.subarray(0, 2_048) })
  })

  it('that does not read is given up in time', async () => {
    stopTime()
    const sockets: Socket[] = []
    const receiver = await startRawReceiver({ onConnection: socket => sockets.push(socket.pause()) })
    const outcome = send(receiver.origin, { body: Buffer.alloc(20_000_000), timeoutMs: 300 })
    await until(() => sockets.length === 1)
    vi.advanceTimersByTime(300)
    expect(await outcome).toMatchObject({ kind: 'timed-out' })
    sockets[0]?.resume()
    await until(() => sockets[0]?.destroyed === true)
  })

  it.each([200, 401, 413])(
    'that answers %d before it has read all is asked the next on another connection',
    async status => {
      const receiver = await startRawReceiver({
        onRequest: ({ socket, body }) => body.toString() === 'next' && socket.write(answer(202)),
        onConnection: socket =>
          socket.once('data', () => {
            if (receiver.connections === 1) {
              socket.pause().write(answer(status))
            }
          }),
      })
      const connection = connectTo({ id: 'e', url: receiver.origin, headers: [] }, {})
      onTestFinished(() => connection.destroy())
      const request = { contentType: 'text/plain', headers: [], timeoutMs: 600_000 }
      expect(await connection.send({ ...request, body: Buffer.alloc(20_000_000) })).toMatchObject({ status })
      expect(await connection.send({ ...request, body: Buffer.from('next') })).toMatchObject({ status: 202 })
      expect(receiver.connections).toBe(2)
    }
  )

  it('that does not begin with TLS is given up in time', async () => {
    stopTime()
    const receiver = await startRawReceiver({})
    const outcome = send(receiver.origin.replace('http:', 'https:'), { timeoutMs: 300 })
    await until(() => receiver.sockets.size === 1)
    vi.advanceTimersByTime(300)
    expect(await outcome).toMatchObject({ kind: 'timed-out' })
  })
})

describe('headers of the endpoint', () => {
  it('go instead of those of the same name, and with the others', async () => {
    const receiver = await startRawReceiver({ onRequest: ({ socket }) => socket.write(answer(200)) })
    await send(receiver.origin, { headers: ['user-agent', 'me', 'X-A', 'b', 'ACCEPT', '*/*'] })
    const names = receiver.requests[0]!.headers.map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    expect(names.sort()).toEqual([
      'accept: */*',
      'connection: keep-alive',
      'content-length: 1',
      'content-type: text/plain',
      `host: 127.0.0.1:${receiver.port}`,
      'user-agent: me',
      'x-a: b',
    ])
  })
})
