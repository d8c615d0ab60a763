import { randomUUID } from 'node:crypto'

import type { Addresses, Answer, EngineHealth, PlainSettings } from '../courier.ts'
import type { Legacy } from '../delivery/restart.ts'
import { NOTHING_ENDED, tallyOf } from '../delivery/tally.ts'
import type { Handing } from '../handing.ts'
import { messageOf } from '../problem.ts'
import { Deaths } from './deaths.ts'
import type { Pauses } from './deaths.ts'
import type { Engine, EngineEvent } from './engine.ts'
import { Held } from './held.ts'
import { workHere } from './here.ts'
import type { Worker } from './here.ts'
import { Outbox } from './outbox.ts'
import { packed } from './protocol.ts'
import type { Answers, Beginning, Order, Question, Report } from './protocol.ts'
import { Questions } from './questions.ts'
import { spawnWorker, WatchedWorker } from './watched-worker.ts'
import type { End, Spawn } from './watched-worker.ts'

export interface ThreadOptions {
  readonly addresses?: Addresses
  /** Finds the journal's folder; may take for ever. Without, everything stays in memory. */
  readonly openDirectory?: () => Promise<string>
  /** What the thread runs. @default worker.js beside this file */
  readonly entry?: URL
  readonly spawn?: Spawn
  /** Of copies of what is not safe yet. @default 32 MiB */
  readonly maxHeldBytes?: number
  /** Between a death and the next thread, if deaths follow one another: doubling. @default 1 s to 1 min */
  readonly pauses?: Pauses
  /** Between two looks at the thread's heartbeat. @default 1 s */
  readonly checkMs?: number
}

const MAX_HELD_BYTES = 32 * 1024 * 1024
const PAUSES: Pauses = { firstMs: 1_000, longestMs: 60_000 }
const CHECK_MS = 1_000
/** Starts that fail, if there never was a thread, before it is done without. */
const MAX_FAILED_STARTS = 2
/** Beyond the grace: for the journal, and for messages. */
const CLOSE_PATIENCE_MS = 3_000
/** Until a thread that was told to end is gone. */
const TERMINATE_PATIENCE_MS = 1_000
/** When a hook's timeout is over, the answers that came in time are on their way. */
const ANSWER_PATIENCE_MS = 500

const STOPPED = 'the plugin has stopped'

/**
 * - `starting`: a thread is being started, and has not reported yet.
 * - `up`: it has, and what is handed over is posted to it.
 * - `down`: the last one has died; the next one is started in a while.
 * - `closed`: there is none, and will be none.
 *
 * `starting → up → down → starting …`; `closed` from everywhere.
 */
type State =
  | { readonly name: 'starting'; readonly worker: Worker | undefined }
  | { readonly name: 'up'; readonly worker: Worker; readonly since: number }
  | { readonly name: 'down'; readonly timer: NodeJS.Timeout | undefined }
  | { readonly name: 'closed' }

/**
 * The delivery side in a thread of its own: nothing that a receiver, a filter, a format, a disk or a name server does costs
 * this thread more than a message.
 *
 * That thread may die or hang: it is replaced, and the next one gets what was not safe ({@link Held}), under the same ids. If
 * none can be started at all, the delivery side runs in this thread.
 */
export class ThreadEngine implements Engine {
  readonly ready: Promise<void>
  readonly #options: ThreadOptions
  readonly #run = randomUUID()
  readonly #held: Held
  readonly #questions = new Questions()
  readonly #outbox: Outbox
  readonly #listeners = new Set<(event: EngineEvent) => void>()
  readonly #deaths: Deaths
  #state: State = { name: 'starting', worker: undefined }
  #settings: PlainSettings | undefined
  /** What the thread leaves if it dies, in JSON. */
  #legacy: string | undefined
  /** The journal's folder is being looked for. */
  #isSearching = false
  #wasUp = false
  #failedStarts = 0
  #setReady: () => void = () => {}
  /** It is being closed, or has been. */
  #closing: Extract<Order, { type: 'close' }> | undefined
  #closed: Promise<void> | undefined
  /** The delivery side has said its last word, or cannot. */
  #setClosed: () => void = () => {}
  #setGone: () => void = () => {}
  /** As the delivery side has left it. */
  #last: EngineHealth | undefined
  /** Deliveries that were handed over too late. */
  #stopped = 0

  constructor(options: ThreadOptions = {}) {
    this.#options = options
    this.#held = new Held(options.maxHeldBytes ?? MAX_HELD_BYTES)
    this.#outbox = new Outbox(this.#held, this.#questions)
    this.#deaths = new Deaths(options.pauses ?? PAUSES)
    this.ready = new Promise(resolve => {
      this.#setReady = resolve
    })
    this.#start()
  }

  configure(settings: PlainSettings): void {
    this.#settings = settings
    this.#outbox.order({ type: 'configure', settings })
  }

  hand(handing: Handing): void {
    if (this.#closing !== undefined) {
      this.#stop(handing.hooks.length, `${handing.id}-0`)
    } else if (handing.hooks.length > 0) {
      this.#outbox.hand(handing)
    }
  }

  async ask(handing: Handing): Promise<readonly Answer[]> {
    // without a thread no first attempt can be made now: as with a receiver that keeps failing, nobody waits for it
    if (this.#closing !== undefined || handing.hooks.length === 0 || this.#state.name === 'down') {
      this.hand(handing)
      return []
    }
    const { number, answer } = this.#outbox.ask(handing)
    const patienceMs = this.#longestTimeout(handing) + ANSWER_PATIENCE_MS
    const timer = setTimeout(() => this.#questions.giveUp(number, 'it took too long'), patienceMs).unref()
    try {
      return await answer
    } catch {
      return []
    } finally {
      clearTimeout(timer)
    }
  }

  async probe(handing: Handing): Promise<readonly Answer[]> {
    try {
      return await this.#question({ name: 'probe', handing: packed(0, handing) })
    } catch {
      return []
    }
  }

  // plain questions
  readonly list: Engine['list'] = query => this.#question({ name: 'list', query })
  readonly get: Engine['get'] = id => this.#question({ name: 'get', id })
  readonly replay: Engine['replay'] = which => this.#question({ name: 'replay', which })
  readonly cancel: Engine['cancel'] = which => this.#question({ name: 'cancel', which })
  readonly pause: Engine['pause'] = endpoint => this.#question({ name: 'pause', endpoint })
  readonly resume: Engine['resume'] = endpoint => this.#question({ name: 'resume', endpoint })
  readonly statistics: Engine['statistics'] = () => this.#question({ name: 'statistics' })
  readonly recentEvents: Engine['recentEvents'] = () => this.#question({ name: 'recent events' })
  readonly rehearse: Engine['rehearse'] = (hook, events) => this.#question({ name: 'rehearse', hook, events })

  async health(): Promise<EngineHealth> {
    const health = this.#last ?? (await this.#question({ name: 'health' }))
    if (this.#stopped === 0) {
      return health
    }
    const { accepted, discarded } = health
    const stopped = (discarded.stopped ?? 0) + this.#stopped
    return { ...health, accepted: accepted + this.#stopped, discarded: { ...discarded, stopped } }
  }

  listen(listener: (event: EngineEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(graceMs: number): Promise<void> {
    if (this.#closed === undefined) {
      this.#closing = { type: 'close', graceMs }
      this.#closed = this.#close(this.#closing)
    }
    return this.#closed
  }

  async #close(order: Extract<Order, { type: 'close' }>): Promise<void> {
    this.#outbox.hurry()
    if (this.#state.name === 'down') {
      clearTimeout(this.#state.timer)
    } else if (this.#state.name !== 'closed') {
      this.#state.worker?.ref()
      this.#outbox.order(order)
      await settled(order.graceMs + CLOSE_PATIENCE_MS, resolve => {
        this.#setClosed = resolve
      })
      await this.#terminate()
    }
    this.#state = { name: 'closed' }
    this.#outbox.close()
    if (this.#last === undefined) {
      // nobody has said what became of the rest
      this.#last = healthOf(this.#legacy)
      this.#stop(this.#held.clear(), '')
    }
    this.#questions.giveUpAll(STOPPED)
    this.#setReady()
  }

  /** A disk operation that hangs keeps a thread from ending: it is left to itself then. */
  async #terminate(): Promise<void> {
    const worker = 'worker' in this.#state ? this.#state.worker : undefined
    if (worker instanceof WatchedWorker) {
      await settled(TERMINATE_PATIENCE_MS, resolve => {
        this.#setGone = resolve
        worker.terminate('closed')
      })
    }
  }

  /** These come too late. @param id - of one of them */
  #stop(count: number, id: string): void {
    this.#stopped += count
    if (count > 0) {
      this.#emit({ type: 'discarded', reason: 'stopped', count, id })
    }
  }

  #longestTimeout({ hooks }: Handing): number {
    const ids = new Set(hooks)
    const known = this.#settings?.hooks.filter(({ id }) => ids.has(id)) ?? []
    return Math.max(0, ...known.map(({ route }) => route.timeoutMs))
  }

  #question<Q extends Question>(question: Q): Promise<Answers[Q['name']]> {
    return this.#state.name === 'closed' ? Promise.reject(new Error(STOPPED)) : this.#outbox.question(question)
  }

  #start(): void {
    const { spawn = spawnWorker, entry = new URL('./worker.js', import.meta.url), checkMs = CHECK_MS } = this.#options
    try {
      const worker = new WatchedWorker(spawn, entry, this.#beginning(), {
        onReport: report => this.#take(report),
        onEnd: end => this.#over(end),
        checkMs,
      })
      this.#state = { name: 'starting', worker }
    } catch (error) {
      this.#over({ reason: messageOf(error), hasReported: false, mark: 0 })
    }
  }

  #beginning(): Beginning {
    const { addresses = {}, openDirectory } = this.#options
    const { leftovers } = this.#held
    return { addresses, hasJournal: openDirectory !== undefined, legacy: this.#legacy, run: this.#run, leftovers }
  }

  async #startHere(reason: string): Promise<void> {
    this.#emit({ type: 'no thread', reason })
    this.#state = { name: 'starting', worker: undefined }
    try {
      const worker = await workHere(this.#beginning(), report => this.#take(report))
      if (this.#state.name === 'starting') {
        this.#state = { name: 'starting', worker }
      } else {
        // closed in the meantime
        worker.post({ number: 1, orders: [{ type: 'close', graceMs: 0 }] })
      }
    } catch (error) {
      this.#emit({ type: 'no thread', reason: `nor can this one do without: ${messageOf(error)}` })
      this.#questions.giveUpAll('there is no delivery side')
      this.#setReady()
    }
  }

  #take(report: Report): void {
    if (this.#state.name === 'starting' && this.#state.worker !== undefined) {
      const { worker } = this.#state
      this.#state = { name: 'up', worker, since: performance.now() }
      this.#wasUp = true
      this.#outbox.open(worker, this.#settings)
      if (this.#closing !== undefined) {
        this.#outbox.order(this.#closing)
      }
    }
    for (let index = 0; index < report.safe.length; index += 2) {
      this.#held.safe(report.safe[index]!, report.safe[index + 1]!)
    }
    this.#held.safeById(report.others)
    this.#legacy = report.legacy
    this.#outbox.acknowledge(report.taken)
    for (const event of report.events) {
      this.#emit(event)
    }
    for (const reply of report.replies) {
      this.#questions.answer(reply)
    }
    if (report.isReady) {
      this.#setReady()
    }
    if (report.asksForDirectory) {
      void this.#tellDirectory()
    }
    if (report.closed !== undefined) {
      this.#last = report.closed
      this.#held.clear()
      this.#setClosed()
    }
  }

  /** As long as it is not found, the delivery side asks again. */
  async #tellDirectory(): Promise<void> {
    const { openDirectory } = this.#options
    if (openDirectory === undefined || this.#isSearching) {
      return
    }
    this.#isSearching = true
    try {
      this.#outbox.order({ type: 'directory', path: await openDirectory() })
    } catch (error) {
      this.#outbox.order({ type: 'no directory', problem: messageOf(error) })
    }
    this.#isSearching = false
  }

  /** The thread has ended, or could not be started. */
  #over({ reason, hasReported, mark }: End): void {
    this.#setGone()
    if (this.#state.name === 'closed') {
      return
    }
    const livedMs = this.#state.name === 'up' ? performance.now() - this.#state.since : 0
    this.#state = { name: 'down', timer: undefined }
    this.#outbox.close()
    if (this.#closing !== undefined) {
      this.#setClosed()
      return
    }
    if (!this.#wasUp && !hasReported && ++this.#failedStarts >= MAX_FAILED_STARTS) {
      void this.#startHere(reason)
      return
    }
    if (this.#wasUp) {
      this.#emit({ type: 'replaced', reason })
    }
    const { pauseMs, guilty } = this.#deaths.add(livedMs, mark)
    const entry = guilty === undefined ? undefined : this.#held.setAside(guilty)
    if (entry !== undefined) {
      this.#emit({ type: 'set aside', method: entry.method, callId: entry.callId })
    }
    this.#state = { name: 'down', timer: setTimeout(() => this.#start(), pauseMs).unref() }
  }

  #emit(event: EngineEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch {
        // it harms neither the others nor the deliveries
      }
    }
  }
}

/** Settles when `run` says so, or after so long. */
async function settled(patienceMs: number, run: (resolve: () => void) => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await new Promise<void>(resolve => {
    timer = setTimeout(resolve, patienceMs)
    run(resolve)
  })
  clearTimeout(timer)
}

/** Of a delivery side that is gone: what it has ended. */
function healthOf(legacy: string | undefined): EngineHealth {
  const totals = legacy === undefined ? NOTHING_ENDED : (JSON.parse(legacy) as Legacy).state.ended
  return { ...tallyOf(totals, 0, 0), endpoints: new Map(), undecided: new Map() }
}
