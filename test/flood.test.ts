import { setImmediate } from 'node:timers/promises'

import { expect, it, onTestFinished } from 'vitest'

import { parseConfig } from '../src/config/parse.ts'
import type { OutgoingRequest } from '../src/delivery/attempt.ts'
import { Relay } from '../src/relay.ts'
import type { Signal } from '../src/xo.ts'

const FLOOD = 100_000

const ORIGIN = 'https://receiver.example'
const HOOKS = [
  { name: 'all', method: '*', type: 'pre/post', format: 'json', url: `${ORIGIN}/a` },
  { name: 'same endpoint', method: 'vm.start', type: 'post', format: 'json', url: `${ORIGIN}/a` },
  { name: 'another endpoint', method: 'vm.start', type: 'post', format: 'json', url: `${ORIGIN}/b` },
]

/** A relay whose receivers answer only once the test says so. */
function startRelay() {
  const sent: OutgoingRequest[] = []
  const waiting: (() => void)[] = []
  let isOpen = false
  const { settings } = parseConfig({ hooks: HOOKS })
  const relay = new Relay(settings, {
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
    namesOf: method => [method],
    log: { info() {}, warn() {} },
    notify() {},
  })
  onTestFinished(async () => {
    open()
    await relay.close(0)
  })
  const open = (): void => {
    isOpen = true
    waiting.splice(0).forEach(accept => accept())
  }
  return { relay, sent, open, idOf: (name: string) => settings.hooks.find(hook => hook.name === name)?.id ?? '' }
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

async function drained(relay: Relay): Promise<void> {
  while (relay.stats().pending > 0) {
    await setImmediate()
  }
}

it.each([
  ['who have not signed in', undefined, 'not signed in'],
  ['of a user who may do nothing', 'mallory', 'mallory'],
])(
  '100,000 calls of people %s push nothing of others out, and who loses can be seen',
  async (_, flooder, party) => {
    const { relay, sent, open, idOf } = startRelay()
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
      void relay.accept('api', 'post', { ...signalOf('plugin.get', flooder), ...NOT_ALLOWED })
      if (i === FLOOD / 2) {
        others()
      }
    }
    others()
    const { accepted, pending, discarded, crowdedOut } = relay.stats()
    expect({ accepted, pending, discarded }).toEqual({
      accepted: FLOOD + wanted,
      pending: 100_000,
      discarded: { 'queue full': wanted },
    })
    expect(crowdedOut).toEqual(new Map([[idOf('all'), new Map([[party, wanted]])]]))

    open()
    await drained(relay)
    const told = sent.filter(({ body }) => !body.includes('plugin.get'))
    expect(told).toHaveLength(wanted)
  },
  60_000
)

it('a flood that fits one hook leaves the other hooks of the endpoint their events', async () => {
  const { relay, sent, open, idOf } = startRelay()
  // even by one and the same party, which is all there is
  for (let i = 0; i < FLOOD; ++i) {
    void relay.accept('api', 'post', { ...signalOf(i % 1_000 === 0 ? 'vm.start' : 'vm.set', 'alice'), result: true })
  }
  const { crowdedOut } = relay.stats()
  expect([...crowdedOut.keys()]).toEqual([idOf('all')])
  open()
  await drained(relay)
  const headersOf = ({ headers }: OutgoingRequest): string => headers.join()
  expect(sent.filter(request => headersOf(request).includes('same endpoint'))).toHaveLength(100)
  expect(sent.filter(request => headersOf(request).includes('another endpoint'))).toHaveLength(100)
}, 60_000)
