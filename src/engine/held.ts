import type { DiscardReason } from '../delivery/delivery.ts'
import { labelOf } from '../handing.ts'
import type { Handing } from '../handing.ts'
import type { Outcome } from '../event/event.ts'
import { packed, unpacked } from './protocol.ts'
import type { Leftovers, Order, Packed } from './protocol.ts'

/** One handing whose deliveries are not all safe. Changed by {@link Held} only. */
export interface Entry {
  readonly id: string
  /** Not 0, which stands for none; an int32. */
  readonly number: number
  readonly hooks: readonly string[]
  readonly method: string
  readonly outcome: Outcome
  readonly callId: string
  readonly bytes: number
  /** Empty: let go of. If it has to be handed over again, its deliveries are discarded for this reason instead. */
  text: Packed
  reason: DiscardReason
  /** How many of its deliveries are not safe; 0: it is not held any more. */
  left: number
  /** Places of those that are. */
  readonly safe: number[]
  /** The delivery side has it. */
  isPosted: boolean
  /** The question about its first attempts. */
  ask: number | undefined
}

/** Deliveries of one hook that were lost, `id` being one of them. */
interface Loss {
  readonly id: string
  readonly count: number
}

/** Estimated: an entry without its text. */
const ENTRY_BYTES = 512

/** A part of the bound that is freed at once, so that the oldest are not looked for at each event. */
const ROOM = 1 / 8

/** The delivery side is not to stay with one order for long. */
const MAX_LOSS = 10_000

/**
 * What was handed over to the delivery side and is not safe yet: it may die, and whoever comes in its place gets it again.
 *
 * Bounded in bytes. At the bound copies are let go of, the oldest first. While the delivery side lives, it has them all the
 * same; if it dies, their deliveries are discarded as `lost`. What it was never given is lost there and then, and only how
 * many they were is kept.
 */
export class Held {
  readonly #maxBytes: number
  /** By number, the oldest first. */
  readonly #entries = new Map<number, Entry>()
  /** By hook. */
  readonly #losses = new Map<string, Loss>()
  readonly #leftovers = { safe: [] as string[], guilty: [] as number[] }
  #bytes = 0
  #lastNumber = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#bytes
  }

  add(handing: Handing): Entry {
    this.#lastNumber = (this.#lastNumber % 0x7fffffff) + 1
    const { id, hooks, event } = handing
    const { method, outcome, callId } = event
    const text = packed(this.#lastNumber, handing)
    const entry: Entry = {
      id,
      number: this.#lastNumber,
      hooks,
      method,
      outcome,
      callId,
      bytes: ENTRY_BYTES + text.length,
      text,
      reason: 'lost',
      left: hooks.length,
      safe: [],
      isPosted: false,
      ask: undefined,
    }
    this.#entries.set(entry.number, entry)
    this.#bytes += entry.bytes
    if (this.#bytes > this.#maxBytes) {
      this.#makeRoom(entry)
    }
    return entry
  }

  /** The delivery at this place of the handing has ended, or is on disk. Told twice it counts once. */
  safe(number: number, place: number): void {
    if (number < 0) {
      this.#leftovers.safe.push(`${number}-${place}`)
      return
    }
    const entry = this.#entries.get(number)
    if (entry === undefined || entry.safe.includes(place)) {
      return
    }
    if (entry.left === 1) {
      this.#remove(entry)
    } else {
      entry.safe.push(place)
      --entry.left
    }
  }

  /** As {@link safe}, told by whoever has not been given the handing yet. */
  safeById(deliveryIds: readonly string[]): void {
    if (deliveryIds.length === 0) {
      return
    }
    const entries = new Map<string, Entry>()
    for (const entry of this.#entries.values()) {
      if (!entry.isPosted) {
        entries.set(entry.id, entry)
      }
    }
    for (const id of deliveryIds) {
      const dash = id.lastIndexOf('-')
      const entry = entries.get(id.slice(0, dash))
      if (entry !== undefined) {
        this.safe(entry.number, Number(id.slice(dash + 1)))
      }
    }
  }

  /** The order that gives it to the delivery side, without what is safe already; `undefined`: it is not held any more. */
  orderOf(entry: Entry): Packed | Extract<Order, { type: 'discard' }> | undefined {
    const { text, left, number, safe, id, reason } = entry
    if (left === 0) {
      return undefined
    }
    entry.isPosted = true
    if (text === '') {
      return { type: 'discard', number, remains: { id, label: labelOf(entry), hooks: unsafeHooksOf(entry) }, reason }
    }
    return safe.length === 0 ? text : packed(number, { ...unpacked(text).handing, hooks: unsafeHooksOf(entry) })
  }

  /** The delivery side has died. @returns all that the next one has to be given, the oldest first */
  recall(): Entry[] {
    const entries = [...this.#entries.values()]
    for (const entry of entries) {
      entry.isPosted = false
    }
    return entries
  }

  /** What is known of what an earlier run has left, which stands in files until it is safe. */
  get leftovers(): Leftovers {
    return this.#leftovers
  }

  /** This handing brings every delivery side down. @returns it, unless it is none of those that are held here */
  setAside(number: number): Entry | undefined {
    if (number < 0) {
      this.#leftovers.guilty.push(number)
      return undefined
    }
    const entry = this.#entries.get(number)
    if (entry === undefined || entry.text === '') {
      return undefined
    }
    this.giveUp(entry, 'set aside')
    return entry
  }

  /** Its deliveries are to be discarded for this reason. */
  giveUp(entry: Entry, reason: DiscardReason): void {
    if (entry.text !== '') {
      entry.text = ''
      entry.reason = reason
      this.#bytes -= entry.bytes
    }
  }

  /** What was lost before the delivery side was given it, once. */
  takeLosses(): readonly Extract<Order, { type: 'lost' }>[] {
    if (this.#losses.size === 0) {
      return []
    }
    const orders = [...this.#losses].flatMap(([owner, { id, count }]) =>
      Array.from({ length: Math.ceil(count / MAX_LOSS) }, (_, index) => ({
        type: 'lost' as const,
        owner,
        id,
        count: Math.min(MAX_LOSS, count - index * MAX_LOSS),
      }))
    )
    this.#losses.clear()
    return orders
  }

  /** These are to be told again. */
  putBackLosses(orders: readonly Extract<Order, { type: 'lost' }>[]): void {
    for (const { owner, id, count } of orders) {
      this.#lose(owner, id, count)
    }
  }

  /** Forgets everything. @returns how many deliveries that were */
  clear(): number {
    let count = 0
    for (const { left } of this.#entries.values()) {
      count += left
    }
    for (const loss of this.#losses.values()) {
      count += loss.count
    }
    this.#entries.clear()
    this.#losses.clear()
    this.#bytes = 0
    return count
  }

  #makeRoom(newest: Entry): void {
    const goal = this.#maxBytes * (1 - ROOM)
    for (const entry of this.#entries.values()) {
      if (this.#bytes <= goal || entry === newest) {
        return
      }
      const { id, text, isPosted, hooks, safe } = entry
      if (text === '') {
        continue
      }
      if (isPosted) {
        this.giveUp(entry, 'lost')
        continue
      }
      this.#remove(entry)
      hooks.forEach((owner, place) => {
        if (!safe.includes(place)) {
          this.#lose(owner, `${id}-${place}`, 1)
        }
      })
    }
  }

  #lose(owner: string, id: string, more: number): void {
    this.#losses.set(owner, { id, count: (this.#losses.get(owner)?.count ?? 0) + more })
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry.number)
    this.giveUp(entry, 'lost') // whoever still has the entry does not keep the event
    entry.left = 0
  }
}

/** The places of those that are safe stay, and are empty. */
function unsafeHooksOf({ hooks, safe }: Entry): string[] {
  return hooks.map((id, place) => (safe.includes(place) ? '' : id))
}
