import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Query } from '../../src/delivery/account.ts'
import type { Connection } from '../../src/delivery/attempt.ts'
import type { Delivery, Endpoint, Route } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import type { DispatcherEvent, DispatcherOptions } from '../../src/delivery/options.ts'
import type { LogRow } from '../../src/delivery/journal.ts'
import type { Legacy } from '../../src/delivery/restart.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { ChaosDisk } from './chaos-disk.ts'
import type { DiskMood } from './chaos-disk.ts'
import { Books } from './chaos-ledger.ts'
import { CREDENTIALS, MOODS, startChaosReceiver } from './chaos-receiver.ts'
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
/** Looking at all takes its time, which the engine has not. */
const LOOK_EVERY_TICKS = 4
const SERVERS = 3
/** Endpoints and their paths: two pairs share a URL, with other credentials. */
const PATHS: Readonly<Record<string, string>> = {
  ...{ e0: 'p0', e1: 'p1', e2: 'p2', e3: 'p3', e4: 'p4', e5: 'p0', e6: 'p1' },
}
const ENDPOINTS = Object.keys(PATHS)
const OWNERS = ['h0', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'h7']
/** To come to rest, once everybody is kind. A busy machine is slow. */
const REST_MS = 120_000
/** In the end, what has failed on the way to rest is helped again this often. */
const HELP_EVERY_MS = 2_000
const EVERYTHING: Query = {
  status: ['queued', 'held', 'waiting', 'sending', 'dead'],
  limit: Number.MAX_SAFE_INTEGER,
}

/** The engine with its times scaled down. */
const SCALED: Partial<DispatcherOptions> = {
  schedule: [10, 30, 90, 200],
  pauses: { firstMs: 50, longestMs: 400 },
  spreadMs: 200,
  maxLogged: 1_000_000,
  patience: { openMs: 300, writeMs: 300, readMs: 300, reopenMs: 100 },
}
/** Of the engine's patience with its journal as it closes, after which it leaves that to itself. */
const CLOSES_WITHIN_MS = 1_800

/** A random few seconds of the engine, with a hostile world around it; what a seed repeats is what is done, not when. */
export async function runChaos(seed: number): Promise<ChaosReport> {
  const directory = await mkdtemp(join(tmpdir(), 'chaos-'))
  const run = new ChaosRun(seed, directory)
  try {
    return await run.report()
  } finally {
    await run.end()
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

class ChaosRun {
  readonly #seed: number
  readonly #random: SeededRandom
  readonly #limits: Partial<DispatcherOptions>
  readonly #disk: ChaosDisk
  readonly #books: Books
  readonly #counts: Record<string, number> = {}
  readonly #endpoints = new Map<string, Endpoint>()
  /** Calls that have begun, and the owners that are to hear of their end. */
  readonly #calls: { readonly key: string; readonly owners: readonly string[] }[] = []
  #routes: ReadonlyMap<string, Route> = new Map()
  #moment = 0
  #receiver!: ChaosReceiver
  #dispatcher!: Dispatcher
  /** How late the machine was at most, with other things to do. */
  #longestLagMs = 0

  constructor(seed: number, directory: string) {
    this.#seed = seed
    this.#random = seededRandom(seed)
    this.#limits = this.#random.pick([{}, {}, {}, { maxPending: 500 }, { maxBytes: 200_000 }])
    this.#disk = new ChaosDisk(directory)
    this.#books = new Books({
      nextMoment: () => ++this.#moment,
      isFullAllowed: Object.keys(this.#limits).length > 0,
      slackMs: () => 600 + 3 * this.#longestLagMs,
    })
  }

  async report(): Promise<ChaosReport> {
    const random = this.#random
    this.#receiver = await startChaosReceiver(seededRandom(this.#seed + 1), () => ++this.#moment, SERVERS)
    for (const [id, path] of Object.entries(PATHS)) {
      this.#endpoints.set(id, { id, url: this.#receiver.urlOf(path), headers: [CREDENTIALS, id] })
    }
    this.#route(new Map(OWNERS.slice(0, 5).map(owner => [owner, this.#routeTo(random.pick(ENDPOINTS))])))
    this.#start()
    for (let tick = 0; tick < TICKS && this.#books.problems.length === 0; ++tick) {
      this.#makeEvents()
      await this.#stir()
      if (tick % LOOK_EVERY_TICKS === 0) {
        this.#look()
      }
      await this.#pause(TICK_MS) // the pace of the load
    }
    await this.#comeToRest()
    this.#books.audit(this.#receiver.seen, await this.#readLog())
    return { seed: this.#seed, problems: this.#problems(), counts: { ...this.#counts, ...this.#books.counts } }
  }

  #problems(): string[] {
    const { urgent = 0, answered = 0 } = this.#counts
    return [
      ...this.#books.problems,
      ...(this.#receiver.strayed.length > 0
        ? [`a redirect was followed, or an id lost: ${this.#receiver.strayed[0]}`]
        : []),
      ...(urgent === answered ? [] : [`${urgent} waited for an answer, ${answered} were told`]),
    ]
  }

  async end(): Promise<void> {
    this.#disk.mood = 'well'
    await this.#dispatcher?.close(0)
    await this.#receiver?.close()
  }

  #routeTo(id: string): Route {
    const random = this.#random
    return {
      endpoint: this.#endpoints.get(id)!,
      timeoutMs: random.between(150, 400),
      ...(random.chance(0.2) && { disableAfter: 8 }),
      ...(random.chance(0.15) && { isPaused: true }),
    }
  }

  #start(legacy?: Legacy): void {
    this.#books.began()
    const dispatcher = new Dispatcher({
      ...SCALED,
      ...this.#limits,
      ...(legacy && { legacy }),
      connect: endpoint => this.#watched(endpoint),
      openJournal: isAlive => this.#disk.open(isAlive),
      onEvent: event => this.#heard(dispatcher, event),
    })
    this.#dispatcher = dispatcher
    void dispatcher.ready.then(() => {
      if (this.#dispatcher === dispatcher) {
        this.#books.ready()
      }
    })
    dispatcher.reconfigure(this.#routes)
  }

  #watched(endpoint: Endpoint): Connection {
    const connection = connectTo(endpoint, {})
    return {
      send: async request => {
        const over = this.#books.sending(endpoint, request)
        const outcome = await connection.send(request)
        over(outcome)
        return outcome
      },
      close: () => connection.close(),
      destroy: () => connection.destroy(),
    }
  }

  #heard(of: Dispatcher, event: DispatcherEvent): void {
    if (of !== this.#dispatcher) {
      return // it was left alone with a disk that hangs
    }
    this.#count(event.type === 'discarded' ? event.reason : event.type === 'health' ? event.change : event.type)
    this.#books.heard(event, () => of.stats())
  }

  #look(): void {
    const { controls } = this.#dispatcher
    this.#books.look(this.#dispatcher.stats(), () => controls.list(EVERYTHING).items)
  }

  #makeEvents(): void {
    const random = this.#random
    const calls = random.chance(0.05) ? 80 : random.between(0, 10)
    for (let index = 0; index < calls; ++index) {
      const call = { key: `c${++this.#moment}`, owners: OWNERS.filter(() => random.chance(0.4)) }
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
  #submit(call: { key: string; owners: readonly string[] }, leads: boolean): void {
    const random = this.#random
    const length = random.chance(0.01) ? 100_000 : random.between(1, 2_000)
    const body = Buffer.from(`${call.key} ${leads ? 'pre' : 'post'} ${String(random.next()).repeat(length / 10 + 1)}`)
    const payload = { contentType: 'text/plain', body }
    const isMortal = leads && random.chance(0.1)
    for (const owner of call.owners.filter(each => this.#routes.has(each))) {
      const delivery: Delivery = {
        id: `${owner}_${call.key}_${leads ? 'pre' : 'post'}`,
        ...{ owner, payload, label: call.key, headers: [], party: random.pick(['alice', 'bob']) },
        order: { key: call.key, leads },
        acceptedAt: Date.now(),
        ...(isMortal && { lifetimeMs: random.between(50, 1500) }),
      }
      this.#books.handedIn(delivery)
      if (random.chance(0.02)) {
        this.#count('urgent')
        this.#dispatcher.submit(delivery, () => this.#count('answered'))
      } else {
        this.#dispatcher.submit(delivery)
      }
    }
  }

  /** Something happens, or not. */
  async #stir(): Promise<void> {
    const random = this.#random
    const what = random.weighted({
      ...{ nothing: 100, mood: 60, outage: 4, reconfigure: 16, reconnect: 2, pause: 6, resume: 12 },
      ...{ 'replay one': 8, 'replay since': 4, cancel: 8, disk: 14, restart: 10 },
    })
    this.#count(what)
    switch (what) {
      case 'nothing':
        return
      case 'mood':
        this.#receiver.setMood(PATHS[random.pick(ENDPOINTS)]!, random.pick(Object.values<Mood>(MOODS)))
        return
      case 'outage':
        this.#receiver.breakDown(PATHS[random.pick(ENDPOINTS)]!, random.between(20, 200))
        return
      case 'reconfigure':
        this.#route(this.#otherRoutes())
        this.#dispatcher.reconfigure(this.#routes)
        return
      case 'reconnect':
        this.#dispatcher.reconnect()
        return
      case 'pause':
        this.#pauseEndpoint(random.pick(ENDPOINTS))
        return
      case 'resume':
        this.#resume(random.pick(ENDPOINTS))
        return
      case 'replay one':
        if (this.#books.ids.length > 0) {
          this.#replay({ id: this.#anyRecent() })
        }
        return
      case 'replay since':
        this.#replay({ endpoint: random.pick(ENDPOINTS), since: Date.now() - random.between(0, 1000) })
        return
      case 'cancel':
        for (let count = random.between(1, 8); count > 0 && this.#receiver.seen.length > 0; --count) {
          // what was seen last may be under way
          this.#cancel(random.chance(0.5) ? this.#anyRecent() : random.pick(this.#receiver.seen.slice(-8)).id)
        }
        return
      case 'disk':
        this.#disk.mood = random.weighted<DiskMood>({ well: 5, failing: 1, 'failing late': 1, hanging: 1 })
        this.#count(`disk ${this.#disk.mood}`)
        this.#books.note(`disk ${this.#disk.mood}`)
        if (this.#disk.mood !== 'well') {
          this.#books.trouble()
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
    return this.#random.pick(this.#books.ids.slice(-300))
  }

  #pauseEndpoint(id: string): void {
    if (this.#dispatcher.controls.pause(id)) {
      this.#books.paused(id)
    }
  }

  #resume(id: string): void {
    if (this.#dispatcher.controls.resume(id)) {
      this.#books.resumed(id, new URL(this.#endpoints.get(id)!.url).origin)
    }
  }

  #replay(which: { id?: string; endpoint?: string; since?: number }): void {
    this.#dispatcher.controls.replay(which)
    this.#books.replayed(which)
  }

  #cancel(id: string): void {
    this.#books.cancelled(id)
    if (this.#dispatcher.controls.cancel({ id }) === 0) {
      this.#books.cancelled(id, false)
    }
  }

  /** A hook's URL or limits change, it is paused or goes on, it is removed or added. */
  #otherRoutes(): ReadonlyMap<string, Route> {
    const random = this.#random
    const routes = new Map(this.#routes)
    const owner = random.pick(OWNERS)
    if (routes.has(owner) && routes.size > 2 && random.chance(0.3)) {
      routes.delete(owner)
    } else {
      routes.set(owner, this.#routeTo(random.pick(ENDPOINTS)))
    }
    return routes
  }

  /** The books are told before the engine is. */
  #route(routes: ReadonlyMap<string, Route>): void {
    this.#routes = routes
    this.#books.routed(routes)
  }

  /** @param isLast - nothing happens around it */
  async #restart(isLast = false): Promise<void> {
    const random = this.#random
    if (isLast || random.chance(0.6)) {
      this.#disk.mood = 'well'
    }
    const isWell = this.#disk.mood === 'well'
    const start = performance.now()
    this.#books.closing()
    const closing = this.#dispatcher.close(random.pick([0, 20, 1_000]))
    if (!isLast && random.chance(0.3)) {
      this.#submit({ key: `late${++this.#moment}`, owners: OWNERS.slice(0, 3) }, false)
    }
    await closing
    // what never knew the journal has left it as it was
    this.#books.closed((isWell || !this.#books.isOpen) && performance.now() - start < CLOSES_WITHIN_MS)
    this.#look()
    const legacy = this.#dispatcher.legacy()
    if (!isLast && random.chance(0.3)) {
      this.#route(this.#otherRoutes())
    }
    // one that died in its thread is told what the one before it has left
    this.#start(random.chance(0.5) ? legacy : undefined)
    if (!isLast && random.chance(0.5)) {
      this.#makeEvents() // before the journal is open
    }
    if (this.#disk.mood === 'well') {
      await this.#until('the journal is open', () => this.#books.isOpen)
    }
  }

  /** Everybody is kind, and everything gets another chance. */
  async #comeToRest(): Promise<void> {
    this.#disk.mood = 'well'
    for (const path of new Set(Object.values(PATHS))) {
      this.#receiver.setMood(path, MOODS.kind)
    }
    await this.#receiver.recover()
    await this.#until('the journal is open', () => this.#books.isOpen)
    this.#route(new Map([...this.#routes].map(([owner, { endpoint }]) => [owner, { endpoint, timeoutMs: 10_000 }])))
    this.#dispatcher.reconfigure(this.#routes)
    let helpAt = 0
    await this.#until('all is settled', () => {
      if (performance.now() > helpAt) {
        helpAt = performance.now() + HELP_EVERY_MS
        ENDPOINTS.forEach(id => this.#resume(id))
        this.#replay({})
        this.#look()
      }
      const { pending, dead } = this.#dispatcher.stats()
      return pending + dead === 0
    })
  }

  /** By the next run: what is on disk. */
  async #readLog(): Promise<LogRow[]> {
    await this.#restart(true)
    await this.#until('nothing came back', () => {
      this.#look()
      return this.#dispatcher.stats().pending === 0
    })
    let rows: LogRow[] = []
    let isRead = false
    void (async () => {
      while (!isRead) {
        try {
          rows = []
          for await (const row of this.#dispatcher.controls.readLog()) {
            rows.push(row)
          }
          isRead = true
        } catch {
          await this.#pause(100) // a busy machine has a slow disk
        }
      }
    })()
    await this.#until('the log is read', () => isRead)
    return rows.toReversed()
  }

  async #until(what: string, isSo: () => boolean): Promise<void> {
    const end = performance.now() + REST_MS
    while (!isSo()) {
      if (performance.now() > end) {
        const { endpoints: _, ...stats } = this.#dispatcher.stats()
        throw new Error(
          `seed ${this.#seed}: not within ${REST_MS} ms: ${what}; ${JSON.stringify(stats)}; ${this.#problems().join('; ')}`
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
