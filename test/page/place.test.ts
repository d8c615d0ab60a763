import { expect, it } from 'vitest'

import { filtersOf, hashOf, placeOf } from '../../src/page/place.ts'

it.each([
  ['', { view: 'overview', query: {} }],
  ['#/', { view: 'overview', query: {} }],
  ['#/deliveries', { view: 'deliveries', query: {} }],
  ['#/deliveries?status=dead,waiting', { view: 'deliveries', query: { status: 'dead,waiting' } }],
  ['#/deliveries/8d6a-0?method=vm.*', { view: 'deliveries', id: '8d6a-0', query: { method: 'vm.*' } }],
  ['#/calls/a%2Fb%20c', { view: 'calls', id: 'a/b c', query: {} }],
  ['#/hooks/new', { view: 'hooks', id: 'new', query: {} }],
  ['#/no-such-view/x', { view: 'overview', id: 'x', query: {} }],
  ['#/calls/%E0%A4%A', { view: 'calls', query: {} }],
  ['#/events?search=', { view: 'events', query: {} }],
])('reads the address %s', (hash, place) => {
  expect(placeOf(hash)).toEqual(place)
})

it('writes an address that reads as the same place, whatever is in it', () => {
  const texts = ['vm.*', 'a/b', 'a b', '#?&=%', 'ü "<>', '503', '0']
  for (const text of texts) {
    const place = { view: 'deliveries', id: text, query: { method: text, from: text } } as const
    expect(placeOf(hashOf(place))).toEqual(place)
  }
  expect(hashOf({ view: 'overview' })).toBe('#/')
  expect(hashOf({ view: 'deliveries', query: { status: '' } })).toBe('#/deliveries')
})

it('takes only what deliveries can be narrowed down to for a filter', () => {
  expect(filtersOf({ status: 'dead', search: 'x', method: 'vm.start', cursor: '7' })).toEqual({
    status: 'dead',
    method: 'vm.start',
  })
})
