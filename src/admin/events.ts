import { noSuchObject } from 'xo-common/api-errors.js'

import type { EventAnswer, ListAnswer, RecentEvent, TryAnswer } from './answers.ts'
import { FIELDS, isHook, patched, refuseUnknownFields } from './hooks.ts'
import { HOOK_ID, ITEMS, limitOf, operation } from './operation.ts'
import type { Operation } from './operation.ts'
import { Matcher } from '../matcher.ts'
import { plainOf } from '../relay.ts'

const MAX_RECENT = 1_000
const DEFAULT_RECENT = 100
const MAX_TRIED = 50
const DEFAULT_TRIED = 10

/** Operations about what can be heard, and what was. */
export const eventOperations: readonly Operation[] = [
  operation({
    name: 'getEvents',
    rest: ['get', 'events'],
    about:
      'What a hook can be about: methods of the API, and other events; which hooks are about it, and when it came last (heardAt; of what no hook wants, only API calls are heard).',
    params: {},
    result: ITEMS,
    run: async (admin): Promise<ListAnswer<EventAnswer>> => ({ items: admin.events }),
  }),
  operation({
    name: 'getRecentEvents',
    rest: ['get', 'events/recent'],
    about: 'Events that hooks have wanted lately, the latest first. limit: up to 1000.',
    params: { limit: { type: 'number', optional: true, example: DEFAULT_RECENT } },
    result: ITEMS,
    async run(admin, { limit }): Promise<ListAnswer<RecentEvent>> {
      const events = await admin.ask(questions => questions.recentEvents())
      return { items: events.slice(0, limitOf(limit, DEFAULT_RECENT, MAX_RECENT)) }
    },
  }),
  operation({
    name: 'tryHook',
    rest: ['post', 'hooks/actions/try'],
    about: `Sends nothing: tells what a hook would have sent of the events that hooks have wanted lately. The hook is a saved one (id), one being written (hook), or a saved one with changes (both, the second as a merge patch). limit: up to ${MAX_TRIED}.`,
    params: {
      id: { ...HOOK_ID, optional: true },
      hook: { ...FIELDS, optional: true },
      limit: { type: 'number', optional: true, example: DEFAULT_TRIED },
    },
    result: { heard: { type: 'number' }, matched: { type: 'number' }, ...ITEMS },
    async run(admin, { id, hook: fields = {}, limit }): Promise<TryAnswer> {
      const max = limitOf(limit, DEFAULT_TRIED, MAX_TRIED)
      refuseUnknownFields(fields)
      const saved = id === undefined ? {} : (admin.savedHooks.find(isHook(id)) ?? noSuchObject(id, 'hook'))
      const hook = admin.draft(patched(saved, fields))
      const matcher = new Matcher([hook], name => admin.namesOf(name))
      const events = await admin.ask(questions => questions.recentEvents())
      const matched = events.filter(({ method, outcome }) => {
        const wanting = matcher.match(method)?.[outcome]
        return wanting !== undefined && wanting.length > 0
      })
      const ids = matched.slice(0, max).map(event => event.id)
      const items = await admin.ask(questions => questions.rehearse(plainOf(hook), ids))
      return { heard: events.length, matched: matched.length, items }
    },
  }),
]
