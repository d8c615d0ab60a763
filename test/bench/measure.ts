import { readdirSync, readFileSync } from 'node:fs'

import type { Signal } from '../../src/xo.ts'

/** One line of the table. */
export interface Row {
  readonly figure: string
  readonly measured: string
  readonly bound: string
  /** Without: for information. */
  readonly ok?: boolean
}

export type Report = (row: Row) => void

/** @param isFull - as long and as often as the promise says; else about a minute */
export type Figure = (report: Report, isFull: boolean) => Promise<void>

export const KIB = 1024
export const MIB = 1024 * KIB

/** As xo-server announces the end of a call; `bytes` is the length of its JSON, about. */
export function signalOf(method: string, bytes: number): Signal {
  const signal = {
    callId: 'k3w9x1b7q2e',
    userId: 'b4tm4n-0174-11ea-8d71-362b9e155667',
    userName: 'bruce.wayne@waynecorp.com',
    userIp: '192.0.2.17',
    method,
    params: { id: '67aac198-0174-11ea-8d71-362b9e155667', force: false, memory: 4_294_967_296 },
    timestamp: Date.now(),
    duration: 1_234,
    result: '',
  }
  return { ...signal, result: 'x'.repeat(Math.max(0, bytes - JSON.stringify(signal).length - ',"type":"post"'.length)) }
}

/** What the body of a signal comes to. */
export function bodyOf(signal: Signal): string {
  return JSON.stringify({ ...signal, type: 'post' })
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Of what was measured in the same rounds, so that both had the same conditions. */
export function medianRatio(of: readonly number[], to: readonly number[]): number {
  return median(of.map((value, round) => value / to[round]!))
}

/** Milliseconds. */
export function timed(work: () => unknown): number {
  const start = performance.now()
  work()
  return performance.now() - start
}

/** A row for a ratio that may be at most, or has to be at least, `bound`; the least and the greatest of the rounds too. */
export function ratioRow(
  figure: string,
  ratio: number,
  relation: '≤' | '≥',
  bound: number,
  rounds?: readonly number[]
): Row {
  const ok = relation === '≤' ? ratio <= bound : ratio >= bound
  const spread = rounds === undefined ? '' : ` (${Math.min(...rounds).toFixed(2)}–${Math.max(...rounds).toFixed(2)})`
  return { figure, measured: `${ratio.toFixed(2)} ×${spread}`, bound: `${relation} ${bound} ×`, ok }
}

/** A row for a number of milliseconds, MiB…, with as many digits. */
export function valueRow(figure: string, value: number, unit: string, bound?: number, digits = 1): Row {
  const measured = `${value.toFixed(digits)} ${unit}`
  return bound === undefined
    ? { figure, measured, bound: '' }
    : { figure, measured, bound: `≤ ${bound} ${unit}`, ok: value <= bound }
}

/** CPU time of each thread of this process so far, µs, by its id; that of the main thread is the process'. Linux only. */
export function threadTimes(): ReadonlyMap<number, number> {
  const times = new Map<number, number>()
  for (const id of readdirSync('/proc/self/task')) {
    try {
      // ns on a CPU, ns of waiting for one, slices
      const [ns] = readFileSync(`/proc/self/task/${id}/schedstat`, 'utf8').split(' ')
      times.set(Number(id), Number(ns) / 1e3)
    } catch {
      // it has ended
    }
  }
  return times
}

/** CPU time in between, µs: of the main thread, and of the busiest of the others. */
export function threadTimesSince(before: ReadonlyMap<number, number>): { main: number; other: number } {
  let main = 0
  let other = 0
  for (const [id, time] of threadTimes()) {
    const spent = time - (before.get(id) ?? 0)
    if (id === process.pid) {
      main = spent
    } else {
      other = Math.max(other, spent)
    }
  }
  return { main, other }
}
