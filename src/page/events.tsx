import type { JSX } from 'preact'
import { Fragment, h } from 'preact'

import type { EventAnswer, RecentEvent } from '../admin/answers.ts'
import { ask } from './api.ts'
import { useLoaded } from './live.ts'
import { replace } from './navigation.ts'
import { Awaited, Empty, Event, Marked, When } from './parts.tsx'
import { hashOf } from './place.ts'
import type { Place } from './place.ts'
import { plural } from './words.ts'

/** More are found by searching: nobody reads seven hundred rows. */
const MAX_SHOWN = 100
const MAX_RECENT = 20
const FRESH_MS = 10_000

interface Listed {
  readonly items: readonly EventAnswer[]
  /** Epoch ms. */
  readonly at: number
}

/** The list is long, and seldom another. */
async function load(signal: AbortSignal, last: Listed | undefined): Promise<Listed> {
  return last !== undefined && Date.now() - last.at < FRESH_MS
    ? last
    : { ...(await ask<Pick<Listed, 'items'>>('GET', ['events'], { signal })), at: Date.now() }
}

/** What a hook can be about, and what happens now. */
export function Events({ place }: { place: Place }): JSX.Element {
  const search = place.query['search'] ?? ''
  const loaded = useLoaded(load, [])
  return (
    <>
      <header class='head'>
        <h1>Events</h1>
        {loaded.data !== undefined && <p class='count'>{plural(loaded.data.items.length, 'event')}</p>}
      </header>
      <Recent hooksOf={method => loaded.data?.items.find(({ name }) => name === method)?.hooks ?? []} />
      <h2>What can be hooked</h2>
      <form class='filters' role='search' aria-label='Search events' onSubmit={event => event.preventDefault()}>
        <label class='wide'>
          <span>Search</span>
          <input
            type='search'
            value={search}
            placeholder='vm start'
            spellcheck={false}
            data-search
            onInput={event => replace({ view: 'events', query: { search: event.currentTarget.value } })}
          />
        </label>
      </form>
      <Awaited of={loaded}>
        {({ items }) => {
          const found = foundIn(items, search)
          return found.length > 0 ? (
            <Found found={found} />
          ) : (
            <Empty title='No event is like that'>
              <p>
                All words must be in its name or description. <a href='#/events'>Show all</a>
              </p>
            </Empty>
          )
        }}
      </Awaited>
    </>
  )
}

/** Each word of the search is in the name or the description; what has it in its name comes first. */
export function foundIn(events: readonly EventAnswer[], search: string): EventAnswer[] {
  const words = search
    .toLowerCase()
    .split(/\s+/)
    .filter(word => word !== '')
  const all = events.filter(({ name, description = '' }) => {
    const text = `${name} ${description}`.toLowerCase()
    return words.every(word => text.includes(word))
  })
  const rank = ({ name, kind }: EventAnswer): number =>
    (words.every(word => name.toLowerCase().includes(word)) ? 0 : 2) + (kind === 'event' ? 0 : 1)
  return all.sort((a, b) => rank(a) - rank(b))
}

function Found({ found }: { found: readonly EventAnswer[] }): JSX.Element {
  return (
    <>
      <table class='rows events'>
        <caption class='hidden'>Events that a hook can be about</caption>
        <thead>
          <tr>
            <th scope='col'>Event</th>
            <th scope='col'>Heard by</th>
            <th scope='col' class='number'>
              Last
            </th>
            <th scope='col'>
              <span class='hidden'>Action</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {found.slice(0, MAX_SHOWN).map(({ name, kind, description, hooks, heardAt }) => (
            <tr key={name}>
              <th scope='row' data-label='Event'>
                <b>{name}</b> <span class='phase'>{kind === 'api' ? 'pre, post' : 'event'}</span>
                {description !== undefined && (
                  <span class='about'>
                    <Marked text={description} />
                  </span>
                )}
              </th>
              <td data-label='Heard by'>
                <HookNames hooks={hooks} />
              </td>
              <td data-label='Last' class='number'>
                {heardAt === undefined ? <span class='faint'>–</span> : <When at={heardAt} />}
              </td>
              <td class='number'>
                <a
                  href={hashOf({ view: 'hooks', id: 'new', query: { method: name } })}
                  aria-label={`Make a hook of ${name}`}
                >
                  Make a hook
                </a>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {found.length > MAX_SHOWN && <p class='faint'>{plural(found.length - MAX_SHOWN, 'more')}: search for them.</p>}
    </>
  )
}

function HookNames({ hooks }: { hooks: EventAnswer['hooks'] }): JSX.Element {
  return hooks.length === 0 ? (
    <span class='faint'>–</span>
  ) : (
    <>
      {hooks.map(({ id, name }, index) => (
        <>
          {index > 0 && ', '}
          <a key={id} href={hashOf({ view: 'hooks', id })}>
            {name}
          </a>
        </>
      ))}
    </>
  )
}

/** The last events that were heard, and which hooks they are for. */
function Recent({ hooksOf }: { hooksOf: (method: string) => EventAnswer['hooks'] }): JSX.Element {
  const loaded = useLoaded(
    signal => ask<{ items: RecentEvent[] }>('GET', ['events', 'recent'], { query: { limit: MAX_RECENT }, signal }),
    []
  )
  return (
    <section aria-label='What happens now'>
      <h2>What happens now</h2>
      <Awaited of={loaded}>
        {({ items }) =>
          items.length === 0 ? (
            <p class='faint'>No hook has heard anything yet. Start a VM that one is about, and it appears here.</p>
          ) : (
            <ol class='recent' tabIndex={0} aria-label='The last events'>
              {items.map(({ id, at, method, outcome, object, callId }) => (
                <li key={id}>
                  <When at={at} />
                  <span>
                    <Event method={method} outcome={outcome} />{' '}
                    {object !== undefined && <span class='faint'>{object}</span>}
                  </span>
                  <span>
                    <HookNames hooks={hooksOf(method)} />
                    {' · '}
                    <a href={hashOf({ view: 'calls', id: callId })}>call</a>
                  </span>
                </li>
              ))}
            </ol>
          )
        }
      </Awaited>
    </section>
  )
}
