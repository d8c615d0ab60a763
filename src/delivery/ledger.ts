import type { Delivery } from './delivery.ts'
import { isPending, newKept } from './kept.ts'
import type { Content, Kept, Progress, State } from './kept.ts'
import type { Payload } from './delivery.ts'
import { Shares } from './shares.ts'
import type { Resource } from './shares.ts'
import { Counter, NOTHING_ENDED, sumOf, tallyOf } from './tally.ts'
import type { Ended, Tally } from './tally.ts'

export interface Bounds {
  /** Deliveries that are kept, pending and dead. */
  readonly count: number
  /** Bytes of bodies in memory. */
  readonly memory: number
  /** Bytes in the journal. */
  readonly disk: number
}

/** How many are kept for one endpoint, and what has ended there since the start. */
interface Account {
  pending: number
  dead: number
  readonly ended: Counter
}

/** Who has a payload in memory. */
interface Users {
  /** Deliveries: its bytes count once. */
  count: number
  /** Of those, the ones that are being sent: to discard the others frees nothing. */
  sending: number
}

/**
 * What is kept, and the only writer of its state: of a delivery's `state`, `progress`, `ticket` and `endpoint`, and of
 * `content` (its bytes in memory). Everybody else (queues, the journal, counts, the log) hears of a transition through
 * `onChange`, after it was made.
 *
 * accepted = delivered + pending + dead + discarded holds by construction: what was accepted is the sum of the others,
 * and a delivery leaves `pending` and `dead` only in {@link enter}.
 */
export class Ledger {
  readonly #bounds: Bounds
  readonly #onChange: (kept: Kept, before: State | undefined) => void
  /** By id, in the order in which they came. */
  readonly #kept = new Map<string, Kept>()
  readonly #accounts = new Map<string, Account>()
  readonly #shares = new Shares()
  /** Of the payloads in memory. */
  readonly #users = new Map<Payload, Users>()
  #memory = 0
  #pending = 0
  #dead = 0
  readonly #ended = new Counter()
  /** What had ended before this run. */
  #before = NOTHING_ENDED
  /** Greater than that of an earlier run whose journal may be read late; from then on the journal says which is next. */
  #nextNumber = Date.now() * 1000

  constructor(bounds: Bounds, onChange: (kept: Kept, before: State | undefined) => void) {
    this.#bounds = bounds
    this.#onChange = onChange
  }

  /** Pending and dead, in the order in which they came. */
  all(): Iterable<Kept> {
    return this.#kept.values()
  }

  /** Those that are bound for one endpoint, in the order in which they came. */
  at(endpoint: string): Kept[] {
    return this.#shares.at(endpoint)
  }

  byId(id: string): Kept | undefined {
    return this.#kept.get(id)
  }

  /** All of them, as of now. */
  byNumber(): ReadonlyMap<number, Kept> {
    return new Map([...this.#kept.values()].map(kept => [kept.number, kept]))
  }

  /** Bytes of bodies in memory; a body that several share counts once. */
  get memory(): number {
    return this.#memory
  }

  /** For what is accepted and discarded at once: its place among the others. */
  takeNumber(): number {
    return this.#nextNumber++
  }

  /** Numbers that are given out from now on are greater. */
  numberFrom(number: number): void {
    this.#nextNumber = Math.max(this.#nextNumber, number + 1)
  }

  accept(delivery: Delivery, endpoint: string, now: number, maxLifetimeMs: number): Kept {
    const kept = newKept(this.takeNumber(), delivery, endpoint, now, maxLifetimeMs)
    this.#use(kept.content)
    this.#add(kept)
    return kept
  }

  /** What an earlier run has kept. */
  restore(kept: Kept): void {
    this.numberFrom(kept.number)
    this.#add(kept)
  }

  /** Accepted and ended at once. */
  discard(endpoint: string | undefined, how: Parameters<Counter['add']>[0], count = 1): void {
    this.#ended.add(how, count)
    if (endpoint !== undefined) {
      this.#accountOf(endpoint).ended.add(how, count)
    }
  }

  #add(kept: Kept): void {
    this.#kept.set(kept.id, kept)
    this.#shares.add(kept)
    this.#count(kept, 1)
    this.#onChange(kept, undefined)
  }

  /** The one way from a state to another. */
  enter(kept: Kept, state: State, progress: Progress = kept.progress): void {
    const before = kept.state
    if (before.name === 'ended') {
      throw new Error(`a delivery that was ${before.how} cannot be ${state.name}`)
    }
    this.#count(kept, -1)
    this.#countSending(kept, -1)
    kept.state = state
    kept.progress = progress
    this.#countSending(kept, 1)
    ++kept.ticket
    if (state.name === 'ended') {
      this.#kept.delete(kept.id)
      this.#shares.remove(kept)
      this.discard(kept.endpoint, state.how)
    } else {
      this.#count(kept, 1)
      if (state.name === 'dead' || before.name === 'dead') {
        this.#shares.changed(kept)
      }
    }
    this.#onChange(kept, before)
    if (state.name === 'ended') {
      this.unload(kept)
    }
  }

  /** It is bound for another endpoint now; an attempt that is under way goes on. */
  move(kept: Kept, endpoint: string): void {
    this.#shares.remove(kept)
    this.#count(kept, -1)
    kept.endpoint = endpoint
    kept.progress = elsewhere(kept.progress)
    ++kept.ticket
    this.#count(kept, 1)
    this.#shares.add(kept)
    this.#onChange(kept, kept.state)
  }

  #count(kept: Kept, by: 1 | -1): void {
    const account = this.#accountOf(kept.endpoint)
    if (isPending(kept)) {
      this.#pending += by
      account.pending += by
    } else {
      this.#dead += by
      account.dead += by
    }
  }

  #countSending({ state, content }: Kept, by: 1 | -1): void {
    const users = state.name === 'sending' && content !== undefined ? this.#users.get(content.payload) : undefined
    if (users !== undefined) {
      users.sending += by
    }
  }

  #accountOf(endpoint: string): Account {
    let account = this.#accounts.get(endpoint)
    if (account === undefined) {
      account = { pending: 0, dead: 0, ended: new Counter() }
      this.#accounts.set(endpoint, account)
    }
    return account
  }

  /** Its body is in memory again. */
  load(kept: Kept, content: Content): void {
    this.unload(kept)
    kept.content = content
    this.#use(content)
    this.#countSending(kept, 1)
    this.#shares.changed(kept)
  }

  /** Its body is not in memory any more. */
  unload(kept: Kept): void {
    const { content } = kept
    if (content === undefined) {
      return
    }
    this.#countSending(kept, -1)
    kept.content = undefined
    if (kept.state.name !== 'ended') {
      this.#shares.changed(kept)
    }
    const users = this.#users.get(content.payload)
    if (users !== undefined && --users.count === 0) {
      this.#users.delete(content.payload)
      this.#memory -= content.payload.body.length
    }
  }

  #use(content: Content | undefined): void {
    if (content === undefined) {
      return
    }
    const users = this.#users.get(content.payload)
    if (users !== undefined) {
      ++users.count
    } else {
      this.#users.set(content.payload, { count: 1, sending: 0 })
      this.#memory += content.payload.body.length
    }
  }

  /** `kept.stored` is another. */
  storedChanged(kept: Kept): void {
    if (kept.state.name !== 'ended') {
      this.#shares.changed(kept)
    }
  }

  /** Which bound is exceeded. @param diskBytes - that the journal takes up */
  excess(diskBytes: number): Resource | undefined {
    if (this.#pending + this.#dead > this.#bounds.count) {
      return 'count'
    }
    if (this.#memory > this.#bounds.memory) {
      return 'memory'
    }
    return diskBytes > this.#bounds.disk ? 'disk' : undefined
  }

  /** Who gives way when there is too little of a resource: whoever would free some of it. */
  victim(resource: Resource): Kept | undefined {
    const isSpared = ({ content }: Kept): boolean =>
      resource === 'memory' && content !== undefined && (this.#users.get(content.payload)?.sending ?? 0) > 0
    return this.#shares.victim(resource, isSpared)
  }

  tally(endpoint?: string): Tally {
    if (endpoint === undefined) {
      return tallyOf(this.#ended.ended(), this.#pending, this.#dead)
    }
    const { ended, pending, dead } = this.#accountOf(endpoint)
    return tallyOf(ended.ended(), pending, dead)
  }

  /** What has ended, over the life of the journal. */
  ended(): Ended {
    return this.#ended.ended()
  }

  /**
   * Counts go on from those of an earlier run. Two may be known, one from the journal and one from the other side of the
   * seam: they tell of the same history, and the larger one of a later moment.
   */
  continue(ended: Ended): void {
    if (sumOf(ended) > sumOf(this.#before)) {
      this.#before = ended
      this.#ended.continue(ended)
    }
  }

  /** Forgets what has ended at an endpoint that is no longer used; it stays in the count of all. */
  forget(endpoint: string): void {
    const account = this.#accounts.get(endpoint)
    if (account !== undefined && account.pending + account.dead === 0) {
      this.#accounts.delete(endpoint)
    }
  }
}

/** At another endpoint it has not failed, nor was it hastened there. */
function elsewhere(progress: Progress): Progress {
  return { ...progress, failedIn: undefined, hastenedAt: undefined, isAhead: false }
}
