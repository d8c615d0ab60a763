import { execFileSync } from 'node:child_process'
import { writeFile, rm, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { DiskClock } from '../../src/delivery/clock.ts'
import { Journal } from '../../src/delivery/journal.ts'
import { newKept } from '../../src/delivery/kept.ts'
import type { Kept } from '../../src/delivery/kept.ts'
import { Recorder } from '../../src/delivery/recorder.ts'
import type { Store } from '../../src/delivery/recorder.ts'
import { fillDisk, temporaryDirectory } from '../helpers/journal-files.ts'

// The recorder on real disks that are full; only the time until the next try is made up.

interface Run {
  readonly recorder: Recorder
  readonly kept: Map<number, Kept>
  readonly problems: (string | undefined)[]
}

const SIZE = 100_000

function start(directory: string): Run {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const kept = new Map<number, Kept>()
  const problems: (string | undefined)[] = []
  const recorder = new Recorder({
    open: async () => {
      const { journal, recovered } = await counted(Journal.open(directory))
      return { journal: countedStore(journal), recovered }
    },
    ...{ onOpen: () => {}, onSaved: () => {}, kept: () => kept },
    onProblem: problem => problems.push(problem),
    ...{ state: () => ({ some: 'totals' }), clock: new DiskClock(), maxLogged: 100, maxLoggedMs: 1e9 },
  })
  onTestFinished(async () => {
    vi.useRealTimers()
    await recorder.close(10_000)
  })
  return { recorder, kept, problems }
}

function accept({ recorder, kept }: Run, number: number): Kept {
  const payload = { contentType: 'text/plain', body: Buffer.alloc(SIZE, `${number},`) }
  const order = { key: `${number}`, leads: false }
  const own = newKept(
    number,
    { ...{ id: `id-${number}`, owner: 'a', label: '', headers: [], payload, order }, acceptedAt: Date.now() },
    'endpoint',
    performance.now(),
    1e9
  )
  kept.set(number, own)
  recorder.heard(own, undefined)
  return own
}

/** Operations of the disk that are under way. */
let busy = 0

async function counted<T>(operation: Promise<T>): Promise<T> {
  ++busy
  try {
    return await operation
  } finally {
    --busy
  }
}

function countedStore(journal: Journal): Store {
  return {
    get bytes() {
      return journal.bytes
    },
    numbers: () => journal.numbers(),
    sizeOf: number => journal.sizeOf(number),
    write: batch => counted(journal.write(batch)),
    read: number => counted(journal.read(number)),
    readLog: () => journal.readLog(),
    trimLog: (maxSettled, since) => journal.trimLog(maxSettled, since),
    probeRoom: () => counted(journal.probeRoom()),
    close: () => counted(journal.close()),
  }
}

/** Time passes until something is so, but not while the disk works: how fast that is makes no difference. */
async function until(check: () => boolean): Promise<void> {
  for (let passedMs = 0; !check();) {
    if (passedMs > 600_000) {
      throw new Error('it never came to that')
    }
    if (busy === 0) {
      await vi.advanceTimersByTimeAsync(10)
      passedMs += 10
    }
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function expectReadable({ recorder }: Run, kept: readonly Kept[]): Promise<void> {
  for (const each of kept) {
    const body = (await recorder.read(each))?.payload.body
    expect(body?.equals(Buffer.alloc(SIZE, `${each.number},`)), each.id).toBe(true)
  }
}

/** What the next run finds. */
async function numbersIn(directory: string): Promise<{ numbers: number[]; lost: number }> {
  const { journal, recovered } = await Journal.open(directory)
  await journal.close()
  return { numbers: recovered.deliveries.map(({ delivery }) => delivery.number), lost: recovered.lost }
}

/** A disk of 8 MiB of its own; `undefined` where that may not be had. */
async function smallDisk(): Promise<string | undefined> {
  const directory = join(await temporaryDirectory(), 'disk')
  await mkdir(directory)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', directory], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  onTestFinished(() => void execFileSync('umount', ['-l', directory]))
  return directory
}

describe('a disk that is full', () => {
  it(
    'can be read for as long as it is, and takes what is new once there is room',
    { timeout: 60_000 },
    async context => {
      const directory = await smallDisk()
      if (directory === undefined) {
        return context.skip()
      }
      const run = start(directory)
      const early = Array.from({ length: 10 }, (_, index) => accept(run, index + 1))
      await until(() => early.every(({ stored }) => stored > SIZE))
      // as if memory had been short
      for (const kept of early) {
        kept.content = undefined
      }
      await writeFile(join(directory, 'ballast'), Buffer.alloc(16 * 1024 * 1024, 1)).catch(() => {})
      const late = Array.from({ length: 60 }, (_, index) => accept(run, 100 + index))
      await until(() => run.problems.length >= 2)
      expect(run.problems.slice(0, 2)).toEqual([
        undefined,
        expect.stringMatching(/^(ENOSPC|LEVEL_IO_ERROR: No space left on device)$/),
      ])
      await expectReadable(run, early)
      // also after it was tried in vain
      await until(() => run.problems.length >= 4)
      await expectReadable(run, early)
      expect(late.every(({ stored, content }) => stored === 0 && content !== undefined)).toBe(true)

      await rm(join(directory, 'ballast'))
      for (const kept of late.slice(20)) {
        kept.state = { name: 'ended', how: 'delivered' }
        run.kept.delete(kept.number)
        run.recorder.heard(kept, { name: 'queued' })
      }
      await until(() => run.problems.at(-1) === undefined && late.slice(0, 20).every(({ stored }) => stored > SIZE))
      await expectReadable(run, [...early, ...late.slice(0, 20)])
      vi.useRealTimers()
      await run.recorder.close(10_000)
      expect(await numbersIn(directory)).toEqual({ numbers: [...run.kept.keys()], lost: 0 })
    }
  )

  it('for the next file of LevelDB only loses nothing either', { timeout: 60_000 }, async () => {
    const directory = await temporaryDirectory()
    const run = start(directory)
    const early = Array.from({ length: 5 }, (_, index) => accept(run, index + 1))
    await until(() => early.every(({ stored }) => stored > SIZE))
    const empty = await fillDisk(directory)
    const late = Array.from({ length: 60 }, (_, index) => accept(run, 100 + index))
    await until(() => late.every(({ stored }) => stored > SIZE) || run.problems.length > 1)
    late.push(accept(run, 200))
    // before it is opened again: LevelDB would read that device to its end, which it has none
    await until(() => run.problems.length >= 2)
    expect(run.problems[1]).toBe('LEVEL_IO_ERROR: No space left on device')
    await expectReadable(run, early)

    await empty()
    await until(() => run.problems.at(-1) === undefined && late.every(({ stored }) => stored > SIZE))
    await expectReadable(run, [...early, ...late])
    vi.useRealTimers()
    await run.recorder.close(10_000)
    expect(await numbersIn(directory)).toEqual({ numbers: [...run.kept.keys()], lost: 0 })
  })
})
