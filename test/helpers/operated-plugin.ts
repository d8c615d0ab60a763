import { expect } from 'vitest'

import { call, eventually, openReceiver, startPlugin } from './running-plugin.ts'
import type { Params } from '../sandbox/config.ts'
import { ADMIN } from '../sandbox/sandbox.ts'
import type { Credentials, Sandbox } from '../sandbox/sandbox.ts'

export const USER: Credentials = { email: 'user@example.org', password: 'user' }
export const SECRET = 'sup3r-s3cret-t0ken'

export interface Answer {
  readonly status: number
  readonly type: string
  readonly text: string
  readonly headers: Headers
  readonly body: Params
}

interface Request {
  readonly body?: unknown
  readonly as?: Credentials | null
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
}

export function restUrl({ url }: Sandbox, path: string): string {
  return `${url.replace('ws:', 'http:').replace(/api\/$/, '')}rest/v0/plugins/web-hooks/${path}`
}

/** A request to the plugin's part of the REST API; without `as`, of an administrator. */
export async function rest(
  sandbox: Sandbox,
  verb: string,
  path: string,
  { body, as = ADMIN, type = 'application/json', headers }: Request = {}
): Promise<Answer> {
  const hasBody = verb === 'POST' || verb === 'PATCH'
  const response = await fetch(restUrl(sandbox, path), {
    method: verb,
    headers: {
      ...(as && { authorization: `Basic ${Buffer.from(`${as.email}:${as.password}`).toString('base64')}` }),
      ...(hasBody && { 'content-type': type }),
      ...headers,
    },
    ...(hasBody && { body: type === 'application/json' ? JSON.stringify(body ?? {}) : 'dryRun=true' }),
  })
  const text = await response.text()
  const contentType = response.headers.get('content-type') ?? ''
  const isJson = contentType.startsWith('application/json')
  return {
    status: response.status,
    type: contentType,
    headers: response.headers,
    text,
    body: isJson ? (JSON.parse(text) as Params) : {},
  }
}

/** A receiver that is down until it is mended, and a hook to it with secrets wherever there can be some. */
export async function startOperated() {
  let status = 404
  const receiver = await openReceiver(({ url }) => ({ status, body: `no ${url} for <b>you</b>, ${SECRET}` }))
  const hook = {
    ...{ name: 'Inventory', method: 'vm.*', type: 'post', format: 'json' },
    url: `${new URL(receiver.url).origin}/hooks/p4th-s3cret?key=qu3ry-s3cret`.replace(
      'http://',
      'http://someone:us3r-s3cret@'
    ),
    authentication: { headers: `X-Key: ${SECRET}`, passphrase: 'signing-s3cret-of-32-characters-' },
  }
  const sandbox = await startPlugin({ saved: { hooks: [hook] } })
  sandbox.host.addApiMethod('vm.inspect', () => 'as it is')
  return { sandbox, receiver, mend: () => void (status = 200) }
}

/** One dead letter for each call. */
export async function die(sandbox: Sandbox, count: number): Promise<Params[]> {
  for (let n = 0; n < count; ++n) {
    await call(sandbox, 'vm.inspect')
  }
  // a 404 is tried again for an hour
  return eventually(async () => {
    const { items } = (await call(sandbox, 'webHooks.getDeliveries')) as { items: Params[] }
    expect(items).toHaveLength(count)
    expect(items.every(({ attempts }) => Number(attempts) > 0)).toBe(true)
    return items
  })
}

/** What is wrong with a text as OpenMetrics 1.0; each line is a comment or a sample of the family that was named before it. */
export function openMetricsProblems(text: string): string[] {
  const problems: string[] = []
  const seen = new Set<string>()
  let [family, type] = ['', '']
  const lines = text.split('\n')
  if (lines.pop() !== '' || lines.pop() !== '# EOF') {
    problems.push('it does not end with # EOF')
  }
  for (const line of lines) {
    const found = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line)
    if (found !== null) {
      ;[, family = '', type = ''] = found
      problems.push(...(seen.has(family) ? [`twice: ${family}`] : []))
      seen.add(family)
      continue
    }
    const suffix = { counter: '_total', gauge: '', histogram: '_(?:bucket|count|sum)' }[type] ?? 'none'
    const label = '\\w+="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"'
    const sample = new RegExp(`^${family}${suffix}(?:\\{${label}(?:,${label})*\\})? \\d+(?:\\.\\d+)?$`)
    if (!line.startsWith(`# HELP ${family} `) && !line.startsWith(`# UNIT ${family} `) && !sample.test(line)) {
      problems.push(line)
    }
    if (!line.startsWith('#')) {
      problems.push(...(seen.has(`sample ${line.replace(/ \S+$/, '')}`) ? [`twice: ${line}`] : []))
      seen.add(`sample ${line.replace(/ \S+$/, '')}`)
    }
  }
  return problems
}
