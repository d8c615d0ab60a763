import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { formats } from '../../src/formats/index.ts'
import { hostileTexts } from '../fixtures/hostile-texts.ts'
import { materialOf, samplesWith } from '../helpers/material.ts'

const template = formats.get('template')!
const samples = samplesWith()

function filled(text: string, { event, object } = samples['failure']!): { contentType: string; text: string } {
  const { contentType, body } = template.build(materialOf(event, object), { template: text })
  return { contentType, text: body.toString() }
}

function valueOf(placeholder: string, sample = samples['failure']!): unknown {
  return (JSON.parse(filled(JSON.stringify({ x: placeholder }), sample).text) as { x: unknown }).x
}

describe('a placeholder', () => {
  it.each<[placeholder: string, value: unknown]>([
    ['{{title}}', 'VM start failed'],
    ['{{outcome}}', 'failure'],
    ['{{object.name}}', 'web01'],
    ['{{object.tags}}', []],
    ['{{object.pool.name_label}}', 'pool-1'],
    ['{{user}}', 'bruce.wayne@waynecorp.com'],
    ['{{duration}}', 2_317],
    ['{{ at }}', 1_795_296_370_000],
    ['{{event.params.id}}', '67aac198-0174-11ea-8d71-362b9e155667'],
    ['{{event.params}}', { id: '67aac198-0174-11ea-8d71-362b9e155667' }],
    ['{{instance.name}}', 'XO Paris'],
    ['{{link}}', 'https://xo.example.org/v6/#/vm/67aac198-0174-11ea-8d71-362b9e155667'],
    // what is not there
    ['{{event.result.id}}', null],
    ['{{event.params.id.length}}', null],
    ['{{event.params.toString}}', null],
    ['{{event.params.__proto__}}', null],
    ['{{event.params.constructor.name}}', null],
    // within a text
    ['{{object.name}}: {{duration}} ms', 'web01: 2317 ms'],
    ['<{{event.result.id}}>', '<>'],
    ['{{event.params}}.', '{"id":"67aac198-0174-11ea-8d71-362b9e155667"}.'],
    [' {{duration}}', ' 2317'],
    ['no placeholder } {', 'no placeholder } {'],
    // filters
    ['{{event.result.id | default:none}}', 'none'],
    ['{{object.name | default:none}}', 'web01'],
    ['{{outcome | map:success=0,failure=2,*=3}}', 2],
    ['{{phase | map:success=0,failure=2,*=3}}', 3],
    ['{{phase | map:pre=before}}', 'post'],
    ['{{outcome | map:failure=true}}', true],
    ['{{at | date:iso}}', '2026-11-21T21:26:10.000Z'],
    ['{{at | date:unix}}', 1_795_296_370],
    ['{{at | date:ms}}', 1_795_296_370_000],
    ['{{at | date:ns}}', '1795296370000000000'],
    ['{{user | date:iso}}', null],
    ['{{duration | duration}}', '2.3 s'],
    ['{{title | cut:9}}', 'VM start…'],
    ['{{object.name | upper}}', 'WEB01'],
    ['{{title | lower | url}}', 'vm%20start%20failed'],
    ['{{duration | text}}', '2317'],
    ['{{error | default:fine | cut:4 | lower}}', 'hos…'],
  ])('%s', (placeholder, value) => {
    expect(valueOf(placeholder)).toEqual(value)
  })

  it('gives what of a backup has failed, a line each', () => {
    expect(String(valueOf('{{failures | lines | default:ok}}', samples['backup'])).split('\n')).toEqual(
      Array.from({ length: 5 }, (_, n) => `web01 ${n}: ENOSPC: no space left on device, write`)
    )
    expect(valueOf('{{failures | lines | default:ok}}', samples['success'])).toBe('ok')
  })
})

describe('a template', () => {
  it.each([
    ['{"a": [1, -2.5e3, true, null, {"b": "{{outcome}}"}], "": {}}', '{"a":[1,-2500,true,null,{"b":"failure"}],"":{}}'],
    [' [ "{{outcome}}" , [] ] ', '["failure",[]]'],
    ['{"\\u00e9\\n": "\\"{{outcome}}\\" \\ud83d\\ude00"}', '{"é\\n":"\\"failure\\" 😀"}'],
    ['{"__proto__": "{{outcome}}"}', '{"__proto__":"failure"}'],
  ])('%s is a tree of JSON, and stays one', (text, expected) => {
    expect(template.template!(text)).toBeUndefined()
    expect(filled(text)).toEqual({ contentType: 'application/json', text: expected })
  })

  it('that does not begin with a brace or bracket is a plain text', () => {
    const text = 'XO: {{title}}\n{"{{outcome}}"} {{event.result.x}}'
    expect(template.template!(text)).toBeUndefined()
    expect(filled(text)).toEqual({
      contentType: 'text/plain; charset=utf-8',
      text: 'XO: VM start failed\n{"failure"} ',
    })
  })

  it('is filled in once: what comes from an event is never read as one', () => {
    for (const name of ['{{user}}', '{{token}} | {{', '"}, {"x": "', '\\', '}}']) {
      const words = { user: 'bruce', name, error: name }
      const { failure } = samplesWith(words)
      expect(
        JSON.parse(filled('{"a": "{{event.error.message}}", "b": "[{{event.error.message}}]"}', failure!).text)
      ).toEqual({
        a: name,
        b: `[${name}]`,
      })
    }
  })

  it('comes to JSON of the same keys, whatever a stranger writes', () => {
    const text =
      '{"a": "{{user}}", "b": ["x {{event.userName}} y"], "c": {"d": "{{object.name | url | cut:50}}", "e": "{{event}}"}}'
    for (const [what, stranger] of hostileTexts) {
      const { failure } = samplesWith({ user: stranger, name: stranger, error: stranger })
      const value = JSON.parse(filled(text, failure!).text) as { b: string[]; c: object }
      expect(Object.keys(value), what).toEqual(['a', 'b', 'c'])
      expect(Object.keys(value.c), what).toEqual(['d', 'e'])
      expect(value.b, what).toEqual([`x ${stranger} y`])
    }
  })

  it.each<[text: string, place: string, expected: RegExp, got?: string]>([
    ['{"a": }', '1:7', /a value/, '"}"'],
    ['{"a": 1,\n "b" 2}', '2:6', /":"/],
    ['{"a": 1,}', '1:9', /a name in double quotes/],
    ["{'a': 1}", '1:2', /a name in double quotes/],
    ['[1, 2', '1:6', /"," or "]"/, 'the end'],
    ['[1] x', '1:5', /the end of the template/],
    ['{"a": 01}', '1:7', /a value/],
    ['{"a": "x\ny"}', '1:9', /line end/],
    ['{"a": "\\x"}', '1:8', /the end of a string/],
    ['{"a":\n\n  "b {{title"}', '3:6', /a placeholder/],
    ['{"a": "{{title}} {{}}"}', '1:18', /a path/, 'nothing'],
    ['{"a": "{{title}} {{a b}}"}', '1:18', /a path/],
    ['{"a": "{{tilte}}"}', '1:8', /did you mean title\?/, '"tilte"'],
    ['{"a": "{{objct.name}}"}', '1:8', /did you mean object\.name\?/, '"objct"'],
    ['{"a": "{{object.nme}}"}', '1:8', /did you mean object\.name\?/, '"object.nme"'],
    ['{"a": "{{event.userNmae}}"}', '1:8', /did you mean event\.userName\?/],
    ['{"a": "{{title.x}}"}', '1:8', /did you mean title\?/, '"title.x"'],
    ['{"a": "{{token}}"}', '1:8', /a path that events have/],
    ['{"a": "{{title | uper}}"}', '1:8', /one of the filters default, map/, '"uper"'],
    ['{"a": "{{title | cut}}"}', '1:8', /cut:200/],
    ['{"a": "{{title | cut:x}}"}', '1:8', /cut:200/],
    ['{"a": "{{at | date:local}}"}', '1:8', /date:iso/],
    ['{"a": "{{outcome | map:success}}"}', '1:8', /map:success=0/],
    ['{"a": "{{title | upper:x}}"}', '1:8', /"upper"/],
    ['{"a": {"{{user}}": 1}}', '1:8', /a name without placeholders/],
    ['{{title}} {{nobody}}', '1:11', /a path that events have/],
    ['hello {{user}}\n and {{nobody}}', '2:6', /a path that events have/],
    ['hello {{user', '1:7', /a placeholder/],
    ['['.repeat(100), '1:51', /at most 50 levels/],
  ])('%j is refused at %s', (text, place, expected, got) => {
    const mistake = template.template!(text)
    expect(mistake?.expected).toMatch(expected)
    expect(`${mistake?.line}:${mistake?.column}`).toBe(place)
    if (got !== undefined) {
      expect(mistake?.got).toBe(got)
    }
  })

  it('is read as JSON.parse reads it', () => {
    const mutated = fc.tuple(
      fc.json({ maxDepth: 3 }),
      fc.nat(),
      fc.constantFrom('', '"', ',', '}', '1', ' ', '\\', '\t', '.')
    )
    fc.assert(
      fc.property(mutated, ([json, at, char]) => {
        const inner = json.slice(0, at % (json.length + 1)) + char + json.slice(at % (json.length + 1))
        const text = `[${inner}]`
        let value: unknown
        try {
          value = JSON.parse(text)
        } catch {
          value = undefined
        }
        if (!text.includes('{{')) {
          const mistake = template.template!(text)
          expect(mistake === undefined, text).toBe(value !== undefined)
          if (mistake === undefined) {
            expect(JSON.parse(filled(text).text)).toEqual(JSON.parse(JSON.stringify(value)))
          }
        }
      }),
      { seed: 8, numRuns: 300 }
    )
  })
})
