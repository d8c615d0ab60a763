import { readdirSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { ThreadEngine } from '../../src/engine/thread.ts'
import { handingOf, hookTo, settingsOf } from '../engine/fixtures.ts'
import { startReceiver } from '../sandbox/receiver.ts'

const ENTRY = new URL('../../dist/engine/worker.js', import.meta.url)
/** A busy machine is slow. */
const PATIENCE_MS = 60_000
const LOOK_EVERY_MS = 10

export interface CyclesReport {
  readonly before: Leftovers
  readonly after: Leftovers
  /** What is left behind, in words. */
  readonly problems: readonly string[]
}

/** Starts an engine with its thread and closes it again, so often: every other one is closed while it is starting. */
export async function runCycles(cycles: number): Promise<CyclesReport> {
  const receiver = await startReceiver()
  const directory = await mkdtemp(join(tmpdir(), 'cycles-'))
  const cycle = async (count: number): Promise<void> => {
    const engine = new ThreadEngine({ entry: ENTRY, openDirectory: () => Promise.resolve(directory) })
    engine.configure(settingsOf(hookTo(receiver.url)))
    engine.hand(handingOf())
    if (count % 2 === 0) {
      await engine.ready
      await receiver.next(1, PATIENCE_MS)
    }
    await engine.close(0)
  }
  try {
    await cycle(0) // the first takes what the process keeps, as the threads of libuv
    const before = leftovers()
    for (let count = 1; count <= cycles; ++count) {
      await cycle(count)
    }
    const end = performance.now() + PATIENCE_MS
    let after = leftovers()
    let problems = compare(before, after, cycles)
    while (problems.length > 0 && performance.now() < end) {
      await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS))
      after = leftovers()
      problems = compare(before, after, cycles)
    }
    const strange = (await readdir(directory)).filter(name => !['journal', 'journal.numbers'].includes(name))
    return { before, after, problems: [...problems, ...strange.map(name => `${name} is left in the data directory`)] }
  } finally {
    await receiver.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** What this process holds. */
interface Leftovers {
  /** By kind, of the event loop. */
  readonly handles: Readonly<Record<string, number>>
  /** Where the system tells, else 0. */
  readonly threads: number
  readonly files: number
}

function leftovers(): Leftovers {
  const handles: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) {
    handles[name] = (handles[name] ?? 0) + 1
  }
  const count = (folder: string): number => (process.platform === 'linux' ? readdirSync(folder).length : 0)
  // sockets are the receiver's, which takes its time
  const { TCPSocketWrap: _, ...rest } = handles
  return { handles: rest, threads: count('/proc/self/task'), files: count('/proc/self/fd') }
}

function compare(before: Leftovers, after: Leftovers, cycles: number): string[] {
  const problems: string[] = []
  for (const name of new Set([...Object.keys(before.handles), ...Object.keys(after.handles)])) {
    const [was = 0, is = 0] = [before.handles[name], after.handles[name]]
    if (is > was) {
      problems.push(`${is} handles of kind ${name}, ${was} before`)
    }
  }
  // whoever watches this process may hold some for a while
  for (const name of ['threads', 'files'] as const) {
    if (after[name] >= before[name] + cycles / 2) {
      problems.push(`${after[name]} ${name}, ${before[name]} before`)
    }
  }
  return problems
}
