import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

import { startHost } from './host.ts'
import type { BenchHost } from './host.ts'
import { KIB, MIB, ratioRow, signalOf, valueRow } from './measure.ts'
import type { Figure } from './measure.ts'
import { startReceiver } from './receiver.ts'

const DEAD = 'http://127.0.0.1:1/'

/** In MiB. */
interface Memory {
  readonly rss: number
  /** Heap of xo-server's thread, and buffers of all. */
  readonly used: number
}

function memoryNow(): Memory {
  globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss: rss / MIB, used: (heapUsed + external) / MIB }
}

/** Calls `post` so often a second; the highest RSS in between, in MiB. */
async function flood(host: BenchHost, count: number, rate: number, bytes: number): Promise<number> {
  const STEP_MS = 20
  const signal = signalOf('bench.m1', bytes)
  let peak = 0
  const start = performance.now()
  for (let sent = 0; sent < count;) {
    // what a busy machine has missed is not made up for at once
    const due = Math.min(count, sent + 2 * rate * (STEP_MS / 1e3), ((performance.now() - start) / 1e3) * rate)
    for (; sent < due; ++sent) {
      host.post({ ...signal, callId: `${sent}` })
    }
    peak = Math.max(peak, process.memoryUsage.rss() / MIB)
    await sleep(STEP_MS)
  }
  await sleep(1_000)
  return Math.max(peak, process.memoryUsage.rss() / MIB)
}

/** An endpoint that is down costs disk, not memory. */
export const deadEndpoint: Figure = async report => {
  const receiver = await startReceiver()
  const host = await startHost([
    { name: 'healthy', method: 'bench.m2', url: receiver.url },
    { name: 'dead', method: 'bench.m1', url: DEAD },
  ])
  // the thread is up, and has done all that it does
  for (let i = 0; i < 1_000; ++i) {
    host.post(signalOf('bench.m2', 2 * KIB))
  }
  await receiver.received(1_000)
  await sleep(1_000)
  const before = memoryNow()
  const peak = await flood(host, 10_000, 2_000, 2 * KIB)
  report(valueRow('RSS grows by, at most', peak - before.rss, 'MiB', 64))
  report(valueRow('heap and buffers grow by', memoryNow().used - before.used, 'MiB'))
  report(valueRow('RSS before', before.rss, 'MiB'))
  await host.close()
  receiver.close()
}

/** All that happens goes to an endpoint that is down. */
export const deadCatchAll: Figure = async (report, isFull) => {
  const RATE = 2_000
  const host = await startHost([{ name: 'dead', method: '*', url: DEAD }])
  await sleep(500)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const peak = await flood(host, RATE * (isFull ? 60 : 10), RATE, 600)
  delay.disable()
  report(valueRow('RSS in all, at most', peak, 'MiB', 256))
  report(valueRow('delay of the event loop, at most', delay.max / 1e6, 'ms', 50))
  await host.close()
}

/** 12,500 a second for 8 seconds. */
export const pendingOnDisk: Figure = async report => {
  const COUNT = 100_000
  const BYTES = 2 * KIB
  const receiver = await startReceiver()
  const hooks = [
    { name: 'dead', method: 'bench.m1', url: DEAD },
    { name: 'healthy', method: 'bench.m2', url: receiver.url },
  ]
  const host = await startHost(hooks)
  await sleep(500)
  const before = memoryNow()
  const peak = await flood(host, COUNT, 12_500, BYTES)
  const used = memoryNow().used - before.used
  await host.stop()
  const disk = await sizeOf(host.directory)

  const start = performance.now()
  const again = await startHost(hooks, { directory: host.directory })
  const loadedMs = performance.now() - start
  // loading waits for the journal, but not for ever; nothing is sent before all of it has been read
  again.post(signalOf('bench.m2', BYTES))
  await receiver.received(1)
  const readyMs = performance.now() - start
  await again.close()
  receiver.close()
  report(valueRow('heap and buffers grow by', used, 'MiB', 96))
  report(valueRow('RSS grows by, at most', peak - before.rss, 'MiB'))
  report(ratioRow('journal on disk, to the bodies', disk / (COUNT * BYTES), '≤', 3))
  report(valueRow('first delivery after a restart', readyMs, 'ms', 3_000, 0))
  report(valueRow('loaded again after', loadedMs, 'ms', undefined, 0))
}

async function sizeOf(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const sizes = entries.map(entry => (entry.isFile() ? stat(join(entry.parentPath, entry.name)) : undefined))
  return (await Promise.all(sizes)).reduce((sum, stats) => sum + (stats?.size ?? 0), 0)
}
