import { createLogger } from '@xen-orchestra/log'
import type { ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { invalidCredentials, unauthorized } from 'xo-common/api-errors.js'
import type { RestRequest, RestResponse, RestRoute } from '../../src/xo.ts'
import type { Host, User } from './host.ts'
import type { WebRequest } from './web.ts'

const log = createLogger('xo:rest-api')

/** By the code of an error of xo-common (@xen-orchestra/rest-api/src/middlewares/generic-error-handler.middleware.mts). */
const STATUS_BY_CODE: ReadonlyMap<unknown, number> = new Map([
  [1, 404],
  [2, 403],
  [3, 401],
  [10, 422],
  [16, 409],
  [25, 409],
  [28, 503],
])

interface Mounted {
  readonly route: RestRoute
  readonly pattern: RegExp
  readonly names: readonly string[]
}

/**
 * The REST API of the host, as far as plugins add to it: what
 * @xen-orchestra/rest-api/src/router/external-router.mts does with a route, for administrators, who come with
 * a cookie or sign in with each request (Basic).
 */
export class RestApi {
  readonly #mounted: Mounted[] = []

  /** Routes of a plugin below `base`; returns its undo. */
  register(routes: readonly RestRoute[], base: string): () => void {
    const mounted = routes.map((route): Mounted => {
      const path = `/rest/v0${base}${route.endpoint}`
      const names = [...path.matchAll(/{(\w+)}/g)].map(([, name]) => name!)
      return { route, names, pattern: new RegExp(`^${path.replaceAll(/{\w+}/g, '([^/]+)')}/?$`) }
    })
    this.#mounted.push(...mounted)
    return () => mounted.forEach(each => this.#mounted.splice(this.#mounted.indexOf(each), 1))
  }

  async answer(host: Host, request: WebRequest, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const verb = request.method?.toLowerCase()
    const found = this.#mounted.find(({ route, pattern }) => route.method === verb && pattern.test(url.pathname))
    if (found === undefined) {
      response.writeHead(404, { 'content-type': 'text/html' }).end('<pre>Cannot find it</pre>')
      return
    }
    const send = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'content-type': type }).end(body)
    }
    try {
      const type = request.headers['content-type']?.split(';')[0]
      const body = request.form === undefined ? await text(request) : ''
      const user = userOf(host, request)
      if (user.permission !== 'admin') {
        unauthorized('admin')
      }
      let status = 200
      const res: RestResponse = {
        get destroyed() {
          return response.destroyed
        },
        get writableLength() {
          return response.writableLength
        },
        status: code => ((status = code), res),
        type: name => (response.setHeader('content-type', name), res),
        json: value => send(status, 'application/json', JSON.stringify(value)),
        send: value => response.writeHead(status).end(value),
        set: (name, value) => response.setHeader(name, value),
        write: value => response.write(value),
        end: () => response.end(),
        destroy: () => response.destroy(),
        on: (event, listener) => response.on(event, listener),
      }
      const values = found.pattern.exec(url.pathname)!.slice(1).map(decodeURIComponent)
      const req: RestRequest = {
        params: Object.fromEntries(found.names.map((name, index) => [name, values[index]!])),
        query: coerced(url.searchParams, found.route),
        headers: request.headers,
        ip: request.socket.remoteAddress,
        body: type === 'application/json' && body !== '' ? JSON.parse(body) : (request.form ?? {}),
        cookies: request.cookies,
        is: wanted => type === wanted && wanted,
      }
      const result = await host.runWithApiContext(user, () => found.route.callback({ req, res }))
      if (!response.headersSent) {
        if (result === undefined) {
          response.writeHead(204).end()
        } else {
          res.json(result)
        }
      }
    } catch (error) {
      const { code, data, message } = error as Error & { code?: unknown; data?: unknown }
      const status = STATUS_BY_CODE.get(code) ?? 500
      if (status === 500) {
        log.error(message, { error })
      }
      send(status, 'application/json', JSON.stringify({ error: message, data }))
    }
  }
}

function userOf(host: Host, { cookies, headers }: WebRequest): User {
  const token = cookies['authenticationToken'] ?? cookies['token']
  if (token !== undefined && headers.authorization === undefined) {
    return host.userOfToken(token) ?? invalidCredentials()
  }
  const [, encoded = ''] = headers.authorization?.split(' ') ?? []
  const [email, password] = Buffer.from(encoded, 'base64').toString().split(':')
  const user = [...host.users.values()].find(each => each.email === email && each.password === password)
  return user ?? invalidCredentials()
}

/** A parameter that comes more than once is a list, as in Express; those that a route knows have their types. */
function coerced(params: URLSearchParams, { query = {} }: RestRoute): Record<string, unknown> {
  return Object.fromEntries(
    [...new Set(params.keys())].map(name => {
      const all = params.getAll(name)
      const type = query[name]?.type
      const value = all.length > 1 ? all : all[0]
      return [name, type === 'number' && typeof value === 'string' ? Number(value) : value]
    })
  )
}
