import { channel } from 'node:diagnostics_channel'
import { setTimeout as sleep } from 'node:timers/promises'

import type { TaskLog } from '../../src/xo.ts'
import { startHost } from './host.ts'
import type { BenchObject } from './host.ts'
import { KIB, median, timed, valueRow } from './measure.ts'
import type { Figure } from './measure.ts'
import { startReceiver } from './receiver.ts'

// What xo-server's news of tasks and objects cost it.

/** Ones that no hook wants. */
const OTHER_HOOKS = Array.from({ length: 1_000 }, (_, index) => ({
  name: `hook ${index}`,
  method: index % 2 === 0 ? `bench.m${index}` : `*.bench${index}.*`,
  url: 'http://127.0.0.1:9/',
}))

export const unmatchedRequest: Figure = async report => {
  const ROUNDS = 21
  const REQUESTS = 20_000
  const BOUND_NS = 2_000
  const host = await startHost(OTHER_HOOKS)
  const [started, finished] = ['http.server.request.start', 'http.server.response.finish'].map(name => channel(name))
  const response = { statusCode: 204, locals: { authType: 'token' }, getHeader: () => undefined }
  const kinds: Record<string, object> = {
    'a page': { method: 'GET', url: '/', originalUrl: '/' },
    'a question to the REST API': { method: 'GET', url: '/rest/v0/vms', originalUrl: '/rest/v0/vms' },
    'a change by the REST API': {
      ...{ method: 'PATCH', url: '/rest/v0/vms/1', originalUrl: '/rest/v0/vms/1', headers: {}, user: { id: '1' } },
      route: { path: '/rest/v0/vms/:id' },
    },
    'a change by a plugin of the REST API': {
      ...{ method: 'POST', url: '/rest/v0/a/b/1', originalUrl: '/rest/v0/a/b/1', headers: {}, user: { id: '1' } },
      route: { path: '/a/b/:id' },
    },
  }
  for (const [kind, properties] of Object.entries(kinds)) {
    const rounds: number[] = []
    for (let round = 0; round < ROUNDS; ++round) {
      const requests = Array.from({ length: REQUESTS }, () => ({ ...properties }))
      const ms = timed(() => {
        for (const request of requests) {
          started!.publish({ request, response })
          finished!.publish({ request, response })
        }
      })
      rounds.push((ms / REQUESTS) * 1e6)
    }
    report(valueRow(kind, median(rounds), 'ns', BOUND_NS, 0))
  }
  await host.close()
}

export const unmatchedUpdate: Figure = async report => {
  const ROUNDS = 21
  const UPDATES = 20_000
  const BOUND_NS = 2_000
  const host = await startHost(OTHER_HOOKS)
  const taskOf = (properties: object, index: number): TaskLog => ({
    ...{ id: `0mwr2g8r2-${index}`, start: Date.now(), status: 'pending' },
    properties: { objectId: '67aac198-0174-11ea-8d71-362b9e155667', userId: 'b4tm4n', progress: index, ...properties },
  })
  const kinds: Record<string, object> = {
    'an API call': { type: 'api.call', name: 'API call: vm.start', method: 'vm.start' },
    'an action of the REST API': { type: 'xo:rest-api:action', name: 'REST API: start VM' },
    'an action that is not known': { type: 'xo:rest-api:action', name: 'REST API: do something "new" to a VM' },
    'a backup': { type: 'backup', name: 'backup run', runJobId: '1795305356676', jobId: 'job', jobName: 'nightly' },
  }
  for (const [kind, properties] of Object.entries(kinds)) {
    const tasks = Array.from({ length: 16 }, (_, index) => taskOf(properties, index))
    const rounds: number[] = []
    for (let round = 0; round < ROUNDS; ++round) {
      const ms = timed(() => {
        for (let i = 0; i < UPDATES; ++i) {
          host.update(tasks[i % tasks.length]!)
        }
      })
      rounds.push((ms / UPDATES) * 1e6)
    }
    const ns = median(rounds)
    report(valueRow(kind, ns, 'ns', BOUND_NS, 0))
  }
  await host.close()
}

/** An object of a pool as xo-server makes it, as far as that matters to its size. */
function vmOf(index: number, memory: number, changes: object = {}): BenchObject {
  return {
    id: `67aac198-0174-11ea-8d71-${String(index).padStart(12, '0')}`,
    uuid: `67aac198-0174-11ea-8d71-${String(index).padStart(12, '0')}`,
    type: 'VM',
    name_label: `vm ${index}`,
    name_description: '',
    tags: ['production', 'web'],
    power_state: 'Running',
    $container: 'host',
    $pool: 'pool',
    current_operations: {},
    CPUs: { number: 2, max: 4 },
    memory: { size: memory, usage: memory, dynamic: [1, 2 ** 31], static: [1, 2 ** 31] },
    startTime: 1_700_000_000,
    VIFs: [],
    addresses: { '0/ipv4/0': '192.0.2.1', '0/ipv6/0': `2001:db8::${index}` },
    mainIpAddress: '192.0.2.1',
    ...changes,
  }
}

/** What is kept of a pool that is away: while it is in sight, most of its texts are shared with XO's objects. */
export const keptStates: Figure = async report => {
  const OBJECTS = 20_000
  const host = await startHost([{ name: 'watcher', method: 'vm.* host.* pool.*', url: 'http://127.0.0.1:9/' }])
  const heap = async (): Promise<number> => {
    await sleep(2_500) // the last states are on disk
    globalThis.gc?.()
    return process.memoryUsage().heapUsed
  }
  const before = await heap()
  const pool = { id: 'pool', type: 'pool', name_label: 'pool', $pool: 'pool', master: 'host' }
  let end = host.objects.bufferEvents()
  host.objects.set(pool.id, pool)
  for (let i = 0; i < OBJECTS; ++i) {
    const vm = vmOf(i, 2 ** 31, { tags: [`tag ${i}`, 'production'] })
    host.objects.set(vm.id, vm)
  }
  end()
  await sleep(1)
  end = host.objects.bufferEvents()
  host.objects.clear()
  end()
  report(valueRow('memory of the state of a VM', ((await heap()) - before) / OBJECTS, 'bytes', KIB, 0))
  await host.close()
}

export const objectUpdates: Figure = async report => {
  const OBJECTS = 10_000
  const ROUNDS = 15
  const receiver = await startReceiver()
  const methods = [
    'vm.started',
    'vm.halted vm.suspended',
    'vm.migrated',
    'vm.renamed vm.rebooted',
    'vm.created sr.full',
    'vm.addressChanged',
    'vm.resized vm.changed',
    'vm.tagged vm.untagged',
    'disk.* vif.*',
    'host.* pool.*',
  ]
  const hooks = methods.map((method, index) => ({ name: `hook ${index}`, method, url: `${receiver.url}/${index}` }))
  const plugin = await startHost([])
  const watching = await startHost(hooks)
  /** How long the flush takes; `changed` of the objects have another name. */
  const flush = (host: typeof plugin, round: number, changed: number): number => {
    const end = host.objects.bufferEvents()
    for (let i = 0; i < OBJECTS; ++i) {
      const vm = vmOf(i, round, i < changed ? { name_label: `vm ${i}, ${round}` } : {})
      host.objects.set(vm.id, vm)
    }
    return timed(end)
  }
  const pool = { id: 'pool', type: 'pool', name_label: 'pool', $pool: 'pool', master: 'host' }
  for (const host of [plugin, watching]) {
    host.objects.set(pool.id, pool)
    flush(host, 0, 0)
    await sleep(1)
  }
  const without: number[] = []
  const quiet: number[] = []
  const busy: number[] = []
  let told = 0
  for (let round = 1; round <= ROUNDS; ++round) {
    without.push(flush(plugin, round, 0))
    quiet.push(flush(watching, round, 0))
    await receiver.received(told)
    // one that changes also changes back in the next flush
    busy.push(flush(watching, round + 0.5, 100))
    told += 200
    flush(watching, round + 0.7, 0)
    await receiver.received(told, 10_000)
  }
  // told in the turns after the flush
  const most: number[] = []
  for (let round = 1; round <= 3; ++round) {
    most.push(flush(watching, round / 7, OBJECTS))
    told += OBJECTS
    await receiver.received(told)
  }
  await plugin.close()
  await watching.close()
  receiver.close()
  report(valueRow('the whole flush, when nothing that counts has changed', median(quiet), 'ms', 50))
  report(valueRow('the whole flush, when 100 of them are events', median(busy), 'ms', 50))
  report(valueRow('the whole flush, when all of them are events', median(most), 'ms', 50))
  report(valueRow('the whole flush without state hooks', median(without), 'ms'))
}
