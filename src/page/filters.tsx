import type { JSX } from 'preact'
import { h } from 'preact'

import type { HookAnswer } from '../admin/answers.ts'
import { go } from './navigation.ts'
import type { Filters } from './place.ts'
import { dateAndTime, STATUS_NAMES } from './words.ts'

/** What stands for several statuses. */
const STATUSES: readonly (readonly [value: string, name: string])[] = [
  ['', 'any status'],
  ['dead,waiting', 'failing: dead or retrying'],
  ['queued,held,waiting,sending', 'not over yet'],
  ...Object.entries(STATUS_NAMES),
]

const ANSWERS: readonly (readonly [value: string, name: string])[] = [
  ['', 'any answer'],
  ['2xx', '2xx: taken'],
  ['3xx', '3xx: a redirect'],
  ['4xx', '4xx: refused'],
  ['5xx', '5xx: an error there'],
  ['timed-out', 'timed out'],
  ['unreachable', 'unreachable'],
]

/** Which deliveries are listed. What is chosen stands in the page's address at once. */
export function FilterBar({ filters, hooks }: { filters: Filters; hooks: readonly HookAnswer[] }): JSX.Element {
  const change = (name: keyof Filters, value: string): void => {
    const { [name]: _, ...rest } = filters
    go({ view: 'deliveries', query: value === '' ? rest : { ...rest, [name]: value } })
  }
  const others = (['endpoint', 'call', 'object', 'from', 'to'] as const).filter(name => filters[name] !== undefined)
  return (
    <form class='filters' role='search' aria-label='Filter deliveries' onSubmit={event => event.preventDefault()}>
      <Choice label='Status' value={filters.status} options={STATUSES} onChange={value => change('status', value)} />
      <Choice label='Answer' value={filters.answer} options={ANSWERS} onChange={value => change('answer', value)} />
      <Choice
        label='Hook'
        value={filters.hook}
        options={[['', 'any hook'], ...hooks.map(({ id, name }) => [id, name] as const)]}
        onChange={value => change('hook', value)}
      />
      <label>
        <span>Method</span>
        <input
          type='search'
          value={filters.method ?? ''}
          placeholder='vm.*'
          spellcheck={false}
          class={filters.method && 'set'}
          data-search
          onChange={event => change('method', event.currentTarget.value.trim())}
        />
      </label>
      {others.map(name => (
        <span key={name} class='chip'>
          <span>
            {name === 'to' ? 'before' : name} <b>{shown(name, filters[name] ?? '')}</b>
          </span>
          <button type='button' aria-label={`Any ${name}`} onClick={() => change(name, '')}>
            ×
          </button>
        </span>
      ))}
      {Object.keys(filters).length > 0 && (
        <a class='clear' href='#/deliveries'>
          Clear
        </a>
      )}
    </form>
  )
}

function shown(name: string, value: string): string {
  return name === 'from' || name === 'to' ? dateAndTime(/^\d+$/.test(value) ? Number(value) : Date.parse(value)) : value
}

function Choice({
  label,
  value = '',
  options,
  onChange,
}: {
  label: string
  value: string | undefined
  options: readonly (readonly [value: string, name: string])[]
  onChange: (value: string) => void
}): JSX.Element {
  const isKnown = options.some(([each]) => each === value)
  return (
    <label>
      <span>{label}</span>
      <select
        value={value}
        class={value === '' ? undefined : 'set'}
        onChange={event => onChange(event.currentTarget.value)}
      >
        {(isKnown ? options : [...options, [value, value] as const]).map(([each, name]) => (
          <option key={each} value={each}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}
