// The process that is flooded: its memory and its event loop are what is measured. Arguments: the healthy receiver's URL,
// seconds, a folder for the journal.
import { problemsOf, runFlood } from '../helpers/flood-run.ts'

const [url = '', seconds, directory = ''] = process.argv.slice(2)
let isDone: ((has: boolean) => void) | undefined
process.on('message', (has: boolean) => isDone?.(has))

const ask = (calls: number): Promise<boolean> =>
  new Promise(resolve => {
    isDone = resolve
    process.send?.({ calls })
  })
const report = await runFlood(url, Number(seconds), ask, () => Promise.resolve(directory))
const { endpoints: _, ...health } = report.health
process.send?.({ report: { ...report, health }, problems: problemsOf(report) })
process.disconnect()
