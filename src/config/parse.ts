import { createHash, scryptSync } from 'node:crypto'

import { AUTHORIZATIONS, basicAuthorization, parseAuthentication, parseTls } from './authentication.ts'
import type { Endpoint } from '../delivery/delivery.ts'
import type { Problem } from '../problem.ts'
import type { Phase } from '../event/event.ts'
import { parseFilter } from '../filter.ts'
import type { Filter } from '../filter.ts'
import { formats } from '../formats/index.ts'
import type { Format } from '../formats/index.ts'
import { isMatch, parsePatterns } from '../matcher.ts'
import type { Matchable, MethodPatterns } from '../matcher.ts'
import { findPlaceholder, isRecord, textOf } from './stray-secrets.ts'
import { hookableEvents } from '../sources/index.ts'

/** One configured rule: which events, in which format, to which endpoint. */
export interface Hook extends Matchable {
  /** The same as long as the hook keeps its name; without a name, its method, type, format and URL. */
  readonly id: string
  readonly name: string
  readonly format: Format
  readonly waitForResponse: boolean
  /** Its events tell of the object that they are about. */
  readonly includeObject: boolean
  /** Which of its events are sent; without, all. */
  readonly filter?: Filter
  readonly endpoint: Endpoint
}

export interface Settings {
  /** Those that can be used and are not disabled. */
  readonly hooks: readonly Hook[]
  /** E-mail addresses that are told when an endpoint fails, is disabled, or is back. */
  readonly notify: readonly string[]
}

/** What a configuration comes to: what can be used of it, and what is wrong with the rest. */
export interface ParsedConfig {
  readonly settings: Settings
  /** Each stands for a hook that is left out. */
  readonly problems: readonly Problem[]
  /** Nothing wrong, but an administrator should know. */
  readonly warnings: readonly string[]
}

const PHASES: ReadonlyMap<string, readonly Phase[]> = new Map([
  ['pre', ['pre']],
  ['post', ['post']],
  ['pre/post', ['pre', 'post']],
])
const STATUSES = ['any', 'success', 'failure'] as const
const DEFAULT_TYPE = 'post'
const DEFAULT_FORMAT = 'json'
const DEFAULT_TIMEOUT_S = 10
const MAX_TIMEOUT_S = 60

const EVENT_NAMES = hookableEvents.map(({ name }) => name)

/** The form's schema, in the slice of JSON Schema that is used. */
interface FormSchema {
  type: 'object' | 'array' | 'string' | 'number' | 'boolean'
  title?: string
  description?: string
  properties?: Record<string, FormSchema>
  items?: FormSchema
  required?: readonly string[]
  enum?: readonly string[]
  enumNames?: readonly string[]
  default?: string | number
  /** Suggestions of a text field. */
  defaults?: readonly string[]
  /** HTML limits of a number field. */
  min?: number
  max?: number
  /** A text field of several lines. */
  $multiline?: boolean
}

/**
 * The plugin's `configurationSchema`. It has two readers who want different things, so it is two schemas.
 *
 * xo-server validates a saved configuration with the object itself, at boot too, where a mismatch silently kills the
 * whole plugin: it is lax, and asks for a list of objects only. XO's form gets what `toJSON` gives, and shows choices, suggestions,
 * titles. {@link parseConfig} does the real checking, and can disable a single hook.
 *
 * Sources: packages/xo-server/src/xo-mixins/plugins.mjs; packages/xo-web/src/common/json-schema-input.
 */
export function configSchema(methods: readonly string[]): object {
  const form = formSchema(methods)
  return Object.defineProperty(laxSchema(), 'toJSON', { value: () => form })
}

/** No types of the fields: to the stock plugin's schema some of them were unknown, and could have any. */
function laxSchema(): object {
  return {
    type: 'object',
    nullable: true,
    properties: {
      hooks: { type: 'array', nullable: true, items: { type: 'object', nullable: true } },
    },
  }
}

function formSchema(methods: readonly string[]): FormSchema {
  return {
    type: 'object',
    description: 'Sends an HTTP POST to your URLs when something happens in Xen Orchestra.',
    properties: {
      hooks: {
        type: 'array',
        title: 'Hooks',
        description: 'Each hook sends some events to one URL.',
        items: {
          type: 'object',
          title: 'Hook',
          properties: {
            name: {
              type: 'string',
              title: 'Name',
              description:
                'How you recognise it; sent as the `X-XO-Hook` header. What is waiting to be sent follows the name when you change the URL. Example: `Inventory`.',
            },
            method: {
              type: 'string',
              title: 'Method',
              description:
                'The API methods and other events that trigger it, separated by commas or spaces: a name (`vm.start`: someone starts a VM; `vm.started`: a VM is up, whoever started it), a pattern (`vm.*`, or `*` for everything), and `!vm.set` to leave some out again.',
              defaults: suggestions([...methods, ...EVENT_NAMES]),
            },
            type: {
              type: 'string',
              title: 'Type',
              description: '*pre*: right before it happens. *post*: when it is over, with the result or the error.',
              enum: [...PHASES.keys()],
              default: DEFAULT_TYPE,
            },
            status: {
              type: 'string',
              title: 'Status',
              description: 'Send a *post* in any case, or after a success only, or after a failure only.',
              enum: STATUSES,
              default: STATUSES[0],
            },
            url: {
              type: 'string',
              title: 'URL',
              description: 'Where the requests go. Example: `https://inventory.example.org/xo?action=start`.',
            },
            format: {
              type: 'string',
              title: 'Payload format',
              description: 'What the body of a request looks like.',
              enum: [...formats.keys()],
              enumNames: [...formats.values()].map(({ title }) => title),
              default: DEFAULT_FORMAT,
            },
            waitForResponse: {
              type: 'boolean',
              title: 'Wait for response',
              description:
                'The action begins once the receiver has answered a *pre*, or after the timeout. It begins in any case: a receiver cannot prevent it.',
            },
            disabled: {
              type: 'boolean',
              title: 'Disabled',
              description: 'Keep this hook, but send nothing. What is still waiting for it is discarded.',
            },
            authentication: {
              type: 'object',
              title: 'Authentication',
              description: 'What the receiver asks for, and what lets it check that a request comes from here.',
              properties: {
                authorization: {
                  type: 'string',
                  title: 'Authorization',
                  description: 'What the `Authorization` header holds.',
                  enum: [...AUTHORIZATIONS.keys()],
                  enumNames: [...AUTHORIZATIONS.values()],
                  default: 'none',
                },
                token: { type: 'string', title: 'Token', description: 'For *Bearer*.' },
                user: { type: 'string', title: 'User', description: 'For *Basic*.' },
                password: { type: 'string', title: 'Password', description: 'For *Basic*.' },
                passphrase: {
                  type: 'string',
                  title: 'Signing secret',
                  description:
                    'Shared with the receiver; requests are then signed (`webhook-signature`, `X-XO-Signature`). Any text, or `whsec_…`, or `whsk_…`. To change it without a gap, put the new one before the old one, separated by a space.',
                },
                headers: {
                  type: 'string',
                  title: 'More headers',
                  description:
                    'One `Name: value` a line. Example: `X-Api-Key: 5f2c81`. Unlike a token or a password, this is shown here in clear text.',
                  $multiline: true,
                },
              },
            },
            tls: {
              type: 'object',
              title: 'TLS',
              description: 'For an `https` URL whose certificate is not one of a well-known authority.',
              properties: {
                ca: {
                  type: 'string',
                  title: 'Trusted certificates',
                  description:
                    'In PEM: of your own authority, or the one of the receiver itself. Only these are trusted then.',
                  $multiline: true,
                },
                certificate: {
                  type: 'string',
                  title: 'Client certificate',
                  description: 'In PEM, if the receiver asks for one; followed by those of authorities in between.',
                  $multiline: true,
                },
                // a name of which the host hides the value
                encryptionKey: {
                  type: 'string',
                  title: 'Private key',
                  description: 'Of the client certificate, in PEM, without a passphrase.',
                  $multiline: true,
                },
                acceptAnyCertificate: {
                  type: 'boolean',
                  title: 'Accept any certificate',
                  description:
                    'The receiver is not asked who it is: anyone in between can read what is sent. Better paste its certificate above.',
                },
              },
            },
            content: {
              type: 'object',
              title: 'Content',
              description: 'What is sent, and of what.',
              properties: {
                includeObject: {
                  type: 'boolean',
                  title: 'Include the object',
                  description:
                    'The body has a property `object` with what XO knows of the VM, host, SR… that the event is about: its name, tags, pool, power state, and of a VM its addresses and network interfaces.',
                },
                filter: {
                  type: 'string',
                  title: 'Filter',
                  description:
                    "Send an event only if this finds it, in the syntax of XO's searches. Examples: `object:tags:production`, `params:id:67aac198-0174-11ea-8d71-362b9e155667`, `userName:/@example.org$/`, `!userName:backup`.",
                },
              },
            },
            limits: {
              type: 'object',
              title: 'Limits',
              description: 'How long a receiver may take, and how often it may fail.',
              properties: {
                timeout: {
                  type: 'number',
                  title: 'Timeout',
                  description: `Seconds for a whole request, up to ${MAX_TIMEOUT_S}. Without: ${DEFAULT_TIMEOUT_S}.`,
                  default: DEFAULT_TIMEOUT_S,
                  min: 1,
                  max: MAX_TIMEOUT_S,
                },
                disableAfter: {
                  type: 'number',
                  title: 'Disable after',
                  description:
                    'Stop sending after this many failures in a row, until this configuration is saved again. Without: after 5 days of nothing but failures.',
                  min: 1,
                },
              },
            },
          },
          required: ['method', 'type', 'url', 'format'],
        },
      },
      notify: {
        type: 'array',
        title: 'Notify',
        description:
          'Who gets an e-mail when a URL has failed 5 times in a row, when it is disabled, and when it answers again. Needs the plugin `transport-email`.',
        items: { type: 'string', title: 'E-mail address' },
      },
    },
    required: ['hooks'],
  }
}

const HOOK_SCHEMA = formSchema([]).properties?.['hooks']?.items

/**
 * Starting points that the form offers. It puts one in place of what it shows: they are for a first hook, and their
 * names say so.
 */
export const configPresets: Readonly<Record<string, object>> = {
  'First hook: VMs started and stopped': preset('VM power', 'vm.start vm.stop vm.restart', 'any'),
  'First hook: backup runs': preset('Backups', 'backupNg.runJob', 'any'),
  'First hook: everything that fails': preset('Failures', '*', 'failure'),
}

function preset(name: string, method: string, status: (typeof STATUSES)[number]): object {
  return { hooks: [{ name, method, type: 'post', status, format: DEFAULT_FORMAT }] }
}

/** The methods, and their namespaces as patterns. */
function suggestions(methods: readonly string[]): string[] {
  const namespaces = new Set(methods.filter(name => name.includes('.')).map(name => `${name.split('.')[0]}.*`))
  return ['*', ...new Set([...namespaces, ...methods].sort())]
}

/**
 * Reads a configuration. Never throws: what is wrong with a hook is a problem, and the hook is left out.
 *
 * @param raw - what the host passes to `configure()`, validated by {@link configSchema}
 * @param knownMethods - to find patterns that match none of them; without, they are not looked for
 */
export function parseConfig(raw: unknown, knownMethods?: readonly string[]): ParsedConfig {
  const problems: Problem[] = []
  const warnings: string[] = []
  const hooks: Hook[] = []
  const ids = new Set<string>()
  const config = isRecord(raw) ? raw : {}
  const items = Array.isArray(config['hooks']) ? config['hooks'] : []
  const addresses = Array.isArray(config['notify']) ? config['notify'] : []
  for (const [index, item] of items.entries()) {
    if (!isRecord(item)) {
      continue // the form adds an item as `null` until it is filled in
    }
    const isDisabled = item['disabled'] === true
    const hook = parseHook(item, `hooks[${index}]`, knownMethods)
    if ('expected' in hook) {
      const name = textOf(item['name']) || textOf(item['method'])
      if (!isDisabled) {
        problems.push(name === '' ? hook : { ...hook, hook: name.slice(0, 100) })
      }
      continue
    }
    // a disabled twin counts: what waits for the other follows its id
    let { id } = hook
    for (let n = 2; ids.has(id); ++n) {
      id = `${hook.id}-${n}`
    }
    ids.add(id)
    if (!isDisabled) {
      hooks.push({ ...hook, id })
      if (hook.format.warning !== undefined) {
        warnings.push(`hooks[${index}] (${hook.name}): ${hook.format.warning}`)
      }
    }
  }
  const notify = addresses.map(textOf).filter(address => address !== '')
  return { settings: { hooks, notify }, problems, warnings }
}

function parseHook(item: Record<string, unknown>, path: string, knownMethods?: readonly string[]): Hook | Problem {
  const mistyped = findMistyped(item, HOOK_SCHEMA, path)
  if (mistyped !== undefined) {
    return mistyped
  }
  const lost = findPlaceholder(item, path)
  if (lost !== undefined) {
    return lost
  }
  const method = textOf(item['method'])
  const methods = parsePatterns(method)
  if (methods.include.length === 0) {
    return problem(
      `${path}.method`,
      'the name of an API method or event, like "vm.start", or a pattern, like "vm.*"',
      method
    )
  }
  const unknown = knownMethods && unknownPattern(methods, knownMethods)
  if (unknown !== undefined) {
    return problem(`${path}.method`, 'names or patterns of API methods and events that exist', unknown)
  }

  const type = textOf(item['type']) || DEFAULT_TYPE
  const phases = PHASES.get(type)
  if (phases === undefined) {
    return problem(`${path}.type`, oneOf([...PHASES.keys()]), type)
  }
  const statusText = textOf(item['status']) || STATUSES[0]
  const status = STATUSES.find(known => known === statusText)
  if (status === undefined) {
    return problem(`${path}.status`, oneOf(STATUSES), statusText)
  }

  const urlText = textOf(item['url'])
  const url = parseUrl(urlText)
  if (url === undefined) {
    return { path: `${path}.url`, expected: 'an http:// or https:// URL', got: withoutSecrets(urlText) }
  }
  const formatName = textOf(item['format']) || DEFAULT_FORMAT
  const format = formats.get(formatName)
  if (format === undefined) {
    return problem(`${path}.format`, oneOf([...formats.keys()]), formatName)
  }
  const userInfo = authorizationOf(url)
  const credentials = parseAuthentication(groupOf(item, 'authentication'), `${path}.authentication`)
  if ('expected' in credentials) {
    return credentials
  }
  if (
    userInfo.length > 0 &&
    credentials.headers.some((text, index) => index % 2 === 0 && text.toLowerCase() === 'authorization')
  ) {
    const expected = 'no user and password in it besides the hook\'s "Authentication"'
    return { path: `${path}.url`, expected, got: withoutSecrets(urlText) }
  }
  const tls = parseTls(groupOf(item, 'tls'), `${path}.tls`)
  if (tls !== undefined && 'expected' in tls) {
    return tls
  }
  const content = groupOf(item, 'content')
  const filterText = textOf(content['filter'])
  const filter = filterText === '' ? undefined : parseFilter(filterText)
  if (filter !== undefined && typeof filter !== 'function') {
    const { character, reason } = filter
    const place = `${path}.content.filter`
    return character === undefined
      ? problem(place, `a search in XO's syntax (${reason})`, filterText)
      : problem(place, `a search in XO's syntax (character ${character}: ${reason})`, filterText.slice(character - 1))
  }
  const limits = groupOf(item, 'limits')
  const timeout = limits['timeout'] ?? DEFAULT_TIMEOUT_S
  if (typeof timeout !== 'number' || !(timeout > 0) || timeout > MAX_TIMEOUT_S) {
    return problem(`${path}.limits.timeout`, `seconds, more than 0 and at most ${MAX_TIMEOUT_S}`, timeout)
  }

  const disableAfter = limits['disableAfter'] ?? undefined
  if (disableAfter !== undefined && !(Number.isInteger(disableAfter) && Number(disableAfter) > 0)) {
    return problem(`${path}.limits.disableAfter`, 'a whole number of failures, at least 1', disableAfter)
  }

  const headers = [...userInfo, ...credentials.headers]
  const passphrase = textOf(groupOf(item, 'authentication')['passphrase'])
  const secrets = [headers, passphrase, tls ?? null]
  const isSecret = headers.length > 0 || passphrase !== '' || tls !== undefined
  const bareUrl = withoutUserInfo(url)
  const name = textOf(item['name'])
  return {
    id: digest(name !== '' ? ['name', name] : ['hook', method, type, formatName, url.href]),
    name: name !== '' ? name : method,
    methods,
    phases,
    status,
    format,
    waitForResponse: item['waitForResponse'] === true,
    includeObject: content['includeObject'] === true,
    ...(filter !== undefined && { filter }),
    endpoint: {
      id: digest([
        bareUrl.href,
        timeout,
        Number(disableAfter ?? 0),
        ...(isSecret ? [stretched(secrets, bareUrl)] : []),
      ]),
      url: bareUrl,
      ...credentials,
      headers,
      ...(tls && { tls }),
      timeoutMs: timeout * 1000,
      ...(disableAfter !== undefined && { disableAfter: Number(disableAfter) }),
    },
  }
}

/** The first value that is not of the form's type. `null` is an empty field. */
function findMistyped(value: unknown, schema: FormSchema | undefined, path: string): Problem | undefined {
  if (value === undefined || value === null || schema === undefined) {
    return undefined
  }
  if (typeof value !== schema.type) {
    return { path, expected: `a value of type ${schema.type}`, got: `one of type ${typeof value}` }
  }
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    const found = findMistyped((value as Record<string, unknown>)[key], child, `${path}.${key}`)
    if (found !== undefined) {
      return found
    }
  }
  return undefined
}

/**
 * The first pattern that matches neither an API method nor another event; those that leave something out count too, as
 * they may be misspelt.
 */
export function unknownPattern({ include, exclude }: MethodPatterns, methods: readonly string[]): string | undefined {
  const names = [...methods, ...EVENT_NAMES]
  // actions of the REST API that are not known yet are called `rest.` and something
  return [...include, ...exclude].find(
    pattern => !pattern.startsWith('rest.') && !names.some(name => isMatch(pattern, name))
  )
}

function parseUrl(text: string): URL | undefined {
  if (!URL.canParse(text)) {
    return undefined
  }
  const url = new URL(text)
  return url.protocol === 'http:' || url.protocol === 'https:' ? url : undefined
}

function withoutUserInfo(url: URL): URL {
  const bare = new URL(url)
  bare.username = ''
  bare.password = ''
  return bare
}

/** Credentials in a URL go into a header: the URL is shown and logged in parts, the header never. */
function authorizationOf({ username, password }: URL): string[] {
  return username === '' && password === ''
    ? []
    : ['Authorization', basicAuthorization(decoded(username), decoded(password))]
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a `%` that encodes nothing is a `%`
  }
}

/** Of a text that was meant to be a URL, what is shown to nobody's harm: scheme and host. */
function withoutSecrets(text: string): string {
  if (text === '') {
    return 'nothing'
  }
  const shown = text.includes('@')
    ? ''
    : (/^([a-z][a-z0-9+.-]*:\/+)?[^/?#\\:\s]*(:\d+(?=[/?#\\]|$))?/i.exec(text)?.[0] ?? '')
  if (shown === text) {
    return JSON.stringify(shown)
  }
  return shown === '' ? 'something else, not shown' : `${JSON.stringify(shown)} and more that is not shown`
}

function problem(path: string, expected: string, got: unknown): Problem {
  return { path, expected, got: got === '' ? 'nothing' : JSON.stringify(got).slice(0, 100) }
}

function oneOf(values: readonly string[]): string {
  return `one of ${values.map(value => `"${value}"`).join(', ')}`
}

/** One of the form's optional groups. */
function groupOf(item: Record<string, unknown>, name: string): Record<string, unknown> {
  const group = item[name]
  return isRecord(group) ? group : {}
}

function digest(parts: readonly (string | number)[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 16)
}

/** So that nobody who gets to see an endpoint's id finds a weak secret by trying: some milliseconds for each try. */
function stretched(secrets: unknown, { href }: URL): string {
  return scryptSync(JSON.stringify(secrets), href, 16, { N: 1024 }).toString('base64url')
}
