import { MAX_RETRY_AFTER_MS } from '../delivery/retry.ts'

/** `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`. */
const HTTP_DATE = /^[a-z]{3,9}(?:, \d\d[ -][a-z]{3}[ -]\d{2,4} [\d:]{8} GMT| [a-z]{3} [ \d]\d [\d:]{8} \d{4})$/i

/**
 * What a `Retry-After` asks for in ms, capped at {@link MAX_RETRY_AFTER_MS}; `undefined` if it says nothing that can be
 * obeyed (absent, malformed, zero or past), so that the schedule holds.
 *
 * Source: RFC 9110 §10.2.3 (seconds or any of the three HTTP dates). Fractions are sent by some, and understood.
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? ''
  let delayMs
  if (/^\d+(\.\d+)?$/.test(text)) {
    delayMs = Number(text) * 1000
  } else if (HTTP_DATE.test(text)) {
    // `Date.parse` alone takes almost anything; dates of the third form carry no zone and are UTC
    delayMs = Date.parse(/\bGMT$/i.test(text) ? text : `${text} GMT`) - now
  } else {
    return undefined
  }
  return delayMs > 0 ? Math.min(delayMs, MAX_RETRY_AFTER_MS) : undefined
}
