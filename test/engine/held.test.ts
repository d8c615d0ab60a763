import { expect, it } from 'vitest'

import { Held } from '../../src/engine/held.ts'
import { packed } from '../../src/engine/protocol.ts'
import { handingOf } from './fixtures.ts'

const MIB = 1024 * 1024

it('what is safe is let go of, delivery by delivery', () => {
  const held = new Held(MIB)
  const handing = handingOf({ hooks: ['a', 'b', 'c'] })
  const entry = held.add(handing)
  expect(held.orderOf(entry)).toEqual(packed(entry.number, handing))

  held.safe(entry.number, 1)
  held.safe(entry.number, 1)
  held.safe(entry.number + 1, 0)
  expect(held.orderOf(entry)).toEqual(packed(entry.number, { ...handing, hooks: ['a', '', 'c'] }))

  held.safe(entry.number, 0)
  held.safe(entry.number, 0)
  expect(held.recall()).toEqual([entry])
  held.safe(entry.number, 2)
  expect(held.recall()).toEqual([])
  expect(held.orderOf(entry)).toBeUndefined()
  expect(held.bytes).toBe(0)
})

it('what is not posted yet may be told safe by id, which may have dashes', () => {
  const held = new Held(MIB)
  const handing = handingOf({ id: '1-2-3', hooks: ['a', 'b'] })
  const entry = held.add(handing)
  held.add(handingOf())
  held.safeById(['1-2-3-0', '1-2-0', 'another-0'])
  expect(held.orderOf(entry)).toEqual(packed(entry.number, { ...handing, hooks: ['', 'b'] }))
  held.safeById(['1-2-3-1']) // it has been posted meanwhile, and is told by number
  expect(held.size).toBe(2)
  held.recall()
  held.safeById(['1-2-3-1'])
  expect(held.size).toBe(1)
})

it('at the bound, the oldest copies of what has been posted go first', () => {
  const held = new Held(20_000)
  const entries = Array.from({ length: 100 }, () => {
    const entry = held.add(handingOf())
    held.orderOf(entry)
    return entry
  })
  expect(held.bytes).toBeLessThanOrEqual(20_000)
  expect(held.size).toBe(100)
  expect(held.takeLosses()).toEqual([])

  const orders = held.recall().map(entry => held.orderOf(entry))
  const given = orders.findIndex(order => typeof order === 'string')
  expect(given).toBeGreaterThan(50)
  expect(orders[0]).toEqual({
    type: 'discard',
    number: entries[0]?.number,
    remains: { id: entries[0]?.id, label: 'vm.start success', hooks: ['a'] },
    reason: 'lost',
  })
  expect(orders.slice(0, given).every(order => typeof order === 'object' && order.type === 'discard')).toBe(true)
  expect(orders.slice(given).every(order => typeof order === 'string')).toBe(true)

  entries.forEach(({ number }) => held.safe(number, 0))
  expect({ size: held.size, bytes: held.bytes }).toEqual({ size: 0, bytes: 0 })
})

it('what was never posted is lost at the bound, and counted by hook', () => {
  const held = new Held(20_000)
  const handings = Array.from({ length: 100 }, () => handingOf({ hooks: ['a', 'b'] }))
  handings.forEach(handing => held.add(handing))
  const lost = 100 - held.size
  expect(lost).toBeGreaterThan(50)
  const losses = [
    { type: 'lost', owner: 'a', id: `${handings[lost - 1]?.id}-0`, count: lost },
    { type: 'lost', owner: 'b', id: `${handings[lost - 1]?.id}-1`, count: lost },
  ] as const
  const taken = held.takeLosses()
  expect(taken).toEqual(losses)
  expect(held.takeLosses()).toEqual([])
  held.putBackLosses(taken)
  expect(held.takeLosses()).toEqual(losses)
})

it('a great loss is told in parts', () => {
  const held = new Held(MIB)
  held.putBackLosses([{ type: 'lost', owner: 'a', id: 'x-0', count: 25_000 }])
  expect(held.takeLosses().map(({ count }) => count)).toEqual([10_000, 10_000, 5_000])
})

it('what is given up is discarded when it is handed over again', () => {
  const held = new Held(MIB)
  const entry = held.add(handingOf({ hooks: ['a', 'b'] }))
  held.safe(entry.number, 0)
  expect(held.setAside(entry.number)).toBe(entry)
  expect(held.setAside(entry.number)).toBeUndefined()
  expect(held.bytes).toBe(0)
  expect(held.orderOf(entry)).toEqual({
    type: 'discard',
    number: entry.number,
    remains: { id: entry.id, label: 'vm.start success', hooks: ['', 'b'] },
    reason: 'set aside',
  })
})

it('of what stands in files it knows what is safe, and what brings down one thread after the other', () => {
  const held = new Held(MIB)
  held.safe(-5, 0)
  held.safe(-5, 2)
  expect(held.setAside(-7)).toBeUndefined()
  expect(held.leftovers).toEqual({ safe: ['-5-0', '-5-2'], guilty: [-7] })
  expect([held.size, held.bytes]).toEqual([0, 0])
})

it('in the end it knows how many there were', () => {
  const held = new Held(MIB)
  const { number } = held.add(handingOf({ hooks: ['a', 'b', 'c'] }))
  held.add(handingOf())
  held.safe(number, 0)
  held.putBackLosses([{ type: 'lost', owner: 'a', id: 'x-0', count: 7 }])
  expect(held.clear()).toBe(10)
  expect(held.clear()).toBe(0)
})
