import { createServer, request as makeRequest } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { onTestFinished } from 'vitest'

export interface ConnectProxy {
  readonly url: string
  readonly port: number
  /** Where it was asked to connect or send to, as `host:port`, the oldest first. */
  readonly targets: readonly string[]
  /** As `CONNECT` or `POST`. */
  readonly methods: readonly string[]
  /** The headers of each request in `targets`. */
  readonly headers: readonly IncomingHttpHeaders[]
  /** The `Proxy-Authorization` of each request in `targets`. */
  readonly credentials: readonly (string | undefined)[]
  /** Connections that have been opened. */
  readonly connections: number
}

export interface ConnectProxyOptions {
  /** Everybody is refused with it. */
  readonly status?: number
  /** `user:password`; without them, everybody is refused with 407. */
  readonly credentials?: string
  /** TLS is spoken with it. */
  readonly tls?: TlsOptions
}

/** A URL that only {@link openConnectProxy} knows the way to: what is of this machine goes through no proxy. */
export function elsewhere(url: string): string {
  return url.replace(/127\.0\.0\.1|localhost/, 'receiver.test')
}

/** An HTTP proxy on a free loopback port, which takes any host but `unknown.test` for this machine. */
export async function openConnectProxy(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
  const { status, credentials, tls } = options
  const methods: string[] = []
  const targets: string[] = []
  const headers: IncomingHttpHeaders[] = []
  const sockets = new Set<Socket>()
  let connections = 0

  const refusalOf = (request: IncomingMessage, target: string): number | undefined => {
    methods.push(request.method ?? '')
    targets.push(target)
    headers.push(request.headers)
    const expected = `Basic ${Buffer.from(credentials ?? '').toString('base64')}`
    if (credentials !== undefined && request.headers['proxy-authorization'] !== expected) {
      return 407
    }
    return target.startsWith('unknown.test') ? 502 : status
  }

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const { host, port, pathname, search } = new URL(request.url ?? '')
    const refusal = refusalOf(request, host)
    if (refusal !== undefined) {
      response.writeHead(refusal).end()
      return
    }
    const { 'proxy-authorization': _, ...passed } = request.headers
    const { method } = request
    const upstream = makeRequest(
      { host: '127.0.0.1', port, path: pathname + search, method, headers: passed, agent: false },
      reply => {
        response.writeHead(reply.statusCode ?? 502, reply.headers)
        reply.pipe(response)
      }
    )
    upstream.on('error', () => response.writeHead(502).end())
    request.pipe(upstream)
    response.on('close', () => upstream.destroy())
  }

  const server: Server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer)
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    ++connections
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('connect', (request, client: Socket) => {
    const { url = '' } = request
    const refusal = refusalOf(request, url)
    client.on('error', () => client.destroy())
    if (refusal !== undefined) {
      client.end(`HTTP/1.1 ${refusal} No\r\nContent-Length: 0\r\n\r\n`)
      return
    }
    const { port } = new URL(`http://${url}`)
    let isConnected = false
    const upstream = connect(Number(port), '127.0.0.1', () => {
      isConnected = true
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      client.pipe(upstream).pipe(client)
    })
    upstream.on('error', () => client.end(isConnected ? '' : 'HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n'))
    upstream.on('close', () => client.end())
    client.on('close', () => upstream.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  onTestFinished(async () => {
    const closed = new Promise(resolve => server.close(resolve))
    sockets.forEach(socket => socket.destroy())
    await closed
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    methods,
    targets,
    headers,
    get credentials() {
      return headers.map(each => each['proxy-authorization'])
    },
    get connections() {
      return connections
    },
  }
}
