import type { DiscardReason } from './delivery.ts'
import type { Kept } from './kept.ts'
import type { Ledger } from './ledger.ts'
import { Queue } from './queue.ts'

/** What of the recorder is used. */
interface Disk {
  readonly bytes: number
  /** What is not written yet will soon be. */
  readonly isInUse: boolean
  /** Writes what is not written, now. */
  hurry(): void
}

export interface RoomOptions {
  readonly ledger: Ledger
  /** Without, everything stays in memory. */
  readonly disk: Disk | undefined
  /** Bytes of bodies in memory, of which half may be kept there though they are on disk. */
  readonly maxBytes: number
  /** Whether the deliveries of an endpoint are being sent. */
  readonly isFlowing: (endpoint: string) => boolean
  readonly discard: (kept: Kept, reason: DiscardReason) => void
}

/** So much of the memory's bound may be taken up for as long as it takes to write what is not on disk yet. */
const OVERRUN = 2

/**
 * Keeps within the bounds. When memory is short, first what is on disk is let go of, then what is not is written; only then
 * something is discarded, of whoever takes up most of what is short.
 */
export class Room {
  readonly #options: RoomOptions
  /** Those that wait for their turn, on disk and in memory too. */
  readonly #spare = new Queue<Kept>()
  #later: NodeJS.Immediate | undefined

  constructor(options: RoomOptions) {
    this.#options = options
  }

  /** A delivery is on disk. It stays in memory too only while its turn is near. */
  saved(kept: Kept): void {
    if (!this.leaveIfIdle(kept)) {
      this.#spare.push(kept)
    }
  }

  /** After each transition and move, which make void what the queue holds of a delivery. */
  changed(kept: Kept): void {
    const { state, stored, content } = kept
    if (stored > 0 && content !== undefined && (state.name === 'queued' || state.name === 'held')) {
      this.#spare.push(kept)
    }
  }

  /** @returns whether its body is in the journal only */
  leaveIfIdle(kept: Kept): boolean {
    const { state, stored, content, endpoint } = kept
    if (content === undefined || stored === 0 || state.name === 'sending' || state.name === 'ended') {
      return content === undefined
    }
    const { ledger, maxBytes, isFlowing } = this.#options
    const isNear = state.name === 'queued' || state.name === 'held'
    if (!isNear || ledger.memory > maxBytes / 2 || !isFlowing(endpoint)) {
      ledger.unload(kept)
      return true
    }
    return false
  }

  /** Something was accepted: at most one is discarded now, on the tick of whoever hands over, the rest a moment later. */
  accepted(): void {
    if (this.#giveWay()) {
      this.#later ??= setImmediate(() => this.make())
    }
  }

  make(): void {
    clearImmediate(this.#later)
    this.#later = undefined
    while (this.#giveWay()) {
      // until nothing is short, or all that is left is being sent
    }
  }

  /** Discards one if anything is short. @returns whether it did */
  #giveWay(): boolean {
    const { ledger, disk, maxBytes, discard } = this.#options
    let short = ledger.excess(disk?.bytes ?? 0)
    if (short === 'memory' && this.#letGo()) {
      short = ledger.excess(disk?.bytes ?? 0)
    }
    if (short === undefined) {
      return false
    }
    if (short === 'memory' && disk?.isInUse === true) {
      disk.hurry()
      if (ledger.memory <= maxBytes * OVERRUN) {
        return false // what is being written leaves the memory in a moment
      }
    }
    const victim = ledger.victim(short)
    if (victim === undefined) {
      return false
    }
    discard(victim, 'queue full')
    return true
  }

  /** What is on disk leaves the memory, but what was before the journal failed. @returns whether anything did */
  #letGo(): boolean {
    const { ledger } = this.#options
    const before = ledger.memory
    for (let kept = this.#spare.shift(); kept !== undefined; kept = this.#spare.shift()) {
      if (kept.stored > 0) {
        ledger.unload(kept)
      }
    }
    return ledger.memory < before
  }
}
