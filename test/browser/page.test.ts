import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

import type { Browser, Page } from 'puppeteer-core'
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished } from 'vitest'

import { eventually } from '../helpers/running-plugin.ts'
import { ADMIN } from '../sandbox/sandbox.ts'
import { HOSTILE, SECRETS, signIn, startBrowser, startWorld, visit } from './world.ts'
import type { Visit, VisitOptions, World } from './world.ts'

let browser: Browser
let world: World
let url: string
let visits: Visit[] = []

beforeAll(async () => {
  browser = await startBrowser()
  world = await startWorld()
  url = `${world.sandbox.webUrl}/web-hooks`
  await happen()
})

afterEach(async () => {
  await Promise.all(visits.map(({ context }) => context.close()))
  visits = []
})

afterAll(async () => {
  await browser?.close()
  await world?.close()
})

/** An administrator who is signed in, at a place of the page. */
async function come(hash = '', options?: VisitOptions): Promise<Visit> {
  const visited = await visit(browser, options)
  visits.push(visited)
  await signIn(visited, `${url}${hash}`)
  await settled(visited.page)
  return visited
}

/** Nothing is being loaded. */
async function settled(page: Page): Promise<void> {
  await page.waitForFunction(() => document.querySelector('main h1') !== null && !document.querySelector('.loading'))
}

async function goTo(page: Page, hash: string): Promise<void> {
  await page.evaluate(to => void (location.hash = to), hash)
  await page.waitForFunction(to => location.hash === to, {}, hash)
  await settled(page)
}

function textOf(page: Page, selector: string): Promise<string> {
  return page.$eval(selector, element => (element as HTMLElement).innerText)
}

function waitForText(page: Page, selector: string, text: string): Promise<unknown> {
  return page.waitForFunction(
    (where, what) => [...document.querySelectorAll(where)].some(each => (each as HTMLElement).innerText.includes(what)),
    {},
    selector,
    text
  )
}

/** All views, of things that are there. */
async function everyView(): Promise<string[]> {
  const { items } = (await world.client.call('webHooks.getDeliveries', { status: 'waiting' })) as {
    items: { id: string; call: string; endpoint: string }[]
  }
  const { items: hooks } = (await world.client.call('webHooks.getHooks')) as { items: { id: string }[] }
  const [delivery] = items
  return [
    '#/',
    `#/endpoints/${delivery?.endpoint}`,
    '#/deliveries',
    '#/deliveries?status=dead',
    `#/deliveries/${delivery?.id}`,
    `#/calls/${delivery?.call}`,
    '#/hooks',
    '#/hooks/new',
    '#/hooks/new?method=vm.started',
    `#/hooks/${hooks[0]?.id}`,
    '#/events',
    '#/events?search=vm%20start',
  ]
}

/** Something happens, and receivers fail to take it. */
async function happen(): Promise<void> {
  await world.happen()
  for (const answer of ['500', '503']) {
    await eventually(async () => expect(await idsOf({ answer, status: 'waiting' })).not.toEqual([]))
  }
}

async function hookId(called: string): Promise<string> {
  const { items } = (await world.client.call('webHooks.getHooks')) as { items: { id: string; name: string }[] }
  return items.find(({ name }) => name === called)?.id ?? ''
}

async function idsOf(filter: object): Promise<string[]> {
  const { items } = (await world.client.call('webHooks.getDeliveries', filter)) as { items: { id: string }[] }
  return items.map(({ id }) => id)
}

it('leads who is not signed in to the form, and back to the same place', async () => {
  const { page } = await come('#/deliveries?status=dead&method=vm.*')
  expect(page.url()).toBe(`${url}#/deliveries?status=dead&method=vm.*`)
  expect(await textOf(page, 'h1')).toBe('Deliveries')
  expect(await page.$eval('select', select => select.value)).toBe('dead')
})

it('is for administrators: others are told so', async () => {
  await world.client.call('user.create', { email: 'user@example.org', password: 'user' })
  const visited = await visit(browser)
  visits.push(visited)
  const statuses: number[] = []
  visited.page.on('response', response => statuses.push(response.status()))
  await signIn(visited, url, { email: 'user@example.org', password: 'user' })
  expect(await textOf(visited.page, 'h1')).toBe('Not for you')
  expect(statuses).toContain(403)
  expect(await visited.page.$('script')).toBeNull()
})

it('shows every view without an error of the console, and breaks no rule of its policy', async () => {
  const { page, errors } = await come()
  for (const hash of await everyView()) {
    await goTo(page, hash)
  }
  expect(errors).toEqual([])
})

it('shows what receivers answer, and how hooks are called, as text, and never a secret', async () => {
  const { page, errors } = await come()
  const responses: Promise<string>[] = []
  page.on('response', response => {
    if (response.url().includes('/rest/')) {
      responses.push(response.text().catch(() => ''))
    }
  })
  let seen = ''
  for (const hash of await everyView()) {
    await goTo(page, hash)
    seen += await page.evaluate(() => document.documentElement.outerHTML + document.title)
  }
  const { items } = (await world.client.call('webHooks.getDeliveries', { answer: '500' })) as {
    items: { id: string }[]
  }
  await goTo(page, `#/deliveries/${items[0]?.id}`)
  await page.waitForSelector('.timeline pre')
  expect(await page.$eval('.timeline pre', pre => pre.textContent)).toContain(HOSTILE.slice(0, 80))
  expect(await page.$('img, main script')).toBeNull()
  expect(await page.title()).toBe('Deliveries · Web hooks')
  seen += (await Promise.all(responses)).join('\n')
  expect(seen).toContain('Monitoring')
  expect(SECRETS.filter(secret => seen.includes(secret))).toEqual([])
  expect(errors).toEqual([])
})

it('does nothing for a form that another site posts in the name of the administrator', async () => {
  const { page } = await come('#/deliveries')
  const [id] = await idsOf({ status: 'waiting' })
  const action = `${world.sandbox.webUrl}/rest/v0/plugins/web-hooks/deliveries/${id}/actions/replay`
  const evil = createServer((_, response) =>
    response
      .writeHead(200, { 'content-type': 'text/html' })
      .end(`<form method="post" action="${action}"><input name="x" value="y"><button>Win</button></form>`)
  )
  await new Promise<void>(resolve => evil.listen(0, '127.0.0.1', resolve))
  try {
    await page.goto(`http://evil.test:${(evil.address() as AddressInfo).port}/`)
    const [answer] = await Promise.all([page.waitForNavigation(), page.click('button')])
    // the browser has sent the cookie along: it is for the type of the content that nothing came of it
    expect(answer?.status()).toBe(415)
    const { history } = (await world.client.call('webHooks.getDelivery', { id })) as { history: { trigger: string }[] }
    expect(history.length).toBeGreaterThan(0)
    expect(history.filter(({ trigger }) => trigger === 'replay')).toEqual([])
  } finally {
    evil.closeAllConnections()
    await new Promise(resolve => evil.close(resolve))
  }
})

it('replays by keyboard alone, and the focus is back at the row when the window closes', async () => {
  const { answer } = world
  onTestFinished(() => void (world.answer = answer))
  const { page } = await come('#/')
  await page.keyboard.press('g')
  await page.keyboard.press('d')
  await page.waitForSelector('[data-row]')
  await page.keyboard.press('/')
  expect(await page.evaluate(() => document.activeElement?.hasAttribute('data-search'))).toBe(true)
  await page.keyboard.type('vm.start')
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => location.hash.includes('method=vm.start'))
  await goTo(page, '#/deliveries?answer=503&status=waiting')
  await page.waitForSelector('[data-row]')
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur())
  await page.keyboard.press('j')
  const row = await page.evaluate(() => document.activeElement?.getAttribute('href'))
  expect(row).toContain('#/deliveries/')
  await page.keyboard.press('Enter')
  await page.waitForSelector('dialog.drawer [data-replay]')
  await page.keyboard.press('r')
  await waitForText(page, 'dialog .said', 'tried again')
  world.answer = { status: 204 }
  await waitForText(page, 'dialog .verdict', 'delivered')
  await page.keyboard.press('Escape')
  await page.waitForFunction(() => document.querySelector('dialog') === null)
  expect(await page.evaluate(() => document.activeElement?.getAttribute('href'))).toBe(row)
})

it('counts what is new, and moves no row until it is wanted', async () => {
  const { page } = await come('#/deliveries')
  await page.waitForSelector('[data-row]')
  const rows = (): Promise<(string | null)[]> =>
    page.$$eval('[data-row]', all => all.map(each => each.getAttribute('href')))
  const before = await rows()
  await happen()
  await waitForText(page, '.fresh', 'new')
  expect(await rows()).toEqual(before)
  await page.click('.fresh button')
  await page.waitForFunction(count => document.querySelectorAll('[data-row]').length > count, {}, before.length)
})

it('misses nothing and shows nothing twice when the stream is cut, and is live again by itself', async () => {
  const { page } = await come('#/deliveries?hook=' + (await hookId('Chat of the team')))
  await page.waitForSelector('.live.stream')
  const rows = (): Promise<(string | null)[]> =>
    page.$$eval('[data-row]', all => all.map(each => each.getAttribute('data-id')))
  const all = async (): Promise<string[]> => idsOf({ hook: await hookId('Chat of the team'), limit: 200 })
  const before = (await all()).length
  for (const round of [1, 2]) {
    world.sandbox.host.web.cut()
    await world.happen()
    await eventually(async () => expect((await all()).length).toBe(before + 2 * round))
    await waitForText(page, '.fresh', `${2 * round} new`)
    await page.waitForSelector('.live.stream')
  }
  await page.click('.fresh button')
  await page.waitForFunction(count => document.querySelectorAll('[data-row]').length === count, {}, before + 4)
  expect(await rows()).toEqual(await all())
})

it('asks every few seconds where no stream comes through', async () => {
  const visited = await visit(browser)
  visits.push(visited)
  await visited.page.setRequestInterception(true)
  visited.page.on('request', request => {
    void (request.url().endsWith('/stream') ? request.respond({ status: 503 }) : request.continue())
  })
  await signIn(visited, `${url}#/deliveries`)
  await visited.page.waitForSelector('.live.polling')
  await visited.page.waitForSelector('[data-row]')
  await world.happen()
  await waitForText(visited.page, '.fresh', 'new')
})

it('makes a hook, with examples as it is written; tests it, switches it off, changes it and removes it', async () => {
  const { page, errors } = await come('#/hooks/new?method=vm.st*')
  const field = (path: string): string => `[id="field-${path}"]`
  await waitForText(page, '.examples', 'are like that')
  expect(await textOf(page, '.examples pre')).toContain('"method": "vm.st')
  await page.type(field('name'), 'By hand')
  await page.select(field('format'), 'template')
  await page.$eval('details:has([id^="field-content"])', details => void ((details as HTMLDetailsElement).open = true))
  await page.type(field('content.template'), '{"text": "{{method}}!"}')
  await page.waitForFunction(() => document.querySelector('.examples pre')?.textContent?.includes('"text": "vm.st'))

  await page.type(field('url'), 'ftp://nowhere')
  await page.click('.editor .main')
  await waitForText(page, '.field .bad', 'http')
  await page.$eval(field('url'), input => void (input as HTMLInputElement).select())
  await page.type(field('url'), `${world.good.url}/${SECRETS[3]}`)
  await page.click('.editor .main')
  await waitForText(page, '.hook', 'By hand')

  const id = await hookId('By hand')
  await page.click(`[id="${id}"] .buttons button:nth-of-type(1)`)
  await waitForText(page, `[id="${id}"] .reports`, 'post to')
  await page.click(`[id="${id}"] .buttons button:nth-of-type(2)`)
  await waitForText(page, `[id="${id}"]`, 'disabled')

  await page.click(`[id="${id}"] .buttons a`)
  await page.waitForSelector(field('name'))
  expect(await page.$eval(field('url'), input => (input as HTMLInputElement).value)).toBe('')
  await page.type(field('name'), ', by me')
  await page.click('.editor .main')
  await waitForText(page, '.hook', 'By hand, by me')
  const { hooks } = world.sandbox.plugins.saved('web-hooks') as { hooks: Record<string, unknown>[] }
  expect(hooks.at(-1)).toMatchObject({
    ...{ name: 'By hand, by me', url: `${world.good.url}/${SECRETS[3]}`, disabled: true },
    content: { template: '{"text": "{{method}}!"}' },
  })

  await page.click(`[id="${id}"] .buttons a`)
  await page.waitForSelector('.editor .buttons button:nth-of-type(2)')
  await page.click('.editor .buttons button:nth-of-type(2)')
  await page.waitForSelector('dialog .main')
  await page.click('dialog .main')
  await page.waitForFunction(
    gone => document.querySelector('.hooks') !== null && !document.getElementById(gone),
    {},
    id
  )
  // the browser tells of the answer 422
  expect(errors.filter(error => !error.includes('422'))).toEqual([])
})

it('says how many a replay by filter means, and asks before it does it', async () => {
  const { page } = await come('#/deliveries')
  const [button] = await page.$$('main .head button')
  await button?.click()
  await waitForText(page, '.said', 'Nothing to replay')
})

it('has nothing that axe finds fault with, in light and in dark', async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
  for (const theme of ['light', 'dark'] as const) {
    const { page } = await come('', { theme })
    // the debugger may evaluate what the page's policy would not let in
    await page.evaluate(axe)
    for (const hash of await everyView()) {
      await goTo(page, hash)
      const violations = await page.evaluate(async () => {
        const { axe } = window as unknown as {
          axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> }
        }
        const { violations } = await axe.run()
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 150)).join(' | ')}`)
      })
      expect(violations, `${hash} in ${theme}`).toEqual([])
    }
  }
})

it('needs no scrolling sideways on a screen of 320 px', async () => {
  const { page } = await come('', { width: 320 })
  for (const hash of await everyView()) {
    await goTo(page, hash)
    const wide = await page.evaluate(() =>
      [document.documentElement, ...document.querySelectorAll('dialog, main *')]
        .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth + 1)
        .filter(each => each === document.documentElement || each.getBoundingClientRect().right > innerWidth + 1)
        .map(({ tagName, className }) => `${tagName} ${String(className)}`)
    )
    expect(wide, hash).toEqual([])
  }
})

it('says so when the session has ended, and leads back after signing in again', async () => {
  const { page } = await come('#/hooks')
  world.sandbox.host.forgetTokens()
  await waitForText(page, '.banner', 'Your session has ended')
  await page.click('.banner button')
  await page.waitForSelector('input[name=username]')
  await page.type('input[name=username]', ADMIN.email)
  await page.type('input[name=password]', ADMIN.password)
  await Promise.all([page.waitForNavigation(), page.click('button')])
  expect(page.url()).toBe(`${url}#/hooks`)
})

it('keeps xo-server from stopping for no longer than 3 s, with three pages open', async () => {
  for (let opened = 0; opened < 3; opened++) {
    await come('#/')
  }
  const began = performance.now()
  await world.sandbox.close()
  expect(performance.now() - began).toBeLessThan(3_000)
})
