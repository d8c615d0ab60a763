import { isDeepStrictEqual } from 'node:util'

import { messageOf } from './problem.ts'
import type { Log } from './report.ts'
import type { ApiContext, Xo } from './xo.ts'

/** The plugin's id at its host: the name of its folder without what says that it is a plugin. */
export const PLUGIN_ID = 'web-hooks'

/** By then the host has saved what it was given, whoever has asked for that. */
const SAVED_WITHIN_MS = 5_000

/** Until the next try, if the host has not saved the correction; the last one is repeated. */
const PAUSES_MS = [60_000, 10 * 60_000, 60 * 60_000]

/** The host is asked this often, then a person is. */
const MAX_TRIES = 24

/** A configuration that is to be saved in the place of the one that the host saves. */
interface Order {
  readonly next: unknown
  /** Once the host has saved `next`. */
  readonly onSaved: () => void
  readonly tries: number
}

/** An order that the host has been given. */
interface Write {
  readonly order: Order
  /** Its configuration has come to the plugin, which has taken it: the host saves it now. */
  isTaken: boolean
  /** A later configuration has come: this one must not be saved any more. */
  isOutdated: boolean
}

/**
 * Has the host save what is right, where it saves what is not.
 *
 * A plugin is given a configuration, and the host saves what it has given, whatever the plugin has made of it. Example: of
 * two hooks the first is removed in the form. The host puts secrets back by their place, so the second one arrives with the
 * secret of the first; the plugin mends that and goes on, and the host saves the mistake. So the plugin saves once more,
 * through the host as everybody does, and after the host.
 *
 * - When the host has saved is said nowhere. If it was asked by an API call, it has by the end of that call; else after a
 *   while. Of two that it saves at once, either may come last: the correction comes after both.
 * - What is saved so comes back through `configure()`, as all that is saved: see {@link arrival}.
 * - A later save wins: {@link drop} or another {@link order}. If an older one may still come to the database, the later one is
 *   saved once more after it.
 *
 * Source: `configurePlugin` in packages/xo-server/src/xo-mixins/plugins.mjs, which serialises nothing.
 */
export class Correction {
  readonly #xo: Xo
  readonly #log: Log
  #order: Order | undefined
  #write: Write | undefined
  #writing: Promise<void> | undefined
  /** API calls in which something has come that the order corrects, and which are not over; `undefined`: no API call. */
  readonly #saving = new Set<ApiContext | undefined>()
  /** Ends the waiting for the moment when the order may be carried out. */
  #stopWaiting = (): void => {}

  constructor(xo: Xo, log: Log) {
    this.#xo = xo
    this.#log = log
  }

  /**
   * What a configuration is that has come to the plugin: `own`, which has been seen to when it was ordered; `outdated`, also
   * ordered here, which must be refused as a later one has come; or `undefined`: somebody else's.
   */
  arrival(configuration: unknown): 'own' | 'outdated' | undefined {
    const write = this.#write
    if (write === undefined || !isDeepStrictEqual(configuration, write.order.next)) {
      return undefined
    }
    if (write.isOutdated) {
      return 'outdated'
    }
    write.isTaken = true
    return 'own'
  }

  /** The configuration that has just come will be saved as it came, and `next` is to be saved in its place. */
  order(next: unknown, onSaved: () => void): void {
    this.#outdate()
    this.#order = { next, onSaved, tries: 0 }
    this.#waitForHost()
  }

  /** The configuration that has just come is right: nothing older is to be saved. */
  drop(configuration: unknown): void {
    const isOlderOnItsWay = this.#write?.isTaken === true || this.#order !== undefined
    this.#outdate()
    this.#order = isOlderOnItsWay ? { next: configuration, onSaved: () => {}, tries: 0 } : undefined
    if (isOlderOnItsWay) {
      this.#waitForHost()
    }
  }

  /** Before an end that may be the last one: what is ordered is saved now. Leaves no timer. */
  async flush(): Promise<void> {
    await this.#writing
    this.#stopWaiting()
    if (this.#order !== undefined) {
      await this.#carryOut()
      this.#stopWaiting()
    }
  }

  /** What could not be saved before the last end. */
  resume(): void {
    if (this.#order !== undefined && this.#writing === undefined) {
      this.#waitForHost()
    }
  }

  #outdate(): void {
    this.#stopWaiting()
    if (this.#write !== undefined) {
      this.#write.isOutdated = true
    }
  }

  /** Until the API calls are over in which it has come, and what it takes the place of; if they are API calls. */
  #waitForHost(): void {
    this.#saving.add(this.#xo.apiContext)
    const onPostCall = (): void => {
      const { apiContext: ended } = this.#xo
      if (ended !== undefined && this.#saving.delete(ended) && this.#saving.size === 0) {
        void this.#carryOut()
      }
    }
    this.#xo.on('xo:postCall', onPostCall)
    const timer = setTimeout(() => void this.#carryOut(), SAVED_WITHIN_MS).unref()
    this.#stopWaiting = () => {
      clearTimeout(timer)
      this.#xo.removeListener('xo:postCall', onPostCall)
      this.#stopWaiting = () => {}
    }
  }

  /** One at a time: what is ordered while the host saves is carried out after that. Never rejects. */
  async #carryOut(): Promise<void> {
    this.#stopWaiting()
    this.#saving.clear()
    while (this.#writing !== undefined) {
      await this.#writing
    }
    const order = this.#order
    if (order === undefined) {
      return
    }
    this.#order = undefined
    this.#writing = this.#save(order)
    await this.#writing
  }

  async #save(order: Order): Promise<void> {
    const write: Write = { order, isTaken: false, isOutdated: false }
    this.#write = write
    let failure: unknown
    try {
      // looked up each time, and called as a method: it is the host's own
      const { configurePlugin } = this.#xo
      if (configurePlugin === undefined) {
        throw new Error('this host saves nothing for plugins')
      }
      await configurePlugin.call(this.#xo, PLUGIN_ID, order.next)
    } catch (error) {
      failure = error ?? new Error('unknown error')
    }
    this.#write = undefined
    this.#writing = undefined
    if (write.isOutdated) {
      return
    }
    if (failure === undefined) {
      order.onSaved()
    } else {
      this.#retry(order, failure)
    }
  }

  #retry(order: Order, failure: unknown): void {
    const tries = order.tries + 1
    const canRetry = this.#xo.configurePlugin !== undefined && tries < MAX_TRIES
    this.#log.warn(
      `xo-server has saved a configuration with secrets that are not where they belong: they are in use as they should be, but ${canRetry ? 'are not saved yet' : 'are lost when xo-server starts again. Save the configuration once more'}`,
      { error: messageOf(failure) }
    )
    if (canRetry) {
      this.#order = { ...order, tries }
      const pauseMs = PAUSES_MS[Math.min(order.tries, PAUSES_MS.length - 1)]
      const timer = setTimeout(() => void this.#carryOut(), pauseMs).unref()
      this.#stopWaiting = () => clearTimeout(timer)
    }
  }
}
