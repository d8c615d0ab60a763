import dns from 'node:dns'
import type { LookupAddress, LookupAllOptions } from 'node:dns'

import { NameServers } from './name-servers.ts'
import type { DirectAsker } from './name-servers.ts'

/** What is used of `dns.lookup`. */
export type Lookup = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void
) => void

/** @param addresses - at least one, unless there is an error; the one that is to be tried first comes first */
export type Resolved = (error: Error | null, addresses: readonly string[]) => void

/** The addresses of host names. */
export interface Resolver {
  /**
   * @param done - called once, later; never after the cancellation
   * @returns cancels: whoever asked does not wait any more
   */
  resolve(hostname: string, done: Resolved): () => void
  /** A socket to this address of the name was opened before one to those that go first. */
  prefer(hostname: string, address: string): void
  /** Whether the name still has this address, as far as is known: a socket that leads there may be used again. */
  isCurrent(hostname: string, address: string): boolean
}

/** A name that moves is followed within this time. */
const FRESH_MS = 60_000
/** What is no longer fresh is used for so long while no name server says anything else. */
const STALE_MS = 60 * 60_000
/**
 * Whoever could do with what is no longer fresh waits for so long for what is (RFC 8767 §5 calls it client response timer);
 * whoever has nothing waits for so long for the name's turn.
 */
const PATIENCE_MS = 250
/** Those who ask again so soon after a failure hear the same. */
const FAILURE_MS = 1_000
/** What fails after so long was not refused: nobody has answered. */
const MUTE_MS = 1_000
/** From a look-up that nobody has answered to the next such, in times of what it took: others find the way free meanwhile. */
const REST_FACTOR = 3
const MAX_REST_MS = 30_000
/**
 * The longest that glibc waits: 3 name servers, 5 times 30 s each, for a name and for the same with the search domain behind it
 * (resolv.conf(5), `timeout`, `attempts`); some 50 s without these options. What takes longer may never end: one other is
 * begun beside it.
 */
const LOST_MS = 15 * 60_000
const MAX_LOST = 2
/** RFC 6555 §4.2. */
const PREFERRED_MS = 10 * 60_000
const MAX_NAMES = 1_000
/** RFC 6761 §6.3: no name server has a say in these. */
const LOCALHOST = /^(?:.+\.)?localhost\.?$/i
const LOOPBACK = ['127.0.0.1', '::1']
const MAX_ADDRESSES = 32

/** What is known of a name. Instants are of `performance.now()`. */
interface Name {
  readonly hostname: string
  /** As the last look-up said that was answered; none: there was no such, or the name has none. */
  addresses: readonly string[]
  /** When that look-up was begun. */
  askedAt: number
  /** Its addresses were asked for directly: it is still to be looked up. */
  isProvisional: boolean
  preferred: { readonly address: string; readonly until: number } | undefined
  /** Of the last look-up. */
  failure: { readonly error: Error; readonly at: number } | undefined
  /** Nobody has answered the last time. */
  isMute: boolean
  isUnderWay: boolean
  isAskedDirectly: boolean
  readonly waiting: Set<Resolved>
}

/**
 * What is known of names: one for an engine, shared by all its endpoints.
 *
 * `dns.lookup` blocks one of the few threads that the process has for look-ups (two of the four of libuv) for as long as the
 * name server is silent, and nothing can end it. So one is under way at a time, and the rest of the process has the other
 * thread. Who has to wait for that is kept small: what was known goes on being used, names that somebody waits for go before
 * those that nobody does, and those that nobody has answered go last and rarely. A name of which nothing is known, and whose
 * turn does not come soon, is asked for in a way that takes no thread; see {@link NameServers}. What that says is used until
 * the name's turn has come, as only `dns.lookup` knows all that this machine knows. Where it is silent, the name is mute, too.
 *
 * Example: ten names of mute name servers were asked for before `a.example`, each of which takes 10 s to be given up.
 * `a.example` is reached after some 0.25 s, is looked up after 10 s, and the other nine come after it.
 */
export class Names implements Resolver {
  readonly #lookup: Lookup
  readonly #direct: DirectAsker
  readonly #now: () => number
  /** The last one was asked for last. */
  readonly #names = new Map<string, Name>()
  /** To be looked up; the first one was asked for first. */
  readonly #queue = new Set<Name>()
  /** When the look-up that is under way was begun. */
  #busySince: number | undefined
  /** Look-ups whose end nobody waits for any more. */
  #lost = 0
  /** Mute names are not looked up before. */
  #restsUntil = 0
  #alarm: NodeJS.Timeout | undefined

  /** @param lookup - by default that of `node:dns` at the time of the call: the host may put another one there */
  constructor(
    lookup: Lookup = (...args) => dns.lookup(...args),
    direct: DirectAsker = new NameServers(),
    now: () => number = () => performance.now()
  ) {
    this.#lookup = lookup
    this.#direct = direct
    this.#now = now
  }

  resolve(hostname: string, done: Resolved): () => void {
    const now = this.#now()
    const name = this.#nameOf(hostname)
    const addresses = usableAddresses(name, now)
    const isKnown = addresses.length > 0
    let isWaiting = true
    let timer: NodeJS.Timeout | undefined
    const end = (): void => {
      isWaiting = false
      clearTimeout(timer)
      name.waiting.delete(answer)
    }
    const answer: Resolved = (error, found) => {
      if (isWaiting) {
        end()
        done(error, found)
      }
    }
    if (isKnown && !this.#isWorthWaiting(name, now)) {
      process.nextTick(answer, null, addresses)
    } else if (!isKnown && hasJustFailed(name, now)) {
      process.nextTick(answer, name.failure?.error ?? null, [])
    } else {
      name.waiting.add(answer)
      timer = setTimeout(() => (isKnown ? answer(null, addresses) : this.#askDirectly(name)), PATIENCE_MS)
    }
    this.#refresh(name, now)
    return () => {
      end()
      // one that was never looked up keeps its place: else it might never be, where look-ups take as long as attempts
      if (!isKnown && name.waiting.size === 0 && name.failure !== undefined) {
        this.#queue.delete(name)
      }
    }
  }

  prefer(hostname: string, address: string): void {
    const name = this.#names.get(hostname)
    if (name !== undefined && usableAddresses(name, this.#now())[0] !== address) {
      name.preferred = { address, until: this.#now() + PREFERRED_MS }
    }
  }

  isCurrent(hostname: string, address: string): boolean {
    const name = this.#names.get(hostname)
    if (name === undefined) {
      return true
    }
    this.#refresh(name, this.#now())
    return name.addresses.includes(address)
  }

  /** Nobody asks any more. */
  close(): void {
    this.#queue.clear()
    clearTimeout(this.#alarm)
    this.#direct.close()
  }

  #nameOf(hostname: string): Name {
    const name = this.#names.get(hostname) ?? {
      hostname,
      ...(LOCALHOST.test(hostname)
        ? { addresses: LOOPBACK, askedAt: Number.POSITIVE_INFINITY }
        : { addresses: [], askedAt: Number.NEGATIVE_INFINITY }),
      preferred: undefined,
      isProvisional: false,
      failure: undefined,
      isMute: false,
      isUnderWay: false,
      isAskedDirectly: false,
      waiting: new Set(),
    }
    this.#names.delete(hostname)
    this.#names.set(hostname, name)
    if (this.#names.size > MAX_NAMES) {
      this.#forgetOne()
    }
    return name
  }

  #forgetOne(): void {
    for (const name of this.#names.values()) {
      if (!name.isUnderWay && name.waiting.size === 0) {
        this.#names.delete(name.hostname)
        this.#queue.delete(name)
        return
      }
    }
  }

  /** There is hope that it is soon known better. */
  #isWorthWaiting(name: Name, now: number): boolean {
    const isStuck = this.#busySince !== undefined && now - this.#busySince >= PATIENCE_MS
    return !isFresh(name, now) && name.failure === undefined && !isStuck
  }

  #refresh(name: Name, now: number): void {
    if (!name.isUnderWay && (name.isProvisional || !isFresh(name, now)) && !hasJustFailed(name, now)) {
      this.#queue.add(name)
      this.#pump(now)
    }
  }

  #pump(now: number): void {
    if (this.#busySince !== undefined || this.#lost >= MAX_LOST) {
      return
    }
    clearTimeout(this.#alarm)
    const name = nextOf(this.#queue)
    if (name === undefined) {
      return
    }
    if (!name.isMute || (this.#lost === 0 && now >= this.#restsUntil)) {
      this.#start(name, now)
    } else if (this.#lost === 0) {
      this.#alarm = setTimeout(() => this.#pump(this.#now()), this.#restsUntil - now).unref()
    }
  }

  #start(name: Name, startedAt: number): void {
    let isLost = false
    this.#queue.delete(name)
    name.isUnderWay = true
    this.#busySince = startedAt
    this.#alarm = setTimeout(() => {
      isLost = true
      ++this.#lost
      this.#busySince = undefined
      this.#learn(name, errorOf('EAI_AGAIN'), [], startedAt)
    }, LOST_MS).unref()
    this.#lookup(name.hostname, { all: true, order: 'verbatim' }, (error, found) => {
      name.isUnderWay = false
      if (isLost) {
        --this.#lost
      } else {
        this.#busySince = undefined
      }
      this.#learn(name, error, error === null ? found.map(({ address }) => address) : [], startedAt)
    })
  }

  #learn(name: Name, error: NodeJS.ErrnoException | null, addresses: readonly string[], startedAt: number): void {
    const now = this.#now()
    if (addresses.length > 0) {
      name.addresses = [...new Set(addresses)].slice(0, MAX_ADDRESSES)
      name.askedAt = startedAt
      name.isProvisional = false
      name.failure = undefined
      name.isMute = false
    } else {
      const took = now - startedAt
      name.failure = { error: error ?? errorOf('ENOTFOUND'), at: now }
      name.isMute = took >= MUTE_MS
      if (error === null || error.code === 'ENOTFOUND') {
        name.addresses = []
      }
      if (name.isMute) {
        this.#restsUntil = now + Math.min(REST_FACTOR * took, MAX_REST_MS)
      }
    }
    const usable = usableAddresses(name, now)
    for (const answer of name.waiting) {
      answer(usable.length > 0 ? null : (name.failure?.error ?? null), usable)
    }
    this.#pump(now)
  }

  /** Of a name whose turn has not come. */
  #askDirectly(name: Name): void {
    if (name.isUnderWay || name.isAskedDirectly) {
      return
    }
    name.isAskedDirectly = true
    const { askedAt, failure } = name
    void this.#direct.ask(name.hostname).then(addresses => {
      name.isAskedDirectly = false
      // what has been looked up since is better, and has been told to all
      if (name.askedAt === askedAt && name.failure === failure) {
        this.#learnDirectly(name, addresses)
      }
    })
  }

  #learnDirectly(name: Name, addresses: readonly string[] | undefined): void {
    const now = this.#now()
    // that it is not known there says nothing
    name.isMute = addresses === undefined || (name.isMute && addresses.length === 0)
    if (addresses !== undefined && addresses.length > 0) {
      name.addresses = [...new Set(addresses)].slice(0, MAX_ADDRESSES)
      name.askedAt = now
      name.isProvisional = true
      for (const answer of name.waiting) {
        answer(null, usableAddresses(name, now))
      }
    }
    this.#pump(now)
  }
}

/** Those that nobody has answered go last; of either kind, those that nobody waits for; the rest is in their order. */
function nextOf(queue: Iterable<Name>): Name | undefined {
  let next: Name | undefined
  for (const name of queue) {
    if (next === undefined || rankOf(name) < rankOf(next)) {
      next = name
    }
  }
  return next
}

function rankOf(name: Name): number {
  return (name.isMute ? 2 : 0) + (name.waiting.size > 0 ? 0 : 1)
}

function isFresh({ askedAt }: Name, now: number): boolean {
  return now < askedAt + FRESH_MS
}

function hasJustFailed({ failure }: Name, now: number): boolean {
  return failure !== undefined && now < failure.at + FAILURE_MS
}

/** The one that was reached first the last time goes first. */
function usableAddresses({ addresses, askedAt, preferred }: Name, now: number): readonly string[] {
  if (now >= askedAt + FRESH_MS + STALE_MS) {
    return []
  }
  if (preferred === undefined || now >= preferred.until || !addresses.includes(preferred.address)) {
    return addresses
  }
  return [preferred.address, ...addresses.filter(address => address !== preferred.address)]
}

/** @param code - as `dns.lookup` says it */
function errorOf(code: 'EAI_AGAIN' | 'ENOTFOUND'): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}
