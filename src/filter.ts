import { And, GlobPattern, Not, NumberOrStringNode, Or, parse, Property, RegExpNode, StringNode } from 'complex-matcher'
import type { Node } from 'complex-matcher'

import { within } from './effort.ts'
import type { Effort } from './effort.ts'
import { foldCase, standInOrder } from './glob.ts'
import { messageOf } from './problem.ts'
import type { Event } from './event/event.ts'

/**
 * Which events a hook wants, by what is in them. Never throws, and ends in time.
 *
 * `undefined`: it could not be decided, because it took too long or the event is too large to look into. One too many
 * is better than one too few: whoever asks sends the event, counts and tells it, and switches the hook off after the
 * third.
 */
export type Filter = (event: Searchable) => boolean | undefined

/** What a filter looks at: the properties of an event, `type`, `status` and `object`. */
export type Searchable = Readonly<Record<string, unknown>>

/** Where a text is no filter. */
export interface Mistake {
  readonly reason: string
  /** From 1, if it is known. */
  readonly character?: number
}

const MAX_LENGTH = 10_000

/** Some 1,300 levels are all that the parser's recursion has room for, and less where the stack is smaller. */
const MAX_DEPTH = 200

/** How long one evaluation may take, twice: with the longest call that nothing interrupts that is less than 100 ms. */
const BUDGET_MS = 30

/** Only so much of a text is searched for words and globs, in characters. */
const MAX_TEXT = 10_000

/**
 * Only so much of a text is given to a regular expression. One that goes over the text again from each of its characters,
 * like `/\w+@/`, takes some 15 ms for that.
 */
const MAX_REGEXP_TEXT = 4_000

/** V8 compiles a regular expression in one go that nothing interrupts: 1,200 nested groups take 3 s. */
const MAX_SPECIAL = 250

/**
 * Brackets, braces and commas in a field that is looked into: nothing interrupts `JSON.parse`, which takes 60 ms and more
 * for 100,000 names.
 */
const MAX_PARTS = 20_000

/** `undefined` while it depends on a regular expression that may not be run yet. */
type Match = (value: unknown, effort: Effort) => boolean | undefined

/**
 * Reads a filter in the syntax of XO's searches. It finds what XO's own search finds, but looks at the beginning of each
 * text only ({@link MAX_TEXT}, {@link MAX_REGEXP_TEXT}) and at all properties of an object that has one named `length`.
 *
 * Source: packages/complex-matcher/src/index.js
 */
export function parseFilter(text: string): Filter | Mistake {
  if (text.length > MAX_LENGTH) {
    return { reason: `it is longer than ${MAX_LENGTH} characters` }
  }
  let match: Match
  try {
    match = compile(parse(text), MAX_DEPTH)
  } catch (error) {
    return mistakeOf(error, text)
  }
  return event =>
    within(
      BUDGET_MS,
      // mostly decided without the regular expressions, and without the thread that watches them
      effort => match(event, effort) ?? effort.watched(() => match(event, effort))
    )
}

/**
 * The property for which a filter finds nothing whatever comes, as no event has one of that name; `undefined`: it may find
 * something.
 *
 * @param text - a filter
 */
export function missingProperty(text: string, known: ReadonlySet<string>): string | undefined {
  const missing = (node: Node): string | undefined => {
    if (node instanceof Property) {
      // `nothing:!here` is true of what is not there
      return known.has(node.name) || !isPositive(node.child) ? undefined : node.name
    }
    if (node instanceof And) {
      return node.children.map(missing).find(name => name !== undefined)
    }
    if (node instanceof Or) {
      const names = node.children.map(missing)
      return names.includes(undefined) ? undefined : names[0]
    }
    return undefined
  }
  return missing(parse(text))
}

/** It finds nothing in what is not there. */
function isPositive(node: Node): boolean {
  if (node instanceof And) {
    return node.children.some(isPositive)
  }
  if (node instanceof Or) {
    return node.children.length > 0 && node.children.every(isPositive)
  }
  return node instanceof Property
    ? isPositive(node.child)
    : [StringNode, NumberOrStringNode, GlobPattern, RegExpNode].some(kind => node instanceof kind)
}

/** @throws a RangeError for what is nested deeper than `depth`, an Error for a regular expression that is too complex */
function compile(node: Node, depth: number): Match {
  if (depth === 0) {
    throw new RangeError('nested too deep')
  }
  if (node instanceof And) {
    return decided(
      node.children.map(child => compile(child, depth - 1)),
      false
    )
  }
  if (node instanceof Or) {
    return decided(
      node.children.map(child => compile(child, depth - 1)),
      true
    )
  }
  if (node instanceof Not) {
    const match = compile(node.child, depth - 1)
    return (value, effort) => {
      const verdict = match(value, effort)
      return verdict === undefined ? undefined : !verdict
    }
  }
  if (node instanceof Property) {
    const { name } = node
    const match = compile(node.child, depth - 1)
    return (value, effort) => {
      effort.spend(VISIT)
      return value === undefined || value === null ? false : match((value as Record<string, unknown>)[name], effort)
    }
  }
  if (node instanceof StringNode) {
    return anywhere(wordIn(node.value))
  }
  if (node instanceof NumberOrStringNode) {
    const isFound = wordIn(node.value)
    const number = Number(node.value)
    return anywhere((value, effort) => value === number || isFound(value, effort))
  }
  if (node instanceof GlobPattern) {
    return anywhere(globIn(node.value))
  }
  if (node instanceof RegExpNode) {
    const match = anywhere(regexpIn(node.re))
    return (value, effort) => (effort.isWatched ? match(value, effort) : undefined)
  }
  // comparisons, `name?` and nothing at all: one look
  return (value, effort) => {
    effort.spend(VISIT)
    return node.match(value)
  }
}

/** One that says `decisive` decides. */
function decided(matches: readonly Match[], decisive: boolean): Match {
  return (value, effort) => {
    let verdict: boolean | undefined = !decisive
    for (const match of matches) {
      const one = match(value, effort)
      if (one === decisive) {
        return decisive
      }
      if (one === undefined) {
        verdict = undefined
      }
    }
    return verdict
  }
}

/** What looking at a value costs, beside its text. */
const VISIT = 4

type Test = (value: unknown, effort: Effort) => boolean

/** In the value, or in what it holds, however deep. */
function anywhere(test: Test): Test {
  const search: Test = (value, effort) => {
    effort.spend(VISIT)
    if (typeof value !== 'object' || value === null) {
      return test(value, effort)
    }
    if (Array.isArray(value)) {
      return value.some(item => search(item, effort))
    }
    const keys = Object.keys(value)
    effort.spend(keys.length * VISIT)
    return keys.some(key => search((value as Record<string, unknown>)[key], effort))
  }
  return search
}

function wordIn(word: string): Test {
  const lower = word.toLowerCase()
  return (value, effort) => {
    if (typeof value !== 'string') {
      return false
    }
    const text = value.slice(0, MAX_TEXT)
    effort.spend(costOf(text, word))
    return text.toLowerCase().includes(lower)
  }
}

/** Looking for `aa…baa…` in `aaaa…` takes as long as both lengths multiplied. */
function costOf(text: string, pattern: string): number {
  return text.length * (1 + pattern.length / 128)
}

const LINE_END = /[\n\r\u2028\u2029]/

/** Its pieces stand in one line, as with a `.*` for each star. */
function globIn(pattern: string): Test {
  const pieces = foldCase(pattern)
    .split('*')
    .filter(piece => piece !== '')
  return (value, effort) => {
    if (typeof value !== 'string') {
      return false
    }
    const text = value.slice(0, MAX_TEXT)
    effort.spend(4 * costOf(text, pattern))
    const folded = foldCase(text)
    return pieces.length < 2
      ? standInOrder(pieces, folded)
      : folded.split(LINE_END).some(line => standInOrder(pieces, line))
  }
}

function regexpIn(original: RegExp): Test {
  const { source, flags } = original
  if ((source.match(/[([{*+?|\\]/g)?.length ?? 0) > MAX_SPECIAL) {
    throw new Error(`a regular expression has more than ${MAX_SPECIAL} special characters`)
  }
  const regexp = new RegExp(unoptimised(withoutEdges(source)), flags)
  return (value, effort) => {
    if (typeof value !== 'string') {
      return false
    }
    const text = value.slice(0, MAX_REGEXP_TEXT)
    effort.spend(text.length)
    return regexp.test(text)
  }
}

/** `.*prod.*` finds where `prod` does, which is found without trying each place in the text for the dots. */
function withoutEdges(source: string): string {
  if (source.includes('|')) {
    return source
  }
  const tail = /(^|[^\\])(?:\.\*\??)+$/.exec(source)
  const end = tail === null ? source.length : tail.index + tail[1]!.length
  return source.slice(0, end).replace(/^(?:\.\*\??)+/, '') || '(?:)'
}

/**
 * V8's optimisation of a choice that is repeated, as in `(a|bb|c|…){3}`, looks at all ways through it: 100 branches keep
 * it busy for more than 10 s. It leaves alone what is longer than 20,000 characters: so are those made, by a branch that
 * is never taken.
 *
 * Source: v8/src/regexp/regexp.h, kRegExpTooLargeToOptimize
 */
function unoptimised(source: string): string {
  const isSimple = !/[|{]/.test(source) && (source.match(/[(*+?]/g)?.length ?? 0) <= 20
  return isSimple ? source : `(?:${source})|(?!)[${'a'.repeat(20_480)}]`
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

/**
 * An event as filters see it. Each property is parsed when a filter comes to it, and once; it throws if it is no JSON, or
 * has so many parts that parsing it would take too long.
 */
export function searchableOf({ fields, phase, outcome }: Event): Searchable {
  const searchable: Record<string, unknown> = {}
  for (const [key, text] of fields) {
    Object.defineProperty(searchable, key, {
      configurable: true,
      enumerable: true,
      get() {
        if (!hasFewParts(text)) {
          throw new RangeError('too many parts')
        }
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

function hasFewParts(json: string): boolean {
  if (json.length <= MAX_PARTS) {
    return true
  }
  let parts = 0
  for (let i = 0; i < json.length; ++i) {
    const code = json.charCodeAt(i)
    if (code === OPEN_BRACKET || code === OPEN_BRACE || code === COMMA) {
      ++parts
    }
  }
  return parts <= MAX_PARTS
}

const OPEN_BRACKET = 0x5b
const OPEN_BRACE = 0x7b
const COMMA = 0x2c
