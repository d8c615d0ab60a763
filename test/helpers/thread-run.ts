import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'

import type { EngineEvent, EngineHealth } from '../../src/engine/engine.ts'
import { ThreadEngine } from '../../src/engine/thread.ts'
import { eventOf, hookTo, settingsOf } from '../engine/fixtures.ts'
import { startReceiver } from '../sandbox/receiver.ts'
import type { Receiver } from '../sandbox/receiver.ts'
import { seededRandom } from './seeded-random.ts'

export interface ThreadReport {
  readonly terminations: number
  /** That were noticed: each led to a new thread. */
  readonly replaced: number
  readonly accepted: number
  readonly delivered: number
  readonly requests: number
  /** Answered with success more than once, as the thread was ended before it had told of the first. */
  readonly repeated: number
  /** What is wrong, in words. */
  readonly problems: readonly string[]
}

const ENTRY = new URL('../../dist/engine/worker.js', import.meta.url)
const HOOKS = ['a', 'b', 'c']
const LOAD_EVERY_MS = 5
/** For a thread to come up, and for all to be settled in the end. A busy machine is slow. */
const PATIENCE_MS = 120_000

/** Ends the thread of the delivery side again and again, under load, and compares what was handed over with what has arrived. */
export async function runTerminations(seed: number, terminations: number, hasJournal: boolean): Promise<ThreadReport> {
  const random = seededRandom(seed)
  const directory = await mkdtemp(join(tmpdir(), 'threads-'))
  let isKind = false
  /** Ids that were answered with success, how often. */
  const answered = new Map<string, number>()
  const receiver = await startReceiver(({ headers }) => {
    switch (isKind ? 'ok' : random.weighted({ ok: 85, error: 12, reset: 3 })) {
      case 'ok': {
        const id = String(headers['webhook-id'])
        answered.set(id, (answered.get(id) ?? 0) + 1)
        return {}
      }
      case 'error':
        return { status: 503 }
      case 'reset':
        return undefined
    }
  })
  const threads: Worker[] = []
  const engine = new ThreadEngine({
    entry: ENTRY,
    spawn: (entry, options) => {
      const thread = new Worker(entry, options)
      threads.push(thread)
      return thread
    },
    pauses: { firstMs: 1, longestMs: 1 },
    ...(hasJournal && { openDirectory: () => Promise.resolve(directory) }),
  })
  const events: EngineEvent[] = []
  engine.listen(event => events.push(event))
  const hooks = HOOKS.map(id => hookTo(`${receiver.url}/${id}`, { id }))
  engine.configure(settingsOf(...hooks))

  const bodies = new Map<string, string>()
  let number = 0
  const hand = (): void => {
    const id = `h${++number}`
    const text = `${id} `.repeat(random.between(1, 300))
    const wanted = HOOKS.filter(() => random.chance(0.6))
    const body = JSON.stringify({ callId: id, params: { text }, type: 'post' })
    wanted.forEach((_, place) => bodies.set(`${id}-${place}`, body))
    const fields = new Map([
      ['callId', JSON.stringify(id)],
      ['params', JSON.stringify({ text })],
    ])
    engine.hand({ id, event: eventOf({ callId: id, fields }), hooks: wanted, party: 'someone' })
  }
  const loading = setInterval(() => {
    for (let count = random.between(0, 4); count > 0; --count) {
      hand()
    }
  }, LOAD_EVERY_MS)

  try {
    for (let kill = 1; kill <= terminations; ++kill) {
      const seen = receiver.requests.length
      // it has begun to send, and more
      await until('the thread sends', () => receiver.requests.length > seen + (kill % 4) * 10)
      await pause(random.between(0, 100))
      void threads.at(-1)?.terminate()
      await until('there is a new thread', () => threads.length > kill)
    }
    clearInterval(loading)
    isKind = true
    await until('all is settled', async () => {
      await Promise.all(hooks.map(({ route }) => engine.resume(route.endpoint.id)))
      await engine.replay({})
      const { pending, dead } = await engine.health()
      return pending + dead === 0
    })
    const health = await engine.health()
    return {
      terminations,
      replaced: events.filter(({ type }) => type === 'replaced').length,
      accepted: bodies.size,
      delivered: health.delivered,
      requests: receiver.requests.length,
      repeated: [...answered.values()].filter(times => times > 1).length,
      problems: compare(bodies, receiver, answered, health, events),
    }
  } finally {
    clearInterval(loading)
    await engine.close(0)
    await receiver.close()
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

function compare(
  bodies: ReadonlyMap<string, string>,
  { requests }: Receiver,
  answered: ReadonlyMap<string, number>,
  { accepted, delivered, pending, dead, discarded }: EngineHealth,
  events: readonly EngineEvent[]
): string[] {
  const problems: string[] = []
  for (const { headers, body } of requests) {
    const id = String(headers['webhook-id'])
    const expected = bodies.get(id)
    if (expected === undefined) {
      problems.push(`${id} arrived, but was never handed over`)
    } else if (body !== expected) {
      problems.push(`${id} came with another body: ${body.slice(0, 100)}`)
    }
  }
  for (const id of bodies.keys()) {
    if (!answered.has(id)) {
      problems.push(`${id} was lost`)
    }
  }
  const lost = Object.values(discarded).reduce((sum, count) => sum + count, 0)
  if (lost > 0) {
    problems.push(`discarded: ${JSON.stringify(discarded)}`)
  }
  if (accepted !== delivered + pending + dead + lost) {
    problems.push(
      `${accepted} accepted are not ${delivered} delivered, ${pending} pending, ${dead} dead, ${lost} discarded`
    )
  }
  // what a thread was ended with before it could tell is handed over again, and counts again if the journal knows it
  const successes = [...answered.values()].reduce((sum, times) => sum + times, 0)
  if (delivered < bodies.size || delivered > successes) {
    problems.push(`${bodies.size} were handed over and answered ${successes} times, but ${delivered} are delivered`)
  }
  for (const event of events) {
    if (
      event.type === 'set aside' ||
      event.type === 'no thread' ||
      (event.type === 'journal' && event.problem !== undefined)
    ) {
      problems.push(JSON.stringify(event))
    }
  }
  return problems
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS
  while (!(await isSo())) {
    if (performance.now() > end) {
      throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
    }
    await pause(5)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
