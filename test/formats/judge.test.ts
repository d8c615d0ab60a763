import { expect, it } from 'vitest'

import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { decideRetry } from '../../src/delivery/retry.ts'
import { formats, judged } from '../../src/formats/index.ts'
import { timedOut, unreachable } from '../helpers/outcomes.ts'

/** What services answer, and what comes of it: `delivered`, `refused`, `gone`, tried again, or after so many ms. */
const answers: readonly (readonly [format: string, status: number, body: string, means: string | number])[] = [
  ['json', 200, 'anything', 'delivered'],
  ['json', 404, '', 'again'],
  ['office365', 200, '1', 'delivered'],

  ['slack', 200, 'ok', 'delivered'],
  ['slack', 200, '{"ok":true}', 'delivered'],
  ['slack', 200, 'no_text', 'again'],
  ['slack', 200, '<html>sign in</html>', 'again'],
  ['slack', 400, 'invalid_blocks', 'refused'],
  ['slack', 400, 'invalid_payload', 'refused'],
  ['slack', 403, 'action_prohibited', 'gone'],
  ['slack', 404, 'no_service', 'gone'],
  ['slack', 404, 'channel_not_found', 'gone'],
  ['slack', 404, '<html>nginx</html>', 'again'],
  ['slack', 410, 'channel_is_archived', 'again'], // as any 410: the endpoint is disabled
  ['slack', 500, 'rollup_error', 'again'],

  ['discord', 204, '', 'delivered'],
  ['discord', 400, '{"code":50035,"errors":{}}', 'refused'],
  ['discord', 401, '{"message":"Invalid Webhook Token","code":50027}', 'gone'],
  ['discord', 404, '{"message":"Unknown Webhook","code":10015}', 'gone'],
  ['discord', 403, '<html>Cloudflare</html>', 'again'],
  ['discord', 404, '<html>nginx</html>', 'again'],
  ['discord', 429, '{"message":"You are being rate limited.","retry_after":0.337,"global":false}', 337],
  ['discord', 429, '<html>Cloudflare</html>', 'again'],
  ['discord', 502, '', 'again'],

  ['mattermost', 200, 'ok', 'delivered'],
  ['mattermost', 200, '{"success":true}', 'delivered'],
  ['mattermost', 404, '{"id":"web.incoming_webhook.channel.app_error","message":"x","status_code":404}', 'gone'],
  ['mattermost', 403, '{"id":"web.incoming_webhook.channel_locked.app_error","status_code":403}', 'gone'],
  ['mattermost', 400, '{"id":"web.incoming_webhook.invalid.app_error","status_code":400}', 'gone'],
  ['mattermost', 400, '{"id":"web.incoming_webhook.parse.app_error","status_code":400}', 'refused'],
  ['mattermost', 404, '<html>nginx</html>', 'again'],
  ['mattermost', 200, '{"success":false,"error":"x"}', 'again'],

  ['telegram', 200, '{"ok":true,"result":{}}', 'delivered'],
  ['telegram', 200, '{"ok":false}', 'again'],
  ['telegram', 400, '{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}', 'refused'],
  ['telegram', 400, '{"ok":false,"parameters":{"migrate_to_chat_id":-1009}}', 'gone'],
  ['telegram', 401, '{"ok":false,"error_code":401,"description":"Unauthorized"}', 'gone'],
  ['telegram', 403, '{"ok":false,"description":"Forbidden: bot was kicked from the group chat"}', 'gone'],
  ['telegram', 429, '{"ok":false,"parameters":{"retry_after":35}}', 35_000],
  ['telegram', 404, '{"ok":false,"error_code":404,"description":"Not Found"}', 'gone'],
  ['telegram', 403, '<html>the way out is closed</html>', 'again'],
  ['telegram', 502, 'Bad Gateway', 'again'],

  ['ntfy', 200, '{"id":"x","event":"message"}', 'delivered'],
  ['ntfy', 400, '{"code":40009,"http":400,"error":"invalid topic"}', 'refused'],
  ['ntfy', 403, '{"code":40301,"http":403,"error":"forbidden"}', 'gone'],
  ['ntfy', 403, '<html>nginx</html>', 'again'],
  ['ntfy', 413, '{"code":41303,"http":413}', 'refused'],
  ['ntfy', 429, '{"code":42901,"http":429,"error":"limit reached: too many requests"}', 'again'],
  ['ntfy', 429, '{"code":42908,"http":429,"error":"limit reached: daily message quota"}', 3 * 60 * 60_000],
  ['ntfy', 507, '', 'again'],

  ['gotify', 200, '{"id":1}', 'delivered'],
  ['gotify', 401, '{"error":"Unauthorized","errorCode":401}', 'gone'],

  ['gotify', 400, '{"error":"Bad Request","errorCode":400}', 'refused'],
  ['gotify', 403, '<html>nginx</html>', 'again'],

  ['pushover', 200, '{"status":1,"request":"x"}', 'delivered'],
  ['pushover', 200, '{"status":0}', 'refused'],
  ['pushover', 400, '{"user":"invalid","errors":["user identifier is not a valid user"],"status":0}', 'gone'],
  ['pushover', 400, '{"token":"invalid","errors":["application token is invalid"],"status":0}', 'gone'],
  ['pushover', 400, '{"message":"cannot be blank","status":0}', 'refused'],
  ['pushover', 408, '<html>proxy</html>', 'again'],
  ['pushover', 429, '{"status":0,"errors":["message limit reached"]}', 6 * 60 * 60_000],
  ['pushover', 503, '', 'again'],

  ['google-chat', 200, '{"name":"spaces/x/messages/y"}', 'delivered'],
  ['google-chat', 400, '{"error":{"code":400,"status":"INVALID_ARGUMENT"}}', 'refused'],
  ['google-chat', 403, '{"error":{"code":403,"status":"PERMISSION_DENIED"}}', 'gone'],
  ['google-chat', 404, '<html>nginx</html>', 'again'],
  ['google-chat', 429, '{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}', 'again'],

  ['pagerduty', 202, '{"status":"success","message":"Event processed","dedup_key":"x"}', 'delivered'],
  ['pagerduty', 400, '{"status":"invalid event","message":"Event object is invalid","errors":[]}', 'refused'],
  ['pagerduty', 429, '{}', 'again'],
  ['pagerduty', 500, '', 'again'],

  ['svix', 202, '{"id":"msg_1"}', 'delivered'],
  ['svix', 409, '{"code":"conflict"}', 'delivered'],
  ['svix', 422, '{"detail":[]}', 'refused'],
  ['svix', 404, '{"code":"not_found"}', 'again'],
  ['convoy', 201, '{"status":true}', 'delivered'],
  ['convoy', 409, '', 'delivered'],
  ['outpost', 202, '{"id":"x"}', 'delivered'],
  ['outpost', 409, '', 'delivered'],
]

function judgedBy(format: string, status: number, body: string): AttemptOutcome {
  const ok = status < 300
  return judged(formats.get(format)!, { kind: 'answered', ok, status, excerpt: Buffer.from(body) })
}

function meaningOf(outcome: AttemptOutcome): string | number | undefined {
  if (outcome.kind !== 'answered' || outcome.ok) {
    return outcome.kind === 'answered' ? 'delivered' : undefined
  }
  const decision = decideRetry(outcome, 1, 0, () => 0.5)
  if (outcome.ruling === 'gone') {
    return 'gone'
  }
  return !decision.retry ? decision.reason : decision.asked ? decision.delayMs : 'again'
}

it.each(answers)('%s: %i %s means %s', (format, status, body, means) => {
  const outcome = judgedBy(format, status, body)
  expect(meaningOf(outcome)).toBe(means)
  const usual = means === 'delivered' || (means === 'again' && status >= 300)
  expect('reason' in outcome).toBe(!usual)
})

it('a reason is in our own words: what an answer says is not repeated', () => {
  for (const [name] of formats) {
    for (const status of [200, 400, 401, 403, 404, 409, 429, 500]) {
      const outcome = judgedBy(
        name,
        status,
        '{"ok":false,"description":"evil","error":"evil","message":"evil","status":0,"user":"invalid"}'
      )
      expect(JSON.stringify({ ...outcome, excerpt: '' })).not.toContain('evil')
    }
  }
})

it('an answer of any kind does not break a judge', () => {
  for (const [name, format] of formats) {
    for (const body of [
      '',
      'null',
      '[]',
      '"x"',
      '{"parameters":null}',
      '{"parameters":{"retry_after":"1e99"}}',
      '{"retry_after":-1}',
      '\u0000',
      '{',
    ]) {
      for (const status of [200, 204, 301, 400, 403, 404, 429, 500]) {
        expect(['answered'], name).toContain(judgedBy(name, status, body).kind)
      }
    }
    for (const outcome of [timedOut(), unreachable()]) {
      expect(judged(format, outcome)).toBe(outcome)
    }
  }
})

it('nobody is believed who asks for more than a day', () => {
  expect(judgedBy('telegram', 429, '{"ok":false,"parameters":{"retry_after":99999999}}')).toMatchObject({
    retryAfterMs: 24 * 60 * 60_000,
  })
})
