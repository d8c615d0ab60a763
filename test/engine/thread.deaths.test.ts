import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { Intake } from '../../src/engine/intake.ts'
import { packed } from '../../src/engine/protocol.ts'
import { startMortal } from '../helpers/mortal-engine.ts'
import type { Received } from '../sandbox/receiver.ts'
import { countOf, expectHealth, newDirectory, NOWHERE, PATIENCE, receive } from './engine.cases.ts'
import { failToSpawn, handingOf, hookTo, settingsOf } from './fixtures.ts'

/** More of them: `npm run test:soak -- threads`. */
const KILLS = 8
const BROKEN_ENTRY = new URL('./no-such-worker.mjs', import.meta.url)

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
    for (let kill = 1; kill <= KILLS; ++kill) {
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
    expect(replacements().length).toBeGreaterThan(KILLS / 2)
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

  it('over what an earlier run has left loses nothing of the rest, and sends none of it twice', async () => {
    const receiver = await receive()
    const directory = await newDirectory()
    const intake = new Intake('earlier run')
    onTestFinished(() => intake.close())
    await intake.takeOver(directory)
    const poison = handingOf({ hooks: ['b', 'a'], event: { method: 'vm.poison' } })
    const handings = Array.from({ length: 9 }, (_, index) => (index === 4 ? poison : handingOf({ hooks: ['b', 'c'] })))
    handings.forEach((handing, index) => intake.add(packed(index + 1, handing)))
    intake.hurry()
    await vi.waitFor(async () => {
      const [name = ''] = await readdir(directory)
      expect((await stat(join(directory, name))).size).toBeGreaterThan(0)
    }, PATIENCE)

    const { engine, events, replacements } = startMortal({ openDirectory: () => Promise.resolve(directory) })
    const paused = hookTo(NOWHERE, { id: 'c', route: { isPaused: true } })
    engine.configure(settingsOf(hookTo(receiver.url, { format: 'exit' }), hookTo(receiver.url, { id: 'b' }), paused))
    await expectHealth(engine, { accepted: 18, delivered: 8, pending: 8, discarded: { 'set aside': 2 } })
    const expected = handings.filter(handing => handing !== poison).map(({ id }) => `${id}-0`)
    expect(receiver.requests.map(({ headers }) => headers['webhook-id']).sort()).toEqual(expected.sort())
    expect(countOf(events, 'set aside')).toBe(2)
    expect(replacements()).toHaveLength(3)
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
