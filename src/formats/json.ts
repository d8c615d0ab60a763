import { payloadOf } from './format.ts'
import type { Format } from './format.ts'

/** The stock plugin's body: the event's properties in their order, then `type`. */
export const json: Format = {
  title: 'JSON',
  build({ fields, omitted, phase }) {
    let text = '{'
    for (const [key, value] of fields) {
      text += `${quoted(key)}:${value},`
    }
    text += `"type":"${phase}"`
    if (omitted.length > 0) {
      text += `,"omitted":${JSON.stringify(omitted)}`
    }
    return payloadOf('application/json', `${text}}`)
  },
}

function quoted(key: string): string {
  return /^\w+$/.test(key) ? `"${key}"` : JSON.stringify(key)
}
