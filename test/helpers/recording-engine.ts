import type {
  Answer,
  Engine,
  EngineEvent,
  EngineHealth,
  EngineStatistics,
  Handing,
  PlainSettings,
} from '../../src/engine/engine.ts'

const NOTHING: EngineHealth = {
  ...{ accepted: 0, delivered: 0, pending: 0, dead: 0, discarded: {} },
  endpoints: new Map(),
  undecided: new Map(),
}

/** A delivery side that only writes down what it is told. It answers as the test says, and by itself never. */
export class RecordingEngine implements Engine {
  readonly settings: PlainSettings[] = []
  readonly handed: Handing[] = []
  readonly asked: Handing[] = []
  readonly probed: Handing[] = []
  /** Of each time it was closed, in ms. */
  readonly graces: number[] = []
  readonly #listeners = new Set<(event: EngineEvent) => void>()

  ready: Promise<void> = Promise.resolve()
  onAsk: (handing: Handing) => Promise<readonly Answer[]> = () => new Promise(() => {})
  onProbe: (handing: Handing) => Promise<readonly Answer[]> = () => new Promise(() => {})
  onClose: () => Promise<void> = () => Promise.resolve()
  onHealth: () => Promise<EngineHealth> = () => Promise.resolve(NOTHING)

  get listeners(): number {
    return this.#listeners.size
  }

  configure(settings: PlainSettings): void {
    // what cannot cross to another thread throws here
    this.settings.push(structuredClone(settings))
  }

  hand(handing: Handing): void {
    this.handed.push(structuredClone(handing))
  }

  ask(handing: Handing): Promise<readonly Answer[]> {
    this.asked.push(structuredClone(handing))
    return this.onAsk(handing)
  }

  probe(handing: Handing): Promise<readonly Answer[]> {
    this.probed.push(structuredClone(handing))
    return this.onProbe(handing)
  }

  list(): Promise<{ items: []; total: 0; latest: string }> {
    return Promise.resolve({ items: [], total: 0, latest: 'a.0' })
  }

  statistics(): Promise<EngineStatistics> {
    const outcomes = { ok: 0, refused: 0, unreachable: 0, 'timed-out': 0 }
    return Promise.resolve({
      attempts: { outcomes, durations: [], durationMs: 0 },
      endpoints: new Map(),
      oldest: new Map(),
    })
  }

  recentEvents(): Promise<[]> {
    return Promise.resolve([])
  }

  rehearse(): Promise<[]> {
    return Promise.resolve([])
  }

  get(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  replay(): Promise<number> {
    return Promise.resolve(0)
  }

  cancel(): Promise<number> {
    return Promise.resolve(0)
  }

  pause(): Promise<boolean> {
    return Promise.resolve(false)
  }

  resume(): Promise<boolean> {
    return Promise.resolve(false)
  }

  health(): Promise<EngineHealth> {
    return this.onHealth()
  }

  listen(listener: (event: EngineEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Says that something has happened. */
  tell(event: EngineEvent): void {
    this.#listeners.forEach(listener => listener(event))
  }

  close(graceMs: number): Promise<void> {
    this.graces.push(graceMs)
    return this.onClose()
  }
}
