import { createPrivateKey, X509Certificate } from 'node:crypto'

import { wrong } from './hook.ts'
import type { TlsSettings } from '../delivery/delivery.ts'
import { trimmedOf } from '../values.ts'

const CERTIFICATES = 'one or more certificates in PEM, each from "-----BEGIN CERTIFICATE-----" to its end'

/**
 * Reads a hook's group `tls`, whose fields have the types of the form. `undefined`: everything is as usual.
 *
 * @throws ProblemError, which tells no secret
 */
export function parseTls(fields: Readonly<Record<string, unknown>>, path: string): TlsSettings | undefined {
  const ca = trimmedOf(fields['ca'])
  const certificate = trimmedOf(fields['certificate'])
  const key = trimmedOf(fields['encryptionKey'])
  const acceptAnyCertificate = fields['acceptAnyCertificate'] === true
  if (ca === '' && certificate === '' && key === '' && !acceptAnyCertificate) {
    return undefined
  }

  if (ca !== '' && parseCertificates(ca) === undefined) {
    wrong(`${path}.ca`, CERTIFICATES, 'something else')
  }
  if (certificate === '' && key === '') {
    return { acceptAnyCertificate, ...(ca !== '' && { ca }) }
  }
  const [own] = parseCertificates(certificate) ?? []
  if (own === undefined) {
    const got = certificate === '' ? 'nothing, and a private key' : 'something else'
    wrong(`${path}.certificate`, CERTIFICATES, got)
  }
  const fits = fitsKey(own, key)
  if (fits !== true) {
    const got = key === '' ? 'nothing, and a certificate' : fits === false ? 'the key of another one' : 'something else'
    wrong(`${path}.encryptionKey`, 'the private key of the certificate in PEM, not protected by a passphrase', got)
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
