import type { Signal, Xo } from '../xo.ts'
import type { HeldCalls } from './held-calls.ts'
import { listen } from './source.ts'
import type { Accept } from './source.ts'

/** Hears the calls of one API method in the place of this source. As with any listener, it may throw and reject. */
export interface CallTaker {
  /** @returns what the call is to wait for */
  pre(signal: Signal): Promise<unknown> | undefined
  post(signal: Signal): Promise<unknown> | undefined
}

/**
 * Hears API calls.
 *
 * @param takerOf - of methods whose calls are announced as something else. It is asked at every call.
 * @param held - calls that hooks may refuse
 * @returns its undo
 */
export function listenToApiCalls(
  xo: Xo,
  accept: Accept,
  takerOf: (method: string) => CallTaker | undefined = () => undefined,
  held?: HeldCalls
): () => void {
  const undo = [
    listen<[Signal]>(xo, 'xo:preCall', signal => {
      const taker = takerOf(signal.method)
      if (taker !== undefined) {
        return taker.pre(signal)
      }
      const isAsked = held?.isActive === true && held.expect(signal)
      return isAnnounced(xo, signal) ? accept('api', 'pre', signal, undefined, isAsked) : undefined
    }),
    listen<[Signal]>(xo, 'xo:postCall', signal => {
      const taker = takerOf(signal.method)
      return taker === undefined ? accept('api', 'post', signal) : taker.post(signal)
    }),
  ]
  return () => undo.forEach(each => each())
}

/**
 * The host announces calls before it checks who makes them: of someone who has not signed in, only those count that
 * are open to everyone, as `session.signIn` is.
 */
export function isAnnounced(xo: Xo, { userId, method }: Signal): boolean {
  return userId !== undefined || xo.apiMethods[method]?.permission === null
}
