/** How long a disk may take, ms. */
export interface Patience {
  /** To open the journal, without a sign of life. */
  readonly openMs: number
  readonly writeMs: number
  /** To be read, from when that was asked for. */
  readonly readMs: number
  /** From a failure until it is tried again. */
  readonly reopenMs: number
}

/** A disk that has not answered for so long is given up until it does. */
export const PATIENCE: Patience = { openMs: 3_000, writeMs: 5_000, readMs: 5_000, reopenMs: 10_000 }

/**
 * A disk hangs if so many looks in a row, spread over its time, see no answer. A look that comes late, since this thread was
 * kept from turning, counts as one: what the disk has answered meanwhile is heard before the next.
 */
const LOOKS = 10

export const NO_ANSWER = 'the data directory does not answer'

/** An operation of the disk that goes before all reads. Never rejects. */
export interface Step {
  /** Without a sign of life for so long, the disk hangs. */
  readonly withinMs: number
  /** `isAlive`: the disk answers. */
  readonly run: (isAlive: () => void) => Promise<void>
  /** It has ended after all. */
  readonly afterHanging: () => void
}

/**
 * Operations of the disk, one at a time, since the process has few threads for them: a step goes first, then come reads in
 * the order in which they were asked for. While one *hangs*, nothing else is begun, and reads reject.
 */
export class Turns {
  readonly #readMs: number
  readonly #onHanging: () => void
  readonly #afterHanging: () => void
  #operation: Promise<void> | undefined
  #step: Step | undefined
  /** Those that have not begun. */
  #reads: (() => Promise<void>)[] = []
  /** Of each read that has not settled, how it is given up. */
  readonly #unsettled = new Set<(error: Error) => void>()
  #isHanging = false
  #isRefusing = false
  #isClosed = false

  /**
   * @param readMs - how long a read may take, from when it was asked for
   * @param onHanging - an operation takes too long
   * @param afterHanging - a read that took too long has ended
   */
  constructor(readMs: number, onHanging: () => void, afterHanging: () => void) {
    this.#readMs = readMs
    this.#onHanging = onHanging
    this.#afterHanging = afterHanging
  }

  get isHanging(): boolean {
    return this.#isHanging
  }

  /** The next operation, in place of one that has not begun. */
  next(step: Step): void {
    this.#step = step
    this.#pump()
  }

  /** Reads in its turn; rejects if that has not ended in time. */
  read<T>(run: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#isHanging || this.#isRefusing) {
        reject(this.#refusal())
        return
      }
      const settle = (): void => {
        clearTimeout(timer)
        this.#unsettled.delete(fail)
      }
      const fail = (error: unknown): void => {
        settle()
        reject(error as Error)
      }
      const succeed = (value: T): void => {
        settle()
        resolve(value)
      }
      const timer = setTimeout(() => fail(new Error(NO_ANSWER)), this.#readMs).unref()
      this.#unsettled.add(fail)
      this.#reads.push(() => run().then(succeed, fail))
      this.#pump()
    })
  }

  /** From now on reads reject, the one that is under way too: nobody waits for a disk that may hang. */
  refuseReads(): void {
    this.#isRefusing = true
    this.#failReads()
  }

  /** Settles once nothing is under way; nothing begins any more but what is asked for with {@link last}. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#step = undefined
    this.refuseReads()
    while (this.#operation !== undefined) {
      await this.#operation
    }
  }

  /** After {@link close}. */
  async last(step: Step): Promise<void> {
    this.#operation = this.#run(step)
    await this.#operation
    this.#operation = undefined
  }

  #failReads(): void {
    this.#reads = []
    for (const fail of [...this.#unsettled]) {
      fail(this.#refusal())
    }
  }

  #refusal(): Error {
    return new Error(this.#isHanging ? NO_ANSWER : 'the journal is closed')
  }

  #pump(): void {
    if (this.#operation !== undefined || this.#isClosed) {
      return
    }
    const step = this.#step ?? this.#nextRead()
    if (step !== undefined) {
      this.#step = undefined
      this.#operation = this.#run(step).then(() => {
        this.#operation = undefined
        this.#pump()
      })
    }
  }

  #nextRead(): Step | undefined {
    const read = this.#reads.shift()
    return read && { withinMs: this.#readMs, run: read, afterHanging: this.#afterHanging }
  }

  async #run({ withinMs, run, afterHanging }: Step): Promise<void> {
    let wasHanging = false
    let looks = 0
    const timer = setTimeout(() => {
      if (++looks < LOOKS) {
        timer.refresh()
        return
      }
      wasHanging = true
      this.#isHanging = true
      this.#failReads()
      this.#onHanging()
    }, withinMs / LOOKS).unref()
    await run(() => {
      this.#isHanging = false
      looks = 0
      timer.refresh()
    })
    clearTimeout(timer)
    this.#isHanging = false
    if (wasHanging) {
      afterHanging()
    }
  }
}
