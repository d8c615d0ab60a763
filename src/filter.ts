import { parse } from 'complex-matcher'

import { messageOf } from './problem.ts'
import type { Event } from './event/event.ts'

/** Which events a hook wants, by what is in them. Never throws. */
export type Filter = (event: Searchable) => boolean

/** What a filter looks at: the properties of an event, `type`, `status` and `object`. */
export type Searchable = Readonly<Record<string, unknown>>

/** Where a text is no filter. */
export interface Mistake {
  readonly reason: string
  /** From 1, if it is known. */
  readonly character?: number
}

const MAX_LENGTH = 10_000

/**
 * Reads a filter in the syntax of XO's searches. How long it takes to match is its author's business: a regular
 * expression is run as it is.
 *
 * Source: packages/complex-matcher/src/index.js
 */
export function parseFilter(text: string): Filter | Mistake {
  if (text.length > MAX_LENGTH) {
    return { reason: `it is longer than ${MAX_LENGTH} characters` }
  }
  try {
    const node = parse(text)
    return event => {
      try {
        return node.match(event)
      } catch {
        return true // better one too many than one too few
      }
    }
  } catch (error) {
    return mistakeOf(error, text)
  }
}

function mistakeOf(error: unknown, text: string): Mistake {
  const message = messageOf(error)
  const position = /at position (\d+)$/.exec(message)?.[1]
  if (position !== undefined) {
    const character = Number(position) + 1
    return { reason: 'what stands there cannot be read', character }
  }
  if (error instanceof SyntaxError) {
    // `Invalid regular expression: /…/: why`, with flags after the second slash since Node.js 20
    const [, pattern, reason] = /^Invalid regular expression: (\/.*\/)[a-z]*: (.*)$/s.exec(message) ?? []
    const at = pattern === undefined ? -1 : text.indexOf(pattern)
    return {
      reason: `a regular expression is not valid${reason === undefined ? '' : `: ${reason.toLowerCase()}`}`,
      ...(at !== -1 && { character: at + 1 }),
    }
  }
  if (error instanceof TypeError) {
    const found = [...text.matchAll(/[<>]=?([\w.$-]+)/g)].find(([, value]) => Number.isNaN(Number(value)))
    return { reason: 'a comparison needs a number', ...(found && { character: found.index + 1 }) }
  }
  return { reason: error instanceof RangeError ? 'it is nested too deep' : message }
}

/** An event as filters see it. Each property is parsed when a filter comes to it, and once. */
export function searchableOf({ fields, phase, outcome }: Event): Searchable {
  const searchable: Record<string, unknown> = {}
  for (const [key, text] of fields) {
    Object.defineProperty(searchable, key, {
      configurable: true,
      enumerable: true,
      get() {
        const value: unknown = JSON.parse(text)
        Object.defineProperty(searchable, key, { enumerable: true, value })
        return value
      },
    })
  }
  searchable['type'] = phase
  searchable['status'] = outcome
  return searchable
}
