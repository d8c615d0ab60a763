import { PLACE } from './delivery.ts'
import type { Attempt, AttemptOutcome, Endpoint, Trigger } from './delivery.ts'
import type { Content } from './kept.ts'
import { signerOf } from './signature.ts'
import type { Sign } from './signature.ts'

/** One request as it goes out. */
export interface OutgoingRequest {
  readonly contentType: string
  readonly body: Buffer
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** Path and query, where they are not the endpoint's. */
  readonly path?: string
  /** For the whole exchange: connecting, sending, the answer. */
  readonly timeoutMs: number
  /** An answer that refuses is an answer: see `Delivery`. */
  readonly isQuestion?: boolean
}

/** The sockets of one endpoint. */
export interface Connection {
  /** What it goes through, without credentials; absent: it goes straight to the receiver. */
  readonly proxy?: string
  /** One attempt. Never rejects, and settles within the request's timeout. */
  send(request: OutgoingRequest): Promise<AttemptOutcome>
  /** Requests under way may end, then the sockets are closed. */
  close(): void
  /** Requests under way fail at once. */
  destroy(): void
}

export type Connect = (endpoint: Endpoint) => Connection

/** What of a delivery an attempt needs. */
export interface Sendable extends Content {
  /** The delivery's: the `webhook-id` header. */
  readonly id: string
  /** See {@link OutgoingRequest}. */
  readonly timeoutMs: number
  readonly isQuestion?: boolean
}

/**
 * One attempt of a delivery: adds what changes with each, the headers that name it and its signatures. Never rejects.
 *
 * @param number - from 1
 */
export async function attempt(
  connection: Connection,
  endpoint: Endpoint,
  { id, headers, payload, timeoutMs, isQuestion = false }: Sendable,
  number: number,
  trigger: Trigger
): Promise<Attempt> {
  const startedAt = Date.now()
  const start = performance.now()
  const timestamp = Math.floor(startedAt / 1000)
  const body = withSecret(payload.body, endpoint.bodySecret)
  let outcome: AttemptOutcome
  try {
    outcome = await connection.send({
      contentType: payload.contentType,
      body,
      headers: [
        ...headers,
        'X-XO-Delivery',
        id,
        'X-XO-Attempt',
        String(number),
        'webhook-id',
        id,
        'webhook-timestamp',
        String(timestamp),
        ...(signerFor(endpoint)?.(id, timestamp, body) ?? []),
      ],
      ...(payload.fills && { path: filledPath(endpoint, payload.fills) }),
      timeoutMs,
      ...(isQuestion && { isQuestion }),
    })
  } catch {
    // a connection that breaks its word must not take a place in the lane for ever
    outcome = { kind: 'unreachable', code: 'INTERNAL', reason: 'the request could not be made' }
  }
  return { number, trigger, startedAt, durationMs: performance.now() - start, outcome }
}

function filledPath({ url }: Endpoint, fills: Readonly<Record<string, string>>): string {
  const { pathname, search } = new URL(url)
  return (pathname + search).replace(PLACE, place => fills[place] ?? '')
}

const OPEN_BRACE = 0x7b
const EMPTY_OBJECT = '{}'

/** What is no JSON object, as that of a format which the hook had before, has no place for it. */
function withSecret(body: Buffer, secret: Endpoint['bodySecret']): Buffer {
  if (secret === undefined || body[0] !== OPEN_BRACE) {
    return body
  }
  const property = `{${JSON.stringify(secret.name)}:${JSON.stringify(secret.value)}`
  const isEmpty = body.length === EMPTY_OBJECT.length
  return Buffer.concat([Buffer.from(isEmpty ? property : `${property},`), body.subarray(1)])
}

/** Reading a secret takes longer than signing with it. An endpoint that is changed is another object. */
const signers = new WeakMap<Endpoint, Sign>()

function signerFor(endpoint: Endpoint): Sign | undefined {
  if (endpoint.secrets === undefined) {
    return undefined
  }
  let sign = signers.get(endpoint)
  if (sign === undefined) {
    sign = signerOf(endpoint.secrets)
    if (sign !== undefined) {
      signers.set(endpoint, sign)
    }
  }
  return sign
}
