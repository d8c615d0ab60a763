import { randomUUID } from 'node:crypto'

import { copyOf } from '../event/event.ts'
import type { Phase, Source } from '../event/event.ts'
import { isRecord, textOf } from '../values.ts'
import type { ApiContext, Signal, TaskLog, Xo } from '../xo.ts'
import { knownOutcome, outcomeOfRun, tellsOutcome } from './backup-outcome.ts'
import type { RunOutcome } from './backup-outcome.ts'
import type { Starter } from './backup-starters.ts'
import { nameOfJob, nameOfUser } from './look-up.ts'

export const VM_BACKUP = 'backupNg.runJob'

/** By the type of a backup job, the API method that runs it: the name under which all its runs are announced. */
export const RUN_METHODS: ReadonlyMap<unknown, string> = new Map([
  ['backup', VM_BACKUP],
  ['metadataBackup', 'metadataBackup.runJob'],
  ['mirrorBackup', 'mirrorBackup.runJob'],
])

export function isBackupRun(method: string): boolean {
  return [...RUN_METHODS.values()].includes(method)
}

/** Where events of runs go. Never throws nor rejects. @param isAsked - see `Accept` */
export type Tell = (source: Source, phase: Phase, signal: Signal, isAsked?: boolean) => Promise<void> | undefined

/** What the host says of a run, at one place or another. */
export interface Description {
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

/** What has to be looked up of a run. */
interface Facts {
  readonly jobName: string | undefined
  readonly userId: string | undefined
  readonly userName: string
}

/** How much has been said of a run while it was under way: what is said at its end follows from it. */
type RunState =
  /** Nothing: it may be that of a call by hand, which is decided at its end at the latest. Both events are to come. */
  | 'heard of'
  /** Its own `pre`. Its own `post` is to come. */
  | 'announced'
  /** The `pre` of the call that has started it. The `post` of that call is to come. */
  | 'called by hand'
  /** Nothing. It was refused, or has ended with xo-server, before it could be announced: a `post` is to come, and no `pre`. */
  | 'without a pre'

/** A run, from when it is first heard of, or asked about, until its end has been told. */
export class Run {
  #description: Description
  readonly #callId: string
  /** Hooks that may refuse it have been asked, before it had an id. */
  readonly #isAsked: boolean
  /** Never rejects. */
  readonly facts: Promise<Facts>
  #state: RunState = 'heard of'
  #params: unknown
  /** The live record of its task, once it has one. */
  #task: TaskLog | undefined
  /** As the host says it. */
  #error: unknown

  /**
   * @param description - without an id: it has not begun, and hooks are asked whether it may
   * @param starter - who is said to run it, rather than the owner of its job
   */
  constructor(
    xo: Xo,
    { id, ...description }: Omit<Description, 'id'> & { readonly id?: string },
    starter?: Promise<Starter | undefined> | Starter
  ) {
    const { jobId, scheduleId, ownerId, params = { id: jobId, schedule: scheduleId } } = description
    const user = async (): Promise<Pick<Facts, 'userId' | 'userName'>> => {
      const { userId = ownerId, userName } = (await starter) ?? {}
      return { userId, userName: userName ?? (await nameOfUser(xo, userId)) }
    }
    this.#isAsked = id === undefined
    this.#callId = id ?? randomUUID()
    this.#description = { id: this.#callId, ...description }
    this.facts = Promise.all([description.jobName ?? nameOfJob(xo, jobId), user()]).then(([jobName, who]) => ({
      jobName,
      ...who,
    }))
    this.#params = params
  }

  get description(): Description {
    return this.#description
  }

  get state(): RunState {
    return this.#state
  }

  get task(): TaskLog | undefined {
    return this.#task
  }

  /** `undefined`: what was heard does not tell. */
  get outcome(): RunOutcome | undefined {
    return knownOutcome(this.#task, this.#error)
  }

  /** What hooks are asked that may refuse it. */
  async question(): Promise<Signal> {
    const { userId, userName, jobName } = await this.facts
    const { method, start, jobId, scheduleId } = this.#description
    const run = reportOf({ jobId, scheduleId }, jobName)
    return { callId: this.#callId, userId, userName, method, params: this.#params, timestamp: start, run }
  }

  /** Nobody has refused it. */
  begins(description: Description): this {
    this.#description = description
    this.#params = description.params ?? this.#params
    return this
  }

  taskUpdated(task: TaskLog): void {
    this.#task ??= task
  }

  /** Of VM backups. */
  ended({ params, error }: Signal): void {
    // the host refers to the job's own settings and VMs here, which may have changed since the run has begun
    this.#params = copyOf(params)
    this.#error = error
  }

  calledByHand(): void {
    this.#state = 'called by hand'
  }

  hasNoPre(): void {
    this.#state = 'without a pre'
  }

  announce(tell: Tell): Promise<unknown> {
    this.#state = 'announced'
    return this.facts.then(facts => tell('backup', 'pre', this.#signal(facts, this.description.start), this.#isAsked))
  }

  tellEnd(tell: Tell, ended: RunOutcome): Promise<unknown> {
    const timestamp = Date.now()
    const outcome = ended.error === undefined ? { result: true } : { error: ended.error }
    const pre = this.#state === 'heard of' ? this.announce(tell) : undefined
    const post = this.facts.then(facts =>
      tell('backup', 'post', {
        ...this.#signal(facts, timestamp, ended),
        duration: timestamp - this.description.start,
        ...outcome,
      })
    )
    return Promise.all([pre, post])
  }

  #signal({ jobName, userId, userName }: Facts, timestamp: number, ended?: RunOutcome): Signal {
    const { method } = this.#description
    const params = this.#params
    return {
      callId: this.#callId,
      userId,
      userName,
      method,
      params,
      timestamp,
      run: reportOf(this.#description, jobName, ended),
    }
  }
}

/** Where a call by hand stands. No promise in it rejects. */
type CallState =
  /** Not announced: a VM backup that has not begun, or a call of nobody who has signed in. */
  | { readonly name: 'called' }
  /** Nothing is known to have been started by it. If it is refused, that remains so. */
  | { readonly name: 'announced'; readonly jobName: Promise<string | undefined> }
  | { readonly name: 'running'; readonly jobName: Promise<string | undefined>; readonly run: Run }
  | {
      readonly name: 'over'
      readonly jobName: Promise<string | undefined>
      readonly run: Run
      /** Its task, where that is heard of only after the end of the run. */
      readonly lateTask: Promise<TaskLog | undefined> | undefined
    }

/** A call by hand, from its beginning to its end. Its `pre` and `post` are those of the run that it starts. */
export class Call {
  readonly #signal: Signal
  readonly #context: ApiContext | undefined
  #state: CallState = { name: 'called' }

  /** @param context - which all that it starts runs in */
  constructor(signal: Signal, context: ApiContext | undefined) {
    this.#signal = signal
    this.#context = context
  }

  get run(): Run | undefined {
    return 'run' in this.#state ? this.#state.run : undefined
  }

  isOf(method: string, jobId: string | undefined): boolean {
    return this.#signal.method === method && idsOf(this.#signal)[0] === jobId
  }

  /**
   * Whether what is heard in this context comes of it.
   *
   * @param jobId - `undefined`, if it is not known which job that is of
   * @param run - that it is of, if it was heard of before
   */
  hasStarted(context: ApiContext | undefined, method: string, jobId: string | undefined, run?: Run): boolean {
    return (
      this.#context !== undefined &&
      this.#context === context &&
      (jobId === undefined ? this.#signal.method === method : this.isOf(method, jobId)) &&
      (this.run === undefined || this.run === run)
    )
  }

  /** Before it has started anything. */
  announce(xo: Xo, tell: Tell, isAsked: boolean): Promise<unknown> {
    const jobName = nameOfJob(xo, idsOf(this.#signal)[0])
    this.#state = { name: 'announced', jobName }
    return this.#tellPre(tell, jobName, this.#description(), isAsked)
  }

  /** What hooks are asked that may refuse its run. */
  async question(xo: Xo): Promise<Signal> {
    const described = this.#description()
    return { ...this.#signal, run: reportOf(described, await nameOfJob(xo, described.jobId)) }
  }

  /** When its run begins. */
  announceRun(run: Run, tell: Tell, isAsked: boolean): Promise<unknown> {
    run.calledByHand()
    const jobName = jobNameOf(run)
    this.#state = { name: 'running', run, jobName }
    return this.#tellPre(tell, jobName, run.description, isAsked)
  }

  /** @param run - what it has started, if that was heard of before its end */
  runEnded(xo: Xo, id: string, run: Run | undefined, lateTask: Promise<TaskLog | undefined> | undefined): void {
    const started = this.run ?? run ?? new Run(xo, { ...this.#description(), id })
    const jobName = 'jobName' in this.#state ? this.#state.jobName : jobNameOf(started)
    this.#state = { name: 'over', run: started, jobName, lateTask }
  }

  /** @param signal - of its end */
  end(signal: Signal, tell: Tell): Promise<unknown> | undefined {
    const state = this.#state
    switch (state.name) {
      case 'called':
        return tell('api', 'post', signal)
      case 'announced':
        // after its `pre`, which waits for the same
        return state.jobName.then(() => tell('api', 'post', signal))
      case 'running':
        return tellEndOf(state.run, state.jobName, undefined, signal, tell)
      case 'over':
        return tellEndOf(state.run, state.jobName, state.lateTask, signal, tell)
      default:
        return state satisfies never
    }
  }

  async #tellPre(
    tell: Tell,
    jobName: Promise<string | undefined>,
    described: Omit<Description, 'id'> & { id?: string },
    isAsked: boolean
  ): Promise<void> {
    await tell('api', 'pre', { ...this.#signal, run: reportOf(described, await jobName) }, isAsked)
  }

  #description(): Omit<Description, 'id'> {
    const { method, timestamp } = this.#signal
    const [jobId, scheduleId] = idsOf(this.#signal)
    return { method, jobId, scheduleId, ownerId: undefined, start: timestamp }
  }
}

async function tellEndOf(
  run: Run,
  jobName: Promise<string | undefined>,
  lateTask: Promise<TaskLog | undefined> | undefined,
  signal: Signal,
  tell: Tell
): Promise<void> {
  const { result, error: said, ...rest } = signal
  const [facts, , late] = await Promise.all([run.facts, jobName, tellsOutcome(run.task, said) ? undefined : lateTask])
  const ended = outcomeOfRun(late ?? run.task, said)
  const outcome = ended.error === undefined ? { result } : { error: ended.error }
  await tell('api', 'post', { ...rest, ...outcome, run: reportOf(run.description, facts.jobName, ended) })
}

/** By the API's parameters. */
export function idsOf({ params }: Signal): [jobId: string | undefined, scheduleId: string | undefined] {
  return isRecord(params) ? [textOf(params['id']), textOf(params['schedule'])] : [undefined, undefined]
}

async function jobNameOf(run: Run): Promise<string | undefined> {
  return (await run.facts).jobName
}

/** What all events of runs have besides those of calls. */
function reportOf(
  { id, jobId, scheduleId }: Pick<Description, 'jobId' | 'scheduleId'> & { readonly id?: string },
  jobName: string | undefined,
  { status, size }: Partial<RunOutcome> = {}
): object {
  return { id, jobId, jobName, scheduleId, status, size }
}
