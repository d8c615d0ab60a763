import type { Hook } from './config/hook.ts'
import { describeOutcome } from './delivery/delivery.ts'
import type { Layer } from './delivery/delivery.ts'
import type { Answer } from './engine/engine.ts'
import type { Phase } from './event/event.ts'
import { hintOf } from './formats/index.ts'

/** What became of one test request. */
export interface TestReport {
  readonly hook: string
  readonly type: Phase
  /** Where it went; the rest of a URL is secret. */
  readonly origin: string
  readonly ok: boolean
  /** In words. */
  readonly outcome: string
  /** Where it failed, if no answer came. */
  readonly layer?: Layer
  readonly status?: number
  /** What may be wrong, where it failed. */
  readonly hint?: string
  readonly durationMs: number
}

/** @param attempt - `undefined`: no word of it has come */
export function reportOf(hook: Hook, type: Phase, attempt: Answer['attempt']): TestReport {
  const about = { hook: hook.name, type, origin: new URL(hook.route.endpoint.url).origin }
  if (attempt === undefined) {
    return { ...about, ok: false, outcome: 'given up: the delivery side does not answer', durationMs: 0 }
  }
  const { outcome, durationMs } = attempt
  const ok = outcome.kind === 'answered' && outcome.ok
  const hint = hintOf(hook.format, new URL(hook.route.endpoint.url))
  return {
    ...about,
    ok,
    ...(!ok && hint !== undefined && { hint }),
    outcome: describeOutcome(outcome),
    ...('layer' in outcome && { layer: outcome.layer }),
    ...('status' in outcome && { status: outcome.status }),
    durationMs: Math.round(durationMs),
  }
}
