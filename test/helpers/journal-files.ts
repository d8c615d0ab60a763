import { ClassicLevel } from 'classic-level'
import { cp, mkdtemp, readdir, readFile, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A folder that is removed at the end of the test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'web-hooks-test-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** What is in a store that nobody has open, as it is written. */
export async function readStore(directory: string): Promise<Map<string, Buffer>> {
  const db = await openStore(directory)
  try {
    return new Map(await db.iterator().all())
  } finally {
    await db.close()
  }
}

/** Writes records past the journal. `undefined` removes one. */
export async function writeStore(
  directory: string,
  records: Iterable<readonly [key: string, value: Buffer | undefined]>
): Promise<void> {
  const db = await openStore(directory)
  try {
    for (const [key, value] of records) {
      await (value === undefined ? db.del(key) : db.put(key, value))
    }
  } finally {
    await db.close()
  }
}

/** Everything is in tables, and not in the write-ahead log. */
export async function compactStore(directory: string): Promise<void> {
  const db = await openStore(directory)
  try {
    await db.compactRange('', '~')
  } finally {
    await db.close()
  }
}

async function openStore(directory: string): Promise<ClassicLevel<string, Buffer>> {
  const db = new ClassicLevel<string, Buffer>(join(directory, 'journal'), {
    valueEncoding: 'buffer',
    compression: false,
  })
  await db.open()
  return db
}

/** The files of LevelDB whose names match, with what they hold. */
export async function storeFiles(directory: string, name: RegExp): Promise<{ path: string; bytes: Buffer }[]> {
  const names = await readdir(join(directory, 'journal'))
  return Promise.all(
    names
      .filter(file => name.test(file))
      .map(async file => {
        const path = join(directory, 'journal', file)
        return { path, bytes: await readFile(path) }
      })
  )
}

/** Changes the files of LevelDB whose names match; `undefined` removes one. At least one has to be there. */
export async function damageFiles(
  directory: string,
  name: RegExp,
  change: (bytes: Buffer) => Buffer | undefined
): Promise<void> {
  const files = await storeFiles(directory, name)
  if (files.length === 0) {
    throw new Error(`there is no file ${name} in the store`)
  }
  for (const { path, bytes } of files) {
    const changed = change(bytes)
    await (changed === undefined ? rm(path) : writeFile(path, changed))
  }
}

/** A copy of the store as it is on disk at this moment: what a crash of the process leaves. */
export async function copyOfStore(directory: string): Promise<string> {
  const copy = await temporaryDirectory()
  await cp(directory, copy, { recursive: true })
  return copy
}

/**
 * The disk of an open store is full: LevelDB's next files lead to a device that has no space left. What fits into the
 * file it writes at present, up to 4 MiB, is still written.
 *
 * @returns undoes it
 */
export async function fillDisk(directory: string): Promise<() => Promise<void>> {
  const names = await readdir(join(directory, 'journal'))
  const last = Math.max(...names.map(name => Number(/^(?:MANIFEST-)?(\d+)/.exec(name)?.[1] ?? 0)))
  const links: string[] = []
  for (let number = last + 1; number <= last + 20; ++number) {
    for (const extension of ['log', 'ldb']) {
      const link = join(directory, 'journal', `${String(number).padStart(6, '0')}.${extension}`)
      await symlink('/dev/full', link)
      links.push(link)
    }
  }
  return async () => {
    for (const link of links) {
      await unlink(link).catch(() => {})
    }
  }
}
