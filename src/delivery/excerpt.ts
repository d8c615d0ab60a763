import type { Endpoint } from './delivery.ts'

const HIDDEN = '(hidden)'

/** A shorter text could be a word that stands in the answer anyway. */
const MIN_LENGTH = 4

/** By endpoint, the longest first: one may be part of another. */
const secretsByEndpoint = new WeakMap<Endpoint, readonly string[]>()

/**
 * An answer without what only the endpoint and we know: receivers say again what they were sent, as an error page does
 * with the path.
 *
 * @param text - the beginning of an answer, which may end amid a secret
 */
export function withoutEcho(text: string, endpoint: Endpoint): string {
  if (text === '') {
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
    for (let length = secret.length - 1; length >= MIN_LENGTH; --length) {
      if (shown.endsWith(secret.slice(0, length))) {
        return shown.slice(0, -length) + HIDDEN
      }
    }
  }
  return shown
}

/** Path, query and credentials, whole and in parts, as they are sent and as they were written. */
function secretsOf({ url, headers }: Endpoint): string[] {
  const { pathname, search, searchParams } = url
  const values = headers.filter((_, index) => index % 2 === 1).flatMap(value => [value, ...value.split(/\s+/).slice(1)])
  const parts = [
    pathname + search,
    pathname,
    ...pathname.split('/').filter(segment => segment.length >= 16),
    search.slice(1),
    ...searchParams.values(),
    ...values,
    ...values.flatMap(plainOf),
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

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
