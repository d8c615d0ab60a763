import { spawn } from 'node:child_process'
import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import { Webhook } from 'standardwebhooks'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { incomingOf, lineOf } from '../../src/listen/incoming.ts'
import { verifierOf } from '../../src/listen/verify.ts'

const MAIN = join(import.meta.dirname, '../../dist/listen/main.js')
const SECRET = `whsec_${Buffer.from('a secret of twenty-four bytes').toString('base64')}`

let directory: string
const ends: (() => void)[] = []
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'listen-'))
  writeFileSync(join(directory, 'secret'), `${SECRET}\n`)
})
afterEach(() => {
  ends.splice(0).forEach(end => end())
  rmSync(directory, { recursive: true })
})

/** The program itself, on a port of its own; `lines`: what it has printed. */
async function listen(
  ...args: string[]
): Promise<{ url: string; lines: string[]; line(text: string): Promise<string> }> {
  const child = spawn(process.execPath, [MAIN, '--port', '0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  ends.push(() => child.kill('SIGKILL'))
  const lines: string[] = []
  const waiting: (() => void)[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', line => {
      lines.push(line)
      waiting.splice(0).forEach(wake => wake())
    })
  }
  const line = async (text: string): Promise<string> => {
    for (;;) {
      const found = lines.find(each => each.includes(text))
      if (found !== undefined) {
        return found
      }
      await new Promise<void>(resolve => waiting.push(resolve))
    }
  }
  const url = /http:\S+\//.exec(await line('Listening on'))![0]
  return { url, lines, line }
}

const EVENT = { method: 'vm.start', type: 'post', callId: 'c', params: { id: 'web01' }, duration: 2_300 }

function signed(id: string, event: object = EVENT, secret = SECRET): RequestInit {
  const body = JSON.stringify(event)
  const now = new Date()
  return {
    method: 'POST',
    body,
    headers: {
      'Content-Type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': new Webhook(secret).sign(id, now, body),
    },
  }
}

function script(name: string, text: string, mode = 0o755): void {
  const path = join(directory, name)
  writeFileSync(path, `#!/bin/sh\n${text}\n`)
  chmodSync(path, mode)
}

const secretFile = (): string[] => ['--secret-file', join(directory, 'secret')]
const running = (): string[] => [...secretFile(), '--run', directory, '--wait']

describe('the program', () => {
  it('prints an event as a line, and answers 200', async () => {
    const { url, line } = await listen()
    expect((await fetch(url, { method: 'POST', body: JSON.stringify(EVENT) })).status).toBe(200)
    expect(await line('vm.start')).toMatch(/^\d\d:\d\d:\d\d {2}post vm\.start {2}web01 {2}2\.3 s$/)
  })

  it('prints each body on one line of its own for pipes', async () => {
    const { url, line } = await listen('--json')
    await fetch(url, { method: 'POST', body: JSON.stringify(EVENT, undefined, 2) })
    expect(JSON.parse(await line('vm.start'))).toEqual(EVENT)
  })

  it.each([
    ['without a signature', { method: 'POST', body: '{}' }],
    ['with another secret', signed('id', EVENT, `whsec_${Buffer.from('another secret').toString('base64')}`)],
    ['with another body', { ...signed('id'), body: '{}' }],
  ])('answers 401 to what comes %s, and prints nothing of it', async (_name, request) => {
    const { url, lines, line } = await listen(...secretFile())
    expect((await fetch(url, request)).status).toBe(401)
    await line('refused')
    expect((await fetch(url, signed('good'))).status).toBe(200)
    await line('vm.start')
    expect(lines).toHaveLength(3)
  })

  it.each([
    ['runs no scripts without a secret', ['--run', '/'], /needs the secret/],
    ['wants a directory of scripts', ['--run', '/no/such'], /not a directory/],
    ['wants a port', ['--port', 'x'], /--port: expected a whole number/],
    ['says which option it does not know', ['--secret', 'x'], /'--secret'/],
    ['wants a secret that can be read', ['--secret-file', '/no/such'], /secret cannot be read/],
  ])('%s', async (_name, args, message) => {
    const env = { ...process.env, XO_WEB_HOOKS_SECRET: args[1] === '/no/such' ? SECRET : '' }
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'], env })
    let text = ''
    child.stderr.on('data', chunk => (text += String(chunk)))
    const [code] = (await once(child, 'close')) as [number]
    expect([code, text]).toEqual([2, expect.stringMatching(message)])
    expect(text).not.toContain(SECRET)
  })
})

describe('a script', () => {
  it('gets the body, and who sent it; its last line and its status are answered', async () => {
    script('vm.start-post.sh', `cat > ${directory}/body; env > ${directory}/env; echo one; echo two`)
    const { url } = await listen(...running())
    const reply = await fetch(url, signed('id'))
    expect([reply.status, await reply.json()]).toEqual([200, { ok: true, output: 'two' }])
    expect(JSON.parse(readFileSync(join(directory, 'body'), 'utf8'))).toEqual(EVENT)
    const env = readFileSync(join(directory, 'env'), 'utf8')
    expect(env).toMatch(/^XO_METHOD=vm\.start$/m)
    expect(env).toMatch(/^XO_DELIVERY=id$/m)
    expect(env).not.toContain('SECRET')
  })

  it.each([
    ['of 77 refuses, with its last line', 'echo no; echo tagged; exit 77', 403, { allow: false, reason: 'tagged' }],
    ['of 3 is a failure', 'exit 3', 500, { error: 'the script ended with 3', code: 3 }],
    ['by a signal is a failure', 'kill -9 $$', 500, { error: 'it was ended by SIGKILL' }],
  ])('whose end is one %s', async (_name, text, status, body) => {
    script('vm.start-post.sh', text)
    const { url } = await listen(...running())
    const reply = await fetch(url, signed('id'))
    expect([reply.status, await reply.json()]).toEqual([status, body])
  })

  it('that runs too long is ended, with all that it started', async () => {
    script('vm.start-post.sh', `sleep 600 & echo $! > ${directory}/pid; wait`)
    const { url } = await listen(...running(), '--timeout', '1')
    const reply = await fetch(url, signed('id'))
    expect([reply.status, await reply.json()]).toEqual([500, { error: 'it ran for longer than 1 s' }])
    const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'))
    expect(existsSync(`/proc/${pid}/cwd`)).toBe(false)
  })

  it('runs once for a delivery that comes twice, and again after a failure', async () => {
    script('vm.start-post.sh', `echo x >> ${directory}/runs; [ -e ${directory}/well ]`)
    const { url } = await listen(...running())
    const runs = (): number => readFileSync(join(directory, 'runs'), 'utf8').length / 2
    expect((await fetch(url, signed('id'))).status).toBe(500)
    writeFileSync(join(directory, 'well'), '')
    expect((await fetch(url, signed('id'))).status).toBe(200)
    expect((await fetch(url, signed('id'))).status).toBe(200)
    expect(runs()).toBe(2)
    expect((await fetch(url, signed('other'))).status).toBe(200)
    expect(runs()).toBe(3)
  })

  it('runs alone, unless more are let', async () => {
    // each fails if another one is there
    script('vm.start-post.sh', `mkdir ${directory}/busy && sleep 0.05 && rmdir ${directory}/busy`)
    const { url } = await listen(...running())
    const replies = await Promise.all(['a', 'b', 'c', 'd'].map(id => fetch(url, signed(id))))
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    // the first waits for the second
    script(
      'vm.stop-post.sh',
      `mkdir ${directory}/first || touch ${directory}/go; until [ -e ${directory}/go ]; do sleep 0.01; done`
    )
    const many = await listen(...running(), '--parallel', '2')
    const both = ['e', 'f'].map(id => fetch(many.url, signed(id, { ...EVENT, method: 'vm.stop' })))
    expect((await Promise.all(both)).map(({ status }) => status)).toEqual([200, 200])
  })

  it.each([
    ['a path', '../evil'],
    ['an absolute path', '/bin/evil'],
    ['a shell command', 'evil;touch x'],
    ['an option', '-evil'],
    ['a line end', 'evil\nx'],
    ['a link that leads out', 'link'],
    ['nothing that is there', 'none'],
  ])('is not run for a method that is %s', async (_name, method) => {
    writeFileSync(join(directory, '../evil-post.sh'), '#!/bin/sh\nexit 9', { mode: 0o755 })
    ends.push(() => rmSync(join(tmpdir(), 'evil-post.sh'), { force: true }))
    symlinkSync(join(tmpdir(), 'evil-post.sh'), join(directory, 'link-post.sh'))
    const { url } = await listen(...running())
    const reply = await fetch(url, signed('id', { ...EVENT, method }))
    expect([reply.status, await reply.json()]).toEqual([200, { ok: true }])
  })

  it('that may not be executed is told', async () => {
    script('vm.start-post.sh', 'exit 0', 0o644)
    const { url, line } = await listen(...running())
    expect((await fetch(url, signed('id'))).status).toBe(500)
    expect(await line('chmod')).toContain('not executable')
  })
})

describe('a signature', () => {
  const body = Buffer.from('{"method":"vm.start"}')
  const now = 1_700_000_000_000
  const headers = (signature: string, timestamp = now / 1000): Record<string, string> => ({
    'webhook-id': 'id',
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signature,
  })
  const good = new Webhook(SECRET).sign('id', new Date(now), body.toString())

  it('may be one of several, under one of several secrets', () => {
    const verify = verifierOf(`an-old-one ${SECRET}`)
    expect(verify(headers(`v1,AAAA ${good} v1a,BBBB`), body, now)).toBeUndefined()
  })

  it.each([-301, 301])('that is %d s old is not taken', seconds => {
    const at = new Date(now + seconds * 1000)
    const given = headers(new Webhook(SECRET).sign('id', at, body.toString()), now / 1000 + seconds)
    expect(verifierOf(SECRET)(given, body, now)).toMatch(/five minutes/)
  })

  it('may be made with a private key, of which the public half is here', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
    const verify = verifierOf(`whpk_${raw.toString('base64')}`)
    const text = Buffer.concat([Buffer.from(`id.${now / 1000}.`), body])
    const signature = `v1a,${sign(null, text, privateKey).toString('base64')}`
    expect(verify(headers(signature), body, now)).toBeUndefined()
    expect(verify(headers(signature), Buffer.from('{}'), now)).toMatch(/does not fit/)
  })
})

it('a line stays a line, whatever the event says', () => {
  const evil = 'a\u001b[2Jb\r\nc\u0085d\u2028e\u202ef\u0007'
  const json = { ...EVENT, userName: evil, object: { name_label: evil.repeat(100) }, error: { message: evil } }
  const headers = { 'x-xo-hook': encodeURIComponent(evil), 'x-xo-event': 'vm.start', 'x-xo-event-type': 'post' }
  const line = lineOf(incomingOf(headers, Buffer.from(JSON.stringify(json))), new Date())
  expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
  expect(line.length).toBeLessThan(400)
  expect(line).toContain('post vm.start')
})
