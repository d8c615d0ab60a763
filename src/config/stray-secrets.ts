import { itemsOf } from './hook.ts'
import type { Problem } from '../problem.ts'
import { isRecord, textOf, trimmedOf } from '../values.ts'

/**
 * What the host gives out in place of a secret, and expects back when a configuration is saved.
 *
 * Source: @vates/obfuscate (`OBFUSCATED_VALUE`)
 */
const PLACEHOLDER = 'obfuscated-q3oi6d9X8uenGvdLnHk2'

const HIDDEN_NAMES: ReadonlySet<string> = new Set(['token', 'passphrase', 'encryptionKey'])

/** Whether the host hides a text that stands under this name, at any depth (@vates/obfuscate, `SENSITIVE_PARAMS`). */
export function isHiddenName(name: string): boolean {
  return HIDDEN_NAMES.has(name) || /password/i.test(name)
}

const ANEW = 'its own secret, typed again'

type Item = Readonly<Record<string, unknown>>
type Path = readonly string[]

const LOST = { expected: ANEW, got: "xo-server's placeholder for one" }

/** A placeholder that the host could not replace: the secret is lost. Any text of the hook may be one. */
export function findPlaceholder(hook: Item, path: string): Problem | undefined {
  const lost = leavesOf(hook).find(({ value }) => textOf(value)?.includes(PLACEHOLDER))
  return lost && { path: `${path}.${lost.path.join('.')}`, ...LOST }
}

/** A configuration, and the ids of its items. */
export interface Identified {
  readonly config: unknown
  /** By `identify`. */
  readonly ids: readonly string[]
}

export interface Mended {
  /** With its own secrets in each hook. */
  readonly config: unknown
  /** Secrets that were put right; where and of which hook. */
  readonly mended: readonly { readonly path: string; readonly id: string; readonly hook: string }[]
  /** Secrets that cannot be put right: the configuration must not be used. */
  readonly problems: readonly Problem[]
}

/**
 * Gives each hook its own secrets back. The host never gives a secret out: who saves a configuration returns a placeholder,
 * which it replaces by what was saved at the same place. So once the first of two hooks is removed, the second arrives with the
 * secret of the first, or with a placeholder where the first had none.
 *
 * What the host has put there is a placeholder, or equals what was saved at its place for another hook. The hook's own secret
 * comes in its stead, unless the hook goes to another origin now: a secret goes only where it was saved for. A secret that was
 * typed for this very hook looks the same if it is the one of the hook that was there before: it is replaced too.
 *
 * Hooks that are disabled count: else a secret would only have to pass through one. Does nothing to what it has mended.
 *
 * @param next - the configuration to be saved, as the host passes it to `configure()`
 * @param previous - the one before
 * @param earlier - others that the host may have saved when it was asked to save this one: the same happens to what it has
 *   taken from those
 */
export function mendSecrets(next: Identified, previous: Identified, earlier: readonly Identified[] = []): Mended {
  const before = new Before(previous, earlier)
  const mended: Mended['mended'][number][] = []
  const problems: Problem[] = []
  const hooks = itemsOf(next.config).map((item, index) => {
    if (!isRecord(item)) {
      return item
    }
    const [path, id, name] = [`hooks[${index}]`, next.ids[index] ?? '', nameOf(item)]
    let hook = item
    const ofHook: Problem[] = []
    const to = originOf(item)
    for (const { path: place, value } of leavesOf(item)) {
      if (!isHiddenName(place.at(-1)!)) {
        continue
      }
      const at = `${path}.${place.join('.')}`
      const decision = before.decide(to, index, id, place, value)
      if (decision.kind === 'refuse') {
        ofHook.push({ path: at, hook: name, ...decision.problem })
      } else if (decision.kind === 'replace') {
        hook = withValue(hook, place, decision.secret)
        mended.push({ path: at, id, hook: name })
      }
    }
    const lost = findPlaceholder(hook, path)
    if (lost !== undefined && !ofHook.some(problem => problem.path === lost.path)) {
      ofHook.push({ ...lost, hook: name })
    }
    problems.push(...ofHook)
    return hook
  })
  return { config: mended.length === 0 ? next.config : { ...(next.config as Item), hooks }, mended, problems }
}

/**
 * Secrets that would go to another origin than they were saved for, as somebody has changed a hook's URL and has not typed
 * them again.
 *
 * @param typed - what was given of the hook now
 */
export function secretsLeftBehind(before: Item, after: Item, typed: Item): Problem[] {
  const [from, to] = [originOf(before), originOf(after)]
  if (from === to || from.replace(/^http:/, 'https:') === to) {
    return []
  }
  return leavesOf(after)
    .filter(({ path, value }) => isSecretToMove(path) && secretIn(value) !== undefined)
    .filter(({ path }) => valueAt(typed, path) === undefined)
    .map(({ path }) => ({ path: path.join('.'), expected: ANEW, got: `the one for ${from}` }))
}

/** Headers too: who changes a hook without the form is not shown them, and does not see what would go there. */
function isSecretToMove(path: Path): boolean {
  return isHiddenName(path.at(-1)!) || path.join('.') === 'authentication.headers'
}

type Decision =
  | { readonly kind: 'keep' }
  | { readonly kind: 'replace'; readonly secret: string }
  | { readonly kind: 'refuse'; readonly problem: Pick<Problem, 'expected' | 'got'> }

const KEEP: Decision = { kind: 'keep' }

/** The hooks before, and what one may have of their secrets. */
class Before {
  readonly #items: readonly unknown[]
  readonly #ids: readonly string[]
  /** What the host may have taken secrets from. */
  readonly #sources: readonly Identified[]
  /** As it was last. */
  readonly #byId = new Map<string, Item>()
  /** By where it stands in a hook, and the secret: the origins that it was saved for. */
  readonly #origins = new Map<string, Set<string>>()

  constructor(previous: Identified, earlier: readonly Identified[]) {
    this.#items = itemsOf(previous.config)
    this.#ids = previous.ids
    this.#sources = [previous, ...earlier]
    for (const { config, ids } of this.#sources) {
      for (const [index, item] of itemsOf(config).entries()) {
        const id = ids[index]
        if (isRecord(item) && id !== undefined && !this.#byId.has(id)) {
          this.#byId.set(id, item)
        }
      }
    }
    for (const item of this.#byId.values()) {
      const origin = originOf(item)
      for (const { path, value } of leavesOf(item)) {
        const secret = secretIn(value)
        if (secret !== undefined && isHiddenName(path.at(-1)!)) {
          const key = keyOf(path, secret)
          const origins = this.#origins.get(key)
          if (origins === undefined) {
            this.#origins.set(key, new Set([origin]))
          } else {
            origins.add(origin)
          }
        }
      }
    }
  }

  /**
   * What becomes of what has arrived at a place where a secret stands.
   *
   * @param to - the origin that the hook goes to
   *
   * Hooks A and B, each with a token; A is removed. B arrives at A's index with A's token: `old` is A, `own` is B as it was, and
   * B's own token comes back. Had A no token, B would arrive with none, and get its own back as well.
   */
  decide(to: string, index: number, id: string, path: Path, value: unknown): Decision {
    const own = this.#byId.get(id)
    const ownSecret = own && secretIn(valueAt(own, path))
    const old = this.#items[index]
    const isMoved = this.#ids[index] !== id
    const isAsOld = isRecord(old) && value === valueAt(old, path)
    const isOlds = isAsOld && secretIn(value) !== undefined

    if (ownSecret !== undefined && (value === PLACEHOLDER || this.#isAnothers(index, id, path, value))) {
      if (!this.#mayHave(to, path, ownSecret)) {
        return refusal(own!)
      }
      return value === ownSecret ? KEEP : { kind: 'replace', secret: ownSecret }
    }
    if (isOlds && isRecord(old)) {
      // a hook that nobody knows has no placeholder to return: it is one that was not recognised, or its secret was copied
      const isForeign = isMoved && own === undefined
      return isForeign || !this.#mayHave(to, path, textOf(value)!) ? refusal(old) : KEEP
    }
    // JSON knows no `undefined`: it stands where the host has found nothing to put in place of a placeholder
    return value === undefined && isMoved && own === undefined ? { kind: 'refuse', problem: LOST } : KEEP
  }

  /** Whether the host has, or may have, put it there because it stood at this place of another hook. */
  #isAnothers(index: number, id: string, path: Path, value: unknown): boolean {
    return this.#sources.some(({ config, ids }) => {
      const old = itemsOf(config)[index]
      return ids[index] !== id && isRecord(old) && value === valueAt(old, path)
    })
  }

  /** A secret goes where it was saved for: to the same origin; or to the same host, now with TLS. */
  #mayHave(to: string, path: Path, secret: string): boolean {
    const origins = this.#origins.get(keyOf(path, secret))
    return origins !== undefined && (origins.has(to) || origins.has(to.replace(/^https:/, 'http:')))
  }
}

/** Of a secret at its place. */
function keyOf(path: Path, secret: string): string {
  return `${JSON.stringify(path)} ${secret}`
}

function refusal(owner: Item): Decision {
  const expected = `${ANEW} (if it is to be the same for another address: save without it first)`
  return { kind: 'refuse', problem: { expected, got: `that of "${nameOf(owner)}" for ${originOf(owner)}` } }
}

/** What is no URL is only the same as itself. */
function originOf({ url }: Item): string {
  const text = trimmedOf(url)
  return URL.canParse(text) ? new URL(text).origin : 'an address that is no URL'
}

function nameOf(hook: Item): string {
  return (trimmedOf(hook['name']) || trimmedOf(hook['method']) || 'without a name').slice(0, 100)
}

/** A text that is a secret, and not what stands for one. */
function secretIn(value: unknown): string | undefined {
  const text = textOf(value)
  return text === undefined || text.trim() === '' || text.includes(PLACEHOLDER) ? undefined : text
}

interface Leaf {
  readonly path: Path
  readonly value: unknown
}

/** All values within a value that hold no others, and where they stand; the host merges at any depth. */
function leavesOf(value: unknown, path: Path = [], leaves: Leaf[] = []): Leaf[] {
  if (isRecord(value) || Array.isArray(value)) {
    for (const key of Object.keys(value)) {
      leavesOf((value as Item)[key], [...path, key], leaves)
    }
  } else {
    leaves.push({ path, value })
  }
  return leaves
}

function valueAt(value: unknown, path: Path): unknown {
  let found: unknown = value
  for (const key of path) {
    found = (isRecord(found) || Array.isArray(found)) && Object.hasOwn(found, key) ? (found as Item)[key] : undefined
  }
  return found
}

function withValue(item: Item, [key = '', ...rest]: Path, value: string): Item {
  return { ...item, [key]: rest.length === 0 ? value : within(item[key], rest, value) }
}

function within(parent: unknown, path: Path, value: string): unknown {
  if (Array.isArray(parent)) {
    return parent.map((child, index) => {
      if (String(index) !== path[0]) {
        return child
      }
      return path.length === 1 ? value : within(child, path.slice(1), value)
    })
  }
  return isRecord(parent) ? withValue(parent, path, value) : parent
}
