import assert from 'node:assert/strict'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Signal } from '../../src/xo.ts'
import { startHost } from './host.ts'
import type { BenchHook } from './host.ts'
import { bareLoop, pace } from './load.ts'
import { median, medianRatio, quantile, ratioRow, valueRow } from './measure.ts'
import type { Figure } from './measure.ts'
import { startReceiver } from './receiver.ts'

/** Of one round each, ms. */
interface Waits {
  readonly p50: number[]
  readonly p99: number[]
  /** 99th percentile of the delay of xo-server's event loop. */
  readonly loop: number[]
}

/** How soon events arrive, and what the thread that hears them feels of it. */
export const steadyLoad: Figure = async (report, isFull) => {
  const RATE = 1_000
  const seconds = isFull ? 30 : 3
  const rounds = 3
  const receiver = await startReceiver()
  const host = await startHost([{ method: 'bench.m1', url: receiver.url }])
  const idle = await startHost([], { onCall: () => {} })
  const bare = bareLoop(receiver.url, false)
  const ways: Record<string, (signal: Signal) => unknown> = {
    idle: idle.post,
    bare: bare.post,
    ours: host.post,
  }
  const waits: Record<string, Waits> = {}
  for (let round = 0; round <= rounds; ++round) {
    for (const [name, call] of Object.entries(ways)) {
      const count = RATE * (round === 0 ? 2 : seconds)
      await receiver.reset()
      globalThis.gc?.()
      const delay = monitorEventLoopDelay({ resolution: 1 })
      delay.enable()
      await pace(count, RATE, 600, call)
      delay.disable()
      const { latencies } = await receiver.received(name === 'idle' ? 0 : count)
      assert.equal(latencies.length, name === 'idle' ? 0 : count)
      if (round > 0) {
        const of = (waits[name] ??= { p50: [], p99: [], loop: [] })
        of.p50.push(quantile(latencies, 0.5))
        of.p99.push(quantile(latencies, 0.99))
        of.loop.push(delay.percentile(99) / 1e6)
      }
    }
  }
  await Promise.all([host.close(), idle.close(), bare.close()])
  receiver.close()
  const { ours, idle: none, bare: loop } = waits
  report(valueRow('from hearing to the receiver, p50', median(ours!.p50), 'ms', 1, 2))
  report(valueRow('from hearing to the receiver, p99', median(ours!.p99), 'ms', 5, 2))
  const figure = "p99 of the delay of xo-server's event loop, to an idle one"
  report(ratioRow(figure, medianRatio(ours!.loop, none!.loop), '≤', 1.2))
  report(valueRow('idle: p99 of that delay', median(none!.loop), 'ms', undefined, 2))
  report(valueRow('a bare loop in its place: p50', median(loop!.p50), 'ms', undefined, 2))
  report(valueRow('a bare loop in its place: p99', median(loop!.p99), 'ms', undefined, 2))
  const bareDelay = medianRatio(loop!.loop, none!.loop)
  report(valueRow('a bare loop in its place: delay, to an idle one', bareDelay, '×', undefined, 2))
}

/** Half of the endpoints answer after 9 s, or never: what the other half feels of it. */
export const slowHalf: Figure = async (report, isFull) => {
  const HEALTHY = 10
  const CALLS_A_SECOND = 5
  const seconds = isFull ? 60 : 15
  const hooks = (kind: string, name: string): BenchHook[] =>
    Array.from({ length: HEALTHY }, (_, index) => ({
      name: `${name} ${index}`,
      method: '*',
      url: `${receiver.url}/${kind}/${index}`,
    }))
  const receiver = await startReceiver()
  for (const [kind, what] of [
    ['slow/9000', 'answer after 9 s'],
    ['mute', 'never answer'],
  ] as const) {
    const hosts = {
      alone: await startHost(hooks('alone', 'healthy')),
      beside: await startHost([...hooks('beside', 'healthy'), ...hooks(kind, 'slow')]),
    }
    const turn = async (): Promise<void> => {
      // one after the other, in each other's pauses: so both have the same conditions
      for (const host of [hosts.alone, hosts.beside]) {
        await pace(1, Number.POSITIVE_INFINITY, 600, host.post)
        await sleep(1_000 / CALLS_A_SECOND / 2)
      }
    }
    await turn()
    await receiver.received(2 * HEALTHY)
    await receiver.reset()
    for (let call = 0; call < seconds * CALLS_A_SECOND; ++call) {
      await turn()
    }
    const count = 2 * HEALTHY * seconds * CALLS_A_SECOND
    const { latencies, paths, unanswered } = await receiver.received(count)
    assert.equal(latencies.length, count)
    assert.ok(unanswered > 0)
    const closed = Promise.all([hosts.alone.close(), hosts.beside.close()])
    await sleep(100) // what is cut now is not tried again
    await receiver.hangUp()
    await closed
    const of = (name: string): number[] => latencies.filter((_, index) => paths[index]!.startsWith(`/${name}`))
    const [alone, beside] = [of('alone'), of('beside')]
    const p99 = [alone, beside].map(values => quantile(values, 0.99))
    const detail = p99.map(ms => ms.toFixed(1)).join(' ms to ')
    report(ratioRow(`10 of 20 ${what}: p99 of the others, to alone (${detail} ms)`, p99[1]! / p99[0]!, '≤', 2))
    report(valueRow(`10 of 20 ${what}: p50 of the others`, median(beside), 'ms'))
  }
  receiver.close()
}
