import { FORBIDDEN } from '../delivery/delivery.ts'
import type { AttemptOutcome, Pace, Payload } from '../delivery/delivery.ts'
import type { Event } from '../event/event.ts'
import type { Instance, Message } from './message.ts'

/** How an event becomes a request, and how the answer is read. Everything in it is pure. */
export interface Format {
  /** For the form. */
  readonly title: string
  /** What an administrator should know who chooses it. */
  readonly warning?: string
  /** What the field `target` means to it; without, it has no use for one. */
  readonly target?: TargetField
  /** Where `authentication.token` goes, if not into the `Authorization` header. */
  readonly token?: TokenField
  /** It has use for the field `template`: checks it. */
  readonly template?: (text: string) => Mistake | undefined
  readonly url: UrlField
  /** Its URLs may have placeholders, of the kind of its templates, in their path and query. */
  readonly fillsUrl?: boolean
  /** It tells people of the object that the event is about, whether the hook asks for that or not. */
  readonly tellsObject?: boolean
  /** It tells of what has happened only. */
  readonly isPostOnly?: boolean
  /** What it makes is of one delivery only: it has the delivery's id in it. Else deliveries with the same options share it. */
  readonly isPerDelivery?: boolean
  /** How fast its service takes requests. */
  readonly pace?: Pace
  /** Where it throws, the hook goes without this event. */
  build(material: Material, options: Options): Built
  /** What an answer means; `undefined`: what its status says. */
  judge?(answer: ServiceAnswer): Verdict | undefined
}

export interface TargetField {
  /** `the chat's id, like -1001234567890, or @channel` */
  readonly meaning: string
  readonly isRequired?: boolean
  /** The parameter of the URL's query that may have it instead. */
  readonly inQuery?: string
  /** What it has to look like. */
  readonly pattern?: RegExp
}

export interface TokenField {
  /** `the application's token` */
  readonly meaning: string
  readonly isRequired?: boolean
  /** The parameter of the URL's query that may have it instead. */
  readonly inQuery?: string
  /** The header that has it, or the property of the body. */
  readonly place: { readonly header: string } | { readonly property: string }
}

export interface UrlField {
  readonly example: string
  /** Whether it is this service's, by its host and path: a hook of another format there is a mistake. */
  readonly isOwn?: (url: URL) => boolean
  /** Why it cannot be one of this format; `undefined`: it may be. */
  readonly problem?: (url: URL) => string | undefined
  /** What the administrator meant, and the target, where that stands in the URL. */
  readonly normalise?: (url: URL) => { readonly url: URL; readonly target?: string }
}

/** A mistake in a template. */
export interface Mistake {
  readonly line: number
  readonly column: number
  readonly expected: string
  readonly got: string
}

/** What a payload is made of. */
export interface Material {
  /** With its object, if the hook asks for that. */
  readonly event: Event
  /** Made when it is asked for. */
  readonly message: Message
  /** JSON of the object that the event is about, whether the hook asks for it or not. */
  readonly object: string | undefined
  readonly instance: Instance
  readonly delivery: { readonly id: string; readonly hook: { readonly id: string; readonly name: string } }
}

/** Those of a hook. */
export interface Options {
  readonly target?: string
  readonly template?: string
  /** Each `PLACE` of the hook's URL. */
  readonly places?: readonly string[]
}

export interface Built extends Payload {
  /** Names and values in turn, beside those that every request has. */
  readonly headers?: readonly string[]
}

/** What a service has answered. */
export interface ServiceAnswer {
  readonly status: number
  /** The beginning of the body. */
  readonly text: string
}

export type Verdict =
  /** Whatever the status says. */
  | { readonly is: 'delivered' }
  /** Not tried again: the same request never succeeds. */
  | { readonly is: 'refused'; readonly reason: string }
  /** The endpoint is disabled: no request there succeeds. */
  | { readonly is: 'gone'; readonly reason: string }
  /** Tried again; `afterMs`: when the service says. */
  | { readonly is: 'failed'; readonly reason: string; readonly afterMs?: number }

/** A day: nobody is believed who asks for more. */
const MAX_DELAY_MS = 24 * 60 * 60_000

/**
 * What came of an attempt, as its service means it.
 *
 * @param isQuestion - who is asked and says no has answered: nothing has failed
 */
export function judged({ judge }: Pick<Format, 'judge'>, outcome: AttemptOutcome, isQuestion = false): AttemptOutcome {
  if (outcome.kind !== 'answered') {
    return outcome
  }
  if (isQuestion && outcome.status === FORBIDDEN) {
    return { kind: 'answered', ok: true, status: FORBIDDEN, excerpt: outcome.excerpt }
  }
  if (judge === undefined) {
    return outcome
  }
  const verdict = judge({ status: outcome.status, text: outcome.excerpt.toString() })
  switch (verdict?.is) {
    case undefined:
      return outcome
    case 'delivered':
      return { kind: 'answered', ok: true, status: outcome.status, excerpt: outcome.excerpt }
    case 'refused':
    case 'gone':
      return { ...outcome, ok: false, ruling: verdict.is, reason: verdict.reason }
    case 'failed': {
      const { reason, afterMs } = verdict
      const retryAfterMs = afterMs !== undefined && afterMs > 0 ? Math.min(afterMs, MAX_DELAY_MS) : undefined
      return { ...outcome, ok: false, reason, ...(retryAfterMs !== undefined && { retryAfterMs }) }
    }
    default:
      return verdict satisfies never
  }
}

/** The JSON object in an answer; `{}` if it is none. */
export function jsonIn(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {}
  }
}

/**
 * Whether it may be the service itself that says no, whose answers are JSON objects (the end of a long one is not known): a
 * page of HTML comes from a proxy or a load balancer on the way, which knows nothing of chats and tokens.
 */
export function isFromService({ text }: ServiceAnswer): boolean {
  return /^\s*\{/.test(text)
}

export function payloadOf(contentType: string, text: string): Payload {
  return { contentType, body: Buffer.from(text) }
}

export function jsonPayload(value: unknown): Payload {
  return payloadOf('application/json', JSON.stringify(value))
}
