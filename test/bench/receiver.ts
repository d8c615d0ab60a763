import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

/**
 * The receiver of the benches, in a process of its own. Speaks just enough HTTP to be faster than any sender, so that
 * what is measured is the sender.
 *
 * Paths that begin with `/mute` are never answered, `/slow/<ms>` after so long; neither counts as answered. The body may
 * say when it was sent, `"sentAt":"<process.hrtime>"`; that clock is the same in all processes of a machine.
 */
export interface BenchReceiver {
  /** Without a path. */
  readonly url: string
  /** Forgets what has come. */
  reset(): Promise<void>
  /** What has come since `reset`, once that is `count` answered requests; rejects if they take too long. */
  received(count: number, patienceMs?: number): Promise<Received>
  /** Calls back with the number of answered requests, at once and after every so many, until the next `reset`. */
  watch(every: number, listener: (answered: number) => void): void
  /** Cuts the connections that wait for an answer. */
  hangUp(): Promise<void>
  close(): void
}

export interface Received {
  readonly answered: number
  readonly unanswered: number
  readonly bodyBytes: number
  /** From `sentAt` until the body was there, ms; and to which path it came. */
  readonly latencies: readonly number[]
  readonly paths: readonly string[]
}

interface Command {
  readonly name: 'reset' | 'received' | 'hangUp' | 'watch'
  readonly count: number
}

export async function startReceiver(): Promise<BenchReceiver> {
  const child = fork(import.meta.filename, ['--receive'], { serialization: 'advanced' })
  const [port] = (await once(child, 'message')) as [number]
  let listener: ((answered: number) => void) | undefined
  let onAnswer: ((received: Received) => void) | undefined
  child.on('message', (message: number | Received) => {
    if (typeof message === 'number') {
      listener?.(message)
    } else {
      onAnswer?.(message)
    }
  })
  // one command at a time is all that is needed
  const ask = (command: Command, patienceMs: number): Promise<Received> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the receiver: no ${command.count} requests`)), patienceMs)
      onAnswer = received => {
        clearTimeout(timer)
        resolve(received)
      }
      child.send(command)
    })
  return {
    url: `http://127.0.0.1:${port}`,
    async reset() {
      listener = undefined
      await ask({ name: 'reset', count: 0 }, 5_000)
    },
    received: (count, patienceMs = 60_000) => ask({ name: 'received', count }, patienceMs),
    watch(every, onProgress) {
      listener = onProgress
      child.send({ name: 'watch', count: every } satisfies Command)
      onProgress(0)
    },
    async hangUp() {
      await ask({ name: 'hangUp', count: 0 }, 5_000)
    },
    close() {
      child.disconnect()
    },
  }
}

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
const SENT_AT = '"sentAt":"'

function receive(): void {
  const nothing = () => ({
    ...{ answered: 0, unanswered: 0, bodyBytes: 0 },
    latencies: [] as number[],
    paths: [] as string[],
  })
  let received = nothing()
  let onEnough: (() => void) | undefined
  let enough = Number.POSITIVE_INFINITY
  let every = Number.POSITIVE_INFINITY
  const waiting = new Set<Socket>()

  const take = (socket: Socket, head: string, body: Buffer): void => {
    const path = head.slice('POST '.length, head.indexOf(' ', 'POST '.length))
    if (path.startsWith('/mute') || path.startsWith('/slow')) {
      ++received.unanswered
      waiting.add(socket)
      if (path.startsWith('/slow')) {
        setTimeout(() => waiting.delete(socket) && socket.write(ANSWER), Number(path.split('/')[2])).unref()
      }
      return
    }
    ++received.answered
    received.bodyBytes += body.length
    const at = body.indexOf(SENT_AT)
    if (at !== -1) {
      const from = at + SENT_AT.length
      const sentAt = BigInt(body.toString('latin1', from, body.indexOf('"', from)))
      received.latencies.push(Number(process.hrtime.bigint() - sentAt) / 1e6)
      received.paths.push(path)
    }
    socket.write(ANSWER)
    if (received.answered % every === 0) {
      process.send?.(received.answered)
    }
    if (received.answered >= enough) {
      onEnough?.()
    }
  }

  const server = createServer({ noDelay: true }, socket => {
    let pending: Buffer = Buffer.alloc(0)
    socket.on('data', chunk => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
      for (let end = pending.indexOf('\r\n\r\n'); end !== -1; end = pending.indexOf('\r\n\r\n')) {
        const head = pending.toString('latin1', 0, end + 4)
        const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1])
        if (pending.length < head.length + length) {
          return
        }
        const body = pending.subarray(head.length, head.length + length)
        pending = pending.subarray(head.length + length)
        take(socket, head, body)
      }
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => waiting.delete(socket))
  })
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))

  process.on('message', ({ name, count }: Command) => {
    if (name === 'watch') {
      every = count
      return
    }
    if (name === 'reset') {
      received = nothing()
      every = Number.POSITIVE_INFINITY
    } else if (name === 'hangUp') {
      waiting.forEach(socket => socket.destroy())
    }
    enough = count
    onEnough = () => {
      onEnough = undefined
      process.send?.(received)
    }
    if (received.answered >= enough) {
      onEnough()
    }
  })
  process.on('disconnect', () => process.exit())
}

if (process.argv[2] === '--receive') {
  receive()
}
