import { BroadcastChannel, Worker } from 'node:worker_threads'
import { onTestFinished } from 'vitest'

import type { EngineEvent } from '../../src/engine/engine.ts'
import { ThreadEngine } from '../../src/engine/thread.ts'
import type { ThreadOptions } from '../../src/engine/thread.ts'

const DEADLY_ENTRY = new URL('../engine/deadly-worker.mjs', import.meta.url)
/** Of the thread's heap, MiB: enough to start, and soon used up. */
const HEAP_MIB = 64

let channels = 0

/** An engine whose thread dies on command. */
export function startMortal(options: ThreadOptions = {}): {
  engine: ThreadEngine
  events: EngineEvent[]
  threads: Worker[]
  command: (how: 'exit' | 'spin' | 'exhaust' | 'throw') => void
  replacements: () => string[]
} {
  const channel = `deadly ${process.pid} ${++channels}`
  const commands = new BroadcastChannel(channel)
  const threads: Worker[] = []
  const engine = new ThreadEngine({
    entry: DEADLY_ENTRY,
    spawn: (entry, { workerData, ...rest }) => {
      const thread = new Worker(entry, {
        ...rest,
        workerData: { ...workerData, channel },
        resourceLimits: { ...rest.resourceLimits, maxOldGenerationSizeMb: HEAP_MIB },
      })
      threads.push(thread)
      return thread
    },
    pauses: { firstMs: 1, longestMs: 1 },
    ...options,
  })
  const events: EngineEvent[] = []
  engine.listen(event => events.push(event))
  onTestFinished(async () => {
    await engine.close(0)
    commands.close()
  })
  return {
    engine,
    events,
    threads,
    command: how => commands.postMessage(how),
    replacements: () => events.flatMap(event => (event.type === 'replaced' ? event.reason : [])),
  }
}
