import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

import { parse } from 'complex-matcher'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { freezeEvent, objectText, withObject } from '../src/event/event.ts'
import { parseFilter, searchableOf } from '../src/filter.ts'
import type { Filter } from '../src/filter.ts'
import { sampleObject } from '../src/sample.ts'
import { HOSTILE_FILTERS } from './fixtures/hostile-filters.ts'

const signal = {
  callId: 'k3w9x1',
  userId: 'u1',
  userName: 'bruce@example.org',
  method: 'vm.start',
  params: { id: '67aac198-0174-11ea-8d71-362b9e155667', force: false },
  timestamp: 1_700_000_000_000,
  duration: 1_500,
  result: true,
}
const event = withObject(freezeEvent('api', 'post', signal), objectText(sampleObject('vm.start')))

function filterOf(search: string): Filter {
  const filter = parseFilter(search)
  if (typeof filter !== 'function') {
    throw new Error(filter.reason)
  }
  return filter
}

function isFound(search: string): boolean | undefined {
  return filterOf(search)(searchableOf(event))
}

function isFoundIn(params: object, search: string): boolean | undefined {
  return filterOf(search)(searchableOf(freezeEvent('api', 'pre', { ...signal, params })))
}

describe('a filter', () => {
  it.each([
    ['object:tags:production', true],
    ['object:tags:staging', false],
    ['params:id:67aac198-0174-11ea-8d71-362b9e155667', true],
    ['userName:/@example.org$/', true],
    ['userName:/@example.com$/', false],
    ['!userName:backup', true],
    ['method:vm.start object:power_state:running', true],
    ['|(method:vm.stop method:vm.start)', true],
    ['duration:>1000', true],
    ['duration:>2000', false],
    ['type:post status:success', true],
    ['status:failure', false],
    ['object:VIFs:MAC:"02:00:00:00:00:10"', false],
    ['object:VIFs:"02:00:00:00:00:10"', true],
    ['object:pool:name_label:pool-1', true],
    ['result?', true],
    ['error?', false],
    ['bruce', true],
    ['nothing:of:the:kind', false],
  ])('%s: %s', (search, expected) => {
    expect(isFound(search)).toBe(expected)
  })

  it.each([
    ['object:(tags', 7, 'cannot be read'],
    ['vm)', 3, 'cannot be read'],
    ['userName:/[/', 10, 'regular expression'],
    ['duration:>soon', 10, 'needs a number'],
    ['a '.repeat(5_001), undefined, 'longer than'],
    ['('.repeat(9_000) + 'a', undefined, 'nested too deep'],
    ['('.repeat(10_000), undefined, 'nested too deep'],
    ['!'.repeat(9_999) + 'a', undefined, 'nested too deep'],
    ['a:'.repeat(4_999) + 'a', undefined, 'nested too deep'],
    ['|('.repeat(5_000), undefined, 'nested too deep'],
    ['!'.repeat(300) + 'a', undefined, 'nested too deep'],
    [`/${'(a*|'.repeat(1_200)}x${'b)*'.repeat(1_200)}/`, undefined, 'special characters'],
  ])('mistake %#: no text of a filter, with its place and a reason', (search, character, reason) => {
    expect(parseFilter(search)).toEqual({
      reason: expect.stringContaining(reason) as string,
      ...(character !== undefined && { character }),
    })
  })

  it('parses of an event only what it looks at, and once', () => {
    const broken = { ...event, fields: new Map([...event.fields, ['result', 'not JSON']]) }
    const filter = parseFilter('userName:bruce')
    const searchable = searchableOf(broken)
    expect(typeof filter === 'function' && filter(searchable)).toBe(true)
    expect(searchable['params']).toBe(searchable['params'])
  })

  it('that fails has not decided', () => {
    const broken = { ...event, fields: new Map([['result', 'not JSON']]) }
    expect(filterOf('result:x')(searchableOf(broken))).toBe(undefined)
  })

  it.each([
    ['text:prod*web', 'a prod and a web', true],
    ['text:prod*web', 'PROD WEB', true],
    ['text:prod*web', 'prod\nweb', false],
    ['text:prod*web', 'web prod', false],
    ['text:*prod*', 'x\nprod\n', true],
    ['text:*', '', true],
    ['text:s*s', '\u017f \u017f', false],
    ['text:\u00e9*\u00df', '\u00c9t\u00e9 \u00df', true],
    ['text:/.*prod.*web.*/', 'x prod web x', true],
    ['text:/\\.*/', 'x', true],
    ['text:/x\\.*$/', 'xy', false],
    ['text:/.*/', '', true],
    ['text:/.*a|.*b.*/', 'xb', true],
    ['text:/(?:a|bb){2}c/', 'abbc', true],
  ])('params:%s in %j: %s', (search, text, expected) => {
    expect(isFoundIn({ text }, `params:${search}`)).toBe(expected)
  })

  it('says what XO says, of any small event', () => {
    const word = fc.constantFrom('a', 'B', 'ab', '1', '10', '\u00e9', '\u017f', 'K', '\u00df', '\u03c3', 'x-1')
    const text = fc
      .array(fc.oneof(word, fc.constantFrom(' ', '\n', '*', '\u212a', '\u0130')), { maxLength: 5 })
      .map(parts => parts.join(''))
    const { value } = fc.letrec(tie => ({
      value: fc.oneof(
        { maxDepth: 4 },
        text,
        fc.integer({ min: 0, max: 12 }),
        fc.constantFrom(null, true, false),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom('a', 'B', 'id', 'x-1', '10'), tie('value'), { maxKeys: 3 })
      ),
    }))
    const { term } = fc.letrec<{ term: string }>(tie => ({
      term: fc.oneof(
        { maxDepth: 4 },
        word,
        fc.tuple(word, fc.constantFrom('*', '**', '*a*'), word).map(parts => parts.join('')),
        fc.constantFrom('*', '*a', '"a b"', '"a*b"', '>3', '<=10', 'a?', 'id?', '""'),
        fc.constantFrom('/a/', '/^a.*b$/i', '/.*a.*/', '/a|b.*/', '/.*1.*x.*?/', '/(a|ab)(b|1)?\\.*/', '/\u017f/i'),
        tie('term').map(term => `!${term}`),
        fc.tuple(fc.constantFrom('a', 'B', 'id', 'x-1', 'length'), tie('term')).map(([key, term]) => `${key}:${term}`),
        fc.array(tie('term'), { minLength: 1, maxLength: 3 }).map(terms => `(${terms.join(' ')})`),
        fc.array(tie('term'), { minLength: 1, maxLength: 3 }).map(terms => `|(${terms.join(' ')})`)
      ),
    }))
    const verdicts = { true: 0, false: 0 }
    fc.assert(
      fc.property(term, fc.dictionary(fc.constantFrom('a', 'B', 'id'), value, { maxKeys: 3 }), (search, found) => {
        const expected = parse(search).match(found)
        ++verdicts[`${expected}`]
        expect(filterOf(search)(found)).toBe(expected)
      }),
      { seed: 8, numRuns: 3_000 }
    )
    expect(Math.min(verdicts.true, verdicts.false)).toBeGreaterThan(500)
  })

  it('looks into an object that says it is endless', () => {
    expect(isFoundIn({ length: Number.MAX_SAFE_INTEGER, name: 'prod' }, 'prod')).toBe(true)
  })

  it('looks at the beginning of a text only', () => {
    expect(isFoundIn({ text: `${'-'.repeat(9_990)}prod` }, 'text prod')).toBe(false)
    expect(isFoundIn({ text: `${'-'.repeat(9_990)}prod` }, 'prod')).toBe(true)
    expect(isFoundIn({ text: `${'-'.repeat(10_000)}prod` }, 'prod')).toBe(false)
    expect(isFoundIn({ text: `${'-'.repeat(10_000)}prod` }, '*prod*')).toBe(false)
    expect(isFoundIn({ text: `${'-'.repeat(3_990)}prod` }, '/prod/')).toBe(true)
    expect(isFoundIn({ text: `${'-'.repeat(4_000)}prod` }, '/prod/')).toBe(false)
  })

  describe('whose regular expression takes for ever', () => {
    const text = `${'a'.repeat(100)}!`

    it('has not decided, and decides the next event', () => {
      const filter = filterOf('params:text:/(a+)+$/')
      const of = (value: string) => searchableOf(freezeEvent('api', 'pre', { ...signal, params: { text: value } }))
      expect([text, 'aaa', text, 'b'].map(value => filter(of(value)))).toEqual([undefined, true, undefined, false])
    })

    it.each([
      ['method:vm.stop params:text:/(a+)+$/', false],
      ['params:text:/(a+)+$/ method:vm.stop', false],
      ['|(params:text:/(a+)+$/ method:vm.start)', true],
      ['!(params:text:/(a+)+$/ method:vm.stop)', true],
      ['!params:text:/(a+)+$/', undefined],
      ['method:vm.start params:text:/(a+)+$/', undefined],
    ])('is asked only if nothing else decides: %s', (search, expected) => {
      expect(isFoundIn({ text }, search)).toBe(expected)
    })
  })

  it('does not look into what has too many parts', () => {
    const items = Array.from({ length: 25_000 }, () => 'a')
    expect(isFoundIn({ items }, 'params:items:a')).toBe(undefined)
    expect(isFoundIn({ items }, 'params:items:a method:vm.stop')).toBe(undefined)
    expect(isFoundIn({ items }, 'method:vm.stop params:items:a')).toBe(false)
    expect(isFoundIn({ items: items.slice(0, 15_000) }, 'params:items:a')).toBe(true)
    expect(isFoundIn({ text: 'a'.repeat(500_000) }, 'params:text:a')).toBe(true)
  })

  it('that goes through an event again and again has not decided', () => {
    const items = Array.from({ length: 100 }, () => 'a'.repeat(9_000))
    expect(isFoundIn({ items }, `params:items:|(${'*b*c '.repeat(1_900)})`)).toBe(undefined)
  })

  it('answers, whatever the filter and the event', async () => {
    // in a process that can be killed: what nothing interrupts would keep this one for ever
    const script = fileURLToPath(new URL('fixtures/filter-run.ts', import.meta.url))
    const child = spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    const answered: string[] = []
    let watch: NodeJS.Timeout | undefined
    const expectMore = () => {
      clearTimeout(watch)
      watch = setTimeout(() => child.kill('SIGKILL'), 30_000)
    }
    expectMore()
    for await (const name of createInterface(child.stdout)) {
      answered.push(name)
      expectMore()
    }
    clearTimeout(watch)
    expect(answered).toEqual(Object.keys(HOSTILE_FILTERS))
  }, 600_000)
})
