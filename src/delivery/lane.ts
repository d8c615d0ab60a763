import TinyQueue from 'tinyqueue'

import { afterFailure, afterSuccess, circuitAt, CLOSED } from './circuit-breaker.ts'
import type { Circuit } from './circuit-breaker.ts'
import type { Delivery, Endpoint } from './delivery.ts'

/**
 * A pending delivery with what the engine knows of it. Instants are of the engine's clock.
 *
 * `held` (behind the leader of its call) → `queued` → `sending` → `settled`, or → `waiting` → `sending` … ; `settled`
 * at any point but `sending` when it is discarded.
 */
export interface Entry {
  readonly delivery: Delivery
  readonly expiresAt: number
  /** Someone waits for the first attempt: it goes ahead of any backlog. */
  onFirstAttempt: (() => void) | undefined
  state: 'held' | 'queued' | 'sending' | 'waiting' | 'settled'
  attempts: number
  /** Failed attempts, those not counted for which the receiver named the delay itself. */
  failures: number
  firstTriedAt: number | undefined
  /** While `waiting`. */
  dueAt: number
}

/** Requests at once to one endpoint. Urgent ones may double it. */
export const LANE_CONCURRENCY = 8

/** Of this many turns, one is a retry's while both fresh deliveries and retries could go. */
const RETRY_TURN = 4

/** The queue of one endpoint: who may go when. No timers, no I/O; time is passed in. */
export class Lane {
  readonly endpoint: Endpoint
  #circuit: Circuit = CLOSED
  #blockedUntil = 0
  /** How many may be under way: one after the circuit was open, then one more with each success. */
  #window = LANE_CONCURRENCY
  #inFlight = 0
  #pending = 0
  #bytes = 0
  #turn = 0
  readonly #urgent = new Fifo()
  readonly #fresh = new Fifo()
  readonly #waiting = new TinyQueue<Entry>([], (a, b) => a.dueAt - b.dueAt)
  /** Those that can expire, in the order in which they do: they live equally long. May hold settled ones. */
  readonly #mortal = new Fifo()
  /** By order key, as long as a leader is pending. */
  readonly #calls = new Map<string, { leaders: number; held: Entry[] }>()

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint
  }

  /** Deliveries that are not settled, those in flight included. */
  get pending(): number {
    return this.#pending
  }

  /** Bytes of the pending bodies; a body that several share counts for each. */
  get bytes(): number {
    return this.#bytes
  }

  get inFlight(): number {
    return this.#inFlight
  }

  circuitAt(now: number): Circuit {
    return circuitAt(this.#circuit, now)
  }

  /** Whether a request could go right away, were it urgent. */
  isOpenFor(now: number): boolean {
    return now >= this.#blockedUntil && this.circuitAt(now).name === 'closed'
  }

  add(entry: Entry): void {
    ++this.#pending
    this.#bytes += entry.delivery.payload.body.length
    if (entry.expiresAt !== Number.POSITIVE_INFINITY) {
      this.#mortal.push(entry)
    }

    const { key, leads } = entry.delivery.order
    const call = this.#calls.get(key)
    if (leads) {
      if (call === undefined) {
        this.#calls.set(key, { leaders: 1, held: [] })
      } else {
        ++call.leaders
      }
    } else if (call !== undefined) {
      entry.state = 'held'
      call.held.push(entry)
      return
    }

    if (entry.attempts > 0) {
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
    if (now < this.#blockedUntil || this.#inFlight >= window) {
      return false
    }
    const { name } = this.circuitAt(now)
    return name === 'closed' || (name === 'half-open' && this.#inFlight === 0)
  }

  #start(entry: Entry | undefined, now: number): Entry | undefined {
    if (entry !== undefined) {
      this.#circuit = this.circuitAt(now)
      entry.state = 'sending'
      ++this.#inFlight
    }
    return entry
  }

  /** Fresh deliveries go ahead of retries, which yet have a share. */
  #takeTurn(now: number): Entry | undefined {
    const retry = this.#nextWaiting()
    const isRetryDue = retry !== undefined && retry.dueAt <= now
    const isFreshDue = this.#fresh.first() !== undefined
    if (isRetryDue && (!isFreshDue || ++this.#turn % RETRY_TURN === 0)) {
      return this.#waiting.pop()
    }
    return this.#fresh.shift()
  }

  /** After an attempt, whatever it came to: its place is free, and the circuit knows. */
  attempted(ok: boolean, now: number): void {
    --this.#inFlight
    const wasClosed = this.#circuit.name === 'closed'
    this.#circuit = ok ? afterSuccess(this.#circuit) : afterFailure(this.#circuit, now)
    if (this.#circuit.name === 'open') {
      this.#window = 1
    } else if (ok && wasClosed) {
      this.#window = Math.min(this.#window + 1, LANE_CONCURRENCY)
    }
  }

  retryAt(entry: Entry, dueAt: number): void {
    entry.state = 'waiting'
    entry.dueAt = dueAt
    this.#waiting.push(entry)
  }

  /** Nothing is sent before `until`. */
  block(until: number): void {
    this.#blockedUntil = Math.max(this.#blockedUntil, until)
  }

  /** It is no longer pending here; those held behind it may go. */
  settle(entry: Entry): void {
    entry.state = 'settled'
    --this.#pending
    this.#bytes -= entry.delivery.payload.body.length
    this.#mortal.first() // lets go of settled ones

    const { key, leads } = entry.delivery.order
    const call = this.#calls.get(key)
    if (call === undefined) {
      return
    }
    if (!leads) {
      call.held = call.held.filter(held => held !== entry)
    } else if (--call.leaders === 0) {
      this.#calls.delete(key)
      for (const held of call.held) {
        held.state = 'queued'
        this.#fresh.push(held)
      }
    }
  }

  /** Those whose time is over, the ones in flight excepted. The caller settles them. */
  expired(now: number): Entry[] {
    const expired: Entry[] = []
    for (
      let entry = this.#mortal.first();
      entry !== undefined && entry.expiresAt <= now;
      entry = this.#mortal.first()
    ) {
      this.#mortal.shift()
      if (entry.state !== 'sending') {
        expired.push(entry)
      }
    }
    return expired
  }

  /** The one that was accepted last and is not in flight: the one to give up when there is no room. */
  newest(): Entry | undefined {
    return this.#fresh.last() ?? this.#urgent.last() ?? this.#waiting.data.findLast(isPending)
  }

  /** All that are pending and not in flight, oldest first. */
  idle(): Entry[] {
    const held = [...this.#calls.values()].flatMap(call => call.held)
    return [...this.#urgent.items(), ...this.#fresh.items(), ...this.#waiting.data.filter(isPending), ...held].sort(
      (a, b) => a.delivery.acceptedAt - b.delivery.acceptedAt
    )
  }

  /**
   * When time alone will change something here: a retry is due, a pause is over, one expires. Past or now: it is not
   * time that is waited for, but the end of a request.
   */
  wakeAt(now: number): number {
    const expiresAt = this.#mortal.first()?.expiresAt ?? Number.POSITIVE_INFINITY
    const hasFresh = (this.#urgent.first() ?? this.#fresh.first()) !== undefined
    const dueAt = hasFresh ? now : (this.#nextWaiting()?.dueAt ?? Number.POSITIVE_INFINITY)
    const opensAt = this.#circuit.name === 'open' ? this.#circuit.until : 0
    return Math.min(expiresAt, Math.max(dueAt, this.#blockedUntil, opensAt))
  }

  #nextWaiting(): Entry | undefined {
    let entry = this.#waiting.peek()
    while (entry !== undefined && !isPending(entry)) {
      this.#waiting.pop()
      entry = this.#waiting.peek()
    }
    return entry
  }
}

function isPending(entry: Entry): boolean {
  return entry.state !== 'settled'
}

/**
 * First in, first out, in constant time. Settled entries are skipped where they are met, so that one can be discarded
 * from the middle at no cost.
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

  items(): Entry[] {
    return this.#items.slice(this.#start).filter(isPending)
  }

  #advance(): void {
    ++this.#start
    if (this.#start * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#start)
      this.#start = 0
    }
  }
}
