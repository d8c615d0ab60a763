import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { connect as connectTo, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { vi } from 'vitest'
import { ADMIN, connect, type Client, type Credentials } from '../sandbox/sandbox.ts'

const run = promisify(execFile)

export interface RealHostOptions {
  /** What its configuration file says beside what it needs, in TOML. */
  readonly config?: string
}

export interface RestOptions {
  readonly body?: unknown
  /** `null` stays anonymous. @default the administrator's */
  readonly credentials?: Credentials | null
  readonly headers?: Readonly<Record<string, string>>
}

export interface RestAnswer {
  readonly status: number
  readonly body: unknown
}

export interface RealHost {
  /** What it has printed since it was started last. */
  readonly log: readonly string[]
  /** Where the plugin keeps its files; there once it has been loaded. */
  readonly pluginData: string
  /** The names of the threads of its process, one each; empty where the system does not tell (there is no `/proc`). */
  threads(): Promise<string[]>
  /** Opens a WebSocket and signs in; `null` stays anonymous. */
  connect(credentials?: Credentials | null): Promise<Client>
  /** Where its pages are: `http://127.0.0.1:…`. */
  readonly url: string
  /** Asks the REST API. */
  rest(verb: string, path: string, options?: RestOptions): Promise<RestAnswer>
  /** Asks the REST API for an action, and waits for its end. */
  act(path: string): Promise<RestAnswer>
  /** A folder for a backup repository. */
  readonly repository: string
  /** Ends it as a power failure would, so that nothing is ended in order. */
  kill(): Promise<void>
  /** The plugin's configuration in the database, with its secrets. */
  saved(): Promise<unknown>
  /** Replaces one text by another in what the database holds of the plugin. */
  editSaved(from: string, to: string): Promise<void>
  /** With what it has saved. */
  start(): Promise<void>
  /** What an administrator does who stops the service: SIGTERM. */
  stop(): Promise<{ code: number | null; durationMs: number }>
  /** Stops everything and removes every trace. */
  close(): Promise<void>
}

/**
 * Installs the plugin, as `npm pack` packs it, for the xo-server in `XO_SERVER_DIR`, and starts that with a Redis of
 * its own; both listen on free loopback ports.
 */
export async function startRealHost({ config = '' }: RealHostOptions = {}): Promise<RealHost> {
  const serverDir = process.env['XO_SERVER_DIR']
  if (serverDir === undefined || serverDir === '') {
    throw new Error('Set XO_SERVER_DIR to the folder packages/xo-server of a Xen Orchestra that is built.')
  }
  const cli = join(serverDir, 'dist', 'cli.mjs')
  await access(cli).catch(() => {
    throw new Error(`There is no built xo-server in XO_SERVER_DIR: ${cli} is missing.`)
  })
  await run('redis-server', ['--version']).catch(() => {
    throw new Error('The command redis-server is missing: install Redis, where xo-server keeps its records.')
  })

  const directory = await mkdtemp(join(tmpdir(), 'web-hooks-host-'))
  const folder = async (name: string): Promise<string> => {
    const path = join(directory, name)
    await mkdir(path, { recursive: true })
    return path
  }
  const undo: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })]
  const close = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) {
      await step()
    }
  }
  try {
    await install(directory, await folder('plugins'))
    const redisPort = await freePort()
    const redis = await startRedis(redisPort, await folder('redis'))
    undo.push(() => end(redis))

    const port = await freePort()
    const [data, empty, mounts] = [await folder('data'), await folder('empty'), await folder('mounts')]
    await folder('config/xo-server')
    await writeFile(
      join(directory, 'config/xo-server/config.toml'),
      `datadir = '${data}'
[redis]
uri = 'redis://127.0.0.1:${redisPort}/0'
[http.listen.0]
hostname = '127.0.0.1'
port = ${port}
[http.mounts]
'/' = '${empty}'
# lists are merged by index with those of xo-server: each of its three entries is replaced
[plugins]
lookupPaths = ['${join(directory, 'plugins')}', '${empty}', '${empty}']
[remoteOptions]
mountsDir = '${mounts}'
${config}
`
    )

    const log: string[] = []
    let server: ChildProcess | undefined
    const start = async (): Promise<void> => {
      log.length = 0
      server = spawn(process.execPath, [cli], {
        cwd: data,
        env: { ...process.env, NODE_ENV: 'production', XDG_CONFIG_HOME: join(directory, 'config') },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      for (const stream of [server.stdout!, server.stderr!]) {
        createInterface(stream).on('line', line => log.push(line))
      }
      const { exitCode } = await untilReady(server, log)
      if (exitCode !== null) {
        throw new Error(`xo-server ended with ${exitCode} at its start:\n${log.slice(-20).join('\n')}`)
      }
    }
    undo.push(async () => server && end(server))
    await start()

    const rest: RealHost['rest'] = async (verb, path, { body, credentials = ADMIN, headers = {} } = {}) => {
      const response = await fetch(`http://127.0.0.1:${port}/rest/v0/${path}`, {
        method: verb,
        headers: {
          ...headers,
          ...(credentials && { authorization: basic(credentials) }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      const text = await response.text()
      return { status: response.status, body: text === '' ? undefined : (JSON.parse(text) as unknown) }
    }

    const redisCli = async (...command: string[]): Promise<string> =>
      (await run('redis-cli', ['-p', String(redisPort), ...command])).stdout.trimEnd()
    const savedKey = 'xo:plugin-metadata:web-hooks'
    return {
      log,
      url: `http://127.0.0.1:${port}`,
      pluginData: join(data, 'web-hooks'),
      async threads() {
        const tasks = `/proc/${server!.pid}/task`
        const ids = await readdir(tasks).catch(() => [])
        // one may end while it is looked at
        const names = await Promise.all(ids.map(id => readFile(join(tasks, id, 'comm'), 'utf8').catch(() => '')))
        return names.map(name => name.trim()).filter(name => name !== '')
      },
      connect: (credentials = ADMIN) => connect(`ws://127.0.0.1:${port}/api/`, credentials ?? undefined),
      repository: await folder('repository'),
      rest,
      act: path => rest('POST', `${path}?sync=true`),
      async kill() {
        const exited = once(server!, 'exit')
        server!.kill('SIGKILL')
        await exited
      },
      async saved() {
        const { configuration } = JSON.parse(await redisCli('GET', savedKey)) as { configuration?: string }
        return configuration === undefined ? undefined : (JSON.parse(configuration) as unknown)
      },
      async editSaved(from, to) {
        const saved = await redisCli('GET', savedKey)
        if (!saved.includes(from)) {
          throw new Error(`what is saved has no ${from}: ${saved}`)
        }
        await redisCli('SET', savedKey, saved.replaceAll(from, to))
      },
      start,
      async stop() {
        const begun = performance.now()
        const code = await end(server!)
        return { code, durationMs: performance.now() - begun }
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function basic({ email, password }: Credentials): string {
  return `Basic ${Buffer.from(`${email}:${password}`).toString('base64')}`
}

/** What an administrator does with the package: unpacks it as `xo-server-web-hooks`, and nothing else. */
async function install(directory: string, plugins: string): Promise<void> {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  await run('npm', ['pack', '--pack-destination', directory], { cwd: root })
  const archive = (await readdir(directory)).find(name => name.endsWith('.tgz'))
  await run('tar', ['xzf', join(directory, archive!), '-C', directory])
  await rename(join(directory, 'package'), join(plugins, 'xo-server-web-hooks'))
}

async function startRedis(port: number, directory: string): Promise<ChildProcess> {
  const redis = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', directory],
    {
      stdio: 'ignore',
    }
  )
  await vi.waitFor(() => probe(port), { timeout: 10_000, interval: 50 })
  return redis
}

async function probe(port: number): Promise<void> {
  const socket = connectTo(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
  } finally {
    socket.destroy()
  }
}

/** xo-server says this last, after its plugins are registered and while it begins to listen for SIGTERM. */
function untilReady(server: ChildProcess, log: readonly string[]): Promise<ChildProcess> {
  return vi.waitFor(
    () => {
      if (server.exitCode === null && !log.some(line => line.includes('Setting up / '))) {
        throw new Error(`xo-server does not start:\n${log.slice(-20).join('\n')}`)
      }
      return server
    },
    { timeout: 60_000, interval: 50 }
  )
}

async function end(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    // one that hangs is not left behind
    const timer = setTimeout(() => child.kill('SIGKILL'), 30_000)
    await exited
    clearTimeout(timer)
  }
  return child.exitCode
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
