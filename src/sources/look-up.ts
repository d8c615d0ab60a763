import { textOf } from '../values.ts'
import type { JobRecord, Xo } from '../xo.ts'

/**
 * What a source has to ask the host for, since no signal says it: names, and what the log of jobs has of a run. None of
 * these rejects, whatever the host does, and none takes longer than `LOOK_UP_MS`.
 */

/** What the log of jobs has of a run. */
export interface Records {
  readonly start?: JobRecord | undefined
  readonly end?: JobRecord | undefined
}

/** Who it was that the host does not say: its own words. */
const UNKNOWN_USER = '(unknown user)'

/** How long an event waits for what has to be looked up. */
const LOOK_UP_MS = 1_000

/** How many of its youngest records the log of jobs is searched for the end of a run, which has just been written. */
const RECENT_RECORDS = 200

/** As the host names who calls its API: by e-mail or login. */
export async function nameOfUser(xo: Xo, id: string | undefined): Promise<string> {
  if (id === undefined) {
    return UNKNOWN_USER
  }
  // the host may throw as well as reject
  const look = async (): Promise<string> => (await xo.getUser(id)).email
  return settledSoon(look(), UNKNOWN_USER)
}

/** By what it was made with; `undefined` also if it cannot be known. */
export async function idOfUser(xo: Xo, name: string | undefined): Promise<string | undefined> {
  const look = async (): Promise<string | undefined> =>
    name === undefined ? undefined : textOf((await xo.getUserByName?.(name, true))?.id)
  return settledSoon(look(), undefined)
}

export async function idOfServer(xo: Xo, host: string | undefined): Promise<string | undefined> {
  const look = async (): Promise<string | undefined> =>
    host === undefined ? undefined : (await xo.getAllXenServers?.())?.find(server => server.host === host)?.id
  return settledSoon(look(), undefined)
}

/** `undefined` also if it cannot be known. */
export async function nameOfJob(xo: Xo, id: string | undefined): Promise<string | undefined> {
  const look = async (): Promise<string | undefined> =>
    id === undefined ? undefined : textOf((await xo.getJob(id)).name)
  return settledSoon(look(), undefined)
}

/** Without what cannot be read. */
export async function recordsOf(xo: Xo, runId: string): Promise<Records> {
  const isOfJobs = ({ namespace }: JobRecord): boolean => namespace === 'jobs'
  const read = async (): Promise<Records> => {
    const store = await xo.getStore('logs')
    const start = await store.get(runId).catch(() => undefined)
    let end: JobRecord | undefined
    for await (const { value } of store.createReadStream({ reverse: true, limit: RECENT_RECORDS })) {
      const { event, runJobId } = value.data ?? {}
      if (isOfJobs(value) && event === 'job.end' && runJobId === runId) {
        end = value
        break
      }
    }
    return { start: start !== undefined && isOfJobs(start) ? start : undefined, end }
  }
  return settledSoon(read(), {})
}

/** The error of a call of a run of a job that makes some: the host calls such a run successful all the same. */
export async function failedCallOf(xo: Xo, runId: string): Promise<unknown> {
  const read = async (): Promise<unknown> => {
    const store = await xo.getStore('logs')
    for await (const { value } of store.createReadStream({ reverse: true, limit: RECENT_RECORDS })) {
      const { event, runJobId, error } = value.data ?? {}
      if (value.namespace === 'jobs' && event === 'jobCall.end' && runJobId === runId && error !== undefined) {
        return error
      }
    }
    return undefined
  }
  return settledSoon(read(), undefined)
}

/** `fallback` if `promise` rejects, or takes longer than an event can wait. */
export async function settledSoon<T, F>(promise: Promise<T>, fallback: F, withinMs = LOOK_UP_MS): Promise<T | F> {
  let timer: NodeJS.Timeout | undefined
  try {
    const late = new Promise<F>(resolve => {
      timer = setTimeout(resolve, withinMs, fallback).unref()
    })
    return await Promise.race([promise, late])
  } catch {
    return fallback
  } finally {
    clearTimeout(timer)
  }
}
