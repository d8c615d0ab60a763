import { accountOf, selector } from './account.ts'
import type { Account, AccountStatus, Candidate, LastAttempt, Page, PastAttempt, Query } from './account.ts'
import { Changes } from './changes.ts'
import type { Attempt, Endpoint } from './delivery.ts'
import { accountOfEntry, addOlder, attemptIn, entryIn, lastOf, statusOf } from './entry.ts'
import type { Entry } from './entry.ts'
import type { Ending, Kept, State } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Recorder } from './recorder.ts'
import { attemptRow, endRow } from './rows.ts'
import { Statistics } from './statistics.ts'
import { isText } from './stored.ts'

type Log = Pick<Recorder, 'log' | 'readLog' | 'isReadable'>

const PAGE_LENGTH = 100

/** The clock may have been set back by so much between an attempt and its delivery's acceptance. */
const CLOCK_SLACK_MS = 60 * 60_000

/**
 * The delivery log, written through here, and what can be told of it without reading the disk each time: an index by which
 * all deliveries are listed, those that are kept and those that are over, what has changed lately, and statistics.
 *
 * What an earlier run has logged is read once, when it is first asked for.
 */
export class History {
  readonly statistics = new Statistics()
  readonly #log: Log | undefined
  readonly #max: number
  /** Rows that are older are of an earlier run, epoch ms. */
  readonly #beganAt = Date.now()
  readonly #changes = new Changes(this.#beganAt.toString(36))
  /** By id, the latest last. */
  #settled = new Map<string, Entry>()
  /** Tried, and not over. */
  #open = new Map<string, Entry>()
  #recalling: Promise<void> | undefined

  /** @param max - so many that are over, and as many that are not, are in the index */
  constructor(log: Log | undefined, max: number) {
    this.#log = log
    this.#max = max
  }

  /** A delivery has come into another state. */
  changed(id: string): void {
    this.#changes.note(id)
  }

  /** @param state - what the attempt has made of the delivery */
  attempted(kept: Kept, attempt: Attempt, endpoint: Endpoint, state: State): void {
    const { outcome, startedAt, durationMs } = attempt
    const row = attemptRow(kept, attempt, endpoint, state)
    this.#log?.log(row)
    this.statistics.count(endpoint.id, startedAt, durationMs, outcome)
    const entry = this.#entryOf(kept)
    entry.endpoint = endpoint.id
    entry.attempts = attempt.number
    entry.last = lastOf(startedAt, durationMs, outcome)
    this.#put(entry, startedAt, row.settled)
  }

  /** A delivery has ended without an attempt, or as many alike. */
  ended(kept: Pick<Kept, 'number' | 'id' | 'owner'> & Partial<Kept>, how: Ending, count = 1): void {
    const row = endRow(kept, how, count)
    this.#log?.log(row)
    const entry = this.#entryOf(kept)
    entry.endpoint = kept.endpoint ?? entry.endpoint
    entry.count = count > 1 ? count : undefined
    this.#put(entry, row.at, how)
    this.#changes.note(kept.id)
  }

  /** @returns the one that is known, out of its place, or a new one */
  #entryOf(kept: Pick<Kept, 'number' | 'id' | 'owner'> & Partial<Kept>): Entry {
    const { number, id, owner, endpoint, label = '', order, acceptedAt = Date.now(), bytes } = kept
    const known = this.#known(id)
    if (known !== undefined) {
      this.#settled.delete(id)
      this.#open.delete(id)
      return known
    }
    // written out: copies of parts of it would cost more than all else
    return {
      number,
      id,
      owner,
      endpoint,
      label,
      order,
      acceptedAt,
      bytes,
      at: acceptedAt,
      attempts: 0,
      settled: undefined,
      last: undefined,
      count: undefined,
    }
  }

  #known(id: string): Entry | undefined {
    return this.#settled.get(id) ?? this.#open.get(id)
  }

  /** The entry's latest row is of now. The one that has changed least lately goes. */
  #put(entry: Entry, at: number, settled: string | undefined): void {
    entry.at = at
    entry.settled = settled
    const entries = settled === undefined ? this.#open : this.#settled
    entries.set(entry.id, entry)
    if (entries.size > this.#max) {
      entries.delete(entries.keys().next().value!)
    }
  }

  /** Settles once the index has all that the log has, if that can be read at present. Never rejects. */
  async recall(): Promise<void> {
    const log = this.#log
    if (log === undefined || (this.#recalling === undefined && !log.isReadable)) {
      return
    }
    this.#recalling ??= this.#recall(log).catch(() => {
      this.#recalling = undefined
    })
    await this.#recalling
  }

  async #recall(log: Log): Promise<void> {
    const found = new Map<string, Entry>()
    const counted: (readonly [endpoint: string, at: number, durationMs: number, isOk: boolean])[] = []
    for await (const row of log.readLog()) {
      // what this run has written is known
      if (row.at >= this.#beganAt) {
        continue
      }
      const past = attemptIn(row)
      if (past !== undefined && isText(row['endpoint'])) {
        counted.push([row['endpoint'], past.at, past.durationMs, past.ok])
      }
      if (this.#known(row.id) !== undefined) {
        continue // this run has tried it again
      }
      const entry = found.get(row.id)
      if (entry !== undefined) {
        addOlder(entry, row, past)
      } else if (found.size < 2 * this.#max) {
        const made = entryIn(row, past)
        if (made !== undefined) {
          found.set(row.id, made)
        }
      }
    }
    // not before all is read: it may have to be read again
    counted.forEach(each => this.statistics.recall(...each))
    const older = [...found].sort(([, a], [, b]) => a.at - b.at)
    const isOver = ({ settled }: Entry): boolean => settled !== undefined
    this.#settled = this.#withOlder(
      older.filter(([, entry]) => isOver(entry)),
      this.#settled
    )
    this.#open = this.#withOlder(
      older.filter(([, entry]) => !isOver(entry)),
      this.#open
    )
  }

  #withOlder(older: readonly [string, Entry][], entries: ReadonlyMap<string, Entry>): Map<string, Entry> {
    return new Map([...older.filter(([id]) => this.#known(id) === undefined), ...entries].slice(-this.#max))
  }

  /** The last attempt of what is kept. */
  lastOf(id: string): LastAttempt | undefined {
    return this.#known(id)?.last
  }

  /** One that is over. */
  ofEnded(id: string): Account | undefined {
    const entry = this.#settled.get(id)
    return entry === undefined || entry.settled === 'dead' ? undefined : accountOfEntry(entry)
  }

  /**
   * One page of what is meant, the newest first. A cursor is the number of the last delivery of the page before: what comes
   * in between the two questions is not missed, and nothing is told twice.
   */
  page(ledger: Ledger, query: Query, toEpoch: (instant: number) => number): Page<Account> {
    if (query.changedSince !== undefined) {
      return this.#changedSince(query.changedSince, ledger, query, toEpoch)
    }
    const { cursor, limit = PAGE_LENGTH } = query
    const isMeant = this.#selector(query)
    const newest = new Newest(limit + 1, cursor === undefined ? Number.POSITIVE_INFINITY : Number(cursor))
    for (const kept of ledger.all()) {
      if (isMeant(kept, kept.state.name as AccountStatus)) {
        newest.add(kept)
      }
    }
    for (const entry of this.#settled.values()) {
      // a dead letter is in the ledger, or is none any more
      if (entry.settled !== 'dead' && isMeant(entry, statusOf(entry)) && ledger.byId(entry.id) === undefined) {
        newest.add(entry)
      }
    }
    const found = newest.sorted()
    const items = found.slice(0, limit)
    return {
      items: items.map(each =>
        'settled' in each ? accountOfEntry(each) : accountOf(each, this.lastOf(each.id), toEpoch)
      ),
      total: newest.total,
      latest: this.#changes.latest,
      ...(found.length > limit && { cursor: String(items.at(-1)?.number ?? 0) }),
    }
  }

  #changedSince(point: string, ledger: Ledger, query: Query, toEpoch: (instant: number) => number): Page<Account> {
    const { latest } = this.#changes
    const changes = this.#changes.after(point)
    if (changes === undefined) {
      return { items: [], total: 0, latest, isOutdated: true }
    }
    const { limit = PAGE_LENGTH } = query
    const isMeant = this.#selector(query)
    const items: Account[] = []
    for (const { id, point: after } of changes) {
      const kept = ledger.byId(id)
      const entry = kept === undefined ? this.#settled.get(id) : undefined
      if (kept !== undefined && isMeant(kept, kept.state.name as AccountStatus)) {
        items.push(accountOf(kept, this.lastOf(id), toEpoch))
      } else if (entry !== undefined && entry.settled !== 'dead' && isMeant(entry, statusOf(entry))) {
        items.push(accountOfEntry(entry))
      }
      if (items.length === limit && after !== latest) {
        return { items, total: items.length, latest: after, hasMore: true }
      }
    }
    return { items, total: items.length, latest }
  }

  #selector({ status, ...which }: Query): (candidate: Candidate, status: AccountStatus) => boolean {
    const wanted = status && new Set(status)
    const isSelected = selector(which, id => this.lastOf(id)?.answer)
    return (candidate, now) => (wanted === undefined || wanted.has(now)) && isSelected(candidate)
  }

  /** What the log has of the attempts of a delivery, the first one first. Rejects while it cannot be read. */
  async attemptsOf({ id, acceptedAt }: Pick<Account, 'id' | 'acceptedAt'>): Promise<PastAttempt[]> {
    const attempts: PastAttempt[] = []
    for await (const row of this.#log?.readLog() ?? []) {
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

type Listed = Kept | Entry

/** The newest of many, by number, without sorting all of them. */
class Newest {
  readonly #length: number
  /** Only what has a smaller number is wanted. */
  readonly #before: number
  /** What has no greater number is not among the newest. */
  #above = -1
  #found: Listed[] = []
  /** How many there were, wanted or not. */
  total = 0

  constructor(length: number, before: number) {
    this.#length = length
    this.#before = before
  }

  add(each: Listed): void {
    ++this.total
    const { number } = each
    if (number < this.#before && number > this.#above) {
      this.#found.push(each)
      if (this.#found.length >= 4 * this.#length + 100) {
        this.#found = this.sorted()
        this.#above = this.#found.at(-1)!.number
      }
    }
  }

  sorted(): Listed[] {
    return this.#found.sort((a, b) => b.number - a.number).slice(0, this.#length)
  }
}
