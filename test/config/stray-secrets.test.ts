import { describe, expect, it } from 'vitest'

import { parseConfig } from '../../src/config/parse.ts'
import { describeProblem } from '../../src/problem.ts'
import { findStraySecrets } from '../../src/config/stray-secrets.ts'
import { mergeObfuscated, OBFUSCATED_VALUE } from '../sandbox/plugins.ts'
import { clientOf, openReceiver, PLUGIN_ID, startPlugin } from '../helpers/running-plugin.ts'
import { obfuscate } from '../sandbox/host.ts'

type Raw = Record<string, unknown>

function hook(url: string, secrets: Raw = {}, more: Raw = {}): Raw {
  return { method: 'vm.start', type: 'post', format: 'json', url, authentication: secrets, ...more }
}

function stray(next: readonly unknown[], previous: readonly unknown[]): string[] {
  return findStraySecrets({ hooks: next }, { hooks: previous }).map(describeProblem)
}

/** What the plugin gets when the saved `hooks` are shown, changed by `edit`, and saved again. */
function saved(hooks: readonly unknown[], edit: (shown: Raw[]) => unknown[]): unknown[] {
  const shown = obfuscate(structuredClone(hooks), OBFUSCATED_VALUE) as Raw[]
  return mergeObfuscated(edit(shown), hooks) as unknown[]
}

function afterEdit(hooks: readonly unknown[], edit: (shown: Raw[]) => unknown[]): string[] {
  return stray(saved(hooks, edit), hooks)
}

const crm = hook('https://crm.example/a', { token: 'T-crm' }, { name: 'CRM' })
const inventory = hook('https://inventory.example/b', { token: 'T-inventory' }, { name: 'Inventory' })

describe('a secret that the host has put back by index', () => {
  it('is refused for another origin, and said where it is from, without it', () => {
    expect(afterEdit([crm, inventory], ([, second]) => [second])).toEqual([
      'hooks[0].authentication.token ("Inventory"): expected its own secret, typed again (if it is to be the same for another address: save without it first), got that of "CRM" for https://crm.example',
    ])
  })

  it.each<[string, Raw]>([
    ['token', { authentication: { token: 'S' } }],
    ['password', { authentication: { user: 'u', password: 'S' } }],
    ['passphrase', { authentication: { passphrase: 'S2 S1' } }],
    ['encryptionKey', { tls: { certificate: 'c', encryptionKey: 'S' } }],
  ])('%s', (field, secrets) => {
    const other = JSON.parse(JSON.stringify(secrets).replaceAll('"S', '"Z')) as Raw
    const before = [hook('https://a.example', {}, secrets), hook('https://b.example', {}, other)]
    const problems = afterEdit(before, ([, second]) => [second])
    expect(problems).toEqual([expect.stringContaining(`.${field} `)])
    expect(problems.join()).not.toMatch(/got.*\b[SZ]\d?\b/)
  })

  it('is refused when hooks change places without their secrets', () => {
    expect(afterEdit([crm, inventory], ([first, second]) => [second, first])).toHaveLength(2)
  })

  it('is refused when only the address is another', () => {
    expect(afterEdit([crm], ([first]) => [{ ...first, url: 'https://evil.example/a' }])).toHaveLength(1)
    expect(afterEdit([crm], ([first]) => [{ ...first, url: 'https://crm.example:8443/a' }])).toHaveLength(1)
    expect(afterEdit([crm], ([first]) => [{ ...first, url: 'http://crm.example/a' }])).toHaveLength(1)
  })

  it('is refused for the same origin, if it is that of another hook', () => {
    const second = hook('https://crm.example/b', { token: 'T-second' })
    expect(afterEdit([crm, second], ([, shown]) => [shown])).toHaveLength(1)
  })

  it('is refused in a hook that is disabled or has no address, through which it would pass', () => {
    expect(afterEdit([crm, inventory], ([, second]) => [{ ...second, disabled: true }])).toHaveLength(1)
    expect(afterEdit([crm, inventory], ([, second]) => [{ ...second, url: '', disabled: true }])).toHaveLength(1)
    const hidden = [{ ...crm, url: '', disabled: true }]
    expect(afterEdit(hidden, ([first]) => [{ ...first, url: 'https://evil.example' }])).toHaveLength(1)
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
  ])('is accepted: %s', (_, edit) => {
    expect(afterEdit([crm, inventory], edit)).toEqual([])
  })

  it('is accepted for the same host with TLS', () => {
    const plain = hook('http://crm.example/a', { token: 'T' })
    expect(afterEdit([plain], ([first]) => [{ ...first, url: 'https://crm.example/a' }])).toEqual([])
  })

  it('is accepted where hooks of both origins had it', () => {
    const same = hook('https://other.example', { token: 'T-crm' })
    expect(afterEdit([crm, same], ([, second]) => [second])).toEqual([])
  })

  it('is accepted for another address after a save without it', () => {
    const moved = hook('https://new.example', { token: 'T-crm' }, { name: 'CRM' })
    expect(stray([moved], [crm])).toHaveLength(1)
    expect(stray([{ ...moved, authentication: {} }], [crm])).toEqual([])
    expect(stray([moved], [{ ...moved, authentication: {} }])).toEqual([])
  })
})

describe('a placeholder', () => {
  const lost = hook('https://a.example', { authorization: 'bearer', token: OBFUSCATED_VALUE }, { name: 'A' })

  it('is refused wherever it stands', () => {
    const expected = [
      expect.stringMatching(/^hooks\[0\]\.authentication\.token \("A"\): .*typed again, got .*placeholder/),
    ]
    expect(stray([lost], [])).toEqual(expected)
    expect(stray([lost], [null])).toEqual(expected)
    expect(stray([{ ...lost, disabled: true }], [])).toEqual(expected)
    expect(stray([hook(`https://a.example/?token=${OBFUSCATED_VALUE}`)], [])).toHaveLength(1)
    expect(stray([hook('https://a.example', { headers: `X-Key: ${OBFUSCATED_VALUE}` })], [])).toHaveLength(1)
  })

  it('leaves out its hook, and no other, of a configuration that is read at boot', () => {
    const { settings, problems } = parseConfig({ hooks: [lost, crm, { ...inventory, authentication: {} }] })
    expect(settings.hooks.map(({ name }) => name)).toEqual(['Inventory'])
    expect(problems.map(({ path }) => path)).toContain('hooks[0].authentication.token')
    expect(problems.map(describeProblem).join()).not.toContain(OBFUSCATED_VALUE)
  })

  it.each([undefined, null, {}, { hooks: null }, { hooks: [null, 1, 'x'] }])('is not looked for in %j', config => {
    expect(findStraySecrets(config, config)).toEqual([])
    expect(findStraySecrets({ hooks: [crm] }, config)).toEqual([])
    expect(findStraySecrets(config, { hooks: [crm] })).toEqual([])
  })
})

describe('the plugin', () => {
  const authentication = (token: string): Raw => ({ authorization: 'bearer', token })

  it('refuses to save hooks of which one has the secret of another, and keeps what it has', async () => {
    const receiver = await openReceiver()
    const sandbox = await startPlugin()
    await sandbox.configure({
      hooks: [hook('https://crm.example', authentication('T-crm')), hook(receiver.url, authentication('T-inventory'))],
    })
    const client = await clientOf(sandbox)
    const [{ configuration }] = (await client.call('plugin.get')) as [{ configuration: { hooks: Raw[] } }]
    const save = (hooks: unknown): Promise<unknown> =>
      client.call('plugin.configure', { id: PLUGIN_ID, configuration: { hooks } })

    const problem = { path: 'hooks[0].authentication.token', got: 'that of "vm.start" for https://crm.example' }
    await expect(save(configuration.hooks.slice(1))).rejects.toMatchObject({ data: { errors: [problem] } })
    await expect(save([...configuration.hooks, configuration.hooks[1]])).rejects.toMatchObject({
      data: { errors: [{ path: 'hooks[2].authentication.token', got: "xo-server's placeholder for one" }] },
    })
    await client.call('vm.start', { id: 'x' }).catch(() => {})
    expect((await receiver.next())[0]?.headers.authorization).toBe('Bearer T-inventory')
    await save([{ ...configuration.hooks[1], authentication: authentication('T-inventory') }])
    expect(JSON.stringify(await client.call('plugin.get'))).not.toContain('crm')
  })

  it('leaves out a hook whose secret was lost when it starts, and says so', async () => {
    const receiver = await openReceiver()
    const hooks = [hook(receiver.url, authentication(OBFUSCATED_VALUE)), hook(`${receiver.url}/2`)]
    const sandbox = await startPlugin({ saved: { hooks } })
    const client = await clientOf(sandbox)
    await client.call('vm.start', { id: 'x' }).catch(() => {})
    expect((await receiver.next()).map(({ url }) => url)).toEqual(['/2'])
    await sandbox.plugins.unload(PLUGIN_ID)
    expect(receiver.requests).toHaveLength(1)
  })
})
