import type { Format } from './format.ts'
import { json } from './json.ts'
import { office365 } from './office365.ts'

export type { Format } from './format.ts'

/** By the name in the configuration. The form's choice is made from it. */
export const formats: ReadonlyMap<string, Format> = new Map([
  ['json', json],
  ['office365', office365],
])
