import { randomUUID } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { text } from 'node:stream/consumers'

/** A pool that xo-server connects to: two hosts, a shared SR, VMs `vm-1` and `vm-3` (halted), `vm-2` (on `host-1`). */
export interface MadeUpPool {
  /** For the `host` of `server.add`; any user and password will do. */
  readonly url: string
  /** By the name of an object. */
  uuid(name: string): string
  /** Behind XO's back, as by `xe`. */
  startVm(name: string): void
  /** As the pool tells it: first a message, then the state. */
  crashVm(name: string): void
  createVm(name: string): void
  destroyVm(name: string): void
  setLive(host: string, isLive: boolean): void
  /** Sessions are forgotten and connections cut. Settles once XO has signed in again. */
  restartToolstack(): Promise<void>
  /** Nothing answers any more at its address. What is done to the pool meanwhile is seen when it is back. */
  die(): Promise<void>
  revive(): Promise<void>
  close(): Promise<void>
}

type Fields = Record<string, unknown>

interface XapiEvent {
  readonly id: number
  readonly class: string
  readonly ref: string
  readonly operation: 'add' | 'mod' | 'del'
}

const NULL = 'OpaqueRef:NULL'
const NEVER = '19700101T00:00:00Z'
const GIB = 1024 ** 3

/** Classes of the XAPI that there are: xo-server watches those that have a `get_all_records`. */
const CLASSES = ['pool', 'host', 'host_metrics', 'VM', 'VM_metrics', 'SR', 'PBD', 'message', 'task'] as const
type Class = (typeof CLASSES)[number]

/**
 * A real pool is never quiet for longer: its metrics change all the time. It counts, as xo-server takes a pool that is
 * back for connected once `event.from` has answered, which on a quiet pool takes a minute (host: xen-servers.mjs,
 * `eventFetchingSuccess`; xen-api/index.mjs, `EVENT_TIMEOUT`).
 */
const BEAT_MS = 500

/** Long enough for XO to see the state between. A real pool takes longer. */
const STEP_MS = 100

/** An error of the XAPI, with its parameters. */
class XapiError extends Error {
  readonly params: readonly string[]

  constructor(code: string, ...params: string[]) {
    super(code)
    this.params = params
  }
}

export async function startMadeUpPool(): Promise<MadeUpPool> {
  const database = new Database()
  const pool = new Pool(database)
  const sessions = new Set<string>()
  const signIns = new EventEmitter()
  const sockets = new Set<Socket>()
  let server: Server
  let port = 0

  const answer = async (body: string): Promise<Fields> => {
    const { id, method, params = [] } = JSON.parse(body) as { id: unknown; method: string; params?: unknown[] }
    const reply = (rest: Fields): Fields => ({ jsonrpc: '2.0', id, ...rest })
    try {
      return reply({ result: await called(method, params) })
    } catch (error) {
      if (!(error instanceof XapiError)) {
        throw error
      }
      return reply({ error: { code: 1, message: error.message, data: error.params } })
    }
  }
  const called = (method: string, params: unknown[]): unknown => {
    const [session, ...args] = params as string[]
    switch (method) {
      case 'session.login_with_password': {
        const opened = newRef()
        sessions.add(opened)
        signIns.emit('signIn')
        return opened
      }
      case 'session.logout':
        sessions.delete(session!)
        return ''
      case 'system.listMethods':
        return CLASSES.map(name => `${name}.get_all_records`)
    }
    if (!sessions.has(session!)) {
      throw new XapiError('SESSION_INVALID', String(session))
    }
    return pool.call(method, args) ?? ''
  }
  const listen = async (): Promise<void> => {
    server = createServer((request, response) => {
      text(request)
        .then(answer)
        .then(reply => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(reply)))
        .catch(() => response.destroy())
    })
    server.on('connection', socket => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const cut = (): void => sockets.forEach(socket => socket.destroy())
  const die = async (): Promise<void> => {
    if (server.listening) {
      const closed = once(server.close(), 'close')
      cut()
      await closed
    }
  }

  await listen()
  const beating = setInterval(() => pool.beat(), BEAT_MS)
  return {
    url: `http://127.0.0.1:${port}`,
    uuid: name => String(database.named(name).record['uuid']),
    startVm: name => void pool.start(database.named(name).ref),
    crashVm: name => pool.crash(database.named(name).ref),
    createVm: name => void pool.createVm(name),
    destroyVm: name => pool.destroy(database.named(name).ref),
    setLive: (name, isLive) => pool.setLive(database.named(name).ref, isLive),
    async restartToolstack() {
      const signedIn = once(signIns, 'signIn')
      sessions.clear()
      cut()
      await signedIn
    },
    die,
    revive: listen,
    async close() {
      clearInterval(beating)
      await die()
    },
  }
}

/** The records of the pool, by class and reference, and what has become of them. */
class Database {
  readonly #tables = new Map<string, Map<string, Fields>>(CLASSES.map(name => [name, new Map<string, Fields>()]))
  readonly #events: XapiEvent[] = []
  readonly #waiting = new Set<() => void>()

  get token(): string {
    return String(this.#events.length)
  }

  /** @throws {@link XapiError}, as a pool does, to which XO knows what to do */
  table(name: string): Map<string, Fields> {
    const table = this.#tables.get(name)
    if (table === undefined) {
      throw new XapiError('MESSAGE_METHOD_UNKNOWN', name)
    }
    return table
  }

  record(name: Class, ref: string): Fields {
    const record = this.table(name).get(ref)
    if (record === undefined) {
      throw new XapiError('HANDLE_INVALID', name, ref)
    }
    return record
  }

  named(name: string): { ref: string; record: Fields } {
    for (const table of this.#tables.values()) {
      for (const [ref, record] of table) {
        if (record['name_label'] === name) {
          return { ref, record }
        }
      }
    }
    throw new Error(`nothing is called ${name}`)
  }

  /** @returns the reference of the record */
  add(name: Class, record: Fields): string {
    const ref = newRef()
    this.table(name).set(ref, { uuid: randomUUID(), ...record })
    this.#tell(name, ref, 'add')
    return ref
  }

  set(name: Class, ref: string, fields: Fields): void {
    Object.assign(this.record(name, ref), fields)
    this.#tell(name, ref, 'mod')
  }

  delete(name: Class, ref: string): void {
    if (this.table(name).delete(ref)) {
      this.#tell(name, ref, 'del')
    }
  }

  #tell(name: string, ref: string, operation: XapiEvent['operation']): void {
    this.#events.push({ id: this.#events.length + 1, class: name, ref, operation })
    this.#waiting.forEach(look => look())
  }

  /** What `event.inject` does: an event of something that has not changed. */
  inject(name: string, ref: string): string {
    this.#tell(name, ref, 'mod')
    return this.token
  }

  /** As `event.from`: waits until there is something; of each record it tells the last state, once. */
  async eventsFrom(token: string, timeoutS: number): Promise<Fields> {
    const since = Number(token)
    if (this.#events.length <= since) {
      await new Promise<void>(resolve => {
        const look = (): void => {
          clearTimeout(timer)
          this.#waiting.delete(look)
          resolve()
        }
        const timer = setTimeout(look, timeoutS * 1_000).unref()
        this.#waiting.add(look)
      })
    }
    const last = new Map(this.#events.slice(since).map(event => [`${event.class} ${event.ref}`, event]))
    return {
      token: this.token,
      valid_ref_counts: Object.fromEntries(CLASSES.map(name => [name.toLowerCase(), this.table(name).size])),
      events: [...last.values()].map(({ id, class: name, ref, operation }) => {
        const snapshot = this.table(name).get(ref)
        return {
          ...{ id: String(id), timestamp: '0', class: name.toLowerCase(), ref },
          ...(snapshot === undefined ? { operation: 'del' } : { operation, snapshot }),
        }
      }),
    }
  }
}

/** What the pool does, by itself and when it is called. */
class Pool {
  readonly #database: Database
  readonly #hosts: readonly string[]

  constructor(database: Database) {
    this.#database = database
    const pool = database.add('pool', { ...poolRecord, name_label: 'made-up pool' })
    this.#hosts = [this.#createHost('host-1', '127.0.0.1'), this.#createHost('host-2', '127.0.0.42')]
    const sr = database.add('SR', { ...srRecord, name_label: 'shared' })
    const pbds = this.#hosts.map(host =>
      database.add('PBD', { host, SR: sr, currently_attached: true, device_config: {}, other_config: {} })
    )
    database.set('SR', sr, { PBDs: pbds })
    database.set('pool', pool, { master: this.#hosts[0], default_SR: sr })
    this.createVm('vm-1')
    this.#run(this.createVm('vm-2'))
    this.createVm('vm-3')
  }

  createVm(name: string): string {
    const metrics = this.#database.add('VM_metrics', { ...vmMetricsRecord })
    return this.#database.add('VM', { ...vmRecord, name_label: name, metrics })
  }

  /** It is paused for a moment, as a real pool tells it. */
  start(vm: string): Promise<void> {
    if (this.#database.record('VM', vm)['power_state'] !== 'Halted') {
      throw new XapiError('VM_BAD_POWER_STATE', vm, 'halted', 'running')
    }
    // XO knows of operations that have a task
    const task = this.#database.add('task', { ...taskRecord, name_label: 'VM.start', created: dateOf(new Date()) })
    this.#database.set('VM', vm, { current_operations: { [task]: 'start' } })
    this.#database.set('VM', vm, { power_state: 'Paused', resident_on: this.#hosts[0] })
    return pause(STEP_MS).then(() => {
      this.#run(vm)
      this.#database.set('VM', vm, { current_operations: {} })
      this.#database.delete('task', task)
    })
  }

  crash(vm: string): void {
    const { uuid: obj_uuid } = this.#database.record('VM', vm)
    this.#database.add('message', {
      ...{ name: 'VM_CRASHED', body: '', cls: 'VM', obj_uuid, priority: 3, timestamp: dateOf(new Date()) },
    })
    this.#database.set('VM', vm, { power_state: 'Halted', resident_on: NULL })
  }

  destroy(vm: string): void {
    this.#database.delete('VM', vm)
  }

  setLive(host: string, live: boolean): void {
    this.#database.set('host_metrics', String(this.#database.record('host', host)['metrics']), { live })
    // what tells XO to look at the host again
    this.#database.set('host', host, { enabled: live })
  }

  beat(): void {
    for (const ref of this.#database.table('host_metrics').keys()) {
      this.#database.set('host_metrics', ref, { last_updated: dateOf(new Date()) })
    }
  }

  /** A method of the XAPI. */
  call(method: string, args: readonly unknown[]): unknown {
    const [name, verb] = method.split(/\.(.*)/s) as [string, string]
    const [ref, key, value] = args as [string, string, unknown]
    const database = this.#database
    switch (method) {
      case 'event.inject':
        return database.inject(...(args as [string, string]))
      case 'event.from':
        return database.eventsFrom(String(args[1]), Number(args[2]))
      case 'VM.start':
        return this.start(ref).then(() => '')
      case 'VM.hard_shutdown':
        return database.set('VM', ref, { power_state: 'Halted', resident_on: NULL })
    }
    if (name === 'Async') {
      return this.#callLater(verb, args)
    }
    const table = database.table(name)
    if (verb === 'get_all_records') {
      return Object.fromEntries(table)
    }
    const [, what, field] = /^(get|set|add_to|remove_from)_(.+)$/.exec(verb) ?? []
    if (what === undefined || field === undefined) {
      throw new XapiError('MESSAGE_METHOD_UNKNOWN', method)
    }
    const record = database.record(name as Class, ref)
    if (field === 'record') {
      return record
    }
    const before = record[field]
    switch (what) {
      case 'get':
        return before
      case 'set':
        return database.set(name as Class, ref, { [field]: key })
      case 'add_to':
        return database.set(name as Class, ref, { [field]: { ...(before as Fields), [key]: value } })
    }
    const { [key]: _, ...rest } = before as Fields
    return database.set(name as Class, ref, { [field]: rest })
  }

  #callLater(method: string, args: readonly unknown[]): string {
    const task = this.#database.add('task', { ...taskRecord, name_label: method, created: dateOf(new Date()) })
    const settle = (fields: Fields): void => {
      if (this.#database.table('task').has(task)) {
        this.#database.set('task', task, { progress: 1, finished: dateOf(new Date()), ...fields })
      }
    }
    Promise.resolve()
      .then(() => this.call(method, args))
      .then(
        () => settle({ status: 'success' }),
        (error: XapiError) => settle({ status: 'failure', error_info: [error.message, ...(error.params ?? [])] })
      )
    return task
  }

  #createHost(name: string, address: string): string {
    const metrics = this.#database.add('host_metrics', { ...hostMetricsRecord })
    return this.#database.add('host', { ...hostRecord, name_label: name, hostname: name, address, metrics })
  }

  #run(vm: string): void {
    const { metrics } = this.#database.record('VM', vm)
    this.#database.set('VM_metrics', String(metrics), { start_time: dateOf(new Date()) })
    this.#database.set('VM', vm, { power_state: 'Running', resident_on: this.#hosts[0] })
  }
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

function newRef(): string {
  return `OpaqueRef:${randomUUID()}`
}

function dateOf(date: Date): string {
  return date.toISOString().replaceAll(/-|\.\d+/g, '')
}

// Of each record, the fields that xo-server reads (packages/xo-server/src/xapi-object-to-xo.mjs).

const operations = { allowed_operations: [], current_operations: {}, other_config: {}, tags: [], name_description: '' }

const poolRecord = {
  ...operations,
  ...{ default_SR: NULL, suspend_image_SR: NULL, crash_dump_SR: NULL, master: NULL, ha_enabled: false },
  ...{ ha_statefiles: [], cpu_info: { cpu_count: '2', socket_count: '1' }, restrictions: {}, vswitch_controller: '' },
}

const hostRecord = {
  ...operations,
  ...{ enabled: true, software_version: { product_brand: 'XCP-ng', product_version: '8.3.0', build_number: '1' } },
  other_config: { boot_time: '1700000000', agent_start_time: '1700000000' },
  cpu_info: { cpu_count: '16', socket_count: '1', modelname: 'made up' },
  ...{ bios_strings: {}, chipset_info: {}, license_params: {}, license_server: {}, logging: {}, capabilities: [] },
  ...{ patches: [], updates: [], updates_requiring_reboot: [], certificates: [], resident_VMs: [], PBDs: [], PIFs: [] },
  ...{ PCIs: [], PGPUs: [], PUSBs: [], host_CPUs: [], power_on_mode: '', iscsi_iqn: '', multipathing: false },
  ...{ suspend_image_SR: NULL, control_domain: NULL, crash_dump_sr: NULL, memory_overhead: 0, pending_guidances: [] },
}

const hostMetricsRecord = { live: true, memory_total: 64 * GIB, memory_free: 32 * GIB, last_updated: NEVER }

const vmRecord = {
  ...operations,
  ...{ power_state: 'Halted', resident_on: NULL, affinity: NULL, appliance: NULL, guest_metrics: NULL, domid: -1 },
  ...{ is_a_template: false, is_a_snapshot: false, is_control_domain: false, snapshot_of: NULL, snapshots: [] },
  ...{ snapshot_time: NEVER, parent: NULL, children: [], VBDs: [], VIFs: [], VGPUs: [], VTPMs: [], VUSBs: [] },
  ...{ consoles: [], attached_PCIs: [], suspend_SR: NULL, suspend_VDI: NULL, HVM_boot_policy: 'BIOS order' },
  ...{ HVM_boot_params: {}, memory_static_min: GIB, memory_static_max: GIB, memory_dynamic_min: GIB },
  ...{ memory_dynamic_max: GIB, memory_target: GIB, VCPUs_max: 1, VCPUs_at_startup: 1, VCPUs_params: {}, PV_args: '' },
  ...{ platform: {}, blocked_operations: {}, bios_strings: {}, xenstore_data: {}, ha_restart_priority: '', NVRAM: {} },
  ...{ start_delay: 0, order: 0, has_vendor_device: false, hardware_platform_version: 0, domain_type: 'hvm' },
  ...{ actions_after_crash: 'restart', recommendations: '', blobs: {}, scheduled_to_be_resident_on: NULL },
}

const vmMetricsRecord = { start_time: NEVER, install_time: NEVER, memory_actual: GIB, VCPUs_number: 1 }

const srRecord = {
  ...operations,
  ...{ type: 'nfs', content_type: 'user', shared: true, PBDs: [], VDIs: [], sm_config: {} },
  ...{ physical_size: 100 * GIB, physical_utilisation: GIB, virtual_allocation: GIB },
}

const taskRecord = {
  ...operations,
  ...{ status: 'pending', progress: 0, result: '', type: '<none/>', error_info: [], finished: NEVER },
  ...{ resident_on: NULL, subtask_of: NULL, subtasks: [] },
}
