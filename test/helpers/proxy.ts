import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface Proxy {
  readonly port: number
  /** What it was asked to connect to: `host:port`, with the headers. */
  readonly tunnels: readonly { readonly to: string; readonly headers: IncomingHttpHeaders }[]
}

/** An HTTP proxy on a free loopback port that makes tunnels, or refuses them. Closed at the end of the test. */
export async function startProxy(status = 200): Promise<Proxy> {
  const tunnels: Proxy['tunnels'][number][] = []
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  }
  const server = createServer((_request, response) => {
    response.writeHead(405).end('tunnels only')
  })
  server.on('connection', keep)
  server.on('connect', (request, socket: Socket) => {
    const to = request.url ?? ''
    tunnels.push({ to, headers: request.headers })
    if (status !== 200) {
      socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`)
      return
    }
    const [host = '', port] = to.split(':')
    const upstream = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(upstream).pipe(socket)
    })
    keep(upstream)
    upstream.on('close', () => socket.destroy())
    socket.on('close', () => upstream.destroy())
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) {
      socket.destroy()
    }
    await closed
  })
  return { port: (server.address() as AddressInfo).port, tunnels }
}
