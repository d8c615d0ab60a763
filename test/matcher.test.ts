import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import type { Phase } from '../src/event/event.ts'
import { isMatch, Matcher, parsePatterns } from '../src/matcher.ts'
import type { Matchable } from '../src/matcher.ts'

interface NamedHook extends Matchable {
  readonly name: string
}

function hookOf(
  methods: string,
  { phases = ['pre', 'post'] as readonly Phase[], status = 'any' as Matchable['status'], name = methods } = {}
): NamedHook {
  return { name, methods: parsePatterns(methods), phases, status }
}

function matcherOf(hooks: readonly NamedHook[], namesOf = (method: string): readonly string[] => [method]) {
  const matcher = new Matcher(hooks, namesOf)
  const namesFor = (method: string) => {
    const matches = matcher.match(method)
    return (
      matches && {
        started: matches.started.map(({ name }) => name),
        success: matches.success.map(({ name }) => name),
        failure: matches.failure.map(({ name }) => name),
      }
    )
  }
  return { matcher, namesFor, isWanted: (method: string) => matcher.match(method) !== undefined }
}

describe('parsePatterns', () => {
  it.each([
    ['vm.start', ['vm.start'], []],
    [' vm.start ,vm.stop\n\tsr.* ', ['vm.start', 'vm.stop', 'sr.*'], []],
    ['* !vm.set, !sr.*', ['*'], ['vm.set', 'sr.*']],
    ['!vm.set', [], ['vm.set']],
    [' ,, ', [], []],
    ['', [], []],
  ])('reads %j', (text, include, exclude) => {
    expect(parsePatterns(text)).toEqual({ include, exclude })
  })
})

describe('isMatch', () => {
  it.each([
    ['vm.start', 'vm.start', true],
    ['vm.start', 'vm.starts', false],
    ['vm.start', 'vmxstart', false],
    ['vm.*', 'vm.start', true],
    ['vm.*', 'vm.disk.add', true],
    ['vm.*', 'vm', false],
    ['vm.*', 'vmGroup.start', false],
    ['*.start', 'vm.start', true],
    ['*', '', true],
    ['*', 'anything.at.all', true],
    ['**', 'vm', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['*ab*b', 'aab', false],
    ['*ab*b', 'aabb', true],
    ['V*', 'vm.start', false],
  ])('%s and %s: %s', (pattern, method, expected) => {
    expect(isMatch(pattern, method)).toBe(expected)
  })

  it('is what a regular expression says, with .* for each *', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 8 })
    fc.assert(
      fc.property(text, text, (pattern, method) => {
        const reference = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)
        expect(isMatch(pattern, method)).toBe(reference.test(method))
      }),
      { seed: 8, numRuns: 5000 }
    )
  })

  it('takes no time over a pattern that sends a regular expression backtracking', () => {
    expect(isMatch('*a'.repeat(50) + '*b', 'a'.repeat(100_000))).toBe(false)
  })
})

describe('Matcher', () => {
  it('says nothing of a method that no hook wants', () => {
    const { isWanted } = matcherOf([hookOf('vm.start'), hookOf('sr.*')])
    expect(isWanted('vm.stop')).toBe(false)
  })

  it('gives exact names and patterns in the order of the configuration', () => {
    const { namesFor } = matcherOf([hookOf('*.start'), hookOf('vm.start'), hookOf('sr.*'), hookOf('vm.*')])
    expect(namesFor('vm.start')?.success).toEqual(['*.start', 'vm.start', 'vm.*'])
  })

  it('fires a hook once, however many of its patterns match', () => {
    const { namesFor } = matcherOf([hookOf('vm.start vm.* *')])
    expect(namesFor('vm.start')?.started).toEqual(['vm.start vm.* *'])
  })

  it('leaves out what a pattern takes away, wherever it stands', () => {
    const { isWanted } = matcherOf([hookOf('!vm.set vm.* !*.stats')])
    expect(['vm.start', 'vm.set', 'vm.stats'].map(isWanted)).toEqual([true, false, false])
  })

  it.each<[Phase[], Matchable['status'], { started: boolean; success: boolean; failure: boolean }]>([
    [['pre'], 'any', { started: true, success: false, failure: false }],
    [['post'], 'any', { started: false, success: true, failure: true }],
    [['post'], 'success', { started: false, success: true, failure: false }],
    [['post'], 'failure', { started: false, success: false, failure: true }],
    [['pre', 'post'], 'any', { started: true, success: true, failure: true }],
    [['pre', 'post'], 'failure', { started: true, success: false, failure: true }],
    [['pre'], 'failure', { started: true, success: false, failure: false }],
  ])('a hook on %j with the status %s', (phases, status, expected) => {
    const { matcher } = matcherOf([hookOf('*', { phases, status })])
    const { started, success, failure } = matcher.match('vm.start') ?? {}
    expect({ started: started?.length === 1, success: success?.length === 1, failure: failure?.length === 1 }).toEqual(
      expected
    )
  })

  describe('of a method with an alias', () => {
    const names = ['host.restartAgent', 'host.restart_agent']
    const namesOf = (method: string) => (names.includes(method) ? names : [method])

    it.each(names)('finds a hook on either name, once: %s', method => {
      const hooks = [hookOf('host.restartAgent'), hookOf('host.restart_agent'), hookOf('host.restart*')]
      const { namesFor } = matcherOf(hooks, namesOf)
      expect(namesFor(method)?.started).toEqual(['host.restartAgent', 'host.restart_agent', 'host.restart*'])
    })

    it.each(names)('leaves it out under either name: %s', method => {
      const { isWanted } = matcherOf([hookOf('host.* !host.restart_agent')], namesOf)
      expect(isWanted(method)).toBe(false)
    })
  })

  it('asks for the names of a method once, wanted or not', () => {
    const asked: string[] = []
    const { matcher } = matcherOf([hookOf('vm.start')], method => {
      asked.push(method)
      return [method]
    })
    for (let i = 0; i < 3; ++i) {
      matcher.match('vm.start')
      matcher.match('vm.stop')
    }
    expect(asked).toEqual(['vm.start', 'vm.stop'])
  })

  it('does not remember for ever the names that someone makes up', () => {
    let asked = 0
    const { matcher, isWanted } = matcherOf([hookOf('vm.start')], method => {
      ++asked
      return [method]
    })
    for (let i = 0; i < 10_001; ++i) {
      matcher.match(`made.up${i}`)
    }
    const before = asked
    matcher.match('made.up0')
    expect(asked).toBe(before + 1)
    expect(isWanted('vm.start')).toBe(true)
  })

  it('does not remember a name that is too long, and looks at its beginning', () => {
    let asked = 0
    const { matcher } = matcherOf([hookOf('vm.*'), hookOf('*.start'), hookOf('* !vm.*')], method => {
      ++asked
      expect(method.length).toBeLessThanOrEqual(256)
      return [method]
    })
    const made = `vm.${'x'.repeat(1_000_000)}.start`
    expect(matcher.match(made)?.started.map(({ name }) => name)).toEqual(['vm.*'])
    matcher.match(made)
    expect(asked).toBe(2)
  })

  it('takes no time over a pattern of many stars', () => {
    const { isWanted } = matcherOf([hookOf('*a'.repeat(10_000)), hookOf('*'.repeat(10_000) + 'b')])
    expect(isWanted('a'.repeat(100_000))).toBe(false)
    expect(isWanted('ab')).toBe(true)
  })
})
