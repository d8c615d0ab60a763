import { isDeepStrictEqual } from 'node:util'

import { incorrectState, invalidParameters } from 'xo-common/api-errors.js'

import { itemsOf } from './config/hook.ts'
import type { Hook, Settings } from './config/hook.ts'
import { identify, knownOf, loadKnown, nothingKnown, saveKnown, withIds } from './config/identity.ts'
import type { Known } from './config/identity.ts'
import { parseConfig, settingsOf } from './config/parse.ts'
import type { ParsedConfig } from './config/parse.ts'
import { etagOf, shownHooks } from './config/shown.ts'
import type { ShownHook } from './config/shown.ts'
import { mendSecrets } from './config/stray-secrets.ts'
import type { Identified } from './config/stray-secrets.ts'
import { Correction, PLUGIN_ID } from './correction.ts'
import { describeProblem, messageOf } from './problem.ts'
import type { Problem } from './problem.ts'
import type { Log } from './report.ts'
import { settledSoon } from './sources/look-up.ts'
import { isRecord } from './values.ts'
import type { Xo } from './xo.ts'

/** A save waits this long until it is on disk which secrets the host is about to save in the wrong places. */
const ON_DISK_WITHIN_MS = 1_000

/** At an end, xo-server and the disk get this long for what is not saved yet. */
const LAST_SAVES_MS = 1_000

export interface ConfigurationOptions {
  readonly xo: Xo
  /** May never answer. */
  readonly getDataDir: () => Promise<string>
  readonly log: Log
  /** The settings are others now. */
  readonly onChange: (settings: Settings) => void
}

/** Somebody else's save may come in between so often. */
const MAX_TRIES = 5

/** What becomes of the hooks. @param etag - of one of them */
export type Edit = (hooks: readonly unknown[], etag: (hook: Item) => string) => readonly unknown[]

type Item = Readonly<Record<string, unknown>>

/** A configuration that was made here out of another one, and is on its way through the host. */
interface Order {
  readonly next: unknown
  readonly from: Accepted | undefined
  /** What it came to, once it has been taken. */
  taken?: Accepted | undefined
  /** Another one has come before it. */
  isOutdated?: boolean
}

/** For this long after a save, the host may be saving another one that it has begun before. */
const SAVING_MS = 10_000

/** So many of them are remembered. */
const MAX_EARLIER = 50

/** A configuration that has been accepted. */
interface Accepted {
  /** With each secret in its own hook. */
  readonly raw: unknown
  readonly parsed: ParsedConfig
  /** Of its items. */
  readonly ids: readonly string[]
}

/**
 * The configuration in use: what the host has given, which of its hooks is which, and what is kept of that on disk and in the
 * host's database. config/identity.ts describes the steps.
 *
 * Everything takes effect at once and in this thread; disks and databases follow. Two things are not known from the start:
 * the data directory, and in it what an earlier run has known of the hooks. Until {@link restore} has found them, a hook
 * is recognised by its content alone.
 */
export class Configuration {
  readonly #xo: Xo
  readonly #getDataDir: () => Promise<string>
  readonly #log: Log
  readonly #onChange: (settings: Settings) => void
  readonly #correction: Correction
  #accepted: Accepted | undefined
  /** What a save that is under way may have found in the database, the latest first, and until when. */
  #earlier: readonly (Identified & { readonly until: number })[] = []
  #settings: Settings = { hooks: [], others: [], notify: [] }
  #known: Known = nothingKnown()
  /** Known since what is kept there has been read. */
  #directory: string | undefined
  #restoring: Promise<string> | undefined
  /** What is on disk, as text. */
  #written = ''
  #writing: Promise<void> | undefined
  #order: Order | undefined
  #changing: Promise<void> = Promise.resolve()

  constructor({ xo, getDataDir, log, onChange }: ConfigurationOptions) {
    this.#xo = xo
    this.#getDataDir = getDataDir
    this.#log = log
    this.#onChange = onChange
    this.#correction = new Correction(xo, log)
  }

  get settings(): Settings {
    return this.#settings
  }

  /** All hooks, for whoever looks at them. */
  get shown(): readonly ShownHook[] {
    const { raw, ids, parsed } = this.#accepted ?? { raw: undefined, ids: [], parsed: { problems: [] } }
    return shownHooks(raw, ids, this.#known.key, new Set(this.#settings.hooks.map(({ id }) => id)), parsed.problems)
  }

  /** As they are saved, each with its id, secrets included. */
  get hooks(): readonly unknown[] {
    return itemsOf(withIds(this.#accepted?.raw, this.#accepted?.ids ?? []))
  }

  /**
   * The first configuration of an instance is the saved one, or `{}`: what is wrong with it disables single hooks. Any
   * later one comes from a person or a program, and is refused as a whole.
   *
   * @returns a promise where the host should wait a moment before it saves: never rejects
   * @throws `invalidParameters` of xo-common, with every problem; nothing has changed then
   */
  configure(raw: unknown): Promise<void> | undefined {
    const arrival = this.#correction.arrival(raw)
    if (arrival === 'own') {
      return undefined
    }
    if (arrival === 'outdated') {
      throw new Error('a later configuration has been saved in the meantime')
    }
    const order = this.#order
    if (order === undefined || !isDeepStrictEqual(raw, order.next)) {
      return this.#accepted === undefined ? this.#accept(raw) : this.#replace(raw, this.#accepted)
    }
    if (this.#accepted !== order.from) {
      order.isOutdated = true
      throw new Error('another configuration has been saved in the meantime')
    }
    const saving = this.#accepted === undefined ? this.#accept(raw) : this.#replace(raw, this.#accepted, true)
    order.taken = this.#accepted
    return saving
  }

  /**
   * Changes the hooks that are saved, through the host as everybody does. One change at a time: each begins with what the one
   * before it has left, so that none is lost; neither is what somebody saves in the form in between.
   *
   * Rejects with what `edit` throws, and with `invalidParameters` of xo-common if something is wrong with what comes of it:
   * nothing has changed then. Rejects, too, if the host could not save what is in use by then: it is saved later.
   *
   * @param edit - is given the hooks, each with its id; may be called more than once
   */
  change(edit: Edit): Promise<void> {
    const done = this.#changing.then(() => this.#change(edit))
    this.#changing = done.catch(() => {})
    return done
  }

  async #change(edit: Edit): Promise<void> {
    const { configurePlugin } = this.#xo
    if (configurePlugin === undefined) {
      throw new Error('this host saves nothing for plugins')
    }
    for (let tries = 0; tries < MAX_TRIES; ++tries) {
      const from = this.#accepted
      const config = withIds(from?.raw, from?.ids ?? [])
      const hooks = edit(itemsOf(config), hook => etagOf(hook, this.#known.key))
      const order: Order = { next: { ...(isRecord(config) ? config : {}), hooks }, from }
      this.#order = order
      try {
        await configurePlugin.call(this.#xo, PLUGIN_ID, order.next)
      } catch (error) {
        if (order.isOutdated === true) {
          continue
        }
        if (order.taken !== undefined) {
          this.#saveAgain() // it is in use, and what is in use is what is saved
        }
        throw error
      } finally {
        this.#order = undefined
      }
      if (order.taken !== undefined && this.#accepted !== order.taken) {
        this.#saveAgain() // somebody's save has come while this one was being written, over which it may be now
      }
      return
    }
    incorrectState({ actual: 'being saved', expected: 'at rest', object: PLUGIN_ID, property: 'configuration' })
  }

  #saveAgain(): void {
    const { raw, ids } = this.#accepted!
    this.#correction.order(withIds(raw, ids), () => {})
  }

  /** A hook that is not saved, as it would be. @throws `invalidParameters` of xo-common, with every problem */
  draft(fields: Item): Hook {
    const parsed = parseConfig({ hooks: [fields] }, Object.keys(this.#xo.apiMethods))
    const { settings } = settingsOf(parsed, ['draft'], nothingKnown())
    const [hook] = settings.hooks
    if (hook === undefined) {
      // there are no other hooks here
      const problems = parsed.problems.map(problem => ({
        ...problem,
        path: problem.path.replace(/^hooks\[0\]\.?/, ''),
      }))
      return invalidParameters(problems.map(describeProblem).join('; '), problems)
    }
    return hook
  }

  /**
   * Applies what an earlier run has known of the hooks, once the data directory is there.
   *
   * @returns the data directory. May never settle; rejects if there is none, and can be asked again then
   */
  restore(): Promise<string> {
    this.#restoring ??= this.#restore().catch((error: unknown) => {
      this.#restoring = undefined
      throw error
    })
    return this.#restoring
  }

  /** After an end: what could not be saved before it. */
  resume(): void {
    this.#correction.resume()
  }

  /** At an end: saves what is not saved yet, if that can be done soon. Leaves no timer; never rejects. */
  async flush(): Promise<void> {
    await settledSoon(this.#correction.flush(), undefined, LAST_SAVES_MS)
    if (this.#writing !== undefined) {
      await settledSoon(this.#writing, undefined, LAST_SAVES_MS)
    }
  }

  #accept(raw: unknown): undefined {
    const parsed = parseConfig(raw)
    this.#warn(parsed.problems, parsed.warnings)
    this.#accepted = { raw, parsed, ids: [] }
    this.#recognise(this.#known)
  }

  /** Works out which hook is which, of the first configuration, or by what an earlier run has known. */
  #recognise(known: Known): void {
    if (this.#accepted === undefined) {
      this.#known = known
      return
    }
    const { raw, parsed } = this.#accepted
    const ids = identify(itemsOf(raw), known)
    const { settings, problems } = settingsOf(parsed, ids, known)
    this.#accepted = { raw, parsed, ids }
    this.#warn(problems, [])
    // of a hook that holds another one's secret it stays known that it does
    this.#setKnown(problems.length === 0 ? knownOf(raw, ids, known.key) : known)
    this.#use(settings)
  }

  /** @param isOwn - it was made here: each secret is where it belongs */
  #replace(next: unknown, before: Accepted, isOwn = false): Promise<void> | undefined {
    const known = this.#known
    const ids = identify(itemsOf(next), known)
    const {
      config: raw,
      mended,
      problems: stray,
    } = isOwn
      ? { config: next, mended: [], problems: [] }
      : mendSecrets({ config: next, ids }, { config: before.raw, ids: before.ids }, this.#savedEarlier())
    const parsed = parseConfig(raw, Object.keys(this.#xo.apiMethods))
    const { settings, problems: doubtful } = settingsOf(parsed, ids, withoutDoubts(known, ids, parsed, before))
    const mistakes = parsed.problems.filter(({ path }) => !stray.some(other => other.path === path))
    const problems = [...mistakes, ...stray, ...doubtful]
    if (problems.length > 0) {
      invalidParameters(problems.map(describeProblem).join('; '), problems)
    }
    this.#warn([], parsed.warnings)
    this.#accepted = { raw, parsed, ids }
    this.#remember(before.raw, before.ids)
    if (mended.length === 0) {
      this.#correction.drop(next)
      this.#setKnown(knownOf(raw, ids, known.key))
      this.#use(settings)
      return undefined
    }
    // what the host saves now: in the wrong places, so that all in it is another hook's
    this.#remember(next, [])
    for (const { hook, path } of mended) {
      this.#log.info(`${path} ("${hook}"): has its own secret again, which xo-server had put elsewhere`)
    }
    const isMended = new Set(mended.map(({ id }) => id))
    const pending = settings.hooks.filter(({ id }) => isMended.has(id))
    this.#setKnown(knownOf(raw, ids, known.key, pending))
    this.#use(settings)
    // the data directory may be found while the host saves, and with it other ids
    const onSaved = (): void => this.#setKnown(knownOf(raw, this.#accepted?.ids ?? ids, this.#known.key))
    this.#correction.order(withIds(raw, ids), onSaved)
    return settledSoon(this.#writing ?? Promise.resolve(), undefined, ON_DISK_WITHIN_MS)
  }

  #savedEarlier(): readonly Identified[] {
    const now = performance.now()
    this.#earlier = this.#earlier.filter(({ until }) => until > now)
    return this.#earlier
  }

  #remember(config: unknown, ids: readonly string[]): void {
    const until = performance.now() + SAVING_MS
    this.#earlier = [{ config, ids, until }, ...this.#earlier].slice(0, MAX_EARLIER)
  }

  #use(settings: Settings): void {
    this.#settings = settings
    this.#onChange(settings)
  }

  #warn(problems: readonly Problem[], warnings: readonly string[]): void {
    for (const problem of problems) {
      const lost = problem.path.startsWith('hooks[') ? 'hook disabled' : 'not used'
      this.#log.warn(`${lost}: ${describeProblem(problem)}`)
    }
    for (const text of warnings) {
      this.#log.warn(text)
    }
  }

  async #restore(): Promise<string> {
    const directory = await this.#getDataDir()
    const known = await loadKnown(directory)
    this.#directory = directory
    this.#written = textOfKnown(known)
    this.#recognise(known)
    return directory
  }

  #setKnown(known: Known): void {
    this.#known = known
    // not before it is known what is there
    if (this.#directory !== undefined && textOfKnown(known) !== this.#written) {
      this.#writing ??= this.#write(this.#directory)
    }
  }

  /** In the background, until the newest is written. What the disk does not take is written with the next change. */
  async #write(directory: string): Promise<void> {
    for (let text = textOfKnown(this.#known); text !== this.#written; text = textOfKnown(this.#known)) {
      this.#written = text
      try {
        await saveKnown(directory, this.#known)
      } catch (error) {
        this.#log.warn('which hook is which could not be written to disk', { error: messageOf(error) })
      }
    }
    this.#writing = undefined
  }
}

/** What is written of it. */
function textOfKnown({ key, hooks }: Known): string {
  return JSON.stringify([key, hooks.map(({ access: _, ...hook }) => hook)])
}

/**
 * What is known without the doubt whether a hook holds its own secrets, of hooks whose endpoint is another one now: somebody
 * has typed them again, or another URL.
 */
function withoutDoubts(known: Known, ids: readonly string[], parsed: ParsedConfig, before: Accepted): Known {
  const endpointsOf = ({ items }: ParsedConfig, idsOfItems: readonly string[]) =>
    new Map(idsOfItems.map((id, index) => [id, items[index]?.hook?.route.endpoint]))
  const now = endpointsOf(parsed, ids)
  const then = endpointsOf(before.parsed, before.ids)
  const hooks = known.hooks.map(({ endpoint, ...hook }) =>
    endpoint !== undefined && isDeepStrictEqual(now.get(hook.id), then.get(hook.id)) ? { ...hook, endpoint } : hook
  )
  return { ...known, hooks }
}
