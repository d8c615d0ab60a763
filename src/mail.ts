import type { Alert } from './relay.ts'

/** The e-mail about an endpoint: which hooks, since when, why, what waits, what to do. */
export function mailOf(alert: Alert): { subject: string; markdown: string } {
  const { hooks, origin, since, lastError, pending, dead } = alert
  const names = hooks.map(name => `"${name}"`).join(', ')
  const facts = [
    `- Hooks: ${escape(names)}`,
    `- Where: ${escape(origin)}`,
    ...(since === undefined ? [] : [`- Failing since: ${since}`]),
    ...(lastError === undefined ? [] : [`- Last error: ${escape(lastError)}`]),
    `- Waiting to be sent: ${pending}`,
    `- Kept to be replayed: ${dead}`,
  ]
  const { subject, advice } = wordsOf(alert)
  return {
    subject: `[Xen Orchestra] Web hooks: ${subject}`,
    markdown: [`**${escape(subject)}**`, facts.join('\n'), advice].join('\n\n'),
  }
}

function wordsOf({ change, origin, reason = 'it failed' }: Alert): { subject: string; advice: string } {
  switch (change) {
    case 'failing':
      return {
        subject: `${origin} keeps failing`,
        advice:
          'Nothing is lost yet: what is waiting is tried again, for about three days. Look at the receiver, and press Test in Settings > Plugins > web-hooks once it is mended.',
      }
    case 'disabled':
      return {
        subject: `${origin} is disabled: ${reason}`,
        advice:
          'Nothing is sent to it any more; new events are kept to be replayed. Once the receiver is mended, save the configuration in Settings > Plugins > web-hooks: what is waiting is then sent.',
      }
    case 'recovered':
      return { subject: `${origin} answers again`, advice: 'What was waiting is being sent. Nothing needs to be done.' }
    default:
      return change satisfies never
  }
}

/** Names are the administrator's own, but Markdown and HTML in them are meant as text, and no address becomes a link. */
function escape(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/[\\`*_{}[\]()#+!|~]/g, '\\$&')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/:(?=\/\/)|@/g, character => `&#${character.charCodeAt(0)};`)
    .replace(/www\./gi, match => `${match.slice(0, 3)}&#46;`)
}
