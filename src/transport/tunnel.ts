import type { Socket } from 'node:net'

import { dial, inTurn, secure, tlsNameOf } from './dial.ts'
import type { Destination, Dialled, Dialling, Sessions } from './dial.ts'
import type { AnswerHeaders } from './exchange.ts'
import type { Resolver } from './names.ts'
import { ProxyError } from './proxy.ts'
import type { Proxy } from './proxy.ts'

/** More than the head of any answer to CONNECT; the body of a refusal is not read. */
const MAX_HEAD_BYTES = 16 * 1024

/**
 * As `dial`, through a proxy: to an `https` receiver in a tunnel of its own (CONNECT), to others on a socket to the proxy, which
 * is to be asked for absolute URLs. TLS with the proxy has nothing to do with the settings for the receiver.
 *
 * @param names - for the proxy's own name; it is the proxy that looks up the receiver's
 * @param done - with a `ProxyError` where it is the proxy that fails
 */
export function dialThrough(
  proxy: Proxy,
  { hostname, port, tls }: Destination,
  names: Resolver,
  sessions: { readonly proxy: Sessions; readonly receiver: Sessions },
  done: Dialled
): Dialling {
  const toProxy = (next: Dialled): Dialling => dialProxy(proxy, names, sessions.proxy, next)
  if (tls === undefined) {
    return toProxy(done)
  }
  const authority = `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`
  const throughTunnel = (next: Dialled): Dialling =>
    inTurn(toProxy, (socket, opened) => openTunnel(socket, authority, proxy.authorization, opened), next)
  return inTurn(throughTunnel, (socket, opened) => secure(socket, tls, sessions.receiver, opened), done)
}

function dialProxy({ hostname, port, isSecure }: Proxy, names: Resolver, sessions: Sessions, done: Dialled): Dialling {
  const destination = { hostname, port, ...(isSecure && { tls: tlsNameOf(hostname) }) }
  const dialling = dial(destination, names, sessions, (error, socket) =>
    done(error && new ProxyError({ cause: error }), socket)
  )
  return { phase: 'proxy', cancel: () => dialling.cancel() }
}

/**
 * Asks for a tunnel on a socket to a proxy. What comes after the head of the answer is the receiver's.
 *
 * Source: RFC 9110 §9.3.6; answers of the proxies that are in use.
 */
function openTunnel(socket: Socket, authority: string, authorization: string | undefined, done: Dialled): Dialling {
  let received: Buffer = Buffer.alloc(0)
  const leave = (): void => {
    socket.off('data', onData).off('end', onClose).off('close', onClose).off('error', onClose).pause()
  }
  const fail = (error: ProxyError): void => {
    cancel()
    done(error)
  }
  const onClose = (): void => fail(new ProxyError({ code: 'CLOSED', reason: CLOSED }))
  const onData = (chunk: Buffer): void => {
    received = Buffer.concat([received, chunk])
    const answer = finalAnswerIn(received)
    if (answer === 'none yet') {
      if (received.length > MAX_HEAD_BYTES) {
        fail(new ProxyError({ code: 'HEAD_TOO_LARGE', reason: NO_HTTP }))
      }
    } else if (answer === 'no HTTP') {
      fail(new ProxyError({ code: 'NOT_HTTP', reason: NO_HTTP }))
    } else if (answer.status >= 300) {
      fail(refusal(answer, authorization !== undefined))
    } else {
      leave()
      if (answer.end < received.length) {
        socket.unshift(received.subarray(answer.end))
      }
      done(null, socket)
    }
  }
  const cancel = (): void => {
    leave()
    socket.on('error', () => {})
    socket.destroy()
  }
  socket.on('data', onData).on('end', onClose).on('close', onClose).on('error', onClose)
  const credentials = authorization === undefined ? '' : `Proxy-Authorization: ${authorization}\r\n`
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`)
  return { phase: 'tunnel', cancel }
}

export const CLOSED = 'the proxy closed the connection without an answer'
export const NO_HTTP =
  'what the proxy answers is not HTTP: is it an HTTP proxy, and is its scheme right (http or https)?'

interface ConnectAnswer {
  readonly status: number
  readonly head: string
  /** Where the head ends. */
  readonly end: number
}

/** The first answer that is not one of those on the way (1xx). */
function finalAnswerIn(received: Buffer): ConnectAnswer | 'none yet' | 'no HTTP' {
  const text = received.toString('latin1')
  for (let start = 0; ;) {
    const rest = text.slice(start)
    const length = /\r?\n\r?\n/.exec(rest)
    if (length === null) {
      // refused at the first wrong byte: what speaks another protocol may wait for more
      const begun = rest.slice(0, STATUS_BEGINS.length).toUpperCase()
      return STATUS_BEGINS.startsWith(begun) ? 'none yet' : 'no HTTP'
    }
    const end = start + length.index + length[0].length
    const status = Number(/^HTTP\/1(?:\.\d)? +(\d{3})(?!\d)/i.exec(rest)?.[1])
    if (!(status >= 100)) {
      return 'no HTTP'
    }
    if (status >= 200) {
      return { status, head: text.slice(start, end), end }
    }
    start = end
  }
}

const STATUS_BEGINS = 'HTTP/1'

/** A refusal of credentials is about us; any other may be about this receiver alone. */
function refusal({ status, head }: ConnectAnswer, hasCredentials: boolean): ProxyError {
  // 401: so does tinyproxy
  if (status === 407 || status === 401) {
    const isForBasic = !/^proxy-authenticate:/im.test(head) || /^proxy-authenticate:.*\bbasic\b/im.test(head)
    return credentialsRefused(status, hasCredentials, isForBasic)
  }
  const reason = [400, 405, 501].includes(status)
    ? 'the proxy makes no connections for https (CONNECT)'
    : reasonOf(status)
  return new ProxyError({ code: String(status), reason, isOnlyHere: true })
}

/**
 * What Squid says of a receiver that it has reached, and that has not answered, or not with HTTP. A read error without a
 * number of the system is what Squid 5 says of a name that nobody knows.
 */
const OF_RECEIVER = /^ERR_(?:ZERO_SIZE_OBJECT|READ_TIMEOUT|READ_ERROR [1-9]|WRITE_ERROR|INVALID_RESP|LIFETIME_EXP)/

/** Of RFC 9209 §2.3: what the proxy of the last member says has failed; it has reached the receiver with some. */
const PROXY_STATUS = /^[^,]*;\s*error=([a-z_]+)(?![^,]*received-status=)/
const OF_RECEIVER_BY_STATUS =
  /^(?:connection_(?:terminated|(?:read|write)_timeout)|http_(?:response|protocol|upgrade)_\w+)$/

/**
 * Of a request for an absolute URL, whose answer may be the receiver's or the proxy's own: why the proxy says it, if it is
 * known to be its own. Squid names its errors, tinyproxy itself, and others have a `Proxy-Status` (RFC 9209). Each adds its
 * `Via` to what it passes on: a second one is of a proxy on the receiver's side.
 *
 * @param hasCredentials - the proxy was given some
 */
export function failureOf(status: number, headers: AnswerHeaders, hasCredentials: boolean): ProxyError | undefined {
  if (status === 407) {
    return credentialsRefused(status, hasCredentials)
  }
  const [via = '', squid = '', server = '', statuses = ''] = ['via', 'x-squid-error', 'server', 'proxy-status'].map(
    name => [headers[name] ?? []].flat().join()
  )
  const isOfSquid = squid !== '' && !OF_RECEIVER.test(squid)
  const [, error] = PROXY_STATUS.exec(statuses.split(',').at(-1)!) ?? []
  const saysSo = error !== undefined && !OF_RECEIVER_BY_STATUS.test(error)
  // with 503 it tells of a receiver that has closed the connection
  const isOfTinyproxy = via === '' && /^tinyproxy\b/i.test(server) && status !== 503
  if (status < 400 || !(isOfTinyproxy || ((isOfSquid || saysSo) && !via.includes(',')))) {
    return undefined
  }
  return isOfTinyproxy && status === 401
    ? credentialsRefused(status, hasCredentials)
    : new ProxyError({ code: String(status), reason: reasonOf(status), isOnlyHere: true })
}

/** @param status - which the proxy has answered */
function credentialsRefused(status: number, hasCredentials: boolean, isForBasic = true): ProxyError {
  const reason = !isForBasic
    ? 'the proxy asks for credentials of another kind than Basic'
    : hasCredentials
      ? 'the proxy does not accept the credentials'
      : 'the proxy asks for credentials'
  return new ProxyError({ code: String(status), reason })
}

function reasonOf(status: number): string {
  switch (status) {
    case 403:
      return 'the proxy does not allow connections to this receiver'
    case 408:
    case 504:
      return 'the proxy did not reach the receiver in time'
    default:
      return status >= 500 ? 'the proxy did not reach the receiver' : 'the proxy refused to connect'
  }
}
