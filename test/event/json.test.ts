import { Readable } from 'node:stream'

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { boundedJson } from '../../src/event/json.ts'

const MIB = 1024 * 1024

/** Parsed again: what a receiver gets to see. */
function read(value: unknown, maxBytes = MIB): unknown {
  const text = boundedJson(value, maxBytes)
  return text === undefined ? undefined : JSON.parse(text)
}

function throwing(message = 'no'): () => never {
  return () => {
    throw new Error(message)
  }
}

function withGetter(get: () => unknown): object {
  return Object.defineProperty({ before: 1 }, 'bad', { enumerable: true, get })
}

function nested(depth: number): unknown[] {
  let list: unknown[] = []
  for (let i = 0; i < depth; ++i) {
    list = [list]
  }
  return list
}

/** A list of `length` times `item` that counts how many of them are looked at. */
function counted(length: number, item: () => unknown): { list: unknown[]; reads: () => number } {
  let reads = 0
  const list = new Proxy([] as unknown[], {
    get(target, key) {
      if (key === 'length') {
        return length
      }
      if (typeof key === 'string' && /^\d+$/.test(key)) {
        ++reads
        return item()
      }
      return Reflect.get(target, key) as unknown
    },
  })
  return { list, reads: () => reads }
}

describe('a JSON value', () => {
  it('is written as by JSON.stringify', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), value => {
        expect(boundedJson(value, MIB)).toBe(JSON.stringify(value))
      }),
      { seed: 8 }
    )
  })

  it('is written if it fits to the byte, and not if one byte is missing', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), value => {
        for (const each of [value, [value, 1n]]) {
          const text = boundedJson(each, MIB) ?? ''
          expect(boundedJson(each, Buffer.byteLength(text))).toBe(text)
          expect(boundedJson(each, Buffer.byteLength(text) - 1)).toBeUndefined()
        }
      }),
      { seed: 8 }
    )
  })

  it.each<[string, unknown]>([
    ['nothing in a list', [undefined, 1, undefined]],
    ['nothing in an object', { a: undefined, b: 1 }],
    ['numbers that JSON has not', [Number.NaN, Number.POSITIVE_INFINITY, -0]],
    ['a list with holes', Object.assign([], { 3: 'x' })],
    ['a date', { at: new Date(0) }],
    ['a date that is none', { at: new Date(Number.NaN) }],
    ['an object without a prototype', Object.assign(Object.create(null), { a: [1] })],
    ['inherited properties', Object.create({ inherited: 1 })],
    ['boxed values', [Object('text'), Object(1), Object(true)]],
    ['toJSON', [{ toJSON: () => ({ a: 1 }) }]],
    ['half of a surrogate pair', ['\ud800', { '\udc00': 1 }]],
    ['the same object twice', ((once: object) => [once, { once }])({ a: 1 })],
    ['a key named __proto__', JSON.parse('{"__proto__":{"a":1}}')],
  ])('is written as by JSON.stringify: %s', (_, value) => {
    expect(boundedJson(value, MIB)).toBe(JSON.stringify(value))
  })
})

describe('what JSON cannot carry becomes readable', () => {
  const circular: Record<string, unknown> = { name: 'loop' }
  circular['list'] = [circular]

  it.each<[string, unknown, unknown]>([
    ['a BigInt', [1n], ['1']],
    ['a symbol', [Symbol('s')], ['Symbol(s)']],
    ['a function', { run: throwing }, { run: '[Function: throwing]' }],
    ['a class', [class Vm {}], ['[Function: Vm]']],
    ['a cycle', circular, { name: 'loop', list: ['[Circular]'] }],
    ['a getter that throws', withGetter(throwing()), { before: 1, bad: '[Unreadable: no]' }],
    [
      'a getter that throws something hostile',
      withGetter(() => {
        throw Object.create(null)
      }),
      { before: 1, bad: '[Unreadable: unknown error]' },
    ],
    ['toJSON that throws', [{ toJSON: throwing('not now') }, 1], ['[Unreadable: not now]', 1]],
    ['toJSON that gives what it is part of', parent(), { a: { a: '[Circular]', b: 1 }, b: 1 }],
    ['a Buffer', [Buffer.alloc(12)], ['[Buffer: 12 bytes]']],
    ['a typed array', [new Float64Array(2)], ['[Float64Array: 16 bytes]']],
    ['an ArrayBuffer', [new ArrayBuffer(5)], ['[ArrayBuffer: 5 bytes]']],
    ['a DataView', [new DataView(new ArrayBuffer(5))], ['[DataView: 5 bytes]']],
    ['a stream', { body: Readable.from(['x']) }, { body: '[Stream]' }],
    ['a web stream', { body: new ReadableStream() }, { body: '[Stream]' }],
    ['a promise', [Promise.resolve(1)], ['[Promise]']],
    ['a Map', new Map([['a', 1n]]), { a: '1' }],
    ['a Set', new Set(['a', 1n]), ['a', '1']],
    ['a RegExp', [/x+/g], ['/x+/g']],
    ['an instance', [new (class Vm {})()], [{}]],
    [
      'an error',
      Object.assign(new TypeError('no such VM'), { code: 1, data: { id: 'x' } }),
      { code: 1, data: { id: 'x' }, name: 'TypeError', message: 'no such VM' },
    ],
    ['a proxy that has been revoked', [revoked()], [expect.stringMatching(/^\[Unreadable: /)]],
    ['a proxy that throws', [new Proxy({}, { ownKeys: throwing() })], ['[Unreadable: no]']],
    ['nothing at all', undefined, null],
  ])('%s', (_, value, expected) => {
    expect(read(value)).toEqual(expected)
  })

  it('and leaves its neighbours as they are', () => {
    expect(read({ a: [1, { b: 1n }], c: 'd', e: undefined })).toEqual({ a: [1, { b: '1' }], c: 'd' })
  })

  it('and does not show the stack of an error', () => {
    expect(boundedJson(new Error('no'), MIB)).not.toContain('bounded-json')
  })

  it('values nested too deep end in words', () => {
    expect(boundedJson(nested(100_000), MIB)).toMatch(/^\[{200}"\[Too deep\]"\]{200}$/)
    expect(boundedJson(endless(), MIB)).toMatch(/^(\{"next":){200}"\[Too deep\]"\}{200}$/)
  })

  function parent(): object {
    const value = { a: { toJSON: () => value }, b: 1 }
    return value
  }

  function endless(): object {
    return { toJSON: () => ({ next: endless() }) }
  }

  function revoked(): object {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  }
})

describe('a hostile value', () => {
  const { hostile } = fc.letrec<{ hostile: unknown; leaf: unknown; branch: unknown }>(tie => ({
    hostile: fc.oneof({ maxDepth: 5, depthIdentifier: 'hostile' }, tie('leaf'), tie('branch')),
    leaf: fc.oneof(
      fc.anything({
        withBigInt: true,
        withBoxedValues: true,
        withDate: true,
        withMap: true,
        withNullPrototype: true,
        withObjectString: true,
        withSet: true,
        withSparseArray: true,
        withTypedArray: true,
      }),
      fc.array(fc.nat(0xff_ff)).map(units => String.fromCharCode(...units)),
      fc
        .constantFrom<() => unknown>(
          () => Symbol('x'),
          () => throwing(),
          () => withGetter(throwing('\ud800')),
          () => ({ toJSON: throwing() }),
          () => new Proxy({}, { get: throwing() }),
          () => new Proxy([], { get: throwing() }),
          () => new Proxy({}, { getPrototypeOf: throwing() }),
          () => new Proxy(throwing, { get: throwing() }),
          () => new Proxy({ a: 1 }, { getOwnPropertyDescriptor: throwing() }),
          () => Object.assign(new Error('x'), { message: 1n }),
          () => Object.defineProperty(new Error('x'), 'message', { get: throwing() }),
          () => Readable.from([]),
          () => new Array(4_000_000_000),
          () => new Map([[{ toString: throwing() }, 1]]),
          () => new Date(Number.NaN),
          () => 'é'.repeat(5000),
          () => nested(1000)
        )
        .map(make => make())
    ),
    branch: fc.oneof(
      fc.array(tie('hostile'), { maxLength: 4 }),
      fc.dictionary(fc.string({ unit: 'binary' }), tie('hostile'), { maxKeys: 4 }),
      tie('hostile').map(value => ({ toJSON: () => value })),
      tie('hostile').map(value => withGetter(() => value)),
      tie('hostile').map(value => new Map([['a', value]])),
      tie('hostile').map(value => {
        const self: Record<string, unknown> = { value }
        self['self'] = self
        return self
      })
    ),
  }))

  it('gives valid JSON, well-formed and within the bound, or nothing', () => {
    fc.assert(
      fc.property(hostile, fc.constantFrom(0, 1, 10, 100, 1000, 20_000), (value, maxBytes) => {
        const text = boundedJson(value, maxBytes)
        if (text !== undefined) {
          expect(() => JSON.parse(text) as unknown).not.toThrow()
          expect(text.isWellFormed()).toBe(true)
          expect(Buffer.byteLength(text)).toBeLessThanOrEqual(maxBytes)
        }
      }),
      { seed: 8, numRuns: 1000 }
    )
  })

  it('gives something if there is room', () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withMap: true, withSet: true, withTypedArray: true }), value => {
        expect(boundedJson(value, MIB)).toBeTypeOf('string')
      }),
      { seed: 8 }
    )
  })
})

describe('a value beyond the bound', () => {
  const LENGTH = 50_000

  it.each<[string, () => unknown]>([
    ['texts', () => 'x'.repeat(1000)],
    ['texts of several bytes', () => 'é'.repeat(600)],
    ['objects', () => ({ name: 'x'.repeat(500), tags: ['y'.repeat(490)] })],
    ['lists of lists', () => Array.from({ length: 100 }, () => [1, [2, 3, []]])],
    ['texts of escapes', () => '\n"'.repeat(500)],
    ['what JSON cannot carry', () => ({ id: 10n ** 999n })],
    ['Maps', () => new Map([['a', 'x'.repeat(990)]])],
    ['toJSON', () => ({ toJSON: () => 'x'.repeat(1000) })],
    ['getters that throw', () => [withGetter(throwing('x'.repeat(180))), 'x'.repeat(800)]],
  ])('of 50 MB of %s is looked at as far as the bound', (_, item) => {
    const { list, reads } = counted(LENGTH, item)
    expect(boundedJson({ a: 1, list }, MIB)).toBeUndefined()
    // about a kilobyte each; characters are counted first, then bytes, and what is not plain is looked at twice
    expect(reads()).toBeGreaterThan(500)
    expect(reads()).toBeLessThan(LENGTH / 10)
  })

  it('of 50 MB in one object is looked at as far as the bound', () => {
    let reads = 0
    const value: Record<string, unknown> = {}
    for (let i = 0; i < LENGTH; ++i) {
      Object.defineProperty(value, `property ${i}`, {
        enumerable: true,
        get() {
          ++reads
          return 'x'.repeat(1000)
        },
      })
    }
    expect(boundedJson(value, MIB)).toBeUndefined()
    // once more to see whether it only goes round in circles
    expect(reads).toBeLessThan(2200)
  })

  it('of 50 MB behind a hidden toJSON is looked at as far as the bound', () => {
    const { list, reads } = counted(LENGTH, () => 'x'.repeat(1000))
    expect(boundedJson(Object.defineProperty({}, 'toJSON', { value: () => list }), MIB)).toBeUndefined()
    expect(reads()).toBeLessThan(LENGTH / 10)
  })

  it('only because it would go round in circles is not beyond it', () => {
    const circular: Record<string, unknown> = { text: 'x'.repeat(100_000) }
    circular['self'] = circular
    expect(read(circular)).toEqual({ text: circular['text'], self: '[Circular]' })
  })

  it('that unfolds from few objects is not unfolded', () => {
    let value: unknown = 'x'
    for (let i = 0; i < 100; ++i) {
      value = { left: value, right: value }
    }
    expect(boundedJson(value, MIB)).toBeUndefined()
    expect(boundedJson([1n, value], MIB)).toBeUndefined()
  })

  it.each<[string, unknown]>([
    ['a text', 'x'.repeat(50 * MIB)],
    ['numbers', new Array(5 * MIB).fill(1234567)],
    ['holes', new Array(4_000_000_000)],
    ['an odd value, then holes', [1n, new Array(4_000_000_000)]],
    ['an odd value, then a text that JSON.stringify has no room for', [1n, 'x'.repeat(2 ** 29 - 24)]],
    ['a key', { ['x'.repeat(2 * MIB)]: 1 }],
    ['a key beside an odd value', { ['x'.repeat(2 * MIB)]: 1n }],
  ])('gives nothing: %s', (_, value) => {
    expect(boundedJson(value, MIB)).toBeUndefined()
  })
})
