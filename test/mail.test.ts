import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { Mailer, mailOf } from '../src/mail.ts'
import type { MailerOptions } from '../src/mail.ts'
import { SparseLog } from '../src/report.ts'
import type { Alert, EndpointAlert } from '../src/report.ts'

const ALERT: EndpointAlert = {
  change: 'failing',
  endpoint: 'e1',
  hooks: ['Inventory', 'Backups'],
  origin: 'https://hooks.example:8443',
  pending: 12,
  dead: 3,
  since: '2026-01-02T03:04:05.000Z',
  lastError: 'answered 503',
}

describe('the e-mail about an endpoint', () => {
  it('that fails says which hooks, where, since when, why, what waits, and what to do', () => {
    const { subject, markdown } = mailOf(ALERT)
    expect(subject).toBe('[Xen Orchestra] Web hooks: https://hooks.example:8443 keeps failing')
    for (const fact of [
      'Hooks: "Inventory", "Backups"',
      'hooks.example:8443',
      'Failing since: 2026-01-02T03:04:05.000Z',
      'Last error: answered 503',
      'Waiting to be sent: 12',
      'Given up for good: 3',
      'Nothing is lost yet',
      'press Test',
    ]) {
      expect(markdown).toContain(fact)
    }
  })

  it('that is disabled says why, and how to enable it', () => {
    const { subject, markdown } = mailOf({ ...ALERT, change: 'disabled', reason: 'it answered 410 Gone' })
    expect(subject).toContain('is disabled: it answered 410 Gone')
    expect(markdown).toContain('is disabled: it answered 410 Gone')
    expect(markdown).toContain('save the configuration in Settings > Plugins > web-hooks')
    expect(markdown).toContain('is kept, for 30 days (a `pre`: 5 minutes), and sent once the URL is enabled')
  })

  it('that is back says so, and of no failure that there was none', () => {
    const { since: _, lastError: __, ...alert } = ALERT
    const { subject, markdown } = mailOf({ ...alert, change: 'recovered' })
    expect(subject).toContain('answers again')
    expect(markdown).not.toMatch(/since|error|undefined/i)
    expect(markdown).toContain('Nothing needs to be done')
  })

  it('leads to the page of the plugin, if it is known where XO is', () => {
    const linkOf = (url?: string): string | undefined => /\(<(.*)>\)/.exec(mailOf(ALERT, url).markdown)?.[1]
    expect(linkOf('https://xo.example.org')).toBe('https://xo.example.org/web-hooks#/endpoints/e1')
    expect(linkOf('https://xo.example.org/v5')).toBe('https://xo.example.org/web-hooks#/endpoints/e1')
    expect(linkOf()).toBeUndefined()
    const { markdown } = mailOf({ change: 'failing', proxy: 'http://proxy.example' }, 'https://xo.example.org')
    expect(markdown).toContain('(<https://xo.example.org/web-hooks>)')
  })

  it.each([
    ['**bold** _it_ `code` ~~gone~~', /(?<!\\)[*_`~]/],
    ['[link](https://evil.example) ![image](x)', /(?<!\\)[[\]()!]/],
    ['<script>alert(1)</script><img src=x>', /[<>]/],
    ['a\n\n# heading\n\n- item\n===', /\n/],
    ['https://evil.example', /:\/\//],
    ['www.evil.example and WWW.evil.example', /www\./i],
    ['someone@evil.example', /@/],
    ['&lt;b&gt; &amp;', /&(?!amp;|lt;|gt;|#\d+;)|&lt;b/],
    ['a \\* b', /(?<!\\)(\\\\)*\*/],
    ['| a | b |', /(?<!\\)\|/],
  ])('has nothing but text of a name like %j', (name, active) => {
    const { markdown } = mailOf({ ...ALERT, hooks: [name] })
    const line = markdown.slice(markdown.indexOf('- Hooks: ') + 9, markdown.indexOf('\n- Where: '))
    expect(line).not.toMatch(active)
    // and yet reads as it was meant, once it is shown
    const shown = line
      .replace(/\\([^a-z\d\s])/gi, '$1')
      .replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
      .replaceAll('&lt;', '<')
      .replaceAll('&gt;', '>')
      .replaceAll('&amp;', '&')
    expect(shown).toBe(`"${name.replace(/\s+/g, ' ')}"`)
  })

  it('has nothing but text of an odd host, in its first line too', () => {
    const { markdown } = mailOf({ ...ALERT, origin: 'http://a*b*_c_' })
    expect(markdown.split('\n')[0]).not.toMatch(/(?<!\\|^|\*)\*(?!\*|$)/)
    expect(markdown.split('\n')[0]).toContain('a\\*b\\*\\_c\\_')
  })
})

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

type Change = EndpointAlert['change']

interface Started {
  readonly mailer: Mailer
  /** What was sent, by the first words of what it says, and when, in minutes. */
  readonly sent: [minute: number, what: string][]
  readonly warnings: object[]
  /** What the next looks find; else what the alert says. */
  readonly looks: (Alert | 'later' | undefined)[]
  tell(change: Change, more?: Partial<EndpointAlert>): void
  /** The transport from now on. */
  transport: ReturnType<MailerOptions['transport']>
  to: readonly string[]
  pass(ms: number): Promise<void>
}

function start(): Started {
  vi.useFakeTimers()
  onTestFinished(() => {
    vi.useRealTimers()
  })
  const begun = performance.now()
  const warnings: object[] = []
  const looks: Started['looks'] = []
  const sent: Started['sent'] = []
  const log = new SparseLog({ info: () => {}, warn: (_, data) => warnings.push(data ?? {}) })
  const mailer = new Mailer({
    recipients: () => started.to,
    transport: () => started.transport,
    look: alert => Promise.resolve(looks.length === 0 ? alert : looks.shift()),
    instanceUrl: () => undefined,
    log,
  })
  const started: Started = {
    ...{ mailer, sent, warnings, looks, to: ['admin@example.org'] },
    tell: (change, more) => mailer.tell({ ...ALERT, change, ...more }),
    transport: ({ subject }) => {
      const what = /keeps failing|is disabled|answers again/.exec(subject)?.[0] ?? subject
      const where = /\/\/([a-z.]+)/.exec(subject)?.[1]
      sent.push([
        Math.floor((performance.now() - begun) / MINUTE),
        where === 'hooks.example' ? what : `${where} ${what}`,
      ])
      return Promise.resolve()
    },
    pass: ms => vi.advanceTimersByTimeAsync(ms).then(() => {}),
  }
  mailer.start()
  onTestFinished(() => {
    mailer.stop()
    log.flush()
    expect(vi.getTimerCount()).toBe(0)
  })
  return started
}

const noTransport = (): Promise<never> => Promise.reject(new Error('no SMTP'))

describe("the e-mail about XO's proxy", () => {
  const PROXY = { proxy: 'http://proxy.example:3128', lastError: 'the connection was <refused>' }

  it('that fails says why, that nothing is lost, and where to look', () => {
    const { subject, markdown } = mailOf({ ...PROXY, change: 'failing' })
    expect(subject).toBe('[Xen Orchestra] Web hooks: the proxy http://proxy.example:3128 fails')
    expect(markdown).toContain('- Last error: the connection was &lt;refused&gt;')
    expect(markdown).toContain('what is to be sent waits')
    expect(markdown).toContain('httpProxy')
  })

  it('that does not get through says where to', () => {
    const { subject, markdown } = mailOf({ ...PROXY, change: 'failing', receiver: 'https://hooks.example' })
    expect(subject).toContain('the proxy http://proxy.example:3128 does not get through to https://hooks.example')
    expect(markdown).toContain('- Where to: https&#58;//hooks.example')
  })

  it('that works again says so, and no more', () => {
    const { subject, markdown } = mailOf({ change: 'recovered', proxy: PROXY.proxy })
    expect(subject).toContain('the proxy http://proxy.example:3128 works again')
    expect(markdown).not.toMatch(/error|undefined|\n\n\n/i)
  })
})

describe('the administrators', () => {
  it('get one mail when a proxy fails, whoever is behind it, and one when it works again', async () => {
    const { mailer, sent, pass } = start()
    const proxy = 'http://proxy.example:3128'
    for (const receiver of ['https://a.example', 'https://b.example']) {
      mailer.tell({ proxy, change: 'failing', receiver, lastError: 'the proxy did not reach the receiver' })
      await pass(MINUTE)
    }
    mailer.tell({ proxy, change: 'recovered' })
    await pass(3 * 60 * MINUTE)
    expect(sent.map(([, what]) => what)).toEqual([
      expect.stringContaining('does not get through to https://a.example'),
      expect.stringContaining('works again'),
    ])
  })

  it('get one mail when an endpoint fails, one when it is disabled, one when it is back, at once', async () => {
    const { tell, sent, pass } = start()
    for (const change of ['failing', 'disabled', 'recovered'] as const) {
      tell(change)
      await pass(MINUTE)
    }
    expect(sent).toEqual([
      [0, 'keeps failing'],
      [1, 'is disabled'],
      [2, 'answers again'],
    ])
    await pass(48 * HOUR)
    expect(sent).toHaveLength(3)
  })

  it('get two mails in an hour of an endpoint that flaps every other second, and no more in each that follows', async () => {
    const { tell, sent, pass } = start()
    for (let second = 0; second < 3 * 3_600; second += 2) {
      tell('failing')
      await pass(SECOND)
      tell('recovered')
      await pass(SECOND)
    }
    const perHour = [0, 1, 2].map(hour => sent.filter(([minute]) => Math.floor(minute / 60) === hour).length)
    expect(perHour[0]).toBe(2)
    expect(Math.max(...perHour)).toBe(2)
  })

  it('are told once the hour is over of an endpoint that has failed again and goes on failing, as it is then', async () => {
    const { tell, sent, looks, pass } = start()
    tell('failing')
    await pass(MINUTE)
    tell('recovered')
    await pass(MINUTE)
    tell('failing')
    looks.push({ ...ALERT, pending: 999 })
    await pass(57 * MINUTE)
    expect(sent).toHaveLength(2)
    await pass(MINUTE)
    expect(sent.slice(2)).toEqual([[60, 'keeps failing']])
    expect(looks).toEqual([])
    tell('recovered')
    await pass(0)
    expect(sent.slice(3)).toEqual([])
    await pass(MINUTE)
    expect(sent.slice(3)).toEqual([[61, 'answers again']])
  })

  it('are told nothing of an endpoint that has failed again within the hour and is back at its end', async () => {
    const { tell, sent, pass } = start()
    for (const change of ['failing', 'recovered', 'failing', 'recovered'] as const) {
      tell(change)
      await pass(MINUTE)
    }
    await pass(5 * HOUR)
    expect(sent.map(([, what]) => what)).toEqual(['keeps failing', 'answers again'])
  })

  it('are told at once that it is disabled, even if they were just told that it fails', async () => {
    const { tell, sent, pass } = start()
    tell('failing')
    await pass(SECOND)
    tell('recovered')
    await pass(SECOND)
    tell('failing')
    await pass(SECOND)
    tell('disabled')
    await pass(2 * HOUR)
    expect(sent).toEqual([
      [0, 'keeps failing'],
      [0, 'answers again'],
      [0, 'is disabled'],
    ])
  })

  it('are told again, within the bound, that it is disabled, since someone has enabled it in between', async () => {
    const { tell, sent, pass } = start()
    tell('disabled')
    await pass(MINUTE)
    tell('disabled')
    await pass(2 * HOUR)
    expect(sent).toEqual([
      [0, 'is disabled'],
      [60, 'is disabled'],
    ])
  })

  it('are not told of what is over by the time that a mail may go', async () => {
    const { tell, sent, looks, pass } = start()
    tell('disabled')
    await pass(MINUTE)
    tell('disabled')
    // enabled by a save; nothing has been sent since; then its hook was removed
    looks.push('later', 'later', undefined)
    await pass(59 * MINUTE)
    expect(looks).toHaveLength(2)
    await pass(2 * MINUTE)
    expect(looks).toEqual([])
    await pass(48 * HOUR)
    expect(sent).toHaveLength(1)
  })

  it('are told what it has become by then', async () => {
    const { tell, sent, looks, pass } = start()
    tell('disabled')
    await pass(MINUTE)
    tell('disabled')
    looks.push({ ...ALERT, change: 'failing' })
    await pass(HOUR)
    expect(sent.slice(1)).toEqual([[60, 'keeps failing']])
  })

  it('hear of each endpoint by itself', async () => {
    const { tell, sent, pass } = start()
    tell('failing', { endpoint: 'a', origin: 'http://a.example' })
    tell('failing', { endpoint: 'b', origin: 'http://b.example' })
    tell('recovered', { endpoint: 'b', origin: 'http://b.example' })
    await pass(MINUTE)
    expect(sent.map(([, what]) => what)).toEqual([
      'a.example keeps failing',
      'b.example keeps failing',
      'b.example answers again',
    ])
  })

  it('hear that an endpoint is back only after they were told that it fails', async () => {
    const started = start()
    started.transport = noTransport
    started.tell('failing')
    await started.pass(SECOND)
    started.tell('recovered')
    await started.pass(48 * HOUR)
    expect(started.sent).toEqual([])
    expect(started.warnings).toHaveLength(1)
  })

  it('hear that an endpoint is back of which an earlier run has told them', async () => {
    const { tell, sent, pass } = start()
    tell('recovered')
    await pass(0)
    expect(sent).toEqual([[0, 'answers again']])
  })
})

describe('a mail that could not be sent', () => {
  it('is tried again after 1, 5, 30 minutes, then every hour, for a day', async () => {
    const started = start()
    const tries: number[] = []
    const begun = performance.now()
    started.transport = () => {
      tries.push(Math.round((performance.now() - begun) / MINUTE))
      return noTransport()
    }
    started.tell('failing')
    await started.pass(72 * HOUR)
    expect(tries.slice(0, 6)).toEqual([0, 1, 6, 36, 96, 156])
    expect(tries.at(-1)).toBeGreaterThan(24 * 60 - 61)
    expect(tries.at(-1)).toBeLessThanOrEqual(25 * 60)
  })

  it.each<[string, Started['transport']]>([
    ['is not there', undefined],
    ['rejects', noTransport],
    ['rejects with nothing', () => Promise.reject(undefined as unknown as Error)],
    [
      'throws',
      () => {
        throw new Error('no SMTP')
      },
    ],
    ['never answers', () => new Promise(() => {})],
  ])('because the transport %s is sent once that works', async (_, transport) => {
    const started = start()
    const { transport: working } = started
    started.transport = transport
    started.tell('disabled')
    await started.pass(2.5 * MINUTE)
    started.transport = working
    await started.pass(5.5 * MINUTE)
    expect(started.sent.map(([, what]) => what)).toEqual(['is disabled'])
    expect(started.warnings[0]).toMatchObject({
      ...{ origin: ALERT.origin, change: 'disabled', error: expect.any(String) as string },
    })
    await started.pass(48 * HOUR)
    expect(started.sent).toHaveLength(1)
  })

  it('gives way to a newer one about the same endpoint, which is not tried any sooner', async () => {
    const started = start()
    const { transport: working } = started
    started.transport = noTransport
    started.tell('failing')
    await started.pass(2 * MINUTE)
    started.transport = working
    started.tell('disabled')
    await started.pass(3 * MINUTE)
    expect(started.sent).toEqual([])
    await started.pass(60 * MINUTE)
    expect(started.sent).toEqual([[6, 'is disabled']])
  })

  it('tells, if a newer one comes while it is under way, that one afterwards', async () => {
    const started = start()
    const { transport: working } = started
    let answer = (): void => {}
    started.transport = mail => {
      void working!(mail)
      return new Promise<void>(resolve => {
        answer = resolve
      })
    }
    started.tell('failing')
    started.tell('recovered')
    await started.pass(MINUTE)
    expect(started.sent).toEqual([[0, 'keeps failing']])
    started.transport = working
    answer()
    await started.pass(MINUTE)
    expect(started.sent.slice(1)).toEqual([[1, 'answers again']])
  })

  it('waits while the plugin is unloaded, without a timer, and is sent when it is loaded again', async () => {
    const started = start()
    const { transport: working } = started
    started.transport = undefined
    started.tell('failing')
    await started.pass(0)
    started.mailer.stop()
    started.tell('disabled')
    started.transport = working
    await started.pass(2 * HOUR)
    expect(started.sent).toEqual([])
    expect(vi.getTimerCount()).toBe(0)
    started.mailer.start()
    await started.pass(SECOND)
    expect(started.sent).toEqual([[120, 'is disabled']])
  })

  it('and is under way when the plugin is unloaded keeps no timer, and is not sent twice', async () => {
    const started = start()
    const { transport: working } = started
    started.transport = mail => {
      void working!(mail)
      return new Promise(() => {})
    }
    started.tell('failing')
    await started.pass(SECOND)
    started.mailer.stop()
    expect(vi.getTimerCount()).toBe(0)
    await started.pass(SECOND)
    started.mailer.start()
    await started.pass(48 * HOUR)
    expect(started.sent).toHaveLength(1)
  })

  it('is dropped where nobody is to be told, and so is the one that it would be followed by', async () => {
    const started = start()
    started.to = []
    started.tell('failing')
    await started.pass(MINUTE)
    started.to = ['admin@example.org']
    started.tell('recovered')
    await started.pass(48 * HOUR)
    expect([started.sent, started.warnings]).toEqual([[], []])
    expect(vi.getTimerCount()).toBe(0)
  })
})

it('a thousand endpoints are remembered, and no more', async () => {
  const { tell, sent, pass } = start()
  for (let n = 0; n <= 1_000; ++n) {
    tell('failing', { endpoint: `e${n}` })
    await pass(0)
  }
  sent.length = 0
  await pass(2 * HOUR)
  // known to fail, and forgotten
  tell('failing', { endpoint: 'e1' })
  tell('failing', { endpoint: 'e0' })
  await pass(0)
  expect(sent).toHaveLength(1)
})
