import type { Delivery } from './delivery.ts'
import { Fifo } from './queue.ts'
import { reasonOf } from './journal.ts'
import type { Journal, LogRow, Recovered } from './journal.ts'
import type { Entry } from './lane.ts'

/** The first that is kept is written after this, with all that came soon after it. */
const WRITE_AFTER_MS = 20
/** What is younger waits for the next write: an endpoint may take it at once. With the above, less than 50 ms. */
const WRITE_FROM_AGE_MS = 10
/** More than this is written without delay. */
const EAGER_BYTES = 4 * 1024 * 1024
/** The delivery log and the engine's state wait a little, to be written together. */
const WRITE_LOG_AFTER_MS = 1_000
const REOPEN_AFTER_MS = 10_000
const TRIM_LOG_EVERY_MS = 60_000

export interface RecorderOptions {
  readonly open: () => Promise<{ journal: Journal; recovered: Recovered }>
  /** The journal is open. `isFirst`: what it holds is from an earlier run; else it is what this one has written. */
  readonly onOpen: (journal: Journal, recovered: Recovered, isFirst: boolean) => void
  /** These are on disk now, and need not be in memory. */
  readonly onSaved: (entries: readonly Entry[]) => void
  /** Why the journal cannot be used at present; `undefined`: it can. */
  readonly onProblem: (problem: string | undefined) => void
  /** What the engine wants to know again after a restart. */
  readonly engineState: () => unknown
  /** The log keeps this many settled deliveries, for this long. */
  readonly maxLogged: number
  readonly maxLoggedMs: number
}

/**
 * Decides what goes to the journal when, and keeps the journal open: while it cannot be opened or written, everything
 * stays in memory, and it is tried again.
 */
export class Recorder {
  readonly #options: RecorderOptions
  #journal: Journal | undefined
  /** Has been open once. */
  #wasOpen = false
  #working: Promise<void> = Promise.resolve()
  /** Kept and not written, oldest first. */
  readonly #unsaved = new Fifo<Entry>(entry => entry.isUnsaved)
  #unsavedBytes = 0
  /** Rows of the log or the engine's state are to be written. */
  #isLogDirty = false
  #rows: LogRow[] = []
  #trimmedAt = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #isClosed = false

  constructor(options: RecorderOptions) {
    this.#options = options
    this.#work(() => this.#open())
  }

  /** Bytes on disk of what is kept. */
  get bytes(): number {
    return this.#journal?.bytes ?? 0
  }

  /** An entry is kept from now on; its delivery is in memory. */
  keep(entry: Entry): void {
    if (!entry.isUnsaved) {
      entry.isUnsaved = true
      this.#unsaved.push(entry)
      this.#unsavedBytes += entry.bytes
    }
    this.#schedule(this.#unsavedBytes > EAGER_BYTES ? 0 : WRITE_AFTER_MS)
  }

  /** It has come further, or another object stands for it. */
  update(entry: Entry, old = entry): void {
    if (old !== entry && this.forget(old)) {
      entry.isUnsaved = false
      this.keep(entry)
    } else if (entry.place !== undefined) {
      this.#journal?.adopt(entry)
      this.#journal?.update(entry)
      this.#schedule(WRITE_AFTER_MS)
    }
  }

  /** It is no longer kept. */
  drop(entry: Entry): void {
    if (!this.forget(entry) && entry.place !== undefined) {
      this.#journal?.remove(entry)
      this.#schedule(WRITE_AFTER_MS)
    }
  }

  /** It is on disk, or no longer kept. @returns whether it was to be written */
  forget(entry: Entry): boolean {
    const { isUnsaved } = entry
    if (isUnsaved) {
      entry.isUnsaved = false
      this.#unsavedBytes -= entry.bytes
    }
    return isUnsaved
  }

  /** A row for the delivery log. */
  log(row: LogRow): void {
    this.#rows.push(row)
    if (this.#rows.length > 2 * this.#options.maxLogged) {
      this.#rows = this.#rows.slice(-this.#options.maxLogged)
    }
    this.saveState()
  }

  /** The engine's state has changed. */
  saveState(): void {
    this.#isLogDirty = true
    this.#schedule(WRITE_LOG_AFTER_MS)
  }

  /** Reads back what is on disk only. `undefined` if it is damaged; rejects while the journal cannot be read. */
  async read({ place }: Entry): Promise<Delivery | undefined> {
    if (this.#journal === undefined || place === undefined) {
      throw new Error('the journal is not open')
    }
    return this.#journal.read(place)
  }

  /** The rows of the delivery log, the latest first. */
  async *readLog(): AsyncGenerator<LogRow> {
    // a row that is being written is neither here nor there
    this.#work(() => this.#write(performance.now() - WRITE_FROM_AGE_MS))
    await this.#working
    const unwritten = this.#rows.toReversed()
    const written = this.#journal?.readLog()
    yield* unwritten
    if (written !== undefined) {
      yield* written
    }
  }

  /** Writes what is left, and closes the journal. What is still unsaved then is not on disk. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#working
    if (this.#journal !== undefined) {
      await this.#write(Number.POSITIVE_INFINITY)
    }
    await this.#journal?.close()
  }

  #schedule(delayMs: number): void {
    const at = performance.now() + delayMs
    if (this.#journal !== undefined && at < this.#timerAt) {
      this.#setTimer(delayMs, () => this.#write(performance.now() - WRITE_FROM_AGE_MS))
    }
  }

  #setTimer(delayMs: number, step: () => Promise<void>): void {
    clearTimeout(this.#timer)
    if (this.#isClosed) {
      return
    }
    this.#timerAt = performance.now() + delayMs
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY
      this.#work(step)
    }, delayMs).unref()
  }

  /** One thing at a time. */
  #work(step: () => Promise<void>): void {
    this.#working = this.#working.then(step)
  }

  async #open(): Promise<void> {
    try {
      const { journal, recovered } = await this.#options.open()
      this.#journal = journal
      this.#options.onOpen(journal, recovered, !this.#wasOpen)
      this.#wasOpen = true
      this.#options.onProblem(undefined)
      this.#schedule(0)
    } catch (error) {
      const journal = this.#journal
      this.#fail(error)
      await journal?.close().catch(() => {})
    }
  }

  /** Writes what is older than `takenBefore`, and what else has changed. */
  async #write(takenBefore: number): Promise<void> {
    const journal = this.#journal
    if (journal === undefined) {
      return
    }
    const entries = this.#takeUnsaved(this.#unsavedBytes > EAGER_BYTES ? Number.POSITIVE_INFINITY : takenBefore)
    const rows = this.#rows
    try {
      for (const group of byOwner(entries)) {
        journal.add(group)
      }
      this.#writeLog(journal)
      if (journal.isDirty) {
        await journal.flush()
      }
      this.#options.onSaved(entries)
    } catch (error) {
      if (rows !== this.#rows) {
        this.#rows = [...rows, ...this.#rows]
      }
      this.#isLogDirty = true
      this.#fail(error)
      await journal.close().catch(() => {})
    }
    if (this.#unsaved.first() !== undefined) {
      this.#schedule(WRITE_AFTER_MS)
    }
  }

  #takeUnsaved(takenBefore: number): Entry[] {
    const entries: Entry[] = []
    for (let entry = this.#unsaved.first(); entry !== undefined; entry = this.#unsaved.first()) {
      if (entry.takenAt > takenBefore) {
        break
      }
      this.#unsaved.shift()
      this.forget(entry)
      entries.push(entry)
    }
    return entries
  }

  #writeLog(journal: Journal): void {
    if (!this.#isLogDirty) {
      return
    }
    this.#isLogDirty = false
    // what is beyond the log's length would be trimmed at once
    for (const row of this.#rows.slice(-this.#options.maxLogged)) {
      journal.log(row)
    }
    this.#rows = []
    journal.writeState(this.#options.engineState())
    const now = Date.now()
    if (Math.abs(now - this.#trimmedAt) > TRIM_LOG_EVERY_MS) {
      this.#trimmedAt = now
      journal.trimLog(this.#options.maxLogged, now - this.#options.maxLoggedMs)
    }
  }

  #fail(error: unknown): void {
    this.#journal = undefined
    this.#options.onProblem(reasonOf(error))
    this.#setTimer(REOPEN_AFTER_MS, () => this.#open())
  }
}

/** An owner has one endpoint: what is written together is settled at about the same time. */
function byOwner(entries: readonly Entry[]): Iterable<Entry[]> {
  const groups = new Map<string, Entry[]>()
  for (const entry of entries) {
    const group = groups.get(entry.owner)
    if (group === undefined) {
      groups.set(entry.owner, [entry])
    } else {
      group.push(entry)
    }
  }
  return groups.values()
}
