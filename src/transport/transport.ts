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
import { STOPPED, unreachable } from './failure.ts'
import { Names } from './names.ts'
import type { Resolver } from './names.ts'
import { Sockets } from './sockets.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}
const USER_AGENT = `Xen-Orchestra-Web-Hooks/${version}`

/** XO's own settings; none of both: no proxy. */
export interface ProxySettings {
  /** `http://user:password@host:port` */
  readonly httpProxy?: string | undefined
  /** Hosts that are reached without it, separated by commas. */
  readonly noProxy?: string | undefined
}

/**
 * The requests of an endpoint. Its sockets are kept alive; redirects are not followed.
 *
 * @param rules - where requests may go. They hold for addresses in URLs, and for what names resolve to; not for the proxy
 *   itself, nor for what it makes of a name: see {@link denialOfHost}
 * @param names - shared by all endpoints
 */
export function connectTo(
  endpoint: Endpoint,
  _proxy: ProxySettings,
  rules: AddressRules = DEFAULT_RULES,
  names: Resolver = new Names()
): Connection {
  const url = new URL(endpoint.url)
  const denial = denialOfHost(url.hostname, rules)
  if (denial !== undefined) {
    return unusable(unreachable(denial))
  }
  let destination: Destination
  try {
    destination = destinationOf(url, endpoint)
  } catch (error) {
    return unusable(unreachable(error, 'tls'))
  }
  const allowed = guarded(names, rules)
  const sessions: Sessions = {}
  const sockets = new Sockets(
    url.origin,
    done => dial(destination, allowed, sessions, done),
    address => allowed.isCurrent(destination.hostname, address)
  )
  const receiver: Receiver = {
    sockets,
    origin: url.origin,
    path: url.pathname + url.search,
    headers: headersOf(endpoint),
    contentType: endpoint.contentType,
    running: [],
    showsCertificate: endpoint.tls?.client !== undefined,
    isKnown: false,
  }
  return {
    send(request) {
      if (sockets.isClosed) {
        return Promise.resolve(STOPPED)
      }
      return new Promise(resolve => new Exchange(receiver, request.timeoutMs, resolve).start(request))
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

/** No request can be made, and this is why. */
function unusable(outcome: AttemptOutcome): Connection {
  return { send: () => Promise.resolve(outcome), close() {}, destroy() {} }
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
