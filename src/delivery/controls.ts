import { isUtf8 } from 'node:buffer'

import { accountOf, selector } from './account.ts'
import type { Account, Details, EndpointHealth, Page, Query, RequestDetails, Selection } from './account.ts'
import { attempt } from './attempt.ts'
import type { Attempt, Delivery, Route } from './delivery.ts'
import { replayed } from './fate.ts'
import type { History } from './history.ts'
import type { LogRow } from './journal.ts'
import { isPending } from './kept.ts'
import type { Kept } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Line, Lines } from './lines.ts'
import type { Origins } from './origins.ts'
import type { Budget, Queues } from './queues.ts'
import type { Recorder } from './recorder.ts'
import type { EngineStatistics } from './statistics.ts'
import type { Tally } from './tally.ts'

export interface Stats extends Tally {
  /** By endpoint id. */
  readonly endpoints: ReadonlyMap<string, EndpointHealth>
}

export interface ControlsOptions {
  readonly ledger: Ledger
  readonly lines: Lines
  readonly origins: Origins
  readonly queues: Queues
  readonly wake: (line: Line) => void
  /** How an endpoint is, is to be written when it changes; the delivery log is read back. */
  readonly recorder: Pick<Recorder, 'stateChanged' | 'readLog' | 'read' | 'bytes'> | undefined
  readonly history: History
  /** What is replayed after its end is kept for this long. */
  readonly maxLifetimeMs: number
}

/** A larger body is not shown. */
const MAX_SHOWN_BYTES = 256 * 1024

/** What an operator looks at and does: deliveries one by one or many, and endpoints. */
export class Controls {
  readonly #options: ControlsOptions

  constructor(options: ControlsOptions) {
    this.#options = options
  }

  /** What is kept and what is over, the newest first. Of earlier runs only what {@link recall} has found. */
  list(query: Query): Page<Account> {
    const { history, ledger } = this.#options
    return history.page(ledger, query, toEpoch)
  }

  /** Settles once what is over of earlier runs is known too, if it can be. Never rejects. */
  recall(): Promise<void> {
    return this.#options.history.recall()
  }

  /** One that is kept. */
  get(id: string): Account | undefined {
    const { history, ledger } = this.#options
    const kept = ledger.byId(id)
    return kept && accountOf(kept, history.lastOf(id), toEpoch)
  }

  /** One that is kept, or over and in the log. Never rejects. */
  async details(id: string): Promise<Details | undefined> {
    const { history, ledger } = this.#options
    const account = this.get(id) ?? history.ofEnded(id)
    if (account === undefined) {
      return undefined
    }
    const kept = ledger.byId(id)
    const [past, request] = await Promise.all([
      history.attemptsOf(account).catch(() => undefined),
      kept && this.#requestOf(kept).catch(() => undefined),
    ])
    return { ...account, ...(past && { history: past }), ...(request && { request }) }
  }

  async #requestOf(kept: Kept): Promise<RequestDetails | undefined> {
    const content = kept.content ?? (await this.#options.recorder?.read(kept))
    if (content === undefined) {
      return undefined
    }
    const { contentType, body } = content.payload
    const isShown = body.length <= MAX_SHOWN_BYTES && isUtf8(body)
    return { headers: content.headers, contentType, ...(isShown && { body: body.toString() }) }
  }

  /** The rows of the delivery log, the latest first. */
  readLog(): AsyncIterable<LogRow> {
    return this.#options.recorder?.readLog() ?? (async function* () {})()
  }

  /** One attempt apart from the lanes: no queue, no retry, not counted. The Test button. */
  test({ id, headers, payload }: Delivery, { endpoint, timeoutMs }: Route): Promise<Attempt> {
    return this.#options.lines.apart(endpoint, connection =>
      attempt(connection, endpoint, { id, headers, payload, timeoutMs }, 1, 'test')
    )
  }

  /** @param early - deliveries that are not in the ledger yet */
  stats(early: number): Stats {
    const { ledger, lines, origins } = this.#options
    const now = performance.now()
    const healthOf = ({ lane }: Line): EndpointHealth => {
      const heldUntil = origins.heldUntil(lane.origin)
      const circuit = lane.circuitAt(now)
      return {
        ...ledger.tally(lane.endpoint.id),
        origin: lane.origin,
        health: { ...lane.health, circuit },
        ...(circuit.name === 'open' && { retryAt: Math.round(toEpoch(circuit.until)) }),
        ...(heldUntil > now && { pausedUntil: Math.round(toEpoch(heldUntil)) }),
      }
    }
    const tally = ledger.tally()
    return {
      ...tally,
      accepted: tally.accepted + early,
      pending: tally.pending + early,
      endpoints: new Map(lines.all().map(line => [line.lane.endpoint.id, healthOf(line)])),
    }
  }

  statistics(): EngineStatistics {
    const { history, ledger, lines, recorder } = this.#options
    const { statistics } = history
    const now = Date.now()
    statistics.retain(endpoint => lines.get(endpoint) !== undefined)
    const known = lines.all().flatMap(({ lane: { endpoint } }) => {
      const ofEndpoint = statistics.of(endpoint.id, now)
      return ofEndpoint === undefined ? [] : [[endpoint.id, ofEndpoint] as const]
    })
    const oldest = new Map<string, number>()
    for (const kept of ledger.all()) {
      if (!oldest.has(kept.endpoint) && isPending(kept)) {
        oldest.set(kept.endpoint, kept.acceptedAt)
      }
    }
    return {
      attempts: statistics.totals,
      endpoints: new Map(known),
      oldest,
      ...(recorder && { journalBytes: recorder.bytes }),
    }
  }

  /**
   * Tries again now: a dead letter as the same delivery with a new budget of attempts, one that is waiting ahead of its
   * time. Those that are under way or about to be are left alone. @returns how many there are
   */
  replay(which: Selection): number {
    const { ledger, maxLifetimeMs } = this.#options
    const now = performance.now()
    const meant = this.#selected(which)
    for (const kept of meant) {
      const { name } = kept.state
      if (name === 'dead' || name === 'waiting') {
        const progress = replayed(kept.progress, name === 'dead', now, maxLifetimeMs)
        ledger.enter(kept, { name: 'waiting', dueAt: now, stepMs: 0 }, progress)
      }
    }
    return meant.length
  }

  /** Discards what is kept; what is under way, once its attempt is over, if that fails. @returns how many there are */
  cancel(which: Selection): number {
    const { ledger } = this.#options
    const meant = this.#selected(which)
    for (const kept of meant) {
      const { state } = kept
      ledger.enter(
        kept,
        state.name === 'sending' ? { ...state, isCancelled: true } : { name: 'ended', how: 'cancelled' }
      )
    }
    return meant.length
  }

  #selected(which: Selection): Kept[] {
    const { history, ledger } = this.#options
    const ids = which.id === undefined ? which.ids : [which.id]
    const kept = ids === undefined ? [...ledger.all()] : ids.map(id => ledger.byId(id))
    return kept.filter(each => each !== undefined).filter(selector(which, id => history.lastOf(id)?.answer))
  }

  /** Nothing is sent to an endpoint until it is resumed. @returns whether there is such an endpoint */
  pause(endpoint: string): boolean {
    const line = this.#options.lines.get(endpoint)
    line?.lane.pause()
    this.#options.recorder?.stateChanged()
    return line !== undefined
  }

  /**
   * A paused, disabled, failing or held endpoint gets a new chance, and what waits there becomes due; that of others at its
   * origin too, if that was held back. @returns whether there is such an endpoint
   */
  resume(endpoint: string): boolean {
    const { lines, origins, queues, recorder } = this.#options
    const line = lines.get(endpoint)
    if (line === undefined) {
      return false
    }
    const now = performance.now()
    const { lane } = line
    lane.unpause()
    queues.hasten(line, now, this.renew(line, now))
    if (origins.heldUntil(lane.origin) > now) {
      origins.release(lane.origin)
      for (const other of lines.all().filter(each => each.lane.origin === lane.origin)) {
        queues.hasten(other, now)
        this.#options.wake(other)
      }
    }
    recorder?.stateChanged()
    return true
  }

  /**
   * Someone has looked at the endpoint: it gets a new chance, with one request at a time until one succeeds.
   *
   * @returns with which budget of attempts what waits there is due now: a new one if the endpoint was disabled, as that
   *   was no time in which a delivery could be tried; `undefined`: nothing was wrong with it
   */
  renew(line: Line, now: number): Budget | undefined {
    const { origins, wake } = this.#options
    const wasDisabled = line.lane.health.disabled !== undefined
    const wasInTrouble = line.lane.renew() || origins.heldUntil(line.lane.origin) > now
    wake(line)
    return wasDisabled ? 'new' : wasInTrouble ? 'same' : undefined
  }
}

/** Of this process; for people to read. */
function toEpoch(instant: number): number {
  return instant + Date.now() - performance.now()
}
