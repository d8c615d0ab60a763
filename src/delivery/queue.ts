/**
 * First in, first out, in constant time. Items that are no longer members are skipped where they are met, and swept out
 * before they outnumber the members by far: so one can leave from the middle at no cost.
 *
 * An array, since a `Set` in which items come and go keeps those that went alive until a full garbage collection.
 */
export class Fifo<T> {
  readonly #isMember: (item: T) => boolean
  #items: T[] = []
  /** The consumed beginning is cut off once it is half of the array. */
  #start = 0
  /** Length at which the next sweep is worth it. */
  #sweepAt = SMALL

  constructor(isMember: (item: T) => boolean) {
    this.#isMember = isMember
  }

  push(item: T): void {
    if (this.#items.length - this.#start >= this.#sweepAt) {
      this.#items = [...this]
      this.#start = 0
      this.#sweepAt = Math.max(SMALL, 2 * this.#items.length)
    }
    this.#items.push(item)
  }

  first(): T | undefined {
    while (this.#start < this.#items.length) {
      const item = this.#items[this.#start]!
      if (this.#isMember(item)) {
        return item
      }
      this.#advance()
    }
    return undefined
  }

  shift(): T | undefined {
    const item = this.first()
    if (item !== undefined) {
      this.#advance()
    }
    return item
  }

  last(): T | undefined {
    while (this.#items.length > this.#start) {
      const item = this.#items.at(-1)!
      if (this.#isMember(item)) {
        return item
      }
      this.#items.pop()
    }
    return undefined
  }

  /** The members as they are now. */
  [Symbol.iterator](): Iterator<T> {
    return this.#items.slice(this.#start).filter(this.#isMember)[Symbol.iterator]()
  }

  #advance(): void {
    ++this.#start
    if (this.#start * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#start)
      this.#start = 0
    }
  }
}

const SMALL = 64
