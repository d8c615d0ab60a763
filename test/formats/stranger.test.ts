import { parse as parseDiscord } from 'discord-markdown-parser'
import { Parser } from 'htmlparser2'
import MarkdownIt from 'markdown-it'
import { NodeType, parse as parseSlack } from 'slack-message-parser'
import { describe, expect, it } from 'vitest'

import { formats } from '../../src/formats/index.ts'
import { hostileTexts } from '../fixtures/hostile-texts.ts'
import { builtBy, samplesWith } from '../helpers/material.ts'

// Nothing that a stranger has written is bold, a link or a mention, breaks out of where it stands, or is hidden: shown by
// parsers of the services' markups. Each text is compared with a harmless one in the same place: it may not make a difference.

/** A text as a service renders it, as the names of what it consists of besides text. */
type Structure = readonly string[]

const markdown = new MarkdownIt({ linkify: true, html: true })

function markdownOf(text: string): Structure {
  const tokens = markdown.parse(text, {}).flatMap(token => [token, ...(token.children ?? [])])
  for (const { type, content } of tokens) {
    if (type === 'text') {
      expect(content).not.toMatch(/(?:^|\W)@\w/)
    }
  }
  return tokens.map(({ type }) => type).filter(type => type !== 'text' && type !== 'text_special' && type !== 'inline')
}

function discordOf(text: string): Structure {
  const kindsOf = (nodes: readonly { type: string; content?: unknown }[]): string[] =>
    nodes.flatMap(({ type, content }) => [type, ...(Array.isArray(content) ? kindsOf(content) : [])])
  return kindsOf(parseDiscord(text, 'extended')).filter(type => !['text', 'twemoji'].includes(type))
}

function htmlOf(text: string): Structure {
  const tags: string[] = []
  const parser = new Parser({
    onopentag(name) {
      tags.push(name)
    },
    onclosetag(name) {
      tags.push(`/${name}`)
    },
    oncomment: () => tags.push('comment'),
    oncdatastart: () => tags.push('cdata'),
  })
  parser.write(text)
  parser.end()
  // lines of an error
  return tags.filter(tag => tag !== 'br' && tag !== '/br')
}

function slackOf(text: string): Structure {
  const kindsOf = (node: { type: NodeType; children?: readonly unknown[] }): string[] => [
    NodeType[node.type],
    ...(node.children ?? []).flatMap(child => kindsOf(child as { type: NodeType })),
  ]
  // the rest of the markup is switched off where strangers' texts stand, and these never are
  const live = ['ChannelLink', 'UserLink', 'URL', 'Command']
  return kindsOf(parseSlack(text)).filter(kind => live.includes(kind))
}

type Json = Readonly<Record<string, unknown>>

/** All texts below a value, with the names under which they stand. */
function textsIn(value: unknown, path = ''): [path: string, text: string][] {
  if (typeof value === 'string') {
    return [[path, value]]
  }
  return typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, child]) => textsIn(child, `${path}.${key}`))
    : []
}

function at(path: RegExp): (body: Json) => string[] {
  return body => textsIn(body).flatMap(([where, text]) => (path.test(where) ? [text] : []))
}

const lineCount = (text: string): Structure => [`${text.split('\n').length} lines`]
const whole = (text: string): Structure => [text]

/** What of a body a service renders, and how. A text that is rendered `whole` is ours alone. */
const renderings: Readonly<Record<string, readonly (readonly [texts: (body: Json) => string[], of: typeof whole])[]>> =
  {
    teams: [
      [body => blocksOf(body, 'TextBlock').map(({ text }) => String(text)), whole],
      [at(/fallbackText|summary|\.actions\./), whole],
    ],
    slack: [
      [body => blocksOf(body, 'mrkdwn').map(({ text }) => String(text)), whole],
      [at(/^\.text$/), slackOf],
      [body => blocksOf(body, 'plain_text').map(({ text }) => String(text)), slackOf],
      [at(/\.url$/), whole],
    ],
    discord: [
      [at(/\.(?:title|value|description)$/), discordOf],
      [at(/\.(?:url|name)$|footer|^\.content/), whole],
    ],
    mattermost: [
      [at(/attachments\.0\.(?:title|text)$|\.value$|fallback/), markdownOf],
      [at(/title_link|fields\.\d+\.title|footer/), whole],
    ],
    telegram: [[at(/^\.text$/), htmlOf]],
    'google-chat': [
      [at(/textParagraph\.text$|decoratedText\.text$/), htmlOf],
      [at(/fallbackText|header|topLabel|buttonList/), whole],
    ],
    ntfy: [
      [at(/^\.title$/), lineCount],
      [at(/click|url|tags|topic/), whole],
    ],
    gotify: [
      [at(/^\.title$/), lineCount],
      [at(/contentType|url/), whole],
    ],
    pushover: [
      [at(/^\.title$/), lineCount],
      [at(/url|user/), whole],
    ],
    pagerduty: [
      [at(/summary|component|source/), lineCount],
      [at(/routing_key|dedup_key|event_action|severity|href/), whole],
    ],
  }

function blocksOf(value: unknown, type: string): Json[] {
  if (typeof value !== 'object' || value === null) {
    return []
  }
  const children = Object.values(value).flatMap(child => blocksOf(child, type))
  return (value as Json)['type'] === type ? [value as Json, ...children] : children
}

const tellingFormats = [...formats].filter(([, format]) => format.tellsObject === true).map(([name]) => name)
const chats = Object.keys(renderings)

function bodyOf(format: string, what: string, text: string): Json {
  const words = { user: text, name: text, error: text, failures: 2 }
  const { event, object } = samplesWith(words)[what]!
  return JSON.parse(builtBy(format, event, object).body.toString()) as Json
}

it('is shown for every format that tells people', () => {
  const others = ['template', 'virtfusion', 'event']
  expect([...chats, ...others].sort()).toEqual([...tellingFormats].sort())
})

describe.each(chats)('what a stranger writes, in the format %s', format => {
  it.each(hostileTexts)('cannot be used %s', (_, text) => {
    for (const what of ['start', 'failure', 'backup', 'state', 'stranger']) {
      const [hostile, harmless] = [bodyOf(format, what, text), bodyOf(format, what, 'harmless')]
      for (const [texts, structureOf] of renderings[format]!) {
        const [is, should] = [hostile, harmless].map(body => texts(body).map(structureOf))
        // a name of nothing but space is no name, and has no line
        if (text.trim() !== '') {
          expect(is, what).toEqual(should)
        }
      }
      for (const [path, shown] of textsIn(hostile)) {
        expect(shown, path).not.toMatch(
          /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/
        )
        expect(shown, path).not.toMatch(
          /[\u00ad\u2060-\u206f\ufeff\ufff9-\ufffb\u{1bca0}\u{1d173}\u{e0000}-\u{e0fff}]/u
        )
        expect(shown.isWellFormed(), path).toBe(true)
      }
    }
  })

  it('stands in its place: it cannot add a line to what is told', () => {
    const lines = (text: string): number[] =>
      textsIn(bodyOf(format, 'stranger', text)).map(([, shown]) => shown.split('\n').length)
    expect(lines('bruce\nFrom: 127.0.0.1\r\nOutcome: fine\u2028x')).toEqual(lines('bruce'))
  })

  it('is no address that a client makes a link of, however long a text is', () => {
    const plain = ['ntfy', 'gotify', 'pushover', 'google-chat']
    const links =
      'http://evil.example, www.evil.example, evil.example/x, a@evil.example, evil.xn--p1ai, evil\u3002example, 66.66.66.66/evil '
    for (const [what, count] of [
      ['failure', 1],
      ['failure', 200],
      ['backup', 200],
    ] as const) {
      const shown = textsIn(bodyOf(format, what, links.repeat(count))).filter(([, text]) => text.includes('evil'))
      expect(shown.length).toBeGreaterThan(0)
      if (plain.includes(format)) {
        expect(
          shown.filter(([, text]) => /:\/\/evil|www\.evil|evil[.\u3002](?:example|xn)|66\.66\.66\.66/.test(text))
        ).toEqual([])
      }
    }
  })
})

it('stands in text runs only in Teams, the only element without markup', () => {
  const texts = textsIn(bodyOf('teams', 'failure', 'stranger')).filter(([, text]) => text.includes('stranger'))
  expect(texts.length).toBeGreaterThan(2)
  expect(texts.filter(([path]) => !/\.inlines\.\d+\.text$/.test(path))).toEqual([])
})

it('stands in code only in Telegram, in which nothing becomes a mention or a command', () => {
  const { text } = bodyOf('telegram', 'failure', 'stranger') as { text: string }
  const elsewhere = text.replace(/<(code|pre)>[^<]*<\/\1>/g, '')
  expect(text).toContain('stranger')
  expect(elsewhere).not.toContain('stranger')
})

it('is nothing that Mattermost translates from Slack', () => {
  for (const [, text] of hostileTexts) {
    for (const [path, shown] of textsIn(bodyOf('mattermost', 'failure', text))) {
      expect(shown, path).not.toMatch(/<[!@#]|<https?:|<mailto:/)
    }
  }
})
