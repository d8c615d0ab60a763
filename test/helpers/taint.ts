import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { ClassicLevel } from 'classic-level'

import { PLUGIN_ID } from './running-plugin.ts'

/** Texts that occur nowhere else, by where they were planted. */
export class Taint {
  readonly #markers = new Map<string, string>()

  get size(): number {
    return this.#markers.size
  }

  plant(place: string): string {
    const marker = `taint${randomBytes(12).toString('hex')}`
    this.#markers.set(place, marker)
    return marker
  }

  /** The places whose markers `text` tells, as they are or encoded. */
  in(text: string): string[] {
    const encoded = text.match(/[A-Za-z0-9+/_-]{24,}={0,2}/g) ?? []
    const decoded = encoded.map(word => Buffer.from(word, 'base64').toString('latin1')).join('\n')
    return [...this.#markers]
      .filter(([, marker]) => text.includes(marker) || decoded.includes(marker))
      .map(([place]) => place)
  }
}

/** All that is in the journal, as records and as files. */
export async function readJournal(directory: string): Promise<{ records: string; files: string }> {
  const location = join(directory, PLUGIN_ID, 'journal')
  const raw = await Promise.all((await readdir(location)).map(name => readFile(join(location, name), 'latin1')))
  // and which hook is which
  raw.push(await readFile(join(directory, PLUGIN_ID, 'known-hooks.json'), 'latin1'))
  const db = new ClassicLevel<string, Buffer>(location, { valueEncoding: 'buffer' })
  const records: string[] = []
  for await (const [key, value] of db.iterator()) {
    records.push(key, value.toString())
  }
  await db.close()
  return { records: records.join('\n'), files: raw.join('\n') }
}
