/**
 * Names that tell that what stands under them is a secret.
 *
 * Sources: @vates/obfuscate, which hides strings under four names in the `params` of a call; the names in
 * packages/xo-server/src/api/*.mjs; OWASP's Logging Cheat Sheet.
 */

/** Stands for what is hidden: the host's own word for it in `params`. */
export const HIDDEN = '* obfuscated *'

/** The host's own rule, and what XO calls one-time URLs that need no sign-in and the user data of a guest. */
const AS_THEY_STAND = /password|^(?:token|passphrase|encryptionkey|\$(?:getfrom|sendto)|(?:cloud|network)config)$/i

/**
 * In a name that is cut into words in small letters, with a `_` around each: `_aws_secret_access_key_`. What is added here needs one of the
 * first signs in secret-text.ts, by which it is found in a large event.
 */
const IN_WORDS = new RegExp(
  [
    'passw(?:or)?[dt]|passphrase|passcode|passkey',
    '^_pass_$|_(?:admin|chap|db|ftp|http|ldap|my|proxy|root|smtp|ssh|user)_?pass_$',
    'pwd?_$|_(?:psk|creds?|cookies?|t?otp|bearer)_$|_(?:proxy_)?authorization_$|_[cx]srf_$|_auth(?:orization)?_?code_$',
    'token(?!i[sz])|secret(?!ar|e[ds]?_|ion|iv)|credential',
    '(?:access|api|auth|encryption|license|master|priv|private|secret|session|signing)_?keys?_',
    'sess(?:ion)?_?id_$',
  ].join('|')
)

/** `xyzKey` opens something. These do not: they name, sort or find, or are public. */
const KEYS = /_([a-z0-9]+)_keys?_$/
const PLAIN_KEYS = new Set(
  'arrow cache column composite dedup deduplication foreign function group hash hot i18n idempotency index lookup map natural object order partition primary pub public range routing row search shortcut sort ssh translation unique'.split(
    ' '
  )
)

/** `tokenCount` counts tokens, `secretName` is the name of one. */
const ABOUT_SECRETS =
  /_(?:count(?:er|s)?|total|max|min|limit|length|size|number|type|kind|policy|expir[a-z]*|ttl|lifetime|age|required|enabled|supported|usage|used|version|names?|label|created|updated|date|at|time|timestamp)_/

/** Names are cut into words here: `X-Api-Key` and `xApiKey` are `_x_api_key_`. */
function wordsOf(name: string): string {
  return `_${name.replace(/([a-z0-9])(?=[A-Z])/g, '$1_').replace(/[^A-Za-z0-9]+/g, '_')}_`
    .replace(/_+/g, '_')
    .toLowerCase()
}

function tells(name: string): boolean {
  if (AS_THEY_STAND.test(name)) {
    return true
  }
  const words = wordsOf(name)
  if (ABOUT_SECRETS.test(words)) {
    return false
  }
  const [, kind] = KEYS.exec(words) ?? []
  return IN_WORDS.test(words) || (kind !== undefined && !PLAIN_KEYS.has(kind))
}

/** Keys may be ids, and come from anyone who can call: the first that are met are remembered, which are the host's own. */
const MAX_REMEMBERED = 2_048
const MAX_REMEMBERED_LENGTH = 64
const nameIsSecret = new Map<string, boolean>()

/** Whether what stands under this name is to be hidden. */
export function isSecretName(name: string): boolean {
  const known = nameIsSecret.get(name)
  if (known !== undefined) {
    return known
  }
  const isSecret = tells(name)
  if (nameIsSecret.size < MAX_REMEMBERED && name.length <= MAX_REMEMBERED_LENGTH) {
    nameIsSecret.set(name, isSecret)
  }
  return isSecret
}

/** What signs a URL, or lets in by it, besides what is a secret everywhere. */
const PARAMETERS = /^(?:key|sig|signature|auth|awsaccesskeyid|x-(?:amz|goog)-(?:credential|signature))$/i

/** The same for a parameter in a URL's query or fragment. */
export function isSecretParameter(name: string): boolean {
  return PARAMETERS.test(name) || isSecretName(name)
}

/** Docker's `auth`, npm's `_auth`. */
export function isAuthName(name: string): boolean {
  return /(?:^|[^a-z])auth$/i.test(name)
}

/** Whether a text is Base64 of `user:password`; under `auth` may also stand what kind it is (`ldap`). */
export function isBasic(text: string): boolean {
  return (
    /^[\w+/-]{6,}={0,2}$/.test(text) && /^[^\s:]+:[\x20-\x7e]+$/.test(Buffer.from(text, 'base64').toString('latin1'))
  )
}
