import { HIDDEN, isAuthName, isBasic, isSecretName } from './names.ts'
import { hiddenIn, maskAt, tellsSecret, textsIn } from './redaction.ts'
import type { Mask } from './redaction.ts'
import { hideInText, isSuspect } from './secret-text.ts'
import { MIN_SECRET_LENGTH } from '../echo.ts'
import type { Echoes } from '../echo.ts'
import { messageOf } from '../problem.ts'

/** What is nested deeper is cut, before recursion comes to the end of the stack. No event of the host comes near. */
export const MAX_DEPTH = 200

/** Thrown where a text becomes longer than it may. */
export const OVER = Symbol('over the limit')

const HIDDEN_JSON = JSON.stringify(HIDDEN)

/** What is hidden of a value besides what its names and texts betray. */
export interface Secrecy {
  readonly mask?: Mask | undefined
  /** Secrets that are known from elsewhere. */
  readonly echoes?: Echoes | undefined
  /** Is given each text that is hidden. */
  readonly onHidden?: ((text: string) => unknown) | undefined
}

/** Whether {@link CarefulWriter} has something to hide in a plain value: what only looks like it is written at full speed. */
export function holdsSecret(value: unknown, echoes: Echoes | undefined): boolean {
  if (typeof value === 'string') {
    return isSecretLabel(value) || hiddenText(value, echoes) !== value
  }
  if (typeof value === 'number') {
    return echoes !== undefined && echoes.hide(String(value)) !== String(value)
  }
  if (typeof value !== 'object' || value === null) {
    return false
  }
  if (Array.isArray(value)) {
    return value.some(item => holdsSecret(item, echoes))
  }
  for (const key in value) {
    const child = (value as Record<string, unknown>)[key]
    if (
      isSecretUnder(key, child) ? tellsSecret(child) : hiddenText(key, echoes) !== key || holdsSecret(child, echoes)
    ) {
      return true
    }
  }
  return false
}

/** A text that may be the name of what stands beside it; a longer one is none. */
function isSecretLabel(text: string): boolean {
  return text.length <= 100 && isSecretName(text)
}

function isSecretUnder(key: string, value: unknown): boolean {
  return isSecretName(key) || (typeof value === 'string' && isAuthName(key) && isBasic(value))
}

function hiddenText(text: string, echoes: Echoes | undefined): string {
  const shown = text.length >= MIN_TELLING && isSuspect(text, false) ? hideInText(text) : text
  const echoed = echoes?.hide(text) ?? text
  if (echoed === text || shown === text) {
    return echoed === text ? shown : echoed
  }
  // what either hides is hidden: one may have taken away what the other goes by
  const secrets = hiddenIn(text, shown).filter(secret => secret.length >= MIN_SECRET_LENGTH)
  return secrets.reduce((rest, secret) => rest.replaceAll(secret, HIDDEN), hideInText(echoed))
}

/** No shorter text names a secret and tells it. */
const MIN_TELLING = 6

/** A list that is a command line, or of pairs (`rawHeaders` of Node): what follows `--password` or `password` in it is a secret. */
function isNamedBefore(list: readonly unknown[], index: number): boolean {
  const before = index === 0 ? undefined : list[index - 1]
  const isPair = index % 2 === 1 && list.length % 2 === 0
  return typeof before === 'string' && (isPair ? /^[\w.-]+$/ : /^--?\w/).test(before) && isSecretLabel(before)
}

const LABELS = [
  ...[
    'name',
    'key',
    'k',
    'field',
    'label',
    'header',
    'option',
    'property',
    'attribute',
    'parameter',
    'param',
    'variable',
  ],
  ...['id', 'type', 'path'],
]
const VALUES = new Set(['value', 'val', 'v', 'content', 'data', 'text', 'default', 'current', 'oldValue', 'newValue'])

/** Whether an object names what it holds, as `{ name: 'password', value: 's3cret' }`. */
function namesSecret(value: Readonly<Record<string, unknown>>): boolean {
  return LABELS.some(label => {
    const name = Object.hasOwn(value, label) ? value[label] : undefined
    return typeof name === 'string' && isSecretLabel(name)
  })
}

/** Writes one value of unknown make, each property in its own `try`, without what is secret. */
export class CarefulWriter {
  #left: number
  readonly #mask: Mask | undefined
  readonly #echoes: Echoes | undefined
  readonly #onHidden: (text: string) => unknown
  readonly #ancestors: object[] = []

  constructor(maxLength: number, { mask, echoes, onHidden = () => undefined }: Secrecy) {
    this.#left = maxLength
    this.#mask = mask
    this.#echoes = echoes
    this.#onHidden = onHidden
  }

  text(value: unknown): string | undefined {
    try {
      return this.#guarded(() => this.#value(value, this.#mask)) ?? 'null'
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
   * @param isSecret - it stands under a name that says so: it is hidden whole
   */
  #value(value: unknown, mask?: Mask, isSecret = false): string | undefined {
    if (isSecret && tellsSecret(value)) {
      this.#guarded(() => void textsIn(value).forEach(this.#onHidden))
      return this.#take(HIDDEN_JSON)
    }
    if (typeof mask === 'function') {
      return this.#masked(value, mask)
    }
    switch (typeof value) {
      case 'undefined':
        return undefined
      case 'string':
        return this.#string(value)
      case 'number':
        return this.#echoes?.hide(String(value)) === HIDDEN
          ? this.#take(HIDDEN_JSON)
          : this.#take(JSON.stringify(value))
      case 'boolean':
        return this.#take(JSON.stringify(value))
      case 'object':
        return value === null ? this.#take('null') : this.#guarded(() => this.#object(value, mask))
      case 'function':
        return this.#guarded(() => this.#string(`[Function: ${value.name}]`))
      default: // bigint, symbol
        return this.#string(String(value))
    }
  }

  #masked(value: unknown, mask: (value: unknown) => unknown): string | undefined {
    const shown = mask(value)
    if (shown !== value) {
      textsIn(value).forEach(this.#onHidden)
    }
    if (typeof value === 'string' && typeof shown === 'string') {
      hiddenIn(value, shown).forEach(this.#onHidden)
    }
    return this.#value(shown)
  }

  #object(value: object, mask: Mask | undefined): string | undefined {
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
      return typeof readable !== 'object' || readable === null ? this.#value(readable) : this.#members(readable, mask)
    } finally {
      this.#ancestors.pop()
    }
  }

  #members(value: object, mask: Mask | undefined): string {
    this.#take('[') // as in `measureObject`
    if (Array.isArray(value)) {
      const items: string[] = []
      for (let i = 0; i < value.length; ++i) {
        this.#take(',')
        const write = (): string | undefined => this.#value(value[i], maskAt(mask, '*'), isNamedBefore(value, i))
        items.push(this.#guarded(write) ?? this.#take('null'))
      }
      return `[${items.join()}]`
    }
    const record = value as Readonly<Record<string, unknown>>
    const isPair = this.#holds(() => namesSecret(record))
    const members: string[] = []
    for (const key of Object.keys(value)) {
      const child = this.#guarded(() => {
        const member = record[key]
        return this.#value(member, maskAt(mask, key), isSecretUnder(key, member) || (isPair && VALUES.has(key)))
      })
      if (child !== undefined) {
        members.push(`${this.#string(key)}:${child}`)
        this.#take(':,')
      }
    }
    return `{${members.join()}}`
  }

  #holds(ask: () => boolean): boolean {
    try {
      return ask()
    } catch {
      return false // a getter threw, or a proxy
    }
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
    const shown = hiddenText(text, this.#echoes)
    if (shown !== text) {
      hiddenIn(text, shown).forEach(this.#onHidden)
    }
    return this.#take(JSON.stringify(shown))
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
