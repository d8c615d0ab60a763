import { copyOf } from '../event/event.ts'
import type { EventInfo, Phase } from '../event/event.ts'
import { isRecord, textOf } from '../values.ts'
import type { TaskLog, Xo } from '../xo.ts'
import { nameOfUser } from './look-up.ts'
import { remember } from './recent.ts'
import { guarded, listen } from './source.ts'
import type { Accept } from './source.ts'

/** What the host says of a task that is an action (`createAction` in @xen-orchestra/rest-api/src/abstract-classes). */
export const REST_ACTION = 'xo:rest-api:action'
export const REST_PREFIX = 'REST API: '

/** What an action is announced as: the action `hard shutdown VM` is the method `vm.stop` with the parameter `force`. */
interface Method {
  readonly name: string
  readonly params?: Readonly<Record<string, unknown>>
}

/**
 * The actions of the REST API, which XO 6 and MCP use, by their label: the API method that does the same, or a name in
 * the same style where there is none.
 *
 * Source: `taskProperties.name` in @xen-orchestra/rest-api/src/*.controller.mts and in packages/xo-server-sdn-controller.
 */
const METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['start VM', { name: 'vm.start' }],
  ['clean shutdown VM', { name: 'vm.stop' }],
  ['hard shutdown VM', { name: 'vm.stop', params: { force: true } }],
  ['clean reboot VM', { name: 'vm.restart' }],
  ['hard reboot VM', { name: 'vm.restart', params: { force: true } }],
  ['pause VM', { name: 'vm.pause' }],
  ['unpause VM', { name: 'vm.unpause' }],
  ['suspend VM', { name: 'vm.suspend' }],
  ['resume VM', { name: 'vm.resume' }],
  ['snapshot VM', { name: 'vm.snapshot' }],
  ['revert VM snapshot', { name: 'vm.revert' }],
  ['clone VM', { name: 'vm.clone' }],
  ['create VM', { name: 'vm.create' }],
  ['Migrate VM', { name: 'vm.migrate' }],
  ['enable host', { name: 'host.enable' }],
  ['disable host', { name: 'host.disable' }],
  ['disable and evacuate host', { name: 'host.disable' }],
  ['start host', { name: 'host.start' }],
  ['clean shutdown host', { name: 'host.stop' }],
  ['emergency shutdown host', { name: 'host.emergencyShutdownHost' }],
  ['clean reboot host', { name: 'host.restart' }],
  ['smart reboot host', { name: 'host.restart', params: { suspendResidentVms: true } }],
  ["restart host's toolstack", { name: 'host.restartAgent' }],
  ['detach host', { name: 'host.detach' }],
  ['forget host', { name: 'host.forget' }],
  ['scan pifs', { name: 'host.scanPifs' }],
  ['reconfigure host management interface', { name: 'host.managementReconfigure' }],
  ['add host', { name: 'pool.mergeInto' }],
  ['pool emergency shutdown', { name: 'pool.emergencyShutdown' }],
  ['rolling pool reboot', { name: 'pool.rollingReboot' }],
  ['rolling pool update', { name: 'pool.rollingUpdate' }],
  ['reconfigure pool management interface', { name: 'pool.managementReconfigure' }],
  ['create network', { name: 'network.create' }],
  ['create bonded network', { name: 'network.createBonded' }],
  ['create internal network', { name: 'network.create' }],
  ['connect VIF', { name: 'vif.connect' }],
  ['disconnect VIF', { name: 'vif.disconnect' }],
  ['connect VBD', { name: 'vbd.connect' }],
  ['disconnect VBD', { name: 'vbd.disconnect' }],
  ['migrate VDI', { name: 'vdi.migrate' }],
  ['plug pbd', { name: 'pbd.connect' }],
  ['unplug pbd', { name: 'pbd.disconnect' }],
  ['SR scan', { name: 'sr.scan' }],
  ['SR reclaim space', { name: 'sr.reclaimSpace' }],
  ['forget sr', { name: 'sr.forget' }],
  ['connect server', { name: 'server.enable' }],
  ['disconnect server', { name: 'server.disable' }],
  ['benchmark backup repository', { name: 'remote.test' }],
  ['forget backup repository', { name: 'remote.delete' }],
  ['run schedule', { name: 'schedule.run' }],
  ['abort task', { name: 'task.abort' }],
  ['copy role', { name: 'role.copy' }],
  ['add network traffic rule', { name: 'sdnController.addNetworkRule' }],
  ['update network traffic rule', { name: 'sdnController.updateNetworkRule' }],
  ['delete network traffic rule', { name: 'sdnController.deleteNetworkRule' }],
  ['add vif traffic rule', { name: 'sdnController.addRule' }],
  ['update vif traffic rule', { name: 'sdnController.updateRule' }],
  ['delete vif traffic rule', { name: 'sdnController.deleteRule' }],
])

/** One for each name in the table. An action that is not in it is announced as `rest.<label>`, and is not listed. */
export const restActionEvents: readonly EventInfo[] = [...new Set([...METHODS.values()].map(({ name }) => name))].map(
  name => ({
    name,
    phases: ['pre', 'post'],
    sentence: `The REST API (XO 6, MCP) is asked to: ${labelsOf(name).join(', ')}.`,
  })
)

/** Actions that are remembered, under way or over: far more than there are at once. */
const MAX_ACTIONS = 10_000

/** An action that has been announced, until it is over. */
interface Action {
  /** The id of its task. */
  readonly callId: string
  readonly userId: string | undefined
  readonly userName: Promise<string>
  readonly method: string
  readonly params: unknown
}

/**
 * Hears the actions of the REST API, which are no API calls: all that the host says of them are the updates of their
 * tasks, several for each, and of a short one only the last.
 *
 * The host gives the id of their user, whose name has to be looked up. What is announced once it is known is a copy of
 * what the update said when it came. The host waits for none of this.
 *
 * @returns its undo
 */
export function listenToRestActions(xo: Xo, accept: Accept): () => void {
  /** By the id of its task. `over`: that may be updated once more, by a subtask that ends late. */
  const actions = new Map<string, Action | 'over'>()

  /** `pre` before `post`: both wait for the same promise, which calls back in the order in which it was waited for. */
  const announce = guarded(
    'an action of the REST API',
    async (phase: Phase, action: Action, rest: { timestamp: number; duration?: number }) => {
      const { callId, userId, method, params } = action
      const userName = await action.userName
      await accept('rest', phase, { callId, userId, userName, method, params, ...rest })
    }
  )

  return listen<[TaskLog]>(xo.tasks, 'update', task => {
    const { id, properties, status, start, end = Date.now() } = task
    if (properties['type'] !== REST_ACTION) {
      return
    }
    const method = methodOf(textOf(properties['name']) ?? '')
    if (!accept.wants(method.name)) {
      return
    }
    const known = actions.get(id)
    if (known === 'over') {
      return
    }
    const action = known ?? actionOf(xo, task, method)
    if (known === undefined) {
      void announce('pre', action, { timestamp: start })
    }
    if (status !== 'pending') {
      remember(actions, id, 'over', MAX_ACTIONS)
      const outcome = copyOf(outcomeOf(task)) as ReturnType<typeof outcomeOf>
      void announce('post', action, { timestamp: end, duration: end - start, ...outcome })
    } else if (known === undefined) {
      remember(actions, id, action, MAX_ACTIONS)
    }
  })
}

function actionOf(xo: Xo, task: TaskLog, method: Method): Action {
  const userId = textOf(task.properties['userId'])
  return {
    callId: task.id,
    userId,
    userName: nameOfUser(xo, userId),
    method: method.name,
    params: copyOf(paramsOf(task, method)),
  }
}

function methodOf(taskName: string): Method {
  const label = taskName.startsWith(REST_PREFIX) ? taskName.slice(REST_PREFIX.length) : taskName
  return METHODS.get(label) ?? { name: `rest.${tidy(label)}` }
}

/** `Do this & that` → `doThisThat`: in the style of API methods, and something that a pattern can name. */
function tidy(label: string): string {
  const words = label.match(/[\p{L}\p{N}]+/gu) ?? ['unnamed']
  return words
    .map(word => word.toLowerCase())
    .map((word, index) => (index === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1)))
    .join('')
    .slice(0, 100)
}

/** The host gives the arguments of some actions as `args`, of some as `params`, of some not at all. */
function paramsOf({ properties }: TaskLog, method: Method): object {
  const { objectId: id, args, params = args } = properties
  return { id, ...method.params, ...(isRecord(params) && params), ...(id !== undefined && { id }) }
}

function outcomeOf({ status, result }: TaskLog): { result: unknown } | { error: unknown } {
  if (status === 'success') {
    // as the host says it of API methods that return nothing
    return { result: result === undefined ? true : result }
  }
  if (isRecord(result)) {
    return { error: result }
  }
  return { error: { message: result === undefined ? `the action has ended with: ${status}` : String(result) } }
}

function labelsOf(name: string): string[] {
  return [...METHODS].filter(([, method]) => method.name === name).map(([label]) => label)
}
