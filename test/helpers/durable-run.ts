import { onTestFinished, vi } from 'vitest'

import type { AttemptOutcome, Delivery, Endpoint, Route, Trigger } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import type { OutgoingRequest } from '../../src/delivery/attempt.ts'
import type { DispatcherEvent, DispatcherOptions } from '../../src/delivery/options.ts'
import { Journal } from '../../src/delivery/journal.ts'
import type { LogRow } from '../../src/delivery/journal.ts'
import type { Tally } from '../../src/delivery/tally.ts'

/** One request that an engine has made. */
export interface DurableSent {
  readonly id: string
  readonly number: number
  /** The id of the endpoint. */
  readonly to: string
  readonly body: Buffer
  /** On the engine's clock. */
  readonly at: number
}

/** What a request comes to; a promise may keep it under way. */
export type Answering = (sent: DurableSent) => AttemptOutcome | Promise<AttemptOutcome>

export const ok: AttemptOutcome = { kind: 'answered', ok: true, status: 200, excerpt: Buffer.from('fine') }
export const gone: AttemptOutcome = { kind: 'answered', ok: false, status: 410, excerpt: Buffer.alloc(0) }
export const refusedFor = (retryAfterMs: number): AttemptOutcome => ({
  kind: 'answered',
  ok: false,
  status: 429,
  excerpt: Buffer.alloc(0),
  retryAfterMs,
})
export const failing: AttemptOutcome = { kind: 'answered', ok: false, status: 503, excerpt: Buffer.from('no') }
export const notAllowed: AttemptOutcome = { kind: 'answered', ok: false, status: 403, excerpt: Buffer.alloc(0) }
export const cutOff: AttemptOutcome = { kind: 'unreachable', code: 'UND_ERR_DESTROYED', reason: 'it was cut off' }
export const underWay: Promise<AttemptOutcome> = new Promise(() => {})

/** Timers and both clocks are the test's; what reads and writes files goes on by itself. */
export function fakeClocks(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] })
  onTestFinished(() => {
    vi.useRealTimers()
  })
}

/** What the journal asks of the disk. */
export type DiskOperation = 'open' | 'write' | 'read' | 'probeRoom' | 'close'

export interface DurableOptions extends Partial<DispatcherOptions> {
  /** Of the journal. `undefined`: none. */
  readonly directory: string | undefined
  readonly answering?: Answering
  /** Owners and the ids of their endpoints. @default a → a */
  readonly routes?: Readonly<Record<string, string>>
  /** Of every endpoint. */
  readonly disableAfter?: number
  /** Before each operation of the disk: if it rejects, that fails; while it does not settle, the disk hangs. */
  readonly beforeDisk?: (operation: DiskOperation) => Promise<void>
}

export interface Submission {
  readonly id?: string
  readonly owner?: string
  /** The call. @default one of its own */
  readonly key?: string
  readonly phase?: 'pre' | 'post'
  readonly body?: Buffer
  readonly lifetimeMs?: number
}

/** Of real time: a busy machine is no fault. */
const PATIENCE_NS = 30_000_000_000n
/** Of the event loop, for what follows from the end of an operation of the disk. */
const TURNS = 5

let submissions = 0

/** An engine with a journal in real files and a network that is made up. Closed at the end of the test. */
export class DurableRun {
  readonly dispatcher: Dispatcher
  readonly sent: DurableSent[] = []
  readonly events: DispatcherEvent[] = []
  answering: Answering
  readonly #disableAfter: number | undefined
  readonly #beforeDisk: (operation: DiskOperation) => Promise<void>
  #closing: Promise<void> | undefined
  /** Under way. */
  #diskOperations = 0

  constructor({ directory, answering = () => ok, routes = { a: 'a' }, ...others }: DurableOptions) {
    const { disableAfter, beforeDisk = () => Promise.resolve(), ...options } = others
    this.answering = answering
    this.#beforeDisk = beforeDisk
    this.#disableAfter = disableAfter
    this.dispatcher = new Dispatcher({
      connect: endpoint => this.#connect(endpoint),
      onEvent: event => this.events.push(event),
      random: () => 0.5,
      ...(directory !== undefined && { openJournal: () => this.#openJournal(directory) }),
      ...options,
    })
    this.route(routes)
    onTestFinished(() => this.stop())
  }

  route(routes: Readonly<Record<string, string>>): void {
    const limits = this.#disableAfter === undefined ? {} : { disableAfter: this.#disableAfter }
    this.dispatcher.reconfigure(
      new Map(
        Object.entries(routes).map(([owner, id]): [string, Route] => [
          owner,
          { endpoint: endpointNamed(id), timeoutMs: 10_000, ...limits },
        ])
      )
    )
  }

  /** @returns its id */
  submit(submission: Submission = {}, asker?: () => void): string {
    const delivery = deliveryWith(submission)
    this.dispatcher.submit(delivery, asker)
    return delivery.id
  }

  submitMany(count: number, submission: Submission = {}): string[] {
    return Array.from({ length: count }, () => this.submit(submission))
  }

  /** The ids of what was sent, in order. */
  get sentIds(): string[] {
    return this.sent.map(({ id }) => id)
  }

  /** What was said of the journal: a problem, or that it is in use. */
  get journalEvents(): (string | undefined)[] {
    return this.events.flatMap(event => (event.type === 'journal' ? [event.problem] : []))
  }

  get discarded(): string[] {
    return this.events.flatMap(event => (event.type === 'discarded' ? [`${event.id}: ${event.reason}`] : []))
  }

  get changes(): string[] {
    return this.events.flatMap(event => (event.type === 'health' ? [event.change] : []))
  }

  get total(): Tally {
    return this.dispatcher.stats()
  }

  /** Resolves when it holds; the clocks go on meanwhile. */
  until(isSo: () => boolean): Promise<void> {
    return this.later(5, isSo)
  }

  /** Time goes by, and as much again until it holds. */
  async later(ms: number, isSo: () => boolean): Promise<void> {
    const end = process.hrtime.bigint() + PATIENCE_NS
    await this.#rest()
    while (!isSo()) {
      if (process.hrtime.bigint() > end) {
        throw new Error(`not so in time: ${isSo}; ${JSON.stringify(this.dispatcher.stats())}`)
      }
      await (vi.isFakeTimers() ? this.pass(ms) : new Promise(resolve => setTimeout(resolve, ms)))
    }
  }

  /**
   * Time goes by, in steps. Files take real time: while one is read or written, no time goes by, or the disk would seem to
   * hang.
   */
  async pass(ms: number, steps = 1): Promise<void> {
    for (let step = 0; step < steps; ++step) {
      let isOver = false
      setTimeout(() => {
        isOver = true
      }, ms / steps)
      while (!isOver) {
        await vi.advanceTimersToNextTimerAsync()
        await this.#rest()
      }
    }
  }

  /** Nothing is read or written any more, and whoever waited for that has gone on. */
  async #rest(): Promise<void> {
    for (let turns = 0; turns < TURNS; ++turns) {
      await new Promise(resolve => setImmediate(resolve))
      if (this.#diskOperations > 0) {
        turns = 0
      }
    }
  }

  /** The journal in real files, with an eye on what is under way there. */
  async #openJournal(directory: string): ReturnType<typeof Journal.open> {
    await this.#beforeDisk('open')
    const opened = await this.#watch(Journal.open(directory))
    const { journal } = opened
    const { write, read, probeRoom, close } = journal
    const watched = async <T>(name: DiskOperation, operation: () => Promise<T>): Promise<T> => {
      await this.#beforeDisk(name)
      return this.#watch(operation())
    }
    journal.write = batch => watched('write', () => write.call(journal, batch))
    journal.read = number => watched('read', () => read.call(journal, number))
    journal.probeRoom = () => watched('probeRoom', () => probeRoom.call(journal))
    journal.close = () => watched('close', () => close.call(journal))
    return opened
  }

  async #watch<T>(operation: Promise<T>): Promise<T> {
    ++this.#diskOperations
    try {
      return await operation
    } finally {
      --this.#diskOperations
    }
  }

  /** The journal is open, for the given time. */
  async opened(times = 1): Promise<void> {
    await this.until(() => this.journalEvents.filter(problem => problem === undefined).length >= times)
  }

  async log(): Promise<LogRow[]> {
    const rows = []
    for await (const row of this.dispatcher.controls.readLog()) {
      rows.push(row)
    }
    return rows
  }

  /** As a graceful stop. */
  stop(): Promise<void> {
    this.#closing ??= this.dispatcher.close(0).then(() => this.#checkBooks())
    if (vi.isFakeTimers()) {
      void vi.advanceTimersByTimeAsync(1)
    }
    return this.#closing
  }

  #checkBooks(): void {
    const stats = this.dispatcher.stats()
    if (stats.accepted !== sumOf(stats)) {
      throw new Error(`the books do not add up: ${JSON.stringify(stats)}`)
    }
  }

  #connect(endpoint: Endpoint): {
    send(request: OutgoingRequest): Promise<AttemptOutcome>
    close(): void
    destroy(): void
  } {
    let destroy: (outcome: AttemptOutcome) => void
    const destroyed = new Promise<AttemptOutcome>(resolve => {
      destroy = resolve
    })
    return {
      send: async request => {
        const sent: DurableSent = {
          id: valueOf(request, 'webhook-id'),
          number: Number(valueOf(request, 'X-XO-Attempt')),
          to: endpoint.id,
          body: request.body,
          at: performance.now(),
        }
        this.sent.push(sent)
        return Promise.race([this.answering(sent), destroyed])
      },
      close: () => {},
      destroy: () => destroy(cutOff),
    }
  }
}

export function sumOf({ delivered, pending, dead, discarded }: Tally): number {
  return delivered + pending + dead + Object.values(discarded).reduce((sum, count) => sum + count, 0)
}

export function endpointNamed(id: string): Endpoint {
  return { id, url: `http://${id}.example/`, headers: [] }
}

export function deliveryWith(submission: Submission = {}): Delivery {
  const { id = `d${++submissions}`, owner = 'a', key = id, phase = 'post', lifetimeMs } = submission
  return {
    id,
    owner,
    label: 'vm.start success',
    payload: { contentType: 'application/json', body: submission.body ?? Buffer.from(`"${id}"`) },
    headers: ['X-XO-Hook', owner],
    order: { key, leads: phase === 'pre' },
    acceptedAt: Date.now(),
    ...(lifetimeMs !== undefined && { lifetimeMs }),
  }
}

/** The triggers of a delivery's attempts, as the log has them, the first one first. */
export function triggersOf(rows: readonly LogRow[], id: string): Trigger[] {
  return rows
    .filter(row => row.id === id && 'attempt' in row)
    .map(row => (row['attempt'] as { trigger: Trigger }).trigger)
    .toReversed()
}

function valueOf({ headers }: OutgoingRequest, name: string): string {
  return headers[headers.indexOf(name) + 1] ?? ''
}
