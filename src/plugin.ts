import { isDeepStrictEqual } from 'node:util'

import { createLogger } from '@xen-orchestra/log'
import { invalidParameters } from 'xo-common/api-errors.js'

import { openFaces } from './admin/faces.ts'
import { openPage } from './admin/page.ts'
import { Configuration } from './configuration.ts'
import { suggestionFor, unknownPatterns } from './config/methods.ts'
import { parseProxies } from './transport/proxy.ts'
import type { Addresses, Engine, ProxySettings } from './engine/engine.ts'
import { proxyOf, staticOptionsOf } from './host-settings.ts'
import type { StaticOptions } from './host-settings.ts'
import { Mailer } from './mail.ts'
import { Relay } from './relay.ts'
import type { TestReport } from './test-report.ts'
import { asOfNow, Reporter, SparseLog } from './report.ts'
import type { Alert } from './report.ts'
import { failureOf, sampleEvent, sampleObject } from './sample.ts'
import { listenToApiCalls } from './sources/api-calls.ts'
import { BackupRuns } from './sources/backup-runs.ts'
import { HeldCalls } from './sources/held-calls.ts'
import { listenToJobEnds } from './sources/job-ends.ts'
import { settledSoon } from './sources/look-up.ts'
import { listenToAudit, withConsequences } from './sources/notices.ts'
import { objectsOf } from './sources/objects.ts'
import { endpointSignal, listenToXo, stoppingSignal } from './sources/own-notices.ts'
import { listenToRestActions } from './sources/rest-actions.ts'
import { listenToRestChanges } from './sources/rest-changes.ts'
import { SignIns } from './sources/sign-ins.ts'
import type { Accept } from './sources/source.ts'
import { listenToStateChanges } from './sources/state-changes.ts'
import type { PluginContext, Xo } from './xo.ts'

const log = createLogger('xo:xo-server-web-hooks')

/** `load` waits this long for what is on disk; xo-server's boot waits for it. */
const READY_WITHIN_MS = 3_000

/** Of that, for what is known of the hooks. Until it is read, nothing is heard. */
const KNOWN_WITHIN_MS = 1_500

/** At an end, the event that tells of it gets this long to be under way. */
const LAST_EVENT_MS = 3_000

/** At an end, the disk gets this long for what is known of the objects of the pools. */
const LAST_STATES_MS = 1_000

/** How long the delivery side may think about how an endpoint is. */
const LOOK_MS = 2_000

export interface EngineOptions {
  readonly addresses: Addresses
  /** The journal's folder; may never settle. */
  readonly openDirectory: () => Promise<string>
}

/** What tests have another way. */
export interface PluginOptions {
  /** @default a thread, or this one if `[plugins.web-hooks]` says `thread = false` */
  readonly newEngine?: (options: EngineOptions) => Engine | Promise<Engine>
}

/** What is there while the plugin is loaded. */
interface Loaded {
  readonly relay: Relay
  /** Ends the hearing of the delivery side. */
  readonly unlisten: () => void
}

/**
 * The plugin as xo-server drives it: `configure` once before the first `load`, and again on every save, loaded or not.
 *
 * What `load` registers at the host is in `#undo`; `unload` and a `load` that fails run that list backwards.
 */
export class WebHooksPlugin {
  readonly #xo: Xo
  readonly #static: StaticOptions
  readonly #newEngine: (options: EngineOptions) => Engine | Promise<Engine>
  readonly #configuration: Configuration
  readonly #log = new SparseLog(log)
  readonly #mailer: Mailer
  #loaded: Loaded | undefined
  /** Which `load` or `unload` is the latest: a `load` that was overtaken while it waited does nothing more. */
  #turn = 0
  #ending: Promise<void> | undefined
  #proxy: ProxySettings = {}
  #undo: (() => void)[] = []
  /** What is known of the objects of the pools is on disk. It may never settle. */
  #statesSaved: Promise<void> = Promise.resolve()

  constructor({ xo, staticConfig, getDataDir }: PluginContext, { newEngine }: PluginOptions = {}) {
    this.#xo = xo
    this.#static = staticOptionsOf(staticConfig)
    this.#newEngine = newEngine ?? (this.#static.hasThread ? engineInThread : engineHere)
    this.#configuration = new Configuration({
      ...{ xo, getDataDir, log },
      onChange: settings => this.#loaded?.relay.reconfigure(settings),
    })
    this.#mailer = new Mailer({
      recipients: () => this.#configuration.settings.notify,
      transport: () => this.#xo.sendEmail?.bind(this.#xo),
      look: alert => this.#look(alert),
      instanceUrl: () => this.#configuration.settings.instance?.url,
      log: this.#log,
    })
  }

  /** See {@link Configuration.configure}. */
  configure(configuration: unknown): Promise<void> | undefined {
    return this.#configuration.configure(configuration)
  }

  async load(): Promise<void> {
    await this.unload()
    const turn = ++this.#turn
    const deadline = performance.now() + READY_WITHIN_MS
    await within(KNOWN_WITHIN_MS, this.#configuration.restore())
    const engine = await this.#newEngine({
      addresses: this.#static.addresses,
      openDirectory: () => this.#configuration.restore(),
    })
    if (turn !== this.#turn) {
      await engine.close(0)
      return
    }
    let relay: Relay
    try {
      relay = this.#start(engine)
    } catch (error) {
      await engine.close(0)
      throw error
    }
    this.#configuration.resume()
    this.#mailer.start()
    await within(deadline - performance.now(), relay.ready)
    if (this.#configuration.settings.hooks.length === 0) {
      log.info('no hooks are configured yet')
    }
  }

  /** Also when xo-server stops, which does not call it by itself. Takes little longer than the grace. */
  unload(): Promise<void> {
    ++this.#turn
    this.#runUndo()
    if (this.#loaded !== undefined) {
      const loaded = this.#loaded
      this.#loaded = undefined
      this.#ending = this.#end(loaded)
    }
    return this.#ending ?? Promise.resolve()
  }

  /** @throws `invalidParameters` if any request fails: XO's page shows its data, and only that of a test that throws. */
  async test(): Promise<void> {
    const reports = this.#loaded && (await this.#test(this.#loaded.relay))
    const failure = reports && failureOf(reports)
    if (failure !== undefined) {
      invalidParameters(failure.message, failure.reports)
    }
  }

  #test(relay: Relay, id?: string): Promise<TestReport[]> {
    const methods = this.#knownMethods()
    return relay.test((hook, phase) => {
      const signal = sampleEvent(hook, phase, methods)
      return { signal, object: sampleObject(signal.method) }
    }, id)
  }

  /** From here on events are heard and delivered. One that throws leaves nothing behind. */
  #start(engine: Engine): Relay {
    const reporter = new Reporter({
      log: this.#log,
      nameOf: id => this.#nameOf(id),
      notify: alert => this.#tellOfEndpoint(alert),
    })
    const unlisten = engine.listen(event => reporter.report(event))
    try {
      // one by one: what is registered when the next one throws is undone
      this.#undo.push(this.#watchProxy())
      const relay = new Relay(this.#configuration.settings, this.#proxy, {
        engine,
        namesOf: method => namesOf(this.#xo, method),
        objects: objectsOf(this.#xo),
      })
      const signIns = new SignIns(this.#xo, acceptOf(relay))
      const accept = withConsequences(acceptOf(relay), signal => signIns.isTold(signal))
      const calls = new HeldCalls(this.#xo, relay)
      this.#undo.push(calls.listen())
      const runs = new BackupRuns(this.#xo, accept, relay, calls)
      this.#undo.push(runs.listen())
      this.#undo.push(listenToApiCalls(this.#xo, accept, runs.takerOf, calls))
      this.#undo.push(listenToRestActions(this.#xo, accept))
      this.#undo.push(listenToRestChanges(this.#xo, accept))
      this.#undo.push(listenToAudit(this.#xo, accept))
      this.#undo.push(signIns.listen())
      this.#undo.push(listenToJobEnds(this.#xo, accept))
      this.#undo.push(listenToXo(this.#xo, accept))
      const openDirectory = (): Promise<string> => this.#configuration.restore()
      const endStates = listenToStateChanges(this.#xo, accept, relay, { ...this.#static.state, openDirectory })
      this.#undo.push(() => void (this.#statesSaved = endStates()))
      this.#undo.push(
        this.#onceRegistered(() => {
          calls.look()
          this.#warnOfUnknownMethods()
        })
      )
      this.#undo.push(this.#onStop(() => this.#stop()))
      const face = {
        ...{ questions: relay.questions, configuration: this.#configuration, heard: relay },
        namesOf: (method: string) => namesOf(this.#xo, method),
        test: (id: string) => this.#test(relay, id),
      }
      this.#undo.push(openFaces(this.#xo, face, log))
      this.#undo.push(openPage(this.#xo, log))
      this.#loaded = { relay, unlisten }
      return relay
    } catch (error) {
      this.#runUndo()
      unlisten()
      throw error
    }
  }

  /** What is sent last has to be on its way before the end begins. */
  async #stop(): Promise<void> {
    await within(LAST_EVENT_MS, this.#loaded?.relay.acceptLast(stoppingSignal()) ?? Promise.resolve())
    await this.unload()
  }

  async #end({ relay, unlisten }: Loaded): Promise<void> {
    const [health] = await Promise.all([
      relay.close(this.#static.graceMs),
      this.#configuration.flush(),
      within(LAST_STATES_MS, this.#statesSaved),
    ])
    unlisten()
    this.#mailer.stop()
    this.#log.flush()
    this.#ending = undefined
    if (health === undefined) {
      log.warn('stopped without an answer from the delivery side: what was waiting is known to the journal alone')
    } else if (health.pending > 0 || health.discarded.stopped !== undefined) {
      const { pending: kept, discarded } = health
      log.warn('stopped with deliveries that were still waiting', { kept, discarded: discarded.stopped ?? 0 })
    }
  }

  #tellOfEndpoint(alert: Alert): void {
    this.#mailer.tell(alert)
    if ('proxy' in alert) {
      return
    }
    const { change, endpoint, hooks, ...facts } = alert
    this.#loaded?.relay.acceptOfEndpoint(endpoint, endpointSignal(change, endpoint, hooks, facts))
  }

  /** What an alert says by now that was put off. */
  async #look(alert: Alert): Promise<Alert | 'later' | undefined> {
    if ('proxy' in alert) {
      return alert // the newest there is: each change of a proxy's is told
    }
    const asked = this.#loaded?.relay.questions.health()
    const health = asked && (await settledSoon(asked, undefined, LOOK_MS))
    if (health === undefined) {
      return alert
    }
    const { hooks } = this.#configuration.settings
    const names = hooks.filter(({ route }) => route.endpoint.id === alert.endpoint).map(({ name }) => name)
    return asOfNow(alert, health.endpoints.get(alert.endpoint), names)
  }

  #nameOf(id: string): string | undefined {
    const { hooks, others } = this.#configuration.settings
    return [...hooks, ...others].find(hook => hook.id === id)?.name
  }

  /** Methods of plugins are known once all are registered; a hook whose pattern matches nothing may be misspelt. */
  #warnOfUnknownMethods(): void {
    const methods = this.#knownMethods()
    for (const { name, methods: patterns } of this.#configuration.settings.hooks) {
      for (const unknown of unknownPatterns(patterns, methods)) {
        const hint = suggestionFor(unknown, methods)
        const text = `hook "${name}": its method "${unknown}" matches no API method or event, and sends nothing`
        log.warn(hint === undefined ? text : `${text}: ${hint}`)
      }
    }
  }

  #knownMethods(): string[] {
    return Object.keys(this.#xo.apiMethods)
  }

  /** The host calls back at once, except for a configuration that says nothing at all. */
  #watchProxy(): () => void {
    let isKnown = false
    const unwatch = this.#xo.config.watch(config => {
      isKnown = true
      this.#setProxy(proxyOf(config ?? {}))
    })
    if (!isKnown) {
      this.#setProxy(proxyOf({}))
    }
    return unwatch
  }

  #setProxy(proxy: ProxySettings): void {
    if (!isDeepStrictEqual(proxy, this.#proxy)) {
      this.#proxy = proxy
      parseProxies(proxy).warnings.forEach(text => log.warn(text))
      this.#loaded?.relay.reconfigure(undefined, proxy)
    }
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

/** Waits for it, whatever it comes to, but no longer than `ms`. The process lives as long: nothing else may keep it alive. */
function within(ms: number, promise: Promise<unknown>): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, Math.max(0, ms))
    const end = (): void => {
      clearTimeout(timer)
      resolve()
    }
    promise.then(end, end)
  })
}

async function engineInThread(options: EngineOptions): Promise<Engine> {
  const { ThreadEngine } = await import('./engine/thread.ts')
  return new ThreadEngine(options)
}

/** The delivery side in this thread: to find out what is wrong, and for tests. It is large, and loaded only then. */
async function engineHere(options: EngineOptions): Promise<Engine> {
  const { Courier } = await import('./courier.ts')
  return new Courier(options)
}

/** What the sources tell events to. */
function acceptOf(relay: Relay): Accept {
  const accept: Relay['accept'] = (...args) => relay.accept(...args)
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
