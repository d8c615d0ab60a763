import { jsonIn, jsonPayload } from './format.ts'
import type { Format, ServiceAnswer, Verdict } from './format.ts'
import { fitted, JOINT } from './text.ts'

/** A message that is longer becomes several. */
const MAX_DETAILS = 4_000
const MAX_FOOTER = 300
const FENCE = '```'

/**
 * An incoming webhook of Mattermost, which Rocket.Chat takes as well: one attachment. What is not ours stands in code, in
 * which neither Markdown nor `@channel` means anything; what Mattermost makes of Slack's `<!channel>` and `<url|text>`, it
 * makes in code, too, so that they are parted.
 *
 * Source: https://developers.mattermost.com/integrate/webhooks/incoming, …/reference/message-attachments
 */
export const mattermost: Format = {
  title: 'Mattermost, Rocket.Chat',
  target: { meaning: 'the name of another channel than the webhook\'s own, or "@user", if the server allows that' },
  url: {
    example: 'https://mattermost.example.org/hooks/…',
    isOwn: ({ pathname }) => /\/hooks\/[a-z0-9]{26}$/.test(pathname),
  },
  tellsObject: true,
  pace: { perSecond: 10, burst: 20 },
  build({ message: { emoji, title, text, colour, facts, details, links, instance, method, time } }, { target }) {
    const [link] = links
    return jsonPayload({
      ...(target !== undefined && { channel: target }),
      attachments: [
        {
          fallback: inCode(`${emoji} ${text}`, 1_000),
          color: colour,
          title: `${emoji} ${escapeTitle(title)}`,
          ...(link && { title_link: link.url }),
          ...(details !== undefined && { text: `${FENCE}\n${fitted(details, MAX_DETAILS, codeOf)}\n${FENCE}` }),
          fields: facts.map(({ label, value }) => ({ short: true, title: label, value: inCode(value, 1_000) })),
          footer: fitted(`${instance} · ${time} · ${method}`, MAX_FOOTER, parted),
        },
      ],
    })
  },
  judge,
}

function inCode(text: string, max: number): string {
  return `\`${fitted(text, max, codeOf)}\``
}

/** No backtick ends the code: it is another sign that looks like one. */
function codeOf(text: string): string {
  return text.replaceAll('`', 'ˋ').replaceAll('<', `<${JOINT}`)
}

function parted(text: string): string {
  return codeOf(text).replace(/[@:#]/g, `$&${JOINT}`)
}

/** A title is Markdown, and code is not shown as such in it. An emoji stands at its head: a "-" begins no list. */
function escapeTitle(title: string): string {
  return parted(title).replace(/[\\*_~|>#[\]()<@:!&]/g, '\\$&')
}

/** What the `id` of an error ends with, in words. Source: web.incoming_webhook.* in server/i18n/en.json of mattermost/mattermost */
const ERRORS: readonly (readonly [end: string, verdict: Verdict])[] = [
  ['channel.app_error', { is: 'gone', reason: 'the target is no channel there' }],
  ['user.app_error', { is: 'gone', reason: 'the target, or the owner of the webhook, is no user there' }],
  ['channel_locked.app_error', { is: 'gone', reason: 'the webhook may post to its own channel only: set no target' }],
  ['permissions.app_error', { is: 'gone', reason: 'the owner of the webhook may not post to the target' }],
  ['invalid.app_error', { is: 'gone', reason: 'the webhook does not exist any more' }],
  ['disabled.app_error', { is: 'gone', reason: 'the server does not allow webhooks' }],
  ['decode.app_error', { is: 'refused', reason: 'Mattermost cannot read what was sent' }],
  ['parse.app_error', { is: 'refused', reason: 'Mattermost cannot read what was sent' }],
]

function judge({ status, text }: ServiceAnswer): Verdict | undefined {
  if (status >= 400 && status < 500) {
    const { id } = jsonIn(text)
    return ERRORS.find(([end]) => id === `web.incoming_webhook.${end}`)?.[1]
  }
  // Rocket.Chat says 200 and means no
  return status === 200 && /^\s*\{\s*"success"\s*:\s*false/.test(text)
    ? { is: 'failed', reason: 'and its text says that it has failed' }
    : undefined
}
