import type { Inputs } from 'preact/hooks'
import { useEffect, useRef, useState } from 'preact/hooks'

import { createStore } from './store.ts'

const STREAM = '/rest/v0/plugins/web-hooks/stream'

/** How often the server is asked where there is no stream. */
const POLL_MS = 3_000
/** Hints are followed no more often. */
const PACE_MS = 1_000
/** Without a first hint by then, something on the way keeps the stream back. */
const FIRST_HINT_MS = 5_000
/** A stream that was refused is asked for again after so long. */
const RETRY_MS = 30_000

/** `stream`: hints come; `polling`: there is no stream; `paused`: as the user wants, or nobody looks. */
export type Liveness = 'stream' | 'polling' | 'paused'

export const liveness = createStore<Liveness>('paused')

/** The user wants what is shown to be up to date. */
export const isWanted = createStore(true)

/** Goes up when something may have changed. */
export const changes = createStore(0)

/**
 * Keeps {@link changes} going while someone looks: by the server's hints, or else by the clock. Hints carry no data: what
 * is shown is asked for by one way only, so that nothing is missed, whatever happens to the stream.
 */
export function startLive(): void {
  let stream: EventSource | undefined
  let poll: number | undefined
  let patience: number | undefined
  let retry: number | undefined
  let pace: number | undefined
  let isDue = false

  const change = (): void => {
    if (pace !== undefined) {
      isDue = true
      return
    }
    refresh()
    pace = window.setTimeout(() => {
      pace = undefined
      if (isDue) {
        isDue = false
        change()
      }
    }, PACE_MS)
  }

  const polled = (): void => {
    if (liveness.get() !== 'polling') {
      liveness.set('polling')
      poll = window.setInterval(change, POLL_MS)
    }
  }

  const heard = (): void => {
    clearTimeout(patience)
    clearInterval(poll)
    liveness.set('stream')
    change()
  }

  const open = (): void => {
    clearTimeout(retry)
    stream = new EventSource(STREAM)
    patience = window.setTimeout(polled, FIRST_HINT_MS)
    stream.onmessage = heard
    stream.onerror = () => {
      clearTimeout(patience)
      polled()
      // refused: the browser itself tries again only after a cut
      if (stream?.readyState === EventSource.CLOSED) {
        retry = window.setTimeout(open, RETRY_MS)
      }
    }
  }

  const close = (): void => {
    stream?.close()
    for (const timer of [patience, retry, poll]) {
      clearTimeout(timer)
    }
    liveness.set('paused')
  }

  const decide = (): void => {
    close()
    if (!document.hidden && isWanted.get()) {
      open()
      change()
    }
  }
  document.addEventListener('visibilitychange', decide)
  // a page that is kept for the browser's Back must not hold a stream
  window.addEventListener('pagehide', close)
  window.addEventListener('pageshow', event => event.persisted && decide())
  isWanted.listen(decide)
  decide()
}

/** What is shown is asked for anew: something was changed here. */
export function refresh(): void {
  changes.set(changes.get() + 1)
}

/** What the server said last, and what went wrong since. */
export interface Loaded<T> {
  readonly data?: T | undefined
  readonly error?: Error
}

/**
 * What `load` gives, asked for again with every change. The former answer stands until the next one; with other `inputs`
 * nothing of it is left.
 *
 * @param load - is given what it gave last, with these inputs
 */
export function useLoaded<T>(
  load: (signal: AbortSignal, last: T | undefined) => Promise<T>,
  inputs: Inputs
): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({})
  useEffect(() => {
    const ended = new AbortController()
    let data: T | undefined
    let isUnderWay = false
    let isDue = false
    const ask = async (): Promise<void> => {
      if (isUnderWay) {
        isDue = true
        return
      }
      isUnderWay = true
      let next: Loaded<T>
      try {
        data = await load(ended.signal, data)
        next = { data }
      } catch (error) {
        next = { data, error: error as Error }
      }
      isUnderWay = false
      if (ended.signal.aborted) {
        return
      }
      setState(next)
      if (isDue) {
        isDue = false
        void ask()
      }
    }
    setState({})
    void ask()
    const unlisten = changes.listen(ask)
    return () => {
      unlisten()
      ended.abort()
    }
  }, inputs)
  return state
}

const seconds = createStore(Date.now())
let watchers = 0
let clock: number | undefined

/** Calls back every second while somebody looks. @returns its undo */
function listenToClock(listener: () => void): () => void {
  const undo = seconds.listen(listener)
  watchers++
  clock ??= window.setInterval(() => {
    if (!document.hidden) {
      seconds.set(Date.now())
    }
  }, 1_000)
  return () => {
    undo()
    if (--watchers === 0) {
      clearInterval(clock)
      clock = undefined
    }
  }
}

/** The time, every second. What asks for it is drawn as often: see {@link useWords}. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => listenToClock(() => setNow(seconds.get())), [])
  return now
}

/** Words that depend on the time, like `in 40 s`: what shows them is drawn again only when they are others. */
export function useWords(words: (now: number) => string): string {
  const latest = useRef(words)
  latest.current = words
  const text = words(Date.now())
  const [, setText] = useState(text)
  useEffect(() => listenToClock(() => setText(latest.current(seconds.get()))), [])
  return text
}
