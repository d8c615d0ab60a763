import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'

import { Held } from '../../src/engine/held.ts'
import { Outbox } from '../../src/engine/outbox.ts'
import { unpacked } from '../../src/engine/protocol.ts'
import type { Batch } from '../../src/engine/protocol.ts'
import { Questions } from '../../src/engine/questions.ts'
import { handingOf } from './fixtures.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setImmediate', 'clearImmediate', 'setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
})

/** An outbox whose batches are seen, as the ids of their handings. */
function start(): { outbox: Outbox; worker: { isBusy: boolean }; batches: string[][] } {
  const batches: string[][] = []
  const worker = {
    isBusy: false,
    post: ({ orders }: Batch) => {
      batches.push(orders.map(order => (typeof order === 'string' ? unpacked(order).handing.id : order.type)))
    },
  }
  const outbox = new Outbox(new Held(64 * 1024 * 1024), new Questions())
  outbox.open(worker, undefined)
  vi.runAllTimers()
  return { outbox, worker, batches }
}

function handSome(outbox: Outbox, count: number): string[] {
  const handings = Array.from({ length: count }, () => handingOf())
  handings.forEach(handing => outbox.hand(handing))
  return handings.map(({ id }) => id)
}

function large(): ReturnType<typeof handingOf> {
  return handingOf({ event: { fields: new Map([['result', `"${'x'.repeat(256 * 1024)}"`]]) } })
}

it('what comes in one turn is posted at its end, in one batch', () => {
  const { outbox, batches } = start()
  const ids = handSome(outbox, 3)
  expect(batches).toEqual([])
  vi.advanceTimersByTime(0)
  expect(batches).toEqual([ids])
})

it('a delivery side that is busy is given together what comes within a millisecond', () => {
  const { outbox, worker, batches } = start()
  worker.isBusy = true
  const first = handSome(outbox, 2)
  vi.advanceTimersByTime(0)
  const second = handSome(outbox, 2)
  vi.advanceTimersByTime(0)
  outbox.order({ type: 'no directory', problem: 'none' })
  expect(batches).toEqual([])
  vi.advanceTimersByTime(1)
  expect(batches).toEqual([[...first, ...second, 'no directory']])

  worker.isBusy = false
  const third = handSome(outbox, 1)
  vi.advanceTimersByTime(0)
  expect(batches[1]).toEqual(third)
})

it('busy or not, it is given many at once', () => {
  const { outbox, worker, batches } = start()
  worker.isBusy = true
  const ids = handSome(outbox, 100)
  expect(batches).toEqual([ids.slice(0, 64)])
  vi.runAllTimers()
  expect(batches).toEqual([ids.slice(0, 64), ids.slice(64)])
})

it('a large event is not posted on the tick of its caller, nor is what follows it', () => {
  const { outbox, batches } = start()
  const before = handSome(outbox, 10)
  const much = large()
  outbox.hand(much)
  const after = handSome(outbox, 200)
  expect(batches).toEqual([before])
  vi.runAllTimers()
  expect(batches.flat()).toEqual([...before, much.id, ...after])
})

it('closed, it leaves no timer, and what it kept is said to the next', () => {
  const { outbox, worker, batches } = start()
  worker.isBusy = true
  const ids = handSome(outbox, 2)
  vi.advanceTimersByTime(0)
  outbox.close()
  expect(vi.getTimerCount()).toBe(0)
  const next: Batch[] = []
  outbox.open({ isBusy: false, post: batch => next.push(batch) }, undefined)
  vi.runAllTimers()
  expect(batches).toEqual([])
  expect(next.flatMap(({ orders }) => orders.map(order => unpacked(order as string).handing.id))).toEqual(ids)
})
