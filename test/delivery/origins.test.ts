import { describe, expect, it } from 'vitest'

import { Origins } from '../../src/delivery/origins.ts'

describe('the hold of an origin', () => {
  it('lasts as long as was asked for, and is of that origin', () => {
    const origins = new Origins()
    origins.hold('x', 100, 50)
    expect(origins.heldUntil('x')).toBe(150)
    expect(origins.heldUntil('y')).toBe(0)
  })

  it('is made longer, never shorter', () => {
    const origins = new Origins()
    origins.hold('x', 100, 50)
    origins.hold('x', 110, 20)
    expect(origins.heldUntil('x')).toBe(150)
    origins.hold('x', 110, 60)
    expect(origins.heldUntil('x')).toBe(170)
  })

  it('is over when someone says so', () => {
    const origins = new Origins()
    origins.hold('x', 0, 50)
    origins.hold('y', 0, 50)
    origins.release('x')
    expect([origins.heldUntil('x'), origins.heldUntil('y')]).toEqual([0, 50])
    origins.releaseAll(10)
    expect(origins.heldUntil('y')).toBe(0)
  })
})

describe('the pace of an origin', () => {
  const pace = { perSecond: 2, burst: 3 }

  /** When requests go that all want to at 1,000. */
  function times(count: number): number[] {
    const origins = new Origins()
    return Array.from({ length: count }, () => {
      const at = Math.max(1_000, origins.openAt('x', pace))
      origins.spend('x', pace, at)
      return at
    })
  }

  it('lets a few go at once, then one after the other', () => {
    expect(times(6)).toEqual([1_000, 1_000, 1_000, 1_500, 2_000, 2_500])
  })

  it('lets a few go at once again after a rest', () => {
    const origins = new Origins()
    for (let n = 0; n < 3; ++n) {
      origins.spend('x', pace, 0)
    }
    expect([500, 1_000, 1_500].map(now => origins.openAt('x', pace) <= now)).toEqual([true, true, true])
    origins.spend('x', pace, 500)
    expect(origins.openAt('x', pace)).toBe(1_000)
  })

  it('is that of one origin, and of those who have one', () => {
    const origins = new Origins()
    for (let n = 0; n < 9; ++n) {
      origins.spend('x', pace, 0)
    }
    expect([origins.openAt('y', pace), origins.openAt('x', undefined)]).toEqual([expect.any(Number), 0])
    expect(origins.openAt('y', pace)).toBeLessThanOrEqual(0)
  })

  it('does not undercut a hold', () => {
    const origins = new Origins()
    origins.hold('x', 0, 9_000)
    expect(origins.openAt('x', pace)).toBe(9_000)
  })
})

describe('after a restart, the hold of an origin', () => {
  /** Written at 1,000 and read back at 7 of another clock; on disk, `passed` later. */
  function restarted(holdMs: number, passed: number): number {
    const before = new Origins()
    before.hold('x', 1_000, holdMs)
    const written = JSON.parse(JSON.stringify(before.written(1_000, instant => instant + 500_000)))
    const after = new Origins()
    after.recall(written, 7, instant => instant - 500_000 - 1_000 - passed + 7)
    return Math.max(0, after.heldUntil('x') - 7)
  }

  it('is what is left of it', () => {
    expect(restarted(600, 200)).toBe(400)
    expect(restarted(600, 600)).toBe(0)
    expect(restarted(600, 9_999)).toBe(0)
  })

  it('is no longer than it was meant to be, whatever the clock says', () => {
    expect(restarted(600, -1e12)).toBe(600)
  })

  it('is not written once it is over', () => {
    const origins = new Origins()
    origins.hold('x', 0, 50)
    origins.hold('y', 0, 60)
    expect(origins.written(50, instant => instant)).toEqual({ y: { until: 60, ms: 60 } })
  })
})
