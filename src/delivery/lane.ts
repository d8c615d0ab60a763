import type { Endpoint } from './delivery.ts'
import { afterAttempt, circuitAt, HEALTHY, isInTrouble, renewed } from './health.ts'
import type { Circuit, Health, HealthChange, Observation, Pauses } from './health.ts'
import type { Kept } from './kept.ts'
import { DueQueue, Queue } from './queue.ts'

/** Requests at once to one endpoint. Urgent ones may double it. */
const LANE_CONCURRENCY = 8

/** Of this many turns, one is a retry's while both fresh deliveries and retries could go. */
const RETRY_TURN = 4

/** What an attempt changed at its endpoint. */
export interface Aftermath {
  readonly change: HealthChange | undefined
  /** It answers after a trouble that was the endpoint's own: all that waits there may go. */
  readonly isBack: boolean
}

/**
 * Who may go when at one endpoint, and how that endpoint is. No timers, no I/O; time is passed in. It holds tickets: what
 * becomes of a delivery is the ledger's to say.
 */
export class Lane {
  readonly endpoint: Endpoint
  /** Scheme, host and port: what a receiver's `Retry-After` is about. */
  readonly origin: string
  readonly #pauses: Pauses | undefined
  #health: Health = HEALTHY
  /** How many may be under way: one after a trouble, then one more with each success. */
  #window = LANE_CONCURRENCY
  #inFlight = 0
  #turn = 0
  /** The greatest number that was ever here. */
  #newest = 0
  /** What has a number up to this was there when the endpoint answered again: it goes oldest first. */
  #backlog = 0
  readonly #urgent = new Queue<Kept>()
  readonly #fresh = new Queue<Kept>()
  readonly #waiting = new DueQueue<Kept>()
  /** Due, and to go oldest first: what was waiting when the endpoint answered again, and what was made due then. */
  readonly #due = new DueQueue<Kept>()

  constructor(endpoint: Endpoint, pauses?: Pauses) {
    this.endpoint = endpoint
    this.origin = new URL(endpoint.url).origin
    this.#pauses = pauses
  }

  get health(): Health {
    return this.#health
  }

  get inFlight(): number {
    return this.#inFlight
  }

  circuitAt(now: number): Circuit {
    return circuitAt(this.#health.circuit, now)
  }

  /** Whether what is queued is being sent, as far as the endpoint is concerned. */
  isFlowing(now: number): boolean {
    return this.#isOpen() && this.circuitAt(now).name === 'closed'
  }

  #isOpen(): boolean {
    return this.#health.disabled === undefined && this.#health.isPaused !== true
  }

  /** A delivery is `queued` or `waiting` for this endpoint now. */
  push(kept: Kept, isUrgent: boolean): void {
    const { state } = kept
    this.#newest = Math.max(this.#newest, kept.number)
    if (state.name === 'waiting') {
      if (state.stepMs === 0) {
        this.#due.push(kept, kept.number)
      } else {
        this.#waiting.push(kept, state.dueAt)
      }
    } else {
      ;(isUrgent ? this.#urgent : this.#fresh).push(kept)
    }
  }

  /** The next one that may go, taken out of the queue; `undefined` if none may. */
  next(now: number): Kept | undefined {
    if (!this.#mayGo(now, this.#window)) {
      return undefined
    }
    // a probe is one that has not failed yet, if there is one: else some events that are never taken would probe for ever
    const isProbe = this.circuitAt(now).name === 'half-open'
    return this.#urgent.shift() ?? (isProbe ? (this.#fresh.shift() ?? this.#shiftRetry(now)) : this.#takeTurn(now))
  }

  /** As `next`, for urgent ones only, which need not wait for a place. */
  nextUrgent(now: number): Kept | undefined {
    return this.#mayGo(now, 2 * LANE_CONCURRENCY) ? this.#urgent.shift() : undefined
  }

  #mayGo(now: number, window: number): boolean {
    if (this.#inFlight >= window || !this.#isOpen()) {
      return false
    }
    const { name } = this.circuitAt(now)
    return name === 'closed' || (name === 'half-open' && this.#inFlight === 0)
  }

  /**
   * Fresh deliveries go ahead of retries, which yet have a share; a backlog goes oldest first, whatever it is made of, but
   * not as probes: old ones may be what the endpoint will never take, and would keep its circuit open.
   */
  #takeTurn(now: number): Kept | undefined {
    const retry = this.#due.due(Number.POSITIVE_INFINITY) ?? this.#waiting.due(now)
    const fresh = this.#fresh.first()
    if (retry === undefined || fresh === undefined) {
      return this.#shiftRetry(now) ?? this.#fresh.shift()
    }
    const isBacklog = fresh.number <= this.#backlog && this.circuitAt(now).name === 'closed'
    const isRetrysTurn = isBacklog ? retry.number < fresh.number : ++this.#turn % RETRY_TURN === 0
    return isRetrysTurn ? this.#shiftRetry(now) : this.#fresh.shift()
  }

  #shiftRetry(now: number): Kept | undefined {
    return this.#due.shift(Number.POSITIVE_INFINITY) ?? this.#waiting.shift(now)
  }

  /** What is due already goes with what is made due now, oldest first. */
  gather(now: number): void {
    for (let kept = this.#waiting.shift(now); kept !== undefined; kept = this.#waiting.shift(now)) {
      this.#due.push(kept, kept.number)
    }
  }

  /** The one that `next` gave is being sent. */
  began(now: number): void {
    const circuit = this.circuitAt(now)
    if (circuit !== this.#health.circuit) {
      this.#health = { ...this.#health, circuit }
    }
    ++this.#inFlight
  }

  /** Its place is free again. */
  left(): void {
    --this.#inFlight
  }

  /** What an attempt says of the endpoint. */
  observe(seen: Observation): Aftermath {
    const before = this.#health
    const { health, change } = afterAttempt(before, seen, this.#pauses)
    this.#health = health
    const isSuccess = health.failuresInRow === 0
    if (health.circuit.name === 'open') {
      this.#window = 1
    } else if (isSuccess && before.circuit.name === 'closed') {
      this.#window = Math.min(this.#window + 1, LANE_CONCURRENCY)
    }
    const isBack = isSuccess && isOwnTrouble(before)
    if (isBack) {
      this.#backlog = this.#newest
    }
    return { change, isBack }
  }

  /** Someone has looked at it: it gets a new chance, with one request at a time. @returns whether it was in trouble */
  renew(): boolean {
    if (!isInTrouble(this.#health)) {
      return false
    }
    this.#health = renewed(this.#health)
    this.#window = 1
    this.#backlog = this.#newest
    return true
  }

  pause(): void {
    this.#health = { ...this.#health, isPaused: true }
  }

  /** @returns whether it was paused */
  unpause(): boolean {
    const { isPaused, ...health } = this.#health
    this.#health = health
    return isPaused === true
  }

  /** What an earlier run knew of the endpoint. What this run has seen of it already, if the journal opens late, counts more. */
  recall(health: Health): void {
    const { disabled } = health
    const isPaused = health.isPaused === true || this.#health.isPaused === true
    if (this.#health.failuresInRow === 0 && this.#health.streak === 0) {
      this.#health = { ...health, ...(isPaused && { isPaused }) }
      this.#window = health.circuit.name === 'closed' ? LANE_CONCURRENCY : 1
    } else {
      this.#health = {
        ...this.#health,
        ...(disabled && { isTold: true, disabled }),
        ...(isPaused && { isPaused }),
      }
    }
  }

  /**
   * When time alone will change something here: a retry is due, a pause is over. Past or now: what is waited for is not
   * time, but the end of a request. Infinite while nothing may go.
   *
   * @param blockedUntil - of its origin
   */
  wakeAt(now: number, blockedUntil: number): number {
    if (!this.#isOpen()) {
      return Number.POSITIVE_INFINITY
    }
    const hasFresh = (this.#urgent.first() ?? this.#fresh.first()) !== undefined
    const hasDue = this.#due.due(Number.POSITIVE_INFINITY) !== undefined
    const dueAt = hasFresh || hasDue ? now : this.#waiting.nextAt()
    const { circuit } = this.#health
    const opensAt = circuit.name === 'open' ? circuit.until : 0
    return Math.max(dueAt, blockedUntil, opensAt)
  }
}

/**
 * Whether it was the endpoint that failed, and not one event that it does not take: more than one delivery has failed, or
 * one so often that the circuit opened. Example: of ten events it refuses one; the successes between do not hasten the
 * retries of that one.
 */
function isOwnTrouble({ deliveriesInRow, circuit }: Health): boolean {
  return deliveriesInRow > 1 || circuit.name !== 'closed'
}
