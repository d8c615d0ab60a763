import { describe, expect, it } from 'vitest'
import { ids } from './sandbox/made-up-pool.ts'
import {
  allSent,
  call,
  clientOf,
  fence,
  openReceiver,
  phaseAndMethod,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  wholeLog,
} from './helpers/running-plugin.ts'

const usable = (url: string) => ({ method: 'vm.start', type: 'post', url, format: 'json' })

/** Each is one mistake in a hook that is fine otherwise. */
const mistakes: [what: string, change: object, path: string, expected: string, got: string][] = [
  ['no method', { method: '' }, 'method', 'the name of an API method', 'nothing'],
  ['nothing but an exclusion', { method: '!vm.set' }, 'method', 'the name of an API method', '"!vm.set"'],
  ['an unknown type', { type: 'during' }, 'type', 'one of "pre", "post", "pre/post"', '"during"'],
  ['an unknown status', { status: 'maybe' }, 'status', 'one of "any", "success", "failure"', '"maybe"'],
  ['no URL', { url: null }, 'url', 'an http:// or https:// URL', 'nothing'],
  ['a URL without scheme', { url: 'example.org' }, 'url', 'an http:// or https:// URL', '"example.org"'],
  ['another protocol', { url: 'ftp://example.org/' }, 'url', 'an http:// or https:// URL', '"ftp://example.org"'],
  ['an unknown format', { format: 'yaml' }, 'format', 'one of "json", "office365"', '"yaml"'],
  ['a timeout of 0', { limits: { timeout: 0 } }, 'limits.timeout', 'at most 60', '0'],
  ['a timeout above 60', { limits: { timeout: 61 } }, 'limits.timeout', 'at most 60', '61'],
]

describe('a hook with', () => {
  it.each(mistakes)(
    '%s is refused when it is saved: nothing is saved, nothing changes',
    async (_, change, ...problem) => {
      const [path, expected, got] = problem
      const sandbox = await startPlugin()
      const receiver = await openReceiver()
      const client = await clientOf(sandbox)
      const saved = { hooks: [usable(receiver.url), fence(receiver.url)] }
      await client.call('plugin.configure', { id: PLUGIN_ID, configuration: saved })
      const hooks = [
        { ...usable(receiver.url), method: 'vm.stop' },
        { ...usable(receiver.url), name: 'Wrong', ...change },
      ]
      const refused = client.call('plugin.configure', { id: PLUGIN_ID, configuration: { hooks } })

      await expect(refused).rejects.toMatchObject({
        code: 10,
        message: expect.stringContaining(`hooks[1].${path}`) as string,
        data: {
          errors: [
            {
              path: `hooks[1].${path}`,
              expected: expect.stringContaining(expected) as string,
              got: expect.stringContaining(got) as string,
            },
          ],
        },
      })
      expect(sandbox.plugins.get(PLUGIN_ID)['configuration']).toEqual(saved)
      await call(sandbox, 'vm.start', { id: ids.haltedVm })
      await call(sandbox, 'vm.stop', { id: ids.haltedVm })
      expect((await allSent(sandbox, receiver, 1)).map(phaseAndMethod)).toEqual(['post vm.start'])
    }
  )

  it.each(mistakes)(
    '%s is left out when it comes from the database, and named in one warning',
    async (_, change, path) => {
      const receiver = await openReceiver()
      const sandbox = await startPlugin({
        saved: {
          hooks: [{ ...usable(receiver.url), name: 'Wrong', ...change }, usable(receiver.url), fence(receiver.url)],
        },
      })
      expect(sandbox.registrationError).toBeUndefined()
      const warnings = pluginLog('warn').filter(line => !line.includes('test.fence'))
      expect(warnings).toEqual([expect.stringContaining(`hook disabled: hooks[0].${path} (hook 1 "Wrong"): expected`)])
      await call(sandbox, 'vm.start', { id: ids.haltedVm })

      await allSent(sandbox, receiver, 1)
      expect(receiver.requests[0]!.headers['x-xo-hook']).toBe('vm.start')
    }
  )

  it('a method that does not exist is refused when it is saved', async () => {
    const sandbox = await startPlugin()
    for (const method of ['vm.fly', 'vm.start wm.*', '* !vm.fly']) {
      const unknown = method.includes('fly') ? 'vm.fly' : 'wm.*'
      await expect(sandbox.configure({ hooks: [{ ...usable('http://127.0.0.1:9'), method }] })).rejects.toMatchObject({
        code: 10,
        data: { errors: [{ path: 'hooks[0].method', got: `"${unknown}"` }] },
      })
    }
  })

  it('a method that no longer exists loads, fires for its others, and is named in one warning', async () => {
    const receiver = await openReceiver()
    const sandbox = await startPlugin({
      saved: {
        hooks: [
          { ...usable(receiver.url), name: 'Gone', method: 'vm.fly' },
          { ...usable(receiver.url), name: 'Half', method: 'vm.fly vm.start' },
          fence(receiver.url),
        ],
      },
    })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })

    await allSent(sandbox, receiver, 1)
    expect(pluginLog('warn').filter(line => line.includes('"Gone"'))).toEqual([expect.stringContaining('"vm.fly"')])
    expect(receiver.requests.find(({ body }) => body.includes('vm.start'))!.headers['x-xo-hook']).toBe('Half')
  })

  it.each([
    ['user-info', 'htp://user:s3cret@example.org/'],
    ['a path', 'hooks.example.org/services/s3cret'],
    ['a query', 'htp://example.org?token=s3cret'],
    ['a bad port', 'https://example.org:99999/s3cret'],
    ['a bad host and user-info', 'https://user:s3cret@exa mple.org/'],
  ])('a bad URL with %s gives nothing of that away', async (_, url) => {
    const saved = { hooks: [{ ...usable(url), name: 'Wrong' }] }
    const sandbox = await startPlugin({ saved })
    const error = await sandbox.configure(saved).catch((thrown: unknown) => thrown as Error & { data: unknown })

    expect(error).toMatchObject({ code: 10 })
    expect(pluginLog('warn')).toHaveLength(1)
    expect(wholeLog().join('\n')).not.toContain('s3cret')
    expect(JSON.stringify(error)).not.toContain('s3cret')
    expect((error as Error).message).not.toContain('s3cret')
  })
})

describe('a configuration', () => {
  it('with several mistakes names them all at once', async () => {
    const sandbox = await startPlugin()
    const hooks = [{ method: 'vm.start' }, null, { ...usable('http://127.0.0.1:9'), type: 'during' }]

    await expect(sandbox.configure({ hooks })).rejects.toMatchObject({
      data: { errors: [{ path: 'hooks[0].url' }, { path: 'hooks[2].type' }] },
    })
  })

  it.each([
    ['nothing at all', {}],
    ['no list', { hooks: null }],
    ['items that the form has added and nobody has filled in', { hooks: [null, null] }],
    ['fields of another version', { hooks: [], other: { thing: true } }],
  ])('with %s is accepted', async (_, configuration) => {
    const sandbox = await startPlugin()
    await sandbox.configure(configuration)

    expect(pluginLog('warn')).toEqual([])
  })

  it('with optional fields empty, null or missing has the defaults', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const { url } = receiver
    await sandbox.configure({
      hooks: [
        null,
        { method: ' vm.start ', url },
        { method: 'vm.start', url, name: '', type: '', status: '', format: '', limits: null },
        { method: 'vm.start', url, type: null, status: null, format: null, limits: {}, disabled: null, name: null },
        { method: 'vm.start', url, limits: { timeout: null }, waitForResponse: false, unknown: 1 },
        fence(url),
      ],
    })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })

    const sent = await allSent(sandbox, receiver, 4)
    expect(new Set(sent.map(phaseAndMethod))).toEqual(new Set(['post vm.start']))
  })

  it('that the stock plugin has saved loads as it is', async () => {
    const receiver = await openReceiver()
    const { url } = receiver
    const sandbox = await startPlugin({
      saved: {
        hooks: [
          { method: 'vm.start', type: 'pre', url, format: 'json', waitForResponse: true },
          { method: 'vm.start', type: 'post', url, format: 'office365', waitForResponse: false },
          { method: 'host.restart_agent', type: 'pre/post', url, format: 'json' },
          { method: 'plugin.of.another.time', type: 'post', url, format: 'json' },
          fence(url),
        ],
      },
    })
    await call(sandbox, 'vm.start', { id: ids.haltedVm })
    await call(sandbox, 'host.restart_agent', { id: ids.host })

    const sent = await allSent(sandbox, receiver, 4)
    expect(sent.map(body => body['@type'] ?? phaseAndMethod(body)).sort()).toEqual([
      'MessageCard',
      'post host.restart_agent',
      'pre host.restart_agent',
      'pre vm.start',
    ])
  })

  it('with the format that Microsoft has retired is accepted, with a warning', async () => {
    const sandbox = await startPlugin()
    await sandbox.configure({ hooks: [{ ...usable('http://127.0.0.1:9'), format: 'office365', name: 'Teams' }] })

    expect(pluginLog('warn')).toEqual([expect.stringMatching(/hooks\[0\] \(Teams\).*Microsoft has retired/)])
  })

  it('that cannot be right is refused as a whole by its types', async () => {
    const sandbox = await startPlugin()
    for (const configuration of [{ hooks: 'none' }, { hooks: [1] }, { hooks: [{ url: 1 }] }]) {
      await expect(sandbox.configure(configuration)).rejects.toMatchObject({ code: 10 })
    }
  })
})

describe('the form', () => {
  it('suggests the methods of the host and their namespaces, and each is accepted', async () => {
    const sandbox = await startPlugin()
    const client = await clientOf(sandbox)
    const [plugin] = (await client.call('plugin.get')) as [
      { configurationSchema: object; configurationPresets: object },
    ]
    const { defaults } = (
      plugin.configurationSchema as {
        properties: { hooks: { items: { properties: { method: { defaults: string[] } } } } }
      }
    ).properties.hooks.items.properties.method

    expect(defaults).toEqual(expect.arrayContaining(['*', 'vm.*', 'vm.start', 'host.restart_agent', 'backupNg.runJob']))
    const hooks = defaults.map(method => ({ ...usable('http://127.0.0.1:9'), method }))
    await sandbox.configure({ hooks })
  })

  it('has nothing in it that XO cannot show', async () => {
    const sandbox = await startPlugin()
    const client = await clientOf(sandbox)
    const [plugin] = (await client.call('plugin.get')) as [{ configurationSchema: FormSchema }]
    const seen: string[] = []
    const check = (schema: FormSchema, path: string): void => {
      seen.push(path)
      expect(['array', 'boolean', 'integer', 'number', 'object', 'string'], path).toContain(schema.type)
      expect(schema, path).not.toHaveProperty('format')
      expect(schema.default, `${path}: a checkbox shows no default`).not.toBe(true)
      if (path !== '') {
        expect(schema.title, path).toMatch(/./)
      }
      Object.entries(schema.properties ?? {}).forEach(([key, property]) => check(property, `${path}.${key}`))
      if (schema.items !== undefined) {
        check(schema.items, `${path}[]`)
      }
    }
    check(plugin.configurationSchema, '')

    expect(seen).toContain('.hooks[].limits.timeout')
  })

  it('offers presets that can be saved once a URL is filled in', async () => {
    const sandbox = await startPlugin()
    sandbox.host.addApiMethod('vm.restart', () => {})
    const presets = sandbox.plugins.get(PLUGIN_ID)['configurationPresets'] as Record<string, { hooks: object[] }>
    expect(Object.keys(presets).length).toBeGreaterThan(0)

    for (const { hooks } of Object.values(presets)) {
      await sandbox.configure({ hooks: hooks.map(hook => ({ ...hook, url: 'http://127.0.0.1:9' })) })
    }
  })
})

interface FormSchema {
  type?: string
  title?: string
  default?: unknown
  properties?: Record<string, FormSchema>
  items?: FormSchema
}
