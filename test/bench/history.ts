import type { Selection } from '../../src/delivery/account.ts'
import type { Attempt, AttemptOutcome } from '../../src/delivery/delivery.ts'
import { History } from '../../src/delivery/history.ts'
import { newKept } from '../../src/delivery/kept.ts'
import type { Kept } from '../../src/delivery/kept.ts'
import { Ledger } from '../../src/delivery/ledger.ts'
import { attemptRow } from '../../src/delivery/rows.ts'
import { encodeRecord } from '../../src/delivery/stored.ts'
import type { LogRow } from '../../src/delivery/stored.ts'
import { median, medianRatio, ratioRow, valueRow } from './measure.ts'
import type { Figure } from './measure.ts'

const COUNT = 10_000
const ENDPOINT = { id: 'Qm0vQ2hKx1n8b3Ta', url: 'http://127.0.0.1:9/', headers: [] }

const DEAD = { name: 'dead' } as const

function keptOf(number: number): Kept {
  const delivery = {
    id: `8d6a3a61-94d5-4a3c-a4ff-${String(number).padStart(12, '0')}-0`,
    owner: `hook ${number % 20}`,
    label: `vm.${number % 7 === 0 ? 'start' : 'set'} success 67aac198-0174-11ea-8d71-${String(number % 500).padStart(12, '0')}`,
    payload: { contentType: 'application/json', body: Buffer.alloc(600) },
    headers: [],
    order: { key: `call${number}`, leads: false },
    acceptedAt: Date.now(),
  }
  return newKept(number, delivery, ENDPOINT.id, performance.now(), 1e9)
}

const OUTCOMES: readonly AttemptOutcome[] = [
  { kind: 'answered', ok: true, status: 200, excerpt: Buffer.from('{"ok":true}') },
  { kind: 'answered', ok: false, status: 503, excerpt: Buffer.from('down for maintenance') },
]

function attempt(history: History, kept: Kept, outcome: AttemptOutcome): void {
  const state = outcome === OUTCOMES[0] ? ({ name: 'ended', how: 'delivered' } as const) : DEAD
  history.attempted(kept, doneWith(outcome), ENDPOINT, state)
}

function doneWith(outcome: AttemptOutcome): Attempt {
  return { number: 1, trigger: 'event', startedAt: Date.now(), durationMs: 12.3, outcome }
}

function cpuMs(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}

/** What it costs the delivery thread to know what became of deliveries, and to tell. */
export const deliveryLog: Figure = async report => {
  const ROUNDS = 15
  const alone: number[] = []
  const index: number[] = []
  const share: number[] = []
  const written: number[] = []
  const waiting = new Ledger({ count: 1e6, memory: 1e9, disk: 1e9 }, () => {})
  const all = Array.from({ length: COUNT }, (_, number) => keptOf(number))
  const memory = (): number => {
    globalThis.gc?.()
    return process.memoryUsage().heapUsed
  }
  const fill = (history: History): History => {
    all.forEach((kept, n) => attempt(history, kept, OUTCOMES[n % 10 === 0 ? 1 : 0]!))
    return history
  }
  const before = memory()
  const history = fill(new History(undefined, COUNT))
  report(valueRow('memory of the index, a delivery', (memory() - before) / COUNT, 'bytes', 500, 0))
  for (let round = 0; round < ROUNDS; ++round) {
    let rows: LogRow[] = []
    const log = {
      isReadable: false,
      log: (row: LogRow) => void rows.push(row),
      async *readLog(): AsyncGenerator<LogRow> {},
    }
    alone.push(
      cpuMs(() => all.forEach((kept, n) => attemptRow(kept, doneWith(OUTCOMES[n % 10 === 0 ? 1 : 0]!), ENDPOINT, DEAD)))
    )
    index.push(cpuMs(() => fill(new History(undefined, COUNT))))
    share.push(index.at(-1)! - alone.at(-1)!)
    rows = []
    written.push(cpuMs(() => fill(new History(log, COUNT))) + cpuMs(() => encodeRecord(rows)))
  }
  report(valueRow('a row, made alone', (median(alone) * 1_000) / COUNT, 'µs'))
  report(valueRow('a row with the index and statistics', (median(index) * 1_000) / COUNT, 'µs'))
  report(ratioRow('the index and statistics to a row that is made and written', medianRatio(share, written), '≤', 0.4))

  const filters: Readonly<Record<string, Selection & { readonly status?: readonly ['dead' | 'delivered'] }>> = {
    nothing: {},
    status: { status: ['dead'] },
    hook: { owner: 'hook 7' },
    endpoint: { endpoint: ENDPOINT.id },
    method: { subject: 'vm.st*' },
    object: { object: '67aac198-0174-11ea-8d71-000000000042' },
    call: { call: 'call5000' },
    answer: { answer: '2xx' },
    time: { since: 0, until: Date.now() + 1 },
  }
  for (const [name, filter] of Object.entries(filters)) {
    const rounds = Array.from({ length: ROUNDS }, () =>
      cpuMs(() => history.page(waiting, { ...filter, limit: 100 }, instant => instant))
    )
    report(valueRow(`100 of 10,000 by ${name}`, median(rounds), 'ms', 50, 2))
  }
}
