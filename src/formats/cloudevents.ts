import type { Event } from '../event/event.ts'
import { payloadOf } from './format.ts'
import type { Format, Material } from './format.ts'
import { jsonOf } from './json.ts'
import type { Instance } from './message.ts'

/**
 * CloudEvents 1.0, structured: the attributes and, as `data`, the event. The content type stands alone: the official SDK
 * for JavaScript does not know it with a charset.
 *
 * Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md, …/bindings/http-protocol-binding.md
 */
export const cloudEvents: Format = {
  title: 'CloudEvents, structured',
  url: { example: 'https://events.example.org/xo' },
  build(material) {
    const attributes = JSON.stringify({ ...attributesOf(material), datacontenttype: 'application/json' })
    return payloadOf('application/cloudevents+json', `${attributes.slice(0, -1)},"data":${jsonOf(material.event)}}`)
  },
}

/** CloudEvents 1.0, binary: the event as the body, the attributes as headers. */
export const cloudEventsBinary: Format = {
  title: 'CloudEvents, binary',
  url: { example: 'https://events.example.org/xo' },
  build(material) {
    const headers = Object.entries(attributesOf(material)).flatMap(([name, value]) => [`ce-${name}`, encoded(value)])
    return { ...payloadOf('application/json', jsonOf(material.event)), headers }
  },
}

/** `source` and `id` together are one event's alone: the `pre` and the `post` of a call have one `callId`. */
function attributesOf({ event, message, instance }: Material): Readonly<Record<string, string>> {
  return {
    specversion: '1.0',
    id: `${event.callId || 'unknown'}:${event.phase}`,
    source: sourceOf(instance),
    type: `io.xen-orchestra.${typeOf(event)}`,
    ...(message.object?.id !== undefined && { subject: message.object.id }),
    time: new Date(message.at).toISOString(),
    xooutcome: event.outcome,
  }
}

function sourceOf({ url, name = '' }: Instance): string {
  return url ?? `/xen-orchestra${name === '' ? '' : `/${encodeURIComponent(name.toWellFormed())}`}`
}

/** A type of events for those who subscribe to types: `vm.start.post`. Names of REST actions may hold anything. */
export function typeOf({ method, phase }: Pick<Event, 'method' | 'phase'>): string {
  const name = method
    .split('.')
    .map(part => part.replace(/\W+/g, '_').slice(0, 100))
    .filter(part => part !== '')
    .slice(0, 10)
    .join('.')
  return `${name === '' ? 'unknown' : name}.${phase}`
}

/** As the binding has it: spaces, quotes, `%`, and what is not ASCII. */
function encoded(value: string): string {
  return value
    .toWellFormed()
    .slice(0, 500)
    .toWellFormed()
    .replace(/[^\x21\x23\x24\x26-\x7e]/gu, char =>
      [...Buffer.from(char)].map(byte => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
    )
}
