import { DiskClock } from './clock.ts'
import { Controls } from './controls.ts'
import type { Stats } from './controls.ts'
import type { Delivery, DiscardReason, Route } from './delivery.ts'
import { Early } from './early.ts'
import { History } from './history.ts'
import type { Recovered } from './journal.ts'
import type { Ending, Kept, State } from './kept.ts'
import { Ledger } from './ledger.ts'
import { Lifetimes } from './lifetimes.ts'
import { numbersOf, runsOf } from './live-numbers.ts'
import { Lines } from './lines.ts'
import type { Line } from './lines.ts'
import { Origins } from './origins.ts'
import { Proxies } from './proxies.ts'
import { Pump } from './pump.ts'
import { Queues } from './queues.ts'
import type { DispatcherEvent, DispatcherOptions } from './options.ts'
import type { Asker, Budget } from './queues.ts'
import { Recorder } from './recorder.ts'
import { recall, restore, stateOf } from './restart.ts'
import type { Legacy, Parts } from './restart.ts'
import { Room } from './room.ts'
import { Routes } from './routes.ts'
import { Sender } from './sender.ts'

const DAY_MS = 24 * 60 * 60_000
const MIB = 1024 * 1024
/** The journal gets this long, after the requests, to write what is left. */
const CLOSE_JOURNAL_MS = 2_000

/**
 * The engine over all lanes. A delivery belongs to an owner, and `routes` says which endpoint the owner's deliveries go
 * to: new routes move what is kept. Who may go is the lane's to say, whose turn it is the pump's, what becomes of a
 * delivery `fateOf`'s, and only the ledger writes it down; here it is done.
 *
 * opening → open → closing → closed. While opening, nothing is sent: the journal may tell of a leader to wait for, or of an
 * endpoint that is disabled. Once closing, nothing is sent: what is in the journal stays there, anything else is discarded
 * as `stopped`.
 */
export class Dispatcher {
  readonly #onEvent: (event: DispatcherEvent) => void
  readonly #maxLoggedMs: number

  readonly #routes = new Routes()
  readonly #ledger: Ledger
  readonly #lines: Lines
  readonly #origins = new Origins()
  readonly #proxies = new Proxies()
  readonly #lifetimes = new Lifetimes(kept => this.#discard(kept, 'expired'))
  readonly #pump: Pump
  readonly #queues: Queues
  readonly #parts: Parts
  readonly #recorder: Recorder | undefined
  readonly #history: History
  readonly #room: Room
  readonly #sender: Sender
  /** What an operator looks at and does. */
  readonly controls: Controls
  /** What is submitted while the journal is being opened; `undefined`: it is open, or was given up. */
  #early: Early | undefined
  /** Of the engine whose place this one has taken. */
  readonly #legacy: Legacy | undefined
  #hasRoutes = false
  #onReady: (() => void) | undefined
  /** Settles once the journal has been read or given up, and what is kept is sent. */
  readonly ready: Promise<void>
  #isClosing = false
  #closed: Promise<void> | undefined

  constructor(options: DispatcherOptions) {
    const { maxPending = 100_000, maxBytes = 64 * MIB, maxJournalBytes = 1024 * MIB } = options
    const { connect, pauses, schedule, maxLogged = 10_000 } = options
    const { concurrency = 64, random = Math.random, spreadMs = 60_000 } = options
    this.#onEvent = options.onEvent ?? (() => {})
    this.#maxLoggedMs = options.maxLoggedMs ?? 30 * DAY_MS
    const routes = this.#routes
    const origins = this.#origins
    const proxies = this.#proxies
    const ledger = new Ledger({ count: maxPending, memory: maxBytes, disk: maxJournalBytes }, (kept, before) =>
      this.#changed(kept, before)
    )
    const lines = new Lines(connect, pauses)
    const pump = new Pump({
      concurrency,
      heldUntil: line => Math.max(origins.openAt(line.lane.origin, line.lane.endpoint.pace), proxies.heldUntil(line)),
      next: (line, now) => queues.next(line, now),
      send: (line, kept, now) => this.#send(line, kept, now),
    })
    const isReadable = (): boolean => this.#recorder?.isReadable ?? true
    const wake = (line: Line): void => pump.wake(line)
    const queues = new Queues({
      ...{ ledger, lines, routes, origins, proxies, isReadable, wake },
      hasJournal: options.openJournal !== undefined,
    })
    const parts: Parts = { ledger, lines, origins, routes, clock: new DiskClock() }
    this.#ledger = ledger
    this.#lines = lines
    this.#pump = pump
    this.#queues = queues
    this.#parts = parts
    const { openJournal, legacy } = options
    this.#legacy = legacy
    if (legacy !== undefined) {
      parts.clock.continue(legacy.clock)
      ledger.continue(legacy.state.ended)
    }
    this.#early = openJournal && new Early({ count: maxPending, memory: maxBytes })
    this.ready = openJournal === undefined ? Promise.resolve() : new Promise(resolve => (this.#onReady = resolve))
    this.#recorder =
      openJournal &&
      new Recorder({
        open: openJournal,
        onOpen: (recovered, isFirst, gone) => {
          this.#opened(recovered, isFirst, random, spreadMs)
          gone.forEach(kept => this.#discard(kept, 'damaged'))
        },
        onSaved: saved => this.#saved(saved),
        onProblem: problem => this.#journalProblem(problem),
        kept: () => ledger.byNumber(),
        state: () => stateOf(parts),
        clock: parts.clock,
        ...{ maxLogged, maxLoggedMs: this.#maxLoggedMs },
        patience: options.patience,
      })
    this.#history = new History(this.#recorder, maxLogged)
    this.#room = new Room({
      ledger,
      disk: this.#recorder,
      maxBytes,
      isFlowing: endpoint => queues.isFlowing(endpoint, performance.now()),
      discard: (kept, reason) => this.#discard(kept, reason),
    })
    this.#sender = new Sender({
      ...{ ledger, lines, routes, origins, proxies, queues, random, schedule, wake },
      ...{ room: this.#room, recorder: this.#recorder, history: this.#history },
      maxDeadMs: this.#maxLoggedMs,
      tell: event => this.#tell(event),
    })
    this.controls = new Controls({
      ...{ ledger, lines, origins, queues, wake, recorder: this.#recorder, history: this.#history },
      maxLifetimeMs: this.#maxLoggedMs,
    })
    if (openJournal === undefined) {
      pump.start()
    }
  }

  /**
   * From now on an owner's deliveries go to its endpoint here, those that are kept too. What belongs to an owner that is
   * not in `routes` is discarded as `hook removed`; what belongs to one that is paused waits, and is due once it is not any
   * more. Endpoints that are disabled, failing or held back get a new chance: someone has looked at them.
   */
  reconfigure(routes: ReadonlyMap<string, Route>): void {
    const now = performance.now()
    const enabled = this.#routes.set(routes)
    const renewed = new Map<string, Budget>()
    for (const { endpoint } of routes.values()) {
      const budget = this.controls.renew(this.#lines.to(endpoint), now)
      if (budget !== undefined) {
        renewed.set(endpoint.id, budget)
      }
    }
    this.#origins.releaseAll(now)
    this.#proxies.renew()
    this.#queues.reroute(now, renewed, enabled)
    if (this.#legacy !== undefined && !this.#hasRoutes) {
      recall(this.#parts, this.#legacy.state) // without the new chance that a save gives: nobody has saved anything
    }
    this.#hasRoutes = true
    for (const line of this.#lines.all()) {
      this.#removeIfUnused(line)
    }
    this.#recorder?.stateChanged()
  }

  /** The sockets are opened anew, as after a change of the proxy; requests under way end on the old ones. */
  reconnect(): void {
    this.#proxies.forget()
    this.#lines.reconnect()
  }

  /**
   * Takes a delivery; costs no I/O. One whose id is kept already is ignored. At a bound, whoever takes up most of what is
   * short loses something as `queue full`, which may be this one.
   *
   * @param asker - makes it urgent: it goes ahead of any backlog, and this is called once its first attempt is over, or at
   *   once, without an attempt, if that cannot be made right away
   */
  submit(delivery: Delivery, asker?: Asker): void {
    const route = this.#routes.of(delivery.owner)
    const known = this.#ledger.byId(delivery.id)
    if (known !== undefined) {
      asker?.(undefined)
      if (known.stored > 0) {
        this.#tell({ type: 'safe', id: known.id })
      }
    } else if (route === undefined || this.#isClosing) {
      asker?.(undefined)
      this.discard(delivery, route === undefined ? 'hook removed' : 'stopped')
    } else if (this.#early !== undefined) {
      asker?.(undefined)
      if (delivery.isQuestion === true) {
        this.discard(delivery, 'expired')
      } else if (!this.#early.add(delivery)) {
        this.discard(delivery, 'queue full')
      }
    } else {
      this.#take(delivery, route, asker)
    }
  }

  #take(delivery: Delivery, route: Route, asker?: Asker): void {
    const now = performance.now()
    const line = this.#lines.to(route.endpoint)
    const endpoint = route.endpoint.id
    const isOpen = this.#origins.openAt(line.lane.origin, route.endpoint.pace) <= now
    const isUrgent = asker !== undefined && isOpen && route.isPaused !== true && this.#queues.isFlowing(endpoint, now)
    if (isUrgent) {
      this.#queues.expect(delivery.id, asker)
    } else {
      asker?.(undefined)
      if (delivery.isQuestion === true) {
        this.discard(delivery, 'expired')
        return
      }
    }
    this.#ledger.accept(delivery, endpoint, now, this.#maxLoggedMs)
    this.#room.accepted()
    const urgent = isUrgent ? this.#queues.nextUrgent(line, now) : undefined
    if (urgent !== undefined) {
      this.#send(line, urgent, now)
    }
  }

  /** Accepted and discarded at once: what was wanted and never became a delivery. @param count - of as many alike */
  discard(lost: Pick<Delivery, 'id' | 'owner'> & Partial<Delivery>, reason: DiscardReason, count = 1): void {
    this.#ledger.discard(this.#routes.of(lost.owner)?.endpoint.id, reason, count)
    this.#told({ ...lost, number: this.#ledger.takeNumber() }, reason, count)
  }

  stats(): Stats {
    return this.controls.stats(this.#early?.size ?? 0)
  }

  /** For an engine that takes the place of this one, if it dies. */
  legacy(): Legacy {
    const { clock } = this.#parts
    return { state: stateOf(this.#parts), clock: clock.stamp(), unremoved: runsOf(this.#recorder?.unremoved() ?? []) }
  }

  /** After each transition of the ledger's: whoever has to know hears of it here. */
  #changed(kept: Kept, before: State | undefined): void {
    this.#history.changed(kept.id)
    if (!kept.isQuestion) {
      this.#recorder?.heard(kept, before)
    }
    if (before === undefined) {
      this.#lifetimes.add(kept)
    }
    if (kept.state.name === 'ended') {
      this.#told(kept, kept.state.how)
    }
    this.#room.changed(kept)
    this.#queues.changed(kept)
  }

  #discard(kept: Kept, reason: DiscardReason): void {
    this.#ledger.enter(kept, { name: 'ended', how: reason })
  }

  #told(ended: Pick<Kept, 'number' | 'id' | 'owner'> & Partial<Kept>, how: Ending, count = 1): void {
    const { id, owner } = ended
    if (how !== 'delivered') {
      this.#history.ended(ended, how, count)
      this.#tell({ type: 'discarded', id, owner, reason: how, count })
    }
    this.#tell({ type: 'safe', id })
  }

  #send(line: Line, kept: Kept, now: number): void {
    this.#pump.began(line, now)
    this.#origins.spend(line.lane.origin, line.lane.endpoint.pace, now)
    this.#proxies.began(line, now)
    void this.#sender.send(line, kept, this.#routes.of(kept.owner)!).then(() => {
      this.#pump.ended(line)
      this.#removeIfUnused(line)
      if (this.#pump.inFlight === 0) {
        this.#lines.forgetRetired()
      }
    })
  }

  #removeIfUnused(line: Line): void {
    const { endpoint, inFlight } = line.lane
    if (inFlight > 0 || this.#routes.ownersOf(endpoint.id).length > 0) {
      return
    }
    const { pending, dead } = this.#ledger.tally(endpoint.id)
    if (pending + dead === 0) {
      this.#pump.forget(line)
      this.#lines.remove(line)
      this.#ledger.forget(endpoint.id)
    }
  }

  #opened(recovered: Recovered, isFirst: boolean, random: () => number, spreadMs: number): void {
    const { deliveries, lost } = recovered
    if (isFirst) {
      const ended = new Set(numbersOf(this.#legacy?.unremoved ?? '') ?? [])
      const isStateKnown = this.#legacy !== undefined
      const isOvertaken = (kept: Kept): boolean => this.#queues.isOvertaken(kept)
      for (const kept of restore(this.#parts, recovered, { random, spreadMs, ended, isStateKnown, isOvertaken })) {
        this.#recorder?.heard({ ...kept, state: { name: 'ended', how: 'stopped' } }, kept.state)
      }
      this.#queues.areComplete()
    }
    this.#queues.releaseAll()
    this.#tell({ type: 'journal', recovered: isFirst ? deliveries.length : 0, lost })
    this.#begin()
  }

  #saved(saved: readonly Kept[]): void {
    for (const kept of saved) {
      this.#ledger.storedChanged(kept)
      this.#tell({ type: 'safe', id: kept.id })
      this.#room.saved(kept)
    }
    this.#room.make()
  }

  #journalProblem(problem: string | undefined): void {
    if (problem !== undefined) {
      this.#tell({ type: 'journal', problem, recovered: 0, lost: 0 })
      this.#begin()
    }
  }

  /** Whether the journal can be used or not: what is kept is sent. */
  #begin(): void {
    const early = this.#early
    if (early === undefined) {
      return
    }
    this.#early = undefined
    this.#pump.start()
    for (const delivery of early.all()) {
      this.submit(delivery)
    }
    this.#lines.all().forEach(line => this.#pump.wake(line))
    this.#onReady?.()
  }

  /** What is in flight may end within `graceMs`. Leaves no timer, socket or open file. */
  close(graceMs: number): Promise<void> {
    this.#closed ??= this.#close(graceMs)
    return this.#closed
  }

  async #close(graceMs: number): Promise<void> {
    this.#isClosing = true
    this.#pump.stop()
    this.#sender.close()
    this.#lifetimes.close()
    this.#lines.cutTests()
    const early = this.#early
    this.#early = undefined
    for (const delivery of early?.all() ?? []) {
      this.discard(delivery, 'stopped')
    }
    if (this.#recorder === undefined) {
      this.#stop()
    }
    const timer = setTimeout(() => this.#lines.cut(), graceMs)
    await this.#pump.quiet()
    clearTimeout(timer)
    await this.#recorder?.close(CLOSE_JOURNAL_MS)
    this.#stop()
    this.#lines.close()
    this.#onReady?.()
  }

  /** What is not in the journal is lost, and accounted for. */
  #stop(): void {
    for (const kept of [...this.#ledger.all()]) {
      this.#queues.answer(kept.id, undefined)
      if (kept.stored === 0 && kept.state.name !== 'sending') {
        this.#discard(kept, 'stopped')
      }
    }
  }

  #tell(event: DispatcherEvent): void {
    try {
      this.#onEvent(event)
    } catch {
      // whoever listens cannot break the engine
    }
  }
}
