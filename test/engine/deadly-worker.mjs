import { BroadcastChannel, workerData } from 'node:worker_threads'

import { formats } from '../../dist/formats/index.js'
import '../../dist/engine/worker.js'

// The delivery side's thread, with ways to die: on command, and by the events of hooks whose format is deadly.
const ways = {
  exit() {
    process.exit(7)
  },
  spin() {
    for (;;) {}
  },
  exhaust() {
    for (const all = []; ;) {
      all.push(new Array(100_000).fill(''))
    }
  },
}
for (const [name, build] of Object.entries(ways)) {
  formats.set(name, { title: name, build })
}
new BroadcastChannel(workerData.channel).addEventListener('message', ({ data }) => {
  // not within the listener, which would keep what it throws to itself
  setImmediate(() => (data === 'throw' ? Promise.reject(new Error('a bug')) : ways[data]()))
})
