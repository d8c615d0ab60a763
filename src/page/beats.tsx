import type { JSX } from 'preact'
import { h } from 'preact'
import { useState } from 'preact/hooks'

import type { EndpointAnswer } from '../admin/answers.ts'
import { hashOf } from './place.ts'
import { plural, timeOfDay } from './words.ts'

const MINUTE_MS = 60_000
const [WIDTH, HEIGHT] = [5, 20]
type Minutes = NonNullable<EndpointAnswer['statistics']>['minutes']

/** A single failure among many must be seen. */
const LEAST_SHARE = 0.3

/**
 * What an endpoint was like in the last hour: a bar a minute. It is one link, to the deliveries of the minute that the
 * mouse or the arrow keys have chosen: sixty links would be as many stops of the Tab key.
 */
export function Beats({ id, minutes }: { id: string; minutes: Minutes }): JSX.Element {
  const [chosen, setChosen] = useState<number | undefined>()
  const { from, delivered, failed } = minutes
  const { length } = delivered
  const choose = (index: number): void => setChosen(Math.min(length - 1, Math.max(0, Math.floor(index))))
  const [first, last] = chosen === undefined ? [0, length] : [chosen, chosen + 1]
  const [start, end] = [from + first * MINUTE_MS, from + last * MINUTE_MS]
  const sum = (counts: readonly number[]): number => counts.slice(first, last).reduce((all, each) => all + each, 0)
  const [good, bad] = [sum(delivered), sum(failed)]
  const words = `${chosen === undefined ? 'Last hour' : timeOfDay(start)}: ${
    good + bad === 0 ? 'nothing sent' : `${plural(good, 'try', 'tries')} delivered${bad > 0 ? `, ${bad} failed` : ''}`
  }`
  return (
    <div class='beats'>
      <a
        href={hashOf({ view: 'deliveries', query: { endpoint: id, from: String(start), to: String(end) } })}
        aria-label={words}
        onMouseMove={({ currentTarget, clientX }) => {
          const { left, width } = currentTarget.getBoundingClientRect()
          choose(((clientX - left) / width) * length)
        }}
        onMouseLeave={() => setChosen(undefined)}
        onBlur={() => setChosen(undefined)}
        onKeyDown={event => {
          const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
          if (step !== undefined) {
            event.preventDefault()
            choose((chosen ?? length) + step)
          }
        }}
      >
        <svg viewBox={`0 0 ${length * WIDTH} ${HEIGHT}`} preserveAspectRatio='none' aria-hidden='true'>
          {chosen !== undefined && <rect class='under' x={chosen * WIDTH - 0.5} width={WIDTH + 0.5} height={HEIGHT} />}
          {delivered.map((count, index) => (
            <Bar key={index} x={index * WIDTH + 0.5} good={count} bad={failed[index] ?? 0} />
          ))}
        </svg>
      </a>
      <p class='faint' aria-hidden='true'>
        {words}
      </p>
    </div>
  )
}

/** Nothing sent is a dot; what was delivered stands on top of what has failed. */
function Bar({ x, good, bad }: { x: number; good: number; bad: number }): JSX.Element {
  const at = { x, width: WIDTH - 1.5 }
  if (good + bad === 0) {
    return <rect class='none' {...at} y={HEIGHT - 3} height={2} />
  }
  const share = bad === 0 ? 0 : Math.max(LEAST_SHARE, bad / (good + bad))
  const edge = HEIGHT * (1 - share)
  return (
    <g>
      {good > 0 && <rect class='good' {...at} height={edge - (bad > 0 ? 1 : 0)} />}
      {bad > 0 && <rect class='bad' {...at} y={good > 0 ? edge : 0} height={good > 0 ? HEIGHT - edge : HEIGHT} />}
    </g>
  )
}
