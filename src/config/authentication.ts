import { wrong } from './hook.ts'
import type { Endpoint } from '../delivery/delivery.ts'
import { checkSecrets } from '../delivery/signature.ts'
import { textOf, trimmedOf } from '../values.ts'

/** Ways to fill in the `Authorization` header, with their titles. */
export const AUTHORIZATIONS: ReadonlyMap<string, string> = new Map([
  ['none', 'None'],
  ['bearer', 'Bearer: the token'],
  ['bearer-base64', 'Bearer: the token, Base64-encoded'],
  ['basic', 'Basic: user and password'],
])

const KINDS = `one of ${[...AUTHORIZATIONS.keys()].map(kind => `"${kind}"`).join(', ')}`

/** Set by the transport or by us, or about the connection and not the request (RFC 9110 §7.6.1). */
const REFUSED_HEADERS: ReadonlySet<string> = new Set([
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const OUR_HEADERS = /^(x-xo-|webhook-)/i

/** A `token` of RFC 9110. */
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]+$/
/** What every receiver understands in the same way: printable ASCII, tabs. */
const HEADER_VALUE = /^[\t\x20-\x7e]*$/

/** `name` or `name:port`, as in a URL. */
const HOST = /^[^\s/?#@\\]+$/
/** `type/subtype`, and parameters (RFC 9110 §8.3). */
const CONTENT_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+ *(?:;.*)?$/

/** What a request carries so that the receiver lets it in, and knows what it is. */
export type Credentials = Pick<Endpoint, 'headers' | 'secrets' | 'host' | 'contentType'>

type Fields = Readonly<Record<string, unknown>>

/** Stands in the value of a header for the field `token`, which the host hides. */
const TOKEN = '{{token}}'

/**
 * Reads a hook's group `authentication`, whose fields have the types of the form.
 *
 * @param isTokenClaimed - its format puts the token elsewhere than into the `Authorization` header
 * @throws ProblemError, which tells no secret, and of a header its name at most
 */
export function parseAuthentication(fields: Fields, path: string, isTokenClaimed = false): Credentials {
  const lines = textOf(fields['headers']) ?? ''
  const token = trimmedOf(fields['token'])
  const authorization = parseAuthorization(fields, path, isTokenClaimed || lines.includes(TOKEN))
  if (token === '' && lines.includes(TOKEN)) {
    wrong(`${path}.token`, `a token, as a header has ${TOKEN}`, 'nothing')
  }
  const own = parseHeaders(lines, `${path}.headers`, authorization.length > 0, token)
  const secrets = trimmedOf(fields['passphrase']).split(/\s+/).join(' ')
  const bad = checkSecrets(secrets)
  if (bad !== undefined) {
    wrong(`${path}.passphrase`, bad.expected, `another text as secret ${bad.number}`)
  }
  return { ...own, headers: [...authorization, ...own.headers], ...(secrets !== '' && { secrets }) }
}

function parseAuthorization(fields: Fields, path: string, isTokenClaimed: boolean): string[] {
  const kind = trimmedOf(fields['authorization'])
  const token = trimmedOf(fields['token'])
  const user = textOf(fields['user']) ?? ''
  const password = textOf(fields['password']) ?? ''
  switch (kind) {
    case '':
      // the form shows "None" for what was not chosen: who has filled in a token does not mean that
      if ((token !== '' && !isTokenClaimed) || password !== '') {
        wrong(
          `${path}.authorization`,
          KINDS,
          `nothing, and a ${token !== '' && !isTokenClaimed ? 'token' : 'password'}`
        )
      }
      return []
    case 'none':
      return []
    case 'bearer':
      if (token === '' || !/^[\x21-\x7e]+$/.test(token)) {
        const got = token === '' ? 'nothing' : 'a text with others in it'
        wrong(`${path}.token`, 'a token of printable ASCII characters without spaces', got)
      }
      return ['Authorization', `Bearer ${token}`]
    case 'bearer-base64':
      if (token === '') {
        wrong(`${path}.token`, 'a token', 'nothing')
      }
      return ['Authorization', `Bearer ${base64(token)}`]
    case 'basic':
      if (user === '' && password === '') {
        wrong(`${path}.user`, 'a user', 'nothing')
      }
      if (user.includes(':')) {
        wrong(`${path}.user`, 'a user without a colon (RFC 7617)', 'one with a colon')
      }
      return ['Authorization', basicAuthorization(user, password)]
    default:
      // it may be a token in the wrong field
      return wrong(`${path}.authorization`, KINDS, 'another')
  }
}

/** The value of an `Authorization` header. */
export function basicAuthorization(user: string, password: string): string {
  return `Basic ${base64(`${user}:${password}`)}`
}

/** Lines of `Name: value`. */
function parseHeaders(lines: string, path: string, isAuthorized: boolean, token: string): Credentials {
  const headers: string[] = []
  let [host, contentType]: (string | undefined)[] = []
  const names = new Set<string>()
  for (const [index, line] of lines.split(/\r\n|\r|\n/).entries()) {
    if (line.trim() === '') {
      continue
    }
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(colon, 0)).trim()
    const value = line
      .slice(colon + 1)
      .trim()
      .replaceAll(TOKEN, () => token)
    if (!HEADER_NAME.test(name)) {
      wrong(path, 'lines of "Name: value"', `something else in line ${index + 1}`)
    }
    const key = name.toLowerCase()
    const got = `${JSON.stringify(name.slice(0, 100))} in line ${index + 1}`
    if (REFUSED_HEADERS.has(key) || OUR_HEADERS.test(name)) {
      wrong(path, 'headers that are not set by the plugin or for the connection', got)
    }
    if (key === 'authorization' && isAuthorized) {
      wrong(path, 'no such header besides the field "Authorization"', got)
    }
    if (names.has(key)) {
      wrong(path, 'each header once', `${got} again`)
    }
    if (!HEADER_VALUE.test(value)) {
      wrong(path, 'printable ASCII characters', `others in the value of ${got}`)
    }
    names.add(key)
    if (key === 'host') {
      host = isHost(value) ? value : wrong(path, 'a host name, or one and a port', `another value of ${got}`)
    } else if (key === 'content-type') {
      contentType = CONTENT_TYPE.test(value)
        ? value
        : wrong(path, 'a type like "application/json; charset=utf-8"', `another value of ${got}`)
    } else {
      headers.push(name, value)
    }
  }
  return { headers, ...(host !== undefined && { host }), ...(contentType !== undefined && { contentType }) }
}

function isHost(text: string): boolean {
  return HOST.test(text) && URL.canParse(`https://${text}`)
}

function base64(secret: string): string {
  return Buffer.from(secret).toString('base64')
}
