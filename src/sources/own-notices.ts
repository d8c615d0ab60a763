import type { EventInfo } from '../event/event.ts'
import type { Signal, Xo } from '../xo.ts'
import { post } from './notices.ts'
import { listen } from './source.ts'
import type { Accept } from './source.ts'
import type { Fields } from './state.ts'
import { header } from './telling.ts'

/** What becomes of xo-server itself, and of the endpoints of this plugin. */

/** How an endpoint is, by what the delivery side says of it. */
const ENDPOINTS = {
  failing: 'web-hooks.endpointFailing',
  disabled: 'web-hooks.endpointDisabled',
  recovered: 'web-hooks.endpointRecovered',
} as const

export const ownEvents: readonly EventInfo[] = [
  post('xo.started', 'XO has started, and its plugins are loaded; its pools are connected a little later'),
  post('xo.stopping', 'XO stops: an upgrade, a restart of the service or of its VM. A crash says nothing'),
  post(ENDPOINTS.failing, 'The URL of a web hook keeps failing: told to hooks with another URL, to watch each other'),
  post(ENDPOINTS.disabled, 'Nothing is sent to the URL of a web hook any more: `params.reason`; as above'),
  post(ENDPOINTS.recovered, 'The URL of a web hook answers again; as above'),
]

/** @returns its undo */
export function listenToXo(xo: Xo, accept: Accept): () => void {
  return listen(xo, 'plugins:registered', () => {
    void accept('state', 'post', { ...header('xo.started'), params: {} })
  })
}

/** The last event of all. */
export function stoppingSignal(): Signal {
  return { ...header('xo.stopping'), params: {} }
}

/**
 * What has become of an endpoint, as an event.
 *
 * @param id - of the endpoint: it is the same in all events about it
 * @param hooks - the names of those that go there
 * @param facts - what else is known of it: no secrets, and no more of its URL than the origin
 */
export function endpointSignal(
  change: keyof typeof ENDPOINTS,
  id: string,
  hooks: readonly string[],
  facts: Fields
): Signal {
  return { ...header(ENDPOINTS[change]), params: { id, name: hooks.join(', '), hooks, ...facts } }
}
