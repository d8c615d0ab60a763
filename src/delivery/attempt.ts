import type { Attempt, AttemptOutcome, Delivery, Endpoint, Trigger } from './delivery.ts'

/** One request as it goes out. */
export interface OutgoingRequest {
  readonly contentType: string
  readonly body: Buffer
  /** Names and values in turn. */
  readonly headers: readonly string[]
}

/** The sockets of one endpoint. */
export interface Connection {
  /** One attempt. Never rejects, and settles within the endpoint's timeout. */
  send(request: OutgoingRequest): Promise<AttemptOutcome>
  /** Requests under way may end, then the sockets are closed. */
  close(): void
  /** Requests under way fail at once. */
  destroy(): void
}

export type Connect = (endpoint: Endpoint) => Connection

/**
 * One attempt of a delivery: adds what changes with each, the headers that name it and its signatures. Never rejects.
 *
 * @param number - from 1
 */
export async function attempt(
  connection: Connection,
  { sign }: Endpoint,
  { id, headers, payload }: Delivery,
  number: number,
  trigger: Trigger
): Promise<Attempt> {
  const startedAt = Date.now()
  const start = performance.now()
  const timestamp = Math.floor(startedAt / 1000)
  let outcome: AttemptOutcome
  try {
    outcome = await connection.send({
      contentType: payload.contentType,
      body: payload.body,
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
        ...(sign?.(id, timestamp, payload.body) ?? []),
      ],
    })
  } catch {
    // a connection that breaks its word must not take a place in the lane for ever
    outcome = { kind: 'unreachable', code: 'INTERNAL', reason: 'the request could not be made' }
  }
  return { number, trigger, startedAt, durationMs: performance.now() - start, outcome }
}
