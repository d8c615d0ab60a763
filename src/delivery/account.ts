import type { AttemptOutcome, Trigger } from './delivery.ts'
import type { Health } from './health.ts'
import type { Kept } from './kept.ts'
import type { Tally } from './tally.ts'
import { isMatch } from '../glob.ts'

/** Which deliveries; all conditions that are given hold. */
export interface Selection {
  readonly id?: string
  /** One of these. */
  readonly ids?: readonly string[]
  readonly endpoint?: string
  readonly owner?: string
  /** Accepted at or after, epoch ms. */
  readonly since?: number
  /** Accepted before, epoch ms. */
  readonly until?: number
  /** The first word of its label is like this: `*` stands for anything. */
  readonly subject?: string
  /** The third word of its label. */
  readonly object?: string
  /** Key of its order. */
  readonly call?: string
  /** What the last attempt came to: see {@link LastAttempt.answer}, or a class of statuses like `5xx`. */
  readonly answer?: string
}

export interface Query extends Selection {
  /** One of these. */
  readonly status?: readonly AccountStatus[]
  /** Of an earlier page: what comes after it. */
  readonly cursor?: string
  /** {@link Page.latest} of an earlier page: only what has changed since, the oldest change first. */
  readonly changedSince?: string
  /** @default 100 */
  readonly limit?: number
}

export interface Page<T> {
  readonly items: readonly T[]
  /** How many are meant, on all pages. */
  readonly total: number
  /** Absent: there is no more. */
  readonly cursor?: string
  /** Where the changes stand, for {@link Query.changedSince}. */
  readonly latest: string
  /** Of changes: there are more, after `latest`. */
  readonly hasMore?: true
  /** Of changes: they are not known any more from there on, and everything has to be listed anew. */
  readonly isOutdated?: true
}

export const ACCOUNT_STATUSES = ['queued', 'held', 'waiting', 'sending', 'dead', 'delivered', 'discarded'] as const

export type AccountStatus = (typeof ACCOUNT_STATUSES)[number]

/** What is known of one delivery, kept or over. Holds no body, no header and no URL. */
export interface Account {
  readonly id: string
  readonly owner: string
  /** Absent: it has never had one. */
  readonly endpoint?: string
  /** Words: what it is about, what became of that, and the object of that, if there is one. */
  readonly label: string
  /** Key of its order. */
  readonly call?: string
  readonly status: AccountStatus
  /** Why it was discarded. */
  readonly reason?: string
  /** Epoch ms. */
  readonly acceptedAt: number
  /** When it ended, epoch ms. */
  readonly endedAt?: number
  readonly bytes?: number
  readonly attempts: number
  /** Of the next attempt, epoch ms, while `waiting`. */
  readonly dueAt?: number
  readonly last?: LastAttempt
  /** Of as many alike nothing else is known. */
  readonly count?: number
}

export interface LastAttempt {
  /** Epoch ms. */
  readonly at: number
  readonly durationMs: number
  /** The status that was answered, like `503`, or `timed-out` or `unreachable`. */
  readonly answer: string
  /** In words. */
  readonly outcome: string
}

/** An attempt as the log has it: the excerpt is text. */
export interface PastAttempt {
  readonly number: number
  readonly trigger: Trigger
  /** Epoch ms. */
  readonly at: number
  readonly durationMs: number
  readonly answer: string
  readonly ok: boolean
  readonly outcome: string
  /** The beginning of the answer. A stranger's text: to be shown as text, and nothing else. */
  readonly excerpt?: string
}

/** All that there is to know of one delivery. */
export interface Details extends Account {
  /** The first one first; absent: the log cannot be read at present. */
  readonly history?: readonly PastAttempt[]
  /** Absent: it is over, or cannot be read at present. */
  readonly request?: RequestDetails
}

/** A request without what lets it in: that is the endpoint's, and not here. */
export interface RequestDetails {
  /** Names and values in turn. */
  readonly headers: readonly string[]
  readonly contentType: string
  /** Absent: it is large, or not text. */
  readonly body?: string
}

export interface EndpointHealth extends Tally {
  readonly origin: string
  readonly health: Health
  /** The circuit is open: nothing is sent before, epoch ms. */
  readonly retryAt?: number
  /** Nothing is sent before, epoch ms. */
  readonly pausedUntil?: number
}

/** How an endpoint is doing, and what waits there. */
export interface EndpointReport {
  readonly endpoint: string
  readonly origin: string
  /** Ids of the hooks that go there. */
  readonly owners: readonly string[]
  readonly health: Health
  readonly pending: number
  readonly dead: number
}

/** `503`, `timed-out` or `unreachable`. */
export function answerOf(outcome: Pick<AttemptOutcome, 'kind'> & { readonly status?: number }): string {
  return outcome.kind === 'answered' ? String(outcome.status) : outcome.kind
}

/** @param toEpoch - turns an instant of the engine's clock into epoch ms */
export function accountOf(kept: Kept, last: LastAttempt | undefined, toEpoch: (instant: number) => number): Account {
  const { id, owner, endpoint, label, order, state, acceptedAt, bytes, progress } = kept
  return {
    id,
    owner,
    endpoint,
    label,
    call: order.key,
    // what has ended is not kept
    status: state.name === 'ended' ? 'discarded' : state.name,
    acceptedAt,
    bytes,
    attempts: progress.attempts,
    ...(state.name === 'waiting' && { dueAt: Math.round(toEpoch(state.dueAt)) }),
    ...(last !== undefined && { last }),
  }
}

/** What of a delivery decides whether it is meant. */
export interface Candidate {
  readonly id: string
  readonly owner: string
  readonly label: string
  readonly acceptedAt: number
  readonly endpoint: string | undefined
  readonly order: { readonly key: string } | undefined
}

/**
 * Whether a delivery is meant, by a function that many can be put to: what is asked of the subject is looked into once for
 * each subject.
 *
 * @param answerOf - what the last attempt of a delivery came to; asked only where that matters
 */
export function selector(
  { id, ids, endpoint, owner, since, until, subject, object, call, answer }: Selection,
  answerOf: (id: string) => string | undefined
): (candidate: Candidate) => boolean {
  const wanted = ids && new Set(ids)
  const subjects = new Map<string, boolean>()
  const isSubject = (pattern: string, label: string): boolean => {
    const [name = ''] = label.split(' ', 1)
    let isMeant = subjects.get(name)
    if (isMeant === undefined) {
      isMeant = isMatch(pattern, name)
      subjects.set(name, isMeant)
    }
    return isMeant
  }
  const isAnswered = (pattern: string, came: string | undefined): boolean =>
    came === pattern || (came !== undefined && /^[1-5]xx$/.test(pattern) && came.length === 3 && came[0] === pattern[0])
  return each =>
    (id === undefined || id === each.id) &&
    (wanted === undefined || wanted.has(each.id)) &&
    (endpoint === undefined || endpoint === each.endpoint) &&
    (owner === undefined || owner === each.owner) &&
    (since === undefined || each.acceptedAt >= since) &&
    (until === undefined || each.acceptedAt < until) &&
    (call === undefined || call === each.order?.key) &&
    (object === undefined || each.label.endsWith(` ${object}`)) &&
    (subject === undefined || isSubject(subject, each.label)) &&
    (answer === undefined || isAnswered(answer, answerOf(each.id)))
}
