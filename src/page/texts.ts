/** JSON with its parts on lines of their own; anything else as it is. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

/** What a shell takes as one word, whatever is in it. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

/**
 * The request as a command. Neither the URL nor what lets it in is known to the page: they are variables of the shell,
 * for whoever runs it to set.
 */
export function curlOf(headers: Readonly<Record<string, string>>, body: string): string {
  return [
    'curl "$URL"',
    ...Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    '-H "Authorization: Bearer $TOKEN"',
    `--data-raw ${quoted(body)}`,
  ].join(' \\\n  ')
}
