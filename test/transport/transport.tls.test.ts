import dns from 'node:dns'
import type { TLSSocket, TlsOptions } from 'node:tls'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome, TlsSettings } from '../../src/delivery/delivery.ts'
import { describeOutcome } from '../../src/delivery/delivery.ts'
import { connectTo } from '../../src/transport/transport.ts'
import type { ProxySettings } from '../../src/transport/proxy.ts'
import { makeCertificate } from '../helpers/certificate.ts'
import type { Certificate } from '../helpers/certificate.ts'
import { openConnectProxy } from '../helpers/connect-proxy.ts'
import { answer, startRawReceiver } from '../helpers/raw-receiver.ts'
import type { RawReceiver } from '../helpers/raw-receiver.ts'

vi.setConfig({ testTimeout: 60_000 })

const authority = makeCertificate('the authority', { isAuthority: true })
const intermediate = makeCertificate('in between', { issuer: authority, isAuthority: true })
const stranger = makeCertificate('another authority', { isAuthority: true })
const yesterday = new Date(Date.now() - 60_000)
const LOCAL = '127.0.0.1'

function startReceiver({ cert, keyPem }: Certificate, options: TlsOptions = {}): Promise<RawReceiver> {
  return startRawReceiver({
    tls: { cert, key: keyPem, ...options },
    onRequest: ({ socket }) => socket.write(answer(200)),
  })
}

const REQUEST = { contentType: 'text/plain', body: Buffer.from('x'), headers: [], timeoutMs: 600_000 }

/** Every name is this machine. */
function resolveToLoopback(): void {
  const { lookup } = dns
  const toLoopback = (_name: string, ...rest: [dns.LookupAllOptions, () => void]): void => lookup(LOCAL, ...rest)
  vi.spyOn(dns, 'lookup').mockImplementation(toLoopback as typeof lookup)
  onTestFinished(() => {
    vi.restoreAllMocks()
  })
}

async function send(
  origin: string,
  tls: Partial<TlsSettings> = {},
  proxy: ProxySettings = {}
): Promise<AttemptOutcome> {
  const settings = { acceptAnyCertificate: false, ...tls }
  const connection = connectTo({ id: 'e', url: origin, headers: [], tls: settings }, proxy)
  onTestFinished(() => connection.destroy())
  return connection.send(REQUEST)
}

const ACCEPTED = { kind: 'answered', ok: true, status: 200 }

function failing(reason: string): object {
  return { kind: 'unreachable', layer: 'tls', reason: expect.stringContaining(`TLS: ${reason}`) }
}

/** Directly, and through a tunnel, where undici takes its options from elsewhere. */
describe.each(['directly', 'through a proxy'])('%s', how => {
  /** Of the receivers: this machine, or an address that only the proxy knows (RFC 5737). */
  const HOST = how === 'directly' ? LOCAL : '192.0.2.1'

  async function proxyIfAny(): Promise<ProxySettings> {
    return how === 'directly' ? {} : { httpProxy: (await openConnectProxy()).url }
  }

  function originOf({ port }: RawReceiver): string {
    return `https://${HOST}:${port}`
  }

  async function outcomeOf(server: Certificate, tls?: Partial<TlsSettings>, options?: TlsOptions) {
    const receiver = await startReceiver(server, options)
    const outcome = await send(originOf(receiver), tls, await proxyIfAny())
    expect(receiver.requests).toHaveLength(outcome.kind === 'answered' && outcome.ok ? 1 : 0)
    return outcome
  }

  const good = makeCertificate(HOST, { issuer: authority })
  const selfSigned = makeCertificate(HOST)
  const NOT_KNOWN = 'the certificate comes from an authority that is not known here'

  it.each<[string, Certificate, string]>([
    ['self-signed', selfSigned, 'the certificate is self-signed'],
    ['of an unknown authority', good, NOT_KNOWN],
  ])('a certificate that is %s is refused, unless any is accepted', async (_what, server, reason) => {
    expect(await outcomeOf(server)).toMatchObject(failing(reason))
    expect(await outcomeOf(server, { acceptAnyCertificate: true })).toMatchObject(ACCEPTED)
  })

  it.each<[string, Certificate, string]>([
    ['has expired', makeCertificate(HOST, { issuer: authority, expiresAt: yesterday }), 'the certificate has expired'],
    [
      'is for another address',
      makeCertificate('127.0.0.2', { issuer: authority }),
      'the certificate is for another name',
    ],
    ['is for a name', makeCertificate('a.example', { issuer: authority }), 'the certificate is for another name'],
    ['is of another authority', makeCertificate(HOST, { issuer: stranger }), NOT_KNOWN],
  ])(
    'a certificate that %s is refused though its authority is trusted, unless any is accepted',
    async (_what, server, reason) => {
      expect(await outcomeOf(server, { ca: authority.cert })).toMatchObject(failing(reason))
      expect(await outcomeOf(server, { ca: authority.cert, acceptAnyCertificate: true })).toMatchObject(ACCEPTED)
    }
  )

  it.each<[string, Certificate, string]>([
    ['the authority', good, authority.cert],
    ['one of several authorities', good, stranger.cert + authority.cert],
    ['the certificate itself, self-signed', selfSigned, selfSigned.cert],
    ['the certificate itself, though an authority has signed it', good, good.cert],
    ['an authority in between', makeCertificate(HOST, { issuer: intermediate }), intermediate.cert],
  ])('a certificate is accepted if what is trusted is %s', async (_what, server, ca) => {
    expect(await outcomeOf(server, { ca })).toMatchObject(ACCEPTED)
  })

  const mutual = { requestCert: true, ca: authority.cert }
  const clientOf = ({ cert, keyPem }: Certificate): TlsSettings['client'] => ({ certificate: cert, key: keyPem })
  const own = makeCertificate('me', { issuer: authority })

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('a receiver that asks for a certificate gets it, in %s', async version => {
    const options = { ...mutual, minVersion: version, maxVersion: version }
    const ca = authority.cert
    expect(await outcomeOf(good, { ca, client: clientOf(own)! }, options)).toMatchObject(ACCEPTED)

    const without = await outcomeOf(good, { ca }, options)
    const another = await outcomeOf(
      good,
      { ca, client: clientOf(makeCertificate('me', { issuer: stranger }))! },
      options
    )
    for (const outcome of [without, another]) {
      expect(outcome).toEqual({
        kind: 'unreachable',
        layer: expect.stringMatching(/^(tls|answer)$/),
        code: expect.any(String),
        reason: expect.stringMatching(/client certificate/),
      })
    }
  })

  it('a client certificate may come with those in between', async () => {
    const { cert, keyPem } = makeCertificate('me', { issuer: intermediate })
    const client = { certificate: cert + intermediate.cert, key: keyPem }
    expect(await outcomeOf(good, { ca: authority.cert, client }, mutual)).toMatchObject(ACCEPTED)
  })

  it.each([
    ['a.example', 'a.example'],
    ['a.example.', 'a.example'],
    ['localhost', 'localhost'],
    [HOST, false],
  ])('of the host %s it says the name, and checks it', async (host, servername) => {
    resolveToLoopback()
    const receiver = await startReceiver(makeCertificate(host.replace(/\.$/, ''), { issuer: authority }))
    const url = `https://${host}:${receiver.port}`
    expect(await send(url, { ca: authority.cert }, await proxyIfAny())).toMatchObject(ACCEPTED)
    expect((receiver.requests[0]!.socket as TLSSocket).servername).toBe(servername)

    const other = await startReceiver(makeCertificate('b.example', { issuer: authority }))
    expect(await send(`https://${host}:${other.port}`, { ca: authority.cert }, await proxyIfAny())).toMatchObject(
      failing('the certificate is for another name')
    )
  })

  it('it speaks no HTTP/2', async () => {
    const receiver = await startReceiver(good, { ALPNProtocols: ['h2', 'http/1.1'] })
    expect(await send(originOf(receiver), { ca: authority.cert }, await proxyIfAny())).toMatchObject(ACCEPTED)
    expect((receiver.requests[0]!.socket as TLSSocket).alpnProtocol).toBe('http/1.1')
  })

  it('a kept session of one endpoint opens nothing for another', async () => {
    const receiver = await startReceiver(selfSigned)
    const proxy = await proxyIfAny()
    for (let i = 0; i < 3; ++i) {
      expect(await send(originOf(receiver), { acceptAnyCertificate: true }, proxy)).toMatchObject(ACCEPTED)
      expect(await send(originOf(receiver), {}, proxy)).toMatchObject(failing('the certificate is self-signed'))
    }
  })
})

describe('the proxy', () => {
  it('has a certificate of its own, which the settings of an endpoint are not about', async () => {
    const self = makeCertificate(LOCAL)
    const seen = await startRawReceiver({ tls: { cert: self.cert, key: self.keyPem } })
    const httpProxy = seen.origin
    const outcome = await send('https://receiver.test:9/', { acceptAnyCertificate: true, ca: self.cert }, { httpProxy })
    expect(outcome).toMatchObject({
      layer: 'proxy',
      reason: expect.stringMatching(/^no connection to the proxy; TLS: the certificate is self-signed/),
    })
    expect(seen.requests).toHaveLength(0)
  })
})

/** The handshake of a receiver that says no more than this alert (RFC 8446 §6), on any version of Node and OpenSSL. */
describe('a refused handshake', () => {
  it.each([
    [40, 'the receiver refused; it may ask for a client certificate'],
    [42, 'the receiver does not accept the client certificate'],
    [43, 'the receiver does not accept client certificates of this kind'],
    [44, 'the client certificate has been revoked'],
    [45, 'the client certificate has expired'],
    [46, 'the receiver does not accept the client certificate'],
    [48, 'the receiver does not know the authority of the client certificate'],
    [49, 'the receiver does not let the client certificate in'],
    [70, 'the receiver speaks no version of it that is spoken here (1.2 and 1.3)'],
    [71, 'the receiver asks for stronger encryption'],
    [112, 'the receiver does not know the host name: is it the right one, or is a header `Host` missing?'],
    [116, 'the receiver asks for a client certificate: give the hook one'],
    [51, 'the receiver cannot check the client certificate: does its key belong to it?'],
    [120, 'the receiver does not speak HTTP/1.1'],
    [80, 'the two sides did not come to terms; is this an https URL?'],
  ])('with alert %d says why', async (alert, reason) => {
    const receiver = await startRawReceiver({
      onConnection: socket => socket.once('data', () => socket.end(Buffer.from([21, 3, 3, 0, 2, 2, alert]))),
    })
    expect(await send(receiver.origin.replace('http:', 'https:'))).toEqual({
      kind: 'unreachable',
      layer: 'tls',
      code: expect.stringMatching(/^ERR_SSL_/),
      reason: `TLS: ${reason}`,
    })
  })
})

describe('a connection that is closed without an answer', () => {
  it.each([true, false])('may be one that a receiver refuses, if a certificate is shown: %s', async isShown => {
    const { cert, keyPem } = makeCertificate(LOCAL)
    const answers = ['', answer(200), '', '', answer(500), '']
    const receiver = await startRawReceiver({
      tls: { cert, key: keyPem },
      onRequest: ({ socket }) => socket.end(answers[receiver.requests.length - 1] ?? ''),
    })
    const client = { certificate: cert, key: keyPem }
    const tls = { acceptAnyCertificate: true, ...(isShown && { client }) }
    const connection = connectTo({ id: 'e', url: receiver.origin, headers: [], tls }, {})
    onTestFinished(() => connection.destroy())
    const told: string[] = []
    while (told.length < answers.length) {
      told.push(describeOutcome(await connection.send(REQUEST)))
    }
    const closed = 'the connection was closed before an answer'
    const hint = isShown ? ' (the receiver may not accept the client certificate)' : ''
    expect(told.map(text => text.replace(/ \([A-Z_]+\)$/, ''))).toEqual([
      closed + hint,
      'answered 200',
      closed,
      closed + hint,
      'answered 500',
      closed,
    ])
  })
})
