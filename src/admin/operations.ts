import { incorrectState, noSuchObject } from 'xo-common/api-errors.js'

import type { Admin } from './admin.ts'
import { deliveryOf, detailsOf, endpointsOf } from './answers.ts'
import { refuse, shownValue } from './fields.ts'
import type { Fields, ParamsOf } from './fields.ts'
import { metricsOf, OPEN_METRICS } from './metrics.ts'
import { ACCOUNT_STATUSES } from '../engine/engine.ts'
import type { Account, AccountStatus, Query, Selection } from '../engine/engine.ts'

/** Something that an administrator can ask for or do. All faces are made from these. */
export interface Operation {
  /** Of the method of JSON-RPC, below `webHooks.`; absent: there is only REST. */
  readonly name?: string
  /** Below `/rest/v0/plugins/web-hooks/`; what is in braces is a parameter. */
  readonly rest: readonly [verb: 'get' | 'post' | 'delete', path: string]
  readonly about: string
  readonly params: Fields
  /** Absent: nothing comes of it. */
  readonly result?: Fields
  /** Of the answer of REST. @default 200, or 204 without a result */
  readonly status?: 202
  /** The result is a text of this type. */
  readonly contentType?: string
  /** @param params - as `params` says */
  readonly run: (admin: Admin, params: never) => Promise<unknown>
}

const ID = { type: 'string', about: 'its id', example: '8d6a3a61-94d5-4a3c-a4ff-3dc1ed4ae1bd-0' } as const
const ENDPOINT_ID = { type: 'string', about: 'its id', example: 'Qm0vQ2hKx1n8b3Ta' } as const
const HOOK_ID = { type: 'string', about: 'its id', example: 'cJk2n0s6mVQ1xqfa' } as const

const FILTER = {
  hook: { type: 'string', optional: true, about: 'id of a hook', example: 'cJk2n0s6mVQ1xqfa' },
  endpoint: { type: 'string', optional: true, about: 'id of an endpoint', example: 'Qm0vQ2hKx1n8b3Ta' },
  method: { type: 'string', optional: true, about: 'of the event; * stands for anything', example: 'vm.*' },
  call: { type: 'string', optional: true, about: 'callId of the event', example: 'hx7l2m3x0q' },
  answer: {
    type: 'string',
    optional: true,
    about: 'to the last attempt: a status (503), a class (5xx), timed-out or unreachable',
    example: '5xx',
  },
  from: {
    type: 'string',
    optional: true,
    about: 'accepted at or after: ISO 8601, or epoch ms',
    example: '2026-11-21T20:00:00Z',
  },
  to: { type: 'string', optional: true, about: 'accepted before', example: '2026-11-22T00:00:00Z' },
} as const satisfies Fields

const LIST_OF = {
  items: { type: 'array' },
  total: { type: 'number' },
  next: { type: 'string', optional: true },
} as const

const DELIVERY = {
  ...{ id: ID, hook: HOOK_ID, endpoint: { ...ENDPOINT_ID, optional: true } },
  method: { type: 'string' },
  outcome: { type: 'string' },
  call: { type: 'string', optional: true },
  status: { type: 'string' },
  reason: { type: 'string', optional: true },
  acceptedAt: { type: 'number' },
  endedAt: { type: 'number', optional: true },
  bytes: { type: 'number', optional: true },
  attempts: { type: 'number' },
  nextAttemptAt: { type: 'number', optional: true },
} as const satisfies Fields

const MAX_PAGE = 200
const DEFAULT_PAGE = 50
const MAX_REPLAYED = 10_000
/** So many are replayed in one go: in between, the delivery side does what else there is. */
const REPLAYED_AT_ONCE = 200

/** Gives `run` the type of its parameters. */
function operation<P extends Fields>(
  definition: Omit<Operation, 'params' | 'run'> & {
    readonly params: P
    readonly run: (admin: Admin, params: ParamsOf<P>) => Promise<unknown>
  }
): Operation {
  return definition
}

export const operations: readonly Operation[] = [
  operation({
    name: 'getHealth',
    rest: ['get', 'health'],
    about:
      'How deliveries stand: accepted = delivered + pending + dead + discarded, over the life of the journal; how many endpoints are in which state; why the journal is not in use, if it is not.',
    params: {},
    result: {
      accepted: { type: 'number' },
      delivered: { type: 'number' },
      pending: { type: 'number' },
      dead: { type: 'number' },
      discarded: { type: 'object', about: 'by reason' },
      endpoints: { type: 'object', about: 'how many, by state' },
      undecided: { type: 'object', about: 'events for which a filter took too long, by hook' },
      journal: { type: 'string', optional: true, about: 'why it is not in use' },
    },
    async run(admin) {
      const health = await admin.ask(questions => questions.health())
      const { accepted, delivered, pending, dead, discarded, undecided, journal } = health
      const endpoints: Record<string, number> = {}
      for (const { state } of endpointsOf(health, admin)) {
        endpoints[state] = (endpoints[state] ?? 0) + 1
      }
      const problem = journal === undefined ? {} : { journal }
      return {
        ...{ accepted, delivered, pending, dead, discarded, endpoints },
        undecided: Object.fromEntries(undecided),
        ...problem,
      }
    },
  }),
  operation({
    name: 'getEndpoints',
    rest: ['get', 'endpoints'],
    about:
      'Where requests go, with what waits there. state: working, failing, held back (until nextTryAt), paused, disabled, or unusable (its hook is left out).',
    params: {},
    result: { items: { type: 'array' } },
    async run(admin) {
      return { items: endpointsOf(await admin.ask(questions => questions.health()), admin) }
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
  operation({
    name: 'getDeliveries',
    rest: ['get', 'deliveries'],
    about: `Deliveries that are kept and those of the log, the newest first. next: the cursor of the next page. status: a list, with commas, of ${ACCOUNT_STATUSES.join(', ')}.`,
    params: {
      status: { type: 'string', optional: true, about: 'a list with commas', example: 'dead,waiting' },
      ...FILTER,
      cursor: { type: 'string', optional: true, about: 'next of an earlier answer' },
      limit: {
        type: 'number',
        optional: true,
        about: `from 1 to ${MAX_PAGE}, ${DEFAULT_PAGE} if not given`,
        example: 50,
      },
    },
    result: LIST_OF,
    async run(admin, { status, cursor, limit, ...filter }) {
      const query: Query = {
        ...selectionOf(filter),
        ...(status !== undefined && { status: statusesOf(status) }),
        ...(cursor !== undefined && { cursor: numberIn(cursor) }),
        limit: limitOf(limit, DEFAULT_PAGE, MAX_PAGE),
      }
      const page = await admin.ask(questions => questions.list(query))
      return {
        items: page.items.map(account => deliveryOf(account, admin)),
        total: page.total,
        ...(page.cursor !== undefined && { next: Buffer.from(page.cursor).toString('base64url') }),
      }
    },
  }),
  operation({
    name: 'getDelivery',
    rest: ['get', 'deliveries/{id}'],
    about:
      "One delivery: its attempts (history) with the beginning of each answer as text, when it is tried next, and, while it is kept, its request without credentials. The receiver's words (excerpt) are to be shown as text only.",
    params: { id: ID },
    result: {
      ...DELIVERY,
      history: { type: 'array', optional: true },
      request: { type: 'object', optional: true },
    },
    async run(admin, { id }) {
      const details = await admin.ask(questions => questions.get(id))
      return details === undefined ? noSuchObject(id, 'delivery') : detailsOf(details, admin)
    },
  }),
  operation({
    name: 'replayDelivery',
    rest: ['post', 'deliveries/{id}/actions/replay'],
    about:
      'Tries it again now, as the same delivery: a dead letter with new attempts, one that waits ahead of its time. One that is under way or about to be is left alone. What is over cannot be: its body is not kept.',
    params: { id: ID },
    result: DELIVERY,
    status: 202,
    async run(admin, { id }) {
      await keptBy(admin, id)
      await admin.ask(questions => questions.replay({ id }))
      const details = await admin.ask(questions => questions.get(id))
      return details === undefined ? noSuchObject(id, 'delivery') : deliveryOf(accountIn(details), admin)
    },
  }),
  operation({
    name: 'replayDeliveries',
    rest: ['post', 'deliveries/actions/replay'],
    about: `Tries dead letters again, the oldest first: all that the filter means, which may be empty. dryRun: only counts them. limit: up to ${MAX_REPLAYED}. One at a time.`,
    params: {
      filter: { type: 'object', fields: FILTER },
      dryRun: { type: 'boolean', optional: true },
      limit: { type: 'number', optional: true, example: 1000 },
    },
    result: { matched: { type: 'number' }, replayed: { type: 'number' } },
    status: 202,
    async run(admin, { filter, dryRun, limit }) {
      const selection = selectionOf(filter)
      const max = limitOf(limit, MAX_REPLAYED, MAX_REPLAYED)
      if (dryRun === true) {
        return { matched: (await deadOf(admin, selection, 1)).matched, replayed: 0 }
      }
      return admin.heavy('replay by filter', async () => {
        const { matched, ids } = await deadOf(admin, selection, max)
        let replayed = 0
        while (ids.length > 0) {
          const some = ids.splice(-REPLAYED_AT_ONCE)
          replayed += await admin.ask(questions => questions.replay({ ids: some }))
        }
        return { matched, replayed }
      })
    },
  }),
  operation({
    name: 'cancelDelivery',
    rest: ['delete', 'deliveries/{id}'],
    about: 'Discards one that is kept. If it is under way: once its attempt is over, if that fails.',
    params: { id: ID },
    async run(admin, { id }) {
      await keptBy(admin, id)
      await admin.ask(questions => questions.cancel({ id }))
    },
  }),
  operation({
    name: 'getHooks',
    rest: ['get', 'hooks'],
    about:
      'The hooks as they are configured. Instead of a secret there is { set: true, fingerprint }: equal secrets have equal fingerprints. Of a URL its origin is shown.',
    params: {},
    result: { items: { type: 'array' } },
    run: async admin => ({ items: admin.hooks }),
  }),
  operation({
    name: 'getHook',
    rest: ['get', 'hooks/{id}'],
    about: 'One hook, as in the list.',
    params: { id: HOOK_ID },
    result: {
      id: HOOK_ID,
      name: { type: 'string' },
      isUsable: { type: 'boolean' },
      problem: { type: 'string', optional: true },
      fields: { type: 'object' },
    },
    run: async (admin, { id }) => admin.hooks.find(hook => hook.id === id) ?? noSuchObject(id, 'hook'),
  }),
  operation({
    name: 'testHook',
    rest: ['post', 'hooks/{id}/actions/test'],
    about:
      'Sends a sample event of each phase, marked as a test, apart from the queue; also of a hook that is disabled.',
    params: { id: HOOK_ID },
    result: { items: { type: 'array' } },
    async run(admin, { id }) {
      if (!admin.settings.hooks.some(hook => hook.id === id)) {
        const isThere = admin.settings.others.some(hook => hook.id === id)
        return isThere
          ? incorrectState({ actual: 'unusable', expected: 'usable', object: id, property: 'state' })
          : noSuchObject(id, 'hook')
      }
      return { items: await admin.heavy(`test ${id}`, () => admin.test(id)) }
    },
  }),
  operation({
    name: 'getEvents',
    rest: ['get', 'events'],
    about: 'What a hook can be about: methods of the API, and other events.',
    params: {},
    result: { items: { type: 'array' } },
    run: async admin => ({ items: admin.events }),
  }),
  operation({
    rest: ['get', 'metrics'],
    about: 'For Prometheus: OpenMetrics 1.0.',
    params: {},
    contentType: OPEN_METRICS,
    async run(admin) {
      const health = await admin.ask(questions => questions.health())
      return metricsOf(health, endpointsOf(health, admin))
    },
  }),
]

/** @throws `noSuchObject`, or `incorrectState` of one that is over */
async function keptBy(admin: Admin, id: string): Promise<void> {
  const { items } = await admin.ask(questions => questions.list({ ids: [id], limit: 1 }))
  const account = items[0] ?? noSuchObject(id, 'delivery')
  if (account.status === 'delivered' || account.status === 'discarded') {
    const actual = account.reason === undefined ? account.status : `${account.status}: ${account.reason}`
    incorrectState({ actual, expected: 'kept: its body is gone', object: id, property: 'status' })
  }
}

/** Ids of dead letters, the newest first, up to `max`, and how many there are. */
async function deadOf(admin: Admin, selection: Selection, max: number): Promise<{ matched: number; ids: string[] }> {
  const query = { ...selection, status: ['dead'], limit: max } as const satisfies Query
  const { items, total } = await admin.ask(questions => questions.list(query))
  return { matched: total, ids: items.map(({ id }) => id) }
}

function selectionOf({ hook, method, from, to, ...same }: ParamsOf<typeof FILTER>): Selection {
  if (same.answer !== undefined && !/^(?:[1-5]xx|[1-5]\d\d|timed-out|unreachable)$/.test(same.answer)) {
    const expected = 'a status like 503, a class like 5xx, timed-out or unreachable'
    refuse({ path: 'answer', expected, got: shownValue(same.answer) })
  }
  return {
    ...same,
    ...(hook !== undefined && { owner: hook }),
    ...(method !== undefined && { subject: method }),
    ...(from !== undefined && { since: timeOf(from, 'from') }),
    ...(to !== undefined && { until: timeOf(to, 'to') }),
  }
}

function timeOf(text: string, path: string): number {
  const time = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text)
  return Number.isNaN(time) ? refuse({ path, expected: 'ISO 8601, or epoch ms', got: shownValue(text) }) : time
}

function statusesOf(text: string): AccountStatus[] {
  return text.split(',').map(part => {
    const expected = `a list of ${ACCOUNT_STATUSES.join(', ')}`
    return (
      ACCOUNT_STATUSES.find(status => status === part.trim()) ??
      refuse({ path: 'status', expected, got: shownValue(part) })
    )
  })
}

function numberIn(cursor: string): string {
  const number = Buffer.from(cursor, 'base64url').toString()
  return /^\d{1,16}$/.test(number)
    ? number
    : refuse({ path: 'cursor', expected: '"next" of an earlier answer', got: shownValue(cursor) })
}

function limitOf(limit: number | undefined, otherwise: number, max: number): number {
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= max)) {
    refuse({ path: 'limit', expected: `a whole number from 1 to ${max}`, got: shownValue(limit) })
  }
  return limit ?? otherwise
}

function accountIn({
  history: _,
  request: __,
  ...account
}: Account & { history?: unknown; request?: unknown }): Account {
  return account
}
