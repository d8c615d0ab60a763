import { expect, it } from 'vitest'

import { runChaos } from './helpers/chaos-run.ts'

// CHAOS_SEED=123 repeats a run; `npm run test:chaos -- --runs 1000` makes many.
const { CHAOS_SEED } = process.env
const seed = CHAOS_SEED === undefined ? Date.now() % 1e9 : Number(CHAOS_SEED)

it(`loses nothing in a hostile world (CHAOS_SEED=${seed})`, { timeout: 120_000 }, async () => {
  const reports = await Promise.all([seed, seed + 1, seed + 2].map(runChaos))

  expect(reports.flatMap(({ seed, problems }) => problems.map(problem => `seed ${seed}: ${problem}`))).toEqual([])
  // or it says nothing
  for (const { counts } of reports) {
    expect(counts['delivered']).toBeGreaterThan(300)
  }
})
