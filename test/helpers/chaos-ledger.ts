import type { OutgoingRequest } from '../../src/delivery/attempt.ts'
import type { Account } from '../../src/delivery/account.ts'
import type { Stats } from '../../src/delivery/controls.ts'
import type { AttemptOutcome, Delivery, Route } from '../../src/delivery/delivery.ts'
import type { DispatcherEvent } from '../../src/delivery/options.ts'
import type { LogRow } from '../../src/delivery/journal.ts'
import { sumOf, tallyOf } from '../../src/delivery/tally.ts'
import type { Ended, Tally } from '../../src/delivery/tally.ts'
import type { Behaviour, Seen } from './chaos-receiver.ts'

/** One request, as the engine has made it. */
interface Sending {
  readonly moment: number
  readonly at: number
  readonly number: number
  readonly endpoint: string
  readonly url: string
  readonly timeoutMs: number
  outcome: AttemptOutcome | undefined
  endedAt: number
  /** The engine was closing before it ended. */
  isCut: boolean
}

/** A delivery, as it was handed in, and what has been seen of it since. */
interface Entry {
  readonly delivery: Delivery
  readonly moment: number
  /** As of `performance.now()`. */
  readonly at: number
  /** Of the life in which it was handed in. */
  readonly life: number
  readonly sendings: Sending[]
  fate: 'open' | 'delivered' | 'discarded'
  /** The moment of its fate. */
  fateMoment: number
  reason: string | undefined
  /** That were told of. */
  attempts: number
  /** A dead letter. */
  isDead: boolean
  wasDead: boolean
  isCancelled: boolean
  /** The disk was in trouble: how often it was tried may be forgotten. */
  isVague: boolean
  /** Since when it has been waiting to be sent, without a break. */
  pendingSince: number
}

/** An owner's route from a moment on. */
interface Routed {
  readonly moment: number
  readonly at: number
  readonly route: Route | undefined
}

/** One engine, from its start to the next. */
interface Life {
  readonly number: number
  readonly began: number
  /** The disk was in trouble as the one before it ended: what that knew last may not be on disk. */
  readonly isAfterTrouble: boolean
  /** The journal is open; the moment. */
  opened: number | undefined
  /** Deliveries are sent; the moment. */
  ready: number | undefined
  /** When all that was kept by the life before was known here. */
  restored: number | undefined
  isClosing: boolean
  isClosed: boolean
  /** The disk was in trouble: not all that is kept may be on it. */
  hasTrouble: boolean
}

/** What says 2xx, whatever comes after it. */
const AGREEABLE: ReadonlySet<Behaviour> = new Set([
  'ok',
  'no content',
  'slow',
  'late',
  'reset after headers',
  'drip body',
  'truncate',
  'endless',
])

/** A problem that comes again and again is not told more often. */
const MAX_PROBLEMS = 50

export interface BooksOptions {
  readonly nextMoment: () => number
  /** A bound may be reached. */
  readonly isFullAllowed: boolean
  /** From when the engine decides to send something to when it does: its body may have to be read from the disk. */
  readonly slackMs: () => number
}

/**
 * The books of a run, kept outside of the engine, by delivery id: what was handed in, what was sent, what the engine says,
 * and where that does not go together.
 */
export class Books {
  readonly #options: BooksOptions
  readonly problems: string[] = []
  readonly #entries = new Map<string, Entry>()
  /** Those that have not ended, and some that have. */
  readonly #open = new Set<Entry>()
  /** By order key, those that lead. */
  readonly #leaders = new Map<string, Entry[]>()
  /** By owner, the latest last. */
  readonly #routes = new Map<string, Routed[]>()
  /** Endpoints that are disabled, and those that somebody has paused, with the time since when. */
  readonly #disabled = new Map<string, number>()
  readonly #paused = new Map<string, number>()
  /** Origins that are held back by `Retry-After`. */
  readonly #holds = new Map<string, { readonly since: number; readonly until: number }>()
  /** What the engine has told of. */
  #delivered = 0
  readonly #discarded: Record<string, number> = {}
  /** What engines forgot over troubles with the disk: their totals are these, and what was told. */
  #offset: Ended = { delivered: 0, discarded: {} }
  #attempts = 0
  readonly #history: string[] = []
  #life: Life = newLife(0, 0, false)
  #hadTrouble = false
  #cameBack = 0

  constructor(options: BooksOptions) {
    this.#options = options
  }

  get ids(): string[] {
    return [...this.#entries.keys()]
  }

  /** For whoever wants to know whether enough has happened. */
  get counts(): Readonly<Record<string, number>> {
    return {
      accepted: this.#entries.size,
      attempts: this.#attempts,
      delivered: this.#delivered,
      cameBack: this.#cameBack,
    }
  }

  /** What has happened to the disk and the engine, for whoever reads the problems. */
  note(what: string): void {
    this.#history.push(`${this.#options.nextMoment()}: ${what}`)
  }

  #say(problem: string): void {
    if (this.problems.length === 0) {
      this.problems.push(`history: ${this.#history.join('; ')}`)
    }
    if (this.problems.length < MAX_PROBLEMS) {
      this.problems.push(problem)
    }
  }

  #about(entry: Entry): string {
    const { delivery, moment, life, sendings, fate, reason, isDead } = entry
    const sent = sendings.map(
      ({ moment: at, number, endpoint, outcome }) =>
        `${number} to ${endpoint} at ${at}: ${outcome?.kind ?? 'under way'}`
    )
    const routes = (this.#routes.get(delivery.owner) ?? []).map(
      ({ moment: at, route }) => `${route?.endpoint.id ?? 'none'}${route?.isPaused === true ? ' paused' : ''} at ${at}`
    )
    const state = fate === 'open' ? (isDead ? 'dead' : 'pending') : `${fate} ${reason ?? ''} at ${entry.fateMoment}`
    return `${delivery.id} (handed in at ${moment} in life ${life}, ${state}; sent ${sent.join(', ') || 'never'}; routes ${routes.join(', ')}; now life ${this.#life.number})`
  }

  routed(routes: ReadonlyMap<string, Route>): void {
    const moment = this.#options.nextMoment()
    const at = performance.now()
    for (const owner of new Set([...this.#routes.keys(), ...routes.keys()])) {
      const past = this.#routes.get(owner) ?? []
      const route = routes.get(owner)
      if (past.at(-1)?.route !== route) {
        past.push({ moment, at, route })
      }
      this.#routes.set(owner, past)
    }
    this.#holds.clear()
    this.#disabled.clear()
    const used = new Set([...routes.values()].map(({ endpoint }) => endpoint.id))
    for (const endpoint of [...this.#paused.keys()].filter(id => !used.has(id))) {
      this.#paused.delete(endpoint) // out of use: nobody remembers
    }
  }

  #routeOf(owner: string): Route | undefined {
    return this.#routes.get(owner)?.at(-1)?.route
  }

  handedIn(delivery: Delivery): void {
    const moment = this.#options.nextMoment()
    const entry: Entry = {
      ...{
        delivery,
        moment,
        at: performance.now(),
        life: this.#life.number,
        sendings: [],
        fate: 'open',
        fateMoment: 0,
        reason: undefined,
      },
      ...{ attempts: 0, isDead: false, wasDead: false, isCancelled: false, isVague: false, pendingSince: moment },
    }
    this.#entries.set(delivery.id, entry)
    this.#open.add(entry)
    if (delivery.order.leads) {
      this.#leaders.set(delivery.order.key, [...(this.#leaders.get(delivery.order.key) ?? []), entry])
    }
  }

  /** The life before has ended. */
  began(): void {
    const { number, hasTrouble, opened } = this.#life
    // one that never had the journal has written nothing of what it has ended
    const isAfterTrouble = number > 0 && (hasTrouble || opened === undefined)
    this.#life = newLife(number + 1, this.#options.nextMoment(), isAfterTrouble)
    this.note(`life ${number + 1} begins${isAfterTrouble ? ' after trouble' : ''}`)
    if (isAfterTrouble) {
      for (const entry of this.#entries.values()) {
        entry.isVague = true
      }
      this.#forgetEndpoints() // how they were was not written
    }
  }

  #forgetEndpoints(): void {
    this.#holds.clear()
    this.#disabled.clear()
    this.#paused.clear()
  }

  ready(): void {
    this.#life.ready = this.#options.nextMoment()
  }

  get isOpen(): boolean {
    return this.#life.opened !== undefined
  }

  trouble(): void {
    this.#hadTrouble = true
  }

  closing(): void {
    this.note('closing')
    this.#life.isClosing = true
    for (const { sendings } of this.#entries.values()) {
      const last = sendings.at(-1)
      if (last !== undefined && last.outcome === undefined) {
        last.isCut = true
      }
    }
  }

  /** @param isClean - all that is kept is on disk as it is */
  closed(isClean: boolean): void {
    this.note(`closed${isClean ? '' : ' in trouble'}`)
    this.#life.isClosed = true
    this.#life.hasTrouble = !isClean
    this.#hadTrouble ||= !isClean
  }

  paused(endpoint: string): void {
    this.#paused.set(endpoint, performance.now())
  }

  resumed(endpoint: string, origin: string): void {
    this.#disabled.delete(endpoint)
    this.#paused.delete(endpoint)
    this.#holds.delete(origin)
  }

  /** What is dead among these is tried again. */
  replayed(which: { id?: string; endpoint?: string; since?: number }): void {
    const moment = this.#options.nextMoment()
    for (const [id, entry] of this.#entries) {
      const { delivery } = entry
      if (
        entry.isDead &&
        (which.id ?? id) === id &&
        (which.endpoint === undefined || this.#routeOf(delivery.owner)?.endpoint.id === which.endpoint) &&
        delivery.acceptedAt >= (which.since ?? 0)
      ) {
        entry.isDead = false
        entry.pendingSince = moment
      }
    }
  }

  /** @param isSo - false: it turned out to be none that could be cancelled */
  cancelled(id: string, isSo = true): void {
    const entry = this.#entries.get(id)
    if (entry !== undefined && (entry.fate === 'open' || !isSo)) {
      entry.isCancelled = isSo
    }
  }

  /** What may come back from a disk on which it was not noted that it has ended. */
  #comesBack(entry: Entry): boolean {
    const { isAfterTrouble, began } = this.#life
    if (entry.fate === 'open' || !isAfterTrouble || entry.fateMoment > began) {
      return entry.fate === 'open'
    }
    ++this.#cameBack
    entry.fate = 'open'
    this.#open.add(entry)
    entry.isCancelled = false
    return true
  }

  /** @returns what is to be told of its outcome */
  sending(route: { id: string; url: string }, request: OutgoingRequest): (outcome: AttemptOutcome) => void {
    const moment = this.#options.nextMoment()
    const id = valueOf(request, 'webhook-id')
    const number = Number(valueOf(request, 'X-XO-Attempt'))
    const sending: Sending = {
      ...{ moment, at: performance.now(), number, endpoint: route.id, url: route.url, timeoutMs: request.timeoutMs },
      ...{ outcome: undefined, endedAt: Number.POSITIVE_INFINITY, isCut: false },
    }
    const entry = this.#entries.get(id)
    if (entry === undefined) {
      this.#say(`${id} was sent, but never handed in`)
    } else {
      this.#checkSending(entry, sending, request)
      entry.sendings.push(sending)
    }
    return outcome => {
      sending.outcome = outcome
      sending.endedAt = performance.now()
    }
  }

  #checkSending(entry: Entry, sending: Sending, request: OutgoingRequest): void {
    const { delivery, sendings } = entry
    const say = (problem: string): void => this.#say(`${this.#about(entry)} ${problem}`)
    if (this.#life.isClosing) {
      say('was sent by an engine that is closing')
    }
    const wasOpen = entry.fate === 'open'
    if (!this.#comesBack(entry) || (wasOpen && entry.isCancelled)) {
      say(`was sent although it was ${entry.fate === 'open' ? 'cancelled' : entry.fate}`)
    }
    if (!request.body.equals(delivery.payload.body)) {
      say('was sent with another body')
    }
    const last = sendings.at(-1)
    if (last !== undefined && last.outcome === undefined) {
      say('was sent while it was being sent')
    }
    if (entry.isVague) {
      entry.attempts = Math.min(entry.attempts, sending.number - 1)
      entry.isVague = false
    }
    if (sending.number !== entry.attempts + 1) {
      say(`was sent with attempt ${sending.number} after ${entry.attempts}`)
    }
    this.#checkPlace(entry, sending, say)
    this.#checkOrder(entry, sending)
  }

  /** Since when it could have been decided to send this. */
  #mayGoSince({ moment }: Entry): number {
    return Math.max(moment, this.#life.ready ?? this.#life.began)
  }

  #checkPlace(entry: Entry, { endpoint, at, url }: Sending, say: (problem: string) => void): void {
    const { owner } = entry.delivery
    const since = this.#mayGoSince(entry)
    const past = this.#routes.get(owner) ?? []
    // the decision to send it came later
    const decidedAfter = Math.max(at - this.#options.slackMs(), entry.at)
    // routes that held at some time since it could go
    const routes = past.filter((_, index) => (past[index + 1]?.moment ?? Number.POSITIVE_INFINITY) > since)
    if (!routes.some(({ route }) => route?.endpoint.id === endpoint)) {
      say(`was sent to ${endpoint}, where its hook does not lead`)
    }
    const isPausedNow = past.at(-1)?.route?.isPaused === true
    if (
      routes.every(({ route }) => route?.isPaused === true) ||
      (isPausedNow && Number(past.findLast(({ route }) => route?.isPaused === true)?.at) < decidedAfter)
    ) {
      // moving a paused hook leaves it paused: only the last change counts, which is a late one
      say('was sent while its hook was paused')
    }
    for (const [how, since] of [
      ['disabled', this.#disabled.get(endpoint)],
      ['paused', this.#paused.get(endpoint)],
    ] as const) {
      if (since !== undefined && since < decidedAfter) {
        say(`was sent ${Math.round(at - since)} ms after ${endpoint} was ${how}`)
      }
    }
    const hold = this.#holds.get(new URL(url).origin)
    if (hold !== undefined && hold.since < decidedAfter && hold.until > at + 5) {
      say(`was sent ${Math.round(hold.until - at)} ms before the end of what Retry-After asked for`)
    }
  }

  /**
   * A `post` was sent to a URL. No `pre` of its call may have been bound for that URL, and not settled, ever since the `post`
   * could go. What is compared is when requests were made, not when they came in: one that was given up in time may still
   * come in afterwards.
   */
  #checkOrder(follower: Entry, { url, moment }: Sending): void {
    const { key, leads } = follower.delivery.order
    if (leads) {
      return
    }
    const boundSince = Math.max(this.#mayGoSince(follower), this.#boundSince(follower, url))
    if (boundSince === Number.POSITIVE_INFINITY) {
      return // its hook has moved, or was paused, between the decision and the request
    }
    for (const leader of this.#leaders.get(key) ?? []) {
      const isUnderWay = leader.sendings.some(sent => sent.url === url && sent.outcome === undefined && !sent.isCut)
      const wasBound = Math.max(leader.pendingSince, this.#boundSince(leader, url), this.#knownSince(leader))
      // one that was given up and replayed leads for one attempt only
      const isSure = leader.fate === 'open' && !leader.wasDead
      if (isUnderWay && leader.sendings.at(-1)!.moment < boundSince) {
        this.#say(`${this.#about(follower)} was sent to ${url} at ${moment} while ${this.#about(leader)} was under way`)
      } else if (isSure && wasBound <= boundSince) {
        this.#say(`${this.#about(follower)} was sent to ${url} at ${moment} before ${this.#about(leader)} had settled`)
      }
    }
  }

  /** Since when its hook has led to a URL, and is not paused, without a break. Infinite if it does not. */
  #boundSince({ delivery: { owner } }: Entry, url: string): number {
    let since = Number.POSITIVE_INFINITY
    for (const { moment, route } of (this.#routes.get(owner) ?? []).toReversed()) {
      if (route?.endpoint.url !== url || route.isPaused === true) {
        break
      }
      since = moment
    }
    return since
  }

  /** Since when the present engine has known it. */
  #knownSince({ life }: Entry): number {
    const { number, restored = Number.POSITIVE_INFINITY } = this.#life
    return life === number ? 0 : restored
  }

  heard(event: DispatcherEvent, stats: () => Stats): void {
    if (this.#life.isClosed && event.type !== 'safe' && event.type !== 'journal') {
      this.#say(`after its end the engine says ${JSON.stringify(event).slice(0, 300)}`)
      return
    }
    switch (event.type) {
      case 'attempted':
        this.#attempted(event)
        return
      case 'discarded':
        this.#ended(event.id, 'discarded', event.reason)
        return
      case 'dead': {
        const entry = this.#entries.get(event.kept.id)
        if (entry !== undefined) {
          entry.isDead = entry.wasDead = true
        }
        return
      }
      case 'health':
        if (event.change === 'disabled') {
          this.#disabled.set(event.report.endpoint, performance.now())
        }
        return
      case 'journal':
        this.note(`journal ${JSON.stringify(event)}`)
        if (event.problem === undefined) {
          this.#opened(event.recovered, event.lost, stats())
        } else {
          this.#hadTrouble = true
          if (!this.isOpen) {
            this.#forgetEndpoints() // it goes on without what the journal knows of them
          }
        }
        return
      case 'safe':
    }
  }

  #attempted({ kept, endpoint, attempt }: Extract<DispatcherEvent, { type: 'attempted' }>): void {
    const entry = this.#entries.get(kept.id)
    const sending = entry?.sendings.at(-1)
    ++this.#attempts
    if (entry === undefined || sending === undefined) {
      this.#say(`attempt ${attempt.number} of ${kept.id} is told of, which was never made`)
      return
    }
    const { outcome } = attempt
    if (sending.number !== attempt.number || sending.endpoint !== endpoint.id || sending.outcome !== outcome) {
      this.#say(`${this.#about(entry)}: attempt ${attempt.number} to ${endpoint.id} is told of, ${outcome.kind}`)
    }
    entry.attempts = attempt.number
    if (outcome.kind === 'answered' && outcome.ok) {
      this.#ended(kept.id, 'delivered', undefined)
    } else if (outcome.kind === 'answered' && outcome.retryAfterMs !== undefined && outcome.retryAfterMs > 0) {
      const { origin } = new URL(endpoint.url)
      const since = performance.now()
      const until = since + outcome.retryAfterMs
      if (until > (this.#holds.get(origin)?.until ?? 0)) {
        this.#holds.set(origin, { since, until })
      }
    }
  }

  #ended(id: string, fate: 'delivered' | 'discarded', reason: string | undefined): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) {
      this.#say(`${id} was ${fate}, but never handed in`)
      return
    }
    if (!this.#comesBack(entry)) {
      this.#say(`${this.#about(entry)} was ${fate} ${reason ?? ''} once more`)
    }
    entry.fate = fate
    entry.reason = reason
    entry.fateMoment = this.#options.nextMoment()
    if (reason === undefined) {
      ++this.#delivered
      return
    }
    this.#discarded[reason] = (this.#discarded[reason] ?? 0) + 1
    if (!this.#isAllowed(entry, reason)) {
      this.#say(`${this.#about(entry)} was discarded`)
    }
  }

  /** A follower of its call was sent to where its hook leads, or led: before the journal was open, and told of the leader. */
  #isOvertaken({ delivery: { owner, order } }: Entry): boolean {
    const urls = new Set((this.#routes.get(owner) ?? []).map(({ route }) => route?.endpoint.url))
    return (
      order.leads &&
      [...this.#entries.values()].some(
        ({ delivery, sendings }) =>
          !delivery.order.leads && delivery.order.key === order.key && sendings.some(({ url }) => urls.has(url))
      )
    )
  }

  #isAllowed(entry: Entry, reason: string): boolean {
    const { delivery, isCancelled, moment, life } = entry
    switch (reason) {
      case 'hook removed':
        return (this.#routes.get(delivery.owner) ?? []).some(
          ({ route }, index, all) =>
            route === undefined && (all[index + 1]?.moment ?? Number.POSITIVE_INFINITY) > moment
        )
      case 'cancelled':
        return isCancelled || this.#life.isAfterTrouble
      case 'expired':
        return delivery.lifetimeMs !== undefined || this.#isOvertaken(entry)
      case 'stopped':
        // what is in memory only, as the disk is in trouble, or as it came too late
        return this.#life.isClosing && (this.#hadTrouble || !this.isOpen || life === this.#life.number)
      case 'queue full':
        return this.#options.isFullAllowed
      default:
        return false
    }
  }

  #opened(recovered: number, lost: number, stats: Stats): void {
    const life = this.#life
    if (lost > 0) {
      this.#say(`the journal has lost ${lost}`)
    }
    if (life.opened !== undefined) {
      return
    }
    life.opened = this.#options.nextMoment()
    // from before the first is sent on, if all is well
    life.restored = life.ready === undefined ? 0 : life.opened
    if (life.isAfterTrouble) {
      this.#offset = {
        delivered: stats.delivered - this.#delivered,
        discarded: Object.fromEntries(
          [...new Set([...Object.keys(stats.discarded), ...Object.keys(this.#discarded)])].map(reason => [
            reason,
            countOf(stats, reason) - (this.#discarded[reason] ?? 0),
          ])
        ),
      }
      if (this.#offset.delivered > 0) {
        this.#say(`${this.#delivered} were delivered, ${stats.delivered} are said to be after a restart`)
      }
    } else if (recovered < this.#keptBefore()) {
      this.#say(`${this.#keptBefore()} were kept, ${recovered} were recovered`)
    }
  }

  /** That are kept from earlier lives, after those that were discarded as they were read. */
  #keptBefore(): number {
    return [...this.#open].filter(({ fate, life }) => fate === 'open' && life < this.#life.number).length
  }

  /** Everything is accounted for, by id, at every moment. */
  look(stats: Stats, list: () => readonly Account[]): void {
    this.#checkSum('in all', stats)
    let pending = 0
    let dead = 0
    for (const [id, tally] of stats.endpoints) {
      this.#checkSum(id, tally)
      pending += tally.pending
      dead += tally.dead
    }
    const { ready, opened, isAfterTrouble, number } = this.#life
    if (ready === undefined) {
      return
    }
    const items = list()
    const kept = new Map(items.map(item => [item.id, item]))
    const deadIds = items.filter(({ status }) => status === 'dead').length
    if (stats.pending !== items.length - deadIds || stats.dead !== deadIds) {
      this.#say(
        `${stats.pending} pending and ${stats.dead} dead are counted, ${items.length} are listed, ${deadIds} dead`
      )
    }
    if (pending !== stats.pending || dead !== stats.dead) {
      this.#say(`${stats.pending} pending and ${stats.dead} dead in all are ${pending} and ${dead} at the endpoints`)
    }
    for (const { id } of items) {
      const entry = this.#entries.get(id)
      if (entry === undefined || !this.#comesBack(entry)) {
        this.#say(`${entry === undefined ? id : this.#about(entry)} is kept`)
      }
    }
    for (const entry of this.#open) {
      const { id } = entry.delivery
      if (entry.fate !== 'open') {
        this.#open.delete(entry)
      } else if (!kept.has(id) && (opened !== undefined || entry.life === number)) {
        this.#say(`${this.#about(entry)} is not kept any more`)
        entry.fate = 'discarded' // said once
      }
    }
    if (opened !== undefined) {
      this.#checkTotals(stats)
    } else if (
      !isAfterTrouble &&
      sumOf(stats) > this.#delivered + sumOf({ delivered: 0, discarded: this.#discarded })
    ) {
      this.#say(`more have ended than were told of: ${JSON.stringify(tallyOf(stats, 0, 0))}`)
    }
  }

  #checkSum(of: string, { accepted, delivered, pending, dead, discarded }: Tally): void {
    const sum = sumOf({ delivered, discarded }) + pending + dead
    if (sum !== accepted) {
      this.#say(`${of}: ${accepted} accepted, but ${sum} accounted for`)
    }
  }

  #checkTotals(stats: Stats): void {
    const told = { delivered: this.#delivered, discarded: this.#discarded }
    if (stats.delivered !== told.delivered + this.#offset.delivered) {
      this.#say(
        `${stats.delivered} are said to be delivered, ${told.delivered} were told of, ${this.#offset.delivered} off`
      )
    }
    for (const reason of new Set([...Object.keys(stats.discarded), ...Object.keys(told.discarded)])) {
      const expected = countOf(told, reason) + countOf(this.#offset, reason)
      if (countOf(stats, reason) !== expected) {
        this.#say(`${countOf(stats, reason)} are said to be discarded as ${reason}, ${expected} were told of`)
      }
    }
  }

  /** When all is over: what the receiver has seen, and what the delivery log says. */
  audit(seen: readonly Seen[], rows: readonly LogRow[]): void {
    for (const entry of this.#entries.values()) {
      if (entry.fate === 'open') {
        this.#say(`${this.#about(entry)} has not come to an end`)
      }
    }
    this.#auditSeen(seen)
    if (!this.#hadTrouble) {
      this.#auditRows(rows)
    }
  }

  #auditSeen(seen: readonly Seen[]): void {
    const seenOf = groupBy(seen, ({ id, attempt }) => `${id} ${attempt}`)
    for (const [key, requests] of seenOf) {
      const { id, attempt, body, path, endpoint } = requests[0]!
      const entry = this.#entries.get(id)
      const sendings = entry?.sendings.filter(({ number }) => number === attempt) ?? []
      if (entry === undefined || requests.length > sendings.length) {
        this.#say(
          `${entry === undefined ? key : this.#about(entry)} came in as attempt ${attempt} ${requests.length} times`
        )
        continue
      }
      const say = (problem: string): void => this.#say(`${this.#about(entry)} ${problem}`)
      if (requests.some(request => request.body?.equals(entry.delivery.payload.body) === false)) {
        say(`came in with another body: ${String(body).slice(0, 80)}`)
      }
      if (!sendings.some(sending => sending.endpoint === endpoint && sending.url.endsWith(`/${path}`))) {
        say(`came in at ${path} with the credentials of ${endpoint}`)
      }
      const [sending, ...others] = sendings
      const { answer } = requests[0]!
      if (sending !== undefined && others.length === 0 && answer !== undefined && !isHeard(sending, answer.status)) {
        say(`was answered ${answer.status} on attempt ${attempt}, which was not heard`)
      }
    }
    const agreed = new Set(seen.filter(({ behaviour }) => AGREEABLE.has(behaviour)).map(({ id }) => id))
    for (const [id, entry] of this.#entries) {
      if (entry.fate === 'delivered' && !agreed.has(id)) {
        this.#say(`${this.#about(entry)} is said to be delivered`)
      }
    }
  }

  #auditRows(rows: readonly LogRow[]): void {
    const attempts = rows.filter(row => 'attempt' in row).length
    if (attempts !== this.#attempts) {
      this.#say(`${this.#attempts} attempts were told of, ${attempts} are in the log`)
    }
    const rowsOf = groupBy(rows, ({ id }) => id)
    for (const [id, entry] of this.#entries) {
      const settled = (rowsOf.get(id) ?? []).map(row => row.settled).filter(how => how !== undefined && how !== 'dead')
      if (settled.join() !== (entry.reason ?? entry.fate)) {
        this.#say(`${this.#about(entry)} has ended in the log as: ${settled.join() || 'nothing'}`)
      }
    }
  }
}

/** An answer that was sent whole is what the engine heard, unless it came too late or was cut off. */
function isHeard({ outcome, at, endedAt, timeoutMs, isCut }: Sending, status: number): boolean {
  return (
    isCut ||
    (outcome?.kind === 'answered' && outcome.status === status) ||
    (outcome?.kind === 'timed-out' && endedAt - at >= timeoutMs - 5)
  )
}

function newLife(number: number, began: number, isAfterTrouble: boolean): Life {
  return {
    ...{ number, began, isAfterTrouble, opened: undefined, ready: undefined, restored: undefined },
    ...{ isClosing: false, isClosed: false, hasTrouble: false },
  }
}

function countOf({ discarded }: { readonly discarded: object }, reason: string): number {
  return (discarded as Readonly<Record<string, number>>)[reason] ?? 0
}

function valueOf({ headers }: OutgoingRequest, name: string): string {
  return headers[headers.indexOf(name) + 1] ?? ''
}

function groupBy<T>(items: Iterable<T>, keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) {
      groups.set(keyOf(item), [item])
    } else {
      group.push(item)
    }
  }
  return groups
}
