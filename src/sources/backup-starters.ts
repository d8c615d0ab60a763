import { isRecord, textOf } from '../values.ts'
import type { ApiContext, Signal, TaskLog, Xo } from '../xo.ts'
import { settledSoon } from './look-up.ts'
import { remember } from './recent.ts'
import { REST_ACTION, REST_PREFIX } from './rest-actions.ts'

/** What leads to runs of backup jobs while it is under way: a call that runs schedules, or an action of the REST API. */
export interface Starter {
  /** Who has begun it. */
  readonly userId: string | undefined
  readonly userName: string | undefined
  /** Of the schedules or jobs that it runs. */
  readonly ids: readonly unknown[]
  /** Whether what is heard in this context may come of it. */
  isIn(context: ApiContext): boolean
}

/** Which job a run is of, and by which schedule. */
interface Started {
  readonly jobId: string | undefined
  readonly scheduleId: string | undefined
}

/** API methods that run jobs as a part of what they do, with the parameter that names schedules or jobs. */
const SEQUENCES: ReadonlyMap<string, string> = new Map([
  ['schedule.runSequence', 'schedules'],
  ['job.runSequence', 'idSequence'],
])

const RUN_SCHEDULE = `${REST_PREFIX}run schedule`

/** Far more than there are at once. */
const MAX_STARTERS = 10_000

/** How long a run that a user may have started waits to hear of the action by which that was done. */
const LATE_ACTION_MS = 100

/** Who has started a run that was not called by hand: without this, it would be told as one of the owner of its job. */
export class Starters {
  readonly #xo: Xo
  /** Those under way, by call id or the id of a task. */
  readonly #starters = new Map<string, Starter>()
  /** Of runs that wait to hear of theirs. */
  readonly #listeners = new Set<(starter: Starter) => void>()

  constructor(xo: Xo) {
    this.#xo = xo
  }

  /** A call of `schedule.runSequence` or `job.runSequence` begins: all that it starts runs in the context of now. */
  sequenceCalled({ callId, method, params, userId, userName }: Signal): void {
    const ids = isRecord(params) ? params[SEQUENCES.get(method) ?? ''] : undefined
    const { apiContext } = this.#xo
    const starter: Starter = {
      ...{ userId, userName, ids: Array.isArray(ids) ? ids : [] },
      isIn: context => context === apiContext,
    }
    remember(this.#starters, callId, starter, MAX_STARTERS)
  }

  sequenceEnded({ callId }: Signal): void {
    this.#starters.delete(callId)
  }

  /**
   * An action of the REST API is updated. The context it runs in is not known, since updates are emitted in whichever
   * came first. What is known is its user: a run of the same schedule that begins in a context of that user, while the
   * action is under way, is taken for the one that the action has started.
   */
  actionUpdated({ id, properties, status }: TaskLog): void {
    if (properties['type'] !== REST_ACTION || properties['name'] !== RUN_SCHEDULE) {
      return
    }
    const userId = textOf(properties['userId'])
    if (status !== 'pending') {
      this.#starters.delete(id)
    } else if (userId !== undefined && !this.#starters.has(id)) {
      const starter: Starter = {
        ...{ userId, userName: undefined, ids: [properties['objectId']] },
        isIn: ({ user }) => user?.id === userId,
      }
      remember(this.#starters, id, starter, MAX_STARTERS)
      this.#listeners.forEach(hear => hear(starter))
    }
  }

  /** What may have led to that which is heard now. */
  current(): Starter[] {
    const { apiContext } = this.#xo
    return apiContext === undefined ? [] : [...this.#starters.values()].filter(each => each.isIn(apiContext))
  }

  /**
   * What has led to the run that is heard now, if anything has. An action of the REST API may be heard of a moment later
   * than its run, which waits for that up to `LATE_ACTION_MS`. Never rejects.
   */
  async of(run: Started): Promise<Starter | undefined> {
    const { apiContext } = this.#xo
    const known = starterOf(run, this.current())
    if (known !== undefined || apiContext?.user === undefined) {
      return known
    }
    let hear = (_: Starter): void => {}
    const heard = new Promise<Starter>(resolve => {
      hear = starter => {
        if (starter.isIn(apiContext) && starterOf(run, [starter]) !== undefined) {
          resolve(starter)
        }
      }
    })
    this.#listeners.add(hear)
    const starter = await settledSoon(heard, undefined, LATE_ACTION_MS)
    this.#listeners.delete(hear)
    return starter
  }
}

/** The one that runs this job or schedule. */
export function starterOf({ jobId, scheduleId }: Started, starters: readonly Starter[]): Starter | undefined {
  return starters.find(({ userId, ids }) => userId !== undefined && (ids.includes(scheduleId) || ids.includes(jobId)))
}
