import type { JSX } from 'preact'
import { Fragment, h } from 'preact'
import { useState } from 'preact/hooks'

import type { EventAnswer, FormSchema, HookAnswer } from '../admin/answers.ts'
import { ApiError, ask } from './api.ts'
import { Examples } from './examples.tsx'
import { refresh, useLoaded } from './live.ts'
import { go } from './navigation.ts'
import { Action, Awaited, Dialog, errorWords, Marked, say, sentence } from './parts.tsx'
import { changesOf, isShownSecret, valueAt } from './patch.ts'
import type { Changes, Value } from './patch.ts'

interface Material {
  readonly form: FormSchema
  readonly names: readonly string[]
}

async function load(): Promise<Material> {
  const [form, { items }] = await Promise.all([
    ask<FormSchema>('GET', ['form']),
    ask<{ items: EventAnswer[] }>('GET', ['events']),
  ])
  return { form, names: items.map(({ name }) => name) }
}

/**
 * The fields of a hook, as Settings > Plugins has them: the server says which there are. Only what is changed here is
 * sent, so that a secret, which is never shown, stays what it is.
 *
 * @param hook - absent: a new one
 * @param method - that a new one begins with
 */
export function HookEditor({
  hook,
  method,
}: {
  hook: HookAnswer | undefined
  method: string | undefined
}): JSX.Element {
  const material = useLoaded<Material>(async (_, last) => last ?? load(), [])
  const [changes, setChanges] = useState<Changes>(() => new Map(method === undefined ? [] : [['method', method]]))
  const [refusal, setRefusal] = useState<ApiError | undefined>()
  const [asksToRemove, setAsksToRemove] = useState(false)
  const change = (path: string, value: Value): void => {
    setChanges(new Map(changes).set(path, value))
    setRefusal(undefined)
  }
  const save = async (): Promise<string> => {
    const body = changesOf(changes, hook !== undefined)
    try {
      await (hook === undefined ? ask('POST', ['hooks'], { body }) : ask('PATCH', ['hooks', hook.id], { body }))
    } catch (problem) {
      setRefusal(problem instanceof ApiError ? problem : undefined)
      throw problem
    }
    refresh()
    go({ view: 'hooks' })
    return 'The hook is saved'
  }
  const remove = async (): Promise<string> => {
    await ask('DELETE', ['hooks', hook?.id ?? ''])
    refresh()
    go({ view: 'hooks' })
    return 'The hook is removed'
  }
  // as the server names it: from the configuration on, or from the hook on
  const wrong = refusal?.path?.replace(/^hooks\[\d+\]\.?/, '')
  return (
    <>
      <header class='head'>
        <h1>{hook === undefined ? 'New hook' : hook.name}</h1>
        <a class='button' href='#/hooks'>
          All hooks
        </a>
      </header>
      <Awaited of={material}>
        {data => (
          <div class='editor'>
            <form
              onSubmit={event => {
                event.preventDefault()
                save().then(
                  words => say(words),
                  (problem: unknown) => say(errorWords(problem), 'bad')
                )
              }}
            >
              <Fields
                schema={data.form}
                base=''
                hook={hook}
                changes={changes}
                change={change}
                wrong={wrong === undefined ? undefined : { path: wrong, words: refusal?.message ?? '' }}
              />
              <datalist id='events'>
                {data.names.map(name => (
                  <option key={name} value={name} />
                ))}
              </datalist>
              <p class='buttons'>
                <button class='main' type='submit'>
                  {hook === undefined ? 'Create' : 'Save'}
                </button>
                {hook !== undefined && (
                  <button type='button' onClick={() => setAsksToRemove(true)}>
                    Remove…
                  </button>
                )}
              </p>
            </form>
            <Examples hook={hook?.id} changes={changes} />
          </div>
        )}
      </Awaited>
      {asksToRemove && (
        <Dialog label='Remove' class='ask' onClose={() => setAsksToRemove(false)}>
          <h2>Remove {hook?.name}?</h2>
          <p>What is waiting for it is discarded. Switching it off keeps both.</p>
          <p class='buttons'>
            <Action run={remove} class='main'>
              Remove it
            </Action>
            <button type='button' onClick={() => setAsksToRemove(false)}>
              Keep it
            </button>
          </p>
        </Dialog>
      )}
    </>
  )
}

interface FieldProps {
  readonly schema: FormSchema
  readonly hook: HookAnswer | undefined
  readonly changes: Changes
  readonly change: (path: string, value: Value) => void
  readonly wrong: { readonly path: string; readonly words: string } | undefined
}

function Fields({ schema, base, ...rest }: FieldProps & { base: string }): JSX.Element {
  return (
    <>
      {Object.entries(schema.properties ?? {}).map(([name, field]) => {
        const path = base + name
        return field.properties === undefined ? (
          <Field
            key={path}
            path={path}
            isRequired={schema.required?.includes(name) === true}
            {...rest}
            schema={field}
          />
        ) : (
          <details key={path} open={isUsed(path, rest)}>
            <summary>{field.title}</summary>
            <div>
              <p class='faint'>
                <Marked text={field.description ?? ''} />
              </p>
              <Fields {...rest} schema={field} base={`${path}.`} />
            </div>
          </details>
        )
      })}
    </>
  )
}

function isUsed(path: string, { hook, wrong }: Omit<FieldProps, 'schema'>): boolean {
  return valueAt(hook?.fields, path) !== undefined || wrong?.path.startsWith(`${path}.`) === true
}

/** Their values are shown as dots. */
const HIDDEN = /(?:token|password|passphrase)$/

function Field({
  path,
  schema,
  isRequired,
  hook,
  changes,
  change,
  wrong,
}: FieldProps & { path: string; isRequired: boolean }): JSX.Element {
  const { type, title = path, description = '' } = schema
  const saved = valueAt(hook?.fields, path)
  const value = changes.has(path) ? changes.get(path) : isShownSecret(saved) ? undefined : saved
  const isWrong = wrong !== undefined && wrong.path === path
  const id = `field-${path}`
  const shared = {
    id,
    'aria-describedby': `${id}-about`,
    'aria-invalid': isWrong,
    onInput: ({ currentTarget }: { currentTarget: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement }) =>
      change(
        path,
        currentTarget instanceof HTMLInputElement && type === 'boolean' ? currentTarget.checked : currentTarget.value
      ),
  }
  const about = (
    <p id={`${id}-about`}>
      {isWrong && <b class='bad'>{sentence(wrong.words)}. </b>}
      <Marked text={description} />
    </p>
  )
  if (type === 'boolean') {
    return (
      <div class='field check'>
        <input type='checkbox' checked={value === true} {...shared} />
        <label for={id}>{title}</label>
        {about}
      </div>
    )
  }
  return (
    <div class='field'>
      <label for={id}>{title}</label>
      <Input schema={schema} value={textOf(value)} saved={saved} path={path} isRequired={isRequired} shared={shared} />
      {isShownSecret(saved) && (
        <button type='button' class='plain' onClick={() => change(path, changes.get(path) === null ? undefined : null)}>
          {changes.get(path) === null
            ? `Keep the ${title.toLowerCase()} after all`
            : `Remove the ${title.toLowerCase()}`}
        </button>
      )}
      {path.endsWith('passphrase') && (
        <button type='button' class='plain' onClick={() => change(path, newSecret())}>
          Make a secret
        </button>
      )}
      {about}
    </div>
  )
}

function Input({
  schema,
  value,
  saved,
  path,
  isRequired,
  shared,
}: {
  schema: FormSchema
  value: string
  saved: unknown
  path: string
  isRequired: boolean
  shared: object
}): JSX.Element {
  const { type, enum: choices, enumNames = [], min, max } = schema
  if (choices !== undefined) {
    return (
      <select value={value === '' ? schema.default : value} {...shared}>
        {choices.map((choice, index) => (
          <option key={choice} value={choice}>
            {enumNames[index] ?? choice}
          </option>
        ))}
      </select>
    )
  }
  const placeholder = isShownSecret(saved)
    ? `${saved.origin ?? ''} set · ${saved.fingerprint}: leave empty to keep`
    : ''
  const common = { value, placeholder, spellcheck: false, autocomplete: 'off', ...shared }
  if (schema.$multiline === true) {
    return <textarea {...common} />
  }
  return (
    <input
      // what was just made must be copied to the receiver
      type={type === 'number' ? 'number' : HIDDEN.test(path) && !value.startsWith('whsec_') ? 'password' : 'text'}
      required={isRequired && placeholder === ''}
      {...(type === 'number' && { min, max })}
      {...(path === 'method' && { list: 'events' })}
      {...common}
    />
  )
}

function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

/** Of Standard Webhooks: 24 random bytes. */
function newSecret(): string {
  return `whsec_${btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))))}`
}
