import type { EventInfo } from '../event/event.ts'
import { backupRunEvents } from './backup-runs.ts'
import { jobEvents } from './job-ends.ts'
import { noticeEvents } from './notices.ts'
import { ownEvents } from './own-notices.ts'
import { restActionEvents } from './rest-actions.ts'
import { restChangeEvents } from './rest-changes.ts'
import { stateEvents } from './state-rules.ts'

export { isBackupRun } from './backup-run.ts'
export { isRefusable } from './held-calls.ts'

/** Events that have no API method's name, as the README lists them. Each source has its own list. */
export const listedEvents: readonly EventInfo[] = [
  ...backupRunEvents,
  ...stateEvents,
  ...noticeEvents,
  ...jobEvents,
  ...ownEvents,
]

/** Of runs, which can be refused however they are started. */
export const RUN_EVENTS: readonly string[] = backupRunEvents.map(({ name }) => name)

/** All that can be hooked besides the API methods of the host: the form suggests it. Names come more than once. */
export const hookableEvents: readonly EventInfo[] = [...listedEvents, ...restActionEvents, ...restChangeEvents]
