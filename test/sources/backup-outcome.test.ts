import { expect, it } from 'vitest'

import { outcomeOfRun } from '../../src/sources/backup-outcome.ts'
import type { TaskLog } from '../../src/xo.ts'

function task(name: string, status: string, more: Partial<TaskLog> = {}): TaskLog {
  return { id: name, properties: { name, type: 'VM', id: name, name_label: name }, start: 0, status, ...more }
}

it('lists 100 of what has failed, and counts the rest', () => {
  const failed = (count: number): TaskLog =>
    task('backup run', 'failure', {
      tasks: Array.from({ length: count }, (_, n) => task(`vm${n}`, 'failure', { result: { message: 'no' } })),
    })
  const errorOf = (count: number) => outcomeOfRun(failed(count), undefined).error as Record<string, unknown>
  expect(errorOf(300)['failures']).toHaveLength(100)
  expect(errorOf(300)['failureCount']).toBe(300)
  expect(errorOf(100)).not.toHaveProperty('failureCount')
})

it('sums up what was transferred, at any depth, of a success and of a failure', () => {
  const transfer = (size: unknown): TaskLog => task('transfer', 'success', { result: { size } })
  const vm = (status: string, ...tasks: TaskLog[]): TaskLog =>
    task('vm', status, { tasks: [task('export', status, { tasks })], result: { size: 9 } })
  for (const status of ['success', 'failure']) {
    const run = task('backup run', status, { tasks: [vm(status, transfer(1_000)), vm('success', transfer(500))] })
    expect(outcomeOfRun(run, undefined)).toMatchObject({ status, size: 1_500 })
  }
  expect(outcomeOfRun(task('backup run', 'success', { tasks: [vm('success', transfer('x'))] }), undefined)).toEqual({
    status: 'success',
  })
  expect(outcomeOfRun(undefined, undefined)).toEqual({ status: 'success' })
})
