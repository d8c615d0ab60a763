import assert from 'node:assert/strict'

import type { Signal } from '../../src/xo.ts'
import { startHost } from './host.ts'
import type { BenchHost } from './host.ts'
import { bareLoop } from './load.ts'
import { bodyOf, median, medianRatio, ratioRow, signalOf, threadTimes, threadTimesSince } from './measure.ts'
import type { Figure } from './measure.ts'
import { startReceiver } from './receiver.ts'
import type { BenchReceiver } from './receiver.ts'

/** Of one round each, µs a delivery. */
interface Costs {
  readonly time: number[]
  /** CPU of xo-server's thread. */
  readonly host: number[]
  /** CPU of the thread that is busiest beside it. */
  readonly other: number[]
}

/** Sends so many; settles once nothing more has to be done for it. */
type Way = (count: number) => Promise<void> | void

/** So many deliveries in each of the ways, in turns. The first round is a warm-up. */
async function costsOf<Name extends string>(
  ways: Readonly<Record<Name, Way>>,
  receiver: BenchReceiver,
  { count, rounds, bytes }: { count: number; rounds: number; bytes: number }
): Promise<Record<Name, Costs>> {
  const names = Object.keys(ways) as Name[]
  const costs = Object.fromEntries(names.map(name => [name, { time: [], host: [], other: [] }])) as unknown as Record<
    Name,
    Costs
  >
  for (let round = 0; round <= rounds; ++round) {
    for (const name of names) {
      await receiver.reset()
      globalThis.gc?.()
      const before = threadTimes()
      const start = performance.now()
      const running = ways[name](count)
      const { answered, bodyBytes } = await receiver.received(count)
      const time = performance.now() - start
      await running
      const { main, other } = threadTimesSince(before)
      assert.equal(answered, count)
      assert.equal(bodyBytes, count * bytes)
      if (round > 0) {
        costs[name].time.push((time * 1e3) / count)
        costs[name].host.push(main / count)
        costs[name].other.push(other / count)
      }
    }
  }
  return costs
}

function atOnce({ post }: BenchHost, signal: Signal): Way {
  return count => {
    for (let i = 0; i < count; ++i) {
      post(signal)
    }
  }
}

/** Each call in a turn of the event loop of its own, as calls come. */
function oneATurn({ post }: BenchHost, signal: Signal): Way {
  return async count => {
    for (let i = 0; i < count; ++i) {
      post(signal)
      await new Promise(resolve => setImmediate(resolve))
    }
  }
}

/** So many are on their way at any time: less than a journal is for. */
const FEW = 96
/** Not more often does the receiver say how far it is: each of its messages costs the thread that is measured, too. */
const STEP = 48

/** As many as the receiver takes, without a backlog. */
function aFewAtATime({ post }: BenchHost, signal: Signal, receiver: BenchReceiver): Way {
  return async count => {
    let sent = 0
    await receiver.watch(STEP, answered => {
      for (; sent < Math.min(count, answered + FEW); ++sent) {
        post(signal)
      }
    })
  }
}

/** What a delivery costs xo-server's thread, and how many go in a second. */
export const throughput: Figure = async (report, isFull) => {
  const count = isFull ? 20_000 : 10_000
  const rounds = isFull ? 11 : 5
  const receiver = await startReceiver()
  const signal = signalOf('bench.m1', 600)
  const host = await startHost([{ method: 'bench.m1', url: receiver.url }])
  const bare = bareLoop(receiver.url, false)
  const same = bareLoop(receiver.url, true)
  const costs = await costsOf(
    {
      'a bare loop with one header': count => bare.send(count),
      'a bare loop with our headers that stringifies': count => same.send(count),
      'ours, one call in a turn of the event loop': oneATurn(host, signal),
      'ours, a few at a time': aFewAtATime(host, signal, receiver),
      'ours, all called at once': atOnce(host, signal),
    },
    receiver,
    { count, rounds, bytes: Buffer.byteLength(bodyOf(signal)) }
  )
  await Promise.all([host.close(), bare.close(), same.close()])
  receiver.close()

  const { 'a bare loop with one header': base, 'a bare loop with our headers that stringifies': loop, ...ours } = costs
  for (const [name, { host: cpu }] of Object.entries(ours)) {
    const figure = `CPU of xo-server's thread: ${name}, to a bare loop`
    report(ratioRow(figure, medianRatio(cpu, base.host), '≤', 0.25, ratiosOf(cpu, base.host)))
  }
  for (const name of ['ours, a few at a time', 'ours, all called at once'] as const) {
    const { time } = costs[name]
    const figure = `rate: ${name}, to the loop that stringifies`
    report(ratioRow(figure, medianRatio(loop.time, time), '≥', 0.75, ratiosOf(loop.time, time)))
  }
  for (const [name, { time, host, other }] of Object.entries(costs)) {
    const cpu = [host, other].map(values => median(values).toFixed(1))
    const measured = `${(1e6 / median(time)).toFixed(0)}/s ${cpu.join(' + ')} µs`
    report({ figure: `rate, and CPU of that thread + the busiest other: ${name}`, measured, bound: '' })
  }
}

function ratiosOf(of: readonly number[], to: readonly number[]): number[] {
  return of.map((value, round) => value / to[round]!)
}

/** What the journal costs where the endpoint is healthy, but all come at once. */
export const journalRate: Figure = async (report, isFull) => {
  const receiver = await startReceiver()
  const signal = signalOf('bench.m1', 600)
  const hooks = [{ method: 'bench.m1', url: receiver.url }]
  const hosts = { with: await startHost(hooks), without: await startHost(hooks, { hasFolder: false }) }
  const costs = await costsOf({ with: atOnce(hosts.with, signal), without: atOnce(hosts.without, signal) }, receiver, {
    count: isFull ? 20_000 : 10_000,
    rounds: isFull ? 11 : 5,
    bytes: Buffer.byteLength(bodyOf(signal)),
  })
  await hosts.with.close()
  await hosts.without.close()
  receiver.close()
  const [own, other] = [costs.without.time, costs.with.time]
  report(
    ratioRow('rate with the journal, to the rate without it', medianRatio(own, other), '≥', 0.9, ratiosOf(own, other))
  )
}
