import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * The slice of xo-server that is used. Types only: upstream's `@vates/types` is not published and lacks most of it.
 *
 * Sources: packages/xo-server/src/xo-mixins/api.mjs (`apiMethods`, `apiContext`), …/subjects.mjs (`getUser`),
 * …/xen-servers.mjs, …/authentication.mjs,
 * …/jobs/index.mjs (`getJob`, `runningJobs`), …/store.mjs; @xen-orchestra/mixins/{Config,Hooks,Tasks}.mjs.
 */

/**
 * What the host says when something happens, as far as it is relied upon. It is the host's own object: it may change
 * later and holds values of any make.
 *
 * Source: `#callApiMethod` in packages/xo-server/src/xo-mixins/api.mjs; `runJob` in …/xo-mixins/jobs/index.mjs.
 */
export interface Signal {
  readonly callId: string
  readonly method: string
  readonly timestamp: number
  readonly userId?: string | undefined
  readonly userName?: string | undefined
  readonly params?: unknown
  readonly error?: unknown
  readonly [key: string]: unknown
}

export interface ApiMethod {
  /** `null`: open to callers that have not signed in; `undefined`: to every user. */
  readonly permission?: string | null | undefined
}

/** The signals of the host that are listened to, with their arguments. */
export interface XoSignals {
  'xo:preCall': Signal
  'xo:postCall': Signal
  'backup:preCall': Signal
  'backup:postCall': Signal
  'plugins:registered': undefined
}

/**
 * What xo-server knows of its pools. Each flush says what has changed since the one before, by id. The objects are of
 * the host's making: read with care.
 *
 * Source: packages/xo-collection/src/{collection,index}.js.
 */
export interface XoObjects {
  readonly all: Readonly<Record<string, unknown>>
  readonly allIndexes: {
    readonly type: {
      /** Hears before the listeners of the collection. Of what is gone it gives the last that was known. */
      getEventEmitterByType(type: string): {
        on(event: 'remove', listener: (object: undefined, last: unknown) => void): unknown
        removeListener(event: 'remove', listener: (object: undefined, last: unknown) => void): unknown
      }
    }
  }
  on(event: XoObjectsEvent, listener: (items: Readonly<Record<string, unknown>>) => void): unknown
  removeListener(event: XoObjectsEvent, listener: (items: Readonly<Record<string, unknown>>) => void): unknown
}

/** `finish` comes after the others of a flush, if none of their listeners has thrown. */
export type XoObjectsEvent = 'add' | 'update' | 'remove' | 'finish'

/**
 * What the host records of a task. A listener gets the live object, which goes on changing: see `Tasks.mjs` and
 * @vates/task/combineEvents.js.
 */
export interface TaskLog {
  readonly id: string
  readonly properties: Readonly<Record<string, unknown>>
  /** Epoch ms. */
  readonly start: number
  readonly end?: number | undefined
  /** `pending`, then `success` or `failure`; of backups also `skipped`. */
  readonly status: string
  readonly result?: unknown
  readonly tasks?: readonly TaskLog[] | undefined
}

/** The context of what a user does, from its beginning to all that it leads to. */
export interface ApiContext {
  readonly user?: User | undefined
}

export interface User {
  readonly id: string
  readonly email: string
  /** `admin`: may do everything. */
  readonly permission?: string
}

/** A record of the log of jobs: their beginning under the id of the run, their end under an id of its own. */
export interface JobRecord {
  readonly namespace: string
  readonly time: number
  readonly data?: Readonly<Record<string, unknown>>
}

/** What of a job is looked at. */
export interface Job {
  readonly id: string
  readonly type: string
  readonly name?: string | undefined
  readonly userId?: string | undefined
  /** By schedule; what is under `''` holds for all. */
  readonly settings?: Readonly<Record<string, unknown>> | undefined
  readonly [key: string]: unknown
}

export interface JobSchedule {
  readonly id: string
}

/** Writes to the log of jobs. */
export interface JobLogger {
  /** @returns the id of the record */
  notice(message: string, data: object): string
  error(message: string, data: object, settle: true): unknown
}

export interface LogStore {
  /** Rejects if there is none. */
  get(key: string): Promise<JobRecord>
  createReadStream(options: { reverse: boolean; limit: number }): AsyncIterable<{ readonly value: JobRecord }>
}

export interface XoConfig {
  readonly httpProxy?: string | null
  readonly noProxy?: string | null
}

/**
 * A request to a handler of the plugin, as Express and the host's middlewares have it. Nobody has been asked to sign in.
 *
 * Source: `createExpressApp` in packages/xo-server/src/index.mjs
 */
export interface HttpRequest extends IncomingMessage {
  readonly cookies?: Readonly<Record<string, unknown>>
  readonly ip?: string
  /** Of the session: for `return-url`, where the host leads to after signing in. */
  flash?(name: string, text: string): unknown
}

/** A method of the API, with what the host reads off it. */
export type ApiImplementation = ((params: unknown) => Promise<unknown>) & {
  readonly description?: string
  /** In XO's dialect of JSON schema, by name. */
  readonly params?: Readonly<Record<string, object>>
  readonly permission?: string
}

/**
 * A route of the REST API. Without `security`, administrators only.
 *
 * Source: @xen-orchestra/rest-api/src/router/{types,external-router}.mts
 */
export interface RestRoute {
  readonly method: 'get' | 'post' | 'patch' | 'delete'
  readonly endpoint: string
  readonly description: string
  readonly tags: readonly string[]
  readonly params?: Readonly<Record<string, RestField>>
  readonly query?: Readonly<Record<string, RestField>>
  readonly middlewares?: readonly { readonly name: 'json'; readonly options?: object }[]
  readonly responses: readonly {
    readonly status: number
    readonly description: string
    readonly schema?: Readonly<Record<string, RestField>>
  }[]
  /** What it returns is sent, if it has not answered itself. */
  callback(context: { readonly req: RestRequest; readonly res: RestResponse }): Promise<unknown>
}

export type RestField =
  | { readonly type: 'string' | 'number' | 'boolean'; readonly optional?: true; readonly example?: unknown }
  | { readonly type: 'object'; readonly fields: Readonly<Record<string, RestField>>; readonly optional?: true }
  | { readonly type: 'array'; readonly items: RestField; readonly optional?: true }

/** Of Express. */
export interface RestRequest {
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, unknown>>
  readonly body?: unknown
  /** By name, in lower case. */
  readonly headers: Readonly<Record<string, unknown>>
  readonly cookies?: Readonly<Record<string, unknown>>
  readonly ip?: string | undefined
  is(type: string): string | false | null
}

/** Of Express. */
export interface RestResponse {
  /** Whoever has asked is gone. */
  readonly destroyed: boolean
  /** Bytes that are written and not taken in yet. */
  readonly writableLength: number
  status(code: number): RestResponse
  type(type: string): RestResponse
  json(value: unknown): unknown
  send(text: string): unknown
  set(header: string, value: string): unknown
  write(text: string): unknown
  end(): unknown
  /** Gives up the connection, with what is not taken in yet. */
  destroy(): unknown
  on(event: 'close', listener: () => void): unknown
}

export interface Xo {
  /** Adds all methods of a namespace, or none; returns its undo. Absent from bare hosts. */
  readonly addApiMethods?: (
    methods: Readonly<Record<string, Readonly<Record<string, ApiImplementation>>>>
  ) => () => void
  /** Adds routes below `/rest/v0<base>`; returns its undo. Absent from bare hosts and those before 2025. */
  readonly registerRestRoutes?: (routes: readonly RestRoute[], base: string) => () => void
  /** By name. An alias is a getter for the method it stands for. */
  readonly apiMethods: Record<string, ApiMethod>
  /** A new object for each API call, the same wherever that call leads; outside of calls any. */
  readonly apiContext?: ApiContext | undefined
  readonly config: {
    /** Calls back at once and on every change; returns its undo. */
    watch(callback: (config: XoConfig) => void): () => void
    /** What stands there, of any make. Absent from bare hosts. */
    getOptional?(path: string): unknown
  }
  readonly hooks: {
    on(event: 'stop', listener: () => unknown): unknown
    removeListener(event: 'stop', listener: () => unknown): unknown
  }
  readonly objects: XoObjects
  /** The id of the run of each job that runs, by the job's id. A job has one run at a time. */
  readonly runningJobs: Readonly<Record<string, string>>
  /** Of the plugin transport-email, absent while that is not loaded. It drops `text`: `markdown` fills both parts. */
  readonly sendEmail?:
    ((mail: { to: readonly string[]; subject: string; markdown: string }) => Promise<unknown>) | undefined
  /** One listener that throws here stops the tasks of the whole host until it is restarted. */
  readonly tasks: {
    on(event: 'update', listener: (task: TaskLog) => unknown): unknown
    removeListener(event: 'update', listener: (task: TaskLog) => unknown): unknown
  }
  /**
   * Saves a configuration of a plugin: gives it to the plugin's `configure()`, then writes it to the database. Of several
   * at once the order is anybody's guess. Absent from bare hosts.
   */
  readonly configurePlugin?: ((id: string, configuration: unknown) => Promise<unknown>) | undefined
  /**
   * Whatever is asked for under exactly this path, by any HTTP method and by anybody, goes to `handler`. Throws if the
   * path is taken; gives its undo. Absent from bare hosts.
   */
  registerHttpRequestHandler?(
    path: string,
    handler: (request: HttpRequest, response: ServerResponse) => Promise<void>
  ): Promise<() => void>
  /** How each of these runs a job; without a schedule, by hand. A plugin may replace them. Absent from bare hosts. */
  runJob?: ((job: Job, schedule?: JobSchedule, data?: unknown) => Promise<unknown>) | undefined
  runJobSequence?: ((ids: readonly string[], schedule?: JobSchedule, data?: unknown) => Promise<unknown>) | undefined
  readonly getLogger?: ((namespace: 'jobs') => Promise<JobLogger>) | undefined
  /** Rejects if there is none. */
  getJob(id: string): Promise<Job>
  emit(event: 'job:terminated', runId: string, run: { readonly type: string }): unknown
  getStore(namespace: 'logs'): Promise<LogStore>
  /** Without an id, the host answers with any user at all. */
  getUser(id: string): Promise<User>
  /** Whose session it is; rejects if it is none any more (packages/xo-server/src/xo-mixins/authentication.mjs). */
  authenticateUser?(
    credentials: { readonly token: string },
    about: { readonly ip?: string | undefined },
    options: { readonly bypassTaskCreation: boolean }
  ): Promise<{ readonly user: User }>
  /** `null` if there is none. Absent from bare hosts, as are the next two. */
  readonly getUserByName?: ((name: string, returnsNull: true) => Promise<User | null>) | undefined
  readonly getAllXenServers?: (() => Promise<readonly { readonly id: string; readonly host: string }[]>) | undefined
  /** Rejects if there is none. */
  readonly getAuthenticationToken?: ((id: string) => Promise<{ readonly user_id: string }>) | undefined
  /** What packages/xo-server/src/{index,xo-mixins/authentication}.mjs tell the audit plugin. */
  on(event: 'xo:audit', listener: (name: string, data: unknown) => void): unknown
  /** At the end of each run, failed or not; and for those that a restart has interrupted, once plugins are registered. */
  on(event: 'job:terminated', listener: (runId: string, run: { readonly type: string }) => unknown): unknown
  removeListener(event: 'xo:audit', listener: (name: string, data: unknown) => void): unknown
  removeListener(event: 'job:terminated', listener: (runId: string, run: { readonly type: string }) => unknown): unknown
  on<Name extends keyof XoSignals>(event: Name, listener: (data: XoSignals[Name]) => unknown): unknown
  removeListener<Name extends keyof XoSignals>(event: Name, listener: (data: XoSignals[Name]) => unknown): unknown
}

/** What xo-server gives to a plugin's factory and schemas (packages/xo-server/src/index.mjs, `registerPlugin`). */
export interface PluginContext {
  readonly xo: Xo
  /** `[plugins.web-hooks]` of xo-server's configuration, read once at boot. */
  readonly staticConfig: Readonly<Record<string, unknown>>
  /** Creates and names the plugin's own folder in xo-server's data directory. */
  getDataDir(): Promise<string>
}
