import { compared } from './state.ts'
import type { Change, Step, VmState } from './state.ts'

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
 * The power state that an operation leads to; `undefined`: the one that it began with. The states on its way there are not
 * told: a VM that starts is paused for a moment, and one of which a checkpoint is made is suspended for a moment.
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

/** What has happened to a VM between two of its states, as to where and whether it runs, and its name. */
export function powerStepOf(before: VmState, after: VmState): Step<VmState> {
  const isOnItsWay = after.operations.some(operation => AIMS.has(operation) && AIMS.get(operation) !== after.power)
  const power = isOnItsWay ? before.power : after.power
  // a VM that is not halted is on some host, also while XO does not know on which
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
  if (before.name !== after.name) {
    changes.push({ method: 'vm.renamed', before: { name_label: before.name }, after: { name_label: after.name } })
  }
  // one is made only where it has to be: some thousands of VMs may change at once
  const isAsSeen = power === after.power && host === after.host
  return { state: isAsSeen ? after : { ...after, power, host }, changes }
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
