/** Content type and body bytes, made once per (event, format) and never changed afterwards. Shared by deliveries. */
export interface Payload {
  readonly contentType: string
  readonly body: Buffer
  /** How many deliveries hold it in memory. Written by the dispatcher only. */
  users: number
}

/** Where requests go. Two hooks with the same endpoint share one lane and one circuit breaker. */
export interface Endpoint {
  /** The same for the same endpoint, also after a restart; tells nothing of the URL. */
  readonly id: string
  /** Without user-info. */
  readonly url: URL
  /** Names and values in turn, sent with every request: credentials. */
  readonly headers: readonly string[]
  /** For the whole exchange: connecting, sending, the answer. */
  readonly timeoutMs: number
  /** It is disabled after this many failures in a row. */
  readonly disableAfter?: number
}

/** One event for one hook. */
export interface Delivery {
  /** The same on every attempt: the `webhook-id` header. Has no dot (Standard Webhooks). */
  readonly id: string
  /** Whose it is, a hook's id: decides the endpoint, also after a reconfiguration. */
  readonly owner: string
  /** What it is about, for whoever reads the delivery log. */
  readonly label: string
  readonly payload: Payload
  /** Names and values in turn; what changes with each attempt is added later. */
  readonly headers: readonly string[]
  /** To one endpoint, those with `leads` go before the others of the same key have their turn. */
  readonly order: Order
  /** Epoch ms. */
  readonly acceptedAt: number
  /** How long it is worth anything, from when it was accepted; without: until the retry schedule ends. */
  readonly lifetimeMs?: number
}

export interface Order {
  readonly key: string
  readonly leads: boolean
}

/** Why an attempt was made. */
export type Trigger = 'event' | 'retry' | 'replay' | 'test'

/** One HTTP request of a delivery. */
export interface Attempt {
  /** From 1. */
  readonly number: number
  readonly trigger: Trigger
  /** Epoch ms. */
  readonly startedAt: number
  readonly durationMs: number
  readonly outcome: AttemptOutcome
}

/** What an attempt came to. A receiver that fails is nothing exceptional: a value. */
export type AttemptOutcome =
  | {
      /** 2xx. */
      readonly kind: 'accepted'
      readonly status: number
      /** The beginning of the answer's body, as bytes that nobody has looked at. */
      readonly excerpt: Buffer
    }
  | {
      /** Any other status; redirects are not followed. */
      readonly kind: 'refused'
      readonly status: number
      readonly excerpt: Buffer
      /** What `Retry-After` asked for. */
      readonly retryAfterMs?: number
    }
  | {
      /** No status came: DNS, connection, TLS, or the answer is not HTTP. */
      readonly kind: 'unreachable'
      readonly code: string
      /** In words for an administrator; without anything secret. */
      readonly reason: string
    }
  | {
      /** No status came in time. */
      readonly kind: 'timed-out'
      readonly reason: string
    }

/** Why a delivery was never tried to the end. */
export type DiscardReason =
  /** A bound was reached. */
  | 'queue full'
  /** A `pre` that came too late, or a dead letter that was kept long enough. */
  | 'expired'
  | 'hook removed'
  | 'cancelled'
  /** The plugin stopped and could not keep it in a journal. */
  | 'stopped'
  /** Its body could not be read back from the journal. */
  | 'damaged'

/** `503: maintenance` or `connection refused (ECONNREFUSED)`: for logs and the Test button. */
export function describeOutcome(outcome: AttemptOutcome): string {
  switch (outcome.kind) {
    case 'accepted':
      return `answered ${outcome.status}`
    case 'refused':
      return `answered ${outcome.status}${outcome.status >= 300 && outcome.status < 400 ? ' (redirects are not followed)' : ''}`
    case 'unreachable':
      return `${outcome.reason} (${outcome.code})`
    case 'timed-out':
      return outcome.reason
    default:
      return outcome satisfies never
  }
}
