import MarkdownIt from 'markdown-it'

/**
 * How services show the bodies that they are sent, more or less: enough to see what people will read, and whether it is too
 * much. An Adaptive Card is drawn by Microsoft's own renderer instead (`gallery.ts`).
 */

type Json = Readonly<Record<string, unknown>>

/** HTML of a message. */
export type LookAlike = (body: Json) => string

/** Of all pictures. Fonts are those that a machine without any of its own has as well. */
export const STYLE = `
  body { margin: 0; padding: 14px; width: 470px; font: 14px/1.45 'Liberation Sans', Arial, sans-serif; color: #1d1c1d; }
  pre, code { font-family: 'Liberation Mono', monospace; font-size: 12px; margin: 0; white-space: pre-wrap; word-break: break-word; }
  a { color: inherit; text-decoration: none; }
  p { margin: 0; }
  .message { display: flex; gap: 10px; margin: 0 0 14px; }
  .message:last-child { margin: 0; }
  .avatar { flex: none; width: 34px; height: 34px; border-radius: 6px; background: #be1621; color: #fff; font: bold 15px/34px 'Liberation Sans'; text-align: center; }
  .content { flex: 1; min-width: 0; }
  .from { font-weight: bold; }
  .from small { font-weight: normal; color: #777; }
  .emoji { display: inline-block; width: 1.1em; height: 1.1em; vertical-align: -0.2em; }
`

export interface Look {
  readonly style: string
  readonly draw: LookAlike
}

const markdown = new MarkdownIt({ breaks: true })

const record = (value: unknown): Json => value as Json
const list = (value: unknown): readonly Json[] => (value ?? []) as readonly Json[]

function textOf(value: unknown): string {
  return String(value ?? '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
}

/** Of Slack's `text`, which is escaped as HTML is, and has a time of the reader's zone. */
function slackTextOf(value: unknown): string {
  return String(value)
    .replaceAll(/<!date\^(\d+)\^[^>]*>/g, (_, seconds: string) => timeOf(Number(seconds) * 1_000))
    .replaceAll(/\*([^*]+)\*/g, '<b>$1</b>')
}

function timeOf(at: number): string {
  return new Date(at).toLocaleString('en-US', { dateStyle: 'medium', timeStyle: 'medium', timeZone: 'UTC' })
}

function fromApp(content: string, app = 'APP'): string {
  return `<div class=message><div class=avatar>XO</div><div class=content>
    <div class=from>Xen Orchestra <small>${app}</small></div>${content}</div></div>`
}

const slack: Look = {
  style: `
    h1 { font-size: 17px; margin: 4px 0; } .fields { display: grid; grid-template-columns: 110px 1fr; gap: 2px 8px; margin: 4px 0; }
    pre { background: #f6f6f6; border: 1px solid #ddd; border-radius: 4px; padding: 7px; margin: 6px 0; }
    button { background: #fff; border: 1px solid #bbb; border-radius: 4px; font: bold 13px 'Liberation Sans'; padding: 5px 11px; margin: 4px 6px 4px 0; }
    .context { color: #666; font-size: 12px; }`,
  draw({ blocks }) {
    const parts = list(blocks).map(block => {
      switch (block['type']) {
        case 'header':
          return `<h1>${String(record(block['text'])['text'])}</h1>`
        case 'section':
          return `<div class=fields>${list(block['fields'])
            .map(({ text }) => `<div>${slackTextOf(text)}</div>`)
            .join('')}</div>`
        case 'rich_text': {
          const [element] = list(block['elements'])
          return `<pre>${textOf(list(element!['elements'])[0]!['text'])}</pre>`
        }
        case 'actions':
          return list(block['elements'])
            .map(({ text }) => `<button>${String(record(text)['text'])}</button>`)
            .join('')
        default:
          return `<div class=context>${list(block['elements'])
            .map(({ text }) => slackTextOf(text))
            .join(' &nbsp; ')}</div>`
      }
    })
    return fromApp(parts.join(''))
  },
}

const discord: Look = {
  style: `
    body { background: #313338; color: #dbdee1; } .from small { background: #5865f2; color: #fff; border-radius: 3px; padding: 0 4px; font-size: 10px; }
    .avatar { border-radius: 50%; } .embed { background: #2b2d31; border-left: 4px solid; border-radius: 4px; padding: 9px 12px; margin-top: 4px; }
    .embed b a { color: #00a8fc; } .fields { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px 8px; margin-top: 6px; font-size: 13px; word-break: break-word; }
    pre { background: #1e1f22; border-radius: 4px; padding: 7px; margin: 6px 0; } .footer { font-size: 11px; color: #b5bac1; margin-top: 8px; }`,
  draw({ embeds }) {
    const [embed] = list(embeds)
    const { title, url, color, timestamp, description, fields, footer } = embed!
    return fromApp(
      `<div class=embed style="border-color: #${Number(color).toString(16).padStart(6, '0')}">
        <b><a${url === undefined ? ' style="color: inherit"' : ''}>${markdown.renderInline(String(title))}</a></b>
        ${markdown.render(String(description ?? ''))}
        <div class=fields>${list(fields)
          .map(({ name, value }) => `<div><b>${textOf(name)}</b><br>${markdown.renderInline(String(value))}</div>`)
          .join('')}</div>
        <div class=footer>${textOf(record(footer)['text'])} • ${timeOf(Date.parse(String(timestamp)))}</div></div>`
    )
  },
}

const mattermost: Look = {
  style: `
    .avatar { border-radius: 50%; } .attachment { border: 1px solid #ddd; border-left: 4px solid; border-radius: 4px; padding: 9px 12px; margin-top: 4px; }
    .attachment > b { font-size: 15px; color: #1c58d9; } .fields { display: grid; grid-template-columns: 1fr 1fr; gap: 6px 8px; margin-top: 6px; }
    pre { background: #f2f3f5; border-radius: 4px; padding: 7px; margin: 6px 0; } code { background: #f2f3f5; padding: 1px 3px; } pre code { padding: 0; }
    .footer { font-size: 11px; color: #777; margin-top: 8px; }`,
  draw({ attachments }) {
    const [attachment] = list(attachments)
    const { color, title, title_link, text, fields, footer } = attachment!
    return fromApp(
      `<div class=attachment style="border-left-color: ${String(color)}">
        <b${title_link === undefined ? ' style="color: inherit"' : ''}>${markdown.renderInline(String(title))}</b>
        ${markdown.render(String(text ?? ''))}
        <div class=fields>${list(fields)
          .map(
            field => `<div><b>${textOf(field['title'])}</b><br>${markdown.renderInline(String(field['value']))}</div>`
          )
          .join('')}</div>
        <div class=footer>${textOf(footer)}</div></div>`,
      'BOT'
    )
  },
}

const telegram: Look = {
  style: `
    body { background: #9bbf8c; } .bubble { background: #fff; border-radius: 10px; padding: 7px 11px; margin: 0 40px 12px 0; white-space: pre-wrap; }
    .bubble:last-child { margin-bottom: 0; } .bubble a { color: #2481cc; } code { color: #a03030; }
    pre { background: #f0f2f5; border-left: 3px solid #2481cc; border-radius: 4px; padding: 5px 8px; }`,
  draw: ({ text }) =>
    `<div class=bubble><b style="color: #be1621">Xen Orchestra</b>\n${String(text).replaceAll(/\n?(<\/?pre>)\n?/g, '$1')}</div>`,
}

const TAGS: Readonly<Record<string, string>> = { x: '❌', white_check_mark: '✅', warning: '⚠️' }

const ntfy: Look = {
  style: `
    body { background: #e8ecef; } .card { background: #fff; border-radius: 8px; padding: 10px 14px; margin-bottom: 12px; } .card:last-child { margin: 0; }
    .card small { color: #777; } .text { white-space: pre-wrap; word-break: break-word; margin: 4px 0; } .tags { color: #777; font-size: 12px; }
    .actions { color: #317f6f; font-weight: bold; font-size: 13px; } .actions span { margin-right: 16px; }`,
  draw({ topic, title, message, tags, actions }) {
    const [emoji = '', ...others] = (tags as readonly string[]).map(tag => TAGS[tag] ?? tag)
    return `<div class=card><small>${textOf(topic)}</small><br><b>${emoji} ${textOf(title)}</b>
      <div class=text>${textOf(message)}</div><div class=tags>Tags: ${textOf(others.join(', '))}</div>
      <div class=actions>${list(actions)
        .map(({ label }) => `<span>${textOf(label)}</span>`)
        .join('')}</div></div>`
  },
}

const googleChat: Look = {
  style: `
    .avatar { border-radius: 50%; } .card { border: 1px solid #dadce0; border-radius: 10px; margin-top: 4px; } .section { border-top: 1px solid #dadce0; padding: 8px 14px; }
    .header { padding: 9px 14px; } .header small, .label { color: #5f6368; font-size: 12px; } .widget { margin: 3px 0; word-break: break-word; }
    .two { display: grid; grid-template-columns: 1fr 1fr; } button { border: 1px solid #c4c7c5; border-radius: 15px; background: #fff; color: #0b57d0; font: bold 13px 'Liberation Sans'; padding: 6px 12px; margin-right: 6px; }`,
  draw({ cardsV2 }) {
    const { header, sections } = record(list(cardsV2)[0]!['card'])
    const widgetOf = ({ decoratedText, textParagraph, buttonList }: Json): string => {
      if (decoratedText !== undefined) {
        const { topLabel, text } = record(decoratedText)
        return `<div class=widget><span class=label>${textOf(topLabel)}</span><br>${String(text)}</div>`
      }
      return textParagraph !== undefined
        ? `<div class=widget>${String(record(textParagraph)['text'])}</div>`
        : list(record(buttonList)['buttons'])
            .map(({ text }) => `<button>${textOf(text)}</button>`)
            .join('')
    }
    return fromApp(
      `<div class=card><div class=header><b>${textOf(record(header)['title'])}</b><br><small>${textOf(record(header)['subtitle'])}</small></div>
      ${list(sections)
        .map(({ widgets }) => `<div class=section>${list(widgets).map(widgetOf).join('')}</div>`)
        .join('')}</div>`
    )
  },
}

/** By the format's name. */
export const looks: ReadonlyMap<string, Look> = new Map([
  ['slack', slack],
  ['discord', discord],
  ['mattermost', mattermost],
  ['telegram', telegram],
  ['ntfy', ntfy],
  ['google-chat', googleChat],
])
