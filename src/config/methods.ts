import { EVENT_NAMES } from './form.ts'
import type { Problem } from '../problem.ts'
import { isMatch } from '../glob.ts'
import { isWanted } from '../matcher.ts'
import type { Matchable, MethodPatterns } from '../matcher.ts'
import { hookableEvents, isRefusable, RUN_EVENTS } from '../sources/index.ts'

/**
 * The patterns that match neither an API method nor another event; those that leave something out count too, as they may
 * be misspelt.
 */
export function unknownPatterns({ include, exclude }: MethodPatterns, methods: readonly string[]): readonly string[] {
  const names = [...methods, ...EVENT_NAMES]
  // actions of the REST API that are not known yet are called `rest.` and something
  return [...include, ...exclude].filter(
    pattern => !pattern.startsWith('rest.') && !names.some(name => isMatch(pattern, name))
  )
}

/** `did you mean "vm.start"?`, if a name that exists is much like this one; else nothing. */
export function suggestionFor(pattern: string, methods: readonly string[]): string | undefined {
  const names = [...methods, ...EVENT_NAMES]
  const namespaces = names.map(name => `${name.split('.', 1)[0]}.*`)
  const wrong = pattern.toLowerCase()
  let closest: string | undefined
  // a third of it may be wrong: of a longer distance nobody would say that it is the same word
  let distance = Math.floor(pattern.length / 3) + 1
  for (const name of new Set(pattern.includes('*') ? namespaces : names)) {
    const its = distanceOf(wrong, name.toLowerCase(), distance)
    if (its < distance) {
      closest = name
      distance = its
    }
  }
  return closest && `did you mean "${closest}"?`
}

/** Letters to insert, remove, replace or swap (Damerau-Levenshtein); what is `limit` or more is `limit`. */
function distanceOf(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) {
    return limit
  }
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; ++i) {
    const row = [i]
    for (let j = 1; j <= b.length; ++j) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      row[j] = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j]!, before[j - 2]! + 1)
      }
    }
    before = last
    last = row
  }
  return Math.min(last[b.length]!, limit)
}

/**
 * The problem of a hook whose events never come in the phase and with the status that it wants. Only what is certain.
 *
 * @param known - the API methods of the host
 */
export function neverFires(
  { methods, phases, status }: Matchable,
  path: string,
  known: readonly string[]
): Problem | undefined {
  const wanted = hookableEvents.filter(({ name }) => isWanted(methods, [name]))
  const mayBeOthers =
    known.some(name => isWanted(methods, [name])) || methods.include.some(pattern => pattern.startsWith('rest.'))
  if (wanted.length === 0 || mayBeOthers) {
    return undefined
  }
  const names = [...new Set(wanted.map(({ name }) => name))].slice(0, 3).join(', ')
  if (!wanted.some(event => event.phases.some(phase => phases.includes(phase)))) {
    const expected = `"post": its events have no "pre" (${names}), so that nothing would ever be sent`
    return { path: `${path}.type`, expected, got: '"pre"' }
  }
  if (status === 'failure' && !phases.includes('pre') && wanted.every(event => event.alwaysSucceeds === true)) {
    const expected = `"any" or "success": its events never fail (${names}), so that nothing would ever be sent`
    return { path: `${path}.status`, expected, got: '"failure"' }
  }
  return undefined
}

/** Of a hook that may refuse, if nothing that it wants can be refused. */
export function refusalProblems({ methods }: Matchable, path: string, known: readonly string[]): readonly Problem[] {
  const refusable = [...known.filter(isRefusable), ...RUN_EVENTS]
  if (refusable.some(name => isWanted(methods, [name]))) {
    return []
  }
  const expected = 'an API method or a backup run, as the hook may refuse'
  const got = 'only what cannot be held: states, what only the REST API does, what signs in or mends hooks'
  return [{ path: `${path}.method`, expected, got }]
}
