import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIP } from 'node:net'

/** What is said of a name: its addresses; none: it has none; an error (RFC 1035 §4.1.1), or nothing at all. */
export type Said = readonly string[] | 'SERVFAIL' | 'NXDOMAIN' | 'REFUSED' | 'mute'

export interface TestNameServer {
  /** `127.0.0.1:12345` */
  readonly address: string
  /** Each name once for each question. */
  readonly asked: readonly string[]
  close(): void
}

const ERRORS = { SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const
const TYPES = new Map([
  [1, 4],
  [28, 6],
])

/** A name server on loopback (RFC 1035): over UDP, of IPv4 and IPv6 addresses alone. */
export async function startNameServer(said: (hostname: string) => Said, port = 0): Promise<TestNameServer> {
  const asked: string[] = []
  const socket = createSocket('udp4').bind(port, '127.0.0.1')
  socket.on('message', (query, { port: from, address }) => {
    const labels: string[] = []
    let at = 12
    for (let length = query[at]!; length !== 0; length = query[at]!) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length))
      at += 1 + length
    }
    const hostname = labels.join('.').toLowerCase()
    asked.push(hostname)
    const answer = said(hostname)
    if (answer !== 'mute') {
      const type = query.readUInt16BE(at + 1)
      socket.send(reply(query.subarray(0, at + 5), type, answer), from, address)
    }
  })
  await once(socket, 'listening')
  return { address: `127.0.0.1:${socket.address().port}`, asked, close: () => socket.close() }
}

function reply(question: Buffer, type: number, said: Exclude<Said, 'mute'>): Buffer {
  const addresses = typeof said === 'string' ? [] : said.filter(each => isIP(each) === TYPES.get(type))
  const head = Buffer.from(question)
  head.writeUInt16BE(0x81_80 | (typeof said === 'string' ? ERRORS[said] : 0), 2)
  head.writeUInt16BE(addresses.length, 6)
  head.fill(0, 8, 12) // it repeats no extension of the question
  const records = addresses.map(address => {
    const data = bytesOf(address)
    const record = Buffer.alloc(12)
    record.writeUInt16BE(0xc0_0c, 0) // the name of the question
    record.writeUInt16BE(type, 2)
    record.writeUInt16BE(1, 4)
    record.writeUInt32BE(60, 6)
    record.writeUInt16BE(data.length, 10)
    return Buffer.concat([record, data])
  })
  return Buffer.concat([head, ...records])
}

/** IPv6 without `::` in its middle, or with it at its beginning only: what tests use. */
function bytesOf(address: string): Buffer {
  if (isIP(address) === 4) {
    return Buffer.from(address.split('.').map(Number))
  }
  const [before = '', after = ''] = address.split('::')
  const words = (text: string): string[] => text.split(':').filter(word => word !== '')
  const missing = 8 - words(before).length - words(after).length
  const all = [...words(before), ...Array<string>(missing).fill('0'), ...words(after)]
  return Buffer.from(all.map(word => word.padStart(4, '0')).join(''), 'hex')
}
