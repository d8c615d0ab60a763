/** Readers of values of unknown make: what is not as expected is `undefined`. A getter or a proxy may throw in them. */

/** Whether it has properties that can be read; a list has none. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** Finite. */
export function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

/** A text without the white space around it. An empty field of a form may be absent, `null` or `''`: it is `''` here, as is what is no text. */
export function trimmedOf(value: unknown): string {
  return textOf(value)?.trim() ?? ''
}

/** What is no list is an empty one. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
