// npm run test:chaos -- [--runs 1000] [--seed 1] [--at-once 4]
import { parseArgs } from 'node:util'

import { runChaos } from './chaos-run.ts'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    seed: { type: 'string' },
    'at-once': { type: 'string', default: '4' },
  },
})
const runs = values.seed !== undefined && process.argv.every(arg => !arg.startsWith('--runs')) ? 1 : Number(values.runs)
const first = values.seed === undefined ? Date.now() % 1e9 : Number(values.seed)
let next = first
let done = 0
let hasFailed = false

async function work(): Promise<void> {
  while (next < first + runs && !hasFailed) {
    const { seed, problems, counts } = await runChaos(next++)
    ++done
    if (problems.length > 0) {
      hasFailed = true
      console.error(`seed ${seed}: ${problems.length} problems`)
      problems.slice(0, 20).forEach(problem => console.error(`  ${problem}`))
    } else if (runs === 1 || done % 20 === 0) {
      console.log(`${done} of ${runs} runs, the last one with seed ${seed}`, JSON.stringify(counts))
    }
  }
}

try {
  await Promise.all(Array.from({ length: Math.min(runs, Number(values['at-once'])) }, work))
} catch (error) {
  hasFailed = true
  console.error(error)
}
console.log(`${done} runs from seed ${first}: ${hasFailed ? 'FAILED' : 'nothing was lost'}`)
process.exitCode = hasFailed ? 1 : 0
