import { wrong } from './hook.ts'
import { REQUEST_METHODS } from './form.ts'
import { PLACE } from '../delivery/delivery.ts'
import type { Endpoint } from '../delivery/delivery.ts'
import { formats, hintOf } from '../formats/index.ts'
import type { Options, TokenField } from '../formats/index.ts'
import { isRecord, trimmedOf } from '../values.ts'

type Fields = Readonly<Record<string, unknown>>

/** What a hook's format makes of its fields. */
export interface Service {
  readonly options: Options
  /** `headers`: besides those of the hook's own. */
  readonly endpoint: Omit<Endpoint, 'id' | 'secrets' | 'tls'>
  /** Nothing wrong, but an administrator should know. */
  readonly warnings: readonly string[]
}

/**
 * Reads those fields of a hook whose meaning its format decides: where requests go, for whom they are there, what is in them.
 *
 * @param name - of a format that exists
 * @param url - without user-info
 * @throws ProblemError
 */
export function parseService(name: string, url: URL, item: Fields, path: string): Service {
  const format = formats.get(name)!
  const { title, warning } = format
  const content = groupOf(item, 'content')
  const authentication = groupOf(item, 'authentication')
  const token = trimmedOf(authentication['token'])
  const template = trimmedOf(content['template'])

  const { url: meant, target: targetInUrl } = format.url.normalise?.(url) ?? { url, target: undefined }
  const problem = format.url.problem?.(meant)
  if (problem !== undefined) {
    wrong(`${path}.url`, problem, `another URL, at ${url.host}`)
  }
  const target = trimmedOf(item['target']) || (targetInUrl ?? '')
  const { target: targetField, token: tokenField } = format
  const isInQuery = ({ inQuery }: { readonly inQuery?: string }): boolean =>
    inQuery !== undefined && !!meant.searchParams.get(inQuery)
  if (targetField?.isRequired === true && target === '' && !isInQuery(targetField)) {
    wrong(`${path}.target`, targetField.meaning, 'nothing')
  }
  if (targetField?.pattern !== undefined && target !== '' && !targetField.pattern.test(target)) {
    wrong(`${path}.target`, targetField.meaning, JSON.stringify(target.slice(0, 100)))
  }
  if (
    tokenField?.isRequired === true &&
    token === '' &&
    !isInQuery(tokenField) &&
    !isInHeaders(tokenField.place, trimmedOf(authentication['headers']))
  ) {
    wrong(`${path}.authentication.token`, tokenField.meaning, 'nothing')
  }
  if (tokenField !== undefined && !/^[\x21-\x7e]*$/.test(token)) {
    wrong(`${path}.authentication.token`, `${tokenField.meaning}, of printable ASCII characters`, 'others in it')
  }
  if (format.template !== undefined) {
    checkTemplate(template, format.template, `${path}.content.template`)
  }
  const places = format.fillsUrl === true ? [...new Set(meant.href.match(PLACE) ?? [])] : []
  for (const place of places.map(decodeURIComponent)) {
    const mistake = format.template?.(place)
    if (mistake !== undefined) {
      wrong(`${path}.url`, mistake.expected, place.slice(0, 100))
    }
  }
  const method = trimmedOf(content['requestMethod']) || REQUEST_METHODS[0]
  if (!REQUEST_METHODS.some(each => each === method)) {
    wrong(
      `${path}.content.requestMethod`,
      REQUEST_METHODS.map(each => `"${each}"`).join(' or '),
      JSON.stringify(method)
    )
  }

  const hint = hintOf(name, url)
  const warnings = [
    ...(warning === undefined ? [] : [warning]),
    ...(hint === undefined ? [] : [hint]),
    ...(target !== '' && targetField === undefined ? [`the format "${title}" has no use for a target`] : []),
    ...(template !== '' && format.template === undefined ? [`the format "${title}" has no use for a template`] : []),
  ]
  const place = token === '' ? undefined : tokenField?.place
  return {
    options: {
      ...(target !== '' && targetField && { target }),
      ...(template !== '' && format.template && { template }),
      ...(places.length > 0 && { places }),
    },
    endpoint: {
      url: meant.href,
      headers: place !== undefined && 'header' in place ? [place.header, token] : [],
      ...(method === 'PUT' && { method }),
      ...(target !== '' && targetField && { target }),
      ...(place !== undefined && 'property' in place && { bodySecret: { name: place.property, value: token } }),
      ...((format.judge ?? format.pace) && { service: name }),
      ...(format.pace && { pace: format.pace }),
    },
    warnings,
  }
}

/** @param headers - of the hook's own: `X-Gotify-Key: …`, a line each */
function isInHeaders(place: TokenField['place'], headers: string): boolean {
  const names = headers.split('\n').map(line => line.split(':', 1)[0]!.trim().toLowerCase())
  return 'header' in place && names.some(name => name === place.header.toLowerCase() || name === 'authorization')
}

function checkTemplate(
  text: string,
  check: (text: string) => { line: number; column: number; expected: string; got: string } | undefined,
  path: string
): void {
  if (text === '') {
    wrong(path, 'a template, as the format is "Template"', 'nothing')
  }
  const mistake = check(text)
  if (mistake !== undefined) {
    const { line, column, expected, got } = mistake
    wrong(`${path} (line ${line}, column ${column})`, expected, got)
  }
}

/** One of the form's optional groups. */
export function groupOf(item: Fields, name: string): Fields {
  const group = item[name]
  return isRecord(group) ? group : {}
}
