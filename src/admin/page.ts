import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'

import { messageOf } from '../problem.ts'
import type { Log } from '../report.ts'
import type { HttpRequest, Xo } from '../xo.ts'

const PATH = '/web-hooks'

/**
 * Much stricter than the host's own, which it takes the place of: a receiver's answer is hostile text, and a script that
 * ran on this page would have the administrator's token.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%236a5fd3' d='M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm3.6 5.1-4.2 4.6a.8.8 0 0 1-1.1 0L4.3 8.8l1.1-1.1 1.4 1.4 3.7-4z'/%3E%3C/svg%3E"

// absolute addresses: the host may show the page below a path with a slash at its end
const HTML = documentOf(
  `<script type="module" src="${PATH}/page.js"></script>`,
  '<div id="page"><noscript>This page needs JavaScript.</noscript></div>'
)

const FORBIDDEN = documentOf(
  '',
  `<main><h1>Not for you</h1>
<p>Web hooks are for administrators of Xen Orchestra. <a href="/">Back</a>, or <a href="/signout">sign out</a> to come in as another user.</p></main>`
)

function documentOf(script: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Web hooks</title>
<link rel="icon" href="${ICON}">
<link rel="stylesheet" href="${PATH}/page.css">
${script}
</head>
<body>
${body}
</body>
</html>
`
}

/**
 * The page of the plugin: three exact paths, as the host gives no more. None of the files holds any data: that comes
 * from the REST API, which lets in administrators only. The page itself asks who comes so that it can send them to sign in.
 *
 * A host without such handlers, or with another one at such a path, has no page, and is warned of.
 *
 * Source: `registerHttpRequestHandler` in packages/xo-server/src/xo.mjs
 *
 * @returns its undo. Never throws
 */
export function openPage(xo: Xo, log: Log): () => void {
  const undo = (
    [
      [PATH, (request, response) => sendPage(xo, request, response)],
      [`${PATH}/page.js`, fileSender('page.js', 'text/javascript')],
      [`${PATH}/page.css`, fileSender('page.css', 'text/css')],
    ] satisfies [string, Handler][]
  ).map(async ([path, handler]): Promise<(() => void) | undefined> => {
    try {
      return await xo.registerHttpRequestHandler?.(path, async (request, response) => {
        if (request.method !== 'GET' && request.method !== 'HEAD') {
          response.writeHead(405, { Allow: 'GET, HEAD' }).end()
          return
        }
        await handler(request, response)
      })
    } catch (error) {
      log.warn('the page of the plugin cannot be shown', { path, error: messageOf(error) })
      return undefined
    }
  })
  return () => undo.forEach(each => void each.then(remove => remove?.()))
}

type Handler = (request: HttpRequest, response: ServerResponse) => Promise<void>

async function sendPage(xo: Xo, request: HttpRequest, response: ServerResponse): Promise<void> {
  const user = await userOf(xo, request)
  if (user === undefined) {
    // after signing in, the host leads back there; what is behind the # the browser itself carries along. Not what was
    // asked for: that may be `http://somewhere.else/web-hooks`
    request.flash?.('return-url', PATH)
    const signIn = xo.config.getOptional?.('authentication.defaultSignInPage')
    const location = typeof signIn === 'string' ? signIn : '/signin'
    response.writeHead(302, { Location: location, 'Cache-Control': 'no-store' }).end()
    return
  }
  const isAdmin = user.permission === 'admin'
  send(request, response, isAdmin ? 200 : 403, 'text/html; charset=utf-8', Buffer.from(isAdmin ? HTML : FORBIDDEN))
}

async function userOf(
  xo: Xo,
  { cookies, ip }: HttpRequest
): Promise<{ readonly permission?: string | undefined } | undefined> {
  const token = cookies?.['token'] ?? cookies?.['authenticationToken']
  if (typeof token !== 'string' || token === '') {
    return undefined
  }
  try {
    // else each look at the page would be a task in XO's list
    return (await xo.authenticateUser?.({ token }, { ip }, { bypassTaskCreation: true }))?.user
  } catch {
    return undefined
  }
}

function fileSender(name: string, type: string): Handler {
  let content: Promise<Buffer> | undefined
  return async (request, response) => {
    content ??= readFile(new URL(`../page/${name}`, import.meta.url))
    try {
      send(request, response, 200, `${type}; charset=utf-8`, await content)
    } catch (error) {
      content = undefined
      throw error
    }
  }
}

/** With a tag, so that what the browser has already is not sent again; it asks each time, as an update may have come. */
function send(request: HttpRequest, response: ServerResponse, status: number, type: string, content: Buffer): void {
  const tag = `W/"${createHash('sha256').update(content).digest('base64url').slice(0, 16)}"`
  const isKnown = status === 200 && request.headers['if-none-match']?.includes(tag) === true
  response.writeHead(isKnown ? 304 : status, {
    'Content-Security-Policy': CONTENT_SECURITY_POLICY,
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': status === 200 ? 'no-cache' : 'no-store',
    ...(status === 200 && { ETag: tag }),
    ...(!isKnown && { 'Content-Type': type }),
  })
  response.end(isKnown || request.method === 'HEAD' ? undefined : content)
}
