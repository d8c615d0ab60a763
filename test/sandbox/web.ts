import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { createGzip, type Gzip } from 'node:zlib'
import { createLogger } from '@xen-orchestra/log'
import type { HttpRequest } from '../../src/xo.ts'
import type { Host } from './host.ts'

const log = createLogger('xo:xo-server')

/** What the host's middlewares add to a request before anybody sees it. */
export interface WebRequest extends HttpRequest {
  readonly cookies: Readonly<Record<string, string>>
  readonly path: string
  /** Of a form; JSON is read by who wants it. */
  readonly form: Readonly<Record<string, string>> | undefined
  flash(name: string, text?: string): string[]
}

export type WebHandler = (request: WebRequest, response: ServerResponse) => unknown

/** Of helmet, as xo-server sets it up; the two hashes are those of its own inline scripts. */
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'self'; connect-src 'self' https://api.github.com; script-src 'self' 'sha256-sIj1FFjxCJxsQo5Hw5ZkhT+9Gc+Q6LmIkJzdjARCn0o=' 'sha256-Z5hWOtGcISU7nkyObsPm3ZZvPpAYxzoiQutkJucVkm8='; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
  'Strict-Transport-Security': 'max-age=15552000; includeSubDomains',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'SAMEORIGIN',
}

/**
 * The web server of the host, with its traps: its content security policy, compression that holds an event stream back,
 * forms that any site may post, a cookie without SameSite, and an end that waits for every open answer.
 *
 * Source: `createExpressApp`, `setUpPassport` and `makeWebServerListen` in packages/xo-server/src/index.mjs;
 * `registerHttpRequestHandler` in …/xo.mjs
 */
export class Web {
  readonly #handlers = new Map<string, WebHandler>()
  /** By session, then by name. */
  readonly #flashes = new Map<string, Map<string, string[]>>()
  readonly #sockets = new Map<Socket, boolean>()
  #server: Server | undefined

  async register(path: string, handler: WebHandler): Promise<() => void> {
    if (this.#handlers.has(path)) {
      throw new Error(`a handler is already registered for ${path}`)
    }
    this.#handlers.set(path, handler)
    return () => void this.#handlers.delete(path)
  }

  async listen(host: Host, port: number): Promise<{ server: Server; port: number }> {
    const server = createServer((incoming, response) => {
      this.#sockets.set(incoming.socket, true)
      response.once('close', () => this.#rest(incoming.socket))
      void this.#answer(host, incoming, response).catch((error: unknown) => {
        log.error('HTTP request error', { error })
        if (!response.headersSent) {
          response.writeHead(500)
        }
        response.end()
      })
    })
    server.on('connection', socket => {
      this.#sockets.set(socket, false)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, '127.0.0.1', resolve)
    })
    this.#server = server
    return { server, port: (server.address() as AddressInfo).port }
  }

  /** As `stoppable` without a grace: whoever is being answered is waited for, however long that takes. */
  async stop(): Promise<void> {
    const server = this.#server
    if (server !== undefined) {
      const closed = new Promise(resolve => server.close(resolve))
      this.#server = undefined
      for (const [socket, isBusy] of this.#sockets) {
        if (!isBusy) {
          socket.destroy()
        }
      }
      await closed
    }
  }

  /** The network fails: answers are cut in the middle. */
  cut(): void {
    for (const [socket, isBusy] of this.#sockets) {
      if (isBusy) {
        socket.destroy()
      }
    }
  }

  #rest(socket: Socket): void {
    if (this.#sockets.has(socket)) {
      this.#sockets.set(socket, false)
      if (this.#server === undefined) {
        socket.destroy()
      }
    }
  }

  async #answer(host: Host, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) {
      response.setHeader(name, value)
    }
    compress(incoming, response)
    const request = await this.#request(incoming, response)
    const { path, method, cookies, form } = request
    const handler = this.#handlers.get(path)
    if (handler !== undefined) {
      await handler.call(host, request, response)
    } else if (path.startsWith('/rest/')) {
      await host.rest.answer(host, request, response)
    } else if (path === '/signin' && method === 'GET') {
      response.setHeader('content-type', 'text/html; charset=utf-8')
      response.end(signInPage(request.flash('error')[0]))
    } else if (path === '/signin.js') {
      response.setHeader('content-type', 'text/javascript')
      // what is behind the # is carried along: the host's own form does the same
      response.end('document.querySelector("form").action += location.hash')
    } else if (path === '/signin/local' && method === 'POST') {
      this.#signIn(host, request, response, form ?? {})
    } else if (path === '/signout') {
      response.setHeader('set-cookie', 'token=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT')
      redirect(response, '/')
    } else if (host.userOfToken(cookies['token']) === undefined) {
      request.flash('return-url', incoming.url ?? '/')
      redirect(response, '/signin')
    } else {
      response
        .writeHead(path === '/' ? 200 : 404, { 'content-type': 'text/html' })
        .end(`<h1>${host.constructor.name}</h1>`)
    }
  }

  #signIn(host: Host, request: WebRequest, response: ServerResponse, form: Readonly<Record<string, string>>): void {
    const user = [...host.users.values()].find(
      ({ email, password }) => email === form['username'] && password === form['password']
    )
    if (user === undefined) {
      request.flash('error', 'invalid credentials')
      redirect(response, '/signin')
      return
    }
    // the host's own has neither SameSite nor HttpOnly either
    response.appendHeader('set-cookie', `token=${host.createToken(user)}; Path=/`)
    redirect(response, request.flash('return-url')[0] ?? '/')
  }

  async #request(incoming: IncomingMessage, response: ServerResponse): Promise<WebRequest> {
    const cookies = Object.fromEntries(
      (incoming.headers.cookie ?? '').split(/;\s*/).flatMap(pair => {
        const [name = '', value] = pair.split('=', 2)
        return value === undefined ? [] : [[name, value]]
      })
    )
    const isForm = incoming.headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true
    const form = isForm ? Object.fromEntries(new URLSearchParams(await text(incoming))) : undefined
    const flash = (name: string, words?: string): string[] => {
      let session = cookies['connect.sid']
      if (session === undefined || !this.#flashes.has(session)) {
        if (words === undefined) {
          return []
        }
        session = randomUUID()
        cookies['connect.sid'] = session
        this.#flashes.set(session, new Map())
        response.appendHeader('set-cookie', `connect.sid=${session}; Path=/; HttpOnly`)
      }
      const texts = this.#flashes.get(session)!
      const before = texts.get(name) ?? []
      if (words === undefined) {
        texts.delete(name)
        return before
      }
      texts.set(name, [...before, words])
      return texts.get(name)!
    }
    const path = new URL(incoming.url ?? '/', 'http://localhost').pathname
    const url = incoming.url ?? '/'
    return Object.assign(incoming, {
      cookies,
      path,
      form,
      flash,
      originalUrl: url,
      ip: incoming.socket.remoteAddress ?? '',
    })
  }
}

function redirect(response: ServerResponse, location: string): void {
  response.writeHead(303, { location }).end()
}

function signInPage(error: string | undefined): string {
  return `<!doctype html><title>Xen Orchestra</title>${error === undefined ? '' : `<p>${error}</p>`}
<form action="/signin/local" method="post"><input name="username"><input name="password" type="password"><button>Log in</button></form><script src="/signin.js"></script>`
}

/** As the package `compression`: also of an event stream, which then comes when it ends, or when there is enough of it. */
function compress({ method, headers }: IncomingMessage, response: ServerResponse): void {
  if (method === 'HEAD' || !/\bgzip\b/.test(headers['accept-encoding']?.toString() ?? '')) {
    return
  }
  const { write, end, writeHead } = response
  let gzip: Gzip | undefined
  let isDecided = false
  const decide = (): void => {
    if (isDecided) {
      return
    }
    isDecided = true
    const type = String(response.getHeader('content-type') ?? '')
    const isKept = /\bno-transform\b/.test(String(response.getHeader('cache-control') ?? ''))
    const hasBody = response.statusCode !== 204 && response.statusCode !== 304
    if (hasBody && !isKept && /^text\/|javascript|json/.test(type)) {
      response.setHeader('content-encoding', 'gzip')
      response.setHeader('vary', 'Accept-Encoding')
      response.removeHeader('content-length')
      gzip = createGzip()
      gzip.on('data', chunk => Reflect.apply(write, response, [chunk]))
      gzip.on('end', () => Reflect.apply(end, response, []))
    }
  }
  Object.assign(response, {
    writeHead(status: number, given: Record<string, string> = {}) {
      response.statusCode = status
      for (const [name, value] of Object.entries(given)) {
        response.setHeader(name, value)
      }
      decide()
      return Reflect.apply(writeHead, response, [status])
    },
    write(chunk: string | Buffer) {
      decide()
      return gzip === undefined ? Reflect.apply(write, response, [chunk]) : gzip.write(chunk)
    },
    end(chunk?: string | Buffer) {
      decide()
      if (gzip === undefined) {
        return Reflect.apply(end, response, chunk === undefined ? [] : [chunk])
      }
      gzip.end(chunk)
      return response
    },
  })
}
