import type { KnownBlock, PlainTextElement, RichTextPreformatted, SectionBlock } from '@slack/types'

import { jsonPayload } from './format.ts'
import type { Format, ServiceAnswer, Verdict } from './format.ts'
import { escapeHtml, fitted } from './text.ts'

/** Of blocks, in all, Slack takes some 13,000 characters. */
const MAX_DETAILS = 3_000
const MAX_TEXT = 3_900
const MAX_HEADER = 150
const MAX_FIELD = 1_000
/** Couples of label and value in a section. */
const MAX_FACTS = 5

/**
 * An incoming webhook of Slack, in Block Kit. There is no escape for `*`, `_`, `~` and backticks: what is not ours stands in
 * `plain_text` and `rich_text`, which have no markup. `text` is what a notification shows.
 *
 * Sources: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks;
 * https://docs.slack.dev/reference/block-kit/blocks; https://docs.slack.dev/messaging/formatting-message-text
 */
export const slack: Format = {
  title: 'Slack',
  url: {
    example: 'https://hooks.slack.com/services/T…/B…/…',
    isOwn: ({ hostname }) => hostname === 'hooks.slack.com' || hostname === 'hooks.slack-gov.com',
    problem: ({ hostname, pathname }) =>
      /^hooks\.slack(?:-gov)?\.com$/.test(hostname) && !pathname.startsWith('/services/')
        ? 'the URL of an incoming webhook (/services/…); for a workflow (/triggers/…) use the format "Template"'
        : undefined,
  },
  tellsObject: true,
  pace: { perSecond: 1, burst: 4 },
  build({ message: { emoji, title, text, facts, details, links, instance, at } }) {
    const buttons = links.map(link => ({ type: 'button' as const, text: plainText(link.text), url: link.url }))
    const blocks: KnownBlock[] = [
      { type: 'header', text: plainText(`${emoji} ${title}`, MAX_HEADER) },
      ...sectionsOf(facts),
      ...(details === undefined
        ? []
        : [{ type: 'rich_text' as const, elements: [preformatted(fitted(details, MAX_DETAILS))] }]),
      ...(buttons.length === 0 ? [] : [{ type: 'actions' as const, elements: buttons }]),
      { type: 'context', elements: [plainText(instance), { type: 'mrkdwn', text: timeOf(at) }] },
    ]
    return jsonPayload({ text: fitted(`${emoji} ${text}`, MAX_TEXT, escapeHtml), mrkdwn: false, blocks })
  },
  judge,
}

function sectionsOf(facts: readonly { label: string; value: string }[]): SectionBlock[] {
  const sections: SectionBlock[] = []
  for (let i = 0; i < facts.length; i += MAX_FACTS) {
    const fields = facts
      .slice(i, i + MAX_FACTS)
      .flatMap(({ label, value }) => [{ type: 'mrkdwn' as const, text: `*${label}*` }, plainText(value)])
    sections.push({ type: 'section', fields })
  }
  return sections
}

/** Escaped all the same: a sequence in angle brackets is nothing in it, whoever reads it. */
function plainText(text: string, max = MAX_FIELD): PlainTextElement {
  return { type: 'plain_text', text: fitted(text, max, escapeHtml), emoji: false }
}

function preformatted(text: string): RichTextPreformatted {
  return { type: 'rich_text_preformatted', elements: [{ type: 'text', text }] }
}

/** In the reader's zone. */
function timeOf(at: number): string {
  return `<!date^${Math.floor(at / 1000)}^{date_short_pretty} {time_secs}|${new Date(at).toISOString()}>`
}

/** What stands in the body of an answer that means no, in words. */
const ERRORS: Readonly<Record<string, string>> = {
  action_prohibited: 'an administrator of the workspace does not allow it',
  channel_is_archived: 'the channel is archived',
  channel_not_found: 'the channel does not exist',
  invalid_blocks: 'it could not be shown',
  invalid_payload: 'it could not be read',
  invalid_token: 'the webhook is not valid any more',
  msg_blocks_too_long: 'it was too long',
  no_active_hooks: 'the webhook is disabled',
  no_service: 'the webhook was removed or is disabled',
  no_team: 'the workspace does not exist',
  no_text: 'it had no text',
  posting_to_general_channel_denied: 'this channel is not open to webhooks',
  team_disabled: 'the workspace is disabled',
  user_not_found: 'the user does not exist',
}

/** A 200 whose body is not `ok` is none. Zulip and others that take the same answer with JSON. */
function judge({ status, text }: ServiceAnswer): Verdict | undefined {
  const code = text.trim().slice(0, 40)
  const reason = Object.hasOwn(ERRORS, code) ? `${ERRORS[code]} (${code})` : undefined
  if (status >= 200 && status < 300) {
    return code === '' || code === 'ok' || text.trimStart().startsWith('{')
      ? undefined
      : { is: 'failed', reason: reason ?? 'and its text is not "ok"' }
  }
  if (status === 400) {
    return { is: 'refused', reason: reason ?? 'what was sent is refused' }
  }
  return (status === 403 || status === 404) && reason !== undefined ? { is: 'gone', reason } : undefined
}
