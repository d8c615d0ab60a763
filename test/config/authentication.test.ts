import { describe, expect, it } from 'vitest'

import { configSchema } from '../../src/config/form.ts'
import type { Endpoint } from '../../src/delivery/delivery.ts'
import { describeProblem } from '../../src/problem.ts'
import type { Problem } from '../../src/problem.ts'
import { makeCertificate } from '../helpers/certificate.ts'
import { readConfig } from '../helpers/read-config.ts'

type Fields = Record<string, unknown>

function itemOf(fields: Fields): Fields {
  return { method: 'vm.start', type: 'post', url: 'https://hooks.example.org/x', format: 'json', ...fields }
}

function endpointOf(fields: Fields): Endpoint {
  const { settings, problems } = readConfig({ hooks: [itemOf(fields)] })
  expect(problems).toEqual([])
  return settings.hooks[0]!.route.endpoint
}

function headersOf(authentication: Fields): readonly string[] {
  return endpointOf({ authentication }).headers
}

/** The one problem, which tells nothing secret, and leaves the other hook alone. */
function problemOf(fields: Fields): Problem {
  const { settings, problems } = readConfig({ hooks: [itemOf(fields), itemOf({ name: 'fine' })] })
  expect(settings.hooks.map(({ name }) => name)).toEqual(['fine'])
  expect(problems).toHaveLength(1)
  expect(JSON.stringify(problems) + describeProblem(problems[0]!)).not.toContain('sEcReT')
  return problems[0]!
}

function basic(credentials: string): string[] {
  return ['Authorization', `Basic ${Buffer.from(credentials).toString('base64')}`]
}

describe('authorization', () => {
  it.each([
    ['nothing', {}, []],
    ['empty fields', { authorization: null, token: null, user: '', password: '', passphrase: null, headers: '' }, []],
    ['none', { authorization: 'none' }, []],
    ['none, whatever else is filled in', { authorization: 'none', token: 'x', password: 'y' }, []],
    ['bearer', { authorization: 'bearer', token: ' abc.DEF-123_/+== ' }, ['Authorization', 'Bearer abc.DEF-123_/+==']],
    [
      'bearer, encoded as VirtFusion does',
      { authorization: 'bearer-base64', token: 'a sécret' },
      ['Authorization', `Bearer ${Buffer.from('a sécret').toString('base64')}`],
    ],
    ['basic', { authorization: 'basic', user: 'me', password: ' p:ä ' }, basic('me: p:ä ')],
    ['basic without a password', { authorization: 'basic', user: 'me' }, basic('me:')],
    ['basic without a user', { authorization: 'basic', password: 'key' }, basic(':key')],
  ])('of %s', (_what, authentication, headers) => {
    expect(headersOf(authentication)).toEqual(headers)
  })

  it.each<[string, Fields, string, string, string]>([
    ['a token and nothing chosen', { token: 'sEcReT' }, 'authorization', '"bearer"', 'nothing, and a token'],
    ['a password and nothing chosen', { password: 'sEcReT' }, 'authorization', '"basic"', 'nothing, and a password'],
    ['another kind', { authorization: 'sEcReT' }, 'authorization', 'one of "none", "bearer"', 'another'],
    ['bearer without a token', { authorization: 'bearer', token: '  ' }, 'token', 'a token', 'nothing'],
    ['an encoded one without a token', { authorization: 'bearer-base64' }, 'token', 'a token', 'nothing'],
    ['a token with a space', { authorization: 'bearer', token: 'sEcReT x' }, 'token', 'printable ASCII', 'others'],
    ['a token of two lines', { authorization: 'bearer', token: 'sEcReT\r\nX-A: b' }, 'token', 'printable', 'others'],
    ['a token with an umlaut', { authorization: 'bearer', token: 'sEcReTä' }, 'token', 'printable', 'others'],
    ['basic without anything', { authorization: 'basic' }, 'user', 'a user', 'nothing'],
    ['a user with a colon', { authorization: 'basic', user: 'sEcReT:x' }, 'user', 'without a colon', 'with a colon'],
    ['a bad signing secret', { passphrase: 'a whsec_sEcReT$' }, 'passphrase', 'Base64', 'secret 2'],
    ['a public key', { passphrase: 'whpk_sEcReT' }, 'passphrase', 'a private key', 'secret 1'],
    ['a token that is no text', { token: 7 }, 'token', 'type string', 'type number'],
  ])('with %s is refused', (_what, authentication, field, expected, got) => {
    expect(problemOf({ authentication })).toMatchObject({
      path: `hooks[0].authentication.${field}`,
      expected: expect.stringContaining(expected),
      got: expect.stringContaining(got),
    })
  })
})

describe('signing secrets', () => {
  it.each([
    ['one', 'one'],
    [' new  old\n older\t', 'new old older'],
    ['', undefined],
    [' \n', undefined],
    [null, undefined],
  ])('%j are kept as the text %j', (passphrase, secrets) => {
    expect(endpointOf({ authentication: { passphrase } }).secrets).toBe(secrets)
  })
})

describe('user and password in a URL', () => {
  it.each([
    ['me:p%40ss', 'me:p@ss'],
    ['me:', 'me:'],
    ['me', 'me:'],
    [':pass', ':pass'],
    ['m%C3%A9:%E2%82%AC', 'mé:€'],
    ['me:%zz', 'me:%zz'],
    ['%ff:100%', '%ff:100%'],
    ['a%3Ab:c', 'a:b:c'],
  ])('%s become a header, and leave the URL', (userInfo, credentials) => {
    const { headers, url } = endpointOf({ url: `https://${userInfo}@hooks.example.org/x?y` })
    expect(headers).toEqual(basic(credentials))
    expect(url).toBe('https://hooks.example.org/x?y')
  })

  it('go with other headers, a signing secret, and no authorization', () => {
    const authentication = { authorization: 'none', headers: 'X-Key: authorization', passphrase: 'x' }
    const { headers, secrets } = endpointOf({ url: 'https://me:x@hooks.example.org/', authentication })
    expect(headers).toEqual([...basic('me:x'), 'X-Key', 'authorization'])
    expect(secrets).toBe('x')
  })

  it.each([{ authorization: 'bearer', token: 'x' }, { headers: 'authorization: x' }])(
    'are refused besides another authorization: %j',
    authentication => {
      expect(problemOf({ url: 'https://me:sEcReT@hooks.example.org/sEcReT', authentication })).toMatchObject({
        path: 'hooks[0].url',
        expected: expect.stringContaining('no user and password'),
      })
    }
  )
})

describe('headers', () => {
  it('are lines of a name and a value', () => {
    const headers = ' X-Api-Key :  a: b "c" \r\n\n\tX-Empty:\n  \nUser-Agent: me\rAccept: */*\nAuthorization: Custom x'
    expect(headersOf({ headers })).toEqual([
      ...['X-Api-Key', 'a: b "c"', 'X-Empty', '', 'User-Agent', 'me', 'Accept', '*/*', 'Authorization', 'Custom x'],
    ])
  })

  it.each([
    'CONTENT-LENGTH',
    'Content-Encoding',
    'Accept-Encoding',
    'Transfer-Encoding',
    'Connection',
    'Keep-Alive',
    'Proxy-Authorization',
    'Proxy-Authenticate',
    'Proxy-Connection',
    'TE',
    'Trailer',
    'Upgrade',
    'Expect',
    'X-XO-Signature',
    'x-xo-anything',
    'webhook-id',
    'Webhook-Signature',
  ])('like %s are refused', name => {
    expect(problemOf({ authentication: { headers: `X-Fine: 1\n${name}: sEcReT` } })).toMatchObject({
      path: 'hooks[0].authentication.headers',
      expected: expect.stringContaining('not set by the plugin'),
      got: `"${name}" in line 2`,
    })
  })

  it.each([
    ['no colon', 'sEcReT', 'something else in line 1'],
    ['no name', ': sEcReT', 'something else in line 1'],
    ['a space in a name', 'sEcReT x: y', 'something else in line 1'],
    ['an umlaut in a name', 'sEcReTä: y', 'something else in line 1'],
    ['a NUL in a name', 'sEcReT\0: y', 'something else in line 1'],
    ['a continued line', 'X-A: b\n sEcReT', 'something else in line 2'],
    ['a lone CR that brings another', 'X-A: sEcReT\rUpgrade: x', '"Upgrade" in line 2'],
    ['CR LF that brings another', 'X-A: sEcReT\r\nTransfer-Encoding: chunked', '"Transfer-Encoding" in line 2'],
    ['a value with NUL', 'X-A: sEcReT\0x', 'others in the value of "X-A" in line 1'],
    ['a value with ESC', 'X-A: sEcReT\x1b[0m', 'others in the value'],
    ['a value with DEL', 'X-A: sEcReT\x7fx', 'others in the value'],
    ['a value with NEL', 'X-A: sEcReT\x85Host: x', 'others in the value'],
    ['a value with a line separator', 'X-A: sEcReT\u2028Host: x', 'others in the value'],
    ['a value whose code units hide CR LF', 'X-A: sEcReT\u010d\u010aHost: x', 'others in the value'],
    ['a value with an umlaut', 'X-A: sEcReTä', 'others in the value'],
    ['one twice', 'X-A: sEcReT\nx-a: sEcReT', '"x-a" in line 2 again'],
  ])('with %s are refused', (_what, headers, got) => {
    const problem = problemOf({ authentication: { headers } })
    expect(problem.path).toBe('hooks[0].authentication.headers')
    expect(problem.got).toContain(got)
  })

  it('say for whom requests are, and what they hold, for each endpoint', () => {
    const plain = endpointOf({})
    const whole = endpointOf({
      authentication: { headers: 'host: hooks.example:8443\nX-A: b\nContent-type: a/b; c=d' },
    })
    expect(whole).toMatchObject({ headers: ['X-A', 'b'], host: 'hooks.example:8443', contentType: 'a/b; c=d' })
    expect(plain).not.toHaveProperty('host')
    expect(plain).not.toHaveProperty('contentType')
    const ids = ['', 'Host: a', 'Host: b', 'Content-Type: a/b'].map(
      headers => endpointOf({ authentication: { headers } }).id
    )
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids[0]).toBe(plain.id)
  })

  it.each([
    ['Host: ', 'a host name'],
    ['Host: https://sEcReT/', 'a host name'],
    ['Host: sEcReT/x', 'a host name'],
    ['Host: me@sEcReT', 'a host name'],
    ['Host: sEcReT:port', 'a host name'],
    ['Host: sEcReT x', 'a host name'],
    ['Content-Type: ', 'a type like'],
    ['Content-Type: sEcReT', 'a type like'],
    ['Content-Type: charset=sEcReT', 'a type like'],
  ])('with %j are refused', (headers, expected) => {
    const problem = problemOf({ authentication: { headers } })
    expect(problem.expected).toContain(expected)
    expect(problem.got).toMatch(/^another value of "(Host|Content-Type)" in line 1$/)
  })

  it('hold no authorization besides the one that is chosen', () => {
    const authentication = { authorization: 'bearer', token: 'sEcReT', headers: 'AUTHORIZATION: sEcReT' }
    expect(problemOf({ authentication })).toMatchObject({ expected: expect.stringContaining('besides the field') })
  })
})

describe('tls', () => {
  const authority = makeCertificate('authority', { isAuthority: true })
  const client = makeCertificate('client', { issuer: authority })
  const other = makeCertificate('other')

  it('is as usual without anything in it', () => {
    for (const tls of [null, {}, { acceptAnyCertificate: false, ca: '', certificate: null, encryptionKey: ' \n' }]) {
      expect(endpointOf({ tls }).tls).toBeUndefined()
    }
  })

  it('takes certificates to trust', () => {
    const ca = `# mine\r\n${authority.cert.replaceAll('\n', '\r\n')}\n\nand another\n${other.cert}`
    expect(endpointOf({ tls: { ca } }).tls).toEqual({ acceptAnyCertificate: false, ca: ca.trim() })
  })

  it('takes a client certificate with those that vouch for it, and its key', () => {
    const certificate = client.cert + authority.cert
    const tls = { certificate, encryptionKey: client.keyPem, acceptAnyCertificate: true }
    expect(endpointOf({ tls }).tls).toEqual({
      acceptAnyCertificate: true,
      client: { certificate: certificate.trim(), key: client.keyPem.trim() },
    })
  })

  const encrypted = client.key
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sEcReT' })
    .toString()
  it.each<[string, Fields, string, string]>([
    ['no PEM', { ca: 'sEcReT' }, 'ca', 'something else'],
    ['no certificate', { ca: authority.cert.replace(/MII./, 'sEcReT') }, 'ca', 'something else'],
    ['one in one line', { ca: authority.cert.replaceAll('\n', '') }, 'ca', 'something else'],
    ['a key among certificates', { ca: authority.cert + authority.keyPem }, 'ca', 'something else'],
    ['a certificate alone', { certificate: client.cert }, 'encryptionKey', 'nothing, and a certificate'],
    ['a key alone', { encryptionKey: client.keyPem }, 'certificate', 'nothing, and a private key'],
    ['no certificate', { certificate: 'sEcReT', encryptionKey: client.keyPem }, 'certificate', 'something else'],
    ['no key', { certificate: client.cert, encryptionKey: 'sEcReT' }, 'encryptionKey', 'something else'],
    ["another's key", { certificate: client.cert, encryptionKey: other.keyPem }, 'encryptionKey', 'of another one'],
    ['an encrypted key', { certificate: client.cert, encryptionKey: encrypted }, 'encryptionKey', 'something else'],
    [
      'a key of another in order',
      { certificate: authority.cert + client.cert, encryptionKey: client.keyPem },
      'encryptionKey',
      'of another one',
    ],
    ['a text for a choice', { acceptAnyCertificate: 'sEcReT' }, 'acceptAnyCertificate', 'type string'],
  ])('with %s is refused', (_what, tls, field, got) => {
    expect(problemOf({ tls })).toMatchObject({ path: `hooks[0].tls.${field}`, got: expect.stringContaining(got) })
  })
})

describe("an endpoint's id", () => {
  const certificate = makeCertificate('x')
  const VARIANTS: readonly Fields[] = [
    {},
    { url: 'https://me:pass@hooks.example.org/x' },
    { url: 'https://me:other@hooks.example.org/x' },
    { authentication: { authorization: 'bearer', token: 'a' } },
    { authentication: { authorization: 'bearer', token: 'b' } },
    { authentication: { authorization: 'bearer-base64', token: 'b' } },
    { authentication: { authorization: 'basic', user: 'a', password: 'b' } },
    { authentication: { passphrase: 'a b' } },
    { authentication: { passphrase: 'b a' } },
    { authentication: { headers: 'X-A: b' } },
    { authentication: { headers: 'X-A: c' } },
    { tls: { acceptAnyCertificate: true } },
    { tls: { ca: certificate.cert } },
    { tls: { certificate: certificate.cert, encryptionKey: certificate.keyPem } },
  ]

  it('is another for other credentials, secrets or certificates, and the same for the same', () => {
    const ids = VARIANTS.map(fields => endpointOf(fields).id)
    expect(new Set(ids).size).toBe(VARIANTS.length)
    expect(VARIANTS.map(fields => endpointOf(fields).id)).toEqual(ids)
  })

  it('is that of a hook without the groups if they are empty', () => {
    const authentication = { authorization: 'none', token: 'not used' }
    expect(endpointOf({ authentication, tls: { acceptAnyCertificate: false } }).id).toBe(endpointOf({}).id)
  })
})

describe('the form', () => {
  interface Schema {
    properties?: Record<string, Schema>
    items?: Schema
    title?: string
    default?: unknown
    enum?: string[]
    enumNames?: string[]
    $multiline?: boolean
  }
  const form = JSON.parse(JSON.stringify(configSchema([]))) as Schema
  const groups = form.properties?.['hooks']?.items?.properties
  /** What xo-server hides of a configuration, by name (@vates/obfuscate). */
  const isHidden = (name: string): boolean => /^(token|passphrase|encryptionKey)$|password/i.test(name)

  it('has its fields, those that are secret under names that xo-server hides', () => {
    const { authentication, tls } = groups ?? {}
    expect(Object.keys(authentication?.properties ?? {})).toEqual([
      ...['authorization', 'token', 'user', 'password', 'passphrase', 'headers'],
    ])
    expect(Object.keys(tls?.properties ?? {})).toEqual(['ca', 'certificate', 'encryptionKey', 'acceptAnyCertificate'])
    const hidden = [...Object.keys(authentication?.properties ?? {}), ...Object.keys(tls?.properties ?? {})]
    expect(hidden.filter(isHidden)).toEqual(['token', 'password', 'passphrase', 'encryptionKey'])
  })

  it('has lines for what has lines', () => {
    const all = { ...groups?.['authentication']?.properties, ...groups?.['tls']?.properties }
    const multiline = Object.keys(all).filter(name => all[name]?.$multiline === true)
    expect(multiline).toEqual(['headers', 'ca', 'certificate', 'encryptionKey'])
  })

  it('offers each authorization that there is, by its title', () => {
    const field = groups?.['authentication']?.properties?.['authorization']
    expect(field).toMatchObject({ enum: ['none', 'bearer', 'bearer-base64', 'basic'], default: 'none' })
    expect(field?.enumNames).toHaveLength(4)
  })
})
