import { expect, it } from 'vitest'

import { Deaths } from '../../src/engine/deaths.ts'

const MINUTE_MS = 60_000

it('waits longer and longer as deaths follow one another, and not after a long life', () => {
  const deaths = new Deaths({ firstMs: 1_000, longestMs: MINUTE_MS })
  const pauses = Array.from({ length: 9 }, () => deaths.add(10, 0).pauseMs)
  expect(pauses).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, MINUTE_MS, MINUTE_MS])
  expect(deaths.add(MINUTE_MS, 0).pauseMs).toBe(0)
  expect(deaths.add(0, 0).pauseMs).toBe(1_000)
})

it.each([
  ['three in a row are its doing', [7, 7, 7], [undefined, undefined, 7]],
  ['another in between was bad luck', [7, 7, 8, 7, 7, 7], [undefined, undefined, undefined, undefined, undefined, 7]],
  ['a death over nothing breaks the row', [7, 7, 0, 7, 7], [undefined, undefined, undefined, undefined, undefined]],
  ['nothing is not to blame', [0, 0, 0, 0], [undefined, undefined, undefined, undefined]],
])('%s', (_, marks, guilty) => {
  const deaths = new Deaths({ firstMs: 1, longestMs: 1 })
  expect(marks.map(mark => deaths.add(0, mark).guilty)).toEqual(guilty)
})
