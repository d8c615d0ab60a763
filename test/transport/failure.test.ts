import type { TlsOptions } from 'node:tls'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { Endpoint, TlsSettings } from '../../src/delivery/delivery.ts'
import { describeOutcome } from '../../src/delivery/delivery.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { unreachable } from '../../src/transport/failure.ts'
import { makeCertificate } from '../helpers/certificate.ts'
import type { Certificate } from '../helpers/certificate.ts'
import { answer, startRawReceiver } from '../helpers/raw-receiver.ts'

vi.setConfig({ testTimeout: 60_000 })

const LOCAL = '127.0.0.1'
const REQUEST = { contentType: 'text/plain', body: Buffer.from('x'), headers: [], timeoutMs: 600_000 }
const HOUR = 60 * 60_000

const authority = makeCertificate('the authority', { isAuthority: true })
const stranger = makeCertificate('another authority', { isAuthority: true })
const weak = makeCertificate('a weak authority', { isAuthority: true, rsaBits: 768 })
const good = makeCertificate(LOCAL, { issuer: authority })
const noAuthority = makeCertificate('no authority', { issuer: authority })
const signed = (options: Parameters<typeof makeCertificate>[1], name = LOCAL): Certificate =>
  makeCertificate(name, { issuer: authority, ...options })

interface Case {
  /** @default a good one */
  readonly server?: Certificate
  /** Sent with it. */
  readonly chain?: Certificate
  readonly options?: TlsOptions
  readonly tls?: Partial<TlsSettings>
  readonly endpoint?: Partial<Endpoint>
  readonly reason: RegExp
}

const clientOf = ({ cert, keyPem }: Certificate): TlsSettings['client'] => ({ certificate: cert, key: keyPem })
const asking = { requestCert: true, ca: authority.cert }
const lax = { ciphers: 'ALL:@SECLEVEL=0' }
const [TLS_1_2, TLS_1_3] = [{ maxVersion: 'TLSv1.2' }, { minVersion: 'TLSv1.3' }] as const

const TOO_WEAK = /too weak.* the receiver needs a new one$/
const NOT_KNOWN = /an authority that is not known here: put the authority's into the hook's `ca`/

const CASES: Readonly<Record<string, Case>> = {
  'a certificate that has expired': {
    server: signed({ expiresAt: new Date(Date.now() - HOUR) }),
    reason: /^TLS: the certificate has expired: the receiver needs a new one$/,
  },
  'a certificate that is not valid yet': {
    server: signed({ beginsAt: new Date(Date.now() + HOUR) }),
    reason: /not valid yet: is the clock of this machine right\?$/,
  },
  'a certificate for another name': {
    server: signed({}, 'a.example'),
    reason: /for another name \(a\.example\): is the host of the URL, or the header `Host`, right\?$/,
  },
  'a certificate for other names and addresses': {
    server: signed({ otherNames: ['10.0.0.1', '*.b.example', 'c.example', 'd.example'] }, 'a.example'),
    reason: /for another name \(a\.example, 10\.0\.0\.1, \*\.b\.example, …\): /,
  },
  'a certificate for names that are none': {
    server: signed({ otherNames: ['<b>x</b>', '\x1b[31m', 'x'.repeat(101)] }, 'a b'),
    reason: /for another name: /,
  },
  'a certificate that has the address as a name': {
    server: signed({ otherNames: [`DNS:${LOCAL}`] }, 'a.example'),
    reason:
      /^TLS: the certificate has the address 127\.0\.0\.1 as a name, .* with `subjectAltName = IP:127\.0\.0\.1`, /,
  },
  'a certificate that has the address as its subject': {
    server: signed({ hasSubjectOnly: true }),
    reason:
      /^TLS: the certificate has the address 127\.0\.0\.1 as a name, .* with `subjectAltName = IP:127\.0\.0\.1`, /,
  },
  'a certificate for another subject': {
    server: signed({ hasSubjectOnly: true }, 'a.example'),
    reason: /for another name: is the host/,
  },
  'a certificate for another name than `Host` says': {
    endpoint: { host: 'hooks.example:8443' },
    reason: /for another name \(127\.0\.0\.1\): /,
  },
  'a self-signed certificate': {
    server: makeCertificate(LOCAL),
    reason: /self-signed: put it into the hook's `ca` \(Trusted certificates\)$/,
  },
  'a self-signed certificate, and nothing trusted': {
    server: makeCertificate(LOCAL),
    tls: { ca: undefined as never },
    reason: /self-signed: put it into the hook's `ca`/,
  },
  'a certificate of another authority': { server: makeCertificate(LOCAL, { issuer: stranger }), reason: NOT_KNOWN },
  'a certificate of another authority, which comes with it': {
    server: makeCertificate(LOCAL, { issuer: stranger }),
    chain: stranger,
    reason: NOT_KNOWN,
  },
  'a certificate with a short key': { server: signed({ rsaBits: 768 }), options: lax, reason: TOO_WEAK },
  'a certificate with a weak digest': { server: signed({ digest: 'sha1' }), options: lax, reason: TOO_WEAK },
  'a certificate of an authority with a short key': {
    server: makeCertificate(LOCAL, { issuer: weak }),
    options: lax,
    tls: { ca: weak.cert },
    reason: TOO_WEAK,
  },
  'a certificate for clients': {
    server: signed({ isForClients: true }),
    reason: /not one of a server: the receiver needs another one$/,
  },
  'a certificate of one that is no authority': {
    server: makeCertificate(LOCAL, { issuer: noAuthority }),
    chain: noAuthority,
    reason: /not an authority|not one of a server/,
  },
  'a certificate with a wrong signature': {
    server: signed({ isForged: true }),
    reason: /not signed by the one that should have signed it$/,
  },
  'no client certificate, in TLS 1.2': { options: { ...asking, ...TLS_1_2 }, reason: /ask for a client certificate/ },
  'no client certificate, in TLS 1.3': {
    options: { ...asking, ...TLS_1_3 },
    reason: /^TLS: the receiver asks for a client certificate: give the hook one$/,
  },
  "another authority's client certificate, refused without a word": {
    options: { ...asking, ...TLS_1_3 },
    tls: { client: clientOf(makeCertificate('me', { issuer: stranger }))! },
    reason: /^the connection was closed before an answer \(the receiver may not accept the client certificate\)$/,
  },
  'a client certificate that is too weak to be used': {
    tls: { client: clientOf(signed({ rsaBits: 512 }))! },
    reason: /^TLS: the hook's client certificate is too weak to be used/,
  },
  'an old version alone': {
    options: { ...lax, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' },
    reason: /no version of it that is spoken here \(1\.2 and 1\.3\)$/,
  },
  'no encryption': {
    options: { ...TLS_1_2, ciphers: 'NULL-SHA256:@SECLEVEL=0' },
    reason: /^TLS: the receiver refused/,
  },
  'HTTP/2 alone': { options: { ALPNProtocols: ['h2'] }, reason: /^TLS: the receiver does not speak HTTP\/1\.1$/ },
}

describe('TLS fails, and says why and what to do', () => {
  it.each(Object.entries(CASES))('with %s', async (_what, { server = good, chain, options, tls, endpoint, reason }) => {
    const receiver = await startRawReceiver({
      tls: { cert: server.cert + (chain?.cert ?? ''), key: server.keyPem, ...options },
      onRequest: ({ socket }) => socket.write(answer(200)),
    })
    const settings = { acceptAnyCertificate: false, ca: authority.cert, ...tls }
    const connection = connectTo({ id: 'e', url: receiver.origin, headers: [], tls: settings, ...endpoint }, {})
    onTestFinished(() => connection.destroy())
    const outcome = await connection.send(REQUEST)
    expect(outcome).toEqual({
      kind: 'unreachable',
      layer: describeOutcome(outcome).startsWith('TLS: ') ? 'tls' : 'answer',
      code: expect.any(String),
      reason: expect.stringMatching(reason),
    })
    expect(receiver.requests).toHaveLength(0)
  })

  it.each<[string, string | undefined]>([
    ['speaks HTTP', answer(400)],
    ['speaks SSH', 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['speaks SMTP', '220 mail ESMTP\r\n'],
    ['hangs up', ''],
    ['is reset', undefined],
  ])('at a port that %s', async (_what, said) => {
    const receiver = await startRawReceiver({
      onConnection: socket =>
        socket.once('data', () => (said === undefined ? socket.resetAndDestroy() : socket.end(said))),
    })
    const connection = connectTo({ id: 'e', url: receiver.origin.replace('http:', 'https:'), headers: [] }, {})
    onTestFinished(() => connection.destroy())
    expect(await connection.send(REQUEST)).toEqual({
      kind: 'unreachable',
      layer: 'tls',
      code: expect.any(String),
      reason: expect.stringMatching(/^TLS: .*\bspeak it on this port/),
    })
  })
})

describe('a host name for an address', () => {
  it.each(['hooks.example', 'hooks.example:8443'])('%s is sent, asked for, and checked', async host => {
    const server = signed({}, 'hooks.example')
    const names: (string | undefined)[] = []
    const receiver = await startRawReceiver({
      tls: {
        cert: server.cert,
        key: server.keyPem,
        SNICallback: (name, done) => {
          names.push(name)
          done(null)
        },
      },
      onRequest: ({ socket }) => socket.write(answer(200)),
    })
    const tls = { acceptAnyCertificate: false, ca: authority.cert }
    const connection = connectTo({ id: 'e', url: receiver.origin, headers: [], host, tls }, {})
    onTestFinished(() => connection.destroy())
    expect(await connection.send(REQUEST)).toMatchObject({ kind: 'answered', ok: true })
    expect(await connection.send(REQUEST)).toMatchObject({ kind: 'answered', ok: true })
    expect(names).toEqual(['hooks.example'])
    for (const { headers } of receiver.requests) {
      expect(headers.filter(([name]) => name.toLowerCase() === 'host').map(([, value]) => value)).toEqual([host])
    }
    expect(receiver.connections).toBe(1)
  })

  it('is sent without TLS, too, and a content type instead of the usual', async () => {
    const receiver = await startRawReceiver({ onRequest: ({ socket }) => socket.write(answer(200)) })
    const contentType = 'application/json; charset=utf-8'
    const endpoint = { id: 'e', url: receiver.origin, headers: ['X-A', 'b'], host: 'hooks.example', contentType }
    const connection = connectTo(endpoint, {})
    onTestFinished(() => connection.destroy())
    await connection.send(REQUEST)
    const headers = receiver.requests[0]!.headers.map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    expect(headers.filter(each => /^(host|content-type|x-a):/.test(each)).sort()).toEqual([
      `content-type: ${contentType}`,
      'host: hooks.example',
      'x-a: b',
    ])
  })
})

describe('a failure', () => {
  it.each([
    ['ENOTFOUND', undefined, 'name'],
    ['EAI_AGAIN', 'name', 'name'],
    ['EAI_FAIL', 'name', 'name'],
    ['ECONNREFUSED', 'connection', 'connection'],
    ['ETIMEDOUT', 'connection', 'connection'],
    ['EHOSTUNREACH', 'connection', 'connection'],
    ['ENETUNREACH', 'connection', 'connection'],
    ['EMFILE', 'connection', 'connection'],
    ['EWHATEVER', 'connection', 'connection'],
    ['ECONNRESET', 'connection', 'connection'],
    ['ECONNRESET', 'tls', 'tls'],
    ['EWHATEVER', 'tls', 'tls'],
    ['ERR_SSL_WHATEVER', undefined, 'tls'],
    ['CERT_REVOKED', 'tls', 'tls'],
    ['ECONNRESET', undefined, 'answer'],
    ['EPIPE', undefined, 'answer'],
    ['UND_ERR_SOCKET', undefined, 'answer'],
    ['HPE_WHATEVER', undefined, 'http'],
    ['EWHATEVER', undefined, undefined],
  ] as const)('of %s, in the phase %s, is of the layer %s', (code, phase, layer) => {
    const error = Object.assign(new Error('https://me:sEcReT@hooks.example/sEcReT'), { code })
    const outcome = unreachable(error, phase)
    expect(outcome.layer).toBe(layer)
    expect(JSON.stringify(outcome)).not.toContain('sEcReT')
    expect(outcome.reason).not.toBe('')
  })
})
