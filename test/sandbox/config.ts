import { createLogger } from '@xen-orchestra/log'
import { isDeepStrictEqual } from 'node:util'

const log = createLogger('xo:mixins:config')

/** JSON as it comes from outside, before anyone has looked into it. */
export type Params = Record<string, unknown>

/** Called with the new value and the one before; what is in the file is for the listener to know. */
export type ConfigListener<Value> = (value: Value, previous: Value, path?: string) => void

const PROXY_VARIABLES = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY']
const NO_PROXY_VARIABLES = ['no_proxy', 'NO_PROXY']

/** xo-server's configuration file, as it is now (@xen-orchestra/mixins/Config.mjs). */
export class Config {
  #value: Params
  readonly #watchers = new Set<() => void>()

  constructor(value: Params) {
    this.#value = value
  }

  get(path: string): unknown {
    const value = this.getOptional(path)
    if (value === undefined) {
      throw new TypeError('missing config entry: ' + path)
    }
    return value
  }

  getOptional(path = ''): unknown {
    let value: unknown = this.#value
    for (const key of path === '' ? [] : path.split('.')) {
      value = (value as Params | null | undefined)?.[key]
    }
    return value
  }

  /** Calls back at once, and whenever the value at `path` (without a path: the whole) becomes another. Returns its undo. */
  watch<Value>(path: string, callback: ConfigListener<Value>): () => void
  watch<Value>(callback: ConfigListener<Value>): () => void
  watch<Value>(...given: [string, ConfigListener<Value>] | [ConfigListener<Value>]): () => void {
    const [path, callback] = given.length === 1 ? [undefined, given[0]] : given
    // As in the host: a value that is `{}` from the start counts as unchanged, and is not announced.
    let previous: unknown = {}
    const watcher = (): void => {
      try {
        const value = this.getOptional(path)
        if (!isDeepStrictEqual(value, previous)) {
          const before = previous
          previous = value
          callback(value as Value, before as Value, path)
        }
      } catch (error) {
        log.warn('watch', { error, path })
      }
    }
    watcher()
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** How many watch. */
  get watchers(): number {
    return this.#watchers.size
  }

  /** Stands for an edit of the file while xo-server runs: puts these top-level entries in, and tells who watches. */
  change(entries: Params): void {
    this.#value = { ...this.#value, ...entries }
    this.#watchers.forEach(watcher => watcher())
  }

  /**
   * Keeps the environment's proxy variables what `httpProxy` and `noProxy` say, for the HTTP clients which look there
   * (packages/xo-server/src/xo-mixins/http.mjs). Returns its undo, which puts the environment back.
   */
  shareProxy(): () => void {
    const before = [...PROXY_VARIABLES, ...NO_PROXY_VARIABLES].map(name => [name, process.env[name]] as const)
    const unwatch = this.watch(({ httpProxy, noProxy }: { httpProxy?: string | null; noProxy?: string }) => {
      if (httpProxy === undefined) {
        return
      }
      PROXY_VARIABLES.forEach(name => setVariable(name, httpProxy ?? undefined))
      if (noProxy !== undefined) {
        NO_PROXY_VARIABLES.forEach(name => setVariable(name, httpProxy === null ? undefined : noProxy))
      }
    })
    return () => {
      unwatch()
      before.forEach(([name, value]) => setVariable(name, value))
    }
  }
}

function setVariable(name: string, value: string | undefined): void {
  if (value === undefined) {
    delete process.env[name]
  } else {
    process.env[name] = value
  }
}
