import { invalidParameters } from 'xo-common/api-errors.js'

import type { Problem } from '../problem.ts'
import { isRecord } from '../values.ts'

/** A parameter or a property of a result, in what JSON-RPC's and REST's descriptions of the host can both say. */
export type Field = Leaf | Branch

interface Leaf {
  readonly type: 'string' | 'number' | 'boolean'
  readonly optional?: true
  readonly about?: string
  readonly example?: string | number | boolean
}

interface Branch {
  readonly type: 'object' | 'array'
  readonly optional?: true
  readonly about?: string
  /** Of an object. */
  readonly fields?: Fields
  /** An object of any fields: whoever is given it looks into it. */
  readonly isOpen?: true
}

export type Fields = Readonly<Record<string, Field>>

interface Types {
  readonly string: string
  readonly number: number
  readonly boolean: boolean
  readonly array: readonly unknown[]
}

type ValueOf<F extends Field> = F extends { readonly type: 'object'; readonly fields: infer O extends Fields }
  ? ParamsOf<O>
  : F['type'] extends keyof Types
    ? Types[F['type']]
    : Readonly<Record<string, unknown>>

/** What parameters of these fields are. */
export type ParamsOf<P extends Fields> = {
  readonly [K in keyof P as P[K] extends { readonly optional: true } ? never : K]: ValueOf<P[K]>
} & {
  readonly [K in keyof P as P[K] extends { readonly optional: true } ? K : never]?: ValueOf<P[K]>
}

/**
 * Reads parameters, from wherever they come. Nothing unknown passes: a filter that is misspelt would mean everything.
 *
 * @throws `invalidParameters` of xo-common, with every {@link Problem}
 */
export function parseParams<P extends Fields>(fields: P, given: unknown): ParamsOf<P> {
  const problems = problemsIn(fields, given, '')
  if (problems.length > 0) {
    refuse(...problems)
  }
  return given as ParamsOf<P>
}

/** Names in braces of a path. */
export function parameterNames(path: string): string[] {
  return [...path.matchAll(/{(\w+)}/g)].map(([, name = '']) => name)
}

/** @throws `invalidParameters` of xo-common */
export function refuse(...problems: readonly Problem[]): never {
  const texts = problems.map(({ path, expected, got }) => `${path}: expected ${expected}, got ${got}`)
  return invalidParameters(texts.join('; '), problems)
}

/** Of a parameter: none of them is secret, and what is no parameter is not said again. */
export function shownValue(value: unknown): string {
  return value === undefined ? 'nothing' : (JSON.stringify(value) ?? typeof value).slice(0, 100)
}

function problemsIn(fields: Fields, given: unknown, base: string): Problem[] {
  if (!isRecord(given)) {
    return [{ path: base === '' ? 'parameters' : base, expected: 'an object', got: kindOf(given) }]
  }
  const problems: Problem[] = []
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(fields, name)) {
      const known = Object.keys(fields)
      const expected = known.length === 0 ? 'no parameters' : `one of ${known.join(', ')}`
      problems.push({ path: base + (base && '.') + name.slice(0, 100), expected, got: 'an unknown parameter' })
    }
  }
  for (const [name, field] of Object.entries(fields)) {
    const value = given[name]
    const path = base + (base && '.') + name
    if (value === undefined) {
      if (field.optional !== true) {
        problems.push({ path, expected: `a value of type ${field.type}`, got: 'nothing' })
      }
    } else if (field.type === 'object' && !('isOpen' in field && isRecord(value))) {
      problems.push(...problemsIn('fields' in field ? (field.fields ?? {}) : {}, value, path))
    } else if (kindOf(value) !== field.type || value === '') {
      problems.push({
        path,
        expected: `a value of type ${field.type}`,
        got: value === '' ? 'an empty text' : kindOf(value),
      })
    }
  }
  return problems
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isNaN(value) ? 'no number' : typeof value
}
