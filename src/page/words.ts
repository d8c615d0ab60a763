import type { DeliveryAnswer, DeliveryStatus } from '../admin/answers.ts'

/** What a status looks like: one shape and one colour for each. */
export type Tone = 'good' | 'bad' | 'warn' | 'idle' | 'off'

export const TONES: Readonly<Record<DeliveryStatus, Tone>> = {
  ...{ delivered: 'good', dead: 'bad', waiting: 'warn' },
  ...{ queued: 'idle', held: 'idle', sending: 'idle', discarded: 'off' },
}

/** In a filter, and in one word. */
export const STATUS_NAMES: Readonly<Record<DeliveryStatus, string>> = {
  ...{ queued: 'queued', held: 'held', sending: 'sending', waiting: 'retrying' },
  ...{ delivered: 'delivered', dead: 'dead', discarded: 'discarded' },
}

/** Example: `retrying, try 3 in 40 s`. */
export function statusWords({ status, attempts, reason, nextAttemptAt }: Stands, now: number): string {
  switch (status) {
    case 'waiting': {
      const next = `try ${attempts + 1}`
      return nextAttemptAt === undefined ? `retrying, ${next}` : `retrying, ${next} ${timeUntil(nextAttemptAt, now)}`
    }
    case 'sending':
      return attempts <= 1 ? 'sending' : `sending, try ${attempts}`
    case 'discarded':
      return reason === undefined ? 'discarded' : `discarded: ${reason}`
    default:
      return STATUS_NAMES[status]
  }
}

type Stands = Pick<DeliveryAnswer, 'status' | 'attempts' | 'reason' | 'nextAttemptAt'>

/** Why a delivery is where it is: what is told first of one. */
export function statusSentence(delivery: Stands & Pick<DeliveryAnswer, 'lastAttempt'>, now: number): string {
  const { status, attempts, reason, nextAttemptAt, lastAttempt } = delivery
  const tries = attempts === 1 ? 'one try' : `${attempts} tries`
  const last = lastAttempt === undefined ? '' : ` The last answer: ${lastAttempt.outcome}.`
  switch (status) {
    case 'delivered':
      return `The receiver took it${attempts > 1 ? ` after ${tries}` : ''}.`
    case 'dead':
      return `Given up after ${tries}: it is not tried again by itself. Replay it once the receiver is mended.${last}`
    case 'waiting': {
      const isDue = nextAttemptAt === undefined || nextAttemptAt <= now
      const when = isDue ? 'once its endpoint answers again, or has room' : timeUntil(nextAttemptAt, now)
      return `Not taken yet after ${tries}. It is tried again ${when}.${last}`
    }
    case 'queued':
      return `It waits for its turn at the endpoint.${last}`
    case 'held':
      return 'It waits until the “pre” of the same call has been settled: the order is kept.'
    case 'sending':
      return 'The request is under way.'
    case 'discarded':
      return `It was dropped${reason === undefined ? '' : `: ${reason}`}. It cannot be sent again.`
  }
}

/** `answer` of an attempt as it is shown: `503`, `timed out`, `unreachable`. */
export function answerWords(answer: string): string {
  return answer === 'timed-out' ? 'timed out' : answer
}

/** What happened, of a method and an outcome: a `pre` has none yet. */
export function phaseOf(outcome: string): 'pre' | 'post' {
  return outcome === 'started' ? 'pre' : 'post'
}

/** Example: `post · failure`. */
export function phaseWords(outcome: string): string {
  return phaseOf(outcome) === 'pre' ? 'pre' : `post · ${outcome}`
}

/** Of a length of time, ms. Examples: `0.4 ms`, `340 ms`, `2.3 s`, `40 s`, `2 min 10 s`, `3 h 5 min`, `2 d`. */
export function duration(ms: number): string {
  if (ms < 1_000) {
    return `${Number(ms.toFixed(ms < 10 ? 1 : 0))} ms`
  }
  const seconds = ms < 9_950 ? Number((ms / 1_000).toFixed(1)) : Math.round(ms / 1_000)
  return seconds < 60
    ? `${seconds} s`
    : seconds < 3_600
      ? pairOf(seconds / 60, 'min', 60, 's')
      : seconds < 172_800
        ? pairOf(seconds / 3_600, 'h', 60, 'min')
        : pairOf(seconds / 86_400, 'd', 24, 'h')
}

/** @param parts - so many of the smaller unit are one of the larger */
function pairOf(number: number, unit: string, parts: number, smaller: string): string {
  const rest = Math.floor((number % 1) * parts + 1e-9)
  return `${Math.floor(number)} ${unit}${rest === 0 ? '' : ` ${rest} ${smaller}`}`
}

/** In whole seconds, so that it does not flicker: `in 40 s`; what should have happened by now is `due`. */
export function timeUntil(at: number, now: number): string {
  const ms = Math.ceil((at - now) / 1_000) * 1_000
  return ms <= 0 ? 'due' : `in ${duration(ms)}`
}

/** One unit is enough for what is over: `just now`, `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`. */
export function timeSince(at: number, now: number): string {
  const seconds = Math.floor((now - at) / 1_000)
  if (seconds < 5) {
    return 'just now'
  }
  const [count, unit] =
    seconds < 60
      ? [seconds, 's']
      : seconds < 3_600
        ? [seconds / 60, 'min']
        : seconds < 172_800
          ? [seconds / 3_600, 'h']
          : [seconds / 86_400, 'd']
  return `${Math.floor(count)} ${unit} ago`
}

/** In the browser's zone. */
export function dateAndTime(at: number): string {
  return new Date(at).toLocaleString()
}

export function timeOfDay(at: number): string {
  return new Date(at).toLocaleTimeString()
}

/** Example: `1,204`. */
export function count(number: number): string {
  return number.toLocaleString()
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`
}

/** Example: `3.2 kB`. */
export function size(bytes: number): string {
  return bytes < 1_000
    ? `${bytes} B`
    : bytes < 1e6
      ? `${(bytes / 1e3).toFixed(1)} kB`
      : `${(bytes / 1e6).toFixed(1)} MB`
}
