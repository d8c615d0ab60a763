import type { Kept } from './kept.ts'
import type { Line } from './lines.ts'

export interface PumpOptions {
  /** Requests at once in all, beside the one that each endpoint always may have. */
  readonly concurrency: number
  /** Until when nothing of a line is to be sent, for the sake of its origin or its proxy. */
  readonly heldUntil: (line: Line) => number
  /** The next delivery of a line that may go, taken out of its queue. */
  readonly next: (line: Line, now: number) => Kept | undefined
  readonly send: (line: Line, kept: Kept, now: number) => void
}

/** Longer timers overflow; a line that wakes early looks again. */
const LONGEST_TIMER_MS = 24 * 60 * 60_000

interface Alarm {
  readonly timer: NodeJS.Timeout
  readonly at: number
}

/**
 * Gives each line its turn. A line that has something to send gets one turn, then goes to the end; so none keeps another
 * waiting. Every line may always have one request of its own under way; the ones beyond that share a common number.
 */
export class Pump {
  readonly #options: PumpOptions
  #ready = new Set<Line>()
  readonly #alarms = new Map<Line, Alarm>()
  #inFlight = 0
  /** Of those, the ones beyond the first of each line. */
  #common = 0
  #due: NodeJS.Immediate | undefined
  #isHeld = true
  #onQuiet: (() => void) | undefined

  constructor(options: PumpOptions) {
    this.#options = options
  }

  get inFlight(): number {
    return this.#inFlight
  }

  /** From now on, lines get turns. */
  start(): void {
    this.#isHeld = false
  }

  /** From now on, none does. */
  stop(): void {
    this.#isHeld = true
    clearImmediate(this.#due)
    this.#alarms.forEach(({ timer }) => clearTimeout(timer))
    this.#alarms.clear()
  }

  /** Settles once no request is under way. */
  quiet(): Promise<void> {
    return this.#inFlight === 0 ? Promise.resolve() : new Promise(resolve => (this.#onQuiet = resolve))
  }

  /** The line has changed: it gets a turn, but not on the tick of whoever says so. */
  wake(line: Line): void {
    this.#ready.add(line)
    if (!this.#isHeld) {
      this.#due ??= setImmediate(() => this.#pump())
    }
  }

  forget(line: Line): void {
    this.#ready.delete(line)
    clearTimeout(this.#alarms.get(line)?.timer)
    this.#alarms.delete(line)
  }

  /** A request is under way. */
  began({ lane }: Line, now: number): void {
    lane.began(now)
    ++this.#inFlight
    if (lane.inFlight > 1) {
      ++this.#common
    }
  }

  /** It is over: its place is free, and whoever waits for one has a turn. */
  ended(line: Line): void {
    line.lane.left()
    --this.#inFlight
    if (line.lane.inFlight > 0) {
      --this.#common
    }
    this.#ready.add(line)
    this.#pump()
    if (this.#inFlight === 0) {
      this.#onQuiet?.()
    }
  }

  #pump(): void {
    clearImmediate(this.#due)
    this.#due = undefined
    if (this.#isHeld) {
      return
    }
    const { concurrency, heldUntil, next, send } = this.#options
    const now = performance.now()
    const waiting: Line[] = []
    for (const line of this.#ready) {
      this.#ready.delete(line)
      const { lane } = line
      if (lane.inFlight > 0 && this.#common >= concurrency) {
        waiting.push(line) // whichever request ends first pumps again
        continue
      }
      const kept = heldUntil(line) > now ? undefined : next(line, now)
      if (kept === undefined) {
        this.#setAlarm(line, now)
      } else {
        this.#ready.add(line) // behind the others: the loop comes to it again
        send(line, kept, now)
      }
    }
    waiting.forEach(line => this.#ready.add(line))
  }

  /** An alarm that is earlier than needed is left alone: the line looks again. */
  #setAlarm(line: Line, now: number): void {
    const due = line.lane.wakeAt(now, this.#options.heldUntil(line))
    const at = Math.min(due, now + LONGEST_TIMER_MS)
    const alarm = this.#alarms.get(line)
    if (due === Number.POSITIVE_INFINITY || due <= now || (alarm !== undefined && alarm.at <= at)) {
      return
    }
    clearTimeout(alarm?.timer)
    const ring = (): void => {
      this.#alarms.delete(line)
      this.#ready.add(line)
      this.#pump()
    }
    this.#alarms.set(line, { at, timer: setTimeout(ring, Math.ceil(at - now)).unref() })
  }
}
