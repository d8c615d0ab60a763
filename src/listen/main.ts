#!/usr/bin/env node
/** `xo-web-hooks-listen`: a receiver to begin with. */
import { readFileSync, statSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { lineOf, printable } from './incoming.ts'
import type { Incoming } from './incoming.ts'
import { createListener } from './listener.ts'
import { Scripts } from './scripts.ts'
import type { Run } from './scripts.ts'
import { verifierOf } from './verify.ts'
import type { Verify } from './verify.ts'

const USAGE = `Receives the events of Xen Orchestra's web-hooks plugin, and prints them.

  xo-web-hooks-listen [--port 9000] [--host 127.0.0.1] [--secret-file FILE] [--json]
                      [--run DIR [--parallel 1] [--timeout 60] [--wait]]

  --port, --host      where it listens; --host 0.0.0.0 for everybody
  --secret-file FILE  the hook's signing secret: what is not signed with it is answered 401.
                      It may also be in the environment, as XO_WEB_HOOKS_SECRET
  --json              prints each body on a line of its own, and all else on stderr
  --run DIR           runs DIR/<method>-<type>.sh (DIR/vm.start-post.sh) with the body on its input, and XO_METHOD,
                      XO_TYPE, XO_STATUS, XO_HOOK, XO_DELIVERY and XO_ATTEMPT in its environment
  --parallel N        scripts at once
  --timeout S         a script that runs longer is ended
  --wait              answers after the script: 200 if it ends with 0, 403 with 77 (a hook that may refuse, refuses; the
                      reason is the last line it prints), 500 with any other status
`

main()

function main(): void {
  const { values } = parsed()
  if (values.help === true) {
    process.stdout.write(USAGE)
    return
  }
  const verify = verifierFrom(values['secret-file'])
  if (values.run !== undefined && verify === undefined) {
    fail('--run needs the secret of the hook (--secret-file): else whoever reaches the port could run the scripts')
  }
  const scripts = scriptsFrom(values.run, count('parallel', values.parallel), count('timeout', values.timeout))
  const isJson = values.json === true
  const say = (text: string): void => void (isJson ? process.stderr : process.stdout).write(`${text}\n`)
  const run = async (event: Incoming): Promise<Run> => {
    const done = await scripts!.run(event)
    if (done.kind === 'failed') {
      say(printable(`  ${done.script}: ${done.reason}`))
    } else if (done.kind === 'full') {
      say('  too many events wait for their script: this one is not run')
    } else if (done.kind === 'ended') {
      say(printable(`  ${done.script} ended with ${done.code}  ${done.output}`))
    }
    return done
  }
  const server = createListener({
    verify,
    isWaiting: values.wait === true,
    run: scripts && run,
    tell(told) {
      if ('refused' in told) {
        say(`refused: ${told.refused}`)
      } else if (isJson) {
        // a body of several lines would be several events to whoever reads them
        const { json, body } = told.event
        process.stdout.write(`${JSON.stringify(json ?? body.toString())}\n`)
      } else {
        say(lineOf(told.event, new Date()))
      }
    },
  })
  const host = values.host ?? '127.0.0.1'
  server.on('error', (error: NodeJS.ErrnoException) =>
    fail(`cannot listen on ${host}:${values.port}: ${error.code ?? error.message}`)
  )
  server.listen(count('port', values.port, 0), host, () => {
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}/`
    say(`Listening on ${url}${verify === undefined ? ', without a secret: whoever reaches it is believed' : ''}`)
  })
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => process.exit(0))
  }
}

function parsed() {
  try {
    return parseArgs({
      options: {
        port: { type: 'string', default: '9000' },
        host: { type: 'string' },
        'secret-file': { type: 'string' },
        json: { type: 'boolean' },
        run: { type: 'string' },
        parallel: { type: 'string', default: '1' },
        timeout: { type: 'string', default: '60' },
        wait: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    return fail((error as Error).message)
  }
}

function count(name: string, text: string, min = 1): number {
  const number = Number(text)
  return Number.isInteger(number) && number >= min && number <= 65_535
    ? number
    : fail(`--${name}: expected a whole number from ${min} to 65535, got ${JSON.stringify(text)}`)
}

function verifierFrom(file: string | undefined): Verify | undefined {
  try {
    const secrets = file === undefined ? process.env['XO_WEB_HOOKS_SECRET'] : readFileSync(file, 'utf8')
    if (file !== undefined && secrets?.trim() === '') {
      return fail(`--secret-file: ${file} is empty`)
    }
    return secrets === undefined || secrets.trim() === '' ? undefined : verifierOf(secrets)
  } catch (error) {
    return fail(`the secret cannot be read: ${(error as Error).message}`)
  }
}

function scriptsFrom(directory: string | undefined, parallel: number, timeoutS: number): Scripts | undefined {
  if (directory === undefined) {
    return undefined
  }
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    return fail(`--run: ${directory} is not a directory`)
  }
  return new Scripts({ directory, parallel, timeoutMs: timeoutS * 1000 })
}

function fail(message: string): never {
  process.stderr.write(`xo-web-hooks-listen: ${message}\n`)
  process.exit(2)
}
