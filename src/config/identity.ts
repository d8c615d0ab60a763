/**
 * Which hook is which. What waits to be sent belongs to a hook's id, and so do its secrets: the id follows the hook
 * however its configuration is edited, and never moves to another one.
 *
 * The order in which the parts are used (`Known` is what is known of the hooks so far):
 *
 * 1. At boot, `configure(raw)` comes before the data directory is known: `parsed = parseConfig(raw)`, and nothing else.
 * 2. `load()`: `known = await loadKnown(directory)`, within a bound; {@link nothingKnown} if it takes longer. Then
 *    `ids = identify(itemsOf(raw), known)` and `settingsOf(parsed, ids, known)`; those settings are used.
 *    `known = knownOf(raw, ids, known.key)` is kept, and written by `saveKnown`, within a bound.
 * 3. A later `configure(raw)`: `ids = identify(itemsOf(raw), known)`; then `mendSecrets` gives each hook its own secrets back;
 *    what that returns is parsed, strictly. If nothing is wrong, as in 2: settings, `known`, `saveKnown`.
 * 4. If secrets were mended, xo-server saves the wrong ones nevertheless: it saves what it passed to `configure()`, once that
 *    has settled. `known` is then made with the hooks that were mended as `pending`, and `withIds(config, ids)` is given to
 *    `xo.configurePlugin` once xo-server has saved; `known` without `pending` is written only when that has settled. If
 *    xo-server ends in between, 2 finds hooks with another one's secret, and leaves those out.
 */

import { createHash, createHmac, randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { DEFAULT_FORMAT, DEFAULT_TYPE } from './form.ts'
import { itemsOf } from './hook.ts'
import type { Hook } from './hook.ts'
import { isHiddenName } from './stray-secrets.ts'
import { isRecord, textOf, trimmedOf } from '../values.ts'

/** What is known of the hooks of a configuration. Holds no text of it: keyed digests. */
export interface Known {
  /** Of the digests, and of the ids of endpoints. Random, and the same for as long as the file lives. */
  readonly key: string
  readonly hooks: readonly KnownHook[]
}

/** By what a hook is recognised. All but `id` are digests; `''`: it has none. */
export interface KnownHook {
  readonly id: string
  readonly name: string
  /** Without user and password. */
  readonly url: string
  readonly method: string
  /** Type, format, status, content, limits… */
  readonly rest: string
  /** How the receiver lets it in, but for what xo-server hides. Not written to disk. */
  readonly access?: string
  /**
   * The beginning of its endpoint's id. Only while the saved configuration may hold another hook's secrets in this one: see
   * {@link knownOf}.
   */
  readonly endpoint?: string
}

export function nothingKnown(): Known {
  return { key: randomBytes(16).toString('base64url'), hooks: [] }
}

type Item = Readonly<Record<string, unknown>>
type Marks = Omit<KnownHook, 'id' | 'endpoint'>

/** A hook that has no id yet, or a known one that no item has been found for. */
interface Candidate {
  /** In the configuration, or among the known. */
  readonly index: number
  readonly marks: Marks
}

/**
 * The ids of hooks, one for each item of a configuration; `''` for an item that is no hook.
 *
 * A hook has the `id` that its item holds. Without one, it has that of the known hook which it is: the one with the same name
 * and URL, else the same URL, else the same name. Where that leaves several, those that have more in common come first;
 * where it still leaves as many hooks as known ones, they go by their order, and otherwise nobody can tell, and they are
 * new. What is new gets an id made from its content, and from how many like it stand before it: the same at each boot.
 *
 * Of two hooks at one URL with methods x and y, the first is removed: the second has the URL and method of a known one, and
 * keeps its id. Two hooks swap their names: both have the URL of a known one, and keep their ids.
 *
 * Pure, and never throws.
 */
export function identify(items: readonly unknown[], known: Known): string[] {
  const ids = items.map(() => '')
  const marks = items.map(item => (isRecord(item) ? marksOf(item, known.key) : undefined))
  const isFound = known.hooks.map(() => false)
  const places = new Map(known.hooks.map(({ id }, index) => [id, index]))

  const byStoredId = grouped(items.keys(), index => storedIdOf(items[index]))
  for (const [id, indices] of byStoredId) {
    const place = places.get(id)
    if (place === undefined) {
      ids[indices[0]!] = id
    } else {
      // an item that was copied has the id of its original
      ids[closest(indices, index => marks[index]!, known.hooks[place]!)] = id
      isFound[place] = true
    }
  }

  for (const step of stepsFor(known)) {
    const unknown = candidates(marks, index => ids[index] === '')
    const missing = candidates(known.hooks, index => isFound[index] === false)
    if (unknown.length === 0 || missing.length === 0) {
      break
    }
    const missingByKey = grouped(missing, ({ marks: each }) => keyOf(each, step))
    for (const [key, hooks] of grouped(unknown, ({ marks: each }) => keyOf(each, step))) {
      const others = missingByKey.get(key) ?? []
      for (let n = 0; n < pairsOf(hooks.length, others.length, step); ++n) {
        const { index } = others[n]!
        ids[hooks[n]!.index] = known.hooks[index]!.id
        isFound[index] = true
      }
    }
  }

  // what waits for a hook that has just been removed is not a new one's
  const taken = new Set([...byStoredId.keys(), ...known.hooks.map(({ id }) => id)])
  const alike = new Map<string, number>()
  for (const [index, item] of items.entries()) {
    if (ids[index] === '' && isRecord(item)) {
      ids[index] = newId(item, taken, alike)
      taken.add(ids[index])
    }
  }
  return ids
}

/** Properties that two hooks have in common. */
interface Step {
  readonly fields: readonly (keyof Marks)[]
  readonly hasName: boolean
  readonly hasUrl: boolean
  /** All but the name and URL. */
  readonly hasRest: boolean
}

/** What two hooks may have in common besides their name and URL, from the most to the least. */
const MORE: readonly (readonly (keyof Marks)[])[] = [
  ['method', 'rest', 'access'],
  ['method', 'rest'],
  ['method', 'access'],
  ['rest', 'access'],
  ['method'],
  ['rest'],
  ['access'],
  [],
]

/** From the most that two hooks can have in common to the least by which one is still recognised. */
function stepsFor(known: Known): Step[] {
  const isAccessKnown = known.hooks.some(({ access }) => access !== undefined)
  const more = MORE.filter(fields => isAccessKnown || !fields.includes('access'))
  const bases: (keyof Marks)[][] = [['name', 'url'], ['url'], ['name']]
  return bases.flatMap(base =>
    more.map(fields => ({
      fields: [...base, ...fields],
      hasName: base.includes('name'),
      hasUrl: base.includes('url'),
      hasRest: fields === more[0],
    }))
  )
}

/** `undefined`: a hook that cannot be recognised by this. One without a name is by all that it has but its URL. */
function keyOf(marks: Marks, { fields, hasUrl, hasRest }: Step): string | undefined {
  if (!hasUrl && marks.name === '' && !hasRest) {
    return undefined
  }
  return fields.map(field => marks[field] ?? '').join(' ')
}

/** How many of some hooks are the known ones with the same key, each in their order; 0 where nobody can tell. */
function pairsOf(hooks: number, known: number, { hasName, hasUrl, hasRest }: Step): number {
  if (hooks === known) {
    return known
  }
  if (hasName && hasUrl && hasRest) {
    return Math.min(hooks, known) // they have all in common: any of them is as good as another
  }
  return hasName && hasUrl && hooks > known ? known : 0 // a copy is added behind its original
}

function candidates(marks: readonly (Marks | undefined)[], isWanted: (index: number) => boolean): Candidate[] {
  return marks.flatMap((each, index) => (each !== undefined && isWanted(index) ? [{ index, marks: each }] : []))
}

/** Of some items, the first of those that have most in common with a known hook. */
function closest(indices: readonly number[], marksAt: (index: number) => Marks, hook: KnownHook): number {
  const fields = ['url', 'name', 'method', 'rest', 'access'] as const
  const common = (index: number) => fields.filter(field => marksAt(index)[field] === hook[field]).length
  return indices.reduce((best, index) => (common(index) > common(best) ? index : best))
}

function grouped<T>(values: Iterable<T>, keyOfValue: (value: T) => string | undefined): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const value of values) {
    const key = keyOfValue(value)
    if (key !== undefined) {
      const group = groups.get(key)
      if (group === undefined) {
        groups.set(key, [value])
      } else {
        group.push(value)
      }
    }
  }
  return groups
}

/** What a program may have stored there before there were ids is none of ours: it is no id unless it looks like one. */
function storedIdOf(item: unknown): string | undefined {
  const id = isRecord(item) ? textOf(item['id']) : undefined
  return id !== undefined && /^[\w-]{1,64}$/.test(id) ? id : undefined
}

/** @param alike - how many were tried of those that have the same content; is counted on */
function newId(item: Item, taken: ReadonlySet<string>, alike: Map<string, number>): string {
  const [name, method] = [trimmedOf(item['name']), trimmedOf(item['method'])]
  const url = trimmedOf(item['url'])
  const type = trimmedOf(item['type']) || DEFAULT_TYPE
  const format = trimmedOf(item['format']) || DEFAULT_FORMAT
  const content = name !== '' ? ['name', name] : ['hook', method, type, format, urlOf(url)?.href ?? url]
  const first = createHash('sha256').update(JSON.stringify(content)).digest('base64url').slice(0, 16)
  let tried = alike.get(first) ?? 0
  let id: string
  do {
    id = ++tried === 1 ? first : `${first}-${tried}`
  } while (taken.has(id))
  alike.set(first, tried)
  return id
}

function urlOf(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}

function marksOf(item: Item, key: string): Marks {
  const { name, url: text, method, id: _, authentication, tls, ...rest } = item
  const url = urlOf(trimmedOf(text))
  const user = url === undefined ? [] : [url.username, url.password]
  if (url !== undefined) {
    url.username = ''
    url.password = ''
  }
  const mark = (field: string, value: unknown) =>
    createHmac('sha256', key)
      .update(`${field} ${textIn(value)}`)
      .digest('base64url')
      .slice(0, 16)
  return {
    name: trimmedOf(name) === '' ? '' : mark('name', trimmedOf(name)),
    url: mark('url', url?.href ?? trimmedOf(text)),
    method: mark('method', trimmedOf(method)),
    rest: mark('rest', rest),
    access: mark('access', [user, authentication, tls]),
  }
}

/** JSON that says the same for the same, in whatever order it stands; without what is empty, and what xo-server hides. */
function textIn(value: unknown): string {
  return (
    JSON.stringify(value, (key, each: unknown) => {
      if (isHiddenName(key) || each === null || each === '') {
        return undefined
      }
      return isRecord(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each
    }) ?? ''
  )
}

/**
 * What is known of a configuration's hooks from now on.
 *
 * @param pending - hooks that have been given their own secret back, while the saved configuration may still hold another one's
 */
export function knownOf(config: unknown, ids: readonly string[], key: string, pending: readonly Hook[] = []): Known {
  const endpoints = new Map(pending.map(({ id, route }) => [id, startOf(route.endpoint.id)]))
  const hooks = itemsOf(config).flatMap((item, index) => {
    const id = ids[index]
    if (!isRecord(item) || id === undefined || id === '') {
      return []
    }
    const endpoint = endpoints.get(id)
    return [{ id, ...marksOf(item, key), ...(endpoint !== undefined && { endpoint }) }]
  })
  return { key, hooks }
}

/** Enough to tell two endpoints apart, and too little to find a secret by trying. */
function startOf(endpointId: string): string {
  return endpointId.slice(0, 4)
}

/** Tells of a hook whether it goes where it should, with its own secrets, as far as that is in doubt: see {@link knownOf}. */
export function recogniser(known: Known): (hook: Hook) => boolean {
  const endpoints = new Map(known.hooks.map(({ id, endpoint }) => [id, endpoint]))
  return ({ id, route }) => {
    const endpoint = endpoints.get(id)
    return endpoint === undefined || endpoint === startOf(route.endpoint.id)
  }
}

/** The same configuration with each hook's id written in. */
export function withIds(config: unknown, ids: readonly string[]): unknown {
  if (!isRecord(config) || itemsOf(config).length === 0) {
    return config
  }
  const hooks = itemsOf(config).map((item, index) =>
    isRecord(item) && ids[index] ? { ...item, id: ids[index] } : item
  )
  return { ...config, hooks }
}

const FILE = 'known-hooks.json'
const VERSION = 1
const MAX_BYTES = 16 * 1024 * 1024

/**
 * What {@link saveKnown} has written to a folder. A file that is missing, of a later version, or not as it should be: nothing is
 * known. Never rejects; takes as long as the disk does.
 */
export async function loadKnown(directory: string): Promise<Known> {
  try {
    const file = await open(join(directory, FILE))
    try {
      const { size } = await file.stat()
      return (size <= MAX_BYTES ? readKnown(JSON.parse(await file.readFile('utf8'))) : undefined) ?? nothingKnown()
    } finally {
      await file.close()
    }
  } catch {
    return nothingKnown()
  }
}

function readKnown(value: unknown): Known | undefined {
  if (!isRecord(value) || value['version'] !== VERSION || !Array.isArray(value['hooks'])) {
    return undefined
  }
  const key = textOf(value['key'])
  const hooks = value['hooks'].map(readHook).filter(hook => hook !== undefined)
  return key === undefined || key === '' || hooks.length < value['hooks'].length ? undefined : { key, hooks }
}

function readHook(value: unknown): KnownHook | undefined {
  if (!isRecord(value)) {
    return undefined
  }
  const [id, name, url, method, rest] = ['id', 'name', 'url', 'method', 'rest'].map(key => textOf(value[key]))
  if (id === undefined || name === undefined || url === undefined || method === undefined || rest === undefined) {
    return undefined
  }
  const endpoint = textOf(value['endpoint'])
  return { id, name, url, method, rest, ...(endpoint !== undefined && { endpoint }) }
}

/**
 * Writes what is known to a folder, whole or not at all. One at a time: of two, the one that the disk takes last stays.
 *
 * Rejects if the disk does not take it; takes as long as the disk does.
 */
export async function saveKnown(directory: string, { key, hooks }: Known): Promise<void> {
  const path = join(directory, FILE)
  const written = `${path}.${randomBytes(6).toString('hex')}`
  const plain = hooks.map(({ access: _, ...hook }) => hook)
  try {
    const file = await open(written, 'wx', 0o600)
    try {
      await file.writeFile(JSON.stringify({ version: VERSION, key, hooks: plain }))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(written, path)
  } catch (error) {
    await rm(written, { force: true }).catch(() => undefined)
    throw error
  }
}
