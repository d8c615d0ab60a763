import { expect, it } from 'vitest'
import { FENCE, fence, ID, openReceiver, setUpRealHost } from './setup.ts'

const xo = setUpRealHost({ config: '[plugins.web-hooks]\nthread = false' })

it('a real xo-server that is told so starts no thread for deliveries, and sends them from its own', async () => {
  const receiver = await openReceiver()
  await xo.configure(fence(receiver))
  const loaded = (await xo.host.threads()).length
  await xo.admin.call(FENCE)
  await receiver.next(1)
  await xo.admin.call('plugin.unload', { id: ID })
  await xo.admin.call('plugin.load', { id: ID })
  await xo.admin.call(FENCE)
  await receiver.next(1)
  expect((await xo.host.threads()).length).toBe(loaded)
  expect(await xo.host.stop()).toMatchObject({ code: 0 })
}, 120_000)
