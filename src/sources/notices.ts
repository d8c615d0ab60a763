import type { EventInfo } from '../event/event.ts'
import { isRecord, textOf } from '../values.ts'
import type { Signal, Xo } from '../xo.ts'
import { listen } from './source.ts'
import type { Accept } from './source.ts'
import type { Fields } from './state.ts'
import { header } from './telling.ts'

/** What becomes of users, servers, plugins and consoles: told with who has done it. */

/** By what the host tells the audit plugin (packages/xo-server/src/index.mjs, `setUpConsoleProxy`; …/xo-mixins/authentication.mjs). */
const AUDIT: ReadonlyMap<string, string> = new Map([
  ['signInFailed', 'user.signInFailed'],
  ['consoleOpened', 'console.opened'],
  ['consoleClosed', 'console.closed'],
])

/** By the API method that makes it happen, as a call or as a change by the REST API. */
const CALLS: ReadonlyMap<string, string> = new Map([
  ['session.signIn', 'user.signedIn'],
  ['session.signInWithPassword', 'user.signedIn'],
  ['session.signInWithToken', 'user.signedIn'],
  ['user.create', 'user.created'],
  ['user.delete', 'user.removed'],
  ['server.add', 'server.added'],
  ['server.remove', 'server.removed'],
  ['plugin.load', 'plugin.loaded'],
  ['plugin.unload', 'plugin.unloaded'],
])

/** What `params` of these events tell beside the id: of a user or a server what it is called. */
const TOLD = ['email', 'name', 'host', 'label']

export const noticeEvents: readonly EventInfo[] = [
  post('user.signInFailed', 'Someone gave a wrong user name or password'),
  post(
    'user.signedIn',
    'Someone has signed in: at the page of XO 5 and XO 6 (`params.provider`), or by another client of the API calls'
  ),
  post('user.created', 'Someone has created a user'),
  post('user.removed', 'Someone has deleted a user'),
  post('console.opened', 'Someone has opened the console of a VM or a host'),
  post('console.closed', 'Someone has closed it'),
  post('server.added', 'Someone has added a server, by which XO connects to a pool'),
  post('server.removed', 'Someone has removed a server'),
  post('plugin.loaded', 'Someone has loaded a plugin of XO; not those that are loaded when it starts'),
  post('plugin.unloaded', 'Someone has unloaded a plugin of XO'),
]

/** An event that only ever has happened. */
export function post(name: string, sentence: string): EventInfo {
  return { name, phases: ['post'], sentence }
}

/** @returns its undo */
export function listenToAudit(xo: Xo, accept: Accept): () => void {
  return listen<[string, unknown]>(xo, 'xo:audit', (name, data) => {
    const method = AUDIT.get(name)
    return method === undefined || !accept.wants(method)
      ? undefined
      : accept('state', 'post', auditSignal(method, isRecord(data) ? data : {}))
  })
}

/**
 * An `accept` that also tells what has come of the calls that it is told the end of.
 *
 * @param isTold - whether that of a call has been told already
 */
export function withConsequences(accept: Accept, isTold: (signal: Signal) => boolean = () => false): Accept {
  const both: (...args: Parameters<Accept>) => ReturnType<Accept> = (...args) => {
    const answer = accept(...args)
    const [, phase, signal] = args
    const method = phase === 'post' && signal.error === undefined ? CALLS.get(signal.method) : undefined
    if (method !== undefined && accept.wants(method) && !isTold(signal)) {
      void accept('state', 'post', consequenceOf(method, signal))
    }
    return answer
  }
  return Object.assign(both, {
    wants(method: string) {
      const consequence = CALLS.get(method)
      return accept.wants(method) || (consequence !== undefined && accept.wants(consequence))
    },
    waits: (method: string) => accept.waits(method),
  })
}

function consequenceOf(method: string, { userId, userName, userIp, params, result }: Signal): Signal {
  const { callId, timestamp } = header(method)
  const given = isRecord(params) ? params : {}
  const told = Object.fromEntries(TOLD.filter(key => textOf(given[key]) !== undefined).map(key => [key, given[key]]))
  const id = method === 'user.signedIn' ? userId : (textOf(given['id']) ?? textOf(result))
  return { callId, userId, userName, userIp, method, params: { id, ...told }, timestamp }
}

function auditSignal(method: string, data: Fields): Signal {
  const { callId, timestamp } = header(method)
  const user = {
    userId: textOf(data['userId']),
    userName: textOf(data['userName']),
    userIp: data['userIp'],
  }
  const id = data['vmUuid'] ?? data['hostUuid']
  const params = id === undefined ? {} : { id, name_label: data['vmName'] ?? data['hostName'] }
  return { callId, ...user, method, params, timestamp }
}
