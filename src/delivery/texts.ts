/** So many texts are known; beyond that it begins anew. */
const MAX_KNOWN = 10_000

/**
 * Gives for each text one that is equal, mostly the same as before: what 100,000 deliveries have in common is kept once, and
 * each collection of garbage copies it once.
 *
 * @param copied - makes the one that is kept
 */
export function sharedTexts(copied = (text: string): string => text): (text: string) => string {
  const known = new Map<string, string>()
  return text => {
    const same = known.get(text)
    if (same !== undefined) {
      return same
    }
    if (known.size >= MAX_KNOWN) {
      known.clear()
    }
    const own = copied(text)
    known.set(own, own)
    return own
  }
}
