import { attempt } from './attempt.ts'
import type { Connect, Connection } from './attempt.ts'
import type { Circuit, Pauses } from './circuit-breaker.ts'
import { readableExcerpt } from './delivery.ts'
import type { Attempt, AttemptOutcome, Delivery, DiscardReason, Endpoint } from './delivery.ts'
import { withoutEcho } from './excerpt.ts'
import { Fifo } from './queue.ts'
import type { Health, HealthChange } from './health.ts'
import type { Journal, LogRow, Progress, Recovered, RecoveredDelivery } from './journal.ts'
import { Lane, newEntry } from './lane.ts'
import type { Entry } from './lane.ts'
import { Recorder } from './recorder.ts'
import { progressOf, restoredEntry, restoredHealth, writtenHealth } from './restart.ts'
import type { EngineState } from './restart.ts'
import { decideRetry } from './retry.ts'
import { Counter } from './tally.ts'
import type { Ended, Tally } from './tally.ts'

/** How an endpoint is doing, and what waits there. */
export interface EndpointReport {
  readonly endpoint: Endpoint
  readonly health: Health
  readonly pending: number
  readonly dead: number
}

/** What happened, for whoever logs it. A listener that throws harms nobody. */
export type DispatcherEvent =
  | { readonly type: 'attempted'; readonly delivery: Delivery; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'dead'; readonly delivery: Delivery; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'discarded'; readonly id: string; readonly owner: string; readonly reason: DiscardReason }
  | { readonly type: 'health'; readonly change: HealthChange; readonly report: EndpointReport }
  /** `problem`: why everything stays in memory; `undefined`: the journal is in use. */
  | {
      readonly type: 'journal'
      readonly problem: string | undefined
      readonly recovered: number
      readonly damaged: number
    }

export interface DispatcherOptions {
  readonly connect: Connect
  /** Without, everything stays in memory. */
  readonly openJournal?: (progressOf: (entry: Entry) => Progress) => Promise<{ journal: Journal; recovered: Recovered }>
  readonly onEvent?: (event: DispatcherEvent) => void
  /** Deliveries that may be kept in all, pending and dead. @default 100000 */
  readonly maxPending?: number
  /** Bytes of bodies in memory in all. @default 67108864 */
  readonly maxBytes?: number
  /** Bytes in the journal of what is pending or dead. @default 1073741824 */
  readonly maxJournalBytes?: number
  /** Settled deliveries in the delivery log. @default 10000 */
  readonly maxLogged?: number
  /** Age of what is in the delivery log, and of dead letters. @default 30 days */
  readonly maxLoggedMs?: number
  /** Requests at once in all. @default 64 */
  readonly concurrency?: number
  /** Waits between attempts, ms. @default {@link RETRY_SCHEDULE_MS} */
  readonly schedule?: readonly number[]
  /** Of a circuit that is open. @default from 5 s, doubling, to 5 min */
  readonly pauses?: Pauses
  /** What became due while nothing ran comes spread over this, ms. @default 60000 */
  readonly spreadMs?: number
  readonly random?: () => number
}

export interface Stats extends Tally {
  /** As the rest, but over the journal's life, not since the start. */
  readonly life: Tally
  /** By endpoint id. */
  readonly endpoints: ReadonlyMap<string, EndpointStats>
  /** Who lost deliveries as `queue full`, and how many: by owner, then by party. */
  readonly crowdedOut: ReadonlyMap<string, ReadonlyMap<string, number>>
}

export interface EndpointStats extends Tally {
  readonly life: Tally
  readonly circuit: Circuit['name']
  readonly health: Health
}

/** An endpoint in use: its queue, its sockets, its numbers. */
interface Line {
  readonly lane: Lane
  readonly counter: Counter
  /** Is in `#ready`. */
  isReady: boolean
  connection: Connection
  timer: NodeJS.Timeout | undefined
  /** When `timer` fires. */
  wakeAt: number
}

type FailedOutcome = Exclude<AttemptOutcome, { kind: 'accepted' }>

/** Longer timers overflow; a lane that wakes early looks again. */
const LONGEST_TIMER_MS = 24 * 60 * 60_000
/** A body that cannot be read back at present is asked for again. */
const READ_AGAIN_AFTER_MS = 5_000
const DAY_MS = 24 * 60 * 60_000
const EXPIRE_DEAD_EVERY_MS = 60 * 60_000

/**
 * The engine over all lanes: under one bound and one concurrency, each lane in its turn, so that none can keep another
 * waiting. With the recorder, the only place with timers.
 *
 * A delivery belongs to an owner, and `routes` says which endpoint the owner's deliveries go to: a new set of routes
 * moves what is kept.
 *
 * Runs on the monotonic clock, so that a jump of the wall clock sends nothing early, late or twice.
 *
 * open → `close()` → closed. Once closing, nothing is sent: what is in the journal stays there, anything else is
 * discarded as `stopped`.
 */
export class Dispatcher {
  readonly #connect: Connect
  readonly #onEvent: (event: DispatcherEvent) => void
  readonly #recorder: Recorder | undefined
  readonly #maxPending: number
  readonly #maxBytes: number
  readonly #maxJournalBytes: number
  readonly #maxLoggedMs: number
  readonly #concurrency: number
  readonly #schedule: readonly number[] | undefined
  readonly #pauses: Pauses | undefined
  readonly #spreadMs: number
  readonly #random: () => number

  /** By endpoint id. */
  readonly #lines = new Map<string, Line>()
  /** By owner. */
  #routes: ReadonlyMap<string, Endpoint> = new Map()
  /** Ids of the endpoints that `#routes` leads to. */
  #used: ReadonlySet<string> = new Set()
  /** Lines that may have something to send; each gets one turn, then goes to the end. */
  readonly #ready = new Fifo<Line>(line => line.isReady)
  /** Leaders that are being sent to an endpoint they no longer belong to, and the lines where they may go next. */
  readonly #expecting = new Map<Entry, readonly Line[]>()
  readonly #counter = new Counter()
  readonly #crowdedOut = new Map<string, Map<string, number>>()
  #memoryBytes = 0
  #kept = 0
  #inFlight = 0
  #isPumpDue = false
  /**
   * The journal has been neither read nor given up yet. Nothing is sent: it may tell of a leader to wait for, or of an
   * endpoint that is disabled.
   */
  #isOpening: boolean
  #onReady: (() => void) | undefined
  /** Settles once the journal has been read or given up, and what is kept is sent. */
  readonly ready: Promise<void>
  #isClosing = false
  #deadExpiredAt = performance.now()
  /** Connections that are closed, and may have requests under way still. */
  #retired: Connection[] = []
  /** Connections of tests that are under way. */
  readonly #tests = new Set<Connection>()
  #closed: Promise<void> | undefined
  /** Called when nothing is in flight any more. */
  #onQuiet: (() => void) | undefined

  constructor(options: DispatcherOptions) {
    this.#connect = options.connect
    this.#onEvent = options.onEvent ?? (() => {})
    this.#maxPending = options.maxPending ?? 100_000
    this.#maxBytes = options.maxBytes ?? 64 * 1024 * 1024
    this.#maxJournalBytes = options.maxJournalBytes ?? 1024 * 1024 * 1024
    this.#maxLoggedMs = options.maxLoggedMs ?? 30 * DAY_MS
    this.#concurrency = options.concurrency ?? 64
    this.#schedule = options.schedule
    this.#pauses = options.pauses
    this.#spreadMs = options.spreadMs ?? 60_000
    this.#random = options.random ?? Math.random
    const { openJournal } = options
    this.#isOpening = openJournal !== undefined
    this.ready = this.#isOpening ? new Promise(resolve => (this.#onReady = resolve)) : Promise.resolve()
    this.#recorder =
      openJournal &&
      new Recorder({
        open: () => openJournal(progressOf),
        onOpen: (journal, recovered, isFirst) => this.#opened(journal, recovered, isFirst),
        onSaved: entries => entries.forEach(entry => this.#unloadIfIdle(entry)),
        onProblem: problem => this.#journalFailed(problem),
        engineState: () => this.#engineState(),
        maxLogged: options.maxLogged ?? 10_000,
        maxLoggedMs: this.#maxLoggedMs,
      })
  }

  /**
   * From now on an owner's deliveries go to its endpoint here, those that are kept too. What belongs to an owner that is
   * not in `routes` is discarded as `hook removed`.
   */
  reconfigure(routes: ReadonlyMap<string, Endpoint>): void {
    this.#routes = routes
    this.#used = new Set([...routes.values()].map(endpoint => endpoint.id))
    this.#expectLeaders()
    const lines = [...this.#lines.values()]
    const moves: { line: Line; entry: Entry; endpoint: Endpoint }[] = []
    for (const line of lines) {
      for (const entry of line.lane.entries) {
        const endpoint = routes.get(entry.owner)
        if (entry.state === 'sending') {
          continue // the end of its attempt looks at the routes
        }
        if (endpoint === undefined) {
          this.#discard(line, entry, 'hook removed')
        } else if (endpoint.id !== line.lane.endpoint.id) {
          moves.push({ line, entry, endpoint })
        }
      }
    }
    // two endpoints may become one, and then, too, each call's leader comes first
    for (const { line, entry, endpoint } of moves.sort((a, b) => Number(b.entry.leads) - Number(a.entry.leads))) {
      this.#move(line, entry, endpoint)
    }
    for (const line of lines) {
      this.#removeIfUnused(line)
    }
  }

  /** The sockets are opened anew, as after a change of the proxy; requests under way end on the old ones. */
  reconnect(): void {
    for (const line of this.#lines.values()) {
      this.#retire(line.connection)
      line.connection = this.#connect(line.lane.endpoint)
    }
  }

  /**
   * Takes a delivery; costs no I/O. At a bound, something of the endpoint that takes up most, and there of the
   * owner and of the party that do, is discarded as `queue full`: a dead letter, else its newest delivery, which may be
   * this one. While its endpoint is disabled, it is kept as a dead letter.
   *
   * @param onFirstAttempt - makes it urgent: it goes ahead of any backlog, and this is called once its first attempt is
   *   over, or at once if that cannot be made right away
   */
  submit(delivery: Delivery, onFirstAttempt?: () => void): void {
    const endpoint = this.#routes.get(delivery.owner)
    if (endpoint === undefined) {
      throw new Error(`no route for ${delivery.owner}`)
    }
    if (this.#isClosing) {
      ++this.#counter.accepted
      this.#discarded(delivery, 'stopped')
      onFirstAttempt?.()
      return
    }

    const now = performance.now()
    const line = this.#lineTo(endpoint)
    const { lane } = line
    const isUrgent = onFirstAttempt !== undefined && !this.#isOpening && lane.isFlowing(now)
    this.#keep(line, {
      ...newEntry(delivery, now),
      state: lane.health.disabled === undefined ? 'queued' : 'dead',
      onFirstAttempt: isUrgent ? onFirstAttempt : undefined,
    })
    this.#makeRoom()
    if (isUrgent) {
      const urgent = lane.takeUrgent(now)
      if (urgent !== undefined) {
        this.#send(line, urgent, now)
        return
      }
    } else {
      onFirstAttempt?.()
    }
    this.#wake(line)
  }

  /** One attempt apart from the lanes: no queue, no retry, not counted. */
  async test(delivery: Delivery, endpoint: Endpoint): Promise<Attempt> {
    const connection = this.#connect(endpoint)
    this.#tests.add(connection)
    try {
      return await attempt(connection, endpoint, delivery, 1, 'test')
    } finally {
      this.#tests.delete(connection)
      connection.close()
    }
  }

  /**
   * Tries a delivery again now: a dead letter as the same delivery with a new budget of attempts, one that is waiting
   * ahead of its time. One that is under way or about to be is left alone.
   *
   * @returns whether there is such a delivery
   */
  replay(id: string): boolean {
    return this.#replay(entry => entry.id === id) > 0
  }

  /** As {@link replay}, for all of an endpoint that were accepted at or after `since`. @returns how many there are */
  replaySince(endpointId: string, since: number): number {
    return this.#replay((entry, line) => line.lane.endpoint.id === endpointId && entry.acceptedAt >= since)
  }

  #replay(isMeant: (entry: Entry, line: Line) => boolean): number {
    const now = performance.now()
    let found = 0
    for (const line of this.#lines.values()) {
      const meant = [...line.lane.entries].filter(entry => isMeant(entry, line))
      const waiting = meant.filter(({ state }) => state === 'waiting')
      for (const entry of waiting) {
        entry.trigger = 'replay'
      }
      line.lane.hasten(waiting, now)
      for (const entry of meant.filter(({ state }) => state === 'dead')) {
        this.#replace(line, entry, line, {
          ...entry,
          state: 'waiting',
          trigger: 'replay',
          // even if it was never tried: what is replayed goes with the retries
          dueAt: now,
          failures: 0,
          firstTriedAt: undefined,
          expiresAt: Number.POSITIVE_INFINITY,
        })
      }
      found += meant.length
      this.#wake(line)
    }
    return found
  }

  /** Discards a delivery that is kept; one that is under way once its attempt is over, if that fails. */
  cancel(id: string): boolean {
    for (const line of this.#lines.values()) {
      for (const entry of line.lane.entries) {
        if (entry.id === id) {
          entry.isCancelled = true
          if (entry.state !== 'sending') {
            this.#discard(line, entry, 'cancelled')
            this.#wake(line)
          }
          return true
        }
      }
    }
    return false
  }

  /** A disabled or failing endpoint gets a new chance: what is waiting there is sent. */
  enable(endpointId: string): boolean {
    const line = this.#lines.get(endpointId)
    if (line === undefined) {
      return false
    }
    line.lane.enable()
    this.#recorder?.saveState()
    this.#wake(line)
    return true
  }

  stats(): Stats {
    const now = performance.now()
    const dead = [...this.#lines.values()].reduce((sum, { lane }) => sum + lane.dead, 0)
    return {
      ...this.#counter.sinceStart(this.#kept - dead, dead),
      life: this.#counter.overLife(this.#kept - dead, dead),
      endpoints: new Map(
        [...this.#lines].map(([id, { lane, counter }]) => [
          id,
          {
            ...counter.sinceStart(lane.pending, lane.dead),
            life: counter.overLife(lane.pending, lane.dead),
            circuit: lane.circuitAt(now).name,
            health: lane.health,
          },
        ])
      ),
      crowdedOut: this.#crowdedOut,
    }
  }

  /** The rows of the delivery log, the latest first. */
  readLog(): AsyncIterable<LogRow> {
    return this.#recorder?.readLog() ?? (async function* () {})()
  }

  /** What is in flight may end within `graceMs`. Leaves no timer, socket or open file. */
  close(graceMs: number): Promise<void> {
    this.#closed ??= this.#close(graceMs)
    return this.#closed
  }

  async #close(graceMs: number): Promise<void> {
    this.#isClosing = true
    for (const connection of this.#tests) {
      connection.destroy()
    }
    for (const { timer } of this.#lines.values()) {
      clearTimeout(timer)
    }
    if (this.#recorder === undefined) {
      this.#stop()
    }
    if (this.#inFlight > 0) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>(resolve => {
        this.#onQuiet = resolve
        timer = setTimeout(() => {
          for (const connection of [...this.#retired, ...[...this.#lines.values()].map(line => line.connection)]) {
            connection.destroy()
          }
        }, graceMs)
      })
      clearTimeout(timer)
    }
    await this.#recorder?.close()
    this.#stop()
    for (const { connection } of this.#lines.values()) {
      connection.close()
    }
  }

  /** What is not in the journal is lost, and accounted for. */
  #stop(): void {
    for (const line of this.#lines.values()) {
      for (const entry of line.lane.entries) {
        if (entry.state !== 'sending' && (this.#recorder === undefined || entry.isUnsaved)) {
          this.#discard(line, entry, 'stopped')
        }
        answer(entry)
      }
    }
  }

  #lineTo(endpoint: Endpoint): Line {
    let line = this.#lines.get(endpoint.id)
    if (line === undefined) {
      line = {
        lane: new Lane(endpoint, this.#pauses),
        counter: new Counter(),
        isReady: false,
        connection: this.#connect(endpoint),
        timer: undefined,
        wakeAt: Number.POSITIVE_INFINITY,
      }
      this.#lines.set(endpoint.id, line)
    }
    return line
  }

  /** Requests under way on it may end. */
  #retire(connection: Connection): void {
    connection.close()
    if (this.#inFlight > 0) {
      this.#retired.push(connection)
    }
  }

  #removeIfUnused(line: Line): void {
    if (line.lane.pending + line.lane.dead === 0 && !this.#used.has(line.lane.endpoint.id)) {
      this.#remove(line)
    }
  }

  #remove(line: Line): void {
    clearTimeout(line.timer)
    line.isReady = false
    this.#retire(line.connection)
    this.#lines.delete(line.lane.endpoint.id)
  }

  #keep(line: Line, entry: Entry): void {
    line.lane.add(entry)
    ++line.counter.accepted
    ++this.#counter.accepted
    ++this.#kept
    this.#load(entry)
    this.#recorder?.keep(entry)
  }

  /** The only way out of what is kept. */
  #settle(line: Line, entry: Entry): void {
    line.lane.settle(entry)
    --this.#kept
    this.#recorder?.drop(entry)
    this.#unload(entry)
  }

  /** Another entry takes the place of one, here or on another line: what is settled must stay settled. */
  #replace(from: Line, old: Entry, to: Line, entry: Entry): void {
    from.lane.settle(old)
    --from.counter.accepted
    to.lane.add(entry)
    ++to.counter.accepted
    this.#recorder?.update(entry, old)
  }

  #move(from: Line, entry: Entry, endpoint: Endpoint): void {
    const to = this.#lineTo(endpoint)
    this.#replace(from, entry, to, { ...entry })
    this.#wake(to)
  }

  /** Leaders that are under way: where they may go next, their calls wait for them already. */
  #expectLeaders(): void {
    for (const { lane } of [...this.#lines.values()]) {
      for (const entry of lane.entries) {
        const endpoint = this.#routes.get(entry.owner)
        if (entry.state === 'sending' && entry.leads && endpoint !== undefined && endpoint.id !== lane.endpoint.id) {
          const line = this.#lineTo(endpoint)
          line.lane.expectLeader(entry.orderKey)
          this.#expecting.set(entry, [...(this.#expecting.get(entry) ?? []), line])
        }
      }
    }
  }

  /** Its attempt is over: if it goes elsewhere now, it is there. */
  #arrived(entry: Entry): void {
    for (const line of this.#expecting.get(entry) ?? []) {
      line.lane.releaseCall(entry.orderKey)
      this.#wake(line)
    }
    this.#expecting.delete(entry)
  }

  #discard(line: Line, entry: Entry, reason: DiscardReason): void {
    this.#settle(line, entry)
    line.counter.discard(reason)
    this.#discarded(entry, reason)
    answer(entry)
  }

  #discarded({ id, owner }: Entry | Delivery, reason: DiscardReason): void {
    this.#counter.discard(reason)
    this.#recorder?.log({ id, owner, at: Date.now(), settled: reason })
    this.#tell({ type: 'discarded', id, owner, reason })
  }

  /** Its body is in memory now: a body that several share counts once. */
  #load({ delivery }: Entry): void {
    if (delivery !== undefined && delivery.payload.users++ === 0) {
      this.#memoryBytes += delivery.payload.body.length
    }
  }

  #unload(entry: Entry): void {
    const { delivery } = entry
    entry.delivery = undefined
    if (delivery !== undefined && --delivery.payload.users === 0) {
      this.#memoryBytes -= delivery.payload.body.length
    }
  }

  /** What is on disk stays in memory too only while its turn is near. */
  #unloadIfIdle(entry: Entry): void {
    if (entry.place?.page.isWritten !== true || entry.state === 'sending' || entry.state === 'settled') {
      return
    }
    const endpoint = this.#routes.get(entry.owner)
    const lane = endpoint && this.#lines.get(endpoint.id)?.lane
    if (
      entry.state === 'dead' ||
      entry.state === 'waiting' ||
      this.#memoryBytes > this.#maxBytes / 2 ||
      lane?.isFlowing(performance.now()) !== true
    ) {
      this.#unload(entry)
    }
  }

  #makeRoom(): void {
    while (
      this.#kept > this.#maxPending ||
      this.#memoryBytes > this.#maxBytes ||
      (this.#recorder?.bytes ?? 0) > this.#maxJournalBytes
    ) {
      const largest = this.#largest()
      if (largest === undefined) {
        return // all that is left is in flight
      }
      const { line, entry } = largest
      this.#crowdedOut.set(entry.owner, add(this.#crowdedOut.get(entry.owner), entry.party))
      this.#discard(line, entry, 'queue full')
    }
  }

  /** The line that takes up most and can spare something, and what that is. */
  #largest(): { line: Line; entry: Entry } | undefined {
    const weigh = (count: number, bytes: number) => count / this.#maxPending + bytes / this.#maxBytes
    const shareOf = ({ lane }: Line) => weigh(lane.pending + lane.dead, lane.bytes)
    for (const line of [...this.#lines.values()].sort((a, b) => shareOf(b) - shareOf(a))) {
      const entry = line.lane.expendable(weigh)
      if (entry !== undefined) {
        return { line, entry }
      }
    }
    return undefined
  }

  /** The lane has changed: it gets a turn, but not on the tick of whoever called, which is an API call of the host. */
  #wake(line: Line): void {
    this.#enqueue(line)
    if (!this.#isPumpDue && !this.#isClosing) {
      this.#isPumpDue = true
      setImmediate(() => {
        this.#isPumpDue = false
        this.#pump()
      })
    }
  }

  #enqueue(line: Line): void {
    if (!line.isReady) {
      line.isReady = true
      this.#ready.push(line)
    }
  }

  #pump(): void {
    if (this.#isClosing || this.#isOpening) {
      return
    }
    const now = performance.now()
    // each gets one turn, and goes to the end as long as it has something to send
    for (let line = this.#ready.first(); line !== undefined; line = this.#ready.first()) {
      for (const entry of line.lane.expired(now)) {
        this.#discard(line, entry, 'expired')
      }
      if (this.#inFlight >= this.#concurrency) {
        return // whichever request ends first pumps again
      }
      this.#ready.shift()
      line.isReady = false
      const entry = line.lane.take(now)
      if (entry === undefined) {
        this.#setTimer(line, now)
      } else {
        this.#enqueue(line)
        this.#send(line, entry, now)
      }
    }
    this.#expireDead(now)
  }

  /** A timer that fires earlier than needed is left alone: it looks again. */
  #setTimer(line: Line, now: number): void {
    const due = line.lane.wakeAt(now)
    const wakeAt = Math.min(due, now + LONGEST_TIMER_MS)
    if (due === Number.POSITIVE_INFINITY || due <= now || wakeAt >= line.wakeAt) {
      return
    }
    clearTimeout(line.timer)
    line.wakeAt = wakeAt
    line.timer = setTimeout(
      () => {
        line.wakeAt = Number.POSITIVE_INFINITY
        this.#enqueue(line)
        this.#pump()
      },
      Math.ceil(wakeAt - now)
    ).unref()
  }

  #send(line: Line, entry: Entry, now: number): void {
    ++this.#inFlight
    void (
      entry.delivery === undefined ? this.#readAndAttempt(line, entry) : this.#attempt(line, entry, entry.delivery, now)
    )
      .catch(() => undefined)
      .then(() => {
        --this.#inFlight
        this.#arrived(entry)
        this.#enqueue(line)
        this.#removeIfUnused(line)
        this.#pump()
        if (this.#inFlight === 0) {
          this.#retired = []
          this.#onQuiet?.()
        }
      })
  }

  async #readAndAttempt(line: Line, entry: Entry): Promise<void> {
    let delivery
    try {
      delivery = await this.#recorder?.read(entry)
    } catch {
      line.lane.putBack(entry, performance.now() + READ_AGAIN_AFTER_MS)
      return
    }
    const now = performance.now()
    if (delivery === undefined) {
      line.lane.putBack(entry, now)
      this.#discard(line, entry, 'damaged')
    } else if (this.#isClosing || entry.isCancelled) {
      line.lane.putBack(entry, now)
      if (entry.isCancelled) {
        this.#discard(line, entry, 'cancelled')
      }
    } else {
      entry.delivery = delivery
      this.#load(entry)
      await this.#attempt(line, entry, delivery, now)
    }
  }

  async #attempt(line: Line, entry: Entry, delivery: Delivery, now: number): Promise<void> {
    entry.firstTriedAt ??= now
    const { trigger } = entry
    entry.trigger = 'retry'
    const done = await attempt(line.connection, line.lane.endpoint, delivery, entry.attempts + 1, trigger)
    this.#attempted(line, entry, delivery, done)
  }

  #attempted(line: Line, entry: Entry, delivery: Delivery, done: Attempt): void {
    const { lane } = line
    const now = performance.now()
    const { outcome } = done
    answer(entry)
    if (this.#isClosing && outcome.kind === 'unreachable') {
      // cut off by ourselves, which says nothing of the endpoint
      lane.putBack(entry, now)
      if (entry.isCancelled) {
        this.#discard(line, entry, 'cancelled')
      } else {
        this.#recorder?.update(entry)
      }
      return
    }

    ++entry.attempts
    this.#tell({ type: 'attempted', delivery, endpoint: lane.endpoint, attempt: done })
    const wasFlowing = lane.isFlowing(now)
    const change = lane.attempted(outcome, now, Date.now())
    if (outcome.kind === 'accepted') {
      this.#settle(line, entry)
      ++line.counter.delivered
      ++this.#counter.delivered
      this.#log(delivery, done, lane.endpoint, 'delivered')
    } else {
      this.#failed(line, entry, delivery, done, outcome, now)
    }
    if (change !== undefined) {
      this.#recorder?.saveState()
      const { endpoint, health, pending, dead } = lane
      this.#tell({ type: 'health', change, report: { endpoint, health, pending, dead } })
    }
    // its next turn is not near, nor is that of the others once nothing is sent
    this.#unloadIfIdle(entry)
    if (wasFlowing && !lane.isFlowing(now)) {
      for (const idle of lane.entries) {
        this.#unloadIfIdle(idle)
      }
    }
  }

  #failed(line: Line, entry: Entry, delivery: Delivery, done: Attempt, outcome: FailedOutcome, now: number): void {
    const endpoint = this.#routes.get(entry.owner)
    if (endpoint === undefined || entry.isCancelled) {
      this.#log(delivery, done, line.lane.endpoint)
      this.#discard(line, entry, entry.isCancelled ? 'cancelled' : 'hook removed')
      return
    }
    const decision = decideRetry(
      outcome,
      entry.failures + 1,
      now - (entry.firstTriedAt ?? now),
      this.#random,
      this.#schedule
    )
    if (!decision.retry) {
      line.lane.bury(entry)
      this.#follow(line, entry, endpoint)
      this.#log(delivery, done, line.lane.endpoint, 'dead')
      this.#tell({ type: 'dead', delivery, endpoint: line.lane.endpoint, attempt: done })
      return
    }
    const dueAt = now + decision.delayMs
    if (decision.asked) {
      line.lane.block(dueAt)
    } else {
      ++entry.failures
    }
    this.#log(delivery, done, line.lane.endpoint)
    if (dueAt >= entry.expiresAt) {
      this.#discard(line, entry, 'expired')
      return
    }
    line.lane.retryAt(entry, dueAt)
    this.#follow(line, entry, endpoint)
  }

  /** It has come further, and its owner may have moved while it was under way. */
  #follow(line: Line, entry: Entry, endpoint: Endpoint): void {
    if (endpoint.id !== line.lane.endpoint.id) {
      this.#move(line, entry, endpoint)
    } else {
      this.#recorder?.update(entry)
    }
  }

  #log(
    { id, owner, label, acceptedAt }: Delivery,
    { outcome, number, trigger, startedAt, durationMs }: Attempt,
    endpoint: Endpoint,
    settled?: string
  ): void {
    this.#recorder?.log({
      id,
      owner,
      label,
      at: startedAt,
      acceptedAt,
      ...(settled !== undefined && { settled }),
      attempt: {
        number,
        trigger,
        durationMs: Math.round(durationMs),
        outcome:
          'excerpt' in outcome
            ? { ...outcome, excerpt: withoutEcho(readableExcerpt(outcome.excerpt), endpoint) }
            : outcome,
      },
    })
  }

  /** Dead letters are kept as long as the log. */
  #expireDead(now: number): void {
    if (now - this.#deadExpiredAt < EXPIRE_DEAD_EVERY_MS) {
      return
    }
    this.#deadExpiredAt = now
    const since = Date.now() - this.#maxLoggedMs
    for (const line of this.#lines.values()) {
      for (const entry of line.lane.entries) {
        if (entry.state === 'dead' && entry.acceptedAt < since) {
          this.#discard(line, entry, 'expired')
        }
      }
    }
  }

  #journalFailed(problem: string | undefined): void {
    if (problem === undefined) {
      return
    }
    for (const { lane } of this.#lines.values()) {
      for (const entry of lane.entries) {
        entry.place = undefined
        if (entry.delivery !== undefined) {
          this.#recorder?.keep(entry)
        }
      }
    }
    this.#tell({ type: 'journal', problem, recovered: 0, damaged: 0 })
    this.#begin()
  }

  /** Whether the journal can be used or not: what is kept is sent. */
  #begin(): void {
    this.#isOpening = false
    this.#onReady?.()
    for (const line of this.#lines.values()) {
      this.#wake(line)
    }
  }

  #opened(journal: Journal, { deliveries, state, damaged }: Recovered, isFirst: boolean): void {
    if (isFirst) {
      this.#restoreState(state as EngineState | undefined)
    }
    const kept = new Map<string, Entry>()
    for (const { lane } of this.#lines.values()) {
      for (const entry of lane.entries) {
        kept.set(entry.id, entry)
      }
    }
    const early = this.#isOpening ? [...kept.values()] : []
    for (const found of deliveries) {
      const entry = kept.get(found.stored.id)
      if (entry !== undefined) {
        entry.place = found.place
        journal.adopt(entry)
        // what happened while it could not be written
        journal.update(entry)
        this.#recorder?.forget(entry)
      } else {
        this.#restore(journal, found, isFirst)
      }
    }
    for (const entry of early) {
      // behind those that were here before it
      const line = this.#lineTo(this.#routes.get(entry.owner)!)
      this.#replace(line, entry, line, { ...entry, state: line.lane.health.disabled === undefined ? 'queued' : 'dead' })
    }
    for (const line of this.#lines.values()) {
      for (const entry of line.lane.entries) {
        if (entry.delivery === undefined && entry.place === undefined && entry.state !== 'sending') {
          this.#discard(line, entry, 'damaged')
        }
      }
    }
    this.#tell({ type: 'journal', problem: undefined, recovered: isFirst ? deliveries.length : 0, damaged })
    this.#begin()
  }

  /** A delivery of an earlier run is kept again, or removed if it was settled while the journal could not be written. */
  #restore(journal: Journal, found: RecoveredDelivery, isFirst: boolean): void {
    const entry = restoredEntry(found, this.#random() * this.#spreadMs)
    journal.adopt(entry)
    const endpoint = this.#routes.get(entry.owner)
    if (!isFirst || endpoint === undefined) {
      journal.remove(entry)
      if (isFirst) {
        ++this.#counter.accepted
        this.#discarded(entry, 'hook removed')
      }
      return
    }
    const line = this.#lineTo(endpoint)
    line.lane.add(entry)
    ++line.counter.accepted
    ++this.#counter.accepted
    ++this.#kept
  }

  #engineState(): EngineState {
    const endpoints: Record<string, { ended: Ended; health: Health }> = {}
    for (const [id, { lane, counter }] of this.#lines) {
      endpoints[id] = { ended: counter.ended(), health: writtenHealth(lane.health) }
    }
    return { ended: this.#counter.ended(), endpoints }
  }

  #restoreState(state: EngineState | undefined): void {
    if (state === undefined) {
      return
    }
    this.#counter.continue(state.ended)
    for (const endpoint of this.#routes.values()) {
      const earlier = state.endpoints[endpoint.id]
      if (earlier !== undefined) {
        const { lane, counter } = this.#lineTo(endpoint)
        counter.continue(earlier.ended)
        lane.recall(restoredHealth(earlier.health))
      }
    }
  }

  #tell(event: DispatcherEvent): void {
    try {
      this.#onEvent(event)
    } catch {
      // whoever listens cannot break the engine
    }
  }
}

function add(counts: Map<string, number> | undefined, key: string): Map<string, number> {
  const sums = counts ?? new Map<string, number>()
  return sums.set(key, (sums.get(key) ?? 0) + 1)
}

/** Whoever waits for the first attempt need not wait any more. */
function answer(entry: Entry): void {
  const { onFirstAttempt } = entry
  entry.onFirstAttempt = undefined
  try {
    onFirstAttempt?.()
  } catch {
    // whoever waits cannot break the engine
  }
}
