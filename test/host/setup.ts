import { afterAll, beforeAll, beforeEach, expect, onTestFinished } from 'vitest'
import type { Params } from '../sandbox/config.ts'
import { startReceiver, type Answering, type Received, type Receiver } from '../sandbox/receiver.ts'
import type { Client } from '../sandbox/sandbox.ts'
import { startRealHost, type RealHost, type RealHostOptions } from './real-host.ts'

export const ID = 'web-hooks'

/** A method that anyone may call, and that changes nothing: what comes before it has been sent when it arrives. */
export const FENCE = 'system.getServerVersion'

export const ADMIN_NAME = 'admin@admin.net'

/** A hook of the configuration, as far as tests look into it. */
export interface HookItem {
  readonly id?: string
  readonly name?: string
  readonly url: string
  readonly authentication?: { readonly authorization: string; readonly token: string }
  readonly [key: string]: unknown
}

/** The host of one file of tests, and its administrator, who signs in anew before each test. */
export interface Setup {
  readonly host: RealHost
  readonly admin: Client
  configure(...hooks: object[]): Promise<void>
  /** As `configure`, with hooks that are none of an earlier test: what waited for those is gone. */
  configureAnew(...hooks: object[]): Promise<void>
  /** What XO's form does: gets the configuration, with placeholders for secrets, and saves it as it was edited. */
  edit(change: (hooks: HookItem[]) => readonly object[]): Promise<void>
  pluginInfo(): Promise<Params>
  /** The hooks in the database. */
  savedHooks(): Promise<HookItem[]>
  /** Calls {@link FAILING}. */
  fail(id: string): Promise<void>
  /** All bodies that the receiver got before that of a call of {@link FENCE}, which its hook has to fire for. */
  allSent(receiver: Receiver, count: number): Promise<Params[]>
  /** Ends it, as SIGTERM or a power failure does, and starts it again. */
  restart(how: 'stop' | 'kill', meanwhile?: () => Promise<unknown>): Promise<void>
}

export function setUpRealHost(options?: RealHostOptions): Setup {
  let host: RealHost | undefined
  let admin: Client | undefined

  beforeAll(async () => {
    host = await startRealHost(options)
  }, 180_000)

  afterAll(async () => {
    await host?.close()
  }, 60_000)

  const signIn = async (): Promise<void> => {
    const client = await host!.connect()
    admin = client
    onTestFinished(() => client.close())
  }
  beforeEach(signIn)

  const configure = async (configuration: object): Promise<void> => {
    await admin!.call('plugin.configure', { id: ID, configuration })
  }
  const pluginInfo = async (): Promise<Params> => {
    const plugins = (await admin!.call('plugin.get')) as Params[]
    const plugin = plugins.find(({ id }) => id === ID)
    expect(plugin).toBeDefined()
    return plugin!
  }
  return {
    get host() {
      return host!
    },
    get admin() {
      return admin!
    },
    configure: (...hooks) => configure({ hooks }),
    async configureAnew(...hooks) {
      await configure({ hooks: [] })
      await configure({ hooks })
    },
    async edit(change) {
      const { configuration } = await pluginInfo()
      const { hooks, ...rest } = configuration as { hooks: HookItem[] }
      await configure({ ...rest, hooks: change(hooks) })
    },
    pluginInfo,
    async savedHooks() {
      return ((await host!.saved()) as { hooks: HookItem[] }).hooks
    },
    async fail(id) {
      await expect(admin!.call(FAILING, { id })).rejects.toThrow('no such host')
    },
    async allSent(receiver, count) {
      await admin!.call(FENCE)
      const bodies = (await receiver.next(count + 1)).map(({ body }) => JSON.parse(body) as Params)
      const sent = bodies.filter(({ method }) => method !== FENCE)
      expect(sent, 'requests').toHaveLength(count)
      return sent
    },
    async restart(how, meanwhile) {
      if (how === 'kill') {
        await host!.kill()
      } else {
        expect(await host!.stop()).toMatchObject({ code: 0 })
      }
      await meanwhile?.()
      await host!.start()
      await signIn()
    },
  }
}

export async function openReceiver(answer?: Answering): Promise<Receiver> {
  const receiver = await startReceiver(answer)
  onTestFinished(() => receiver.close())
  return receiver
}

/** Answers 503 until it is up. */
export async function openDownReceiver() {
  let isUp = false
  const delivered: Received[] = []
  const receiver = await openReceiver(request => {
    if (!isUp) {
      return { status: 503 }
    }
    delivered.push(request)
    return {}
  })
  return { receiver, delivered, up: () => void (isUp = true) }
}

/** Calls of it fail and change nothing. */
export const FAILING = 'host.restartAgent'

export const hookTo = ({ url }: Receiver, method: string, type = 'pre/post') => ({ method, type, url, format: 'json' })

export const fence = (receiver: Receiver) => hookTo(receiver, FENCE, 'post')
