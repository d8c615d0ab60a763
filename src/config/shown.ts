import { createHmac } from 'node:crypto'

import { AUTHORIZATIONS } from './authentication.ts'
import { itemsOf } from './hook.ts'
import { isHiddenName } from './stray-secrets.ts'
import type { Problem } from '../problem.ts'
import { isRecord, textOf, trimmedOf } from '../values.ts'

/** A secret is set, and which one: equal ones have the same fingerprint. */
export interface ShownSecret {
  readonly set: true
  readonly fingerprint: string
}

/** A hook as it is configured, by the names of the form, without anything secret. */
export interface ShownHook {
  readonly id: string
  readonly name: string
  /** It is not left out: nothing in it is wrong. */
  readonly isUsable: boolean
  /** Why it is left out. */
  readonly problem?: string
  readonly fields: Readonly<Record<string, unknown>>
  /** Another one with each change of the hook. */
  readonly etag: string
}

/** Texts that anyone may see who may see hooks. Any other is taken for a secret, those of later versions too. */
const PLAIN: ReadonlySet<string> = new Set(['name', 'method', 'type', 'status', 'format', 'content.filter'])

/** Of a kind of authorization only those that exist: in a hook that is disabled there may be a token in the wrong field. */
function isPlain(path: string, text: string): boolean {
  return PLAIN.has(path) || (path === 'authentication.authorization' && AUTHORIZATIONS.has(text))
}

/**
 * The hooks of a configuration for whoever looks at them: a text that is not known to be harmless is replaced by a
 * fingerprint, which nobody can find a secret by without the key.
 *
 * @param ids - of its items
 * @param key - of {@link Known}
 * @param usable - ids of the hooks that can be used
 */
export function shownHooks(
  config: unknown,
  ids: readonly string[],
  key: string,
  usable: ReadonlySet<string>,
  problems: readonly Problem[]
): ShownHook[] {
  return itemsOf(config).flatMap((item, index) => {
    const id = ids[index]
    if (!isRecord(item) || id === undefined || id === '') {
      return []
    }
    const problem = problems.find(({ path }) => path.startsWith(`hooks[${index}]`))
    const { id: _, ...fields } = item
    return {
      id,
      name: (trimmedOf(item['name']) || trimmedOf(item['method'])).slice(0, 200),
      isUsable: usable.has(id),
      ...(problem && { problem: `expected ${problem.expected}, got ${problem.got}` }),
      fields: shownFields(fields, key, ''),
      etag: etagOf(item, key),
    }
  })
}

/** @param item - a hook of the configuration, with its id or without */
export function etagOf({ id: _, ...fields }: Readonly<Record<string, unknown>>, key: string): string {
  return createHmac('sha256', key)
    .update(`etag ${JSON.stringify(fields)}`)
    .digest('base64url')
    .slice(0, 16)
}

function shownFields(fields: Readonly<Record<string, unknown>>, key: string, base: string): Record<string, unknown> {
  const shown: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    const path = base + name
    if (typeof value === 'boolean' || (typeof value === 'number' && !isHiddenName(name))) {
      shown[name] = value
    } else if (isRecord(value)) {
      shown[name] = shownFields(value, key, `${path}.`)
    } else if (value !== null && value !== undefined && value !== '') {
      const text = textOf(value)
      shown[name] =
        text !== undefined && isPlain(path, text)
          ? text
          : { ...fingerprinted(text ?? JSON.stringify(value), key), ...(path === 'url' && originOf(text)) }
    }
  }
  return shown
}

function fingerprinted(text: string, key: string): ShownSecret {
  return { set: true, fingerprint: createHmac('sha256', key).update(`fingerprint ${text}`).digest('hex').slice(0, 6) }
}

function originOf(text: string | undefined): { origin?: string } {
  return text !== undefined && URL.canParse(text) ? { origin: new URL(text).origin } : {}
}
