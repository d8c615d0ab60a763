import type { Event } from '../../src/event/event.ts'
import { formats, messageAbout } from '../../src/formats/index.ts'
import type { Built, Instance, Material, Options } from '../../src/formats/index.ts'

/** What a hook of each format has filled in, where it has to. */
const OPTIONS: Readonly<Record<string, Options>> = {
  telegram: { target: '-1001234567890/42' },
  ntfy: { target: 'xen-orchestra' },
  template: {
    template: '{"text": "{{title}}: {{object.name}}", "user": "{{user}}", "error": "{{error}}", "event": "{{event}}"}',
  },
  svix: { target: 'app_1' },
  convoy: { target: 'ep_1' },
  outpost: { target: 'tenant_1' },
}

export const INSTANCE: Instance = { name: 'XO Paris', url: 'https://xo.example.org' }

/** What a format is given of an event. @param object - JSON */
export function materialOf(
  event: Event,
  { object, instance = INSTANCE }: { object?: string; instance?: Instance } = {}
): Material {
  const whole = object === undefined ? event : { ...event, fields: new Map([...event.fields, ['object', object]]) }
  return {
    event,
    message: messageAbout(whole, instance, 1_700_000_000_000),
    object,
    instance,
    delivery: { id: '8d6a3a61-94d5-4a3c-a4ff-3dc1ed4ae1bd-0', hook: { id: 'h1', name: 'Inventory' } },
  }
}

export function optionsOf(name: string): Options {
  return OPTIONS[name] ?? {}
}

export function builtBy(name: string, event: Event, more?: { object?: string; instance?: Instance }): Built {
  return formats.get(name)!.build(materialOf(event, more), optionsOf(name))
}
