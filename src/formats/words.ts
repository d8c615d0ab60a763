import type { Outcome } from '../event/event.ts'

/** How good the news is. `info`: neither good nor bad; `pending`: it has not happened yet. */
export type Tone = 'good' | 'bad' | 'warning' | 'info' | 'pending'

/** What stands at the head of a message. */
export interface Heading {
  readonly title: string
  readonly tone: Tone
}

/** What has become of something, whoever did it: by the event's name. */
const EVENTS: Readonly<Record<string, readonly [title: string, tone: Tone]>> = {
  'vm.created': ['VM created', 'info'],
  'vm.removed': ['VM removed', 'info'],
  'vm.started': ['VM started', 'good'],
  'vm.halted': ['VM halted', 'info'],
  'vm.suspended': ['VM suspended', 'info'],
  'vm.paused': ['VM paused', 'info'],
  'vm.resumed': ['VM resumed', 'good'],
  'vm.rebooted': ['VM rebooted', 'info'],
  'vm.crashed': ['VM crashed', 'bad'],
  'vm.migrated': ['VM migrated', 'info'],
  'vm.renamed': ['VM renamed', 'info'],
  'vm.addressChanged': ['VM address changed', 'info'],
  'vm.resized': ['VM resized', 'info'],
  'vm.changed': ['VM changed', 'info'],
  'vm.tagged': ['VM tagged', 'info'],
  'vm.untagged': ['VM untagged', 'info'],
  'vif.created': ['VM network interface created', 'info'],
  'vif.removed': ['VM network interface removed', 'info'],
  'disk.created': ['Disk created', 'info'],
  'disk.removed': ['Disk removed', 'info'],
  'disk.resized': ['Disk resized', 'info'],
  'snapshot.created': ['Snapshot created', 'info'],
  'snapshot.removed': ['Snapshot removed', 'info'],
  'host.connected': ['Host connected', 'good'],
  'host.disconnected': ['Host disconnected', 'bad'],
  'host.enabled': ['Host enabled', 'good'],
  'host.disabled': ['Host disabled', 'warning'],
  'host.rebooted': ['Host rebooted', 'info'],
  'host.updated': ['Host updated', 'good'],
  'host.tagged': ['Host tagged', 'info'],
  'host.untagged': ['Host untagged', 'info'],
  'pool.connected': ['Pool connected', 'good'],
  'pool.disconnected': ['Pool disconnected', 'bad'],
  'pool.master.changed': ['Pool has another master', 'warning'],
  'sr.connected': ['Storage connected', 'good'],
  'sr.disconnected': ['Storage disconnected', 'warning'],
  'sr.full': ['Storage is full', 'bad'],
  'sr.tagged': ['Storage tagged', 'info'],
  'sr.untagged': ['Storage untagged', 'info'],
  'alarm.raised': ['Alarm raised', 'bad'],
  'alarm.cleared': ['Alarm cleared', 'good'],
  'user.signInFailed': ['Sign-in failed', 'warning'],
  'user.signedIn': ['Signed in', 'info'],
  'user.created': ['User created', 'info'],
  'user.removed': ['User removed', 'info'],
  'server.added': ['Server added', 'info'],
  'server.removed': ['Server removed', 'info'],
  'plugin.loaded': ['Plugin loaded', 'info'],
  'plugin.unloaded': ['Plugin unloaded', 'info'],
  'console.opened': ['Console opened', 'info'],
  'console.closed': ['Console closed', 'info'],
  'job.finished': ['Job finished', 'info'],
  'xo.started': ['XO started', 'good'],
  'xo.stopping': ['XO stops', 'warning'],
  'web-hooks.endpointFailing': ['Web hook keeps failing', 'bad'],
  'web-hooks.endpointDisabled': ['Web hook disabled', 'bad'],
  'web-hooks.endpointRecovered': ['Web hook works again', 'good'],
}

/** What is asked for, by the method's name, where {@link NOUNS} and {@link DEEDS} would not say it well. */
const METHODS: Readonly<Record<string, string>> = {
  'backupNg.runJob': 'Backup',
  'backupNg.importVmBackup': 'VM restore',
  'backupNg.deleteVmBackup': 'Backup deletion',
  'backupNg.deleteVmBackups': 'Backup deletion',
  'metadataBackup.runJob': 'Metadata backup',
  'metadataBackup.restore': 'Metadata restore',
  'mirrorBackup.runJob': 'Mirror backup',
  'schedule.runSequence': 'Job sequence',
  'job.runSequence': 'Job sequence',
  'schedule.run': 'Scheduled run',
  'session.signIn': 'Sign-in',
  'session.signInWithPassword': 'Sign-in',
  'session.signInWithToken': 'Sign-in',
  'session.signOut': 'Sign-out',
  'vm.set': 'VM change',
  'vm.copy': 'VM copy',
  'vm.insertCd': 'Insertion of a CD',
  'vm.ejectCd': 'Ejection of a CD',
  'vm.setBootOrder': 'Change of the boot order',
  'vm.createInterface': 'Creation of a network interface',
  'vm.attachDisk': 'Attachment of a disk',
  'vm.convertToTemplate': 'Conversion to a template',
  'vm.convert': 'Conversion to a template',
  'vm.recoveryStart': 'VM start in recovery mode',
  'vm.warmMigration': 'Warm migration of a VM',
  'vm.addDataSource': 'Start of the recording of a statistic',
  'vm.removeDataSource': 'End of the recording of a statistic',
  'disk.importContent': 'Import of the content of a disk',
  'group.addUser': 'Addition of a user to a group',
  'group.removeUser': 'Removal of a user from a group',
  'role.addGroup': 'Grant of a role to a group',
  'role.removeGroup': 'Withdrawal of a role from a group',
  'role.addUser': 'Grant of a role to a user',
  'role.removeUser': 'Withdrawal of a role from a user',
  'privilege.create': 'Creation of a privilege',
  'privilege.set': 'Change of a privilege',
  'privilege.delete': 'Deletion of a privilege',
  'vm.importFromEsxi': 'Import of VMs from ESXi',
  'vm.importMultipleFromEsxi': 'Import of VMs from ESXi',
  'host.emergencyShutdownHost': 'Emergency shutdown of a host',
  'host.restartAgent': 'Restart of the toolstack',
  'host.restart_agent': 'Restart of the toolstack',
  'host.scanPifs': 'Scan of network interfaces',
  'host.managementReconfigure': 'Move of the management interface',
  'host.setMaintenanceMode': 'Change of maintenance mode',
  'pool.mergeInto': 'Merge of a pool',
  'pool.addHost': 'Addition of a host',
  'pool.setPoolMaster': 'Change of the pool master',
  'pool.rollingUpdate': 'Rolling pool update',
  'pool.rollingReboot': 'Rolling pool reboot',
  'pool.installPatches': 'Installation of patches',
  'pool.emergencyShutdown': 'Emergency shutdown of a pool',
  'pool.managementReconfigure': 'Move of the management interface',
  'network.createBonded': 'Creation of a bonded network',
  'sr.reclaimSpace': 'Reclaiming of storage space',
  'sdnController.addNetworkRule': 'Addition of a network traffic rule',
  'sdnController.updateNetworkRule': 'Change of a network traffic rule',
  'sdnController.deleteNetworkRule': 'Deletion of a network traffic rule',
  'sdnController.addRule': 'Addition of a traffic rule',
  'sdnController.updateRule': 'Change of a traffic rule',
  'sdnController.deleteRule': 'Deletion of a traffic rule',
  'remote.test': 'Test of a backup repository',
  'plugin.configure': 'Configuration of a plugin',
  'xo.importConfig': 'Import of an XO configuration',
  'xo.exportConfig': 'Export of the XO configuration',
}

/** By the first part of a method's name. */
const NOUNS: Readonly<Record<string, string>> = {
  acl: 'Access rule',
  backupNg: 'Backup job',
  cloudConfig: 'Cloud config',
  console: 'Console',
  disk: 'Disk',
  docker: 'Container',
  group: 'Group',
  host: 'Host',
  ipPool: 'IP pool',
  job: 'Job',
  metadataBackup: 'Metadata backup job',
  mirrorBackup: 'Mirror backup job',
  network: 'Network',
  pbd: 'Storage connection',
  pif: 'Network interface',
  plugin: 'Plugin',
  pool: 'Pool',
  proxy: 'XO proxy',
  remote: 'Backup repository',
  resourceSet: 'Resource set',
  role: 'Role',
  schedule: 'Schedule',
  sdnController: 'SDN controller',
  server: 'Server',
  snapshot: 'Snapshot',
  sr: 'Storage',
  tag: 'Tag',
  task: 'Task',
  template: 'Template',
  token: 'Token',
  user: 'User',
  vbd: 'Disk connection',
  vdi: 'Disk',
  vif: 'VM network interface',
  vm: 'VM',
  'web-hooks': 'Web hook',
  xo: 'XO',
  xosan: 'XOSAN',
  xostor: 'XOSTOR',
}

/** By the last part of a method's name. */
const DEEDS: Readonly<Record<string, string>> = {
  add: 'addition',
  abort: 'abortion',
  cancel: 'cancellation',
  clone: 'clone',
  connect: 'connection',
  copy: 'copy',
  create: 'creation',
  delete: 'deletion',
  destroy: 'removal',
  detach: 'detachment',
  disable: 'disabling',
  disconnect: 'disconnection',
  disconnectAllPbds: 'disconnection',
  connectAllPbds: 'connection',
  editJob: 'change',
  createJob: 'creation',
  deleteJob: 'deletion',
  enable: 'enabling',
  export: 'export',
  forget: 'removal',
  import: 'import',
  load: 'loading',
  migrate: 'migration',
  pause: 'pause',
  purge: 'purge',
  remove: 'removal',
  reset: 'reset',
  restart: 'reboot',
  resume: 'resumption',
  revert: 'reversion',
  run: 'run',
  runJob: 'run',
  scan: 'scan',
  set: 'change',
  snapshot: 'snapshot',
  start: 'start',
  stop: 'shutdown',
  suspend: 'suspension',
  test: 'test',
  unload: 'unloading',
  unpause: 'resumption',
}

/**
 * The head of a message. A method that nobody has foreseen is told by its name: `xoa.licenses.bind` is "Xoa licenses bind".
 *
 * @param status - of a backup run, if XO tells
 */
export function headingOf(method: string, outcome: Outcome, status?: string): Heading {
  const known = Object.hasOwn(EVENTS, method) ? EVENTS[method] : undefined
  if (known !== undefined && outcome === 'success') {
    return { title: known[0], tone: known[1] }
  }
  const deed = deedOf(method)
  switch (outcome) {
    case 'started':
      return { title: `${deed} requested`, tone: 'pending' }
    case 'success':
      return status === 'skipped'
        ? { title: `${deed} skipped`, tone: 'warning' }
        : { title: `${deed} succeeded`, tone: 'good' }
    case 'failure':
      return { title: `${deed} ${status === 'interrupted' ? 'interrupted' : 'failed'}`, tone: 'bad' }
    default:
      return outcome satisfies never
  }
}

/** Whether something is said of it that does not only repeat its name. */
export function isForeseen(method: string): boolean {
  const [noun = '', deed = ''] = method.split('.')
  return (
    Object.hasOwn(EVENTS, method) ||
    Object.hasOwn(METHODS, method) ||
    (Object.hasOwn(NOUNS, noun) && Object.hasOwn(DEEDS, deed))
  )
}

function deedOf(method: string): string {
  const known = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined
  if (known !== undefined) {
    return known
  }
  const [first = '', ...rest] = method.split('.')
  const noun = nounOf(first)
  const last = rest.join('.')
  if (noun !== undefined && Object.hasOwn(DEEDS, last)) {
    return `${noun} ${DEEDS[last]}`
  }
  const words = wordsOf(noun === undefined ? [first, ...rest] : rest)
  const text = noun === undefined ? words.charAt(0).toUpperCase() + words.slice(1) : `${noun}: ${words}`
  return text.trim() || 'Something'
}

/** `undefined`: nobody has foreseen it. */
export function nounOf(namespace: string): string | undefined {
  return Object.hasOwn(NOUNS, namespace) ? NOUNS[namespace] : undefined
}

/** `rollingUpdate` → `rolling update`. */
function wordsOf(names: readonly string[]): string {
  return names
    .join(' ')
    .replace(/(\p{Ll})(\p{Lu})/gu, (_, end: string, start: string) => `${end} ${start.toLowerCase()}`)
    .replaceAll(/[_\s]+/g, ' ')
    .trim()
}

/** `230 ms`, `2.3 s`, `45 s`, `3 min 20 s`, `1 h 5 min`, `2 d 3 h`. */
export function durationText(ms: number): string {
  if (ms < 1000) {
    return `${Math.round(ms)} ms`
  }
  if (ms < 9_950) {
    return `${(ms / 1000).toFixed(1)} s`
  }
  const seconds = Math.round(ms / 1000)
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ] as const
  const first = parts.findIndex(([count]) => count > 0)
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ')
}

/**
 * `2026-11-21 21:26:10 UTC`, `2026-11-21 22:26:10 +01:00`: of an event's time, which may be long past when it arrives.
 *
 * @param at - epoch ms
 * @param offset - of the zone from UTC, minutes
 */
export function timeText(at: number, offset: number): string {
  const local = new Date(at + offset * 60_000).toISOString().slice(0, 19).replace('T', ' ')
  const [hours, minutes] = [Math.abs(offset) / 60, Math.abs(offset) % 60].map(each =>
    String(Math.floor(each)).padStart(2, '0')
  )
  return `${local} ${offset === 0 ? 'UTC' : `${offset < 0 ? '-' : '+'}${hours}:${minutes}`}`
}

/** `512 B`, `1.5 GiB`. */
export function sizeText(size: number): string {
  let [value, unit] = [size, 0]
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024
    ++unit
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
