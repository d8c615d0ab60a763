import type { Delivery } from './delivery.ts'

export interface EarlyBounds {
  readonly count: number
  /** Of bodies. */
  readonly memory: number
}

/**
 * What is submitted while the journal is being read, in its order. It becomes part of the ledger only then: the journal may
 * tell of the same deliveries, and what it holds goes first.
 */
export class Early {
  readonly #bounds: EarlyBounds
  /** By id. */
  readonly #deliveries = new Map<string, Delivery>()
  #bytes = 0

  constructor(bounds: EarlyBounds) {
    this.#bounds = bounds
  }

  get size(): number {
    return this.#deliveries.size
  }

  /** @returns whether there was room for it, or it was here already */
  add(delivery: Delivery): boolean {
    const { id, payload } = delivery
    const { count, memory } = this.#bounds
    if (this.#deliveries.has(id)) {
      return true
    }
    if (this.#deliveries.size >= count || this.#bytes + payload.body.length > memory) {
      return false
    }
    this.#deliveries.set(id, delivery)
    this.#bytes += payload.body.length
    return true
  }

  all(): Iterable<Delivery> {
    return this.#deliveries.values()
  }
}
