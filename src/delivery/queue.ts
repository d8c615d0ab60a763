import TinyQueue from 'tinyqueue'

/** What a queue holds tickets of: once its ticket is another, what the queue holds of it is void. */
export interface Ticketed {
  readonly ticket: number
}

interface Slip<T> {
  readonly item: T
  readonly ticket: number
}

interface DueSlip<T> extends Slip<T> {
  readonly at: number
}

/** Below this, a sweep is not worth it. */
const SMALL = 64

function ticketOf({ ticket }: Ticketed): number {
  return ticket
}

function isValid<T extends Ticketed>({ item, ticket }: Slip<T>): boolean {
  return item.ticket === ticket
}

/**
 * First in, first out, in constant time. Void tickets are skipped where they are met, and swept out before they outnumber
 * the valid ones by far: so an item can leave from the middle at no cost, and come back at the end.
 *
 * An array, since a `Set` in which items come and go keeps those that went alive until a full garbage collection.
 */
export class Queue<T extends Ticketed> {
  #slips: Slip<T>[] = []
  /** The consumed beginning is cut off once it is half of the array. */
  #start = 0
  #sweepAt = SMALL

  push(item: T): void {
    if (this.#slips.length - this.#start >= this.#sweepAt) {
      this.#slips = this.#slips.slice(this.#start).filter(isValid)
      this.#start = 0
      this.#sweepAt = Math.max(SMALL, 2 * this.#slips.length)
    }
    this.#slips.push({ item, ticket: item.ticket })
  }

  first(): T | undefined {
    while (this.#start < this.#slips.length) {
      const slip = this.#slips[this.#start]!
      if (isValid(slip)) {
        return slip.item
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

  #advance(): void {
    ++this.#start
    if (this.#start * 2 >= this.#slips.length) {
      this.#slips = this.#slips.slice(this.#start)
      this.#start = 0
    }
  }
}

/**
 * Smallest instant first, among equals in the order of `number`. Void tickets are skipped, and swept out as in
 * {@link Queue}.
 */
export class DueQueue<T extends Ticketed & { readonly number: number }> {
  readonly #ticketOf: (item: T) => number
  #heap = new TinyQueue<DueSlip<T>>([], compare)
  #sweepAt = SMALL

  /** @param ticket - of an item, where another one than its own says whether it has left */
  constructor(ticket: (item: T) => number = ticketOf) {
    this.#ticketOf = ticket
  }

  push(item: T, at: number): void {
    if (this.#heap.length >= this.#sweepAt) {
      const valid = this.#heap.data.filter(slip => this.#isValid(slip))
      this.#heap = new TinyQueue(valid, compare)
      this.#sweepAt = Math.max(SMALL, 2 * this.#heap.length)
    }
    this.#heap.push({ item, ticket: this.#ticketOf(item), at })
  }

  #isValid({ item, ticket }: DueSlip<T>): boolean {
    return this.#ticketOf(item) === ticket
  }

  /** Whose instant has come at `now`; it stays in the queue. */
  due(now: number): T | undefined {
    const slip = this.#first()
    return slip !== undefined && slip.at <= now ? slip.item : undefined
  }

  /** Takes out the one that {@link due} gives. */
  shift(now: number): T | undefined {
    const item = this.due(now)
    if (item !== undefined) {
      this.#heap.pop()
    }
    return item
  }

  /** Infinite if there is none. */
  nextAt(): number {
    return this.#first()?.at ?? Number.POSITIVE_INFINITY
  }

  #first(): DueSlip<T> | undefined {
    let slip = this.#heap.peek()
    while (slip !== undefined && !this.#isValid(slip)) {
      this.#heap.pop()
      slip = this.#heap.peek()
    }
    return slip
  }
}

function compare<T extends Ticketed & { readonly number: number }>(a: DueSlip<T>, b: DueSlip<T>): number {
  return a.at - b.at || a.item.number - b.item.number
}
