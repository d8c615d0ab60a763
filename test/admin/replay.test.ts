import { expect, it } from 'vitest'

import { Admin } from '../../src/admin/admin.ts'
import { operations } from '../../src/admin/faces.ts'
import type { Questions } from '../../src/relay.ts'
import type { Xo } from '../../src/xo.ts'
import { startEngine } from '../helpers/engine.ts'
import { accepted, refused } from '../helpers/outcomes.ts'

/** Operations over an engine of this thread, in which `count` deliveries are dead letters. */
async function start(count: number) {
  const engine = startEngine({ schedule: [] })
  engine.network.script = () => refused(503)
  const { controls } = engine.dispatcher
  // one after the other: five failures in a row would hold the others back
  for (let n = 0; n < count; ++n) {
    engine.submit()
    await engine.pass(1)
    controls.resume('a')
    await engine.pass(1)
  }
  expect(engine.dispatcher.stats()).toMatchObject({ dead: count })
  const asked: string[] = []
  const questions = {
    list: async query => controls.list(query),
    replay: async which => {
      asked.push(`replay ${which.ids?.length}`)
      return controls.replay(which)
    },
  } satisfies Partial<Questions>
  const admin = new Admin({ apiMethods: {} } as Xo, {
    questions: questions as unknown as Questions,
    configuration: {
      ...{ settings: { hooks: [], others: [], notify: [] }, shown: [], hooks: [] },
      ...{ change: () => Promise.resolve(), draft: () => expect.unreachable() },
    },
    heard: { heardAt: new Map(), listenersOf: () => [], wanted: new Map() },
    namesOf: method => [method],
    test: () => Promise.resolve([]),
    now: () => Date.now(),
  })
  const run = operations.find(({ name }) => name === 'replayDeliveries')!.run as (
    admin: Admin,
    params: object
  ) => Promise<unknown>
  return { engine, asked, replay: (params: object) => run(admin, params) }
}

it('a replay by filter takes dead letters in parts, each once, the oldest first; it is counted first', async () => {
  const { engine, asked, replay } = await start(250)
  expect(await replay({ filter: {}, dryRun: true })).toEqual({ matched: 250, replayed: 0 })
  expect(await replay({ filter: { answer: '4xx' }, dryRun: true })).toEqual({ matched: 0, replayed: 0 })
  expect(await replay({ filter: { answer: '5xx', method: 'vm.*', hook: 'a' }, dryRun: true })).toMatchObject({
    matched: 250,
  })
  expect(asked).toEqual([])

  engine.network.script = () => accepted()
  const before = engine.network.sent.length
  expect(await replay({ filter: {} })).toEqual({ matched: 250, replayed: 250 })
  expect(asked).toEqual(['replay 200', 'replay 50'])
  await engine.pass(60_000)
  const sent = engine.idsSent().slice(before)
  expect(sent).toHaveLength(250)
  expect(new Set(sent).size).toBe(250)
  expect(sent[0]).toBe('d1')
  await engine.close()
})

it('there is one replay by filter at a time, a second between two, and a limit', async () => {
  const { engine, replay } = await start(5)
  const [first, second] = await Promise.allSettled([replay({ filter: {}, limit: 2 }), replay({ filter: {} })])
  expect(first).toEqual({ status: 'fulfilled', value: { matched: 5, replayed: 2 } })
  expect(second).toMatchObject({ status: 'rejected', reason: { code: 25, data: { actual: 'under way' } } })
  await expect(replay({ filter: {} })).rejects.toMatchObject({ code: 25 })
  await engine.pass(1_000)
  expect(await replay({ filter: {}, limit: 1 })).toMatchObject({ replayed: 1 })
  await expect(replay({ filter: {}, limit: 10_001 })).rejects.toMatchObject({ code: 10 })
  await engine.close()
})
