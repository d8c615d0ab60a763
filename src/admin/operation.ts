import type { Admin } from './admin.ts'
import { refuse, shownValue } from './fields.ts'
import type { Fields, ParamsOf } from './fields.ts'

/** Something that an administrator can ask for or do. All faces are made from these. */
export interface Operation {
  /** Of the method of JSON-RPC, below `webHooks.`; absent: there is only REST. */
  readonly name?: string
  /** Below `/rest/v0/plugins/web-hooks/`; what is in braces is a parameter. */
  readonly rest: readonly [verb: 'get' | 'post' | 'patch' | 'delete', path: string]
  readonly about: string
  readonly params: Fields
  /** Absent: nothing comes of it. */
  readonly result?: Fields
  /** Of the answer of REST. @default 200, or 204 without a result */
  readonly status?: 201 | 202
  /** The parameter that is the whole body of the request of REST. */
  readonly body?: string
  /** The result is a text of this type. */
  readonly contentType?: string
  /** @param params - as `params` says */
  readonly run: (admin: Admin, params: never) => Promise<unknown>
}

export const ID = { type: 'string', about: 'its id', example: '8d6a3a61-94d5-4a3c-a4ff-3dc1ed4ae1bd-0' } as const
export const ENDPOINT_ID = { type: 'string', about: 'its id', example: 'Qm0vQ2hKx1n8b3Ta' } as const
export const HOOK_ID = { type: 'string', about: 'its id', example: 'cJk2n0s6mVQ1xqfa' } as const
export const ITEMS = { items: { type: 'array' } } as const satisfies Fields

/** Gives `run` the type of its parameters. */
export function operation<P extends Fields>(
  definition: Omit<Operation, 'params' | 'run'> & {
    readonly params: P
    readonly run: (admin: Admin, params: ParamsOf<P>) => Promise<unknown>
  }
): Operation {
  return definition
}

/** A number of items that is asked for. @throws `invalidParameters` of xo-common */
export function limitOf(limit: number | undefined, otherwise: number, max: number): number {
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= max)) {
    refuse({ path: 'limit', expected: `a whole number from 1 to ${max}`, got: shownValue(limit) })
  }
  return limit ?? otherwise
}
