import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { configure, type LogEntry } from '@xen-orchestra/log/configure'
import { expect, onTestFinished, vi } from 'vitest'
import type { Params } from '../sandbox/config.ts'
import type { User } from '../sandbox/host.ts'
import { startReceiver, type Answering, type Received, type Receiver } from '../sandbox/receiver.ts'
import { ADMIN, startSandbox, type Client, type Credentials, type Sandbox } from '../sandbox/sandbox.ts'

export const PLUGIN_ID = 'web-hooks'
const NAMESPACE = 'xo:xo-server-web-hooks'

// on a machine that is busy with something else
vi.setConfig({ testTimeout: 60_000 })

/** Polls until it holds, for as long as a busy machine may need. */
export function eventually<T>(holds: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(holds, { timeout: 30_000 })
}

/** A body in the format `json`. */
export type Body = Params

/** Everything that the process logs, the host's lines too; nothing of it comes onto the console. */
const entries: LogEntry[] = []
configure(entry => {
  entries.push(entry)
})

/** What the plugin has logged in this test, as an administrator would read it. */
export function pluginLog(level?: 'info' | 'warn'): string[] {
  const minimum = level === 'warn' ? 40 : level === 'info' ? 30 : 0
  return entries
    .filter(entry => entry.namespace === NAMESPACE && entry.level >= minimum && (level !== 'info' || entry.level < 40))
    .map(readable)
}

/** What anyone has logged in this test. */
export function wholeLog(): string[] {
  return entries.map(readable)
}

function readable({ namespace, message, data }: LogEntry): string {
  return `${namespace} ${message}${data === undefined ? '' : ` ${inspect(data, { depth: 10, breakLength: Infinity })}`}`
}

export interface StartOptions {
  readonly saved?: unknown
  readonly autoload?: boolean
  readonly config?: Params
  /** Whether the delivery side has a thread of its own, as it has by default. Starting one takes a while. @default false */
  readonly thread?: boolean
  /** What requests under way get at an end, in seconds. @default the plugin's own */
  readonly grace?: number
}

/**
 * Starts a host with the built plugin. What the test opens after this is closed before it, so that nothing is in flight
 * when the host stops.
 */
export async function startPlugin({ saved, autoload = true, config, thread = false, grace }: StartOptions = {}) {
  entries.length = 0
  const sandbox = await startSandbox({
    plugin: fileURLToPath(new URL('../..', import.meta.url)),
    config: { ...config, plugins: { [PLUGIN_ID]: { thread, ...(grace !== undefined && { grace }) } } },
    ...((saved !== undefined || !autoload) && { saved: { autoload, configuration: saved } }),
  })
  onTestFinished(() => sandbox.close())
  sandbox.host.addApiMethod(FENCE, () => {})
  return sandbox
}

export async function openReceiver(answer?: Answering): Promise<Receiver> {
  const receiver = await startReceiver(answer)
  onTestFinished(() => receiver.close())
  return receiver
}

/** Something to wait for until the test lets it happen. */
export function gate(): { readonly opened: Promise<object>; open(): void } {
  let open = (): void => {}
  const opened = new Promise<object>(resolve => {
    open = () => resolve({})
  })
  return { opened, open: () => open() }
}

/** A receiver that reads requests and answers none. */
export function openSilentReceiver(): Promise<Receiver> {
  return openReceiver(() => new Promise(() => {}))
}

export async function clientOf(sandbox: Sandbox, credentials: Credentials | undefined = ADMIN): Promise<Client> {
  const client = await sandbox.connect(credentials)
  onTestFinished(() => client.close())
  return client
}

export function userOf(sandbox: Sandbox, email = ADMIN.email): User {
  const user = [...sandbox.host.users.values()].find(candidate => candidate.email === email)
  expect(user).toBeDefined()
  return user!
}

/** Calls the API without a WebSocket, whose JSON would not carry every result. */
export function call(sandbox: Sandbox, method: string, params: Params = {}, user?: User | 'anonymous') {
  const connection = sandbox.host.createApiConnection('127.0.0.1')
  if (user !== 'anonymous') {
    connection.set('user_id', (user ?? userOf(sandbox)).id)
  }
  return sandbox.host.callApiMethod(connection, method, params)
}

const FENCE = 'test.fence'

/** A hook that fires for calls which only {@link allSent} makes. */
export function fence(url: string): Params {
  return { method: FENCE, type: 'post', url, format: 'json' }
}

/**
 * The bodies of everything that the plugin has sent to `receiver`, which is `count` requests; the plugin is unloaded
 * afterwards, which waits for what is in flight. Needs a {@link fence} hook to the same URL: it is the last in the lane.
 */
export async function allSent(sandbox: Sandbox, receiver: Receiver, count: number): Promise<Body[]> {
  await call(sandbox, FENCE)
  await receiver.next(count + 1)
  await sandbox.plugins.unload(PLUGIN_ID)
  const bodies = receiver.requests.map(bodyOf)
  const sent = bodies.filter(({ method }) => method !== FENCE)
  expect(bodies.length - sent.length, 'the fence').toBe(1)
  expect(sent, 'requests').toHaveLength(count)
  return sent
}

export function bodyOf({ body }: Received): Body {
  return JSON.parse(body) as Body
}

/** The words by which the tests tell events apart. */
export function phaseAndMethod({ type, method }: Body): string {
  return `${String(type)} ${String(method)}`
}
