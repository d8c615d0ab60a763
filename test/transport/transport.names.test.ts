import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import type { Connection } from '../../src/delivery/attempt.ts'
import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { parseAddressRules } from '../../src/transport/address-guard.ts'
import { NameServers } from '../../src/transport/name-servers.ts'
import { Names } from '../../src/transport/names.ts'
import { connectTo } from '../../src/transport/transport.ts'
import { startNameServer } from '../helpers/name-server.ts'
import type { TestNameServer } from '../helpers/name-server.ts'
import { isSettled, stopTime, until } from '../helpers/stopped-time.ts'

const OLD = '127.0.0.1'
const NEW = '127.0.0.2'

/** What the name server says of each name: addresses, an error's code, or nothing. */
const zone = new Map<string, readonly string[] | string>()
/** Look-ups that nobody has answered. */
let mute: (() => void)[] = []
let names: Names
/** For those who are asked while `dns.lookup` has to wait: on a real socket, and as mute. */
let nameServer: TestNameServer

beforeAll(async () => {
  nameServer = await startNameServer(hostname => {
    const said = zone.get(hostname)
    return said === undefined || typeof said === 'string' ? 'mute' : said
  })
  return () => nameServer.close()
})

beforeEach(() => {
  zone.clear()
  mute = []
  names = new Names(
    (hostname, _options, answer) => {
      const reply = (): void => {
        const said = zone.get(hostname) ?? 'EAI_AGAIN'
        if (typeof said === 'string') {
          answer(Object.assign(new Error(said), { code: said }), [])
        } else {
          answer(
            null,
            said.map(address => ({ address, family: 4 }))
          )
        }
      }
      if (zone.has(hostname)) {
        process.nextTick(reply)
      } else {
        mute.push(reply)
      }
    },
    new NameServers([nameServer.address], '/nonexistent/hosts')
  )
  onTestFinished(() => names.close())
  stopTime()
})

interface Farm {
  readonly port: number
  /** To which address each request came. */
  readonly came: string[]
}

/** Receivers on one port of several addresses. */
async function startFarm(...addresses: readonly string[]): Promise<Farm> {
  const came: string[] = []
  let port = 0
  for (const address of addresses) {
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        came.push(address)
        response.end()
      })
    })
    server.keepAliveTimeout = 3_600_000
    server.listen(port, address)
    await once(server, 'listening')
    onTestFinished(() => {
      server.close()
      server.closeAllConnections()
    })
    port = (server.address() as AddressInfo).port
  }
  return { port, came }
}

function connectionTo(host: string, { port }: Farm, denied?: readonly string[]): Connection {
  const { rules } = parseAddressRules(undefined, denied)
  const connection = connectTo({ id: host, url: `http://${host}:${port}/`, headers: [] }, {}, rules, names)
  onTestFinished(() => connection.destroy())
  return connection
}

function send(connection: Connection, timeoutMs = 10_000): Promise<AttemptOutcome> {
  return connection.send({ contentType: 'text/plain', body: Buffer.from('x'), headers: [], timeoutMs })
}

const OK = { kind: 'answered', ok: true }

describe('a name that moves', () => {
  it.each([1_000, 3_900, 17_000])('is followed within a minute where a request comes every %d ms', async everyMs => {
    const farm = await startFarm(OLD, NEW)
    const connection = connectionTo('a.example', farm)
    for (const [movesAt, from, to] of [
      [0, OLD, OLD],
      [100_000, OLD, NEW],
      [250_000, NEW, OLD],
    ] as const) {
      zone.set('a.example', [from])
      let last = 0
      for (let passed = 0; passed <= movesAt; passed += everyMs) {
        expect(await send(connection)).toMatchObject(OK)
        expect(farm.came.at(-1)).toBe(from)
        vi.advanceTimersByTime(everyMs)
      }
      zone.set('a.example', [to])
      for (let passed = 0; passed < 60_000 + 2 * everyMs; passed += everyMs) {
        expect(await send(connection)).toMatchObject(OK)
        last = farm.came.at(-1) === to ? last : passed
        vi.advanceTimersByTime(everyMs)
      }
      expect(farm.came.at(-1)).toBe(to)
      expect(last).toBeLessThanOrEqual(60_000)
    }
  })

  it('is followed within a minute by sockets that were opened since it was looked up', async () => {
    const farm = await startFarm(OLD, NEW)
    zone.set('a.example', [OLD])
    await send(connectionTo('a.example', farm))
    zone.set('a.example', [NEW])
    vi.advanceTimersByTime(50_000)
    const connection = connectionTo('a.example', farm)
    for (let passed = 50_000; passed <= 62_000; passed += 1_000) {
      await send(connection)
      expect(farm.came.at(-1)).toBe(passed > 60_000 ? NEW : OLD)
      vi.advanceTimersByTime(1_000)
    }
  })

  it('is followed at once where nothing was sent for long', async () => {
    const farm = await startFarm(OLD, NEW)
    const connection = connectionTo('a.example', farm)
    zone.set('a.example', [OLD])
    await send(connection)
    vi.advanceTimersByTime(3_000_000)
    zone.set('a.example', [NEW])
    await send(connection)
    expect(farm.came).toEqual([OLD, NEW])
  })

  it('keeps the sockets that lead to one of its addresses', async () => {
    const farm = await startFarm(OLD, NEW)
    const connection = connectionTo('a.example', farm)
    zone.set('a.example', [OLD])
    await send(connection)
    zone.set('a.example', [NEW, OLD])
    for (let passed = 0; passed < 59_000; passed += 1_000) {
      vi.advanceTimersByTime(1_000)
      await send(connection)
    }
    expect(new Set(farm.came)).toEqual(new Set([OLD]))
  })

  it('is not followed to where requests may not go', async () => {
    const farm = await startFarm(OLD, NEW)
    const connection = connectionTo('a.example', farm, [NEW])
    zone.set('a.example', [OLD])
    await send(connection)
    zone.set('a.example', [NEW])
    vi.advanceTimersByTime(60_000)
    expect(await send(connection)).toMatchObject({ code: 'ADDRESS_DENIED' })
    expect(farm.came).toEqual([OLD])
  })
})

describe('a mute name server', () => {
  it('delays names that were ever resolved for a moment at most, and is named as the reason', async () => {
    const farm = await startFarm(OLD)
    zone.set('known.example', [OLD])
    const known = connectionTo('known.example', farm)
    const unknown = connectionTo('mute.example', farm)
    expect(await send(known)).toMatchObject(OK)
    zone.clear()
    const outcomes = [send(unknown, 5_000), send(unknown, 5_000)]
    await until(() => mute.length === 1)
    // the known one is fresh, then stale
    for (let passed = 0; passed < 240_000; passed += 20_000) {
      const outcome = send(known)
      await isSettled(outcome)
      vi.advanceTimersByTime(250)
      expect(await outcome).toMatchObject(OK)
      vi.advanceTimersByTime(20_000 - 250)
    }
    for (const outcome of outcomes) {
      expect(await outcome).toEqual({
        kind: 'timed-out',
        layer: 'name',
        reason: 'the host name was not looked up in time (DNS): does the name server answer?',
      })
    }
    // one that was never answered, and another since that was given up
    expect(mute.length).toBeLessThanOrEqual(2)
  })

  it('delays no name that was never resolved, however many mute ones were asked for before', async () => {
    const farm = await startFarm(OLD)
    const mutes = Array.from({ length: 10 }, (_, index) => send(connectionTo(`m${index}.example`, farm), 5_000))
    await until(() => mute.length === 1)
    for (const host of ['new.example', 'newer.example']) {
      zone.set(host, [OLD])
      const outcome = send(connectionTo(host, farm))
      await isSettled(outcome)
      vi.advanceTimersByTime(250)
      expect(await outcome).toMatchObject(OK)
    }
    // the look-up that is under way is still the only one
    expect(mute).toHaveLength(1)
    mute.shift()!()
    expect(await mutes.shift()).toMatchObject({
      code: 'EAI_AGAIN',
      reason: 'the host name could not be looked up (DNS): the name server does not answer',
    })
    vi.advanceTimersByTime(5_000)
    for (const outcome of mutes) {
      expect(await outcome).toMatchObject({ kind: 'timed-out', layer: 'name' })
    }
  })

  it('keeps a name that `dns.lookup` alone knows waiting until the look-up under way ends, and no longer', async () => {
    const farm = await startFarm(OLD)
    const first = send(connectionTo('mute.example', farm))
    await until(() => mute.length === 1)
    const outcome = send(connectionTo('printer', farm))
    vi.advanceTimersByTime(1_000)
    expect(await isSettled(outcome)).toBe(false)
    zone.set('printer', [OLD])
    mute.shift()!()
    expect(await outcome).toMatchObject(OK)
    expect(await first).toMatchObject({ code: 'EAI_AGAIN' })
  })
})

it('a name that cannot be looked up at boot can be later', async () => {
  const farm = await startFarm(OLD)
  const connection = connectionTo('a.example', farm)
  zone.set('a.example', 'EAI_AGAIN')
  for (let attempt = 0; attempt < 3; ++attempt) {
    expect(await send(connection)).toEqual({
      kind: 'unreachable',
      layer: 'name',
      code: 'EAI_AGAIN',
      reason: 'the host name could not be looked up (DNS): the name server does not answer',
    })
    vi.advanceTimersByTime(1_000)
  }
  zone.set('a.example', [OLD])
  expect(await send(connection)).toMatchObject(OK)
})
