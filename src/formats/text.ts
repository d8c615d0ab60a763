/**
 * The border between what strangers have written and what services render. Anybody on the network can write a text of
 * an event: who tries to sign in chooses the user name.
 *
 * A text crosses in two steps: {@link lineOf} or {@link linesOf} takes away what hides, turns or breaks text anywhere,
 * when the message is made; {@link fitted} makes of the rest what a service shows as it stands, within its limit.
 */

/** Half a character, what is shown as nothing, or changes how its neighbours are shown, and white space that is not one space. */
const STRANGE =
  /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2064\u206a-\u206f\u2800\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|\s{2,}|\p{M}{4,}/gu

const PLAIN = /^[\x21-\x7e]?(?: ?[\x21-\x7e])*$/

/** A text in one line: a line end in a name would make a line of its own, and forge what stands in the next one. */
export function lineOf(text: string, maxLength: number): string {
  if (text.length <= maxLength && PLAIN.test(text)) {
    return text
  }
  return cut(
    text
      .slice(0, 4 * maxLength)
      .replace(STRANGE, found => (/\s/.test(found) ? ' ' : found.length > 3 ? [...found].slice(0, 3).join('') : ''))
      .replaceAll(/\s+/g, ' ')
      .trim(),
    maxLength
  )
}

/** A text of several lines, for a block of its own. */
export function linesOf(text: string, maxLength: number): string {
  const lines = text
    .slice(0, 4 * maxLength)
    .split(/\r\n|[\n\r\u2028\u2029]/)
    .map(line => lineOf(line, maxLength))
  return cut(lines.join('\n').trim(), maxLength)
}

/** How large a text is, in the unit of a limit. */
export type Measure = (text: string) => number

/** UTF-16 units: as large as or larger than in code points, the unit of most services. */
export const units: Measure = text => text.length

const ELLIPSIS = '…'

/**
 * A text as its service shows it, within a limit. It is cut between two code points of the original, so that neither half
 * a character nor half an escape (`&am`) is left.
 *
 * @param escape - of each code point by itself: what follows one must not matter
 * @param max - of what comes out, in the unit of `measure`
 */
export function fitted(text: string, max: number, escape: (text: string) => string = same, measure = units): string {
  const whole = escape(text)
  if (measure(whole) <= max) {
    return whole
  }
  let left = max - measure(ELLIPSIS)
  let result = ''
  for (const char of text) {
    const escaped = escape(char)
    left -= measure(escaped)
    if (left < 0) {
      break
    }
    result += escaped
  }
  return max < measure(ELLIPSIS) ? '' : result + ELLIPSIS
}

export function cut(text: string, maxLength: number): string {
  return fitted(text, maxLength)
}

function same(text: string): string {
  return text
}

/** Of HTML, and of Slack's markup, which is bounded by the same three. */
export function escapeHtml(text: string): string {
  return /[&<>]/.test(text) ? text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;') : text
}

/** Shown as nothing, and yet it parts what it stands between. */
export const JOINT = '\u200b'

/**
 * For a service that has no markup, and makes links of what looks like an address, `evil.example` and `a@evil.example`
 * among them: these are parted, the rest is as it is (`192.0.2.7` too, which is to be copied; `192.0.2.7/x` is not). It looks at neighbours, and so comes before {@link fitted}, not as its
 * `escape`.
 */
export function withoutLinks(text: string): string {
  return text.replace(
    /:(?=[/\uff0f]{2})|(?<=[\p{L}\p{N}-])[.\u3002\uff0e\uff61](?=[\p{L}-][\p{L}\p{N}-]|\d{1,3}[:/])/gu,
    `$&${JOINT}`
  )
}
