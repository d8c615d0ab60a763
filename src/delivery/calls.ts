import { isPending } from './kept.ts'
import type { Kept } from './kept.ts'

/** So many followers that have gone are known; the oldest are forgotten. */
const MAX_GONE = 50_000

export interface CallsOptions {
  /** The URL of an endpoint that deliveries are bound for, or were being sent to. */
  readonly urlOf: (endpoint: string) => string | undefined
  /** Nothing of this owner is sent at present. */
  readonly isPaused: (owner: string) => boolean
  /** Leaders of an earlier run may come, until {@link Calls.areComplete}. */
  readonly mayLeadersCome: boolean
}

/**
 * Order within a call: a follower (its `post`) is not sent to a URL while a leader (its `pre`) is bound for, or being sent
 * to, the same URL; whatever limits or credentials the two hooks have. Two examples:
 *
 * - Hooks A and B send to one URL with different tokens: the `post` for B waits until the `pre` for A has settled.
 * - Hook A moves from x to y while its `pre` is under way to x: followers to x wait for the end of that attempt, followers
 *   to y for what becomes of the `pre`, since a retry of it would go to y.
 *
 * The `pre` of a hook that is paused holds nobody back, unless it is under way: nobody knows when it would go.
 *
 * While the journal cannot be opened, nobody knows which leaders are in it, and followers do not wait for that. A leader that
 * comes from it after a follower of its call was delivered to its URL says nothing any more ({@link Calls.isOvertaken}).
 *
 * Leaders settle within five minutes, as they expire then. One that is replayed later leads until the attempt that was
 * asked for is over. So nothing is held for long.
 */
export class Calls {
  readonly #options: CallsOptions
  /** By order key. */
  readonly #leaders = new Map<string, Kept[]>()
  /** By order key: those that have asked in vain. */
  readonly #held = new Map<string, Kept[]>()
  /** Of followers that were delivered, URL and order key; `undefined`: no leaders of an earlier run will come. */
  #gone: Set<string> | undefined
  /** Followers that are under way. */
  readonly #going = new Set<Kept>()

  constructor(options: CallsOptions) {
    this.#options = options
    this.#gone = options.mayLeadersCome ? new Set() : undefined
  }

  /** All leaders of an earlier run are known. */
  areComplete(): void {
    this.#gone = undefined
    this.#going.clear()
  }

  /** Whether a follower of its call was delivered, or is under way, to the URL that this leader of an earlier run is bound for. */
  isOvertaken(kept: Kept): boolean {
    if (!kept.order.leads || !isPending(kept) || kept.progress.trigger === 'replay' || this.#gone === undefined) {
      return false
    }
    const way = this.#wayOf(kept, kept.endpoint)
    return this.#gone.has(way) || [...this.#going].some(each => this.#wayOf(each, placeOf(each)) === way)
  }

  #noteWhetherGone(kept: Kept, gone: Set<string>): void {
    const { state } = kept
    if (state.name === 'sending') {
      this.#going.add(kept)
    } else if (this.#going.delete(kept) && state.name === 'ended' && state.how === 'delivered') {
      gone.add(this.#wayOf(kept, kept.endpoint))
      if (gone.size > MAX_GONE) {
        const [oldest = ''] = gone
        gone.delete(oldest)
      }
    }
  }

  #wayOf({ order }: Kept, endpoint: string): string {
    return `${this.#options.urlOf(endpoint)} ${order.key}`
  }

  /** Whether a leader stands in the way of this delivery. */
  isHeldBack(kept: Kept): boolean {
    if (kept.order.leads) {
      return false
    }
    const leaders = this.#leaders.get(kept.order.key)
    if (leaders === undefined) {
      return false
    }
    const { urlOf, isPaused } = this.#options
    const url = urlOf(kept.endpoint)
    for (const { endpoint, owner, state, progress, leadsUntil } of leaders) {
      const isLeading = state.name === 'sending' || progress.trigger === 'replay' || progress.expiresAt <= leadsUntil
      const isBound = isLeading && urlOf(endpoint) === url && !isPaused(owner)
      if (isBound || (state.name === 'sending' && urlOf(state.endpoint) === url)) {
        return true
      }
    }
    return false
  }

  /** After a transition or a move. @returns those that may go now, as far as their call is concerned */
  changed(kept: Kept): readonly Kept[] {
    const { key, leads } = kept.order
    if (leads) {
      update(this.#leaders, key, kept, isPending(kept))
      const held = this.#held.get(key)
      return held === undefined ? NONE : held.filter(follower => !this.isHeldBack(follower))
    }
    update(this.#held, key, kept, kept.state.name === 'held')
    if (this.#gone !== undefined) {
      this.#noteWhetherGone(kept, this.#gone)
    }
    return NONE
  }
}

const NONE: readonly Kept[] = []

/** Where it is being sent to, else is bound for. */
function placeOf({ state, endpoint }: Kept): string {
  return state.name === 'sending' ? state.endpoint : endpoint
}

/** Mostly there is one of a call: an array takes a quarter of the memory of a set. */
function update(lists: Map<string, Kept[]>, key: string, kept: Kept, isMember: boolean): void {
  const list = lists.get(key)
  if (list === undefined) {
    if (isMember) {
      lists.set(key, [kept])
    }
    return
  }
  const place = list.indexOf(kept)
  if (isMember && place < 0) {
    list.push(kept)
  } else if (!isMember && place >= 0) {
    list.splice(place, 1)
    if (list.length === 0) {
      lists.delete(key)
    }
  }
}
