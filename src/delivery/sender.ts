import type { EndpointReport } from './account.ts'
import { attempt } from './attempt.ts'
import type { Attempt, Endpoint, Route } from './delivery.ts'
import { fateOf, pauseAskedFor } from './fate.ts'
import type { HealthChange } from './health.ts'
import type { Content, Kept } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Line } from './lines.ts'
import type { Origins } from './origins.ts'
import type { Queues } from './queues.ts'
import type { Recorder } from './recorder.ts'
import type { Room } from './room.ts'
import type { Routes } from './routes.ts'
import { attemptRow } from './rows.ts'

/** What happened to a request. */
export type SenderEvent =
  | { readonly type: 'attempted'; readonly kept: Kept; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'dead'; readonly kept: Kept; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'health'; readonly change: HealthChange; readonly report: EndpointReport }

export interface SenderOptions {
  readonly ledger: Ledger
  readonly routes: Routes
  readonly origins: Origins
  readonly queues: Queues
  readonly room: Room
  readonly recorder: Recorder | undefined
  /** A dead letter is kept for this long. */
  readonly maxDeadMs: number
  readonly random: () => number
  readonly schedule: readonly number[] | undefined
  readonly tell: (event: SenderEvent) => void
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
    const request = { id: kept.id, ...content, timeoutMs: route.timeoutMs, isQuestion: kept.isQuestion ?? false }
    const done = await attempt(connection, lane.endpoint, request, attempts + 1, trigger)
    this.#options.queues.answer(kept.id, done)
    if (!this.#isClosing || done.outcome.kind !== 'unreachable') {
      this.#attempted(line, kept, done)
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

  #attempted(line: Line, kept: Kept, done: Attempt): void {
    const { lane } = line
    const { ledger, routes, origins, queues, recorder, room, maxDeadMs, random, schedule, tell } = this.#options
    const { outcome } = done
    const { endpoint, origin, health } = lane
    const now = performance.now()
    const route = routes.of(kept.owner)
    const wasFlowing = queues.isFlowing(endpoint.id, now)
    const { change, isBack } = lane.observe({
      outcome,
      isFirstFailure: kept.progress.failedIn !== health.streak,
      now,
      epochMs: Date.now(),
      disableAfter: route?.disableAfter,
    })
    const pauseMs = pauseAskedFor(outcome)
    if (pauseMs > 0) {
      origins.hold(origin, now, pauseMs)
    }
    const hasMoved = kept.endpoint !== endpoint.id
    const before = hasMoved ? kept.progress : { ...kept.progress, failedIn: health.streak }
    const { state, progress } = fateOf(before, outcome, {
      now,
      isRouted: route !== undefined,
      hasMoved,
      isCancelled: kept.state.name === 'sending' && kept.state.isCancelled,
      isQuestion: kept.isQuestion ?? false,
      maxDeadMs,
      random,
      schedule,
    })
    tell({ type: 'attempted', kept, endpoint, attempt: done })
    recorder?.log(attemptRow(kept, done, endpoint, state))
    ledger.enter(kept, state, progress)
    if (state.name === 'dead') {
      tell({ type: 'dead', kept, endpoint, attempt: done })
    }
    if (isBack) {
      queues.answersAgain(line, now)
    }
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
}
