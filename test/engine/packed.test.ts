import { expect, it } from 'vitest'

import { packed, unpacked } from '../../src/engine/packed.ts'
import type { Batch } from '../../src/engine/protocol.ts'
import type { Handing } from '../../src/handing.ts'
import { handingOf } from './fixtures.ts'

/** As it comes out of the other thread. */
function crossed(batch: Batch): Batch {
  return unpacked(structuredClone(packed(batch)))
}

function handed(handing: Handing): unknown {
  const [order] = crossed({ number: 1, orders: [{ type: 'hand', number: 7, handing }] }).orders
  return order
}

it.each<[string, Handing]>([
  ['a plain one', handingOf()],
  ['places that are done with', handingOf({ hooks: ['', 'b', ''] })],
  ['no hooks', handingOf({ hooks: [] })],
  ['a test, with an object', handingOf({ isTest: true, object: '{"id":"vm-1"}' })],
  ['an object that was too large', handingOf({ object: null, event: { omitted: ['result', 'params'] } })],
  ['no fields', handingOf({ event: { fields: new Map() } })],
  [
    'texts in any script, and empty ones',
    handingOf({
      party: 'Ω😀',
      event: {
        fields: new Map([
          ['', ''],
          ['ключ', '"é"'],
        ]),
      },
    }),
  ],
  ['a time that is none', handingOf({ event: { timestamp: Number.NaN } })],
])('a handing crosses as it is: %s', (_, handing) => {
  expect(handed(handing)).toEqual({ type: 'hand', number: 7, handing })
})

it('keeps the order of the fields', () => {
  const fields = new Map([
    ['result', '1'],
    ['callId', '"c"'],
    ['alpha', '2'],
  ])
  const order = handed(handingOf({ event: { fields } })) as { handing: Handing }
  expect([...order.handing.event.fields]).toEqual([...fields])
})

it('a signal without an id crosses too: another plugin may have made it', () => {
  const handing = handingOf({ event: { callId: undefined as unknown as string } })
  expect(handed(handing)).toEqual({ type: 'hand', number: 7, handing })
})

it('other orders cross beside it, in their places', () => {
  const batch: Batch = {
    number: 3,
    orders: [
      { type: 'no directory', problem: 'none' },
      { type: 'hand', number: 1, handing: handingOf() },
      { type: 'close', graceMs: 5 },
    ],
  }
  expect(crossed(batch)).toEqual(batch)
})
