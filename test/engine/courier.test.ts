import { expect, it, onTestFinished, vi } from 'vitest'

import { Courier } from '../../src/courier.ts'
import type { OutgoingRequest } from '../../src/delivery/attempt.ts'
import type { Endpoint } from '../../src/delivery/delivery.ts'
import type { EngineEvent } from '../../src/engine/engine.ts'
import { NOWHERE, runEngineCases } from './engine.cases.ts'
import { handingOf, hookTo, settingsOf } from './fixtures.ts'

runEngineCases('the courier, in this thread', options => new Courier(options))

/** A courier whose sockets lead nowhere, and answer 200. */
function startCourier(): { courier: Courier; opened: Endpoint[]; requests: OutgoingRequest[]; safe: string[] } {
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
          return Promise.resolve({ kind: 'answered', ok: true, status: 200, excerpt: Buffer.alloc(0) })
        },
        close() {},
        destroy() {},
      }
    },
  })
  onTestFinished(() => courier.close(0))
  return { courier, opened, requests, safe }
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
  expect(courier.ended).toMatchObject({ discarded: { lost: 5, 'set aside': 2 } })
})
