import type { Kept } from './kept.ts'
import { DueQueue } from './queue.ts'

/** A delivery whose time is over while it is being sent is looked at again after this: its attempt may fail. */
const LOOK_AGAIN_MS = 10_000
/** Longer timers overflow. */
const LONGEST_TIMER_MS = 24 * 60 * 60_000

/** When what is kept expires: pending or dead, whether anything is sent or not. */
export class Lifetimes {
  readonly #onExpired: (kept: Kept) => void
  /** What is in it is void once it has ended, whatever else becomes of it. */
  readonly #queue = new DueQueue<Kept>(({ state }) => (state.name === 'ended' ? 1 : 0))
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #isClosed = false

  constructor(onExpired: (kept: Kept) => void) {
    this.#onExpired = onExpired
  }

  add(kept: Kept): void {
    this.#queue.push(kept, kept.progress.expiresAt)
    this.#setTimer()
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  #setTimer(): void {
    const at = this.#queue.nextAt()
    if (this.#isClosed || at >= this.#timerAt) {
      return
    }
    clearTimeout(this.#timer)
    this.#timerAt = at
    const delayMs = Math.max(0, Math.ceil(at - performance.now()))
    this.#timer = setTimeout(() => this.#expire(), Math.min(delayMs, LONGEST_TIMER_MS)).unref()
  }

  #expire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = performance.now()
    for (let kept = this.#queue.shift(now); kept !== undefined; kept = this.#queue.shift(now)) {
      if (kept.progress.expiresAt > now) {
        this.#queue.push(kept, kept.progress.expiresAt) // it has been given more time meanwhile
      } else if (kept.state.name === 'sending') {
        this.#queue.push(kept, now + LOOK_AGAIN_MS)
      } else {
        this.#onExpired(kept)
      }
    }
    this.#setTimer()
  }
}
