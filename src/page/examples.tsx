import type { JSX } from 'preact'
import { Fragment, h } from 'preact'
import { useEffect, useState } from 'preact/hooks'

import type { TryAnswer } from '../admin/answers.ts'
import { ApiError, ask } from './api.ts'
import { Code, Event, sentence, When } from './parts.tsx'
import { changesOf } from './patch.ts'
import type { Changes } from './patch.ts'
import { pretty } from './texts.ts'
import { count, plural } from './words.ts'

/** Asked for once typing pauses. */
const PAUSE_MS = 400
const MAX_SHOWN = 5

/** A new hook has examples before it has a URL. */
const NOWHERE = { url: 'http://localhost/' }

/** What a hook would have sent of the last events, as it is being written: nothing is sent. */
export function Examples({ hook, changes }: { hook: string | undefined; changes: Changes }): JSX.Element {
  const [answer, setAnswer] = useState<TryAnswer | Error | undefined>()
  const isEmpty = hook === undefined && !changes.get('method')
  useEffect(() => {
    if (isEmpty) {
      return undefined
    }
    const ended = new AbortController()
    const body = {
      ...(hook !== undefined && { id: hook }),
      hook: { ...(hook === undefined && NOWHERE), ...changesOf(changes, hook !== undefined) },
      limit: MAX_SHOWN,
    }
    const timer = setTimeout(() => {
      ask<TryAnswer>('POST', ['hooks', 'actions', 'try'], { body, signal: ended.signal }).then(
        given => setAnswer(given),
        (problem: Error) => {
          if (!ended.signal.aborted) {
            setAnswer(problem)
          }
        }
      )
    }, PAUSE_MS)
    return () => {
      clearTimeout(timer)
      ended.abort()
    }
  }, [hook, changes])
  return (
    <section class='examples' aria-label='Examples'>
      <h2>What it would have sent</h2>
      {isEmpty ? (
        <p class='faint'>Say which events, and examples appear here.</p>
      ) : answer === undefined ? (
        <p class='faint'>The last events are looked through…</p>
      ) : answer instanceof Error ? (
        <p class='faint'>
          {answer instanceof ApiError && answer.status === 422
            ? `Not complete yet: ${answer.message}.`
            : `${sentence(answer.message)}.`}
        </p>
      ) : (
        <Found answer={answer} />
      )}
    </section>
  )
}

function Found({ answer: { heard, matched, items } }: { answer: TryAnswer }): JSX.Element {
  return (
    <>
      <p role='status'>
        {heard === 0
          ? 'No hook has heard an event yet since the plugin was switched on: there is nothing to try it with.'
          : `${count(matched)} of the last ${plural(heard, 'event')} ${matched === 1 ? 'is' : 'are'} like that.`}
      </p>
      {items.map(({ event: { id, at, method, outcome }, verdict, body, problem }, index) => (
        <details key={id} class='example' open={index === 0}>
          <summary>
            <Event method={method} outcome={outcome} />, <When at={at} />
          </summary>
          {body === undefined ? (
            <p class='faint'>{problem ?? (verdict === 'filtered out' ? 'Its filter does not want it.' : 'No text.')}</p>
          ) : (
            <Code label='body' text={pretty(body)} />
          )}
        </details>
      ))}
    </>
  )
}
