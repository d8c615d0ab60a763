import { randomUUID } from 'node:crypto'
import { open, readdir, readFile, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

import { idIn, numberIn, renumbered } from './protocol.ts'
import type { Packed } from './protocol.ts'

/** What is not safe after this is written as it came: the journal has most by then. With the write, less than 50 ms. */
const WRITE_AFTER_MS = 30
/** What is younger than this is left to the next time: the journal may have it by then. */
const WRITE_FROM_AGE_MS = 10
/** Of texts that are written together: each write takes a turn of the event loop. */
const WRITE_CHARS = 4 * 1024 * 1024
/** A file that is larger gets no more. */
const FILE_BYTES = 8 * 1024 * 1024
/** Of all files. What comes beyond it is safe later, as the journal gets to it. */
const MAX_BYTES = 64 * 1024 * 1024
/** Of texts that wait to be written; beyond it the oldest are let go of. */
const MAX_WAITING_CHARS = 16 * 1024 * 1024
const CLOSE_PATIENCE_MS = 1_000

const FILE_MODE = 0o600
const PREFIX = 'intake-'
const COUNT_BYTES = 4

/** A file of handings. Emptied or removed once each of them is safe. */
interface Segment {
  readonly path: string
  readonly handle: FileHandle | undefined
  bytes: number
  /** Numbers of those that are not safe. */
  readonly live: Set<number>
}

interface Entry {
  /** Empty once it is written. */
  text: Packed
  readonly since: number
  segment: Segment | undefined
  /** How many of its deliveries are not safe; `undefined`: nobody has looked at it yet. */
  left: number | undefined
}

/**
 * What has come in and is not safe in time, on disk as it came: when thousands of events come at once, or the journal is
 * slow, working them off takes longer than a `kill -9` may cost. Most handings are safe before they are written here.
 *
 * Files `intake-<run>-…` beside the journal, appended to and removed as a whole. What this run's earlier thread has left is
 * not needed, as the host end has it all. What another run has left is handed over again, and its file stays as it is until
 * all of it is safe: only that is where it stands, whatever becomes of this thread.
 *
 * A disk that fails or hangs costs the precaution, nothing else.
 */
export class Intake {
  readonly #run: string
  #directory: string | undefined
  /** The journal is in use, or being opened. */
  #isOn = true
  readonly #entries = new Map<number, Entry>()
  /** Those that are to be written, the oldest first. */
  readonly #waiting = new Map<number, Entry>()
  #waitingChars = 0
  #isHurried = false
  readonly #segments = new Set<Segment>()
  #current: Segment | undefined
  #timer: NodeJS.Timeout | undefined
  /** One disk operation at a time, beside the journal's. */
  #working: Promise<void> | undefined
  #isClosed = false

  /** @param run - of this process's engine, whichever thread */
  constructor(run: string) {
    this.#run = run
  }

  /** Whether the journal can be used. While it cannot, everything waits in memory. */
  set isOn(isOn: boolean) {
    this.#isOn = isOn
    if (!isOn) {
      this.#letGo(this.#waiting.size)
    }
  }

  /** A handing has come in. */
  add(text: Packed): void {
    if (!this.#isOn || this.#isClosed) {
      return
    }
    const number = numberIn(text)
    const entry: Entry = { text, since: performance.now(), segment: undefined, left: undefined }
    this.#entries.set(number, entry)
    this.#waiting.set(number, entry)
    this.#waitingChars += text.length
    if (this.#waitingChars > MAX_WAITING_CHARS) {
      this.#letGo(1)
    }
    this.#timer ??= setTimeout(() => this.#work(), WRITE_AFTER_MS).unref()
  }

  /** These are not written here: the oldest so many. */
  #letGo(count: number): void {
    for (const [number, { text }] of this.#waiting) {
      if (--count < 0) {
        return
      }
      this.#waiting.delete(number)
      this.#entries.delete(number)
      this.#waitingChars -= text.length
    }
  }

  /** So much has come in that it will not be worked off in time: what waits is written now. */
  hurry(): void {
    this.#isHurried = this.#waiting.size > 0
    if (this.#isHurried && this.#working === undefined) {
      this.#work()
    }
  }

  /** It has been looked at. @param count - of its deliveries */
  worked(number: number, count: number): void {
    const entry = this.#entries.get(number)
    if (entry !== undefined) {
      entry.left = count
      this.#forgetIfSafe(number, entry)
    }
  }

  /** One of its deliveries is safe. */
  safe(number: number): void {
    const entry = this.#entries.get(number)
    if (entry?.left !== undefined) {
      --entry.left
      this.#forgetIfSafe(number, entry)
    }
  }

  #forgetIfSafe(number: number, { left, segment, text }: Entry): void {
    if (left !== 0) {
      return
    }
    this.#entries.delete(number)
    if (this.#waiting.delete(number)) {
      this.#waitingChars -= text.length
    }
    if (segment?.live.delete(number) === true && segment.live.size === 0) {
      this.#work()
    }
  }

  /**
   * The journal in this directory is nobody else's: from now on handings are written beside it.
   *
   * @returns what other runs have left, under numbers below 0: each always has the same, whichever thread reads it
   */
  async takeOver(directory: string): Promise<Packed[]> {
    const left: Packed[] = []
    if (this.#directory !== undefined) {
      return left
    }
    const names = await readdir(directory).catch((): string[] => [])
    for (const name of names.filter(each => each.startsWith(PREFIX))) {
      const path = join(directory, name)
      try {
        if (name.startsWith(this.#prefix)) {
          await rm(path, { force: true })
        } else {
          left.push(...(await this.#adopt(path)))
        }
      } catch {
        // one file that cannot be read keeps nobody from what is in the others
      }
    }
    // now, so that no time is lost once it is needed
    await this.#segment(directory).catch(() => {})
    this.#directory = directory
    this.#work()
    return left
  }

  async #adopt(path: string): Promise<Packed[]> {
    const segment: Segment = { path, handle: undefined, bytes: 0, live: new Set() }
    const texts: Packed[] = []
    for (const found of parse(await readFile(path))) {
      const number = leftoverOf(found)
      if (!this.#entries.has(number)) {
        this.#entries.set(number, { text: '', since: 0, segment, left: undefined })
        segment.live.add(number)
        texts.push(renumbered(number, found))
      }
    }
    this.#segments.add(segment)
    return texts
  }

  /**
   * What has been looked at is accounted for, or in the journal; what has not been, of another run, is left to the next one.
   * Settles in time whatever the disk does.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#letGo(this.#waiting.size)
    clearTimeout(this.#timer)
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>(resolve => {
      timer = setTimeout(resolve, CLOSE_PATIENCE_MS)
    })
    await Promise.race([this.#removeAll(), timeout])
    clearTimeout(timer)
  }

  async #removeAll(): Promise<void> {
    while (this.#working !== undefined) {
      await this.#working
    }
    this.#current = undefined
    for (const segment of this.#segments) {
      const isDone = [...segment.live].every(number => this.#entries.get(number)?.left !== undefined)
      await (isDone ? this.#free(segment) : segment.handle?.close())?.catch(() => {})
    }
  }

  #work(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#directory === undefined) {
      return // what waits is written once there is one
    }
    this.#working ??= this.#workOff(this.#directory).then(() => {
      this.#working = undefined
      const [oldest] = this.#waiting.values()
      if ([...this.#segments].some(segment => this.#isFree(segment))) {
        this.#work()
      } else if (oldest !== undefined) {
        const inMs = this.#isHurried ? 0 : Math.max(1, oldest.since + WRITE_AFTER_MS - performance.now())
        this.#timer ??= setTimeout(() => this.#work(), inMs).unref()
      }
    })
  }

  /** Never rejects. */
  async #workOff(directory: string): Promise<void> {
    try {
      for (let due = this.#takeDue(); due.size > 0; due = this.#takeDue()) {
        await this.#write(directory, due)
      }
      for (const segment of this.#segments) {
        if (this.#isFree(segment)) {
          await this.#free(segment)
        }
      }
    } catch {
      // what is not written here is safe later; half a frame ends a file
      this.#current = undefined
    }
  }

  #takeDue(): Map<number, Entry> {
    const due = new Map<number, Entry>()
    const now = performance.now()
    const [oldest] = this.#waiting.values()
    if (oldest === undefined || (!this.#isHurried && now - oldest.since < WRITE_AFTER_MS - 1)) {
      return due
    }
    const until = this.#isHurried ? now : now - WRITE_FROM_AGE_MS
    this.#isHurried = false
    let chars = 0
    for (const [number, entry] of this.#waiting) {
      if (entry.since > until || chars > WRITE_CHARS) {
        break
      }
      chars += entry.text.length
      this.#waiting.delete(number)
      due.set(number, entry)
    }
    this.#waitingChars -= chars
    return due
  }

  async #write(directory: string, due: ReadonlyMap<number, Entry>): Promise<void> {
    const bytes = [...this.#segments].reduce((sum, segment) => sum + segment.bytes, 0)
    const frame = frameOf([...due.values()].map(({ text }) => text))
    const segment = bytes > MAX_BYTES ? undefined : await this.#segment(directory)
    for (const [number, entry] of due) {
      entry.text = ''
      if (entry.left === 0) {
        continue // meanwhile it is safe
      }
      if (segment === undefined) {
        this.#entries.delete(number)
      } else {
        entry.segment = segment
        segment.live.add(number)
      }
    }
    if (segment !== undefined) {
      segment.bytes += frame.length
      await segment.handle?.write(frame)
    }
  }

  async #segment(directory: string): Promise<Segment> {
    if (this.#current !== undefined && this.#current.bytes < FILE_BYTES) {
      return this.#current
    }
    const path = this.#newPath(directory)
    this.#current = { path, handle: await open(path, 'ax', FILE_MODE), bytes: 0, live: new Set() }
    this.#segments.add(this.#current)
    return this.#current
  }

  #isFree(segment: Segment): boolean {
    return segment.live.size === 0 && (segment !== this.#current || segment.bytes > 0)
  }

  async #free(segment: Segment): Promise<void> {
    const { path, handle } = segment
    if (segment === this.#current) {
      segment.bytes = 0
      await handle?.truncate()
      return
    }
    this.#segments.delete(segment)
    await handle?.close()
    await rm(path, { force: true })
  }

  get #prefix(): string {
    return `${PREFIX}${this.#run}-`
  }

  #newPath(directory: string): string {
    return join(directory, this.#prefix + randomUUID())
  }
}

/** An int32 below 0, told by its id. */
function leftoverOf(text: Packed): number {
  return -1 - (crc32(idIn(text)) % 0x7fffffff)
}

/** Length of the rest and its checksum, then each text with its length in front. */
function frameOf(texts: Iterable<Packed>): Buffer {
  const lengths: number[] = []
  let length = 2 * COUNT_BYTES
  for (const text of texts) {
    const its = Buffer.byteLength(text)
    lengths.push(its)
    length += COUNT_BYTES + its
  }
  const frame = Buffer.allocUnsafe(length)
  let place = 2 * COUNT_BYTES
  let index = 0
  for (const text of texts) {
    place = frame.writeUInt32BE(lengths[index++]!, place)
    place += frame.write(text, place)
  }
  const start = frame.writeUInt32BE(length - 2 * COUNT_BYTES)
  frame.writeUInt32BE(crc32(frame.subarray(2 * COUNT_BYTES)), start)
  return frame
}

/** What can be read of a file: its end may be torn. */
function parse(file: Buffer): Packed[] {
  const texts: Packed[] = []
  for (let start = 2 * COUNT_BYTES; start < file.length;) {
    const end = start + file.readUInt32BE(start - 2 * COUNT_BYTES)
    if (end > file.length || crc32(file.subarray(start, end)) !== file.readUInt32BE(start - COUNT_BYTES)) {
      break
    }
    while (start < end) {
      const textStart = start + COUNT_BYTES
      start = textStart + file.readUInt32BE(start)
      texts.push(file.toString('utf8', textStart, start))
    }
    start += 2 * COUNT_BYTES
  }
  return texts
}
