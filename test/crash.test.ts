import { expect, it } from 'vitest'

import { runCrashes } from './helpers/crash-run.ts'

// `npm run test:crash` kills 50 times, and reports.
const KILLS = 6
const seed = Date.now() % 1e9

it(`loses nothing that was accepted 50 ms before a kill -9 (seed ${seed})`, { timeout: 120_000 }, async () => {
  const { lost, problems, accepted, recovered } = await runCrashes(seed, KILLS)

  expect(lost).toEqual([])
  expect(problems).toEqual([])
  // or it says nothing
  expect(accepted).toBeGreaterThan(100)
  expect(recovered).toBeGreaterThan(10)
})
