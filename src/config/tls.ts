import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'

import { wrong } from './hook.ts'
import type { TlsSettings } from '../delivery/delivery.ts'
import { messageOf } from '../problem.ts'
import { trimmedOf } from '../values.ts'

const CERTIFICATES = 'one or more certificates in PEM, each from "-----BEGIN CERTIFICATE-----" to its end'
const KEY = 'the private key of the certificate in PEM, not protected by a passphrase'

/**
 * Reads a hook's group `tls`, whose fields have the types of the form. `undefined`: everything is as usual.
 *
 * PEM is taken as people paste it, and written anew as OpenSSL reads it. What OpenSSL or TLS would refuse when connecting is
 * refused here.
 *
 * @param warn - is told of what may fail some day: a certificate that has expired
 * @throws ProblemError, which tells no secret
 */
export function parseTls(
  fields: Readonly<Record<string, unknown>>,
  path: string,
  warn: (text: string) => void = () => {}
): TlsSettings | undefined {
  const caText = trimmedOf(fields['ca'])
  const certificateText = trimmedOf(fields['certificate'])
  const keyText = trimmedOf(fields['encryptionKey'])
  const acceptAnyCertificate = fields['acceptAnyCertificate'] === true
  if (caText === '' && certificateText === '' && keyText === '' && !acceptAnyCertificate) {
    return undefined
  }

  const authorities = caText === '' ? [] : certificatesIn(caText, `${path}.ca`)
  const ca = authorities.map(({ pem }) => pem).join('\n')
  checkContext({ ca }, `${path}.ca`, CERTIFICATES)
  warnOfDates(authorities, `${path}.ca`, warn)
  if (certificateText === '' && keyText === '') {
    return { acceptAnyCertificate, ...(ca !== '' && { ca }) }
  }

  const keyBlocks = blocksIn(keyText)
  // both in one file, as some programs want them: in the field that xo-server shows to nobody
  const isBundle = certificateText === '' && keyBlocks.some(isCertificate) && keyBlocks.some(isKey)
  const chain = certificatesIn(isBundle ? keyText : certificateText, `${path}.certificate`, isBundle)
  const key = keyIn(keyText, keyBlocks, `${path}.encryptionKey`)
  // the server wants the client's own certificate before those that have signed it
  const own = chain.find(({ certificate }) => certificate.checkPrivateKey(createPrivateKey(key)))
  if (own === undefined) {
    wrong(`${path}.encryptionKey`, KEY, 'the key of another one')
  }
  const certificate = [own, ...chain.filter(each => each !== own)].map(({ pem }) => pem).join('\n')
  checkContext({ cert: certificate, key }, `${path}.certificate`, CERTIFICATES)
  warnOfDates(chain, `${path}.certificate`, warn)
  return { acceptAnyCertificate, ...(ca !== '' && { ca }), client: { certificate, key } }
}

/** From `-----BEGIN <label>-----` to its end. */
interface Block {
  readonly label: string
  /** Base64, perhaps with lines before it that say how it is encrypted. */
  readonly content: string
}

/**
 * With spaces or `\n` for ends of lines, indented, in quotes, between other texts, one right behind the other, with dashes that
 * a word processor has made longer; or all of it in Base64 once more, as in a secret of Kubernetes.
 */
function blocksIn(text: string): Block[] {
  const plain = /^LS0tLS1CRUdJTi[\w+/=\s]+$/.test(text) ? Buffer.from(text, 'base64').toString() : text
  const lines = plain.replace(/\\r\\n|\\[nr]|\r\n?/g, '\n').replace(/[\u2010-\u2015\u2212]/g, '-')
  const [, ...parts] = lines.split(/-+\s*BEGIN ([A-Z0-9 ]+?)\s*-+/)
  const blocks: Block[] = []
  for (let index = 0; index + 1 < parts.length; index += 2) {
    blocks.push({ label: parts[index]!, content: parts[index + 1]!.split(/-+\s*END/)[0]! })
  }
  return blocks
}

function isCertificate({ label }: Block): boolean {
  return /^(?:X509 |TRUSTED )?CERTIFICATE$/.test(label)
}

function isKey({ label }: Block): boolean {
  return label.endsWith('PRIVATE KEY')
}

function pemOf(label: string, base64: string): string {
  const lines = base64.replace(/[^A-Za-z0-9+/=]/g, '').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----`
}

/** Base64 of DER, without the lines around it. */
function isBare(text: string): boolean {
  return /^M[A-Za-z0-9+/\s]{40,}=*$/.test(text)
}

interface Read {
  readonly pem: string
  readonly certificate: X509Certificate
}

/** @param isWithKey - a key may stand among them */
function certificatesIn(text: string, path: string, isWithKey = false): Read[] {
  const blocks = isBare(text) ? [{ label: 'CERTIFICATE', content: text }] : blocksIn(text)
  if (!isWithKey && blocks.some(isKey)) {
    const elsewhere = blocks.some(isCertificate) ? 'a private key among them' : 'a private key'
    wrong(path, `${CERTIFICATES}; the key belongs in the field "Private key", which nobody is shown`, elsewhere)
  }
  const certificates = blocks.filter(isCertificate)
  if (certificates.length === 0) {
    wrong(path, CERTIFICATES, text === '' ? 'nothing, and a private key' : whatIs(text, blocks))
  }
  return certificates.map(({ label, content }, index) => {
    const pem = pemOf(label, content)
    try {
      return { pem, certificate: new X509Certificate(pem) }
    } catch {
      return wrong(
        path,
        CERTIFICATES,
        PACKED.test(content) ? OF_PKCS_12 : `something else: number ${index + 1} is damaged or cut off`
      )
    }
  })
}

function keyIn(text: string, blocks: readonly Block[], path: string): string {
  const block = isBare(text) ? undefined : blocks.find(isKey)
  if (text === '') {
    wrong(path, KEY, 'nothing, and a certificate')
  }
  if (!isBare(text) && block === undefined) {
    wrong(path, KEY, whatIs(text, blocks))
  }
  if (block !== undefined && (block.label === 'ENCRYPTED PRIVATE KEY' || /ENCRYPTED/.test(block.content))) {
    wrong(path, `${KEY}: "openssl pkey -in <file>" writes it so`, 'one that is protected')
  }
  if (block?.label === 'OPENSSH PRIVATE KEY') {
    wrong(path, `${KEY}; TLS takes none of SSH`, 'a key of SSH')
  }
  const labels = block === undefined ? ['PRIVATE KEY', 'RSA PRIVATE KEY', 'EC PRIVATE KEY'] : [block.label]
  for (const label of labels) {
    const pem = pemOf(label, block?.content ?? text)
    try {
      createPrivateKey(pem)
      return pem
    } catch {
      // perhaps of another kind
    }
  }
  return wrong(path, KEY, PACKED.test(text) ? OF_PKCS_12 : 'something else: it is damaged or cut off')
}

/** Begins as PKCS #12 in Base64: a sequence with the number 3. */
const PACKED = /^\s*M\S{3,6}IBAz/
const OF_PKCS_12 = 'PKCS #12: "openssl pkcs12 -nodes -in <file>" writes what is in it in PEM'

function whatIs(text: string, blocks: readonly Block[]): string {
  if (blocks.some(isCertificate)) {
    return 'a certificate'
  }
  switch (blocks[0]?.label) {
    case 'CERTIFICATE REQUEST':
    case 'NEW CERTIFICATE REQUEST':
      return 'a request for a certificate: the authority answers it with the certificate'
    case 'PUBLIC KEY':
    case 'RSA PUBLIC KEY':
      return 'a public key'
    case 'PKCS7':
      return 'PKCS #7: "openssl pkcs7 -print_certs" writes its certificates in PEM'
    default:
      return text.startsWith('/') || /^[A-Z]:\\/i.test(text)
        ? 'the path of a file: paste what it holds'
        : 'something else'
  }
}

/** What TLS would say when connecting: a key is too small, a signature too weak. */
function checkContext(options: { ca?: string; cert?: string; key?: string }, path: string, expected: string): void {
  try {
    createSecureContext(options)
  } catch (error) {
    wrong(path, expected, `what TLS does not take: ${messageOf(error)}`)
  }
}

function warnOfDates(read: readonly Read[], path: string, warn: (text: string) => void): void {
  const now = Date.now()
  for (const { certificate } of read) {
    if (Date.parse(certificate.validTo) < now) {
      warn(`${path}: a certificate has expired (${certificate.validTo})`)
    } else if (Date.parse(certificate.validFrom) > now) {
      warn(`${path}: a certificate is not valid before ${certificate.validFrom}`)
    }
  }
}
