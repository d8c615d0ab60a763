import { createPublicKey, timingSafeEqual, verify } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

import { signerOf } from '../delivery/signature.ts'

/** What is wrong with a request, for its sender; `undefined`: it comes from one who has the secret, and is not old. */
export type Verify = (headers: IncomingHttpHeaders, body: Buffer, nowMs: number) => string | undefined

/** How far the clocks of sender and receiver may differ, s: as the libraries of Standard Webhooks have it. */
const TOLERANCE_S = 5 * 60

/**
 * Checks signatures as https://www.standardwebhooks.com says.
 *
 * @param secrets - separated by white space: what the hook has as its signing secret, or `whpk_…`, the public half of a
 *   `whsk_…`. One that fits is enough, so that old and new are both good while they are changed.
 * @throws if one of them cannot be read; the message does not tell it
 */
export function verifierOf(secrets: string): Verify {
  const checks = secrets
    .split(/\s+/)
    .filter(secret => secret !== '')
    .map(checkOf)
  return (headers, body, nowMs) => {
    const id = headers['webhook-id']
    const timestamp = headers['webhook-timestamp']
    const signatures = headers['webhook-signature']
    if (typeof id !== 'string' || typeof timestamp !== 'string' || typeof signatures !== 'string') {
      return 'not signed: webhook-id, webhook-timestamp and webhook-signature are expected'
    }
    if (!/^\d{1,12}$/.test(timestamp) || Math.abs(Number(timestamp) - nowMs / 1000) > TOLERANCE_S) {
      return 'webhook-timestamp is not of the last five minutes: are both clocks right?'
    }
    const given = signatures.split(' ')
    return checks.some(fits => fits(id, Number(timestamp), body, given)) ? undefined : 'the signature does not fit'
  }
}

type Check = (id: string, timestamp: number, body: Buffer, given: readonly string[]) => boolean

function checkOf(secret: string): Check {
  if (secret.startsWith('whpk_')) {
    const x = Buffer.from(secret.slice('whpk_'.length), 'base64').toString('base64url')
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    return (id, timestamp, body, given) => {
      const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body])
      return given.some(
        each => each.startsWith('v1a,') && verify(null, signed, key, Buffer.from(each.slice('v1a,'.length), 'base64'))
      )
    }
  }
  const sign = signerOf(secret)
  return (id, timestamp, body, given) => {
    // the shared secret's own signature stands second, after the header's name
    const expected = Buffer.from(sign?.(id, timestamp, body)[1] ?? '')
    return given.some(each => {
      const bytes = Buffer.from(each)
      return bytes.length === expected.length && timingSafeEqual(bytes, expected)
    })
  }
}
