import TinyQueue from 'tinyqueue'

import { circuitAt } from './circuit-breaker.ts'
import type { Circuit, Pauses } from './circuit-breaker.ts'
import type { AttemptOutcome, Delivery, Endpoint, Trigger } from './delivery.ts'
import { Fifo } from './queue.ts'
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
  readonly party: string
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
  /** Waits to be written to the journal. */
  isUnsaved: boolean
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

export function newEntry(delivery: Delivery, now: number): Entry {
  return {
    id: delivery.id,
    owner: delivery.owner,
    party: delivery.party ?? '',
    orderKey: delivery.order.key,
    leads: delivery.order.leads,
    bytes: delivery.payload.body.length,
    acceptedAt: delivery.acceptedAt,
    takenAt: now,
    delivery,
    place: undefined,
    isUnsaved: false,
    state: 'queued',
    expiresAt: now + (delivery.lifetimeMs ?? Number.POSITIVE_INFINITY),
    trigger: 'event',
    attempts: 0,
    failures: 0,
    firstTriedAt: undefined,
    dueAt: 0,
    onFirstAttempt: undefined,
    isCancelled: false,
  }
}

/** See `journal.ts`. */
export interface Place {
  readonly page: { readonly number: number; readonly isWritten: boolean }
  readonly index: number
}

/** Requests at once to one endpoint. Urgent ones may double it. */
export const LANE_CONCURRENCY = 8

/** Of this many turns, one is a retry's while both fresh deliveries and retries could go. */
const RETRY_TURN = 4

/** What one party has caused of one owner's, of what is kept. */
interface Share {
  count: number
  bytes: number
  readonly pending: Fifo<Entry>
  readonly dead: Fifo<Entry>
}

/** The queue of one endpoint: who may go when. No timers, no I/O; time is passed in. */
export class Lane {
  readonly endpoint: Endpoint
  readonly #pauses: Pauses | undefined
  #health: Health = HEALTHY
  /** How many may be under way: one after a trouble, then one more with each success. */
  #window = LANE_CONCURRENCY
  #inFlight = 0
  #bytes = 0
  #turn = 0
  /** Pending and dead, in the order in which they came. */
  readonly #kept = new Fifo<Entry>(entry => entry.state !== 'settled')
  #pending = 0
  #dead = 0
  readonly #urgent = new Fifo<Entry>(isQueued)
  readonly #fresh = new Fifo<Entry>(isQueued)
  /** Those of one replay are due at once. */
  readonly #waiting = new Heap(isWaiting, (a, b) => a.dueAt - b.dueAt || a.acceptedAt - b.acceptedAt)
  /** Those that can expire. */
  readonly #mortal = new Heap(isPending, (a, b) => a.expiresAt - b.expiresAt)
  /** By owner, then by party. */
  readonly #shares = new Map<string, Map<string, Share>>()
  /** By order key, as long as a leader is pending. */
  readonly #calls = new Map<string, { leaders: number; held: Entry[] }>()

  constructor(endpoint: Endpoint, pauses?: Pauses) {
    this.endpoint = endpoint
    this.#pauses = pauses
  }

  get pending(): number {
    return this.#pending
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

  /** What an earlier run knew of the endpoint. Failures of this one, if the journal opens late, count more. */
  recall(health: Health): void {
    const { disabled } = health
    if (this.#health.failuresInRow === 0) {
      this.#health = health
      this.#window = health.circuit.name === 'closed' ? LANE_CONCURRENCY : 1
    } else if (disabled !== undefined) {
      this.#health = { ...this.#health, isTold: true, disabled }
    }
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
    this.#kept.push(entry)
    this.#bytes += entry.bytes
    const share = this.#shareOf(entry)
    ++share.count
    share.bytes += entry.bytes
    if (entry.state === 'dead') {
      ++this.#dead
      share.dead.push(entry)
    } else {
      ++this.#pending
      share.pending.push(entry)
      this.#enqueue(entry)
    }
  }

  #shareOf({ owner, party }: Entry): Share {
    let parties = this.#shares.get(owner)
    if (parties === undefined) {
      parties = new Map()
      this.#shares.set(owner, parties)
    }
    let share = parties.get(party)
    if (share === undefined) {
      share = { count: 0, bytes: 0, pending: new Fifo(isPending), dead: new Fifo(isDead) }
      parties.set(party, share)
    }
    return share
  }

  #leaveShare(entry: Entry): void {
    const share = this.#shareOf(entry)
    share.bytes -= entry.bytes
    if (--share.count === 0) {
      const parties = this.#shares.get(entry.owner)
      parties?.delete(entry.party)
      if (parties?.size === 0) {
        this.#shares.delete(entry.owner)
      }
    }
  }

  #enqueue(entry: Entry): void {
    if (entry.expiresAt !== Number.POSITIVE_INFINITY) {
      this.#mortal.push(entry)
    }
    const call = this.#calls.get(entry.orderKey)
    if (entry.leads) {
      this.expectLeader(entry.orderKey)
    } else if (call !== undefined) {
      entry.state = 'held'
      call.held.push(entry)
      return
    }
    this.#queue(entry)
  }

  /** A leader of this call is here, or may come: the others of the call are held until {@link releaseCall}. */
  expectLeader(orderKey: string): void {
    const call = this.#calls.get(orderKey)
    if (call === undefined) {
      this.#calls.set(orderKey, { leaders: 1, held: [] })
    } else {
      ++call.leaders
    }
  }

  /** It has settled, or is not coming. */
  releaseCall(orderKey: string): void {
    const call = this.#calls.get(orderKey)
    if (call !== undefined && --call.leaders === 0) {
      this.#calls.delete(orderKey)
      for (const held of call.held) {
        this.#queue(held)
      }
    }
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
    const retry = this.#waiting.first()
    const isRetryDue = retry !== undefined && retry.dueAt <= now
    const isFreshDue = this.#fresh.first() !== undefined
    if (isRetryDue && (!isFreshDue || ++this.#turn % RETRY_TURN === 0)) {
      return this.#waiting.shift()
    }
    return this.#fresh.shift()
  }

  /** An attempt is over: its place is free, and the endpoint's health knows. */
  attempted(outcome: AttemptOutcome, now: number, epochMs: number): HealthChange | undefined {
    --this.#inFlight
    const wasClosed = this.#health.circuit.name === 'closed'
    const { disableAfter } = this.endpoint
    const { health, change } = afterAttempt(this.#health, outcome, now, epochMs, disableAfter, this.#pauses)
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
    this.#bytes -= entry.bytes
    this.#leaveShare(entry)
    if (state === 'dead') {
      --this.#dead
    } else {
      --this.#pending
      this.#dequeue(entry)
    }
  }

  /** Not tried again by itself; those held behind it may go. */
  bury(entry: Entry): void {
    entry.state = 'dead'
    --this.#pending
    ++this.#dead
    this.#shareOf(entry).dead.push(entry)
    this.#dequeue(entry)
  }

  /** Those that are waiting become due now. */
  hasten(entries: readonly Entry[], now: number): void {
    for (const entry of entries) {
      entry.dueAt = now
    }
    this.#waiting.sort()
  }

  #dequeue(entry: Entry): void {
    if (entry.leads) {
      this.releaseCall(entry.orderKey)
      return
    }
    const call = this.#calls.get(entry.orderKey)
    if (call !== undefined) {
      call.held = call.held.filter(held => held !== entry)
    }
  }

  /** Those whose time is over, the ones in flight excepted. The caller settles them. */
  expired(now: number): readonly Entry[] {
    const first = this.#mortal.first()
    if (first === undefined || first.expiresAt > now) {
      return NONE
    }
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

  /**
   * The one to give up when there is no room, of the owner that takes up most, and there of the party that does: its
   * oldest dead letter, else what came last and is not in flight. So whoever floods loses before anyone else does.
   *
   * @param weigh - how much of the room it is
   */
  expendable(weigh: (count: number, bytes: number) => number): Entry | undefined {
    const weighed = (share: Share) => ({ share, weight: weigh(share.count, share.bytes) })
    const owners = [...this.#shares.values()].map(parties => {
      const shares = [...parties.values()].map(weighed).sort(heaviestFirst)
      return { shares, weight: shares.reduce((sum, { weight }) => sum + weight, 0) }
    })
    for (const { shares } of owners.sort(heaviestFirst)) {
      for (const { share } of shares) {
        const entry = share.dead.first() ?? lastIdle(share.pending)
        if (entry !== undefined) {
          return entry
        }
      }
    }
    return undefined
  }

  /**
   * When time alone will change something here: a retry is due, a pause is over, one expires. Past or now: it is not
   * time that is waited for, but the end of a request.
   */
  wakeAt(now: number): number {
    const expiresAt = this.#mortal.first()?.expiresAt ?? Number.POSITIVE_INFINITY
    if (this.#health.disabled !== undefined) {
      return expiresAt
    }
    const hasFresh = (this.#urgent.first() ?? this.#fresh.first()) !== undefined
    const dueAt = hasFresh ? now : (this.#waiting.first()?.dueAt ?? Number.POSITIVE_INFINITY)
    const { circuit, blockedUntil } = this.#health
    const opensAt = circuit.name === 'open' ? circuit.until : 0
    return Math.min(expiresAt, Math.max(dueAt, blockedUntil, opensAt))
  }
}

const NONE: readonly Entry[] = []

function heaviestFirst(a: { weight: number }, b: { weight: number }): number {
  return b.weight - a.weight
}

/** What is in flight is passed over; it is rarely what came last. */
function lastIdle(pending: Fifo<Entry>): Entry | undefined {
  const last = pending.last()
  return last?.state === 'sending' ? [...pending].findLast(({ state }) => state !== 'sending') : last
}

function isPending({ state }: Entry): boolean {
  return state !== 'settled' && state !== 'dead'
}

function isDead({ state }: Entry): boolean {
  return state === 'dead'
}

function isQueued({ state }: Entry): boolean {
  return state === 'queued'
}

function isWaiting({ state }: Entry): boolean {
  return state === 'waiting'
}

/** Smallest first. Entries that are no longer members are skipped, and swept out before they outnumber the members. */
class Heap {
  readonly #isMember: (entry: Entry) => boolean
  readonly #compare: (a: Entry, b: Entry) => number
  #queue: TinyQueue<Entry>
  #sweepAt = 64

  constructor(isMember: (entry: Entry) => boolean, compare: (a: Entry, b: Entry) => number) {
    this.#isMember = isMember
    this.#compare = compare
    this.#queue = new TinyQueue([], compare)
  }

  push(entry: Entry): void {
    if (this.#queue.length >= this.#sweepAt) {
      this.sort()
      this.#sweepAt = Math.max(64, 2 * this.#queue.length)
    }
    this.#queue.push(entry)
  }

  first(): Entry | undefined {
    let entry = this.#queue.peek()
    while (entry !== undefined && !this.#isMember(entry)) {
      this.#queue.pop()
      entry = this.#queue.peek()
    }
    return entry
  }

  shift(): Entry | undefined {
    this.first()
    return this.#queue.pop()
  }

  /** Any of those that are far from first: a leaf of the heap can go without harm. */
  last(): Entry | undefined {
    const { data } = this.#queue
    while (data.length > 0 && !this.#isMember(data.at(-1)!)) {
      data.pop()
      --this.#queue.length
    }
    return data.at(-1)
  }

  /** After ranks have changed. */
  sort(): void {
    this.#queue = new TinyQueue(this.#queue.data.filter(this.#isMember), this.#compare)
  }
}
