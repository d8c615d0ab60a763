import type { EventInfo } from '../event.ts'
import type { ApiContext, JobRecord, Signal, TaskLog, Xo } from '../xo.ts'
import { isAnnounced } from './api-calls.ts'
import type { CallTaker } from './api-calls.ts'
import { outcomeOfRun } from './backup-outcome.ts'
import type { RunOutcome } from './backup-outcome.ts'
import { copyOf, isRecord, listen, nameOfUser, remember, settledSoon, textOf, UNKNOWN_USER } from './listening.ts'
import type { Accept } from './listening.ts'
import { REST_ACTION, REST_PREFIX } from './rest-actions.ts'

const VM_BACKUP = 'backupNg.runJob'

/** By the type of a backup job, the API method that runs it: the name under which all its runs are announced. */
const METHODS: ReadonlyMap<unknown, string> = new Map([
  ['backup', VM_BACKUP],
  ['metadataBackup', 'metadataBackup.runJob'],
  ['mirrorBackup', 'mirrorBackup.runJob'],
])

export const backupRunEvents: readonly EventInfo[] = [
  { name: VM_BACKUP, phases: ['pre', 'post'], sentence: 'A VM backup or replication job runs.' },
  { name: 'metadataBackup.runJob', phases: ['pre', 'post'], sentence: 'A metadata backup job runs.' },
  { name: 'mirrorBackup.runJob', phases: ['pre', 'post'], sentence: 'A mirror backup job runs.' },
]

/** API methods that run jobs as a part of what they do, with the parameter that names schedules or jobs. */
const SEQUENCES: ReadonlyMap<string, string> = new Map([
  ['schedule.runSequence', 'schedules'],
  ['job.runSequence', 'idSequence'],
])

const RUN_SCHEDULE = `${REST_PREFIX}run schedule`

/** Runs that are remembered, under way or over: far more than there are at once. */
const MAX_RUNS = 10_000

/** How many of its youngest records the log of jobs is searched for the end of a run, which has just been written. */
const RECENT_RECORDS = 200

/** A call by hand, from its beginning to its end. */
interface Call {
  readonly signal: Signal
  readonly context: ApiContext | undefined
  /** Once its `pre` is being announced. Never rejects. */
  jobName?: Promise<string | undefined>
  /** What it has started: nothing, if it is refused. */
  run?: Run
}

/** What may lead to runs while it is under way, and who has begun it. */
interface Starter {
  readonly context: ApiContext | undefined
  readonly userId: string | undefined
  readonly userName: string
  /** Of schedules or jobs. */
  readonly ids: readonly unknown[]
}

/** What the host says of a run, at one place or another. */
interface Description {
  readonly id: string
  readonly method: string
  readonly jobId: string | undefined
  readonly scheduleId: string | undefined
  readonly jobName?: string | undefined
  /** Of the job. */
  readonly ownerId: string | undefined
  /** Epoch ms. */
  readonly start: number
  readonly params?: unknown
}

/** A run, from when it is first heard of until it is over. */
interface Run extends Description {
  readonly params: unknown
  /** What has to be looked up. Never rejects. */
  readonly facts: Promise<Facts>
  /** The live record of its task, once it has one. */
  task?: TaskLog
  /** As the host says it. */
  error?: unknown
  /** Its `pre` was announced, or is not to be. */
  isAnnounced: boolean
}

interface Facts {
  readonly jobName: string | undefined
  readonly userId: string | undefined
  readonly userName: string
}

/** What the log of jobs has of a run. */
interface Records {
  readonly start?: JobRecord | undefined
  readonly end?: JobRecord | undefined
}

/**
 * Hears the runs of backup jobs, however they were started: each is announced with one `pre` and one `post`.
 *
 * The host says different things of them (packages/xo-server/src/xo-mixins/jobs/index.mjs, by type of job):
 *
 * | signal           | VM | metadata, mirror |                                                                        |
 * | ---------------- | -- | ---------------- | ---------------------------------------------------------------------- |
 * | `xo:*Call`       | ×  | ×                | by hand only; knows who, but not which run                             |
 * | `backup:preCall` | ×  |                  | it begins; has a job, but no run, and a wrong user if the job has none |
 * | task `update`    | ×  | ×                | it has begun; not if it fails before. Knows the true outcome           |
 * | `job:terminated` | ×  | ×                | it has ended, or was refused; knows the run, but not the job           |
 *
 * What belongs to a call by hand is told by the context of the call, which all that it starts runs in. Task updates are
 * an exception, as they are emitted in whichever context came first: what they leave open is decided at the end.
 *
 * - **by hand**: `pre` when the run begins (VM) or when it is called (others, of which a `pre` that is waited for has to
 *   come before they begin); `post` when the call ends. A call that is refused has a `post` with its error.
 * - **otherwise**: `pre` when it is first heard of; `post` at `job:terminated`. One that is refused, since the job runs
 *   already, has a `post` only; so has one that a restart has interrupted, after the restart.
 */
export class BackupRuns {
  /** To be told of calls. */
  readonly calls: ReadonlyMap<string, CallTaker>

  readonly #xo: Xo
  readonly #accept: Accept
  /** By call id. */
  readonly #calls = new Map<string, Call>()
  /** By call id or the id of a task. */
  readonly #starters = new Map<string, Starter>()
  /** By id. `undefined`: it is over. Its task may be updated once more. */
  readonly #runs = new Map<string, Run | undefined>()

  constructor(xo: Xo, accept: Accept) {
    this.#xo = xo
    this.#accept = accept
    const run: CallTaker = { pre: signal => this.#onCall(signal), post: signal => this.#onCalled(signal) }
    const sequence: CallTaker = {
      pre: signal => this.#onSequence(signal),
      post: signal => {
        this.#starters.delete(signal.callId)
        void accept('api', 'post', signal)
      },
    }
    this.calls = new Map([
      ...[...METHODS.values()].map(method => [method, run] as const),
      ...[...SEQUENCES.keys()].map(method => [method, sequence] as const),
    ])
  }

  /** @returns its undo */
  listen(): () => void {
    const undo = [
      listen<[Signal]>(this.#xo, 'backup:preCall', signal => this.#onBackup(signal)),
      listen<[Signal]>(this.#xo, 'backup:postCall', signal => this.#onBackedUp(signal)),
      listen<[TaskLog]>(this.#xo.tasks, 'update', task => this.#onTask(task)),
      listen<[string, { type: string }]>(this.#xo, 'job:terminated', (id, { type }) => this.#onTerminated(id, type)),
    ]
    return () => undo.forEach(each => each())
  }

  #onCall(signal: Signal): Promise<unknown> | undefined {
    const call: Call = { signal, context: this.#xo.apiContext }
    remember(this.#calls, signal.callId, call, MAX_RUNS)
    // a VM backup is announced when it begins, which the host waits for as well
    return signal.method === VM_BACKUP || !isAnnounced(this.#xo, signal) ? undefined : this.#announceCall(call)
  }

  #onCalled(signal: Signal): void {
    const call = this.#calls.get(signal.callId)
    this.#calls.delete(signal.callId)
    if (call === undefined) {
      // it began before the plugin was loaded: its run was then heard of for itself
      return
    }
    const { jobName, run } = call
    if (run === undefined) {
      void (jobName === undefined
        ? this.#accept('api', 'post', signal)
        : jobName.then(() => this.#accept('api', 'post', signal)))
      return
    }
    const { result, error: _, ...rest } = signal
    const { status, error } = outcomeOfRun(run.task, signal.error)
    const outcome = error === undefined ? { result } : { error }
    void Promise.all([run.facts, jobName]).then(([facts]) =>
      this.#accept('api', 'post', { ...rest, ...outcome, run: reportOf(run, facts.jobName, status) })
    )
  }

  #onSequence(signal: Signal): Promise<unknown> | undefined {
    const { callId, method, params, userId, userName = UNKNOWN_USER } = signal
    const ids = isRecord(params) ? params[SEQUENCES.get(method) ?? ''] : undefined
    const starter = { context: this.#xo.apiContext, userId, userName, ids: Array.isArray(ids) ? ids : [] }
    remember(this.#starters, callId, starter, MAX_RUNS)
    return isAnnounced(this.#xo, signal) ? this.#accept('api', 'pre', signal) : undefined
  }

  #onBackup(signal: Signal): Promise<unknown> | undefined {
    const [jobId, scheduleId] = idsOf(signal)
    const { method, timestamp, userId: ownerId } = signal
    // which run it is stands nowhere else
    const id = this.#runningRunOf(jobId) ?? signal.callId
    const call = this.#callOf(method, jobId)
    const run = this.#begin({ id, method, jobId, scheduleId, ownerId, start: timestamp, params: copyOf(signal.params) })
    if (call === undefined) {
      return this.#announce(run)
    }
    run.isAnnounced = true
    call.run = run
    return this.#announceCall(call)
  }

  #onBackedUp(signal: Signal): void {
    const [jobId] = idsOf(signal)
    const run = this.#runs.get(this.#runningRunOf(jobId) ?? signal.callId)
    if (run !== undefined) {
      run.error = signal.error
    }
  }

  #onTask(task: TaskLog): void {
    const { properties } = task
    const method = METHODS.get(properties['type'])
    if (method === undefined) {
      if (properties['type'] === REST_ACTION && properties['name'] === RUN_SCHEDULE) {
        this.#onRestAction(task)
      }
      return
    }
    const id = properties['runJobId']
    if (properties['name'] !== 'backup run' || typeof id !== 'string') {
      return
    }
    const known = this.#runs.get(id)
    if (known === undefined && this.#runs.has(id)) {
      return
    }
    const run = known ?? this.#begin(descriptionOf(id, method, task.start, properties))
    run.task ??= task
    // while someone runs this job by hand, the end will tell whether this is that run
    if (!run.isAnnounced && ![...this.#calls.values()].some(call => isOf(call, method, run.jobId))) {
      void this.#announce(run)
    }
  }

  /** Of an action that runs a schedule, the user runs the job: if the run is in the context of the action. */
  #onRestAction({ id, properties, status }: TaskLog): void {
    if (status !== 'pending') {
      this.#starters.delete(id)
      return
    }
    // An update may come in another context than its own: then the run is said to be of the job's owner.
    const { apiContext } = this.#xo
    const user = apiContext?.user
    if (!this.#starters.has(id) && user !== undefined && user.id === properties['userId']) {
      const starter = { context: apiContext, userId: user.id, userName: user.email, ids: [properties['objectId']] }
      remember(this.#starters, id, starter, MAX_RUNS)
    }
  }

  #onTerminated(id: string, type: string): void {
    const method = METHODS.get(type)
    const known = this.#runs.get(id)
    if (method === undefined || (known === undefined && this.#runs.has(id))) {
      return
    }
    // it is still there, unless it was refused, or has been interrupted by a restart
    const runningJob = Object.keys(this.#xo.runningJobs).find(jobId => this.#xo.runningJobs[jobId] === id)
    const jobId = known?.jobId ?? runningJob
    const call = this.#callOf(method, jobId, known)
    remember(this.#runs, id, undefined, MAX_RUNS)
    if (call !== undefined) {
      if (jobId !== undefined) {
        call.run ??= known ?? this.#runOf({ ...describedBy(call), id })
      }
    } else if (known !== undefined && (known.error !== undefined || isOver(known.task))) {
      this.#finish(known, outcomeOfRun(known.task, known.error))
    } else {
      const { apiContext } = this.#xo
      void recordsOf(this.#xo, id).then(records => {
        const data = records.start?.data ?? {}
        const start = records.start?.time ?? Date.now()
        const run =
          known ?? this.#runOf({ ...descriptionOf(id, method, start, data), ...(jobId && { jobId }) }, apiContext)
        const isOurs = known !== undefined || runningJob !== undefined
        run.isAnnounced ||= !isOurs
        this.#finish(run, outcomeOfRecords(records, run.task, isOurs))
      })
    }
  }

  #begin(description: Description): Run {
    const run = this.#runOf(description)
    remember(this.#runs, run.id, run, MAX_RUNS)
    return run
  }

  /** @param context - of what is heard: it tells who has started the run */
  #runOf(description: Description, context = this.#xo.apiContext): Run {
    const { jobId, scheduleId, ownerId, params = { id: jobId, schedule: scheduleId } } = description
    const starter =
      context &&
      [...this.#starters.values()].find(
        each => each.context === context && (each.ids.includes(scheduleId) || each.ids.includes(jobId))
      )
    const { userId, userName } = starter?.userId === undefined ? { userId: ownerId, userName: undefined } : starter
    const jobName = description.jobName === undefined ? this.#nameOfJob(jobId) : description.jobName
    const facts = Promise.all([jobName, userName ?? nameOfUser(this.#xo, userId)])
    return {
      ...description,
      params,
      facts: facts.then(([name, user]) => ({ jobName: name, userId, userName: user })),
      isAnnounced: false,
    }
  }

  #announceCall(call: Call): Promise<unknown> {
    const { signal, run } = call
    const described = run ?? describedBy(call)
    call.jobName = run === undefined ? this.#nameOfJob(described.jobId) : run.facts.then(({ jobName }) => jobName)
    return call.jobName.then(jobName => this.#accept('api', 'pre', { ...signal, run: reportOf(described, jobName) }))
  }

  #announce(run: Run): Promise<unknown> {
    run.isAnnounced = true
    return run.facts.then(facts => this.#accept('backup', 'pre', signalOf(run, facts, run.start)))
  }

  #finish(run: Run, { status, error }: RunOutcome): void {
    if (!run.isAnnounced) {
      void this.#announce(run)
    }
    const timestamp = Date.now()
    const outcome = error === undefined ? { result: true } : { error }
    void run.facts.then(facts =>
      this.#accept('backup', 'post', {
        ...signalOf(run, facts, timestamp, status),
        duration: timestamp - run.start,
        ...outcome,
      })
    )
  }

  /** The call that has started what is heard now. */
  #callOf(method: string, jobId: string | undefined, run?: Run): Call | undefined {
    const { apiContext } = this.#xo
    return [...this.#calls.values()].find(
      call =>
        call.context !== undefined &&
        call.context === apiContext &&
        (jobId === undefined ? call.signal.method === method : isOf(call, method, jobId)) &&
        (call.run === undefined || call.run === run)
    )
  }

  #runningRunOf(jobId: string | undefined): string | undefined {
    return jobId === undefined ? undefined : this.#xo.runningJobs[jobId]
  }

  #nameOfJob(id: string | undefined): Promise<string | undefined> {
    const look = async (): Promise<string | undefined> =>
      id === undefined ? undefined : textOf((await this.#xo.getJob(id)).name)
    return settledSoon(look(), undefined)
  }
}

/** A task whose worker has died stays pending. */
function isOver(task: TaskLog | undefined): boolean {
  return task !== undefined && task.status !== 'pending'
}

/** By the API's parameters. */
function idsOf({ params }: Signal): [jobId: string | undefined, scheduleId: string | undefined] {
  return isRecord(params) ? [textOf(params['id']), textOf(params['schedule'])] : [undefined, undefined]
}

function isOf({ signal }: Call, method: string, jobId: string | undefined): boolean {
  return signal.method === method && idsOf(signal)[0] === jobId
}

function describedBy({ signal }: Call): Omit<Description, 'id'> {
  const [jobId, scheduleId] = idsOf(signal)
  return { method: signal.method, jobId, scheduleId, ownerId: undefined, start: signal.timestamp }
}

/** @param data - what the host puts into the task and into the log of jobs alike (`jobData` in …/jobs/index.mjs) */
function descriptionOf(
  id: string,
  method: string,
  start: number,
  data: Readonly<Record<string, unknown>>
): Description {
  return {
    id,
    method,
    start,
    jobId: textOf(data['jobId']),
    jobName: textOf(data['jobName']),
    scheduleId: textOf(data['scheduleId']),
    ownerId: textOf(data['userId']),
  }
}

/** What all events of runs have besides those of calls. */
function reportOf(
  run: Omit<Description, 'id'> & { id?: string },
  jobName: string | undefined,
  status?: string
): object {
  const { id, jobId, scheduleId } = run
  return { id, jobId, jobName, scheduleId, status }
}

function signalOf(run: Run, { jobName, userId, userName }: Facts, timestamp: number, status?: string): Signal {
  const { id, method, params } = run
  return { callId: id, userId, userName, method, params, timestamp, run: reportOf(run, jobName, status) }
}

/** Never rejects: what cannot be read is left out. */
async function recordsOf(xo: Xo, id: string): Promise<Records> {
  const isOfJobs = ({ namespace }: JobRecord): boolean => namespace === 'jobs'
  const read = async (): Promise<Records> => {
    const store = await xo.getStore('logs')
    const start = await store.get(id).catch(() => undefined)
    let end: JobRecord | undefined
    for await (const { value } of store.createReadStream({ reverse: true, limit: RECENT_RECORDS })) {
      const { event, runJobId } = value.data ?? {}
      if (isOfJobs(value) && event === 'job.end' && runJobId === id) {
        end = value
        break
      }
    }
    return { start: start !== undefined && isOfJobs(start) ? start : undefined, end }
  }
  return settledSoon(read(), {})
}

/** @param hasBegun - heard of while it was under way, so that it cannot have been interrupted before */
function outcomeOfRecords({ start, end }: Records, task: TaskLog | undefined, hasBegun: boolean): RunOutcome {
  if (end !== undefined) {
    return outcomeOfRun(task, end.data?.['error'])
  }
  if (start !== undefined && !hasBegun) {
    return { status: 'interrupted', error: { message: 'xo-server has stopped while the run was under way' } }
  }
  return { status: 'unknown', error: { message: 'the host does not say how the run has ended' } }
}
