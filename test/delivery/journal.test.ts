import { chmod, copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { ClassicLevel } from 'classic-level'

import { Journal } from '../../src/delivery/journal.ts'
import type { LogRow, Recovered, StoredDelivery, StoredProgress } from '../../src/delivery/journal.ts'
import { apply, LiveNumbers, numbersOf, runsOf } from '../../src/delivery/live-numbers.ts'
import type { StoredContent } from '../../src/delivery/journal.ts'
import type { StoredHead } from '../../src/delivery/stored.ts'
import {
  compactStore,
  copyOfStore,
  damageFiles,
  readStore,
  storeFiles,
  temporaryDirectory,
  writeStore,
} from '../helpers/journal-files.ts'

const STAMP = { clock: 5_000, epoch: 1_700_000_000_000 }
const NUMBERS = 'journal.numbers'
const realBatch = ClassicLevel.prototype.batch as (this: unknown) => never

type Changes = Partial<Parameters<Journal['write']>[0]> & { readonly state?: unknown; readonly clock?: typeof STAMP }

async function open(directory: string): Promise<{ journal: Journal; recovered: Recovered }> {
  const opened = await Journal.open(directory)
  onTestFinished(() => opened.journal.close())
  return opened
}

function write(journal: Journal, { state, clock = STAMP, ...changes }: Changes): Promise<void> {
  return journal.write({
    ...{ added: [], changed: new Map(), ended: [], rows: [], engine: { state, clock } },
    ...changes,
  })
}

function stored(number: number, changes: Partial<StoredDelivery> = {}): StoredDelivery {
  return {
    ...{ number, id: `id-${number}`, owner: 'hook', party: 'somebody', label: 'vm.start' },
    order: { key: `call-${number}`, leads: number % 2 === 0 },
    ...{ acceptedAt: 1_700_000_000_000 + number, contentType: 'application/json', headers: ['X-XO-Event', 'vm.start'] },
    ...{ expiresAt: 100_000, leftMs: 90_000 },
    ...changes,
  }
}

/** What is known of it without its content. */
function headOf({ contentType: _, headers: __, ...head }: StoredDelivery): StoredHead {
  return head
}

function bodyOf(number: number, length = 100): Buffer {
  return Buffer.alloc(length, `${number},`)
}

function adding(...numbers: number[]): Changes {
  return { added: numbers.map(number => ({ delivery: stored(number), body: bodyOf(number) })) }
}

const WAITING: StoredProgress = {
  ...{ state: 'waiting', attempts: 3, failures: 2, trigger: 'retry' },
  ...{ firstTriedAt: 1_000, expiresAt: 100_000, leftMs: 80_000, dueAt: 9_000, stepMs: 5_000 },
}
const DEAD: StoredProgress = {
  ...{ state: 'dead', attempts: 9, failures: 9, trigger: 'retry', expiresAt: 100_000, leftMs: 1_000 },
}

/** A store that is closed again, after these batches. */
async function storeOf(...batches: Changes[]): Promise<string> {
  const directory = await temporaryDirectory()
  const { journal } = await open(directory)
  for (const batch of batches) {
    await write(journal, batch)
  }
  await journal.close()
  return directory
}

function numbersIn({ deliveries }: Recovered): number[] {
  return deliveries.map(({ delivery }) => delivery.number)
}

/** Opens it once, and closes it. */
async function found(directory: string): Promise<{ numbers: number[]; lost: number; recovered: Recovered }> {
  const { journal, recovered } = await open(directory)
  await journal.close()
  return { numbers: numbersIn(recovered), lost: recovered.lost, recovered }
}

function row(id: string, at: number, settled?: string): LogRow {
  return { id, owner: 'a', at, ...(settled !== undefined && { settled }) }
}

async function logOf(journal: Journal): Promise<LogRow[]> {
  const rows = []
  for await (const each of journal.readLog()) {
    rows.push(each)
  }
  return rows
}

async function idsInLog(journal: Journal): Promise<string[]> {
  return (await logOf(journal)).map(({ id }) => id)
}

function flipBit(bytes: Buffer, index: number): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[index] = flipped[index]! ^ 1
  return flipped
}

function record(value: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(value))
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(json))
  return Buffer.concat([checksum, json])
}

function keyOf(kind: 'd' | 'p', number: number): string {
  return `${kind}!${String(number).padStart(16, '0')}`
}

describe('what is written', () => {
  it('is found as it was, by number, and its body is read to the byte', async () => {
    const body = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 256))
    const second = stored(7, { party: '', headers: [], label: 'é "quoted"', expiresAt: Number.POSITIVE_INFINITY })
    const directory = await storeOf({
      added: [
        { delivery: second, body: Buffer.alloc(0), progress: WAITING },
        { delivery: stored(3), body },
      ],
    })

    const { journal, recovered } = await open(directory)
    expect(recovered.deliveries).toEqual([
      { delivery: headOf(stored(3)), progress: undefined, bytes: 1000, stored: journal.sizeOf(3) },
      { delivery: headOf(second), progress: WAITING, bytes: 0, stored: journal.sizeOf(7) },
    ])
    expect(recovered).toMatchObject({ lost: 0, next: 8, clock: STAMP })
    expect(await journal.read(3)).toEqual({ ...content(stored(3)), body })
    expect(await journal.read(7)).toEqual({ ...content(second), body: Buffer.alloc(0) })
    expect(await journal.read(4)).toBeUndefined()
  })

  it('can be read in the run that has written it', async () => {
    const { journal } = await open(await temporaryDirectory())
    await write(journal, adding(1, 2))
    expect(await journal.read(2)).toEqual({ ...content(stored(2)), body: bodyOf(2) })
  })

  it('counts its keys and values, exactly', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await open(directory)
    await write(journal, adding(1, 2, 3))
    await write(journal, {
      changed: new Map([
        [1, WAITING],
        [2, DEAD],
      ]),
      ended: [3],
    })
    await write(journal, {
      changed: new Map([
        [1, DEAD],
        [2, undefined],
      ]),
    })
    const { bytes } = journal
    const sizes = [1, 2, 3].map(number => journal.sizeOf(number))
    await journal.close()

    const written = [...(await readStore(directory))].filter(([key]) => /^[dp]!/.test(key))
    expect(written.map(([key]) => key)).toEqual([keyOf('d', 1), keyOf('d', 2), keyOf('p', 1)])
    expect(bytes).toBe(written.reduce((sum, [key, value]) => sum + key.length + value.length, 0))
    expect(sizes[0]! + sizes[1]!).toBe(bytes)
    expect(sizes[2]).toBe(0)
    expect((await open(directory)).journal.bytes).toBe(bytes)
  })

  it('has how far it has come beside it, until that is as it was accepted again', async () => {
    const directory = await storeOf(adding(1, 2, 3), {
      changed: new Map([
        [1, WAITING],
        [2, DEAD],
      ]),
    })
    const { journal, recovered } = await open(directory)
    expect(recovered.deliveries.map(({ progress }) => progress)).toEqual([WAITING, DEAD, undefined])
    await write(journal, { changed: new Map([[2, undefined]]) })
    await journal.close()
    const { recovered: later } = await found(directory)
    expect(later.deliveries.map(({ progress }) => progress)).toEqual([WAITING, undefined, undefined])
  })

  it('is gone once it has ended, with how far it had come', async () => {
    const directory = await storeOf(adding(1, 2), { changed: new Map([[1, WAITING]]) }, { ended: [1] })
    expect(await found(directory)).toMatchObject({ numbers: [2], lost: 0 })
    expect([...(await readStore(directory)).keys()].filter(key => /^[dp]!/.test(key))).toEqual([keyOf('d', 2)])
  })

  it('takes no progress of what is not there', async () => {
    const directory = await storeOf(adding(1), {
      ended: [1],
      changed: new Map([
        [1, WAITING],
        [5, WAITING],
      ]),
    })
    expect([...(await readStore(directory)).keys()].filter(key => key.startsWith('p!'))).toEqual([])
  })

  it('is what comes in place of what had the number before', async () => {
    const directory = await storeOf(
      { added: [{ delivery: stored(1), body: bodyOf(1), progress: DEAD }] },
      { ended: [1], added: [{ delivery: stored(1, { id: 'other' }), body: bodyOf(2) }] }
    )
    const { recovered } = await found(directory)
    expect(recovered.deliveries).toMatchObject([{ delivery: { id: 'other' }, progress: undefined }])
  })

  it("brings back the engine's state and the clock, the last that were written", async () => {
    const directory = await storeOf({ state: { a: 1 } }, { state: { a: 2 }, clock: { clock: 6_000, epoch: 7_000 } })
    const { recovered } = await found(directory)
    expect(recovered).toMatchObject({ state: { a: 2 }, clock: { clock: 6_000, epoch: 7_000 } })
  })

  it('is of one process at a time', async () => {
    const directory = await storeOf(adding(1))
    const { journal } = await open(directory)
    await expect(Journal.open(directory)).rejects.toMatchObject({ cause: { code: 'LEVEL_LOCKED' } })
    await journal.close()
    expect((await found(directory)).numbers).toEqual([1])
  })

  it('is nobody else’s business: modes of folder and files, also where they were others', async () => {
    const directory = await storeOf(adding(1))
    const modesOf = async (): Promise<number[]> => {
      const files = (await readdir(join(directory, 'journal'))).map(name => join(directory, 'journal', name))
      return Promise.all(
        [join(directory, 'journal'), join(directory, NUMBERS), ...files].map(
          async path => (await stat(path)).mode & 0o777
        )
      )
    }
    await chmod(join(directory, 'journal'), 0o755)
    await chmod(join(directory, NUMBERS), 0o644)
    for (const { path } of await storeFiles(directory, /./)) {
      await chmod(path, 0o644)
    }
    await found(directory)
    const [folder, ...files] = await modesOf()
    expect(folder).toBe(0o700)
    expect(new Set(files)).toEqual(new Set([0o600]))
  })

  it('may fail: nothing of it counts, it can be read, and not be written until it is opened again', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await open(directory)
    await write(journal, adding(1))
    const { bytes } = journal
    const batch = vi.spyOn(ClassicLevel.prototype, 'batch').mockRejectedValueOnce(new Error('no space'))
    onTestFinished(() => batch.mockRestore())
    await expect(write(journal, { ...adding(2), ended: [1] })).rejects.toThrow('no space')
    expect(journal.bytes).toBe(bytes)
    expect(journal.sizeOf(2)).toBe(0)
    expect((await journal.read(1))?.body).toEqual(bodyOf(1))
    await expect(write(journal, adding(3))).rejects.toThrow('opened again')
    await journal.close()
    expect(await found(directory)).toMatchObject({ numbers: [1], lost: 0 })
  })
})

function content({ contentType, headers }: StoredDelivery): Omit<StoredContent, 'body'> {
  return { contentType, headers }
}

it('keeps what is filled into a URL', async () => {
  const fills = { '%7B%7Buser%7D%7D': 'a%20b' }
  const { journal } = await open(await storeOf({ added: [{ delivery: stored(1, { fills }), body: bodyOf(1) }] }))
  expect(await journal.read(1)).toEqual({ ...content(stored(1)), fills, body: bodyOf(1) })
})

describe('the delivery log', () => {
  it('is read from the latest row to the first', async () => {
    const directory = await storeOf({ rows: [row('1', 1), row('2', 2, 'delivered')] }, {}, { rows: [row('3', 3)] })
    const { journal } = await open(directory)
    await write(journal, { rows: [row('4', 4), row('5', 5)] })
    expect(await idsInLog(journal)).toEqual(['5', '4', '3', '2', '1'])
    expect((await logOf(journal))[3]).toEqual(row('2', 2, 'delivered'))
  })

  it('keeps about as many settled deliveries as it is told to, with the rows between them', async () => {
    const rows = Array.from({ length: 10 }, (_, at) => ({ rows: [row(`try ${at}`, at), row(`end ${at}`, at, 'ok')] }))
    const { journal } = await open(await storeOf(...rows))
    for (let times = 0; times < 2; ++times) {
      journal.trimLog(3, 0)
      await write(journal, {})
      expect(await idsInLog(journal)).toEqual(['end 9', 'try 9', 'end 8', 'try 8', 'end 7', 'try 7'])
    }
  })

  it('keeps no page whose latest row is too old', async () => {
    const { journal } = await open(await temporaryDirectory())
    for (const at of [10, 20, 30]) {
      await write(journal, { rows: [row(`${at}`, at, 'delivered')] })
    }
    journal.trimLog(100, 20)
    await write(journal, {})
    expect(await idsInLog(journal)).toEqual(['30', '20'])
    journal.trimLog(100, 31)
    await write(journal, {})
    expect(await idsInLog(journal)).toEqual([])
  })
})

/** What format 1 looks like: by key, the checksum that stands in front, and the text. It is read for ever. */
const FORMAT_1: Readonly<Record<string, readonly [checksum: string, text: string]>> = {
  version: ['83dcefb7', '1'],
  engine: ['617ebaa5', '{"ended":{"delivered":1,"discarded":{}},"endpoints":{}}'],
  'head!000000000000': [
    '5f769f87',
    '{"deliveries":[' +
      '{"id":"4f6e9a10-0000-4000-8000-000000000001","owner":"kq2mNxB0Jw1c5h7R","headers":["X-XO-Event","vm.start"],' +
      '"order":{"key":"call","leads":true},"acceptedAt":1700000000001,"lifetimeMs":300000,' +
      '"contentType":"application/json","offset":0,"length":21},' +
      '{"id":"4f6e9a10-0000-4000-8000-000000000002","owner":"kq2mNxB0Jw1c5h7R","headers":["X-XO-Event","vm.start"],' +
      '"order":{"key":"call","leads":false},"acceptedAt":1700000000002,' +
      '"contentType":"application/json","offset":0,"length":21},' +
      '{"id":"4f6e9a10-0000-4000-8000-000000000003","owner":"kq2mNxB0Jw1c5h7R","headers":["X-XO-Event","vm.start"],' +
      '"order":{"key":"call","leads":false},"acceptedAt":1700000000003,' +
      '"contentType":"application/json","offset":0,"length":21}],"crc":3712614899}',
  ],
  'body!000000000000': ['', '{"method":"vm.start"}'],
  'state!000000000000': [
    '203d06ac',
    '{"progress":{"1":{"attempts":2,"failures":1,"isDead":false,' +
      '"firstTriedAt":1700000000100,"dueAt":1700000060000}},"settled":[2]}',
  ],
  'log!000000000000': [
    '0791b3af',
    '[{"id":"4f6e9a10-0000-4000-8000-000000000003","owner":"kq2mNxB0Jw1c5h7R","at":1700000000200,' +
      '"settled":"delivered","attempt":{"number":1}}]',
  ],
}

function format1(): Map<string, Buffer> {
  return new Map(
    Object.entries(FORMAT_1).map(([key, [checksum, text]]) => [
      key,
      Buffer.concat([Buffer.from(checksum, 'hex'), Buffer.from(text)]),
    ])
  )
}

/** Of format 1, one delivery a page: what is accepted at `acceptedAt`, of the call `key`. */
function page1(page: number, id: string, acceptedAt: number, key: string, leads: boolean): [string, Buffer][] {
  const body = Buffer.from(`body of ${id}`)
  const common = { owner: 'a', headers: [], contentType: 'text/plain', offset: 0, length: body.length }
  const number = String(page).padStart(12, '0')
  return [
    [
      `head!${number}`,
      record({ deliveries: [{ ...common, id, acceptedAt, order: { key, leads } }], crc: crc32(body) }),
    ],
    [`body!${number}`, body],
  ]
}

/** A folder that holds these records and nothing else. */
async function rawStore(records: Iterable<readonly [string, Buffer]>): Promise<string> {
  const directory = await temporaryDirectory()
  await writeStore(directory, records)
  return directory
}

describe('a store of format 1', () => {
  it('is read, and is one of format 2 from then on', async () => {
    vi.useFakeTimers({ now: 1_700_000_100_000, toFake: ['Date'] })
    onTestFinished(() => void vi.useRealTimers())
    const directory = await rawStore(format1())
    const shared = { owner: 'kq2mNxB0Jw1c5h7R', party: '', label: '' }
    const month = 30 * 24 * 60 * 60_000
    for (let times = 0; times < 2; ++times) {
      const { journal, recovered } = await open(directory)
      expect(recovered).toMatchObject({
        ...{ lost: 0, next: 3, clock: undefined },
        state: { ended: { delivered: 1, discarded: {} }, endpoints: {} },
      })
      expect(recovered.deliveries).toEqual([
        {
          delivery: {
            ...{ ...shared, number: 1, id: '4f6e9a10-0000-4000-8000-000000000001' },
            ...{ order: { key: 'call', leads: true }, acceptedAt: 1_700_000_000_001 },
            ...{ expiresAt: 1_700_000_300_001, leftMs: 200_001 },
          },
          ...{ progress: undefined, bytes: 21, stored: journal.sizeOf(1) },
        },
        {
          delivery: {
            ...{ ...shared, number: 2, id: '4f6e9a10-0000-4000-8000-000000000002' },
            ...{ order: { key: 'call', leads: false }, acceptedAt: 1_700_000_000_002 },
            ...{ expiresAt: 1_700_000_000_002 + month, leftMs: month - 99_998 },
          },
          progress: {
            ...{ state: 'waiting', attempts: 2, failures: 1, trigger: 'retry' },
            ...{ firstTriedAt: 1_700_000_000_100, dueAt: 1_700_000_060_000 },
            ...{ expiresAt: 1_700_000_000_002 + month, leftMs: month - 99_998 },
          },
          ...{ bytes: 21, stored: journal.sizeOf(2) },
        },
      ])
      expect(await journal.read(2)).toEqual({
        ...{ contentType: 'application/json', headers: ['X-XO-Event', 'vm.start'] },
        body: Buffer.from('{"method":"vm.start"}'),
      })
      expect(await logOf(journal)).toEqual([
        {
          ...{ id: '4f6e9a10-0000-4000-8000-000000000003', owner: 'kq2mNxB0Jw1c5h7R', at: 1_700_000_000_200 },
          ...{ settled: 'delivered', attempt: { number: 1 } },
        },
      ])
      await journal.close()
    }
    expect([...(await readStore(directory)).keys()]).toEqual([
      ...['batch', keyOf('d', 1), keyOf('d', 2), 'log!000000000000', keyOf('p', 2), 'state', 'version'],
    ])
  })

  it('in which nothing waits keeps its totals', async () => {
    const directory = await rawStore([
      ['version', record(1)],
      ['engine', record({ ended: 5 })],
    ])
    expect((await found(directory)).recovered.state).toEqual({ ended: 5 })
    expect((await found(directory)).recovered.state).toEqual({ ended: 5 })
  })

  it('is put in the order of acceptance, a pre ahead of its post even if the clock was set back', async () => {
    const directory = await rawStore([
      ...page1(0, 'tie post', 1000, 'tie', false),
      ...page1(1, 'back post', 900, 'back', false),
      ...page1(2, 'tie pre', 1000, 'tie', true),
      ...page1(3, 'back pre', 2000, 'back', true),
      ...page1(4, 'other', 950, 'o', false),
    ])
    const { recovered } = await found(directory)
    expect(recovered.deliveries.map(({ delivery }) => delivery.id)).toEqual([
      ...['other', 'tie pre', 'tie post', 'back pre', 'back post'],
    ])
    expect(numbersIn(recovered)).toEqual([1, 2, 3, 4, 5])
  })

  it('that was left half way is read to the end, and nothing comes twice', async () => {
    const ids = ['a', 'b', 'c', 'd', 'e']
    const pages = ids.flatMap((id, page) => page1(page, id, 1000 + page, id, false))
    // one batch a page, one for the totals, one at the end
    for (let done = 0; done < 7; ++done) {
      const directory = await rawStore([...pages, ['engine', record({ some: 'totals' })]])
      const batch = vi.spyOn(ClassicLevel.prototype, 'batch')
      for (let times = 0; times < done; ++times) {
        batch.mockImplementationOnce(realBatch)
      }
      batch.mockRejectedValueOnce(new Error('killed') as never)
      await expect(Journal.open(directory)).rejects.toThrow('killed')
      batch.mockRestore()

      const { recovered, lost } = await found(directory)
      expect(recovered.deliveries.map(({ delivery }) => delivery.id)).toEqual(ids)
      expect([lost, recovered.state]).toEqual([0, { some: 'totals' }])
    }
  })

  it('that is damaged loses what is, counted', async () => {
    const pages = ['a', 'b', 'c', 'd'].flatMap((id, page) => page1(page, id, 1000 + page, id, false))
    const directory = await rawStore(pages)
    await writeStore(directory, [
      ['head!000000000000', Buffer.from('garbage')],
      ['body!000000000001', Buffer.from('body of !')],
      ['body!000000000002', undefined],
    ])
    const { recovered, lost } = await found(directory)
    expect(recovered.deliveries.map(({ delivery }) => delivery.id)).toEqual(['d'])
    expect(lost).toBe(3)
    expect((await found(directory)).lost).toBe(0)
  })
})

describe('the version', () => {
  it('that is missing or damaged is no hindrance', async () => {
    for (const version of [undefined, Buffer.from('what?'), Buffer.alloc(0)]) {
      const directory = await storeOf(adding(1))
      await writeStore(directory, [['version', version]])
      expect((await found(directory)).numbers).toEqual([1])
    }
  })

  it('that is a later one is left alone, and said', async () => {
    const directory = await storeOf(adding(1))
    await writeStore(directory, [['version', record(3)]])
    const before = await readStore(directory)
    const numbers = await readFile(join(directory, NUMBERS))
    await expect(open(directory)).rejects.toThrow(
      'the journal was written by a later version (format 3, known up to 2)'
    )
    expect(await readStore(directory)).toEqual(before)
    expect(await readFile(join(directory, NUMBERS))).toEqual(numbers)
  })
})

describe('a record that is damaged', () => {
  /** Checksum, length of the head, head, body: what has the right checksum around something else. */
  function odd(head: unknown): Buffer {
    const json = Buffer.from(JSON.stringify(head))
    const rest = Buffer.concat([Buffer.alloc(4), json, Buffer.from('body')])
    rest.writeUInt32BE(json.length)
    const checksum = Buffer.alloc(4)
    checksum.writeUInt32BE(crc32(rest))
    return Buffer.concat([checksum, rest])
  }
  const damages: [string, (value: Buffer) => Buffer][] = [
    ['has a bit flipped', value => flipBit(value, value.length >> 1)],
    ['has a bit of its last byte flipped', value => flipBit(value, value.length - 1)],
    ['has a bit of its checksum flipped', value => flipBit(value, 0)],
    ['is cut', value => value.subarray(0, -1)],
    ['is empty', () => Buffer.alloc(0)],
    ['is garbage', () => Buffer.from('garbage of some length')],
    ['is well-formed, and something else', () => record('what?')],
    ['is no JSON, with the right checksum', () => odd('x').fill(0)],
    ['is a head of another number', () => odd(stored(5))],
    ['has a number where a text should be', () => odd({ ...stored(1), id: 5 })],
    ['has headers that are none', () => odd({ ...stored(1), headers: [null] })],
    ['has no order', () => odd({ ...stored(1), order: undefined })],
    ['has null for an instant', () => odd({ ...stored(1), acceptedAt: null })],
    [
      'has a head that is longer than it',
      () => {
        const value = odd(stored(1))
        value.writeUInt32BE(1_000_000, 4)
        value.writeUInt32BE(crc32(value.subarray(4)))
        return value
      },
    ],
  ]

  it.each(damages)('and %s is one delivery, counted once', async (_, change) => {
    for (const isNumbersThere of [true, false]) {
      const directory = await storeOf(adding(1, 2), { changed: new Map([[1, WAITING]]) })
      const value = (await readStore(directory)).get(keyOf('d', 1))!
      await writeStore(directory, [[keyOf('d', 1), change(value)]])
      if (!isNumbersThere) {
        await rm(join(directory, NUMBERS))
      }
      expect(await found(directory)).toMatchObject({ numbers: [2], lost: 1 })
      expect(await found(directory)).toMatchObject({ numbers: [2], lost: 0 })
      expect([...(await readStore(directory)).keys()]).not.toContain(keyOf('p', 1))
    }
  })

  it('under a key that is none, or that of another, is one delivery', async () => {
    for (const key of ['d!1', 'd!00000000000000x1', keyOf('d', 3), keyOf('d', 77)]) {
      const directory = await storeOf(adding(1, 2))
      const value = (await readStore(directory)).get(keyOf('d', 1))!
      await writeStore(directory, [
        [keyOf('d', 1), undefined],
        [key, value],
      ])
      expect(await found(directory)).toMatchObject({ numbers: [2], lost: 1 })
      expect(await found(directory)).toMatchObject({ numbers: [2], lost: 0 })
    }
  })

  it('while it is open is found as it is read', async () => {
    const directory = await storeOf(adding(1, 2))
    const { journal } = await open(directory)
    const get = vi.spyOn(ClassicLevel.prototype, 'get').mockResolvedValueOnce(Buffer.from('garbage') as never)
    onTestFinished(() => get.mockRestore())
    expect(await journal.read(1)).toBeUndefined()
    get.mockRejectedValueOnce(Object.assign(new Error('IO error'), { code: 'LEVEL_IO_ERROR' }))
    await expect(journal.read(1)).rejects.toThrow('IO error')
    expect((await journal.read(2))?.body).toEqual(bodyOf(2))
  })

  it.each(damages)('and %s: a progress that is leaves its delivery as it was accepted', async (_, change) => {
    const directory = await storeOf(adding(1, 2), {
      changed: new Map([
        [1, WAITING],
        [2, DEAD],
      ]),
    })
    const value = (await readStore(directory)).get(keyOf('p', 1))!
    await writeStore(directory, [[keyOf('p', 1), change(value)]])
    const { journal, recovered } = await open(directory)
    expect(recovered.deliveries.map(({ progress }) => progress)).toEqual([undefined, DEAD])
    expect(recovered.lost).toBe(0)
    const { bytes } = journal
    await journal.close()
    expect((await open(directory)).journal.bytes).toBe(bytes)
  })

  it.each([
    { ...WAITING, state: 'asleep' },
    { ...WAITING, attempts: -1 },
    { ...WAITING, trigger: 'whim' },
    { ...WAITING, dueAt: undefined },
    { ...WAITING, dueAt: 'soon' },
    { ...WAITING, expiresAt: undefined },
    [],
    null,
  ])('of the right checksum, %o, is no progress', async progress => {
    const directory = await storeOf(adding(1))
    await writeStore(directory, [[keyOf('p', 1), record(progress)]])
    expect((await found(directory)).recovered.deliveries).toMatchObject([{ progress: undefined }])
    expect([...(await readStore(directory)).keys()]).not.toContain(keyOf('p', 1))
  })

  it('is no state and no clock', async () => {
    const directory = await storeOf({ ...adding(1), state: { a: 1 } })
    await writeStore(directory, [['state', Buffer.from('garbage')]])
    expect((await found(directory)).recovered).toMatchObject({ state: undefined, clock: undefined, lost: 0 })
    await writeStore(directory, [['state', record({ state: 1, clock: { clock: 'noon', epoch: 1 } })]])
    expect((await found(directory)).recovered).toMatchObject({ state: 1, clock: undefined })
  })

  it('is a page of the log that is skipped, or a row on it', async () => {
    const directory = await storeOf({ rows: [row('1', 1)] }, { rows: [row('2', 2)] })
    await writeStore(directory, [
      ['log!000000000000', Buffer.from('garbage')],
      ['log!000000000001', record([row('2', 2), { id: 5 }, null, row('3', 3)])],
      ['log!x', record([row('4', 4)])],
    ])
    const { journal } = await open(directory)
    await write(journal, { rows: [row('5', 5)] })
    expect((await idsInLog(journal)).filter(id => id !== '4')).toEqual(['5', '3', '2'])
  })

  it('is a progress without its delivery: no later one takes it for its own', async () => {
    const directory = await storeOf(adding(1))
    await writeStore(directory, [[keyOf('p', 2), record(DEAD)]])
    const { journal } = await open(directory)
    await write(journal, adding(2))
    await journal.close()
    expect((await found(directory)).recovered.deliveries[1]).toMatchObject({ progress: undefined })
  })
})

describe('the file of numbers', () => {
  it('writes runs, in any order, and reads nothing else', () => {
    expect(runsOf([9, 1, 3, 2, 12, 11])).toBe('1-3,9,11-12')
    expect(numbersOf('1-3,9,11-12')).toEqual([1, 2, 3, 9, 11, 12])
    expect([runsOf([]), numbersOf('')]).toEqual(['', []])
    expect(['1-', 'x', '1,', '-1', '1-99999999999', ' 1', 5].map(numbersOf)).toEqual(Array(7).fill(undefined))
    const live = new Set([1, 2])
    expect([apply(live, 3, [2, 5], [5, 7]), [...live]]).toEqual([8, [1, 5, 7]])
  })

  it('notices what LevelDB has lost: a late batch', async () => {
    const { directory, later } = await twoStates(adding(1, 2, 3), { ended: [1], ...adding(4, 5) })
    // LevelDB as it was before, the numbers as they were after
    await copyFile(join(later, NUMBERS), join(directory, NUMBERS))
    expect(await found(directory)).toMatchObject({ numbers: [2, 3], lost: 2 })
    expect(await found(directory)).toMatchObject({ numbers: [2, 3], lost: 0 })
  })

  it('notices all of a store that is gone, or was put aside', async () => {
    const directory = await storeOf(adding(1, 2, 3), { ended: [2] })
    await rm(join(directory, 'journal'), { recursive: true })
    expect(await found(directory)).toMatchObject({ numbers: [], lost: 2, recovered: { next: 4 } })
    expect(await found(directory)).toMatchObject({ lost: 0, recovered: { next: 4 } })
  })

  it('may be one batch behind, as after a kill between the two writes: nothing counts wrongly', async () => {
    for (const second of [{ ended: [1, 3] }, adding(4, 5), { ended: [2], ...adding(6) }, { state: 1 }] as Changes[]) {
      const { directory, later } = await twoStates(adding(1, 2, 3), second)
      const expected = (await found(await copyOfStore(later))).numbers
      await copyFile(join(directory, NUMBERS), join(later, NUMBERS))
      expect(await found(later)).toMatchObject({ numbers: expected, lost: 0 })
    }
  })

  it('that is one batch behind still tells what of that batch is gone', async () => {
    const { directory, later } = await twoStates(adding(1, 2, 3), { ended: [1], ...adding(4, 5) })
    await copyFile(join(directory, NUMBERS), join(later, NUMBERS))
    await writeStore(later, [
      [keyOf('d', 5), undefined],
      [keyOf('d', 3), undefined],
      [keyOf('d', 1), (await readStore(directory)).get(keyOf('d', 1))],
    ])
    expect(await found(later)).toMatchObject({ numbers: [2, 4], lost: 2 })
  })

  it('that is further behind says nothing, and neither does one that is cut, damaged or gone', async () => {
    const damages: ((bytes: Buffer, old: Buffer) => Buffer | undefined)[] = [
      (_, old) => old,
      () => undefined,
      () => Buffer.alloc(0),
      bytes => flipBit(bytes, 3),
      bytes => flipBit(bytes, 30),
      bytes => flipBit(bytes, bytes.length - 5),
      bytes => bytes.subarray(1),
      bytes => bytes.subarray(0, bytes.indexOf('\n')),
      bytes => bytes.subarray(0, bytes.indexOf('\n') + 1),
      bytes => Buffer.alloc(bytes.length),
      bytes => Buffer.concat([bytes, Buffer.from('what?\n')]),
      bytes => bytes.subarray(bytes.indexOf('\n') + 1),
      () => Buffer.from('{"sequence":99,"live":"1-9","next":10}\n'),
    ]
    for (const damage of damages) {
      const { directory, later } = await twoStates(adding(1, 2), adding(3, 4), { ended: [1, 3] }, adding(5))
      const old = await readFile(join(directory, NUMBERS))
      const damaged = damage(await readFile(join(later, NUMBERS)), old)
      await (damaged === undefined ? rm(join(later, NUMBERS)) : writeFile(join(later, NUMBERS), damaged))
      expect(await found(later)).toMatchObject({ numbers: [2, 4, 5], lost: 0 })
      expect(await found(later)).toMatchObject({ numbers: [2, 4, 5], lost: 0 })
    }
  })

  it('that was cut as its last line was written, is one batch behind', async () => {
    const { later } = await twoStates(adding(1, 2), { ended: [1], ...adding(3) })
    const bytes = await readFile(join(later, NUMBERS))
    await writeFile(join(later, NUMBERS), bytes.subarray(0, -4))
    expect(await found(later)).toMatchObject({ numbers: [2, 3], lost: 0 })
  })

  it('that cannot be written is no hindrance, and is caught up with', async () => {
    const directory = await temporaryDirectory()
    await mkdir(join(directory, NUMBERS))
    const { journal } = await open(directory)
    await write(journal, adding(1, 2, 3))
    await write(journal, { ended: [1] })
    await rm(join(directory, NUMBERS), { recursive: true })
    await write(journal, adding(4))
    await journal.close()
    await writeStore(directory, [[keyOf('d', 2), undefined]])
    expect(await found(directory)).toMatchObject({ numbers: [3, 4], lost: 1 })
  })

  it('that cannot be written for a while is told all of that while by the store', async () => {
    const directory = await storeOf(adding(1, 2))
    const { journal } = await open(directory)
    const spies = (['append', 'rewrite'] as const).map(name =>
      vi.spyOn(LiveNumbers.prototype, name).mockRejectedValue(new Error('no space'))
    )
    onTestFinished(() => spies.forEach(spy => spy.mockRestore()))
    await write(journal, adding(3, 4))
    await write(journal, { ended: [1, 3] })
    await journal.close()
    spies.forEach(spy => spy.mockRestore())
    expect(await found(directory)).toMatchObject({ numbers: [2, 4], lost: 0 })
  })

  it('that was not written on opening, as after a kill there, tells nothing twice', async () => {
    const directory = await storeOf(adding(1, 2, 3))
    const numbers = await readFile(join(directory, NUMBERS))
    await writeStore(directory, [[keyOf('d', 1), undefined]])
    expect(await found(directory)).toMatchObject({ numbers: [2, 3], lost: 1 })
    await writeFile(join(directory, NUMBERS), numbers)
    expect(await found(directory)).toMatchObject({ numbers: [2, 3], lost: 0 })
  })

  it('says nothing of a store of format 1', async () => {
    const directory = await storeOf(adding(1, 2, 3), { ended: [1, 2] })
    await rm(join(directory, 'journal'), { recursive: true })
    await writeStore(directory, page1(0, 'a', 1000, 'a', false))
    const { recovered, lost } = await found(directory)
    expect([recovered.deliveries.map(({ delivery }) => delivery.id), lost]).toEqual([['a'], 0])
  })

  it('does not grow for ever', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await open(directory)
    let largest = 0
    for (let batch = 0; batch < 300; ++batch) {
      // numbers that make no runs
      const numbers = Array.from({ length: 100 }, (_, index) => (batch * 100 + index) * 2 + 1_000_000_000_000)
      await write(journal, {
        ended: numbers.map(number => number - 200),
        added: numbers.map(number => ({ delivery: stored(number), body: Buffer.alloc(0) })),
      })
      largest = Math.max(largest, (await stat(join(directory, NUMBERS))).size)
    }
    expect(largest).toBeGreaterThan(200_000)
    expect(largest).toBeLessThan(300_000)
    await journal.close()
    expect(await found(directory)).toMatchObject({ lost: 0 })
  })

  /** A store after the last but one of these batches, and after the last (`later`): both with the numbers of their time. */
  async function twoStates(...batches: Changes[]): Promise<{ directory: string; later: string }> {
    const later = await temporaryDirectory()
    const { journal } = await open(later)
    await write(journal, batches[0]!)
    const directory = await copyOfStore(later)
    for (const batch of batches.slice(1)) {
      await write(journal, batch)
    }
    await journal.close()
    return { directory, later }
  }
})

describe('a file that is damaged', () => {
  const COUNT = 40
  const ENDED = [3, 20, 38]
  const LIVE = Array.from({ length: COUNT }, (_, index) => index + 1).filter(number => !ENDED.includes(number))
  const SIZE = 100_000

  /** Most deliveries are in tables, the last three in the log of LevelDB, and so is the end of some. */
  async function largeStore(): Promise<string> {
    const of = (from: number, to: number): Changes => ({
      added: LIVE.concat(ENDED)
        .filter(number => number >= from && number <= to)
        .map(number => ({ delivery: stored(number), body: bodyOf(number, SIZE) })),
    })
    const directory = await storeOf(of(1, 12), of(13, 24), of(25, 37))
    await compactStore(directory)
    const { journal } = await open(directory)
    await write(journal, { ...of(38, 39), rows: [row('logged', 1)] })
    await write(journal, { ended: ENDED, changed: new Map([[1, WAITING]]), state: { some: 'totals' } })
    await write(journal, of(40, 40))
    await journal.close()
    return directory
  }

  interface Survey {
    readonly survivors: number[]
    readonly lost: number
  }

  /** What can be read back, and how many are told to be lost. Also that the store can be written and opened again. */
  async function surveyOf(directory: string, what: string): Promise<Survey> {
    const { journal, recovered } = await open(directory)
    const survivors: number[] = []
    for (const { delivery } of recovered.deliveries) {
      const { number } = delivery
      const read = await journal.read(number)
      if (read !== undefined) {
        // as `expect` compares large buffers slowly
        const { body, contentType, headers } = read
        const found = JSON.stringify([delivery, contentType, headers])
        const written = stored(number)
        const expected = JSON.stringify([headOf(written), written.contentType, written.headers])
        if (!body.equals(bodyOf(number, SIZE)) || found !== expected) {
          expect.fail(`${what}: delivery ${number} has changed`)
        }
        survivors.push(number)
      }
    }
    await write(journal, adding(1_000))
    await journal.close()
    const again = await open(directory)
    expect(numbersIn(again.recovered), what).toContain(1_000)
    expect(again.recovered.lost, `${what}: told twice`).toBe(0)
    await again.journal.close()
    return { survivors, lost: recovered.lost }
  }

  const half = (bytes: Buffer): Buffer => bytes.subarray(0, bytes.length >> 1)

  it.each([
    ['is whole', /nothing/, (bytes: Buffer) => bytes, LIVE.length],
    ['a write-ahead log that is cut', /\.log$/, half, LIVE.length - 3],
    ['a write-ahead log that is gone', /\.log$/, () => undefined, LIVE.length - 3],
    ['a manifest that is gone', /^MANIFEST/, () => undefined, LIVE.length],
    ['a manifest that is cut', /^MANIFEST/, half, LIVE.length],
    ['a manifest that is empty', /^MANIFEST/, () => Buffer.alloc(0), LIVE.length],
    ['a CURRENT that is gone', /^CURRENT$/, () => undefined, LIVE.length],
    ['a CURRENT that is garbage', /^CURRENT$/, () => Buffer.from('garbage'), LIVE.length],
    ['a CURRENT that leads nowhere', /^CURRENT$/, () => Buffer.from('MANIFEST-999999\n'), LIVE.length],
    ['a CURRENT that is empty', /^CURRENT$/, () => Buffer.alloc(0), LIVE.length],
    ['tables that are cut', /\.ldb$/, half, 2],
    ['tables that are gone', /\.ldb$/, () => undefined, 2],
    ['tables with a bit flipped', /\.ldb$/, (bytes: Buffer) => flipBit(bytes, bytes.length >> 1), LIVE.length - 8],
    ['everything but what LevelDB logs', /^(MANIFEST|CURRENT|.*\.ldb$|.*\.log$)/, half, 0],
  ])('%s: the rest is read, and what is gone is counted to the last', async (name, files, change, atLeast) => {
    const directory = await largeStore()
    if (name !== 'is whole') {
      await damageFiles(directory, files, change)
    }
    const { survivors, lost } = await surveyOf(directory, name)
    expect(survivors.length).toBeGreaterThanOrEqual(atLeast)
    expect(LIVE).toEqual(expect.arrayContaining(survivors))
    expect(lost).toBe(LIVE.length - survivors.length)
  })

  it('that is met only as a body is read costs that body, and is repaired afterwards', async () => {
    const directory = await largeStore()
    const { journal } = await open(directory)
    const get = vi
      .spyOn(ClassicLevel.prototype, 'get')
      .mockRejectedValueOnce(Object.assign(new Error('block checksum mismatch'), { code: 'LEVEL_CORRUPTION' }))
    const repair = vi.spyOn(ClassicLevel, 'repair')
    onTestFinished(() => void [get, repair].map(spy => spy.mockRestore()))
    expect(await journal.read(1)).toBeUndefined()
    expect((await journal.read(2))?.body.length).toBe(SIZE)
    await journal.close()
    // opening looks at little of what is there: LevelDB would meet it again and again, and stop writing
    expect(repair).toHaveBeenCalledOnce()
    expect(await surveyOf(directory, 'afterwards')).toEqual({ survivors: LIVE, lost: 0 })
  })

  it(
    'is never in the way: what is gone is told, nothing is altered, nothing that has ended comes back',
    {
      timeout: 120_000,
    },
    async () => {
      const whole = await largeStore()
      const earlier = await copyOfStore(whole)
      const { journal } = await open(whole)
      await write(journal, { state: { later: 'totals' } })
      await journal.close()
      const files = [
        ...(await storeFiles(whole, /^(MANIFEST|CURRENT|.*\.ldb$|.*\.log$)/)).map(({ path }) => path),
        join(whole, NUMBERS),
      ].map(path => path.slice(whole.length + 1))
      let state = 20_260_101
      const random = (below: number): number => {
        state = (state * 48_271) % 2_147_483_647
        return state % below
      }
      const damages: Record<string, (bytes: Buffer, other: Buffer | undefined) => Buffer | undefined> = {
        flip: bytes => flipBit(bytes, random(bytes.length)),
        cut: bytes => bytes.subarray(0, random(bytes.length)),
        delete: () => undefined,
        zero: bytes => Buffer.from(bytes).fill(0, random(bytes.length)),
        blot: bytes => {
          const at = random(bytes.length)
          return Buffer.from(bytes).fill(7, at, Math.min(at + 100, bytes.length))
        },
        append: bytes => Buffer.concat([bytes, Buffer.alloc(1 + random(5_000), 'what?')]),
        swap: (bytes, other) => other ?? bytes,
      }
      for (const file of files) {
        for (const [kind, damage] of Object.entries(damages)) {
          const what = `${kind} ${file}`
          const directory = await copyOfStore(whole)
          const path = join(directory, file)
          // what it was in the state before, else the next file there is
          const other = await readFile(join(earlier, file)).catch(() =>
            readFile(join(whole, files[(files.indexOf(file) + 1) % files.length]!))
          )
          const bytes = await readFile(path)
          if (bytes.length === 0) {
            continue
          }
          const damaged = damage(bytes, other)
          await (damaged === undefined ? rm(path) : writeFile(path, damaged))
          const { survivors, lost } = await surveyOf(directory, what)
          expect(
            survivors.filter(number => ENDED.includes(number)),
            what
          ).toEqual([])
          expect(lost, what).toBe(LIVE.length - survivors.length)
        }
      }
    }
  )
})
