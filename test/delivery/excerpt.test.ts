import { gzipSync } from 'node:zlib'

import { describe, expect, it } from 'vitest'

import type { Endpoint } from '../../src/delivery/delivery.ts'
import { readableExcerpt, withoutEcho } from '../../src/delivery/excerpt.ts'

describe('an excerpt', () => {
  it.each([
    ['plain text', 'it is\tfine: é 世 😀\r\n"really"\n', 'it is\tfine: é 世 😀\n"really"\n'],
    ['nothing', '', ''],
    ['HTML', '<h1 onclick="x">No</h1>', '<h1 onclick="x">No</h1>'],
    ['colours', '\x1b[31mred\x1b[0m', '␛[31mred␛[0m'],
    ['a title of the terminal', '\x1b]0;owned\x07', '␛]0;owned␇'],
    ['a link of the terminal', '\x1b]8;;http://x\x1b\\y', '␛]8;;http://x␛\\y'],
    ['what is written over', 'safe\rEVIL\b\b', 'safe␍EVIL␈␈'],
    ['NUL, VT, FF, DEL', 'a\0b\vc\fd\x7f', 'a␀b␋c␌d\\u{7f}'],
    ['control characters of Latin-1', 'a\x9b31mb\x85', 'a\\u{9b}31mb\\u{85}'],
    ['another direction', 'a\u202egpj.exe\u2066b', 'a\\u{202e}gpj.exe\\u{2066}b'],
    ['other ends of lines', 'a\u2028b\u2029', 'a\\u{2028}b\\u{2029}'],
    ['a byte order mark', '\ufefftext', 'text'],
  ])('of %s is readable', (_what, text, readable) => {
    expect(readableExcerpt(Buffer.from(text))).toBe(readable)
  })

  it('that is not UTF-8 says so, where it is not', () => {
    expect(readableExcerpt(Buffer.from('caf\xe9 ouvert', 'latin1'))).toBe('caf� ouvert')
    expect(readableExcerpt(Buffer.from([0x61, 0xc0, 0xaf, 0x62]))).toBe('a��b')
    expect(readableExcerpt(Buffer.from([0x61, 0xed, 0xa0, 0x80]))).toBe('a���')
  })

  it('that was cut in the middle of a character ends before it', () => {
    for (const end of [1, 2, 3]) {
      expect(readableExcerpt(Buffer.from('ab😀').subarray(0, 2 + end))).toBe('ab')
    }
  })

  it('of something else is not shown', () => {
    const packed = gzipSync(Buffer.from('x'.repeat(1_000) + Math.random()))
    expect(readableExcerpt(packed)).toBe(`(${packed.length} bytes that are not text)`)
    expect(readableExcerpt(Buffer.alloc(100))).toBe('(100 bytes that are not text)')
  })
})

const basic = `Basic ${Buffer.from('bob:pa55w0rd').toString('base64')}`

function endpointOf(
  headers: readonly string[],
  url = 'https://hooks.example/services/T0/s3cr3t%20path?key=q%2Fuery'
): Endpoint {
  return { id: 'e', url, headers }
}

it.each<[string, string, readonly string[]]>([
  ['Cannot POST /services/T0/s3cr3t%20path', 'Cannot POST (hidden)', []],
  ['Cannot POST /services/T0/s3cr3t path?key=q/uery', 'Cannot POST (hidden)', []],
  ['no key q/uery, nor q%2Fuery', 'no key (hidden), nor (hidden)', []],
  ['bad token: abcd1234', 'bad token: (hidden)', ['Authorization', 'Bearer abcd1234']],
  ['Authorization: Bearer abcd1234!', 'Authorization: (hidden)!', ['Authorization', 'Bearer abcd1234']],
  [`${basic} is bob:pa55w0rd, so pa55w0rd`, '(hidden) is (hidden), so (hidden)', ['Authorization', basic]],
  ['X-Key was k3y-4711', 'X-Key was (hidden)', ['X-Key', 'k3y-4711']],
  ['{"key":"a\\"b\\\\c"}', '{"key":"(hidden)"}', ['X-Key', 'a"b\\c']],
  ['cut off: abcd12', 'cut off: (hidden)', ['Authorization', 'Bearer abcd1234']],
  ['it ends abcdabcd12', 'it ends abcd(hidden)', ['Authorization', 'Bearer abcd1234']],
  ['it ends aaaaaab', 'it ends aa(hidden)', ['Authorization', 'Bearer aaaabcd']],
  ['abcd1', '(hidden)', ['Authorization', 'Bearer abcd1234']],
  ['abc', 'abc', ['Authorization', 'Bearer abcd1234']],
  ['it ends abc', 'it ends abc', ['Authorization', 'Bearer abcd1234']],
  ['it ends abcd9', 'it ends abcd9', ['Authorization', 'Bearer abcd1234']],
  ['all is well', 'all is well', ['Authorization', 'Bearer abcd1234']],
  ['', '', ['Authorization', 'Bearer abcd1234']],
])('%j is logged as %j', (answer, shown, headers) => {
  expect(withoutEcho(answer, endpointOf(headers))).toBe(shown)
})

it('leaves an answer alone whose endpoint has no secrets', () => {
  expect(withoutEcho('GET / is ok', endpointOf([], 'https://hooks.example/'))).toBe('GET / is ok')
})

describe('a secret that a receiver says again is hidden however it is written', () => {
  const endpoint = endpointOf(['Authorization', 'Bearer tok/en+4711=='])
  const path = '/services/T0/s3cr3t path'
  const hexed = (text: string, format: (hex: string) => string): string =>
    [...Buffer.from(text)].map(byte => format(byte.toString(16).padStart(2, '0'))).join('')
  it.each<[string, string]>([
    ['JSON that escapes slashes', path.replaceAll('/', '\\/')],
    ['units of JSON', path.replaceAll('/', '\\u002f')],
    ['units of JSON in capitals', path.replaceAll('/', '\\u002F')],
    ['units of JavaScript', path.replaceAll('/', '\\u{002f}')],
    ['bytes of JavaScript', path.replaceAll('/', '\\x2f')],
    ['JSON within JSON', JSON.stringify(JSON.stringify(path.replaceAll('/', '\\/')))],
    ['HTML, hexadecimal', path.replaceAll('/', '&#x2F;')],
    ['HTML, decimal', path.replaceAll('/', '&#47;')],
    ['HTML, by name', path.replaceAll('/', '&sol;')],
    ['HTML within HTML', path.replaceAll('/', '&amp;#x2F;')],
    ['a URL', encodeURIComponent(path)],
    ['a URL in small letters', encodeURIComponent(path).toLowerCase().replace('t0', 'T0')],
    ['a URL within a URL', encodeURIComponent(encodeURIComponent(path))],
    ['a form', path.replaceAll(' ', '+').replaceAll('/', '%2F')],
    ['percent signs alone', hexed(path, hex => `%${hex}`)],
    ['a URL in HTML in JSON', JSON.stringify(encodeURIComponent(path).replaceAll('%', '&#37;'))],
    ['Base64', Buffer.from(`POST ${path}`).toString('base64')],
    ['the rest of a path, as a router knows it', '/T0/s3cr3t%20path'],
    ['the path without its first slash', path.slice(1)],
    ['a token in a URL', encodeURIComponent('tok/en+4711==')],
    ['a token in HTML', 'tok&#x2F;en&#43;4711&equals;&equals;'],
  ])('as %s', (_, written) => {
    for (const answer of [`no: ${written}`, `<p title='${written}'`]) {
      const shown = withoutEcho(answer, endpoint)
      expect(shown).toContain('(hidden)')
      expect(shown).not.toMatch(/s3cr3t|T0|4711|tok/)
    }
  })

  it('also where the answer is cut off amid an escape', () => {
    expect(withoutEcho('no: tok%2Fen%2B47%3', endpoint)).toBe('no: (hidden)')
    for (let length = 8; length < 30; ++length) {
      const shown = withoutEcho(`no: ${path.replaceAll('/', '\\u002f').slice(0, length)}`, endpoint)
      expect([length, shown]).toEqual([length, expect.not.stringMatching(/ser|T0|s3c/)])
    }
  })

  it('and what stands around it stays', () => {
    expect(withoutEcho('a &amp; b: \\/services\\/T0\\/s3cr3t%20path, 100 % +1', endpoint)).toBe(
      'a &amp; b: (hidden), 100 % +1'
    )
    expect(withoutEcho('services are fine: {"a":"b\\u0020c"} &lt;', endpoint)).toBe(
      'services are fine: {"a":"b\\u0020c"} &lt;'
    )
  })
})
