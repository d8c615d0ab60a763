import { describeOutcome, isOfProxy } from './delivery.ts'
import type { AttemptOutcome } from './delivery.ts'
import type { Line } from './lines.ts'

/** Failures in a row that open a circuit. */
const TROUBLE_AFTER = 5

/**
 * How often an open circuit is probed, from the beginning of one probe to the next: one that hangs keeps no other waiting, so
 * that a proxy that is well again is found so soon.
 */
const PROBE_EVERY_MS = 5_000

/** `probeAt`: it is open, nothing goes before. */
interface Circuit {
  readonly failures: number
  readonly probeAt?: number
}

const CLOSED: Circuit = { failures: 0 }

function afterFailure({ failures, probeAt }: Circuit, now: number): Circuit {
  const next = { failures: failures + 1 }
  return next.failures < TROUBLE_AFTER ? next : { ...next, probeAt: probeAt ?? now + PROBE_EVERY_MS }
}

/** How a proxy is, as far as requests have shown. */
interface Standing {
  /** Of all that goes through it. */
  whole: Circuit
  /** By origin: the proxy is there, and does not get through to this receiver. None of them is as at first. */
  readonly receivers: Map<string, Circuit>
  /** The administrator knows that it is in trouble, and is told when it is well. */
  isTold: boolean
  /** Nothing has come through it since it was told of. */
  isTrouble: boolean
}

/** What an administrator is told about a proxy. */
export interface ProxyReport {
  /** `http://proxy.example:3128` */
  readonly proxy: string
  readonly change: 'failing' | 'recovered'
  /** Origin of the receiver, if the proxy is there and does not get through to it. */
  readonly receiver?: string
  readonly lastError?: string
}

/** What an attempt has shown of its proxy. */
export interface Finding {
  /** It works, after what lay in its way did not: what waits for it may go. */
  readonly isBack: boolean
  readonly report?: ProxyReport
}

/**
 * The circuit breakers of proxies. A proxy that is down is probed by one request every few seconds, whoever makes it, and the
 * others wait. So is each receiver to which a proxy does not get through, apart from the others: it may be the receiver that
 * is down, and only the proxy knows.
 *
 * Time is passed in.
 */
export class Proxies {
  /** By the proxy's name, those of which something is known. */
  readonly #standings = new Map<string, Standing>()

  /** Until when nothing of an endpoint is to be sent, for the sake of its proxy; 0: it is well, or there is none. */
  heldUntil(line: Line): number {
    const { whole, receiver } = this.#circuitsOf(line)
    return Math.max(whole.probeAt ?? 0, receiver.probeAt ?? 0)
  }

  /** A request is under way, which may be a probe. */
  began(line: Line, now: number): void {
    const standing = this.#standings.get(line.connection.proxy ?? '')
    if (standing !== undefined) {
      const { origin } = line.lane
      const { whole, receiver } = this.#circuitsOf(line)
      standing.whole = probed(whole, now)
      if (receiver !== CLOSED) {
        standing.receivers.set(origin, probed(receiver, now))
      }
    }
  }

  observe(line: Line, outcome: AttemptOutcome, now: number): Finding {
    const { proxy } = line.connection
    if (proxy === undefined) {
      return { isBack: false }
    }
    if (isOfProxy(outcome)) {
      return this.#failed(proxy, line.lane.origin, outcome, now)
    }
    // what was ended from here says nothing, nor that no answer came in time
    const isThrough = outcome.kind === 'answered' || (outcome.layer !== undefined && outcome.layer !== 'answer')
    return isThrough ? this.#cameThrough(proxy, line.lane.origin) : { isBack: false }
  }

  #failed(proxy: string, origin: string, outcome: AttemptOutcome, now: number): Finding {
    const standing = this.#standings.get(proxy) ?? newStanding()
    this.#standings.set(proxy, standing)
    const isOnlyHere = outcome.kind !== 'answered' && outcome.isOnlyHere === true
    const before = isOnlyHere ? (standing.receivers.get(origin) ?? CLOSED) : standing.whole
    const after = afterFailure(before, now)
    if (isOnlyHere) {
      standing.receivers.set(origin, after)
    } else {
      standing.whole = after
    }
    const hasOpened = before.probeAt === undefined && after.probeAt !== undefined
    if (!hasOpened || standing.isTrouble) {
      return { isBack: false }
    }
    standing.isTold = true
    standing.isTrouble = true
    const lastError = describeOutcome(outcome)
    return {
      isBack: false,
      report: { proxy, change: 'failing', ...(isOnlyHere && { receiver: origin }), lastError },
    }
  }

  #cameThrough(proxy: string, origin: string): Finding {
    const standing = this.#standings.get(proxy)
    if (standing === undefined) {
      return { isBack: false }
    }
    const { whole, receivers, isTold } = standing
    const isBack = whole.probeAt !== undefined || receivers.get(origin)?.probeAt !== undefined
    receivers.delete(origin)
    standing.whole = CLOSED
    standing.isTrouble = false
    if ([...receivers.values()].some(({ probeAt }) => probeAt !== undefined)) {
      return { isBack }
    }
    standing.isTold = false
    if (receivers.size === 0) {
      this.#standings.delete(proxy)
    }
    return { isBack, ...(isTold && { report: { proxy, change: 'recovered' } }) }
  }

  /** Someone has looked: all may go. What administrators know stays. */
  renew(): void {
    for (const standing of this.#standings.values()) {
      standing.whole = CLOSED
      standing.receivers.clear()
      standing.isTrouble = false
    }
  }

  /** They are others now. */
  forget(): void {
    this.#standings.clear()
  }

  #circuitsOf({ connection, lane }: Line): { whole: Circuit; receiver: Circuit } {
    const standing = this.#standings.get(connection.proxy ?? '')
    return { whole: standing?.whole ?? CLOSED, receiver: standing?.receivers.get(lane.origin) ?? CLOSED }
  }
}

function newStanding(): Standing {
  return { whole: CLOSED, receivers: new Map(), isTold: false, isTrouble: false }
}

function probed(circuit: Circuit, now: number): Circuit {
  return circuit.probeAt === undefined ? circuit : { ...circuit, probeAt: now + PROBE_EVERY_MS }
}
