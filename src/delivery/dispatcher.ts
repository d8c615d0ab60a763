import type { Circuit } from './circuit-breaker.ts'
import type { Attempt, AttemptOutcome, Delivery, DiscardReason, Endpoint, Trigger } from './delivery.ts'
import { Lane } from './lane.ts'
import type { Entry } from './lane.ts'
import { decideRetry } from './retry.ts'

/** One request as it goes out. */
export interface OutgoingRequest {
  readonly contentType: string
  readonly body: Buffer
  /** Names and values in turn. */
  readonly headers: readonly string[]
}

/** The sockets of one endpoint. */
export interface Connection {
  /** One attempt. Never rejects, and settles within the endpoint's timeout. */
  send(request: OutgoingRequest): Promise<AttemptOutcome>
  /** Requests under way may end, then the sockets are closed. */
  close(): void
  /** Requests under way fail at once. */
  destroy(): void
}

export type Connect = (endpoint: Endpoint) => Connection

/** What happened, for whoever logs it. A listener that throws harms nobody. */
export type DispatcherEvent =
  | { readonly type: 'attempted'; readonly delivery: Delivery; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'dead'; readonly delivery: Delivery; readonly endpoint: Endpoint; readonly attempt: Attempt }
  | { readonly type: 'discarded'; readonly delivery: Delivery; readonly reason: DiscardReason }
  | { readonly type: 'circuit'; readonly endpoint: Endpoint; readonly circuit: Circuit['name'] }

export interface DispatcherOptions {
  readonly connect: Connect
  readonly onEvent?: (event: DispatcherEvent) => void
  /** Deliveries that may be pending in all. @default 100000 */
  readonly maxPending?: number
  /** Bytes of bodies that may be pending in all. @default 67108864 */
  readonly maxBytes?: number
  /** Requests at once in all. @default 64 */
  readonly concurrency?: number
  readonly random?: () => number
}

/** accepted = delivered + pending + dead + discarded, at every moment. */
export interface Tally {
  readonly accepted: number
  readonly delivered: number
  readonly pending: number
  readonly dead: number
  readonly discarded: Readonly<Partial<Record<DiscardReason, number>>>
}

/** An endpoint in use: its queue, its sockets, its numbers. */
interface Line {
  readonly lane: Lane
  readonly tally: Counts
  connection: Connection
  timer: NodeJS.Timeout | undefined
  /** When `timer` fires. */
  wakeAt: number
}

interface Counts {
  accepted: number
  delivered: number
  dead: number
  discarded: Partial<Record<DiscardReason, number>>
}

/** Longer timers overflow; a lane that wakes early looks again. */
const LONGEST_TIMER_MS = 24 * 60 * 60_000

/**
 * The engine over all lanes: under one bound and one concurrency, each lane in its turn, so that none can keep another
 * waiting. The only place with timers.
 *
 * A delivery belongs to an owner, and `routes` says which endpoint the owner's deliveries go to: a new set of routes
 * moves what is pending.
 *
 * Runs on the monotonic clock, so that a jump of the wall clock sends nothing early, late or twice.
 *
 * open → `close()` → closed. Once closing, everything that comes or is left is discarded as `stopped`.
 */
export class Dispatcher {
  readonly #connect: Connect
  readonly #onEvent: (event: DispatcherEvent) => void
  readonly #maxPending: number
  readonly #maxBytes: number
  readonly #concurrency: number
  readonly #random: () => number

  /** By endpoint id. */
  readonly #lines = new Map<string, Line>()
  /** By owner. */
  #routes: ReadonlyMap<string, Endpoint> = new Map()
  /** Ids of the endpoints that `#routes` leads to. */
  #used: ReadonlySet<string> = new Set()
  /** Lines that may have something to send; each gets one turn, then goes to the end. */
  readonly #ready = new Set<Line>()
  readonly #counts: Counts = newCounts()
  #pending = 0
  #bytes = 0
  #inFlight = 0
  #isPumpDue = false
  #isClosing = false
  /** Called when nothing is in flight any more. */
  #onQuiet: (() => void) | undefined

  constructor(options: DispatcherOptions) {
    this.#connect = options.connect
    this.#onEvent = options.onEvent ?? (() => {})
    this.#maxPending = options.maxPending ?? 100_000
    this.#maxBytes = options.maxBytes ?? 64 * 1024 * 1024
    this.#concurrency = options.concurrency ?? 64
    this.#random = options.random ?? Math.random
  }

  /**
   * From now on an owner's deliveries go to its endpoint here, those that are pending too. What belongs to an owner
   * that is not in `routes` is discarded as `hook removed`.
   */
  reconfigure(routes: ReadonlyMap<string, Endpoint>): void {
    this.#routes = routes
    this.#used = new Set([...routes.values()].map(endpoint => endpoint.id))
    for (const line of [...this.#lines.values()]) {
      for (const entry of line.lane.idle()) {
        const endpoint = routes.get(entry.delivery.owner)
        if (endpoint === undefined) {
          this.#discard(line, entry, 'hook removed')
        } else if (endpoint.id !== line.lane.endpoint.id) {
          this.#move(line, entry, endpoint)
        }
      }
      this.#removeIfUnused(line)
    }
  }

  /** The sockets are opened anew, as after a change of the proxy; requests under way end on the old ones. */
  reconnect(): void {
    for (const line of this.#lines.values()) {
      line.connection.close()
      line.connection = this.#connect(line.lane.endpoint)
    }
  }

  /**
   * Takes a delivery; costs no I/O. At a bound, the newest delivery of the endpoint that takes up most is discarded as
   * `queue full`: it may be this one.
   *
   * @param onFirstAttempt - makes it urgent: it goes ahead of any backlog, and this is called once its first attempt is
   *   over, or at once if that cannot be made right away
   */
  submit(delivery: Delivery, onFirstAttempt?: () => void): void {
    const endpoint = this.#routes.get(delivery.owner)
    if (endpoint === undefined) {
      throw new Error(`no route for ${delivery.owner}`)
    }
    ++this.#counts.accepted
    if (this.#isClosing) {
      countDiscarded(this.#counts, 'stopped')
      onFirstAttempt?.()
      return
    }

    const now = performance.now()
    const line = this.#lineTo(endpoint)
    const isUrgent = onFirstAttempt !== undefined && line.lane.isOpenFor(now)
    ++line.tally.accepted
    this.#add(line, {
      delivery,
      expiresAt: now + (delivery.lifetimeMs ?? Number.POSITIVE_INFINITY),
      onFirstAttempt: isUrgent ? onFirstAttempt : undefined,
      state: 'queued',
      attempts: 0,
      failures: 0,
      firstTriedAt: undefined,
      dueAt: 0,
    })
    this.#makeRoom()
    if (isUrgent) {
      const urgent = line.lane.takeUrgent(now)
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
    try {
      return await attempt(connection, delivery, 1, 'test')
    } finally {
      connection.close()
    }
  }

  /** Since the start. */
  stats(): Tally & { readonly endpoints: ReadonlyMap<string, Tally & { readonly circuit: Circuit['name'] }> } {
    const now = performance.now()
    return {
      ...snapshot(this.#counts, this.#pending),
      endpoints: new Map(
        [...this.#lines].map(([id, { lane, tally }]) => [
          id,
          { ...snapshot(tally, lane.pending), circuit: lane.circuitAt(now).name },
        ])
      ),
    }
  }

  /** What is in flight may end within `graceMs`; everything else is discarded as `stopped`. Leaves no timer or socket. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true
    for (const line of this.#lines.values()) {
      for (const entry of line.lane.idle()) {
        this.#discard(line, entry, 'stopped')
      }
      clearTimeout(line.timer)
    }
    if (this.#inFlight > 0) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>(resolve => {
        this.#onQuiet = resolve
        timer = setTimeout(() => {
          for (const { connection } of this.#lines.values()) {
            connection.destroy()
          }
        }, graceMs)
      })
      clearTimeout(timer)
    }
    for (const line of this.#lines.values()) {
      this.#remove(line)
    }
  }

  #lineTo(endpoint: Endpoint): Line {
    let line = this.#lines.get(endpoint.id)
    if (line === undefined) {
      line = {
        lane: new Lane(endpoint),
        tally: newCounts(),
        connection: this.#connect(endpoint),
        timer: undefined,
        wakeAt: Number.POSITIVE_INFINITY,
      }
      this.#lines.set(endpoint.id, line)
    }
    return line
  }

  #removeIfUnused(line: Line): void {
    if (line.lane.pending === 0 && !this.#used.has(line.lane.endpoint.id)) {
      this.#remove(line)
    }
  }

  #remove(line: Line): void {
    clearTimeout(line.timer)
    this.#ready.delete(line)
    line.connection.close()
    this.#lines.delete(line.lane.endpoint.id)
  }

  #add(line: Line, entry: Entry): void {
    line.lane.add(entry)
    ++this.#pending
    this.#bytes += entry.delivery.payload.body.length
  }

  /** The only way out of pending. */
  #settle(line: Line, entry: Entry): void {
    line.lane.settle(entry)
    --this.#pending
    this.#bytes -= entry.delivery.payload.body.length
  }

  #move(from: Line, entry: Entry, endpoint: Endpoint): void {
    const to = this.#lineTo(endpoint)
    this.#settle(from, entry)
    --from.tally.accepted
    ++to.tally.accepted
    // a copy: what is settled there must stay settled there
    this.#add(to, { ...entry })
    this.#wake(to)
  }

  #discard(line: Line, entry: Entry, reason: DiscardReason): void {
    this.#settle(line, entry)
    countDiscarded(line.tally, reason)
    countDiscarded(this.#counts, reason)
    entry.onFirstAttempt?.()
    this.#tell({ type: 'discarded', delivery: entry.delivery, reason })
  }

  #makeRoom(): void {
    while (this.#pending > this.#maxPending || this.#bytes > this.#maxBytes) {
      let largest
      let largestShare = 0
      for (const line of this.#lines.values()) {
        const share = line.lane.pending / this.#maxPending + line.lane.bytes / this.#maxBytes
        if (share > largestShare) {
          largest = line
          largestShare = share
        }
      }
      const entry = largest?.lane.newest()
      if (largest === undefined || entry === undefined) {
        return // all that is left is in flight
      }
      this.#discard(largest, entry, 'queue full')
    }
  }

  /** The lane has changed: it gets a turn, but not on the tick of whoever called, which is an API call of the host. */
  #wake(line: Line): void {
    this.#ready.add(line)
    if (!this.#isPumpDue) {
      this.#isPumpDue = true
      setImmediate(() => {
        this.#isPumpDue = false
        this.#pump()
      })
    }
  }

  #pump(): void {
    if (this.#isClosing) {
      return
    }
    const now = performance.now()
    // a line that is added again while this goes round is visited again, after the others
    for (const line of this.#ready) {
      for (const entry of line.lane.expired(now)) {
        this.#discard(line, entry, 'expired')
      }
      if (this.#inFlight >= this.#concurrency) {
        return // whichever request ends first pumps again
      }
      this.#ready.delete(line)
      const entry = line.lane.take(now)
      if (entry === undefined) {
        this.#setTimer(line, now)
      } else {
        this.#ready.add(line)
        this.#send(line, entry, now)
      }
    }
  }

  /** A timer that fires earlier than needed is left alone: it looks again. */
  #setTimer(line: Line, now: number): void {
    const wakeAt = Math.min(line.lane.wakeAt(now), now + LONGEST_TIMER_MS)
    const isForTime = line.lane.wakeAt(now) !== Number.POSITIVE_INFINITY && wakeAt > now
    if (!isForTime || wakeAt >= line.wakeAt) {
      return
    }
    clearTimeout(line.timer)
    line.wakeAt = wakeAt
    line.timer = setTimeout(
      () => {
        line.wakeAt = Number.POSITIVE_INFINITY
        this.#ready.add(line)
        this.#pump()
      },
      Math.ceil(wakeAt - now)
    ).unref()
  }

  #send(line: Line, entry: Entry, now: number): void {
    ++this.#inFlight
    ++entry.attempts
    entry.firstTriedAt ??= now
    const trigger = entry.attempts === 1 ? 'event' : 'retry'
    void attempt(line.connection, entry.delivery, entry.attempts, trigger).then(done => {
      --this.#inFlight
      this.#ready.add(line)
      this.#attempted(line, entry, done)
      this.#removeIfUnused(line)
      this.#pump()
      if (this.#inFlight === 0) {
        this.#onQuiet?.()
      }
    })
  }

  #attempted(line: Line, entry: Entry, done: Attempt): void {
    const { lane } = line
    const now = performance.now()
    const before = lane.circuitAt(now).name
    lane.attempted(done.outcome.kind === 'accepted', now)
    const circuit = lane.circuitAt(now).name
    this.#tell({ type: 'attempted', delivery: entry.delivery, endpoint: lane.endpoint, attempt: done })
    if (circuit !== before) {
      this.#tell({ type: 'circuit', endpoint: lane.endpoint, circuit })
    }
    entry.onFirstAttempt?.()
    entry.onFirstAttempt = undefined

    if (done.outcome.kind === 'accepted') {
      this.#settle(line, entry)
      ++line.tally.delivered
      ++this.#counts.delivered
    } else {
      this.#failed(line, entry, done, done.outcome, now)
    }
  }

  #failed(line: Line, entry: Entry, done: Attempt, outcome: FailedOutcome, now: number): void {
    const endpoint = this.#routes.get(entry.delivery.owner)
    if (this.#isClosing || endpoint === undefined) {
      this.#discard(line, entry, this.#isClosing ? 'stopped' : 'hook removed')
      return
    }
    const decision = decideRetry(outcome, entry.failures + 1, now - (entry.firstTriedAt ?? now), this.#random)
    if (!decision.retry) {
      this.#settle(line, entry)
      ++line.tally.dead
      ++this.#counts.dead
      this.#tell({ type: 'dead', delivery: entry.delivery, endpoint: line.lane.endpoint, attempt: done })
      return
    }
    const dueAt = now + decision.delayMs
    if (decision.asked) {
      line.lane.block(dueAt)
    } else {
      ++entry.failures
    }
    if (dueAt >= entry.expiresAt) {
      this.#discard(line, entry, 'expired')
      return
    }
    if (endpoint.id === line.lane.endpoint.id) {
      line.lane.retryAt(entry, dueAt)
    } else {
      entry.dueAt = dueAt
      this.#move(line, entry, endpoint)
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

type FailedOutcome = Exclude<AttemptOutcome, { kind: 'accepted' }>

async function attempt(connection: Connection, delivery: Delivery, number: number, trigger: Trigger): Promise<Attempt> {
  const startedAt = Date.now()
  const start = performance.now()
  const outcome = await connection.send({
    contentType: delivery.payload.contentType,
    body: delivery.payload.body,
    headers: delivery.headers.concat(
      'X-XO-Delivery',
      delivery.id,
      'X-XO-Attempt',
      String(number),
      'webhook-id',
      delivery.id,
      'webhook-timestamp',
      String(Math.floor(startedAt / 1000))
    ),
  })
  return { number, trigger, startedAt, durationMs: performance.now() - start, outcome }
}

function newCounts(): Counts {
  return { accepted: 0, delivered: 0, dead: 0, discarded: {} }
}

function countDiscarded({ discarded }: Counts, reason: DiscardReason): void {
  discarded[reason] = (discarded[reason] ?? 0) + 1
}

function snapshot(counts: Counts, pending: number): Tally {
  return { ...counts, discarded: { ...counts.discarded }, pending }
}
