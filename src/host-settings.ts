import { createLogger } from '@xen-orchestra/log'

import type { Addresses, ProxySettings } from './engine/engine.ts'
import type { StateOptions } from './sources/state-changes.ts'
import { parseAddressRules } from './transport/address-guard.ts'
import type { PluginContext, XoConfig } from './xo.ts'

// What xo-server's own configuration says to this plugin.

const log = createLogger('xo:xo-server-web-hooks')

/** What requests in flight get when xo-server stops or the plugin is unloaded. */
const GRACE_MS = 5_000

/** What `[plugins.web-hooks]` says. */
export interface StaticOptions {
  readonly hasThread: boolean
  readonly graceMs: number
  readonly addresses: Addresses
  readonly state: StateOptions
}

/** What is wrong there is logged, and has its default. */
export function staticOptionsOf(config: PluginContext['staticConfig']): StaticOptions {
  const { allowedAddresses: allowed, deniedAddresses: denied, grace, poolAwayAfter, srFullPercent, thread } = config
  for (const text of parseAddressRules(allowed, denied).warnings) {
    log.warn(text)
  }
  const number = (name: string, value: unknown, max: number, expected: string): number | undefined => {
    if (value === undefined || (typeof value === 'number' && value >= 0 && value <= max)) {
      return value
    }
    log.warn(`${name}: expected ${expected}`)
    return undefined
  }
  const graceS = number('grace', grace, 60, 'seconds, from 0 to 60: what is under way gets 5 s when xo-server stops')
  const percent = number('srFullPercent', srFullPercent, 100, 'a number above 0 and up to 100: an SR is full at 90 %')
  const awayS = number(
    'poolAwayAfter',
    poolAwayAfter,
    3_600,
    'seconds, up to 3600: after 15 s a pool is told to be away'
  )
  if (thread !== undefined && typeof thread !== 'boolean') {
    log.warn('thread: expected true or false: deliveries have a thread of their own')
  }
  return {
    hasThread: thread !== false,
    graceMs: graceS === undefined ? GRACE_MS : graceS * 1_000,
    addresses: { allowed, denied },
    state: {
      ...(percent !== undefined && percent !== 0 && { fullRatio: percent / 100 }),
      ...(awayS !== undefined && { awayMs: awayS * 1_000 }),
    },
  }
}

/**
 * As the host (packages/xo-server/src/xo-mixins/http.mjs, and undici's `EnvHttpProxyAgent` there): what its configuration
 * says, for all URLs; else the environment. Upper case counts too: `HTTP_PROXY` can be forged where a process serves CGI
 * requests only, which xo-server does not.
 */
export function proxyOf({ httpProxy, noProxy }: XoConfig): ProxySettings {
  const { env } = process
  const proxies =
    httpProxy === undefined || httpProxy === null
      ? { httpProxy: env['http_proxy'] ?? env['HTTP_PROXY'], httpsProxy: env['https_proxy'] ?? env['HTTPS_PROXY'] }
      : { httpProxy: String(httpProxy) }
  if (Object.values(proxies).every(proxy => proxy === undefined || proxy === '')) {
    return {}
  }
  // a list of TOML becomes one of the environment
  return { ...proxies, noProxy: String(noProxy ?? env['no_proxy'] ?? env['NO_PROXY'] ?? '') }
}
