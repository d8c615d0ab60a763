import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import tls from 'node:tls'
import { Worker } from 'node:worker_threads'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { connectTcp, dial, tlsNameOf } from '../../src/transport/dial.ts'
import { Names } from '../../src/transport/names.ts'
import { makeCertificate } from '../helpers/certificate.ts'
import { isSettled, stopTime, until } from '../helpers/stopped-time.ts'

const LOCAL = '127.0.0.1'
const OTHER = '127.0.0.2'
const THIRD = '127.0.0.3'

const hasIPv6 = await new Promise<boolean>(resolve => {
  const server = net.createServer()
  server.once('error', () => resolve(false))
  server.listen(0, '::1', () => server.close(() => resolve(true)))
})

/** Somebody listens there on a port, the same on all addresses. */
async function listenOn(...addresses: readonly string[]): Promise<number> {
  let port = 0
  for (const address of addresses) {
    const server = net.createServer(socket => socket.on('error', () => {}))
    server.listen(port, address)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    port = (server.address() as AddressInfo).port
  }
  return port
}

const MUTE_SERVER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const server = require('node:net').createServer()
  server.listen({ ...workerData.at, backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    Atomics.wait(workerData.isOver, 0, 0)
  })
`

/** At this address nobody takes connections, as its queue is full. @returns its port; takes them after all */
async function startMute(host: string, wanted = 0): Promise<{ port: number; release: () => void }> {
  const isOver = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(MUTE_SERVER, { eval: true, workerData: { at: { host, port: wanted }, isOver } })
  const [port] = (await once(worker, 'message')) as [number]
  const fill = Array.from({ length: 8 }, () => net.connect({ host, port }).on('error', () => {}))
  const release = (): void => {
    Atomics.store(isOver, 0, 1)
    Atomics.notify(isOver, 0)
    fill.forEach(socket => socket.destroy())
  }
  onTestFinished(async () => {
    release()
    await worker.terminate()
  })
  await setImmediate()
  return { port, release }
}

function namesOf(...addresses: readonly string[]): Names {
  return new Names((_hostname, _options, answer) =>
    process.nextTick(
      answer,
      null,
      addresses.map(address => ({ address, family: net.isIP(address) }))
    )
  )
}

/** Where a name has led to: an address, or an error's code; nothing yet: `undefined`. */
interface Led {
  to: string | undefined
  phase: string
  cancel(): void
}

function connect(names: Names, port: number): Led {
  let to: string | undefined
  const dialling = connectTcp('a.example', port, names, (error, socket) => {
    onTestFinished(() => void socket?.destroy())
    to = socket?.remoteAddress ?? (error as NodeJS.ErrnoException | null)?.code
  })
  return {
    get to() {
      return to
    },
    get phase() {
      return dialling.phase
    },
    cancel: () => dialling.cancel(),
  }
}

function openSockets(): number {
  return process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap' || name === 'TCPConnectWrap').length
}

describe('a name of several addresses', () => {
  it.each<[what: string, addresses: string[], to: string]>([
    ['the first works', [LOCAL, OTHER], LOCAL],
    ['the first refuses', [OTHER, LOCAL], LOCAL],
    ['all but the last refuse', [OTHER, THIRD, '127.0.0.4', '::1', LOCAL], LOCAL],
    ['IPv6 refuses', ['::1', LOCAL], LOCAL],
    ['all refuse', [OTHER, '::1', THIRD], 'ECONNREFUSED'],
  ])('is reached, or not, without waiting where %s', async (_what, addresses, to) => {
    const port = await listenOn(LOCAL)
    stopTime()
    const led = connect(namesOf(...addresses), port)
    expect(led.phase).toBe('name')
    await until(() => led.to !== undefined)
    expect(led.to).toBe(to)
    expect(led.phase).toBe('connection')
    expect(vi.getTimerCount()).toBe(0)
  })

  it.each([
    ['ENETUNREACH ECONNREFUSED ETIMEDOUT', 'ECONNREFUSED'],
    ['ENETUNREACH ETIMEDOUT EHOSTUNREACH', 'ETIMEDOUT'],
    ['EADDRNOTAVAIL EACCES', 'EACCES'],
    ['ENETUNREACH EADDRNOTAVAIL', 'ENETUNREACH'],
    ['EMFILE', 'EMFILE'],
  ])('that fail with %s fails with what says most: %s', async (codes, code) => {
    const spy = vi.spyOn(net, 'connect')
    onTestFinished(() => spy.mockRestore())
    for (const each of codes.split(' ')) {
      spy.mockImplementationOnce(() => new net.Socket().destroy(Object.assign(new Error(each), { code: each })))
    }
    const led = connect(namesOf(...codes.split(' ').map((_, index) => `192.0.2.${index}`)), 1)
    await until(() => led.to !== undefined)
    expect(led.to).toBe(code)
  })

  it.skipIf(!hasIPv6)('is reached by IPv6 where that works', async () => {
    const port = await listenOn('::1', LOCAL)
    const led = connect(namesOf('::1', LOCAL), port)
    await until(() => led.to !== undefined)
    expect(led.to).toBe('::1')
  })

  it('is reached at the next, a quarter of a second after one that says nothing, and there first the next time', async () => {
    const port = await listenOn(LOCAL)
    await startMute(OTHER, port)
    await startMute(THIRD, port)
    const before = openSockets()
    stopTime()
    const names = namesOf(OTHER, THIRD, LOCAL)
    const led = connect(names, port)
    await until(() => led.phase === 'connection')
    for (let turn = 0; turn < 2; ++turn) {
      vi.advanceTimersByTime(249)
      await isSettled(Promise.resolve())
      expect(led.to).toBeUndefined()
      vi.advanceTimersByTime(1)
    }
    await until(() => led.to === LOCAL)
    // both ends of that one
    await until(() => openSockets() <= before + 2)

    const again = connect(names, port)
    await until(() => again.to !== undefined)
    expect(again.to).toBe(LOCAL)
  })

  it('is reached by one that is slow, be it the only one that works', async () => {
    const { port, release } = await startMute(OTHER)
    const led = connect(namesOf(THIRD, OTHER, '::1', LOCAL), port)
    await until(() => led.phase === 'connection')
    await isSettled(Promise.resolve())
    // the others have refused by now; Linux asks again after a second
    expect(led.to).toBeUndefined()
    release()
    await until(() => led.to !== undefined)
    expect(led.to).toBe(OTHER)
  })

  it('leaves nothing behind where it is given up, in whichever phase', async () => {
    const port = await listenOn(LOCAL)
    await startMute(OTHER, port)
    await startMute(THIRD, port)
    const before = openSockets()
    stopTime()
    const early = connect(namesOf(LOCAL), port)
    early.cancel()
    const late = connect(namesOf(OTHER, THIRD, LOCAL), port)
    await until(() => late.phase === 'connection')
    vi.advanceTimersByTime(250)
    late.cancel()
    vi.advanceTimersByTime(60_000)
    await until(() => openSockets() === before)
    expect([early.to, late.to]).toEqual([undefined, undefined])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is tried at addresses of both families in turn', async () => {
    const tried: unknown[] = []
    const { connect: connectSocket } = net
    const spy = vi.spyOn(net, 'connect').mockImplementation(((options: { host: string; port: number }) => {
      tried.push(options.host)
      return connectSocket({ ...options, host: '127.0.0.9' })
    }) as typeof net.connect)
    onTestFinished(() => spy.mockRestore())
    for (const [addresses, order] of [
      ['6a 6b 4a 4b', '6a 4a 6b 4b'],
      ['4a 6a 6b 6c', '4a 6a 6b 6c'],
      ['4a 4b 4c 6a', '4a 6a 4b 4c'],
      ['4a 4b', '4a 4b'],
    ] as const) {
      const toAddress = (text: string): string =>
        text.startsWith('6') ? `2001:db8::${text[1]}` : `192.0.2.${parseInt(text[1]!, 16)}`
      tried.length = 0
      const led = connect(namesOf(...addresses.split(' ').map(toAddress)), await listenOn(LOCAL))
      await until(() => led.to !== undefined)
      expect(tried).toEqual(order.split(' ').map(toAddress))
    }
  })
})

describe('the name for TLS', () => {
  it.each([
    ['a.example', { host: 'a.example', servername: 'a.example' }],
    ['a.example.', { host: 'a.example', servername: 'a.example' }],
    ['A.Example', { host: 'a.example', servername: 'a.example' }],
    ['bücher.example', { host: 'xn--bcher-kva.example', servername: 'xn--bcher-kva.example' }],
    ['my_host', { host: 'my_host', servername: 'my_host' }],
    [LOCAL, { host: LOCAL }],
    ['::1', { host: '::1' }],
    ['[2001:db8::1]', { host: '2001:db8::1' }],
  ])('of the host %s is the one that stands in certificates', (host, expected) => {
    expect(tlsNameOf(host)).toEqual(expected)
  })

  it.each([
    ['a.example', 'a.example'],
    ['B.example.', 'b.example'],
    [LOCAL, undefined],
  ])('may be another than that of the address: %s', async (name, sent) => {
    const { cert, keyPem } = makeCertificate(String(tlsNameOf(name).host))
    const names: unknown[] = []
    const server = tls.createServer({
      cert,
      key: keyPem,
      SNICallback: (servername, done) => {
        names.push(servername)
        done(null)
      },
    })
    server.on('tlsClientError', () => {})
    server.listen(0, LOCAL)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { port } = server.address() as AddressInfo
    for (const [asked, isGood] of [
      [name, true],
      ['c.example', false],
    ] as const) {
      const said = await new Promise<unknown>(resolve => {
        const destination = { hostname: 'elsewhere.example', port, tls: { ...tlsNameOf(asked), ca: cert } }
        dial(destination, namesOf(LOCAL), {}, (error, socket) => {
          socket?.destroy()
          resolve(error === null ? 'open' : (error as NodeJS.ErrnoException).code)
        })
      })
      expect(said).toBe(isGood ? 'open' : 'ERR_TLS_CERT_ALTNAME_INVALID')
    }
    expect(names).toEqual(sent === undefined ? ['c.example'] : [sent, 'c.example'])
  })
})
