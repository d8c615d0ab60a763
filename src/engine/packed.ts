import type { Outcome, Phase, Source } from '../event/event.ts'
import type { Handing } from '../handing.ts'
import type { Batch, Order } from './protocol.ts'

/**
 * A batch as it crosses to another thread. A message is copied value by value, with the name of each property: that took
 * some 12 µs for a handing of a dozen short texts, most of it on the side that reads. As one text, and how long its parts
 * are, it takes 3 µs.
 */
export interface PackedBatch {
  readonly number: number
  readonly orders: readonly (PackedHand | Exclude<Order, { type: 'hand' }>)[]
}

type PackedHand = readonly [
  number: number,
  callId: string,
  timestamp: number,
  isTest: boolean | undefined,
  object: string | null | undefined,
  /** Of what follows, one after the other: how long the text is, or how many there are of something. */
  lengths: readonly number[],
  /** What is a text in any case: id, party, source, phase, outcome, method, hooks, what was omitted, fields. */
  text: string,
]

export function packed({ number, orders }: Batch): PackedBatch {
  return { number, orders: orders.map(order => (order.type === 'hand' ? packedHand(order) : order)) }
}

export function unpacked({ number, orders }: PackedBatch): Batch {
  return { number, orders: orders.map(order => ('type' in order ? order : unpackedHand(order))) }
}

function packedHand({ number, handing }: Extract<Order, { type: 'hand' }>): PackedHand {
  const { id, party, hooks, event, isTest, object } = handing
  const { source, phase, outcome, method, callId, timestamp, fields, omitted } = event
  let text = id + party + source + phase + outcome + method
  const lengths = [id.length, party.length, source.length, phase.length, outcome.length, method.length]
  for (const texts of [hooks, omitted]) {
    lengths.push(texts.length)
    for (const each of texts) {
      lengths.push(each.length)
      text += each
    }
  }
  for (const [key, value] of fields) {
    lengths.push(key.length, value.length)
    text += key + value
  }
  return [number, callId, timestamp, isTest, object, lengths, text]
}

function unpackedHand([number, callId, timestamp, isTest, object, lengths, text]: PackedHand): Order {
  let place = 0
  let start = 0
  const next = (): string => text.slice(start, (start += lengths[place++]!))
  const some = (): string[] => {
    const texts: string[] = []
    for (let left = lengths[place++]!; left > 0; --left) {
      texts.push(next())
    }
    return texts
  }
  const id = next()
  const party = next()
  const source = next() as Source
  const phase = next() as Phase
  const outcome = next() as Outcome
  const method = next()
  const hooks = some()
  const omitted = some()
  const fields = new Map<string, string>()
  while (place < lengths.length) {
    const key = next()
    fields.set(key, next())
  }
  const handing: Handing = {
    id,
    event: { source, phase, outcome, method, callId, timestamp, fields, omitted },
    hooks,
    party,
    ...(object !== undefined && { object }),
    ...(isTest !== undefined && { isTest }),
  }
  return { type: 'hand', number, handing }
}
