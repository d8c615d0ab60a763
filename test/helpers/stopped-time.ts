import { setImmediate } from 'node:timers/promises'
import { onTestFinished, vi } from 'vitest'

/**
 * For the rest of the test, clock and timers stand still but for `vi.advanceTimersByTime`, while sockets go on: what a test
 * waits for is then no matter of how fast the machine is.
 */
export function stopTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] })
  onTestFinished(() => {
    vi.useRealTimers()
  })
}

const PATIENCE_MS = 30_000

/** Waits for what sockets will bring about. Unlike vitest's own polling it moves no stopped time, and has no timer. */
export async function until(condition: () => boolean): Promise<void> {
  const end = process.hrtime.bigint() + BigInt(PATIENCE_MS) * 1_000_000n
  while (!condition()) {
    if (process.hrtime.bigint() > end) {
      throw new Error(`waited in vain until ${condition.toString()}`)
    }
    await setImmediate()
  }
}

/** Whether it has settled by now, and by what sockets of this process have to say at once. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const settle = (): void => {
    settled = true
  }
  promise.then(settle, settle)
  for (let turn = 0; turn < 20; ++turn) {
    await setImmediate()
  }
  return settled
}
