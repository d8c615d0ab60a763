import net from 'node:net'
import { domainToASCII } from 'node:url'

import ipaddr from 'ipaddr.js'

import { parseNetwork } from './address-guard.ts'
import type { Network } from './address-guard.ts'

/** As they stand in xo-server's configuration and environment; none of them: no proxy. */
export interface ProxySettings {
  /** `http://user:password@host:port`, or what people write for that. */
  readonly httpProxy?: string | undefined
  /** For `https` URLs. @default httpProxy */
  readonly httpsProxy?: string | undefined
  /** Hosts that are reached without it, separated by commas or spaces. */
  readonly noProxy?: string | undefined
}

/** An HTTP proxy. */
export interface Proxy {
  /** `http://proxy.example:3128`: for people, without its credentials. */
  readonly name: string
  /** TLS is spoken with the proxy itself. */
  readonly isSecure: boolean
  /** A name, or an address; IPv6 without brackets. */
  readonly hostname: string
  readonly port: number
  /** Value of `Proxy-Authorization`. */
  readonly authorization?: string
}

/** A proxy has failed, as an error. Its message is for an administrator: without its credentials. */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  /** A status, or a word. */
  readonly code: string
  /** See `AttemptOutcome`. */
  readonly isOnlyHere: boolean

  /** @param about - `cause`: why there is no connection to it */
  constructor(
    about: { readonly cause: Error } | { readonly code: string; readonly reason: string; readonly isOnlyHere?: boolean }
  ) {
    super('cause' in about ? '' : about.reason, 'cause' in about ? { cause: about.cause } : {})
    this.code = 'cause' in about ? 'UNREACHABLE' : about.code
    this.isOnlyHere = 'cause' in about ? false : (about.isOnlyHere ?? false)
  }
}

/** There is to be a proxy, and nobody knows which. */
export interface Unusable {
  readonly problem: string
}

export interface Proxies {
  /** `undefined`: the URL is reached without a proxy. */
  readonly of: (url: URL) => Proxy | Unusable | undefined
  /** For an administrator; without credentials. */
  readonly warnings: readonly string[]
}

/**
 * Reads the settings. Never throws. With a proxy that cannot be read nothing goes around it, which would tell of events where
 * nobody is to hear of them: what needs it waits.
 *
 * This machine itself (`localhost`, `*.localhost`, 127.0.0.0/8, `::1`) is never asked of a proxy, whose own it would be.
 */
export function parseProxies({ httpProxy = '', httpsProxy = '', noProxy = '' }: ProxySettings): Proxies {
  const http = parseProxy(httpProxy)
  const https = httpsProxy.trim() === '' ? http : parseProxy(httpsProxy)
  const problems = new Set([http, https].map(each => (each !== undefined && 'problem' in each ? each.problem : '')))
  problems.delete('')
  const { exceptions, ignored } = http === undefined && https === undefined ? NO_EXCEPTIONS : parseNoProxy(noProxy)
  return {
    of(url) {
      const proxy = url.protocol === 'https:' ? https : http
      const host = hostOf(url)
      return proxy === undefined || isLoopback(host) || exceptions.some(isMeant => isMeant(host)) ? undefined : proxy
    },
    warnings: [
      ...[...problems].map(problem => `the proxy cannot be used, and what is to go through it waits: ${problem}`),
      ...(ignored.length === 0 ? [] : [`noProxy: no host is like ${ignored.join(', ')}: ${EXPECTED_HOSTS}`]),
    ],
  }
}

const EXPECTED_HOSTS =
  'expected names, ".example.org", addresses, networks like "10.0.0.0/8", each with or without a port'

const EXPECTED = 'expected one like "http://user:password@proxy.example.org:3128"'

/** The scheme may be left out. What follows the host's port, as a slash, says nothing. */
function parseProxy(setting: string): Proxy | Unusable | undefined {
  const text = setting.trim()
  if (text === '') {
    return undefined
  }
  const [, scheme = 'http', rest = ''] = /^(?:([a-z][a-z\d+.-]*):)?\/\/(.*)$/is.exec(text) ?? ['', 'http', text]
  if (!/^https?$/i.test(scheme)) {
    const what = /^socks/i.test(scheme) ? 'SOCKS is not supported' : 'its scheme is neither http nor https'
    return { problem: `${what}; ${EXPECTED}` }
  }
  if (/^(?:none|no|off|false|null|undefined|direct)$/i.test(rest)) {
    return { problem: `"${rest}" would be its host: leave the setting out where there is to be none` }
  }
  const readings = readingsOf(rest)
  const [reading] = readings
  if (reading === undefined) {
    return { problem: `its host and port cannot be read; ${EXPECTED}` }
  }
  if (readings.length > 1) {
    return { problem: 'write "@", "/", "?" and "#" in its user and password as %40, %2F, %3F and %23' }
  }
  return proxyOf(scheme.toLowerCase() === 'https', reading)
}

/** The parts of a proxy's URL. */
interface Reading {
  readonly userInfo: string
  /** IPv6 in brackets. */
  readonly hostname: string
  /** 0: that of the scheme. */
  readonly port: number
}

/**
 * In how many ways the text behind the scheme can be read: as a URL, whose host ends at the first `/`, `?` or `#`; or so that
 * these belong to the password. Example: `user:a/b@proxy` can only be the latter, as `a` is no port; `user:1/b@proxy` can be
 * both.
 */
function readingsOf(text: string): Reading[] {
  const asUrl = /^[^/?#]*/.exec(text)?.[0] ?? ''
  const whole = text.slice(text.lastIndexOf('@') + 1)
  const asPeopleWrite = text.slice(0, text.length - whole.length) + (/^[^/?#]*/.exec(whole)?.[0] ?? '')
  return [...new Set([asUrl, asPeopleWrite])].map(readingOf).filter(reading => reading !== undefined)
}

/** URLs take such a host for an address, in whatever spelling (WHATWG URL §3.5). */
const ENDS_IN_NUMBER = /(?:^|\.)(?:\d+|0x[\da-f]*)$/i

function readingOf(authority: string): Reading | undefined {
  const [, userInfo = '', host = '', port] =
    /^(?:(.*)@)?(\[[\da-f:.]+\]|[\p{L}\p{M}\p{N}._-]+)(?::(\d{1,5}))?$/isu.exec(authority) ?? []
  const number = Number(port ?? 0)
  const isOddAddress = ENDS_IN_NUMBER.test(host) && net.isIP(host) === 0 // a forgotten name: `3128`
  const isScheme = /^https?$/i.test(host) || /^https?[:;]?\//i.test(userInfo) // `http//proxy`, `http:/user@proxy`
  const isReadable = URL.canParse(`http://${host}`) && !isOddAddress && !isScheme && number <= 65_535 && port !== '0'
  return isReadable ? { userInfo, hostname: new URL(`http://${host}`).hostname, port: number } : undefined
}

function proxyOf(isSecure: boolean, { userInfo, hostname, port }: Reading): Proxy {
  const scheme = isSecure ? 'https' : 'http'
  const actualPort = port === 0 ? (isSecure ? 443 : 80) : port
  const [user = '', ...password] = userInfo.split(':')
  const credentials = `${decoded(user)}:${decoded(password.join(':'))}`
  return {
    name: `${scheme}://${hostname}:${actualPort}`,
    isSecure,
    hostname: hostname.replace(/^\[|\]$/g, ''),
    port: actualPort,
    ...(credentials !== ':' && { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }),
  }
}

/** A `%` that begins no encoded text is meant as such: `100%`. */
function decoded(text: string): string {
  return text.replace(/(?:%[\da-f]{2})+/gi, encoded => {
    try {
      return decodeURIComponent(encoded)
    } catch {
      return encoded
    }
  })
}

/** Of a URL. */
interface Host {
  /** In lower case, without a dot at its end. */
  readonly name: string
  /** If it is one. An IPv4 address that is written as IPv6 is the former. */
  readonly address: Network[0] | undefined
  readonly port: number
}

function hostOf({ hostname, port, protocol }: URL): Host {
  const name = hostname.replace(/^\[|\]$|\.+$/g, '')
  return {
    name,
    address: ipaddr.isValid(name) ? ipaddr.process(name) : undefined,
    port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
  }
}

function isLoopback({ name, address }: Host): boolean {
  return address === undefined ? /(?:^|\.)localhost$/.test(name) : address.range() === 'loopback'
}

type Exception = (host: Host) => boolean

const NO_EXCEPTIONS: ReturnType<typeof parseNoProxy> = { exceptions: [], ignored: [] }

/** @returns what is read, and what no host can ever be like, in quotes */
function parseNoProxy(list: string): { exceptions: Exception[]; ignored: string[] } {
  const exceptions: Exception[] = []
  const ignored: string[] = []
  for (const entry of list.split(/[\s,]+/).filter(text => text !== '')) {
    const exception = parseException(entry.toLowerCase())
    if (exception === undefined) {
      ignored.push(JSON.stringify(entry.replace(/^.*@/s, '').slice(0, 100)))
    } else {
      exceptions.push(exception)
    }
  }
  return { exceptions, ignored }
}

/** Names mean themselves and all below them, with a dot or `*.` before them or not (as with curl). */
function parseException(entry: string): Exception | undefined {
  const network = parseNetwork(entry.replace(/^\[([^\]]*)\](?=$|\/)/, '$1'))
  if (network !== undefined) {
    return ({ address }) => address !== undefined && address.kind() === network[0].kind() && address.match(network)
  }
  const [, host, port] = /^(\[[^\]]*\]|[^:/]*):(\d{1,5})$/.exec(entry) ?? []
  if (host !== undefined) {
    const exception = parseException(host)
    const number = Number(port)
    const isPort = number > 0 && number <= 65_535
    return isPort && exception !== undefined ? asked => asked.port === number && exception(asked) : undefined
  }
  if (entry === '*') {
    return () => true
  }
  const [, star = '', dot = '', name = ''] = /^(\*?)(\.?)([\p{L}\p{M}\p{N}._-]+)$/u.exec(entry) ?? []
  const plain = domainToASCII(name.replace(/\.+$/, ''))
  // an address in a URL is written in four parts, however it was typed
  if (plain === '' || ENDS_IN_NUMBER.test(plain)) {
    return undefined
  }
  return star !== '' && dot === ''
    ? asked => asked.name.endsWith(plain)
    : asked => asked.name === plain || asked.name.endsWith(`.${plain}`)
}
