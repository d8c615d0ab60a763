import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { it } from 'vitest'
import { ADMIN } from '../sandbox/sandbox.ts'
import { startMadeUpPool } from './made-up-xapi.ts'
import { hookTo, openReceiver, setUpRealHost } from './setup.ts'
const xo = setUpRealHost({ config: '[xapiOptions]\neventPollDelay = 500' })
it('ways', async () => {
  const pool = await startMadeUpPool()
  const receiver = await openReceiver()
  await xo.configureAnew({ ...hookTo(receiver, '* !plugin.* !session.getUser', 'pre/post'), name: 'All' })
  const server = await xo.admin.call('server.add', { host: pool.url, label: 'made up', username: 'x', password: 'y' })
  await sleep(8000)
  const id = (n: string) => pool.uuid(n)
  const ways: [string, () => unknown][] = [
    ['XO 5 (JSON-RPC): vm.start', () => xo.admin.call('vm.start', { id: id('vm-1') })],
    ['XO 5: vm.set (name)', () => xo.admin.call('vm.set', { id: id('vm-1'), name_label: 'renamed' })],
    ['XO 5: tag.add', () => xo.admin.call('tag.add', { id: id('vm-1'), tag: 'blue' })],
    ['XO 5: vm.stop (hard)', () => xo.admin.call('vm.stop', { id: id('vm-1'), force: true })],
    ['XO 6 / REST action: POST vms/{id}/actions/start', () => xo.host.act(`vms/${id('vm-3')}/actions/start`)],
    ['XO 6 / REST action: POST vms/{id}/actions/hard_shutdown', () => xo.host.act(`vms/${id('vm-3')}/actions/hard_shutdown`)],
    ['XO 6 / REST: PATCH vms/{id}', () => xo.host.rest('PATCH', `vms/${id('vm-3')}`, { body: { nameDescription: 'x' } })],
    ['XO 6 / REST: PUT vms/{id}/tags/{tag}', () => xo.host.rest('PUT', `vms/${id('vm-3')}/tags/red`)],
    ['XO 6 / REST: DELETE vms/{id}', () => xo.host.rest('DELETE', `vms/${id('vm-3')}`)],
    ['REST: POST users', () => xo.host.rest('POST', 'users', { body: { name: 'carol', password: 'x' } })],
    ['XO 5: user.create', () => xo.admin.call('user.create', { email: 'dave', password: 'x' })],
    ['REST: POST servers', () => xo.host.rest('POST', 'servers', { body: { host: '127.0.0.1:1', username: 'x', password: 'y', label: 'other' } })],
    ['MCP (REST with X-XO-Client: mcp): PATCH vms/{id}', () => xo.host.rest('PATCH', `vms/${id('vm-1')}`, { body: { nameDescription: 'y' }, headers: { 'x-xo-client': 'mcp' } })],
    ['behind XO (xe): a VM starts', () => pool.startVm('vm-1')],
    ['behind XO: a VM is made', () => pool.createVm('vm-9')],
    ['behind XO: it is deleted', () => pool.destroyVm('vm-9')],
    ['by itself: a VM crashes', () => pool.crashVm('vm-2')],
    ['by itself: a host goes', () => pool.setLive('host-2', false)],
    ['by itself: the host is back', () => pool.setLive('host-2', true)],
    ['toolstack restart', () => pool.restartToolstack()],
    ['sign-in page (XO 5, XO 6)', () => fetch(`${xo.host.url}/signin/local`, { method: 'POST', body: new URLSearchParams({ username: ADMIN.email, password: ADMIN.password }), redirect: 'manual' })],
    ['sign-in by WebSocket (xo-cli)', async () => (await xo.host.connect()).close()],
    ['sign-in with a wrong password', async () => (await xo.host.connect({ email: ADMIN.email, password: 'no' }).catch(() => undefined))?.close()],
    ['the pool dies (20 s), a VM starts meanwhile, and it is back', async () => { await pool.die(); pool.startVm('vm-2'); await sleep(20000); await pool.revive(); await sleep(22000) }],
  ]
  const rows: string[] = []
  let seen = receiver.requests.length
  for (const [what, act] of ways) {
    let error = ''
    try { const r = await act() as { status?: number } | undefined; if (typeof r === 'object' && r !== null && (r.status ?? 0) >= 400) error = ` (status ${r.status}: ${JSON.stringify((r as { body?: unknown }).body)?.slice(0, 80)})` } catch (e) { error = ` (${String((e as Error).message).slice(0, 80)})` }
    await sleep(4500)
    const bodies = receiver.requests.slice(seen).map(({ body }) => JSON.parse(body)); seen = receiver.requests.length
    const cell = bodies.map(b => `\`${b.type} ${b.method}\`${b.error ? ' (failure)' : ''}${b.userName && b.userName !== '(unknown user)' ? ` by ${b.userName}` : ''}${b.client ? `, client ${b.client}` : ''}${b.missed ? ', missed' : ''}${b.method === 'user.created' || b.method === 'server.added' ? `, id ${b.params.id ? 'known' : 'unknown'}` : ''}`).join('<br>')
    rows.push(`| ${what}${error} | ${cell} |`)
    await writeFile('/tmp/ways.md', ['| way | what arrived (one hook on everything) |', '| --- | --- |', ...rows, ''].join('\n'))
  }
  await xo.admin.call('server.remove', { id: server })
  await pool.close()
}, 400000)
