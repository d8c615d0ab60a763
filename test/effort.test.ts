import { expect, it } from 'vitest'

import { within } from '../src/effort.ts'
import type { Effort } from '../src/effort.ts'

const BUDGET_MS = 20
/** More than is free. */
const MUCH = 1_000_000

/** Time passes in which this thread does not run, as on a machine whose processors are busy with other things. */
function waitWithoutRunning(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * BUDGET_MS)
}

function run(): void {
  for (const end = performance.now() + 3 * BUDGET_MS; performance.now() < end;);
}

function counted(task: (tries: number, effort: Effort) => string): { task: (effort: Effort) => string; tries: number } {
  const counter = {
    tries: 0,
    task: (effort: Effort): string => task(++counter.tries, effort),
  }
  return counter
}

it('what is not let run has more tries, until it is', () => {
  const late = counted((tries, effort) => {
    if (tries < 6) {
      waitWithoutRunning()
      effort.spend(MUCH)
    }
    return 'decided'
  })
  expect(within(BUDGET_MS, late.task)).toBe('decided')
  expect(late.tries).toBe(6)
})

it('what is interrupted before it is let run has more tries, too', () => {
  const late = counted((tries, effort) =>
    effort.watched(() => {
      if (tries < 3) {
        waitWithoutRunning()
      }
      return 'decided'
    })
  )
  expect(within(BUDGET_MS, late.task)).toBe('decided')
  expect(late.tries).toBe(3)
})

it('what is interrupted in its own doing twice is given up', () => {
  const hungry = counted((_, effort) => effort.watched(() => `${/^(?:a+)+$/.test(`${'a'.repeat(60)}!`)}`))
  expect(within(BUDGET_MS, hungry.task)).toBeUndefined()
  expect(hungry.tries).toBeGreaterThanOrEqual(2)
  expect(hungry.tries).toBeLessThan(20)
})

it('what came late once for its own doing has more tries on a machine that does not let it run then', () => {
  const late = counted((tries, effort) => {
    if (tries < 6) {
      tries === 1 ? run() : waitWithoutRunning()
      effort.spend(MUCH)
    }
    return 'decided'
  })
  expect(within(BUDGET_MS, late.task)).toBe('decided')
})

it('what never gets to an end without running is given up', () => {
  const late = counted((_, effort) => {
    waitWithoutRunning()
    effort.spend(MUCH)
    return 'decided'
  })
  expect(within(BUDGET_MS, late.task)).toBeUndefined()
})

it('what has had its time twice is given up', () => {
  const hungry = counted((_, effort) => {
    run()
    effort.spend(MUCH)
    return 'decided'
  })
  expect(within(BUDGET_MS, hungry.task)).toBeUndefined()
  // a busy machine may have let it run for a part of the time only
  expect(hungry.tries).toBeGreaterThanOrEqual(2)
  expect(hungry.tries).toBeLessThan(20)
})
