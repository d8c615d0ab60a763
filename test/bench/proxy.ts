import { once } from 'node:events'
import { createServer as createProxy } from 'node:http'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import { makeCertificate } from '../helpers/certificate.ts'
import { startHost } from './host.ts'
import { signalOf, valueRow } from './measure.ts'
import type { Figure } from './measure.ts'

// What a proxy costs that is down, and how soon it is used again.

const DOWN_MS = 20_000
const ENDPOINTS = 20
const CALLS = 100
const PATIENCE_MS = 60_000

export const failingProxy: Figure = async report => {
  for (const fault of ['drops', 'hangs'] as const) {
    await measure(fault, report)
  }
}

async function measure(fault: 'drops' | 'hangs', report: Parameters<Figure>[0]): Promise<void> {
  const { cert, keyPem } = makeCertificate('receiver.test')
  let attempts = 0
  let received = 0
  let firstAt = Number.POSITIVE_INFINITY
  const receiver = createServer({ cert, key: keyPem }, (request, response) => {
    firstAt = Math.min(firstAt, performance.now())
    attempts += Number(request.headers['x-xo-attempt'])
    ++received
    request.resume().on('end', () => response.end())
  })
  const port = await portOf(receiver)

  let isWell = false
  let connections = 0
  const proxy = createProxy()
  proxy.on('connection', () => ++connections)
  proxy.on('connect', (_request, client) => {
    client.on('error', () => {})
    if (isWell) {
      const upstream = connect(port, '127.0.0.1', () => client.write('HTTP/1.1 200 OK\r\n\r\n'))
      upstream.on('error', () => client.destroy())
      client.pipe(upstream).pipe(client)
    } else if (fault === 'drops') {
      client.destroy()
    }
  })
  const httpProxy = `127.0.0.1:${await portOf(proxy)}`
  const hooks = Array.from({ length: ENDPOINTS }, (_, index) => ({
    ...{ name: `hook ${index}`, method: 'bench.m1', url: `https://receiver.test:${port}/${index}` },
    tls: { acceptAnyCertificate: true },
  }))
  const host = await startHost(hooks, { httpProxy })
  for (let call = 0; call < CALLS; ++call) {
    host.post(signalOf('bench.m1', 600))
  }
  await sleep(DOWN_MS)
  const whileDown = connections
  isWell = true
  const wellAt = performance.now()
  const expected = CALLS * ENDPOINTS
  while (received < expected && performance.now() - wellAt < PATIENCE_MS) {
    await sleep(50)
  }
  const failed = attempts - received
  const about = `it ${fault}: ${expected} deliveries wait`
  report(valueRow(`${about}; connections in ${DOWN_MS / 1_000} s`, whileDown, `(${failed} attempts)`, failed, 0))
  report(valueRow(`${about}; the first one comes after it is well`, (firstAt - wellAt) / 1_000, 's', 10))
  report(valueRow(`${about}; not delivered`, expected - received, '', 0, 0))
  await host.close()
  proxy.closeAllConnections()
  receiver.closeAllConnections()
  proxy.close()
  receiver.close()
}

async function portOf(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}
