import { hashOf, placeOf } from './place.ts'
import type { Place } from './place.ts'
import { createStore } from './store.ts'

/** Where the page is: what its address says. */
export const place = createStore<Place>(placeOf(location.hash))

window.addEventListener('hashchange', () => place.set(placeOf(location.hash)))

/** Goes there; what was before is one step back. */
export function go(to: Parameters<typeof hashOf>[0]): void {
  location.hash = hashOf(to)
}

/** As {@link go}, in place of where one is: for what is changed while typing. */
export function replace(to: Parameters<typeof hashOf>[0]): void {
  history.replaceState(history.state, '', hashOf(to))
  place.set(placeOf(location.hash))
}
