import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'

import { expect, it, onTestFinished } from 'vitest'

import { readJournal, Taint } from './helpers/taint.ts'
import {
  call,
  clientOf,
  eventually,
  openReceiver,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
} from './helpers/running-plugin.ts'
import type { Params } from './sandbox/config.ts'

/** Something that holds a secret. */
type Shape = (secret: string) => unknown

const pem = (label: string) => (secret: string) => `-----BEGIN ${label}-----\n${secret}\n-----END ${label}-----\n`

/** Names that the lists have, or words of them. */
const NAMED: readonly Shape[] = [
  ...['password', 'oldPassword', 'root_password', 'passwd', 'passphrase', 'passcode', 'token', 'authenticationToken'],
  ...['refresh_token', 'encryptionKey', 'secret', 'clientSecret', 'aws_secret_access_key', 'apiKey', 'X-Api-Key'],
  ...['private_key', 'credentials', 'cookie', 'Set-Cookie', 'authorization', 'Proxy-Authorization', 'otp', 'totp'],
  ...['sessionId', '$getFrom', '$sendTo', 'cloudConfig', 'networkConfig', 'pwd', 'dbPass', 'SMTP_PASS', 'xoToken'],
].map(name => (secret: string) => ({ id: 'x', [name]: secret }))

/** What is known by where it stands, or by its looks. */
const SHAPED: readonly Shape[] = [
  secret => ({ credentials: { user: 'bob', list: [[secret]] } }),
  secret => ({ tokens: [{ id: secret, description: 'x' }] }),
  secret => ({ servers: [{ host: 'h', password: secret }, { host: 'i' }] }),
  secret => new Map([['token', secret]]),
  secret => ({ size: 1n, password: secret }),
  secret => `https://bob:${secret}@host.example/path`,
  secret => `https://${secret}@host.example/path`,
  secret => `https://bob:p/${secret}@host.example/path`,
  secret => `https://bob:p?${secret}#x@host.example/path`,
  secret => `s3://key:${secret}@s3.example/bucket`,
  secret => `s3+http://key:a/b+${secret}@minio:9000/bucket?useVhd=true`,
  secret => `smb://bob:${secret}@WORKGROUP\\\\host\\share`,
  secret => `nfs://host:/export?encryptionKey=%22${secret}%22`,
  secret => `postgres://xo:${secret}@db/xo`,
  secret => `redis://:${secret}@127.0.0.1:6379/0`,
  secret => `https://host.example/?a=b&access_token=${secret}`,
  secret => `https://host.example/cb#state=1&id_token=${secret}`,
  secret => `https://b.s3.example/o?X-Amz-Date=1&X-Amz-Signature=${secret}`,
  secret => `https://maps.example/js?key=${secret}`,
  secret => `https://a.blob.example/c?sv=1&sig=${secret}`,
  secret => `otpauth://totp/XO:bob?secret=${secret}&issuer=XO`,
  secret => `mount: //h/s -o username=bob,password=${secret},vers=3.0`,
  secret => `failed with {"user":"bob","password":"${secret}"}`,
  secret => JSON.stringify({ a: JSON.stringify({ token: secret }) }),
  secret => `Authorization: Bearer ${secret}`,
  secret => `curl -H 'X-Api-Key: ${secret}' https://h`,
  secret => `GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1; connect.sid=${secret}\r\n\r\n`,
  secret => `rejected: Bearer ${secret}`,
  secret => `Basic ${Buffer.from(`bob:${secret}`).toString('base64')}`,
  secret => `Server=h;Database=d;User Id=sa;Password=${secret};Encrypt=yes`,
  secret => `#cloud-config\nusers:\n  - name: bob\n    passwd: ${secret}\n`,
  secret => `#cloud-config\nchpasswd:\n  list: |\n    root:${secret}\n`,
  secret => `ssh_pwauth: true\npassword: ${secret} x\n`,
  pem('PRIVATE KEY'),
  pem('RSA PRIVATE KEY'),
  pem('OPENSSH PRIVATE KEY'),
  pem('ENCRYPTED PRIVATE KEY'),
  pem('PGP PRIVATE KEY BLOCK'),
  secret => `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0${secret}.${secret}`,
  secret => `<member><name>u</name></member><password>${secret}</password>`,
]

/** As other tools write them. */
const OF_TOOLS: readonly Shape[] = [
  secret => ({ auths: { 'r.example': { auth: Buffer.from(`bob:${secret}`).toString('base64') } } }),
  secret => `{"auths":{"r.example":{"auth":"${Buffer.from(`bob:${secret}`).toString('base64')}"}}}`,
  secret => `machine h.example login bob password ${secret}\n`,
  secret => `Authorization: Digest username="bob", realm="a b", response="${secret}", qop=auth`,
  secret => ({ rawHeaders: ['Host', 'h', 'X-Auth-Token', secret, 'Accept', '*/*'] }),
  secret => `env:\n  - name: DB_PASSWORD\n    value: ${secret}\n`,
  secret => `<add key="smtpPassword" value="${secret}"/>`,
  secret => ({ op: 'replace', path: '/settings/rootPassword', value: secret }),
  secret => ({ type: 'password', value: secret }),
  secret => ({ _csrf: secret, bindpw: secret }),
  secret => `xe -s h -u root -pw ${secret} vm-list`,
  secret => `smbclient //h/s -U bob%${secret}`,
  secret => `ldapsearch -x -D cn=bob -w ${secret}`,
  secret => `echo "root:${secret}" | chpasswd`,
  secret => `the password is ${secret}`,
  secret => `jdbc:oracle:thin:bob/${secret}@db:1521/x`,
]

/** What no list has. */
const UNLISTED: readonly Shape[] = [
  secret => ({ xyzKey: secret }),
  secret => ({ 'some-odd-thing-key': secret }),
  secret => ({ deeply: [{ nested: [[{ anotherKey: [secret] }]] }] }),
  secret => ({ MyOwnSecretThing: { inner: { value: secret } } }),
  secret => ({ theAccesstokenOfBob: secret }),
  secret => ({ name: 'password', value: secret }),
  secret => [
    { key: 'id', value: 1 },
    { key: 'X-Vault-Token', value: secret },
  ],
  secret => ({ field: 'smtpPassword', oldValue: secret, newValue: 'x' }),
  secret => ({ header: 'Authorization', content: `Bearer ${secret}` }),
  secret => ['password', secret],
  secret => Object.entries({ user: 'bob', clientSecret: secret }),
  secret => ['mount', '--password', secret, '/mnt'],
  secret => ['backup', `--encryption-key=${secret}`],
  secret => ({ command: `xe --password ${secret} vm-list` }),
  secret => `restic --repo r --password='${secret} x' backup`,
  secret => `sshpass -p ${secret} ssh root@h`,
  secret => `curl -sS -u bob:${secret} https://h/`,
  secret => `mysqldump -u root -p${secret} xo`,
  secret => `bob:${secret}@tcp(db:3306)/xo`,
  secret => `export VAULT_TOKEN=${secret}; vault status`,
  secret => `{ user: 'bob', oddPassword: '${secret}' }`,
  secret => `token => ${secret}`,
  secret => `wrong api key "${secret}"`,
  secret => `a:\n  aSecret: |\n    one\n    ${secret}\n  b: 1`,
  secret => `back to https%3A%2F%2Fbob%3A${secret}%40h%2F`,
  secret => `https://hooks.slack.com/services/T0/B0/${secret}`,
  secret => `https://discord.com/api/webhooks/1234/${secret}`,
  secret => `https://api.telegram.org/bot123456:${secret}/sendMessage`,
  secret => ({ [`https://bob:${secret}@h/`]: true }),
  secret => `postfix says {\\"sasl_password\\":\\"${secret}\\"}`,
]

/** What was hidden of the params, and is said again elsewhere. (What the host hides itself is known to nobody.) */
const ECHOES: readonly [what: string, echo: (secret: string) => unknown][] = [
  ['as it is', secret => secret],
  ['within words', secret => `no user with ${secret} here`],
  ['in a URL', secret => `/find?q=${encodeURIComponent(`a ${secret}`)}`],
  ['wholly percent-encoded', secret => Buffer.from(secret).toString('hex').replace(/../g, '%$&')],
  ['as units of JSON', secret => [...secret].map(char => `\\u00${char.charCodeAt(0).toString(16)}`).join('')],
  ['in HTML', secret => [...secret].map(char => `&#${char.charCodeAt(0)};`).join('')],
  ['in Base64', secret => `x ${Buffer.from(`user:${secret}:x`).toString('base64')} y`],
  ['as a name', secret => ({ [secret]: 1 })],
  ['deep', secret => [[{ a: [{ b: `(${secret})` }] }]]],
  ['in an error within', secret => ({ cause: new Error(`no ${secret}`) })],
]

it('300 secrets of calls, in params, results and errors, are in no body, log, report or journal', async () => {
  const taint = new Taint()
  const datadir = await mkdtemp(join(tmpdir(), 'taint-'))
  onTestFinished(() => rm(datadir, { recursive: true, force: true }))
  const sandbox = await startPlugin({ config: { datadir } })
  const receiver = await openReceiver(({ url, body }) => ({ status: 200, body: `${url}: ${body.slice(0, 1_500)}` }))
  const hookOf = (format: string, path: string): Params => ({
    name: format,
    method: '*',
    type: 'pre/post',
    format,
    url: `${receiver.url}/${path}`,
  })
  await sandbox.configure({ hooks: [hookOf('json', '1'), hookOf('office365', '2')] })

  interface Answer {
    readonly params: Params
    readonly result?: unknown
    readonly error?: Error
  }
  const calls = new Map<string, Answer>()
  const errorOf = (value: unknown): Error =>
    Object.assign(new Error(typeof value === 'string' ? `failed: ${value}` : 'failed'), { data: value })
  const shapes = [...NAMED, ...SHAPED, ...OF_TOOLS, ...UNLISTED]
  for (const [index, shape] of shapes.entries()) {
    const plant = (place: string): unknown => shape(taint.plant(`${place} ${index}: ${shape.toString()}`))
    const isText = typeof shape('') === 'string'
    calls.set(`taint.result${index}`, { params: { id: 'kept', it: plant('params') }, result: { it: plant('result') } })
    calls.set(`taint.error${index}`, {
      params: isText ? { [`a ${String(plant('key'))}`]: 1 } : { list: [plant('list')] },
      error: errorOf(plant('error')),
    })
  }
  for (const [index, [what, echo]] of ECHOES.entries()) {
    const secret = taint.plant(`echo ${what}`)
    const again = echo(secret)
    calls.set(`taint.echo${index}`, { params: { login: again, clientSecret: secret }, error: errorOf(again) })
    calls.set(`taint.again${index}`, { params: { tokens: [{ id: secret }], also: [again] }, result: again })
  }
  expect(UNLISTED).toHaveLength(30)
  expect(taint.size).toBeGreaterThanOrEqual(300)

  for (const [method, { params, result, error }] of calls) {
    const remove = sandbox.host.addApiMethod(method, (() => {
      if (error !== undefined) {
        throw error
      }
      return result
    }) as never)
    onTestFinished(remove)
    await call(sandbox, method, params).catch(() => {})
  }
  await eventually(() => expect(receiver.requests).toHaveLength(4 * calls.size))
  const client = await clientOf(sandbox)
  const report = await client.call('plugin.test', { id: PLUGIN_ID }).catch((failure: unknown) => failure)
  await sandbox.plugins.unload(PLUGIN_ID)

  const { records, files } = await readJournal(datadir)
  const bodies = receiver.requests.map(({ body, headers }) => `${body} ${JSON.stringify(headers)}`)
  expect(bodies.filter(body => body.includes('kept')).length).toBeGreaterThan(shapes.length)
  expect(bodies.filter(body => body.includes('* obfuscated *')).length).toBeGreaterThan(calls.size)
  for (const [place, text] of Object.entries({
    bodies: bodies.join('\n'),
    log: pluginLog().join('\n'),
    report: inspect(report, { depth: 20 }),
    records,
    files,
  })) {
    expect([place, taint.in(text)]).toEqual([place, []])
  }
})
