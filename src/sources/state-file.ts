import { appendFile, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { isRecord, listOf, numberOf, textOf } from '../values.ts'
import type { State } from './state.ts'

/** What was known when xo-server ran last. */
export interface Remembered {
  /** When that was written, epoch ms. */
  readonly at: number
  /** The types of objects that were watched. */
  readonly types: ReadonlySet<string>
  /** By id. */
  readonly states: ReadonlyMap<string, State>
  /** The pools that were said to be away, and since when, epoch ms. */
  readonly away: ReadonlyMap<string, number>
}

/** What is to be remembered: all of it, whenever the file is written anew. */
export type Snapshot = Omit<Remembered, 'at' | 'states'> & { readonly states: Iterable<readonly [string, State]> }

/** A file of another version is not read: its states may lack what these have. */
const VERSION = 1

/** What has changed is written after so long, together. */
const DELAY_MS = 1_000

/** A larger file is not read, and not written on. */
const MAX_BYTES = 64 * 1024 * 1024

/** So many lines are read or written in one turn of the loop. */
const SLICE_LINES = 500

/** More changes do not wait to be written, as where the disk hangs: the file is written anew instead. */
const MAX_CHANGED = 100_000

/** It is written anew once it has this many lines more than objects, and twice as many. */
const SPARE_LINES = 10_000

/**
 * The last states of the objects in a file, so that what happens while xo-server is off can be told: `states.jsonl` in the
 * plugin's data directory. A header, then a line for each change: `["<id>", <state>]`, `["<id>"]` for what is gone,
 * `{"away":"<pool>","since":<ms>}`, `{"at":<ms>}`. A line that cannot be read counts for nothing.
 *
 * Nothing here holds anybody up: the disk may hang. What could not be written is tried again, in a new file.
 */
export class StateFile {
  readonly #openDirectory: () => Promise<string>
  readonly #snapshot: () => Snapshot
  #path: string | undefined
  /** The last write, and all before it. Never rejects. */
  #writing: Promise<unknown> = Promise.resolve()
  /** By id, what is to be written. */
  #changed = new Map<string, State | undefined>()
  #away = new Map<string, number>()
  /** Of the file; infinite: it is to be written anew. */
  #lines = 0
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  /** @param openDirectory - may never answer */
  constructor(openDirectory: () => Promise<string>, snapshot: () => Snapshot) {
    this.#openDirectory = openDirectory
    this.#snapshot = snapshot
  }

  /** `undefined`, if there is nothing, or nothing that can be used. Never rejects. Until then nothing is written. */
  async read(): Promise<Remembered | undefined> {
    try {
      const path = join(await this.#openDirectory(), 'states.jsonl')
      const remembered = await readStates(path).catch(() => undefined)
      this.#path = path
      return remembered
    } catch {
      return undefined
    }
  }

  /** @param state - `undefined`: it is gone */
  note(id: string, state: State | undefined): void {
    if (this.#changed.size >= MAX_CHANGED) {
      this.#changed.clear()
      this.#lines = Number.POSITIVE_INFINITY
    }
    this.#changed.set(id, state)
    this.#schedule()
  }

  noteAway(pool: string, since: number): void {
    this.#away.set(pool, since)
    this.#schedule()
  }

  /** All of it is to be written anew. */
  rewrite(): void {
    this.#lines = Number.POSITIVE_INFINITY
    this.#schedule()
  }

  /** Writes what is not written yet. Never rejects; may never settle. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#write()
    await this.#writing
  }

  #schedule(): void {
    if (this.#path !== undefined && !this.#isClosed) {
      this.#timer ??= setTimeout(() => void this.#writeInTurn(), DELAY_MS).unref()
    }
  }

  /** The next write is not due before this one is over. */
  async #writeInTurn(): Promise<void> {
    this.#write()
    await this.#writing
    this.#timer = undefined
    if (this.#changed.size > 0 || this.#away.size > 0 || this.#lines === Number.POSITIVE_INFINITY) {
      this.#schedule()
    }
  }

  #write(): void {
    const path = this.#path
    if (path !== undefined) {
      this.#writing = this.#writing
        .then(() => this.#writeNow(path))
        .catch(() => {
          this.#lines = Number.POSITIVE_INFINITY
        })
    }
  }

  async #writeNow(path: string): Promise<void> {
    const [changed, away] = [this.#changed, this.#away]
    this.#changed = new Map()
    this.#away = new Map()
    if (this.#lines > SPARE_LINES && !this.#isClosed) {
      const snapshot = this.#snapshot()
      const states = [...snapshot.states]
      if (this.#lines > SPARE_LINES + 2 * states.length) {
        this.#lines = states.length
        await writeFile(`${path}.new`, `${JSON.stringify({ v: VERSION, types: [...snapshot.types] })}\n`, {
          mode: 0o600,
        })
        await this.#append(`${path}.new`, states, snapshot.away)
        await rename(`${path}.new`, path)
        return
      }
    }
    this.#lines += changed.size
    if ((await stat(path)).size < MAX_BYTES) {
      await this.#append(path, [...changed], away)
    }
  }

  async #append(
    path: string,
    states: readonly (readonly [string, State | undefined])[],
    away: ReadonlyMap<string, number>
  ): Promise<void> {
    for (let first = 0; first < states.length; first += SLICE_LINES) {
      const lines = states.slice(first, first + SLICE_LINES).map(line => JSON.stringify(line))
      await appendFile(path, `${lines.join('\n')}\n`)
      await nextTurn()
    }
    const lines = [...away].map(([pool, since]) => ({ away: pool, since }))
    await appendFile(path, [...lines, { at: Date.now() }].map(line => `${JSON.stringify(line)}\n`).join(''))
  }
}

async function readStates(path: string): Promise<Remembered | undefined> {
  if ((await stat(path)).size > MAX_BYTES) {
    return undefined
  }
  const [head = '', ...lines] = (await readFile(path, 'utf8')).split('\n')
  const header = parsed(head)
  if (!isRecord(header) || header['v'] !== VERSION) {
    return undefined
  }
  const states = new Map<string, State>()
  const away = new Map<string, number>()
  let at = 0
  for (const [index, text] of lines.entries()) {
    if (index % SLICE_LINES === 0) {
      await nextTurn()
    }
    const line = parsed(text)
    if (Array.isArray(line)) {
      const [id, state] = line as unknown[]
      if (typeof id === 'string') {
        if (isRecord(state)) {
          states.set(id, state as unknown as State)
        } else {
          states.delete(id)
        }
      }
    } else if (isRecord(line)) {
      at = numberOf(line['at']) ?? at
      const pool = textOf(line['away'])
      if (pool !== undefined) {
        away.set(pool, numberOf(line['since']) ?? at)
      }
    }
  }
  const types = new Set(listOf(header['types']).filter(type => typeof type === 'string'))
  return at === 0 ? undefined : { at, types, states, away }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
