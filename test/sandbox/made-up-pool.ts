import { randomBytes, randomUUID } from 'node:crypto'
import { invalidCredentials, noMatchingVm } from 'xo-common/api-errors.js'
import type { ApiDefinition, ApiMethodOptions, Host, JobRun, User, XoObject } from './host.ts'
import type { Plugins } from './plugins.ts'

/** Ids of what there is in every sandbox. */
export const ids = {
  pool: '7b3f6d53-0a0f-4d0e-9b8a-2f6a2c1d5e01',
  host: 'c1d0b6a2-5d0e-4f4d-8c55-6f1e4c9f7a02',
  otherHost: 'c1d0b6a2-5d0e-4f4d-8c55-6f1e4c9f7a12',
  haltedVm: '67aac198-0174-11ea-8d71-362b9e155667',
  runningVm: '0f4a9f0e-3c3d-4c55-a6a8-9f7e6a1b8c04',
  network: 'd3a7b1c4-6b0d-4f6e-9a2c-5e8f7b1c0d08',
  sr: '5b8c2f1a-9e4d-4b7c-8a6f-2d1e0c9b3a09',
  pbd: '1f7e6d5c-4b3a-4291-8f0e-7d6c5b4a3f10',
  vif: '4f0f3a52-7a5e-4f6c-8f43-2b6f0c9d7e11',
  template: '9a1d7c66-7c0b-45a8-b7f3-1d9b0c5e2f05',
  job: 'b2e7c7f0-5a5e-4d9b-8f7e-3c1a9d4f6b06',
  schedule: 'e4c9a1d8-2b6f-4e3a-9d5c-7f0b1a8e3c07',
  metadataJob: '4d1f6b8a-7c2e-4a59-8e0d-6b3c9f2a1d08',
  metadataSchedule: '5e2a7c9b-8d3f-4b6a-9f1e-7c4d0a3b2e09',
  mirrorJob: '6f3b8dac-9e40-4c7b-a02f-8d5e1b4c3f0a',
  mirrorSchedule: '704c9ebd-af51-4d8c-b130-9e6f2c5d400b',
} as const

const ID = { type: 'string' }
const ADMIN: ApiMethodOptions = { permission: 'admin' }
const ANYONE: ApiMethodOptions = { permission: null }

const RUN_JOB: ApiDefinition = [
  function (this: Host, { id, schedule }: { id: string; schedule: string }) {
    return this.runJobSequence([id], this.getSchedule(schedule))
  },
  { ...ADMIN, params: { id: { type: 'string' }, schedule: { type: 'string' } } },
]

/** Fills `host` with a user, a pool with its hosts, VMs, SR and network, and a backup job of each type with its schedule. */
export function populate(host: Host): void {
  addUser(host, 'admin@admin.net', 'admin', 'admin')

  const inPool = { $pool: ids.pool, $poolId: ids.pool, tags: [] }
  const vm = {
    ...inPool,
    type: 'VM',
    name_description: '',
    CPUs: { number: 2, max: 4 },
    memory: { size: 2 ** 31 },
    addresses: {},
    current_operations: {},
    VIFs: [],
    // what a snapshot of an object has no business with
    other: { 'xo:secret': 's3cret' },
    xenStoreData: { 'vm-data/password': 's3cret' },
  }
  const objects: XoObject[] = [
    { ...inPool, id: ids.pool, type: 'pool', name_label: 'made-up pool', master: ids.host },
    { ...inPool, id: ids.host, type: 'host', name_label: 'made-up host', power_state: 'Running', enabled: true },
    { ...inPool, id: ids.otherHost, type: 'host', name_label: 'other host', power_state: 'Running', enabled: true },
    { ...inPool, id: ids.network, type: 'network', name_label: 'LAN' },
    {
      ...inPool,
      id: ids.sr,
      type: 'SR',
      name_label: 'storage',
      SR_type: 'nfs',
      content_type: 'user',
      shared: true,
      size: 1000,
      physical_usage: 500,
      $container: ids.pool,
      $PBDs: [ids.pbd],
    },
    { ...inPool, id: ids.pbd, type: 'PBD', name_label: '', SR: ids.sr, host: ids.host, attached: true },
    {
      ...inPool,
      id: ids.vif,
      type: 'VIF',
      name_label: '',
      device: '0',
      MAC: '02:00:00:00:00:04',
      $network: ids.network,
      $VM: ids.runningVm,
    },
    { ...vm, id: ids.haltedVm, name_label: 'web-1', $container: ids.pool, power_state: 'Halted' },
    {
      ...vm,
      id: ids.runningVm,
      name_label: 'database',
      $container: ids.host,
      power_state: 'Running',
      startTime: 1_700_000_000,
      tags: ['production'],
      mainIpAddress: '192.0.2.4',
      addresses: { '0/ipv4/0': '192.0.2.4' },
      VIFs: [ids.vif],
    },
    { ...vm, id: ids.template, type: 'VM-template', name_label: 'Debian 12', power_state: 'Halted' },
  ]
  host.setObjects(...objects)

  host.registerJobExecutor('backup', backUpVms)
  host.registerJobExecutor('metadataBackup', backUpMetadata)
  host.registerJobExecutor('mirrorBackup', mirror)
  host.createJob({
    id: ids.job,
    type: 'backup',
    name: 'nightly',
    settings: { '': { reportWhen: 'failure' } },
    vms: { id: { __or: [ids.haltedVm, ids.runningVm] } },
  })
  host.createSchedule({ id: ids.schedule, jobId: ids.job, name: 'every night' })
  host.createJob({ id: ids.metadataJob, type: 'metadataBackup', name: 'metadata', settings: {}, pools: [ids.pool] })
  host.createSchedule({ id: ids.metadataSchedule, jobId: ids.metadataJob, name: 'every night' })
  host.createJob({ id: ids.mirrorJob, type: 'mirrorBackup', name: 'mirror', settings: {}, sourceRemote: 'remote' })
  host.createSchedule({ id: ids.mirrorSchedule, jobId: ids.mirrorJob, name: 'every night' })
}

/** The part of xo-server's API that works on the made-up pool, each method as in packages/xo-server/src/api/. */
export function apiMethods(plugins: Plugins): { readonly [namespace: string]: ApiDefinition } {
  return {
    backupNg: {
      createJob: [
        function (this: Host, job: { name?: string; settings?: Record<string, unknown>; vms: unknown }) {
          const { name = 'unnamed', settings = {}, vms } = job
          return this.createJob({ id: randomUUID(), type: 'backup', name, settings, vms }).id
        },
        {
          ...ADMIN,
          params: {
            mode: { enum: ['full', 'delta'] },
            name: { type: 'string', optional: true },
            settings: { type: 'object', additionalProperties: true, optional: true },
            vms: { type: 'object' },
          },
        },
      ],
      getAllJobs: [
        function (this: Host) {
          return this.getAllJobs('backup')
        },
        ADMIN,
      ],
      runJob: RUN_JOB,
    },
    host: {
      restartAgent: [
        () => {},
        {
          description: 'restart the Xen agent on the host',
          params: { id: ID },
          resolve: { host: ['id', 'host', 'administrate'] },
        },
      ],
      restart_agent: 'restartAgent',
    },
    metadataBackup: { runJob: RUN_JOB },
    mirrorBackup: { runJob: RUN_JOB },
    plugin: {
      get: [() => plugins.getAll(), { ...ADMIN, description: 'returns a list of all installed plugins' }],
      configure: [
        ({ id, configuration }: { id: string; configuration: unknown }) => plugins.configure(id, configuration),
        { ...ADMIN, description: 'sets the configuration of a plugin', params: { id: ID, configuration: {} } },
      ],
      disableAutoload: [({ id }: { id: string }) => plugins.setAutoload(id, false), pluginOptions('')],
      enableAutoload: [({ id }: { id: string }) => plugins.setAutoload(id, true), pluginOptions('enables a plugin')],
      load: [({ id }: { id: string }) => plugins.load(id), pluginOptions('loads a plugin')],
      unload: [({ id }: { id: string }) => plugins.unload(id), pluginOptions('unloads a plugin')],
      purgeConfiguration: [({ id }: { id: string }) => plugins.purge(id), pluginOptions('removes a configuration')],
      test: [
        ({ id, data }: { id: string; data?: unknown }) => plugins.test(id, data),
        { ...ADMIN, params: { id: ID, data: { optional: true } } },
      ],
    },
    schedule: {
      runSequence: [
        async function (this: Host, { schedules }: { schedules: string[] }) {
          for (const id of schedules) {
            const schedule = this.getSchedule(id)
            await this.runJob(this.getJob(schedule.jobId), schedule)
          }
        },
        { ...ADMIN, params: { schedules: { type: 'array', items: { type: 'string' } } } },
      ],
    },
    session: {
      getUser: [
        function (this: Host) {
          // Open to anyone, and yet an error for who has not signed in: as in packages/xo-server/src/api/session.mjs.
          return publicUser(this.apiContext!.user!)
        },
        ANYONE,
      ],
      signIn: [signIn, { ...ANYONE, description: 'sign in' }],
      signOut: function (this: Host) {
        this.apiContext?.connection?.unset('user_id')
      },
    },
    system: {
      getMethodsInfo: [
        function (this: Host) {
          return Object.fromEntries(
            Object.entries(this.apiMethods).map(([name, { description, params = {}, permission }]) => [
              name,
              { description, params, permission },
            ])
          )
        },
        { ...ANYONE, description: 'returns the signatures of all available API methods' },
      ],
    },
    token: {
      create: [
        () => randomBytes(32).toString('base64url'),
        {
          description: 'create a new authentication token',
          params: { description: { type: 'string', optional: true } },
        },
      ],
    },
    user: {
      create: [
        function (this: Host, { email, password, permission }: Pick<User, 'email' | 'password' | 'permission'>) {
          return addUser(this, email, password, permission).id
        },
        {
          ...ADMIN,
          description: 'creates a new user',
          params: {
            email: { type: 'string' },
            password: { type: 'string' },
            permission: { type: 'string', optional: true },
          },
        },
      ],
      getAll: [
        function (this: Host) {
          return [...this.users.values()].map(publicUser)
        },
        ADMIN,
      ],
    },
    vm: {
      convertToTemplate: [
        function (this: Host, { vm }: { vm: XoObject }) {
          this.changeObject(vm.id, { type: 'VM-template' })
        },
        { params: { id: ID }, resolve: { vm: ['id', ['VM', 'VM-snapshot'], 'administrate'] } },
      ],
      convert: 'convertToTemplate',
      create: [
        function (
          this: Host,
          { template, name_label, pending }: { template: string; name_label: string; pending?: boolean }
        ) {
          const id = randomUUID()
          const vm = { ...this.getObject(template, 'VM-template'), id, uuid: id, name_label, $container: ids.pool }
          if (pending === true) {
            // the pool is slow to say so
            return id
          }
          // a clone of the template first, and a template itself
          this.setObjects(vm)
          setImmediate(() => this.changeObject(id, { type: 'VM' }))
          return id
        },
        {
          ...ADMIN,
          params: {
            name_label: { type: 'string' },
            template: { type: 'string' },
            pending: { type: 'boolean', optional: true },
          },
        },
      ],
      delete: [
        function (this: Host, { vm }: { vm: XoObject }) {
          this.removeObjects(vm.id, ...((vm['VIFs'] as string[] | undefined) ?? []))
        },
        { params: { id: ID }, resolve: { vm: ['id', ['VM', 'VM-snapshot', 'VM-template'], 'administrate'] } },
      ],
      set: [
        function (this: Host, { vm, ...changes }: { vm: XoObject }) {
          this.changeObject(vm.id, changes)
        },
        {
          params: {
            id: ID,
            name_label: { type: 'string', optional: true },
            name_description: { type: 'string', minLength: 0, optional: true },
          },
          resolve: { vm: ['id', ['VM', 'VM-snapshot', 'VM-template'], 'administrate'] },
        },
      ],
      start: [
        function (this: Host, { vm }: { vm: XoObject }) {
          changePower(this, vm, 'Halted', { power_state: 'Running', $container: ids.host })
        },
        {
          params: { force: { type: 'boolean', optional: true }, id: ID },
          resolve: { vm: ['id', 'VM', 'operate'] },
        },
      ],
      stop: [
        function (this: Host, { vm }: { vm: XoObject }) {
          changePower(this, vm, 'Running', { power_state: 'Halted', $container: ids.pool })
        },
        {
          params: { force: { type: 'boolean', optional: true }, id: ID },
          resolve: { vm: ['id', 'VM', 'operate'] },
        },
      ],
    },
    xo: {
      // The live index and no copy, as on the host: a listener of `xo:postCall` sees the very same object.
      getAllObjects: function (this: Host) {
        return this.objects.all
      },
    },
  }
}

function pluginOptions(description: string): ApiMethodOptions {
  return { ...ADMIN, description, params: { id: ID } }
}

function addUser(host: Host, email: string, password: string, permission: User['permission'] = 'none'): User {
  if ([...host.users.values()].some(user => user.email === email)) {
    throw new Error(`the user ${email} already exists`)
  }
  const user = { id: randomUUID(), email, name: email, password, permission }
  host.users.set(user.id, user)
  return user
}

function publicUser({ email, id, permission }: User): object {
  return { id, email, permission, groups: [], preferences: {} }
}

function signIn(this: Host, credentials: { email?: string; username?: string; password?: string }): object {
  const { password, email = credentials.username } = credentials
  const user = [...this.users.values()].find(candidate => candidate.email === email)
  const connection = this.apiContext?.connection
  if (user === undefined || user.password !== password) {
    this.emit('xo:audit', 'signInFailed', { userId: user?.id, userName: email, userIp: connection?.get('user_ip') })
    return invalidCredentials()
  }
  connection?.set('user_id', user.id)
  return publicUser(user)
}

/** The pool's own error, of which only the client gets a translation (packages/xen-api/_XapiError.mjs). */
function changePower(host: Host, vm: XoObject, from: string, changes: Partial<XoObject>): void {
  if (vm.power_state !== from) {
    const params = [vm.id, from, vm.power_state]
    const error = new Error(`VM_BAD_POWER_STATE(${params.join(', ')})`)
    throw Object.assign(error, { name: 'XapiError', code: 'VM_BAD_POWER_STATE', params })
  }
  host.changeObject(vm.id, changes)
}

/**
 * A backup that saves nothing. It fails early if there is none of its VMs; that of a VM with a `backupError` fails, and
 * the run all the same ends as if nothing were wrong, since the host's worker only tells by its task.
 */
async function backUpVms({ app, data, job, jobData, runJobId, schedule }: JobRun): Promise<void> {
  const { id } = (job.vms ?? {}) as { id?: string | { __or: string[] } }
  const wanted = (data as { vms?: string[] } | undefined)?.vms ?? (typeof id === 'string' ? [id] : id?.__or) ?? []
  const found = wanted.filter(vm => app.objects.all[vm]?.type === 'VM')
  if (wanted.length > 0 && found.length === 0) {
    noMatchingVm({ jobId: job.id, runJobId, scheduleId: schedule?.id })
  }
  await app.tasks.createBackup({ name: 'backup run', ...jobData }).run(async task => {
    for (const vm of found) {
      const { name_label, backupError } = app.objects.all[vm]!
      const part = task.part({ id: vm, name: 'backup VM', name_label, type: 'VM' })
      await part.run(() => failIf(backupError)).catch(() => {})
    }
  })
}

/** It fails for pools that there are not, and says nothing useful then. */
async function backUpMetadata({ app, job, jobData }: JobRun): Promise<void> {
  const task = app.tasks.createBackup({ name: 'backup run', ...jobData })
  await task.run(async () => {
    for (const id of job.pools ?? []) {
      const part = task.part({ id, name: 'backup pool', type: 'pool' })
      await part.run(() => failIf(app.objects.all[id] === undefined && `no such pool ${id}`)).catch(() => {})
    }
  })
  if (task.log.status === 'failure') {
    throw new Error('backup task failed with undefined error')
  }
}

/** It fails before there is a task, if it has no source. */
async function mirror({ app, job, jobData }: JobRun): Promise<void> {
  failIf(job.sourceRemote === undefined && "couldn't instantiate source remote")
  await app.tasks.createBackup({ name: 'backup run', ...jobData }).run(() => {})
}

function failIf(message: unknown): void {
  if (typeof message === 'string') {
    throw new Error(message)
  }
}
