import type { PlainSettings } from '../courier.ts'
import type { Handing } from '../handing.ts'
import type { Entry, Held } from './held.ts'
import type { Worker } from './here.ts'
import type { Answers, Batch, Order, Question } from './protocol.ts'
import type { Asked, Questions } from './questions.ts'

type Item = { readonly entry: Entry } | { readonly question: number } | { readonly order: Order }

/** A batch that was posted and has not been worked off. */
interface Posted {
  readonly number: number
  readonly bytes: number
  readonly losses: readonly Extract<Order, { type: 'lost' }>[]
}

/** So many are posted at once, without waiting for the end of the turn of the event loop. */
const EAGER_COUNT = 64
/** What is larger is not posted on the tick of its caller: a message is copied. */
const MAX_EAGER_BYTES = 256 * 1024
/** A delivery side that is busy is not disturbed more often: it costs less to be given two together than one by one. */
const DELAY_MS = 1
/** So much may be on the way to a delivery side that does not take it: what is posted cannot be taken back. */
const WINDOW_BYTES = 16 * 1024 * 1024
/**
 * A message is read in one go. A thread that runs out of memory ends alone only as long as it takes no more than some 16 MiB
 * at once: else the process ends with it (`NearHeapLimit` in Node's src/node_worker.cc).
 */
const BATCH_BYTES = 1024 * 1024

/**
 * What is said to the delivery side: all that comes within one turn of the event loop in one batch, in its order; as
 * long as it is busy, all that comes within a millisecond.
 *
 * Closed, it keeps what is to be said once a delivery side listens: what is held, and the questions that are open. Orders are
 * not kept.
 */
export class Outbox {
  readonly #held: Held
  readonly #questions: Questions
  /** `undefined`: closed. */
  #worker: Pick<Worker, 'post' | 'isBusy'> | undefined
  /** Handed over since the last batch. */
  readonly #incoming: Handing[] = []
  /** Empty while closed. */
  #items: Item[] = []
  /** The posted beginning is cut off once it is half of the array. */
  #start = 0
  #flushing: NodeJS.Immediate | undefined
  #delay: NodeJS.Timeout | undefined
  #lastBatch = 0
  readonly #window: Posted[] = []
  #windowBytes = 0
  #isUnbounded = false

  constructor(held: Held, questions: Questions) {
    this.#held = held
    this.#questions = questions
  }

  /** The caller pays for no more than this; the rest is done at the end of the turn. */
  hand(handing: Handing): void {
    if (this.#incoming.push(handing) >= EAGER_COUNT) {
      this.#flush(MAX_EAGER_BYTES)
    }
    this.#flushLater()
  }

  /** Hands over, and asks about the first attempts. */
  ask(handing: Handing): Asked<Answers['ask']> {
    this.#absorb()
    const entry = this.#held.add(handing)
    const asked = this.#questions.ask({ name: 'ask', handing: entry.text })
    entry.ask = asked.number
    this.#say({ entry })
    return asked
  }

  question<Q extends Question>(question: Q): Promise<Answers[Q['name']]> {
    const { number, answer } = this.#questions.ask(question)
    this.#say({ question: number })
    return answer
  }

  order(order: Order): void {
    this.#say({ order })
  }

  /** Whoever listens now knows nothing of what was said before. */
  open(worker: Pick<Worker, 'post' | 'isBusy'>, settings: PlainSettings | undefined): void {
    this.#absorb()
    this.#worker = worker
    this.#start = 0
    this.#items = [
      ...(settings === undefined ? [] : [{ order: { type: 'configure', settings } } as const]),
      ...this.#held.recall().map(entry => ({ entry })),
      ...this.#questions.recall().map(question => ({ question })),
    ]
    this.#flushLater()
  }

  /** Nobody listens any more: what was on the way is lost, unless it is held. */
  close(): void {
    this.#absorb()
    clearTimeout(this.#delay)
    this.#delay = undefined
    this.#worker = undefined
    this.#items = []
    this.#start = 0
    this.#held.putBackLosses(this.#window.splice(0).flatMap(({ losses }) => losses))
    this.#windowBytes = 0
    this.#questions.outlive()
  }

  /** All batches up to this one have been worked off. */
  acknowledge(taken: number): void {
    while (this.#window[0] !== undefined && this.#window[0].number <= taken) {
      this.#windowBytes -= this.#window.shift()?.bytes ?? 0
    }
    if (this.#start < this.#items.length) {
      this.#flushLater()
    }
  }

  /** It comes to an end: nobody waits for what is on the way to be worked off. */
  hurry(): void {
    this.#isUnbounded = true
  }

  #say(item: Item): void {
    this.#absorb()
    if (this.#worker !== undefined) {
      this.#items.push(item)
      this.#flushLater()
    }
  }

  #absorb(): void {
    for (const handing of this.#incoming.splice(0)) {
      const entry = this.#held.add(handing)
      if (this.#worker !== undefined) {
        this.#items.push({ entry })
      }
    }
  }

  #flushLater(): void {
    if (this.#delay === undefined) {
      this.#flushing ??= setImmediate(() => this.#endTurn())
    }
  }

  #endTurn(): void {
    this.#flushing = undefined
    if (this.#worker?.isBusy === true) {
      this.#delay = setTimeout(() => this.#flush(), DELAY_MS)
    } else {
      this.#flush()
    }
  }

  /** @param maxBytes - of an event: a larger one, and what comes after it, stays for the time being */
  #flush(maxBytes = Infinity): void {
    clearImmediate(this.#flushing)
    clearTimeout(this.#delay)
    this.#flushing = undefined
    this.#delay = undefined
    this.#absorb()
    for (let batch = this.#next(maxBytes); batch !== undefined; batch = this.#next(maxBytes)) {
      this.#worker?.post(batch)
    }
  }

  /** `undefined`: there is nothing to be said, or too much is on the way already. */
  #next(maxBytes: number): Batch | undefined {
    if (this.#worker === undefined) {
      return undefined
    }
    const losses = this.#held.takeLosses()
    const orders: Order[] = [...losses]
    let bytes = 0
    let end = this.#start
    for (; end < this.#items.length; ++end) {
      const item = this.#items[end]!
      const itsBytes = 'entry' in item ? item.entry.bytes : 0
      const isFull = bytes >= BATCH_BYTES || (!this.#isUnbounded && this.#windowBytes + bytes >= WINDOW_BYTES)
      if (isFull || itsBytes > maxBytes) {
        break
      }
      bytes += itsBytes
      const order = this.#orderOf(item)
      if (order !== undefined) {
        orders.push(order)
      }
    }
    this.#advance(end)
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
    const { ask } = item.entry
    const order = this.#held.orderOf(item.entry)
    // whoever has asked may have stopped waiting: then it is handed over like the rest
    return typeof order === 'string' && ask !== undefined ? (this.#questions.orderOf(ask) ?? order) : order
  }
}
