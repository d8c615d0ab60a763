import { describe, expect, it } from 'vitest'
import { ids } from './sandbox/made-up-pool.ts'
import { openConnectProxy } from './helpers/connect-proxy.ts'
import { leftoversAtRest } from './helpers/leftovers.ts'
import {
  bodyOf,
  call,
  clientOf,
  gate,
  openReceiver,
  openSilentReceiver,
  phaseAndMethod,
  PLUGIN_ID,
  pluginLog,
  startPlugin,
} from './helpers/running-plugin.ts'

interface Report {
  hook: string
  type: string
  origin: string
  ok: boolean
  outcome: string
  status?: number
  durationMs: number
}

const hookTo = (url: string, name = 'Hook') => ({ name, method: 'vm.start', type: 'post', url, format: 'json' })

/** Configures these hooks and presses the button, which is known to fail. */
async function failedTest(hooks: object[], config = {}): Promise<{ message: string; reports: Report[] }> {
  const sandbox = await startPlugin({ config })
  const client = await clientOf(sandbox)
  await client.call('plugin.configure', { id: PLUGIN_ID, configuration: { hooks } })
  const error = await client.call('plugin.test', { id: PLUGIN_ID }).then(
    () => undefined,
    (thrown: unknown) => thrown as { code: number; message: string; data: { errors: Report[] } }
  )
  expect(error).toMatchObject({ code: 10 })
  // a long text comes as lines, none of which is cut by the dialog
  const reports = error!.data.errors.map(report => {
    const lines = [report.outcome].flat()
    expect(lines.filter(line => line.length > 60)).toEqual([])
    return { ...report, outcome: lines.join(' ') }
  })
  return { message: error!.message, reports }
}

describe('the Test button', () => {
  it('sends a sample of each phase of each enabled hook, in its format, marked as a test', async () => {
    const sandbox = await startPlugin()
    const client = await clientOf(sandbox)
    const receiver = await openReceiver()
    const { url } = receiver
    const hooks = [
      { ...hookTo(`${url}/json`, 'One'), type: 'pre/post' },
      { ...hookTo(`${url}/card`, 'Two'), format: 'office365', method: 'host.* !host.restart*, vm.*' },
      { ...hookTo(`${url}/failures`, 'Three'), status: 'failure', method: '*' },
      { ...hookTo(`${url}/off`), disabled: true },
    ]
    await client.call('plugin.configure', { id: PLUGIN_ID, configuration: { hooks } })

    expect(await client.call('plugin.test', { id: PLUGIN_ID })).toBe(true)
    const requests = [...receiver.requests].sort((a, b) => a.url.localeCompare(b.url))
    for (const { headers } of requests) {
      expect(headers).toMatchObject({ 'x-xo-test': 'true', 'x-xo-attempt': '1' })
    }
    expect(bodyOf(requests[0]!)).toMatchObject({ '@type': 'MessageCard' })
    expect(requests[0]!.body).toContain('"name":"test","value":"true"')
    expect(bodyOf(requests[1]!)).toMatchObject({
      ...{ test: true, type: 'post', method: 'vm.start', error: { message: 'a sample error' } },
    })
    expect(requests[1]!.headers['x-xo-event-status']).toBe('failure')
    const [pre, post] = requests.slice(2).map(bodyOf)
    expect([pre!, post!].map(phaseAndMethod).sort()).toEqual(['post vm.start', 'pre vm.start'])
    expect([pre, post]).toEqual([expect.objectContaining({ test: true }), expect.objectContaining({ test: true })])
  })

  it('uses a method that the hook would be sent', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const methods = ['host.* !host.restart*, vm.*', 'user.*', '* !vm.*', 'vm.stop vm.*']
    await sandbox.configure({ hooks: methods.map((method, n) => ({ ...hookTo(receiver.url, `${n}`), method })) })
    await sandbox.plugins.test(PLUGIN_ID)

    const sent = Object.fromEntries(
      receiver.requests.map(({ headers }) => [String(headers['x-xo-hook']), String(headers['x-xo-event'])])
    )
    expect(sent['0']).toMatch(/^vm\./)
    expect(sent['1']).toMatch(/^user\./)
    expect(sent['2']).not.toMatch(/^vm\./)
    expect(sandbox.host.apiMethods).toHaveProperty([sent['2']!])
    expect(sent['3']).toBe('vm.stop')
  })

  it('sends each event in the shape that it has', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver()
    const methods = ['vm.started', 'vm.removed', '*.connected', 'metadataBackup.runJob', 'console.opened', 'sr.*']
    const content = { includeObject: true }
    await sandbox.configure({ hooks: methods.map(method => ({ ...hookTo(receiver.url, method), method, content })) })
    await sandbox.plugins.test(PLUGIN_ID)

    const sent = new Map(
      receiver.requests.map(({ headers, body }) => [headers['x-xo-hook'], JSON.parse(body) as object])
    )
    const keys = (hook: string) => Object.keys(sent.get(hook)!)
    expect(sent.get('vm.started')).toMatchObject({
      before: { power_state: 'Halted' },
      after: { power_state: 'Running' },
    })
    expect(keys('vm.started')).not.toEqual(expect.arrayContaining(['userName']))
    expect(keys('vm.started')).not.toEqual(expect.arrayContaining(['result']))
    expect(keys('vm.removed')).toEqual(expect.arrayContaining(['params', 'before']))
    expect(keys('vm.removed')).not.toContain('after')
    expect(sent.get('*.connected')).toMatchObject({ method: 'host.connected', object: { type: 'host' } })
    expect(keys('*.connected')).not.toContain('before')
    expect(sent.get('metadataBackup.runJob')).toMatchObject({
      userName: 'bruce.wayne@waynecorp.com',
      run: { status: 'success' },
      result: true,
    })
    expect(sent.get('console.opened')).toMatchObject({ userIp: '127.0.0.1', params: { name_label: 'web-1' } })
    expect(sent.get('sr.*')).toMatchObject({ method: 'sr.full', object: { type: 'SR' } })
  })

  it('has nothing to complain about without hooks', async () => {
    const sandbox = await startPlugin()
    await sandbox.plugins.test(PLUGIN_ID)

    expect(pluginLog('warn')).toEqual([])
  })

  it.each([
    ['a name that DNS does not know', 'http://no-such-host.invalid/a', 'name', /DNS/],
    ['a port where nothing listens', 'http://127.0.0.1:9/a', 'connection', /refused: nothing listens there/],
  ])('says in words what is wrong with %s, and with which layer', async (_, url, layer, words) => {
    const { message, reports } = await failedTest([hookTo(url)])

    expect(message).toMatch(/^1 of 1 test requests failed: "Hook" \(post\): \S.*\. More: \/web-hooks#\/hooks$/)
    expect(reports).toEqual([
      {
        hook: 'Hook',
        type: 'post',
        origin: new URL(url).origin,
        ok: false,
        outcome: expect.stringMatching(words) as string,
        layer,
        durationMs: expect.any(Number) as number,
      },
    ])
  })

  it.each([
    [302, /redirects are not followed/],
    [404, /404/],
    [410, /410/],
    [500, /500/],
  ])('shows the status %i', async (status, words) => {
    const receiver = await openReceiver(() => ({ status, headers: { Location: 'http://127.0.0.1:9/' } }))
    const { reports } = await failedTest([hookTo(receiver.url)])

    expect(reports).toMatchObject([{ ok: false, status, outcome: expect.stringMatching(words) as string }])
    expect(receiver.requests).toHaveLength(1)
  })

  it('says that a receiver speaks no TLS', async () => {
    const receiver = await openReceiver()
    const { reports } = await failedTest([hookTo(receiver.url.replace('http:', 'https:'))])

    expect(reports).toMatchObject([{ ok: false, outcome: expect.stringMatching(/TLS: .*http:/) as string }])
  })

  it('says that a receiver cuts the connection', async () => {
    const receiver = await openReceiver(() => undefined)
    const { reports } = await failedTest([hookTo(receiver.url)])

    expect(reports).toMatchObject([
      { ok: false, outcome: expect.stringContaining('closed before an answer') as string },
    ])
  })

  it('says that a receiver takes too long, and how long that was', async () => {
    const silent = await openSilentReceiver()
    const { reports } = await failedTest([{ ...hookTo(silent.url), limits: { timeout: 0.3 } }])

    expect(reports).toMatchObject([{ ok: false, outcome: 'no answer in time' }])
    expect(reports[0]!.durationMs).toBeGreaterThanOrEqual(299)
  })

  it('says that the proxy refuses', async () => {
    const proxy = await openConnectProxy({ status: 403 })
    const { reports } = await failedTest([hookTo('https://receiver.test:9')], { httpProxy: proxy.url })

    expect(proxy.targets).toEqual(['receiver.test:9'])
    const outcome = 'the proxy does not allow connections to this receiver (403)'
    expect(reports).toMatchObject([{ ok: false, outcome }])
  })

  it('lists the hooks that are fine too, when one is not', async () => {
    const receiver = await openReceiver()
    const hooks = [
      { ...hookTo(receiver.url, 'Fine'), type: 'pre/post' },
      hookTo('http://127.0.0.1:9', 'Broken'),
      { ...hookTo(receiver.url, 'Off'), disabled: true },
    ]
    const { message, reports } = await failedTest(hooks)

    expect(message).toMatch(/^1 of 3 test requests failed: "Broken" \(post\): /)
    expect(reports.map(({ hook, type, ok, status }) => ({ hook, type, ok, status }))).toEqual([
      { hook: 'Broken', type: 'post', ok: false, status: undefined },
      { hook: 'Fine', type: 'pre', ok: true, status: 200 },
      { hook: 'Fine', type: 'post', ok: true, status: 200 },
    ])
  })

  it('gives nothing of a URL away but its origin', async () => {
    const url = 'http://us3cret:ps3cret@127.0.0.1:9/s3cret?s3cret'
    const failed = await failedTest([hookTo(url)])

    expect(failed.reports).toMatchObject([{ origin: 'http://127.0.0.1:9' }])
    expect(JSON.stringify(failed)).not.toContain('s3cret')
  })

  it('sends everything at once', async () => {
    const sandbox = await startPlugin()
    const everyone = gate()
    let count = 0
    const receiver = await openReceiver(() => {
      if (++count === 20) {
        everyone.open()
      }
      return everyone.opened
    })
    await sandbox.configure({
      hooks: Array.from({ length: 10 }, (_, n) => ({ ...hookTo(receiver.url, `${n}`), type: 'pre/post' })),
    })
    await sandbox.plugins.test(PLUGIN_ID)

    expect(count).toBe(20)
  })

  it('tries nothing again, and leaves nothing behind', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver(() => ({ status: 503 }))
    await sandbox.configure({ hooks: [hookTo(receiver.url)] })
    const before = await leftoversAtRest(sandbox)
    await expect(sandbox.plugins.test(PLUGIN_ID)).rejects.toThrow('1 of 1 test requests failed')

    // a retry would have a timer
    expect(await leftoversAtRest(sandbox)).toEqual(before)
    expect(receiver.requests).toHaveLength(1)
  })

  it('is given up when the plugin is unloaded', async () => {
    const sandbox = await startPlugin({ autoload: false })
    const before = await leftoversAtRest(sandbox)
    const silent = await openSilentReceiver()
    await sandbox.configure({ hooks: [{ ...hookTo(silent.url), limits: { timeout: 60 } }] })
    const failed = expect(sandbox.plugins.test(PLUGIN_ID)).rejects.toThrow('1 of 1 test requests failed')
    await silent.next()
    await sandbox.plugins.unload(PLUGIN_ID)

    await failed
    await silent.close()
    expect(await leftoversAtRest(sandbox)).toEqual(before)
  })

  it('goes past what waits for the same receiver', async () => {
    const sandbox = await startPlugin()
    const receiver = await openReceiver(({ headers }) => (headers['x-xo-test'] === 'true' ? {} : new Promise(() => {})))
    await sandbox.configure({ hooks: [{ ...hookTo(receiver.url), method: 'vm.set' }] })
    for (let n = 0; n < 20; ++n) {
      await call(sandbox, 'vm.set', { id: ids.haltedVm, name_label: `name ${n}` })
    }
    await receiver.next(8)
    await sandbox.plugins.test(PLUGIN_ID)

    expect(receiver.requests).toHaveLength(9)
  })
})
