/**
 * One thing wrong in a configuration: where, what was expected there, and what came.
 *
 * A value, not an exception: at boot it disables one hook, on a save it refuses the whole (see `plugin.ts`).
 */
export interface Problem {
  /** Where, as in `hooks[2].url`. */
  readonly path: string
  /** The name of the hook, or its method. */
  readonly hook?: string
  readonly expected: string
  /** What came, already shortened and free of secrets. */
  readonly got: string
}

/** `hooks[2].url (hook 3 "Inventory"): expected an http:// or https:// URL, got "example"`, as people count from 1 */
export function describeProblem({ path, hook, expected, got }: Problem): string {
  const index = /^hooks\[(\d+)\]/.exec(path)?.[1]
  const named = hook === undefined ? '' : ` "${hook}"`
  const where = index === undefined ? path : `${path} (hook ${Number(index) + 1}${named})`
  return `${where}: expected ${expected}, got ${got}`
}

/** What a thrown value says, whatever it is: hostile events throw anything, even from their own `message`. */
export function messageOf(thrown: unknown): string {
  try {
    const message: unknown = thrown instanceof Error ? thrown.message : thrown
    return String(message).slice(0, 200)
  } catch {
    return 'unknown error'
  }
}
