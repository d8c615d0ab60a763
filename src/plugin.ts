import { isDeepStrictEqual } from 'node:util'

import { createLogger } from '@xen-orchestra/log'
import { invalidParameters } from 'xo-common/api-errors.js'

import { parseConfig, unknownPattern } from './config/parse.ts'
import type { Hook, ParsedConfig, Settings } from './config/parse.ts'
import { parseAddressRules } from './delivery/address-guard.ts'
import type { AddressRules } from './delivery/address-guard.ts'
import { connectTo } from './delivery/transport.ts'
import type { ProxySettings } from './delivery/transport.ts'
import { describeProblem, messageOf } from './problem.ts'
import type { Phase } from './event/event.ts'
import { isWanted } from './matcher.ts'
import { mailOf } from './mail.ts'
import { Relay } from './relay.ts'
import type { Alert } from './relay.ts'
import { findStraySecrets } from './config/stray-secrets.ts'
import { listenToApiCalls } from './sources/api-calls.ts'
import { objectsOf } from './sources/objects.ts'
import { listenToStateChanges } from './sources/state-changes.ts'
import type { StateOptions } from './sources/state-changes.ts'
import { BackupRuns } from './sources/backup-runs.ts'
import type { Accept } from './sources/source.ts'
import { listenToRestActions } from './sources/rest-actions.ts'
import type { PluginContext, Signal, Xo, XoConfig } from './xo.ts'

const log = createLogger('xo:xo-server-web-hooks')

/** `load` waits this long for the journal; xo-server's boot waits for it. */
const READY_WITHIN_MS = 3_000

/** What requests in flight get when xo-server stops or the plugin is unloaded. */
const GRACE_MS = 5_000

/**
 * The plugin as xo-server drives it: `configure` once before the first `load`, and again on every save, loaded or not.
 *
 * What `load` does it registers in `#undo`; `unload` and a `load` that fails run that list backwards.
 */
export class WebHooksPlugin {
  readonly #xo: Xo
  readonly #getDataDir: () => Promise<string>
  readonly #addressRules: AddressRules
  readonly #stateOptions: StateOptions
  #parsed: ParsedConfig | undefined
  /** What `#parsed` was made of. */
  #configuration: unknown
  #relay: Relay | undefined
  #proxy: ProxySettings = {}
  #undo: (() => void)[] = []

  constructor({ xo, staticConfig, getDataDir }: PluginContext) {
    this.#xo = xo
    this.#getDataDir = getDataDir
    const { rules, warnings } = parseAddressRules(staticConfig['allowedAddresses'], staticConfig['deniedAddresses'])
    this.#addressRules = rules
    for (const text of warnings) {
      log.warn(text)
    }
    this.#stateOptions = stateOptionsOf(staticConfig)
  }

  /**
   * The first configuration of an instance is the saved one, or `{}`: what is wrong with it disables single hooks. Any
   * later one comes from a person or a program, and is refused as a whole.
   *
   * @throws `invalidParameters` of xo-common, with every problem; nothing has changed then
   */
  configure(configuration: unknown): void {
    const isFirst = this.#parsed === undefined
    const parsed = parseConfig(configuration, isFirst ? undefined : this.#knownMethods())
    const stray = isFirst ? [] : findStraySecrets(configuration, this.#configuration)
    const found = [...parsed.problems.filter(({ path }) => !stray.some(other => other.path === path)), ...stray]
    const problems = found.map(describeProblem)
    if (!isFirst && problems.length > 0) {
      invalidParameters(problems.join('; '), found)
    }
    for (const text of problems) {
      log.warn(`hook disabled: ${text}`)
    }
    for (const text of parsed.warnings) {
      log.warn(text)
    }
    this.#parsed = parsed
    this.#configuration = configuration
    this.#relay?.reconfigure(parsed.settings)
  }

  async load(): Promise<void> {
    await this.unload()
    const settings = this.#parsed?.settings ?? NO_SETTINGS
    const relay = new Relay(settings, {
      connect: endpoint => connectTo(endpoint, this.#proxy, this.#addressRules),
      namesOf: method => namesOf(this.#xo, method),
      objects: objectsOf(this.#xo),
      log,
      notify: alert => this.#sendMail(alert),
      openDirectory: this.#getDataDir,
    })
    try {
      // one by one: what is registered when the next one throws is undone
      this.#undo.push(this.#watchProxy(relay))
      const accept = guarded(relay)
      const runs = new BackupRuns(this.#xo, accept)
      this.#undo.push(runs.listen())
      this.#undo.push(listenToApiCalls(this.#xo, accept, runs.takerOf))
      this.#undo.push(listenToRestActions(this.#xo, accept))
      this.#undo.push(listenToStateChanges(this.#xo, accept, relay, this.#stateOptions))
      this.#undo.push(this.#onceRegistered(() => this.#warnOfUnknownMethods()))
      this.#undo.push(this.#onStop(() => this.unload()))
    } catch (error) {
      this.#runUndo()
      await relay.close(0)
      throw error
    }
    this.#relay = relay
    await within(READY_WITHIN_MS, relay.ready)
    if (settings.hooks.length === 0) {
      log.info('no hooks are configured yet')
    }
  }

  /** Also when xo-server stops, which does not call it by itself. Takes `GRACE_MS` at most. */
  async unload(): Promise<void> {
    this.#runUndo()
    const relay = this.#relay
    this.#relay = undefined
    if (relay !== undefined) {
      await relay.close(GRACE_MS)
      const { discarded, pending } = relay.stats()
      if (discarded.stopped !== undefined || pending > 0) {
        log.warn('stopped with deliveries that were still waiting', {
          kept: pending,
          discarded: discarded.stopped ?? 0,
        })
      }
    }
  }

  /** @throws `invalidParameters` if any request fails: XO's page shows its data, and only that of a test that throws. */
  async test(): Promise<void> {
    const methods = this.#knownMethods()
    const reports = (await this.#relay?.test((hook, phase) => sampleEvent(hook, phase, methods))) ?? []
    const failed = reports.filter(({ ok }) => !ok)
    if (failed.length > 0) {
      invalidParameters(`${failed.length} of ${reports.length} test requests failed`, reports)
    }
  }

  #sendMail(alert: Alert): void {
    const to = this.#parsed?.settings.notify ?? []
    // looked up each time: transport-email may be loaded and unloaded
    const { sendEmail } = this.#xo
    if (to.length === 0 || sendEmail === undefined) {
      return
    }
    void Promise.resolve()
      .then(() => sendEmail({ to, ...mailOf(alert) }))
      .catch((error: unknown) =>
        log.warn('the e-mail about an endpoint could not be sent', { error: messageOf(error) })
      )
  }

  /** Methods of plugins are known once all are registered; a hook whose pattern matches nothing may be misspelt. */
  #warnOfUnknownMethods(): void {
    const methods = this.#knownMethods()
    for (const { name, methods: patterns } of this.#parsed?.settings.hooks ?? []) {
      const unknown = unknownPattern(patterns, methods)
      if (unknown !== undefined) {
        log.warn(`hook "${name}": its method "${unknown}" matches no API method or event, and sends nothing`)
      }
    }
  }

  #knownMethods(): string[] {
    return Object.keys(this.#xo.apiMethods)
  }

  #watchProxy(relay: Relay): () => void {
    return this.#xo.config.watch(config => {
      const proxy = proxyOf(config)
      if (!isDeepStrictEqual(proxy, this.#proxy)) {
        this.#proxy = proxy
        relay.reconnect()
      }
    })
  }

  #onceRegistered(listener: () => void): () => void {
    this.#xo.on('plugins:registered', listener)
    return () => this.#xo.removeListener('plugins:registered', listener)
  }

  #onStop(listener: () => unknown): () => void {
    this.#xo.hooks.on('stop', listener)
    return () => this.#xo.hooks.removeListener('stop', listener)
  }

  #runUndo(): void {
    for (const undo of this.#undo.splice(0).reverse()) {
      undo()
    }
  }
}

/** From `[plugins.web-hooks]`. */
function stateOptionsOf({ srFullPercent }: PluginContext['staticConfig']): StateOptions {
  if (srFullPercent === undefined) {
    return {}
  }
  if (typeof srFullPercent === 'number' && srFullPercent > 0 && srFullPercent <= 100) {
    return { fullRatio: srFullPercent / 100 }
  }
  log.warn('srFullPercent: expected a number above 0 and up to 100: an SR is full at 90 %')
  return {}
}

const NO_SETTINGS: Settings = { hooks: [], notify: [] }

/** Waits for `done`, but no longer than `ms`. */
function within(ms: number, done: Promise<void>): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, ms)
    void done.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/** A listener that throws would fail the API call that it hears of. */
function guarded(relay: Relay): Accept {
  const accept: Relay['accept'] = (source, phase, signal, about) => {
    try {
      return relay.accept(source, phase, signal, about)
    } catch (error) {
      log.warn('an event was lost to a bug', { method: signal.method, error: messageOf(error) })
      return undefined
    }
  }
  return Object.assign(accept, {
    wants: (method: string) => relay.wants(method),
    waits: (method: string) => relay.waits(method),
  })
}

/** An alias is a second name for the very same method. */
function namesOf({ apiMethods }: Xo, name: string): string[] {
  const method = apiMethods[name]
  return method === undefined ? [name] : Object.keys(apiMethods).filter(other => apiMethods[other] === method)
}

/** As the host: what its configuration says, else the environment (@xen-orchestra … xo-mixins/http.mjs). */
function proxyOf(config: XoConfig): ProxySettings {
  const { env } = process
  const httpProxy =
    config.httpProxy ?? env['https_proxy'] ?? env['HTTPS_PROXY'] ?? env['http_proxy'] ?? env['HTTP_PROXY']
  if (httpProxy === undefined || httpProxy === '') {
    return {}
  }
  if (!URL.canParse(httpProxy)) {
    log.warn("xo-server's httpProxy is not a URL: requests are sent without a proxy")
    return {}
  }
  return { httpProxy, noProxy: config.noProxy ?? env['no_proxy'] ?? env['NO_PROXY'] }
}

/** What the Test button sends: an event that a hook would get, marked as a test. */
function sampleEvent({ methods, status }: Hook, phase: Phase, known: readonly string[]): Signal {
  const method = methods.include.find(isExact) ?? known.find(name => isWanted(methods, [name])) ?? 'vm.start'
  return {
    callId: 'test',
    userId: 'b4tm4n',
    userName: 'bruce.wayne@waynecorp.com',
    userIp: '127.0.0.1',
    method,
    params: { id: '67aac198-0174-11ea-8d71-362b9e155667' },
    timestamp: Date.now(),
    ...(phase === 'post' && { duration: 0 }),
    ...(phase === 'post' && (status === 'failure' ? { error: { message: 'a sample error' } } : { result: true })),
    test: true,
  }
}

function isExact(pattern: string): boolean {
  return !pattern.includes('*')
}
