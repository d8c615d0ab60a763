import { expect, it } from 'vitest'

import { rest } from '../helpers/operated-plugin.ts'
import { call, eventually, openReceiver, startPlugin } from '../helpers/running-plugin.ts'
import type { Params } from '../sandbox/config.ts'

it('goes the way of the README: a hook, a call, its delivery, a receiver that breaks and is mended, a replay', async () => {
  const sandbox = await startPlugin()
  let status = 200
  const receiver = await openReceiver(() => ({ status, body: status === 200 ? 'thanks' : 'down for maintenance' }))
  sandbox.host.addApiMethod('vm.inspect', () => 'as it is')

  // create
  const hook = { name: 'Inventory', method: 'vm.*', type: 'post', format: 'json', url: receiver.url }
  const { body: made } = await rest(sandbox, 'POST', 'hooks', { body: hook })
  const id = String(made['id'])

  // call, and find its delivery
  await call(sandbox, 'vm.inspect', {})
  await receiver.next()
  const find = async (query: string): Promise<Params[]> =>
    (await rest(sandbox, 'GET', `deliveries?hook=${id}&${query}`)).body['items'] as Params[]
  await eventually(async () => expect(await find('status=delivered')).toHaveLength(1))

  // break, and see it fail
  status = 503
  await call(sandbox, 'vm.inspect', {})
  const failed = await eventually(async () => {
    const [item] = await find('answer=5xx')
    expect(item).toMatchObject({ method: 'vm.inspect', lastAttempt: { answer: '503' } })
    return item!
  })
  const details = await eventually(async () => {
    const { body } = await rest(sandbox, 'GET', `deliveries/${String(failed['id'])}`)
    expect(body['history']).not.toEqual([])
    return body
  })
  expect(details).toMatchObject({ history: [{ number: 1, answer: '503', excerpt: 'down for maintenance' }] })
  const { body: theCall } = await rest(sandbox, 'GET', `calls/${String(failed['call'])}`)
  expect(theCall).toMatchObject({ id: failed['call'], items: [{ id: failed['id'] }] })
  const endpoints = (await rest(sandbox, 'GET', 'endpoints')).body['items'] as Params[]
  expect(endpoints).toMatchObject([
    { hooks: [{ id, name: 'Inventory' }], lastError: expect.stringContaining('503') as string },
  ])
  const { minutes, hours } = endpoints[0]!['statistics'] as Record<'minutes' | 'hours', Record<string, number[]>>
  const sum = (counts: readonly number[] = []): number => counts.reduce((all, count) => all + count, 0)
  expect([minutes['delivered']!.length, hours['delivered']!.length]).toEqual([60, 24])
  expect([sum(minutes['delivered']), sum(hours['delivered'])]).toEqual([1, 1])
  expect(sum(minutes['failed'])).toBeGreaterThan(0)

  // mend, and replay
  status = 200
  const counted = { filter: { hook: id, answer: '5xx' }, dryRun: true }
  expect(await rest(sandbox, 'POST', 'deliveries/actions/replay', { body: counted })).toMatchObject({ status: 202 })
  expect((await rest(sandbox, 'POST', `deliveries/${String(failed['id'])}/actions/replay`)).status).toBe(202)
  await eventually(async () => expect(await find('status=delivered')).toHaveLength(2))
  expect((await rest(sandbox, 'GET', 'health')).body).toMatchObject({
    delivered: 2,
    pending: 0,
    lastHour: { delivered: 2 },
  })
})
