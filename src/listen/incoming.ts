import type { IncomingHttpHeaders } from 'node:http'

import { isRecord, numberOf, textOf } from '../values.ts'

/** One event as it came in. */
export interface Incoming {
  /** The delivery's: the same each time it is sent. */
  readonly id: string | undefined
  readonly attempt: string | undefined
  readonly hook: string | undefined
  /** `vm.start` */
  readonly method: string
  /** `pre` or `post` */
  readonly type: string
  /** `started`, `success` or `failure` */
  readonly status: string | undefined
  /** As it came, of whatever format. */
  readonly body: Buffer
  /** The body, if it is JSON. */
  readonly json: unknown
}

/** An event of any format: what the headers say, else what the `json` format's body does. */
export function incomingOf(headers: IncomingHttpHeaders, body: Buffer): Incoming {
  const json = parsed(body)
  const fields = isRecord(json) ? json : {}
  const header = (name: string): string | undefined => textOf(headers[name])
  const hook = header('x-xo-hook')
  return {
    id: header('webhook-id') ?? header('x-xo-delivery'),
    attempt: header('x-xo-attempt'),
    hook: hook && decoded(hook),
    method: header('x-xo-event') ?? textOf(fields['method']) ?? '?',
    type: header('x-xo-event-type') ?? textOf(fields['type']) ?? '?',
    status: header('x-xo-event-status'),
    body,
    json,
  }
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}

/** Names that no header can carry come percent-encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** One line for a person. Whatever the event says: it stays one line, and moves no cursor. */
export function lineOf({ method, type, status, hook, attempt, json }: Incoming, now: Date): string {
  const fields = isRecord(json) ? json : {}
  const duration = numberOf(fields['duration'])
  const { error } = fields
  const parts = [
    now.toTimeString().slice(0, 8),
    `${type} ${method}`,
    ...(status === undefined ? [] : [status]),
    objectOf(fields),
    ...(duration === undefined ? [] : [`${(duration / 1000).toFixed(1)} s`]),
    ...(textOf(fields['userName']) === undefined ? [] : [`by ${textOf(fields['userName'])}`]),
    ...(isRecord(error) && textOf(error['message']) !== undefined ? [`error: ${textOf(error['message'])}`] : []),
    ...(hook === undefined ? [] : [`[${hook}]`]),
    ...(attempt === undefined || attempt === '1' ? [] : [`attempt ${attempt}`]),
  ]
  return printable(parts.filter(part => part !== '').join('  '))
}

function objectOf(fields: Readonly<Record<string, unknown>>): string {
  const object = isRecord(fields['object']) ? fields['object'] : {}
  const params = isRecord(fields['params']) ? fields['params'] : {}
  return textOf(object['name_label']) ?? textOf(object['name']) ?? textOf(params['id']) ?? ''
}

const MAX_LINE = 300

/** Without control characters (also those of C1), line ends, and marks that turn the direction of writing. */
export function printable(text: string): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, ' ')
  return plain.length > MAX_LINE ? `${[...plain].slice(0, MAX_LINE).join('')}…` : plain
}
