import { isIP } from 'node:net'

import type { AttemptOutcome, Layer } from '../delivery/delivery.ts'
import { AddressDeniedError } from './address-guard.ts'
import type { Phase } from './dial.ts'
import { ProxyError } from './proxy.ts'

const SOCKET_LOST: ReadonlySet<string> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

const CLOSED = 'the connection was closed before an answer'
const UNKNOWN_AUTHORITY =
  "TLS: the certificate comes from an authority that is not known here: put the authority's into the hook's `ca` (Trusted certificates)"
const WEAK =
  'TLS: the certificate, or that of its authority, is too weak (a short key, SHA-1): the receiver needs a new one'
const NOT_TLS = 'TLS: the receiver does not speak it on this port: is it an http:// URL, or another port?'
const OWN_WEAK = "TLS: the hook's client certificate is too weak to be used (a short key, SHA-1)"
const BROKEN = 'TLS: the certificate is broken: the receiver needs a new one'

/**
 * What failed, and what to do about it, by error code of Node, OpenSSL, undici, and our own. Their messages are not passed
 * on: they may tell URLs.
 */
const CAUSES: Readonly<Record<Exclude<Layer, 'proxy'>, Readonly<Record<string, string>>>> = {
  name: {
    ENOTFOUND: 'the host name is not known (DNS): is it spelled right?',
    EAI_NONAME: 'the host name is not known (DNS): is it spelled right?',
    ENODATA: 'the host name has no address (DNS)',
    EAI_NODATA: 'the host name has no address (DNS)',
    EAI_AGAIN: 'the host name could not be looked up (DNS): the name server does not answer',
    EAI_FAIL: 'the host name could not be looked up (DNS): the name server failed',
    ESERVFAIL: 'the host name could not be looked up (DNS): the name server failed',
  },
  connection: {
    ECONNREFUSED: 'the connection was refused: nothing listens there',
    ETIMEDOUT: 'no connection in time: does a firewall drop it?',
    EHOSTUNREACH: 'no connection: there is no route to the host',
    EHOSTDOWN: 'no connection: the host is down',
    ENETUNREACH: 'no connection: there is no route to the network',
    ENETDOWN: 'no connection: the network is down',
    EADDRNOTAVAIL: 'no connection: there is no route to the network, or no port is left on this machine',
    EACCES: 'no connection: a firewall of this machine forbids it',
    EPERM: 'no connection: a firewall of this machine forbids it',
    EMFILE: 'no connection: too many files and sockets are open in xo-server',
    ENFILE: 'no connection: too many files and sockets are open on this machine',
  },
  tls: {
    CERT_HAS_EXPIRED: 'TLS: the certificate has expired: the receiver needs a new one',
    CERT_NOT_YET_VALID: 'TLS: the certificate is not valid yet: is the clock of this machine right?',
    DEPTH_ZERO_SELF_SIGNED_CERT:
      "TLS: the certificate is self-signed: put it into the hook's `ca` (Trusted certificates)",
    SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
    UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
    CERT_UNTRUSTED: UNKNOWN_AUTHORITY,
    CERT_CHAIN_TOO_LONG: 'TLS: there are too many authorities between the certificate and a trusted one',
    PATH_LENGTH_EXCEEDED: 'TLS: there are more authorities above the certificate than its own allows',
    CERT_SIGNATURE_FAILURE: 'TLS: the certificate is not signed by the one that should have signed it',
    CERT_REVOKED: 'TLS: the certificate has been revoked: the receiver needs a new one',
    CERT_REJECTED: 'TLS: the certificate must not be used for this',
    INVALID_CA: 'TLS: the certificate comes from one that is not an authority',
    INVALID_PURPOSE: 'TLS: the certificate is not one of a server: the receiver needs another one',
    ERROR_IN_CERT_NOT_BEFORE_FIELD: BROKEN,
    ERROR_IN_CERT_NOT_AFTER_FIELD: BROKEN,
    UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY: BROKEN,
    EE_KEY_TOO_SMALL: WEAK,
    CA_KEY_TOO_SMALL: WEAK,
    CA_MD_TOO_WEAK: WEAK,
    ERR_SSL_EE_KEY_TOO_SMALL: OWN_WEAK,
    ERR_SSL_CA_KEY_TOO_SMALL: OWN_WEAK,
    ERR_SSL_CA_MD_TOO_WEAK: OWN_WEAK,
    ERR_SSL_WRONG_VERSION_NUMBER: NOT_TLS,
    ERR_SSL_PACKET_LENGTH_TOO_LONG: NOT_TLS,
    ERR_SSL_RECORD_LAYER_FAILURE: NOT_TLS,
    ERR_SSL_UNEXPECTED_MESSAGE: NOT_TLS,
    ERR_SSL_UNSUPPORTED_PROTOCOL: 'TLS: the receiver speaks no version of it that is spoken here (1.2 and 1.3)',
    ERR_SSL_DH_KEY_TOO_SMALL: 'TLS: the encryption that the receiver offers is too weak',
    ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED: 'TLS: the receiver is too old to be spoken to safely',
  },
  http: {
    NOT_HTTP: 'the answer is not HTTP: does another service listen on this port?',
    TLS_PORT: 'the answer is not HTTP but TLS: is it an https:// URL?',
    HTTP_2_PORT: 'the answer is not HTTP/1.1 but HTTP/2, which is not spoken here',
    SWITCHED_PROTOCOLS: 'instead of an HTTP answer, the receiver changes to another protocol (101)',
  },
  answer: {
    ECONNRESET: CLOSED,
    EPIPE: CLOSED,
    UND_ERR_SOCKET: CLOSED,
    HEAD_TOO_LARGE: 'the headers of the answer are too large',
  },
}

/** By code, with its layer. */
const BY_CODE: ReadonlyMap<string, readonly [Layer, string]> = new Map(
  Object.entries(CAUSES).flatMap(([layer, reasons]) =>
    Object.entries(reasons).map(([code, reason]) => [code, [layer as Layer, reason]] as const)
  )
)

/**
 * By the number of the alert with which the receiver ends TLS (RFC 8446 §6.2), in the handshake or, as it judges a client
 * certificate in TLS 1.3, after it. OpenSSL's codes for them change: alert 40 is `ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE` on
 * Node 20, `ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE` later.
 */
const ALERTS: ReadonlyMap<number, string> = new Map([
  [40, 'TLS: the receiver refused; it may ask for a client certificate'],
  [42, 'TLS: the receiver does not accept the client certificate'],
  [43, 'TLS: the receiver does not accept client certificates of this kind'],
  [44, 'TLS: the client certificate has been revoked'],
  [45, 'TLS: the client certificate has expired'],
  [46, 'TLS: the receiver does not accept the client certificate'],
  [48, 'TLS: the receiver does not know the authority of the client certificate'],
  [49, 'TLS: the receiver does not let the client certificate in'],
  [51, 'TLS: the receiver cannot check the client certificate: does its key belong to it?'],
  [70, 'TLS: the receiver speaks no version of it that is spoken here (1.2 and 1.3)'],
  [71, 'TLS: the receiver asks for stronger encryption'],
  [112, 'TLS: the receiver does not know the host name: is it the right one, or is a header `Host` missing?'],
  [116, 'TLS: the receiver asks for a client certificate: give the hook one'],
  [120, 'TLS: the receiver does not speak HTTP/1.1'],
])

/** Of {@link AttemptOutcome}. */
export type Unreachable = Extract<AttemptOutcome, { kind: 'unreachable' }>

/** What is not open any more, or was given up from here. */
export const STOPPED: Unreachable = { kind: 'unreachable', code: 'UND_ERR_DESTROYED', reason: 'stopped' }

/** The receiver was there, and went without an answer. */
export function isLoss({ code, layer }: Unreachable): boolean {
  return layer !== 'connection' && SOCKET_LOST.has(code)
}

/**
 * Why no status came, in words that tell nothing secret, by the error that said so.
 *
 * @param phase - what the socket was waiting for; without, it was open
 */
export function unreachable(error: unknown, phase?: Phase): Unreachable {
  if (error instanceof ProxyError) {
    return unreachableByProxy(error)
  }
  const code = codeOf(error)
  const [layer, reason] = causeOf(code, error, phase)
  return { kind: 'unreachable', code, ...(layer !== undefined && { layer }), reason }
}

function unreachableByProxy({ cause, code, message, isOnlyHere }: ProxyError): Unreachable {
  if (cause !== undefined) {
    const why = unreachable(cause)
    return { ...why, layer: 'proxy', reason: `no connection to the proxy; ${why.reason}` }
  }
  return { kind: 'unreachable', code, layer: 'proxy', reason: message, ...(isOnlyHere && { isOnlyHere }) }
}

function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : typeof name === 'string' ? name : 'unknown'
}

function causeOf(code: string, error: unknown, phase: Phase | undefined): readonly [Layer | undefined, string] {
  if (error instanceof AddressDeniedError) {
    return ['connection', error.message]
  }
  if (phase !== undefined && SOCKET_LOST.has(code)) {
    return phase === 'tls'
      ? ['tls', 'TLS: the connection was closed amid the handshake: does the receiver speak it on this port?']
      : ['connection', CLOSED]
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return ['tls', misnamed(error)]
  }
  const known = BY_CODE.get(code)
  if (known !== undefined) {
    return known
  }
  const { message } = error as { message?: unknown }
  const said = saidByOpenSsl(typeof message === 'string' ? message : '')
  if (said !== undefined || phase === 'tls' || code.startsWith('ERR_SSL_') || code === 'EPROTO') {
    return ['tls', said ?? 'TLS: the two sides did not come to terms; is this an https URL?']
  }
  return code.startsWith('HPE_')
    ? ['http', 'the answer is not HTTP']
    : [phase === 'tunnel' ? 'proxy' : phase, 'the request failed']
}

/** Alerts stand at the end of a message: `…:SSL alert number 40`. What Node has no code for has its text alone. */
function saidByOpenSsl(message: string): string | undefined {
  const number = /:SSL alert number (\d+)/.exec(message)?.[1]
  return number !== undefined ? ALERTS.get(Number(number)) : /too (?:weak|small)$/.test(message) ? WEAK : undefined
}

/** The names in a certificate: whoever connects sees them. They are a stranger's text. */
function misnamed(error: unknown): string {
  const { host, cert } = error as {
    host?: unknown
    cert?: { subjectaltname?: unknown; subject?: { readonly CN?: unknown } }
  }
  const names = typeof cert?.subjectaltname === 'string' ? cert.subjectaltname.split(', ') : []
  if (typeof host === 'string' && isIP(host) !== 0 && (names.includes(`DNS:${host}`) || cert?.subject?.CN === host)) {
    return `TLS: the certificate has the address ${host} as a name, which counts for nothing: the receiver needs one with \`subjectAltName = IP:${host}\`, or a URL with a name`
  }
  const shown = names
    .map(each => each.replace(/^(?:DNS|IP Address):/, ''))
    .filter(each => /^[\w.*:-]{1,100}$/.test(each))
  const list = shown.length === 0 ? '' : ` (${shown.slice(0, 3).join(', ')}${shown.length > 3 ? ', …' : ''})`
  return `TLS: the certificate is for another name${list}: is the host of the URL, or the header \`Host\`, right?`
}
