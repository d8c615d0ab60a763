import type { Fields } from './fields.ts'
import type { Operation } from './operation.ts'
import type { ApiImplementation } from '../xo.ts'

/**
 * The operations as methods of JSON-RPC, for administrators.
 *
 * Source: packages/xo-server/src/xo-mixins/api.mjs of Xen Orchestra
 */
export function methodsOf(
  operations: readonly Operation[],
  run: (operation: Operation, params: unknown) => Promise<unknown>
): Record<string, ApiImplementation> {
  return Object.fromEntries(
    operations.flatMap(operation => {
      const { name, about, params } = operation
      if (name === undefined) {
        return []
      }
      const method = (given: unknown): Promise<unknown> => run(operation, given)
      // the host takes these off the function; without a permission, everybody who has signed in may call it
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
      ...('isOpen' in field && { additionalProperties: true }),
    }
  }
  return schemas
}
