import type { EventInfo } from '../event/event.ts'
import type { ApiContext, JobRecord, Signal, TaskLog, Xo } from '../xo.ts'
import { isAnnounced } from './api-calls.ts'
import type { CallTaker } from './api-calls.ts'
import { outcomeOfRun, saysNothing } from './backup-outcome.ts'
import type { RunOutcome } from './backup-outcome.ts'
import { copyOf, isRecord, listen, nameOfUser, remember, settledSoon, textOf } from './source.ts'
import type { Accept } from './source.ts'
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

const INTERRUPTED = 'xo-server has stopped while the run was under way'

/** How long a run that someone may have started waits to hear of an action that has. */
const LATE_ACTION_MS = 100

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
  /** Of a run that was over before its task was heard of. */
  lateTask?: Promise<TaskLog | undefined> | undefined
}

/** What leads to runs while it is under way, and who has begun it. */
interface Starter {
  readonly userId: string | undefined
  readonly userName: string | undefined
  /** Of schedules or jobs. */
  readonly ids: readonly unknown[]
  /** Whether something in this context is led to by it. */
  isIn(context: ApiContext): boolean
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
  params: unknown
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
  /** Who is to be told of the calls of a method. */
  readonly takerOf: (method: string) => CallTaker | undefined

  readonly #xo: Xo
  readonly #accept: Accept
  /** By call id. */
  readonly #calls = new Map<string, Call>()
  /** By call id or the id of a task. */
  readonly #starters = new Map<string, Starter>()
  /** Of runs that look for theirs. */
  readonly #starterListeners = new Set<(starter: Starter) => void>()
  /** By id. `undefined`: it is over. Its task may be updated once more. */
  readonly #runs = new Map<string, Run | undefined>()
  /** By id of a run that is over: who waits to hear of its task. */
  readonly #awaitedTasks = new Map<string, (task: TaskLog) => void>()

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
    this.takerOf = method => {
      // it is asked at every call, and costs less than a map
      switch (method) {
        case 'backupNg.runJob':
        case 'metadataBackup.runJob':
        case 'mirrorBackup.runJob':
          return run
        case 'schedule.runSequence':
        case 'job.runSequence':
          return sequence
        default:
          return undefined
      }
    }
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
    return signal.method === VM_BACKUP || !isAnnounced(this.#xo, signal)
      ? undefined
      : this.#hold(signal.method, this.#announceCall(call))
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
    void Promise.all([run.facts, jobName, tells(run.task, signal.error) ? run.task : call.lateTask]).then(
      ([facts, , task]) => {
        const { result, error: said, ...rest } = signal
        const { status, error } = outcomeOfRun(task ?? run.task, said)
        const outcome = error === undefined ? { result } : { error }
        void this.#accept('api', 'post', { ...rest, ...outcome, run: reportOf(run, facts.jobName, status) })
      }
    )
  }

  #onSequence(signal: Signal): Promise<unknown> | undefined {
    const { callId, method, params, userId, userName } = signal
    const ids = isRecord(params) ? params[SEQUENCES.get(method) ?? ''] : undefined
    const { apiContext } = this.#xo
    const starter: Starter = {
      ...{ userId, userName, ids: Array.isArray(ids) ? ids : [] },
      isIn: context => context === apiContext,
    }
    remember(this.#starters, callId, starter, MAX_RUNS)
    return isAnnounced(this.#xo, signal) ? this.#accept('api', 'pre', signal) : undefined
  }

  #onBackup(signal: Signal): Promise<unknown> | undefined {
    const [jobId, scheduleId] = idsOf(signal)
    const { method, timestamp, userId: ownerId } = signal
    // which run it is stands nowhere else
    const id = this.#runningRunOf(jobId) ?? signal.callId
    const call = this.#callOf(method, jobId)
    const description = { id, method, jobId, scheduleId, ownerId, start: timestamp, params: copyOf(signal.params) }
    const run = this.#begin(description, call)
    if (call === undefined) {
      return this.#hold(method, this.#announce(run))
    }
    run.isAnnounced = true
    call.run = run
    return this.#hold(method, this.#announceCall(call))
  }

  /** The host waits only for a hook that wants it to, not for names to be looked up. */
  #hold(method: string, announced: Promise<unknown>): Promise<unknown> | undefined {
    return this.#accept.waits(method) ? announced : undefined
  }

  #onBackedUp(signal: Signal): void {
    const [jobId] = idsOf(signal)
    const run = this.#runs.get(this.#runningRunOf(jobId) ?? signal.callId)
    if (run !== undefined) {
      // the job's own settings and VMs, which may have changed
      run.params = copyOf(signal.params)
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
      this.#awaitedTasks.get(id)?.(task)
      return
    }
    const run = known ?? this.#begin(descriptionOf(id, method, task.start, properties))
    run.task ??= task
    // while someone runs this job by hand, the end will tell whether this is that run
    if (!run.isAnnounced && ![...this.#calls.values()].some(call => isOf(call, method, run.jobId))) {
      void this.#announce(run)
    }
  }

  /**
   * An action that runs a schedule. Its own context is not known, since updates come in any: that a run of this schedule
   * has begun as this user, who is just asking for one, says enough.
   */
  #onRestAction({ id, properties, status }: TaskLog): void {
    const userId = textOf(properties['userId'])
    if (status !== 'pending') {
      this.#starters.delete(id)
    } else if (userId !== undefined && !this.#starters.has(id)) {
      const starter: Starter = {
        ...{ userId, userName: undefined, ids: [properties['objectId']] },
        isIn: ({ user }) => user?.id === userId,
      }
      remember(this.#starters, id, starter, MAX_RUNS)
      this.#starterListeners.forEach(hear => hear(starter))
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
    const lateTask = known?.task === undefined ? this.#awaitTask(id) : undefined
    if (call !== undefined) {
      if (jobId !== undefined) {
        call.run ??= known ?? this.#runOf({ ...describedBy(call), id }, undefined)
        call.lateTask = lateTask
      }
    } else if (known !== undefined && tells(known.task, known.error)) {
      this.#finish(known, outcomeOfRun(known.task, known.error))
    } else {
      const isOurs = known !== undefined || runningJob !== undefined
      // of one that was refused nobody knows who has asked for it
      const starters = runningJob === undefined ? [] : this.#currentStarters()
      void this.#finishByRecords({ id, method, jobId }, known, isOurs, starters, lateTask)
    }
  }

  /** What was heard does not tell the outcome of a run, or not even its job: then the log of jobs does. */
  async #finishByRecords(
    { id, method, jobId }: Pick<Description, 'id' | 'method' | 'jobId'>,
    known: Run | undefined,
    isOurs: boolean,
    starters: Starter[],
    lateTask: Promise<TaskLog | undefined> | undefined
  ): Promise<void> {
    const { start, end } = await recordsOf(this.#xo, id)
    const described = descriptionOf(id, method, start?.time ?? Date.now(), start?.data ?? {})
    const description = { ...described, jobId: described.jobId ?? jobId }
    const run =
      known ??
      this.#runOf(
        description,
        starters.find(each => isOfStarter(description, each))
      )
    run.isAnnounced ||= !isOurs
    if (end !== undefined) {
      const error = end.data?.['error']
      const task = run.task ?? (tells(undefined, error) ? undefined : await lateTask)
      this.#finish(run, outcomeOfRun(task, error))
    } else if (start !== undefined && !isOurs) {
      this.#finish(run, { status: 'interrupted', error: { message: INTERRUPTED } })
    } else {
      this.#finish(run, { status: 'unknown', error: { message: 'the host does not say how the run has ended' } })
    }
  }

  /** Updates of tasks may come late, one behind the other: the host saves each before it tells of the next. */
  async #awaitTask(id: string): Promise<TaskLog | undefined> {
    const heard = new Promise<TaskLog>(resolve => this.#awaitedTasks.set(id, resolve))
    try {
      return await settledSoon(heard, undefined)
    } finally {
      this.#awaitedTasks.delete(id)
    }
  }

  #begin(description: Description, call?: Call): Run {
    const run = this.#runOf(description, call === undefined ? this.#starterOf(description) : undefined)
    remember(this.#runs, run.id, run, MAX_RUNS)
    return run
  }

  /** What may have led to that which is heard now. */
  #currentStarters(): Starter[] {
    const { apiContext } = this.#xo
    return apiContext === undefined ? [] : [...this.#starters.values()].filter(each => each.isIn(apiContext))
  }

  /** What has led to the run that is heard now. An action of the REST API may be heard of a moment later than its run. */
  async #starterOf(description: Description): Promise<Starter | undefined> {
    const { apiContext } = this.#xo
    const known = this.#currentStarters().find(each => isOfStarter(description, each))
    if (known !== undefined || apiContext?.user === undefined) {
      return known
    }
    let hear = (_: Starter): void => {}
    const heard = new Promise<Starter>(resolve => {
      hear = starter => {
        if (starter.isIn(apiContext) && isOfStarter(description, starter)) {
          resolve(starter)
        }
      }
    })
    this.#starterListeners.add(hear)
    const starter = await settledSoon(heard, undefined, LATE_ACTION_MS)
    this.#starterListeners.delete(hear)
    return starter
  }

  /** @param starter - who is said to run it, rather than the owner of the job */
  #runOf(description: Description, starter: Promise<Starter | undefined> | Starter | undefined): Run {
    const { jobId, scheduleId, ownerId, params = { id: jobId, schedule: scheduleId } } = description
    const user = async (): Promise<Pick<Facts, 'userId' | 'userName'>> => {
      const { userId = ownerId, userName } = (await starter) ?? {}
      return { userId, userName: userName ?? (await nameOfUser(this.#xo, userId)) }
    }
    const facts = Promise.all([description.jobName ?? this.#nameOfJob(jobId), user()])
    return {
      ...description,
      params,
      facts: facts.then(([jobName, who]) => ({ jobName, ...who })),
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

/** Whether the outcome of a run is known from these. The task of a worker that has died stays pending. */
function tells(task: TaskLog | undefined, error: unknown): boolean {
  return (task !== undefined && task.status !== 'pending') || (error !== undefined && !saysNothing(error))
}

/** By the API's parameters. */
function idsOf({ params }: Signal): [jobId: string | undefined, scheduleId: string | undefined] {
  return isRecord(params) ? [textOf(params['id']), textOf(params['schedule'])] : [undefined, undefined]
}

function isOf({ signal }: Call, method: string, jobId: string | undefined): boolean {
  return signal.method === method && idsOf(signal)[0] === jobId
}

function isOfStarter({ jobId, scheduleId }: Description, { userId, ids }: Starter): boolean {
  return userId !== undefined && (ids.includes(scheduleId) || ids.includes(jobId))
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
