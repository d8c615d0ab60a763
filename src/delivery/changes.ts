/** So many changes are remembered. */
const LENGTH = 32_768

/**
 * Which deliveries have changed, in the order of their changes: who has seen all up to a point can ask what came after it.
 * A change costs one write to a list that is used over and over.
 */
export class Changes {
  readonly #run: string
  readonly #ids: string[] = []
  #count = 0

  /** @param run - tells the points of this run from those of others. Without a dot */
  constructor(run: string) {
    this.#run = run
  }

  note(id: string): void {
    this.#ids[this.#count++ % LENGTH] = id
  }

  /** Where the changes stand now. */
  get latest(): string {
    return this.#pointAt(this.#count)
  }

  /**
   * What has changed after a point, each once, the one that has changed last comes last; with it, the point up to which that is known once it
   * has been looked at.
   *
   * @returns `undefined`: nobody knows any more what has changed since
   */
  after(point: string): Iterable<{ readonly id: string; readonly point: string }> | undefined {
    const [run, digits = ''] = point.split('.')
    const from = /^\d{1,15}$/.test(digits) ? Number(digits) : Number.NaN
    return run === this.#run && from <= this.#count && from >= this.#count - LENGTH ? this.#each(from) : undefined
  }

  /** A delivery stands where it has changed last: whoever asks for some after the other is told of it once. */
  *#each(from: number): Generator<{ id: string; point: string }> {
    const latest = new Map<string, number>()
    for (let at = this.#count - 1; at >= from; --at) {
      const id = this.#ids[at % LENGTH]!
      if (!latest.has(id)) {
        latest.set(id, at)
      }
    }
    for (const [id, at] of [...latest].reverse()) {
      yield { id, point: this.#pointAt(at + 1) }
    }
  }

  #pointAt(count: number): string {
    return `${this.#run}.${count}`
  }
}
