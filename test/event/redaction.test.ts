import { describe, expect, it } from 'vitest'

import { boundedJson } from '../../src/event/json.ts'
import { freezeEvent } from '../../src/event/event.ts'
import { HIDDEN, hideInText, isSecretName } from '../../src/event/redaction.ts'
import type { Signal } from '../../src/xo.ts'

const SECRET = 'S3CR3T-marker-0123456789'
const MIB = 1024 * 1024

function freeze(method: string, fields: Record<string, unknown>, maxBytes = MIB): Record<string, unknown> {
  const signal: Signal = { callId: 'k3y', method, timestamp: 1, ...fields }
  const event = freezeEvent('api', 'post', signal, maxBytes)
  return Object.fromEntries([...event.fields].map(([key, text]) => [key, JSON.parse(text) as unknown]))
}

function read(value: unknown): unknown {
  return JSON.parse(boundedJson(value, MIB) ?? 'null')
}

describe('a name tells that something is secret', () => {
  it.each([
    ...['token', 'passphrase', 'encryptionKey', 'password', 'chapPassword', 'oldPassword', 'password_secret'],
    ...['authenticationToken', 'tokens', 'secret', 'clientSecret', 'secretAccessKey', 'apiKey', 'x-api-key', 'otp'],
    ...['privateKey', 'private_key', 'Authorization', 'Proxy-Authorization', 'Set-Cookie', 'cookie', 'session_id'],
    ...['sessionId', '$getFrom', '$sendTo', 'cloudConfig', 'networkConfig', 'bindCredentials', 'pass', 'pwd', 'totp'],
  ])('%s', name => {
    expect(isSecretName(name)).toBe(true)
    expect(read({ [name]: SECRET, a: { [name]: SECRET } })).toEqual({ [name]: HIDDEN, a: { [name]: HIDDEN } })
  })

  it.each([
    ...[
      'id',
      'key',
      'keys',
      'name_label',
      'authProviders',
      'author',
      'option',
      'passive',
      'session',
      'sshKey',
      'bypass',
    ],
    ...['certificate', 'config', 'cookies', 'hotplug', 'constructor', '__proto__', ''],
  ])('but not %s', name => {
    expect(isSecretName(name)).toBe(false)
  })

  it('also one too long to be remembered, and more names than are', () => {
    expect(isSecretName(`${'x'.repeat(1_000)}Password`)).toBe(true)
    const many = Array.from({ length: 5_000 }, (_, index) => [`k${index}`, index] as const)
    expect(read({ ...Object.fromEntries(many), newPassword: SECRET })).toMatchObject({
      k4999: 4_999,
      newPassword: HIDDEN,
    })
    expect(isSecretName('k4999')).toBe(false)
  })

  it('of strings, numbers and lists of them; what says nothing stays, and objects are looked into', () => {
    expect(
      read({
        token: null,
        password: '',
        passphrase: 1234,
        tokens: [SECRET, { id: 1, token: SECRET }],
        hasPassword: true,
      })
    ).toEqual({
      token: null,
      password: HIDDEN,
      passphrase: HIDDEN,
      tokens: [HIDDEN, { id: 1, token: HIDDEN }],
      hasPassword: true,
    })
    expect(read({ params: { token: { type: 'string' } } })).toEqual({ params: { token: { type: 'string' } } })
  })

  it.each<[string, unknown]>([
    ['beside a BigInt', { size: 1n, token: SECRET }],
    ['as a BigInt', { token: 20_240_101n }],
    ['in an error', Object.assign(new Error('no'), { data: { password: SECRET } })],
    ['in a Map', new Map([['token', SECRET]])],
    ['boxed', { token: Object(SECRET) as string }],
    ['by a getter', Object.defineProperty({}, 'token', { enumerable: true, get: () => SECRET })],
    ['by toJSON', { toJSON: () => ({ token: SECRET }) }],
    ['by toJSON beneath the name', { token: { toJSON: () => SECRET } }],
    ['deep', Array.from({ length: 300 }).reduce<unknown>(value => [value], { token: SECRET })],
    ['in a circle', ((loop: Record<string, unknown>) => Object.assign(loop, { loop }))({ token: SECRET })],
    [
      'in a class',
      new (class Session {
        token = SECRET
      })(),
    ],
  ])('%s', (_, value) => {
    expect(boundedJson(value, MIB)).not.toMatch(/S3CR3T|20240101/)
  })
})

describe('a text tells a secret wherever it stands', () => {
  it.each([
    ['https://user:pa55@host.example/path', `https://${HIDDEN}@host.example/path`],
    ['https://user@host.example', `https://${HIDDEN}@host.example`],
    ['mount s3://key:se@cret@s3.example/bucket failed', `mount s3://${HIDDEN}@s3.example/bucket failed`],
    ['smb://bob:x"y\\z@WORKGROUP\\\\host', `smb://${HIDDEN}@WORKGROUP\\\\host`],
    [
      'first http://u:p@a.example, then http://u:p@b.example',
      `first http://${HIDDEN}@a.example, then http://${HIDDEN}@b.example`,
    ],
    ['https://10.0.0.1/export?session_id=OpaqueRef%3A1&ref=2', `https://10.0.0.1/export?session_id=${HIDDEN}&ref=2`],
    ['https://a.example/?ref=2&token=abc#x', `https://a.example/?ref=2&token=${HIDDEN}#x`],
    [`-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nrest`, `${HIDDEN}\nrest`],
    ['-----BEGIN PRIVATE KEY-----\nMII', HIDDEN],
  ])('%j', (text, shown) => {
    expect(read(text)).toBe(shown)
    expect(read({ list: [text], [text]: true })).toEqual({ list: [shown], [shown]: true })
  })

  it.each([
    'https://host.example/path?ref=1',
    'alice@example.org',
    'https://host.example/@scope/name',
    'see http://a.example\nor bob@example.org',
    'nfs://host:/vol@1',
    '-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----',
    '://@',
  ])('%j tells none', text => {
    expect(boundedJson([text], MIB)).toBe(JSON.stringify([text]))
  })

  it('is looked through in linear time', () => {
    for (const part of ['://', '://a@', '?a=', '\\"://', '-----BEGIN PRIVATE KEY-----', '@']) {
      const start = performance.now()
      hideInText(JSON.stringify(part.repeat(MIB / part.length)))
      expect(performance.now() - start).toBeLessThan(500)
    }
  })

  it('is cut off by the bound, though what is hidden is shorter', () => {
    const text = 'http://a@b '.repeat(10)
    expect(boundedJson(text, JSON.stringify(text).length)).toBeUndefined()
  })
})

describe('a method tells what no name does', () => {
  it.each<[method: string, fields: Record<string, unknown>, shown: Record<string, unknown>]>([
    ['token.create', { result: SECRET }, { result: HIDDEN }],
    ['token.delete', { params: { tokens: [SECRET] } }, { params: { tokens: HIDDEN } }],
    ['token.deleteOwn', { params: { pattern: { id: SECRET } } }, { params: { pattern: HIDDEN } }],
    ['token.set', { params: { id: SECRET, description: 'x' } }, { params: { id: HIDDEN, description: 'x' } }],
    [
      'user.getAuthenticationTokens',
      { result: [{ id: SECRET, description: 'x' }] },
      { result: [{ id: HIDDEN, description: 'x' }] },
    ],
    [
      'user.getAll',
      { result: [{ id: 'u', preferences: { otp: SECRET, filters: {} } }] },
      { result: [{ id: 'u', preferences: { otp: HIDDEN, filters: {} } }] },
    ],
    ['session.signIn', { params: { otp: 123_456 } }, { params: { otp: HIDDEN } }],
    [
      'plugin.get',
      { result: [{ id: 'a', configuration: { webhookUri: SECRET }, loaded: true }, { id: 'b' }] },
      { result: [{ id: 'a', configuration: HIDDEN, loaded: true }, { id: 'b' }] },
    ],
    [
      'plugin.configure',
      { params: { id: 'a', configuration: { webhookUri: SECRET } }, error: { message: 'no', data: [SECRET] } },
      { params: { id: 'a', configuration: HIDDEN }, error: { message: 'no', data: HIDDEN } },
    ],
    ['plugin.test', { params: { id: 'a', data: { to: SECRET } } }, { params: { id: 'a', data: HIDDEN } }],
    [
      'proxy.getAll',
      { result: [{ id: 'p', url: `https://${SECRET}@10.0.0.2/` }] },
      { result: [{ id: 'p', url: `https://${HIDDEN}@10.0.0.2/` }] },
    ],
    ['proxy.register', { params: { authenticationToken: SECRET } }, { params: { authenticationToken: HIDDEN } }],
    [
      'remote.create',
      { params: { url: `smb://bob:${SECRET}/@"@WORKGROUP\\\\host\0dir`, options: `vers=3.0,password=${SECRET}` } },
      { params: { url: `smb://${HIDDEN}@WORKGROUP\\\\host\0dir`, options: `vers=3.0,password=${HIDDEN}` } },
    ],
    [
      'remote.set',
      { params: { url: `nfs://host:/vol@1?encryptionKey=%22${SECRET}%22&useVhdDirectory=true` } },
      { params: { url: `nfs://host:/vol@1?encryptionKey=${HIDDEN}&useVhdDirectory=true` } },
    ],
    ['remote.set', { params: { url: SECRET } }, { params: { url: HIDDEN } }],
    ['remote.create', { params: { url: 'file:///mnt/a@b' } }, { params: { url: 'file:///mnt/a@b' } }],
    ['vm.create', { params: { cloudConfig: SECRET } }, { params: { cloudConfig: HIDDEN } }],
    ['vm.createCloudInitConfigDrive', { params: { config: SECRET } }, { params: { config: HIDDEN } }],
    ['vm.getCloudInitConfig', { result: SECRET }, { result: HIDDEN }],
    ['cloudConfig.create', { params: { name: 'x', template: SECRET } }, { params: { name: 'x', template: HIDDEN } }],
    ['cloudConfig.getAll', { result: [{ id: 1, template: SECRET }] }, { result: [{ id: 1, template: HIDDEN }] }],
    ['host.installCertificate', { params: { privateKey: SECRET } }, { params: { privateKey: HIDDEN } }],
    ['xo.exportConfig', { result: { $getFrom: `/api/${SECRET}` } }, { result: { $getFrom: HIDDEN } }],
    ['vm.import', { result: { $sendTo: `/api/${SECRET}` } }, { result: { $sendTo: HIDDEN } }],
    [
      'pool.mergeInto',
      { error: { call: { method: 'pool.join', params: ['* session id *', 'a', 'root', '* obfuscated *'] } } },
      { error: { call: { method: 'pool.join', params: ['* session id *', 'a', 'root', '* obfuscated *'] } } },
    ],
  ])('%s', (method, fields, shown) => {
    expect(freeze(method, fields)).toMatchObject(shown)
    expect(JSON.stringify(freeze(method, fields))).not.toContain(SECRET)
    // what else there is takes another way through the writer, and changes nothing of it
    const odd = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, withBigInt(value)]))
    expect(JSON.stringify(freeze(method, odd))).not.toContain(SECRET)
  })

  it('also in an error that says again what was hidden of its params', () => {
    const url = `s3://key:${SECRET}@s3.example/bucket`
    const template = `#cloud-config\npassword: "${SECRET}"`
    expect(freeze('cloudConfig.create', { error: { message: `no ${template}` }, params: { template } })).toMatchObject({
      error: { message: `no ${HIDDEN}` },
    })
    expect(JSON.stringify(freeze('remote.create', { params: { url }, error: { input: url } }))).not.toContain(SECRET)
  })

  it('though it would be too large to be told', () => {
    expect(freeze('vm.getCloudInitConfig', { result: 'x'.repeat(10_000) }, 1_000)).toMatchObject({ result: HIDDEN })
  })

  it('and nothing of a name that every object has', () => {
    expect(freeze('token.create', { constructor: 1, params: { toString: 'x' } })).toMatchObject({
      constructor: 1,
      params: { toString: 'x' },
    })
  })
})

function withBigInt(value: unknown): unknown {
  return typeof value === 'object' && !Array.isArray(value) ? { ...value, size: 1n } : value
}

describe('an event that has nothing to hide', () => {
  const nothing = {
    params: { id: 'vm1', token: HIDDEN, password: HIDDEN },
    error: { message: 'no', code: 'VM_BAD_POWER_STATE', call: { method: 'VM.start', params: ['OpaqueRef:1', false] } },
    result: [{ url: 'nfs://host:/vol', mail: 'alice@example.org', tags: ['a'], hasPassword: false, secret: null }],
  }

  it.each(['vm.start', 'remote.create', 'plugin.test', 'token.delete', 'user.getAuthenticationTokens'])(
    'is told byte for byte: %s',
    method => {
      const signal: Signal = { callId: 'k3y', method, timestamp: 1, ...nothing }
      const { fields } = freezeEvent('api', 'post', signal)
      for (const [key, text] of fields) {
        expect(text).toBe(JSON.stringify(signal[key]))
      }
    }
  )
})
