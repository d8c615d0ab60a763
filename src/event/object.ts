import { isRecord, numberOf, textOf } from '../values.ts'

/**
 * The object that an event is about: a small snapshot of what XO knows of it, under XO's names. Made of what is listed
 * here and of nothing else, so that no credentials come along.
 *
 * Source: packages/xo-server/src/xapi-object-to-xo.mjs.
 */
export interface ObjectSnapshot {
  readonly id: string
  readonly uuid?: string | undefined
  /** `VM`, `VM-snapshot`, `VM-template`, `host`, `pool`, `SR`, `network`, `VDI`… */
  readonly type: string
  readonly name_label?: string | undefined
  readonly name_description?: string | undefined
  readonly tags?: readonly string[] | undefined
  readonly pool?: Named | undefined
  /** Of a VM that is somewhere, and of an SR that is not shared. */
  readonly host?: Named | undefined
  /** Of a snapshot. */
  readonly snapshot_of?: Named | undefined
  readonly power_state?: string | undefined
  /** Of a VM. */
  readonly CPUs?: { readonly number: number | undefined; readonly max: number | undefined } | undefined
  readonly memory?: { readonly size: number | undefined } | undefined
  readonly mainIpAddress?: string | undefined
  readonly addresses?: readonly string[] | undefined
  readonly VIFs?: readonly Vif[] | undefined
  /** Of a host. */
  readonly address?: string | undefined
  readonly enabled?: boolean | undefined
  /** Of an SR or a VDI. */
  readonly size?: number | undefined
  readonly physical_usage?: number | undefined
  readonly SR?: Named | undefined
}

/** Something else, by its id and name. */
export interface Named {
  readonly id: string
  readonly name_label?: string | undefined
}

export interface Vif {
  readonly id: string
  readonly device: string | undefined
  readonly MAC: string | undefined
  readonly network: Named | undefined
}

/** An XO object by its id; `undefined` if there is none. */
export type LookUp = (id: string) => unknown

/** Lists are cut here: no object of a pool comes near. */
const MAX_ITEMS = 100
const MAX_TEXT_LENGTH = 2_000

/** Parameters that name an object, the most telling one first: of API methods, and of the bodies of the REST API. */
const PARAMS = ['id', 'vm', 'VM', 'host', 'sr', 'SR', 'vdi', 'VDI', 'vif', 'VIF', 'network', 'pool']
const REST_PARAMS = ['vmId', 'vifId', 'hostId', 'srId', 'vdiId', 'networkId', 'poolId']

/** Of methods that are about something else: the parameter, and a property of the object that it names. */
const SUBJECTS: ReadonlyMap<string, readonly [param: string, property?: string]> = new Map([
  ['pool.getPatchesDifference', ['source']],
  ['pool.mergeInto', ['target']],
  ['proxy.deploy', ['sr']],
  ['tag.add', ['id']],
  ['tag.remove', ['id']],
  ['vm.deleteVgpu', ['vgpu']],
  ['vm.getCloudInitConfig', ['template']],
  // the VM that is as it was in its snapshot
  ['vm.revert', ['snapshot', '$snapshot_of']],
])

/** API methods under these names make and delete objects of a pool. Others have ids too, of users and jobs. */
const NAMESPACES = ['vm', 'disk', 'vdi', 'network', 'sr', 'vif', 'vbd', 'pbd', 'pif', 'host', 'pool', 'template']

/** Of a signal, what tells of its object. */
type Call = { readonly method: string; readonly [field: string]: unknown }

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i

/**
 * The id of what a method has made: its result, or that result's `id`, if it is a UUID and the method is one that makes
 * objects of a pool. XO may get to know the object a little later.
 */
export function createdIdOf({ method, result }: Call): string | undefined {
  const id = isRecord(result) ? result['id'] : result
  return typeof id === 'string' && UUID.test(id) && NAMESPACES.includes(method.split('.')[0] ?? '') ? id : undefined
}

/**
 * The id of the object that a call is about: what the table of methods says; else its parameter that has the name of the
 * method's namespace (`vm` for `vm.migrate`), or the first of `id`, `vm`, `host`, `sr`… that is the id of an object.
 */
export function idIn({ method, params }: Call, lookUp: LookUp): string | undefined {
  if (!isRecord(params)) {
    return undefined
  }
  const idAt = (name: string): string | undefined => {
    const id = Object.hasOwn(params, name) ? params[name] : undefined
    return typeof id === 'string' && lookUp(id) !== undefined ? id : undefined
  }
  const [param = method.split('.')[0] ?? '', property] = SUBJECTS.get(method) ?? []
  const id = idAt(param)
  if (id === undefined) {
    const named = [...PARAMS, ...REST_PARAMS].find(name => idAt(name) !== undefined)
    return named && idAt(named)
  }
  const object = property === undefined ? undefined : lookUp(id)
  const other = isRecord(object) ? object[property!] : undefined
  return typeof other === 'string' && lookUp(other) !== undefined ? other : id
}

/** Never throws; `undefined` for what is no XO object. */
export function snapshotOf(object: unknown, lookUp: LookUp): ObjectSnapshot | undefined {
  if (!isRecord(object)) {
    return undefined
  }
  const id = shortTextOf(object['id'])
  const type = shortTextOf(object['type'])
  if (id === undefined || type === undefined) {
    return undefined
  }
  const named = (value: unknown): Named | undefined => namedBy(value, lookUp)
  const container = object['$container'] === object['$pool'] ? undefined : object['$container']
  return {
    id,
    uuid: shortTextOf(object['uuid']),
    type,
    name_label: shortTextOf(object['name_label']),
    name_description: shortTextOf(object['name_description']),
    tags: Array.isArray(object['tags']) ? object['tags'].slice(0, MAX_ITEMS).filter(isText) : undefined,
    pool: named(object['$pool']),
    host: named(container ?? object['$host'] ?? (type === 'PBD' ? object['host'] : undefined)),
    power_state: shortTextOf(object['power_state']),
    ...(type.startsWith('VM') && snapshotOfVm(object, lookUp)),
    ...(type === 'host' && { address: shortTextOf(object['address']), enabled: object['enabled'] === true }),
    ...((type === 'SR' || type.startsWith('VDI')) && {
      size: numberOf(object['size']),
      physical_usage: numberOf(type === 'SR' ? object['physical_usage'] : object['usage']),
      SR: named(object['$SR']),
    }),
  }
}

function snapshotOfVm(vm: Readonly<Record<string, unknown>>, lookUp: LookUp): Partial<ObjectSnapshot> {
  const cpus = isRecord(vm['CPUs']) ? vm['CPUs'] : {}
  const memory = isRecord(vm['memory']) ? vm['memory'] : {}
  const addresses = isRecord(vm['addresses']) ? Object.values(vm['addresses']).filter(isText) : []
  return {
    snapshot_of: namedBy(vm['$snapshot_of'], lookUp),
    CPUs: { number: numberOf(cpus['number']), max: numberOf(cpus['max']) },
    memory: { size: numberOf(memory['size']) },
    mainIpAddress: shortTextOf(vm['mainIpAddress']),
    addresses: addresses.slice(0, MAX_ITEMS),
    VIFs: idsOfVifs(vm)
      .map(id => ({ id, vif: lookUp(id) }))
      .filter(({ vif }) => isRecord(vif))
      .map(({ id, vif }) => vifOf(id, vif as Readonly<Record<string, unknown>>, lookUp)),
  }
}

function vifOf(id: string, vif: Readonly<Record<string, unknown>>, lookUp: LookUp): Vif {
  return {
    id,
    device: shortTextOf(vif['device']),
    MAC: shortTextOf(vif['MAC']),
    network: namedBy(vif['$network'], lookUp),
  }
}

/**
 * Whether everything is known that its snapshot tells, and nothing is being done to it: the VIFs of a new VM come after it,
 * and one that starts is paused for a moment.
 */
export function isSettled(object: unknown, lookUp: LookUp): boolean {
  if (!isRecord(object)) {
    return false
  }
  const operations = object['current_operations']
  const isBusy = isRecord(operations) && Object.keys(operations).length > 0
  return !isBusy && idsOfVifs(object).every(id => lookUp(id) !== undefined)
}

function idsOfVifs(object: Readonly<Record<string, unknown>>): string[] {
  return Array.isArray(object['VIFs']) ? object['VIFs'].slice(0, MAX_ITEMS).filter(isText) : []
}

/** What has an id is told with its name, if XO knows it. */
export function namedBy(id: unknown, lookUp: LookUp): Named | undefined {
  if (typeof id !== 'string') {
    return undefined
  }
  const object = lookUp(id)
  return { id, name_label: isRecord(object) ? shortTextOf(object['name_label']) : undefined }
}

/** Cut at a length that no name in a pool has. */
function shortTextOf(value: unknown): string | undefined {
  return textOf(value)?.slice(0, MAX_TEXT_LENGTH)
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}
