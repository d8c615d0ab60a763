import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { promises as dns } from 'node:dns'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { startNameServer } from '../helpers/name-server.ts'
import { startHost } from './host.ts'
import type { BenchHook } from './host.ts'
import { pace } from './load.ts'
import { median, quantile, ratioRow, valueRow } from './measure.ts'
import type { Figure, Report, Row } from './measure.ts'
import { startReceiver } from './receiver.ts'

const HEALTHY = 10
const CALLS_A_SECOND = 5
const IS_INSIDE = 'BENCH_HAS_MUTE_NAME_SERVER'

/**
 * The name server never answers for half of the endpoints: what the other half, and xo-server's own look-ups, feel of it. The
 * look-ups are real ones: all runs in namespaces of its own (`unshare` of util-linux), whose name server is one on loopback,
 * and knows one half of the healthy half; the other one is in the file of hosts.
 */
export const muteNames: Figure = async (report, isFull) => {
  await (process.env[IS_INSIDE] === undefined ? goInside(report) : measure(report, isFull))
}

async function goInside(report: Report): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'xo-server-web-hooks-bench-names-'))
  const healthyNames = Array.from({ length: HEALTHY }, (_, index) => healthy(index))
  const names = ['localhost', 'own.example', ...healthyNames.filter(isInHosts)]
  await writeFile(join(directory, 'hosts'), `127.0.0.1 ${names.join(' ')}\n`)
  await writeFile(join(directory, 'resolv.conf'), 'nameserver 127.0.0.1\n')
  const script =
    'ip link set lo up && mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$@"'
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const child = spawn('unshare', ['-rmn', 'sh', '-c', script, directory, ...again], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [IS_INSIDE]: '1' },
  })
  let isMeasured = false
  child.on('message', (row: Row) => {
    isMeasured = true
    report(row)
  })
  child.on('error', () => {})
  const [code] = (await once(child, 'close')) as [number | null]
  await rm(directory, { recursive: true })
  if (!isMeasured) {
    report({ figure: 'not measured: it takes Linux, `ip`, and `unshare -rmn` to be allowed', measured: '', bound: '' })
  } else {
    assert.equal(code, 0)
  }
}

function healthy(index: number): string {
  return `healthy${index}.example`
}

function isInHosts(_name: string, index: number): boolean {
  return index % 2 === 0
}

async function measure(report: Report, isFull: boolean): Promise<void> {
  const seconds = isFull ? 150 : 20
  const nameServer = await startNameServer(name => (name.startsWith('mute') ? 'mute' : ['127.0.0.1']), 53)
  const receiver = await startReceiver()
  const { port } = new URL(receiver.url)
  const hooks = (path: string, name: (index: number) => string): BenchHook[] =>
    Array.from({ length: HEALTHY }, (_, index) => ({
      name: `${path} ${index}`,
      method: '*',
      url: `http://${name(index)}:${port}/${path}/${index}`,
    }))

  const alone = await startHost(hooks('alone', healthy))
  await pace(1, Number.POSITIVE_INFINITY, 600, alone.post)
  await receiver.received(HEALTHY)
  const before: number[] = []
  for (let call = 0; call < 10 * CALLS_A_SECOND; ++call) {
    await pace(1, Number.POSITIVE_INFINITY, 600, alone.post)
    before.push(await ownLookup())
  }

  // the mute ones are asked for first
  await receiver.reset()
  const beside = await startHost([...hooks('mute', index => `mute${index}.example`), ...hooks('beside', healthy)])
  const start = performance.now()
  await pace(1, Number.POSITIVE_INFINITY, 600, beside.post)
  await receiver.received(HEALTHY, 5 * 60_000)
  const firstMs = performance.now() - start

  await receiver.reset()
  const after: number[] = []
  for (let call = 0; call < seconds * CALLS_A_SECOND; ++call) {
    // one after the other, in each other's pauses: so both have the same conditions
    for (const host of [alone, beside]) {
      await pace(1, Number.POSITIVE_INFINITY, 600, host.post)
      after.push(await ownLookup())
    }
  }
  const count = 2 * HEALTHY * seconds * CALLS_A_SECOND
  const { latencies, paths } = await receiver.received(count)
  assert.equal(latencies.length, count)
  const p99 = ['/alone', '/beside'].map(start =>
    quantile(
      latencies.filter((_, index) => paths[index]!.startsWith(start)),
      0.99
    )
  )
  const detail = p99.map(ms => ms.toFixed(1)).join(' ms to ')
  report(ratioRow(`p99 of the others, to alone (${detail} ms)`, p99[1]! / p99[0]!, '≤', 2))
  report(
    valueRow("xo-server's own look-ups: how much later, p99", quantile(after, 0.99) - quantile(before, 0.99), 'ms', 50)
  )
  report(valueRow("xo-server's own look-ups: p50", median(after), 'ms', undefined, 2))
  report(valueRow('until all others have their first, where none was ever resolved', firstMs / 1_000, 's', 5))
  await Promise.all([alone.close(), beside.close()])
  nameServer.close()
  receiver.close()
}

/** How long a look-up of the main thread takes, ms; waits until the next is due. */
async function ownLookup(): Promise<number> {
  const start = performance.now()
  await dns.lookup('own.example')
  const tookMs = performance.now() - start
  await sleep(Math.max(0, 1_000 / CALLS_A_SECOND / 2 - tookMs))
  return tookMs
}
