import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Signal } from '../../src/xo.ts'
import { startHost } from './host.ts'
import type { BenchHook } from './host.ts'
import { bodyOf, median, ratioRow, signalOf, valueRow } from './measure.ts'
import type { Figure } from './measure.ts'
import { startReceiver } from './receiver.ts'

// What a call of xo-server costs before it goes on.

export const unmatchedCall: Figure = async report => {
  const ROUNDS = 21
  const CALLS = 50_000
  const hooks = Array.from({ length: 1_000 }, (_, index) => ({
    name: `hook ${index}`,
    method: index % 2 === 0 ? `vm.m${index}` : `*.vm${index}.*`,
    url: 'http://127.0.0.1:9/',
  }))
  let heard = 0
  const plugin = await startHost(hooks)
  const empty = await startHost([], {
    // it looks at the method, as whoever listens does: objects at which nobody looks V8 does not make, and the host does
    onCall: ({ method }) => {
      heard += method === '' ? 0 : 1
    },
  })
  const signals = Array.from({ length: 16 }, (_, index) => signalOf(`bench.m${index}`, 600))
  const callAll = (host: typeof plugin, signalFor: (signal: Signal) => Signal): void => {
    for (let i = 0; i < CALLS; ++i) {
      const signal = signals[i % signals.length]!
      host.pre(signalFor(signal))
      host.post(signalFor(signal))
    }
  }
  const ways: Record<string, { signalFor: (signal: Signal) => Signal; bound: number }> = {
    'the emits alone': { signalFor: signal => signal, bound: 1.5 },
    'with the objects that the host makes for them': { signalFor: asHostMakes, bound: 1.1 },
  }

  for (const [way, { signalFor, bound }] of Object.entries(ways)) {
    const ours: number[] = []
    const theirs: number[] = []
    for (let round = 0; round < ROUNDS; ++round) {
      globalThis.gc?.() // what one leaves behind is not cleared away in the other's time
      theirs.push(cpuOf(() => callAll(empty, signalFor)))
      globalThis.gc?.()
      ours.push(cpuOf(() => callAll(plugin, signalFor)))
    }
    const [own, other] = [median(ours), median(theirs)]
    const detail = [own, other].map(us => ((us / CALLS) * 1e3).toFixed(0)).join(' ns to ')
    report(ratioRow(`to two listeners that look at the method, ${way} (${detail} ns)`, own / other, '≤', bound))
  }
  assert.equal(heard, 2 * 2 * ROUNDS * CALLS)
  await plugin.close()
  await empty.close()
}

/** What a hook that may refuse costs the call that it allows, in round trips to its receiver. */
export const refusableCall: Figure = async (report, isFull) => {
  const CALLS = isFull ? 500 : 60
  /** So that a round trip is a round trip, and not what a busy machine makes of it. */
  const ANSWER_MS = 20
  const receiver = await startReceiver()
  const url = `${receiver.url}/slow/${ANSWER_MS}`
  const host = await startHost([{ method: 'bench.m1', url, mayRefuse: true }])
  const without = await startHost([])
  const [held, free] = [signalOf('bench.m1', 600), signalOf('bench.m2', 600)]
  const trips: number[] = []
  const calls: number[] = []
  for (let call = 0; call < CALLS + 10; ++call) {
    const start = performance.now()
    await fetch(url, { method: 'POST', body: bodyOf(held) }).then(answer => answer.text())
    const between = performance.now()
    assert.equal(await host.call({ ...held, callId: `call ${call}` }), true)
    if (call >= 10) {
      trips.push(between - start)
      calls.push(performance.now() - between)
    }
  }
  const detail = [median(calls), median(trips)].map(ms => ms.toFixed(1)).join(' ms to ')
  report(
    ratioRow(`a call that a hook may refuse, to one request (${detail} ms)`, median(calls) / median(trips), '≤', 1.2)
  )
  const name = free.method
  assert.equal(typeof host.method(name), 'function')
  const entries = [host.method(name), without.method(name)].map(String)
  report(valueRow('wrappers around a method that no hook may refuse', entries[0] === entries[1] ? 0 : 1, '', 0, 0))
  await Promise.all([host.close(), without.close()])
  receiver.close()
}

/** In µs; no other thread does anything meanwhile. */
function cpuOf(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

/** Source: `#callApiMethod` in packages/xo-server/src/xo-mixins/api.mjs. */
function asHostMakes({ userId, userName, userIp, method, params, result }: Signal): Signal {
  const callId = Math.random().toString(36).slice(2)
  const timestamp = Date.now()
  const data = { callId, userId, userName, userIp, method, params: { ...(params as object) }, timestamp }
  return { ...data, duration: 0, result, timestamp }
}

export const matchedPost: Figure = async (report, isFull) => {
  const calls = isFull ? 4_000 : 1_000
  const PAUSE_MS = 3
  const WARM_UP = 10_000
  const receiver = await startReceiver()
  const signal = signalOf('bench.m1', 600)
  const host = await startHost([{ method: 'bench.m1', url: receiver.url }])
  const answers: Promise<unknown>[] = []
  const fetching = await startHost([], {
    onCall: event => {
      const headers = { 'Content-Type': 'application/json' }
      answers.push(fetch(receiver.url, { method: 'POST', headers, body: bodyOf(event) }).then(answer => answer.text()))
    },
  })
  // as in a process that has been up for a while
  const warm: Tick[] = []
  for (let call = 0; call < WARM_UP; ++call) {
    warm.push(await tick(() => host.post(signal)))
  }
  await receiver.received(WARM_UP)
  await receiver.reset()
  const ours: Tick[] = []
  const theirs: Tick[] = []
  for (let call = 0; call < calls; ++call) {
    ours.push(await tick(() => host.post(signal)))
    // what either does in later ticks is over before the other begins
    await receiver.received(2 * call + 1)
    await sleep(PAUSE_MS)
    theirs.push(await tick(() => fetching.post(signal)))
    await answers.pop()
    await sleep(PAUSE_MS)
  }
  const { answered, bodyBytes } = await receiver.received(2 * calls)
  assert.equal(answered, 2 * calls)
  assert.equal(bodyBytes, 2 * calls * Buffer.byteLength(bodyOf(signal)))
  await host.close()
  await fetching.close()
  receiver.close()
  const medianOf = (ticks: readonly Tick[], part: keyof Tick): number => median(ticks.map(each => each[part])) * 1e3
  const [own, other] = [medianOf(ours, 'tick'), medianOf(theirs, 'tick')]
  report(valueRow('on the tick, median', own, 'µs', 8))
  report(ratioRow('to `fetch`, called in its place', own / other, '≤', 0.1))
  report(valueRow('on the tick, without pauses', medianOf(warm.slice(WARM_UP / 2), 'tick'), 'µs'))
  report(valueRow('in the turn after it: the hand-over', medianOf(ours, 'after'), 'µs'))
  report(valueRow('`fetch`: what it does on the tick', other, 'µs'))
  report(valueRow('`fetch`: in the turn after it', medianOf(theirs, 'after'), 'µs'))
}

/** Of a call whose object some formats tell of. */
export const manyFormats: Figure = async (report, isFull) => {
  const CALLS = isFull ? 4_000 : 1_500
  const names =
    'slack json office365 teams discord mattermost google-chat cloudevents cloudevents-binary standard-webhooks virtfusion event'
  const receiver = await startReceiver()
  const signal = { ...signalOf('vm.start', 600), params: { id: 'vm' }, result: undefined, error: { message: 'no' } }
  const hooksOf = (formats: readonly string[]): readonly BenchHook[] =>
    formats.map(format => ({ name: format, method: signal.method, format, url: `${receiver.url}/${format}` }))
  const all = names.split(' ')
  const [one, twelve] = [await startHost(hooksOf(all.slice(0, 1))), await startHost(hooksOf(all))]
  for (const { objects } of [one, twelve]) {
    objects.set('vm', { id: 'vm', type: 'VM', name_label: 'web01', $pool: 'pool', tags: [] })
  }
  const ticks = new Map<typeof one, number[]>([
    [one, []],
    [twelve, []],
  ])
  for (let call = 0; call < CALLS; ++call) {
    for (const [host, own] of ticks) {
      const { tick: ms } = await tick(() => host.post({ ...signal, callId: `call ${call}` }))
      own.push(ms * 1e3)
    }
  }
  // the rest waits for its services' pace
  await Promise.all([one.close(), twelve.close()])
  receiver.close()
  const [own, other] = [twelve, one].map(host => median(ticks.get(host)!.slice(CALLS / 3)))
  const detail = [own!, other!].map(us => us.toFixed(1)).join(' µs to ')
  report(ratioRow(`the tick of a call with hooks of 12 formats, to one (${detail} µs)`, own! / other!, '≤', 1.25))
}

/** What `work` takes with the microtasks that it leaves behind, before the loop goes on; and the turn after it; ms. */
interface Tick {
  readonly tick: number
  readonly after: number
}

function tick(work: () => void): Promise<Tick> {
  return new Promise(resolve => {
    let start = 0
    let end = 0
    setImmediate(() => {
      start = performance.now()
      work()
      // behind whatever `work` has put off to the next turn
      setImmediate(() => resolve({ tick: end - start, after: performance.now() - end }))
    })
    // runs right after the microtasks of the one before
    setImmediate(() => {
      end = performance.now()
    })
  })
}
