import { randomBytes } from 'node:crypto'

import { incorrectState, noSuchObject, objectAlreadyExists } from 'xo-common/api-errors.js'

import { refuse, shownValue } from './fields.ts'
import { HOOK_ID, ITEMS, operation } from './operation.ts'
import type { Operation } from './operation.ts'
import { HOOK_SCHEMA } from '../config/form.ts'
import type { FormSchema } from '../config/form.ts'
import { secretsLeftBehind } from '../config/stray-secrets.ts'
import type { Problem } from '../problem.ts'
import { isRecord, textOf } from '../values.ts'

type Item = Readonly<Record<string, unknown>>

const HOOK = {
  id: HOOK_ID,
  name: { type: 'string' },
  isUsable: { type: 'boolean' },
  problem: { type: 'string', optional: true },
  endpoint: { type: 'string', optional: true },
  fields: { type: 'object' },
  etag: { type: 'string' },
} as const

export const FIELDS = { type: 'object', isOpen: true, about: 'its fields, by the names of the form' } as const

export const hookOperations: readonly Operation[] = [
  operation({
    name: 'getHooks',
    rest: ['get', 'hooks'],
    about:
      'The hooks as they are configured. Instead of a secret there is { set: true, fingerprint }: equal secrets have equal fingerprints. Of a URL its origin is shown.',
    params: {},
    result: ITEMS,
    run: async admin => ({ items: admin.hooks }),
  }),
  operation({
    name: 'getHook',
    rest: ['get', 'hooks/{id}'],
    about: 'One hook, as in the list. Its ETag is another one with each change.',
    params: { id: HOOK_ID },
    result: HOOK,
    run: async (admin, { id }) => admin.hook(id),
  }),
  operation({
    name: 'getForm',
    rest: ['get', 'form'],
    about: 'The fields of a hook, with titles, descriptions and choices, as Settings > Plugins shows them.',
    params: {},
    result: { properties: { type: 'object' }, required: { type: 'array' } },
    run: async () => ({ properties: HOOK_SCHEMA?.properties, required: HOOK_SCHEMA?.required }),
  }),
  operation({
    name: 'createHook',
    rest: ['post', 'hooks'],
    about:
      'Adds a hook, as the form does: the body has its fields, like name, method, url, and authentication.token within an object. An id may be given.',
    params: { hook: FIELDS },
    body: 'hook',
    result: HOOK,
    status: 201,
    async run(admin, { hook: { id: given, ...hook } }) {
      refuseUnknownFields(hook)
      let id = ''
      await admin.change(hooks => {
        const taken = new Set(hooks.map(idOf))
        id = newId(given, taken)
        admin.check(hook)
        return [...hooks, { ...hook, id }]
      })
      return admin.hook(id)
    },
  }),
  operation({
    name: 'updateHook',
    rest: ['patch', 'hooks/{id}'],
    about:
      'Changes a hook by a JSON merge patch (RFC 7396) of its fields: what is not named stays, also secrets; null removes. With an If-Match that is not its ETag any more, nothing changes (412).',
    params: {
      id: HOOK_ID,
      hook: FIELDS,
      ifMatch: { type: 'string', optional: true, about: 'etag of an earlier answer; in REST the header If-Match' },
    },
    body: 'hook',
    result: HOOK,
    async run(admin, { id, hook: patch, ifMatch }) {
      refuseUnknownFields(patch)
      await admin.change((hooks, etag) => {
        const before = hooks.find(isHook(id)) ?? noSuchObject(id, 'hook')
        const actual = etag(before)
        if (ifMatch !== undefined && ifMatch !== actual) {
          incorrectState({ actual, expected: ifMatch, object: id, property: 'etag' })
        }
        const after = patched(before, patch)
        admin.check(after)
        refuseAny(secretsLeftBehind(before, after, patch))
        return hooks.map(hook => (hook === before ? after : hook))
      })
      return admin.hook(id)
    },
  }),
  operation({
    name: 'deleteHook',
    rest: ['delete', 'hooks/{id}'],
    about: 'Removes a hook. What waits for it is discarded as "hook removed".',
    params: { id: HOOK_ID },
    run: (admin, { id }) =>
      admin.change(hooks => {
        const hook = hooks.find(isHook(id)) ?? noSuchObject(id, 'hook')
        return hooks.filter(each => each !== hook)
      }),
  }),
  operation({
    name: 'testHook',
    rest: ['post', 'hooks/{id}/actions/test'],
    about:
      'Sends a sample event of each phase, marked as a test, apart from the queue; also of a hook that is disabled.',
    params: { id: HOOK_ID },
    result: ITEMS,
    async run(admin, { id }) {
      if (!admin.settings.hooks.some(hook => hook.id === id)) {
        return admin.settings.others.some(hook => hook.id === id)
          ? incorrectState({ actual: 'unusable', expected: 'usable', object: id, property: 'state' })
          : noSuchObject(id, 'hook')
      }
      return { items: await admin.heavy(`test ${id}`, () => admin.test(id)) }
    },
  }),
]

function idOf(hook: unknown): string | undefined {
  return isRecord(hook) ? textOf(hook['id']) : undefined
}

export function isHook(id: string): (hook: unknown) => hook is Item {
  return (hook): hook is Item => idOf(hook) === id
}

/** @throws `invalidParameters` or `objectAlreadyExists` of xo-common */
function newId(given: unknown, taken: ReadonlySet<string | undefined>): string {
  if (given !== undefined) {
    const id = textOf(given)
    if (id === undefined || !/^[\w-]{1,64}$/.test(id)) {
      return refuse({ path: 'id', expected: 'up to 64 letters, digits, _ and -', got: shownValue(given) })
    }
    return taken.has(id) ? objectAlreadyExists({ objectId: id, objectType: 'hook' }) : id
  }
  let id: string
  do {
    id = randomBytes(4).toString('hex')
  } while (taken.has(id))
  return id
}

/**
 * A JSON merge patch; the id stays. A field that the patch empties is gone.
 *
 * Source: RFC 7396
 */
export function patched(target: Item, patch: Item): Item {
  const result: Record<string, unknown> = { ...target }
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) {
      delete result[name]
    } else if (isRecord(value)) {
      result[name] = patched(isRecord(target[name]) ? target[name] : {}, value)
    } else {
      result[name] = value
    }
  }
  return result
}

/** A field that is misspelt would be kept, and do nothing. @throws `invalidParameters` of xo-common */
export function refuseUnknownFields(fields: Item): void {
  refuseAny(unknownFields(fields, HOOK_SCHEMA, ''))
}

function refuseAny(problems: readonly Problem[]): void {
  if (problems.length > 0) {
    refuse(...problems)
  }
}

function unknownFields(fields: Item, schema: FormSchema | undefined, base: string): Problem[] {
  const known = schema?.properties ?? {}
  return Object.entries(fields).flatMap(([name, value]) => {
    const field = Object.hasOwn(known, name) ? known[name] : undefined
    if (field === undefined) {
      const expected = `one of ${Object.keys(known).join(', ')}`
      return [{ path: (base + name).slice(0, 100), expected, got: 'an unknown field' }]
    }
    return isRecord(value) && field.properties !== undefined ? unknownFields(value, field, `${base}${name}.`) : []
  })
}
