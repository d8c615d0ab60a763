import { parameterNames, refuse } from './fields.ts'
import type { Field, Fields } from './fields.ts'
import type { Operation } from './operation.ts'
import { isRecord, textOf } from '../values.ts'
import type { RestField, RestRequest, RestResponse, RestRoute } from '../xo.ts'

/** Below `/rest/v0` of the host. */
export const BASE = '/plugins/web-hooks'

/** A parameter of the host's own: the second factor of who signs in with each request. */
const OTP = 'otp'

/** Certificates are long. */
const JSON_BODY = { name: 'json', options: { limit: '1mb' } } as const

/**
 * An operation as a route of the REST API, for administrators.
 *
 * Source: @xen-orchestra/rest-api/src/router/external-router.mts of Xen Orchestra
 */
export function routeOf(operation: Operation, run: (params: unknown) => Promise<unknown>): RestRoute {
  const { rest, about, params, result, status, contentType, body } = operation
  const [method, path] = rest
  const inPath = parameterNames(path)
  const ofPath = only(params, name => inPath.includes(name))
  const others = only(params, name => !inPath.includes(name) && name !== 'ifMatch')
  const hasBody = method === 'post' || method === 'patch'
  const isEmpty = result === undefined && contentType === undefined
  return {
    method,
    endpoint: `/${path}`,
    tags: ['web-hooks'],
    description: describe(about, others, hasBody, body),
    ...(inPath.length > 0 && { params: restFieldsOf(ofPath) }),
    ...(!hasBody && { query: restFieldsOf(others) }),
    // without a schema of the body: the host would look into it before the type of its content is known
    ...(hasBody && { middlewares: [JSON_BODY] }),
    responses: [
      {
        status: status ?? (isEmpty ? 204 : 200),
        description: isEmpty ? 'Done' : 'Success',
        ...(result && { schema: restFieldsOf(result) }),
      },
    ],
    async callback({ req, res }) {
      // a form of another site can send the host's cookie along, but not with this type
      if (hasBody && !req.is('application/json')) {
        res.status(415).json({ error: 'unsupported media type', data: { expected: 'application/json' } })
        return undefined
      }
      refuseUnknown(req.query, hasBody ? {} : others)
      const given = hasBody ? bodyOf(req, body) : only(req.query, name => name !== OTP)
      const stray = [...inPath, 'ifMatch'].find(name => Object.hasOwn(given, name))
      if (stray !== undefined) {
        return refuse({ path: stray, expected: 'nothing, as it stands elsewhere', got: 'another one' })
      }
      const ifMatch = Object.hasOwn(params, 'ifMatch') ? etagIn(req) : undefined
      try {
        const answer = await run({ ...given, ...req.params, ...(ifMatch !== undefined && { ifMatch }) })
        return answered(res, operation, answer)
      } catch (error) {
        if (isOutdated(error)) {
          res.status(412).json({ error: 'precondition failed', data: error.data })
          return undefined
        }
        throw error
      }
    },
  }
}

function bodyOf({ body = {} }: RestRequest, whole: string | undefined): Readonly<Record<string, unknown>> {
  if (!isRecord(body)) {
    return refuse({ path: 'body', expected: 'an object', got: 'something else' })
  }
  return whole === undefined ? body : { [whole]: body }
}

function answered(res: RestResponse, { status, contentType, rest }: Operation, answer: unknown): unknown {
  if (contentType !== undefined) {
    res.type(contentType).send(String(answer))
    return undefined
  }
  const [id, etag] = isRecord(answer) ? [textOf(answer['id']), textOf(answer['etag'])] : []
  if (etag !== undefined) {
    res.set('ETag', `"${etag}"`)
  }
  if (status !== undefined) {
    res.status(status)
  }
  if (status === 201 && id !== undefined) {
    res.set('Location', `/rest/v0${BASE}/${rest[1]}/${encodeURIComponent(id)}`)
  }
  return answer
}

/** `undefined`: whatever it is. */
function etagIn({ headers }: RestRequest): string | undefined {
  const text = textOf(headers['if-match'])
  return text === undefined || text.trim() === '*' ? undefined : text.replace(/^\s*(?:W\/)?"?|"?\s*$/g, '')
}

function isOutdated(error: unknown): error is { readonly data: object } {
  return isRecord(error) && isRecord(error['data']) && error['data']['property'] === 'etag'
}

/** A name in a query that means nothing is a mistake. */
export function refuseUnknown(query: Readonly<Record<string, unknown>>, fields: Fields): void {
  for (const name of Object.keys(query)) {
    if (name !== OTP && !Object.hasOwn(fields, name)) {
      const known = Object.keys(fields)
      const expected = known.length === 0 ? 'no query' : `one of ${known.join(', ')}`
      refuse({ path: name.slice(0, 100), expected, got: 'an unknown parameter of the query' })
    }
  }
}

/** The host's description of a route shows neither what is in a body nor what a parameter is about. */
function describe(about: string, params: Fields, hasBody: boolean, whole: string | undefined): string {
  const lines = Object.entries(params).map(([name, field]) => `- \`${name}\`: ${meaningOf(field)}`)
  const where = hasBody ? 'In the body, which is JSON:' : 'In the query:'
  const type = hasBody ? '\n\nDemands `Content-Type: application/json`.' : ''
  const isListed = lines.length > 0 && whole === undefined
  return `${about}${isListed ? `\n\n${where}\n\n${lines.join('\n')}` : ''}${type}`
}

function meaningOf(field: Field): string {
  const fields = 'fields' in field && field.fields !== undefined ? Object.keys(field.fields) : []
  const inside = fields.length === 0 ? '' : ` with any of ${fields.join(', ')}`
  return `${field.type}${inside}${field.optional === true ? ', optional' : ''}${field.about ? `: ${field.about}` : ''}`
}

function restFieldsOf(fields: Fields): Record<string, RestField> {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, restFieldOf(field)]))
}

function restFieldOf(field: Field): RestField {
  const { type, optional } = field
  const common = { ...(optional === true && { optional }), ...('example' in field && { example: field.example }) }
  switch (type) {
    case 'object':
      return { type, fields: restFieldsOf(field.fields ?? {}), ...common }
    case 'array':
      return { type, items: { type: 'object', fields: {} }, ...common }
    default:
      return { type, ...common }
  }
}

function only<T>(record: Readonly<Record<string, T>>, isWanted: (name: string) => boolean): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([name]) => isWanted(name)))
}
