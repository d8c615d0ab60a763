import { AsyncLocalStorage } from 'node:async_hooks'

import { createLogger } from '@xen-orchestra/log'

import { copyOf } from '../event/event.ts'
import { messageOf } from '../problem.ts'
import { isRecord, textOf } from '../values.ts'
import type { Job, JobSchedule, Signal, Xo } from '../xo.ts'
import { Run, RUN_METHODS, VM_BACKUP } from './backup-run.ts'
import type { Call, Tell } from './backup-run.ts'
import type { Starters } from './backup-starters.ts'
import { askedOf, refuse } from './held-calls.ts'
import type { Consent, Refusal } from './source.ts'

const log = createLogger('xo:xo-server-web-hooks')

/** A run that hooks have been asked about, from their answer to its end. */
export interface Asked {
  readonly jobId: string
  /** Absent: it is told of as the call that has started it. */
  readonly run: Run | undefined
  readonly isRefused: boolean
  isOver: boolean
}

export interface HeldRunsOptions {
  readonly xo: Xo
  readonly consent: Consent
  readonly starters: Starters
  /** The call by hand that has led to what happens now. */
  readonly callOf: (method: string, jobId: string) => Call | undefined
  readonly tell: Tell
}

/**
 * What keeps runs of backup jobs from beginning: `xo.runJob` and `xo.runJobSequence` are replaced, as long as there is a
 * hook that may refuse runs. A schedule, and a user who calls the API, come through the second one; the REST API and
 * sequences of schedules through the first (packages/xo-server/src/xo-mixins/{jobs/index,scheduling}.mjs). The host's
 * `runJobSequence` does not come by `xo.runJob`; if it did, nobody would be asked twice.
 *
 * A run that is refused is written to the host's log of jobs like one that fails: so it is in XO's backup log and reports.
 */
export class HeldRuns {
  readonly #options: HeldRunsOptions
  readonly #current = new AsyncLocalStorage<Asked>()
  /** Those that nobody has refused, until they are over. */
  readonly #begun = new Set<Asked>()
  #putBack: (() => void) | undefined

  constructor(options: HeldRunsOptions) {
    this.#options = options
  }

  /** @returns its undo */
  listen(): () => void {
    const undo = this.#options.consent.onChange(() => this.#look())
    this.#look()
    return () => {
      undo()
      this.#putBack?.()
    }
  }

  /** Whether hooks will be asked about runs of this name that begin from now on. */
  isHolding(method: string): boolean {
    return this.#putBack !== undefined && this.#options.consent.mayRefuse(method)
  }

  /** What is heard now belongs to this one: the context of a run tells. */
  current(): Asked | undefined {
    const asked = this.#current.getStore()
    // what a run has set up may go on after it, in its context
    return asked?.isOver === false ? asked : undefined
  }

  /** The run of a job that begins now, where the context does not tell. */
  of(jobId: string | undefined): Asked | undefined {
    return [...this.#begun].find(asked => asked.jobId === jobId)
  }

  #look(): void {
    const isWanted = [...RUN_METHODS.values()].some(method => this.#options.consent.mayRefuse(method))
    if (isWanted) {
      this.#putBack ??= this.#replace()
    } else {
      this.#putBack?.()
    }
  }

  /** Replaces only what is there; puts back only what is still ours. */
  #replace(): (() => void) | undefined {
    const { xo } = this.#options
    const { runJob, runJobSequence } = xo
    if (runJob === undefined || runJobSequence === undefined) {
      return undefined
    }
    const isOurs = (): boolean => this.#putBack === putBack
    const ownRunJob: typeof runJob = (job, schedule, data) => {
      const run = (): Promise<unknown> => runJob.call(xo, job, schedule, data)
      return isOurs() ? this.#hold(job, schedule, data, run) : run()
    }
    const ownSequence: typeof runJobSequence = async (ids, schedule, data) => {
      if (!isOurs()) {
        return runJobSequence.call(xo, ids, schedule, data)
      }
      // as the host: nothing runs if one of them does not exist
      const jobs = await Promise.all(ids.map(id => xo.getJob(id)))
      for (const job of jobs) {
        await this.#hold(job, schedule, data, () => runJobSequence.call(xo, [job.id], schedule, data))
      }
      return undefined
    }
    xo.runJob = ownRunJob
    xo.runJobSequence = ownSequence
    const putBack = (): void => {
      if (xo.runJob === ownRunJob) {
        xo.runJob = runJob
      }
      if (xo.runJobSequence === ownSequence) {
        xo.runJobSequence = runJobSequence
      }
      this.#putBack = undefined
    }
    return putBack
  }

  async #hold(
    job: Job,
    schedule: JobSchedule | undefined,
    data: unknown,
    begin: () => Promise<unknown>
  ): Promise<unknown> {
    const method = RUN_METHODS.get(job.type)
    const { xo, callOf, consent, starters } = this.#options
    if (method === undefined || !consent.mayRefuse(method) || this.current()?.jobId === job.id) {
      return begin()
    }
    const call = callOf(method, job.id)
    const run = call === undefined ? this.#newRun(method, job, schedule, data, starters) : undefined
    const signal = await (run?.question() ?? call!.question(xo))
    const refusal = await askedOf(consent, call === undefined ? 'backup' : 'api', signal)
    const asked: Asked = { jobId: job.id, run, isRefused: refusal !== undefined, isOver: false }
    try {
      if (refusal !== undefined) {
        return await this.#current.run(asked, () => this.#refuse(asked, refusal, signal, job, schedule))
      }
      this.#begun.add(asked)
      return await this.#current.run(asked, begin)
    } finally {
      this.#begun.delete(asked)
      asked.isOver = true
    }
  }

  #newRun(method: string, job: Job, schedule: JobSchedule | undefined, data: unknown, starters: Starters): Run {
    const about = { jobId: job.id, scheduleId: schedule?.id }
    const { settings, vms } = job
    // as the host announces a run of VMs (`backup:preCall`)
    const vmParams = method === VM_BACKUP && { proxy: job['proxy'], settings, vms }
    const params = copyOf({ id: job.id, schedule: schedule?.id, ...vmParams, ...(isRecord(data) && data) })
    const described = { method, ...about, jobName: textOf(job.name), ownerId: textOf(job.userId), start: Date.now() }
    return new Run(this.#options.xo, { ...described, params }, starters.of(about))
  }

  async #refuse(
    { run }: Asked,
    refusal: Refusal,
    signal: Signal,
    job: Job,
    schedule: JobSchedule | undefined
  ): Promise<never> {
    try {
      return refuse(signal, refusal)
    } catch (error) {
      const id = await this.#logRefusal(error, job, schedule)
      if (run !== undefined) {
        run.hasNoPre()
        const described = id === undefined ? run.description : { ...run.description, id }
        void run.begins(described).tellEnd(this.#options.tell, { status: 'failure', error: error as object })
      }
      throw error
    }
  }

  /** As the host does with a run that fails at once. @returns the id of the run in the host's log, if it could be written */
  async #logRefusal(thrown: unknown, job: Job, schedule: JobSchedule | undefined): Promise<string | undefined> {
    const { xo } = this.#options
    const { id, type, name, userId, key, settings } = job
    const { code, message, data } = thrown as { code?: unknown; message?: unknown; data?: unknown }
    const error = { code, data, message, name: 'XoError' }
    const forAll = settings?.['']
    const { reportWhen = 'failure', backupReportTpl, hideSuccessfulItems } = isRecord(forAll) ? forAll : {}
    try {
      const logger = await xo.getLogger?.('jobs')
      const runJobId = logger?.notice(`Starting execution of ${id}.`, {
        data: { mode: job['mode'], reportWhen, backupReportTpl, hideSuccessfulItems },
        ...{ event: 'job.start', userId, jobId: id, jobName: name, proxyId: job['proxy'] },
        ...{ scheduleId: schedule?.id, key, type },
      })
      const text = `The execution of ${id} has failed.`
      await logger?.error(text, { event: 'job.end', runJobId, error }, true)
      if (runJobId !== undefined) {
        xo.emit('job:terminated', runJobId, { type })
      }
      return runJobId
    } catch (failure) {
      log.warn("a run that was refused is not in XO's backup log", { error: messageOf(failure) })
      return undefined
    }
  }
}
