import { describe, expect, it, onTestFinished } from 'vitest'
import type { Params } from '../sandbox/config.ts'
import type { Receiver } from '../sandbox/receiver.ts'
import { startMadeUpPool, type MadeUpPool } from './made-up-xapi.ts'
import { hookTo, openReceiver, setUpRealHost } from './setup.ts'

/**
 * A pool that has not answered is tried again after a minute, else (xen-api/index.mjs, `eventPollDelay`); that it is back
 * is known a minute later still, if nothing changes in it.
 */
const xo = setUpRealHost({ config: '[xapiOptions]\neventPollDelay = 500' })

/** A busy machine is slow, and what has gone with a pool is told 10 s after it is back. */
const PATIENCE_MS = 60_000

/** A pool that XO sees: what is told from here on has happened after this. */
async function connectPool(): Promise<MadeUpPool> {
  const pool = await startMadeUpPool()
  onTestFinished(() => pool.close())
  const receiver = await openReceiver()
  await xo.configureAnew(hookTo(receiver, 'pool.connected', 'post'))
  const id = await xo.admin.call('server.add', { host: pool.url, label: 'made up', username: 'x', password: 'y' })
  onTestFinished(async () => {
    const admin = await xo.host.connect() // after a restart, the other one is closed by now
    await admin.call('server.remove', { id })
    await admin.close()
  })
  await receiver.next(1, PATIENCE_MS)
  return pool
}

/** Watches what becomes of objects. */
async function openWatcher(method = 'vm.* host.* pool.*', more: object = {}): Promise<Receiver> {
  const receiver = await openReceiver()
  await xo.configureAnew({ ...hookTo(receiver, method, 'post'), ...more })
  return receiver
}

const nextOf = async (receiver: Receiver, count: number): Promise<Params[]> =>
  (await receiver.next(count, PATIENCE_MS)).map(({ body }) => JSON.parse(body) as Params)

/** In the order of their names: of what XO is told at once, any may come first. */
const outlinesOf = (events: readonly Params[]): string[] =>
  events.map(({ method, params }) => `${String(method)} ${String((params as Params)['name_label'])}`).sort()

describe('a real xo-server that is connected to a pool', () => {
  it('sends what happens behind its back', async () => {
    const pool = await connectPool()
    const receiver = await openWatcher()
    pool.startVm('vm-1')
    const [started] = await nextOf(receiver, 1)
    expect(started).toMatchObject({
      ...{ type: 'post', method: 'vm.started', params: { id: pool.uuid('vm-1'), name_label: 'vm-1' } },
      ...{ before: { power_state: 'Halted' }, after: { power_state: 'Running', host: { name_label: 'host-1' } } },
    })
    expect(started).not.toHaveProperty('missed')
    pool.crashVm('vm-2')
    expect(outlinesOf(await nextOf(receiver, 2))).toEqual(['vm.crashed vm-2', 'vm.halted vm-2'])
    pool.setLive('host-2', false)
    expect(outlinesOf(await nextOf(receiver, 2))).toEqual(['host.disabled host-2', 'host.disconnected host-2'])
    pool.setLive('host-2', true)
    expect(outlinesOf(await nextOf(receiver, 2))).toEqual(['host.connected host-2', 'host.enabled host-2'])
    expect(receiver.requests).toHaveLength(7)
  }, 180_000)

  it('sends a call with the object as it is after it', async () => {
    const pool = await connectPool()
    const id = pool.uuid('vm-1')
    const receiver = await openWatcher('vm.start vm.set vm.stop', { content: { includeObject: true } })
    const calls = [
      ['vm.start', {}, { power_state: 'Running', name_label: 'vm-1' }],
      ['vm.set', { name_label: 'web' }, { power_state: 'Running', name_label: 'web' }],
      ['vm.stop', { force: true }, { power_state: 'Halted', name_label: 'web' }],
    ] as const
    for (const [method, params, object] of calls) {
      await xo.admin.call(method, { id, ...params })
      expect(await nextOf(receiver, 1)).toMatchObject([{ method, object: { id, ...object } }])
    }
  }, 180_000)

  it('says nothing of a restart of the toolstack, and goes on', async () => {
    const pool = await connectPool()
    const receiver = await openWatcher()
    await pool.restartToolstack()
    pool.startVm('vm-1')
    expect(outlinesOf(await nextOf(receiver, 1))).toEqual(['vm.started vm-1'])
    expect(receiver.requests).toHaveLength(1)
  }, 180_000)

  it('says that a pool is away, and what has happened meanwhile when it is back', async () => {
    const pool = await connectPool()
    const receiver = await openWatcher()
    const before = Date.now()
    await pool.die()
    const [away] = await nextOf(receiver, 1)
    expect(away).toMatchObject({ method: 'pool.disconnected', params: { lostAt: expect.any(Number) as number } })
    pool.startVm('vm-1')
    pool.crashVm('vm-2')
    pool.setLive('host-2', false)
    pool.destroyVm('vm-3')
    pool.createVm('vm-4')
    await pool.revive()

    const events = await nextOf(receiver, 8)
    const missed = events.filter(({ method }) => method !== 'pool.connected')
    expect(outlinesOf(events)).toEqual([
      ...['host.disabled host-2', 'host.disconnected host-2', 'pool.connected made-up pool', 'vm.crashed vm-2'],
      ...['vm.created vm-4', 'vm.halted vm-2', 'vm.removed vm-3', 'vm.started vm-1'],
    ])
    const { lostAt } = away!['params'] as { lostAt: number }
    expect(lostAt).toBeGreaterThanOrEqual(before)
    for (const { missed: isMissed, between } of missed) {
      expect(isMissed).toBe(true)
      expect(between).toEqual([lostAt, expect.any(Number)])
      expect((between as [number, number])[1]).toBeGreaterThan(lostAt)
    }
  }, 240_000)

  it('says what has happened while it was off itself', async () => {
    const pool = await connectPool()
    const receiver = await openWatcher()
    pool.startVm('vm-1')
    await nextOf(receiver, 1)
    await xo.restart('stop', () => {
      pool.crashVm('vm-1')
      return Promise.resolve()
    })
    const events = await nextOf(receiver, 2)
    expect(outlinesOf(events)).toEqual(['vm.crashed vm-1', 'vm.halted vm-1'])
    expect(events).toMatchObject([{ missed: true }, { missed: true }])
  }, 240_000)
})
