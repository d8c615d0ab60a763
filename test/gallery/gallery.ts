import { existsSync } from 'node:fs'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

import { launch } from 'puppeteer-core'
import type { Browser } from 'puppeteer-core'

import { looks, STYLE } from './look-alikes.ts'

/**
 * `npm run gallery [-- <format>…]`: draws pictures of messages for the README, from the bodies under `test/fixtures/formats`,
 * in Chromium (`CHROMIUM_PATH`, or where Debian has it). They are to be looked at whenever the bodies change.
 */

const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium'
const SAMPLES = ['failure', 'backup']
const MAX_BYTES = 1_000_000

const fixtures = new URL('../fixtures/', import.meta.url)
const require = createRequire(import.meta.url)

/** Microsoft's renderer, with colours near those of Teams. */
const CARDS = `
  const config = {
    fontFamily: "'Liberation Sans', Arial, sans-serif",
    fontSizes: { small: 12, default: 14, medium: 16, large: 20, extraLarge: 24 },
    containerStyles: {
      default: { backgroundColor: '#ffffff' },
      good: { backgroundColor: '#e7f2da' }, attention: { backgroundColor: '#fcf4f6' },
      warning: { backgroundColor: '#fbf6d9' }, accent: { backgroundColor: '#e8ebfa' }, emphasis: { backgroundColor: '#f0f0f0' },
    },
  }
  for (const body of BODIES) {
    const card = new AdaptiveCards.AdaptiveCard()
    card.hostConfig = new AdaptiveCards.HostConfig(config)
    card.parse(body.attachments[0].content)
    const frame = document.createElement('div')
    frame.className = 'card'
    frame.append(card.render())
    document.body.append(frame)
  }`
const CARD_STYLE = `
  body { background: #f5f5f5; } .card { border: 1px solid #ddd; border-radius: 6px; overflow: hidden; margin-bottom: 14px; background: #fff; }
  .card:last-child { margin: 0; } .ac-pushButton { background: #fff; border: 1px solid #bbb; border-radius: 4px; padding: 6px 12px; font: bold 13px 'Liberation Sans'; }`

/** A machine that draws pictures may have no font of emoji: those of ours are drawn here. */
const EMOJI = `
  const box = (fill, path) => '<svg class="emoji" viewBox="0 0 20 20"><rect x="1" y="1" width="18" height="18" rx="4" fill="' + fill + '"/><path d="' + path + '" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round"/></svg>'
  const signs = {
    '✅': box('#3aa655', 'M5 10l4 4 6-8'),
    '❌': '<svg class="emoji" viewBox="0 0 20 20"><path d="M4 4l12 12M16 4L4 16" stroke="#dd2e44" stroke-width="4" stroke-linecap="round"/></svg>',
    '⚠️': '<svg class="emoji" viewBox="0 0 20 20"><path d="M10 2L19 18H1z" fill="#ffcc4d"/><path d="M10 8v5M10 15.5v.5" stroke="#231f20" stroke-width="2"/></svg>',
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const nodes = []
  while (texts.nextNode()) nodes.push(texts.currentNode)
  for (const node of nodes) {
    const parts = node.data.split(/(✅|❌|⚠️)/)
    if (parts.length > 1) {
      const whole = document.createElement('span')
      for (const part of parts) {
        if (part in signs) whole.insertAdjacentHTML('beforeend', signs[part])
        else whole.append(part)
      }
      node.replaceWith(whole)
    }
  }`

async function draw(browser: Browser, name: string): Promise<number> {
  const all = JSON.parse(await readFile(new URL(`formats/${name}.json`, fixtures), 'utf8')) as Record<
    string,
    { readonly body: Readonly<Record<string, unknown>> }
  >
  const bodies = SAMPLES.map(sample => all[sample]!.body)
  const look = looks.get(name)
  const page = await browser.newPage()
  await page.setViewport({ width: 500, height: 300, deviceScaleFactor: 1.5 })
  await page.setContent(
    `<!doctype html><meta charset=utf-8><style>${STYLE}${look?.style ?? CARD_STYLE}</style>${bodies.map(body => look?.draw(body) ?? '').join('')}`
  )
  if (look === undefined) {
    await page.addScriptTag({ path: require.resolve('adaptivecards/dist/adaptivecards.min.js') })
    await page.evaluate(`const BODIES = ${JSON.stringify(bodies)};${CARDS}`)
  }
  await page.evaluate(EMOJI)
  const path = fileURLToPath(new URL(`gallery/${name}.png`, fixtures))
  const body = await page.$('body')
  await body!.screenshot({ path: path as `${string}.png` })
  await page.close()
  return (await stat(path)).size
}

if (!existsSync(CHROMIUM)) {
  console.error(`There is no Chromium at ${CHROMIUM}: install one, or say where it is with CHROMIUM_PATH.`)
  process.exit(2)
}
const known = ['teams', ...looks.keys()]
const asked = process.argv.slice(2)
const unknown = asked.filter(name => !known.includes(name))
if (unknown.length > 0) {
  console.error(`There are no pictures of ${unknown.join(', ')}. There are: ${known.join(', ')}.`)
  process.exit(2)
}
await mkdir(new URL('gallery/', fixtures), { recursive: true })
const browser = await launch({ executablePath: CHROMIUM, args: ['--no-sandbox'], env: { ...process.env, TZ: 'UTC' } })
try {
  let total = 0
  for (const name of asked.length > 0 ? asked : known) {
    const size = await draw(browser, name)
    total += size
    console.log(`${name}.png: ${Math.round(size / 1000)} KB`)
  }
  if (total > MAX_BYTES) {
    console.error(`They have ${Math.round(total / 1000)} KB, and should have ${MAX_BYTES / 1000}.`)
    process.exitCode = 1
  }
} finally {
  await browser.close()
}
