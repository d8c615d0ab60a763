import { crc32 } from 'node:zlib'

import type { Order, Trigger } from './delivery.ts'

// What the journal writes, and how it reads it back: nothing that comes from a disk is believed before it was looked at.

/** A delivery without its body. Written once, and never changed. */
export interface StoredDelivery extends StoredHead {
  readonly contentType: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** See `Payload`. */
  readonly fills?: Readonly<Record<string, string>>
}

/** Of a delivery, what has to be known while it waits in the journal: all but what is sent. */
export interface StoredHead {
  /** Its key too. */
  readonly number: number
  readonly id: string
  readonly owner: string
  readonly party: string
  readonly label: string
  readonly order: Order
  /** Epoch ms. */
  readonly acceptedAt: number
  /** On the disk's clock; `Infinity` for never. */
  readonly expiresAt: number
  /** What was left until then as it was written: after a restart it has no more. */
  readonly leftMs: number
}

/** A body with what else its requests are made of. */
export interface StoredContent {
  readonly contentType: string
  readonly fills?: Readonly<Record<string, string>>
  readonly headers: readonly string[]
  readonly body: Buffer
}

/** How far a delivery has come; there is none while it is as it was accepted. Instants are of the disk's clock. */
export interface StoredProgress {
  /** `cancelled`: it was, while an attempt was under way, and is not tried again. */
  readonly state: 'queued' | 'waiting' | 'dead' | 'cancelled'
  readonly attempts: number
  readonly failures: number
  /** Of the next attempt. */
  readonly trigger: Trigger
  readonly firstTriedAt?: number
  readonly expiresAt: number
  readonly leftMs: number
  /** While it is `waiting`: when it goes, and how long that was meant to last. */
  readonly dueAt?: number
  readonly stepMs?: number
}

/** One row of the delivery log: an attempt, or how a delivery ended without one. */
export interface LogRow {
  readonly id: string
  readonly owner: string
  /** Epoch ms. */
  readonly at: number
  /** `undefined`: it goes on. */
  readonly settled?: string
  readonly [key: string]: unknown
}

/** The disk's clock and the wall clock at one moment, ms. */
export interface Stamp {
  readonly clock: number
  readonly epoch: number
}

/** Everything below a prefix. */
function below(prefix: string): { readonly gt: string; readonly lt: string } {
  return { gt: prefix, lt: `${prefix}~` }
}

/** Keys of the store. Numbers are padded, so that they sort as text as they do as numbers. */
export const KEYS = {
  version: 'version',
  /** The engine's state and the disk's clock. */
  engine: 'state',
  /** Which numbers the last batches were about, for a file of numbers that is behind. */
  batch: 'batch',
  deliveries: below('d!'),
  progresses: below('p!'),
  logPages: below('log!'),
  delivery: (number: number): string => `d!${String(number).padStart(16, '0')}`,
  progress: (number: number): string => `p!${String(number).padStart(16, '0')}`,
  logPage: (number: number): string => `log!${String(number).padStart(12, '0')}`,
  /** `undefined`: it is no key of these. */
  numberIn(key: string): number | undefined {
    const number = /^(?:[dp]!\d{16}|log!\d{12})$/.test(key) ? Number(key.slice(key.indexOf('!') + 1)) : undefined
    return Number.isSafeInteger(number) ? number : undefined
  },
} as const

const CHECKSUM_BYTES = 4
const LENGTH_BYTES = 4

/** Checksum, length of the head, the head (JSON), the body. */
export function encodeDelivery(delivery: StoredDelivery, body: Buffer): Buffer {
  const head = Buffer.from(JSON.stringify(delivery))
  const start = CHECKSUM_BYTES + LENGTH_BYTES
  const value = Buffer.allocUnsafe(start + head.length + body.length)
  value.writeUInt32BE(head.length, CHECKSUM_BYTES)
  head.copy(value, start)
  body.copy(value, start + head.length)
  value.writeUInt32BE(crc32(value.subarray(CHECKSUM_BYTES)))
  return value
}

/** What a request is made of. `undefined`: it is damaged, or not what is kept under this number. */
export function decodeContent(value: Buffer | undefined, number: number): StoredContent | undefined {
  const found = partsOf(value, number)
  if (found === undefined) {
    return undefined
  }
  const { contentType, headers, fills } = found.json
  return { contentType, headers, body: value!.subarray(found.bodyAt), ...(fills && { fills }) }
}

/**
 * The rest, and how long the body is. `undefined` as in {@link decodeContent}.
 *
 * @param once - gives for each text one that is equal
 */
export function decodeHead(
  value: Buffer,
  number: number,
  once: (text: string) => string
): { head: StoredHead; bytes: number } | undefined {
  const found = partsOf(value, number)
  if (found === undefined) {
    return undefined
  }
  const { id, owner, party, label, order, acceptedAt, expiresAt, leftMs } = found.json
  return {
    head: {
      number,
      id,
      owner: once(owner),
      party: once(party),
      label: once(label),
      order: { key: order.key, leads: order.leads },
      acceptedAt,
      expiresAt: expiresAt ?? Number.POSITIVE_INFINITY,
      leftMs: leftMs ?? Number.POSITIVE_INFINITY,
    },
    bytes: value.length - found.bodyAt,
  }
}

function partsOf(value: Buffer | undefined, number: number): { json: DeliveryJson; bodyAt: number } | undefined {
  const start = CHECKSUM_BYTES + LENGTH_BYTES
  if (value === undefined || value.length < start || crc32(value.subarray(CHECKSUM_BYTES)) !== value.readUInt32BE()) {
    return undefined
  }
  const end = start + value.readUInt32BE(CHECKSUM_BYTES)
  const json = end > value.length ? undefined : parseJson(value.toString('utf8', start, end))
  // LevelDB checks no keys: one with a bit flipped is that of another delivery
  return isDelivery(json) && json.number === number ? { json, bodyAt: end } : undefined
}

/** JSON with its checksum in front, as LevelDB does not check what it reads. */
export function encodeRecord(value: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(value))
  const record = Buffer.allocUnsafe(CHECKSUM_BYTES + json.length)
  record.writeUInt32BE(crc32(json))
  json.copy(record, CHECKSUM_BYTES)
  return record
}

/** `undefined` for none and for one that is damaged. */
export function decodeRecord(record: Buffer | undefined): unknown {
  if (record === undefined || record.length < CHECKSUM_BYTES) {
    return undefined
  }
  return crc32(record.subarray(CHECKSUM_BYTES)) === record.readUInt32BE()
    ? parseJson(record.toString('utf8', CHECKSUM_BYTES))
    : undefined
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** A delivery as JSON has it. */
type DeliveryJson = Omit<StoredDelivery, 'expiresAt' | 'leftMs'> & Record<'expiresAt' | 'leftMs', number | null>

function isDelivery(value: unknown): value is DeliveryJson {
  return (
    isObject(value) &&
    isCount(value.number) &&
    isText(value.id) &&
    isText(value.owner) &&
    isText(value.party) &&
    isText(value.label) &&
    isOrder(value.order) &&
    isNumber(value.acceptedAt) &&
    isText(value.contentType) &&
    isTexts(value.headers) &&
    isOptional(value.fills, isFills) &&
    isInstant(value.expiresAt) &&
    isInstant(value.leftMs)
  )
}

function isFills(value: unknown): value is Readonly<Record<string, string>> {
  return isObject(value) && isTexts(Object.values(value))
}

/** `undefined`: it is none. */
export function parseProgress(value: unknown): StoredProgress | undefined {
  if (!isObject(value)) {
    return undefined
  }
  const { state, attempts, failures, trigger, firstTriedAt, dueAt, stepMs } = value
  const expiresAt = parseInstant(value.expiresAt)
  const leftMs = parseInstant(value.leftMs)
  return isOneOf(state, STATES) &&
    isCount(attempts) &&
    isCount(failures) &&
    isOneOf(trigger, TRIGGERS) &&
    isOptional(firstTriedAt, isNumber) &&
    expiresAt !== undefined &&
    leftMs !== undefined &&
    (state === 'waiting') === isNumber(dueAt) &&
    isOptional(dueAt, isNumber) &&
    isOptional(stepMs, isNumber)
    ? {
        state,
        attempts,
        failures,
        trigger,
        expiresAt,
        leftMs,
        ...(firstTriedAt !== undefined && { firstTriedAt }),
        ...(dueAt !== undefined && { dueAt }),
        ...(stepMs !== undefined && { stepMs }),
      }
    : undefined
}

/** One page of the log; what is no row on it is left out. */
export function parseRows(value: unknown): LogRow[] {
  return Array.isArray(value) ? value.filter(isRow) : []
}

export function parseStamp(value: unknown): Stamp | undefined {
  return isObject(value) && isNumber(value.clock) && isNumber(value.epoch)
    ? { clock: value.clock, epoch: value.epoch }
    : undefined
}

export function isOrder(value: unknown): value is Order {
  return isObject(value) && isText(value.key) && typeof value.leads === 'boolean'
}

/** JSON has no `Infinity`: it is written as `null`. */
function isInstant(value: unknown): value is number | null {
  return value === null || isNumber(value)
}

function parseInstant(value: unknown): number | undefined {
  return value === null ? Number.POSITIVE_INFINITY : isNumber(value) ? value : undefined
}

const STATES = ['queued', 'waiting', 'dead', 'cancelled'] as const
const TRIGGERS = ['event', 'retry', 'replay', 'test'] as const satisfies readonly Trigger[]

function isRow(value: unknown): value is LogRow {
  return (
    isObject(value) &&
    isText(value.id) &&
    isText(value.owner) &&
    isNumber(value.at) &&
    isOptional(value.settled, isText)
  )
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isText(value: unknown): value is string {
  return typeof value === 'string'
}

export function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText)
}

export function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

/** A whole number from 0. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

export function isOptional<T>(value: unknown, is: (value: unknown) => value is T): value is T | undefined {
  return value === undefined || is(value)
}

function isOneOf<T extends string>(value: unknown, known: readonly T[]): value is T {
  return (known as readonly unknown[]).includes(value)
}
