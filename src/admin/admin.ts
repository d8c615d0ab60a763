import { incorrectState, noSuchObject } from 'xo-common/api-errors.js'

import type { EventAnswer, HookAnswer } from './answers.ts'
import type { Hook, Settings } from '../config/hook.ts'
import type { Configuration } from '../configuration.ts'
import type { Questions, Relay } from '../relay.ts'
import { hookableEvents } from '../sources/index.ts'
import type { TestReport } from '../test-report.ts'
import type { Xo } from '../xo.ts'

/** What operations are made of, but for the host. */
export interface AdminOptions {
  readonly questions: Questions
  readonly configuration: Pick<Configuration, 'settings' | 'shown' | 'hooks' | 'change' | 'draft'>
  readonly heard: Pick<Relay, 'heardAt' | 'listenersOf' | 'wanted'>
  /** All names of an API method that has aliases, the given one included. */
  readonly namesOf: (method: string) => readonly string[]
  /** Sends a sample event of each phase of a hook. */
  readonly test: (hook: string) => Promise<readonly TestReport[]>
  /** Of a clock that never goes back, ms. @default `performance.now` */
  readonly now?: () => number
}

/** The delivery side has this long to answer. */
const ANSWER_WITHIN_MS = 10_000

/** Between two operations that give the delivery side much to do, on the same thing. */
const PAUSE_MS = 1_000

/** What an operation works with: what can be asked, within bounds. */
export class Admin {
  readonly #xo: Xo
  readonly #options: AdminOptions
  readonly #now: () => number
  /** By what they are about: when the last one ended, or `Infinity` while it runs. */
  readonly #heavy = new Map<string, number>()

  constructor(xo: Xo, options: AdminOptions) {
    this.#xo = xo
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  get settings(): Settings {
    return this.#options.configuration.settings
  }

  /** As an administrator may see them. */
  get hooks(): readonly HookAnswer[] {
    const endpoints = new Map(this.settings.hooks.map(({ id, route }) => [id, route.endpoint.id]))
    return this.#options.configuration.shown.map(hook => {
      const endpoint = endpoints.get(hook.id)
      return endpoint === undefined ? hook : { ...hook, endpoint }
    })
  }

  /** @throws `noSuchObject` of xo-common */
  hook(id: string): HookAnswer {
    return this.hooks.find(hook => hook.id === id) ?? noSuchObject(id, 'hook')
  }

  /** As they are saved, each with its id, secrets included. */
  get savedHooks(): readonly unknown[] {
    return this.#options.configuration.hooks
  }

  /** See {@link Configuration.change}. */
  change(edit: Parameters<Configuration['change']>[0]): Promise<void> {
    return this.#options.configuration.change(edit)
  }

  /** A hook as it would be, if it was enabled. @throws `invalidParameters` of xo-common, if it cannot be used */
  draft(fields: Readonly<Record<string, unknown>>): Hook {
    const { disabled: _, ...enabled } = fields
    return this.#options.configuration.draft(enabled)
  }

  /** One that is disabled may be wrong. @throws `invalidParameters` of xo-common */
  check(fields: Readonly<Record<string, unknown>>): void {
    if (fields['disabled'] !== true) {
      this.draft(fields)
    }
  }

  namesOf(method: string): readonly string[] {
    return this.#options.namesOf(method)
  }

  /** What a hook can be about, as of now: other plugins add methods. */
  get events(): EventAnswer[] {
    const { heard } = this.#options
    const { heardAt } = heard
    const infoOf = (name: string): Pick<EventAnswer, 'hooks' | 'heardAt'> => {
      const at = heardAt.get(name)
      const hooks = heard.listenersOf(name).map(({ id, name: called }) => ({ id, name: called }))
      return { hooks, ...(at !== undefined && { heardAt: at }) }
    }
    const byName = new Map<string, EventAnswer>()
    for (const { name, sentence } of hookableEvents) {
      byName.set(name, { name, kind: 'event', description: sentence, ...infoOf(name) })
    }
    for (const name of Object.keys(this.#xo.apiMethods)) {
      byName.set(name, { name, kind: 'api', ...infoOf(name) })
    }
    return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** How many events hooks have wanted since the start, by where they were heard. */
  get wanted(): ReadonlyMap<string, number> {
    return this.#options.heard.wanted
  }

  /** Who asks. */
  get user(): string {
    return this.#xo.apiContext?.user?.email ?? 'somebody'
  }

  test(hook: string): Promise<readonly TestReport[]> {
    return this.#options.test(hook)
  }

  nameOf(hook: string): string | undefined {
    const { hooks, others } = this.settings
    return [...hooks, ...others].find(({ id }) => id === hook)?.name
  }

  /** Asks the delivery side. @throws the host's `service unavailable` if it gives no answer, or none in time */
  async ask<T>(question: (questions: Questions) => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Unavailable()), ANSWER_WITHIN_MS).unref()
    })
    try {
      return await Promise.race([
        question(this.#options.questions).catch(() => {
          throw new Unavailable()
        }),
        late,
      ])
    } finally {
      clearTimeout(timer)
    }
  }

  /**
   * One at a time, and a pause after it.
   *
   * @param about - what must not be done again meanwhile, like `resume <endpoint>`
   * @throws `incorrectState` of xo-common
   */
  async heavy<T>(about: string, work: () => Promise<T>): Promise<T> {
    for (const [each, endedAt] of this.#heavy) {
      if (this.#now() - endedAt >= PAUSE_MS) {
        this.#heavy.delete(each)
      }
    }
    const endedAt = this.#heavy.get(about)
    if (endedAt !== undefined) {
      const actual = endedAt === Number.POSITIVE_INFINITY ? 'under way' : 'over for less than a second'
      incorrectState({ actual, expected: 'over for a second', object: about, property: 'operation' })
    }
    this.#heavy.set(about, Number.POSITIVE_INFINITY)
    try {
      return await work()
    } finally {
      this.#heavy.set(about, this.#now())
    }
  }
}

/**
 * `serviceUnavailable`, which the package xo-common has not been published with: the host knows errors by their code.
 *
 * Source: packages/xo-common/api-errors.js of Xen Orchestra
 */
class Unavailable extends Error {
  readonly code = 28
  readonly data = { serviceName: 'delivery of web hooks' }

  constructor() {
    super('service unavailable: the delivery side does not answer')
  }

  toJsonRpcError(): object {
    const { message, code, data } = this
    return { message, code, data }
  }
}
