import type { EventInfo } from '../event.ts'
import { stateEvents } from './state-rules.ts'

/**
 * What can be hooked besides the API methods of the host: the form suggests it, and the README lists it. Each source
 * has its own list.
 */
export const hookableEvents: readonly EventInfo[] = [...stateEvents]
