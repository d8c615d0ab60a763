import { afterEach, expect, it, vi } from 'vitest'

import { Changes } from '../../src/delivery/changes.ts'
import { History } from '../../src/delivery/history.ts'
import { newKept } from '../../src/delivery/kept.ts'
import type { Kept } from '../../src/delivery/kept.ts'
import { Ledger } from '../../src/delivery/ledger.ts'
import { Statistics } from '../../src/delivery/statistics.ts'
import type { LogRow } from '../../src/delivery/stored.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const ENDPOINT = { id: 'e', url: 'http://127.0.0.1:9/', headers: [] }
const ledger = new Ledger({ count: 1e6, memory: 1e9, disk: 1e9 }, () => {})

function keptOf(number: number, label = 'vm.start success vm-1'): Kept {
  const delivery = {
    ...{ id: `d${number}`, owner: 'a', label, headers: [], acceptedAt: Date.now() },
    payload: { contentType: 'application/json', body: Buffer.from('{}') },
    order: { key: `call${number}`, leads: false },
  }
  return newKept(number, delivery, ENDPOINT.id, 0, HOUR)
}

/** A log in memory, read as the journal's is: the latest first. */
class Log {
  readonly rows: LogRow[] = []
  readonly isReadable = true

  log(row: LogRow): void {
    this.rows.push(row)
  }

  async *readLog(): AsyncGenerator<LogRow> {
    yield* this.rows.toReversed()
  }
}

function attempt(history: History, kept: Kept, number: number, startedAt: number, isOk: boolean): void {
  const outcome = isOk ? accepted() : refused(503)
  const state = isOk ? ({ name: 'ended', how: 'delivered' } as const) : ({ name: 'dead' } as const)
  history.attempted(kept, { number, trigger: 'event', startedAt, durationMs: 12, outcome }, ENDPOINT, state)
}

afterEach(() => void vi.useRealTimers())

const sum = (counts: readonly number[] = []): number => counts.reduce((all, count) => all + count, 0)

it('knows after a restart what the log tells: deliveries by any filter, their attempts and the statistics, each once', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const log = new Log()
  const earlier = new History(log, 100)
  const at = Date.now() - 5 * MINUTE
  attempt(earlier, keptOf(1), 1, at, false)
  attempt(earlier, keptOf(1), 2, at + 1_000, true)
  attempt(earlier, keptOf(2, 'host.stop failure'), 1, at + 2_000, true)
  earlier.ended(keptOf(3), 'queue full')
  vi.advanceTimersByTime(10) // of this run from here on
  const history = new History(log, 100)
  attempt(history, keptOf(4), 1, Date.now(), true)
  await Promise.all([history.recall(), history.recall()])
  await history.recall()

  const ids = (query: Parameters<History['page']>[1]): string[] =>
    history.page(ledger, query, each => each).items.map(({ id }) => id)
  expect(ids({})).toEqual(['d4', 'd3', 'd2', 'd1'])
  expect(ids({ object: 'vm-1' })).toEqual(['d4', 'd3', 'd1'])
  expect(ids({ subject: 'host.*' })).toEqual(['d2'])
  expect(ids({ status: ['discarded'] })).toEqual(['d3'])
  expect(ids({ call: 'call2' })).toEqual(['d2'])
  expect(ids({ limit: 2 })).toEqual(['d4', 'd3'])
  expect(ids({ limit: 2, cursor: '3' })).toEqual(['d2', 'd1'])
  const [first] = history.page(ledger, { ids: ['d1'] }, each => each).items
  expect(first).toMatchObject({ attempts: 2, status: 'delivered', last: { answer: '200' } })
  expect(await history.attemptsOf(first!)).toMatchObject([{ number: 1, answer: '503' }, { number: 2 }])
  const known = history.statistics.of('e', Date.now())!
  expect([sum(known.hours.delivered), sum(known.hours.failed)]).toEqual([3, 1])
  // totals are of this run
  expect(history.statistics.totals.outcomes).toMatchObject({ ok: 1, refused: 0 })
})

it('counts after a restart also what was tried before it of a delivery that has been tried again since', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const log = new Log()
  const earlier = new History(log, 100)
  attempt(earlier, keptOf(1), 1, Date.now(), false)
  attempt(earlier, keptOf(1), 2, Date.now() + 1, false)
  vi.advanceTimersByTime(10)
  const history = new History(log, 100)
  attempt(history, keptOf(1), 3, Date.now(), true)
  await history.recall()
  const { hours } = history.statistics.of('e', Date.now())!
  expect([sum(hours.delivered), sum(hours.failed)]).toEqual([1, 2])
  expect(history.page(ledger, {}, each => each).items).toMatchObject([{ id: 'd1', attempts: 3, status: 'delivered' }])
})

it('lists the newest of many as sorting all of them would', () => {
  const history = new History(undefined, 10_000)
  const numbers = Array.from({ length: 5_000 }, (_, n) => (n * 2_777) % 5_000)
  numbers.forEach(number => attempt(history, keptOf(number), 1, Date.now(), true))
  for (const [limit, cursor] of [
    [100, undefined],
    [7, 4_321],
    [50, 20],
  ] as const) {
    const page = history.page(ledger, { limit, ...(cursor && { cursor: String(cursor) }) }, each => each)
    const expected = Array.from({ length: limit }, (_, n) => (cursor ?? 5_000) - 1 - n).filter(number => number >= 0)
    expect(page.items.map(({ id }) => id)).toEqual(expected.map(number => `d${number}`))
    expect(page.total).toBe(5_000)
    expect(page.cursor).toBe(expected.length < limit ? undefined : String(expected.at(-1)))
  }
})

it('tells what has changed after a point, each once, until that is too long ago', () => {
  const changes = new Changes('run')
  const after = (point: string): string[] | undefined => {
    const found = changes.after(point)
    return found && [...found].map(({ id }) => id)
  }
  const start = changes.latest
  expect(after(start)).toEqual([])
  ;['a', 'b', 'a', 'c'].forEach(id => changes.note(id))
  expect(after(start)).toEqual(['b', 'a', 'c'])
  const [first] = changes.after(start)!
  expect(after(first!.point)).toEqual(['a', 'c'])
  expect([after('other.1'), after('run.5'), after('run.x'), after('run.-1'), after('')]).toEqual(
    [1, 2, 3, 4, 5].map(() => undefined)
  )
  for (let n = 0; n < 40_000; ++n) {
    changes.note(`n${n}`)
  }
  expect(after(start)).toBeUndefined()
  expect(after(changes.latest)).toEqual([])
})

it('counts attempts by minute and hour, and forgets what is older', () => {
  const statistics = new Statistics()
  const now = 500_000 * HOUR
  const of = (at: number) => statistics.of('e', at)!
  for (let n = 0; n < 90; ++n) {
    statistics.count('e', now, 8, accepted())
  }
  for (let n = 0; n < 10; ++n) {
    statistics.count('e', now + MINUTE, 4_000, refused(503))
  }
  const known = of(now + MINUTE)
  expect(known.minutes.delivered.slice(-2)).toEqual([90, 0])
  expect(known.minutes.failed.slice(-2)).toEqual([0, 10])
  expect(known.minutes.from).toBe(now + MINUTE - 59 * MINUTE)
  expect([known.p50, known.p95]).toEqual([10, 5_000])
  // a clock that was set back: what is within the ring still counts
  statistics.count('e', now, 8, accepted())
  expect(of(now + MINUTE).minutes.delivered.at(-2)).toBe(91)
  statistics.count('e', now - 2 * HOUR, 8, accepted())
  expect(sum(of(now + MINUTE).minutes.delivered)).toBe(91)
  expect(of(now + MINUTE).hours.delivered.at(-3)).toBe(1)
  expect(sum(of(now + 61 * MINUTE).minutes.delivered)).toBe(0)
  expect(sum(of(now + 61 * MINUTE).hours.delivered)).toBe(92)
  expect(sum(of(now + 25 * HOUR).hours.delivered)).toBe(0)
  expect(of(now + 25 * HOUR).p50).toBeUndefined()
  statistics.retain(() => false)
  expect(statistics.of('e', now)).toBeUndefined()
})
