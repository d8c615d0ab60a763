import type { Hook } from './config/hook.ts'
import type { Phase } from './event/event.ts'
import type { ObjectSnapshot } from './event/object.ts'
import { isWanted } from './matcher.ts'
import type { Signal } from './xo.ts'

/**
 * What the Test button sends: an event that a hook would be sent, marked as a test.
 *
 * @param known - the API methods of the host
 */
export function sampleEvent({ methods, status }: Hook, phase: Phase, known: readonly string[]): Signal {
  const isExact = (pattern: string): boolean => !pattern.includes('*')
  const method = methods.include.find(isExact) ?? known.find(name => isWanted(methods, [name])) ?? 'vm.start'
  return {
    callId: 'test',
    userId: 'b4tm4n',
    userName: 'bruce.wayne@waynecorp.com',
    userIp: '127.0.0.1',
    method,
    params: { id: sampleObject.id },
    timestamp: Date.now(),
    ...(phase === 'post' && { duration: 0 }),
    ...(phase === 'post' && (status === 'failure' ? { error: { message: 'a sample error' } } : { result: true })),
    test: true,
  }
}

/** What an event of the Test button is about. */
export const sampleObject: ObjectSnapshot = {
  id: '67aac198-0174-11ea-8d71-362b9e155667',
  uuid: '67aac198-0174-11ea-8d71-362b9e155667',
  type: 'VM',
  name_label: 'web-1',
  name_description: 'a sample',
  tags: ['production'],
  pool: { id: '7b3f6d53-0a0f-4d0e-9b8a-2f6a2c1d5e01', name_label: 'pool-1' },
  host: { id: 'c1d0b6a2-5d0e-4f4d-8c55-6f1e4c9f7a02', name_label: 'host-1' },
  power_state: 'Running',
  CPUs: { number: 2, max: 4 },
  memory: { size: 4_294_967_296 },
  mainIpAddress: '192.0.2.10',
  addresses: ['192.0.2.10', '2001:db8::10'],
  VIFs: [
    {
      id: '4f0f3a52-7a5e-4f6c-8f43-2b6f0c9d7e11',
      device: '0',
      MAC: '02:00:00:00:00:10',
      network: { id: 'd3a7b1c4-6b0d-4f6e-9a2c-5e8f7b1c0d12', name_label: 'LAN' },
    },
  ],
}
