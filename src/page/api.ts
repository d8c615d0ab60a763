import { createStore } from './store.ts'

const BASE = '/rest/v0/plugins/web-hooks/'

/** The server has refused, or could not be asked. */
export class ApiError extends Error {
  /** Of HTTP; 0: no answer came. */
  readonly status: number
  /** Which parameter is wrong, where one is. */
  readonly path: string | undefined

  constructor(status: number, message: string, path?: string) {
    super(message)
    this.status = status
    this.path = path
  }
}

/** Whether the server still knows who asks. */
export const isSignedIn = createStore(true)

export interface Request {
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/**
 * Asks the plugin's REST API, as the user who is signed in.
 *
 * @param path - its parts are percent-encoded here
 * @throws {ApiError}; what `signal` gives its abortion as
 */
export async function ask<T>(
  verb: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: readonly string[],
  { query = {}, body, headers = {}, signal }: Request = {}
): Promise<T> {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) {
      search.set(name, String(value))
    }
  }
  const hasBody = verb === 'POST' || verb === 'PATCH'
  let response: Response
  try {
    response = await fetch(`${BASE}${path.map(encodeURIComponent).join('/')}${search.size === 0 ? '' : `?${search}`}`, {
      method: verb,
      headers: { ...headers, ...(hasBody && { 'Content-Type': 'application/json' }) },
      cache: 'no-store',
      ...(hasBody && { body: JSON.stringify(body ?? {}) }),
      ...(signal && { signal }),
    })
  } catch (error) {
    signal?.throwIfAborted()
    throw new ApiError(0, error instanceof TypeError ? 'xo-server does not answer' : String(error))
  }
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true
  const answer: unknown = isJson && text !== '' ? JSON.parse(text) : undefined
  if (!response.ok) {
    isSignedIn.set(response.status !== 401)
    throw errorOf(response.status, answer)
  }
  isSignedIn.set(true)
  return answer as T
}

/** Of a parameter, or a field, that is wrong. */
interface Wrong {
  readonly path: string
  readonly expected: string
  readonly got: string
}

/** The host's shape: `{ error, data }`. A path that it does not know: the plugin is off. */
function errorOf(status: number, answer: unknown): ApiError {
  const { error, data = {} } = (answer ?? {}) as {
    error?: string
    data?: { errors?: readonly Wrong[]; actual?: string }
  }
  const [wrong] = data.errors ?? []
  return wrong !== undefined
    ? new ApiError(status, `${wrong.path}: expected ${wrong.expected}, got ${wrong.got}`, wrong.path)
    : error === undefined && status === 404
      ? new ApiError(status, 'the plugin does not answer: is web-hooks switched on in Settings > Plugins?')
      : new ApiError(
          status,
          `${error ?? `the server answered ${status}`}${data.actual === undefined ? '' : `: it is ${data.actual}`}`
        )
}
