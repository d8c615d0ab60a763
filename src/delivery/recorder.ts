import { isSameProgress, progressOf, storedOf } from './clock.ts'
import type { DiskClock } from './clock.ts'
import { DirtySet } from './dirty-set.ts'
import type { Writing } from './dirty-set.ts'
import { problemOf } from './level.ts'
import type { Journal, LogRow, Recovered, RecoveredDelivery, StoredProgress } from './journal.ts'
import type { Content, Kept, State } from './kept.ts'
import { inTurns } from './rows.ts'
import { NO_ANSWER, PATIENCE, Turns } from './turns.ts'
import type { Patience, Step } from './turns.ts'

/** The first that is kept is written after this, with all that came soon after it. */
const WRITE_AFTER_MS = 20
/** What is younger waits for the next write: with the above, less than 50 ms. */
const WRITE_FROM_AGE_MS = 10
/** More than this is written without delay. */
const EAGER_BYTES = 4 * 1024 * 1024
/** The delivery log and the engine's state wait a little, to be written together. */
const WRITE_LOG_AFTER_MS = 1_000
const TRIM_LOG_EVERY_MS = 60_000

/** What the recorder needs of a journal. */
export type Store = Pick<
  Journal,
  'bytes' | 'numbers' | 'sizeOf' | 'write' | 'read' | 'readLog' | 'trimLog' | 'probeRoom' | 'close'
>

export interface RecorderOptions {
  /** `isAlive` is called while much is read: that is no disk that hangs. */
  readonly open: (isAlive: () => void) => Promise<{ journal: Store; recovered: Recovered }>
  /**
   * The journal is open; called before anything is written, and the disk's clock is the right one by then. `isFirst`:
   * `recovered` is from an earlier run, to be taken over. Else it is from this one, and the recorder has seen to it:
   * `recovered` has no deliveries then, and `gone` are those that were on disk only and are there no more.
   */
  readonly onOpen: (recovered: Recovered, isFirst: boolean, gone: readonly Kept[]) => void
  /** These are on disk now (`stored` is set), and need not be in memory. */
  readonly onSaved: (kept: readonly Kept[]) => void
  /** Why the journal cannot be used at present; `undefined`: it can. */
  readonly onProblem: (problem: string | undefined) => void
  /** What is kept, by number. */
  readonly kept: () => ReadonlyMap<number, Kept>
  /** The engine's state, asked for with every write. */
  readonly state: () => unknown
  readonly clock: DiskClock
  /** The log keeps this many settled deliveries, for this long. */
  readonly maxLogged: number
  readonly maxLoggedMs: number
  /** With the disk. @default {@link PATIENCE} */
  readonly patience?: Patience | undefined
}

/**
 * Decides what goes to the journal when, and keeps the journal open: while it cannot be opened or written, everything
 * stays in memory, and it is tried again.
 *
 * One operation of the disk at a time ({@link Turns}). The journal is
 *
 * - *absent*: not open yet, or it could not be opened;
 * - *open*;
 * - *broken*: a write has failed. It can be read until it is opened again, for which the disk needs to have room;
 * - *hanging*: an operation takes too long. Nothing else is begun until that has ended, then it is opened again.
 *
 * In all but *open*, whatever is in memory counts as not on disk (`stored` is 0), so that it stays there.
 */
export class Recorder {
  readonly #options: RecorderOptions
  #journal: Store | undefined
  #isBroken = false
  /** Has been open once. */
  #wasOpen = false
  /** The last one: knows what was on disk, open or not. */
  #last: Store | undefined
  readonly #patience: Patience
  readonly #turns: Turns
  readonly #dirty: DirtySet
  #trimmedAt = 0
  /** The greatest number that was ever kept: what has a greater one on disk is of an engine that came after this one. */
  #newest = 0
  #isHurried = false
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #isClosed = false
  /** {@link close} has settled. */
  #isOver = false

  constructor(options: RecorderOptions) {
    this.#options = options
    this.#dirty = new DirtySet(options.maxLogged)
    this.#patience = options.patience ?? PATIENCE
    this.#turns = new Turns(
      this.#patience.readMs,
      () => this.#breakOff(NO_ANSWER),
      () => this.#openAfter(0)
    )
    this.#turns.next(this.#opening)
  }

  /** Numbers of what has ended, and may be on disk. */
  unremoved(): Iterable<number> {
    return this.#dirty.unremoved()
  }

  /** Whether what is written will soon be on disk, and can be read back. */
  get isInUse(): boolean {
    return this.#isWritable
  }

  /** Whether what is on disk only can be read back at present. */
  get isReadable(): boolean {
    return this.#journal !== undefined && !this.#turns.isHanging
  }

  /** On disk of what is kept. */
  get bytes(): number {
    return Math.max(0, (this.#journal?.bytes ?? 0) - this.#dirty.endedBytes)
  }

  /** The ledger's `onChange`. @param before - `undefined`: it is new, or taken over from `onOpen` */
  heard(kept: Kept, before: State | undefined): void {
    if (kept.state.name === 'ended' && kept.stored === 0 && !this.#isWritable) {
      // it counts as not on disk, and may be there
      const size = this.#last?.sizeOf(kept.number) ?? 0
      if (size > 0) {
        this.#dirty.remove(kept.number, size)
      }
    }
    this.#newest = Math.max(this.#newest, kept.number)
    const news = this.#dirty.heard(kept, before, this.#isWritable)
    if (news !== undefined) {
      const isMuch = this.#dirty.unsavedBytes > EAGER_BYTES
      this.#schedule(news === 'only counted' ? WRITE_LOG_AFTER_MS : isMuch ? 0 : WRITE_AFTER_MS)
    }
  }

  /** A row for the delivery log. */
  log(row: LogRow): void {
    this.#dirty.log(row)
    this.#schedule(WRITE_LOG_AFTER_MS)
  }

  stateChanged(): void {
    this.#dirty.stateChanged()
    this.#schedule(WRITE_LOG_AFTER_MS)
  }

  /** Memory is short: what is not written is written now. */
  hurry(): void {
    this.#isHurried = true
    this.#schedule(0)
  }

  /** Reads back what is on disk only. `undefined` if it is damaged; rejects while the journal cannot be read. */
  async read({ number }: Kept): Promise<Content | undefined> {
    const found = await this.#read(journal => journal.read(number))
    const { headers = [], ...payload } = found ?? {}
    return 'body' in payload ? { payload, headers } : undefined
  }

  /** The rows of the delivery log, the latest first; those on disk only while it can be read. */
  async *readLog(): AsyncGenerator<LogRow> {
    if (this.#journal === undefined || this.#turns.isHanging) {
      yield* this.#dirty.rows
      return
    }
    // in its turn, as a row that is being written is neither here nor there
    const { unwritten, written } = await this.#read(async journal => ({
      unwritten: this.#dirty.rows,
      written: journal.readLog()[Symbol.asyncIterator](),
    }))
    yield* unwritten
    yield* inTurns(written, take => this.#read(take))
  }

  /** Before {@link close}: what is read is no longer needed, and no reason to wait for the disk. */
  stopReading(): void {
    this.#turns.refuseReads()
  }

  /**
   * Writes what is left, and closes the journal; settles within that time whatever the disk does. What has no `stored`
   * then is not on disk. If the disk comes back later, what has been ended by then is removed from it.
   */
  async close(withinMs: number): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>(resolve => {
      timer = setTimeout(resolve, withinMs)
    })
    await Promise.race([this.#shutDown(), timeout])
    clearTimeout(timer)
    this.#isOver = true
    this.#recallStored()
  }

  async #shutDown(): Promise<void> {
    await this.#turns.close()
    for (let tries = 0; tries < 2 && this.#wasOpen && !this.#dirty.isEmpty; ++tries) {
      if (!this.#isWritable) {
        await this.#turns.last(this.#opening)
      }
      while (this.#isWritable && !this.#dirty.isEmpty) {
        await this.#turns.last(this.#writingUntil(Number.POSITIVE_INFINITY))
      }
    }
    await this.#journal?.close().catch(() => {})
  }

  /** A journal that failed after it had written something holds that still: the next start takes it over. */
  #recallStored(): void {
    for (const kept of this.#onDisk()) {
      kept.stored = this.#last!.sizeOf(kept.number)
    }
  }

  /** What is kept of what was on disk when that was last known. */
  #onDisk(): Kept[] {
    const all = this.#options.kept()
    return [...(this.#last?.numbers() ?? [])].flatMap(number => all.get(number) ?? [])
  }

  get #isWritable(): boolean {
    return this.#journal !== undefined && !this.#isBroken && !this.#turns.isHanging
  }

  #schedule(delayMs: number): void {
    if (this.#isWritable && performance.now() + delayMs < this.#timerAt) {
      this.#after(delayMs, () => this.#writingUntil(performance.now() - WRITE_FROM_AGE_MS))
    }
  }

  #openAfter(delayMs: number): void {
    this.#after(delayMs, () => this.#opening)
  }

  #after(delayMs: number, step: () => Step): void {
    clearTimeout(this.#timer)
    if (this.#isClosed) {
      return
    }
    this.#timerAt = performance.now() + delayMs
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY
      this.#turns.next(step())
    }, delayMs).unref()
  }

  get #opening(): Step {
    return { withinMs: this.#patience.openMs, run: isAlive => this.#open(isAlive), afterHanging: () => {} }
  }

  #writingUntil(takenBefore: number): Step {
    // what a write that took too long says of itself is of no use any more: what is on disk is found on opening
    return {
      withinMs: this.#patience.writeMs,
      run: () => this.#write(takenBefore),
      afterHanging: () => this.#openAfter(0),
    }
  }

  #read<T>(run: (journal: Store) => Promise<T>): Promise<T> {
    return this.#turns.read(async () => {
      if (this.#journal === undefined) {
        throw new Error('the journal is not open')
      }
      return run(this.#journal)
    })
  }

  #breakOff(problem: string): void {
    this.#isBroken = true
    this.#dirty.unsaveAll(this.#onDisk())
    this.#options.onProblem(problem)
  }

  #fail(error: unknown): void {
    this.#breakOff(problemOf(error))
    this.#openAfter(this.#patience.reopenMs)
  }

  async #open(isAlive: () => void): Promise<void> {
    try {
      // while the disk is full it could not be opened again, and what is only there could not be sent
      await this.#journal?.probeRoom()
      const old = this.#journal
      this.#journal = undefined
      await old?.close().catch(() => {})
      const { journal, recovered } = await this.#options.open(isAlive)
      isAlive()
      await this.#takeOver(journal, recovered)
    } catch (error) {
      this.#fail(error)
    }
  }

  /** @throws what `onOpen` throws */
  async #takeOver(journal: Store, recovered: Recovered): Promise<void> {
    const { onOpen, onProblem, clock } = this.#options
    if (this.#isOver && !this.#wasOpen) {
      await journal.close()
      return
    }
    const gone = this.#dirty.gone(this.#onDisk(), number => journal.sizeOf(number))
    try {
      this.#journal = this.#last = journal
      this.#isBroken = false
      if (!this.#wasOpen) {
        clock.continue(recovered.clock)
      }
      onOpen(this.#reconcile(recovered), !this.#wasOpen, gone)
    } catch (error) {
      this.#journal = undefined
      await journal.close().catch(() => {})
      throw error
    }
    this.#wasOpen = true
    this.#dirty.stateChanged()
    onProblem(undefined)
    this.#schedule(0)
  }

  /** Puts in order what is in the store and in memory. @returns what is left to be taken over */
  #reconcile(recovered: Recovered): Recovered {
    this.#dirty.forgetEnded()
    const left: RecoveredDelivery[] = []
    let lost = this.#wasOpen ? 0 : recovered.lost
    const all = this.#options.kept()
    for (const found of recovered.deliveries) {
      const { number, id } = found.delivery
      const kept = all.get(number)
      if (kept !== undefined && kept.id === id && kept.state.name !== 'ended') {
        const isCurrent = isSameProgress(progressOf(kept, this.#options.clock), found.progress)
        this.#dirty.isOnDisk(kept, found.stored, isCurrent)
      } else if (kept === undefined && !this.#wasOpen) {
        left.push(found)
      } else if (!this.#wasOpen || number <= this.#newest) {
        // has ended meanwhile; or, before the first opening, another one was given its number
        lost += this.#wasOpen ? 0 : 1
        this.#dirty.remove(number, found.stored)
      }
    }
    return { ...recovered, deliveries: left, lost }
  }

  /** Writes what is older than `takenBefore`, and what else has changed. */
  async #write(takenBefore: number): Promise<void> {
    const journal = this.#journal
    if (journal === undefined || !this.#isWritable || this.#dirty.isEmpty) {
      return
    }
    const isAll = this.#isHurried || this.#dirty.unsavedBytes > EAGER_BYTES
    this.#isHurried = false
    await this.#writeBatch(journal, this.#dirty.take(isAll ? Number.POSITIVE_INFINITY : takenBefore))
    const since = this.#dirty.unsavedSince
    if (since < Number.POSITIVE_INFINITY) {
      this.#schedule(isAll ? 0 : Math.max(0, since + WRITE_AFTER_MS - performance.now()))
    }
  }

  /** Never rejects. */
  async #writeBatch(journal: Store, writing: Writing): Promise<void> {
    const { clock, state, maxLogged, maxLoggedMs } = this.#options
    const now = Date.now()
    if (Math.abs(now - this.#trimmedAt) > TRIM_LOG_EVERY_MS) {
      this.#trimmedAt = now
      journal.trimLog(maxLogged, now - maxLoggedMs)
    }
    try {
      await journal.write({
        added: writing.added.map(kept => ({
          delivery: storedOf(kept, clock),
          body: kept.content!.payload.body,
          progress: progressOf(kept, clock),
        })),
        changed: new Map(
          writing.changed.map((kept): [number, StoredProgress | undefined] => [kept.number, progressOf(kept, clock)])
        ),
        ended: writing.ended,
        rows: writing.rows,
        // an engine that has come after this one has written its own meanwhile
        engine: this.#isOver ? undefined : { state: state(), clock: clock.stamp() },
      })
    } catch (error) {
      if (this.#dirty.isBeingWritten(writing)) {
        this.#fail(error)
      }
      return
    }
    if (this.#dirty.isBeingWritten(writing)) {
      const saved = this.#dirty.written(writing, number => journal.sizeOf(number))
      if (this.#dirty.endedBytes > 0) {
        this.#schedule(WRITE_AFTER_MS)
      }
      if (saved.length > 0) {
        this.#options.onSaved(saved)
      }
    }
  }
}
