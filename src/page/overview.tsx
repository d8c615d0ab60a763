import type { JSX } from 'preact'
import { Fragment, h } from 'preact'

import type { EndpointAnswer, HealthAnswer } from '../admin/answers.ts'
import { ask } from './api.ts'
import { Beats } from './beats.tsx'
import { FirstSteps } from './first-steps.tsx'
import { refresh, useLoaded, useWords } from './live.ts'
import { Action, Awaited, Mark, When } from './parts.tsx'
import { hashOf } from './place.ts'
import { Replay } from './replay.tsx'
import { count, duration, plural } from './words.ts'
import type { Tone } from './words.ts'

type State = EndpointAnswer['state']

const STATES: Readonly<Record<State, readonly [tone: Tone, words: string]>> = {
  working: ['good', 'answers'],
  failing: ['warn', 'failing'],
  'held back': ['bad', 'failing'],
  paused: ['idle', 'paused'],
  disabled: ['bad', 'disabled'],
  unusable: ['off', 'left out'],
}

const UNUSED = ['idle', 'nothing sent yet'] as const

const NOT_OVER = 'queued,held,waiting,sending'

/** What needs a look comes first. */
const ORDER: readonly State[] = ['disabled', 'held back', 'failing', 'unusable', 'paused', 'working']

interface Overviewed {
  readonly health: HealthAnswer
  readonly endpoints: readonly EndpointAnswer[]
}

async function load(signal: AbortSignal): Promise<Overviewed> {
  const [health, { items }] = await Promise.all([
    ask<HealthAnswer>('GET', ['health'], { signal }),
    ask<{ items: EndpointAnswer[] }>('GET', ['endpoints'], { signal }),
  ])
  const place = ({ state }: EndpointAnswer): number => ORDER.indexOf(state)
  return { health, endpoints: items.sort((a, b) => place(a) - place(b)) }
}

/** @param chosen - id of the endpoint that is shown first, as links of mails want it */
export function Overview({ chosen }: { chosen: string | undefined }): JSX.Element {
  const loaded = useLoaded(load, [])
  return (
    <>
      {loaded.data === undefined && <h1>Overview</h1>}
      <Awaited of={loaded}>{data => <Shown {...data} chosen={chosen} />}</Awaited>
    </>
  )
}

function Shown({ health, endpoints, chosen }: Overviewed & { chosen: string | undefined }): JSX.Element {
  if (endpoints.length === 0) {
    return <FirstSteps />
  }
  const { accepted, delivered, pending, dead, discarded, lastHour, journal } = health
  const dropped = Object.values(discarded).reduce((sum, each) => sum + each, 0)
  const tried = delivered + dead
  return (
    <>
      <Verdict endpoints={endpoints} />
      {journal !== undefined && (
        <p class='banner'>
          <Mark tone='bad'>
            The journal is not in use: {journal}. What waits would be lost when xo-server restarts.
          </Mark>
        </p>
      )}
      <ul class='figures'>
        <Figure name='delivered' words={tried === 0 ? '–' : `${percent(delivered, tried)} %`} />
        <Figure
          name='waiting'
          words={count(pending)}
          href={hashOf({ view: 'deliveries', query: { status: NOT_OVER } })}
        />
        <Figure name='dead' words={count(dead)} href='#/deliveries?status=dead' tone={dead > 0 ? 'bad' : undefined} />
        <Figure name='tries in the last hour' words={count(lastHour.delivered + lastHour.failed)} />
      </ul>
      <h2>Endpoints</h2>
      <ul class='endpoints'>
        {endpoints.map(endpoint => (
          <Endpoint key={endpoint.id} endpoint={endpoint} isChosen={endpoint.id === chosen} />
        ))}
      </ul>
      <p class='ledger'>
        {count(accepted)} accepted = {count(delivered)} delivered + {count(pending)} waiting + {count(dead)} dead +{' '}
        {count(dropped)} discarded
        {dropped > 0 &&
          ` (${Object.entries(discarded)
            .map(([why, number]) => `${why}: ${count(number)}`)
            .join(', ')})`}
      </p>
    </>
  )
}

function percent(part: number, whole: number): string {
  const share = (part / whole) * 100
  // 99.96 % is not 100 %
  return share === 100 ? '100' : (Math.floor(share * 10) / 10).toString()
}

function Verdict({ endpoints }: { endpoints: readonly EndpointAnswer[] }): JSX.Element {
  const used = endpoints.filter(({ state }) => state !== 'unusable')
  const bad = used.filter(({ state }) => state === 'failing' || state === 'held back' || state === 'disabled')
  const left = endpoints.length - used.length
  const paused = used.filter(({ state }) => state === 'paused').length
  const notes = [
    ...(paused > 0 ? [`${paused} paused`] : []),
    ...(left > 0 ? [`${plural(left, 'hook is', 'hooks are')} left out`] : []),
  ]
  const words =
    bad.length > 0
      ? `${bad.length} of ${plural(used.length, 'receiver')} ${bad.length === 1 ? 'fails' : 'fail'}`
      : used.length === 1
        ? 'The receiver answers'
        : `All ${count(used.length)} receivers answer`
  return (
    <header class='head verdict'>
      <h1>
        <Mark tone={bad.length > 0 ? 'bad' : 'good'}>{words}</Mark>
      </h1>
      {notes.length > 0 && <p class='faint'>{notes.join(', ')}</p>}
    </header>
  )
}

function Figure({
  name,
  words,
  href,
  tone,
}: {
  name: string
  words: string
  href?: string
  tone?: Tone | undefined
}): JSX.Element {
  const inside = (
    <>
      <b class={tone}>{words}</b> <span>{name}</span>
    </>
  )
  return <li>{href === undefined ? <div>{inside}</div> : <a href={href}>{inside}</a>}</li>
}

function Endpoint({ endpoint, isChosen }: { endpoint: EndpointAnswer; isChosen: boolean }): JSX.Element {
  const {
    id,
    origin,
    hooks,
    state,
    since,
    reason,
    waiting,
    dead,
    delivered,
    nextTryAt,
    lastError,
    oldestAt,
    statistics,
  } = endpoint
  const [tone, words] = state === 'working' && delivered === 0 ? UNUSED : STATES[state]
  const act = async (verb: 'pause' | 'resume'): Promise<void> => {
    await ask('POST', ['endpoints', id, 'actions', verb])
    refresh()
  }
  const isWell = state === 'working'
  return (
    <li
      id={id}
      class={isChosen ? 'endpoint chosen' : 'endpoint'}
      ref={element => void (isChosen && element?.scrollIntoView?.({ block: 'nearest' }))}
    >
      <div class='who'>
        <h3>{hooks.map(({ name }) => name).join(', ') || 'of no hook any more'}</h3>
        <p class='faint'>{origin ?? 'its hook is left out'}</p>
      </div>
      <div class='how'>
        <Mark tone={tone}>
          {words}
          {since !== undefined && <Since at={since} />}
        </Mark>
        {nextTryAt !== undefined && (
          <p>
            next try <When at={nextTryAt} isAhead />
          </p>
        )}
        {!isWell && (reason ?? lastError) !== undefined && <p class='error'>{reason ?? lastError}</p>}
        <p class='faint'>
          {latencyWords(statistics)}
          {count(delivered)} delivered
          <Counted endpoint={id} status={NOT_OVER} number={waiting} word='waiting' />
          {oldestAt !== undefined && (
            <>
              , the oldest <When at={oldestAt} />
            </>
          )}
          <Counted endpoint={id} status='dead' number={dead} word='dead' />
        </p>
      </div>
      {statistics === undefined ? <span /> : <Beats id={id} minutes={statistics.minutes} />}
      <div class='buttons'>
        {state !== 'unusable' && (
          <>
            {state !== 'paused' && (
              <Action run={() => act('pause')} done='Nothing is sent there until you resume it'>
                Pause
              </Action>
            )}
            {!isWell && (
              <Action run={() => act('resume')} done='It gets a new chance'>
                {state === 'paused' || state === 'disabled' ? 'Resume' : 'Try now'}
              </Action>
            )}
            {dead > 0 && <Replay filters={{ endpoint: id }} label='Replay dead…' />}
          </>
        )}
      </div>
    </li>
  )
}

function Counted({
  endpoint,
  status,
  number,
  word,
}: {
  endpoint: string
  status: string
  number: number
  word: string
}): JSX.Element | null {
  return number === 0 ? null : (
    <>
      {' · '}
      <a href={hashOf({ view: 'deliveries', query: { endpoint, status } })}>
        {count(number)} {word}
      </a>
    </>
  )
}

function Since({ at }: { at: number }): JSX.Element {
  return <> for {useWords(now => duration(Math.max(0, now - at)))}</>
}

/** Half of the requests of the last hour took no longer than `p50`, 95 % no longer than `p95`; ms. */
function latencyWords({ p50, p95 }: { p50?: number; p95?: number } = {}): string {
  return p50 === undefined || p95 === undefined ? '' : `half within ${duration(p50)}, most within ${duration(p95)} · `
}
