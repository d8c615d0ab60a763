import { accountOf, answerOf, isSelected } from './account.ts'
import type { Account, AccountStatus, Candidate, LastAttempt, Page, PastAttempt, Query } from './account.ts'
import { describeOutcome } from './delivery.ts'
import type { AttemptOutcome, Trigger } from './delivery.ts'
import type { Kept } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Recorder } from './recorder.ts'
import { isCount, isNumber, isObject, isText } from './stored.ts'
import type { LogRow } from './stored.ts'

/** What the log says of one delivery, in short. */
interface Entry extends Candidate {
  /** Order of acceptance. */
  readonly number: number
  /** Of the latest row, epoch ms. */
  readonly at: number
  /** How it ended, or `dead`, by the latest row; `undefined`: it goes on. */
  readonly settled: string | undefined
  readonly attempts: number
  readonly bytes: number | undefined
  readonly last: LastAttempt | undefined
  readonly count: number | undefined
}

/** Words on an outcome are kept up to this length. */
const MAX_WORDS = 200

const PAGE_LENGTH = 100

/** The clock may have been set back by so much between an attempt and its delivery's acceptance. */
const CLOCK_SLACK_MS = 60 * 60_000

/**
 * The delivery log, written through here, and an index of it in memory: by it all deliveries can be listed, those that are
 * kept and those that are over, without reading the disk each time.
 *
 * What an earlier run has logged is read once, when it is first asked for.
 */
export class History {
  readonly #recorder: Pick<Recorder, 'log' | 'readLog' | 'isReadable'> | undefined
  readonly #max: number
  /** By id, the latest last. */
  #settled = new Map<string, Entry>()
  /** Tried, and not over. */
  #open = new Map<string, Entry>()
  #recalling: Promise<void> | undefined

  /** @param max - so many that are over, and as many that are not, are in the index */
  constructor(recorder: Pick<Recorder, 'log' | 'readLog' | 'isReadable'> | undefined, max: number) {
    this.#recorder = recorder
    this.#max = max
  }

  log(row: LogRow): void {
    this.#recorder?.log(row)
    const entry = this.#add(row)
    // the one that has changed least lately goes
    for (const entries of entry === undefined ? [] : [this.#settled, this.#open]) {
      if (entries.size > this.#max) {
        entries.delete(entries.keys().next().value!)
      }
    }
  }

  /** Rows of one delivery may come in any order, and more than once. */
  #add(row: LogRow): Entry | undefined {
    const before = this.#settled.get(row.id) ?? this.#open.get(row.id)
    const entry = entryOf(row, before)
    if (entry !== undefined) {
      this.#settled.delete(row.id)
      this.#open.delete(row.id)
      ;(entry.settled === undefined ? this.#open : this.#settled).set(row.id, entry)
    }
    return entry
  }

  /** Settles once the index has all that the log has, if that can be read at present. Never rejects. */
  async recall(): Promise<void> {
    if (this.#recorder === undefined || (this.#recalling === undefined && !this.#recorder.isReadable)) {
      return
    }
    this.#recalling ??= this.#recall(this.#recorder).catch(() => {
      this.#recalling = undefined
    })
    await this.#recalling
  }

  async #recall(recorder: Pick<Recorder, 'readLog'>): Promise<void> {
    for await (const row of recorder.readLog()) {
      if (this.#settled.size < this.#max || this.#settled.has(row.id)) {
        this.#add(row)
      }
    }
    const sorted = (entries: ReadonlyMap<string, Entry>): Map<string, Entry> =>
      new Map([...entries].sort(([, a], [, b]) => a.at - b.at).slice(-this.#max))
    this.#settled = sorted(this.#settled)
    this.#open = sorted(this.#open)
  }

  /** The last attempt of what is kept. */
  lastOf(id: string): LastAttempt | undefined {
    return (this.#open.get(id) ?? this.#settled.get(id))?.last
  }

  /** One that is over. */
  ended(id: string): Account | undefined {
    const entry = this.#settled.get(id)
    return entry === undefined || entry.settled === 'dead' ? undefined : accountOfEntry(entry)
  }

  /**
   * One page of what is meant, the newest first. A cursor is the number of the last delivery of the page before: what comes
   * in between the two questions is not missed, and nothing is told twice.
   */
  page(ledger: Ledger, query: Query, toEpoch: (instant: number) => number): Page<Account> {
    const { status, cursor, limit = PAGE_LENGTH, ...which } = query
    const wanted = status && new Set(status)
    const before = cursor === undefined ? Number.POSITIVE_INFINITY : Number(cursor)
    const meant: (Kept | Entry)[] = []
    let total = 0
    const take = (candidate: Kept | Entry, now: AccountStatus, about: Candidate): void => {
      if ((wanted === undefined || wanted.has(now)) && isSelected(about, which)) {
        ++total
        if (candidate.number < before) {
          meant.push(candidate)
        }
      }
    }
    for (const kept of ledger.all()) {
      const { id, owner, endpoint, label, acceptedAt, order } = kept
      const answer = which.answer === undefined ? undefined : this.lastOf(id)?.answer
      take(kept, kept.state.name as AccountStatus, { id, owner, endpoint, label, acceptedAt, call: order.key, answer })
    }
    for (const entry of this.#settled.values()) {
      // a dead letter is in the ledger, or is none any more
      if (entry.settled !== 'dead' && ledger.byId(entry.id) === undefined) {
        take(entry, entry.settled === 'delivered' ? 'delivered' : 'discarded', entry)
      }
    }
    const items = meant.sort((a, b) => b.number - a.number).slice(0, limit)
    return {
      items: items.map(each =>
        'settled' in each ? accountOfEntry(each) : accountOf(each, this.lastOf(each.id), toEpoch)
      ),
      total,
      ...(meant.length > limit && { cursor: String(items.at(-1)?.number ?? 0) }),
    }
  }

  /** What the log has of the attempts of a delivery, the first one first. Rejects while it cannot be read. */
  async attemptsOf({ id, acceptedAt }: Pick<Account, 'id' | 'acceptedAt'>): Promise<PastAttempt[]> {
    const attempts: PastAttempt[] = []
    for await (const row of this.#recorder?.readLog() ?? []) {
      const past = row.id === id ? attemptIn(row) : undefined
      if (past !== undefined) {
        attempts.push(past)
      }
      if (past?.number === 1 || row.at < acceptedAt - CLOCK_SLACK_MS) {
        break
      }
    }
    return attempts.reverse()
  }
}

/** `undefined`: a row that says too little, as one of an earlier version. */
function entryOf(row: LogRow, before: Entry | undefined): Entry | undefined {
  const { id, owner, at, settled, endpoint, label, call, acceptedAt, bytes, count } = row
  const number = row['number']
  if (!isCount(number)) {
    return undefined
  }
  const past = attemptIn(row)
  const last: LastAttempt | undefined = past && {
    at: past.at,
    durationMs: past.durationMs,
    answer: past.answer,
    outcome: past.outcome.slice(0, MAX_WORDS),
  }
  const isLatest = before === undefined || at >= before.at
  const newest = last !== undefined && (before?.last === undefined || last.at >= before.last.at) ? last : before?.last
  return {
    ...{ id, owner, number },
    endpoint: isText(endpoint) ? endpoint : before?.endpoint,
    label: isText(label) ? label : (before?.label ?? ''),
    call: isText(call) ? call : before?.call,
    acceptedAt: isNumber(acceptedAt) ? acceptedAt : (before?.acceptedAt ?? at),
    at: isLatest ? at : before.at,
    settled: isLatest ? settled : before.settled,
    attempts: Math.max(before?.attempts ?? 0, past?.number ?? 0),
    bytes: isNumber(bytes) ? bytes : before?.bytes,
    last: newest,
    answer: newest?.answer,
    count: isNumber(count) ? count : before?.count,
  }
}

function accountOfEntry(entry: Entry): Account {
  const { id, owner, endpoint, label, call, settled, acceptedAt, at, bytes, attempts, last, count } = entry
  const isDelivered = settled === 'delivered'
  return {
    ...{ id, owner, label, acceptedAt, attempts },
    endedAt: at,
    status: isDelivered ? 'delivered' : 'discarded',
    ...(!isDelivered && settled !== undefined && { reason: settled }),
    ...(endpoint !== undefined && { endpoint }),
    ...(call !== undefined && { call }),
    ...(bytes !== undefined && { bytes }),
    ...(last !== undefined && { last }),
    ...(count !== undefined && { count }),
  }
}

/** What a row says of an attempt; `undefined`: it is about none, or not as this version writes it. */
function attemptIn(row: LogRow): PastAttempt | undefined {
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
