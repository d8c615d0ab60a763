import { createHmac } from 'node:crypto'

import { basicAuthorization, parseAuthentication } from './authentication.ts'
import { DEFAULT_FORMAT, DEFAULT_TIMEOUT_S, DEFAULT_TYPE } from './form.ts'
import { HOOK_SCHEMA, MAX_TIMEOUT_S, PHASES, STATUSES } from './form.ts'
import type { FormSchema } from './form.ts'
import { itemsOf, ProblemError, wrong } from './hook.ts'
import type { Hook, Settings } from './hook.ts'
import { recogniser } from './identity.ts'
import type { Known } from './identity.ts'
import { neverFires, refusalProblems, suggestionFor, unknownPatterns } from './methods.ts'
import { groupOf, parseService } from './service.ts'
import { findPlaceholder } from './stray-secrets.ts'
import { parseTls } from './tls.ts'
import type { Endpoint, Route } from '../delivery/delivery.ts'
import type { Instance, PlainHook } from '../engine/engine.ts'
import { EVENT_FIELDS } from '../event/event.ts'
import { missingProperty, parseFilter } from '../filter.ts'
import { formats } from '../formats/index.ts'
import { parsePatterns } from '../matcher.ts'
import type { MethodPatterns } from '../matcher.ts'
import type { Problem } from '../problem.ts'
import { isRecord, listOf, trimmedOf } from '../values.ts'

/** What a configuration comes to: what can be used of it, and what is wrong with the rest. */
export interface ParsedConfig {
  /** One for each item of `hooks`; `undefined` for one that is not filled in yet. */
  readonly items: readonly (ParsedItem | undefined)[]
  readonly notify: readonly string[]
  readonly instance: Instance
  /** Each stands for a hook that cannot be used, or for another value. A disabled one is no problem, whatever is wrong with it. */
  readonly problems: readonly Problem[]
  /** Nothing wrong, but an administrator should know. */
  readonly warnings: readonly string[]
}

export interface ParsedItem {
  readonly name: string
  /** Absent: something is wrong with it. */
  readonly hook?: ParsedHook
}

/** A hook of which it is not known yet which one it is. */
export interface ParsedHook extends Omit<Hook, 'id' | 'route'> {
  readonly route: Omit<Route, 'endpoint'> & { readonly endpoint: Omit<Endpoint, 'id'> }
}

/**
 * Reads a configuration. Never throws: what is wrong with a hook is a problem, and the hook is left out.
 *
 * @param raw - what the host passes to `configure()`, validated by the schema of `form.ts`
 * @param knownMethods - to find patterns that match none of them; without, they are not looked for
 */
export function parseConfig(raw: unknown, knownMethods?: readonly string[]): ParsedConfig {
  const problems: Problem[] = []
  const warnings: string[] = []
  const items = itemsOf(raw).map((item, index): ParsedItem | undefined => {
    if (!isRecord(item)) {
      return undefined
    }
    const path = `hooks[${index}]`
    const reading = parseHook(item, path, knownMethods)
    if ('hook' in reading) {
      const { hook } = reading
      if (hook.route.isPaused !== true) {
        warnings.push(...reading.warnings.map(warning => `${path} (${hook.name}): ${warning}`))
      }
      return { name: hook.name, hook }
    }
    const name = (trimmedOf(item['name']) || trimmedOf(item['method'])).slice(0, 100)
    if (item['disabled'] !== true) {
      problems.push(...reading.problems.map(problem => (name === '' ? problem : { ...problem, hook: name })))
    }
    return { name }
  })
  const addresses = isRecord(raw) ? listOf(raw['notify']) : []
  const notify = addresses.map(trimmedOf).filter(address => address !== '')
  const { instance, problem } = parseInstance(isRecord(raw) ? raw : {})
  return { items, notify, instance, problems: [...problems, ...(problem ? [problem] : [])], warnings }
}

function parseInstance(raw: Item): { instance: Instance; problem?: Problem } {
  const name = trimmedOf(raw['instanceName'])
  const text = trimmedOf(raw['instanceUrl'])
  const named = name === '' ? {} : { name }
  const url = parseUrl(text)
  if (url === undefined) {
    const problem = { path: 'instanceUrl', expected: 'an http:// or https:// URL', got: withoutSecrets(text) }
    return text === '' ? { instance: named } : { instance: named, problem }
  }
  return { instance: { ...named, url: (url.origin + url.pathname).replace(/\/+$/, '') } }
}

/**
 * The settings that a parsed configuration comes to, now that it is known which hook is which.
 *
 * @param ids - of its items, by `identify`
 * @param known - what `identify` was given: its key makes the ids of endpoints
 * @returns `problems`: hooks of which the saved configuration holds another one's secret, see `knownOf`
 */
export function settingsOf(
  { items, notify, instance }: ParsedConfig,
  ids: readonly string[],
  known: Known
): { settings: Settings; problems: readonly Problem[] } {
  const isItself = recogniser(known)
  const hooks: Hook[] = []
  const others: PlainHook[] = []
  const problems: Problem[] = []
  for (const [index, item] of items.entries()) {
    const id = ids[index]
    if (item === undefined || id === undefined) {
      continue
    }
    const hook = item.hook && identified(item.hook, id, known.key)
    if (hook !== undefined && isItself(hook)) {
      hooks.push(hook)
      continue
    }
    others.push(unusable(id, item.name, known.key))
    if (hook !== undefined) {
      const expected = 'its own secrets, typed again (xo-server stopped before it had saved them)'
      problems.push({ path: `hooks[${index}]`, hook: hook.name.slice(0, 100), expected, got: 'those of another hook' })
    }
  }
  return { settings: { hooks, others, notify, instance }, problems }
}

function identified({ route, ...hook }: ParsedHook, id: string, key: string): Hook {
  return { ...hook, id, route: { ...route, endpoint: withId(route.endpoint, key) } }
}

/** It can be kept waiting for, and nothing more. Names under `.invalid` lead nowhere (RFC 6761). */
function unusable(id: string, name: string, key: string): PlainHook {
  const endpoint = withId({ url: 'http://unusable.invalid/', headers: [] }, key)
  const route = { endpoint, timeoutMs: DEFAULT_TIMEOUT_S * 1000, isPaused: true }
  return { id, name, format: DEFAULT_FORMAT, includeObject: false, route }
}

/** The key is random and stays in xo-server's data directory: without it, an id is of no use to whoever guesses at secrets. */
function withId(endpoint: Omit<Endpoint, 'id'>, key: string): Endpoint {
  const { url, headers, secrets = '', tls = null, host, contentType, method, target, bodySecret, service } = endpoint
  // without these, ids stay what they were
  const named = host === undefined && contentType === undefined ? [] : [host ?? '', contentType ?? '']
  const served = { method, target, bodySecret, service }
  const isPlain = Object.values(served).every(value => value === undefined)
  const text = JSON.stringify([url, headers, secrets, tls, ...named, ...(isPlain ? [] : [served])])
  return { id: createHmac('sha256', key).update(`endpoint ${text}`).digest('base64url').slice(0, 16), ...endpoint }
}

type Item = Readonly<Record<string, unknown>>

/** A hook, or all that is wrong with it. */
type Reading =
  { readonly hook: ParsedHook; readonly warnings: readonly string[] } | { readonly problems: readonly Problem[] }

/** @param knownMethods - on a save, which is strict: what could never be sent is refused */
function parseHook(item: Item, path: string, knownMethods?: readonly string[]): Reading {
  const problems: Problem[] = []
  /** What a part of the hook says; `undefined`: something is wrong with it, and the rest is read all the same. */
  const read = <T>(part: () => T): T | undefined => {
    try {
      return part()
    } catch (error) {
      if (!(error instanceof ProblemError)) {
        throw error
      }
      problems.push(error.problem)
      return undefined
    }
  }
  read(() => checkTypes(item, HOOK_SCHEMA, path))
  const lost = findPlaceholder(item, path)
  if (lost !== undefined) {
    problems.push(lost)
  }
  if (problems.length > 0) {
    return { problems }
  }
  const methodText = trimmedOf(item['method'])
  const methods = read(() => parseMethods(methodText, `${path}.method`, knownMethods))
  const type = trimmedOf(item['type']) || DEFAULT_TYPE
  const phases = read(() => PHASES.get(type) ?? wrong(`${path}.type`, oneOf([...PHASES.keys()]), shown(type)))
  const statusText = trimmedOf(item['status']) || STATUSES[0]
  const status = read(
    () => STATUSES.find(each => each === statusText) ?? wrong(`${path}.status`, oneOf(STATUSES), shown(statusText))
  )
  const urlText = trimmedOf(item['url'])
  const url = read(
    () => parseUrl(urlText) ?? wrong(`${path}.url`, 'an http:// or https:// URL', withoutSecrets(urlText))
  )
  const formatText = trimmedOf(item['format']) || DEFAULT_FORMAT
  const format = read(
    () => formats.get(formatText) ?? wrong(`${path}.format`, oneOf([...formats.keys()]), shown(formatText))
  )
  if (format?.isPostOnly === true && type !== 'post') {
    read(() => wrong(`${path}.type`, `"post", as the format is "${format.title}"`, shown(type)))
  }
  const isTokenClaimed = format?.token !== undefined
  const credentials =
    format && read(() => parseAuthentication(groupOf(item, 'authentication'), `${path}.authentication`, isTokenClaimed))
  const service = format && url && read(() => parseService(formatText, withoutUserInfo(url), item, path))
  const userInfo = url === undefined ? [] : authorizationOf(url)
  if (userInfo.length > 0 && isAuthorized(credentials?.headers ?? [])) {
    const expected = 'no user and password in it besides the hook\'s "Authentication"'
    read(() => wrong(`${path}.url`, expected, withoutSecrets(urlText)))
  }
  const tlsWarnings: string[] = []
  // the hook is named before each of them
  const tls = read(() =>
    parseTls(groupOf(item, 'tls'), `${path}.tls`, text => tlsWarnings.push(text.slice(path.length + 1)))
  )
  const content = groupOf(item, 'content')
  const filter = trimmedOf(content['filter'])
  read(() => checkFilter(filter, `${path}.content.filter`, knownMethods !== undefined))
  const limits = read(() => parseLimits(groupOf(item, 'limits'), `${path}.limits`))
  const waiting = {
    waitForResponse: item['waitForResponse'] === true,
    mayRefuse: item['mayRefuse'] === true,
    refuseWhenSilent: item['refuseWhenSilent'] === true,
  }
  if (knownMethods !== undefined && methods && phases && status) {
    const isService = format?.judge !== undefined || format?.pace !== undefined
    problems.push(...useless({ methods, phases, status, ...waiting, isService }, path, knownMethods))
  }
  const isRead = methods && phases && status && credentials && service && limits && problems.length === 0
  if (!isRead) {
    return { problems }
  }
  const { endpoint, options, warnings } = service
  const hook: ParsedHook = {
    ...{ name: trimmedOf(item['name']) || methodText, methods, phases, status, format: formatText, ...waiting },
    includeObject: content['includeObject'] === true,
    ...(filter !== '' && { filter }),
    ...options,
    route: {
      endpoint: {
        ...endpoint,
        ...credentials,
        headers: [...userInfo, ...credentials.headers, ...endpoint.headers],
        ...(tls && { tls }),
      },
      ...limits,
      ...(item['disabled'] === true && { isPaused: true }),
    },
  }
  return { hook, warnings: [...warnings, ...tlsWarnings] }
}

type Uses = Pick<Hook, 'methods' | 'phases' | 'status' | 'waitForResponse' | 'mayRefuse' | 'refuseWhenSilent'> & {
  /** Its format is that of a service, which answers as it does for everybody. */
  readonly isService: boolean
}

/** What of a hook does nothing. Somebody who saves that means something else; what is loaded is left as it is. */
function useless(uses: Uses, path: string, knownMethods: readonly string[]): readonly Problem[] {
  const { phases, waitForResponse, mayRefuse, refuseWhenSilent, isService } = uses
  const hasPre = phases.includes('pre')
  const never = neverFires(uses, path, knownMethods)
  const needsPre = (field: string): Problem => ({
    path: `${path}.${field}`,
    expected: 'no tick, or the type "pre" or "pre/post": nothing waits for a "post"',
    got: 'a tick, with the type "post"',
  })
  return [
    ...(never === undefined ? [] : [never]),
    ...(waitForResponse && !hasPre ? [needsPre('waitForResponse')] : []),
    ...(mayRefuse && !hasPre ? [needsPre('mayRefuse')] : []),
    ...(mayRefuse && never === undefined ? refusalProblems(uses, path, knownMethods) : []),
    ...(mayRefuse && isService
      ? [{ path: `${path}.format`, expected: 'one whose receiver can refuse, like "json"', got: "a service's" }]
      : []),
    ...(refuseWhenSilent && !mayRefuse
      ? [{ path: `${path}.refuseWhenSilent`, expected: 'no tick, or one at "May refuse", too', got: 'a tick' }]
      : []),
  ]
}

/** More than there are methods: each is compared with all of them. */
const MAX_PATTERNS = 2_000

function parseMethods(text: string, path: string, knownMethods?: readonly string[]): MethodPatterns {
  const methods = parsePatterns(text)
  if (methods.include.length === 0) {
    wrong(path, 'the name of an API method or event, like "vm.start", or a pattern, like "vm.*"', shown(text))
  }
  const count = methods.include.length + methods.exclude.length
  if (count > MAX_PATTERNS) {
    wrong(path, `at most ${MAX_PATTERNS} names and patterns`, String(count))
  }
  const unknown = knownMethods === undefined ? [] : unknownPatterns(methods, knownMethods).slice(0, 10)
  if (knownMethods !== undefined && unknown.length > 0) {
    const hints = unknown.map(pattern => suggestionFor(pattern, knownMethods)).filter(hint => hint !== undefined)
    const expected = ['names or patterns of API methods and events that exist', ...hints].join(': ')
    wrong(path, expected, unknown.map(shown).join(', '))
  }
  return methods
}

function checkFilter(text: string, path: string, isStrict: boolean): void {
  const filter = text === '' ? undefined : parseFilter(text)
  if (filter === undefined || typeof filter === 'function') {
    const missing = filter && isStrict ? missingProperty(text, EVENT_FIELDS) : undefined
    if (missing !== undefined) {
      wrong(
        path,
        `a search for what events have: ${[...EVENT_FIELDS].join(', ')}`,
        `one for "${missing.slice(0, 100)}"`
      )
    }
    return
  }
  const { character, reason } = filter
  if (character === undefined) {
    wrong(path, `a search in XO's syntax (${reason})`, shown(text))
  }
  wrong(path, `a search in XO's syntax (character ${character}: ${reason})`, shown(text.slice(character - 1)))
}

function parseLimits(limits: Item, path: string): Pick<Route, 'timeoutMs' | 'disableAfter'> {
  const timeout = limits['timeout'] ?? DEFAULT_TIMEOUT_S
  if (typeof timeout !== 'number' || !(timeout > 0) || timeout > MAX_TIMEOUT_S) {
    wrong(`${path}.timeout`, `seconds, more than 0 and at most ${MAX_TIMEOUT_S}`, shown(timeout))
  }
  const disableAfter = limits['disableAfter'] ?? undefined
  if (disableAfter !== undefined && !(Number.isInteger(disableAfter) && Number(disableAfter) > 0)) {
    wrong(`${path}.disableAfter`, 'a whole number of deliveries, at least 1', shown(disableAfter))
  }
  return { timeoutMs: timeout * 1000, ...(disableAfter !== undefined && { disableAfter: Number(disableAfter) }) }
}

/** Each value has the type that it has in the form. `null` is an empty field. */
function checkTypes(value: unknown, schema: FormSchema | undefined, path: string): void {
  if (value === undefined || value === null || schema === undefined) {
    return
  }
  if (typeof value !== schema.type) {
    wrong(path, `a value of type ${schema.type}`, `one of type ${typeof value}`)
  }
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    checkTypes((value as Item)[key], child, `${path}.${key}`)
  }
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

function isAuthorized(headers: readonly string[]): boolean {
  return headers.some((text, index) => index % 2 === 0 && text.toLowerCase() === 'authorization')
}

/** Of a value that holds nothing secret. */
function shown(value: unknown): string {
  return value === '' ? 'nothing' : JSON.stringify(value).slice(0, 100)
}

function oneOf(values: readonly string[]): string {
  return `one of ${values.map(value => `"${value}"`).join(', ')}`
}
