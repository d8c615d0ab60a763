import { EventEmitter } from 'node:events'

import { configure } from '@xen-orchestra/log/configure'
import { describe, expect, it, vi } from 'vitest'

import type { Phase, Source } from '../../src/event/event.ts'
import type { Accept } from '../../src/sources/source.ts'
import { listenToRestActions, restActionEvents } from '../../src/sources/rest-actions.ts'
import type { Signal, TaskLog, Xo } from '../../src/xo.ts'

// what is lost to a bug is logged, and here it is meant to be
configure(() => {})

const ALICE = { id: 'a1', email: 'alice@example.org' }

interface Heard {
  readonly source: Source
  readonly phase: Phase
  readonly signal: Signal
}

/** A host that only has tasks and users. */
function listening({ wants = () => true, getUser = async () => ALICE } = {} as Partial<Accept & Pick<Xo, 'getUser'>>) {
  const tasks = new EventEmitter()
  const heard: Heard[] = []
  const accept: Accept = Object.assign(
    (source: Source, phase: Phase, signal: Signal) => {
      // as the event would be frozen now
      heard.push({ source, phase, signal: structuredClone(signal) })
      return undefined
    },
    { wants: vi.fn(wants), waits: () => false }
  )
  const user = vi.fn(getUser)
  const undo = listenToRestActions({ tasks, getUser: user } as unknown as Xo, accept)
  return {
    accept,
    getUser: user,
    heard,
    undo,
    update: (task: object) => tasks.emit('update', task),
    /** All that has been heard, once `count` events were. */
    async events(count: number) {
      await vi.waitFor(() => expect(heard.length).toBeGreaterThanOrEqual(count))
      // what comes too much has had its time
      await new Promise(setImmediate)
      expect(heard).toHaveLength(count)
      return heard.map(({ phase, signal }) => ({ phase, ...signal }))
    },
  }
}

function action(label: string, { id = 'task-1', ...rest }: Partial<TaskLog> = {}, properties: object = {}) {
  return {
    id,
    start: 1_000,
    status: 'pending',
    ...rest,
    properties: {
      ...{ name: `REST API: ${label}`, type: 'xo:rest-api:action', objectId: 'vm-1', objectType: 'VM', userId: 'a1' },
      ...properties,
    },
  }
}

const over = { end: 1_250, status: 'success' }

describe('an action of the REST API', () => {
  it('is announced as the API method that does the same, when it begins and when it is over', async () => {
    const { update, events } = listening()
    const task = action('start VM', {}, { args: { hostId: 'host-1' } })
    update(task)
    update(task)
    update(Object.assign(task, over))

    const common = {
      callId: 'task-1',
      userId: 'a1',
      userName: 'alice@example.org',
      method: 'vm.start',
      params: { id: 'vm-1', hostId: 'host-1' },
    }
    expect(await events(2)).toEqual([
      { phase: 'pre', ...common, timestamp: 1_000 },
      { phase: 'post', ...common, timestamp: 1_250, duration: 250, result: true },
    ])
  })

  it('that is first heard of when it is over has both, in order', async () => {
    const { update, events } = listening()
    update(action('snapshot VM', { ...over, result: { id: 'snapshot-1' } }))

    expect(await events(2)).toMatchObject([
      { phase: 'pre', method: 'vm.snapshot', timestamp: 1_000 },
      { phase: 'post', timestamp: 1_250, result: { id: 'snapshot-1' } },
    ])
  })

  it('is not announced anew when a subtask ends after it', async () => {
    const { update, events } = listening()
    update(action('start VM', over))
    update(action('start VM', over))

    await events(2)
  })

  it.each([
    ['an error', { message: 'no', code: 'HOST_OFFLINE', stack: 'x' }, { message: 'no', code: 'HOST_OFFLINE' }],
    ['a reason', 'aborted by alice', { message: 'aborted by alice' }],
    ['nothing', undefined, { message: 'the action has ended with: failure' }],
  ])('that fails with %s has that as its error', async (_, result, error) => {
    const { update, events } = listening()
    update(action('start VM', { ...over, status: 'failure', result }))

    const [, post] = await events(2)
    expect(post).toMatchObject({ phase: 'post', error })
    expect(post).not.toHaveProperty('result')
  })

  it.each([
    ['hard shutdown VM', 'vm.stop', { id: 'vm-1', force: true }],
    ['smart reboot host', 'host.restart', { id: 'vm-1', suspendResidentVms: true }],
    ['run schedule', 'schedule.run', { id: 'vm-1' }],
    ['Fry the "bits" / 2 times', 'rest.fryTheBits2Times', { id: 'vm-1' }],
    ['', 'rest.unnamed', { id: 'vm-1' }],
  ])('"%s" is %s', async (label, method, params) => {
    const { update, events } = listening()
    update(action(label))

    expect(await events(1)).toMatchObject([{ method, params }])
  })

  it('keeps its object, whatever its arguments say', async () => {
    const { update, events } = listening()
    update(action('clone VM', {}, { params: { id: 'another', name: 'copy' } }))

    expect((await events(1))[0]).toMatchObject({ params: { id: 'vm-1', name: 'copy' } })
  })

  it('is announced as it was when it was heard, however long the name of its user takes', async () => {
    let answer = (_: typeof ALICE): void => {}
    const { update, events, heard } = listening({ getUser: () => new Promise(resolve => (answer = resolve)) })
    const args = { disks: [{ size: 1 }] }
    const result = { id: 'new' }
    const task = action('start VM', { ...over, result }, { args })
    update(task)
    args.disks[0]!.size = 2
    result.id = 'changed'
    await new Promise(setImmediate)
    expect(heard).toEqual([])
    answer(ALICE)

    expect(await events(2)).toMatchObject([
      { phase: 'pre', params: { disks: [{ size: 1 }] } },
      { phase: 'post', params: { disks: [{ size: 1 }] }, result: { id: 'new' } },
    ])
  })

  it.each([
    ['cannot be found', () => Promise.reject(new Error('no such user'))],
    [
      'cannot even be asked for',
      () =>
        ((): never => {
          throw new Error('no users')
        })(),
    ],
  ])('has no name of a user who %s', async (_, getUser) => {
    const { update, events } = listening({ getUser })
    update(action('start VM'))

    expect((await events(1))[0]).toMatchObject({ userId: 'a1', userName: '(unknown user)' })
  })

  it('waits a second for the name, and no longer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const { update, heard } = listening({ getUser: () => new Promise(() => {}) })
      update(action('start VM'))
      await vi.advanceTimersByTimeAsync(999)
      expect(heard).toEqual([])
      await vi.advanceTimersByTimeAsync(1)
      expect(heard).toMatchObject([{ signal: { userName: '(unknown user)' } }])
    } finally {
      vi.useRealTimers()
    }
  })

  it('of nobody asks the host for no name: it would give any', async () => {
    const { update, events, getUser } = listening()
    update(action('start VM', {}, { userId: undefined }))

    expect((await events(1))[0]).toMatchObject({ userName: '(unknown user)' })
    expect(getUser).not.toHaveBeenCalled()
  })

  it('that no hook wants is left alone', async () => {
    const { update, heard, getUser } = listening({ wants: method => method === 'vm.stop' })
    update(action('start VM', over))
    await new Promise(setImmediate)

    expect(heard).toEqual([])
    expect(getUser).not.toHaveBeenCalled()
  })

  it('is not heard any more once the listening is over', async () => {
    const { update, heard, undo } = listening()
    undo()
    update(action('start VM'))
    await new Promise(setImmediate)

    expect(heard).toEqual([])
  })
})

describe('the tasks of the host', () => {
  it.each([
    ['an API call', { type: 'api.call', name: 'API call: vm.start', method: 'vm.start' }],
    ['a backup', { type: 'backup', name: 'backup run' }],
    ['one without a type', { type: undefined }],
  ])('that are no actions are not heard: %s', async (_, properties) => {
    const { update, accept, heard } = listening()
    update(action('start VM', over, properties))
    await new Promise(setImmediate)

    expect(heard).toEqual([])
    expect(accept.wants).not.toHaveBeenCalled()
  })

  it.each([
    ['without properties', { id: 'x' }],
    ['that is nothing', undefined],
    [
      'with a getter that throws',
      {
        ...action('start VM'),
        get status(): string {
          throw new Error('no')
        },
      },
    ],
  ])('do not suffer from one %s: an error would stop them all', (_, task) => {
    const { update } = listening()

    expect(() => update(task as object)).not.toThrow()
  })

  it('are forgotten, the oldest first, when there are very many', async () => {
    const { update, heard } = listening()
    for (let n = 0; n <= 10_000; ++n) {
      update(action('start VM', { id: `task-${n}` }))
    }
    update(action('start VM', { id: 'task-0' }))
    update(action('start VM', { id: 'task-10000' }))
    await vi.waitFor(() => expect(heard).toHaveLength(10_002))
  })
})

it('every action is described, each name once', () => {
  const names = restActionEvents.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  expect(restActionEvents.find(({ name }) => name === 'vm.stop')).toEqual({
    name: 'vm.stop',
    phases: ['pre', 'post'],
    sentence: 'The REST API (XO 6, MCP) is asked to: clean shutdown VM, hard shutdown VM.',
  })
})
