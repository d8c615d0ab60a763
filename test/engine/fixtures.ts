import type { Event } from '../../src/event/event.ts'
import type { Spawn } from '../../src/engine/watched-worker.ts'
import type { Handing, PlainHook, PlainSettings } from '../../src/engine/engine.ts'
import type { Route } from '../../src/delivery/delivery.ts'

type HookPart = Partial<Omit<PlainHook, 'route'>> & { readonly route?: Partial<Route> }
type HandingPart = Partial<Omit<Handing, 'event'>> & { readonly event?: Partial<Event> }

/** Hook `a`, to an endpoint of its own. */
export function hookTo(url: string, { route, ...hook }: HookPart = {}): PlainHook {
  return {
    id: 'a',
    name: 'Inventory',
    format: 'json',
    includeObject: false,
    ...hook,
    route: { endpoint: { id: `to ${url}`, url, headers: [] }, timeoutMs: 10_000, ...route },
  }
}

export function settingsOf(...hooks: PlainHook[]): PlainSettings {
  return { hooks, proxy: {} }
}

export function eventOf(overrides: Partial<Event> = {}): Event {
  const callId = overrides.callId ?? 'call'
  return {
    source: 'api',
    phase: 'post',
    outcome: 'success',
    method: 'vm.start',
    callId,
    timestamp: Date.UTC(2026, 0, 2, 3, 4, 5),
    fields: new Map([
      ['callId', JSON.stringify(callId)],
      ['method', '"vm.start"'],
      ['params', '{"id":"vm-1"}'],
    ]),
    omitted: [],
    ...overrides,
  }
}

export const failToSpawn: Spawn = () => {
  throw new Error('no room for a thread')
}

let count = 0

/** For hook `a`, of a call of its own. */
export function handingOf({ event, ...handing }: HandingPart = {}): Handing {
  const id = `h${++count}`
  return { id, event: eventOf({ callId: `call-${id}`, ...event }), hooks: ['a'], party: 'someone', ...handing }
}
