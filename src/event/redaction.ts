/**
 * What an event must not tell. The host hides strings under four names in the `params` of a call, and nothing of results
 * and errors; here its rule holds for the whole event, with more names, a table of what no name betrays, and URLs.
 *
 * Sources: @vates/obfuscate; packages/xo-server/src/xo-mixins/api.mjs (`#callApiMethod`), …/src/api/*.mjs.
 */

/** Stands for what is hidden: the host's own word for it in `params`. */
export const HIDDEN = '* obfuscated *'

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

/** Options of `mount`, where `password=…` may stand. */
function hideInMountOptions(value: unknown): unknown {
  return typeof value === 'string' ? hideValues(value, /(^|,)([^=,]+)=([^,]*)/g) : hide(value)
}

const REMOTE: Mask = { url: hideInRemoteUrl, options: hideInMountOptions }

/**
 * Secrets that no name betrays: by method, then by the path in the event. What a name, `://user@` or a private key's
 * first line betrays needs no entry here: see {@link isSecretName} and {@link hideInText}.
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

/** The host's four, then what it misses. */
const SECRET_NAMES = new RegExp(
  [
    'password|passphrase|token|encryption[_-]?key',
    'passwd|secret|credential|(?:api|access|private)[_-]?key',
    '^(?:pwd|pass|t?otp|session[_-]?id|(?:proxy-)?authorization|(?:set-)?cookie)$',
    // one-time URLs that need no sign-in (xo.mjs, `registerHttpRequest`)
    '^\\$(?:getFrom|sendTo)$',
    // user data of a guest
    '^(?:cloud|network)Config$',
  ].join('|'),
  'i'
)

/** Keys may be ids, and come from anyone who can call: the first that are met are remembered, which are the host's own. */
const MAX_REMEMBERED = 2_048
const MAX_REMEMBERED_LENGTH = 64
const nameIsSecret = new Map<string, boolean>()

/** Whether a string or a number of this name is to be hidden. */
export function isSecretName(name: string): boolean {
  const known = nameIsSecret.get(name)
  if (known !== undefined) {
    return known
  }
  const isSecret = SECRET_NAMES.test(name)
  if (nameIsSecret.size < MAX_REMEMBERED && name.length <= MAX_REMEMBERED_LENGTH) {
    nameIsSecret.set(name, isSecret)
  }
  return isSecret
}

/** A configuration has some secrets, and a call some tokens. */
const MAX_TEXTS = 64

/**
 * The texts in a value, up to a limit; not short ones, which could be words that stand elsewhere anyway, and in whose
 * place {@link HIDDEN} would be longer.
 */
export function textsIn(value: unknown): string[] {
  const texts: string[] = []
  const rest = [value]
  for (let visits = 0; rest.length > 0 && visits < 16 * MAX_TEXTS && texts.length < MAX_TEXTS; ++visits) {
    const next = rest.pop()
    if (typeof next === 'string' && next.length >= HIDDEN.length) {
      texts.push(next)
    } else if (typeof next === 'object' && next !== null) {
      const items = Array.isArray(next) ? next.slice(0, MAX_TEXTS) : Object.values(next).slice(0, MAX_TEXTS)
      rest.push(...(items as unknown[]))
    }
  }
  return texts
}

/** Whether something may be hidden of a value that has a secret name: a scalar that says something, or a list. */
export function tellsSecret(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
      return value !== HIDDEN
    case 'number':
    case 'bigint':
      return true
    default:
      return Array.isArray(value) // it is not looked into here, since it may hold itself: whoever writes it does that
  }
}

/**
 * From `://` to the end of a URL that stands in a JSON text: white space, written as it is or as `\n`, `\r`, `\t`, or the
 * quote that ends its string. Any other escape is a part of it: `://a\"b` goes on after the quote.
 */
const URLS = /:\/\/(?:\\[^nrt]|[^\\\s"])+/g
const PRIVATE_KEYS = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[^"]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|(?="))/g

/**
 * Hides what is secret in strings wherever they stand: user-info and secret parameters of URLs, and private keys.
 *
 * @param json - of any value; the answer is JSON of the same structure
 */
export function hideInText(json: string): string {
  let text = json
  if (text.includes('://') && /[@?]/.test(text)) {
    text = text.replace(URLS, hideInUrl)
  }
  return text.includes('PRIVATE KEY-----') ? text.replace(PRIVATE_KEYS, HIDDEN) : text
}

/** @param url - without its scheme */
function hideInUrl(url: string): string {
  const end = url.slice(3).search(/[/?#]/)
  const authority = end === -1 ? url : url.slice(0, end + 3)
  const at = authority.lastIndexOf('@')
  const bare = at <= 3 ? url : `://${HIDDEN}${url.slice(at)}`
  return bare.includes('?') ? hideInQuery(bare) : bare
}

function hideInQuery(text: string): string {
  return hideValues(text, /([?&])([^=&#?]+)=([^&#]*)/g)
}

/** @param pairs - finds separator, name and value */
function hideValues(text: string, pairs: RegExp): string {
  return text.replace(pairs, (pair, separator: string, name: string, value: string) =>
    // hidden already: of `?token=* obfuscated *` a URL ends at the first space, and the value is `*`
    isSecretName(name) && !HIDDEN.startsWith(value) ? `${separator}${name}=${HIDDEN}` : pair
  )
}
