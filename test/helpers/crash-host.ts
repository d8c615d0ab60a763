// A process to be killed: accepts deliveries under load, or brings to an end what an earlier one has left.
// Arguments: the journal's directory, the file for what it accepts, the receiver's origin, its number, `load` or `drain`.
import { openSync, writeSync } from 'node:fs'

import type { Endpoint } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import { Journal } from '../../src/delivery/journal.ts'
import { connectTo } from '../../src/delivery/transport.ts'
import { crashBodyOf, LOAD_EVERY_MS, TICK } from './crash-run.ts'
import { seededRandom } from './seeded-random.ts'

const OWNERS = ['h0', 'h1', 'h2', 'h3']
const LOOK_EVERY_MS = 20

const [directory = '', ledger = '', origin = '', run = '', task] = process.argv.slice(2)
const random = seededRandom(Number(run))
const file = openSync(ledger, 'a')
let isOpen = false
const dispatcher = new Dispatcher({
  schedule: Array<number>(100).fill(100),
  pauses: { firstMs: 20, longestMs: 100 },
  spreadMs: 200,
  connect: endpoint => connectTo(endpoint, {}),
  openJournal: progressOf => Journal.open(directory, progressOf),
  onEvent: event => {
    if (event.type === 'journal') {
      isOpen = event.problem === undefined
      process.send?.({ opened: event.problem ?? 'in use', recovered: event.recovered, damaged: event.damaged })
    }
  },
})
dispatcher.reconfigure(
  new Map(
    OWNERS.map((owner): [string, Endpoint] => [
      owner,
      { id: owner, url: new URL(`/${owner}`, origin), headers: [], timeoutMs: 500 },
    ])
  )
)

let number = 0

/** Its id and its time are on file before anything can become of it. */
function accept(owner: string, key: string, leads: boolean): void {
  const id = `${run}-${number++}`
  const payload = { contentType: 'text/plain', body: Buffer.from(crashBodyOf(id)), users: 0 }
  dispatcher.submit({ id, owner, label: 'crash', payload, headers: [], order: { key, leads }, acceptedAt: Date.now() })
  writeSync(file, `${id} ${Date.now()}\n`)
}

if (task === 'load') {
  // what comes while the journal is being opened cannot be on disk yet
  await dispatcher.ready
  setInterval(() => {
    writeSync(file, `${TICK} ${Date.now()}\n`)
    for (let count = random.between(0, 6); count > 0; --count) {
      const owner = random.pick(OWNERS)
      const key = `${run}/${number}`
      accept(owner, key, true)
      accept(owner, key, false)
    }
  }, LOAD_EVERY_MS)
} else {
  const looking = setInterval(() => {
    for (const owner of OWNERS) {
      dispatcher.enable(owner)
      dispatcher.replaySince(owner, 0)
    }
    const { pending, dead } = dispatcher.stats()
    if (isOpen && pending + dead === 0) {
      clearInterval(looking)
      void dispatcher.close(1_000).then(() => process.disconnect())
    }
  }, LOOK_EVERY_MS)
}
process.send?.('running')
