import type { JSX } from 'preact'
import { Fragment, h } from 'preact'
import { useState } from 'preact/hooks'

import type { HookAnswer, TestReport } from '../admin/answers.ts'
import { ask } from './api.ts'
import { FirstSteps } from './first-steps.tsx'
import { HookEditor } from './hook-editor.tsx'
import { refresh } from './live.ts'
import type { Loaded } from './live.ts'
import { Action, Awaited, Mark } from './parts.tsx'
import { hashOf } from './place.ts'
import type { Place } from './place.ts'
import { duration, plural } from './words.ts'

/** Which events go where. */
export function Hooks({ place, hooks }: { place: Place; hooks: Loaded<readonly HookAnswer[]> }): JSX.Element {
  const { data } = hooks
  const edited = place.id === undefined || place.id === 'new' ? undefined : data?.find(({ id }) => id === place.id)
  if (place.id !== undefined && (place.id === 'new' || edited !== undefined)) {
    return <HookEditor key={place.id} hook={edited} method={place.query['method']} />
  }
  return (
    <>
      <header class='head'>
        <h1>Hooks</h1>
        {data !== undefined && data.length > 0 && <p class='count'>{plural(data.length, 'hook')}</p>}
        <a class='button' href='#/hooks/new'>
          New hook
        </a>
      </header>
      {data !== undefined && place.id !== undefined && <p class='banner'>There is no such hook any more.</p>}
      <Awaited of={hooks}>
        {items =>
          items.length > 0 ? (
            <ul class='hooks'>
              {items.map(hook => (
                <Hook key={hook.id} hook={hook} />
              ))}
            </ul>
          ) : (
            <FirstSteps />
          )
        }
      </Awaited>
    </>
  )
}

function Hook({ hook }: { hook: HookAnswer }): JSX.Element {
  const [reports, setReports] = useState<readonly TestReport[] | undefined>()
  const { id, name, isUsable, problem, fields } = hook
  const isDisabled = fields['disabled'] === true
  const test = async (): Promise<string> => {
    setReports(undefined)
    const { items } = await ask<{ items: TestReport[] }>('POST', ['hooks', id, 'actions', 'test'])
    setReports(items)
    const failed = items.filter(({ ok }) => !ok).length
    return failed === 0 ? 'The receiver has taken the test' : `${plural(failed, 'test request')} failed`
  }
  const turn = async (): Promise<void> => {
    await ask('PATCH', ['hooks', id], { body: { disabled: isDisabled ? null : true } })
    refresh()
  }
  return (
    <li class='hook' id={id}>
      <div class='who'>
        <h2>
          <a href={hashOf({ view: 'hooks', id })}>{name}</a>
        </h2>
        <p>
          <code>{textOf(fields['method'])}</code>
        </p>
        <p class='faint'>
          {textOf(fields['type']) || 'post'}
          {isSet(fields['status']) && fields['status'] !== 'any' && `, after a ${textOf(fields['status'])}`}
          {' → '}
          {textOf(fields['format']) || 'json'} to {originOf(fields['url'])}
          {fields['waitForResponse'] === true && ', waits for the response'}
          {fields['mayRefuse'] === true && ', may refuse'}
        </p>
      </div>
      <div class='how'>
        {isUsable ? (
          <Mark tone={isDisabled ? 'off' : 'good'}>{isDisabled ? 'disabled: what happens is not sent' : 'on'}</Mark>
        ) : (
          <Mark tone='bad'>left out: {problem ?? 'something in it is wrong'}</Mark>
        )}
        <p class='faint'>
          <a href={hashOf({ view: 'deliveries', query: { hook: id } })}>its deliveries</a>
        </p>
      </div>
      <div class='buttons'>
        {isUsable && (
          <Action run={test} title='Sends a sample of each phase, marked as a test'>
            Test
          </Action>
        )}
        <Action run={turn} done={isDisabled ? 'It is on' : 'It is off: what waits is kept'}>
          {isDisabled ? 'Switch on' : 'Switch off'}
        </Action>
        <a class='button' href={hashOf({ view: 'hooks', id })} aria-label={`Edit ${name}`}>
          Edit
        </a>
      </div>
      {reports !== undefined && <Reports reports={reports} />}
    </li>
  )
}

export function Reports({ reports }: { reports: readonly TestReport[] }): JSX.Element {
  return (
    <ul class='reports'>
      {reports.map(({ type, origin, ok, outcome, hint, durationMs }) => (
        <li key={type}>
          <Mark tone={ok ? 'good' : 'bad'}>
            {type} to {origin}: {outcome}, in {duration(durationMs)}
          </Mark>
          {hint !== undefined && <p class='faint'>{hint}</p>}
        </li>
      ))}
    </ul>
  )
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== ''
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function originOf(value: unknown): string {
  const origin = typeof value === 'object' && value !== null ? (value as { origin?: unknown }).origin : value
  return typeof origin === 'string' ? origin : 'no URL'
}
