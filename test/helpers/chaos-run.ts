import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Delivery, Endpoint, Payload } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import type { DispatcherEvent, DispatcherOptions } from '../../src/delivery/dispatcher.ts'
import { Journal } from '../../src/delivery/journal.ts'
import type { LogRow } from '../../src/delivery/journal.ts'
import type { Tally } from '../../src/delivery/tally.ts'
import { connectTo } from '../../src/delivery/transport.ts'
import { audit } from './chaos-ledger.ts'
import type { RoutesSince, Span, Submitted } from './chaos-ledger.ts'
import { MOODS, startChaosReceiver } from './chaos-receiver.ts'
import type { ChaosReceiver, Mood } from './chaos-receiver.ts'
import { seededRandom } from './seeded-random.ts'
import type { SeededRandom } from './seeded-random.ts'

export interface ChaosReport {
  readonly seed: number
  /** What was wrong, in words. */
  readonly problems: readonly string[]
  /** For whoever wants to know whether enough has happened. */
  readonly counts: Readonly<Record<string, number>>
}

const TICKS = 120
const TICK_MS = 20
const SERVERS = 3
const ENDPOINTS = ['e0', 'e1', 'e2', 'e3', 'e4', 'e5', 'e6']
const OWNERS = ['h0', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'h7']
/** To come to rest, once everybody is kind. */
const REST_MS = 30_000

/** The engine with its times scaled down. */
const SCALED: Partial<DispatcherOptions> = {
  schedule: [10, 30, 90, 200],
  pauses: { firstMs: 50, longestMs: 400 },
  spreadMs: 200,
  maxLogged: 1_000_000,
}

/** A random few seconds of the engine, with a hostile world around it; what a seed repeats is what is done, not when. */
export async function runChaos(seed: number): Promise<ChaosReport> {
  const directory = await mkdtemp(join(tmpdir(), 'chaos-'))
  const run = new ChaosRun(seed, directory)
  try {
    return await run.report()
  } finally {
    await run.end()
    await rm(directory, { recursive: true, force: true })
  }
}

class ChaosRun {
  readonly #seed: number
  readonly #directory: string
  readonly #random: SeededRandom
  readonly #limits: Partial<DispatcherOptions>
  readonly #problems: string[] = []
  readonly #counts: Record<string, number> = {}
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #submitted = new Map<string, Submitted>()
  readonly #routes: RoutesSince[] = []
  readonly #closings: Span[] = []
  readonly #disabled = new Map<string, Span[]>()
  /** By endpoint, since when, epoch ms. */
  readonly #disabledSince = new Map<string, number>()
  readonly #discarded = new Map<string, string>()
  /** Calls that have begun, and the owners that are to hear of their end. */
  readonly #calls: { readonly key: string; readonly owners: readonly string[] }[] = []
  #moment = 0
  #receiver!: ChaosReceiver
  #dispatcher!: Dispatcher
  #isJournalOpen = false
  #recovered = 0
  /** How late the machine was at most, with other things to do. */
  #longestLagMs = 0
  #kept = 0

  constructor(seed: number, directory: string) {
    this.#seed = seed
    this.#directory = directory
    this.#random = seededRandom(seed)
    this.#limits = this.#random.pick([{}, {}, {}, { maxPending: 500 }, { maxBytes: 200_000 }])
  }

  async report(): Promise<ChaosReport> {
    const nextMoment = (): number => ++this.#moment
    this.#receiver = await startChaosReceiver(seededRandom(this.#seed + 1), nextMoment, SERVERS)
    for (const id of ENDPOINTS) {
      this.#endpoints.set(id, {
        id,
        url: this.#receiver.urlOf(id),
        headers: [],
        timeoutMs: this.#random.between(150, 400),
        ...(this.#random.chance(0.2) && { disableAfter: 8 }),
      })
    }
    this.#changeRoutes(new Map(OWNERS.slice(0, 5).map(owner => [owner, this.#random.pick(ENDPOINTS)])))
    this.#start()
    for (let tick = 0; tick < TICKS; ++tick) {
      this.#makeEvents()
      await this.#stir()
      this.#sample()
      await this.#pause(TICK_MS) // the pace of the load
    }
    await this.#comeToRest()
    const rows = await this.#readLog()
    this.#problems.push(...this.#audit(rows))
    return { seed: this.#seed, problems: this.#problems, counts: this.#counts }
  }

  async end(): Promise<void> {
    await this.#dispatcher?.close(0)
    await this.#receiver?.close()
  }

  #start(): void {
    this.#isJournalOpen = false
    this.#dispatcher = new Dispatcher({
      ...SCALED,
      ...this.#limits,
      connect: endpoint => connectTo(endpoint, {}),
      openJournal: progressOf => Journal.open(this.#directory, progressOf),
      onEvent: event => this.#heard(event),
    })
    this.#reconfigure(this.#endpointOf)
  }

  get #endpointOf(): ReadonlyMap<string, string> {
    return this.#routes.at(-1)!.endpointOf
  }

  #heard(event: DispatcherEvent): void {
    this.#count(event.type === 'discarded' ? event.reason : event.type === 'health' ? event.change : event.type)
    if (event.type === 'discarded') {
      if (this.#discarded.has(event.id)) {
        this.#problems.push(`${event.id} was discarded twice`)
      }
      this.#discarded.set(event.id, event.reason)
    } else if (event.type === 'health' && event.change === 'disabled') {
      const { id } = event.report.endpoint
      if ([...this.#endpointOf.values()].includes(id)) {
        this.#disabledSince.set(id, Date.now()) // out of use, nobody remembers
      }
    } else if (event.type === 'journal') {
      this.#isJournalOpen = event.problem === undefined
      this.#recovered = event.recovered
      if (event.problem !== undefined || event.damaged > 0) {
        this.#problems.push(`the journal: ${event.problem ?? 'damaged'}`)
      }
      if (this.#recovered !== this.#kept) {
        this.#problems.push(`${this.#kept} were kept, ${this.#recovered} were recovered`)
      }
    }
    this.#sample()
  }

  /** Everything is accounted for, at every moment. */
  #sample(): void {
    const stats = this.#dispatcher.stats()
    this.#checkSum('all', stats)
    this.#checkSum('all, over life', stats.life)
    let pending = 0
    let dead = 0
    for (const [id, tally] of stats.endpoints) {
      this.#checkSum(id, tally)
      this.#checkSum(`${id}, over life`, tally.life)
      pending += tally.pending
      dead += tally.dead
    }
    if (pending !== stats.pending || dead !== stats.dead) {
      this.#problems.push(`${stats.pending} pending and ${stats.dead} dead are ${pending} and ${dead} at the endpoints`)
    }
    const handedIn = this.#submitted.size
    if (this.#isJournalOpen && stats.life.accepted !== handedIn) {
      this.#problems.push(`${handedIn} were handed in, ${stats.life.accepted} accepted`)
    }
  }

  #checkSum(of: string, { accepted, delivered, pending, dead, discarded }: Tally): void {
    const sum = delivered + pending + dead + Object.values(discarded).reduce((total, count) => total + count, 0)
    if (sum !== accepted) {
      this.#problems.push(`${of}: ${accepted} accepted, but ${sum} accounted for`)
    }
  }

  #makeEvents(): void {
    const random = this.#random
    const calls = random.chance(0.05) ? 80 : random.between(0, 10)
    for (let index = 0; index < calls; ++index) {
      const key = `c${++this.#moment}`
      const owners = OWNERS.filter(() => random.chance(0.4))
      const call = { key, owners }
      this.#submit(call, true)
      if (random.chance(0.5)) {
        this.#submit(call, false)
      } else {
        this.#calls.push(call)
      }
    }
    while (this.#calls.length > 0 && random.chance(0.9)) {
      const [call] = this.#calls.splice(random.between(0, this.#calls.length - 1), 1)
      this.#submit(call!, false)
    }
  }

  /** A phase of a call, for all owners that want it: they share the body. */
  #submit(call: { key: string; owners: readonly string[] }, leads: boolean, isLate = false): void {
    const random = this.#random
    const length = random.chance(0.01) ? 100_000 : random.between(1, 2_000)
    const body = Buffer.from(`${call.key} ${leads ? 'pre' : 'post'} ${String(random.next()).repeat(length / 10 + 1)}`)
    const payload: Payload = { contentType: 'text/plain', body, users: 0 }
    const isMortal = leads && random.chance(0.1)
    const stats = this.#dispatcher.stats()
    for (const owner of call.owners) {
      const endpoint = this.#endpointOf.get(owner)
      if (endpoint === undefined) {
        continue
      }
      const label = `${owner}/${call.key}/${leads ? 'pre' : 'post'}`
      const id = `${label}/${random.between(0, 1e9)}`.replaceAll('/', '_')
      const delivery: Delivery = {
        id,
        owner,
        label,
        payload,
        headers: ['X-Label', label],
        order: { key: call.key, leads },
        acceptedAt: Date.now(),
        ...(isMortal && { lifetimeMs: random.between(50, 1500) }),
      }
      // before the journal is open, the engine does not know yet
      const wasDisabled =
        stats.endpoints.get(endpoint)?.health.disabled !== undefined || this.#disabledSince.has(endpoint)
      const moment = ++this.#moment
      this.#submitted.set(id, { id, owner, call: call.key, leads, isMortal, body, moment, isLate, wasDisabled })
      this.#count('submitted')
      if (random.chance(0.02)) {
        this.#dispatcher.submit(delivery, () => this.#count('answered'))
        this.#count('urgent')
      } else {
        this.#dispatcher.submit(delivery)
      }
    }
  }

  /** Something happens, or not. */
  async #stir(): Promise<void> {
    const random = this.#random
    const what = random.weighted({
      nothing: 100,
      mood: 60,
      outage: 4,
      reconfigure: 12,
      reconnect: 2,
      enable: 8,
      'replay one': 8,
      'replay since': 4,
      cancel: 8,
      restart: 10,
    })
    this.#count(what)
    switch (what) {
      case 'nothing':
        return
      case 'mood':
        this.#receiver.setMood(random.pick(ENDPOINTS), random.pick(Object.values<Mood>(MOODS)))
        return
      case 'outage':
        this.#receiver.breakDown(random.pick(ENDPOINTS), random.between(20, 200))
        return
      case 'reconfigure':
        this.#reconfigure(this.#otherRoutes())
        return
      case 'reconnect':
        this.#dispatcher.reconnect()
        return
      case 'enable':
        this.#enable(random.pick(ENDPOINTS))
        return
      case 'replay one':
        if (this.#submitted.size > 0) {
          this.#dispatcher.replay(this.#anyRecent())
        }
        return
      case 'replay since':
        this.#dispatcher.replaySince(random.pick(ENDPOINTS), Date.now() - random.between(0, 1000))
        return
      case 'cancel':
        for (let count = random.between(1, 8); count > 0 && this.#receiver.seen.length > 0; --count) {
          // what was seen last may be under way
          this.#cancel(random.chance(0.5) ? this.#anyRecent() : random.pick(this.#receiver.seen.slice(-8)).id)
        }
        return
      case 'restart':
        await this.#restart()
        return
      default:
        what satisfies never
    }
  }

  #anyRecent(): string {
    return this.#random.pick([...this.#submitted.keys()].slice(-300))
  }

  #cancel(id: string): void {
    const wasKept = this.#dispatcher.cancel(id)
    const submitted = this.#submitted.get(id)
    if (wasKept && submitted !== undefined && submitted.cancelledAt === undefined) {
      submitted.cancelledAt = Date.now()
      this.#count('cancel meant')
    }
  }

  /** A hook's URL changes, a hook is removed, a hook is added. */
  #otherRoutes(): ReadonlyMap<string, string> {
    const random = this.#random
    const routes = new Map(this.#endpointOf)
    const owner = random.pick(OWNERS)
    if (routes.has(owner) && routes.size > 2 && random.chance(0.3)) {
      routes.delete(owner)
    } else {
      routes.set(owner, random.pick(ENDPOINTS))
    }
    return routes
  }

  #changeRoutes(endpointOf: ReadonlyMap<string, string>): void {
    this.#routes.push({ moment: ++this.#moment, endpointOf })
    const used = new Set(endpointOf.values())
    for (const endpoint of [...this.#disabledSince.keys()].filter(id => !used.has(id))) {
      this.#enabled(endpoint) // out of use: nobody remembers
    }
  }

  #reconfigure(endpointOf: ReadonlyMap<string, string>): void {
    this.#changeRoutes(endpointOf)
    this.#dispatcher.reconfigure(new Map([...endpointOf].map(([owner, id]) => [owner, this.#endpoints.get(id)!])))
  }

  #enable(endpoint: string): void {
    this.#enabled(endpoint)
    this.#dispatcher.enable(endpoint)
  }

  #enabled(endpoint: string): void {
    const from = this.#disabledSince.get(endpoint)
    if (from !== undefined) {
      const spans = this.#disabled.get(endpoint) ?? []
      spans.push({ from, to: Date.now() })
      this.#disabled.set(endpoint, spans)
      this.#disabledSince.delete(endpoint)
    }
  }

  async #restart(): Promise<void> {
    const random = this.#random
    const from = performance.now()
    const closing = this.#dispatcher.close(random.pick([0, 20, 1_000]))
    if (random.chance(0.3)) {
      this.#submit({ key: `late${this.#moment}`, owners: OWNERS.slice(0, 3) }, false, true)
    }
    await closing
    const { pending, dead } = this.#dispatcher.stats()
    this.#kept = pending + dead
    this.#closings.push({ from, to: performance.now() })
    if (random.chance(0.3)) {
      this.#changeRoutes(this.#otherRoutes())
    }
    this.#start()
    if (random.chance(0.5)) {
      this.#makeEvents() // before the journal is open
    }
    await this.#until('the journal is open', () => this.#isJournalOpen)
  }

  /** Everybody is kind, and everything gets another chance. */
  async #comeToRest(): Promise<void> {
    for (const endpoint of ENDPOINTS) {
      this.#receiver.setMood(endpoint, MOODS.kind)
    }
    await this.#receiver.recover()
    await this.#until('all is settled', () => {
      for (const endpoint of ENDPOINTS) {
        this.#enable(endpoint)
        this.#dispatcher.replaySince(endpoint, 0)
      }
      this.#sample()
      const { pending, dead } = this.#dispatcher.stats()
      return pending + dead === 0
    })
  }

  /** By the next run: what is on disk. */
  async #readLog(): Promise<LogRow[]> {
    await this.#restart()
    await this.#until('nothing came back', () => this.#dispatcher.stats().pending === 0)
    const rows: LogRow[] = []
    for await (const row of this.#dispatcher.readLog()) {
      rows.push(row)
    }
    const { life } = this.#dispatcher.stats()
    const delivered = rows.filter(({ settled }) => settled === 'delivered').length
    if (life.delivered !== delivered) {
      this.#problems.push(`${life.delivered} are said to be delivered, ${delivered} are in the log`)
    }
    for (const [reason, count] of Object.entries(life.discarded)) {
      const told = [...this.#discarded.values()].filter(why => why === reason).length
      if (told !== count) {
        this.#problems.push(`${count} are said to be discarded as ${reason}, ${told} were told of`)
      }
    }
    return rows.toReversed()
  }

  #audit(rows: readonly LogRow[]): string[] {
    if (this.#receiver.strayed.length > 0) {
      this.#problems.push(`a redirect was followed, or an id was lost: ${this.#receiver.strayed[0]}`)
    }
    this.#counts['requests'] = this.#receiver.seen.length
    this.#counts['delivered'] = rows.filter(({ settled }) => settled === 'delivered').length
    if (this.#counts['urgent'] !== this.#counts['answered']) {
      this.#problems.push(`${this.#counts['urgent']} waited for an answer, ${this.#counts['answered']} were told`)
    }
    return audit({
      submitted: this.#submitted,
      seen: this.#receiver.seen,
      routes: this.#routes,
      closings: this.#closings,
      disabled: this.#disabled,
      timeoutOf: endpoint => this.#endpoints.get(endpoint)?.timeoutMs ?? 0,
      rows,
      discarded: this.#discarded,
      raceMs: 250 + 2 * this.#longestLagMs,
      isFullAllowed: Object.keys(this.#limits).length > 0,
    })
  }

  async #until(what: string, isSo: () => boolean): Promise<void> {
    const end = performance.now() + REST_MS
    while (!isSo()) {
      if (performance.now() > end) {
        throw new Error(
          `seed ${this.#seed}: not within ${REST_MS} ms: ${what}; ${this.#problems.slice(0, 3).join('; ')}`
        )
      }
      await this.#pause(10)
    }
  }

  async #pause(ms: number): Promise<void> {
    const start = performance.now()
    await new Promise(resolve => setTimeout(resolve, ms))
    this.#longestLagMs = Math.max(this.#longestLagMs, performance.now() - start - ms)
  }

  #count(what: string): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + 1
  }
}
