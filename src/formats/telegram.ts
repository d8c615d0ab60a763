import type { ApiMethods } from '@grammyjs/types'

import { jsonIn, jsonPayload } from './format.ts'
import type { Format, ServiceAnswer, Verdict } from './format.ts'
import { isRecord } from '../values.ts'
import { escapeHtml, fitted } from './text.ts'

/** Telegram takes 4,096 code points, of what is left when the markup has been read: `&amp;` is one. */
const MAX_ALL = 4_096

/**
 * The method `sendMessage` of Telegram's Bot API. What is not ours stands in `<code>` and `<pre>`, in which nothing becomes
 * a link, a mention or a command.
 *
 * Source: https://core.telegram.org/bots/api#sendmessage, …#html-style
 */
export const telegram: Format = {
  title: 'Telegram',
  target: {
    meaning: "the chat's id, like -1001234567890, or @channel; for a topic in it, -1001234567890/42",
    isRequired: true,
    pattern: /^(?:-?\d+|@\w+)(?:\/\d+)?$/,
  },
  url: {
    example: 'https://api.telegram.org/bot<token>/sendMessage',
    isOwn: ({ hostname }) => hostname === 'api.telegram.org',
    problem: ({ pathname }) =>
      /\/bot\d+(?::|%3A)[\w-]+(?:\/sendMessage)?\/?$/i.test(pathname)
        ? undefined
        : 'a URL of the form https://api.telegram.org/bot<token>/sendMessage, with the token that BotFather gave',
    normalise: url => {
      const whole = new URL(url)
      whole.pathname = `${whole.pathname.replace(/\/(?:sendMessage\/?)?$/, '')}/sendMessage`
      return { url: whole }
    },
  },
  tellsObject: true,
  pace: { perSecond: 1, burst: 3 },
  build({ message: { emoji, title, tone, facts, details, links, instance, time } }, { target = '' }) {
    const [chat = '', topic] = target.split('/')
    const lines = [
      `${emoji} <b>${escapeHtml(title)}</b>`,
      ...facts.map(({ label, value }) => `<b>${label}:</b> <code>${escapeHtml(value)}</code>`),
    ]
    const ends = links.map(({ text, url }) => `<a href="${escapeHtml(url)}">${text}</a>`)
    const end = [...ends, code(`${instance} · ${time}`)].join(' · ')
    const left = MAX_ALL - shownLength([...lines, '', end].join('\n'))
    const block = details === undefined ? [] : [`<pre>${escapeHtml(fitted(details, left))}</pre>`]
    const body: Parameters<ApiMethods<never>['sendMessage']>[0] = {
      chat_id: chat,
      ...(topic !== undefined && { message_thread_id: Number(topic) }),
      parse_mode: 'HTML',
      link_preview_options: { is_disabled: true },
      disable_notification: tone === 'pending',
      text: [...lines, ...block, end].join('\n'),
    }
    return jsonPayload(body)
  },
  judge,
}

function code(text: string): string {
  return `<code>${escapeHtml(text)}</code>`
}

/** Of HTML as it is made here: UTF-16 units, which are as many as code points, or more. */
function shownLength(html: string): number {
  return html.replaceAll(/<[^>]*>/g, '').replaceAll(/&\w+;/g, '&').length
}

function judge({ status, text }: ServiceAnswer): Verdict | undefined {
  const answer = jsonIn(text)
  const parameters = isRecord(answer['parameters']) ? answer['parameters'] : {}
  const moved = parameters['migrate_to_chat_id']
  if (typeof moved === 'number') {
    return { is: 'gone', reason: `the group has another id now: set the target to ${moved}` }
  }
  if (answer['ok'] !== false) {
    return undefined
  }
  switch (status) {
    case 200:
      return { is: 'failed', reason: 'and "ok" is false' }
    case 400:
      return { is: 'refused', reason: 'Telegram refuses it: is the chat id right, and is the bot in the chat?' }
    case 401:
    case 404:
      return { is: 'gone', reason: "the bot's token is not valid" }
    case 403:
      return { is: 'gone', reason: 'the bot is blocked, or not in the chat' }
    case 429: {
      const seconds = parameters['retry_after']
      return typeof seconds === 'number'
        ? { is: 'failed', reason: 'too many requests', afterMs: seconds * 1000 }
        : undefined
    }
    default:
      return undefined
  }
}
