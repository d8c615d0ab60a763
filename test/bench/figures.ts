import { manyFormats, matchedPost, refusableCall, unmatchedCall } from './calls.ts'
import { deliveryLog } from './history.ts'
import { largeResult } from './large-results.ts'
import { builtInEachFormat } from './formats.ts'
import { slowHalf, steadyLoad } from './latency.ts'
import type { Figure } from './measure.ts'
import { deadCatchAll, deadEndpoint, pendingOnDisk } from './memory.ts'
import { muteNames } from './names.ts'
import { failingProxy } from './proxy.ts'
import { savedSecrets } from './saves.ts'
import { keptStates, objectUpdates, unmatchedRequest, unmatchedUpdate } from './state.ts'
import { journalRate, throughput } from './throughput.ts'

/** By name. Each runs in a process of its own. */
export const figures: ReadonlyMap<string, Figure> = new Map([
  ['deliveries of 600 bytes to one endpoint', throughput],
  ["matched post of 600 bytes, on the caller's tick, with pauses", matchedPost],
  ['matched post, 12 formats', manyFormats],
  ['unmatched call, 1,000 hooks', unmatchedCall],
  ['call that a hook may refuse', refusableCall],
  ['1,000 events a second', steadyLoad],
  ['20 endpoints, 5 calls a second, half of them slow', slowHalf],
  ['20 endpoints, 5 calls a second, half of them behind a mute name server', muteNames],
  ['10,000 events of 2 KiB to a dead endpoint, 2,000 a second', deadEndpoint],
  ['2,000 calls a second to a dead catch-all', deadCatchAll],
  ['100,000 pending deliveries of 2 KiB: disk, restart', pendingOnDisk],
  ['the delivery log: a row, and listing 100 of 10,000', deliveryLog],
  ['the journal, where all come at once', journalRate],
  ['20 endpoints behind a proxy that drops or hangs', failingProxy],
  ['large results on 100 hooks', largeResult],
  ['secrets of 1,000 hooks at a save, the first removed', savedSecrets],
  ['HTTP request that no hook wants, 1,000 hooks', unmatchedRequest],
  ['an event, written in each format', builtInEachFormat],
  ['update of a task that no hook wants, 1,000 hooks', unmatchedUpdate],
  ['10,000 object updates in one flush, 10 state hooks', objectUpdates],
  ['states of 20,000 VMs of a pool that is away', keptStates],
])
