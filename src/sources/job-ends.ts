import type { EventInfo } from '../event/event.ts'
import { textOf } from '../values.ts'
import type { TaskLog, Xo } from '../xo.ts'
import { outcomeOfRun, tellsOutcome } from './backup-outcome.ts'
import { failedCallOf, nameOfJob, recordsOf, settledSoon } from './look-up.ts'
import { remember } from './recent.ts'
import { listen } from './source.ts'
import type { Accept } from './source.ts'
import { header } from './telling.ts'

const FINISHED = 'job.finished'

export const jobEvents: readonly EventInfo[] = [
  {
    name: FINISHED,
    phases: ['post'],
    sentence:
      'A job has run to its end: `params` are its `id`, `name`, `type`, `run` and `status`; an `error`, if it failed',
  },
]

/** Of what the host runs as jobs, those that make API calls: of others a task knows what has come of them. */
const CALLS = 'call'

const INTERRUPTED = {
  status: 'interrupted',
  error: { message: 'xo-server has stopped while the run was under way' },
}

/** Runs of which the task is remembered: far more than there are at once. */
const MAX_TASKS = 1_000

/**
 * Hears the end of each run of a job, of whichever type. The host says which run has ended, and no more: what has come of
 * it is known by its task (a run is a success to the host in which VMs have failed), or by the log of jobs.
 *
 * @returns its undo
 */
export function listenToJobEnds(xo: Xo, accept: Accept): () => void {
  /** The live records of the runs, by run. */
  const tasks = new Map<string, TaskLog>()
  /** Runs that are over, and whose task has not been heard of. */
  const waiting = new Map<string, (task: TaskLog) => void>()

  const taskOf = async (run: string): Promise<TaskLog | undefined> => {
    const late = new Promise<TaskLog>(resolve => waiting.set(run, resolve))
    const task = tasks.get(run) ?? (await settledSoon(late, undefined))
    waiting.delete(run)
    tasks.delete(run)
    return task
  }

  const tellEnd = async (run: string, type: string, running: string | undefined): Promise<void> => {
    const [{ start, end }, failed] = await Promise.all([
      recordsOf(xo, run),
      type === CALLS ? failedCallOf(xo, run) : undefined,
    ])
    const id = running ?? textOf(start?.data?.['jobId'])
    const name = textOf(start?.data?.['jobName']) ?? (await nameOfJob(xo, id))
    const error = end?.data?.['error'] ?? failed
    const isInterrupted = end === undefined && start !== undefined && running === undefined
    const isKnown = isInterrupted || type === CALLS || tellsOutcome(undefined, error)
    const outcome = isInterrupted ? INTERRUPTED : outcomeOfRun(isKnown ? undefined : await taskOf(run), error)
    await accept('state', 'post', {
      ...header(FINISHED),
      params: { id, name, type, run, status: outcome.status },
      ...(outcome.error !== undefined && { error: outcome.error }),
    })
  }

  const undo = [
    listen<[TaskLog]>(xo.tasks, 'update', task => {
      const { name, runJobId } = task.properties
      if (name === 'backup run' && typeof runJobId === 'string' && accept.wants(FINISHED)) {
        remember(tasks, runJobId, task, MAX_TASKS)
        waiting.get(runJobId)?.(task)
      }
    }),
    listen<[string, { readonly type: string }]>(xo, 'job:terminated', (run, { type }) => {
      // the job of a run that a restart has interrupted does not run any more
      const running = Object.keys(xo.runningJobs).find(jobId => xo.runningJobs[jobId] === run)
      return accept.wants(FINISHED) ? tellEnd(run, type, running) : undefined
    }),
  ]
  return () => undo.forEach(each => each())
}
