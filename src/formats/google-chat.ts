import { isFromService, jsonPayload } from './format.ts'
import type { Format } from './format.ts'
import { escapeHtml, fitted, withoutLinks } from './text.ts'

const MAX_DETAILS = 4_000

/**
 * A webhook of a Google Chat space: one card. Its texts are a small HTML; what tells of a card elsewhere (`fallbackText`)
 * has Chat's own markup, so that it is ours alone.
 *
 * Sources: https://developers.google.com/workspace/chat/quickstart/webhooks, …/api/reference/rest/v1/cards
 */
export const googleChat: Format = {
  title: 'Google Chat',
  url: {
    example: 'https://chat.googleapis.com/v1/spaces/…/messages?key=…&token=…',
    isOwn: ({ hostname }) => hostname === 'chat.googleapis.com',
  },
  tellsObject: true,
  pace: { perSecond: 1, burst: 2 },
  build({ message: { emoji, title, facts, details, links, instance, time } }) {
    const buttons = links.map(({ text, url }) => ({ text, onClick: { openLink: { url } } }))
    const widgets = facts.map(({ label, value }) => ({
      decoratedText: { topLabel: label, text: escaped(value), wrapText: true },
    }))
    const sections = [
      ...(widgets.length === 0 ? [] : [{ widgets }]),
      ...(details === undefined
        ? []
        : [
            {
              widgets: [
                {
                  textParagraph: {
                    text: fitted(withoutLinks(details), MAX_DETAILS, escapeHtml).replaceAll('\n', '<br>'),
                  },
                },
              ],
            },
          ]),
      ...(buttons.length === 0 ? [] : [{ widgets: [{ buttonList: { buttons } }] }]),
    ]
    return jsonPayload({
      fallbackText: 'Xen Orchestra',
      cardsV2: [
        { cardId: 'xo', card: { header: { title: `${emoji} ${title}`, subtitle: `${instance} · ${time}` }, sections } },
      ],
    })
  },
  judge: answer => {
    switch (answer.status) {
      case 400:
        return { is: 'refused', reason: 'Google Chat refuses what was sent' }
      case 401:
      case 403:
      case 404:
        return isFromService(answer)
          ? { is: 'gone', reason: 'the space or its webhook does not exist any more' }
          : undefined
      default:
        return undefined
    }
  },
}

/** Chat looks for addresses in what is no HTML, too. */
function escaped(text: string): string {
  return escapeHtml(withoutLinks(text))
}
