import type { Kept } from './kept.ts'
import { DueQueue } from './queue.ts'

/** As the queue sees a delivery that can expire: its ticket is void once it has ended, whatever else becomes of it. */
class Mortal {
  readonly kept: Kept

  constructor(kept: Kept) {
    this.kept = kept
  }

  get number(): number {
    return this.kept.number
  }

  get ticket(): number {
    return this.kept.state.name === 'ended' ? 1 : 0
  }
}

/** A delivery whose time is over while it is being sent is looked at again after this: its attempt may fail. */
const LOOK_AGAIN_MS = 10_000
/** Longer timers overflow. */
const LONGEST_TIMER_MS = 24 * 60 * 60_000

/** When what is kept expires: pending or dead, whether anything is sent or not. */
export class Lifetimes {
  readonly #onExpired: (kept: Kept) => void
  readonly #queue = new DueQueue<Mortal>()
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #isClosed = false

  constructor(onExpired: (kept: Kept) => void) {
    this.#onExpired = onExpired
  }

  add(kept: Kept): void {
    this.#queue.push(new Mortal(kept), kept.progress.expiresAt)
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
    for (let mortal = this.#queue.shift(now); mortal !== undefined; mortal = this.#queue.shift(now)) {
      const { kept } = mortal
      if (kept.progress.expiresAt > now) {
        this.#queue.push(mortal, kept.progress.expiresAt) // it has been given more time meanwhile
      } else if (kept.state.name === 'sending') {
        this.#queue.push(mortal, now + LOOK_AGAIN_MS)
      } else {
        this.#onExpired(kept)
      }
    }
    this.#setTimer()
  }
}
