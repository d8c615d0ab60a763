// npm run test:soak -- [chaos] [crash] [threads] [cycles] [flood] [model] [--seed 1] [--runs 200] [--at-once 4] [--kills 50]
//   [--threads 50] [--cycles 1000] [--seconds 60] [--model-runs 5000]
// Without a name: all of them. Every soak says its seed, and each problem in full; one problem makes the exit code 1.
import { parseArgs } from 'node:util'

import { runCrashes } from '../helpers/crash-run.ts'
import { runCycles } from '../helpers/cycles-run.ts'
import { runTerminations } from '../helpers/thread-run.ts'
import { soakChaos } from './chaos.ts'
import { soakFlood } from './flood.ts'
import { soakModel } from './model.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string', default: String(Date.now() % 1e9) },
    runs: { type: 'string', default: '200' },
    'at-once': { type: 'string', default: '4' },
    kills: { type: 'string', default: '50' },
    threads: { type: 'string', default: '50' },
    cycles: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '60' },
    'model-runs': { type: 'string', default: '5000' },
  },
})
const seed = Number(values.seed)

/** Each settles with what was wrong. */
const soaks: Readonly<Record<string, () => Promise<readonly string[]>>> = {
  chaos: () => soakChaos(seed, Number(values.runs), Number(values['at-once'])),
  crash: async () => {
    const { problems, ...figures } = await runCrashes(seed, Number(values.kills))
    console.log(`  ${JSON.stringify(figures)}`)
    return problems
  },
  threads: async () => {
    const all: string[] = []
    for (const hasJournal of [true, false]) {
      const { problems, ...figures } = await runTerminations(seed, Number(values.threads), hasJournal)
      console.log(`  ${hasJournal ? 'with' : 'without'} a journal: ${JSON.stringify(figures)}`)
      all.push(...problems)
    }
    return all
  },
  cycles: async () => {
    const { problems, ...figures } = await runCycles(Number(values.cycles))
    console.log(`  ${JSON.stringify(figures)}`)
    return problems
  },
  flood: () => soakFlood(Number(values.seconds)),
  model: () => soakModel(seed, Number(values['model-runs'])),
}

const names = positionals.length > 0 ? positionals : Object.keys(soaks)
for (const name of names) {
  const soak = soaks[name]
  if (soak === undefined) {
    throw new Error(`there is no soak ${name}, but ${Object.keys(soaks).join(', ')}`)
  }
  const start = performance.now()
  console.log(`${name}, seed ${seed}`)
  let problems: readonly string[]
  try {
    problems = await soak()
  } catch (error) {
    problems = [error instanceof Error ? (error.stack ?? error.message) : String(error)]
  }
  problems.forEach(problem => console.error(`  ${problem}`))
  const seconds = Math.round((performance.now() - start) / 1000)
  console.log(
    `${name}, seed ${seed}: ${problems.length === 0 ? 'ok' : `${problems.length} problems`} after ${seconds} s`
  )
  if (problems.length > 0) {
    process.exitCode = 1
  }
}
