import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { itemsOf } from '../../src/config/hook.ts'
import { identify, knownOf } from '../../src/config/identity.ts'
import { mendSecrets } from '../../src/config/stray-secrets.ts'
import type { Identified, Mended } from '../../src/config/stray-secrets.ts'
import { describeProblem } from '../../src/problem.ts'
import { readConfig } from '../helpers/read-config.ts'
import { obfuscate } from '../sandbox/host.ts'
import { mergeObfuscated, OBFUSCATED_VALUE } from '../sandbox/plugins.ts'

type Raw = Record<string, unknown>

const KEY = 'a fixed key'

function hook(url: string, secrets: Raw = {}, more: Raw = {}): Raw {
  return { method: 'vm.start', type: 'post', format: 'json', url, authentication: secrets, ...more }
}

/** A configuration with the ids that its hooks have after `previous`, or at first sight. */
function identified(hooks: unknown, previous?: Identified): Identified {
  const config = { hooks }
  const known = previous === undefined ? { key: KEY, hooks: [] } : knownOf(previous.config, previous.ids, KEY)
  return { config, ids: identify(itemsOf(config), known) }
}

function mend(next: unknown, previous: unknown): Mended {
  const before = identified(previous)
  return mendSecrets(identified(next, before), before)
}

/** What the plugin gets when the saved `hooks` are shown, changed by `edit`, and saved again. */
function saved(hooks: readonly unknown[], edit: (shown: Raw[]) => unknown[]): unknown[] {
  const shown = obfuscate(structuredClone(hooks), OBFUSCATED_VALUE) as Raw[]
  // over the wire to the client and back
  const edited = JSON.parse(JSON.stringify(edit(JSON.parse(JSON.stringify(shown)) as Raw[]))) as unknown[]
  return mergeObfuscated(edited, hooks) as unknown[]
}

function afterEdit(hooks: readonly unknown[], edit: (shown: Raw[]) => unknown[]): Mended {
  return mend(saved(hooks, edit), hooks)
}

function stray(next: readonly unknown[], previous: readonly unknown[]): string[] {
  return mend(next, previous).problems.map(describeProblem)
}

const crm = hook('https://crm.example/a', { token: 'T-crm' }, { name: 'CRM' })
const inventory = hook('https://inventory.example/b', { token: 'T-inventory' }, { name: 'Inventory' })
const open = hook('https://open.example/c', {}, { name: 'Open' })

describe('a secret that the host has put back by index', () => {
  it('gives way to the one of the hook itself, and it is said where', () => {
    const { config, mended, problems } = afterEdit([crm, inventory], ([, second]) => [second])
    expect(config).toEqual({ hooks: [inventory] })
    expect(mended).toEqual([{ path: 'hooks[0].authentication.token', id: expect.any(String), hook: 'Inventory' }])
    expect(problems).toEqual([])
  })

  it.each<[string, Raw]>([
    ['token', { authentication: { token: 'S' } }],
    ['password', { authentication: { user: 'u', password: 'S' } }],
    ['passphrase', { authentication: { passphrase: 'S2 S1' } }],
    ['encryptionKey', { tls: { certificate: 'c', encryptionKey: 'S' } }],
    ['any name with password, at any depth', { later: [{ oldPasswords: { PassWord2: 'S' } }] }],
  ])('%s', (_, secrets) => {
    const other = JSON.parse(JSON.stringify(secrets).replaceAll('"S', '"Z')) as Raw
    const before = [hook('https://a.example', {}, secrets), hook('https://b.example', {}, other)]
    expect(afterEdit(before, ([, second]) => [second])).toMatchObject({ config: { hooks: [before[1]] }, problems: [] })
  })

  it.each<[string, Raw[], (shown: Raw[]) => unknown[], unknown[]]>([
    ['hooks change places', [crm, inventory], ([a, b]) => [b, a], [inventory, crm]],
    ['the one before had none', [open, crm], ([, b]) => [b], [crm]],
    [
      'the one before had none of that kind',
      [hook('https://o.example', { passphrase: 'P' }), crm],
      ([, b]) => [b],
      [crm],
    ],
    ['the one before had no groups', [{ ...open, authentication: null }, crm], ([, b]) => [b], [crm]],
    ['one is put before it', [crm], ([a]) => [open, a], [open, crm]],
    ['an empty item is put before it', [crm], ([a]) => [null, a], [null, crm]],
    ['it is renamed too', [crm, inventory], ([, b]) => [{ ...b, name: 'New' }], [{ ...inventory, name: 'New' }]],
    [
      'another path and method too',
      [crm, inventory],
      ([, b]) => [{ ...b, url: 'https://inventory.example/new', method: '*' }],
      [{ ...inventory, url: 'https://inventory.example/new', method: '*' }],
    ],
    ['it is disabled too', [crm, inventory], ([, b]) => [{ ...b, disabled: true }], [{ ...inventory, disabled: true }]],
    [
      'it is of the same origin',
      [crm, hook('https://crm.example/b', { token: 'T-2' })],
      ([, b]) => [b],
      [hook('https://crm.example/b', { token: 'T-2' })],
    ],
    [
      'another is typed at the same time',
      [crm, inventory],
      ([a, b]) => [b, { ...a, authentication: { token: 'T-new' } }],
      [inventory, { ...crm, authentication: { token: 'T-new' } }],
    ],
  ])('is mended when %s', (_, before, edit, after) => {
    expect(afterEdit(before, edit)).toMatchObject({ config: { hooks: after }, problems: [] })
  })

  it('is cleared where its hook clears it', () => {
    const cleared = (b: Raw | undefined): Raw => ({ ...b, authentication: {} })
    expect(afterEdit([crm, inventory], ([, b]) => [cleared(b)])).toMatchObject({
      config: { hooks: [cleared(inventory)] },
      mended: [],
      problems: [],
    })
  })

  it('leaves all else as it was', () => {
    const config = { hooks: [{ ...inventory, later: [1, { x: null }] }, null, 7], notify: ['me'], later: { on: true } }
    const before = { config: { ...config, hooks: [crm, config.hooks[0]] }, ids: ['a', 'b'] }
    const arrived = { ...config, hooks: [{ ...(config.hooks[0] as Raw), authentication: { token: 'T-crm' } }, null, 7] }
    expect(mendSecrets({ config: arrived, ids: ['b', '', ''] }, before).config).toEqual(config)
    expect((arrived.hooks[0] as Raw)['authentication']).toEqual({ token: 'T-crm' })
  })
})

describe('a secret that would go to a new origin', () => {
  it('is refused, and said where it is from, without it', () => {
    const { config, mended, problems } = afterEdit([crm], ([a]) => [{ ...a, url: 'https://evil.example/a' }])
    expect(problems.map(describeProblem)).toEqual([
      'hooks[0].authentication.token (hook 1 "CRM"): expected its own secret, typed again (if it is to be the same for another address: save without it first), got that of "CRM" for https://crm.example',
    ])
    expect([config, mended]).toEqual([{ hooks: [{ ...crm, url: 'https://evil.example/a' }] }, []])
  })

  it.each(['https://crm.example:8443/a', 'http://crm.example/a', '', 'crm.example'])('like %j is refused', url => {
    expect(afterEdit([crm], ([a]) => [{ ...a, url }]).problems).toHaveLength(1)
    expect(afterEdit([inventory, crm], ([, b]) => [{ ...b, url }]).problems).toHaveLength(1)
    expect(afterEdit([crm], ([a]) => [{ ...a, url, disabled: true }]).problems).toHaveLength(1)
  })

  it('is refused in a hook without an address, through which it would pass', () => {
    const hidden = [{ ...crm, url: '', disabled: true }]
    expect(afterEdit(hidden, ([a]) => [{ ...a, url: 'https://evil.example' }]).problems).toHaveLength(1)
  })

  it("is refused if it is another hook's of which nobody knows that it was not recognised", () => {
    const second = hook('https://crm.example/b', { token: 'T-2' }, { name: 'Two' })
    const both = (b: Raw | undefined): Raw => ({ ...b, name: 'New', url: 'https://crm.example/new', method: '*' })
    expect(afterEdit([crm, second], ([, b]) => [both(b)]).problems.map(({ got }) => got)).toEqual([
      'that of "CRM" for https://crm.example',
    ])
  })

  it('is accepted after a save without it', () => {
    const moved = hook('https://new.example', { token: 'T-crm' }, { name: 'CRM' })
    expect(stray([moved], [crm])).toHaveLength(1)
    expect(stray([{ ...moved, authentication: {} }], [crm])).toEqual([])
    expect(stray([moved], [{ ...moved, authentication: {} }])).toEqual([])
  })
})

describe('a secret that is where it belongs', () => {
  it.each<[string, (shown: Raw[]) => unknown[]]>([
    ['nothing is changed', shown => shown],
    ['the last hook is removed', ([first]) => [first]],
    ['all are removed', () => []],
    ['the hook is renamed', ([first, second]) => [{ ...first, name: 'Customers' }, second]],
    ['its path is another', ([first, second]) => [{ ...first, url: 'https://crm.example/new?x' }, second]],
    ['its method is another', ([first, second]) => [{ ...first, method: 'vm.*' }, second]],
    ['it is disabled', ([first, second]) => [{ ...first, disabled: true }, second]],
    ['a hook without a secret is added', shown => [...shown, hook('https://new.example')]],
    ['an empty item is added', shown => [...shown, null]],
    ['its secret is cleared for a new address', ([, second]) => [hook('https://new.example'), second]],
    ['another is typed', ([, second]) => [hook('https://new.example', { token: 'T-new' }), second]],
    ['the same is typed for another hook', shown => [...shown, hook('https://new.example', { token: 'T-crm' })]],
    ['they change places with their secrets', () => [inventory, crm]],
    ['the first is removed and the secret of the other typed', () => [inventory]],
  ])('stays: %s', (_, edit) => {
    const next = saved([crm, inventory], edit)
    // a placeholder stands for itself where nothing is moved
    expect(mend(next, [crm, inventory])).toEqual({ config: { hooks: next }, mended: [], problems: [] })
  })

  it('stays for the same host with TLS', () => {
    const plain = hook('http://crm.example/a', { token: 'T' })
    expect(afterEdit([plain], ([a]) => [{ ...a, url: 'https://crm.example/a' }])).toMatchObject({
      mended: [],
      problems: [],
    })
  })

  it('stays where hooks of both origins had it', () => {
    const same = hook('https://other.example', { token: 'T-crm' })
    expect(afterEdit([crm, same], ([, second]) => [second])).toMatchObject({ mended: [], problems: [] })
    expect(afterEdit([crm, same], ([a]) => [{ ...a, url: 'https://other.example' }]).problems).toEqual([])
  })
})

describe('a placeholder', () => {
  const lost = hook('https://a.example', { authorization: 'bearer', token: OBFUSCATED_VALUE }, { name: 'A' })

  it('gets its secret back wherever its hook is', () => {
    const own = { ...lost, authentication: { authorization: 'bearer', token: 'T' } }
    expect(mend([inventory, lost], [own]).config).toEqual({ hooks: [inventory, own] })
  })

  it('is refused where nothing is known for it', () => {
    const expected = [
      expect.stringMatching(/^hooks\[0\]\.authentication\.token \(hook 1 "A"\): .*typed again, got .*placeholder/),
    ]
    expect(stray([lost], [])).toEqual(expected)
    expect(stray([lost], [null])).toEqual(expected)
    expect(stray([lost], [lost])).toEqual(expected)
    expect(stray([lost], [inventory, lost])).toEqual(expected)
    expect(stray([{ ...lost, disabled: true }], [])).toEqual(expected)
    expect(stray([hook(`https://a.example/?token=${OBFUSCATED_VALUE}`)], [])).toHaveLength(1)
    expect(stray([hook('https://a.example', { headers: `X-Key: ${OBFUSCATED_VALUE}` })], [])).toHaveLength(1)
    expect(stray([hook('https://a.example', {}, { later: [{ x: OBFUSCATED_VALUE }] })], [])).toHaveLength(1)
  })

  it('leaves out its hook, and no other, of a configuration that is read at boot', () => {
    const bearer = { ...crm, authentication: { authorization: 'bearer', token: 'T-crm' } }
    const { settings, problems } = readConfig({ hooks: [lost, bearer] })
    expect(settings.hooks.map(({ name }) => name)).toEqual(['CRM'])
    expect(settings.others.map(({ name }) => name)).toEqual(['A'])
    expect(problems.map(({ path }) => path)).toEqual(['hooks[0].authentication.token'])
    expect(problems.map(describeProblem).join()).not.toContain(OBFUSCATED_VALUE)
  })

  it.each([undefined, null, {}, { hooks: null }, { hooks: [null, 1, 'x'] }])('is not looked for in %j', config => {
    const empty = { config, ids: ['', '', ''] }
    const some = { config: { hooks: [crm] }, ids: ['a'] }
    for (const [next, previous] of [
      [empty, empty],
      [some, empty],
      [empty, some],
    ] as const) {
      expect(mendSecrets(next, previous)).toEqual({ config: next.config, mended: [], problems: [] })
    }
  })
})

describe('over any edits of what the host shows', () => {
  /** A hook whose secret says whose it is, and for which origin. */
  const start = (n: number, hasToken: boolean, origin: number): Raw => ({
    ...hook(`https://o${origin}.example/${n}`, {
      ...(hasToken && { token: `token of ${n} for o${origin}` }),
      ...(n % 2 === 0 && { passphrase: `passphrase of ${n} for o${origin}` }),
    }),
    name: `hook ${n}`,
    passwordMark: n, // a number, which the host does not hide, under a name by which no hook is recognised
    ...(n % 3 === 0 && { tls: { encryptionKey: `key of ${n} for o${origin}` } }),
  })
  const edit = fc.record({
    kind: fc.constantFrom('remove', 'swap', 'rename', 'move', 'method', 'clear', 'add', 'type', 'new id'),
    at: fc.nat(5),
    to: fc.nat(3),
  })

  function apply(shown: Raw[], { kind, at, to }: { kind: string; at: number; to: number }, n: number): Raw[] {
    const index = at % Math.max(1, shown.length)
    const change = (fields: Raw): Raw[] => shown.map((each, i) => (i === index ? { ...each, ...fields } : each))
    switch (kind) {
      case 'remove':
        return shown.filter((_, i) => i !== index)
      case 'swap':
        return [...shown.slice(index), ...shown.slice(0, index)]
      case 'rename':
        return change({ name: `renamed ${n}` })
      case 'move':
        return change({ url: `https://o${to}.example/moved-${n}` })
      case 'method':
        return change({ method: `m.${n}` })
      case 'clear':
        return change({ authentication: {} })
      case 'type':
        return change({ authentication: { token: `typed ${n}` } })
      case 'new id':
        return change({ id: `id-${n}` })
      default:
        return [hook(`https://o${to}.example/new-${n}`, {}, { passwordMark: 100 + n }), ...shown]
    }
  }

  /** Texts of a hook that say whose secret they are. */
  function secretsOf(raw: unknown): string[] {
    return [...JSON.stringify(raw).matchAll(/"((?:token|passphrase|key) of \d+ for o\d)"/g)].map(([, text]) => text!)
  }

  it('each hook has its own secrets or a problem, and no secret goes where it was not saved for', () => {
    let mendedSaves = 0
    const hooks = fc.array(fc.tuple(fc.boolean(), fc.nat(2)), { minLength: 1, maxLength: 5 })
    const saves = fc.array(fc.array(edit, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(hooks, saves, (first, all) => {
        let before = identified(first.map(([hasToken, origin], n) => start(n, hasToken, origin)))
        for (const [s, edits] of all.entries()) {
          const shown = obfuscate(structuredClone(before.config), OBFUSCATED_VALUE) as { hooks: Raw[] }
          const edited = edits.reduce((raw, each, n) => apply(raw, each, 10 * s + n), shown.hooks)
          const arrived = mergeObfuscated(edited, itemsOf(before.config)) as Raw[]
          const next = identified(arrived, before)
          const { config, mended, problems } = mendSecrets(next, before)
          if (problems.length > 0) {
            continue // refused: nothing has changed
          }
          mendedSaves += Math.min(1, mended.length)
          expect(mendSecrets({ config, ids: next.ids }, before)).toEqual({ config, mended: [], problems: [] })
          expect(mendSecrets({ config, ids: next.ids }, { config, ids: next.ids })).toMatchObject({
            mended: [],
            problems: [],
          })
          for (const [index, raw] of (itemsOf(config) as Raw[]).entries()) {
            // what the form showed as hidden is there, and nothing else is
            const hidden = JSON.stringify(edited[index]).split(OBFUSCATED_VALUE).length - 1
            const typed = [...JSON.stringify(edited[index]).matchAll(/"typed \d+"/g)].length
            const { passwordMark: mark, url } = raw
            expect(JSON.stringify(raw)).not.toContain(OBFUSCATED_VALUE)
            const own = itemsOf(before.config).find(each => (each as Raw)['passwordMark'] === mark)
            const had = JSON.stringify(own ?? {})
            for (const secret of secretsOf(raw)) {
              expect(secret).toContain(` of ${String(mark)} `)
              expect(secret).toContain(` for ${new URL(String(url)).hostname.split('.')[0]!}`)
              expect(had).toContain(secret)
            }
            const texts = [...JSON.stringify(raw).matchAll(/"(?:token|passphrase|encryptionKey)":"/g)].length
            expect(texts).toBe(hidden + typed)
          }
          before = { config, ids: next.ids }
        }
      }),
      { seed: 20260801, numRuns: 400 }
    )
    expect(mendedSaves).toBeGreaterThan(100)
  })
})
