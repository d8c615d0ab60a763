import tls from 'node:tls'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import type { Resolver } from '../../src/transport/names.ts'
import type { ProxySettings } from '../../src/transport/proxy.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { makeCertificate } from './certificate.ts'
import { answer, startRawReceiver, unusedPort } from './raw-receiver.ts'
import type { RawReceiver } from './raw-receiver.ts'

/** A proxy of some make. It resolves `receiver.test` to 127.0.0.1, and `unknown.test` to nothing. */
export interface ProxyOfAMake {
  readonly port: number
  /** It takes nobody but `me` with the password. */
  readonly guardedPort: number
  /** @default {@link PASSWORD} */
  readonly password?: string
  /** Its errors do not name it. */
  readonly isAnonymous?: boolean
  /** Credentials that it does not ask for are told to the receiver of plain http. */
  readonly passesCredentialsOn?: boolean
  /** Speaks TLS, with a certificate for 127.0.0.1. Not every make does. */
  readonly secure?: { readonly port: number; readonly ca: string }
}

/** With all that a URL would have encoded. */
export const PASSWORD = 'p@ss:w/rd'

const receiverCertificate = makeCertificate('receiver.test')

const REQUEST = { contentType: 'text/plain', body: Buffer.from('body'), headers: ['X-Own', '1'], timeoutMs: 15_000 }

/** What this machine resolves: the proxy's name alone, and `direct.test`. */
const names: Resolver = {
  resolve(hostname, done) {
    const isKnown = ['proxy.test', 'direct.test', 'localhost'].includes(hostname)
    const error = isKnown ? null : Object.assign(new Error(hostname), { code: 'ENOTFOUND' })
    const timer = setImmediate(() => done(error, isKnown ? ['127.0.0.1'] : []))
    return () => clearImmediate(timer)
  },
  prefer() {},
  isCurrent: () => true,
}

/** Both kinds of receivers, through a proxy. */
export async function sendThrough(
  settings: ProxySettings,
  scheme: 'http' | 'https',
  host = 'receiver.test',
  count = 1
): Promise<{ outcomes: AttemptOutcome[]; receiver: RawReceiver }> {
  const { cert, keyPem } = receiverCertificate
  const receiver = await startRawReceiver({
    ...(scheme === 'https' && { tls: { cert, key: keyPem } }),
    onRequest: ({ socket }) => socket.write(answer(201)),
  })
  const url = `${scheme}://${host}:${receiver.port}/a%20path?q=1`
  const endpoint = { id: 'e', url, headers: ['Authorization', 'own'], tls: { acceptAnyCertificate: false, ca: cert } }
  const connection = connectTo(endpoint, settings, undefined, names)
  onTestFinished(() => connection.destroy())
  const outcomes: AttemptOutcome[] = []
  while (outcomes.length < count) {
    outcomes.push(await connection.send(REQUEST))
  }
  return { outcomes, receiver }
}

/** From now on this authority is known here. */
export function trust(ca: string): void {
  const { connect } = tls
  vi.spyOn(tls, 'connect').mockImplementation(((options: tls.ConnectionOptions) =>
    connect({ ca, ...options })) as typeof tls.connect)
  onTestFinished(() => {
    vi.restoreAllMocks()
  })
}

type Configuration = [what: string, settings: (proxy: ProxyOfAMake) => ProxySettings | Promise<ProxySettings>]

/** Ways to write a proxy that works. */
const WORKING: readonly Configuration[] = [
  ['a URL', ({ port }) => ({ httpProxy: `http://127.0.0.1:${port}` })],
  ['a slash at its end', ({ port }) => ({ httpProxy: `http://127.0.0.1:${port}/` })],
  ['no scheme', ({ port }) => ({ httpProxy: `127.0.0.1:${port}` })],
  ['two slashes alone', ({ port }) => ({ httpProxy: `//127.0.0.1:${port}` })],
  ['upper case, and spaces', ({ port }) => ({ httpProxy: ` HTTP://127.0.0.1:${port} ` })],
  ['a name', ({ port }) => ({ httpProxy: `proxy.test:${port}` })],
  ['a name of this machine', ({ port }) => ({ httpProxy: `localhost:${port}` })],
  [
    'its credentials, encoded',
    ({ guardedPort, password = PASSWORD }) => ({
      httpProxy: `http://me:${encodeURIComponent(password)}@127.0.0.1:${guardedPort}`,
    }),
  ],
  [
    'its credentials, as they are',
    ({ guardedPort, password = PASSWORD }) => ({ httpProxy: `me:${password}@127.0.0.1:${guardedPort}` }),
  ],
  ['credentials that nobody asks for', ({ port }) => ({ httpProxy: `a:100%@proxy.test:${port}` })],
  ['a user that nobody asks for', ({ port }) => ({ httpProxy: `a@proxy.test:${port}` })],
  [
    'exceptions that are others',
    ({ port }) => ({ httpProxy: `127.0.0.1:${port}`, noProxy: '10.0.0.0/8, test.example' }),
  ],
  [
    'one for each scheme',
    ({ port, guardedPort, password = PASSWORD }) => ({
      httpProxy: `127.0.0.1:${port}`,
      httpsProxy: `me:${password}@127.0.0.1:${guardedPort}`,
    }),
  ],
]

const NOT_ACCEPTED = /does not accept the credentials$/

/** And those that do not, and why. */
const FAILING: readonly [...Configuration, reason: RegExp][] = [
  ['no credentials', ({ guardedPort }) => ({ httpProxy: `127.0.0.1:${guardedPort}` }), /asks for credentials$/],
  ['a user alone', ({ guardedPort }) => ({ httpProxy: `me@127.0.0.1:${guardedPort}` }), NOT_ACCEPTED],
  ['another password', ({ guardedPort }) => ({ httpProxy: `me:p@127.0.0.1:${guardedPort}` }), NOT_ACCEPTED],
  [
    'a port of nobody',
    async () => ({ httpProxy: `127.0.0.1:${await unusedPort()}` }),
    /no connection to the proxy; .*refused/,
  ],
  ['a name of nobody', () => ({ httpProxy: 'unknown.test:3128' }), /no connection to the proxy; .*name/],
  // some wait for more
  ['https to a plain port', ({ port }) => ({ httpProxy: `https://127.0.0.1:${port}` }), /no connection to the proxy/],
  ['SOCKS', ({ port }) => ({ httpProxy: `socks5://127.0.0.1:${port}` }), /cannot be used/],
]

/** What holds with any proxy. @param open - in each test */
export function itIsUsed(open: () => Promise<ProxyOfAMake>): void {
  describe.each(['http', 'https'] as const)('for %s', scheme => {
    it.each(WORKING)('with %s', async (_what, settingsOf) => {
      const proxy = await open()
      const { outcomes, receiver } = await sendThrough(await settingsOf(proxy), scheme, undefined, 2)
      expect(outcomes).toMatchObject([{ kind: 'answered', status: 201 }, { status: 201 }])
      const [request] = receiver.requests
      expect(request).toMatchObject({ line: 'POST /a%20path?q=1 HTTP/1.1', body: REQUEST.body })
      const headers = new Map(request!.headers.map(([name, value]) => [name.toLowerCase(), value]))
      if (proxy.passesCredentialsOn !== true) {
        expect([...headers.keys()].filter(name => name.startsWith('proxy-'))).toEqual([])
      }
      expect(headers.get('host')).toBe(`receiver.test:${receiver.port}`)
      expect([headers.get('authorization'), headers.get('x-own')]).toEqual(['own', '1'])
      if (scheme === 'https') {
        expect(receiver.connections).toBe(1)
      }
    })

    it.each(FAILING)('fails with %s', async (_what, settingsOf, reason) => {
      const proxy = await open()
      const { outcomes, receiver } = await sendThrough(await settingsOf(proxy), scheme)
      expect(outcomes).toMatchObject([{ layer: 'proxy', reason: expect.stringMatching(reason) }])
      expect(outcomes).not.toMatchObject([{ isOnlyHere: true }])
      expect(receiver.connections).toBe(0)
    })

    it('over TLS with the proxy, which has to be known', async ({ skip }) => {
      const { secure } = await open()
      if (secure === undefined) {
        skip('this make of proxy cannot do it')
        return
      }
      const settings = { httpProxy: `https://127.0.0.1:${secure.port}` }
      expect((await sendThrough(settings, scheme)).outcomes).toMatchObject([
        { layer: 'proxy', reason: expect.stringMatching(/no connection to the proxy; TLS: the certificate/) },
      ])
      trust(secure.ca)
      expect((await sendThrough(settings, scheme)).outcomes).toMatchObject([{ kind: 'answered', status: 201 }])
    })

    it('not for what is excepted, and not for this machine', async () => {
      const httpProxy = `127.0.0.1:${await unusedPort()}`
      for (const [host, noProxy] of [
        ['direct.test', '.test'],
        ['127.0.0.1', ''],
        ['localhost', undefined],
      ] as const) {
        const { outcomes } = await sendThrough({ httpProxy, noProxy }, scheme, host)
        expect(outcomes).not.toMatchObject([{ layer: 'proxy' }])
      }
    })
  })

  it.each([
    ['https', 'receiver.test'],
    ['https', 'unknown.test'],
    ['http', 'receiver.test'],
    ['http', 'unknown.test'],
  ])('says that for %s it does not reach %s, which says nothing of others', async (scheme, host) => {
    const { port, isAnonymous } = await open()
    if (scheme === 'http' && isAnonymous === true) {
      return // nothing tells its answers from the receiver's
    }
    const tlsOptions = { acceptAnyCertificate: true }
    const url = `${scheme}://${host}:${await unusedPort()}/`
    const connection = connectTo({ id: 'e', url, headers: [], tls: tlsOptions }, { httpProxy: `127.0.0.1:${port}` })
    onTestFinished(() => connection.destroy())
    expect(await connection.send(REQUEST)).toEqual({
      kind: 'unreachable',
      layer: 'proxy',
      isOnlyHere: true,
      code: expect.stringMatching(/^5\d\d$/),
      reason: expect.stringMatching(/^the proxy did not reach the receiver/),
    })
  })
}
