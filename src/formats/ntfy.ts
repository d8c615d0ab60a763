import { isFromService, jsonIn, jsonPayload } from './format.ts'
import type { Format, ServiceAnswer, Verdict } from './format.ts'
import { notificationText, notificationTitle } from './notification.ts'
import type { Measure } from './text.ts'
import type { Tone } from './words.ts'

/** In bytes; a longer message becomes an attachment. */
const MAX_MESSAGE = 3_900
const MAX_TITLE = 250

/** The body may be twice as long as a message: quotes count as they are written there. */
const written: Measure = text => Buffer.byteLength(JSON.stringify(text)) - '""'.length

const LOOKS: Readonly<Record<Tone, { readonly tag: string; readonly priority: number }>> = {
  good: { tag: 'white_check_mark', priority: 3 },
  bad: { tag: 'x', priority: 4 },
  warning: { tag: 'warning', priority: 4 },
  info: { tag: 'information_source', priority: 3 },
  pending: { tag: 'hourglass_flowing_sand', priority: 2 },
}

const HOUR_MS = 60 * 60_000

/**
 * Publishing as JSON to ntfy.sh or a server of one's own. The topic is the target, or the last part of the URL.
 *
 * Source: https://docs.ntfy.sh/publish/#publish-as-json
 */
export const ntfy: Format = {
  title: 'ntfy',
  target: { meaning: 'the topic, if it is not in the URL', isRequired: true, pattern: /^[-_A-Za-z0-9]{1,64}$/ },
  url: {
    example: 'https://ntfy.sh/my-topic',
    isOwn: ({ hostname }) => hostname === 'ntfy.sh',
    normalise: url => {
      const [, base = '', topic = ''] = /^(.*\/)([^/]*)$/.exec(url.pathname) ?? []
      const root = new URL(url)
      root.pathname = base
      return topic === '' ? { url } : { url: root, target: topic }
    },
  },
  tellsObject: true,
  pace: { perSecond: 0.2, burst: 50 },
  build({ message }, { target = '' }) {
    const { tone, links, method, instance, time } = message
    const [link] = links
    return jsonPayload({
      topic: target,
      title: notificationTitle(message, MAX_TITLE),
      message: notificationText(message, `${instance} · ${time}`, MAX_MESSAGE, written),
      tags: [LOOKS[tone].tag, method.replaceAll(',', ' ')],
      priority: LOOKS[tone].priority,
      ...(link && { click: link.url }),
      ...(links.length > 0 && { actions: links.map(({ text, url }) => ({ action: 'view', label: text, url })) }),
    })
  },
  judge,
}

function judge(answer: ServiceAnswer): Verdict | undefined {
  const { status } = answer
  const { code } = jsonIn(answer.text)
  if (status === 429 && code === 42908) {
    return {
      is: 'failed',
      reason: 'the daily quota (of this address, even with a token) is used up',
      afterMs: 3 * HOUR_MS,
    }
  }
  if ((status === 401 || status === 403) && isFromService(answer)) {
    return { is: 'gone', reason: 'the topic needs a token (Authorization: Bearer), or another one' }
  }
  return status === 400 || status === 413 ? { is: 'refused', reason: 'ntfy refuses what was sent' } : undefined
}
