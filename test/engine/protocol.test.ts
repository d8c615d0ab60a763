import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
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

it('what a delivery is known by for days keeps nothing of the text in memory that it came in', () => {
  const COUNT = 50
  const BYTES = 200_000
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const heapUsed = (): number => {
    gc()
    return process.memoryUsage().heapUsed
  }
  const fields = new Map([['result', JSON.stringify('x'.repeat(BYTES))]])
  const before = heapUsed()
  const known = Array.from({ length: COUNT }, (_, index) => {
    const event = { method: `vm.createSnapshot${index}`, callId: `a call of some length ${index}`, fields }
    const handing = handingOf({ event, party: `a user of some length ${index}` })
    // one flat text, as it comes out of a message
    const text = Buffer.from(packed(index + 1, handing)).toString()
    const { party, event: found } = unpacked(text).handing
    return [party, found.method, found.callId]
  })
  expect(heapUsed() - before).toBeLessThan((COUNT * BYTES) / 4)
  expect(known[7]).toEqual(['a user of some length 7', 'vm.createSnapshot7', 'a call of some length 7'])
})
