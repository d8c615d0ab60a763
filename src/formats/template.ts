import { payloadOf } from './format.ts'
import type { Format, Material, Mistake } from './format.ts'
import { MistakeError, readSource } from './json-source.ts'
import type { Node } from './json-source.ts'
import { jsonOf } from './json.ts'
import { cut } from './text.ts'
import { durationText } from './words.ts'
import { isRecord, numberOf, textOf } from '../values.ts'

/**
 * A body of the administrator's own: a JSON tree with `{{path | filter}}` in its strings, which is JSON whatever the event
 * holds, as what is filled in is a value and never read again; or, where it does not begin with `{` or `[`, or begins with a
 * placeholder, a plain text.
 */
export const template: Format = {
  title: 'Template',
  url: {
    example: 'https://splunk.example.org:8088/services/collector/event',
    problem: ({ hostname }) => (hostname.includes('{') ? 'no placeholder but in its path and query' : undefined),
    normalise: url => ({ url: withPlaces(url) }),
  },
  fillsUrl: true,
  tellsObject: true,
  template: mistakeIn,
  build(material, { template: text = '', places = [] }) {
    const data = dataOf(material)
    const value = filler(text)(data)
    const payload = isJson(text)
      ? payloadOf('application/json', JSON.stringify(value))
      : payloadOf('text/plain; charset=utf-8', asText(value))
    return places.length === 0
      ? payload
      : { ...payload, fills: Object.fromEntries(places.map(place => [place, fillOfPlace(place, data)])) }
  },
}

/** Placeholders as URLs have them: `URL` encodes braces in a path, and leaves them alone in a query. */
function withPlaces(url: URL): URL {
  const { origin, pathname, search } = url
  const encoded = (pathname + search).replace(/(?:\{|%7B){2}(.*?)(?:\}|%7D){2}/gi, (whole, inner: string) => {
    try {
      return `%7B%7B${encodeURIComponent(decodeURIComponent(inner).trim())}%7D%7D`
    } catch {
      return whole
    }
  })
  return new URL(origin + encoded)
}

/** A part of a path, or of a query, and no more: it begins no other part, nor does it lead upwards. */
function fillOfPlace(place: string, data: Data): string {
  const text = cut(asText(filler(decodeURIComponent(place))(data)).toWellFormed(), MAX_FILL)
  return /^\.+$/.test(text) ? '' : encodeURIComponent(text)
}

const MAX_LENGTH = 64 * 1024
const MAX_FILL = 500

function isJson(text: string): boolean {
  return /^\s*(?:\[|\{(?!\{))/.test(text)
}

/** The first mistake of a template; `undefined`: it has none. */
function mistakeIn(text: string): Mistake | undefined {
  try {
    filler(text)
    return undefined
  } catch (error) {
    if (error instanceof MistakeError) {
      return error.mistake
    }
    throw error
  }
}

/** What a template, or a part of it, comes to with an event. */
type Fill = (data: Data) => unknown

/** Of the templates that were used last: those of the hooks. */
const fillers = new Map<string, Fill>()
const MAX_FILLERS = 100

/** @throws MistakeError */
function filler(text: string): Fill {
  let fill = fillers.get(text)
  if (fill === undefined) {
    if (text.length > MAX_LENGTH) {
      throw new MistakeError(text, MAX_LENGTH, `at most ${MAX_LENGTH} characters`, 'more')
    }
    fill = isJson(text) ? fillOf(readSource(text), text) : textFill(partsOf(text, text, 0, text.length))
    if (fillers.size >= MAX_FILLERS) {
      fillers.clear()
    }
    fillers.set(text, fill)
  }
  return fill
}

function fillOf(node: Node, source: string): Fill {
  switch (node.kind) {
    case 'string': {
      const parts = partsOf(node.value, source, node.start, node.end)
      const [first] = parts
      return parts.length === 1 && typeof first === 'object' ? data => valueOf(first, data) : textFill(parts)
    }
    case 'list': {
      const items = node.items.map(item => fillOf(item, source))
      return data => items.map(fill => fill(data))
    }
    case 'object': {
      const entries = node.entries.map(([key, value, at]) => {
        if (key.includes('{{')) {
          throw new MistakeError(source, at, 'a name without placeholders, which stand in values only')
        }
        return [key, fillOf(value, source)] as const
      })
      return data => Object.fromEntries(entries.map(([key, fill]) => [key, fill(data)]))
    }
    case 'constant':
      return () => node.value
    default:
      return node satisfies never
  }
}

function textFill(parts: readonly Part[]): Fill {
  return data => parts.map(part => (typeof part === 'string' ? part : asText(valueOf(part, data)))).join('')
}

/** What stands between braces. */
interface Placeholder {
  readonly path: readonly string[]
  readonly filters: readonly Filter[]
}

interface Filter {
  readonly name: string
  readonly argument: string
}

type Part = string | Placeholder

const PLACEHOLDER = /\{\{([^{}]*)\}\}/g
const PATH = /^[\w$-]+(?:\.[\w$-]+)*$/

/**
 * Texts and placeholders in turn.
 *
 * @param source - the template, in which the text stands, with escapes, from `start` to `end`
 * @throws MistakeError
 */
function partsOf(text: string, source: string, start: number, end: number): Part[] {
  if (!text.includes('{{')) {
    return [text]
  }
  const parts: Part[] = []
  let done = 0
  let at = start
  for (const found of text.matchAll(PLACEHOLDER)) {
    at = source.indexOf('{{', at)
    const between = text.slice(done, found.index)
    checkClosed(between, source, at)
    if (between !== '') {
      parts.push(between)
    }
    parts.push(placeholderOf(found[1]!, source, at))
    done = found.index + found[0].length
    at += 2
  }
  const rest = text.slice(done)
  checkClosed(rest, source, Math.min(end, Math.max(at, source.indexOf('{{', at))))
  return rest === '' ? parts : [...parts, rest]
}

function checkClosed(text: string, source: string, at: number): void {
  if (text.includes('{{')) {
    throw new MistakeError(source, at, 'a placeholder like {{object.name}} or {{user | default:nobody}}')
  }
}

function placeholderOf(text: string, source: string, at: number): Placeholder {
  const [path = '', ...filters] = text.split('|').map(each => each.trim())
  if (!PATH.test(path)) {
    throw new MistakeError(source, at, 'a path like object.name', path === '' ? 'nothing' : JSON.stringify(path))
  }
  checkPath(path.split('.'), source, at)
  return { path: path.split('.'), filters: filters.map(each => filterOf(each, source, at)) }
}

function filterOf(text: string, source: string, at: number): Filter {
  const [, name = '', argument] = /^(\w*)(?::(.*))?$/s.exec(text) ?? []
  const known = Object.hasOwn(FILTERS, name) ? FILTERS[name as keyof typeof FILTERS] : undefined
  if (known === undefined) {
    throw new MistakeError(source, at, `one of the filters ${Object.keys(FILTERS).join(', ')}`, JSON.stringify(text))
  }
  if (!known.takes(argument)) {
    throw new MistakeError(source, at, `the filter as in "${known.example}"`, JSON.stringify(text))
  }
  return { name, argument: argument ?? '' }
}

interface FilterKind {
  readonly example: string
  takes(argument: string | undefined): boolean
  apply(value: unknown, argument: string): unknown
}

const takesNone = (argument: string | undefined): boolean => argument === undefined

const FILTERS = {
  default: {
    example: 'default:nobody',
    takes: argument => argument !== undefined,
    apply: (value, argument) => (value === null || value === '' ? argument : value),
  },
  map: {
    example: 'map:success=0,failure=2,*=3',
    takes: argument => argument !== undefined && argument.split(',').every(pair => pair.includes('=')),
    apply(value, argument) {
      const pairs = argument
        .split(',')
        .map(pair => [pair.slice(0, pair.indexOf('=')).trim(), pair.slice(pair.indexOf('=') + 1).trim()])
      const text = asText(value)
      const [, to] = pairs.find(([from]) => from === text) ?? pairs.find(([from]) => from === '*') ?? []
      return to === undefined
        ? value
        : /^(?:-?\d+(?:\.\d+)?|true|false|null)$/.test(to)
          ? (JSON.parse(to) as unknown)
          : to
    },
  },
  date: {
    example: 'date:iso (or unix, ms, ns)',
    takes: argument => argument !== undefined && /^(?:iso|unix|ms|ns)$/.test(argument),
    apply(value, argument) {
      const ms = numberOf(value)
      if (ms === undefined || Math.abs(ms) > 8.64e15) {
        return null
      }
      switch (argument) {
        case 'iso':
          return new Date(ms).toISOString()
        case 'unix':
          return Math.floor(ms / 1000)
        case 'ns':
          // more digits than a number has
          return String(BigInt(Math.floor(ms)) * 1_000_000n)
        default:
          return ms
      }
    },
  },
  duration: {
    example: 'duration',
    takes: takesNone,
    apply: value => (numberOf(value) === undefined ? null : durationText(numberOf(value)!)),
  },
  cut: {
    example: 'cut:200',
    takes: argument => argument !== undefined && /^[1-9]\d{0,5}$/.test(argument),
    apply: (value, argument) => cut(asText(value), Number(argument)),
  },
  lines: {
    example: 'lines',
    takes: takesNone,
    apply: value => (Array.isArray(value) ? value.map(lineOfItem).join('\n') : asText(value)),
  },
  url: { example: 'url', takes: takesNone, apply: value => encodeURIComponent(asText(value).toWellFormed()) },
  json: { example: 'json', takes: takesNone, apply: value => JSON.stringify(value) },
  text: { example: 'text', takes: takesNone, apply: value => asText(value) },
  upper: { example: 'upper', takes: takesNone, apply: value => asText(value).toUpperCase() },
  lower: { example: 'lower', takes: takesNone, apply: value => asText(value).toLowerCase() },
} satisfies Readonly<Record<string, FilterKind>>

function lineOfItem(item: unknown): string {
  return isRecord(item) && textOf(item['name']) !== undefined && textOf(item['message']) !== undefined
    ? `${textOf(item['name'])}: ${textOf(item['message'])}`
    : asText(item)
}

function asText(value: unknown): string {
  if (value === null || value === undefined) {
    return ''
  }
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

type Data = Readonly<Record<string, unknown>>

function valueOf({ path, filters }: Placeholder, data: Data): unknown {
  let value: unknown = data
  for (const key of path) {
    const isThere = typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    value = isThere ? (value as Data)[key] : null
  }
  return filters.reduce<unknown>((filtered, { name, argument }) => {
    const filter: FilterKind = FILTERS[name as keyof typeof FILTERS]
    return filter.apply(filtered, argument)
  }, value ?? null)
}

/** What placeholders find. What is costly to make is made when one asks for it. */
function dataOf({ event, message, object: objectJson, instance }: Material): Data {
  const { title, text, tone, emoji, colour, method, user, duration, error, details, failures, failureCount } = message
  return {
    ...{ title, text, tone, emoji, colour, method, user, duration, error, details, failures, failureCount },
    outcome: event.outcome,
    phase: event.phase,
    callId: event.callId,
    at: message.at,
    key: message.key,
    link: message.links[0]?.url,
    instance: { name: message.instance, url: instance.url },
    get object() {
      const { kind, name, id } = message.object ?? {}
      const snapshot = objectJson === undefined ? { id } : (JSON.parse(objectJson) as object)
      return message.object && { ...snapshot, kind, name }
    },
    get event() {
      return JSON.parse(jsonOf(event)) as unknown
    },
  }
}

/** What an event may have: `true`: anything, which depends on the method. */
interface Paths {
  readonly [name: string]: Paths | boolean
}

function leaves(names: string): Paths {
  return Object.fromEntries(names.split(' ').map(name => [name, false]))
}

const OBJECT: Paths = {
  ...leaves(
    'id uuid type kind name name_label name_description power_state mainIpAddress address enabled size physical_usage'
  ),
  ...{ tags: true, addresses: true, VIFs: true },
  ...{ pool: leaves('id name_label'), host: leaves('id name_label'), snapshot_of: leaves('id name_label') },
  ...{ SR: leaves('id name_label'), CPUs: leaves('number max'), memory: leaves('size') },
}

const PATHS: Paths = {
  ...leaves(
    'title text tone emoji colour method user duration error details failureCount outcome phase callId at key link'
  ),
  failures: true,
  instance: leaves('name url'),
  object: OBJECT,
  event: {
    ...leaves('callId userId userName userIp method timestamp duration type test'),
    ...{ params: true, result: true, error: true, before: true, after: true, omitted: true },
    run: leaves('id jobId jobName scheduleId status size'),
    object: OBJECT,
  },
}

/** @throws MistakeError for a path that no event has */
function checkPath(path: readonly string[], source: string, at: number): void {
  let paths: Paths | boolean = PATHS
  for (const [depth, name] of path.entries()) {
    if (paths === true) {
      return
    }
    const known: Paths = paths === false ? {} : paths
    if (!Object.hasOwn(known, name)) {
      const nearest = nearestTo(path.join('.'), [...allPaths(PATHS)])
      const got = JSON.stringify(path.slice(0, depth + 1).join('.'))
      throw new MistakeError(source, at, `a path that events have (did you mean ${nearest}?)`, got)
    }
    paths = known[name]!
  }
}

function* allPaths(paths: Paths, prefix = ''): Generator<string> {
  for (const [name, below] of Object.entries(paths)) {
    yield prefix + name
    if (typeof below === 'object') {
      yield* allPaths(below, `${prefix}${name}.`)
    }
  }
}

function nearestTo(text: string, known: readonly string[]): string {
  const distances = known.map(each => [distance(text.toLowerCase(), each.toLowerCase()), each] as const)
  return distances.reduce((best, next) => (next[0] < best[0] ? next : best))[1]
}

/** How many characters have to be changed, added or taken away (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length && i <= 100; ++i) {
    const next = [i]
    for (let j = 1; j <= b.length; ++j) {
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row.at(-1)!
}
