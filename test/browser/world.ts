import { access } from 'node:fs/promises'
import { join } from 'node:path'

import puppeteer from 'puppeteer-core'
import type { Browser, BrowserContext, Page } from 'puppeteer-core'

import { ids } from '../sandbox/made-up-pool.ts'
import { startReceiver } from '../sandbox/receiver.ts'
import type { Answer, Receiver } from '../sandbox/receiver.ts'
import { ADMIN, startSandbox } from '../sandbox/sandbox.ts'
import type { Client, Sandbox } from '../sandbox/sandbox.ts'

/** What a receiver would like the administrator's browser to do. */
export const HOSTILE =
  '<img src=x onerror="document.title=\'pwned\'"><script>document.title="pwned"</script>\u202Eevil\u202C javascript:alert(1)'

/** Of what must never be shown. */
export const SECRETS = [
  'tok-5f0c2b7e91',
  'pass-93b1e0aa42',
  'whsec_c2VjcmV0LW9mLXRoZS1wYWdl',
  'path-of-7d21',
  'query-of-88aa',
]
const [token = '', password = '', passphrase = '', secretPath = '', secretQuery = ''] = SECRETS

/** A host with the plugin, and receivers of every temper: one that takes all, one that is broken, one that is hostile. */
export interface World {
  readonly sandbox: Sandbox
  readonly client: Client
  readonly good: Receiver
  readonly bad: Receiver
  /** What {@link bad} answers. */
  answer: Answer
  /** A VM is started, and stopped again: four events. */
  happen(): Promise<void>
  close(): Promise<void>
}

/** @param isCalm - without the hostile one */
export async function startWorld(isCalm = false): Promise<World> {
  const good = await startReceiver(() => ({ status: 204 }))
  const hostile = await startReceiver(() => ({ status: 500, headers: { 'content-type': 'text/html' }, body: HOSTILE }))
  const bad = await startReceiver(() => world.answer)
  const sandbox = await startSandbox({ plugin: join(import.meta.dirname, '../..') })
  const hook = (name: string, receiver: Receiver, rest: object): object => ({
    ...{ name, method: 'vm.start vm.stop', type: 'pre/post', format: 'json' },
    url: `${receiver.url}/${secretPath}?key=${secretQuery}`,
    ...rest,
  })
  await sandbox.configure({
    hooks: [
      hook('Inventory', good, { authentication: { authorization: 'bearer', token, passphrase } }),
      hook('Chat of the team', good, { type: 'post', format: 'slack', status: 'any' }),
      hook('Monitoring', bad, { type: 'post', authentication: { authorization: 'basic', user: 'xo', password } }),
      ...(isCalm ? [] : [hook(HOSTILE, hostile, { type: 'post', method: 'vm.*' })]),
      hook('Backups', bad, { method: 'backup*.runJob', disabled: true }),
    ],
  })
  const client = await sandbox.connect(ADMIN)
  const world: World = {
    ...{ sandbox, client, good, bad },
    answer: { status: 503, body: '{"error":"database is down","retry":true}' },
    async happen() {
      await client.call('vm.start', { id: ids.haltedVm })
      await client.call('vm.stop', { id: ids.haltedVm })
    },
    async close() {
      await client.close()
      await sandbox.close()
      await Promise.all([good, bad, hostile].map(each => each.close()))
    },
  }
  return world
}

export async function startBrowser(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium'
  try {
    await access(executablePath)
  } catch {
    throw new Error(
      `There is no Chromium at ${executablePath}: apt-get install -y chromium, or say where with CHROMIUM_PATH`
    )
  }
  return puppeteer.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--host-resolver-rules=MAP evil.test 127.0.0.1'],
  })
}

/** A page of a browser that has never been there, and what went wrong in it. */
export interface Visit {
  readonly context: BrowserContext
  readonly page: Page
  /** Errors of the console, of scripts, and violations of the content security policy. */
  readonly errors: string[]
}

export interface VisitOptions {
  readonly theme?: 'light' | 'dark'
  readonly width?: number
  readonly height?: number
}

export async function visit(
  browser: Browser,
  { theme = 'light', width = 1280, height = 800 }: VisitOptions = {}
): Promise<Visit> {
  const context = await browser.createBrowserContext()
  const page = await context.newPage()
  const errors: string[] = []
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warn') {
      errors.push(`${message.type()}: ${message.text()} ${message.location().url ?? ''}`)
    }
  })
  page.on('pageerror', error => errors.push(String(error)))
  await page.exposeFunction('tellViolation', (text: string) => errors.push(`policy: ${text}`))
  await page.evaluateOnNewDocument(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
      ;(window as unknown as { tellViolation: (text: string) => void }).tellViolation(
        `${violatedDirective} ${blockedURI}`
      )
    })
  })
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }])
  await page.setViewport({ width, height })
  return { context, page, errors }
}

/** As a user does: asks for the page, is led to the form, and is led back. */
export async function signIn(
  { page }: Visit,
  url: string,
  { email, password }: { email: string; password: string } = ADMIN
): Promise<void> {
  await page.goto(url)
  await page.type('input[name=username]', email)
  await page.type('input[name=password]', password)
  await Promise.all([page.waitForNavigation(), page.click('button')])
}
