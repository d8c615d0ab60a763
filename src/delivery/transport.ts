import { readFileSync } from 'node:fs'

import { Client, EnvHttpProxyAgent, Pool } from 'undici'
import type { Dispatcher } from 'undici'

import type { AttemptOutcome, Endpoint } from './delivery.ts'
import type { Connection, OutgoingRequest } from './dispatcher.ts'
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
 */
export function connectTo(endpoint: Endpoint, proxy: ProxySettings): Connection {
  const { origin, pathname, search } = endpoint.url
  const target = { origin, path: pathname + search, headers: endpoint.headers }
  const dispatcher = openSockets(origin, endpoint.timeoutMs, proxy)

  return {
    async send(request) {
      const deadline = performance.now() + endpoint.timeoutMs
      const first = new Exchange(deadline)
      const outcome = await first.run(dispatcher, target, request)
      // A kept-alive connection that the receiver closed in the same moment: nothing was read, let alone processed.
      return first.isStaleSocket ? new Exchange(deadline).run(dispatcher, target, request) : outcome
    },
    close() {
      void dispatcher.close()
    },
    destroy() {
      void dispatcher.destroy()
    },
  }
}

function openSockets(origin: string, timeoutMs: number, { httpProxy, noProxy }: ProxySettings): Dispatcher {
  const options = {
    connections: 2 * LANE_CONCURRENCY,
    connect: { timeout: Math.min(CONNECT_TIMEOUT_MS, timeoutMs) },
    factory: (to: URL | string, clientOptions: object) => new CountingClient(to, clientOptions),
    // Exchange has one deadline for everything; undici's own are between two chunks, which a drip outlasts
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  }
  if (httpProxy === undefined) {
    return new Pool(origin, options)
  }
  const { factory: _, ...agentOptions } = options
  return new EnvHttpProxyAgent({
    ...agentOptions,
    httpProxy,
    httpsProxy: httpProxy,
    noProxy: noProxy ?? '',
    proxyTls: options.connect,
    requestTls: options.connect,
  })
}

interface Target {
  readonly origin: string
  readonly path: string
  readonly headers: readonly string[]
}

/** What undici hands down to the client unchanged: lets an exchange learn which socket it got. */
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

/** One request and its answer, under one deadline. */
class Exchange implements Dispatcher.DispatchHandler {
  client: CountingClient | undefined
  readonly #deadline: number
  #controller: Dispatcher.DispatchController | undefined
  #timer: NodeJS.Timeout | undefined
  #resolve: ((outcome: AttemptOutcome) => void) | undefined
  #status: number | undefined
  #retryAfterMs: number | undefined
  #chunks: Buffer[] = []
  #received = 0
  #isStale = false

  constructor(deadline: number) {
    this.#deadline = deadline
  }

  /** It failed before any byte of an answer, on a connection that had served before. */
  get isStaleSocket(): boolean {
    return this.#isStale
  }

  run(dispatcher: Dispatcher, target: Target, request: OutgoingRequest): Promise<AttemptOutcome> {
    return new Promise(resolve => {
      this.#resolve = resolve
      this.#timer = setTimeout(() => this.#giveUp(), Math.max(0, this.#deadline - performance.now()))
      const options: ExchangeOptions = {
        exchange: this,
        origin: target.origin,
        path: target.path,
        method: 'POST',
        headers: [
          'Content-Type',
          request.contentType,
          'Accept',
          'application/json',
          'User-Agent',
          USER_AGENT,
          ...request.headers,
          ...target.headers,
        ],
        body: request.body,
      }
      try {
        dispatcher.dispatch(options, this)
      } catch (error) {
        this.#settle(unreachable(error))
      }
    })
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
    this.#retryAfterMs = parseRetryAfter(Array.isArray(retryAfter) ? retryAfter[0] : retryAfter, Date.now())
    clearTimeout(this.#timer)
    const leftMs = this.#deadline - performance.now()
    this.#timer = setTimeout(() => this.#giveUp(), Math.max(0, Math.min(leftMs, BODY_PATIENCE_MS)))
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#received < EXCERPT_BYTES) {
      // a copy: the chunk is a view of a larger buffer that would stay in memory with it
      this.#chunks.push(Buffer.from(chunk.subarray(0, EXCERPT_BYTES - this.#received)))
    }
    this.#received += chunk.length
    if (this.#received > MAX_ANSWER_BYTES) {
      this.#giveUp()
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
    this.#isStale = answer === undefined && isSocketLost(error) && (this.client?.served ?? 0) > 0
    this.#settle(answer ?? unreachable(error))
  }

  /** What the status says, if there is one: an answer that is cut, endless or slow after it says the same. */
  #answer(): AttemptOutcome | undefined {
    const status = this.#status
    if (status === undefined) {
      return undefined
    }
    const excerpt = Buffer.concat(this.#chunks).toString()
    if (status < 300) {
      return { kind: 'accepted', status, excerpt }
    }
    const retryAfterMs = this.#retryAfterMs
    return { kind: 'refused', status, excerpt, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
  }

  #giveUp(): void {
    this.#settle(this.#answer() ?? { kind: 'timed-out', reason: 'no answer in time' })
    this.#controller?.abort(new Error('too late'))
  }

  /** The first word counts. */
  #settle(outcome: AttemptOutcome): void {
    clearTimeout(this.#timer)
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
  ['UND_ERR_PRX_TLS', 'TLS: the certificate behind the proxy is for another name'],
  ['UND_ERR_ABORTED', 'the proxy refused to connect'],
  ['UND_ERR_HEADERS_OVERFLOW', 'the headers of the answer are too large'],
  ['UND_ERR_DESTROYED', 'stopped'],
  ['UND_ERR_CLOSED', 'stopped'],
])

function unreachable(error: unknown): AttemptOutcome {
  const code = codeOf(error)
  const fallback =
    code.startsWith('ERR_SSL_') || code === 'EPROTO'
      ? 'TLS: the two sides did not come to terms; is this an https URL?'
      : code.startsWith('HPE_')
        ? 'the answer is not HTTP'
        : 'the request failed'
  return { kind: 'unreachable', code, reason: REASONS.get(code) ?? fallback }
}
