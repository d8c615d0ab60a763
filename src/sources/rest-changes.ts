import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { STATUS_CODES } from 'node:http'

import type { EventInfo } from '../event/event.ts'
import { isRecord, textOf } from '../values.ts'
import type { Signal, User, Xo } from '../xo.ts'
import { idOfServer, idOfUser } from './look-up.ts'
import { ROUTES } from './rest-routes.ts'
import { guarded } from './source.ts'
import type { Accept } from './source.ts'

/** Where the host has its REST API (`BASE_URL` in @xen-orchestra/rest-api/src/index.mts). */
const BASE = '/rest/v0'

/** What Express finds there: it takes a path in any case, and also from a whole URL (`DELETE http://xo/REST/v0/vms/1`). */
const IN_BASE = /^(?:https?:\/\/[^/]*)?\/rest\/v0\//i

/** One for each name in the table. A change by a route that is not in it is announced as `rest.<verb>.<path>`, and is not listed. */
export const restChangeEvents: readonly EventInfo[] = [...new Set(ROUTES.values())]
  .filter(name => name !== null)
  .map(name => ({
    name,
    phases: ['post'],
    sentence: `The REST API (XO 6, MCP) was asked to: ${routesOf(name).join(', ')}.`,
  }))

/** A request to an HTTP server of this process; if that is the host's, Express has added to it what else stands here. */
interface Request {
  readonly method?: string
  readonly url?: string
  readonly headers: Readonly<Record<string, unknown>>
  /** `url` may have lost its beginning. */
  readonly originalUrl?: unknown
  /** The route that it has taken: its `path` is a pattern, as `/rest/v0/vms/:id`. */
  readonly route?: unknown
  readonly query?: unknown
  /** Parsed, if it was JSON; that of an upload is not read. */
  readonly body?: unknown
  readonly ip?: unknown
  /** Who was let in; missing from routes of plugins. */
  readonly user?: unknown
}

interface Response {
  readonly statusCode: number
  getHeader(name: string): unknown
  readonly locals?: unknown
}

/** The verbs of changes. */
const VERBS = ['PATCH', 'PUT', 'DELETE', 'POST']

type LookUpId = (xo: Xo, params: Readonly<Record<string, unknown>>) => Promise<string | undefined>

/** What the answer says of what was made is not known: here it is asked for, as the API method would return it. */
const CREATED: ReadonlyMap<string, LookUpId> = new Map<string, LookUpId>([
  ['user.create', (xo, { name }) => idOfUser(xo, textOf(name))],
  ['server.add', (xo, { host }) => idOfServer(xo, textOf(host))],
])

interface Route {
  /** Its pattern, without `BASE`: `/vms/:id`. */
  readonly path: string
  /** By verb, what is announced; none where nothing is. */
  readonly methods: ReadonlyMap<string | undefined, string>
}

/** What Node says of each request of each HTTP server of this process. */
interface Exchange {
  readonly request: Request
  readonly response: Response
}

/**
 * Hears the changes by the REST API that are no actions: `PATCH`, `PUT`, `DELETE`, and `POST` of a new object. The host says
 * nothing of them. Node does, on its diagnostics channels, when the answer has been sent: so they have a `post` only.
 *
 * Of a request that nobody was let in with (its user is not known), nothing is announced, so that strangers cause no
 * events; one that its user may not make is a failure, as with API calls. What the host has answered is not known but for
 * its status; of a new user or server, the id is looked up. A request whose client goes away before it is answered is not heard of.
 *
 * @returns its undo
 */
export function listenToRestChanges(xo: Xo, accept: Accept): () => void {
  /** Of those under way, when they began, epoch ms. */
  const begun = new WeakMap<Request, number>()

  const onStart = ({ request }: Pick<Exchange, 'request'>): void => {
    if (mayChange(request, request.url)) {
      begun.set(request, Date.now())
    }
  }

  /** By Express's routes, which live as long as what they lead to. */
  const routes = new WeakMap<object, Route>()

  const routeOf = ({ route }: Request): Route | undefined => {
    if (!isRecord(route)) {
      return undefined
    }
    let known = routes.get(route)
    if (known === undefined) {
      known = readRoute(textOf(route['path']))
      routes.set(route, known)
    }
    return known
  }

  const onFinish = ({ request, response }: Exchange): Promise<unknown> | undefined => {
    if (!mayChange(request, request.originalUrl)) {
      return undefined
    }
    const start = begun.get(request)
    begun.delete(request)
    const route = routeOf(request)
    const method = route?.methods.get(request.method)
    if (route === undefined || method === undefined || !accept.wants(method) || isTold(response)) {
      return undefined
    }
    const user = userOf(request, response, xo)
    if (user === undefined) {
      return undefined
    }
    const timestamp = Date.now()
    const signal: Signal = {
      callId: randomUUID(),
      userId: user.id,
      userName: user.email,
      userIp: textOf(request.ip),
      method,
      params: paramsOf(request, route.path),
      timestamp,
      duration: timestamp - (start ?? timestamp),
      ...outcomeOf(response),
      source: 'rest',
      client: clientOf(request),
    }
    const look = response.statusCode < 400 ? CREATED.get(method) : undefined
    return look === undefined ? accept('rest', 'post', signal) : acceptCreated(signal, look)
  }

  const acceptCreated = async (signal: Signal, look: LookUpId): Promise<unknown> => {
    const id = await look(xo, isRecord(signal.params) ? signal.params : {})
    return accept('rest', 'post', id === undefined ? signal : { ...signal, result: id })
  }

  const undo = [hear('http.server.request.start', onStart), hear('http.server.response.finish', onFinish)]
  return () => undo.forEach(each => each())
}

/** A listener that throws there is reported as an uncaught exception: it does not. */
function hear<Message>(channel: string, listener: (message: Message) => unknown): () => void {
  const guardedListener = guarded(channel, listener)
  const onMessage = (message: unknown): void => void guardedListener(message as Message)
  subscribe(channel, onMessage)
  return () => void unsubscribe(channel, onMessage)
}

/** Asked of every request of every HTTP server of this process. */
function mayChange({ method }: Request, url: unknown): boolean {
  return method !== 'GET' && VERBS.includes(method ?? '') && typeof url === 'string' && IN_BASE.test(url)
}

/** @param pattern - `undefined`: nothing is known of it */
function readRoute(pattern: string | undefined): Route {
  // that of a plugin's route is without its beginning
  const path = pattern?.startsWith(`${BASE}/`) ? pattern.slice(BASE.length) : (pattern ?? '')
  const methods = new Map<string | undefined, string>()
  for (const verb of VERBS) {
    const known = ROUTES.get(`${verb} ${path}`)
    // an action has a task, by which it is heard
    if (pattern !== undefined && known !== null && !path.includes('/actions/')) {
      methods.set(verb, known ?? nameOf(verb, path))
    }
  }
  return { path, methods }
}

/** `POST /plugins/some-plugin/things/:id` → `rest.post.plugins.some-plugin.things`. */
function nameOf(verb: string, path: string): string {
  const segments = path.split('/').filter(segment => segment !== '' && !segment.startsWith(':'))
  return ['rest', verb.toLowerCase(), ...segments].join('.').slice(0, 200)
}

/** Also a route of a plugin may be an action, whose task is announced: the host answers with where that is found. */
function isTold(response: Response): boolean {
  const location = response.statusCode === 202 ? response.getHeader('location') : undefined
  return typeof location === 'string' && location.startsWith(`${BASE}/tasks/`)
}

/**
 * Who it was, if the host has let someone in: it says by which credentials (`setupApiContext` in
 * @xen-orchestra/rest-api/src/middlewares/authentication.middleware.mts), and who, or who makes what goes on now.
 */
function userOf(request: Request, { locals }: Response, { apiContext }: Xo): User | undefined {
  if (!isRecord(locals) || textOf(locals['authType']) === undefined) {
    return undefined
  }
  const user: unknown = request.user ?? apiContext?.user
  const id = isRecord(user) ? textOf(user['id']) : undefined
  return id === undefined || !isRecord(user) ? undefined : { id, email: textOf(user['email']) ?? '' }
}

function paramsOf({ originalUrl, query, body }: Request, path: string): object {
  return {
    ...(isPlain(query) && query),
    ...(isPlain(body) && body),
    ...pathParamsOf(textOf(originalUrl) ?? '', `${BASE}${path}`),
  }
}

/** Express has them too, but forgets them when a request fails. */
function pathParamsOf(url: string, pattern: string): Readonly<Record<string, string>> {
  const regExp = pattern.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll(/:(\w+)/g, '(?<$1>[^/]+?)')
  const { groups = {} } = new RegExp(`^(?:https?://[^/]*)?${regExp}/?$`, 'i').exec(url.replace(/[?#].*$/s, '')) ?? {}
  return Object.fromEntries(Object.entries(groups).map(([name, value]) => [name, decoded(value)]))
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** No Buffer, whose properties would be its bytes. */
function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  const prototype: unknown = isRecord(value) ? Object.getPrototypeOf(value) : undefined
  return prototype === Object.prototype || prototype === null
}

function outcomeOf({ statusCode }: Response): { result: unknown } | { error: unknown } {
  // as the host says it of API methods that return nothing
  return statusCode < 400
    ? { result: true }
    : { error: { code: statusCode, message: `${statusCode} ${STATUS_CODES[statusCode] ?? ''}`.trimEnd() } }
}

/** As it says itself (`mcp`); `web` for a page of XO in a browser: that is XO 6, which XO 5 uses the API calls for. */
function clientOf({ headers }: Request): string | undefined {
  const said = textOf(headers['x-xo-client'])
  return said === undefined ? (headers['sec-fetch-site'] === 'same-origin' ? 'web' : undefined) : said.slice(0, 100)
}

function routesOf(name: string): string[] {
  return [...ROUTES].filter(([, known]) => known === name).map(([route]) => route)
}
