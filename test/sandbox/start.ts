/** `npm start`: shows what the plugin sends when something happens, and goes on showing it. */
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ids } from './made-up-pool.ts'
import { startReceiver, type Received, type Receiver } from './receiver.ts'
import { ADMIN, connect, startSandbox, type Sandbox } from './sandbox.ts'

const USAGE = `npm start                                   two calls, the four POSTs they cause, then whatever comes
npm start -- --once                         the same, then ends: with 0 if all four came, with 1 if one is missing
npm start -- --port <port>                  the port of the API, to choose it
npm start -- --format slack --url <url>     the same two calls, to a URL of yours; with --target, --token, --template where
                                            the format asks for it; ends with what came of it
npx tsx test/sandbox/start.ts --port <port> --call <method> '<params as JSON>'
                                            calls the API of a sandbox that runs in another terminal`

/** How long the four POSTs may take. */
const PATIENCE_MS = 10_000

const { values, positionals } = readArguments()
if (values.help) {
  console.log(USAGE)
} else if (values.call !== undefined) {
  await callAnother(values.call, positionals[0] ?? '{}', values.port)
} else if (values.url !== undefined) {
  await sendTo(values.url)
} else {
  await show(values.port === undefined ? 0 : Number(values.port), values.once ?? false)
}

async function show(port: number, once: boolean): Promise<void> {
  const plugin = join(import.meta.dirname, '../..')
  try {
    await access(join(plugin, 'dist'))
  } catch {
    fail(
      'There is no dist/: the sandbox loads the built plugin. Run `npm run build` first, or `npm start`, which does.'
    )
  }

  const began = new Map<string, number>()
  const receiver = await startReceiver(received => {
    print(received, began)
    return {}
  })
  const sandbox = await startSandbox({ plugin, port }).catch((error: Error) => fail(error.message))
  const close = async (code: number): Promise<never> => {
    await sandbox.close()
    await receiver.close()
    process.exit(code)
  }
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => void close(0))
  }
  if (sandbox.registrationError !== undefined) {
    tell('The plugin could not be registered', sandbox.registrationError)
    await close(1)
  }
  // Before the plugin's own listener, which was there first, can have sent anything.
  for (const event of ['xo:preCall', 'backup:preCall']) {
    sandbox.host.prependListener(event, ({ callId }: { callId: string }) => began.set(callId, Date.now()))
  }

  console.log(`The API listens on ${sandbox.url}, the receiver on ${receiver.url}.\n`)
  const hasAll = await demonstrate(sandbox, receiver).catch((error: unknown) => {
    tell('The plugin could not be configured', error)
    return close(1)
  })
  if (once) {
    await close(hasAll ? 0 : 1)
  }
  console.log(`Still listening. From another terminal, in this folder:\n`)
  const apiPort = new URL(sandbox.url).port
  for (const [method, params] of [
    ['vm.stop', { id: ids.runningVm }],
    ['vm.start', { id: 'no-such-vm' }],
    ['backupNg.runJob', { id: ids.job, schedule: ids.schedule }],
  ] as const) {
    console.log(`  npx tsx test/sandbox/start.ts --port ${apiPort} --call ${method} '${JSON.stringify(params)}'`)
  }
  console.log('\nCtrl-C ends it.\n')
}

/** Sends to a receiver of the user's own, and says what came of it. */
async function sendTo(url: string): Promise<void> {
  const { format = 'json', target, token, template } = values
  const sandbox = await startSandbox({ plugin: join(import.meta.dirname, '../..') }).catch((error: Error) =>
    fail(error.message)
  )
  const client = await sandbox.connect(ADMIN)
  const hook = { name: 'start', method: 'vm.start', type: 'post', url, format, target }
  const configuration = {
    hooks: [{ ...hook, authentication: { token, authorization: 'none' }, content: { template } }],
    instanceName: 'Sandbox',
    instanceUrl: 'https://xo.example.org',
  }
  try {
    await client.call('plugin.configure', { id: sandbox.pluginId, configuration })
    if (sandbox.plugins.get(sandbox.pluginId).loaded !== true) {
      await client.call('plugin.load', { id: sandbox.pluginId })
    }
    for (const what of ['a VM that is halted', 'the same VM, which runs by now']) {
      console.log(`vm.start of ${what}…`)
      await client.call('vm.start', { id: ids.haltedVm }).catch(() => {})
    }
    await client.call('plugin.test', { id: sandbox.pluginId })
    console.log('The receiver has taken the test request of the Test button.')
  } catch (error) {
    tell('It failed', error)
    process.exitCode = 1
  }
  await client.close()
  await sandbox.close()
}

/** Configures the plugin and makes the two calls; tells whether the four POSTs came, and says which did not. */
async function demonstrate(sandbox: Sandbox, receiver: Receiver): Promise<boolean> {
  const hook = { name: 'start', method: 'vm.start', type: 'pre/post', url: receiver.url + '/start', format: 'json' }
  const client = await sandbox.connect(ADMIN)
  await client.call('plugin.configure', {
    id: sandbox.pluginId,
    configuration: {
      hooks: [
        hook,
        { ...hook, name: 'stop', method: 'vm.stop', url: receiver.url + '/stop' },
        { ...hook, name: 'backup', method: 'backupNg.runJob', type: 'post', url: receiver.url + '/backup' },
      ],
    },
  })
  if (sandbox.plugins.get(sandbox.pluginId).loaded !== true) {
    await client.call('plugin.load', { id: sandbox.pluginId })
  }

  const expected: { callId: string; title: string; type: string }[] = []
  let title = ''
  sandbox.host.on('xo:preCall', ({ callId }: { callId: string }) => {
    if (title !== '') {
      expected.push({ callId, title, type: 'pre' }, { callId, title, type: 'post' })
    }
  })
  const deadline = Date.now() + PATIENCE_MS
  for (title of ['vm.start of a VM that is halted', 'vm.start of the same VM, which runs by now']) {
    const two = receiver.next(2, Math.max(1, deadline - Date.now())).catch(() => {})
    console.log(`${title}…`)
    try {
      console.log(`… answered ${JSON.stringify(await client.call('vm.start', { id: ids.haltedVm }))}\n`)
    } catch (error) {
      console.log(`… answered the error “${(error as Error).message}”\n`)
    }
    await two
  }
  title = ''
  await client.close()

  const missing = expected.filter(
    ({ callId, type }) => !receiver.requests.some(({ body }) => body.includes(callId) && body.includes(`"${type}"`))
  )
  for (const { title, type } of missing) {
    console.error(`Missing after ${PATIENCE_MS / 1e3} s: the ${type} of “${title}”.`)
  }
  return missing.length === 0
}

function print({ at, body, headers, method, url }: Received, began: ReadonlyMap<string, number>): void {
  const start = [...began].find(([callId]) => body.includes(callId))?.[1]
  const delay = start === undefined ? '' : ` — ${at - start} ms after its call began`
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  const lines = [`${method} ${url}`, ...fields, '', ...pretty(body).split('\n')]
  console.log(`┌ ${new Date(at).toISOString()}${delay}\n${lines.map(line => `│ ${line}`.trimEnd()).join('\n')}\n└\n`)
}

function pretty(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), null, 2)
  } catch {
    return body
  }
}

async function callAnother(method: string, params: string, port: string | undefined): Promise<void> {
  if (port === undefined) {
    fail('--call needs the --port of the sandbox to call: it is in what `npm start` prints.')
  }
  const client = await connect(`ws://127.0.0.1:${port}/api/`, ADMIN).catch((error: Error) =>
    fail(`No sandbox to call on port ${port}: ${error.message}`)
  )
  try {
    console.log(JSON.stringify(await client.call(method, JSON.parse(params)), null, 2))
  } catch (error) {
    tell(`${method} failed`, error)
    process.exitCode = 1
  }
  await client.close()
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        call: { type: 'string' },
        help: { type: 'boolean' },
        format: { type: 'string' },
        once: { type: 'boolean' },
        port: { type: 'string' },
        target: { type: 'string' },
        template: { type: 'string' },
        token: { type: 'string' },
        url: { type: 'string' },
      },
    })
  } catch (error) {
    return fail(`${(error as Error).message}\n\n${USAGE}`)
  }
}

/** An error of the API: `data` says most, as a peer's stack tells nothing. */
function tell(what: string, error: unknown): void {
  const { code, data, message } = error as { code?: unknown; data?: unknown; message: string }
  console.error(`${what}: ${JSON.stringify({ code, message, data }, null, 2)}`)
}

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}
