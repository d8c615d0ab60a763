import { migrateFormat1 } from './format-1.ts'
import type { Level } from './level.ts'
import { apply, numbersOf } from './live-numbers.ts'
import type { LiveNumbersFound } from './live-numbers.ts'
import {
  decodeHead,
  decodeRecord,
  encodeRecord,
  isCount,
  isObject,
  KEYS,
  parseProgress,
  parseRows,
  parseStamp,
} from './stored.ts'
import type { LogRow, Stamp, StoredHead, StoredProgress } from './stored.ts'
import { sharedTexts } from './texts.ts'

/** Of what the journal writes. A store of a later version is left alone. */
const FORMAT_VERSION = 2

/** So much is read in one go. */
const READ_BYTES = 1024 * 1024
const READ_COUNT = 1_000

/** What `Journal.open` found. */
export interface Recovered {
  /** By number. */
  readonly deliveries: readonly RecoveredDelivery[]
  /** The engine's, as it was written last. */
  readonly state: unknown
  /** Of the last batch; `undefined`: the disk's clock begins. */
  readonly clock: Stamp | undefined
  /** Deliveries that should be there and are not, or are unreadable. */
  readonly lost: number
  /** No delivery had this number or a higher one. */
  readonly next: number
}

export interface RecoveredDelivery {
  readonly delivery: StoredHead
  /** `undefined`: it is as it was accepted. */
  readonly progress: StoredProgress | undefined
  /** Of the body. */
  readonly bytes: number
  /** On disk: keys and values. */
  readonly stored: number
}

export interface StoreFound {
  readonly recovered: Recovered
  /** By number, bytes on disk of its progress, which are among those `stored`. */
  readonly progressSizes: ReadonlyMap<number, number>
  /** Of the batch that was written now. */
  readonly sequence: number
  /** The oldest first. */
  readonly logPages: readonly LogPage[]
}

/** Rows of the delivery log that were written together. */
export interface LogPage {
  readonly number: number
  readonly settled: number
  /** Epoch ms. */
  readonly newestAt: number
}

/**
 * Reads a store, and makes it one of this format that holds nothing damaged and nothing that has ended.
 *
 * @param found - what the file of numbers says
 * @throws what LevelDB says, and if the store is of a later version
 */
export async function readStore(
  db: Level,
  found: LiveNumbersFound | undefined,
  isAlive: () => void
): Promise<StoreFound> {
  const version = decodeRecord(await db.get(KEYS.version))
  if (isCount(version) && version > FORMAT_VERSION) {
    throw new Error(`the journal was written by a later version (format ${version}, known up to ${FORMAT_VERSION})`)
  }
  const migrated = await migrateFormat1(db, await nextStored(db), isAlive)
  const batch = parseBatch(decodeRecord(await db.get(KEYS.batch)))
  // the file of numbers knows nothing of what was migrated
  const known = migrated === undefined ? knownOf(found, batch) : undefined

  const { deliveries, progressSizes, lost, stray } = await readDeliveries(db, known, isAlive)
  const logPages = await readLogPages(db)
  const engine = decodeRecord(await db.get(KEYS.engine))
  const { state, clock } = isObject(engine) ? engine : { state: undefined, clock: undefined }

  const sequence = Math.max(found?.sequence ?? 0, batch?.sequence ?? 0) + 1
  await db.batch([
    ...stray.map(key => ({ type: 'del' as const, key })),
    { type: 'put', key: KEYS.version, value: encodeRecord(FORMAT_VERSION) },
    // a file of numbers from before this batch tells nothing any more
    { type: 'put', key: KEYS.batch, value: encodeRecord({ sequence, since: sequence, ended: '', added: '' }) },
  ])
  const next = Math.max(1, known?.next ?? 0, found?.next ?? 0, (deliveries.at(-1)?.delivery.number ?? 0) + 1)
  return {
    recovered: { deliveries, state, clock: parseStamp(clock), lost: lost + (migrated?.lost ?? 0), next },
    progressSizes,
    sequence,
    logPages,
  }
}

async function nextStored(db: Level): Promise<number> {
  for await (const key of db.keys({ ...KEYS.deliveries, reverse: true })) {
    const number = KEYS.numberIn(key)
    if (number !== undefined) {
      return number + 1
    }
  }
  return 1
}

/** Entries in the order of their keys, many at a time: to wait for each one takes longer than to read it. */
async function* entriesOf(db: Level, range: { readonly gt: string; readonly lt: string }): AsyncGenerator<Entry[]> {
  const iterator = db.iterator({ ...range, highWaterMarkBytes: READ_BYTES })
  try {
    let reading = iterator.nextv(READ_COUNT)
    for (let some = await reading; some.length > 0; some = await reading) {
      reading = iterator.nextv(READ_COUNT) // while these are looked at
      yield some
    }
  } finally {
    await iterator.close()
  }
}

type Entry = [key: string, value: Buffer]

/** By number; what has none is damaged. */
type Progresses = Map<number, { progress: StoredProgress; size: number }>

/** @returns also the keys of those that are damaged */
async function readProgresses(db: Level, isAlive: () => void): Promise<{ progresses: Progresses; damaged: string[] }> {
  const progresses: Progresses = new Map()
  const damaged: string[] = []
  for await (const entries of entriesOf(db, KEYS.progresses)) {
    isAlive()
    for (const [key, value] of entries) {
      const number = KEYS.numberIn(key)
      const progress = number === undefined ? undefined : parseProgress(decodeRecord(value))
      if (number === undefined || progress === undefined) {
        damaged.push(key)
      } else {
        progresses.set(number, { progress, size: key.length + value.length })
      }
    }
  }
  return { progresses, damaged }
}

/** @returns also which keys have to go: of what is damaged, has ended, or is the progress of nothing */
async function readDeliveries(
  db: Level,
  known: LiveNumbersFound | undefined,
  isAlive: () => void
): Promise<{
  deliveries: RecoveredDelivery[]
  progressSizes: Map<number, number>
  lost: number
  stray: string[]
}> {
  const { progresses, damaged: stray } = await readProgresses(db, isAlive)
  const deliveries: RecoveredDelivery[] = []
  const progressSizes = new Map<number, number>()
  const once = sharedTexts()
  let damaged = 0
  for await (const entries of entriesOf(db, KEYS.deliveries)) {
    isAlive()
    for (const [key, value] of entries) {
      const number = KEYS.numberIn(key)
      const found = number === undefined ? undefined : decodeHead(value, number, once)
      if (number === undefined || found === undefined) {
        // where the numbers are known, the one that is missing is counted below
        damaged += known === undefined ? 1 : 0
        stray.push(key)
        continue
      }
      if (known !== undefined && number < known.next && !known.live.delete(number)) {
        // it has ended, and LevelDB has lost that
        stray.push(key)
        continue
      }
      const own = progresses.get(number)
      if (own !== undefined) {
        progressSizes.set(number, own.size)
        progresses.delete(number)
      }
      deliveries.push({
        delivery: found.head,
        progress: own?.progress,
        bytes: found.bytes,
        stored: key.length + value.length + (own?.size ?? 0),
      })
    }
  }
  // without its delivery, a progress would be taken for that of another one under this number
  stray.push(...[...progresses.keys()].map(KEYS.progress))
  return { deliveries, progressSizes, lost: damaged + (known?.live.size ?? 0), stray }
}

async function readLogPages(db: Level): Promise<LogPage[]> {
  const pages: LogPage[] = []
  for await (const entries of entriesOf(db, KEYS.logPages)) {
    for (const [key, value] of entries) {
      const number = KEYS.numberIn(key)
      if (number !== undefined) {
        pages.push(logPage(number, parseRows(decodeRecord(value))))
      }
    }
  }
  return pages
}

export function logPage(number: number, rows: readonly LogRow[]): LogPage {
  return {
    number,
    settled: rows.filter(row => row.settled !== undefined).length,
    newestAt: rows.reduce((newest, row) => Math.max(newest, row.at), 0),
  }
}

/** Which numbers the last batches were about: all after batch `since`, up to `sequence`. */
interface LastBatches {
  readonly sequence: number
  readonly since: number
  readonly ended: readonly number[]
  readonly added: readonly number[]
}

function parseBatch(value: unknown): LastBatches | undefined {
  if (!isObject(value)) {
    return undefined
  }
  const { sequence, since } = value
  const ended = numbersOf(value.ended)
  const added = numbersOf(value.added)
  return isCount(sequence) && isCount(since) && ended !== undefined && added !== undefined
    ? { sequence, since, ended, added }
    : undefined
}

/**
 * What should be in the store. The file of numbers may be behind the store (the process was killed between the two
 * writes: the store says what the file does not know), or ahead (LevelDB has lost its last batches).
 *
 * @returns `undefined`: the file is too far behind to tell
 */
function knownOf(found: LiveNumbersFound | undefined, batch: LastBatches | undefined): LiveNumbersFound | undefined {
  if (found === undefined || batch === undefined || batch.sequence <= found.sequence) {
    return found
  }
  if (batch.since > found.sequence) {
    return undefined
  }
  const { live } = found
  return { sequence: batch.sequence, live, next: apply(live, found.next, batch.ended, batch.added) }
}
