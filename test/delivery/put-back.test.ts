import { expect, it } from 'vitest'

import { DurableRun, fakeClocks, ok, underWay } from '../helpers/durable-run.ts'
import { temporaryDirectory } from '../helpers/journal-files.ts'

/** One delivery that is on disk only, and about to be sent: its body is being read, until `fail` is called. */
async function reading(): Promise<{ run: DurableRun; id: string; fail: () => void }> {
  fakeClocks()
  const directory = await temporaryDirectory()
  const first = new DurableRun({ directory, answering: () => underWay })
  await first.opened()
  const id = first.submit()
  await first.until(() => first.sent.length === 1)
  await first.stop()
  let fail: (() => void) | undefined
  const run = new DurableRun({
    directory,
    answering: () => ok,
    beforeDisk: async operation => {
      if (operation === 'read') {
        await new Promise<void>((_, reject) => (fail = () => reject(new Error('a bad sector'))))
      }
    },
  })
  await run.until(() => fail !== undefined)
  return { run, id, fail: () => fail?.() }
}

it('what is cancelled while its body is read is cancelled, though it could not be read', async () => {
  const { run, id, fail } = await reading()
  expect(run.dispatcher.controls.cancel({ id })).toBe(1)
  fail()
  await run.until(() => run.total.pending === 0)
  expect(run.discarded).toEqual([`${id}: cancelled`])
})

it('what loses its hook while its body is read goes with it, though it could not be read', async () => {
  const { run, id, fail } = await reading()
  run.route({})
  fail()
  await run.until(() => run.total.pending === 0)
  expect(run.discarded).toEqual([`${id}: hook removed`])
})

it('what could not be read is sent a little later', async () => {
  const { run, id, fail } = await reading()
  fail()
  await run.until(() => run.dispatcher.controls.get(id)?.status === 'waiting')
  expect(run.total).toMatchObject({ pending: 1, discarded: {} })
})
