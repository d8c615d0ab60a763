import type { Connect, Connection } from './attempt.ts'
import type { Endpoint } from './delivery.ts'
import type { Pauses } from './health.ts'
import { Lane } from './lane.ts'

/** An endpoint in use: its lane and its sockets. */
export interface Line {
  readonly lane: Lane
  connection: Connection
}

/** The endpoints in use, and every connection that may be open. */
export class Lines {
  readonly #connect: Connect
  readonly #pauses: Pauses | undefined
  /** By endpoint id. */
  readonly #lines = new Map<string, Line>()
  /** Connections that are closed, and may have requests under way still. */
  #retired: Connection[] = []
  /** Connections of tests that are under way. */
  readonly #tests = new Set<Connection>()

  constructor(connect: Connect, pauses: Pauses | undefined) {
    this.#connect = connect
    this.#pauses = pauses
  }

  all(): Line[] {
    return [...this.#lines.values()]
  }

  get(endpoint: string): Line | undefined {
    return this.#lines.get(endpoint)
  }

  to(endpoint: Endpoint): Line {
    let line = this.#lines.get(endpoint.id)
    if (line === undefined) {
      line = { lane: new Lane(endpoint, this.#pauses), connection: this.#connect(endpoint) }
      this.#lines.set(endpoint.id, line)
    }
    return line
  }

  /** The sockets are opened anew; requests under way end on the old ones. */
  reconnect(): void {
    for (const line of this.#lines.values()) {
      this.#retire(line)
      line.connection = this.#connect(line.lane.endpoint)
    }
  }

  remove(line: Line): void {
    this.#retire(line)
    this.#lines.delete(line.lane.endpoint.id)
  }

  #retire({ connection, lane }: Line): void {
    connection.close()
    if (lane.inFlight > 0) {
      this.#retired.push(connection)
    }
  }

  /** No request is under way on any of them. */
  forgetRetired(): void {
    this.#retired = []
  }

  /** Sockets of their own for as long as `use` takes. */
  async apart<T>(endpoint: Endpoint, use: (connection: Connection) => Promise<T>): Promise<T> {
    const connection = this.#connect(endpoint)
    this.#tests.add(connection)
    try {
      return await use(connection)
    } finally {
      this.#tests.delete(connection)
      connection.close()
    }
  }

  cutTests(): void {
    this.#tests.forEach(connection => connection.destroy())
  }

  /** Requests under way fail at once. */
  cut(): void {
    for (const connection of [...this.#retired, ...this.all().map(line => line.connection)]) {
      connection.destroy()
    }
  }

  close(): void {
    this.all().forEach(({ connection }) => connection.close())
  }
}
