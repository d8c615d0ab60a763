import type { Kept } from './kept.ts'

/** One batch holds about this many bytes: to put them together keeps the thread for some 10 ms. */
const BATCH_BYTES = 512 * 1024
/** About what a delivery takes besides its body. */
const HEAD_BYTES = 512

interface Item {
  readonly kept: Kept
  /** Instant. */
  readonly since: number
}

/**
 * What is kept and not written, oldest first, each once. One can leave from the middle: most do, since most deliveries are
 * over before they are written.
 */
export class Unsaved {
  /** `undefined` for what has left. */
  #items: (Item | undefined)[] = []
  /** By number, where it is in the above, counted from the very first that was ever there. */
  readonly #places = new Map<number, number>()
  /** How many have been cut off in front. */
  #cut = 0
  #start = 0
  #bytes = 0

  /** Of the bodies. */
  get bytes(): number {
    return this.#bytes
  }

  get size(): number {
    return this.#places.size
  }

  /** Since when the oldest has been waiting, an instant; `Infinity`: there is none. */
  get oldestSince(): number {
    return this.#items[this.#start]?.since ?? Number.POSITIVE_INFINITY
  }

  push(kept: Kept, since: number): void {
    if (!this.#places.has(kept.number)) {
      this.#places.set(kept.number, this.#cut + this.#items.length)
      this.#items.push({ kept, since })
      this.#bytes += kept.bytes
    }
  }

  delete({ number, bytes }: Kept): void {
    const place = this.#places.get(number)
    if (place !== undefined) {
      this.#places.delete(number)
      this.#items[place - this.#cut] = undefined
      this.#bytes -= bytes
      this.#advance()
    }
  }

  /** Takes out the oldest, those that came at `until` or before, for one batch. */
  take(until: number, maxBytes = BATCH_BYTES): Kept[] {
    const taken: Kept[] = []
    let bytes = 0
    for (let item = this.#items[this.#start]; item !== undefined; item = this.#items[this.#start]) {
      bytes += item.kept.bytes + HEAD_BYTES
      if (item.since > until || (taken.length > 0 && bytes > maxBytes)) {
        break
      }
      this.delete(item.kept)
      taken.push(item.kept)
    }
    return taken
  }

  /** The first that is left is at the start. */
  #advance(): void {
    while (this.#start < this.#items.length && this.#items[this.#start] === undefined) {
      ++this.#start
    }
    if (this.#start * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#start)
      this.#cut += this.#start
      this.#start = 0
    }
  }
}
