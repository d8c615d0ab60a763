import { describe, expect, it } from 'vitest'

import { parseProxies } from '../../src/transport/proxy.ts'
import type { ProxySettings } from '../../src/transport/proxy.ts'

const SOMEWHERE = 'http://receiver.example/'

/** Name and credentials of the proxy for a URL; `undefined`: none; `unusable`: one that cannot be read. */
function used(settings: ProxySettings, url = SOMEWHERE): [name: string, credentials?: string] | 'unusable' | undefined {
  const proxy = parseProxies(settings).of(new URL(url))
  if (proxy === undefined || 'problem' in proxy) {
    return proxy && 'unusable'
  }
  const { name, authorization } = proxy
  return authorization === undefined
    ? [name]
    : [name, Buffer.from(authorization.replace('Basic ', ''), 'base64').toString()]
}

describe('a proxy', () => {
  it.each([
    ['http://proxy:3128', ['http://proxy:3128']],
    ['http://proxy:3128/', ['http://proxy:3128']],
    ['  http://proxy:3128 \n', ['http://proxy:3128']],
    ['HTTP://Proxy.Example:3128', ['http://proxy.example:3128']],
    ['http://proxy', ['http://proxy:80']],
    ['https://proxy', ['https://proxy:443']],
    ['proxy:3128', ['http://proxy:3128']],
    ['//proxy:3128', ['http://proxy:3128']],
    ['proxy', ['http://proxy:80']],
    ['my_proxy:3128', ['http://my_proxy:3128']],
    ['bücher.example:3128', ['http://xn--bcher-kva.example:3128']],
    ['10.0.0.1:3128', ['http://10.0.0.1:3128']],
    ['[::1]:3128', ['http://[::1]:3128']],
    ['http://[FD00::1]:3128', ['http://[fd00::1]:3128']],
    ['user:p@proxy:3128', ['http://proxy:3128', 'user:p']],
    ['user@proxy:3128', ['http://proxy:3128', 'user:']],
    ['http://:p@proxy', ['http://proxy:80', ':p']],
    ['http://@proxy', ['http://proxy:80']],
    ['http://me@example.org:p@proxy', ['http://proxy:80', 'me@example.org:p']],
    ['http://user:p%40ss@proxy', ['http://proxy:80', 'user:p@ss']],
    ['http://user:p@ss@proxy', ['http://proxy:80', 'user:p@ss']],
    ['http://user:100%@proxy', ['http://proxy:80', 'user:100%']],
    ['http://user:100%25@proxy', ['http://proxy:80', 'user:100%']],
    ['http://user:%zz%E4%C3%A4@proxy', ['http://proxy:80', 'user:%zz%E4%C3%A4']],
    ['http://user:%C3%A4@proxy', ['http://proxy:80', 'user:ä']],
    ['http://user:a:b:c@proxy', ['http://proxy:80', 'user:a:b:c']],
    ['http://user:a/b?c#d@proxy:3128/', ['http://proxy:3128', 'user:a/b?c#d']],
    ['user:#@proxy', ['http://proxy:80', 'user:#']],
    ['http://user:p ss@proxy', ['http://proxy:80', 'user:p ss']],
  ] as const)('is understood as people write it: %j', (httpProxy, expected) => {
    expect(used({ httpProxy })).toEqual(expected)
    expect(parseProxies({ httpProxy }).warnings).toEqual([])
  })

  it.each([
    ['socks5://user:s3cret@proxy:1080', 'SOCKS is not supported'],
    ['ftp://user:s3cret@proxy', 'neither http nor https'],
    ['http://', 'cannot be read'],
    ['nonsense s3cret', 'cannot be read'],
    ['"http://proxy:3128"', 'cannot be read'],
    ['http://http://proxy:3128', 'cannot be read'],
    ['http//proxy:3128', 'cannot be read'],
    ['https//user:s3cret@proxy:3128', 'cannot be read'],
    ['http:/proxy:3128', 'cannot be read'],
    ['http:/user:s3cret@proxy:3128', 'cannot be read'],
    ['none', 'leave the setting out'],
    ['DIRECT', 'leave the setting out'],
    ['http://user:s3cret@proxy:port', 'cannot be read'],
    ['http://user:s3cret@proxy:0', 'cannot be read'],
    ['http://user:s3cret@proxy:65536', 'cannot be read'],
    ['user:s3cret@', 'cannot be read'],
    ['3128', 'cannot be read'],
    ['::1:3128', 'cannot be read'],
    ['http://user:1/s3cret@proxy', '%40, %2F, %3F and %23'],
    ['http://user#s3cret@proxy', '%40, %2F, %3F and %23'],
    ['http://user:s3@host/cret@proxy', '%40, %2F, %3F and %23'],
  ])('that cannot be read is said once, without credentials, and not gone around: %j', (httpProxy, why) => {
    const { warnings } = parseProxies({ httpProxy, httpsProxy: httpProxy })
    expect(warnings).toEqual([expect.stringContaining(why)])
    expect(warnings.join()).not.toMatch(/s3|cret|user:[^p]/)
    expect(used({ httpProxy })).toBe('unusable')
    expect(used({ httpProxy }, 'http://localhost/')).toBeUndefined()
    expect(used({ httpProxy, noProxy: '*' })).toBeUndefined()
  })

  it.each([[{}], [{ httpProxy: '' }], [{ httpProxy: ' ', httpsProxy: '' }]])('is none with %j', settings => {
    expect(used(settings)).toBeUndefined()
    expect(used(settings, 'https://receiver.example/')).toBeUndefined()
  })

  it('of https URLs is that of http ones, unless they have one of their own; not the other way round', () => {
    const both = { httpProxy: 'plain', httpsProxy: 'tunnel' }
    expect([used(both), used(both, 'https://a.example')]).toEqual([['http://plain:80'], ['http://tunnel:80']])
    expect(used({ httpProxy: 'plain' }, 'https://a.example')).toEqual(['http://plain:80'])
    expect(used({ httpsProxy: 'tunnel' })).toBeUndefined()
  })

  it.each([
    'localhost',
    'LOCALHOST.',
    'a.localhost',
    '127.0.0.1',
    '127.9.9.9',
    '0x7f.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
  ])('is not asked for this machine: %s', host => {
    for (const scheme of ['http', 'https']) {
      expect(used({ httpProxy: 'proxy' }, `${scheme}://${host}:1234/`)).toBeUndefined()
    }
  })

  it.each(['localhost.example', 'notlocalhost', '128.0.0.1', '[::2]', '127.0.0.1.example'])('is asked for %s', host => {
    expect(used({ httpProxy: 'proxy' }, `http://${host}/`)).toEqual(['http://proxy:80'])
  })
})

describe('noProxy', () => {
  it.each([
    ['*', ['http://a.example', 'https://10.0.0.1', 'http://[fd00::1]'], []],
    [
      'example.org',
      ['http://example.org', 'http://a.b.example.org', 'https://EXAMPLE.org.:8443'],
      ['http://badexample.org'],
    ],
    [
      '.example.org',
      ['http://example.org', 'http://a.example.org'],
      ['http://badexample.org', 'http://example.org.evil'],
    ],
    ['*.example.org', ['http://example.org', 'http://a.example.org'], ['http://badexample.org']],
    ['*ample.org', ['http://example.org', 'http://sample.org'], ['http://example.net']],
    ['EXAMPLE.org.', ['http://example.org'], []],
    ['bücher.example', ['http://xn--bcher-kva.example', 'http://a.bücher.example'], []],
    ['my_host', ['http://my_host'], ['http://my-host']],
    ['example.org:8080', ['http://example.org:8080', 'http://a.example.org:8080'], ['http://example.org']],
    ['example.org:80', ['http://example.org'], ['https://example.org', 'http://example.org:8080']],
    ['*:443', ['https://a.example', 'http://a.example:443'], ['http://a.example']],
    [
      '10.0.0.1',
      ['http://10.0.0.1', 'http://0xa.1', 'http://[::ffff:10.0.0.1]'],
      ['http://10.0.0.10', 'http://10.0.0.1.example'],
    ],
    ['10.0.0.1:8080', ['http://10.0.0.1:8080'], ['http://10.0.0.1']],
    [
      '10.0.0.0/8',
      ['http://10.255.0.1', 'http://[::ffff:10.1.1.1]'],
      ['http://11.0.0.1', 'http://name-in-10-0-0-0.example'],
    ],
    ['10.1.2.3/8', ['http://10.255.0.1'], ['http://11.0.0.1']],
    ['::ffff:10.0.0.0/104', ['http://10.255.0.1'], ['http://11.0.0.1']],
    ['fd00::/8', ['http://[fd12::1]'], ['http://[2001:db8::1]', 'http://10.0.0.1']],
    ['[fd00::]/8', ['http://[fd12::1]'], ['http://[2001:db8::1]']],
    ['fd00::1', ['http://[fd00::1]', 'http://[FD00:0::1]:8080'], ['http://[fd00::2]']],
    ['[fd00::1]', ['http://[fd00::1]'], ['http://[fd00::2]']],
    ['[fd00::1]:8080', ['http://[fd00::1]:8080'], ['http://[fd00::1]']],
    [' a.example,,b.example\tc.example ;', [], []],
    [
      'a.example, b.example  c.example',
      ['http://a.example', 'http://b.example', 'http://c.example'],
      ['http://d.example'],
    ],
  ])('%j is understood', (noProxy, without, through) => {
    const settings = { httpProxy: 'proxy', noProxy }
    expect(without.filter(url => used(settings, url) !== undefined)).toEqual([])
    expect(through.filter(url => used(settings, url) === undefined)).toEqual([])
    expect(parseProxies(settings).warnings).toHaveLength(noProxy.includes(';') ? 1 : 0)
  })

  it('is said once to hold what no host is like; the rest of it holds', () => {
    const odd = ['http://x', '10.0.0.*', '10.0.0.0/33', '10.0.0', '192.168.', 'fd00::/129', 'a.*.b', 'a/b', '<local>', 'a:0', 'a:65536', 'a.example:', '10.0.0.0/8:80', '.', 'user:s3cret@host'] // prettier-ignore
    const { warnings } = parseProxies({ httpProxy: 'proxy', noProxy: `${odd.join()},a.example` })
    expect(warnings).toHaveLength(1)
    for (const entry of odd.slice(0, -1)) {
      expect(warnings[0]).toContain(JSON.stringify(entry))
    }
    expect(warnings[0]).not.toMatch(/a\.example"|s3cret/)
    expect(used({ httpProxy: 'proxy', noProxy: `${odd.join()},a.example` }, 'http://a.example')).toBeUndefined()
  })

  it('says nothing without a proxy', () => {
    expect(parseProxies({ noProxy: 'http://x' }).warnings).toEqual([])
  })
})
