import type { JSX } from 'preact'
import { Fragment, h } from 'preact'

import type { CallAnswer, DetailsAnswer } from '../admin/answers.ts'
import { ask } from './api.ts'
import { useLoaded, useNow } from './live.ts'
import { Awaited, Status } from './parts.tsx'
import { hashOf } from './place.ts'
import { answerWords, dateAndTime, duration, phaseOf, phaseWords } from './words.ts'

interface Looked {
  readonly id: string
  readonly items: readonly DetailsAnswer[]
}

/** The attempts of the first so many are shown. */
const MAX_DETAILS = 40

/** What has not changed since it was looked at is not asked for again. */
async function load(id: string, signal: AbortSignal, last: Looked | undefined): Promise<Looked> {
  const { items } = await ask<CallAnswer>('GET', ['calls', id], { signal })
  const known = new Map(last?.items.map(item => [item.id, item]))
  const details = items.map((item, index) => {
    const before = known.get(item.id)
    return before?.history !== undefined && before.status === item.status && before.attempts === item.attempts
      ? before
      : index < MAX_DETAILS
        ? ask<DetailsAnswer>('GET', ['deliveries', item.id], { signal })
        : item
  })
  return { id, items: await Promise.all(details) }
}

/** The `pre` and the `post` of one call, with all that was sent of them, on one axis of time. */
export function Call({ id }: { id: string }): JSX.Element {
  const loaded = useLoaded<Looked>((signal, last) => load(id, signal, last), [id])
  return (
    <>
      {loaded.data === undefined && <h1>Call</h1>}
      <Awaited of={loaded}>{call => <Waterfall call={call} />}</Awaited>
    </>
  )
}

interface Axis {
  /** Epoch ms. */
  readonly start: number
  readonly end: number
}

/** Where on the axis, in percent. */
function placed({ start, end }: Axis, from: number, to: number): { left: string; width: string } {
  const share = (at: number): number => (Math.min(Math.max(at, start), end) - start) / (end - start)
  return { left: `${share(from) * 100}%`, width: `${Math.max(share(to) - share(from), 0) * 100}%` }
}

function Waterfall({ call: { id, items: deliveries } }: { call: Looked }): JSX.Element {
  const now = useNow()
  const start = Math.min(...deliveries.map(({ acceptedAt }) => acceptedAt))
  const ends = deliveries.map(delivery => endOf(delivery, now))
  const axis = { start, end: Math.max(...ends, start + 1) }
  const phases = (['pre', 'post'] as const).map(phase => ({
    phase,
    items: deliveries.filter(({ outcome }) => phaseOf(outcome) === phase),
  }))
  const [pre, post] = phases.map(({ items }) => items[0]?.acceptedAt)
  return (
    <>
      <header class='head'>
        <h1>{deliveries[0]?.method}</h1>
        <p class='count'>
          call <code>{id}</code>
        </p>
        <a class='button' href={hashOf({ view: 'deliveries', query: { call: id } })}>
          As a list
        </a>
      </header>
      <p>
        {dateAndTime(start)}.{' '}
        {pre !== undefined && post !== undefined && (
          <>
            The call took <b>{duration(post - pre)}</b>,{' '}
          </>
        )}
        all that came of it <b>{duration(axis.end - start)}</b>.
      </p>
      <div class='waterfall'>
        <div class='axis' aria-hidden='true'>
          {[0, 0.25, 0.5, 0.75, 1].map(share => (
            <span key={share} style={{ left: `${share * 100}%` }}>
              {share === 0 ? '0' : duration((axis.end - start) * share)}
            </span>
          ))}
        </div>
        {pre !== undefined && post !== undefined && (
          <div class='line'>
            <div class='name'>
              <b>the call itself</b>
            </div>
            <div class='track'>
              <span class='call' style={placed(axis, pre, post)} />
            </div>
          </div>
        )}
        {phases.map(
          ({ phase, items }) =>
            items.length > 0 && (
              <section key={phase} aria-label={phase}>
                <h2>{phaseWords(items[0]?.outcome ?? '')}</h2>
                <ul>
                  {items.map(delivery => (
                    <Line key={delivery.id} delivery={delivery} axis={axis} now={now} />
                  ))}
                </ul>
              </section>
            )
        )}
      </div>
    </>
  )
}

function Line({ delivery, axis, now }: { delivery: DetailsAnswer; axis: Axis; now: number }): JSX.Element {
  const { id, hook, hookName, acceptedAt, history = [] } = delivery
  return (
    <li class='line'>
      <div class='name'>
        <a href={hashOf({ view: 'deliveries', id })}>{hookName ?? hook}</a>
        <Status delivery={delivery} />
      </div>
      <div class='track'>
        <span class='wait' style={placed(axis, acceptedAt, endOf(delivery, now))} />
        {history.map(({ number, at, durationMs, ok }) => (
          <span key={number} class={ok ? 'try good' : 'try bad'} style={placed(axis, at, at + durationMs)} />
        ))}
      </div>
      <p class='faint'>
        {history.length === 0
          ? 'not tried'
          : history
              .map(({ answer, durationMs }) => `${answerWords(answer)} in ${duration(durationMs)}`)
              .join(', then ')}
      </p>
    </li>
  )
}

function isOpen(delivery: DetailsAnswer): boolean {
  return !['delivered', 'dead', 'discarded'].includes(delivery.status)
}

function endOf(delivery: DetailsAnswer, now: number): number {
  const last = delivery.history?.at(-1) ?? delivery.lastAttempt
  const tried = last === undefined ? delivery.acceptedAt : last.at + last.durationMs
  return isOpen(delivery) ? Math.max(now, tried) : Math.max(delivery.endedAt ?? tried, tried)
}
