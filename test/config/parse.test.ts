import { Ajv } from 'ajv'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { configPresets, configSchema } from '../../src/config/form.ts'
import { isActive } from '../../src/config/hook.ts'
import type { Hook } from '../../src/config/hook.ts'
import { knownOf } from '../../src/config/identity.ts'
import { describeProblem } from '../../src/problem.ts'
import { EVENT_FIELDS } from '../../src/event/event.ts'
import { formats } from '../../src/formats/index.ts'
import { hookableEvents } from '../../src/sources/index.ts'
import { readConfig } from '../helpers/read-config.ts'

const METHODS = ['vm.start', 'vm.stop', 'backupNg.runJob', 'hub.recipe.create', 'test']

function itemOf(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return { method: 'vm.start', type: 'post', url: 'https://hooks.example.org/x', format: 'json', ...fields }
}

function hooksOf(...items: unknown[]): readonly Hook[] {
  const { settings, problems } = readConfig({ hooks: items })
  expect(problems).toEqual([])
  return settings.hooks
}

function hookOf(fields?: Record<string, unknown>): Hook {
  return hooksOf(itemOf(fields))[0]!
}

const logged: unknown[] = []
const log = (...args: unknown[]) => logged.push(args)
const isValid = new Ajv({
  strict: 'log',
  strictRequired: false,
  useDefaults: true,
  logger: { log, warn: log, error: log },
})
  .addVocabulary(['$multiline', '$type', 'enumNames'])
  .compile(configSchema(METHODS))

/** Validates as xo-server does, and says what Ajv has logged, of the schema too. */
function validate(configuration: unknown): { isValid: boolean; logged: unknown[] } {
  return { isValid: isValid(structuredClone(configuration)), logged }
}

/** What the stock plugin's schema accepts: it requires all but `waitForResponse`, and lets anything else in. */
const stockItem = fc
  .record(
    {
      method: fc.constantFrom(...METHODS),
      type: fc.constantFrom('pre', 'post', 'pre/post'),
      url: fc.oneof(fc.webUrl({ withQueryParameters: true, withFragments: true }), fc.string()),
      format: fc.constantFrom('json', 'office365'),
      waitForResponse: fc.boolean(),
    },
    { requiredKeys: ['method', 'type', 'url', 'format'] }
  )
  .chain(item => fc.dictionary(fc.string(), fc.jsonValue()).map(more => ({ ...more, ...item })))

describe('a configuration of the stock plugin', () => {
  it('is valid, whatever it holds', () => {
    const names = fc.constantFrom('name', 'status', 'disabled', 'limits', 'other')
    const foreign = fc.dictionary(names, fc.jsonValue())
    const item = fc.tuple(foreign, stockItem).map(([more, stock]) => ({ ...more, ...stock }))
    fc.assert(
      fc.property(fc.record({ hooks: fc.array(item) }), foreign, (configuration, more) => {
        expect(validate({ ...more, ...configuration })).toEqual({ isValid: true, logged: [] })
        const { settings, problems } = readConfig({ ...more, ...configuration }, METHODS)
        const enabled = configuration.hooks.filter(hook => !('disabled' in hook) || hook.disabled !== true)
        const withProblems = new Set(problems.map(({ path }) => path.split('.', 1)[0]))
        expect(settings.hooks.filter(isActive).length + withProblems.size).toBe(enabled.length)
        expect(settings.hooks.length + settings.others.length).toBe(configuration.hooks.length)
      }),
      { seed: 8 }
    )
  })

  it('gives every hook with a URL', () => {
    const item = fc.tuple(stockItem, fc.webUrl()).map(([stock, url]) => {
      const { method, type, format, waitForResponse } = stock
      return { method, type, format, url, ...(waitForResponse !== undefined && { waitForResponse }) }
    })
    fc.assert(
      fc.property(fc.array(item), items => {
        const hooks = hooksOf(...items)
        expect(hooks.map(({ phases }) => phases.join('/'))).toEqual(items.map(({ type }) => type))
        expect(hooks.map(({ format }) => format)).toEqual(items.map(({ format }) => format))
        expect(hooks.map(({ methods }) => methods.include)).toEqual(items.map(({ method }) => [method]))
        expect(hooks.map(hook => hook.route.endpoint.url)).toEqual(items.map(({ url }) => new URL(url).href))
        expect(hooks.map(hook => hook.waitForResponse)).toEqual(items.map(each => each.waitForResponse ?? false))
        expect(hooks.map(({ status }) => status)).toEqual(items.map(() => 'any'))
      }),
      { seed: 8 }
    )
  })
})

describe('the schema that the host validates with', () => {
  it.each<[string, unknown]>([
    ['nothing', {}],
    ['null', { hooks: null }],
    ['no hooks', { hooks: [] }],
    ['a hook not filled in yet', { hooks: [null, itemOf()] }],
    ['an empty hook', { hooks: [{}] }],
    ['empty fields', { hooks: [{ method: '', type: '', url: '', format: '', name: '', status: '' }] }],
    [
      'null fields',
      { hooks: [{ method: null, type: null, url: null, format: null, name: null, status: null, limits: null }] },
    ],
    ['null in a group', { hooks: [itemOf({ limits: { timeout: null } })] }],
    ['choices that are gone', { hooks: [itemOf({ method: 'no.more', type: 'x', format: 'y', status: 'z' })] }],
    ['numbers out of range', { hooks: [itemOf({ limits: { timeout: -1 } })] }],
    ['fields of a later version', { hooks: [itemOf({ later: { on: true } })], later: 1 }],
  ])('accepts %s and logs nothing', (_, configuration) => {
    expect(validate(configuration)).toEqual({ isValid: true, logged: [] })
  })

  it.each<[string, unknown]>([
    ['hooks that are no list', { hooks: { 0: itemOf() } }],
    ['a hook that is no object', { hooks: ['vm.start'] }],
    ['a list', []],
  ])('refuses %s, as the stock one', (_, configuration) => {
    expect(validate(configuration).isValid).toBe(false)
  })

  it('changes nothing of a configuration', () => {
    const configuration = { hooks: [{}, itemOf({ limits: {} })] }
    const before = structuredClone(configuration)
    expect(isValid(configuration)).toBe(true)
    expect(configuration).toEqual(before)
  })
})

describe('the schema that the form gets', () => {
  interface Field {
    type?: string
    properties?: Record<string, Field>
    items?: Field
    enum?: string[]
    enumNames?: string[]
    default?: unknown
    defaults?: string[]
    required?: string[]
    [key: string]: unknown
  }

  const form = JSON.parse(JSON.stringify(configSchema(METHODS))) as Field
  const item = form.properties?.['hooks']?.items ?? {}

  function allFields(field: Field, path = ''): [string, Field][] {
    const children = Object.entries(field.properties ?? {}).flatMap(([key, child]) =>
      allFields(child, `${path}.${key}`)
    )
    return [[path, field], ...children, ...(field.items ? allFields(field.items, `${path}[]`) : [])]
  }

  it.each(allFields(form))('renders its field "%s"', (_, field) => {
    expect(['array', 'boolean', 'integer', 'number', 'object', 'string']).toContain(field.type)
    expect(Object.keys(field)).not.toContain('format')
    expect(field.enumNames?.length).toBe(field.enumNames && field.enum?.length)
    expect(Object.keys(field.properties ?? {})).toEqual(expect.arrayContaining(field.required ?? []))
    // the form shows a boolean that defaults to true as off
    expect(field.type === 'boolean' ? field.default : undefined).toBeUndefined()
    if (field.enum !== undefined && field.default !== undefined) {
      expect(field.enum).toContain(field.default)
    }
  })

  it('titles every field of a hook, and describes it', () => {
    for (const [path, { title, description }] of allFields(item).slice(1)) {
      expect([path, title]).toEqual([path, expect.any(String)])
      expect([path, description]).toEqual([path, expect.any(String)])
    }
  })

  it('has the fields of a hook in this order', () => {
    const waiting = ['waitForResponse', 'mayRefuse', 'refuseWhenSilent']
    const names = ['name', 'method', 'type', 'status', 'url', 'format', 'target', ...waiting, 'disabled']
    const groups = ['authentication', 'tls', 'content', 'limits']
    expect(Object.keys(item.properties ?? {})).toEqual([...names, ...groups])
  })

  it('suggests everything, the methods and their namespaces', () => {
    const events = hookableEvents.map(({ name }) => name)
    const namespaces = events.map(name => `${name.split('.')[0]}.*`)
    const offered = item.properties?.['method']?.defaults ?? []
    const marked = offered.map((text, place) => (text.endsWith(' (event)') ? place : -1)).filter(place => place > 0)
    // right after `*`, one after the other
    expect(marked).toEqual(marked.map((_, place) => place + 1))
    expect(marked.length).toBeGreaterThan(20)
    const defaults = offered.map(text => text.replace(' (event)', ''))
    expect(defaults).toEqual(expect.arrayContaining([...events, ...namespaces]))
    expect(new Set(defaults).size).toBe(defaults?.length)
    expect(defaults).toEqual(expect.arrayContaining(['*', 'vm.*', 'vm.start', 'vm.stop']))
    const others = defaults?.filter(name => ![...events, ...namespaces].includes(name))
    expect(others).toEqual(['*', 'hub.*', 'hub.recipe.create', 'test'])
    expect(item.properties?.['method']?.enum).toBeUndefined()
  })

  it('offers every format by its title', () => {
    const { enum: names, enumNames } = item.properties?.['format'] ?? {}
    expect(names).toEqual([...formats.keys()])
    expect(enumNames).toEqual([...formats.values()].map(({ title }) => title))
  })
})

describe('the presets', () => {
  it.each(Object.entries(configPresets))('"%s" lacks a URL and nothing else', (_, preset) => {
    const { hooks } = preset as { hooks: Record<string, unknown>[] }
    expect(validate(preset)).toEqual({ isValid: true, logged: [] })
    expect(readConfig(preset).problems.map(({ path }) => path)).toEqual(hooks.map((_, i) => `hooks[${i}].url`))
    expect(hooksOf(...hooks.map(hook => ({ ...hook, url: 'http://a' })))).toHaveLength(hooks.length)
  })
})

describe('a hook', () => {
  it('is read in full', () => {
    const fields = {
      name: ' Inventory ',
      method: 'vm.*, !vm.set',
      type: 'pre/post',
      status: 'failure',
      url: ' https://hooks.example.org/x?y=1 ',
      waitForResponse: true,
      limits: { timeout: 2.5 },
    }
    expect(hookOf(fields)).toMatchObject({
      name: 'Inventory',
      methods: { include: ['vm.*'], exclude: ['vm.set'] },
      phases: ['pre', 'post'],
      status: 'failure',
      format: 'json',
      waitForResponse: true,
      includeObject: false,
      route: { endpoint: { url: 'https://hooks.example.org/x?y=1', headers: [] }, timeoutMs: 2500 },
    })
  })

  it.each([
    ['nothing', {}],
    [
      'null',
      { type: null, format: null, status: null, name: null, waitForResponse: null, disabled: null, limits: null },
    ],
    ['an empty text', { type: '', format: '', status: '', name: '' }],
    ['an empty group', { limits: {} }],
    ['null in a group', { limits: { timeout: null } }],
  ])('has defaults for %s', (_, fields) => {
    const [hook] = hooksOf({ method: 'vm.start', url: 'http://hooks.example.org', ...fields })
    expect(hook).toMatchObject({
      name: 'vm.start',
      phases: ['post'],
      status: 'any',
      format: 'json',
      waitForResponse: false,
      route: { timeoutMs: 10_000 },
    })
  })

  it('that is disabled is paused, without a word', () => {
    const { settings, problems, warnings } = readConfig({
      hooks: [itemOf({ disabled: true, format: 'office365' }), itemOf({ disabled: false })],
    })
    expect(settings.hooks.map(isActive)).toEqual([false, true])
    expect(settings.hooks[0]?.route).toMatchObject({ endpoint: { url: 'https://hooks.example.org/x' }, isPaused: true })
    expect([settings.others, problems, warnings]).toEqual([[], [], []])
  })

  it.each<[string, Record<string, unknown>, number]>([
    ['disabled, which is no problem', { disabled: true, url: '' }, 0],
    ['wrong', { url: '' }, 1],
    ['empty', { method: null, url: null }, 2],
  ])('that cannot be used and is %s keeps its identity, so that what waits for it is kept', (_, fields, count) => {
    const items = (broken: Record<string, unknown>) => ({
      hooks: [itemOf({ name: 'A' }), null, itemOf({ name: 'B', ...broken })],
    })
    const { settings, problems } = readConfig(items(fields))
    const before = readConfig(items({})).settings.hooks
    expect(settings.hooks.map(({ name }) => name)).toEqual(['A'])
    expect(settings.others).toEqual([
      {
        id: before[1]?.id,
        name: 'B',
        format: 'json',
        includeObject: false,
        route: {
          endpoint: { id: expect.any(String), url: 'http://unusable.invalid/', headers: [] },
          timeoutMs: 10_000,
          isPaused: true,
        },
      },
    ])
    expect(problems).toHaveLength(count)
  })

  it('that has the secrets of another one, because xo-server stopped before it had saved its own, is left out', () => {
    const item = itemOf({ authentication: { authorization: 'bearer', token: 'its-own' } })
    const right = { hooks: [item] }
    const wrong = { hooks: [{ ...item, authentication: { authorization: 'bearer', token: 'of-another' } }] }
    const { hooks } = readConfig(right).settings
    const known = knownOf(right, [hooks[0]!.id], 'a fixed key', hooks)
    expect(readConfig(right, undefined, known)).toMatchObject({ settings: { hooks, others: [] }, problems: [] })

    const { settings, problems } = readConfig(wrong, undefined, known)
    expect([settings.hooks, settings.others.map(({ id }) => id)]).toEqual([[], [hooks[0]!.id]])
    expect(problems.map(describeProblem)).toEqual([
      'hooks[0] (hook 1 "vm.start"): expected its own secrets, typed again (xo-server stopped before it had saved them), got those of another hook',
    ])
    const settled = knownOf(wrong, [hooks[0]!.id], 'a fixed key')
    expect(readConfig(wrong, undefined, settled).settings.hooks).toHaveLength(1)
  })

  it.each<[unknown]>([[undefined], [null], [{}], [{ hooks: null }], [{ hooks: [] }], [{ hooks: [null, undefined] }]])(
    'is not to be found in %j',
    raw => {
      expect(readConfig(raw)).toEqual({
        settings: { hooks: [], others: [], notify: [], instance: {} },
        problems: [],
        warnings: [],
      })
    }
  )

  it('in a format that is retired gives a warning that names it', () => {
    const { settings, warnings } = readConfig({ hooks: [itemOf(), itemOf({ name: 'Old', format: 'office365' })] })
    expect(settings.hooks).toHaveLength(2)
    expect(warnings).toEqual([expect.stringMatching(/^hooks\[1\] \(Old\): Microsoft has retired/)])
  })
})

describe('the credentials of a URL', () => {
  it.each([
    ['https://alice:s3cret@hooks.example.org/x', 'alice:s3cret'],
    ['https://alice@hooks.example.org/x', 'alice:'],
    ['https://:s3cret@hooks.example.org/x', ':s3cret'],
    ['https://al%69ce:s%3A%C3%A9@hooks.example.org/x', 'alice:s:é'],
    ['https://alice:100%@hooks.example.org/x', 'alice:100%'],
    ['https://alice:%ff@hooks.example.org/x', 'alice:%ff'],
  ])('go from %s into a header', (url, credentials) => {
    const { endpoint } = hookOf({ url }).route
    expect(endpoint.url).toBe('https://hooks.example.org/x')
    expect(endpoint.headers).toEqual(['Authorization', `Basic ${Buffer.from(credentials).toString('base64')}`])
  })
})

describe('what is wrong with a hook', () => {
  it.each<[Record<string, unknown>, string, string, string]>([
    [{ url: '' }, 'url', 'an http:// or https:// URL', 'nothing'],
    [{ url: null }, 'url', 'an http:// or https:// URL', 'nothing'],
    [{ url: 'example' }, 'url', 'an http:// or https:// URL', '"example"'],
    [{ url: 'ftp://example.org' }, 'url', 'an http:// or https:// URL', '"ftp://example.org"'],
    [{ url: 'localhost:8080' }, 'url', 'an http:// or https:// URL', '"localhost:8080"'],
    [
      { method: '' },
      'method',
      'the name of an API method or event, like "vm.start", or a pattern, like "vm.*"',
      'nothing',
    ],
    [
      { method: '!vm.set' },
      'method',
      'the name of an API method or event, like "vm.start", or a pattern, like "vm.*"',
      '"!vm.set"',
    ],
    [
      { method: 'vm.start vm.strat' },
      'method',
      'names or patterns of API methods and events that exist: did you mean "vm.start"?',
      '"vm.strat"',
    ],
    [
      { method: 'vm.* !vmx.*' },
      'method',
      'names or patterns of API methods and events that exist: did you mean "vm.*"?',
      '"vmx.*"',
    ],
    [
      { method: 'VM.Start qqqqqq vm.strated' },
      'method',
      'names or patterns of API methods and events that exist: did you mean "vm.start"?: did you mean "vm.started"?',
      '"VM.Start", "qqqqqq", "vm.strated"',
    ],
    [
      // each of them would be compared with each method that there is
      { method: 'vm.start '.repeat(2_001) },
      'method',
      'at most 2000 names and patterns',
      '2001',
    ],
    [
      { method: 'rumpelstiltskin '.repeat(2_000) },
      'method',
      'names or patterns of API methods and events that exist',
      Array.from({ length: 10 }, () => '"rumpelstiltskin"').join(', '),
    ],
    [
      { method: 'vm.started', type: 'pre' },
      'type',
      '"post": its events have no "pre" (vm.started), so that nothing would ever be sent',
      '"pre"',
    ],
    [
      { method: 'vm.started vm.halted', status: 'failure' },
      'status',
      '"any" or "success": its events never fail (vm.started, vm.halted), so that nothing would ever be sent',
      '"failure"',
    ],
    [
      { waitForResponse: true },
      'waitForResponse',
      'no tick, or the type "pre" or "pre/post": nothing waits for a "post"',
      'a tick, with the type "post"',
    ],
    [
      { mayRefuse: true },
      'mayRefuse',
      'no tick, or the type "pre" or "pre/post": nothing waits for a "post"',
      'a tick, with the type "post"',
    ],
    [{ refuseWhenSilent: true }, 'refuseWhenSilent', 'no tick, or one at "May refuse", too', 'a tick'],
    [
      { type: 'pre', mayRefuse: true, method: 'rest.doThis' },
      'method',
      'an API method or a backup run, as the hook may refuse',
      'only what cannot be held: states, what only the REST API does, what signs in or mends hooks',
    ],
    [
      { type: 'pre', mayRefuse: true, format: 'slack', url: 'https://hooks.slack.com/services/T/B/x' },
      'format',
      'one whose receiver can refuse, like "json"',
      "a service's",
    ],
    [
      { content: { filter: 'userName:bob objct:tags:x' } },
      'content.filter',
      `a search for what events have: ${[...EVENT_FIELDS].join(', ')}`,
      'one for "objct"',
    ],
    [{ type: 'during' }, 'type', 'one of "pre", "post", "pre/post"', '"during"'],
    [{ type: 'constructor' }, 'type', 'one of "pre", "post", "pre/post"', '"constructor"'],
    [{ status: 'ok' }, 'status', 'one of "any", "success", "failure"', '"ok"'],
    [{ format: 'xml' }, 'format', `one of ${[...formats.keys()].map(name => `"${name}"`).join(', ')}`, '"xml"'],
    [{ limits: { timeout: 0 } }, 'limits.timeout', 'seconds, more than 0 and at most 60', '0'],
    [{ limits: { timeout: -1 } }, 'limits.timeout', 'seconds, more than 0 and at most 60', '-1'],
    [{ limits: { timeout: 60.1 } }, 'limits.timeout', 'seconds, more than 0 and at most 60', '60.1'],
    [{ limits: { timeout: '5' } }, 'limits.timeout', 'a value of type number', 'one of type string'],
    [{ limits: 5 }, 'limits', 'a value of type object', 'one of type number'],
    [{ name: 5 }, 'name', 'a value of type string', 'one of type number'],
    [{ disabled: 'yes' }, 'disabled', 'a value of type boolean', 'one of type string'],
    [{ url: ['https://hooks.example.org/s3cret'] }, 'url', 'a value of type string', 'one of type object'],
  ])('%j is one problem, and its neighbours stay', (fields, path, expected, got) => {
    const items = [itemOf({ name: 'before' }), itemOf(fields), null, itemOf({ name: 'after' })]
    const { settings, problems } = readConfig({ hooks: items }, METHODS)
    expect(problems).toMatchObject([{ path: `hooks[1].${path}`, expected, got }])
    expect(settings.hooks.map(({ name }) => name)).toEqual(['before', 'after'])
  })

  it.each([
    [
      { name: 'Inventory', url: 'x' },
      'hooks[0].url (hook 1 "Inventory"): expected an http:// or https:// URL, got "x"',
    ],
    [{ url: 'x' }, 'hooks[0].url (hook 1 "vm.start"): expected an http:// or https:// URL, got "x"'],
    [
      { method: '' },
      'hooks[0].method (hook 1): expected the name of an API method or event, like "vm.start", or a pattern, like "vm.*", got nothing',
    ],
  ])('%j is told in one sentence', (fields, text) => {
    expect(readConfig({ hooks: [itemOf(fields)] }).problems.map(describeProblem)).toEqual([text])
  })

  it('is not that its method is unknown, at boot, when some methods are', () => {
    expect(hookOf({ method: 'later.registered' }).methods.include).toEqual(['later.registered'])
  })

  it.each([
    'ftp://hooks.example.org/s3cret?token=s3cret',
    'hooks.example.org/s3cret',
    'hooks.example.org\\s3cret',
    'hooks.example.org?s3cret',
    'hooks.example.org:8080/s3cret',
    'alice:s3cret@hooks.example.org',
    'ftp://s3cret@hooks.example.org',
    'http://alice:s3cret@',
    'http://alice:s3cret@hooks.example.org:99999/s3cret',
    'http://hooks.example.org:99999/s3cret#s3cret',
    'https://hooks example.org/s3cret',
    'mailto:s3cret',
    'data:s3cret',
    'git+ssh://hooks.example.org/s3cret',
    '//s3cret@hooks.example.org',
    '/s3cret',
    '?s3cret',
    '#s3cret',
    '/s3cret @',
  ])('is told without the secrets of %s', url => {
    const { problems } = readConfig({ hooks: [itemOf({ url })] })
    expect(problems).toHaveLength(1)
    expect(JSON.stringify(problems) + problems.map(describeProblem).join()).not.toContain('s3cret')
  })
})

describe("an endpoint's id", () => {
  const idOf = (fields?: Record<string, unknown>): string => hookOf(fields).route.endpoint.id

  it('is the same for two hooks that send to the same place, whatever else differs', () => {
    const other = { name: 'B', method: 'vm.stop', format: 'office365', limits: { timeout: 3, disableAfter: 5 } }
    expect(idOf({ ...other, disabled: true })).toBe(idOf())
  })

  it.each([{ url: 'https://hooks.example.org/y' }, { url: 'https://alice@hooks.example.org/x' }])(
    'is another with %j',
    fields => {
      expect(idOf(fields)).not.toBe(idOf())
    }
  )

  it('tells nothing to whoever does not have the key', () => {
    const raw = { hooks: [itemOf({ url: 'https://alice:s3cret@hooks.example.org/s3cret' })] }
    const ids = ['one key', 'another'].map(
      key => readConfig(raw, undefined, { key, hooks: [] }).settings.hooks[0]!.route.endpoint.id
    )
    expect(ids).toEqual([expect.stringMatching(/^[\w-]{16}$/), expect.stringMatching(/^[\w-]{16}$/)])
    expect(ids[0]).not.toBe(ids[1])
  })
})

describe('settings', () => {
  it('are plain data', () => {
    const all = { name: 'A', authentication: { passphrase: 'a b' }, tls: { acceptAnyCertificate: true } }
    const { settings } = readConfig({
      hooks: [itemOf({ ...all, content: { filter: 'a:b' } }), itemOf({ url: '' }), itemOf({ disabled: true })],
      notify: ['me@example.org'],
    })
    expect(structuredClone(settings)).toEqual(settings)
    expect(settings.hooks[0]?.filter).toBe('a:b')
    expect(settings.hooks[0]?.route.endpoint.secrets).toBe('a b')
  })

  it('of a thousand hooks with secrets take little longer than without', () => {
    const hooks = Array.from(
      { length: 1000 },
      (_, n) =>
        itemOf({
          name: `hook ${n}`,
          url: `https://hooks.example.org/${n}`,
          authentication: { authorization: 'bearer', token: `token-${n}`, passphrase: `secret-${n}` },
        }),
      { seed: 8 }
    )
    const timeOf = (items: unknown[]): number => {
      const before = process.cpuUsage()
      expect(readConfig({ hooks: items }).settings.hooks).toHaveLength(1000)
      return process.cpuUsage(before).user / 1000
    }
    timeOf(hooks) // warm
    const without = timeOf(hooks.map(hook => ({ ...hook, authentication: {} })))
    // one stretched digest each would cost seconds
    expect(timeOf(hooks) - without).toBeLessThan(1000)
  })
})
