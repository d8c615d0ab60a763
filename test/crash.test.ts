import { expect, it, vi } from 'vitest'

import { runCrashes } from './helpers/crash-run.ts'

// With other seeds, and more of them: npm run test:soak -- crash
const SEED = 1
const KILLS = 4
/** Beside whatever else the machine does; the soak asks for 50 ms. */
const MAY_BE_LOST_MS = 1_000

vi.setConfig({ testTimeout: 300_000 })

it(`loses nothing that was accepted well before a kill -9 (seed ${SEED})`, async () => {
  const { problems, accepted, recovered } = await runCrashes(SEED, KILLS, MAY_BE_LOST_MS)

  expect(problems.join('\n')).toBe('')
  // or it says nothing
  expect(accepted).toBeGreaterThan(50)
  expect(recovered).toBeGreaterThan(5)
})
