import { appendFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import { listenToStateChanges } from '../../src/sources/state-changes.ts'
import { stateEvents } from '../../src/sources/state-rules.ts'
import type { Accept } from '../../src/sources/source.ts'
import type { Signal, Xo } from '../../src/xo.ts'
import { Host } from '../sandbox/host.ts'
import { ids, populate } from '../sandbox/made-up-pool.ts'

const all = stateEvents.map(({ name }) => name)

async function folder(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'web-hooks-states-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** Soon, in the time of the test: files are written some time after there is something to write. */
function eventually<T>(check: () => Promise<T>): Promise<T> {
  const tryAt = (): Promise<T> => {
    vi.advanceTimersByTime(100)
    return check()
  }
  return vi.waitFor(tryAt, { timeout: 30_000, interval: 5 })
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** xo-server with this data directory, until it is stopped. */
async function run(
  directory: string,
  { wanted = all, awayMs = 60_000, change = (_: Host): unknown => undefined } = {}
) {
  const host = new Host({})
  populate(host)
  change(host)
  await new Promise(setImmediate)
  const told: Signal[] = []
  const accept: Accept = Object.assign(
    (_: unknown, __: unknown, signal: Signal) => {
      told.push(signal)
      return undefined
    },
    { wants: () => true, waits: () => false }
  )
  const demand = { wants: (method: string) => wanted.includes(method), onChange: () => () => {} }
  const openDirectory = () => Promise.resolve(directory)
  const stop = listenToStateChanges(host as unknown as Xo, accept, demand, { awayMs, openDirectory })
  const file = join(directory, 'states.jsonl')
  /** What is known has been read, and is on disk. */
  const ready = (text: string) => eventually(async () => expect(await readFile(file, 'utf8')).toContain(text))
  return { host, told, stop, file, ready, methods: () => told.map(({ method }) => method) }
}

describe('what happens while xo-server is off', () => {
  it('is told when it is up again, and not what was told before', async () => {
    const directory = await folder()
    const first = await run(directory)
    await first.ready(ids.haltedVm)
    first.host.changeObject(ids.haltedVm, { power_state: 'Running', $container: ids.host })
    await new Promise(setImmediate)
    expect(first.methods()).toEqual(['vm.started'])
    await first.stop()
    const lostAt = Date.now()

    const second = await run(directory, {
      change(host) {
        host.changeObject(ids.haltedVm, { power_state: 'Running', $container: ids.otherHost })
        host.changeObject(ids.runningVm, { power_state: 'Halted', $container: ids.pool })
      },
    })
    await vi.waitFor(() => expect(second.methods().sort()).toEqual(['vm.halted', 'vm.migrated']))
    for (const { missed, between } of second.told) {
      expect(missed).toBe(true)
      const [from, to] = between as [number, number]
      expect(from).toBeLessThanOrEqual(lostAt)
      expect(to).toBeGreaterThanOrEqual(lostAt)
    }
    await second.stop()
  })

  it('to a pool that does not come back is that it is away, once over all restarts', async () => {
    const directory = await folder()
    const first = await run(directory)
    await first.ready(ids.haltedVm)
    await first.stop()
    const without = { awayMs: 1, change: (host: Host) => void host.disconnectPool(ids.pool) }
    const second = await run(directory, without)
    await vi.waitFor(() => expect(second.methods()).toEqual(['pool.disconnected']))
    await second.ready('"away"')
    await second.stop()

    const third = await run(directory, without)
    await third.ready('"away"')
    await third.stop()
    expect(third.methods()).toEqual([])

    const fourth = await run(directory)
    await vi.waitFor(() => expect(fourth.methods()).toEqual(['pool.connected']))
    await fourth.stop()
  })

  it('is not told of what was not watched', async () => {
    const directory = await folder()
    const first = await run(directory, { wanted: ['host.disconnected'] })
    await first.ready(ids.host)
    await first.stop()
    expect(await readFile(first.file, 'utf8')).not.toContain(ids.haltedVm)
    const second = await run(directory, { change: host => host.changeObject(ids.haltedVm, { power_state: 'Running' }) })
    await second.ready(ids.haltedVm)
    await second.stop()
    expect(second.methods()).toEqual([])
  })

  it.each<[string, (file: string) => Promise<unknown>]>([
    ['is of another version', file => writeFile(file, '{"v":0,"types":["VM"]}\n["x",{"type":"VM"}]\n{"at":1}\n')],
    ['is empty', file => writeFile(file, '')],
    ['is binary', file => writeFile(file, Buffer.alloc(10_000, 200))],
    ['has a line that is cut', file => appendFile(file, '["half a li')],
    ['is gone', file => rm(file)],
  ])('is not lost for good by a file that %s', async (_, spoil) => {
    const directory = await folder()
    const first = await run(directory)
    await first.ready(ids.haltedVm)
    await first.stop()
    await spoil(first.file)
    const second = await run(directory)
    await second.ready(`["${ids.haltedVm}"`)
    await second.stop()
    expect(second.methods()).toEqual([])
  })

  it('is not lost for good by a file that cannot be written for a while', async () => {
    const { host, ready, file, stop } = await run(await folder())
    await ready(ids.haltedVm)
    await rm(file)
    await mkdir(file)
    host.changeObject(ids.runningVm, { tags: ['changed'] })
    await eventually(() => stat(`${file}.new`)) // it has been tried
    await rm(file, { recursive: true })
    await ready(ids.haltedVm)
    await stop()
  })

  it('keeps nobody waiting whose disk hangs', async () => {
    const host = new Host({})
    populate(host)
    const accept: Accept = Object.assign(() => undefined, { wants: () => true, waits: () => false })
    const demand = { wants: () => true, onChange: () => () => {} }
    const openDirectory = () => new Promise<string>(() => {})
    const stop = listenToStateChanges(host as unknown as Xo, accept, demand, { openDirectory })
    await stop()
  })
})
