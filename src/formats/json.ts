import type { Event } from '../event/event.ts'
import { payloadOf } from './format.ts'
import type { Format } from './format.ts'

/** The stock plugin's body: the event's properties in their order, then `type`. */
export const json: Format = {
  title: 'JSON',
  url: { example: 'https://inventory.example.org/xo' },
  build: ({ event }) => payloadOf('application/json', jsonOf(event)),
}

/** The event as JSON: what the stock plugin sends. */
export function jsonOf({ fields, omitted, phase }: Event): string {
  let text = '{'
  for (const [key, value] of fields) {
    text += `${quoted(key)}:${value},`
  }
  text += `"type":"${phase}"`
  if (omitted.length > 0) {
    text += `,"omitted":${JSON.stringify(omitted)}`
  }
  return `${text}}`
}

function quoted(key: string): string {
  return /^\w+$/.test(key) ? `"${key}"` : JSON.stringify(key)
}
