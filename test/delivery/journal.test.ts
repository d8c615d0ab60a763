import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'

import type { Delivery } from '../../src/delivery/delivery.ts'
import { Journal } from '../../src/delivery/journal.ts'
import type { LogRow, Progress, Recovered } from '../../src/delivery/journal.ts'
import { newEntry } from '../../src/delivery/lane.ts'
import type { Entry } from '../../src/delivery/lane.ts'
import { deliveryWith } from '../helpers/durable-run.ts'
import type { Submission } from '../helpers/durable-run.ts'
import {
  compactStore,
  damageFiles,
  readStore,
  storeFiles,
  temporaryDirectory,
  writeStore,
} from '../helpers/journal-files.ts'

const NO_PROGRESS: Progress = { attempts: 0, failures: 0, isDead: false }

/** What the journal is told of an entry, by its id. */
const progress = new Map<string, Progress>()

async function open(directory: string): Promise<{ journal: Journal; recovered: Recovered }> {
  const opened = await Journal.open(directory, ({ id }) => progress.get(id) ?? NO_PROGRESS)
  onTestFinished(() => opened.journal.close())
  return opened
}

function entriesOf(count: number, submission: Submission = {}): Entry[] {
  return Array.from({ length: count }, () => newEntry(deliveryWith(submission), 0))
}

/** A store that holds these, closed again; one page for each list. */
async function storeOf(...pages: Entry[][]): Promise<string> {
  const directory = await temporaryDirectory()
  const { journal } = await open(directory)
  for (const entries of pages) {
    journal.add(entries)
  }
  await journal.flush()
  await journal.close()
  return directory
}

function idsOf({ deliveries }: Recovered): string[] {
  return deliveries.map(({ stored }) => stored.id)
}

async function readAll(journal: Journal, { deliveries }: Recovered): Promise<(Delivery | undefined)[]> {
  return Promise.all(deliveries.map(({ place }) => journal.read(place)))
}

/** As the journal finds them; to change them there, an entry has to stand for each. */
function adoptAll(journal: Journal, { deliveries }: Recovered): Entry[] {
  return deliveries.map(({ stored, place }) => {
    const entry = { ...newEntry(deliveryWith({ id: stored.id }), 0), place }
    journal.adopt(entry)
    return entry
  })
}

function row(id: string, at: number, settled?: string): LogRow {
  return { id, owner: 'a', at, ...(settled !== undefined && { settled }) }
}

async function logOf(journal: Journal): Promise<string[]> {
  return (await rowsOf(journal)).map(({ id }) => id)
}

async function rowsOf(journal: Journal): Promise<LogRow[]> {
  const rows = []
  for await (const found of journal.readLog()) {
    rows.push(found)
  }
  return rows
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

describe('what is written', () => {
  it('is read back as it was, to the byte', async () => {
    const body = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 256))
    const pre = deliveryWith({ phase: 'pre', key: 'call', lifetimeMs: 1000, body })
    const post = deliveryWith({ key: 'call', body: Buffer.alloc(0) })
    const directory = await storeOf([newEntry(pre, 0), newEntry(post, 0)])

    const { journal, recovered } = await open(directory)
    expect(idsOf(recovered)).toEqual([pre.id, post.id])
    expect(recovered).toMatchObject({ damaged: 0, state: undefined })
    expect(await readAll(journal, recovered)).toEqual([pre, post])
  })

  it('can be read in the run that has written it', async () => {
    const { journal } = await open(await temporaryDirectory())
    const entries = entriesOf(3)
    journal.add(entries)
    await journal.flush()

    for (const { delivery, place } of entries) {
      expect(await journal.read(place!)).toEqual(delivery)
    }
  })

  it('goes to disk with flush, not before', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await open(directory)
    await journal.flush()
    expect(journal.isDirty).toBe(false)
    journal.add(entriesOf(1))
    expect(journal.isDirty).toBe(true)
    await journal.close()

    expect(idsOf((await open(directory)).recovered)).toEqual([])
  })

  it('stands on pages of at most 256 deliveries, and of bodies of about 256 KiB', async () => {
    const many = await readStore(await storeOf(entriesOf(600)))
    const large = await readStore(await storeOf(entriesOf(10, { body: Buffer.alloc(100_000) })))
    const largest = await readStore(await storeOf(entriesOf(2, { body: Buffer.alloc(1024 * 1024) })))

    const pagesOf = (store: Map<string, Buffer>): number =>
      [...store.keys()].filter(key => key.startsWith('head!')).length
    expect(pagesOf(many)).toBe(3)
    // the same body is written once a page, but counts each time
    expect(pagesOf(large)).toBe(4)
    expect(pagesOf(largest)).toBe(2)
  })

  it('has a body that several deliveries share once', async () => {
    const body = Buffer.alloc(10_000, 'x')
    const other = Buffer.alloc(10_000, 'y')
    const entries = [...entriesOf(5, { body }), ...entriesOf(1, { body: other }), ...entriesOf(5, { body })]
    const directory = await storeOf(entries)

    expect((await readStore(directory)).get('body!000000000000')).toEqual(Buffer.concat([body, other]))
    const { journal, recovered } = await open(directory)
    expect(await readAll(journal, recovered)).toEqual(entries.map(({ delivery }) => delivery))
  })

  it('is written as a whole or not at all', async () => {
    const { journal } = await open(await temporaryDirectory())
    expect(() => journal.add([{ ...entriesOf(1)[0]!, delivery: undefined }])).toThrow('in memory')
    await journal.flush()
    expect(journal.bytes).toBe(0)
  })
})

describe('a delivery that comes further', () => {
  it('has its progress beside it', async () => {
    const entries = entriesOf(3)
    const directory = await storeOf(entries)
    const first = await open(directory)
    const [one, two] = adoptAll(first.journal, first.recovered)
    const waiting: Progress = { attempts: 3, failures: 2, isDead: false, firstTriedAt: 1000, dueAt: 2000 }
    const dead: Progress = { attempts: 0, failures: 0, isDead: true }
    progress.set(one!.id, waiting).set(two!.id, dead)
    Object.assign(one!, { attempts: 3, state: 'waiting' })
    Object.assign(two!, { state: 'dead' })
    first.journal.update(one!)
    first.journal.update(two!)
    await first.journal.flush()
    await first.journal.close()

    const { recovered } = await open(directory)
    expect(recovered.deliveries.map(delivery => delivery.progress)).toEqual([waiting, dead, NO_PROGRESS])
  })

  it('brings its progress when it is written later', async () => {
    const tried = { ...entriesOf(1)[0]!, attempts: 2 }
    progress.set(tried.id, { attempts: 2, failures: 2, isDead: false })
    const { recovered } = await open(await storeOf([tried]))
    expect(recovered.deliveries[0]?.progress).toEqual({ attempts: 2, failures: 2, isDead: false })
  })

  it('is gone once it is removed, and so is its page with the last of it', async () => {
    const directory = await temporaryDirectory()
    const first = await open(directory)
    const entries = entriesOf(3)
    first.journal.add(entries)
    await first.journal.flush()
    const full = first.journal.bytes
    first.journal.remove(entries[1]!)
    await first.journal.flush()
    await first.journal.close()

    const second = await open(directory)
    expect(idsOf(second.recovered)).toEqual([entries[0]!.id, entries[2]!.id])
    expect(second.journal.bytes).toBe(full)
    const [left, right] = adoptAll(second.journal, second.recovered)
    second.journal.remove(left!)
    second.journal.remove(right!)
    expect(second.journal.bytes).toBe(0)
    await second.journal.flush()
    await second.journal.close()

    expect([...(await readStore(directory)).keys()]).toEqual(['version'])
    expect(idsOf((await open(directory)).recovered)).toEqual([])
  })
})

describe('recovery', () => {
  it('is in the order in which deliveries were accepted, across pages', async () => {
    const at = (acceptedAt: number, id: string): Entry => newEntry({ ...deliveryWith({ id }), acceptedAt }, 0)
    const directory = await storeOf([at(1, 'one'), at(4, 'four')], [at(2, 'two'), at(3, 'three'), at(5, 'five')])
    expect(idsOf((await open(directory)).recovered)).toEqual(['one', 'two', 'three', 'four', 'five'])
  })

  it('has the pre of a call ahead of its post, even if they are of one millisecond or the clock was set back', async () => {
    const at = (acceptedAt: number, id: string, submission: Submission): Entry =>
      newEntry({ ...deliveryWith({ id, ...submission }), acceptedAt }, 0)
    const directory = await storeOf(
      [at(1000, 'tie post', { key: 'tie', owner: 'b' }), at(900, 'back post', { key: 'back', owner: 'b' })],
      [
        at(1000, 'tie pre', { key: 'tie', phase: 'pre' }),
        at(2000, 'back pre', { key: 'back', phase: 'pre' }),
        at(950, 'other', {}),
      ]
    )
    expect(idsOf((await open(directory)).recovered)).toEqual(['other', 'tie pre', 'tie post', 'back pre', 'back post'])
  })

  it('knows what is there in bytes, and goes on behind it', async () => {
    const directory = await storeOf(entriesOf(2, { body: Buffer.alloc(5000) }))
    const { journal } = await open(directory)
    const { bytes } = journal
    expect(bytes).toBeGreaterThan(5000)
    expect(bytes).toBeLessThan(6000)
    journal.add(entriesOf(1))
    await journal.flush()
    await journal.close()

    expect([...(await readStore(directory)).keys()].filter(key => key.startsWith('head!'))).toEqual([
      'head!000000000000',
      'head!000000000001',
    ])
  })

  it("brings back the engine's state, the last that was written", async () => {
    const directory = await temporaryDirectory()
    const { journal } = await open(directory)
    journal.writeState({ a: 1 })
    await journal.flush()
    journal.writeState({ a: 2 })
    await journal.flush()
    await journal.close()
    expect((await open(directory)).recovered.state).toEqual({ a: 2 })
  })

  it('is of one process at a time', async () => {
    const directory = await storeOf(entriesOf(1))
    const { journal } = await open(directory)
    await expect(Journal.open(directory, () => NO_PROGRESS)).rejects.toMatchObject({ cause: { code: 'LEVEL_LOCKED' } })
    await journal.close()
    expect(idsOf((await open(directory)).recovered)).toHaveLength(1)
  })
})

describe('the delivery log', () => {
  it('is read from the latest row to the first, with what is not written yet', async () => {
    const directory = await temporaryDirectory()
    const first = await open(directory)
    first.journal.log(row('1', 1))
    first.journal.log(row('2', 2, 'delivered'))
    await first.journal.flush()
    first.journal.log(row('3', 3))
    await first.journal.flush()
    await first.journal.close()

    const { journal } = await open(directory)
    journal.log(row('4', 4))
    journal.log(row('5', 5))
    expect(await logOf(journal)).toEqual(['5', '4', '3', '2', '1'])
    await journal.flush()
    expect(await logOf(journal)).toEqual(['5', '4', '3', '2', '1'])
    expect((await rowsOf(journal))[3]).toEqual(row('2', 2, 'delivered'))
  })

  it('keeps about as many settled deliveries as it is told to, with the rows between them', async () => {
    const directory = await temporaryDirectory()
    const first = await open(directory)
    for (let at = 1; at <= 10; ++at) {
      first.journal.log(row(`try ${at}`, at))
      first.journal.log(row(`end ${at}`, at, 'delivered'))
      await first.journal.flush()
    }
    await first.journal.close()

    const { journal } = await open(directory)
    journal.trimLog(3, 0)
    await journal.flush()
    expect(await logOf(journal)).toEqual(['end 10', 'try 10', 'end 9', 'try 9', 'end 8', 'try 8'])
    journal.trimLog(3, 0)
    await journal.flush()
    expect(await logOf(journal)).toHaveLength(6)
  })

  it('keeps no page whose latest row is too old', async () => {
    const { journal } = await open(await temporaryDirectory())
    for (const at of [10, 20, 30]) {
      journal.log(row(`${at}`, at, 'delivered'))
      await journal.flush()
    }
    journal.trimLog(100, 20)
    await journal.flush()
    expect(await logOf(journal)).toEqual(['30', '20'])
    journal.trimLog(100, 31)
    await journal.flush()
    expect(await logOf(journal)).toEqual([])
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

describe('the format', () => {
  it('is 1, and a store of it is read', async () => {
    const directory = await temporaryDirectory()
    await writeStore(directory, format1())

    const { journal, recovered } = await open(directory)
    expect(recovered).toMatchObject({
      damaged: 0,
      state: { ended: { delivered: 1, discarded: {} }, endpoints: {} },
      deliveries: [
        { progress: NO_PROGRESS },
        {
          progress: {
            ...{ attempts: 2, failures: 1, isDead: false },
            ...{ firstTriedAt: 1_700_000_000_100, dueAt: 1_700_000_060_000 },
          },
        },
      ],
    })
    const shared = {
      owner: 'kq2mNxB0Jw1c5h7R',
      payload: { contentType: 'application/json', body: Buffer.from('{"method":"vm.start"}'), users: 0 },
      headers: ['X-XO-Event', 'vm.start'],
    }
    expect(await readAll(journal, recovered)).toEqual([
      {
        ...shared,
        id: '4f6e9a10-0000-4000-8000-000000000001',
        order: { key: 'call', leads: true },
        acceptedAt: 1_700_000_000_001,
        lifetimeMs: 300_000,
      },
      {
        ...shared,
        id: '4f6e9a10-0000-4000-8000-000000000002',
        order: { key: 'call', leads: false },
        acceptedAt: 1_700_000_000_002,
      },
    ])
    expect(await rowsOf(journal)).toEqual([
      {
        id: '4f6e9a10-0000-4000-8000-000000000003',
        owner: 'kq2mNxB0Jw1c5h7R',
        at: 1_700_000_000_200,
        settled: 'delivered',
        attempt: { number: 1 },
      },
    ])
  })

  it('is what is written today: another needs another number, and still reads this one', async () => {
    const directory = await temporaryDirectory()
    await writeStore(directory, format1())
    const { journal, recovered } = await open(directory)
    const read = await readAll(journal, recovered)
    await journal.close()

    // those two, with one body as before, and a third that is settled
    const { payload } = read[0]!
    const third = { ...read[1]!, id: '4f6e9a10-0000-4000-8000-000000000003', acceptedAt: 1_700_000_000_003 }
    const entries = [...read, third].map(delivery => newEntry({ ...delivery!, payload }, 0))
    entries[1]!.attempts = 2
    progress.set(entries[1]!.id, recovered.deliveries[1]!.progress)
    const other = await temporaryDirectory()
    const second = await open(other)
    second.journal.add(entries)
    second.journal.remove(entries[2]!)
    second.journal.writeState({ ended: { delivered: 1, discarded: {} }, endpoints: {} })
    const settled = { settled: 'delivered', attempt: { number: 1 } }
    second.journal.log({ id: third.id, owner: third.owner, at: 1_700_000_000_200, ...settled })
    await second.journal.flush()
    await second.journal.close()
    expect(Object.fromEntries(await readStore(other))).toEqual(Object.fromEntries(format1()))
  })

  it('is taken for the first one if its number is missing or damaged', async () => {
    for (const version of [undefined, Buffer.from('what?'), Buffer.alloc(0)]) {
      const directory = await storeOf(entriesOf(1))
      await writeStore(directory, [['version', version]])
      expect(idsOf((await open(directory)).recovered)).toHaveLength(1)
    }
  })

  it('of a later version is left alone, and said', async () => {
    const directory = await storeOf(entriesOf(1))
    await writeStore(directory, [['version', record(2)]])
    const before = await readStore(directory)

    await expect(open(directory)).rejects.toThrow(
      'the journal was written by a later version (format 2, known up to 1)'
    )
    expect(await readStore(directory)).toEqual(before)
  })
})

describe('a record that is damaged', () => {
  /** Two pages; what `change` makes of one record. */
  async function damagedStore(key: string, change: (value: Buffer) => Buffer | undefined): Promise<string> {
    const directory = await storeOf(
      [newEntry(deliveryWith({ id: '0' }), 0), newEntry(deliveryWith({ id: '1' }), 0)],
      [newEntry(deliveryWith({ id: '2' }), 0)]
    )
    const { journal, recovered } = await open(directory)
    const [first] = adoptAll(journal, recovered)
    journal.remove(first!)
    journal.log(row('logged', 1))
    await journal.flush()
    journal.log(row('logged later', 2))
    journal.writeState({ some: 'state' })
    await journal.flush()
    await journal.close()
    const value = (await readStore(directory)).get(key)
    await writeStore(directory, [[key, change(value!)]])
    return directory
  }
  const damages = [
    ['has a bit flipped', (value: Buffer) => flipBit(value, value.length >> 1)],
    ['has a bit of its checksum flipped', (value: Buffer) => flipBit(value, 0)],
    ['is cut', (value: Buffer) => value.subarray(0, -1)],
    ['is empty', () => Buffer.alloc(0)],
    ['is garbage', () => Buffer.from('garbage of some length')],
  ] as const

  it.each(damages)('and %s: the head of a page costs that page, and is counted', async (_, change) => {
    const directory = await damagedStore('head!000000000000', change)
    const { journal, recovered } = await open(directory)
    expect(idsOf(recovered)).toEqual(['2'])
    expect(recovered.damaged).toBe(1)
    await journal.flush()
    await journal.close()
    // once, and for all
    expect((await open(directory)).recovered.damaged).toBe(0)
    await expect(open(directory)).rejects.toThrow()
  })

  it.each(damages.slice(0, 1).concat(damages.slice(2)))(
    'and %s: the bodies of a page cost that page, once they are read',
    async (_, change) => {
      const { journal, recovered } = await open(await damagedStore('body!000000000000', change))
      expect(idsOf(recovered)).toEqual(['1', '2'])
      expect((await readAll(journal, recovered)).map(delivery => delivery?.id)).toEqual([undefined, '2'])
    }
  )

  it('and is missing: so do bodies that are gone', async () => {
    const { journal, recovered } = await open(await damagedStore('body!000000000000', () => undefined))
    expect((await readAll(journal, recovered)).map(delivery => delivery?.id)).toEqual([undefined, '2'])
  })

  it.each(damages)('and %s: without the state of a page its deliveries are as they were written', async (_, change) => {
    const { recovered } = await open(await damagedStore('state!000000000000', change))
    expect(idsOf(recovered)).toEqual(['0', '1', '2'])
  })

  it.each(damages)("and %s: the engine's state is none", async (_, change) => {
    const { recovered } = await open(await damagedStore('engine', change))
    expect(recovered.state).toBeUndefined()
    expect(idsOf(recovered)).toEqual(['1', '2'])
  })

  it.each(damages)('and %s: a page of the log is skipped', async (_, change) => {
    const { journal } = await open(await damagedStore('log!000000000001', change))
    expect(await logOf(journal)).toEqual(['logged'])
  })

  it('leaves no state behind that a later page would take for its own', async () => {
    const directory = await damagedStore('head!000000000001', () => undefined)
    // the state of the page that is now the next one: all of it is settled
    await writeStore(directory, [['state!000000000001', record({ progress: {}, settled: [0, 1, 2] })]])
    const { journal } = await open(directory)
    journal.add(entriesOf(1))
    await journal.flush()
    await journal.close()
    expect(idsOf((await open(directory)).recovered)).toHaveLength(2)
  })
})

describe('a file of the store that is damaged', () => {
  const COUNT = 40

  /** Deliveries on a page of their own, most of them in tables, the last in the write-ahead log. */
  async function largeStore(): Promise<string> {
    const pages = Array.from({ length: COUNT }, (_, index) => [
      newEntry(deliveryWith({ id: `${index}`, body: Buffer.alloc(200_000, `${index},`) }), 0),
    ])
    const directory = await storeOf(...pages.slice(0, -3))
    await compactStore(directory)
    const { journal } = await open(directory)
    pages.slice(-3).forEach(page => journal.add(page))
    await journal.flush()
    await journal.close()
    return directory
  }

  /** The ids that can be read back. It can also be written, and still opens afterwards. */
  async function survivorsOf(directory: string): Promise<string[]> {
    const { journal, recovered } = await open(directory)
    const read = await readAll(journal, recovered)
    for (const delivery of read) {
      // as `expect` compares large buffers slowly
      if (delivery?.payload.body.equals(Buffer.alloc(200_000, `${delivery.id},`)) === false) {
        expect.fail(`the body of ${delivery.id} has changed`)
      }
    }
    journal.add([newEntry(deliveryWith({ id: 'later' }), 0)])
    await journal.flush()
    await journal.close()
    const again = await open(directory)
    expect(idsOf(again.recovered)).toContain('later')
    await again.journal.close()
    return read.flatMap(delivery => delivery?.id ?? [])
  }

  const half = (bytes: Buffer): Buffer => bytes.subarray(0, bytes.length >> 1)
  const ALL = Array.from({ length: COUNT }, (_, index) => `${index}`)

  it.each([
    ['is whole', /nothing/, (bytes: Buffer) => bytes, ALL.length],
    ['a write-ahead log that is cut', /\.log$/, half, COUNT - 3],
    ['a write-ahead log that is gone', /\.log$/, () => undefined, COUNT - 3],
    ['a manifest that is gone', /^MANIFEST/, () => undefined, COUNT],
    ['a manifest that is cut', /^MANIFEST/, half, COUNT],
    ['a manifest that is empty', /^MANIFEST/, () => Buffer.alloc(0), COUNT],
    ['a CURRENT that is gone', /^CURRENT$/, () => undefined, COUNT],
    ['a CURRENT that is garbage', /^CURRENT$/, () => Buffer.from('garbage'), COUNT],
    ['a CURRENT that leads nowhere', /^CURRENT$/, () => Buffer.from('MANIFEST-999999\n'), COUNT],
    ['a CURRENT that is empty', /^CURRENT$/, () => Buffer.alloc(0), COUNT],
    ['tables that are cut', /\.ldb$/, half, 3],
    ['tables that are gone', /\.ldb$/, () => undefined, 3],
    ['tables with a bit flipped', /\.ldb$/, (bytes: Buffer) => flipBit(bytes, bytes.length >> 1), COUNT - 6],
    ['everything but what LevelDB logs', /^(MANIFEST|CURRENT|.*\.ldb$|.*\.log$)/, half, 0],
  ])('%s: the rest is read', async (_, name, change, atLeast) => {
    const directory = await largeStore()
    if (name.source !== 'nothing') {
      await damageFiles(directory, name, change)
    }
    const survivors = await survivorsOf(directory)
    expect(survivors.length).toBeGreaterThanOrEqual(atLeast)
    expect(ALL).toEqual(expect.arrayContaining(survivors))
  })

  it('that is met only as a body is read costs that body, and is repaired afterwards', async () => {
    const directory = await largeStore()
    await compactStore(directory)
    // the first table has bodies only
    const [first] = await storeFiles(directory, /\.ldb$/)
    await damageFiles(directory, new RegExp(`^${first!.path.split('/').at(-1)}$`), half)

    const { journal, recovered } = await open(directory)
    expect(recovered.deliveries).toHaveLength(COUNT)
    const read = (await readAll(journal, recovered)).filter(delivery => delivery !== undefined)
    expect(read.length).toBeGreaterThan(0)
    expect(read.length).toBeLessThan(COUNT)
    expect(await storeFiles(directory, /^lost$/)).toEqual([])
    await journal.close()
    // LevelDB would meet it again and again, and stop writing
    expect(await readdir(join(directory, 'journal', 'lost'))).toContain(first!.path.split('/').at(-1))
    expect((await open(directory)).recovered.deliveries).toHaveLength(COUNT)
  })

  it('is never in the way, whatever it is', { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 30; ++seed) {
      let state = seed
      const random = (below: number): number => {
        state = (state * 48_271) % 2_147_483_647
        return state % below
      }
      const directory = await largeStore()
      const files = await storeFiles(directory, /^(MANIFEST|CURRENT|.*\.ldb$|.*\.log$)/)
      const { path, bytes } = files[random(files.length)]!
      const at = random(bytes.length)
      const damaged = [
        () => bytes.subarray(0, at),
        () => flipBit(bytes, at),
        () => Buffer.concat([bytes.subarray(0, at), Buffer.alloc(100, seed), bytes.subarray(at + 100)]),
      ][random(3)]!()
      await damageFiles(directory, new RegExp(`^${path.split('/').at(-1)}$`), () => damaged)
      await expect(survivorsOf(directory), `seed ${seed}`).resolves.toBeDefined()
    }
  })
})
