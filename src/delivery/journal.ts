import { readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

import { ClassicLevel } from 'classic-level'

import type { Delivery } from './delivery.ts'
import type { Entry, Place } from './lane.ts'

/** Of what is written below. A store of a later version is left alone. */
const FORMAT_VERSION = 1

/** A page holds at most this many deliveries, and bodies of about this many bytes. */
const PAGE_DELIVERIES = 256
const PAGE_BYTES = 256 * 1024
/** Pages that were read last: what stands on one is mostly wanted together. */
const CACHED_PAGES = 8

/** Space that was freed is given back to the disk in steps of this. */
const COMPACT_EVERY_BYTES = 64 * 1024 * 1024

/** How far a delivery has come, as it is written: instants in epoch ms. */
export interface Progress {
  readonly attempts: number
  readonly failures: number
  readonly isDead: boolean
  /** Its next attempt was asked for. */
  readonly isReplay?: boolean
  /** It was replayed once: its lifetime is over, and does not count any more. */
  readonly isImmortal?: boolean
  readonly firstTriedAt?: number
  readonly dueAt?: number
}

export interface RecoveredDelivery {
  readonly stored: StoredDelivery
  readonly progress: Progress
  readonly place: Place
}

/** What {@link Journal.open} found. */
export interface Recovered {
  /** In the order in which they were accepted. */
  readonly deliveries: readonly RecoveredDelivery[]
  /** What was written with {@link Journal.writeState}. */
  readonly state: unknown
  /** Pages of deliveries that could not be read. A body that cannot be is found when its turn comes. */
  readonly damaged: number
}

/** A delivery without its body, as it is written. */
export interface StoredDelivery extends Omit<Delivery, 'payload'> {
  readonly contentType: string
  /** Where its body stands among those of its page; several may share one. */
  readonly offset: number
  readonly length: number
}

/** One row of the delivery log: an attempt, or how a delivery ended without one. */
export interface LogRow {
  readonly id: string
  readonly owner: string
  /** Epoch ms. */
  readonly at: number
  /** `undefined`: it goes on. */
  readonly settled?: string
  readonly [key: string]: unknown
}

/** Deliveries that were written together. It goes as a whole, when none of them is kept any more. */
interface Page {
  readonly number: number
  /** By index; `undefined` once it is no longer kept. */
  readonly entries: (Entry | undefined)[]
  live: number
  readonly bytes: number
  /** It is on disk, and can be read back. */
  isWritten: boolean
}

interface PageHead {
  readonly deliveries: readonly StoredDelivery[]
  /** Of the bodies. */
  readonly crc: number
}

/** What changes on a page. */
interface PageState {
  /** By index; absent for one that is as it was written. */
  readonly progress: Readonly<Record<string, Progress>>
  readonly settled: readonly number[]
}

interface LogPage {
  readonly number: number
  readonly settled: number
  readonly newestAt: number
}

type Operation = { type: 'put'; key: string; value: Buffer } | { type: 'del'; key: string }

const HEAD = 'head!'
const BODY = 'body!'
const STATE = 'state!'
const LOG = 'log!'
const VERSION = 'version'
const ENGINE = 'engine'

/**
 * The on-disk record of deliveries: what is pending or dead, to survive a restart, and what became of the rest, the
 * delivery log.
 *
 * Writes are collected, and go to disk with {@link flush}. They are grouped in pages: a delivery costs a share of one
 * write, and its end a bit of another. Without `fsync`: it survives a crash of the process, not that of the machine.
 *
 * An embedded LevelDB, in `journal/` of the plugin's data directory: pages `head!n` (deliveries, JSON), `body!n` (their
 * bodies), `state!n` (how far they have come), rows of the log `log!n`, and single records `engine` and `version`.
 */
export class Journal {
  readonly #db: ClassicLevel<string, Buffer>
  readonly #progressOf: (entry: Entry) => Progress
  #operations: Operation[] = []
  #flushing: Promise<void> = Promise.resolve()
  #nextPage = 0
  readonly #pages = new Set<Page>()
  /** Pages that are not on disk yet. */
  #added: Page[] = []
  /** Pages with changes that are not written yet. */
  readonly #changed = new Set<Page>()
  readonly #cache = new Map<number, Promise<Map<number, Delivery>>>()
  #bytes = 0
  #freedBytes = 0
  #rows: LogRow[] = []
  readonly #logPages: LogPage[] = []
  #nextLogPage = 0
  /** LevelDB has met something that it cannot read. */
  #isDamaged = false

  private constructor(db: ClassicLevel<string, Buffer>, progressOf: (entry: Entry) => Progress) {
    this.#db = db
    this.#progressOf = progressOf
  }

  /**
   * @param progressOf - how far an entry has come, asked for when it is written
   * @throws when it cannot be opened: locked by another process, no space, no permission, of a later version, or damaged
   *   beyond what LevelDB can repair
   */
  static async open(
    directory: string,
    progressOf: (entry: Entry) => Progress
  ): Promise<{ journal: Journal; recovered: Recovered }> {
    const location = join(directory, 'journal')
    return withRepair(location, async () => {
      const db = new ClassicLevel<string, Buffer>(location, { valueEncoding: 'buffer', compression: false })
      await db.open()
      try {
        const journal = new Journal(db, progressOf)
        return { journal, recovered: await journal.#recover() }
      } catch (error) {
        await db.close()
        throw error
      }
    })
  }

  /** Bytes of what is pending or dead. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether there is anything to flush. */
  get isDirty(): boolean {
    return this.#operations.length > 0 || this.#changed.size > 0 || this.#rows.length > 0
  }

  /** Writes entries of one lane, which have their deliveries in memory, and gives them their places. */
  add(entries: readonly Entry[]): void {
    let start = 0
    let bytes = 0
    for (const [index, entry] of entries.entries()) {
      bytes += entry.bytes
      if (index + 1 - start === PAGE_DELIVERIES || bytes >= PAGE_BYTES || index + 1 === entries.length) {
        this.#addPage(entries.slice(start, index + 1))
        start = index + 1
        bytes = 0
      }
    }
  }

  #addPage(entries: Entry[]): void {
    const bodies: Buffer[] = []
    const offsets = new Map<Buffer, number>()
    let length = 0
    const deliveries = entries.flatMap(({ delivery }): StoredDelivery[] => {
      if (delivery === undefined) {
        throw new Error('only what is in memory can be written')
      }
      const { payload, ...rest } = delivery
      const { body, contentType } = payload
      let offset = offsets.get(body)
      if (offset === undefined) {
        offset = length
        offsets.set(body, offset)
        bodies.push(body)
        length += body.length
      }
      return [{ ...rest, contentType, offset, length: body.length }]
    })
    const body = Buffer.concat(bodies, length)
    const head: PageHead = { deliveries, crc: crc32(body) }
    const headText = record(head)
    const page: Page = {
      number: this.#nextPage++,
      entries,
      live: entries.length,
      bytes: headText.length + length,
      isWritten: false,
    }
    for (const [index, entry] of entries.entries()) {
      entry.place = { page, index }
    }
    this.#pages.add(page)
    this.#added.push(page)
    this.#bytes += page.bytes
    this.#put(HEAD + keyOf(page.number), headText)
    this.#put(BODY + keyOf(page.number), body)
    if (entries.some(hasProgress)) {
      this.#changed.add(page)
    }
  }

  /** It has come further. */
  update(entry: Entry): void {
    const page = this.#pageOf(entry)
    if (page !== undefined) {
      this.#changed.add(page)
    }
  }

  /** It is no longer kept. */
  remove(entry: Entry): void {
    const page = this.#pageOf(entry)
    if (page === undefined || entry.place === undefined) {
      return
    }
    page.entries[entry.place.index] = undefined
    --page.live
    if (page.live > 0) {
      this.#changed.add(page)
    } else {
      this.#removePage(page)
    }
  }

  /** The object that from now on stands for what is written at its place. */
  adopt(entry: Entry): void {
    const page = this.#pageOf(entry)
    if (page !== undefined && entry.place !== undefined) {
      page.entries[entry.place.index] = entry
    }
  }

  /** Reads a delivery back. `undefined` if it is damaged; rejects if the store cannot be read at all. */
  async read({ page, index }: Place): Promise<Delivery | undefined> {
    let cached = this.#cache.get(page.number)
    if (cached === undefined) {
      cached = this.#readPage(page.number)
      this.#cache.set(page.number, cached)
      if (this.#cache.size > CACHED_PAGES) {
        this.#cache.delete(this.#cache.keys().next().value!)
      }
    }
    try {
      return (await cached).get(index)
    } catch (error) {
      this.#cache.delete(page.number)
      throw error
    }
  }

  async #readPage(number: number): Promise<Map<number, Delivery>> {
    const key = keyOf(number)
    const [headText, body] = await this.#db.getMany([HEAD + key, BODY + key]).catch((error: unknown) => {
      if (!isDamage(error)) {
        throw error
      }
      this.#isDamaged = true
      return []
    })
    const head = parseRecord<PageHead>(headText)
    if (head === undefined || body === undefined || crc32(body) !== head.crc) {
      return new Map()
    }
    return new Map(
      head.deliveries.map(({ contentType, offset, length, ...delivery }, index) => [
        index,
        { ...delivery, payload: { contentType, body: body.subarray(offset, offset + length), users: 0 } },
      ])
    )
  }

  /** Adds a row to the delivery log. */
  log(row: LogRow): void {
    this.#rows.push(row)
  }

  /** One record of the engine's own, JSON. */
  writeState(state: unknown): void {
    this.#put(ENGINE, record(state))
  }

  /** The rows of the delivery log as of now, the latest first. */
  readLog(): AsyncIterable<LogRow> {
    return latestFirst(this.#rows.toReversed(), this.#db.values({ gt: LOG, lt: `${LOG}~`, reverse: true }))
  }

  /** Lets go of the oldest rows of the log, so that about `maxSettled` deliveries are left, none older than `since`. */
  trimLog(maxSettled: number, since: number): void {
    let settled = this.#logPages.reduce((sum, page) => sum + page.settled, 0)
    for (let page = this.#logPages[0]; page !== undefined; page = this.#logPages[0]) {
      if (settled - page.settled < maxSettled && page.newestAt >= since) {
        return
      }
      settled -= page.settled
      this.#logPages.shift()
      this.#operations.push({ type: 'del', key: LOG + keyOf(page.number) })
    }
  }

  /**
   * Everything so far is on disk. Rejects when it cannot be written: what was to be written stays to be written, and
   * the journal has to be opened again.
   */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.catch(() => {}).then(() => this.#write())
    return this.#flushing
  }

  async #write(): Promise<void> {
    for (const page of this.#changed) {
      this.#put(STATE + keyOf(page.number), this.#stateOf(page))
    }
    this.#changed.clear()
    this.#writeRows()
    const operations = this.#operations
    const added = this.#added
    if (operations.length > 0) {
      this.#operations = []
      this.#added = []
      try {
        await this.#db.batch(operations)
      } catch (error) {
        this.#operations = [...operations, ...this.#operations]
        this.#isDamaged ||= isDamage(error)
        throw error
      }
      for (const page of added) {
        page.isWritten = true
      }
    }
    if (this.#freedBytes > COMPACT_EVERY_BYTES) {
      this.#freedBytes = 0
      // nobody waits for it: what is new would stay in memory for as long
      this.#db.compactRange(BODY, `${BODY}~`).catch(() => {})
    }
  }

  #writeRows(): void {
    const rows = this.#rows
    if (rows.length > 0) {
      this.#rows = []
      const number = this.#nextLogPage++
      this.#put(LOG + keyOf(number), record(rows))
      this.#logPages.push(logPage(number, rows))
    }
  }

  /** What has been flushed stays; the rest is lost with the process. */
  async close(): Promise<void> {
    await this.#flushing.catch(() => {})
    await this.#db.close()
    if (this.#isDamaged) {
      // opening looks at little of what is there: it would not find this again
      await ClassicLevel.repair(this.#db.location).catch(() => {})
    }
  }

  #stateOf(page: Page): Buffer {
    const progress: Record<string, Progress> = {}
    const settled: number[] = []
    for (const [index, entry] of page.entries.entries()) {
      if (entry === undefined) {
        settled.push(index)
      } else if (hasProgress(entry)) {
        progress[index] = this.#progressOf(entry)
      }
    }
    const state: PageState = { progress, settled }
    return record(state)
  }

  #pageOf({ place }: Entry): Page | undefined {
    return place !== undefined && this.#pages.has(place.page as Page) ? (place.page as Page) : undefined
  }

  #removePage(page: Page): void {
    this.#pages.delete(page)
    this.#changed.delete(page)
    this.#cache.delete(page.number)
    this.#bytes -= page.bytes
    this.#freedBytes += page.bytes
    const key = keyOf(page.number)
    this.#operations.push(
      { type: 'del', key: HEAD + key },
      { type: 'del', key: BODY + key },
      { type: 'del', key: STATE + key }
    )
  }

  #put(key: string, value: Buffer): void {
    this.#operations.push({ type: 'put', key, value })
  }

  async #recover(): Promise<Recovered> {
    const version = parseRecord<number>(await this.#db.get(VERSION)) ?? FORMAT_VERSION
    if (version > FORMAT_VERSION) {
      throw new Error(`the journal was written by a later version (format ${version}, known up to ${FORMAT_VERSION})`)
    }
    this.#put(VERSION, record(FORMAT_VERSION))

    const states = new Map<string, PageState | undefined>()
    for await (const [key, value] of this.#db.iterator({ gt: STATE, lt: `${STATE}~` })) {
      states.set(key.slice(STATE.length), parseRecord<PageState>(value))
    }
    const deliveries: RecoveredDelivery[] = []
    let damaged = 0
    for await (const [key, value] of this.#db.iterator({ gt: HEAD, lt: `${HEAD}~` })) {
      const page = key.slice(HEAD.length)
      this.#nextPage = Number(page) + 1
      const head = parseRecord<PageHead>(value)
      if (head === undefined) {
        ++damaged
        this.#operations.push({ type: 'del', key }, { type: 'del', key: BODY + page })
        continue
      }
      deliveries.push(...this.#recoverPage(Number(page), value.length, head, states.get(page)))
      states.delete(page)
    }
    // what is left has lost its page, and must not be taken for the state of one to come
    for (const page of states.keys()) {
      this.#operations.push({ type: 'del', key: STATE + page })
    }
    for await (const [key, value] of this.#db.iterator({ gt: LOG, lt: `${LOG}~` })) {
      const number = Number(key.slice(LOG.length))
      this.#nextLogPage = number + 1
      this.#logPages.push(logPage(number, parseRecord<LogRow[]>(value) ?? []))
    }
    return { deliveries: inOrder(deliveries), damaged, state: parseRecord(await this.#db.get(ENGINE)) }
  }

  #recoverPage(
    number: number,
    headBytes: number,
    { deliveries }: PageHead,
    state: PageState = { progress: {}, settled: [] }
  ): RecoveredDelivery[] {
    const settled = new Set(state.settled)
    const last = deliveries.reduce((end, { offset, length }) => Math.max(end, offset + length), 0)
    const live = deliveries.length - settled.size
    const page: Page = {
      number,
      entries: deliveries.map(() => undefined),
      live,
      bytes: headBytes + last,
      isWritten: true,
    }
    this.#pages.add(page)
    this.#bytes += page.bytes
    if (live <= 0) {
      this.#removePage(page)
      return []
    }
    return deliveries.flatMap((stored, index) =>
      settled.has(index) ? [] : [{ stored, place: { page, index }, progress: state.progress[index] ?? NO_PROGRESS }]
    )
  }
}

/** Whether it is not as it was when it was accepted. */
function hasProgress({ attempts, state, trigger }: Entry): boolean {
  return attempts > 0 || state === 'dead' || trigger === 'replay'
}

const NO_PROGRESS: Progress = { attempts: 0, failures: 0, isDead: false }

/** As they were accepted. A call's leader is ahead of the rest of it even if the clock was set back in between. */
function inOrder(deliveries: readonly RecoveredDelivery[]): RecoveredDelivery[] {
  const ledAt = new Map<string, number>()
  for (const { stored } of deliveries) {
    const { key, leads } = stored.order
    if (leads) {
      ledAt.set(key, Math.max(stored.acceptedAt, ledAt.get(key) ?? 0))
    }
  }
  const timeOf = ({ order, acceptedAt }: StoredDelivery): number =>
    order.leads ? acceptedAt : Math.max(acceptedAt, ledAt.get(order.key) ?? 0)
  return deliveries.toSorted(
    (a, b) => timeOf(a.stored) - timeOf(b.stored) || Number(b.stored.order.leads) - Number(a.stored.order.leads)
  )
}

/** A damaged store is repaired as far as LevelDB can, else put aside: what came before is lost, what comes is not. */
async function withRepair<T>(location: string, open: () => Promise<T>): Promise<T> {
  if (await isHeadless(location)) {
    await ClassicLevel.repair(location)
  }
  for (const mend of [
    () => ClassicLevel.repair(location),
    () => rename(location, `${location}.damaged-${Date.now()}`),
  ]) {
    try {
      return await open()
    } catch (error) {
      if (!isDamage(error)) {
        throw error
      }
      await mend()
    }
  }
  return open()
}

/** LevelDB takes a store without `CURRENT` for none at all and clears it away, and does not open one without manifest. */
async function isHeadless(location: string): Promise<boolean> {
  const files = await readdir(location).catch((): string[] => [])
  const current = await readFile(join(location, 'CURRENT'), 'utf8').catch(() => '')
  return files.some(file => /\.(ldb|log)$/.test(file)) && !files.includes(current.trim())
}

/** Reading past the end of a file that was cut is an invalid argument; a file may be gone. Else the disk is to blame. */
function isDamage(error: unknown): boolean {
  const { message, cause } = error as { message?: string; cause?: { message?: string } }
  return (
    reasonOf(error) === 'LEVEL_CORRUPTION' ||
    (reasonOf(error) === 'LEVEL_IO_ERROR' &&
      /: (Invalid argument|No such file or directory)$/.test(cause?.message ?? message ?? ''))
  )
}

/** Why LevelDB did not open or write: `LEVEL_LOCKED`, `LEVEL_CORRUPTION`, `LEVEL_IO_ERROR`… */
export function reasonOf(error: unknown): string {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } }
  return String(cause?.code ?? code ?? (error instanceof Error ? error.message : error))
}

/** Sorts as text as the number does. */
function keyOf(number: number): string {
  return String(number).padStart(12, '0')
}

async function* latestFirst(unwritten: readonly LogRow[], written: AsyncIterable<Buffer>): AsyncGenerator<LogRow> {
  yield* unwritten
  for await (const value of written) {
    yield* (parseRecord<LogRow[]>(value) ?? []).toReversed()
  }
}

function logPage(number: number, rows: readonly LogRow[]): LogPage {
  return {
    number,
    settled: rows.filter(row => row.settled !== undefined).length,
    newestAt: rows.reduce((newest, row) => Math.max(newest, row.at), 0),
  }
}

/** A record of JSON with its checksum in front, as LevelDB does not check what it reads. */
function record(value: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(value))
  const text = Buffer.allocUnsafe(CHECKSUM_BYTES + json.length)
  text.writeUInt32BE(crc32(json))
  json.copy(text, CHECKSUM_BYTES)
  return text
}

const CHECKSUM_BYTES = 4

/** `undefined` for none and for one that is damaged. */
function parseRecord<T>(text: Buffer | undefined): T | undefined {
  if (text === undefined || text.length < CHECKSUM_BYTES) {
    return undefined
  }
  const json = text.subarray(CHECKSUM_BYTES)
  return crc32(json) === text.readUInt32BE() ? (JSON.parse(json.toString()) as T) : undefined
}
