import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import type { Incoming } from './incoming.ts'

export interface ScriptOptions {
  /** Where the scripts are: `<method>-<type>.sh`. */
  readonly directory: string
  /** How many run at once. */
  readonly parallel: number
  /** One that runs longer is ended. */
  readonly timeoutMs: number
}

/** What became of an event. */
export type Run =
  | { readonly kind: 'no script' }
  | { readonly kind: 'full' }
  | { readonly kind: 'failed'; readonly script: string; readonly reason: string }
  /** `output`: the last line that the script wrote. */
  | { readonly kind: 'ended'; readonly script: string; readonly code: number; readonly output: string }

/** More may not wait for their turn. */
const MAX_WAITING = 1_000
const MAX_OUTPUT = 4 * 1024
/** What a script has after it was asked to end. */
const GRACE_MS = 5_000

/** `vm.start`, `rest.post.vms`, `backup.started`: never a path, an option or a hidden file. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/

/** Runs one script an event. No shell stands in between: nothing of an event is ever part of a command line. */
export class Scripts {
  readonly #options: ScriptOptions
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(options: ScriptOptions) {
    this.#options = options
  }

  /** Never rejects. */
  async run(event: Incoming): Promise<Run> {
    const script = await this.#scriptOf(event)
    if (script === undefined) {
      return { kind: 'no script' }
    }
    if (this.#running >= this.#options.parallel) {
      if (this.#waiting.length >= MAX_WAITING) {
        return { kind: 'full' }
      }
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    } else {
      ++this.#running
    }
    try {
      return await this.#execute(script, event)
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) {
        --this.#running
      } else {
        next() // its place is handed on
      }
    }
  }

  /** The path of a script that is in the directory itself, also after links; `undefined`: there is none. */
  async #scriptOf({ method, type }: Incoming): Promise<string | undefined> {
    if (!NAME.test(method) || (type !== 'pre' && type !== 'post')) {
      return undefined
    }
    try {
      const directory = await realpath(this.#options.directory)
      const script = await realpath(join(directory, `${method}-${type}.sh`))
      await access(script, constants.R_OK)
      return dirname(script) === directory ? script : undefined
    } catch {
      return undefined
    }
  }

  #execute(script: string, event: Incoming): Promise<Run> {
    return new Promise(resolve => {
      const fail = (reason: string): void => resolve({ kind: 'failed', script, reason })
      const child = spawn(script, [], {
        cwd: this.#options.directory,
        env: environmentOf(event),
        stdio: ['pipe', 'pipe', 'inherit'],
        detached: true, // a group of its own: what the script has started ends with it
      })
      const end = (signal: NodeJS.Signals): void => {
        try {
          process.kill(-(child.pid ?? 0), signal)
        } catch {
          // it has ended by itself
        }
      }
      let code: number | undefined
      let isLate = false
      let output = ''
      let killing: NodeJS.Timeout | undefined
      const timer = setTimeout(() => {
        isLate = true
        end('SIGTERM')
        killing = setTimeout(() => end('SIGKILL'), GRACE_MS)
      }, this.#options.timeoutMs)
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-MAX_OUTPUT)))
      child.stdin.on('error', () => {}) // a script need not read its input
      child.stdin.end(event.body)
      child.on('error', ({ code }: NodeJS.ErrnoException) => {
        clearTimeout(timer)
        fail(code === 'EACCES' ? 'it is not executable: chmod +x' : `it could not be started (${code ?? 'unknown'})`)
      })
      child.on('exit', status => (code = status ?? undefined))
      // later than `exit`: what it has left running may still hold its output, until the time is over
      child.on('close', (_code, signal) => {
        clearTimeout(timer)
        clearTimeout(killing)
        if (code === undefined) {
          fail(isLate ? `it ran for longer than ${this.#options.timeoutMs / 1000} s` : `it was ended by ${signal}`)
        } else {
          resolve({ kind: 'ended', script, code, output: output.trimEnd().split('\n').at(-1) ?? '' })
        }
      })
    })
  }
}

/** Few, and none of the listener's own: it may hold the secret. */
function environmentOf({ id, attempt, hook, method, type, status }: Incoming): NodeJS.ProcessEnv {
  const { PATH, HOME, LANG, TZ } = process.env
  const all = {
    PATH,
    HOME,
    LANG,
    TZ,
    XO_METHOD: method,
    XO_TYPE: type,
    XO_STATUS: status,
    XO_HOOK: hook,
    XO_DELIVERY: id,
    XO_ATTEMPT: attempt,
  }
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, value.replaceAll('\0', '')]]))
  )
}
