import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { attempt } from '../../src/delivery/attempt.ts'
import type { Connection, OutgoingRequest } from '../../src/delivery/attempt.ts'
import type { AttemptOutcome, Endpoint } from '../../src/delivery/delivery.ts'
import { signerOf } from '../../src/delivery/signature.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

const BODY = Buffer.from('{"a":1}')
const SENDABLE = {
  id: 'd1',
  payload: { contentType: 'application/json', body: BODY },
  headers: ['X-XO-Hook', 'a hook'],
  timeoutMs: 1_234,
}
const NOW = Date.parse('2030-01-01T00:00:00.900Z')

function endpointOf(secrets?: string): Endpoint {
  return { id: 'e', url: 'http://a.example/', headers: [], ...(secrets !== undefined && { secrets }) }
}

/** Notes what it is to send, and does this with it. */
function connectionThat(answer: () => Promise<AttemptOutcome>): { connection: Connection; sent: OutgoingRequest[] } {
  const sent: OutgoingRequest[] = []
  const connection: Connection = {
    send(request) {
      sent.push(request)
      return answer()
    },
    close() {},
    destroy() {},
  }
  return { connection, sent }
}

function stopTimeAt(now: number): void {
  vi.useFakeTimers({ toFake: ['Date', 'performance'], now })
  onTestFinished(() => {
    vi.useRealTimers()
  })
}

describe('an attempt', () => {
  it('sends what the delivery holds, and which attempt of which delivery it is', async () => {
    stopTimeAt(NOW)
    const { connection, sent } = connectionThat(async () => accepted())
    await attempt(connection, endpointOf(), SENDABLE, 3, 'retry')
    expect(sent).toEqual([
      {
        contentType: 'application/json',
        body: BODY,
        headers: [
          ...['X-XO-Hook', 'a hook', 'X-XO-Delivery', 'd1', 'X-XO-Attempt', '3'],
          ...['webhook-id', 'd1', 'webhook-timestamp', String(Math.floor(NOW / 1000))],
        ],
        timeoutMs: 1_234,
      },
    ])
    expect(SENDABLE.headers).toHaveLength(2)
  })

  it('tells what it came to, when it began and how long it took', async () => {
    stopTimeAt(NOW)
    const { connection } = connectionThat(async () => {
      vi.advanceTimersByTime(70)
      return refused(503, 5_000)
    })
    expect(await attempt(connection, endpointOf(), SENDABLE, 2, 'replay')).toEqual({
      number: 2,
      trigger: 'replay',
      startedAt: NOW,
      durationMs: 70,
      outcome: refused(503, 5_000),
    })
  })

  it.each([
    ['throws', () => expect.fail('made up')],
    ['rejects', () => Promise.reject(new Error('made up'))],
  ])('over a connection that %s has failed', async (_how, answer) => {
    const { connection } = connectionThat(answer)
    expect(await attempt(connection, endpointOf(), SENDABLE, 1, 'event')).toMatchObject({
      outcome: { kind: 'unreachable', code: 'INTERNAL' },
    })
  })

  it('is signed with the secrets of its endpoint', async () => {
    stopTimeAt(NOW)
    const { connection, sent } = connectionThat(async () => accepted())
    const [one, other] = [endpointOf('new whsec_b2xk'), endpointOf('another')]
    for (const endpoint of [one, other, one]) {
      await attempt(connection, endpoint, SENDABLE, 1, 'event')
    }
    const signed = (secrets: string) => signerOf(secrets)!('d1', Math.floor(NOW / 1000), BODY)
    expect(sent.map(({ headers }) => headers.slice(10))).toEqual([
      signed('new whsec_b2xk'),
      signed('another'),
      signed('new whsec_b2xk'),
    ])
  })

  it.each([
    ['{"a":1}', '{"key":"s\\"3","a":1}'],
    ['{}', '{"key":"s\\"3"}'],
    ['plain {text}', 'plain {text}'],
    ['[1]', '[1]'],
    ['', ''],
  ])('puts the secret that belongs into the body %s there, and nowhere else', async (text, expected) => {
    stopTimeAt(NOW)
    const { connection, sent } = connectionThat(async () => accepted())
    const body = Buffer.from(text)
    const endpoint = { ...endpointOf('signing'), bodySecret: { name: 'key', value: 's"3' } }
    await attempt(connection, endpoint, { ...SENDABLE, payload: { contentType: 'x', body } }, 1, 'event')
    expect(sent[0]?.body.toString()).toBe(expected)
    expect(body.toString()).toBe(text)
    const signed = signerOf('signing')!('d1', Math.floor(NOW / 1000), Buffer.from(expected))
    expect(sent[0]?.headers.slice(10)).toEqual(signed)
  })

  it('is not signed without any', async () => {
    const { connection, sent } = connectionThat(async () => accepted())
    for (const endpoint of [endpointOf(), endpointOf(''), endpointOf('  ')]) {
      await attempt(connection, endpoint, SENDABLE, 1, 'event')
    }
    expect(sent.map(({ headers }) => headers.length)).toEqual([10, 10, 10])
  })

  it('is not made with a secret that cannot be read', async () => {
    const { connection, sent } = connectionThat(async () => accepted())
    const { outcome } = await attempt(connection, endpointOf('whsec_$'), SENDABLE, 1, 'event')
    expect(outcome).toMatchObject({ kind: 'unreachable', code: 'INTERNAL' })
    expect(sent).toEqual([])
  })
})
