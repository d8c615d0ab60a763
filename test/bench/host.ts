import { EventEmitter } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

import { Collection } from 'xo-collection'
import { Index } from 'xo-collection/index.js'

import type { PluginContext, Signal, TaskLog, Xo } from '../../src/xo.ts'

/** The smallest host that the plugin loads in. The benches know the plugin from outside only, as the host does. */
export interface BenchHost {
  /** A call that begins, as xo-server announces it. */
  pre(signal: Signal): void
  /** A call that has ended. */
  post(signal: Signal): void
  /** A call from its beginning to what its method returns, as xo-server makes it. */
  call(signal: Signal): Promise<unknown>
  /** The entry of an API method. */
  method(name: string): unknown
  readonly objects: Collection<BenchObject>
  /** A task has changed. */
  update(task: TaskLog): void
  /** The plugin's folder. */
  readonly directory: string
  /** Unloads the plugin. */
  stop(): Promise<void>
  /** Unloads the plugin and deletes its folder. */
  close(): Promise<void>
}

export interface BenchObject {
  readonly id: string
  readonly type: string
  readonly [property: string]: unknown
}

export interface BenchHook {
  readonly name?: string
  readonly method: string
  readonly url: string
  /** In seconds. */
  readonly timeout?: number
  readonly mayRefuse?: boolean
  readonly format?: string
  readonly tls?: { readonly acceptAnyCertificate: boolean }
}

/** The plugin as it is built, since what runs from the sources is not what is installed. npm runs a script in the package's folder. */
const BUILT = pathToFileURL(resolve('dist/index.js')).href

export interface HostOptions {
  /** In the plugin's place: hears `pre` and `post`. */
  readonly onCall?: (signal: Signal) => void
  /** The folder of a host that was stopped. */
  readonly directory?: string
  /** Of xo-server's configuration. */
  readonly httpProxy?: string
  /** `false`: the plugin cannot have a folder, and keeps everything in memory. */
  readonly hasFolder?: boolean
}

export async function startHost(
  hooks: readonly BenchHook[],
  { onCall, directory: earlier, httpProxy, hasFolder = true }: HostOptions = {}
): Promise<BenchHost> {
  const directory = earlier ?? (await mkdtemp(join(tmpdir(), 'xo-server-web-hooks-bench-')))
  const xo = new EventEmitter()
  const objects = new Collection<BenchObject>()
  objects.createIndex('type', new Index('type'))
  const tasks = new EventEmitter()
  const methods = Array.from({ length: 1_000 }, (_, index) => [`bench.m${index}`, () => true] as const)
  let context = {}
  Object.assign(xo, {
    apiMethods: Object.fromEntries(methods) as Record<string, () => unknown> as Xo['apiMethods'],
    config: { watch: (callback: (config: object) => void) => (callback({ httpProxy }), () => {}) },
    hooks: new EventEmitter(),
    objects: objects as unknown as Xo['objects'],
    runningJobs: {},
    tasks,
  } satisfies Partial<Xo>)
  Object.defineProperty(xo, 'apiContext', { get: () => context })
  const { apiMethods } = xo as unknown as { apiMethods: Record<string, () => unknown> }

  let unload = async (): Promise<void> => {}
  if (onCall !== undefined) {
    xo.on('xo:preCall', onCall).on('xo:postCall', onCall)
  } else {
    const { default: factory } = (await import(BUILT)) as typeof import('../../src/index.ts')
    const surroundings: PluginContext = {
      xo: xo as unknown as Xo,
      staticConfig: {},
      getDataDir: () => (hasFolder ? Promise.resolve(directory) : Promise.reject(new Error('no folder'))),
    }
    const plugin = factory(surroundings)
    await plugin.configure({
      hooks: hooks.map(({ name, method, url, timeout, mayRefuse = false, format = 'json', tls }) => ({
        name,
        method,
        url,
        type: 'pre/post',
        format,
        mayRefuse,
        ...(timeout !== undefined && { limits: { timeout } }),
        ...(tls && { tls }),
      })),
    })
    await plugin.load()
    unload = () => plugin.unload()
  }

  return {
    objects,
    pre: signal => void xo.emit('xo:preCall', signal),
    async call(signal) {
      context = {}
      const method = apiMethods[signal.method]!
      xo.emit('xo:preCall', signal)
      return method()
    },
    method: name => apiMethods[name],
    post: signal => void xo.emit('xo:postCall', signal),
    update: task => void tasks.emit('update', task),
    directory,
    stop: () => unload(),
    async close() {
      await unload()
      await rm(directory, { recursive: true })
    },
  }
}
