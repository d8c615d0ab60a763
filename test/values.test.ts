import { expect, it } from 'vitest'

import { isRecord, numberOf, textOf } from '../src/values.ts'

it.each<[unknown, { record?: true; text?: string; number?: number }]>([
  [{}, { record: true }],
  [Object.create(null), { record: true }],
  [new Map(), { record: true }],
  [[], {}],
  [null, {}],
  [undefined, {}],
  [() => {}, {}],
  ['', { text: '' }],
  ['7', { text: '7' }],
  [new String('x'), { record: true }],
  [0, { number: 0 }],
  [-1.5, { number: -1.5 }],
  [Number.NaN, {}],
  [Number.POSITIVE_INFINITY, {}],
  [7n, {}],
  [true, {}],
])('%o is read as %o', (value, { record = false, text, number }) => {
  expect({ record: isRecord(value), text: textOf(value), number: numberOf(value) }).toEqual({ record, text, number })
})
