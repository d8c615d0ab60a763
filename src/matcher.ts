import type { Outcome, Phase } from './event/event.ts'
import { isMatch } from './glob.ts'

/** Which methods a hook wants. */
export interface MethodPatterns {
  readonly include: readonly string[]
  /** Those that were written with a `!`: they are left out again. */
  readonly exclude: readonly string[]
}

/** What the matcher needs to know of a hook. */
export interface Matchable {
  readonly methods: MethodPatterns
  readonly phases: readonly Phase[]
  /** Of a `post`. */
  readonly status: 'any' | 'success' | 'failure'
}

/** The hooks that want a method, by outcome, each in the order of the configuration. */
export type Matches<H> = Readonly<Record<Outcome, readonly H[]>>

/**
 * Patterns separated by commas or white space: `vm.start`, `vm.*`, `*`, and `!vm.set` to leave some out again. What stands in
 * parentheses is a remark: `vm.started (event)`.
 */
export function parsePatterns(text: string): MethodPatterns {
  const words = text
    .replace(/\([^()]*\)/g, ' ')
    .split(/[\s,]+/)
    .filter(word => word !== '')
  return {
    include: words.filter(word => !word.startsWith('!')),
    exclude: words.filter(word => word.startsWith('!')).map(word => word.slice(1)),
  }
}

/** Whether one of the names of a method is wanted, and none is left out again. */
export function isWanted({ include, exclude }: MethodPatterns, names: readonly string[]): boolean {
  const isNamed = (patterns: readonly string[]) => patterns.some(pattern => names.some(name => isMatch(pattern, name)))
  return isNamed(include) && !isNamed(exclude)
}

/** Methods are few; more names than this are a caller making them up. */
const MAX_REMEMBERED = 10_000

/** No method has so long a name: of one that someone makes up, only the beginning is looked at, and not remembered. */
const MAX_NAME_LENGTH = 256

/**
 * Which hooks want an event. The answer for a method is remembered: a call costs one look-up, however many hooks there
 * are.
 */
export class Matcher<H extends Matchable> {
  readonly #hooks: readonly H[]
  readonly #namesOf: (method: string) => readonly string[]
  /** `null`: no hook wants it. */
  readonly #matches = new Map<string, Matches<H> | null>()

  /** @param namesOf - all names of a method that has aliases, the given one included */
  constructor(hooks: readonly H[], namesOf: (method: string) => readonly string[]) {
    this.#hooks = hooks
    this.#namesOf = namesOf
  }

  match(method: string): Matches<H> | undefined {
    if (method.length > MAX_NAME_LENGTH) {
      return this.#find(method.slice(0, MAX_NAME_LENGTH)) ?? undefined
    }
    const matches = this.#matches.get(method)
    return (matches === undefined ? this.#remember(method, this.#find(method)) : matches) ?? undefined
  }

  #find(method: string): Matches<H> | null {
    const names = this.#namesOf(method)
    const hooks = this.#hooks.filter(({ methods }) => isWanted(methods, names))
    const post = hooks.filter(hook => hook.phases.includes('post'))
    return hooks.length === 0
      ? null
      : {
          started: hooks.filter(hook => hook.phases.includes('pre')),
          success: post.filter(hook => hook.status !== 'failure'),
          failure: post.filter(hook => hook.status !== 'success'),
        }
  }

  #remember(method: string, matches: Matches<H> | null): Matches<H> | null {
    if (this.#matches.size >= MAX_REMEMBERED) {
      this.#matches.clear()
    }
    this.#matches.set(method, matches)
    return matches
  }
}
