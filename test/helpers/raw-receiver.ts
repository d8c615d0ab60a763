import { once } from 'node:events'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { TlsOptions } from 'node:tls'
import { onTestFinished } from 'vitest'

/** One request, as the bytes came in. */
export interface RawRequest {
  /** `POST /path HTTP/1.1` */
  readonly line: string
  /** In order, spelled as on the wire. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer
  readonly socket: Socket
  /** The number of the connection, from 1. */
  readonly connection: number
  /** The number of the request on its connection, from 1. */
  readonly number: number
}

export interface RawReceiver {
  readonly port: number
  /** `http://127.0.0.1:<port>` */
  readonly origin: string
  readonly requests: readonly RawRequest[]
  /** Those that have been opened, also those closed since. */
  readonly connections: number
  /** The sockets that are open. */
  readonly sockets: ReadonlySet<Socket>
}

export interface RawReceiverOptions {
  readonly tls?: TlsOptions
  /** Given each request once it is complete; writes to `request.socket` whatever it likes. */
  readonly onRequest?: (request: RawRequest) => void
  /** Given each connection, before any request. */
  readonly onConnection?: (socket: Socket) => void
}

/** A server on a free loopback port that knows as much of HTTP as to read a request. Closed at the end of the test. */
export async function startRawReceiver(options: RawReceiverOptions): Promise<RawReceiver> {
  const requests: RawRequest[] = []
  const sockets = new Set<Socket>()
  let connections = 0

  const onConnection = (socket: Socket): void => {
    const connection = ++connections
    let number = 0
    let input = Buffer.alloc(0)
    sockets.add(socket)
    // A sender that hangs up in the middle is no event.
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    options.onConnection?.(socket)
    socket.on('data', chunk => {
      input = Buffer.concat([input, chunk])
      for (;;) {
        const end = input.indexOf('\r\n\r\n')
        if (end === -1) {
          return
        }
        const [line = '', ...rest] = input.subarray(0, end).toString('latin1').split('\r\n')
        const headers = rest.map(header => {
          const colon = header.indexOf(': ')
          return [header.slice(0, colon), header.slice(colon + 2)] as const
        })
        const length = Number(headers.find(([name]) => name.toLowerCase() === 'content-length')?.[1] ?? 0)
        if (input.length < end + 4 + length) {
          return
        }
        const body = Buffer.from(input.subarray(end + 4, end + 4 + length))
        input = input.subarray(end + 4 + length)
        const request = { line, headers, body, socket, connection, number: ++number }
        requests.push(request)
        options.onRequest?.(request)
      }
    })
  }

  const server: Server =
    options.tls === undefined ? createTcpServer(onConnection) : createTlsServer(options.tls, onConnection)
  server.on('tlsClientError', () => {})
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) {
      socket.destroy()
    }
    await closed
  })

  const { port } = server.address() as AddressInfo
  return {
    port,
    origin: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    get connections() {
      return connections
    },
    sockets,
  }
}

/** A whole answer, as bytes. */
export function answer(status: number, body = '', headers: readonly string[] = []): string {
  return [`HTTP/1.1 ${status} Whatever`, ...headers, `Content-Length: ${Buffer.byteLength(body)}`, '', body].join(
    '\r\n'
  )
}

/** A port of the loopback address on which nothing listens. */
export async function unusedPort(): Promise<number> {
  const server = createTcpServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
