import { incorrectState, noSuchObject } from 'xo-common/api-errors.js'

import type { Admin } from './admin.ts'
import { deliveryOf, detailsOf } from './answers.ts'
import type { CallAnswer, DeliveriesAnswer } from './answers.ts'
import { refuse, shownValue } from './fields.ts'
import type { Fields, ParamsOf } from './fields.ts'
import { ENDPOINT_ID, HOOK_ID, ID, limitOf, operation } from './operation.ts'
import type { Operation } from './operation.ts'
import { ACCOUNT_STATUSES } from '../engine/engine.ts'
import type { Account, AccountStatus, Query, Selection } from '../engine/engine.ts'

const FILTER = {
  hook: { type: 'string', optional: true, about: 'id of a hook', example: 'cJk2n0s6mVQ1xqfa' },
  endpoint: { type: 'string', optional: true, about: 'id of an endpoint', example: 'Qm0vQ2hKx1n8b3Ta' },
  method: { type: 'string', optional: true, about: 'of the event; * stands for anything', example: 'vm.*' },
  object: {
    type: 'string',
    optional: true,
    about: 'id of the object that the event is about',
    example: '67aac198-0174-11ea-8d71-362b9e155667',
  },
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
  latest: { type: 'string' },
  hasMore: { type: 'boolean', optional: true },
  isOutdated: { type: 'boolean', optional: true },
} as const

const DELIVERY = {
  ...{ id: ID, hook: HOOK_ID, endpoint: { ...ENDPOINT_ID, optional: true } },
  method: { type: 'string' },
  outcome: { type: 'string' },
  object: { type: 'string', optional: true },
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
/** There is one for each hook and phase. */
const MAX_OF_CALL = 1_000
/** So many are replayed in one go: in between, the delivery side does what else there is. */
const REPLAYED_AT_ONCE = 200

export const deliveryOperations: readonly Operation[] = [
  operation({
    name: 'getDeliveries',
    rest: ['get', 'deliveries'],
    about: `Deliveries that are kept and those of the log, the newest first. next: the cursor of the next page. latest: given as since, it asks for what has changed after this answer, the oldest change first; hasMore: there is more after the new latest; isOutdated: that is not known any more, so list anew. status: a list, with commas, of ${ACCOUNT_STATUSES.join(', ')}.`,
    params: {
      status: { type: 'string', optional: true, about: 'a list with commas', example: 'dead,waiting' },
      ...FILTER,
      cursor: { type: 'string', optional: true, about: 'next of an earlier answer' },
      since: { type: 'string', optional: true, about: 'latest of an earlier answer' },
      limit: {
        type: 'number',
        optional: true,
        about: `from 1 to ${MAX_PAGE}, ${DEFAULT_PAGE} if not given`,
        example: 50,
      },
    },
    result: LIST_OF,
    async run(admin, { status, cursor, since, limit, ...filter }): Promise<DeliveriesAnswer> {
      const query: Query = {
        ...selectionOf(filter),
        ...(status !== undefined && { status: statusesOf(status) }),
        ...(cursor !== undefined && { cursor: numberIn(cursor) }),
        ...(since !== undefined && { changedSince: since }),
        limit: limitOf(limit, DEFAULT_PAGE, MAX_PAGE),
      }
      const { items, cursor: next, ...page } = await admin.ask(questions => questions.list(query))
      return {
        items: items.map(account => deliveryOf(account, admin)),
        ...page,
        ...(next !== undefined && { next: Buffer.from(next).toString('base64url') }),
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
    name: 'getCall',
    rest: ['get', 'calls/{id}'],
    about: 'All deliveries of one call, of its pre and its post, in the order in which they came.',
    params: { id: { type: 'string', about: 'callId of its events', example: 'hx7l2m3x0q' } },
    result: { id: { type: 'string' }, items: { type: 'array' } },
    async run(admin, { id }): Promise<CallAnswer> {
      const { items } = await admin.ask(questions => questions.list({ call: id, limit: MAX_OF_CALL }))
      return items.length === 0
        ? noSuchObject(id, 'call')
        : { id, items: items.map(account => deliveryOf(account, admin)).reverse() }
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

function accountIn({
  history: _,
  request: __,
  ...account
}: Account & { history?: unknown; request?: unknown }): Account {
  return account
}
