import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { runCycles } from '../helpers/cycles-run.ts'
import { startMortal } from '../helpers/mortal-engine.ts'
import { countOf, expectHealth, NOWHERE, PATIENCE } from './engine.cases.ts'
import { handingOf, hookTo, settingsOf } from './fixtures.ts'

/** More of them: `npm run test:soak -- cycles`. */
const CYCLES = 8

vi.setConfig({ testTimeout: 300_000 })

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

    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const closed = engine.close(0)
    vi.runOnlyPendingTimers()
    await closed
    vi.useRealTimers()

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

  it('leaves nothing behind, however often it comes', async () => {
    const { problems } = await runCycles(CYCLES)
    expect(problems).toEqual([])
  })
})
