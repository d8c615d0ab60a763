import type { Instance, PlainHook } from '../engine/engine.ts'
import type { Matchable } from '../matcher.ts'
import type { Problem } from '../problem.ts'
import { isRecord, listOf } from '../values.ts'

/** One configured rule: which events, in which format, to which endpoint. Plain data. */
export interface Hook extends Matchable, PlainHook {
  /** The host's action begins once the receiver has answered a `pre`, or after the timeout. */
  readonly waitForResponse: boolean
  /** The host's action begins once the receiver has answered a `pre`, and only if it does not refuse. */
  readonly mayRefuse: boolean
  /** If the receiver does not say, it is taken to refuse. */
  readonly refuseWhenSilent: boolean
}

export interface Settings {
  /** Those that can be used. A disabled one is among them, and paused: see {@link isActive}. */
  readonly hooks: readonly Hook[]
  /**
   * Hooks that exist and cannot be used: a value is wrong, at boot or while they are disabled. They go to the engine
   * beside `hooks`, which keeps what waits for them until they are mended or removed, and to nobody else: they are
   * paused, and their endpoint is none.
   */
  readonly others: readonly PlainHook[]
  /** How messages name this XO. */
  readonly instance?: Instance
  /** E-mail addresses that are told when an endpoint fails, is disabled, or is back. */
  readonly notify: readonly string[]
}

/** Whether events are for this hook: a disabled one gets none, and what waits for it is kept. */
export function isActive({ route }: PlainHook): boolean {
  return route.isPaused !== true
}

/** The items of a configuration's `hooks`. The form adds one as `null` until it is filled in: that is no hook. */
export function itemsOf(config: unknown): readonly unknown[] {
  return isRecord(config) ? listOf(config['hooks']) : []
}

/** Thrown by what reads a hook, and caught once for each hook, in `parseConfig`. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly problem: Problem

  constructor(problem: Problem) {
    super(`${problem.path}: expected ${problem.expected}`)
    this.problem = problem
  }
}

/**
 * @param got - free of secrets
 * @throws ProblemError
 */
export function wrong(path: string, expected: string, got: string): never {
  throw new ProblemError({ path, expected, got })
}
