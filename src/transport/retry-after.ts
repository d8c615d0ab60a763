import { MAX_RETRY_AFTER_MS } from '../delivery/retry.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Nobody means a wait that is longer than this, nor a moment that is further away. */
const MAX_PLAUSIBLE_MS = 366 * DAY

/** No spelling of a wait is longer. */
const MAX_LENGTH = 100

const NUMBER = /^\+?(\d+(?:\.\d*)?|\.\d+)$/
/** `2 minutes`, and as Go writes it: `1h30m0s`. */
const WITH_UNITS = /^\+?(?:(?:\d+(?:\.\d*)?|\.\d+) ?[a-z]+\.? ?){1,5}$/i
const PART = /([\d.]+) ?([a-z]+)/gi
/** ISO 8601: `PT1H30M`. Days and shorter: of months nobody knows how long they are. */
const DURATION = /^P(?=.)(\d+D)?(?:T(?=\d)([\d.HMS]+))?$/i
const NEGATIVE = /^-\s*\d/
const UNITS: readonly (readonly [RegExp, number])[] = [
  [/^(?:s|secs?|seconds?)$/i, SECOND],
  [/^(?:ms|millis|milliseconds?)$/i, 1],
  [/^(?:m|mins?|minutes?)$/i, MINUTE],
  [/^(?:h|hrs?|hours?)$/i, HOUR],
  [/^(?:d|days?)$/i, DAY],
  [/^(?:w|weeks?)$/i, 7 * DAY],
]

const TIME = String.raw`(?<hour>\d{1,2}):(?<minute>\d\d)(?::(?<second>\d\d)(?:\.\d{1,9})?)?`
const ZONE = String.raw`(?: ?(?<zone>GMT|UTC|UT|Z|[+-]\d\d:?\d\d))?`
/** The three of RFC 9110 §5.6.7, as they are sent: with one digit for a day, without the weekday… And ISO 8601. */
const DATES: readonly RegExp[] = [
  // `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`
  new RegExp(
    String.raw`^(?:[a-z]{3,9},? )?(?<day>\d{1,2})[ -](?<month>[a-z]{3,9})[ -](?<year>\d{4}|\d\d) ${TIME}${ZONE}$`,
    'i'
  ),
  // `Sun Nov  6 08:49:37 1994`
  new RegExp(String.raw`^[a-z]{3,9} (?<month>[a-z]{3,9}) (?<day>\d{1,2}) ${TIME}${ZONE} (?<year>\d{4})$`, 'i'),
  // `Sun Nov 06 1994 08:49:37 GMT+0000 (Coordinated Universal Time)`, as JavaScript writes it
  new RegExp(
    String.raw`^[a-z]{3} (?<month>[a-z]{3}) (?<day>\d\d) (?<year>\d{4}) ${TIME} GMT(?<zone>[+-]\d{4})(?: \(.*)?$`,
    'i'
  ),
  // `1994-11-06T08:49:37Z`
  new RegExp(String.raw`^(?<year>\d{4})-(?<month>\d\d)-(?<day>\d\d)[T ]${TIME}${ZONE}$`, 'i'),
]
const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

/** What a `Retry-After` comes to: a wait, at most {@link MAX_RETRY_AFTER_MS}, or why there is none. */
export type RetryAfter = { readonly delayMs: number } | { readonly ignored: string }

/**
 * Reads a `Retry-After` as people send it: RFC 9110 §10.2.3 (seconds, or an HTTP date), and what else can mean one thing
 * only: fractions, units, durations, quotes, seconds or ms since 1970, other spellings of dates. Of several, the longest wait counts.
 * Dates are counted from the answer's own `Date`: the receiver's clock may be wrong.
 *
 * @param values - of the headers of that name
 * @param date - the answer's `Date`
 * @param now - epoch ms
 * @returns `undefined`: it asks for no wait, as it is absent, empty or 0
 */
export function parseRetryAfter(
  values: readonly string[],
  date: string | undefined,
  now: number
): RetryAfter | undefined {
  const waits = values.flatMap(membersOf).map(text => waitOf(text, dateOf(plain(date ?? '')), now))
  const longest = Math.max(...waits.filter(wait => typeof wait === 'number'), 0)
  if (longest > 0) {
    return { delayMs: Math.min(longest, MAX_RETRY_AFTER_MS) }
  }
  const ignored = waits.find(wait => typeof wait === 'string')
  return ignored === undefined ? undefined : { ignored }
}

/** Without quotes, each white space one space. */
function plain(text: string): string {
  return text
    .slice(0, MAX_LENGTH + 1)
    .replace(/["']|;.*$/gs, '')
    .replace(/\s+/g, ' ')
    .trim()
}

/** `120, 120`; a date has a comma of its own. */
function membersOf(header: string): string[] {
  const text = plain(header)
  const members = text.split(/^[^a-z]*$/i.test(text) ? ',' : /, ?(?=[a-z]+,)/i)
  return members.map(member => member.trim()).filter(member => member !== '')
}

/** In ms; or why it is none that could be obeyed. */
function waitOf(text: string, answeredAt: number | undefined, now: number): number | string {
  if (text.length > MAX_LENGTH) {
    return 'it cannot be read'
  }
  if (NEGATIVE.test(text)) {
    return 'it is negative'
  }
  const number = Number(NUMBER.exec(text)?.[1])
  if (number * SECOND > MAX_PLAUSIBLE_MS) {
    const moment = [number * SECOND, number].find(each => Math.abs(each - now) <= MAX_PLAUSIBLE_MS)
    return moment === undefined ? TOO_FAR : until(moment, answeredAt, now)
  }
  const wait = Number.isNaN(number) ? durationOf(text) : number * SECOND
  if (wait !== undefined) {
    return wait <= MAX_PLAUSIBLE_MS ? wait : TOO_FAR
  }
  const moment = dateOf(text)
  return moment === undefined ? 'it cannot be read' : until(moment, answeredAt, now)
}

const TOO_FAR = 'it is further away than anybody means'

/** In ms, of numbers with units; `undefined`: it is something else. */
function durationOf(text: string): number | undefined {
  const [, days = '', time = ''] = DURATION.exec(text) ?? []
  const parts = days + time === '' ? text : days + time
  if (!WITH_UNITS.test(parts)) {
    return undefined
  }
  let sum = 0
  for (const [, number, unit = ''] of parts.matchAll(PART)) {
    sum += Number(number) * (UNITS.find(([name]) => name.test(unit))?.[1] ?? Number.NaN)
  }
  return Number.isNaN(sum) ? undefined : sum
}

function until(moment: number, answeredAt: number | undefined, now: number): number | string {
  // a `Date` that is nowhere near is none
  const isUsable = answeredAt !== undefined && Math.abs(moment - answeredAt) <= MAX_PLAUSIBLE_MS
  const wait = moment - (isUsable ? answeredAt : now)
  if (wait <= 0) {
    return 'it is in the past'
  }
  return wait <= MAX_PLAUSIBLE_MS ? wait : TOO_FAR
}

/** Epoch ms. Not by `Date.parse`, which takes almost anything. */
function dateOf(text: string): number | undefined {
  for (const pattern of DATES) {
    const { year, month, day, hour, minute, second = '0', zone = '' } = pattern.exec(text)?.groups ?? {}
    if (year === undefined || month === undefined) {
      continue
    }
    const monthIndex = /^\d/.test(month) ? Number(month) - 1 : MONTHS.indexOf(month.slice(0, 3).toLowerCase())
    const fullYear = year.length === 2 ? Number(year) + (Number(year) < 70 ? 2000 : 1900) : Number(year)
    const parts = [fullYear, monthIndex, Number(day), Number(hour), Number(minute), Number(second)] as const
    const time = Date.UTC(...parts)
    const date = new Date(time)
    const isReal =
      date.getUTCMonth() === monthIndex &&
      date.getUTCDate() === parts[2] &&
      parts[3] < 24 &&
      parts[4] < 60 &&
      parts[5] <= 60
    return isReal ? time - offsetOf(zone) : undefined
  }
  return undefined
}

/** In ms, of `+01:00`; what has no zone is UTC. */
function offsetOf(zone: string): number {
  const [, sign, hours, minutes] = /^([+-])(\d\d):?(\d\d)$/.exec(zone) ?? []
  return sign === undefined ? 0 : (sign === '-' ? -1 : 1) * (Number(hours) * HOUR + Number(minutes) * MINUTE)
}
