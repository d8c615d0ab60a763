import { cloudEvents, cloudEventsBinary } from './cloudevents.ts'
import { discord } from './discord.ts'
import type { Format } from './format.ts'
import { googleChat } from './google-chat.ts'
import { gotify } from './gotify.ts'
import { event, virtfusion } from './hosters.ts'
import { json } from './json.ts'
import { mattermost } from './mattermost.ts'
import { ntfy } from './ntfy.ts'
import { office365 } from './office365.ts'
import { pagerduty } from './pagerduty.ts'
import { pushover } from './pushover.ts'
import { slack } from './slack.ts'
import { standardWebhooks } from './standard-webhooks.ts'
import { teams } from './teams.ts'
import { telegram } from './telegram.ts'
import { template } from './template.ts'
import { convoy, outpost, svix } from './web-hook-servers.ts'

export { judged } from './format.ts'
export type { Built, Format, Material, Options, TokenField } from './format.ts'
export { messageAbout } from './message.ts'
export type { Instance, Message } from './message.ts'

/**
 * By the name in the configuration. The form's choice, the README's table and the tests of all formats are made from it,
 * in this order.
 */
export const formats: ReadonlyMap<string, Format> = new Map<string, Format>([
  ['json', json],
  ['office365', office365],
  ['teams', teams],
  ['slack', slack],
  ['discord', discord],
  ['template', template],
  ['mattermost', mattermost],
  ['telegram', telegram],
  ['ntfy', ntfy],
  ['gotify', gotify],
  ['pushover', pushover],
  ['google-chat', googleChat],
  ['pagerduty', pagerduty],
  ['cloudevents', cloudEvents],
  ['cloudevents-binary', cloudEventsBinary],
  ['standard-webhooks', standardWebhooks],
  ['virtfusion', virtfusion],
  ['event', event],
  ['svix', svix],
  ['convoy', convoy],
  ['outpost', outpost],
])

/** Formats with which one can write what any service reads. */
const GENERIC: ReadonlySet<string> = new Set(['template'])

/** Of a hook whose URL belongs to the service of another format than its own: what it should have. */
export function hintOf(name: string, url: URL): string | undefined {
  const owner = [...formats].find(([, format]) => format.url.isOwn?.(url) === true)
  if (owner === undefined || owner[0] === name || GENERIC.has(name)) {
    return undefined
  }
  return `its URL is one of ${owner[1].title}: choose that format`
}
