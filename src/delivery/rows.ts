import type { Attempt, Endpoint } from './delivery.ts'
import { readableExcerpt, withoutEcho } from './excerpt.ts'
import type { LogRow } from './journal.ts'
import type { Ending, Kept, State } from './kept.ts'

// The rows of the delivery log. They name what they are about, so that a row can be read alone; nothing secret is in them.

/** @param state - what the attempt has made of the delivery */
export function attemptRow(
  { number: place, id, owner, label, order, acceptedAt, bytes }: Kept,
  { outcome, number, trigger, startedAt, durationMs }: Attempt,
  endpoint: Endpoint,
  state: State
): LogRow {
  // what is discarded after its attempt has a row of its own for that
  const isDelivered = state.name === 'ended' && state.how === 'delivered'
  const settled = isDelivered ? 'delivered' : state.name === 'dead' ? 'dead' : undefined
  return {
    ...{ number: place, id, owner, endpoint: endpoint.id, label, call: order.key, at: startedAt, acceptedAt, bytes },
    ...(settled !== undefined && { settled }),
    attempt: {
      number,
      trigger,
      durationMs: Math.round(durationMs),
      outcome:
        outcome.kind === 'answered'
          ? { ...outcome, excerpt: withoutEcho(readableExcerpt(outcome.excerpt), endpoint) }
          : outcome,
    },
  }
}

/** Of a delivery that ends without an attempt. */
export function endRow(kept: Pick<Kept, 'number' | 'id' | 'owner'> & Partial<Kept>, how: Ending, count = 1): LogRow {
  const { number, id, owner, label, order, acceptedAt, endpoint, bytes } = kept
  return {
    ...{ number, id, owner },
    ...(endpoint !== undefined && { endpoint }),
    ...(label !== undefined && { label }),
    at: Date.now(),
    ...(acceptedAt !== undefined && { acceptedAt }),
    ...(order !== undefined && { call: order.key }),
    ...(bytes !== undefined && { bytes }),
    settled: how,
    ...(count > 1 && { count }),
  }
}

/** Rows of the log that are read in one turn. */
const ROWS_A_TURN = 200

/**
 * Rows that are read from the disk, some in each turn at it.
 *
 * @param turn - calls back when it is this reader's turn
 */
export async function* inTurns(
  rows: AsyncIterator<LogRow>,
  turn: (take: () => Promise<LogRow[]>) => Promise<LogRow[]>
): AsyncGenerator<LogRow> {
  try {
    for (let some = await turn(() => someOf(rows)); some.length > 0; some = await turn(() => someOf(rows))) {
      yield* some
    }
  } finally {
    await rows.return?.()
  }
}

async function someOf(rows: AsyncIterator<LogRow>): Promise<LogRow[]> {
  const some: LogRow[] = []
  while (some.length < ROWS_A_TURN) {
    const next = await rows.next()
    if (next.done === true) {
      break
    }
    some.push(next.value)
  }
  return some
}
