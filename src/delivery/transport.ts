import { readFileSync } from 'node:fs'

import { EnvHttpProxyAgent, Pool } from 'undici'
import type { Dispatcher } from 'undici'

import { AddressDeniedError, DEFAULT_RULES, denialOfHost, guardedLookup } from './address-guard.ts'
import type { AddressRules } from './address-guard.ts'
import type { AttemptOutcome, Endpoint, TlsSettings } from './delivery.ts'
import type { Connection, OutgoingRequest } from './attempt.ts'
import { parseRetryAfter } from './retry.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}
const USER_AGENT = `Xen-Orchestra-Web-Hooks/${version}`

/** Twice what a lane sends at once (8): urgent requests find a place too. */
const MAX_SOCKETS = 16
/** Part of a request's whole timeout. */
const CONNECT_TIMEOUT_MS = 3_000
/**
 * A receiver may close a kept socket in the moment in which a request goes out on it, which is then a failed attempt. So an
 * idle socket is closed before the receiver does it: after 4 s where it does not say how long it waits (Node, Apache,
 * uvicorn: 5 s), else 2 s before that (undici's defaults), and after a minute at most, as firewalls forget it. What is left
 * of the race is the time that the receiver's FIN takes to come.
 */
const MAX_IDLE_MS = 60_000
/** What is kept of an answer, for an administrator to read. */
const EXCERPT_BYTES = 2 * 1024
/** An answer may be this long, or its connection is closed: the status has said all that matters. */
const MAX_ANSWER_BYTES = 64 * 1024
/** Once the status is there, its body may take this long. */
const BODY_PATIENCE_MS = 1_000

/** XO's own settings; none of both: no proxy. */
export interface ProxySettings {
  /** `http://user:password@host:port` */
  readonly httpProxy?: string | undefined
  /** Hosts that are reached without it, separated by commas. */
  readonly noProxy?: string | undefined
}

/**
 * Opens the sockets of an endpoint: kept alive, at most as many as its lane may use, urgent ones included. Redirects
 * are not followed.
 *
 * @param rules - where requests may go. They hold for addresses in URLs, and for what names resolve to; not for the proxy
 *   itself, nor for what it makes of a name: see {@link denialOfHost}
 */
export function connectTo(endpoint: Endpoint, proxy: ProxySettings, rules: AddressRules = DEFAULT_RULES): Connection {
  const url = new URL(endpoint.url)
  const denial = denialOfHost(url.hostname, rules)
  if (denial !== undefined) {
    return unusable(unreachable(denial))
  }
  let dispatcher: Dispatcher
  try {
    dispatcher = openSockets(url, endpoint.tls, proxy, rules)
  } catch {
    const reason = "the host's proxy setting (httpProxy) is not a URL that can be used"
    return unusable({ kind: 'unreachable', code: 'ERR_INVALID_PROXY', reason })
  }
  const receiver: Receiver = {
    dispatcher,
    origin: url.origin,
    path: url.pathname + url.search,
    headers: headersOf(endpoint),
    running: [],
    isKnown: false,
  }

  return {
    send(request) {
      return new Promise(resolve => new Exchange(receiver, request, resolve).start())
    },
    // callbacks, as the promises are rejected where the sockets are gone already
    close() {
      dispatcher.close(() => {})
    },
    destroy() {
      // by hand: an agent that has been closed before has forgotten its clients
      for (const exchange of [...receiver.running]) {
        exchange.cut()
      }
      dispatcher.destroy(() => {})
    },
  }
}

/** No request can be made, and this is why. */
function unusable(outcome: AttemptOutcome): Connection {
  return { send: () => Promise.resolve(outcome), close() {}, destroy() {} }
}

/** What is the same for every request. The endpoint's own go before ours. */
function headersOf({ headers }: Endpoint): string[] {
  const names = new Set(headers.filter((_, index) => index % 2 === 0).map(name => name.toLowerCase()))
  const ours = [
    ['Accept', 'application/json'],
    ['User-Agent', USER_AGENT],
  ] as const
  return [...ours.filter(([name]) => !names.has(name.toLowerCase())).flat(), ...headers]
}

function openSockets(
  url: URL,
  tls: TlsSettings | undefined,
  { httpProxy, noProxy }: ProxySettings,
  rules: AddressRules
): Dispatcher {
  const timeout = CONNECT_TIMEOUT_MS
  const receiverTls = tlsOptions(url, tls)
  const options = {
    connections: MAX_SOCKETS,
    connect: { timeout, lookup: guardedLookup(rules), ...receiverTls },
    keepAliveMaxTimeout: MAX_IDLE_MS,
    // Exchange has one deadline for everything; undici's own are between two chunks, which a drip outlasts
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  }
  if (httpProxy === undefined) {
    return new Pool(url.origin, options)
  }
  return new EnvHttpProxyAgent({
    ...options,
    httpProxy,
    httpsProxy: httpProxy,
    noProxy: noProxy ?? '',
    // to the proxy: the receiver's certificates, and where receivers may be, are none of its business
    proxyTls: { timeout },
    // to the receiver, through the tunnel
    requestTls: { timeout, ...receiverTls },
  })
}

function tlsOptions({ hostname }: URL, tls: TlsSettings | undefined) {
  return {
    // names without a dot at their end only are sent, and stand in certificates
    ...(hostname.endsWith('.') && { servername: hostname.replace(/\.+$/, '') }),
    ...(tls?.acceptAnyCertificate === true && { rejectUnauthorized: false }),
    // it may be the receiver's own certificate, or of an authority in between
    ...(tls?.ca !== undefined && { ca: tls.ca, allowPartialTrustChain: true }),
    ...(tls?.client && { cert: tls.client.certificate, key: tls.client.key }),
  }
}

/** What the exchanges of one endpoint share. */
interface Receiver {
  readonly dispatcher: Dispatcher
  readonly origin: string
  readonly path: string
  /** What is the same for every request. */
  readonly headers: readonly string[]
  /** Few. Not a `Set`: one that changes all the time leaves tables behind that keep its old members from the collector. */
  readonly running: Exchange[]
  /** It has answered since it last closed a connection without an answer. */
  isKnown: boolean
}

/** One request and its answer. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #receiver: Receiver
  readonly #options: Dispatcher.DispatchOptions
  readonly #deadline: number
  #timer: NodeJS.Timeout
  #resolve: ((outcome: AttemptOutcome) => void) | undefined
  #controller: Dispatcher.DispatchController | undefined
  #status: number | undefined
  #retryAfter: string | undefined
  #excerpt: Buffer = NOTHING
  #received = 0

  constructor(
    receiver: Receiver,
    { contentType, body, headers, timeoutMs }: OutgoingRequest,
    resolve: (outcome: AttemptOutcome) => void
  ) {
    this.#receiver = receiver
    this.#resolve = resolve
    const { origin, path } = receiver
    const all = ['Content-Type', contentType, ...headers, ...receiver.headers]
    this.#options = { origin, path, method: 'POST', headers: all, body }
    this.#deadline = performance.now() + timeoutMs
    this.#timer = setTimeout(() => this.#giveUp(), timeoutMs)
  }

  start(): void {
    this.#receiver.running.push(this)
    try {
      this.#receiver.dispatcher.dispatch(this.#options, this)
    } catch (error) {
      this.#settle(unreachable(error))
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#resolve === undefined) {
      controller.abort(new Error('too late'))
    }
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>
  ): void {
    if (status < 200 || this.#resolve === undefined) {
      return
    }
    this.#status = status
    const retryAfter = headers['retry-after']
    this.#retryAfter = Array.isArray(retryAfter) ? retryAfter[0] : retryAfter
    this.#receiver.isKnown = true
    // most answers are whole by then: another timer for each would cost 4 % of the whole exchange
    queueMicrotask(() => this.#limitBody())
  }

  #limitBody(): void {
    if (this.#resolve !== undefined) {
      clearTimeout(this.#timer)
      this.#timer = setTimeout(() => this.#giveUp(), Math.min(this.#deadline - performance.now(), BODY_PATIENCE_MS))
    }
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#received < EXCERPT_BYTES) {
      this.#excerpt = appended(this.#excerpt, chunk.subarray(0, EXCERPT_BYTES - this.#received))
    }
    this.#received += chunk.length
    if (this.#received > MAX_ANSWER_BYTES) {
      this.#giveUp()
    }
  }

  onResponseEnd(): void {
    this.#settle(this.#answer() ?? unreachable(new Error('no answer')))
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#resolve !== undefined) {
      this.#settle(this.#answer() ?? this.#unanswered(error))
    }
  }

  /**
   * No second try, even where the socket was an old one: the receiver may have done what was asked before it went, and
   * whether and when it is asked again is for the schedule to say.
   */
  #unanswered(error: Error): AttemptOutcome {
    const outcome = unreachable(error)
    if (!SOCKET_LOST.has(outcome.code)) {
      return outcome
    }
    // In TLS 1.3 a receiver refuses a client after the handshake, with an alert that gets lost in undici.
    const mayBeRefused = this.#receiver.origin.startsWith('https:') && !this.#receiver.isKnown
    this.#receiver.isKnown = false
    return mayBeRefused
      ? { ...outcome, reason: `${outcome.reason}; does the receiver ask for a client certificate, or another?` }
      : outcome
  }

  /** What has been heard by now is all that counts. */
  #giveUp(): void {
    this.#settle(this.#answer() ?? { kind: 'timed-out', reason: 'no answer in time' })
    this.#controller?.abort(new Error('too late'))
  }

  /** As `#giveUp`, but by our own will: it says nothing of the receiver. */
  cut(): void {
    this.#settle(this.#answer() ?? unreachable({ code: 'UND_ERR_DESTROYED' }))
    this.#controller?.abort(new Error('stopped'))
  }

  /** What the status says, if there is one: an answer that is cut, endless or slow after it says the same. */
  #answer(): AttemptOutcome | undefined {
    const status = this.#status
    if (status === undefined) {
      return undefined
    }
    const excerpt = this.#excerpt
    if (status < 300) {
      return { kind: 'answered', ok: true, status, excerpt }
    }
    const retryAfterMs = parseRetryAfter(this.#retryAfter, Date.now())
    return { kind: 'answered', ok: false, status, excerpt, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
  }

  /** The first word counts. */
  #settle(outcome: AttemptOutcome): void {
    const resolve = this.#resolve
    if (resolve === undefined) {
      return
    }
    this.#resolve = undefined
    clearTimeout(this.#timer)
    const { running } = this.#receiver
    running.splice(running.indexOf(this), 1)
    resolve(outcome)
  }
}

const NOTHING = Buffer.alloc(0)

/** A copy of both, in memory of its own: a chunk is a view of a larger buffer, which would stay in memory with it. */
function appended(start: Buffer, chunk: Buffer): Buffer {
  const all = Buffer.alloc(start.length + chunk.length) // no `concat`, no `from`: they share a large buffer, too
  start.copy(all)
  chunk.copy(all, start.length)
  return all
}

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
  ['UND_ERR_PRX_TLS', 'TLS: the certificate behind the proxy is for another name'],
  ['UND_ERR_ABORTED', 'the proxy refused to connect'],
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

type Unreachable = Extract<AttemptOutcome, { kind: 'unreachable' }>

function unreachable(error: unknown): Unreachable {
  const code = codeOf(error)
  const reason = error instanceof AddressDeniedError ? error.message : (REASONS.get(code) ?? alertOf(error))
  return { kind: 'unreachable', code, reason: reason ?? fallbackOf(code) }
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
