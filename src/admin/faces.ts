import { Admin } from './admin.ts'
import type { AdminOptions } from './admin.ts'
import { deliveryOperations } from './deliveries.ts'
import { endpointOperations } from './endpoints.ts'
import { eventOperations } from './events.ts'
import { parseParams } from './fields.ts'
import { hookOperations } from './hooks.ts'
import { methodsOf } from './methods.ts'
import type { Operation } from './operation.ts'
import { BASE, routeOf } from './routes.ts'
import { Streams } from './stream.ts'
import { messageOf } from '../problem.ts'
import type { Log } from '../report.ts'
import { isRecord } from '../values.ts'
import type { Xo } from '../xo.ts'

export const operations: readonly Operation[] = [
  ...endpointOperations,
  ...deliveryOperations,
  ...hookOperations,
  ...eventOperations,
]

/**
 * Opens all operations to administrators, by JSON-RPC (`webHooks.<name>`) and REST. A host that lacks one of the two, or
 * refuses, is no reason not to deliver: it is warned of.
 *
 * @returns its undo. Never throws
 */
export function openFaces(xo: Xo, options: AdminOptions, log: Log): () => void {
  const admin = new Admin(xo, options)
  const streams = new Streams(xo, admin)
  const runLogged = (operation: Operation, params: unknown): Promise<unknown> => run(operation, params, admin, log)
  const undo = [
    attempted('JSON-RPC', log, () => xo.addApiMethods?.({ webHooks: methodsOf(operations, runLogged) })),
    attempted('REST', log, () => {
      const routes = operations.map(operation => routeOf(operation, params => runLogged(operation, params)))
      return xo.registerRestRoutes?.([streams.route, ...routes], BASE)
    }),
  ]
  return () => {
    undo.forEach(each => each?.())
    streams.close()
  }
}

function attempted(face: string, log: Log, open: () => (() => void) | undefined): (() => void) | undefined {
  try {
    return open()
  } catch (error) {
    log.warn(`the plugin cannot be operated by ${face}`, { error: messageOf(error) })
    return undefined
  }
}

/**
 * Runs an operation; what changes anything is logged with who did it, as the host does not log it.
 *
 * @param params - of unknown make
 */
async function run(operation: Operation, params: unknown, admin: Admin, log: Log): Promise<unknown> {
  const parsed = parseParams(operation.params, params)
  const result = await operation.run(admin, parsed as never)
  if (operation.rest[0] !== 'get' && operation.name !== 'tryHook') {
    const id = isRecord(result) && typeof result['id'] === 'string' ? { id: result['id'] } : {}
    log.info(`${operation.name} by ${admin.user}`, { params: { ...id, ...shownParams(operation, parsed) } })
  }
  return result
}

/** Of an object of any fields the names only: there may be secrets in it. */
function shownParams({ params }: Operation, given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      const field = params[name]
      const isOpen = field !== undefined && 'isOpen' in field
      return [name, isOpen && isRecord(value) ? Object.keys(value) : value]
    })
  )
}
