import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, vi } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { DurableRun, failing, fakeClocks, ok, underWay } from '../helpers/durable-run.ts'
import type { DurableOptions } from '../helpers/durable-run.ts'
import { temporaryDirectory } from '../helpers/journal-files.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
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

/** With a journal in a new folder, unless there is one. */
async function started(options: Partial<DurableOptions>): Promise<DurableRun & { directory: string }> {
  fakeClocks()
  const directory = options.directory ?? (await temporaryDirectory())
  const run = new DurableRun({ ...options, directory })
  await run.opened()
  return Object.assign(run, { directory })
}

/** What is kept is on disk, too. */
async function saved(run: DurableRun): Promise<void> {
  await run.later(25, () => {
    const safe = new Set(run.events.flatMap(event => (event.type === 'safe' ? [event.id] : [])))
    return run.dispatcher.controls.list({ limit: 100_000 }).items.every(({ id }) => safe.has(id))
  })
}

/** Submits them a few at a time, each of which is written first. */
async function submitAll(run: DurableRun, count: number, bytes: number, owner = 'a'): Promise<string[]> {
  const ids: string[] = []
  for (let index = 0; index < count; ++index) {
    ids.push(run.submit({ owner, body: bodyOf(index, bytes) }))
    if (index % 8 === 7) {
      await saved(run)
    }
  }
  await saved(run)
  return ids
}

describe('without a journal, the memory', () => {
  it('holds what there is room for: the rest is refused', () => {
    const run = new DurableRun({ directory: undefined, answering: () => underWay, maxBytes: 20_000 })
    for (let index = 0; index < 30; ++index) {
      run.submit({ body: bodyOf(index, 1000) })
    }
    expect(run.total).toMatchObject({ accepted: 30, pending: 20, discarded: { 'queue full': 10 } })
  })

  it('holds a body that 100 hooks share once', () => {
    const routes = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`hook-${index}`, `at-${index % 3}`]))
    const run = new DurableRun({ directory: undefined, answering: () => underWay, maxBytes: 10_000, routes })
    // as one payload, made once for all of them
    const payload = { contentType: 'text/plain', body: Buffer.alloc(9_000) }
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
      run.dispatcher.controls.cancel({ id: `to ${owner}` })
    }
    run.submit({ owner: 'hook-0', body: Buffer.alloc(2_000) })
    expect(run.total.discarded).toMatchObject({ 'queue full': 2 })
    run.dispatcher.controls.cancel({ id: 'to hook-0' })
    run.submit({ owner: 'hook-0', body: Buffer.alloc(10_000) })
    expect(run.total).toMatchObject({ pending: 1 })
  })

  it('that a body takes which is being sent is not freed by discarding others that share it: they stay', async () => {
    const routes = { a: 'a', b: 'b' }
    const run = new DurableRun({ directory: undefined, answering: () => underWay, maxBytes: 10_000, routes })
    const payload = { contentType: 'text/plain', body: bodyOf(0, 9_000) }
    const ids = Array.from({ length: 50 }, (_, index) => `shared ${index}`)
    for (const id of ids) {
      const order = { key: id, leads: false }
      run.dispatcher.submit({ id, owner: 'a', payload, label: id, headers: [], order, acceptedAt: Date.now() })
    }
    await run.later(25, () => run.sent.length === 8)
    run.submit({ owner: 'b', body: bodyOf(1, 1_800) })
    await run.later(25, () => run.events.some(({ type }) => type === 'discarded'))
    // of a's nothing could be freed
    expect(run.discarded).toHaveLength(1)
    expect(run.discarded[0]).toContain('queue full')
    expect(ids.filter(id => run.dispatcher.controls.get(id) === undefined)).toEqual([])
  })

  it('is bounded by number, too, with dead letters: the oldest of them goes first', async () => {
    let outcome: AttemptOutcome | Promise<AttemptOutcome> = failing
    const run = new DurableRun({ directory: undefined, answering: () => outcome, schedule: [], maxPending: 6 })
    const dead = run.submitMany(3)
    await vi.waitFor(() => expect(run.total.dead).toBe(3), { timeout: 20_000 })
    outcome = underWay
    run.submitMany(3)
    expect(run.total).toMatchObject({ pending: 3, dead: 3, discarded: {} })
    run.submitMany(2)
    expect(run.discarded).toEqual([`${dead[0]}: queue full`, `${dead[1]}: queue full`])
    run.submit()
    const newest = run.submit()
    expect(run.discarded.slice(2)).toEqual([`${dead[2]}: queue full`, `${newest}: queue full`])
  })

  it('costs one at most on the tick of whoever hands over, however much is too much', async () => {
    const run = new DurableRun({ directory: undefined, answering: () => underWay, maxBytes: 100_000 })
    run.route({ a: 'a', b: 'b' })
    for (let index = 0; index < 100; ++index) {
      run.submit({ body: bodyOf(index, 1000) })
    }
    expect(run.discarded).toEqual([])
    run.submit({ owner: 'b', body: bodyOf(0, 50_000) })
    expect(run.discarded).toHaveLength(1)
    await vi.waitFor(() => expect(run.discarded).toHaveLength(50), { timeout: 20_000 })
    expect(run.dispatcher.stats().endpoints.get('b')).toMatchObject({ pending: 1, discarded: {} })
  })
})

describe('with a journal, the memory', () => {
  it.each([
    ['under way elsewhere', () => underWay],
    ['failing', () => failing],
  ])('does not hold what is on disk while its endpoint is %s: many times as much is taken', async (_, answering) => {
    const run = await started({ answering, maxBytes: 20_000, schedule: [MINUTE, MINUTE] })
    const ids = await submitAll(run, 100, 1000)
    expect(run.total).toMatchObject({ accepted: 100, pending: 100, discarded: {} })
    await run.stop()

    // and each comes back as it was, to the byte
    const next = new DurableRun({ directory: run.directory, maxBytes: 20_000 })
    await next.opened()
    await next.later(MINUTE, () => next.total.delivered === 100)
    for (const { id, body } of next.sent) {
      if (!body.equals(bodyOf(ids.indexOf(id), 1000))) {
        expect.fail(`the body of ${id} has changed`)
      }
    }
  })

  it('does not hold what failed now and then, though the others go through', async () => {
    let turn = 0
    const run = await started({
      ...{ maxBytes: 20_000, schedule: [10 * MINUTE] },
      answering: async (): Promise<AttemptOutcome> => {
        // long enough to be written
        await new Promise(resolve => setTimeout(resolve, 40))
        return ++turn % 3 === 0 ? ok : failing
      },
    })
    await submitAll(run, 150, 1000)
    await run.pass(1000, 5)
    expect(run.total).toMatchObject({ accepted: 150, discarded: {} })
  })

  it('holds no dead letters that are on disk', async () => {
    let turn = 0
    const run = await started({
      ...{ maxBytes: 20_000, schedule: [] },
      answering: () => (++turn % 3 === 0 ? ok : failing),
    })
    await submitAll(run, 150, 1000)
    await run.until(() => run.total.pending === 0)
    expect(run.total).toMatchObject({ accepted: 150, delivered: 50, dead: 100, discarded: {} })
  })

  it('of the process stays small while an endpoint is down', async () => {
    const run = await started({ answering: () => failing, schedule: [600 * MINUTE] })
    const before = memoryUsed()
    await submitAll(run, 100, MIB / 2)
    await run.pass(1000, 20)
    expect(run.total).toMatchObject({ pending: 100, discarded: {} })
    await vi.waitFor(() => expect(memoryUsed() - before).toBeLessThan(8 * MIB), { timeout: 20_000, interval: 50 })
  })

  it('that is short costs nobody what is on disk only: large bodies for one endpoint, thousands kept for another', async () => {
    const run = await started({ answering: () => failing, maxBytes: 100_000, schedule: [600 * MINUTE] })
    run.route({ a: 'a', b: 'b' })
    await submitAll(run, 400, 2_000)
    expect(run.total).toMatchObject({ pending: 400, discarded: {} })
    run.answering = () => underWay
    for (let count = 0; count < 24; ++count) {
      const before = run.discarded.length
      run.submit({ owner: 'b', body: bodyOf(count, 10_000) })
      expect(run.discarded.length - before).toBeLessThanOrEqual(1)
    }
    const { endpoints } = run.dispatcher.stats()
    expect(endpoints.get('a')).toMatchObject({ pending: 400, discarded: {} })
    // ten fit, and as many again for as long as they are being written; the four that came last did not
    expect(endpoints.get('b')).toMatchObject({ pending: 20, discarded: { 'queue full': 4 } })
  })

  it('lets go of nothing that the disk may not hold any more, as the journal has failed since', async () => {
    let isBroken = false
    const run = await started({
      ...{ answering: () => underWay, maxBytes: 40_000 },
      beforeDisk: async operation => {
        if (isBroken && (operation === 'open' || operation === 'write')) {
          throw new Error('no disk')
        }
      },
    })
    run.route({ a: 'a', b: 'b' })
    const ids = Array.from({ length: 20 }, (_, index) => run.submit({ body: bodyOf(index, 1_000) }))
    await saved(run)
    isBroken = true
    run.submit()
    await run.later(25, () => run.journalEvents.includes('no disk'))
    const large = run.submit({ owner: 'b', body: bodyOf(0, 30_000) })
    await run.pass(1)
    expect(run.discarded).toEqual([`${large}: queue full`])
    run.answering = () => ok
    run.route({ a: 'elsewhere', b: 'b' })
    await run.until(() => run.total.delivered === 13)
    expect(new Set(run.sentIds.slice(0, 20))).toEqual(new Set(ids))
  })

  it('lets go of what is on disk first, though that was held, or has moved, since it was written', async () => {
    const run = await started({ answering: () => underWay, maxBytes: 40_000 })
    // eight are under way; the others wait, and are in memory too as their turn is near
    const pre = run.submit({ phase: 'pre', key: 'call', body: bodyOf(0, 1_000) })
    const held = Array.from({ length: 6 }, (_, index) => run.submit({ key: 'call', body: bodyOf(index, 1_000) }))
    await run.until(() => run.sent.length === 1)
    await saved(run)
    run.route({ a: 'moved', b: 'b' })
    await saved(run)
    expect(run.sentIds).toEqual([pre])
    for (let index = 0; index < 34; ++index) {
      run.submit({ owner: 'b', body: bodyOf(index, 1_000) })
    }
    await run.pass(1)
    expect(run.discarded).toEqual([])
    for (const id of held) {
      expect(run.dispatcher.controls.get(id)).toBeDefined()
    }
  })
})

describe('a body that is read back', () => {
  /** One delivery that failed and is on disk only; reading it back lasts until it is told how that went. */
  async function beingRead(): Promise<{ run: DurableRun; id: string; fail: () => void; succeed: () => void }> {
    const endings: { resolve: () => void; reject: (error: Error) => void }[] = []
    const run = await started({
      ...{ answering: () => failing, schedule: [MINUTE, MINUTE] },
      beforeDisk: async operation => {
        // the first one only
        if (operation === 'read' && endings.length === 0) {
          await new Promise<void>((resolve, reject) => endings.push({ resolve, reject }))
        }
      },
    })
    const id = run.submit()
    await saved(run)
    await run.later(MINUTE, () => endings.length === 1)
    expect(run.dispatcher.controls.get(id)).toMatchObject({ status: 'sending', attempts: 1 })
    return {
      ...{ run, id },
      fail: () => endings[0]?.reject(new Error('unreadable at present')),
      succeed: () => endings[0]?.resolve(),
    }
  }

  it('and cannot be at present is asked for again, which is no attempt', async () => {
    const { run, id, fail } = await beingRead()
    fail()
    await run.later(SECOND, () => run.dispatcher.controls.get(id)?.status === 'waiting')
    expect(run.dispatcher.controls.get(id)).toMatchObject({ attempts: 1 })
    expect(run.sentIds).toEqual([id])
  })

  it.each(['fails', 'succeeds'] as const)('and is cancelled meanwhile is not sent, if that %s', async how => {
    const { run, id, fail, succeed } = await beingRead()
    run.dispatcher.controls.cancel({ id })
    ;(how === 'fails' ? fail : succeed)()
    await run.until(() => run.total.pending === 0)
    expect(run.discarded).toEqual([`${id}: cancelled`])
    expect(run.sentIds).toEqual([id])
  })

  it('and whose hook leads elsewhere meanwhile is sent there', async () => {
    const { run, id, succeed } = await beingRead()
    run.route({ a: 'elsewhere' })
    run.answering = () => ok
    succeed()
    await run.later(SECOND, () => run.total.delivered === 1)
    expect(run.sent.map(sent => `${sent.id} ${sent.to}`)).toEqual([`${id} a`, `${id} elsewhere`])
  })

  it.each(['fails', 'succeeds'] as const)('and whose hook is removed meanwhile is not sent, if that %s', async how => {
    const { run, id, fail, succeed } = await beingRead()
    run.route({})
    ;(how === 'fails' ? fail : succeed)()
    await run.until(() => run.total.pending === 0)
    expect(run.discarded).toEqual([`${id}: hook removed`])
    expect(run.sentIds).toEqual([id])
  })
})

describe('the disk', () => {
  it('may be full as well: what came first is kept, and no more goes than must', async () => {
    const run = await started({ answering: () => failing, schedule: [MINUTE], maxJournalBytes: 50_000 })
    const ids = await submitAll(run, 100, 1000)
    const { pending, discarded } = run.total
    expect(pending + discarded['queue full']!).toBe(100)
    expect(pending).toBeGreaterThan(35)
    expect(pending).toBeLessThan(50)
    expect(run.discarded).not.toContain(`${ids[10]}: queue full`)
  })

  it('that is full costs who fills it, and not who keeps a little there', async () => {
    const run = await started({ answering: () => failing, schedule: [600 * MINUTE], maxJournalBytes: 50_000 })
    run.route({ a: 'a', b: 'b' })
    await submitAll(run, 10, 1_000, 'b')
    await submitAll(run, 60, 1_000, 'a')
    const { endpoints } = run.dispatcher.stats()
    expect(endpoints.get('b')).toMatchObject({ pending: 10, discarded: {} })
    expect(endpoints.get('a')!.discarded['queue full']).toBeGreaterThan(15)
  })
})
