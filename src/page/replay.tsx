import type { JSX } from 'preact'
import { Fragment, h } from 'preact'
import { useState } from 'preact/hooks'

import { ask } from './api.ts'
import { refresh } from './live.ts'
import { Action, Dialog } from './parts.tsx'
import type { Filters } from './place.ts'
import { count, plural } from './words.ts'

/** So many are replayed by one request at most. */
const MAX_REPLAYED = 10_000

interface ReplayAnswer {
  readonly matched: number
  readonly replayed: number
}

/** Sends dead letters again, all that a filter means: first says how many. */
export function Replay({ filters, label = 'Replay what matches…' }: { filters: Filters; label?: string }): JSX.Element {
  const [matched, setMatched] = useState<number | undefined>()
  // replayed are dead letters only, whatever else is listed
  const { status: _, ...filter } = filters
  const post = (rest: object): Promise<ReplayAnswer> =>
    ask('POST', ['deliveries', 'actions', 'replay'], { body: { filter: filter, ...rest } })
  const look = async (): Promise<string> => {
    const { matched } = await post({ dryRun: true })
    if (matched > 0) {
      setMatched(matched)
      return `${plural(matched, 'dead delivery', 'dead deliveries')}`
    }
    return 'Nothing to replay: no delivery that matches is dead'
  }
  const replay = async (): Promise<string> => {
    try {
      const { replayed } = await post({ limit: MAX_REPLAYED })
      refresh()
      return `${plural(replayed, 'delivery is', 'deliveries are')} tried again`
    } finally {
      setMatched(undefined)
    }
  }
  return (
    <>
      <Action run={look}>{label}</Action>
      {matched !== undefined && (
        <Dialog label='Replay' class='ask' onClose={() => setMatched(undefined)}>
          <h2>Replay {plural(Math.min(matched, MAX_REPLAYED), 'delivery', 'deliveries')}?</h2>
          <p>
            Each keeps its body and its id, so that receivers can tell it from a new one. The oldest goes first.
            {Object.keys(filter).length === 0 && ' No filter is set: these are all that are dead.'}
            {matched > MAX_REPLAYED && ` ${count(matched)} match: do it again for the rest.`}
          </p>
          <p class='buttons'>
            <Action run={replay} class='main'>
              Replay {count(Math.min(matched, MAX_REPLAYED))}
            </Action>
            <button type='button' onClick={() => setMatched(undefined)}>
              Leave them
            </button>
          </p>
        </Dialog>
      )}
    </>
  )
}
