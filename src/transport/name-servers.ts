import { Resolver } from 'node:dns'
import { readFile } from 'node:fs/promises'

/** Of c-ares: how long a name server has for its first answer; the second try has twice that. */
const TIMEOUT_MS = 1_500
const TRIES = 2

/** What is asked while `dns.lookup` would have to wait. */
export interface DirectAsker {
  /**
   * @returns none: it is not known there, or cannot be asked for in this way, and somebody said so; `undefined`: nobody has
   *   answered. Never rejects.
   */
  ask(hostname: string): Promise<readonly string[] | undefined>
  /** Whoever waits hears that nobody has answered. */
  close(): void
}

/**
 * What this machine's file of hosts says of a name, and if it has none, its name servers, of whom c-ares asks: unlike
 * `getaddrinfo` behind `dns.lookup` it takes no thread, and an end can be put to it. Unlike that it knows nothing of search
 * domains, nor of what else nsswitch.conf has (multicast DNS, LDAP): that it does not know a name means nothing.
 */
export class NameServers implements DirectAsker {
  readonly #hostsFile: string
  readonly #servers: readonly string[] | undefined
  /** While somebody waits. Both are read anew for whoever asks next: the machine's settings may change. */
  #resolver: Resolver | undefined
  #hosts: Promise<string> | undefined
  #asked = 0

  /** @param servers - `127.0.0.1:53`; by default those of resolv.conf */
  constructor(servers?: readonly string[], hostsFile = '/etc/hosts') {
    this.#servers = servers
    this.#hostsFile = hostsFile
  }

  async ask(hostname: string): Promise<readonly string[] | undefined> {
    ++this.#asked
    try {
      this.#hosts ??= readFile(this.#hostsFile, 'utf8').catch(() => '')
      const own = addressesIn(await this.#hosts, hostname)
      return own.length > 0 ? own : await this.#askServers(hostname)
    } finally {
      if (--this.#asked === 0) {
        this.#resolver = undefined
        this.#hosts = undefined
      }
    }
  }

  async #askServers(hostname: string): Promise<readonly string[] | undefined> {
    const resolver = (this.#resolver ??= this.#newResolver())
    const answers = await Promise.all(
      (['resolve4', 'resolve6'] as const).map(
        method =>
          new Promise<readonly string[] | undefined>(resolve => {
            resolver[method](hostname, (error, addresses) => {
              const isSilence = error?.code === 'ETIMEOUT' || error?.code === 'ECANCELLED'
              resolve(error === null ? addresses : isSilence ? undefined : [])
            })
          })
      )
    )
    const addresses = answers.flatMap(each => each ?? [])
    return addresses.length === 0 && answers.includes(undefined) ? undefined : addresses
  }

  #newResolver(): Resolver {
    const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES })
    if (this.#servers !== undefined) {
      resolver.setServers(this.#servers)
    }
    return resolver
  }

  close(): void {
    this.#resolver?.cancel()
  }
}

/** Lines like `192.0.2.1 a.example a # our own` (hosts(5)). */
function addressesIn(hosts: string, hostname: string): string[] {
  const wanted = hostname.replace(/\.$/, '').toLowerCase()
  if (!hosts.toLowerCase().includes(wanted)) {
    return []
  }
  return hosts.split('\n').flatMap(line => {
    const [address = '', ...names] = line.replace(/#.*/s, '').trim().split(/\s+/)
    return names.some(name => name.toLowerCase() === wanted) ? [address] : []
  })
}
