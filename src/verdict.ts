import type { Hook } from './config/hook.ts'
import { describeOutcome, FORBIDDEN } from './delivery/delivery.ts'
import { readableExcerpt, withoutEcho } from './delivery/excerpt.ts'
import type { Answer } from './engine/engine.ts'
import type { Refusal } from './sources/source.ts'

/** What whoever was refused reads of the reason. */
const MAX_REASON = 200

/** What an answer comes to: a refusal with its reason, or `unclear` with what is wrong. */
type Verdict = 'allowed' | { readonly refused: string } | { readonly unclear: string }

/**
 * Whether a hook refuses what it was asked about.
 *
 * - 403, or 2xx with the JSON `{ "allow": false, "reason": "…" }`: it refuses.
 * - any other 2xx: it allows. So it does where its filter does not want the event, as it has no say then.
 * - anything else (no answer in time, another status, no attempt since its endpoint is paused, an answer that breaks off):
 *   it is silent, and what that means is the administrator's to say (`refuseWhenSilent`).
 *
 * @param answers - of the delivery side; `undefined`: it has not said anything
 * @returns `undefined`: it allows
 */
export function refusalBy(hook: Hook, answers: readonly Answer[] | undefined): Refusal | undefined {
  const verdict = verdictOf(
    hook,
    answers?.find(answer => answer.hook === hook.id)
  )
  if (verdict === 'allowed') {
    return undefined
  }
  if ('refused' in verdict) {
    return { hook: hook.name, reason: verdict.refused }
  }
  return hook.refuseWhenSilent
    ? { hook: hook.name, reason: `it is not known to allow it: ${verdict.unclear}` }
    : undefined
}

function verdictOf(hook: Hook, answer: Answer | undefined): Verdict {
  if (answer === undefined) {
    return { unclear: 'no answer in time, or its URL is not asked at present' }
  }
  if (answer.attempt === undefined) {
    return 'allowed'
  }
  const { outcome } = answer.attempt
  const isRefusing = outcome.kind === 'answered' && outcome.status === FORBIDDEN
  if (outcome.kind !== 'answered' || !(isRefusing || outcome.ok)) {
    return { unclear: describeOutcome(outcome) }
  }
  const text = outcome.excerpt.toString().trim()
  const json = jsonIn(text)
  if (isRefusing) {
    const isPage = text.startsWith('<')
    return { refused: reasonIn(json === undefined ? (isPage ? '' : text) : json?.['reason'], hook) }
  }
  if (json === null) {
    return { unclear: 'its answer cannot be read (JSON that breaks off?)' }
  }
  const allow = json?.['allow']
  if (allow === false) {
    return { refused: reasonIn(json?.['reason'], hook) }
  }
  return allow === undefined || allow === true ? 'allowed' : { unclear: 'its "allow" is neither true nor false' }
}

/** The JSON object in an answer; `null`: it has begun as one; `undefined`: it is something else. */
function jsonIn(text: string): Readonly<Record<string, unknown>> | null | undefined {
  if (!text.startsWith('{')) {
    return undefined
  }
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>
  } catch {
    return null
  }
}

/** In one line, without what the endpoint's credentials are, and nothing that steers a terminal. */
function reasonIn(reason: unknown, { route }: Hook): string {
  const text = typeof reason === 'string' ? withoutEcho(readableExcerpt(Buffer.from(reason)), route.endpoint) : ''
  const line = text.replace(/\s+/g, ' ').trim()
  const short = line.length > MAX_REASON ? `${line.slice(0, MAX_REASON).toWellFormed()}…` : line
  return short === '' ? 'no reason was given' : short
}
