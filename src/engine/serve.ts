import { Courier } from '../courier.ts'
import type { CourierEvent } from '../courier.ts'
import type { DiscardReason } from '../delivery/delivery.ts'
import type { Legacy } from '../delivery/restart.ts'
import { idOf, remainsOf } from '../handing.ts'
import type { Handing, Remains } from '../handing.ts'
import { messageOf } from '../problem.ts'
import { Intake } from './intake.ts'
import { unpacked } from './protocol.ts'
import type { Answers, Batch, Beginning, Order, Packed, Question, Reply, Report } from './protocol.ts'

/** What need not be known at once is reported with all that happens in the meantime. */
const REPORT_AFTER_MS = 20

/**
 * So long orders are worked off in one turn of the event loop, however many batches come in it: then comes what else there is
 * to do, as writing to the disk.
 */
const TURN_MS = 5

/** So many handings that an earlier run has left are worked off in one go. */
const LEFT_AT_ONCE = 100

/** Of one kind and hook no more are told in one report: whoever logs them says one a minute. */
const MAX_ALIKE = 20

export interface Surroundings {
  readonly report: (report: Report) => void
  /** This handing is being worked on; 0: none. */
  readonly mark: (number: number) => void
  /** All batches up to this one have been worked off. */
  readonly taken: (batch: number) => void
  /** Working on a handing failed in a way that nobody has thought of. Throws, or the handing is set aside. */
  readonly onBug: (error: unknown) => void
}

/**
 * The delivery side's end of the seam: works off the host end's batches, and reports. It runs in a worker thread (worker.ts),
 * or, where there is none, in the host's own.
 *
 * @returns what takes a batch
 */
export function serve(beginning: Beginning, surroundings: Surroundings): (batch: Batch) => void {
  const end = new DeliveryEnd(beginning, surroundings)
  return batch => end.take(batch)
}

class DeliveryEnd {
  readonly #courier: Courier
  readonly #surroundings: Surroundings
  /** `undefined`: there is no journal. */
  readonly #intake: Intake | undefined
  /** What came in and has not been worked off. */
  #batches: Batch[] = []
  /** Of the first of these, what has been. */
  #obeyed = 0
  /** Of the turn of the event loop in which orders are being worked off; `undefined`: none has been in this one. */
  #turn: NodeJS.Immediate | undefined
  /** Instant after which nothing more is worked off in this turn. */
  #turnEnd = 0
  #taken = 0
  /** Where the deliveries that are not safe stand, by id: the number of the handing, and the place. */
  readonly #places = new Map<string, readonly [number: number, place: number]>()
  /** It replaces another one, which may have put into the journal what is still to be handed over again. */
  readonly #isSuccessor: boolean
  readonly #leftovers: { readonly safe: ReadonlySet<string>; readonly guilty: ReadonlySet<number> }
  /** What is to be reported. */
  #safe: number[] = []
  #others: string[] = []
  #events: CourierEvent[] = []
  #discarded = new Map<DiscardReason, { count: number; id: string }>()
  #alike = new Map<string, number>()
  #replies: Reply[] = []
  #isReady = false
  #asksForDirectory = false
  #timer: NodeJS.Timeout | undefined
  #immediate: NodeJS.Immediate | undefined
  /** Of the journal's folder. */
  #awaited: { resolve: (path: string) => void; reject: (error: Error) => void }[] = []
  #isClosed = false

  constructor({ addresses, hasJournal, legacy, run, leftovers }: Beginning, surroundings: Surroundings) {
    this.#surroundings = surroundings
    this.#isSuccessor = legacy !== undefined
    this.#leftovers = { safe: new Set(leftovers.safe), guilty: new Set(leftovers.guilty) }
    this.#intake = hasJournal ? new Intake(run) : undefined
    this.#courier = new Courier({
      addresses,
      ...(hasJournal && {
        openDirectory: () => this.#directory(),
        onLocked: (directory, isAlive) => this.#takeOver(directory, isAlive),
      }),
      ...(legacy !== undefined && { legacy: JSON.parse(legacy) as Legacy }),
      onSafe: id => this.#noteSafe(id),
    })
    this.#courier.listen(event => this.#note(event))
    void this.#courier.ready.then(() => {
      this.#isReady = true
      this.#reportSoon()
    })
    this.#reportSoon()
  }

  take(batch: Batch): void {
    if (this.#intake !== undefined) {
      for (const order of batch.orders) {
        const handing = handingIn(order)
        if (handing !== undefined) {
          this.#intake.add(handing)
        }
      }
    }
    this.#batches.push(batch)
    this.#workOff()
  }

  #workOff(): void {
    if (this.#turn === undefined) {
      this.#turnEnd = performance.now() + TURN_MS
      this.#turn = setImmediate(() => {
        this.#turn = undefined
        if (this.#batches.length > 0) {
          this.#workOff()
        }
      })
    }
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      while (this.#obeyed < batch.orders.length) {
        if (performance.now() > this.#turnEnd) {
          this.#intake?.hurry()
          return
        }
        this.#obey(batch.orders[this.#obeyed++]!)
      }
      this.#batches.shift()
      this.#obeyed = 0
      this.#taken = batch.number
      this.#surroundings.taken(batch.number)
      this.#reportLater()
    }
  }

  #obey(order: Order): void {
    if (typeof order === 'string') {
      this.#work(unpacked(order), handing => this.#courier.hand(handing))
      return
    }
    switch (order.type) {
      case 'configure':
        this.#courier.configure(order.settings)
        return
      case 'discard':
        this.#remember(order.number, order.remains)
        this.#courier.discard(order.remains, order.reason)
        return
      case 'lost':
        this.#courier.lose(order.owner, order.id, order.count)
        this.#surroundings.mark(0)
        return
      case 'question':
        void this.#reply(order.number, this.#answer(order.question))
        return
      case 'directory':
        this.#awaited.forEach(({ resolve }) => resolve(order.path))
        this.#awaited = []
        return
      case 'no directory':
        this.#awaited.forEach(({ reject }) => reject(new Error(order.problem)))
        this.#awaited = []
        return
      case 'close':
        void this.#close(order.graceMs)
        return
      default:
        order satisfies never
    }
  }

  /**
   * Filters and formats run within this: whatever they do to the thread is this handing's doing.
   *
   * @param onBug - see {@link Surroundings}
   */
  #work({ number, handing }: Numbered, run: (handing: Handing) => void, onBug = this.#surroundings.onBug): void {
    const { mark } = this.#surroundings
    this.#remember(number, handing)
    mark(number)
    try {
      run(handing)
    } catch (error) {
      onBug(error)
      this.#courier.discard(remainsOf(handing), 'set aside')
    }
    mark(0)
  }

  async #reply(number: number, answer: Promise<Answers[Question['name']]>): Promise<void> {
    const problem = (error: unknown): Reply => ({ number, problem: messageOf(error) })
    const reply = await answer.then((value): Reply => ({ number, value }), problem)
    this.#replies.push(reply)
    this.#reportSoon()
  }

  #answer(question: Question): Promise<Answers[Question['name']]> {
    switch (question.name) {
      case 'ask': {
        let answers: Promise<Answers['ask']> = Promise.resolve([])
        this.#work(unpacked(question.handing), handing => {
          answers = this.#courier.ask(handing)
        })
        return answers
      }
      case 'probe':
        return this.#courier.probe(unpacked(question.handing).handing)
      case 'list':
        return this.#courier.list(question.query)
      case 'get':
        return this.#courier.get(question.id)
      case 'replay':
        return this.#courier.replay(question.which)
      case 'cancel':
        return this.#courier.cancel(question.which)
      case 'pause':
        return this.#courier.pause(question.endpoint)
      case 'resume':
        return this.#courier.resume(question.endpoint)
      case 'health':
        return this.#courier.health()
      case 'statistics':
        return this.#courier.statistics()
      case 'recent events':
        return this.#courier.recentEvents()
      case 'rehearse':
        return this.#courier.rehearse(question.hook, question.events)
      default:
        return question satisfies never
    }
  }

  #directory(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#awaited.push({ resolve, reject })
      this.#asksForDirectory = true
      this.#reportSoon()
    })
  }

  /**
   * Before anything of the journal is sent: what it holds too is not to be sent twice. Never rejects, as the journal waits
   * for this.
   */
  async #takeOver(directory: string, isAlive: () => void): Promise<void> {
    const left = (await this.#intake?.takeOver(directory)) ?? []
    for (let index = 0; index < left.length; ++index) {
      try {
        this.#workLeftover(left[index]!)
      } catch {
        // it was written by another version, and cannot be read
      }
      if (index % LEFT_AT_ONCE === LEFT_AT_ONCE - 1) {
        await new Promise(resolve => setImmediate(resolve))
        isAlive()
      }
    }
  }

  /** @throws if it was written by another version, and cannot be read */
  #workLeftover(text: Packed): void {
    const { safe, guilty } = this.#leftovers
    const { number, handing } = unpacked(text)
    const hooks = handing.hooks.map((id, place) => (safe.has(`${number}-${place}`) ? '' : id))
    const setAside = (): void => {} // what is thrown here is no reason to end the thread
    const hand = (rest: Handing): void => this.#courier.hand(rest)
    const giveUp = (rest: Handing): void => this.#courier.discard(remainsOf(rest), 'set aside')
    this.#work({ number, handing: { ...handing, hooks } }, guilty.has(number) ? giveUp : hand, setAside)
  }

  #remember(number: number, remains: Pick<Remains, 'id' | 'hooks'>): void {
    let count = 0
    remains.hooks.forEach((owner, place) => {
      if (owner !== '') {
        ++count
        this.#places.set(idOf(remains, place), [number, place])
      }
    })
    this.#intake?.worked(number, count)
  }

  /** What is on disk is told once more when it ends. */
  #noteSafe(id: string): void {
    const place = this.#places.get(id)
    if (place !== undefined) {
      this.#places.delete(id)
      this.#safe.push(...place)
      this.#intake?.safe(place[0])
    } else if (this.#isSuccessor) {
      this.#others.push(id)
    }
    this.#reportLater()
  }

  #note(event: CourierEvent): void {
    if (event.type === 'journal' && this.#intake !== undefined) {
      this.#intake.isOn = event.problem === undefined
    }
    if (event.type === 'discarded') {
      const before = this.#discarded.get(event.reason)
      this.#discarded.set(event.reason, { count: (before?.count ?? 0) + event.count, id: event.id })
    } else {
      const kind = kindOf(event)
      const alike = this.#alike.get(kind) ?? 0
      if (alike < MAX_ALIKE) {
        this.#alike.set(kind, alike + 1)
        this.#events.push(event)
      }
    }
    this.#reportLater()
  }

  #reportLater(): void {
    this.#timer ??= setTimeout(() => this.#report(), REPORT_AFTER_MS).unref()
  }

  #reportSoon(): void {
    this.#immediate ??= setImmediate(() => this.#report())
  }

  #report(last: Pick<Report, 'closed'> = {}): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    this.#timer = undefined
    this.#immediate = undefined
    if (this.#isClosed) {
      return
    }
    const report: Report = {
      taken: this.#taken,
      safe: this.#safe,
      others: this.#others,
      legacy: JSON.stringify(this.#courier.legacy),
      events: [
        ...this.#events,
        ...[...this.#discarded].map(([reason, { count, id }]) => ({ type: 'discarded', reason, count, id }) as const),
      ],
      replies: this.#replies,
      isReady: this.#isReady,
      asksForDirectory: this.#asksForDirectory,
      ...last,
    }
    this.#safe = []
    this.#others = []
    this.#events = []
    this.#discarded.clear()
    this.#alike.clear()
    this.#replies = []
    this.#asksForDirectory = false
    this.#surroundings.report(report)
  }

  async #close(graceMs: number): Promise<void> {
    await this.#courier.close(graceMs)
    // those whose courier has closed before it was asked for the journal
    this.#awaited.forEach(({ reject }) => reject(new Error('stopped')))
    this.#awaited = []
    await this.#intake?.close()
    // answers to questions that the end of the courier has settled are on their way
    await new Promise(resolve => setImmediate(resolve))
    this.#report({ closed: await this.#courier.health() })
    this.#isClosed = true
  }
}

type Numbered = ReturnType<typeof unpacked>

/** Something that is handed over, with or without a question about its first attempts. */
function handingIn(order: Order): Packed | undefined {
  if (typeof order === 'string') {
    return order
  }
  return order.type === 'question' && order.question.name === 'ask' ? order.question.handing : undefined
}

function kindOf(event: Exclude<CourierEvent, { type: 'discarded' }>): string {
  switch (event.type) {
    case 'dead':
      return `dead ${event.owner}`
    case 'undecided':
    case 'unformatted':
      return `${event.type} ${event.hook}`
    case 'health':
      return `health ${event.report.endpoint}`
    case 'proxy':
      return `proxy ${event.report.proxy}`
    case 'journal':
      return 'journal'
    default:
      return event satisfies never
  }
}
