import { freezeEvent, withObject } from '../../src/event/event.ts'
import type { Event, Phase } from '../../src/event/event.ts'
import { formats, messageAbout } from '../../src/formats/index.ts'
import type { Built, Instance, Material, Options } from '../../src/formats/index.ts'
import type { Signal } from '../../src/xo.ts'

/** What a hook of each format has filled in, where it has to. */
const OPTIONS: Readonly<Record<string, Options>> = {
  telegram: { target: '-1001234567890/42' },
  ntfy: { target: 'xen-orchestra' },
  template: {
    template:
      '{"text": "{{title}}: {{object.name}}", "user": "{{user}}", "level": "{{outcome | map:failure=8,*=2}}", "error": "{{error}}", "failed": "{{failures | lines}}", "event": "{{event}}"}',
  },
  pushover: { target: 'uQiRzpo4DXghDmr9QzzfQu27cmVRsG' },
  convoy: { target: 'ep_1' },
  outpost: { target: 'tenant_1' },
}

export const INSTANCE: Instance = { name: 'XO Paris', url: 'https://xo.example.org' }

/** What a format is given of an event. @param object - JSON */
export function materialOf(event: Event, object?: string, instance = INSTANCE): Material {
  return {
    event,
    message: messageAbout(withObject(event, object), instance, 1_700_000_000_000),
    object,
    instance,
    delivery: { id: '8d6a3a61-94d5-4a3c-a4ff-3dc1ed4ae1bd-0', hook: { id: 'h1', name: 'Inventory' } },
  }
}

export function optionsOf(name: string): Options {
  return OPTIONS[name] ?? {}
}

export function builtBy(name: string, event: Event, object?: string): Built {
  return formats.get(name)!.build(materialOf(event, object), optionsOf(name))
}

/** An event as it comes to a format. */
export interface Sample {
  readonly event: Event
  readonly object: string | undefined
}

/** What strangers can choose: names of people and objects, what an error says. */
export interface Words {
  readonly user: string
  readonly name: string
  readonly error: string
  /** Of a backup. */
  readonly failures?: number
  /** The names of what is no VM, if they are not `name`, and why a backup has failed, if that is not `error`. */
  readonly others?: Readonly<Record<'job' | 'host' | 'pool' | 'cause', string>>
}

const USUAL: Words = {
  user: 'bruce.wayne@waynecorp.com',
  name: 'web01',
  error: 'HOST_NOT_ENOUGH_FREE_MEMORY(4294967296, 1073741824)',
  others: { job: 'Nightly', host: 'host-2', pool: 'pool-1', cause: 'ENOSPC: no space left on device, write' },
}

/** A start that is asked for, and two that are over; a backup that has failed; a host that is gone; someone at the door. */
export function samplesWith({
  user,
  name,
  error,
  failures = 7,
  others = { job: name, host: name, pool: name, cause: error },
}: Words = USUAL): Readonly<Record<string, Sample>> {
  const id = '67aac198-0174-11ea-8d71-362b9e155667'
  const who = { userId: 'b4tm4n', userName: user, userIp: '192.0.2.17' }
  const call = { callId: 'k3w9x1b7q2e', ...who, method: 'vm.start', params: { id }, timestamp: 1_795_296_370_000 }
  const over = { ...call, duration: 2_317 }
  const vm = JSON.stringify({
    ...{ id, uuid: id, type: 'VM', name_label: name, tags: [], power_state: 'Running', mainIpAddress: '192.0.2.10' },
    pool: { id: '7b3f6d53-0a0f-4d0e-9b8a-2f6a2c1d5e01', name_label: 'pool-1' },
    host: { id: 'c1d0b6a2-5d0e-4f4d-8c55-6f1e4c9f7a02', name_label: 'host-1' },
  })
  const run = {
    id: '1795296000000',
    jobId: 'b2e7c7f0-5a5e-4d9b-8f7e-3c1a9d4f6b06',
    jobName: others.job,
    status: 'failure',
    size: 1_717_986_918_400,
  }
  const failed = Array.from({ length: failures }, (_, n) => ({
    ...{ type: 'VM', id: `vm-${n}`, name: `${name} ${n}`, step: 'backup VM', message: others.cause },
  }))
  const host = { id: 'c1d0b6a2-5d0e-4f4d-8c55-6f1e4c9f7a02', name_label: others.host }
  const state = { callId: '6f7c1f5e-6a3e-4f54-9a55-0c1f2d3e4f50', timestamp: 1_795_296_370_000 }
  const sample = (phase: Phase, signal: object, object?: string): Sample => ({
    event: freezeEvent('api', phase, signal as Signal),
    object,
  })
  return {
    start: sample('pre', call, vm),
    success: sample('post', { ...over, result: true }, vm),
    failure: sample('post', { ...over, error: { message: error, code: 'HOST_NOT_ENOUGH_FREE_MEMORY' } }, vm),
    backup: sample('post', {
      ...{ ...call, method: 'backupNg.runJob', params: { id: run.jobId }, duration: 3_930_000, run },
      error: { message: `VM ${name} 0: ${others.cause}, and ${failures - 1} more`, failures: failed },
    }),
    state: sample('post', {
      ...{
        ...state,
        method: 'host.disconnected',
        before: { power_state: 'Running' },
        after: { power_state: 'Halted' },
      },
      params: { ...host, pool: { id: 'p', name_label: others.pool } },
    }),
    stranger: sample('post', {
      ...state,
      method: 'user.signInFailed',
      userName: user,
      userIp: '203.0.113.9',
      params: {},
    }),
  }
}
