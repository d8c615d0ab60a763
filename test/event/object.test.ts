import { describe, expect, it } from 'vitest'

import { createdIdOf, idIn, isSettled, snapshotOf } from '../../src/event/object.ts'
import { Host } from '../sandbox/host.ts'
import { ids, populate } from '../sandbox/made-up-pool.ts'

const host = new Host({})
populate(host)
const [SNAPSHOT, ORPHAN] = ['snapshot', 'snapshot of a VM that is gone']
host.setObjects(
  { id: SNAPSHOT, type: 'VM-snapshot', name_label: 's', $snapshot_of: ids.runningVm },
  { id: ORPHAN, type: 'VM-snapshot', name_label: 'o', $snapshot_of: 'gone' }
)
const { all } = host.objects
const lookUp = (id: string): unknown => all[id]
const UUID = '11111111-2222-4333-8444-555555555555'
const call = (method: string, params?: unknown, result?: unknown) => ({
  callId: 'c',
  timestamp: 1,
  method,
  params,
  result,
})

describe('the snapshot', () => {
  it('of a VM has its pool, host, CPUs, memory, addresses and VIFs, and nothing else', () => {
    expect(snapshotOf(all[ids.runningVm], lookUp)).toEqual({
      id: ids.runningVm,
      uuid: ids.runningVm,
      type: 'VM',
      name_label: 'database',
      name_description: '',
      tags: ['production'],
      pool: { id: ids.pool, name_label: 'made-up pool' },
      host: { id: ids.host, name_label: 'made-up host' },
      power_state: 'Running',
      CPUs: { number: 2, max: 4 },
      memory: { size: 2 ** 31 },
      mainIpAddress: '192.0.2.4',
      addresses: ['192.0.2.4'],
      VIFs: [
        {
          id: ids.vif,
          device: '0',
          MAC: '02:00:00:00:00:04',
          network: { id: ids.network, name_label: 'LAN' },
        },
      ],
    })
  })

  it('of a VM that is nowhere has no host', () => {
    expect(snapshotOf(all[ids.haltedVm], lookUp)).toMatchObject({ power_state: 'Halted', host: undefined, VIFs: [] })
  })

  it.each(Object.values(all).map(object => [object.type, object]))('of a %s has no secrets', (type, object) => {
    const snapshot = snapshotOf(object, lookUp)
    expect(snapshot).toMatchObject({ type, id: object.id })
    expect(JSON.stringify(snapshot)).not.toContain('s3cret')
  })

  it.each([undefined, null, 'vm', 7, {}, { id: 1, type: 'VM' }, { id: 'x' }])('of %o is none', value => {
    expect(snapshotOf(value, lookUp)).toBeUndefined()
  })

  it('of odd values leaves them out', () => {
    const odd = {
      id: 'x',
      type: 'VM',
      tags: [1, 'a'],
      VIFs: 'none',
      CPUs: null,
      memory: 3,
      addresses: [null],
      $pool: 4,
    }
    expect(snapshotOf(odd, lookUp)).toMatchObject({ id: 'x', tags: ['a'], VIFs: [], addresses: [], pool: undefined })
  })
})

describe('what a call is about', () => {
  it.each<[string, object, string | undefined]>([
    ['vm.start', { id: ids.haltedVm }, ids.haltedVm],
    ['vm.migrate', { targetHost: ids.host, vm: ids.runningVm, sr: ids.sr }, ids.runningVm],
    ['vm.attachDisk', { vdi: ids.sr, vm: ids.runningVm }, ids.runningVm],
    ['host.restart', { id: ids.host }, ids.host],
    ['sr.createIso', { host: ids.host }, ids.host],
    ['disk.create', { sr: ids.sr, name: 'x' }, ids.sr],
    ['network.create', { pool: ids.pool }, ids.pool],
    ['pbd.connect', { id: ids.pbd }, ids.pbd],
    ['tag.add', { tag: ids.host, id: ids.sr }, ids.sr],
    ['pool.mergeInto', { target: ids.pool, sources: [] }, ids.pool],
    ['vm.create', { template: ids.template }, undefined],
    ['vm.getCloudInitConfig', { template: ids.template }, ids.template],
    ['vm.revert', { snapshot: SNAPSHOT }, ids.runningVm],
    ['vm.revert', { snapshot: ORPHAN }, ORPHAN],
    ['vm.revert', { id: ids.runningVm }, ids.runningVm],
    ['vm.createInterface', { networkId: ids.network, vmId: ids.runningVm }, ids.runningVm],
    ['backupNg.runJob', { id: ids.job, schedule: ids.schedule }, undefined],
    ['vm.start', { id: 'gone' }, undefined],
    ['vm.start', { id: { toString: () => ids.haltedVm } }, undefined],
    ['constructor', {}, undefined],
    ['job.runSequence', { idSequence: [ids.job] }, undefined],
  ])('%s with %o', (method, params, id) => {
    expect(idIn(call(method, params), lookUp)).toBe(id)
  })

  it('is nothing without parameters', () => {
    expect(idIn(call('vm.start'), lookUp)).toBeUndefined()
  })

  it.each<[string, unknown, string | undefined]>([
    ['vm.create', UUID, UUID],
    ['vm.snapshot', UUID, UUID],
    ['vm.create', { id: UUID }, UUID],
    ['vm.create', true, undefined],
    ['vm.export', { $getFrom: '/api/x' }, undefined],
    ['user.create', UUID, undefined],
    ['token.create', 'secret', undefined],
  ])('%s that returned %o has made %s', (method, result, id) => {
    expect(createdIdOf(call(method, {}, result))).toBe(id)
  })

  it('is settled when all its VIFs are known, and nothing is being done to it', () => {
    expect(isSettled(all[ids.runningVm], lookUp)).toBe(true)
    expect(isSettled(all[ids.runningVm], id => (id === ids.vif ? undefined : lookUp(id)))).toBe(false)
    expect(isSettled(all[ids.haltedVm], lookUp)).toBe(true)
    expect(isSettled(undefined, lookUp)).toBe(false)
    expect(isSettled({ ...all[ids.haltedVm], current_operations: { task: 'start' } }, lookUp)).toBe(false)
  })
})
