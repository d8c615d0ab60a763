/** `npm run preview -- slack vm.start failure`: prints the request that a hook of this format would send. */
import { freezeEvent, withObject } from '../../src/event/event.ts'
import { formats, messageAbout } from '../../src/formats/index.ts'
import { sampleEvent, sampleObject } from '../../src/sample.ts'

const OUTCOMES = ['started', 'success', 'failure'] as const
const USAGE = `npm run preview -- <format> [<method>] [${OUTCOMES.join('|')}] [<target or template>]\nFormats: ${[...formats.keys()].join(', ')}`

const [name = '', method = 'vm.start', outcomeText = 'failure', option] = process.argv.slice(2)
const format = formats.get(name)
const outcome = OUTCOMES.find(each => each === outcomeText)
if (format === undefined || outcome === undefined) {
  console.error(USAGE)
  process.exit(2)
}

const phase = outcome === 'started' ? 'pre' : 'post'
const status = outcome === 'failure' ? 'failure' : 'any'
const { test: _, ...signal } = sampleEvent(
  {
    ...{ id: 'sample', name: 'Sample', methods: { include: [method], exclude: [] }, phases: [phase], status },
    ...{ format: name, includeObject: false, waitForResponse: false, mayRefuse: false, refuseWhenSilent: false },
    route: { endpoint: { id: 'sample', url: format.url.example, headers: [] }, timeoutMs: 10_000 },
  },
  phase,
  []
)
const failures = Array.from({ length: 7 }, (_each, n) => ({
  type: 'VM',
  name: `web-${n + 1}`,
  message: 'no space left',
}))
const isBackup = /Backup\.runJob$|^backupNg\.runJob$/.test(method)
const event = freezeEvent('api', phase, {
  ...{ ...signal, method },
  ...(phase === 'post' && { duration: 2_317 }),
  ...(isBackup && { run: { id: '1', jobId: 'b2e7c7f0', jobName: 'Nightly', status: outcome } }),
  ...(isBackup && outcome === 'failure' && { error: { message: 'web-1: no space left, and 6 more', failures } }),
})
const object = isBackup ? undefined : JSON.stringify(sampleObject(method))
const instance = { name: 'XO', url: 'https://xo.example.org' }
const template = name === 'template' ? (option ?? '{ "text": "{{text}}", "outcome": "{{outcome}}" }') : undefined
const target = template === undefined ? option : undefined

const {
  contentType,
  body,
  headers = [],
} = format.build(
  {
    ...{ event, object, instance },
    message: messageAbout(withObject(event, object), instance, Date.now()),
    delivery: { id: '8d6a3a61-94d5-4a3c-a4ff-3dc1ed4ae1bd-0', hook: { id: 'sample', name: 'Sample' } },
  },
  { ...(target !== undefined && { target }), ...(template !== undefined && { template }) }
)
const own = headers.flatMap((each, index) => (index % 2 === 0 ? [`${each}: ${headers[index + 1]}`] : []))
console.log([`POST ${format.url.example}`, `Content-Type: ${contentType}`, ...own, ''].join('\n'))
console.log(/json/.test(contentType) ? JSON.stringify(JSON.parse(body.toString()), null, 2) : body.toString())
