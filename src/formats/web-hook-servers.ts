import { typeOf } from './cloudevents.ts'
import { payloadOf } from './format.ts'
import type { Built, Format, ServiceAnswer, Verdict } from './format.ts'
import { jsonOf } from './json.ts'

// Servers that take an event and do the rest: subscriptions, retries, signatures. Each knows an event by our delivery's id.

/** Source: https://api.svix.com/docs#tag/Message/operation/v1.message.create */
export const svix: Format = {
  title: 'Svix',
  url: {
    example: 'https://api.eu.svix.com/api/v1/app/<application>/msg/',
    isOwn: ({ hostname }) => /^api\.(?:\w+\.)?svix\.com$/.test(hostname),
  },
  isPerDelivery: true,
  build({ event, delivery: { id } }) {
    const built = withEvent({ eventType: typeOf(event), eventId: id }, 'payload', jsonOf(event))
    return { ...built, headers: ['Idempotency-Key', id] }
  },
  judge,
}

/** Source: https://www.getconvoy.io/docs/api-reference/events/create-an-event */
export const convoy: Format = {
  title: 'Convoy',
  target: { meaning: "the endpoint's id", isRequired: true },
  url: {
    example: 'https://eu.getconvoy.cloud/api/v1/projects/<project>/events',
    isOwn: ({ hostname }) => hostname.endsWith('.getconvoy.cloud'),
  },
  isPerDelivery: true,
  build: ({ event, delivery: { id } }, { target }) =>
    withEvent({ endpoint_id: target, event_type: typeOf(event), idempotency_key: id }, 'data', jsonOf(event)),
  judge,
}

/** Source: https://outpost.hookdeck.com/docs */
export const outpost: Format = {
  title: 'Outpost (Hookdeck)',
  target: { meaning: "the tenant's id", isRequired: true },
  url: {
    example: 'https://outpost.example.org/api/v1/publish',
    isOwn: ({ hostname }) => hostname === 'api.outpost.hookdeck.com',
  },
  isPerDelivery: true,
  build: ({ event, delivery: { id } }, { target }) =>
    withEvent({ id, tenant_id: target, topic: typeOf(event), eligible_for_retry: true }, 'data', jsonOf(event)),
  judge,
}

function withEvent(head: object, name: string, json: string): Built {
  return payloadOf('application/json', `${JSON.stringify(head).slice(0, -1)},"${name}":${json}}`)
}

/** "I have it already" is what an attempt is for whose answer got lost. */
function judge({ status }: ServiceAnswer): Verdict | undefined {
  switch (status) {
    case 409:
      return { is: 'delivered' }
    case 400:
    case 422:
      return { is: 'refused', reason: 'what was sent is refused: are the ids in the URL and the target right?' }
    default:
      return undefined
  }
}
