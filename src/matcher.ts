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

/** What is known of a name. Written at each event, so that it costs no look-up of its own. */
interface Known<H> {
  /** `undefined`: no hook wants it. */
  readonly matches: Matches<H> | undefined
  heardAt: number
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
  readonly #known = new Map<string, Known<H>>()

  /** @param namesOf - all names of a method that has aliases, the given one included */
  constructor(hooks: readonly H[], namesOf: (method: string) => readonly string[]) {
    this.#hooks = hooks
    this.#namesOf = namesOf
  }

  /** @param heardAt - an event of this name has come now, epoch ms */
  match(method: string, heardAt?: number): Matches<H> | undefined {
    if (method.length > MAX_NAME_LENGTH) {
      return this.#find(method.slice(0, MAX_NAME_LENGTH))
    }
    const known = this.#known.get(method) ?? this.#remember(method)
    if (heardAt !== undefined) {
      known.heardAt = heardAt
    }
    return known.matches
  }

  /** By name, when an event came last, epoch ms. */
  *heard(): Iterable<readonly [method: string, at: number]> {
    for (const [method, { heardAt }] of this.#known) {
      if (heardAt > 0) {
        yield [method, heardAt]
      }
    }
  }

  #find(method: string): Matches<H> | undefined {
    const names = this.#namesOf(method)
    const hooks = this.#hooks.filter(({ methods }) => isWanted(methods, names))
    const post = hooks.filter(hook => hook.phases.includes('post'))
    return hooks.length === 0
      ? undefined
      : {
          started: hooks.filter(hook => hook.phases.includes('pre')),
          success: post.filter(hook => hook.status !== 'failure'),
          failure: post.filter(hook => hook.status !== 'success'),
        }
  }

  #remember(method: string): Known<H> {
    if (this.#known.size >= MAX_REMEMBERED) {
      this.#known.clear()
    }
    const known = { matches: this.#find(method), heardAt: 0 }
    this.#known.set(method, known)
    return known
  }
}
