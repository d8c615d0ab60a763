import { AUTHORIZATIONS } from './authentication.ts'
import type { Phase } from '../event/event.ts'
import { formats } from '../formats/index.ts'
import { hookableEvents, listedEvents } from '../sources/index.ts'

/** What the field `type` may say, and the phases that it means. */
export const PHASES: ReadonlyMap<string, readonly Phase[]> = new Map([
  ['pre', ['pre']],
  ['post', ['post']],
  ['pre/post', ['pre', 'post']],
])
export const STATUSES = ['any', 'success', 'failure'] as const
export const DEFAULT_TYPE = 'post'
export const DEFAULT_FORMAT = 'json'
export const DEFAULT_TIMEOUT_S = 10
export const MAX_TIMEOUT_S = 60

export const REQUEST_METHODS = ['POST', 'PUT'] as const

export const EVENT_NAMES = hookableEvents.map(({ name }) => name)

/** The form's schema, in the slice of JSON Schema that is used. */
export interface FormSchema {
  type: 'object' | 'array' | 'string' | 'number' | 'boolean'
  title?: string
  description?: string
  properties?: Record<string, FormSchema>
  items?: FormSchema
  required?: readonly string[]
  enum?: readonly string[]
  enumNames?: readonly string[]
  default?: string | number
  /** Suggestions of a text field. */
  defaults?: readonly string[]
  /** HTML limits of a number field. */
  min?: number
  max?: number
  /** A text field of several lines. */
  $multiline?: boolean
}

/**
 * The plugin's `configurationSchema`. It has two readers who want different things, so it is two schemas.
 *
 * xo-server validates a saved configuration with the object itself, at boot too, where a mismatch silently kills the
 * whole plugin: it is lax, and asks for a list of objects only. XO's form gets what `toJSON` gives, and shows choices, suggestions,
 * titles. `parseConfig` does the real checking, and can disable a single hook.
 *
 * Sources: packages/xo-server/src/xo-mixins/plugins.mjs; packages/xo-web/src/common/json-schema-input.
 */
export function configSchema(methods: readonly string[]): object {
  const form = formSchema(methods)
  return Object.defineProperty(laxSchema(), 'toJSON', { value: () => form })
}

/** No types of the fields: to the stock plugin's schema some of them were unknown, and could have any. */
function laxSchema(): object {
  return {
    type: 'object',
    nullable: true,
    properties: {
      hooks: { type: 'array', nullable: true, items: { type: 'object', nullable: true } },
    },
  }
}

function formSchema(methods: readonly string[]): FormSchema {
  return {
    type: 'object',
    // XO 5 shows it as Markdown, and is at the root or below it: hence the absolute path
    description:
      'Sends an HTTP POST to your URLs when something happens in Xen Orchestra. [Deliveries, failures, replay](/web-hooks)',
    properties: {
      hooks: {
        type: 'array',
        title: 'Hooks',
        description: 'Each hook sends some events to one URL.',
        items: {
          type: 'object',
          title: 'Hook',
          properties: {
            name: {
              type: 'string',
              title: 'Name',
              description:
                'How you recognise it; sent as the `X-XO-Hook` header. What is waiting to be sent follows the hook, whatever you edit here. Example: `Inventory`.',
            },
            method: {
              type: 'string',
              title: 'Method',
              description:
                'The API methods and other events that trigger it, separated by commas or spaces (choosing a second suggestion replaces the first; type it instead): a name (`vm.start`: someone starts a VM; `vm.started`: a VM is up, whoever started it), a pattern (`vm.*`, or `*` for everything), and `!vm.set` to leave some out again.',
              defaults: suggestions(methods),
            },
            type: {
              type: 'string',
              title: 'Type',
              description: '*pre*: right before it happens. *post*: when it is over, with the result or the error.',
              enum: [...PHASES.keys()],
              default: DEFAULT_TYPE,
            },
            status: {
              type: 'string',
              title: 'Status',
              description: 'Send a *post* in any case, or after a success only, or after a failure only.',
              enum: STATUSES,
              default: STATUSES[0],
            },
            url: {
              type: 'string',
              title: 'URL',
              description: 'Where the requests go. Example: `https://inventory.example.org/xo?action=start`.',
            },
            format: {
              type: 'string',
              title: 'Payload format',
              description:
                'What the body of a request looks like: *JSON* for a program of your own, a chat or push service for people to read, *Template* for anything else.',
              enum: [...formats.keys()],
              enumNames: [...formats.values()].map(({ title }) => title),
              default: DEFAULT_FORMAT,
            },
            target: {
              type: 'string',
              title: 'Target',
              description: `Who gets it, for formats that ask for it. ${targets()}.`,
            },
            waitForResponse: {
              type: 'boolean',
              title: 'Wait for response',
              description:
                'The action begins once the receiver has answered a *pre*, or after the timeout. It begins in any case, unless the hook *may refuse*.',
            },
            mayRefuse: {
              type: 'boolean',
              title: 'May refuse',
              description:
                'An API call or a backup run begins once the receiver has answered the *pre*, and only if it does not refuse: by the status 403, or by a 2xx with the JSON `{"allow": false, "reason": "…"}`. Needs a *pre*. What XO 6 and the REST API do to VMs, hosts… cannot be refused; backup runs can, however they are started.',
            },
            refuseWhenSilent: {
              type: 'boolean',
              title: 'If it does not answer: refuse',
              description:
                'For a hook that may refuse: no answer, an error, or a URL that is paused as it keeps failing means *no*. Without, it means *yes*.',
            },
            disabled: {
              type: 'boolean',
              title: 'Disabled',
              description:
                'Send nothing for now. What is waiting for this hook is kept, and sent when you enable it again; what happens meanwhile is not sent.',
            },
            authentication: {
              type: 'object',
              title: 'Authentication',
              description: 'What the receiver asks for, and what lets it check that a request comes from here.',
              properties: {
                authorization: {
                  type: 'string',
                  title: 'Authorization',
                  description: 'What the `Authorization` header holds.',
                  enum: [...AUTHORIZATIONS.keys()],
                  enumNames: [...AUTHORIZATIONS.values()],
                  default: 'none',
                },
                token: {
                  type: 'string',
                  title: 'Token',
                  description: `For *Bearer*, for \`{{token}}\` in *More headers*, and for formats that ask for it. ${tokens()}.`,
                },
                user: { type: 'string', title: 'User', description: 'For *Basic*.' },
                password: { type: 'string', title: 'Password', description: 'For *Basic*.' },
                passphrase: {
                  type: 'string',
                  title: 'Signing secret',
                  description:
                    'Shared with the receiver; requests are then signed (`webhook-signature`, `X-XO-Signature`). Any text, or `whsec_…`, or `whsk_…`. To change it without a gap, put the new one before the old one, separated by a space.',
                },
                headers: {
                  type: 'string',
                  title: 'More headers',
                  description:
                    'One `Name: value` a line. Examples: `X-Api-Key: {{token}}`, where the field *Token* is put in; `Prefer: wait`. `Content-Type` goes instead of the usual one; of `Host`, the name is also the one whose certificate is asked for. Unlike a token or a password, this is shown here in clear text.',
                  $multiline: true,
                },
              },
            },
            tls: {
              type: 'object',
              title: 'TLS',
              description: 'For an `https` URL whose certificate is not one of a well-known authority.',
              properties: {
                ca: {
                  type: 'string',
                  title: 'Trusted certificates',
                  description:
                    'In PEM: of your own authority, or the one of the receiver itself. Only these are trusted then.',
                  $multiline: true,
                },
                certificate: {
                  type: 'string',
                  title: 'Client certificate',
                  description: 'In PEM, if the receiver asks for one; followed by those of authorities in between.',
                  $multiline: true,
                },
                // a name of which the host hides the value
                encryptionKey: {
                  type: 'string',
                  title: 'Private key',
                  description: 'Of the client certificate, in PEM, without a passphrase.',
                  $multiline: true,
                },
                acceptAnyCertificate: {
                  type: 'boolean',
                  title: 'Accept any certificate',
                  description:
                    'The receiver is not asked who it is: anyone in between can read what is sent. Better paste its certificate above.',
                },
              },
            },
            content: {
              type: 'object',
              title: 'Content',
              description: 'What is sent, and of what.',
              properties: {
                template: {
                  type: 'string',
                  title: 'Template',
                  description:
                    'For the format *Template*: the body, as JSON with placeholders in its texts. What does not begin with `{` or `[` is sent as plain text. Example: `{"text": "{{title}}: {{object.name}}", "level": "{{outcome | map:failure=8,*=2}}"}`.',
                  $multiline: true,
                },
                requestMethod: {
                  type: 'string',
                  title: 'HTTP method',
                  description: 'Of the requests.',
                  enum: REQUEST_METHODS,
                  default: REQUEST_METHODS[0],
                },
                includeObject: {
                  type: 'boolean',
                  title: 'Include the object',
                  description:
                    'The body has a property `object` with what XO knows of the VM, host, SR… that the event is about: its name, tags, pool, power state, and of a VM its addresses and network interfaces.',
                },
                filter: {
                  type: 'string',
                  title: 'Filter',
                  description:
                    "Send an event only if this finds it, in the syntax of XO's searches. Examples: `object:tags:production`, `params:id:67aac198-0174-11ea-8d71-362b9e155667`, `userName:/@example.org$/`, `!userName:backup`.",
                },
              },
            },
            limits: {
              type: 'object',
              title: 'Limits',
              description: 'How long a receiver may take, and how often it may fail.',
              properties: {
                timeout: {
                  type: 'number',
                  title: 'Timeout',
                  description: `Seconds for a whole request, up to ${MAX_TIMEOUT_S}. Without: ${DEFAULT_TIMEOUT_S}.`,
                  default: DEFAULT_TIMEOUT_S,
                  min: 1,
                  max: MAX_TIMEOUT_S,
                },
                disableAfter: {
                  type: 'number',
                  title: 'Disable after',
                  description:
                    'Stop sending once this many deliveries in a row have failed (however often each was tried), until this configuration is saved again. Without: after 5 days of nothing but failures.',
                  min: 1,
                },
              },
            },
          },
          required: ['method', 'type', 'url', 'format'],
        },
      },
      instanceName: {
        type: 'string',
        title: 'Name of this XO',
        description: 'How messages call it. Example: `XO Paris`.',
      },
      instanceUrl: {
        type: 'string',
        title: 'URL of this XO',
        description:
          'For links to VMs, hosts, pools and SRs in messages. Example: `https://xo.example.org`; with `/v5` or `/v6` at its end, links lead to that interface only.',
      },
      notify: {
        type: 'array',
        title: 'Notify',
        description:
          'Who gets an e-mail when a URL has failed 5 times in a row, when it is disabled, and when it answers again. Needs the plugin `transport-email`.',
        items: { type: 'string', title: 'E-mail address' },
      },
    },
    required: ['hooks'],
  }
}

/** Of one hook, for those who look at the types of its fields. */
export const HOOK_SCHEMA = formSchema([]).properties?.['hooks']?.items

/**
 * Starting points that the form offers. It puts one in place of what it shows: they are for a first hook, and their
 * names say so.
 */
export const configPresets: Readonly<Record<string, object>> = {
  'First hook: VMs started and stopped': preset('VM power', 'vm.start vm.stop vm.restart', 'any'),
  'First hook: backup runs': preset('Backups', 'backupNg.runJob', 'any'),
  'First hook: everything that fails': preset('Failures', '*', 'failure'),
}

function preset(name: string, method: string, status: (typeof STATUSES)[number]): object {
  return { hooks: [{ name, method, type: 'post', status, format: DEFAULT_FORMAT }] }
}

/** Events first, marked as such by a remark (see `parsePatterns`); then methods, and their namespaces as patterns. */
function suggestions(methods: readonly string[]): string[] {
  const known = new Set([...methods, ...EVENT_NAMES])
  const namespaces = [...known].filter(name => name.includes('.')).map(name => `${name.split('.')[0]}.*`)
  const isEvent = new Set(listedEvents.map(({ name }) => name))
  const events = [...isEvent].filter(name => !methods.includes(name)).map(name => `${name} (event)`)
  return [
    '*',
    ...events,
    ...[...new Set([...namespaces, ...known])].filter(name => !isEvent.has(name) || methods.includes(name)).sort(),
  ]
}

/** What the target is to each format that has one. */
function targets(): string {
  return [...formats.values()]
    .flatMap(({ title, target }) => (target === undefined ? [] : [`*${title}*: ${target.meaning}`]))
    .join('. ')
}

function tokens(): string {
  return [...formats.values()]
    .flatMap(({ title, token }) => (token === undefined ? [] : [`*${title}*: ${token.meaning}`]))
    .join('. ')
}
