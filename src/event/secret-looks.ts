import { HIDDEN, isSecretName } from './names.ts'

/** Of a command line: quoted, or up to the next white space. */
const ARGUMENT = String.raw`(?:'[^'\n]*'|\\*"[^"\n\\]*\\*"|[^\s"'\\]+)`

/**
 * What is a secret by its looks, or by the words before it. What comes before the secret, in the first group, stays. A text
 * without the letters is not looked through.
 */
const LOOKS: readonly (readonly [letters: string, look: RegExp])[] = [
  [
    'PRIVATE KEY',
    /()----[- ]BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-?---[^]*?(?:----[- ]END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?[- ]----|$)/g,
  ],
  ['PuTTY', /()PuTTY-User-Key-File-\d[^]*/g],
  ['AGE-SECRET', /()\bAGE-SECRET-KEY-1[0-9A-Z]+/g],
  ['#cloud-config', /(^|\s)#cloud-config\b[^]*/g],
  // JSON Web Tokens: two JSON objects and a signature, or one and what is encrypted
  ['J', /()(?<![\w-])eyJ[\w-]+\.(?:eyJ[\w-]+(?:\.[\w-]*)?|[\w-]*(?:\.[\w-]+){3})/g],
  // an id of AWS, and the secret behind it
  ['IA', /()\b(?:AKIA|ASIA)[0-9A-Z]{16}\b(?:[^\w\n]{1,5}[\w/+]{40}(?![\w/+]))?/g],
  [
    '',
    /()\b(?:AIza[\w-]{30,}|gh[oprsu]_\w{20,}|github_pat_\w{20,}|gl(?:pat|rt|dt|ptt)-[\w.-]{16,}|[rs]k_(?:live|test)_\w{10,}|sk-[\w-]{20,}|xox[a-z]-[\w-]{10,}|whs(?:ec|k)_[\w+/=]{16,}|npm_\w{30,}|SG\.[\w-]{16,}\.[\w-]{16,}|hvs\.[\w-]{20,}|dop_v1_\w{20,}|hf_[A-Za-z0-9]{20,}|pypi-[\w-]{30,}|shp(?:at|ca|pa|ss)_\w{20,}|sq0[a-z]{3}-[\w-]{20,}|tskey-[a-z]+-[\w-]{16,}|ATATT3[\w=-]{20,}|lin_api_\w{20,}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,})/g,
  ],
  // of a make that nobody knows: what stands behind a prefix, and is too mixed for words, ids and hashes
  ['', /(_(?<=[a-z\d]_))(?=[A-Za-z]*\d)(?=[a-z\d]*[A-Z])(?=[A-Z\d]*[a-z])[A-Za-z\d]{24,}(?![\w-])/g],
  // of crypt(3), and of LDAP
  ['$', /()\$(?:[1256y]|2[abxy]|apr1|argon2[a-z]+)\$[\w./$=,+-]{8,}/g],
  ['}', /()\{(?:CRYPT|S?MD5|S?SHA(?:256|384|512)?)\}[\w+/=$.]{16,}/g],
  [
    '',
    /(\b(?:[Bb]earer|BEARER|[Bb]asic|[Nn]egotiate|NTLM|[Aa]pi[Kk]ey)\s+)(?=[\w+/.~=-]*(?:\d|[a-z][A-Z]|=))[\w+/.~=-]{6,}/g,
  ],
  ['hooks', /(\bhooks\.slack\.com\/(?:services|workflows)\/|\/api\/webhooks\/\d+\/)[\w/-]+/g],
  ['hooks.zapier', /(\bhooks\.zapier\.com\/hooks\/catch\/)[^\s"'<>?#]+/g],
  ['/webhookb2/', /(\/webhookb2\/)[^\s"'<>?#]+/g],
  ['/with/key/', /(\bmaker\.ifttt\.com\/trigger\/[^\s/]+\/(?:json\/)?with\/key\/)[^\s"'<>?#]+/g],
  ['/bot', /(\/bot\d+:)[\w-]{20,}/g],
  ['AA', /(\b\d{6,12}:)AA[\w-]{30,}/g],
  ['', /(\b(?:access|api|encryption|private|secret) key\s*[:=]?\s*["'`])[^"'`\n]+/gi],
  // `the password is hunter22`: no word of a sentence, which has neither digits nor signs in it
  [
    '',
    /(\b(?:[Pp]ass(?:word|wd|phrase|code)|[Tt]oken)\s{1,4}(?:is\s{1,4})?)(?=\w)(?=[^\s,;:"'<>()]*?(?:\d|[a-z][A-Z]|[!#$%&*+^~@]))[^\s,;"'<>()\\]{6,}/g,
  ],
  // netrc(5)
  ['login', /(\b(?:machine\s+\S{1,255}|default)\s+login\s+\S{1,255}\s+(?:account\s+\S{1,255}\s+)?password\s+)\S+/g],
  // command lines
  ['sshpass', new RegExp(String.raw`(\bsshpass\s+-p\s*)${ARGUMENT}`, 'g')],
  ['curl', new RegExp(String.raw`(\bcurl\b[^\n]{0,80}?\s(?:-u|--user|-U|--proxy-user)[ =]?\s*)${ARGUMENT}`, 'g')],
  ['mysql', /(\bmysql(?:dump|admin)?\b[^\n]{0,80}?\s-p)[^\s-]\S*/g],
  ['mongo', new RegExp(String.raw`(\bmongo\w*\s[^\n]{0,120}?\s-p\s+)${ARGUMENT}`, 'g')],
  ['docker', new RegExp(String.raw`(\bdocker login\s[^\n]{0,120}?-p\s+)${ARGUMENT}`, 'g')],
  ['htpasswd', new RegExp(String.raw`(\bhtpasswd\s+-\w*b\w*\s+\S+\s+\S+\s+)${ARGUMENT}`, 'g')],
  [' -P', new RegExp(String.raw`(\b(?:ipmitool|mosquitto_[a-z]{3})\s[^\n]{0,120}?\s-P\s*)${ARGUMENT}`, 'g')],
  ['ldap', new RegExp(String.raw`(\bldap[a-z]{3,8}\s[^\n]{0,120}?\s-w\s*)${ARGUMENT}`, 'g')],
  ['redis-cli', new RegExp(String.raw`(\bredis-cli\s[^\n]{0,120}?-a\s+)${ARGUMENT}`, 'g')],
  ['%', /(\s(?:-U|--user)[ =]?[\w.\\/-]{1,64}%)[^\s"']+/g],
  [
    'echo',
    /(\becho\s(?:-n\s)?["']?)[^\s"'|]+(?=["']?\s*\|\s*(?:sudo\s+(?:-S|--stdin|chpasswd|passwd)|chpasswd|passwd\s|docker\s+login))/g,
  ],
  ['', /(\bidentified by\s+['"])[^'"\n]+/gi],
  // the addresses of databases without a scheme
  ...['@tcp(', '@unix('].map(
    letters => [letters, /((?<![\w.-])[\w.-]{1,64}:)[^\s@"':/]+(?=@(?:tcp|unix)\()/g] as const
  ),
  ['@', /(\b(?:jdbc:oracle:\w{1,8}:|sqlplus\s+(?:-\w\s+)?)[\w.-]{1,64}\/)[^\s@"'/]+(?=@)/g],
  ['%40', /(%3A%2F%2F)(?:(?!%2F|%40)[^\s"&/]){0,300}(?=%40)/gi],
]

/**
 * A name, and what stands beside it, as in `{"name":"DB_PASSWORD","value":"x"}`, `<add key="pw" value="x"/>`, or in YAML, on two
 * lines.
 */
const PAIRS =
  /(\b(?:name|key|field|label|header|option|property|variable|id)\\*["']?\s{0,4}[:=]\s{0,4}(?:\\*["'])?)([\w$.-]{1,64})((?:\\*["'])?\s{0,40}[,;]?\s{0,40}(?:\\*["'])?(?:value|val|content|data)\\*["']?\s{0,4}[:=]\s{0,4}(?:\\*["'])?)([^"'\\\n<>]+)/gi

/** Hides what is a secret by its looks: private keys, tokens, what stands on a command line. */
export function hideLooks(text: string): string {
  let shown = text
  for (const [letters, look] of LOOKS) {
    if (letters === '' || shown.includes(letters)) {
      shown = shown.replace(look, `$1${HIDDEN}`)
    }
  }
  return shown.replace(PAIRS, (all, before: string, name: string, between: string) =>
    isSecretName(name) ? `${before}${name}${between}${HIDDEN}` : all
  )
}
