import { readdirSync } from 'node:fs'
import { BroadcastChannel, Worker } from 'node:worker_threads'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { EngineEvent } from '../../src/engine/engine.ts'
import { ThreadEngine } from '../../src/engine/thread.ts'
import type { ThreadOptions } from '../../src/engine/thread.ts'
import type { Spawn } from '../../src/engine/watched-worker.ts'
import type { Received } from '../sandbox/receiver.ts'
import { countOf, expectHealth, newDirectory, NOWHERE, PATIENCE, receive, runEngineCases } from './engine.cases.ts'
import { handingOf, hookTo, settingsOf } from './fixtures.ts'

const ENTRY = new URL('../../dist/engine/worker.js', import.meta.url)
const DEADLY_ENTRY = new URL('./deadly-worker.mjs', import.meta.url)
const BROKEN_ENTRY = new URL('./no-such-worker.mjs', import.meta.url)

const failToSpawn: Spawn = () => {
  throw new Error('no room for a thread')
}

runEngineCases('the delivery side in a thread', options => new ThreadEngine({ entry: ENTRY, ...options }))
runEngineCases(
  'the delivery side where there are no threads',
  options => new ThreadEngine({ spawn: failToSpawn, ...options })
)

let channels = 0

/** An engine whose thread dies on command. */
function startMortal(options: ThreadOptions = {}): {
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
      const thread = new Worker(entry, { ...rest, workerData: { ...workerData, channel } })
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

/** By id, each with one body only. */
function bodiesOf(requests: readonly Received[]): Map<string, string> {
  const bodies = new Map<string, string>()
  for (const { headers, body } of requests) {
    const id = String(headers['webhook-id'])
    expect(bodies.get(id) ?? body).toBe(body)
    bodies.set(id, body)
  }
  return bodies
}

describe('a thread that dies', () => {
  it.each(['with a journal', 'without one'])('loses nothing when it is killed again and again, %s', async how => {
    const receiver = await receive()
    const directory = await newDirectory()
    const withJournal = how === 'with a journal' && { openDirectory: () => Promise.resolve(directory) }
    const { engine, threads, replacements } = startMortal({ ...withJournal })
    engine.configure(settingsOf(hookTo(`${receiver.url}/a`), hookTo(`${receiver.url}/b`, { id: 'b' })))
    const bodies = new Map<string, string>()
    for (let kill = 1; kill <= 20; ++kill) {
      for (let count = 0; count < 20; ++count) {
        const handing = handingOf({ hooks: ['a', 'b'] })
        const body = `{"callId":"call-${handing.id}","method":"vm.start","params":{"id":"vm-1"},"type":"post"}`
        bodies.set(`${handing.id}-0`, body).set(`${handing.id}-1`, body)
        engine.hand(handing)
        if (count === 10) {
          // in the middle of it, one way or the other: it starts, has begun to send, or is through
          await vi.waitFor(() => expect(receiver.requests.length).toBeGreaterThanOrEqual(kill % 3), PATIENCE)
        }
      }
      void threads.at(-1)?.terminate()
      await vi.waitFor(() => expect(threads.length).toBeGreaterThan(kill), PATIENCE)
    }
    await vi.waitFor(() => expect(bodiesOf(receiver.requests).size).toBe(bodies.size), PATIENCE)
    expect(bodiesOf(receiver.requests)).toEqual(bodies)
    await expectHealth(engine, { pending: 0, dead: 0, discarded: {} })
    expect((await engine.health()).delivered).toBeGreaterThanOrEqual(bodies.size)
    expect(replacements().length).toBeGreaterThan(10)
  })

  it('goes on counting where the one before it had stopped', async () => {
    const receiver = await receive()
    const { engine, command, replacements } = startMortal()
    engine.configure(settingsOf(hookTo(receiver.url), hookTo(NOWHERE, { id: 'paused', route: { isPaused: true } })))
    engine.hand(handingOf({ hooks: ['a', 'paused', 'unknown'] }))
    await expectHealth(engine, { accepted: 3, delivered: 1, pending: 1, discarded: { 'hook removed': 1 } })
    command('exit')
    await vi.waitFor(() => expect(replacements()).toEqual(['it ended (exit code 7)']), PATIENCE)
    await expectHealth(engine, { accepted: 3, delivered: 1, pending: 1, discarded: { 'hook removed': 1 } })
    // what had been delivered was not sent again
    expect(receiver.requests).toHaveLength(1)
  })

  it('by an error that nobody has thought of', async () => {
    const receiver = await receive()
    const { engine, command, replacements } = startMortal()
    engine.configure(settingsOf(hookTo(receiver.url)))
    await engine.ready
    command('throw')
    await vi.waitFor(() => expect(replacements()).toEqual(['a bug']), PATIENCE)
    engine.hand(handingOf())
    await receiver.next(1, PATIENCE.timeout)
  })

  it('for want of memory takes nobody with it', async () => {
    const receiver = await receive()
    const { engine, command, replacements } = startMortal()
    engine.configure(settingsOf(hookTo(receiver.url)))
    await engine.ready
    command('exhaust')
    engine.hand(handingOf())
    await vi.waitFor(() => expect(replacements()).toEqual(['it had used up its memory']), PATIENCE)
    engine.hand(handingOf())
    await vi.waitFor(() => expect(bodiesOf(receiver.requests).size).toBe(2), PATIENCE)
  })

  it('and one that hangs is no better', async () => {
    const receiver = await receive()
    const { engine, command, replacements } = startMortal({ checkMs: 50 })
    engine.configure(settingsOf(hookTo(receiver.url)))
    await engine.ready
    command('spin')
    const ids = new Set<string>()
    await vi.waitFor(() => {
      // before it hangs, and while it does
      const handing = handingOf()
      ids.add(`${handing.id}-0`)
      engine.hand(handing)
      expect(replacements()).toContain('it did not turn any more')
    }, PATIENCE)
    await vi.waitFor(() => expect(new Set(bodiesOf(receiver.requests).keys())).toEqual(ids), PATIENCE)
  })

  it('leaves questions to the next, and first attempts unanswered', async () => {
    const receiver = await receive(() => new Promise(() => {}))
    const { engine, command, replacements } = startMortal()
    const hook = hookTo(receiver.url, { route: { timeoutMs: 10 * 60_000 } })
    engine.configure(settingsOf(hook, hookTo(NOWHERE, { id: 'paused', route: { isPaused: true } })))
    await engine.ready
    const paused = handingOf({ hooks: ['paused'] })
    engine.hand(paused)
    await expectHealth(engine, { pending: 1 })
    const answers = engine.ask(handingOf())
    const probes = engine.probe(handingOf())
    await receiver.next(2, PATIENCE.timeout)

    command('exit')
    expect(await answers).toEqual([])
    expect((await engine.list({ owner: 'paused' })).items.map(({ id }) => id)).toEqual([`${paused.id}-0`])
    // the test is made again, the delivery goes on
    await receiver.next(2, PATIENCE.timeout)
    command('exit')
    expect(await probes).toEqual([])
    expect(replacements()).toHaveLength(2)
  })

  it.each(['exit', 'spin'])('three times over one event is rid of it (%s)', async how => {
    const receiver = await receive()
    const { engine, events, replacements } = startMortal({ checkMs: 50 })
    engine.configure(settingsOf(hookTo(receiver.url, { format: how }), hookTo(receiver.url, { id: 'b' })))
    await engine.ready
    const before = handingOf({ hooks: ['b'] })
    const poison = handingOf({ event: { method: 'vm.poison' } })
    const after = handingOf({ hooks: ['b'] })
    for (const handing of [before, poison, after]) {
      engine.hand(handing)
    }
    await expectHealth(engine, { pending: 0, discarded: { 'set aside': 1 } })
    expect([...bodiesOf(receiver.requests).keys()].sort()).toEqual([`${before.id}-0`, `${after.id}-0`].sort())
    expect(events.filter(({ type }) => type === 'set aside')).toEqual([
      { type: 'set aside', method: 'vm.poison', callId: poison.event.callId },
    ])
    expect(countOf(events, 'set aside')).toBe(1)
    expect(replacements().length).toBeGreaterThanOrEqual(3)
  })

  it('while it works on nothing blames nobody', async () => {
    const { engine, events, command, replacements } = startMortal()
    engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
    engine.hand(handingOf())
    for (let death = 1; death <= 4; ++death) {
      await expectHealth(engine, { accepted: 1, pending: 1 })
      command('exit')
      await vi.waitFor(() => expect(replacements()).toHaveLength(death), PATIENCE)
    }
    await expectHealth(engine, { accepted: 1, pending: 1, discarded: {} })
    expect(events.filter(({ type }) => type === 'set aside')).toEqual([])
  })

  it('takes with it what there was no room to keep, and that is counted', async () => {
    const { engine, events, command } = startMortal({ maxHeldBytes: 10_000 })
    engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
    await engine.ready
    for (let count = 0; count < 100; ++count) {
      engine.hand(handingOf())
      if (count % 10 === 0) {
        await engine.health() // it has been given these
      }
    }
    await expectHealth(engine, { accepted: 100, pending: 100, discarded: {} })
    command('exit')
    await vi.waitFor(async () => {
      const { accepted, pending, discarded } = await engine.health()
      expect({ accepted, lost: discarded.lost }).toEqual({ accepted: 100, lost: 100 - pending })
      expect(pending).toBeGreaterThan(0)
      expect(pending).toBeLessThan(20)
    }, PATIENCE)
    await vi.waitFor(() => expect(countOf(events, 'lost')).toBeGreaterThan(80), PATIENCE)
  })
})

it('what a filter does not want is not held', async () => {
  const { engine, command, replacements } = startMortal({ maxHeldBytes: 10_000 })
  engine.configure(settingsOf(hookTo(NOWHERE, { filter: 'method:another' })))
  await engine.ready
  for (let count = 0; count < 100; ++count) {
    engine.hand(handingOf())
    await engine.health()
  }
  command('exit')
  await vi.waitFor(() => expect(replacements()).toHaveLength(1), PATIENCE)
  await expectHealth(engine, { accepted: 0 })
})

describe('without a thread', () => {
  it.each([
    ['cannot be started', { spawn: failToSpawn }],
    ['dies at its start', { entry: BROKEN_ENTRY }],
  ])('that %s, the delivery side runs in this one, and says so', async (_, options) => {
    const receiver = await receive()
    const { engine, events } = startMortal(options)
    engine.configure(settingsOf(hookTo(receiver.url)))
    engine.hand(handingOf())
    await receiver.next(1, PATIENCE.timeout)
    expect(events.map(({ type }) => type)).toEqual(['no thread'])
  })

  it('what there is no room for before it starts is counted', async () => {
    const { engine } = startMortal({ maxHeldBytes: 10_000 })
    engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
    for (let count = 0; count < 100; ++count) {
      engine.hand(handingOf())
    }
    await vi.waitFor(async () => {
      const { accepted, pending, discarded } = await engine.health()
      expect({ accepted, lost: discarded.lost }).toEqual({ accepted: 100, lost: 100 - pending })
      expect(pending).toBeGreaterThan(0)
    }, PATIENCE)
  })
})

describe('the end', () => {
  it('comes in time when the thread hangs, and all is accounted for', async () => {
    const { engine, events, threads } = startMortal({ checkMs: 1e6 })
    const paused = hookTo(NOWHERE, { route: { isPaused: true } })
    engine.configure(settingsOf(paused, hookTo(NOWHERE, { id: 'stuck', format: 'spin' })))
    engine.hand(handingOf({ hooks: ['a', 'unknown'] }))
    await expectHealth(engine, { pending: 1 })
    const ended = new Promise(resolve => threads[0]?.once('exit', resolve))
    engine.hand(handingOf({ hooks: ['stuck'] }))
    engine.hand(handingOf())
    const unanswered = expect(engine.list({})).rejects.toThrow('no answer')

    await engine.close(0)

    await unanswered
    await ended
    await expectHealth(engine, { accepted: 4, pending: 0, discarded: { 'hook removed': 1, stopped: 3 } })
    expect(countOf(events, 'stopped')).toBe(3)
    await expect(engine.list({})).rejects.toThrow('stopped')
    expect(await engine.probe(handingOf())).toEqual([])
  })

  it('comes in time between two threads', async () => {
    const { engine, command, threads, replacements } = startMortal({ pauses: { firstMs: 1e6, longestMs: 1e6 } })
    engine.configure(settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })))
    // the first is replaced at once
    for (let death = 1; death <= 2; ++death) {
      await engine.health()
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      onTestFinished(() => void vi.useRealTimers())
      command('exit')
      await vi.waitFor(() => expect(replacements()).toHaveLength(death), PATIENCE)
    }
    expect(vi.getTimerCount()).toBe(1)
    engine.hand(handingOf())
    await engine.close(0)
    expect(vi.getTimerCount()).toBe(0)
    vi.useRealTimers()
    await expectHealth(engine, { accepted: 1, discarded: { stopped: 1 } })
    expect(threads).toHaveLength(2)
  })

  it(
    'leaves nothing behind, however often it comes',
    async () => {
      const receiver = await receive()
      const directory = await newDirectory()
      const cycle = async (count: number): Promise<void> => {
        const engine = new ThreadEngine({ entry: ENTRY, openDirectory: () => Promise.resolve(directory) })
        engine.configure(settingsOf(hookTo(receiver.url)))
        engine.hand(handingOf())
        if (count % 2 === 0) {
          await engine.ready
          await receiver.next(1, PATIENCE.timeout)
        }
        await engine.close(0)
      }
      await cycle(0) // the first takes what the process keeps, as the threads of libuv
      const before = leftovers()
      for (let count = 1; count <= CYCLES; ++count) {
        await cycle(count)
      }
      await vi.waitFor(() => {
        const after = leftovers()
        expect(after.handles).toEqual(before.handles)
        expect(after.threads).toBeLessThan(before.threads + CYCLES / 2)
        expect(after.files).toBeLessThan(before.files + CYCLES / 2)
      }, PATIENCE)
    },
    10 * 60_000
  )
})

/** `CYCLES=1000 npx vitest run --dir test test/engine/thread -t 'leaves nothing'` */
const CYCLES = Number(process.env['CYCLES'] ?? 20)

/** What this process holds: by kind, handles of the event loop; and where the system tells, threads and files. */
function leftovers(): { handles: Record<string, number>; threads: number; files: number } {
  const handles: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) {
    handles[name] = (handles[name] ?? 0) + 1
  }
  const count = (folder: string): number => (process.platform === 'linux' ? readdirSync(folder).length : 0)
  // sockets are the receiver's, which takes its time
  const { TCPSocketWrap: _, ...rest } = handles
  return { handles: rest, threads: count('/proc/self/task'), files: count('/proc/self/fd') }
}
