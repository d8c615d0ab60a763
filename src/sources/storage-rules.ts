import { numberOf, textOf } from '../values.ts'
import { compared, retagged, tagEvents, textsOf } from './state.ts'
import type { Change, PbdState, Rule, SrState, VdiState } from './state.ts'

/** Which change of an SR, its connections and its disks is which event. */

/** An SR has to be emptied by this much before it can become full again. */
const FULL_AGAIN = 0.05

export const SR: Rule<SrState> = {
  events: [['sr.full', 'An SR has become full, to 90 % or as `srFullPercent` says'], ...tagEvents('sr', 'An SR')],
  read(sr, base, fullRatio) {
    const size = numberOf(sr['size']) ?? 0
    const used = numberOf(sr['physical_usage']) ?? 0
    // a CD is always full
    const canFill = sr['content_type'] !== 'iso' && sr['SR_type'] !== 'udev' && size > 0
    const limit = canFill ? size * fullRatio : null
    return { ...base, size, used, limit, isFull: limit !== null && used >= limit, tags: textsOf(sr['tags']) }
  },
  fields: ({ size, used }) => ({ size, physical_usage: used }),
  step(before, after) {
    const { limit, used, size } = after
    const isFull = after.isFull || (before.isFull && limit !== null && used >= limit - size * FULL_AGAIN)
    const change = { method: 'sr.full', before: SR.fields(before), after: SR.fields(after) }
    return {
      state: { ...after, isFull },
      changes: [...(isFull && !before.isFull ? [change] : []), ...retagged('sr', before.tags, after.tags)],
    }
  },
}

export const PBD: Rule<PbdState> = {
  events: [
    ['sr.connected', 'An SR is connected to a host: `params.host`'],
    ['sr.disconnected', 'An SR is not connected to a host any more: `params.host`'],
  ],
  read: (pbd, base) => ({
    ...base,
    sr: textOf(pbd['SR']),
    host: textOf(pbd['host']),
    isAttached: pbd['attached'] === true,
  }),
  fields: ({ isAttached }) => ({ attached: isAttached }),
  added: (pbd, after) => (pbd.isAttached ? connection('sr.connected', pbd, { after }) : undefined),
  removed: (pbd, before) => (pbd.isAttached ? connection('sr.disconnected', pbd, { before }) : undefined),
  step(before, after) {
    const method = after.isAttached ? 'sr.connected' : 'sr.disconnected'
    const fields = { before: { attached: before.isAttached }, after: { attached: after.isAttached } }
    const changes = before.isAttached === after.isAttached ? [] : [connection(method, after, fields)]
    return { state: after, changes }
  },
}

export const VDI: Rule<VdiState> = {
  events: [
    ['disk.created', 'A disk is there that was not: `params.sr`; an ISO of an SR is one, too'],
    ['disk.removed', 'A disk is gone'],
    ['disk.resized', 'A disk has another size'],
  ],
  read: (vdi, base) => ({ ...base, sr: textOf(vdi['$SR']), size: numberOf(vdi['size']) ?? 0 }),
  fields: ({ name, size }) => ({ name_label: name, size }),
  added: ({ sr }, after) => ({ method: 'disk.created', params: { sr }, after }),
  removed: ({ sr }, before) => ({ method: 'disk.removed', params: { sr }, before }),
  step: (before, after) => ({
    state: after,
    changes: compared('disk.resized', { size: before.size }, { size: after.size }).map(change => ({
      ...change,
      params: { sr: after.sr },
    })),
  }),
}

function connection(method: string, { sr, host }: PbdState, fields: Pick<Change, 'before' | 'after'>): Change {
  return { method, about: sr, params: { host }, ...fields }
}
