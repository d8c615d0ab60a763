import { describe, expect, it } from 'vitest'

import {
  call,
  clientOf,
  gate,
  openReceiver,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  eventually,
} from './helpers/running-plugin.ts'
import { ids } from './sandbox/made-up-pool.ts'
import { OBFUSCATED_VALUE } from './sandbox/plugins.ts'
import type { Client, Sandbox } from './sandbox/sandbox.ts'

type Hook = Record<string, unknown> & { readonly name: string; readonly url: string }

const hookOf = (name: string, url: string, more: object = {}): Hook => ({
  ...{ name, method: 'vm.start vm.set vm.stop', type: 'post', format: 'json', url: `${url}/${name}` },
  authentication: { authorization: 'bearer', token: `token-of-${name}` },
  ...more,
})

/** What the form gets to see. */
async function shown(client: Client): Promise<Hook[]> {
  const [plugin] = (await client.call('plugin.get')) as [{ configuration: { hooks: Hook[] } }]
  return plugin.configuration.hooks
}

const save = (client: Client, hooks: readonly object[]): Promise<unknown> =>
  client.call('plugin.configure', { id: PLUGIN_ID, configuration: { hooks } })

/** What is in the database: nobody is shown it, but the plugin at the next start. */
function savedTokens(sandbox: Sandbox): unknown[] {
  const { hooks } = sandbox.plugins.saved(PLUGIN_ID) as { hooks: { authentication?: { token?: string } }[] }
  return hooks.map(({ authentication }) => authentication?.token)
}

describe('the secrets of hooks', () => {
  it('stay with their hooks when the first one is removed in the form, in use and in the database', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const client = await clientOf(sandbox)
    await save(
      client,
      ['a', 'b', 'c'].map(name => hookOf(name, receiver.url))
    )
    const [, ...rest] = await shown(client)
    expect(rest[0]).toMatchObject({ authentication: { token: OBFUSCATED_VALUE } })
    await save(client, rest)
    await call(sandbox, 'vm.start', { id: ids.haltedVm })

    const requests = await receiver.next(2)
    expect(requests.map(({ url, headers }) => [url, headers.authorization]).sort()).toEqual([
      ['/b', 'Bearer token-of-b'],
      ['/c', 'Bearer token-of-c'],
    ])
    await eventually(() => expect(savedTokens(sandbox)).toEqual(['token-of-b', 'token-of-c']))
    // with their ids, so that nobody has to guess again
    const now = await shown(client)
    expect(now.map(hook => typeof hook['id'])).toEqual(['string', 'string'])
    await save(client, now)
    expect(savedTokens(sandbox)).toEqual(['token-of-b', 'token-of-c'])
    expect(pluginLog('warn')).toEqual([])
  })

  it('are the right ones in the database after many edits in a row, none of which waits for the one before', async () => {
    const sandbox = await startPlugin()
    const client = await clientOf(sandbox)
    const hooks = ['a', 'b', 'c', 'd', 'e'].map(name => hookOf(name, 'http://127.0.0.1:9'))
    await save(client, hooks)
    for (let left = 4; left > 0; --left) {
      await save(client, (await shown(client)).slice(1))
    }
    await eventually(() => expect(savedTokens(sandbox)).toEqual(['token-of-e']))
    await sandbox.plugins.unload(PLUGIN_ID)
    expect(savedTokens(sandbox)).toEqual(['token-of-e'])
  })

  it('are refused for another origin, and then nothing has changed', async () => {
    const sandbox = await startPlugin()
    const client = await clientOf(sandbox)
    await save(client, [hookOf('a', 'http://127.0.0.1:9')])
    const [hook] = await shown(client)
    await expect(save(client, [{ ...hook, url: 'https://elsewhere.example/' }])).rejects.toMatchObject({
      code: 10,
      message: expect.stringContaining('hooks[0].authentication.token') as string,
    })
    expect((await shown(client))[0]).toEqual(hook)
  })
})

describe('a hook that is disabled', () => {
  it('is sent nothing new, and what waits for it once it is enabled', async () => {
    const sandbox = await startPlugin()
    const answer = gate()
    const receiver = await openReceiver(async ({ headers }) => {
      if (headers['x-xo-attempt'] === '1') {
        await answer.opened
        return { status: 503 }
      }
      return {}
    })
    const client = await clientOf(sandbox)
    const hook = hookOf('a', receiver.url)
    await save(client, [hook])
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    const [first] = await receiver.next()
    await save(client, [{ ...hook, disabled: true }])
    answer.open()
    await call(sandbox, 'vm.stop', { id: ids.haltedVm })
    // renamed meanwhile, and moved: it is the same hook
    await save(client, [{ ...hook, name: 'renamed' }])

    const [second] = await receiver.next()
    expect(second!.headers['webhook-id']).toBe(first!.headers['webhook-id'])
    expect(second!.body).toBe(first!.body)
    expect(receiver.requests).toHaveLength(2)
  })
})
