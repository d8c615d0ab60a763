import { describe, expect, it } from 'vitest'

import { freezeEvent, withObject } from '../src/event/event.ts'
import { parseFilter, searchableOf } from '../src/filter.ts'
import { sampleObject } from '../src/event/object.ts'

const signal = {
  callId: 'k3w9x1',
  userId: 'u1',
  userName: 'bruce@example.org',
  method: 'vm.start',
  params: { id: '67aac198-0174-11ea-8d71-362b9e155667', force: false },
  timestamp: 1_700_000_000_000,
  duration: 1_500,
  result: true,
}
const event = withObject(freezeEvent('api', 'post', signal), sampleObject)

function isFound(search: string): boolean {
  const filter = parseFilter(search)
  if (typeof filter !== 'function') {
    throw new Error(filter.reason)
  }
  return filter(searchableOf(event))
}

describe('a filter', () => {
  it.each([
    ['object:tags:production', true],
    ['object:tags:staging', false],
    ['params:id:67aac198-0174-11ea-8d71-362b9e155667', true],
    ['userName:/@example.org$/', true],
    ['userName:/@example.com$/', false],
    ['!userName:backup', true],
    ['method:vm.start object:power_state:running', true],
    ['|(method:vm.stop method:vm.start)', true],
    ['duration:>1000', true],
    ['duration:>2000', false],
    ['type:post status:success', true],
    ['status:failure', false],
    ['object:VIFs:MAC:"02:00:00:00:00:10"', false],
    ['object:VIFs:"02:00:00:00:00:10"', true],
    ['object:pool:name_label:pool-1', true],
    ['result?', true],
    ['error?', false],
    ['bruce', true],
    ['nothing:of:the:kind', false],
  ])('%s: %s', (search, expected) => {
    expect(isFound(search)).toBe(expected)
  })

  it.each([
    ['object:(tags', 7, 'cannot be read'],
    ['vm)', 3, 'cannot be read'],
    ['userName:/[/', 10, 'regular expression'],
    ['duration:>soon', 10, 'needs a number'],
    ['a '.repeat(5_001), undefined, 'longer than'],
    ['('.repeat(9_000) + 'a', undefined, 'nested too deep'],
  ])('%.20s is none: at character %s, %s', (search, character, reason) => {
    expect(parseFilter(search)).toEqual({
      reason: expect.stringContaining(reason) as string,
      ...(character !== undefined && { character }),
    })
  })

  it('parses of an event only what it looks at, and once', () => {
    const broken = { ...event, fields: new Map([...event.fields, ['result', 'not JSON']]) }
    const filter = parseFilter('userName:bruce')
    const searchable = searchableOf(broken)
    expect(typeof filter === 'function' && filter(searchable)).toBe(true)
    expect(searchable['params']).toBe(searchable['params'])
  })

  it('that fails lets the event pass: one too many is better than one too few', () => {
    const broken = { ...event, fields: new Map([['result', 'not JSON']]) }
    const filter = parseFilter('result:x')
    expect(typeof filter === 'function' && filter(searchableOf(broken))).toBe(true)
  })
})
