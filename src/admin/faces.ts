import { Admin } from './admin.ts'
import type { AdminOptions } from './admin.ts'
import { parseParams, refuse } from './fields.ts'
import type { Field, Fields } from './fields.ts'
import { operations } from './operations.ts'
import type { Operation } from './operations.ts'
import { messageOf } from '../problem.ts'
import type { Log } from '../report.ts'
import { isRecord } from '../values.ts'
import type { ApiImplementation, RestRoute, RestField, Xo } from '../xo.ts'

/** Of REST: `/rest/v0` comes before it. */
const BASE = '/plugins/web-hooks'

/** A parameter of the host's own: the second factor of who signs in with each request. */
const OTP = 'otp'

/**
 * Opens all operations to administrators, by JSON-RPC (`webHooks.<name>`) and REST. A host that lacks one of the two, or
 * refuses, is no reason not to deliver: it is warned of.
 *
 * @returns its undo. Never throws
 */
export function openFaces(xo: Xo, options: AdminOptions, log: Log): () => void {
  const admin = new Admin(xo, options)
  const undo = [
    attempted('JSON-RPC', log, () => xo.addApiMethods?.({ webHooks: methodsOf(admin, log) })),
    attempted('REST', log, () =>
      xo.registerRestRoutes?.(
        operations.map(operation => routeOf(operation, admin, log)),
        BASE
      )
    ),
  ]
  return () => undo.forEach(each => each?.())
}

function attempted(face: string, log: Log, open: () => (() => void) | undefined): (() => void) | undefined {
  try {
    return open()
  } catch (error) {
    log.warn(`the plugin cannot be operated by ${face}`, { error: messageOf(error) })
    return undefined
  }
}

/** @param params - of unknown make */
async function run(operation: Operation, params: unknown, admin: Admin, log: Log): Promise<unknown> {
  const parsed = parseParams(operation.params, params)
  const result = await operation.run(admin, parsed as never)
  if (operation.rest[0] !== 'get') {
    log.info(`${operation.name} by ${admin.user}`, { params: parsed })
  }
  return result
}

function methodsOf(admin: Admin, log: Log): Record<string, ApiImplementation> {
  return Object.fromEntries(
    operations.flatMap(operation => {
      const { name, about, params } = operation
      if (name === undefined) {
        return []
      }
      const method = (given: unknown): Promise<unknown> => run(operation, given, admin, log)
      // the host takes these off the function
      return [[name, Object.assign(method, { description: about, params: schemasOf(params), permission: 'admin' })]]
    })
  )
}

/** In XO's dialect of JSON schema. */
function schemasOf(fields: Fields): Record<string, object> {
  const schemas: Record<string, object> = {}
  for (const [name, field] of Object.entries(fields)) {
    const { type, optional = false, about } = field
    schemas[name] = {
      type,
      ...(optional && { optional }),
      ...(about !== undefined && { description: about }),
      ...('fields' in field && field.fields !== undefined && { properties: schemasOf(field.fields) }),
    }
  }
  return schemas
}

function routeOf(operation: Operation, admin: Admin, log: Log): RestRoute {
  const { rest, about, params, result, status, contentType } = operation
  const [method, path] = rest
  const inPath = Object.keys(params).filter(name => path.includes(`{${name}}`))
  const ofPath = only(params, name => inPath.includes(name))
  const others = only(params, name => !inPath.includes(name))
  const isPost = method === 'post'
  return {
    method,
    endpoint: `/${path}`,
    tags: ['web-hooks'],
    description: describe(about, others, isPost),
    ...(inPath.length > 0 && { params: restFieldsOf(ofPath) }),
    ...(!isPost && { query: restFieldsOf(others) }),
    // without a schema of the body: the host would look into it before the type of its content is known
    ...(isPost && { middlewares: [{ name: 'json' }] }),
    responses: [
      {
        status: status ?? (result === undefined && contentType === undefined ? 204 : 200),
        description: result === undefined && contentType === undefined ? 'Done' : 'Success',
        ...(result && { schema: restFieldsOf(result) }),
      },
    ],
    async callback({ req, res }) {
      // a form of another site can send the host's cookie along, but not with this type
      if (isPost && !req.is('application/json')) {
        res.status(415).json({ error: 'unsupported media type', data: { expected: 'application/json' } })
        return undefined
      }
      refuseUnknown(req.query, isPost ? {} : others)
      const rest = isPost ? (req.body ?? {}) : only(req.query, name => name !== OTP)
      if (!isRecord(rest)) {
        return refuse({ path: 'body', expected: 'an object', got: 'something else' })
      }
      const stray = inPath.find(name => Object.hasOwn(rest, name))
      if (stray !== undefined) {
        return refuse({ path: stray, expected: 'nothing, as it is in the path', got: 'another one' })
      }
      const answer = await run(operation, { ...rest, ...req.params }, admin, log)
      if (contentType !== undefined) {
        res.type(contentType).send(String(answer))
        return undefined
      }
      if (status !== undefined) {
        res.status(status)
      }
      return answer
    },
  }
}

/** A name in a query that means nothing is a mistake. */
function refuseUnknown(query: Readonly<Record<string, unknown>>, fields: Fields): void {
  for (const name of Object.keys(query)) {
    if (name !== OTP && !Object.hasOwn(fields, name)) {
      const known = Object.keys(fields)
      const expected = known.length === 0 ? 'no query' : `one of ${known.join(', ')}`
      refuse({ path: name.slice(0, 100), expected, got: 'an unknown parameter of the query' })
    }
  }
}

/** The host's description of a route shows neither what is in a body nor what a parameter is about. */
function describe(about: string, params: Fields, isPost: boolean): string {
  const lines = Object.entries(params).map(([name, field]) => `- \`${name}\`: ${meaningOf(field)}`)
  const where = isPost ? 'In the body, which is JSON:' : 'In the query:'
  const type = isPost ? '\n\nDemands `Content-Type: application/json`.' : ''
  return `${about}${lines.length === 0 ? '' : `\n\n${where}\n\n${lines.join('\n')}`}${type}`
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
