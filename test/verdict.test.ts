import { describe, expect, it } from 'vitest'

import type { Hook } from '../src/config/hook.ts'
import type { AttemptOutcome } from '../src/delivery/delivery.ts'
import type { Answer } from '../src/engine/engine.ts'
import { parsePatterns } from '../src/matcher.ts'
import { refusalBy } from '../src/verdict.ts'

const hook: Hook = {
  ...{ id: 'h', name: 'Guard', methods: parsePatterns('vm.delete'), phases: ['pre'], status: 'any', format: 'json' },
  ...{ includeObject: false, waitForResponse: false, mayRefuse: true, refuseWhenSilent: false },
  route: {
    endpoint: {
      id: 'e',
      url: 'https://guard.example/ask?key=q1w2e3r4',
      headers: ['Authorization', 'Bearer s3cr3t-token'],
    },
    timeoutMs: 1_000,
  },
}
const strict: Hook = { ...hook, refuseWhenSilent: true }

const answerOf = (outcome: AttemptOutcome): Answer => ({
  hook: 'h',
  attempt: { number: 1, trigger: 'event', startedAt: 0, durationMs: 1, outcome },
})

const answered = (status: number, body: unknown = ''): Answer[] => {
  const excerpt = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  const ok = status === 403 || (status >= 200 && status < 300)
  return [answerOf({ kind: 'answered', ok, status, excerpt })]
}

describe('a hook that may refuse', () => {
  it.each<[string, Answer[], string]>([
    ['403 with a reason', answered(403, { reason: 'it is protected' }), 'it is protected'],
    ['403 with a text', answered(403, 'not\n now '), 'not now'],
    ['403 with a page', answered(403, '<html>Forbidden</html>'), 'no reason was given'],
    ['403 with nothing', answered(403), 'no reason was given'],
    ['403 with JSON that breaks off', answered(403, '{"reason": "it'), 'no reason was given'],
    ['allow: false', answered(200, { allow: false, reason: 'office hours' }), 'office hours'],
    ['allow: false and a 201', answered(201, { allow: false }), 'no reason was given'],
    ['a reason that is no text', answered(200, { allow: false, reason: { a: 1 } }), 'no reason was given'],
    ['a long reason', answered(200, { allow: false, reason: 'x'.repeat(1_000) }), `${'x'.repeat(200)}…`],
    ['what steers a terminal', answered(403, { reason: 'a\u001b[31m\u202eb\r\nc' }), 'a␛[31m\\u{202e}b c'],
    ['its own secrets', answered(403, { reason: 'token s3cr3t-token, key q1w2e3r4' }), 'token (hidden), key (hidden)'],
  ])('refuses by %s, with its name and the reason', (_, answers, reason) => {
    expect(refusalBy(hook, answers)).toEqual({ hook: 'Guard', reason })
    expect(refusalBy(strict, answers)).toEqual({ hook: 'Guard', reason })
  })

  it.each<[string, Answer[]]>([
    ['204', answered(204)],
    ['200 with a text', answered(200, 'allow: false')],
    ['200 with other JSON', answered(200, { ok: false })],
    ['200 with a list', answered(200, '[{"allow":false}]')],
    ['allow: true', answered(200, { allow: true, reason: 'x' })],
    ['no attempt, since its filter does not want the event', [{ hook: 'h' }]],
  ])('allows by %s, however strict it is', (_, answers) => {
    expect(refusalBy(hook, answers)).toBeUndefined()
    expect(refusalBy(strict, answers)).toBeUndefined()
  })

  it.each<[string, Answer[] | undefined, RegExp]>([
    ['nothing from the delivery side', undefined, /no answer in time/],
    ['no attempt', [], /not asked at present/],
    ['an answer of another hook', [{ hook: 'other' }], /no answer in time/],
    ['500', answered(500, { allow: false }), /answered 500/],
    ['302', answered(302), /redirects are not followed/],
    ['401 with allow: true', answered(401, { allow: true }), /answered 401/],
    ['no connection', [answerOf({ kind: 'unreachable', code: 'ECONNREFUSED', reason: 'refused' })], /ECONNREFUSED/],
    ['no status in time', [answerOf({ kind: 'timed-out', reason: 'no answer in time' })], /no answer in time/],
    ['JSON that breaks off', answered(200, '{"allow": fal'), /cannot be read/],
    ['an allow that is a text', answered(200, { allow: 'false' }), /neither true nor false/],
  ])('is silent with %s: that allows, or refuses if it is to', (_, answers, words) => {
    expect(refusalBy(hook, answers)).toBeUndefined()
    expect(refusalBy(strict, answers)).toEqual({ hook: 'Guard', reason: expect.stringMatching(words) as string })
  })
})
