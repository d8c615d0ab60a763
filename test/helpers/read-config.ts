import { itemsOf } from '../../src/config/hook.ts'
import type { Settings } from '../../src/config/hook.ts'
import { identify } from '../../src/config/identity.ts'
import type { Known } from '../../src/config/identity.ts'
import { parseConfig, settingsOf } from '../../src/config/parse.ts'
import type { Problem } from '../../src/problem.ts'

const NOTHING: Known = { key: 'a fixed key', hooks: [] }

/** A configuration as the plugin reads it, at boot or (with methods) later, where nothing is known of its hooks. */
export function readConfig(
  raw: unknown,
  knownMethods?: readonly string[],
  known = NOTHING
): { settings: Settings; problems: readonly Problem[]; warnings: readonly string[] } {
  const parsed = parseConfig(raw, knownMethods)
  const { settings, problems } = settingsOf(parsed, identify(itemsOf(raw), known), known)
  return { settings, problems: [...parsed.problems, ...problems], warnings: parsed.warnings }
}
