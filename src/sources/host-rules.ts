import { isRecord, listOf, numberOf, textOf } from '../values.ts'
import { compared, retagged, tagEvents, textsOf } from './state.ts'
import type { Fields, HostState, MessageState, PoolState, Rule, Step } from './state.ts'

/** Which change of a host, its pool, and what the pool says of itself is which event. */

/** Source: @xen-orchestra/rest-api/src/alarms/alarm.service.mts. */
const ALARMS = ['ALARM', 'BOND_STATUS_CHANGED', 'MULTIPATH_PERIODIC_ALERT']
const CRASHED = 'VM_CRASHED'

/** Messages may be long; the rest of one can be read in XO. */
const MAX_BODY_LENGTH = 2_000

export const HOST: Rule<HostState> = {
  events: [
    ['host.connected', 'A host is live: it has joined its pool or has come back'],
    ['host.disconnected', 'A host is not live any more, or has left its pool'],
    ['host.enabled', 'A host may run VMs'],
    ['host.disabled', 'A host may not be given VMs: maintenance, or it shuts down'],
    ['host.rebooted', 'A host has booted again'],
    ['host.updated', 'A host has another version, or more patches'],
    ...tagEvents('host', 'A host'),
  ],
  read(host, base) {
    const { rpm_patch_installation_time: patchedAt } = isRecord(host['otherConfig']) ? host['otherConfig'] : {}
    return {
      ...base,
      power: textOf(host['power_state']) ?? '',
      isEnabled: host['enabled'] === true,
      startTime: numberOf(host['startTime']),
      version: textOf(host['version']),
      build: textOf(host['build']),
      patches: listOf(host['patches']).length,
      patchedAt: patchedAt === undefined ? undefined : numberOf(Number(patchedAt)),
      tags: textsOf(host['tags']),
    }
  },
  fields: ({ name, power, isEnabled }) => ({ name_label: name, power_state: power, enabled: isEnabled }),
  added: ({ power }, after) => (power === 'Running' ? { method: 'host.connected', after } : undefined),
  removed: ({ power }, before) => (power === 'Running' ? { method: 'host.disconnected', before } : undefined),
  step: stepOfHost,
}

export const POOL: Rule<PoolState> = {
  events: [
    ['pool.connected', 'XO sees a pool: its server was connected, or answers again'],
    ['pool.disconnected', 'XO does not see a pool any more. Its VMs are not `removed`'],
    ['pool.master.changed', 'Another host is the master of a pool'],
  ],
  read: (pool, base) => ({ ...base, master: textOf(pool['master']) }),
  fields: ({ name, master }) => ({ name_label: name, master }),
  added: (_, after) => ({ method: 'pool.connected', after }),
  removed: (_, before) => ({ method: 'pool.disconnected', before }),
  step: (before, after) => ({
    state: after,
    changes: compared('pool.master.changed', { master: before.master }, { master: after.master }),
  }),
}

export const MESSAGE: Rule<MessageState> = {
  events: [
    ['alarm.raised', 'A pool raises an alarm: CPU, memory, a network bond, multipathing…'],
    ['alarm.cleared', 'An alarm has been deleted'],
  ],
  read(message, base) {
    const name = textOf(message['name']) ?? ''
    const isAlarm = ALARMS.includes(name)
    return isAlarm || name === CRASHED
      ? {
          ...base,
          name,
          isAlarm,
          about: textOf(message['$object']),
          body: (textOf(message['body']) ?? '').slice(0, MAX_BODY_LENGTH),
          time: numberOf(message['time']),
        }
      : undefined
  },
  fields: ({ name, body, time }) => ({ name, body, time, ...valueOf(body) }),
  added: ({ isAlarm, about }, after) => ({ method: isAlarm ? 'alarm.raised' : 'vm.crashed', about, after }),
  removed: ({ isAlarm, about }, before) => (isAlarm ? { method: 'alarm.cleared', about, before } : undefined),
}

function stepOfHost(before: HostState, after: HostState): Step<HostState> {
  // XO does not have the metrics of the host yet
  const power = after.power === 'Unknown' ? before.power : after.power
  const isUp = power === 'Running'
  const method = isUp ? 'host.connected' : 'host.disconnected'
  return {
    state: { ...after, power, startTime: after.startTime ?? before.startTime },
    changes: [
      ...(isUp === (before.power === 'Running')
        ? []
        : compared(method, { power_state: before.power }, { power_state: power })),
      ...compared(
        after.isEnabled ? 'host.enabled' : 'host.disabled',
        { enabled: before.isEnabled },
        { enabled: after.isEnabled }
      ),
      ...(before.startTime !== undefined && (after.startTime ?? 0) > before.startTime
        ? compared('host.rebooted', { startTime: before.startTime }, { startTime: after.startTime })
        : []),
      ...compared('host.updated', softwareOf(before), softwareOf(after)),
      ...retagged('host', before.tags, after.tags),
    ],
  }
}

/** The time of the last packages: with XCP-ng a patch is a package, and no `patches` are known. */
function softwareOf({ version, build, patches, patchedAt }: HostState): Fields {
  return { version, build, patches, patchedAt }
}

/** Of an alarm: what it measures, and how much it was. Source: alarm.service.mts of the REST API. */
function valueOf(body: string): Fields {
  const [, value, alarm] = /^value:\s*([-+\w.]+)\s*config:\s*<variable>\s*<name value="([^"]*)"/.exec(body) ?? []
  return value === undefined ? {} : { alarm, value: Number.isFinite(Number(value)) ? Number(value) : value }
}
