import { HIDDEN, isSecretName, isSecretParameter } from './names.ts'

/**
 * Secrets within texts: what stands after a name that tells (`--password=…`, `Authorization: …`, `?token=…`), the user and
 * password of a URL, and what is a secret by its looks (private keys, tokens of a well-known make).
 */

/**
 * A text, or a JSON text, with none of these in it has no secret for {@link hideInText}, and no key for `isSecretName`. A
 * megabyte is looked through for all of them in some 0.6 ms: a pattern is fast as long as its alternatives are few and
 * equally long, and so is a rare letter, without which the pattern after it cannot match.
 */
const SIGNS: readonly (readonly [letters: string, pattern: RegExp])[] = [
  ['', /pass|secr|toke|cred|cook|auth|bear|sess|pwd["'=:\\ ]/i],
  ['', /(?:key|otp|psk)s?["'=:\\ ]/i],
  ['=', /(?:sig|signature|awsaccesskeyid|x-(?:amz|goog)-signature)=/i],
  ['$', /\$(?:getFrom|sendTo|[1256y]\$|2[abxy]\$|apr1|argon2)/],
  ['BEGIN ', /-BEGIN [A-Z0-9 ]*PRIVATE/],
  ['.eyJ', /\.eyJ[\w-]/],
  ['AKIA', /AKIA[0-9A-Z]{16}/],
  ['ASIA', /ASIA[0-9A-Z]{16}/],
  ['AIza', /AIza[\w-]{30}/],
  ['Config', /(?:cloud|network)Config"/i],
  ['%40', /%3A%2F%2F/i],
  ['#cloud-config', /#cloud/],
  ['PuTTY', /PuTTY-User/],
]
/** Looked for where it does not cost much: in an event of ordinary size. */
const RARE_SIGNS =
  /\b(?:gh[oprsu]_|github_pat_|gl(?:pat|rt|dt|ptt)-|[rs]k_(?:live|test)_|sk-|xox[a-z]-|whs(?:ec|k)_|npm_|SG\.|hvs\.|dop_v1_|hf_|pypi-|shp[a-z]{2}_|sq0[a-z]{3}-|tskey-|ATATT3|lin_api_|AGE-SECRET|basic |negotiate |sshpass |curl |mysql|identified by )|hooks\.(?:slack|zapier)|\/(?:api\/webhooks|webhookb2|with\/key)\/|bot\d+:/i

/** @param isLarge - only what is most likely is looked for */
export function isSuspect(text: string, isLarge: boolean): boolean {
  for (const [letters, pattern] of SIGNS) {
    if ((letters === '' || text.includes(letters)) && pattern.test(text)) {
      return true
    }
  }
  return hasUserInfo(text) || (!isLarge && RARE_SIGNS.test(text))
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

/** What is a secret by its looks. What comes before the secret, in the first group, stays. */
const LOOKS: readonly RegExp[] = [
  /()----[- ]BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-?---[^]*?(?:----[- ]END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?[- ]----|$)/g,
  /()PuTTY-User-Key-File-\d[^]*/g,
  /()\bAGE-SECRET-KEY-1[0-9A-Z]+/g,
  /(^|\s)#cloud-config\b[^]*/g,
  // JSON Web Tokens: two JSON objects and a signature
  /()(?<![\w-])eyJ[\w-]+\.eyJ[\w-]+(?:\.[\w-]*)?/g,
  /()\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/g,
  /()\b(?:AIza[\w-]{30,}|gh[oprsu]_\w{20,}|github_pat_\w{20,}|gl(?:pat|rt|dt|ptt)-[\w.-]{16,}|[rs]k_(?:live|test)_\w{10,}|sk-[\w-]{20,}|xox[a-z]-[\w-]{10,}|whs(?:ec|k)_[\w+/=]{16,}|npm_\w{30,}|SG\.[\w-]{16,}\.[\w-]{16,}|hvs\.[\w-]{20,}|dop_v1_\w{20,}|hf_[A-Za-z0-9]{20,}|pypi-[\w-]{30,}|shp(?:at|ca|pa|ss)_\w{20,}|sq0[a-z]{3}-[\w-]{20,}|tskey-[a-z]+-[\w-]{16,}|ATATT3[\w=-]{20,}|lin_api_\w{20,})/g,
  // of crypt(3)
  /()\$(?:[1256y]|2[abxy]|apr1|argon2[a-z]+)\$[\w./$=,+-]{8,}/g,
  /(\b(?:[Bb]earer|BEARER|[Bb]asic|[Nn]egotiate|NTLM|[Aa]pi[Kk]ey)\s+)(?=[\w+/.~=-]*(?:\d|[a-z][A-Z]|=))[\w+/.~=-]{6,}/g,
  /(\bhooks\.slack\.com\/(?:services|workflows)\/|\/api\/webhooks\/\d+\/)[\w/-]+/g,
  /(\/webhookb2\/|\bhooks\.zapier\.com\/hooks\/catch\/|\bmaker\.ifttt\.com\/trigger\/[^\s/]+\/(?:json\/)?with\/key\/)[^\s"'<>?#]+/g,
  /(\/bot\d+:)[\w-]{20,}/g,
  /(\b(?:access|api|encryption|private|secret) key\s*[:=]?\s*["'`])[^"'`\n]+/gi,
  // command lines, and the addresses of databases without a scheme
  /(\bsshpass\s+-p\s*)\S+/g,
  /(\bcurl\b[^\n]{0,80}?\s(?:-u|--user)[ =]?\s*)\S+/g,
  /(\bmysql(?:dump|admin)?\b[^\n]{0,80}?\s-p)[^\s-]\S*/g,
  /(\bidentified by\s+['"])[^'"\n]+/gi,
  /((?<![\w.-])[\w.-]+(?![\w.-]):)[^\s@"':/]+(?=@(?:tcp|unix)\()/g,
  /(%3A%2F%2F)(?:(?!%2F|%40)[^\s"&/]){0,300}(?=%40)/gi,
]

/** Hides what is secret in a text, see the top of this file. */
export function hideInText(text: string): string {
  let shown = text
  for (const look of LOOKS) {
    shown = shown.replace(look, `$1${HIDDEN}`)
  }
  if (shown.includes('://') && shown.includes('@')) {
    shown = shown.replace(/\S*:\/\/\S+/g, hideInUrls)
  }
  return hideNamed(hideElements(shown))
}

/** @param run - of anything but white space, with one or more `://` in it */
function hideInUrls(run: string): string {
  const parts = run.split('://')
  return parts.map((part, index) => (index === 0 ? part : hideUserInfo(part, parts[index - 1]!))).join('://')
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
 * A name and what parts it from its value: `token=`, `"token": "`, `\"token\":\"`, `token 'x'`, `--token `. It begins where no
 * name goes on, so that a text is gone through once, whatever is in it.
 */
const NAMES =
  /(?<![\w$.-])([\w$.-]+)(?![\w$.-])(\\*["']?[ \t]*(?:=>|:=|[=:])[ \t]*|[ \t]+(?=\\*["']))|(?<!\S)--?(\w[\w-]*)(?![\w-])[ \t]+/g

function hideNamed(text: string): string {
  let shown = ''
  let from = 0
  NAMES.lastIndex = 0
  for (let found = NAMES.exec(text); found !== null; found = NAMES.exec(text)) {
    const [all, word = '', separator = '', flag] = found
    const name = flag ?? word
    const isParameter = /[?&#]/.test(text.charAt(found.index - 1))
    if (!(isParameter ? isSecretParameter(name) : isSecretName(name))) {
      continue
    }
    const isHeader = /^(?:proxy-)?authorization$|^(?:set-)?cookie$/i.test(name)
    const before = text.slice(Math.max(0, found.index - 40), found.index)
    const isLine = separator.includes(':') && /(?:^|\n)[ \t]*(?:- )?$/.test(before)
    const start = found.index + all.length
    const [begin, end] = valueAt(text, start, isHeader ? HEADER : isLine ? LINE : isParameter ? PARAMETER : WORD)
    if (end > begin && !isPlain(text, begin, end)) {
      shown += text.slice(from, begin) + HIDDEN
      from = end
    }
    NAMES.lastIndex = Math.max(NAMES.lastIndex, end)
  }
  return from === 0 ? text : shown + text.slice(from)
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
const HEADER = /[^\r\n"'\\]*/y
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
