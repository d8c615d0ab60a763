import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Signal } from '../../src/xo.ts'
import { startHost } from './host.ts'
import { KIB, MIB, bodyOf, ratioRow, signalOf, timed } from './measure.ts'
import type { Figure } from './measure.ts'
import { startReceiver } from './receiver.ts'
import type { BenchReceiver, Received } from './receiver.ts'

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

export const largeResult: Figure = async report => {
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
