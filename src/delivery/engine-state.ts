import { HEALTHY, isInTrouble } from './health.ts'
import type { Health } from './health.ts'
import type { WrittenHolds } from './origins.ts'
import type { Ended } from './tally.ts'

/** What the engine wants to know again after a restart: plain data, with each write of the journal. Instants on the disk's clock. */
export interface EngineState {
  readonly ended: Ended
  /** By endpoint id, of those about which there is something to say. */
  readonly health: Readonly<Record<string, Health>>
  readonly holds: WrittenHolds
}

/** Whether a restart may not forget how an endpoint is. */
export function isWorthWriting(health: Health): boolean {
  return isInTrouble(health) || health.isTold || health.isPaused === true
}

/** In the journal's clock. When it failed last is of this run only: the time until the next attempt is not of its making. */
export function writtenHealth(health: Health, toDisk: (instant: number) => number): Health {
  const { failedAt: _, circuit, ...rest } = health
  return { ...rest, circuit: circuit.name === 'open' ? { ...circuit, until: toDisk(circuit.until) } : circuit }
}

/** As it is after a restart. However the wall clock was changed in between, no pause is longer than it was meant to be. */
export function restoredHealth(health: Health, now: number, fromDisk: (instant: number) => number): Health {
  const { circuit } = health
  return {
    ...HEALTHY,
    ...health,
    circuit:
      circuit.name === 'open'
        ? { ...circuit, until: Math.min(fromDisk(circuit.until), now + circuit.pauseMs) }
        : circuit,
  }
}

/** What the journal gives back; of format 1, the counts alone. What is missing or odd is as it is at first. */
export function parseEngineState(value: unknown): EngineState {
  const state = recordOf(value)
  return {
    ended: endedOf(state['ended']),
    health: mapped(state['health'], health => ({ ...HEALTHY, ...recordOf(health) })),
    holds: mapped(state['holds'], hold => ({
      until: numberOf(recordOf(hold)['until']),
      ms: numberOf(recordOf(hold)['ms']),
    })),
  }
}

function endedOf(value: unknown): Ended {
  const { delivered, discarded } = recordOf(value)
  return { delivered: numberOf(delivered), discarded: mapped(discarded, numberOf) }
}

function mapped<T>(value: unknown, read: (item: unknown) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(recordOf(value)).map(([key, item]) => [key, read(item)]))
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
}

function numberOf(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0
}
