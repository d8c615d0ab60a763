import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'

import { describe, expect, it, onTestFinished } from 'vitest'

import { readableExcerpt } from '../../src/delivery/delivery.ts'
import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { connectTo } from '../../src/delivery/transport.ts'
import { answer, startRawReceiver } from '../helpers/raw-receiver.ts'

interface SendOptions {
  readonly headers?: readonly string[]
  readonly body?: Buffer
  readonly timeoutMs?: number
}

async function send(origin: string, options: SendOptions = {}): Promise<AttemptOutcome> {
  const { headers = [], body = Buffer.from('x'), timeoutMs = 2_000 } = options
  const connection = connectTo({ id: 'e', url: new URL(origin), headers, timeoutMs }, {})
  onTestFinished(() => connection.destroy())
  return connection.send({ contentType: 'text/plain', body, headers: [] })
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
    expect(outcome).toMatchObject({ kind: 'unreachable', reason: expect.stringMatching(/too large|not HTTP/) })
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
    await expect.poll(() => receiver.requests[0]?.socket.destroyed).toBe(true)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
  })

  it('with a compressed body is read as it is: nothing is unpacked', async () => {
    const bomb = gzipSync(Buffer.alloc(20_000_000, 'x'))
    const head = `HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`
    const outcome = await outcomeOf(Buffer.concat([Buffer.from(head), bomb]))
    expect(outcome).toMatchObject({ kind: 'answered', ok: false, status: 500, excerpt: bomb.subarray(0, 2_048) })
  })

  it('that does not read is given up in time', async () => {
    const sockets: Socket[] = []
    const receiver = await startRawReceiver({ onConnection: socket => sockets.push(socket.pause()) })
    const begun = performance.now()
    const outcome = await send(receiver.origin, { body: Buffer.alloc(20_000_000), timeoutMs: 300 })
    expect(outcome).toMatchObject({ kind: 'timed-out' })
    expect(performance.now() - begun).toBeLessThan(500)
    sockets[0]?.resume()
    await expect.poll(() => sockets[0]?.destroyed).toBe(true)
  })

  it('that does not begin with TLS is given up in time', async () => {
    const receiver = await startRawReceiver({})
    const begun = performance.now()
    const outcome = await send(receiver.origin.replace('http:', 'https:'), { timeoutMs: 300 })
    expect(outcome.kind).toMatch(/timed-out|unreachable/)
    expect(performance.now() - begun).toBeLessThan(2_000)
    await expect.poll(() => receiver.sockets.size).toBe(0)
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

describe('an excerpt', () => {
  it.each([
    ['plain text', 'it is\tfine: é 世 😀\r\n"really"\n', 'it is\tfine: é 世 😀\n"really"\n'],
    ['nothing', '', ''],
    ['HTML', '<h1 onclick="x">No</h1>', '<h1 onclick="x">No</h1>'],
    ['colours', '\x1b[31mred\x1b[0m', '␛[31mred␛[0m'],
    ['a title of the terminal', '\x1b]0;owned\x07', '␛]0;owned␇'],
    ['a link of the terminal', '\x1b]8;;http://x\x1b\\y', '␛]8;;http://x␛\\y'],
    ['what is written over', 'safe\rEVIL\b\b', 'safe␍EVIL␈␈'],
    ['NUL, VT, FF, DEL', 'a\0b\vc\fd\x7f', 'a␀b␋c␌d\\u{7f}'],
    ['control characters of Latin-1', 'a\x9b31mb\x85', 'a\\u{9b}31mb\\u{85}'],
    ['another direction', 'a\u202egpj.exe\u2066b', 'a\\u{202e}gpj.exe\\u{2066}b'],
    ['other ends of lines', 'a\u2028b\u2029', 'a\\u{2028}b\\u{2029}'],
    ['a byte order mark', '\ufefftext', 'text'],
  ])('of %s is readable', (_what, text, readable) => {
    expect(readableExcerpt(Buffer.from(text))).toBe(readable)
  })

  it('that is not UTF-8 says so, where it is not', () => {
    expect(readableExcerpt(Buffer.from('caf\xe9 ouvert', 'latin1'))).toBe('caf� ouvert')
    expect(readableExcerpt(Buffer.from([0x61, 0xc0, 0xaf, 0x62]))).toBe('a��b')
    expect(readableExcerpt(Buffer.from([0x61, 0xed, 0xa0, 0x80]))).toBe('a���')
  })

  it('that was cut in the middle of a character ends before it', () => {
    for (const end of [1, 2, 3]) {
      expect(readableExcerpt(Buffer.from('ab😀').subarray(0, 2 + end))).toBe('ab')
    }
  })

  it('of something else is not shown', () => {
    const packed = gzipSync(Buffer.from('x'.repeat(1_000) + Math.random()))
    expect(readableExcerpt(packed)).toBe(`(${packed.length} bytes that are not text)`)
    expect(readableExcerpt(Buffer.alloc(100))).toBe('(100 bytes that are not text)')
  })
})
