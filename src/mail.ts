import type { ProxyReport } from './engine/engine.ts'
import { messageOf } from './problem.ts'
import type { Alert, EndpointAlert, EndpointChange, SparseLog } from './report.ts'
import type { Xo } from './xo.ts'

/** Mails of one kind about one endpoint have this much time between them, however often it comes and goes. */
const PERIOD_MS = 60 * 60_000

/** Until the next try of a mail that could not be sent; the last one is repeated. */
const PAUSES_MS = [60_000, 5 * 60_000, 30 * 60_000, 60 * 60_000]

/** Then nobody needs this mail any more. */
const GIVE_UP_AFTER_MS = 24 * 60 * 60_000

/** How often is looked whether an endpoint has shown how it is. */
const LOOK_EVERY_MS = 60_000

/** A transport that has not answered by then has not sent it. */
const SENDING_MS = 2 * 60_000

/** Endpoints that mails are remembered of: far more than anybody has. */
const MAX_ENDPOINTS = 1_000

/**
 * The e-mail about an endpoint (which hooks, since when, why, what waits, what to do), or about XO's proxy.
 *
 * @param instanceUrl - of XO, without a slash at its end: there is a link to the plugin's page then
 */
export function mailOf(alert: Alert, instanceUrl?: string): Mail {
  const { subject, advice } = 'proxy' in alert ? wordsOfProxy(alert) : wordsOf(alert)
  const facts = 'proxy' in alert ? factsOfProxy(alert) : factsOf(alert)
  return {
    subject: `[Xen Orchestra] Web hooks: ${subject}`,
    markdown: [`**${escape(subject)}**`, facts.join('\n'), advice, linkTo(alert, instanceUrl)]
      .filter(part => part !== '')
      .join('\n\n'),
  }
}

/** The page is at the root, wherever the web interfaces are. */
function linkTo(alert: Alert, instanceUrl: string | undefined): string {
  const view = 'proxy' in alert ? '' : `#/endpoints/${encodeURIComponent(alert.endpoint)}`
  return instanceUrl === undefined
    ? ''
    : `[Look at its deliveries](<${instanceUrl.replace(/\/v[56]$/, '')}/web-hooks${view}>)`
}

function factsOf({ hooks, origin, since, lastError, pending, dead }: EndpointAlert): string[] {
  const names = hooks.map(name => `"${name}"`).join(', ')
  return [
    `- Hooks: ${escape(names)}`,
    `- Where: ${escape(origin)}`,
    ...(since === undefined ? [] : [`- Failing since: ${since}`]),
    ...lastErrorIn(lastError),
    `- Waiting to be sent: ${pending}`,
    `- Given up for good: ${dead}`,
  ]
}

function factsOfProxy({ receiver, lastError }: ProxyReport): string[] {
  return [...(receiver === undefined ? [] : [`- Where to: ${escape(receiver)}`]), ...lastErrorIn(lastError)]
}

function lastErrorIn(lastError: string | undefined): string[] {
  return lastError === undefined ? [] : [`- Last error: ${escape(lastError)}`]
}

export interface Mail {
  readonly subject: string
  readonly markdown: string
}

interface Words {
  readonly subject: string
  readonly advice: string
}

function wordsOfProxy({ change, proxy, receiver }: ProxyReport): Words {
  if (change === 'recovered') {
    return {
      subject: `the proxy ${proxy} works again`,
      advice: 'What was waiting is being sent. Nothing needs to be done.',
    }
  }
  const waits =
    'is tried every few seconds, and what is to be sent waits, within its lifetime: no endpoint is disabled for it.'
  return receiver === undefined
    ? {
        subject: `the proxy ${proxy} fails`,
        advice: `It ${waits} Look at the proxy, and at httpProxy in xo-server's configuration.`,
      }
    : {
        subject: `the proxy ${proxy} does not get through to ${receiver}`,
        advice: `That ${waits} Look at the receiver, and at what the proxy allows. Of others to which it does not get through, only the log tells.`,
      }
}

function wordsOf({ change, origin, reason = 'it failed' }: EndpointAlert): Words {
  switch (change) {
    case 'failing':
      return {
        subject: `${origin} keeps failing`,
        advice:
          'Nothing is lost yet: what is waiting is tried again, for about three days. Look at the receiver, and press Test in Settings > Plugins > web-hooks once it is mended.',
      }
    case 'disabled':
      return {
        subject: `${origin} is disabled: ${reason}`,
        advice:
          'Nothing is sent to it any more. What is waiting and what happens from now on is kept, for 30 days (a `pre`: 5 minutes), and sent once the URL is enabled again. To enable it, mend the receiver, then save the configuration in Settings > Plugins > web-hooks, changed or not.',
      }
    case 'recovered':
      return { subject: `${origin} answers again`, advice: 'What was waiting is being sent. Nothing needs to be done.' }
    default:
      return change satisfies never
  }
}

/** Names are the administrator's own, but Markdown and HTML in them are meant as text, and no address becomes a link. */
function escape(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/[\\`*_{}[\]()#+!|~]/g, '\\$&')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/:(?=\/\/)|@/g, character => `&#${character.charCodeAt(0)};`)
    .replace(/www\./gi, match => `${match.slice(0, 3)}&#46;`)
}

/**
 * What the administrators know of one endpoint, and what they are still to be told. Instants are of a clock that never
 * jumps, in ms.
 */
export interface Correspondence {
  /** The newest that has happened to the endpoint. */
  readonly alert: Alert
  /** What the last mail said. Without one, the administrators think that all is well. */
  readonly told?: EndpointChange
  /** When the last mail of each kind was sent. */
  readonly sentAt: Readonly<Partial<Record<EndpointChange, number>>>
  /** A mail about `alert` is still to be sent. */
  readonly owed?: Owed
}

interface Owed {
  readonly since: number
  /** Tries that failed; those of a mail whose place this one has taken count too. */
  readonly failures: number
  /** The mail is not tried before. */
  readonly notBefore: number
}

/**
 * What an alert makes of it. The newest one takes the place of one that has not been sent.
 *
 * Nobody is told what they know. Example: a failure was told, and the endpoint is back before the next mail may go: that
 * is owed then. If it fails again before that, nothing is owed, since "it fails" is what they know.
 */
export function afterAlert(before: Correspondence | undefined, alert: Alert, now: number): Correspondence {
  // the first word about an endpoint is that it is back: that it fails was told by an earlier run of xo-server
  const told = before === undefined && alert.change === 'recovered' ? 'failing' : before?.told
  const known = { alert, sentAt: before?.sentAt ?? {}, ...(told && { told }) }
  if (!isNews(alert.change, told)) {
    return known
  }
  const owed = before?.owed
  const since = owed !== undefined && before?.alert.change === alert.change ? owed.since : now
  return { ...known, owed: { since, failures: owed?.failures ?? 0, notBefore: owed?.notBefore ?? now } }
}

function isNews(change: EndpointChange, told: EndpointChange | undefined): boolean {
  switch (change) {
    case 'failing':
      return told !== 'failing'
    case 'disabled':
      // also if that was the last word: someone has enabled the endpoint since, to no avail
      return true
    case 'recovered':
      return told === 'failing' || told === 'disabled'
    default:
      return change satisfies never
  }
}

/** When the owed mail may be tried: at most one of its kind in an hour. */
export function dueAt({ alert, owed, sentAt }: Correspondence): number | undefined {
  return owed && Math.max(owed.notBefore, (sentAt[alert.change] ?? Number.NEGATIVE_INFINITY) + PERIOD_MS)
}

/**
 * @param sent - the alert that the mail told. If a newer one has come while the mail was under way, it is weighed against
 *   what the administrators know now: that the endpoint is back is news, which it was not before they knew of the failure
 */
export function afterSent({ alert, sentAt }: Correspondence, sent: Alert, now: number): Correspondence {
  const isOwed = alert !== sent && isNews(alert.change, sent.change)
  return {
    alert,
    told: sent.change,
    sentAt: { ...sentAt, [sent.change]: now },
    ...(isOwed && { owed: { since: now, failures: 0, notBefore: now } }),
  }
}

/** The mail could not be sent: it is tried again, in longer and longer intervals, for a day. */
export function afterFailure({ owed, ...before }: Correspondence, now: number): Correspondence {
  if (owed === undefined || now - owed.since >= GIVE_UP_AFTER_MS) {
    return before
  }
  const pause = PAUSES_MS[Math.min(owed.failures, PAUSES_MS.length - 1)] ?? 0
  return { ...before, owed: { since: owed.since, failures: owed.failures + 1, notBefore: now + pause } }
}

/** The endpoint has not shown yet how it is: look again in a minute, for a day. */
export function putOff({ owed, ...before }: Correspondence, now: number): Correspondence {
  if (owed === undefined || now - owed.since >= GIVE_UP_AFTER_MS) {
    return before
  }
  return { ...before, owed: { ...owed, notBefore: now + LOOK_EVERY_MS } }
}

/** Nobody is to be told, or there is nothing to tell any more. */
export function withoutOwed({ owed: _, ...before }: Correspondence): Correspondence {
  return before
}

export interface MailerOptions {
  /** E-mail addresses. */
  readonly recipients: () => readonly string[]
  /** Of the plugin transport-email, which may come and go: asked at each try. */
  readonly transport: () => Xo['sendEmail']
  /** What an alert that was put off says by now, see `asOfNow` in report.ts. */
  readonly look: (alert: Alert) => Promise<Alert | 'later' | undefined>
  /** Of XO, where it is known. */
  readonly instanceUrl: () => string | undefined
  readonly log: SparseLog
}

/** Tells the administrators of endpoints, and of XO's proxy, by e-mail, one mail at a time for each. Works between start and stop. */
export class Mailer {
  readonly #options: MailerOptions
  /** By endpoint id, or `proxy http://…`. */
  readonly #correspondences = new Map<string, Correspondence>()
  /** Endpoints with a mail under way. */
  readonly #underWay = new Set<string>()
  #isStarted = false
  /** Ends the waiting for the transport. */
  readonly #letGo = new Set<() => void>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: MailerOptions) {
    this.#options = options
  }

  /** What an earlier time has left unsent is tried. */
  start(): void {
    this.#isStarted = true
    this.#arm()
  }

  /** Leaves no timer. What is owed stays owed until the next start; a mail under way is taken for sent. */
  stop(): void {
    this.#isStarted = false
    clearTimeout(this.#timer)
    this.#letGo.forEach(letGo => letGo())
  }

  tell(alert: Alert): void {
    const endpoint = 'proxy' in alert ? `proxy ${alert.proxy}` : alert.endpoint
    const after = afterAlert(this.#correspondences.get(endpoint), alert, performance.now())
    this.#set(endpoint, after)
    if (this.#isStarted && this.#isDue(endpoint, after)) {
      void this.#send(endpoint, after)
    }
    this.#arm()
  }

  #isDue(endpoint: string, correspondence: Correspondence): boolean {
    return !this.#underWay.has(endpoint) && (dueAt(correspondence) ?? Number.POSITIVE_INFINITY) <= performance.now()
  }

  /** One timer, for the mail that is due first. */
  #arm(): void {
    clearTimeout(this.#timer)
    if (!this.#isStarted) {
      return
    }
    let next = Number.POSITIVE_INFINITY
    for (const [endpoint, correspondence] of this.#correspondences) {
      if (!this.#underWay.has(endpoint)) {
        next = Math.min(next, dueAt(correspondence) ?? next)
      }
    }
    if (next !== Number.POSITIVE_INFINITY) {
      const waitMs = Math.max(1, Math.ceil(next - performance.now()))
      this.#timer = setTimeout(() => this.#sendDue(), waitMs).unref()
    }
  }

  #sendDue(): void {
    for (const [endpoint, correspondence] of this.#correspondences) {
      if (this.#isDue(endpoint, correspondence)) {
        void this.#sendLate(endpoint, correspondence.alert)
      }
    }
    this.#arm()
  }

  /** Some time has passed since the alert: looks first what is true by now. */
  async #sendLate(endpoint: string, alert: Alert): Promise<void> {
    this.#underWay.add(endpoint)
    const now = await this.#options.look(alert).catch(() => alert)
    this.#underWay.delete(endpoint)
    const known = this.#correspondences.get(endpoint)
    if (known?.owed !== undefined && known.alert === alert) {
      const at = performance.now()
      const after =
        now === undefined ? withoutOwed(known) : now === 'later' ? putOff(known, at) : afterAlert(known, now, at)
      this.#set(endpoint, after)
      if (now !== 'later' && this.#isStarted && this.#isDue(endpoint, after)) {
        await this.#send(endpoint, after)
        return
      }
    }
    this.#arm()
  }

  async #send(endpoint: string, { alert }: Correspondence): Promise<void> {
    this.#underWay.add(endpoint)
    const outcome = await this.#try(alert)
    this.#underWay.delete(endpoint)
    const known = this.#correspondences.get(endpoint)
    if (known !== undefined) {
      this.#set(endpoint, outcome(known, performance.now()))
    }
    this.#arm()
  }

  /** @returns what becomes of the correspondence */
  async #try(alert: Alert): Promise<(before: Correspondence, now: number) => Correspondence> {
    const { recipients, transport, instanceUrl, log } = this.#options
    const to = recipients()
    if (to.length === 0) {
      return withoutOwed
    }
    try {
      const send = transport()
      if (send === undefined) {
        throw new Error('the plugin transport-email is not loaded')
      }
      await this.#inTime(send({ to, ...mailOf(alert, instanceUrl()) }))
      return (before, now) => afterSent(before, alert, now)
    } catch (error) {
      const about = 'proxy' in alert ? { proxy: alert.proxy } : { origin: alert.origin }
      log.warn('mail', `the e-mail about ${'proxy' in alert ? 'the proxy' : 'an endpoint'} could not be sent`, {
        ...{ ...about, change: alert.change, error: messageOf(error) },
      })
      return afterFailure
    }
  }

  /** Rejects if the transport fails, or has not answered in time. */
  #inTime(sending: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        this.#letGo.delete(letGo)
      }
      const letGo = (): void => {
        end()
        resolve(undefined)
      }
      const timer = setTimeout(() => {
        end()
        reject(new Error('the transport does not answer'))
      }, SENDING_MS).unref()
      this.#letGo.add(letGo)
      // a transport may answer with anything
      Promise.resolve(sending).finally(end).then(resolve, reject)
    })
  }

  /** The youngest one stands last; endpoints that have long been quiet are forgotten first. */
  #set(endpoint: string, correspondence: Correspondence): void {
    this.#correspondences.delete(endpoint)
    this.#correspondences.set(endpoint, correspondence)
    for (const [oldest] of this.#correspondences) {
      if (this.#correspondences.size <= MAX_ENDPOINTS) {
        break
      }
      this.#correspondences.delete(oldest)
    }
  }
}
