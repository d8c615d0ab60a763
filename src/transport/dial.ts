import net from 'node:net'
import type { LookupFunction, Socket } from 'node:net'
import tls from 'node:tls'
import type { ConnectionOptions } from 'node:tls'

/** Where a socket leads to. */
export interface Destination {
  /** A name, or an address; IPv6 without brackets. */
  readonly hostname: string
  readonly port: number
  /** Of `https`: whom to trust, which certificate to show, under which name. */
  readonly tls?: ConnectionOptions
}

/** What a socket that is not open yet is waiting for: the layer that is to blame if that takes too long. */
export type Phase = 'name' | 'connection' | 'tls'

/** A socket on its way. */
export interface Dialling {
  readonly phase: Phase
  /** Gives up whatever it is waiting for: nothing of it goes on, and nobody is told. */
  cancel(): void
}

export type Dialled = (error: Error | null, socket?: Socket) => void

/** TLS sessions of one endpoint: the next handshake is shorter. */
export interface Sessions {
  latest?: Buffer
}

/** As undici's own sockets: a receiver that went without a word is noticed. */
const KEEP_ALIVE_AFTER_MS = 60_000

/**
 * Opens one socket, ready for HTTP. It has no limit of its own: whoever wants it cancels it at the deadline of the attempt.
 *
 * @param done - called once, later; never after `cancel`
 */
export function dial(destination: Destination, lookup: LookupFunction, sessions: Sessions, done: Dialled): Dialling {
  const { hostname, port } = destination
  let phase: Phase = net.isIP(hostname) === 0 ? 'name' : 'connection'
  let socket: Socket = net.connect({ host: hostname, port, lookup })
  socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_AFTER_MS)
  socket.once('lookup', () => (phase = 'connection'))
  const settle = (error: Error | null): void => {
    socket.off('error', settle)
    if (error === null) {
      done(null, socket)
    } else {
      drop(socket)
      done(error)
    }
  }
  socket.on('error', settle)
  socket.once('connect', () => {
    if (destination.tls === undefined) {
      settle(null)
      return
    }
    phase = 'tls'
    socket.off('error', settle)
    const secure = tls.connect({
      ...destination.tls,
      socket,
      ALPNProtocols: ['http/1.1'],
      ...(sessions.latest !== undefined && { session: sessions.latest }),
    })
    secure.on('session', session => (sessions.latest = session))
    secure.on('error', settle)
    secure.once('secureConnect', () => settle(null))
    socket = secure
  })
  return {
    get phase() {
      return phase
    },
    cancel() {
      socket.off('error', settle)
      drop(socket)
    },
  }
}

/** What it still has to say does not matter, and must not be an uncaught error. */
function drop(socket: Socket): void {
  socket.on('error', () => {})
  socket.destroy()
}
