import type { Payload } from '../delivery/delivery.ts'
import type { Event } from '../event/event.ts'

/** How an event becomes a body. */
export interface Format {
  /** For the form. */
  readonly title: string
  /** What an administrator should know who chooses it. */
  readonly warning?: string
  /** Pure. Called once for an event, however many hooks want it in this format; where it throws, they go without. */
  build(event: Event): Payload
}

export function payloadOf(contentType: string, text: string): Payload {
  return { contentType, body: Buffer.from(text) }
}
