import type { Attempt } from '../../src/delivery/delivery.ts'
import type { LogRow } from '../../src/delivery/journal.ts'
import type { Behaviour, Seen } from './chaos-receiver.ts'

/** A delivery, as it was handed in, and what was asked of it since. */
export interface Submitted {
  readonly id: string
  readonly owner: string
  readonly call: string
  readonly leads: boolean
  readonly isMortal: boolean
  readonly body: Buffer
  readonly moment: number
  /** The engine was closing. */
  readonly isLate: boolean
  /** Its endpoint was disabled: it was a dead letter from the start. */
  readonly wasDisabled: boolean
  /** Epoch ms. */
  cancelledAt?: number
}

/** From `moment` on, owners' deliveries go to these endpoints. */
export interface RoutesSince {
  readonly moment: number
  readonly endpointOf: ReadonlyMap<string, string>
}

/** From `from` to `to` something held. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** All that is known of a run from outside of the engine, and what the engine says of it. */
export interface Ledger {
  readonly submitted: ReadonlyMap<string, Submitted>
  readonly seen: readonly Seen[]
  readonly routes: readonly RoutesSince[]
  /** While the engine closed, `performance.now()`: what was under way may have been cut by ourselves. */
  readonly closings: readonly Span[]
  /** While an endpoint was in use and disabled, epoch ms. By endpoint. */
  readonly disabled: ReadonlyMap<string, readonly Span[]>
  readonly timeoutOf: (endpoint: string) => number
  /** Of the engine's delivery log. */
  readonly rows: readonly LogRow[]
  /** What the engine told. By id. */
  readonly discarded: ReadonlyMap<string, string>
  readonly isFullAllowed: boolean
  /** The sides of a race see its end not quite at once: within this. */
  readonly raceMs: number
}

const READ_BACK_MS = 100

/** What says 2xx, whatever comes after it. */
const AGREEABLE: ReadonlySet<Behaviour> = new Set([
  'ok',
  'no content',
  'slow',
  'late',
  'reset after headers',
  'drip body',
  'truncate',
  'endless',
])

/** What is wrong, in words; nothing if all promises were kept. */
export function audit(ledger: Ledger): string[] {
  const problems: string[] = []
  const seenOf = groupBy(ledger.seen, ({ id }) => id)
  const rowsOf = groupBy(ledger.rows, ({ id }) => id)
  const isCut = ({ at, overAt }: Seen): boolean =>
    ledger.closings.some(({ from, to }) => at < to + ledger.raceMs && overAt > from - ledger.raceMs)

  auditLabels(ledger, problems)
  for (const submitted of ledger.submitted.values()) {
    const seen = seenOf.get(submitted.id) ?? []
    const rows = rowsOf.get(submitted.id) ?? []
    const say = (problem: string): void => {
      const attempts = seen.map(({ attempt, behaviour }) => `${attempt}: ${behaviour}`).join(', ')
      const told = rows.map(row => row.settled ?? attemptOf(row)?.outcome.kind).join(', ')
      problems.push(`${submitted.id} ${problem} (seen ${attempts || 'never'}; logged ${told || 'never'})`)
    }
    auditBodies(submitted, seen, say)
    auditFate(ledger, submitted, seen, rows, say)
    auditAttempts(ledger, seen, rows, isCut, say)
  }
  auditOrder(ledger, seenOf, rowsOf, problems)
  auditDisabled(ledger, rowsOf, isCut, problems)
  return problems
}

/** The same delivery under one id, and nothing that nobody handed in. */
function auditLabels({ seen, submitted }: Ledger, problems: string[]): void {
  const idOf = new Map<string, string>()
  for (const { id, label } of seen) {
    if (!submitted.has(id)) {
      problems.push(`${id} was sent, but never handed in`)
    }
    if ((idOf.get(label) ?? id) !== id) {
      problems.push(`${label} was sent as ${id} and as ${idOf.get(label)}`)
    }
    idOf.set(label, id)
  }
}

function auditBodies({ body }: Submitted, seen: readonly Seen[], say: (problem: string) => void): void {
  if (seen.some(request => request.body !== undefined && !request.body.equals(body))) {
    say('was sent with another body')
  }
}

/** Delivered or discarded, exactly one of both, for a reason that was given. */
function auditFate(
  ledger: Ledger,
  { id, owner, isMortal, isLate, moment, cancelledAt }: Submitted,
  seen: readonly Seen[],
  rows: readonly LogRow[],
  say: (problem: string) => void
): void {
  if (rows.some(row => row['attempt'] !== undefined && row.at > (cancelledAt ?? Infinity))) {
    say('was sent after it was cancelled')
  }
  const delivered = rows.filter(({ settled }) => settled === 'delivered').length
  const reason = ledger.discarded.get(id)
  if (delivered + (reason === undefined ? 0 : 1) !== 1) {
    say(`was delivered ${delivered} times and discarded: ${reason ?? 'no'}`)
  }
  if (delivered > 0 && !seen.some(({ behaviour }) => AGREEABLE.has(behaviour))) {
    say('is said to be delivered')
  }
  if (reason === undefined) {
    return
  }
  const isAllowed = new Map([
    ['hook removed', ledger.routes.some(since => since.moment > moment && !since.endpointOf.has(owner))],
    ['cancelled', cancelledAt !== undefined],
    ['expired', isMortal],
    ['stopped', isLate],
    ['queue full', ledger.isFullAllowed],
  ])
  if (isAllowed.get(reason) !== true) {
    say(`was discarded as ${reason}`)
  }
  if (!rows.some(({ settled }) => settled === reason)) {
    say(`was discarded as ${reason}, of which the log knows nothing`)
  }
}

/** What was seen and what is logged are the same attempts; nothing is sent again once its answer was heard. */
function auditAttempts(
  { closings, timeoutOf }: Ledger,
  seen: readonly Seen[],
  rows: readonly LogRow[],
  isCut: (request: Seen) => boolean,
  say: (problem: string) => void
): void {
  const attempts = rows.map(attemptOf).filter(attempt => attempt !== undefined)
  const accepted = attempts.find(({ outcome }) => (outcome.kind === 'answered' && outcome.ok))
  let last: Seen | undefined
  for (const request of seen) {
    const { attempt, answer, endpoint } = request
    if (accepted !== undefined && attempt > accepted.number) {
      say(`was sent again after attempt ${accepted.number} was answered`)
    }
    const told = attempts.filter(({ number }) => number === attempt)
    // one that was given up may yet come in
    const isLate = told.some(({ outcome }) => outcome.kind === 'timed-out')
    if (last !== undefined && attempt < last.attempt && !isLate) {
      say(`was sent with attempt ${attempt} after ${last.attempt}`)
    }
    if (last !== undefined && attempt === last.attempt && last.answer !== undefined && !isCut(last)) {
      say(`was sent twice as attempt ${attempt}`)
    }
    last = request
    if (told.length === 0 && !seen.some(other => other.attempt === attempt && isCut(other))) {
      say(`was sent as attempt ${attempt}, of which the log knows nothing`)
    }
    const isHeard = told.some(
      ({ outcome, durationMs }) =>
        ('status' in outcome && outcome.status === answer?.status) ||
        (outcome.kind === 'timed-out' && durationMs >= timeoutOf(endpoint))
    )
    if (answer !== undefined && told.length > 0 && !isHeard && !isCut(request)) {
      say(`was answered ${answer.status} on attempt ${attempt}, which was not heard`)
    }
  }
  const numbers = attempts.map(({ number }) => number)
  if (new Set(numbers).size !== numbers.length && closings.length === 0) {
    say('has two attempts of the same number in the log')
  }
}

/** No `post` at an endpoint before a `pre` of its call there has settled. */
function auditOrder(
  { submitted, seen, routes }: Ledger,
  seenOf: ReadonlyMap<string, readonly Seen[]>,
  rowsOf: ReadonlyMap<string, readonly LogRow[]>,
  problems: string[]
): void {
  const leadersOf = groupBy(
    [...submitted.values()].filter(({ leads }) => leads),
    ({ call }) => call
  )
  for (const request of seen) {
    const follower = submitted.get(request.id)
    if (follower === undefined || follower.leads) {
      continue
    }
    for (const leader of leadersOf.get(follower.call) ?? []) {
      const wasDead = leader.wasDisabled || rowsOf.get(leader.id)?.some(({ settled }) => settled === 'dead') === true
      if (wasDead || !wasThereFirst(routes, leader, follower, request)) {
        continue // settled, or not there
      }
      const late = seenOf
        .get(leader.id)
        ?.find(
          ({ endpoint, moment, answer }) =>
            endpoint === request.endpoint &&
            (moment > request.moment || (answer !== undefined && answer.moment > request.moment))
        )
      if (late !== undefined) {
        const whereabouts = (seenOf.get(leader.id) ?? []).map(
          ({ attempt, behaviour, endpoint, moment }) => `${attempt}: ${behaviour} by ${endpoint} at ${moment}`
        )
        const told = rowsOf.get(leader.id)?.map(row => row.settled ?? attemptOf(row)?.outcome.kind)
        const changes = routes.map(({ moment, endpointOf }) => `${endpointOf.get(leader.owner)} since ${moment}`)
        problems.push(
          `${follower.id}, handed in at ${follower.moment}, was sent to ${request.endpoint} at ${request.moment}, before ${leader.id}, handed in at ${leader.moment} (seen ${whereabouts.join(', ')}; logged ${told?.join(', ')}; its hook leads to ${changes.join(', ')})`
        )
      }
    }
  }
}

/** Whether a leader belonged to where its follower was sent, and not just since the follower was on its way there. */
function wasThereFirst(routes: readonly RoutesSince[], leader: Submitted, follower: Submitted, request: Seen): boolean {
  const leaderSince = routedSince(routes, leader, request)
  return leaderSince !== undefined && leaderSince <= (routedSince(routes, follower, request) ?? request.moment)
}

/** Since which moment it has belonged to where a request was made. */
function routedSince(routes: readonly RoutesSince[], { owner, moment }: Submitted, request: Seen): number | undefined {
  let since: number | undefined
  for (const change of routes.filter(route => route.moment < request.moment)) {
    since = change.endpointOf.get(owner) === request.endpoint ? (since ?? change.moment) : undefined
  }
  return since === undefined ? undefined : Math.max(since, moment)
}

function auditDisabled(
  { disabled, seen }: Ledger,
  rowsOf: ReadonlyMap<string, readonly LogRow[]>,
  isCut: (request: Seen) => boolean,
  problems: string[]
): void {
  // what is logged of a number that was used again, elsewhere, is the other attempt
  for (const { id, attempt, endpoint } of seen.filter(request => !isCut(request))) {
    for (const { from, to } of disabled.get(endpoint) ?? []) {
      const row = rowsOf.get(id)?.find(other => attemptOf(other)?.number === attempt)
      // what was being read back from the journal still goes
      if (row !== undefined && row.at > from + READ_BACK_MS && row.at < to) {
        problems.push(
          `${id} was sent to ${endpoint} at ${row.at}, which was disabled from ${from} to ${to} (attempt ${attempt}, ${JSON.stringify(attemptOf(row)).slice(0, 200)})`
        )
      }
    }
  }
}

function attemptOf(row: LogRow): Attempt | undefined {
  return row['attempt'] as Attempt | undefined
}

export function groupBy<T>(items: Iterable<T>, keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) {
      groups.set(keyOf(item), [item])
    } else {
      group.push(item)
    }
  }
  return groups
}
