import { isAscii } from 'node:buffer'

import { Echoes, MIN_SECRET_LENGTH } from '../echo.ts'
import type { Endpoint } from './delivery.ts'

/** Control characters but for tab and newline, other ends of lines, what changes the direction, and what was not UTF-8. */
const UNREADABLE = /(?![\t\n])[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\ufffd]/gu

/** Of ASCII, what is not shown as it is: most answers have none of it. */
const STRANGE_ASCII = /[^\t\n\x20-\x7e]/

const HIDDEN = '(hidden)'

const echoesByEndpoint = new WeakMap<Endpoint, Echoes>()

/**
 * The beginning of an answer, for a log and for people. It is a stranger's text: what would steer a terminal or turn the
 * line around is shown as a sign of itself (`␛`), what is not UTF-8 as `�`, and what is no text at all is not shown. HTML is
 * left as it is: a page must show this as text.
 */
export function readableExcerpt(excerpt: Buffer): string {
  if (excerpt.length === 0) {
    return ''
  }
  if (isAscii(excerpt)) {
    const text = excerpt.toString('latin1')
    if (!STRANGE_ASCII.test(text)) {
      return text
    }
  }
  // as a stream: a character that was cut in two at the end is left out
  const text = new TextDecoder().decode(excerpt, { stream: true }).replaceAll('\r\n', '\n')
  let strange = 0
  const readable = text.replace(UNREADABLE, char => {
    ++strange
    const code = char.codePointAt(0)!
    return code === 0xfffd ? char : code < 0x20 ? String.fromCodePoint(0x2400 + code) : `\\u{${code.toString(16)}}`
  })
  return strange > 8 && strange > text.length / 8 ? `(${excerpt.length} bytes that are not text)` : readable
}

/**
 * An answer without what only the endpoint and we know: receivers say again what they were sent, as an error page does
 * with the path.
 *
 * @param text - the beginning of an answer, which may end amid a secret
 */
export function withoutEcho(text: string, endpoint: Endpoint): string {
  let echoes = echoesByEndpoint.get(endpoint)
  if (echoes === undefined) {
    echoes = new Echoes(secretsOf(endpoint), { sign: HIDDEN })
    echoesByEndpoint.set(endpoint, echoes)
  }
  return echoes.hide(text, true)
}

/**
 * Path, query and credentials, whole and in parts. A router that serves a part of the paths knows the rest: of `/a/b/c` also
 * `/b/c` and `/c`.
 */
function secretsOf({ url, headers, bodySecret }: Endpoint): string[] {
  const { pathname, search, searchParams } = new URL(url)
  const values = headers.filter((_, index) => index % 2 === 1).flatMap(value => [value, ...value.split(/\s+/).slice(1)])
  const segments = pathname.split('/').slice(1)
  const tails = segments.map((_, index) => segments.slice(index).join('/'))
  return [
    ...tails.flatMap(tail => [`/${tail}${search}`, `/${tail}`]),
    ...tails.filter(tail => tail.includes('/')),
    ...segments.filter(isTelling),
    search.slice(1),
    ...searchParams.values(),
    ...values,
    ...values.flatMap(plainOf),
    ...values.flatMap(value => value.split(/[;,&]\s*/)).flatMap(pair => pair.split('=').slice(1)),
    ...(bodySecret === undefined ? [] : [bodySecret.value]),
  ].filter(text => text.trim().length >= MIN_SECRET_LENGTH)
}

/** Whether a segment of a path is more than a word that could stand in an answer anyway, like `webhooks`. */
function isTelling(segment: string): boolean {
  return segment.length >= 16 || (segment.length >= 6 && /\d|%|[a-z][A-Z]/.test(segment))
}

/** What was encoded: a token, or a user and a password. */
function plainOf(value: string): string[] {
  const plain = Buffer.from(value, 'base64').toString()
  if (Buffer.from(plain).toString('base64') !== value) {
    return []
  }
  const colon = plain.indexOf(':')
  return colon === -1 ? [plain] : [plain, plain.slice(colon + 1)]
}
