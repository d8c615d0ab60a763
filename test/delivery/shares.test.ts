import { describe, expect, it } from 'vitest'

import { newKept } from '../../src/delivery/kept.ts'
import type { Kept } from '../../src/delivery/kept.ts'
import { Shares } from '../../src/delivery/shares.ts'

interface What {
  readonly endpoint?: string
  readonly owner?: string
  readonly party?: string
  readonly bytes?: number
  /** Bytes on disk. */
  readonly stored?: number
  readonly isInMemory?: boolean
  readonly state?: 'queued' | 'dead' | 'sending'
}

/** Shares that hold these, in this order; their numbers are from 1. */
function holding(...whats: readonly What[]): { shares: Shares; kept: Kept[] } {
  const shares = new Shares()
  const kept = whats.map((what, index) => {
    const {
      endpoint = 'x',
      owner = 'a',
      party = '',
      bytes = 10,
      stored = 0,
      isInMemory = true,
      state = 'queued',
    } = what
    const number = index + 1
    const delivery = {
      ...{ id: `d${number}`, owner, party, label: '', headers: [], acceptedAt: 0 },
      payload: { contentType: '', body: Buffer.alloc(bytes) },
      order: { key: '', leads: false },
    }
    const one = newKept(number, delivery, endpoint, 0, 1_000)
    one.stored = stored
    one.content = isInMemory ? one.content : undefined
    one.state = state === 'sending' ? { name: state, endpoint, isCancelled: false } : { name: state }
    shares.add(one)
    return one
  })
  return { shares, kept }
}

const times = (count: number, what: What): What[] => Array.from({ length: count }, () => what)

describe('who gives way', () => {
  it('is the last one of the endpoint, the owner and the party that take most', () => {
    expect(holding({}, {}, {}).shares.victim('count')?.number).toBe(3)
    expect(
      holding(...times(2, { endpoint: 'x' }), ...times(3, { endpoint: 'y' }), { endpoint: 'x' }, {}).shares.victim(
        'count'
      )?.number
    ).toBe(7)
    const owners = holding(...times(3, { owner: 'a' }), ...times(2, { owner: 'b' }))
    expect(owners.shares.victim('count')?.number).toBe(3)
    const parties = holding(...times(3, { party: 'p' }), ...times(2, { party: 'q' }))
    expect(parties.shares.victim('count')?.number).toBe(3)
  })

  it('is decided by the resource that is short', () => {
    const { shares } = holding(
      ...times(5, { endpoint: 'many', bytes: 1, stored: 100 }),
      { endpoint: 'large', bytes: 1_000 },
      ...times(2, { endpoint: 'disk', bytes: 1, stored: 10_000, isInMemory: false })
    )
    expect(shares.victim('count')?.endpoint).toBe('many')
    expect(shares.victim('memory')?.endpoint).toBe('large')
    expect(shares.victim('disk')?.endpoint).toBe('disk')
  })

  it('takes up what is short: what is on disk only is no help to the memory, nor the other way round', () => {
    const { shares, kept } = holding(
      { bytes: 50 },
      ...times(5_000, { bytes: 2_000, stored: 2_100, isInMemory: false }),
      { endpoint: 'y', bytes: 40 }
    )
    expect(shares.victim('memory')).toBe(kept[0])
    expect(holding(...times(3, { stored: 0 })).shares.victim('disk')).toBeUndefined()
    expect(holding(...times(3, { isInMemory: false })).shares.victim('memory')).toBeUndefined()
  })

  it('is the oldest dead letter rather than anything that may be sent', () => {
    const { shares, kept } = holding({}, { state: 'dead' }, { state: 'dead' }, {})
    expect(shares.victim('count')).toBe(kept[1])
    kept[1]!.state = { name: 'waiting', dueAt: 0, stepMs: 0 }
    shares.changed(kept[1]!)
    expect(shares.victim('count')).toBe(kept[2])
  })

  it('is never what is being sent; then the next endpoint gives', () => {
    const { shares, kept } = holding({}, { state: 'sending' }, { state: 'sending' })
    expect(shares.victim('count')).toBe(kept[0])
    const other = holding(...times(5, { state: 'sending' }), { endpoint: 'y' })
    expect(other.shares.victim('count')?.endpoint).toBe('y')
    expect(holding({ state: 'sending' }).shares.victim('count')).toBeUndefined()
  })

  it('is found among what is left', () => {
    const { shares, kept } = holding({ endpoint: 'x' }, { endpoint: 'x' }, { endpoint: 'x' }, { endpoint: 'y' })
    shares.remove(kept[2]!)
    expect(shares.victim('count')).toBe(kept[1])
    shares.remove(kept[0]!)
    shares.remove(kept[1]!)
    expect(shares.victim('count')).toBe(kept[3])
    shares.remove(kept[3]!)
    expect(shares.victim('count')).toBeUndefined()
  })

  it('knows what a delivery takes up now, and takes all of that back', () => {
    const { shares, kept } = holding(
      { endpoint: 'x', bytes: 100 },
      { endpoint: 'y', bytes: 60, stored: 90 },
      { endpoint: 'x', bytes: 1, stored: 5 }
    )
    expect(shares.victim('memory')?.endpoint).toBe('x')
    kept[0]!.content = undefined
    kept[0]!.stored = 150
    shares.changed(kept[0]!)
    expect(shares.victim('memory')).toBe(kept[1])
    expect(shares.victim('disk')?.endpoint).toBe('x')
    // what it takes up when it leaves is not told any more
    kept[0]!.stored = 0
    shares.remove(kept[0]!)
    expect(shares.victim('disk')).toBe(kept[1])
  })

  it('is found at once among a hundred thousand', () => {
    const { shares } = holding(...times(20_000, { state: 'dead' }), ...times(80_000, {}))
    const start = performance.now()
    for (let count = 0; count < 20_000; ++count) {
      shares.remove(shares.victim('count')!)
    }
    expect(shares.victim('count')?.number).toBe(100_000)
    expect(performance.now() - start).toBeLessThan(10_000)
  })
})
