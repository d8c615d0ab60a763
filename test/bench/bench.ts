import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'

import { figures } from './figures.ts'
import type { Row } from './figures.ts'

/**
 * `npm run bench [-- <word>…]`: measures what the project promises and prints it beside the bound; with words, only
 * the figures whose names have one of them. Fails if a figure is short.
 *
 * Each figure has a process of its own, so that none is measured in the heap that another has left, and its receiver
 * another one. Figures are ratios within one run, as a machine has good and bad hours.
 */
const PATIENCE_MS = 3 * 60_000

async function measure(name: string): Promise<Row[]> {
  const rows: Row[] = []
  const child = fork(import.meta.filename, ['--figure', name], {
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
  console.log(`${figure.padEnd(74)} ${measured.padStart(22)}  ${bound.padEnd(14)} ${verdict}`.trimEnd())
}

const [first, ...rest] = process.argv.slice(2)
if (first === '--figure') {
  await figures.get(rest.join(' '))?.(row => process.send?.(row))
  process.disconnect?.()
} else {
  const words = first === undefined ? [''] : [first, ...rest]
  const started = performance.now()
  console.log(`node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}\n`)
  print({ figure: 'figure', measured: 'measured', bound: 'bound' })
  let short = 0
  for (const name of figures.keys()) {
    if (words.some(word => name.includes(word))) {
      console.log(`\n${name}`)
      for (const row of await measure(name)) {
        print({ ...row, figure: `  ${row.figure}` })
        short += row.ok === false ? 1 : 0
      }
    }
  }
  console.log(`\n${short} short, after ${Math.round((performance.now() - started) / 1000)} s`)
  process.exitCode = short === 0 ? 0 : 1
}
