import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { Journal } from '../../src/delivery/journal.ts'
import { DurableRun, failing, fakeClocks, ok, underWay } from '../helpers/durable-run.ts'
import type { Answering, DiskOperation, DurableOptions } from '../helpers/durable-run.ts'
import { readStore, temporaryDirectory, writeStore } from '../helpers/journal-files.ts'

// The whole engine on disks that fail, hang or lose something: which deliveries are sent, told, counted, and come back
// after a restart. How the journal and the recorder cope is shown in their own tests.

const SECOND = 1_000
const MINUTE = 60 * SECOND
const REOPEN_MS = 10 * SECOND
/** Waits between attempts: for ever. */
const LATER = [60 * MINUTE, 60 * MINUTE]
const NO_ANSWER = 'the data directory does not answer'
/** What the thread of the engine is given to close, without grace for its requests. */
const CLOSES_WITHIN_MS = 3 * SECOND

/** A disk in real files that fails or hangs as long as the test says so. */
class Disk {
  readonly directory: string
  readonly begun: DiskOperation[] = []
  readonly #full = new Set<DiskOperation>()
  readonly #gates = new Map<DiskOperation, Promise<void>>()
  readonly #release = new Map<DiskOperation, () => void>()

  constructor(directory: string) {
    this.directory = directory
  }

  fill(...operations: DiskOperation[]): void {
    operations.forEach(operation => this.#full.add(operation))
  }

  hangOn(operation: DiskOperation): void {
    this.#gates.set(operation, new Promise(resolve => this.#release.set(operation, resolve)))
  }

  mend(): void {
    this.#full.clear()
    this.#gates.clear()
    this.#release.forEach(release => release())
  }

  readonly before = async (operation: DiskOperation): Promise<void> => {
    this.begun.push(operation)
    await this.#gates.get(operation)
    if (this.#full.has(operation)) {
      throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
    }
  }
}

async function newDisk(): Promise<Disk> {
  fakeClocks()
  return new Disk(await temporaryDirectory())
}

const ROUTES = { a: 'a', b: 'b' }

function runOn(disk: Disk, options: Partial<DurableOptions> = {}): DurableRun {
  const run = new DurableRun({ directory: disk.directory, beforeDisk: disk.before, routes: ROUTES, ...options })
  // before it is closed
  onTestFinished(() => disk.mend())
  return run
}

async function openedOn(disk: Disk, options: Partial<DurableOptions> = {}): Promise<DurableRun> {
  const run = runOn(disk, options)
  await run.opened()
  return run
}

/** These are on disk. */
function areSafe(run: DurableRun, ids: readonly string[]): boolean {
  const safe = new Set(run.events.flatMap(event => (event.type === 'safe' ? [event.id] : [])))
  return ids.every(id => safe.has(id))
}

/** Submits some, each of which is on disk only once it has failed, as its turn is not near. */
async function onDiskOnly(run: DurableRun, count: number): Promise<string[]> {
  const { answering } = run
  run.answering = () => failing
  const ids = run.submitMany(count)
  await run.until(() => areSafe(run, ids) && run.sent.filter(({ id }) => ids.includes(id)).length === count)
  await run.pass(100, 4)
  run.answering = answering
  return ids
}

function journalEventsOf(run: DurableRun): unknown[] {
  return run.events.filter(({ type }) => type === 'journal')
}

/** @returns how long that has taken, on the engine's clock */
async function close(run: DurableRun): Promise<number> {
  const start = performance.now()
  let tookMs: number | undefined
  void run.dispatcher.close(0).then(() => {
    tookMs = performance.now() - start
  })
  await run.later(50, () => tookMs !== undefined)
  await run.stop()
  return tookMs!
}

/** Of what was told to be discarded as `stopped`. */
function stoppedIn(run: DurableRun): string[] {
  return run.events.flatMap(event => (event.type === 'discarded' && event.reason === 'stopped' ? [event.id] : []))
}

/** A run on a disk that is well, in which everything is delivered that can be. */
async function lastRunOn({ directory }: Disk): Promise<DurableRun> {
  const run = new DurableRun({ directory, routes: ROUTES })
  await run.opened()
  await run.later(90 * MINUTE, () => run.total.pending === 0)
  for (const { id, body } of run.sent) {
    expect(body.toString()).toBe(`"${id}"`)
  }
  return run
}

describe('a journal that cannot be opened', () => {
  it('is said once an attempt, deliveries go on from memory, and what waits is written once it can be', async () => {
    const { directory: parent } = await newDisk()
    const disk = new Disk(join(parent, 'data'))
    await writeFile(disk.directory, 'not a folder')
    const run = runOn(disk, { schedule: LATER, answering: ({ to }) => (to === 'a' ? ok : failing) })
    const delivered = run.submitMany(3)
    const waiting = run.submitMany(2, { owner: 'b' })
    await run.until(() => run.journalEvents.length === 1 && run.total.delivered === 3 && run.sent.length === 5)
    await run.later(REOPEN_MS, () => run.journalEvents.length === 3)
    expect(new Set(run.journalEvents.map(problem => problem?.replace(/NOTDIR|EXIST/, '…')))).toEqual(new Set(['E…']))
    expect(new Set(run.sentIds)).toEqual(new Set([...delivered, ...waiting]))

    await rm(disk.directory)
    await mkdir(disk.directory)
    await run.later(REOPEN_MS, () => areSafe(run, waiting))
    await run.stop()
    expect(run.discarded).toEqual([])
    const next = await lastRunOn(disk)
    expect(next.sent.map(({ id, number }) => `${id} ${number}`).sort()).toEqual(waiting.map(id => `${id} 2`).sort())
    expect(next.total).toMatchObject({ accepted: 5, delivered: 5 })
  })

  it('until late is taken over then: whatever an earlier run has left, mixed up with nothing', async () => {
    const disk = await newDisk()
    const first = await openedOn(disk, { schedule: LATER, answering: () => failing })
    const earlier = await onDiskOnly(first, 3)
    await first.stop()

    disk.fill('open')
    const run = runOn(disk, { schedule: LATER, answering: () => failing })
    const meanwhile = run.submitMany(3, { owner: 'b' })
    // handed over again, as whoever did so has not heard that it is safe: it is one delivery still
    run.submit({ id: earlier[0]!, owner: 'b' })
    await run.until(() => run.journalEvents.length === 1 && run.sent.length === 4)
    expect(run.total).toMatchObject({ accepted: 4, pending: 4 })
    disk.mend()
    await run.later(REOPEN_MS, () => run.journalEvents.length === 2)
    expect(journalEventsOf(run).at(-1)).toEqual({ type: 'journal', recovered: 3, lost: 0 })
    expect(run.total).toMatchObject({ accepted: 6, pending: 6, discarded: {} })
    await run.until(() => areSafe(run, meanwhile))
    await run.stop()
    expect(run.discarded).toEqual([])

    const { journal, recovered } = await Journal.open(disk.directory)
    await journal.close()
    const kept = recovered.deliveries.map(({ delivery, progress }) => `${delivery.id} ${progress?.attempts}`)
    expect(kept.sort()).toEqual([...earlier, ...meanwhile].map(id => `${id} 1`).sort())
    expect(new Set(recovered.deliveries.map(({ delivery }) => delivery.number)).size).toBe(6)
    const last = await lastRunOn(disk)
    expect(last.sentIds.sort()).toEqual([...earlier, ...meanwhile].sort())
    expect(last.total).toMatchObject({ accepted: 6, delivered: 6 })
  })
})

describe('by id, over a journal that fails, a stop and a restart', () => {
  it.each([
    ['that cannot be written', (disk: Disk) => disk.fill('write'), () => {}],
    ['that is full', (disk: Disk) => disk.fill('write', 'probeRoom', 'open'), () => {}],
    ['that can be written again for the stop', (disk: Disk) => disk.fill('write'), (disk: Disk) => disk.mend()],
    ['on which a write hangs', (disk: Disk) => disk.hangOn('write'), () => {}],
    ['that hangs as it is opened again', (disk: Disk) => (disk.fill('write'), disk.hangOn('open')), () => {}],
  ])('on a disk %s, what is told `stopped` never comes, and all else does', async (_, trouble, atStop) => {
    const disk = await newDisk()
    let answerSome = (): void => {}
    const answered = new Promise<AttemptOutcome>(resolve => (answerSome = () => resolve(ok)))
    const delivered: string[] = []
    const run = await openedOn(disk, {
      schedule: LATER,
      answering: ({ id }) => (delivered.includes(id) ? answered : underWay),
    })
    const onDisk = await onDiskOnly(run, 2)
    const early = Array.from({ length: 4 }, (_, index) => `early-${index}`)
    const [cancelled] = early
    delivered.push('early-1', 'late-1')
    early.forEach(id => run.submit({ owner: 'b', id }))
    await run.until(() => areSafe(run, early))

    trouble(disk)
    const late = Array.from({ length: 8 }, (_, index) => `late-${index}`)
    late.slice(0, 4).forEach(id => run.submit({ owner: 'b', id }))
    await run.later(6 * SECOND, () => run.journalEvents.length === 2)
    run.dispatcher.controls.cancel({ id: cancelled! })
    answerSome()
    await run.until(() => run.total.delivered === 2)
    late.slice(4).forEach(id => run.submit({ owner: 'b', id }))
    await run.pass(20, 4)
    atStop(disk)
    expect(await close(run)).toBeLessThanOrEqual(CLOSES_WITHIN_MS)
    const told = stoppedIn(run)
    const { pending } = run.total
    // an operation that hung has its effect after all, and lets go of the files
    disk.mend()
    await run.pass(20 * SECOND, 20)

    const last = await lastRunOn(disk)
    // what ended while the disk could not hear of it may come once more, as after a crash, but nothing else does
    const comes = last.sentIds.filter(id => !delivered.includes(id) && id !== cancelled)
    expect([...told, ...comes, ...delivered, cancelled].sort()).toEqual([...onDisk, ...early, ...late].sort())
    expect(comes).toHaveLength(pending)
    expect(comes).toEqual(expect.arrayContaining(onDisk))
  })

  it('without a journal from the beginning, all that waits is told `stopped`', async () => {
    const disk = await newDisk()
    disk.fill('open')
    const run = runOn(disk, { answering: () => failing, schedule: LATER })
    const ids = run.submitMany(2)
    await run.until(() => run.journalEvents.length === 1 && run.sent.length === 2)
    await close(run)
    expect(stoppedIn(run)).toEqual(ids)
    expect(run.total).toMatchObject({ accepted: 2, pending: 0, discarded: { stopped: 2 } })
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a journal that is opened late', () => {
  // two hooks lead to one URL
  const routes = { a: 'a', b: 'a', c: 'c' }

  /** Has left a `pre` for `a`, which is to be tried again, and goes on without its journal. */
  async function late(how: 'fill' | 'hangOn', posts: Answering): Promise<{ run: DurableRun; disk: Disk; pre: string }> {
    const disk = await newDisk()
    const first = await openedOn(disk, { schedule: [MINUTE], answering: () => failing, routes })
    const pre = first.submit({ key: 'call', phase: 'pre', lifetimeMs: 5 * MINUTE })
    await first.until(() => areSafe(first, [pre]) && first.sent.length === 1)
    await first.stop()
    disk[how]('open')
    const run = runOn(disk, { schedule: Array<number>(60).fill(SECOND), answering: posts, routes })
    await run.later(SECOND, () => run.journalEvents.length === 1)
    return { run, disk, pre }
  }
  it.each(['fill', 'hangOn'] as const)('sends no pre whose post has gone to its URL (%s)', async how => {
    const { run, disk, pre } = await late(how, () => ok)
    const post = run.submit({ key: 'call', owner: 'b' })
    await run.until(() => run.total.delivered === 1)
    disk.mend()
    await run.later(REOPEN_MS, () => run.total.pending === 0 && run.journalEvents.length === 2)
    expect(run.sentIds).toEqual([post])
    expect(run.discarded).toEqual([`${pre}: expired`])
  })

  it('nor one whose post is under way', async () => {
    let answer: (outcome: AttemptOutcome) => void = () => {}
    const { run, disk, pre } = await late('fill', () => new Promise(resolve => (answer = resolve)))
    const post = run.submit({ key: 'call' })
    await run.until(() => run.sent.length === 1)
    disk.mend()
    await run.later(REOPEN_MS, () => run.journalEvents.length === 2)
    answer(ok)
    await run.until(() => run.total.pending === 0)
    expect(run.sentIds).toEqual([post])
    expect(run.discarded).toEqual([`${pre}: expired`])
  })

  it('lets a post that has failed meanwhile wait for its pre', async () => {
    const { run, disk, pre } = await late('fill', () => failing)
    const post = run.submit({ key: 'call', owner: 'b' })
    await run.until(() => run.sent.length > 0)
    disk.mend()
    await run.later(REOPEN_MS, () => run.journalEvents.at(-1) === undefined)
    const before = run.sent.length
    run.answering = () => ok
    await run.later(SECOND, () => run.total.pending === 0)
    expect(run.sentIds.slice(before)).toEqual([pre, post])
    expect(run.discarded).toEqual([])
  })

  it('sends a pre whose post has gone to another URL, or whose call is another', async () => {
    const { run, disk, pre } = await late('fill', () => ok)
    run.submit({ key: 'call', owner: 'c' })
    run.submit({ key: 'another call' })
    await run.until(() => run.total.delivered === 2)
    disk.mend()
    await run.later(REOPEN_MS, () => run.total.delivered === 3)
    expect(run.sentIds).toContain(pre)
  })
})

describe('a disk that hangs', () => {
  it('as the journal is opened keeps nothing waiting for more than some seconds', async () => {
    const disk = await newDisk()
    disk.hangOn('open')
    const run = runOn(disk)
    const ids = run.submitMany(3)
    await run.pass(2 * SECOND)
    expect(run.sentIds).toEqual([])
    await run.pass(2 * SECOND)
    expect(run.sentIds).toEqual(ids)
    expect(run.journalEvents).toEqual([NO_ANSWER])
    await run.dispatcher.ready
    ids.push(run.submit())
    await run.until(() => run.total.delivered === 4)
  })

  it('as it is written keeps nobody from sending, and is written once it answers', async () => {
    const disk = await newDisk()
    const run = await openedOn(disk, { schedule: LATER, answering: ({ to }) => (to === 'a' ? ok : failing) })
    disk.hangOn('write')
    const waiting = run.submitMany(2, { owner: 'b' })
    await run.later(6 * SECOND, () => run.journalEvents.includes(NO_ANSWER))
    run.submitMany(100)
    await run.until(() => run.total.delivered === 100)
    expect(run.total).toMatchObject({ pending: 2, discarded: {} })
    disk.mend()
    await run.until(() => areSafe(run, waiting))
    await run.stop()
    expect((await lastRunOn(disk)).sentIds.sort()).toEqual(waiting.sort())
  })

  it('as it is read keeps what is in memory from nothing, and what is on disk only comes later, once', async () => {
    const disk = await newDisk()
    const run = await openedOn(disk, { schedule: [MINUTE], answering: () => ok })
    const ids = await onDiskOnly(run, 2)
    disk.hangOn('read')
    await run.later(10 * SECOND, () => disk.begun.includes('read'))
    run.submitMany(3, { owner: 'b' })
    await run.until(() => run.total.delivered === 3)
    await run.later(SECOND, () => run.journalEvents.includes(NO_ANSWER))
    run.submitMany(3, { owner: 'b' })
    await run.pass(5 * MINUTE, 10)
    expect(run.total).toMatchObject({ delivered: 6, pending: 2, dead: 0 })
    expect(run.sent.filter(({ id }) => ids.includes(id))).toHaveLength(2)

    disk.mend()
    await run.later(10 * SECOND, () => run.total.delivered === 8)
    const attempts = run.sent.filter(({ id }) => ids.includes(id)).map(({ id, number }) => `${id} ${number}`)
    expect(attempts.sort()).toEqual(ids.flatMap(id => [`${id} 1`, `${id} 2`]).sort())
  })

  it.each<DiskOperation>(['open', 'write', 'read', 'close'])('on %s lets the engine close in time', async operation => {
    const disk = await newDisk()
    if (operation === 'open') {
      disk.hangOn('open')
    }
    const run = runOn(disk, { schedule: [MINUTE] })
    let ids: string[] = []
    if (operation !== 'open') {
      await run.opened()
      ids = await onDiskOnly(run, 2)
      disk.hangOn(operation)
    }
    run.submit({ owner: 'b' })
    await (operation === 'read' ? run.later(10 * SECOND, () => disk.begun.includes('read')) : run.pass(40, 4))
    expect(await close(run)).toBeLessThanOrEqual(CLOSES_WITHIN_MS)
    expect(run.total).toMatchObject({ pending: ids.length })
    expect(disk.begun.at(-1)).toBe(operation)
    disk.mend()
    await run.pass(20 * SECOND, 20)
    expect(vi.getTimerCount()).toBe(0)
    expect((await lastRunOn(disk)).sentIds.sort()).toEqual(ids.sort())
  })
})

describe('a disk that is full', () => {
  it('is read: what is on disk only is sent, and what has ended meanwhile does not come back', async () => {
    const disk = await newDisk()
    const run = await openedOn(disk, { schedule: [MINUTE], answering: ({ to }) => (to === 'a' ? ok : failing) })
    const ids = await onDiskOnly(run, 3)
    const dead = run.submit({ owner: 'b' })
    const cancelled = run.submit({ owner: 'b' })
    await run.until(() => areSafe(run, [dead, cancelled]))

    disk.fill('write', 'probeRoom', 'open')
    run.dispatcher.controls.cancel({ id: cancelled })
    await run.later(SECOND, () => run.journalEvents.at(-1) === 'ENOSPC')
    await run.later(10 * SECOND, () => run.total.delivered === 3 && run.total.dead === 1)
    expect(run.journalEvents.at(-1)).toBe('ENOSPC')
    expect(run.sentIds.slice(-4).sort()).toEqual([...ids, dead].sort())

    disk.mend()
    await run.later(REOPEN_MS, () => run.journalEvents.at(-1) === undefined)
    await run.stop()
    const next = await lastRunOn(disk)
    expect(next.sentIds).toEqual([])
    expect(next.total).toMatchObject({ accepted: 5, delivered: 3, dead: 1, discarded: { cancelled: 1 } })
    const rows = (await next.log()).filter(({ settled }) => settled !== undefined)
    expect(rows.map(({ id }) => id).sort()).toEqual([...ids, dead, cancelled].sort())
  })
})

describe('a delivery that is damaged on disk', () => {
  /** Alters the body of one, while nobody has the journal open. */
  async function damage(directory: string, id: string): Promise<void> {
    const records = [...(await readStore(directory))]
    const [key, value] = records.find(([name, bytes]) => name.startsWith('d!') && bytes.includes(`"${id}"`))!
    value[value.length - 2]! ^= 1
    await writeStore(directory, [[key, value]])
  }

  it('at the start is told and counted, and the others are sent', async () => {
    const disk = await newDisk()
    const first = await openedOn(disk, { schedule: LATER })
    const ids = await onDiskOnly(first, 3)
    await first.stop()
    await damage(disk.directory, ids[1]!)
    const run = await lastRunOn(disk)
    expect(journalEventsOf(run)).toEqual([{ type: 'journal', recovered: 2, lost: 1 }])
    expect(run.sentIds.sort()).toEqual([ids[0], ids[2]].sort())
    expect(run.total).toMatchObject({ accepted: 3, delivered: 2, discarded: { damaged: 1 } })
    await run.stop()
    expect((await lastRunOn(disk)).total).toMatchObject({ accepted: 3, delivered: 2, discarded: { damaged: 1 } })
  })

  it('and found so as it is to be sent is discarded, told by its id', async () => {
    const disk = await newDisk()
    const read = vi.spyOn(Journal.prototype, 'read')
    onTestFinished(() => read.mockRestore())
    const run = await openedOn(disk, { schedule: [MINUTE] })
    const ids = await onDiskOnly(run, 2)
    read.mockResolvedValueOnce(undefined)
    await run.later(10 * SECOND, () => run.total.pending === 0)
    const [sent] = run.sentIds.slice(2)
    expect(run.discarded).toEqual([`${ids.find(id => id !== sent)}: damaged`])
    expect(run.total).toMatchObject({ accepted: 2, delivered: 1, discarded: { damaged: 1 } })
  })

  it('and is missed as the journal is opened again is told and counted, though nothing asks for it', async () => {
    const disk = await newDisk()
    const run = await openedOn(disk, { schedule: LATER, answering: () => underWay })
    const ids = await onDiskOnly(run, 3)
    disk.fill('write')
    run.submit({ owner: 'b' })
    await run.later(SECOND, () => run.journalEvents.includes('ENOSPC'))
    disk.hangOn('open')
    await run.later(REOPEN_MS, () => disk.begun.at(-1) === 'open')
    await damage(disk.directory, ids[1]!)
    disk.mend()
    await run.until(() => run.journalEvents.at(-1) === undefined)
    expect(run.discarded).toEqual([`${ids[1]}: damaged`])
    expect(run.total).toMatchObject({ accepted: 4, pending: 3, discarded: { damaged: 1 } })
    await run.stop()
    expect((await lastRunOn(disk)).total).toMatchObject({ accepted: 4, delivered: 3, discarded: { damaged: 1 } })
  })
})
