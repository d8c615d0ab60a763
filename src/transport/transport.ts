import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import type { ConnectionOptions, SecureContextOptions } from 'node:tls'

import type { Connection } from '../delivery/attempt.ts'
import type { AttemptOutcome, Endpoint, TlsSettings } from '../delivery/delivery.ts'
import { DEFAULT_RULES, denialOfHost, guarded } from './address-guard.ts'
import type { AddressRules } from './address-guard.ts'
import { dial, tlsNameOf } from './dial.ts'
import type { Destination, Sessions } from './dial.ts'
import { Exchange } from './exchange.ts'
import type { Receiver } from './exchange.ts'
import { isLoss, STOPPED, unreachable } from './failure.ts'
import type { Unreachable } from './failure.ts'
import { Names } from './names.ts'
import type { Resolver } from './names.ts'
import { parseProxies, ProxyError } from './proxy.ts'
import type { Proxy, ProxySettings } from './proxy.ts'
import { Sockets } from './sockets.ts'
import { CLOSED, dialThrough, failureOf, NO_HTTP } from './tunnel.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}
const USER_AGENT = `Xen-Orchestra-Web-Hooks/${version}`

/**
 * The requests of an endpoint. Its sockets are kept alive; redirects are not followed.
 *
 * @param rules - where requests may go. They hold for addresses in URLs, and for what names resolve to; not for the proxy
 *   itself, nor for what it makes of a name: see {@link denialOfHost}
 * @param names - shared by all endpoints
 */
export function connectTo(
  endpoint: Endpoint,
  proxies: ProxySettings,
  rules: AddressRules = DEFAULT_RULES,
  names: Resolver = new Names()
): Connection {
  const url = new URL(endpoint.url)
  const denial = denialOfHost(url.hostname, rules)
  if (denial !== undefined) {
    return unusable(unreachable(denial))
  }
  const proxy = parseProxies(proxies).of(url)
  if (proxy !== undefined && 'problem' in proxy) {
    return unusable(NO_USABLE_PROXY, NO_USABLE_PROXY.code)
  }
  let destination: Destination
  try {
    destination = destinationOf(url, endpoint)
  } catch (error) {
    return unusable(unreachable(error, 'tls'))
  }
  const allowed = guarded(names, rules)
  const sessions = { receiver: {}, proxy: {} } satisfies Record<string, Sessions>
  const sockets = new Sockets(
    url.origin,
    done =>
      proxy === undefined
        ? dial(destination, allowed, sessions.receiver, done)
        : dialThrough(proxy, destination, names, sessions, done),
    address =>
      proxy === undefined ? allowed.isCurrent(destination.hostname, address) : names.isCurrent(proxy.hostname, address)
  )
  const asked = proxy !== undefined && destination.tls === undefined ? proxy : undefined
  const pathPrefix = asked === undefined ? '' : url.origin
  const receiver: Receiver = {
    sockets,
    origin: url.origin,
    method: endpoint.method ?? 'POST',
    path: pathPrefix + url.pathname + url.search,
    pathPrefix,
    headers: [...proxyHeadersOf(asked), ...headersOf(endpoint)],
    contentType: endpoint.contentType,
    running: [],
    showsCertificate: endpoint.tls?.client !== undefined,
    ...(asked !== undefined && {
      failureOfProxy: (status, headers) => failureOf(status, headers, asked.authorization !== undefined),
    }),
    isKnown: false,
  }
  return {
    ...(proxy !== undefined && { proxy: proxy.name }),
    send(request) {
      if (sockets.isClosed) {
        return Promise.resolve(STOPPED)
      }
      return new Promise(resolve => {
        const settle = asked === undefined ? resolve : (outcome: AttemptOutcome) => resolve(throughProxy(outcome))
        new Exchange(receiver, request.timeoutMs, settle).start(request)
      })
    },
    close() {
      sockets.close()
    },
    destroy() {
      sockets.close()
      for (const exchange of [...receiver.running]) {
        exchange.cut()
      }
    },
  }
}

/** No request can be made, and this is why. @param proxy - which is to blame */
function unusable(outcome: AttemptOutcome, proxy?: string): Connection {
  return { send: () => Promise.resolve(outcome), close() {}, destroy() {}, ...(proxy !== undefined && { proxy }) }
}

const NO_USABLE_PROXY: Unreachable = {
  kind: 'unreachable',
  code: 'ERR_INVALID_PROXY',
  layer: 'proxy',
  reason: "xo-server's proxy setting (httpProxy) cannot be used, see its log",
}

function proxyHeadersOf(proxy: Proxy | undefined): string[] {
  return proxy?.authorization === undefined ? [] : ['Proxy-Authorization', proxy.authorization]
}

/** Of a request for an absolute URL: the proxy is the one that we hear, and that we lose. */
function throughProxy(outcome: AttemptOutcome): AttemptOutcome {
  if (outcome.kind === 'answered') {
    return outcome
  }
  if (outcome.kind === 'unreachable' && isLoss(outcome)) {
    return unreachable(new ProxyError({ code: outcome.code, reason: CLOSED }))
  }
  return outcome.layer === 'http'
    ? unreachable(new ProxyError({ code: 'NOT_HTTP', reason: NO_HTTP, isOnlyHere: true }))
    : outcome
}

/** What is the same for every request. The endpoint's own go before ours. */
function headersOf({ headers, host }: Endpoint): string[] {
  const names = new Set(headers.filter((_, index) => index % 2 === 0).map(name => name.toLowerCase()))
  const ours = [
    ['Accept', 'application/json, */*;q=0.5'],
    ['User-Agent', USER_AGENT],
    ...(host === undefined ? [] : [['Host', host] as const]),
  ] as const
  return [...ours.filter(([name]) => !names.has(name.toLowerCase())).flat(), ...headers]
}

/** @throws if the certificates or the key of the endpoint cannot be used */
function destinationOf({ protocol, hostname, port }: URL, { tls: settings, host }: Endpoint): Destination {
  const isSecure = protocol === 'https:'
  return {
    hostname: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (isSecure ? 443 : 80) : Number(port),
    ...(isSecure && {
      tls: {
        ...tlsNameOf(host === undefined ? hostname : new URL(`https://${host}`).hostname),
        ...(settings !== undefined && tlsOptions(settings)),
      },
    }),
  }
}

/** The texts are read here once, and not at every socket. */
function tlsOptions({ acceptAnyCertificate, ca, client }: TlsSettings): ConnectionOptions {
  const texts: SecureContextOptions = {
    // it may be the receiver's own certificate, or of an authority in between
    ...(ca !== undefined && { ca, allowPartialTrustChain: true }),
    ...(client && { cert: client.certificate, key: client.key }),
  }
  return {
    ...(acceptAnyCertificate && { rejectUnauthorized: false }),
    ...(Object.keys(texts).length > 0 && { secureContext: tls.createSecureContext(texts) }),
  }
}
