import { readFileSync } from 'node:fs'

import { Client, EnvHttpProxyAgent, Pool } from 'undici'
import type { Dispatcher } from 'undici'

import { AddressDeniedError, DEFAULT_RULES, denialOfHost, guardedLookup } from './address-guard.ts'
import type { AddressRules } from './address-guard.ts'
import type { AttemptOutcome, Endpoint, TlsSettings } from './delivery.ts'
import type { Connection, OutgoingRequest } from './attempt.ts'
import { LANE_CONCURRENCY } from './lane.ts'
import { parseRetryAfter } from './retry.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}
const USER_AGENT = `Xen-Orchestra-Web-Hooks/${version}`

/** Part of the endpoint's whole timeout. */
const CONNECT_TIMEOUT_MS = 3_000
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
  const { hostname, origin, pathname, search } = endpoint.url
  const denial = denialOfHost(hostname, rules)
  if (denial !== undefined) {
    return unusable(unreachable(denial))
  }
  const target = { origin, path: pathname + search, headers: headersOf(endpoint) }
  let dispatcher: Dispatcher
  try {
    dispatcher = openSockets(endpoint, proxy, rules)
  } catch {
    const reason = "the host's proxy setting (httpProxy) is not a URL that can be used"
    return unusable({ kind: 'unreachable', code: 'ERR_INVALID_PROXY', reason })
  }
  const deadlines = new Deadlines()

  return {
    send(request) {
      return new Promise(resolve => {
        new Exchange(dispatcher, target, request, deadlines, endpoint.timeoutMs, resolve).start()
      })
    },
    // callbacks, as the promises are rejected where the sockets are gone already
    close() {
      dispatcher.close(() => {})
    },
    destroy() {
      deadlines.cut() // by hand: an agent that has been closed before has forgotten its clients
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
  { url, timeoutMs, tls }: Endpoint,
  { httpProxy, noProxy }: ProxySettings,
  rules: AddressRules
): Dispatcher {
  const timeout = Math.min(CONNECT_TIMEOUT_MS, timeoutMs)
  const receiverTls = tlsOptions(url, tls)
  const options = {
    connections: 2 * LANE_CONCURRENCY,
    connect: { timeout, lookup: guardedLookup(rules), ...receiverTls },
    factory: (to: URL | string, clientOptions: object) => new CountingClient(to, clientOptions),
    // Exchange has one deadline for everything; undici's own are between two chunks, which a drip outlasts
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  }
  if (httpProxy === undefined) {
    return new Pool(url.origin, options)
  }
  const { factory: _, ...agentOptions } = options
  return new EnvHttpProxyAgent({
    ...agentOptions,
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

interface Target {
  readonly origin: string
  readonly path: string
  readonly headers: readonly string[]
}

/** What undici hands down to the client as it is: so an exchange learns which socket it got. */
interface ExchangeOptions extends Dispatcher.DispatchOptions {
  readonly exchange?: Exchange
}

/** Knows how many exchanges the present socket has served: a failure on a used one may be the keep-alive race. */
class CountingClient extends Client {
  served = 0

  constructor(origin: URL | string, options: object) {
    super(origin, options)
    this.on('connect', () => {
      this.served = 0
    })
  }

  override dispatch(options: ExchangeOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (options.exchange !== undefined) {
      options.exchange.client = this
    }
    return super.dispatch(options, handler)
  }
}

/** Gives up on exchanges that are late, by up to `PERIOD_MS`: one timer for all of them, as one for each costs more. */
class Deadlines {
  static readonly PERIOD_MS = 50

  /** Few. Not a `Set`: one that changes all the time leaves tables behind that keep its old members from the collector. */
  readonly #running: Exchange[] = []
  #timer: NodeJS.Timeout | undefined

  add(exchange: Exchange): void {
    this.#running.push(exchange)
    this.#timer ??= setInterval(() => this.#check(), Deadlines.PERIOD_MS)
  }

  delete(exchange: Exchange): void {
    const index = this.#running.indexOf(exchange)
    if (index !== -1) {
      this.#running.splice(index, 1)
    }
  }

  /** Ends all of them, now. */
  cut(): void {
    for (const exchange of [...this.#running]) {
      exchange.cut()
    }
  }

  #check(): void {
    const now = performance.now()
    for (const exchange of [...this.#running]) {
      if (now >= exchange.deadline) {
        exchange.giveUp()
      }
    }
    if (this.#running.length === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
  }
}

/** One request and its answer. */
class Exchange implements Dispatcher.DispatchHandler {
  client: CountingClient | undefined
  deadline: number
  readonly #dispatcher: Dispatcher
  readonly #options: ExchangeOptions
  readonly #deadlines: Deadlines
  #resolve: ((outcome: AttemptOutcome) => void) | undefined
  #controller: Dispatcher.DispatchController | undefined
  #isSecondTry = false
  #status: number | undefined
  #retryAfter: string | undefined
  readonly #chunks: Buffer[] = []
  #received = 0

  constructor(
    dispatcher: Dispatcher,
    target: Target,
    { contentType, body, headers }: OutgoingRequest,
    deadlines: Deadlines,
    timeoutMs: number,
    resolve: (outcome: AttemptOutcome) => void
  ) {
    this.#dispatcher = dispatcher
    this.#deadlines = deadlines
    this.#resolve = resolve
    this.deadline = performance.now() + timeoutMs
    const { origin, path } = target
    this.#options = {
      exchange: this,
      origin,
      path,
      method: 'POST',
      headers: ['Content-Type', contentType, ...headers, ...target.headers],
      body,
    }
  }

  start(): void {
    this.#deadlines.add(this)
    this.#dispatch()
  }

  #dispatch(): void {
    try {
      this.#dispatcher.dispatch(this.#options, this)
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
    if (status < 200) {
      return
    }
    this.#status = status
    const retryAfter = headers['retry-after']
    this.#retryAfter = Array.isArray(retryAfter) ? retryAfter[0] : retryAfter
    this.deadline = Math.min(this.deadline, performance.now() + BODY_PATIENCE_MS)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#received < EXCERPT_BYTES) {
      // a copy: the chunk is a view of a larger buffer that would stay in memory with it
      this.#chunks.push(Buffer.from(chunk.subarray(0, EXCERPT_BYTES - this.#received)))
    }
    this.#received += chunk.length
    if (this.#received > MAX_ANSWER_BYTES) {
      this.giveUp()
    }
  }

  onResponseEnd(): void {
    if (this.client !== undefined) {
      ++this.client.served
    }
    this.#settle(this.#answer() ?? unreachable(new Error('no answer')))
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    const answer = this.#answer()
    const isStaleSocket = answer === undefined && isSocketLost(error) && (this.client?.served ?? 0) > 0
    if (isStaleSocket && !this.#isSecondTry && this.#resolve !== undefined) {
      // The receiver closed a kept-alive connection in the same moment: it did not read, let alone process, anything.
      this.#isSecondTry = true
      this.#dispatch()
    } else {
      this.#settle(answer ?? this.#unanswered(error))
    }
  }

  /** In TLS 1.3 a receiver refuses a client after the handshake, with an alert that gets lost in undici. */
  #unanswered(error: Error): AttemptOutcome {
    const isHttps = String(this.#options.origin).startsWith('https:')
    if (!isHttps || !isSocketLost(error) || (this.client?.served ?? 0) > 0) {
      return unreachable(error)
    }
    const reason =
      'the connection was closed before an answer; does the receiver ask for a client certificate, or another?'
    return { kind: 'unreachable', code: codeOf(error), reason }
  }

  /** What has been heard by now is all that counts. */
  giveUp(): void {
    this.#settle(this.#answer() ?? { kind: 'timed-out', reason: 'no answer in time' })
    this.#controller?.abort(new Error('too late'))
  }

  /** As `giveUp`, but by our own will: it says nothing of the receiver. */
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
    const excerpt = Buffer.concat(this.#chunks)
    if (status < 300) {
      return { kind: 'answered', ok: true, status, excerpt }
    }
    const retryAfterMs = parseRetryAfter(this.#retryAfter, Date.now())
    return { kind: 'answered', ok: false, status, excerpt, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
  }

  /** The first word counts. */
  #settle(outcome: AttemptOutcome): void {
    this.#deadlines.delete(this)
    this.#resolve?.(outcome)
    this.#resolve = undefined
  }
}

function isSocketLost(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
}

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
  ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'TLS: the receiver asks for a client certificate'],
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'TLS: the receiver does not know the authority of the client certificate'],
  ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'TLS: the receiver does not accept the client certificate'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'TLS: the client certificate has expired'],
  ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'TLS: the receiver refused; it may ask for a client certificate'],
  ['UND_ERR_PRX_TLS', 'TLS: the certificate behind the proxy is for another name'],
  ['UND_ERR_ABORTED', 'the proxy refused to connect'],
  ['HTTPParserError', 'the answer is not HTTP'],
  ['UND_ERR_HEADERS_OVERFLOW', 'the headers of the answer are too large'],
  ['UND_ERR_DESTROYED', 'stopped'],
  ['UND_ERR_CLOSED', 'stopped'],
])

function unreachable(error: unknown): AttemptOutcome {
  if (error instanceof AddressDeniedError) {
    return { kind: 'unreachable', code: error.code, reason: error.message }
  }
  const code = codeOf(error)
  const fallback =
    code.startsWith('ERR_SSL_') || code === 'EPROTO'
      ? 'TLS: the two sides did not come to terms; is this an https URL?'
      : code.startsWith('HPE_')
        ? 'the answer is not HTTP'
        : 'the request failed'
  return { kind: 'unreachable', code, reason: REASONS.get(code) ?? fallback }
}
