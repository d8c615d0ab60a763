import dns from 'node:dns'
import type { LookupAddress } from 'node:dns'

import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { denialOfAddress, denialOfHost, guarded, parseAddressRules } from '../../src/transport/address-guard.ts'
import type { AddressRules } from '../../src/transport/address-guard.ts'
import type { AttemptOutcome } from '../../src/delivery/delivery.ts'
import { Names } from '../../src/transport/names.ts'
import type { Lookup } from '../../src/transport/names.ts'
import { connectTo } from '../../src/transport/transport.ts'
import type { ProxySettings } from '../../src/transport/proxy.ts'
import { openConnectProxy } from '../helpers/connect-proxy.ts'
import { answer, startRawReceiver } from '../helpers/raw-receiver.ts'
import type { RawReceiver } from '../helpers/raw-receiver.ts'
import { stopTime, until } from '../helpers/stopped-time.ts'

function rulesOf(allowed?: unknown, denied?: unknown): AddressRules {
  const { rules, warnings } = parseAddressRules(allowed, denied)
  expect(warnings).toEqual([])
  return rules
}

const DEFAULT = rulesOf()

/** Of a URL, as the transport sees it. */
function denialOfUrl(url: string, rules = DEFAULT): string | undefined {
  return denialOfHost(new URL(url).hostname, rules)?.message
}

/** All of these come to a metadata service, to neighbours on the link, to many, or to nobody. */
const TRICKS: readonly (readonly [url: string, what: string])[] = [
  // IPv4, in every spelling that a URL knows
  ['http://169.254.169.254/latest/meta-data/', 'AWS, Google Cloud, Azure, OpenStack …'],
  ['http://169.254.169.254:80/', 'with a port'],
  ['http://169.254.169.254./', 'a trailing dot'],
  ['http://2852039166/', 'decimal'],
  ['http://0xa9fea9fe/', 'hexadecimal'],
  ['http://0xA9FEA9FE/', 'hexadecimal, upper case'],
  ['http://0xa9fea9fe./', 'hexadecimal, a trailing dot'],
  ['http://025177524776/', 'octal'],
  ['http://0251.0376.0251.0376/', 'octal parts'],
  ['http://0xa9.0xfe.0xa9.0xfe/', 'hexadecimal parts'],
  ['http://0xa9.254.0251.254/', 'parts of all kinds'],
  ['http://0251.254.169.254/', 'one octal part'],
  ['http://00000000000000000000251.0376.0251.0376/', 'many zeros'],
  ['http://169.254.43518/', 'three parts'],
  ['http://169.16689662/', 'two parts'],
  ['http://169.0xfea9fe/', 'two parts, one hexadecimal'],
  ['http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/', 'circled digits'],
  ['http://１６９．２５４．１６９．２５４/', 'full-width digits and dots'],
  ['http://169。254。169。254/', 'ideographic dots'],
  ['http://169.254.169.%32%35%34/', 'percent-encoded'],
  ['http://%31%36%39.254.169.254/', 'percent-encoded at the beginning'],
  ['http://16\t9.254.169.25\n4/', 'tabs and newlines'],
  ['http:169.254.169.254/', 'no slashes'],
  ['http:\\\\169.254.169.254\\x', 'backslashes'],
  ['http:////169.254.169.254/', 'more slashes'],
  ['http://127.0.0.1@169.254.169.254/', 'another address as the user'],
  ['http://example.org%2f@169.254.169.254/', 'a name as the user'],
  ['http://169.254.169.254#@example.org/', 'a name in the fragment'],
  ['http://169.254.169.254\\@example.org/', 'a backslash before an @'],
  ['http://169.254.169.254?@example.org/', 'a name in the query'],
  ['http://169.254.0.1/', 'another of the link'],
  ['http://169.254.170.2/', "AWS, a container's credentials"],
  ['http://169.254.42.42/', 'Scaleway'],
  ['http://169.254.255.255/', 'the last of the link'],
  ['http://100.100.100.200/', 'Alibaba Cloud'],
  ['http://192.0.0.192/', 'Oracle Cloud'],
  ['http://100.96.0.96/', 'Volcengine'],
  ['http://100.80.80.80/', 'UCloud'],
  ['http://168.63.129.16/', 'Azure'],
  ['http://0.0.0.0/', 'unspecified'],
  ['http://0/', 'unspecified, short'],
  ['http://0x0/', 'unspecified, hexadecimal'],
  ['http://0.1.2.3/', 'this network'],
  ['http://224.0.0.1/', 'multicast'],
  ['http://239.255.255.250/', 'multicast, SSDP'],
  ['http://255.255.255.255/', 'broadcast'],
  ['http://4294967295/', 'broadcast, decimal'],
  ['http://240.0.0.1/', 'reserved'],
  // IPv6
  ['http://[::]/', 'unspecified'],
  ['http://[0:0:0:0:0:0:0:0]/', 'unspecified, long'],
  ['http://[::0.0.0.0]/', 'unspecified, as IPv4'],
  ['http://[fe80::1]/', 'link-local'],
  ['http://[FE80::A9FE:A9FE]/', 'link-local, OpenStack'],
  ['http://[febf:ffff::1]/', 'the end of link-local'],
  ['http://[ff02::1]/', 'multicast'],
  ['http://[ff05::1:3]/', 'multicast of a site'],
  ['http://[fd00:ec2::254]/', 'AWS'],
  ['http://[fd00:0ec2:0000::0254]/', 'AWS, with zeros'],
  ['http://[fd20:ce::254]/', 'Google Cloud'],
  ['http://[fd00:c1::a9fe:a9fe]/', 'Oracle Cloud'],
  ['http://[fd00:42::42]/', 'Scaleway'],
  ['http://[fd00:a9fe:a9fe::1]/', 'Akamai'],
  ['http://[FD00:A9FE:A9FE:0:0:0:0:1]/', 'Akamai, long'],
  ['http://[fd00:100::100:200]/', 'Alibaba Cloud, IPv6'],
  // IPv4 in IPv6
  ['http://[::ffff:169.254.169.254]/', 'mapped'],
  ['http://[::ffff:a9fe:a9fe]/', 'mapped, hexadecimal'],
  ['http://[0:0:0:0:0:FFFF:A9FE:A9FE]/', 'mapped, long'],
  ['http://[::ffff:0.0.0.0]/', 'mapped, unspecified'],
  ['http://[::ffff:224.0.0.1]/', 'mapped, multicast'],
  ['http://[::ffff:100.100.100.200]/', 'mapped, Alibaba Cloud'],
  ['http://[::169.254.169.254]/', 'compatible'],
  ['http://[::a9fe:a9fe]/', 'compatible, hexadecimal'],
  ['http://[::ffff:0:169.254.169.254]/', 'translated'],
  ['http://[64:ff9b::169.254.169.254]/', 'NAT64'],
  ['http://[64:ff9b::a9fe:a9fe]/', 'NAT64, hexadecimal'],
  ['http://[0064:FF9B:0::6464:64C8]/', 'NAT64, Alibaba Cloud'],
  ['http://[64:ff9b:1::a9fe:a9fe]/', 'NAT64 of the own network'],
  ['http://[64:ff9b:1:a9fe:a9:fe00::]/', 'NAT64 of the own network, in the middle'],
  ['http://[2002:a9fe:a9fe::1]/', '6to4'],
  ['http://[2002:6464:64c8:1:2:3:4:5]/', '6to4, Alibaba Cloud'],
  ['http://[2001:0:1234:5678:0:0:5601:5601]/', 'Teredo, the client'],
  ['http://[2001:0:a9fe:a9fe:0:0:f5ff:fffe]/', 'Teredo, the server'],
  ['http://[2001:db8::5efe:169.254.169.254]/', 'ISATAP'],
  ['http://[2001:db8::200:5efe:a9fe:a9fe]/', 'ISATAP, global'],
  // names that mean it, for a proxy would resolve them
  ['http://metadata.google.internal/computeMetadata/v1/', 'by name'],
  ['http://METADATA.Google.Internal./', 'by name, with a trailing dot'],
  ['http://metadata%2egoogle%2einternal/', 'by name, percent-encoded'],
  ['http://metadata/', 'by a name of the search domain'],
  ['http://ＭＥＴＡＤＡＴＡ./', 'by a name of the search domain, full-width'],
  ['http://metadata.goog/', 'by name, Google Cloud'],
  ['http://metadata.azure.internal/', 'by name, Azure'],
  ['http://metadata.tencentyun.com/', 'by name, Tencent Cloud'],
  ['http://metadata.exoscale.com/', 'by name, Exoscale'],
  ['https://metadata.platformequinix.com/userdata', 'by name, Equinix'],
  ['https://metadata.packet.net../', 'by name, Equinix as it was, with two dots'],
  ['http://API.metadata.cloud.IBM.com:80/', 'by name, IBM Cloud'],
  ['http://rancher-metadata/latest', 'by name, Rancher'],
  ['http://Rancher-Metadata.rancher.internal./', 'by name, Rancher, long'],
  ['http://instance-data/', 'by name, AWS'],
  ['http://instance-data./', 'by name, AWS, with a dot'],
  ['http://Instance-Data.ec2.internal/', 'by name, AWS, long'],
  ['http://instance-data.eu-west-1.compute.internal/', 'by name, AWS, elsewhere'],
]

/** Where receivers live, and what only looks dangerous. */
const FINE = [
  'http://127.0.0.1:8080/',
  'http://127.1/',
  'http://localhost/',
  'http://[::1]/',
  'http://[::ffff:127.0.0.1]/',
  'http://10.0.0.1/',
  'http://172.16.0.1/',
  'http://192.168.1.254/',
  'http://100.64.0.1/',
  'http://[fc00::1]/',
  'http://[fd00:ec2::1]/',
  'http://[fec0::1]/',
  'http://[64:ff9b::192.168.0.1]/',
  'http://[2002:c0a8:1::1]/',
  'http://[2001:db8::1]/',
  'http://1.1.1.1/',
  'http://169.253.255.255/',
  'http://169.255.0.0/',
  'http://100.100.100.201/',
  'http://223.255.255.255/',
  'http://[fe7f::1]/',
  'http://[fec0::a9fe:a9fe]/',
  'http://169.254.169.254.example.org/',
  'http://metadata.example.org/',
  'http://metadata.internal.example.org/',
  'http://my-metadata/',
  'http://instance-data-of.example.org/',
  'http://api.instance-data.example.org/',
  'http://100.96.0.97/',
  'http://[fd00:a9fe:a9fe::2]/',
  'http://[fd00:100::100:201]/',
  'https://hooks.slack.com/',
]

describe('by default', () => {
  it('there are tricks enough', () => {
    expect(new Set(TRICKS.map(([url]) => url)).size).toBe(TRICKS.length)
    expect(TRICKS.length).toBeGreaterThanOrEqual(60)
  })

  it.each(TRICKS)('%s (%s) is refused', url => {
    expect(denialOfUrl(url)).toMatch(/^requests may not go to this address: ./)
  })

  it.each(FINE)('%s is not', url => {
    expect(denialOfUrl(url)).toBeUndefined()
  })

  it.each([
    ['169.254.169.254', 'link-local'],
    ['fe80::1%eth0', 'link-local'],
    ['FE80::1%1', 'link-local'],
    ['::ffff:169.254.169.254%eth0', 'link-local'],
    ['', 'cannot be read'],
    ['localhost', 'cannot be read'],
    ['1.2.3.4.5', 'cannot be read'],
    ['127.0.0.1/8', 'cannot be read'],
  ])('what a name resolves to is refused as well: %j', (address, why) => {
    expect(denialOfAddress(address, DEFAULT)?.message).toContain(why)
  })
})

describe('allowedAddresses', () => {
  it('let requests go where they may not by default, in whatever spelling', () => {
    const rules = rulesOf(['169.254.10.0/24', 'fe80::1', '64:ff9b:1::/48'])
    for (const host of ['169.254.10.7', '[::ffff:169.254.10.7]', '[64:ff9b::169.254.10.7]', '[fe80::1]']) {
      expect(denialOfUrl(`http://${host}/`, rules)).toBeUndefined()
    }
    expect(denialOfUrl('http://[64:ff9b:1::10.0.0.1]/', rules)).toBeUndefined()
    for (const host of [
      '[64:ff9b:1::a9fe:a9fe]',
      '169.254.11.7',
      '169.254.169.254',
      '[fe80::2]',
      '[2002:a9fe:a9fe::1]',
    ]) {
      expect(denialOfUrl(`http://${host}/`, rules)).toContain('link-local')
    }
  })

  it('may be written as IPv6, or be the same network as one of the defaults', () => {
    for (const allowed of ['::ffff:169.254.0.0/112', '169.254.0.0/16', ['169.254.169.254'], '169.254.169.254/32']) {
      const rules = rulesOf(allowed)
      expect(denialOfUrl('http://169.254.169.254/', rules)).toBeUndefined()
      expect(denialOfUrl('http://metadata.google.internal/', rules)).toBeUndefined()
    }
  })

  it('allow nothing by being large: the smallest network decides', () => {
    const rules = rulesOf(['0.0.0.0/0', '::/0'])
    expect(TRICKS.filter(([url]) => denialOfUrl(url, rules) === undefined)).toEqual([])
  })
})

describe('deniedAddresses', () => {
  it('keep requests out, in whatever spelling', () => {
    const rules = rulesOf(undefined, ['127.0.0.0/8', '::1', '10.1.2.3'])
    for (const host of ['127.0.0.1', '127.1', '[::ffff:127.0.0.1]', '[::1]', '10.1.2.3', '[64:ff9b::10.1.2.3]']) {
      expect(denialOfUrl(`http://${host}/`, rules)).toContain('deniedAddresses')
    }
    expect(denialOfUrl('http://10.1.2.4/', rules)).toBeUndefined()
  })

  it('may deny everything but what is allowed', () => {
    const rules = rulesOf(['10.0.0.0/8', '10.9.9.9'], ['0.0.0.0/0', '::/0', '10.9.0.0/16'])
    expect(denialOfUrl('http://10.1.2.3/', rules)).toBeUndefined()
    expect(denialOfUrl('http://10.9.9.9/', rules)).toBeUndefined()
    for (const host of ['10.9.9.8', '127.0.0.1', '1.1.1.1', '[2001:db8::1]', '[2002:a01:203::1]']) {
      expect(denialOfUrl(`http://${host}/`, rules)).toContain('deniedAddresses')
    }
  })

  it('go before the same network among those allowed', () => {
    expect(denialOfUrl('http://10.0.0.1/', rulesOf('10.0.0.0/8', '10.0.0.0/8'))).toContain('deniedAddresses')
  })
})

describe('an entry that cannot be read', () => {
  const BAD = [
    'example.org',
    '10.0.0.0/33',
    '010.0.0.0/8',
    '10/8',
    '10.0.0.0/255.0.0.0',
    'fe80::1%eth0',
    '',
    7,
    {},
    null,
  ]

  it.each(BAD)('allows nothing, and is warned of: %j', entry => {
    const { rules, warnings } = parseAddressRules([entry, '169.254.1.1'], undefined)
    expect(warnings).toEqual([
      expect.stringMatching(/^\[plugins\.web-hooks\] allowedAddresses: expected .* allows nothing$/),
    ])
    expect(denialOfUrl('http://169.254.1.1/', rules)).toBeUndefined()
    expect(denialOfUrl('http://169.254.1.2/', rules)).toBeDefined()
    expect(denialOfUrl('http://127.0.0.1/', rules)).toBeUndefined()
  })

  it.each(BAD)('among the denied denies everything, and is warned of: %j', entry => {
    const { rules, warnings } = parseAddressRules(['127.0.0.1'], [entry])
    expect(warnings).toEqual([
      expect.stringMatching(/^\[plugins\.web-hooks\] deniedAddresses: .* nothing is sent until/),
    ])
    for (const host of ['127.0.0.1', '1.1.1.1', '[::1]', 'example.org']) {
      expect(denialOfUrl(`http://${host}/`, rules)).toContain('deniedAddresses')
    }
    expect(denialOfAddress('1.1.1.1', rules)?.message).toContain('deniedAddresses')
  })

  it('is none where there is no list', () => {
    expect(parseAddressRules(null, undefined)).toEqual({ rules: DEFAULT, warnings: [] })
  })
})

const GOOD: LookupAddress = { address: '127.0.0.1', family: 4 }
const BAD: LookupAddress = { address: '169.254.169.254', family: 4 }
const BAD_6: LookupAddress = { address: 'fe80::1%lo', family: 6 }

/** Plays answers in turn, then repeats the last. */
function scriptedLookup(...answers: readonly (readonly LookupAddress[] | Error)[]): Lookup {
  let calls = 0
  return (_hostname, options, callback) => {
    expect(options.all).toBe(true)
    const given = answers[Math.min(calls++, answers.length - 1)]!
    setImmediate(() => (given instanceof Error ? callback(given, []) : callback(null, [...given])))
  }
}

type Found = { error: NodeJS.ErrnoException | null; addresses: readonly string[] }

function lookUp(lookup: Lookup): Promise<Found> {
  return new Promise(resolve => {
    guarded(new Names(lookup), DEFAULT).resolve('a.example', (error, addresses) => resolve({ error, addresses }))
  })
}

describe('the look-up of a name', () => {
  it('gives only addresses that requests may go to', async () => {
    const lookup = scriptedLookup([BAD, GOOD, BAD_6, { address: '10.0.0.1', family: 4 }])
    expect(await lookUp(lookup)).toEqual({ error: null, addresses: ['127.0.0.1', '10.0.0.1'] })
  })

  it('fails where there is none', async () => {
    for (const addresses of [[BAD], [BAD_6, BAD]]) {
      expect(await lookUp(scriptedLookup(addresses))).toMatchObject({
        error: { code: 'ADDRESS_DENIED' },
        addresses: [],
      })
    }
  })

  it('fails as it fails', async () => {
    const error = Object.assign(new Error('no'), { code: 'ENOTFOUND' })
    expect((await lookUp(scriptedLookup(error))).error).toBe(error)
  })
})

describe('a request', () => {
  /** As the host replaces it, by one with a cache. */
  function resolveTo(...answers: (readonly LookupAddress[])[]): void {
    vi.spyOn(dns, 'lookup').mockImplementation(scriptedLookup(...answers) as typeof dns.lookup)
    onTestFinished(() => {
      vi.restoreAllMocks()
    })
  }

  async function send(url: string, rules?: AddressRules, proxy: ProxySettings = {}): Promise<AttemptOutcome> {
    const connection = connectTo({ id: 'e', url, headers: [] }, proxy, rules)
    onTestFinished(() => connection.destroy())
    return connection.send(REQUEST)
  }

  /** One request a connection. */
  function startReceiver(): Promise<RawReceiver> {
    return startRawReceiver({ onRequest: ({ socket }) => socket.end(answer(200, '', ['Connection: close'])) })
  }

  const REQUEST = { contentType: 'text/plain', body: Buffer.from('x'), headers: [], timeoutMs: 20_000 }
  const DENIED = {
    kind: 'unreachable',
    layer: 'connection',
    code: 'ADDRESS_DENIED',
    reason: expect.stringMatching(/^requests may not go to this address: ./),
  }

  it('to an address that is denied is not made', async () => {
    const receiver = await startReceiver()
    expect(await send(receiver.origin, rulesOf(undefined, '127.0.0.1'))).toEqual(DENIED)
    expect(await send('http://169.254.169.254/')).toEqual(DENIED)
    expect(await send('https://[::ffff:169.254.169.254]/')).toEqual(DENIED)
    expect(receiver.connections).toBe(0)
  })

  it('to a name goes to what it resolves to, and that alone', async () => {
    const receiver = await startReceiver()
    resolveTo([BAD, GOOD, BAD_6])
    expect(await send(`http://a.example:${receiver.port}/`)).toMatchObject({ kind: 'answered', ok: true })
    expect(receiver.connections).toBe(1)
  })

  it('to a name that resolves to nothing else is not made', async () => {
    for (const scheme of ['http', 'https']) {
      resolveTo([BAD, BAD_6])
      expect(await send(`${scheme}://a.example/`)).toEqual(DENIED)
    }
  })

  it('goes to the address that was checked, though the name resolves to another a moment later', async () => {
    stopTime()
    const receiver = await startReceiver()
    const bad = await startReceiver()
    const rules = rulesOf(undefined, '127.0.0.2')
    resolveTo([GOOD], [{ address: '127.0.0.2', family: 4 }])
    const connection = connectTo({ id: 'e', url: `http://a.example:${receiver.port}/`, headers: [] }, {}, rules)
    onTestFinished(() => connection.destroy())
    expect(await connection.send(REQUEST)).toMatchObject({ kind: 'answered', ok: true })
    expect(dns.lookup).toHaveBeenCalledTimes(1)
    await until(() => receiver.sockets.size === 0)
    // it is checked anew
    vi.advanceTimersByTime(60_000)
    expect(await connection.send(REQUEST)).toEqual(DENIED)
    expect(receiver.connections).toBe(1)
    expect(bad.connections).toBe(0)
  })

  it('behind a proxy is made to no address that is denied, with or without the proxy', async () => {
    const proxy = await openConnectProxy()
    const httpProxy = proxy.url
    for (const noProxy of ['', '*']) {
      for (const url of ['http://169.254.169.254/', 'https://[fe80::1]/', 'http://metadata.google.internal/']) {
        expect(await send(url, undefined, { httpProxy, noProxy })).toEqual(DENIED)
      }
    }
    resolveTo([BAD])
    expect(await send('http://a.example/', undefined, { httpProxy, noProxy: 'a.example' })).toEqual(DENIED)
    expect(proxy.targets).toEqual([])
  })

  it('may go through a proxy which is where requests may not go, to where only the proxy knows', async () => {
    const proxy = await openConnectProxy()
    const receiver = await startReceiver()
    resolveTo([GOOD])
    const httpProxy = proxy.url.replace('127.0.0.1', 'proxy.example')
    const url = `http://a.example:${receiver.port}/`
    expect(await send(url, rulesOf(undefined, '127.0.0.1'), { httpProxy })).toMatchObject({
      kind: 'answered',
      ok: true,
    })
    expect(proxy.targets).toHaveLength(1)
  })
})
