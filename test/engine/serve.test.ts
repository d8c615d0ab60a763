import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'

import { Intake } from '../../src/engine/intake.ts'
import { packed } from '../../src/engine/protocol.ts'
import type { Order, Report } from '../../src/engine/protocol.ts'
import { serve } from '../../src/engine/serve.ts'
import { newDirectory, NOWHERE, PATIENCE, receive } from './engine.cases.ts'
import { handingOf, hookTo, settingsOf } from './fixtures.ts'

interface Side {
  readonly say: (...orders: Order[]) => void
  readonly safe: () => number[]
  readonly others: () => string[]
  readonly legacy: () => string | undefined
  readonly close: () => Promise<void>
}

/** A delivery side with its journal in this directory. */
function start(directory: string, legacy?: string): Side {
  const reports: Report[] = []
  let number = 0
  const say = (...orders: Order[]): void => take({ number: ++number, orders })
  const onReport = (report: Report): void => {
    reports.push(report)
    if (report.asksForDirectory) {
      say({ type: 'directory', path: directory })
    }
  }
  const take = serve(
    { addresses: {}, hasJournal: true, legacy, run: 'run', leftovers: { safe: [], guilty: [] } },
    { report: onReport, mark: () => {}, taken: () => {}, onBug: () => {} }
  )
  const close = async (): Promise<void> => {
    say({ type: 'close', graceMs: PATIENCE.timeout }) // waits for the answers
    await vi.waitFor(() => expect(reports.at(-1)?.closed).toBeDefined(), PATIENCE)
  }
  onTestFinished(close)
  return {
    ...{ say, close },
    safe: () => reports.flatMap(report => report.safe),
    others: () => reports.flatMap(report => report.others),
    legacy: () => reports.at(-1)?.legacy,
  }
}

it('tells what is safe by number and place, and once', async () => {
  const receiver = await receive()
  const side = start(await newDirectory())
  const paused = hookTo(NOWHERE, { id: 'paused', route: { isPaused: true } })
  side.say({ type: 'configure', settings: settingsOf(hookTo(receiver.url), paused) })
  side.say(packed(5, handingOf({ hooks: ['', 'paused', 'a', 'unknown'] })), packed(7, handingOf()))
  side.say({
    type: 'discard',
    number: 9,
    remains: { id: 'x', label: 'vm.start success', hooks: ['a'] },
    reason: 'lost',
  })
  const pairs = (): string[] => {
    const safe = side.safe()
    return safe.flatMap((number, index) => (index % 2 === 0 ? `${number}-${safe[index + 1]}` : [])).sort()
  }
  await vi.waitFor(() => expect(pairs()).toEqual(['5-1', '5-2', '5-3', '7-0', '9-0']), PATIENCE)
  await side.close()
  expect(pairs()).toEqual(['5-1', '5-2', '5-3', '7-0', '9-0'])
  expect(side.others()).toEqual([])
})

it('sends what an earlier run has left, beside what cannot be read of it', async () => {
  const receiver = await receive()
  const directory = await newDirectory()
  const intake = new Intake('earlier run')
  onTestFinished(() => intake.close())
  await intake.takeOver(directory)
  const handing = handingOf()
  for (const text of ['1\0', '2\0of another version\0', packed(3, handing)]) {
    intake.add(text)
  }
  intake.hurry()
  await vi.waitFor(async () => {
    const [name = ''] = await readdir(directory)
    expect((await stat(join(directory, name))).size).toBeGreaterThan(0)
  }, PATIENCE)

  const side = start(directory)
  side.say({ type: 'configure', settings: settingsOf(hookTo(receiver.url)) })
  const [request] = await receiver.next(1, PATIENCE.timeout)
  expect(request?.headers['webhook-id']).toBe(`${handing.id}-0`)
  await side.close()
})

it.each([
  ['one that replaces another tells it by id', true],
  ['the first one does not tell it', false],
])('what ends of what the journal has brought: %s', async (_, isSuccessor) => {
  const receiver = await receive()
  const directory = await newDirectory()
  const before = start(directory)
  before.say({ type: 'configure', settings: settingsOf(hookTo(NOWHERE, { route: { isPaused: true } })) })
  const handing = handingOf()
  before.say(packed(1, handing))
  await vi.waitFor(() => expect(before.safe()).toEqual([1, 0]), PATIENCE)
  await before.close()

  const side = start(directory, isSuccessor ? before.legacy() : undefined)
  side.say({ type: 'configure', settings: settingsOf(hookTo(receiver.url)) })
  await receiver.next(1, PATIENCE.timeout)
  await side.close()
  expect(side.safe()).toEqual([])
  expect(new Set(side.others())).toEqual(new Set(isSuccessor ? [`${handing.id}-0`] : []))
})
