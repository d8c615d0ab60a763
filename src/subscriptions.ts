import { parseFilter } from './filter.ts'
import type { Filter, Searchable } from './filter.ts'
import type { PlainHook } from './handing.ts'

/** A hook whose filter was not decided in time so often is switched off until the next configuration. */
const MAX_UNDECIDED = 3

/** A hook of the settings, ready for use. */
export interface Subscription {
  readonly hook: PlainHook
  readonly filter: Filter | undefined
  /** Events since the configuration for which the filter took too long. */
  undecided: number
}

export type Verdict = 'wanted' | 'unwanted' | 'switched off'

/** The hooks of the settings, and which of their events they want. */
export class Subscriptions {
  #byId: ReadonlyMap<string, Subscription> = new Map()
  /** By hook, since the start. */
  readonly #undecided = new Map<string, number>()
  readonly #onUndecided: (hook: string, isSwitchedOff: boolean) => void

  /** @param onUndecided - a filter took too long for an event, which is sent */
  constructor(onUndecided: (hook: string, isSwitchedOff: boolean) => void) {
    this.#onUndecided = onUndecided
  }

  set(hooks: readonly PlainHook[]): void {
    this.#byId = new Map(hooks.map(hook => [hook.id, { hook, filter: filterOf(hook), undecided: 0 }]))
    for (const id of this.#undecided.keys()) {
      if (!this.#byId.has(id)) {
        this.#undecided.delete(id)
      }
    }
  }

  get(id: string): Subscription | undefined {
    return this.#byId.get(id)
  }

  /** Events whose filter could not be decided in time, by hook. */
  get undecided(): ReadonlyMap<string, number> {
    return new Map(this.#undecided)
  }

  /** @param searchable - made only if there is a filter */
  verdict(subscription: Subscription, searchable: () => Searchable): Verdict {
    const { filter, hook } = subscription
    if (filter === undefined) {
      return 'wanted'
    }
    if (subscription.undecided >= MAX_UNDECIDED) {
      return 'switched off'
    }
    const isWanted = filter(searchable())
    if (isWanted === undefined) {
      ++subscription.undecided
      this.#undecided.set(hook.id, (this.#undecided.get(hook.id) ?? 0) + 1)
      this.#onUndecided(hook.id, subscription.undecided === MAX_UNDECIDED)
    }
    return isWanted === false ? 'unwanted' : 'wanted'
  }
}

/** What a filter cannot be read from keeps nothing from being sent: better one too many than one too few. */
export function filterOf({ filter: text }: PlainHook): Filter | undefined {
  const filter = text === undefined ? undefined : parseFilter(text)
  return typeof filter === 'function' ? filter : undefined
}
