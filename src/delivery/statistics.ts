import type { AttemptOutcome } from './delivery.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const MINUTES = 60
const HOURS = 24

/** Upper bounds of the durations of attempts, ms; what takes longer is counted after the last one. */
export const DURATION_BOUNDS_MS = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000] as const

const BINS = DURATION_BOUNDS_MS.length + 1

/** Attempts in spans of the same length, the latest last. */
export interface Spans {
  /** When the first one began, epoch ms. */
  readonly from: number
  readonly delivered: readonly number[]
  readonly failed: readonly number[]
}

/** What has become of the attempts at one endpoint. */
export interface EndpointStatistics {
  /** The last 60. */
  readonly minutes: Spans
  /** The last 24, with durations that half and 95 % of the attempts did not exceed, ms; 0: there was none. */
  readonly hours: Spans & { readonly p50: readonly number[]; readonly p95: readonly number[] }
  /** Of this hour and the one before, ms. */
  readonly p50?: number
  readonly p95?: number
}

/** All attempts since the start. */
export interface AttemptTotals {
  readonly outcomes: Readonly<Record<'ok' | 'refused' | 'unreachable' | 'timed-out', number>>
  /** By {@link DURATION_BOUNDS_MS}, and beyond. */
  readonly durations: readonly number[]
  readonly durationMs: number
}

/** What is known of attempts. */
export interface EngineStatistics {
  readonly attempts: AttemptTotals
  /** By endpoint id. */
  readonly endpoints: ReadonlyMap<string, EndpointStatistics>
  /** By endpoint id: when the oldest that is pending there was accepted, epoch ms. */
  readonly oldest: ReadonlyMap<string, number>
  /** On disk of what is kept; absent: there is no journal. */
  readonly journalBytes?: number
}

/** Counts in a ring of spans, the memory of which never grows. */
class Ring {
  readonly #spanMs: number
  readonly #length: number
  readonly #width: number
  readonly #counts: Uint32Array
  /** Number of the latest span, counted from 1970. */
  #latest = 0

  constructor(spanMs: number, length: number, width: number) {
    this.#spanMs = spanMs
    this.#length = length
    this.#width = width
    this.#counts = new Uint32Array(length * width)
  }

  count(at: number, column: number): void {
    const span = Math.floor(at / this.#spanMs)
    this.#turn(span)
    if (span > this.#latest - this.#length) {
      ++this.#counts[(span % this.#length) * this.#width + column]!
    }
  }

  /** The counts of each span up to the one of `now`, the latest last. */
  rows(now: number): { from: number; rows: Uint32Array[] } {
    this.#turn(Math.floor(now / this.#spanMs))
    const first = this.#latest - this.#length + 1
    const rows = Array.from({ length: this.#length }, (_, index) => {
      const start = ((first + index) % this.#length) * this.#width
      return this.#counts.subarray(start, start + this.#width)
    })
    return { from: first * this.#spanMs, rows }
  }

  /** What is older than the ring is long goes. */
  #turn(span: number): void {
    for (let each = Math.max(this.#latest + 1, span - this.#length + 1); each <= span; ++each) {
      const start = (each % this.#length) * this.#width
      this.#counts.fill(0, start, start + this.#width)
    }
    this.#latest = Math.max(this.#latest, span)
  }
}

const [DELIVERED, FAILED, DURATIONS] = [0, 1, 2]

interface Endpoint {
  readonly minutes: Ring
  readonly hours: Ring
}

/**
 * Attempts by minute and hour and endpoint, in memory that is bounded: some 2 KiB an endpoint. Nothing of them is written:
 * after a restart they are counted again from the delivery log.
 */
export class Statistics {
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #outcomes = { ok: 0, refused: 0, unreachable: 0, 'timed-out': 0 }
  readonly #durations = new Array<number>(BINS).fill(0)
  #durationMs = 0

  /** An attempt of this run. */
  count(endpoint: string, at: number, durationMs: number, outcome: AttemptOutcome): void {
    const isOk = outcome.kind === 'answered' && outcome.ok
    ++this.#outcomes[isOk ? 'ok' : outcome.kind === 'answered' ? 'refused' : outcome.kind]
    ++this.#durations[binOf(durationMs)]!
    this.#durationMs += durationMs
    this.recall(endpoint, at, durationMs, isOk)
  }

  /** An attempt of an earlier run: it is no part of the totals. */
  recall(endpoint: string, at: number, durationMs: number, isOk: boolean): void {
    let found = this.#endpoints.get(endpoint)
    if (found === undefined) {
      found = { minutes: new Ring(MINUTE_MS, MINUTES, 2), hours: new Ring(HOUR_MS, HOURS, DURATIONS + BINS) }
      this.#endpoints.set(endpoint, found)
    }
    found.minutes.count(at, isOk ? DELIVERED : FAILED)
    found.hours.count(at, isOk ? DELIVERED : FAILED)
    found.hours.count(at, DURATIONS + binOf(durationMs))
  }

  /** Only these endpoints are still there. */
  retain(isThere: (endpoint: string) => boolean): void {
    for (const endpoint of this.#endpoints.keys()) {
      if (!isThere(endpoint)) {
        this.#endpoints.delete(endpoint)
      }
    }
  }

  get totals(): AttemptTotals {
    return { outcomes: { ...this.#outcomes }, durations: [...this.#durations], durationMs: this.#durationMs }
  }

  /** @returns `undefined`: nothing was sent there that is still known */
  of(endpoint: string, now: number): EndpointStatistics | undefined {
    const found = this.#endpoints.get(endpoint)
    if (found === undefined) {
      return undefined
    }
    const minutes = found.minutes.rows(now)
    const hours = found.hours.rows(now)
    const durations = hours.rows.map(row => [...row.subarray(DURATIONS)])
    const lately = sumOf(durations.slice(-2))
    return {
      minutes: spansOf(minutes),
      hours: {
        ...spansOf(hours),
        p50: durations.map(counts => quantileOf(counts, 0.5)),
        p95: durations.map(counts => quantileOf(counts, 0.95)),
      },
      ...(lately.some(count => count > 0) && { p50: quantileOf(lately, 0.5), p95: quantileOf(lately, 0.95) }),
    }
  }
}

function spansOf({ from, rows }: { readonly from: number; readonly rows: readonly Uint32Array[] }): Spans {
  return { from, delivered: rows.map(row => row[DELIVERED]!), failed: rows.map(row => row[FAILED]!) }
}

function binOf(durationMs: number): number {
  const bin = DURATION_BOUNDS_MS.findIndex(bound => durationMs <= bound)
  return bin === -1 ? BINS - 1 : bin
}

function sumOf(rows: readonly (readonly number[])[]): number[] {
  return Array.from({ length: BINS }, (_, bin) => rows.reduce((sum, row) => sum + (row[bin] ?? 0), 0))
}

/** The bound that so many of the counted do not exceed; the last one for what exceeds them all. 0: nothing is counted. */
function quantileOf(counts: readonly number[], share: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0)
  let rest = total * share
  const bin = counts.findIndex(count => (rest -= count) <= 0 && total > 0)
  return total === 0 ? 0 : (DURATION_BOUNDS_MS[bin] ?? DURATION_BOUNDS_MS.at(-1)!)
}
