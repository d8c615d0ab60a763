import { noSuchObject } from 'xo-common/api-errors.js'

import { endpointsOf } from './answers.ts'
import type { EndpointAnswer, HealthAnswer, ListAnswer } from './answers.ts'
import { metricsOf, OPEN_METRICS } from './metrics.ts'
import { ENDPOINT_ID, ITEMS, operation } from './operation.ts'
import type { Operation } from './operation.ts'

/** Operations about where requests go, and how all stands. */
export const endpointOperations: readonly Operation[] = [
  operation({
    name: 'getHealth',
    rest: ['get', 'health'],
    about:
      'How deliveries stand: accepted = delivered + pending + dead + discarded, over the life of the journal; attempts since the start; how many endpoints are in which state; why the journal is not in use, if it is not.',
    params: {},
    result: {
      accepted: { type: 'number' },
      delivered: { type: 'number' },
      pending: { type: 'number' },
      dead: { type: 'number' },
      discarded: { type: 'object', about: 'by reason' },
      endpoints: { type: 'object', about: 'how many, by state' },
      attempts: { type: 'object', about: 'since the start, by outcome' },
      lastHour: { type: 'object', about: 'attempts: delivered, failed' },
      undecided: { type: 'object', about: 'events for which a filter took too long, by hook' },
      journal: { type: 'string', optional: true, about: 'why it is not in use' },
    },
    async run(admin): Promise<HealthAnswer> {
      const [health, statistics] = await admin.ask(questions =>
        Promise.all([questions.health(), questions.statistics()])
      )
      const { accepted, delivered, pending, dead, discarded, undecided, journal } = health
      const endpoints: Record<string, number> = {}
      for (const { state } of endpointsOf(health, statistics, admin)) {
        endpoints[state] = (endpoints[state] ?? 0) + 1
      }
      const sum = (counts: readonly number[]): number => counts.reduce((all, count) => all + count, 0)
      const minutes = [...statistics.endpoints.values()].map(each => each.minutes)
      return {
        ...{ accepted, delivered, pending, dead, discarded, endpoints },
        attempts: statistics.attempts.outcomes,
        lastHour: {
          delivered: sum(minutes.flatMap(each => each.delivered)),
          failed: sum(minutes.flatMap(each => each.failed)),
        },
        undecided: Object.fromEntries(undecided),
        ...(journal !== undefined && { journal }),
      }
    },
  }),
  operation({
    rest: ['get', 'metrics'],
    about: 'For Prometheus: OpenMetrics 1.0.',
    params: {},
    contentType: OPEN_METRICS,
    async run(admin) {
      const [health, statistics] = await admin.ask(questions =>
        Promise.all([questions.health(), questions.statistics()])
      )
      return metricsOf({
        ...{ health, statistics, events: admin.wanted, now: Date.now() },
        endpoints: endpointsOf(health, statistics, admin),
      })
    },
  }),
  operation({
    name: 'getEndpoints',
    rest: ['get', 'endpoints'],
    about:
      'Where requests go, with what waits there, since when (oldestAt). state: working, failing, held back (until nextTryAt), paused, disabled, or unusable (its hook is left out). minutes and hours: attempts of the last 60 minutes and 24 hours, from a time on; p50 and p95: ms.',
    params: {},
    result: ITEMS,
    async run(admin): Promise<ListAnswer<EndpointAnswer>> {
      const [health, statistics] = await admin.ask(questions =>
        Promise.all([questions.health(), questions.statistics()])
      )
      return { items: endpointsOf(health, statistics, admin) }
    },
  }),
  operation({
    name: 'pauseEndpoint',
    rest: ['post', 'endpoints/{id}/actions/pause'],
    about: 'Nothing is sent there until it is resumed, over restarts too. What waits and comes is kept.',
    params: { id: ENDPOINT_ID },
    async run(admin, { id }) {
      if (!(await admin.ask(questions => questions.pause(id)))) {
        noSuchObject(id, 'endpoint')
      }
    },
  }),
  operation({
    name: 'resumeEndpoint',
    rest: ['post', 'endpoints/{id}/actions/resume'],
    about:
      'An endpoint that is paused, disabled, failing or held back gets a new chance, and what waits there is sent. Once a second at most.',
    params: { id: ENDPOINT_ID },
    run: (admin, { id }) =>
      admin.heavy(`resume ${id}`, async () => {
        if (!(await admin.ask(questions => questions.resume(id)))) {
          noSuchObject(id, 'endpoint')
        }
      }),
  }),
]
