import type { AttemptOutcome } from '../delivery/delivery.ts'
import { AddressDeniedError } from './address-guard.ts'
import { ProxyError } from './proxy.ts'

const SOCKET_LOST: ReadonlySet<string> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : typeof name === 'string' ? name : 'unknown'
}

/** By error code of Node, OpenSSL and undici. Their messages are not passed on: they may tell URLs. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ['ENOTFOUND', 'the host name is not known (DNS)'],
  ['EAI_AGAIN', 'the host name could not be looked up (DNS)'],
  ['ECONNREFUSED', 'the connection was refused: nothing listens there'],
  ['ECONNRESET', 'the connection was closed before an answer'],
  ['EPIPE', 'the connection was closed before an answer'],
  ['UND_ERR_SOCKET', 'the connection was closed before an answer'],
  ['UND_ERR_CONNECT_TIMEOUT', 'no connection in time'],
  ['ETIMEDOUT', 'no connection in time'],
  ['EHOSTUNREACH', 'there is no route to the host'],
  ['ENETUNREACH', 'there is no route to the network'],
  ['CERT_HAS_EXPIRED', 'TLS: the certificate has expired'],
  ['CERT_NOT_YET_VALID', 'TLS: the certificate is not valid yet'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'TLS: the certificate is self-signed'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'TLS: the certificate comes from an authority that is not known here'],
  ['UNABLE_TO_GET_ISSUER_CERT', 'TLS: the certificate comes from an authority that is not known here'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'TLS: the certificate comes from an authority that is not known here'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'TLS: the certificate comes from an authority that is not known here'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'TLS: the certificate is for another name'],
  ['CERT_SIGNATURE_FAILURE', 'TLS: the certificate is not signed by the one that should have signed it'],
  ['CERT_REVOKED', 'TLS: the certificate has been revoked'],
  ['INVALID_CA', 'TLS: the certificate comes from one that is not an authority'],
  ['HTTPParserError', 'the answer is not HTTP'],
  ['UND_ERR_HEADERS_OVERFLOW', 'the headers of the answer are too large'],
  ['UND_ERR_DESTROYED', 'stopped'],
  ['UND_ERR_CLOSED', 'stopped'],
])

/**
 * By the number of the alert with which the receiver ended the TLS handshake (RFC 8446 §6.2). OpenSSL's codes for them
 * change: alert 40 is `ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE` on Node 20, `ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE` later.
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
  [70, 'TLS: the receiver speaks no version of TLS that is spoken here'],
  [71, 'TLS: the receiver asks for stronger encryption'],
  [112, 'TLS: the receiver does not know the host name'],
  [116, 'TLS: the receiver asks for a client certificate'],
])

/** Of {@link AttemptOutcome}. */
export type Unreachable = Extract<AttemptOutcome, { kind: 'unreachable' }>

/** The receiver was there, and went without an answer. */
export function isLoss({ code }: Unreachable): boolean {
  return SOCKET_LOST.has(code)
}

/** Why no status came, in words that tell nothing secret, by the error that said so. */
export function unreachable(error: unknown): Unreachable {
  if (error instanceof ProxyError) {
    return unreachableByProxy(error)
  }
  const code = codeOf(error)
  const reason = error instanceof AddressDeniedError ? error.message : (REASONS.get(code) ?? alertOf(error))
  return { kind: 'unreachable', code, reason: reason ?? fallbackOf(code) }
}

function unreachableByProxy({ cause, code, message, isOnlyHere }: ProxyError): Unreachable {
  if (cause !== undefined) {
    const why = unreachable(cause)
    return { ...why, layer: 'proxy', reason: `no connection to the proxy; ${why.reason}` }
  }
  return { kind: 'unreachable', code, layer: 'proxy', reason: message, ...(isOnlyHere && { isOnlyHere }) }
}

/** OpenSSL writes it at the end of the message: `…:SSL alert number 40`. */
function alertOf(error: unknown): string | undefined {
  const { message } = error as { message?: unknown }
  const number = typeof message === 'string' ? /:SSL alert number (\d+)/.exec(message)?.[1] : undefined
  return number === undefined ? undefined : ALERTS.get(Number(number))
}

function fallbackOf(code: string): string {
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') {
    return 'TLS: the two sides did not come to terms; is this an https URL?'
  }
  return code.startsWith('HPE_') ? 'the answer is not HTTP' : 'the request failed'
}
