import type { Settings } from '../config/hook.ts'
import type { ShownHook } from '../config/shown.ts'
import type {
  Account,
  Details,
  EndpointHealth,
  EndpointStatistics,
  EngineHealth,
  EngineStatistics,
  Page,
  Rehearsal,
} from '../engine/engine.ts'

// What answers are made of: plain data, times in epoch ms, no secret, and of a URL its origin. The page takes its types
// from here, so that the two cannot disagree.

export type { FormSchema } from '../config/form.ts'
export type { AccountStatus as DeliveryStatus, PastAttempt, RecentEvent, Rehearsal } from '../engine/engine.ts'
export type { TestReport } from '../test-report.ts'

/** A list that is told whole. */
export interface ListAnswer<T> {
  readonly items: readonly T[]
}

/** One thing that a hook can be about. `api`: a method of the API, with `pre` and `post`. */
export interface EventAnswer {
  readonly name: string
  readonly kind: 'api' | 'event'
  readonly description?: string
  /** Hooks that are about it. */
  readonly hooks: readonly { readonly id: string; readonly name: string }[]
  /** When it came last, epoch ms, if that is known. */
  readonly heardAt?: number
}

/** Of the operation `getHealth`. */
export interface HealthAnswer {
  readonly accepted: number
  readonly delivered: number
  readonly pending: number
  readonly dead: number
  /** By reason. */
  readonly discarded: Readonly<Record<string, number>>
  /** How many, by state. */
  readonly endpoints: Readonly<Record<string, number>>
  /** Since the start, by outcome. */
  readonly attempts: Readonly<Record<string, number>>
  /** Attempts. */
  readonly lastHour: { readonly delivered: number; readonly failed: number }
  /** Events for which a filter took too long, by hook. */
  readonly undecided: Readonly<Record<string, number>>
  /** Why the journal is not in use. */
  readonly journal?: string
}

/** A hook as it is configured, without its secrets. `endpoint`: where it leads, if it can be used. */
export interface HookAnswer extends ShownHook {
  readonly endpoint?: string
}

/** What a hook would have sent of the events that hooks have wanted lately. */
export interface TryAnswer extends ListAnswer<Rehearsal> {
  /** So many there are. */
  readonly heard: number
  /** So many of them are like what it is about. */
  readonly matched: number
}

/** All deliveries of one call. */
export interface CallAnswer extends ListAnswer<DeliveryAnswer> {
  readonly id: string
}

/** One page of deliveries, or what has changed since another one. */
export interface DeliveriesAnswer extends ListAnswer<DeliveryAnswer>, Omit<Page<unknown>, 'items' | 'cursor'> {
  /** Cursor of the page after it. */
  readonly next?: string
}

/** All that there is to know of one delivery. */
export interface DetailsAnswer extends DeliveryAnswer, Pick<Details, 'history'> {
  /** As it is sent, without what lets it in. */
  readonly request?: { readonly headers: Readonly<Record<string, string>>; readonly body?: string }
}

export type EndpointState = 'working' | 'failing' | 'held back' | 'paused' | 'disabled' | 'unusable'

export interface EndpointAnswer {
  readonly id: string
  readonly origin?: string
  readonly hooks: readonly { readonly id: string; readonly name: string }[]
  readonly state: EndpointState
  /** Since when it fails, or is disabled. */
  readonly since?: number
  /** Why it is disabled. */
  readonly reason?: string
  readonly waiting: number
  /** When the oldest of these was accepted. */
  readonly oldestAt?: number
  readonly dead: number
  readonly delivered: number
  readonly discarded: number
  readonly failuresInRow: number
  /** Of the next request at the earliest, where it is held back. */
  readonly nextTryAt?: number
  readonly lastError?: string
  /** Absent: nothing was sent there that is still known. */
  readonly statistics?: EndpointStatistics
}

export function endpointsOf(
  { endpoints }: EngineHealth,
  { endpoints: statistics, oldest }: EngineStatistics,
  { settings }: { readonly settings: Settings }
): EndpointAnswer[] {
  return [...endpoints].map(([id, health]) => {
    const leadsHere = ({ route }: { readonly route: { readonly endpoint: { readonly id: string } } }): boolean =>
      route.endpoint.id === id
    const hooks = [...settings.hooks, ...settings.others]
      .filter(leadsHere)
      .map(hook => ({ id: hook.id, name: hook.name }))
    const isUnusable = settings.others.some(leadsHere) && !settings.hooks.some(leadsHere)
    const known = statistics.get(id)
    const oldestAt = oldest.get(id)
    return {
      ...endpointOf(id, health, hooks, isUnusable),
      ...(oldestAt !== undefined && { oldestAt }),
      ...(known && { statistics: known }),
    }
  })
}

function endpointOf(
  id: string,
  { origin, health, pending, dead, delivered, discarded, retryAt, pausedUntil }: EndpointHealth,
  hooks: EndpointAnswer['hooks'],
  isUnusable: boolean
): EndpointAnswer {
  const { disabled, failingSince, failuresInRow, lastError } = health
  const since = disabled?.since ?? failingSince
  const nextTryAt = Math.max(retryAt ?? 0, pausedUntil ?? 0)
  const state = isUnusable ? 'unusable' : stateOf(health, nextTryAt > 0)
  return {
    id,
    ...(!isUnusable && { origin }),
    hooks,
    state,
    ...(since !== undefined && { since }),
    ...(disabled !== undefined && { reason: disabled.reason }),
    waiting: pending,
    dead,
    delivered,
    discarded: Object.values(discarded).reduce((sum, count) => sum + count, 0),
    failuresInRow,
    ...(state === 'held back' && { nextTryAt }),
    ...(lastError !== undefined && { lastError }),
  }
}

function stateOf({ disabled, isPaused, failuresInRow }: EndpointHealth['health'], isHeld: boolean): EndpointState {
  return disabled !== undefined
    ? 'disabled'
    : isPaused === true
      ? 'paused'
      : isHeld
        ? 'held back'
        : failuresInRow > 0
          ? 'failing'
          : 'working'
}

/** The names of hooks, by their ids. */
interface HookNames {
  nameOf(hook: string): string | undefined
}

export interface DeliveryAnswer extends Omit<Account, 'owner' | 'label' | 'dueAt' | 'last'> {
  readonly hook: string
  readonly hookName?: string
  readonly method: string
  /** What became of the call: `started`, `success` or `failure`. */
  readonly outcome: string
  /** Id of the object that it is about. */
  readonly object?: string
  readonly nextAttemptAt?: number
  readonly lastAttempt?: Account['last']
}

export function deliveryOf({ owner, label, dueAt, last, ...account }: Account, admin: HookNames): DeliveryAnswer {
  const [method = '', outcome = '', object] = label.split(' ')
  const hookName = admin.nameOf(owner)
  return {
    ...account,
    hook: owner,
    ...(hookName !== undefined && { hookName }),
    ...{ method, outcome },
    ...(object !== undefined && { object }),
    ...(dueAt !== undefined && { nextAttemptAt: dueAt }),
    ...(last !== undefined && { lastAttempt: last }),
  }
}

export function detailsOf({ history, request, ...account }: Details, admin: HookNames): DetailsAnswer {
  return {
    ...deliveryOf(account, admin),
    ...(history && { history }),
    ...(request && {
      request: {
        headers: {
          'Content-Type': request.contentType,
          ...pairsOf(request.headers),
          'X-XO-Delivery': account.id,
          'webhook-id': account.id,
        },
        ...(request.body !== undefined && { body: request.body }),
      },
    }),
  }
}

function pairsOf(headers: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    headers.flatMap((name, index) => (index % 2 === 0 ? [[name, headers[index + 1] ?? '']] : [])) as [string, string][]
  )
}
