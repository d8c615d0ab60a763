import { isAscii } from 'node:buffer'

import type { Endpoint } from './delivery.ts'

/** Control characters but for tab and newline, other ends of lines, what changes the direction, and what was not UTF-8. */
const UNREADABLE = /(?![\t\n])[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\ufffd]/gu

/** Of ASCII, what is not shown as it is: most answers have none of it. */
const STRANGE_ASCII = /[^\t\n\x20-\x7e]/

const HIDDEN = '(hidden)'

/** A shorter text could be a word that stands in the answer anyway. */
const MIN_LENGTH = 4

/** By endpoint, the longest first: one may be part of another. */
const secretsByEndpoint = new WeakMap<Endpoint, readonly string[]>()

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
  if (text.length < MIN_LENGTH) {
    return text
  }
  let secrets = secretsByEndpoint.get(endpoint)
  if (secrets === undefined) {
    secrets = secretsOf(endpoint)
    secretsByEndpoint.set(endpoint, secrets)
  }
  let shown = text
  for (const secret of secrets) {
    if (shown.includes(secret)) {
      shown = shown.replaceAll(secret, HIDDEN)
    }
  }
  for (const secret of secrets) {
    const start = cutAt(shown, secret)
    if (start !== -1) {
      return shown.slice(0, start) + HIDDEN
    }
  }
  return shown
}

/** Where the beginning of a secret stands that the end of the text cuts off (`token: abcd12` of `abcd1234`); -1: nowhere. */
function cutAt(text: string, secret: string): number {
  const beginning = secret.slice(0, MIN_LENGTH)
  let start = text.indexOf(beginning, text.length - secret.length + 1)
  while (start !== -1 && !secret.startsWith(text.slice(start))) {
    start = text.indexOf(beginning, start + 1)
  }
  return start
}

/** Path, query and credentials, whole and in parts, as they are sent and as they were written. */
function secretsOf({ url, headers, bodySecret }: Endpoint): string[] {
  const { pathname, search, searchParams } = new URL(url)
  const values = headers.filter((_, index) => index % 2 === 1).flatMap(value => [value, ...value.split(/\s+/).slice(1)])
  const parts = [
    pathname + search,
    pathname,
    ...pathname.split('/').filter(segment => segment.length >= 16),
    search.slice(1),
    ...searchParams.values(),
    ...values,
    ...values.flatMap(plainOf),
    ...(bodySecret === undefined ? [] : [bodySecret.value]),
  ]
  const written = parts.flatMap(part => [
    part,
    decoded(part),
    JSON.stringify(part).slice(1, -1),
    encodeURIComponent(part),
  ])
  return [...new Set(written)].filter(part => part.length >= MIN_LENGTH).sort((a, b) => b.length - a.length)
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

/** Without its `%` escapes. A text in which a `%` escapes nothing is taken as it is. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
