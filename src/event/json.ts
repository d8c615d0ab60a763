import { CarefulWriter, holdsSecret, MAX_DEPTH, OVER } from './careful-json.ts'
import type { Secrecy } from './careful-json.ts'
import { isSecretName } from './names.ts'
import { isSuspect } from './secret-text.ts'

/** The answer of {@link measure} for a value that `JSON.stringify` would refuse, empty, or hang on. */
const ODD = Number.NEGATIVE_INFINITY

/**
 * The JSON text of any value, or `undefined` if it is longer than `maxBytes` in UTF-8. What is secret in it becomes
 * `* obfuscated *`.
 *
 * Never throws. What JSON cannot carry becomes something readable: a BigInt its digits, a function `[Function: name]`,
 * a cycle `[Circular]`, a Buffer `[Buffer: 12 bytes]`, a stream `[Stream]`, a getter that throws `[Unreadable: why]`.
 * Ordinary values give exactly what `JSON.stringify` gives, at about its speed: they are measured, which stops where the
 * limit is reached, so that a result of 50 MB costs no more than one at the limit; then they are written in pieces, and
 * only a piece that holds a secret is written with care. (Of one object with a million keys the engine lists all, before it
 * gives the first.)
 */
export function boundedJson(value: unknown, maxBytes: number, secrecy: Secrecy = {}): string | undefined {
  if (secrecy.mask === undefined) {
    try {
      const keys: Keys = new Map()
      let left = measure(value, maxBytes, 0, keys)
      if (left < 0 && left !== ODD) {
        left = measure(value, maxBytes, 0, keys, []) // what goes round in circles is not too long for that
      }
      if (left >= 0) {
        return new PlainWriter(maxBytes, maxBytes - left, keys, secrecy).text(value)
      }
      if (left !== ODD) {
        return undefined
      }
    } catch {
      // a getter threw, or a proxy: written with care below
    }
  }
  const text = new CarefulWriter(maxBytes, secrecy).text(value)
  return text !== undefined && fits(text, maxBytes) ? text : undefined
}

/** Whether a text is no longer in UTF-8. */
export function fits(text: string, maxBytes: number): boolean {
  return text.length * 3 <= maxBytes || Buffer.byteLength(text) <= maxBytes
}

/** Of objects with many keys, which take long to be listed. */
type Keys = Map<object, readonly string[]>
const MANY_KEYS = 1_000

/**
 * What is left of `left` characters after `value`, at most: negative if it does not fit, {@link ODD} if it is not a
 * plain value.
 *
 * @param ancestors - to find a value that holds itself; without, it is nested too deep, or does not fit
 */
function measure(value: unknown, left: number, depth: number, keys: Keys, ancestors?: object[]): number {
  switch (typeof value) {
    case 'string':
      return left - value.length - 2
    case 'number':
      return left - 1
    case 'boolean':
      return left - 4
    case 'object':
      return value === null ? left - 4 : measureObject(value, left - 1, depth, keys, ancestors)
    default:
      return ODD
  }
}

/**
 * `left` is already less by the opening bracket. Each member counts itself and a comma; the last one has no comma, which
 * makes up for the closing bracket: `[1,2]` counts `[`, `1,` and `2,`.
 */
function measureObject(value: object, left: number, depth: number, keys: Keys, ancestors?: object[]): number {
  if (depth >= MAX_DEPTH || ancestors?.includes(value) === true) {
    return ODD
  }
  ancestors?.push(value)
  if (Array.isArray(value)) {
    for (let i = 0; left >= 0 && i < value.length; ++i) {
      const item: unknown = value[i]
      left = item === undefined ? left - 5 : measure(item, left - 1, depth + 1, keys, ancestors)
    }
  } else {
    const prototype: unknown = Object.getPrototypeOf(value)
    if (
      (prototype !== Object.prototype && prototype !== null) ||
      (value as { toJSON?: unknown }).toJSON !== undefined
    ) {
      return ODD
    }
    let count = 0
    // much faster than a list of its keys; what its prototype may have makes it no shorter
    for (const key in value) {
      const child = (value as Record<string, unknown>)[key]
      left = child === undefined ? left : measure(child, left - key.length - 4, depth + 1, keys, ancestors)
      ++count
      if (left < 0) {
        break
      }
    }
    if (count >= MANY_KEYS) {
      keys.set(value, Object.keys(value))
    }
  }
  ancestors?.pop()
  return left
}

/**
 * Of the characters of a text about so many are written at once. Small enough to be looked through while it is in the
 * processor's cache; in V8 a large text is put together only once it is looked at, which takes as long again.
 */
const PIECE = 32 * 1024

/** An event of ordinary size is looked through more thoroughly. */
const LARGE = 16 * 1024

/** Writes a value that {@link measure} has found to be plain, in pieces of {@link PIECE}. */
class PlainWriter {
  readonly #maxBytes: number
  readonly #size: number
  readonly #keys: Keys
  readonly #secrecy: Secrecy
  #text = ''
  /** Of the text in UTF-8: counted once there could be too many. */
  #bytes: number | undefined

  /** @param size - as measured */
  constructor(maxBytes: number, size: number, keys: Keys, secrecy: Secrecy) {
    this.#maxBytes = maxBytes
    this.#size = size
    this.#keys = keys
    this.#secrecy = secrecy
  }

  text(value: unknown): string | undefined {
    try {
      this.#write(value, this.#size)
    } catch (thrown) {
      if (thrown === OVER) {
        return undefined
      }
      throw thrown
    }
    return this.#text
  }

  /** @param size - about: of what is in a list or an object, one is taken to be as large as the next */
  #write(value: unknown, size: number): void {
    if (typeof value === 'string' && value.length > PIECE) {
      this.#longText(value)
    } else if (size <= PIECE || typeof value !== 'object' || value === null) {
      this.#take(this.#shown(JSON.stringify(value), () => value))
    } else if (Array.isArray(value)) {
      this.#list(value, size)
    } else {
      this.#object(value as Readonly<Record<string, unknown>>, size)
    }
  }

  #list(list: readonly unknown[], size: number): void {
    let atOnce = Math.max(1, Math.floor((list.length * PIECE) / size))
    for (let from = 0; from < list.length;) {
      this.#take(from === 0 ? '[' : ',')
      if (atOnce > 1) {
        const items = list.slice(from, from + atOnce)
        from += items.length
        const shown = this.#shown(JSON.stringify(items), () => items)
        this.#take(shown.slice(1, -1))
        atOnce = Math.max(2, Math.floor((items.length * PIECE) / shown.length)) // digits are not measured, nor escapes
      } else {
        this.#write(list[from] ?? null, size / list.length)
        ++from
      }
    }
    this.#take(']')
  }

  #object(value: Readonly<Record<string, unknown>>, size: number): void {
    const keys = this.#keys.get(value) ?? Object.keys(value)
    const childSize = size / keys.length
    let separator = '{'
    for (let from = 0; from < keys.length;) {
      let members = ''
      let to = from
      for (; to < keys.length && members.length < PIECE; ++to) {
        const key = keys[to]!
        const child = value[key]
        if (childSize > PIECE && !isSecretName(key) && !isSuspect(key, false)) {
          break
        }
        if (child !== undefined) {
          const text = typeof child === 'number' && Number.isFinite(child) ? String(child) : JSON.stringify(child)
          members += `${members === '' ? '{' : ','}${quoted(key)}:${text}`
        }
      }
      if (members !== '') {
        const those = keys.slice(from, to)
        const shown = this.#shown(`${members}}`, () => Object.fromEntries(those.map(key => [key, value[key]])))
        this.#take(separator + shown.slice(1, -1))
        separator = ','
      } else if (to < keys.length) {
        const child = value[keys[to]!]
        if (child !== undefined) {
          this.#take(`${separator}${quoted(keys[to]!)}:`)
          this.#write(child, childSize)
          separator = ','
        }
        ++to
      }
      from = to
    }
    this.#take(separator === '{' ? '{}' : '}')
  }

  /** It is looked at rather than its JSON, which is not put together yet, and is as long but for escapes. */
  #longText(text: string): void {
    if (this.#isTelling(text, () => text)) {
      this.#take(this.#careful(text))
    } else if (/^[ !#-[\]-~]*$/.test(text)) {
      this.#take(`"${text}"`, () => text.length + 2)
    } else {
      const json = JSON.stringify(text)
      this.#take(json, () => {
        const most = json.length + Buffer.byteLength(text) - text.length
        return most <= this.#maxBytes - this.#bytes! ? most : Buffer.byteLength(json)
      })
    }
  }

  /** The JSON of a value without what is secret in it. @param json - as it is */
  #shown(json: string | undefined, value: () => unknown): string {
    if (json === undefined) {
      throw new Error('a getter has changed its mind')
    }
    return this.#isTelling(json, value) ? this.#careful(value()) : json
  }

  #isTelling(text: string, value: () => unknown): boolean {
    const { echoes } = this.#secrecy
    const isDoubtful = isSuspect(text, this.#size > LARGE) || (echoes !== undefined && echoes.mayBeIn(text))
    return isDoubtful && holdsSecret(value(), echoes)
  }

  #careful(value: unknown): string {
    const text = new CarefulWriter(this.#maxBytes - this.#text.length, { ...this.#secrecy, mask: undefined }).text(
      value
    )
    if (text === undefined) {
      throw OVER
    }
    return text
  }

  #take(text: string, countBytes = (): number => Buffer.byteLength(text)): void {
    if (this.#bytes === undefined && (this.#text.length + text.length) * 3 > this.#maxBytes) {
      this.#bytes = Buffer.byteLength(this.#text)
    }
    this.#text += text
    if (this.#bytes !== undefined) {
      this.#bytes += countBytes()
      if (this.#bytes > this.#maxBytes) {
        throw OVER
      }
    }
  }
}

function quoted(key: string): string {
  return /^[\w$. -]*$/.test(key) ? `"${key}"` : JSON.stringify(key)
}
