import { join } from 'node:path'

import { ClassicLevel } from 'classic-level'

import { isDamage, makePrivate, openLevel, probeRoom } from './level.ts'
import type { Level } from './level.ts'
import { LiveNumbers, runsOf } from './live-numbers.ts'
import { logPage, readStore } from './recovery.ts'
import type { LogPage, Recovered, StoreFound } from './recovery.ts'
import { decodeContent, decodeRecord, encodeDelivery, encodeRecord, KEYS, parseRows } from './stored.ts'
import type { LogRow, Stamp, StoredContent, StoredDelivery, StoredProgress } from './stored.ts'

export { reasonOf } from './level.ts'
export type { Recovered, RecoveredDelivery } from './recovery.ts'
export type { LogRow, StoredContent, StoredDelivery, StoredProgress } from './stored.ts'

/** Space that was freed is given back to the disk in steps of this. */
const COMPACT_EVERY_BYTES = 64 * 1024 * 1024
/** Changes of numbers that could not be written to their file are kept up to this many. */
const MAX_UNTOLD = 20_000

/** What goes to disk together, or not at all. */
export interface Batch {
  readonly added: readonly {
    readonly delivery: StoredDelivery
    readonly body: Buffer
    readonly progress?: StoredProgress | undefined
  }[]
  /** By number; `undefined`: it is as it was accepted again. */
  readonly changed: ReadonlyMap<number, StoredProgress | undefined>
  /** Numbers of what is no longer kept; they go before what is added comes. */
  readonly ended: Iterable<number>
  readonly rows: readonly LogRow[]
  /** The engine's. The totals in it go with the removals that they count. Without, both stay as they are. */
  readonly engine?: { readonly state: unknown; readonly clock: Stamp } | undefined
}

/** Which numbers a batch was about, as runs: `1-3,9`. */
interface Untold {
  readonly ended: string
  readonly added: string
}

type Operation = { type: 'put'; key: string; value: Buffer } | { type: 'del'; key: string }

/**
 * The on-disk record of deliveries: what is pending or dead, to survive a restart, and what became of the rest, the
 * delivery log. Without `fsync`: it survives a crash of the process, not that of the machine.
 *
 * An embedded LevelDB, in `journal/` of the plugin's data directory: deliveries with their bodies `d!<number>`, how far
 * they have come `p!<number>`, pages of the log `log!n`, and single records `state`, `batch` and `version`. Beside it
 * `journal.numbers` ({@link LiveNumbers}).
 *
 * One operation at a time, but for compaction: whoever calls waits for one before the next.
 */
export class Journal {
  readonly #db: Level
  readonly #numbers: LiveNumbers
  /** By number, bytes on disk: of the delivery with its key, and of its progress if there is any. */
  readonly #sizes = new Map<number, number>()
  readonly #progressSizes: Map<number, number>
  #bytes = 0
  #freedBytes = 0
  #isCompacting = false
  #next: number
  /** Of the last batch, and of the last that the file of numbers knows. */
  #sequence: number
  #toldSequence: number
  /** What has changed between those. */
  readonly #untoldAdded = new Set<number>()
  readonly #untoldEnded = new Set<number>()
  readonly #logPages: LogPage[]
  #nextLogPage: number
  #trimmedLogPages: string[] = []
  /** LevelDB has met something that it cannot read. */
  #isDamaged = false
  /** A write has failed: LevelDB's log may end in half a record, behind which nothing would be read. */
  #isBroken = false

  private constructor(db: Level, numbers: LiveNumbers, { recovered, progressSizes, sequence, logPages }: StoreFound) {
    this.#db = db
    this.#numbers = numbers
    this.#progressSizes = new Map(progressSizes)
    for (const { delivery, stored } of recovered.deliveries) {
      this.#sizes.set(delivery.number, stored - (progressSizes.get(delivery.number) ?? 0))
      this.#bytes += stored
    }
    this.#next = recovered.next
    this.#sequence = sequence
    this.#toldSequence = sequence
    this.#logPages = [...logPages]
    this.#nextLogPage = (logPages.at(-1)?.number ?? -1) + 1
  }

  /**
   * @param isAlive - called now and then while much is read
   * @throws when it cannot be opened: locked by another process, no space, no permission, of a later version, or damaged
   *   beyond what LevelDB can repair
   */
  static open(directory: string, isAlive: () => void = () => {}): Promise<{ journal: Journal; recovered: Recovered }> {
    const path = join(directory, 'journal.numbers')
    return openLevel(join(directory, 'journal'), async db => {
      const found = await readStore(db, await LiveNumbers.read(path), isAlive)
      await makePrivate(db.location)
      const journal = new Journal(db, new LiveNumbers(path), found)
      await journal.#tellNumbers(journal.#untold())
      return { journal, recovered: found.recovered }
    })
  }

  /** Of what is kept: keys and values. */
  get bytes(): number {
    return this.#bytes
  }

  /** What is kept. */
  numbers(): Iterable<number> {
    return this.#sizes.keys()
  }

  /** Bytes on disk of a delivery; 0: it is not there. */
  sizeOf(number: number): number {
    return (this.#sizes.get(number) ?? 0) + (this.#progressSizes.get(number) ?? 0)
  }

  /**
   * Writes a batch, as a whole or not at all.
   *
   * Rejects when it cannot be written: nothing of it may be relied on, and the journal has to be opened again to be
   * written. It can still be read.
   */
  async write({ added, changed, ended, rows, engine }: Batch): Promise<void> {
    if (this.#isBroken) {
      throw new Error('the journal has to be opened again')
    }
    const sizes = new Map<number, number>()
    const progressSizes = new Map<number, number>()
    const operations: Operation[] = []
    const put = (key: string, value: Buffer): number => {
      operations.push({ type: 'put', key, value })
      return key.length + value.length
    }
    const setProgress = (number: number, progress: StoredProgress | undefined): void => {
      const key = KEYS.progress(number)
      if (progress !== undefined) {
        progressSizes.set(number, put(key, encodeRecord(progress)))
      } else if (this.#progressSizes.has(number)) {
        operations.push({ type: 'del', key })
        progressSizes.set(number, 0)
      }
    }
    for (const number of ended) {
      operations.push({ type: 'del', key: KEYS.delivery(number) })
      setProgress(number, undefined)
      sizes.set(number, 0)
      this.#untoldAdded.delete(number)
      this.#untoldEnded.add(number)
    }
    for (const { delivery, body, progress } of added) {
      const { number } = delivery
      sizes.set(number, put(KEYS.delivery(number), encodeDelivery(delivery, body)))
      setProgress(number, progress)
      this.#untoldAdded.add(number)
    }
    for (const [number, progress] of changed) {
      // without its delivery it would wait for another of that number
      if (sizes.get(number) ?? this.#sizes.get(number)) {
        setProgress(number, progress)
      }
    }
    if (rows.length > 0) {
      put(KEYS.logPage(this.#nextLogPage), encodeRecord(rows))
    }
    operations.push(...this.#trimmedLogPages.map(key => ({ type: 'del' as const, key })))
    if (engine !== undefined) {
      put(KEYS.engine, encodeRecord(engine))
    }
    ++this.#sequence
    this.#limitUntold()
    const untold = this.#untold()
    // a journal whose file of numbers is behind says with each batch what the file does not
    put(KEYS.batch, encodeRecord({ sequence: this.#sequence, since: this.#toldSequence, ...untold }))

    try {
      await this.#db.batch(operations)
    } catch (error) {
      this.#isBroken = true
      this.#isDamaged ||= isDamage(error)
      throw error
    }
    this.#setSizes(sizes, progressSizes)
    if (rows.length > 0) {
      this.#logPages.push(logPage(this.#nextLogPage++, rows))
    }
    this.#trimmedLogPages = []
    await this.#tellNumbers(untold)
    this.#compact()
  }

  /** Reads a delivery back. `undefined`: it is damaged, or gone; rejects if the store cannot be read at all. */
  async read(number: number): Promise<StoredContent | undefined> {
    const value = await this.#db.get(KEYS.delivery(number)).catch((error: unknown) => {
      if (!isDamage(error)) {
        throw error
      }
      this.#isDamaged = true
      return undefined
    })
    return decodeContent(value, number)
  }

  /** The rows of the delivery log as of now, the latest first. */
  readLog(): AsyncIterable<LogRow> {
    return latestFirst(this.#db.values({ ...KEYS.logPages, reverse: true }))
  }

  /**
   * Lets go of the oldest rows of the log with the next batch, so that about `maxSettled` deliveries are left, none older
   * than `since` (epoch ms).
   */
  trimLog(maxSettled: number, since: number): void {
    let settled = this.#logPages.reduce((sum, page) => sum + page.settled, 0)
    for (let page = this.#logPages[0]; page !== undefined; page = this.#logPages[0]) {
      if (settled - page.settled < maxSettled && page.newestAt >= since) {
        return
      }
      settled -= page.settled
      this.#logPages.shift()
      this.#trimmedLogPages.push(KEYS.logPage(page.number))
    }
  }

  /** Whether the disk has room to open it again, which closing it for good depends on. @throws as the disk says */
  probeRoom(): Promise<void> {
    return probeRoom(this.#db.location)
  }

  /** What has been written stays. Whatever is being read rejects. */
  async close(): Promise<void> {
    await this.#db.close()
    await this.#numbers.close()
    if (this.#isDamaged) {
      // opening looks at little of what is there: it would not find this again
      await ClassicLevel.repair(this.#db.location).catch(() => {})
    }
  }

  #setSizes(sizes: ReadonlyMap<number, number>, progressSizes: ReadonlyMap<number, number>): void {
    for (const [of, changes] of [
      [this.#sizes, sizes],
      [this.#progressSizes, progressSizes],
    ] as const) {
      for (const [number, size] of changes) {
        const before = of.get(number) ?? 0
        this.#bytes += size - before
        this.#freedBytes += before
        if (size > 0) {
          of.set(number, size)
        } else {
          of.delete(number)
        }
        this.#next = Math.max(this.#next, number + 1)
      }
    }
  }

  #untold(): Untold {
    return { ended: runsOf(this.#untoldEnded), added: runsOf(this.#untoldAdded) }
  }

  /** The file has not been written for long: from now on it says nothing until it is written as a whole. */
  #limitUntold(): void {
    if (this.#sequence > this.#toldSequence + 1 && this.#untoldAdded.size + this.#untoldEnded.size > MAX_UNTOLD) {
      this.#toldSequence = this.#sequence
      this.#untoldAdded.clear()
      this.#untoldEnded.clear()
    }
  }

  /** Nothing depends on the file of numbers: what cannot be written now is with the next batch. */
  async #tellNumbers(untold: Untold): Promise<void> {
    try {
      if (this.#numbers.needsRewrite) {
        await this.#numbers.rewrite(this.#sequence, this.#sizes.keys(), this.#next)
      } else {
        await this.#numbers.append({ sequence: this.#sequence, ...untold })
      }
    } catch {
      return
    }
    this.#toldSequence = this.#sequence
    this.#untoldAdded.clear()
    this.#untoldEnded.clear()
  }

  /** Nobody waits for it: what is new would stay in memory for as long. */
  #compact(): void {
    if (this.#freedBytes > COMPACT_EVERY_BYTES && !this.#isCompacting) {
      this.#freedBytes = 0
      this.#isCompacting = true
      this.#db
        .compactRange(KEYS.deliveries.gt, KEYS.deliveries.lt)
        .catch(() => {})
        .finally(() => {
          this.#isCompacting = false
        })
    }
  }
}

async function* latestFirst(pages: AsyncIterable<Buffer>): AsyncGenerator<LogRow> {
  for await (const page of pages) {
    yield* parseRows(decodeRecord(page)).toReversed()
  }
}
