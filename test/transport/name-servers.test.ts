import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, it, onTestFinished } from 'vitest'

import { NameServers } from '../../src/transport/name-servers.ts'
import { startNameServer } from '../helpers/name-server.ts'
import type { Said } from '../helpers/name-server.ts'
import { until } from '../helpers/stopped-time.ts'

async function ask(
  said: Readonly<Record<string, Said>>,
  hosts = ''
): Promise<{ servers: NameServers; asked: readonly string[]; file: string }> {
  const server = await startNameServer(hostname => said[hostname] ?? 'NXDOMAIN')
  const directory = mkdtempSync(join(tmpdir(), 'hosts-'))
  const file = join(directory, 'hosts')
  if (hosts !== '') {
    writeFileSync(file, hosts)
  }
  const servers = new NameServers([server.address], file)
  onTestFinished(() => {
    servers.close()
    server.close()
    rmSync(directory, { recursive: true })
  })
  return { servers, asked: server.asked, file }
}

it.each<[what: string, said: Said, heard: readonly string[]]>([
  ['its addresses', ['192.0.2.1', '192.0.2.2'], ['192.0.2.1', '192.0.2.2']],
  ['those of either family', ['2001:db8::1', '192.0.2.1'], ['192.0.2.1', '2001:db8::1']],
  ['those of IPv6 alone', ['2001:db8::1'], ['2001:db8::1']],
  ['none, where it has none', [], []],
  ['none, where it is not known', 'NXDOMAIN', []],
  ['none, where the name server has failed', 'SERVFAIL', []],
  ['none, where the name server refuses', 'REFUSED', []],
])('a name has %s', async (_what, said, heard) => {
  const { servers } = await ask({ 'a.example': said })
  expect(await servers.ask('a.example')).toEqual(heard)
})

it('of a name that nobody answers nothing is known, and of the others meanwhile what is said', async () => {
  const { servers, asked } = await ask({ 'mute.example': 'mute', 'a.example': ['192.0.2.1'] })
  const mute = servers.ask('mute.example')
  const first = await Promise.race([mute, servers.ask('a.example')])
  expect(first).toEqual(['192.0.2.1'])
  expect(await mute).toBeUndefined()
  expect(asked.filter(name => name === 'mute.example').length).toBeGreaterThan(2)
}, 60_000)

it('whoever waits at the end hears at once that nobody has answered', async () => {
  const { servers, asked } = await ask({ 'mute.example': 'mute' })
  const mute = servers.ask('mute.example')
  await until(() => asked.length > 0)
  servers.close()
  expect(await mute).toBeUndefined()
})

it('the settings of the machine may change', async () => {
  const { servers, file } = await ask({ 'a.example': ['192.0.2.1'] })
  expect(await servers.ask('a.example')).toEqual(['192.0.2.1'])
  writeFileSync(file, '192.0.2.7 a.example\n')
  expect(await servers.ask('a.example')).toEqual(['192.0.2.7'])
})

it('nobody is asked where nobody listens', async () => {
  const server = await startNameServer(() => 'mute')
  server.close()
  const servers = new NameServers([server.address], '/nonexistent/hosts')
  expect(await servers.ask('a.example')).toEqual([])
})

it.each<[line: string, heard: readonly string[]]>([
  ['192.0.2.7 a.example', ['192.0.2.7']],
  ['192.0.2.7\t b.example   A.Example # own', ['192.0.2.7']],
  ['192.0.2.7 a.example\r\n2001:db8::7 a.example\r\n', ['192.0.2.7', '2001:db8::7']],
  ['# 192.0.2.7 a.example', ['192.0.2.1']],
  ['192.0.2.7 b # a.example', ['192.0.2.1']],
  ['192.0.2.7 aa.example a.example.org', ['192.0.2.1']],
  ['a.example', ['192.0.2.1']],
])('the file of hosts goes first: %j', async (line, heard) => {
  const { servers, asked } = await ask({ 'a.example': ['192.0.2.1'] }, `127.0.0.1 localhost\n${line}\n`)
  expect(await servers.ask('a.example')).toEqual(heard)
  expect(asked.length > 0).toBe(heard[0] === '192.0.2.1')
})
