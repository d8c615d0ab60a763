import type { EventInfo } from '../event/event.ts'
import { isRecord } from '../event/object.ts'

/**
 * Which change of which field of an XO object is which event. Pure: a small state is read off an object, and two states
 * of one object are compared.
 *
 * Source of the fields: packages/xo-server/src/xapi-object-to-xo.mjs.
 */
export type State = VmState | TemplateState | SnapshotState | HostState | PoolState | SrState | PbdState | MessageState

interface VmState {
  readonly kind: 'vm'
  readonly pool: string
  readonly name: string
  /** `Halted`, `Paused`, `Running` or `Suspended`. */
  readonly power: string
  /** Where it is; a halted VM may be nowhere. */
  readonly host: string | undefined
  /** Of its last boot, seconds. */
  readonly startTime: number | undefined
  readonly operations: readonly string[]
}

interface TemplateState {
  readonly kind: 'template'
  readonly pool: string
  readonly name: string
}

interface SnapshotState {
  readonly kind: 'snapshot'
  readonly pool: string
  readonly name: string
  readonly of: string | undefined
}

interface HostState {
  readonly kind: 'host'
  readonly pool: string
  readonly name: string
  /** `Running`, `Halted`, or `Unknown`. */
  readonly power: string
  readonly isEnabled: boolean
}

interface PoolState {
  readonly kind: 'pool'
  readonly pool: string
  readonly name: string
  readonly master: string | undefined
}

interface SrState {
  readonly kind: 'sr'
  readonly pool: string
  readonly name: string
  readonly size: number
  readonly used: number
  /** From where it is full; infinite for what cannot be filled. */
  readonly limit: number
  readonly isFull: boolean
}

/** What connects an SR to a host. */
interface PbdState {
  readonly kind: 'pbd'
  readonly pool: string
  readonly sr: string | undefined
  readonly host: string | undefined
  readonly isAttached: boolean
}

/** A message of the pool, of those that are events here. */
interface MessageState {
  readonly kind: 'message'
  readonly pool: string
  readonly isAlarm: boolean
  /** The object that it is about. */
  readonly about: string | undefined
  readonly name: string
  readonly body: string
  /** Seconds. */
  readonly time: number | undefined
}

/** Fields of an object, by their names in XO. */
export type Fields = Readonly<Record<string, unknown>>

/** One event. */
export interface Change {
  readonly method: string
  /** The object it is about, if that is not the one that changed. */
  readonly about?: string | undefined
  readonly before?: Fields
  readonly after?: Fields
  /** More of what it is about. */
  readonly params?: Fields
}

/** An event with the types of XO objects that it needs to see. */
export interface StateEvent extends EventInfo {
  readonly types: readonly string[]
}

function post(name: string, types: readonly string[], sentence: string): StateEvent {
  return { name, phases: ['post'], sentence, types }
}

const VM = ['VM', 'VM-template']
const HOST = ['host']
const POOL = ['pool']

/** For the form and the README. */
export const stateEvents: readonly StateEvent[] = [
  post('vm.created', VM, 'A VM is there that was not: created, cloned, copied, imported or restored'),
  post('vm.removed', VM, 'A VM is gone, or has been made a template'),
  post('vm.started', VM, 'A VM that was halted is up'),
  post('vm.halted', VM, 'A VM is down'),
  post('vm.suspended', VM, 'A VM has been suspended'),
  post('vm.paused', VM, 'A VM has been paused'),
  post('vm.resumed', VM, 'A VM that was suspended or paused runs again'),
  post('vm.rebooted', VM, 'A VM has booted again without having been halted, whoever asked for it'),
  post(
    'vm.crashed',
    ['message'],
    'The pool says that a VM has crashed (`VM_CRASHED`; not every version of XCP-ng does)'
  ),
  post('vm.migrated', VM, 'A VM is on another host: `before.host` and `after.host`'),
  post('vm.renamed', VM, 'A VM has another name'),
  post('snapshot.created', ['VM-snapshot'], 'A snapshot of a VM is there; a backup makes some, too'),
  post('snapshot.removed', ['VM-snapshot'], 'A snapshot of a VM is gone'),
  post('host.connected', HOST, 'A host is live: it has joined its pool or has come back'),
  post('host.disconnected', HOST, 'A host is not live any more, or has left its pool'),
  post('host.enabled', HOST, 'A host may run VMs'),
  post('host.disabled', HOST, 'A host may not be given VMs: maintenance, or it shuts down'),
  post('pool.connected', POOL, 'XO sees a pool: its server was connected, or answers again'),
  post('pool.disconnected', POOL, 'XO does not see a pool any more. Its VMs are not `removed`'),
  post('pool.master.changed', POOL, 'Another host is the master of a pool'),
  post('sr.connected', ['PBD'], 'An SR is connected to a host: `params.host`'),
  post('sr.disconnected', ['PBD'], 'An SR is not connected to a host any more: `params.host`'),
  post('sr.full', ['SR'], 'An SR has become full, to 90 % or as `srFullPercent` says'),
  post('alarm.raised', ['message'], 'A pool raises an alarm: CPU, memory, a network bond, multipathing…'),
  post('alarm.cleared', ['message'], 'An alarm has been deleted'),
  post('user.signInFailed', [], 'Someone gave a wrong user name or password'),
  post('console.opened', [], 'Someone has opened the console of a VM or a host'),
  post('console.closed', [], 'Someone has closed it'),
  post('job.finished', [], 'A job has run to its end, well or not: `params` are its `id`, `type` and `run`'),
]

/** What a change of the power state is. */
const POWER: ReadonlyMap<string, string> = new Map([
  ['Halted Running', 'vm.started'],
  ['Halted Paused', 'vm.started'],
  ['Suspended Running', 'vm.resumed'],
  ['Suspended Paused', 'vm.resumed'],
  ['Paused Running', 'vm.resumed'],
  ['Running Paused', 'vm.paused'],
  ['Running Suspended', 'vm.suspended'],
  ['Paused Suspended', 'vm.suspended'],
  ['Halted Suspended', 'vm.suspended'],
  ['Running Halted', 'vm.halted'],
  ['Paused Halted', 'vm.halted'],
  ['Suspended Halted', 'vm.halted'],
])

/**
 * Where an operation leads. Until it is over, power states on its way are none: a VM is paused for a moment while it
 * starts, and suspended for a checkpoint. `undefined`: back to where it was.
 */
const AIMS: ReadonlyMap<string, string | undefined> = new Map([
  ['start', 'Running'],
  ['start_on', 'Running'],
  ['resume', 'Running'],
  ['resume_on', 'Running'],
  ['clean_reboot', 'Running'],
  ['hard_reboot', 'Running'],
  ['pool_migrate', undefined],
  ['migrate_send', undefined],
  ['checkpoint', undefined],
])

const REBOOTS = ['clean_reboot', 'hard_reboot']

/** Source: @xen-orchestra/rest-api/src/alarms/alarm.service.mts. */
const ALARMS = ['ALARM', 'BOND_STATUS_CHANGED', 'MULTIPATH_PERIODIC_ALERT']
const CRASHED = 'VM_CRASHED'

/** Messages may be long; the rest of one can be read in XO. */
const MAX_BODY_LENGTH = 2_000

/** An SR has to be emptied by this much before it can become full again. */
const FULL_AGAIN = 0.05

/**
 * What counts of an XO object; `undefined` for one that is no matter of events.
 *
 * @param fullRatio - from where an SR is full
 */
export function stateOf(object: unknown, fullRatio: number): State | undefined {
  const fields = isRecord(object) ? object : {}
  const pool = textOf(fields['$pool']) ?? ''
  const name = textOf(fields['name_label']) ?? ''
  switch (fields['type']) {
    case 'VM':
      return {
        kind: 'vm',
        pool,
        name,
        power: textOf(fields['power_state']) ?? '',
        // of a VM that is nowhere, it is the pool
        host: fields['$container'] === pool ? undefined : textOf(fields['$container']),
        startTime: numberOf(fields['startTime']),
        operations: isRecord(fields['current_operations']) ? operationsOf(fields['current_operations']) : NONE,
      }
    case 'VM-template':
      return { kind: 'template', pool, name }
    case 'VM-snapshot':
      return { kind: 'snapshot', pool, name, of: textOf(fields['$snapshot_of']) }
    case 'host':
      return {
        kind: 'host',
        pool,
        name,
        power: textOf(fields['power_state']) ?? '',
        isEnabled: fields['enabled'] === true,
      }
    case 'pool':
      return { kind: 'pool', pool, name, master: textOf(fields['master']) }
    case 'SR': {
      const size = numberOf(fields['size']) ?? 0
      const used = numberOf(fields['physical_usage']) ?? 0
      // a CD is always full
      const canFill = fields['content_type'] !== 'iso' && fields['SR_type'] !== 'udev' && size > 0
      const limit = canFill ? size * fullRatio : Number.POSITIVE_INFINITY
      return { kind: 'sr', pool, name, size, used, limit, isFull: used >= limit }
    }
    case 'PBD':
      return {
        kind: 'pbd',
        pool,
        sr: textOf(fields['SR']),
        host: textOf(fields['host']),
        isAttached: fields['attached'] === true,
      }
    case 'message': {
      const message = textOf(fields['name']) ?? ''
      const isAlarm = ALARMS.includes(message)
      return isAlarm || message === CRASHED
        ? {
            kind: 'message',
            pool,
            isAlarm,
            about: textOf(fields['$object']),
            name: message,
            body: (textOf(fields['body']) ?? '').slice(0, MAX_BODY_LENGTH),
            time: numberOf(fields['time']),
          }
        : undefined
    }
    default:
      return undefined
  }
}

/** The events of an object that is new in a pool that was there before it. */
export function changesOfNew(state: State): readonly Change[] {
  const after = fieldsOf(state)
  switch (state.kind) {
    case 'vm':
      return [{ method: 'vm.created', after }]
    case 'snapshot':
      return [{ method: 'snapshot.created', after }]
    case 'host':
      return state.power === 'Running' ? [{ method: 'host.connected', after }] : []
    case 'pool':
      return [{ method: 'pool.connected', after }]
    case 'pbd':
      return state.isAttached ? [connection('sr.connected', state, { after })] : []
    case 'message':
      return [{ method: state.isAlarm ? 'alarm.raised' : 'vm.crashed', about: state.about, after }]
    case 'template':
    case 'sr':
      return []
    default:
      return state satisfies never
  }
}

/** The events of an object that is gone from a pool that is still there. */
export function changesOfGone(state: State): readonly Change[] {
  const before = fieldsOf(state)
  switch (state.kind) {
    case 'vm':
      return [{ method: 'vm.removed', before }]
    case 'snapshot':
      return [{ method: 'snapshot.removed', before }]
    case 'host':
      return state.power === 'Running' ? [{ method: 'host.disconnected', before }] : []
    case 'pool':
      return [{ method: 'pool.disconnected', before }]
    case 'pbd':
      return state.isAttached ? [connection('sr.disconnected', state, { before })] : []
    case 'message':
      return state.isAlarm ? [{ method: 'alarm.cleared', about: state.about, before }] : []
    case 'template':
    case 'sr':
      return []
    default:
      return state satisfies never
  }
}

/** Two states of one object: what has happened between them, and the state to compare the next one with. */
export interface Step {
  readonly state: State
  readonly changes: readonly Change[]
}

export function stepOf(before: State, after: State): Step {
  if (before.kind === 'vm' && after.kind === 'vm') {
    return stepOfVm(before, after)
  }
  if (before.kind === 'host' && after.kind === 'host') {
    return stepOfHost(before, after)
  }
  if (before.kind === 'pool' && after.kind === 'pool') {
    return {
      state: after,
      changes: compared('pool.master.changed', { master: before.master }, { master: after.master }),
    }
  }
  if (before.kind === 'sr' && after.kind === 'sr') {
    const isFull = after.isFull || (before.isFull && after.used >= after.limit - after.size * FULL_AGAIN)
    const changes = [{ method: 'sr.full', before: fieldsOf(before), after: fieldsOf(after) }]
    return { state: { ...after, isFull }, changes: isFull && !before.isFull ? changes : [] }
  }
  if (before.kind === 'pbd' && after.kind === 'pbd') {
    const method = after.isAttached ? 'sr.connected' : 'sr.disconnected'
    const fields = { before: { attached: before.isAttached }, after: { attached: after.isAttached } }
    return { state: after, changes: before.isAttached === after.isAttached ? [] : [connection(method, after, fields)] }
  }
  if (before.kind === 'template' && after.kind === 'vm') {
    // a new VM is a clone of its template first, and a template itself (host: xapi/mixins/vm.mjs, `createVm`)
    return { state: after, changes: changesOfNew(after) }
  }
  if (before.kind === 'vm' && after.kind === 'template') {
    return {
      state: after,
      changes: [{ method: 'vm.removed', before: fieldsOf(before), after: { type: 'VM-template' } }],
    }
  }
  return { state: after, changes: [] }
}

function stepOfVm(before: VmState, after: VmState): Step {
  const isOnItsWay = after.operations.some(operation => AIMS.has(operation) && AIMS.get(operation) !== after.power)
  const power = isOnItsWay ? before.power : after.power
  // what runs is somewhere
  const host = isOnItsWay || (power !== 'Halted' && after.host === undefined) ? before.host : after.host
  const changes: Change[] = []

  const method = POWER.get(`${before.power} ${power}`)
  if (method !== undefined) {
    changes.push(...compared(method, { power_state: before.power, host: before.host }, { power_state: power, host }))
  } else if (isResident(before.power) && before.host !== undefined) {
    const [from, to] = [before, { ...after, host }].map(state => ({ host: state.host, pool: state.pool }))
    changes.push(...(before.host === host ? [] : compared('vm.migrated', from!, to!)))
  }
  if (hasRebooted(before, after)) {
    changes.push(...compared('vm.rebooted', { startTime: before.startTime }, { startTime: after.startTime }))
  }
  changes.push(...compared('vm.renamed', { name_label: before.name }, { name_label: after.name }))
  return { state: { ...after, power, host }, changes }
}

/**
 * XAPI sets the start time of a VM when it boots, and when it resumes: it tells a reboot where nothing else does.
 * Operations other than a reboot may set it too, a little before they are over.
 *
 * Source: ocaml/xapi/xapi_xenops.ml of xen-api, `update_vm_internal`.
 */
function hasRebooted(before: VmState, after: VmState): boolean {
  return (
    before.power === 'Running' &&
    after.power === 'Running' &&
    before.host === after.host &&
    before.startTime !== undefined &&
    after.startTime !== undefined &&
    after.startTime > before.startTime &&
    ![...before.operations, ...after.operations].some(operation => AIMS.has(operation) && !REBOOTS.includes(operation))
  )
}

function isResident(power: string): boolean {
  return power === 'Running' || power === 'Paused'
}

function stepOfHost(before: HostState, after: HostState): Step {
  // until XO has the metrics of a host
  const power = after.power === 'Unknown' ? before.power : after.power
  const isUp = power === 'Running'
  const method = isUp ? 'host.connected' : 'host.disconnected'
  return {
    state: { ...after, power },
    changes: [
      ...(isUp === (before.power === 'Running')
        ? []
        : compared(method, { power_state: before.power }, { power_state: power })),
      ...compared(
        after.isEnabled ? 'host.enabled' : 'host.disabled',
        { enabled: before.isEnabled },
        { enabled: after.isEnabled }
      ),
    ],
  }
}

/** The event with the fields that differ; none, if none does. */
function compared(method: string, before: Fields, after: Fields): Change[] {
  const keys = Object.keys(before).filter(key => before[key] !== after[key])
  const only = (fields: Fields): Fields => Object.fromEntries(keys.map(key => [key, fields[key]]))
  return keys.length === 0 ? [] : [{ method, before: only(before), after: only(after) }]
}

function connection(method: string, { sr, host }: PbdState, fields: Pick<Change, 'before' | 'after'>): Change {
  return { method, about: sr, params: { host }, ...fields }
}

/** Names are XO's. */
function fieldsOf(state: State): Fields {
  switch (state.kind) {
    case 'vm':
      return { name_label: state.name, power_state: state.power, host: state.host }
    case 'template':
      return { name_label: state.name }
    case 'snapshot':
      return { name_label: state.name, snapshot_of: state.of }
    case 'host':
      return { name_label: state.name, power_state: state.power, enabled: state.isEnabled }
    case 'pool':
      return { name_label: state.name, master: state.master }
    case 'sr':
      return { size: state.size, physical_usage: state.used }
    case 'pbd':
      return { attached: state.isAttached }
    case 'message':
      return { name: state.name, body: state.body, time: state.time, ...valueOf(state.body) }
    default:
      return state satisfies never
  }
}

/** Of an alarm: what it measures, and how much it was. Source: alarm.service.mts of the REST API. */
function valueOf(body: string): Fields {
  const [, value, alarm] = /^value:\s*([-+\w.]+)\s*config:\s*<variable>\s*<name value="([^"]*)"/.exec(body) ?? []
  return value === undefined ? {} : { alarm, value: Number.isFinite(Number(value)) ? Number(value) : value }
}

const NONE: readonly string[] = []

function operationsOf(operations: Readonly<Record<string, unknown>>): readonly string[] {
  const values = Object.values(operations)
  return values.length === 0 ? NONE : values.filter(value => typeof value === 'string')
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}
