import { createHmac, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/**
 * Headers that sign one attempt, names and values in turn.
 *
 * @param id - the delivery's
 * @param timestamp - of the attempt, in seconds
 */
export type Sign = (id: string, timestamp: number, body: Buffer) => readonly string[]

/** A secret as it signs. */
type Key =
  /** Shared with the receiver: `v1`. `text` is what was configured. */
  | { readonly kind: 'shared'; readonly text: string; readonly bytes: Buffer }
  /** The receiver has the public half only: `v1a`. */
  | { readonly kind: 'private'; readonly key: KeyObject }

/** Says what is wrong with a secret, without telling it. */
export interface BadSecret {
  /** Which one, from 1. */
  readonly number: number
  readonly expected: string
}

/**
 * Reads the signing secrets of an endpoint, which stand in one text, separated by white space, the newest first. Those that
 * begin with `wh…_` may be separated by commas, and have their version before them, as Svix shows them: `v1,whsec_…`.
 *
 * - `whsec_…` is Base64, padded or not, of the secret's bytes.
 * - `whsk_…` is Base64 of an Ed25519 private key: its seed of 32 bytes, or the seed and the public key.
 * - Anything else is a secret as it is, in UTF-8.
 */
function parseSecrets(text: string): readonly Key[] | BadSecret {
  const keys: Key[] = []
  if (text.includes('-----BEGIN ')) {
    return { number: 1, expected: 'a text, whsec_… or whsk_…; a key in PEM is none of them' }
  }
  const plain = text.replace(/(^|[\s,])v1a?,(?=wh(?:sec|sk|pk)_)/g, '$1')
  for (const part of plain.split(/\s+|,+(?=wh(?:sec|sk|pk)_)/)) {
    const secret = /^wh(?:sec|sk|pk)_/.test(part) ? part.replace(/,+$/, '') : part
    if (secret === '') {
      continue // white space at either end
    }
    const key = parseSecret(secret)
    if (typeof key === 'string') {
      return { number: keys.length + 1, expected: key }
    }
    keys.push(key)
  }
  return keys
}

/** What is wrong with the signing secrets of an endpoint, for its configuration; `undefined`: nothing. */
export function checkSecrets(text: string): BadSecret | undefined {
  const keys = parseSecrets(text)
  return 'expected' in keys ? keys : undefined
}

/**
 * What signs with the signing secrets of an endpoint; `undefined` if there is none.
 *
 * Each secret gives one entry of the `webhook-signature` header: https://www.standardwebhooks.com. `X-XO-Signature` is for
 * simpler receivers: the HMAC-SHA256, in hex, of the body alone under the newest shared secret's text, as it was configured.
 * It says nothing of the time, so that a request can be played again to such a receiver.
 *
 * @throws where a secret cannot be read, of which {@link checkSecrets} has warned: nothing is sent unsigned
 */
export function signerOf(secrets: string | undefined): Sign | undefined {
  const keys = parseSecrets(secrets ?? '')
  if ('expected' in keys) {
    throw new Error(`signing secret ${keys.number}: expected ${keys.expected}`)
  }
  return keys.length === 0 ? undefined : signWith(keys)
}

/** @returns the key, or what was expected */
function parseSecret(secret: string): Key | string {
  if (secret.startsWith('whpk_')) {
    return 'a private key (whsk_…); a whpk_… is the public half, for the receiver'
  }
  if (secret.startsWith('whsk_')) {
    return parsePrivateKey(secret.slice('whsk_'.length)) ?? 'Base64 of an Ed25519 private key after "whsk_"'
  }
  if (secret.startsWith('whsec_')) {
    const bytes = parseBase64(secret.slice('whsec_'.length))
    return bytes === undefined ? 'Base64 after "whsec_"' : { kind: 'shared', text: secret, bytes }
  }
  return { kind: 'shared', text: secret, bytes: Buffer.from(secret) }
}

/** `Buffer.from` skips what it does not know: the receiver would come to another key, or to none. */
function parseBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  const isExact = bytes.length > 0 && bytes.toString('base64').replace(/=+$/, '') === text.replace(/={1,2}$/, '')
  return isExact ? bytes : undefined
}

/** What stands before the seed in PKCS #8, the only form of a bare seed that `node:crypto` takes (RFC 8410). */
const ED25519_PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SEED_BYTES = 32

function parsePrivateKey(text: string): Key | undefined {
  const bytes = parseBase64(text)
  if (bytes === undefined || (bytes.length !== SEED_BYTES && bytes.length !== 2 * SEED_BYTES)) {
    return undefined
  }
  const seed = bytes.subarray(0, SEED_BYTES)
  const key = createPrivateKey({ key: Buffer.concat([ED25519_PKCS8, seed]), format: 'der', type: 'pkcs8' })
  if (bytes.length > SEED_BYTES) {
    // its public half ends the DER form of a public key
    const publicBytes = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-SEED_BYTES)
    if (!publicBytes.equals(bytes.subarray(SEED_BYTES))) {
      return undefined
    }
  }
  return { kind: 'private', key }
}

function signWith(keys: readonly Key[]): Sign {
  const newest = keys.find(key => key.kind === 'shared')
  return (id, timestamp, body) => {
    const prefix = `${id}.${timestamp}.`
    const headers = ['webhook-signature', keys.map(key => signatureOf(key, prefix, body)).join(' ')]
    if (newest !== undefined) {
      headers.push('X-XO-Signature', createHmac('sha256', newest.text).update(body).digest('hex'))
    }
    return headers
  }
}

function signatureOf(key: Key, prefix: string, body: Buffer): string {
  return key.kind === 'shared'
    ? `v1,${createHmac('sha256', key.bytes).update(prefix).update(body).digest('base64')}`
    : `v1a,${sign(null, Buffer.concat([Buffer.from(prefix), body]), key.key).toString('base64')}`
}
