import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { HEALTHY } from '../src/delivery/health.ts'
import type { EndpointHealth, EndpointReport, EngineEvent } from '../src/engine/engine.ts'
import { asOfNow, Reporter, SparseLog } from '../src/report.ts'
import type { Alert } from '../src/report.ts'

const MINUTE = 60_000

type Line = [level: string, message: string, data?: object | undefined]

function fakeTime(): void {
  vi.useFakeTimers()
  onTestFinished(() => {
    vi.useRealTimers()
  })
}

function startLog(): { log: SparseLog; lines: Line[] } {
  fakeTime()
  const lines: Line[] = []
  const log = new SparseLog({
    info: (message, data) => lines.push(['info', message, data]),
    warn: (message, data) => lines.push(['warn', message, data]),
  })
  return { log, lines }
}

const NAMES: Readonly<Record<string, string>> = { h1: 'Inventory', h2: 'Backups' }

function startReporter(): { report(event: EngineEvent): void; lines: Line[]; alerts: Alert[]; log: SparseLog } {
  const { log, lines } = startLog()
  const alerts: Alert[] = []
  const reporter = new Reporter({ log, nameOf: id => NAMES[id], notify: alert => alerts.push(alert) })
  return { report: event => reporter.report(event), lines, alerts, log }
}

describe('a sparse log', () => {
  it('has the first line of a kind at once, and the newest of a minute at its end, with how many it stands for', () => {
    const { log, lines } = startLog()
    for (let n = 1; n <= 5; ++n) {
      log.warn('a', 'text', { n })
    }
    log.info('b', 'other')
    expect(lines).toEqual([
      ['warn', 'text', { n: 1 }],
      ['info', 'other', {}],
    ])
    vi.advanceTimersByTime(MINUTE)
    expect(lines.slice(2)).toEqual([['warn', 'text', { n: 5, notLogged: 3 }]])
    vi.advanceTimersByTime(10 * MINUTE)
    expect(lines).toHaveLength(3)
    log.warn('a', 'text', { n: 6 })
    expect(lines.slice(3)).toEqual([['warn', 'text', { n: 6 }]])
  })

  it('has at most one line a minute of a kind, and leaves none unsaid, however many there are', () => {
    const { log, lines } = startLog()
    for (let second = 0; second < 300; ++second) {
      log.warn('a', 'text', {}, 2)
      vi.advanceTimersByTime(1_000)
    }
    log.flush()
    expect(lines.length).toBeLessThanOrEqual(7)
    const told = lines.map(([, , data]) => 2 + ((data as { notLogged?: number }).notLogged ?? 0))
    expect(told.reduce((sum, count) => sum + count)).toBe(600)
  })

  it('says at its end what it has not said, and leaves no timer', () => {
    const { log, lines } = startLog()
    log.warn('a', 'one')
    log.warn('a', 'two')
    log.warn('b', 'three')
    log.flush()
    expect(lines.map(([, message]) => message)).toEqual(['one', 'three', 'two'])
    expect(vi.getTimerCount()).toBe(0)
    // and can be used again
    log.warn('a', 'four')
    expect(lines.at(-1)).toEqual(['warn', 'four', {}])
  })

  it('is not fooled by a clock that is set back', () => {
    const { log, lines } = startLog()
    log.warn('a', 'one')
    vi.setSystemTime(Date.now() - 60 * MINUTE)
    log.warn('a', 'two')
    vi.advanceTimersByTime(MINUTE)
    expect(lines).toHaveLength(2)
  })

  it('remembers a thousand kinds at most, and says what it has of one that it forgets', () => {
    const { log, lines } = startLog()
    log.warn('first', 'one')
    log.warn('first', 'two')
    for (let n = 0; n < 1_000; ++n) {
      log.warn(`kind ${n}`, 'other')
    }
    expect(lines.filter(([, message]) => message === 'two')).toHaveLength(1)
    expect(vi.getTimerCount()).toBe(0)
    log.warn('first', 'three')
    expect(lines.at(-1)).toEqual(['warn', 'three', {}])
  })
})

const REPORT: EndpointReport = {
  ...{ endpoint: 'e1', origin: 'https://hooks.example', owners: ['h1', 'h2', 'gone'], pending: 3, dead: 1 },
  health: { ...HEALTHY, failuresInRow: 5, failingSince: 0, lastError: 'answered 503' },
}

describe('what happens on the delivery side', () => {
  const DEAD: EngineEvent = {
    ...{
      type: 'dead',
      id: 'd1',
      owner: 'h1',
      origin: 'https://hooks.example',
      attempts: 13,
      lastError: 'answered 500',
    },
  }
  it.each<[EngineEvent, ...Line]>([
    [
      DEAD,
      'warn',
      'a delivery has failed for good',
      {
        ...{ endpoint: 'https://hooks.example', hook: 'Inventory', delivery: 'd1' },
        ...{ attempts: 13, lastError: 'answered 500' },
      },
    ],
    [
      { type: 'discarded', reason: 'queue full', count: 1, id: 'd1' },
      ...(['warn', 'a delivery was discarded: queue full', { delivery: 'd1' }] as const),
    ],
    [
      { type: 'discarded', reason: 'stopped', count: 7, id: 'd1' },
      ...(['warn', '7 deliveries were discarded: stopped', { delivery: 'd1' }] as const),
    ],
    [
      { type: 'journal', problem: 'EACCES', recovered: 0, lost: 0 },
      ...(['warn', 'the journal cannot be used: deliveries are kept in memory only', { problem: 'EACCES' }] as const),
    ],
    [{ type: 'journal', recovered: 4, lost: 0 }, ...(['info', 'the journal is in use', { recovered: 4 }] as const)],
    [
      { type: 'journal', recovered: 4, lost: 2 },
      'warn',
      'the journal is in use, but was damaged: some deliveries are lost',
      { recovered: 4, lost: 2 },
    ],
    [
      { type: 'undecided', hook: 'h1', isSwitchedOff: false },
      ...(['warn', 'a filter took too long for an event, which was sent', { hook: 'Inventory' }] as const),
    ],
    [
      { type: 'undecided', hook: 'h1', isSwitchedOff: true },
      'warn',
      expect.stringMatching(/^a hook is switched off: its filter took too long three times/) as string,
      { hook: 'Inventory' },
    ],
    [
      { type: 'unformatted', hook: 'removed', method: 'vm.start', error: 'oops' },
      'warn',
      'an event could not be written in the format of a hook',
      { hook: 'one that was removed', method: 'vm.start', error: 'oops' },
    ],
    [{ type: 'replaced', reason: 'hung' }, 'warn', 'the thread that sends was replaced', { reason: 'hung' }],
    [
      { type: 'set aside', method: 'vm.start', callId: 'c1' },
      'warn',
      'an event was set aside: the thread that sends has failed with it three times',
      { method: 'vm.start', callId: 'c1' },
    ],
    [
      { type: 'no thread', reason: 'ENOMEM' },
      ...(['warn', "no thread can be started: deliveries are made in xo-server's own", { reason: 'ENOMEM' }] as const),
    ],
  ])('is a line of the log: %j', (event, ...line) => {
    const { report, lines, alerts } = startReporter()
    report(event)
    expect(lines).toEqual([line])
    expect(alerts).toEqual([])
  })

  it('is told apart by hook, endpoint and reason, and within one kind once a minute', () => {
    const { report, lines } = startReporter()
    const many: EngineEvent[] = [
      DEAD,
      { ...DEAD, id: 'd2' },
      { ...DEAD, owner: 'h2' },
      { type: 'discarded', reason: 'expired', count: 1, id: 'd3' },
      { type: 'discarded', reason: 'expired', count: 5, id: 'd4' },
      { type: 'discarded', reason: 'queue full', count: 1, id: 'd5' },
      { type: 'undecided', hook: 'h1', isSwitchedOff: false },
      { type: 'undecided', hook: 'h1', isSwitchedOff: true },
    ]
    many.forEach(report)
    expect(lines).toHaveLength(6)
    vi.advanceTimersByTime(MINUTE)
    expect(lines.slice(6).map(([, message, data]) => [message, data])).toEqual([
      ['a delivery has failed for good', expect.objectContaining({ delivery: 'd2' })],
      ['5 deliveries were discarded: expired', { delivery: 'd4' }],
    ])
  })

  it('to the health of an endpoint is a line and an alert, that name hooks by name and the endpoint by its origin', () => {
    const { report, lines, alerts } = startReporter()
    const facts = {
      ...{ hooks: ['Inventory', 'Backups'], origin: 'https://hooks.example', pending: 3, dead: 1 },
      ...{ since: '1970-01-01T00:00:00.000Z', lastError: 'answered 503' },
    }
    report({ type: 'health', change: 'failing', report: REPORT })
    const disabled = { since: 1, reason: 'it answered 410 Gone' }
    report({ type: 'health', change: 'disabled', report: { ...REPORT, health: { ...REPORT.health, disabled } } })
    report({ type: 'health', change: 'recovered', report: { ...REPORT, health: HEALTHY } })
    const { since: _, lastError: __, ...back } = facts
    expect(lines).toEqual([
      ['warn', 'an endpoint keeps failing', facts],
      ['warn', 'an endpoint is disabled', { ...facts, reason: 'it answered 410 Gone' }],
      ['info', 'an endpoint answers again', back],
    ])
    expect(alerts).toEqual([
      { change: 'failing', endpoint: 'e1', ...facts },
      { change: 'disabled', endpoint: 'e1', ...facts, reason: 'it answered 410 Gone' },
      { change: 'recovered', endpoint: 'e1', ...back },
    ])
  })

  it('to the health of an endpoint that flaps is an alert each time, and a few lines a minute', () => {
    const { report, lines, alerts, log } = startReporter()
    for (let n = 0; n < 50; ++n) {
      report({ type: 'health', change: 'failing', report: REPORT })
      report({ type: 'health', change: 'recovered', report: REPORT })
      vi.advanceTimersByTime(1_200)
    }
    log.flush()
    expect(alerts).toHaveLength(100)
    expect(lines.length).toBeLessThanOrEqual(6)
  })
})

describe('a proxy that fails and works again', () => {
  it('is told of in the log, and to those who are to be notified', () => {
    const { report, lines, alerts } = startReporter()
    const failing = { proxy: 'http://proxy:3128', change: 'failing', lastError: 'no answer' } as const
    const recovered = { proxy: 'http://proxy:3128', change: 'recovered' } as const
    report({ type: 'proxy', report: failing })
    report({ type: 'proxy', report: recovered })
    expect(lines.map(([level, message]) => [level, message])).toEqual([
      ['warn', 'the proxy fails: what is to go through it waits'],
      ['info', 'the proxy works again'],
    ])
    expect(alerts).toEqual([failing, recovered])
  })
})

describe('an alert that was put off', () => {
  const ALERT: Alert = {
    ...{ change: 'failing', endpoint: 'e1', hooks: ['old name'], origin: 'https://hooks.example', pending: 1, dead: 0 },
  }
  const healthOf = (health: Partial<EndpointHealth['health']>): EndpointHealth => ({
    ...{ accepted: 9, delivered: 0, pending: 7, dead: 2, discarded: {} },
    origin: 'https://hooks.example',
    health: { ...HEALTHY, ...health },
  })
  const FAILING = { failuresInRow: 8, failingSince: 0, lastError: 'answered 503' }
  const NOW = { ...ALERT, hooks: ['new name'], pending: 7, dead: 2 }
  const FACTS = { since: '1970-01-01T00:00:00.000Z', lastError: 'answered 503' }

  it.each<[string, Alert['change'], Partial<EndpointHealth['health']> | undefined, unknown]>([
    ['says how a failing endpoint is by now', 'failing', FAILING, { ...NOW, ...FACTS }],
    [
      'says that it is disabled by now',
      'failing',
      { ...FAILING, disabled: { since: 0, reason: 'gone' } },
      { ...NOW, ...FACTS, change: 'disabled', reason: 'gone' },
    ],
    ['says that it fails, if someone has enabled it to no avail', 'disabled', FAILING, { ...NOW, ...FACTS }],
    ['waits, if someone has enabled it and nothing has been tried', 'disabled', {}, 'later'],
    ['says that it is back', 'recovered', {}, { ...NOW, change: 'recovered' }],
    ['waits, if it is back and has failed again', 'recovered', FAILING, 'later'],
    ['has nothing to say of an endpoint that is no more', 'failing', undefined, undefined],
  ])('%s', (_, change, health, said) => {
    expect(asOfNow({ ...ALERT, change }, health && healthOf(health), ['new name'])).toEqual(said)
  })

  it('has nothing to say if no hook goes there any more', () => {
    expect(asOfNow(ALERT, healthOf(FAILING), [])).toBeUndefined()
  })
})
