import { runChaos } from '../helpers/chaos-run.ts'

const TELL_EVERY = 20

/** So many runs with the seeds from `first` on, until one has a problem. */
export async function soakChaos(first: number, runs: number, atOnce: number): Promise<readonly string[]> {
  const problems: string[] = []
  const totals: Record<string, number> = {}
  let next = first
  let done = 0
  const work = async (): Promise<void> => {
    while (next < first + runs && problems.length === 0) {
      const seed = next++
      try {
        const report = await runChaos(seed)
        problems.push(...report.problems.map(problem => `seed ${seed}: ${problem}`))
        for (const [what, count] of Object.entries(report.counts)) {
          totals[what] = (totals[what] ?? 0) + count
        }
      } catch (error) {
        problems.push(`seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
      }
      if (++done % TELL_EVERY === 0) {
        console.log(`  ${done} of ${runs} runs`)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(runs, atOnce) }, work))
  console.log(`  ${done} runs: ${JSON.stringify(totals)}`)
  return problems
}
