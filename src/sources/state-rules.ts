import { isRecord, textOf } from '../values.ts'
import { HOST, MESSAGE, POOL } from './host-rules.ts'
import type { Change, Rule, State, StateEvent, StateOf, Step } from './state.ts'
import { PBD, SR, VDI } from './storage-rules.ts'
import { kindStep, SNAPSHOT, TEMPLATE, VIF, VM } from './vm-rules.ts'

/**
 * Which change of which field of an XO object is which event. Pure: a small state is read off an object, and two states
 * of one object are compared.
 *
 * Source of the fields: packages/xo-server/src/xapi-object-to-xo.mjs.
 */

/** By type, in the order in which the README lists their events. */
const RULES: { readonly [Type in State['type']]: Rule<Extract<State, StateOf<Type>>> } = {
  VM,
  'VM-template': TEMPLATE,
  'VM-snapshot': SNAPSHOT,
  VIF,
  VDI,
  host: HOST,
  pool: POOL,
  PBD,
  SR,
  message: MESSAGE,
}

/** For the form and the README. */
export const stateEvents: readonly StateEvent[] = [
  ...Object.entries<Pick<Rule<State>, 'events' | 'besides'>>(RULES).flatMap(([type, { events, besides }]) =>
    events.map(([name, sentence, of]) =>
      post(name, sentence, of ?? type, ...(of === undefined && besides ? [besides] : []))
    )
  ),
]

function post(name: string, sentence: string, ...types: readonly string[]): StateEvent {
  return { name, phases: ['post'], sentence, types, alwaysSucceeds: true }
}

/** The rule that fits this state: the compiler does not know that the one under its type does. */
function ruleOf<S extends State>({ type }: S): Rule<S> {
  return RULES[type] as unknown as Rule<S>
}

/**
 * What counts of an XO object; `undefined` for one that is no matter of events.
 *
 * @param fullRatio - from where an SR is full
 */
export function stateOf(object: unknown, fullRatio: number): State | undefined {
  const fields = isRecord(object) ? object : {}
  const type = textOf(fields['type'])
  if (type === undefined || !Object.hasOwn(RULES, type)) {
    return undefined
  }
  const pool = textOf(fields['$pool']) ?? ''
  const name = textOf(fields['name_label']) ?? ''
  const base = { type: type as State['type'], pool, name }
  return ruleOf(base as State).read(fields, base, fullRatio)
}

/** The events of an object that is new in a pool that was there before it. */
export function changesOfNew(state: State): readonly Change[] {
  const rule = ruleOf(state)
  const change = rule.added?.(state, rule.fields(state))
  return change === undefined ? [] : [change]
}

/** The events of an object that is gone from a pool that is still there. */
export function changesOfGone(state: State): readonly Change[] {
  const rule = ruleOf(state)
  const change = rule.removed?.(state, rule.fields(state))
  return change === undefined ? [] : [change]
}

export function stepOf(before: State, after: State): Step {
  if (before.type === after.type) {
    return ruleOf(after).step?.(before, after) ?? { state: after, changes: [] }
  }
  return kindStep(before, after)
}
