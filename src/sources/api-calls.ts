import type { Phase, Source } from '../event.ts'
import type { ObjectSnapshot } from '../object.ts'
import type { Signal, Xo, XoSignals } from '../xo.ts'

/**
 * Where signals go: answers with a promise if the host is to wait. Never throws nor rejects.
 *
 * @param about - the snapshot of the object it is about, if the source knows better than the signal's `params`; asked
 *   at once, and only if a hook wants it
 */
export type Accept = (
  source: Source,
  phase: Phase,
  signal: Signal,
  about?: () => ObjectSnapshot | undefined
) => Promise<unknown> | undefined

/** The only API method whose calls and whose runs are both announced by the host. */
const RUN_JOB = 'backupNg.runJob'

/**
 * Hears API calls and runs of VM backup jobs.
 *
 * A run that someone starts through the API is both, under one method name but two call ids (host: jobs/index.mjs). It
 * is announced once, as the call, since that knows who ran it: its `pre` when the run begins, its `post` when the call
 * ends. So a call that is refused has no `pre`, and a `post` with its error.
 *
 * @returns its undo
 */
export function listenToApiCalls(xo: Xo, accept: Accept): () => void {
  /** Calls of `RUN_JOB` that are under way, by call id, with the context that what they start runs in. */
  const calls = new Map<string, { readonly signal: Signal; readonly context: object | undefined }>()
  /** Call ids of runs that one of `calls` has started. */
  const runs = new Set<string>()

  const listeners: { [Name in keyof XoSignals]?: (signal: XoSignals[Name]) => unknown } = {
    'xo:preCall'(signal) {
      if (signal.method === RUN_JOB) {
        calls.set(signal.callId, { signal, context: xo.apiContext })
        return undefined
      }
      return isAnnounced(xo, signal) ? accept('api', 'pre', signal) : undefined
    },
    'xo:postCall'(signal) {
      if (signal.method === RUN_JOB) {
        calls.delete(signal.callId)
      }
      // xo-server emits this inside the call's own `try`, without awaiting: nothing may be returned or thrown
      void accept('api', 'post', signal)
    },
    'backup:preCall'(signal) {
      for (const call of calls.values()) {
        if (call.context === xo.apiContext && jobIdOf(call.signal) === jobIdOf(signal)) {
          runs.add(signal.callId)
          return accept('api', 'pre', call.signal)
        }
      }
      return accept('backup', 'pre', withTrueUser(signal))
    },
    'backup:postCall'(signal) {
      if (!runs.delete(signal.callId)) {
        void accept('backup', 'post', withTrueUser(signal))
      }
    },
  }
  for (const [name, listener] of Object.entries(listeners)) {
    xo.on(name as keyof XoSignals, listener as () => unknown)
  }
  return () => {
    for (const [name, listener] of Object.entries(listeners)) {
      xo.removeListener(name as keyof XoSignals, listener as () => unknown)
    }
  }
}

/**
 * The host announces calls before it checks who makes them: of someone who has not signed in, only those count that
 * are open to everyone, as `session.signIn` is.
 */
function isAnnounced(xo: Xo, { userId, method }: Signal): boolean {
  return userId !== undefined || xo.apiMethods[method]?.permission === null
}

function jobIdOf({ params }: Signal): unknown {
  return (params as { id?: unknown } | undefined)?.id
}

/** For a job without an owner the host names a user at random (`getUser(undefined)` in jobs/index.mjs). */
function withTrueUser(signal: Signal): Signal {
  return signal.userId === undefined ? { ...signal, userName: '(unknown user)' } : signal
}
