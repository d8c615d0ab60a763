import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, describe } from 'vitest'

import { makeCertificate } from '../helpers/certificate.ts'
import { itIsUsed } from '../helpers/proxy-table.ts'
import type { ProxyOfAMake } from '../helpers/proxy-table.ts'

// The table of configurations against the proxies of Debian. Traffic stays on loopback: they listen there, and `receiver.test`
// is there, by a hosts file that only they see. Takes root, which installs what is missing.

const own = makeCertificate('127.0.0.1')

/** What a make is told: where its files are, and its ports. */
interface Place {
  readonly folder: string
  readonly ports: readonly number[]
}

interface Make {
  readonly name: string
  /** Writes the configuration; returns the command. */
  readonly prepare: (place: Place) => readonly string[][]
  readonly proxy: (ports: readonly number[]) => ProxyOfAMake
}

const MAKES: readonly Make[] = [
  {
    name: 'squid',
    prepare({ folder, ports: [open, guarded, secure] }) {
      writeFileSync(
        join(folder, 'passwords'),
        `me:${execFileSync('openssl', ['passwd', '-apr1', 'p@ss:w/rd']).toString()}`
      )
      writeFileSync(join(folder, 'own.pem'), own.cert + own.keyPem)
      writeFileSync(
        join(folder, 'squid.conf'),
        `
http_port 127.0.0.1:${open}
http_port 127.0.0.1:${guarded}
https_port 127.0.0.1:${secure} tls-cert=${folder}/own.pem
auth_param basic program /usr/lib/squid/basic_ncsa_auth ${folder}/passwords
acl guarded localport ${guarded}
acl known proxy_auth REQUIRED
http_access deny guarded !known
http_access allow all
hosts_file /etc/hosts
dns_nameservers 127.0.0.1
dns_timeout 1 second
cache deny all
access_log none
cache_log ${folder}/cache.log
pid_filename ${folder}/squid.pid
coredump_dir ${folder}
shutdown_lifetime 0 seconds
visible_hostname squid.test
pinger_enable off
`
      )
      return [['squid', '-N', '-f', join(folder, 'squid.conf')]]
    },
    proxy: ([port = 0, guardedPort = 0, secure = 0]) => ({ port, guardedPort, secure: { port: secure, ca: own.cert } }),
  },
  {
    name: 'tinyproxy',
    prepare({ folder, ports: [open, guarded] }) {
      // its passwords may have letters and digits only
      const configure = (port: number | undefined, more: string): string[] => {
        const file = join(folder, `${port}.conf`)
        writeFileSync(file, `Port ${port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Error\n${more}\n`)
        return ['tinyproxy', '-d', '-c', file]
      }
      return [configure(open, ''), configure(guarded, 'BasicAuth me passw0rd')]
    },
    proxy: ([port = 0, guardedPort = 0]) => ({
      ...{ port, guardedPort, password: 'passw0rd' },
      ...{ passesCredentialsOn: true },
    }),
  },
]

function install(name: string): void {
  try {
    execFileSync('which', [name])
  } catch {
    if (process.getuid?.() !== 0) {
      throw new Error(`${name} is not installed: run "apt-get install ${name}" as root, or this script as root`)
    }
    execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
}

describe.each(MAKES)('$name is used', ({ name, prepare, proxy }) => {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`))
  const running: ChildProcess[] = []
  let ports: readonly number[] = []

  beforeAll(async () => {
    install(name)
    execFileSync('chmod', ['777', folder])
    writeFileSync(join(folder, 'hosts'), '127.0.0.1 localhost receiver.test\n')
    ports = await Promise.all([freePort(), freePort(), freePort()])
    const commands = prepare({ folder, ports })
    for (const command of commands) {
      // a hosts file of its own, in a mount namespace of its own
      const script = 'mount --bind "$0" /etc/hosts && exec "$@"'
      const process = spawn('unshare', ['-m', 'sh', '-c', script, join(folder, 'hosts'), ...command], {
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      running.push(process)
    }
    await Promise.all(ports.slice(0, name === 'squid' ? 3 : 2).map(listening))
  })

  afterAll(async () => {
    await Promise.all(
      running.map(
        process =>
          new Promise(resolve => {
            process.once('exit', resolve)
            if (!process.kill()) {
              resolve(undefined) // it has not even begun
            }
          })
      )
    )
    rmSync(folder, { recursive: true, force: true })
  })

  itIsUsed(() => Promise.resolve(proxy(ports)))
})

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net')
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}

/** Waits until something listens there. */
async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 300; ++tries) {
    const isOpen = await new Promise<boolean>(resolve => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      }).on('error', () => resolve(false))
    })
    if (isOpen) {
      return
    }
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error(`nothing listens on port ${port} after 30 s`)
}
