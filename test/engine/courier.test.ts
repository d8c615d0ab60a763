import { expect, it, onTestFinished, vi } from 'vitest'

import { Courier } from '../../src/courier.ts'
import type { OutgoingRequest } from '../../src/delivery/attempt.ts'
import type { Endpoint } from '../../src/delivery/delivery.ts'
import type { EngineEvent } from '../../src/engine/engine.ts'
import { NOWHERE, runEngineCases } from './engine.cases.ts'
import { handingOf, hookTo, settingsOf } from './fixtures.ts'

runEngineCases('the courier, in this thread', options => new Courier(options))

/** A courier whose sockets lead nowhere, and answer 200 or as they are told to. */
function startCourier(): {
  courier: Courier
  opened: Endpoint[]
  requests: OutgoingRequest[]
  safe: string[]
  answerWith: (status: number, text: string) => void
} {
  let answer = { ok: true, status: 200, excerpt: Buffer.alloc(0) }
  const opened: Endpoint[] = []
  const requests: OutgoingRequest[] = []
  const safe: string[] = []
  const courier = new Courier({
    onSafe: id => safe.push(id),
    connect: endpoint => {
      opened.push(endpoint)
      return {
        send: request => {
          requests.push(request)
          return Promise.resolve({ kind: 'answered', ...answer })
        },
        close() {},
        destroy() {},
      }
    },
  })
  onTestFinished(() => courier.close(0))
  const answerWith = (status: number, text: string): void => {
    answer = { ok: status < 300, status, excerpt: Buffer.from(text) }
  }
  return { courier, opened, requests, safe, answerWith }
}

it('another proxy takes other sockets, the same one the same', async () => {
  const { courier, opened, requests } = startCourier()
  const settings = settingsOf(hookTo(NOWHERE))
  for (const [httpProxy, connections] of [
    [undefined, 1],
    [undefined, 1],
    ['http://proxy', 2],
    ['http://proxy', 2],
    [undefined, 3],
  ] as const) {
    courier.configure({ ...settings, proxy: { httpProxy } })
    const before = requests.length
    courier.hand(handingOf())
    await vi.waitFor(() => expect(requests).toHaveLength(before + 1))
    expect(opened).toHaveLength(connections)
  }
})

it('hooks of one format share its body', async () => {
  const { courier, requests } = startCourier()
  const hooks = ['a', 'b', 'c'].map(id => hookTo(NOWHERE, { id, includeObject: id === 'c' }))
  courier.configure(settingsOf(...hooks))
  courier.hand(handingOf({ hooks: ['a', 'b', 'c'], object: '{}' }))
  await vi.waitFor(() => expect(requests).toHaveLength(3))
  expect(new Set(requests.map(({ body }) => body)).size).toBe(2)
})

it('hooks of one format share its body only if they have the same options', async () => {
  const { courier, requests } = startCourier()
  const hook = (id: string, target: string) => hookTo(NOWHERE, { id, target, format: 'telegram' })
  courier.configure(settingsOf(hook('a', '-1'), hook('b', '-2'), hook('c', '-1')))
  courier.hand(handingOf({ hooks: ['a', 'b', 'c'] }))
  await vi.waitFor(() => expect(requests).toHaveLength(3))
  const chats = requests.map(({ body }) => (JSON.parse(body.toString()) as { chat_id: string }).chat_id)
  expect(chats.sort()).toEqual(['-1', '-1', '-2'])
  expect(new Set(requests.map(({ body }) => body)).size).toBe(2)
})

it('a body with the id of its delivery is of that delivery alone', async () => {
  const { courier, requests } = startCourier()
  courier.configure(settingsOf(...['a', 'b'].map(id => hookTo(NOWHERE, { id, format: 'svix' }))))
  courier.hand(handingOf({ hooks: ['a', 'b'] }))
  await vi.waitFor(() => expect(requests).toHaveLength(2))
  for (const { body, headers } of requests) {
    const id = headers[headers.indexOf('webhook-id') + 1]
    expect(JSON.parse(body.toString())).toMatchObject({ eventType: 'vm.start.post', eventId: id })
    expect(headers[headers.indexOf('Idempotency-Key') + 1]).toBe(id)
  }
})

it.each([
  ['a 200 that means no is a failure', 200, 'no_text', { pending: 1, dead: 0 }, undefined],
  ['a request that is refused for good is dead at once', 400, 'invalid_blocks', { pending: 0, dead: 1 }, undefined],
  [
    'one who is gone is disabled',
    404,
    'no_service',
    { pending: 1, dead: 0 },
    /it answered 404: the webhook was removed/,
  ],
])('an answer means what it does to its service: %s', async (_, status, text, tally, disabled) => {
  const { answerWith, courier, requests } = startCourier()
  answerWith(status, text)
  const endpoint = { id: 'e', url: NOWHERE, headers: [], service: 'slack' }
  courier.configure(settingsOf(hookTo(NOWHERE, { format: 'slack', route: { endpoint } })))
  courier.hand(handingOf())
  // the first of several tries, where it is tried again soon
  await vi.waitFor(() => expect(requests).not.toHaveLength(0))
  await vi.waitFor(async () => expect((await courier.health()).endpoints.get('e')?.health.failuresInRow).not.toBe(0))
  const { endpoints } = await courier.health()
  expect(endpoints.get('e')).toMatchObject(tally)
  const { reason } = endpoints.get('e')?.health.disabled ?? {}
  if (disabled === undefined) {
    expect(reason).toBeUndefined()
  } else {
    expect(reason).toMatch(disabled)
  }
  const [answer] = await courier.probe(handingOf())
  expect(answer?.attempt?.outcome).toMatchObject({ kind: 'answered', ok: false, status })
})

it('an origin is not sent more than its service takes', async () => {
  vi.useFakeTimers()
  onTestFinished(() => {
    vi.useRealTimers()
  })
  const { courier, requests } = startCourier()
  const pace = { perSecond: 2, burst: 3 }
  const hooks = ['a', 'b'].map(id => {
    const endpoint = { id, url: `https://chat.example/${id}`, headers: [], service: 'slack', pace }
    return hookTo(NOWHERE, { id, route: { endpoint } })
  })
  courier.configure(settingsOf(...hooks))
  for (let n = 0; n < 5; ++n) {
    courier.hand(handingOf({ hooks: ['a', 'b'] }))
  }
  const counts: number[] = []
  for (let n = 0; n < 9; ++n) {
    await vi.advanceTimersByTimeAsync(n === 0 ? 10 : 500)
    counts.push(requests.length)
  }
  expect(counts).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 10])
})

it('says of each delivery when it need not be handed over again', async () => {
  const { courier, safe } = startCourier()
  courier.configure(
    settingsOf(
      hookTo(NOWHERE),
      hookTo(NOWHERE, { id: 'unwanted', filter: 'method:another' }),
      hookTo(NOWHERE, { id: 'unformatted', format: 'none such' }),
      hookTo(NOWHERE, { id: 'paused', route: { isPaused: true } })
    )
  )
  const handing = handingOf({ hooks: ['paused', 'a', 'unwanted', 'unformatted', 'unknown', ''] })
  courier.hand(handing)
  await vi.waitFor(() => expect(new Set(safe)).toEqual(new Set([1, 2, 3, 4].map(place => `${handing.id}-${place}`))))
  await courier.cancel({ owner: 'paused' })
  expect(safe).toContain(`${handing.id}-0`)
})

it('a pre that comes too late is not sent, a post is', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { courier } = startCourier()
  const events: EngineEvent[] = []
  courier.listen(event => events.push(event))
  courier.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
  const pre = handingOf({ event: { phase: 'pre', outcome: 'started' } })
  courier.hand(pre)
  courier.hand(handingOf())
  await vi.advanceTimersByTimeAsync(5 * 60_000 - 1_000)
  expect(events).toEqual([])
  await vi.advanceTimersByTimeAsync(60 * 60_000)
  expect(events).toEqual([{ type: 'discarded', reason: 'expired', count: 1, id: `${pre.id}-0` }])
})

it('what is lost without a trace but its number is counted', async () => {
  const { courier } = startCourier()
  courier.configure(settingsOf(hookTo(NOWHERE)))
  courier.lose('a', 'x-0', 5)
  courier.discard({ id: 'y', label: 'vm.start success', hooks: ['', 'a', 'unknown'] }, 'set aside')
  expect(await courier.health()).toMatchObject({ accepted: 7, discarded: { lost: 5, 'set aside': 2 } })
  expect(courier.legacy.state.ended).toMatchObject({ discarded: { lost: 5, 'set aside': 2 } })
})
