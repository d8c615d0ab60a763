import type { JSX } from 'preact'
import { Fragment, h } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'

import type { DeliveriesAnswer, DeliveryAnswer, HookAnswer } from '../admin/answers.ts'
import { ask } from './api.ts'
import { DeliveryDrawer } from './delivery.tsx'
import { FilterBar } from './filters.tsx'
import { FirstSteps } from './first-steps.tsx'
import { refresh, useLoaded } from './live.ts'
import { go } from './navigation.ts'
import { Action, Awaited, Empty, Status, When } from './parts.tsx'
import { filtersOf, hashOf } from './place.ts'
import type { Filters, Place } from './place.ts'
import { Replay } from './replay.tsx'
import { answerWords, count, duration, phaseWords, plural } from './words.ts'

interface Rows {
  readonly items: readonly DeliveryAnswer[]
  readonly total: number
  readonly next: string | undefined
  /** Of the server's changes: what came after it is not known yet. */
  readonly latest: string
  /** Ids of what came since, and belongs among the rows: these do not move under the hand. */
  readonly fresh: ReadonlySet<string>
}

/** More changes at once are not followed one by one. */
const MAX_CHANGES = 200

export function Deliveries({ place, hooks }: { place: Place; hooks: readonly HookAnswer[] | undefined }): JSX.Element {
  const search = new URLSearchParams(filtersOf(place.query)).toString()
  const filters = useMemo(() => filtersOf(place.query), [search])
  const [round, setRound] = useState(0)
  const older = useRef<DeliveriesAnswer | undefined>(undefined)
  const loaded = useLoaded<Rows>(
    (signal, last) => {
      const page = older.current
      older.current = undefined
      return load(filters, signal, page === undefined ? last : last && extended(last, page))
    },
    [search, round]
  )
  const { data } = loaded
  const items = data?.items ?? []
  const loadMore = async (): Promise<string> => {
    older.current = await ask<DeliveriesAnswer>('GET', ['deliveries'], { query: { ...filters, cursor: data?.next } })
    refresh()
    return `${count(older.current.items.length)} older ones`
  }
  return (
    <>
      <header class='head'>
        <h1>Deliveries</h1>
        {data !== undefined && <p class='count'>{plural(data.total + data.fresh.size, 'delivery', 'deliveries')}</p>}
        <Replay filters={filters} />
      </header>
      <FilterBar filters={filters} hooks={hooks ?? []} />
      {data !== undefined && data.fresh.size > 0 && (
        <p class='fresh' role='status'>
          <button type='button' onClick={() => setRound(round + 1)}>
            {data.fresh.size} new
          </button>
        </p>
      )}
      <Awaited of={loaded}>
        {() =>
          items.length === 0 ? (
            <NothingHere filters={filters} hasHooks={(hooks?.length ?? 1) > 0} />
          ) : (
            <Table items={items} filters={filters} open={place.id} />
          )
        }
      </Awaited>
      {data?.next !== undefined && (
        <p class='more'>
          <Action run={loadMore}>Show older ones</Action>
        </p>
      )}
      {place.id !== undefined && <DeliveryDrawer key={place.id} id={place.id} items={items} filters={filters} />}
    </>
  )
}

function extended(rows: Rows, { items, next }: DeliveriesAnswer): Rows {
  return { ...rows, items: [...rows.items, ...items], next }
}

/** The newest page, or what has changed since: rows are brought up to date in their places, and new ones are counted. */
async function load(filters: Filters, signal: AbortSignal, last: Rows | undefined): Promise<Rows> {
  // a row that is shown stays, also when it is not like the filter any more
  const { status, ...rest } = filters
  const hasRows = last !== undefined && last.items.length > 0
  if (hasRows) {
    const query = { ...rest, since: last.latest, limit: MAX_CHANGES }
    const page = await ask<DeliveriesAnswer>('GET', ['deliveries'], { query, signal })
    if (page.isOutdated !== true && page.hasMore !== true) {
      return updated(last, page, status)
    }
  }
  const page = await ask<DeliveriesAnswer>('GET', ['deliveries'], { query: { ...filters }, signal })
  return hasRows ? updated(last, page, status) : { ...page, next: page.next, fresh: new Set() }
}

function updated(last: Rows, { items, latest }: DeliveriesAnswer, status: string | undefined): Rows {
  if (items.length === 0) {
    return { ...last, latest }
  }
  const changed = new Map(items.map(item => [item.id, item]))
  const shown = new Set(last.items.map(({ id }) => id))
  const end = last.next === undefined ? 0 : (last.items.at(-1)?.acceptedAt ?? 0)
  const fresh = items.filter(
    item =>
      !shown.has(item.id) && item.acceptedAt >= end && (status === undefined || status.split(',').includes(item.status))
  )
  return {
    ...last,
    items: last.items.map(item => changed.get(item.id) ?? item),
    latest,
    fresh: new Set([...last.fresh, ...fresh.map(({ id }) => id)]),
  }
}

function Table({
  items,
  filters,
  open,
}: {
  items: readonly DeliveryAnswer[]
  filters: Filters
  open: string | undefined
}): JSX.Element {
  const body = useRef<HTMLTableSectionElement>(null)
  const [current, setCurrent] = useState(0)
  const focus = (index: number): void => {
    const row = body.current?.rows[Math.min(Math.max(index, 0), items.length - 1)]
    row?.querySelector('a')?.focus()
  }
  // one stop of the Tab key for the whole table: j and k, or the arrows, go on from there
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key]
    if (step !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault()
      event.stopPropagation()
      focus(current + step)
    }
  }
  return (
    <table class='rows deliveries'>
      <caption class='hidden'>Deliveries, the newest first</caption>
      <thead>
        <tr>
          <th scope='col'>Event</th>
          <th scope='col'>Status</th>
          <th scope='col'>Answer</th>
          <th scope='col'>Hook</th>
          <th scope='col' class='number'>
            Tries
          </th>
          <th scope='col' class='number'>
            When
          </th>
        </tr>
      </thead>
      <tbody ref={body} onKeyDown={onKeyDown}>
        {items.map((delivery, index) => {
          const { id, method, outcome, hook, hookName, lastAttempt, attempts, acceptedAt } = delivery
          const to = { view: 'deliveries', id, query: filters as Record<string, string> } as const
          return (
            <tr key={id} class={id === open ? 'open' : undefined} onClick={() => go(to)}>
              <th scope='row' data-label='Event' class='keep'>
                <a
                  href={hashOf(to)}
                  tabIndex={index === Math.min(current, items.length - 1) ? 0 : -1}
                  data-row
                  data-id={id}
                  onFocus={() => setCurrent(index)}
                >
                  <b>{method}</b>
                </a>{' '}
                <span class={`phase ${outcome}`}>{phaseWords(outcome)}</span>
              </th>
              <td data-label='Status' class='keep'>
                <Status delivery={delivery} />
              </td>
              <td data-label='Answer'>
                {lastAttempt === undefined ? (
                  <span class='faint'>–</span>
                ) : (
                  <span class='keep' title={lastAttempt.outcome}>
                    {answerWords(lastAttempt.answer)} <span class='faint'>in {duration(lastAttempt.durationMs)}</span>
                  </span>
                )}
              </td>
              <td data-label='Hook'>{hookName ?? <span class='faint'>{hook} (removed)</span>}</td>
              <td data-label='Tries' class='number'>
                {attempts}
              </td>
              <td data-label='When' class='number'>
                <When at={acceptedAt} />
              </td>
            </tr>
          )
        })}
      </tbody>
    </table>
  )
}

function NothingHere({ filters, hasHooks }: { filters: Filters; hasHooks: boolean }): JSX.Element {
  if (Object.keys(filters).length > 0) {
    return (
      <Empty title='No delivery is like that'>
        <p>
          Nothing has{' '}
          {Object.entries(filters).map(([name, value], index) => (
            <>
              {index > 0 && ' and '}
              {name} <b>{value}</b>
            </>
          ))}
          . <a href='#/deliveries'>Clear the filters</a>
        </p>
      </Empty>
    )
  }
  return hasHooks ? (
    <Empty title='Nothing was sent yet'>
      <p>
        Press <b>Test</b> of a hook under <a href='#/hooks'>Hooks</a> to see whether its receiver answers, or start a VM
        that a hook is about.
      </p>
    </Empty>
  ) : (
    <FirstSteps />
  )
}
