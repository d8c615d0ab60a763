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

// Each of these throws the error it is named after.
declare module 'xo-common/api-errors.js' {
  export function invalidCredentials(): never
  export function invalidParameters(message: string | readonly object[] | null | undefined): never
  export function noMatchingVm(run: { jobId: string; runJobId: string; scheduleId: string | undefined }): never
  export function noSuchObject(id?: string, type?: string | readonly string[]): never
  export function unauthorized(permission?: string, objectId?: string): never
  export function vmBadPowerState(state: { vm: string; expected: string; actual: string }): never
}
