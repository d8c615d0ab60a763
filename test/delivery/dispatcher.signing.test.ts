import { Webhook } from 'standardwebhooks'
import { expect, it, onTestFinished, vi } from 'vitest'

import type { Delivery, Endpoint } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import { parseSecrets } from '../../src/delivery/signature.ts'
import { endpointOf, headerOf, ScriptedNetwork } from '../helpers/engine.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'

function signing(secrets: string): Endpoint {
  const sign = parseSecrets(secrets)
  if (typeof sign !== 'function') {
    expect.fail('no signer')
  }
  return { ...endpointOf('a'), sign }
}

function deliveryOf(id: string): Delivery {
  return {
    id,
    owner: 'a',
    label: '',
    payload: { contentType: 'application/json', body: Buffer.from('{"é":1}'), users: 0 },
    headers: ['X-XO-Event', 'vm.start'],
    order: { key: id, leads: false },
    acceptedAt: Date.now(),
  }
}

it('each attempt is signed for its own time, the test too; the id and the body stay', async () => {
  vi.useFakeTimers()
  const network = new ScriptedNetwork()
  const dispatcher = new Dispatcher({ connect: network.connect, schedule: [60_000], random: () => 0.5 })
  onTestFinished(async () => {
    await dispatcher.close(0)
    vi.useRealTimers()
  })
  const endpoint = signing(`new ${SECRET}`)
  network.script = ({ number }) => (number === 1 ? refused(503) : accepted())
  dispatcher.reconfigure(new Map([['a', endpoint]]))
  dispatcher.submit(deliveryOf('msg_1'))
  await vi.advanceTimersByTimeAsync(120_000)
  void dispatcher.test(deliveryOf('msg_2'), endpoint)
  await vi.advanceTimersByTimeAsync(10)

  const requests = network.sent.map(({ request }) => request)
  expect(requests).toHaveLength(3)
  const [first, second] = requests.map(request => ({
    'webhook-id': headerOf(request, 'webhook-id'),
    'webhook-timestamp': headerOf(request, 'webhook-timestamp'),
    'webhook-signature': headerOf(request, 'webhook-signature'),
    legacy: headerOf(request, 'X-XO-Signature'),
  }))
  expect(second!['webhook-id']).toBe(first!['webhook-id'])
  expect(second!.legacy).toBe(first!.legacy)
  expect(Number(second!['webhook-timestamp'])).toBeGreaterThan(Number(first!['webhook-timestamp']) + 30)
  expect(second!['webhook-signature']).not.toBe(first!['webhook-signature'])
  for (const request of requests) {
    const headers = Object.fromEntries(
      ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map(name => [name, headerOf(request, name)])
    )
    vi.setSystemTime(Number(headers['webhook-timestamp']) * 1000)
    expect(new Webhook(SECRET).verify(request.body, headers)).toEqual({ é: 1 })
  }
})
