import { go } from './navigation.ts'
import type { View } from './place.ts'

/** What the keyboard does, as it is shown. All of it can be done by buttons, too. */
export const KEYS: readonly (readonly [keys: string, meaning: string])[] = [
  ['/', 'search or filter'],
  ['j k', 'next or previous row; also of the delivery that is open'],
  ['Enter', 'open the row'],
  ['Esc', 'close'],
  ['r', 'replay the delivery that is open'],
  ['g o', 'overview'],
  ['g d', 'deliveries'],
  ['g h', 'hooks'],
  ['g e', 'events'],
  ['?', 'this help'],
]

const VIEWS: Readonly<Record<string, View>> = { o: 'overview', d: 'deliveries', h: 'hooks', e: 'events' }

/** A second key belongs to the first for so long. */
const SEQUENCE_MS = 1_500

/** @returns its undo */
export function listenToKeys(help: () => void): () => void {
  let wentAt = Number.NEGATIVE_INFINITY
  const listener = (event: KeyboardEvent): void => {
    const { key, target } = event
    const isTyping = target instanceof HTMLElement && target.matches('input, select, textarea')
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) {
      return
    }
    const view = event.timeStamp - wentAt < SEQUENCE_MS ? VIEWS[key] : undefined
    wentAt = key === 'g' ? event.timeStamp : Number.NEGATIVE_INFINITY
    const window = document.querySelector('dialog[open]')
    if (view !== undefined) {
      go({ view })
    } else if (key === 'r') {
      click(window?.querySelector('[data-replay]'))
    } else if (key === 'j' || key === 'k') {
      const step = key === 'j' ? '1' : '-1'
      click(window === null ? undefined : window.querySelector(`[data-step="${step}"]`))
      if (window === null) {
        focus(document.querySelector('[data-row][tabindex="0"]'))
      }
    } else if (key === '/' && window === null) {
      focus(document.querySelector('[data-search]'))
    } else if (key === '?') {
      help()
    } else {
      return
    }
    event.preventDefault()
  }
  document.addEventListener('keydown', listener)
  return () => document.removeEventListener('keydown', listener)
}

function click(element: Element | null | undefined): void {
  element?.closest<HTMLElement>('a, button')?.click()
}

function focus(element: Element | null): void {
  if (element instanceof HTMLElement) {
    element.focus()
  }
}
