/**
 * The page as it looks.
 *
 *     npx tsx test/browser/shots.ts FOLDER             every view in both themes, and on a narrow screen
 *     npx tsx test/browser/shots.ts FOLDER --readme    those of the README, after ten minutes in which something happens
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Page } from 'puppeteer-core'

import { signIn, startBrowser, startWorld, visit } from './world.ts'

const [folder = 'shots', option] = process.argv.slice(2)
const isForReadme = option === '--readme'
await mkdir(folder, { recursive: true })
const world = await startWorld(isForReadme)
const browser = await startBrowser()
const url = `${world.sandbox.webUrl}/web-hooks`
try {
  await (isForReadme ? shootForReadme() : shootAll())
} finally {
  await browser.close()
  await world.close()
}

async function shootAll(): Promise<void> {
  for (let round = 0; round < 5; round++) {
    await world.happen()
  }
  for (const [theme, width] of [
    ['light', 1280],
    ['dark', 1280],
    ['light', 320],
  ] as const) {
    const visited = await visit(browser, { theme, width })
    const { page, errors } = visited
    await signIn(visited, url)
    for (const [name, hash] of [
      ['overview', '#/'],
      ['deliveries', '#/deliveries'],
      ['hooks', '#/hooks'],
      ['editor', '#/hooks/new?method=vm.started'],
      ['events', '#/events'],
      ['delivery', await linkAt(page, '#/deliveries?status=dead,waiting', '[data-row]')],
      ['call', await linkAt(page, '#/events', 'a[href*="#/calls/"]')],
    ] as const) {
      await shoot(page, hash, `${name}-${theme}-${width}`)
    }
    console.log(theme, width, errors)
    await visited.context.close()
  }
}

async function shootForReadme(): Promise<void> {
  const failing = world.answer
  for (let minute = 0; minute < 10; minute++) {
    world.answer = minute === 3 || minute === 9 ? failing : { status: 204 }
    for (let round = 0; round < 12; round++) {
      await world.happen()
      await sleep(5_000)
    }
  }
  for (const [theme, name] of [
    ['light', 'overview'],
    ['dark', 'delivery'],
  ] as const) {
    const visited = await visit(browser, { theme, width: 1100, height: 620 })
    await signIn(visited, url)
    const hash =
      name === 'overview'
        ? '#/'
        : await linkAt(visited.page, '#/deliveries?status=dead,waiting&answer=5xx', '[data-row]')
    await shoot(visited.page, hash, name)
  }
}

/** Where the first link of these leads to. */
async function linkAt(page: Page, hash: string, selector: string): Promise<string> {
  await page.goto(new URL(hash, url).href)
  await page.waitForSelector(selector)
  return page.$eval(selector, link => link.getAttribute('href') ?? '')
}

async function shoot(page: Page, hash: string, name: string): Promise<void> {
  await page.goto(`${url}${hash}`)
  await page.waitForFunction(() => !/Loading…|looked through/.test(document.body.innerText))
  await sleep(500)
  await page.screenshot({ path: `${join(folder, name)}.png` as const })
}
