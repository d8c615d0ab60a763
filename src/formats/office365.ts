import { jsonPayload } from './format.ts'
import type { Format } from './format.ts'

/**
 * The stock plugin's MessageCard: one fact for each property of the event.
 *
 * Source: https://learn.microsoft.com/en-us/outlook/actionable-messages/message-card-reference
 */
export const office365: Format = {
  title: 'Office 365 connector (retired by Microsoft)',
  warning:
    'Microsoft has retired Office 365 connectors (May 2026): nothing is shown any more. Use the format "Microsoft Teams" with a workflow instead.',
  url: {
    example: 'https://example.webhook.office.com/webhookb2/…',
    isOwn: ({ hostname }) =>
      hostname.endsWith('.webhook.office.com') || /^outlook\.office(?:365)?\.com$/.test(hostname),
  },
  build({ event: { fields, omitted, phase } }) {
    const facts = [...fields].map(([name, text]) => ({ name, value: text.startsWith('"') ? JSON.parse(text) : text }))
    if (omitted.length > 0) {
      facts.push({ name: 'omitted', value: omitted.join(', ') })
    }
    return jsonPayload({
      '@type': 'MessageCard',
      '@context': 'https://schema.org/extensions',
      themeColor: '6B63BF',
      summary: 'New notification from the Xen-Orchestra webhook plugin',
      sections: [{ title: `XO ${phase.toUpperCase()} notification`, facts }],
    })
  },
}
