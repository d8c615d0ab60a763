import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import type { Phase, Source } from '../../src/event/event.ts'
import type { ObjectSnapshot } from '../../src/event/object.ts'
import { listenToStateChanges } from '../../src/sources/state-changes.ts'
import { stateEvents } from '../../src/sources/state-rules.ts'
import type { Signal, Xo } from '../../src/xo.ts'
import { Host } from '../sandbox/host.ts'
import type { XoObject } from '../sandbox/host.ts'

const POOL = 'pool-1'
const inPool = { $pool: POOL, $poolId: POOL, tags: [] }
const pool = { ...inPool, id: POOL, type: 'pool', name_label: 'pool', master: 'host-1' }
const hostOf = (id: string) => ({
  ...inPool,
  id,
  type: 'host',
  name_label: `name of ${id}`,
  power_state: 'Running',
  enabled: true,
})
const vm = {
  ...inPool,
  id: 'vm-1',
  type: 'VM',
  name_label: 'web',
  power_state: 'Halted',
  $container: POOL,
  current_operations: {},
  startTime: 1_000,
}
const running = { power_state: 'Running', $container: 'host-1' }
const sr = {
  ...inPool,
  id: 'sr-1',
  type: 'SR',
  name_label: 'storage',
  SR_type: 'nfs',
  content_type: 'user',
  size: 1000,
  physical_usage: 500,
}
const pbd = { ...inPool, id: 'pbd-1', type: 'PBD', name_label: '', SR: 'sr-1', host: 'host-1', attached: false }
const there: readonly XoObject[] = [pool, hostOf('host-1'), hostOf('host-2'), vm, sr, pbd]

interface Told extends Signal {
  readonly source: Source
  readonly phase: Phase
  readonly object: ObjectSnapshot | undefined
}

const all = stateEvents.map(({ name }) => name)

/** A host with a pool that the source listens to. */
async function watch({ wanted = all, objects = there }: { wanted?: string[]; objects?: readonly XoObject[] } = {}) {
  const host = new Host({})
  host.setObjects(...objects)
  await flushed()
  const told: Told[] = []
  const names = new Set(wanted)
  const onChange = new Set<() => void>()
  const accept = (source: Source, phase: Phase, signal: Signal, about?: () => ObjectSnapshot | undefined) => {
    told.push({ source, phase, ...signal, object: about?.() })
    return undefined
  }
  const demand = {
    wants: (method: string) => names.has(method),
    onChange(listener: () => void) {
      onChange.add(listener)
      return () => onChange.delete(listener)
    },
  }
  const stop = listenToStateChanges(
    host as unknown as Xo,
    Object.assign(accept, { wants: demand.wants, waits: () => false }),
    demand
  )
  return {
    host,
    told,
    stop,
    want(...methods: string[]) {
      names.clear()
      methods.forEach(method => names.add(method))
      onChange.forEach(listener => listener())
    },
    /** One flush. */
    async change(id: string, changes: Partial<XoObject>) {
      host.changeObject(id, changes)
      await flushed()
    },
    async set(...more: readonly XoObject[]) {
      host.setObjects(...more)
      await flushed()
    },
    async remove(...ids: string[]) {
      host.removeObjects(...ids)
      await flushed()
    },
    outline: () => told.map(({ method, params, before, after }) => ({ method, id: idOf(params), before, after })),
    methods: () => told.map(({ method }) => method),
  }
}

function idOf(params: unknown): unknown {
  return (params as { id?: unknown }).id
}

/** What has changed is told in the next tick. */
function flushed(): Promise<void> {
  return new Promise(resolve => process.nextTick(() => process.nextTick(resolve)))
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

describe('the fields of a VM', () => {
  it.each([
    ['Halted', 'Running', 'vm.started'],
    ['Halted', 'Paused', 'vm.started'],
    ['Running', 'Halted', 'vm.halted'],
    ['Paused', 'Halted', 'vm.halted'],
    ['Suspended', 'Halted', 'vm.halted'],
    ['Running', 'Suspended', 'vm.suspended'],
    ['Suspended', 'Running', 'vm.resumed'],
    ['Running', 'Paused', 'vm.paused'],
    ['Paused', 'Running', 'vm.resumed'],
  ])('%s to %s is %s', async (from, to, method) => {
    const { change, outline } = await watch({
      objects: [...there.filter(object => object !== vm), { ...vm, power_state: from }],
    })
    await change('vm-1', { power_state: to })
    expect(outline()).toEqual([{ method, id: 'vm-1', before: { power_state: from }, after: { power_state: to } }])
  })

  it('tell where it has started, with names', async () => {
    const { change, told } = await watch()
    await change('vm-1', running)
    expect(told).toEqual([
      {
        source: 'state',
        phase: 'post',
        callId: expect.stringMatching(/./) as string,
        method: 'vm.started',
        timestamp: Date.now(),
        params: { id: 'vm-1', name_label: 'web', pool: { id: POOL, name_label: 'pool' } },
        before: { power_state: 'Halted', host: undefined },
        after: { power_state: 'Running', host: { id: 'host-1', name_label: 'name of host-1' } },
        object: expect.objectContaining({ id: 'vm-1', power_state: 'Running' }) as object,
      },
    ])
  })

  it('tell of a migration, with its source and destination', async () => {
    const { change, outline } = await watch({ wanted: ['vm.migrated'], objects: [...there, { ...vm, ...running }] })
    await change('vm-1', { current_operations: { task: 'pool_migrate' } })
    await change('vm-1', { $container: POOL })
    await change('vm-1', { $container: 'host-2', startTime: 2_000 })
    expect(outline()).toEqual([])
    await change('vm-1', { current_operations: {} })
    expect(outline()).toEqual([
      {
        method: 'vm.migrated',
        id: 'vm-1',
        before: { host: { id: 'host-1', name_label: 'name of host-1' } },
        after: { host: { id: 'host-2', name_label: 'name of host-2' } },
      },
    ])
  })

  it('say nothing of a halted VM whose disk has moved', async () => {
    const { change, outline } = await watch()
    await change('vm-1', { $container: 'host-1' })
    await change('vm-1', { $container: 'host-2' })
    expect(outline()).toEqual([])
  })

  it('are those of a start only when it is over, though the VM is paused for a moment', async () => {
    const { change, outline } = await watch()
    await change('vm-1', { current_operations: { task: 'start' } })
    await change('vm-1', { power_state: 'Paused', $container: 'host-1' })
    await change('vm-1', { power_state: 'Running' })
    await change('vm-1', { startTime: 2_000 })
    await change('vm-1', { current_operations: {} })
    expect(outline()).toMatchObject([
      { method: 'vm.started', before: { power_state: 'Halted' }, after: { power_state: 'Running' } },
    ])
  })

  it.each(['checkpoint', 'pool_migrate'])('do not count in the middle of a %s', async operation => {
    const { change, outline } = await watch({ objects: [...there, { ...vm, ...running }] })
    await change('vm-1', { current_operations: { task: operation } })
    await change('vm-1', { power_state: 'Suspended' })
    await change('vm-1', { power_state: 'Running', startTime: 2_000 })
    await change('vm-1', { current_operations: {} })
    expect(outline()).toEqual([])
  })

  it.each([{}, { task: 'clean_reboot' }, { task: 'hard_reboot' }])('tell of a reboot during %o', async operations => {
    const { change, outline } = await watch({ objects: [...there, { ...vm, ...running }] })
    await change('vm-1', { current_operations: operations })
    await change('vm-1', { startTime: 2_000 })
    await change('vm-1', { current_operations: {} })
    expect(outline()).toEqual([
      { method: 'vm.rebooted', id: 'vm-1', before: { startTime: 1_000 }, after: { startTime: 2_000 } },
    ])
  })

  it('say nothing of a start time that goes back', async () => {
    const { change, outline } = await watch({ objects: [...there, { ...vm, ...running }] })
    await change('vm-1', { startTime: 900 })
    expect(outline()).toEqual([])
  })

  it('tell of two things at once', async () => {
    const { change, methods } = await watch()
    await change('vm-1', { ...running, name_label: 'web-2' })
    expect(methods()).toEqual(['vm.started', 'vm.renamed', 'vm.changed'])
  })

  it('that mean nothing here say nothing', async () => {
    const { change, outline } = await watch()
    await change('vm-1', { memory: { size: 1 }, other: { x: 'y' }, os_version: {}, snapshots: ['s'] })
    expect(outline()).toEqual([])
  })

  it.each<[string, object, object, unknown, unknown]>([
    [
      'vm.addressChanged',
      {},
      { mainIpAddress: '192.0.2.1', addresses: { '0/ipv4/0': '192.0.2.1' } },
      { mainIpAddress: undefined, addresses: [] },
      { mainIpAddress: '192.0.2.1', addresses: ['192.0.2.1'] },
    ],
    [
      'vm.resized',
      { CPUs: { number: 1, max: 4 }, memory: { dynamic: [1, 2], size: 2 } },
      { CPUs: { number: 2, max: 4 }, memory: { dynamic: [1, 4], size: 9 } },
      { CPUs: 1, memory: 2 },
      { CPUs: 2, memory: 4 },
    ],
    [
      'vm.changed',
      { notes: 'a' },
      { notes: 'b', high_availability: '' },
      { notes: 'a', high_availability: null },
      { notes: 'b', high_availability: '' },
    ],
    ['vm.tagged', { tags: ['a'] }, { tags: ['a', 'b'] }, { tags: ['a'] }, { tags: ['a', 'b'] }],
    ['vm.untagged', { tags: ['a', 'b'] }, { tags: ['b'] }, { tags: ['a', 'b'] }, { tags: ['b'] }],
  ])('tell of %s', async (method, from, to, before, after) => {
    const { change, outline } = await watch({ objects: [...there, { ...vm, ...from }] })
    await change('vm-1', to)
    expect(outline()).toEqual([{ method, id: 'vm-1', before, after }])
  })

  it('tell of an address only if it is another one than before the VM was down', async () => {
    const [first, second] = ['192.0.2.1', '192.0.2.2'].map(address => ({ addresses: { '0/ipv4/0': address } }))
    const objects = [...there, { ...vm, ...running, ...first }]
    const { change, methods } = await watch({ objects, wanted: ['vm.addressChanged'] })
    await change('vm-1', { power_state: 'Halted', addresses: {} })
    await change('vm-1', { ...running, ...first })
    expect(methods()).toEqual([])
    await change('vm-1', { power_state: 'Halted', addresses: {} })
    await change('vm-1', { ...running, ...second })
    expect(methods()).toEqual(['vm.addressChanged'])
  })

  it('tell which tags have come and gone', async () => {
    const { change, told } = await watch({ objects: [...there, { ...vm, tags: ['a', 'b'] }] })
    await change('vm-1', { tags: ['b', 'c'] })
    expect(told).toMatchObject([
      { method: 'vm.tagged', params: { id: 'vm-1', tags: ['c'] } },
      { method: 'vm.untagged', params: { id: 'vm-1', tags: ['a'] } },
    ])
  })
})

describe('an object', () => {
  it('that is there when the source begins to listen is not new', async () => {
    const { outline, change } = await watch()
    await change('vm-1', {})
    expect(outline()).toEqual([])
  })

  it('that is new in a pool is created, and removed when it goes', async () => {
    const { set, remove, outline } = await watch()
    await set({ ...vm, id: 'vm-2', name_label: 'new' })
    await remove('vm-2')
    const fields = { name_label: 'new', power_state: 'Halted', host: undefined }
    expect(outline()).toEqual([
      { method: 'vm.created', id: 'vm-2', before: undefined, after: fields },
      { method: 'vm.removed', id: 'vm-2', before: fields, after: undefined },
    ])
  })

  it('that is gone is told as it was last', async () => {
    const vif = { ...inPool, id: 'vif-1', type: 'VIF', name_label: '', MAC: '02:00:00:00:00:01', $VM: 'vm-1' }
    const { remove, told } = await watch({ objects: [...there, { ...vm, VIFs: ['vif-1'] }, vif] })
    await remove('vm-1', 'vif-1')
    expect(told).toMatchObject([
      { method: 'vm.removed', object: { id: 'vm-1', name_label: 'web', VIFs: [{ MAC: '02:00:00:00:00:01' }] } },
      { method: 'vif.removed', params: { id: 'vif-1', vm: { id: 'vm-1', name_label: 'web' } } },
    ])
  })

  it('that is a clone of a template first is created a moment after it is a VM', async () => {
    const { set, change, methods } = await watch()
    await set({ ...vm, id: 'vm-2', type: 'VM-template' })
    await change('vm-2', { type: 'VM' })
    expect(methods()).toEqual([])
    vi.advanceTimersByTime(3_000)
    expect(methods()).toEqual(['vm.created'])
    await change('vm-2', { type: 'VM-template' })
    expect(methods()).toEqual(['vm.created', 'vm.removed'])
  })

  it('that is a clone of a template first is created before anything else is told of it', async () => {
    const { set, change, told } = await watch()
    await set({ ...vm, id: 'vm-2', type: 'VM-template' })
    await change('vm-2', { type: 'VM', name_label: 'new' })
    const created = Date.now()
    vi.setSystemTime(created + 100)
    await change('vm-2', running)
    expect(told).toMatchObject([
      { method: 'vm.created', timestamp: created, object: { name_label: 'new' } },
      { method: 'vm.started' },
    ])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('that is a template is not told when it is deleted, though it is made a VM first', async () => {
    const { set, change, remove, outline } = await watch()
    await set({ ...vm, id: 'template', type: 'VM-template' })
    vi.advanceTimersByTime(60_000)
    await change('template', { type: 'VM' })
    await change('template', { current_operations: { task: 'destroy' } })
    await remove('template')
    vi.advanceTimersByTime(60_000)
    expect(outline()).toEqual([])
  })

  it('that is the snapshot of a backup is created when it has its name', async () => {
    const { set, change, remove, outline } = await watch({ wanted: ['snapshot.created', 'snapshot.removed'] })
    const unnamed = { ...vm, type: 'VM-snapshot', name_label: 'xo-backup-temp-snapshot-name', $snapshot_of: 'vm-1' }
    await set({ ...unnamed, id: 'snap-1' }, { ...unnamed, id: 'snap-2' })
    await remove('snap-2')
    expect(outline()).toEqual([])
    await change('snap-1', { name_label: '[XO Backup nightly] web' })
    expect(outline()).toMatchObject([
      { method: 'snapshot.created', id: 'snap-1', after: { name_label: '[XO Backup nightly] web' } },
    ])
  })

  it.each([
    ['disk', { type: 'VDI', $SR: 'sr-1', size: 10 }, { size: 20 }, { sr: { id: 'sr-1', name_label: 'storage' } }],
    ['vif', { type: 'VIF', $VM: 'vm-1', MAC: '02:00:00:00:00:01' }, {}, { vm: { id: 'vm-1', name_label: 'web' } }],
  ])('that is a %s is created, perhaps changed, and removed', async (noun, object, changes, params) => {
    const { set, change, remove, told } = await watch()
    await set({ ...inPool, id: 'new', name_label: 'data', ...object })
    await change('new', changes)
    await remove('new')
    const events = noun === 'disk' ? ['disk.created', 'disk.resized', 'disk.removed'] : ['vif.created', 'vif.removed']
    expect(told).toMatchObject(events.map(method => ({ method, params: { id: 'new', ...params } })))
  })

  it('that is a VIF of a snapshot says nothing', async () => {
    const { set, remove, outline } = await watch({ wanted: ['vif.created', 'vif.removed'] })
    await set({ ...vm, id: 'snap-1', type: 'VM-snapshot', $snapshot_of: 'vm-1' })
    await set({ ...inPool, id: 'vif-1', type: 'VIF', name_label: '', $VM: 'snap-1' })
    await remove('vif-1', 'snap-1')
    expect(outline()).toEqual([])
  })

  it('that is a snapshot has events of its own', async () => {
    const { set, remove, outline } = await watch()
    await set({ ...vm, id: 'snap-1', type: 'VM-snapshot', name_label: 'before', $snapshot_of: 'vm-1' })
    await remove('snap-1')
    const fields = { name_label: 'before', snapshot_of: { id: 'vm-1', name_label: 'web' } }
    expect(outline()).toEqual([
      { method: 'snapshot.created', id: 'snap-1', before: undefined, after: fields },
      { method: 'snapshot.removed', id: 'snap-1', before: fields, after: undefined },
    ])
  })

  it('that comes and goes within a tick never was', async () => {
    const { host, outline } = await watch()
    host.setObjects({ ...vm, id: 'vm-2' })
    host.removeObjects('vm-2')
    await flushed()
    expect(outline()).toEqual([])
  })
})

describe('a pool', () => {
  it('that XO loses sight of is disconnected after a while, and its VMs are not removed', async () => {
    const { host, told, outline } = await watch()
    const lostAt = Date.now()
    host.disconnectPool(POOL)
    await flushed()
    vi.advanceTimersByTime(14_999)
    expect(outline()).toEqual([])
    vi.advanceTimersByTime(1)
    expect(outline()).toMatchObject([{ method: 'pool.disconnected', id: POOL, before: { name_label: 'pool' } }])
    expect(told[0]).toMatchObject({
      params: { name_label: 'pool', lostAt },
      object: { type: 'pool', name_label: 'pool' },
    })
  })

  it('that comes back is connected, and its VMs have not changed if they have not', async () => {
    const { host, methods } = await watch()
    const objects = host.disconnectPool(POOL)
    await flushed()
    vi.advanceTimersByTime(20_000)
    host.connectPool([...objects].reverse())
    await flushed()
    vi.advanceTimersByTime(60_000)
    expect(methods()).toEqual(['pool.disconnected', 'pool.connected'])
  })

  it('that was away for a moment says nothing of itself, but what has changed meanwhile', async () => {
    const { host, set, told, outline } = await watch()
    const lostAt = Date.now()
    const objects = host.disconnectPool(POOL)
    await flushed()
    vi.advanceTimersByTime(2_000)
    const changes: Record<string, object | undefined> = {
      'vm-1': running,
      'host-2': { power_state: 'Halted' },
      'pbd-1': undefined,
    }
    const back = objects.filter(({ id }) => !(id in changes) || changes[id] !== undefined)
    host.connectPool([...back.map(object => ({ ...object, ...changes[object.id] })), { ...vm, id: 'vm-2' }])
    const between = [lostAt, Date.now()]
    await flushed()
    // one that XO could not read at once
    await set({ ...pbd, name_label: 'late', attached: true })
    expect(outline()).toMatchObject([
      { method: 'host.disconnected', id: 'host-2', before: { power_state: 'Running' } },
      { method: 'vm.started', id: 'vm-1' },
      { method: 'vm.created', id: 'vm-2' },
      { method: 'sr.connected', id: 'sr-1' },
    ])
    vi.advanceTimersByTime(20_000)
    expect(told.map(({ missed, between: times }) => [missed, times])).toEqual(told.map(() => [true, between]))
    await set({ ...vm, id: 'vm-3' })
    expect(told.slice(4)).toMatchObject([{ method: 'vm.created', params: { id: 'vm-3' } }])
    expect(told[4]).not.toHaveProperty('missed')
  })

  it('that comes back without a VM tells, a moment later, that it is gone', async () => {
    const { host, told } = await watch()
    const objects = host.disconnectPool(POOL)
    await flushed()
    host.connectPool(objects.filter(({ id }) => id !== 'vm-1'))
    await flushed()
    vi.advanceTimersByTime(9_999)
    expect(told).toEqual([])
    vi.advanceTimersByTime(1)
    expect(told).toMatchObject([
      {
        method: 'vm.removed',
        missed: true,
        params: { id: 'vm-1', pool: { name_label: 'pool' } },
        object: { name_label: 'web' },
      },
    ])
  })

  it('that goes again before all of it was seen has lost nothing', async () => {
    const { host, told } = await watch()
    const objects = host.disconnectPool(POOL)
    await flushed()
    const lostAt = Date.now()
    vi.advanceTimersByTime(1_000)
    host.connectPool(objects.filter(({ id }) => id === POOL))
    await flushed()
    host.disconnectPool(POOL)
    await flushed()
    host.connectPool(objects.map(object => (object.id === 'vm-1' ? { ...object, ...running } : object)))
    await flushed()
    vi.advanceTimersByTime(60_000)
    expect(told).toMatchObject([{ method: 'vm.started', missed: true, between: [lostAt, lostAt + 1_000] }])
  })

  it('of which other types are watched meanwhile takes those for granted', async () => {
    const { host, want, methods } = await watch({ wanted: ['host.disconnected'] })
    const objects = host.disconnectPool(POOL)
    await flushed()
    want('vm.created', 'vm.started')
    host.connectPool(objects.map(object => (object.id === 'vm-1' ? { ...object, ...running } : object)))
    await flushed()
    vi.advanceTimersByTime(60_000)
    expect(methods()).toEqual([])
  })

  it('that goes and comes back within a tick has not changed', async () => {
    const { host, outline } = await watch()
    host.connectPool(host.disconnectPool(POOL))
    await flushed()
    expect(outline()).toEqual([])
  })

  it('has a new master', async () => {
    const { change, outline } = await watch()
    await change(POOL, { master: 'host-2' })
    expect(outline()).toEqual([
      {
        method: 'pool.master.changed',
        id: POOL,
        before: { master: { id: 'host-1', name_label: 'name of host-1' } },
        after: { master: { id: 'host-2', name_label: 'name of host-2' } },
      },
    ])
  })
})

describe('a host', () => {
  it('is disconnected and connected, disabled and enabled', async () => {
    const { change, outline } = await watch()
    await change('host-1', { power_state: 'Halted' })
    await change('host-1', { power_state: 'Unknown' })
    await change('host-1', { power_state: 'Running' })
    await change('host-1', { enabled: false })
    await change('host-1', { enabled: true })
    expect(outline().map(({ method, before, after }) => [method, before, after])).toEqual([
      ['host.disconnected', { power_state: 'Running' }, { power_state: 'Halted' }],
      ['host.connected', { power_state: 'Halted' }, { power_state: 'Running' }],
      ['host.disabled', { enabled: true }, { enabled: false }],
      ['host.enabled', { enabled: false }, { enabled: true }],
    ])
  })

  it('is connected when it joins a pool, and disconnected when it leaves', async () => {
    const { set, remove, methods } = await watch()
    await set(hostOf('host-3'))
    await remove('host-3')
    expect(methods()).toEqual(['host.connected', 'host.disconnected'])
  })
})

describe('what an administrator does, or a pool by itself, is told as what it is', () => {
  const up = { ...vm, ...running }
  const other = { $pool: 'pool-2', $poolId: 'pool-2' }
  const others = [
    { ...pool, ...other, id: 'pool-2', master: 'host-9' },
    { ...hostOf('host-9'), ...other },
  ]
  const during = (operation: string) => ({ current_operations: { task: operation } })
  const quiet = { current_operations: {} }
  const snapshot = { ...up, id: 'snapshot', type: 'VM-snapshot', power_state: 'Suspended', $snapshot_of: 'vm-1' }

  it.each<[what: string, flushes: readonly (readonly XoObject[])[], methods: readonly string[]]>([
    [
      'a migration to another pool, which halts the VM in this one',
      [
        [{ ...up, ...during('migrate_send') }],
        [{ ...up, ...during('migrate_send'), power_state: 'Halted', $container: POOL }],
        [{ ...up, ...other, $container: 'host-9' }],
      ],
      ['vm.migrated'],
    ],
    ['a restart by the guest', [[{ ...up, startTime: 2_000 }]], ['vm.rebooted']],
    [
      'a hard reboot, in which the VM is halted for a moment',
      [
        [{ ...up, ...during('hard_reboot') }],
        [{ ...up, ...during('hard_reboot'), power_state: 'Halted', $container: POOL }],
        [{ ...up, ...during('hard_reboot'), startTime: 2_000 }],
        [{ ...up, ...quiet, startTime: 2_000 }],
      ],
      ['vm.rebooted'],
    ],
    [
      'maintenance of a host',
      [
        [{ ...hostOf('host-1'), enabled: false }],
        [{ ...up, ...during('pool_migrate') }],
        [{ ...up, ...during('pool_migrate'), $container: 'host-2', startTime: 2_000 }],
        [{ ...up, ...quiet, $container: 'host-2', startTime: 2_000 }],
        [hostOf('host-1')],
      ],
      ['host.disabled', 'vm.migrated', 'host.enabled'],
    ],
    [
      'a host that dies, and HA',
      [
        [{ ...hostOf('host-1'), power_state: 'Halted' }],
        [{ ...up, power_state: 'Halted', $container: POOL }],
        [{ ...up, ...during('start_on'), power_state: 'Paused', $container: 'host-2', startTime: 2_000 }],
        [{ ...up, ...quiet, $container: 'host-2', startTime: 2_000 }],
      ],
      ['host.disconnected', 'vm.halted', 'vm.started'],
    ],
    [
      'a snapshot with memory, which suspends the VM for a moment',
      [
        [{ ...up, ...during('checkpoint'), power_state: 'Suspended' }, snapshot],
        [{ ...up, ...during('checkpoint'), startTime: 2_000 }],
        [{ ...up, ...quiet, startTime: 2_000 }],
      ],
      ['snapshot.created'],
    ],
    ['a fast clone', [[{ ...up, ...during('clone') }], [{ ...vm, id: 'clone' }], [up]], ['vm.created']],
    ['a VM that is made a template', [[{ ...up, type: 'VM-template' }]], ['vm.removed']],
    ['a template that is copied', [[{ ...vm, id: 'copy', type: 'VM-template' }]], []],
    ['another master', [[{ ...pool, master: 'host-2' }]], ['pool.master.changed']],
    [
      'a move of a disk to another SR, of a VM that runs',
      [
        [{ ...up, ...during('migrate_send') }],
        [{ ...up, ...during('migrate_send'), power_state: 'Paused', startTime: 2_000 }],
        [{ ...up, ...quiet, startTime: 2_000 }],
      ],
      [],
    ],
  ])('%s', async (_, flushes, methods) => {
    const watcher = await watch({ objects: [...there, ...others, up] })
    for (const objects of flushes) {
      await watcher.set(...objects)
    }
    await vi.advanceTimersByTimeAsync(20_000)
    expect(watcher.methods()).toEqual(methods)
  })
})

describe('an SR', () => {
  it('is connected to a host, and disconnected', async () => {
    const { change, told } = await watch()
    await change('pbd-1', { attached: true })
    await change('pbd-1', { attached: false })
    expect(told).toMatchObject([
      {
        method: 'sr.connected',
        params: { id: 'sr-1', name_label: 'storage', host: { id: 'host-1', name_label: 'name of host-1' } },
        before: { attached: false },
        after: { attached: true },
        object: { type: 'SR' },
      },
      { method: 'sr.disconnected', before: { attached: true }, after: { attached: false } },
    ])
  })

  it('becomes full once, and again after it has been emptied a bit', async () => {
    const { change, outline } = await watch()
    for (const used of [899, 900, 910, 880, 905, 849, 899, 950]) {
      await change('sr-1', { physical_usage: used })
    }
    expect(outline().map(({ method, after }) => [method, after])).toEqual([
      ['sr.full', { size: 1000, physical_usage: 900 }],
      ['sr.full', { size: 1000, physical_usage: 950 }],
    ])
  })

  it('of CDs is always full, and says nothing', async () => {
    const { change, outline } = await watch({ objects: [...there, { ...sr, content_type: 'iso' }] })
    await change('sr-1', { physical_usage: 1000 })
    expect(outline()).toEqual([])
  })
})

describe('a message of the pool', () => {
  const message = { ...inPool, id: 'message-1', type: 'message', name_label: '', $object: 'vm-1', time: 1_700_000_000 }

  it('is an alarm that is raised, and cleared when it is deleted', async () => {
    const { set, remove, told } = await watch()
    const body = 'value: 0.61\nconfig:\n<variable>\n<name value="cpu_usage"/>\n</variable>'
    await set({ ...message, name: 'ALARM', body })
    await remove('message-1')
    const fields = { name: 'ALARM', body, time: 1_700_000_000, alarm: 'cpu_usage', value: 0.61 }
    const params = { id: 'vm-1', name_label: 'web', message: 'message-1' }
    expect(told).toMatchObject([
      { method: 'alarm.raised', params, after: fields, object: { type: 'VM' } },
      { method: 'alarm.cleared', params, before: fields },
    ])
  })

  it('tells of a crash', async () => {
    const { set, outline } = await watch()
    await set({ ...message, name: 'VM_CRASHED', body: 'it has' })
    expect(outline()).toMatchObject([{ method: 'vm.crashed', id: 'vm-1', after: { name: 'VM_CRASHED' } }])
  })

  it('of another name says nothing', async () => {
    const { set, remove, outline } = await watch()
    await set({ ...message, name: 'VM_STARTED', body: '' })
    await remove('message-1')
    expect(outline()).toEqual([])
  })
})

describe('what nobody wants', () => {
  it('is not listened to', async () => {
    const { host, want } = await watch({ wanted: [] })
    const listeners = () =>
      host.objects.eventNames().reduce((sum, name) => sum + host.objects.listenerCount(name), 0) +
      host.objects.allIndexes['type']!.getEventEmitterByType('VM').listenerCount('remove')
    const before = listeners()
    want('vm.started')
    expect(listeners()).toBeGreaterThan(before)
    want('host.unknown')
    expect(listeners()).toBe(before)
    want('vm.started')
    expect(listeners()).toBeGreaterThan(before)
  })

  it('is taken for granted when someone begins to want it', async () => {
    const { change, set, want, methods } = await watch({ wanted: ['host.disabled'] })
    await change('vm-1', running)
    await set({ ...vm, id: 'vm-2' })
    want('vm.halted', 'vm.created', 'vm.renamed')
    await change('vm-1', { power_state: 'Halted' })
    await change('host-1', { enabled: false })
    await change('vm-2', { name_label: 'x' })
    expect(methods()).toEqual(['vm.halted', 'vm.renamed'])
  })

  it('does not forget what was wanted all the time', async () => {
    const { host, want, methods } = await watch({ wanted: ['vm.started'] })
    host.changeObject('vm-1', running)
    want('vm.started', 'vm.renamed', 'host.disabled')
    await flushed()
    expect(methods()).toEqual(['vm.started'])
  })
})

describe('the source', () => {
  it('says nothing after its undo, and leaves no listener', async () => {
    const { host, change, stop, outline } = await watch()
    await stop()
    await change('vm-1', running)
    expect(outline()).toEqual([])
    expect(host.objects.listenerCount('finish')).toBe(0)
  })

  it('never throws into the flush of the host, whatever an object is', async () => {
    const { host, set, change, methods } = await watch()
    let finished = 0
    host.objects.on('finish', () => ++finished)
    const hostile = new Proxy(
      { id: 'hostile', type: 'VM', name_label: '' },
      {
        get(target, key) {
          if (key === '$container') {
            throw new Error('no')
          }
          return Reflect.get(target, key) as unknown
        },
      }
    )
    host.objects.set('hostile', hostile)
    await set({ id: 'odd', type: 'VM', name_label: '', power_state: 7, current_operations: null, $container: {} })
    host.objects.set('hostile', hostile)
    await change('vm-1', running)
    expect(finished).toBe(2)
    expect(methods()).toEqual(['vm.started'])
  })

  it('says only what changed in a burst, and costs little', async () => {
    const many = Array.from({ length: 2_000 }, (_, index) => ({ ...vm, id: `many-${index}` }))
    const { host, outline } = await watch({ objects: [...there, ...many] })
    for (const each of many) {
      host.setObjects({ ...each, memory: { size: 2 }, ...(each.id === 'many-7' && running) })
    }
    await flushed()
    expect(outline().map(({ method, id }) => [method, id])).toEqual([['vm.started', 'many-7']])
  })
})

it('every event has a name in the past tense or of a state, and one sentence', () => {
  expect(new Set(all).size).toBe(all.length)
  for (const { name, phases, sentence } of stateEvents) {
    expect(name).toMatch(/^[a-z]+(\.[a-z]+)*\.([a-z]+ed|full|addressChanged)$/)
    expect(phases).toEqual(['post'])
    expect(sentence).toMatch(/^[A-Z].*[^.]$/)
  }
})
