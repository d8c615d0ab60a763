import { subscribe, unsubscribe } from 'node:diagnostics_channel'

import { isRecord, listOf, textOf } from '../values.ts'
import type { Signal, Xo } from '../xo.ts'
import { nameOfUser, settledSoon } from './look-up.ts'
import { guarded } from './source.ts'
import type { Accept } from './source.ts'
import { header } from './telling.ts'

const SIGNED_IN = 'user.signedIn'

/** Where XO's sign-in page sends its form, and other providers send back to. */
const IS_SIGN_IN = /^\/signin(?:-otp|\/([\w.-]+))/

/** For so long after someone has signed in there, the pages of XO 5 begin to use that: they sign in once more by a call. */
const FOLLOWS_MS = 60_000

/** More sign-ins within that time are an attack. */
const MAX_RECENT = 1_000

interface Request {
  readonly originalUrl?: unknown
  readonly ip?: unknown
  readonly body?: unknown
}

interface Response {
  readonly statusCode: number
  getHeader(name: string): unknown
}

/**
 * Hears who signs in at XO's sign-in page, which XO 5 and XO 6 share, with a password or by another provider. The host says
 * nothing of that. Its answer to a sign-in that succeeds is a redirection with a cookie `token`, by which the user is found.
 * XO 5 then opens a connection and signs in with that token, by an API call; XO 6 uses the cookie with the REST API.
 *
 * Source: `setUpPassport` in packages/xo-server/src/index.mjs.
 */
export class SignIns {
  readonly #xo: Xo
  readonly #accept: Accept
  /** By user, until when their sign-in with a token is none of its own, epoch ms. */
  readonly #recent = new Map<unknown, number>()

  constructor(xo: Xo, accept: Accept) {
    this.#xo = xo
    this.#accept = accept
  }

  /** @returns its undo */
  listen(): () => void {
    const name = 'http.server.response.finish'
    const heard = guarded(name, (request: Request, response: Response) => this.#finished(request, response))
    const onMessage = (message: unknown): void => {
      const { request, response } = message as { request: Request; response: Response }
      // asked of every request of every HTTP server of this process
      const url = request.originalUrl
      if (typeof url === 'string' && url.startsWith('/signin') && response.statusCode === 303) {
        void heard(request, response)
      }
    }
    subscribe(name, onMessage)
    return () => void unsubscribe(name, onMessage)
  }

  /** Whether this call only makes use of a sign-in that was told a moment ago. */
  isTold({ method, userId, params }: Signal): boolean {
    const until = method.startsWith('session.signIn') ? this.#recent.get(userId) : undefined
    return until !== undefined && Date.now() < until && isRecord(params) && params['token'] !== undefined
  }

  async #finished({ originalUrl, ip, body }: Request, response: Response): Promise<void> {
    const [, said] = IS_SIGN_IN.exec(String(originalUrl)) ?? []
    const token = tokenIn(response.getHeader('set-cookie'))
    if (token === undefined || !this.#accept.wants(SIGNED_IN)) {
      return
    }
    const xo = this.#xo
    const look = async (): Promise<string | undefined> => textOf((await xo.getAuthenticationToken?.(token))?.user_id)
    const userId = await settledSoon(look(), undefined)
    if (userId === undefined) {
      return
    }
    if (this.#recent.size >= MAX_RECENT) {
      this.#recent.clear()
    }
    this.#recent.set(userId, Date.now() + FOLLOWS_MS)
    // a form says which provider it is for
    const provider = said === 'dispatch' && isRecord(body) ? textOf(body['provider']) : said
    await this.#accept('state', 'post', {
      ...header(SIGNED_IN),
      ...{ userId, userName: await nameOfUser(xo, userId), userIp: textOf(ip) },
      params: { id: userId, ...(provider !== undefined && { provider: provider.slice(0, 100) }) },
      client: 'web',
    })
  }
}

function tokenIn(cookies: unknown): string | undefined {
  const texts = typeof cookies === 'string' ? [cookies] : listOf(cookies)
  for (const text of texts) {
    const [, token] = /^token=([^;]+)/.exec(String(text)) ?? []
    if (token !== undefined) {
      return token
    }
  }
  return undefined
}
