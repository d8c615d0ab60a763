import { keptOf } from './clock.ts'
import type { DiskClock } from './clock.ts'
import { isWorthWriting, parseEngineState, restoredHealth, writtenHealth } from './engine-state.ts'
import type { EngineState } from './engine-state.ts'
import type { Recovered } from './journal.ts'
import type { Kept } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Lines } from './lines.ts'
import type { Origins } from './origins.ts'
import type { Routes } from './routes.ts'
import type { Stamp } from './stored.ts'

/** The parts of the engine that are written to the journal, and come back from it. */
export interface Parts {
  readonly ledger: Ledger
  readonly lines: Lines
  readonly origins: Origins
  readonly routes: Routes
  readonly clock: DiskClock
}

/** What an engine leaves to the one that takes its place in the same process: plain data. The journal may lag behind it. */
export interface Legacy {
  readonly state: EngineState
  readonly clock: Stamp
  /** Numbers of deliveries that have ended, and that the journal may hold still: `1-3,9`. */
  readonly unremoved: string
}

/** What goes with each write of the journal. */
export function stateOf({ ledger, lines, origins, clock }: Parts): EngineState {
  const toDisk = (instant: number): number => clock.toDisk(instant)
  const health = lines
    .all()
    .filter(({ lane }) => isWorthWriting(lane.health))
    .map(({ lane }) => [lane.endpoint.id, writtenHealth(lane.health, toDisk)] as const)
  return {
    ended: ledger.ended(),
    health: Object.fromEntries(health),
    holds: origins.written(performance.now(), toDisk),
  }
}

export interface RestoreOptions {
  readonly random: () => number
  /** What became due while nothing ran comes spread over this. */
  readonly spreadMs: number
  /** These have ended since the journal was written. */
  readonly ended: ReadonlySet<number>
  /** It says nothing any more: its `post` has gone. */
  readonly isOvertaken: (kept: Kept) => boolean
  /** How the endpoints are is known better than from the journal. */
  readonly isStateKnown: boolean
}

/**
 * What an earlier run has left is kept again, in its order; what belongs to a hook that is gone, has been cancelled, or has
 * expired meanwhile, is discarded.
 *
 * @returns what the journal holds in vain: it has ended, or is kept already (handed over again before the journal opened)
 */
export function restore(
  parts: Parts,
  { deliveries, state, next, lost }: Recovered,
  { random, spreadMs, ended, isStateKnown, isOvertaken }: RestoreOptions
): readonly Kept[] {
  const { ledger, lines, routes, clock } = parts
  const now = performance.now()
  ledger.numberFrom(next - 1)
  const earlier = parseEngineState(state)
  if (isStateKnown) {
    ledger.continue(earlier.ended)
  } else {
    recall(parts, earlier)
  }
  const voided: Kept[] = []
  for (const found of deliveries) {
    const route = routes.of(found.delivery.owner)
    const kept = keptOf(found, clock, route?.endpoint.id ?? '', now, random() * spreadMs)
    if (ended.has(kept.number) || ledger.byId(kept.id) !== undefined) {
      voided.push(kept)
      continue
    }
    if (route !== undefined && kept.progress.attempts > 0) {
      // it is counted among those that have failed in the present streak
      kept.progress = { ...kept.progress, failedIn: lines.to(route.endpoint).lane.health.streak }
    }
    ledger.restore(kept)
    if (route === undefined) {
      ledger.enter(kept, { name: 'ended', how: 'hook removed' })
    } else if (found.progress?.state === 'cancelled') {
      ledger.enter(kept, { name: 'ended', how: 'cancelled' })
    } else if (kept.progress.expiresAt <= now || isOvertaken(kept)) {
      ledger.enter(kept, { name: 'ended', how: 'expired' }) // its timer would come after the first requests
    }
  }
  if (lost > 0) {
    ledger.discard(undefined, 'damaged', lost)
  }
  return voided
}

/** What was known of endpoints and origins is known again, and counts go on. */
export function recall({ ledger, lines, origins, routes, clock }: Parts, state: EngineState): void {
  const now = performance.now()
  const fromDisk = (instant: number): number => clock.fromDisk(instant)
  ledger.continue(state.ended)
  origins.recall(state.holds, now, fromDisk)
  for (const { endpoint } of routes.all()) {
    const health = state.health[endpoint.id]
    if (health !== undefined) {
      lines.to(endpoint).lane.recall(restoredHealth(health, now, fromDisk))
    }
  }
}
