import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

export interface Certificate {
  readonly name: string
  /** PEM. */
  readonly cert: string
  readonly key: KeyObject
  /** PEM. */
  readonly keyPem: string
}

export interface CertificateOptions {
  /** @default itself */
  readonly issuer?: Certificate
  readonly isAuthority?: boolean
  /** @default tomorrow */
  readonly expiresAt?: Date
}

// X.509 in as much of DER as it takes: tests need no tool, and no certificate in a file that expires some day.
function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
const sequence = (...parts: Buffer[]): Buffer => der(0x30, ...parts)
const hex = (tag: number, bytes: string): Buffer => der(tag, Buffer.from(bytes, 'hex'))
const time = (date: Date): Buffer => der(0x18, Buffer.from(date.toISOString().replace(/[-:T]|\.\d+/g, '')))
const TRUE = hex(0x01, 'ff')
const COMMON_NAME = hex(0x06, '550403')
const BASIC_CONSTRAINTS = hex(0x06, '551d13')
const ALTERNATIVE_NAME = hex(0x06, '551d11')
const ECDSA_WITH_SHA256 = sequence(hex(0x06, '2a8648ce3d040302'))

function nameOf(name: string): Buffer {
  return sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(name)))))
}

/** A certificate for a host name or an IPv4 address, valid since yesterday or, if it has expired, the day before that. */
export function makeCertificate(name: string, options: CertificateOptions = {}): Certificate {
  const day = 24 * 60 * 60_000
  const expiresAt = options.expiresAt ?? new Date(Date.now() + day)
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const isAddress = /^[\d.]+$/.test(name)
  const alternative = isAddress ? der(0x87, Buffer.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name))
  const extensions = [
    sequence(ALTERNATIVE_NAME, der(0x04, sequence(alternative))),
    ...(options.isAuthority === true ? [sequence(BASIC_CONSTRAINTS, TRUE, der(0x04, sequence(TRUE)))] : []),
  ]
  const content = sequence(
    der(0xa0, hex(0x02, '02')),
    der(0x02, Buffer.from([1]), randomBytes(8)),
    ECDSA_WITH_SHA256,
    nameOf(options.issuer?.name ?? name),
    sequence(time(new Date(Math.min(Date.now(), expiresAt.getTime()) - day)), time(expiresAt)),
    nameOf(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions))
  )
  const signature = sign('sha256', content, options.issuer?.key ?? privateKey)
  const bytes = sequence(content, ECDSA_WITH_SHA256, der(0x03, Buffer.from([0]), signature))
  const lines = bytes.toString('base64').replace(/.{64}(?=.)/g, '$&\n')
  return {
    name,
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  }
}
