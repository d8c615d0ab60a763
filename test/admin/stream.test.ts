import { expect, it, onTestFinished } from 'vitest'

import { restUrl, startOperated, USER } from '../helpers/operated-plugin.ts'
import { call, eventually, PLUGIN_ID } from '../helpers/running-plugin.ts'
import type { Params } from '../sandbox/config.ts'
import { ADMIN } from '../sandbox/sandbox.ts'
import type { Credentials, Sandbox } from '../sandbox/sandbox.ts'

interface Hint {
  readonly latest: string
  readonly endpoints?: readonly string[]
}

/** An open stream, and what it has told. */
async function open(sandbox: Sandbox, { email, password }: Credentials = ADMIN) {
  const controller = new AbortController()
  onTestFinished(() => controller.abort())
  const response = await fetch(restUrl(sandbox, 'stream'), {
    headers: { authorization: `Basic ${Buffer.from(`${email}:${password}`).toString('base64')}` },
    signal: controller.signal,
  })
  const hints: Hint[] = []
  const ended = (async () => {
    let text = ''
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk as Uint8Array).toString()
      const events = text.split('\n\n')
      text = events.pop() ?? ''
      hints.push(
        ...events.flatMap(event => /^data: (.*)$/m.exec(event)?.[1] ?? []).map(data => JSON.parse(data) as Hint)
      )
    }
  })().catch(() => {})
  return { response, hints, ended, close: () => controller.abort() }
}

it('hints at changes, which are then asked for: nothing is missed, and nothing told twice', async () => {
  const { sandbox, receiver, mend } = await startOperated()
  mend()
  const stream = await open(sandbox)
  expect(stream.response.headers.get('content-type')).toContain('text/event-stream')
  expect(stream.response.headers.get('cache-control')).toBe('no-cache, no-transform')
  await eventually(() => expect(stream.hints).toHaveLength(1))
  let { latest } = stream.hints[0]!
  const first = latest
  const seen: unknown[] = []
  const follow = async (): Promise<void> => {
    for (let hasMore = true; hasMore;) {
      const page = (await call(sandbox, 'webHooks.getDeliveries', { since: latest, limit: 2 })) as Params
      expect(page['isOutdated']).toBeUndefined()
      seen.push(...(page['items'] as Params[]).filter(({ status }) => status === 'delivered').map(({ id }) => id))
      latest = String(page['latest'])
      hasMore = page['hasMore'] === true
    }
  }
  for (let n = 0; n < 5; ++n) {
    await call(sandbox, 'vm.inspect')
  }
  await receiver.next(5)
  const { items } = (await eventually(async () => {
    const page = (await call(sandbox, 'webHooks.getDeliveries', { status: 'delivered' })) as { items: Params[] }
    expect(page.items).toHaveLength(5)
    return page
  })) as { items: Params[] }
  await eventually(() => expect(stream.hints.length).toBeGreaterThan(1))
  expect(stream.hints.flatMap(({ endpoints = [] }) => endpoints)).toContain(items[0]!['endpoint'])
  await follow()
  expect(new Set(seen)).toEqual(new Set(items.map(({ id }) => id)))
  // who comes back later has missed nothing
  latest = first
  seen.length = 0
  await follow()
  expect(seen.sort()).toEqual(items.map(({ id }) => id).sort())
  for (const since of ['another.5', 'nonsense', `${latest.split('.')[0]}.999999`]) {
    expect(await call(sandbox, 'webHooks.getDeliveries', { since })).toMatchObject({ items: [], isOutdated: true })
  }
})

it('is for twenty administrators at most, and ends with the plugin', async () => {
  const { sandbox } = await startOperated()
  sandbox.host.users.set('user', { id: 'user', ...USER, name: USER.email, permission: 'none' })
  expect((await open(sandbox, USER)).response.status).toBe(403)
  expect((await fetch(restUrl(sandbox, 'stream'))).status).toBe(401)
  const streams = await Promise.all(Array.from({ length: 20 }, () => open(sandbox)))
  expect(streams.map(({ response }) => response.status)).toEqual(streams.map(() => 200))
  expect((await open(sandbox)).response.status).toBe(503)
  streams[0]!.close()
  await eventually(async () => {
    const another = await open(sandbox)
    expect(another.response.status).toBe(200)
    streams.push(another)
  })
  await sandbox.plugins.unload(PLUGIN_ID)
  await Promise.all(streams.map(({ ended }) => ended))
})
