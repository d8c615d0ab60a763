import { keptOf } from './clock.ts'
import type { DiskClock } from './clock.ts'
import { parseEngineState, restoredHealth, writtenHealth } from './engine-state.ts'
import type { EngineState } from './engine-state.ts'
import type { Recovered } from './journal.ts'
import type { Kept } from './kept.ts'
import type { Ledger } from './ledger.ts'
import type { Lines } from './lines.ts'
import type { Origins } from './origins.ts'
import type { Routes } from './routes.ts'

/** The parts of the engine that are written to the journal, and come back from it. */
export interface Parts {
  readonly ledger: Ledger
  readonly lines: Lines
  readonly origins: Origins
  readonly routes: Routes
  readonly clock: DiskClock
}

/** What goes with each write of the journal. */
export function stateOf({ ledger, lines, origins, clock }: Parts): EngineState {
  const toDisk = (instant: number): number => clock.toDisk(instant)
  const health = lines.all().map(({ lane }) => [lane.endpoint.id, writtenHealth(lane.health, toDisk)] as const)
  return {
    totals: ledger.totals(),
    health: Object.fromEntries(health),
    holds: origins.written(performance.now(), toDisk),
  }
}

/**
 * What an earlier run has left is kept again, in its order; what belongs to a hook that is gone, or has expired meanwhile, is
 * discarded.
 *
 * @param spreadMs - what became due while nothing ran comes spread over this
 * @returns those that are kept already (handed over again before the journal opened): the journal's are void
 */
export function restore(
  parts: Parts,
  { deliveries, state, next, lost }: Recovered,
  random: () => number,
  spreadMs: number
): readonly Kept[] {
  const { ledger, lines, routes, clock } = parts
  const now = performance.now()
  ledger.numberFrom(next - 1)
  recall(parts, parseEngineState(state), now)
  const twice: Kept[] = []
  for (const found of deliveries) {
    const route = routes.of(found.delivery.owner)
    const kept = keptOf(found, clock, route?.endpoint.id ?? '', now, random() * spreadMs)
    if (ledger.byId(kept.id) !== undefined) {
      twice.push(kept)
      continue
    }
    if (route !== undefined && kept.progress.attempts > 0) {
      // it is counted among those that have failed in the present streak
      kept.progress = { ...kept.progress, failedIn: lines.to(route.endpoint).lane.health.streak }
    }
    ledger.restore(kept)
    if (route === undefined) {
      ledger.enter(kept, { name: 'ended', how: 'hook removed' })
    } else if (kept.progress.expiresAt <= now) {
      ledger.enter(kept, { name: 'ended', how: 'expired' }) // its timer would come after the first requests
    }
  }
  if (lost > 0) {
    ledger.discard(undefined, 'damaged', lost)
  }
  return twice
}

function recall({ ledger, lines, origins, routes, clock }: Parts, state: EngineState, now: number): void {
  const fromDisk = (instant: number): number => clock.fromDisk(instant)
  ledger.continue(state.totals)
  origins.recall(state.holds, now, fromDisk)
  for (const { endpoint } of routes.all()) {
    const health = state.health[endpoint.id]
    if (health !== undefined) {
      lines.to(endpoint).lane.recall(restoredHealth(health, now, fromDisk))
    }
  }
}
