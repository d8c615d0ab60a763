import { jsonPayload, payloadOf } from './format.ts'
import type { Format } from './format.ts'
import type { Message } from './message.ts'
import { fitted } from './text.ts'
import type { Measure } from './text.ts'

/** Teams takes some 28 KB, of which the JSON of a card is the smaller part. */
const MAX_CARD = 20_000

/** Of JSON. Teams counts what is not ASCII as an escape. */
const weight: Measure = text => {
  let size = text.length
  for (let i = 0; i < text.length; ++i) {
    size += text.charCodeAt(i) > 0x7e ? 5 : 0
  }
  return size
}

const LINE_WEIGHT = JSON.stringify(lineBlock('')).length + ','.length

/** Of details: an escape weighs what stands in the JSON, and each line is a block of its own. */
const writtenWeight: Measure = text =>
  weight(JSON.stringify(text)) - '""'.length + LINE_WEIGHT * (text.split('\n').length - 1)

/**
 * An Adaptive Card for a Teams workflow ("Send webhook alerts to a channel"). What is not ours stands in a `TextRun`, the
 * only element that renders no markup: in a `TextBlock` or a fact, Teams on phones shows escapes or obeys what they escape.
 *
 * A 202 says that the workflow was started, and nothing of what came of it.
 *
 * Sources: https://adaptivecards.io/schemas/1.5.0/adaptive-card.json;
 * https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
 */
export const teams: Format = {
  title: 'Microsoft Teams (workflow)',
  url: {
    example: 'https://….environment.api.powerplatform.com/powerautomate/automations/direct/workflows/…/invoke?…&sig=…',
    isOwn: ({ hostname, pathname }) =>
      /(?:^|\.)(?:logic\.azure\.com|api\.powerplatform\.com)$/.test(hostname) && pathname.includes('/workflows/'),
    problem: ({ hostname }) =>
      hostname.endsWith('.webhook.office.com')
        ? 'the URL of a workflow (Office 365 connectors were retired in May 2026: make a workflow "Send webhook alerts to a channel")'
        : undefined,
  },
  tellsObject: true,
  pace: { perSecond: 2, burst: 4 },
  build({ message }) {
    const { details = '' } = message
    const whole = JSON.stringify(card(message, details))
    if (weight(whole) <= MAX_CARD) {
      return payloadOf('application/json', whole)
    }
    const left = MAX_CARD - weight(JSON.stringify(card(message, ''))) - 200
    return jsonPayload(card(message, fitted(details, left, undefined, writtenWeight)))
  },
}

const STYLES = { good: 'good', bad: 'attention', warning: 'warning', info: 'accent', pending: 'default' } as const

function card({ tone, emoji, title, facts, links, instance, at }: Message, details: string): object {
  const content = {
    $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
    type: 'AdaptiveCard',
    version: '1.5',
    fallbackText: 'Xen Orchestra',
    msteams: { width: 'full' },
    body: [
      {
        type: 'Container',
        style: STYLES[tone],
        bleed: true,
        items: [
          richText([run(`${emoji} `), { ...run(title), size: 'Medium', weight: 'Bolder' }]),
          // in the reader's zone; ours, so that nothing is escaped
          { type: 'TextBlock', text: timeOf(at), isSubtle: true, spacing: 'None', wrap: true },
        ],
      },
      ...facts.map(({ label, value }) => richText([{ ...run(`${label}: `), weight: 'Bolder' }, run(value)], 'Small')),
      ...(details === '' ? [] : details.split('\n').map(lineBlock)),
      { ...richText([{ ...run(instance), isSubtle: true, size: 'Small' }]), spacing: 'Medium' },
    ],
    ...(links.length > 0 && {
      actions: links.map(({ text, url }) => ({ type: 'Action.OpenUrl', title: text, url })),
    }),
  }
  const attachment = { contentType: 'application/vnd.microsoft.card.adaptive', contentUrl: null, content }
  return { type: 'message', summary: `${emoji} ${title}`, attachments: [attachment] }
}

function lineBlock(line: string): object {
  return richText([{ ...run(line || ' '), fontType: 'Monospace' }])
}

function run(text: string): { type: 'TextRun'; text: string } {
  return { type: 'TextRun', text }
}

function richText(inlines: readonly object[], spacing?: string): object {
  return { type: 'RichTextBlock', inlines, ...(spacing !== undefined && { spacing }) }
}

function timeOf(at: number): string {
  const time = `${new Date(at).toISOString().slice(0, 19)}Z`
  return `{{DATE(${time}, SHORT)}} {{TIME(${time})}}`
}
