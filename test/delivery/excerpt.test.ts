import { expect, it } from 'vitest'

import type { Endpoint } from '../../src/delivery/delivery.ts'
import { withoutEcho } from '../../src/delivery/excerpt.ts'

const basic = `Basic ${Buffer.from('bob:pa55w0rd').toString('base64')}`

function endpointOf(
  headers: readonly string[],
  url = 'https://hooks.example/services/T0/s3cr3t%20path?key=q%2Fuery'
): Endpoint {
  return { id: 'e', url: new URL(url), headers, timeoutMs: 1 }
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
  ['all is well', 'all is well', ['Authorization', 'Bearer abcd1234']],
  ['', '', ['Authorization', 'Bearer abcd1234']],
])('%j is logged as %j', (answer, shown, headers) => {
  expect(withoutEcho(answer, endpointOf(headers))).toBe(shown)
})

it('leaves an answer alone whose endpoint has no secrets', () => {
  expect(withoutEcho('GET / is ok', endpointOf([], 'https://hooks.example/'))).toBe('GET / is ok')
})
