import { expect, it } from 'vitest'

import { changesOf, valueAt } from '../../src/page/patch.ts'
import type { Value } from '../../src/page/patch.ts'

const CHANGES: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['name', 'Inventory'],
  ['disabled', false],
  ['waitForResponse', true],
  ['authentication.token', null],
  ['authentication.user', ''],
  ['authentication.password', undefined],
  ['limits.timeout', '20'],
])

it('says of a hook what is changed, and of what was emptied that it is to be gone', () => {
  expect(changesOf(CHANGES, true)).toEqual({
    name: 'Inventory',
    disabled: null,
    waitForResponse: true,
    authentication: { token: null, user: null },
    limits: { timeout: 20 },
  })
})

it('says of a new hook only what is filled in', () => {
  expect(changesOf(CHANGES, false)).toEqual({ name: 'Inventory', waitForResponse: true, limits: { timeout: 20 } })
})

it('finds the value of a field by its path', () => {
  const fields = { name: 'a', authentication: { token: { set: true, fingerprint: '3f9c12' } } }
  expect(valueAt(fields, 'authentication.token')).toEqual({ set: true, fingerprint: '3f9c12' })
  expect(valueAt(fields, 'limits.timeout')).toBeUndefined()
  expect(valueAt(undefined, 'name')).toBeUndefined()
})
