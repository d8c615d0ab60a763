import { readFileSync } from 'node:fs'
import net from 'node:net'
import type { ConnectionOptions } from 'node:tls'

import type { Connection } from '../delivery/attempt.ts'
import type { AttemptOutcome, Endpoint, TlsSettings } from '../delivery/delivery.ts'
import { DEFAULT_RULES, denialOfHost, guardedLookup } from './address-guard.ts'
import type { AddressRules } from './address-guard.ts'
import { dial } from './dial.ts'
import type { Destination, Sessions } from './dial.ts'
import { Exchange } from './exchange.ts'
import type { Receiver } from './exchange.ts'
import { unreachable } from './failure.ts'
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
 */
export function connectTo(endpoint: Endpoint, _proxy: ProxySettings, rules: AddressRules = DEFAULT_RULES): Connection {
  const url = new URL(endpoint.url)
  const denial = denialOfHost(url.hostname, rules)
  if (denial !== undefined) {
    return unusable(unreachable(denial))
  }
  const destination = destinationOf(url, endpoint.tls)
  const lookup = guardedLookup(rules)
  const sessions: Sessions = {}
  const sockets = new Sockets(url.origin, done => dial(destination, lookup, sessions, done))
  const receiver: Receiver = {
    sockets,
    origin: url.origin,
    method: endpoint.method ?? 'POST',
    path: url.pathname + url.search,
    headers: headersOf(endpoint),
    running: [],
    isKnown: false,
  }
  return {
    send(request) {
      if (sockets.isClosed) {
        return Promise.resolve(unreachable({ code: 'UND_ERR_CLOSED' }))
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
function headersOf({ headers }: Endpoint): string[] {
  const names = new Set(headers.filter((_, index) => index % 2 === 0).map(name => name.toLowerCase()))
  const ours = [
    ['Accept', 'application/json'],
    ['User-Agent', USER_AGENT],
  ] as const
  return [...ours.filter(([name]) => !names.has(name.toLowerCase())).flat(), ...headers]
}

function destinationOf({ protocol, hostname, port }: URL, settings: TlsSettings | undefined): Destination {
  const isSecure = protocol === 'https:'
  const name = hostname.replace(/^\[|\]$/g, '')
  return {
    hostname: name,
    port: port === '' ? (isSecure ? 443 : 80) : Number(port),
    ...(isSecure && { tls: tlsOptions(name, settings) }),
  }
}

function tlsOptions(hostname: string, settings: TlsSettings | undefined): ConnectionOptions {
  // names without a dot at their end only are sent, and stand in certificates
  const host = hostname.replace(/\.+$/, '')
  return {
    host,
    ...(net.isIP(host) === 0 && { servername: host }),
    ...(settings?.acceptAnyCertificate === true && { rejectUnauthorized: false }),
    // it may be the receiver's own certificate, or of an authority in between
    ...(settings?.ca !== undefined && { ca: settings.ca, allowPartialTrustChain: true }),
    ...(settings?.client && { cert: settings.client.certificate, key: settings.client.key }),
  }
}
