import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { Journal } from '../../src/delivery/journal.ts'
import { DurableRun, failing, fakeClocks, ok, underWay } from '../helpers/durable-run.ts'
import type { DurableOptions } from '../helpers/durable-run.ts'
import { temporaryDirectory } from '../helpers/journal-files.ts'

const MINUTE = 60_000
const MIB = 1024 * 1024

function memoryUsed(): number {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
  gc()
  return process.memoryUsage().arrayBuffers
}

/** A body that no other is like. */
function bodyOf(index: number, bytes: number): Buffer {
  return Buffer.alloc(bytes, `${index},`)
}

interface Flushing extends DurableRun {
  /** How often something was written. */
  flushes: number
}

/** With a journal in a new folder, unless there is one. */
async function startFlushing(options: Partial<DurableOptions>): Promise<Flushing> {
  const directory = options.directory ?? (await temporaryDirectory())
  const run: Flushing = Object.assign(
    new DurableRun({
      ...{ ...options, directory },
      openJournal: async progressOf => {
        const opened = await Journal.open(directory, progressOf)
        const flush = opened.journal.flush.bind(opened.journal)
        opened.journal.flush = async () => {
          await flush()
          ++run.flushes
        }
        return opened
      },
    }),
    { flushes: 0 }
  )
  await run.opened()
  return run
}

/** Submits them a few at a time, each of which is written first. */
async function submitAll(run: Flushing, count: number, bytes: number): Promise<string[]> {
  const ids: string[] = []
  for (let index = 0; index < count; ++index) {
    ids.push(run.submit({ body: bodyOf(index, bytes) }))
    if (index % 4 === 3) {
      const { flushes } = run
      await run.until(() => run.flushes > flushes)
      await run.pass(30)
    }
  }
  return ids
}

describe('the memory', () => {
  it('holds what does not fit on disk: the rest is refused', async () => {
    const run = new DurableRun({ directory: undefined, answering: () => underWay, maxBytes: 20_000 })
    for (let index = 0; index < 30; ++index) {
      run.submit({ body: bodyOf(index, 1000) })
    }
    expect(run.total).toMatchObject({ accepted: 30, pending: 20, discarded: { 'queue full': 10 } })
  })

  it.each([
    ['under way elsewhere', () => underWay],
    ['failing', () => failing],
  ])('does not hold what is on disk while its endpoint is %s: many times as much is taken', async (_, answering) => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const run = await startFlushing({ directory, answering, maxBytes: 20_000, schedule: [MINUTE, MINUTE] })
    const ids = await submitAll(run, 200, 1000)
    expect(run.total).toMatchObject({ accepted: 200, pending: 200, discarded: {} })
    await run.stop()

    // and each comes back as it was, to the byte
    const next = new DurableRun({ directory, maxBytes: 20_000 })
    await next.opened()
    await next.later(MINUTE, () => next.total.delivered === 200)
    for (const { id, body } of next.sent) {
      if (!body.equals(bodyOf(ids.indexOf(id), 1000))) {
        expect.fail(`the body of ${id} has changed`)
      }
    }
  })

  it('does not hold what failed now and then, though the others go through', async () => {
    fakeClocks()
    let turn = 0
    const run = await startFlushing({
      ...{ maxBytes: 20_000, schedule: [10 * MINUTE] },
      answering: async (): Promise<AttemptOutcome> => {
        // long enough to be written
        await new Promise(resolve => setTimeout(resolve, 40))
        return ++turn % 3 === 0 ? ok : failing
      },
    })
    await submitAll(run, 150, 1000)
    await run.pass(1000, 5)
    const { delivered, discarded, pending } = run.total
    expect(discarded).toEqual({})
    expect(delivered).toBeGreaterThan(30)
    expect(pending).toBeGreaterThan(60)
  })

  it('holds no dead letters that are on disk', async () => {
    fakeClocks()
    let turn = 0
    const run = await startFlushing({
      ...{ maxBytes: 20_000, schedule: [] },
      answering: () => (++turn % 3 === 0 ? ok : failing),
    })
    await submitAll(run, 150, 1000)
    await run.pass(100, 3)
    expect(run.total).toMatchObject({ accepted: 150, delivered: 50, dead: 100, discarded: {} })
  })

  it('holds a body that 100 hooks share once', async () => {
    const routes = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`hook-${index}`, `at-${index % 3}`]))
    const run = new DurableRun({ directory: undefined, answering: () => underWay, maxBytes: 10_000, routes })
    // as one payload, made once for all of them
    const payload = { contentType: 'text/plain', body: Buffer.alloc(9_000), users: 0 }
    for (const owner of Object.keys(routes)) {
      run.dispatcher.submit({
        id: `to ${owner}`,
        ...{ owner, payload, label: owner, headers: [], order: { key: owner, leads: false }, acceptedAt: Date.now() },
      })
    }
    expect(run.total).toMatchObject({ accepted: 100, pending: 100, discarded: {} })
    run.submit({ owner: 'hook-0', body: Buffer.alloc(2_000) })
    expect(run.total).toMatchObject({ pending: 100, discarded: { 'queue full': 1 } })
    // and gets it back with the last of them only
    for (const owner of Object.keys(routes).slice(1)) {
      run.dispatcher.cancel(`to ${owner}`)
    }
    run.submit({ owner: 'hook-0', body: Buffer.alloc(2_000) })
    expect(run.total.discarded).toMatchObject({ 'queue full': 2 })
  })

  it('of the process stays small while an endpoint is down', { timeout: 30_000 }, async () => {
    fakeClocks()
    const run = await startFlushing({ answering: () => failing, schedule: [600 * MINUTE] })
    const before = memoryUsed()
    for (let index = 0; index < 100; ++index) {
      run.submit({ body: bodyOf(index, MIB / 2) })
      await run.pass(25)
    }
    await run.pass(1000, 20)
    expect(run.total).toMatchObject({ pending: 100, discarded: {} })
    await vi.waitFor(() => expect(memoryUsed() - before).toBeLessThan(8 * MIB), { timeout: 10_000, interval: 50 })
  })

  it('is bounded by number, too, with dead letters: the oldest of them goes first', async () => {
    let outcome = failing as AttemptOutcome | Promise<AttemptOutcome>
    const run = new DurableRun({ directory: undefined, answering: () => outcome, schedule: [], maxPending: 6 })
    const dead = run.submitMany(3)
    await vi.waitFor(() => expect(run.total.dead).toBe(3))
    outcome = underWay
    run.submitMany(3)
    expect(run.total).toMatchObject({ pending: 3, dead: 3, discarded: {} })
    run.submitMany(2)
    expect(run.discarded).toEqual([`${dead[0]}: queue full`, `${dead[1]}: queue full`])
    run.submit()
    const newest = run.submit()
    expect(run.discarded.slice(2)).toEqual([`${dead[2]}: queue full`, `${newest}: queue full`])
  })

  it('may be full on disk as well', async () => {
    fakeClocks()
    const run = await startFlushing({ answering: () => failing, schedule: [MINUTE], maxJournalBytes: 50_000 })
    const ids = await submitAll(run, 100, 1000)
    const { pending, discarded } = run.total
    expect(pending + discarded['queue full']!).toBe(100)
    expect(pending).toBeGreaterThan(20)
    expect(pending).toBeLessThan(65)
    // what came first is kept
    expect(run.discarded).not.toContain(`${ids[10]}: queue full`)
  })
})
