import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface ConnectProxy {
  readonly url: string
  /** Where it was asked to connect to, as `host:port`, the oldest first. */
  readonly targets: readonly string[]
  /** The headers of each request in `targets`. */
  readonly headers: readonly IncomingHttpHeaders[]
  /** The `Proxy-Authorization` of each request in `targets`. */
  readonly credentials: readonly (string | undefined)[]
}

/** An HTTP proxy on a free loopback port that knows CONNECT only, or refuses even that with `status`. */
export async function openConnectProxy(status = 200): Promise<ConnectProxy> {
  const targets: string[] = []
  const headers: IncomingHttpHeaders[] = []
  const sockets = new Set<Socket>()
  const server = createServer((_, response) => response.writeHead(501).end())
  server.on('connection', socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('connect', (request, client: Socket) => {
    const { url = '' } = request
    targets.push(url)
    headers.push(request.headers)
    client.on('error', () => client.destroy())
    if (status !== 200) {
      client.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`)
      return
    }
    const { hostname, port } = new URL(`http://${url}`)
    const upstream = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      client.pipe(upstream).pipe(client)
    })
    upstream.on('error', () => client.destroy())
    upstream.on('close', () => client.destroy())
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
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    targets,
    headers,
    get credentials() {
      return headers.map(each => each['proxy-authorization'])
    },
  }
}
