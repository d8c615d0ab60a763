/**
 * What an event must not tell. The host hides strings under four names in the `params` of a call, and nothing of results
 * and errors; here its rule holds for the whole event, with more names (names.ts), a table of what no name betrays, and what
 * stands within texts (secret-text.ts). What was hidden of the params is hidden wherever it comes again (../echo.ts).
 *
 * Sources: @vates/obfuscate; packages/xo-server/src/xo-mixins/api.mjs (`#callApiMethod`), …/src/api/*.mjs.
 */

import { HIDDEN, isSecretName } from './names.ts'

/** What becomes of a value, or of what is in it, by key; `*` stands for any key and index. */
export type Mask = ((value: unknown) => unknown) | { readonly [key: string]: Mask }

/** By field of an event. */
export type Masks = Readonly<Record<string, Mask>>

function hide(value: unknown): unknown {
  return value === undefined || value === null ? value : HIDDEN
}

/**
 * The URL of a backup repository, whose user and password may hold anything, `/` and `@` too, and whose query may hold
 * the key of an encrypted one.
 *
 * Source: packages/xo-remote-parser/src/index.js
 */
function hideInRemoteUrl(value: unknown): unknown {
  if (typeof value !== 'string') {
    return hide(value)
  }
  const [, scheme, rest, query = ''] = /^((?:file|nfs):\/\/)([^?]*)(.*)$/s.exec(value) ?? []
  if (scheme !== undefined) {
    return scheme + rest + hideInQuery(query)
  }
  const parts = /^([a-z0-9+.-]+:\/\/)(.*@)?([^?]*)(.*)$/is.exec(value)
  if (parts === null) {
    return HIDDEN
  }
  return `${parts[1]}${parts[2] === undefined ? '' : `${HIDDEN}@`}${parts[3]}${hideInQuery(parts[4] ?? '')}`
}

function hideInQuery(query: string): string {
  return hideValues(query, /([?&])([^=&#?]+)=([^&#]*)/g)
}

/** Options of `mount`, where `password=…` may stand. */
function hideInMountOptions(value: unknown): unknown {
  return typeof value === 'string' ? hideValues(value, /(^|,)([^=,]+)=([^,]*)/g) : hide(value)
}

/** @param pairs - finds separator, name and value */
function hideValues(text: string, pairs: RegExp): string {
  return text.replace(pairs, (pair, separator: string, name: string, value: string) =>
    isSecretName(name) && value !== HIDDEN ? `${separator}${name}=${HIDDEN}` : pair
  )
}

const REMOTE: Mask = { url: hideInRemoteUrl, options: hideInMountOptions }

/**
 * Secrets that no name betrays: by method, then by the path in the event. What a name, `://user@` or a private key's
 * first line betrays needs no entry here.
 */
const TABLE: readonly (readonly [method: RegExp, masks: Masks])[] = [
  // api/token.mjs: a token's id is the token
  [/^token\.create$/, { result: hide }],
  [/^token\.delete/, { params: { tokens: hide, pattern: hide } }],
  [/^token\.set$/, { params: { id: hide } }],
  [/^user\.getAuthenticationTokens$/, { result: { '*': { id: hide } } }],
  // api/plugin.mjs: plugins name their secrets as they like (`webhookUri`, `bindCredentials`…)
  [/^plugin\.get$/, { result: { '*': { configuration: hide } } }],
  [/^plugin\.configure$/, { params: { configuration: hide }, error: { data: hide } }],
  [/^plugin\.test$/, { params: { data: hide }, error: { data: hide } }],
  // the plugin's own: where hooks lead is secret, and what it tells of an event is no news, and would be told of again
  [/^webHooks\.\w*Hook$/, { params: { hook: hide }, result: hide, error: { data: hide } }],
  [/^webHooks\./, { result: hide }],
  [/^rest\.\w+\.plugins\.web-hooks\b/, { params: { id: id => id, '*': hide } }],
  // api/remote.mjs
  [/^remote\./, { params: REMOTE, result: { ...REMOTE, '*': REMOTE } }],
  // api/cloud-config.mjs, api/vm.mjs: user data is where passwords and keys of guests are written
  [/^cloudConfig\./, { params: { template: hide }, result: { '*': { template: hide }, template: hide } }],
  [/^vm\.getCloudInit/, { result: hide }],
  [/^vm\.createCloudInitConfigDrive$/, { params: { config: hide, networkConfig: hide } }],
]

const NO_MASKS: Masks = {}
/** As many as there are methods of the host and actions of its REST API: some hundreds. */
const masksByMethod = new Map<string, Masks>()

/** What is hidden of an event because of its method. */
export function masksOf(method: string): Masks {
  let masks = masksByMethod.get(method)
  if (masks === undefined) {
    masks = TABLE.find(([pattern]) => pattern.test(method))?.[1] ?? NO_MASKS
    masksByMethod.set(method, masks)
  }
  return masks
}

/** The mask for one key of an object, or for the items of a list. */
export function maskAt(mask: Mask | undefined, key: string): Mask | undefined {
  if (mask === undefined || typeof mask === 'function') {
    return undefined
  }
  // keys come from anywhere: `constructor` is no mask
  return Object.hasOwn(mask, key) ? mask[key] : mask['*']
}

/** A configuration has some secrets, and a call some tokens. */
const MAX_TEXTS = 64

/** Texts and numbers in a value, up to a limit; short ones could be words that stand elsewhere anyway. */
export function textsIn(value: unknown): string[] {
  const texts: string[] = []
  const rest = [value]
  for (let visits = 0; rest.length > 0 && visits < 16 * MAX_TEXTS && texts.length < MAX_TEXTS; ++visits) {
    const next = rest.pop()
    if (typeof next === 'object' && next !== null) {
      const items = Array.isArray(next) ? next.slice(0, MAX_TEXTS) : Object.values(next).slice(0, MAX_TEXTS)
      rest.push(...(items as unknown[]))
    } else if (typeof next === 'string' || typeof next === 'number' || typeof next === 'bigint') {
      texts.push(String(next))
    }
  }
  return texts
}

/**
 * What was hidden of a text: the parts of `key:s3cr3t` in `s3://key:s3cr3t@host`, too.
 *
 * @param shown - the text with {@link HIDDEN} in the place of some of it
 */
export function hiddenIn(text: string, shown: string): string[] {
  const hidden: string[] = []
  const kept = shown.split(HIDDEN)
  let at = kept[0]!.length
  for (const [index, part] of kept.slice(1).entries()) {
    const isLast = index === kept.length - 2
    const end = part === '' || isLast ? text.length - part.length : text.indexOf(part, at)
    if (end < at) {
      break
    }
    const secret = text.slice(at, end)
    hidden.push(secret, ...(/^[^\s:]*:[^\s:]*$/.test(secret) ? secret.split(':') : []))
    at = end + part.length
  }
  return hidden
}

/** Whether there is anything to hide in a value that stands under a secret name. */
export function tellsSecret(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
      return value !== HIDDEN
    case 'number':
    case 'bigint':
      return true
    default:
      return typeof value === 'object' && value !== null
  }
}
