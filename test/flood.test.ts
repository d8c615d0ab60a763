import { setImmediate } from 'node:timers/promises'

import { expect, it, onTestFinished, vi } from 'vitest'

import { Courier } from '../src/courier.ts'
import type { OutgoingRequest } from '../src/delivery/attempt.ts'
import { Relay } from '../src/relay.ts'
import type { Signal } from '../src/xo.ts'
import { hookOf, problemsOf, runFlood } from './helpers/flood-run.ts'
import { temporaryDirectory } from './helpers/journal-files.ts'
import { startReceiver } from './sandbox/receiver.ts'

vi.setConfig({ testTimeout: 180_000 })

/** As many as may be kept here. With as many as may be kept by default, it takes ten times as long and shows no more. */
const FLOOD = 10_000

const ORIGIN = 'https://receiver.example'
const HOOKS = [
  hookOf('all', '*', `${ORIGIN}/a`),
  hookOf('same', 'vm.start', `${ORIGIN}/a`),
  hookOf('another', 'vm.start', `${ORIGIN}/b`),
]

/** A relay whose receivers answer only once the test says so. */
function startRelay() {
  const sent: OutgoingRequest[] = []
  const waiting: (() => void)[] = []
  let isOpen = false
  const engine = new Courier({
    maxPending: FLOOD,
    connect: () => ({
      send: request =>
        new Promise(resolve => {
          sent.push(request)
          const accept = (): void => resolve({ kind: 'answered', ok: true, status: 200, excerpt: Buffer.alloc(0) })
          isOpen ? accept() : waiting.push(accept)
        }),
      close() {},
      destroy() {},
    }),
  })
  const relay = new Relay({ hooks: HOOKS, others: [], notify: [] }, {}, { engine, namesOf: method => [method] })
  const open = (): void => {
    isOpen = true
    waiting.splice(0).forEach(accept => accept())
  }
  onTestFinished(async () => {
    open()
    await relay.close(0)
  })
  return { relay, engine, sent, open }
}

let calls = 0

function signalOf(method: string, userId?: string): Signal {
  return {
    callId: `c${++calls}`,
    method,
    timestamp: Date.now(),
    userId,
    userName: userId ?? '(unknown user)',
    params: { id: 'x' },
  }
}

const NOT_ALLOWED = { error: { message: 'not enough permissions' } }

async function drained(engine: Courier): Promise<void> {
  while ((await engine.health()).pending > 0) {
    await setImmediate()
  }
}

it('a flood of calls of people who have not signed in pushes nothing of others out, and what is lost is counted', async () => {
  const { relay, engine, sent, open } = startRelay()
  const others = (): void => {
    for (let i = 0; i < 50; ++i) {
      void relay.accept('api', 'post', { ...signalOf('vm.start', 'alice'), result: true })
      void relay.accept('backup', 'post', { ...signalOf('backupNg.runJob'), result: true })
      void relay.accept('api', 'pre', signalOf('vm.stop', 'alice'))
    }
  }
  const wanted = 3 * (50 * 3 + 50 + 50)

  others()
  for (let i = 0; i < FLOOD; ++i) {
    void relay.accept('api', 'post', { ...signalOf('plugin.get'), ...NOT_ALLOWED })
    if (i === FLOOD / 2) {
      others()
    }
  }
  others()
  const { accepted, pending, discarded } = await engine.health()
  expect({ accepted, pending, discarded }).toEqual({
    accepted: FLOOD + wanted,
    pending: FLOOD,
    discarded: { 'queue full': wanted },
  })

  open()
  await drained(engine)
  const told = sent.filter(({ body }) => !body.includes('plugin.get'))
  expect(told).toHaveLength(wanted)
})

it('a flood that fits one hook leaves the other hooks of the endpoint their events', async () => {
  const { relay, engine, sent, open } = startRelay()
  // even by one and the same party, which is all there is
  for (let i = 0; i < FLOOD; ++i) {
    void relay.accept('api', 'post', {
      ...signalOf(i % (FLOOD / 100) === 0 ? 'vm.start' : 'vm.set', 'alice'),
      result: true,
    })
  }
  open()
  await drained(engine)
  expect((await engine.health()).discarded).toEqual({ 'queue full': 200 })
  const sentFor = (name: string): number =>
    sent.filter(({ headers }) => headers[headers.indexOf('X-XO-Hook') + 1] === name).length
  expect(sentFor('same')).toBe(100)
  expect(sentFor('another')).toBe(100)
})

it('2,000 calls a second to a dead catch-all cost a healthy endpoint nothing, and all are accounted for', async () => {
  const receiver = await startReceiver()
  onTestFinished(() => receiver.close())
  const directory = await temporaryDirectory()
  const report = await runFlood(
    receiver.url,
    3,
    count => receiver.requests.length >= count,
    () => Promise.resolve(directory)
  )
  expect(problemsOf(report)).toEqual([])
  expect(report.healthyCalls).toBeGreaterThan(10)
})
