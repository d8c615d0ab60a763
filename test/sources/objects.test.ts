import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import { objectsOf } from '../../src/sources/objects.ts'
import type { Xo } from '../../src/xo.ts'
import { Host } from '../sandbox/host.ts'
import { ids, populate } from '../sandbox/made-up-pool.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
})

function start() {
  const host = new Host({})
  populate(host)
  const { whenSettled } = objectsOf(host as unknown as Xo)
  const settled = vi.fn()
  return {
    host,
    settled,
    wait: (id: string = ids.haltedVm, ms = 2_000) => whenSettled(id, ms, settled),
    async change(changes: object, id: string = ids.haltedVm) {
      host.changeObject(id, changes)
      await flushed()
    },
  }
}

/** What has changed is told in the next tick. */
function flushed(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

describe('an object', () => {
  it('that does not change has settled after a moment', () => {
    const { settled, wait } = start()
    wait()
    vi.advanceTimersByTime(249)
    expect(settled).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(settled).toHaveBeenCalledTimes(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('has settled a moment after its last change, whatever others do', async () => {
    const { settled, wait, change } = start()
    wait()
    vi.advanceTimersByTime(200)
    await change({ name_label: 'new' })
    vi.advanceTimersByTime(200)
    await change({ name_label: 'other' }, ids.runningVm)
    expect(settled).not.toHaveBeenCalled()
    vi.advanceTimersByTime(50)
    expect(settled).toHaveBeenCalledTimes(1)
  })

  it('is waited for as long as something is being done to it', async () => {
    const { settled, wait, change } = start()
    await change({ power_state: 'Paused', current_operations: { task: 'start' } })
    wait()
    vi.advanceTimersByTime(1_000)
    expect(settled).not.toHaveBeenCalled()
    await change({ power_state: 'Running', current_operations: {} })
    vi.advanceTimersByTime(250)
    expect(settled).toHaveBeenCalledTimes(1)
  })

  it('that is busy, changes, or is not known all the time is waited for so long', async () => {
    const { settled, wait, change } = start()
    await change({ current_operations: { task: 'migrate_send' } })
    wait()
    wait('not known')
    wait(ids.runningVm)
    for (let ms = 0; ms < 2_000; ms += 200) {
      expect(settled).not.toHaveBeenCalled()
      await change({ name_description: String(ms) }, ids.runningVm)
      vi.advanceTimersByTime(200)
    }
    expect(settled).toHaveBeenCalledTimes(3)
  })

  it('that is gone has settled', async () => {
    const { host, settled, wait } = start()
    wait()
    host.removeObjects(ids.haltedVm)
    await flushed()
    vi.advanceTimersByTime(250)
    expect(settled).toHaveBeenCalledTimes(1)
  })

  it('that comes has settled a moment later', async () => {
    const { host, settled, wait } = start()
    wait('vm-2')
    vi.advanceTimersByTime(1_000)
    host.setObjects({ id: 'vm-2', type: 'VM', name_label: 'new', VIFs: [] })
    await flushed()
    expect(settled).not.toHaveBeenCalled()
    vi.advanceTimersByTime(250)
    expect(settled).toHaveBeenCalledTimes(1)
  })

  it('is not waited for where a thousand are', () => {
    const { settled, wait } = start()
    const undo = Array.from({ length: 1_000 }, () => wait())
    wait()
    expect(settled).toHaveBeenCalledTimes(1)
    undo.forEach(each => each())
    expect(settled).toHaveBeenCalledTimes(1_001)
    expect(vi.getTimerCount()).toBe(0)
  })
})
