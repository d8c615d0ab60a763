import type { Event } from '../event/event.ts'
import { isRecord, listOf, numberOf, textOf } from '../values.ts'
import { lineOf, linesOf } from './text.ts'
import { durationText, headingOf, nounOf, sizeText, timeText } from './words.ts'
import type { Tone } from './words.ts'

/** This XO, as its administrator calls it. */
export interface Instance {
  readonly name?: string
  /** `https://xo.example.org`, without a slash at its end. */
  readonly url?: string
}

/** One thing that is told of an event. */
export interface Fact {
  /** A word of ours. */
  readonly label: string
  readonly value: string
}

export interface Link {
  readonly text: string
  readonly url: string
}

/**
 * What people are told of an event, made once and rendered by each format. Every text in it may come from a stranger: none
 * has line ends (but `details`), marks of direction, or what is shown as nothing; none is safe in any markup.
 */
export interface Message {
  readonly tone: Tone
  readonly emoji: string
  /** `#2EB67D` */
  readonly colour: string
  /** `VM start failed` */
  readonly title: string
  /** All in one line: `VM start failed: web01 (2.3 s, by bruce@example.org)`. */
  readonly text: string
  /** What it is about. */
  readonly object?: { readonly kind: string; readonly name: string; readonly id?: string }
  readonly user?: string
  /** ms */
  readonly duration?: number
  /** What matters most stands first; the object, user and duration are among them. */
  readonly facts: readonly Fact[]
  /** Of a failure: what has failed of a backup, a line each, else the error. */
  readonly details?: string
  /** What the error says. */
  readonly error?: string
  /** What of a backup has failed, the first few; and how many there are. */
  readonly failures: readonly Failure[]
  readonly failureCount: number
  /** To the object in XO 6, then in XO 5. */
  readonly links: readonly Link[]
  /** `Xen Orchestra`, or what its administrator calls it. */
  readonly instance: string
  readonly method: string
  /** Epoch ms; of an event without a usable time, now. */
  readonly at: number
  /** The same for people, where the service does not tell it in the reader's zone: in that of the server. */
  readonly time: string
  /** The same for the failure of something and for its success: `vm.start:67aac198-…`. */
  readonly key: string
}

export interface Failure {
  readonly name: string
  readonly message: string
}

const LOOKS: Readonly<Record<Tone, { readonly emoji: string; readonly colour: string }>> = {
  good: { emoji: '✅', colour: '#2EB67D' },
  bad: { emoji: '❌', colour: '#D64545' },
  warning: { emoji: '⚠️', colour: '#E0A030' },
  info: { emoji: 'ℹ️', colour: '#3B7DD8' },
  pending: { emoji: '⏳', colour: '#888888' },
}

/** No title of ours, and no name that people give, comes near. */
const MAX_TITLE = 100
const MAX_VALUE = 200
const MAX_ERROR = 2_000
const MAX_FAILURES = 5
const MAX_CAUSE = 300
/** A property of an event that is larger is not looked into. */
const MAX_PARSED = 256 * 1024

/** @param now - epoch ms */
export function messageAbout(event: Event, instance: Instance, now: number): Message {
  const read = (key: string): unknown => valueOf(event, key)
  const record = (key: string): Readonly<Record<string, unknown>> => {
    const value = read(key)
    return isRecord(value) ? value : {}
  }
  const run = record('run')
  const params = record('params')
  const method = lineOf(event.method, MAX_TITLE)
  const heading = headingOf(event.method, event.outcome, textOf(run['status']))
  const object = objectIn(event, record('object'), params, run)
  const userName = lineOf(textOf(read('userName')) ?? '', MAX_VALUE)
  const user = userName === '' || userName === NOBODY ? undefined : userName
  const duration = event.phase === 'post' ? numberOf(read('duration')) : undefined
  const thrown = event.outcome === 'failure' ? read('error') : undefined
  const isTooLarge = thrown === undefined && (event.omitted.includes('error') || event.fields.has('error'))
  const error = event.outcome !== 'failure' ? undefined : isTooLarge ? 'the error is too large' : errorIn(thrown)
  const failed = listOf(recordOf(thrown)['failures'])
  const failures = failed.slice(0, MAX_FAILURES).filter(isRecord).map(failureOf)
  const failureCount = Math.max(failed.length, numberOf(recordOf(thrown)['failureCount']) ?? 0)
  const size = numberOf(run['size'])
  const title = lineOf(event.fields.has('test') ? `Test: ${heading.title}` : heading.title, MAX_TITLE)
  const facts = [
    ...(object === undefined ? [] : [{ label: object.kind, value: object.name }]),
    ...changesIn(record('before'), record('after')),
    ...(user === undefined ? [] : [{ label: 'User', value: user }]),
    ...(event.method === 'user.signInFailed' ? factOf('From', read('userIp')) : []),
    ...(duration === undefined ? [] : [{ label: 'Duration', value: durationText(duration) }]),
    ...(size === undefined ? [] : [{ label: 'Transferred', value: sizeText(size) }]),
    ...(failed.length === 0 ? [] : [{ label: 'Failed', value: String(failureCount) }]),
    ...placesOf(record('object'), params),
    ...(method.startsWith('web-hooks.') ? endpointFacts(params) : []),
  ]
  const remarks = [
    ...(duration === undefined ? [] : [durationText(duration)]),
    ...(user === undefined ? [] : [`by ${user}`]),
  ]
  const at = Number.isFinite(event.timestamp) && Math.abs(event.timestamp) < 8e15 ? event.timestamp : now
  const details = failures.length > 0 ? linesOfFailures(failures, failureCount) : error
  return {
    ...{ tone: heading.tone, ...LOOKS[heading.tone] },
    ...{ title, method, facts, failures, failureCount },
    text: `${title}${object === undefined ? '' : `: ${object.name}`}${remarks.length === 0 ? '' : ` (${remarks.join(', ')})`}`,
    ...(object !== undefined && { object }),
    ...(user !== undefined && { user }),
    ...(duration !== undefined && { duration }),
    ...(details !== undefined && { details }),
    ...(error !== undefined && { error }),
    links: linksTo(object?.id, kindOf(record('object'), event.method), instance),
    instance: lineOf(instance.name ?? '', MAX_TITLE) || 'Xen Orchestra',
    ...{ at, time: timeText(at, -new Date(at).getTimezoneOffset()) },
    key: keyOf(event.method, object?.id, params),
  }
}

/** What XO says of a user that it does not know. */
const NOBODY = '(unknown user)'

/** Of one property of an event; `undefined` if there is none, or it is too large to be looked into. */
export function valueOf({ fields }: Event, key: string): unknown {
  const text = fields.get(key)
  return text === undefined || text.length > MAX_PARSED ? undefined : (JSON.parse(text) as unknown)
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {}
}

/** By the type of an XO object, where it is not a word that people use. */
const KINDS: Readonly<Record<string, string>> = {
  'VM-snapshot': 'Snapshot',
  'VM-template': 'Template',
  host: 'Host',
  pool: 'Pool',
  SR: 'Storage',
  VDI: 'Disk',
  'VDI-snapshot': 'Disk snapshot',
  network: 'Network',
  VIF: 'Network interface',
}

function objectIn(
  { method }: Event,
  object: Readonly<Record<string, unknown>>,
  params: Readonly<Record<string, unknown>>,
  run: Readonly<Record<string, unknown>>
): Message['object'] {
  const type = textOf(object['type'])
  const id = textOf(object['id']) ?? textOf(run['jobId']) ?? textOf(params['id']) ?? textOf(params['vm'])
  const name =
    textOf(object['name_label']) ??
    textOf(run['jobName']) ??
    textOf(params['name_label']) ??
    textOf(params['name']) ??
    id
  const shown = lineOf(name ?? '', MAX_VALUE) || lineOf(id ?? '', MAX_VALUE)
  if (shown === '') {
    return undefined
  }
  const isJob = run['jobId'] !== undefined || /^(?:schedule|job)\./.test(method)
  const kind =
    type === undefined
      ? isJob
        ? 'Job'
        : (nounOf(method.split('.')[0] ?? '') ?? 'Object')
      : Object.hasOwn(KINDS, type)
        ? KINDS[type]!
        : lineOf(type.replaceAll(/[^\w -]/g, ''), 30) || 'Object'
  return { kind, name: shown, ...(id !== undefined && { id: lineOf(id, MAX_VALUE) }) }
}

/** What `before` and `after` of a change of state tell, where that is worth a line. */
function changesIn(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): Fact[] {
  const [from, to] = [before['host'] ?? before['master'], after['host'] ?? after['master']]
  const value = after['value'] ?? before['value']
  const used = numberOf(after['physical_usage'])
  const size = numberOf(after['size'])
  return [
    ...(before['host'] !== undefined || before['master'] !== undefined ? factOf('From', nameOf(from)) : []),
    ...(to === undefined ? [] : factOf(from === undefined ? 'Host' : 'To', nameOf(to))),
    ...(before['name_label'] === after['name_label'] || after['name_label'] === undefined
      ? []
      : factOf('Before', before['name_label'])),
    ...factOf('Alarm', after['alarm'] ?? before['alarm'] ?? after['name'] ?? (before['body'] && before['name'])),
    ...(value === undefined ? [] : factOf('Value', typeof value === 'number' ? String(value) : value)),
    ...(used === undefined || size === undefined ? [] : factOf('Used', `${sizeText(used)} of ${sizeText(size)}`)),
  ]
}

function nameOf(value: unknown): unknown {
  return isRecord(value) ? (textOf(value['name_label']) ?? value['id']) : value
}

/** Where the object is. */
function placesOf(object: Readonly<Record<string, unknown>>, params: Readonly<Record<string, unknown>>): Fact[] {
  const pool = object['pool'] ?? params['pool']
  return [
    ...factOf('On host', object['type'] === 'host' ? undefined : nameOf(object['host'])),
    ...factOf('Pool', object['type'] === 'pool' || !isRecord(pool) ? undefined : pool['name_label']),
  ]
}

/** Of the URL of a hook. */
function endpointFacts({ origin, reason, lastError }: Readonly<Record<string, unknown>>): Fact[] {
  return [...factOf('Where', origin), ...factOf('Reason', reason ?? lastError)]
}

function factOf(label: string, value: unknown): Fact[] {
  const text = lineOf(textOf(value) ?? '', MAX_VALUE)
  return text === '' ? [] : [{ label, value: text }]
}

/** XAPI's errors have a code, which some messages repeat. */
function errorIn(error: unknown): string {
  if (!isRecord(error)) {
    return linesOf(textOf(error) ?? '', MAX_ERROR) || 'no reason was given'
  }
  const message = linesOf(textOf(error['message']) ?? '', MAX_ERROR)
  const code = lineOf(textOf(error['code']) ?? '', MAX_VALUE)
  if (message === '') {
    return code || 'no reason was given'
  }
  return code === '' || message.includes(code) ? message : linesOf(`${message} (${code})`, MAX_ERROR)
}

function failureOf(failure: Readonly<Record<string, unknown>>): Failure {
  const name = textOf(failure['name']) ?? textOf(failure['id']) ?? textOf(failure['step']) ?? 'something'
  return {
    name: lineOf(name, MAX_VALUE / 2),
    message: lineOf(textOf(failure['message']) ?? '', MAX_CAUSE) || 'no reason was given',
  }
}

function linesOfFailures(failures: readonly Failure[], count: number): string {
  const lines = failures.map(({ name, message }) => `${name}: ${message}`)
  return [...lines, ...(count > failures.length ? [`and ${count - failures.length} more`] : [])].join('\n')
}

/** Pages of XO, by the type of the object: in XO 6 and in XO 5. */
const PAGES: Readonly<Record<string, readonly [xo6: string, xo5: string]>> = {
  VM: ['vm', 'vms'],
  host: ['host', 'hosts'],
  pool: ['pool', 'pools'],
  SR: ['sr', 'srs'],
}

/** The type of the object, by the method's name where the object itself is not known. */
function kindOf(object: Readonly<Record<string, unknown>>, method: string): string | undefined {
  const namespace = method.split('.')[0] ?? ''
  return textOf(object['type']) ?? { vm: 'VM', host: 'host', pool: 'pool', sr: 'SR' }[namespace]
}

/**
 * Both interfaces are there in any XO, at `/v6` and `/v5`; what is at `/` depends on how it was installed.
 *
 * Sources: `[http.mounts]` of packages/xo-server/config.toml; @xen-orchestra/web/src/pages; packages/xo-web/src/xo-app
 */
function linksTo(id: string | undefined, type: string | undefined, { url }: Instance): Link[] {
  const pages = type !== undefined && Object.hasOwn(PAGES, type) ? PAGES[type] : undefined
  if (url === undefined || id === undefined || pages === undefined || !/^[\w-]+$/.test(id)) {
    return []
  }
  const base = url.replace(/\/v[56]$/, '')
  return [
    ...(url.endsWith('/v5') ? [] : [{ text: 'Open in XO 6', url: `${base}/v6/#/${pages[0]}/${id}` }]),
    ...(url.endsWith('/v6') ? [] : [{ text: 'Open in XO 5', url: `${base}/v5/#/${pages[1]}/${id}/general` }]),
  ]
}

/** Events of which one ends what another has begun, and what they have in common. */
const PAIRS: Readonly<Record<string, string>> = {
  'vm.crashed': 'vm.up',
  'vm.started': 'vm.up',
  'vm.rebooted': 'vm.up',
  'host.connected': 'host.connection',
  'host.disconnected': 'host.connection',
  'host.enabled': 'host.use',
  'host.disabled': 'host.use',
  'pool.connected': 'pool.connection',
  'pool.disconnected': 'pool.connection',
  'sr.connected': 'sr.connection',
  'sr.disconnected': 'sr.connection',
  'alarm.raised': 'alarm',
  'alarm.cleared': 'alarm',
  'xo.started': 'xo',
  'xo.stopping': 'xo',
  'web-hooks.endpointFailing': 'web-hooks.endpoint',
  'web-hooks.endpointDisabled': 'web-hooks.endpoint',
  'web-hooks.endpointRecovered': 'web-hooks.endpoint',
}

function keyOf(method: string, id = '', params: Readonly<Record<string, unknown>>): string {
  const topic = Object.hasOwn(PAIRS, method) ? PAIRS[method]! : lineOf(method, MAX_TITLE)
  const host = topic === 'sr.connection' ? textOf(recordOf(params['host'])['id']) : undefined
  const of = topic === 'alarm' ? (textOf(params['message']) ?? id) : [id, host].filter(Boolean).join(':')
  return lineOf(of === '' ? topic : `${topic}:${of}`, 250)
}
