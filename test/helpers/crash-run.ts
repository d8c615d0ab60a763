import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { seededRandom } from './seeded-random.ts'
import type { SeededRandom } from './seeded-random.ts'

export interface CrashReport {
  readonly kills: number
  readonly accepted: number
  /** Of all kills, what was accepted so shortly before that it may be lost. */
  readonly acceptedLate: number
  readonly lostLate: number
  /** The age of the oldest that was lost, ms: with the delivery side in the host's thread, and in its own. */
  readonly oldestLostMs: readonly [here: number, inThread: number]
  /** Found again in the journal, after all kills. */
  readonly recovered: number
  /** Answered with success more than once, as the host was killed before it had noted the first. */
  readonly repeated: number
  /** What is wrong, in words: first of all what was accepted earlier and never arrived. */
  readonly problems: readonly string[]
}

/** What a host says. */
export type HostMessage =
  | { readonly type: 'running' }
  | { readonly type: 'journal'; readonly problem?: string; readonly recovered: number; readonly lost: number }

/**
 * The host accepts something this often, and says so in its file, with how long the machine has kept it waiting for a
 * processor: what is longer between two of these lines, or was waited for, is time in which it did not run.
 */
export const LOAD_EVERY_MS = 5
export const TICK = 'tick'

/** How long after an answer a kill may make the host forget it, which a busy machine may not let run. */
const NOTED_AFTER_MS = 1_000
/** A busy machine is slow. */
const STEP_MS = 120_000

/** What the delivery of this id says: an event, as the format `json` writes it. */
export function crashBodyOf(id: string): string {
  const number = Number(id.split('-')[1])
  return JSON.stringify({
    callId: id,
    method: 'vm.start',
    params: { text: `${id} `.repeat(20 + (number % 7) * 30) },
    type: number % 2 === 0 ? 'pre' : 'post',
  })
}

/** Whose delivery side ran in a thread of its own: its ids have a place behind them. */
function isOfThread(id: string): boolean {
  return id.split('-').length === 3
}

interface Arrival {
  requests: number
  /** When it was answered with success; epoch ms. */
  readonly answeredAt: number[]
}

/**
 * Kills a host again and again, under load, and compares what it has accepted with what has arrived.
 *
 * @param mayBeLostMs - what was accepted so long before a kill has to arrive. The product's bound is 50; a machine that is
 *   busy with other things keeps the host from its disk for longer.
 */
export async function runCrashes(seed: number, kills: number, mayBeLostMs: number): Promise<CrashReport> {
  const random = seededRandom(seed)
  const directory = await mkdtemp(join(tmpdir(), 'crash-'))
  const receiver = await startReceiver(random)
  let host: ChildProcess | undefined
  try {
    await mkdir(join(directory, 'data'))
    const killedAt: number[] = []
    let recovered = 0
    const start = (task: string): ChildProcess => {
      host = fork(
        fileURLToPath(new URL('crash-host.ts', import.meta.url)),
        [join(directory, 'data'), join(directory, 'accepted'), receiver.origin, String(killedAt.length), task],
        { execArgv: ['--import', 'tsx'] }
      )
      host.on('message', (message: HostMessage) => {
        if (message.type === 'journal') {
          recovered += message.recovered
          if (message.problem !== undefined || message.lost > 0) {
            receiver.problems.push(`the journal: ${message.problem}, ${message.lost} lost`)
          }
        }
      })
      return host
    }

    for (let kill = 0; kill < kills; ++kill) {
      const running = start(kill % 2 === 0 ? 'load' : 'load in a thread')
      await runs(running)
      const after = random.between(0, 500)
      await new Promise(resolve => setTimeout(resolve, after)) // the moment of the crash
      const exited = once(running, 'exit')
      killedAt.push(Date.now())
      running.kill('SIGKILL')
      await exited
    }
    receiver.beKind()
    const [code] = (await once(start('drain'), 'exit', { signal: AbortSignal.timeout(STEP_MS) }).catch(() => [
      `no end within ${STEP_MS} ms`,
    ])) as [unknown]
    if (code !== 0) {
      receiver.problems.push(`the last host ended with ${code}`)
    }
    const lines = parseLines(await readFile(join(directory, 'accepted'), 'utf8'))
    return compare(lines, killedAt, recovered, mayBeLostMs, receiver)
  } finally {
    host?.kill('SIGKILL')
    await receiver.close()
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Settles once a host says that it runs. */
function runs(host: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the host does not run within ${STEP_MS} ms`)), STEP_MS)
    host.on('message', ({ type }: HostMessage) => {
      if (type === 'running') {
        clearTimeout(timer)
        resolve()
      }
    })
    host.once('exit', code => {
      clearTimeout(timer)
      reject(new Error(`the host ended with ${code}`))
    })
  })
}

type Line = readonly [what: string, at: number, waited: number]

/** Ids with the times at which they were accepted; ticks with how long the host has waited for a processor by then. The last line of a host that was killed is whole: it is one write. */
function parseLines(text: string): Line[] {
  return text
    .split('\n')
    .filter(line => line !== '')
    .map((line): Line => {
      const [what = '', at, waited] = line.split(' ')
      return [what, Number(at), Number(waited)]
    })
}

/** How long a host ran between two moments; a busy machine may not let it. */
function ranFor(ticks: readonly Line[], from: number, to: number): number {
  let ran = 0
  let last = from
  let lastWaited: number | undefined
  for (const [, at, waited] of ticks) {
    if (at > from && at < to) {
      const waitedSince = lastWaited === undefined ? 0 : waited - lastWaited
      ran += Math.max(0, Math.min(at - last, 2 * LOAD_EVERY_MS) - waitedSince)
      last = at
      lastWaited = waited
    } else if (at <= from) {
      lastWaited = waited
    }
  }
  return Math.round(ran + Math.min(to - last, 2 * LOAD_EVERY_MS))
}

/** The ticks of each of the hosts that were killed. */
function ticksOfHosts(lines: readonly Line[], killedAt: readonly number[]): readonly (readonly Line[])[] {
  const ticks = lines.filter(([what]) => what === TICK)
  return killedAt.map((to, run) => ticks.filter(([, at]) => at > (killedAt[run - 1] ?? 0) && at <= to))
}

function compare(
  lines: readonly Line[],
  killedAt: readonly number[],
  recovered: number,
  mayBeLostMs: number,
  { arrivals, problems }: Receiver
): CrashReport {
  let acceptedLate = 0
  let lostLate = 0
  const oldestLostMs: [number, number] = [0, 0]
  const hosts = ticksOfHosts(lines, killedAt)
  const accepted = new Map(lines.filter(([what]) => what !== TICK).map(([id, at]) => [id, at]))
  for (const [id, at] of accepted) {
    const run = Number(id.split('-')[0])
    const age = ranFor(hosts[run]!, at, killedAt[run]!)
    const place = isOfThread(id) ? 1 : 0
    const isLate = age <= mayBeLostMs
    acceptedLate += isLate ? 1 : 0
    if ((arrivals.get(id)?.answeredAt.length ?? 0) === 0) {
      oldestLostMs[place] = Math.max(oldestLostMs[place], age)
      if (isLate) {
        ++lostLate
      } else {
        problems.push(`${id} was lost, ${age} ms old, ${arrivals.get(id)?.requests} requests`)
      }
    }
  }
  let repeated = 0
  for (const [id, { answeredAt }] of arrivals) {
    if (!accepted.has(id)) {
      problems.push(`${id} arrived, but was not accepted`)
    }
    repeated += answeredAt.length > 1 ? 1 : 0
    for (const at of answeredAt.slice(0, -1)) {
      if (!killedAt.some(kill => Math.abs(at - kill) < NOTED_AFTER_MS)) {
        problems.push(`${id} was sent again, though its answer had been heard`)
      }
    }
  }
  return {
    kills: killedAt.length,
    accepted: accepted.size,
    acceptedLate,
    lostLate,
    oldestLostMs,
    recovered,
    repeated,
    problems,
  }
}

interface Receiver {
  readonly origin: string
  readonly arrivals: ReadonlyMap<string, Arrival>
  readonly problems: string[]
  beKind(): void
  close(): Promise<void>
}

/** Refuses or ignores most of what comes, so that there is always much to be kept; until it is kind. */
async function startReceiver(random: SeededRandom): Promise<Receiver> {
  const arrivals = new Map<string, Arrival>()
  const problems: string[] = []
  let isKind = false
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('error', () => {})
    response.on('error', () => {})
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const id = String(request.headers['webhook-id'])
      const arrival = arrivals.get(id) ?? { requests: 0, answeredAt: [] }
      arrivals.set(id, arrival)
      ++arrival.requests
      if (Buffer.concat(chunks).toString() !== crashBodyOf(id)) {
        problems.push(`${id} came with another body`)
      }
      switch (isKind ? 'ok' : random.weighted({ ok: 50, error: 45, reset: 4, silence: 1 })) {
        case 'ok':
          response.writeHead(200).end(() => arrival.answeredAt.push(Date.now()))
          return
        case 'error':
          response.writeHead(503).end()
          return
        case 'reset':
          request.socket.resetAndDestroy()
          return
        case 'silence':
          return
      }
    })
  })
  server.on('clientError', (_, socket) => socket.destroy())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrivals,
    problems,
    beKind() {
      isKind = true
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
