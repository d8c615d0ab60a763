import { EventEmitter } from 'node:events'
import type { Params } from './config.ts'

/** What is shown of a task: a live object, which goes on changing. */
export interface TaskLog {
  readonly id: string
  readonly properties: Params
  start: number
  end?: number
  status: string
  result?: unknown
  tasks?: TaskLog[]
  updatedAt?: number
}

/** One task, or a part of one (@vates/task/index.js). */
export class Task {
  readonly log: TaskLog
  readonly #isBackup: boolean
  readonly #onUpdate: () => void

  constructor(properties: Params, onUpdate: (log: TaskLog) => void, isBackup = false) {
    const id = `${Date.now().toString(36).padStart(9, '0')}-${Math.random().toString(36).slice(2)}`
    this.log = { id, properties, start: Date.now(), status: 'pending' }
    this.#isBackup = isBackup
    this.#onUpdate = () => onUpdate(this.log)
  }

  async run<T>(work: (task: this) => T | Promise<T>): Promise<T> {
    this.log.start = Date.now()
    this.#onUpdate()
    try {
      const result = await work(this)
      this.#end('success', result)
      return result
    } catch (error) {
      const { message, name, stack } = error as Error
      this.#end('failure', { ...(error as object), message, name, stack })
      throw error
    }
  }

  /** A part of this task: whoever listens is told of the whole. */
  part(properties: Params): Task {
    const part = new Task(properties, this.#onUpdate, this.#isBackup)
    ;(this.log.tasks ??= []).push(part.log)
    return part
  }

  set(name: string, value: unknown): void {
    this.log.properties[name] = value
    this.#onUpdate()
  }

  #end(status: string, result: unknown): void {
    const { log } = this
    Object.assign(log, { end: Date.now(), result, status })
    // that of a backup is computed from its parts (packages/xo-server/src/xo-mixins/backups-ng-logs.mjs)
    if (this.#isBackup && log.tasks?.some(part => part.status === 'failure')) {
      log.status = 'failure'
    }
    this.#onUpdate()
  }
}

/**
 * The host's tasks (@xen-orchestra/mixins/Tasks.mjs): updates are buffered, and emitted one after the other in whichever
 * context came first. As on the host, a listener that throws stops them for good.
 */
export class Tasks extends EventEmitter {
  readonly #buffer = new Map<string, TaskLog | null>()
  readonly #clearedOnSuccess = new Set<string>()
  #isScheduled = false

  create(properties: Params, { clearLogOnSuccess = false } = {}): Task {
    const task = new Task(properties, log => this.#update(log))
    if (clearLogOnSuccess) {
      this.#clearedOnSuccess.add(task.log.id)
    }
    return task
  }

  createBackup(properties: Params): Task {
    return new Task(properties, log => this.#update(log), true)
  }

  #update(log: TaskLog): void {
    log.updatedAt = Date.now()
    const isCleared = log.status === 'success' && this.#clearedOnSuccess.delete(log.id)
    this.#buffer.set(log.id, isCleared ? null : log)
    if (!this.#isScheduled) {
      this.#isScheduled = true
      process.nextTick(() => void this.#flush())
    }
  }

  async #flush(): Promise<void> {
    for (const [id, log] of this.#buffer) {
      this.#buffer.delete(id)
      if (log !== null) {
        this.emit(id, log)
        this.emit('update', log)
      }
      // the host saves it here
      await new Promise(setImmediate)
    }
    this.#isScheduled = false
  }
}
