import { jsonIn, jsonPayload } from './format.ts'
import type { Format, ServiceAnswer, Verdict } from './format.ts'
import { notificationText, notificationTitle } from './notification.ts'
import type { Tone } from './words.ts'

const PRIORITIES: Readonly<Record<Tone, number>> = { good: -1, bad: 1, warning: 0, info: -1, pending: -2 }
const MAX_MESSAGE = 1_024
const MAX_TITLE = 250
const HOUR_MS = 60 * 60_000

/**
 * The application's token is put into the body at the attempt; both keys may stand in the URL's query instead
 * (`…/messages.json?token=…&user=…`).
 *
 * Source: https://pushover.net/api
 */
export const pushover: Format = {
  title: 'Pushover',
  target: {
    meaning: 'the key of the user or group, unless the URL has it (`?user=…`)',
    ...{ isRequired: true, inQuery: 'user' },
    pattern: /^[A-Za-z0-9]{30}$/,
  },
  token: {
    meaning: "the application's token, unless the URL has it (`?token=…`)",
    ...{ isRequired: true, inQuery: 'token' },
    place: { property: 'token' },
  },
  url: {
    example: 'https://api.pushover.net/1/messages.json',
    isOwn: ({ hostname }) => hostname === 'api.pushover.net',
  },
  tellsObject: true,
  pace: { perSecond: 1, burst: 5 },
  build({ message }, { target }) {
    const { emoji, tone, links, instance, at } = message
    const [link] = links
    return jsonPayload({
      ...(target !== undefined && { user: target }),
      title: notificationTitle(message, MAX_TITLE, emoji),
      // of the time, the service tells
      message: notificationText(message, instance, MAX_MESSAGE),
      priority: PRIORITIES[tone],
      timestamp: Math.floor(at / 1000),
      ...(link && link.url.length <= 512 && { url: link.url, url_title: link.text }),
    })
  },
  judge,
}

function judge({ status, text }: ServiceAnswer): Verdict | undefined {
  const answer = jsonIn(text)
  if (status === 200) {
    return answer['status'] === 0 ? { is: 'refused', reason: 'and its text says no' } : undefined
  }
  if (status === 429) {
    return { is: 'failed', reason: 'the monthly quota of the application is used up', afterMs: 6 * HOUR_MS }
  }
  if (status < 400 || status >= 500 || answer['status'] !== 0) {
    return undefined
  }
  const [key] = ['token', 'user'].filter(name => answer[name] === 'invalid')
  return key === undefined
    ? { is: 'refused', reason: 'Pushover refuses what was sent' }
    : { is: 'gone', reason: key === 'token' ? "the application's token is not valid" : 'the user key is not valid' }
}
