import type { Signal, Xo, XoSignals } from '../xo.ts'
import type { Accept } from './source.ts'

/** Hears the calls of one API method in the place of this source. */
export interface CallTaker {
  pre(signal: Signal): Promise<unknown> | undefined
  post(signal: Signal): void
}

/**
 * Hears API calls.
 *
 * @param takerOf - of methods whose calls are announced as something else. It is asked at every call.
 * @returns its undo
 */
export function listenToApiCalls(
  xo: Xo,
  accept: Accept,
  takerOf: (method: string) => CallTaker | undefined = () => undefined
): () => void {
  const listeners: { [Name in keyof XoSignals]?: (signal: XoSignals[Name]) => unknown } = {
    'xo:preCall'(signal) {
      const taker = takerOf(signal.method)
      if (taker !== undefined) {
        return taker.pre(signal)
      }
      return isAnnounced(xo, signal) ? accept('api', 'pre', signal) : undefined
    },
    'xo:postCall'(signal) {
      // xo-server emits this inside the call's own `try`, without awaiting: nothing may be returned or thrown
      const taker = takerOf(signal.method)
      if (taker !== undefined) {
        taker.post(signal)
      } else {
        void accept('api', 'post', signal)
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
export function isAnnounced(xo: Xo, { userId, method }: Signal): boolean {
  return userId !== undefined || xo.apiMethods[method]?.permission === null
}
