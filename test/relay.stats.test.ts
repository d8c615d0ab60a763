import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { parseConfig } from '../src/config/parse.ts'
import type { AttemptOutcome } from '../src/delivery/delivery.ts'
import { Relay } from '../src/relay.ts'
import type { Alert } from '../src/relay.ts'
import { cutOff, failing, fakeClocks, gone, ok, sumOf, underWay } from './helpers/durable-run.ts'
import { temporaryDirectory } from './helpers/journal-files.ts'

const MINUTE = 60_000
const A = { name: 'A', method: 'vm.*', type: 'pre/post', url: 'http://a.example/s3cret', format: 'json' }
const B = { name: 'B', method: '*', type: 'post', url: 'http://b.example/two', format: 'json' }

interface Started {
  readonly relay: Relay
  readonly warnings: { message: string; data: object | undefined }[]
  readonly alerts: Alert[]
  answer: (host: string) => AttemptOutcome | Promise<AttemptOutcome>
  call(method: string, isPost?: boolean): void
  check(): void
  close(): Promise<void>
}

let calls = 0

function start(directory: string | undefined, hooks: object[] = [A, B]): Started {
  const warnings: Started['warnings'] = []
  const alerts: Alert[] = []
  const relay = new Relay(parseConfig({ hooks }).settings, {
    connect: ({ url }) => {
      let destroy = (): void => {}
      const destroyed = new Promise<AttemptOutcome>(resolve => {
        destroy = () => resolve(cutOff)
      })
      return {
        send: () => Promise.race([started.answer(url.hostname), destroyed]),
        close: () => {},
        destroy,
      }
    },
    namesOf: name => [name],
    log: {
      info: () => {},
      warn: (message, data) => {
        warnings.push({ message, data })
      },
    },
    notify: alert => alerts.push(alert),
    ...(directory !== undefined && { openDirectory: () => Promise.resolve(directory) }),
  })
  let closing: Promise<void> | undefined
  const started: Started = {
    ...{ relay, warnings, alerts },
    answer: () => ok,
    call(method, isPost = true) {
      const signal = { callId: `call ${++calls}`, method, timestamp: Date.now(), ...(isPost && { result: true }) }
      void relay.accept('api', isPost ? 'post' : 'pre', signal)
      started.check()
    },
    check() {
      const stats = relay.stats()
      for (const tally of [stats, stats.life, ...stats.endpoints.values()]) {
        expect(tally.accepted).toBe(sumOf(tally))
      }
      for (const { life } of stats.endpoints.values()) {
        expect(life.accepted).toBe(sumOf(life))
      }
      // what ended at an endpoint that is no longer used counts in all only
      for (const key of ['pending', 'dead'] as const) {
        const sum = [...stats.endpoints.values()].reduce((total, tally) => total + tally[key], 0)
        expect(stats[key]).toBe(sum)
      }
    },
    close() {
      closing ??= relay.close(0)
      if (vi.isFakeTimers()) {
        void vi.advanceTimersByTimeAsync(1)
      }
      return closing
    },
  }
  onTestFinished(() => started.close())
  return started
}

function endpointsOf({ relay }: Started): unknown[] {
  return [...relay.stats().endpoints.values()].map(({ accepted, delivered, pending, dead, discarded }) => ({
    ...{ accepted, delivered, pending, dead, discarded },
  }))
}

describe('the accounts', () => {
  it('are of each endpoint and of all, and add up at every moment', async () => {
    fakeClocks()
    const started = start(undefined)
    started.answer = host => (host === 'a.example' ? underWay : ok)
    started.call('vm.start', false)
    started.call('vm.start')
    started.call('host.restart')
    await vi.waitFor(() => {
      started.check()
      expect(started.relay.stats().delivered).toBe(2)
    })
    expect(endpointsOf(started)).toEqual([
      { accepted: 2, delivered: 0, pending: 2, dead: 0, discarded: {} },
      { accepted: 2, delivered: 2, pending: 0, dead: 0, discarded: {} },
    ])
    started.answer = () => gone
    started.call('host.stop')
    await vi.waitFor(() => expect(started.relay.stats().dead).toBe(1))
    started.check()
    await started.close()
    expect(started.relay.stats()).toMatchObject({
      ...{ accepted: 5, delivered: 2, pending: 0, dead: 0, discarded: { stopped: 3 } },
      life: { accepted: 5, delivered: 2 },
    })
  })

  it('go on over a restart, and move with a hook', async () => {
    fakeClocks()
    const directory = await temporaryDirectory()
    const first = start(directory)
    first.answer = host => (host === 'a.example' ? failing : ok)
    first.call('vm.start')
    first.call('vm.stop', false)
    await vi.waitFor(() => expect(first.relay.stats()).toMatchObject({ delivered: 1, pending: 2 }))
    await first.close()

    const second = start(directory)
    await vi.waitFor(() => expect(second.relay.stats()).toMatchObject({ pending: 2 }))
    second.check()
    expect(second.relay.stats()).toMatchObject({
      ...{ accepted: 2, delivered: 0, discarded: {} },
      life: { accepted: 3, delivered: 1, pending: 2 },
    })
    second.relay.reconfigure(parseConfig({ hooks: [{ ...A, url: 'http://c.example/' }, B] }).settings)
    second.check()
    await vi.waitFor(async () => {
      await vi.advanceTimersByTimeAsync(MINUTE / 2)
      expect(second.relay.stats()).toMatchObject({ delivered: 2, pending: 0 })
    })
    second.check()
    // the former one of A has nothing left
    expect(second.relay.stats().endpoints.size).toBe(2)

    second.answer = () => failing
    second.call('vm.start')
    second.relay.reconfigure(parseConfig({ hooks: [B] }).settings)
    await vi.waitFor(() => expect(second.relay.stats().discarded).toEqual({ 'hook removed': 1 }))
    await second.close()
    const third = start(directory)
    third.answer = () => underWay
    await vi.waitFor(() => expect(third.relay.stats().life.accepted).toBe(5))
    expect(third.relay.stats().life).toMatchObject({ delivered: 3, pending: 1, discarded: { 'hook removed': 1 } })
  })

  it('have no endpoint that is no longer used and has nothing left', async () => {
    const started = start(undefined)
    started.call('vm.start')
    await vi.waitFor(() => expect(started.relay.stats().delivered).toBe(2))
    expect(started.relay.stats().endpoints.size).toBe(2)
    started.relay.reconfigure(parseConfig({ hooks: [B] }).settings)
    expect(started.relay.stats().endpoints.size).toBe(1)
    expect(started.relay.stats()).toMatchObject({ accepted: 2, delivered: 2 })
  })
})

describe('what is said', () => {
  it('of a journal that cannot be used is one warning a minute, that says why, even if the clock is set back', async () => {
    fakeClocks()
    const started = start('/dev/null/nowhere')
    await vi.waitFor(() => expect(started.warnings).toHaveLength(1))
    expect(started.warnings).toEqual([
      {
        message: 'the journal cannot be used: deliveries are kept in memory only',
        data: { problem: 'ENOTDIR' },
      },
    ])
    vi.setSystemTime(Date.now() - 60 * MINUTE)
    await vi.waitFor(async () => {
      await vi.advanceTimersByTimeAsync(MINUTE / 6)
      expect(started.warnings).toHaveLength(2)
    })
    expect(started.warnings[1]!.data).toMatchObject({ problem: 'ENOTDIR', notLogged: expect.any(Number) })
    expect(performance.now()).toBeLessThan(2 * MINUTE)
  })

  it('of a change of health is one alert, that names the hooks of the endpoint', async () => {
    const started = start(undefined, [A, { ...B, url: A.url }, { ...B, name: 'C' }])
    started.answer = host => (host === 'a.example' ? gone : ok)
    started.call('vm.start', false)
    await vi.waitFor(() => expect(started.alerts).toHaveLength(1))
    expect(started.alerts[0]).toMatchObject({
      ...{ change: 'disabled', hooks: ['A', 'B'], origin: 'http://a.example', pending: 0, dead: 1 },
      ...{ reason: 'it answered 410 Gone', lastError: 'answered 410', since: expect.stringMatching(/Z$/) },
    })
    expect(JSON.stringify([started.alerts, started.warnings])).not.toContain('s3cret')
  })
})
