import type { Hook } from './config/hook.ts'
import type { Phase } from './event/event.ts'
import type { ObjectSnapshot } from './event/object.ts'
import { isWanted } from './matcher.ts'
import { hookableEvents, isBackupRun, listedEvents } from './sources/index.ts'
import type { TestReport } from './test-report.ts'
import type { Signal } from './xo.ts'

/** Characters in a line of XO's dialog. */
const DIALOG_WIDTH = 60

/** What people mean by a pattern, the first that it matches. */
const MEANT = [
  'vm.start',
  'vm.started',
  'vm.stop',
  'vm.created',
  'backupNg.runJob',
  'host.connected',
  'host.restart',
  'sr.full',
]

/** Events whose name says that something is there now, or is gone. */
const APPEARS = /\.(created|connected|raised|added|loaded)$/
const GOES = /\.(removed|disconnected|cleared|unloaded)$/

const HALTED = { power_state: 'Halted' }

/** What has changed, where more than the name tells. */
const CHANGES: Readonly<Record<string, { readonly before: object; readonly after: object }>> = {
  'vm.started': { before: HALTED, after: { power_state: 'Running', host: { id: 'c1d0b6a2-…', name_label: 'host-1' } } },
  'vm.halted': { before: { power_state: 'Running' }, after: HALTED },
  'vm.suspended': { before: { power_state: 'Running' }, after: { power_state: 'Suspended' } },
  'vm.paused': { before: { power_state: 'Running' }, after: { power_state: 'Paused' } },
  'vm.resumed': { before: { power_state: 'Suspended' }, after: { power_state: 'Running' } },
  'vm.migrated': { before: { host: { name_label: 'host-2' } }, after: { host: { name_label: 'host-1' } } },
  'host.enabled': { before: { enabled: false }, after: { enabled: true } },
  'host.disabled': { before: { enabled: true }, after: { enabled: false } },
  'sr.full': { before: { size: 1000, physical_usage: 890 }, after: { size: 1000, physical_usage: 910 } },
}

/**
 * What the Test button sends: an event that a hook would be sent, in the shape that it really has, marked as a test.
 *
 * @param known - the API methods of the host
 */
export function sampleEvent({ methods, status }: Hook, phase: Phase, known: readonly string[]): Signal {
  const isExact = (pattern: string): boolean => !pattern.includes('*')
  const comes = (name: string): boolean =>
    known.includes(name) || hookableEvents.some(event => event.name === name && event.phases.includes(phase))
  const names = [...MEANT, ...known, ...hookableEvents.map(({ name }) => name)].filter(name =>
    isWanted(methods, [name])
  )
  const method = methods.include.find(isExact) ?? names.find(comes) ?? names[0] ?? 'vm.start'
  const isState = !isBackupRun(method) && !known.includes(method) && listedEvents.some(({ name }) => name === method)
  const common = { callId: 'test', method, timestamp: Date.now(), test: true }
  return isState ? { ...common, ...stateOf(method) } : { ...common, ...callOf(method, phase, status) }
}

/** What an event of this name is about. */
export function sampleObject(method: string): ObjectSnapshot {
  const about = { ...OTHERS[method.split('.', 1)[0] ?? ''] }
  return 'id' in about ? (about as ObjectSnapshot) : VM
}

/**
 * What XO's page is to show of a test of which something failed: the dialog has a line for the message and a box for the rest,
 * which cuts what is longer than a line.
 *
 * @returns the failures first; `undefined`: all is well
 */
export function failureOf(reports: readonly TestReport[]): { message: string; reports: readonly object[] } | undefined {
  const failed = reports.filter(({ ok }) => !ok)
  const [first] = failed
  if (first === undefined) {
    return undefined
  }
  const what = `"${shortened(first.hook, 40)}" (${first.type}): ${shortened(first.outcome, 80)}`
  return {
    message: `${failed.length} of ${reports.length} test requests failed: ${what}. More: /web-hooks#/hooks`,
    reports: [...failed, ...reports.filter(({ ok }) => ok)].map(report => ({
      ...report,
      outcome: inLines(report.outcome),
      ...(report.hint !== undefined && { hint: inLines(report.hint) }),
    })),
  }
}

function shortened(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length).toWellFormed()}…` : text
}

/** As it is, if it fits; else a list of lines that do. */
function inLines(text: string): string | readonly string[] {
  const lines: string[] = []
  for (let rest = text; rest !== '';) {
    const space = rest.length > DIALOG_WIDTH ? rest.lastIndexOf(' ', DIALOG_WIDTH) : rest.length
    const end = space > 0 ? space : DIALOG_WIDTH
    lines.push(rest.slice(0, end))
    rest = rest.slice(end).trimStart()
  }
  return lines.length > 1 ? lines : text
}

function callOf(method: string, phase: Phase, status: Hook['status']): object {
  const isRun = isBackupRun(method)
  const [jobId, scheduleId] = ['3f0c9b1e-6a57-4a0c-8f5e-1d2b3c4d5e6f', '9a8b7c6d-5e4f-4321-8765-0f1e2d3c4b5a']
  const hasFailed = status === 'failure'
  return {
    ...{ userId: 'b4tm4n', userName: 'bruce.wayne@waynecorp.com', userIp: '127.0.0.1' },
    params: isRun ? { id: jobId, schedule: scheduleId } : { id: sampleObject(method).id },
    ...(phase === 'post' && { duration: 0 }),
    ...(phase === 'post' && (hasFailed ? { error: { message: 'a sample error' } } : { result: true })),
    ...(isRun && {
      run: {
        ...{ id: '1700000000000', jobId, jobName: 'nightly', scheduleId },
        ...(phase === 'post' && { status: hasFailed ? 'failure' : 'success' }),
      },
    }),
  }
}

function stateOf(method: string): object {
  if (method === 'job.finished') {
    return { params: { id: '3f0c9b1e-6a57-4a0c-8f5e-1d2b3c4d5e6f', type: 'backup', run: '1700000000000' } }
  }
  const { id, name_label, pool } = sampleObject(method)
  if (method.startsWith('console.') || method.startsWith('user.')) {
    const who = { userId: 'b4tm4n', userName: 'bruce.wayne@waynecorp.com', userIp: '127.0.0.1' }
    return { ...who, params: method.startsWith('console.') ? { id, name_label } : {} }
  }
  const params = { id, name_label, ...(pool !== undefined && { pool }) }
  const { before, after } = CHANGES[method] ?? {
    before: { name_label: `${String(name_label)} (before)` },
    after: { name_label },
  }
  return { params, ...(!APPEARS.test(method) && { before }), ...(!GOES.test(method) && { after }) }
}

const VM: ObjectSnapshot = {
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

const POOL = { id: '7b3f6d53-0a0f-4d0e-9b8a-2f6a2c1d5e01', name_label: 'pool-1' }

/** By namespace. */
const OTHERS: Readonly<Record<string, ObjectSnapshot>> = {
  host: {
    ...{ id: 'c1d0b6a2-5d0e-4f4d-8c55-6f1e4c9f7a02', uuid: 'c1d0b6a2-5d0e-4f4d-8c55-6f1e4c9f7a02', type: 'host' },
    ...{ name_label: 'host-1', name_description: 'a sample', tags: [], pool: POOL },
    ...{ power_state: 'Running', address: '192.0.2.2', enabled: true },
  },
  pool: { ...POOL, uuid: POOL.id, type: 'pool', name_description: 'a sample', tags: [] },
  sr: {
    ...{ id: 'e5a1f0c3-2b4d-4c6e-8f7a-9b0c1d2e3f14', uuid: 'e5a1f0c3-2b4d-4c6e-8f7a-9b0c1d2e3f14', type: 'SR' },
    ...{ name_label: 'storage-1', name_description: 'a sample', tags: [], pool: POOL },
    ...{ size: 1_099_511_627_776, physical_usage: 1_000_727_379_968 },
  },
}
