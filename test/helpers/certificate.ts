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
  /** @default yesterday, or the day before `expiresAt` */
  readonly beginsAt?: Date
  /** @default tomorrow */
  readonly expiresAt?: Date
  /** Besides its own; `DNS:10.0.0.1` is an address that stands as a host name. */
  readonly otherNames?: readonly string[]
  /** Its name stands nowhere else. */
  readonly hasSubjectOnly?: boolean
  /** Good for clients only. */
  readonly isForClients?: boolean
  /** An RSA key of so many bits. @default one on the curve P-256 */
  readonly rsaBits?: number
  /** What it is signed with. @default 'sha256' */
  readonly digest?: 'sha256' | 'sha1'
  /** Its signature is wrong. */
  readonly isForged?: boolean
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
const KEY_USES = hex(0x06, '551d25')
const CLIENT_AUTHENTICATION = hex(0x06, '2b06010505070302')
/** By the kind of key and the digest. */
const ALGORITHMS: Readonly<Record<string, Buffer>> = {
  'ec sha256': sequence(hex(0x06, '2a8648ce3d040302')),
  'ec sha1': sequence(hex(0x06, '2a8648ce3d0401')),
  'rsa sha256': sequence(hex(0x06, '2a864886f70d01010b'), hex(0x05, '')),
  'rsa sha1': sequence(hex(0x06, '2a864886f70d010105'), hex(0x05, '')),
}

function nameOf(name: string): Buffer {
  return sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(name)))))
}

/** A certificate for a host name or an IPv4 address, valid since yesterday or, if it has expired, the day before that. */
export function makeCertificate(name: string, options: CertificateOptions = {}): Certificate {
  const day = 24 * 60 * 60_000
  const expiresAt = options.expiresAt ?? new Date(Date.now() + day)
  const beginsAt = options.beginsAt ?? new Date(Math.min(Date.now(), expiresAt.getTime()) - day)
  const { publicKey, privateKey } =
    options.rsaBits === undefined
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: options.rsaBits })
  const issuerKey = options.issuer?.key ?? privateKey
  const digest = options.digest ?? 'sha256'
  const algorithm = ALGORITHMS[`${issuerKey.asymmetricKeyType} ${digest}`]!
  const alternatives = [name, ...(options.otherNames ?? [])].map(each =>
    /^[\d.]+$/.test(each)
      ? der(0x87, Buffer.from(each.split('.').map(Number)))
      : der(0x82, Buffer.from(each.replace(/^DNS:/, '')))
  )
  const extensions = [
    ...(options.hasSubjectOnly === true ? [] : [sequence(ALTERNATIVE_NAME, der(0x04, sequence(...alternatives)))]),
    ...(options.isForClients === true ? [sequence(KEY_USES, der(0x04, sequence(CLIENT_AUTHENTICATION)))] : []),
    ...(options.isAuthority === true ? [sequence(BASIC_CONSTRAINTS, TRUE, der(0x04, sequence(TRUE)))] : []),
  ]
  const content = sequence(
    der(0xa0, hex(0x02, '02')),
    der(0x02, Buffer.from([1]), randomBytes(8)),
    algorithm,
    nameOf(options.issuer?.name ?? name),
    sequence(time(beginsAt), time(expiresAt)),
    nameOf(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions))
  )
  const signature = sign(digest, options.isForged === true ? Buffer.from('another') : content, issuerKey)
  const bytes = sequence(content, algorithm, der(0x03, Buffer.from([0]), signature))
  const lines = bytes.toString('base64').replace(/.{64}(?=.)/g, '$&\n')
  return {
    name,
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  }
}
