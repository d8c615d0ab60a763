import type { Route } from './delivery.ts'

/** Which endpoint each owner's deliveries go to, as of the last configuration. */
export class Routes {
  #routes: ReadonlyMap<string, Route> = new Map()
  #owners = new Map<string, string[]>()

  /** @returns owners that were paused, and are not any more */
  set(routes: ReadonlyMap<string, Route>): ReadonlySet<string> {
    const before = this.#routes
    this.#routes = routes
    this.#owners = new Map()
    for (const [owner, { endpoint }] of routes) {
      this.#owners.set(endpoint.id, [...(this.#owners.get(endpoint.id) ?? []), owner])
    }
    const enabled = [...routes].filter(
      ([owner, { isPaused }]) => before.get(owner)?.isPaused === true && isPaused !== true
    )
    return new Set(enabled.map(([owner]) => owner))
  }

  all(): Iterable<Route> {
    return this.#routes.values()
  }

  /** `undefined`: the hook is gone. */
  of(owner: string): Route | undefined {
    return this.#routes.get(owner)
  }

  /** Whose deliveries go to an endpoint; empty: it is not in use. */
  ownersOf(endpoint: string): readonly string[] {
    return this.#owners.get(endpoint) ?? []
  }
}
