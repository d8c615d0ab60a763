import type { DiscardReason } from './delivery.ts'

/** accepted = delivered + pending + dead + discarded, at every moment. */
export interface Tally {
  readonly accepted: number
  readonly delivered: number
  readonly pending: number
  readonly dead: number
  readonly discarded: Readonly<Partial<Record<DiscardReason, number>>>
}

/** What has come to its end. Written to the journal. */
export interface Ended {
  readonly delivered: number
  readonly discarded: Readonly<Partial<Record<DiscardReason, number>>>
}

/** Counts deliveries, since the start and over the journal's life. */
export class Counter {
  /** What came in since the start, from an earlier run too. */
  accepted = 0
  delivered = 0
  readonly #discarded: Partial<Record<DiscardReason, number>> = {}
  /** Of earlier runs. */
  #before: Ended

  constructor(before: Ended = { delivered: 0, discarded: {} }) {
    this.#before = before
  }

  /** What earlier runs have written. */
  continue(before: Ended): void {
    this.#before = before
  }

  discard(reason: DiscardReason): void {
    this.#discarded[reason] = (this.#discarded[reason] ?? 0) + 1
  }

  /** Since the start. */
  sinceStart(pending: number, dead: number): Tally {
    return { accepted: this.accepted, delivered: this.delivered, pending, dead, discarded: { ...this.#discarded } }
  }

  /** Over the journal's life. */
  overLife(pending: number, dead: number): Tally {
    const { delivered, discarded } = this.#before
    const before = delivered + Object.values(discarded).reduce((sum, count) => sum + count, 0)
    return { ...this.ended(), accepted: before + this.accepted, pending, dead }
  }

  ended(): Ended {
    const discarded = { ...this.#before.discarded }
    for (const [reason, count] of Object.entries(this.#discarded) as [DiscardReason, number][]) {
      discarded[reason] = (discarded[reason] ?? 0) + count
    }
    return { delivered: this.#before.delivered + this.delivered, discarded }
  }
}
