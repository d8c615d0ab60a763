import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import type { Settings } from '../src/config/hook.ts'
import { Configuration } from '../src/configuration.ts'
import type { Xo } from '../src/xo.ts'
import { mergeObfuscated, OBFUSCATED_VALUE } from './sandbox/plugins.ts'

type Raw = { hooks: Record<string, unknown>[] }
type Edited = readonly (Record<string, unknown> | undefined)[]

const hookOf = (name: string, more: object = {}): Record<string, unknown> => ({
  ...{ name, method: 'vm.start', type: 'post', format: 'json', url: `https://${name}.example/`, ...more },
})
const withToken = (name: string, token: string, more: object = {}): Record<string, unknown> =>
  hookOf(name, { authentication: { authorization: 'bearer', token }, ...more })

/** A host that saves a plugin's configuration as xo-server does. */
class Host {
  saved: unknown
  readonly settings: Settings[] = []
  readonly logged: string[] = []
  readonly configuration: Configuration
  readonly xo: Xo

  constructor(getDataDir: () => Promise<string>, saved?: unknown) {
    this.saved = saved
    this.xo = {
      apiMethods: { 'vm.start': {}, 'vm.stop': {} },
      on: () => {},
      removeListener: () => {},
      configurePlugin: (_: string, next: unknown) => this.save(next),
    } as unknown as Xo
    const say = (message: string): unknown => this.logged.push(message)
    this.configuration = new Configuration({
      ...{ xo: this.xo, getDataDir, log: { info: say, warn: say } },
      onChange: settings => this.settings.push(settings),
    })
  }

  boot(): void {
    void this.configuration.configure(structuredClone(this.saved))
  }

  /** What came with placeholders has the saved secrets in their place, by index. */
  async save(next: unknown): Promise<void> {
    const merged = mergeObfuscated(structuredClone(next), this.saved)
    await this.configuration.configure(structuredClone(merged))
    await Promise.resolve()
    this.saved = merged
  }

  /** What the form shows of it. */
  shown(): Raw {
    const text = JSON.stringify(this.saved, (key, value: unknown) => (key === 'token' ? OBFUSCATED_VALUE : value))
    return JSON.parse(text) as Raw
  }

  get hooks(): Settings['hooks'] {
    return this.configuration.settings.hooks
  }

  ids(): string[] {
    return this.hooks.map(({ id }) => id)
  }

  /** By hook, what it authenticates itself with. */
  tokens(): Record<string, string> {
    return Object.fromEntries(this.hooks.map(({ name, route }) => [name, route.endpoint.headers[1] ?? '']))
  }
}

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'configuration-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

const onDisk = (directory: string): Promise<string> => readFile(join(directory, 'known-hooks.json'), 'utf8')
const never = (): Promise<string> => new Promise(() => {})

describe('the first configuration', () => {
  it('disables single hooks, and any later one is refused as a whole, with every problem', () => {
    const host = new Host(never, { hooks: [hookOf('a', { type: 'during' }), hookOf('b')] })
    host.boot()
    expect(host.hooks.map(({ name }) => name)).toEqual(['b'])
    expect(host.configuration.settings.others.map(({ name }) => name)).toEqual(['a'])
    expect(host.logged).toEqual([expect.stringContaining('hook disabled: hooks[0].type (hook 1 "a")')])
    const before = host.configuration.settings
    const bad = { hooks: [hookOf('c', { type: 'during' }), hookOf('d', { method: 'vm.fly' })] }
    expect(() => host.configuration.configure(bad)).toThrow(/hooks\[0\].type.*; hooks\[1\].method.*vm\.fly/s)
    expect(host.configuration.settings).toBe(before)
  })

  it('may come before the data directory, and from a host that waits for nothing', async () => {
    const directory = await temporaryDirectory()
    const host = new Host(() => Promise.resolve(directory), { hooks: [hookOf('a')] })
    host.boot()
    const [before] = host.ids()
    await expect(host.configuration.restore()).resolves.toBe(directory)
    expect(host.ids()).toEqual([before])
    await vi.waitFor(async () => expect(await onDisk(directory)).toContain(before))
  })

  it.each([undefined, null, {}, { hooks: null }, 7])('of %j has no hooks', raw => {
    const host = new Host(never, raw)
    host.boot()
    expect(host.hooks).toEqual([])
  })
})

describe('a hook is the same', () => {
  it('over a restart after which its content is another one than at the first sight', async () => {
    const directory = await temporaryDirectory()
    const first = new Host(() => Promise.resolve(directory), { hooks: [hookOf('a'), hookOf('b')] })
    first.boot()
    await first.configuration.restore()
    const ids = first.ids()
    await first.save({ hooks: [hookOf('renamed', { url: 'https://a.example/' }), hookOf('b')] })
    expect(first.ids()).toEqual(ids)
    await first.configuration.flush()

    const second = new Host(() => Promise.resolve(directory), first.saved)
    second.boot()
    expect(second.ids()).not.toEqual(ids)
    await second.configuration.restore()
    expect(second.ids()).toEqual(ids)
    expect(second.settings.at(-1)!.hooks.map(({ id }) => id)).toEqual(ids)
    // the same endpoints too
    expect(second.hooks[1]!.route.endpoint.id).toBe(first.hooks[1]!.route.endpoint.id)
  })

  it('over edits while there is no data directory', async () => {
    const host = new Host(never, { hooks: [hookOf('a')] })
    host.boot()
    void host.configuration.restore()
    const ids = host.ids()
    await host.save({ hooks: [hookOf('b', { url: 'https://a.example/' })] })
    await host.save({ hooks: [hookOf('b', { url: 'https://b.example/' })] })
    expect(host.ids()).toEqual(ids)
    await host.configuration.flush()
  })

  it('as an earlier run knew it, if the data directory is found late, after a save', async () => {
    const directory = await temporaryDirectory()
    const first = new Host(() => Promise.resolve(directory), { hooks: [hookOf('a')] })
    first.boot()
    await first.configuration.restore()
    const ids = first.ids()
    await first.save({ hooks: [hookOf('b', { url: 'https://a.example/' })] })
    await first.configuration.flush()

    let find = (_: string): void => {}
    const found = new Promise<string>(resolve => {
      find = resolve
    })
    const second = new Host(() => found, first.saved)
    second.boot()
    const restored = second.configuration.restore()
    await second.save({ hooks: [hookOf('c', { url: 'https://a.example/' })] })
    find(directory)
    await restored
    expect(second.ids()).toEqual(ids)
    expect(second.settings.at(-1)).toBe(second.configuration.settings)
    await second.configuration.flush()
  })
})

describe('the data directory', () => {
  it('that cannot be made is asked for again', async () => {
    const directory = await temporaryDirectory()
    const getDataDir = vi.fn(() => Promise.resolve(directory)).mockRejectedValueOnce(new Error('EACCES'))
    const host = new Host(getDataDir, { hooks: [hookOf('a')] })
    host.boot()
    await expect(host.configuration.restore()).rejects.toThrow('EACCES')
    await expect(host.configuration.restore()).resolves.toBe(directory)
    await expect(host.configuration.restore()).resolves.toBe(directory)
    expect(getDataDir).toHaveBeenCalledTimes(2)
    await host.configuration.flush()
  })

  it('that cannot be written to is said in the log, and changes nothing', async () => {
    const host = new Host(() => Promise.resolve('/dev/null/nowhere'), { hooks: [hookOf('a')] })
    host.boot()
    await host.configuration.restore()
    await host.configuration.flush()
    expect(host.logged).toEqual([expect.stringContaining('could not be written to disk')])
    await host.save({ hooks: [hookOf('b')] })
    expect(host.hooks.map(({ name }) => name)).toEqual(['b'])
    await host.configuration.flush()
  })

  it('is not written to if nothing has changed', async () => {
    const directory = await temporaryDirectory()
    const saved = { hooks: [hookOf('a')] }
    const first = new Host(() => Promise.resolve(directory), saved)
    first.boot()
    await first.configuration.restore()
    await first.configuration.flush()
    const before = await onDisk(directory)
    await rm(join(directory, 'known-hooks.json'))
    await first.save(saved)
    await first.configuration.flush()
    await expect(onDisk(directory)).rejects.toThrow('ENOENT')
    expect(before).not.toContain('a.example')
  })

  it('that hangs holds up neither saves nor the end', async () => {
    vi.useFakeTimers()
    onTestFinished(() => {
      vi.useRealTimers()
    })
    const host = new Host(never, { hooks: [withToken('a', 'token-a'), withToken('b', 'token-b')] })
    host.boot()
    void host.configuration.restore()
    const saved = host.save({ hooks: host.shown().hooks.slice(1) })
    await vi.advanceTimersByTimeAsync(2_000)
    await saved
    const flushed = vi.fn()
    void host.configuration.flush().then(flushed)
    await vi.advanceTimersByTimeAsync(2_000)
    expect(flushed).toHaveBeenCalled()
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('secrets that the host has put elsewhere', () => {
  const THREE = { hooks: [withToken('a', 'token-a'), withToken('b', 'token-b'), withToken('c', 'token-c')] }
  const OWN = { b: 'Bearer token-b', c: 'Bearer token-c' }

  async function bootWith(saved: unknown, directory?: string): Promise<{ host: Host; directory: string }> {
    const place = directory ?? (await temporaryDirectory())
    const host = new Host(() => Promise.resolve(place), saved)
    host.boot()
    await host.configuration.restore()
    await host.configuration.flush()
    return { host, directory: place }
  }

  it('are in their hooks at once, and then in the database too, with the ids of the hooks', async () => {
    const { host } = await bootWith(THREE)
    const ids = host.ids()
    await host.save({ hooks: host.shown().hooks.slice(1) })
    expect(host.tokens()).toEqual(OWN)
    expect(host.saved).toMatchObject({ hooks: [{ authentication: { token: 'token-a' } }, {}] })
    await host.configuration.flush()
    expect(host.saved).toEqual({
      hooks: [
        { ...THREE.hooks[1], id: ids[1] },
        { ...THREE.hooks[2], id: ids[2] },
      ],
    })
    expect(host.tokens()).toEqual(OWN)
    expect(host.ids()).toEqual(ids.slice(1))
    expect(host.logged.join('\n')).toMatch(/hooks\[0\].*"b".*own secret/)
    expect(host.logged.join('\n')).not.toContain('token-a')
    // and nothing more comes of that
    const { saved } = host
    await host.configuration.flush()
    expect(host.saved).toBe(saved)
  })

  it('are not taken for the hook’s own after a restart that came too soon', async () => {
    const { host, directory } = await bootWith(THREE)
    await host.save({ hooks: host.shown().hooks.slice(1) })
    expect(host.tokens()).toEqual(OWN)

    const { host: next } = await bootWith(host.saved, directory)
    expect(next.tokens()).toEqual({})
    expect(next.configuration.settings.others.map(({ name }) => name)).toEqual(['b', 'c'])
    expect(next.logged.join('\n')).toMatch(/hook disabled: hooks\[0\] \(hook 1 "b"\)/)
    // nor after one more, nor by a save of what the form shows
    const { host: third } = await bootWith(next.saved, directory)
    expect(third.tokens()).toEqual({})
    await expect(third.save(third.shown())).rejects.toThrow('typed again')
    expect(third.tokens()).toEqual({})
  })

  it('are mended by being typed again, as they were or other ones', async () => {
    const { host, directory } = await bootWith(THREE)
    await host.save({ hooks: host.shown().hooks.slice(1) })
    const { host: next } = await bootWith(host.saved, directory)
    await next.save({ hooks: [withToken('b', 'token-b'), withToken('c', 'a-new-one')] })
    expect(next.tokens()).toEqual({ b: 'Bearer token-b', c: 'Bearer a-new-one' })
    await next.configuration.flush()
    const { host: third } = await bootWith(next.saved, directory)
    expect(third.tokens()).toEqual({ b: 'Bearer token-b', c: 'Bearer a-new-one' })
  })

  it('are in their hooks on a host that cannot be told to save', async () => {
    const { host } = await bootWith(THREE)
    delete (host.xo as { configurePlugin?: unknown }).configurePlugin
    await host.save({ hooks: host.shown().hooks.slice(1) })
    await host.configuration.flush()
    expect(host.tokens()).toEqual(OWN)
    expect(host.logged.at(-1)).toContain('Save the configuration once more')
  })

  // xo-server serialises nothing: each of several saves at once has the secrets of the state before all of them
  it.each([
    [
      'the first is removed, then the order is turned round',
      [([, b, c]: Edited) => [b, c], ([a, b, c]: Edited) => [c, b, a]],
    ],
    ['two are removed one by one', [([, b, c]: Edited) => [b, c], ([, , c]: Edited) => [c]]],
    ['one is removed, and nothing is', [([, b, c]: Edited) => [b, c], (hooks: Edited) => hooks]],
    ['the order is turned round twice', [([a, b, c]: Edited) => [c, b, a], ([a, b, c]: Edited) => [b, c, a]]],
  ] as const)('are in their hooks, whatever is saved at once: %s', async (_, edits) => {
    const own = (hooks: Edited) =>
      Object.fromEntries(hooks.map(hook => [String(hook?.['name']), `Bearer token-${String(hook?.['name'])}`]))
    const { host } = await bootWith(THREE)
    const { saved } = host
    for (const edit of edits) {
      const hooks = edit(host.shown().hooks)
      await host.configuration.configure(mergeObfuscated({ hooks }, saved))
      expect(host.tokens()).toEqual(own(hooks))
    }
    await host.configuration.flush()
    expect(host.saved).toMatchObject({ hooks: host.hooks.map(({ name }) => ({ name })) })
    const { host: next } = await bootWith(host.saved)
    expect(next.tokens()).toEqual(host.tokens())
  })

  it('are in their hooks, though the next save has come before the database was put right', async () => {
    const { host } = await bootWith(THREE)
    await host.save({ hooks: host.shown().hooks.slice(1) })
    // the database has the secret of a in b, and the one of b in c
    await host.save(host.shown())
    expect(host.tokens()).toEqual(OWN)
    await host.save({ hooks: host.shown().hooks.reverse() })
    expect(host.tokens()).toEqual(OWN)
    await host.configuration.flush()
    const { host: next } = await bootWith(host.saved)
    expect(next.tokens()).toEqual(OWN)
  })

  it('are refused if they would go to another origin', async () => {
    const { host } = await bootWith(THREE)
    const [, b, c] = host.shown().hooks
    const moved = { hooks: [{ ...b, url: 'https://elsewhere.example/' }, c] }
    await expect(host.save(moved)).rejects.toThrow(/hooks\[0\]\.authentication\.token/)
    expect(host.tokens()).toEqual({ a: 'Bearer token-a', ...OWN })
  })
})
