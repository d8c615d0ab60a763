import { formats } from '../../src/formats/index.ts'
import { materialOf, optionsOf, samplesWith } from '../helpers/material.ts'
import type { Sample } from '../helpers/material.ts'
import { quantile, valueRow } from './measure.ts'
import type { Figure } from './measure.ts'

const ROUNDS = 60
const PER_ROUND = 100

/**
 * CPU time that it costs the delivery thread to write an event in each format, the message included; of the rounds the
 * fastest quarter, as other processes only ever add to it.
 */
export const builtInEachFormat: Figure = async report => {
  const { failure } = samplesWith()
  const { backup } = samplesWith({ user: 'bruce@example.org', name: 'web', error: 'no space left', failures: 100 })
  for (const name of formats.keys()) {
    report(valueRow(`${name}: a call that has failed`, costOf(name, failure!), 'µs', 50))
    report(valueRow(`${name}: a backup of 100 VMs that have failed`, costOf(name, backup!), 'µs', 500))
  }
}

function costOf(name: string, { event, object }: Sample): number {
  const format = formats.get(name)!
  const options = optionsOf(name)
  const round = (): number => {
    const before = process.cpuUsage()
    for (let n = 0; n < PER_ROUND; ++n) {
      format.build(materialOf(event, object), options)
    }
    return process.cpuUsage(before).user
  }
  for (let n = 0; n < 20; ++n) {
    round()
  }
  const rounds = Array.from({ length: ROUNDS }, round)
  return quantile(rounds, 0.25) / PER_ROUND
}
