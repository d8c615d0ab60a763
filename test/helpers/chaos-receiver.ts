import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

import type { SeededRandom } from './seeded-random.ts'

/** What it does to a request. */
export type Behaviour =
  | 'ok'
  | 'no content'
  | 'slow'
  | 'late'
  | 'reset at once'
  | 'reset before headers'
  | 'reset after headers'
  | 'silence'
  | 'drip headers'
  | 'drip body'
  | 'truncate'
  | 'endless'
  | 'not http'
  | 'redirect'
  | 'client error'
  | 'try later'
  | 'retry-after seconds'
  | 'retry-after date'
  | 'server error'
  | 'gone'

/** How an endpoint is at present: what it does how often. */
export type Mood = Readonly<Partial<Record<Behaviour, number>>>

export const MOODS = {
  kind: { ok: 1 },
  healthy: { ok: 90, 'no content': 5, slow: 4, 'server error': 1 },
  flaky: { ok: 60, 'server error': 15, 'reset before headers': 10, slow: 5, silence: 2, 'reset after headers': 5 },
  hostile: {
    ok: 20,
    late: 3,
    'reset at once': 5,
    'reset before headers': 5,
    'reset after headers': 5,
    silence: 3,
    'drip headers': 3,
    'drip body': 3,
    truncate: 5,
    endless: 3,
    'not http': 5,
    redirect: 5,
    'client error': 5,
    'try later': 5,
    'server error': 10,
  },
  busy: { ok: 70, 'retry-after seconds': 20, 'retry-after date': 2 },
  broken: { 'server error': 60, 'reset at once': 20, 'client error': 20, redirect: 5 },
  leaving: { ok: 50, gone: 3 },
} satisfies Record<string, Mood>

/** One request, as it was seen. */
export interface Seen {
  /** Of all that happens in the run: who was first is told by the smaller one. */
  readonly moment: number
  readonly at: number
  /** Without its slash. */
  readonly path: string
  /** Id of the endpoint, as its credentials say. */
  readonly endpoint: string
  readonly id: string
  readonly attempt: number
  readonly behaviour: Behaviour
  /** `undefined`: it did not come in whole. */
  body: Buffer | undefined
  /** A status that was sent, at once and to the end, on a connection that lived. */
  answer: { readonly status: number; readonly moment: number; readonly at: number } | undefined
  /** When nothing more happened to it. */
  overAt: number
}

export interface ChaosReceiver {
  readonly seen: readonly Seen[]
  /** Paths that only a redirect leads to. */
  readonly strayed: readonly string[]
  urlOf(path: string): string
  setMood(path: string, mood: Mood): void
  /** Connections to the server of this path are refused, those that are open are reset, for a while. */
  breakDown(path: string, forMs: number): void
  /** From now on nobody is refused. */
  recover(): Promise<void>
  close(): Promise<void>
}

/** The header in which an endpoint says who it is. */
export const CREDENTIALS = 'x-credentials'

/** What was sent so long before a reset may be lost with it. */
const LOST_WITHIN_MS = 500

const STATUSES = { redirect: [301, 302, 307, 308], client: [400, 401, 403, 404, 422], server: [500, 502, 503, 504] }

/** Several servers, on which endpoints share sockets' fate but not moods. */
export async function startChaosReceiver(
  random: SeededRandom,
  nextMoment: () => number,
  servers: number
): Promise<ChaosReceiver> {
  const seen: Seen[] = []
  const strayed: string[] = []
  const moods = new Map<string, Mood>()
  const pulses = new Set<NodeJS.Timeout>()
  const outages = new Map<Outlet, NodeJS.Timeout>()
  const outlets = await Promise.all(Array.from({ length: servers }, () => startOutlet(receive)))
  const outletOf = (path: string): Outlet => outlets[Number(path.slice(1)) % servers]!

  /** Writes again and again until nobody listens. */
  function pulse(response: ServerResponse, everyMs: number, beat: () => void): void {
    const timer = setInterval(() => {
      if (response.destroyed || response.socket?.destroyed !== false) {
        clearInterval(timer)
        pulses.delete(timer)
      } else {
        beat()
      }
    }, everyMs)
    pulses.add(timer)
  }

  function receive(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').slice(1)
    const { headers } = request
    if (headers['webhook-id'] !== headers['x-xo-delivery'] || path.startsWith('strayed')) {
      strayed.push(path)
    }
    const record: Seen = {
      moment: nextMoment(),
      at: performance.now(),
      path,
      endpoint: String(headers[CREDENTIALS]),
      id: String(headers['webhook-id']),
      attempt: Number(headers['x-xo-attempt']),
      behaviour: random.weighted(moods.get(path) ?? MOODS.healthy),
      body: undefined,
      answer: undefined,
      overAt: Number.POSITIVE_INFINITY,
    }
    seen.push(record)
    response.on('close', () => {
      record.overAt = performance.now()
    })
    request.on('error', () => {})
    response.on('error', () => {})
    if (record.behaviour === 'reset at once') {
      request.socket.resetAndDestroy()
      return
    }
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      record.body = Buffer.concat(chunks)
      behave(record, response)
    })
  }

  function answer(record: Seen, response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
    const started = { status, moment: nextMoment(), at: performance.now() }
    response.on('finish', () => {
      record.answer = started
    })
    response.writeHead(status, headers).end(status === 204 ? undefined : 'noted')
  }

  function behave(record: Seen, response: ServerResponse): void {
    const { behaviour } = record
    switch (behaviour) {
      case 'ok':
        answer(record, response, 200)
        return
      case 'no content':
        answer(record, response, 204)
        return
      case 'slow':
      case 'late': {
        const timer = setTimeout(
          () => {
            pulses.delete(timer)
            response.writeHead(200).end('noted')
          },
          behaviour === 'slow' ? 40 : 700
        )
        pulses.add(timer)
        return
      }
      case 'reset at once':
      case 'reset before headers':
        response.socket?.resetAndDestroy()
        return
      case 'reset after headers':
        response.writeHead(200, { 'Content-Length': '1000' })
        response.write('x', () => response.socket?.resetAndDestroy())
        return
      case 'silence':
        return
      case 'drip headers': {
        const letters = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
        let index = 0
        pulse(response, 40, () => response.socket?.write(letters[index++ % letters.length]!))
        return
      }
      case 'drip body':
        response.writeHead(200, { 'Content-Length': '1000' })
        pulse(response, 40, () => response.write('x'))
        return
      case 'truncate':
        response.writeHead(200, { 'Content-Length': '1000' })
        response.write('x', () => response.socket?.end())
        return
      case 'endless':
        response.writeHead(200)
        pulse(response, 5, () => response.write('x'.repeat(8192)))
        return
      case 'not http':
        response.socket?.end('SSH-2.0-none\r\n\r\n')
        return
      case 'redirect':
        answer(record, response, random.pick(STATUSES.redirect), {
          Location: outletOf(record.path).origin + '/strayed',
        })
        return
      case 'client error':
        answer(record, response, random.pick(STATUSES.client))
        return
      case 'try later':
        answer(record, response, random.pick([408, 425, 429]))
        return
      case 'retry-after seconds':
        answer(record, response, random.pick([429, 503]), {
          'Retry-After': random.pick(['0.05', '0.2', '1.5', '0', '-1']),
        })
        return
      case 'retry-after date':
        answer(record, response, 429, { 'Retry-After': new Date(Date.now() + 1000).toUTCString() })
        return
      case 'server error':
        answer(record, response, random.pick(STATUSES.server))
        return
      case 'gone':
        answer(record, response, 410)
        return
      default:
        behaviour satisfies never
    }
  }

  return {
    seen,
    strayed,
    urlOf: path => new URL(`/${path}`, outletOf(path).origin).href,
    setMood: (path, mood) => void moods.set(path, mood),
    breakDown(path, forMs) {
      const outlet = outletOf(path)
      if (!outages.has(outlet)) {
        outlet.refuse()
        for (const record of seen) {
          if (outletOf(record.path) === outlet && record.overAt > performance.now() - LOST_WITHIN_MS) {
            record.answer = undefined // a reset overtakes what was sent before it
          }
        }
        outages.set(
          outlet,
          setTimeout(() => {
            outages.delete(outlet)
            void outlet.listen()
          }, forMs)
        )
      }
    },
    async recover() {
      for (const [outlet, timer] of outages) {
        clearTimeout(timer)
        await outlet.listen()
      }
      outages.clear()
    },
    async close() {
      outages.forEach(timer => clearTimeout(timer))
      pulses.forEach(timer => clearTimeout(timer))
      await Promise.all(outlets.map(outlet => outlet.close()))
    },
  }
}

/** A server that can stop listening and come back on its port. */
interface Outlet {
  readonly origin: string
  refuse(): void
  listen(): Promise<void>
  close(): Promise<void>
}

async function startOutlet(receive: (request: IncomingMessage, response: ServerResponse) => void): Promise<Outlet> {
  let port = 0
  let server: Server
  let listening = Promise.resolve()
  const reset = (): void => {
    server.close()
    server.closeAllConnections()
  }
  const listen = async (): Promise<void> => {
    server = createServer(receive)
    // shorter than what passes between two deliveries at times: so that the races of a closing socket happen
    server.keepAliveTimeout = 3_000
    server.on('clientError', (_, socket) => socket.destroy())
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  await listen()
  return {
    origin: `http://127.0.0.1:${port}`,
    refuse: reset,
    listen: () => (listening = listen()),
    async close() {
      await listening
      reset()
    },
  }
}
