import { readFileSync } from 'node:fs'

import { Ajv } from 'ajv'
import { HTTP } from 'cloudevents'
import fc from 'fast-check'
import { Parser } from 'htmlparser2'
import { describe, expect, it } from 'vitest'

import { formats } from '../../src/formats/index.ts'
import { eventOf } from '../engine/fixtures.ts'
import { hostileTexts } from '../fixtures/hostile-texts.ts'
import { builtBy, materialOf, optionsOf, samplesWith } from '../helpers/material.ts'
import type { Words } from '../helpers/material.ts'

type Json = Readonly<Record<string, unknown>>

function bodiesWith(format: string, words: Words): [what: string, body: Json, bytes: number][] {
  return Object.entries(samplesWith(words))
    .filter(([what]) => what !== 'start' || formats.get(format)!.isPostOnly !== true)
    .map(([what, { event, object }]) => {
      const { body } = builtBy(format, event, object)
      return [what, JSON.parse(body.toString()) as Json, body.length]
    })
}

const points = (text: unknown): number => [...String(text)].length
const list = (value: unknown): readonly Json[] => value as readonly Json[]

function textOfHtml(html: unknown): string {
  let text = ''
  const parser = new Parser({ ontext: each => (text += each) }, { decodeEntities: true })
  parser.write(String(html))
  parser.end()
  return text
}

/** How large each part of a body is, and may be, by the services' own word (see the sources in each format). */
const limits: Readonly<
  Record<string, (body: Json, bytes: number) => readonly (readonly [what: string, size: number, max: number])[]>
> = {
  teams: (_, bytes) => [['message', bytes * 1.18, 28_672]],
  slack({ text, blocks }) {
    const all = list(blocks)
    return [
      ['text', String(text).length, 4_000],
      ['blocks', all.length, 50],
      ['characters of blocks', JSON.stringify(textsOf(all)).length, 13_000],
      ...all.flatMap((block): [string, number, number][] => [
        ['header', block['type'] === 'header' ? String((block['text'] as Json)['text']).length : 0, 150],
        ['fields', list(block['fields'] ?? []).length, 10],
        ...list(block['fields'] ?? []).map((field): [string, number, number] => [
          'field',
          String(field['text']).length,
          2_000,
        ]),
      ]),
    ]
  },
  discord({ embeds }) {
    const [embed] = list(embeds)
    const { title, description = '', fields, footer } = embed as Json
    const all = list(fields)
    const parts = [title, description, (footer as Json)['text'], ...all.flatMap(({ name, value }) => [name, value])]
    return [
      ['title', points(title), 256],
      ['description', points(description), 4_096],
      ['fields', all.length, 25],
      ['footer', points((footer as Json)['text']), 2_048],
      ['all', parts.reduce((sum: number, part) => sum + points(part), 0), 6_000],
      ...all.flatMap(({ name, value }): [string, number, number][] => [
        ['name', points(name), 256],
        ['value', points(value), 1_024],
        ['an empty value', String(value) === '' ? 1 : 0, 0],
      ]),
    ]
  },
  mattermost: (body, bytes) => {
    const [attachment] = list(body['attachments'])
    return [
      ['text', points(attachment!['text'] ?? ''), 16_383],
      ['footer', points(attachment!['footer']), 300],
      ['payload', bytes, 300_000],
    ]
  },
  telegram: ({ text }) => [['text without markup', points(textOfHtml(text)), 4_096]],
  ntfy: ({ message }, bytes) => [
    ['message', Buffer.byteLength(String(message)), 4_096],
    ['body', bytes, 8_192],
  ],
  gotify: (_, bytes) => [['body', bytes, 32_000]],
  pushover: ({ message, title, url = '', url_title = '' }) => [
    ['message', points(message), 1_024],
    ['an empty message', String(message).trim() === '' ? 1 : 0, 0],
    ['title', points(title), 250],
    ['URL', points(url), 512],
    ['title of the URL', points(url_title), 100],
  ],
  'google-chat': (_, bytes) => [['message', bytes, 32_000]],
  pagerduty: ({ payload, dedup_key }, bytes) => [
    ['summary', points((payload as Json)['summary']), 1_024],
    ['key', points(dedup_key), 255],
    ['event', bytes, 512_000],
  ],
}

function textsOf(value: unknown): string[] {
  if (typeof value === 'string') {
    return [value]
  }
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : []
}

function expectWithin(format: string, words: Words): void {
  for (const [what, body, bytes] of bodiesWith(format, words)) {
    for (const [part, size, max] of limits[format]!(body, bytes)) {
      expect(size, `${part} of ${what}`).toBeLessThanOrEqual(max)
    }
  }
}

/** What takes more room than it seems to: escaped, in several bytes, in two units. */
const units = ['x', ' ', '\n', '&', '<', '"', '\\', '`', '*', 'é', '漢', '😀', '👩‍👩‍👧', '\u0000', '://', '.']

describe.each(Object.keys(limits))('the limits of %s', format => {
  it.each([0, 1, 200, 201, 1_000, 2_001, 9_000])('are kept with texts of %i characters of each kind', length => {
    for (const unit of units) {
      const text = unit.repeat(length)
      expectWithin(format, { user: text, name: text, error: text, failures: 300 })
    }
  })

  it('are kept with whatever a stranger writes', () => {
    for (const [, text] of hostileTexts) {
      expectWithin(format, { user: text, name: text, error: text })
    }
  })

  it('are kept with mixtures of any length', () => {
    const text = fc.array(fc.constantFrom(...units), { maxLength: 3_000, size: 'max' }).map(parts => parts.join(''))
    fc.assert(
      fc.property(text, text, text, (user, name, error) => expectWithin(format, { user, name, error })),
      { seed: 8, numRuns: 10 }
    )
  })

  it('are kept with errors of many lines', () => {
    const error = 'é\n'.repeat(5_000)
    expectWithin(format, { user: 'bruce', name: 'web01', error, failures: 300 })
  })

  it('are kept by the format itself, with texts longer than those of any message', () => {
    const { event, object } = samplesWith()['failure']!
    for (const unit of ['x', '&', '漢']) {
      const material = materialOf(event, object)
      const [text, details] = [unit.repeat(10_000), unit.repeat(20_000)]
      const message = { ...material.message, text, details }
      const { body } = formats.get(format)!.build({ ...material, message }, optionsOf(format))
      for (const [part, size, max] of limits[format]!(JSON.parse(body.toString()) as Json, body.length)) {
        expect(size, `${part} with ${unit}`).toBeLessThanOrEqual(max)
      }
    }
  })

  it('cut what matters least: the names are there, however long the error is', () => {
    for (const [what, body] of bodiesWith(format, { user: 'bruce', name: 'web01', error: 'no '.repeat(10_000) })) {
      const text = JSON.stringify(body)
      expect(text, what).toContain(what === 'stranger' ? 'bruce' : 'web01')
      expect(text, what).toMatch(what === 'failure' || what === 'backup' ? /…/ : /./)
    }
  })
})

it('an escape takes no more room in Telegram than what it stands for', () => {
  const error = '<&>'.repeat(640)
  for (const [what, body] of bodiesWith('telegram', { user: '&'.repeat(200), name: '<'.repeat(200), error })) {
    if (what === 'failure') {
      expect(textOfHtml(body['text'])).toContain(error)
    }
  }
})

it.each([
  ['ntfy', '漢', 3_850],
  ['pushover', 'x', 1_020],
])('what %s cuts fills the room that there is: with %s, %i bytes at least', (format, char, least) => {
  const [, body] = bodiesWith(format, { user: 'bruce', name: 'web01', error: char.repeat(2_000) }).find(
    ([what]) => what === 'backup'
  )!
  expect(body['message']).toMatch(/…/)
  expect(Buffer.byteLength(String(body['message']))).toBeGreaterThanOrEqual(least)
})

it('are known of every format with a service behind it', () => {
  const told = [...formats].filter(([, { pace, tellsObject }]) => pace !== undefined || tellsObject === true)
  const own = ['template', 'virtfusion', 'event']
  expect(told.map(([name]) => name).filter(name => !own.includes(name))).toEqual(Object.keys(limits))
})

describe('what others say of the bodies', () => {
  const schema = JSON.parse(
    readFileSync(new URL('../fixtures/adaptive-card-1.5.0.json', import.meta.url), 'utf8')
  ) as Json
  const samples = [
    ...Object.entries(samplesWith()),
    ...hostileTexts.flatMap(([what, text]) =>
      Object.entries(samplesWith({ user: text, name: text, error: text })).map(
        ([sample, value]) => [`${sample}, ${what}`, value] as const
      )
    ),
  ]

  it("a card for Teams is one by Microsoft's schema", () => {
    const { id: _, $schema: __, ...rest } = schema
    const validate = new Ajv({ strict: false, validateFormats: false }).compile(rest)
    for (const [what, { event, object }] of samples) {
      const message = JSON.parse(builtBy('teams', event, object).body.toString()) as Json
      const { msteams: ___, ...card } = list(message['attachments'])[0]!['content'] as Json
      expect(validate(card) ? [] : validate.errors, what).toEqual([])
    }
    expect(validate({ type: 'AdaptiveCard', body: [{ type: 'Nothing' }] })).toBe(false)
  })

  it.each(['cloudevents', 'cloudevents-binary'])('what is sent as %s is read back by the official SDK', format => {
    for (const [what, { event, object }] of samples) {
      const { contentType, body, headers = [] } = builtBy(format, event, object)
      const named: Record<string, string> = { 'content-type': contentType }
      for (let i = 0; i < headers.length; i += 2) {
        named[headers[i]!] = headers[i + 1]!
      }
      const read = HTTP.toEvent({ headers: named, body: body.toString() })
      expect(Array.isArray(read), what).toBe(false)
      expect(read, what).toMatchObject({
        specversion: '1.0',
        id: `${event.callId}:${event.phase}`,
        type: `io.xen-orchestra.${event.method}.${event.phase}`,
        data: { callId: event.callId, method: event.method },
      })
    }
  })

  it('an attribute of a binary CloudEvent is percent-encoded in its header, as the binding has it', () => {
    const { headers = [] } = builtBy('cloudevents-binary', eventOf({ callId: 'Euro € 😀 "50%"' }))
    expect(headers[headers.indexOf('ce-id') + 1]).toBe('Euro%20%E2%82%AC%20%F0%9F%98%80%20%2250%25%22:post')
  })
})
