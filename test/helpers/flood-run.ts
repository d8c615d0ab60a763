import { monitorEventLoopDelay } from 'node:perf_hooks'

import type { Hook } from '../../src/config/hook.ts'
import type { EngineHealth } from '../../src/engine/engine.ts'
import { ThreadEngine } from '../../src/engine/thread.ts'
import { parsePatterns } from '../../src/matcher.ts'
import { Relay } from '../../src/relay.ts'
import { hookTo } from '../engine/fixtures.ts'

export interface FloodReport {
  /** Calls that only the dead catch-all wants. */
  readonly calls: number
  /** Calls that the healthy hook wants too. */
  readonly healthyCalls: number
  readonly health: EngineHealth
  /** The highest of the process, MiB. */
  readonly rssMiB: number
  /** The longest of this thread's event loop, ms. */
  readonly delayMs: number
  readonly replaced: number
}

const ENTRY = new URL('../../dist/engine/worker.js', import.meta.url)
/** Nobody listens there. */
const DEAD = 'http://127.0.0.1:1/'
const RATE = 2_000
const STEP_MS = 20
const MIB = 1024 * 1024
const PATIENCE_MS = 60_000

/** So long, 2,000 calls a second to a dead catch-all, and one in 20 ms to a hook whose receiver is healthy. */
export async function runFlood(
  healthyUrl: string,
  seconds: number,
  isHealthyDone: (calls: number) => boolean | Promise<boolean>,
  openDirectory?: () => Promise<string>
): Promise<FloodReport> {
  const engine = new ThreadEngine({ entry: ENTRY, ...(openDirectory && { openDirectory }) })
  let replaced = 0
  engine.listen(({ type }) => {
    replaced += type === 'replaced' ? 1 : 0
  })
  const hooks = [hookOf('dead', '*', DEAD), hookOf('healthy', 'vm.start', healthyUrl)]
  const relay = new Relay({ hooks, others: [], notify: [] }, {}, { engine, namesOf: method => [method] })
  try {
    await relay.ready
    const text = 'x'.repeat(500)
    const count = seconds * RATE
    let calls = 0
    let healthyCalls = 0
    let rss = 0
    const call = (method: string, callId: string): void => {
      const signal = { callId, method, userId: 'u1', params: { text }, timestamp: Date.now(), result: true }
      void relay.accept('api', 'post', signal)
    }
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const start = performance.now()
    while (calls < count) {
      // what a busy machine has missed is not made up for at once
      const due = Math.min(count, calls + (2 * RATE * STEP_MS) / 1_000, ((performance.now() - start) / 1_000) * RATE)
      for (; calls < due; ++calls) {
        call('vm.set', `flood ${calls}`)
      }
      call('vm.start', `healthy ${healthyCalls++}`)
      rss = Math.max(rss, process.memoryUsage.rss())
      await pause(STEP_MS)
    }
    delay.disable()
    const end = performance.now() + PATIENCE_MS
    while (!(await isHealthyDone(healthyCalls)) && performance.now() < end) {
      await pause(STEP_MS)
    }
    let health = await engine.health()
    // the last one has come in, and its answer may not have been heard yet
    while (health.delivered < healthyCalls && performance.now() < end) {
      await pause(STEP_MS)
      health = await engine.health()
    }
    rss = Math.max(rss, process.memoryUsage.rss())
    return {
      calls,
      healthyCalls,
      health,
      rssMiB: Math.round(rss / MIB),
      delayMs: Math.round(delay.max / 1e6),
      replaced,
    }
  } finally {
    await relay.close(0)
  }
}

/** What does not go together in a report, in words: the books, or what became of the healthy hook's deliveries. */
export function problemsOf({ calls, healthyCalls, health, replaced }: FloodReport): string[] {
  const problems: string[] = []
  const { accepted, delivered, pending, dead, discarded } = health
  const handed = calls + 2 * healthyCalls
  const lost = Object.values(discarded).reduce((sum, count) => sum + count, 0)
  if (accepted !== handed || accepted !== delivered + pending + dead + lost) {
    problems.push(
      `${handed} handed over, ${accepted} accepted: ${JSON.stringify({ delivered, pending, dead, discarded })}`
    )
  }
  if (delivered !== healthyCalls) {
    problems.push(`${healthyCalls} deliveries were to reach the healthy endpoint, ${delivered} did`)
  }
  if (pending + dead > 100_000) {
    problems.push(`${pending + dead} are kept`)
  }
  if (lost !== (discarded['queue full'] ?? 0)) {
    problems.push(`discarded: ${JSON.stringify(discarded)}`)
  }
  if (replaced > 0) {
    problems.push(`the thread was replaced ${replaced} times`)
  }
  return problems
}

/** To all calls of these methods. */
export function hookOf(id: string, method: string, url: string): Hook {
  return {
    ...hookTo(url, { id, name: id }),
    ...{
      phases: ['pre', 'post'],
      status: 'any',
      waitForResponse: false,
      mayRefuse: false,
      refuseWhenSilent: false,
      methods: parsePatterns(method),
    },
  }
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
