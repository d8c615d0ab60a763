import { readFileSync } from 'node:fs'
import { createContext, Script } from 'node:vm'

/** Work is measured in characters that are searched, some 5 ns each; the clock is looked at once in so many. */
const STRIDE = 50_000

const OUT_OF_TIME = Symbol('out of time')

/**
 * What an evaluation may still cost. One of less than {@link STRIDE} units of work is never given up, whatever the clock
 * says: an ordinary event is decided on a busy machine too.
 */
export class Effort {
  #left = STRIDE
  readonly #deadline: number
  /** Regular expressions may be run: something watches that can interrupt them. */
  isWatched = false

  constructor(budgetMs: number) {
    this.#deadline = performance.now() + budgetMs
  }

  /** @throws what {@link within} knows, when there is no time left */
  spend(units: number): void {
    this.#left -= units
    if (this.#left < 0) {
      this.#left = STRIDE
      if (performance.now() > this.#deadline) {
        throw OUT_OF_TIME
      }
    }
  }

  /**
   * Runs `task` so that it is interrupted when the time is up, in the middle of a regular expression too. Costs some
   * 0.1 ms: Node.js starts a thread that watches the clock. No `catch` or `finally` of `task` is run on an interruption;
   * a native call such as `JSON.parse`, or the compilation of a regular expression, is finished first.
   */
  watched<T>(task: () => T): T {
    let done: { readonly value: T } | undefined
    sandbox['run'] = () => {
      done = { value: task() }
    }
    this.isWatched = true
    try {
      script.runInContext(sandbox, { timeout: Math.max(1, Math.ceil(this.#deadline - performance.now())) })
    } catch (thrown) {
      // a watching thread that had to wait for a CPU itself says "too late" of what was done long before
      if (done === undefined) {
        throw thrown
      }
    } finally {
      this.isWatched = false
      sandbox['run'] = undefined
    }
    return done!.value
  }
}

const script = new Script('run()')
/** Made at once: it takes some milliseconds, which no evaluation should pay for. */
const sandbox = createContext({})

/**
 * What `task` says, or `undefined` if it threw, or took longer than `budgetMs` twice. The first time may have been a
 * collection of garbage, whatever that cost. On a busy machine time passes in which this thread does not run: there are
 * more tries until those after the first have had half of `budgetMs` of a CPU together.
 */
export function within<T>(budgetMs: number, task: (effort: Effort) => T): T | undefined {
  let afterFirst = 0
  for (let tries = 1; ; ++tries) {
    try {
      return task(new Effort(budgetMs))
    } catch (thrown) {
      if (!isLate(thrown) || tries === MAX_TRIES) {
        return undefined
      }
      if (tries === 1) {
        afterFirst = cpuMs()
      } else if (cpuMs() - afterFirst > budgetMs / 2) {
        return undefined
      }
    }
  }
}

/** Of which one that wants no more than a moment needs a single one in which the machine lets it run. */
const MAX_TRIES = 20

function isLate(thrown: unknown): boolean {
  // an interruption is an `Error` of the sandbox, and no instance of this one's
  return thrown === OUT_OF_TIME || (thrown as { code?: unknown } | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
}

type CpuUsage = () => { readonly user: number; readonly system: number }

const threadCpuUsage = (process as { threadCpuUsage?: CpuUsage }).threadCpuUsage?.bind(process)

/**
 * CPU time of this thread. Before Node.js 22.19 Linux is asked, which takes some 15 µs; where there is no Linux, it is the
 * time of the whole process, which is never less.
 */
function cpuMs(): number {
  if (threadCpuUsage === undefined) {
    try {
      // nanoseconds on a CPU, waiting for one, time slices
      return Number.parseInt(readFileSync('/proc/thread-self/schedstat', 'latin1'), 10) / 1e6
    } catch {
      // below
    }
  }
  const { user, system } = (threadCpuUsage ?? process.cpuUsage)()
  return (user + system) / 1000
}
