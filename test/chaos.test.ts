import { expect, it, vi } from 'vitest'

import { runChaos } from './helpers/chaos-run.ts'

vi.setConfig({ testTimeout: 240_000 })

// with other seeds, and many more of them: npm run test:soak -- chaos
it.each([1, 2])('loses nothing in a hostile world (seed %i)', async seed => {
  const { problems, counts } = await runChaos(seed)

  expect(problems.join('\n')).toBe('')
  // or it says nothing
  expect(counts['delivered']).toBeGreaterThan(300)
  expect(counts['restart']).toBeGreaterThan(0)
})
