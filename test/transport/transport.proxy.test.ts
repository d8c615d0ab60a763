import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { describeOutcome } from '../../src/delivery/delivery.ts'
import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { makeCertificate } from '../helpers/certificate.ts'
import { openConnectProxy } from '../helpers/connect-proxy.ts'
import { itIsUsed, PASSWORD, sendThrough, trust } from '../helpers/proxy-table.ts'
import type { ProxyOfAMake } from '../helpers/proxy-table.ts'
import { answer, startRawReceiver } from '../helpers/raw-receiver.ts'
import type { RawRequest } from '../helpers/raw-receiver.ts'
import { isSettled, stopTime, until } from '../helpers/stopped-time.ts'

const own = makeCertificate('127.0.0.1')

describe('a proxy of the simplest make is used', () => {
  itIsUsed(async (): Promise<ProxyOfAMake> => {
    const [open, guarded, secure] = await Promise.all([
      openConnectProxy(),
      openConnectProxy({ credentials: `me:${PASSWORD}` }),
      openConnectProxy({ tls: { cert: own.cert, key: own.keyPem } }),
    ])
    return {
      port: open.port,
      guardedPort: guarded.port,
      isAnonymous: true,
      secure: { port: secure.port, ca: own.cert },
    }
  })
})

const REQUEST = { contentType: 'text/plain', body: Buffer.from('body'), headers: [], timeoutMs: 600_000 }

/** One attempt through a proxy that does this with each request; it has one connection. */
async function outcomeThrough(
  scheme: 'http' | 'https',
  onRequest: (request: RawRequest) => void,
  userInfo = ''
): Promise<AttemptOutcome> {
  const proxy = await startRawReceiver({ onRequest })
  const httpProxy = `${userInfo}127.0.0.1:${proxy.port}`
  const connection = connectTo({ id: 'e', url: `${scheme}://receiver.test/s3cret`, headers: [] }, { httpProxy })
  onTestFinished(() => connection.destroy())
  const outcome = await connection.send(REQUEST)
  await until(() => proxy.sockets.size === 0 || outcome.kind === 'answered')
  expect(proxy.connections).toBe(1)
  expect(describeOutcome(outcome)).not.toContain('s3cret')
  return outcome
}

function saying(...parts: readonly (string | Buffer)[]): (request: RawRequest) => void {
  return ({ socket }) => parts.forEach(part => socket.write(part))
}

describe('what a proxy answers to CONNECT', () => {
  const HEAD = 'HTTP/1.1 200 OK\r\n\r\n'
  /** The beginning of the receiver's bytes: that it does not know the host (RFC 8446 §6). */
  const ALERT = Buffer.from([21, 3, 3, 0, 2, 2, 112])

  it.each<[string, readonly (string | Buffer)[]]>([
    ['at once', [HEAD, ALERT]],
    ['together with what the receiver says', [Buffer.concat([Buffer.from(HEAD), ALERT])]],
    ['as HTTP/1.0', ['HTTP/1.0 200 Connection established\r\n\r\n', ALERT]],
    ['without a reason', ['HTTP/1.1 200\r\n\r\n', ALERT]],
    ['with another status that says yes', ['HTTP/1.1 204 No Content\r\n\r\n', ALERT]],
    ['in lower case, with bare line feeds', ['http/1.1 200 ok\nvia: me\n\n', ALERT]],
    ['with a length that means nothing', ['HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n', ALERT]],
    [
      'after what comes before it',
      ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n', HEAD, ALERT],
    ],
    ['with a large head', [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(15_000)}\r\n\r\n`, ALERT]],
  ])('opens a tunnel: %s', async (_what, parts) => {
    expect(await outcomeThrough('https', saying(...parts))).toMatchObject({
      kind: 'unreachable',
      reason: expect.stringMatching(/^TLS: the receiver (?:does not know|knows no)/),
    })
  })

  it('may come byte by byte', async () => {
    const { outcomes } = await sendThrough({ httpProxy: (await dripping()).url }, 'https')
    expect(outcomes).toMatchObject([{ kind: 'answered', status: 201 }])
  })

  it.each<[string, string, string, string?]>([
    ['407 Proxy Authentication Required', '407', 'the proxy asks for credentials'],
    ['401 Unauthorized', '401', 'the proxy asks for credentials'],
    ['407 No\r\nProxy-Authenticate: Basic realm="x"', '407', 'the proxy does not accept the credentials', 'me:s3cret@'],
    [
      '407 No\r\nProxy-Authenticate: NTLM',
      '407',
      'the proxy asks for credentials of another kind than Basic',
      'me:s3cret@',
    ],
    ['407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic', '407', 'the proxy asks for credentials'],
  ])('refuses us: %s', async (line, code, reason, userInfo) => {
    expect(await outcomeThrough('https', saying(`HTTP/1.1 ${line}\r\n\r\n`), userInfo)).toEqual({
      ...{ kind: 'unreachable', layer: 'proxy', code, reason },
    })
  })

  it.each<[string, string, string]>([
    ['403 Forbidden', '403', 'the proxy does not allow connections to this receiver'],
    ['405 Method Not Allowed', '405', 'the proxy makes no connections for https (CONNECT)'],
    ['501 Not Implemented', '501', 'the proxy makes no connections for https (CONNECT)'],
    ['500 Unable to connect', '500', 'the proxy did not reach the receiver'],
    ['502 Bad Gateway\r\nContent-Length: 5\r\n\r\nxxxxx', '502', 'the proxy did not reach the receiver'],
    ['503 Service Unavailable', '503', 'the proxy did not reach the receiver'],
    ['504 Gateway Timeout', '504', 'the proxy did not reach the receiver in time'],
    ['302 Found\r\nLocation: http://login.example', '302', 'the proxy refused to connect'],
    ['418', '418', 'the proxy refused to connect'],
  ])('refuses this receiver: %s', async (line, code, reason) => {
    const outcome = await outcomeThrough('https', saying(`HTTP/1.1 ${line}\r\n\r\n`))
    expect(outcome).toEqual({ ...{ kind: 'unreachable', layer: 'proxy', isOnlyHere: true, code, reason } })
    expect(describeOutcome(outcome)).toBe(`${reason} (${code})`)
  })

  const NO_HTTP = expect.stringMatching(/^what the proxy answers is not HTTP/)
  const CLOSED = 'the proxy closed the connection without an answer'
  it.each<[string, (request: RawRequest) => void, unknown]>([
    ['is another protocol', saying('SSH-2.0-OpenSSH_9.2\r\n'), NO_HTTP],
    ['is another protocol, and no line', saying(Buffer.from([5, 255])), NO_HTTP],
    ['has no status', saying('HTTP/1.1 OK\r\n\r\n'), NO_HTTP],
    ['has an odd status', saying('HTTP/1.1 2000 OK\r\n\r\n'), NO_HTTP],
    ['is HTTP/2', saying('HTTP/2 200\r\n\r\n'), NO_HTTP],
    ['has no end', saying('HTTP/1.1 200 OK\r\n', ...Array<string>(20).fill(`X: ${'x'.repeat(1_000)}\r\n`)), NO_HTTP],
    ['has only what comes before it', saying('HTTP/1.1 100 Continue\r\n\r\n'.repeat(1_000)), NO_HTTP],
    ['is nothing', ({ socket }) => socket.end(), CLOSED],
    ['is a reset', ({ socket }) => socket.resetAndDestroy(), CLOSED],
    ['breaks off', ({ socket }) => socket.end('HTTP/1.1 200 OK\r\nVia'), CLOSED],
  ])('is the failure of the proxy if it %s', async (_what, onRequest, reason) => {
    expect(await outcomeThrough('https', onRequest)).toEqual({
      ...{ kind: 'unreachable', layer: 'proxy', code: expect.any(String), reason },
    })
  })
})

describe('what a proxy answers to a request by URL', () => {
  it.each<[string, (request: RawRequest) => void, object]>([
    ['is the answer', saying(answer(202)), { kind: 'answered', ok: true, status: 202 }],
    ['is the answer, if it is bad', saying(answer(502)), { kind: 'answered', ok: false, status: 502 }],
    [
      'is about us',
      saying(answer(407, '', ['Connection: close'])),
      { layer: 'proxy', code: '407', reason: 'the proxy asks for credentials' },
    ],
    [
      'is nothing',
      ({ socket }) => socket.end(),
      { layer: 'proxy', reason: 'the proxy closed the connection without an answer' },
    ],
    ['is a reset', ({ socket }) => socket.resetAndDestroy(), { layer: 'proxy' }],
  ])('%s', async (_what, onRequest, outcome) => {
    expect(await outcomeThrough('http', onRequest)).toMatchObject(outcome)
  })
})

describe('a proxy that hangs', () => {
  it.each<[string, 'http' | 'https', object]>([
    ['at CONNECT is to blame, for this receiver', 'https', { layer: 'proxy', isOnlyHere: true }],
    ['at a request by URL may wait for the receiver, as only it knows', 'http', { layer: 'answer' }],
  ])('%s', async (_what, scheme, expected) => {
    stopTime()
    const proxy = await startRawReceiver({})
    const httpProxy = `127.0.0.1:${proxy.port}`
    const connection = connectTo({ id: 'e', url: `${scheme}://receiver.test/`, headers: [] }, { httpProxy })
    onTestFinished(() => connection.destroy())
    for (let attempts = 1; attempts <= 3; ++attempts) {
      const outcome = connection.send({ ...REQUEST, timeoutMs: 300 })
      await until(() => proxy.requests.length === attempts)
      vi.advanceTimersByTime(299)
      expect(await isSettled(outcome)).toBe(false)
      vi.advanceTimersByTime(1)
      expect(await outcome).toMatchObject({ kind: 'timed-out', ...expected })
      await until(() => proxy.sockets.size === 0)
      expect(proxy.connections).toBe(attempts)
    }
  })

  it('in its own TLS handshake is to blame', async () => {
    stopTime()
    const proxy = await startRawReceiver({})
    const httpProxy = `https://127.0.0.1:${proxy.port}`
    const connection = connectTo({ id: 'e', url: 'https://receiver.test/', headers: [] }, { httpProxy })
    const outcome = connection.send({ ...REQUEST, timeoutMs: 300 })
    await until(() => proxy.connections === 1)
    vi.advanceTimersByTime(300)
    expect(await outcome).toEqual({
      ...{ kind: 'timed-out', layer: 'proxy', reason: 'no connection to the proxy in time' },
    })
    await until(() => proxy.sockets.size === 0)
  })

  it('is let go of when the plugin is', async () => {
    const proxy = await startRawReceiver({})
    const httpProxy = `127.0.0.1:${proxy.port}`
    const connection = connectTo({ id: 'e', url: 'https://receiver.test/', headers: [] }, { httpProxy })
    const outcome = connection.send(REQUEST)
    await until(() => proxy.requests.length === 1)
    connection.destroy()
    expect(await outcome).toMatchObject({ kind: 'unreachable', reason: 'stopped' })
    await until(() => proxy.sockets.size === 0)
  })
})

describe('an answer to a URL that a proxy was asked for', () => {
  const SQUID = 'Server: squid/5.7\r\nX-Squid-Error: '
  const ITS_VIA = 'Via: 1.1 proxy (squid/5.7)'
  const TINY = 'Server: tinyproxy/1.11.1'
  it.each<[string, number, string, string]>([
    [
      'Squid does not allow it',
      403,
      `${SQUID}ERR_ACCESS_DENIED 0\r\n${ITS_VIA}`,
      'does not allow connections to this receiver',
    ],
    ['Squid knows no such name', 503, `${SQUID}ERR_DNS_FAIL 0\r\n${ITS_VIA}`, 'did not reach the receiver'],
    ['Squid 5 knows no such name', 502, `${SQUID}ERR_READ_ERROR 0\r\n${ITS_VIA}`, 'did not reach the receiver'],
    ['Squid is refused', 503, `${SQUID}ERR_CONNECT_FAIL 111`, 'did not reach the receiver'],
    ['Squid has no way in time', 504, `x-squid-error:ERR_CANNOT_FORWARD 110`, 'did not reach the receiver in time'],
    ['Squid takes no such body', 413, `${SQUID}ERR_TOO_BIG 0`, 'refused to connect'],
    ['tinyproxy does not allow it', 403, TINY, 'does not allow connections to this receiver'],
    ['another is refused', 502, 'Proxy-Status: p; error=connection_refused', 'did not reach the receiver'],
    [
      'another knows no such name',
      504,
      'proxy-status: "a b"; details="x"; error=dns_timeout\r\nVia: 1.1 p',
      'did not reach the receiver in time',
    ],
    [
      'the last of two denies it',
      403,
      'Proxy-Status: a; received-status=200, p; error=http_request_denied',
      'does not allow connections to this receiver',
    ],
    ['tinyproxy is refused', 500, TINY, 'did not reach the receiver'],
  ])("is the proxy's, which says nothing of others: %s", async (_what, status, head, reason) => {
    expect(await outcomeThrough('http', saying(answer(status, 's3cret', [head, 'Connection: close'])))).toEqual({
      ...{ kind: 'unreachable', layer: 'proxy', isOnlyHere: true, code: String(status), reason: `the proxy ${reason}` },
    })
  })

  it("is the proxy's, of credentials: tinyproxy", async () => {
    expect(await outcomeThrough('http', saying(answer(401, '', [TINY, 'Connection: close'])), 'me:s3cret@')).toEqual({
      ...{ kind: 'unreachable', layer: 'proxy', code: '401', reason: 'the proxy does not accept the credentials' },
    })
  })

  it.each<[string, number, string]>([
    ['no name', 503, 'X-A: b'],
    ['it has closed the connection', 502, `${SQUID}ERR_ZERO_SIZE_OBJECT 0\r\n${ITS_VIA}`],
    ['it has reset the connection', 502, `${SQUID}ERR_READ_ERROR 104\r\n${ITS_VIA}`],
    ['it is silent', 504, `${SQUID}ERR_READ_TIMEOUT 0\r\n${ITS_VIA}`],
    ['it is behind a Squid of its own', 503, `${SQUID}ERR_CONNECT_FAIL 111\r\nVia: 1.1 theirs (squid)\r\n${ITS_VIA}`],
    ['it is behind two, in one line', 503, `${SQUID}ERR_CONNECT_FAIL 111\r\nVia: 1.1 theirs, 1.1 proxy`],
    ['it is behind a tinyproxy of its own', 500, `${TINY}\r\n${ITS_VIA}`],
    ['tinyproxy has heard nothing', 503, TINY],
    ['another has heard nothing', 504, 'Proxy-Status: p; error=connection_read_timeout'],
    ['another has heard no HTTP', 502, 'Proxy-Status: p; error=http_protocol_error'],
    ['a proxy of its own has failed', 502, 'Proxy-Status: theirs; error=connection_refused, p; received-status=502'],
    ['so a proxy says', 502, 'Proxy-Status: p; error=http_response_incomplete; received-status=200'],
    ['it is behind one that says so', 502, `Proxy-Status: theirs; error=dns_error\r\nVia: 1.1 theirs\r\nVia: 1.1 p`],
    ['a refusal that has come through Squid', 403, `Server: nginx\r\n${ITS_VIA}`],
    ['it is well', 200, TINY],
  ])("is the receiver's: %s", async (_what, status, head) => {
    expect(await outcomeThrough('http', saying(answer(status, '', [head])))).toMatchObject({ kind: 'answered', status })
  })
})

describe('a proxy of ours', () => {
  it('is asked for one tunnel, with its own credentials, and told nothing else', async () => {
    const proxy = await openConnectProxy({ credentials: 'me:p' })
    const { outcomes, receiver } = await sendThrough(
      { httpProxy: `me:p@127.0.0.1:${proxy.port}` },
      'https',
      undefined,
      3
    )
    expect(outcomes.map(({ kind }) => kind)).toEqual(['answered', 'answered', 'answered'])
    expect([proxy.methods, proxy.targets]).toEqual([['CONNECT'], [`receiver.test:${receiver.port}`]])
    expect(Object.keys(proxy.headers[0]!).sort()).toEqual(['host', 'proxy-authorization'])
  })

  it('is asked for a URL on one connection', async () => {
    const proxy = await openConnectProxy()
    const { receiver } = await sendThrough({ httpProxy: proxy.url }, 'http', undefined, 3)
    expect([proxy.methods, proxy.connections]).toEqual([['POST', 'POST', 'POST'], 1])
    expect(proxy.targets[0]).toBe(`receiver.test:${receiver.port}`)
  })

  it('may be behind TLS, and lead to a receiver behind TLS of its own', async () => {
    const proxy = await openConnectProxy({ tls: { cert: own.cert, key: own.keyPem } })
    trust(own.cert)
    const { outcomes } = await sendThrough({ httpProxy: proxy.url }, 'https', undefined, 2)
    expect(outcomes).toMatchObject([{ status: 201 }, { status: 201 }])
    expect(proxy.methods).toEqual(['CONNECT'])
  })

  it('is asked for an IPv6 address in brackets', async () => {
    const proxy = await openConnectProxy()
    await sendThrough({ httpProxy: proxy.url }, 'https', '[2001:db8::1]')
    expect(proxy.targets[0]).toMatch(/^\[2001:db8::1\]:\d+$/)
  })
})

/** A proxy whose answer to CONNECT comes byte by byte. */
async function dripping(): Promise<{ url: string }> {
  const { url } = await openConnectProxy()
  const { port } = new URL(url)
  const { createServer, connect } = await import('node:net')
  const server = createServer(client => {
    const upstream = connect(Number(port), '127.0.0.1')
    client.pipe(upstream)
    client.on('error', () => upstream.destroy())
    upstream.on('data', (chunk: Buffer) => {
      for (const byte of chunk.length < 60 ? chunk : [chunk]) {
        client.write(typeof byte === 'number' ? Buffer.from([byte]) : byte)
      }
    })
    upstream.on('close', () => client.destroy()).on('error', () => client.destroy())
    client.setNoDelay(true)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => new Promise<void>(resolve => server.close(() => resolve())))
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}` }
}
