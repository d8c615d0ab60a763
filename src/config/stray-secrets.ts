import type { Problem } from '../problem.ts'

/**
 * What the host gives out in place of a secret, and expects back when a configuration is saved.
 *
 * Source: @vates/obfuscate (`OBFUSCATED_VALUE`)
 */
const PLACEHOLDER = 'obfuscated-q3oi6d9X8uenGvdLnHk2'

/** The fields of a hook which the host hides, and therefore puts back by the hook's index. */
const SECRET_FIELDS = [
  ['authentication', 'token'],
  ['authentication', 'password'],
  ['authentication', 'passphrase'],
  ['tls', 'encryptionKey'],
] as const

const ANEW = 'its own secret, typed again'

/** A placeholder that the host could not replace: the secret is lost. Any text of the hook and its groups may be one. */
export function findPlaceholder(hook: Record<string, unknown>, path: string): Problem | undefined {
  const fields = Object.entries(hook).flatMap(([key, value]) =>
    isRecord(value)
      ? Object.entries(value).map(([inner, text]) => [`${key}.${inner}`, text] as const)
      : [[key, value] as const]
  )
  const lost = fields.find(([, value]) => typeof value === 'string' && value.includes(PLACEHOLDER))
  return lost && { path: `${path}.${lost[0]}`, expected: ANEW, got: "xo-server's placeholder for one" }
}

/**
 * Finds secrets that the host has put back where they do not belong. It never gives a secret out: who saves a
 * configuration returns a placeholder, which it replaces by what was saved under the same index. So once the first of
 * two hooks is removed, the second arrives with the secret of the first.
 *
 * Such a secret equals the one that was saved at its place, and goes to an origin to which none with this value went; or
 * it stands in a hook that was saved elsewhere, with another secret. One that was typed for this very hook looks the
 * same if it is the one that was saved there for another origin: it is refused too, and accepted after a save without it.
 *
 * Hooks that are disabled count: else a secret would only have to pass through one.
 *
 * @param next - the configuration to be saved, as the host passes it to `configure()`
 * @param previous - the one before
 */
export function findStraySecrets(next: unknown, previous: unknown): Problem[] {
  const problems: Problem[] = []
  const before = hooksOf(previous)
  for (const [index, hook] of hooksOf(next).entries()) {
    const old = before[index]
    if (!isRecord(hook)) {
      continue
    }
    const path = `hooks[${index}]`
    const name = nameOf(hook)
    const lost = findPlaceholder(hook, path)
    if (lost !== undefined) {
      problems.push({ ...lost, hook: name })
      continue
    }
    for (const field of SECRET_FIELDS) {
      const secret = secretOf(hook, field)
      if (
        secret !== undefined &&
        isRecord(old) &&
        secret === secretOf(old, field) &&
        isStray(hook, field, old, before)
      ) {
        problems.push({
          path: `${path}.${field.join('.')}`,
          hook: name,
          expected: `${ANEW} (if it is to be the same for another address: save without it first)`,
          got: `that of "${nameOf(old)}" for ${originOf(old)}`,
        })
      }
    }
  }
  return problems
}

type Field = (typeof SECRET_FIELDS)[number]

/** @param old - what was saved at the place of `hook`, with the same secret */
function isStray(
  hook: Record<string, unknown>,
  field: Field,
  old: Record<string, unknown>,
  before: readonly unknown[]
): boolean {
  const secret = secretOf(hook, field)
  const owners = before.filter(isRecord).filter(other => secretOf(other, field) === secret)
  if (!owners.some(owner => mayFollow(originOf(owner), originOf(hook)))) {
    return true
  }
  // the same origin, and yet another hook
  const twin = isTwin(hook, old) ? undefined : before.filter(isRecord).find(other => isTwin(hook, other))
  return twin !== undefined && secretOf(twin, field) !== secret
}

/** To the same origin; or the same host, now with TLS. */
function mayFollow(from: string, to: string): boolean {
  return from === to || from.replace(/^http:/, 'https:') === to
}

/** Whether two hooks are the same for a person who looks at the form. */
function isTwin(a: Record<string, unknown>, b: Record<string, unknown>): boolean {
  return ['name', 'method', 'url'].every(key => textOf(a[key]) === textOf(b[key]))
}

function hooksOf(config: unknown): readonly unknown[] {
  const hooks = isRecord(config) ? config['hooks'] : undefined
  return Array.isArray(hooks) ? hooks : []
}

function secretOf(hook: Record<string, unknown>, [group, key]: Field): string | undefined {
  const fields = hook[group]
  return isRecord(fields) ? textOf(fields[key]) || undefined : undefined
}

/** What is no URL is only the same as itself. */
function originOf({ url }: Record<string, unknown>): string {
  const text = textOf(url)
  return URL.canParse(text) ? new URL(text).origin : 'an address that is no URL'
}

function nameOf(hook: Record<string, unknown>): string {
  return (textOf(hook['name']) || textOf(hook['method']) || 'without a name').slice(0, 100)
}

/** A text of the raw configuration; what is not one is empty. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value.trim() : ''
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
