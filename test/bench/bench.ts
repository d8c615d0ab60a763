import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus, loadavg } from 'node:os'

import { figures } from './figures.ts'
import type { Row } from './measure.ts'

/**
 * `npm run bench [-- --full] [<word>…]`: measures what the project promises and prints it beside the bound; with words,
 * only the figures whose names have one of them; with `--full` as long as the promises say. Fails if a figure is short.
 *
 * Each figure has a process of its own, so that none is measured in the heap that another has left, and its receiver
 * another one. They are built first: what runs TypeScript as it is takes up some 20 MiB of each process. Figures are
 * ratios within one run, as a machine has good and bad hours: the load says which one it was.
 */
const PATIENCE_MS = 10 * 60_000

async function measure(name: string, isFull: boolean): Promise<Row[]> {
  const rows: Row[] = []
  const child = fork(import.meta.filename, [isFull ? '--full-figure' : '--figure', name], {
    execArgv: [...process.execArgv, '--expose-gc'],
    // the plugin warns of what the figures do to it
    env: { ...process.env, LOG_LEVEL: 'error' },
    timeout: PATIENCE_MS,
  })
  child.on('message', (row: Row) => rows.push(row))
  const [code] = (await once(child, 'exit')) as [number | null]
  return code === 0 ? rows : [...rows, { figure: name, measured: 'it failed', bound: '', ok: false }]
}

function print({ figure, measured, bound, ok }: Row): void {
  const verdict = ok === undefined ? '' : ok ? 'ok' : 'SHORT'
  console.log(`${figure.padEnd(92)} ${measured.padStart(26)}  ${bound.padEnd(14)} ${verdict}`.trimEnd())
}

function printLoad(): void {
  const load = loadavg().map(each => each.toFixed(1))
  console.log(`${new Date().toISOString()}, load average ${load.join(' ')}`)
}

const [first, ...rest] = process.argv.slice(2)
if (first === '--figure' || first === '--full-figure') {
  await figures.get(rest.join(' '))?.(row => process.send?.(row), first === '--full-figure')
  process.disconnect?.()
} else {
  const args = process.argv.slice(2)
  const isFull = args.includes('--full')
  const words = args.filter(arg => arg !== '--full')
  const started = performance.now()
  console.log(`node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`)
  printLoad()
  print({ figure: '\nfigure', measured: 'measured', bound: 'bound' })
  let short = 0
  for (const name of figures.keys()) {
    if (words.length === 0 || words.some(word => name.includes(word))) {
      console.log(`\n${name}`)
      for (const row of await measure(name, isFull)) {
        print({ ...row, figure: `  ${row.figure}` })
        short += row.ok === false ? 1 : 0
      }
    }
  }
  console.log(`\n${short} short, after ${Math.round((performance.now() - started) / 1000)} s`)
  printLoad()
  process.exitCode = short === 0 ? 0 : 1
}
