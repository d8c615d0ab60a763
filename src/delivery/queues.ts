import { Calls } from './calls.ts'
import type { Attempt } from './delivery.ts'
import type { Kept, Progress } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Line, Lines } from './lines.ts'
import type { Origins } from './origins.ts'
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
  /** A line has something new to look at. */
  readonly wake: (line: Line) => void
}

const HASTEN_EVERY_MS = 10 * 60_000

/** Sees to it that each delivery that may go stands in the queue of its lane, and that those that may not do not go. */
export class Queues {
  readonly #options: QueuesOptions
  readonly #calls: Calls
  /** By delivery id: whoever waits for its first attempt, which goes ahead of any backlog. */
  readonly #askers = new Map<string, Asker>()

  constructor(options: QueuesOptions) {
    this.#options = options
    this.#calls = new Calls({
      urlOf: endpoint => options.lines.get(endpoint)?.lane.endpoint.url,
      isPaused: owner => this.#isPaused(owner),
    })
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
    return this.#isPaused(kept.owner) || this.#calls.isHeldBack(kept)
  }

  #isPaused(owner: string): boolean {
    return this.#options.routes.of(owner)?.isPaused === true
  }

  /** The next delivery of a line that may go; those that something holds back step aside, until they are released. */
  next({ lane }: Line, now: number): Kept | undefined {
    for (let kept = lane.next(now); kept !== undefined; kept = lane.next(now)) {
      if (!this.#isHeldBack(kept)) {
        return kept
      }
      this.#options.ledger.enter(kept, { name: 'held' })
    }
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

  /** The endpoint is neither held back nor in trouble: what is queued there is being sent. */
  isFlowing(endpoint: string, now: number): boolean {
    const { lines, origins } = this.#options
    const lane = lines.get(endpoint)?.lane
    return lane !== undefined && lane.isFlowing(now) && origins.heldUntil(lane.origin) <= now
  }

  /**
   * The endpoint answers again: all that waits there becomes due, and goes oldest first. Each not more often than every ten
   * minutes, and without a charge if it fails: what an endpoint will never take has the attempts of the schedule, however
   * often others fail and succeed around it.
   */
  answersAgain(endpoint: string, now: number): void {
    for (const kept of this.#options.ledger.at(endpoint)) {
      const { state, progress } = kept
      if (state.name === 'waiting' && state.dueAt <= now) {
        this.#hasten(kept, now)
      } else if (now - (progress.hastenedAt ?? Number.NEGATIVE_INFINITY) >= HASTEN_EVERY_MS) {
        this.#hasten(kept, now, { ...progress, hastenedAt: now, isAhead: true })
      }
    }
  }

  /** Someone has looked at the endpoint: all that waits there becomes due. */
  hasten(endpoint: string, now: number, budget?: Budget): void {
    this.#options.ledger.at(endpoint).forEach(kept => this.#hasten(kept, now, within(budget, kept.progress)))
  }

  /** If it is waiting, it becomes due. What is due becomes so with it: among those of one instant the oldest goes first. */
  #hasten(kept: Kept, now: number, progress = kept.progress): void {
    if (kept.state.name === 'waiting') {
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
        this.#hasten(kept, now, within(renewed.get(kept.endpoint), kept.progress))
      }
    }
    // hooks may have been enabled, and calls gone apart
    this.#release([...ledger.all()])
  }
}

function within(budget: Budget = 'same', progress: Progress): Progress {
  return budget === 'new' ? { ...progress, failures: 0, firstTriedAt: undefined } : progress
}
