import ipaddr from 'ipaddr.js'

import type { Resolver } from './names.ts'

type Address = ipaddr.IPv4 | ipaddr.IPv6
export type Network = [Address, number]

/** What is known of a network: whether requests may go there, or why not. */
interface Rule {
  readonly network: Network
  /** `undefined`: they may. */
  readonly denial: string | undefined
}

/** Where requests may go. Of the networks that an address is in, the smallest decides; of two equal ones, the denied. */
export interface AddressRules {
  readonly rules: readonly Rule[]
  /** Nothing may be sent at all: a denied network was given that cannot be read. */
  readonly isBroken: boolean
}

const LINK_LOCAL = 'link-local, where clouds keep the credentials of a machine'
const METADATA = "a cloud's metadata service, which gives away the credentials of a machine"
const MULTICAST = 'multicast'
const UNSPECIFIED = 'no address of a receiver'
const BROADCAST = 'broadcast, or reserved'

/**
 * Denied unless xo-server's configuration says otherwise. Loopback and private networks are not: that is where receivers
 * live.
 *
 * Sources: the special-purpose address registries of IANA; the documentation of the clouds.
 */
const DENIED_BY_DEFAULT: readonly (readonly [network: string, denial: string])[] = [
  ['0.0.0.0/8', UNSPECIFIED],
  ['169.254.0.0/16', LINK_LOCAL],
  ['224.0.0.0/4', MULTICAST],
  ['240.0.0.0/4', BROADCAST],
  ['100.100.100.200/32', METADATA], // Alibaba Cloud
  ['168.63.129.16/32', METADATA], // Azure
  ['192.0.0.192/32', METADATA], // Oracle Cloud
  ['100.96.0.96/32', METADATA], // Volcengine
  ['100.80.80.80/32', METADATA], // UCloud
  ['::/128', UNSPECIFIED],
  ['fe80::/10', LINK_LOCAL],
  ['ff00::/8', MULTICAST],
  ['fd00:ec2::254/128', METADATA], // AWS
  ['fd00:ec2::23/128', METADATA], // AWS, in EKS
  ['fd20:ce::254/128', METADATA], // Google Cloud
  ['fd00:c1::a9fe:a9fe/128', METADATA], // Oracle Cloud
  ['fd00:42::42/128', METADATA], // Scaleway
  ['fd00:a9fe:a9fe::1/128', METADATA], // Akamai (Linode)
  ['fd00:100::100:200/128', METADATA], // Alibaba Cloud
  ['64:ff9b:1::/48', 'translated to IPv4 in a way that is not known here'],
]

/** Known by name, for requests through a proxy: it resolves them, and we do not learn to what. */
const METADATA_NAMES: ReadonlySet<string> = new Set([
  'metadata', // Google Cloud and others, by the search domain
  'metadata.google.internal',
  'metadata.goog',
  'metadata.azure.internal',
  'metadata.tencentyun.com',
  'metadata.exoscale.com',
  'metadata.platformequinix.com',
  'metadata.packet.net', // Equinix, formerly
  'api.metadata.cloud.ibm.com',
  'rancher-metadata',
  'rancher-metadata.rancher.internal',
])

/** AWS: by the search domain, or `instance-data.ec2.internal`, `instance-data.eu-west-1.compute.internal`. */
const INSTANCE_DATA = /^instance-data(?:\.|$)/

/** As an error of Node. Its message is for an administrator. */
export class AddressDeniedError extends Error {
  override readonly name = 'AddressDeniedError'
  readonly code = 'ADDRESS_DENIED'

  constructor(denial: string) {
    super(`requests may not go to this address: ${denial}`)
  }
}

/**
 * Reads the lists of xo-server's `[plugins.web-hooks]`, of addresses and networks (CIDR). Never throws.
 *
 * A mistake opens nothing: what cannot be read in `allowed` is not allowed; in `denied` it may have meant anything, so that
 * nothing is sent until it is mended.
 */
export function parseAddressRules(allowed: unknown, denied: unknown): { rules: AddressRules; warnings: string[] } {
  const warnings: string[] = []
  const read = (name: string, list: unknown, denial: string | undefined): Rule[] =>
    entriesOf(list).flatMap(entry => {
      const network = typeof entry === 'string' ? parseNetwork(entry.trim()) : undefined
      if (network !== undefined) {
        return [{ network, denial }]
      }
      const got = JSON.stringify(entry)?.slice(0, 100)
      const effect = denial === undefined ? 'it allows nothing' : 'nothing is sent until it is mended'
      warnings.push(
        `[plugins.web-hooks] ${name}: expected an address or a network like "10.0.0.0/8", got ${got}: ${effect}`
      )
      return []
    })

  const ownAllowed = read('allowedAddresses', allowed, undefined)
  const warningsOfAllowed = warnings.length
  const ownDenied = read('deniedAddresses', denied, "denied by deniedAddresses in xo-server's configuration")
  return {
    rules: {
      // an own rule goes before an equal one of the defaults, a denial before all
      rules: [...ownDenied, ...ownAllowed, ...DEFAULT_RULES.rules],
      isBroken: warnings.length > warningsOfAllowed,
    },
    warnings,
  }
}

function entriesOf(list: unknown): readonly unknown[] {
  return list === undefined || list === null ? [] : Array.isArray(list) ? list : [list]
}

/**
 * An address or a network (CIDR). `undefined`: neither. IPv4 in four decimal parts only: of `010.0.0.0/8` nobody knows which
 * network is meant.
 */
export function parseNetwork(text: string): Network | undefined {
  const cidr = text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`
  if (text.includes('%') || !(ipaddr.IPv4.isValidCIDRFourPartDecimal(cidr) || ipaddr.IPv6.isValidCIDR(cidr))) {
    return undefined
  }
  const [address, bits] = ipaddr.parseCIDR(cidr)
  const isMapped = address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && bits >= 96
  return isMapped ? [address.toIPv4Address(), bits - 96] : [address, bits]
}

export const DEFAULT_RULES: AddressRules = {
  rules: DENIED_BY_DEFAULT.map(([network, denial]) => ({ network: ipaddr.parseCIDR(network), denial })),
  isBroken: false,
}

/**
 * Why requests may not go to the host of a URL, as far as its text tells: it is an address, or a name of a metadata service.
 * `undefined` for other names: {@link guarded} sees what they resolve to. Behind a proxy nobody does, as the proxy
 * resolves them: there it has to be the proxy that keeps requests out of what they must not reach.
 *
 * @param hostname - of a `URL`, which has turned any spelling of an IPv4 address (`0xa9fea9fe`, `169.254.43518`) into one
 */
export function denialOfHost(hostname: string, rules: AddressRules): AddressDeniedError | undefined {
  const host = hostname
    .replace(/^\[|\]$/g, '')
    .replace(/\.+$/, '')
    .toLowerCase()
  if (ipaddr.isValid(host)) {
    return denialOfAddress(host, rules)
  }
  if (rules.isBroken) {
    return brokenRules()
  }
  return METADATA_NAMES.has(host) || INSTANCE_DATA.test(host) ? denialOfAddress('169.254.169.254', rules) : undefined
}

/** Why requests may not go to an address, in any of its spellings. What is no address is denied. */
export function denialOfAddress(text: string, rules: AddressRules): AddressDeniedError | undefined {
  if (rules.isBroken) {
    return brokenRules()
  }
  if (!ipaddr.isValid(text)) {
    return new AddressDeniedError('it cannot be read')
  }
  for (const address of meantBy(ipaddr.parse(text))) {
    const denial = smallestRule(address, rules)?.denial
    if (denial !== undefined) {
      return new AddressDeniedError(denial)
    }
  }
  return undefined
}

function brokenRules(): AddressDeniedError {
  return new AddressDeniedError("deniedAddresses in xo-server's configuration cannot be read, see its log")
}

function smallestRule(address: Address, { rules }: AddressRules): Rule | undefined {
  let smallest: Rule | undefined
  for (const rule of rules) {
    const [network, bits] = rule.network
    if (
      address.kind() === network.kind() &&
      address.match(rule.network) &&
      (smallest === undefined || bits > smallest.network[1])
    ) {
      smallest = rule
    }
  }
  return smallest
}

/** An address, and the IPv4 addresses it is a way of writing or of reaching; each has to be allowed. */
function meantBy(address: Address): Address[] {
  if (address instanceof ipaddr.IPv4) {
    return [address]
  }
  if (address.isIPv4MappedAddress()) {
    return [address.toIPv4Address()]
  }
  const bytes = address.toByteArray()
  const ipv4At = (start: number): Address => ipaddr.fromByteArray(bytes.slice(start, start + 4))
  switch (address.range()) {
    case 'rfc6052': // NAT64
    case 'rfc6145': // IPv4-translated
      return [address, ipv4At(12)]
    case '6to4':
      return [address, ipv4At(2)]
    case 'teredo': // of the server, and of the client, inverted
      return [address, ipv4At(4), ipaddr.fromByteArray(bytes.slice(12).map(byte => byte ^ 0xff))]
    case 'loopback':
    case 'unspecified':
      return [address]
    default: {
      const isCompatible = bytes.slice(0, 12).every(byte => byte === 0) // ::169.254.169.254
      const isIsatap = (bytes[8]! & 0xfd) === 0 && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe
      return isCompatible || isIsatap ? [address, ipv4At(12)] : [address]
    }
  }
}

/**
 * Only addresses that requests may go to. The address that was checked is the one that is dialled, whatever the name
 * resolves to a moment later. It is not asked for hosts that are addresses: see {@link denialOfHost}.
 */
export function guarded(names: Resolver, rules: AddressRules): Resolver {
  return {
    resolve: (hostname, done) =>
      names.resolve(hostname, (error, addresses) => {
        const allowed = addresses.filter(address => denialOfAddress(address, rules) === undefined)
        if (error === null && allowed.length === 0) {
          done(denialOfAddress(addresses[0] ?? '', rules) ?? null, allowed)
        } else {
          done(error, allowed)
        }
      }),
    prefer: (hostname, address) => names.prefer(hostname, address),
    isCurrent: (hostname, address) => names.isCurrent(hostname, address),
  }
}
