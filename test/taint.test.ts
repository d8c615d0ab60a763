import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'

import { expect, it, onTestFinished, vi } from 'vitest'

import { makeCertificate } from './helpers/certificate.ts'
import {
  call,
  clientOf,
  openReceiver,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
  wholeLog,
  eventually,
} from './helpers/running-plugin.ts'
import { readJournal, Taint } from './helpers/taint.ts'
import type { Params } from './sandbox/config.ts'
import { OBFUSCATED_VALUE } from './sandbox/plugins.ts'
import type { Received } from './sandbox/receiver.ts'

/** What an API client gets to see of a failure. */
async function errorOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => '',
    (error: Error & { data?: unknown }) =>
      inspect([error.message, error.data, error], { depth: 20, maxStringLength: null })
  )
}

/** Says again all that it was asked, in words and in headers. */
function echo(status: number): (request: Received) => object {
  return ({ url, headers, body }) => ({
    status,
    headers: {
      'X-Echo': `${url} ${headers.authorization}`,
      'WWW-Authenticate': `Basic realm="${headers.authorization}"`,
    },
    body: `Cannot POST ${url} with ${JSON.stringify(headers)}: ${body}`,
  })
}

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

async function makeDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'taint-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

it('what is secret in the configuration is told to its receivers, and to nobody else', async () => {
  const output: string[] = []
  for (const stream of [process.stdout, process.stderr]) {
    vi.spyOn(stream, 'write').mockImplementation(chunk => {
      output.push(String(chunk))
      return true
    })
  }
  onTestFinished(() => {
    vi.restoreAllMocks()
  })
  const taint = new Taint()
  const datadir = await makeDirectory()
  const sandbox = await startPlugin({ config: { datadir } })
  const mails: unknown[] = []
  sandbox.host.defineProperty('sendEmail', (mail: unknown) => mails.push(mail))
  const good = await openReceiver(echo(200))
  const bad = await openReceiver(echo(500))
  const gone = await openReceiver(echo(410))
  const cut = await openReceiver(() => undefined)
  const services = await openReceiver(echo(500))
  const { cert: certificate, keyPem } = makeCertificate('client.example')
  const keyMarker = keyPem.split('\n')[1] ?? ''

  const shared = (name: string): Params => ({ name, method: 'vm.start', type: 'post', format: 'json' })
  const addressOf = (name: string, origin: string): string =>
    `${origin}/${taint.plant(`${name}: path`)}?key=${taint.plant(`${name}: query`)}`
  const withUserInfo = (name: string, url: string): string =>
    url.replace('://', `://${taint.plant(`${name}: URL user`)}:${taint.plant(`${name}: URL password`)}@`)
  const authentication = (name: string): Params => ({
    authorization: 'bearer',
    token: taint.plant(`${name}: token`),
    passphrase: taint.plant(`${name}: passphrase`),
    headers: `X-Api-Key: ${taint.plant(`${name}: header`)}`,
  })
  const hooks: Params[] = [
    { ...shared('user-info'), url: withUserInfo('user-info', addressOf('user-info', good.url)) },
    { ...shared('bearer'), url: addressOf('bearer', good.url), authentication: authentication('bearer') },
    {
      ...shared('basic'),
      url: addressOf('basic', good.url),
      authentication: {
        authorization: 'basic',
        user: taint.plant('basic: user'),
        password: taint.plant('basic: password'),
      },
    },
    {
      ...shared('base64'),
      format: 'office365',
      url: addressOf('base64', good.url),
      authentication: { authorization: 'bearer-base64', token: taint.plant('base64: token') },
    },
    ...[
      ['500', bad.url],
      ['410', gone.url],
      ['cut', cut.url],
      ['refused', `http://127.0.0.1:${await closedPort()}`],
      ['no TLS', good.url.replace('http:', 'https:')],
      ['unknown', 'http://no-such-host.invalid'],
    ].map(([name = '', origin = '']) => ({
      ...shared(name),
      url: addressOf(name, origin),
      authentication: authentication(name),
      limits: { disableAfter: 1 },
      ...(name === 'no TLS' && { tls: { certificate, encryptionKey: keyPem } }),
    })),
    // tokens that formats put elsewhere, and one that stands for itself in a header
    ...['pagerduty', 'pushover', 'gotify', 'template'].map(format => ({
      ...shared(format),
      format,
      url: `${services.url}/${format}/message`,
      content: { template: 'x' },
      ...(format === 'pushover' && { target: 'uQiRzpo4DXghDmr9QzzfQu27cmVRsG' }),
      authentication: {
        token: taint.plant(`${format}: token`),
        ...(format === 'template' && { headers: 'X-Api-Key: {{token}}' }),
      },
    })),
  ]
  await sandbox.configure({ hooks, notify: ['admin@example.org'] })
  const client = await clientOf(sandbox)

  await call(sandbox, 'vm.start', { id: 'no such VM' }).catch(() => {})
  await eventually(() => expect(mails).toHaveLength(6))
  await eventually(() => expect(good.requests).toHaveLength(4))
  const told = [...good.requests, ...bad.requests, ...gone.requests, ...cut.requests]
  const sent = told.map(({ url, headers }) => `${url} ${JSON.stringify(headers)}`).join('\n')

  // where it is meant to be
  expect(taint.in(sent).sort()).toEqual(
    [
      ...['user-info', 'bearer', 'basic', 'base64', '500', '410', 'cut'].flatMap(name => [
        `${name}: path`,
        `${name}: query`,
      ]),
      ...['bearer', '500', '410', 'cut'].flatMap(name => [`${name}: token`, `${name}: header`]),
      ...['basic: user', 'basic: password', 'base64: token', 'user-info: URL user', 'user-info: URL password'],
    ].sort()
  )
  expect(told.filter(({ headers }) => headers['webhook-signature'] !== undefined)).toHaveLength(4)
  await eventually(() => expect(new Set(services.requests.map(({ url }) => url)).size).toBe(4))
  const placeOf = (format: string): (string | string[])[] => {
    const { headers, body } = services.requests.find(({ url }) => url.startsWith(`/${format}/`))!
    return [taint.in(JSON.stringify(headers)), taint.in(body)]
  }
  expect(
    Object.fromEntries(['pagerduty', 'pushover', 'gotify', 'template'].map(name => [name, placeOf(name)]))
  ).toEqual({
    pagerduty: [[], ['pagerduty: token']],
    pushover: [[], ['pushover: token']],
    gotify: [['gotify: token'], []],
    template: [['template: token'], []],
  })

  // what is answered to those who use the API
  const answers: string[] = [await errorOf(client.call('plugin.test', { id: PLUGIN_ID }))]
  expect(answers[0]).toContain('test requests failed')
  const [first = {}, second = {}] = hooks
  const refused: unknown[] = [
    { hooks: [{ ...first, url: `ftp://${taint.plant('bad: user')}@h/${taint.plant('bad: path')}` }] },
    { hooks: [{ ...first, url: taint.plant('bad: no URL at all').replace('taint', 'https//:taint/') }] },
    { hooks: [{ ...second, url: withUserInfo('twice', String(second['url'])) }] },
    ...['authorization', 'headers'].map(key => ({
      hooks: [
        { ...second, authentication: { authorization: 'bearer', token: 'x', [key]: taint.plant(`bad: ${key}`) } },
      ],
    })),
    { hooks: [{ ...second, authentication: { authorization: 'bearer', token: `${taint.plant('bad: token')} ü` } }] },
    { hooks: [{ ...second, authentication: { passphrase: `whsk_${taint.plant('bad: passphrase')}` } }] },
    { hooks: [{ ...second, authentication: { authorization: 'basic', user: `${taint.plant('bad: user')}:` } }] },
    { hooks: [{ ...second, tls: { certificate, encryptionKey: taint.plant('bad: key') } }] },
    { hooks: [{ ...second, tls: { ca: taint.plant('bad: ca') } }] },
    // secrets that would go to another origin than the one that they were saved for
    {
      hooks: hooks.slice(3).map((hook, index) => ({
        ...hook,
        url: `https://${index}.example/${taint.plant(`bad: other origin ${index}`)}`,
        authentication: { authorization: 'bearer', token: OBFUSCATED_VALUE },
      })),
    },
  ]
  for (const configuration of refused) {
    const answer = await errorOf(client.call('plugin.configure', { id: PLUGIN_ID, configuration }))
    expect(answer).toContain('expected')
    answers.push(answer)
  }
  const [plugin] = (await client.call('plugin.get')) as [{ configuration: { hooks: object[] } }]
  const shown = JSON.stringify(plugin)
  expect(taint.in(shown).filter(place => /token|password|passphrase/.test(place))).toEqual(['user-info: URL password'])
  // the first is removed: its neighbours arrive with the secrets of others, and get their own again
  const configuration = { ...plugin.configuration, hooks: plugin.configuration.hooks.slice(1) }
  await client.call('plugin.configure', { id: PLUGIN_ID, configuration })
  expect(pluginLog('info').join('\n')).toContain('has its own secret again')

  await sandbox.plugins.unload(PLUGIN_ID)
  const bodies = told.map(({ body }) => body).join('\n')
  expect(bodies).toContain('no such VM')
  const { records, files } = await readJournal(datadir)
  expect(records).toContain('Cannot POST')
  for (const [place, text] of Object.entries({
    answers: answers.join('\n'),
    bodies,
    files,
    log: wholeLog().join('\n'),
    mails: inspect(mails, { depth: 20, maxStringLength: null }),
    output: output.join('\n'),
    records,
  })) {
    expect([place, taint.in(text)]).toEqual([place, []])
    expect([place, text.includes(keyMarker)]).toEqual([place, false])
  }
  expect(pluginLog('warn').join('\n')).toContain('is disabled')
})

it('what is secret in calls is in no body, log or journal', async () => {
  const taint = new Taint()
  const datadir = await makeDirectory()
  const sandbox = await startPlugin({ config: { datadir } })
  const receiver = await openReceiver(echo(200))
  const dead = `http://127.0.0.1:${await closedPort()}/`
  const hookOf = (format: string, url: string): Params => ({ name: format, method: '*', type: 'pre/post', format, url })
  await sandbox.configure({
    hooks: [hookOf('json', receiver.url), hookOf('office365', `${receiver.url}/2`), hookOf('json', dead)],
  })

  const secretOf = (place: string): string => taint.plant(place)
  const results: Readonly<Record<string, unknown>> = {
    'token.create': secretOf('token.create'),
    'user.getAuthenticationTokens': [{ id: secretOf('user.getAuthenticationTokens') }],
    'user.getAll': [{ id: 'u', preferences: { otp: secretOf('otp') } }],
    'proxy.getAll': [{ id: 'p', url: `https://${secretOf('proxy.getAll')}@192.0.2.1/` }],
    'vm.export': { $getFrom: `/api/${secretOf('$getFrom')}` },
    'vm.import': { $sendTo: `/api/${secretOf('$sendTo')}` },
    'test.oddResult': { size: 1n, stream: { pipe() {} }, token: secretOf('beside a stream') },
    'vm.getCloudInitConfig': `#cloud-config\npassword: ${secretOf('vm.getCloudInitConfig')}`,
    'cloudConfig.getAll': [{ template: secretOf('cloudConfig.getAll') }],
  }
  const params: Readonly<Record<string, Params>> = {
    'token.delete': { tokens: [secretOf('token.delete')] },
    'token.set': { id: secretOf('token.set') },
    'user.set': { id: 'u', preferences: { otp: secretOf('user.set') } },
    'plugin.configure': { id: 'x', configuration: { webhookUri: `https://h/${secretOf('plugin.configure')}` } },
    'remote.create': {
      url: `smb://bob:${secretOf('remote.create')}/@D\\\\host`,
      options: `password=${secretOf('options')}`,
    },
    'remote.set': { url: `nfs://h:/x?encryptionKey=%22${secretOf('encryptionKey')}%22` },
    'proxy.register': { authenticationToken: secretOf('proxy.register') },
    'vm.create': { cloudConfig: secretOf('vm.create'), networkConfig: secretOf('networkConfig') },
    'host.installCertificate': {
      privateKey: secretOf('privateKey'),
      pem: `-----BEGIN PRIVATE KEY-----\n${secretOf('PEM')}`,
    },
    'session.signIn': { otp: secretOf('one-time password'), password: secretOf('password') },
  }
  const undo = Object.keys({ ...results, ...params }).map(method => {
    const remove = method in sandbox.host.apiMethods ? replaced(sandbox.host.apiMethods, method) : () => {}
    const undoAdd = sandbox.host.addApiMethod(method, ((given: Params) => {
      if (method in results) {
        return results[method]
      }
      // an error that says again what it was given, as many do
      throw Object.assign(new Error(`no: ${String(given['url'])}`), { data: given, call: { method, params: [given] } })
    }) as never)
    return () => {
      undoAdd()
      remove()
    }
  })
  onTestFinished(() => undo.forEach(each => each()))
  for (const method of Object.keys(undo.length > 0 ? { ...results, ...params } : {})) {
    await call(sandbox, method, params[method] ?? {}).catch(() => {})
  }
  const count = 4 * Object.keys({ ...results, ...params }).length
  // hooks hear of the dead endpoint of another one
  const ofCalls = (): readonly unknown[] =>
    receiver.requests.filter(({ headers }) => headers['x-xo-event'] !== 'web-hooks.endpointFailing')
  await eventually(() => expect(ofCalls()).toHaveLength(count))
  await sandbox.plugins.unload(PLUGIN_ID)

  const { records, files } = await readJournal(datadir)
  const bodies = receiver.requests.map(({ body }) => body).join('\n')
  expect(bodies.split('* obfuscated *').length).toBeGreaterThan(count / 4)
  expect(taint.in(bodies)).toEqual([])
  expect(taint.in(pluginLog().join('\n'))).toEqual([])
  expect(taint.in(records)).toEqual([])
  expect(taint.in(files)).toEqual([])
})

function replaced(methods: Record<string, unknown>, name: string): () => void {
  const before = Object.getOwnPropertyDescriptor(methods, name)
  delete methods[name]
  return () => {
    if (before !== undefined) {
      Object.defineProperty(methods, name, before)
    }
  }
}

it('the credentials of a proxy are told to it, and to nobody else', async () => {
  const taint = new Taint()
  const datadir = await makeDirectory()
  const proxy = `http://${taint.plant('user')}:${taint.plant('password')}@127.0.0.1:${await closedPort()}/`
  const sandbox = await startPlugin({ config: { datadir, httpProxy: proxy } })
  const hook = { name: 'h', method: 'vm.start', type: 'post', format: 'json', url: 'https://192.0.2.1/' }
  await sandbox.configure({ hooks: [hook] })
  const client = await clientOf(sandbox)
  const answer = await errorOf(client.call('plugin.test', { id: PLUGIN_ID }))
  expect(answer).toContain('failed')
  await call(sandbox, 'vm.start', { id: 'x' }).catch(() => {})
  await eventually(() => expect(wholeLog().join('\n')).toContain('the proxy fails'))
  sandbox.host.config.change({ httpProxy: `http//${taint.plant('no URL')}` })
  await sandbox.plugins.unload(PLUGIN_ID)

  const { records, files } = await readJournal(datadir)
  expect(taint.in([answer, ...wholeLog(), records, files].join('\n'))).toEqual([])
})
