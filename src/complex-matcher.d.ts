declare module 'complex-matcher' {
  /** A parsed search. Its parts are other nodes. */
  export interface Node {
    match(value: unknown): boolean
  }

  export class Null implements Node {
    match(): boolean
  }
  export class And implements Node {
    readonly children: readonly Node[]
    match(value: unknown): boolean
  }
  export class Or implements Node {
    readonly children: readonly Node[]
    match(value: unknown): boolean
  }
  export class Not implements Node {
    readonly child: Node
    match(value: unknown): boolean
  }
  export class Property implements Node {
    readonly name: string
    readonly child: Node
    match(value: unknown): boolean
  }
  /** `prod*web`: has a star. */
  export class GlobPattern implements Node {
    readonly value: string
    match(value: unknown): boolean
  }
  export class StringNode implements Node {
    readonly value: string
    match(value: unknown): boolean
  }
  export class NumberOrStringNode implements Node {
    readonly value: string
    match(value: unknown): boolean
  }
  export class RegExpNode implements Node {
    readonly re: RegExp
    match(value: unknown): boolean
  }

  /**
   * @throws of several makes: an Error with `at position <n>`, a SyntaxError of a regular expression, a TypeError, or a
   *   RangeError for what is nested too deep
   */
  export function parse(search: string): Node
}
