import type { EndpointHealth, EndpointReport, EngineEvent, ProxyReport } from './engine/engine.ts'

/** Lines of one kind are logged at most this often. */
const LOG_PERIOD_MS = 60_000

/** Kinds of lines that are remembered at once. Some name an endpoint or a hook, so there is no end of them. */
const MAX_KINDS = 1_000

/** XO's log, as far as it is used. */
export interface Log {
  info(message: string, data?: object): void
  warn(message: string, data?: object): void
}

interface Line {
  readonly level: keyof Log
  readonly message: string
  readonly data: object
  /** How many occurrences it tells. */
  readonly count: number
}

interface Kind {
  /** When its last line was logged. */
  readonly at: number
  /** Of the lines since then, the newest. */
  last?: Line
  /** Occurrences that these lines tell. */
  unsaid: number
  /** Logs the newest; only as long as there is one. */
  timer?: NodeJS.Timeout
}

/**
 * A log that nobody can flood: of each kind of line the first is logged at once, then at most one a minute, the newest
 * there is, with `notLogged`: how many occurrences no line has told since the one before.
 */
export class SparseLog {
  readonly #log: Log
  /** By name, the one that was logged last stands last. */
  readonly #kinds = new Map<string, Kind>()

  constructor(log: Log) {
    this.#log = log
  }

  info(kind: string, message: string, data: object = {}): void {
    this.#say(kind, { level: 'info', message, data, count: 1 })
  }

  /** @param count - how many occurrences the line tells */
  warn(kind: string, message: string, data: object = {}, count = 1): void {
    this.#say(kind, { level: 'warn', message, data, count })
  }

  /** Says at once what has not been said yet. Leaves no timer. */
  flush(): void {
    for (const [name, kind] of [...this.#kinds]) {
      this.#sayRest(name, kind)
    }
    this.#kinds.clear()
  }

  #say(name: string, line: Line): void {
    const kind = this.#kinds.get(name)
    const waitMs = kind === undefined ? 0 : kind.at + LOG_PERIOD_MS - performance.now()
    if (kind === undefined || waitMs <= 0) {
      // a timer that is late has left its line unsaid
      clearTimeout(kind?.timer)
      this.#write(name, line, kind?.unsaid ?? 0)
      return
    }
    kind.last = line
    kind.unsaid += line.count
    kind.timer ??= setTimeout(() => this.#sayRest(name, kind), waitMs).unref()
  }

  #sayRest(name: string, { last, timer, unsaid }: Kind): void {
    clearTimeout(timer)
    if (last !== undefined) {
      this.#write(name, last, unsaid - last.count)
    }
  }

  #write(name: string, { level, message, data }: Line, notLogged: number): void {
    this.#kinds.delete(name)
    this.#kinds.set(name, { at: performance.now(), unsaid: 0 })
    const [oldest] = this.#kinds
    if (this.#kinds.size > MAX_KINDS && oldest !== undefined) {
      this.#sayRest(...oldest)
      this.#kinds.delete(oldest[0])
    }
    this.#log[level](message, notLogged === 0 ? data : { ...data, notLogged })
  }
}

/** What an administrator is told. Holds nothing secret. */
export type Alert = EndpointAlert | ProxyReport

/** Of an endpoint. */
export interface EndpointAlert {
  readonly change: EndpointChange
  /** The endpoint's id. */
  readonly endpoint: string
  /** Names of the hooks that go there. */
  readonly hooks: readonly string[]
  readonly origin: string
  /** Waiting to be sent. */
  readonly pending: number
  /** Given up for good. */
  readonly dead: number
  /** Of the first failure, ISO 8601. */
  readonly since?: string
  /** In words. */
  readonly lastError?: string
  /** Why it is disabled. */
  readonly reason?: string
}

export type EndpointChange = Extract<EngineEvent, { type: 'health' }>['change']

/** The facts of an alert that change in time. */
type Facts = Pick<EndpointAlert, 'pending' | 'dead' | 'since' | 'lastError' | 'reason'>

function factsOf({ health, pending, dead }: Pick<EndpointHealth, 'health' | 'pending' | 'dead'>): Facts {
  const { failingSince, lastError, disabled } = health
  return {
    pending,
    dead,
    ...(failingSince !== undefined && { since: new Date(failingSince).toISOString() }),
    ...(lastError !== undefined && { lastError }),
    ...(disabled !== undefined && { reason: disabled.reason }),
  }
}

/**
 * What an alert that was put off says by now.
 *
 * @param endpoint - how the endpoint is now; without, there is no such endpoint any more
 * @param hooks - the names of those that go there now
 * @returns `undefined`: there is nothing to tell of it any more; `later`: it has not shown yet how it is, as after a
 *   save, which gives an endpoint that was disabled a new chance
 */
export function asOfNow(
  alert: EndpointAlert,
  endpoint: EndpointHealth | undefined,
  hooks: readonly string[]
): EndpointAlert | 'later' | undefined {
  if (endpoint === undefined || hooks.length === 0) {
    return undefined
  }
  const { change, origin } = alert
  const { disabled, failuresInRow } = endpoint.health
  const now = { endpoint: alert.endpoint, hooks, origin, ...factsOf(endpoint) }
  if (disabled !== undefined) {
    return { ...now, change: 'disabled' }
  }
  if (change === 'recovered') {
    return failuresInRow === 0 ? { ...now, change } : 'later'
  }
  return failuresInRow === 0 ? 'later' : { ...now, change: 'failing' }
}

export interface ReporterOptions {
  readonly log: SparseLog
  /** The name of a hook by its id; without, it is none of the configuration any more. */
  readonly nameOf: (hook: string) => string | undefined
  /** Once for each change of the health of an endpoint, or of XO's proxy. */
  readonly notify: (alert: Alert) => void
}

/** Says in the log what happens on the delivery side, and tells of endpoints, and of a proxy, that fail or are back. */
export class Reporter {
  readonly #log: SparseLog
  readonly #nameOf: ReporterOptions['nameOf']
  readonly #notify: ReporterOptions['notify']

  constructor({ log, nameOf, notify }: ReporterOptions) {
    this.#log = log
    this.#nameOf = nameOf
    this.#notify = notify
  }

  report(event: EngineEvent): void {
    const log = this.#log
    switch (event.type) {
      case 'dead': {
        const { id: delivery, origin: endpoint, attempts, lastError } = event
        const data = { endpoint, hook: this.#named(event.owner), delivery, attempts, lastError }
        log.warn(`dead ${event.owner} ${endpoint}`, 'a delivery has failed for good', data)
        return
      }
      case 'discarded': {
        const { reason, count, id: delivery } = event
        const text = count === 1 ? 'a delivery was discarded' : `${count} deliveries were discarded`
        log.warn(`discarded ${reason}`, `${text}: ${reason}`, { delivery }, count)
        return
      }
      case 'health':
        this.#reportHealth(event.change, event.report)
        return
      case 'proxy':
        this.#reportProxy(event.report)
        return
      case 'journal':
        this.#reportJournal(event)
        return
      case 'undecided': {
        const hook = this.#named(event.hook)
        if (event.isSwitchedOff) {
          const text = 'a hook is switched off: its filter took too long three times. Mend the filter and save'
          log.warn(`switched off ${event.hook}`, text, { hook })
        } else {
          log.warn(`undecided ${event.hook}`, 'a filter took too long for an event, which was sent', { hook })
        }
        return
      }
      case 'unformatted': {
        const { method, error } = event
        const hook = this.#named(event.hook)
        log.warn(`unformatted ${event.hook}`, 'an event could not be written in the format of a hook', {
          ...{ hook, method, error },
        })
        return
      }
      case 'replaced':
        log.warn('replaced', 'the thread that sends was replaced', { reason: event.reason })
        return
      case 'set aside': {
        const { method, callId } = event
        log.warn('set aside', 'an event was set aside: the thread that sends has failed with it three times', {
          ...{ method, callId },
        })
        return
      }
      case 'no thread':
        log.warn('no thread', "no thread can be started: deliveries are made in xo-server's own", {
          reason: event.reason,
        })
        return
      default:
        event satisfies never
    }
  }

  #reportJournal({ problem, recovered, lost }: Extract<EngineEvent, { type: 'journal' }>): void {
    if (problem !== undefined) {
      this.#log.warn('journal', 'the journal cannot be used: deliveries are kept in memory only', { problem })
    } else if (lost > 0) {
      const text = 'the journal is in use, but was damaged: some deliveries are lost'
      this.#log.warn('journal damaged', text, { recovered, lost })
    } else {
      this.#log.info('journal in use', 'the journal is in use', { recovered })
    }
  }

  #reportProxy(report: ProxyReport): void {
    const { proxy, change, receiver, lastError } = report
    const kind = `proxy ${change} ${proxy}`
    if (change === 'recovered') {
      this.#log.info(kind, 'the proxy works again', { proxy })
    } else if (receiver === undefined) {
      this.#log.warn(kind, 'the proxy fails: what is to go through it waits', { proxy, lastError })
    } else {
      const text = 'the proxy does not get through to a receiver: what is for it waits'
      this.#log.warn(kind, text, { proxy, receiver, lastError })
    }
    this.#notify(report)
  }

  #reportHealth(change: EndpointChange, report: EndpointReport): void {
    const { endpoint, origin, owners } = report
    const hooks = owners.map(id => this.#nameOf(id)).filter(name => name !== undefined)
    const data = { hooks, origin, ...factsOf(report) }
    const kind = `${change} ${endpoint}`
    switch (change) {
      case 'recovered':
        this.#log.info(kind, 'an endpoint answers again', data)
        break
      case 'failing':
        this.#log.warn(kind, 'an endpoint keeps failing', data)
        break
      case 'disabled':
        this.#log.warn(kind, 'an endpoint is disabled', data)
        break
      default:
        change satisfies never
    }
    this.#notify({ change, endpoint, ...data })
  }

  #named(hook: string): string {
    return this.#nameOf(hook) ?? 'one that was removed'
  }
}
