import { createLogger } from '@xen-orchestra/log'

import type { Phase, Source } from '../event/event.ts'
import type { ObjectSnapshot } from '../event/object.ts'
import { messageOf } from '../problem.ts'
import { textOf } from '../values.ts'
import type { Signal } from '../xo.ts'
import { settledSoon } from './look-up.ts'

const log = createLogger('xo:xo-server-web-hooks')

/** Something does not happen, as a hook does not allow it. */
export interface Refusal {
  /** The hook's name. */
  readonly hook: string
  /** A line for whoever wanted it, free of secrets. */
  readonly reason: string
}

/**
 * Where signals go: answers with a promise if the host is to wait. It may throw or reject: whoever calls it outside of
 * a {@link listen} does so through {@link guarded}.
 */
export interface Accept {
  /**
   * @param about - the snapshot of the object it is about, if the source knows better than the signal's `params`; asked
   *   at once, and only if a hook wants it
   * @param isAsked - of a `pre`: hooks that may refuse it are asked ({@link Consent}), and are not told besides
   */
  (
    source: Source,
    phase: Phase,
    signal: Signal,
    about?: () => ObjectSnapshot | undefined,
    isAsked?: boolean
  ): Promise<unknown> | undefined
  /** Whether any hook wants events of this name: one look-up, to be asked before anything is copied or looked up. */
  wants(method: string): boolean
  /** Whether a hook wants the host to wait for the `pre` of events of this name: else nothing holds it. */
  waits(method: string): boolean
}

/** The hooks that may refuse. */
export interface Consent {
  /** Whether there is any. */
  readonly isAny: boolean
  /** Whether a hook may refuse what is announced under this name. One look-up. */
  mayRefuse(method: string): boolean
  /**
   * Asks the hooks that may refuse what the signal announces, all at once. Settles with the first refusal, or when all have
   * had their say, within the longest of their timeouts; never rejects.
   */
  ask(source: Source, signal: Signal): Promise<Refusal | undefined>
  /** Calls back when other hooks are there; returns its undo. */
  onChange(listener: () => void): () => void
}

/** What a source listens to. */
export interface Emitter<Args extends unknown[]> {
  on(event: string, listener: (...args: Args) => unknown): unknown
  removeListener(event: string, listener: (...args: Args) => unknown): unknown
}

/**
 * The events whose listeners the host waits for before it goes on with the call or the run: what they return is awaited
 * (`emitAsync` in packages/xo-server/src/xo-mixins/{api,jobs/index}.mjs). All others are emitted in passing.
 */
const AWAITED: ReadonlySet<string> = new Set(['xo:preCall', 'backup:preCall'])

/** Nothing of this plugin holds the host for longer. A hook's timeout, which is what it should wait for, ends before. */
const MAX_HOLD_MS = 70_000

/** How often a bug may be logged that comes again with each signal. */
const LOG_INTERVAL_MS = 60_000

/**
 * Listens without any harm to whoever emits. On xo-server a listener that throws fails the API call that it hears of
 * (`xo:postCall` is emitted inside the call's own `try`), ends a job, cuts a flush of objects short, or stops the tasks
 * of the whole host (`#handleOnProgressBuffer` in @xen-orchestra/mixins/Tasks.mjs).
 *
 * @param hear - may throw, reject, or never settle. What it returns keeps the host waiting only where the host waits
 *   ({@link AWAITED}), and for `MAX_HOLD_MS` at most; to all other events nothing is returned.
 * @returns its undo
 */
export function listen<Args extends unknown[]>(
  emitter: Emitter<Args>,
  event: string,
  hear: (...args: Args) => unknown
): () => void {
  const heard = guarded(event, hear)
  const listener = AWAITED.has(event)
    ? (...args: Args): Promise<void> | undefined => {
        const answer = heard(...args)
        return answer === undefined ? undefined : settledSoon(answer, undefined, MAX_HOLD_MS)
      }
    : (...args: Args): void => {
        void heard(...args)
      }
  emitter.on(event, listener)
  return () => {
    emitter.removeListener(event, listener)
  }
}

/**
 * The same without its errors, which are logged: the first one at once, those that follow within a minute with the next
 * one after it, as a number.
 *
 * @param heard - in the log, what was lost
 * @returns a function that never throws: `undefined` where `run` returned that or threw, else a promise that never
 *   rejects, whatever was returned
 */
export function guarded<Args extends unknown[]>(
  heard: string,
  run: (...args: Args) => unknown
): (...args: Args) => Promise<void> | undefined {
  let lost = 0
  let quietUntil = Number.NEGATIVE_INFINITY
  const report = (error: unknown, args: readonly unknown[]): void => {
    ++lost
    const now = performance.now()
    if (now >= quietUntil) {
      log.warn('events were lost to a bug', { heard, method: methodIn(args), error: messageOf(error), lost })
      lost = 0
      quietUntil = now + LOG_INTERVAL_MS
    }
  }
  const settled = async (answer: unknown, args: readonly unknown[]): Promise<void> => {
    try {
      await answer
    } catch (error) {
      report(error, args)
    }
  }
  return (...args) => {
    try {
      const answer = run(...args)
      return answer === undefined ? undefined : settled(answer, args)
    } catch (error) {
      report(error, args)
      return undefined
    }
  }
}

/** Of a signal among these arguments, which may be one that cannot be read: that is how it came to be lost. */
function methodIn(args: readonly unknown[]): string | undefined {
  for (const arg of args) {
    try {
      const method = textOf((arg as { method?: unknown } | null | undefined)?.method)
      if (method !== undefined) {
        return method
      }
    } catch {
      // another one may have it
    }
  }
  return undefined
}
