import { readFileSync } from 'node:fs'

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { freezeEvent, MAX_EVENT_BYTES } from '../../src/event/event.ts'
import type { Phase } from '../../src/event/event.ts'
import { formats } from '../../src/formats/index.ts'
import type { Signal } from '../../src/xo.ts'
import { builtBy } from '../helpers/material.ts'
import { signalOf } from '../helpers/signal.ts'

function bodyOf(format: string, phase: Phase, signal: Signal): string {
  return builtBy(format, freezeEvent('api', phase, signal)).body.toString()
}

const circular: unknown[] = []
circular.push(circular)

/** Any event that can reach a format, those that somebody has made to harm included. */
const signals: readonly [string, Signal][] = [
  ['a call', signalOf()],
  ['a run of a backup', signalOf({ userId: undefined, userIp: undefined, userName: '(unknown user)' })],
  ['a result', signalOf({ duration: 12, result: { id: 'vm1', list: [1, 'two', null, true] } })],
  ['an error', signalOf({ duration: 12, error: { message: 'no', code: 3, stack: 'Error: no\n    at x' } })],
  ['an error of null', signalOf({ error: null })],
  ['a text that looks like JSON', signalOf({ result: '"{[' })],
  ['an empty text', signalOf({ result: '', params: '' })],
  ['several scripts', signalOf({ userName: 'Ünï 漢字 👩‍👩‍👧', result: '\u2028\u2029\u0000\u001f\u007f' })],
  ['half of a surrogate pair', signalOf({ userName: '\ud83d', params: { '\udc00': '\ud800' }, '\ud800': 1 })],
  ['markup', signalOf({ userName: '<script>*_`@everyone</script>', result: '](javascript:x) &amp; "' })],
  ['what JSON cannot carry', signalOf({ params: { size: 1n, run: () => {} }, result: circular })],
  [
    'a getter that throws',
    signalOf({
      result: {
        get bad(): never {
          throw new Error('no')
        },
      },
    }),
  ],
  ['names of every object', signalOf({ params: JSON.parse('{"__proto__":1,"constructor":{},"toString":""}') })],
  ['a result that is too large', signalOf({ result: 'x'.repeat(2 * MAX_EVENT_BYTES) })],
  ['large values of escapes', signalOf({ params: '"\n'.repeat(100_000), result: '\u0000'.repeat(50_000) })],
  ['nothing but large values', signalOf({ params: circular, result: 'x'.repeat(1e7), error: 'é'.repeat(1e7) })],
  ['a long name', signalOf({ method: 'x'.repeat(100_000), userName: 'é'.repeat(100_000) })],
  ['the largest event', signalOf({ result: 'x'.repeat(MAX_EVENT_BYTES - 500) })],
  ['no parameters', signalOf({ params: undefined, timestamp: 0 })],
]

const events = (['pre', 'post'] as const).flatMap(phase =>
  signals.map(([what, signal]) => [`the ${phase} of ${what}`, freezeEvent('api', phase, signal)] as const)
)

describe.each([...formats])('the format %s', (name, format) => {
  it('carries any event, as valid text and JSON, and gives the same bytes each time', () => {
    for (const [what, event] of events) {
      const { contentType, body, headers = [] } = builtBy(name, event)
      expect(contentType, what).toMatch(/^[a-z]+\/[\w.+-]+(; ?charset=utf-8)?$/i)
      expect(body.length, what).toBeGreaterThan(0)
      const text = new TextDecoder('utf-8', { fatal: true }).decode(body)
      // a U+FFFD stands for half a character that was lost on the way
      expect(text, what).not.toContain('\ufffd')
      if (/json/.test(contentType)) {
        expect(() => JSON.parse(text) as unknown, what).not.toThrow()
      }
      expect(
        headers.filter(each => !/^[\x21-\x7e]*$/.test(each)),
        what
      ).toEqual([])
      expect(builtBy(name, event).body.equals(body), what).toBe(true)
    }
  })

  it('carries any values', () => {
    const value = fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true })
    fc.assert(
      fc.property(
        fc.constantFrom<Phase>('pre', 'post'),
        value,
        value,
        fc.string({ unit: 'binary' }),
        (phase, params, result, userName) => {
          const { contentType, body } = builtBy(
            name,
            freezeEvent(
              'api',
              phase,
              signalOf({ params, result, error: result, object: params, run: params, userName })
            )
          )
          expect(/json/.test(contentType) ? JSON.parse(body.toString()) : {}).toBeTypeOf('object')
        }
      ),
      { seed: 8 }
    )
  })

  it('has a title that no other has', () => {
    const titles = [...formats.values()].map(({ title }) => title)
    expect(titles.filter(title => title === format.title)).toHaveLength(1)
    expect(format.title).not.toBe('')
  })
})

interface StockRequest {
  readonly name: string
  readonly phase: Phase
  readonly signal: Signal
  /** The bodies that the stock plugin has sent. */
  readonly json: string
  readonly office365?: string
}

describe('the stock plugin sends the same bytes', () => {
  const requests = JSON.parse(
    readFileSync(new URL('../fixtures/stock-bodies.json', import.meta.url), 'utf8')
  ) as readonly StockRequest[]

  it.each(requests)('as json: $name', ({ phase, signal, json }) => {
    expect(bodyOf('json', phase, signal)).toBe(json)
  })

  it.each(requests.filter(({ office365 }) => office365 !== undefined))(
    'as office365: $name',
    ({ phase, signal, office365 }) => {
      expect(bodyOf('office365', phase, signal)).toBe(office365)
    }
  )

  it.each(['json', 'office365'])('with the same content type: %s', name => {
    expect(builtBy(name, freezeEvent('api', 'pre', signalOf())).contentType).toBe('application/json')
  })

  const value = fc.jsonValue({ stringUnit: 'binary' })
  const phases = fc.constantFrom<Phase>('pre', 'post')

  it('as json, whatever the values: the properties, then the type', () => {
    fc.assert(
      fc.property(phases, value, value, value, (phase, params, result, error) => {
        const signal = signalOf({ params, duration: 1, result, error, userIp: undefined })
        expect(bodyOf('json', phase, signal)).toBe(JSON.stringify({ ...signal, type: phase }))
      }),
      { seed: 8 }
    )
  })

  it('as office365, whatever the values: a fact for each property, a text as it is', () => {
    fc.assert(
      fc.property(phases, value, value, (phase, params, result) => {
        const signal = signalOf({ params, result })
        const facts = Object.entries(signal).map(([name, each]) => ({
          name,
          value: typeof each === 'string' ? each : JSON.stringify(each),
        }))
        const { sections } = JSON.parse(bodyOf('office365', phase, signal)) as { sections: unknown }
        expect(sections).toEqual([{ title: `XO ${phase.toUpperCase()} notification`, facts }])
      }),
      { seed: 8 }
    )
  })
})

describe('what was too large', () => {
  const signal = signalOf({ params: 'x'.repeat(1e7), duration: 3, result: 'x'.repeat(1e7) })

  it('is named at the end of a json body', () => {
    const { params: _, result: __, ...rest } = signal
    const body = JSON.stringify({ ...rest, type: 'post', omitted: ['params', 'result'] })
    expect(bodyOf('json', 'post', signal)).toBe(body)
  })

  it('is named in the last fact of an office365 card', () => {
    const { sections } = JSON.parse(bodyOf('office365', 'post', signal)) as {
      sections: { facts: unknown[] }[]
    }
    expect(sections[0]?.facts.at(-1)).toEqual({ name: 'omitted', value: 'params, result' })
  })

  it('leaves a json body within its bound', () => {
    fc.assert(
      fc.property(fc.integer({ min: -200, max: 50 }), length => {
        const large = signalOf({ result: 'x'.repeat(MAX_EVENT_BYTES + length), params: 'é', error: '"' })
        expect(Buffer.byteLength(bodyOf('json', 'post', large))).toBeLessThanOrEqual(MAX_EVENT_BYTES)
      }),
      { seed: 8, numRuns: 20 }
    )
  })
})
