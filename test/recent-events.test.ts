import { expect, it } from 'vitest'

import type { Handing, PlainHook } from '../src/handing.ts'
import { RecentEvents } from '../src/recent-events.ts'

const HOOK: PlainHook = {
  ...{ id: 'a', name: 'a', format: 'json', includeObject: true },
  route: { endpoint: { id: 'e', url: 'http://127.0.0.1:9/', headers: [] }, timeoutMs: 1_000 },
}

function handingOf(callId: string, more: Partial<Handing> = {}, result = '"done"'): Handing {
  const fields = new Map([
    ['method', '"vm.start"'],
    ['params', '{"id":"vm-1"}'],
    ['result', result],
  ])
  const event = { source: 'api', phase: 'post', outcome: 'success', method: 'vm.start', callId, timestamp: 1 } as const
  return { id: `h-${callId}`, event: { ...event, fields, omitted: [] }, hooks: ['a'], party: '', ...more }
}

it('a memory of events has a bound of number and of bytes, the oldest go first', () => {
  const many = new RecentEvents()
  for (let n = 0; n < 1_500; ++n) {
    many.add(handingOf(`c${n}`))
  }
  expect(many.list()).toHaveLength(1_000)
  expect(many.list()[0]).toMatchObject({ callId: 'c1499', method: 'vm.start', object: 'vm-1' })
  expect(many.list().at(-1)).toMatchObject({ callId: 'c500' })

  const large = new RecentEvents()
  for (let n = 0; n < 20; ++n) {
    large.add(handingOf(`c${n}`, {}, JSON.stringify('x'.repeat(1024 * 1024))))
  }
  expect(large.list().map(({ callId }) => callId)).toEqual(['c19', 'c18', 'c17', 'c16', 'c15', 'c14', 'c13'])
})

it('an event that was handed over twice is remembered once, with its object; a test is none', () => {
  const events = new RecentEvents()
  events.add(handingOf('c', { id: 'first' }))
  events.add(handingOf('c', { id: 'second', object: '{"id":"vm-1","type":"VM"}' }))
  events.add(handingOf('c', { id: 'third' }))
  events.add(handingOf('t', { isTest: true }))
  expect(events.list()).toMatchObject([{ id: 'second', object: 'vm-1' }])
  const [sent] = events.rehearse(HOOK, undefined, ['first', 'second'], {})
  expect(sent).toMatchObject({ verdict: 'sent', contentType: 'application/json' })
  expect(JSON.parse(sent!.body!)).toMatchObject({ method: 'vm.start', object: { id: 'vm-1' } })
})

it('a hook is rehearsed with its filter and format, whatever they do', () => {
  const events = new RecentEvents()
  events.add(handingOf('c'))
  const verdict = (hook: Partial<PlainHook>, filter?: () => boolean | undefined): unknown =>
    events.rehearse({ ...HOOK, ...hook }, filter, ['h-c'], {})[0]?.verdict
  expect(verdict({})).toBe('sent')
  expect(verdict({}, () => false)).toBe('filtered out')
  expect(verdict({}, () => undefined)).toBe('undecided')
  expect(verdict({ format: 'none such' })).toBe('unformatted')
  expect(events.rehearse(HOOK, undefined, ['another'], {})).toEqual([])
})
