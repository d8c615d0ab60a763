/**
 * Secrets that a text says again, as an error says the password that it was given, and an error page the path: as they are,
 * or as they are written in JSON, URLs, forms, HTML and Base64, or in one within another.
 */

/** A text is unescaped so often: JSON within JSON within a URL. */
const MAX_LAYERS = 4

/** A shorter text could be a word that stands there anyway. */
export const MIN_SECRET_LENGTH = 4

/** What is found in Base64 is shorter by some characters at either end, and must not be a word either. */
const MIN_ENCODED_LENGTH = 8

const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  sol: '/',
  bsol: '\\',
  colon: ':',
  equals: '=',
  quest: '?',
  num: '#',
  period: '.',
  commat: '@',
  percnt: '%',
  plus: '+',
  lowbar: '_',
}

const ESCAPE = new RegExp(
  [
    String.raw`\\u\{?([0-9a-f]{4,6})\}?`,
    String.raw`\\x([0-9a-f]{2})`,
    String.raw`\\([^ux\s])`,
    '((?:%[0-9a-f]{2})+)',
    '%u([0-9a-f]{4})',
    '&#x([0-9a-f]{1,6});',
    '&#([0-9]{1,7});',
    `&(${Object.keys(ENTITIES).join('|')});`,
    String.raw`(\+)`,
  ].join('|'),
  'gi'
)
/** Of the groups of `ESCAPE`: `%C3%A4`. */
const BYTES = 4
/** What the end of a text leaves of an escape. */
const CUT_ESCAPE = /(?:\\(?:u\{?[0-9a-f]{0,5}|x[0-9a-f]?)?|%u?[0-9a-f]{0,3}|&#?\w{0,7})$/i
const CONTROLS: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

/** A text as it reads once its escapes are resolved, and where its characters stood. */
interface Layer {
  readonly text: string
  /** Of each character its place in the first text, and at the end that text's length. */
  readonly places: ArrayLike<number> | undefined
}

function placeOf({ places }: Layer, index: number): number {
  return places?.[index] ?? index
}

/** `undefined`: there are no escapes. */
function unescaped(layer: Layer, isCut: boolean): Layer | undefined {
  const source = isCut ? layer.text.replace(CUT_ESCAPE, '') : layer.text
  ESCAPE.lastIndex = 0
  let found = ESCAPE.exec(source)
  if (found === null) {
    return source.length === layer.text.length ? undefined : { ...layer, text: source }
  }
  let text = ''
  const places: number[] = []
  let from = 0
  const copy = (to: number): void => {
    for (let at = from; at < to; ++at) {
      places.push(placeOf(layer, at))
    }
    text += source.slice(from, to)
  }
  for (; found !== null; found = ESCAPE.exec(source)) {
    copy(found.index)
    const bytes = found[BYTES]
    if (bytes !== undefined) {
      const plain = Buffer.from(bytes.replaceAll('%', ''), 'hex')
      const decoded = plain.toString()
      const isText = !decoded.includes('\ufffd')
      let at = found.index
      for (const each of isText ? decoded : plain.toString('latin1')) {
        text += each
        for (let unitIndex = 0; unitIndex < each.length; ++unitIndex) {
          places.push(placeOf(layer, at))
        }
        at += 3 * (isText ? Buffer.byteLength(each) : 1)
      }
    } else {
      const plain = meantBy(found)
      for (let index = 0; index < plain.length; ++index) {
        places.push(placeOf(layer, found.index))
      }
      text += plain
    }
    from = found.index + found[0].length
  }
  copy(source.length)
  places.push(placeOf(layer, source.length))
  return { text, places }
}

/** What an escape stands for, but for that of bytes (`%C3%A4`). One that stands for nothing is itself. */
function meantBy([all, unit, byte, char, , percentUnit, hex, decimal, entity]: RegExpExecArray): string {
  const code = unit ?? byte ?? percentUnit ?? hex
  if (code !== undefined || decimal !== undefined) {
    const number = code === undefined ? Number(decimal) : Number.parseInt(code, 16)
    return number <= 0x10_ff_ff ? String.fromCodePoint(number) : all
  }
  if (char !== undefined) {
    return CONTROLS[char] ?? char
  }
  return entity === undefined ? ' ' : (ENTITIES[entity.toLowerCase()] ?? all) // `+`, in forms
}

/** A text, and what it reads once, twice… unescaped. */
function layersOf(text: string, isCut: boolean): Layer[] {
  const layers: Layer[] = [{ text, places: undefined }]
  while (layers.length <= MAX_LAYERS) {
    const next = unescaped(layers.at(-1)!, isCut)
    if (next === undefined || next.text === layers.at(-1)!.text) {
      break
    }
    layers.push(next)
  }
  return layers
}

/** What of a text stands in Base64 of any text that holds it: whatever comes before, its beginning is one of three. */
function inBase64(secret: string): string[] {
  return [0, 1, 2].map(before => {
    const encoded = Buffer.from('\0'.repeat(before) + secret)
      .toString('base64')
      .replace(/=+$/, '')
    const isWhole = (Buffer.byteLength(secret) + before) % 3 === 0
    return encoded.slice(before === 0 ? 0 : before + 1, isWhole ? undefined : -1)
  })
}

export interface EchoOptions {
  /** Stands for what is hidden. */
  readonly sign: string
  /** What is shorter is hidden only where it is a word of its own. @default none */
  readonly wordLength?: number
}

/** Some secrets, to be hidden where a text says them again. */
export class Echoes {
  /** The longest first: one may be part of another. */
  readonly #needles: readonly string[]
  readonly #sign: string
  readonly #wordLength: number

  /** @param secrets - as they are, or escaped in any way; those that are shorter than 4 characters are left out */
  constructor(secrets: Iterable<string>, { sign, wordLength = 0 }: EchoOptions) {
    const needles = new Set<string>()
    for (const secret of secrets) {
      for (const { text } of layersOf(secret, false)) {
        needles.add(text)
        for (const encoded of text.length >= MIN_ENCODED_LENGTH ? inBase64(text) : []) {
          needles.add(encoded).add(encoded.replaceAll('+', '-').replaceAll('/', '_'))
        }
      }
    }
    this.#needles = [...needles].filter(text => text.length >= MIN_SECRET_LENGTH).sort((a, b) => b.length - a.length)
    this.#sign = sign
    this.#wordLength = wordLength
  }

  /** `false`: a text, or JSON, says none of them. */
  mayBeIn(text: string): boolean {
    return /[%&\\+]/.test(text) || this.#needles.some(needle => text.includes(needle))
  }

  /**
   * The text without the secrets.
   *
   * @param isCut - the text may end amid a secret, or amid an escape of it
   */
  hide(text: string, isCut = false): string {
    const hidden: [start: number, end: number][] = []
    for (const layer of layersOf(text, isCut)) {
      for (const needle of this.#needles) {
        this.#find(layer, needle, hidden)
      }
      const start = isCut && hidden.every(([, end]) => end < text.length) ? this.#cutAt(layer.text) : -1
      if (start !== -1) {
        hidden.push([placeOf(layer, start), text.length])
      }
    }
    return hidden.length === 0 ? text : without(text, hidden, this.#sign)
  }

  #find(layer: Layer, needle: string, hidden: [number, number][]): void {
    const { text } = layer
    for (let at = text.indexOf(needle); at !== -1; at = text.indexOf(needle, at + needle.length)) {
      const end = at + needle.length
      const isWord = !/[\p{L}\p{N}_]/u.test(text.charAt(at - 1) + text.charAt(end))
      if (isWord || needle.length >= this.#wordLength) {
        hidden.push([placeOf(layer, at), placeOf(layer, end)])
      }
    }
  }

  /** Where the beginning of a secret stands that the end of the text cuts off (`token: abcd12` of `abcd1234`); -1: nowhere. */
  #cutAt(text: string): number {
    let first = -1
    for (const needle of this.#needles) {
      const beginning = needle.slice(0, MIN_SECRET_LENGTH)
      let start = text.indexOf(beginning, Math.max(0, text.length - needle.length + 1))
      while (start !== -1 && !needle.startsWith(text.slice(start))) {
        start = text.indexOf(beginning, start + 1)
      }
      first = start === -1 ? first : first === -1 ? start : Math.min(first, start)
    }
    return first
  }
}

function without(text: string, ranges: [start: number, end: number][], sign: string): string {
  ranges.sort(([a], [b]) => a - b)
  let shown = ''
  let hiddenTo = -1
  for (const [start, end] of ranges) {
    if (start > hiddenTo) {
      shown += text.slice(Math.max(0, hiddenTo), start) + sign
    }
    hiddenTo = Math.max(hiddenTo, end)
  }
  return shown + text.slice(hiddenTo)
}
