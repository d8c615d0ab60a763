import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter } from 'node:events'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { Correction } from '../src/correction.ts'
import type { ApiContext, Xo } from '../src/xo.ts'

const MINUTE = 60_000

/** A configuration is a text here; one with `wrong` in it is mended by the plugin. */
type Configuration = { readonly text: string }

/** A host that saves configurations as xo-server does: the plugin first, then the database, and nothing is serialised. */
class Host extends EventEmitter {
  readonly correction: Correction
  /** What is in the database. */
  saved = 'first'
  /** What the plugin uses. */
  live = 'first'
  /** All that has been written, one after the other. */
  readonly writes: string[] = []
  readonly warnings: string[] = []
  readonly onSaved = vi.fn()
  /** How long the database takes, in ms; each write may have its own. */
  delays: number[] = []
  failures = 0
  canConfigure = true
  readonly #context = new AsyncLocalStorage<ApiContext>()

  constructor() {
    super()
    const log = { info: () => {}, warn: (message: string) => this.warnings.push(message) }
    this.correction = new Correction(this as unknown as Xo, log)
  }

  get apiContext(): ApiContext | undefined {
    return this.#context.getStore()
  }

  get configurePlugin(): Xo['configurePlugin'] {
    return this.canConfigure ? this.#configurePlugin : undefined
  }

  async #configurePlugin(this: Host, id: string, configuration: unknown): Promise<void> {
    expect(id).toBe('web-hooks')
    await this.#turn()
    const clone = structuredClone(configuration) as Configuration
    if (this.failures > 0) {
      --this.failures
      throw new Error('no database')
    }
    this.#configure(clone)
    await this.#turn(this.delays.shift() ?? 1)
    this.saved = clone.text
    this.writes.push(clone.text)
  }

  /** As the plugin does. */
  #configure(configuration: Configuration): void {
    const { correction } = this
    const arrival = correction.arrival(configuration)
    if (arrival === 'outdated') {
      throw new Error('a later one has been saved')
    }
    if (arrival === 'own') {
      return
    }
    this.live = configuration.text.replace('wrong', 'right')
    if (this.live === configuration.text) {
      correction.drop(configuration)
    } else {
      correction.order({ text: this.live }, this.onSaved)
    }
  }

  #turn(ms = 1): Promise<void> {
    return new Promise(resolve => setTimeout(resolve, ms))
  }

  /** Somebody saves a configuration in an API call, as the form does. */
  save(text: string): Promise<void> {
    return this.#context.run({}, async () => {
      await this.saveUnheard(text)
      this.emit('xo:postCall', {})
    })
  }

  /** Some other program saves a configuration. */
  async saveUnheard(text: string): Promise<void> {
    await this.#configurePlugin('web-hooks', { text })
  }
}

function start(): Host {
  vi.useFakeTimers()
  onTestFinished(() => {
    vi.useRealTimers()
  })
  return new Host()
}

/** Nothing of it is left: no timer, no listener. */
function expectRest(host: Host): void {
  expect(vi.getTimerCount()).toBe(0)
  expect(host.listenerCount('xo:postCall')).toBe(0)
}

describe('a configuration that the host saves as it came', () => {
  it('and that is right is not saved again', async () => {
    const host = start()
    const saving = host.save('fine')
    await vi.advanceTimersByTimeAsync(MINUTE)
    await saving
    expect(host.writes).toEqual(['fine'])
    expectRest(host)
  })

  it('and that was mended is saved once more, as soon as the API call is over that has saved it', async () => {
    const host = start()
    host.delays = [3_000]
    const saving = host.save('wrong 1')
    await vi.advanceTimersByTimeAsync(2_900)
    expect(host.writes).toEqual([])
    await vi.advanceTimersByTimeAsync(200)
    await saving
    expect(host.writes).toEqual(['wrong 1', 'right 1'])
    expect(host.onSaved).toHaveBeenCalledOnce()
    expectRest(host)
    await vi.advanceTimersByTimeAsync(60 * MINUTE)
    expect(host.writes).toHaveLength(2)
  })

  it('is not taken for saved by the end of another call', async () => {
    const host = start()
    host.delays = [3_000]
    void host.save('wrong 1')
    await vi.advanceTimersByTimeAsync(1_000)
    host.emit('xo:postCall', {})
    await vi.advanceTimersByTimeAsync(1_000)
    expect(host.writes).toEqual([])
    await vi.advanceTimersByTimeAsync(MINUTE)
    expect(host.writes).toEqual(['wrong 1', 'right 1'])
  })

  it('without an API call is saved once more after a while', async () => {
    const host = start()
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(4_000)
    expect(host.writes).toEqual(['wrong 1'])
    await vi.advanceTimersByTimeAsync(2_000)
    expect(host.writes).toEqual(['wrong 1', 'right 1'])
    expectRest(host)
  })
})

describe('a later save', () => {
  it('that is right is not overwritten by an older correction that has not begun', async () => {
    const host = start()
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(1_000)
    void host.save('fine')
    await vi.advanceTimersByTimeAsync(MINUTE)
    expect(host.writes).toEqual(['wrong 1', 'fine', 'fine'])
    expect(host.onSaved).not.toHaveBeenCalled()
    expectRest(host)
  })

  it('that was mended too takes the place of the older correction', async () => {
    const host = start()
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(1_000)
    void host.save('wrong 2')
    await vi.advanceTimersByTimeAsync(MINUTE)
    expect(host.writes).toEqual(['wrong 1', 'wrong 2', 'right 2'])
    expectRest(host)
  })

  // whatever the database does first: in the end what was saved last is in use, and in the database
  const moments = [0, 1, 2, 3, 4, 5, 6, 10, 30, 4_990, 4_998, 4_999, 5_000, 5_001, 5_002, 5_003, 5_010, 5_100]
  it.each(
    ['fine', 'wrong 2'].flatMap(text =>
      [[], [1, 50], [1, 50, 1], [1, 1, 50], [50, 1, 1, 50]].map(delays => ({ text, delays }))
    )
  )('wins at any moment: $text, $delays', async ({ text, delays }) => {
    for (const first of ['save', 'saveUnheard'] as const) {
      for (const moment of moments) {
        const host = start()
        host.delays = [...delays]
        const ignore = (saving: Promise<void>): void => void saving.catch(() => {})
        ignore(host[first]('wrong 1'))
        await vi.advanceTimersByTimeAsync(moment)
        ignore(host.save(text))
        await vi.advanceTimersByTimeAsync(10 * MINUTE)
        const winner = text.replace('wrong', 'right')
        expect([first, moment, host.live, host.saved]).toEqual([first, moment, winner, winner])
        expectRest(host)
      }
    }
  })
})

describe('a correction that the host does not save', () => {
  it('is tried again, with a warning each time, until it is saved', async () => {
    const host = start()
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(100)
    host.failures = 2
    await vi.advanceTimersByTimeAsync(5_000)
    expect(host.warnings).toEqual([expect.stringContaining('not saved yet')])
    await vi.advanceTimersByTimeAsync(12 * MINUTE)
    expect(host.writes).toEqual(['wrong 1', 'right 1'])
    expect(host.warnings).toHaveLength(2)
    expect(host.onSaved).toHaveBeenCalledOnce()
    expectRest(host)
  })

  it('is given up after a day, with a word on what to do', async () => {
    const host = start()
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(100)
    host.failures = 1_000
    await vi.advanceTimersByTimeAsync(48 * 60 * MINUTE)
    expect(host.warnings.at(-1)).toContain('Save the configuration once more')
    expect(host.warnings.length).toBeLessThan(30)
    expectRest(host)
  })

  it('because it cannot is told once', async () => {
    const host = start()
    host.canConfigure = false
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(48 * 60 * MINUTE)
    expect(host.writes).toEqual(['wrong 1'])
    expect(host.warnings).toEqual([expect.stringContaining('Save the configuration once more')])
    expectRest(host)
  })
})

describe('at an end', () => {
  it('what is ordered is saved at once', async () => {
    const host = start()
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(100)
    const flushed = host.correction.flush()
    await vi.advanceTimersByTimeAsync(10)
    await flushed
    expect(host.writes).toEqual(['wrong 1', 'right 1'])
    expectRest(host)
  })

  it('what cannot be saved leaves no timer, and is tried after the next beginning', async () => {
    const host = start()
    void host.saveUnheard('wrong 1')
    await vi.advanceTimersByTimeAsync(100)
    host.failures = 1
    const flushed = host.correction.flush()
    await vi.advanceTimersByTimeAsync(10)
    await flushed
    expectRest(host)
    host.correction.resume()
    await vi.advanceTimersByTimeAsync(MINUTE)
    expect(host.writes).toEqual(['wrong 1', 'right 1'])
  })
})
