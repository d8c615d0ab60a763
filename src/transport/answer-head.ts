/** Of a head with all that came before it; the status line alone decides what it says. */
const MAX_HEAD_BYTES = 256 * 1024

/** More than an answer's head needs, and what a status line must fit into. */
const STATUS_LINE_BYTES = 64

const NOTHING = Buffer.alloc(0)
const CR = 13
const LF = 10

/** `HTTP/1.1 200 OK`; the reason may be missing, the version may be any. */
const STATUS_LINE = /^HTTP\/(\d{1,3}(?:\.\d{1,3})?)[ \t]+([1-9]\d\d)(?!\d)/i

/** Of the names of headers that `regular` reads: the others, which are most, cost no more than a look at this. */
const FIRST_LETTERS = 'cCtTkKrRdDsSvVxXpP'
const FOLDED = /\n[ \t]/
const UNREADABLE = /[^\t\r\n\x20-\x7e]|\r(?!\n)/
const NONE: string[] = []

/** Why what a receiver says is no answer. */
export type HeadProblem = 'NOT_HTTP' | 'TLS_PORT' | 'HTTP_2_PORT' | 'SWITCHED_PROTOCOLS' | 'HEAD_TOO_LARGE'

export class HeadError extends Error {
  override readonly name = 'HeadError'
  readonly code: HeadProblem

  constructor(code: HeadProblem) {
    super(code)
    this.code = code
  }
}

/**
 * Makes the beginning of an answer regular, so that a strict parser takes it: undici's takes no `100 Continue` that it has not
 * asked for, and none of the heads that old or home-made servers send. A status line that can be read is an answer, whatever
 * is wrong with the headers: those that are not well-formed, or that nobody here reads, are left out.
 *
 * `HTTP/1.0 200⏎X-A : x⏎Content-Length: 5⏎Content-Length: 7⏎⏎` becomes
 * `HTTP/1.1 200 ⏎Connection: close⏎Content-Length: 5⏎⏎`.
 *
 * One for each request. Knows no sockets.
 */
export class AnswerHead {
  /** The final one, as soon as its line has come. */
  status: number | undefined
  #isOver = false
  /** What has come, while the head is not whole: the first `#length` bytes. */
  #held: Buffer = NOTHING
  #length = 0
  /** Where the head begins, behind those of informational answers. */
  #start = 0
  /** Up to where its end has been looked for. */
  #searched = 0

  /**
   * What a parser is to be given of the next bytes of an answer; nothing while the head is not whole.
   *
   * @throws HeadError
   */
  next(chunk: Buffer): Buffer {
    if (this.#isOver) {
      return chunk
    }
    const bytes = this.#length === 0 ? chunk : this.#append(chunk)
    for (;;) {
      // some send empty lines before an answer
      while (bytes[this.#start] === CR || bytes[this.#start] === LF) {
        ++this.#start
      }
      this.#searched = Math.max(this.#searched, this.#start)
      const line = this.#statusLine(bytes)
      const end = line === undefined ? -1 : endOfHead(bytes, this.#searched)
      if ((end === -1 ? bytes.length : end) > MAX_HEAD_BYTES) {
        throw new HeadError('HEAD_TOO_LARGE')
      }
      if (line === undefined || end === -1) {
        this.#searched = Math.max(this.#start, bytes.length - 2) // they may begin the empty line
        if (this.#length === 0) {
          this.#append(chunk)
        }
        return NOTHING
      }
      if (line.status >= 200) {
        this.#isOver = true
        this.#held = NOTHING
        const head = regular(bytes.toString('latin1', this.#start, end), line)
        const cleaned = Buffer.allocUnsafe(head.length + bytes.length - end)
        cleaned.write(head, 'latin1')
        bytes.copy(cleaned, head.length, end)
        return cleaned
      }
      this.#start = end
    }
  }

  /** `undefined`: it is not whole yet. */
  #statusLine(bytes: Buffer): StatusLine | undefined {
    const text = bytes.toString('latin1', this.#start, this.#start + STATUS_LINE_BYTES)
    if (!'http/'.startsWith(text.slice(0, 5).toLowerCase())) {
      throw new HeadError(problemOf(bytes))
    }
    const match = STATUS_LINE.exec(text)
    if (match === null) {
      if (text.length === STATUS_LINE_BYTES || text.includes('\n')) {
        throw new HeadError('NOT_HTTP')
      }
      return undefined
    }
    if (this.status === undefined && bytes.indexOf(LF, this.#searched) === -1) {
      return undefined
    }
    const status = Number(match[2])
    if (status === 101) {
      throw new HeadError('SWITCHED_PROTOCOLS')
    }
    this.status = status >= 200 ? status : undefined
    return { version: match[1]!, status }
  }

  /** To what is held, which grows in large steps: a head may come byte by byte. */
  #append(chunk: Buffer): Buffer {
    const length = this.#length + chunk.length
    if (length > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#held.length, length))
      this.#held.copy(larger, 0, 0, this.#length)
      this.#held = larger
    }
    chunk.copy(this.#held, this.#length)
    this.#length = length
    return this.#held.subarray(0, length)
  }
}

interface StatusLine {
  readonly version: string
  readonly status: number
}

/** Behind the empty line; -1: there is none yet. Lines end with LF, with or without a CR before it. */
function endOfHead(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(LF, from); at !== -1; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at + 1] === LF) {
      return at + 2
    }
    if (bytes[at + 1] === CR && bytes[at + 2] === LF) {
      return at + 3
    }
  }
  return -1
}

/** By how other protocols begin: a TLS record (an alert, or a handshake), the SETTINGS of HTTP/2 (RFC 9113 §3.4). */
function problemOf(bytes: Buffer): HeadProblem {
  if ((bytes[0] === 21 || bytes[0] === 22) && (bytes[1] ?? 3) === 3) {
    return 'TLS_PORT'
  }
  const isSettings =
    bytes.length >= 9 && bytes[0] === 0 && bytes[1] === 0 && bytes.readUIntBE(3, 6) === 0x04_00_00_00_00_00
  return isSettings ? 'HTTP_2_PORT' : 'NOT_HTTP'
}

/** The same answer as a head that every parser reads in the same way. */
function regular(head: string, { version, status }: StatusLine): string {
  // lists, as headers of the same name are one
  let [lengths, codings, connection, others] = ['', '', '', '']
  // a line that begins with white space goes on with the one before it (RFC 9112 §5.2)
  const text = FOLDED.test(head) ? head.replace(/\r?\n[ \t]+/g, ' ') : head
  for (let start = text.indexOf('\n') + 1, end; (end = text.indexOf('\n', start)) !== -1; start = end + 1) {
    const colon = FIRST_LETTERS.includes(text[start]!) ? text.indexOf(':', start) : -1
    if (colon === -1 || colon > end) {
      continue
    }
    const value = text.slice(colon + 1, end).trim()
    const name = text.slice(start, colon).trimEnd().toLowerCase()
    switch (name) {
      case 'content-length':
        lengths += `${value},`
        break
      case 'transfer-encoding':
        codings += `${value.toLowerCase()},`
        break
      case 'connection':
        connection += `${value.toLowerCase()},`
        break
      case 'date':
      case 'keep-alive':
      case 'retry-after':
      // by these, proxies are told apart from receivers, see `failureOf` in tunnel.ts
      case 'proxy-status':
      case 'server':
      case 'via':
      case 'x-squid-error':
        others += `${name}: ${value}\r\n`
        break
      default:
    }
  }
  const { framing, isSure } = framingOf(status, membersOf(lengths), membersOf(codings))
  const isKept =
    !connection.includes('close') && (version === '1.1' || (version === '1.0' && connection.includes('keep-alive')))
  const readable = UNREADABLE.test(others) ? others.replaceAll(new RegExp(UNREADABLE, 'g'), '?') : others
  return `HTTP/1.1 ${status} \r\n${isSure && isKept ? '' : 'Connection: close\r\n'}${framing}${readable}\r\n`
}

function membersOf(list: string): string[] {
  if (list === '') {
    return NONE
  }
  const members = list.slice(0, -1)
  return members.includes(',') ? members.split(',').map(member => member.trim()) : [members]
}

/**
 * Where the body ends (RFC 9112 §6.3), in one header at most; without, where the connection does. Of two lengths the
 * smaller one counts: nobody waits for bytes that may never come.
 *
 * @returns isSure - another request may go out on this connection: what comes next is no part of this answer
 */
function framingOf(status: number, lengths: string[], codings: string[]): { framing: string; isSure: boolean } {
  const coding = codings.filter(each => each !== 'identity').at(-1)
  if (status === 204 || status === 304) {
    return {
      framing: '',
      isSure: coding === undefined && (status === 304 || lengths.every(each => Number(each) === 0)),
    }
  }
  if (coding !== undefined) {
    const isChunked = coding === 'chunked'
    return {
      framing: isChunked ? 'Transfer-Encoding: chunked\r\n' : '',
      isSure: isChunked && codings.length === 1 && lengths.length === 0,
    }
  }
  const numbers = lengths.filter(each => /^\d{1,15}$/.test(each)).map(Number)
  if (numbers.length === 0) {
    return { framing: '', isSure: false }
  }
  const length = numbers.reduce((least, each) => Math.min(least, each))
  return {
    framing: `Content-Length: ${length}\r\n`,
    isSure: numbers.length === lengths.length && numbers.every(each => each === length),
  }
}
