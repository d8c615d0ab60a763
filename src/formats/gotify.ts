import { isFromService, jsonPayload } from './format.ts'
import type { Format } from './format.ts'
import { notificationText, notificationTitle } from './notification.ts'
import type { Tone } from './words.ts'

const PRIORITIES: Readonly<Record<Tone, number>> = { good: 4, bad: 8, warning: 6, info: 4, pending: 1 }
const MAX_MESSAGE = 4_000
const MAX_TITLE = 250

/** Source: https://gotify.net/api-docs#/message/createMessage */
export const gotify: Format = {
  title: 'Gotify',
  token: {
    meaning: "the application's token, unless the URL has it (`?token=…`)",
    ...{ isRequired: true, inQuery: 'token' },
    place: { header: 'X-Gotify-Key' },
  },
  url: {
    example: 'https://push.example.org/message',
    normalise: url => {
      const whole = new URL(url)
      whole.pathname = whole.pathname.replace(/\/(?:message\/?)?$/, '/message')
      return { url: whole }
    },
  },
  tellsObject: true,
  build({ message }) {
    const { emoji, tone, links, instance, time } = message
    const [link] = links
    return jsonPayload({
      title: notificationTitle(message, MAX_TITLE, emoji),
      message: notificationText(message, `${instance} · ${time}`, MAX_MESSAGE),
      priority: PRIORITIES[tone],
      extras: {
        'client::display': { contentType: 'text/plain' },
        ...(link && { 'client::notification': { click: { url: link.url } } }),
      },
    })
  },
  judge: answer => {
    switch (answer.status) {
      case 400:
        return { is: 'refused', reason: 'Gotify refuses what was sent' }
      case 401:
      case 403:
        return isFromService(answer) ? { is: 'gone', reason: "the application's token is not valid" } : undefined
      default:
        return undefined
    }
  },
}
