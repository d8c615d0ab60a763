import { describe, expect, it, vi } from 'vitest'
import type { Received, Receiver } from '../sandbox/receiver.ts'
import { FAILING, openDownReceiver, openReceiver, setUpRealHost, type HookItem } from './setup.ts'

const xo = setUpRealHost()

const PATIENCE = { timeout: 60_000, interval: 50 }

const withToken = ({ url }: Receiver, name: string) => ({
  ...{ name, method: FAILING, type: 'post', url: `${url}/${name}`, format: 'json' },
  authentication: { authorization: 'bearer', token: `secret-of-${name}` },
})

/** What a request shows: where it went, with whose secret, from which hook, and about what. */
const outlineOf = ({ url, headers, body }: Received) =>
  [url, headers.authorization, headers['x-xo-hook'], (JSON.parse(body) as { params: { id: string } }).params.id].join(
    ' '
  )

/** Until the database has these secrets, by the name of the hook, and each hook's id. */
const untilSaved = (tokens: Record<string, string>) =>
  vi.waitFor(async () => {
    const hooks = await xo.savedHooks()
    expect(Object.fromEntries(hooks.map(({ name, authentication }) => [name, authentication!.token]))).toEqual(tokens)
    expect(hooks.map(({ id }) => typeof id)).toEqual(hooks.map(() => 'string'))
  }, PATIENCE)

describe('in a real xo-server, a hook', () => {
  it('has its own secret though the one before it was removed: at once, in the database, and after a restart', async () => {
    const receiver = await openReceiver()
    await xo.configureAnew(withToken(receiver, 'a'), withToken(receiver, 'b'))
    await xo.fail('before')
    await receiver.next(2)
    await xo.edit(([, b]) => [b!])
    await xo.fail('after')
    await receiver.next(1)
    await untilSaved({ b: 'secret-of-b' })
    const [saved] = await xo.savedHooks()
    expect((await xo.pluginInfo())['configuration']).toEqual({
      hooks: [
        {
          ...saved,
          authentication: { authorization: 'bearer', token: expect.stringContaining('obfuscated') as string },
        },
      ],
    })
    for (const how of ['stop', 'kill'] as const) {
      await xo.restart(how)
      await xo.fail(how)
      // what a crash has kept from being settled may come twice
      await vi.waitFor(
        () => expect(receiver.requests.map(outlineOf)).toContain(`/b Bearer secret-of-b b ${how}`),
        PATIENCE
      )
    }
    expect(new Set(receiver.requests.map(outlineOf))).toEqual(
      new Set([
        '/a Bearer secret-of-a a before',
        ...['before', 'after', 'stop', 'kill'].map(id => `/b Bearer secret-of-b b ${id}`),
      ])
    )
    expect(await xo.savedHooks()).toEqual([saved])
    expect(xo.host.log.join('\n')).not.toContain('secret-of-')
  }, 240_000)

  it('has what waits for it, and its secret, however it is edited, with a restart after each edit', async () => {
    const { receiver, delivered, up } = await openDownReceiver()
    await xo.configureAnew(...['a', 'b', 'c'].map(name => withToken(receiver, name)))
    await xo.fail('0')
    const seen = await receiver.next(3)
    const edits: ((hooks: HookItem[]) => object[])[] = [
      ([a, b, c]) => [c!, a!, b!],
      ([c, a, b]) => [c!, { ...a!, name: 'b' }, { ...b!, name: 'a' }],
      ([c, a, b]) => [{ ...c!, name: 'C', method: `${FAILING} vm.start`, url: `${receiver.url}/C` }, a!, b!],
      ([, a, b]) => [b!, a!],
    ]
    for (const [index, edit] of edits.entries()) {
      await xo.edit(edit)
      await xo.fail(String(index + 1))
      await xo.restart('stop')
    }
    await untilSaved({ a: 'secret-of-b', b: 'secret-of-a' })
    up()
    await xo.edit(hooks => hooks)
    // hook a is named b by now, and b is a
    const ids = ['0', '1', '2', '3', '4']
    const expected = [
      ['/a', 'secret-of-a', 'b'],
      ['/b', 'secret-of-b', 'a'],
    ].flatMap(([url, secret, name]) => {
      // the name is the one at the time of the event
      const names = ids.map(id => (Number(id) < 2 ? url!.slice(1) : name!))
      return ids.map((id, index) => `${url} Bearer ${secret} ${names[index]} ${id}`)
    })
    await vi.waitFor(() => expect(delivered.map(outlineOf).sort()).toEqual(expected.sort()), PATIENCE)
    const urls = new Map(seen.map(({ headers, url }) => [headers['x-xo-delivery'], url]))
    const again = delivered.filter(({ headers }) => urls.has(headers['x-xo-delivery']))
    expect(again.map(({ headers, url }) => urls.get(headers['x-xo-delivery']) === url)).toEqual([true, true])
  }, 360_000)

  it('goes to another origin without its secret only, and what waits follows it there', async () => {
    const { receiver } = await openDownReceiver()
    const other = await openReceiver()
    await xo.configureAnew(withToken(receiver, 'a'), withToken(receiver, 'b'))
    await xo.fail('1')
    const waiting = (await receiver.next(2)).find(({ url }) => url === '/b')!
    const moved = (b: HookItem) => ({ ...b, url: `${other.url}/b` })
    for (const edit of [([a, b]: HookItem[]) => [a!, moved(b!)], ([, b]: HookItem[]) => [moved(b!)]]) {
      await expect(xo.edit(edit)).rejects.toMatchObject({
        data: { errors: [{ hook: 'b', got: `that of "b" for ${receiver.url}` }] },
      })
    }
    const authentication = { authorization: 'bearer', token: 'typed-again' }
    await xo.edit(([a, b]) => [a!, { ...moved(b!), authentication }])
    const [request] = await other.next(1)
    expect(outlineOf(request!)).toBe('/b Bearer typed-again b 1')
    expect(request!.headers['x-xo-delivery']).toBe(waiting.headers['x-xo-delivery'])
  }, 120_000)

  it('that is disabled keeps what waits over a restart, and sends it once it is enabled', async () => {
    const { receiver, delivered, up } = await openDownReceiver()
    await xo.configureAnew(withToken(receiver, 'a'), withToken(receiver, 'b'))
    await xo.fail('1')
    await receiver.next(2)
    await xo.edit(([a, b]) => [{ ...a!, disabled: true }, b!])
    await xo.fail('2')
    await xo.restart('stop')
    up()
    await xo.edit(hooks => hooks)
    const ofB = ['/b Bearer secret-of-b b 1', '/b Bearer secret-of-b b 2']
    await vi.waitFor(() => expect(delivered.map(outlineOf).sort()).toEqual(ofB), PATIENCE)
    await xo.edit(([a, b]) => [{ ...a!, disabled: false }, b!])
    await vi.waitFor(
      () => expect(delivered.map(outlineOf).sort()).toEqual(['/a Bearer secret-of-a a 1', ...ofB]),
      PATIENCE
    )
  }, 180_000)

  it('has its own secret whatever is saved at once, and in the end what is in use is in the database', async () => {
    const receiver = await openReceiver()
    const names = ['a', 'b', 'c', 'd']
    for (let round = 0; round < 3; ++round) {
      await xo.configureAnew(...names.map(name => withToken(receiver, name)))
      const edits: ((hooks: HookItem[]) => object[])[] = [
        hooks => hooks.slice(1),
        hooks => hooks.slice(2),
        hooks => [...hooks].reverse(),
        ([, b, , d]) => [d!, b!],
      ]
      await Promise.all(edits.map(xo.edit))
      await xo.fail(String(round))
      await vi.waitFor(async () => {
        const inUse = receiver.requests
          .map(outlineOf)
          .filter(text => text.endsWith(` ${round}`))
          .map(text => text[1])
        expect((await xo.savedHooks()).map(({ name }) => name).sort()).toEqual(inUse.sort())
        expect(inUse.length).toBeGreaterThan(0)
      }, PATIENCE)
      const saved = await xo.savedHooks()
      await untilSaved(Object.fromEntries(saved.map(({ name }) => [name, `secret-of-${name}`])))
    }
    for (const { url, headers } of receiver.requests) {
      expect(headers.authorization).toBe(`Bearer secret-of-${url.slice(1)}`)
    }
  }, 240_000)
})
