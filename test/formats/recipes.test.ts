import { readFileSync } from 'node:fs'

import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'

import { settingsOf, parseConfig } from '../../src/config/parse.ts'
import type { Hook } from '../../src/config/hook.ts'
import { Courier } from '../../src/courier.ts'
import { formats } from '../../src/formats/index.ts'
import { describeOutcome } from '../../src/delivery/delivery.ts'
import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { startReceiver } from '../sandbox/receiver.ts'
import type { Answer, Received, Receiver } from '../sandbox/receiver.ts'
import { hostileTexts } from '../fixtures/hostile-texts.ts'
import { INSTANCE, materialOf, samplesWith } from '../helpers/material.ts'

// on a machine that is busy with something else
vi.setConfig({ testTimeout: 60_000 })

type Json = Readonly<Record<string, unknown>>

const TOKEN = 'Tk3n-of-the-service'

const json = ({ body }: Received): Json => JSON.parse(body) as Json
const isText = (value: unknown): boolean => typeof value === 'string' && value !== ''
const list = (value: unknown): readonly Json[] => value as readonly Json[]
const yes = (status: number, body: unknown = ''): Answer => ({
  status,
  body: typeof body === 'string' ? body : JSON.stringify(body),
})
const no = (status: number, why: string): Answer => ({ status, body: why })

/** What each service of the README's recipes takes and answers, as its documentation has it; a 4xx is a no. */
const STAND_INS: Readonly<Record<string, (request: Received) => Answer>> = {
  'Icinga 2': request => {
    const { type, filter, exit_status, plugin_output } = json(request)
    const { accept, authorization = '' } = request.headers
    if (accept !== 'application/json') {
      return no(400, "Accept header is missing or not set to 'application/json'.")
    }
    if (Buffer.from(authorization.slice('Basic '.length), 'base64').toString() !== 'root:icinga') {
      return no(401, 'Unauthorized')
    }
    return type === 'Service' && isText(filter) && [0, 1, 2, 3].includes(Number(exit_status)) && isText(plugin_output)
      ? yes(200, { results: [{ code: 200, status: 'Successfully processed check result.' }] })
      : no(400, 'Invalid parameters')
  },
  'Nagios NRDP': ({ url, headers, body }) => {
    // the service says 200 to everything
    const form = new URLSearchParams(body)
    const { searchParams } = new URL(url, 'http://x')
    if (searchParams.get('cmd') !== 'submitcheck' || headers['content-type'] !== 'application/x-www-form-urlencoded') {
      return no(400, 'NO REQUEST HANDLER')
    }
    const { checkresults } = JSON.parse(form.get('JSONDATA') ?? '{}') as Json
    const [result] = list(checkresults)
    const isGood = (result!['checkresult'] as Json)['type'] === 'service' && isText(result!['output'])
    return isGood && /^[0-3]$/.test(String(result!['state']))
      ? yes(200, { result: { status: '0', message: 'OK', meta: { output: '1 checks processed.' } } })
      : no(400, 'BAD JSON')
  },
  'healthchecks.io': ({ url }) => (/^\/[^/]+(?:\/fail)?$/.test(url) ? yes(200, 'OK') : no(404, 'not found')),
  'Uptime Kuma (push)': ({ url }) =>
    /^\/api\/push\/[^/?]+\?status=(?:up|down)/.test(url) ? yes(200, { ok: true }) : no(404, '{"ok":false}'),
  'Home Assistant, n8n, Node-RED': request => (isText(json(request)['method']) ? yes(200) : no(400, '')),
  'Matrix (hookshot)': request => (isText(json(request)['text']) ? yes(200, { ok: true }) : no(400, '{"ok":false}')),
  Zulip: request => (isText(json(request)['text']) ? yes(200, { result: 'success', msg: '' }) : no(400, '{"msg":"x"}')),
  'Rocket.Chat': request =>
    Array.isArray(json(request)['attachments']) ? yes(200, { success: true }) : no(400, '{"success":false}'),
  'apprise-api': request => {
    const { body, type } = json(request)
    return isText(body) && ['info', 'success', 'warning', 'failure'].includes(String(type)) ? yes(200) : no(400, '')
  },
  'GitHub Actions': request => {
    const { event_type, client_payload } = json(request)
    const { authorization, 'user-agent': agent } = request.headers
    if (authorization !== `Bearer ${TOKEN}` || !isText(agent)) {
      return no(401, '')
    }
    const isGood = String(event_type).length <= 100 && Object.keys(client_payload as Json).length <= 10
    return isGood ? yes(204) : no(422, '')
  },
  'Splunk HEC': request => {
    const { time, event } = json(request)
    if (request.headers.authorization !== `Splunk ${TOKEN}`) {
      return no(403, '{"text":"Invalid token","code":4}')
    }
    return Number(time) > 1e9 && Number(time) < 1e10 && typeof event === 'object'
      ? yes(200, { text: 'Success', code: 0 })
      : no(400, '{"text":"Invalid data format","code":6}')
  },
  Loki: request => {
    const [stream] = list(json(request)['streams'])
    const { stream: labels, values } = stream as { stream: Json; values: readonly (readonly unknown[])[] }
    const isGood =
      Object.values(labels).every(isText) && values.every(([ns, line]) => /^\d{19}$/.test(String(ns)) && isText(line))
    return isGood ? yes(204) : no(400, '')
  },
  Alertmanager: ({ body }) => {
    const alerts = JSON.parse(body) as readonly { labels: Json; annotations: Json }[]
    const isGood = alerts.every(
      ({ labels, annotations }) =>
        Object.values(labels).every(isText) && Object.values(annotations).every(text => typeof text === 'string')
    )
    return isGood ? yes(200) : no(400, '')
  },
  'Zabbix 7': request => {
    const { jsonrpc, method, params } = json(request)
    const isGood =
      jsonrpc === '2.0' &&
      method === 'history.push' &&
      list(params).every(({ host, key, value, clock }) => [host, key, value].every(isText) && Number.isInteger(clock))
    return isGood && request.headers.authorization === `Bearer ${TOKEN}`
      ? yes(200, { jsonrpc: '2.0', result: { response: 'success', data: [{ itemid: '1' }] }, id: 1 })
      : no(400, '')
  },
  NetBox: request => {
    const { name, status, cluster } = json(request)
    if (request.headers.authorization !== `Token ${TOKEN}`) {
      return no(403, '{"detail":"Invalid token"}')
    }
    return isText(name) && status === 'active' && isText((cluster as Json)['name']) ? yes(201, { id: 1 }) : no(400, '')
  },
  'Kafka, NATS, AMQP': request =>
    json(request)['specversion'] === '1.0' && request.headers['content-type'] === 'application/cloudevents+json'
      ? yes(200)
      : no(400, ''),
}

/** A row of the README's table. */
function recipes(): [name: string, where: string, what: string][] {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const [, table = ''] = /### Recipes\n(.*?)\n## /s.exec(readme) ?? []
  return table.split('\n').flatMap((line): [string, string, string][] => {
    const [, name = '', where = '', what = ''] = line.split(/(?<!\\)\|/).map(cell => cell.trim().replaceAll('\\|', '|'))
    return name === '' || name === 'for' || name.startsWith('-') || what === '' ? [] : [[name, where, what]]
  })
}

const codes = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!)

/** What an administrator fills in by such a row. */
function itemOf(where: string, what: string, origin: string): Json {
  const url = codes(where).find(code => code.startsWith('https:')) ?? 'https://service.example.org/hook'
  const isBasic = where.includes('_Basic_')
  const isBearer = where.includes('_Bearer_')
  const headers = codes(where).filter(code => code.includes(': '))
  const template = codes(what).find(code => code.includes('{{'))
  const format = template === undefined ? (codes(what).find(code => /^[\w-]+$/.test(code)) ?? 'json') : 'template'
  const { pathname, search } = new URL(url)
  return {
    name: 'recipe',
    method: 'vm.start',
    type: 'post',
    url: origin + pathname + search,
    format: format === 'success' ? 'json' : format,
    content: { ...(template !== undefined && { template }) },
    authentication: {
      ...(isBasic && { authorization: 'basic', user: 'root', password: 'icinga' }),
      ...(isBearer && { authorization: 'bearer' }),
      ...((isBearer || headers.some(each => each.includes('{{token}}'))) && { token: TOKEN }),
      ...(headers.length > 0 && { headers: headers.join('\n') }),
    },
  }
}

let receiver: Receiver
let standIn: (request: Received) => Answer = () => ({})

beforeAll(async () => {
  receiver = await startReceiver(request => standIn(request))
})
afterAll(() => receiver.close())

function hookOf(item: Json): Hook {
  const parsed = parseConfig({ hooks: [item], instanceName: INSTANCE.name, instanceUrl: INSTANCE.url })
  expect(parsed.problems).toEqual([])
  return settingsOf(parsed, ['h1'], { hooks: [], key: 'key' }).settings.hooks[0]!
}

/** What comes of each sample. */
async function sent(item: Json): Promise<[what: string, outcome: AttemptOutcome][]> {
  const hook = hookOf(item)
  const courier = new Courier()
  courier.configure({ hooks: [hook], proxy: {}, instance: INSTANCE })
  await courier.ready
  const outcomes: [string, AttemptOutcome][] = []
  for (const [what, { event, object }] of Object.entries(samplesWith())) {
    const handing = { id: what, event, hooks: [hook.id], party: 'a', ...(object !== undefined && { object }) }
    const [answer] = await courier.probe(handing)
    outcomes.push([what, answer!.attempt!.outcome])
  }
  await courier.close(0)
  return outcomes
}

it('there is a stand-in for each recipe of the README', () => {
  expect(recipes().map(([name]) => name)).toEqual(Object.keys(STAND_INS))
})

it.each(recipes())('the recipe for %s is taken by what answers as the service does', async (name, where, what) => {
  standIn = STAND_INS[name]!
  // a pool is known of VMs only: NetBox is told of nothing else
  const outcomes = (await sent(itemOf(where, what, new URL(receiver.url).origin))).filter(
    ([sample]) => name !== 'NetBox' || sample === 'success'
  )
  const refused = outcomes.filter(([, outcome]) => outcome.kind !== 'answered' || !outcome.ok)
  expect(refused.map(([sample, outcome]) => [sample, describeOutcome(outcome)])).toEqual([])
})

it('the library standardwebhooks verifies and reads back what the format standard-webhooks sends', async () => {
  const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
  const read: unknown[] = []
  standIn = ({ headers, body }) => {
    read.push(new Webhook(secret).verify(body, headers as Record<string, string>))
    return {}
  }
  const url = new URL(receiver.url).origin
  const item = {
    method: 'vm.start',
    type: 'post',
    url,
    format: 'standard-webhooks',
    authentication: { passphrase: secret },
  }
  await sent(item)
  expect(read).toHaveLength(Object.keys(samplesWith()).length)
  expect(read[2]).toMatchObject({
    type: 'vm.start.post',
    timestamp: '2026-11-21T21:26:10.000Z',
    data: { method: 'vm.start', error: { code: 'HOST_NOT_ENOUGH_FREE_MEMORY' } },
  })
})

const PLACED = { method: 'vm.start', type: 'post', format: 'template', content: { template: 'x' } }

it('a template fills in the path and the query of its URL, percent-encoded, and nothing else of it', async () => {
  const paths: string[] = []
  standIn = ({ url }) => {
    paths.push(url)
    return {}
  }
  const { origin } = new URL(receiver.url)
  const url = `${origin}/a b/{{ user }}/{{event.params.id | upper}}?x={{title}}&y={{event.result.nothing}}&k=%7B`
  await sent({ ...PLACED, url })
  const who = 'bruce.wayne%40waynecorp.com'
  const id = '67AAC198-0174-11EA-8D71-362B9E155667'
  expect(paths[2]).toBe(`/a%20b/${who}/${id}?x=VM%20start%20failed&y=&k=%7B`)
  expect(paths).toHaveLength(Object.keys(samplesWith()).length)
})

it('a stranger cannot leave the place that the URL gives', () => {
  const hook = hookOf({ ...PLACED, url: 'https://x.example.org/a/{{event.userName}}/b?c={{event.userName}}' })
  const place = '%7B%7Bevent.userName%7D%7D'
  expect(hook.route.endpoint.url).toBe(`https://x.example.org/a/${place}/b?c=${place}`)
  for (const [, user] of [
    ...hostileTexts,
    ['', '..'],
    ['', '.'],
    ['', '../../x?y#z'],
    ['', '&c=2'],
    ['', `x${place}`],
  ]) {
    const { event, object } = samplesWith({ user: user!, name: 'x', error: 'x' })['failure']!
    const { fills } = formats.get('template')!.build(materialOf(event, object), hook)
    expect(fills![place]).toMatch(/^(?!\.+$)(?:[\w.~!*'()-]|%[\dA-F]{2})*$/)
  }
})

it.each([
  ['https://x.example.org/{{objct.name}}', /did you mean object\.name/],
  ['https://x.example.org/?a={{object.name | nothing}}', /one of the filters/],
  ['https://{{object.name}}.example.org/', /no placeholder but in its path and query/],
  ['https://x.example.org:{{at}}/', /an http:\/\/ or https:\/\/ URL/],
])('the URL %s is refused', (url, expected) => {
  expect(parseConfig({ hooks: [{ ...PLACED, url }] }).problems).toMatchObject([
    { path: 'hooks[0].url', expected: expect.stringMatching(expected) as string },
  ])
})

it('a URL of another format is as it is', () => {
  const { route, places } = hookOf({ method: 'vm.start', url: 'https://x.example.org/{{at}}?{{at}}', format: 'json' })
  expect(route.endpoint.url).toBe('https://x.example.org/%7B%7Bat%7D%7D?{{at}}')
  expect(places).toBe(undefined)
})
