import net from 'node:net'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import { domainToASCII } from 'node:url'

import type { Resolver } from './names.ts'

/** Where a socket leads to. */
export interface Destination {
  /** A name, or an address; IPv6 without brackets. */
  readonly hostname: string
  readonly port: number
  /** Of `https`: whom to trust, which certificate to show, under which name; see {@link tlsNameOf}. */
  readonly tls?: ConnectionOptions
}

/**
 * What a socket that is not open yet is waiting for: the layer that is to blame if that takes too long. `proxy`: a connection
 * to the proxy; `tunnel`: the proxy's connection to the receiver.
 */
export type Phase = 'name' | 'connection' | 'proxy' | 'tunnel' | 'tls'

/** A socket on its way. It has no limit of its own: whoever wants it cancels it at the deadline of the attempt. */
export interface Dialling {
  readonly phase: Phase
  /** Gives up whatever it is waiting for: nothing of it goes on, and nobody is told. Not after it has ended. */
  cancel(): void
}

/** Called once, later; never after `cancel`. With an error, nothing is left open. */
export type Dialled = (error: Error | null, socket?: Socket) => void

/** TLS sessions of one endpoint: the next handshake is shorter. */
export interface Sessions {
  latest?: Buffer
}

/** As undici's own sockets: a receiver that went without a word is noticed. */
const KEEP_ALIVE_AFTER_MS = 60_000

/** Without an answer from one address for so long, the next is tried beside it (RFC 8305 §5). */
const STAGGER_MS = 250

/** Opens one socket, ready for HTTP. */
export function dial(destination: Destination, names: Resolver, sessions: Sessions, done: Dialled): Dialling {
  const { hostname, port, tls: options } = destination
  const connect: Step = next => connectTcp(hostname, port, names, next)
  return options === undefined
    ? connect(done)
    : inTurn(connect, (socket, next) => secure(socket, options, sessions, next), done)
}

type Step = (done: Dialled) => Dialling

/** A step, and another one on the socket that it has opened. */
export function inTurn(first: Step, then: (socket: Socket, done: Dialled) => Dialling, done: Dialled): Dialling {
  let current = first((error, socket) => {
    if (socket === undefined) {
      done(error)
    } else {
      current = then(socket, done)
    }
  })
  return {
    get phase() {
      return current.phase
    },
    cancel: () => current.cancel(),
  }
}

/**
 * Opens a TCP socket to the first address that takes one: "happy eyeballs" (RFC 8305). Each address has until the end, as a
 * slow one may be the only one that works; the addresses of both families take turns.
 *
 * @param host - a name, or an address, which is not asked for; IPv6 without brackets
 */
export function connectTcp(host: string, port: number, names: Resolver, done: Dialled): Dialling {
  if (net.isIP(host) !== 0) {
    return race([host], port, done)
  }
  let racing: Dialling | undefined
  const giveUp = names.resolve(host, (error, addresses) => {
    if (error !== null) {
      done(error)
      return
    }
    racing = race(interleaved(addresses), port, (failure, socket) => {
      if (socket?.remoteAddress !== undefined) {
        names.prefer(host, socket.remoteAddress)
      }
      done(failure, socket)
    })
  })
  return {
    get phase() {
      return racing?.phase ?? 'name'
    },
    cancel() {
      giveUp()
      racing?.cancel()
    },
  }
}

/** The order stays, but for families that take turns. */
function interleaved(addresses: readonly string[]): string[] {
  const family = net.isIP(addresses[0]!)
  const same = addresses.filter(address => net.isIP(address) === family)
  const others = addresses.filter(address => net.isIP(address) !== family)
  return addresses.flatMap((_, index) => [...same.slice(index, index + 1), ...others.slice(index, index + 1)])
}

function race(addresses: readonly string[], port: number, done: Dialled): Dialling {
  const waiting = addresses.values()
  const running = new Set<Socket>()
  const errors: NodeJS.ErrnoException[] = []
  let timer: NodeJS.Timeout | undefined

  const stop = (): void => {
    clearTimeout(timer)
    running.forEach(drop)
    running.clear()
  }
  const startNext = (): void => {
    clearTimeout(timer)
    const { value: address } = waiting.next()
    if (address === undefined) {
      if (running.size === 0) {
        done(mostTelling(errors))
      }
      return
    }
    timer = setTimeout(startNext, STAGGER_MS)
    const socket = net.connect({ host: address, port })
    running.add(socket)
    const onError = (error: Error): void => {
      running.delete(socket)
      drop(socket)
      errors.push(error)
      startNext()
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      socket.off('error', onError)
      running.delete(socket)
      stop()
      done(null, socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_AFTER_MS))
    })
  }
  startNext()
  return { phase: 'connection', cancel: stop }
}

/** What says least of the receiver: there is no way to addresses of this family from here. */
const NO_WAY: ReadonlySet<unknown> = new Set(['ENETUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL'])

/** Where something refused, the others do not matter. */
function mostTelling(errors: readonly NodeJS.ErrnoException[]): Error {
  return (
    errors.find(({ code }) => code === 'ECONNREFUSED') ??
    errors.find(({ code }) => !NO_WAY.has(code)) ??
    errors[0] ??
    new Error('no address')
  )
}

/** Makes a TLS socket of one that is open. */
export function secure(socket: Socket, options: ConnectionOptions, sessions: Sessions, done: Dialled): Dialling {
  const { latest } = sessions
  const secured = tls.connect({
    ...options,
    socket,
    ALPNProtocols: ['http/1.1'],
    ...(latest !== undefined && { session: latest }),
  })
  secured.on('session', session => (sessions.latest = session))
  const onError = (error: Error): void => {
    drop(secured)
    done(error)
  }
  secured.once('error', onError)
  secured.once('secureConnect', () => {
    secured.off('error', onError)
    done(null, secured)
  })
  return {
    phase: 'tls',
    cancel() {
      secured.off('error', onError)
      drop(secured)
    },
  }
}

/**
 * Under which name a host is asked for its certificate, for {@link Destination.tls}. Names without a dot at their end only
 * are sent, and stand in certificates; addresses stand in certificates, and are not sent (RFC 6066 §3).
 */
export function tlsNameOf(host: string): Pick<ConnectionOptions, 'host' | 'servername'> {
  const name = host.replace(/^\[|\]$|\.+$/g, '')
  if (net.isIP(name) !== 0) {
    return { host: name }
  }
  const servername = domainToASCII(name)
  return { host: servername, servername }
}

/** What it still has to say does not matter, and must not be an uncaught error. */
function drop(socket: Socket): void {
  socket.on('error', () => {})
  socket.destroy()
}
