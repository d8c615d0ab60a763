import { describe, expect, it } from 'vitest'

import { parseRetryAfter } from '../../src/transport/retry-after.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

describe('Retry-After', () => {
  const now = Date.parse('Sun, 06 Nov 1994 08:49:37 GMT')

  const understood: [string, number][] = [
    ['1', SECOND],
    ['120', 2 * MINUTE],
    ['0120', 2 * MINUTE],
    ['1.5', 1_500],
    ['0.25', 250],
    [' 7 ', 7 * SECOND],
    ['\t7\t', 7 * SECOND],
    ['86400', 24 * HOUR],
    ['Sun, 06 Nov 1994 08:50:37 GMT', MINUTE],
    ['sun, 06 nov 1994 08:50:37 gmt', MINUTE],
    ['  Sun, 06 Nov 1994 08:50:37 GMT  ', MINUTE],
    ['Sunday, 06-Nov-94 08:50:37 GMT', MINUTE],
    ['Sun Nov  6 08:50:37 1994', MINUTE],
    ['Wed Nov 16 08:49:37 1994', 24 * HOUR],
  ]
  it.each(understood)('%j is understood', (header, expected) => {
    expect(parseRetryAfter(header, now)).toBe(expected)
  })

  it.each(['86401', '1e400'.replace('e400', '0'.repeat(400)), '9'.repeat(5_000), 'Mon, 07 Nov 1994 08:49:38 GMT'])(
    '%.40s is capped at 24 hours',
    header => {
      expect(parseRetryAfter(header, now)).toBe(24 * HOUR)
    }
  )

  const ignored = [
    ['absent', undefined],
    ['empty', ''],
    ['white space', ' \t '],
    ['zero', '0'],
    ['zero with a fraction', '0.0'],
    ['now', 'Sun, 06 Nov 1994 08:49:37 GMT'],
    ['past', 'Sun, 06 Nov 1994 08:49:36 GMT'],
    ['past, RFC 850', 'Sunday, 06-Nov-94 08:49:36 GMT'],
    ['past, asctime', 'Sun Nov  6 08:49:36 1994'],
    ['negative', '-5'],
    ['with a sign', '+5'],
    ['an exponent', '1e3'],
    ['hexadecimal', '0x10'],
    ['half a number', '.5'],
    ['half a fraction', '5.'],
    ['a number with a unit', '5s'],
    ['a list', '5, 10'],
    ['a list of dates', 'Mon, 07 Nov 1994 08:49:38 GMT, Mon, 07 Nov 1994 08:49:38 GMT'],
    ['words', 'soon'],
    ['infinity', 'Infinity'],
    ['not a number', 'NaN'],
    ['an ISO date', '1994-11-06T08:50:37Z'],
    ['a date without a weekday', '06 Nov 1994 08:50:37 GMT'],
    ['a weekday alone', 'Monday'],
    ['a weekday and a year', 'Sun 2099'],
    ['a word that begins as a weekday', 'sunrise 2099'],
    ['a date without a time', 'Mon, 07 Nov 1994 GMT'],
    ['an impossible date', 'Sun, 99 Nov 1994 08:50:37 GMT'],
    ['another zone', 'Sun, 06 Nov 1994 08:50:37 PST'],
    ['an offset', 'Sun, 06 Nov 1994 08:50:37 +0100'],
  ] as const
  it.each(ignored)('%s says nothing', (_name, header) => {
    expect(parseRetryAfter(header, now)).toBeUndefined()
  })

  it('does not take long, whatever it is', () => {
    // so long that what is not linear would take minutes
    const start = performance.now()
    for (const header of [
      '1'.repeat(1_000_000) + 'x',
      '1.'.repeat(500_000),
      'sun, '.repeat(200_000),
      'sun ' + ' '.repeat(1_000_000) + 'x',
    ]) {
      expect(parseRetryAfter(header, now)).toBeUndefined()
    }
    expect(performance.now() - start).toBeLessThan(5_000)
  })
})
