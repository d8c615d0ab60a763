import type { Pace } from './delivery.ts'

/** Until when an origin is not to be sent anything. */
interface Hold {
  readonly until: number
  /** How long it was meant to last. */
  readonly ms: number
}

/** What is written of the holds: how long each was meant to last, and until when, on the disk's clock. */
export type WrittenHolds = Readonly<Record<string, Hold>>

/**
 * The origins (scheme, host and port): whose receivers have asked, with `Retry-After`, not to be sent anything, and how
 * fast requests have followed each other there. Both hold for every endpoint there, whichever path or credentials it has.
 */
export class Origins {
  readonly #holds = new Map<string, Hold>()
  /** When each would be as if nothing had been sent. */
  readonly #restedAt = new Map<string, number>()

  /** A longer hold is not made shorter. */
  hold(origin: string, now: number, ms: number): void {
    if (now + ms > this.heldUntil(origin)) {
      this.#holds.set(origin, { until: now + ms, ms })
    }
  }

  /** 0: it is not held. */
  heldUntil(origin: string): number {
    return this.#holds.get(origin)?.until ?? 0
  }

  /** From when on it may be sent something, as far as holds and its pace are concerned; 0: at any time. */
  openAt(origin: string, pace: Pace | undefined): number {
    const heldUntil = this.heldUntil(origin)
    if (pace === undefined) {
      return heldUntil
    }
    const creditMs = ((pace.burst - 1) * 1000) / pace.perSecond
    return Math.max(heldUntil, (this.#restedAt.get(origin) ?? 0) - creditMs)
  }

  /** A request goes there. */
  spend(origin: string, pace: Pace | undefined, now: number): void {
    if (pace !== undefined) {
      const restedAt = Math.max(this.#restedAt.get(origin) ?? 0, now)
      this.#restedAt.set(origin, restedAt + 1000 / pace.perSecond)
    }
  }

  release(origin: string): void {
    this.#holds.delete(origin)
  }

  releaseAll(now: number): void {
    this.#holds.clear()
    for (const [origin, restedAt] of this.#restedAt) {
      if (restedAt <= now) {
        this.#restedAt.delete(origin)
      }
    }
  }

  /** @param toDisk - turns an instant into one of the disk's clock */
  written(now: number, toDisk: (instant: number) => number): WrittenHolds {
    const current = [...this.#holds].filter(([, { until }]) => until > now)
    return Object.fromEntries(current.map(([origin, { until, ms }]) => [origin, { until: toDisk(until), ms }]))
  }

  /** As an earlier run has left them; none lasts longer than it was meant to. */
  recall(holds: WrittenHolds, now: number, fromDisk: (instant: number) => number): void {
    for (const [origin, { until, ms }] of Object.entries(holds)) {
      const rest = Math.min(fromDisk(until) - now, ms)
      if (rest > 0) {
        this.hold(origin, now, rest)
      }
    }
  }
}
