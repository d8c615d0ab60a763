import type { JSX } from 'preact'
import { h } from 'preact'

import { Empty } from './parts.tsx'

/** What is shown as long as there is no hook. */
export function FirstSteps(): JSX.Element {
  return (
    <Empty title='Welcome: there is no hook yet'>
      <ol>
        <li>
          Have a receiver: a chat, a monitoring, a script. One to begin with comes with the plugin:{' '}
          <code>node dist/listen/main.js --port 8080</code>
        </li>
        <li>
          <a href='#/hooks/new'>Make a hook</a>: which events go to which URL. Settings &gt; Plugins &gt; web-hooks does
          the same, and so does the API:
          <pre>
            {`curl -u admin -H 'Content-Type: application/json' ${location.origin}/rest/v0/plugins/web-hooks/hooks -d '{"method": "vm.*", "url": "http://127.0.0.1:8080/"}'`}
          </pre>
        </li>
        <li>
          Press <b>Test</b>, and see what the receiver answers.
        </li>
      </ol>
    </Empty>
  )
}
