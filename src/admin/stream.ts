import type { Admin } from './admin.ts'
import { refuseUnknown } from './routes.ts'
import { textOf } from '../values.ts'
import type { RestRequest, RestResponse, RestRoute, Xo } from '../xo.ts'

/** More are refused: whoever is asks again and again instead. */
const MAX_STREAMS = 20

/** Changes are looked for so often, while anybody hears of them. */
const LOOK_MS = 250

/** A proxy in between ends what is silent for long. */
const SILENCE_MS = 15_000

/** So often it is asked whether who hears may still hear. */
const CHECK_MS = 60_000

/** Changes that are told one by one; more of them concern everything. */
const MAX_CHANGES = 200

/** Who takes in so little that more than this is waiting is not there any more: a laptop that sleeps, for example. */
const MAX_UNREAD_BYTES = 64 * 1024

interface Stream {
  readonly res: RestResponse
  readonly isAllowed: () => Promise<boolean>
}

/**
 * Hints at changes, as server-sent events: `{ "latest": …, "endpoints": [ids] }`. What has changed is asked for with `latest` of
 * before, so that nothing is missed, however often a stream breaks. Without `endpoints`: any may have.
 *
 * A stream lives as long as its session. An open one would keep xo-server from stopping: all are ended at its stop.
 *
 * Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export class Streams {
  readonly #xo: Xo
  readonly #admin: Admin
  readonly #open = new Set<Stream>()
  #latest: string | undefined
  #looking: NodeJS.Timeout | undefined
  #checking: NodeJS.Timeout | undefined
  #toldAt = 0
  #isClosed = false

  constructor(xo: Xo, admin: Admin) {
    this.#xo = xo
    this.#admin = admin
  }

  get route(): RestRoute {
    return {
      method: 'get',
      endpoint: '/stream',
      tags: ['web-hooks'],
      description:
        'Server-sent events (text/event-stream) that hint at changes: data is { latest, endpoints }. Ask for deliveries with since = latest of before. At most 20 at once, else 503. Each ends when its session does, and when xo-server stops.',
      responses: [{ status: 200, description: 'Success' }],
      callback: async ({ req, res }) => {
        refuseUnknown(req.query, {})
        await this.#add(req, res)
        return undefined
      },
    }
  }

  async #add(req: RestRequest, res: RestResponse): Promise<void> {
    if (res.destroyed) {
      return // gone while it was asked who that is: nothing would tell of its end any more
    }
    if (this.#open.size >= MAX_STREAMS || this.#isClosed) {
      res.status(503).json({ error: 'too many streams', data: { expected: `at most ${MAX_STREAMS}` } })
      return
    }
    const stream = { res, isAllowed: this.#sessionOf(req) }
    this.#open.add(stream)
    res.on('close', () => this.#end(stream))
    // compressed, it would be kept back until there is enough to compress
    res.set('Cache-Control', 'no-cache, no-transform')
    res.set('X-Accel-Buffering', 'no')
    res.type('text/event-stream')
    res.write('retry: 3000\n\n')
    const { latest } = await this.#admin.ask(questions => questions.list({ limit: 1 })).catch(() => ({ latest: '' }))
    if (this.#open.has(stream)) {
      res.write(eventOf({ latest }))
      this.#latest ??= latest
      this.#looking ??= setTimeout(() => void this.#look(), LOOK_MS).unref()
      this.#checking ??= setInterval(() => void this.#check(), CHECK_MS).unref()
    }
  }

  /** Ends all, and lets no more in. */
  close(): void {
    this.#isClosed = true
    this.#open.forEach(stream => this.#end(stream))
  }

  #end(stream: Stream): void {
    if (!this.#open.delete(stream)) {
      return
    }
    stream.res.end()
    if (this.#open.size === 0) {
      clearTimeout(this.#looking)
      clearInterval(this.#checking)
      this.#looking = this.#checking = this.#latest = undefined
    }
  }

  async #look(): Promise<void> {
    const own = this.#looking
    const before = this.#latest
    const page =
      before === undefined
        ? undefined
        : await this.#admin
            .ask(questions => questions.list({ changedSince: before, limit: MAX_CHANGES }))
            .catch(() => undefined)
    if (this.#looking !== own) {
      return // all have gone meanwhile: whoever has come since is looked for by another one
    }
    const now = performance.now()
    if (page !== undefined && page.latest !== before) {
      this.#latest = page.latest
      const isEverything = page.isOutdated === true || page.hasMore === true
      const endpoints = [...new Set(page.items.flatMap(({ endpoint }) => endpoint ?? []))]
      this.#tell(eventOf({ latest: page.latest, ...(!isEverything && { endpoints }) }), now)
    } else if (now - this.#toldAt > SILENCE_MS) {
      this.#tell(':\n\n', now)
    }
    this.#looking = setTimeout(() => void this.#look(), LOOK_MS).unref()
  }

  #tell(text: string, now: number): void {
    this.#toldAt = now
    for (const stream of [...this.#open]) {
      if (stream.res.writableLength > MAX_UNREAD_BYTES) {
        this.#end(stream)
        stream.res.destroy()
      } else {
        stream.res.write(text)
      }
    }
  }

  async #check(): Promise<void> {
    for (const stream of [...this.#open]) {
      if (!(await stream.isAllowed())) {
        this.#end(stream)
      }
    }
  }

  /**
   * Whether who has asked may still ask. A session by a token ends with it; a user who has sent a password with the request is
   * one as long as there is that user.
   *
   * Source: @xen-orchestra/rest-api/src/middlewares/authentication.middleware.mts
   */
  #sessionOf({ cookies = {}, ip }: RestRequest): () => Promise<boolean> {
    const token = textOf(cookies['authenticationToken']) ?? textOf(cookies['token'])
    const id = this.#xo.apiContext?.user?.id
    return async () => {
      const xo = this.#xo
      try {
        const user =
          token === undefined || xo.authenticateUser === undefined
            ? id === undefined
              ? undefined
              : await xo.getUser(id)
            : (await xo.authenticateUser({ token }, { ip }, { bypassTaskCreation: true })).user
        return user?.permission === 'admin'
      } catch {
        return false
      }
    }
  }
}

function eventOf(data: { readonly latest: string; readonly endpoints?: readonly string[] }): string {
  return `id: ${data.latest}\ndata: ${JSON.stringify(data)}\n\n`
}
