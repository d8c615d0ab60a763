import { Calls } from './calls.ts'
import type { Attempt } from './delivery.ts'
import type { Kept, Progress } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Line, Lines } from './lines.ts'
import type { Origins } from './origins.ts'
import type { Proxies } from './proxies.ts'
import type { Routes } from './routes.ts'

/** Is called once the first attempt of a delivery is over; without an attempt, if none was made. */
export type Asker = (attempt: Attempt | undefined) => void

/** Of attempts: what is left of it, or all of the schedule anew. */
export type Budget = 'same' | 'new'

export interface QueuesOptions {
  readonly ledger: Ledger
  readonly lines: Lines
  readonly routes: Routes
  readonly origins: Origins
  /** There is a journal, from which leaders may come until {@link Queues.areComplete}. */
  readonly hasJournal: boolean
  readonly proxies: Proxies
  /** Whether what is on disk only can be sent. */
  readonly isReadable: () => boolean
  /** A line has something new to look at. */
  readonly wake: (line: Line) => void
}

const HASTEN_EVERY_MS = 10 * 60_000
/** The event loop is not kept from turning by deliveries that step aside. */
const LOOKED_AT_ONCE = 500

/** Sees to it that each delivery that may go stands in the queue of its lane, and that those that may not do not go. */
export class Queues {
  readonly #options: QueuesOptions
  readonly #calls: Calls
  /** By endpoint: when its backlog is looked at again. */
  readonly #lookAgainAt = new Map<string, number>()
  /** By delivery id: whoever waits for its first attempt, which goes ahead of any backlog. */
  readonly #askers = new Map<string, Asker>()

  constructor(options: QueuesOptions) {
    this.#options = options
    this.#calls = new Calls({
      urlOf: endpoint => options.lines.get(endpoint)?.lane.endpoint.url,
      isPaused: owner => this.#isPaused(owner),
      mayLeadersCome: options.hasJournal,
    })
  }

  /** What the journal holds has been taken over. */
  areComplete(): void {
    this.#calls.areComplete()
  }

  /** Whether a follower has gone before this leader was known, which says nothing any more. */
  isOvertaken(kept: Kept): boolean {
    return this.#calls.isOvertaken(kept)
  }

  /** The delivery of this id, which is about to be accepted, is urgent. */
  expect(id: string, asker: Asker): void {
    this.#askers.set(id, asker)
  }

  /** Whoever waits for the first attempt need not wait any more. */
  answer(id: string, attempt: Attempt | undefined): void {
    const asker = this.#askers.get(id)
    if (asker !== undefined) {
      this.#askers.delete(id)
      try {
        asker(attempt)
      } catch {
        // whoever waits cannot break the engine
      }
    }
  }

  /** After each transition and move. */
  changed(kept: Kept): void {
    this.#release(this.#calls.changed(kept))
    const { routes, lines, wake } = this.#options
    const { name } = kept.state
    if (name === 'ended') {
      this.answer(kept.id, undefined)
    }
    const route = name === 'queued' || name === 'waiting' ? routes.of(kept.owner) : undefined
    if (route !== undefined) {
      const line = lines.to(route.endpoint)
      line.lane.push(kept, this.#askers.has(kept.id))
      wake(line)
    }
  }

  #release(kept: readonly Kept[]): void {
    for (const each of kept) {
      if (each.state.name === 'held' && !this.#isHeldBack(each)) {
        const isFresh = each.progress.attempts === 0 && each.progress.trigger === 'event'
        const dueNow = { name: 'waiting', dueAt: performance.now(), stepMs: 0 } as const
        this.#options.ledger.enter(each, isFresh ? { name: 'queued' } : dueNow)
      }
    }
  }

  #isHeldBack(kept: Kept): boolean {
    const isOutOfReach = kept.content === undefined && !this.#options.isReadable()
    return isOutOfReach || this.#isPaused(kept.owner) || this.#calls.isHeldBack(kept)
  }

  #isPaused(owner: string): boolean {
    return this.#options.routes.of(owner)?.isPaused === true
  }

  /** The next delivery of a line that may go; those that something holds back step aside, until they are released. */
  next(line: Line, now: number): Kept | undefined {
    for (let looked = 0; looked < LOOKED_AT_ONCE; ++looked) {
      const kept = line.lane.next(now)
      if (kept === undefined || !this.#isHeldBack(kept)) {
        return kept
      }
      this.#options.ledger.enter(kept, { name: 'held' })
    }
    setImmediate(() => this.#options.wake(line)) // all of a backlog may have to step aside
    return undefined
  }

  /** As {@link next}, of those for which someone waits. */
  nextUrgent({ lane }: Line, now: number): Kept | undefined {
    const kept = lane.nextUrgent(now)
    if (kept !== undefined && this.#isHeldBack(kept)) {
      this.#options.ledger.enter(kept, { name: 'held' })
      return undefined
    }
    return kept
  }

  /** The endpoint is neither held back nor in trouble, nor is its proxy: what is queued there is being sent. */
  isFlowing(endpoint: string, now: number): boolean {
    const { lines, origins, proxies } = this.#options
    const line = lines.get(endpoint)
    return (
      line !== undefined &&
      line.lane.isFlowing(now) &&
      origins.heldUntil(line.lane.origin) <= now &&
      proxies.heldUntil(line) === 0 // else it is being probed at best
    )
  }

  /**
   * The endpoint answers again: all that waits there becomes due, and goes oldest first. What is not due yet becomes so not
   * more often than every ten minutes, and without a charge if it fails: what an endpoint will never take has the attempts
   * of the schedule, however often others fail and succeed around it.
   *
   * An endpoint may answer again many times a second; looking at a large backlog takes its time, of which that is a hundredth.
   */
  answersAgain({ lane }: Line, now: number): void {
    const { id } = lane.endpoint
    lane.gather(now)
    if (now < (this.#lookAgainAt.get(id) ?? 0)) {
      return
    }
    for (const kept of this.#options.ledger.at(id)) {
      const { hastenedAt = Number.NEGATIVE_INFINITY } = kept.progress
      if (now - hastenedAt >= HASTEN_EVERY_MS) {
        this.#hasten(kept, now, { ...kept.progress, hastenedAt: now, isAhead: true })
      }
    }
    this.#lookAgainAt.set(id, now + 100 * (performance.now() - now))
  }

  /** Someone has looked at the endpoint: all that waits there becomes due. */
  hasten({ lane }: Line, now: number, budget?: Budget): void {
    lane.gather(now)
    this.#options.ledger
      .at(lane.endpoint.id)
      .forEach(kept => this.#hasten(kept, now, within(budget, kept.progress), budget === 'new'))
  }

  /** If it is waiting, it becomes due. @param isAnyway - even if it is: its progress is another */
  #hasten(kept: Kept, now: number, progress = kept.progress, isAnyway = false): void {
    if (kept.state.name === 'waiting' && (kept.state.dueAt > now || isAnyway)) {
      this.#options.ledger.enter(kept, { name: 'waiting', dueAt: now, stepMs: 0 }, progress)
    }
  }

  /**
   * The routes are new: what is kept follows its owner, and what has none any more is discarded, but what is being sent:
   * the end of its attempt looks at the routes.
   *
   * @param renewed - endpoints at which what waits is due now
   * @param enabled - owners whose deliveries are due now
   */
  reroute(now: number, renewed: ReadonlyMap<string, Budget>, enabled: ReadonlySet<string>): void {
    const { ledger, routes } = this.#options
    for (const kept of [...ledger.all()]) {
      const route = routes.of(kept.owner)
      if (route === undefined) {
        if (kept.state.name !== 'sending') {
          ledger.enter(kept, { name: 'ended', how: 'hook removed' })
        }
      } else if (route.endpoint.id !== kept.endpoint) {
        ledger.move(kept, route.endpoint.id)
        this.#hasten(kept, now) // it waits for an endpoint that it is not bound for any more
      } else if (renewed.has(kept.endpoint) || enabled.has(kept.owner)) {
        const budget = renewed.get(kept.endpoint)
        this.#hasten(kept, now, within(budget, kept.progress), budget === 'new')
      }
    }
    this.releaseAll()
  }

  /** Hooks may have been enabled, calls gone apart, and the disk may answer again. */
  releaseAll(): void {
    this.#release([...this.#options.ledger.all()])
  }
}

function within(budget: Budget = 'same', progress: Progress): Progress {
  return budget === 'new' ? { ...progress, failures: 0, firstTriedAt: undefined } : progress
}
