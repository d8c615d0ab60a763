import { Peer } from 'json-rpc-peer'
import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket, WebSocketServer } from 'ws'
import type { Params } from './config.ts'
import { Host } from './host.ts'
import { apiMethods, populate } from './made-up-pool.ts'
import { findPluginId, Plugins, type PluginMetadata } from './plugins.ts'

export interface SandboxOptions {
  /** The plugin's folder: what is in its `package.json#main` is loaded. */
  plugin: string
  /** What xo-server's configuration file says; `plugins.<id>` is the plugin's `staticConfig`. */
  config?: Params
  /** The folder where plugins keep their files. @default a new one, removed by `close()` */
  dataDir?: string
  /** The port to listen on, at 127.0.0.1. @default a free one */
  port?: number
  /** What an earlier run has saved for the plugin. @default nothing: the plugin is new to this host */
  saved?: PluginMetadata
}

export interface Credentials {
  email: string
  password: string
}

/** One WebSocket to the API. */
export interface Client {
  call(method: string, params?: object): Promise<unknown>
  close(): Promise<void>
}

export interface Sandbox {
  readonly host: Host
  readonly pluginDir: string
  readonly pluginId: string
  readonly plugins: Plugins
  /** Why the plugin could not be registered; the host only logs that, and goes on. */
  readonly registrationError: unknown
  /** The address of the API: `ws://…/api/`. */
  readonly url: string
  /** Of the web server: `http://…`, without a slash at its end. */
  readonly webUrl: string
  /** Saves and applies a configuration, and loads the plugin if it is not; past the API, so that no event is emitted. */
  configure(configuration: unknown): Promise<void>
  /** Opens a WebSocket and signs in; without credentials it stays anonymous. */
  connect(credentials?: Credentials): Promise<Client>
  /** What SIGTERM does: waits for the 'stop' listeners, then nothing is left open. A plugin is not unloaded first. */
  close(): Promise<void>
}

/** Whoever has no account of their own. */
export const ADMIN: Credentials = { email: 'admin@admin.net', password: 'admin' }

/** Starts a stand-in xo-server with one plugin, in the order of packages/xo-server/src/index.mjs: the API, then the plugin. */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const pluginDir = options.plugin
  const pluginId = await findPluginId(pluginDir)
  // Made when a plugin asks for its own folder in it.
  const datadir = options.dataDir ?? join(tmpdir(), `xo-sandbox-${randomUUID()}`)

  const host = new Host({ plugins: {}, datadir, ...options.config })
  const plugins = new Plugins(host)
  populate(host)
  host.addApiMethods(apiMethods(plugins))
  const api = await serveApi(host, options.port ?? 0)

  const registrationError = await plugins.import(pluginDir, pluginId, options.saved)
  host.emit('plugins:registered')

  return {
    host,
    pluginDir,
    pluginId,
    plugins,
    registrationError,
    url: api.url,
    webUrl: api.url.replace('ws:', 'http:').replace('/api/', ''),
    async configure(configuration) {
      await plugins.configure(pluginId, configuration)
      if (plugins.get(pluginId).loaded !== true) {
        await plugins.load(pluginId)
      }
    },
    connect: credentials => connect(api.url, credentials),
    async close() {
      await host.hooks.stop()
      await api.close()
      if (options.dataDir === undefined) {
        await rm(datadir, { recursive: true, force: true })
      }
    },
  }
}

/** Opens a WebSocket to a sandbox, of this process or of another, and signs in; without credentials it stays anonymous. */
export async function connect(url: string, credentials?: Credentials): Promise<Client> {
  const socket = new WebSocket(url)
  const peer = new Peer()
  peer.on('data', data => socket.send(data))
  socket.on('message', message => peer.write(String(message)))
  const closed = new Promise<void>(resolve => {
    socket.once('close', () => {
      peer.failPendingRequests(new Error('the connection was closed'))
      resolve()
    })
  })
  await new Promise((resolve, reject) => {
    socket.once('open', resolve).on('error', reject)
  })

  const client: Client = {
    call: (method, params = {}) => peer.request(method, params),
    async close() {
      socket.close()
      await closed
    },
  }
  if (credentials !== undefined) {
    try {
      await client.call('session.signIn', credentials)
    } catch (error) {
      await client.close()
      throw error
    }
  }
  return client
}

/** JSON-RPC over a WebSocket at /api/ (`setUpApi` of packages/xo-server/src/index.mjs). */
async function serveApi(host: Host, port: number): Promise<{ url: string; close(): Promise<void> }> {
  const sockets = new WebSocketServer({ noServer: true })
  const onConnection = (socket: WebSocket, { socket: { remoteAddress } }: IncomingMessage): void => {
    const connection = host.createApiConnection(remoteAddress)
    const peer = new Peer(({ method, params, type }) =>
      type === 'request' ? host.callApiMethod(connection, method, params) : undefined
    )
    socket.once('close', () => connection.close())
    socket.on('message', message => peer.write(String(message)))
    peer.on('data', data => {
      // The client may have left while its call was under way.
      if (socket.readyState === WebSocket.OPEN) {
        socket.send(data)
      }
    })
  }

  const { server, port: actualPort } = await host.web.listen(host, port)
  server.on('upgrade', (request, socket, head) => {
    if (request.url !== '/api/') {
      socket.destroy()
      return
    }
    sockets.handleUpgrade(request, socket, head, client => onConnection(client, request))
  })
  return {
    url: `ws://127.0.0.1:${actualPort}/api/`,
    async close() {
      sockets.clients.forEach(socket => socket.terminate())
      sockets.close()
      await host.web.stop()
    },
  }
}
