import type { AttemptOutcome } from '../../src/delivery/delivery.ts'

type Of<Kind extends AttemptOutcome['kind']> = Extract<AttemptOutcome, { kind: Kind }>

export function accepted(status = 200): Of<'answered'> {
  return { kind: 'answered', ok: true, status, excerpt: Buffer.alloc(0) }
}

export function refused(status = 503, retryAfterMs?: number): Of<'answered'> {
  const excerpt = Buffer.alloc(0)
  return { kind: 'answered', ok: false, status, excerpt, ...(retryAfterMs !== undefined && { retryAfterMs }) }
}

export function unreachable(code = 'ECONNREFUSED'): Of<'unreachable'> {
  return { kind: 'unreachable', code, reason: 'made up' }
}

export function timedOut(): Of<'timed-out'> {
  return { kind: 'timed-out', reason: 'made up' }
}

/** @param isOnlyHere - the proxy does not get through to this receiver */
export function proxyFailed(isOnlyHere = false): Of<'unreachable'> {
  return { kind: 'unreachable', code: '407', layer: 'proxy', reason: 'made up', ...(isOnlyHere && { isOnlyHere }) }
}
