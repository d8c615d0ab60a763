import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { copyOf, freezeEvent, MAX_EVENT_BYTES, objectText, outcomeOf, withObject } from '../../src/event/event.ts'
import type { Event } from '../../src/event/event.ts'
import { signalOf } from '../helpers/signal.ts'

function valuesOf({ fields }: Event): Record<string, unknown> {
  return Object.fromEntries([...fields].map(([key, text]) => [key, JSON.parse(text) as unknown]))
}

function bytesOf({ fields }: Event): number {
  return Buffer.byteLength(`{${[...fields].map(([key, text]) => `${JSON.stringify(key)}:${text}`).join()}}`)
}

describe('outcomeOf', () => {
  it.each([
    ['pre', {}, 'started'],
    ['pre', { error: new Error() }, 'started'],
    ['post', { result: undefined }, 'success'],
    ['post', { result: false }, 'success'],
    ['post', { error: undefined, result: 1 }, 'success'],
    ['post', { error: { message: 'no' } }, 'failure'],
    ['post', { error: null }, 'failure'],
  ] as const)('a %s with %o is a %s', (phase, fields, outcome) => {
    expect(outcomeOf(phase, signalOf(fields))).toBe(outcome)
    expect(freezeEvent('api', phase, signalOf(fields)).outcome).toBe(outcome)
  })
})

describe('freezeEvent', () => {
  it('keeps what the event is known by', () => {
    const event = freezeEvent('backup', 'post', signalOf({ duration: 3 }))
    expect(event).toMatchObject({
      source: 'backup',
      phase: 'post',
      method: 'vm.start',
      callId: 'k3y',
      timestamp: 1_700_000_000_000,
      omitted: [],
    })
  })

  it.each<[unknown, string]>([
    [undefined, ''],
    [null, 'null'],
    [7, '7'],
    [10n, '"10"'],
    [Symbol('call'), '"Symbol(call)"'],
    [() => {}, '"[Function: ]"'],
    [{ id: 'k3y' }, '{"id":"k3y"}'],
  ])('is known by texts and a number, whatever stands in their places: %s', (odd, text) => {
    const event = freezeEvent('api', 'post', signalOf({ callId: odd, method: odd, timestamp: odd }))
    expect(event).toMatchObject({ callId: text, method: text, timestamp: odd === 7 ? 7 : Number.NaN })
    expect(() => structuredClone(event)).not.toThrow()
  })

  it('keeps the properties in the order of the host, whatever their weight', () => {
    const event = freezeEvent('api', 'post', { result: 1, zeta: 2, error: 3, ...signalOf(), alpha: 4 })
    expect([...event.fields.keys()]).toEqual([
      'result',
      'zeta',
      'error',
      'callId',
      'userId',
      'userName',
      'userIp',
      'method',
      'params',
      'timestamp',
      'alpha',
    ])
  })

  it('leaves out what is undefined, and does not call it omitted', () => {
    const event = freezeEvent('api', 'post', signalOf({ userIp: undefined, result: undefined, extra: null }))
    expect([...event.fields.keys()]).toEqual(['callId', 'userId', 'userName', 'method', 'params', 'timestamp', 'extra'])
    expect(event.omitted).toEqual([])
  })

  it('carries every value of JSON as it is', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }), value => {
        const event = freezeEvent('api', 'post', signalOf({ result: value }))
        expect(event.fields.get('result')).toBe(JSON.stringify(value))
      }),
      { seed: 8 }
    )
  })

  it('shows nothing of what the host changes later', () => {
    const params = { id: 'vm1', list: [{ a: 1 }] }
    const signal = signalOf({ params })
    const event = freezeEvent('api', 'pre', signal)
    params.id = 'changed'
    params.list.length = 0
    Object.assign(signal, { timestamp: 0, added: 1 })
    expect(event.timestamp).toBe(1_700_000_000_000)
    expect(valuesOf(event)).toEqual(signalOf({ params: { id: 'vm1', list: [{ a: 1 }] } }))
  })

  it('makes the best of values that JSON cannot carry', () => {
    const loop: Record<string, unknown> = {}
    loop['self'] = loop
    const event = freezeEvent('api', 'post', signalOf({ params: { size: 1n }, result: loop, handle: () => {} }))
    expect(valuesOf(event)).toMatchObject({
      params: { size: '1' },
      result: { self: '[Circular]' },
      handle: '[Function: handle]',
    })
  })
})

describe('an event that is too large', () => {
  const MAX_BYTES = 10_000
  const SMALL = 'x'.repeat(1000)
  const HALF = 'x'.repeat(6000)
  const LARGE = 'x'.repeat(20_000)

  it.each<[string, Record<string, string>, string[]]>([
    ['a large result', { params: SMALL, result: LARGE }, ['result']],
    ['large params', { params: LARGE, result: SMALL }, ['params']],
    ['a large error', { params: SMALL, error: LARGE }, ['error']],
    ['a result that does not fit beside the params', { params: HALF, result: HALF }, ['result']],
    ['params that do not fit beside the error', { params: HALF, error: HALF }, ['params']],
    ['a result that does not fit beside the error', { result: HALF, error: HALF }, ['result']],
    ['all of them', { result: LARGE, params: LARGE, error: LARGE }, ['params', 'result', 'error']],
    ['any other property', { params: SMALL, userName: LARGE }, ['userName']],
    ['any other property before the large ones', { params: HALF, extra: HALF }, ['params']],
  ])('goes without %s, and says so', (_, fields, omitted) => {
    const event = freezeEvent('api', 'post', signalOf(fields), MAX_BYTES)
    expect(event.omitted.toSorted()).toEqual(omitted.toSorted())
    const kept = Object.keys(signalOf(fields)).filter(key => !omitted.includes(key))
    expect([...event.fields.keys()]).toEqual(kept)
  })

  it('is still known by its method, call and time', () => {
    const event = freezeEvent('api', 'post', signalOf({ method: LARGE, callId: LARGE }), MAX_BYTES)
    expect(event).toMatchObject({ method: LARGE, callId: LARGE, omitted: ['callId', 'method'] })
  })

  it('is measured in bytes, not in characters', () => {
    const fits = freezeEvent('api', 'post', signalOf({ result: 'x'.repeat(6000) }), MAX_BYTES)
    const isTooLarge = freezeEvent('api', 'post', signalOf({ result: 'é'.repeat(6000) }), MAX_BYTES)
    expect(fits.omitted).toEqual([])
    expect(isTooLarge.omitted).toEqual(['result'])
  })

  it('leaves room of its budget for the rest of a body, and not much more', () => {
    const room = MAX_BYTES - bytesOf(freezeEvent('api', 'post', signalOf({ params: '', result: '' })))
    const extra = fc.integer({ min: -200, max: 20 })
    fc.assert(
      fc.property(extra, fc.nat(room), fc.constantFrom('x', 'é', '漢', '"'), (more, size, unit) => {
        const params = unit.repeat(size / Buffer.byteLength(unit))
        const result = 'x'.repeat(Math.max(0, room + more - Buffer.byteLength(JSON.stringify(params))))
        const event = freezeEvent('api', 'post', signalOf({ params, result }), MAX_BYTES)
        const ending = `,"type":"post","omitted":${JSON.stringify(event.omitted)}`
        expect(bytesOf(event) + Buffer.byteLength(ending)).toBeLessThanOrEqual(MAX_BYTES)
      }),
      { seed: 8, numRuns: 1000 }
    )
    const event = freezeEvent('api', 'post', signalOf({ params: '', result: 'x'.repeat(room - 200) }), MAX_BYTES)
    expect(event.omitted).toEqual([])
  })

  it('is one of more than 1 MiB', () => {
    const event = (length: number) => freezeEvent('api', 'post', signalOf({ result: 'x'.repeat(length) }))
    expect(event(1024 * 1024 - 1000).omitted).toEqual([])
    expect(event(1024 * 1024).omitted).toEqual(['result'])
  })
})

describe('the object that an event is about', () => {
  const object = { id: 'vm1', type: 'VM', name_label: 'web', tags: ['a'], host: undefined }
  const event = freezeEvent('api', 'post', signalOf({ result: true }))

  it('travels as text, and stands in the event after all other properties', () => {
    const text = objectText(object)
    const whole = withObject(event, text)
    expect(text).toBe('{"id":"vm1","type":"VM","name_label":"web","tags":["a"]}')
    expect([...whole.fields.keys()]).toEqual([...event.fields.keys(), 'object'])
    expect(whole).toEqual({ ...event, fields: new Map([...event.fields, ['object', text]]) })
    expect(event.fields.has('object')).toBe(false)
  })

  it('that is too large is left out, and the event says so', () => {
    const large = (length: number) => objectText({ ...object, name_label: 'x'.repeat(length) })
    expect(large(256 * 1024 - 100)).not.toBeNull()
    expect(large(256 * 1024)).toBeNull()
    expect(withObject(event, large(256 * 1024))).toEqual({ ...event, omitted: ['object'] })
    expect(withObject({ ...event, omitted: ['result'] }, null).omitted).toEqual(['result', 'object'])
  })

  it('may be none', () => {
    expect(withObject(event, undefined)).toBe(event)
  })
})

describe('copyOf', () => {
  it('keeps still while its original goes on changing, and tells no secrets', () => {
    const live = { list: [1], password: 's3cret', self: undefined as unknown }
    live.self = live
    const copy = copyOf(live)
    live.list.push(2)
    expect(copy).toEqual({ list: [1], password: '* obfuscated *', self: '[Circular]' })
  })

  it('is the value itself where that is larger than an event may be', () => {
    const large = { text: 'x'.repeat(MAX_EVENT_BYTES) }
    expect(copyOf(large)).toBe(large)
  })
})
