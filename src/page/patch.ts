/** What a field was changed to; `null`: it is to be gone; `undefined`: left as it was. */
export type Value = string | boolean | null | undefined

/** By path, like `authentication.token`. */
export type Changes = ReadonlyMap<string, Value>

/** What the server shows of a secret. */
export interface ShownSecret {
  readonly set: true
  readonly fingerprint: string
  /** Of a URL. */
  readonly origin?: string
}

export function isShownSecret(value: unknown): value is ShownSecret {
  return typeof value === 'object' && value !== null && 'fingerprint' in value
}

export function valueAt(fields: unknown, path: string): unknown {
  let value = fields
  for (const name of path.split('.')) {
    value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
  }
  return value
}

/** Fields whose values are numbers. */
const NUMBERS: ReadonlySet<string> = new Set(['limits.timeout', 'limits.disableAfter'])

/**
 * As a JSON merge patch (RFC 7396): what is empty is to be gone. Of a hook that is not there yet: what is empty is not
 * said. Example: `{ authentication: { token: null } }`
 */
export function changesOf(changes: Changes, isThere: boolean): Record<string, unknown> {
  const patch: Record<string, unknown> = {}
  for (const [path, value] of changes) {
    const isEmpty = value === '' || value === null || value === false
    if (value === undefined || (isEmpty && !isThere)) {
      continue
    }
    const names = path.split('.')
    const last = names.pop() ?? ''
    let part = patch
    for (const name of names) {
      part = (part[name] ??= {}) as Record<string, unknown>
    }
    part[last] = isEmpty ? null : NUMBERS.has(path) ? Number(value) : value
  }
  return patch
}
