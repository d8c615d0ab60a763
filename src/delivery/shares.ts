import type { Kept } from './kept.ts'

/** What there is a bound for: the number that is kept, bytes of bodies in memory, bytes in the journal. */
export type Resource = 'count' | 'memory' | 'disk'

type Weights = Record<Resource, number>

interface Node {
  readonly weights: Weights
}

interface EndpointNode extends Node {
  readonly owners: Map<string, OwnerNode>
}

interface OwnerNode extends Node {
  readonly parties: Map<string, Share>
}

/** What one party has caused of one owner's, at one endpoint: a linked list, of which any one leaves without a look at the others. */
interface Share extends Node {
  readonly endpoint: EndpointNode
  readonly owner: OwnerNode
  /** What came last. */
  last: Place | undefined
  /** Those that are dead, in the order in which they came. */
  readonly dead: Set<Kept>
}

/** Where a delivery stands, and what of it has been weighed. */
interface Place {
  readonly kept: Kept
  readonly share: Share
  before: Place | undefined
  after: Place | undefined
  memory: number
  disk: number
}

/** Of the dead, how many are looked at for one that holds what is short; they are much alike. */
const DEAD_LOOKED_AT = 64

/**
 * Who gives way when a resource is short: of the endpoint that takes up most of *that* resource, there of the owner, and
 * there of the party that do, the oldest dead letter, else what came last and is not being sent; always something that
 * holds some of the resource. So whoever floods loses before anyone else does, and nothing is discarded that would free
 * nothing. Example: 5,000 deliveries for A are on disk only and 12 large bodies for B fill the memory: one of B's goes.
 *
 * Written by the ledger only.
 */
export class Shares {
  readonly #endpoints = new Map<string, EndpointNode>()
  readonly #places = new Map<Kept, Place>()

  /** A delivery is kept, or is bound for another endpoint now, with all that it takes up. */
  add(kept: Kept): void {
    const share = this.#shareFor(kept)
    const place: Place = { kept, share, before: share.last, after: undefined, memory: 0, disk: 0 }
    if (share.last !== undefined) {
      share.last.after = place
    }
    share.last = place
    this.#places.set(kept, place)
    weigh(share, 'count', 1)
    this.changed(kept)
  }

  /** It is not kept any more, or is about to be bound for another endpoint. */
  remove(kept: Kept): void {
    const place = this.#placeOf(kept)
    const { share, before, after, memory, disk } = place
    const { endpoint, owner } = share
    this.#places.delete(kept)
    share.dead.delete(kept)
    if (before !== undefined) {
      before.after = after
    }
    if (after !== undefined) {
      after.before = before
    } else {
      share.last = before
    }
    weigh(share, 'count', -1)
    weigh(share, 'memory', -memory)
    weigh(share, 'disk', -disk)
    if (share.weights.count === 0) {
      owner.parties.delete(kept.party)
    }
    if (owner.weights.count === 0) {
      endpoint.owners.delete(kept.owner)
    }
    if (endpoint.weights.count === 0) {
      this.#endpoints.delete(kept.endpoint)
    }
  }

  /** It is dead now, or not any more; it takes up more or less than before. */
  changed(kept: Kept): void {
    const place = this.#placeOf(kept)
    const { share } = place
    if (kept.state.name === 'dead') {
      share.dead.add(kept)
    } else {
      share.dead.delete(kept)
    }
    const memory = memoryOf(kept)
    weigh(share, 'memory', memory - place.memory)
    weigh(share, 'disk', kept.stored - place.disk)
    place.memory = memory
    place.disk = kept.stored
  }

  /** What is bound for an endpoint, in the order in which it was accepted. */
  at(endpoint: string): Kept[] {
    const all: Kept[] = []
    for (const { parties } of this.#endpoints.get(endpoint)?.owners.values() ?? []) {
      for (const { last } of parties.values()) {
        for (let place = last; place !== undefined; place = place.before) {
          all.push(place.kept)
        }
      }
    }
    return all.sort((a, b) => a.number - b.number)
  }

  /** @param isSpared - some that may not be discarded for this resource */
  victim(resource: Resource, isSpared: (kept: Kept) => boolean = () => false): Kept | undefined {
    const isMeant = (each: Kept): boolean => isExpendable(each, resource) && !isSpared(each)
    for (const { owners } of heaviestFirst(this.#endpoints, resource)) {
      for (const { parties } of heaviestFirst(owners, resource)) {
        for (const { dead, last } of heaviestFirst(parties, resource)) {
          const kept = oldestDead(dead, isMeant) ?? lastOf(last, isMeant)
          if (kept !== undefined) {
            return kept
          }
        }
      }
    }
    return undefined
  }

  #placeOf(kept: Kept): Place {
    const place = this.#places.get(kept)
    if (place === undefined) {
      throw new Error('a delivery that is not kept has no share')
    }
    return place
  }

  #shareFor(kept: Kept): Share {
    let endpoint = this.#endpoints.get(kept.endpoint)
    if (endpoint === undefined) {
      endpoint = { weights: nothing(), owners: new Map() }
      this.#endpoints.set(kept.endpoint, endpoint)
    }
    let owner = endpoint.owners.get(kept.owner)
    if (owner === undefined) {
      owner = { weights: nothing(), parties: new Map() }
      endpoint.owners.set(kept.owner, owner)
    }
    let share = owner.parties.get(kept.party)
    if (share === undefined) {
      share = { weights: nothing(), endpoint, owner, last: undefined, dead: new Set() }
      owner.parties.set(kept.party, share)
    }
    return share
  }
}

function weigh({ endpoint, owner, weights }: Share, resource: Resource, by: number): void {
  if (by !== 0) {
    endpoint.weights[resource] += by
    owner.weights[resource] += by
    weights[resource] += by
  }
}

function nothing(): Weights {
  return { count: 0, memory: 0, disk: 0 }
}

function memoryOf({ content, bytes }: Kept): number {
  return content === undefined ? 0 : bytes
}

/** Those that take up any of the resource. */
function heaviestFirst<N extends Node>(nodes: ReadonlyMap<string, N>, resource: Resource): N[] {
  return [...nodes.values()]
    .filter(({ weights }) => weights[resource] > 0)
    .sort((a, b) => b.weights[resource] - a.weights[resource])
}

function isExpendable({ state, content, stored }: Kept, resource: Resource): boolean {
  return (
    state.name !== 'sending' && (resource === 'count' || (resource === 'memory' ? content !== undefined : stored > 0))
  )
}

function oldestDead(dead: ReadonlySet<Kept>, isMeant: (kept: Kept) => boolean): Kept | undefined {
  let looked = 0
  for (const kept of dead) {
    if (isMeant(kept)) {
      return kept
    }
    if (++looked === DEAD_LOOKED_AT) {
      break
    }
  }
  return undefined
}

/** The last one of which `isMeant` holds: mostly the last one of all, as what is short is held by what came last. */
function lastOf(last: Place | undefined, isMeant: (kept: Kept) => boolean): Kept | undefined {
  let place = last
  while (place !== undefined && !isMeant(place.kept)) {
    place = place.before
  }
  return place?.kept
}
