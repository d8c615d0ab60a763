import type { Mistake } from './format.ts'

/** A JSON text as it is written: values, and where each string stands. */
export type Node =
  | { readonly kind: 'string'; readonly value: string; readonly start: number; readonly end: number }
  | { readonly kind: 'list'; readonly items: readonly Node[] }
  | { readonly kind: 'object'; readonly entries: readonly (readonly [key: string, value: Node, at: number])[] }
  | { readonly kind: 'constant'; readonly value: number | boolean | null }

const MAX_DEPTH = 50
const WHITE_SPACE = /[ \t\n\r]*/y
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/y
const CONSTANT = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null)(?![\w.])/y

/**
 * Reads JSON as `JSON.parse` does, whose errors do not tell the place in every version of Node.js.
 *
 * @throws MistakeError
 */
export function readSource(text: string): Node {
  return new Reader(text).read()
}

export class MistakeError extends Error {
  override readonly name = 'MistakeError'
  readonly mistake: Mistake

  /** @param at - offset in the text */
  constructor(text: string, at: number, expected: string, got = shownAt(text, at)) {
    super(expected)
    const before = text.slice(0, at).split('\n')
    this.mistake = { line: before.length, column: before.at(-1)!.length + 1, expected, got }
  }
}

function shownAt(text: string, at: number): string {
  return at >= text.length ? 'the end' : JSON.stringify(text.slice(at, at + 20))
}

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  read(): Node {
    const node = this.#value(0)
    this.#skip()
    if (this.#at < this.#text.length) {
      this.#fail('the end of the template')
    }
    return node
  }

  #value(depth: number): Node {
    this.#skip()
    switch (this.#text[this.#at]) {
      case '{':
        return { kind: 'object', entries: this.#items(depth, '}', () => this.#entry(depth)) }
      case '[':
        return { kind: 'list', items: this.#items(depth, ']', () => this.#value(depth + 1)) }
      case '"':
        return this.#string()
      default: {
        const constant = this.#match(CONSTANT)
        return constant === undefined
          ? this.#fail('a value: "text", a number, true, false, null, {…} or […]')
          : { kind: 'constant', value: JSON.parse(constant) as number | boolean | null }
      }
    }
  }

  #items<T>(depth: number, close: string, read: () => T): T[] {
    if (depth >= MAX_DEPTH) {
      this.#fail(`at most ${MAX_DEPTH} levels`)
    }
    ++this.#at
    const items: T[] = []
    this.#skip()
    if (this.#text[this.#at] === close) {
      ++this.#at
      return items
    }
    for (;;) {
      items.push(read())
      this.#skip()
      const next = this.#text[this.#at]
      if (next !== ',' && next !== close) {
        this.#fail(`"," or "${close}"`)
      }
      ++this.#at
      if (next === close) {
        return items
      }
    }
  }

  #entry(depth: number): readonly [string, Node, number] {
    this.#skip()
    if (this.#text[this.#at] !== '"') {
      this.#fail('a name in double quotes')
    }
    const { value: key, start } = this.#string()
    this.#skip()
    if (this.#text[this.#at] !== ':') {
      this.#fail('":"')
    }
    ++this.#at
    return [key, this.#value(depth + 1), start]
  }

  #string(): Extract<Node, { kind: 'string' }> {
    const start = this.#at
    const text = this.#match(STRING)
    if (text === undefined) {
      // where it is not closed, or what no string may hold: a line end, a tab, an unknown escape
      const good = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*/y
      good.lastIndex = start
      this.#at = start + (good.exec(this.#text)?.[0].length ?? 0)
      return this.#fail('the end of a string (a line end in it is written \\n, a quote \\", a backslash \\\\)')
    }
    return { kind: 'string', value: JSON.parse(text) as string, start, end: this.#at }
  }

  #skip(): void {
    this.#match(WHITE_SPACE)
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    this.#at += found?.length ?? 0
    return found
  }

  #fail(expected: string): never {
    throw new MistakeError(this.#text, this.#at, expected)
  }
}
