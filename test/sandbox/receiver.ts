import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** One request, as it came in. */
export interface Received {
  /** When its body was complete, in epoch milliseconds. */
  at: number
  method: string
  /** The path and the query. */
  url: string
  headers: IncomingHttpHeaders
  body: string
}

export interface Answer {
  status?: number
  headers?: Record<string, string>
  body?: string
}

/** How to answer a request; `undefined` cuts the connection, and a promise that never settles leaves it waiting. */
export type Answering = (request: Received) => Answer | undefined | Promise<Answer | undefined>

export interface Receiver {
  readonly url: string
  /** All that came in, the oldest first. */
  readonly requests: readonly Received[]
  /** The next `count` requests that no earlier call of `next` was given; rejects if they take longer than `timeoutMs`, or on `close`. */
  next(count?: number, timeoutMs?: number): Promise<Received[]>
  close(): Promise<void>
}

/** Starts an HTTP server on a free loopback port, which keeps what it is sent. */
export async function startReceiver(answer: Answering = () => ({})): Promise<Receiver> {
  const requests: Received[] = []
  const waiting = new Set<{ look(): void; giveUp(reason: string): void }>()
  let given = 0

  const server = createServer((request, response) => {
    const receive = async (): Promise<void> => {
      const body = await text(request)
      const { headers, method = '', url = '' } = request
      const received = { at: Date.now(), method, url, headers, body }
      requests.push(received)
      waiting.forEach(({ look }) => look())
      const reply = await answer(received)
      if (reply === undefined) {
        response.destroy()
        return
      }
      response.writeHead(reply.status ?? 200, reply.headers).end(reply.body)
    }
    // A sender that hangs up in the middle is no event.
    receive().catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    next(count = 1, timeoutMs = 30_000) {
      const first = given
      given += count
      return new Promise((resolve, reject) => {
        const giveUp = (reason: string): void => {
          clearTimeout(timer)
          waiting.delete(waiter)
          const missing = first + count - requests.length
          reject(new Error(`expected ${count} requests, ${missing} did not come ${reason}`))
        }
        const look = (): void => {
          if (requests.length >= first + count) {
            clearTimeout(timer)
            waiting.delete(waiter)
            resolve(requests.slice(first, first + count))
          }
        }
        const timer = setTimeout(giveUp, timeoutMs, `within ${timeoutMs} ms`)
        const waiter = { look, giveUp }
        waiting.add(waiter)
        look()
      })
    },
    async close() {
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      waiting.forEach(({ giveUp }) => giveUp('before the receiver was closed'))
      await closed
    },
  }
}
