import { parentPort, workerData } from 'node:worker_threads'

import { BEAT, MARK, TAKEN } from './protocol.ts'
import type { Batch, Beginning } from './protocol.ts'
import { serve } from './serve.ts'

/** What the thread of the delivery side runs; see thread.ts for the other end. */
const port = parentPort
if (port === null) {
  throw new Error('this is run in a worker thread only')
}
const beginning = workerData as Beginning
const { pulse } = beginning
const beat = (): unknown => pulse && Atomics.add(pulse.shared, BEAT, 1)

const take = serve(beginning, {
  report: report => {
    port.postMessage(report)
    if (report.closed !== undefined) {
      port.close()
    }
  },
  mark: number => {
    if (pulse !== undefined) {
      Atomics.store(pulse.shared, MARK, number)
    }
    beat() // a long batch is no standstill
  },
  taken: batch => {
    if (pulse !== undefined) {
      Atomics.store(pulse.shared, TAKEN, batch)
    }
  },
  onBug: error => {
    throw error
  },
})
port.on('message', (batch: Batch) => take(batch))
if (pulse !== undefined) {
  setInterval(beat, pulse.beatMs).unref()
}
