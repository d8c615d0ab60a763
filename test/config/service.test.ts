import { describe, expect, it } from 'vitest'

import type { Endpoint } from '../../src/delivery/delivery.ts'
import { formats } from '../../src/formats/index.ts'
import { readConfig } from '../helpers/read-config.ts'

const TELEGRAM = 'https://api.telegram.org/bot123:abc-D_e'
const KEY = 'uQiRzpo4DXghDmr9QzzfQu27cmVRsG'

const SLACK = 'https://hooks.slack.com/services/T0/B0/x'

function read(hook: object): ReturnType<typeof readConfig> {
  const usual = { name: 'Hook', method: 'vm.start', type: 'post' }
  return readConfig({ hooks: [{ ...usual, ...hook }] })
}

function endpointOf(hook: object): Endpoint | undefined {
  const { settings, problems } = read(hook)
  expect(problems).toEqual([])
  return settings.hooks[0]?.route.endpoint
}

describe('what a format makes of the fields of a hook', () => {
  it.each<[what: string, hook: object, endpoint: object]>([
    [
      'json asks for nothing',
      { format: 'json', url: 'https://a.example/x' },
      { url: 'https://a.example/x', headers: [] },
    ],
    ['Slack', { format: 'slack', url: SLACK }, { url: SLACK, service: 'slack', pace: { perSecond: 1, burst: 4 } }],
    [
      'a URL for Telegram gets its method',
      { format: 'telegram', url: TELEGRAM, target: '-100123/7' },
      { url: `${TELEGRAM}/sendMessage`, target: '-100123/7', service: 'telegram' },
    ],
    [
      'one that has it keeps it',
      { format: 'telegram', url: `${TELEGRAM}/sendMessage`, target: '@channel' },
      { url: `${TELEGRAM}/sendMessage`, target: '@channel' },
    ],
    [
      'the topic of ntfy may stand in the URL',
      { format: 'ntfy', url: 'https://ntfy.sh/my-topic?auth=x' },
      { url: 'https://ntfy.sh/?auth=x', target: 'my-topic' },
    ],
    [
      'or be the target',
      { format: 'ntfy', url: 'https://ntfy.sh/', target: 'other' },
      { url: 'https://ntfy.sh/', target: 'other' },
    ],
    [
      'the token of Gotify is a header',
      { format: 'gotify', url: 'https://push.example.org/gotify/', authentication: { token: 'Axyz' } },
      { url: 'https://push.example.org/gotify/message', headers: ['X-Gotify-Key', 'Axyz'] },
    ],
    [
      'it may stand in the URL',
      { format: 'gotify', url: 'https://push.example.org/message?token=A' },
      { url: 'https://push.example.org/message?token=A', headers: [] },
    ],
    [
      'or be a header of the hook',
      {
        format: 'gotify',
        url: 'https://push.example.org/message',
        authentication: { headers: 'X-A: b\nx-gotify-key: A' },
      },
      { headers: ['X-A', 'b', 'x-gotify-key', 'A'] },
    ],
    [
      'both keys of Pushover may stand in the URL',
      { format: 'pushover', url: `https://api.pushover.net/1/messages.json?token=a&user=${KEY}` },
      { url: `https://api.pushover.net/1/messages.json?token=a&user=${KEY}`, headers: [] },
    ],
    [
      'the token of PagerDuty is put into the body, whatever "Authorization" says',
      {
        format: 'pagerduty',
        url: 'https://events.pagerduty.com/v2/enqueue',
        authentication: { authorization: 'none', token: 'R0' },
      },
      { headers: [], bodySecret: { name: 'routing_key', value: 'R0' } },
    ],
    [
      'so is that of Pushover',
      {
        format: 'pushover',
        url: 'https://api.pushover.net/1/messages.json',
        target: KEY,
        authentication: { token: 'a1' },
      },
      { headers: [], target: KEY, bodySecret: { name: 'token', value: 'a1' } },
    ],
    [
      'the token of a header is that of its field',
      {
        format: 'template',
        url: 'https://a.example/',
        content: { template: '{}', requestMethod: 'PUT' },
        authentication: { token: 'a$&1', headers: 'Authorization: Splunk {{token}}\nX: y' },
      },
      { headers: ['Authorization', 'Splunk a$&1', 'X', 'y'], method: 'PUT' },
    ],
  ])('%s', (_, hook, endpoint) => {
    expect(endpointOf(hook)).toMatchObject(endpoint)
  })

  it.each<[hook: object, path: string, expected: RegExp]>([
    [{ format: 'telegram', url: `${TELEGRAM}/sendMessage` }, 'hooks[0].target', /the chat's id/],
    [{ format: 'telegram', url: TELEGRAM, target: 'my chat' }, 'hooks[0].target', /the chat's id/],
    [{ format: 'telegram', url: 'https://api.telegram.org/', target: '1' }, 'hooks[0].url', /BotFather/],
    [{ format: 'telegram', url: 'https://api.telegram.org/%', target: '1' }, 'hooks[0].url', /BotFather/],
    [{ format: 'slack', url: 'https://hooks.slack.com/triggers/x' }, 'hooks[0].url', /incoming webhook/],
    [{ format: 'discord', url: 'https://discord.com/api/webhooks/1/x/slack' }, 'hooks[0].url', /without "\/slack"/],
    [{ format: 'teams', url: 'https://x.webhook.office.com/webhookb2/x' }, 'hooks[0].url', /a workflow/],
    [{ format: 'ntfy', url: 'https://ntfy.sh/' }, 'hooks[0].target', /the topic/],
    [
      { format: 'pushover', url: 'https://api.pushover.net/1/messages.json', target: 'bruce' },
      'hooks[0].target',
      /the key of the user/,
    ],
    [
      { format: 'pagerduty', url: 'https://events.pagerduty.com/v2/enqueue' },
      'hooks[0].authentication.token',
      /integration key/,
    ],
    [
      {
        format: 'pagerduty',
        type: 'pre/post',
        url: 'https://events.pagerduty.com/v2/enqueue',
        authentication: { token: 'x' },
      },
      'hooks[0].type',
      /"post"/,
    ],
    [
      { format: 'gotify', url: 'https://push.example.org/' },
      'hooks[0].authentication.token',
      /the application's token/,
    ],
    [
      {
        format: 'gotify',
        url: 'https://push.example.org/message?token=',
        authentication: { headers: 'X-Gotify: A' },
      },
      'hooks[0].authentication.token',
      /the application's token/,
    ],
    [
      { format: 'pushover', url: 'https://api.pushover.net/1/messages.json', target: KEY },
      'hooks[0].authentication.token',
      /the application's token/,
    ],
    [
      {
        format: 'pushover',
        url: 'https://api.pushover.net/1/messages.json?token=a',
        authentication: { headers: 'Authorization: x' },
      },
      'hooks[0].target',
      /the key of the user/,
    ],
    [{ format: 'convoy', url: 'https://a.example/' }, 'hooks[0].target', /the endpoint's id/],
    [{ format: 'template', url: 'https://a.example/' }, 'hooks[0].content.template', /a template/],
    [
      { format: 'template', url: 'https://a.example/', content: { template: '{\n"a": "{{usr}}"}' } },
      'hooks[0].content.template (line 2, column 7)',
      /did you mean user\?/,
    ],
    [
      { url: 'https://a.example/', content: { requestMethod: 'GET' } },
      'hooks[0].content.requestMethod',
      /"POST" or "PUT"/,
    ],
    [
      { url: 'https://a.example/', authentication: { headers: 'X: {{token}}' } },
      'hooks[0].authentication.token',
      /a token/,
    ],
    [
      { url: 'https://a.example/', authentication: { token: 'x' } },
      'hooks[0].authentication.authorization',
      /one of "none"/,
    ],
  ])('%j is refused at %s', (hook, path, expected) => {
    const { problems } = read(hook)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatchObject({ path, expected: expect.stringMatching(expected) as string })
  })

  it('tells nothing secret of what it refuses', () => {
    for (const url of ['https://api.telegram.org/s3cret', 'https://hooks.slack.com/s3cret?s3cret']) {
      for (const format of formats.keys()) {
        const { problems, warnings } = read({ url, format, authentication: { token: 's3cret ü' }, target: '' })
        expect(JSON.stringify([problems, warnings])).not.toContain('s3cret')
      }
    }
  })

  it.each([
    [{ format: 'json', url: SLACK }, /its URL is one of Slack: choose that format/],
    [{ format: 'slack', url: 'https://discord.com/api/webhooks/1/x' }, /its URL is one of Discord/],
    [{ format: 'office365', url: `${TELEGRAM}/sendMessage` }, /its URL is one of Telegram/],
    [{ format: 'json', url: 'https://prod-1.westeurope.logic.azure.com:443/workflows/x/triggers' }, /Microsoft Teams/],
    [{ format: 'json', url: 'https://x.webhook.office.com/webhookb2/x' }, /Office 365/],
    [{ format: 'json', url: 'https://a.example/', target: 'x' }, /has no use for a target/],
    [{ format: 'json', url: 'https://a.example/', content: { template: 'x' } }, /has no use for a template/],
  ])('%j is accepted, with a hint', (hook, hint) => {
    const { problems, warnings } = read(hook)
    expect(problems).toEqual([])
    expect(warnings.join('\n')).toMatch(hint)
  })

  it.each(['https://a.example/', SLACK])('a template may go anywhere, as to %s', url => {
    expect(read({ format: 'template', url, content: { template: '{}' } }).warnings).toEqual([])
  })
})

describe('an endpoint', () => {
  const id = (hook: object): string | undefined => endpointOf(hook)?.id

  it('is another one for another target, method, service or token', () => {
    const chat = (target: string) => id({ format: 'telegram', url: TELEGRAM, target })
    expect(new Set([chat('-1'), chat('-2'), chat('-2/5'), chat('-1')]).size).toBe(3)
    const key = (token: string) =>
      id({ format: 'pagerduty', url: 'https://events.pagerduty.com/v2/enqueue', authentication: { token } })
    expect(new Set([key('a'), key('b'), key('a')]).size).toBe(2)
    const plain = { url: 'https://a.example/' }
    expect(id({ ...plain, content: { requestMethod: 'PUT' } })).not.toBe(id(plain))
    expect(id({ ...plain, content: { requestMethod: 'POST' } })).toBe(id(plain))
  })

  it('is the same for formats of which no service has rules of its own', () => {
    const url = 'https://a.example/'
    const ids = ['json', 'office365', 'cloudevents', 'standard-webhooks', 'virtfusion'].map(format =>
      id({ url, format })
    )
    expect(new Set(ids).size).toBe(1)
  })
})

describe('this XO', () => {
  it.each([
    [{}, {}],
    [{ instanceName: ' XO Paris ', instanceUrl: null }, { name: 'XO Paris' }],
    [{ instanceUrl: 'https://xo.example.org/' }, { url: 'https://xo.example.org' }],
    [{ instanceUrl: 'https://u:p@xo.example.org/v6/#/vm/1?x' }, { url: 'https://xo.example.org/v6' }],
  ])('%j is %j', (config, instance) => {
    const { settings, problems } = readConfig(config)
    expect([settings.instance, problems]).toEqual([instance, []])
  })

  it('has a URL, or none', () => {
    const { settings, problems } = readConfig({
      instanceUrl: 'xo.example.org',
      hooks: [{ method: 'x', url: 'http://a' }],
    })
    expect(problems).toMatchObject([{ path: 'instanceUrl', expected: 'an http:// or https:// URL' }])
    expect(settings.hooks).toHaveLength(1)
  })
})
