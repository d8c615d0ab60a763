import { Webhook } from 'standardwebhooks'
import { expect, it, onTestFinished, vi } from 'vitest'

import type { Delivery, Route } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import { endpointOf, headerOf, routeTo, ScriptedNetwork } from '../helpers/engine.ts'
import type { Sent } from '../helpers/engine.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'

function signedWith(secrets: string): Route {
  return routeTo('a', { endpoint: { ...endpointOf('a'), secrets } })
}

function deliveryOf(id: string): Delivery {
  return {
    id,
    owner: 'a',
    label: '',
    payload: { contentType: 'application/json', body: Buffer.from('{"é":1}') },
    headers: ['X-XO-Event', 'vm.start'],
    order: { key: id, leads: false },
    acceptedAt: Date.now(),
  }
}

function start(): { network: ScriptedNetwork; dispatcher: Dispatcher } {
  vi.useFakeTimers()
  const network = new ScriptedNetwork()
  const dispatcher = new Dispatcher({ connect: network.connect, schedule: [60_000], random: () => 0.5 })
  onTestFinished(async () => {
    await dispatcher.close(0)
    vi.useRealTimers()
  })
  return { network, dispatcher }
}

/** What a receiver that knows the secret makes of a request, at its time. */
function verified({ request }: Sent, secret: string): unknown {
  const headers = Object.fromEntries(
    ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map(name => [name, headerOf(request, name)])
  )
  vi.setSystemTime(Number(headers['webhook-timestamp']) * 1000)
  return new Webhook(secret).verify(request.body, headers)
}

it('each attempt is signed for its own time, the test too; the id and the body stay', async () => {
  const { network, dispatcher } = start()
  const route = signedWith(`new ${SECRET}`)
  network.script = ({ number }) => (number === 1 ? refused(503) : accepted())
  dispatcher.reconfigure(new Map([['a', route]]))
  dispatcher.submit(deliveryOf('msg_1'))
  await vi.advanceTimersByTimeAsync(120_000)
  void dispatcher.controls.test(deliveryOf('msg_2'), route)
  await vi.advanceTimersByTimeAsync(10)

  expect(network.sent).toHaveLength(3)
  const [first, second] = network.sent.map(({ request }) => ({
    id: headerOf(request, 'webhook-id'),
    timestamp: Number(headerOf(request, 'webhook-timestamp')),
    signature: headerOf(request, 'webhook-signature'),
    legacy: headerOf(request, 'X-XO-Signature'),
  }))
  expect(second!.id).toBe(first!.id)
  expect(second!.legacy).toBe(first!.legacy)
  expect(second!.timestamp).toBeGreaterThan(first!.timestamp + 30)
  expect(second!.signature).not.toBe(first!.signature)
  for (const sent of network.sent) {
    expect(verified(sent, SECRET)).toEqual({ é: 1 })
  }
})

it('an attempt is signed as the endpoint says when it is made, also of what came before', async () => {
  const { network, dispatcher } = start()
  network.script = ({ number }) => (number === 1 ? refused(503) : accepted())
  dispatcher.reconfigure(new Map([['a', signedWith('whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQ=')]]))
  dispatcher.submit(deliveryOf('msg_1'))
  await vi.advanceTimersByTimeAsync(10)
  // another secret makes another endpoint
  dispatcher.reconfigure(new Map([['a', routeTo('b', { endpoint: { ...endpointOf('b'), secrets: SECRET } })]]))
  await vi.advanceTimersByTimeAsync(120_000)
  expect(network.sent).toHaveLength(2)
  expect(() => verified(network.sent[0]!, SECRET)).toThrow()
  expect(verified(network.sent[1]!, SECRET)).toEqual({ é: 1 })
})
