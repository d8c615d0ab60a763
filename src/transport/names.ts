import dns from 'node:dns'
import type { LookupAddress, LookupAllOptions } from 'node:dns'

/** What is used of `dns.lookup`. */
export type Lookup = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void
) => void

/** @param addresses - at least one, unless there is an error; the one that is to be tried first comes first */
export type Resolved = (error: Error | null, addresses: readonly string[]) => void

/** The addresses of host names. */
export interface Resolver {
  /**
   * @param done - called once, later; never after the cancellation
   * @returns cancels: whoever asked does not wait any more
   */
  resolve(hostname: string, done: Resolved): () => void
  /** A socket to this address of the name was opened first: it is to be tried first from now on. */
  prefer(hostname: string, address: string): void
}

/** What is known of names, one for an engine. */
export class Names implements Resolver {
  readonly #lookup: Lookup

  /** @param lookup - by default that of `node:dns` at the time of the call: the host puts one with a cache there */
  constructor(lookup: Lookup = (...args) => dns.lookup(...args)) {
    this.#lookup = lookup
  }

  resolve(hostname: string, done: Resolved): () => void {
    let isWaiting = true
    this.#lookup(hostname, { all: true, order: 'verbatim' }, (error, addresses) => {
      if (isWaiting) {
        done(error, addresses?.map(({ address }) => address) ?? [])
      }
    })
    return () => {
      isWaiting = false
    }
  }

  prefer(): void {}
}
