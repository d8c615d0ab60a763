import type { ComponentChildren, JSX } from 'preact'
import { Fragment, h } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'

import type { DeliveryAnswer } from '../admin/answers.ts'
import { ApiError } from './api.ts'
import { refresh, useWords } from './live.ts'
import type { Loaded } from './live.ts'
import { createStore, useStore } from './store.ts'
import { dateAndTime, phaseWords, statusWords, timeSince, timeUntil, TONES } from './words.ts'
import type { Tone } from './words.ts'

/** One shape for each tone: colour is never all that tells them apart. */
const SHAPES: Readonly<Record<Tone, string>> = {
  good: 'M4.5 8.5l2.5 2.5 4.5-5.5',
  bad: 'M5 5l6 6m0-6l-6 6',
  warn: 'M8 4v8',
  idle: '',
  off: 'M4.5 8h7',
}

export function Mark({ tone, children }: { tone: Tone; children: ComponentChildren }): JSX.Element {
  return (
    <span class={`mark ${tone}`}>
      <svg viewBox='0 0 16 16' aria-hidden='true'>
        <circle cx='8' cy='8' r='6.8' />
        <path d={SHAPES[tone]} />
      </svg>
      <span>{children}</span>
    </span>
  )
}

export function Status({ delivery }: { delivery: DeliveryAnswer }): JSX.Element {
  const words = useWords(now => statusWords(delivery, now))
  return <Mark tone={TONES[delivery.status]}>{words}</Mark>
}

/** What a delivery is about. */
export function Event({ method, outcome }: { method: string; outcome: string }): JSX.Element {
  return (
    <>
      <b>{method}</b> <span class={`phase ${outcome}`}>{phaseWords(outcome)}</span>
    </>
  )
}

/** When something was or will be, in words; the exact time on hovering, and for programs. */
export function When({ at, isAhead = false }: { at: number; isAhead?: boolean }): JSX.Element {
  const words = useWords(now => (isAhead ? timeUntil(at, now) : timeSince(at, now)))
  return (
    <time dateTime={new Date(at).toISOString()} title={dateAndTime(at)}>
      {words}
    </time>
  )
}

function Problem({ error }: { error: Error }): JSX.Element {
  return (
    <div class='problem' role='alert'>
      <Mark tone='bad'>{sentence(error.message)}</Mark>
      <button type='button' onClick={refresh}>
        Try again
      </button>
    </div>
  )
}

/** What was asked for, once it is there; until then that it is not, or why. */
export function Awaited<T>({
  of: { data, error },
  children,
}: {
  of: Loaded<T>
  children: (data: T) => JSX.Element
}): JSX.Element {
  return (
    <>
      {error !== undefined && <Problem error={error} />}
      {data !== undefined ? children(data) : error === undefined && <p class='loading'>Loading…</p>}
    </>
  )
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class='empty'>
      <h2>{title}</h2>
      {children}
    </div>
  )
}

/** A window over the page. Where the focus was before, it is again when the window closes. */
export function Dialog({
  label,
  class: name,
  onClose,
  children,
}: {
  label: string
  class?: string
  onClose: () => void
  children: ComponentChildren
}): JSX.Element {
  const element = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const dialog = element.current
    dialog?.showModal()
    // which gives the focus back
    return () => dialog?.close()
  }, [])
  return (
    <dialog
      ref={element}
      aria-label={label}
      class={name}
      onCancel={event => {
        event.preventDefault()
        onClose()
      }}
      onClick={event => {
        if (event.target === element.current) {
          onClose()
        }
      }}
    >
      <div class='inside'>{children}</div>
      <Said />
    </dialog>
  )
}

/** A description of ours: what stands between backticks is code, between asterisks it is stressed. */
export function Marked({ text }: { text: string }): JSX.Element {
  return (
    <>
      {text
        .split(/(`[^`]+`|\*[^*\s][^*]*\*)/)
        .map((part, index) =>
          index % 2 === 0 ? (
            part
          ) : part.startsWith('`') ? (
            <code>{part.slice(1, -1)}</code>
          ) : (
            <em>{part.slice(1, -1)}</em>
          )
        )}
    </>
  )
}

/** A text of several lines, as it is: nothing in it is markup. */
export function Code({ label, text }: { label: string; text: string }): JSX.Element {
  return (
    <div class='code'>
      <pre tabIndex={0} aria-label={label}>
        {text}
      </pre>
      <Copy text={text} what={label} />
    </div>
  )
}

export function Copy({ text, what, children }: { text: string; what: string; children?: string }): JSX.Element {
  const copy = (): void => {
    // there is no clipboard on a page that came by plain HTTP
    ;(navigator.clipboard?.writeText(text) ?? Promise.reject()).then(
      () => say(`${what}: copied`),
      () => say('Only a page that came by HTTPS may copy: select the text')
    )
  }
  return (
    <button type='button' class='copy' aria-label={`Copy ${what}`} onClick={copy}>
      {children ?? 'Copy'}
    </button>
  )
}

/** Runs one action at a time, tells what came of it, and is a button. */
export function Action({
  run,
  done,
  class: name,
  title,
  children,
}: {
  /** What it gives is said, if it is a text. */
  run: () => Promise<unknown>
  done?: string
  class?: string
  title?: string
  children: ComponentChildren
}): JSX.Element {
  const [isRunning, setRunning] = useState(false)
  const start = (): void => {
    setRunning(true)
    run()
      .then(
        result => say(typeof result === 'string' ? result : (done ?? 'Done')),
        (error: unknown) => say(errorWords(error), 'bad')
      )
      .finally(() => setRunning(false))
  }
  return (
    <button type='button' class={name} title={title} aria-disabled={isRunning} onClick={() => isRunning || start()}>
      {children}
    </button>
  )
}

export function errorWords(error: unknown): string {
  return sentence(error instanceof ApiError || error instanceof Error ? error.message : String(error))
}

export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

interface Said {
  readonly text: string
  readonly tone: Tone
}

const said = createStore<Said | undefined>(undefined)
let silence: ReturnType<typeof setTimeout> | undefined

/** Tells the result of an action, to readers of screens too. */
export function say(text: string, tone: Tone = 'good'): void {
  said.set({ text, tone })
  clearTimeout(silence)
  silence = setTimeout(() => said.set(undefined), 8_000)
}

/** Where {@link say} is heard: in the page, and in each window, as a modal one silences all that is outside of it. */
export function Said(): JSX.Element {
  const now = useStore(said)
  return (
    <div class='said' role='status'>
      {now !== undefined && <Mark tone={now.tone}>{now.text}</Mark>}
    </div>
  )
}
