import { expect, it } from 'vitest'

import { runCrashes } from './helpers/crash-run.ts'

// `npm run test:crash` kills 50 times, with the 50 ms of the promise, and reports. Here other tests run beside it.
const KILLS = 6
const MAY_BE_LOST_MS = 200
const seed = Date.now() % 1e9

it(`loses nothing that was accepted a moment before a kill -9 (seed ${seed})`, { timeout: 120_000 }, async () => {
  const { lost, problems, accepted, recovered } = await runCrashes(seed, KILLS, MAY_BE_LOST_MS)

  expect(lost).toEqual([])
  expect(problems).toEqual([])
  // or it says nothing
  expect(accepted).toBeGreaterThan(100)
  expect(recovered).toBeGreaterThan(10)
})
