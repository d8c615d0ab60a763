/**
 * Whether all pieces stand in `text` between `from` and `end`, one after the other: what is between the stars of a
 * pattern. The first place of each piece is the best for those after it, so nothing is tried twice: unlike a regular
 * expression with a `.*` for each star, which some texts send backtracking for ever.
 */
export function standInOrder(pieces: readonly string[], text: string, from = 0, end = text.length): boolean {
  let at = from
  for (const piece of pieces) {
    const found = text.indexOf(piece, at)
    if (found === -1 || found + piece.length > end) {
      return false
    }
    at = found + piece.length
  }
  return true
}

/** `*` stands for any characters, dots too. */
export function isMatch(pattern: string, method: string): boolean {
  if (!pattern.includes('*')) {
    return pattern === method
  }
  const [head = '', ...rest] = pattern.split('*')
  const tail = rest.pop() ?? ''
  return (
    method.length >= head.length + tail.length &&
    method.startsWith(head) &&
    method.endsWith(tail) &&
    standInOrder(rest, method, head.length, method.length - tail.length)
  )
}

const ASCII = /^[\0-\x7f]*$/

/**
 * For comparing without regard to case, exactly as a regular expression with the flag `i` does: character by character,
 * and none outside of ASCII is equal to one in it (`ſ` is no `S`, `ß` no `SS`).
 *
 * Source: ECMA-262, Canonicalize
 */
export function foldCase(text: string): string {
  if (ASCII.test(text)) {
    return text.toUpperCase()
  }
  let folded = ''
  for (let i = 0; i < text.length; ++i) {
    const unit = text.charAt(i)
    const upper = unit.toUpperCase()
    folded += upper.length !== 1 || (unit > '\x7f' && upper <= '\x7f') ? unit : upper
  }
  return folded
}
