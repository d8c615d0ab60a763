import { isSameProgress, progressOf, storedOf } from './clock.ts'
import type { DiskClock } from './clock.ts'
import { reasonOf } from './journal.ts'
import type { Journal, LogRow, Recovered, RecoveredDelivery, StoredProgress } from './journal.ts'
import type { Content, Kept, State } from './kept.ts'
import { Unsaved } from './unsaved.ts'

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

/** A disk that has not answered for so long is given up until it does. */
const OPEN_WITHIN_MS = 3_000
const WRITE_WITHIN_MS = 5_000
const READ_WITHIN_MS = 5_000
/** Rows of the log that are read in one turn. */
const ROWS_A_TURN = 200

const NO_ANSWER = 'the data directory does not answer'

export interface RecorderOptions {
  /** `isAlive` is called while much is read: that is no disk that hangs. */
  readonly open: (isAlive: () => void) => Promise<{ journal: Journal; recovered: Recovered }>
  /**
   * The journal is open; called before anything is written, and the disk's clock is the right one by then. `isFirst`:
   * `recovered` is from an earlier run, to be taken over. Else it is from this one, and the recorder has seen to it:
   * `recovered` has no deliveries then.
   */
  readonly onOpen: (recovered: Recovered, isFirst: boolean) => void
  /** These are on disk now (`stored` is set), and need not be in memory. */
  readonly onSaved: (kept: readonly Kept[]) => void
  /** Why the journal cannot be used at present; `undefined`: it can. */
  readonly onProblem: (problem: string | undefined) => void
  /** What is kept under a number, if anything. */
  readonly isKept: (number: number) => Kept | undefined
  /** The engine's state, asked for with every write. */
  readonly state: () => unknown
  readonly clock: DiskClock
  /** The log keeps this many settled deliveries, for this long. */
  readonly maxLogged: number
  readonly maxLoggedMs: number
}

/** What is being written. */
interface Writing {
  readonly added: readonly Kept[]
  readonly changed: readonly Kept[]
  /** Numbers, and their bytes on disk. */
  readonly ended: ReadonlySet<number>
  readonly endedBytes: number
  readonly rows: readonly LogRow[]
}

/** Something that is to be done with the open journal. */
interface Turn {
  readonly run: (journal: Journal) => Promise<void>
  readonly fail: (error: Error) => void
}

/**
 * Decides what goes to the journal when, and keeps the journal open: while it cannot be opened or written, everything
 * stays in memory, and it is tried again.
 *
 * One operation of the disk at a time, since the process has few threads for them: to open or to write goes first, then
 * come reads in the order in which they were asked for. The journal is
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
  #journal: Journal | undefined
  #isBroken = false
  #isHanging = false
  /** Has been open once. */
  #wasOpen = false
  /** The last one: knows what was on disk, open or not. */
  #last: Journal | undefined
  #operation: Promise<void> | undefined
  #step: (() => Promise<void>) | undefined
  #turns: Turn[] = []
  readonly #unsaved = new Unsaved()
  /** On disk, and not as it is in memory. */
  #changed = new Set<Kept>()
  /** On disk, and no longer kept: their numbers, and their bytes on disk. */
  #ended = new Set<number>()
  #endedBytes = 0
  #writing: Writing | undefined
  readonly #beingAdded = new Set<Kept>()
  /** The engine's state is to be written. */
  #isStateDirty = false
  #rows: LogRow[] = []
  #trimmedAt = 0
  #isHurried = false
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #isClosed = false
  /** {@link close} has settled. */
  #isOver = false

  constructor(options: RecorderOptions) {
    this.#options = options
    this.#step = () => this.#open()
    this.#pump()
  }

  /** On disk of what is kept. */
  get bytes(): number {
    return Math.max(0, (this.#journal?.bytes ?? 0) - this.#endedBytes - (this.#writing?.endedBytes ?? 0))
  }

  /** The ledger's `onChange`. @param before - `undefined`: it is new, or taken over from `onOpen` */
  heard(kept: Kept, before: State | undefined): void {
    const { state } = kept
    if (state.name === 'ended') {
      this.#hasEnded(kept)
    } else if (before === undefined) {
      if (kept.stored === 0) {
        this.#unsaved.push(kept, performance.now())
        this.#schedule(this.#unsaved.bytes > EAGER_BYTES ? 0 : WRITE_AFTER_MS)
      }
    } else if (isNews(state, before) && (kept.stored > 0 || this.#beingAdded.has(kept)) && this.#isWritable) {
      this.#changed.add(kept)
      this.#schedule(WRITE_AFTER_MS)
    }
  }

  /** A row for the delivery log. */
  log(row: LogRow): void {
    this.#rows.push(row)
    this.#limitRows()
    this.stateChanged()
  }

  stateChanged(): void {
    this.#isStateDirty = true
    this.#schedule(WRITE_LOG_AFTER_MS)
  }

  /** Memory is short: what is not written is written now. */
  hurry(): void {
    this.#isHurried = true
    this.#schedule(0)
  }

  /** Reads back what is on disk only. `undefined` if it is damaged; rejects while the journal cannot be read. */
  async read({ number }: Kept): Promise<Content | undefined> {
    const found = await this.#turn(journal => journal.read(number))
    return found && { payload: { contentType: found.contentType, body: found.body }, headers: found.headers }
  }

  /** The rows of the delivery log, the latest first; those on disk only while it can be read. */
  async *readLog(): AsyncGenerator<LogRow> {
    if (this.#journal === undefined || this.#isHanging) {
      yield* this.#rows.toReversed()
      return
    }
    // in its turn, as a row that is being written is neither here nor there
    const { unwritten, written } = await this.#turn(async journal => ({
      unwritten: this.#rows.toReversed(),
      written: journal.readLog()[Symbol.asyncIterator](),
    }))
    try {
      yield* unwritten
      for (let rows: LogRow[] | undefined = []; rows !== undefined; rows = await this.#turn(() => someOf(written))) {
        yield* rows
      }
    } finally {
      await written.return?.()
    }
  }

  /**
   * Writes what is left, and closes the journal; settles within that time whatever the disk does. What has no `stored`
   * then is not on disk. If the disk comes back later, what has been ended by then is removed from it.
   */
  async close(withinMs: number): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#step = undefined
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>(resolve => {
      timer = setTimeout(resolve, withinMs)
    })
    await Promise.race([this.#shutDown(), timeout])
    clearTimeout(timer)
    this.#isOver = true
    this.#failTurns()
    this.#recallStored()
  }

  async #shutDown(): Promise<void> {
    while (this.#operation !== undefined) {
      await this.#operation
    }
    // nothing else begins
    this.#operation = new Promise(() => {})
    this.#failTurns()
    if (this.#wasOpen && !this.#isWritable) {
      await this.#open()
    }
    while (this.#isWritable && this.#isDirty) {
      await this.#write(Number.POSITIVE_INFINITY)
    }
    await this.#journal?.close().catch(() => {})
  }

  /** A journal that failed after it had written something holds that still: the next start takes it over. */
  #recallStored(): void {
    for (const number of this.#last?.numbers() ?? []) {
      const kept = this.#options.isKept(number)
      if (kept !== undefined && kept.state.name !== 'ended') {
        kept.stored = this.#last!.sizeOf(number)
      }
    }
  }

  get #isWritable(): boolean {
    return this.#journal !== undefined && !this.#isBroken && !this.#isHanging
  }

  get #isDirty(): boolean {
    return (
      this.#unsaved.size > 0 ||
      this.#changed.size > 0 ||
      this.#ended.size > 0 ||
      this.#rows.length > 0 ||
      this.#isStateDirty
    )
  }

  /** What was never written never is: that it has ended is in the totals of the engine's state. */
  #hasEnded(kept: Kept): void {
    this.#unsaved.delete(kept)
    this.#changed.delete(kept)
    if (kept.stored > 0 && this.#isWritable) {
      this.#remove(kept.number, kept.stored)
    }
    kept.stored = 0
    this.#isStateDirty = true
    this.#schedule(this.#ended.size > 0 ? WRITE_AFTER_MS : WRITE_LOG_AFTER_MS)
  }

  #remove(number: number, stored: number): void {
    this.#ended.add(number)
    this.#endedBytes += stored
  }

  #limitRows(): void {
    if (this.#rows.length > 2 * this.#options.maxLogged) {
      this.#rows = this.#rows.slice(-this.#options.maxLogged)
    }
  }

  #schedule(delayMs: number): void {
    if (this.#isWritable && performance.now() + delayMs < this.#timerAt) {
      this.#after(delayMs, () => this.#write(performance.now() - WRITE_FROM_AGE_MS))
    }
  }

  #after(delayMs: number, step: () => Promise<void>): void {
    clearTimeout(this.#timer)
    if (this.#isClosed) {
      return
    }
    this.#timerAt = performance.now() + delayMs
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY
      this.#step = step
      this.#pump()
    }, delayMs).unref()
  }

  /** Begins the next operation, if none is under way. */
  #pump(): void {
    if (this.#operation !== undefined) {
      return
    }
    const next = this.#step ?? this.#nextTurn()
    if (next === undefined) {
      return
    }
    this.#step = undefined
    this.#operation = next().finally(() => {
      this.#operation = undefined
      this.#pump()
    })
  }

  #nextTurn(): (() => Promise<void>) | undefined {
    const turn = this.#turns.shift()
    if (turn === undefined) {
      return undefined
    }
    const journal = this.#journal
    return async () => {
      if (journal === undefined) {
        turn.fail(new Error('the journal is not open'))
      } else if (
        await this.#watch(
          READ_WITHIN_MS,
          () => turn.run(journal),
          () => this.#hang()
        )
      ) {
        this.#after(0, () => this.#open())
      }
    }
  }

  /** Does something with the journal when its turn comes; rejects if that is not within 5 s. */
  #turn<T>(run: (journal: Journal) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#isHanging || this.#isClosed) {
        reject(new Error(this.#isHanging ? NO_ANSWER : 'the journal is closed'))
        return
      }
      const timer = setTimeout(() => reject(new Error(NO_ANSWER)), READ_WITHIN_MS).unref()
      const fail = (error: Error): void => {
        clearTimeout(timer)
        reject(error)
      }
      this.#turns.push({
        run: journal =>
          run(journal).then(
            value => {
              clearTimeout(timer)
              resolve(value)
            },
            error => fail(error as Error)
          ),
        fail,
      })
      this.#pump()
    })
  }

  #failTurns(): void {
    const turns = this.#turns
    this.#turns = []
    for (const { fail } of turns) {
      fail(new Error(this.#isHanging ? NO_ANSWER : 'the journal is closed'))
    }
  }

  /** @returns whether it took too long, in which case `onLate` was called meanwhile */
  async #watch(withinMs: number, run: (isAlive: () => void) => Promise<void>, onLate: () => void): Promise<boolean> {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      onLate()
    }, withinMs).unref()
    await run(() => void (isLate || timer.refresh()))
    clearTimeout(timer)
    this.#isHanging &&= !isLate
    return isLate
  }

  #hang(): void {
    this.#isHanging = true
    this.#isBroken = true
    this.#failTurns()
    this.#unsaveAll()
    this.#options.onProblem(NO_ANSWER)
  }

  #fail(error: unknown): void {
    this.#isBroken = true
    this.#unsaveAll()
    this.#options.onProblem(reasonOf(error))
    this.#after(REOPEN_AFTER_MS, () => this.#open())
  }

  async #open(): Promise<void> {
    await this.#watch(
      OPEN_WITHIN_MS,
      async isAlive => {
        try {
          // while the disk is full it could not be opened again, and what is only there could not be sent
          await this.#journal?.probeRoom()
          const old = this.#journal
          this.#journal = undefined
          await old?.close().catch(() => {})
          const { journal, recovered } = await this.#options.open(isAlive)
          await this.#takeOver(journal, recovered)
        } catch (error) {
          this.#isHanging = false
          this.#fail(error)
        }
      },
      () => this.#hang()
    )
  }

  /** @throws what `onOpen` throws */
  async #takeOver(journal: Journal, recovered: Recovered): Promise<void> {
    const { onOpen, onProblem, clock } = this.#options
    if (this.#isOver && !this.#wasOpen) {
      await journal.close()
      return
    }
    try {
      this.#journal = this.#last = journal
      this.#isBroken = false
      this.#isHanging = false
      if (!this.#wasOpen) {
        clock.continue(recovered.clock)
      }
      onOpen(this.#reconcile(recovered), !this.#wasOpen)
    } catch (error) {
      this.#journal = undefined
      await journal.close().catch(() => {})
      throw error
    }
    this.#wasOpen = true
    this.#isStateDirty = true
    onProblem(undefined)
    this.#schedule(0)
  }

  /** Puts in order what is in the store and in memory. @returns what is left to be taken over */
  #reconcile(recovered: Recovered): Recovered {
    const left: RecoveredDelivery[] = []
    let lost = this.#wasOpen ? 0 : recovered.lost
    for (const found of recovered.deliveries) {
      const { number, id } = found.delivery
      const kept = this.#options.isKept(number)
      if (kept !== undefined && kept.id === id && kept.state.name !== 'ended') {
        this.#unsaved.delete(kept)
        kept.stored = found.stored
        if (!isSameProgress(progressOf(kept, this.#options.clock), found.progress)) {
          this.#changed.add(kept)
        }
      } else if (kept === undefined && !this.#wasOpen) {
        left.push(found)
      } else {
        // has ended meanwhile; or, before the first opening, another one was given its number
        lost += this.#wasOpen ? 0 : 1
        this.#remove(number, found.stored)
      }
    }
    return { ...recovered, deliveries: left, lost }
  }

  /** Writes what is older than `takenBefore`, and what else has changed. */
  async #write(takenBefore: number): Promise<void> {
    const journal = this.#journal
    if (journal === undefined || !this.#isWritable || !this.#isDirty) {
      return
    }
    const isAll = this.#isHurried || this.#unsaved.bytes > EAGER_BYTES
    this.#isHurried = false
    const writing: Writing = {
      added: this.#unsaved.take(isAll ? Number.POSITIVE_INFINITY : takenBefore),
      changed: [...this.#changed],
      ended: this.#ended,
      endedBytes: this.#endedBytes,
      // what is beyond the log's length would be trimmed at once
      rows: this.#rows.slice(-this.#options.maxLogged),
    }
    this.#changed = new Set()
    this.#ended = new Set()
    this.#endedBytes = 0
    this.#rows = []
    this.#isStateDirty = false
    this.#writing = writing
    writing.added.forEach(kept => this.#beingAdded.add(kept))
    const isLate = await this.#watch(
      WRITE_WITHIN_MS,
      () => this.#writeBatch(journal, writing),
      () => this.#hang()
    )
    if (isLate) {
      // what it says of itself is of no use any more: what is on disk is found on opening
      if (this.#isClosed) {
        await this.#open()
      } else {
        this.#after(0, () => this.#open())
      }
    } else if (this.#unsaved.size > 0) {
      this.#schedule(isAll ? 0 : WRITE_AFTER_MS)
    }
  }

  /** Never rejects. */
  async #writeBatch(journal: Journal, writing: Writing): Promise<void> {
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
        state: state(),
        clock: clock.stamp(),
      })
    } catch (error) {
      if (this.#writing === writing) {
        this.#fail(error)
      }
      return
    }
    if (this.#writing === writing) {
      this.#written(journal, writing)
    }
  }

  #written(journal: Journal, { added, changed }: Writing): void {
    this.#writing = undefined
    this.#beingAdded.clear()
    for (const { number, state } of added) {
      if (state.name === 'ended') {
        this.#remove(number, journal.sizeOf(number))
        this.#schedule(WRITE_AFTER_MS)
      }
    }
    const saved = added.filter(({ state }) => state.name !== 'ended')
    for (const kept of [...saved, ...changed.filter(({ state }) => state.name !== 'ended')]) {
      kept.stored = journal.sizeOf(kept.number)
    }
    if (saved.length > 0) {
      this.#options.onSaved(saved)
    }
  }

  /** What is in memory has to stay there, and is written again unless the store turns out to hold it. */
  #unsaveAll(): void {
    const writing = this.#writing
    this.#writing = undefined
    this.#beingAdded.clear()
    const before = this.#unsaved.take(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
    const onDisk = [...(this.#last?.numbers() ?? [])].flatMap(number => this.#options.isKept(number) ?? [])
    for (const kept of [...(writing?.added ?? []), ...onDisk, ...before]) {
      if (kept.content !== undefined && kept.state.name !== 'ended') {
        kept.stored = 0
        this.#unsaved.push(kept, 0)
      }
    }
    this.#changed.clear()
    this.#ended.clear()
    this.#endedBytes = 0
    this.#rows = [...(writing?.rows ?? []), ...this.#rows]
    this.#limitRows()
    this.#isStateDirty = true
  }
}

/** Whether a change makes a difference on disk: what is fresh, held or under way is written alike. */
function isNews({ name }: State, before: State): boolean {
  return name !== 'sending' && !((name === 'queued' || name === 'held') && isFresh(before))
}

function isFresh({ name }: State): boolean {
  return name === 'queued' || name === 'held'
}

/** `undefined`: there are no more. */
async function someOf(iterator: AsyncIterator<LogRow>): Promise<LogRow[] | undefined> {
  const rows: LogRow[] = []
  while (rows.length < ROWS_A_TURN) {
    const next = await iterator.next()
    if (next.done === true) {
      break
    }
    rows.push(next.value)
  }
  return rows.length === 0 ? undefined : rows
}
