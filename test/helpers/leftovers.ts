import { createHook } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import { expect, vi } from 'vitest'
import type { Sandbox } from '../sandbox/sandbox.ts'

const DIST = new URL('../../dist/', import.meta.url).href

/** A busy machine is slow. */
const PATIENCE = { timeout: 30_000 }

/** Timers that code of the plugin has started and that have neither fired nor been cleared, with the line that did it. */
const timers = new Map<number, string>()

// also sees timers which do not keep the process alive, and which `getActiveResourcesInfo` leaves out therefore
createHook({
  init(id, type) {
    if (type === 'Timeout') {
      const line = stack().find(frame => frame.includes(DIST))
      if (line !== undefined) {
        timers.set(id, line.trim())
      }
    }
  },
  destroy(id) {
    timers.delete(id)
  },
}).enable()

function stack(): string[] {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 50
  const lines = new Error().stack?.split('\n') ?? []
  Error.stackTraceLimit = stackTraceLimit
  return lines
}

interface Leftovers {
  readonly apiMethods: readonly string[]
  readonly [other: string]: unknown
}

/** What a plugin could leave behind, of the whole process: it is compared before and after. */
export function leftovers({ host }: Sandbox): Leftovers {
  return {
    listeners: listenersOf(host),
    hooks: listenersOf(host.hooks),
    taskListeners: listenersOf(host.tasks),
    watchers: host.config.watchers,
    apiMethods: Object.keys(host.apiMethods).sort(),
    properties: Object.keys(host).sort(),
    processListeners: listenersOf(process),
    servers: active('TCPServerWrap'),
    sockets: active('TCPSocketWrap'),
    timers: [...timers.values()],
  }
}

/** The same, once what an earlier test has used is gone. */
export async function leftoversAtRest(sandbox: Sandbox): Promise<Leftovers> {
  await vi.waitFor(() => expect(leftovers(sandbox)).toMatchObject({ sockets: 0, timers: [] }), PATIENCE)
  return leftovers(sandbox)
}

/** Waits for what takes its time: a socket has to be closed from both sides. */
export async function expectNothingMoreThan(before: object, sandbox: Sandbox): Promise<void> {
  await vi.waitFor(() => expect(leftovers(sandbox)).toEqual(before), PATIENCE)
}

function active(resource: string): number {
  return process.getActiveResourcesInfo().filter(name => name === resource).length
}

function listenersOf(emitter: EventEmitter): Record<string, number> {
  return Object.fromEntries(emitter.eventNames().map(name => [String(name), emitter.listenerCount(name)]))
}
