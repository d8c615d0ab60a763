import type { State } from './state.ts'
import type { Missed } from './telling.ts'

/** A pool that was lost from sight, until it is back and what has become of its objects meanwhile is known. */
export interface Absence {
  /** Epoch ms. */
  readonly lostAt: number
  /** When it has come back, if it has. */
  backAt?: number
  /** Its objects, by id, as they were seen last; less those that have been seen again. */
  readonly states: Map<string, State>
  /** The types that were watched then: of others it is not known what is new. */
  readonly types: ReadonlySet<string>
  /** Whether it has been away for long, and that was told. */
  isTold: boolean
}

export interface AbsencesOptions {
  /** A pool that is away for so long is told to be. */
  readonly longMs: number
  /** For so long after a pool is back, its objects may still come. */
  readonly settleMs: number
  /** It is away for long by now. */
  readonly onLong: (pool: string, absence: Absence) => void
  /** It is back, and what is left of its objects is gone. */
  readonly onSettled: (pool: string, absence: Absence) => void
}

/** The pools that are away, and those that have just come back. */
export class Absences {
  readonly #options: AbsencesOptions
  readonly #absences = new Map<string, Absence>()
  readonly #timers = new Map<string, NodeJS.Timeout>()

  constructor(options: AbsencesOptions) {
    this.#options = options
  }

  get all(): Iterable<readonly [pool: string, absence: Absence]> {
    return this.#absences
  }

  /** Also while it is back for a moment. */
  get(pool: string): Absence | undefined {
    return this.#absences.get(pool)
  }

  /** It is away from now on. What was not seen again of an absence before this one is still away. */
  lose(pool: string, { lostAt, states, types, isTold }: Absence): void {
    const earlier = this.#absences.get(pool)
    const absence: Absence = {
      lostAt: earlier?.lostAt ?? lostAt,
      states: earlier === undefined ? states : new Map([...earlier.states, ...states]),
      types,
      isTold,
    }
    this.#absences.set(pool, absence)
    this.#after(pool, this.#options.longMs, () => {
      if (!absence.isTold) {
        absence.isTold = true
        this.#options.onLong(pool, absence)
      }
    })
  }

  /** It has come back. */
  back(pool: string, backAt: number): Absence | undefined {
    const absence = this.#absences.get(pool)
    if (absence !== undefined) {
      absence.backAt = backAt
      this.#after(pool, this.#options.settleMs, () => {
        this.#absences.delete(pool)
        this.#options.onSettled(pool, absence)
      })
    }
    return absence
  }

  /** What is not watched any more is forgotten. */
  retain(isWatched: (type: string) => boolean): void {
    for (const { states } of this.#absences.values()) {
      for (const [id, { type }] of states) {
        if (!isWatched(type)) {
          states.delete(id)
        }
      }
    }
  }

  clear(): void {
    this.#timers.forEach(timer => clearTimeout(timer))
    this.#timers.clear()
    this.#absences.clear()
  }

  #after(pool: string, ms: number, then: () => void): void {
    clearTimeout(this.#timers.get(pool))
    const timer = setTimeout(() => {
      this.#timers.delete(pool)
      then()
    }, ms)
    this.#timers.set(pool, timer.unref())
  }
}

/** Of what is seen again now. */
export function missedOf({ lostAt, backAt = Date.now() }: Absence): Missed {
  return { lostAt, backAt }
}
