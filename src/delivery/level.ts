import { chmod, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { ClassicLevel } from 'classic-level'

// What has to be known of LevelDB: how it fails, what can be mended, and what it needs of a disk.

export type Level = ClassicLevel<string, Buffer>

const FOLDER_MODE = 0o700
const FILE_MODE = 0o600
const PROBE_STEP_BYTES = 1024 * 1024

/**
 * Opens the store in a folder, and lets `use` read it. A damaged one is repaired as far as LevelDB can, else put aside
 * (`….damaged-<epoch ms>`) for an empty one.
 *
 * @throws what LevelDB says (see {@link reasonOf}), and what `use` throws
 */
export async function openLevel<T>(location: string, use: (db: Level) => Promise<T>): Promise<T> {
  await makePrivate(location)
  if (await isHeadless(location)) {
    await ClassicLevel.repair(location)
  }
  for (const mend of [
    () => ClassicLevel.repair(location),
    async () => {
      await rename(location, `${location}.damaged-${Date.now()}`)
      await makePrivate(location)
    },
  ]) {
    try {
      return await openOnce(location, use)
    } catch (error) {
      if (!isDamage(error)) {
        throw error
      }
      await mend()
    }
  }
  return openOnce(location, use)
}

async function openOnce<T>(location: string, use: (db: Level) => Promise<T>): Promise<T> {
  const db: Level = new ClassicLevel<string, Buffer>(location, { valueEncoding: 'buffer', compression: false })
  await db.open()
  try {
    return await use(db)
  } catch (error) {
    await db.close()
    throw error
  }
}

/** Bodies are nobody else's business. LevelDB makes its later files as the process' mask says: the folder is what counts. */
export async function makePrivate(location: string): Promise<void> {
  await mkdir(location, { recursive: true, mode: FOLDER_MODE })
  // a disk that knows no modes is used all the same
  await chmod(location, FOLDER_MODE).catch(() => {})
  for (const file of await readdir(location, { withFileTypes: true })) {
    if (file.isFile()) {
      // LevelDB may have removed it in between
      await chmod(join(location, file.name), FILE_MODE).catch(() => {})
    }
  }
}

/**
 * Tries to write as much beside the store as LevelDB needs to open it: it moves what stands in its log to a table first,
 * and gives up on a disk that is full, so that nothing could be read any more.
 *
 * @throws as the disk says: `ENOSPC`…
 */
export async function probeRoom(location: string): Promise<void> {
  let bytes = PROBE_STEP_BYTES
  for (const name of await readdir(location)) {
    if (name.endsWith('.log')) {
      bytes += (await stat(join(location, name))).size
    }
  }
  const path = `${location}.probe`
  try {
    const file = await open(path, 'w', FILE_MODE)
    try {
      // an empty file takes no room, and neither does a hole
      const step = Buffer.alloc(PROBE_STEP_BYTES, 1)
      for (; bytes > 0; bytes -= step.length) {
        await file.write(step)
      }
    } finally {
      await file.close()
    }
  } finally {
    await rm(path, { force: true })
  }
}

/** LevelDB takes a store without `CURRENT` for none at all and clears it away, and does not open one without manifest. */
async function isHeadless(location: string): Promise<boolean> {
  const files = await readdir(location)
  const current = await readFile(join(location, 'CURRENT'), 'utf8').catch(() => '')
  return files.some(file => /\.(ldb|log)$/.test(file)) && !files.includes(current.trim())
}

/** Reading past the end of a file that was cut is an invalid argument; a file may be gone. Else the disk is to blame. */
export function isDamage(error: unknown): boolean {
  const { message, cause } = error as { message?: string; cause?: { message?: string } }
  return (
    reasonOf(error) === 'LEVEL_CORRUPTION' ||
    (reasonOf(error) === 'LEVEL_IO_ERROR' &&
      /: (Invalid argument|No such file or directory)$/.test(cause?.message ?? message ?? ''))
  )
}

/** Why LevelDB or the disk did not open or write: `LEVEL_LOCKED`, `LEVEL_CORRUPTION`, `LEVEL_IO_ERROR`, `ENOSPC`… */
export function reasonOf(error: unknown): string {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } }
  return String(cause?.code ?? code ?? (error instanceof Error ? error.message : error))
}

/** The same for an administrator: `LEVEL_IO_ERROR: No space left on device`. Without the path that LevelDB names. */
export function problemOf(error: unknown): string {
  const { message, cause } = error as { message?: unknown; cause?: { message?: unknown } }
  const words = /: ([A-Z][^:/]*)$/.exec(String(cause?.message ?? message ?? ''))?.[1]
  const reason = reasonOf(error)
  return reason === 'LEVEL_IO_ERROR' && words !== undefined ? `${reason}: ${words}` : reason
}
