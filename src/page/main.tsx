import type { JSX } from 'preact'
import { Fragment, h, render } from 'preact'
import { useEffect, useState } from 'preact/hooks'

import type { HookAnswer } from '../admin/answers.ts'
import { ask, isSignedIn } from './api.ts'
import { Call } from './call.tsx'
import { Deliveries } from './deliveries.tsx'
import { Events } from './events.tsx'
import { Hooks } from './hooks.tsx'
import { listenToKeys, KEYS } from './keys.ts'
import { isWanted, liveness, startLive, useLoaded } from './live.ts'
import { place } from './navigation.ts'
import { Overview } from './overview.tsx'
import { Dialog, Said } from './parts.tsx'
import { hashOf } from './place.ts'
import type { Place, View } from './place.ts'
import { useStore } from './store.ts'

const LINKS: readonly (readonly [view: View, name: string, views: readonly View[]])[] = [
  ['overview', 'Overview', ['overview', 'endpoints']],
  ['deliveries', 'Deliveries', ['deliveries', 'calls']],
  ['hooks', 'Hooks', ['hooks']],
  ['events', 'Events', ['events']],
]

const LIVE_WORDS = {
  stream: ['live', 'What you see is kept up to date'],
  polling: ['every 3 s', 'The server’s hints do not come through: it is asked every 3 s'],
  paused: ['paused', 'What you see is as it was: press to go on'],
} as const

function Page(): JSX.Element {
  const here = useStore(place)
  const signedIn = useStore(isSignedIn)
  const [showsKeys, setShowsKeys] = useState(false)
  const hooks = useLoaded(
    signal => ask<{ items: HookAnswer[] }>('GET', ['hooks'], { signal }).then(({ items }) => items),
    []
  )
  useEffect(() => listenToKeys(() => setShowsKeys(true)), [])
  useEffect(() => {
    document.title = `${LINKS.find(([, , views]) => views.includes(here.view))?.[1] ?? ''} · Web hooks`
  }, [here.view])
  return (
    <>
      <header class='bar'>
        <a class='skip' href={hashOf(here)} onClick={event => skip(event)}>
          To the content
        </a>
        <a class='brand' href='#/'>
          Web hooks
        </a>
        <nav aria-label='Views'>
          {LINKS.map(([view, name, views]) => (
            <a key={view} href={hashOf({ view })} aria-current={views.includes(here.view) ? 'page' : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <div class='side'>
          <Live />
          <button type='button' class='plain' aria-label='Keys' title='Keys (?)' onClick={() => setShowsKeys(true)}>
            ?
          </button>
          <a href='/' title='Back to Xen Orchestra'>
            XO
          </a>
        </div>
      </header>
      <main id='content' tabIndex={-1}>
        {!signedIn && (
          <p class='banner' role='alert'>
            Your session has ended.{' '}
            <button type='button' onClick={() => location.reload()}>
              Sign in again
            </button>
          </p>
        )}
        <Viewed place={here} hooks={hooks} />
      </main>
      {showsKeys && <Keys onClose={() => setShowsKeys(false)} />}
      <Said />
    </>
  )
}

function Viewed({ place, hooks }: { place: Place; hooks: Parameters<typeof Hooks>[0]['hooks'] }): JSX.Element {
  switch (place.view) {
    case 'deliveries':
      return <Deliveries place={place} hooks={hooks.data} />
    case 'calls':
      return <Call id={place.id ?? ''} />
    case 'hooks':
      return <Hooks place={place} hooks={hooks} />
    case 'events':
      return <Events place={place} />
    default:
      return <Overview chosen={place.view === 'endpoints' ? place.id : undefined} />
  }
}

function skip(event: Event): void {
  event.preventDefault()
  document.getElementById('content')?.focus()
}

function Live(): JSX.Element {
  const state = useStore(liveness)
  const wanted = useStore(isWanted)
  const [word, title] = LIVE_WORDS[state]
  return (
    <button
      type='button'
      class={`live ${state}`}
      aria-pressed={wanted}
      title={title}
      onClick={() => isWanted.set(!wanted)}
    >
      <span aria-hidden='true' class='dot' /> {word}
    </button>
  )
}

function Keys({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <Dialog label='Keys' class='ask' onClose={onClose}>
      <h2>Keys</h2>
      <dl class='facts'>
        {KEYS.map(([keys, meaning]) => (
          <div key={keys}>
            <dt>
              {keys.split(' ').map(key => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <p class='buttons'>
        <button type='button' onClick={onClose}>
          Close
        </button>
      </p>
    </Dialog>
  )
}

startLive()
const root = document.getElementById('page')
if (root !== null) {
  render(<Page />, root)
}
