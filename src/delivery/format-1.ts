import { crc32 } from 'node:zlib'

import type { Order } from './delivery.ts'
import type { Level } from './level.ts'
import {
  decodeRecord,
  encodeDelivery,
  encodeRecord,
  isCount,
  isNumber,
  isObject,
  isOptional,
  isOrder,
  isText,
  isTexts,
  KEYS,
} from './stored.ts'
import type { StoredDelivery, StoredProgress } from './stored.ts'

// Format 1 kept deliveries in pages of up to 256: `head!n` (JSON), `body!n` (their bodies), `state!n` (how far they had come,
// and which were no longer kept). `engine` was the engine's state alone. Instants were epoch ms, so that the disk's clock begins as the wall clock.

const HEAD = 'head!'
const BODY = 'body!'
const STATE = 'state!'
const ENGINE = 'engine'

/** What had no lifetime of its own was kept as long as the delivery log. */
const LIFETIME_MS = 30 * 24 * 60 * 60_000

interface OldDelivery {
  readonly id: string
  readonly owner: string
  readonly party: string
  readonly label: string
  readonly headers: readonly string[]
  readonly order: Order
  readonly acceptedAt: number
  readonly lifetimeMs: number
  readonly contentType: string
  readonly offset: number
  readonly length: number
  readonly progress: OldProgress | undefined
}

interface OldProgress {
  readonly attempts: number
  readonly failures: number
  readonly isDead: boolean
  readonly isReplay: boolean
  readonly isImmortal: boolean
  readonly firstTriedAt: number | undefined
  readonly dueAt: number | undefined
}

interface OldPage {
  readonly crc: number
  /** `undefined`: it is damaged, or no longer kept. */
  readonly deliveries: readonly (OldDelivery | undefined)[]
  readonly lost: number
}

/** A store of format 1 has been read, and is one of format 2 now. */
export interface Migrated {
  /** Deliveries that could not be read; a page whose head cannot be read counts as one. */
  readonly lost: number
}

/**
 * Writes what a store holds in format 1 as format 2, page by page, each in one batch with the removal of the old: a crash
 * in between loses nothing, and the rest is done at the next start.
 *
 * @param next - the first number that is free
 * @returns `undefined`: there is nothing of format 1
 */
export async function migrateFormat1(db: Level, next: number, isAlive: () => void): Promise<Migrated | undefined> {
  const pages = new Map<string, OldPage>()
  for await (const [key, value] of db.iterator({ gt: HEAD, lt: `${HEAD}~` })) {
    isAlive()
    const page = key.slice(HEAD.length)
    pages.set(page, parsePage(decodeRecord(value), decodeRecord(await db.get(STATE + page))))
  }
  const engine = await db.get(ENGINE)
  if (pages.size === 0 && engine === undefined) {
    return undefined
  }
  const numbers = new Map<OldDelivery, number>()
  for (const delivery of inOrder([...pages.values()].flatMap(page => page.deliveries.filter(isDelivery)))) {
    numbers.set(delivery, next + numbers.size)
  }
  const now = Date.now()
  let lost = 0
  for (const [page, { crc, deliveries, lost: unreadable }] of pages) {
    isAlive()
    lost += unreadable
    const bodies = await db.get(BODY + page)
    const isWhole = bodies !== undefined && crc32(bodies) === crc
    const puts = deliveries.filter(isDelivery).flatMap(old => {
      const body = isWhole ? bodies.subarray(old.offset, old.offset + old.length) : undefined
      if (body === undefined || body.length !== old.length) {
        ++lost
        return []
      }
      const number = numbers.get(old)!
      const progress = progressOf(old, now)
      return [
        { type: 'put' as const, key: KEYS.delivery(number), value: encodeDelivery(deliveryOf(old, number, now), body) },
        ...(progress === undefined
          ? []
          : [{ type: 'put' as const, key: KEYS.progress(number), value: encodeRecord(progress) }]),
      ]
    })
    await db.batch([...puts, ...[HEAD, BODY, STATE].map(kind => ({ type: 'del' as const, key: kind + page }))])
  }
  // of pages that are not there
  await db.clear({ gt: STATE, lt: `${STATE}~` })
  await db.clear({ gt: BODY, lt: `${BODY}~` })
  await db.batch([
    { type: 'put', key: KEYS.engine, value: encodeRecord({ state: decodeRecord(engine) }) },
    { type: 'del', key: ENGINE },
  ])
  return { lost }
}

function deliveryOf(old: OldDelivery, number: number, now: number): StoredDelivery {
  const { id, owner, party, label, headers, order, acceptedAt, contentType } = old
  return { number, id, owner, party, label, headers, order, acceptedAt, contentType, ...lifetimeOf(old, now) }
}

function progressOf(old: OldDelivery, now: number): StoredProgress | undefined {
  if (old.progress === undefined) {
    return undefined
  }
  const { attempts, failures, isDead, isReplay, firstTriedAt, dueAt } = old.progress
  return {
    state: isDead ? 'dead' : 'waiting',
    ...{ attempts, failures, trigger: isReplay ? 'replay' : attempts === 0 ? 'event' : 'retry' },
    ...lifetimeOf(old, now),
    ...(firstTriedAt !== undefined && { firstTriedAt }),
    ...(!isDead && { dueAt: dueAt ?? now }),
  }
}

/** What was replayed did not expire any more, and what was dead went with the delivery log. */
function lifetimeOf(
  { acceptedAt, lifetimeMs, progress }: OldDelivery,
  now: number
): { expiresAt: number; leftMs: number } {
  const expiresAt = progress?.isImmortal
    ? now + LIFETIME_MS
    : Math.min(acceptedAt, now) + (progress?.isDead ? LIFETIME_MS : lifetimeMs)
  return { expiresAt, leftMs: Math.max(0, expiresAt - now) }
}

function parsePage(head: unknown, state: unknown): OldPage {
  if (!isObject(head) || !Array.isArray(head.deliveries) || !isNumber(head.crc)) {
    return { crc: 0, deliveries: [], lost: 1 }
  }
  const settled = new Set(isObject(state) && Array.isArray(state.settled) ? state.settled : [])
  const progress = isObject(state) && isObject(state.progress) ? state.progress : {}
  const kept = head.deliveries
    .map((value: unknown, index) => [value, index] as const)
    .filter(([, index]) => !settled.has(index))
  const deliveries = kept.map(([value, index]) => parseDelivery(value, parseProgress(progress[index])))
  return { crc: head.crc, deliveries, lost: deliveries.filter(delivery => delivery === undefined).length }
}

function parseDelivery(value: unknown, progress: OldProgress | undefined): OldDelivery | undefined {
  if (!isObject(value)) {
    return undefined
  }
  const { id, owner, party = '', label = '', headers, order, acceptedAt, lifetimeMs = LIFETIME_MS, contentType } = value
  const { offset, length } = value
  return isText(id) &&
    isText(owner) &&
    isText(party) &&
    isText(label) &&
    isTexts(headers) &&
    isOrder(order) &&
    isNumber(acceptedAt) &&
    isNumber(lifetimeMs) &&
    isText(contentType) &&
    isCount(offset) &&
    isCount(length)
    ? { id, owner, party, label, headers, order, acceptedAt, lifetimeMs, contentType, offset, length, progress }
    : undefined
}

function parseProgress(value: unknown): OldProgress | undefined {
  if (!isObject(value)) {
    return undefined
  }
  const { attempts, failures, isDead, isReplay, isImmortal, firstTriedAt, dueAt } = value
  return isCount(attempts) &&
    isCount(failures) &&
    typeof isDead === 'boolean' &&
    isOptional(firstTriedAt, isNumber) &&
    isOptional(dueAt, isNumber)
    ? { attempts, failures, isDead, isReplay: isReplay === true, isImmortal: isImmortal === true, firstTriedAt, dueAt }
    : undefined
}

function isDelivery(delivery: OldDelivery | undefined): delivery is OldDelivery {
  return delivery !== undefined
}

/** As they were accepted. A call's leader is ahead of the rest of it even if the clock was set back in between. */
function inOrder(deliveries: readonly OldDelivery[]): OldDelivery[] {
  const ledAt = new Map<string, number>()
  for (const { order, acceptedAt } of deliveries) {
    if (order.leads) {
      ledAt.set(order.key, Math.max(acceptedAt, ledAt.get(order.key) ?? 0))
    }
  }
  const timeOf = ({ order, acceptedAt }: OldDelivery): number =>
    order.leads ? acceptedAt : Math.max(acceptedAt, ledAt.get(order.key) ?? 0)
  return deliveries.toSorted((a, b) => timeOf(a) - timeOf(b) || Number(b.order.leads) - Number(a.order.leads))
}
