/** Content type and body bytes, made once per (event, format) and never changed afterwards. Shared by deliveries. */
export interface Payload {
  readonly contentType: string
  readonly body: Buffer
  /** What takes the place of each {@link PLACE} of the endpoint's URL, percent-encoded. */
  readonly fills?: Readonly<Record<string, string>>
}

/** In the path and query of an endpoint's URL: what is filled in with each event, like `%7B%7Bobject.id%7D%7D`. */
export const PLACE = /%7B%7B.*?%7D%7D/g

/**
 * Where requests go and to whom: plain data. Two hooks with the same endpoint share one lane, one circuit breaker and
 * one set of sockets.
 */
export interface Endpoint {
  /** The same for the same endpoint, also after a restart; tells nothing of the URL. */
  readonly id: string
  /** `https://host:port/path?query`, as `URL` writes it, without user-info. */
  readonly url: string
  /** @default 'POST' */
  readonly method?: 'PUT'
  /** Who is meant at this URL (a chat, a channel, a user…): one that is blocked there says nothing of the others. */
  readonly target?: string
  /** Names and values in turn, sent with every request: credentials. */
  readonly headers: readonly string[]
  /**
   * A credential that stands in the body, which is a JSON object, as its first property. It is put there with each attempt:
   * no body that is kept has it.
   */
  readonly bodySecret?: { readonly name: string; readonly value: string }
  /** By whose rules answers are read, where those of HTTP do not say all. */
  readonly service?: string
  /** Without: as fast as it answers. */
  readonly pace?: Pace
  /** Signing secrets, separated by spaces, the newest first (`signature.ts` reads them); without, nothing is signed. */
  readonly secrets?: string
  /** `name` or `name:port`: whom requests are for (`Host`), and whose certificate is asked for; without: the URL's. */
  readonly host?: string
  /** Sent instead of a payload's own. */
  readonly contentType?: string
  /** Of an https URL, where it is not the usual. */
  readonly tls?: TlsSettings
}

/** How fast requests may follow each other. It holds for all endpoints of an origin together. */
export interface Pace {
  readonly perSecond: number
  /** As many may go at once after a pause. */
  readonly burst: number
}

/** Where an owner's deliveries go, and within which limits: those are the owner's, and make no other endpoint. */
export interface Route {
  readonly endpoint: Endpoint
  /** For a whole request: connecting, sending, the answer. */
  readonly timeoutMs: number
  /** Its endpoint is disabled once this many deliveries in a row have failed. */
  readonly disableAfter?: number
  /** Nothing of this owner is sent; what waits is kept. */
  readonly isPaused?: boolean
}

/** All in PEM. */
export interface TlsSettings {
  /** The receiver is not asked who it is: anyone in between may read and change what is sent. */
  readonly acceptAnyCertificate: boolean
  /** Certificates that are trusted, and no others. */
  readonly ca?: string
  /** Shown to the receiver if it asks: a certificate, those that vouch for it, and the private key. */
  readonly client?: { readonly certificate: string; readonly key: string }
}

/** One event for one hook. */
export interface Delivery {
  /** The same on every attempt: the `webhook-id` header. Has no dot (Standard Webhooks). */
  readonly id: string
  /** Whose it is, a hook's id: decides the endpoint, also after a reconfiguration. */
  readonly owner: string
  /** Who caused it: where there is no room, whoever causes most loses first. @default '' */
  readonly party?: string
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
  /**
   * Somebody decides by its answer, a 403 included, and does not wait for another one: it is sent once, right away, or
   * expires. It is not kept on disk.
   */
  readonly isQuestion?: boolean
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

/**
 * The part of a request's way at which it failed: the look-up of the name; the connection; the proxy, whatever it did; TLS;
 * what came is no HTTP (`http`); no answer came, or not in time (`answer`).
 */
export type Layer = 'name' | 'connection' | 'proxy' | 'tls' | 'http' | 'answer'

/**
 * What an attempt came to. A receiver that fails is nothing exceptional: a value.
 *
 * `isOnlyHere`, of the layer `proxy`: the proxy is there, and does not get through to this receiver, which says nothing of
 * others.
 */
export type AttemptOutcome =
  | {
      /** A status came. Redirects are not followed. */
      readonly kind: 'answered'
      /** Delivered: 2xx, if its service does not say otherwise. */
      readonly ok: boolean
      readonly status: number
      /**
       * What its service means by it, where the status does not say so. `refused`: the same request never succeeds; `gone`:
       * no request to this endpoint does.
       */
      readonly ruling?: 'refused' | 'gone'
      /** In words for an administrator; without anything secret. */
      readonly reason?: string
      /** The beginning of the answer's body, as bytes that nobody has looked at. */
      readonly excerpt: Buffer
      /** What `Retry-After` asked for; of an answer that is not `ok`. */
      readonly retryAfterMs?: number
      /** What else there is to know of it, in words for an administrator; without anything secret. */
      readonly note?: string
    }
  | {
      /** No status came: DNS, connection, TLS, or the answer is not HTTP. */
      readonly kind: 'unreachable'
      readonly code: string
      /** Without: no request was made, or it was ended from here. */
      readonly layer?: Layer
      readonly isOnlyHere?: boolean
      /** In words for an administrator; without anything secret. */
      readonly reason: string
    }
  | {
      /** No status came in time. */
      readonly kind: 'timed-out'
      readonly layer?: Layer
      readonly isOnlyHere?: boolean
      readonly reason: string
    }

/** The status by which whoever is asked refuses. */
export const FORBIDDEN = 403

/** The receiver is not to blame, nor does it gain by it: none of its breakers, limits and schedules hear of it. */
export function isOfProxy(outcome: AttemptOutcome): boolean {
  return outcome.kind !== 'answered' && outcome.layer === 'proxy'
}

/** Why a delivery was never tried to the end. */
export type DiscardReason =
  /** A bound was reached. */
  | 'queue full'
  /** A `pre` that came too late, a question that has found no answer, or a dead letter that was kept long enough. */
  | 'expired'
  | 'hook removed'
  | 'cancelled'
  /** The plugin stopped and could not keep it in a journal. */
  | 'stopped'
  /** It could not be read back from the journal. */
  | 'damaged'
  /** Its format could not write the event. */
  | 'unformatted'
  /** Its hook is switched off, as its filter took too long three times. */
  | 'filter too slow'
  /** Its event brought the delivery side down three times. */
  | 'set aside'
  /** The delivery side died with it, and no copy was left. */
  | 'lost'

/** `answered 503` or `the connection was refused (ECONNREFUSED)`: for logs and the Test button. */
export function describeOutcome(outcome: AttemptOutcome): string {
  switch (outcome.kind) {
    case 'answered':
      return [`answered ${outcome.status}${remarkOn(outcome)}`, ...('note' in outcome ? [outcome.note] : [])].join('; ')
    case 'unreachable':
      return `${outcome.reason} (${outcome.code})`
    case 'timed-out':
      return outcome.reason
    default:
      return outcome satisfies never
  }
}

function remarkOn({ status, reason }: Extract<AttemptOutcome, { kind: 'answered' }>): string {
  if (reason !== undefined) {
    return `: ${reason}`
  }
  return status >= 300 && status < 400 ? ' (redirects are not followed)' : ''
}
