import type { Entry, Held } from './held.ts'
import type { Batch, Order } from './protocol.ts'
import type { Questions } from './questions.ts'

/** What waits to be posted. `ask`: the question about the first attempts of the handing. */
export type Item =
  | { readonly entry: Entry; readonly ask?: number | undefined }
  | { readonly question: number }
  | { readonly order: Order }

/** A batch that was posted and has not been worked off. */
interface Posted {
  readonly number: number
  readonly bytes: number
  readonly losses: readonly Extract<Order, { type: 'lost' }>[]
}

/** So much may be on the way to a delivery side that does not take it: what is posted cannot be taken back. */
const WINDOW_BYTES = 16 * 1024 * 1024

/**
 * A message is read in one go. A thread that runs out of memory ends alone only as long as it takes no more than some 16 MiB
 * at once: else the process ends with it (`NearHeapLimit` in Node's src/node_worker.cc).
 */
const BATCH_BYTES = 1024 * 1024

/** What is to be said to the delivery side, in the order in which it came. Becomes batches. */
export class Outbox {
  readonly #held: Held
  readonly #questions: Questions
  #items: Item[] = []
  /** The posted beginning is cut off once it is half of the array. */
  #start = 0
  #bytes = 0
  #lastBatch = 0
  readonly #window: Posted[] = []
  #windowBytes = 0

  constructor(held: Held, questions: Questions) {
    this.#held = held
    this.#questions = questions
  }

  /** Of the handings that wait. */
  get bytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#start === this.#items.length
  }

  push(item: Item): void {
    this.#items.push(item)
    if ('entry' in item) {
      this.#bytes += item.entry.bytes
    }
  }

  /**
   * The next batch; `undefined`: there is nothing to be said, or too much is on the way already.
   *
   * @param isLast - in the end, nobody waits for what is on the way
   */
  next(isLast: boolean): Batch | undefined {
    const orders: Order[] = []
    const losses = this.#held.takeLosses()
    orders.push(...losses)
    let bytes = 0
    let end = this.#start
    for (; end < this.#items.length; ++end) {
      const item = this.#items[end]!
      if (bytes >= BATCH_BYTES || (!isLast && this.#windowBytes + bytes >= WINDOW_BYTES)) {
        break
      }
      bytes += 'entry' in item ? item.entry.bytes : 0
      const order = this.#orderOf(item)
      if (order !== undefined) {
        orders.push(order)
      }
    }
    this.#advance(end)
    this.#bytes -= bytes
    if (orders.length === 0) {
      return undefined
    }
    const number = ++this.#lastBatch
    this.#window.push({ number, bytes, losses })
    this.#windowBytes += bytes
    return { number, orders }
  }

  #advance(to: number): void {
    const isHalf = to * 2 >= this.#items.length
    this.#items = isHalf ? this.#items.slice(to) : this.#items
    this.#start = isHalf ? 0 : to
  }

  #orderOf(item: Item): Order | undefined {
    if ('order' in item) {
      return item.order
    }
    if ('question' in item) {
      return this.#questions.orderOf(item.question)
    }
    const order = this.#held.orderOf(item.entry)
    // whoever has asked may have stopped waiting: then it is handed over like the rest
    return order?.type === 'hand' && item.ask !== undefined ? (this.#questions.orderOf(item.ask) ?? order) : order
  }

  /** All batches up to this one have been worked off. */
  acknowledge(taken: number): void {
    let count = 0
    for (let posted = this.#window[0]; posted !== undefined && posted.number <= taken; posted = this.#window[++count]) {
      this.#windowBytes -= posted.bytes
    }
    this.#window.splice(0, count) // all at once: there may be thousands
  }

  /** The delivery side has died: all that was on the way is lost, and nothing waits any more. */
  clear(): void {
    this.#held.putBackLosses(this.#window.splice(0).flatMap(({ losses }) => losses))
    this.#windowBytes = 0
    this.#items = []
    this.#start = 0
    this.#bytes = 0
  }
}
