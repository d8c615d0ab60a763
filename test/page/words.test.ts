import { expect, it } from 'vitest'

import { curlOf, pretty } from '../../src/page/texts.ts'
import { duration, size, statusSentence, statusWords, timeSince, timeUntil } from '../../src/page/words.ts'

const NOW = 1_795_292_102_613

it.each([
  [0, '0 ms'],
  [0.42, '0.4 ms'],
  [340.4, '340 ms'],
  [2_000, '2 s'],
  [2_345, '2.3 s'],
  [9_990, '10 s'],
  [59_400, '59 s'],
  [59_600, '1 min'],
  [130_000, '2 min 10 s'],
  [3_600_000, '1 h'],
  [11_100_000, '3 h 5 min'],
  [2 * 86_400_000, '2 d'],
  [2.5 * 86_400_000, '2 d 12 h'],
])('%d ms are %s', (ms, words) => {
  expect(duration(ms)).toBe(words)
})

it.each([
  [0, 'just now'],
  [-60_000, 'just now'],
  [12_999, '12 s ago'],
  [60_000, '1 min ago'],
  [3_599_999, '59 min ago'],
  [3 * 3_600_000, '3 h ago'],
  [2 * 86_400_000, '2 d ago'],
])('what was %d ms before was %s', (ms, words) => {
  expect(timeSince(NOW - ms, NOW)).toBe(words)
})

it.each([
  [-1, 'due'],
  [0, 'due'],
  [1, 'in 1 s'],
  [39_001, 'in 40 s'],
  [130_000, 'in 2 min 10 s'],
])('what is due after %d ms is %s', (ms, words) => {
  expect(timeUntil(NOW + ms, NOW)).toBe(words)
})

it.each([
  [{ status: 'queued', attempts: 0 }, 'queued'],
  [{ status: 'sending', attempts: 1 }, 'sending'],
  [{ status: 'sending', attempts: 3 }, 'sending, try 3'],
  [{ status: 'waiting', attempts: 2, nextAttemptAt: NOW + 40_000 }, 'retrying, try 3 in 40 s'],
  [{ status: 'waiting', attempts: 2, nextAttemptAt: NOW - 1 }, 'retrying, try 3 due'],
  [{ status: 'waiting', attempts: 2 }, 'retrying, try 3'],
  [{ status: 'dead', attempts: 13 }, 'dead'],
  [{ status: 'delivered', attempts: 1 }, 'delivered'],
  [{ status: 'discarded', attempts: 0, reason: 'queue full' }, 'discarded: queue full'],
] as const)('%o is “%s”', (delivery, words) => {
  expect(statusWords(delivery, NOW)).toBe(words)
})

it('says why a delivery is where it is', () => {
  const lastAttempt = { at: NOW, durationMs: 3, answer: '503', outcome: 'answered 503' }
  expect(statusSentence({ status: 'delivered', attempts: 1 }, NOW)).toBe('The receiver took it.')
  expect(statusSentence({ status: 'delivered', attempts: 3 }, NOW)).toBe('The receiver took it after 3 tries.')
  expect(statusSentence({ status: 'dead', attempts: 13, lastAttempt }, NOW)).toContain('answered 503')
  expect(statusSentence({ status: 'waiting', attempts: 1, nextAttemptAt: NOW + 5_000, lastAttempt }, NOW)).toBe(
    'Not taken yet after one try. It is tried again in 5 s. The last answer: answered 503.'
  )
  expect(statusSentence({ status: 'discarded', attempts: 0, reason: 'expired' }, NOW)).toContain(': expired.')
})

it.each([
  [12, '12 B'],
  [3_210, '3.2 kB'],
  [1_048_576, '1.0 MB'],
])('%d bytes are %s', (bytes, words) => {
  expect(size(bytes)).toBe(words)
})

it('shows JSON in lines, and anything else as it is', () => {
  expect(pretty('{"a":[1]}')).toBe('{\n  "a": [\n    1\n  ]\n}')
  expect(pretty('{"a":')).toBe('{"a":')
})

it('writes a command that a shell reads as one request, whatever is in the body', () => {
  expect(curlOf({ 'X-XO-Hook': "O'Brien" }, `{"a": "it's $HOME \`id\`"}`)).toBe(
    [
      'curl "$URL"',
      `-H 'X-XO-Hook: O'\\''Brien'`,
      '-H "Authorization: Bearer $TOKEN"',
      `--data-raw '{"a": "it'\\''s $HOME \`id\`"}'`,
    ].join(' \\\n  ')
  )
})
