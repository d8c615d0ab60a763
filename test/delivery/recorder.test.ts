import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { expect, describe, it, onTestFinished, vi } from 'vitest'

import { DiskClock, keptOf } from '../../src/delivery/clock.ts'
import { Journal } from '../../src/delivery/journal.ts'
import type {
  LogRow,
  Recovered,
  RecoveredDelivery,
  StoredDelivery,
  StoredProgress,
} from '../../src/delivery/journal.ts'
import { newKept } from '../../src/delivery/kept.ts'
import type { Kept, State } from '../../src/delivery/kept.ts'
import { Recorder } from '../../src/delivery/recorder.ts'
import type { RecorderOptions, Store } from '../../src/delivery/recorder.ts'
import { Turns } from '../../src/delivery/turns.ts'
import { copyOfStore, temporaryDirectory } from '../helpers/journal-files.ts'

const SECOND = 1_000
const NO_ANSWER = 'the data directory does not answer'
const MEBI = 1024 * 1024

type Operation = 'open' | 'write' | 'read' | 'probe' | 'close'

/** A disk that does as the test says; what is on it outlives journals. */
class FakeDisk {
  readonly held = new Map<number, { delivery: StoredDelivery; body: Buffer; progress: StoredProgress | undefined }>()
  rows: LogRow[] = []
  state: unknown
  lost = 0
  /** What was begun: `write +1,2 ~3 -4`, `read 5`, `open`… */
  readonly calls: string[] = []
  /** Under way at this moment, and the most there ever were. */
  busy = 0
  mostBusy = 0
  readonly faults: Partial<Record<Operation, Error>> = {}
  /** By operation, how those that are held up are let go. */
  readonly #gates = new Map<Operation, Promise<void>>()

  /** From now on these do not answer; they do what they have to. @returns lets them go */
  holdUp(operation: Operation): () => void {
    let release = (): void => {}
    const promise = new Promise<void>(resolve => {
      release = resolve
    })
    this.#gates.set(operation, promise)
    return () => {
      this.#gates.delete(operation)
      release()
    }
  }

  /** What was begun since this was called last, but for reads of nothing. */
  begun(): string[] {
    return this.calls.splice(0)
  }

  async run<T>(operation: Operation, what: string, effect: () => T): Promise<T> {
    this.calls.push(what === '' ? operation : `${operation} ${what}`)
    this.mostBusy = Math.max(this.mostBusy, ++this.busy)
    try {
      const fault = this.faults[operation]
      const result = fault === undefined ? effect() : undefined
      await this.#gates.get(operation)
      await Promise.resolve()
      if (fault !== undefined) {
        throw fault
      }
      return result as T
    } finally {
      --this.busy
    }
  }

  readonly open = (): Promise<{ journal: Store; recovered: Recovered }> =>
    this.run('open', '', () => ({ journal: this.#store(), recovered: this.recovered() }))

  recovered(): Recovered {
    const deliveries = [...this.held].map(([number, { delivery, body, progress }]): RecoveredDelivery => ({
      ...{ delivery, progress, bytes: body.length, stored: this.sizeOf(number) },
    }))
    return { deliveries, state: this.state, clock: undefined, lost: this.lost, next: 1 }
  }

  sizeOf(number: number): number {
    const found = this.held.get(number)
    return found === undefined ? 0 : 1_000 + found.body.length + (found.progress === undefined ? 0 : 100)
  }

  #store(): Store {
    const disk = this
    // a journal knows what it has written itself, and learns nothing once it is closed
    let known = new Map([...this.held.keys()].map(number => [number, this.sizeOf(number)]))
    return {
      get bytes() {
        return [...known.values()].reduce((sum, size) => sum + size, 0)
      },
      numbers: () => known.keys(),
      sizeOf: number => known.get(number) ?? 0,
      async write({ added, changed, ended, rows, engine }) {
        const gone = [...ended]
        const marks = [
          ['+', added.map(({ delivery }) => delivery.number)] as const,
          ['~', [...changed.keys()]] as const,
          ['-', gone] as const,
        ].flatMap(([sign, numbers]) => (numbers.length === 0 ? [] : `${sign}${numbers.join(',')}`))
        await disk.run('write', marks.join(' '), () => {
          gone.forEach(number => disk.held.delete(number))
          for (const { delivery, body, progress } of added) {
            disk.held.set(delivery.number, { delivery, body, progress })
          }
          for (const [number, progress] of changed) {
            disk.held.get(number)!.progress = progress
          }
          disk.rows.push(...rows)
          disk.state = engine === undefined ? disk.state : structuredClone(engine.state)
        })
        known = new Map([...disk.held.keys()].map(number => [number, disk.sizeOf(number)]))
      },
      read: number =>
        disk.run('read', `${number}`, () => {
          const found = disk.held.get(number)
          return found && { contentType: found.delivery.contentType, headers: found.delivery.headers, body: found.body }
        }),
      async *readLog() {
        yield* disk.rows.toReversed()
      },
      trimLog: () => {},
      probeRoom: () => disk.run('probe', '', () => {}),
      close: () => disk.run('close', '', () => {}),
    }
  }
}

interface Run {
  readonly recorder: Recorder
  readonly kept: Map<number, Kept>
  /** Numbers, as they were told to be on disk. */
  readonly saved: number[]
  readonly problems: (string | undefined)[]
  readonly opened: { recovered: Recovered; isFirst: boolean }[]
  /** The engine's, counted here. */
  readonly totals: { ended: number }
}

function fakeClocks(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
}

const later = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms)

function start(open: RecorderOptions['open'], options: Partial<RecorderOptions> = {}): Run {
  const kept = new Map<number, Kept>()
  const totals = { ended: 0 }
  const [saved, problems, opened]: [Run['saved'], Run['problems'], Run['opened']] = [[], [], []]
  const clock = new DiskClock()
  const recorder: Recorder = new Recorder({
    ...{ open, clock, maxLogged: 100, maxLoggedMs: 1e9 },
    onOpen: (recovered, isFirst) => {
      opened.push({ recovered, isFirst })
      for (const each of recovered.deliveries) {
        const own = keptOf(each, clock, 'endpoint', performance.now(), 0)
        kept.set(own.number, own)
        recorder.heard(own, undefined)
      }
    },
    onSaved: those => saved.push(...those.map(({ number }) => number)),
    onProblem: problem => problems.push(problem),
    kept: () => kept,
    state: () => totals,
    ...options,
  })
  return { recorder, kept, saved, problems, opened, totals }
}

/** Open, and at rest. */
async function started(disk: FakeDisk, options: Partial<RecorderOptions> = {}): Promise<Run> {
  fakeClocks()
  const run = start(disk.open, options)
  await later(5)
  expect(run.problems).toEqual([undefined])
  disk.begun()
  return run
}

function accept(run: Run, number: number, body: Buffer | number = 100): Kept {
  const payload = { contentType: 'text/plain', body: typeof body === 'number' ? Buffer.alloc(body, number) : body }
  const kept = newKept(
    number,
    {
      ...{ id: `id-${number}`, owner: 'a', label: 'x', headers: ['h', 'v'], payload },
      ...{ order: { key: `${number}`, leads: false }, acceptedAt: Date.now() },
    },
    'endpoint',
    performance.now(),
    1e9
  )
  run.kept.set(number, kept)
  run.recorder.heard(kept, undefined)
  return kept
}

const SENDING: State = { name: 'sending', endpoint: 'endpoint', isCancelled: false }
const QUEUED: State = { name: 'queued' }
const DELIVERED: State = { name: 'ended', how: 'delivered' }

function enter(run: Run, kept: Kept, state: State, changes: Partial<Kept['progress']> = {}): void {
  const before = kept.state
  kept.state = state
  kept.progress = { ...kept.progress, ...changes }
  if (state.name === 'ended') {
    run.kept.delete(kept.number)
    ++run.totals.ended
  }
  run.recorder.heard(kept, before)
}

function waiting(dueAt = performance.now() + 60_000): State {
  return { name: 'waiting', dueAt, stepMs: 60_000 }
}

async function logOf(recorder: Recorder): Promise<string[]> {
  const ids = []
  for await (const { id } of recorder.readLog()) {
    ids.push(id)
  }
  return ids
}

function row(id: string): LogRow {
  return { id, owner: 'a', at: Date.now() }
}

const noSpace = (): Error => Object.assign(new Error('no space'), { code: 'ENOSPC' })

describe('what is kept', () => {
  it('is written 20 ms later with all that is 10 ms old by then, the rest after 20 more', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    accept(run, 1)
    await later(8)
    accept(run, 2)
    await later(7)
    accept(run, 3)
    await later(4)
    expect(disk.begun()).toEqual([])
    await later(1)
    expect(disk.begun()).toEqual(['write +1,2'])
    expect(run.saved).toEqual([1, 2])
    await later(20)
    expect(disk.begun()).toEqual(['write +3'])
    expect(run.saved).toEqual([1, 2, 3])
    expect([...run.kept.values()].map(({ stored }) => stored)).toEqual([1100, 1100, 1100])
    await later(10 * SECOND)
    expect(disk.begun()).toEqual([])
  })

  it('is never written if it is over by then, but its end is in the totals', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    enter(run, kept, SENDING)
    await later(5)
    enter(run, kept, DELIVERED)
    await later(2 * SECOND)
    expect(disk.begun()).toEqual(['write'])
    expect(disk.state).toEqual({ ended: 1 })
    expect(run.saved).toEqual([])
  })

  it('is removed once it is over, with the totals that count it', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    accept(run, 2)
    await later(30)
    disk.begun()
    expect(run.recorder.bytes).toBe(2200)
    enter(run, kept, DELIVERED)
    expect(kept.stored).toBe(0)
    // at once, as bounds go by it
    expect(run.recorder.bytes).toBe(1100)
    const release = disk.holdUp('write')
    await later(20)
    expect(run.recorder.bytes).toBe(1100)
    release()
    await later(0)
    expect(disk.begun()).toEqual(['write -1'])
    expect(disk.state).toEqual({ ended: 1 })
    expect(run.recorder.bytes).toBe(1100)
  })

  it('is removed with the next write if it is over while it is written, and not told to be on disk', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const [one, two] = [accept(run, 1), accept(run, 2)]
    const release = disk.holdUp('write')
    await later(20)
    enter(run, one, DELIVERED)
    release()
    await later(0)
    expect(run.saved).toEqual([2])
    expect([one.stored, two.stored]).toEqual([0, 1100])
    expect(run.recorder.bytes).toBe(1100)
    await later(20)
    expect(disk.begun()).toEqual(['write +1,2', 'write -1'])
  })

  it('has its progress written when it waits, is dead, or is replayed, and not for an attempt', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    await later(30)
    disk.begun()

    for (const state of [{ name: 'held' }, QUEUED, SENDING] as const) {
      enter(run, kept, state)
      await later(100)
    }
    expect(disk.begun()).toEqual([])
    enter(run, kept, waiting(), { attempts: 1, failures: 1, trigger: 'retry' })
    await later(20)
    expect(disk.held.get(1)?.progress).toMatchObject({ state: 'waiting', attempts: 1, stepMs: 60_000 })
    expect(kept.stored).toBe(1200)
    enter(run, kept, SENDING)
    await later(100)
    expect(disk.begun()).toEqual(['write ~1'])
    enter(run, kept, { name: 'dead' }, { attempts: 2 })
    await later(20)
    expect(disk.held.get(1)?.progress).toMatchObject({ state: 'dead', attempts: 2 })
    enter(run, kept, waiting(), { trigger: 'replay' })
    await later(20)
    expect(disk.held.get(1)?.progress).toMatchObject({ state: 'waiting', trigger: 'replay' })
    expect(disk.begun()).toEqual(['write ~1', 'write ~1'])
    expect(run.saved).toEqual([1])
  })

  it('is written as far as it has come, and again if it comes further meanwhile', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    enter(run, kept, SENDING)
    enter(run, kept, waiting(), { attempts: 1, trigger: 'retry' })
    const release = disk.holdUp('write')
    await later(20)
    expect(disk.held.get(1)?.progress).toMatchObject({ attempts: 1 })
    enter(run, kept, { name: 'dead' }, { attempts: 2 })
    release()
    await later(30)
    expect(disk.begun()).toEqual(['write +1', 'write ~1'])
    expect(disk.held.get(1)?.progress).toMatchObject({ state: 'dead', attempts: 2 })
  })

  it('that goes back to as it was accepted loses its progress', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    enter(run, kept, waiting())
    await later(30)
    enter(run, kept, QUEUED)
    await later(30)
    expect(disk.held.get(1)?.progress).toBeUndefined()
    expect(disk.begun()).toEqual(['write +1', 'write ~1'])
  })

  it('is written at once when it is much, some 8 MiB at a time, or when memory is short', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    for (let number = 1; number <= 5; ++number) {
      accept(run, number, 4 * MEBI)
    }
    await later(0)
    expect(disk.begun()[0]).toBe('write +1')
    await later(0)
    await later(100)
    expect(run.saved).toEqual([1, 2, 3, 4, 5])
    disk.begun()

    accept(run, 6)
    run.recorder.hurry()
    await later(0)
    expect(disk.begun()).toEqual(['write +6'])
  })
})

describe('the log', () => {
  it('is written a second later, with the state, and read from the latest row to the first', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    run.recorder.log(row('1'))
    run.recorder.log(row('2'))
    await later(999)
    expect(disk.begun()).toEqual([])
    expect(await logOf(run.recorder)).toEqual(['2', '1'])
    await later(1)
    expect(disk.begun()).toEqual(['write'])
    run.recorder.log(row('3'))
    expect(await logOf(run.recorder)).toEqual(['3', '2', '1'])
    run.totals.ended = 7
    run.recorder.stateChanged()
    await later(SECOND)
    expect(disk.state).toEqual({ ended: 7 })
    expect(await logOf(run.recorder)).toEqual(['3', '2', '1'])
  })

  it('has a row that is being written once', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    run.recorder.log(row('1'))
    const release = disk.holdUp('write')
    await later(SECOND)
    const rows = logOf(run.recorder)
    release()
    await later(0)
    expect(await rows).toEqual(['1'])
  })

  it('is read in part by one who stops, and is bounded in memory', async () => {
    const disk = new FakeDisk()
    disk.faults.open = noSpace()
    fakeClocks()
    const run = start(disk.open, { maxLogged: 10 })
    await later(5)
    for (let n = 0; n < 1_000; ++n) {
      run.recorder.log(row(`${n}`))
    }
    const ids = await logOf(run.recorder)
    expect(ids.length).toBeLessThanOrEqual(20)
    expect(ids[0]).toBe('999')
    for await (const { id } of run.recorder.readLog()) {
      expect(id).toBe('999')
      break
    }
    delete disk.faults.open
    await later(11 * SECOND)
    expect(disk.rows.map(({ id }) => id)).toEqual(ids.slice(0, 10).toReversed())
  })

  it('loses no row to a write that fails', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    run.recorder.log(row('1'))
    disk.faults.write = noSpace()
    await later(SECOND)
    run.recorder.log(row('2'))
    expect(await logOf(run.recorder)).toEqual(['2', '1'])
    delete disk.faults.write
    await later(11 * SECOND)
    expect(disk.rows.map(({ id }) => id)).toEqual(['1', '2'])
  })
})

describe('reading', () => {
  it('is one operation at a time, in the order in which it was asked for, after what is to be written', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = [1, 2, 3].map(number => accept(run, number))
    await later(30)
    disk.begun()
    const release = disk.holdUp('read')
    const read: string[] = []
    for (const each of [kept[2]!, kept[0]!, kept[1]!]) {
      void run.recorder.read(each).then(content => read.push(content!.payload.body.toString('latin1', 0, 1)))
    }
    accept(run, 4)
    await later(20)
    release()
    await later(0)
    expect(disk.begun()).toEqual(['read 3', 'write +4', 'read 1', 'read 2'])
    expect(read).toEqual(['\x03', '\x01', '\x02'])
    expect(disk.mostBusy).toBe(1)
  })

  it('gives what a request is made of; nothing if that is damaged; and rejects if it fails', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1, Buffer.from('body'))
    await later(30)
    expect(await run.recorder.read(kept)).toEqual({
      ...{ payload: { contentType: 'text/plain', body: Buffer.from('body') }, headers: ['h', 'v'] },
    })
    disk.held.delete(1)
    expect(await run.recorder.read(kept)).toBeUndefined()
    disk.faults.read = new Error('what?')
    await expect(run.recorder.read(kept)).rejects.toThrow('what?')
    expect(run.problems).toEqual([undefined])
  })

  it('rejects while the journal is not open', async () => {
    const disk = new FakeDisk()
    disk.faults.open = noSpace()
    fakeClocks()
    const run = start(disk.open)
    await later(5)
    expect(run.problems).toEqual(['ENOSPC'])
    await expect(run.recorder.read(accept(run, 1))).rejects.toThrow('not open')
  })

  it('rejects after 5 s, with all that waits; the journal is opened again once the disk answers', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = [accept(run, 1), accept(run, 2)]
    await later(30)
    const release = disk.holdUp('read')
    const reads = kept.map(each => run.recorder.read(each).catch((error: Error) => error.message))
    await later(4_999)
    expect(run.problems).toEqual([undefined])
    await later(1)
    expect(await Promise.all(reads)).toEqual([NO_ANSWER, NO_ANSWER])
    expect(run.problems).toEqual([undefined, NO_ANSWER])
    await expect(run.recorder.read(kept[0]!)).rejects.toThrow(NO_ANSWER)
    // still in memory: it has to stay there
    expect(kept[0]!.stored).toBe(0)
    await later(60 * SECOND)
    expect(disk.begun().at(-1)).toBe('read 1')

    release()
    await later(0)
    expect(run.problems).toEqual([undefined, NO_ANSWER, undefined])
    expect(kept[0]!.stored).toBe(1100)
    expect(await run.recorder.read(kept[1]!)).toBeDefined()
  })
})

describe('a journal that cannot be opened', () => {
  it('is tried again every 10 s, said each time, and then takes what was kept meanwhile', async () => {
    const disk = new FakeDisk()
    disk.faults.open = noSpace()
    fakeClocks()
    const run = start(disk.open)
    accept(run, 1)
    await later(10 * SECOND)
    expect(run.problems).toEqual(['ENOSPC', 'ENOSPC'])
    delete disk.faults.open
    await later(10 * SECOND)
    expect(run.problems).toEqual(['ENOSPC', 'ENOSPC', undefined])
    expect(run.opened).toMatchObject([{ isFirst: true }])
    await later(20)
    expect(run.saved).toEqual([1])
  })

  it('because the disk hangs is given up after 3 s, and used whenever it answers', async () => {
    const earlier = new FakeDisk()
    accept(await started(earlier), 7)
    await later(30)
    const disk = earlier
    const release = disk.holdUp('open')
    const run = start(disk.open)
    accept(run, 8)
    await later(2_999)
    expect(run.problems).toEqual([])
    await later(1)
    expect(run.problems).toEqual([NO_ANSWER])
    await later(60 * SECOND)
    expect(run.problems).toEqual([NO_ANSWER])
    release()
    await later(20)
    expect(run.problems).toEqual([NO_ANSWER, undefined])
    expect(run.opened.map(({ recovered, isFirst }) => [recovered.deliveries.length, isFirst])).toEqual([[1, true]])
    expect(run.saved).toEqual([8])
  })

  it('is not given up while it is read', async () => {
    const disk = new FakeDisk()
    fakeClocks()
    const run = start(async isAlive => {
      for (let n = 0; n < 10; ++n) {
        await new Promise(resolve => setTimeout(resolve, 2 * SECOND))
        isAlive()
      }
      return disk.open()
    })
    await later(20 * SECOND)
    expect(run.problems).toEqual([undefined])
  })

  it('because what it holds cannot be taken over is let go, nothing of it is removed, and it is tried again', async () => {
    const disk = new FakeDisk()
    const first = await started(disk)
    accept(first, 1)
    accept(first, 2)
    await later(30)
    disk.begun()
    let failures = 1
    const kept = new Map<number, Kept>()
    const clock = new DiskClock()
    const run: Run = start(disk.open, {
      clock,
      kept: () => kept,
      onOpen: ({ deliveries }) => {
        for (const each of deliveries) {
          const own = keptOf(each, clock, 'endpoint', 0, 0)
          kept.set(own.number, own)
          run.recorder.heard(own, undefined)
          if (failures-- > 0) {
            throw new Error('no socket')
          }
        }
      },
    })
    await later(10)
    expect(run.problems).toEqual(['no socket'])
    expect(disk.begun()).toEqual(['open', 'close'])
    await later(11 * SECOND)
    expect(run.problems).toEqual(['no socket', undefined])
    expect([...kept.keys()]).toEqual([1, 2])
    expect([...disk.held.keys()]).toEqual([1, 2])
  })

  it('until late, in which another has the number of one that was kept meanwhile: the older is lost, and counted', async () => {
    const disk = new FakeDisk()
    const first = await started(disk)
    accept(first, 1, Buffer.from('of the earlier run'))
    accept(first, 2)
    await later(30)
    const release = disk.holdUp('open')
    const run = start(disk.open)
    Object.assign(accept(run, 1, Buffer.from('of this run')), { id: 'other' })
    release()
    await later(50)
    expect(run.opened).toMatchObject([{ recovered: { lost: 1, deliveries: [{ delivery: { number: 2 } }] } }])
    expect(disk.held.get(1)).toMatchObject({ delivery: { id: 'other' }, body: Buffer.from('of this run') })
  })
})

describe('a write that fails', () => {
  it('leaves everything in memory, until the journal is opened again and what it holds is compared', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const [inMemory, onDisk, ended, changed] = [1, 2, 3, 4].map(number => accept(run, number))
    await later(30)
    onDisk!.content = undefined
    disk.faults.write = noSpace()
    const fresh = accept(run, 5)
    await later(20)
    expect(run.problems).toEqual([undefined, 'ENOSPC'])
    // what is on disk only is still there; what is in memory has to stay there
    expect([inMemory, onDisk, ended, changed, fresh].map(kept => kept!.stored)).toEqual([0, 1100, 0, 0, 0])
    disk.begun()

    enter(run, ended!, DELIVERED)
    enter(run, changed!, waiting(), { attempts: 1, trigger: 'retry' })
    accept(run, 6)
    disk.held.delete(1)
    delete disk.faults.write
    await later(10 * SECOND)
    expect(run.problems).toEqual([undefined, 'ENOSPC', undefined])
    expect(run.opened.map(({ recovered, isFirst }) => [recovered.deliveries.length, isFirst])).toEqual([
      [0, true],
      [0, false],
    ])
    await later(20)
    expect(disk.begun()).toEqual(['probe', 'close', 'open', 'write +5,1,6 ~4 -3'])
    expect([...disk.held.keys()].sort()).toEqual([1, 2, 4, 5, 6])
    expect([...run.kept.values()].map(({ stored }) => stored)).toEqual([1100, 1100, 1200, 1100, 1100])
  })

  it('for want of space leaves what is on disk readable, until there is room', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    await later(30)
    kept.content = undefined
    disk.faults.write = disk.faults.probe = noSpace()
    accept(run, 2)
    await later(30 * SECOND)
    expect(await run.recorder.read(kept)).toBeDefined()
    expect(disk.begun()).toEqual(['write +1', 'write +2', 'probe', 'probe', 'read 1'])
    expect(run.recorder.bytes).toBe(1100)
    enter(run, kept, DELIVERED)
    expect(run.recorder.bytes).toBe(0)
    expect(run.problems).toEqual([undefined, 'ENOSPC', 'ENOSPC', 'ENOSPC'])
    delete disk.faults.write
    delete disk.faults.probe
    const release = disk.holdUp('write')
    await vi.waitFor(() => expect(disk.begun().at(-1)).toBe('write +2 -1'), { interval: 10, timeout: 11 * SECOND })
    expect(run.recorder.bytes).toBe(0)
    release()
    await later(0)
    expect(run.saved).toEqual([1, 2])
    expect(run.recorder.bytes).toBe(1100)
  })

  it('is tried again as it was: what needs no change is not written', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    enter(run, accept(run, 1), waiting(), { attempts: 1, trigger: 'retry' })
    await later(30)
    disk.begun()
    disk.faults.write = noSpace()
    run.recorder.stateChanged()
    await later(SECOND)
    delete disk.faults.write
    await later(11 * SECOND)
    expect(disk.begun()).toEqual(['write', 'probe', 'close', 'open', 'write'])
  })
})

describe('a write that hangs', () => {
  it('is given up after 5 s, and the journal opened again once it has ended: what it has written counts', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const [one, two, three] = [accept(run, 1), accept(run, 2), accept(run, 3)]
    const release = disk.holdUp('write')
    await later(20 + 4_999)
    expect(run.problems).toEqual([undefined])
    await later(1)
    expect(run.problems).toEqual([undefined, NO_ANSWER])
    enter(run, two, DELIVERED)
    enter(run, three, waiting(), { attempts: 1, trigger: 'retry' })
    accept(run, 4)
    await later(60 * SECOND)
    expect(disk.begun()).toEqual(['write +1,2,3'])
    expect(one.stored).toBe(0)

    release()
    await later(20)
    expect(run.problems).toEqual([undefined, NO_ANSWER, undefined])
    expect(disk.begun()).toEqual(['probe', 'close', 'open', 'write +4 ~3 -2'])
    expect([...run.kept.values()].map(({ stored }) => stored)).toEqual([1100, 1200, 1100])
  })
})

it('a disk that has answered does not hang, however long this thread was kept from looking', async () => {
  const hanging = vi.fn()
  const turns = new Turns(SECOND, hanging, () => {})
  await new Promise(resolve => setImmediate(resolve)) // next come timers, and only then what the disk has answered
  const answered = new Promise<void>(resolve => {
    const run = async (): Promise<void> => {
      await stat(tmpdir())
      resolve()
    }
    turns.next({ withinMs: 500, run, afterHanging: () => {} })
  })
  const end = performance.now() + 600
  while (performance.now() < end) {
    // nothing else is done
  }
  await answered
  expect(hanging).not.toHaveBeenCalled()
})

describe('closing', () => {
  it('writes what is left, however young, and lets go', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    run.recorder.log(row('1'))
    await run.recorder.close(SECOND)
    expect(disk.begun()).toEqual(['write +1', 'close'])
    expect(kept.stored).toBe(1100)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('waits for the opening', async () => {
    const disk = new FakeDisk()
    fakeClocks()
    const run = start(disk.open)
    accept(run, 1)
    await run.recorder.close(SECOND)
    expect(disk.begun()).toEqual(['open', 'write +1', 'close'])
  })

  it.each<Operation>(['open', 'write', 'read', 'close'])('takes no longer than it may if %s hangs', async operation => {
    const disk = new FakeDisk()
    fakeClocks()
    const release = operation === 'open' ? disk.holdUp(operation) : () => {}
    const run = start(disk.open)
    await later(5)
    const kept = accept(run, 1)
    await later(operation === 'read' ? 30 : 0)
    const releaseLater = operation === 'open' ? release : disk.holdUp(operation)
    const read = run.recorder.read(kept).catch((error: Error) => error.message)
    let isClosed = false
    void run.recorder.close(2 * SECOND).then(() => {
      isClosed = true
    })
    await later(1_999)
    expect(isClosed).toBe(false)
    await later(1)
    expect(isClosed).toBe(true)
    expect(kept.stored).toBe(operation === 'open' || operation === 'write' ? 0 : 1100)
    await later(5 * SECOND)
    await read

    // those that are not on disk are told to be over, and must not come back
    if (kept.stored === 0) {
      enter(run, kept, { name: 'ended', how: 'stopped' })
    }
    const expected = [...run.kept.keys()]
    releaseLater()
    await later(SECOND)
    expect(disk.calls.at(-1)).toBe('close')
    expect(run.opened.filter(({ isFirst }) => isFirst)).toHaveLength(operation === 'open' ? 0 : 1)
    expect([...disk.held.keys()]).toEqual(expected)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is the end of its say on totals: what the disk does for it later leaves those of the next engine', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const kept = accept(run, 1)
    await later(30)
    const release = disk.holdUp('write')
    accept(run, 2)
    await later(30)
    void run.recorder.close(SECOND)
    await later(SECOND)
    enter(run, kept, DELIVERED)
    disk.state = { of: 'the next engine' }
    disk.begun()
    release()
    await later(SECOND)
    expect(disk.begun()).toContain('write -1')
    expect(disk.state).toEqual({ of: 'the next engine' })
  })

  it('while the disk is full knows what is there from before: that is not over', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const [before, ended] = [accept(run, 1), accept(run, 2)]
    await later(30)
    disk.faults.write = disk.faults.probe = noSpace()
    const after = accept(run, 3)
    await later(20)
    enter(run, ended, DELIVERED)
    expect(before.stored).toBe(0)
    await run.recorder.close(SECOND)
    expect([before.stored, after.stored]).toEqual([1100, 0])
  })

  it('tries once more to write', async () => {
    const disk = new FakeDisk()
    const run = await started(disk)
    const [one, two] = [accept(run, 1), accept(run, 2)]
    await later(30)
    disk.faults.write = noSpace()
    enter(run, two, DELIVERED)
    await later(20)
    delete disk.faults.write
    const three = accept(run, 3)
    await run.recorder.close(SECOND)
    expect([...disk.held.keys()]).toEqual([1, 3])
    expect([one.stored, three.stored]).toEqual([1100, 1100])
    expect(disk.state).toEqual({ ended: 1 })
  })
})

describe('on a real disk', () => {
  it('comes back as it was in the next run, and no more than 50 ms are lost with the process', async () => {
    const directory = await temporaryDirectory()
    const run = start(() => Journal.open(directory))
    await vi.waitFor(() => expect(run.opened).toHaveLength(1))
    const [one, two] = [accept(run, 1, Buffer.from('one')), accept(run, 2, Buffer.from('two'))]
    enter(run, one, waiting(), { attempts: 1, failures: 1, trigger: 'retry', firstTriedAt: performance.now() })
    run.recorder.log(row('1'))
    await vi.waitFor(() => expect(run.saved).toEqual([1, 2]))
    const crashed = await copyOfStore(directory)
    enter(run, two, DELIVERED)
    await run.recorder.close(10 * SECOND)

    for (const [where, numbers, ended] of [
      [crashed, [1, 2], 0],
      [directory, [1], 1],
    ] as const) {
      const next = start(() => Journal.open(where))
      await vi.waitFor(() => expect(next.opened).toHaveLength(1))
      const { recovered, isFirst } = next.opened[0]!
      expect([isFirst, recovered.lost, recovered.state]).toEqual([true, 0, { ended }])
      expect([...next.kept.keys()]).toEqual(numbers)
      const kept = next.kept.get(1)!
      expect(kept).toMatchObject({
        state: { name: 'waiting' },
        progress: { attempts: 1, trigger: 'retry' },
        id: 'id-1',
      })
      expect(kept.stored).toBeGreaterThan(100)
      expect((await next.recorder.read(kept))?.payload.body.toString()).toBe('one')
      await next.recorder.close(10 * SECOND)
    }
  })
})
