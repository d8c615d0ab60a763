import { jsonPayload } from './format.ts'
import type { Format } from './format.ts'
import { fitted } from './text.ts'

const MAX_SUMMARY = 1_000

/**
 * PagerDuty's Events API v2: bad news triggers an alert, good news of the same thing resolves it.
 *
 * Source: https://developer.pagerduty.com/docs/events-api-v2/trigger-events
 */
export const pagerduty: Format = {
  title: 'PagerDuty',
  token: { meaning: 'the integration key of the service', isRequired: true, place: { property: 'routing_key' } },
  url: {
    example: 'https://events.pagerduty.com/v2/enqueue',
    isOwn: ({ hostname }) => /^events\.(?:eu\.)?pagerduty\.com$/.test(hostname),
  },
  tellsObject: true,
  isPostOnly: true,
  pace: { perSecond: 2, burst: 60 },
  build({ message: { tone, text, object, facts, details, links, instance, method, at, key } }) {
    const isBad = tone === 'bad' || tone === 'warning'
    return jsonPayload({
      event_action: isBad ? 'trigger' : 'resolve',
      dedup_key: `xo:${key}`,
      payload: {
        summary: fitted(text, MAX_SUMMARY),
        source: instance,
        severity: tone === 'bad' ? 'error' : tone === 'warning' ? 'warning' : 'info',
        timestamp: new Date(at).toISOString(),
        class: method,
        ...(object && { component: object.name }),
        custom_details: {
          ...Object.fromEntries(facts.map(({ label, value }) => [label, value])),
          ...(details !== undefined && { Error: details }),
        },
      },
      client: instance,
      links: links.map(({ text: label, url }) => ({ href: url, text: label })),
    })
  },
  judge: ({ status }) =>
    status === 400 ? { is: 'refused', reason: 'PagerDuty refuses it: is the integration key right?' } : undefined,
}
