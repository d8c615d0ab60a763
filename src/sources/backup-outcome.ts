import { copyOf } from '../event/event.ts'
import { isRecord, numberOf, textOf } from '../values.ts'
import type { TaskLog } from '../xo.ts'

/** How a run of a backup job has ended. */
export interface RunOutcome {
  /** `success`, `skipped`, `failure`, `interrupted`: the host's word. */
  readonly status: string
  /** With `failures`, what of the run has failed, and `failureCount` where that is more than are listed. */
  readonly error?: object
  /** Bytes that were transferred, if the task tells. */
  readonly size?: number
}

/** One thing that a run was to back up, or to back up to, and why that has failed. */
interface Failure {
  readonly type: string | undefined
  readonly id: string | undefined
  readonly name: string | undefined
  /** Which step of the run it was. */
  readonly step: string | undefined
  readonly message: string
}

/** More are counted only: an event stays small. */
const MAX_FAILURES = 100
const MAX_MESSAGE_LENGTH = 500

/** `forwardResult` in packages/xo-server/src/_handleBackupLog.mjs: what has failed stands in the task. */
const SAYS_NOTHING = 'backup task failed with undefined error'

/** Whether it is the error of a run whose task knows more. */
function saysNothing(error: unknown): boolean {
  return isRecord(error) && error['message'] === SAYS_NOTHING
}

/** Whether the outcome of a run is known from these. A task that is still pending does not tell: its worker may have died. */
export function tellsOutcome(task: TaskLog | undefined, error: unknown): boolean {
  return (task !== undefined && task.status !== 'pending') || (error !== undefined && !saysNothing(error))
}

/** {@link outcomeOfRun} if these tell it. */
export function knownOutcome(task: TaskLog | undefined, error: unknown): RunOutcome | undefined {
  return tellsOutcome(task, error) ? outcomeOfRun(task, error) : undefined
}

/**
 * What has come of a run, by its task and the error that the host says it has ended with.
 *
 * The host's own word is not enough: it calls a run successful in which VMs have failed. The status of its task is
 * true, as it is computed from its subtasks.
 */
export function outcomeOfRun(task: TaskLog | undefined, error: unknown): RunOutcome {
  if (error === undefined && task?.status !== 'failure') {
    return { status: task === undefined || task.status === 'pending' ? 'success' : task.status, ...sizeOf(task) }
  }
  const failed = task === undefined ? [] : failedIn(task)
  const failures = failed.slice(0, MAX_FAILURES).map(failureOf)
  const said = copyOf(error ?? task?.result)
  const known = isRecord(said) ? said : {}
  const message = textOf(known['message'])
  return {
    status: 'failure',
    error: {
      ...known,
      message: message === undefined || saysNothing(known) ? inWords(failures, failed.length, said) : message,
      ...(failures.length > 0 && { failures }),
      ...(failed.length > failures.length && { failureCount: failed.length }),
    },
    ...sizeOf(task),
  }
}

/** `transfer` in @xen-orchestra/backups/_runners: its result has the `size`. */
function sizeOf(task: TaskLog | undefined): Pick<RunOutcome, 'size'> {
  const size = task === undefined ? 0 : transferredIn(task)
  return size > 0 ? { size } : {}
}

function transferredIn({ properties, result, tasks = [] }: TaskLog): number {
  const own = properties['name'] === 'transfer' && isRecord(result) ? (numberOf(result['size']) ?? 0) : 0
  return tasks.reduce((sum, task) => sum + transferredIn(task), own)
}

/** What was backed up (the tasks of the run) and has failed, sorted as the host has it. */
function failedIn({ tasks = [] }: TaskLog): TaskLog[] {
  return tasks.filter(({ status }) => status === 'failure')
}

function failureOf(task: TaskLog): Failure {
  const { properties } = task
  return {
    type: textOf(properties['type']),
    id: textOf(properties['id']),
    name: textOf(properties['name_label']),
    step: textOf(properties['name']),
    message: causeOf(task).slice(0, MAX_MESSAGE_LENGTH),
  }
}

/** What the task says, or the first of its subtasks that has failed. */
function causeOf({ result, tasks = [] }: TaskLog): string {
  const message = isRecord(result) ? textOf(result['message']) : textOf(result)
  if (message !== undefined && message !== '') {
    return message
  }
  const failed = tasks.find(({ status }) => status === 'failure')
  return failed === undefined ? 'unknown error' : causeOf(failed)
}

function inWords([first]: readonly Failure[], count: number, said: unknown): string {
  if (first === undefined) {
    return textOf(said) ?? 'the run has failed'
  }
  const others = count === 1 ? '' : `, and ${count - 1} more`
  const { type, name, id, step, message } = first
  const what = [type, name ?? id].filter(word => word !== undefined).join(' ')
  return `${what || (step ?? 'a part of the run')}: ${message}${others}`
}
