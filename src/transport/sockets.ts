import { Client } from 'undici'
import type { Dispatcher } from 'undici'

import type { Dialled, Dialling, Phase } from './dial.ts'
import { Reading } from './reading.ts'

/** No socket lives longer, so that a name that moves is followed. */
const MAX_AGE_MS = 60_000

export type Dial = (done: Dialled) => Dialling

/**
 * The sockets of one endpoint. A request takes one for itself alone, from the look-up of the name to the last byte of the
 * answer, and brings it back only if another request may go out on it. How many there are is for the lane to say.
 *
 * A receiver may close a kept socket in the moment in which a request goes out on it, which is then a failed attempt. So an
 * idle socket is closed before the receiver does it: after 4 s where it does not say how long it waits (Node, Apache,
 * uvicorn: 5 s), else 2 s before that (undici's defaults). What is left of the race is the time that the receiver's FIN takes
 * to come.
 */
export class Sockets {
  readonly #origin: string
  readonly #dial: Dial
  readonly #isCurrent: (address: string) => boolean
  /** The last one was used last. */
  readonly #idle: OwnedSocket[] = []
  #isClosed = false

  /** @param isCurrent - whether a new socket might lead to this address, too: a name that has moved is followed at once */
  constructor(origin: string, dial: Dial, isCurrent: (address: string) => boolean) {
    this.#origin = origin
    this.#dial = dial
    this.#isCurrent = isCurrent
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  take(): OwnedSocket {
    for (const kept of [...this.#idle].reverse()) {
      if (kept.isSending) {
        continue
      }
      this.#idle.splice(this.#idle.indexOf(kept), 1)
      if (!kept.isOld && (kept.address === undefined || this.#isCurrent(kept.address))) {
        return kept
      }
      kept.destroy()
    }
    return new OwnedSocket(this.#origin, this.#dial, closed => this.#remove(closed))
  }

  /** Its request has been answered to the last byte. */
  giveBack(socket: OwnedSocket): void {
    socket.forgetAnswer()
    if (this.#isClosed || socket.isOld) {
      socket.destroy()
    } else {
      this.#idle.push(socket)
    }
  }

  #remove(socket: OwnedSocket): void {
    const index = this.#idle.indexOf(socket)
    if (index !== -1) {
      this.#idle.splice(index, 1)
      socket.destroy()
    }
  }

  /** Those that are in use may be used to the end. */
  close(): void {
    this.#isClosed = true
    this.#idle.splice(0).forEach(socket => socket.destroy())
  }
}

/** One socket, for one request at a time; opened when the first one goes out on it. */
export class OwnedSocket {
  readonly #client: Client
  #dialling: Dialling | undefined
  #failedIn: Phase | undefined
  #reading: Reading | undefined
  #diallingSince = 0
  #address: string | undefined

  constructor(origin: string, dial: Dial, onClosed: (socket: OwnedSocket) => void) {
    this.#client = new Client(origin, {
      connect: (_options, callback) => {
        this.#diallingSince = performance.now()
        const dialling = dial((error, socket) => {
          this.#dialling = undefined
          this.#failedIn = socket === undefined ? dialling.phase : undefined
          if (socket !== undefined) {
            this.#address = socket.remoteAddress
            this.#reading = new Reading(socket)
            callback(null, socket)
          } else {
            callback(error ?? new Error('no socket'), null)
          }
        })
        this.#dialling = dialling
      },
      keepAliveMaxTimeout: MAX_AGE_MS,
      // the exchange has one deadline for everything; undici's own are between two chunks, which a drip outlasts
      headersTimeout: 0,
      bodyTimeout: 0,
      allowH2: false,
    })
    this.#client.on('disconnect', () => onClosed(this))
  }

  get isOld(): boolean {
    return performance.now() - this.#diallingSince >= MAX_AGE_MS
  }

  /** Where it leads to, once it is open. */
  get address(): string | undefined {
    return this.#address
  }

  /** What it is waiting for while it is not open yet, or was when it failed. */
  get phase(): Phase | undefined {
    return this.#dialling?.phase ?? this.#failedIn
  }

  /** The last request was answered before all of it went out: the receiver may never read the rest, nor what comes after. */
  get isSending(): boolean {
    return this.#reading?.isSending === true
  }

  /** See {@link Reading.error}. */
  get error(): Error | undefined {
    return this.#reading?.error
  }

  /** See {@link Reading.status}. */
  get status(): number | undefined {
    return this.#reading?.status
  }

  /** See {@link Reading.expectAnswer}. */
  expectAnswer(): void {
    this.#reading?.expectAnswer()
  }

  /** See {@link Reading.forgetAnswer}. */
  forgetAnswer(): void {
    this.#reading?.forgetAnswer()
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#client.dispatch(options, handler)
  }

  /** At once, whatever it is doing: nothing of it goes on. */
  destroy(): void {
    this.#dialling?.cancel()
    this.#dialling = undefined
    // with a callback, as the promise is rejected where it is gone already
    this.#client.destroy(() => {})
  }
}
