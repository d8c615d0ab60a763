import { createHmac, createPublicKey, generateKeyPairSync, timingSafeEqual, verify } from 'node:crypto'

import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'

import { checkSecrets, signerOf } from '../../src/delivery/signature.ts'

const ID = 'msg_p5jXN8AQM9LWM0D4loKWxJek'
const TIMESTAMP = 1614265330
const BODY = '{"test": 2432232314}'
const WHSEC = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
/** The seed, and then the public key. */
const WHSK = 'whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=='

/** The headers that are added to a request. */
function signed(secrets: string, body = BODY, id = ID, timestamp = TIMESTAMP): Record<string, string> {
  const headers = signerOf(secrets)!(id, timestamp, Buffer.from(body))
  return Object.fromEntries(headers.flatMap((name, index) => (index % 2 === 0 ? [[name, headers[index + 1]!]] : [])))
}

function signatures(secrets: string): string[] {
  return signed(secrets)['webhook-signature']!.split(' ')
}

describe('the vectors of Standard Webhooks', () => {
  it.each([
    ['of its libraries', WHSEC, ID, TIMESTAMP, BODY, 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='],
    [
      'of Rust',
      'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD',
      'msg_27UH4WbU6Z5A5EzD8u03UvzRbpk',
      1649367553,
      '{"email":"test@example.com","username":"test_user"}',
      'v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=',
    ],
    [
      'of Svix, with Ed25519',
      WHSK,
      ID,
      TIMESTAMP,
      BODY,
      'v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==',
    ],
  ])('%s hold', (_whose, secret, id, timestamp, body, expected) => {
    expect(signed(secret, body, id, timestamp)['webhook-signature']).toBe(expected)
  })
})

describe('a receiver', () => {
  const now = Math.floor(Date.now() / 1000)

  function headersFor(secrets: string, body: string): Record<string, string> {
    return { 'webhook-id': ID, 'webhook-timestamp': String(now), ...signed(secrets, body, ID, now) }
  }

  it.each([
    ['a whsec_ secret', WHSEC, () => new Webhook(WHSEC)],
    // of a string it would take the lower bytes of its UTF-16
    ['any text', 'Grüße,世界!', () => new Webhook(Buffer.from('Grüße,世界!'), { format: 'raw' })],
    ['the newest of several', `new ${WHSEC}`, () => new Webhook('new', { format: 'raw' })],
    ['the oldest of several', `new other ${WHSEC}`, () => new Webhook(WHSEC)],
    ['one behind a private key', `${WHSK} ${WHSEC}`, () => new Webhook(WHSEC)],
  ])('with the library standardwebhooks and %s accepts a request', (_what, secrets, webhook) => {
    for (const body of ['{"a":"é😀"}', '{}', '[]']) {
      expect(webhook().verify(body, headersFor(secrets, body))).toEqual(JSON.parse(body))
    }
  })

  it('refuses what was changed, is of another id or time, or was signed with another secret', () => {
    const webhook = new Webhook(WHSEC)
    const headers = headersFor(WHSEC, '{}')
    expect(webhook.verify('{}', headers)).toEqual({})
    expect(() => webhook.verify('{ }', headers)).toThrow('No matching signature')
    expect(() => webhook.verify('{}', { ...headers, 'webhook-id': 'other' })).toThrow('No matching signature')
    expect(() => webhook.verify('{}', { ...headers, 'webhook-timestamp': String(now + 1) })).toThrow('No matching')
    expect(() => webhook.verify('{}', headersFor('other', '{}'))).toThrow('No matching signature')
  })

  it('with the public key accepts a request', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d!, 'base64url')
    const [signature] = signatures(`whsk_${seed.toString('base64')}`)
    const content = Buffer.from(`${ID}.${TIMESTAMP}.${BODY}`)
    const bytes = Buffer.from(signature!.replace('v1a,', ''), 'base64')
    expect(verify(null, content, createPublicKey(publicKey.export({ format: 'pem', type: 'spki' })), bytes)).toBe(true)
  })

  /** As a receiver of the hoster CDHosting does it. */
  function verifyWebhook(payload: string, signature: string, secret: string): boolean {
    const expected = createHmac('sha256', secret).update(payload).digest('hex')
    return timingSafeEqual(Buffer.from(signature), Buffer.from(expected))
  }

  it.each([
    ['the secret', 'your_webhook_secret', 'your_webhook_secret'],
    ['the newest of several', 'newest older', 'newest'],
    ['the text of a whsec_ secret, as it was configured', WHSEC, WHSEC],
    ['the newest shared one, since the private key is not for the receiver', `${WHSK} shared older`, 'shared'],
  ])('that checks X-XO-Signature knows %s', (_what, secrets, secret) => {
    const body = '{"type":"post","é":1}'
    const signature = signed(secrets, body)['X-XO-Signature']!
    expect(signature).toMatch(/^[0-9a-f]{64}$/)
    expect(verifyWebhook(body, signature, secret)).toBe(true)
    expect(verifyWebhook(`${body} `, signature, secret)).toBe(false)
  })

  it('gets no X-XO-Signature that it could not check', () => {
    expect(signed(WHSK)).not.toHaveProperty('X-XO-Signature')
  })
})

describe('secrets', () => {
  it('of none sign nothing', () => {
    for (const none of [undefined, '', ' \n\t ']) {
      expect(signerOf(none)).toBeUndefined()
      expect(checkSecrets(none ?? '')).toBeUndefined()
    }
  })

  it.each(['any text', WHSEC, WHSK, `a ${WHSK}\n${WHSEC}`])('like %j are fine', secrets => {
    expect(checkSecrets(secrets)).toBeUndefined()
  })

  it('are separated by any white space, and give a signature each, in their order', () => {
    const each = ['first', WHSEC, WHSK, 'last'].map(secret => signatures(secret)[0])
    expect(new Set(each).size).toBe(4)
    expect(signatures(`  first ${WHSEC}\r\n${WHSK}\t\tlast\n`)).toEqual(each)
  })

  it('have their version before them, as Svix shows them, and commas between them', () => {
    const [first, other] = [WHSEC, `whsec_${Buffer.alloc(24, 9).toString('base64')}`]
    const both = signatures(`${first} ${other}`)
    for (const text of [
      `v1,${first} v1,${other}`,
      `v1,${first},v1,${other}`,
      `${first},${other}`,
      `v1,${first}, ${other},`,
      `${first},\nv1,${other}\n`,
    ]) {
      expect([text, signatures(text)]).toEqual([text, both])
    }
    expect(signatures(`v1a,${WHSK}`)).toEqual(signatures(WHSK))
    // what does not begin like that is a secret as it is
    expect(signatures('v1,abc')).not.toEqual(signatures('abc'))
    expect(signatures('a,b')).toHaveLength(1)
  })

  it('may be padded or not', () => {
    for (const length of [1, 2, 3, 24, 32, 64]) {
      const padded = `whsec_${Buffer.alloc(length, 7).toString('base64')}`
      expect(signatures(padded.replace(/=+$/, ''))).toEqual(signatures(padded))
    }
    expect(signatures(WHSK.replace(/=+$/, ''))).toEqual(signatures(WHSK))
  })

  it('of Ed25519 may be the seed alone', () => {
    const seed = Buffer.from(WHSK.slice(5), 'base64').subarray(0, 32)
    expect(signatures(`whsk_${seed.toString('base64')}`)).toEqual(signatures(WHSK))
  })

  it.each([
    ['whsec_', 'Base64 after'],
    ['whsec_=', 'Base64 after'],
    ['whsec_sEcReT$sEcReT', 'Base64 after'],
    ['whsec_sEcReT-sEcReT_', 'Base64 after'],
    ['whsec_sEcRe', 'Base64 after'],
    ['whsk_', 'Ed25519 private key'],
    ['whsk_sEcReTsEcReT', 'Ed25519 private key'],
    [`whsk_${Buffer.alloc(33).toString('base64')}`, 'Ed25519 private key'],
    // the public half of another
    [`whsk_${Buffer.alloc(64).toString('base64')}`, 'Ed25519 private key'],
    ['whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=', 'whpk_… is the public half'],
    ['v1a,whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=', 'whpk_… is the public half'],
    ['v1,whsec_sEcReT-sEcReT_', 'Base64 after'],
  ])('like %j are refused, without telling them', (secret, expected) => {
    const secrets = ` fine ${secret} fine`
    const bad = checkSecrets(secrets)
    expect(bad).toEqual({ number: 2, expected: expect.stringContaining(expected) })
    expect(JSON.stringify(bad)).not.toContain('sEcReT')
    expect(() => signerOf(secrets)).toThrow(/^(?!.*sEcReT)signing secret 2: expected /)
  })
  it('are no keys in PEM', () => {
    const bad = checkSecrets('-----BEGIN PRIVATE KEY-----\nsEcReT\n-----END PRIVATE KEY-----')
    expect(bad).toEqual({ number: 1, expected: expect.stringContaining('PEM') })
  })
})
