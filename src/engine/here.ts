import type { Batch, Beginning, Report } from './protocol.ts'

/** Who works off batches: a thread, or this one. */
export interface Worker {
  /** It has not worked off all that was posted. */
  readonly isBusy: boolean
  post(batch: Batch): void
  /** Ends it at once, whatever it is doing. */
  terminate(reason: string): void
  /** Keeps the process from ending before it. */
  ref(): void
}

/** The delivery side in this thread, where there is no other. What is wrong in it harms the host. */
export async function workHere(beginning: Beginning, onReport: (report: Report) => void): Promise<Worker> {
  // not before it is needed: it loads all that the thread is to load
  const { serve } = await import('./serve.ts')
  return {
    isBusy: false,
    post: serve(beginning, { report: onReport, mark: () => {}, taken: () => {}, onBug: () => {} }),
    terminate: () => {}, // its courier is closed by order
    ref: () => {},
  }
}
