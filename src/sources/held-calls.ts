import { createLogger } from '@xen-orchestra/log'
import { forbiddenOperation } from 'xo-common/api-errors.js'

import { messageOf } from '../problem.ts'
import type { ApiContext, ApiMethod, Signal, Xo } from '../xo.ts'
import { isBackupRun } from './backup-run.ts'
import { guarded } from './source.ts'
import type { Consent, Refusal } from './source.ts'

const log = createLogger('xo:xo-server-web-hooks')

/**
 * Namespaces whose methods nobody may refuse: an administrator signs in (`session`, `token`), is shown the settings
 * (`system`, `xo`), and mends a hook (`plugin`, `webHooks`) whatever the hooks say.
 */
const ALWAYS_ALLOWED: ReadonlySet<string> = new Set(['session', 'token', 'system', 'xo', 'plugin', 'webHooks'])

/** By which plugins bring methods of their own. */
const ADDERS = ['addApiMethod', 'addApiMethods'] as const

/** Whether calls of an API method can be refused. Runs of backups are refused as runs, however they are started. */
export function isRefusable(method: string): boolean {
  return !ALWAYS_ALLOWED.has(method.split('.', 1)[0] ?? '') && !isBackupRun(method)
}

/**
 * What keeps API calls from happening: the entry of a method in the host's registry is wrapped, as long as there is a hook
 * that may refuse its calls. All other methods are left alone.
 *
 * The host announces a call before it checks who makes it (`xo:preCall`), and calls the entry after that
 * (`#callApiMethod` in packages/xo-server/src/xo-mixins/api.mjs). So hooks are asked in between: a call that is not permitted
 * asks nobody. What belongs together is told by the context of the call, which is a new object for each.
 *
 * An alias is a getter for the entry of another name, which is the one that is wrapped.
 */
export class HeldCalls {
  readonly #xo: Xo
  readonly #consent: Consent
  /** By name of the method: what stands in the registry, and what stood there. */
  readonly #wrapped = new Map<string, { readonly wrapper: ApiMethod; readonly method: ApiMethod }>()
  readonly #wrappers = new WeakSet<ApiMethod>()
  /** Without, no call needs to be told: a look at this is what each costs then. */
  isActive = false
  /** Calls that have been announced, and not begun. */
  readonly #expected = new WeakMap<ApiContext, Signal>()

  constructor(xo: Xo, consent: Consent) {
    this.#xo = xo
    this.#consent = consent
  }

  /** @returns its undo, after which every call goes its way */
  listen(): () => void {
    const undo = this.#consent.onChange(() => this.look())
    const unwatch = ADDERS.map(name => this.#watch(name))
    this.look()
    return () => {
      undo()
      unwatch.forEach(each => each())
      ;[...this.#wrapped.keys()].forEach(name => this.#unwrap(name))
    }
  }

  /** A call is announced. @returns whether those that may refuse it will be asked, if it is permitted */
  expect(signal: Signal): boolean {
    const { method } = signal
    if (!this.#consent.mayRefuse(method) || !isRefusable(method)) {
      return false
    }
    const { apiContext, apiMethods } = this.#xo
    const entry = apiMethods[method]
    if (entry === undefined || apiContext === undefined || !this.#wrappers.has(entry)) {
      this.look() // it was put there by another way: the next call can be refused
      return false
    }
    this.#expected.set(apiContext, signal)
    return true
  }

  /** Looks as soon as a plugin has added methods, so that their first call is held. @returns its undo */
  #watch(name: (typeof ADDERS)[number]): () => void {
    const xo: Partial<Record<typeof name, (...args: unknown[]) => unknown>> = this.#xo as object
    const add = xo[name]
    if (add === undefined) {
      return () => {}
    }
    const look = guarded('methods that were added', () => this.look())
    const wrapper = (...args: unknown[]): unknown => {
      const remove = add.apply(xo, args)
      void look()
      return remove
    }
    xo[name] = wrapper
    return () => {
      // it may be wrapped by somebody else by now
      if (xo[name] === wrapper) {
        xo[name] = add
      }
    }
  }

  /** Wraps what may be refused now, and nothing else. */
  look(): void {
    this.isActive = this.#consent.isAny
    const { apiMethods } = this.#xo
    const mayRefuse = (name: string): boolean => isRefusable(name) && this.#consent.mayRefuse(name)
    for (const [name, { wrapper }] of this.#wrapped) {
      if (apiMethods[name] !== wrapper || !mayRefuse(name)) {
        this.#unwrap(name)
      }
    }
    for (const name of Object.keys(apiMethods)) {
      if (!this.#wrapped.has(name) && mayRefuse(name)) {
        this.#wrap(name)
      }
    }
  }

  #wrap(name: string): void {
    const { apiMethods } = this.#xo
    const { value: method, writable } = Object.getOwnPropertyDescriptor(apiMethods, name) ?? {}
    if (writable !== true || typeof method !== 'function') {
      return
    }
    const wrapper: ApiMethod = new Proxy(method, {
      apply: (target: (...args: unknown[]) => unknown, self: unknown, args: unknown[]) => {
        const run = (): unknown => Reflect.apply(target, self, args)
        const { apiContext } = this.#xo
        const signal = apiContext && this.#expected.get(apiContext)
        if (signal === undefined || this.#wrapped.get(name)?.wrapper !== wrapper) {
          return run()
        }
        this.#expected.delete(apiContext!)
        return this.#hold(signal, run)
      },
    })
    this.#wrapped.set(name, { wrapper, method })
    this.#wrappers.add(wrapper)
    apiMethods[name] = wrapper
  }

  /** Only what is still ours is put back: the method may be gone by now, or wrapped by somebody else. */
  #unwrap(name: string): void {
    const { apiMethods } = this.#xo
    const wrapped = this.#wrapped.get(name)
    this.#wrapped.delete(name)
    if (wrapped !== undefined && apiMethods[name] === wrapped.wrapper) {
      apiMethods[name] = wrapped.method
    }
  }

  async #hold(signal: Signal, run: () => unknown): Promise<unknown> {
    const refusal = await askedOf(this.#consent, 'api', signal)
    return refusal === undefined ? run() : refuse(signal, refusal)
  }
}

/** Never rejects: a bug refuses nothing. */
export async function askedOf(
  consent: Consent,
  source: Parameters<Consent['ask']>[0],
  signal: Signal
): Promise<Refusal | undefined> {
  try {
    return await consent.ask(source, signal)
  } catch (error) {
    log.warn('hooks that may refuse were not asked, for a bug', { method: signal.method, error: messageOf(error) })
    return undefined
  }
}

/** @throws `forbiddenOperation` of xo-common, which the caller is shown, whoever it is */
export function refuse({ method, userName }: Pick<Signal, 'method' | 'userName'>, { hook, reason }: Refusal): never {
  log.info('refused by a hook', { method, userName, hook, reason })
  forbiddenOperation(`${method} (refused by the hook "${hook}": ${reason})`, reason)
}
