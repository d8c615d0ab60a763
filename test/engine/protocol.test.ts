import { expect, it } from 'vitest'

import { packed, unpacked } from '../../src/engine/protocol.ts'
import type { Handing } from '../../src/handing.ts'
import { handingOf } from './fixtures.ts'

it.each<[string, Handing]>([
  ['a plain one', handingOf()],
  ['places that are done with', handingOf({ hooks: ['', 'b', ''] })],
  ['no hooks', handingOf({ hooks: [] })],
  ['a test, with an object', handingOf({ isTest: true, object: '{"id":"vm-1"}' })],
  ['a question', handingOf({ isQuestion: true })],
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
  expect(unpacked(packed(7, handing))).toEqual({ number: 7, handing })
})

it('keeps the order of the fields', () => {
  const fields = new Map([
    ['result', '1'],
    ['callId', '"c"'],
    ['alpha', '2'],
  ])
  const { handing } = unpacked(packed(7, handingOf({ event: { fields } })))
  expect([...handing.event.fields]).toEqual([...fields])
})

it('names that hold what stands between the parts harm no other part', () => {
  const event = { method: 'vm.\0start', callId: '\0', omitted: ['a\0b'], fields: new Map([['k\0', '"\\u0000"']]) }
  const { handing } = unpacked(packed(7, handingOf({ event, party: 'some\0one', hooks: ['a\0', 'b'] })))
  expect(handing).toMatchObject({
    party: 'some\ufffdone',
    hooks: ['a\ufffd', 'b'],
    event: {
      ...{ method: 'vm.\ufffdstart', callId: '\ufffd', omitted: ['a\ufffdb'] },
      fields: new Map([['k\ufffd', '"\\u0000"']]),
    },
  })
})
