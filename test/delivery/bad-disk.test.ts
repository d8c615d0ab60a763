import { mkdir, rm, writeFile } from 'node:fs/promises'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { Journal } from '../../src/delivery/journal.ts'
import type { Recovered } from '../../src/delivery/journal.ts'
import { DurableRun, failing, fakeClocks, ok, underWay } from '../helpers/durable-run.ts'
import type { DurableOptions } from '../helpers/durable-run.ts'
import { copyOfStore, damageFiles, fillDisk, readStore, temporaryDirectory } from '../helpers/journal-files.ts'

const REOPEN_MS = 10_000
/** Waits between attempts in these tests: for ever. */
const LATER = [3_600_000, 3_600_000, 3_600_000]

/** A journal whose writes fail as long as the test says so. */
interface Fragile {
  isBroken: boolean
  opened: number
  open: NonNullable<DurableOptions['openJournal']>
}

function fragile(directory: string): Fragile {
  const disk: Fragile = {
    isBroken: false,
    opened: 0,
    async open(progressOf) {
      if (disk.isBroken) {
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      }
      const opened = await Journal.open(directory, progressOf)
      ++disk.opened
      const flush = opened.journal.flush.bind(opened.journal)
      opened.journal.flush = () =>
        disk.isBroken ? Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' })) : flush()
      return opened
    },
  }
  return disk
}

async function isWritten(directory: string, ids: readonly string[]): Promise<boolean> {
  const store = await readStore(await copyOfStore(directory))
  const heads = [...store].filter(([key]) => key.startsWith('head!')).map(([, value]) => value.toString())
  return ids.every(id => heads.some(head => head.includes(`"${id}"`)))
}

/** What the next run finds. */
async function left(directory: string): Promise<Recovered> {
  const { journal, recovered } = await Journal.open(directory, () => ({ attempts: 0, failures: 0, isDead: false }))
  await journal.close()
  return recovered
}

describe('a journal that cannot be opened', () => {
  it('is said once an attempt, and deliveries go on from memory', async () => {
    fakeClocks()
    const directory = join(await temporaryDirectory(), 'file')
    await writeFile(directory, 'not a folder')
    const run = new DurableRun({ directory })
    const ids = run.submitMany(3)
    await run.until(() => run.journalEvents.length === 1 && run.total.delivered === 3)
    expect(run.journalEvents).toEqual([expect.stringMatching(/^E(NOTDIR|EXIST)$/)])
    expect(run.sentIds).toEqual(ids)

    await run.later(REOPEN_MS, () => run.journalEvents.length === 2)
    await run.later(REOPEN_MS, () => run.journalEvents.length === 3)
    expect(run.total).toMatchObject({ accepted: 3, delivered: 3, pending: 0 })
  })

  it('is tried again, and what was not written then is', async () => {
    fakeClocks()
    const parent = await temporaryDirectory()
    const directory = join(parent, 'data')
    await writeFile(directory, 'not a folder')
    const run = new DurableRun({ directory, answering: () => failing, schedule: LATER })
    const ids = run.submitMany(3)
    await run.until(() => run.sent.length === 3 && run.journalEvents.length === 1)

    await rm(directory)
    await mkdir(directory)
    await run.later(REOPEN_MS, () => run.journalEvents.length === 2)
    expect(run.journalEvents[1]).toBeUndefined()
    await vi.waitFor(async () => expect(await isWritten(directory, ids)).toBe(true))
    await run.stop()

    const { deliveries } = await left(directory)
    expect(deliveries.map(({ stored, progress }) => [stored.id, progress.attempts])).toEqual(ids.map(id => [id, 1]))
  })

  it('opens with what an earlier run has left, however late', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const first = new DurableRun({ directory, answering: () => failing, schedule: LATER })
    await first.opened()
    const earlier = first.submit()
    await first.until(() => first.sent.length === 1)
    await first.stop()

    const disk = fragile(directory)
    disk.isBroken = true
    const run = new DurableRun({ directory, openJournal: disk.open })
    const meanwhile = run.submit()
    await run.until(() => run.journalEvents.length === 1 && run.total.delivered === 1)
    disk.isBroken = false
    await run.later(REOPEN_MS, () => run.journalEvents.length === 2)
    expect(run.events).toContainEqual({ type: 'journal', problem: undefined, recovered: 1, damaged: 0 })
    await run.later(2 * LATER[0]!, () => run.total.delivered === 2)
    expect(run.sentIds).toEqual([meanwhile, earlier])
    expect(run.total).toMatchObject({ accepted: 2, delivered: 2, pending: 0 })
  })

  it('that another process holds is used once it lets go', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const script = `
      const { ClassicLevel } = require(${JSON.stringify(createRequire(import.meta.url).resolve('classic-level'))})
      new ClassicLevel(${JSON.stringify(join(directory, 'journal'))}).open().then(() => console.log('open'))
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    await once(child.stdout, 'data')

    const run = new DurableRun({ directory, answering: () => failing, schedule: LATER })
    const id = run.submit()
    await run.until(() => run.journalEvents.length === 1 && run.sent.length === 1)
    expect(run.journalEvents).toEqual(['LEVEL_LOCKED'])

    child.kill('SIGKILL')
    await once(child, 'exit')
    await run.later(REOPEN_MS, () => run.journalEvents.length === 2)
    await vi.waitFor(async () => expect(await isWritten(directory, [id])).toBe(true))
  })

  it('is let go again when what it holds cannot be taken over, and nothing of that is removed', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const first = new DurableRun({ directory, answering: () => underWay, routes: { a: 'a', b: 'b' } })
    await first.opened()
    const ids = [first.submit({ owner: 'a' }), first.submit({ owner: 'b' })]
    await vi.waitFor(async () => expect(await isWritten(directory, ids)).toBe(true))
    await first.stop()

    let failures = 2
    const sent: string[] = []
    const run = new DurableRun({
      directory,
      routes: { a: 'a', b: 'b' },
      connect: ({ id }) => {
        if (id === 'b' && failures-- > 0) {
          throw new Error('no socket')
        }
        return { send: () => Promise.resolve(sent.push(id) > 0 ? ok : failing), close: () => {}, destroy: () => {} }
      },
    })
    await run.until(() => run.journalEvents.length === 1)
    expect(run.journalEvents).toEqual(['no socket'])
    await run.later(REOPEN_MS, () => run.journalEvents.length === 2)
    await run.later(REOPEN_MS, () => run.journalEvents.length === 3)
    await run.later(5_000, () => run.total.delivered === 2)
    expect(run.journalEvents).toEqual(['no socket', 'no socket', undefined])
    expect(run.total).toMatchObject({ accepted: 2, delivered: 2 })
  })

  it('may be closed meanwhile: what waits is discarded, and said', async () => {
    fakeClocks()
    const directory = join(await temporaryDirectory(), 'file')
    await writeFile(directory, '')
    const run = new DurableRun({ directory, answering: () => failing, schedule: LATER })
    const ids = run.submitMany(2)
    await run.until(() => run.journalEvents.length === 1 && run.sent.length === 2)
    await run.stop()
    expect(run.discarded).toEqual(ids.map(id => `${id}: stopped`))
    expect(run.total).toMatchObject({ accepted: 2, pending: 0, discarded: { stopped: 2 } })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('refuses what is beyond the memory', async () => {
    fakeClocks()
    const directory = join(await temporaryDirectory(), 'file')
    await writeFile(directory, '')
    const run = new DurableRun({ directory, answering: () => underWay, maxBytes: 10_000 })
    await run.until(() => run.journalEvents.length === 1)
    for (let n = 0; n < 30; ++n) {
      run.submit({ body: Buffer.alloc(1000, n) })
    }
    expect(run.total).toMatchObject({ accepted: 30, pending: 10, discarded: { 'queue full': 20 } })
  })

  it('counts what waits in memory once, however often it is tried', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const disk = fragile(directory)
    disk.isBroken = true
    const run = new DurableRun({ directory, openJournal: disk.open, answering: () => failing, schedule: LATER })
    run.submit({ body: Buffer.alloc(1024 * 1024) })
    for (let times = 1; times <= 6; ++times) {
      await run.until(() => run.journalEvents.length === times)
      await vi.advanceTimersByTimeAsync(REOPEN_MS)
    }
    disk.isBroken = false
    await run.later(REOPEN_MS, () => disk.opened === 1)
    await vi.waitFor(() => expect(disk.opened).toBe(1))

    // 1 MiB is not so much that the next one would be written without delay
    await vi.waitFor(async () => expect(await isWritten(directory, [run.sentIds[0]!])).toBe(true))
    const young = run.submit()
    await run.until(() => run.sentIds.includes(young))
    expect(await isWritten(directory, [young])).toBe(false)
  })
})

describe('a disk that fills up', () => {
  it('is said with the reason, nothing is lost, and what is new is written once there is room', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const run = new DurableRun({ directory, answering: () => failing, schedule: LATER })
    await run.opened()
    const early = Array.from({ length: 5 }, () => run.submit({ body: Buffer.alloc(200_000, 'e') }))
    await vi.waitFor(async () => expect(await isWritten(directory, early)).toBe(true))

    const empty = await fillDisk(directory)
    const late = Array.from({ length: 30 }, () => run.submit({ body: Buffer.alloc(200_000, 'l') }))
    // those fill the file of now, and this one needs the next
    await vi.waitFor(async () => expect(await isWritten(directory, late)).toBe(true))
    late.push(run.submit({ body: Buffer.alloc(200_000, 'l') }))
    await run.until(() => run.journalEvents.length === 2)
    expect(run.journalEvents[1]).toBe('LEVEL_IO_ERROR')
    expect(run.total).toMatchObject({ accepted: 36, pending: 36 })

    await empty()
    await run.later(REOPEN_MS, () => run.journalEvents.length === 3)
    expect(run.journalEvents[2]).toBeUndefined()
    await vi.waitFor(async () => expect(await isWritten(directory, late)).toBe(true))
    await run.stop()
    expect((await left(directory)).deliveries.map(({ stored }) => stored.id).sort()).toEqual([...early, ...late].sort())

    const next = new DurableRun({ directory })
    await next.opened()
    await next.later(3 * LATER[0]!, () => next.total.delivered === 36)
    for (const { id, body } of next.sent) {
      if (!body.equals(Buffer.alloc(200_000, early.includes(id) ? 'e' : 'l'))) {
        expect.fail(`the body of ${id} has changed`)
      }
    }
  })

  it('parks what is on disk only: not failed, and sent once it can be read', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const disk = fragile(directory)
    let outcome: AttemptOutcome = failing
    const run = new DurableRun({ directory, openJournal: disk.open, answering: () => outcome, schedule: [60_000] })
    await run.opened()
    const ids = run.submitMany(3)
    await run.until(() => run.sent.length === 3)
    // their turn is not near, so that they are on disk only
    await vi.waitFor(async () => expect(await isWritten(directory, ids)).toBe(true))

    disk.isBroken = true
    run.submit({ owner: 'a', id: 'trouble' })
    await run.until(() => run.journalEvents.length === 2)
    outcome = ok
    for (let minute = 0; minute < 3; ++minute) {
      await vi.advanceTimersByTimeAsync(60_000)
    }
    expect(run.total).toMatchObject({ pending: 3, delivered: 1, dead: 0 })
    expect(run.sentIds.slice(4)).toEqual(['trouble'])

    disk.isBroken = false
    await run.later(REOPEN_MS, () => run.journalEvents.at(-1) === undefined)
    await run.later(5_000, () => run.total.delivered === 4)
    expect(run.sent.filter(({ id }) => ids.includes(id)).map(({ number }) => number)).toEqual([1, 1, 1, 2, 2, 2])
    expect(
      run.sent
        .slice(-3)
        .map(({ body }) => body.toString())
        .sort()
    ).toEqual(ids.map(id => `"${id}"`).sort())
  })

  it('forgets nothing that has happened meanwhile', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const disk = fragile(directory)
    const routes = { a: 'a', b: 'b', c: 'c' }
    const options = { directory, openJournal: disk.open, schedule: [], routes }
    const run = new DurableRun({ ...options, answering: () => underWay })
    await run.opened()
    // on disk as they were submitted
    const ids = ['a', 'b', 'c'].map(owner => run.submit({ owner }))
    await vi.waitFor(async () => expect(await isWritten(directory, ids)).toBe(true))
    await run.stop()

    const second = new DurableRun({
      ...options,
      answering: async ({ to }) => {
        await second.until(() => second.journalEvents.includes('ENOSPC'))
        return to === 'a' ? failing : to === 'b' ? ok : underWay
      },
    })
    await second.until(() => second.sent.length === 3)
    disk.isBroken = true
    second.submit({ owner: 'c', id: 'trouble' })
    await second.until(() => second.total.dead === 1 && second.total.delivered === 1)
    disk.isBroken = false
    await second.later(REOPEN_MS, () => second.journalEvents.at(-1) === undefined)
    await second.stop()

    const { deliveries } = await left(directory)
    expect(deliveries.map(({ stored, progress }) => [stored.id, progress.isDead])).toEqual([
      [ids[0], true],
      [ids[2], false],
      ['trouble', false],
    ])
    const third = new DurableRun({ directory, routes, answering: () => underWay })
    const rows = await third.opened().then(() => third.log())
    expect(rows.filter(({ settled }) => settled !== undefined).map(({ id, settled }) => [id, settled])).toEqual(
      expect.arrayContaining([
        [ids[0], 'dead'],
        [ids[1], 'delivered'],
      ])
    )
    expect(third.total).toMatchObject({ life: { accepted: 4, delivered: 1, dead: 1 } })
  })

  it('takes no row of the log with it', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const disk = fragile(directory)
    const run = new DurableRun({ directory, openJournal: disk.open })
    await run.opened()
    await run.pass(100, 5)
    const id = run.submit()
    await run.until(() => run.total.delivered === 1)
    disk.isBroken = true
    await run.later(1_000, () => run.journalEvents.includes('ENOSPC'))
    expect((await run.log()).map(row => row.id)).toEqual([id])
    disk.isBroken = false
    await run.later(REOPEN_MS, () => run.journalEvents.at(-1) === undefined)
    await run.pass(2_000, 5)
    expect((await run.log()).map(row => row.id)).toEqual([id])
    await run.stop()
    expect([...(await readStore(directory)).keys()].filter(key => key.startsWith('log!'))).toHaveLength(1)
  })

  it('in the middle of a stop: what could not be written is discarded, and said', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const disk = fragile(directory)
    const run = new DurableRun({ directory, openJournal: disk.open, answering: () => failing, schedule: LATER })
    await run.opened()
    const id = run.submit()
    disk.isBroken = true
    await run.stop()
    expect(run.discarded).toEqual([`${id}: stopped`])
    expect(run.total).toMatchObject({ accepted: 1, pending: 0 })
    // and the store is not held any more
    expect(await left(directory)).toMatchObject({ deliveries: [] })
  })
})

describe('a store that is damaged', () => {
  it('costs what cannot be read, each counted, and the rest is delivered', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const first = new DurableRun({ directory, answering: () => underWay, routes: { a: 'a', b: 'b' } })
    await first.opened()
    const ids = [first.submit({ owner: 'a' }), first.submit({ owner: 'b' }), first.submit({ owner: 'b' })]
    await vi.waitFor(async () => expect(await isWritten(directory, ids)).toBe(true))
    await first.stop()
    await damageFiles(directory, /\.log$/, bytes => {
      const at = bytes.indexOf(`"${ids[0]}"`, bytes.indexOf('body!'))
      const damaged = Buffer.from(bytes)
      damaged[at + 1] = 0x21
      return damaged
    })

    const run = new DurableRun({ directory, routes: { a: 'a', b: 'b' } })
    await run.opened()
    await run.until(() => run.total.pending === 0)
    const { accepted, delivered, discarded } = run.total
    expect(accepted).toBe(delivered + (discarded.damaged ?? 0))
    for (const { id, body } of run.sent) {
      expect(body.toString()).toBe(`"${id}"`)
    }
  })
})
