declare module 'complex-matcher' {
  /** A parsed search. Its parts are other nodes. */
  export interface Node {
    match(value: unknown): boolean
  }

  /**
   * @throws of several makes: an Error with `at position <n>`, a SyntaxError of a regular expression, a TypeError, or a
   *   RangeError for what is nested too deep
   */
  export function parse(search: string): Node
}
