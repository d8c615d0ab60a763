import { open, readFile, rename } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'

import { isCount, isObject, isText } from './stored.ts'

const FILE_MODE = 0o600
/** The file is written anew once this much, and twice what the whole takes, was added to it. */
const GROWN_BYTES = 256 * 1024
/** No more numbers than this are read from one record: what says more is damaged. */
const MAX_NUMBERS = 10_000_000

/** What a file of numbers says. */
export interface LiveNumbersFound {
  /** Of the last batch that the file knows. */
  readonly sequence: number
  /** Kept as of that batch. */
  readonly live: Set<number>
  /** One above the highest number that was ever used. */
  readonly next: number
}

/**
 * The numbers of the deliveries that are kept, in a file beside LevelDB: from a damaged log LevelDB drops batches and says
 * nothing. Nothing depends on the file but that this is noticed.
 *
 * Lines of text, each a checksum and JSON. The first tells of all, the others of one batch each, what ended in it first:
 *
 *     5f769f87 {"sequence":7,"live":"1-3,9","next":12}
 *     203d06ac {"sequence":8,"ended":"2","added":"12-14"}
 *
 * A line is added after its batch, without `fsync`: the file may be behind LevelDB, and after a crash of the machine
 * LevelDB behind the file. `sequence` tells which.
 */
export class LiveNumbers {
  readonly #path: string
  #file: FileHandle | undefined
  #addedBytes = 0
  #wholeBytes = 0

  constructor(path: string) {
    this.#path = path
  }

  /** @returns what the file says; `undefined`: there is none, or it is damaged. Never rejects. */
  static async read(path: string): Promise<LiveNumbersFound | undefined> {
    const text = await readFile(path, 'latin1').catch(() => '')
    const lines = text.split('\n')
    // what comes after the last end of a line was cut as it was written
    lines.pop()
    let found: LiveNumbersFound | undefined
    for (const [index, line] of lines.entries()) {
      const record = parseLine(line)
      found = index === 0 ? wholeOf(record) : found && changed(found, record)
      if (found === undefined) {
        return undefined
      }
    }
    return found
  }

  /** Whether the file has to be written as a whole: there is none yet, or it has grown. */
  get needsRewrite(): boolean {
    return this.#file === undefined || this.#addedBytes > GROWN_BYTES + 2 * this.#wholeBytes
  }

  /** One batch more, what ended and what was added in it as runs. @throws as the disk says; the file has to be written anew then */
  async append(batch: { readonly sequence: number; readonly ended: string; readonly added: string }): Promise<void> {
    const file = this.#file
    if (file === undefined) {
      throw new Error('the file of numbers is not open')
    }
    const line = lineOf(batch)
    try {
      await file.appendFile(line, 'latin1')
      this.#addedBytes += line.length
    } catch (error) {
      // half of a line may be there
      await this.close()
      throw error
    }
  }

  /** All of them, as of a batch. @throws as the disk says; what the file said before still stands then */
  async rewrite(sequence: number, live: Iterable<number>, next: number): Promise<void> {
    await this.close()
    const line = lineOf({ sequence, live: runsOf(live), next })
    const temporary = `${this.#path}.new`
    const file = await open(temporary, 'w', FILE_MODE)
    try {
      await file.chmod(FILE_MODE)
      await file.appendFile(line, 'latin1')
      await rename(temporary, this.#path)
    } catch (error) {
      await file.close()
      throw error
    }
    this.#file = file
    this.#wholeBytes = line.length
    this.#addedBytes = 0
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close().catch(() => {})
  }
}

function wholeOf(record: Readonly<Record<string, unknown>> | undefined): LiveNumbersFound | undefined {
  const { sequence, next } = record ?? {}
  const live = numbersOf(record?.live)
  return isCount(sequence) && isCount(next) && live !== undefined ? { sequence, live: new Set(live), next } : undefined
}

function changed(
  { live, next }: LiveNumbersFound,
  record: Readonly<Record<string, unknown>> | undefined
): LiveNumbersFound | undefined {
  const { sequence } = record ?? {}
  const ended = numbersOf(record?.ended)
  const added = numbersOf(record?.added)
  if (!isCount(sequence) || ended === undefined || added === undefined) {
    return undefined
  }
  return { sequence, live, next: apply(live, next, ended, added) }
}

/** What a batch makes of the numbers. @returns the next one */
export function apply(live: Set<number>, next: number, ended: readonly number[], added: readonly number[]): number {
  for (const number of ended) {
    live.delete(number)
  }
  let above = next
  for (const number of added) {
    live.add(number)
    above = Math.max(above, number + 1)
  }
  return above
}

function lineOf(record: unknown): string {
  const json = JSON.stringify(record)
  return `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`
}

function parseLine(line: string): Readonly<Record<string, unknown>> | undefined {
  const json = line.slice(9)
  if (line.slice(0, 9) !== `${crc32(json).toString(16).padStart(8, '0')} `) {
    return undefined
  }
  try {
    const record: unknown = JSON.parse(json)
    return isObject(record) ? record : undefined
  } catch {
    return undefined
  }
}

/** `1-3,9` of 1, 2, 3 and 9, in any order. */
export function runsOf(numbers: Iterable<number>): string {
  const runs: string[] = []
  let first = -1
  let last = -1
  const end = (): void => {
    if (first >= 0) {
      runs.push(first === last ? `${first}` : `${first}-${last}`)
    }
  }
  for (const number of [...numbers].sort((a, b) => a - b)) {
    if (number !== last + 1 || first < 0) {
      end()
      first = number
    }
    last = number
  }
  end()
  return runs.join(',')
}

/** The numbers of `1-3,9`; `undefined`: it is not of that form. */
export function numbersOf(runs: unknown): number[] | undefined {
  if (!isText(runs)) {
    return undefined
  }
  const numbers: number[] = []
  for (const run of runs === '' ? [] : runs.split(',')) {
    const [, first, last = first] = /^(\d{1,16})(?:-(\d{1,16}))?$/.exec(run) ?? []
    if (first === undefined || numbers.length + Number(last) - Number(first) > MAX_NUMBERS) {
      return undefined
    }
    for (let number = Number(first); number <= Number(last); ++number) {
      numbers.push(number)
    }
  }
  return numbers
}
