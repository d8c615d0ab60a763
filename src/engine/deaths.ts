/** A thread that has lived so long did not die of what the one before it died of. */
const LONG_LIFE_MS = 60_000
/** A handing that was worked on at so many deaths in a row brings every thread down. */
const MAX_DEATHS = 3

export interface Pauses {
  readonly firstMs: number
  readonly longestMs: number
}

/** What is to be done about a death. */
export interface Verdict {
  /** Until the next thread is started. */
  readonly pauseMs: number
  /** Number of the handing that is to blame. */
  readonly guilty?: number
}

/** The deaths of threads that followed one another: how long to wait, and whether an event is to blame. */
export class Deaths {
  readonly #pauses: Pauses
  #inARow = 0
  #suspect = { number: 0, deaths: 0 }

  constructor(pauses: Pauses) {
    this.#pauses = pauses
  }

  /** @param mark - number of the handing that the thread was working on; 0: of none, and nobody is to blame */
  add(livedMs: number, mark: number): Verdict {
    this.#inARow = livedMs >= LONG_LIFE_MS ? 1 : this.#inARow + 1
    // whoever was worked on at one death may have had bad luck
    this.#suspect = { number: mark, deaths: mark === this.#suspect.number ? this.#suspect.deaths + 1 : 1 }
    const { firstMs, longestMs } = this.#pauses
    const pauseMs = this.#inARow === 1 ? 0 : Math.min(firstMs * 2 ** (this.#inARow - 2), longestMs)
    return mark !== 0 && this.#suspect.deaths >= MAX_DEATHS ? { pauseMs, guilty: mark } : { pauseMs }
  }
}
