import { describe, expect, it } from 'vitest'

import { parseRetryAfter } from '../../src/transport/retry-after.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

describe('Retry-After', () => {
  const now = Date.parse('2026-11-06T08:49:37Z')

  /** The wait, or why there is none. */
  function read(header: string, date?: string): number | string | undefined {
    const found = parseRetryAfter([header], date, now)
    return found === undefined ? undefined : 'delayMs' in found ? found.delayMs : found.ignored
  }

  it.each<[string, number]>([
    // seconds
    ['1', SECOND],
    ['120', 2 * MINUTE],
    ['0120', 2 * MINUTE],
    [' 7 ', 7 * SECOND],
    ['\t7\t', 7 * SECOND],
    ['+5', 5 * SECOND],
    ['1.5', 1_500],
    ['0.25', 250],
    ['.5', 500],
    ['5.', 5 * SECOND],
    ['86400', DAY],
    // with what belongs to none
    ['"120"', 2 * MINUTE],
    ["'120'", 2 * MINUTE],
    ['120, 120', 2 * MINUTE],
    ['5,10', 10 * SECOND],
    ['5, -1', 5 * SECOND],
    ['120s', 2 * MINUTE],
    ['120 seconds', 2 * MINUTE],
    ['1 sec', SECOND],
    ['500ms', 500],
    ['2 min', 2 * MINUTE],
    ['2m', 2 * MINUTE],
    ['1 hour', HOUR],
    ['1d', DAY],
    ['1 day', DAY],
    ['2m0s', 2 * MINUTE],
    ['1m30.5s', 90_500],
    ['1 hour 2 minutes', HOUR + 2 * MINUTE],
    ['90 sec.', 90 * SECOND],
    ['PT2M', 2 * MINUTE],
    ['PT1H30M', 1.5 * HOUR],
    ['P1D', DAY],
    ['pt90s', 90 * SECOND],
    ['120;', 2 * MINUTE],
    ['120; comment=x', 2 * MINUTE],
    ['Fri Nov 06 2026 08:50:37 GMT+0000 (Coordinated Universal Time)', MINUTE],
    ['Fri Nov 06 2026 09:50:37 GMT+0100', MINUTE],
    // HTTP dates
    ['Fri, 06 Nov 2026 08:50:37 GMT', MINUTE],
    ['fri, 06 nov 2026 08:50:37 gmt', MINUTE],
    ['  Fri, 06 Nov 2026 08:50:37 GMT  ', MINUTE],
    ['Friday, 06-Nov-26 08:50:37 GMT', MINUTE],
    ['Fri Nov  6 08:50:37 2026', MINUTE],
    ['Sat Nov  7 08:49:37 2026', DAY],
    // dates as they are sent, too
    ['Fri, 6 Nov 2026 08:50:37 GMT', MINUTE],
    ['Fri, 06 Nov 2026 8:50:37 GMT', MINUTE],
    ['Fri, 06 Nov 2026 08:50:37 UTC', MINUTE],
    ['Fri, 06 Nov 2026 08:50:37', MINUTE],
    ['Fri, 06 Nov 2026 09:50:37 +0100', MINUTE],
    ['Fri, 06 Nov 2026 08:50 GMT', 23 * SECOND],
    ['Fri 06 Nov 2026 08:50:37 GMT', MINUTE],
    ['Mon, 06 Nov 2026 08:50:37 GMT', MINUTE], // it is a Friday
    ['06 Nov 2026 08:50:37 GMT', MINUTE],
    ['6 November 2026 08:50:37 GMT', MINUTE],
    ['"Fri, 06 Nov 2026 08:50:37 GMT"', MINUTE],
    ['Fri, 06 Nov 2026 08:50:37 GMT, Fri, 06 Nov 2026 08:51:37 GMT', 2 * MINUTE],
    ['2026-11-06T08:50:37Z', MINUTE],
    ['2026-11-06T08:50:37.250Z', MINUTE],
    ['2026-11-06 08:50:37', MINUTE],
    ['2026-11-06T03:50:37-05:00', MINUTE],
    // since 1970
    [String(now / SECOND + 60), MINUTE],
    [String(now + MINUTE), MINUTE],
    [(now / SECOND + 60.5).toFixed(1), MINUTE + 500],
  ])('%j is understood', (header, expected) => {
    expect(read(header)).toBe(expected)
  })

  it.each(['86401', '2592000', '100h', 'Sat, 07 Nov 2026 08:49:38 GMT', String(now / SECOND + 90_000)])(
    '%j is capped at 24 hours',
    header => {
      expect(read(header)).toBe(DAY)
    }
  )

  it.each(['', ' \t ', ',', '0', '0.0', '0s', '""'])('%j asks for nothing', header => {
    expect(read(header)).toBeUndefined()
  })

  it('that is absent asks for nothing', () => {
    expect(parseRetryAfter([], undefined, now)).toBeUndefined()
  })

  const [NEGATIVE, PAST, FAR] = ['it is negative', 'it is in the past', 'it is further away than anybody means']
  it.each<[string, string]>([
    ['-5', NEGATIVE],
    ['- 5', NEGATIVE],
    ['-1, -1', NEGATIVE],
    ['Fri, 06 Nov 2026 08:49:37 GMT', PAST],
    ['Fri, 06 Nov 2026 08:49:36 GMT', PAST],
    ['Friday, 06-Nov-26 08:49:36 GMT', PAST],
    ['Friday, 06-Nov-98 08:49:36 GMT', PAST],
    ['Fri Nov  6 08:49:36 2026', PAST],
    ['Thu, 01 Jan 1970 00:00:00 GMT', PAST],
    [String(now / SECOND - 60), PAST],
    [String(now - MINUTE), PAST],
    ['315360000', FAR],
    ['9'.repeat(90), FAR],
    ['Fri, 06 Nov 2036 08:49:37 GMT', FAR],
    ['9999-12-31T23:59:59Z', FAR],
  ])('%j cannot be meant', (header, why) => {
    expect(read(header)).toBe(why)
  })

  it.each([
    'soon',
    '1e3',
    '0x10',
    'Infinity',
    'P1M',
    'P',
    'PT',
    '1.2.3s',
    '1m and 2s',
    '5m 1x',
    'NaN',
    '5 parsecs',
    '1:30',
    'Monday',
    'Fri 2099',
    'sunrise 2099',
    'Sat, 07 Nov 2026 GMT',
    'Fri, 99 Nov 2026 08:50:37 GMT',
    'Fri, 31 Nov 2026 08:50:37 GMT',
    'Fri, 06 Foo 2026 08:50:37 GMT',
    'Fri, 06 Nov 2026 25:50:37 GMT',
    'Fri, 06 Nov 2026 08:61:37 GMT',
    'Fri, 06 Nov 2026 08:50:37 PST',
    '11/06/2026 08:50:37',
    '2026-13-06T08:50:37Z',
    '1'.repeat(101),
  ])('%.50j cannot be read', header => {
    expect(read(header)).toBe('it cannot be read')
  })

  it('of several, the longest counts', () => {
    expect(parseRetryAfter(['5', 'soon', '9', '-1'], undefined, now)).toEqual({ delayMs: 9 * SECOND })
  })

  it.each<[string, string | undefined, number | string]>([
    ['Sat, 01 Jan 2000 00:01:00 GMT', 'Sat, 01 Jan 2000 00:00:00 GMT', MINUTE],
    ['Wed, 01 Jan 2042 00:01:00 GMT', 'Wed, 01 Jan 2042 00:00:00 GMT', MINUTE],
    ['Fri, 06 Nov 2026 08:59:37 GMT', 'Fri, 06 Nov 2026 08:58:37 GMT', MINUTE],
    ['Fri, 06 Nov 2026 08:59:37 GMT', 'Fri, 06 Nov 2026 09:58:37 GMT', PAST],
    [String(now / SECOND + 600), 'Fri, 06 Nov 2026 08:58:37 GMT', MINUTE],
    // without a `Date` that could be one, our own clock has to do
    ['Fri, 06 Nov 2026 08:50:37 GMT', 'Thu, 01 Jan 1970 00:00:00 GMT', MINUTE],
    ['Fri, 06 Nov 2026 08:50:37 GMT', 'yesterday', MINUTE],
    ['Fri, 06 Nov 2026 08:50:37 GMT', undefined, MINUTE],
    // seconds have nothing to do with it
    ['60', 'Sat, 01 Jan 2000 00:00:00 GMT', MINUTE],
  ])('%j is counted from a Date of %j', (header, date, expected) => {
    expect(read(header, date)).toBe(expected)
  })

  it('does not take long, whatever it is', () => {
    // so long that what is not linear would take minutes
    const start = performance.now()
    for (const header of [
      '1'.repeat(1_000_000) + 'x',
      '1.'.repeat(500_000),
      'sun, '.repeat(200_000),
      'sun ' + ' '.repeat(1_000_000) + 'x',
      '"'.repeat(1_000_000),
    ]) {
      read(header, header)
    }
    expect(performance.now() - start).toBeLessThan(5_000)
  })
})
