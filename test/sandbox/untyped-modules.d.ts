// What the sandbox uses of the host's own libraries, which ship no types.

declare module '@xen-orchestra/emit-async' {
  import type { EventEmitter } from 'node:events'

  /** Calls every listener of `event` with `args` and waits for what they return. */
  export default function emitAsync(
    this: EventEmitter,
    options: { onError(error: unknown): void },
    event: string,
    ...args: unknown[]
  ): Promise<unknown[]>
}

declare module 'json-rpc-peer' {
  import { EventEmitter } from 'node:events'

  export interface Message {
    type: 'error' | 'notification' | 'request' | 'response'
    method: string
    params?: Record<string, unknown>
  }

  export class JsonRpcError extends Error {
    constructor(message?: string, code?: number, data?: unknown)
    readonly code: number
    readonly data: unknown
    toJsonRpcError(): { message: string; code: number; data: unknown }
  }

  export class MethodNotFound extends JsonRpcError {
    constructor(method: string)
  }

  export class Peer extends EventEmitter<{ data: [string]; error: [unknown] }> {
    constructor(onMessage?: (message: Message) => unknown)
    failPendingRequests(reason: Error): void
    request(method: string, params?: object): Promise<unknown>
    write(message: string): boolean
  }
}

declare module 'xo-collection' {
  import { EventEmitter } from 'node:events'
  import type { Index } from 'xo-collection/index.js'

  /** Objects by id; tells of what has changed once a tick: `add`, `update`, `remove` with a map, then `finish`. */
  export class Collection<T extends { id: string }> extends EventEmitter {
    readonly all: Readonly<Record<string, T>>
    readonly allIndexes: Readonly<Record<string, Index<T>>>
    readonly size: number
    createIndex(name: string, index: Index<T>): void
    /** Adds or updates. */
    set(id: string, object: T): void
    /** Removes, if it is there. */
    unset(id: string): void
    clear(): void
    /** Until what it returns is called, changes are gathered. */
    bufferEvents(): () => void
  }
}

declare module 'xo-collection/index.js' {
  import type { EventEmitter } from 'node:events'

  export class Index<T> {
    constructor(property: string)
    readonly items: Readonly<Record<string, Readonly<Record<string, T>>>>
    getEventEmitterByType(type: string): EventEmitter
  }
}

// Each of these throws the error it is named after.
declare module 'xo-common/api-errors.js' {
  export function invalidCredentials(): never
  export function invalidParameters(message: string | readonly object[] | null | undefined): never
  export function noMatchingVm(run: { jobId: string; runJobId: string; scheduleId: string | undefined }): never
  export function noSuchObject(id?: string, type?: string | readonly string[]): never
  export function unauthorized(permission?: string, objectId?: string): never
  export function vmBadPowerState(state: { vm: string; expected: string; actual: string }): never
}
