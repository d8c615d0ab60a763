import { Calls } from './calls.ts'
import type { Attempt } from './delivery.ts'
import type { Kept } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Line, Lines } from './lines.ts'
import type { Origins } from './origins.ts'
import type { Routes } from './routes.ts'

/** Is called once the first attempt of a delivery is over; without an attempt, if none was made. */
export type Asker = (attempt: Attempt | undefined) => void

export interface QueuesOptions {
  readonly ledger: Ledger
  readonly lines: Lines
  readonly routes: Routes
  readonly origins: Origins
  /** A line has something new to look at. */
  readonly wake: (line: Line) => void
}

/** Sees to it that each delivery that may go stands in the queue of its lane, and that those that may not do not go. */
export class Queues {
  readonly #options: QueuesOptions
  readonly #calls: Calls
  /** By delivery id: whoever waits for its first attempt, which goes ahead of any backlog. */
  readonly #askers = new Map<string, Asker>()

  constructor(options: QueuesOptions) {
    this.#options = options
    this.#calls = new Calls(endpoint => options.lines.get(endpoint)?.lane.endpoint.url)
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

  /** After the routes have changed: hooks may have been enabled, and calls gone apart. */
  releaseAll(): void {
    this.#release([...this.#options.ledger.all()])
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
    return this.#options.routes.of(kept.owner)?.isPaused === true || this.#calls.isHeldBack(kept)
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
   * The endpoint answers again, or has a new chance: all that waits there becomes due, and goes oldest first.
   *
   * @param budget - a new one where the endpoint was disabled: that time was none in which a delivery could be tried
   */
  hasten(endpoint: string, now: number, budget: 'same' | 'new' = 'same'): void {
    const { ledger } = this.#options
    for (const kept of ledger.at(endpoint)) {
      if (kept.state.name === 'waiting') {
        const { progress } = kept
        const renewed = { ...progress, failures: 0, firstTriedAt: undefined }
        ledger.enter(kept, { name: 'waiting', dueAt: now, stepMs: 0 }, budget === 'new' ? renewed : progress)
      }
    }
  }
}
