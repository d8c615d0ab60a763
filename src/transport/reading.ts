import type { Socket } from 'node:net'

import { AnswerHead } from './answer-head.ts'

/** What is read of an answer at once; what is longer is read at `RATE`, as nobody needs it. */
const FREE_BYTES = 64 * 1024

/** Bytes a ms. */
const RATE = 640

/**
 * Reads the answers on a socket in undici's place: makes their heads regular, and takes its time with an endless body. It
 * stands where undici reads, `socket.read()`, as undici's public interface has no place for either: it refuses a
 * `100 Continue`, and cannot be told to parse leniently.
 */
export class Reading {
  readonly #socket: Socket
  readonly #read: Socket['read']
  /** The first one: a TLS alert is followed by the end of the connection, which is the one that undici tells of. */
  error: Error | undefined
  /** Without: no answer is expected, and undici closes a socket on which one comes nevertheless. */
  #head: AnswerHead | undefined
  /** Bytes of this answer. */
  #bytes = 0
  #rest: NodeJS.Timeout | undefined

  /** @param socket - of which nothing has been read */
  constructor(socket: Socket) {
    this.#socket = socket
    this.#read = socket.read.bind(socket)
    // Node itself calls `read(0)`, to have more bytes come in
    socket.read = size => (size === undefined ? this.#next() : this.#read(size))
    socket.once('error', error => (this.error = error))
    socket.once('close', () => clearTimeout(this.#rest))
  }

  /** The status that an answer begins with, however it goes on. */
  get status(): number | undefined {
    return this.#head?.status
  }

  /** Not all that was written has gone out. */
  get isSending(): boolean {
    return this.#socket.writableLength > 0
  }

  /** To be called right before a request goes out: what comes now is its answer. */
  expectAnswer(): void {
    this.#head = new AnswerHead()
    this.#bytes = 0
  }

  /** The answer has ended. A status is of one request, never of the next on the same socket. */
  forgetAnswer(): void {
    this.#head = undefined
  }

  #next(): Buffer | null {
    while (this.#rest === undefined) {
      const chunk = this.#read() as Buffer | null
      if (chunk === null || this.#head === undefined) {
        return chunk
      }
      this.#slowDown(chunk.length)
      try {
        const bytes = this.#head.next(chunk)
        if (bytes.length > 0) {
          return bytes
        }
      } catch (error) {
        this.#socket.destroy(error as Error)
      }
    }
    return null
  }

  #slowDown(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes > FREE_BYTES) {
      this.#rest = setTimeout(() => {
        this.#rest = undefined
        this.#socket.emit('readable')
      }, bytes / RATE)
    }
  }
}
