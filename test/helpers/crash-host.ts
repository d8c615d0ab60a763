// A process to be killed: accepts deliveries under load, or brings to an end what an earlier one has left.
// Arguments: the journal's directory, the file for what it accepts, the receiver's origin, its number, `load` (the delivery
// side in this thread, its times scaled down), `load in a thread` (all as it is in xo-server) or `drain` (both).
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

import type { Route } from '../../src/delivery/delivery.ts'
import { Dispatcher } from '../../src/delivery/dispatcher.ts'
import { Journal } from '../../src/delivery/journal.ts'
import type { Handing } from '../../src/engine/engine.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { ThreadEngine } from '../../src/engine/thread.ts'
import { eventOf, hookTo, settingsOf } from '../engine/fixtures.ts'
import { crashBodyOf, LOAD_EVERY_MS, TICK } from './crash-run.ts'
import type { HostMessage } from './crash-run.ts'
import { seededRandom } from './seeded-random.ts'

const OWNERS = ['h0', 'h1', 'h2', 'h3']
/** Now and then, so many calls come at once; each is two events. */
const BURST = 500
const BURST_CHANCE = 0.02
const TASKS = '/proc/self/task'
const LOOK_EVERY_MS = 20
const HELP_EVERY_MS = 2_000

const [directory = '', ledger = '', origin = '', run = '', task] = process.argv.slice(2)
const random = seededRandom(Number(run))
const file = openSync(ledger, 'a')
const routes = new Map(
  OWNERS.map((owner): [string, Route] => [
    owner,
    { endpoint: { id: owner, url: `${origin}/${owner}`, headers: [] }, timeoutMs: 500 },
  ])
)

/** How long each thread of this process has waited for a processor, ms; where the system tells. */
const waits = new Map<string, number>()
let allWaited = 0

/** How long this process has waited for a processor: at each moment, the thread that waited longest. */
function waited(): number {
  if (process.platform === 'linux') {
    let most = 0
    for (const thread of readdirSync(TASKS)) {
      const ms = waitOf(thread)
      most = Math.max(most, ms - (waits.get(thread) ?? ms))
      waits.set(thread, ms)
    }
    allWaited += most
  }
  return allWaited
}

/** A thread may be gone by now. */
function waitOf(thread: string): number {
  try {
    return Number(readFileSync(`${TASKS}/${thread}/schedstat`, 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}

/** Nothing of the plugin keeps a process alive. */
const living = setInterval(() => {}, 60_000)

function say(message: HostMessage): void {
  process.send?.(message)
}

/** Of hosts whose delivery side is in their own thread, and of the others: they keep nothing alike. */
const here = join(directory, 'here')
const inThread = join(directory, 'in-thread')

function startDispatcher(): Dispatcher {
  const dispatcher = new Dispatcher({
    schedule: Array<number>(100).fill(100),
    pauses: { firstMs: 20, longestMs: 100 },
    spreadMs: 200,
    connect: endpoint => connectTo(endpoint, {}),
    openJournal: isAlive => Journal.open(here, isAlive),
    onEvent: event => {
      if (event.type === 'journal') {
        say(event)
      }
    },
  })
  dispatcher.reconfigure(routes)
  return dispatcher
}

/** Its id and its time are on file before anything can become of it. */
function note(id: string): void {
  writeSync(file, `${id} ${Date.now()}\n`)
}

/** @param accept - takes both phases of a call of an owner, and is given the number of the first */
async function load(
  accept: (owner: string, number: number) => void,
  ready: Promise<void>,
  burst: number
): Promise<void> {
  // what comes while the journal is being opened cannot be on disk yet
  await ready
  let number = 0
  setInterval(() => {
    writeSync(file, `${TICK} ${Date.now()} ${waited()}\n`)
    for (let count = random.chance(BURST_CHANCE) ? burst : random.between(0, 6); count > 0; --count) {
      accept(random.pick(OWNERS), number)
      number += 2
    }
  }, LOAD_EVERY_MS)
  say({ type: 'running' })
}

function loadHere(): Promise<void> {
  const dispatcher = startDispatcher()
  return load(
    (owner, number) => {
      for (const leads of [true, false]) {
        const id = `${run}-${leads ? number : number + 1}`
        const payload = { contentType: 'application/json', body: Buffer.from(crashBodyOf(id)) }
        const order = { key: `${run}/${number}`, leads }
        dispatcher.submit({ id, owner, label: 'crash', payload, headers: [], order, acceptedAt: Date.now() })
        note(id)
      }
    },
    dispatcher.ready,
    0
  )
}

function startEngine(): ThreadEngine {
  const engine = new ThreadEngine({
    entry: new URL('../../dist/engine/worker.js', import.meta.url),
    openDirectory: () => Promise.resolve(inThread),
  })
  engine.listen(event => {
    if (event.type === 'journal') {
      say(event)
    }
  })
  engine.configure(settingsOf(...[...routes].map(([id, route]) => hookTo(route.endpoint.url, { id, route }))))
  return engine
}

function loadInThread(): Promise<void> {
  const engine = startEngine()
  return load(
    (owner, number) => {
      for (const phase of ['pre', 'post'] as const) {
        const id = `${run}-${phase === 'pre' ? number : number + 1}-0`
        const fields = new Map(
          Object.entries(JSON.parse(crashBodyOf(id)) as object).map(([key, text]) => [key, JSON.stringify(text)])
        )
        fields.delete('type')
        const event = eventOf({ phase, callId: `${run}/${number}`, fields })
        const handing: Handing = { id: id.slice(0, -2), event, hooks: [owner], party: 'someone' }
        engine.hand(handing)
        note(id)
      }
    },
    engine.ready,
    BURST
  )
}

async function drain(): Promise<void> {
  const engine = startEngine()
  const dispatcher = startDispatcher()
  await Promise.all([engine.ready, dispatcher.ready])
  say({ type: 'running' })
  let helpAt = 0
  for (let left = 1; left > 0;) {
    if (performance.now() > helpAt) {
      helpAt = performance.now() + HELP_EVERY_MS
      OWNERS.forEach(owner => dispatcher.controls.resume(owner))
      dispatcher.controls.replay({})
      await Promise.all(OWNERS.map(owner => engine.resume(owner)))
      await engine.replay({})
    }
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS))
    const all = [dispatcher.stats(), await engine.health()]
    left = all.reduce((sum, { pending, dead }) => sum + pending + dead, 0)
  }
  clearInterval(living)
  await Promise.all([dispatcher.close(1_000), engine.close(1_000)])
  process.disconnect()
}

await (task === 'load' ? loadHere() : task === 'load in a thread' ? loadInThread() : drain())
