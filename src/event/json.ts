import { messageOf } from '../problem.ts'
import { HIDDEN, hideInText, isSecretName, maskAt, tellsSecret, textsIn } from './redaction.ts'
import type { Mask } from './redaction.ts'

/** What is nested deeper is cut, before recursion comes to the end of the stack. No event of the host comes near. */
const MAX_DEPTH = 200

/** The answer of {@link measure} for a value that `JSON.stringify` would refuse, empty, hang on, or tell a secret of. */
const ODD = Number.NEGATIVE_INFINITY

/**
 * The JSON text of any value, or `undefined` if it is longer than `maxBytes` in UTF-8.
 *
 * Never throws. What JSON cannot carry becomes something readable: a BigInt its digits, a function `[Function: name]`,
 * a cycle `[Circular]`, a Buffer `[Buffer: 12 bytes]`, a stream `[Stream]`, a getter that throws `[Unreadable: why]`.
 * Ordinary values give exactly what `JSON.stringify` gives, at its speed: they are measured first, which stops where
 * the limit is reached, so that a result of 50 MB costs no more than one at the limit.
 *
 * What `redaction.ts` knows for a secret becomes `* obfuscated *`. It is looked for while measuring: only a value that
 * holds one is written with care.
 *
 * @param mask - what else is hidden
 * @param onHidden - is given each text that the mask has hidden
 */
export function boundedJson(
  value: unknown,
  maxBytes: number,
  mask?: Mask,
  onHidden?: (text: string) => unknown
): string | undefined {
  if (mask === undefined) {
    try {
      const left = measure(value, maxBytes, [])
      if (left >= 0) {
        // A getter may answer differently the second time, and escapes make the text longer than the measure.
        const text = JSON.stringify(value) as string | undefined
        if (text !== undefined) {
          return bounded(hideInText(text), maxBytes)
        }
      } else if (left !== ODD) {
        return undefined
      }
    } catch {
      // a getter threw, or a proxy: written with care below
    }
  }
  const text = new CarefulWriter(maxBytes, onHidden).text(value, mask)
  return text === undefined ? undefined : bounded(hideInText(text), maxBytes)
}

function bounded(text: string, maxBytes: number): string | undefined {
  return fits(text, maxBytes) ? text : undefined
}

function fits(text: string, maxBytes: number): boolean {
  return text.length * 3 <= maxBytes || Buffer.byteLength(text) <= maxBytes
}

/**
 * What is left of `left` characters after `value`, at most: negative if it does not fit, {@link ODD} if it is not a
 * plain value.
 */
function measure(value: unknown, left: number, ancestors: object[]): number {
  switch (typeof value) {
    case 'string':
      return left - value.length - 2
    case 'number':
      return left - 1
    case 'boolean':
      return left - 4
    case 'object':
      return value === null ? left - 4 : measureObject(value, left - 1, ancestors)
    default:
      return ODD
  }
}

/**
 * `left` is already less by the opening bracket. Each member counts itself and a comma; the last one has no comma, which
 * makes up for the closing bracket: `[1,2]` counts `[`, `1,` and `2,`.
 */
function measureObject(value: object, left: number, ancestors: object[]): number {
  if (ancestors.length >= MAX_DEPTH || ancestors.includes(value)) {
    return ODD
  }
  ancestors.push(value)
  if (Array.isArray(value)) {
    for (let i = 0; left >= 0 && i < value.length; ++i) {
      left = value[i] === undefined ? left - 5 : measure(value[i], left - 1, ancestors)
    }
  } else {
    const prototype: unknown = Object.getPrototypeOf(value)
    if ((prototype !== Object.prototype && prototype !== null) || 'toJSON' in value) {
      return ODD
    }
    for (const key in value) {
      const child = (value as Record<string, unknown>)[key]
      if (child !== undefined) {
        if (tellsSecret(child) && isSecretName(key)) {
          return ODD
        }
        left = measure(child, left - key.length - 4, ancestors)
        if (left < 0) {
          break
        }
      }
    }
  }
  ancestors.pop()
  return left
}

const OVER = Symbol('over the limit')

/** Writes one value of unknown make, each property in its own `try`, without what is secret. */
class CarefulWriter {
  #left: number
  readonly #onHidden: (text: string) => unknown
  readonly #ancestors: object[] = []

  constructor(maxLength: number, onHidden: (text: string) => unknown = () => undefined) {
    this.#left = maxLength
    this.#onHidden = onHidden
  }

  text(value: unknown, mask?: Mask): string | undefined {
    try {
      return this.#guarded(() => this.#value(value, mask)) ?? 'null'
    } catch (thrown) {
      if (thrown === OVER) {
        return undefined
      }
      throw thrown
    }
  }

  /**
   * `undefined` for a value that JSON leaves out of an object.
   *
   * @param isSecret - it stands under a name that says so: scalars are hidden, and those of a list
   */
  #value(value: unknown, mask?: Mask, isSecret = false): string | undefined {
    if (typeof mask === 'function') {
      const masked = mask(value)
      if (masked !== value) {
        textsIn(value).forEach(this.#onHidden)
      }
      return this.#value(masked)
    }
    switch (typeof value) {
      case 'undefined':
        return undefined
      case 'string':
        return this.#string(isSecret ? HIDDEN : value)
      case 'number':
        return isSecret ? this.#string(HIDDEN) : this.#take(JSON.stringify(value))
      case 'boolean':
        return this.#take(JSON.stringify(value))
      case 'object':
        return value === null ? this.#take('null') : this.#guarded(() => this.#object(value, mask, isSecret))
      case 'function':
        return this.#guarded(() => this.#string(`[Function: ${value.name}]`))
      default: // bigint, symbol
        return this.#string(isSecret ? HIDDEN : String(value))
    }
  }

  #object(value: object, mask: Mask | undefined, isSecret: boolean): string | undefined {
    if (this.#ancestors.includes(value)) {
      return this.#string('[Circular]')
    }
    if (this.#ancestors.length >= MAX_DEPTH) {
      return this.#string('[Too deep]')
    }
    this.#ancestors.push(value)
    try {
      const readable = asReadable(value)
      // what toJSON and the like gave is not asked again, as in JSON.stringify
      return typeof readable !== 'object' || readable === null
        ? this.#value(readable, undefined, isSecret)
        : this.#members(readable, mask, isSecret)
    } finally {
      this.#ancestors.pop()
    }
  }

  #members(value: object, mask: Mask | undefined, isSecret: boolean): string {
    this.#take('[') // as in `measureObject`
    if (Array.isArray(value)) {
      const items: string[] = []
      for (let i = 0; i < value.length; ++i) {
        this.#take(',')
        items.push(this.#guarded(() => this.#value(value[i], maskAt(mask, '*'), isSecret)) ?? this.#take('null'))
      }
      return `[${items.join()}]`
    }
    const members: string[] = []
    for (const key of Object.keys(value)) {
      const child = this.#guarded(() =>
        this.#value((value as Record<string, unknown>)[key], maskAt(mask, key), isSecretName(key))
      )
      if (child !== undefined) {
        members.push(`${this.#string(key)}:${child}`)
        this.#take(':,')
      }
    }
    return `{${members.join()}}`
  }

  #guarded(write: () => string | undefined): string | undefined {
    try {
      return write()
    } catch (thrown) {
      if (thrown === OVER) {
        throw thrown
      }
      return this.#string(`[Unreadable: ${messageOf(thrown)}]`)
    }
  }

  #string(text: string): string {
    if (text.length > this.#left) {
      throw OVER
    }
    return this.#take(JSON.stringify(text))
  }

  #take(text: string): string {
    this.#left -= text.length
    if (this.#left < 0) {
      throw OVER
    }
    return text
  }
}

/** What stands for an object in JSON: itself, what its `toJSON` gives, or words. */
function asReadable(value: object): unknown {
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return `[${value.constructor.name}: ${value.byteLength} bytes]`
  }
  const { pipe, getReader, then, toJSON } = value as Record<string, unknown>
  if (typeof pipe === 'function' || typeof getReader === 'function') {
    return '[Stream]'
  }
  if (typeof then === 'function') {
    return '[Promise]'
  }
  if (typeof toJSON === 'function') {
    return toJSON.call(value, '')
  }
  if (value instanceof Error) {
    const { name, message, code } = value as NodeJS.ErrnoException
    return { ...value, name, message, code }
  }
  if (value instanceof Set) {
    return [...value]
  }
  if (value instanceof Map) {
    return Object.fromEntries(value)
  }
  if (value instanceof RegExp) {
    return String(value)
  }
  if (value instanceof String || value instanceof Number || value instanceof Boolean) {
    return value.valueOf()
  }
  return value
}
