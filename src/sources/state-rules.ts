import type { EventInfo } from '../event/event.ts'
import { isRecord, numberOf, textOf } from '../values.ts'
import { compared } from './state.ts'
import type { Change, Fields, HostState, PbdState, State, StateOf, Step } from './state.ts'
import { stepOfVm } from './vm-steps.ts'

/**
 * Which change of which field of an XO object is which event. Pure: a small state is read off an object, and two states
 * of one object are compared.
 *
 * Source of the fields: packages/xo-server/src/xapi-object-to-xo.mjs.
 */

/** What is watched of the XO objects of one type: everything that depends on the type stands here. */
interface Rule<S extends State> {
  /** What may be told, each in a sentence. `of`: it comes of another type, as `vm.crashed` of a `message` of the pool. */
  readonly events: readonly (readonly [name: string, sentence: string, of?: State['type']])[]
  /** Another type that has to be watched for these events: a new VM is a template first. */
  readonly besides?: State['type']
  /** `undefined` for an object that is no matter of events. */
  read(
    object: Fields,
    pool: string,
    fullRatio: number
  ): (Omit<S, keyof StateOf<string>> & { name?: string }) | undefined
  /** What is told of one that is new or gone. */
  fields(state: S): Fields
  /** The event of one that is new in a pool that was there before it. */
  added?(state: S, after: Fields): Change | undefined
  /** The event of one that is gone from a pool that is still there. */
  removed?(state: S, before: Fields): Change | undefined
  step?(before: S, after: S): Step
}

/** Source: @xen-orchestra/rest-api/src/alarms/alarm.service.mts. */
const ALARMS = ['ALARM', 'BOND_STATUS_CHANGED', 'MULTIPATH_PERIODIC_ALERT']
const CRASHED = 'VM_CRASHED'

/** Messages may be long; the rest of one can be read in XO. */
const MAX_BODY_LENGTH = 2_000

/** An SR has to be emptied by this much before it can become full again. */
const FULL_AGAIN = 0.05

/** By type, in the order in which the README lists their events. */
const RULES: { readonly [Type in State['type']]: Rule<Extract<State, StateOf<Type>>> } = {
  VM: {
    events: [
      ['vm.created', 'A VM is there that was not: created, cloned, copied, imported or restored'],
      ['vm.removed', 'A VM is gone, or has been made a template'],
      ['vm.started', 'A VM that was halted is up'],
      ['vm.halted', 'A VM is down'],
      ['vm.suspended', 'A VM has been suspended'],
      ['vm.paused', 'A VM has been paused'],
      ['vm.resumed', 'A VM that was suspended or paused runs again'],
      ['vm.rebooted', 'A VM has booted again without having been halted, whoever asked for it'],
      ['vm.crashed', 'The pool says that a VM has crashed (`VM_CRASHED`; not every version of XCP-ng does)', 'message'],
      ['vm.migrated', 'A VM is on another host: `before.host` and `after.host`'],
      ['vm.renamed', 'A VM has another name'],
    ],
    besides: 'VM-template',
    read: (vm, pool) => ({
      power: textOf(vm['power_state']) ?? '',
      // the container of a VM that is on no host is its pool
      host: vm['$container'] === pool ? undefined : textOf(vm['$container']),
      startTime: numberOf(vm['startTime']),
      operations: operationsOf(vm['current_operations']),
    }),
    fields: ({ name, power, host }) => ({ name_label: name, power_state: power, host }),
    added: (_, after) => ({ method: 'vm.created', after }),
    removed: (_, before) => ({ method: 'vm.removed', before }),
    step: stepOfVm,
  },
  'VM-template': {
    events: [],
    read: () => ({}),
    fields: ({ name }) => ({ name_label: name }),
  },
  'VM-snapshot': {
    events: [
      ['snapshot.created', 'A snapshot of a VM is there; a backup makes some, too'],
      ['snapshot.removed', 'A snapshot of a VM is gone'],
    ],
    read: snapshot => ({ of: textOf(snapshot['$snapshot_of']) }),
    fields: ({ name, of }) => ({ name_label: name, snapshot_of: of }),
    added: (_, after) => ({ method: 'snapshot.created', after }),
    removed: (_, before) => ({ method: 'snapshot.removed', before }),
  },
  host: {
    events: [
      ['host.connected', 'A host is live: it has joined its pool or has come back'],
      ['host.disconnected', 'A host is not live any more, or has left its pool'],
      ['host.enabled', 'A host may run VMs'],
      ['host.disabled', 'A host may not be given VMs: maintenance, or it shuts down'],
    ],
    read: host => ({ power: textOf(host['power_state']) ?? '', isEnabled: host['enabled'] === true }),
    fields: ({ name, power, isEnabled }) => ({ name_label: name, power_state: power, enabled: isEnabled }),
    added: ({ power }, after) => (power === 'Running' ? { method: 'host.connected', after } : undefined),
    removed: ({ power }, before) => (power === 'Running' ? { method: 'host.disconnected', before } : undefined),
    step: stepOfHost,
  },
  pool: {
    events: [
      ['pool.connected', 'XO sees a pool: its server was connected, or answers again'],
      ['pool.disconnected', 'XO does not see a pool any more. Its VMs are not `removed`'],
      ['pool.master.changed', 'Another host is the master of a pool'],
    ],
    read: pool => ({ master: textOf(pool['master']) }),
    fields: ({ name, master }) => ({ name_label: name, master }),
    added: (_, after) => ({ method: 'pool.connected', after }),
    removed: (_, before) => ({ method: 'pool.disconnected', before }),
    step: (before, after) => ({
      state: after,
      changes: compared('pool.master.changed', { master: before.master }, { master: after.master }),
    }),
  },
  PBD: {
    events: [
      ['sr.connected', 'An SR is connected to a host: `params.host`'],
      ['sr.disconnected', 'An SR is not connected to a host any more: `params.host`'],
    ],
    read: pbd => ({ sr: textOf(pbd['SR']), host: textOf(pbd['host']), isAttached: pbd['attached'] === true }),
    fields: ({ isAttached }) => ({ attached: isAttached }),
    added: (pbd, after) => (pbd.isAttached ? connection('sr.connected', pbd, { after }) : undefined),
    removed: (pbd, before) => (pbd.isAttached ? connection('sr.disconnected', pbd, { before }) : undefined),
    step(before, after) {
      const method = after.isAttached ? 'sr.connected' : 'sr.disconnected'
      const fields = { before: { attached: before.isAttached }, after: { attached: after.isAttached } }
      const changes = before.isAttached === after.isAttached ? [] : [connection(method, after, fields)]
      return { state: after, changes }
    },
  },
  SR: {
    events: [['sr.full', 'An SR has become full, to 90 % or as `srFullPercent` says']],
    read(sr, _, fullRatio) {
      const size = numberOf(sr['size']) ?? 0
      const used = numberOf(sr['physical_usage']) ?? 0
      // a CD is always full
      const canFill = sr['content_type'] !== 'iso' && sr['SR_type'] !== 'udev' && size > 0
      const limit = canFill ? size * fullRatio : Number.POSITIVE_INFINITY
      return { size, used, limit, isFull: used >= limit }
    },
    fields: ({ size, used }) => ({ size, physical_usage: used }),
    step(before, after) {
      const isFull = after.isFull || (before.isFull && after.used >= after.limit - after.size * FULL_AGAIN)
      const change = { method: 'sr.full', before: RULES.SR.fields(before), after: RULES.SR.fields(after) }
      return { state: { ...after, isFull }, changes: isFull && !before.isFull ? [change] : [] }
    },
  },
  message: {
    events: [
      ['alarm.raised', 'A pool raises an alarm: CPU, memory, a network bond, multipathing…'],
      ['alarm.cleared', 'An alarm has been deleted'],
    ],
    read(message) {
      const name = textOf(message['name']) ?? ''
      const isAlarm = ALARMS.includes(name)
      return isAlarm || name === CRASHED
        ? {
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
  },
}

/** An event with the types of XO objects that it needs to see. */
export interface StateEvent extends EventInfo {
  readonly types: readonly string[]
}

/** For the form and the README. */
export const stateEvents: readonly StateEvent[] = [
  ...Object.entries<Pick<Rule<State>, 'events' | 'besides'>>(RULES).flatMap(([type, { events, besides }]) =>
    events.map(([name, sentence, of]) =>
      post(name, sentence, of ?? type, ...(of === undefined && besides ? [besides] : []))
    )
  ),
  post('user.signInFailed', 'Someone gave a wrong user name or password'),
  post('console.opened', 'Someone has opened the console of a VM or a host'),
  post('console.closed', 'Someone has closed it'),
  {
    ...post('job.finished', 'A job has run to its end, well or not: `params` are its `id`, `type` and `run`'),
    alwaysSucceeds: false,
  },
]

function post(name: string, sentence: string, ...types: readonly string[]): StateEvent {
  return { name, phases: ['post'], sentence, types, alwaysSucceeds: true }
}

/** The rule that fits this state: the compiler does not know that the one under its type does. */
function ruleOf<S extends State>({ type }: S): Rule<S> {
  return RULES[type] as unknown as Rule<S>
}

/**
 * What counts of an XO object; `undefined` for one that is no matter of events.
 *
 * @param fullRatio - from where an SR is full
 */
export function stateOf(object: unknown, fullRatio: number): State | undefined {
  const fields = isRecord(object) ? object : {}
  const type = textOf(fields['type'])
  if (type === undefined || !Object.hasOwn(RULES, type)) {
    return undefined
  }
  const pool = textOf(fields['$pool']) ?? ''
  const name = textOf(fields['name_label']) ?? ''
  const own = RULES[type as State['type']].read(fields, pool, fullRatio)
  return own && ({ type, pool, name, ...own } as State)
}

/** The events of an object that is new in a pool that was there before it. */
export function changesOfNew(state: State): readonly Change[] {
  const rule = ruleOf(state)
  const change = rule.added?.(state, rule.fields(state))
  return change === undefined ? [] : [change]
}

/** The events of an object that is gone from a pool that is still there. */
export function changesOfGone(state: State): readonly Change[] {
  const rule = ruleOf(state)
  const change = rule.removed?.(state, rule.fields(state))
  return change === undefined ? [] : [change]
}

export function stepOf(before: State, after: State): Step {
  if (before.type === after.type) {
    return ruleOf(after).step?.(before, after) ?? { state: after, changes: [] }
  }
  if (before.type === 'VM-template' && after.type === 'VM') {
    // a new VM is a clone of its template first, and a template itself (host: xapi/mixins/vm.mjs, `createVm`)
    return { state: after, changes: changesOfNew(after) }
  }
  if (before.type === 'VM' && after.type === 'VM-template') {
    const [change] = changesOfGone(before)
    return { state: after, changes: [{ ...change!, after: { type: after.type } }] }
  }
  return { state: after, changes: [] }
}

function stepOfHost(before: HostState, after: HostState): Step {
  // XO does not have the metrics of the host yet
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

function connection(method: string, { sr, host }: PbdState, fields: Pick<Change, 'before' | 'after'>): Change {
  return { method, about: sr, params: { host }, ...fields }
}

/** Of an alarm: what it measures, and how much it was. Source: alarm.service.mts of the REST API. */
function valueOf(body: string): Fields {
  const [, value, alarm] = /^value:\s*([-+\w.]+)\s*config:\s*<variable>\s*<name value="([^"]*)"/.exec(body) ?? []
  return value === undefined ? {} : { alarm, value: Number.isFinite(Number(value)) ? Number(value) : value }
}

/** One list for all VMs that do nothing, which are most of some thousands. */
const NONE: readonly string[] = []

function operationsOf(operations: unknown): readonly string[] {
  const values = isRecord(operations) ? Object.values(operations) : NONE
  return values.length === 0 ? NONE : values.filter(value => typeof value === 'string')
}
