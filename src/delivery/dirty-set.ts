import type { LogRow } from './journal.ts'
import type { Kept, State } from './kept.ts'
import { Unsaved } from './unsaved.ts'

/** What is written together. */
export interface Writing {
  readonly added: readonly Kept[]
  readonly changed: readonly Kept[]
  /** Numbers, and their bytes on disk. */
  readonly ended: ReadonlySet<number>
  readonly endedBytes: number
  readonly rows: readonly LogRow[]
}

/** What a transition means on disk. */
export type News = 'added' | 'changed' | 'removed' | 'only counted'

/**
 * What is not on disk as it is in memory: deliveries that are new, have come further or have ended since they were
 * written, rows of the log, the engine's state. Also keeps `stored` of each delivery.
 */
export class DirtySet {
  readonly #maxLogged: number
  readonly #unsaved = new Unsaved()
  /** On disk, and not as in memory. */
  #changed = new Set<Kept>()
  /** On disk, and no longer kept: their numbers, and their bytes on disk. */
  #ended = new Set<number>()
  #endedBytes = 0
  #rows: LogRow[] = []
  #isStateDirty = false
  #writing: Writing | undefined
  readonly #beingAdded = new Set<Kept>()

  constructor(maxLogged: number) {
    this.#maxLogged = maxLogged
  }

  get isEmpty(): boolean {
    return (
      this.#unsaved.size === 0 &&
      this.#changed.size === 0 &&
      this.#ended.size === 0 &&
      this.#rows.length === 0 &&
      !this.#isStateDirty
    )
  }

  /** Since when the oldest that is on no disk has been kept, with nothing under way to change that; `Infinity`: there is none. */
  get unsavedSince(): number {
    return this.#unsaved.oldestSince
  }

  /** Of the bodies of those. */
  get unsavedBytes(): number {
    return this.#unsaved.bytes
  }

  /** Numbers of what is no longer kept, and may be on disk. */
  *unremoved(): Iterable<number> {
    yield* this.#ended
    yield* this.#writing?.ended ?? []
    for (const { number, state } of this.#beingAdded) {
      if (state.name === 'ended') {
        yield number
      }
    }
  }

  /** On disk of what is no longer kept. */
  get endedBytes(): number {
    return this.#endedBytes + (this.#writing?.endedBytes ?? 0)
  }

  /** Rows that are not on disk, the latest first. None is being written while the disk is at rest. */
  get rows(): readonly LogRow[] {
    return this.#rows.toReversed()
  }

  /**
   * A transition of the ledger.
   *
   * @param isOpen - the journal can be written; else what it holds is compared with what is kept when it is opened again
   * @returns `undefined`: the disk need not know
   */
  heard(kept: Kept, before: State | undefined, isOpen: boolean): News | undefined {
    if (kept.state.name === 'ended') {
      return this.#hasEnded(kept)
    }
    if (before === undefined) {
      if (kept.stored > 0) {
        return undefined
      }
      this.#unsaved.push(kept, performance.now())
      return 'added'
    }
    if (!isOpen || !isWritten(kept.state, before) || (kept.stored === 0 && !this.#beingAdded.has(kept))) {
      return undefined
    }
    this.#changed.add(kept)
    return 'changed'
  }

  /** What was never written never is: that it has ended is in the totals of the engine's state. */
  #hasEnded(kept: Kept): News {
    const { number, stored } = kept
    this.#unsaved.delete(kept)
    this.#changed.delete(kept)
    this.#isStateDirty = true
    kept.stored = 0
    if (stored === 0) {
      return 'only counted'
    }
    this.remove(number, stored)
    return 'removed'
  }

  /** The journal was opened again: what has to be removed from it is told anew. */
  forgetEnded(): void {
    this.#ended.clear()
    this.#endedBytes = 0
  }

  /** The disk holds what is not kept. */
  remove(number: number, stored: number): void {
    this.#ended.add(number)
    this.#endedBytes += stored
  }

  /** The disk holds it. @param isCurrent - as it is in memory */
  isOnDisk(kept: Kept, stored: number, isCurrent: boolean): void {
    this.#unsaved.delete(kept)
    kept.stored = stored
    if (!isCurrent) {
      this.#changed.add(kept)
    }
  }

  /**
   * The journal was opened again, and does not hold all that was on disk only.
   *
   * @param onDisk - what is kept of what was on disk
   * @returns what is gone, but for what is about to be sent: that is found damaged as it is read
   */
  gone(onDisk: readonly Kept[], sizeOf: (number: number) => number): Kept[] {
    const gone = onDisk.filter(({ number, content }) => content === undefined && sizeOf(number) === 0)
    for (const kept of gone) {
      kept.stored = 0
    }
    return gone.filter(({ state }) => state.name !== 'sending')
  }

  log(row: LogRow): void {
    this.#rows.push(row)
    this.#limitRows()
    this.#isStateDirty = true
  }

  stateChanged(): void {
    this.#isStateDirty = true
  }

  /** Takes out what is to be written: of the unsaved, those that came at the instant `until` or before. */
  take(until: number): Writing {
    const writing: Writing = {
      added: this.#unsaved.take(until),
      changed: [...this.#changed],
      ended: this.#ended,
      endedBytes: this.#endedBytes,
      // what is beyond the log's length would be trimmed at once
      rows: this.#rows.slice(-this.#maxLogged),
    }
    for (const kept of writing.added) {
      this.#beingAdded.add(kept)
    }
    this.#changed = new Set()
    this.#ended = new Set()
    this.#endedBytes = 0
    this.#rows = []
    this.#isStateDirty = false
    this.#writing = writing
    return writing
  }

  /** Whether this is still what is being written: not if everything was taken for unsaved meanwhile. */
  isBeingWritten(writing: Writing): boolean {
    return this.#writing === writing
  }

  /** It is on disk. @returns what is new there, and still kept */
  written({ added, changed }: Writing, sizeOf: (number: number) => number): Kept[] {
    this.#writing = undefined
    this.#beingAdded.clear()
    const isKept = ({ state }: Kept): boolean => state.name !== 'ended'
    for (const { number, state } of added) {
      if (state.name === 'ended') {
        this.remove(number, sizeOf(number))
      }
    }
    const saved = added.filter(isKept)
    for (const kept of [...saved, ...changed.filter(isKept)]) {
      kept.stored = sizeOf(kept.number)
    }
    return saved
  }

  /**
   * The disk cannot be relied on: what is in memory has to stay there, and is written again unless the disk turns out to
   * hold it.
   *
   * @param onDisk - what is kept of what was on disk
   */
  unsaveAll(onDisk: Iterable<Kept>): void {
    const writing = this.#writing
    this.#writing = undefined
    this.#beingAdded.clear()
    const before = this.#unsaved.take(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
    for (const kept of [...(writing?.added ?? []), ...onDisk, ...before]) {
      if (kept.content !== undefined && kept.state.name !== 'ended') {
        kept.stored = 0
        this.#unsaved.push(kept, 0)
      }
    }
    this.#changed.clear()
    // still on disk, as far as is known
    writing?.ended.forEach(number => this.#ended.add(number))
    this.#endedBytes += writing?.endedBytes ?? 0
    this.#rows = [...(writing?.rows ?? []), ...this.#rows]
    this.#limitRows()
    this.#isStateDirty = true
  }

  #limitRows(): void {
    if (this.#rows.length > 2 * this.#maxLogged) {
      this.#rows = this.#rows.slice(-this.#maxLogged)
    }
  }
}

/**
 * Whether a change makes a difference on disk: what is fresh or held is written alike, and an attempt is not written, unless it
 * is to be the last one.
 */
function isWritten(now: State, before: State): boolean {
  return now.name === 'sending' ? now.isCancelled : !(isFresh(now) && isFresh(before))
}

function isFresh({ name }: State): boolean {
  return name === 'queued' || name === 'held'
}
