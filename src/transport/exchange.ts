import type { Dispatcher } from 'undici'

import type { OutgoingRequest } from '../delivery/attempt.ts'
import type { AttemptOutcome } from '../delivery/delivery.ts'
import type { Phase } from './dial.ts'
import { isLoss, STOPPED, unreachable } from './failure.ts'
import { parseRetryAfter } from './retry-after.ts'
import type { OwnedSocket, Sockets } from './sockets.ts'

/** What is kept of an answer, for an administrator to read. */
const EXCERPT_BYTES = 2 * 1024

/** By name in small letters, as undici gives them. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>

/** What the exchanges of one endpoint share. */
export interface Receiver {
  readonly sockets: Sockets
  readonly origin: string
  readonly method: 'POST' | 'PUT'
  readonly path: string
  /** In front of a path of a request's own. */
  readonly pathPrefix: string
  /** Names and values in turn, the same for every request. */
  readonly headers: readonly string[]
  /** Goes instead of the payload's. */
  readonly contentType: string | undefined
  /** Few. Not a `Set`: one that changes all the time leaves tables behind that keep its old members from the collector. */
  readonly running: Exchange[]
  /** Of TLS, to a receiver that asks. */
  readonly showsCertificate: boolean
  /** Of a proxy that is asked for absolute URLs: that an answer is its own and no answer of the receiver's, and why it came. */
  readonly failureOfProxy?: (status: number, headers: AnswerHeaders) => Error | undefined
  /** It has answered since it last closed a connection without an answer. */
  isKnown: boolean
}

/** One request and its answer. It owns its socket: with its deadline, everything ends. */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #receiver: Receiver
  readonly #socket: OwnedSocket
  readonly #timer: NodeJS.Timeout
  #resolve: ((outcome: AttemptOutcome) => void) | undefined
  #status: number | undefined
  #ofProxy: AttemptOutcome | undefined
  #retryAfter: readonly string[] = []
  #date: string | undefined
  #excerpt: Buffer = NOTHING

  constructor(receiver: Receiver, timeoutMs: number, resolve: (outcome: AttemptOutcome) => void) {
    this.#receiver = receiver
    this.#socket = receiver.sockets.take()
    this.#resolve = resolve
    this.#timer = setTimeout(() => this.#giveUp(), timeoutMs)
  }

  start({ contentType, body, headers, path: filled }: OutgoingRequest): void {
    const { origin, method, pathPrefix, headers: ours, contentType: own, running } = this.#receiver
    const path = filled === undefined ? this.#receiver.path : pathPrefix + filled
    running.push(this)
    const all = ['Content-Type', own ?? contentType, ...headers, ...ours]
    try {
      this.#socket.dispatch({ origin, path, method, headers: all, body }, this)
    } catch (error) {
      this.#end(unreachable(error))
    }
  }

  onRequestStart(): void {
    this.#socket.expectAnswer()
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: AnswerHeaders): void {
    this.#status = status
    const failure = this.#receiver.failureOfProxy?.(status, headers)
    this.#ofProxy = failure && unreachable(failure)
    this.#retryAfter = [headers['retry-after'] ?? []].flat()
    this.#date = [headers['date']].flat()[0]
    this.#receiver.isKnown = true
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const left = EXCERPT_BYTES - this.#excerpt.length
    if (left > 0) {
      this.#excerpt = appended(this.#excerpt, chunk.subarray(0, left))
    }
  }

  onResponseEnd(): void {
    if (this.#resolve !== undefined) {
      this.#receiver.sockets.giveBack(this.#socket)
      this.#settle(this.#answer() ?? unreachable(new Error('no answer')))
    }
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#resolve !== undefined) {
      this.#end(this.#answer() ?? this.#unanswered(error))
    }
  }

  /**
   * No second try, even where the socket was an old one: the receiver may have done what was asked before it went, and
   * whether and when it is asked again is for the schedule to say.
   */
  #unanswered(error: Error): AttemptOutcome {
    const outcome = unreachable(this.#socket.error ?? error, this.#socket.phase)
    if (!isLoss(outcome)) {
      return outcome
    }
    const { isKnown, showsCertificate } = this.#receiver
    this.#receiver.isKnown = false
    // some refuse a client without a word, in TLS 1.3 after the handshake
    return showsCertificate && !isKnown
      ? { ...outcome, reason: `${outcome.reason} (the receiver may not accept the client certificate)` }
      : outcome
  }

  /** What has been heard by now is all that counts. */
  #giveUp(): void {
    this.#end(this.#answer() ?? timedOut(this.#socket.phase))
  }

  /** As `#giveUp`, but by our own will: it says nothing of the receiver. */
  cut(): void {
    this.#end(this.#answer() ?? STOPPED)
  }

  /** What the status says, if there is one: an answer that is cut, endless or slow after it says the same. */
  #answer(): AttemptOutcome | undefined {
    const status = this.#status ?? this.#socket.status
    if (status === undefined) {
      return undefined
    }
    if (this.#ofProxy !== undefined) {
      return this.#ofProxy
    }
    const excerpt = this.#excerpt
    if (status < 300) {
      return { kind: 'answered', ok: true, status, excerpt }
    }
    const asked = parseRetryAfter(this.#retryAfter, this.#date, Date.now())
    return {
      ...{ kind: 'answered', ok: false, status, excerpt },
      ...(asked !== undefined && 'delayMs' in asked && { retryAfterMs: asked.delayMs }),
      ...(asked !== undefined && 'ignored' in asked && { note: `its Retry-After is not obeyed: ${asked.ignored}` }),
    }
  }

  /** No other request may go out on this socket. */
  #end(outcome: AttemptOutcome): void {
    this.#settle(outcome)
    this.#socket.destroy()
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

function timedOut(phase: Phase | undefined): AttemptOutcome {
  const late = phase ?? 'answer'
  return {
    ...{ kind: 'timed-out', layer: late === 'tunnel' ? 'proxy' : late, reason: LATE[late] },
    // it may wait for the receiver
    ...(late === 'tunnel' && { isOnlyHere: true }),
  }
}

const LATE: Readonly<Record<Phase | 'answer', string>> = {
  name: 'the host name was not looked up in time (DNS): does the name server answer?',
  connection: 'no connection in time: does a firewall drop it?',
  proxy: 'no connection to the proxy in time',
  tunnel: 'the proxy has not connected in time',
  tls: 'TLS: no end of the handshake in time',
  answer: 'no answer in time',
}

const NOTHING = Buffer.alloc(0)

/** A copy of both, in memory of its own: a chunk is a view of a larger buffer, which would stay in memory with it. */
function appended(start: Buffer, chunk: Buffer): Buffer {
  const all = Buffer.alloc(start.length + chunk.length) // no `concat`, no `from`: they share a large buffer, too
  start.copy(all)
  chunk.copy(all, start.length)
  return all
}
