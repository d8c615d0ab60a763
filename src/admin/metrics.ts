import type { EndpointAnswer } from './answers.ts'
import { DURATION_BOUNDS_MS } from '../engine/engine.ts'
import type { EngineHealth, EngineStatistics } from '../engine/engine.ts'

export const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

export interface Measured {
  readonly health: EngineHealth
  readonly statistics: EngineStatistics
  /** That hooks have wanted, by source. */
  readonly events: ReadonlyMap<string, number>
  readonly endpoints: readonly EndpointAnswer[]
  /** Epoch ms. */
  readonly now: number
}

/**
 * How deliveries and endpoints stand, for Prometheus. An endpoint is named by id and origin, never by its URL.
 *
 * Source: OpenMetrics 1.0, https://github.com/prometheus/OpenMetrics
 */
export function metricsOf({ health, statistics, events, endpoints, now }: Measured): string {
  const { attempts, oldest, journalBytes } = statistics
  const { accepted, delivered, pending, dead, discarded } = health
  const labelled = (value: (endpoint: EndpointAnswer) => number): Sample[] =>
    endpoints.map(endpoint => [{ endpoint: endpoint.id, origin: endpoint.origin ?? '' }, value(endpoint)])
  const lines = [
    ...family(
      'web_hooks_events',
      'counter',
      'Events that hooks have wanted since the start.',
      [...events].map(([source, count]): Sample => [{ source }, count])
    ),
    ...family('web_hooks_oldest_seconds', 'gauge', 'Age of the oldest delivery that waits.', [
      [{}, Math.max(0, Math.round((now - Math.min(now, ...oldest.values())) / 1_000))],
    ]),
    ...family('web_hooks_journal_bytes', 'gauge', 'On disk of what is kept.', [[{}, journalBytes ?? 0]]),
    ...family('web_hooks_accepted', 'counter', 'Deliveries that were accepted, over the life of the journal.', [
      [{}, accepted],
    ]),
    ...family('web_hooks_deliveries', 'counter', 'Deliveries that are over, over the life of the journal.', [
      [{ status: 'delivered', reason: '' }, delivered],
      ...Object.entries(discarded).map(([reason, count]): Sample => [{ status: 'discarded', reason }, count]),
    ]),
    ...family(
      'web_hooks_attempts',
      'counter',
      'Requests since the start, by what they came to.',
      Object.entries(attempts.outcomes).map(([outcome, count]): Sample => [{ outcome }, count])
    ),
    ...histogram('web_hooks_attempt_seconds', 'How long requests took, since the start.', attempts),
    ...family('web_hooks_pending', 'gauge', 'Deliveries that wait or are being sent.', [[{}, pending]]),
    ...family('web_hooks_dead_letters', 'gauge', 'Deliveries that are not tried again by themselves.', [[{}, dead]]),
    ...family('web_hooks_journal_up', 'gauge', 'Whether what waits is on disk.', [
      [{}, health.journal === undefined ? 1 : 0],
    ]),
    ...family('web_hooks_endpoint_up', 'gauge', 'Whether the last request there was answered as it should be.', [
      ...labelled(({ state }) => (state === 'working' ? 1 : 0)),
    ]),
    ...family('web_hooks_endpoint_pending', 'gauge', 'Deliveries that wait for an endpoint.', [
      ...labelled(({ waiting }) => waiting),
    ]),
    ...family('web_hooks_endpoint_failures_in_row', 'gauge', 'Attempts that have failed since the last success.', [
      ...labelled(({ failuresInRow }) => failuresInRow),
    ]),
  ]
  return `${lines.join('\n')}\n# EOF\n`
}

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number]

function family(name: string, type: 'counter' | 'gauge', help: string, samples: readonly Sample[]): string[] {
  const sampleName = type === 'counter' ? `${name}_total` : name
  return [
    `# TYPE ${name} ${type}`,
    `# HELP ${name} ${help}`,
    ...samples.map(([labels, value]) => `${sampleName}${labelsOf(labels)} ${value}`),
  ]
}

/** With the unit in its name, as OpenMetrics wants it. */
function histogram(name: string, help: string, { durations, durationMs }: EngineStatistics['attempts']): string[] {
  let sum = 0
  const buckets = durations.map((count, bin) => {
    sum += count
    const bound = DURATION_BOUNDS_MS[bin]
    return `${name}_bucket${labelsOf({ le: bound === undefined ? '+Inf' : decimal(bound / 1_000) })} ${sum}`
  })
  return [
    `# TYPE ${name} histogram`,
    `# UNIT ${name} seconds`,
    `# HELP ${name} ${help}`,
    ...buckets,
    `${name}_count ${sum}`,
    `${name}_sum ${decimal(durationMs / 1_000)}`,
  ]
}

/** `1.0`: the canonical way to write a whole number. */
function decimal(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value)
}

function labelsOf(labels: Readonly<Record<string, string>>): string {
  const texts = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return texts.length === 0 ? '' : `{${texts.join(',')}}`
}

function escaped(text: string): string {
  return text.replace(/[\\"\n]/g, char => (char === '\n' ? '\\n' : `\\${char}`))
}
