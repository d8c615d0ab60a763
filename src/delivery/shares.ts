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

/** What one party has caused of one owner's, at one endpoint. */
interface Share extends Node {
  /** In the order in which they came. */
  readonly members: Members
  /** Those of the members that are dead, likewise. */
  readonly dead: Set<Kept>
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

  /** A delivery is kept, or is bound for another endpoint now, with all that it takes up. */
  add(kept: Kept): void {
    const path = this.#pathOf(kept)
    const [, , share] = path
    share.members.push(kept)
    weigh(path, 'count', 1)
    this.changed(kept)
  }

  /** It is not kept any more, or is about to be bound for another endpoint. */
  remove(kept: Kept): void {
    const path = this.#pathOf(kept)
    const [endpoint, owner, share] = path
    const taken = share.members.delete(kept)
    share.dead.delete(kept)
    weigh(path, 'count', -1)
    weigh(path, 'memory', -taken.memory)
    weigh(path, 'disk', -taken.disk)
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
    const path = this.#pathOf(kept)
    const { dead, members } = path[2]
    if (kept.state.name === 'dead') {
      dead.add(kept)
    } else {
      dead.delete(kept)
    }
    const taken = members.takenBy(kept)
    const memory = memoryOf(kept)
    weigh(path, 'memory', memory - taken.memory)
    weigh(path, 'disk', kept.stored - taken.disk)
    taken.memory = memory
    taken.disk = kept.stored
  }

  /** @param isSpared - some that may not be discarded for this resource */
  victim(resource: Resource, isSpared: (kept: Kept) => boolean = () => false): Kept | undefined {
    for (const { owners } of heaviestFirst(this.#endpoints, resource)) {
      for (const { parties } of heaviestFirst(owners, resource)) {
        for (const share of heaviestFirst(parties, resource)) {
          const isMeant = (each: Kept): boolean => isExpendable(each, resource) && !isSpared(each)
          const kept = oldestDead(share.dead, isMeant) ?? share.members.last(isMeant)
          if (kept !== undefined) {
            return kept
          }
        }
      }
    }
    return undefined
  }

  #pathOf({ endpoint, owner, party }: Kept): readonly [EndpointNode, OwnerNode, Share] {
    let atEndpoint = this.#endpoints.get(endpoint)
    if (atEndpoint === undefined) {
      atEndpoint = { weights: nothing(), owners: new Map() }
      this.#endpoints.set(endpoint, atEndpoint)
    }
    let ofOwner = atEndpoint.owners.get(owner)
    if (ofOwner === undefined) {
      ofOwner = { weights: nothing(), parties: new Map() }
      atEndpoint.owners.set(owner, ofOwner)
    }
    let ofParty = ofOwner.parties.get(party)
    if (ofParty === undefined) {
      ofParty = { weights: nothing(), members: new Members(), dead: new Set() }
      ofOwner.parties.set(party, ofParty)
    }
    return [atEndpoint, ofOwner, ofParty]
  }
}

function weigh(path: readonly Node[], resource: Resource, by: number): void {
  if (by !== 0) {
    for (const { weights } of path) {
      weights[resource] += by
    }
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

/** What of a delivery has been weighed. */
interface Taken {
  memory: number
  disk: number
}

interface Link extends Taken {
  readonly kept: Kept
  before: Link | undefined
  after: Link | undefined
}

/** A linked list: the last one is found, and any one leaves, without a look at the others. */
class Members {
  readonly #links = new Map<Kept, Link>()
  #last: Link | undefined

  push(kept: Kept): void {
    const link: Link = { kept, before: this.#last, after: undefined, memory: 0, disk: 0 }
    if (this.#last !== undefined) {
      this.#last.after = link
    }
    this.#last = link
    this.#links.set(kept, link)
  }

  delete(kept: Kept): Taken {
    const link = this.#linkOf(kept)
    this.#links.delete(kept)
    if (link.before !== undefined) {
      link.before.after = link.after
    }
    if (link.after !== undefined) {
      link.after.before = link.before
    } else {
      this.#last = link.before
    }
    return link
  }

  takenBy(kept: Kept): Taken {
    return this.#linkOf(kept)
  }

  #linkOf(kept: Kept): Link {
    const link = this.#links.get(kept)
    if (link === undefined) {
      throw new Error('a delivery that is not kept has no share')
    }
    return link
  }

  /** The last one of which `isMeant` holds: mostly the last one of all, as what is short is held by what came last. */
  last(isMeant: (kept: Kept) => boolean): Kept | undefined {
    let link = this.#last
    while (link !== undefined && !isMeant(link.kept)) {
      link = link.before
    }
    return link?.kept
  }
}
