import { fileURLToPath } from 'node:url'
import { configure, type LogEntry } from '@xen-orchestra/log/configure'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import { mailOf } from '../src/mail.ts'
import type { Alert } from '../src/relay.ts'
import { startReceiver } from './sandbox/receiver.ts'
import type { Answering, Receiver } from './sandbox/receiver.ts'
import { ADMIN, startSandbox } from './sandbox/sandbox.ts'
import type { Client, Sandbox } from './sandbox/sandbox.ts'

const ALERT: Alert = {
  change: 'failing',
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
      'Kept to be replayed: 3',
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
  })

  it('that is back says so, and of no failure that there was none', () => {
    const { since: _, lastError: __, ...alert } = ALERT
    const { subject, markdown } = mailOf({ ...alert, change: 'recovered' })
    expect(subject).toContain('answers again')
    expect(markdown).not.toMatch(/since|error|undefined/i)
    expect(markdown).toContain('Nothing needs to be done')
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

const logged: LogEntry[] = []
configure(entry => {
  logged.push(entry)
})

const TO = ['one@example.org', 'two@example.org']
const NAME = 'a *bold* <b>name</b>'

interface Mail {
  to: readonly string[]
  subject: string
  markdown: string
}

interface Mailing {
  readonly sandbox: Sandbox
  readonly client: Client
  readonly receiver: Receiver
  /** Calls the method that the hook wants, and waits for the request. */
  call(): Promise<void>
  save(notify?: readonly string[]): Promise<void>
}

/** The built plugin at the stand-in host, with one hook whose URL is full of secrets. */
async function startMailing(answering: Answering): Promise<Mailing> {
  const sandbox = await startSandbox({ plugin: fileURLToPath(new URL('..', import.meta.url)) })
  onTestFinished(() => sandbox.close())
  const receiver = await startReceiver(answering)
  onTestFinished(() => receiver.close())
  const client = await sandbox.connect(ADMIN)
  onTestFinished(() => client.close())
  const url = `${receiver.url.replace('//', '//user:s3cret-user@')}/s3cret-path?token=s3cret-query`
  const save = (notify: readonly string[] = TO): Promise<void> =>
    sandbox.configure({
      hooks: [{ name: NAME, method: 'session.getUser', type: 'post', url, format: 'json' }],
      notify,
    })
  await save()
  return {
    ...{ sandbox, client, receiver, save },
    async call() {
      await client.call('session.getUser')
      await receiver.next()
    },
  }
}

/** The transport plugin, as far as it matters here. */
function offerMail(sandbox: Sandbox, send: (mail: Mail) => unknown = () => {}): { mails: Mail[]; withdraw(): void } {
  const mails: Mail[] = []
  const withdraw = sandbox.host.defineProperty('sendEmail', (mail: Mail) => {
    mails.push(mail)
    return send(mail)
  })
  return { mails, withdraw }
}

const warnings = (): string[] => logged.filter(({ level }) => level >= 40).map(({ message }) => String(message))

describe('the administrator', () => {
  beforeEach(() => {
    logged.length = 0
  })

  it('gets one mail when an endpoint is disabled, and one when it is back, with nothing secret in it', async () => {
    let status = 410
    const mailing = await startMailing(() => ({ status, body: 'an answer that is nobody’s business' }))
    const { mails } = offerMail(mailing.sandbox)
    await mailing.call()
    await vi.waitFor(() => expect(mails).toHaveLength(1))
    // kept as a dead letter
    await mailing.client.call('session.getUser')
    status = 200
    await mailing.save()
    await mailing.call()
    await vi.waitFor(() => expect(mails).toHaveLength(2))
    await mailing.call()
    await mailing.call()
    expect(mails).toHaveLength(2)

    const [disabled, back] = mails
    expect(Object.keys(disabled!).sort()).toEqual(['markdown', 'subject', 'to'])
    expect(disabled!.to).toEqual(TO)
    expect(disabled!.subject).toContain(`${mailing.receiver.url} is disabled: it answered 410 Gone`)
    expect(disabled!.markdown).toContain('a \\*bold\\* &lt;b&gt;name&lt;/b&gt;')
    expect(disabled!.markdown).toContain('Kept to be replayed: 1')
    expect(back!.subject).toContain('answers again')
    expect(JSON.stringify([mails, logged])).not.toMatch(/s3cret|business/)
  })

  it('gets one mail after 5 failures in a row, however many follow', async () => {
    const mailing = await startMailing(() => ({ status: 503 }))
    const { mails } = offerMail(mailing.sandbox)
    for (let failure = 0; failure < 4; ++failure) {
      await mailing.call()
    }
    expect(mails).toEqual([])
    await mailing.call()
    await vi.waitFor(() => expect(mails).toHaveLength(1))
    // a new chance for the endpoint, and no new mail
    await mailing.save()
    for (let failure = 0; failure < 5; ++failure) {
      await mailing.call()
    }
    expect(mails).toHaveLength(1)
    expect(mails[0]!.subject).toContain('keeps failing')
    expect(mails[0]!.markdown).toMatch(/Failing since: \d{4}-\d\d-\d\dT/)
    expect(mails[0]!.markdown).toContain('Last error: answered 503')
    expect(mails[0]!.markdown).toMatch(/Waiting to be sent: [1-5]\n/)
  })

  it('gets a warning in the log alone where mail cannot be sent, or nobody is to be told', async () => {
    const mailing = await startMailing(() => ({ status: 410 }))
    await mailing.call()
    await vi.waitFor(() => expect(warnings()).toContain('an endpoint is disabled'))

    const { mails } = offerMail(mailing.sandbox)
    await mailing.save([])
    await mailing.call()
    await vi.waitFor(() => expect(warnings().filter(text => text === 'an endpoint is disabled')).toHaveLength(2))
    expect(mails).toEqual([])
  })

  it('gets mail as soon as there is a transport, and none once it is gone', async () => {
    const mailing = await startMailing(() => ({ status: 410 }))
    const { mails, withdraw } = offerMail(mailing.sandbox)
    await mailing.call()
    await vi.waitFor(() => expect(mails).toHaveLength(1))
    withdraw()
    await mailing.save()
    await mailing.call()
    await vi.waitFor(() => expect(warnings().filter(text => text === 'an endpoint is disabled')).toHaveLength(2))
    expect(mails).toHaveLength(1)
  })

  it.each([
    ['rejects', () => Promise.reject(new Error('no SMTP'))],
    [
      'throws',
      () => {
        throw new Error('no SMTP')
      },
    ],
    ['rejects with nothing', () => Promise.reject(undefined as unknown as Error)],
  ])('reads in the log that the mail was not sent, where the transport %s, and deliveries go on', async (_, send) => {
    let status = 410
    const mailing = await startMailing(() => ({ status }))
    offerMail(mailing.sandbox, send)
    await mailing.call()
    await vi.waitFor(() => expect(warnings()).toContain('the e-mail about an endpoint could not be sent'))
    status = 200
    await mailing.save()
    await mailing.call()
  })
})
