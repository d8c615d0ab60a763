import type { Delivery, Route } from './delivery/delivery.ts'
import { sharedTexts } from './delivery/texts.ts'
import { withObject } from './event/event.ts'
import type { Event } from './event/event.ts'
import { createdIdOf, idIn } from './event/object.ts'
import { searchableOf } from './filter.ts'
import type { Searchable } from './filter.ts'
import { formats, messageAbout } from './formats/index.ts'
import type { Built, Format, Instance, Material, Message, Options } from './formats/index.ts'
import { messageOf } from './problem.ts'

/** One hook, as the delivery side needs it. */
export interface PlainHook extends Options {
  readonly id: string
  readonly name: string
  /** Name of a format, see `formats/index.ts`. */
  readonly format: string
  /** Its bodies tell of the object that the event is about. */
  readonly includeObject: boolean
  /** Which of its events are sent, in the syntax of XO's searches; without, all. */
  readonly filter?: string
  readonly route: Route
}

/** One event for some hooks. */
export interface Handing {
  /** Unique. Its deliveries are `<id>-<place in hooks>`: the same, however often it is handed over. */
  readonly id: string
  readonly event: Event
  /** JSON of the object that the event is about; `null`: it was too large. */
  readonly object?: string | null
  /** Ids of hooks, each once. An empty one holds the place of a delivery that is done with. */
  readonly hooks: readonly string[]
  /** Who caused it: where there is no room, whoever causes most loses first. */
  readonly party: string
  /** Marked as a test (`X-XO-Test`). */
  readonly isTest?: boolean
  /** The answers decide whether what it tells of happens (`X-XO-May-Refuse`). */
  readonly isQuestion?: boolean
}

/** What is left of a handing whose event is gone: enough to count its deliveries. */
export interface Remains {
  readonly id: string
  /** What it was about. */
  readonly label: string
  readonly hooks: readonly string[]
}

/** A `pre` that comes later than this says nothing any more. */
const PRE_LIFETIME_MS = 5 * 60_000

/** What the deliveries of one event share: each made when the first of them asks for it. */
export class Texts {
  readonly headers: readonly string[]
  readonly #handing: Handing
  /** The event with its object. */
  readonly #whole: Event
  readonly #instance: Instance
  #label: string | undefined
  #searchable: Searchable | undefined
  #message: Message | undefined
  /** By format and options. */
  readonly #payloads = new Map<string, Built | { readonly problem: string }>()

  constructor(handing: Handing, instance: Instance) {
    const { event, object } = handing
    this.#handing = handing
    this.#whole = withObject(event, object)
    this.#instance = instance
    this.headers = headersOf(handing)
  }

  /** The same for all deliveries of the event. */
  get label(): string {
    return (this.#label ??= [labelOf(this.#handing.event), objectIdOf(this.#handing)].filter(Boolean).join(' '))
  }

  get searchable(): Searchable {
    return (this.#searchable ??= searchableOf(this.#whole))
  }

  get #messageOnce(): Message {
    return (this.#message ??= messageAbout(this.#whole, this.#instance, Date.now()))
  }

  /** @param index - the place of the hook in the handing */
  payloadFor(hook: PlainHook, index: number): Built | { readonly problem: string } {
    const { includeObject, target, template, places } = hook
    const format = formats.get(hook.format)
    if (format === undefined) {
      return { problem: 'there is no such format' }
    }
    if (format.isPerDelivery === true || this.#handing.hooks.length === 1) {
      return this.#build(format, hook, index)
    }
    const key = JSON.stringify([hook.format, includeObject, target, template, places])
    let payload = this.#payloads.get(key)
    if (payload === undefined) {
      payload = this.#build(format, hook, index)
      this.#payloads.set(key, payload)
    }
    return payload
  }

  #build(format: Format, hook: PlainHook, index: number): Built | { readonly problem: string } {
    const { event, object } = this.#handing
    const getMessage = (): Message => this.#messageOnce
    const material: Material = {
      event: hook.includeObject ? this.#whole : event,
      get message() {
        return getMessage()
      },
      object: object ?? undefined,
      instance: this.#instance,
      delivery: { id: idOf(this.#handing, index), hook },
    }
    try {
      return format.build(material, hook)
    } catch (error) {
      return { problem: messageOf(error) }
    }
  }
}

export function idOf({ id }: Pick<Handing, 'id'>, index: number): string {
  return `${id}-${index}`
}

export function remainsOf({ id, event, hooks }: Handing): Remains {
  return { id, label: labelOf(event), hooks }
}

const sharedLabel = sharedTexts()

/** The words of a label, but for the object. */
export function labelOf({ method, outcome }: Pick<Event, 'method' | 'outcome'>): string {
  return sharedLabel(`${method} ${outcome}`)
}

/** Larger parameters and results are not looked into for an id. */
const MAX_LOOKED_INTO = 4_096

/** An id that can be one word of a label. */
const WORD = /^[!-~]{1,100}$/

/** The id of the object that an event is about, as far as the event tells. */
export function objectIdOf({ event, object }: Pick<Handing, 'event' | 'object'>): string | undefined {
  const { method, outcome, fields } = event
  const snapshot = /^{"id":"([!-~]{1,100}?)"/.exec(object ?? '')?.[1]
  if (snapshot !== undefined) {
    return snapshot
  }
  const valueOf = (field: string): unknown => {
    const text = fields.get(field)
    try {
      return text === undefined || text.length > MAX_LOOKED_INTO ? undefined : JSON.parse(text)
    } catch {
      return undefined // it may have been kept on a disk
    }
  }
  const created = outcome === 'success' ? createdIdOf({ method, result: valueOf('result') }) : undefined
  // whether there is such an object is not known here
  const id = created ?? idIn({ method, params: valueOf('params') }, named => named)
  return id !== undefined && WORD.test(id) ? id : undefined
}

/** @param index - the place of the hook in the handing */
export function deliveryOf(
  handing: Handing,
  index: number,
  { id, name, route }: PlainHook,
  payload: Built,
  { headers, label }: Texts
): Delivery {
  const { event, party, isQuestion = false } = handing
  return {
    id: idOf(handing, index),
    owner: id,
    party,
    label,
    payload,
    headers: [...headers, 'X-XO-Hook', headerText(name), ...(payload.headers ?? [])],
    order: { key: event.callId, leads: event.phase === 'pre' },
    acceptedAt: Date.now(),
    ...(event.phase === 'pre' && { lifetimeMs: isQuestion ? route.timeoutMs : PRE_LIFETIME_MS }),
    ...(isQuestion && { isQuestion }),
  }
}

function headersOf({ event, isTest = false, isQuestion = false }: Handing): string[] {
  const { method, phase, outcome, timestamp } = event
  return [
    'X-XO-Event',
    headerText(method),
    'X-XO-Event-Type',
    phase,
    'X-XO-Event-Status',
    outcome,
    'X-XO-Created',
    isoDate(timestamp),
    ...(isTest ? ['X-XO-Test', 'true'] : []),
    ...(isQuestion ? ['X-XO-May-Refuse', 'true'] : []),
  ]
}

/** A signal without a usable time is of now: another plugin may have made it. */
function isoDate(timestamp: number): string {
  const date = new Date(timestamp)
  return (Number.isNaN(date.getTime()) ? new Date() : date).toISOString()
}

/** Most names are: they cross as they are. */
const PLAIN = /^(?! )[\x20-\x24\x26-\x7e]{0,200}(?<! )$/

/**
 * What a header cannot carry is percent-encoded as UTF-8, and so is `%`: `decodeURIComponent` gives the name again, in whatever
 * script it is.
 */
function headerText(text: string): string {
  if (PLAIN.test(text)) {
    return text
  }
  return text
    .toWellFormed()
    .slice(0, 200)
    .toWellFormed()
    .replace(/[^\x20-\x24\x26-\x7e]|^ | $/gu, encodeURIComponent)
}
