import { Worker } from 'node:worker_threads'
import type { WorkerOptions } from 'node:worker_threads'

import { messageOf } from '../problem.ts'
import { BEAT, MARK, SHARED_LENGTH, TAKEN } from './protocol.ts'
import type { Batch, Beginning, Report } from './protocol.ts'

/** Starts a thread. */
export type Spawn = (entry: URL, options: WorkerOptions) => Worker

/** How a thread ended. */
export interface End {
  readonly reason: string
  /** It had come so far as to report. */
  readonly hasReported: boolean
  /** Number of the handing that it was working on; 0: none. */
  readonly mark: number
}

export interface Watch {
  readonly onReport: (report: Report) => void
  /** Once; nothing is reported after it. */
  readonly onEnd: (end: End) => void
  /** Between two looks at its heartbeat. */
  readonly checkMs: number
}

/** Looks in a row at which the heart has not beaten, after which a thread is given up. */
const MAX_STILL = 10
/** As long as it starts: modules are read from the disk then. */
const MAX_STILL_AT_START = 60
/** A disk operation that hangs keeps a thread from ending. */
const END_PATIENCE_MS = 5_000

/**
 * Heap of the thread. What is outside of the heap, bodies above all, is bounded by the delivery side itself. The young
 * generation is kept small for the sake of memory that is not used otherwise.
 */
const LIMITS = { maxOldGenerationSizeMb: 384, maxYoungGenerationSizeMb: 8 }

/** One thread of the delivery side: it reports until it ends, of itself, by an error, or since it has stopped turning. */
export class WatchedWorker {
  readonly #worker: Worker
  readonly #watch: Watch
  readonly #shared = new Int32Array(new SharedArrayBuffer(SHARED_LENGTH * Int32Array.BYTES_PER_ELEMENT))
  readonly #heartbeat: NodeJS.Timeout
  #hasReported = false
  #lastBatch = 0
  /** Why it is about to end. */
  #reason: string | undefined
  #patience: NodeJS.Timeout | undefined
  #isOver = false

  /** Throws if no thread can be started. */
  constructor(spawn: Spawn, entry: URL, beginning: Beginning, watch: Watch) {
    this.#watch = watch
    const workerData: Beginning = { ...beginning, pulse: { shared: this.#shared, beatMs: watch.checkMs / 2 } }
    this.#worker = spawn(entry, {
      workerData,
      name: 'web-hooks',
      // options of the host's command line are about its own script, and some keep a worker from starting (`--input-type`);
      // those of NODE_OPTIONS, preloads included, hold all the same
      execArgv: [],
      resourceLimits: LIMITS,
    })
    this.#worker.on('message', (report: Report) => {
      if (!this.#isOver) {
        this.#hasReported = true
        this.#watch.onReport(report)
      }
    })
    this.#worker.on('error', error => this.#fail(reasonOf(error)))
    this.#worker.on('messageerror', () => this.#fail('a report could not be read'))
    this.#worker.on('exit', code => this.#end(`it ended (exit code ${code})`))
    // the host decides how long it runs
    this.#worker.unref()
    this.#heartbeat = this.#watchHeartbeat()
  }

  get isBusy(): boolean {
    return Atomics.load(this.#shared, TAKEN) !== this.#lastBatch
  }

  post(batch: Batch): void {
    this.#lastBatch = batch.number | 0 // as it comes back
    this.#worker.postMessage(batch)
  }

  /** Ends it at once, whatever it is doing. */
  terminate(reason: string): void {
    this.#fail(reason)
  }

  /** Keeps the process from ending before the thread. */
  ref(): void {
    this.#worker.ref()
  }

  /** A look that comes late, since the host is busy or the machine was asleep, counts as one: never as the time that has passed. */
  #watchHeartbeat(): NodeJS.Timeout {
    const { checkMs } = this.#watch
    let beat = 0
    let still = 0
    return setInterval(() => {
      const current = Atomics.load(this.#shared, BEAT)
      if (current !== beat) {
        beat = current
        still = 0
      } else if (++still >= (this.#hasReported ? MAX_STILL : MAX_STILL_AT_START)) {
        this.#fail('it did not turn any more')
      }
    }, checkMs).unref()
  }

  #fail(reason: string): void {
    if (this.#isOver || this.#reason !== undefined) {
      return
    }
    this.#reason = reason
    clearInterval(this.#heartbeat)
    this.#patience = setTimeout(() => this.#end(reason), END_PATIENCE_MS).unref()
    void this.#worker.terminate()
  }

  #end(reason: string): void {
    if (this.#isOver) {
      return
    }
    this.#isOver = true
    clearInterval(this.#heartbeat)
    clearTimeout(this.#patience)
    const mark = Atomics.load(this.#shared, MARK)
    this.#watch.onEnd({ reason: this.#reason ?? reason, hasReported: this.#hasReported, mark })
  }
}

export const spawnWorker: Spawn = (entry, options) => new Worker(entry, options)

function reasonOf(error: unknown): string {
  const { code } = error as { readonly code?: unknown }
  return code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'it had used up its memory' : messageOf(error)
}
