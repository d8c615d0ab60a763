import type { EndpointReport } from './account.ts'
import { attempt } from './attempt.ts'
import type { Connection } from './attempt.ts'
import { isOfProxy } from './delivery.ts'
import type { Attempt, Endpoint, Route } from './delivery.ts'
import { fateOf, pauseAskedFor } from './fate.ts'
import type { HealthChange } from './health.ts'
import type { History } from './history.ts'
import type { Content, Kept } from './kept.ts'
import type { Aftermath } from './lane.ts'
import type { Ledger } from './ledger.ts'
import type { Line, Lines } from './lines.ts'
import type { Origins } from './origins.ts'
import type { Finding, Proxies, ProxyReport } from './proxies.ts'
import type { Queues } from './queues.ts'
import type { Recorder } from './recorder.ts'
import type { Room } from './room.ts'
import type { Routes } from './routes.ts'

/** What happened to a request. */
export type SenderEvent =
  | { readonly type: 'attempted'; readonly kept: Kept; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'dead'; readonly kept: Kept; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'health'; readonly change: HealthChange; readonly report: EndpointReport }
  | { readonly type: 'proxy'; readonly report: ProxyReport }

export interface SenderOptions {
  readonly ledger: Ledger
  readonly routes: Routes
  readonly lines: Lines
  readonly origins: Origins
  readonly proxies: Proxies
  readonly queues: Queues
  readonly room: Room
  readonly recorder: Recorder | undefined
  readonly history: Pick<History, 'attempted'>
  /** A dead letter is kept for this long. */
  readonly maxDeadMs: number
  readonly random: () => number
  readonly schedule: readonly number[] | undefined
  readonly tell: (event: SenderEvent) => void
  /** A line has something new to look at. */
  readonly wake: (line: Line) => void
}

/** A body that cannot be read back at present is asked for again. */
const READ_AGAIN_AFTER_MS = 5_000

/** Makes one attempt of a delivery, and draws all conclusions: for the delivery, its endpoint and its origin. */
export class Sender {
  readonly #options: SenderOptions
  #isClosing = false

  constructor(options: SenderOptions) {
    this.#options = options
  }

  /** From now on, a request that comes to nothing has been cut off by ourselves, and no body is read for one. */
  close(): void {
    this.#isClosing = true
    this.#options.recorder?.stopReading()
  }

  /** From `queued` or `waiting` to whatever it is after its attempt. Never rejects. */
  async send(line: Line, kept: Kept, route: Route): Promise<void> {
    const { lane, connection } = line
    this.#options.ledger.enter(kept, { name: 'sending', endpoint: lane.endpoint.id, isCancelled: false })
    const content = kept.content ?? (await this.#read(kept, lane.endpoint.id))
    if (content === undefined) {
      return
    }
    const { attempts, trigger } = kept.progress
    const { payload, headers } = content
    const request = { id: kept.id, payload, headers, timeoutMs: route.timeoutMs, isQuestion: kept.isQuestion }
    const done = await attempt(connection, lane.endpoint, request, attempts + 1, trigger)
    this.#options.queues.answer(kept.id, done)
    if (!this.#isClosing || done.outcome.kind !== 'unreachable') {
      this.#attempted(line, connection, kept, done)
    } else {
      this.#putBack(kept, 0)
    }
  }

  /** Reads back what is in the journal only; `undefined`: it is not sent now. */
  async #read(kept: Kept, endpoint: string): Promise<Content | undefined> {
    const { ledger, recorder, routes } = this.#options
    let content: Content | undefined
    try {
      content = await recorder?.read(kept)
    } catch {
      this.#putBack(kept, this.#isClosing ? 0 : READ_AGAIN_AFTER_MS)
      return undefined
    }
    if (this.#discardIfUnwanted(kept)) {
      return undefined
    }
    if (content === undefined) {
      ledger.enter(kept, { name: 'ended', how: 'damaged' })
    } else if (this.#isClosing || kept.endpoint !== endpoint || routes.of(kept.owner)?.isPaused === true) {
      this.#putBack(kept, 0) // meanwhile its hook was disabled, or leads elsewhere
      return undefined
    } else {
      ledger.load(kept, content)
    }
    return content
  }

  /** Meanwhile it may have been cancelled, or its hook removed. */
  #discardIfUnwanted(kept: Kept): boolean {
    const { ledger, routes } = this.#options
    const isCancelled = kept.state.name === 'sending' && kept.state.isCancelled
    if (!isCancelled && routes.of(kept.owner) !== undefined) {
      return false
    }
    ledger.enter(kept, { name: 'ended', how: isCancelled ? 'cancelled' : 'hook removed' })
    return true
  }

  /**
   * It was not sent after all, and has come no further. What is as it was accepted stays so: after a restart it goes in the
   * order in which it came. What nobody wants any more is discarded instead.
   */
  #putBack(kept: Kept, stepMs: number): void {
    if (this.#discardIfUnwanted(kept)) {
      return
    }
    const isFresh = stepMs === 0 && kept.progress.attempts === 0 && kept.progress.trigger === 'event'
    const waiting = { name: 'waiting', dueAt: performance.now() + stepMs, stepMs } as const
    this.#options.ledger.enter(kept, isFresh ? { name: 'queued' } : waiting)
  }

  /** @param connection - of the attempt; the line may have another by now */
  #attempted(line: Line, connection: Connection, kept: Kept, done: Attempt): void {
    const { lane } = line
    const { ledger, routes, origins, proxies, queues, recorder, history, room, maxDeadMs, random, schedule, tell } =
      this.#options
    const { outcome } = done
    const { endpoint, origin, health } = lane
    const now = performance.now()
    const route = routes.of(kept.owner)
    const wasFlowing = queues.isFlowing(endpoint.id, now)
    const isProbe = proxies.heldUntil(line) > 0
    const found = line.connection === connection ? proxies.observe(line, outcome, now) : undefined
    const isReceivers = !isOfProxy(outcome)
    const { change, isBack } = isReceivers
      ? lane.observe({
          outcome,
          isFirstFailure: kept.progress.failedIn !== health.streak,
          now,
          epochMs: Date.now(),
          disableAfter: route?.disableAfter,
        })
      : UNCHANGED
    const pauseMs = pauseAskedFor(outcome)
    if (pauseMs > 0) {
      origins.hold(origin, now, pauseMs)
    }
    const { state, progress } = fateOf(kept.progress, outcome, {
      now,
      isRouted: route !== undefined,
      hasMoved: kept.endpoint !== endpoint.id,
      streak: health.streak,
      isCancelled: kept.state.name === 'sending' && kept.state.isCancelled,
      isQuestion: kept.isQuestion,
      maxDeadMs,
      random,
      schedule,
    })
    tell({ type: 'attempted', kept, endpoint, attempt: done })
    if (isReceivers || !isProbe) {
      history.attempted(kept, done, endpoint, state) // probes of a proxy that is down would fill the log
    }
    ledger.enter(kept, state, progress)
    if (state.name === 'dead') {
      tell({ type: 'dead', kept, endpoint, attempt: done })
    }
    if (isBack) {
      queues.answersAgain(line, now)
    }
    this.#afterProxy(connection.proxy, found)
    if (change !== undefined || pauseMs > 0) {
      recorder?.stateChanged()
    }
    if (change !== undefined) {
      const { pending, dead } = ledger.tally(endpoint.id)
      const owners = routes.ownersOf(endpoint.id)
      tell({
        type: 'health',
        change,
        report: { endpoint: endpoint.id, origin, owners, health: lane.health, pending, dead },
      })
    }
    // its next turn is not near, nor is that of the others once nothing is sent
    room.leaveIfIdle(kept)
    if (wasFlowing && !queues.isFlowing(endpoint.id, now)) {
      ledger.at(endpoint.id).forEach(each => room.leaveIfIdle(each))
    }
    room.make()
  }

  #afterProxy(proxy: string | undefined, found: Finding | undefined): void {
    const { lines, tell, wake } = this.#options
    if (found?.isBack === true) {
      lines.all().forEach(line => line.connection.proxy === proxy && wake(line))
    }
    if (found?.report !== undefined) {
      tell({ type: 'proxy', report: found.report })
    }
  }
}

const UNCHANGED: Aftermath = { change: undefined, isBack: false }
