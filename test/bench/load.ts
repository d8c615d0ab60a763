import { setTimeout as sleep } from 'node:timers/promises'

import { Pool } from 'undici'

import type { Signal } from '../../src/xo.ts'
import { bodyOf, signalOf } from './measure.ts'

/** What a delivery says in its headers, as a bare loop would say it. */
export const SAME_HEADERS = {
  'Content-Type': 'application/json',
  Accept: 'application/json',
  'User-Agent': 'Xen-Orchestra-Web-Hooks/1.0.0',
  'X-XO-Event': 'bench.m1',
  'X-XO-Event-Type': 'post',
  'X-XO-Event-Status': 'success',
  'X-XO-Created': '2025-01-01T00:00:00.000Z',
  'X-XO-Hook': 'bench.m1',
  'X-XO-Delivery': '67aac198-0174-11ea-8d71-362b9e155667-0',
  'X-XO-Attempt': '1',
  'webhook-id': '67aac198-0174-11ea-8d71-362b9e155667-0',
  'webhook-timestamp': '1735689600',
}
/** As many as a lane sends at once. */
export const CONNECTIONS = 8

/** Events sent to a URL with undici and nothing else, on this thread. */
export interface BareLoop {
  /** Sends as many, a few at a time. */
  send(count: number): Promise<void>
  /** Sends one now. */
  post(signal: Signal): Promise<void>
  close(): Promise<void>
}

/** @param isSame - what is sent is what the plugin sends: its headers, and JSON made for each; else one header and one body */
export function bareLoop(url: string, isSame: boolean): BareLoop {
  const pool = new Pool(url, { connections: CONNECTIONS })
  const signal = signalOf('bench.m1', 600)
  const body = Buffer.from(bodyOf(signal))
  const headers = isSame ? SAME_HEADERS : { 'Content-Type': 'application/json' }
  const request = async (text: string | Buffer): Promise<void> => {
    const answer = await pool.request({ path: '/', method: 'POST', headers, body: text })
    await answer.body.dump()
  }
  return {
    send: count => inParallel(count, () => request(isSame ? bodyOf(signal) : body)),
    post: own => request(bodyOf(own)),
    close: () => pool.close(),
  }
}

/** `count` times `send`, as many at once as there are connections. */
async function inParallel(count: number, send: () => Promise<unknown>): Promise<void> {
  let left = count
  const work = async (): Promise<void> => {
    while (left > 0) {
      --left
      await send()
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, work))
}

/** `count` calls at `rate` a second; their signals say when they were made, for the receiver to tell how long they took. */
export async function pace(
  count: number,
  rate: number,
  bytes: number,
  call: (signal: Signal) => unknown
): Promise<void> {
  const template = signalOf('bench.m1', bytes - 36)
  const start = performance.now()
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, Math.floor(((performance.now() - start) / 1000) * rate))
    for (; sent < due; ++sent) {
      call({ ...template, sentAt: String(process.hrtime.bigint()) })
    }
    await sleep(1)
  }
}
