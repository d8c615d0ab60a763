import type { Format } from './format.ts'

/** The stock plugin's body: the event's properties in their order, then `type`. */
export const json: Format = {
  title: 'JSON',
  build({ fields, omitted, phase }) {
    const members = [...fields].map(([key, text]) => `${JSON.stringify(key)}:${text}`)
    members.push(`"type":"${phase}"`)
    if (omitted.length > 0) {
      members.push(`"omitted":${JSON.stringify(omitted)}`)
    }
    return { contentType: 'application/json', body: Buffer.from(`{${members.join()}}`) }
  },
}
