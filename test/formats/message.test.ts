import { readFileSync } from 'node:fs'

import { describe, expect, it } from 'vitest'

import { freezeEvent } from '../../src/event/event.ts'
import type { Phase } from '../../src/event/event.ts'
import { formats, messageAbout } from '../../src/formats/index.ts'
import type { Message } from '../../src/formats/index.ts'
import { cut, fitted, lineOf, linesOf } from '../../src/formats/text.ts'
import { durationText, headingOf, isForeseen, sizeText, timeText } from '../../src/formats/words.ts'
import { hookableEvents } from '../../src/sources/index.ts'
import type { Signal } from '../../src/xo.ts'
import { builtBy, INSTANCE, materialOf, samplesWith } from '../helpers/material.ts'

function messageOf(phase: Phase, signal: object, instance = INSTANCE): Message {
  return messageAbout(freezeEvent('api', phase, { callId: 'k', ...signal } as Signal), instance, 5)
}

function sampleMessage(what: string): Message {
  const { event, object } = samplesWith()[what]!
  return materialOf(event, object).message
}

describe('a message', () => {
  it.each([
    ['start', '⏳ VM start requested: web01 (by bruce.wayne@waynecorp.com)'],
    ['success', '✅ VM start succeeded: web01 (2.3 s, by bruce.wayne@waynecorp.com)'],
    ['failure', '❌ VM start failed: web01 (2.3 s, by bruce.wayne@waynecorp.com)'],
    ['backup', '❌ Backup failed: Nightly (1 h 5 min, by bruce.wayne@waynecorp.com)'],
    ['state', '❌ Host disconnected: host-2'],
    ['stranger', '⚠️ Sign-in failed (by bruce.wayne@waynecorp.com)'],
  ])('of the sample "%s" is in one line: %s', (what, text) => {
    const message = sampleMessage(what)
    expect(`${message.emoji} ${message.text}`).toBe(text)
  })

  it('of a backup lists the first five of what has failed, and how many more', () => {
    expect(sampleMessage('backup').details?.split('\n').slice(4)).toEqual([
      'web01 4: ENOSPC: no space left on device, write',
      'and 2 more',
    ])
  })

  it.each([
    [{ message: 'no', code: 'VM_BAD_POWER_STATE' }, 'no (VM_BAD_POWER_STATE)'],
    [{ message: 'VM_BAD_POWER_STATE(x)', code: 'VM_BAD_POWER_STATE' }, 'VM_BAD_POWER_STATE(x)'],
    [{ message: 'no such object', code: 1 }, 'no such object'],
    [{ code: 'FULL' }, 'FULL'],
    ['a text', 'a text'],
    [null, 'no reason was given'],
    [{ message: { x: 1 } }, 'no reason was given'],
    [{ message: 'first\r\nsecond\u2028third' }, 'first\nsecond\nthird'],
  ])('of the error %j says: %s', (error, details) => {
    expect(messageOf('post', { method: 'vm.start', error }).details).toBe(details)
  })

  it('says so of an error that is too large, and does not say that there is none', () => {
    for (const size of [300_000, 10_000_000]) {
      expect(messageOf('post', { method: 'vm.start', error: { message: 'x'.repeat(size) } }).error).toBe(
        'the error is too large'
      )
    }
  })

  it('of a backup counts all that has failed, also what is not listed', () => {
    const failures = Array.from({ length: 100 }, (_, n) => ({ name: `web${n}`, message: 'no' }))
    const { details, facts } = messageOf('post', { method: 'backupNg.runJob', error: { failures, failureCount: 300 } })
    expect(details?.split('\n').at(-1)).toBe('and 295 more')
    expect(facts).toContainEqual({ label: 'Failed', value: '300' })
  })

  it('never tells a result', () => {
    const { event } = samplesWith()['success']!
    const fields = new Map([...event.fields, ['result', '"s3cret"']])
    for (const [name, format] of formats) {
      if (format.tellsObject === true && name !== 'virtfusion' && name !== 'template') {
        expect(builtBy(name, { ...event, fields }).body.toString(), name).not.toContain('s3cret')
      }
    }
  })

  it.each([
    [{ name_label: 'new' }, { name_label: 'new' }, 'new'],
    [{ id: 'x', name_label: 'old' }, undefined, 'old'],
    [{ id: 'x' }, undefined, 'x'],
    [{}, undefined, undefined],
    [{ id: 'x' }, { id: 'x', type: 'VM' }, 'x'],
    [{ id: 'x' }, { id: 'x', type: 'VM', name_label: ' \u200b ' }, 'x'],
  ])('with the params %j and the object %j is about %s', (params, object, name) => {
    expect(messageOf('post', { method: 'vm.create', params, object, result: true }).object?.name).toBe(name)
  })

  it('is about the user only if there is one', () => {
    for (const userName of [undefined, '', '(unknown user)', 5, null]) {
      expect(messageOf('post', { method: 'vm.start', userName, result: true }).facts).toEqual([])
    }
  })

  it.each([
    ['https://xo.example.org', 2],
    ['https://xo.example.org/v6', 1],
    ['https://xo.example.org/v5', 1],
    ['https://example.org/xo', 2],
  ])('has links into %s', (url, count) => {
    const links = messageOf('post', { method: 'vm.start', params: { id: 'a-1' }, result: true }, { url }).links
    expect(links).toHaveLength(count)
    for (const link of links) {
      expect(link.url).toMatch(/^https:\/\/(xo\.)?example\.org(\/xo)?\/(v6\/#\/vm\/a-1|v5\/#\/vms\/a-1\/general)$/)
    }
  })

  it.each([
    ['no URL', {}, 'a-1', 'vm.start'],
    ['an id that is none', { url: 'https://xo.example.org' }, 'a/../b?x', 'vm.start'],
    ['what has no page', { url: 'https://xo.example.org' }, 'a-1', 'vif.connect'],
  ])('has no link with %s', (_, instance, id, method) => {
    expect(messageOf('post', { method, params: { id }, result: true }, instance).links).toEqual([])
  })

  it('has the same key for a failure and for what ends it', () => {
    const keyOf = (method: string, params: object, more: object = {}): string =>
      messageOf('post', { method, params, ...more }).key
    expect(keyOf('vm.start', { id: 'x' }, { error: {} })).toBe(keyOf('vm.start', { id: 'x' }))
    expect(keyOf('vm.start', { id: 'x' })).not.toBe(keyOf('vm.start', { id: 'y' }))
    expect(keyOf('host.disconnected', { id: 'x' })).toBe(keyOf('host.connected', { id: 'x' }))
    expect(keyOf('host.disconnected', { id: 'x' })).not.toBe(keyOf('host.disabled', { id: 'x' }))
    expect(keyOf('alarm.raised', { id: 'x', message: 'm' })).toBe(keyOf('alarm.cleared', { id: 'x', message: 'm' }))
    expect(keyOf('alarm.raised', { id: 'x', message: 'm' })).not.toBe(keyOf('alarm.raised', { id: 'x', message: 'n' }))
    const pbd = (host: string) => keyOf('sr.disconnected', { id: 'x', host: { id: host } })
    expect([pbd('h') === pbd('h'), pbd('h') === pbd('i')]).toEqual([true, false])
  })

  it.each([
    [
      'vm.migrated',
      { before: { host: { id: 'a', name_label: 'h1' } }, after: { host: { id: 'b', name_label: 'h2' } } },
      'From h1, To h2',
    ],
    ['vm.renamed', { before: { name_label: 'old' }, after: { name_label: 'new' } }, 'Before old'],
    [
      'sr.full',
      { before: { size: 2 ** 40 }, after: { size: 2 ** 40, physical_usage: 2 ** 39 * 1.9 } },
      'Used 973 GiB of 1.0 TiB',
    ],
    [
      'alarm.raised',
      { after: { name: 'ALARM', alarm: 'cpu_usage', value: 0.97, body: 'value: 0.97' } },
      'Alarm cpu_usage, Value 0.97',
    ],
    ['alarm.cleared', { before: { name: 'BOND_STATUS_CHANGED', body: 'x' } }, 'Alarm BOND_STATUS_CHANGED'],
    ['vm.started', { before: { power_state: 'Halted' }, after: { host: { id: 'h' } } }, 'Host h'],
    ['user.signInFailed', { userIp: '203.0.113.9' }, 'From 203.0.113.9'],
  ])('of %s tells what has changed', (method, fields, facts) => {
    const message = messageOf('post', { method, params: {}, ...fields })
    expect(message.facts.map(({ label, value }) => `${label} ${value}`).join(', ')).toBe(facts)
  })

  it('of the Test button says so', () => {
    expect(messageOf('post', { method: 'vm.start', result: true, test: true }).title).toBe('Test: VM start succeeded')
  })

  it('of an event without a usable time is of now', () => {
    for (const timestamp of [undefined, 'x', 1e300, Number.NaN]) {
      expect(messageOf('post', { method: 'vm.start', timestamp }).at).toBe(5)
    }
  })
})

describe('the head of a message', () => {
  it('is foreseen for every event that can be hooked besides API methods', () => {
    expect(hookableEvents.map(({ name }) => name).filter(name => !isForeseen(name))).toEqual([])
  })

  it.each([
    ['vm.stop', 'VM shutdown failed'],
    ['vm.migrate', 'VM migration failed'],
    ['vm.delete', 'VM deletion failed'],
    ['vm.setBootOrder', 'Change of the boot order failed'],
    ['host.emergencyShutdownHost', 'Emergency shutdown of a host failed'],
    ['sdnController.addNetworkRule', 'Addition of a network traffic rule failed'],
    ['sdnController.learnNothing', 'SDN controller: learn nothing failed'],
    ['vm.someThingNew', 'VM: some thing new failed'],
    ['xoa.licenses.bindLicense', 'Xoa licenses bind license failed'],
    ['rest.doThis', 'Rest do this failed'],
    ['toString', 'To string failed'],
    ['__proto__.constructor', 'Proto constructor failed'],
    ['', 'Something failed'],
    ['...', 'Something failed'],
  ])('of %s is: %s', (method, title) => {
    expect(headingOf(method, 'failure').title).toBe(title)
  })

  it.each([
    ['skipped', 'success', 'Backup skipped'],
    ['interrupted', 'failure', 'Backup interrupted'],
    ['failure', 'failure', 'Backup failed'],
    [undefined, 'success', 'Backup succeeded'],
    [undefined, 'started', 'Backup requested'],
  ] as const)('of a backup with the status %s is of that', (status, outcome, title) => {
    expect(headingOf('backupNg.runJob', outcome, status).title).toBe(title)
  })
})

it.each([
  [0, '0 ms'],
  [230.4, '230 ms'],
  [2_317, '2.3 s'],
  [9_960, '10 s'],
  [45_000, '45 s'],
  [60_000, '1 min'],
  [200_000, '3 min 20 s'],
  [3_600_000, '1 h'],
  [3_930_000, '1 h 5 min'],
  [86_400_000 * 2 + 3_600_000 * 3, '2 d 3 h'],
])('%i ms are %s', (ms, text) => {
  expect(durationText(ms)).toBe(text)
})

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1024, '1.0 KiB'],
  [1.5 * 2 ** 30, '1.5 GiB'],
  [2 ** 40 * 1000, '1.0 PiB'],
])('%i bytes are %s', (size, text) => {
  expect(sizeText(size)).toBe(text)
})

it.each([
  [0, '2026-11-21 21:26:10 UTC'],
  [60, '2026-11-21 22:26:10 +01:00'],
  [-210, '2026-11-21 17:56:10 -03:30'],
  [345, '2026-11-22 03:11:10 +05:45'],
])('in a zone %i minutes from UTC the time is told as %s', (offset, text) => {
  expect(timeText(Date.UTC(2026, 10, 21, 21, 26, 10, 999), offset)).toBe(text)
})

it.each(['telegram', 'ntfy', 'gotify', 'google-chat', 'mattermost'])(
  'of what comes late, %s tells when it was, however long the rest is',
  format => {
    const { event, object } = samplesWith({ user: 'bruce', name: 'web', error: '\n<漢&'.repeat(9_000) })['failure']!
    expect(builtBy(format, event, object).body.toString().replaceAll('\u200b', '')).toContain('2026-11-21 21:26:10 UTC')
  }
)

describe('a text', () => {
  it('is cut between code points, also of what is escaped', () => {
    expect(cut('abc', 3)).toBe('abc')
    expect(cut('abcd', 3)).toBe('ab…')
    expect(cut('😀😀😀', 4)).toBe('😀…')
    const escape = (text: string): string => text.replaceAll('&', '&amp;')
    expect([7, 6, 5].map(max => fitted('a&bc', max, escape))).toEqual(['a&amp;…', 'a…', 'a…'])
    expect(fitted('abc', 0)).toBe('')
  })

  it('of one line is in one line, and shows all that it is made of', () => {
    expect(lineOf(' a\r\n\tb  c\u2028d\u0000e ', 50)).toBe('a b c de')
    expect(lineOf('مرحبا 漢字 👩‍👩‍👧 ❤️', 50)).toBe('مرحبا 漢字 👩‍👩‍👧 ❤️')
    expect(lineOf('x\u202ey\u2066z\ud83d', 50)).toBe('xyz')
    expect(lineOf(`Z${'\u0335'.repeat(99)}a`, 50)).toBe('Z\u0335\u0335\u0335a')
  })

  it('of several lines keeps them, and nothing else', () => {
    expect(linesOf('a \r\n b\u0085c\n\n', 50)).toBe('a\nbc')
  })
})

describe('the README', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

  it('lists every format with what it asks for', () => {
    const [, table = ''] = /<!-- formats -->\n(.*)<!-- \/formats -->/s.exec(readme) ?? []
    const rows = table.split('\n').flatMap(line => {
      const [, name, title, fields] = /^\| `([\w-]+)` +\| (.*?) +\| (.*?) +\|$/.exec(line) ?? []
      return name === undefined ? [] : [[name, title, fields]]
    })
    const expected = [...formats].map(([name, { title, target, token, url }]) => {
      const fields = [target && `_Target_: ${target.meaning}`, token && `_Token_: ${token.meaning}`]
      return [name, title, [...fields, `URL like \`${url.example}\``].filter(each => each !== undefined).join('. ')]
    })
    expect(rows).toEqual(expected)
  })

  it('has templates that can be used', () => {
    const templates = [...readme.matchAll(/`([{[] .*\{\{.* [}\]])`|^(\{ .*\{\{.* \})$/gm)].map(([, inTable, inBlock]) =>
      (inTable ?? inBlock!).replaceAll('\\|', '|')
    )
    expect(templates.length).toBeGreaterThanOrEqual(8)
    const mistakes = templates.map(text => [text, formats.get('template')?.template?.(text)])
    expect(mistakes.filter(([, mistake]) => mistake !== undefined)).toEqual([])
  })
})

/** Each format's body of each sample, to be looked at: `npx vitest run test/formats/message.test.ts -u` writes them. */
describe('the bodies under test/fixtures/formats', () => {
  it.each([...formats])('are what the format %s sends', async (name, { isPostOnly }) => {
    const bodies = Object.entries(samplesWith())
      .filter(([what]) => what !== 'start' || isPostOnly !== true)
      .map(([what, { event, object }]) => {
        const { contentType, headers, body } = builtBy(name, event, object)
        return [what, { contentType, ...(headers && { headers }), body: JSON.parse(body.toString()) as unknown }]
      })
    const text = `${JSON.stringify(Object.fromEntries(bodies), null, 2)}\n`
    await expect(text).toMatchFileSnapshot(`../fixtures/formats/${name}.json`)
  })
})
