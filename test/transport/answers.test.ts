import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { AnswerHead, HeadError } from '../../src/transport/answer-head.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { answer, startRawReceiver } from '../helpers/raw-receiver.ts'
import { stopTime, until } from '../helpers/stopped-time.ts'

vi.setConfig({ testTimeout: 60_000 })

/** Far longer than any test. */
const NEVER_MS = 600_000

const OK = 'HTTP/1.1 200 OK\r\n'
const BODY = 'Content-Length: 2\r\n\r\nok'
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'

interface Odd {
  /** Latin-1. */
  readonly bytes: string
  /** @default 200 */
  readonly status?: number
  /** @default 'ok' */
  readonly body?: string
  /** Another request goes out on the same connection. */
  readonly isKept?: boolean
  /** The receiver hangs up after it. */
  readonly isEnded?: boolean
}

const kept = (bytes: string, more: Partial<Odd> = {}): Odd => ({ bytes, isKept: true, ...more })
const once = (bytes: string, more: Partial<Odd> = {}): Odd => ({ bytes, ...more })
const ended = (bytes: string, more: Partial<Odd> = {}): Odd => ({ bytes, isEnded: true, ...more })

const ODD: Readonly<Record<string, Odd>> = {
  '100 Continue unasked': kept(CONTINUE + OK + BODY),
  '100 Continue twice, with headers': kept(`${CONTINUE}HTTP/1.1 100 \r\nX-A: b\r\n\r\n${OK}${BODY}`),
  '100 Continue, then a refusal': kept(`${CONTINUE}HTTP/1.1 503 No\r\n${BODY}`, { status: 503 }),
  '102 Processing': kept(`HTTP/1.1 102 Processing\r\n\r\n${OK}${BODY}`),
  '103 Early Hints': kept(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\n\r\n${OK}${BODY}`),
  '64 KiB of headers': kept(`${OK}X-A: ${'a'.repeat(32_000)}\r\n${'X-B: c\r\n'.repeat(4_000)}${BODY}`),
  'a header of 200 KiB': kept(`${OK}Set-Cookie: ${'a'.repeat(200_000)}\r\n${BODY}`),
  'both lengths': once(`${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
  'both lengths, the other way round': once(
    `${OK}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n`
  ),
  'a length and no coding': kept(`${OK}Transfer-Encoding: identity\r\n${BODY}`),
  'a coding that does not end': ended(`${OK}Transfer-Encoding: gzip\r\n\r\nok`),
  'a coding in upper case': kept(`${OK}TRANSFER-ENCODING: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
  'the same length twice': kept(`${OK}Content-Length: 2\r\n${BODY}`),
  'the same length in a list': kept(`${OK}Content-Length: 2, 2\r\n\r\nok`),
  'two different lengths': once(`${OK}Content-Length: 7\r\n${BODY}`),
  'a length that is none': ended(`${OK}Content-Length: two\r\n\r\nok`),
  'a negative length': ended(`${OK}Content-Length: -1\r\n\r\nok`),
  'an empty length': ended(`${OK}Content-Length:\r\n\r\nok`),
  'a length with a sign and one without': once(`${OK}Content-Length: +2\r\n${BODY}`),
  'a length beyond all': ended(`${OK}Content-Length: ${'9'.repeat(30)}\r\n\r\nok`),
  'bare LF': kept('HTTP/1.1 200 OK\nContent-Length: 2\n\nok'),
  'LF and CR LF': kept('HTTP/1.1 200 OK\nContent-Length: 2\r\nX-A: b\n\r\nok'),
  'a folded header': kept(`${OK}X-A: b\r\n c\r\n\td\r\n${BODY}`),
  'a folded length': kept(`${OK}Content-Length:\r\n 2\r\n\r\nok`),
  'a header that begins with a space': kept(`${OK} X-A: b\r\n${BODY}`),
  'a header without a colon': kept(`${OK}nonsense\r\n${BODY}`),
  'a header without a name': kept(`${OK}: b\r\n${BODY}`),
  'spaces before a colon': kept(`${OK}X-A : b\r\nContent-Length \t: 2\r\n\r\nok`),
  'a name with a space': kept(`${OK}X A: b\r\n${BODY}`),
  'control characters in a header': kept(`${OK}X-A: \x00\x01\x1b\x7f\r\nDate: \x00\r\n${BODY}`),
  'bytes that are not ASCII in headers': kept(`${OK}X-\xe9: \xff\xfe\r\nRetry-After: \xff\r\n${BODY}`),
  'a CR within a header': kept(`${OK}X-A: b\rContent-Length: 9\r\n${BODY}`),
  'no reason': kept(`HTTP/1.1 200\r\n${BODY}`),
  'no reason, and bare LF': kept('HTTP/1.1 200\nContent-Length: 2\n\nok'),
  'a reason that is not ASCII': kept(`HTTP/1.1 200 Tr\xe8s bien \x01\r\n${BODY}`),
  'a reason of 10 KiB': kept(`HTTP/1.1 200 ${'O'.repeat(10_000)}\r\n${BODY}`),
  'several spaces in the status line': kept(`HTTP/1.1  \t200  OK\r\n${BODY}`),
  'HTTP/1.0': once(`HTTP/1.0 200 OK\r\n${BODY}`),
  'HTTP/1.0 without a length': ended('HTTP/1.0 200 OK\r\n\r\nok'),
  'HTTP/1.0 that is kept alive': kept(`HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n${BODY}`),
  'HTTP/1.0 in chunks': once('HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'),
  'a version in lower case': kept(`http/1.1 200 ok\r\n${BODY}`),
  'another version': once(`HTTP/1.2 200 OK\r\n${BODY}`),
  'a version without a dot': once(`HTTP/2 200\r\n${BODY}`),
  'empty lines before it': kept(`\r\n\n\r\n${OK}${BODY}`),
  'empty lines after 100 Continue': kept(`${CONTINUE}\r\n${OK}${BODY}`),
  'a status that is not known': kept(`HTTP/1.1 299 Whatever\r\n${BODY}`, { status: 299 }),
  'a status beyond 599': kept(`HTTP/1.1 999 No\r\n${BODY}`, { status: 999 }),
  '204 with a body': once(`HTTP/1.1 204 No Content\r\n${BODY}`, { status: 204, body: '' }),
  '204 in chunks': once('HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n', {
    status: 204,
    body: '',
  }),
  '204 with a length of 0': kept('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', { status: 204, body: '' }),
  '204 and bytes that nobody announced': once('HTTP/1.1 204 No Content\r\n\r\nok', { status: 204, body: '' }),
  '304 with the length of what it is about': kept('HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n', {
    status: 304,
    body: '',
  }),
  'close and keep-alive': once(`${OK}Connection: close\r\nConnection: keep-alive\r\n${BODY}`),
  'close and keep-alive in a list': once(`${OK}Connection: keep-alive, Close\r\n${BODY}`),
  'a keep-alive of nonsense': kept(`${OK}Keep-Alive: \x00timeout=soon\r\n${BODY}`),
  'a wrong size of a chunk': once(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n`),
  'no size of a chunk': once(`${OK}Transfer-Encoding: chunked\r\n\r\nok`, { body: '' }),
  'chunks that end too early': ended(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`),
  'a body that is cut': ended(`${OK}Content-Length: 9\r\n\r\nok`),
  'garbage after it': once(`${OK}${BODY}garbage`),
  'another answer after it': once(`${OK}${BODY}HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nwrong`),
  'another answer after its chunks': once(
    `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nwrong`
  ),
  'a trailer': kept(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\n\r\n`),
  'a trailer that is none': once(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nnonsense \x00\r\n\r\n`),
  'a trailer with a length': once(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n`),
  'a trailer of 100 KiB': once(
    `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: ${'a'.repeat(100_000)}\r\n\r\n`
  ),
  'chunks with extensions': kept(`${OK}Transfer-Encoding: chunked\r\n\r\n2;a=b;c="d"\r\nok\r\n0;e\r\n\r\n`),
  'sizes of chunks with zeros': kept(`${OK}Transfer-Encoding: chunked\r\n\r\n0002\r\nok\r\n000\r\n\r\n`),
  'a space behind the size of a chunk': once(`${OK}Transfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n`, {
    body: '',
  }),
  'a size of a chunk with 0x': once(`${OK}Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n`, { body: '' }),
  'a size of a chunk beyond all': once(`${OK}Transfer-Encoding: chunked\r\n\r\n${'F'.repeat(30)}\r\nok\r\n0\r\n\r\n`, {
    body: '',
  }),
  'a negative size of a chunk': once(`${OK}Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n`, { body: '' }),
  'chunks with bare LF': once(`${OK}Transfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n`, { body: '' }),
  'chunks in a body of HTTP/1.0 that is kept': kept(
    'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'
  ),
  'a coding twice': once(`${OK}Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
  'gzip in chunks': once(`${OK}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
  'a body in gzip': kept(`${OK}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0`, {
    body: '\x1f\x8b\x08\0',
  }),
  '205 with a body': kept(`HTTP/1.1 205 Reset\r\n${BODY}`, { status: 205 }),
  '206 with a range': kept(`HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-1/9\r\n${BODY}`, { status: 206 }),
  'informational answers of no known kind': kept(`HTTP/1.1 150 x\r\n\r\nHTTP/1.1 199\r\n\r\n${OK}${BODY}`),
  'HTTP/1.0 after 100 Continue': once(`HTTP/1.0 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n${BODY}`),
  'a status and its reason in one word': kept(`HTTP/1.1 200OK\r\n${BODY}`),
  'a status with a dot, as IIS has them': kept(`HTTP/1.1 403.14 Forbidden\r\n${BODY}`, { status: 403 }),
  'an upgrade that is only offered': kept(`${OK}Upgrade: h2c\r\nConnection: Upgrade\r\n${BODY}`),
  'a hop of its own in Connection': kept(`${OK}Connection: X-A, keep-alive\r\n${BODY}`),
  'a length of 2.0': ended(`${OK}Content-Length: 2.0\r\n\r\nok`),
  'a length in hex': ended(`${OK}Content-Length: 0x2\r\n\r\nok`),
  'the beginning of HTML behind it': once(`${OK}${BODY}<html></html>`),
  'a head that is cut': ended(`${OK}Content-Len`, { body: '' }),
  'a status line and no more': ended(OK, { body: '' }),
  'more headers than are read': once(`${OK}${'X-A: b\r\n'.repeat(40_000)}`, { body: '' }),
}

async function send(origin: string, text = 'x', timeoutMs = NEVER_MS): Promise<AttemptOutcome[]> {
  const connection = connectTo({ id: 'e', url: origin, headers: [] }, {})
  onTestFinished(() => connection.destroy())
  const request = { contentType: 'text/plain', body: Buffer.from(text), headers: [], timeoutMs }
  return [await connection.send(request), await connection.send({ ...request, body: Buffer.from('second') })]
}

describe('an odd answer', () => {
  it('there are enough of them', () => {
    expect(Object.keys(ODD).length).toBeGreaterThanOrEqual(85)
  })

  it.each(Object.entries(ODD))('is taken by its status, and none for the next one: %s', async (_what, odd) => {
    const { bytes, status = 200, body = 'ok', isKept = false, isEnded = false } = odd
    const receiver = await startRawReceiver({
      onRequest: ({ socket, body: sent }) => {
        if (String(sent) === 'second') {
          socket.write(answer(202, 'of the second'))
        } else {
          socket[isEnded ? 'end' : 'write'](Buffer.from(bytes, 'latin1'))
        }
      },
    })
    const [first, second] = await send(receiver.origin)
    expect(first).toMatchObject({ kind: 'answered', ok: status < 300, status, excerpt: Buffer.from(body, 'latin1') })
    expect(second).toMatchObject({ kind: 'answered', status: 202, excerpt: Buffer.from('of the second') })
    expect(receiver.requests).toHaveLength(2)
    expect(receiver.connections).toBe(isKept ? 1 : 2)
  })

  /** What a parser would be given. */
  function cleaned(bytes: string, pieceBytes: number): string {
    const head = new AnswerHead()
    const all = Buffer.from(bytes, 'latin1')
    let text = ''
    try {
      for (let at = 0; at < all.length; at += pieceBytes) {
        text += head.next(all.subarray(at, at + pieceBytes)).toString('latin1')
      }
    } catch (error) {
      text = error instanceof HeadError ? error.code : String(error)
    }
    return `${head.status} ${text}`
  }

  it('is the same in whatever pieces it comes', () => {
    for (const { bytes } of Object.values(ODD)) {
      const whole = cleaned(bytes, bytes.length)
      for (const pieceBytes of [1, 2, 3, 7, 1_000]) {
        expect(cleaned(bytes, pieceBytes)).toBe(whole)
      }
    }
  })

  it('is given to the parser with what matters of its headers, and its body as it is', () => {
    const head = `${OK}X-A : x\r\nSERVER : squid\r\nVia: 1.1 a\r\nX-Squid-Error: b\r\nDate: now\r\nretry-after:  7\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a\r\n`
    expect(cleaned(`${head}Content-Length: 4\r\n\r\n\0\r\n\xff`, 9)).toBe(
      '200 HTTP/1.1 200 \r\nContent-Length: 4\r\nserver: squid\r\nvia: 1.1 a\r\nx-squid-error: b\r\ndate: now\r\nretry-after: 7\r\nkeep-alive: timeout=5\r\n\r\n\0\r\n\xff'
    )
  })
})

describe('what is no answer', () => {
  it.each<[string, string, string, RegExp]>([
    ['a greeting of SSH', 'SSH-2.0-OpenSSH_9.6\r\n', 'NOT_HTTP', /another service/],
    ['a greeting of SMTP', '220 mail ESMTP\r\n', 'NOT_HTTP', /another service/],
    ['SHOUTcast', 'ICY 200 OK\r\n\r\n', 'NOT_HTTP', /not HTTP/],
    ['HTTP/0.9', '<html>ok</html>', 'NOT_HTTP', /not HTTP/],
    ['nothing but JSON', '{"ok":true}', 'NOT_HTTP', /not HTTP/],
    ['a status that is none', 'HTTP/1.1 OK\r\n\r\n', 'NOT_HTTP', /not HTTP/],
    ['a status of 0', 'HTTP/1.1 000 No\r\n\r\n', 'NOT_HTTP', /not HTTP/],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n', 'NOT_HTTP', /not HTTP/],
    ['no version', 'HTTP 200 OK\r\n\r\n', 'NOT_HTTP', /not HTTP/],
    ['bytes', '\0\x01\x02\x03', 'NOT_HTTP', /not HTTP/],
    ['a TLS alert', '\x15\x03\x01\0\x02\x02\x28', 'TLS_PORT', /https:\/\//],
    ['HTTP/2', '\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64', 'HTTP_2_PORT', /HTTP\/2/],
    ['a change of protocols', 'HTTP/1.1 101 \r\nUpgrade: x\r\n\r\n', 'SWITCHED_PROTOCOLS', /101/],
    ['nonsense after 100 Continue', `${CONTINUE}nonsense`, 'NOT_HTTP', /not HTTP/],
  ])('says so: %s', async (_what, bytes, code, reason) => {
    const receiver = await startRawReceiver({
      onRequest: ({ socket, body }) => {
        socket.write(String(body) === 'second' ? answer(200) : Buffer.from(bytes, 'latin1'))
      },
    })
    const [first, second] = await send(receiver.origin)
    expect(first).toEqual({ kind: 'unreachable', layer: 'http', code, reason: expect.stringMatching(reason) })
    expect(second).toMatchObject({ kind: 'answered', status: 200 })
  })

  it('is not kept beyond 256 KiB', async () => {
    const receiver = await startRawReceiver({ onRequest: ({ socket }) => socket.write(CONTINUE.repeat(20_000)) })
    const [outcome] = await send(receiver.origin)
    expect(outcome).toEqual({
      kind: 'unreachable',
      layer: 'answer',
      code: 'HEAD_TOO_LARGE',
      reason: 'the headers of the answer are too large',
    })
  })
})

describe('a body', () => {
  it('that comes while the receiver works is read to its end', async () => {
    stopTime()
    const receiver = await startRawReceiver({})
    const connection = connectTo({ id: 'e', url: receiver.origin, headers: [] }, {})
    onTestFinished(() => connection.destroy())
    const request = { contentType: 'text/plain', body: Buffer.from('x'), headers: [], timeoutMs: 10_000 }
    const outcome = connection.send(request)
    await until(() => receiver.requests.length === 1)
    const { socket } = receiver.requests[0]!
    socket.write(`${OK}Transfer-Encoding: chunked\r\n\r\n`)
    for (let second = 1; second <= 9; ++second) {
      socket.write('5\r\nstep\n\r\n')
      vi.advanceTimersByTime(1_000)
    }
    socket.write('0\r\n\r\n')
    expect(await outcome).toMatchObject({ kind: 'answered', ok: true, excerpt: Buffer.from('step\n'.repeat(9)) })
  })

  it.each([
    ['one without end', 'HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(10_000)],
    ['tiny chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '1\r\nx\r\n'.repeat(1_000)],
    ['a chunk extension', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;', 'x'.repeat(10_000)],
  ])('of which there is more and more is read slowly: %s', async (_what, beginning, more) => {
    stopTime()
    let sent = 0
    const receiver = await startRawReceiver({
      onRequest: ({ socket }) => {
        const write = (): void => {
          while (!socket.destroyed && socket.write(more)) {
            sent += more.length
          }
        }
        socket.on('drain', write)
        socket.write(beginning)
        write()
      },
    })
    const connection = connectTo({ id: 'e', url: receiver.origin, headers: [] }, {})
    onTestFinished(() => connection.destroy())
    const outcome = connection.send({
      contentType: 'text/plain',
      body: Buffer.from('x'),
      headers: [],
      timeoutMs: 10_000,
    })
    // time stands still: the buffers on the way fill up, and no more is read
    let [before, turns] = [0, 0]
    await until(() => {
      turns = sent === before ? turns + 1 : 0
      before = sent
      return turns === 50
    })
    expect(sent).toBeGreaterThan(64 * 1024)
    expect(sent).toBeLessThan(32 * 1024 * 1024)
    vi.advanceTimersByTime(10_000)
    expect(await outcome).toMatchObject({ kind: 'answered', ok: true, status: 200 })
    await until(() => receiver.sockets.size === 0)
  })
})
