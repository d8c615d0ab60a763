import TinyQueue from 'tinyqueue'

import { circuitAt } from './circuit-breaker.ts'
import type { Circuit } from './circuit-breaker.ts'
import type { AttemptOutcome, Delivery, Endpoint, Trigger } from './delivery.ts'
import { afterAttempt, HEALTHY } from './health.ts'
import type { Health, HealthChange } from './health.ts'

/**
 * A delivery that is kept, with what the engine knows of it. Instants are of the engine's clock.
 *
 * `held` (behind the leader of its call) → `queued` → `sending` → `settled`, or → `waiting` → `sending` …, or → `dead`,
 * from where a replay leads back; `settled` at any point but `sending` when it is discarded.
 */
export interface Entry {
  readonly id: string
  readonly owner: string
  readonly orderKey: string
  readonly leads: boolean
  /** Of its body. */
  readonly bytes: number
  /** Epoch ms. */
  readonly acceptedAt: number
  /** When the engine took it, now or after a restart. */
  readonly takenAt: number
  /** `undefined` while it is in the journal only. */
  delivery: Delivery | undefined
  /** Where it stands in the journal. */
  place: Place | undefined
  state: 'held' | 'queued' | 'sending' | 'waiting' | 'dead' | 'settled'
  expiresAt: number
  /** Of the next attempt. */
  trigger: Trigger
  attempts: number
  /** Failed attempts, those not counted for which the receiver named the delay itself. */
  failures: number
  firstTriedAt: number | undefined
  /** While `waiting`. */
  dueAt: number
  /** Someone waits for the first attempt: it goes ahead of any backlog. */
  onFirstAttempt: (() => void) | undefined
  /** To be discarded once the attempt under way is over. */
  isCancelled: boolean
}

/** See `journal.ts`. */
export interface Place {
  readonly page: { readonly number: number }
  readonly index: number
}

/** Requests at once to one endpoint. Urgent ones may double it. */
export const LANE_CONCURRENCY = 8

/** Of this many turns, one is a retry's while both fresh deliveries and retries could go. */
const RETRY_TURN = 4

/** The queue of one endpoint: who may go when. No timers, no I/O; time is passed in. */
export class Lane {
  readonly endpoint: Endpoint
  #health = HEALTHY
  /** How many may be under way: one after a trouble, then one more with each success. */
  #window = LANE_CONCURRENCY
  #inFlight = 0
  #bytes = 0
  #turn = 0
  /** Pending and dead, in the order in which they came. */
  readonly #kept = new Set<Entry>()
  #dead = 0
  readonly #urgent = new Fifo()
  readonly #fresh = new Fifo()
  #waiting = new TinyQueue<Entry>([], byDueAt)
  /** Those that can expire, by when they do. May hold settled ones. */
  readonly #mortal = new TinyQueue<Entry>([], byExpiresAt)
  /** By order key, as long as a leader is pending. */
  readonly #calls = new Map<string, { leaders: number; held: Entry[] }>()

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint
  }

  get pending(): number {
    return this.#kept.size - this.#dead
  }

  get dead(): number {
    return this.#dead
  }

  /** Bytes of the bodies of all that are kept; a body that several share counts for each. */
  get bytes(): number {
    return this.#bytes
  }

  get health(): Health {
    return this.#health
  }

  /** Pending and dead, in the order in which they came. */
  get entries(): Iterable<Entry> {
    return this.#kept
  }

  circuitAt(now: number): Circuit {
    return circuitAt(this.#health.circuit, now)
  }

  /** Whether what is queued is being sent. */
  isFlowing(now: number): boolean {
    return (
      now >= this.#health.blockedUntil && this.circuitAt(now).name === 'closed' && this.#health.disabled === undefined
    )
  }

  add(entry: Entry): void {
    this.#kept.add(entry)
    this.#bytes += entry.bytes
    if (entry.state === 'dead') {
      ++this.#dead
    } else {
      this.#enqueue(entry)
    }
  }

  #enqueue(entry: Entry): void {
    if (entry.expiresAt !== Number.POSITIVE_INFINITY) {
      this.#mortal.push(entry)
    }
    const call = this.#calls.get(entry.orderKey)
    if (entry.leads) {
      if (call === undefined) {
        this.#calls.set(entry.orderKey, { leaders: 1, held: [] })
      } else {
        ++call.leaders
      }
    } else if (call !== undefined) {
      entry.state = 'held'
      call.held.push(entry)
      return
    }
    this.#queue(entry)
  }

  #queue(entry: Entry): void {
    if (entry.attempts > 0 || entry.trigger === 'replay') {
      this.retryAt(entry, entry.dueAt)
    } else {
      entry.state = 'queued'
      ;(entry.onFirstAttempt === undefined ? this.#fresh : this.#urgent).push(entry)
    }
  }

  /** The next one to send, now `sending`; `undefined` if none may go. */
  take(now: number): Entry | undefined {
    return this.#mayGo(now, this.#window) ? this.#start(this.#urgent.shift() ?? this.#takeTurn(now), now) : undefined
  }

  /** As `take`, for urgent ones only, which need not wait for a place. */
  takeUrgent(now: number): Entry | undefined {
    return this.#mayGo(now, 2 * LANE_CONCURRENCY) ? this.#start(this.#urgent.shift(), now) : undefined
  }

  #mayGo(now: number, window: number): boolean {
    if (now < this.#health.blockedUntil || this.#inFlight >= window || this.#health.disabled !== undefined) {
      return false
    }
    const { name } = this.circuitAt(now)
    return name === 'closed' || (name === 'half-open' && this.#inFlight === 0)
  }

  #start(entry: Entry | undefined, now: number): Entry | undefined {
    if (entry !== undefined) {
      const circuit = this.circuitAt(now)
      if (circuit !== this.#health.circuit) {
        this.#health = { ...this.#health, circuit }
      }
      entry.state = 'sending'
      ++this.#inFlight
    }
    return entry
  }

  /** Fresh deliveries go ahead of retries, which yet have a share. */
  #takeTurn(now: number): Entry | undefined {
    const retry = firstPending(this.#waiting)
    const isRetryDue = retry !== undefined && retry.dueAt <= now
    const isFreshDue = this.#fresh.first() !== undefined
    if (isRetryDue && (!isFreshDue || ++this.#turn % RETRY_TURN === 0)) {
      return this.#waiting.pop()
    }
    return this.#fresh.shift()
  }

  /** An attempt is over: its place is free, and the endpoint's health knows. */
  attempted(outcome: AttemptOutcome, now: number, epochMs: number): HealthChange | undefined {
    --this.#inFlight
    const wasClosed = this.#health.circuit.name === 'closed'
    const { health, change } = afterAttempt(this.#health, outcome, now, epochMs, this.endpoint.disableAfter)
    this.#health = health
    if (health.circuit.name === 'open') {
      this.#window = 1
    } else if (outcome.kind === 'accepted' && wasClosed) {
      this.#window = Math.min(this.#window + 1, LANE_CONCURRENCY)
    }
    return change
  }

  /** It was not sent after all: back to where it was, due at `dueAt`. */
  putBack(entry: Entry, dueAt: number): void {
    --this.#inFlight
    this.retryAt(entry, dueAt)
  }

  retryAt(entry: Entry, dueAt: number): void {
    entry.state = 'waiting'
    entry.dueAt = dueAt
    this.#waiting.push(entry)
  }

  /** Nothing is sent before `until`. */
  block(until: number): void {
    this.#health = { ...this.#health, blockedUntil: Math.max(this.#health.blockedUntil, until) }
  }

  /** What an earlier run knew; it may come only after the first attempts of this one, whose failures count more. */
  restore(health: Health): void {
    const { disabled } = health
    if (this.#health.failuresInRow === 0) {
      this.#health = health
      this.#window = health.circuit.name === 'closed' ? LANE_CONCURRENCY : 1
    } else if (disabled !== undefined) {
      this.#health = { ...this.#health, isTold: true, disabled }
    }
  }

  /** A failing or disabled endpoint has a new chance, with one request at a time; what it asked for still holds. */
  enable(): void {
    const { isTold, blockedUntil, failuresInRow, disabled } = this.#health
    if (failuresInRow > 0 || disabled !== undefined) {
      this.#health = { ...HEALTHY, isTold, blockedUntil }
      this.#window = 1
    }
  }

  /** It is no longer kept here; those held behind it may go. */
  settle(entry: Entry): void {
    const { state } = entry
    entry.state = 'settled'
    this.#kept.delete(entry)
    this.#bytes -= entry.bytes
    if (state === 'dead') {
      --this.#dead
    } else {
      this.#dequeue(entry)
    }
  }

  /** Not tried again by itself; those held behind it may go. */
  bury(entry: Entry): void {
    entry.state = 'dead'
    ++this.#dead
    this.#dequeue(entry)
  }

  /** Those that are waiting become due now. */
  hasten(entries: readonly Entry[], now: number): void {
    for (const entry of entries) {
      entry.dueAt = now
    }
    this.#waiting = new TinyQueue(this.#waiting.data, byDueAt)
  }

  #dequeue(entry: Entry): void {
    firstPending(this.#mortal) // lets go of settled ones
    const call = this.#calls.get(entry.orderKey)
    if (call === undefined) {
      return
    }
    if (!entry.leads) {
      call.held = call.held.filter(held => held !== entry)
    } else if (--call.leaders === 0) {
      this.#calls.delete(entry.orderKey)
      for (const held of call.held) {
        this.#queue(held)
      }
    }
  }

  /** Those whose time is over, the ones in flight excepted. The caller settles them. */
  expired(now: number): Entry[] {
    const expired: Entry[] = []
    for (
      let entry = firstPending(this.#mortal);
      entry !== undefined && entry.expiresAt <= now;
      entry = firstPending(this.#mortal)
    ) {
      this.#mortal.pop()
      if (entry.state !== 'sending') {
        expired.push(entry)
      }
    }
    return expired
  }

  /** The one to give up when there is no room: the oldest dead letter, else what came last and is not in flight. */
  expendable(): Entry | undefined {
    if (this.#dead > 0) {
      for (const entry of this.#kept) {
        if (entry.state === 'dead') {
          return entry
        }
      }
    }
    return this.#fresh.last() ?? this.#urgent.last() ?? this.#waiting.data.findLast(isPending)
  }

  /**
   * When time alone will change something here: a retry is due, a pause is over, one expires. Past or now: it is not
   * time that is waited for, but the end of a request.
   */
  wakeAt(now: number): number {
    const expiresAt = firstPending(this.#mortal)?.expiresAt ?? Number.POSITIVE_INFINITY
    if (this.#health.disabled !== undefined) {
      return expiresAt
    }
    const hasFresh = (this.#urgent.first() ?? this.#fresh.first()) !== undefined
    const dueAt = hasFresh ? now : (firstPending(this.#waiting)?.dueAt ?? Number.POSITIVE_INFINITY)
    const { circuit, blockedUntil } = this.#health
    const opensAt = circuit.name === 'open' ? circuit.until : 0
    return Math.min(expiresAt, Math.max(dueAt, blockedUntil, opensAt))
  }
}

/** Those of one replay are due at once. */
function byDueAt(a: Entry, b: Entry): number {
  return a.dueAt - b.dueAt || a.acceptedAt - b.acceptedAt
}

function byExpiresAt(a: Entry, b: Entry): number {
  return a.expiresAt - b.expiresAt
}

/** Lets go of those before it. */
function firstPending(queue: TinyQueue<Entry>): Entry | undefined {
  let entry = queue.peek()
  while (entry !== undefined && !isPending(entry)) {
    queue.pop()
    entry = queue.peek()
  }
  return entry
}

function isPending(entry: Entry): boolean {
  return entry.state !== 'settled' && entry.state !== 'dead'
}

/**
 * First in, first out, in constant time. Entries that are no longer pending are skipped where they are met, so that one
 * can be taken from the middle at no cost.
 */
class Fifo {
  #items: Entry[] = []
  /** The consumed beginning is cut off once it is half of the array. */
  #start = 0

  push(entry: Entry): void {
    this.#items.push(entry)
  }

  first(): Entry | undefined {
    while (this.#start < this.#items.length) {
      const entry = this.#items[this.#start]!
      if (isPending(entry)) {
        return entry
      }
      this.#advance()
    }
    return undefined
  }

  shift(): Entry | undefined {
    const entry = this.first()
    if (entry !== undefined) {
      this.#advance()
    }
    return entry
  }

  last(): Entry | undefined {
    while (this.#items.length > this.#start) {
      const entry = this.#items.at(-1)!
      if (isPending(entry)) {
        return entry
      }
      this.#items.pop()
    }
    return undefined
  }

  #advance(): void {
    ++this.#start
    if (this.#start * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#start)
      this.#start = 0
    }
  }
}
