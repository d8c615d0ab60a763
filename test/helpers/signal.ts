import type { Signal } from '../../src/xo.ts'

/** What is heard of a call of `vm.start` by Alice. */
export function signalOf(fields: Record<string, unknown> = {}): Signal {
  return {
    callId: 'k3y',
    userId: 'a1',
    userName: 'alice@example.org',
    userIp: '192.0.2.10',
    method: 'vm.start',
    params: { id: 'vm1' },
    timestamp: 1_700_000_000_000,
    ...fields,
  }
}
