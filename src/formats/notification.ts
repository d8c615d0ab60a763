import type { Message } from './message.ts'
import { cut, fitted, units, withoutLinks } from './text.ts'
import type { Measure } from './text.ts'

/**
 * A message for services that show a title and a plain text, most often on the lock screen of a phone, of which the first
 * lines are all that is seen: so the title names the object, and the error comes first.
 */

export function notificationTitle({ title, object }: Message, max: number, emoji = ''): string {
  return cut(withoutLinks(`${emoji} ${object === undefined ? title : `${title}: ${object.name}`}`.trim()), max)
}

/**
 * Never empty.
 *
 * @param end - the last line, which is kept however long the rest is
 * @param max - of the text, in the unit of `measure`
 */
export function notificationText(
  { details, facts, object }: Message,
  end: string,
  max: number,
  measure: Measure = units
): string {
  const fit = (text: string, room: number): string => fitted(withoutLinks(text), room, undefined, measure)
  const lines = facts.filter(({ label }) => label !== object?.kind).map(({ label, value }) => `${label}: ${value}`)
  const last = withoutLinks(end)
  const room = max - measure(`\n${last}`)
  const rest = lines.length === 0 ? '' : fit(`\n${lines.join('\n')}`, Math.floor((room * 3) / 4))
  const cause = details === undefined ? '' : fit(details, room - measure(rest))
  return `${cause}${rest}\n${last}`.trimStart()
}
