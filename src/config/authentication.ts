import { createPrivateKey, X509Certificate } from 'node:crypto'

import type { Endpoint, TlsSettings } from '../delivery/delivery.ts'
import { parseSecrets } from '../delivery/signature.ts'
import type { Problem } from '../problem.ts'

/** Ways to fill in the `Authorization` header, with their titles. */
export const AUTHORIZATIONS: ReadonlyMap<string, string> = new Map([
  ['none', 'None'],
  ['bearer', 'Bearer: the token'],
  ['bearer-base64', 'Bearer: the token, Base64-encoded'],
  ['basic', 'Basic: user and password'],
])

/** Set by the transport or by us, or about the connection and not the request (RFC 9110 §7.6.1). */
const REFUSED_HEADERS: ReadonlySet<string> = new Set([
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const OUR_HEADERS = /^(x-xo-|webhook-)/i

/** A `token` of RFC 9110. */
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]+$/
/** What every receiver understands in the same way: printable ASCII, tabs. */
const HEADER_VALUE = /^[\t\x20-\x7e]*$/

/** What a request carries so that the receiver lets it in. */
export type Credentials = Pick<Endpoint, 'headers' | 'sign'>

type Fields = Readonly<Record<string, unknown>>

/**
 * Reads a hook's group `authentication`, whose fields have the types of the form. Problems tell no secret, and of a header
 * its name at most.
 */
export function parseAuthentication(fields: Fields, path: string): Credentials | Problem {
  const authorization = parseAuthorization(fields, path)
  if (!Array.isArray(authorization)) {
    return authorization
  }
  const own = parseHeaders(text(fields['headers']), `${path}.headers`, authorization.length > 0)
  if (!Array.isArray(own)) {
    return own
  }
  const headers = [...authorization, ...own]
  const sign = parseSecrets(text(fields['passphrase']))
  if (sign !== undefined && 'expected' in sign) {
    return { path: `${path}.passphrase`, expected: sign.expected, got: `another text as secret ${sign.number}` }
  }
  return sign === undefined ? { headers } : { headers, sign }
}

function parseAuthorization(fields: Fields, path: string): string[] | Problem {
  const kind = text(fields['authorization']).trim()
  const token = text(fields['token']).trim()
  const user = text(fields['user'])
  const password = text(fields['password'])
  switch (kind) {
    case '':
      // the form shows "None" for what was not chosen: who has filled in a token does not mean that
      if (token !== '' || password !== '') {
        const got = `nothing, and a ${token !== '' ? 'token' : 'password'}`
        return { path: `${path}.authorization`, expected: `one of ${quoted([...AUTHORIZATIONS.keys()])}`, got }
      }
      return []
    case 'none':
      return []
    case 'bearer':
      if (token === '' || !/^[\x21-\x7e]+$/.test(token)) {
        const got = token === '' ? 'nothing' : 'a text with others in it'
        return { path: `${path}.token`, expected: 'a token of printable ASCII characters without spaces', got }
      }
      return ['Authorization', `Bearer ${token}`]
    case 'bearer-base64':
      if (token === '') {
        return { path: `${path}.token`, expected: 'a token', got: 'nothing' }
      }
      return ['Authorization', `Bearer ${base64(token)}`]
    case 'basic':
      if (user === '' && password === '') {
        return { path: `${path}.user`, expected: 'a user', got: 'nothing' }
      }
      if (user.includes(':')) {
        return { path: `${path}.user`, expected: 'a user without a colon (RFC 7617)', got: 'one with a colon' }
      }
      return ['Authorization', basicAuthorization(user, password)]
    default:
      // it may be a token in the wrong field
      return { path: `${path}.authorization`, expected: `one of ${quoted([...AUTHORIZATIONS.keys()])}`, got: 'another' }
  }
}

/** The value of an `Authorization` header. */
export function basicAuthorization(user: string, password: string): string {
  return `Basic ${base64(`${user}:${password}`)}`
}

/** Lines of `Name: value`. */
function parseHeaders(lines: string, path: string, isAuthorized: boolean): string[] | Problem {
  const headers: string[] = []
  const names = new Set<string>()
  for (const [index, line] of lines.split(/\r\n|\r|\n/).entries()) {
    if (line.trim() === '') {
      continue
    }
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(colon, 0)).trim()
    const value = line.slice(colon + 1).trim()
    if (!HEADER_NAME.test(name)) {
      return { path, expected: 'lines of "Name: value"', got: `something else in line ${index + 1}` }
    }
    const key = name.toLowerCase()
    const got = `${JSON.stringify(name.slice(0, 100))} in line ${index + 1}`
    if (REFUSED_HEADERS.has(key) || OUR_HEADERS.test(name)) {
      return { path, expected: 'headers that are not set by the plugin or for the connection', got }
    }
    if (key === 'authorization' && isAuthorized) {
      return { path, expected: 'no such header besides the field "Authorization"', got }
    }
    if (names.has(key)) {
      return { path, expected: 'each header once', got: `${got} again` }
    }
    if (!HEADER_VALUE.test(value)) {
      return { path, expected: 'printable ASCII characters', got: `others in the value of ${got}` }
    }
    names.add(key)
    headers.push(name, value)
  }
  return headers
}

/** Reads a hook's group `tls`, whose fields have the types of the form. `undefined`: everything is as usual. */
export function parseTls(fields: Fields, path: string): TlsSettings | Problem | undefined {
  const ca = text(fields['ca']).trim()
  const certificate = text(fields['certificate']).trim()
  const key = text(fields['encryptionKey']).trim()
  const acceptAnyCertificate = fields['acceptAnyCertificate'] === true
  if (ca === '' && certificate === '' && key === '' && !acceptAnyCertificate) {
    return undefined
  }

  const isCertificates = 'one or more certificates in PEM, each from "-----BEGIN CERTIFICATE-----" to its end'
  if (ca !== '' && parseCertificates(ca) === undefined) {
    return { path: `${path}.ca`, expected: isCertificates, got: 'something else' }
  }
  if (certificate === '' && key === '') {
    return { acceptAnyCertificate, ...(ca !== '' && { ca }) }
  }
  const [own] = parseCertificates(certificate) ?? []
  if (own === undefined) {
    const got = certificate === '' ? 'nothing, and a private key' : 'something else'
    return { path: `${path}.certificate`, expected: isCertificates, got }
  }
  const fits = fitsKey(own, key)
  if (fits !== true) {
    const got = key === '' ? 'nothing, and a certificate' : fits === false ? 'the key of another one' : 'something else'
    return {
      path: `${path}.encryptionKey`,
      expected: 'the private key of the certificate in PEM, not protected by a passphrase',
      got,
    }
  }
  return { acceptAnyCertificate, ...(ca !== '' && { ca }), client: { certificate, key } }
}

/** `undefined` if there is anything but certificates. What stands between them in PEM are remarks. */
function parseCertificates(pem: string): X509Certificate[] | undefined {
  const blocks = pem.match(/-----BEGIN [^-]*-----[^-]*-----END [^-]*-----/g) ?? []
  try {
    return blocks.length === 0 ? undefined : blocks.map(block => new X509Certificate(block))
  } catch {
    return undefined
  }
}

/** `undefined` if it is no key that can be used. */
function fitsKey(certificate: X509Certificate, pem: string): boolean | undefined {
  try {
    return certificate.checkPrivateKey(createPrivateKey(pem))
  } catch {
    return undefined
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function base64(secret: string): string {
  return Buffer.from(secret).toString('base64')
}

function quoted(values: readonly string[]): string {
  return values.map(value => `"${value}"`).join(', ')
}
