import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:tls'

import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { ProblemError } from '../../src/config/hook.ts'
import { parseTls } from '../../src/config/tls.ts'
import type { Problem } from '../../src/problem.ts'
import { makeCertificate } from '../helpers/certificate.ts'

type Fields = Readonly<Record<string, unknown>>

const authority = makeCertificate('authority', { isAuthority: true })
const client = makeCertificate('client', { issuer: authority })
const other = makeCertificate('other')
const server = makeCertificate('127.0.0.1')
const expired = makeCertificate('expired', { expiresAt: new Date(0) })

function problemOf(fields: Fields): Problem {
  try {
    parseTls(fields, 'tls')
  } catch (error) {
    if (error instanceof ProblemError) {
      return error.problem
    }
    throw error
  }
  throw new Error('it was taken')
}

const oneLine = (pem: string): string => pem.trim().replaceAll('\n', ' ')
const bare = (pem: string): string => pem.replace(/-----.*-----/g, '').trim()

describe('tls', () => {
  it('is as usual without anything in it', () => {
    for (const fields of [{}, { acceptAnyCertificate: false, ca: '', certificate: null, encryptionKey: ' \n' }]) {
      expect(parseTls(fields, 'tls')).toBeUndefined()
    }
  })

  it('leaves PEM alone that is as it should be', () => {
    const fields = { ca: authority.cert + other.cert, certificate: client.cert + authority.cert }
    expect(parseTls({ ...fields, encryptionKey: client.keyPem, acceptAnyCertificate: true }, 'tls')).toEqual({
      acceptAnyCertificate: true,
      ca: fields.ca.trim(),
      client: { certificate: fields.certificate.trim(), key: client.keyPem.trim() },
    })
  })
})

describe('what is taken works when connecting', () => {
  const listener = createServer(
    { key: server.keyPem, cert: server.cert, ca: authority.cert, requestCert: true, rejectUnauthorized: false },
    socket => socket.end(socket.authorized ? 'known' : 'unknown')
  )
  beforeAll(async () => {
    await once(listener.listen(0, '127.0.0.1'), 'listening')
  })
  afterAll(() => {
    listener.close()
  })

  /** What the server says of the client. */
  async function connected(fields: Fields): Promise<string> {
    const { ca, client: own } = parseTls(fields, 'tls')!
    const socket = connect({
      host: '127.0.0.1',
      port: (listener.address() as AddressInfo).port,
      ca,
      ...(own && { cert: own.certificate, key: own.key }),
    })
    let said = ''
    for await (const chunk of socket) {
      said += String(chunk)
    }
    return said
  }

  it.each<[string, string]>([
    ['as it should be', server.cert],
    ['behind another, without a newline between', other.cert.trimEnd() + server.cert],
    ['before another, without a newline between', server.cert.trimEnd() + other.cert],
    ['with CRLF', server.cert.replaceAll('\n', '\r\n')],
    ['with CR', server.cert.replaceAll('\n', '\r')],
    ['with \\n', server.cert.replaceAll('\n', '\\n')],
    ['with \\r\\n', server.cert.replaceAll('\n', '\\r\\n')],
    ['in quotes, with \\n', JSON.stringify(server.cert)],
    ['indented', server.cert.replace(/^/gm, '      ')],
    ['indented with tabs, with blank lines', server.cert.replaceAll('\n', '\n\n\t')],
    ['quoted in a mail', server.cert.replace(/^/gm, '> ')],
    ['in Base64 once more', Buffer.from(server.cert).toString('base64')],
    ['in Base64 once more, in lines', Buffer.from(server.cert).toString('base64').replace(/.{76}/g, '$&\n')],
    ['with long dashes', server.cert.replaceAll('-----', '\u2014\u2014-')],
    ['with a dash too few', server.cert.slice(1)],
    ['with invisible characters', server.cert.replace(/\n/g, '\u00a0\u200b\n')],
    ['with a BOM', `\ufeff${server.cert}`],
    ['within text', `subject=CN = x\nissuer=CN = y\n${server.cert}\nthe end`],
    ['in one line', oneLine(server.cert)],
    ['in one line, without spaces', server.cert.replaceAll('\n', '')],
    [
      'with Base64 in one line',
      `-----BEGIN CERTIFICATE-----\n${bare(server.cert).replaceAll('\n', '')}\n-----END CERTIFICATE-----`,
    ],
    ['without the lines around it', bare(server.cert)],
    ['without its last line', server.cert.replace(/-----END.*\n/, '')],
    ['of OpenSSL that is called so', server.cert.replaceAll('CERTIFICATE', 'X509 CERTIFICATE')],
  ])('a certificate to trust %s', async (_, ca) => {
    expect(await connected({ ca })).toBe('unknown')
  })

  it.each<[string, string, string]>([
    ['as they should be', client.cert, client.keyPem],
    ['indented', client.cert.replace(/^/gm, '  '), client.keyPem.replace(/^/gm, '  ')],
    ['in one line', oneLine(client.cert), oneLine(client.keyPem)],
    ['without the lines around them', bare(client.cert), bare(client.keyPem)],
    ['with a chain joined without a newline', client.cert.trimEnd() + authority.cert, client.keyPem],
    ['with the chain the other way round', authority.cert + client.cert, client.keyPem],
    [
      'out of a PKCS #12 file',
      `Bag Attributes\n    localKeyID: 01 02\nsubject=CN = own\n${client.cert}`,
      `Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n${client.keyPem}`,
    ],
    ['of another format', client.cert, String(client.key.export({ type: 'sec1', format: 'pem' }))],
    ['of another format, bare', client.cert, bare(String(client.key.export({ type: 'sec1', format: 'pem' })))],
    [
      'behind the parameters of its curve',
      client.cert,
      `-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n${String(client.key.export({ type: 'sec1', format: 'pem' }))}`,
    ],
    ['in Base64 once more', Buffer.from(client.cert).toString('base64'), Buffer.from(client.keyPem).toString('base64')],
    ['both in the field of the key', '', client.cert + client.keyPem],
    ['with the certificate in both fields', client.cert, client.keyPem + client.cert],
  ])('a certificate of its own and its key %s', async (_, certificate, encryptionKey) => {
    expect(await connected({ ca: server.cert, certificate, encryptionKey })).toBe('known')
  })
})

describe('what cannot work is refused', () => {
  const encrypted = client.key
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
    .toString()
  const old = `-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMHcCsEcReT==\n-----END EC PRIVATE KEY-----`
  const packed = 'MIIJzwIBAzCCCYUGCSqGSIb3DQEHAaCCCXYEgglyMIIJbjCCA+IGCSqGSIb3\nDQEHBqCCsEcReT'
  const labelled = (label: string): string => `-----BEGIN ${label}-----\nMIIsEcReT\n-----END ${label}-----`
  it.each<[string, Fields, string, string]>([
    ['no PEM', { ca: 'sEcReT' }, 'ca', 'something else'],
    ['the path of a file', { ca: '/etc/ssl/sEcReT.pem' }, 'ca', 'the path of a file'],
    ['a damaged certificate', { ca: authority.cert.replace(/MII./, 'sEcReT') }, 'ca', 'number 1 is damaged'],
    ['a second one that is cut off', { ca: other.cert + authority.cert.slice(0, 300) }, 'ca', 'number 2 is damaged'],
    ['a key among certificates', { ca: authority.cert + authority.keyPem }, 'ca', 'a private key among them'],
    ['a request', { ca: labelled('CERTIFICATE REQUEST') }, 'ca', 'a request'],
    ['a public key', { ca: labelled('PUBLIC KEY') }, 'ca', 'a public key'],
    ['PKCS #12', { ca: packed }, 'ca', 'openssl pkcs12'],
    ['PKCS #12 for a key', { certificate: client.cert, encryptionKey: packed }, 'encryptionKey', 'openssl pkcs12'],
    ['PKCS #7', { ca: labelled('PKCS7') }, 'ca', 'openssl pkcs7'],
    ['a certificate alone', { certificate: client.cert }, 'encryptionKey', 'nothing, and a certificate'],
    ['a key alone', { encryptionKey: client.keyPem }, 'certificate', 'nothing, and a private key'],
    ['no certificate', { certificate: 'sEcReT', encryptionKey: client.keyPem }, 'certificate', 'something else'],
    ['swapped fields', { certificate: client.keyPem, encryptionKey: client.cert }, 'certificate', 'a private key'],
    [
      'both in the field that is shown',
      { certificate: client.cert + client.keyPem, encryptionKey: client.keyPem },
      'certificate',
      'a private key among them',
    ],
    [
      'a certificate for a key',
      { certificate: client.cert, encryptionKey: client.cert },
      'encryptionKey',
      'a certificate',
    ],
    ['no key', { certificate: client.cert, encryptionKey: 'sEcReT' }, 'encryptionKey', 'something else'],
    [
      'a damaged key',
      { certificate: client.cert, encryptionKey: labelled('PRIVATE KEY') },
      'encryptionKey',
      'damaged or cut off',
    ],
    ["another's key", { certificate: client.cert, encryptionKey: other.keyPem }, 'encryptionKey', 'of another one'],
    ['an encrypted key', { certificate: client.cert, encryptionKey: encrypted }, 'encryptionKey', 'protected'],
    ['one encrypted as of old', { certificate: client.cert, encryptionKey: old }, 'encryptionKey', 'protected'],
    [
      'a key of SSH',
      { certificate: client.cert, encryptionKey: labelled('OPENSSH PRIVATE KEY') },
      'encryptionKey',
      'a key of SSH',
    ],
  ])('%s', (_what, fields, field, got) => {
    const problem = problemOf(fields)
    expect(problem).toMatchObject({ path: `tls.${field}`, got: expect.stringContaining(got) })
    expect(JSON.stringify(problem)).not.toMatch(/sEcReT|MII/)
  })
})

it('an expired certificate is taken, with a warning', () => {
  const warnings: string[] = []
  const fields = { ca: expired.cert + authority.cert }
  expect(parseTls(fields, 'tls', text => warnings.push(text))).toMatchObject({ ca: fields.ca.trim() })
  expect(warnings).toEqual([expect.stringMatching(/^tls\.ca: a certificate has expired \(/)])
})
