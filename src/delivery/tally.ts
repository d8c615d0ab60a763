import type { DiscardReason } from './delivery.ts'
import type { Ending } from './kept.ts'

/** accepted = delivered + pending + dead + discarded, at every moment: what was accepted is not counted, but is their sum. */
export interface Tally extends Ended {
  readonly accepted: number
  readonly pending: number
  readonly dead: number
}

/** What has come to its end. Each count only grows. Plain data. */
export interface Ended {
  readonly delivered: number
  readonly discarded: Readonly<Partial<Record<DiscardReason, number>>>
}

export const NOTHING_ENDED: Ended = { delivered: 0, discarded: {} }

/** How many have ended. */
export function sumOf({ delivered, discarded }: Ended): number {
  return Object.values(discarded).reduce((sum, count) => sum + count, delivered)
}

export function tallyOf(ended: Ended, pending: number, dead: number): Tally {
  return { ...ended, accepted: sumOf(ended) + pending + dead, pending, dead }
}

/** Counts what ends, on top of what was counted before. */
export class Counter {
  #before: Ended = NOTHING_ENDED
  #delivered = 0
  readonly #discarded: Partial<Record<DiscardReason, number>> = {}

  /** What was counted before this run. */
  continue(before: Ended = NOTHING_ENDED): void {
    this.#before = before
  }

  add(how: Ending, count = 1): void {
    if (how === 'delivered') {
      this.#delivered += count
    } else {
      this.#discarded[how] = (this.#discarded[how] ?? 0) + count
    }
  }

  ended(): Ended {
    const discarded = { ...this.#before.discarded }
    for (const [reason, count] of Object.entries(this.#discarded) as [DiscardReason, number][]) {
      discarded[reason] = (discarded[reason] ?? 0) + count
    }
    return { delivered: this.#before.delivered + this.#delivered, discarded }
  }
}
