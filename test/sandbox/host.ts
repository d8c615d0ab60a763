import emitAsync from '@xen-orchestra/emit-async'
import { createLogger } from '@xen-orchestra/log'
import { Ajv, type ValidateFunction } from 'ajv'
import { JsonRpcError, MethodNotFound } from 'json-rpc-peer'
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { Collection } from 'xo-collection'
import { Index } from 'xo-collection/index.js'
import type { RestRoute } from '../../src/xo.ts'
import {
  invalidCredentials,
  invalidParameters,
  noSuchObject,
  unauthorized,
  vmBadPowerState,
} from 'xo-common/api-errors.js'
import { Config, type Params } from './config.ts'
import { RestApi } from './rest.ts'
import { Tasks } from './tasks.ts'
import { Web, type WebHandler } from './web.ts'

const logApi = createLogger('xo:api')
const logHooks = createLogger('xo:mixins:hooks')
const logJobs = createLogger('xo:jobs')

export interface User {
  id: string
  /** The login; the host repeats it as `name`. */
  email: string
  name: string
  password: string
  permission: 'admin' | 'none'
}

/** A made-up object of the pool; the plugin sees what xo-server would show of it. Frozen: a change is a new object. */
export interface XoObject {
  readonly id: string
  readonly type: string
  readonly name_label: string
  readonly [property: string]: unknown
}

export interface Job {
  id: string
  type: string
  name: string
  userId?: string | undefined
  proxy?: string | undefined
  settings: Record<string, unknown>
  /** Of VM backups. */
  vms?: unknown
  /** Of metadata backups. */
  pools?: readonly string[] | undefined
  /** Of mirror backups. */
  sourceRemote?: string | undefined
}

/** A record of the log of jobs (packages/xo-server/src/xo-mixins/logs). */
interface LogRecord {
  namespace: string
  time: number
  data: Params
}

export interface Schedule {
  id: string
  jobId: string
  name: string
}

/** What a job's executor is given, of what packages/xo-server/src/xo-mixins/jobs/index.mjs hands over. */
export interface JobRun {
  app: Host
  connection: Connection
  data: unknown
  job: Job
  jobData: Params
  runJobId: string
  schedule: Schedule | undefined
}

export interface ApiMethodOptions {
  description?: string | undefined
  /** XO's dialect of JSON schema: a property is required unless it says `optional`. */
  params?: Record<string, XoSchema> | undefined
  /** `null`: anyone; `undefined`: whoever has signed in; otherwise that permission at least. */
  permission?: string | null | undefined
  /** `{ vm: ['id', 'VM', 'operate'] }` puts the VM whose id is `params.id` in its place, as `vm`. */
  resolve?: Record<string, readonly [param: string, types: string | readonly string[], permission?: string]> | undefined
}

/** An implementation names the parameters it asked for in `params`: hence `never`, which any of them accepts. */
export type ApiImplementation = ((this: Host, params: never) => unknown) & ApiMethodOptions

/** An alias, an implementation, one with its options, or a namespace of those. */
export type ApiDefinition =
  | string
  | ApiImplementation
  | readonly [ApiImplementation, ApiMethodOptions]
  | { readonly [name: string]: ApiDefinition }

export type ApiMethod = ((this: Host, params: Params) => unknown) &
  ApiMethodOptions & { validate?: ValidateFunction | undefined }

interface XoSchema {
  [keyword: string]: unknown
  enum?: readonly unknown[]
  items?: XoSchema
  optional?: boolean
  properties?: Record<string, XoSchema>
  type?: string | readonly string[]
}

interface ApiContext {
  user?: User
  permission: string
  connection?: Connection
}

const METHOD_OPTIONS = new Set(['description', 'params', 'permission', 'resolve'])
const PERMISSIONS = ['none', 'read', 'write', 'admin']
const SENSITIVE_NAMES = new Set(['token', 'passphrase', 'encryptionKey'])

const paramsAjv = new Ajv({ allErrors: true, allowUnionTypes: true, useDefaults: true })

/** A copy of `value` where every string under a sensitive name reads `replacement` (@vates/obfuscate/index.js). */
export function obfuscate(value: unknown, replacement: string, name = ''): unknown {
  if (typeof value === 'string') {
    return isSensitive(name) ? replacement : value
  }
  if (typeof value !== 'object' || value === null) {
    return value
  }
  if (Array.isArray(value)) {
    return value.map((item, index) => obfuscate(item, replacement, String(index)))
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, obfuscate(item, replacement, key)]))
}

/** What an error looks like in an event (`serializeError` of packages/xo-server/src/utils.mjs). */
export function serializeError(error: unknown): object {
  const { code, message, name, stack } = error as NodeJS.ErrnoException
  return { ...(error as object), code, message, name, stack }
}

/** One client of the API, with what is known of it (packages/xo-server/src/connection.mjs). */
export class Connection extends EventEmitter {
  readonly #data = new Map<string, unknown>()
  #closed = false

  get(key: string): unknown {
    return this.#data.get(key)
  }

  set(key: string, value: unknown): void {
    this.#data.set(key, value)
  }

  unset(key: string): void {
    this.#data.delete(key)
  }

  close(): void {
    if (!this.#closed) {
      this.#closed = true
      this.emit('close')
    }
  }
}

/** Listeners which the host waits for when it stops (@xen-orchestra/mixins/Hooks.mjs). */
class Hooks extends EventEmitter {
  /** Runs the listeners of 'stop' side by side and waits for all of them, without a limit; then those of 'stop core'. */
  async stop(): Promise<void> {
    for (const hook of ['stop', 'stop core']) {
      await Promise.all(
        this.listeners(hook).map(async listener => {
          try {
            await listener.call(this)
          } catch (error) {
            logHooks.warn(`${hook} failure`, { error })
          }
        })
      )
    }
    this.emit('stopped')
  }
}

/**
 * Stands in for xo-server's app: what a plugin is given as `xo`. It keeps the host's order of things, its shortcomings
 * included (packages/xo-server/src/xo-mixins/{api,http}.mjs and jobs/index.mjs), and keeps its records in memory.
 *
 * As on the host, the methods are own properties, bound and writable: a plugin may keep, call or replace each alone.
 */
export class Host extends EventEmitter {
  readonly apiMethods: Record<string, ApiMethod> = Object.create(null)
  readonly config: Config
  readonly hooks = new Hooks()
  readonly objects = objectCollection()
  readonly rest = new RestApi()
  readonly runningJobs: Record<string, string> = Object.create(null)
  readonly tasks = new Tasks()
  readonly users = new Map<string, User>()
  readonly web = new Web()

  /** Of the registry of plugins, which is made after the host. */
  configurePlugin: ((id: string, configuration: unknown) => Promise<void>) | undefined

  readonly #context = new AsyncLocalStorage<ApiContext>()
  readonly #executors = new Map<string, (run: JobRun) => unknown>()
  readonly #jobs = new Map<string, Job>()
  readonly #logs = new Map<string, LogRecord>()
  readonly #schedules = new Map<string, Schedule>()
  /** Ids of users, by their tokens. */
  readonly #tokens = new Map<string, string>()
  #runs = 0

  constructor(config: Params) {
    super()
    this.config = new Config(config)

    const restoreEnvironment = this.config.shareProxy()
    // The real host takes its environment to the grave; this one shares it with what runs after.
    this.hooks.on('stopped', restoreEnvironment)
  }

  /** What is known of the call that is being handled; a new object for each call. */
  get apiContext(): ApiContext | undefined {
    return this.#context.getStore()
  }

  /** Adds a method, or the name `method` is also known by. Returns its undo. */
  addApiMethod = (name: string, method: ApiImplementation | string, options: ApiMethodOptions = {}): (() => void) => {
    const methods = this.apiMethods
    if (name in methods) {
      throw new Error(`API method ${name} already exists`)
    }
    if (typeof method === 'string') {
      Object.defineProperty(methods, name, { configurable: true, enumerable: true, get: () => methods[method] })
    } else {
      const stray = Object.keys(method).find(key => !METHOD_OPTIONS.has(key))
      if (stray !== undefined) {
        throw new Error(`invalid prop ${stray} for API method ${name}`)
      }
      const { description, params, permission, resolve } = { ...method, ...options }
      const validate =
        params === undefined
          ? undefined
          : paramsAjv.compile(toJsonSchema({ type: 'object', properties: structuredClone(params) }))
      methods[name] = Object.assign(
        function apiWrapper(this: Host, given: Params) {
          return method.call(this, given as never)
        },
        { description, params, permission, resolve, validate }
      )
    }
    let removed = false
    return () => {
      if (!removed) {
        removed = true
        delete methods[name]
      }
    }
  }

  /** Adds all methods of a namespace, or none. */
  addApiMethods = (definitions: { readonly [name: string]: ApiDefinition }): (() => void) => {
    const undo: (() => void)[] = []
    const addAll = (namespace: { readonly [name: string]: ApiDefinition }, base: string): void => {
      for (const [name, definition] of Object.entries(namespace)) {
        if (typeof definition === 'string') {
          undo.push(this.addApiMethod(base + name, base + definition))
        } else if (typeof definition === 'function') {
          undo.push(this.addApiMethod(base + name, definition))
        } else if (isPair(definition)) {
          undo.push(this.addApiMethod(base + name, ...definition))
        } else {
          addAll(definition, `${base}${name}.`)
        }
      }
    }
    try {
      addAll(definitions, '')
    } catch (error) {
      undo.forEach(remove => remove())
      throw error
    }
    return () => undo.forEach(remove => remove())
  }

  /** Adds routes below `/rest/v0` and `base`. Returns its undo. */
  registerRestRoutes = (routes: readonly RestRoute[], base = '/'): (() => void) => this.rest.register(routes, base)

  createApiConnection = (remoteAddress?: string): Connection => {
    const connection = new Connection()
    connection.set('user_ip', remoteAddress)
    return connection
  }

  callApiMethod = async (connection: Connection, name: string, params: Params = {}): Promise<unknown> => {
    // Before anything is emitted; the entry is read here, so that what a listener of `xo:preCall` replaces counts later.
    const method = this.apiMethods[name]
    if (method === undefined) {
      throw new MethodNotFound(name)
    }
    const userId = connection.get('user_id') as string | undefined
    const user = userId === undefined ? undefined : this.getUser(userId)
    return this.runWithApiContext(user, () => {
      this.apiContext!.connection = connection
      return this.#callApiMethod(name, method, { ...params }, connection, user)
    })
  }

  runWithApiContext = <T>(user: User | undefined, work: () => T): T => {
    const context: ApiContext = Object.create(null)
    Object.assign(context, user === undefined ? { permission: 'none' } : { user, permission: user.permission })
    return this.#context.run(context, work)
  }

  /** What `POST …/actions/*` of the REST API does (@xen-orchestra/rest-api/src/abstract-classes/base-controller.mts). */
  runRestAction = <T>(user: User, label: string, properties: Params, action: () => T | Promise<T>): Promise<T> =>
    this.runWithApiContext(user, () =>
      this.tasks
        .create({ ...properties, name: `REST API: ${label}`, type: 'xo:rest-api:action', userId: user.id })
        .run(action)
    )

  /** The action `run schedule`. */
  runScheduleByRest = (user: User, id: string): Promise<void> =>
    this.runRestAction(user, 'run schedule', { objectId: id }, async () => {
      await this.#useDatabase()
      const schedule = this.getSchedule(id)
      await this.runJob(this.getJob(schedule.jobId), schedule)
    })

  getUser = (id: string | undefined): User => {
    // Without an id, the host answers with any user at all: it is how a backup comes by the name of someone else.
    const user = id === undefined ? this.users.values().next().value : this.users.get(id)
    return user ?? noSuchObject(id, 'user')
  }

  getObject = (id: string, types?: string | readonly string[]): XoObject => {
    const object = this.objects.all[id]
    if (object === undefined || (types !== undefined && !types.includes(object.type))) {
      return noSuchObject(id, types)
    }
    return object
  }

  /**
   * Adds objects, or puts them in the place of those with the same ids, as xo-server does with what it hears of a pool
   * (`_onXenAdd` of packages/xo-server/src/xo-mixins/xen-servers.mjs). Listeners hear of it in the next tick.
   */
  setObjects = (...objects: readonly XoObject[]): void => {
    for (const object of objects) {
      this.objects.set(object.id, Object.freeze({ uuid: object.id, ...object }))
    }
  }

  changeObject = (id: string, changes: Partial<XoObject>): void => {
    this.setObjects({ ...this.getObject(id), ...changes })
  }

  removeObjects = (...ids: readonly string[]): void => {
    ids.forEach(id => this.objects.unset(id))
  }

  /** XO loses a pool with all that is in it, in one flush (`uninstall` in xen-servers.mjs). Returns what comes back. */
  disconnectPool = (id: string): XoObject[] => {
    const gone = Object.values(this.objects.all).filter(object => object['$pool'] === id)
    this.removeObjects(...gone.map(object => object.id))
    // the server's record, with the password of the pool: nobody should look at it
    this.emit('server:disconnected', { server: { id: `server of ${id}`, username: 'root', password: 's3cret' } })
    return gone
  }

  connectPool = (objects: readonly XoObject[]): void => {
    this.setObjects(...objects)
    const [pool] = objects
    this.emit('server:connected', { server: { id: `server of ${pool?.id}`, username: 'root', password: 's3cret' } })
  }

  /** Whoever asks for exactly this path, by whatever method, is answered by `handler`, signed in or not. */
  registerHttpRequestHandler = (path: string, handler: WebHandler): Promise<() => void> =>
    this.web.register(path, handler)

  authenticateUser = async ({ token }: { token?: string }): Promise<{ user: User }> => ({
    user: this.userOfToken(token) ?? invalidCredentials(),
  })

  createToken = (user: User): string => {
    const token = randomUUID()
    this.#tokens.set(token, user.id)
    return token
  }

  userOfToken = (token: string | undefined): User | undefined =>
    token === undefined ? undefined : this.users.get(this.#tokens.get(token) ?? '')

  /** Ends all sessions. */
  forgetTokens = (): void => this.#tokens.clear()

  /** Exposes `value` as `xo[name]`, as transport plugins do with `sendEmail`. Returns its undo. */
  defineProperty = (name: string, value: unknown, thisArg: unknown = null): (() => void) => {
    if (name in this) {
      throw new Error(`Xo#${name} is already defined`)
    }
    const exposed = typeof value === 'function' ? (...args: unknown[]) => Reflect.apply(value, thisArg, args) : value
    Object.defineProperty(this, name, { configurable: true, value: exposed })
    return () => {
      Reflect.deleteProperty(this, name)
    }
  }

  getStore = async (namespace: string) => {
    const logs = namespace === 'logs' ? this.#logs : new Map<string, LogRecord>()
    return {
      get: async (key: string): Promise<LogRecord> => logs.get(key) ?? noSuchObject(key, 'log'),
      async *createReadStream({ reverse = false, limit = Infinity }) {
        const entries = [...logs].map(([key, value]) => ({ key, value: structuredClone(value) }))
        yield* (reverse ? entries.reverse() : entries).slice(0, limit)
      },
    }
  }

  /** What it writes is in the store `logs` (packages/xo-server/src/xo-mixins/logs/loggers/abstract.mjs). */
  getLogger = async (namespace: string) => {
    const write = (data: Params): string => {
      const id = `${Date.now()}:${this.#runs++}`
      this.#logs.set(id, { namespace, time: Date.now(), data: { ...data } })
      return id
    }
    return {
      notice: (_message: string, data: object): string => write(data as Params),
      error: async (_message: string, data: object): Promise<string> => write(data as Params),
    }
  }

  registerJobExecutor = (type: string, executor: (run: JobRun) => unknown): void => {
    if (this.#executors.has(type)) {
      throw new Error(`there is already a job executor for type ${type}`)
    }
    this.#executors.set(type, executor)
  }

  createJob = (job: Job): Job => {
    this.#jobs.set(job.id, structuredClone(job))
    return job
  }

  createSchedule = (schedule: Schedule): Schedule => {
    this.#schedules.set(schedule.id, { ...schedule })
    return schedule
  }

  getAllJobs = (type?: string): Job[] => [...this.#jobs.values()].filter(job => type === undefined || job.type === type)

  getJob = (id: string): Job => structuredClone(this.#jobs.get(id) ?? noSuchObject(id, 'job'))

  getSchedule = (id: string): Schedule => ({ ...(this.#schedules.get(id) ?? noSuchObject(id, 'schedule')) })

  runJob = (job: Job, schedule?: Schedule, data?: unknown): Promise<void> => this.#runJob(job, schedule, data)

  runJobSequence = async (ids: readonly string[], schedule?: Schedule, data?: unknown): Promise<void> => {
    for (const job of ids.map(id => this.getJob(id))) {
      // Not `this.runJob`: a plugin that replaced it is not asked, here as on the host.
      await this.#runJob(job, schedule, data)
    }
  }

  /** What cron does when the time has come: no API call, no user, and nobody to tell of a failure. */
  runSchedule = async (id: string): Promise<void> => {
    const schedule = this.getSchedule(id)
    await this.runJobSequence([schedule.jobId], schedule).catch(() => {})
  }

  /** What is left of a run when the host stops meanwhile; {@link announceInterrupted} is what the next start says of it. */
  interruptRun = (job: Job, schedule: Schedule): string => this.#logStart(job, schedule).runJobId

  announceInterrupted = (runJobId: string, type: string): void => {
    this.emit('job:terminated', runJobId, { type })
  }

  /** Takes what the host takes for it: tasks are told of in the meantime. */
  async #useDatabase(): Promise<void> {
    await new Promise(setImmediate)
  }

  #logStart(job: Job, schedule: Schedule | undefined): { jobData: Params; runJobId: string } {
    const { id, type, name, userId } = job
    const runJobId = `${Date.now()}:${this.#runs++}`
    const isBackup = type !== 'call'
    const jobData: Params = {
      ...(isBackup && { data: { reportWhen: 'failure' } }),
      ...{ event: 'job.start', userId, jobId: id, jobName: name, scheduleId: schedule?.id, type },
    }
    this.#logs.set(runJobId, { namespace: 'jobs', time: Date.now(), data: { ...jobData } })
    jobData.runJobId = runJobId
    return { jobData, runJobId }
  }

  async #logEnd(runJobId: string, error?: unknown): Promise<void> {
    await this.#useDatabase()
    const data = { event: 'job.end', runJobId, ...(error !== undefined && { error: serializeError(error) }) }
    this.#logs.set(`${Date.now()}:${this.#runs++}`, { namespace: 'jobs', time: Date.now(), data })
  }

  async #callApiMethod(
    name: string,
    method: ApiMethod,
    params: Params,
    connection: Connection,
    user: User | undefined
  ): Promise<unknown> {
    const userName = user?.email ?? '(unknown user)'
    const data = {
      callId: Math.random().toString(36).slice(2),
      userId: user?.id,
      userName,
      userIp: connection.get('user_ip'),
      method: name,
      params: obfuscate(params, '* obfuscated *'),
      timestamp: Date.now(),
    }
    const emitPostCall = (outcome: { result: unknown } | { error: object }): void => {
      const now = Date.now()
      this.emit('xo:postCall', { ...data, duration: now - data.timestamp, ...outcome, timestamp: now })
    }

    await emitAsync.call(
      this,
      { onError: error => logApi.warn('xo:preCall listener failure', { error }) },
      'xo:preCall',
      data
    )

    try {
      this.#checkPermission(method)
      if (method.validate?.(params) === false) {
        invalidParameters(method.validate.errors)
      }
      const resolved = this.#resolveParams(method, params)
      const returned = await this.tasks
        .create(
          { name: `API call: ${name}`, method: name, params: data.params, type: 'api.call', userId: user?.id },
          { clearLogOnSuccess: true }
        )
        .run(() => method.call(this, resolved))
      const result = returned === undefined ? true : returned

      if (data.method === 'session.signIn') {
        const { id, email } = this.getUser(connection.get('user_id') as string)
        data.userId = id
        data.userName = email
      }
      // Inside the `try`, as on the host: a listener that throws fails a call whose work is done.
      emitPostCall({ result })
      return result
    } catch (error) {
      emitPostCall({ error: serializeError(error) })
      logApi.warn(`${userName} | ${name}(...) [${Date.now() - data.timestamp}ms] =!> ${error}`)
      throw toPeerError(error, user)
    }
  }

  #checkPermission({ permission }: ApiMethod): void {
    const context = this.apiContext
    if (permission === null) {
      return
    }
    if (context?.user === undefined) {
      unauthorized(permission)
    }
    if (permission !== undefined && PERMISSIONS.indexOf(context.permission) < PERMISSIONS.indexOf(permission)) {
      unauthorized(permission)
    }
  }

  #resolveParams({ resolve }: ApiMethod, params: Params): Params {
    if (resolve === undefined) {
      return params
    }
    if (this.apiContext?.user === undefined) {
      unauthorized()
    }
    const resolved = { ...params }
    for (const [key, [param, types, permission = 'administrate']] of Object.entries(resolve)) {
      const id = params[param]
      if (id === undefined || id === null) {
        continue
      }
      const object = this.getObject(String(id), types)
      delete resolved[param]
      resolved[key] = object
      // There are no ACLs here: only an administrator may touch an object.
      if (this.apiContext.permission !== 'admin') {
        unauthorized(permission, object.id)
      }
    }
    return resolved
  }

  async #runJob(job: Job, schedule: Schedule | undefined, data: unknown): Promise<void> {
    const { id, type } = job
    const { jobData, runJobId } = this.#logStart(job, schedule)
    let isRunning = false
    const connection = this.createApiConnection()
    try {
      const executor = this.#executors.get(type)
      if (executor === undefined) {
        throw new Error(`cannot run job (${id}): no executor for type ${type}`)
      }
      if (id in this.runningJobs) {
        throw new Error(`the job (${id}) is already running`)
      }
      this.runningJobs[id] = runJobId
      isRunning = true

      connection.set('user_id', job.userId)
      const run = { app: this, connection, data, job, jobData, runJobId, schedule }
      await (type === 'backup' ? this.#runBackup(run, executor) : executor(run))
      await this.#logEnd(runJobId)
      this.emit('job:terminated', runJobId, { type })
    } catch (error) {
      logJobs.warn(`The execution of ${id} has failed.`, { error })
      await this.#logEnd(runJobId, error)
      this.emit('job:terminated', runJobId, { type })
      throw error
    } finally {
      connection.close()
      if (isRunning) {
        delete this.runningJobs[id]
      }
    }
  }

  async #runBackup(run: JobRun, executor: (run: JobRun) => unknown): Promise<void> {
    const { job, schedule } = run
    // One object for both events, with the job's own settings and VMs in it: the host does not copy them either.
    const data: Params = {
      callId: Math.random().toString(36).slice(2),
      method: 'backupNg.runJob',
      params: { id: job.id, proxy: job.proxy, schedule: schedule?.id, settings: job.settings, vms: job.vms },
      timestamp: Date.now(),
      userId: job.userId,
      userName:
        job.userId === undefined || this.users.has(job.userId) ? this.getUser(job.userId).name : '(unknown user)',
    }
    await emitAsync.call(
      this,
      { onError: error => logJobs.warn('backup:preCall listener failure', { error }) },
      'backup:preCall',
      data
    )
    try {
      await executor(run)
      data.result = true
    } catch (error) {
      data.error = serializeError(error)
      throw error
    } finally {
      const now = Date.now()
      data.duration = now - Number(data.timestamp)
      data.timestamp = now
      this.emit('backup:postCall', data)
    }
  }
}

/** As in packages/xo-server/src/xo.mjs. */
function objectCollection(): Collection<XoObject> {
  const objects = new Collection<XoObject>()
  objects.createIndex('type', new Index('type'))
  return objects
}

function isSensitive(name: string): boolean {
  return SENSITIVE_NAMES.has(name) || /password/i.test(name)
}

function isPair(
  definition: readonly [ApiImplementation, ApiMethodOptions] | { readonly [name: string]: ApiDefinition }
): definition is readonly [ApiImplementation, ApiMethodOptions] {
  return Array.isArray(definition)
}

/** From XO's dialect to standard JSON schema (packages/xo-server/src/xo-mixins/_xoJsonSchema.mjs). */
function toJsonSchema({ optional: _, ...schema }: XoSchema): XoSchema {
  if (schema.enum !== undefined) {
    return schema
  }
  const types = [schema.type ?? []].flat()
  if (types.includes('array') && schema.items !== undefined) {
    schema.items = toJsonSchema(schema.items)
  }
  if (types.includes('object')) {
    const { '*': others, ...properties } = schema.properties ?? {}
    const names = Object.keys(properties)
    schema.additionalProperties ??= others === undefined ? names.length === 0 : toJsonSchema(others)
    schema.required ??= names.filter(name => properties[name]?.optional !== true)
    schema.properties = Object.fromEntries(names.map(name => [name, toJsonSchema(properties[name] ?? {})]))
  }
  if (types.includes('string') && schema.pattern === undefined && schema.format === undefined) {
    schema.minLength ??= 1
  }
  return schema
}

/** What the client is told: XO's word for an error of the pool, and to an administrator also the text of any other. */
function toPeerError(error: unknown, user: User | undefined): unknown {
  const { code, message, params } = error as { code?: unknown; message: string; params?: [string, string, string] }
  if (code === 'VM_BAD_POWER_STATE' && params !== undefined) {
    try {
      const [vm, expected, actual] = params
      return vmBadPowerState({ vm, expected, actual })
    } catch (xoError) {
      return xoError
    }
  }
  if (user?.permission === 'admin' && (error as { toJsonRpcError?: unknown }).toJsonRpcError === undefined) {
    return new JsonRpcError(message, undefined, serializeError(serializeError(error)))
  }
  return error
}
