import { HIDDEN, isAuthName, isBasic, isSecretName, isSecretParameter } from './names.ts'
import { hideLooks } from './secret-looks.ts'

/**
 * Secrets within texts: what stands after a name that tells (`--password=…`, `Authorization: …`, `?token=…`), the user and
 * password of a URL, and what is a secret by its looks (secret-looks.ts).
 */

/**
 * A text, or a JSON text, with none of these in it has no secret for {@link hideInText}, and no key for `isSecretName`. A
 * megabyte is looked through for all of them in some 0.8 ms: a pattern is fast as long as its alternatives begin with few letters (measure:
 * one more may halve its speed), and so is a rare letter, without which the pattern after it cannot match.
 */
const SIGNS: readonly (readonly [letters: string, pattern: RegExp])[] = [
  ['', /pass|secr|toke|cred|cook|auth|bear|sess|srf|pwd?["'=:\\ ]|(?:key|otp|psk)s?["'=:\\ ]/i],
  ['=', /(?:sig|signature|awsaccesskeyid|x-(?:amz|goog)-signature)=/i],
  ['$', /\$(?:getFrom|sendTo|[1256y]\$|2[abxy]\$|apr1|argon2)/],
  ['BEGIN ', /-BEGIN [A-Z0-9 ]*PRIVATE/],
  ['J', /eyJ[\w-]+\.[\w-]/],
  ['AKIA', /AKIA[0-9A-Z]{16}/],
  ['ASIA', /ASIA[0-9A-Z]{16}/],
  ['AIza', /AIza[\w-]{30}/],
  ['Config', /(?:cloud|network)Config"/i],
  ['%40', /%3A%2F%2F/i],
  ['#cloud-config', /#cloud/],
  ['PuTTY', /PuTTY-User/],
]
/** Looked for where it does not cost much: in an event of ordinary size. */
const RARE_SIGNS: typeof SIGNS = [
  [
    '',
    /\b(?:gh[oprsu]_|github_pat_|gl(?:pat|rt|dt|ptt)-|[rs]k_(?:live|test)_|sk-|xox[a-z]-|whs(?:ec|k)_|npm_|SG\.|hvs\.|dop_v1_|hf_|pypi-|shp[a-z]{2}_|sq0[a-z]{3}-|tskey-|ATATT3|lin_api_|ya29\.|GOCSPX-|AGE-SECRET|basic |negotiate |sshpass |curl |mysql|ldap|redis-cli |mongo|docker login|ipmitool |mosquitto_|sqlplus |jdbc:oracle:|echo |identified by )/i,
  ],
  ['', /hooks\.(?:slack|zapier)|\/(?:api\/webhooks|webhookb2|with\/key)\/|bot\d+:/i],
  ['', /_[A-Za-z\d]{24}/],
  ['AA', /\d{6}:AA/],
  ['%', /(?:-U|--user)[ =]?[\w.\\/-]+%/],
  ['{S', /\{S(?:S?HA|MD5)/],
  ['{MD5', /\{MD5\}/],
  ['{CRYPT', /\{CRYPT\}/],
]

/**
 * A long text is looked through in parts, each of which has the processor's cache to itself; and a pattern that was not used for
 * long is made fast by V8 at its second use only. No sign is longer than what two parts share.
 */
const PART = 32 * 1024
const SHARED = 256

/** @param isLarge - only what is most likely is looked for */
export function isSuspect(text: string, isLarge: boolean): boolean {
  for (let from = 0; from === 0 || from + SHARED < text.length; from += PART) {
    if (hasSign(text.length <= PART ? text : text.slice(from, from + PART + SHARED), isLarge)) {
      return true
    }
  }
  return hasUserInfo(text)
}

function hasSign(text: string, isLarge: boolean): boolean {
  return hasAny(SIGNS, text) || (!isLarge && hasAny(RARE_SIGNS, text))
}

function hasAny(signs: typeof SIGNS, text: string): boolean {
  for (const [letters, pattern] of signs) {
    if ((letters === '' || text.includes(letters)) && pattern.test(text)) {
      return true
    }
  }
  return false
}

/** Of a URL, or a database's address. */
function hasUserInfo(text: string): boolean {
  if (!text.includes('@')) {
    return false
  }
  BEFORE_AT.lastIndex = 0
  for (let found = BEFORE_AT.exec(text); found !== null; found = BEFORE_AT.exec(text)) {
    if (text.charAt(BEFORE_AT.lastIndex) === '@') {
      return true
    }
  }
  return /@(?:tcp|unix)\(/.test(text)
}

/** From `://` to where a user and password may end: gone through once, however many there are. In JSON `"` ends it, but not `\"`. */
const BEFORE_AT = /:\/\/(?:[^\s"@]|"(?![,:}\]]))*/g

/** Hides what is secret in a text, see the top of this file. */
export function hideInText(text: string): string {
  const shown = hideLooks(text)
  return hideNamed(hideElements(shown.includes('://') && shown.includes('@') ? hideInUrls(shown) : shown))
}

const WHITE_SPACE = /\s/g

/** Between two white spaces there may be many URLs. */
function hideInUrls(text: string): string {
  let shown = ''
  let from = 0
  for (let at = text.indexOf('://'); at !== -1; at = text.indexOf('://', from)) {
    WHITE_SPACE.lastIndex = at
    const end = WHITE_SPACE.exec(text)?.index ?? text.length
    const parts = text.slice(from, end).split('://')
    shown += parts.map((part, index) => (index === 0 ? part : hideUserInfo(part, parts[index - 1]!))).join('://')
    from = end
  }
  return shown + text.slice(from)
}

/**
 * The user and password at the beginning of a URL. A password may hold what should have been encoded there: `u:p/w@host`. But
 * `host:8080/@scope` is a host and a port, and a path follows the colon in `nfs://host:/path@1`.
 */
function hideUserInfo(url: string, before: string): string {
  const end = url.search(/[/?#]/)
  const at = (end === -1 ? url : url.slice(0, end)).lastIndexOf('@')
  if (at !== -1) {
    return at === 0 ? url : HIDDEN + url.slice(at)
  }
  const isOdd = /^[^/?#:]*:(?!\d{1,5}(?:[/?#]|$))/.test(url) && !/(?:nfs|file)$/i.test(before)
  const lastAt = isOdd ? url.lastIndexOf('@') : -1
  return lastAt === -1 ? url : HIDDEN + url.slice(lastAt)
}

/** `<password>…</password>` */
function hideElements(text: string): string {
  if (!text.includes('</')) {
    return text
  }
  return text.replace(/(<([\w:.-]+)(?:\s[^<>]*)?>)([^<]+)(?=<\/)/g, (all, open: string, name: string) =>
    isSecretName(name) ? open + HIDDEN : all
  )
}

/**
 * What is in every name that tells, see names.ts. Names are few in a text, and these are found fast; of the words of a text, most
 * of which are no names, all would have to be looked at.
 */
const IN_NAMES = /pass|secr|toke|cred|cook|auth|bear|sess|[cx]srf|pw|key|otp|psk|sig|config|getfrom|sendto/gi
const NAME = /[\w$.-]*/y

/** What parts a name from its value: `token=`, `"token": "`, `\"token\":\"`, `token 'x'`. */
const SEPARATOR = /\\*["']?[ \t]*(?:=>|:=|[=:])[ \t]*|[ \t]+(?=\\*["'])/y
/** `--token ` */
const AFTER_FLAG = /[ \t]+/y

function hideNamed(text: string): string {
  let shown = ''
  let from = 0
  IN_NAMES.lastIndex = 0
  for (let found = IN_NAMES.exec(text); found !== null; found = IN_NAMES.exec(text)) {
    let begin = found.index
    while (begin > from && isNameChar(text.charCodeAt(begin - 1))) {
      --begin
    }
    const end = begin + matchAt(NAME, text, begin).length
    const value = valueOf(text, text.slice(begin, end), begin, end)
    if (value !== undefined) {
      shown += text.slice(from, value[0]) + HIDDEN
      from = value[1]
    }
    IN_NAMES.lastIndex = Math.max(end, from)
  }
  return from === 0 ? text : shown + text.slice(from)
}

/** As in {@link NAME}. */
function isNameChar(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 65 && code <= 90) ||
    (code >= 48 && code <= 57) ||
    code === 95 ||
    code === 45 ||
    code === 46 ||
    code === 36
  )
}

/** Where the secret stands that this name tells of, if it does. */
function valueOf(text: string, name: string, begin: number, end: number): [begin: number, end: number] | undefined {
  const separator = matchAt(SEPARATOR, text, end)
  const isFlag = separator === '' && /^--?\w[\w-]*$/.test(name) && !/\S/.test(text.charAt(begin - 1))
  const start = end + (isFlag ? matchAt(AFTER_FLAG, text, end) : separator).length
  const isParameter = /[?&#]/.test(text.charAt(begin - 1))
  if (start === end || !(isParameter ? isSecretParameter(name) : isSecretName(name) || isAuthName(name))) {
    return undefined
  }
  const isHeader = /^(?:proxy-)?authorization$|^(?:set-)?cookie$/i.test(name)
  const isLine = separator.includes(':') && /(?:^|\n)[ \t]*(?:- )?$/.test(text.slice(Math.max(0, begin - 40), begin))
  const value = valueAt(text, start, isHeader ? HEADER : isLine ? LINE : isParameter ? PARAMETER : WORD)
  const isMeant = isParameter || isSecretName(name) || (isAuthName(name) && isBasic(text.slice(...value)))
  return value[1] > value[0] && isMeant && !isPlain(text, ...value) ? value : undefined
}

/** Hidden already, or no value. */
function isPlain(text: string, begin: number, end: number): boolean {
  return (
    text.startsWith(HIDDEN, begin) ||
    /^(?:null|true|false|undefined|none|\*+)$/i.test(text.slice(begin, Math.min(end, begin + 64)))
  )
}

const OPENING = /\\*["'`]/y
const BLOCK = /(?:[|>][-+\d]*)?[ \t]*\r?\n([ \t]+[^\n]*(?:\n[ \t]+[^\n]*)*)/y
const LINE = /[^\r\n]*/y
/** `Digest username="bob", response="…"` has quotes of its own. */
const HEADER = /(?:[^\r\n"'\\]|(?<=\w=)\\*"[^"\\\r\n]*\\*"(?=[\s,;']|$))*/y
const WORD = /[^\s,;&"'`<>\\]*/y
const PARAMETER = /[^\s,;&"'`<>\\#]*/y

/**
 * Where a value that begins at `start` begins without its quote, and ends.
 *
 * @param plain - one that is not quoted
 */
function valueAt(text: string, start: number, plain: RegExp): [begin: number, end: number] {
  if (text.startsWith(HIDDEN, start)) {
    return [start, start + HIDDEN.length]
  }
  const opening = matchAt(OPENING, text, start)
  if (opening !== '') {
    const begin = start + opening.length
    return [begin, closingOf(text, opening, begin)]
  }
  if ('[{'.includes(text.charAt(start)) && start < text.length) {
    return [start, bracketEnd(text, start)]
  }
  const block = matchAt(BLOCK, text, start)
  if (block !== '') {
    return [start, start + block.length]
  }
  return [start, start + matchAt(plain, text, start).length]
}

function matchAt(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0] ?? ''
}

/** The quote that ends what such a quote has begun: with as many `\` before it. */
function closingOf(text: string, opening: string, from: number): number {
  for (let at = text.indexOf(opening, from); at !== -1; at = text.indexOf(opening, at + opening.length)) {
    if (text.charAt(at - 1) !== '\\') {
      return at
    }
  }
  return text.length
}

function bracketEnd(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; ++at) {
    const char = text.charAt(at)
    depth += char === '[' || char === '{' ? 1 : char === ']' || char === '}' ? -1 : 0
    if (depth === 0) {
      return at + 1
    }
  }
  return text.length
}
