import type { JSX } from 'preact'
import { Fragment, h } from 'preact'

import type { DeliveryAnswer, DetailsAnswer, PastAttempt } from '../admin/answers.ts'
import { ask } from './api.ts'
import { refresh, useLoaded, useNow } from './live.ts'
import { go } from './navigation.ts'
import { Action, Awaited, Code, Copy, Dialog, Event, Mark, sentence, Status, When } from './parts.tsx'
import { hashOf } from './place.ts'
import type { Filters } from './place.ts'
import { curlOf, pretty } from './texts.ts'
import { answerWords, dateAndTime, duration, size, statusSentence, timeOfDay } from './words.ts'

const IS_OVER: ReadonlySet<string> = new Set(['delivered', 'discarded'])

/** All that there is to know of one delivery, beside the list that it is in. */
export function DeliveryDrawer({
  id,
  items,
  filters,
}: {
  id: string
  items: readonly DeliveryAnswer[]
  filters: Filters
}): JSX.Element {
  const loaded = useLoaded<DetailsAnswer>(
    (signal, last) =>
      // what is over stays as it is, and its attempts have to be looked for in the log each time
      last?.history !== undefined && IS_OVER.has(last.status)
        ? Promise.resolve(last)
        : ask('GET', ['deliveries', id], { signal }),
    [id]
  )
  const index = items.findIndex(item => item.id === id)
  const query = filters as Record<string, string>
  const close = (): void => go({ view: 'deliveries', query })
  const delivery = loaded.data ?? items[index]
  return (
    <Dialog label='Delivery' class='drawer' onClose={close}>
      <header class='head'>
        <h2 tabIndex={-1} autofocus>
          {delivery === undefined ? 'Delivery' : <Event method={delivery.method} outcome={delivery.outcome} />}
        </h2>
        <nav aria-label='Neighbours'>
          {([-1, 1] as const).map(step => {
            const other = items[index + step]?.id
            return (
              index !== -1 &&
              other !== undefined && (
                <a
                  key={step}
                  class='button'
                  data-step={step}
                  aria-label={step === -1 ? 'Newer delivery' : 'Older delivery'}
                  href={hashOf({ view: 'deliveries', id: other, query })}
                >
                  {step === -1 ? '↑' : '↓'}
                </a>
              )
            )
          })}
          <button type='button' aria-label='Close' title='Close (Esc)' onClick={close}>
            ✕
          </button>
        </nav>
      </header>
      <Awaited of={loaded}>{data => <Delivery delivery={data} />}</Awaited>
    </Dialog>
  )
}

function Delivery({ delivery }: { delivery: DetailsAnswer }): JSX.Element {
  const now = useNow()
  const { id, hook, hookName, endpoint, call, object, status, acceptedAt, endedAt, bytes, request } = delivery
  const act = async (verb: 'POST' | 'DELETE', path: readonly string[]): Promise<void> => {
    await ask(verb, ['deliveries', id, ...path])
    refresh()
  }
  const isOver = IS_OVER.has(status)
  return (
    <>
      <p class='verdict'>
        <Status delivery={delivery} />
      </p>
      <p>{statusSentence(delivery, now)}</p>
      <p class='buttons'>
        {!isOver && (
          <Action
            run={() => act('POST', ['actions', 'replay'])}
            done='It is tried again'
            class='main'
            title='Replay (r)'
          >
            <span data-replay>{status === 'dead' ? 'Replay' : 'Try now'}</span>
          </Action>
        )}
        {!isOver && (
          <Action run={() => act('DELETE', [])} done='It is cancelled'>
            {status === 'dead' ? 'Drop' : 'Cancel'}
          </Action>
        )}
        <Copy text={location.href} what='link'>
          Copy link
        </Copy>
      </p>
      <dl class='facts'>
        <Fact name='Hook'>
          <a href={hashOf({ view: 'hooks', id: hook })}>{hookName ?? hook}</a>
        </Fact>
        {endpoint !== undefined && (
          <Fact name='Endpoint'>
            <a href={hashOf({ view: 'endpoints', id: endpoint })}>{endpoint}</a>
          </Fact>
        )}
        {object !== undefined && <Fact name='Object'>{object}</Fact>}
        {call !== undefined && (
          <Fact name='Call'>
            <a href={hashOf({ view: 'calls', id: call })}>{call}</a>: all that came of it
          </Fact>
        )}
        <Fact name='Happened'>
          <time dateTime={new Date(acceptedAt).toISOString()}>{dateAndTime(acceptedAt)}</time>, <When at={acceptedAt} />
        </Fact>
        {endedAt !== undefined && <Fact name='Over after'>{duration(Math.max(0, endedAt - acceptedAt))}</Fact>}
        {bytes !== undefined && <Fact name='Body'>{size(bytes)}</Fact>}
        <Fact name='Id'>
          <code>{id}</code>
        </Fact>
      </dl>
      <h3>Attempts</h3>
      <Timeline delivery={delivery} />
      <h3>Request</h3>
      {request === undefined ? (
        <p class='faint'>The body is kept until a delivery is over, and this one is.</p>
      ) : (
        <>
          <table class='headers'>
            <caption class='hidden'>Headers</caption>
            <tbody>
              {Object.entries(request.headers).map(([name, value]) => (
                <tr key={name}>
                  <th scope='row'>{name}</th>
                  <td>{value}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <p class='faint'>What lets it in (tokens, passwords, signatures) is the endpoint’s, and never shown.</p>
          {request.body === undefined ? (
            <p class='faint'>The body is large, or no text.</p>
          ) : (
            <>
              <Code label='body' text={pretty(request.body)} />
              <Copy text={curlOf(request.headers, request.body)} what='as curl'>
                Copy as curl
              </Copy>
            </>
          )}
        </>
      )}
    </>
  )
}

export function Fact({
  name,
  children,
}: {
  name: string
  children: JSX.Element | string | (JSX.Element | string)[]
}): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

const TRIGGERS: Readonly<Record<string, string>> = {
  ...{
    event: 'at once',
    retry: 'by the schedule',
    replay: 'replayed',
    test: 'a test',
    probe: 'a probe of the endpoint',
  },
}

function Timeline({
  delivery: { history, status, attempts, nextAttemptAt },
}: {
  delivery: DetailsAnswer
}): JSX.Element {
  if (history === undefined) {
    return <p class='faint'>The log cannot be read at present.</p>
  }
  return (
    <ol class='timeline'>
      {history.map(attempt => (
        <Attempt key={`${attempt.number} ${attempt.at}`} attempt={attempt} />
      ))}
      {status === 'waiting' && nextAttemptAt !== undefined && (
        <li class='planned'>
          <Mark tone='idle'>
            Try {attempts + 1}: <When at={nextAttemptAt} isAhead />, at {timeOfDay(nextAttemptAt)}
          </Mark>
        </li>
      )}
      {history.length === 0 && status !== 'waiting' && <li class='faint'>It has not been tried yet.</li>}
    </ol>
  )
}

function Attempt({ attempt }: { attempt: PastAttempt }): JSX.Element {
  const { number, trigger, at, durationMs, answer, ok, outcome, excerpt } = attempt
  return (
    <li>
      <Mark tone={ok ? 'good' : 'bad'}>
        <b>
          Try {number}: {answerWords(answer)}
        </b>{' '}
        after {duration(durationMs)}
      </Mark>
      <p class='faint'>
        <time dateTime={new Date(at).toISOString()} title={dateAndTime(at)}>
          {timeOfDay(at)}
        </time>
        , {TRIGGERS[trigger] ?? trigger}
        {!ok && outcome !== `answered ${answer}` && `. ${sentence(outcome)}`}
      </p>
      {excerpt !== undefined && excerpt !== '' && (
        <details open={!ok}>
          <summary>Answer</summary>
          <Code label={`answer to try ${number}`} text={excerpt} />
        </details>
      )}
    </li>
  )
}
