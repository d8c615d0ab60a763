import { answerOf } from './account.ts'
import type { Account, AccountStatus, Candidate, LastAttempt, PastAttempt } from './account.ts'
import { describeOutcome } from './delivery.ts'
import type { AttemptOutcome, Trigger } from './delivery.ts'
import { isCount, isNumber, isObject, isText } from './stored.ts'
import type { LogRow } from './stored.ts'

/**
 * What the log says of one delivery, in short: some 250 bytes with its texts. One object for as long as it is known, written
 * as rows come: of an attempt that settles a delivery, which most are, a new one is all that it costs.
 */
export interface Entry extends Candidate {
  /** Order of acceptance. */
  readonly number: number
  endpoint: string | undefined
  label: string
  order: Candidate['order']
  acceptedAt: number
  /** Of the latest row, epoch ms. */
  at: number
  /** How it ended, or `dead`, by the latest row; `undefined`: it goes on. */
  settled: string | undefined
  attempts: number
  bytes: number | undefined
  last: LastAttempt | undefined
  count: number | undefined
}

/** Words on an outcome are kept up to this length. */
const MAX_WORDS = 200

export function statusOf({ settled }: Entry): AccountStatus {
  return settled === 'delivered' ? 'delivered' : 'discarded'
}

/** Words that are said again and again are kept once. */
const said = new Map<string, string>()
const MAX_SAID = 1_000

function once(words: string): string {
  const known = said.get(words)
  if (known === undefined && said.size < MAX_SAID) {
    said.set(words, words)
  }
  return known ?? words
}

export function lastOf(at: number, durationMs: number, outcome: AttemptOutcome): LastAttempt {
  const words = describeOutcome(outcome)
  return {
    at,
    durationMs: Math.round(durationMs),
    answer: answerOf(outcome),
    outcome: once(words.length > MAX_WORDS ? words.slice(0, MAX_WORDS) : words),
  }
}

/** @returns `undefined`: a row that says too little, as one of an earlier version */
export function entryIn(row: LogRow, past: PastAttempt | undefined): Entry | undefined {
  const { id, owner, at, settled } = row
  const number = row['number']
  return isCount(number)
    ? {
        ...{ number, id, owner, at, settled, endpoint: undefined, label: '', order: undefined, acceptedAt: at },
        ...{ bytes: undefined, attempts: 0, last: undefined, count: undefined },
        ...factsIn(row, past),
      }
    : undefined
}

/** Fills in what is only in a row that is older than those that the entry was made of. */
export function addOlder(entry: Entry, row: LogRow, past: PastAttempt | undefined): void {
  const { endpoint, label, order, acceptedAt, bytes, last, attempts = 0 } = factsIn(row, past)
  entry.endpoint ??= endpoint
  entry.label ||= label ?? ''
  entry.order ??= order
  entry.acceptedAt = acceptedAt ?? entry.acceptedAt
  entry.bytes ??= bytes
  entry.last ??= last
  entry.attempts = Math.max(entry.attempts, attempts)
}

function factsIn(row: LogRow, past: PastAttempt | undefined): Partial<Entry> {
  const { endpoint, label, call, acceptedAt, bytes, count } = row
  return {
    ...(isText(endpoint) && { endpoint }),
    ...(isText(label) && { label }),
    ...(isText(call) && { order: { key: call } }),
    ...(isNumber(acceptedAt) && { acceptedAt }),
    ...(isNumber(bytes) && { bytes }),
    ...(isNumber(count) && { count }),
    ...(past && {
      attempts: past.number,
      last: {
        ...{ at: past.at, durationMs: past.durationMs, answer: past.answer },
        outcome: past.outcome.slice(0, MAX_WORDS),
      },
    }),
  }
}

export function accountOfEntry(entry: Entry): Account {
  const { id, owner, endpoint, label, order, settled, acceptedAt, at, bytes, attempts, last, count } = entry
  const status = statusOf(entry)
  return {
    ...{ id, owner, label, acceptedAt, attempts, status },
    endedAt: at,
    ...(status === 'discarded' && settled !== undefined && { reason: settled }),
    ...(endpoint !== undefined && { endpoint }),
    ...(order !== undefined && { call: order.key }),
    ...(bytes !== undefined && { bytes }),
    ...(last !== undefined && { last }),
    ...(count !== undefined && { count }),
  }
}

/** What a row says of an attempt; `undefined`: it is about none, or not as this version writes it. */
export function attemptIn(row: LogRow): PastAttempt | undefined {
  const attempt = row['attempt']
  if (!isObject(attempt) || !isObject(attempt['outcome'])) {
    return undefined
  }
  const { number, trigger, durationMs, outcome } = attempt
  if (!isCount(number) || !isNumber(durationMs) || !isText(trigger)) {
    return undefined
  }
  // as `attemptRow` has written it
  const came = outcome as unknown as AttemptOutcome & { readonly excerpt?: unknown }
  return {
    ...{ number, durationMs },
    trigger: trigger as Trigger,
    at: row.at,
    answer: answerOf(came),
    ok: came.kind === 'answered' && came.ok === true,
    outcome: describeOutcome(came),
    ...(isText(came.excerpt) && { excerpt: came.excerpt }),
  }
}
