import dns from 'node:dns'
import { setImmediate } from 'node:timers/promises'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { Names } from '../../src/transport/names.ts'
import type { Lookup } from '../../src/transport/names.ts'
import { seededRandom } from '../helpers/seeded-random.ts'
import { stopTime } from '../helpers/stopped-time.ts'

const A = '192.0.2.1'
const B = '192.0.2.2'
const C = '2001:db8::1'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** What somebody who asked has heard; nothing yet: an empty array. */
type Heard = (readonly string[] | string)[]

/** Names whose look-ups answer when, and what, the test says; the clock stands still but for the test. */
class Scene {
  /** Of look-ups, all there have been. */
  readonly asked: string[] = []
  readonly #underWay: { hostname: string; answer: Parameters<Lookup>[2] }[] = []
  /** Of names that were asked for directly. */
  readonly #direct = new Map<string, (addresses: readonly string[] | undefined) => void>()
  readonly names = new Names(
    (hostname, options, answer) => {
      expect(options).toEqual({ all: true, order: 'verbatim' })
      this.asked.push(hostname)
      this.#underWay.push({ hostname, answer })
    },
    {
      ask: hostname => new Promise(resolve => this.#direct.set(hostname, resolve)),
      close: () => {
        this.#direct.forEach(resolve => resolve(undefined))
        this.#direct.clear()
      },
    }
  )

  constructor() {
    stopTime()
  }

  get underWay(): string[] {
    return this.#underWay.map(({ hostname }) => hostname)
  }

  /** Ends the look-up that is under way, or the one of this name. @param said - addresses, or an error's code */
  async answer(said: readonly string[] | string, hostname = this.#underWay.at(-1)?.hostname): Promise<void> {
    const index = this.#underWay.findIndex(each => each.hostname === hostname)
    const [ended] = this.#underWay.splice(index, 1)
    if (typeof said === 'string') {
      ended?.answer(Object.assign(new Error(said), { code: said }), [])
    } else {
      const addresses = said.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
      ended?.answer(null, addresses)
    }
    await setImmediate()
  }

  get askedDirectly(): string[] {
    return [...this.#direct.keys()]
  }

  async answerDirectly(hostname: string, addresses: readonly string[] | undefined): Promise<void> {
    this.#direct.get(hostname)?.(addresses)
    this.#direct.delete(hostname)
    await setImmediate()
  }

  async pass(ms: number): Promise<void> {
    vi.advanceTimersByTime(ms)
    await setImmediate()
  }

  async ask(hostname: string): Promise<Heard> {
    return (await this.askAnd(hostname)).heard
  }

  /** And may change one's mind. */
  async askAnd(hostname: string): Promise<{ heard: Heard; cancel: () => void }> {
    const heard: Heard = []
    const cancel = this.names.resolve(hostname, (error, addresses) =>
      heard.push(error === null ? addresses : String((error as NodeJS.ErrnoException).code))
    )
    expect(heard).toEqual([])
    await setImmediate()
    return { heard, cancel }
  }

  /** Is told, and fresh. */
  async know(hostname: string, addresses: readonly string[] = [A]): Promise<void> {
    const heard = await this.ask(hostname)
    await this.answer(addresses, hostname)
    expect(heard).toEqual([addresses])
  }

  /** Nobody has answered for so long. */
  async findMute(hostname: string, ms = 10_000): Promise<void> {
    const { cancel } = await this.askAnd(hostname)
    await this.pass(ms)
    await this.answer('EAI_AGAIN', hostname)
    cancel()
  }
}

describe('a name', () => {
  it('is looked up once for all that wait', async () => {
    const scene = new Scene()
    const all = [await scene.ask('a'), await scene.ask('a'), await scene.ask('a')]
    expect(all).toEqual([[], [], []])
    await scene.answer([A, C])
    expect(all).toEqual([[[A, C]], [[A, C]], [[A, C]]])
    expect(scene.asked).toEqual(['a'])
  })

  it('is looked up by what stands in the place of `dns.lookup` at the time', async () => {
    const names = new Names()
    const lookup = vi.spyOn(dns, 'lookup').mockReturnValue(undefined as never)
    onTestFinished(() => lookup.mockRestore())
    names.resolve('a.example', () => {})()
    expect(lookup).toHaveBeenCalledWith('a.example', { all: true, order: 'verbatim' }, expect.any(Function))
  })

  it('is remembered for a minute', async () => {
    const scene = new Scene()
    await scene.know('a')
    await scene.pass(MINUTE - 1)
    expect(await scene.ask('a')).toEqual([[A]])
    expect(scene.asked).toEqual(['a'])
    await scene.pass(1)
    const heard = await scene.ask('a')
    await scene.answer([B])
    expect(heard).toEqual([[B]])
    expect(scene.asked).toEqual(['a', 'a'])
  })

  it.each<[what: string, said: readonly string[] | string, heard: readonly string[] | string]>([
    ['its addresses, each once', [A, C, A], [A, C]],
    ['32 of its addresses', Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`), range(32)],
    ['that it has none', [], 'ENOTFOUND'],
    ['that it is not known', 'ENOTFOUND', 'ENOTFOUND'],
    ['that nobody could say', 'EAI_AGAIN', 'EAI_AGAIN'],
    ['what is wrong', 'EMFILE', 'EMFILE'],
  ])('is answered with %s', async (_what, said, expected) => {
    const scene = new Scene()
    const heard = await scene.ask('a')
    await scene.answer(said)
    expect(heard).toEqual([expected])
  })

  it('whose look-up has failed is looked up again after a second: so at boot', async () => {
    const scene = new Scene()
    const heard: Heard = []
    for (let second = 0; second < 20; ++second) {
      const first = await scene.ask('a')
      expect(scene.underWay).toEqual(['a'])
      await scene.answer(second < 19 ? 'EAI_AGAIN' : [A])
      heard.push(...first)
      await scene.pass(999)
      expect(await scene.ask('a')).toEqual(first)
      expect(scene.underWay).toEqual([])
      await scene.pass(1)
    }
    expect(heard).toEqual([...Array<string>(19).fill('EAI_AGAIN'), [A]])
  })

  it('is forgotten if a thousand others were asked for since', async () => {
    const scene = new Scene()
    await scene.know('first')
    await scene.know('second')
    for (let i = 0; i < 998; ++i) {
      await scene.know(`n${i}`)
    }
    expect(await scene.ask('first')).toEqual([[A]])
    await scene.know('one more')
    expect(await scene.ask('first')).toEqual([[A]])
    expect(scene.names.isCurrent('second', B)).toBe(true) // who knows
    expect(await scene.ask('second')).toEqual([])
    expect(scene.underWay).toEqual(['second'])
  })

  it('that somebody waits for is not forgotten', async () => {
    const scene = new Scene()
    const heard = await scene.ask('a')
    for (let i = 0; i < 2_000; ++i) {
      await scene.ask(`n${i}`)
    }
    expect(await scene.ask('a')).toEqual([])
    await scene.answer([A], 'a')
    expect(heard).toEqual([[A]])
  })
})

describe('a name that is known, but no longer fresh', () => {
  async function staleScene(hostname = 'a'): Promise<Scene> {
    const scene = new Scene()
    await scene.know(hostname)
    await scene.pass(MINUTE)
    return scene
  }

  it('is waited for a moment, and then used as it was', async () => {
    const scene = await staleScene()
    const heard = await scene.ask('a')
    await scene.pass(249)
    expect(heard).toEqual([])
    await scene.pass(1)
    expect(heard).toEqual([[A]])
    // nobody waits for a look-up that takes longer
    expect(await scene.ask('a')).toEqual([[A]])
    await scene.answer([B])
    expect(heard).toEqual([[A]])
    expect(await scene.ask('a')).toEqual([[B]])
    expect(scene.asked).toEqual(['a', 'a'])
  })

  it.each(['EAI_AGAIN', 'EMFILE'])('is used as it was where that fails (%s), for an hour', async code => {
    const scene = await staleScene()
    const heard = await scene.ask('a')
    await scene.answer(code)
    expect(heard).toEqual([[A]])
    for (let passed = 0; passed < HOUR - MINUTE; passed += MINUTE) {
      await scene.pass(MINUTE)
      expect(await scene.ask('a')).toEqual([[A]])
      await scene.answer(code)
    }
    await scene.pass(MINUTE)
    const tooLate = await scene.ask('a')
    expect(tooLate).toEqual([])
    await scene.answer(code)
    expect(tooLate).toEqual([code])
  })

  it.each<[string, string | string[]]>([
    ['not known', 'ENOTFOUND'],
    ['without an address', []],
  ])('is not used once it is %s', async (_what, said) => {
    const scene = await staleScene()
    const heard = await scene.ask('a')
    await scene.answer(said)
    expect(heard).toEqual(['ENOTFOUND'])
    expect(await scene.ask('a')).toEqual(['ENOTFOUND'])
    expect(scene.names.isCurrent('a', A)).toBe(false)
  })

  it('is used at once while another name is mute', async () => {
    const scene = await staleScene()
    await scene.ask('mute')
    await scene.pass(250)
    expect(scene.underWay).toEqual(['mute'])
    expect(await scene.ask('a')).toEqual([[A]])
  })

  it('keeps its place for being looked up though nobody waits', async () => {
    const scene = await staleScene()
    await scene.ask('mute')
    const { cancel } = await scene.askAnd('a')
    cancel()
    await scene.answer('EAI_AGAIN')
    expect(scene.underWay).toEqual(['a'])
  })
})

describe('names', () => {
  it('are looked up one at a time, in the order in which they were asked for', async () => {
    const scene = new Scene()
    const order = ['c', 'a', 'd', 'b']
    for (const name of [...order, ...order.toReversed()]) {
      await scene.ask(name)
    }
    for (const name of order) {
      expect(scene.underWay).toEqual([name])
      await scene.answer([A])
    }
    expect(scene.asked).toEqual(order)
  })

  it('that nobody waits for any more leave the queue, if they have been looked up before', async () => {
    const scene = new Scene()
    for (const name of ['once', 'twice']) {
      await scene.ask(name)
      await scene.answer('EAI_AGAIN')
    }
    await scene.pass(1_000)
    scene.asked.length = 0
    await scene.ask('mute')
    const never = await scene.askAnd('never')
    never.cancel()
    const once = await scene.askAnd('once')
    const twice = [await scene.askAnd('twice'), await scene.askAnd('twice')]
    once.cancel()
    twice[0]!.cancel()
    await scene.answer([A])
    expect(scene.underWay).toEqual(['twice'])
    await scene.answer([A])
    expect(scene.underWay).toEqual(['never'])
    await scene.answer('EAI_AGAIN')
    expect([never, once, ...twice].map(({ heard }) => heard)).toEqual([[], [], [], [[A]]])
    expect(scene.asked).toEqual(['mute', 'twice', 'never'])
  })

  it('that somebody waits for go before those that nobody does, and those that are mute come last', async () => {
    const scene = new Scene()
    await scene.know('known')
    await scene.findMute('mute')
    await scene.pass(MINUTE)
    await scene.ask('other')
    await scene.pass(250)
    await scene.ask('mute')
    await scene.ask('known') // heard at once
    await scene.ask('awaited')
    for (const name of ['other', 'awaited', 'known', 'mute']) {
      expect(scene.underWay).toEqual([name])
      await scene.answer([A])
    }
  })

  it('that are mute are asked for rarely, and the others at once meanwhile', async () => {
    const scene = new Scene()
    await scene.findMute('mute', 8_000)
    await scene.pass(1_000)
    await scene.ask('mute')
    expect(scene.underWay).toEqual([])
    await scene.know('new')
    await scene.pass(3 * 8_000 - 1_000 - 1)
    expect(scene.underWay).toEqual([])
    await scene.pass(1)
    expect(scene.underWay).toEqual(['mute'])
    await scene.answer([B])
    expect(await scene.ask('mute')).toEqual([[B]])
  })

  it('all come at once when a name server is back', async () => {
    const scene = new Scene()
    const mute = ['m0', 'm1', 'm2', 'm3', 'm4']
    for (const name of mute) {
      await scene.findMute(name, 30_000)
    }
    await scene.pass(1_000)
    const heard = await Promise.all(mute.map(name => scene.ask(name)))
    await scene.pass(29_000)
    for (const name of mute) {
      expect(scene.underWay).toEqual([name])
      await scene.answer([A])
    }
    expect(heard).toEqual(mute.map(() => [[A]]))
  })

  it('that are refused quickly are not mute', async () => {
    const scene = new Scene()
    for (const code of ['EAI_AGAIN', 'ENOTFOUND']) {
      await scene.findMute(code, 999)
      await scene.pass(1_000)
      await scene.ask(code)
      expect(scene.underWay).toEqual([code])
      await scene.answer([A])
    }
  })

  it('are not held up for ever by a look-up without an end, nor do they take all threads', async () => {
    const scene = new Scene()
    const endless = await scene.ask('endless')
    const first = await scene.ask('first')
    // three mute name servers, five times half a minute each, for two names
    await scene.pass(15 * MINUTE - 1)
    expect(scene.underWay).toEqual(['endless'])
    await scene.pass(1)
    expect(scene.underWay).toEqual(['endless', 'first'])
    await scene.answer([A])
    expect([endless, first]).toEqual([['EAI_AGAIN'], [[A]]])
    // what is known to be mute is not tried beside it
    await scene.pass(5 * MINUTE)
    await scene.ask('endless')
    expect(scene.underWay).toEqual(['endless'])
    await scene.ask('endless, too')
    await scene.ask('last')
    await scene.pass(15 * MINUTE)
    expect(scene.underWay).toEqual(['endless', 'endless, too'])
    await scene.answer([A], 'endless')
    expect(scene.underWay).toEqual(['endless, too', 'last'])
    const late = await scene.ask('endless')
    await scene.pass(250)
    expect(late).toEqual([[A]]) // as it was when that was asked
  })

  it.each(['localhost', 'LOCALHOST.', 'a.localhost'])('of this machine need no name server: %s', async name => {
    const scene = new Scene()
    await scene.ask('mute')
    for (let passed = 0; passed < 3 * HOUR; passed += HOUR) {
      expect(await scene.ask(name)).toEqual([['127.0.0.1', '::1']])
      expect(scene.names.isCurrent(name, '127.0.0.1')).toBe(true)
      await scene.pass(HOUR)
    }
    expect(scene.asked).toEqual(['mute'])
  })

  it('are not asked for after the end', async () => {
    const scene = new Scene()
    await scene.findMute('mute')
    await scene.ask('a')
    const waiting = [await scene.askAnd('b')]
    await scene.pass(1_000)
    waiting.push(await scene.askAnd('mute'))
    expect(scene.askedDirectly).toEqual(['b'])
    waiting.forEach(({ cancel }) => cancel())
    scene.names.close()
    await scene.answer([A])
    expect(scene.askedDirectly).toEqual([])
    expect(vi.getTimerCount()).toBe(0)
    expect(scene.underWay).toEqual([])
  })

  it('are answered each to whoever waits, one look-up at a time, whatever happens in which order', async () => {
    for (let seed = 0; seed < 6; ++seed) {
      const scene = new Scene()
      const random = seededRandom(seed)
      const waiting: Heard[] = []
      const cancelled: Heard[] = []
      for (let step = 0; step < 200; ++step) {
        const { heard, cancel } = await scene.askAnd(`n${random.between(0, 9)}`)
        if (random.between(0, 3) === 0 && heard.length === 0) {
          cancel()
          cancelled.push(heard)
        } else {
          waiting.push(heard)
        }
        await scene.pass(random.pick([0, 1, 300, 2_000, 5_000]))
        expect(scene.underWay.length).toBeLessThanOrEqual(1)
        for (const name of random.between(0, 1) === 0 ? scene.askedDirectly : []) {
          await scene.answerDirectly(name, random.pick([[B], [], undefined]))
        }
        if (random.between(0, 2) > 0) {
          await scene.answer(random.pick([[A], [B, C], [], 'EAI_AGAIN', 'ENOTFOUND']))
        }
      }
      for (let turn = 0; turn < 30; ++turn) {
        await scene.answer([A])
        await scene.pass(30_000)
      }
      expect(waiting.filter(heard => heard.length !== 1)).toEqual([])
      expect(cancelled.filter(heard => heard.length > 0)).toEqual([])
    }
  })
})

describe('a name whose turn does not come', () => {
  async function heldScene(): Promise<Scene> {
    const scene = new Scene()
    await scene.ask('mute')
    return scene
  }

  it('is asked for directly after a moment, once for all that wait', async () => {
    const scene = await heldScene()
    const heard = [await scene.ask('a'), await scene.ask('a')]
    await scene.pass(249)
    expect(scene.askedDirectly).toEqual([])
    await scene.pass(1)
    expect(scene.askedDirectly).toEqual(['a'])
    await scene.answerDirectly('a', [A, C, A])
    expect(heard).toEqual([[[A, C]], [[A, C]]])
    expect(scene.underWay).toEqual(['mute'])
    // the one that is under way is answered by that
    expect(scene.askedDirectly).toEqual([])
  })

  it('is used as it was said until it is looked up, which is the next thing', async () => {
    const scene = await heldScene()
    await scene.ask('never')
    await scene.ask('a')
    await scene.pass(250)
    await scene.answerDirectly('never', undefined)
    await scene.answerDirectly('a', [A])
    expect(await scene.ask('a')).toEqual([[A]])
    expect(scene.names.isCurrent('a', A)).toBe(true)
    await scene.answer('EAI_AGAIN', 'mute')
    expect(scene.underWay).toEqual(['a'])
    await scene.answer([B])
    expect(await scene.ask('a')).toEqual([[B]])
    expect(scene.names.isCurrent('a', A)).toBe(false)
  })

  it('may be known to `dns.lookup` alone', async () => {
    const scene = await heldScene()
    const heard = await scene.ask('printer')
    await scene.ask('other')
    await scene.pass(250)
    await scene.answerDirectly('printer', [])
    expect(heard).toEqual([])
    await scene.answer('EAI_AGAIN', 'mute')
    expect(scene.underWay).toEqual(['printer'])
    await scene.answer([A])
    expect(heard).toEqual([[A]])
  })

  it('is not known, where `dns.lookup` says so', async () => {
    const scene = await heldScene()
    await scene.ask('a')
    await scene.pass(250)
    await scene.answerDirectly('a', [A])
    await scene.answer('EAI_AGAIN', 'mute')
    await scene.answer('ENOTFOUND', 'a')
    expect(await scene.ask('a')).toEqual(['ENOTFOUND'])
  })

  it('does not become what it was by a late answer', async () => {
    const scene = await heldScene()
    await scene.ask('a')
    await scene.pass(250)
    await scene.answer('EAI_AGAIN', 'mute')
    await scene.answer([B], 'a')
    await scene.answerDirectly('a', [A])
    expect(await scene.ask('a')).toEqual([[B]])
  })

  it('is mute if nobody answers, and others go before it', async () => {
    const scene = await heldScene()
    await scene.ask('mute, too')
    await scene.pass(250)
    await scene.answerDirectly('mute, too', undefined)
    await scene.ask('a')
    await scene.answer([A], 'mute')
    expect(scene.underWay).toEqual(['a'])
    await scene.answer([A])
    expect(scene.underWay).toEqual(['mute, too'])
  })

  it('stays mute if it is only said not to be known', async () => {
    const scene = new Scene()
    await scene.findMute('mute', 8_000)
    await scene.pass(1_000)
    await scene.ask('mute')
    await scene.pass(250)
    await scene.answerDirectly('mute', [])
    expect(scene.underWay).toEqual([])
  })

  it('waits for it only once, and as long as its look-up rests', async () => {
    const scene = new Scene()
    await scene.findMute('mute', 8_000)
    await scene.pass(1_000)
    const heard = await scene.ask('mute')
    await scene.pass(250)
    expect(scene.underWay).toEqual([])
    await scene.answerDirectly('mute', [A])
    expect(heard).toEqual([[A]])
    expect(scene.underWay).toEqual(['mute'])
  })

  it('is asked for again by whoever asks next', async () => {
    const scene = await heldScene()
    await scene.ask('a')
    await scene.pass(250)
    await scene.answerDirectly('a', undefined)
    const heard = await scene.ask('a')
    await scene.pass(250)
    await scene.answerDirectly('a', [A])
    expect(heard).toEqual([[A]])
  })

  it('is asked for by nobody who has gone', async () => {
    const scene = await heldScene()
    const { cancel } = await scene.askAnd('a')
    cancel()
    await scene.pass(250)
    expect(scene.askedDirectly).toEqual([])
  })
})

describe('the address that was reached first', () => {
  it('goes first for ten minutes, unless the name has it no longer', async () => {
    const scene = new Scene()
    await scene.know('a', [A, B, C])
    scene.names.prefer('a', C)
    expect(await scene.ask('a')).toEqual([[C, A, B]])
    await scene.pass(MINUTE)
    const heard = [await scene.ask('a')]
    await scene.answer([B, A])
    await scene.pass(MINUTE)
    heard.push(await scene.ask('a'))
    await scene.answer([B, C])
    await scene.pass(8 * MINUTE)
    heard.push(await scene.ask('a'))
    await scene.answer([B, C])
    expect(heard).toEqual([[[B, A]], [[C, B]], [[B, C]]])
  })

  it('does not change the order if it was the first', async () => {
    const scene = new Scene()
    await scene.know('a', [A, B])
    scene.names.prefer('a', A)
    await scene.pass(MINUTE)
    const heard = await scene.ask('a')
    await scene.answer([B, A])
    expect(heard).toEqual([[B, A]])
    scene.names.prefer('never heard of', A)
  })
})

/** The first addresses of 10.0.0.0/8. */
function range(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `10.0.0.${i}`)
}
