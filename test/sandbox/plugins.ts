import { createLogger } from '@xen-orchestra/log'
import { Ajv } from 'ajv'
import { mkdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { invalidParameters, noSuchObject } from 'xo-common/api-errors.js'
import type { Params } from './config.ts'
import { obfuscate, type Host } from './host.ts'

const log = createLogger('xo:plugin')

/** What a secret reads like in the answer of `plugin.get` (@vates/obfuscate/index.js). */
export const OBFUSCATED_VALUE = 'obfuscated-q3oi6d9X8uenGvdLnHk2'

/** What the host calls of a plugin. */
export interface PluginInstance {
  configure?(configuration: unknown, state: { loaded: boolean | undefined }): unknown
  load?(): unknown
  unload?(): unknown
  test?(data: unknown): unknown
}

/** What the host gives to a plugin's factory, and to its schemas where they are functions. */
export interface PluginOptions {
  staticConfig: unknown
  xo: Host
  getDataDir(): Promise<string>
}

/** What the host keeps in its database about a plugin. */
export interface PluginMetadata {
  autoload: boolean
  configuration?: unknown
}

interface Plugin {
  configurationPresets: unknown
  configurationSchema: object | undefined
  configured: boolean
  description: string | undefined
  id: string
  instance: PluginInstance
  keywords: readonly string[] | undefined
  /** `undefined` until it has been loaded once. */
  loaded?: boolean
  loading?: boolean
  testSchema: object | undefined
  version: string
}

// A test runner transforms what its files import. A module that is no file imports as xo-server does: untransformed.
const NATIVE: string = 'data:text/javascript,export const importModule = url => import(url)'
const { importModule } = (await import(NATIVE)) as {
  importModule(url: string): Promise<{ default: unknown }>
}
const requireResolve = createRequire(import.meta.url).resolve

/** xo-server's registry of plugins (packages/xo-server/src/xo-mixins/plugins.mjs). */
export class Plugins {
  /** What Ajv had to say about the schemas in its strict mode; xo-server prints it at start. */
  readonly schemaWarnings: string[] = []
  /** The database does not take the next configuration. */
  failsNext = false

  readonly #ajv: Ajv
  readonly #host: Host
  // JSON, as in Redis: what is saved is not the object which the plugin was given.
  readonly #metadata = new Map<string, string>()
  readonly #plugins = new Map<string, Plugin>()

  constructor(host: Host) {
    this.#host = host
    host.configurePlugin = (id, configuration) => this.configure(id, configuration)
    const warn = (...parts: unknown[]): void => {
      this.schemaWarnings.push(parts.join(' '))
    }
    this.#ajv = new Ajv({
      logger: { error: warn, log: warn, warn },
      strict: 'log',
      strictRequired: false,
      useDefaults: true,
    })
    this.#ajv.addVocabulary(['$multiline', '$type', 'enumNames'])
  }

  /**
   * Imports the plugin in `directory` and registers it, as packages/xo-server/src/index.mjs does at start; `saved` is
   * what an earlier run left in the database. A failure is logged, and returned; the host goes on without the plugin.
   */
  async import(directory: string, id: string, saved?: PluginMetadata): Promise<unknown> {
    if (saved !== undefined) {
      this.#metadata.set(id, JSON.stringify(saved))
    }
    try {
      await this.#import(directory, id)
    } catch (error) {
      log.info(`failed register ${id}`)
      log.info(error as Error)
      return error
    }
    return undefined
  }

  /** The answer of `plugin.get` for one plugin; its schema is the very object the plugin gave. */
  get(id: string): Params {
    const { configured: _, instance, loading: __, ...shown } = this.#plugin(id)
    const { autoload, configuration } = this.#readMetadata(id) ?? {}
    return {
      ...shown,
      autoload,
      configuration: obfuscate(configuration, OBFUSCATED_VALUE),
      name: id,
      testable: typeof instance.test === 'function',
      unloadable: typeof instance.unload === 'function',
    }
  }

  /** What is in the database, with its secrets: the host shows it to nobody. */
  saved(id: string): unknown {
    return this.#readMetadata(id)?.configuration
  }

  getAll(): Params[] {
    return [...this.#plugins.keys()].map(id => this.get(id))
  }

  async configure(id: string, configuration: unknown): Promise<void> {
    const plugin = this.#plugin(id)
    const merged = mergeObfuscated(configuration, this.#readMetadata(id)?.configuration)
    await this.#configure(plugin, merged)
    // the database takes a while
    await new Promise(setImmediate)
    if (this.failsNext) {
      this.failsNext = false
      throw new Error('the database is away')
    }
    this.#writeMetadata(id, { configuration: merged })
  }

  setAutoload(id: string, autoload: boolean): void {
    this.#writeMetadata(id, { autoload })
  }

  async load(id: string): Promise<void> {
    const plugin = this.#plugin(id)
    if (plugin.loaded) {
      invalidParameters('plugin already loaded')
    }
    if (!plugin.configured) {
      invalidParameters('plugin not configured')
    }
    if (plugin.loading) {
      invalidParameters('plugin is loading')
    }
    plugin.loading = true
    try {
      await requireMethod(plugin.instance, 'load').call(plugin.instance)
      plugin.loaded = true
    } finally {
      plugin.loading = false
    }
  }

  async unload(id: string): Promise<void> {
    const plugin = this.#plugin(id)
    if (!plugin.loaded) {
      invalidParameters('plugin already unloaded')
    }
    if (plugin.instance.unload === undefined) {
      invalidParameters('plugin cannot be unloaded')
    }
    await plugin.instance.unload()
    plugin.loaded = false
  }

  /** Forgets the configuration that was saved; the plugin keeps the one it was given, and can be loaded with it. */
  async purge(id: string): Promise<void> {
    await this.unload(id).catch(() => {})
    this.#writeMetadata(id, { configuration: undefined })
  }

  async test(id: string, data?: unknown): Promise<void> {
    const { instance, loaded, testSchema } = this.#plugin(id)
    if (instance.test === undefined) {
      invalidParameters('plugin not testable')
    }
    if (!loaded) {
      invalidParameters('plugin not loaded')
    }
    if (testSchema !== undefined) {
      if (data === undefined || data === null) {
        invalidParameters([{ field: 'data', message: 'is the wrong type' }])
      }
      this.#validate(testSchema, data)
    }
    // What `test()` returns is dropped.
    await instance.test(data)
  }

  async #import(directory: string, id: string): Promise<void> {
    const exported = (await importModule(pathToFileURL(requireResolve(directory)).href)).default
    const { description, keywords, version } = await readPackage(directory)
    // What CommonJS and Babel make of `export default` too; the names an ES module exports besides are not looked at.
    const {
      default: factory = exported,
      configurationPresets,
      configurationSchema,
      testSchema,
    } = exported as Partial<Record<'default' | 'configurationPresets' | 'configurationSchema' | 'testSchema', unknown>>

    const options: PluginOptions = {
      staticConfig: (this.#host.config.get('plugins') as Params)[id] ?? {},
      xo: this.#host,
      getDataDir: async () => {
        const path = join(String(this.#host.config.get('datadir')), id)
        await mkdir(path, { recursive: true })
        return path
      },
    }
    const [instance, schema, presets, schemaOfTest] = await Promise.all(
      [factory, configurationSchema, configurationPresets, testSchema].map(async part =>
        typeof part === 'function' ? part(options) : part
      )
    )
    await this.#register({
      configurationPresets: presets,
      configurationSchema: schema as object | undefined,
      configured: schema === undefined,
      description,
      id,
      instance: instance as PluginInstance,
      keywords,
      testSchema: schemaOfTest as object | undefined,
      version: version ?? 'unknown',
    })
  }

  async #register(plugin: Plugin): Promise<void> {
    const { id } = plugin
    this.#plugins.set(id, plugin)
    if (this.#readMetadata(id) === undefined) {
      this.#metadata.set(id, JSON.stringify({ autoload: true }))
    }
    const { autoload, configuration } = this.#readMetadata(id) ?? { autoload: true }
    if (!plugin.configured) {
      try {
        await this.#configure(plugin, configuration === undefined ? {} : configuration)
      } catch (error) {
        // Without a saved configuration, an empty one is only a try.
        if (configuration === undefined) {
          return
        }
        throw error
      }
    }
    if (autoload) {
      await this.load(id)
    }
  }

  async #configure(plugin: Plugin, configuration: unknown): Promise<void> {
    if (plugin.configurationSchema === undefined) {
      invalidParameters('plugin not configurable')
    }
    // Defaults go into the plugin's copy, and are not saved.
    const copy = structuredClone(configuration)
    this.#validate(plugin.configurationSchema, copy)
    await requireMethod(plugin.instance, 'configure').call(plugin.instance, copy, { loaded: plugin.loaded })
    plugin.configured = true
  }

  #plugin(id: string): Plugin {
    return this.#plugins.get(id) ?? noSuchObject(id, 'plugin')
  }

  #readMetadata(id: string): PluginMetadata | undefined {
    const json = this.#metadata.get(id)
    return json === undefined ? undefined : (JSON.parse(json) as PluginMetadata)
  }

  #validate(schema: object, data: unknown): void {
    const validate = this.#ajv.compile(schema)
    if (!validate(data)) {
      invalidParameters(validate.errors)
    }
  }

  #writeMetadata(id: string, changes: Partial<PluginMetadata>): void {
    this.#metadata.set(id, JSON.stringify({ ...this.#readMetadata(id), ...changes }))
  }
}

/** A plugin's id: the name of its folder, or else of its package, without what says that it is a plugin. */
export async function findPluginId(directory: string): Promise<string> {
  const folder = basename(directory)
  const name = folder.startsWith('xo-server-') ? folder : ((await readPackage(directory)).name ?? folder)
  return name.replace(/^(?:@xen-orchestra\/server-|xo-server-)/, '')
}

async function readPackage(
  directory: string
): Promise<{ description?: string; keywords?: string[]; name?: string; version?: string }> {
  try {
    return JSON.parse(await readFile(join(directory, 'package.json'), 'utf8'))
  } catch (error) {
    log.warn('reading package.json', { error })
    return {}
  }
}

function requireMethod<Name extends 'configure' | 'load'>(
  instance: PluginInstance,
  name: Name
): NonNullable<PluginInstance[Name]> {
  const method = instance[name]
  if (method === undefined) {
    throw new TypeError(`plugin.instance.${name} is not a function`)
  }
  return method
}

/** Puts the saved secrets back where a form returns their placeholder: by place, so also by index within a list. */
export function mergeObfuscated(value: unknown, saved: unknown): unknown {
  if (value === OBFUSCATED_VALUE) {
    return saved
  }
  if (Array.isArray(value) && Array.isArray(saved)) {
    return value.map((item, index) => mergeObfuscated(item, saved[index]))
  }
  if (isRecord(value) && isRecord(saved)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mergeObfuscated(item, saved[key])]))
  }
  return value
}

function isRecord(value: unknown): value is Params {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
