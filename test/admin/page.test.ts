import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

import { expect, it } from 'vitest'

import { openPage } from '../../src/admin/page.ts'
import type { HttpRequest, Xo } from '../../src/xo.ts'
import { PLUGIN_ID, pluginLog, startPlugin, userOf } from '../helpers/running-plugin.ts'
import { ADMIN } from '../sandbox/sandbox.ts'
import type { Sandbox } from '../sandbox/sandbox.ts'

const PATHS = ['/web-hooks', '/web-hooks/page.js', '/web-hooks/page.css'] as const

function ask(
  { webUrl, host }: Sandbox,
  path: string,
  { as, ...rest }: { as?: string } & RequestInit = {}
): Promise<Response> {
  const user = as === undefined ? undefined : [...host.users.values()].find(({ email }) => email === as)
  const cookie = user === undefined ? {} : { cookie: `token=${host.createToken(user)}` }
  return fetch(webUrl + path, { redirect: 'manual', ...rest, headers: { ...rest.headers, ...cookie } })
}

it('leads who is not signed in to the form of the host, and tells others than administrators so', async () => {
  const sandbox = await startPlugin()
  const anonymous = await ask(sandbox, '/web-hooks?a=b')
  expect([anonymous.status, anonymous.headers.get('location')]).toEqual([302, '/signin'])
  expect(anonymous.headers.get('cache-control')).toBe('no-store')

  const stale = await ask(sandbox, '/web-hooks', { headers: { cookie: 'token=of-yesterday' } })
  expect(stale.status).toBe(302)

  sandbox.host.users.set('u', { ...userOf(sandbox), id: 'u', email: 'user@example.org', permission: 'none' })
  const user = await ask(sandbox, '/web-hooks', { as: 'user@example.org' })
  expect(user.status).toBe(403)
  expect(await user.text()).not.toContain('<script')

  const admin = await ask(sandbox, '/web-hooks', { as: ADMIN.email })
  expect(admin.status).toBe(200)
  expect(await admin.text()).toContain('<script type="module" src="/web-hooks/page.js">')
})

it('leads back to itself after signing in, wherever the request says that it is', async () => {
  type Handler = (request: HttpRequest, response: object) => Promise<void>
  const handlers = new Map<string, Handler>()
  const xo = {
    config: {},
    registerHttpRequestHandler: (path: string, handler: Handler) => Promise.resolve(handlers.set(path, handler)),
  }
  openPage(xo as unknown as Xo, { info: () => {}, warn: () => {} })
  const flashed: string[][] = []
  const url = 'http://elsewhere.test/web-hooks'
  const flash = (name: string, text: string): unknown => flashed.push([name, text])
  const response = { writeHead: () => response, end: () => response }
  const request = { method: 'GET', headers: {}, url, originalUrl: url, flash }
  await handlers.get('/web-hooks')!(request as unknown as HttpRequest, response)
  expect(flashed).toEqual([['return-url', '/web-hooks']])
})

it('sends its files under a policy of its own, and only what the browser does not have yet', async () => {
  const sandbox = await startPlugin()
  for (const path of PATHS) {
    const response = await ask(sandbox, path, { as: ADMIN.email })
    const { headers } = response
    expect(response.status, path).toBe(200)
    const policy = headers.get('content-security-policy')
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("require-trusted-types-for 'script'")
    expect(policy).not.toContain('unsafe')
    expect(headers.get('cache-control')).toBe('no-cache')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('referrer-policy')).toBe('no-referrer')

    const again = await ask(sandbox, path, { as: ADMIN.email, headers: { 'if-none-match': headers.get('etag') ?? '' } })
    expect([again.status, await again.text()], path).toEqual([304, ''])
    const head = await ask(sandbox, path, { as: ADMIN.email, method: 'HEAD' })
    expect([head.status, await head.text()], path).toEqual([200, ''])
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
      const other = await ask(sandbox, path, { as: ADMIN.email, method })
      expect([other.status, await other.text()], `${method} ${path}`).toEqual([405, ''])
    }
  }
  // as they are: no server has put anything into them
  const [, script] = await Promise.all(PATHS.map(path => ask(sandbox, path, { as: ADMIN.email })))
  expect(await script?.text()).toBe(readFileSync(new URL('../../dist/page/page.js', import.meta.url), 'utf8'))
})

it('is gone with the plugin, and comes back with it', async () => {
  const sandbox = await startPlugin()
  await sandbox.plugins.unload(PLUGIN_ID)
  for (const path of PATHS) {
    expect((await ask(sandbox, path, { as: ADMIN.email })).status).toBe(404)
  }
  await sandbox.plugins.load(PLUGIN_ID)
  expect((await ask(sandbox, '/web-hooks', { as: ADMIN.email })).status).toBe(200)
})

it('is missed by nothing else where its path is taken', async () => {
  const sandbox = await startPlugin()
  await sandbox.plugins.unload(PLUGIN_ID)
  await sandbox.host.registerHttpRequestHandler('/web-hooks', (_, response) => response.end('mine'))
  await sandbox.plugins.load(PLUGIN_ID)
  expect(pluginLog('warn').join()).toContain('the page of the plugin cannot be shown')
  expect(await (await ask(sandbox, '/web-hooks')).text()).toBe('mine')
})

it.each([
  ['page.js', 60_000, 22_000],
  ['page.css', 12_000, 4_096],
])('%s is small', (name, max, maxZipped) => {
  const content = readFileSync(new URL(`../../dist/page/${name}`, import.meta.url))
  expect(content.length).toBeLessThanOrEqual(max)
  expect(gzipSync(content).length).toBeLessThanOrEqual(maxZipped)
})
