import { isRecord, numberOf, textOf } from '../values.ts'
import { retagged, compared, sameList, tagEvents, textsOf } from './state.ts'
import type { Change, Fields, Rule, SnapshotState, State, Step, TemplateState, VifState, VmState } from './state.ts'
import { powerStepOf } from './vm-steps.ts'

/** Which change of a VM, its snapshots and its VIFs is which event. */

/** Settings of which changes are `vm.changed`, by their names in XO. */
const SETTINGS = [
  'name_description',
  'notes',
  'auto_poweron',
  'high_availability',
  'affinityHost',
  'startDelay',
  'secureBoot',
] as const

/**
 * A backup makes its snapshot under this name, and gives it its own a little later.
 *
 * Source: @xen-orchestra/backups/_runners/_vmRunners/_AbstractXapi.mjs.
 */
const UNNAMED_SNAPSHOT = 'xo-backup-temp-snapshot-name'

const NOTHING: Fields = {}
const NO_CHANGES: readonly Change[] = []

export const VM: Rule<VmState> = {
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
    ['vm.addressChanged', 'An IP address of a VM has become known, or is another one (needs the guest tools)'],
    ['vm.resized', 'A VM has more or fewer CPUs, or more or less memory (bytes), as configured'],
    ['vm.changed', `Something of a VM is different: \`name_label\`, ${SETTINGS.map(name => `\`${name}\``).join(', ')}`],
    ...tagEvents('vm', 'A VM'),
  ],
  besides: 'VM-template',
  read(vm, base) {
    const cpus = isRecord(vm['CPUs']) ? vm['CPUs'] : NOTHING
    const memory = isRecord(vm['memory']) ? vm['memory'] : NOTHING
    const container = vm['$container']
    return {
      // one by one, as of some thousands of VMs this is made again and again: `...base` takes five times as long
      type: base.type,
      pool: base.pool,
      name: base.name,
      power: textOf(vm['power_state']) ?? '',
      // the container of a VM that is on no host is its pool
      host: container === base.pool ? undefined : textOf(container),
      startTime: numberOf(vm['startTime']),
      operations: valuesOf(vm['current_operations']),
      tags: textsOf(vm['tags']),
      addresses: valuesOf(vm['addresses']),
      mainAddress: textOf(vm['mainIpAddress']),
      cpus: numberOf(cpus['number']),
      cpusMax: numberOf(cpus['max']),
      memory: Array.isArray(memory['dynamic']) ? numberOf(memory['dynamic'][1]) : undefined,
      // in the order of `SETTINGS`
      settings: [
        scalarOf(vm['name_description']),
        scalarOf(vm['notes']),
        scalarOf(vm['auto_poweron']),
        scalarOf(vm['high_availability']),
        scalarOf(vm['affinityHost']),
        scalarOf(vm['startDelay']),
        scalarOf(vm['secureBoot']),
      ],
    }
  },
  fields: ({ name, power, host }) => ({ name_label: name, power_state: power, host }),
  added: (_, after) => ({ method: 'vm.created', after }),
  removed: (_, before) => ({ method: 'vm.removed', before }),
  step(before, seen) {
    if (isSame(before, seen)) {
      return { state: seen, changes: NO_CHANGES }
    }
    const { state: moved, changes } = powerStepOf(before, seen)
    // one that is down has no addresses, and may have the same when it is up again
    const isUnknown = seen.addresses.length === 0 && before.addresses.length > 0
    const after = isUnknown ? { ...moved, addresses: before.addresses, mainAddress: before.mainAddress } : moved
    return { state: after, changes: [...changes, ...settingsChanged(before, after)] }
  },
}

export const TEMPLATE: Rule<TemplateState> = {
  events: [],
  read: (_, base) => base,
  fields: ({ name }) => ({ name_label: name }),
}

export const SNAPSHOT: Rule<SnapshotState> = {
  events: [
    ['snapshot.created', 'A snapshot of a VM is there; a backup makes some, too'],
    ['snapshot.removed', 'A snapshot of a VM is gone'],
  ],
  read: (snapshot, base) => ({ ...base, of: textOf(snapshot['$snapshot_of']) }),
  fields: ({ name, of }) => ({ name_label: name, snapshot_of: of }),
  added: ({ name }, after) => (name === UNNAMED_SNAPSHOT ? undefined : { method: 'snapshot.created', after }),
  removed: ({ name }, before) => (name === UNNAMED_SNAPSHOT ? undefined : { method: 'snapshot.removed', before }),
  step(before, after) {
    const isNamed = before.name === UNNAMED_SNAPSHOT && after.name !== UNNAMED_SNAPSHOT
    return { state: after, changes: isNamed ? [{ method: 'snapshot.created', after: SNAPSHOT.fields(after) }] : [] }
  },
}

export const VIF: Rule<VifState> = {
  events: [
    ['vif.created', 'A VM has another network interface: `params.vm`, `params.network`; a new VM has its own'],
    ['vif.removed', 'A network interface of a VM is gone, also with its VM'],
  ],
  read: (vif, base) => ({ ...base, vm: textOf(vif['$VM']), network: textOf(vif['$network']), mac: textOf(vif['MAC']) }),
  fields: ({ mac }) => ({ MAC: mac }),
  added: ({ vm, network }, after) => ({ method: 'vif.created', ofVm: vm, params: { vm, network }, after }),
  removed: ({ vm, network }, before) => ({ method: 'vif.removed', ofVm: vm, params: { vm, network }, before }),
}

/** Two states of one XO object that is of another type now. */
export function kindStep(before: State, after: State): Step {
  if (before.type === 'VM-template' && after.type === 'VM') {
    // a new VM is a clone of its template first, and a template itself (host: xapi/mixins/vm.mjs, `createVm`). A template
    // that is deleted is made a VM first (@xen-orchestra/xapi/vm.mjs, `destroy`)
    return { state: after, changes: [{ method: 'vm.created', after: VM.fields(after), isTentative: true }] }
  }
  if (before.type === 'VM' && after.type === 'VM-template') {
    const gone: Change = { method: 'vm.removed', before: VM.fields(before), after: { type: after.type } }
    return { state: after, changes: [gone] }
  }
  return { state: after, changes: [] }
}

/** Asked of each VM whenever anything of it changes, which is all the time and mostly nothing that counts. */
function isSame(before: VmState, after: VmState): boolean {
  return (
    before.power === after.power &&
    before.host === after.host &&
    before.startTime === after.startTime &&
    before.name === after.name &&
    before.cpus === after.cpus &&
    before.cpusMax === after.cpusMax &&
    before.memory === after.memory &&
    before.mainAddress === after.mainAddress &&
    sameList(before.operations, after.operations) &&
    sameList(before.tags, after.tags) &&
    sameList(before.addresses, after.addresses) &&
    sameList(before.settings, after.settings)
  )
}

function settingsChanged(before: VmState, after: VmState): Change[] {
  const changes = retagged('vm', before.tags, after.tags)
  if (before.mainAddress !== after.mainAddress || !sameList(before.addresses, after.addresses)) {
    changes.push({ method: 'vm.addressChanged', before: addressesOf(before), after: addressesOf(after) })
  }
  if (before.cpus !== after.cpus || before.cpusMax !== after.cpusMax || before.memory !== after.memory) {
    changes.push(...compared('vm.resized', sizeOf(before), sizeOf(after)))
  }
  if (before.name !== after.name || !sameList(before.settings, after.settings)) {
    changes.push({ method: 'vm.changed', ...settingsThatDiffer(before, after) })
  }
  return changes
}

function addressesOf({ mainAddress, addresses }: VmState): Fields {
  return { mainIpAddress: mainAddress, addresses }
}

/** As the API method `vm.set` names them. */
function sizeOf({ cpus, cpusMax, memory }: VmState): Fields {
  return { CPUs: cpus, cpusMax, memory }
}

function settingsThatDiffer(a: VmState, b: VmState): { before: Fields; after: Fields } {
  const [before, after]: Record<string, unknown>[] = [{}, {}]
  if (a.name !== b.name) {
    before!['name_label'] = a.name
    after!['name_label'] = b.name
  }
  for (const [index, key] of SETTINGS.entries()) {
    if (a.settings[index] !== b.settings[index]) {
      before![key] = a.settings[index]
      after![key] = b.settings[index]
    }
  }
  return { before: before!, after: after! }
}

/** What is not set is `null`, as JSON has it. */
function scalarOf(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
      return value.length > 2_000 ? value.slice(0, 2_000) : value
    case 'number':
    case 'boolean':
      return value
    default:
      return null
  }
}

function valuesOf(map: unknown): readonly string[] {
  return isRecord(map) ? textsOf(Object.values(map)) : textsOf(undefined)
}
