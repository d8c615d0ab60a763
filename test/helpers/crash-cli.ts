// npm run test:crash -- [--kills 50] [--seed 1]
import { parseArgs } from 'node:util'

import { runCrashes } from './crash-run.ts'

const { values } = parseArgs({ options: { kills: { type: 'string', default: '50' }, seed: { type: 'string' } } })
const seed = values.seed === undefined ? Date.now() % 1e9 : Number(values.seed)
const report = await runCrashes(seed, Number(values.kills))
console.log(`seed ${seed}`, report)
process.exitCode = report.lost.length + report.problems.length > 0 ? 1 : 0
