import type { RESTPostAPIWebhookWithTokenJSONBody } from 'discord-api-types/v10'

import { isFromService, jsonIn, jsonPayload } from './format.ts'
import type { Format, ServiceAnswer, Verdict } from './format.ts'
import { fitted, JOINT } from './text.ts'

/** Title, description, names and values of fields, and footer together: Discord takes 6,000. */
const MAX_ALL = 5_900
const MAX_TITLE = 256
const MAX_VALUE = 1_024
const MAX_DESCRIPTION = 4_000
const FENCE = '```'

/**
 * A webhook of Discord: one embed. What is not ours is escaped, or stands in a block of code; nothing in it is a mention.
 *
 * Sources: https://discord.com/developers/docs/resources/webhook#execute-webhook, …/resources/message#embed-limits
 */
export const discord: Format = {
  title: 'Discord',
  url: {
    example: 'https://discord.com/api/webhooks/…/…',
    isOwn: ({ hostname, pathname }) =>
      /(?:^|\.)discord(?:app)?\.com$/.test(hostname) && /^\/api\/(?:v\d+\/)?webhooks\//.test(pathname),
    problem: ({ hostname, pathname }) =>
      /(?:^|\.)discord(?:app)?\.com$/.test(hostname) && /\/(?:slack|github)\/?$/.test(pathname)
        ? 'the URL of the webhook itself, without "/slack" or "/github" at its end'
        : undefined,
  },
  tellsObject: true,
  pace: { perSecond: 0.5, burst: 5 },
  build({ message: { emoji, title, colour, facts, details, links, instance, method, at } }) {
    const [link] = links
    const head = fitted(`${emoji} ${title}`, MAX_TITLE, escapeMarkdown)
    const fields = facts.map(({ label, value }) => ({
      name: label,
      value: fitted(value, MAX_VALUE, escapeMarkdown),
      inline: true,
    }))
    // a footer has no markup
    const footer = `${instance} · ${method}`
    const used = fields.reduce((sum, { name, value }) => sum + name.length + value.length, head.length + footer.length)
    const left = Math.min(MAX_ALL - used, MAX_DESCRIPTION) - 2 * FENCE.length - 2
    const body: RESTPostAPIWebhookWithTokenJSONBody = {
      allowed_mentions: { parse: [] },
      embeds: [
        {
          title: head,
          ...(link && { url: link.url }),
          color: Number.parseInt(colour.slice(1), 16),
          timestamp: new Date(at).toISOString(),
          ...(details !== undefined && { description: `${FENCE}\n${fitted(details, left, escapeFence)}\n${FENCE}` }),
          fields,
          footer: { text: footer },
        },
      ],
    }
    return jsonPayload(body)
  },
  judge,
}

/** A backslash in front of whatever means something to Discord: a link to the web ends at its colon. */
function escapeMarkdown(text: string): string {
  return text.replace(/[\\*_~`|>#\-[\]()<@:+.]/g, '\\$&')
}

/** Each backtick is parted from the next: no three of them end the block. */
function escapeFence(text: string): string {
  return text.replaceAll('`', `\`${JOINT}`)
}

function judge(answer: ServiceAnswer): Verdict | undefined {
  switch (answer.status) {
    case 401:
    case 403:
    case 404:
      // whoever goes on is locked out by its address
      return isFromService(answer) ? { is: 'gone', reason: 'Discord does not know the webhook (any more)' } : undefined
    case 400:
      return { is: 'refused', reason: 'Discord refuses what was sent' }
    case 429: {
      const seconds = jsonIn(answer.text)['retry_after']
      return typeof seconds === 'number' && seconds > 0
        ? { is: 'failed', reason: 'too many requests', afterMs: Math.ceil(seconds * 1000) }
        : undefined
    }
    default:
      return undefined
  }
}
