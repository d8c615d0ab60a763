import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'

import { incomingOf } from './incoming.ts'
import type { Incoming } from './incoming.ts'
import type { Run } from './scripts.ts'
import type { Verify } from './verify.ts'

export interface ListenerOptions {
  /** Absent: whoever can reach the port is believed. */
  readonly verify?: Verify | undefined
  /** Something good or bad came in. */
  readonly tell: (told: { readonly event: Incoming } | { readonly refused: string }) => void
  /** Runs what belongs to an event. */
  readonly run?: ((event: Incoming) => Promise<Run>) | undefined
  /** The answer says what became of the script: it comes after it. */
  readonly isWaiting: boolean
}

/** A body is 1 MiB at most, by the sender's own bound. */
const MAX_BODY = 2 * 1024 * 1024
/** Deliveries that are known again if they come again. */
const MAX_KNOWN = 10_000
/** A script that says so refuses the action, if the hook may refuse: `EX_NOPERM` of sysexits.h. */
const REFUSES = 77

interface Reply {
  readonly status: number
  readonly body: unknown
}

/** Receives events: each delivery once, however often it is sent. */
export function createListener({ verify, tell, run, isWaiting }: ListenerOptions): Server {
  /** By delivery id, the oldest first: what was answered, or will be. */
  const known = new Map<string, Promise<Reply>>()

  const take = (event: Incoming): Promise<Reply> => {
    tell({ event })
    if (run === undefined) {
      return Promise.resolve(ACCEPTED)
    }
    const done = run(event)
    return isWaiting ? done.then(replyOf) : Promise.resolve(ACCEPTED)
  }

  const once = async (event: Incoming): Promise<Reply> => {
    const { id } = event
    if (id === undefined) {
      return take(event)
    }
    const replied = known.get(id) ?? take(event)
    known.set(id, replied)
    if (known.size > MAX_KNOWN) {
      known.delete(known.keys().next().value ?? '')
    }
    const reply = await replied
    if (reply.status >= 300) {
      known.delete(id) // it is sent again, and tried again
    }
    return reply
  }

  return createServer((request, response) => {
    void (async () => {
      if (request.method !== 'POST' && request.method !== 'PUT') {
        answer(response, { status: 405, body: { error: 'POST an event' } })
        return
      }
      const body = await readBody(request)
      if (body === undefined) {
        answer(response, { status: 413, body: { error: 'too large' } })
        return
      }
      const problem = verify?.(request.headers, body, Date.now())
      if (problem !== undefined) {
        tell({ refused: problem })
        answer(response, { status: 401, body: { error: problem } })
        return
      }
      answer(response, await once(incomingOf(request.headers, body)))
    })().catch(() => response.destroy()) // the sender has gone
  })
}

const ACCEPTED: Reply = { status: 200, body: { ok: true } }

function replyOf(run: Run): Reply {
  switch (run.kind) {
    case 'no script':
      return ACCEPTED
    case 'full':
      return { status: 503, body: { error: 'too many events wait for their script' } }
    case 'failed':
      return { status: 500, body: { error: run.reason } }
    case 'ended':
      if (run.code === 0) {
        return { status: 200, body: { ok: true, output: run.output } }
      }
      return run.code === REFUSES
        ? { status: 403, body: { allow: false, reason: run.output } }
        : { status: 500, body: { error: `the script ended with ${run.code}`, code: run.code } }
    default:
      return run satisfies never
  }
}

/**
 * To its end, as the sender hears no answer before. `undefined`: it is too large.
 *
 * @throws if the sender goes
 */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length <= MAX_BODY) {
      chunks.push(chunk)
    }
  }
  return length <= MAX_BODY ? Buffer.concat(chunks) : undefined
}

function answer(response: ServerResponse, { status, body }: Reply): void {
  response.writeHead(status, {
    'Content-Type': 'application/json',
    ...(status === 503 && { 'Retry-After': '5' }),
  })
  response.end(`${JSON.stringify(body)}\n`)
}
