import { copyOf } from '../event/event.ts'
import type { EventInfo } from '../event/event.ts'
import { textOf } from '../values.ts'
import type { Signal, TaskLog, Xo } from '../xo.ts'
import { isAnnounced } from './api-calls.ts'
import type { CallTaker } from './api-calls.ts'
import type { HeldCalls } from './held-calls.ts'
import { outcomeOfRun, tellsOutcome } from './backup-outcome.ts'
import { Call, idsOf, Run, RUN_METHODS, VM_BACKUP } from './backup-run.ts'
import type { Description, Tell } from './backup-run.ts'
import { HeldRuns } from './held-runs.ts'
import type { Asked } from './held-runs.ts'
import { Starters, starterOf } from './backup-starters.ts'
import type { Starter } from './backup-starters.ts'
import { recordsOf, settledSoon } from './look-up.ts'
import { remember } from './recent.ts'
import { guarded, listen } from './source.ts'
import type { Accept, Consent } from './source.ts'

export const backupRunEvents: readonly EventInfo[] = [
  { name: VM_BACKUP, phases: ['pre', 'post'], sentence: 'A VM backup or replication job runs.' },
  { name: 'metadataBackup.runJob', phases: ['pre', 'post'], sentence: 'A metadata backup job runs.' },
  { name: 'mirrorBackup.runJob', phases: ['pre', 'post'], sentence: 'A mirror backup job runs.' },
]

/** Runs that are remembered, under way or over: far more than there are at once. */
const MAX_RUNS = 10_000

const INTERRUPTED = 'xo-server has stopped while the run was under way'
const UNTOLD = 'the host does not say how the run has ended'

/** Of a run that is over, and whose task is known or not waited for any more. */
const ignore = (_: TaskLog): void => {}

/**
 * Hears the runs of backup jobs, however they were started: each is announced with one `pre` and one `post`.
 *
 * The host says different things of them (packages/xo-server/src/xo-mixins/jobs/index.mjs, by type of job):
 *
 * | signal            | VM | others | is heard by       | it says                                                     |
 * | ----------------- | -- | ------ | ----------------- | ----------------------------------------------------------- |
 * | `xo:preCall`      | ×  | ×      | `#called`         | by hand only: who calls, but not which run that will be     |
 * | `xo:postCall`     | ×  | ×      | `#callEnded`      | by hand only: the result or error, also of a refusal        |
 * | `backup:preCall`  | ×  |        | `#vmBackupBegins` | the job, but no run, and a wrong user if the job has none   |
 * | `backup:postCall` | ×  |        | `#vmBackupEnded`  | its error, unless only some VMs have failed                 |
 * | task `update`     | ×  | ×      | `#taskUpdated`    | it has begun, and the true outcome; never if it fails before |
 * | `job:terminated`  | ×  | ×      | `#terminated`     | which run has ended, or was refused, but not of which job   |
 *
 * What belongs to a call by hand is told by the context of the call, which all that it starts runs in. Updates of tasks
 * are an exception, since they are emitted in whichever context came first. For example: a user calls a metadata backup
 * while the schedule of the same job begins its run. The update that is heard then may be of either run, so that nothing
 * is announced. At `job:terminated` the context tells: the run of the schedule gets its `pre` and its `post` then, that
 * of the user ends with the call.
 *
 * - **by hand** ({@link Call}): `pre` when the run begins (VM) or when it is called (others, of which a `pre` that is
 *   waited for has to come before they begin); `post` when the call ends. A call that is refused has a `post` with its
 *   error.
 * - **otherwise** ({@link Run}): `pre` when it is first heard of; `post` at `job:terminated`. One that is refused, since
 *   the job runs already, has a `post` only; so has one that a restart has interrupted, after the restart.
 */
export class BackupRuns {
  /** Who is to be told of the calls of a method. */
  readonly takerOf: (method: string) => CallTaker | undefined

  readonly #xo: Xo
  readonly #waits: (method: string) => boolean
  readonly #tell: Tell
  /** Those under way, by call id. */
  readonly #calls = new Map<string, Call>()
  readonly #starters: Starters
  readonly #held: HeldRuns | undefined
  /** Those under way, by id. */
  readonly #runs = new Map<string, Run>()
  /** By id of a run that is over: what its task, which may be updated once more, is given to. */
  readonly #over = new Map<string, (task: TaskLog) => void>()

  /**
   * @param consent - of hooks that may refuse runs
   * @param calls - that hooks may refuse
   */
  constructor(xo: Xo, accept: Accept, consent?: Consent, calls?: HeldCalls) {
    this.#xo = xo
    this.#waits = method => accept.waits(method)
    this.#tell = guarded<Parameters<Tell>>('a run of a backup job', (source, phase, signal, isAsked) =>
      accept(source, phase, signal, undefined, isAsked)
    )
    this.#starters = new Starters(xo)
    this.#held =
      consent &&
      new HeldRuns({
        ...{ xo, consent, starters: this.#starters, tell: this.#tell },
        callOf: (method, jobId) => this.#callOf(method, jobId),
      })
    const run: CallTaker = { pre: signal => this.#called(signal), post: signal => this.#callEnded(signal) }
    const sequence: CallTaker = {
      pre: signal => {
        this.#starters.sequenceCalled(signal)
        const isAsked = calls?.expect(signal)
        return isAnnounced(this.#xo, signal) ? this.#tell('api', 'pre', signal, isAsked) : undefined
      },
      post: signal => {
        this.#starters.sequenceEnded(signal)
        return this.#tell('api', 'post', signal)
      },
    }
    this.takerOf = method => {
      // asked at every call of the API: a switch costs less than a map
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
      listen<[Signal]>(this.#xo, 'backup:preCall', signal => this.#vmBackupBegins(signal)),
      listen<[Signal]>(this.#xo, 'backup:postCall', signal => this.#vmBackupEnded(signal)),
      listen<[TaskLog]>(this.#xo.tasks, 'update', task => this.#taskUpdated(task)),
      listen<[string, { type: string }]>(this.#xo, 'job:terminated', (id, { type }) => this.#terminated(id, type)),
    ]
    if (this.#held !== undefined) {
      undo.push(this.#held.listen())
    }
    return () => undo.forEach(each => each())
  }

  #called(signal: Signal): Promise<unknown> | undefined {
    const call = new Call(signal, this.#xo.apiContext)
    remember(this.#calls, signal.callId, call, MAX_RUNS)
    // a VM backup is announced when it begins, which the host waits for as well
    return signal.method === VM_BACKUP || !isAnnounced(this.#xo, signal)
      ? undefined
      : this.#hold(signal.method, call.announce(this.#xo, this.#tell, this.#held?.isHolding(signal.method) ?? false))
  }

  #callEnded(signal: Signal): Promise<unknown> | undefined {
    const call = this.#calls.get(signal.callId)
    this.#calls.delete(signal.callId)
    // one that began before the plugin was loaded is not known: its run was heard of for itself
    return call?.end(signal, this.#tell)
  }

  #vmBackupBegins(signal: Signal): Promise<unknown> | undefined {
    const [jobId, scheduleId] = idsOf(signal)
    const { method, timestamp, userId: ownerId } = signal
    const id = this.#idOfVmBackup(signal)
    const call = this.#callOf(method, jobId)
    const description = { id, method, jobId, scheduleId, ownerId, start: timestamp, params: copyOf(signal.params) }
    const asked = this.#held?.current()
    const run = this.#begin(description, asked, call === undefined ? () => this.#starters.of(description) : undefined)
    const announced =
      call === undefined ? run.announce(this.#tell) : call.announceRun(run, this.#tell, asked !== undefined)
    return this.#hold(method, announced)
  }

  #vmBackupEnded(signal: Signal): void {
    this.#runs.get(this.#idOfVmBackup(signal))?.ended(signal)
  }

  /** The host waits only for a hook that wants it to, not for names to be looked up. */
  #hold(method: string, announced: Promise<unknown>): Promise<unknown> | undefined {
    return this.#waits(method) ? announced : undefined
  }

  #taskUpdated(task: TaskLog): Promise<unknown> | undefined {
    this.#starters.actionUpdated(task)
    const { properties } = task
    const method = RUN_METHODS.get(properties['type'])
    const id = properties['runJobId']
    if (method === undefined || properties['name'] !== 'backup run' || typeof id !== 'string') {
      return undefined
    }
    const hearTask = this.#over.get(id)
    if (hearTask !== undefined) {
      hearTask(task)
      return undefined
    }
    let run = this.#runs.get(id)
    if (run === undefined) {
      const description = descriptionOf(id, method, task.start, properties)
      run = this.#begin(description, this.#held?.of(description.jobId), () => this.#starters.of(description))
    }
    run.taskUpdated(task)
    // while someone runs the same job by hand, this may be the run of that call: its end will tell
    const { jobId } = run.description
    const mayBeByHand = [...this.#calls.values()].some(call => call.isOf(method, jobId))
    return run.state === 'heard of' && !mayBeByHand ? run.announce(this.#tell) : undefined
  }

  #terminated(id: string, type: string): Promise<unknown> | undefined {
    const method = RUN_METHODS.get(type)
    if (method === undefined || this.#over.has(id)) {
      return undefined
    }
    const asked = this.#held?.current()
    const begun = this.#runs.get(id)
    const run = begun ?? asked?.run
    this.#runs.delete(id)
    remember(this.#over, id, ignore, MAX_RUNS)
    if (asked?.isRefused === true) {
      return undefined // its end is told by whoever has asked
    }
    const lateTask = run?.task === undefined ? this.#taskOf(id) : undefined
    // its job is still said to run it, unless it was refused, or a restart has interrupted it
    const runningJob = Object.keys(this.#xo.runningJobs).find(jobId => this.#xo.runningJobs[jobId] === id)
    const jobId = run?.description.jobId ?? runningJob

    const call = this.#callOf(method, jobId, run)
    if (call !== undefined) {
      // without a job it was refused: then the call has started nothing
      if (jobId !== undefined) {
        call.runEnded(this.#xo, id, run, lateTask)
      }
      return undefined
    }
    const outcome = run?.outcome
    if (run !== undefined && outcome !== undefined) {
      return run.tellEnd(this.#tell, outcome)
    }
    // nobody knows who has asked for a run that was refused
    const starters = runningJob === undefined ? [] : this.#starters.current()
    const hasRun = begun !== undefined || runningJob !== undefined
    return this.#endByRecords({ id, method, jobId }, run, hasRun, starters, lateTask)
  }

  /**
   * The end of a run of which what was heard does not tell the outcome, or not even the job: the log of jobs does.
   *
   * @param hasRun - rather than having been refused, or interrupted by a restart
   */
  async #endByRecords(
    { id, method, jobId }: Pick<Description, 'id' | 'method' | 'jobId'>,
    known: Run | undefined,
    hasRun: boolean,
    starters: readonly Starter[],
    lateTask: Promise<TaskLog | undefined> | undefined
  ): Promise<unknown> {
    const { start, end } = await recordsOf(this.#xo, id)
    const described = descriptionOf(id, method, start?.time ?? Date.now(), start?.data ?? {})
    const description = { ...described, jobId: described.jobId ?? jobId }
    const run = known ?? new Run(this.#xo, description, starterOf(description, starters))
    if (!hasRun) {
      run.hasNoPre()
    }
    if (end !== undefined) {
      const error = end.data?.['error']
      const task = run.task ?? (tellsOutcome(undefined, error) ? undefined : await lateTask)
      return run.tellEnd(this.#tell, outcomeOfRun(task, error))
    }
    return start !== undefined && !hasRun
      ? run.tellEnd(this.#tell, { status: 'interrupted', error: { message: INTERRUPTED } })
      : run.tellEnd(this.#tell, { status: 'unknown', error: { message: UNTOLD } })
  }

  /**
   * The task of a run that is over and has none yet. Updates of tasks may come after their run, one behind the other: the
   * host saves each before it tells of the next.
   */
  async #taskOf(id: string): Promise<TaskLog | undefined> {
    const heard = new Promise<TaskLog>(resolve => this.#over.set(id, resolve))
    const task = await settledSoon(heard, undefined)
    if (this.#over.has(id)) {
      this.#over.set(id, ignore)
    }
    return task
  }

  /** @param asked - what hooks have been asked about, and this is */
  #begin(
    description: Description,
    asked: Asked | undefined,
    starterOf: (() => Promise<Starter | undefined>) | undefined
  ): Run {
    const run = asked?.run?.begins(description) ?? new Run(this.#xo, description, starterOf?.())
    remember(this.#runs, description.id, run, MAX_RUNS)
    return run
  }

  /** The call that has started what is heard now. */
  #callOf(method: string, jobId: string | undefined, run?: Run): Call | undefined {
    const { apiContext } = this.#xo
    return [...this.#calls.values()].find(call => call.hasStarted(apiContext, method, jobId, run))
  }

  /** Its signals do not say which run it is: the one that its job runs now. */
  #idOfVmBackup(signal: Signal): string {
    const [jobId] = idsOf(signal)
    return (jobId === undefined ? undefined : this.#xo.runningJobs[jobId]) ?? signal.callId
  }
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
