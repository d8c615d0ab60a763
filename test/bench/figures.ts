import assert from 'node:assert/strict'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { Pool } from 'undici'

import type { Signal, TaskLog } from '../../src/xo.ts'
import { startHost } from './host.ts'
import type { BenchHook, BenchObject } from './host.ts'
import { startReceiver } from './receiver.ts'
import type { BenchReceiver, Received } from './receiver.ts'

/** One line of the table. */
export interface Row {
  readonly figure: string
  readonly measured: string
  readonly bound: string
  /** Without: for information. */
  readonly ok?: boolean
}

export type Report = (row: Row) => void

const KIB = 1024
const MIB = 1024 * KIB

/** As xo-server announces the end of a call; `bytes` is the length of its JSON, about. */
function signalOf(method: string, bytes: number): Signal {
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
function bodyOf(signal: Signal): string {
  return JSON.stringify({ ...signal, type: 'post' })
}

function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Milliseconds. */
function timed(work: () => unknown): number {
  const start = performance.now()
  work()
  return performance.now() - start
}

function times(ratio: number): string {
  return `${ratio.toFixed(2)} ×`
}

/** A row for a ratio that may be at most, or has to be at least, `bound`. */
function ratioRow(figure: string, ratio: number, relation: '≤' | '≥', bound: number): Row {
  const ok = relation === '≤' ? ratio <= bound : ratio >= bound
  return { figure, measured: times(ratio), bound: `${relation} ${bound} ×`, ok }
}

async function unmatchedCall(report: Report): Promise<void> {
  const ROUNDS = 21
  const CALLS = 50_000
  const hooks = Array.from({ length: 1_000 }, (_, index) => ({
    name: `hook ${index}`,
    method: index % 2 === 0 ? `vm.m${index}` : `*.vm${index}.*`,
    url: 'http://127.0.0.1:9/',
  }))
  let heard = 0
  const plugin = await startHost(hooks)
  const empty = await startHost([], () => {
    ++heard
  })
  const signals = Array.from({ length: 16 }, (_, index) => signalOf(`bench.m${index}`, 600))
  const callAll = (host: typeof plugin, signalFor: (signal: Signal) => Signal): void => {
    for (let i = 0; i < CALLS; ++i) {
      const signal = signals[i % signals.length]!
      host.pre(signalFor(signal))
      host.post(signalFor(signal))
    }
  }
  const ways: Record<string, (signal: Signal) => Signal> = {
    'the emits alone': signal => signal,
    'with the objects that the host makes for them': signal => ({ ...signal, timestamp: Date.now() }),
  }

  for (const [way, signalFor] of Object.entries(ways)) {
    const ours: number[] = []
    const theirs: number[] = []
    for (let round = 0; round < ROUNDS; ++round) {
      theirs.push(timed(() => callAll(empty, signalFor)))
      ours.push(timed(() => callAll(plugin, signalFor)))
    }
    const [own, other] = [Math.min(...ours), Math.min(...theirs)]
    const detail = [own, other].map(ms => ((ms / CALLS) * 1e6).toFixed(0)).join(' ns to ')
    report(ratioRow(`to two empty listeners, ${way} (${detail} ns)`, own / other, '≤', 1.5))
  }
  assert.equal(heard, 2 * 2 * ROUNDS * CALLS)
  await plugin.close()
  await empty.close()
}

async function unmatchedUpdate(report: Report): Promise<void> {
  const ROUNDS = 21
  const UPDATES = 20_000
  const BOUND_NS = 2_000
  const hooks = Array.from({ length: 1_000 }, (_, index) => ({
    name: `hook ${index}`,
    method: index % 2 === 0 ? `bench.m${index}` : `*.bench${index}.*`,
    url: 'http://127.0.0.1:9/',
  }))
  const host = await startHost(hooks)
  const taskOf = (properties: object, index: number): TaskLog => ({
    ...{ id: `0mwr2g8r2-${index}`, start: Date.now(), status: 'pending' },
    properties: { objectId: '67aac198-0174-11ea-8d71-362b9e155667', userId: 'b4tm4n', progress: index, ...properties },
  })
  const kinds: Record<string, object> = {
    'an API call': { type: 'api.call', name: 'API call: vm.start', method: 'vm.start' },
    'an action of the REST API': { type: 'xo:rest-api:action', name: 'REST API: start VM' },
    'an action that is not known': { type: 'xo:rest-api:action', name: 'REST API: do something "new" to a VM' },
    'a backup': { type: 'backup', name: 'backup run', runJobId: '1795305356676', jobId: 'job', jobName: 'nightly' },
  }
  for (const [kind, properties] of Object.entries(kinds)) {
    const tasks = Array.from({ length: 16 }, (_, index) => taskOf(properties, index))
    const rounds: number[] = []
    for (let round = 0; round < ROUNDS; ++round) {
      const ms = timed(() => {
        for (let i = 0; i < UPDATES; ++i) {
          host.update(tasks[i % tasks.length]!)
        }
      })
      rounds.push((ms / UPDATES) * 1e6)
    }
    const ns = median(rounds)
    report({ figure: kind, measured: `${ns.toFixed(0)} ns`, bound: `≤ ${BOUND_NS} ns`, ok: ns <= BOUND_NS })
  }
  await host.close()
}

async function matchedPost(report: Report): Promise<void> {
  const CALLS = 4_000
  const receiver = await startReceiver()
  const signal = signalOf('bench.m1', 600)
  const host = await startHost([{ method: 'bench.m1', url: receiver.url }])
  const answers: Promise<unknown>[] = []
  const fetching = await startHost([], event => {
    const headers = { 'Content-Type': 'application/json' }
    answers.push(fetch(receiver.url, { method: 'POST', headers, body: bodyOf(event) }).then(answer => answer.text()))
  })

  const ours: number[] = []
  const theirs: number[] = []
  const theirCalls: number[] = []
  for (let call = 0; call < CALLS; ++call) {
    ours.push((await tick(() => host.post(signal))).tick)
    // what either does in later ticks is over before the other begins
    await receiver.received(2 * call + 1)
    const fetched = await tick(() => fetching.post(signal))
    theirs.push(fetched.tick)
    theirCalls.push(fetched.call)
    await answers.pop()
  }
  const { answered, bodyBytes } = await receiver.received(2 * CALLS)
  assert.equal(answered, 2 * CALLS)
  assert.equal(bodyBytes, 2 * CALLS * Buffer.byteLength(bodyOf(signal)))
  await host.close()
  await fetching.close()
  receiver.close()
  const [own, other, otherCall] = [ours, theirs, theirCalls].map(values => median(values.slice(CALLS / 2)) * 1e3)
  report({ figure: 'median', measured: `${own!.toFixed(1)} µs`, bound: '≤ 15 µs', ok: own! <= 15 })
  report(ratioRow('to `fetch`, called in its place', own! / other!, '≤', 0.1))
  report({ figure: '`fetch`: what it does on the tick', measured: `${other!.toFixed(1)} µs`, bound: '' })
  report({ figure: '`fetch`: until it returns', measured: `${otherCall!.toFixed(1)} µs`, bound: '' })
}

/** How long `work` takes, and how long with the microtasks that it leaves behind, before the loop goes on; ms. */
function tick(work: () => void): Promise<{ call: number; tick: number }> {
  return new Promise(resolve => {
    let start = 0
    let call = 0
    setImmediate(() => {
      start = performance.now()
      call = timed(work)
    })
    // runs right after the microtasks of the one before
    setImmediate(() => resolve({ call, tick: performance.now() - start }))
  })
}

/** Results of about `bytes` of JSON in several shapes. */
const SHAPES: ReadonlyMap<string, (bytes: number) => unknown> = new Map<string, (bytes: number) => unknown>([
  ['array of rows', bytes => Array.from({ length: bytes / ROW_BYTES }, (_, index) => rowOf(index))],
  ['one string', bytes => 'x'.repeat(bytes)],
  ['one string, not Latin-1', bytes => '…'.repeat(bytes / 3)],
  ['one string, full of escapes', bytes => '"\n'.repeat(bytes / 4)],
  ['array of numbers', bytes => Array.from({ length: bytes / 8 }, (_, index) => 1_000_000 + index)],
  [
    'nested objects',
    bytes => {
      const nest = (length: number, depth: number): unknown =>
        depth === 0 ? rowOf(length) : { left: nest(length / 2, depth - 1), right: nest(length / 2, depth - 1) }
      return nest(bytes, Math.floor(Math.log2(bytes / (ROW_BYTES + 16))))
    },
  ],
  [
    'objects by id',
    bytes =>
      Object.fromEntries(
        Array.from({ length: bytes / (ROW_BYTES + 39) }, (_, index) => [
          `${String(index).padStart(8, '0')}-0174-11ea-8d71-362b9e155667`,
          rowOf(index),
        ])
      ),
  ],
  [
    'numbers by name',
    bytes => Object.fromEntries(Array.from({ length: bytes / 19 }, (_, index) => [`key${1_000_000 + index}`, index])),
  ],
])

const ROW_BYTES = JSON.stringify(rowOf(1_000)).length + 1

function rowOf(index: number): object {
  return {
    id: '67aac198-0174-11ea-8d71-362b9e155667',
    type: 'VM',
    name_label: 'a virtual machine',
    index,
    power_state: 'Running',
    tags: ['prod', 'db'],
    memory: { size: 4_294_967_296, dynamic: [1_073_741_824, 4_294_967_296] },
    CPUs: { max: 4, number: 4 },
    auto_poweron: true,
  }
}

/** What has come once that is `count` requests, or nothing more comes. */
async function settled(receiver: BenchReceiver, count: number): Promise<Received> {
  let last = -1
  for (;;) {
    const received = await receiver.received(0)
    if (received.answered === count || (received.answered > 0 && received.answered === last)) {
      return received
    }
    last = received.answered
    await sleep(200)
  }
}

async function largeResult(report: Report): Promise<void> {
  const HOOKS = 100
  const ROUNDS = 5
  let [fewest, fewestCut] = [HOOKS, HOOKS]
  const receiver = await startReceiver()
  const host = await startHost(
    Array.from({ length: HOOKS }, (_, index) => ({
      name: `hook ${index}`,
      method: '*',
      url: `${receiver.url}/${index}`,
    }))
  )
  for (const [shape, build] of SHAPES) {
    const small: Signal = { ...signalOf('bench.m1', 600), result: build(0.97 * MIB) }
    const length = Buffer.byteLength(bodyOf(small))
    assert.ok(length > 0.5 * MIB && length < MIB, `${shape}: ${length} bytes`)
    const large: Signal = { ...small, result: build(50 * MIB) }
    const plain: number[] = []
    const ours: number[] = []
    const over: number[] = []
    for (let round = 0; round < ROUNDS; ++round) {
      await receiver.reset()
      plain.push(timed(() => bodyOf(small)))
      ours.push(timed(() => host.post(small)))
      const whole = await settled(receiver, HOOKS)
      assert.equal(whole.bodyBytes, whole.answered * length)
      fewest = Math.min(fewest, whole.answered)
      await receiver.reset()
      over.push(timed(() => host.post(large)))
      const cutOff = await settled(receiver, HOOKS)
      assert.ok(cutOff.bodyBytes < HOOKS * KIB, 'the result is left out')
      fewestCut = Math.min(fewestCut, cutOff.answered)
    }
    const [base, own, cut] = [Math.min(...plain), Math.min(...ours), Math.min(...over)]
    const detail = (ms: number): string => `(${ms.toFixed(1)} ms)`
    report(ratioRow(`${shape}: 1 MiB to JSON.stringify ${detail(base)}`, own / base, '≤', 1.5))
    report(ratioRow(`${shape}: 50 MiB to 1 MiB ${detail(own)}`, cut / own, '≤', 2))
  }
  for (const [what, count] of Object.entries({ '1 MiB': fewest, '50 MiB': fewestCut })) {
    const measured = `${count} of ${HOOKS}`
    report({ figure: `${what}: hooks that got every event, at least`, measured, bound: 'all', ok: count === HOOKS })
  }
  await host.close()
  receiver.close()
}

/** What a delivery says in its headers, as a bare loop would say it. */
const SAME_HEADERS = {
  'Content-Type': 'application/json',
  Accept: 'application/json',
  'User-Agent': 'Xen-Orchestra-Web-Hooks/1.0.0',
  'X-XO-Event': 'bench.m1',
  'X-XO-Event-Type': 'post',
  'X-XO-Event-Status': 'success',
  'X-XO-Created': '2025-01-01T00:00:00.000Z',
  'X-XO-Hook': 'bench.m1',
  'X-XO-Delivery': '67aac198-0174-11ea-8d71-362b9e155667',
  'X-XO-Attempt': '1',
  'webhook-id': '67aac198-0174-11ea-8d71-362b9e155667',
  'webhook-timestamp': '1735689600',
}
const CONNECTIONS = 8

/** `count` times `send`, as many at once as there are connections. */
async function inParallel(count: number, send: () => Promise<unknown>): Promise<void> {
  let left = count
  const work = async (): Promise<void> => {
    while (left > 0) {
      --left
      await send()
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, work))
}

async function poolLoop(receiver: BenchReceiver, headers: Record<string, string>) {
  const pool = new Pool(receiver.url, { connections: CONNECTIONS })
  const body = Buffer.from(bodyOf(signalOf('bench.m1', 600)))
  return {
    send: (count: number) =>
      inParallel(count, async () => {
        const answer = await pool.request({ path: '/', method: 'POST', headers, body })
        await answer.body.dump()
      }),
    close: () => pool.close(),
  }
}

/** Time and CPU per delivery, µs. */
interface Cost {
  readonly time: number[]
  readonly cpu: number[]
}

async function throughput(report: Report): Promise<void> {
  const DELIVERIES = 20_000
  const FETCHES = 5_000
  const ROUNDS = 5
  const receiver = await startReceiver()
  const signal = signalOf('bench.m1', 600)
  const body = bodyOf(signal)
  const host = await startHost([{ method: 'bench.m1', url: receiver.url }])
  const sameHeaders = await poolLoop(receiver, SAME_HEADERS)
  const oneHeader = await poolLoop(receiver, { 'Content-Type': 'application/json' })
  const candidates: Record<string, (count: number) => unknown> = {
    ours(count) {
      for (let i = 0; i < count; ++i) {
        host.post(signal)
      }
    },
    same: sameHeaders.send,
    one: oneHeader.send,
    fetch: count =>
      inParallel(count, async () => {
        const headers = { 'Content-Type': 'application/json' }
        const answer = await fetch(receiver.url, { method: 'POST', headers, body })
        await answer.arrayBuffer()
      }),
  }

  const costs: Record<string, Cost> = {}
  const heads: Record<string, number> = {}
  for (let round = 0; round <= ROUNDS; ++round) {
    for (const [name, run] of Object.entries(candidates)) {
      const count = name === 'fetch' || round === 0 ? FETCHES : DELIVERIES
      await receiver.reset()
      globalThis.gc?.()
      const cpu = process.cpuUsage()
      const start = performance.now()
      const running = run(count)
      const received = await receiver.received(count)
      const time = performance.now() - start
      await running
      const { user, system } = process.cpuUsage(cpu)
      assert.equal(received.answered, count)
      assert.equal(received.bodyBytes, count * body.length)
      heads[name] = received.headBytes / count
      if (round > 0) {
        costs[name] ??= { time: [], cpu: [] }
        costs[name].time.push((time * 1e3) / count)
        costs[name].cpu.push((user + system) / count)
      }
    }
  }
  await Promise.all([host.close(), sameHeaders.close(), oneHeader.close()])
  receiver.close()
  assert.ok(Math.abs(heads['ours']! / heads['same']! - 1) < 0.02, `heads of the same size: ${JSON.stringify(heads)}`)

  // of one round, so that both had the same conditions
  const ratio = (kind: keyof Cost, of: string, to: string): number =>
    median(costs[of]![kind].map((cost, round) => cost / costs[to]![kind][round]!))
  report(ratioRow('rate to a bare loop with the same headers', ratio('time', 'same', 'ours'), '≥', 0.8))
  report(ratioRow('rate to a bare loop with one header', ratio('time', 'one', 'ours'), '≥', 0.8))
  report(ratioRow('rate to `fetch`', ratio('time', 'fetch', 'ours'), '≥', 4))
  report(ratioRow('CPU to a bare loop with the same headers', ratio('cpu', 'ours', 'same'), '≤', 1.5))
  report(ratioRow('CPU to a bare loop with one header', ratio('cpu', 'ours', 'one'), '≤', 1.5))
  for (const [name, { time, cpu }] of Object.entries(costs)) {
    const measured = `${(1e6 / median(time)).toFixed(0)}/s, ${median(cpu).toFixed(1)} µs`
    report({ figure: `rate and CPU per delivery: ${name}`, measured, bound: '' })
  }
}

/** `count` calls at `rate` a second; their signals say when they were sent. */
async function pace(count: number, rate: number, bytes: number, call: (signal: Signal) => void): Promise<void> {
  const template = signalOf('bench.m1', bytes - 36)
  const start = performance.now()
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, Math.floor(((performance.now() - start) / 1000) * rate))
    for (; sent < due; ++sent) {
      call({ ...template, sentAt: String(process.hrtime.bigint()) })
    }
    await sleep(1)
  }
}

/** The 99th percentile of the latencies of `count` calls, each to all `hooks`, of which some may be mute. */
async function latencyOf(
  receiver: BenchReceiver,
  hooks: readonly BenchHook[],
  { count, rate, bytes }: { count: number; rate: number; bytes: number },
  whileUp: () => void = () => {}
): Promise<number> {
  const healthy = hooks.filter(({ url }) => !url.includes('/mute')).length
  const host = await startHost(hooks)
  await receiver.reset()
  await pace(count, rate, bytes, signal => host.post(signal))
  const { latencies, unanswered, bodyBytes } = await receiver.received(count * healthy)
  assert.equal(latencies.length, count * healthy)
  assert.ok(Math.abs(bodyBytes / (count * healthy * bytes) - 1) < 0.05, `${bodyBytes} bytes`)
  assert.equal(unanswered > 0, healthy < hooks.length)
  whileUp()
  const closed = host.close()
  await sleep(100) // what is cut now is not tried again
  await receiver.hangUp()
  await closed
  return quantile(latencies, 0.99)
}

async function memoryBesideMute(report: Report): Promise<void> {
  const LOAD = { count: 10_000, rate: 2_000, bytes: 2 * KIB }
  const ROUNDS = 3
  const receiver = await startReceiver()
  const healthy = { name: 'healthy', method: '*', url: `${receiver.url}/healthy` }
  const mute = { name: 'mute', method: '*', url: `${receiver.url}/mute` }
  const alone: number[] = []
  const beside: number[] = []
  const heap: number[] = []
  const rss: number[] = []
  await latencyOf(receiver, [healthy], LOAD) // warm-up
  for (let round = 0; round < ROUNDS; ++round) {
    alone.push(await latencyOf(receiver, [healthy], LOAD))
    globalThis.gc?.()
    const before = process.memoryUsage()
    beside.push(
      await latencyOf(receiver, [healthy, mute], LOAD, () => {
        rss.push((process.memoryUsage.rss() - before.rss) / MIB)
        globalThis.gc?.()
        const after = process.memoryUsage()
        heap.push((after.heapUsed + after.external - before.heapUsed - before.external) / MIB)
      })
    )
  }
  receiver.close()
  const inMib = (mib: number): string => `${mib.toFixed(1)} MiB`
  const growth = Math.max(...heap)
  report({ figure: 'heap and buffers grow by, at most', measured: inMib(growth), bound: '≤ 64 MiB', ok: growth <= 64 })
  const resident = Math.max(...rss)
  report({ figure: 'RSS grows by, at most', measured: inMib(resident), bound: '≤ 64 MiB', ok: resident <= 64 })
  report(latencyRow(median(beside), median(alone), 5))
}

function latencyRow(beside: number, alone: number, boundMs: number): Row {
  return {
    figure: `p99 of the healthy, beside mute ones, over ${alone.toFixed(1)} ms`,
    measured: `${(beside - alone).toFixed(1)} ms`,
    bound: `≤ ${boundMs} ms`,
    ok: beside - alone <= boundMs,
  }
}

async function halfMute(report: Report): Promise<void> {
  const LOAD = { count: 1_200, rate: 200, bytes: 600 }
  const ROUNDS = 3
  const receiver = await startReceiver()
  const hooks = (mute: number): BenchHook[] =>
    Array.from({ length: 8 }, (_, index) => ({
      name: `hook ${index}`,
      method: '*',
      url: `${receiver.url}/${index < mute ? 'mute' : 'healthy'}/${index}`,
      // so that there are time-outs, and circuits open
      timeout: 2,
    }))
  const before: number[] = []
  const beside: number[] = []
  await latencyOf(receiver, hooks(0), LOAD) // warm-up
  for (let round = 0; round < ROUNDS; ++round) {
    before.push(await latencyOf(receiver, hooks(0), LOAD))
    beside.push(await latencyOf(receiver, hooks(4), LOAD))
  }
  receiver.close()
  report(latencyRow(median(beside), median(before), 2))
}

/** An object of a pool as xo-server makes it, as far as that matters to its size. */
function vmOf(index: number, memory: number, changes: object = {}): BenchObject {
  return {
    id: `67aac198-0174-11ea-8d71-${String(index).padStart(12, '0')}`,
    uuid: `67aac198-0174-11ea-8d71-${String(index).padStart(12, '0')}`,
    type: 'VM',
    name_label: `vm ${index}`,
    name_description: '',
    tags: [],
    power_state: 'Running',
    $container: 'host',
    $pool: 'pool',
    current_operations: {},
    CPUs: { number: 2, max: 4 },
    memory: { size: memory, usage: memory },
    startTime: 1_700_000_000,
    VIFs: [],
    ...changes,
  }
}

async function objectUpdates(report: Report): Promise<void> {
  const OBJECTS = 10_000
  const ROUNDS = 15
  const receiver = await startReceiver()
  const methods = [
    'vm.started',
    'vm.halted vm.suspended',
    'vm.migrated',
    'vm.renamed vm.rebooted',
    'vm.created sr.full',
  ]
  const hooks = methods.map((method, index) => ({ name: `hook ${index}`, method, url: `${receiver.url}/${index}` }))
  const plugin = await startHost([])
  const watching = await startHost(hooks)
  /** How long the flush takes; `changed` of the objects have another name. */
  const flush = (host: typeof plugin, round: number, changed: number): number => {
    const end = host.objects.bufferEvents()
    for (let i = 0; i < OBJECTS; ++i) {
      const vm = vmOf(i, round, i < changed ? { name_label: `vm ${i}, ${round}` } : {})
      host.objects.set(vm.id, vm)
    }
    return timed(end)
  }
  const pool = { id: 'pool', type: 'pool', name_label: 'pool', $pool: 'pool', master: 'host' }
  for (const host of [plugin, watching]) {
    host.objects.set(pool.id, pool)
    flush(host, 0, 0)
    await sleep(1)
  }
  const without: number[] = []
  const quiet: number[] = []
  const busy: number[] = []
  let told = 0
  for (let round = 1; round <= ROUNDS; ++round) {
    without.push(flush(plugin, round, 0))
    quiet.push(flush(watching, round, 0))
    await receiver.received(told)
    // one that changes also changes back in the next flush
    busy.push(flush(watching, round + 0.5, 100))
    told += 200
    flush(watching, round + 0.7, 0)
    await receiver.received(told, 10_000)
  }
  // told in the turns after the flush
  const most: number[] = []
  for (let round = 1; round <= 3; ++round) {
    most.push(flush(watching, round / 7, OBJECTS))
    told += OBJECTS
    await receiver.received(told)
  }
  await plugin.close()
  await watching.close()
  receiver.close()
  const row = (figure: string, values: readonly number[]): Row => {
    const ms = median(values)
    return { figure, measured: `${ms.toFixed(1)} ms`, bound: '≤ 50 ms', ok: ms <= 50 }
  }
  report(row('the whole flush, when nothing that counts has changed', quiet))
  report(row('the whole flush, when 100 of them are events', busy))
  report(row('the whole flush, when all of them are events', most))
  report({ figure: 'the whole flush without state hooks', measured: `${median(without).toFixed(1)} ms`, bound: '' })
}

/** What the journal costs where the endpoint is healthy, but 20,000 come at once. */
async function journalRate(report: Report): Promise<void> {
  const DELIVERIES = 20_000
  const ROUNDS = 5
  const receiver = await startReceiver()
  const signal = signalOf('bench.m1', 600)
  const hooks = [{ method: 'bench.m1', url: receiver.url }]
  const hosts = { with: await startHost(hooks), without: await startHost(hooks, undefined, null) }
  const timesOf = { with: [] as number[], without: [] as number[] }
  for (let round = 0; round <= ROUNDS; ++round) {
    for (const name of ['with', 'without'] as const) {
      await receiver.reset()
      globalThis.gc?.()
      const start = performance.now()
      for (let i = 0; i < DELIVERIES; ++i) {
        hosts[name].post(signal)
      }
      const { answered } = await receiver.received(DELIVERIES)
      assert.equal(answered, DELIVERIES)
      if (round > 0) {
        timesOf[name].push(performance.now() - start)
      }
    }
  }
  await hosts.with.close()
  await hosts.without.close()
  receiver.close()
  const ratio = median(timesOf.without.map((time, round) => time / timesOf.with[round]!))
  report(ratioRow('rate with the journal, to the rate without it', ratio, '≥', 0.9))
}

/** An endpoint that is down costs disk, not memory. Nothing listens there; 12,500 a second for 8 seconds. */
async function pendingOnDisk(report: Report): Promise<void> {
  const COUNT = 100_000
  const BYTES = 2 * KIB
  const hooks = [{ name: 'dead', method: 'bench.m1', url: 'http://127.0.0.1:1/' }]
  const signal = signalOf('bench.m1', BYTES)
  const host = await startHost(hooks)
  globalThis.gc?.()
  const before = process.memoryUsage()
  for (let sent = 0; sent < COUNT; sent += 500) {
    for (let i = 0; i < 500; ++i) {
      host.post({ ...signal, callId: `${sent + i}` })
    }
    await sleep(40)
  }
  await sleep(1_000)
  const resident = (process.memoryUsage.rss() - before.rss) / MIB
  globalThis.gc?.()
  const after = process.memoryUsage()
  const used = (after.heapUsed + after.external - before.heapUsed - before.external) / MIB
  await host.stop()
  const disk = await sizeOf(host.directory)

  const start = performance.now()
  const again = await startHost(hooks, undefined, host.directory)
  const readyMs = performance.now() - start
  await again.close()
  const inMib = (mib: number): string => `${mib.toFixed(1)} MiB`
  report({ figure: 'heap and buffers grow by', measured: inMib(used), bound: '≤ 96 MiB', ok: used <= 96 })
  report({ figure: 'RSS grows by', measured: inMib(resident), bound: '≤ 96 MiB', ok: resident <= 96 })
  report(ratioRow('journal on disk, to the bodies', disk / (COUNT * BYTES), '≤', 3))
  report({
    figure: 'ready again after',
    measured: `${readyMs.toFixed(0)} ms`,
    bound: '≤ 3000 ms',
    ok: readyMs <= 3_000,
  })
}

async function sizeOf(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const sizes = entries.map(entry => (entry.isFile() ? stat(join(entry.parentPath, entry.name)) : undefined))
  return (await Promise.all(sizes)).reduce((sum, stats) => sum + (stats?.size ?? 0), 0)
}

/** By name. Each runs in a process of its own. */
export const figures: ReadonlyMap<string, (report: Report) => Promise<void>> = new Map([
  ['unmatched call, 1,000 hooks', unmatchedCall],
  ['update of a task that no hook wants, 1,000 hooks', unmatchedUpdate],
  ["matched post of 600 bytes, on the caller's tick", matchedPost],
  ['large results on 100 hooks', largeResult],
  ['20,000 deliveries of 600 bytes to one endpoint', throughput],
  ['10,000 events of 2 KiB beside an endpoint that never answers', memoryBesideMute],
  ['8 endpoints of which 4 never answer', halfMute],
  ['10,000 object updates in one flush, 5 state hooks', objectUpdates],
  ['the journal, 20,000 deliveries to a healthy endpoint at once', journalRate],
  ['100,000 pending deliveries of 2 KiB to a dead endpoint', pendingOnDisk],
])
