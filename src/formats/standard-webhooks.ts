import { typeOf } from './cloudevents.ts'
import { payloadOf } from './format.ts'
import type { Format } from './format.ts'
import { jsonOf } from './json.ts'

/**
 * The body that Standard Webhooks recommends; its headers, and a signature if there is a secret, come with every request.
 *
 * Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export const standardWebhooks: Format = {
  title: 'Standard Webhooks',
  url: { example: 'https://api.example.org/webhooks/xo' },
  build({ event, message: { at } }) {
    const head = JSON.stringify({ type: typeOf(event), timestamp: new Date(at).toISOString() })
    return payloadOf('application/json', `${head.slice(0, -1)},"data":${jsonOf(event)}}`)
  },
}
