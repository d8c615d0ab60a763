import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import type { FloodReport } from '../helpers/flood-run.ts'
import { startReceiver } from '../sandbox/receiver.ts'

const MAX_RSS_MIB = 256
const MAX_DELAY_MS = 50

interface HostMessage {
  /** It asks whether so many have come in. */
  readonly calls?: number
  readonly report?: FloodReport
  readonly problems?: readonly string[]
}

/** So many seconds of 2,000 calls each to a dead catch-all, in a process of its own. */
export async function soakFlood(seconds: number): Promise<readonly string[]> {
  const directory = await mkdtemp(join(tmpdir(), 'flood-'))
  const receiver = await startReceiver()
  const problems: string[] = []
  const host = fork(
    fileURLToPath(new URL('flood-host.ts', import.meta.url)),
    [receiver.url, String(seconds), directory],
    { execArgv: ['--import', 'tsx'] }
  )
  try {
    host.on('message', ({ calls, report, problems: told }: HostMessage) => {
      if (calls !== undefined) {
        host.send(receiver.requests.length >= calls)
      }
      if (report !== undefined) {
        console.log(`  ${JSON.stringify(report)}`)
        problems.push(...(told ?? []), ...boundsOf(report))
      }
    })
    const [code] = (await once(host, 'exit')) as [number | null]
    if (code !== 0) {
      problems.push(`the flooded process ended with ${code}`)
    }
    return problems
  } finally {
    host.kill()
    await receiver.close()
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

function boundsOf({ rssMiB, delayMs }: FloodReport): string[] {
  return [
    ...(rssMiB > MAX_RSS_MIB ? [`${rssMiB} MiB of memory, ${MAX_RSS_MIB} are allowed`] : []),
    ...(delayMs > MAX_DELAY_MS ? [`the event loop stood still for ${delayMs} ms, ${MAX_DELAY_MS} are allowed`] : []),
  ]
}
