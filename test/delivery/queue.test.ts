import { describe, expect, it } from 'vitest'

import { DueQueue, Queue } from '../../src/delivery/queue.ts'
import { seededRandom } from '../helpers/seeded-random.ts'

interface Item {
  readonly number: number
  ticket: number
}

const itemsOf = (count: number): Item[] => Array.from({ length: count }, (_, number) => ({ number, ticket: 0 }))

function drained<T extends { shift(now: number): Item | undefined }>(queue: T): number[] {
  const numbers: number[] = []
  for (let item = queue.shift(Infinity); item !== undefined; item = queue.shift(Infinity)) {
    numbers.push(item.number)
  }
  return numbers
}

describe('a queue', () => {
  it('is first in, first out', () => {
    const queue = new Queue<Item>()
    const items = itemsOf(5)
    items.forEach(item => queue.push(item))
    expect(queue.first()).toBe(items[0])
    expect(queue.first()).toBe(items[0])
    expect(drained(queue)).toEqual([0, 1, 2, 3, 4])
    expect(queue.first()).toBeUndefined()
    expect(queue.shift()).toBeUndefined()
  })

  it('lets an item leave from anywhere, by its ticket', () => {
    const queue = new Queue<Item>()
    const items = itemsOf(5)
    items.forEach(item => queue.push(item))
    for (const index of [0, 2, 4]) {
      ++items[index]!.ticket
    }
    expect(drained(queue)).toEqual([1, 3])
  })

  it('takes it back at the end, once', () => {
    const queue = new Queue<Item>()
    const items = itemsOf(3)
    items.forEach(item => queue.push(item))
    ++items[0]!.ticket
    queue.push(items[0]!)
    expect(drained(queue)).toEqual([1, 2, 0])
  })

  it('stays in order after those that left were swept out', () => {
    const queue = new Queue<Item>()
    const items = itemsOf(2_000)
    for (const item of items) {
      queue.push(item)
      if (item.number % 10 !== 3) {
        ++item.ticket
      }
    }
    expect(drained(queue)).toEqual(items.filter(({ number }) => number % 10 === 3).map(({ number }) => number))
  })

  it.each([1, 2, 3])('is as a plain list is, whatever is done (%i)', seed => {
    const random = seededRandom(seed)
    const queue = new Queue<Item>()
    const items = itemsOf(40)
    let list: Item[] = []
    for (let count = 0; count < 5_000; ++count) {
      const item = random.pick(items)
      if (random.chance(0.6)) {
        ++item.ticket
        list = list.filter(other => other !== item)
        if (random.chance(0.8)) {
          queue.push(item)
          list.push(item)
        }
      } else {
        expect(queue.shift()).toBe(list.shift())
      }
    }
    expect(drained(queue)).toEqual(list.map(({ number }) => number))
  })
})

describe('a queue of what is due', () => {
  it('gives the one whose instant comes first, when it has come', () => {
    const queue = new DueQueue<Item>()
    const [a, b] = itemsOf(2)
    queue.push(a!, 20)
    queue.push(b!, 10)
    expect(queue.nextAt()).toBe(10)
    expect(queue.due(9.9)).toBeUndefined()
    expect(queue.shift(9.9)).toBeUndefined()
    expect(queue.due(10)).toBe(b)
    expect(queue.shift(10)).toBe(b)
    expect(queue.due(10)).toBeUndefined()
    expect(queue.nextAt()).toBe(20)
    expect(queue.shift(20)).toBe(a)
    expect(queue.nextAt()).toBe(Number.POSITIVE_INFINITY)
  })

  it('goes by number among those of one instant', () => {
    const queue = new DueQueue<Item>()
    const items = itemsOf(100)
    items.toReversed().forEach(item => queue.push(item, 7))
    expect(drained(queue)).toEqual(items.map(({ number }) => number))
  })

  it('knows nothing of who has left, nor of an instant that is void', () => {
    const queue = new DueQueue<Item>()
    const [a, b] = itemsOf(2)
    queue.push(a!, 10)
    queue.push(b!, 20)
    ++a!.ticket
    expect(queue.nextAt()).toBe(20)
    expect(queue.due(15)).toBeUndefined()
    queue.push(a!, 30)
    expect(drained(queue)).toEqual([1, 0])
  })

  it('is in order after a sweep', () => {
    const queue = new DueQueue<Item>()
    const random = seededRandom(9)
    const items = itemsOf(500)
    const at = new Map<Item, number>()
    for (let count = 0; count < 5_000; ++count) {
      const item = random.pick(items)
      ++item.ticket
      at.set(item, random.between(0, 50))
      queue.push(item, at.get(item)!)
    }
    const expected = [...at].sort(([a, atA], [b, atB]) => atA - atB || a.number - b.number)
    expect(drained(queue)).toEqual(expected.map(([{ number }]) => number))
  })
})
