import fc from 'fast-check'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { itemsOf } from '../../src/config/hook.ts'
import { identify, knownOf, loadKnown, nothingKnown, saveKnown, withIds } from '../../src/config/identity.ts'
import type { Known } from '../../src/config/identity.ts'

type Item = Record<string, unknown>

const KEY = 'a fixed key'

function item(fields: Item = {}): Item {
  return { name: 'A', method: 'vm.start', type: 'post', url: 'https://a.example/x', format: 'json', ...fields }
}

function unnamed(fields: Item = {}): Item {
  const { name: _, ...rest } = item(fields)
  return rest
}

function known(items: readonly unknown[], ids: readonly string[]): Known {
  return knownOf({ hooks: items }, ids, KEY)
}

function firstIds(...items: unknown[]): string[] {
  return identify(items, { key: KEY, hooks: [] })
}

/** The ids after an edit of hooks whose ids are a, b, c…; `new` for one that is none of those. */
function follow(before: readonly Item[], after: readonly unknown[]): string[] {
  const letters = before.map((_, index) => 'abcdefgh'[index]!)
  return identify(after, known(before, letters)).map(id => (letters.includes(id) || id === '' ? id : 'new'))
}

describe('the id of a hook that nobody knows', () => {
  it('is the one that its item holds', () => {
    expect(firstIds(item({ id: 'my-hook_1' }))).toEqual(['my-hook_1'])
  })

  it.each([7, '', ' ', 'has space', 'a.b', 'ä', 'x'.repeat(65), null, {}, ['a']])('is not %j', id => {
    expect(firstIds(item({ id }))).toEqual(firstIds(item()))
  })

  it('is the same at each boot, whatever the key is, and tells nothing of the URL', () => {
    const items = [item(), unnamed({ url: 'https://alice:s3cret@a.example/s3cret' }), unnamed({ url: 's3cret' })]
    const ids = identify(items, nothingKnown())
    expect(identify(items, nothingKnown())).toEqual(ids)
    expect(ids).toEqual(ids.map(() => expect.stringMatching(/^[\w-]{16}$/)))
  })

  it('is unique, also among twins, of which the first has the one that it would have alone', () => {
    const twins = [item(), item(), item({ id: firstIds(item())[0] }), item({ method: 'vm.stop' })]
    const ids = firstIds(...twins)
    expect(new Set(ids).size).toBe(4)
    expect(firstIds(item(), item())[0]).toBe(firstIds(item())[0])
  })

  it('is none for what is no hook', () => {
    expect(firstIds(null, item(), undefined, 'x', [], 1)).toEqual(['', firstIds(item())[0], '', '', '', ''])
    expect(firstIds({})).toEqual([expect.stringMatching(/./)])
  })

  it('is not that of a hook that has just been removed, or has been edited since', () => {
    const [id] = firstIds(item())
    const other = item({ url: 'https://b.example' })
    const edited = item({ name: 'B' })
    const [kept, added] = identify([edited, other], known([edited], [id!]))
    expect([kept, added === id]).toEqual([id, false])
    expect(identify([other], known([edited], [id!]))).not.toContain(id)
  })
})

describe('the id of a hook stays when', () => {
  const a = item()
  const b = item({ name: 'B', method: 'vm.stop', url: 'https://b.example/x' })
  const c = unnamed({ method: '*', url: 'https://c.example' })

  it.each<[string, Item[], unknown[], string[]]>([
    ['nothing is edited', [a, b, c], [a, b, c], ['a', 'b', 'c']],
    ['it is renamed', [a, b, c], [{ ...a, name: 'New' }, b, c], ['a', 'b', 'c']],
    ['it gets a name', [a, b, c], [a, b, { ...c, name: 'New' }], ['a', 'b', 'c']],
    ['it loses its name', [a, b, c], [unnamed(), b, c], ['a', 'b', 'c']],
    ['it goes elsewhere', [a, b, c], [{ ...a, url: 'https://new.example' }, b, c], ['a', 'b', 'c']],
    ['it has no name and goes elsewhere', [a, b, c], [a, b, { ...c, url: 'https://new.example' }], ['a', 'b', 'c']],
    ['its URL gets a password', [a, b, c], [{ ...a, url: 'https://me:x@a.example/x' }, b, c], ['a', 'b', 'c']],
    ['methods are added', [a, b, c], [{ ...a, method: 'vm.*, x' }, b, { ...c, method: '* !x' }], ['a', 'b', 'c']],
    ['its type and format change', [a, b], [{ ...a, type: 'pre', format: 'office365' }, b], ['a', 'b']],
    ['its limits and secrets change', [a], [{ ...a, limits: { timeout: 3 }, authentication: { token: 'x' } }], ['a']],
    ['it is disabled', [a, b], [{ ...a, disabled: true }, b], ['a', 'b']],
    ['they are reordered', [a, b, c], [c, a, b], ['c', 'a', 'b']],
    ['others come', [a, b], [c, a, null, b], ['new', 'a', '', 'b']],
    ['others go', [a, b, c], [c], ['c']],
    [
      'two swap their names',
      [a, b],
      [
        { ...a, name: 'B' },
        { ...b, name: 'A' },
      ],
      ['a', 'b'],
    ],
    ['two swap their URLs and their places', [a, b], [{ ...b, url: b['url'] }, a], ['b', 'a']],
    ['it is written in another order', [a], [Object.fromEntries(Object.entries(a).reverse())], ['a']],
  ])('%s', (_, before, after, ids) => {
    expect(follow(before, after)).toEqual(ids)
  })

  it.each<[string, Item[], unknown[], string[]]>([
    ['other methods', [a, item({ method: 'vm.stop' })], [item({ method: 'vm.stop' })], ['b']],
    ['other URLs', [a, item({ url: 'https://b.example' })], [item({ url: 'https://b.example' })], ['b']],
    ['another format', [a, item({ format: 'office365' })], [item({ format: 'office365' })], ['b']],
    ['another account', [c, { ...c, url: 'https://me:x@c.example' }], [{ ...c, url: 'https://me:x@c.example' }], ['b']],
    [
      'other headers',
      [a, item({ authentication: { headers: 'X: y' } })],
      [item({ authentication: { headers: 'X: y' } })],
      ['b'],
    ],
    ['other places only', [a, item(), b], [item(), b], ['a', 'c']],
  ])('it is the second of twins with %s, and the first is removed', (_, before, after, ids) => {
    expect(follow(before, after)).toEqual(ids)
  })

  it('it is one of twins that are both edited: they go by what they still share, else by their order', () => {
    const twins = [item({ method: 'x' }), item({ method: 'y', type: 'pre' })]
    const edited = [item({ method: 'y z', type: 'pre' }), item({ method: 'x z' })]
    expect(follow(twins, edited)).toEqual(['b', 'a'])
    expect(follow(twins, [item({ type: 'q' }), item({ type: 'r' })])).toEqual(['a', 'b'])
  })

  it('it is copied: the copy behind it is new', () => {
    expect(follow([a], [a, item()])).toEqual(['a', 'new'])
    expect(follow([a], [item({ method: 'x' }), item({ method: 'y' })])).toEqual(['a', 'new'])
    expect(follow([a], [item({ method: 'y' }), a])).toEqual(['new', 'a'])
  })

  it('its item holds it, whatever else is edited', () => {
    expect(follow([a, b], [item({ ...b, id: 'a' }), item({ ...a, id: 'b' })])).toEqual(['a', 'b'])
    expect(follow([a, b], [item({ ...c, id: 'b' }), a])).toEqual(['b', 'a'])
  })

  it('its item was copied with it: the one that is most alike keeps it', () => {
    const copy = { ...b, id: 'a', name: 'Copy' }
    expect(follow([a], [copy, { ...a, id: 'a' }])).toEqual(['new', 'a'])
  })

  it('nobody can tell: then it does not, and no other gets it', () => {
    const twins = [item({ method: 'x' }), item({ method: 'y' })]
    expect(follow(twins, [item({ method: 'z' })])).toEqual(['new'])
    expect(follow([a, b], [item({ name: 'C', url: 'https://c.example' })])).toEqual(['new'])
  })
})

/** A hook in the oracle's eyes: what the administrator means, beside what the configuration says. */
interface Meant {
  readonly hook: number
  readonly item: Item
}

const EDITS = [
  'rename',
  'method',
  'type',
  'limits',
  'disable',
  'token',
  'url',
  'remove',
  'add',
  'swap names',
  'reorder',
  'empty',
] as const

/**
 * One edit between two saves. What nobody could tell apart is left out: hooks here have URLs of their own, but for twins, which have
 * methods of their own.
 */
function edited(meant: readonly Meant[], edit: (typeof EDITS)[number], at: number, n: number): Meant[] {
  const index = meant.length === 0 ? 0 : at % meant.length
  const change = (fields: Item): Meant[] =>
    meant.map((each, i) => (i === index ? { ...each, item: { ...each.item, ...fields } } : each))
  const isTwin = meant.filter(({ item: { url } }) => url === meant[index]?.item['url']).length > 1
  switch (edit) {
    case 'rename':
      return change({ name: `renamed ${n}` })
    case 'method':
      return change({ method: `${String(meant[index]?.item['method'])} more.${n}` })
    case 'type':
      return change({ type: n % 2 === 0 ? 'pre' : 'pre/post', format: n % 3 === 0 ? 'office365' : 'json' })
    case 'limits':
      return change({ limits: { timeout: n + 1 } })
    case 'disable':
      return change({ disabled: n % 2 === 0 })
    case 'token':
      return change({ authentication: { token: `token ${n}` } })
    case 'url':
      return isTwin ? [...meant] : change({ url: `https://moved-${n}.example` })
    case 'remove':
      return meant.filter((_, i) => i !== index)
    case 'add': {
      const url = n % 3 === 0 ? meant[index]?.item['url'] : undefined
      const name = n % 2 === 0 ? {} : { name: url === undefined ? `added ${n}` : meant[index]?.item['name'] }
      return [
        ...meant,
        { hook: 1000 + n, item: { ...name, method: `m.${n}`, url: url ?? `https://added-${n}.example` } },
      ]
    }
    case 'swap names': {
      const other = meant[(index + 1) % Math.max(1, meant.length)]
      const [one, two] = [meant[index]?.item['name'], other?.item['name']]
      const haveOneUrl = other?.item['url'] === meant[index]?.item['url']
      return haveOneUrl || isTwin
        ? [...meant]
        : meant.map((each, i) => {
            const name = i === index ? two : each === other ? one : each.item['name']
            return { ...each, item: { ...each.item, name } }
          })
    }
    case 'reorder':
      return [...meant.slice(index), ...meant.slice(0, index)]
    case 'empty':
      return [...meant]
    default:
      return edit satisfies never
  }
}

describe('over any edits', () => {
  it('an id follows its hook, and never moves to another', () => {
    const edits = fc.array(fc.tuple(fc.constantFrom(...EDITS), fc.nat(7), fc.boolean()), {
      minLength: 1,
      maxLength: 25,
    })
    const start = [
      item(),
      item({ method: 'vm.stop' }),
      item({ name: 'B', url: 'https://b.example' }),
      unnamed({ url: 'https://c.example' }),
    ]
    fc.assert(
      fc.property(edits, fc.boolean(), (all, areStored) => {
        let meant: Meant[] = start.map((each, hook) => ({ hook, item: each }))
        let state = known(start, firstIds(...start))
        const idOf = new Map(meant.map(({ hook }, index) => [hook, state.hooks[index]!.id]))
        for (const [n, [edit, at, isRestart]] of all.entries()) {
          meant = edited(meant, edit, at, n)
          const config = { hooks: [...meant.map(each => each.item), ...(edit === 'empty' ? [null] : [])] }
          const ids = identify(config.hooks, state)
          for (const [index, { hook }] of meant.entries()) {
            const id = ids[index]!
            if (idOf.has(hook)) {
              expect(id).toBe(idOf.get(hook))
            } else {
              expect([...idOf.values()]).not.toContain(id)
              idOf.set(hook, id)
            }
          }
          for (const hook of idOf.keys()) {
            if (!meant.some(each => each.hook === hook)) {
              idOf.delete(hook) // nothing waits for it any more
            }
          }
          if (areStored) {
            meant = itemsOf(withIds(config, ids))
              .slice(0, meant.length)
              .map((each, index) => ({ ...meant[index]!, item: each as Item }))
          }
          state = knownOf({ hooks: meant.map(each => each.item) }, ids, KEY)
          if (isRestart) {
            // what the disk has kept, and the same configuration again
            state = { key: KEY, hooks: state.hooks.map(({ access: _, ...hook }) => hook) }
            expect(
              identify(
                meant.map(each => each.item),
                state
              )
            ).toEqual(ids.slice(0, meant.length))
          }
        }
      }),
      { seed: 20260801, numRuns: 400 }
    )
  })

  it('all ids are different, and there is one for each hook', () => {
    const anyItem = fc.oneof(
      fc.constant(null),
      fc.record(
        {
          id: fc.constantFrom('a', 'b', 'c', 'd', ''),
          name: fc.constantFrom('A', 'B', ''),
          method: fc.constantFrom('x', 'y'),
          url: fc.constantFrom('https://a.example', 'https://b.example', 'https://me@b.example', 'no url'),
          type: fc.constantFrom('pre', 'post'),
        },
        { requiredKeys: [] }
      )
    )
    const items = fc.array(anyItem, { maxLength: 6 })
    fc.assert(
      fc.property(items, items, (before, after) => {
        const ids = firstIds(...before)
        const next = identify(after, known(before, ids))
        const named = next.filter(id => id !== '')
        expect(next.map(id => id === '')).toEqual(after.map(each => each === null))
        expect(new Set(named).size).toBe(named.length)
        expect(identify(before, known(before, ids))).toEqual(ids)
      }),
      { seed: 20260801, numRuns: 1000 }
    )
  })
})

describe('a configuration with ids', () => {
  it('is the same but for them', () => {
    const config = { hooks: [item(), null, item({ id: 'mine', later: { on: 1 } })], notify: ['x'], later: 1 }
    const ids = firstIds(...config.hooks)
    expect(withIds(config, ids)).toEqual({ ...config, hooks: [{ ...item(), id: ids[0] }, null, config.hooks[2]] })
    expect(identify(itemsOf(withIds(config, ids)), nothingKnown())).toEqual(ids)
    expect(config.hooks[0]).toEqual(item())
  })

  it.each([undefined, null, {}, { hooks: null }, { hooks: [] }])('is %j itself', config => {
    expect(withIds(config, [])).toBe(config)
  })
})

describe('what is known, on disk', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'known-hooks-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  const file = (): string => join(directory, 'known-hooks.json')
  const secret = 'https://me:s3cret@a.example/s3cret'
  const some = knownOf(
    { hooks: [item({ name: 's3cret', url: secret, password: 's3cret' }), unnamed()] },
    ['a', 'b'],
    KEY
  )

  it('comes back, but for what it does not need there', async () => {
    await saveKnown(directory, some)
    expect(await loadKnown(directory)).toEqual({ key: KEY, hooks: some.hooks.map(({ access: _, ...hook }) => hook) })
    const later = { key: KEY, hooks: [{ ...some.hooks[0]!, endpoint: 'abcd' }] }
    await saveKnown(directory, later)
    expect((await loadKnown(directory)).hooks).toMatchObject([{ id: 'a', endpoint: 'abcd' }])
  })

  it('follows a hook over a restart', async () => {
    await saveKnown(directory, some)
    const now = [unnamed({ method: 'vm.stop' }), item({ name: 'New', url: secret })]
    expect(identify(now, await loadKnown(directory))).toEqual(['b', 'a'])
  })

  it('tells nothing of the configuration, and is for its owner alone', async () => {
    await saveKnown(directory, some)
    expect(readFileSync(file(), 'utf8')).not.toMatch(/s3cret|example|vm\.start/)
    expect(statSync(file()).mode & 0o777).toBe(0o600)
    expect(readdirSync(directory)).toEqual(['known-hooks.json'])
  })

  it('has digests under a key: the same hook has others under another key', () => {
    const [one] = knownOf({ hooks: [item()] }, ['a'], 'one').hooks
    const [two] = knownOf({ hooks: [item()] }, ['a'], 'two').hooks
    for (const field of ['name', 'url', 'method', 'rest', 'access'] as const) {
      expect(one![field]).not.toBe(two![field])
    }
    expect(nothingKnown().key).not.toBe(nothingKnown().key)
  })

  it.each([
    ['nothing', undefined],
    ['an empty file', ''],
    ['half a file', '{"version":1,"key":"k","hooks":[{"id":"a"'],
    ['no object', '[]'],
    ['a later version', '{"version":2,"key":"k","hooks":[]}'],
    ['no key', '{"version":1,"hooks":[]}'],
    ['no hooks', '{"version":1,"key":"k"}'],
    ['a hook without a mark', '{"version":1,"key":"k","hooks":[{"id":"a","name":"","url":"u","method":"m"}]}'],
    ['a hook that is none', '{"version":1,"key":"k","hooks":[null]}'],
  ])('is nothing where there is %s', async (_, text) => {
    if (text !== undefined) {
      writeFileSync(file(), text)
    }
    const { key, hooks } = await loadKnown(directory)
    expect(hooks).toEqual([])
    expect(key.length).toBeGreaterThanOrEqual(16)
  })

  it('is nothing where there is no folder; and there nothing can be written', async () => {
    const nowhere = join(directory, 'nowhere')
    expect((await loadKnown(nowhere)).hooks).toEqual([])
    await expect(saveKnown(nowhere, some)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('stays as it was where the new one cannot be put in its place, and leaves nothing beside it', async () => {
    await saveKnown(directory, some)
    rmSync(file())
    mkdirSync(join(file(), 'in the way'), { recursive: true })
    await expect(saveKnown(directory, some)).rejects.toMatchObject({
      code: expect.stringMatching(/EISDIR|ENOTEMPTY|EEXIST/),
    })
    expect(readdirSync(directory)).toEqual(['known-hooks.json'])
    expect((await loadKnown(directory)).hooks).toEqual([])
  })
})
